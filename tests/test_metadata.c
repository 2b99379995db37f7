/* SPDX-License-Identifier: MIT
 *
 * Metadata and protection information on the software controller: every layout, type and check,
 * with a reference of its own for what the blocks must look like, and what is refused.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "md_block.h"

#define LBA     MD_LBA /* where most of it happens */
#define NLB     MD_NLB
#define APP_TAG MD_APP_TAG
#define GUARD   NVME_IO_FLAGS_PRCHK_GUARD
#define APPTAG  NVME_IO_FLAGS_PRCHK_APPTAG
#define REFTAG  NVME_IO_FLAGS_PRCHK_REFTAG
#define PRACT   NVME_IO_FLAGS_PRACT
#define ROOM    (64 << 10) /* of each buffer, whose rest must not change */
#define REST    0xa5

#define STATUS(sct, sc) ((unsigned)(sct) << 8 | (sc))
#define BAD_GUARD       STATUS(2, 0x82)
#define BAD_APPTAG      STATUS(2, 0x83)
#define BAD_REFTAG      STATUS(2, 0x84)

static struct layout L; /* of the namespace */

static struct nvme_ctrlr *ctrlr;
static const struct nvme_dev *dev;
static struct nvme_ns *ns;
static struct nvme_qpair *qp;
static uint8_t *buf, *md; /* DMA memory */
static char text[65536];  /* of the log */

static void keep_line(void *arg, enum nvme_log_level level, const char *line)
{
	size_t len = strlen(text);

	(void)arg;
	if (level == NVME_LOG_ERROR)
		snprintf(text + len, sizeof(text) - len, "%s\n", line);
}

static void start(const char *more, struct layout layout)
{
	struct nvme_ctrlr_opts opts;
	char device[256];

	L = layout;
	text[0] = '\0';
	snprintf(device, sizeof(device), "soft:size=1M,lbs=%u,ms=%u,mset=%u,pi=%u,pil=%u%s", L.lbs,
	         L.ms, L.mset, L.pi, L.pil, more);
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = keep_line;
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	dev = nvme_ctrlr_get_dev(ctrlr);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_non_null(ns);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, ROOM);
	md = (uint8_t *)nvme_dma_alloc(ctrlr, ROOM);
	assert_true(buf != NULL && md != NULL);
}

static void stop(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	assert_int_equal(stats.strays, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- the reference ---- */

/* What each block is to contain: data, then metadata; in a row for each block. */
static uint8_t want[NLB][4096 + 256];

static void make_blocks(uint32_t seed)
{
	uint32_t i;

	for (i = 0; i < NLB; i++)
		make_block(&L, want[i], LBA + i, seed);
}

static bool stays(uint32_t flags)
{
	return L.pi != 0 && (flags & PRACT) != 0 && L.ms == 8;
}

/* Where block i of a transfer and its metadata are; NULL: it has none there. */
static uint8_t *data_of(uint32_t i, uint32_t flags)
{
	return buf + i * (size_t)(L.lbs + (L.mset && !stays(flags) ? L.ms : 0));
}

static uint8_t *md_of(uint32_t i, uint32_t flags)
{
	return stays(flags) ? NULL : L.mset ? data_of(i, flags) + L.lbs : md + i * (size_t)L.ms;
}

static void put_blocks(uint32_t flags)
{
	uint32_t i;

	memset(buf, REST, ROOM);
	memset(md, REST, ROOM);
	for (i = 0; i < NLB; i++) {
		memcpy(data_of(i, flags), want[i], L.lbs);
		if (md_of(i, flags) != NULL)
			memcpy(md_of(i, flags), want[i] + L.lbs, L.ms);
	}
}

/* The buffers hold the blocks, and behind them nothing was touched. */
static void expect_blocks(uint32_t flags)
{
	size_t in_md = L.mset || stays(flags) ? 0 : L.ms * NLB, i;

	for (i = 0; i < NLB; i++) {
		assert_memory_equal(data_of((uint32_t)i, flags), want[i], L.lbs);
		if (md_of((uint32_t)i, flags) != NULL)
			assert_memory_equal(md_of((uint32_t)i, flags), want[i] + L.lbs, L.ms);
	}
	for (i = (size_t)(data_of(NLB, flags) - buf); i < ROOM; i++)
		assert_int_equal(buf[i], REST);
	for (i = in_md; i < ROOM; i++)
		assert_int_equal(md[i], REST);
}

/* The same of the controller's memory. */
static bool stored(void)
{
	const uint8_t *mem = (const uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);
	size_t size = 0;
	const uint8_t *meta = (const uint8_t *)nvme_soft_get_ns_metadata(dev, 1, &size);
	uint32_t i;

	assert_int_equal(size, (1 << 20) / L.lbs * L.ms);
	for (i = 0; i < NLB; i++)
		if (memcmp(mem + (LBA + i) * L.lbs, want[i], L.lbs) != 0 ||
		    memcmp(meta + (LBA + i) * L.ms, want[i] + L.lbs, L.ms) != 0)
			return false;
	return true;
}

static uint8_t *stored_pi(uint32_t i)
{
	return (uint8_t *)nvme_soft_get_ns_metadata(dev, 1, NULL) + (LBA + i) * L.ms +
	       (L.pil ? 0 : L.ms - 8);
}

/* ---- commands ---- */

static int calls;
static unsigned status;

static void note(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg;
	calls++;
	status = STATUS(NVME_GET(cpl->status, NVME_CPL_SCT), NVME_GET(cpl->status, NVME_CPL_SC));
}

typedef int (*rw_fn)(struct nvme_ns *, struct nvme_qpair *, void *, void *, uint64_t, uint32_t,
                     nvme_cmd_cb, void *, uint32_t, uint16_t, uint16_t);

static unsigned rw(rw_fn fn, uint32_t flags, uint16_t mask, uint16_t tag)
{
	void *apart = L.mset || L.ms == 0 ? NULL : md;

	calls = 0;
	assert_int_equal(fn(ns, qp, buf, apart, LBA, NLB, note, NULL, flags, mask, tag), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(calls, 1);
	return status;
}

static unsigned write_md(uint32_t flags, uint16_t mask, uint16_t tag)
{
	return rw(nvme_ns_cmd_write_with_md, flags, mask, tag);
}

static unsigned read_md(uint32_t flags, uint16_t mask, uint16_t tag)
{
	memset(buf, REST, ROOM);
	memset(md, REST, ROOM);
	return rw(nvme_ns_cmd_read_with_md, flags, mask, tag);
}

/* Read, write, Verify and so on as the caller makes them. */
static unsigned raw(uint8_t opc, uint32_t cdw12, void *data, uint32_t len)
{
	struct nvme_cpl cpl;
	struct nvme_cmd cmd;
	uint64_t iova;
	int rc;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.nsid = 1;
	cmd.cdw10 = cmd.cdw14 = LBA;
	cmd.cdw12 = cdw12 | (NLB - 1);
	cmd.cdw15 = 0xffff0000u | APP_TAG;
	if (len != 0 && !L.mset && nvme_dma_iova(ctrlr, md, 4, &iova) == 0)
		cmd.mptr = iova;
	rc = nvme_ctrlr_io(ctrlr, qp, &cmd, data, len, &cpl);
	assert_true(rc == 0 || rc == -EIO);
	return STATUS(NVME_GET(cpl.status, NVME_CPL_SCT), NVME_GET(cpl.status, NVME_CPL_SC));
}

/* What the last command looked like. */
static void expect_sqe(uint8_t opc, uint32_t flags, uint16_t mask, uint16_t tag)
{
	struct nvme_soft_cmd last;
	uint64_t iova = 0;

	assert_int_equal(nvme_soft_get_last_cmds(dev, &last, 1), 1);
	if (!L.mset && !stays(flags))
		assert_int_equal(nvme_dma_iova(ctrlr, md, 1, &iova), 0);
	assert_int_equal(last.cmd.opc, opc);
	assert_int_equal(last.cmd.mptr, iova);
	assert_int_equal(last.cmd.cdw10, LBA);
	assert_int_equal(last.cmd.cdw12, (NLB - 1) | flags);
	assert_int_equal(last.cmd.cdw14, L.pi == 1 || L.pi == 2 ? LBA : 0);
	assert_int_equal(last.cmd.cdw15, L.pi != 0 ? (uint32_t)mask << 16 | tag : 0);
}

/* ---- every layout ---- */

static unsigned layouts;

static void each_layout(void (*test)(void))
{
	static const unsigned sizes[] = {8, 16, 64}, blocks[] = {512, 4096};
	unsigned b, s, mset, pi, pil;

	layouts = 0;
	for (b = 0; b < 2; b++)
		for (s = 0; s < 3; s++)
			for (mset = 0; mset < 2; mset++)
				for (pi = 0; pi < 4; pi++)
					for (pil = 0; pil < (pi != 0 ? 2u : 1u); pil++) {
						struct layout l = {blocks[b], sizes[s], mset, pi,
						                   pil};

						start("", l);
						test();
						stop();
						layouts++;
					}
	print_message("%u layouts\n", layouts);
}

static void round_trips(void)
{
	uint32_t flags, check;

	for (flags = 0; flags <= (L.pi != 0 ? 15u : 0); flags++) {
		check = flags << 26;
		if (L.pi == 3 && (check & REFTAG) != 0)
			continue;
		make_blocks(flags + 1);
		put_blocks(check);
		if (L.pi != 0 && (check & PRACT) != 0 && L.ms > 8) /* to be replaced */
			memset(md_of(1, check) + (L.pil ? 0 : L.ms - 8), 0x11, 8);
		assert_int_equal(write_md(check, 0xffff, APP_TAG), 0);
		expect_sqe(NVME_OPC_WRITE, check, 0xffff, APP_TAG);
		assert_true(stored());
		assert_int_equal(read_md(check, 0xffff, APP_TAG), 0);
		expect_sqe(NVME_OPC_READ, check, 0xffff, APP_TAG);
		expect_blocks(check);
	}
	assert_int_equal(nvme_ns_get_sector_size(ns), L.lbs);
	assert_int_equal(nvme_ns_get_extended_sector_size(ns), L.lbs + (L.mset ? L.ms : 0));
}

static void test_round_trips(void **state)
{
	(void)state;
	each_layout(round_trips);
	assert_int_equal(layouts, 84);
}

/* ---- what a controller notices ---- */

/* Damages a byte of the PI of the second block, where it is to be written. */
static void write_damaged(unsigned byte, uint32_t flag, unsigned expected)
{
	static uint8_t before[ROOM];
	const uint8_t *mem = (const uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);
	const uint8_t *meta = (const uint8_t *)nvme_soft_get_ns_metadata(dev, 1, NULL);
	size_t data_len = (LBA + NLB) * L.lbs, md_len = (LBA + NLB) * L.ms;

	make_blocks(77);
	put_blocks(0);
	md_of(1, 0)[(L.pil ? 0 : L.ms - 8) + byte] ^= 0x40;
	memcpy(before, mem, data_len);
	memcpy(before + data_len, meta, md_len);
	assert_int_equal(write_md(flag, 0xffff, APP_TAG), expected);
	assert_memory_equal(mem, before, data_len); /* not even the block before it */
	assert_memory_equal(meta, before + data_len, md_len);
	/* nobody looks: it is written as it is */
	assert_int_equal(write_md((GUARD | APPTAG | (L.pi == 3 ? 0 : REFTAG)) & ~flag, 0xffff,
	                          APP_TAG),
	                 0);
	want[1][L.lbs + (L.pil ? 0 : L.ms - 8) + byte] ^= 0x40;
	assert_true(stored());
	/* and noticed when it is read, with or without PRACT */
	assert_int_equal(read_md(flag, 0xffff, APP_TAG), expected);
	assert_int_equal(buf[0], REST);
	assert_int_equal(read_md(flag | PRACT, 0xffff, APP_TAG), expected);
	assert_int_equal(raw(NVME_OPC_VERIFY, flag, NULL, 0), expected);
	assert_int_equal(read_md(0, 0xffff, APP_TAG), 0);
}

static void wrong_tags(void)
{
	uint8_t *pi;

	if (L.pi == 0)
		return;
	write_damaged(1, GUARD, BAD_GUARD);
	write_damaged(2, APPTAG, BAD_APPTAG);
	if (L.pi != 3)
		write_damaged(7, REFTAG, BAD_REFTAG);
	/* a tag that is not the one expected, and bits that nobody compares */
	make_blocks(78);
	put_blocks(0);
	assert_int_equal(write_md(GUARD | APPTAG, 0xffff, APP_TAG ^ 1), BAD_APPTAG);
	assert_int_equal(write_md(GUARD | APPTAG, 0xfffe, APP_TAG ^ 1), 0);
	assert_int_equal(read_md(APPTAG, 0xffff, APP_TAG ^ 0x100), BAD_APPTAG);
	assert_int_equal(read_md(APPTAG, 0x00ff, APP_TAG ^ 0x100), 0);
	expect_blocks(0);
	/* FFFFh: not checked; type 3 wants all ones in the reference tag, too */
	pi = stored_pi(2);
	pi[0] ^= 1;
	assert_int_equal(read_md(GUARD, 0, 0), BAD_GUARD);
	pi[2] = pi[3] = 0xff;
	assert_int_equal(read_md(GUARD, 0, 0), L.pi == 3 ? BAD_GUARD : 0);
	memset(pi + 4, 0xff, 4);
	assert_int_equal(read_md(GUARD | APPTAG, 0xffff, 1),
	                 BAD_APPTAG); /* of the blocks before it */
	assert_int_equal(read_md(GUARD, 0, 0), 0);
}

static void test_wrong_tags(void **state)
{
	(void)state;
	each_layout(wrong_tags);
}

/* Data that has changed on the medium is noticed by the guard, metadata before the PI as well. */
static void rotten(void)
{
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);

	if (L.pi == 0)
		return;
	make_blocks(3);
	put_blocks(0);
	assert_int_equal(write_md(GUARD, 0, 0), 0);
	mem[(LBA + 1) * L.lbs + 100] ^= 4;
	assert_int_equal(read_md(GUARD, 0, 0), BAD_GUARD);
	mem[(LBA + 1) * L.lbs + 100] ^= 4;
	if (L.ms == 8)
		return;
	stored_pi(0)[L.pil ? 8 : -1] ^= 1; /* the guard is over what is before it, no more */
	assert_int_equal(read_md(GUARD, 0, 0), L.pil ? 0 : BAD_GUARD);
}

static void test_rotten(void **state)
{
	(void)state;
	each_layout(rotten);
}

/* Blocks that were never written, or are zero by a command. */
static void test_zeroes(void **state)
{
	static const struct layout l = {512, 16, 1, 1, 0};
	static const uint8_t ones[8] = {255, 255, 255, 255, 255, 255, 255, 255}, zeros[8];
	struct nvme_dsm_range range = {0, NLB, LBA};
	struct nvme_cmd cmd;
	uint32_t i;

	(void)state;
	start("", l);
	assert_memory_equal(stored_pi(0), ones, 8);
	assert_int_equal(read_md(GUARD | APPTAG | REFTAG, 0xffff, 1), 0);
	memset(want, 0, sizeof(want));
	make_blocks(1);
	put_blocks(0);
	assert_int_equal(write_md(0, 0, 0), 0);
	assert_int_equal(raw(NVME_OPC_WRITE_ZEROES, PRACT, NULL, 0), 0);
	for (i = 0; i < NLB; i++) {
		memset(want[i], 0, L.lbs + L.ms);
		put_pi(&L, want[i], LBA + i, APP_TAG);
	}
	assert_true(stored());
	assert_int_equal(read_md(GUARD | APPTAG | REFTAG, 0xffff, APP_TAG), 0);
	assert_int_equal(raw(NVME_OPC_WRITE_ZEROES, 0, NULL, 0), 0);
	assert_memory_equal(stored_pi(1), zeros, 8);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_DATASET_MANAGEMENT;
	cmd.nsid = 1;
	cmd.cdw11 = NVME_SET(1, NVME_DSM_AD);
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &cmd, &range, sizeof(range), NULL), 0);
	assert_memory_equal(stored_pi(1), ones, 8);
	assert_memory_equal(stored_pi(1) - 8, zeros, 8);
	stop();
}

/* Compare: data and metadata, but for the protection information, which is checked. */
static void compares(void)
{
	uint32_t len = NLB * (L.lbs + (L.mset ? L.ms : 0));

	make_blocks(9);
	put_blocks(0);
	assert_int_equal(write_md(0, 0, 0), 0);
	assert_int_equal(raw(NVME_OPC_COMPARE, L.pi != 0 ? GUARD | APPTAG : 0, buf, len), 0);
	data_of(2, 0)[17] ^= 1;
	assert_int_equal(raw(NVME_OPC_COMPARE, 0, buf, len), STATUS(2, 0x85));
	if (L.pi != 0)
		assert_int_equal(raw(NVME_OPC_COMPARE, GUARD, buf, len), BAD_GUARD);
	data_of(2, 0)[17] ^= 1;
	md_of(2, 0)[L.pil ? L.ms - 1 : 0] ^= 1;
	assert_int_equal(raw(NVME_OPC_COMPARE, 0, buf, len),
	                 L.pi != 0 && L.ms == 8 ? 0 : STATUS(2, 0x85));
	if (L.pi != 0)
		assert_int_equal(raw(NVME_OPC_COMPARE, PRACT, buf, len), STATUS(1, 0x81));
}

static void test_compare(void **state)
{
	(void)state;
	each_layout(compares);
}

/* What the specification says is wrong with a command, sent past the driver. */
static void test_controller_refuses(void **state)
{
	static const struct layout apart = {512, 8, 0, 1, 0}, third = {512, 8, 1, 3, 0};
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	uint64_t iova;
	unsigned i;

	(void)state;
	start("", apart);
	assert_int_equal(nvme_dma_iova(ctrlr, md, 4, &iova), 0);
	for (i = 0; i < 4; i++) {
		memset(&cmd, 0, sizeof(cmd));
		cmd.opc = NVME_OPC_READ;
		cmd.nsid = 1;
		cmd.mptr = i == 0 ? 0 : i == 1 ? iova + 2 : iova; /* a plain read has no MPTR */
		cmd.cdw10 = 4;
		cmd.cdw12 = i == 2 ? REFTAG : 0;
		cmd.cdw14 = 5; /* not the LBA */
		assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &cmd, buf, 512, &cpl), i < 3 ? -EIO : 0);
		assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC),
		                 i < 2    ? NVME_SC_INVALID_FIELD
		                 : i == 2 ? NVME_SC_INVALID_PROTECTION_INFO
		                          : 0);
	}
	stop();
	start("", third);
	assert_int_equal(raw(NVME_OPC_READ, REFTAG, buf, 520 * NLB), STATUS(1, 0x81));
	stop();
}

/* ---- the helpers ---- */

static void test_crc(void **state)
{
	static uint8_t bytes[4096];
	size_t i;

	(void)state;
	assert_int_equal(nvme_crc16_t10dif(0, "123456789", 9), 0xd0db);
	assert_int_equal(nvme_crc16_t10dif(nvme_crc16_t10dif(0, "1234", 4), "56789", 5), 0xd0db);
	assert_int_equal(nvme_crc16_t10dif(0, bytes, sizeof(bytes)), 0);
	assert_int_equal(nvme_crc16_t10dif(0x1234, bytes, 0), 0x1234);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(nvme_crc16_t10dif(0, bytes, sizeof(bytes)), 0x8b5d);
	pattern_fill(bytes, sizeof(bytes), 0, 1);
	for (i = 0; i < 300; i++)
		assert_int_equal(nvme_crc16_t10dif((uint16_t)(i * 219), bytes + i, i),
		                 slow_crc((uint16_t)(i * 219), bytes + i, i));
}

static void helpers(void)
{
	const uint32_t all = GUARD | APPTAG | REFTAG;
	void *apart = L.mset ? NULL : md;
	struct nvme_pi_error err = {9, 9, 9, 9};
	struct nvme_pi_ctx ctx;
	uint8_t *pi;

	if (L.pi == 0) {
		assert_int_equal(nvme_pi_ctx_init(&ctx, ns, LBA, all, 0xffff, APP_TAG), -ENOTSUP);
		assert_non_null(strstr(text, "has no protection information"));
		return;
	}
	assert_int_equal(nvme_pi_ctx_init(&ctx, ns, LBA, all, 0xffff, APP_TAG), 0);
	make_blocks(4);
	put_blocks(0);
	memset(md_of(1, 0) + (L.pil ? 0 : L.ms - 8), 0, 8);
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, &err), -EILSEQ);
	assert_int_equal(nvme_pi_generate(&ctx, buf, apart, NLB), 0);
	expect_blocks(0);
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, &err), 0);
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, NULL), 0);
	/* each field, in the last block */
	pi = md_of(2, 0) + (L.pil ? 0 : L.ms - 8);
	pi[7] ^= 2;
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, &err), L.pi == 3 ? 0 : -EILSEQ);
	if (L.pi != 3) {
		assert_int_equal(err.block, 2);
		assert_int_equal(err.sc, NVME_SC_REFERENCE_TAG_CHECK_ERROR);
		assert_int_equal(err.expected, LBA + 2);
		assert_int_equal(err.actual, (LBA + 2) ^ 2);
	}
	pi[2] ^= 0x80;
	ctx.app_tag_mask = 0xff00;
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, &err), -EILSEQ);
	assert_int_equal(err.block, 2);
	assert_int_equal(err.sc, NVME_SC_APPLICATION_TAG_CHECK_ERROR);
	assert_int_equal(err.expected, APP_TAG & 0xff00);
	assert_int_equal(err.actual, (APP_TAG ^ 0x8000) & 0xff00);
	data_of(2, 0)[0] ^= 1;
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, &err), -EILSEQ);
	assert_int_equal(err.block, 2);
	assert_int_equal(err.sc, NVME_SC_GUARD_CHECK_ERROR);
	assert_int_equal(err.actual, (uint32_t)pi[0] << 8 | pi[1]);
	assert_int_not_equal(err.expected, err.actual);
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, 2, &err), 0);
	/* not checked */
	pi[2] = pi[3] = 0xff;
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, NULL), L.pi == 3 ? -EILSEQ : 0);
	memset(pi + 4, 0xff, 4);
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, NULL), 0);
	ctx.flags = 0;
	pi[2] = 0;
	assert_int_equal(nvme_pi_verify(&ctx, buf, apart, NLB, NULL), 0);
	/* misuse */
	assert_int_equal(nvme_pi_verify(&ctx, buf, L.mset ? md : NULL, NLB, NULL), -EINVAL);
	assert_int_equal(nvme_pi_generate(&ctx, buf, L.mset ? md : NULL, NLB), -EINVAL);
	ctx.type = 4;
	assert_int_equal(nvme_pi_generate(&ctx, buf, apart, NLB), -EINVAL);
	ctx.type = 1;
	ctx.md_size = 7;
	assert_int_equal(nvme_pi_generate(&ctx, buf, apart, NLB), -EINVAL);
}

static void test_helpers(void **state)
{
	(void)state;
	each_layout(helpers);
}

/* The reference tag is the low half of an LBA, and goes round. */
static void test_ref_tag_goes_round(void **state)
{
	static const struct layout l = {512, 8, 1, 1, 0};
	struct nvme_soft_cmd last;
	struct nvme_pi_ctx ctx;
	uint64_t lba = UINT64_C(0x2ffffffff);

	(void)state;
	start(",plan=identify nsze=1152921504606846975", l);
	assert_int_equal(nvme_ns_cmd_read_with_md(ns, qp, buf, NULL, lba, 2, note, NULL, REFTAG, 0,
	                                          0),
	                 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(status, STATUS(0, NVME_SC_LBA_OUT_OF_RANGE)); /* it is not so large */
	assert_int_equal(nvme_soft_get_last_cmds(dev, &last, 1), 1);
	assert_int_equal(last.cmd.cdw10, 0xffffffff);
	assert_int_equal(last.cmd.cdw11, 2);
	assert_int_equal(last.cmd.cdw14, 0xffffffff);
	assert_int_equal(nvme_pi_ctx_init(&ctx, ns, lba, REFTAG, 0, 0), 0);
	assert_int_equal(nvme_pi_generate(&ctx, buf, NULL, 2), 0);
	assert_memory_equal(buf + 512 + 4, "\xff\xff\xff\xff", 4);
	assert_memory_equal(buf + 520 + 512 + 4, "\0\0\0\0", 4);
	stop();
}

/* ---- calls that wait ---- */

typedef struct {
	bool dma_data, dma_md;
	unsigned shift;
} memory;

/* 500 blocks in several commands, to and from memory of each kind. */
static void blocking(memory m)
{
	const uint64_t nlb = 500;
	size_t block = L.lbs + (L.mset ? L.ms : 0), len = nlb * block, md_len = nlb * L.ms, i;
	uint8_t *data = (uint8_t *)(m.dma_data ? nvme_dma_alloc(ctrlr, len + 8) : malloc(len + 8));
	uint8_t *meta =
		(uint8_t *)(m.dma_md ? nvme_dma_alloc(ctrlr, md_len + 8) : malloc(md_len + 8));
	uint8_t *d, *p, *apart;
	uint32_t flags = L.pi != 0 ? GUARD | APPTAG | (L.pi == 3 ? 0 : REFTAG) : 0;
	struct nvme_soft_stats before, after;
	struct nvme_pi_ctx ctx;
	struct nvme_cpl cpl;

	if (data == NULL || meta == NULL)
		fail_msg("no memory for %zu and %zu bytes", len, md_len);
	d = data + m.shift;
	p = meta + m.shift;
	apart = L.mset ? NULL : p;
	pattern_fill(d, len, 0, 5 + m.shift);
	pattern_fill(p, md_len, 0, 6 + m.shift);
	if (L.pi != 0) {
		assert_int_equal(nvme_pi_ctx_init(&ctx, ns, 700, flags, 0xffff, APP_TAG), 0);
		assert_int_equal(nvme_pi_generate(&ctx, d, apart, (uint32_t)nlb), 0);
	}
	nvme_soft_get_stats(dev, &before);
	assert_int_equal(nvme_ns_write_with_md(ns, qp, d, apart, 700, nlb, &cpl, flags, 0xffff,
	                                       APP_TAG),
	                 0);
	nvme_soft_get_stats(dev, &after);
	assert_int_equal(after.io_cmds - before.io_cmds,
	                 (nlb + 65536 / block - 1) / (65536 / block));
	assert_int_equal(nvme_cpl_is_error(&cpl), 0);
	for (i = 0; i < nlb; i++) { /* in the controller: each block where it belongs */
		const uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);
		const uint8_t *was = (uint8_t *)nvme_soft_get_ns_metadata(dev, 1, NULL);

		assert_memory_equal(mem + (700 + i) * L.lbs, d + i * block, L.lbs);
		assert_memory_equal(was + (700 + i) * L.ms,
		                    L.mset ? d + i * block + L.lbs : p + i * L.ms, L.ms);
	}
	memset(data, 0, len);
	memset(meta, 0, md_len);
	assert_int_equal(nvme_ns_read_with_md(ns, qp, d, apart, 700, nlb, NULL, flags, 0xffff,
	                                      APP_TAG),
	                 0);
	if (L.pi != 0)
		assert_int_equal(nvme_pi_verify(&ctx, d, apart, (uint32_t)nlb, NULL), 0);
	assert_int_equal(pattern_check(d, L.lbs, 0, 5 + m.shift), -1);
	if (L.pi == 0 && !L.mset)
		assert_int_equal(pattern_check(p, md_len, 0, 6 + m.shift), -1);
	if (L.pi != 0)
		assert_int_equal(nvme_ns_read_with_md(ns, NULL, d, apart, 700, nlb, &cpl, flags,
		                                      0xffff, 1),
		                 -EIO);
	if (m.dma_data)
		nvme_dma_free(ctrlr, data);
	else
		free(data);
	if (m.dma_md)
		nvme_dma_free(ctrlr, meta);
	else
		free(meta);
}

static void test_blocking(void **state)
{
	static const memory kinds[] = {
		{true, true, 0},  {true, true, 4},   {true, false, 0},
		{false, true, 0}, {false, false, 3},
	};
	unsigned mset, pi, i;

	(void)state;
	for (mset = 0; mset < 2; mset++)
		for (pi = 0; pi < 4; pi++)
			for (i = 0; i < 5; i++) {
				struct layout l = {512, 16, mset, pi, 0};

				start(",mdts=4", l);
				blocking(kinds[i]);
				stop();
			}
}

/* Metadata that is more than the data, as a device may say: the copies stay bounded. */
static void test_blocking_much_metadata(void **state)
{
	static const struct layout l = {512, 8, 0, 0, 0};
	struct nvme_soft_stats before, after;
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *small;
	uint8_t *data = (uint8_t *)malloc(500 * 512), *meta = (uint8_t *)malloc(500 * 8192);

	(void)state;
	assert_true(data != NULL && meta != NULL);
	start(",plan=identify ms=8192", l);
	nvme_soft_get_stats(dev, &before);
	assert_int_equal(nvme_ns_read_with_md(ns, qp, data, meta, 0, 500, NULL, 0, 0, 0), 0);
	nvme_soft_get_stats(dev, &after);
	assert_int_equal(after.io_cmds - before.io_cmds, 8); /* of 524288 / 8192 blocks */
	memset(&opts, 0, sizeof(opts));
	opts.max_xfer_size = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &small), 0);
	assert_int_equal(nvme_ns_read_with_md(ns, small, data, meta, 0, 5, NULL, 0, 0, 0), 0);
	nvme_soft_get_stats(dev, &before);
	assert_int_equal(before.io_cmds - after.io_cmds, 5);
	stop();
	free(data);
	free(meta);
}

/* ---- what the driver refuses ---- */

/* One line of the log, and nothing reaches the controller. */
#define EXPECT(call, errno_, says)                                      \
	do {                                                            \
		struct nvme_soft_stats before_, after_;                 \
		nvme_soft_get_stats(dev, &before_);                     \
		text[0] = '\0';                                         \
		assert_int_equal(call, errno_);                         \
		nvme_soft_get_stats(dev, &after_);                      \
		assert_int_equal(after_.io_cmds, before_.io_cmds);      \
		if (strstr(text, says) == NULL)                         \
			fail_msg("not said: %s, but: %s", says, text);  \
		assert_true(strchr(text, '\n') == strrchr(text, '\n')); \
	} while (0)
#define READ(b, m, lba, n, flags) \
	nvme_ns_cmd_read_with_md(ns, qp, b, m, lba, n, note, NULL, flags, 0, 0)
#define READ_WAIT(b, m, lba, n, flags) nvme_ns_read_with_md(ns, qp, b, m, lba, n, NULL, flags, 0, 0)

static void test_misuse(void **state)
{
	static const struct layout apart = {512, 8, 0, 1, 0}, behind = {512, 8, 1, 3, 0},
				   none = {512, 0, 0, 0, 0}, no_pi = {512, 16, 0, 0, 0};
	struct nvme_io_qpair_opts small;
	struct nvme_qpair *other;
	static uint8_t plain[4096];

	(void)state;
	start("", apart);
	EXPECT(READ(buf, NULL, 0, 1, 0), -EINVAL, "md is NULL");
	EXPECT(READ_WAIT(plain, NULL, 0, 1, 0), -EINVAL, "md is NULL");
	EXPECT(READ(buf, md + 2, 0, 1, 0), -EFAULT, "dword aligned");
	EXPECT(READ(buf, plain, 0, 1, 0), -EFAULT, "not DMA memory");
	EXPECT(READ(buf, md + ROOM - 8, 0, 2, 0), -EFAULT, "16 bytes at");
	EXPECT(READ(plain, md, 0, 1, 0), -EFAULT, "not DMA memory");
	EXPECT(READ(buf + ROOM - 512, md, 0, 2, 0), -EFAULT, "1024 bytes at");
	EXPECT(READ_WAIT(plain, md + ROOM - 8, 0, 2, 0), -EFAULT, "16 bytes at");
	EXPECT(READ_WAIT(buf + ROOM - 512, md, 0, 2, 0), -EFAULT, "1024 bytes at");
	EXPECT(READ(NULL, md, 0, 1, 0), -EINVAL, "buf is NULL");
	EXPECT(READ(buf, md, 0, 0, 0), -EINVAL, "no blocks");
	EXPECT(READ(buf, md, 2047, 2, 0), -ERANGE, "ends before");
	EXPECT(READ(buf, md, 0, 1025, 0), -EMSGSIZE, "at most 1024");
	EXPECT(READ(buf, md, 0, 1, 1u << 25), -EINVAL, "a flag is unknown");
	EXPECT(READ_WAIT(buf, md, 0, 1, 1), -EINVAL, "a flag is unknown");
	EXPECT(nvme_ns_cmd_read_with_md(ns, qp, buf, md, 0, 1, NULL, NULL, 0, 0, 0), -EINVAL,
	       "no callback");
	EXPECT(nvme_ns_cmd_read_with_md(ns, NULL, buf, md, 0, 1, note, NULL, 0, 0, 0), -EINVAL,
	       "no queue pair");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, NULL, 0), -ENOTSUP,
	       "nvme_ns_cmd_read_with_md");
	EXPECT(nvme_ns_write(ns, qp, buf, 0, 1, NULL), -ENOTSUP, "nvme_ns_cmd_read_with_md");
	/* PRACT keeps 8 bytes there, so that md is not looked at */
	assert_int_equal(READ(buf + ROOM - 1024, NULL, 0, 2, PRACT), 0);
	assert_int_equal(READ(buf, md + 1, 0, 1, PRACT), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 2);
	assert_int_equal(status, 0);
	/* a queue pair whose commands carry less than a block */
	memset(&small, 0, sizeof(small));
	small.max_xfer_size = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &small, &other), 0);
	EXPECT(nvme_ns_cmd_read_with_md(ns, other, buf, md, 0, 9, note, NULL, 0, 0, 0), -EMSGSIZE,
	       "at most 8");
	stop();

	start("", behind);
	EXPECT(READ(buf, md, 0, 1, 0), -EINVAL, "md is given");
	EXPECT(READ(buf, md, 0, 1, PRACT), -EINVAL, "md is given");
	EXPECT(READ(buf, NULL, 0, 1, REFTAG), -EINVAL, "type 3 has no reference tag");
	EXPECT(READ(buf + ROOM - 1024, NULL, 0, 2, 0), -EFAULT, "1040 bytes at");
	assert_int_equal(READ(buf + ROOM - 1024, NULL, 0, 2, PRACT), 0);
	assert_int_equal(READ(buf, NULL, 0, 1, NVME_IO_FLAGS_FUA), 0);
	EXPECT(READ(buf, NULL, 0, 1009, 0), -EMSGSIZE, "at most 1008");
	EXPECT(READ(buf, NULL, 0, 1009, PRACT), -EFAULT, "516608 bytes at");
	stop();

	start("", none);
	EXPECT(READ(buf, md, 0, 1, 0), -EINVAL, "md is given");
	EXPECT(READ(buf, NULL, 0, 1, GUARD), -EINVAL, "has no protection information");
	assert_int_equal(READ(buf, NULL, 0, 1, 0), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(status, 0);
	stop();

	start("", no_pi);
	EXPECT(READ(buf, md, 0, 1, PRACT), -EINVAL, "has no protection information");
	stop();

	/* what a device may say, and no specification knows */
	start(",plan=identify dps=4", no_pi);
	EXPECT(READ(buf, md, 0, 1, 0), -ENOTSUP, "of type 4");
	stop();
	start(",plan=identify ms=7", apart);
	EXPECT(READ_WAIT(buf, md, 0, 1, PRACT), -ENOTSUP, "in 7 bytes");
	stop();
}

/* ---- Format ---- */

static int format(uint8_t lbaf, uint8_t mset, uint8_t pi, uint8_t pil)
{
	struct nvme_format f;

	memset(&f, 0, sizeof(f));
	f.lbaf = lbaf;
	f.mset = mset;
	f.pi = pi;
	f.pil = pil;
	return nvme_ctrlr_format(ctrlr, 1, &f, NULL);
}

/* Copy takes the metadata with the blocks, sanitize erases it with them. */
static void test_copy_and_sanitize(void **state)
{
	static const struct layout plain = {512, 16, 0, 0, 0};
	static uint8_t data[8 * 512], tags[8 * 16], back[8 * 512], tags_back[8 * 16];
	struct nvme_copy_range range;
	struct nvme_sanitize erase;
	size_t i;

	(void)state;
	start("", plain);
	assert_int_equal(format(8, 0, 0, 0), 0);
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (i = 0; i < sizeof(tags); i++)
		tags[i] = (uint8_t)(i * 3 + 1);
	assert_int_equal(nvme_ns_write_with_md(ns, qp, data, tags, 5, 8, NULL, 0, 0, 0), 0);
	memset(&range, 0, sizeof(range));
	range.slba = 5;
	range.nlb = 7;
	assert_int_equal(nvme_ns_copy(ns, qp, &range, 1, 9, NULL), 0); /* they overlap */
	assert_int_equal(nvme_ns_read_with_md(ns, qp, back, tags_back, 9, 8, NULL, 0, 0, 0), 0);
	assert_memory_equal(back, data, sizeof(data));
	assert_memory_equal(tags_back, tags, sizeof(tags));
	memset(&erase, 0, sizeof(erase));
	erase.action = NVME_SANITIZE_BLOCK_ERASE;
	assert_int_equal(nvme_ctrlr_sanitize(nvme_ns_get_ctrlr(ns), &erase, NULL), 0);
	memset(tags, 0, sizeof(tags));
	memset(data, 0, sizeof(data));
	while (nvme_ns_read_with_md(ns, qp, back, tags_back, 9, 8, NULL, 0, 0, 0) != 0)
		(void)dev->ops->now_ns((struct nvme_dev *)(uintptr_t)dev); /* until it is done */
	assert_memory_equal(back, data, sizeof(data));
	assert_memory_equal(tags_back, tags, sizeof(tags));
	stop();
}

static void test_format(void **state)
{
	static const struct layout plain = {512, 16, 0, 0, 0};
	const struct nvme_id_ns *id;
	unsigned pi, pil, mset;

	(void)state;
	start("", plain);
	id = nvme_ns_get_data(ns);
	assert_int_equal(id->nlbaf, 15);
	assert_int_equal(id->mc, 3);
	assert_int_equal(id->dpc, 0x1f);
	assert_int_equal(id->lbaf[11].ms, 16);
	assert_int_equal(id->lbaf[11].lbads, 12);
	for (mset = 0; mset < 2; mset++)
		for (pi = 0; pi < 4; pi++)
			for (pil = 0; pil < (pi != 0 ? 2u : 1u); pil++) {
				struct layout l = {4096, 16, mset, pi, pil};

				assert_int_equal(format(11, (uint8_t)mset, (uint8_t)pi,
				                        (uint8_t)pil),
				                 0);
				L = l;
				assert_int_equal(id->flbas, 11 | mset << 4);
				assert_int_equal(id->dps, pi | pil << 3);
				assert_int_equal(nvme_ns_get_num_sectors(ns), 256);
				round_trips();
				/* a plain read follows the format, too */
				assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, NULL, 0),
				                 mset ? 0 : -ENOTSUP);
				assert_int_equal(nvme_qpair_process_completions(qp, 0), mset);
			}
	assert_int_equal(format(3, 0, 0, 0), 0); /* and back */
	assert_int_equal(id->flbas, 3);
	assert_int_equal(id->dps, 0);
	assert_null(nvme_soft_get_ns_metadata(dev, 1, NULL));
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 1, NULL), 0);
	/* no PI without metadata, no format behind the last */
	assert_int_equal(format(3, 0, 1, 0), -EIO);
	assert_int_equal(format(3, 1, 0, 0), -EIO);
	assert_int_equal(format(16, 0, 0, 0), -EINVAL);
	stop();

	L.ms = 4;
	start("", L = (struct layout){512, 4, 1, 0, 0});
	assert_int_equal(nvme_ns_get_data(ns)->dpc, 0);
	assert_int_equal(format(8, 1, 1, 0), -EIO);
	assert_int_equal(format(8, 1, 0, 0), 0);
	stop();
}

/* Without the options everything is as it was. */
static void test_unasked(void **state)
{
	struct nvme_ctrlr_opts opts;
	const struct nvme_id_ns *id;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log = keep_line;
	assert_int_equal(nvme_attach("soft:size=1M", &opts, &ctrlr), 0);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	id = nvme_ns_get_data(ns);
	assert_int_equal(id->nlbaf, 7);
	assert_int_equal(id->mc | id->dpc | id->dps | id->flbas, 0);
	assert_int_equal(id->lbaf[8].lbads, 0);
	assert_int_equal(format(8, 0, 0, 0), -EINVAL);
	assert_null(nvme_soft_get_ns_metadata(nvme_ctrlr_get_dev(ctrlr), 1, NULL));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_options(void **state)
{
	static const struct {
		const char *device, *says;
	} rows[] = {
		{"soft:ms=257", "from 0 to 256"},
		{"soft:ms=8,pi=4", "from 0 to 3"},
		{"soft:ms=7,pi=1", "pi=1 needs 8 bytes of metadata, but ms is 7"},
		{"soft:mset=1", "mset=1 means nothing without metadata"},
		{"soft:ms=8,pil=1", "pil=1 means nothing"},
		{"soft:ms=8,file=x", "metadata is not kept in a file"},
		{"soft:ms=8,pi=1,pil=1,mset=1", ""},
		{"soft:ms=0,file=x", ""},
	};
	char why[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(nvme_soft_check(rows[i].device, why, sizeof(why)),
		                 *rows[i].says != '\0' ? -EINVAL : 0);
		assert_non_null(strstr(why, rows[i].says));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_wrong_tags),
		cmocka_unit_test(test_rotten),
		cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_controller_refuses),
		cmocka_unit_test(test_helpers),
		cmocka_unit_test(test_ref_tag_goes_round),
		cmocka_unit_test(test_blocking),
		cmocka_unit_test(test_blocking_much_metadata),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_copy_and_sanitize),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_unasked),
		cmocka_unit_test(test_options),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
