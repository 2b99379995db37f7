/* SPDX-License-Identifier: MIT
 *
 * Transfers that are cut into several commands: where, with which data pointers, what comes back
 * when some of them fail, and what happens to those that the queue has no room for.
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

#include "fake_ctrlr.h"
#include "seen.h"
#include "pattern.h"
#include "splits.h"

#define MAX_PIECES 8

static struct fake fake;

/* Polls until it is complete. */
static void finish(struct nvme_qpair *qp, const struct seen *seen)
{
	int polls;

	for (polls = 0; seen->calls == 0; polls++) {
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
		assert_true(polls < 1 << 20);
	}
	assert_int_equal(seen->calls, 1);
}

/* ---- where a transfer is cut: MDTS, NOIOB, max_xfer_size ---- */

/* The same bytes as pieces of whole pages, two of which are next to each other, and empty ones. */
static int iov_of_pages(struct iovec *iov, uint8_t *buf, size_t len, size_t page)
{
	int n = 0;
	size_t at, part;

	for (at = 0; at < len; at += part) {
		part = (n % 3 == 0 ? 1 : 7) * page;
		part = part < len - at ? part : len - at;
		iov[n].iov_base = buf + at;
		iov[n++].iov_len = part;
		iov[n].iov_base = n % 2 == 0 ? buf : NULL;
		iov[n++].iov_len = 0;
	}
	return n;
}

static void one_split(const struct split *row)
{
	static struct iovec iov[8192];
	struct seen seen[4] = {{0}};
	struct nvme_qpair *qp;
	struct nvme_io_qpair_opts opts = {.entries = 4, .max_xfer_size = row->max_xfer};
	struct nvme_ctrlr *ctrlr = attach_split(&fake, row);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	size_t len = (size_t)row->n * fake.block, i;
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, len), *copy = (uint8_t *)malloc(len);
	int n = iov_of_pages(iov, buf, len, ctrlr->page_size);
	uint64_t before;

	assert_true(buf != NULL && copy != NULL);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	before = fake.cmds;
	for (i = 0; i < len; i++)
		copy[i] = buf[i] = (uint8_t)(i ^ i >> 9);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, row->slba, row->n, count, &seen[0],
	                                         NVME_IO_FLAGS_FUA),
	                 0);
	finish(qp, &seen[0]);
	check_split_commands(&fake, row, NVME_OPC_WRITE, before, NVME_IO_FLAGS_FUA); /* B45 */
	memset(buf, 0, len);
	before = fake.cmds;
	assert_int_equal(nvme_ns_cmd_readv(ns, qp, iov, n, row->slba, row->n, count, &seen[1],
	                                   NVME_IO_FLAGS_LIMITED_RETRY),
	                 0);
	memset(iov, 0x55, sizeof(iov)); /* nobody looks at it any more */
	finish(qp, &seen[1]);
	check_split_commands(&fake, row, NVME_OPC_READ, before, NVME_IO_FLAGS_LIMITED_RETRY);
	if (len <= sizeof(fake.disk))
		assert_memory_equal(buf, copy, len);
	n = iov_of_pages(iov, buf, len, ctrlr->page_size);
	before = fake.cmds;
	assert_int_equal(nvme_ns_cmd_writev(ns, qp, iov, n, row->slba, row->n, count, &seen[2], 0),
	                 0);
	finish(qp, &seen[2]);
	check_split_commands(&fake, row, NVME_OPC_WRITE, before, 0);
	before = fake.cmds;
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, row->slba, row->n, count, &seen[3], 0),
	                 0);
	finish(qp, &seen[3]);
	check_split_commands(&fake, row, NVME_OPC_READ, before, 0);
	for (i = 0; i < 4; i++)
		assert_true(seen[i].calls == 1 && !nvme_cpl_is_error(&seen[i].cpl));
	assert_int_equal(nvme_detach(ctrlr), 0);
	free(copy);
}

static void test_splits(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(splits) / sizeof(splits[0]); i++)
		one_split(&splits[i]);
	print_message("%zu splits\n", i);
}

/* Formats that cannot be: the namespace is refused, and there is nothing to read from (B51, B52). */
static void test_formats(void **state)
{
	static const struct {
		uint8_t lbads, flbas, nlbaf;
		bool there;
	} rows[] = {{0, 0, 0, false},  {8, 0, 0, false},   {32, 0, 0, false}, {255, 0, 0, false},
	            {64, 0, 0, false}, {17, 0, 0, false},  {9, 0, 0, true},   {16, 0, 0, true},
	            {12, 1, 0, false}, {12, 15, 3, false}, {12, 0, 3, true}};
	struct nvme_ctrlr *ctrlr;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_init(&fake);
		fake.edit = edit_namespace;
		memset(&edit_ns, 0, sizeof(edit_ns));
		edit_ns.nsze = 2048;
		edit_ns.flbas = rows[i].flbas;
		edit_ns.nlbaf = rows[i].nlbaf;
		for (k = 0; k < 64; k++)
			edit_ns.lbaf[k].lbads = rows[i].lbads;
		ctrlr = fake_attach(&fake);
		assert_int_equal(nvme_ctrlr_get_ns(ctrlr, 1) != NULL, rows[i].there);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

/* ---- on the software controller: data pointers ---- */

static struct nvme_ctrlr *attach_soft(const char *device)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log_level = NVME_LOG_ERROR;
	opts.log = fake_log;
	opts.log_arg = &fake;
	fake_init(&fake);
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	return ctrlr;
}

static struct nvme_soft_stats stats_of(struct nvme_ctrlr *ctrlr)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(nvme_ctrlr_get_dev(ctrlr), &stats);
	return stats;
}

static void detach_soft(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(stats_of(ctrlr).strays, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static uint8_t *ns_memory(struct nvme_ctrlr *ctrlr)
{
	size_t size;

	return (uint8_t *)nvme_soft_get_ns_memory(nvme_ctrlr_get_dev(ctrlr), 1, &size);
}

enum how { PRP, BLOCK, LIST }; /* a data pointer: PRPs, one data block, a segment */

struct layout {
	const char *id, *opts; /* of the software controller */
	uint32_t flags, max_descs;
	struct {
		uint32_t page, offset, len; /* page 0: a hole */
	} piece[MAX_PIECES];
	int rc;
	struct {
		uint32_t nlb;
		enum how how;
		uint32_t descs;
	} want[MAX_CUTS];
};

#define B43                                                                                        \
	{                                                                                          \
		{1, 0x800, 2048}, {3, 0, 4096}, {5, 0, 2048}, {7, 0x100, 4096}, {10, 0x800, 2048}, \
		{                                                                                  \
			12, 0x800, 1024                                                            \
		}                                                                                  \
	}

static const struct layout layouts[] = {
	{"B39", "sgls=0", 0, 0, {{1, 0, 300}, {3, 0, 300}, {5, 0, 424}}, -EOPNOTSUPP, {{0}}},
	{"B39, SGLs", "sgls=1", 0, 0, {{1, 0, 300}, {3, 0, 300}, {5, 0, 424}}, 0, {{2, LIST, 3}}},
	{"B41",
         "sgls=1",
         0,
         2,
         {{1, 0, 300}, {3, 0, 300}, {5, 0, 424}},
         0,
         {{1, LIST, 2}, {1, LIST, 2}}},
	{"B41, one segment is not enough",
         "sgls=1",
         0,
         1,
         {{1, 0, 300}, {3, 0, 300}, {5, 0, 424}},
         -EOPNOTSUPP,
         {{0}}},
	{"B43", "sgls=0", 0, 0, B43, 0, {{16, PRP, 0}, {8, PRP, 0}, {4, PRP, 0}, {2, PRP, 0}}},
	{"B43, SGLs", "sgls=1", 0, 0, B43, 0, {{30, LIST, 6}}},
	{"B43, SGLs of 2", "sgls=1", 0, 2, B43, 0, {{16, PRP, 0}, {12, LIST, 2}, {2, PRP, 0}}},
	{"one piece", "sgls=1", 0, 0, {{1, 0, 8192}}, 0, {{16, PRP, 0}}},
	{"asked for", "sgls=1", NVME_IO_FLAGS_SGL, 0, {{1, 0, 8192}}, 0, {{16, BLOCK, 0}}},
	{"asked for, dwords", "sgls=2", NVME_IO_FLAGS_SGL, 0, {{1, 4, 1024}}, 0, {{2, BLOCK, 0}}},
	{"asked for, an odd number",
         "sgls=1",
         NVME_IO_FLAGS_SGL,
         0,
         {{1, 0, 1536}},
         0,
         {{3, BLOCK, 0}}},
	{"asked for in vain", "sgls=0", NVME_IO_FLAGS_SGL, 0, {{1, 0, 8192}}, -EOPNOTSUPP, {{0}}},
	{"reserved", "sgls=3", NVME_IO_FLAGS_SGL, 0, {{1, 0, 8192}}, -EOPNOTSUPP, {{0}}},
	{"keyed only", "sgls=4", NVME_IO_FLAGS_SGL, 0, {{1, 0, 8192}}, -EOPNOTSUPP, {{0}}},
	{"next to each other",
         "sgls=1",
         0,
         0,
         {{1, 0, 300}, {1, 300, 300}, {1, 600, 424}},
         0,
         {{2, PRP, 0}}},
	{"next to each other, SGL",
         "sgls=1",
         NVME_IO_FLAGS_SGL,
         0,
         {{1, 0, 300}, {1, 300, 300}, {3, 0, 424}},
         0,
         {{2, LIST, 2}}},
	{"bytes", "sgls=1", 0, 0, {{1, 1, 511}, {3, 7, 1}}, 0, {{1, LIST, 2}}},
	{"bytes, dwords only", "sgls=2", 0, 0, {{1, 0, 511}, {3, 7, 1}}, -EOPNOTSUPP, {{0}}},
	{"odd address, dwords only", "sgls=2", 0, 0, {{1, 2, 512}}, -EFAULT, {{0}}},
	{"odd address, PRPs only", "sgls=0", 0, 0, {{1, 1, 512}}, -EFAULT, {{0}}},
	{"odd address, SGLs", "sgls=1", 0, 0, {{1, 1, 512}}, 0, {{1, BLOCK, 0}}},
	{"dwords", "sgls=2", 0, 0, {{1, 4, 508}, {3, 8, 4}}, 0, {{1, LIST, 2}}},
	{"a hole",
         "sgls=0x10001",
         0,
         0,
         {{1, 0, 512}, {0, 0, 1024}, {1, 512, 512}},
         0,
         {{4, LIST, 3}}},
	{"two holes",
         "sgls=0x10001",
         0,
         0,
         {{0, 0, 300}, {0, 0, 724}, {1, 0, 512}},
         0,
         {{3, LIST, 2}}},
	{"only a hole", "sgls=0x10001", 0, 0, {{0, 0, 1024}}, 0, {{2, LIST, 1}}},
	{"a hole after PRPs",
         "sgls=0x10001",
         0,
         2,
         {{1, 0, 4096}, {3, 0, 4096}, {5, 0, 512}, {0, 0, 512}, {7, 0, 512}},
         0,
         {{17, PRP, 0}, {2, LIST, 2}}},
	{"no buckets", "sgls=1", 0, 0, {{1, 0, 512}, {0, 0, 512}}, -EOPNOTSUPP, {{0}}},
	{"no SGLs, but buckets",
         "sgls=0x10000",
         0,
         0,
         {{1, 0, 512}, {0, 0, 512}},
         -EOPNOTSUPP,
         {{0}}},
	{"MDTS too", "sgls=0,mdts=1", 0, 0, {{1, 0x200, 16384}}, 0, {{16, PRP, 0}, {16, PRP, 0}}},
	{"MDTS, SGLs",
         "sgls=1,mdts=1",
         0,
         0,
         {{1, 0x200, 8000}, {4, 0, 8384}},
         0,
         {{16, LIST, 2}, {16, PRP, 0}}},
	{"NOIOB too",
         "sgls=0,noiob=5",
         0,
         0,
         {{1, 0x200, 4096}},
         0,
         {{2, PRP, 0}, {5, PRP, 0}, {1, PRP, 0}}},
	{"a block over two pieces", "sgls=0", 0, 0, {{1, 0xf00, 256}, {3, 0, 768}}, 0, {{2, PRP, 0}}},
	{"the last block cannot be",
         "sgls=0",
         0,
         0,
         {{1, 0, 4096}, {3, 0, 4096}, {5, 0, 300}, {7, 0, 212}},
         -EOPNOTSUPP,
         {{0}}},
};

#define SLBA 1003 /* 3 modulo 5 */

static int layout_iov(const struct layout *row, uint8_t *base, struct iovec *iov, uint64_t *total)
{
	int n;

	*total = 0;
	for (n = 0; n < MAX_PIECES && row->piece[n].len != 0; n++) {
		iov[n].iov_len = row->piece[n].len;
		iov[n].iov_base = row->piece[n].page == 0
		                          ? NULL
		                          : base + row->piece[n].page * 4096 + row->piece[n].offset;
		*total += row->piece[n].len;
	}
	assert_int_equal(*total % 512, 0);
	return n;
}

static bool has_hole(const struct layout *row)
{
	int i;

	for (i = 0; i < MAX_PIECES; i++)
		if (row->piece[i].len != 0 && row->piece[i].page == 0)
			return true;
	return false;
}

/* What the controller has fetched since, against the row. */
static void check_layout(const struct layout *row, struct nvme_ctrlr *ctrlr, uint64_t before)
{
	struct nvme_soft_cmd cmds[MAX_CUTS + 1];
	uint32_t n = (uint32_t)(stats_of(ctrlr).io_cmds - before), i;
	uint64_t slba = SLBA;

	assert_true(n <= MAX_CUTS);
	assert_int_equal(nvme_soft_get_last_cmds(nvme_ctrlr_get_dev(ctrlr), cmds, n), n);
	for (i = 0; i < n; i++) {
		const struct nvme_cmd *cmd = &cmds[n - 1 - i].cmd;
		uint32_t psdt = NVME_GET(cmd->flags, NVME_CMD_PSDT);
		uint32_t type = NVME_GET(cmd->dptr.sgl.id, NVME_SGL_TYPE);
		enum how how = psdt == 0 ? PRP : type == NVME_SGL_TYPE_DATA_BLOCK ? BLOCK : LIST;

		if (slba_of(cmd) != slba || nlb_of(cmd) != row->want[i].nlb ||
		    how != row->want[i].how ||
		    (how == LIST && cmd->dptr.sgl.len != 16 * row->want[i].descs))
			fail_msg("%s: command %u has %u blocks, how %d, %u bytes of list", row->id,
			         i, nlb_of(cmd), how, cmd->dptr.sgl.len);
		slba += nlb_of(cmd);
	}
	assert_true(n == MAX_CUTS || row->want[n].nlb == 0);
}

static void one_layout(const struct layout *row)
{
	static const size_t area = 16 * 4096;
	struct iovec iov[MAX_PIECES];
	struct seen in = {0}, out = {0};
	struct nvme_qpair *qp;
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	uint64_t total, before, at = SLBA * 512;
	uint8_t *base, *mem;
	char device[64];
	int n, i, rc;

	snprintf(device, sizeof(device), "soft:size=16M,%s", row->opts);
	ctrlr = attach_soft(device);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	mem = ns_memory(ctrlr);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	if (row->max_descs != 0)
		nvme__scatter_pool(qp)->max_descs = row->max_descs;
	base = (uint8_t *)nvme_dma_alloc(ctrlr, area);
	n = layout_iov(row, base, iov, &total);
	before = stats_of(ctrlr).io_cmds;
	if (!has_hole(row)) {
		for (i = 0, at = SLBA * 512; i < n; at += iov[i++].iov_len)
			pattern_fill((uint8_t *)iov[i].iov_base, iov[i].iov_len, at, 7);
		rc = nvme_ns_cmd_writev(ns, qp, iov, n, SLBA, total / 512, count, &out, row->flags);
		assert_int_equal(rc, row->rc);
		if (rc == 0)
			finish(qp, &out);
		check_layout(row, ctrlr, before);
		assert_false(nvme_cpl_is_error(&out.cpl));
		if (rc == 0)
			assert_int_equal(pattern_check(mem + SLBA * 512, (size_t)total, SLBA * 512,
			                               7),
			                 -1);
		before = stats_of(ctrlr).io_cmds;
	}
	pattern_fill(mem + SLBA * 512, (size_t)total, SLBA * 512, 8);
	memset(base, 0x99, area);
	rc = nvme_ns_cmd_readv(ns, qp, iov, n, SLBA, total / 512, count, &in, row->flags);
	if (rc != row->rc)
		fail_msg("%s: %d", row->id, rc);
	if (rc == 0)
		finish(qp, &in);
	else
		assert_int_equal(fake.lines[NVME_LOG_ERROR], has_hole(row) ? 1 : 2);
	check_layout(row, ctrlr, before);
	assert_false(nvme_cpl_is_error(&in.cpl));
	for (i = 0, at = SLBA * 512; rc == 0 && i < n; at += iov[i++].iov_len)
		if (iov[i].iov_base != NULL)
			assert_int_equal(pattern_check((uint8_t *)iov[i].iov_base, iov[i].iov_len,
			                               at, 8),
			                 -1);
	for (i = 0; i < n; i++) /* and nothing else was touched */
		if (iov[i].iov_base != NULL)
			memset(iov[i].iov_base, 0x99, iov[i].iov_len);
	for (at = 0; at < area; at++)
		assert_int_equal(base[at], 0x99);
	detach_soft(ctrlr);
}

static void test_layouts(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		one_layout(&layouts[i]);
	print_message("%zu layouts\n", i);
}

/* The software controller refuses what its SGLS does not announce, whoever sends it. */
static void test_unannounced(void **state)
{
	static const struct {
		const char *device;
		uint32_t type, offset,
			len; /* of the descriptor in the command, which reads 512 bytes */
		uint32_t status;
	} rows[] = {
		{"soft:sgls=0", NVME_SGL_TYPE_DATA_BLOCK, 0, 512, NVME_SC_INVALID_FIELD},
		{"soft:sgls=1", NVME_SGL_TYPE_DATA_BLOCK, 1, 512, 0},
		{"soft:sgls=2", NVME_SGL_TYPE_DATA_BLOCK, 4, 512, 0},
		{"soft:sgls=2", NVME_SGL_TYPE_DATA_BLOCK, 2, 512,
	         NVME_SC_SGL_DATA_BLOCK_GRANULARITY_INVALID},
		{"soft:sgls=2", NVME_SGL_TYPE_DATA_BLOCK, 0, 510,
	         NVME_SC_SGL_DATA_BLOCK_GRANULARITY_INVALID},
		{"soft:sgls=1", NVME_SGL_TYPE_BIT_BUCKET, 0, 512,
	         NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID},
		{"soft:sgls=0x10001", NVME_SGL_TYPE_BIT_BUCKET, 0, 512, 0},
		{"soft", NVME_SGL_TYPE_BIT_BUCKET, 0, 512, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr = attach_soft(rows[i].device);
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
		struct nvme_cmd cmd;
		struct nvme_cpl cpl;
		uint64_t iova;

		assert_int_equal(nvme_dma_iova(ctrlr, buf, 4096, &iova), 0);
		memset(&cmd, 0, sizeof(cmd));
		cmd.opc = NVME_OPC_READ;
		cmd.nsid = 1;
		cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
		cmd.dptr.sgl = nvme__sgl_desc(rows[i].type, iova + rows[i].offset, rows[i].len);
		(void)nvme_ctrlr_io(ctrlr, NULL, &cmd, NULL, 0, &cpl);
		assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), rows[i].status);
		detach_soft(ctrlr);
	}
}

/* ---- anything ---- */

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* Some pieces of memory, none of which overlap: n of them, total bytes. */
static int random_iov(struct iovec *iov, uint8_t *base, size_t area, size_t total)
{
	static const uint32_t units[] = {4096, 512, 4, 1};
	uint32_t unit = units[rnd(4)];
	size_t at = 0, len;
	int n = 0;

	for (; total != 0; n++) {
		if (rnd(8) == 0)
			at += rnd(3) * unit;
		else if (rnd(4) != 0)
			at = (at + 4095) / 4096 * 4096;
		at = (at + unit - 1) / unit * unit;
		len = (1 + (size_t)rnd(6)) * (unit < 512 ? 97 * unit : unit);
		len = len < total ? len : total;
		assert_true(n < 900 && at + len <= area);
		iov[n].iov_base = base + at;
		iov[n].iov_len = len;
		at += len;
		total -= len;
	}
	return n;
}

static void gather(uint8_t *to, const struct iovec *iov, int n)
{
	for (; n-- > 0; to += iov++->iov_len)
		memcpy(to, iov->iov_base, iov->iov_len);
}

/* Whatever the pieces: it is refused at once, or every byte is where it should be. */
static void test_anything(void **state)
{
	static const char *const devices[] = {"soft:size=16M,sgls=0,mdts=2", "soft:size=16M,mdts=3",
	                                      "soft:size=16M,sgls=2,noiob=7,mdts=0",
	                                      "soft:size=16M,lbs=4096,mdts=6"};
	static const size_t area = (size_t)8 << 20;
	static uint8_t copy[1 << 20];
	struct iovec iov[900];
	unsigned int d, i, done = 0, refused = 0;

	(void)state;
	for (d = 0; d < 4; d++) {
		struct nvme_io_qpair_opts opts = {.entries = 3 + d, .delay_cmd_submit = d == 1};
		struct nvme_ctrlr *ctrlr = attach_soft(devices[d]);
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
		uint32_t block = nvme_ns_get_sector_size(ns);
		uint8_t *base = (uint8_t *)nvme_dma_alloc(ctrlr, area), *mem = ns_memory(ctrlr);
		struct nvme_qpair *qp;

		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
		for (i = 0; i < 500; i++) {
			struct seen in = {0}, out = {0};
			uint64_t nlb = 1 + rnd(rnd(2) ? 16 : 16384 / block), slba = rnd(1000);
			size_t len = (size_t)nlb * block;
			int n = random_iov(iov, base, area, len), rc, k;

			for (k = 0; k < n; k++)
				pattern_fill((uint8_t *)iov[k].iov_base, iov[k].iov_len,
				             (uint64_t)k, i);
			gather(copy, iov, n);
			memset(mem + slba * block, 0, len);
			rc = nvme_ns_cmd_writev(ns, qp, iov, n, slba, nlb, count, &out, 0);
			if (rc != 0) {
				assert_true(rc == -EOPNOTSUPP || rc == -EFAULT);
				assert_true(d != 1 && d != 3);
				refused++;
				continue;
			}
			finish(qp, &out);
			assert_false(nvme_cpl_is_error(&out.cpl));
			assert_memory_equal(mem + slba * block, copy, len);
			for (k = 0; k < n; k++)
				memset(iov[k].iov_base, 0, iov[k].iov_len);
			assert_int_equal(nvme_ns_cmd_readv(ns, qp, iov, n, slba, nlb, count, &in,
			                                   0),
			                 0);
			finish(qp, &in);
			gather(copy, iov, n);
			assert_memory_equal(mem + slba * block, copy, len);
			done++;
		}
		assert_null(qp->scatter->waiting);
		assert_int_equal(stats_of(ctrlr).errors, 0);
		detach_soft(ctrlr);
	}
	print_message("%u transfers, %u refused\n", done, refused);
	assert_true(done > 800 && refused > 50);
}

/* ---- what is refused, before anything is sent ---- */

static void test_refused(void **state)
{
	struct nvme_ctrlr *ctrlr = attach_soft("soft:size=1M,sgls=1");
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_io_qpair_opts small = {.entries = 4, .max_xfer_size = 256};
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536), stack[512];
	struct nvme_qpair *qp, *tiny;
	static struct iovec many[NVME_MAX_PIECES + 128];
	struct iovec iov[3] = {{buf, 512}, {buf + 4096, 256}, {buf + 8192, 256}}, bad;
	struct seen seen = {0};
	unsigned int lines = 0;
	uint64_t before;
	int i;

#define V(ns, qp, iov, n, slba, nlb, cb, flags, rc)                                               \
	do {                                                                                      \
		assert_int_equal(nvme_ns_cmd_readv(ns, qp, iov, n, slba, nlb, cb, &seen, flags),  \
		                 rc);                                                             \
		assert_int_equal(nvme_ns_cmd_writev(ns, qp, iov, n, slba, nlb, cb, &seen, flags), \
		                 rc);                                                             \
		lines += 2;                                                                       \
	} while (0)
	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &small, &tiny), 0);
	before = stats_of(ctrlr).io_cmds;
	V(ns, qp, iov, 3, 0, 0, count, 0, -EINVAL); /* B23 */
	V(ns, qp, iov, 3, 0, 1, count, 0, -EINVAL);
	V(ns, qp, iov, 3, 0, 3, count, 0, -EINVAL);
	V(ns, qp, iov, 2, 0, 1, count, 0, -EINVAL);
	V(ns, qp, iov, 2, 0, 2, count, 0, -EINVAL);
	V(ns, qp, iov, 0, 0, 1, count, 0, -EINVAL);
	V(ns, qp, iov, -1, 0, 2, count, 0, -EINVAL);
	V(ns, qp, NULL, 3, 0, 2, count, 0, -EINVAL);
	V(ns, qp, iov, 3, 0, 2, NULL, 0, -EINVAL);
	V(ns, qp, iov, 3, 0, 2, count, 1u << 29, -EINVAL);
	V(ns, qp, iov, 3, 0, 2, count, 1u << 1, -EINVAL);
	V(ns, qp, iov, 3, UINT64_MAX, 8, count, 0, -ERANGE); /* B25 */
	V(ns, qp, iov, 3, 2047, 2, count, 0, -ERANGE);
	V(ns, qp, iov, 3, 0, UINT64_MAX, count, 0, -ERANGE);
	V(ns, tiny, iov, 3, 0, 2, count, 0, -EMSGSIZE);
	bad.iov_base = buf;
	bad.iov_len = SIZE_MAX / 512 * 512;
	V(ns, qp, &bad, 1, 0, 2048, count, 0, -EINVAL);
	iov[1].iov_len = SIZE_MAX - 256; /* the sum would be too large */
	V(ns, qp, iov, 2, 0, 1, count, 0, -EINVAL);
	iov[1].iov_len = 256;
	bad.iov_base = stack;
	bad.iov_len = 512;
	V(ns, qp, &bad, 1, 0, 1, count, 0, -EFAULT);
	bad.iov_base = buf + 65536 - 256;
	V(ns, qp, &bad, 1, 0, 1, count, 0, -EFAULT);
	iov[2].iov_base = qp->sq;
	V(ns, qp, iov, 3, 0, 2, count, 0, -EFAULT);
	iov[2].iov_base = NULL;
	assert_int_equal(nvme_ns_cmd_writev(ns, qp, iov, 3, 0, 2, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_readv(ns, qp, iov, 3, 0, 2, count, &seen, 0), -EOPNOTSUPP);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, NULL, 0, 1, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 129, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 0, count, &seen, 0), -EINVAL);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 2048, 1, count, &seen, 0), -ERANGE);
	lines += 6;
	ns->nsze = UINT64_MAX; /* so many blocks that their bytes are none */
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, (uint64_t)1 << 56, count, &seen, 0),
	                 -EFAULT);
	ns->nsze = 2048;
	lines++;
	for (i = 0; i < NVME_MAX_PIECES + 128; i++) {
		many[i].iov_base = buf + 8 * i;
		many[i].iov_len = 4;
	}
	V(ns, qp, many, NVME_MAX_PIECES + 128, 0, 9, count, 0, -EMSGSIZE);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], lines);
	assert_int_equal(stats_of(ctrlr).io_cmds, before);
	assert_int_equal(seen.calls, 0);
	/* as many as there may be: 128 descriptors are a block; and one more, next to the last */
	assert_int_equal(nvme_ns_cmd_readv(ns, qp, many, NVME_MAX_PIECES, 0, 8, count, &seen, 0),
	                 0);
	assert_int_equal(stats_of(ctrlr).io_cmds, before + 8);
	finish(qp, &seen);
	many[NVME_MAX_PIECES - 1].iov_len = 512;
	many[NVME_MAX_PIECES].iov_base = (uint8_t *)many[NVME_MAX_PIECES - 1].iov_base + 512;
	seen.calls = 0;
	assert_int_equal(nvme_ns_cmd_readv(ns, qp, many, NVME_MAX_PIECES + 1, 0, 9, count, &seen,
	                                   0),
	                 0);
	finish(qp, &seen);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], lines);
	detach_soft(ctrlr);
#undef V
}

/* ---- more children than slots ---- */

static enum fake_verdict hold_io(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                 struct nvme_cpl *cpl)
{
	(void)f, (void)cmd, (void)cpl;
	return qid == 0 ? FAKE_EXEC : FAKE_HOLD;
}

static struct nvme_ctrlr *attach_fake(struct nvme_qpair **qp, uint32_t entries)
{
	struct nvme_io_qpair_opts opts = {.entries = entries,
	                                  .max_xfer_size = 4096}; /* 8 blocks each */
	struct nvme_ctrlr *ctrlr;

	fake_init(&fake);
	ctrlr = fake_attach(&fake);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, qp), 0);
	return ctrlr;
}

/* The pool is as it was: all parents and all stores are there, nobody waits. */
static void check_pool(const struct nvme_qpair *qp)
{
	const struct nvme__parent *p;
	const struct nvme__pieces *s;
	uint32_t parents = 0, stores = 0;

	for (p = qp->scatter->free; p != NULL; p = p->next)
		parents++;
	for (s = qp->scatter->free_stores; s != NULL; s = s->next)
		stores++;
	assert_int_equal(parents, qp->num_trackers < 1024 ? qp->num_trackers : 1024);
	assert_int_equal(stores, 16);
	assert_null(qp->scatter->waiting);
	assert_int_equal(qp->num_free, qp->num_trackers);
}

/* B47: a ring of two entries holds one command, and a hundred come. In any depth, with any others. */
static void test_more_than_slots(void **state)
{
	static const uint32_t depths[] = {2, 3, 4, 5, 64, 101, 102};
	size_t d, k;

	(void)state;
	for (d = 0; d < sizeof(depths) / sizeof(depths[0]); d++) {
		struct nvme_qpair *qp;
		struct nvme_ctrlr *ctrlr = attach_fake(&qp, depths[d]);
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 100 * 4096);
		struct seen seen = {0};
		uint64_t before = fake.cmds;
		uint32_t rings = fake.cq[1].rings;

		fake.hook = hold_io;
		assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 800, count, &seen, 0), 0);
		assert_int_equal(fake.num_held, depths[d] - 1 < 100 ? depths[d] - 1 : 100);
		for (k = 0; k < 100; k++) {
			assert_int_equal(seen.calls, 0);
			fake_release(&fake, 0);
			assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		}
		assert_int_equal(seen.calls, 1);
		assert_false(nvme_cpl_is_error(&seen.cpl));
		assert_int_equal(fake.cmds, before + 100);
		assert_int_equal(fake.cq[1].rings, rings + 100);
		for (k = 0; k < 100; k++)
			assert_int_equal(slba_of(&fake.log[before + k].cmd), 8 * (uint64_t)k);
		check_pool(qp);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

/* What fits goes with one doorbell. */
static void test_one_doorbell(void **state)
{
	struct nvme_ctrlr *ctrlr = attach_soft("soft:size=16M,mdts=1");
	const struct nvme_dev *dev = nvme_ctrlr_get_dev(ctrlr);
	struct nvme_io_qpair_opts opts = {.entries = 64, .delay_cmd_submit = true};
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 16 * 8192);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp;
	struct seen seen = {0};
	uint64_t before;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	before = nvme_soft_get_doorbells(dev, 1, false);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 256, count, &seen, 0), 0);
	assert_int_equal(nvme_soft_get_doorbells(dev, 1, false), before + 1);
	assert_int_equal(qp->unusual, 0);
	finish(qp, &seen);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 16, count, &seen, 0), 0);
	assert_int_equal(nvme_soft_get_doorbells(dev, 1, false), before + 2);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	/* and where doorbells are delayed, with none */
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	seen.calls = 0;
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 256, count, &seen, 0), 0);
	assert_int_equal(nvme_soft_get_doorbells(dev, 2, false), 0);
	finish(qp, &seen);
	assert_int_equal(nvme_soft_get_doorbells(dev, 2, false), 1);
	detach_soft(ctrlr);
}

/* Several that wait, between commands of other kinds: each gets its turn, each ends once. */
static void test_crowd(void **state)
{
	static struct seen seen[64], other[4096];
	struct nvme_qpair *qp;
	struct nvme_ctrlr *ctrlr = attach_fake(&qp, 9);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 64 * 4096);
	unsigned int begun = 0, others = 0, refused = 0, i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	memset(other, 0, sizeof(other));
	fake.hook = hold_io;
	while (begun < 64 || fake.num_held != 0) {
		if (begun < 64) {
			int rc = nvme_ns_cmd_readv(ns, qp, &(struct iovec){buf, 64 * 4096}, 1, 0,
			                           512, count, &seen[begun], 0);

			assert_true(rc == 0 || rc == -EAGAIN);
			rc == 0 ? begun++ : refused++;
		}
		if (others < 4096 && rnd(2) &&
		    nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &other[others], 0) == 0)
			others++;
		assert_true(fake.num_held != 0);
		for (i = rnd(3); i > 0 && fake.num_held != 0; i--)
			fake_release(&fake, rnd(fake.num_held));
		assert_true(nvme_qpair_process_completions(qp, rnd(4)) >= 0);
		while (fake.num_held == 0 && qp->num_free != qp->num_trackers)
			assert_true(nvme_qpair_process_completions(qp, 0) > 0);
	}
	for (i = 0; i < 64; i++)
		assert_true(seen[i].calls == 1 && !nvme_cpl_is_error(&seen[i].cpl));
	for (i = 0; i < others; i++)
		assert_int_equal(other[i].calls, 1);
	assert_true(refused > 0 && others > 0);
	check_pool(qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* The pool has its limits, and says so while it is empty. */
static void test_pool(void **state)
{
	static struct seen seen[1100];
	struct nvme_io_qpair_opts opts = {.entries = 1024, .max_xfer_size = 4096};
	struct nvme_qpair *qp, *deep;
	struct nvme_ctrlr *ctrlr = attach_fake(&qp, 40);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4 * 4096);
	unsigned int i, n;

	(void)state;
	memset(seen, 0, sizeof(seen));
	assert_null(qp->scatter);
	fake.hook = hold_io;
	/* those that are all sent need a slot each, and no store */
	for (n = 0; nvme_ns_cmd_read_large(ns, qp, buf, 0, 8, count, &seen[n], 0) == 0; n++)
		assert_true(n < 39);
	assert_int_equal(n, 39);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 8, count, &seen[n], 0), -EAGAIN);
	for (i = 0; i < 39; i++)
		fake_release(&fake, 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 39);
	check_pool(qp);
	/* one in a slot, the rest of it waits: 16 of them */
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &deep), 0);
	for (i = 0; i < 1022; i++)
		assert_int_equal(nvme_ns_cmd_read(ns, deep, buf, 0, 1, count, &seen[60], 0), 0);
	for (i = 0; i < 17; i++) {
		int rc = nvme_ns_cmd_read_large(ns, deep, buf, 0, 32, count, &seen[40 + i], 0);

		assert_int_equal(rc, i < 16 ? 0 : -EAGAIN);
		if (i < 16) { /* one command of the others makes room for the next */
			assert_int_equal(nvme_ns_cmd_read(ns, deep, buf, 0, 1, count, &seen[60], 0),
			                 -EAGAIN);
			fake_release(&fake, 0);
			assert_int_equal(nvme_qpair_process_completions(deep, 0), 1);
		}
	}
	assert_int_equal(deep->num_free, 1);
	while (fake.num_held != 0) {
		fake_release(&fake, 0);
		assert_int_equal(nvme_qpair_process_completions(deep, 0), 1);
	}
	for (i = 0; i < 57; i++)
		assert_int_equal(seen[i].calls, i < 39 || (i >= 40 && i < 56));
	check_pool(deep);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- failures ---- */

static uint64_t fails[4]; /* SLBAs, with the status 80h + index */

static enum fake_verdict fail_some(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                   struct nvme_cpl *cpl)
{
	unsigned int i;

	(void)f;
	for (i = 0; i < 4; i++)
		if (qid != 0 && slba_of(cmd) == fails[i])
			cpl->status = (uint16_t)((0x280 + i) << 1);
	return cpl->status == 0 ? FAKE_EXEC : FAKE_ANSWER;
}

/* B48: it ends once, after all of its children, with what the lowest LBA says. */
static void test_child_fails(void **state)
{
	static const struct {
		uint64_t fails[4];
		unsigned int sent; /* of 20 children, in a queue of 8 slots */
		uint32_t status;
	} rows[] = {
		{{1, 1, 1, 1}, 20, 0},         {{8, 1, 1, 1}, 8, 0x280},
		{{0, 1, 1, 1}, 8, 0x280},      {{152, 1, 1, 1}, 20, 0x280},
		{{40, 16, 24, 1}, 8, 0x281},   {{16, 40, 24, 1}, 8, 0x280},
		{{152, 144, 1, 1}, 20, 0x281}, {{64, 72, 120, 8}, 8, 0x283},
	};
	size_t i;
	unsigned int k;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_qpair *qp;
		struct nvme_ctrlr *ctrlr = attach_fake(&qp, 9);
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 20 * 4096);
		uint64_t before = fake.cmds;
		struct seen seen = {0};

		memcpy(fails, rows[i].fails, sizeof(fails));
		fake.hook = fail_some;
		assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 160, count, &seen, 0), 0);
		/* one at a time: it does not end with the first failure */
		for (k = 0; seen.calls == 0; k++)
			assert_int_equal(nvme_qpair_process_completions(qp, 1), 1);
		assert_int_equal(fake.cmds - before, k);
		assert_int_equal(qp->num_free, qp->num_trackers);
		assert_int_equal(seen.calls, 1);
		assert_int_equal(seen.cpl.status >> 1, rows[i].status);
		/* what fails early keeps the rest from being sent */
		if (rows[i].sent == 20)
			assert_int_equal(k, 20);
		else
			assert_true(k >= 8 && k < 20);
		check_pool(qp);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

/* Out of order: the last of the children fails first, then one before it, the others succeed. */
static void test_out_of_order(void **state)
{
	struct nvme_qpair *qp;
	struct nvme_ctrlr *ctrlr = attach_fake(&qp, 9);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 20 * 4096);
	struct seen seen = {0};
	struct nvme_cpl cpl;
	int order[8] = {7, 2, 5, 0, 1, 3, 4, 6}, i;

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 0, 64, count, &seen, 0), 0);
	assert_int_equal(fake.num_held, 8);
	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = 1;
	for (i = 0; i < 8; i++) {
		int child = order[i];

		assert_int_equal(seen.calls, 0);
		cpl.cid = fake.held[child].cmd.cid;
		cpl.status =
			(uint16_t)(child == 7 || child == 2 || child == 5 ? (0x280 + child) << 1
		                                                          : 0);
		fake_post(&fake, 1, &cpl);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	}
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.cpl.status >> 1, 0x282);
	assert_int_equal(seen.cpl.cid, fake.held[2].cmd.cid);
	/* completions that nobody waits for end nothing twice */
	for (i = 0; i < 3; i++) {
		cpl.cid = fake.held[i].cmd.cid;
		fake_post(&fake, 1, &cpl);
	}
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 3);
	assert_int_equal(seen.calls, 1);
	check_pool(qp);
	fake.num_held = 0;
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void complete_held(uint32_t i, uint16_t status)
{
	struct nvme_cpl cpl;
	uint32_t k;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = 1;
	cpl.cid = fake.held[i].cmd.cid;
	cpl.status = (uint16_t)(status << 1);
	for (k = i; k + 1 < fake.num_held; k++)
		fake.held[k] = fake.held[k + 1];
	fake.num_held--;
	fake_post(&fake, 1, &cpl);
}

/*
 * Two that wait, the second of which has one child outstanding. When that ends the first gets the
 * slot, and the second goes on waiting without a child, or ends, if the child has failed.
 */
static void test_second_in_line(void **state)
{
	int fails_too;
	uint64_t k;

	(void)state;
	for (fails_too = 0; fails_too < 2; fails_too++) {
		struct nvme_qpair *qp;
		struct nvme_ctrlr *ctrlr = attach_fake(&qp, 4);
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 20 * 4096);
		struct seen first = {0}, second = {0}, other = {0};
		uint64_t before = fake.cmds;

		fake.hook = hold_io;
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &other, 0), 0);
		assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 800, 80, count, &first, 0), 0);
		complete_held(0, 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf, 1600, 80, count, &second, 0),
		                 0);
		assert_int_equal(fake.num_held, 3);
		assert_int_equal(slba_of(&fake.held[2].cmd), 1600);
		complete_held(2, fails_too ? 0x281 : 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(slba_of(&fake.held[2].cmd), 816);
		assert_int_equal(second.calls, fails_too);
		while (fake.num_held != 0) {
			complete_held(0, 0);
			assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		}
		/* 800, 808, 1600, 816 to 872, and then what was left of the second */
		for (k = 3; k < 11; k++)
			assert_int_equal(slba_of(&fake.log[before + 1 + k].cmd), 792 + 8 * k);
		assert_int_equal(fake.cmds - before, fails_too ? 12 : 21);
		assert_true(first.calls == 1 && !nvme_cpl_is_error(&first.cpl));
		assert_int_equal(second.calls, 1);
		assert_int_equal(second.cpl.status >> 1, fails_too ? 0x281 : 0);
		check_pool(qp);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

/* ---- the end of a queue, or of everything, in the middle ---- */

enum ending { FREE, DETACH, GONE, CFS, NO_DELETE, ENDINGS };

static enum ending ending;

static enum fake_verdict end_badly(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                   struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0)
		return FAKE_DROP;
	if (ending == NO_DELETE && cmd->opc == NVME_OPC_DELETE_IO_SQ) {
		cpl->status = 0x101 << 1;
		return FAKE_ANSWER;
	}
	return FAKE_EXEC;
}

/* Two that wait, one that does not: each callback comes exactly once, with an error. */
static void test_endings(void **state)
{
	unsigned int i;

	(void)state;
	for (ending = FREE; ending < ENDINGS; ending = (enum ending)(ending + 1)) {
		struct nvme_qpair *qp;
		struct nvme_ctrlr *ctrlr = attach_fake(&qp, 4);
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 100 * 4096);
		struct seen seen[3] = {{0}};

		fake.hook = end_badly;
		assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 8, count, &seen[0], 0), 0);
		assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 8, count, &seen[1], 0), 0);
		assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 800, count, &seen[2], 0),
		                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		fake.gone = ending == GONE;
		fake.cfs = ending == CFS;
		if (ending == FREE)
			assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		else if (ending == NO_DELETE)
			assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -EIO);
		for (i = 0; i < 3; i++)
			assert_int_equal(seen[i].calls, ending == FREE);
		(void)nvme_detach(ctrlr);
		for (i = 0; i < 3; i++) {
			assert_int_equal(seen[i].calls, 1);
			assert_int_equal(seen[i].cpl.status >> 1, 0x08); /* aborted: SQ deletion */
		}
		assert_false(fake.open);
	}
}

/* All children that were sent succeed, and then the queue is deleted: the rest has a status, too. */
static void test_unsent(void **state)
{
	struct nvme_qpair *qp;
	struct nvme_ctrlr *ctrlr = attach_fake(&qp, 4);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 100 * 4096);
	struct seen seen = {0}, waits;
	uint32_t depth;

	(void)state;
	/* deleted while their completions are in the ring */
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 800, count, &seen, 0), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.cpl.status >> 1, 0x08);
	/* and a namespace that is not what it was: nothing more is sent to it */
	for (depth = 2; depth < 5; depth++) {
		qp = fake_qpair(ctrlr, depth);
		qp->max_xfer_size = 4096;
		memset(&waits, 0, sizeof(waits));
		assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 800, count, &waits, 0), 0);
		nvme__ns_set_refuse(ns, -ENOENT);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), depth - 1);
		assert_int_equal(waits.calls, 1);
		assert_int_equal(waits.cpl.status >> 1, 0x371);
		assert_int_equal(fake_logged(&fake, "are not sent on queue"), depth);
		check_pool(qp);
		nvme__ns_set_refuse(ns, 0);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* A callback begins the next transfer, with the parent that has just become free. */
struct chain {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint8_t *buf;
	unsigned int left, calls;
};

static void next_link(void *arg, const struct nvme_cpl *cpl)
{
	struct chain *c = (struct chain *)arg;

	c->calls++;
	assert_false(nvme_cpl_is_error(cpl));
	if (c->left-- > 0)
		assert_int_equal(nvme_ns_cmd_write_large(c->ns, c->qp, c->buf, 0, 80, next_link, c,
		                                         0),
		                 0);
}

static void test_chain(void **state)
{
	struct chain c;
	struct nvme_ctrlr *ctrlr = attach_fake(&c.qp, 2);
	unsigned int polls;

	(void)state;
	c.ns = nvme_ctrlr_get_ns(ctrlr, 1);
	c.buf = (uint8_t *)nvme_dma_alloc(ctrlr, 10 * 4096);
	c.left = 100;
	c.calls = 0;
	assert_int_equal(nvme_ns_cmd_write_large(c.ns, c.qp, c.buf, 0, 80, next_link, &c, 0), 0);
	for (polls = 0; c.calls < 101; polls++)
		assert_int_equal(nvme_qpair_process_completions(c.qp, 0), 1);
	assert_int_equal(polls, 1010);
	check_pool(c.qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_splits),          cmocka_unit_test(test_formats),
		cmocka_unit_test(test_layouts),         cmocka_unit_test(test_unannounced),
		cmocka_unit_test(test_anything),        cmocka_unit_test(test_refused),
		cmocka_unit_test(test_more_than_slots), cmocka_unit_test(test_one_doorbell),
		cmocka_unit_test(test_crowd),           cmocka_unit_test(test_pool),
		cmocka_unit_test(test_child_fails),     cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_endings),         cmocka_unit_test(test_second_in_line),
		cmocka_unit_test(test_unsent),          cmocka_unit_test(test_chain),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
