// SPDX-License-Identifier: MIT
/*
 * When something goes wrong, on the software controller: deadlines, Abort, resets, retries, and a
 * controller that is given up. Each rung has a test that fails without it.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "seen.h"

/* All that was logged, the latest last; what is older is forgotten when there is no room. */
static char said[65536];

static void hear(void *arg, enum nvme_log_level level, const char *line)
{
	size_t used = strlen(said);

	(void)arg;
	(void)level;
	if (used + strlen(line) + 2 > sizeof(said))
		used = 0;
	snprintf(said + used, sizeof(said) - used, "%s\n", line);
}

static uint32_t sct_sc(const struct seen *end)
{
	return NVME_GET(end->cpl.status, NVME_CPL_SCT) << 8 |
	       NVME_GET(end->cpl.status, NVME_CPL_SC);
}

static struct nvme_ctrlr_opts options(const char *device)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = hear;
	opts.log_level = NVME_LOG_NOTICE;
	opts.io_timeout_ms = opts.admin_timeout_ms = 1000;
	said[0] = '\0';
	return opts;
}

static struct nvme_ctrlr *attach_with(const char *device, const struct nvme_ctrlr_opts *opts)
{
	struct nvme_ctrlr *ctrlr;

	assert_int_equal(nvme_attach(device, opts, &ctrlr), 0);
	return ctrlr;
}

static struct nvme_ctrlr *attach(const char *device)
{
	struct nvme_ctrlr_opts opts = options(device);

	return attach_with(device, &opts);
}

static struct nvme_dev *dev_of(struct nvme_ctrlr *ctrlr)
{
	return &ctrlr->dev;
}

static void plan(struct nvme_ctrlr *ctrlr, const char *text)
{
	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), text), 0);
}

static struct nvme_soft_stats stats_of(struct nvme_ctrlr *ctrlr)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev_of(ctrlr), &stats);
	return stats;
}

static struct nvme_qpair *qpair(struct nvme_ctrlr *ctrlr, bool resubmit)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;

	memset(&opts, 0, sizeof(opts));
	opts.entries = 16;
	opts.resubmit = resubmit;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	return qp;
}

static int read_at(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, void *buf, uint64_t slba,
                   struct seen *end)
{
	return nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, slba, 1, count, end, 0);
}

/* Polls until the command has ended, or the queue fails: what the last poll gave. */
static int poll_until(struct nvme_qpair *qp, const struct seen *end)
{
	int rc = 0;
	long i;

	for (i = 0; i < 200000000 && end->calls == 0 && rc >= 0; i++)
		rc = nvme_qpair_process_completions(qp, 0);
	return rc;
}

/* The block at slba holds its number, before and after all that happens. */
static void write_number(struct nvme_ctrlr *ctrlr, uint64_t slba)
{
	uint64_t block[64] = {0};

	block[0] = slba;
	assert_int_equal(nvme_ns_write(nvme_ctrlr_get_ns(ctrlr, 1), NULL, block, slba, 1, NULL), 0);
}

static void works(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	uint64_t block[64] = {0};

	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, block, 7, 1, NULL), 0);
	assert_int_equal(block[0], 7);
}

/* ---- deadlines ---- */

/* Nobody has registered a callback: the late command is aborted, the others go on. */
static void test_abort(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen late = {0}, other = {0};
	uint64_t from;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read lba 100 drop");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, buf, 100, &late), 0);
	assert_int_equal(read_at(ctrlr, qp, buf + 512, 7, &other), 0);
	assert_int_equal(poll_until(qp, &late), 1);
	assert_int_equal(other.calls, 1);
	assert_int_equal(sct_sc(&other), 0);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_BY_REQUEST);
	/* not before its time, and not much later */
	assert_true(stats_of(ctrlr).now_ns - from >= UINT64_C(1000000000));
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(1200000000));
	assert_non_null(strstr(said, "is late: the controller is asked to abort it"));
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* A command that is lost on a queue where others come and go is found, too. */
static void test_late_on_a_busy_queue(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen late = {0}, other;
	uint8_t *buf;
	long i;

	(void)state;
	opts.io_timeout_ms = 20;
	ctrlr = attach_with("soft", &opts);
	qp = qpair(ctrlr, false);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	plan(ctrlr, "on read lba 100 drop");
	assert_int_equal(read_at(ctrlr, qp, buf, 100, &late), 0);
	for (i = 0; i < 1000000 && late.calls == 0; i++) {
		other.calls = 0;
		assert_int_equal(read_at(ctrlr, qp, buf + 512, 8, &other), 0);
		while (other.calls == 0)
			assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	}
	assert_int_equal(late.calls, 1);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_BY_REQUEST);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* The watch looks every 10 ms or so, in real time, however fast or slowly the queue is polled. */
static void test_pace(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mode=thread");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	const struct nvme_dev_ops *soft;
	struct nvme_dev_ops real;
	uint64_t now = 1000;

	(void)state;
	assert_int_equal(qp->watch.every, 0);
	nvme__watch_pace(qp, now);
	assert_int_equal(qp->watch_in, NVME__WATCH_FIRST);
	nvme__watch_pace(qp, now += 2); /* too often: half as often */
	assert_int_equal(qp->watch_in, 2 * NVME__WATCH_FIRST);
	nvme__watch_pace(qp, now += 10);
	assert_int_equal(qp->watch_in, 2 * NVME__WATCH_FIRST);
	nvme__watch_pace(qp, now += 2048); /* a poll each ms: every tenth of them */
	assert_int_equal(qp->watch_in, 11);
	nvme__watch_pace(qp, now += UINT64_C(1) << 40); /* at least in the next but one */
	assert_int_equal(qp->watch_in, 1);
	qp->watch.every = NVME__WATCH_MAX;
	nvme__watch_pace(qp, now);
	assert_true(qp->watch_in <= NVME__WATCH_MAX);
	/* with the clock of the system it is read often, and a look is due every 10 ms */
	real = *ctrlr->dev.ops;
	real.now_ns = NULL;
	soft = ctrlr->dev.ops;
	ctrlr->dev.ops = &real;
	qp->watch.looked_ms = now;
	assert_false(nvme__watch_pace(qp, now + NVME__WATCH_MS - 1));
	assert_true(nvme__watch_pace(qp, now + NVME__WATCH_MS));
	assert_false(nvme__watch_pace(qp, now + NVME__WATCH_MS + 1));
	nvme__qpair_woken(qp, false); /* somebody has slept in vain */
	assert_true(nvme__watch_pace(qp, now + NVME__WATCH_MS + 2));
	ctrlr->dev.ops = soft;
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* The completion came while nobody polled: the command is late, and nothing is done about it. */
static void test_look_once_more(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct nvme_soft *soft = (struct nvme_soft *)dev_of(ctrlr)->priv;
	uint64_t *buf = (uint64_t *)nvme_dma_alloc(ctrlr, 4096), aborts;
	struct seen end = {0};

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read delay 500ms");
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &end), 0);
	while (qp->trackers[0].outstanding == 1) /* until a look has noted the time */
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	aborts = stats_of(ctrlr).admin_cmds;
	soft->now += UINT64_C(5000000000);
	qp->watch_in = 1;
	assert_int_equal(poll_until(qp, &end), 1);
	assert_int_equal(sct_sc(&end), 0);
	assert_true(buf[0] == 7);
	assert_true(stats_of(ctrlr).admin_cmds == aborts);
	assert_null(strstr(said, "is late"));
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(end.calls, 1);
}

/* The controller says that it did not abort it: after as much time again it is reset. */
static void test_reset_after_abort(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen late = {0};
	uint64_t from;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read lba 100 drop; on abort dw0 1");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, buf, 100, &late), 0);
	assert_int_equal(poll_until(qp, &late), -ENXIO);
	assert_int_equal(late.calls, 1);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_SQ_DELETION);
	assert_true(stats_of(ctrlr).now_ns - from >= UINT64_C(2000000000));
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(2500000000));
	assert_non_null(strstr(said, "asked to abort it"));
	assert_non_null(strstr(said, "is late: the controller is reset"));
	assert_non_null(strstr(said, "resetting controller"));
	assert_non_null(strstr(said, "the controller did not abort the late command"));
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &late), -ENXIO);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	works(ctrlr, NULL);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* An Abort that ends with an error is one that did nothing. */
static void test_abort_fails(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen late = {0};

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read lba 100 drop; on abort status 0/02 dnr dw0 0");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 100, &late), 0);
	assert_int_equal(poll_until(qp, &late), -ENXIO);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_SQ_DELETION);
	assert_non_null(strstr(said, "the controller did not abort the late command"));
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* Nor is one that never ends waited for: the command's second deadline comes first. */
static void test_abort_is_lost(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen late = {0};
	uint64_t from;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read lba 100 drop; on abort drop");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 100, &late), 0);
	assert_int_equal(poll_until(qp, &late), -ENXIO);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_SQ_DELETION);
	assert_true(stats_of(ctrlr).now_ns - from >= UINT64_C(2000000000));
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(2500000000));
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* What the ladder looks through of the admin queue leaves the callbacks of others to their thread. */
static void test_foreign_admin(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen late = {0}, foreign = {0};
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	plan(ctrlr, "on read drop");
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &foreign), 0);
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &late), 0);
	assert_int_equal(poll_until(qp, &late), 1);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_BY_REQUEST);
	assert_int_equal(foreign.calls, 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 2);
	assert_int_equal(foreign.calls, 1);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* As many aborts as ACL allows are on their way: the others wait for their turn. */
static void test_acl(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify acl=1");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 8192);
	struct seen late[8];
	int i;

	(void)state;
	memset(late, 0, sizeof(late));
	plan(ctrlr, "on read drop; on abort delay 50ms");
	for (i = 0; i < 8; i++)
		assert_int_equal(read_at(ctrlr, qp, buf + 512 * i, 0, &late[i]), 0);
	for (i = 0; i < 8; i++) {
		(void)poll_until(qp, &late[i]);
		assert_int_equal(late[i].calls, 1);
		assert_int_equal(sct_sc(&late[i]), NVME_SC_ABORTED_BY_REQUEST);
	}
	assert_null(strstr(said, "resetting"));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* The admin queue has nobody to ask: it is reset at once. */
static void test_late_admin(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_cmd cmd;
	struct seen late = {0};
	long i;

	(void)state;
	plan(ctrlr, "on get-features drop");
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &late), 0);
	for (i = 0; i < 200000000 && late.calls == 0; i++)
		assert_true(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
	assert_int_equal(late.calls, 1);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_SQ_DELETION);
	assert_null(strstr(said, "abort it"));
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* What may take long, or waits for something to happen, is not late. */
static void test_never_late(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=on format-nvm delay 60s");
	struct nvme_format format;
	struct nvme_cmd cmd;
	struct seen aer = {0};

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_ASYNC_EVENT_REQUEST;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &aer), 0);
	memset(&format, 0, sizeof(format));
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), 0);
	assert_int_equal(aer.calls, 0);
	assert_null(strstr(said, "late"));
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(aer.calls, 1);
}

/* no_ladder: as long as it takes, and nothing is done. */
static void test_no_ladder(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen late = {0};
	long i;

	(void)state;
	opts.no_ladder = true;
	ctrlr = attach_with("soft:plan=on read drop", &opts);
	qp = qpair(ctrlr, false);
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 0, &late), 0);
	for (i = 0; i < 10000000; i++)
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_true(stats_of(ctrlr).now_ns > UINT64_C(5000000000));
	assert_int_equal(late.calls, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

/* ---- the caller's own way ---- */

static struct {
	int calls;
	struct nvme_qpair *qp;
	uint16_t cid;
	bool reset;
	int poll_rc, free_rc;
} told;

static void on_timeout(void *arg, struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, uint16_t cid)
{
	assert_ptr_equal(arg, &told);
	told.calls++;
	told.qp = qp;
	told.cid = cid;
	if (qp != NULL) {
		told.poll_rc = nvme_qpair_process_completions(qp, 0);
		told.free_rc = nvme_ctrlr_free_io_qpair(qp);
	}
	if (told.reset)
		assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
}

static void test_timeout_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen late = {0};
	struct nvme_cmd cmd;
	long i;

	(void)state;
	memset(&told, 0, sizeof(told));
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 1, 1, NULL, NULL), -EINVAL);
	assert_non_null(strstr(said, "it is NULL"));
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, UINT64_MAX, 0, on_timeout,
	                                                      &told),
	                 -EINVAL);
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 100500, 200000, on_timeout,
	                                                      &told),
	                 0);
	assert_int_equal(ctrlr->ladder.io_ms, 101);
	assert_int_equal(ctrlr->ladder.admin_ms, 200);
	plan(ctrlr, "on read drop; on get-features drop");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 0, &late), 0);
	for (i = 0; i < 20000000; i++)
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_int_equal(told.calls, 1); /* once, however long it takes */
	assert_ptr_equal(told.qp, qp);
	assert_int_equal(told.cid, 0);
	assert_int_equal(told.poll_rc, -EBUSY);
	assert_int_equal(told.free_rc, -EBUSY);
	assert_int_equal(late.calls, 0);
	assert_null(strstr(said, "is late"));
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &late), 0);
	for (i = 0; i < 20000000 && told.calls == 1; i++)
		assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(told.calls, 2);
	assert_null(told.qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 2);
}

/* It completes after all: with its own status, once, and until then nobody else has its CID. */
static void test_late_and_told_completes(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint64_t *buf = (uint64_t *)nvme_dma_alloc(ctrlr, 16 * 512);
	struct seen late = {0}, others = {0};
	int i;

	(void)state;
	memset(&told, 0, sizeof(told));
	write_number(ctrlr, 7);
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 1000000, 0, on_timeout, &told),
	                 0);
	plan(ctrlr, "on read lba 7 delay 3s; on read lba 8 delay 1ms");
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &late), 0);
	while (told.calls == 0)
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	for (i = 1; i < 15; i++)
		assert_int_equal(read_at(ctrlr, qp, buf + 64 * i, 8, &others), 0);
	assert_int_equal(read_at(ctrlr, qp, buf, 8, &others), -EAGAIN);
	assert_int_equal(late.calls, 0);
	assert_true(buf[0] == 0);
	assert_int_equal(poll_until(qp, &late), 1);
	assert_int_equal(sct_sc(&late), 0);
	assert_true(buf[0] == 7);
	assert_true(stats_of(ctrlr).now_ns >= UINT64_C(3000000000));
	assert_int_equal(told.calls, 1);
	assert_int_equal(others.calls, 14);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(late.calls, 1);
}

static struct nvme_ctrlr *to_reset;
static int reset_rc;

static void reset_in_callback(void *arg, const struct nvme_cpl *cpl)
{
	count(arg, cpl);
	reset_rc = nvme_ctrlr_reset(to_reset);
}

/* A reset may be asked for there. */
static void test_reset_in_timeout_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen late = {0};

	(void)state;
	memset(&told, 0, sizeof(told));
	told.reset = true;
	write_number(ctrlr, 7);
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 100000, 0, on_timeout, &told),
	                 0);
	plan(ctrlr, "on read drop times 1");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 0, &late), 0);
	assert_int_equal(poll_until(qp, &late), -ENXIO);
	assert_int_equal(told.calls, 1);
	assert_int_equal(late.calls, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* For a late admin command, too. What that reset ends may not reset again. */
static void test_reset_in_admin_timeout_callback(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct seen late = {0};
	struct nvme_cmd cmd;
	long i;

	(void)state;
	memset(&told, 0, sizeof(told));
	told.reset = true;
	to_reset = ctrlr;
	write_number(ctrlr, 7);
	reset_rc = 0;
	assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 0, 100000, on_timeout, &told),
	                 0);
	plan(ctrlr, "on get-features drop times 1");
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, reset_in_callback, &late),
	                 0);
	for (i = 0; i < 20000000 && late.calls == 0; i++)
		assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(told.calls, 1);
	assert_int_equal(late.calls, 1);
	assert_int_equal(sct_sc(&late), NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(reset_rc, -EBUSY);
	works(ctrlr, NULL);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- resets ---- */

/* Several queues with commands on their way, one with a completion that nobody has seen yet. */
static void test_reset(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:ns=2");
	struct nvme_qpair *qp[3];
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
	struct seen ends[3][4], seen = {0};
	int i, k;

	(void)state;
	memset(ends, 0, sizeof(ends));
	write_number(ctrlr, 7);
	for (i = 0; i < 3; i++)
		qp[i] = qpair(ctrlr, false);
	assert_int_equal(read_at(ctrlr, qp[1], buf, 7, &seen), 0); /* is complete */
	plan(ctrlr, "on read drop");
	for (i = 0; i < 3; i++) {
		for (k = 0; k < 4; k++)
			assert_int_equal(read_at(ctrlr, qp[i], buf + 512 * (1 + 4 * i + k), 7,
			                         &ends[i][k]),
			                 0);
	}
	plan(ctrlr, "");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_false(nvme_ctrlr_is_failed(ctrlr));
	for (i = 0; i < 3; i++) {
		for (k = 0; k < 4; k++)
			assert_int_equal(ends[i][k].calls, 0); /* each in its own next poll */
		assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp[i], count,
		                                   &seen),
		                 -ENXIO);
		assert_int_equal(nvme_qpair_process_completions(qp[i], 0), -ENXIO);
		for (k = 0; k < 4; k++) {
			assert_int_equal(ends[i][k].calls, 1);
			assert_int_equal(sct_sc(&ends[i][k]), NVME_SC_ABORTED_SQ_DELETION);
		}
		assert_false(nvme_qpair_is_connected(qp[i]));
		assert_int_equal(nvme_qpair_process_completions(qp[i], 0), -ENXIO);
	}
	assert_int_equal(seen.calls, 1);
	assert_int_equal(sct_sc(&seen), 0); /* it was there before the reset */
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp[0]), 0);
	works(ctrlr, qp[0]);
	works(ctrlr, NULL);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp[1]), 0); /* as it is */
	assert_int_equal(nvme_ns_get_num_sectors(nvme_ctrlr_get_ns(ctrlr, 2)) > 0, 1);
	assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
	assert_int_equal(nvme_detach(ctrlr), 0); /* with qp[2], which nobody connected again */
	assert_int_equal(seen.calls, 1);
}

/* Freed or reconnected without a poll between: the callbacks come there. */
static void test_reset_then_free(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *a = qpair(ctrlr, false), *b = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen x = {0}, y = {0};

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read drop");
	assert_int_equal(read_at(ctrlr, a, buf, 7, &x), 0);
	assert_int_equal(read_at(ctrlr, b, buf + 512, 7, &y), 0);
	plan(ctrlr, "");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(a), 0);
	assert_int_equal(x.calls, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(b), 0);
	assert_int_equal(y.calls, 1);
	works(ctrlr, b);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0); /* and once more, with nothing on its way */
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(nvme_qpair_process_completions(b, 0), -ENXIO);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(b), 0);
	works(ctrlr, b);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(x.calls + y.calls, 2);
}

/* From the callback of an I/O command it works, from that of an admin command it is refused. */
static void test_reset_in_callbacks(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end = {0}, other = {0};
	struct nvme_cmd cmd;

	(void)state;
	write_number(ctrlr, 7);
	to_reset = ctrlr;
	plan(ctrlr, "on read lba 9 drop");
	assert_int_equal(read_at(ctrlr, qp, buf, 9, &other), 0);
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf + 512, 7, 1,
	                                  reset_in_callback, &end, 0),
	                 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(reset_rc, 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(end.calls + other.calls, 2);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, reset_in_callback, &end),
	                 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(reset_rc, -EBUSY);
	works(ctrlr, qp);
	/* of queues that the controller has forgotten no doorbell is rung */
	assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* In a batch of more than half a ring, and with commands that were not announced yet. */
static void test_reset_in_a_long_batch(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 16384);
	struct seen end = {0}, rest = {0};
	int i;

	(void)state;
	to_reset = ctrlr;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 32;
	opts.delay_cmd_submit = true;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1,
	                                  reset_in_callback, &end, 0),
	                 0);
	for (i = 1; i < 31; i++)
		assert_int_equal(read_at(ctrlr, qp, buf + 512 * i, 0, &rest), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	assert_int_equal(end.calls + rest.calls, 31);
	assert_int_equal(read_at(ctrlr, qp, buf, 0, &rest), 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	nvme_qpair_ring(qp);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(rest.calls, 31);
	assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* resubmit: the reads never hear of it; a copy does, since it is not sent twice. */
static void test_resubmit(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, true);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint64_t *buf = (uint64_t *)nvme_dma_alloc(ctrlr, 4096);
	struct nvme_copy_range source;
	struct seen read = {0}, copy = {0};

	(void)state;
	write_number(ctrlr, 7);
	buf[0] = 0;
	memset(&source, 0, sizeof(source));
	source.slba = 7;
	plan(ctrlr, "on read drop; on opc 0x19 drop");
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &read), 0);
	assert_int_equal(nvme_ns_cmd_copy(ns, qp, &source, 1, 20, count, &copy), 0);
	plan(ctrlr, "");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(poll_until(qp, &read), 1);
	assert_int_equal(sct_sc(&read), 0);
	assert_true(buf[0] == 7);
	assert_int_equal(copy.calls, 1);
	assert_int_equal(sct_sc(&copy), NVME_SC_ABORTED_SQ_DELETION);
	assert_true(nvme_qpair_is_connected(qp));
	works(ctrlr, qp);
	assert_int_equal(qp->unusual, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(read.calls, 1);
}

/* A command that needs a reset each time it is sent is given up after retry_count of them. */
static void test_resubmit_has_an_end(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen read = {0};
	int resets = 0;

	(void)state;
	opts.retry_count = 2;
	opts.no_ladder = true;
	ctrlr = attach_with("soft:plan=on read drop", &opts);
	qp = qpair(ctrlr, true);
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 0, &read), 0);
	while (read.calls == 0 && resets < 9) {
		assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
		resets++;
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	}
	assert_int_equal(resets, 3);
	assert_int_equal(sct_sc(&read), NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Shadow doorbells and interrupts are there again after it. */
static void test_reset_keeps_features(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen end = {0};
	int i;

	(void)state;
	opts.shadow_doorbells = opts.interrupts = true;
	ctrlr = attach_with("soft:dbbuf=1,mode=thread", &opts);
	qp = qpair(ctrlr, false);
	write_number(ctrlr, 7);
	for (i = 0; i < 3; i++) {
		works(ctrlr, qp);
		end.calls = 0;
		assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
		while (end.calls == 0)
			assert_true(nvme_qpair_wait(qp, 1000) >= 0);
		assert_int_equal(sct_sc(&end), 0);
		assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
		assert_int_equal(nvme_qpair_wait(qp, 10000), -ENXIO); /* wakes who sleeps */
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* A submission queue and data in the controller's own memory, and zones, are there again, too. */
static void test_reset_keeps_memory(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen end;
	uint64_t *own;
	size_t size;
	int i;

	(void)state;
	opts.use_cmb_sqs = true;
	ctrlr = attach_with("soft:cmb=1", &opts);
	qp = qpair(ctrlr, false);
	write_number(ctrlr, 7);
	own = (uint64_t *)nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_non_null(own);
	for (i = 0; i < 3; i++) {
		own[0] = 0;
		memset(&end, 0, sizeof(end));
		assert_int_equal(read_at(ctrlr, qp, own, 7, &end), 0);
		assert_int_equal(poll_until(qp, &end), 1);
		assert_true(own[0] == 7);
		assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
	ctrlr = attach("soft:zns=64");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_true(nvme_zns_ns_get_zone_size_sectors(nvme_ctrlr_get_ns(ctrlr, 1)) == 64);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Requests for events end with the reset, which is no event, and are sent again. */
static void test_reset_arms_events(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct seen event = {0};
	uint32_t kato;
	int i;

	(void)state;
	opts.keep_alive_timeout_ms = 5000;
	ctrlr = attach_with("soft:kas=1", &opts);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, count, &event), 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(event.calls, 0);
	nvme_soft_inject_aer(dev_of(ctrlr), NVME_AER_TYPE_SMART, NVME_AER_SMART_SPARE,
	                     NVME_LOG_PAGE_SMART);
	for (i = 0; i < 100 && event.calls == 0; i++)
		assert_true(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
	assert_int_equal(event.calls, 1);
	assert_int_equal(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_KEEP_ALIVE_TIMER, 0, 0, NULL, 0,
	                                        &kato, NULL),
	                 0);
	assert_int_equal(kato, 5000);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(event.calls, 1);
}

/* The admin queue has had its eight senseless completions: what works, and what a reset mends. */
static void test_bad_admin_completions(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen ends = {0}, read = {0};
	struct nvme_cmd cmd;
	int i;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on get-features cid 4095");
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	for (i = 0; i < 8; i++)
		assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &ends), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), -ENXIO);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &ends), -ENXIO);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), -ENXIO);
	assert_int_equal(ends.calls, 0);
	works(ctrlr, qp); /* I/O goes on */
	plan(ctrlr, "on read lba 100 drop");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 100, &read), 0);
	assert_int_equal(poll_until(qp, &read), -ENXIO); /* no Abort can be sent: a reset */
	assert_null(strstr(said, "asked to abort it"));
	assert_int_equal(ends.calls, 8);
	assert_int_equal(sct_sc(&ends), NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	works(ctrlr, NULL);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(ends.calls, 8);
}

/* It does not become ready again: why, and what works after that. */
static void test_reset_fails(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end = {0};

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "ready never; on read drop");
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &end), 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ETIMEDOUT);
	assert_true(nvme_ctrlr_is_failed(ctrlr));
	assert_non_null(strstr(said, "in failed state"));
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(end.calls, 1);
	assert_true(nvme_ctrlr_reconnect_io_qpair(qp) < 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), -EIO);
	assert_true(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), NULL, buf, 7, 1, NULL) < 0);
	plan(ctrlr, "");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_false(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(end.calls, 1);
}

static void test_reset_of_what_is_gone(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};

	(void)state;
	plan(ctrlr, "on read gone");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ENODEV);
	assert_true(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ENODEV);
	assert_int_equal(stats_of(ctrlr).writes_after_gone, 0);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(end.calls, 1);
}

static void test_subsystem_reset(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp;
	struct seen end = {0};
	uint32_t csts;

	(void)state;
	assert_int_equal(nvme_ctrlr_reset_subsystem(ctrlr), -ENOTSUP);
	assert_non_null(strstr(said, "CAP.NSSRS = 0"));
	assert_int_equal(nvme_detach(ctrlr), 0);
	ctrlr = attach("soft:nssr=1");
	qp = qpair(ctrlr, false);
	write_number(ctrlr, 7);
	plan(ctrlr, "on read drop times 1");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(nvme_ctrlr_reset_subsystem(ctrlr), 0);
	csts = nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS);
	assert_int_equal(NVME_GET(csts, NVME_CSTS_NSSRO), 1); /* else it was a reset only */
	assert_int_equal(poll_until(qp, &end), -ENXIO);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(end.calls, 1);
}

/* What was complete before a reset is not read twice, and what waited is not sent after it. */
static void test_reset_sends_nothing_twice(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify crdt1=1");
	struct nvme_qpair *qp = qpair(ctrlr, true), *other = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end = {0}, waits = {0};
	uint64_t before, i;

	(void)state;
	plan(ctrlr, "on read status 0/06 crd 1 times 1");
	assert_int_equal(read_at(ctrlr, other, buf, 7, &waits), 0);
	assert_int_equal(nvme_qpair_process_completions(other, 0), 1);
	assert_int_equal(read_at(ctrlr, qp, buf + 512, 7, &end), 0);
	before = stats_of(ctrlr).io_cmds;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	assert_int_equal(end.calls, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(other), 0);
	assert_int_equal(waits.calls, 1);
	for (i = 0; i < 1000000; i++) /* longer than the delay */
		assert_int_equal(nvme_qpair_process_completions(other, 0), 0);
	assert_null(other->retry_first);
	assert_true(stats_of(ctrlr).io_cmds == before);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* What was known of the controller is asked again: another one than before is not gone on with. */
static void test_reset_asks_again(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	uint64_t nsze;
	char fr;

	(void)state;
	opts.shadow_doorbells = true;
	ctrlr = attach_with("soft:dbbuf=1,plan=identify crdt1=1", &opts);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	nsze = ns->data.nsze;
	fr = ctrlr->data.fr[0];
	ctrlr->data.fr[0] ^= 1; /* as if other firmware had been activated since */
	ns->data.nsze = 1;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(ctrlr->data.fr[0], fr);
	assert_true(ns->data.nsze == nsze);
	assert_true(((struct nvme_soft *)dev_of(ctrlr)->priv)->shadow != 0);
	write_number(ctrlr, 7);
	works(ctrlr, NULL);
	ctrlr->data.sn[0] ^= 1;
	assert_int_equal(nvme_ctrlr_reset(ctrlr), -ENODEV);
	assert_true(nvme_ctrlr_is_failed(ctrlr));
	assert_non_null(strstr(said, "another serial number"));
	(void)nvme_detach(ctrlr);
}

/* Firmware that takes less at once: nothing is sent that is larger, zone appends included. */
static void test_reset_finds_less(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:zns=64,size=1M");

	(void)state;
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 4096u << 7);
	assert_true(ctrlr->adminq->max_xfer_size > 4096);
	plan(ctrlr, "identify mdts=0");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0); /* no limit: that of the driver */
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr),
	                 nvme_ctrlr_get_max_xfer_size(ctrlr));
	((struct nvme_soft *)dev_of(ctrlr)->priv)->cfg.zasl = 2;
	plan(ctrlr, "identify mdts=4");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_get_max_xfer_size(ctrlr), 4096 << 4);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 4096 << 2);
	plan(ctrlr, "identify mdts=1");
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_get_max_xfer_size(ctrlr), 8192);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 8192);
	assert_int_equal(ctrlr->adminq->max_xfer_size, 8192);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* An admin command that is late in half a second, when the next call has begun. */
static void late_soon(struct nvme_ctrlr *ctrlr, const char *text, uint32_t ms, struct seen *page)
{
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct nvme_id_ctrlr id;
	char then[80];

	plan(ctrlr, "on get-log-page drop; on identify delay 500ms");
	assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_SMART, UINT32_MAX, buf,
	                                             512, 0, count, page),
	                 0);
	assert_int_equal(nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_CTRLR, 0, 0, &id), 0);
	snprintf(then, sizeof(then), "on read drop; on %s delay %" PRIu32 "ms", text, ms);
	plan(ctrlr, then);
}

/*
 * The ladder resets the controller in one of the polls that wait for a queue to be created, at whatever
 * moment of that: a queue pair that the caller gets is one that the controller knows.
 */
static void test_reset_in_creation(void **state)
{
	uint32_t ms, made = 0, refused = 0;

	(void)state;
	for (ms = 450; ms < 650; ms++) {
		struct nvme_ctrlr *ctrlr = attach("soft");
		struct nvme_qpair *qp;
		struct seen page = {0};
		int rc;

		write_number(ctrlr, 7);
		late_soon(ctrlr, ms % 2 ? "create-io-sq" : "create-io-cq", ms, &page);
		rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
		made += rc == 0;
		refused += rc != 0;
		if (rc == 0) {
			plan(ctrlr, "");
			works(ctrlr, qp);
			assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		} else {
			assert_int_equal(rc, -EIO);
			assert_null(qp);
		}
		assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
		assert_int_equal(nvme_detach(ctrlr), 0);
		assert_int_equal(page.calls, 1);
	}
	assert_true(made != 0 && refused != 0);
}

/* The same for one that is deleted: it is gone, and what was on its way in it has ended. */
static void test_reset_in_deletion(void **state)
{
	uint32_t ms;

	(void)state;
	for (ms = 450; ms < 650; ms++) {
		struct nvme_ctrlr *ctrlr = attach("soft");
		struct nvme_qpair *qp = qpair(ctrlr, false);
		struct seen page = {0}, read = {0};
		uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);

		late_soon(ctrlr, ms % 2 ? "delete-io-sq" : "delete-io-cq", ms, &page);
		assert_int_equal(read_at(ctrlr, qp, buf, 7, &read), 0);
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		assert_int_equal(read.calls, 1);
		assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
		assert_int_equal(nvme_detach(ctrlr), 0);
		assert_int_equal(page.calls, 1);
	}
}

static struct nvme_dev_ops soft_ops;

/* The controller completes the command that it owes at the last moment: it is being switched off. */
static void complete_at_the_end(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)dev;
	struct nvme_qpair *aq = ctrlr->adminq;
	struct nvme_cpl cpl = {0};

	if (offset == NVME_REG_CC && NVME_GET(value, NVME_CC_EN) == 0 && aq != NULL) {
		cpl.status = (uint16_t)(NVME_SC_NAMESPACE_NOT_READY << 1 | aq->phase);
		memcpy((void *)(uintptr_t)&aq->cq[aq->cq_head], &cpl, sizeof(cpl));
	}
	soft_ops.write_4(dev, offset, value);
}

/* With a status that would be one to try again: but not here. */
static void test_nothing_is_tried_at_the_end(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:plan=on identify drop");
	struct nvme_dev_ops ops = *opts.dev_ops;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	soft_ops = ops;
	ops.write_4 = complete_at_the_end;
	opts.dev_ops = &ops;
	assert_int_equal(nvme_attach("soft:plan=on identify drop", &opts, &ctrlr), -ETIMEDOUT);
	assert_non_null(strstr(said, "NAMESPACE NOT READY"));
	assert_null(strstr(said, "tried again"));
	assert_null(strstr(said, "doorbell"));
}

static void *try_lock(void *arg)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;

	if (!nvme__mutex_trylock(&ctrlr->admin_lock))
		return arg;
	nvme__ctrlr_unlock(ctrlr);
	return NULL;
}

/* No rung keeps the lock of the admin queue from other threads. */
static void test_lock_is_given_back(void **state)
{
	static const char *const plans[] = {"on read drop", "on read drop; on abort dw0 1",
	                                    "on read cfs"};
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct nvme_ctrlr *ctrlr = attach("soft");
		struct nvme_qpair *qp = qpair(ctrlr, false);
		struct seen end = {0};
		pthread_t thread;
		void *result;

		plan(ctrlr, plans[i]);
		assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
		(void)poll_until(qp, &end);
		assert_int_equal(end.calls, 1);
		assert_int_equal(pthread_create(&thread, NULL, try_lock, ctrlr), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_null(result);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

/* ---- fatal errors ---- */

static void test_fatal(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end;
	int i;

	(void)state;
	write_number(ctrlr, 7);
	/* three times it helps; by the fourth it is given up */
	for (i = 0; i < 4; i++) {
		memset(&end, 0, sizeof(end));
		plan(ctrlr, "on read cfs");
		assert_int_equal(read_at(ctrlr, qp, buf, 7, &end), 0);
		plan(ctrlr, "");
		assert_int_equal(poll_until(qp, &end), i < 3 ? -ENXIO : -EIO);
		assert_int_equal(end.calls, 1);
		assert_int_equal(nvme_ctrlr_is_failed(ctrlr), i == 3);
		if (i < 3) {
			assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
			works(ctrlr, qp);
		}
	}
	assert_non_null(strstr(said, "CSTS.CFS: it is reset"));
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), -EIO);
	assert_true(nvme_ctrlr_reconnect_io_qpair(qp) < 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0); /* the caller may try */
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Its link was down for a moment, and a command went with it. */
static void test_link_flap(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};
	int i;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read #1 gone; back after 10us");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	for (i = 0; i < 4; i++) /* time passes while nobody looks */
		(void)ctrlr->dev.ops->now_ns(&ctrlr->dev);
	assert_int_equal(poll_until(qp, &end), -ENXIO);
	assert_int_equal(end.calls, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* CSTS.RDY is 0, and it was not this driver: the command is not waited for. */
static void test_reset_by_somebody_else(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};
	uint64_t from;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read #1 drop");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	ctrlr->dev.ops->write_4(&ctrlr->dev, NVME_REG_CC, 0);
	plan(ctrlr, "");
	assert_int_equal(poll_until(qp, &end), -ENXIO);
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(1000000000));
	assert_int_equal(end.calls, 1);
	assert_non_null(strstr(said, "CSTS.RDY is 0: it is reset"));
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* An error of its bus is nothing that a reset would help. */
static void test_bus_error(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};

	(void)state;
	plan(ctrlr, "on read #1 drop bus-error");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(poll_until(qp, &end), -EIO);
	assert_null(strstr(said, "reset"));
	(void)nvme_detach(ctrlr);
	assert_int_equal(end.calls, 1);
}

/* Resets that are far apart are not counted together. */
static void test_fatal_now_and_then(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};

	(void)state;
	ctrlr->ladder.resets = NVME__LADDER_RESETS;
	ctrlr->ladder.last_reset_ms = (uint64_t)0 - 20000; /* 20 s and more ago */
	plan(ctrlr, "on read cfs");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(poll_until(qp, &end), -ENXIO);
	assert_false(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(ctrlr->ladder.resets, 1);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- retries ---- */

/* What is sent again, and how often, by the status. */
static void test_retry(void **state)
{
	static const struct {
		const char *plan;
		uint32_t sct_sc;
		uint64_t tries;
	} cases[] = {
		{"on read status 0/82 times 3", 0, 4},
		{"on read status 0/84 times 5", 0, 6},
		{"on read status 0/82", NVME_SC_NAMESPACE_NOT_READY, 6},
		{"on read status 0/82 dnr", NVME_SC_NAMESPACE_NOT_READY, 1},
		{"on read status 3/00 times 1", 0, 2},
		{"on read status 2/81", 0x281, 1}, /* its data will not come back */
		{"on read status 0/06", 0x006, 1},
		{"on read status 2/81 crd 1 times 1", 0, 2}, /* the controller asks for it */
		{"on read status 2/81 crd 1 dnr", 0x281, 1},
	};
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify crdt1=1");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint64_t *buf = (uint64_t *)nvme_dma_alloc(ctrlr, 4096), before;
	struct seen end;
	size_t i;

	(void)state;
	write_number(ctrlr, 7);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&end, 0, sizeof(end));
		buf[0] = 0;
		plan(ctrlr, cases[i].plan);
		before = stats_of(ctrlr).io_cmds;
		assert_int_equal(read_at(ctrlr, qp, buf, 7, &end), 0);
		assert_true(poll_until(qp, &end) > 0); /* how many tries it took in */
		if (sct_sc(&end) != cases[i].sct_sc ||
		    stats_of(ctrlr).io_cmds - before != cases[i].tries)
			fail_msg("%s: %03x after %u tries", cases[i].plan, sct_sc(&end),
			         (unsigned)(stats_of(ctrlr).io_cmds - before));
		assert_true(buf[0] == (cases[i].sct_sc == 0 ? 7 : 0));
		assert_int_equal(end.calls, 1);
		assert_int_equal(qp->unusual, 0); /* nothing of it is left */
		assert_int_equal(qp->trackers[0].retries, 0);
	}
	assert_non_null(strstr(said, "is tried again in 0 ms (5 of 5)"));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* CRD 2: after CRDT2, in units of 100 ms. Others of the queue go on meanwhile. */
static void test_retry_delay(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify crdt2=3");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end = {0}, other = {0};
	uint64_t from;

	(void)state;
	write_number(ctrlr, 7);
	plan(ctrlr, "on read lba 9 status 0/06 crd 2 times 1");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, buf, 9, &end), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1); /* a completion, no callback */
	assert_int_equal(end.calls, 0);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 1);
	assert_int_equal(read_at(ctrlr, qp, buf + 512, 7, &other), 0);
	assert_int_equal(poll_until(qp, &other), 1);
	assert_int_equal(end.calls, 0);
	assert_int_equal(poll_until(qp, &end), 1);
	assert_int_equal(sct_sc(&end), 0);
	assert_true(stats_of(ctrlr).now_ns - from >= UINT64_C(300000000));
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(400000000));
	/* one that waits ends with its queue pair */
	plan(ctrlr, "on read status 0/06 crd 2");
	assert_int_equal(read_at(ctrlr, qp, buf, 9, &end), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(end.calls, 2);
	assert_int_equal(sct_sc(&end), NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Longer than the limit: it waits for its turn, and is not late. */
static void test_retry_delay_above_the_limit(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify crdt1=30");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};

	(void)state;
	plan(ctrlr, "on read status 0/06 crd 1 times 1");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 9, &end), 0);
	while (end.calls == 0) {
		qp->watch_in = 1; /* each poll looks */
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	}
	assert_int_equal(sct_sc(&end), 0);
	assert_null(strstr(said, "is late"));
	assert_true(stats_of(ctrlr).now_ns >= UINT64_C(3000000000));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Gone while a command is on its way: the next look ends the queue pair. */
static void test_gone(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct seen end = {0};

	(void)state;
	plan(ctrlr, "on read gone");
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(poll_until(qp, &end), -ENODEV);
	assert_null(strstr(said, "it is reset"));
	assert_null(strstr(said, "resetting"));
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(end.calls, 1);
}

/* A fatal status when nothing is to be done about it: the caller hears of it. */
static void test_fatal_without_ladder(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen end;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		memset(&end, 0, sizeof(end));
		opts.no_ladder = i == 0;
		ctrlr = attach_with("soft:plan=on read cfs", &opts);
		if (i == 1)
			assert_int_equal(nvme_ctrlr_register_timeout_callback(ctrlr, 1000000, 0,
			                                                      on_timeout, &told),
			                 0);
		qp = qpair(ctrlr, false);
		said[0] = '\0';
		assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
		assert_int_equal(poll_until(qp, &end), -EIO);
		assert_null(strstr(said, "resetting"));
		assert_int_equal(nvme_detach(ctrlr), -EIO);
		assert_int_equal(end.calls, 1);
	}
}

/* Neither a fused pair nor an Abort nor an event request is sent again. */
static void test_never_retried(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_READ;
	assert_true(nvme__cmd_may_be_retried(qp, &cmd));
	cmd.flags = (uint8_t)NVME_SET(NVME_FUSE_FIRST, NVME_CMD_FUSE);
	assert_false(nvme__cmd_may_be_retried(qp, &cmd));
	assert_false(nvme__cmd_may_be_repeated(&cmd));
	cmd.flags = 0;
	cmd.opc = NVME_OPC_ABORT;
	assert_false(nvme__cmd_may_be_retried(ctrlr->adminq, &cmd));
	cmd.opc = NVME_OPC_ASYNC_EVENT_REQUEST;
	assert_false(nvme__cmd_may_be_retried(ctrlr->adminq, &cmd));
	cmd.opc = NVME_OPC_IDENTIFY;
	assert_true(nvme__cmd_may_be_retried(ctrlr->adminq, &cmd));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* A device whose Abort is known to do nothing is reset at the first deadline. */
static void test_quirk(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct nvme_dev dev = {0};
	struct seen end = {0};
	uint64_t from;

	(void)state;
	dev.vendor_id = 0x1b36;
	dev.device_id = 0x0010;
	assert_int_equal(nvme__find_quirks(&dev), NVME__QUIRK_NO_ABORT);
	dev.device_id = 0x0011;
	assert_int_equal(nvme__find_quirks(&dev), 0);
	ctrlr->ladder.quirks = NVME__QUIRK_NO_ABORT;
	plan(ctrlr, "on read drop times 1");
	from = stats_of(ctrlr).now_ns;
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(poll_until(qp, &end), -ENXIO);
	assert_null(strstr(said, "abort it"));
	assert_true(stats_of(ctrlr).now_ns - from < UINT64_C(1500000000));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* retry_in_order: nothing overtakes the one that is tried again. */
static void test_retry_in_order(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify crdt1=1");
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen end = {0}, other = {0};

	(void)state;
	write_number(ctrlr, 7);
	memset(&opts, 0, sizeof(opts));
	opts.retry_in_order = true;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	plan(ctrlr, "on read status 0/06 crd 1 times 1");
	assert_int_equal(read_at(ctrlr, qp, buf, 7, &end), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(read_at(ctrlr, qp, buf + 512, 7, &other), -EAGAIN);
	assert_int_equal(poll_until(qp, &end), 1);
	assert_int_equal(sct_sc(&end), 0);
	assert_int_equal(read_at(ctrlr, qp, buf + 512, 7, &other), 0);
	assert_int_equal(poll_until(qp, &other), 1);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_retry_never(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen end = {0};

	(void)state;
	opts.retry_count = 256;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), -EINVAL);
	assert_non_null(strstr(said, "retry_count"));
	opts.retry_count = NVME_RETRY_NEVER;
	ctrlr = attach_with("soft:plan=on read status 0/82", &opts);
	qp = qpair(ctrlr, false);
	assert_int_equal(read_at(ctrlr, qp, nvme_dma_alloc(ctrlr, 512), 7, &end), 0);
	assert_int_equal(poll_until(qp, &end), 1);
	assert_int_equal(stats_of(ctrlr).io_cmds, 1);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Of a transfer in pieces the piece that failed is sent again, alone. */
static void test_retry_of_a_piece(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mdts=1");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
	struct iovec iov = {buf, 65536};
	struct seen end = {0};

	(void)state;
	plan(ctrlr, "on read lba 40 status 0/82 times 2");
	assert_int_equal(nvme_ns_cmd_readv(ns, qp, &iov, 1, 0, 128, count, &end, 0), 0);
	assert_true(poll_until(qp, &end) > 0);
	assert_int_equal(sct_sc(&end), 0);
	assert_int_equal(stats_of(ctrlr).io_cmds, 8 + 2);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- threads ---- */

#define WORKERS 3
#define RESETS  40

struct worker {
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint8_t *buf;
	const int *stop;
	uint64_t sent, ended, good;
};

static void worker_end(void *arg, const struct nvme_cpl *cpl)
{
	struct worker *w = (struct worker *)arg;

	w->ended++;
	w->good += !nvme_cpl_is_error(cpl);
}

/* Reads, and connects again when a reset was here. */
static void *work(void *arg)
{
	struct worker *w = (struct worker *)arg;
	struct nvme_ns *ns = nvme_ctrlr_get_ns(w->ctrlr, 1);
	int rc;

	while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE) || w->sent != w->ended) {
		rc = 0;
		if (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE))
			rc = nvme_ns_cmd_read(ns, w->qp, w->buf, w->sent % 64, 1, worker_end, w, 0);
		w->sent += rc == 0 && !__atomic_load_n(w->stop, __ATOMIC_ACQUIRE);
		if (nvme_qpair_process_completions(w->qp, 0) == -ENXIO)
			(void)nvme_ctrlr_reconnect_io_qpair(w->qp);
	}
	return NULL;
}

/* One thread resets, the others read: every callback runs once, and reading goes on. */
static void test_threads(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mode=thread");
	struct worker w[WORKERS];
	pthread_t thread[WORKERS];
	int stop = 0, i;

	(void)state;
	memset(w, 0, sizeof(w));
	for (i = 0; i < WORKERS; i++) {
		w[i].ctrlr = ctrlr;
		w[i].qp = qpair(ctrlr, i == 0);
		w[i].buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
		w[i].stop = &stop;
	}
	for (i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
	for (i = 0; i < RESETS; i++) {
		assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
		(void)usleep(500);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_true(w[i].sent == w[i].ended);
		assert_true(w[i].good > 0);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void *reset_often(void *arg)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;
	uintptr_t bad = 0;
	int i;

	for (i = 0; i < RESETS; i++)
		bad += nvme_ctrlr_reset(ctrlr) != 0;
	return (void *)bad;
}

/* A reset that is asked for during a reset waits for it, and is one more. */
static void test_resets_at_once(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mode=thread");
	struct nvme_qpair *qp = qpair(ctrlr, false);
	pthread_t thread[WORKERS];
	void *bad;
	int i;

	(void)state;
	write_number(ctrlr, 7);
	for (i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reset_often, ctrlr), 0);
	for (i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(thread[i], &bad), 0);
		assert_null(bad);
	}
	assert_int_equal(ctrlr->ladder.total, WORKERS * RESETS);
	assert_false(nvme_ctrlr_is_failed(ctrlr));
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	works(ctrlr, qp);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* A thread that resets once each time it is asked to. */
static struct {
	struct nvme_ctrlr *ctrlr;
	int asked, done, stop;
} resetter;

static void *reset_when_asked(void *arg)
{
	int done = 0;

	(void)arg;
	while (!__atomic_load_n(&resetter.stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&resetter.asked, __ATOMIC_ACQUIRE) == done) {
			sched_yield();
			continue;
		}
		assert_int_equal(nvme_ctrlr_reset(resetter.ctrlr), 0);
		__atomic_store_n(&resetter.done, ++done, __ATOMIC_RELEASE);
	}
	return NULL;
}

/*
 * A queue pair that is created while another thread resets the controller, and a log page that is
 * read: the reset comes before or after it. What it knows nothing of would never complete.
 */
static void test_reset_while_creating(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	pthread_t thread;
	uint8_t *buf;
	struct seen read, page;
	int i, rc, tries;

	(void)state;
	opts.no_ladder = true;
	ctrlr = attach_with("soft:mode=thread", &opts);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	memset(&resetter, 0, sizeof(resetter));
	resetter.ctrlr = ctrlr;
	assert_int_equal(pthread_create(&thread, NULL, reset_when_asked, NULL), 0);
	for (i = 1; i <= 200; i++) {
		memset(&read, 0, sizeof(read));
		memset(&page, 0, sizeof(page));
		__atomic_store_n(&resetter.asked, i, __ATOMIC_RELEASE);
		assert_int_equal(nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_SMART, UINT32_MAX,
		                                             buf, 512, 0, count, &page),
		                 0);
		usleep((unsigned int)(i % 20) * 20);
		qp = qpair(ctrlr, false);
		while (__atomic_load_n(&resetter.done, __ATOMIC_ACQUIRE) != i)
			sched_yield();
		rc = read_at(ctrlr, qp, buf + 512, 7, &read);
		if (rc == 0) {
			for (tries = 0; tries < 10000 && read.calls == 0; tries++) {
				assert_int_equal(nvme_qpair_process_completions(qp, 0) < 0, 0);
				usleep(100);
			}
			assert_int_equal(read.calls, 1);
			assert_int_equal(sct_sc(&read), 0);
		} else {
			assert_int_equal(rc, -ENXIO);
		}
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		while (page.calls == 0)
			assert_true(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
	}
	__atomic_store_n(&resetter.stop, 1, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_late_on_a_busy_queue),
		cmocka_unit_test(test_look_once_more),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_reset_after_abort),
		cmocka_unit_test(test_abort_fails),
		cmocka_unit_test(test_abort_is_lost),
		cmocka_unit_test(test_foreign_admin),
		cmocka_unit_test(test_acl),
		cmocka_unit_test(test_late_admin),
		cmocka_unit_test(test_never_late),
		cmocka_unit_test(test_no_ladder),
		cmocka_unit_test(test_timeout_callback),
		cmocka_unit_test(test_late_and_told_completes),
		cmocka_unit_test(test_reset_in_timeout_callback),
		cmocka_unit_test(test_reset_in_admin_timeout_callback),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_reset_then_free),
		cmocka_unit_test(test_reset_in_callbacks),
		cmocka_unit_test(test_reset_in_a_long_batch),
		cmocka_unit_test(test_resubmit),
		cmocka_unit_test(test_resubmit_has_an_end),
		cmocka_unit_test(test_reset_keeps_features),
		cmocka_unit_test(test_reset_keeps_memory),
		cmocka_unit_test(test_reset_arms_events),
		cmocka_unit_test(test_bad_admin_completions),
		cmocka_unit_test(test_reset_fails),
		cmocka_unit_test(test_reset_of_what_is_gone),
		cmocka_unit_test(test_subsystem_reset),
		cmocka_unit_test(test_reset_sends_nothing_twice),
		cmocka_unit_test(test_reset_asks_again),
		cmocka_unit_test(test_reset_finds_less),
		cmocka_unit_test(test_reset_in_creation),
		cmocka_unit_test(test_reset_in_deletion),
		cmocka_unit_test(test_nothing_is_tried_at_the_end),
		cmocka_unit_test(test_lock_is_given_back),
		cmocka_unit_test(test_fatal),
		cmocka_unit_test(test_fatal_now_and_then),
		cmocka_unit_test(test_link_flap),
		cmocka_unit_test(test_reset_by_somebody_else),
		cmocka_unit_test(test_bus_error),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_retry_delay),
		cmocka_unit_test(test_retry_delay_above_the_limit),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_fatal_without_ladder),
		cmocka_unit_test(test_never_retried),
		cmocka_unit_test(test_quirk),
		cmocka_unit_test(test_retry_in_order),
		cmocka_unit_test(test_retry_never),
		cmocka_unit_test(test_retry_of_a_piece),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_resets_at_once),
		cmocka_unit_test(test_reset_while_creating),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
