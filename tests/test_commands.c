/* SPDX-License-Identifier: MIT
 *
 * The commands of section >>commands of nvme.h and those of >>admin-commands: what they put on the
 * wire, what they refuse, and what comes of them, on the software controller.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char log_text[65536];
static size_t log_len;

static void capture(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg, (void)level;
	if (log_len + strlen(line) + 2 < sizeof(log_text))
		log_len += (size_t)snprintf(log_text + log_len, sizeof(log_text) - log_len, "%s\n",
		                            line);
}

/* One sentence in the log since the last call that says so; and forgets it. */
static void expect_log(const char *part)
{
	if (strstr(log_text, part) == NULL)
		fail_msg("'%s' is not in the log:\n%s", part, log_text);
	log_len = 0;
	log_text[0] = '\0';
}

struct seen {
	unsigned int calls;
	struct nvme_cpl cpl;
};

static struct seen seen; /* outlives the controller */

/* A controller with its namespace 1, a queue pair and two pages of DMA memory. */
static struct nvme_ctrlr *ctrlr;
static struct nvme_ns *ns;
static struct nvme_qpair *qp;
static uint8_t *buf, *mem;
static const struct nvme_dev *dev;

static void start_with(const char *device, const struct nvme_io_qpair_opts *qopts)
{
	struct nvme_ctrlr_opts opts;

	memset(&seen, 0, sizeof(seen));
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log = capture;
	log_len = 0;
	log_text[0] = '\0';
	if (nvme_attach(device, &opts, &ctrlr) != 0)
		fail_msg("%s: %s", device, log_text);
	dev = nvme_ctrlr_get_dev(ctrlr);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, qopts, &qp), 0);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
	mem = (uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);
}

static void start(const char *device)
{
	start_with(device, NULL);
}

static size_t dma_in_use(void)
{
	const struct nvme__extent *e;
	size_t used = 0;

	for (e = ctrlr->arena.extents; e != NULL; e = e->next)
		used += e->use != NVME__EXTENT_FREE ? e->len : 0;
	return used;
}

static void stop(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	assert_int_equal(stats.strays, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void note(void *arg, const struct nvme_cpl *cpl)
{
	struct seen *of = (struct seen *)arg;

	of->calls++;
	of->cpl = *cpl;
}

static uint32_t code(const struct nvme_cpl *c)
{
	return NVME_GET(c->status, NVME_CPL_SCT) << 8 | NVME_GET(c->status, NVME_CPL_SC);
}

/* Polls until the callback has run, which it does once. Returns SCT and SC. */
static uint32_t wait_for(struct seen *of)
{
	uint32_t result;
	int i;

	for (i = 0; i < 200000 && of->calls == 0; i++) {
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
		assert_true(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
	}
	assert_int_equal(of->calls, 1);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	result = code(&of->cpl);
	memset(of, 0, sizeof(*of));
	return result;
}

/* The latest commands of the queue pair, the oldest of n first. */
static const struct nvme_cmd *sent(uint32_t n)
{
	static struct nvme_soft_cmd list[NVME_SOFT_LAST_CMDS];

	assert_true(nvme_soft_get_last_cmds(dev, list, NVME_SOFT_LAST_CMDS) >= n);
	return &list[n - 1].cmd;
}

static uint64_t commands(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	return stats.admin_cmds + stats.io_cmds;
}

/* ---- commands with blocks ---- */

static void test_compare(void **state)
{
	const struct nvme_cmd *cmd;
	struct nvme_cpl cpl;
	uint8_t odd[1025];

	(void)state;
	start("soft:size=1M,mdts=1");
	memset(mem + 512 * 7, 0x5a, 1024);
	memset(buf, 0x5a, 1024);
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 7, 2, note, &seen, NVME_IO_FLAGS_FUA), 0);
	assert_int_equal(wait_for(&seen), 0);
	cmd = sent(1);
	assert_int_equal(cmd->opc, NVME_OPC_COMPARE);
	assert_int_equal(cmd->cdw10, 7);
	assert_int_equal(cmd->cdw12, 1 | NVME_IO_FLAGS_FUA);
	buf[1023] = 0;
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 7, 2, note, &seen, 0), 0);
	assert_int_equal(wait_for(&seen), 0x285);
	/* any memory, and more than one command can carry */
	memset(odd, 0x5a, sizeof(odd));
	assert_int_equal(nvme_ns_compare(ns, qp, odd + 1, 7, 2, &cpl), 0);
	assert_int_equal(nvme_ns_compare(ns, NULL, mem, 0, 64, &cpl), 0);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 64, NULL), 0);
	buf[40 * 512]++;
	assert_int_equal(nvme_ns_compare(ns, qp, buf, 0, 64, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x285);
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 2048, 1, note, &seen, 0), -ERANGE);
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 0, 64, note, &seen, 0), -EMSGSIZE);
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, odd, 0, 1, note, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 0, 1, NULL, &seen, 0), -EINVAL);
	assert_int_equal(nvme_ns_cmd_compare(ns, NULL, buf, 0, 1, note, &seen, 0), -EINVAL);
	stop();
}

static void test_write_zeroes(void **state)
{
	static const uint8_t zeroes[65536];
	struct nvme_cpl cpl;
	const struct nvme_cmd *cmd;

	(void)state;
	start("soft:size=64M");
	memset(mem, 0x77, 65536);
	assert_int_equal(nvme_ns_cmd_write_zeroes(ns, qp, 1, 127, note, &seen,
	                                          NVME_IO_FLAGS_DEALLOCATE | NVME_IO_FLAGS_FUA),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	cmd = sent(1);
	assert_int_equal(cmd->opc, NVME_OPC_WRITE_ZEROES);
	assert_int_equal(NVME_GET(cmd->cdw12, NVME_WRITE_ZEROES_DEAC), 1);
	assert_int_equal(NVME_GET(cmd->cdw12, NVME_RW_FUA), 1);
	assert_int_equal(NVME_GET(cmd->cdw12, NVME_RW_NLB), 126);
	assert_int_equal(mem[511], 0x77);
	assert_memory_equal(mem + 512, zeroes, 65536 - 512);
	/* all that NLB can say, and one more */
	assert_int_equal(nvme_ns_cmd_write_zeroes(ns, qp, 0, 65536, note, &seen, 0), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(NVME_GET(sent(1)->cdw12, NVME_RW_NLB), 65535);
	assert_int_equal(nvme_ns_cmd_write_zeroes(ns, qp, 0, 65537, note, &seen, 0), -EMSGSIZE);
	expect_log("65537 blocks are too many");
	memset(mem, 0x77, (size_t)4 << 20);
	assert_int_equal(nvme_ns_write_zeroes(ns, NULL, 3, 8189, 0, &cpl), 0);
	assert_int_equal(mem[3 * 512 - 1], 0x77);
	assert_int_equal(mem[3 * 512], 0);
	assert_int_equal(mem[8192 * 512 - 1], 0);
	assert_int_equal(mem[8192 * 512], 0);
	stop();
}

static void test_uncorrectable_and_verify(void **state)
{
	struct nvme_cpl cpl;

	(void)state;
	start("soft:size=4M");
	assert_int_equal(nvme_ns_cmd_verify(ns, qp, 0, 8192, note, &seen, 0), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(nvme_ns_cmd_write_uncorrectable(ns, qp, 100, 2, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(sent(1)->opc, NVME_OPC_WRITE_UNCORRECTABLE);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 101, 1, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x281);
	assert_int_equal(nvme_ns_cmd_verify(ns, qp, 99, 2, note, &seen, 0), 0);
	assert_int_equal(wait_for(&seen), 0x281);
	assert_int_equal(nvme_ns_verify(ns, NULL, 0, 8192, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x281);
	assert_int_equal(nvme_ns_write(ns, qp, buf, 100, 2, NULL), 0); /* mends them */
	assert_int_equal(nvme_ns_verify(ns, qp, 0, 8192, NULL), 0);
	assert_int_equal(nvme_ns_write_uncorrectable(ns, qp, 0, 8192, NULL), 0);
	assert_int_equal(nvme_ns_compare(ns, qp, buf, 8191, 1, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x281);
	assert_int_equal(nvme_ns_deallocate(ns, qp, 0, 8192, &cpl), 0);
	assert_int_equal(nvme_ns_verify(ns, qp, 0, 8192, NULL), 0);
	assert_int_equal(nvme_ns_cmd_verify(ns, qp, 0, 1, note, &seen, NVME_IO_FLAGS_DEALLOCATE),
	                 -EINVAL);
	expect_log("Verify is refused (a flag is unknown)");
	stop();
}

/* ---- Dataset Management ---- */

static struct nvme_dsm_range ranges[600];

static void fill_ranges(uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		ranges[i].cattr = 0;
		ranges[i].slba = 2 * i + 1;
		ranges[i].nlb = 1;
	}
}

static void expect_deallocated(uint32_t n)
{
	uint32_t i;

	for (i = 0; i < 1200; i++) {
		if (mem[i * 512] != (i % 2 == 1 && i / 2 < n ? 0 : 0x33))
			fail_msg("%u ranges: block %u is %02x", n, i, mem[i * 512]);
	}
}

static void test_dataset_management(void **state)
{
	static const uint32_t sizes[] = {1, 2, 255, 256, 257, 512, 513, 600};
	size_t used, i;

	(void)state;
	start("soft:size=1M");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t n = sizes[i], cmds = (n + 255) / 256, k;
		uint64_t before = commands();

		memset(mem, 0x33, 1 << 20);
		fill_ranges(n);
		assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, NVME_DSM_ATTR_DEALLOCATE,
		                                                ranges, n, note, &seen),
		                 0);
		memset(ranges, 0xff, sizeof(ranges)); /* they were copied */
		assert_int_equal(wait_for(&seen), 0);
		expect_deallocated(n);
		assert_int_equal(commands() - before, cmds);
		for (k = 0; k < cmds; k++) {
			const struct nvme_cmd *cmd = sent(cmds - k);

			assert_int_equal(cmd->opc, NVME_OPC_DATASET_MANAGEMENT);
			assert_int_equal(cmd->cdw10, k + 1 < cmds ? 255 : (n - 1) % 256);
			assert_int_equal(cmd->cdw11, 4);
		}
	}
	/* in any memory, waiting */
	memset(mem, 0x33, 1 << 20);
	fill_ranges(257);
	assert_int_equal(nvme_ns_dataset_management(ns, NULL, NVME_DSM_ATTR_DEALLOCATE, ranges, 257,
	                                            NULL),
	                 0);
	expect_deallocated(257);
	assert_int_equal(NVME_GET(sent(1)->cdw10, NVME_DSM_NR), 0);
	/* memory: what one has used the next uses again */
	fill_ranges(256);
	used = dma_in_use();
	for (i = 0; i < 10; i++) {
		assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 1, ranges, 256, note,
		                                                &seen),
		                 0);
		assert_int_equal(wait_for(&seen), 0);
	}
	assert_true(dma_in_use() <= used + 8192);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	used = dma_in_use();
	fill_ranges(600); /* more than is kept */
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 1, ranges, 600, note, &seen), 0);
	assert_int_equal(dma_in_use(), used + 12288);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(dma_in_use(), used);
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 1, ranges, 1, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(dma_in_use(), used + 4096);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0); /* and what is kept goes with it */
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(dma_in_use(), used);
	stop();
}

static void test_dsm_refused(void **state)
{
	const uint32_t ad = NVME_DSM_ATTR_DEALLOCATE;
	uint64_t before;

	(void)state;
	start("soft:size=1M");
	fill_ranges(600);
	before = commands();
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, ad, ranges, 0, note, &seen),
	                 -EINVAL);
	expect_log("it has no ranges");
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, ad, NULL, 1, note, &seen), -EINVAL);
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 8, ranges, 1, note, &seen),
	                 -EINVAL);
	expect_log("an attribute is unknown");
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, ad, ranges, 1, NULL, &seen),
	                 -EINVAL);
	ranges[599].nlb = 2048;
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, ad, ranges, 600, note, &seen),
	                 -ERANGE);
	ranges[599].nlb = 0;
	assert_int_equal(nvme_ns_dataset_management(ns, qp, ad, ranges, 600, NULL), -EINVAL);
	assert_int_equal(nvme_ns_deallocate(ns, qp, 2048, 1, NULL), -ERANGE);
	assert_int_equal(commands(), before);
	/* the first error is told when all of them are done */
	fill_ranges(600);
	assert_int_equal(nvme_soft_set_plan(dev, "on dataset-management #2 status 2/80; on "
	                                         "dataset-management #3 status 0/06"),
	                 0);
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, ad, ranges, 600, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0x280);
	assert_int_equal(commands(), before + 3);
	stop();
}

/* A queue of two entries has one CID, and that is enough for any number of ranges. */
static void test_dsm_small_queue(void **state)
{
	struct nvme_io_qpair_opts opts;
	int i;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 2;
	opts.max_xfer_size = 512;
	start_with("soft:size=1M", &opts);
	memset(mem, 0x33, 1 << 20);
	fill_ranges(600);
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 4, ranges, 600, note, &seen), 0);
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 4, ranges, 1, note, &seen),
	                 -EAGAIN);
	assert_int_equal(wait_for(&seen), 0);
	expect_deallocated(600);
	/* the queue pair goes while parts are outstanding: one callback all the same */
	for (i = 0; i < 3; i++) {
		static const char *const plans[] = {"on dataset-management drop",
		                                    "on dataset-management #2 drop", ""};

		assert_int_equal(nvme_soft_set_plan(dev, plans[i]), 0);
		assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 4, ranges, 600, note,
		                                                &seen),
		                 0);
		if (i < 2)
			(void)nvme_qpair_process_completions(qp, 0);
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		assert_int_equal(seen.calls, 1);
		/* the last time a part was complete, but nobody will send the next one */
		assert_int_equal(code(&seen.cpl), i < 2 ? 0x008 : 0x371);
		memset(&seen, 0, sizeof(seen));
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	}
	stop();
}

/* ---- Copy ---- */

static void copy_range(struct nvme_copy_range *r, uint64_t slba, uint32_t nlb)
{
	memset(r, 0, sizeof(*r));
	r->slba = slba;
	r->nlb = (uint16_t)(nlb - 1);
}

static void test_copy(void **state)
{
	struct nvme_copy_range r[40];
	const struct nvme_cmd *cmd;
	struct nvme_cmd raw;
	struct nvme_cpl cpl;
	uint32_t i;

	(void)state;
	start("soft:size=4M");
	for (i = 0; i < 8192; i++)
		memset(mem + i * 512, (int)(i & 255), 512);
	copy_range(&r[0], 10, 3);
	copy_range(&r[1], 20, 1);
	copy_range(&r[2], 200, 2);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 3, 1000, note, &seen), 0);
	memset(r, 0xff, sizeof(r));
	assert_int_equal(wait_for(&seen), 0);
	cmd = sent(1);
	assert_int_equal(cmd->opc, NVME_OPC_COPY);
	assert_int_equal(cmd->cdw10, 1000);
	assert_int_equal(cmd->cdw12, 2);
	for (i = 0; i < 7; i++)
		assert_int_equal(mem[(1000 + i) * 512 + 511], i < 3    ? 10 + i
		                                              : i == 3 ? 20
		                                              : i < 6  ? 196 + i
		                                                       : (1006 & 255));
	/* limits: a range of MSSRL, MCL in all, MSRC ranges */
	for (i = 0; i < 40; i++)
		copy_range(&r[i], 0, 256);
	assert_int_equal(nvme_ns_copy(ns, NULL, r, 4, 4096, &cpl), 0);
	assert_memory_equal(mem + 4096 * 512, mem, 256 * 512);
	assert_memory_equal(mem + (4096 + 768) * 512, mem, 256 * 512);
	assert_int_equal(nvme_ns_copy(ns, qp, r, 5, 4096, &cpl), -EMSGSIZE);
	expect_log("(MCL)");
	copy_range(&r[0], 0, 257);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 1, 4096, note, &seen), -EMSGSIZE);
	expect_log("(MSSRL)");
	for (i = 0; i < 40; i++)
		copy_range(&r[i], i, 1);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 32, 4096, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 33, 4096, note, &seen), -EMSGSIZE);
	expect_log("(MSRC)");
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 0, 4096, note, &seen), -EINVAL);
	expect_log("it has no ranges");
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 2, 8191, note, &seen), -ERANGE);
	copy_range(&r[0], 8191, 2);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, r, 1, 0, note, &seen), -ERANGE);
	/* what the driver refuses the controller would refuse, too */
	nvme__fill_copy(&raw, 1, 1, 4096);
	copy_range(&r[0], 0, 257);
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &raw, r, 32, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x183);
	copy_range(&r[0], 8191, 2);
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &raw, r, 32, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x080);
	raw.cdw12 = NVME_SET(1, NVME_COPY_DESFMT);
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &raw, r, 32, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x002);
	/* what cannot be read is not copied */
	assert_int_equal(nvme_ns_write_uncorrectable(ns, qp, 5, 1, NULL), 0);
	copy_range(&r[0], 4, 4);
	mem[4096 * 512] = 0x99;
	assert_int_equal(nvme_ns_copy(ns, qp, r, 1, 4096, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x281);
	assert_int_equal(mem[4096 * 512], 0x99);
	stop();
}

/* ---- Compare and Write ---- */

/* Both halves in adjacent slots, also where the ring begins again, and one doorbell. */
static void test_fused(void **state)
{
	struct nvme_io_qpair_opts opts;
	uint64_t rings;
	uint32_t i, delay;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 5;
	for (delay = 0; delay < 2; delay++) {
		opts.delay_cmd_submit = delay != 0;
		start_with("soft:size=1M", &opts);
		for (i = 0; i < 12; i++) {
			const struct nvme_cmd *first, *second;

			memset(buf, mem[9 * 512], 1024);
			memset(buf + 4096, 0x40 + (int)i, 1024);
			rings = nvme_soft_get_doorbells(dev, nvme_qpair_get_id(qp), false);
			assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf + 4096, 9,
			                                               2, note, &seen),
			                 0);
			assert_int_equal(nvme_qpair_get_num_outstanding(qp), 2);
			assert_int_equal(wait_for(&seen), 0);
			assert_int_equal(nvme_soft_get_doorbells(dev, nvme_qpair_get_id(qp), false),
			                 rings + 1);
			assert_int_equal(mem[9 * 512], 0x40 + i);
			assert_int_equal(mem[11 * 512 - 1], 0x40 + i);
			first = sent(2);
			assert_int_equal(first->opc, NVME_OPC_COMPARE);
			assert_int_equal(first->flags, NVME_FUSE_FIRST);
			second = sent(1);
			assert_int_equal(second->opc, NVME_OPC_WRITE);
			assert_int_equal(second->flags, NVME_FUSE_SECOND);
			assert_int_equal(second->cdw10, 9);
			assert_int_equal(second->cdw12, 1);
			if (i % 3 == 0) { /* an odd number of slots */
				assert_int_equal(nvme_ns_cmd_flush(ns, qp, note, &seen), 0);
				assert_int_equal(wait_for(&seen), 0);
			}
		}
		stop();
	}
}

static void test_fused_failures(void **state)
{
	static const struct {
		const char *plan;
		uint32_t expect;
	} plans[] = {
		{"on compare status 2/85", 0x285},
		{"on compare status 2/81", 0x281},
		{"on write status 2/80", 0x280},
		{"on compare status 0/09; on write status 2/80", 0x009}, /* see below */
	};
	size_t i;

	(void)state;
	start("soft:size=1M");
	memset(buf, 1, 512); /* not what is there */
	memset(buf + 4096, 0x40, 512);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf + 4096, 9, 1, note, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0x285);
	assert_int_equal(mem[9 * 512], 0);
	memset(buf, 0, 512);
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		assert_int_equal(nvme_soft_set_plan(dev, plans[i].plan), 0);
		assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf + 4096, 9, 1, note,
		                                               &seen),
		                 0);
		assert_int_equal(wait_for(&seen), plans[i].expect);
		assert_int_equal(mem[9 * 512], 0);
	}
	stop();
}

/* Which of two completions the callback is given, in either order. */
static void test_fused_choice(void **state)
{
	static const struct {
		uint32_t compare, write, expect;
	} rows[] = {
		{0, 0, 0x1000},         {0x285, 0x009, 0x285}, {0, 0x280, 0x280},
		{0x009, 0x280, 0x280},  {0x00a, 0x002, 0x002}, {0x281, 0x280, 0x281},
		{0x009, 0x009, 0x1009}, {0x009, 0, 0x009},     {0x008, 0x008, 0x008},
		{0x00a, 0x00a, 0x100a},
	};
	size_t i;
	int turn;

	(void)state;
	start("soft:size=1M");
	for (i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme__op *op = nvme__op_get(qp, note, &seen, 0);
		struct nvme_cpl c, w;

		memset(&c, 0, sizeof(c));
		memset(&w, 0, sizeof(w));
		w.cdw0 = 1; /* to tell it from the other */
		c.status = (uint16_t)((rows[i / 2].compare & 0xff) << 1 |
		                      rows[i / 2].compare >> 8 << 9);
		w.status =
			(uint16_t)((rows[i / 2].write & 0xff) << 1 | rows[i / 2].write >> 8 << 9);
		op->pending = 2;
		for (turn = 0; turn < 2; turn++) {
			if (turn == (int)(i % 2))
				nvme__fused_compare_done(op, &c);
			else
				nvme__fused_write_done(op, &w);
			assert_int_equal(seen.calls, turn);
		}
		assert_int_equal(code(&seen.cpl), rows[i / 2].expect & 0xfff);
		if (rows[i / 2].expect > 0xfff)
			assert_int_equal(seen.cpl.cdw0, 1);
		memset(&seen, 0, sizeof(seen));
	}
	stop();
}

static void test_fused_refused(void **state)
{
	struct nvme_io_qpair_opts opts;
	uint8_t local[512];
	struct seen flush;
	uint32_t i;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 4;
	start_with("soft:size=1M", &opts);
	assert_int_equal(nvme_soft_set_plan(dev, "on flush delay 1ms"), 0);
	memset(&flush, 0, sizeof(flush));
	for (i = 0; i < 2; i++)
		assert_int_equal(nvme_ns_cmd_flush(ns, qp, note, &flush), 0);
	/* one CID is free: both or none */
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, note, &seen),
	                 -EAGAIN);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 2);
	while (flush.calls < 2)
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0 &&
		            nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS) == 1);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, local, 0, 1, note, &seen),
	                 -EFAULT);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, local, buf, 0, 1, note, &seen),
	                 -EFAULT);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 129, note, &seen),
	                 -EMSGSIZE);
	expect_log("(ACWU or NACWU)");
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 2047, 2, note, &seen),
	                 -ERANGE);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 0, note, &seen),
	                 -EINVAL);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, NULL, &seen),
	                 -EINVAL);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 128, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	stop();
	opts.entries = 2;
	start_with("soft:size=1M,plan=identify nsfeat=2; identify nacwu=3", &opts);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, note, &seen),
	                 -EINVAL);
	expect_log("room for one command only");
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 5, note, &seen),
	                 -EMSGSIZE);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 4, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	stop();
	start("soft:size=1M,plan=identify nacwu=3"); /* which does not count */
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 5, note, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	stop();
}

/* A pair that is never completed ends once, with its queue. */
static void test_fused_end(void **state)
{
	struct nvme_io_qpair_opts opts;
	struct seen flush;

	(void)state;
	memset(&flush, 0, sizeof(flush));
	memset(&opts, 0, sizeof(opts));
	opts.delay_cmd_submit = true;
	start_with("soft:size=1M,plan=on flush gone", &opts);
	assert_int_equal(nvme_ns_cmd_flush(ns, qp, note, &flush), 0);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, note, &seen), 0);
	nvme_qpair_ring(qp);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(flush.calls, 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(code(&seen.cpl), 0x008);
}

/* ---- what a controller lacks ---- */

static void test_not_supported(void **state)
{
	struct nvme_copy_range r;
	uint64_t before;

	(void)state;
	copy_range(&r, 0, 1);
	fill_ranges(1);
	start("soft:size=1M,plan=identify oncs=0; identify fuses=0; identify oacs=0; identify "
	      "sanicap=0; identify vwc=0");
	before = commands();
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 0, 1, note, &seen, 0), -ENOTSUP);
	expect_log("no Compare command (ONCS bit 0)");
	assert_int_equal(nvme_ns_compare(ns, qp, buf, 0, 1, NULL), -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_write_uncorrectable(ns, qp, 0, 1, note, &seen), -ENOTSUP);
	expect_log("no Write Uncorrectable command (ONCS bit 1)");
	assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 4, ranges, 1, note, &seen),
	                 -ENOTSUP);
	expect_log("no Dataset Management command (ONCS bit 2)");
	assert_int_equal(nvme_ns_deallocate(ns, NULL, 0, 1, NULL), -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_write_zeroes(ns, qp, 0, 1, note, &seen, 0), -ENOTSUP);
	expect_log("no Write Zeroes command (ONCS bit 3)");
	assert_int_equal(nvme_ns_write_zeroes(ns, NULL, 0, 1, 0, NULL), -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_verify(ns, qp, 0, 1, note, &seen, 0), -ENOTSUP);
	expect_log("no Verify command (ONCS bit 7)");
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, &r, 1, 0, note, &seen), -ENOTSUP);
	expect_log("no Copy command (ONCS bit 8)");
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, note, &seen),
	                 -ENOTSUP);
	expect_log("cannot fuse Compare and Write (FUSES bit 0)");
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 0, NVME_SELF_TEST_SHORT, NULL), -ENOTSUP);
	expect_log("Device Self-test (OACS bit 4)");
	assert_int_equal(nvme_ctrlr_delete_ns(ctrlr, 1, NULL), -ENOTSUP);
	expect_log("namespace management (OACS bit 3)");
	assert_int_equal(commands(), before);
	assert_int_equal(nvme_ns_get_flags(ns), 0);
	stop();
}

/* A namespace that is being formatted takes none of them, nor one that has gone. */
static void test_while_formatting(void **state)
{
	static const int refusals[] = {-EBUSY, -ENOENT};
	struct nvme_copy_range r;
	uint64_t before;
	size_t i;

	(void)state;
	copy_range(&r, 0, 1);
	fill_ranges(1);
	start("soft:size=1M");
	before = commands();
	for (i = 0; i < 2; i++) {
		int rc = refusals[i];

		nvme__ns_set_refuse(ns, rc);
		assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 0, 1, note, &seen, 0), rc);
		assert_int_equal(nvme_ns_cmd_write_zeroes(ns, qp, 0, 1, note, &seen, 0), rc);
		assert_int_equal(nvme_ns_write_zeroes(ns, qp, 0, 1, 0, NULL), rc);
		assert_int_equal(nvme_ns_cmd_write_uncorrectable(ns, qp, 0, 1, note, &seen), rc);
		assert_int_equal(nvme_ns_cmd_verify(ns, qp, 0, 1, note, &seen, 0), rc);
		assert_int_equal(nvme_ns_cmd_dataset_management(ns, qp, 4, ranges, 1, note, &seen),
		                 rc);
		assert_int_equal(nvme_ns_deallocate(ns, qp, 0, 1, NULL), rc);
		assert_int_equal(nvme_ns_cmd_copy(ns, qp, &r, 1, 0, note, &seen), rc);
		assert_int_equal(nvme_ns_cmd_compare_and_write(ns, qp, buf, buf, 0, 1, note, &seen),
		                 rc);
	}
	assert_int_equal(commands(), before);
	nvme__ns_set_refuse(ns, 0);
	stop();
}

/* ---- getters ---- */

static void test_getters(void **state)
{
	(void)state;
	start("soft:size=1M,lbs=4096,plan=identify noiob=64; identify dps=1");
	assert_int_equal(nvme_ns_get_size(ns), 1 << 20);
	assert_int_equal(nvme_ns_get_md_size(ns), 0);
	assert_int_equal(nvme_ns_get_pi_type(ns), 0); /* DPS without metadata */
	assert_false(nvme_ns_supports_extended_lba(ns));
	assert_int_equal(nvme_ns_get_optimal_io_boundary(ns), 64);
	assert_int_equal(nvme_ns_get_max_io_xfer_size(ns), nvme_ctrlr_get_max_xfer_size(ctrlr));
	assert_int_equal(nvme_ns_get_format_index(nvme_ns_get_data(ns)), 3);
	assert_int_equal(nvme_ns_get_dealloc_logical_block_read_value(ns), NVME_DEALLOC_READ_00);
	assert_int_equal(nvme_ns_get_flags(ns),
	                 NVME_NS_DEALLOCATE_SUPPORTED | NVME_NS_FLUSH_SUPPORTED |
	                         NVME_NS_WRITE_ZEROES_SUPPORTED |
	                         NVME_NS_WRITE_UNCORRECTABLE_SUPPORTED | NVME_NS_COMPARE_SUPPORTED |
	                         NVME_NS_VERIFY_SUPPORTED | NVME_NS_COPY_SUPPORTED);
	stop();
	start("soft:size=1M,plan=identify ms=8; identify dps=3; identify flbas=0x10; identify "
	      "dlfeat=0xfa");
	assert_int_equal(nvme_ns_get_md_size(ns), 8);
	assert_int_equal(nvme_ns_get_pi_type(ns), 3);
	assert_true(nvme_ns_supports_extended_lba(ns));
	assert_int_equal(nvme_ns_get_flags(ns) &
	                         (NVME_NS_DPS_PI_SUPPORTED | NVME_NS_EXTENDED_LBA_SUPPORTED),
	                 NVME_NS_DPS_PI_SUPPORTED | NVME_NS_EXTENDED_LBA_SUPPORTED);
	assert_int_equal(nvme_ns_get_dealloc_logical_block_read_value(ns), NVME_DEALLOC_READ_FF);
	stop();
	start("soft:size=1M,plan=identify ms=8; identify dlfeat=7");
	assert_false(nvme_ns_supports_extended_lba(ns));
	assert_int_equal(nvme_ns_get_dealloc_logical_block_read_value(ns),
	                 NVME_DEALLOC_NOT_REPORTED);
	/* separate metadata: no data, no matter */
	assert_int_equal(nvme_ns_cmd_compare(ns, qp, buf, 0, 1, note, &seen, 0), -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_verify(ns, qp, 0, 1, note, &seen, 0), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(nvme_ns_deallocate(ns, qp, 0, 1, NULL), 0);
	stop();
}

/* ---- admin commands ---- */

static void test_abort(void **state)
{
	struct seen victim, aborts[5];
	int i;

	(void)state;
	memset(&victim, 0, sizeof(victim));
	memset(aborts, 0, sizeof(aborts));
	start("soft:size=1M,plan=on read drop");
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, &victim, 0), 0);
	assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, qp, 0, note, &seen), 0);
	(void)nvme_ctrlr_process_admin_completions(ctrlr);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.cpl.cdw0 & 1, 0);
	assert_int_equal(sent(1)->cdw10, nvme_qpair_get_id(qp));
	assert_int_equal(wait_for(&victim), 0x007);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, qp, 5, note, &seen), 0);
	(void)nvme_ctrlr_process_admin_completions(ctrlr);
	assert_int_equal(seen.cpl.cdw0 & 1, 1); /* there was none */
	assert_int_equal(NVME_GET(sent(1)->cdw10, NVME_ABORT_CID), 5);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, qp, 255, note, &seen), -EINVAL);
	expect_log("no command 255 to abort");
	assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, NULL, 31, note, &seen), -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, NULL, 30, NULL, &seen), -EINVAL);
	/* ACL is 3, 0-based */
	assert_int_equal(nvme_soft_set_plan(dev, "on abort drop"), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(nvme_ctrlr_cmd_abort(ctrlr, qp, 1, note, &aborts[i]),
		                 i < 4 ? 0 : -EAGAIN);
	assert_int_equal(nvme_detach(ctrlr), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(aborts[i].calls, i < 4);
}

static void test_features(void **state)
{
	uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, back[16];
	struct nvme_cpl cpl;
	uint32_t value = 0;

	(void)state;
	start("soft:size=1M");
	assert_int_equal(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 333, 0,
	                                        NULL, 0, &cpl),
	                 0);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0, NULL,
	                                        0, &value, NULL),
	                 0);
	assert_int_equal(value, 333);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr,
	                                        NVME_FEAT_TEMPERATURE_THRESHOLD |
	                                                NVME_SET(1, NVME_GET_FEATURES_SEL),
	                                        0, 0, NULL, 0, &value, NULL),
	                 0);
	assert_int_equal(value, 343); /* the default */
	assert_int_equal(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_HOST_IDENTIFIER, 1, 0, id, 16,
	                                        NULL),
	                 0);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_HOST_IDENTIFIER, 1, 0, back, 16,
	                                        NULL, NULL),
	                 0);
	assert_memory_equal(back, id, 16);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr, 0x7a, 0, 0, NULL, 0, &value, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x002);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_HOST_IDENTIFIER, 1, 0, back, 15,
	                                        NULL, NULL),
	                 -EINVAL);
	expect_log("the length is a multiple of 4");
	/* the same without waiting */
	assert_int_equal(nvme_ctrlr_cmd_set_feature(ctrlr, NVME_FEAT_WRITE_ATOMICITY, 1, 7, NULL, 0,
	                                            note, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(sent(1)->cdw12, 7);
	assert_int_equal(nvme_ctrlr_cmd_get_feature(ctrlr, NVME_FEAT_WRITE_ATOMICITY, 0, 0, NULL, 0,
	                                            note, &seen),
	                 0);
	(void)nvme_ctrlr_process_admin_completions(ctrlr);
	assert_int_equal(seen.cpl.cdw0, 1);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_ctrlr_cmd_get_feature(ctrlr, NVME_FEAT_HOST_IDENTIFIER, 1, 0, buf, 6,
	                                            note, &seen),
	                 -EINVAL);
	stop();
}

/* The parts of a page: RAE on all but the last, and the offsets follow each other. */
static void expect_parts(uint32_t parts, uint32_t full, uint32_t last, uint64_t offset)
{
	uint32_t i;

	for (i = 0; i < parts; i++) {
		const struct nvme_cmd *cmd = sent(parts - i);
		uint32_t len = i + 1 < parts ? full : last;

		assert_int_equal(cmd->opc, NVME_OPC_GET_LOG_PAGE);
		assert_int_equal((NVME_GET_LOG_PAGE_NUMD(cmd->cdw10, cmd->cdw11) + 1) * 4, len);
		assert_int_equal(NVME_GET(cmd->cdw10, NVME_GET_LOG_PAGE_RAE), i + 1 < parts);
		assert_int_equal((uint64_t)cmd->cdw13 << 32 | cmd->cdw12, offset);
		offset += len;
	}
}

static void test_log_pages(void **state)
{
	static uint8_t page[32768], whole[4096], parts[4096];
	struct nvme_smart_log smart;
	struct nvme_cpl cpl;
	uint64_t before;
	uint32_t i;

	(void)state;
	start("soft:size=1M,mdts=1"); /* 8 KiB */
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_SMART, NVME_NSID_ALL, &smart,
	                                         sizeof(smart), 0, &cpl),
	                 0);
	assert_int_equal(smart.avsp, 100);
	expect_parts(1, 0, 512, 0);
	/* every offset of a page in pieces is what the page is at once */
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, whole,
	                                         4096, 0, NULL),
	                 0);
	for (i = 0; i < 4096; i += 1020)
		assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0,
		                                         parts + i, i + 1020 < 4096 ? 1020 : 16, i,
		                                         NULL),
		                 0);
	assert_memory_equal(parts, whole, 4096);
	assert_int_equal(whole[4 * NVME_OPC_IDENTIFY], 1);
	/* more than one command carries: what is behind the page the controller refuses */
	before = commands();
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_ERROR, 0, page, 20480, 0,
	                                         &cpl),
	                 -EIO);
	assert_int_equal(commands() - before, 2);
	assert_int_equal(code(&cpl), 0x002);
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page status 0/00"), 0);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_ERROR, 0, page, 20484,
	                                         UINT64_C(0xfffffffc), NULL),
	                 0);
	expect_parts(3, 8192, 20484 - 16384, UINT64_C(0xfffffffc));
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_ERROR, NVME_NSID_ALL, buf,
	                                             20484, UINT64_C(0x1fffffff8), note, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	expect_parts(3, 8192, 20484 - 16384, UINT64_C(0x1fffffff8));
	assert_int_equal(sent(1)->nsid, NVME_NSID_ALL);
	assert_int_equal(sent(3)->nsid, NVME_NSID_ALL);
	/* it ends at the first error */
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page status 0/00; on get-log-page #2 "
	                                         "status 0/06"),
	                 0);
	before = commands();
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_ERROR, 0, buf, 32768, 0,
	                                             note, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0x006);
	assert_int_equal(commands() - before, 2);
	assert_int_equal(nvme_soft_set_plan(dev, NULL), 0);
	/* the data of an asynchronous one */
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, buf,
	                                             4096, 0, note, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_memory_equal(buf, whole, 4096);
	/* nvme_detach() lets none begin */
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page status 0/00"), 0);
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_ERROR, 0, buf, 32768, 0,
	                                             note, &seen),
	                 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(code(&seen.cpl), 0x371);
}

static void test_log_pages_refused(void **state)
{
	static const struct {
		uint32_t len;
		uint64_t offset;
	} bad[] = {{0, 0}, {2, 0}, {511, 0}, {4, 2}, {8, UINT64_MAX - 3}};
	static uint8_t page[20000];
	uint64_t before;
	size_t i;

	(void)state;
	start("soft:size=1M,plan=identify lpa=0");
	before = commands();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, 2, 0, page, bad[i].len,
		                                         bad[i].offset, NULL),
		                 -EINVAL);
		assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, 2, 0, buf, bad[i].len,
		                                             bad[i].offset, note, &seen),
		                 -EINVAL);
	}
	expect_log("both are multiples of 4");
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, 2, 0, buf, 512, 0, NULL, &seen),
	                 -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, 2, 0, NULL, 512, 0, note, &seen),
	                 -EINVAL);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, 2, 0, page, 4, 4, NULL), -ENOTSUP);
	expect_log("no extended data (LPA bit 2)");
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, 2, 0, page, 16388, 0, NULL), -ENOTSUP);
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, 2, 0, page, 512, 0, note, &seen),
	                 -EFAULT);
	assert_int_equal(commands(), before);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, 2, 0, page, 16384, 0, NULL), 0);
	stop();
}

static void test_supported(void **state)
{
	(void)state;
	start("soft:size=1M");
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SMART));
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_FEATURE_EFFECTS));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_ANA));
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SANITIZE_STATUS));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, 0xff));
	assert_true(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_TIMESTAMP));
	assert_true(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_HOST_IDENTIFIER));
	assert_false(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_HOST_MEM_BUFFER));
	stop();
	/* what Identify says: without the logs, and when they cannot be read */
	start("soft:size=1M,plan=identify lpa=0x0a; identify oncs=0x60; identify oacs=0; identify "
	      "sanicap=0");
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SMART));
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS));
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_TELEMETRY_HOST));
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_RESERVATION));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_PERSISTENT_EVENT));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SUPPORTED));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_DEVICE_SELF_TEST));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SANITIZE_STATUS));
	assert_true(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_TIMESTAMP));
	assert_true(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_VOLATILE_WRITE_CACHE));
	assert_false(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_KEEP_ALIVE_TIMER));
	assert_false(nvme_ctrlr_is_feature_supported(ctrlr, 0));
	stop();
	start("soft:size=1M,plan=on get-log-page status 0/06");
	assert_true(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_SMART));
	assert_false(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_ANA));
	assert_true(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_ARBITRATION));
	stop();
}

/* ---- what goes on in the background ---- */

static void pass_time(uint64_t ms)
{
	struct nvme_dev *d = (struct nvme_dev *)(uintptr_t)dev;
	uint64_t until = dev->ops->now_ns(d) + ms * 1000000;

	while (dev->ops->now_ns(d) < until)
		continue;
}

static struct nvme_self_test_log self_test_log(void)
{
	struct nvme_self_test_log log;

	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_DEVICE_SELF_TEST,
	                                         NVME_NSID_ALL, &log, sizeof(log), 0, NULL),
	                 0);
	return log;
}

static void test_self_test(void **state)
{
	struct nvme_self_test_log log;
	struct nvme_cpl cpl;

	(void)state;
	start("soft:size=1M");
	log = self_test_log();
	assert_int_equal(log.current, 0);
	assert_int_equal(log.result[0].status & 15, 15);
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 0, 7, NULL), -EINVAL);
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 1, NVME_SELF_TEST_SHORT, &cpl), 0);
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 0, NVME_SELF_TEST_SHORT, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x11d);
	pass_time(500);
	log = self_test_log();
	assert_int_equal(log.current, NVME_SELF_TEST_SHORT);
	assert_in_range(log.completion, 50, 60);
	pass_time(600);
	log = self_test_log();
	assert_int_equal(log.current, 0);
	assert_int_equal(log.result[0].status, NVME_SELF_TEST_SHORT << 4);
	assert_int_equal(log.result[0].valid, 1);
	assert_int_equal(log.result[0].nsid[0], 1);
	assert_int_equal(log.result[1].status & 15, 15);
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 0, NVME_SELF_TEST_EXTENDED, NULL), 0);
	assert_int_equal(nvme_ctrlr_self_test(ctrlr, 0, NVME_SELF_TEST_ABORT, NULL), 0);
	log = self_test_log();
	assert_int_equal(log.current, 0);
	assert_int_equal(log.result[0].status, NVME_SELF_TEST_EXTENDED << 4 | 1);
	assert_int_equal(log.result[1].status, NVME_SELF_TEST_SHORT << 4);
	stop();
}

static void test_sanitize(void **state)
{
	struct nvme_sanitize what;
	struct nvme_sanitize_log log;
	struct nvme_cpl cpl;

	(void)state;
	memset(&what, 0, sizeof(what));
	start("soft:size=1M,ns=2");
	memset(mem, 0x55, (size_t)2 << 20);
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), -EINVAL);
	what.action = NVME_SANITIZE_OVERWRITE;
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), -EINVAL); /* no passes */
	what.passes = 16;
	what.pattern = 0xcafe0123;
	what.invert = what.no_deallocate = what.unrestricted = true;
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), 0);
	assert_int_equal(sent(1)->cdw10, 0x30b); /* NDAS, OIPBP, 16 passes are 0, AUSE */
	assert_int_equal(sent(1)->cdw11, 0xcafe0123);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 1, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x01d);
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x01d);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_SANITIZE_STATUS, 0, &log,
	                                         sizeof(log), 0, NULL),
	                 0);
	assert_int_equal(NVME_GET(log.sstat, NVME_SSTAT_STATUS), NVME_SSTAT_RUNNING);
	assert_true(log.sprog < 65535);
	pass_time(1100);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_SANITIZE_STATUS, 0, &log,
	                                         sizeof(log), 0, NULL),
	                 0);
	assert_int_equal(NVME_GET(log.sstat, NVME_SSTAT_STATUS), NVME_SSTAT_OK);
	assert_int_equal(NVME_GET(log.sstat, NVME_SSTAT_PASSES), 16);
	assert_int_equal(log.sprog, 65535);
	assert_int_equal(log.scdw10, 0x30b);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 5, 1, NULL), 0);
	assert_int_equal(buf[0], 0xdc); /* inverted 15 times */
	memset(&what, 0, sizeof(what));
	what.action = NVME_SANITIZE_CRYPTO_ERASE;
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), 0);
	assert_int_equal(sent(1)->cdw10, 4);
	assert_int_equal(mem[5], 0);
	assert_int_equal(mem[(1 << 20) + 5], 0);
	stop();
	start("soft:size=1M,plan=identify sanicap=2");
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), -ENOTSUP);
	expect_log("a crypto erase (SANICAP bit 0)");
	what.action = NVME_SANITIZE_BLOCK_ERASE;
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), 0);
	stop();
}

/* What is sent: the software controller has no such commands. */
static void test_namespace_management(void **state)
{
	const uint16_t cntlids[] = {1, 2, 3};
	struct nvme_id_ns data;
	struct nvme_cpl cpl;
	uint32_t nsid = 0;

	(void)state;
	memset(&data, 0, sizeof(data));
	start("soft:size=1M,plan=identify oacs=0x1e");
	assert_int_equal(nvme_ctrlr_create_ns(ctrlr, &data, &nsid, &cpl), -EIO);
	assert_int_equal(code(&cpl), 0x001);
	assert_int_equal(nvme_ctrlr_delete_ns(ctrlr, 0, NULL), -EINVAL);
	expect_log("NSIDs begin with 1");
	assert_int_equal(nvme_ctrlr_attach_ns(ctrlr, 1, cntlids, 2048, NULL), -EINVAL);
	expect_log("name 1 to 2047");
	assert_int_equal(nvme_ctrlr_attach_ns(ctrlr, 1, cntlids, 0, NULL), -EINVAL);
	assert_int_equal(nvme_soft_set_plan(dev,
	                                    "on namespace-management dw0 7; on namespace-attachment status 0/00"),
	                 0);
	assert_int_equal(nvme_ctrlr_create_ns(ctrlr, &data, &nsid, NULL), 0);
	assert_int_equal(nsid, 7);
	assert_int_equal(nvme_ctrlr_delete_ns(ctrlr, 7, NULL), 0);
	assert_int_equal(nvme_ctrlr_attach_ns(ctrlr, 1, cntlids, 3, NULL), 0);
	assert_int_equal(nvme_ctrlr_detach_ns(ctrlr, 1, NULL, 0, NULL), 0);
	stop();
}

/* ---- texts ---- */

static void test_strerror(void **state)
{
	char text[NVME_ERROR_MAX];
	struct nvme_cpl cpl;

	(void)state;
	memset(&cpl, 0, sizeof(cpl));
	assert_string_equal(nvme_strerror(text, sizeof(text), 0, NULL), "success");
	assert_string_equal(nvme_strerror(text, sizeof(text), 3, &cpl), "success");
	assert_string_equal(nvme_strerror(text, sizeof(text), -EAGAIN, NULL),
	                    "the queue is full (-11)");
	assert_string_equal(nvme_strerror(text, sizeof(text), -12345, NULL), "error (-12345)");
	assert_string_equal(nvme_strerror(text, sizeof(text), -EIO, &cpl),
	                    "input/output error (-5)");
	cpl.status = 0x285 << 1 & 0xfffe;
	cpl.status = (uint16_t)(NVME_SET(2, NVME_CPL_SCT) | NVME_SET(0x85, NVME_CPL_SC));
	assert_string_equal(nvme_strerror(text, sizeof(text), -EIO, &cpl),
	                    "COMPARE FAILURE (02/85)");
	assert_string_equal(nvme_strerror(text, sizeof(text), 0, &cpl), "COMPARE FAILURE (02/85)");
	cpl.status |= (uint16_t)NVME_SET(1, NVME_CPL_DNR);
	assert_string_equal(nvme_strerror(text, sizeof(text), -EIO, &cpl),
	                    "COMPARE FAILURE (02/85), do not retry");
	assert_string_equal(nvme_strerror(text, 8, -EIO, &cpl), "COMPARE");
	nvme__cpl_set_none(&cpl, 1); /* no controller sent that */
	assert_string_equal(nvme_strerror(text, sizeof(text), -ETIMEDOUT, &cpl),
	                    "it was not complete in time (-110)");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_write_zeroes),
		cmocka_unit_test(test_uncorrectable_and_verify),
		cmocka_unit_test(test_dataset_management),
		cmocka_unit_test(test_dsm_refused),
		cmocka_unit_test(test_dsm_small_queue),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_fused_failures),
		cmocka_unit_test(test_fused_choice),
		cmocka_unit_test(test_fused_refused),
		cmocka_unit_test(test_fused_end),
		cmocka_unit_test(test_not_supported),
		cmocka_unit_test(test_while_formatting),
		cmocka_unit_test(test_getters),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_log_pages),
		cmocka_unit_test(test_log_pages_refused),
		cmocka_unit_test(test_supported),
		cmocka_unit_test(test_self_test),
		cmocka_unit_test(test_sanitize),
		cmocka_unit_test(test_namespace_management),
		cmocka_unit_test(test_strerror),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
