// SPDX-License-Identifier: MIT
/*
 * Shadow doorbells: the rule of EventIdx, what the driver writes where, and that a controller in
 * software which looks at memory alone sees all commands. (test_vm has the same over VFIO.)
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ctrlr.h"
#include "said.h"

static struct nvme_ctrlr_opts options(const char *device)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.shadow_doorbells = true;
	opts.log = listen;
	said[0] = '\0';
	return opts;
}

/* Ring exactly when the value passes event on its way from old to new, modulo 2^16. */
static void test_rule(void **state)
{
	static const struct {
		uint16_t event, new_value, old_value;
		bool passes;
	} rows[] = {
		{10, 15, 14, false},      {14, 15, 14, true},
		{15, 15, 14, false},      {13, 15, 14, false},
		{0, 1, 0, true},          {0, 5, 0, true},
		{4, 5, 0, true},          {5, 5, 0, false},
		{65535, 0, 65535, true}, /* over the end of the numbers */
		{65534, 0, 65535, false}, {65535, 2, 65533, true},
		{2, 2, 65533, false},     {3, 2, 65533, false},
		{255, 0, 255, true}, /* and of a ring: the value goes back */
		{0, 0, 255, false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (nvme__shadow_passes(rows[i].event, rows[i].old_value, rows[i].new_value) !=
		    rows[i].passes)
			fail_msg("event %u, from %u to %u", rows[i].event, rows[i].old_value,
			         rows[i].new_value);
	}
}

static void count(void *arg, const struct nvme_cpl *cpl)
{
	assert_false(nvme_cpl_is_error(cpl));
	(*(int *)arg)++;
}

/* Reads, at a depth, through a small ring many times round, with stamped blocks. */
static void run_reads(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, int reads)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = nvme_dma_alloc(ctrlr, 16 * 4096);
	int sent = 0, done = 0;

	memset(buf, 0x5a, 512);
	assert_int_equal(nvme_ns_write(ns, NULL, buf, 7, 1, NULL), 0);
	while (done < reads) {
		while (sent < reads && sent - done < 5) {
			uint8_t *at = buf + 4096 * (sent % 16);

			memset(at, 0, 512);
			assert_int_equal(nvme_ns_cmd_read(ns, qp, at, 7, 1, count, &done, 0), 0);
			sent++;
		}
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	}
	assert_int_equal(buf[4096 * ((reads - 1) % 16)], 0x5a);
	assert_int_equal(buf[4096 * ((reads - 1) % 16) + 511], 0x5a);
}

static struct nvme_qpair *small_qpair(struct nvme_ctrlr *ctrlr, bool delay)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;

	memset(&opts, 0, sizeof(opts));
	opts.entries = 7;
	opts.delay_cmd_submit = delay;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	return qp;
}

static void check_device(const char *device, bool register_needed, bool delay)
{
	struct nvme_ctrlr_opts opts = options(device);
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint64_t sq, cq;
	uint16_t id;

	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	qp = small_qpair(ctrlr, delay);
	run_reads(ctrlr, qp, 1000);
	id = nvme_qpair_get_id(qp);
	sq = nvme_soft_get_doorbells(nvme_ctrlr_get_dev(ctrlr), id, false);
	cq = nvme_soft_get_doorbells(nvme_ctrlr_get_dev(ctrlr), id, true);
	if (register_needed)
		assert_true(sq > 0 && cq > 0);
	else /* once a lap at most, when the value passes where the controller looked last */
		assert_true(sq <= 1000 / 7 + 1 && cq <= 1000 / 7 + 1);
	/* connected anew, or deleted and created, it begins at 0 again */
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
	assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), 0);
	run_reads(ctrlr, qp, 100);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	qp = small_qpair(ctrlr, delay);
	run_reads(ctrlr, qp, 100);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

static void test_sync(void **state)
{
	(void)state;
	check_device("soft:dbbuf=1", true, false);
	check_device("soft:dbbuf=1,dstrd=3", true, false);
	check_device("soft:dbbuf=1", true, true);
}

static void test_thread(void **state)
{
	(void)state;
	check_device("soft:dbbuf=1,mode=thread", false, false);
	check_device("soft:dbbuf=1,mode=thread,dstrd=2", false, true);
}

static void test_not_there(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;

	(void)state;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), -ENOTSUP);
	assert_non_null(strstr(said, "no Doorbell Buffer Config command (OACS bit 8)"));
}

static void count_any(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	(*(int *)arg)++;
}

/* What the controller is told, and what the driver writes to the page, step by step. */
static uint64_t shadow_iova, event_iova;

static enum fake_verdict take_config(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	(void)f;
	(void)cpl;
	if (qid != 0 || cmd->opc != NVME_OPC_DOORBELL_BUFFER_CONFIG)
		return FAKE_EXEC;
	shadow_iova = cmd->dptr.prp.prp1;
	event_iova = cmd->dptr.prp.prp2;
	return FAKE_ANSWER;
}

static void with_dbbuf(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f;
	(void)nsid;
	if (cns == NVME_ID_CNS_CTRLR)
		((struct nvme_id_ctrlr *)data)->oacs |= NVME_OACS_DBBUF;
}

static void test_pages(void **state)
{
	static struct fake fake;
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint32_t *shadow, *event;
	uint64_t writes;
	int done = 0;

	(void)state;
	fake_init(&fake);
	fake.hook = take_config;
	fake.edit = with_dbbuf;
	opts.dev_ops = &fake.ops;
	assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
	assert_true(shadow_iova != 0 && shadow_iova % 4096 == 0);
	assert_true(event_iova == shadow_iova + 4096);
	shadow = (uint32_t *)(void *)(ctrlr->arena.base + (shadow_iova - ctrlr->arena.iova));
	event = shadow + 1024;
	qp = small_qpair(ctrlr, false);
	/* the controller sleeps at 0: the register is written, too */
	writes = fake.writes;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, count, &done), 0);
	assert_int_equal(shadow[2], 1); /* SQ1TDBL */
	assert_true(fake.writes == writes + 1);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(shadow[3], 1); /* CQ1HDBL */
	assert_true(fake.writes == writes + 2);
	/* it is awake, and says that by an EventIdx which is not passed */
	event[2] = event[3] = 0;
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, count_any, &done), 0);
	assert_int_equal(shadow[2], 2);
	assert_true(fake.writes == writes + 2);
	/* the admin queue has none */
	assert_int_equal(shadow[0], 0);
	assert_int_equal(shadow[1], 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(done, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule),   cmocka_unit_test(test_sync),
		cmocka_unit_test(test_thread), cmocka_unit_test(test_not_there),
		cmocka_unit_test(test_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
