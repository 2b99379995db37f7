/* SPDX-License-Identifier: MIT
 *
 * Queue pairs against a controller that behaves, and one that does not: rings and doorbells, one
 * callback for each command whatever the completions look like, failure, deletion, timeouts.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ctrlr.h"
#include "seen.h"

#define ABORTED_SQ_DELETION 0x08
#define POLLS_TO_A_LOOK     (2 * NVME__WATCH_MAX) /* polls until the driver looks at CSTS */

static struct fake fake;

static enum fake_verdict hold_io(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                 struct nvme_cpl *cpl)
{
	(void)f, (void)cmd, (void)cpl;
	return qid == 0 ? FAKE_EXEC : FAKE_HOLD;
}

static enum fake_verdict drop_io(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                 struct nvme_cpl *cpl)
{
	(void)f, (void)cmd, (void)cpl;
	return qid == 0 ? FAKE_EXEC : FAKE_DROP;
}

static int flush(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, struct seen *seen)
{
	return nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, count, seen);
}

static struct nvme_ctrlr *start(void)
{
	fake_init(&fake);
	return fake_attach(&fake);
}

static void stop(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_false(fake.open);
}

/* A completion as a good controller would send it for a CID. */
static struct nvme_cpl cpl_for(const struct nvme_qpair *qp, uint16_t cid)
{
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = qp->id;
	cpl.cid = cid;
	return cpl;
}

/* ---- rings ---- */

static void test_laps(void **state)
{
	static const uint32_t depths[] = {2, 3, 4, 5, 256};
	static struct seen seen[4096];
	unsigned int d, n, i, k, total = 0;

	(void)state;
	for (d = 0; d < 5; d++) {
		struct nvme_ctrlr *ctrlr = start();
		struct nvme_qpair *qp = fake_qpair(ctrlr, depths[d]);
		uint32_t most = depths[d] - 1, laps = 0, before = 0;
		uint16_t phase = 1;

		assert_int_equal(nvme_qpair_get_entries(qp), depths[d]);
		memset(seen, 0, sizeof(seen));
		for (n = 0, k = 1; n + most < 7 * depths[d] + 20; n += k, k = k % most + 1) {
			for (i = n; i < n + k; i++)
				assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
			assert_int_equal(nvme_qpair_get_num_outstanding(qp), k);
			assert_int_equal(nvme_qpair_process_completions(qp, 0), k);
			assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
			assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
			for (i = 0; i < n + k; i++)
				assert_int_equal(seen[i].calls, 1);
			assert_int_equal(seen[n + k].calls, 0);
			assert_int_equal(qp->sq_tail, (n + k) % depths[d]);
			assert_int_equal(qp->cq_head, (n + k) % depths[d]);
			assert_int_equal(fake.cq[1].head, qp->cq_head);
			laps = (n + k) / depths[d];
			phase = (uint16_t)(laps % 2 == 0);
			assert_int_equal(qp->phase, phase);
			before = n;
		}
		assert_true(laps >= 5 && before > 0);
		total += laps;
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		stop(ctrlr);
	}
	print_message("5 depths, %u laps\n", total);
}

static void test_full(void **state)
{
	static const uint32_t depths[] = {2, 3, 4, 256};
	static struct seen seen[512];
	unsigned int d, i;

	(void)state;
	for (d = 0; d < 4; d++) {
		struct nvme_ctrlr *ctrlr = start();
		struct nvme_qpair *qp = fake_qpair(ctrlr, depths[d]);
		uint32_t most = depths[d] - 1;

		fake.hook = hold_io;
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < most; i++)
			assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), -EAGAIN);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), -EAGAIN);
		assert_int_equal(fake.num_held, most);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), -EAGAIN);
		fake_release(&fake, most / 2);
		assert_int_equal(flush(ctrlr, qp, &seen[i]),
		                 -EAGAIN); /* complete, but not reaped */
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(seen[most / 2].calls, 1);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), -EAGAIN);
		while (fake.num_held > 0)
			fake_release(&fake, fake.num_held - 1);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), most);
		for (i = 0; i <= most; i++)
			assert_int_equal(seen[i].calls, 1);
		stop(ctrlr);
	}
}

static void test_largest(void **state)
{
	struct nvme_io_qpair_opts opts = {.entries = 65536, .max_xfer_size = 4096};
	struct seen *seen = (struct seen *)calloc(65536, sizeof(*seen));
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	unsigned int i, lap;

	(void)state;
	assert_non_null(seen);
	fake_init(&fake);
	fake.cap |= NVME_SET64(0xffff, NVME_CAP_MQES);
	ctrlr = fake_attach(&fake);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_qpair_get_entries(qp), 65536);
	assert_int_equal(fake.cq[1].entries, 65536);
	for (lap = 1; lap <= 3; lap++) {
		for (i = 0; i < 65535; i++)
			assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
		assert_int_equal(flush(ctrlr, qp, &seen[i]), -EAGAIN);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 65535);
		for (i = 0; i < 65535; i++)
			assert_int_equal(seen[i].calls, lap);
	}
	assert_int_equal(qp->cq_head, 3u * 65535 % 65536);
	stop(ctrlr);
	free(seen);
}

/* ---- doorbells ---- */

static void test_cq_doorbell(void **state)
{
	static const struct {
		uint32_t depth, commands, max, reaped, rings;
	} rows[] = {
		{256, 1, 0, 1, 1},     {256, 10, 0, 10, 1},   {256, 127, 0, 127, 1},
		{256, 128, 0, 128, 1}, {256, 200, 0, 200, 2}, {256, 255, 0, 255, 2},
		{256, 10, 3, 3, 1},    {4, 3, 0, 3, 2},       {3, 2, 0, 2, 2},
		{2, 1, 0, 1, 1},       {256, 5, 999, 5, 1},
	};
	static struct seen seen;
	unsigned int r, i;

	(void)state;
	for (r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct nvme_ctrlr *ctrlr = start();
		struct nvme_qpair *qp = fake_qpair(ctrlr, rows[r].depth);

		for (i = 0; i < rows[r].commands; i++)
			assert_int_equal(flush(ctrlr, qp, &seen), 0);
		assert_int_equal(fake.cq[1].rings, 0);
		assert_int_equal(nvme_qpair_process_completions(qp, rows[r].max), rows[r].reaped);
		assert_int_equal(fake.cq[1].rings, rows[r].rings);
		assert_int_equal(fake.cq[1].head, rows[r].reaped % rows[r].depth);
		nvme_qpair_process_completions(qp, 0);
		i = fake.cq[1].rings;
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		assert_int_equal(fake.cq[1].rings, i); /* an empty poll rings nothing */
		stop(ctrlr);
	}
	print_message("%u rows\n", r);
}

static void test_doorbell_offsets(void **state)
{
	static const struct {
		uint32_t dstrd, sq1, cq1, sq2, cq2;
	} rows[] = {
		{0, 0x1008, 0x100c, 0x1010, 0x1014},
		{1, 0x1010, 0x1018, 0x1020, 0x1028},
		{3, 0x1040, 0x1060, 0x1080, 0x10a0},
	};
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	unsigned int r;

	(void)state;
	for (r = 0; r < 3; r++) {
		struct nvme_qpair *one, *two;
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		fake.cap |= NVME_SET64(rows[r].dstrd, NVME_CAP_DSTRD);
		ctrlr = fake_attach(&fake);
		one = fake_qpair(ctrlr, 8);
		two = fake_qpair(ctrlr, 8);
		assert_int_equal(nvme_qpair_get_id(one), 1);
		assert_int_equal(nvme_qpair_get_id(two), 2);
		fake.writes = 0;
		assert_int_equal(flush(ctrlr, one, &seen), 0);
		assert_int_equal(flush(ctrlr, two, &seen), 0);
		assert_int_equal(nvme_qpair_process_completions(one, 0), 1);
		assert_int_equal(nvme_qpair_process_completions(two, 0), 1);
		assert_int_equal(fake.writes, 4);
		assert_int_equal(fake.reg[0].offset, rows[r].sq1);
		assert_int_equal(fake.reg[1].offset, rows[r].sq2);
		assert_int_equal(fake.reg[2].offset, rows[r].cq1);
		assert_int_equal(fake.reg[3].offset, rows[r].cq2);
		assert_int_equal(fake.reg[0].value | fake.reg[1].value, 1);
		stop(ctrlr);
	}
	print_message("%u strides\n", r);
}

/* ---- order ---- */

static void test_out_of_order(void **state)
{
	static const unsigned int order[] = {3, 0, 2, 0, 1, 1, 0}; /* of those that are left */
	static const unsigned int expect[] = {3, 0, 4, 1, 5, 6, 2};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen[7];
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 7 * 512);
	unsigned int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 7; i++)
		memset(fake.disk + i * 512, (int)(0x10 + i), 512);
	fake.hook = hold_io;
	for (i = 0; i < 7; i++)
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf + i * 512, i, 1, count, &seen[i], 0),
		                 0);
	for (i = 0; i < 7; i++) {
		fake_release(&fake, order[i]);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(seen[expect[i]].calls, 1);
		assert_int_equal(buf[expect[i] * 512], 0x10 + expect[i]);
		assert_int_equal(buf[expect[i] * 512 + 511], 0x10 + expect[i]);
	}
	for (i = 0; i < 7; i++)
		assert_int_equal(seen[i].calls, 1);
	stop(ctrlr);
}

/* Commands that are outstanding never have the same CID, in whatever order they come and go. */
static void test_cids_differ(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	unsigned int step, i, sent = 0;
	uint32_t random = 3, cids;

	(void)state;
	fake.hook = hold_io;
	for (step = 0; step < 4000; step++) {
		random = random * 1664525u + 1013904223u;
		if (random >> 31 != 0)
			sent += flush(ctrlr, qp, &seen) == 0;
		else if (fake.num_held > 0)
			fake_release(&fake, (random >> 8) % fake.num_held);
		if ((random >> 20) % 4 == 0) /* not each time: what is not reaped keeps its CID */
			assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
		for (i = 0, cids = 0; i < fake.num_held; i++) {
			assert_true(fake.held[i].cmd.cid < 15);
			assert_int_equal(cids >> fake.held[i].cmd.cid & 1, 0);
			cids |= 1u << fake.held[i].cmd.cid;
		}
	}
	while (fake.num_held > 0)
		fake_release(&fake, 0);
	assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	assert_true(sent > 1000);
	assert_int_equal(seen.calls, sent);
	stop(ctrlr);
}

/* Three queues, commands in random numbers, completions in random order. */
static void test_random(void **state)
{
	static struct seen seen[3][20000];
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp[3] = {fake_qpair(ctrlr, 2), fake_qpair(ctrlr, 7),
	                            fake_qpair(ctrlr, 64)};
	unsigned int sent[3] = {0, 0, 0}, done[3] = {0, 0, 0}, i, q, step;
	uint32_t random = 7;
	int rc;

	(void)state;
	memset(seen, 0, sizeof(seen));
	fake.hook = hold_io;
	for (step = 0; step < 60000; step++) {
		random = random * 1664525u + 1013904223u;
		q = (random >> 24) % 3;
		if ((random >> 20) % 4 < 2 && sent[q] < 20000) {
			rc = flush(ctrlr, qp[q], &seen[q][sent[q]]);
			assert_true(rc ==
			            (nvme_qpair_get_num_outstanding(qp[q]) == qp[q]->entries - 1 &&
			                             rc != 0
			                     ? -EAGAIN
			                     : 0));
			sent[q] += rc == 0;
		} else if ((random >> 20) % 4 == 2 && fake.num_held > 0) {
			fake_release(&fake, (random >> 8) % fake.num_held);
		} else {
			rc = nvme_qpair_process_completions(qp[q], (random >> 12) % 5);
			assert_true(rc >= 0);
			done[q] += (unsigned int)rc;
		}
	}
	while (fake.num_held > 0) {
		fake_release(&fake, 0);
		for (q = 0; q < 3; q++)
			done[q] += (unsigned int)nvme_qpair_process_completions(qp[q], 0);
	}
	for (q = 0; q < 3; q++) {
		done[q] += (unsigned int)nvme_qpair_process_completions(qp[q], 0);
		assert_int_equal(sent[q], done[q]);
		assert_true(sent[q] > 500);
		for (i = 0; i < 20000; i++)
			assert_int_equal(seen[q][i].calls, i < sent[q]);
	}
	print_message("%u commands\n", sent[0] + sent[1] + sent[2]);
	stop(ctrlr);
}

/* ---- completions that make no sense ---- */

struct forgery {
	const char *what;
	uint16_t cid, sqid;
};

static void check_forgery(const struct forgery *row)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}}, more = seen;
	struct nvme_cpl cpl = cpl_for(qp, row->cid);
	unsigned int i;

	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0); /* CID 0 */
	cpl.sqid = row->sqid;
	for (i = 1; i < 8; i++) {
		fake_post(&fake, 1, &cpl);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(fake.cq[1].head, i);
	}
	assert_int_equal(seen.calls, 0);
	fake_release(&fake, 0); /* still good for the command that is outstanding */
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(flush(ctrlr, qp, &more), 0);
	assert_int_equal(fake_logged(&fake, "does not map to outstanding cmd"), 7);

	fake_post(&fake, 1, &cpl); /* the eighth */
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(flush(ctrlr, qp, &more), -ENXIO);
	assert_int_equal(fake_logged(&fake, "queue pair 1 has failed"), 1);
	assert_int_equal(more.calls, 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(more.calls, 1);
	assert_int_equal(NVME_GET(more.cpl.status, NVME_CPL_SC), ABORTED_SQ_DELETION);
	assert_int_equal(seen.calls, 1);
	stop(ctrlr);
}

static void test_forged(void **state)
{
	static const struct forgery rows[] = {
		{"CID of the slot that stays empty", 15, 1},
		{"CID beyond the queue", 16, 1},
		{"largest CID", 0xffff, 1},
		{"CID that is free", 3, 1},
		{"another SQ", 0, 2},
		{"the admin SQ", 0, 0},
		{"no SQ at all", 0, 0xffff},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_forgery(&rows[i]);
	print_message("%u forgeries\n", i);
}

static void test_duplicate(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen[3];
	struct nvme_cpl cpl = cpl_for(qp, 0);
	unsigned int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	assert_int_equal(flush(ctrlr, qp, &seen[0]), 0);
	fake_post(&fake, 1, &cpl); /* both in one poll */
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 2);
	assert_int_equal(seen[0].calls, 1);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	fake_post(&fake, 1, &cpl); /* and late */
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen[0].calls, 1);
	assert_int_equal(fake_logged(&fake, "does not map to outstanding"), 2);
	for (i = 0; i < 15; i++) /* no CID was given back twice */
		assert_int_equal(flush(ctrlr, qp, &seen[1]), 0);
	assert_int_equal(flush(ctrlr, qp, &seen[1]), -EAGAIN);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 15);
	assert_int_equal(seen[1].calls, 15);
	stop(ctrlr);
}

static enum fake_verdict bad_sqhd(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                  struct nvme_cpl *cpl)
{
	(void)f, (void)cmd;
	if (qid != 0)
		cpl->sqhd = (uint16_t)(f->cmds % 2 != 0 ? 16 : 0xffff);
	return FAKE_EXEC;
}

static void test_bad_sqhd(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	unsigned int i;

	(void)state;
	fake.hook = bad_sqhd;
	for (i = 1; i < 8; i++) {
		assert_int_equal(flush(ctrlr, qp, &seen), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(seen.calls, i);
		assert_false(nvme_cpl_is_error(&seen.cpl));
	}
	assert_int_equal(fake_logged(&fake, "SQHD"), 7);
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(seen.calls, 8); /* completed all the same */
	fake.hook = NULL;
	stop(ctrlr);
	assert_int_equal(seen.calls, 8);
}

static enum fake_verdict sqhd_back(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                   struct nvme_cpl *cpl)
{
	(void)cmd;
	if (qid != 0)
		cpl->sqhd = (uint16_t)((16 - f->cmds % 16) % 16);
	return FAKE_EXEC;
}

/* A head that goes backwards is not believed: what is free is known from the completions. */
static void test_sqhd_goes_back(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	unsigned int lap, i;

	(void)state;
	fake.hook = sqhd_back;
	for (lap = 1; lap <= 40; lap++) {
		for (i = 0; i < 15; i++)
			assert_int_equal(flush(ctrlr, qp, &seen), 0);
		assert_int_equal(flush(ctrlr, qp, &seen), -EAGAIN);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 15);
		assert_int_equal(seen.calls, 15 * lap);
	}
	assert_int_equal(fake_logged(&fake, "SQHD"), 0);
	fake.hook = NULL;
	stop(ctrlr);
}

static uint32_t flood_head;

/* Every slot that the driver gives back is filled at once. */
static void flood(struct fake *f, uint16_t qid)
{
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = qid;
	cpl.cid = 9;
	for (; qid == 1 && flood_head != f->cq[1].head;
	     flood_head = (flood_head + 1) % f->cq[1].entries)
		fake_put_cqe(f, 1, cpl);
}

static void test_flood(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	struct nvme_cpl cpl = cpl_for(qp, 9);
	unsigned int i;

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	for (i = 0; i < 16; i++)
		fake_put_cqe(&fake, 1, cpl);
	flood_head = 0;
	fake.on_cq_doorbell = flood;
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	/* one lap, no more, and a word about each only until the queue is given up */
	assert_int_equal(fake_logged(&fake, "does not map to outstanding"), 8);
	assert_int_equal(qp->cq_head, 0);
	assert_int_equal(seen.calls, 0);
	fake.on_cq_doorbell = NULL;
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
}

/* The device goes on writing to a CQE that was read already; the callback sees the copy. */
struct scribble {
	struct nvme_qpair *qp;
	int calls;
};

static void scribble(void *arg, const struct nvme_cpl *cpl)
{
	struct scribble *s = arg;
	struct nvme_cpl before = *cpl;

	memset(s->qp->cq, 0xee, s->qp->entries * sizeof(*s->qp->cq));
	assert_memory_equal(cpl, &before, sizeof(before));
	assert_false(nvme_cpl_is_error(cpl));
	s->calls++;
	memset(s->qp->cq, 0, s->qp->entries * sizeof(*s->qp->cq));
}

static void test_cqe_changes_later(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct scribble s = {fake_qpair(ctrlr, 4), 0};

	(void)state;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), s.qp, scribble, &s), 0);
	assert_int_equal(nvme_qpair_process_completions(s.qp, 0), 1);
	assert_int_equal(s.calls, 1);
	stop(ctrlr);
}

/* What an earlier use left in the memory of a ring does not look like a completion. */
static void test_stale_memory(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	struct nvme_qpair *qp;
	size_t size = 1 << 20;
	void *dirty = nvme_dma_alloc(ctrlr, size);

	(void)state;
	assert_non_null(dirty);
	memset(dirty, 0xff, size); /* every phase bit is 1 */
	nvme_dma_free(ctrlr, dirty);
	qp = fake_qpair(ctrlr, 64);
	assert_true((uint8_t *)qp->cq >= (uint8_t *)dirty &&
	            (uint8_t *)qp->cq < (uint8_t *)dirty + size);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.calls, 1);
	stop(ctrlr);
}

/* ---- callbacks that do something ---- */

struct again {
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	unsigned int calls, left;
	int rc;
};

static void submit_again(void *arg, const struct nvme_cpl *cpl)
{
	struct again *again = (struct again *)arg;

	(void)cpl;
	again->calls++;
	if (again->left > 0) {
		again->left--;
		again->rc = nvme_ns_cmd_flush(nvme_ctrlr_get_ns(again->ctrlr, 1), again->qp,
		                              submit_again, again);
	}
}

/* A CID may be used again in the callback of the command that had it. */
static void test_submit_in_callback(void **state)
{
	static const uint32_t depths[] = {2, 3, 4, 16};
	unsigned int d, i;
	int rc;

	(void)state;
	for (d = 0; d < 4; d++) {
		struct nvme_ctrlr *ctrlr = start();
		struct nvme_qpair *qp = fake_qpair(ctrlr, depths[d]);
		struct again again = {ctrlr, qp, 0, 1000, 0};
		unsigned int reaped = 0;

		for (i = 0; i < depths[d] - 1; i++)
			assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp,
			                                   submit_again, &again),
			                 0);
		do {
			rc = nvme_qpair_process_completions(qp, 0);
			assert_true(rc >= 0 && rc <= (int)depths[d]); /* does not stay for ever */
			assert_int_equal(again.rc, 0);
			reaped += (unsigned int)rc;
		} while (rc > 0);
		assert_int_equal(again.calls, 1000 + depths[d] - 1);
		assert_int_equal(reaped, again.calls);
		assert_int_equal(fake.num_late, 0);
		stop(ctrlr);
	}
}

static void free_queue(void *arg, const struct nvme_cpl *cpl)
{
	struct again *again = (struct again *)arg;

	(void)cpl;
	again->calls++;
	again->rc = nvme_ctrlr_free_io_qpair(again->qp);
}

static void test_free_in_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct again again = {ctrlr, fake_qpair(ctrlr, 4), 0, 0, 0};

	(void)state;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), again.qp, free_queue,
	                                   &again),
	                 0);
	assert_int_equal(nvme_qpair_process_completions(again.qp, 0), 1);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -EBUSY);
	assert_int_equal(nvme_ctrlr_free_io_qpair(again.qp), 0);
	stop(ctrlr);
}

/* The same from the callback of a command that ends because the queue is being freed. */
static void test_free_in_abort_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct again again = {ctrlr, fake_qpair(ctrlr, 4), 0, 0, 0};

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), again.qp, free_queue,
	                                   &again),
	                 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(again.qp), 0);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -EBUSY);
	stop(ctrlr);
}

static void detach_in_callback(void *arg, const struct nvme_cpl *cpl)
{
	struct again *again = (struct again *)arg;

	(void)cpl;
	again->calls++;
	again->rc = nvme_detach(again->ctrlr);
}

static void test_detach_in_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct again again = {ctrlr, fake_qpair(ctrlr, 4), 0, 0, 0};

	(void)state;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), again.qp,
	                                   detach_in_callback, &again),
	                 0);
	assert_int_equal(nvme_qpair_process_completions(again.qp, 0), 1);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -EBUSY);
	stop(ctrlr);
}

static void test_detach_in_admin_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct again again = {ctrlr, NULL, 0, 0, 0};
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_SET_FEATURES;
	cmd.cdw10 = NVME_FEAT_NUMBER_OF_QUEUES;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, detach_in_callback, &again),
	                 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -EBUSY);
	stop(ctrlr);
}

/* ---- deletion ---- */

static void test_free_with_outstanding(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct again again = {ctrlr, qp, 0, 1, 0};
	struct seen seen[6];
	unsigned int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	fake.hook = hold_io;
	for (i = 0; i < 6; i++)
		assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, submit_again, &again),
	                 0);
	fake_release(&fake, 2); /* complete, but not reaped: keeps its own status */
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	for (i = 0; i < 6; i++) {
		assert_int_equal(seen[i].calls, 1);
		assert_int_equal(NVME_GET(seen[i].cpl.status, NVME_CPL_SCT), 0);
		assert_int_equal(NVME_GET(seen[i].cpl.status, NVME_CPL_SC),
		                 i == 2 ? 0 : ABORTED_SQ_DELETION);
	}
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -ESHUTDOWN); /* what it tried to submit */
	assert_int_equal(fake_logged(&fake, "ABORTED - SQ DELETION"), 6);
	stop(ctrlr);
}

static void submit_admin_again(void *arg, const struct nvme_cpl *cpl)
{
	struct again *again = (struct again *)arg;
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	again->calls++;
	assert_int_equal(NVME_GET(cpl->status, NVME_CPL_SC), ABORTED_SQ_DELETION);
	again->rc =
		nvme_ctrlr_cmd_admin_raw(again->ctrlr, &cmd, NULL, 0, submit_admin_again, again);
}

static enum fake_verdict drop_features(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                       struct nvme_cpl *cpl)
{
	(void)f, (void)cpl;
	return qid == 0 && cmd->opc == NVME_OPC_GET_FEATURES ? FAKE_DROP : FAKE_EXEC;
}

static void test_detach_with_admin_outstanding(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct again again = {ctrlr, NULL, 0, 0, 0};
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	fake.hook = drop_features;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, submit_admin_again, &again),
	                 0);
	stop(ctrlr);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.rc, -ESHUTDOWN);
}

/* Does the arena count the piece that starts at p as handed out? */
static bool in_use(const struct nvme_ctrlr *ctrlr, const void *p)
{
	const struct nvme__extent *e;

	for (e = ctrlr->arena.extents; e != NULL; e = e->next) {
		if (ctrlr->arena.base + e->offset == (const uint8_t *)p)
			return e->use != NVME__EXTENT_FREE;
	}
	return false;
}

static struct nvme_qpair *deleting;
static uint8_t refuse_opc;
static unsigned int deletions;

static enum fake_verdict watch_delete(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                      struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || (cmd->opc != NVME_OPC_DELETE_IO_SQ && cmd->opc != NVME_OPC_DELETE_IO_CQ))
		return FAKE_EXEC;
	deletions++;
	assert_true(in_use(deleting->ctrlr, deleting->sq));
	assert_true(in_use(deleting->ctrlr, deleting->cq));
	assert_true(in_use(deleting->ctrlr, deleting->lists));
	if (cmd->opc != refuse_opc)
		return FAKE_EXEC;
	cpl->status = 0x06 << 1; /* internal error */
	return FAKE_ANSWER;
}

static void test_memory_after_free(void **state)
{
	static const uint8_t refused[] = {0xff, NVME_OPC_DELETE_IO_SQ, NVME_OPC_DELETE_IO_CQ};
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct nvme_ctrlr *ctrlr = start();
		struct nvme_qpair *qp = fake_qpair(ctrlr, 1024);
		void *sq = qp->sq, *cq = qp->cq, *lists = qp->lists, *again;

		deleting = qp;
		deletions = 0;
		refuse_opc = refused[i];
		fake.hook = watch_delete;
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), i == 0 ? 0 : -EIO);
		assert_int_equal(deletions, i == 1 ? 1 : 2);
		again = nvme_dma_alloc(ctrlr, 1024 * 64);
		assert_non_null(again);
		if (i == 0) {
			assert_ptr_equal(again, sq);
		} else {
			assert_true(in_use(ctrlr, sq) && in_use(ctrlr, cq) && in_use(ctrlr, lists));
			assert_true(again != sq && again != cq && again != lists);
		}
		fake.hook = NULL;
		stop(ctrlr);
	}
}

static enum fake_verdict refuse_create_sq(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                          struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != NVME_OPC_CREATE_IO_SQ)
		return FAKE_EXEC;
	cpl->status = 0x102 << 1;
	return FAKE_ANSWER;
}

static void test_create_fails(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = (struct nvme_qpair *)(void *)ctrlr;
	void *first = nvme_dma_alloc(ctrlr, 4096), *second;

	(void)state;
	nvme_dma_free(ctrlr, first);
	fake.hook = refuse_create_sq;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), -EIO);
	assert_null(qp);
	assert_int_equal(fake.cq[1].entries, 0); /* deleted again */
	assert_int_equal(fake_logged(&fake, "did not create the submission queue"), 1);
	second = nvme_dma_alloc(ctrlr, 4096);
	assert_ptr_equal(first, second); /* and its memory is back */
	fake.hook = NULL;
	qp = fake_qpair(ctrlr, 8);
	assert_int_equal(nvme_qpair_get_id(qp), 1);
	stop(ctrlr);
}

static void test_bad_qpair_opts(void **state)
{
	static const struct nvme_io_qpair_opts bad[] = {
		{.entries = 1},
		{.entries = 65537},
		{.entries = 8, .qprio = 4},
		{.entries = 8, .qprio = 1},
		{.qprio = 1},
		{.entries = UINT32_MAX},
	};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &bad[i], &qp), -EINVAL);
		assert_null(qp);
		assert_int_equal(fake.lines[NVME_LOG_ERROR], i + 1);
	}
	stop(ctrlr);
}

/* The default number of entries is no reason not to look at the priority. */
static void test_bad_priority(void **state)
{
	struct nvme_io_qpair_opts bad = {.qprio = 4}, good = {.qprio = NVME_QPRIO_LOW};
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	(void)state;
	fake_init(&fake);
	fake.cap |= NVME_SET64(NVME_CAP_AMS_WRR, NVME_CAP_AMS);
	opts = fake_opts(&fake);
	opts.arb_mechanism = NVME_CC_AMS_WRR;
	assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
	assert_int_equal(NVME_GET(fake.cc, NVME_CC_AMS), NVME_CC_AMS_WRR);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &good, &qp), 0);
	assert_int_equal(NVME_GET(fake.log[fake.cmds - 1].cmd.cdw11, NVME_CREATE_IO_SQ_QPRIO),
	                 NVME_QPRIO_LOW);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &bad, &qp), -EINVAL);
	stop(ctrlr);
}

/* ---- delayed doorbells ---- */

static struct nvme_qpair *delaying_qpair(struct nvme_ctrlr *ctrlr, uint32_t entries)
{
	struct nvme_io_qpair_opts opts = {.entries = entries, .delay_cmd_submit = true};
	struct nvme_qpair *qp;

	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	return qp;
}

/* How often the SQ doorbell of queue 1 was rung among the register writes since then, at most 64. */
static unsigned int rings_since(uint64_t since)
{
	unsigned int n = 0;

	assert_true(fake.writes - since <= 64);
	for (; since < fake.writes; since++)
		n += fake.reg[since % 64].offset == NVME_SQ_TDBL(1, 0);
	return n;
}

static void test_delayed_doorbell(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = delaying_qpair(ctrlr, 16);
	static struct seen seen[16];
	uint64_t since = fake.writes, cmds = fake.cmds;
	unsigned int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	/* a poll announces what was submitted before it, once */
	for (i = 0; i < 5; i++)
		assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
	assert_int_equal(fake.cmds, cmds);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 5);
	assert_int_equal(rings_since(since), 1);
	since = fake.writes;
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_int_equal(rings_since(since), 0);

	/* so does the caller, and half a ring of commands does not wait for either */
	assert_int_equal(flush(ctrlr, qp, &seen[5]), 0);
	nvme_qpair_ring(qp);
	nvme_qpair_ring(qp);
	assert_int_equal(rings_since(since), 1);
	assert_int_equal(fake.cmds, cmds + 6);
	for (i = 6; i < 13; i++)
		assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
	assert_int_equal(rings_since(since), 1);
	assert_int_equal(flush(ctrlr, qp, &seen[13]), 0);
	assert_int_equal(rings_since(since), 2);
	assert_int_equal(fake.cmds, cmds + 14);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 9);

	/* a blocking call waits for its own command, and a deleted queue has announced all */
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
	assert_int_equal(flush(ctrlr, qp, &seen[14]), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	for (i = 0; i < 15; i++) {
		assert_int_equal(seen[i].calls, 1);
		assert_false(nvme_cpl_is_error(&seen[i].cpl));
	}
	stop(ctrlr);
}

/* Two entries, one command: half of the ring is one, so nothing can wait for ever. */
static void test_delayed_smallest(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = delaying_qpair(ctrlr, 2);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	int i;

	(void)state;
	for (i = 0; i < 9; i++) {
		assert_int_equal(flush(ctrlr, qp, &seen), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	}
	assert_int_equal(seen.calls, 9);
	stop(ctrlr);
}

/* What waits when the device goes is not announced any more. */
static void test_delayed_gone(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = delaying_qpair(ctrlr, 16);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	uint64_t writes;

	(void)state;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	fake.gone = true;
	(void)nvme__ctrlr_set_gone(ctrlr);
	writes = fake.writes;
	nvme_qpair_ring(qp);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(fake.writes, writes);
	assert_int_equal(seen.calls, 1);
}

/* ---- a controller that dies ---- */

static int poll_until(struct nvme_qpair *qp, unsigned int polls)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; i < polls && rc == 0; i++)
		rc = nvme_qpair_process_completions(qp, 0);
	return rc;
}

static void test_cfs(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	uint64_t reads = fake.csts_reads;

	(void)state;
	assert_int_equal(poll_until(qp, 3 * POLLS_TO_A_LOOK), 0);
	assert_int_equal(fake.csts_reads, reads); /* nothing is due: nothing to worry about */
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	assert_int_equal(poll_until(qp, 2 * POLLS_TO_A_LOOK), 0);
	assert_true(fake.csts_reads > reads);
	fake.cfs = true;
	assert_int_equal(poll_until(qp, POLLS_TO_A_LOOK), -EIO);
	assert_int_equal(flush(ctrlr, qp, &seen), -EIO);
	assert_int_equal(seen.calls, 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -EIO);
	assert_int_equal(seen.calls, 0); /* the controller did not let go of the command */
	(void)nvme_detach(ctrlr);
	assert_false(fake.open);
	assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SC), ABORTED_SQ_DELETION);
}

/* CSTS.RDY stays 1 after CC.EN = 0: the PCI function is reset, and then all goes on. */
static void test_reset_needs_the_function(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	fake.down_ms = FAKE_NEVER;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(fake.resets, 1);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SC), ABORTED_SQ_DELETION);
	fake.hook = NULL;
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
	fake.down_ms = 1;
	stop(ctrlr);
}

/* CAP.NSSRS is 0: nothing is written, and all goes on. */
static void test_subsystem_reset_not_there(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint64_t writes = fake.writes;

	(void)state;
	assert_int_equal(nvme_ctrlr_reset_subsystem(ctrlr), -ENOTSUP);
	assert_int_equal(fake.writes, writes);
	assert_int_equal(fake_logged(&fake, "CAP.NSSRS = 0"), 1);
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
	stop(ctrlr);
}

/* It has no such reset: the memory is taken away before the callback runs, and all is over. */
static void test_reset_that_nothing_helps(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	fake.down_ms = FAKE_NEVER;
	fake.ops.reset = NULL;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ETIMEDOUT);
	assert_true(ctrlr->cut_off);
	assert_true(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(seen.calls, 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -EIO);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ENXIO);
	assert_int_equal(fake_logged(&fake, "its memory was taken away"), 1);
	(void)nvme_detach(ctrlr);
	assert_int_equal(seen.calls, 1);
	assert_false(fake.open);
}

static void test_gone(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen[4];
	unsigned int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	fake.hook = hold_io;
	for (i = 0; i < 4; i++)
		assert_int_equal(flush(ctrlr, qp, &seen[i]), 0);
	fake_release(&fake, 1);
	fake.gone = true;
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(poll_until(qp, POLLS_TO_A_LOOK), -ENODEV);
	assert_int_equal(flush(ctrlr, qp, &seen[0]), -ENODEV);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_false(fake.open);
	for (i = 0; i < 4; i++)
		assert_int_equal(seen[i].calls, 1);
}

/* It goes during a reset: at one command after the other, then at one look at CSTS after the other. */
static void test_gone_while_resetting(void **state)
{
	unsigned int i, at_cmd, steps[2] = {0, 0};
	int rc;

	(void)state;
	for (at_cmd = 0; at_cmd < 2; at_cmd++) {
		for (i = 1, rc = -ENODEV; rc == -ENODEV; i++) {
			struct nvme_ctrlr *ctrlr = start();
			struct nvme_qpair *qp = fake_qpair(ctrlr, 8), *idle = fake_qpair(ctrlr, 8);
			struct seen seen = {0, {0, 0, 0, 0, 0, 0}};

			fake.hook = hold_io;
			assert_int_equal(flush(ctrlr, qp, &seen), 0);
			fake.gone_at_cmd = at_cmd ? fake.cmds + i : 0;
			fake.gone_at_csts = at_cmd ? 0 : fake.csts_reads + i;
			rc = nvme_ctrlr_reset(ctrlr);
			if (rc == 0) { /* it was over before */
				fake.gone_at_cmd = fake.gone_at_csts = 0;
				stop(ctrlr);
				break;
			}
			assert_int_equal(rc, -ENODEV);
			assert_true(nvme_ctrlr_is_failed(ctrlr));
			assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENODEV);
			assert_int_equal(nvme_qpair_process_completions(idle, 0), -ENODEV);
			assert_int_equal(flush(ctrlr, idle, &seen), -ENODEV);
			assert_int_equal(nvme_ctrlr_reconnect_io_qpair(idle), -ENODEV);
			assert_int_equal(flush(ctrlr, qp, &seen), -ENODEV);
			assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), -ENODEV);
			assert_int_equal(nvme_ctrlr_reset(ctrlr), -ENODEV);
			assert_int_equal(nvme_detach(ctrlr), -ENODEV);
			assert_false(fake.open);
			assert_int_equal(seen.calls, 1);
			assert_int_equal(fake.writes_after_gone, 0);
			steps[at_cmd]++;
		}
	}
	print_message("%u looks, %u commands\n", steps[0], steps[1]);
	assert_true(steps[0] >= 3 && steps[1] >= 5);
}

/* Fatal when it is enabled again: another try, with a reset of the function, or it has failed. */
static void test_cfs_while_resetting(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};

	(void)state;
	fake.cfs_enables = 1;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(fake.resets, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	fake.cfs_enables = 99;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -EIO);
	assert_true(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
	assert_true(nvme_qpair_process_completions(qp, 0) < 0);
	assert_int_equal(seen.calls, 1);
	fake.cfs_enables = 0;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	fake.hook = NULL;
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
}

/* Registers that read as all ones belong to nobody: they must be left alone from then on. */
static void test_gone_no_writes(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8), *other = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};

	(void)state;
	fake.hook = hold_io;
	assert_int_equal(flush(ctrlr, qp, &seen), 0);
	fake.gone = true;
	assert_int_equal(poll_until(qp, POLLS_TO_A_LOOK), -ENODEV);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -ENODEV);
	assert_int_equal(nvme_ctrlr_free_io_qpair(other), -ENODEV);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(fake.writes_after_gone, 0);
}

/* ---- status and log ---- */

static enum fake_verdict unrecovered(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	(void)f;
	if (qid == 0 || cmd->opc != NVME_OPC_READ)
		return FAKE_EXEC;
	cpl->status = (uint16_t)((uint16_t)NVME_SET(2, NVME_CPL_SCT) |
	                         (uint16_t)NVME_SET(0x81, NVME_CPL_SC) |
	                         (uint16_t)NVME_SET(1, NVME_CPL_DNR));
	cpl->cdw0 = 0x1234;
	return FAKE_ANSWER;
}

static void test_error_status(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	void *buf = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_cpl cpl;

	(void)state;
	fake.hook = unrecovered;
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 40, 8, count, &seen, 0), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SCT), 2);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SC), 0x81);
	assert_int_equal(seen.cpl.cdw0, 0x1234);
	assert_int_equal(fake.lines[NVME_LOG_NOTICE], 2);
	assert_int_equal(fake_logged(&fake, "READ sqid:1 cid:0 nsid:1 lba:40 len:8"), 1);
	assert_int_equal(fake_logged(&fake, "UNRECOVERED READ ERROR (02/81) qid:1 cid:0"), 1);
	assert_int_equal(nvme_ns_cmd_flush(ns, qp, count, &seen), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(fake.lines[NVME_LOG_NOTICE], 2); /* success is not news */
	assert_int_equal(nvme_ns_read(ns, qp, buf, 40, 8, &cpl), -EIO);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), 0x81);
	stop(ctrlr);
}

/* ---- timeouts of the blocking helpers ---- */

static void test_sync_timeout(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t data[512], *bounce;
	struct nvme_cpl cpl;
	uint64_t from, spent;

	(void)state;
	memset(fake.disk, 0x77, 512);
	memset(data, 0, sizeof(data));
	assert_int_equal(nvme_ns_flush(ns, NULL, NULL), 0); /* creates the helpers' queue pair */
	fake.hook = hold_io;
	from = fake.now;
	assert_int_equal(nvme_ns_read(ns, NULL, data, 0, 1, &cpl), -ETIMEDOUT);
	spent = (fake.now - from) / FAKE_MS;
	assert_true(spent >= 1000 && spent < 1100);
	assert_int_equal(fake_logged(&fake, "did not complete within 1000 ms"), 1);

	assert_true(ctrlr->sync_qp->trackers[0].outstanding); /* its waiter is no more */
	assert_true(ctrlr->sync_qp->trackers[0].cb == nvme__sync_late);

	/* the controller may write at any time: its buffer must not go to anybody else */
	bounce = ctrlr->arena.base + (fake.held[0].cmd.dptr.prp.prp1 - ctrlr->arena.iova);
	assert_true(in_use(ctrlr, bounce));
	fake.hook = NULL;
	fake_release(&fake, 0);
	assert_int_equal(bounce[0], 0x77);
	assert_int_equal(data[0], 0);
	memset(fake.disk, 0x88, 512);
	assert_int_equal(nvme_ns_read(ns, NULL, data, 0, 1, &cpl),
	                 0); /* reaps the late one, goes on */
	assert_int_equal(data[0], 0x88);
	assert_int_equal(data[511], 0x88);
	stop(ctrlr);
}

static void test_sync_timeout_then_free(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	uint8_t data[512];

	(void)state;
	fake.hook = drop_io;
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), -ETIMEDOUT);
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), -ETIMEDOUT);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 2);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	stop(ctrlr);
}

/* The queue is full of commands that never end: that is a timeout, too. */
static void test_sync_timeout_queue_full(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t data[512];

	(void)state;
	assert_int_equal(nvme_ns_flush(ns, NULL, NULL), 0);
	fake.hook = drop_io;
	assert_int_equal(nvme_ns_read(ns, NULL, data, 0, 1, NULL), -ETIMEDOUT);
	fake.gone_at_csts = fake.csts_reads + 1000000; /* or this test would wait for ever */
	assert_int_equal(nvme_ns_read(ns, NULL, data, 0, 1, NULL), -ETIMEDOUT);
	fake.gone_at_csts = 0;
	stop(ctrlr);
}

/* What a blocking call hands out when the controller sent nothing: it must not read as success. */
static void expect_no_completion(const struct nvme_cpl *cpl, uint16_t qid)
{
	assert_true(nvme_cpl_is_error(cpl));
	assert_int_equal(NVME_GET(cpl->status, NVME_CPL_SCT), NVME_SCT_PATH);
	assert_int_equal(NVME_GET(cpl->status, NVME_CPL_SC), NVME_SC_ABORTED_BY_HOST);
	assert_int_equal(cpl->sqid, qid);
	assert_int_equal(cpl->cid, 0xffff);
}

static void test_admin_timeout(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl), -EIO); /* fake has none */
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), 1);
	fake.hook = drop_features;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl), -ETIMEDOUT);
	expect_no_completion(&cpl, 0);
	stop(ctrlr);
}

/* ---- arguments ---- */

static void test_bad_arguments(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536), stack[512];
	struct nvme_cmd cmd;
	uint64_t writes = fake.writes;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_READ;
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 0, count, &seen, 0), -EINVAL);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &seen, 1), -EINVAL);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 2048, 1, count, &seen, 0), -ERANGE);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 2047, 2, count, &seen, 0), -ERANGE);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, UINT64_MAX, 8, count, &seen, 0), -ERANGE);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, stack, 0, 1, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, NULL, 0, 1, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf + 2, 0, 1, count, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, NULL, &cmd, buf, 512, count, &seen), -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, NULL, buf, 512, count, &seen), -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, NULL, 512, count, &seen), -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, buf, 512, NULL, &seen), -EINVAL);
	cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, buf, 512, count, &seen), -EINVAL);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0); /* no CID was lost */
	assert_int_equal(fake.writes, writes);                   /* and nothing was sent */
	assert_int_equal(nvme_ns_cmd_write(ns, qp, buf, 2047, 1, count, &seen, NVME_IO_FLAGS_FUA),
	                 0);
	assert_int_equal(fake.log[fake.cmds - 1].cmd.cdw12, NVME_IO_FLAGS_FUA);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.calls, 1);
	stop(ctrlr);
}

static void test_no_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	void *buf = nvme_dma_alloc(ctrlr, 512);

	(void)state;
	fake.hook = drop_io;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL, NULL), -EINVAL);
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, NULL, NULL,
	                                  0),
	                 -EINVAL);
	stop(ctrlr);
}

/* "-EINVAL ... a flag is unknown": there are two flags. */
static void test_unknown_flags(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	void *buf = nvme_dma_alloc(ctrlr, 512);
	uint32_t bit;

	(void)state;
	for (bit = 0; bit < 30; bit++)
		assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, count,
		                                  &seen, 1u << bit),
		                 -EINVAL);
	stop(ctrlr);
}

static void test_sync_without_buffer(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_IDENTIFY;
	cmd.cdw10 = NVME_ID_CNS_CTRLR;
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), NULL, NULL, 0, 1, NULL),
	                 -EINVAL);
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 4096, NULL), -EINVAL);
	stop(ctrlr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_laps),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_cq_doorbell),
		cmocka_unit_test(test_doorbell_offsets),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_cids_differ),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_duplicate),
		cmocka_unit_test(test_bad_sqhd),
		cmocka_unit_test(test_sqhd_goes_back),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_cqe_changes_later),
		cmocka_unit_test(test_stale_memory),
		cmocka_unit_test(test_submit_in_callback),
		cmocka_unit_test(test_free_in_callback),
		cmocka_unit_test(test_free_in_abort_callback),
		cmocka_unit_test(test_detach_in_callback),
		cmocka_unit_test(test_detach_in_admin_callback),
		cmocka_unit_test(test_free_with_outstanding),
		cmocka_unit_test(test_detach_with_admin_outstanding),
		cmocka_unit_test(test_memory_after_free),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_bad_qpair_opts),
		cmocka_unit_test(test_bad_priority),
		cmocka_unit_test(test_delayed_doorbell),
		cmocka_unit_test(test_delayed_smallest),
		cmocka_unit_test(test_delayed_gone),
		cmocka_unit_test(test_cfs),
		cmocka_unit_test(test_reset_needs_the_function),
		cmocka_unit_test(test_subsystem_reset_not_there),
		cmocka_unit_test(test_reset_that_nothing_helps),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_gone_no_writes),
		cmocka_unit_test(test_gone_while_resetting),
		cmocka_unit_test(test_cfs_while_resetting),
		cmocka_unit_test(test_error_status),
		cmocka_unit_test(test_sync_timeout),
		cmocka_unit_test(test_sync_timeout_then_free),
		cmocka_unit_test(test_sync_timeout_queue_full),
		cmocka_unit_test(test_admin_timeout),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_no_callback),
		cmocka_unit_test(test_unknown_flags),
		cmocka_unit_test(test_sync_without_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
