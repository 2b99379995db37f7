/* SPDX-License-Identifier: MIT
 *
 * Poll groups, statistics of queue pairs, and queue pairs that are connected, disconnected and
 * connected again: what >>more in nvme.h says of them, with controllers that fail, callbacks that
 * change the group they run in, and rings in memory of the caller's own.
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

static struct fake fake, other;

static struct nvme_ctrlr *start(struct fake *f)
{
	fake_init(f);
	return fake_attach(f);
}

static void stop(struct fake *f, struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_false(f->open);
}

static size_t dma_in_use(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme__extent *e;
	size_t used = 0;

	for (e = ctrlr->arena.extents; e != NULL; e = e->next)
		used += e->use != NVME__EXTENT_FREE ? e->len : 0;
	return used;
}

static enum fake_verdict hold_io(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                 struct nvme_cpl *cpl)
{
	(void)f, (void)cmd, (void)cpl;
	return qid != 0 ? FAKE_HOLD : FAKE_EXEC;
}

/* The admin command that the hooks below are about. */
static uint8_t hook_opc;

static enum fake_verdict refuse_admin(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                      struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != hook_opc)
		return qid != 0 ? FAKE_HOLD : FAKE_EXEC;
	cpl->status = (uint16_t)(0x101 << 1);
	return FAKE_ANSWER;
}

static enum fake_verdict drop_admin(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                    struct nvme_cpl *cpl)
{
	(void)f, (void)cpl;
	if (qid != 0 || cmd->opc != hook_opc)
		return qid != 0 ? FAKE_HOLD : FAKE_EXEC;
	return FAKE_DROP;
}

/* ---- commands, and what their callbacks do ---- */

struct seen {
	unsigned int calls;
	uint16_t status;                  /* of the last one, SCT and SC */
	void (*then)(struct seen *seen);  /* what the callback does besides */
	struct nvme_poll_group *group;    /* and to whom */
	struct nvme_qpair *qp, *other_qp; /* that of the command, another */
	int rc;
};

static void note(void *arg, const struct nvme_cpl *cpl)
{
	struct seen *seen = (struct seen *)arg;

	seen->calls++;
	seen->status = (uint16_t)(cpl->status >> 1 & 0x7ff);
	if (seen->then != NULL)
		seen->then(seen);
}

static void flush(struct nvme_qpair *qp, struct seen *seen)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(qp->ctrlr, 1);

	assert_int_equal(nvme_ns_cmd_flush(ns, qp, note, seen), 0);
}

/* ---- a group and its queue pairs ---- */

static struct nvme_qpair *failed_qp;
static unsigned int num_failed;
static int (*on_failed)(struct nvme_qpair *qp);

static void failed(struct nvme_qpair *qp, void *ctx)
{
	assert_ptr_equal(ctx, &num_failed);
	failed_qp = qp;
	num_failed++;
	if (on_failed != NULL)
		assert_int_equal(on_failed(qp), 0);
}

static struct nvme_poll_group *new_group(void)
{
	struct nvme_poll_group *group = nvme_poll_group_create(&num_failed);

	assert_non_null(group);
	num_failed = 0;
	failed_qp = NULL;
	on_failed = NULL;
	return group;
}

static struct nvme_qpair *member(struct nvme_poll_group *group, struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);

	assert_int_equal(nvme_poll_group_add(group, qp), 0);
	return qp;
}

static int64_t poll_once(struct nvme_poll_group *group)
{
	return nvme_poll_group_process_completions(group, 0, failed);
}

static uint32_t members(const struct nvme_poll_group *group)
{
	struct nvme_poll_group_stats stats;

	nvme_poll_group_get_stats(group, &stats);
	return stats.num_qpairs;
}

/* What is refused, and with which sentence. */
static void test_membership(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group(), *second = new_group();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8), *out = fake_qpair(ctrlr, 8);

	(void)state;
	assert_ptr_equal(nvme_poll_group_get_ctx(group), &num_failed);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(nvme_poll_group_add(group, qp), 0);
	assert_int_equal(nvme_poll_group_add(group, qp), -EBUSY);
	assert_int_equal(nvme_poll_group_add(second, qp), -EBUSY);
	assert_int_equal(fake_logged(&fake, "remove it from this one first"), 2);
	assert_int_equal(members(group), 1);
	assert_int_equal(members(second), 0);
	assert_int_equal(nvme_poll_group_remove(second, qp), -ENOENT);
	assert_int_equal(nvme_poll_group_remove(group, out), -ENOENT);
	assert_int_equal(fake_logged(&fake, "is not in the group"), 2);
	assert_int_equal(nvme_poll_group_destroy(group), -EBUSY);
	assert_int_equal(fake_logged(&fake, "remove or free them first"), 1);
	assert_int_equal(nvme_poll_group_process_completions(group, 0, NULL), -EINVAL);
	assert_int_equal(fake_logged(&fake, "give disconnected_cb"), 1);
	assert_int_equal(nvme_poll_group_remove(group, qp), 0);
	assert_int_equal(nvme_poll_group_add(second, qp), 0);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(members(second), 0);
	assert_int_equal(nvme_poll_group_destroy(second), 0);
	assert_int_equal(nvme_poll_group_destroy(NULL), 0);
	stop(&fake, ctrlr);
}

/* One call reaps from all queue pairs of all controllers, so many from each. */
static void test_two_controllers(void **state)
{
	struct nvme_ctrlr *ctrlrs[2] = {start(&fake), start(&other)};
	struct nvme_poll_group *group = new_group();
	struct nvme_poll_group_stats stats;
	struct nvme_qpair *qps[4];
	struct seen seen[4];
	int i, k;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 4; i++)
		qps[i] = member(group, ctrlrs[i / 2]);
	for (i = 0; i < 4; i++) {
		for (k = 0; k <= i; k++)
			flush(qps[i], &seen[i]);
	}
	assert_int_equal(nvme_poll_group_process_completions(group, 1, failed), 4);
	for (i = 0; i < 4; i++)
		assert_int_equal(seen[i].calls, 1);
	assert_int_equal(poll_once(group), 6);
	for (i = 0; i < 4; i++)
		assert_int_equal(seen[i].calls, i + 1);
	assert_int_equal(poll_once(group), 0);
	nvme_poll_group_get_stats(group, &stats);
	assert_int_equal(stats.polls, 3);
	assert_int_equal(stats.idle_polls, 1);
	assert_int_equal(stats.completions, 10);
	assert_int_equal(stats.failures, 0);
	assert_int_equal(stats.num_qpairs, 4);
	assert_int_equal(stats.qpairs.polls, 0); /* none has statistics */
	stop(&fake, ctrlrs[0]);
	assert_int_equal(members(group), 2); /* detaching takes out what it frees */
	flush(qps[2], &seen[2]);
	assert_int_equal(poll_once(group), 1);
	stop(&other, ctrlrs[1]);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static int64_t poll_until_failed(struct nvme_poll_group *group)
{
	unsigned int before = num_failed, i;
	int64_t sum = 0;

	for (i = 0; i < 2 * NVME__WATCH_FIRST && num_failed == before; i++)
		sum += poll_once(group);
	assert_int_equal(num_failed, before + 1);
	return sum;
}

static int free_gone(struct nvme_qpair *qp)
{
	return nvme_ctrlr_free_io_qpair(qp) == -ENODEV ? 0 : -1;
}

/* A device goes; that of the others is polled as before, in the very same poll. */
static void test_gone(void **state)
{
	struct nvme_ctrlr *ctrlrs[2] = {start(&fake), start(&other)};
	struct nvme_poll_group *group = new_group();
	struct nvme_poll_group_stats stats;
	struct nvme_qpair *lost = NULL, *well[2];
	struct seen seen[3];

	(void)state;
	memset(seen, 0, sizeof(seen));
	well[0] = member(group, ctrlrs[1]); /* on either side of it in the list */
	lost = member(group, ctrlrs[0]);
	well[1] = member(group, ctrlrs[1]);
	fake.hook = hold_io;
	flush(lost, &seen[0]);
	fake.gone = true;
	assert_int_equal(poll_until_failed(group), 0);
	assert_ptr_equal(failed_qp, lost);
	flush(well[0], &seen[1]);
	flush(well[1], &seen[2]);
	assert_int_equal(poll_once(group), 2); /* and it is told of in every poll */
	assert_int_equal(num_failed, 2);
	assert_int_equal(seen[0].calls, 0);
	assert_int_equal(seen[1].calls + seen[2].calls, 2);
	nvme_poll_group_get_stats(group, &stats);
	assert_int_equal(stats.failures, 2);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(lost), -ENODEV);
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(lost), -ENODEV);
	on_failed = free_gone;
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(num_failed, 3);
	assert_int_equal(members(group), 2);
	assert_int_equal(nvme_detach(ctrlrs[0]), -ENODEV);
	assert_int_equal(seen[0].calls, 1);
	assert_int_equal(fake.writes_after_gone, 0);
	stop(&other, ctrlrs[1]);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* The callback for a queue pair that has failed may free it. */
static void test_failed_is_freed(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qps[3];
	struct seen seen;
	int i;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 3; i++)
		qps[i] = member(group, ctrlr);
	on_failed = nvme_ctrlr_free_io_qpair;
	fake.hook = hold_io;
	flush(qps[1], &seen);
	nvme__qpair_fail(qps[1], -ENXIO);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(num_failed, 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.status, NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(members(group), 2);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(num_failed, 1);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* Or connect it again, and it is polled as before. */
static void test_failed_is_reconnected(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qp = member(group, ctrlr);
	struct nvme_cpl bad;
	struct seen seen;
	int i;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&bad, 0, sizeof(bad));
	on_failed = nvme_ctrlr_reconnect_io_qpair;
	fake.hook = hold_io;
	flush(qp, &seen);
	bad.sqid = 1;
	bad.cid = 4711;
	for (i = 0; i < 8; i++) { /* the queue has eight entries: seven and, in the next lap, one */
		fake_post(&fake, 1, &bad);
		if (i == 6)
			assert_true(poll_once(group) > 0);
	}
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(num_failed, 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.status, NVME_SC_ABORTED_SQ_DELETION);
	fake.hook = NULL;
	for (i = 0; i < 20; i++) {
		flush(qp, &seen);
		assert_int_equal(poll_once(group), 1);
		assert_int_equal(seen.status, 0);
	}
	assert_int_equal(seen.calls, 21);
	assert_int_equal(num_failed, 1);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* ---- callbacks that change the group in which they run ---- */

static void free_other(struct seen *seen)
{
	seen->rc = nvme_ctrlr_free_io_qpair(seen->other_qp);
}

/* It may be the one that the poll would come to next, or one where it has been. */
static void test_callback_frees_other(void **state)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_poll_group *group;
	struct nvme_qpair *qps[3];
	struct seen seen[3];
	int i, victim;

	(void)state;
	for (victim = 0; victim < 3; victim += 2) {
		ctrlr = start(&fake);
		group = new_group();
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < 3; i++) {
			qps[i] = member(group, ctrlr);
			flush(qps[i], &seen[i]);
		}
		seen[1].then = free_other;
		seen[1].other_qp = qps[victim];
		seen[1].rc = -1;
		assert_true(poll_once(group) >= 2);
		assert_int_equal(seen[1].rc, 0);
		for (i = 0; i < 3; i++)
			assert_int_equal(seen[i].calls, 1);
		assert_int_equal(members(group), 2);
		flush(qps[2 - victim], &seen[2 - victim]);
		assert_int_equal(poll_once(group), 1);
		stop(&fake, ctrlr);
		assert_int_equal(nvme_poll_group_destroy(group), 0);
	}
}

static void detach_other(struct seen *seen)
{
	seen->rc = nvme_detach(seen->other_qp->ctrlr);
}

/* All queue pairs of another controller go at once, those next in turn among them. */
static void test_callback_detaches_other(void **state)
{
	struct nvme_ctrlr *ctrlrs[2] = {start(&fake), start(&other)};
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qp;
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	member(group, ctrlrs[1]);
	seen.other_qp = member(group, ctrlrs[1]);
	qp = member(group, ctrlrs[0]);
	member(group, ctrlrs[1]);
	seen.then = detach_other;
	flush(qp, &seen);
	assert_int_equal(poll_once(group), 1);
	assert_int_equal(seen.rc, 0);
	assert_false(other.open);
	assert_int_equal(members(group), 1);
	stop(&fake, ctrlrs[0]);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static void free_own(struct seen *seen)
{
	seen->rc = nvme_ctrlr_free_io_qpair(seen->qp);
}

static void disconnect_own(struct seen *seen)
{
	seen->rc = nvme_ctrlr_disconnect_io_qpair(seen->qp);
}

static void reconnect_own(struct seen *seen)
{
	seen->rc = nvme_ctrlr_reconnect_io_qpair(seen->qp);
}

static void connect_own(struct seen *seen)
{
	seen->rc = nvme_ctrlr_connect_io_qpair(seen->qp->ctrlr, seen->qp);
}

static void poll_group(struct seen *seen)
{
	seen->rc = (int)poll_once(seen->group);
}

static void destroy_group(struct seen *seen)
{
	if (nvme_poll_group_remove(seen->group, seen->qp) == 0) /* it is empty now */
		seen->rc = nvme_poll_group_destroy(seen->group);
}

static void poll_own(struct seen *seen)
{
	seen->rc = nvme_qpair_process_completions(seen->qp, 0);
}

static void test_callback_refused(void **state)
{
	static void (*const misuses[])(struct seen *) = {
		free_own, disconnect_own, reconnect_own, connect_own,
		poll_own, poll_group,     destroy_group,
	};
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qp = member(group, ctrlr);
	struct seen seen;
	unsigned int i, lines;

	(void)state;
	for (i = 0; i < sizeof(misuses) / sizeof(misuses[0]); i++) {
		memset(&seen, 0, sizeof(seen));
		seen.qp = qp;
		seen.group = group;
		seen.then = misuses[i];
		flush(qp, &seen);
		lines = fake.lines[NVME_LOG_ERROR];
		assert_int_equal(poll_once(group), 1);
		assert_int_equal(seen.rc, -EBUSY);
		assert_int_equal(seen.calls, 1);
		if (misuses[i] != destroy_group) /* that log is standard error: no member left */
			assert_int_equal(fake.lines[NVME_LOG_ERROR], lines + 1);
	}
	assert_int_equal(members(group), 0);
	assert_int_equal(num_failed, 0);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* Within a poll nothing is polled, not even what the poll has still to come to. */
static void test_callback_polls(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_poll_group_stats stats;
	struct nvme_qpair *next = member(group, ctrlr), *qp = member(group, ctrlr);
	struct seen seen, seen2;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&seen2, 0, sizeof(seen2));
	seen.group = group;
	seen.then = poll_group;
	flush(qp, &seen);
	flush(next, &seen2);
	assert_int_equal(poll_once(group), 2);
	assert_int_equal(seen.rc, -EBUSY);
	nvme_poll_group_get_stats(group, &stats);
	assert_int_equal(stats.polls, 1);
	assert_int_equal(stats.completions, 2);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static void fail_and_leave(struct seen *seen)
{
	seen->rc = nvme_poll_group_remove(seen->group, seen->qp);
	nvme__qpair_fail(seen->qp, -ENXIO);
}

/* What has left the group is no failure of the group's, even if it fails in the same poll. */
static void test_callback_fails_and_leaves(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.qp = member(group, ctrlr);
	seen.group = group;
	seen.then = fail_and_leave;
	flush(seen.qp, &seen);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(seen.rc, 0);
	assert_int_equal(num_failed, 0);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* The queue pair is polled alone, and its callback polls the group: the others are. */
static void test_callback_of_member(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qp = member(group, ctrlr), *qp2 = member(group, ctrlr);
	struct seen seen, seen2;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&seen2, 0, sizeof(seen2));
	seen.group = group;
	seen.then = poll_group;
	flush(qp, &seen);
	flush(qp2, &seen2);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.rc, -EBUSY);
	assert_int_equal(seen2.calls, 1);
	assert_int_equal(num_failed, 0);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* Out and in again: with that in every callback a poll would have no end, were it not for the order. */
static void leave_and_join(struct seen *seen)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(seen->qp->ctrlr, 1);

	if (seen->calls > 100)
		return;
	assert_int_equal(nvme_poll_group_remove(seen->group, seen->qp), 0);
	assert_int_equal(nvme_poll_group_add(seen->group, seen->qp), 0);
	assert_int_equal(nvme_ns_cmd_flush(ns, seen->qp, note, seen), 0);
}

static void test_callback_leaves_and_joins(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct seen seen[3];
	int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 3; i++) {
		seen[i].qp = member(group, ctrlr);
		seen[i].group = group;
		seen[i].then = leave_and_join;
		flush(seen[i].qp, &seen[i]);
	}
	for (i = 1; i < 20; i++) {
		assert_int_equal(nvme_poll_group_process_completions(group, 1, failed), 3);
		assert_int_equal(seen[0].calls, i);
		assert_int_equal(seen[1].calls, i);
		assert_int_equal(seen[2].calls, i);
	}
	assert_int_equal(members(group), 3);
	for (i = 0; i < 3; i++)
		seen[i].then = NULL;
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static void remove_other(struct seen *seen)
{
	seen->rc = nvme_poll_group_remove(seen->group, seen->other_qp);
}

/* One that was removed is not polled any more, not even in this round. */
static void test_callback_removes_next(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *next = member(group, ctrlr), *qp = member(group, ctrlr);
	struct seen seen, seen2;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&seen2, 0, sizeof(seen2));
	seen.group = group;
	seen.other_qp = next;
	seen.then = remove_other;
	flush(qp, &seen);
	flush(next, &seen2);
	assert_int_equal(poll_once(group), 1);
	assert_int_equal(seen.rc, 0);
	assert_int_equal(seen2.calls, 0);
	assert_int_equal(poll_once(group), 0);
	assert_int_equal(nvme_qpair_process_completions(next, 0), 1);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static void join(struct seen *seen)
{
	seen->rc = nvme_poll_group_add(seen->group, seen->qp);
}

/* Nothing joins a group that is about to be freed, in whichever callback of its end. */
static void test_callback_of_end(void **state)
{
	static const struct {
		bool detach, dropped;
	} rows[] = {{false, false}, {true, false}, {false, true}, {true, true}};
	struct nvme_poll_group *group = new_group();
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen seen;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ctrlr = start(&fake);
		memset(&seen, 0, sizeof(seen));
		qp = fake_qpair(ctrlr, 8);
		hook_opc = NVME_OPC_DELETE_IO_SQ;
		fake.hook = rows[i].dropped ? drop_admin : hold_io;
		seen.qp = qp;
		seen.group = group;
		seen.then = join;
		flush(qp, &seen);
		if (!rows[i].detach)
			assert_int_equal(nvme_ctrlr_free_io_qpair(qp),
			                 rows[i].dropped ? -ETIMEDOUT : 0);
		stop(&fake, ctrlr);
		assert_int_equal(seen.calls, 1);
		assert_int_equal(seen.rc, -ESHUTDOWN);
		assert_int_equal(members(group), 0);
	}
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* ---- statistics ---- */

static struct nvme_ctrlr *start_soft(struct nvme_qpair **qp, const struct nvme_io_qpair_opts *opts)
{
	struct nvme_ctrlr_opts ctrlr_opts;
	struct nvme_ctrlr *ctrlr;

	memset(&ctrlr_opts, 0, sizeof(ctrlr_opts));
	ctrlr_opts.dev_ops = nvme_soft_dev_ops("soft");
	assert_int_equal(nvme_attach("soft", &ctrlr_opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, opts, qp), 0);
	return ctrlr;
}

static struct nvme_qpair_stats earlier; /* up to the last time it was disconnected */

static void expect_stats(const struct nvme_qpair *qp, uint64_t polls, uint64_t idle,
                         uint64_t submitted, uint64_t completed)
{
	const struct nvme_dev *dev = nvme_ctrlr_get_dev(qp->ctrlr);
	struct nvme_qpair_stats stats;

	assert_int_equal(nvme_qpair_get_stats(qp, &stats), 0);
	assert_int_equal(stats.polls, polls);
	assert_int_equal(stats.idle_polls, idle);
	assert_int_equal(stats.submitted_requests, submitted);
	assert_int_equal(stats.completions, completed);
	/* of these the controller has its own account, for as long as it has the queues */
	if (!nvme_qpair_is_connected(qp)) {
		earlier = stats;
		return;
	}
	assert_int_equal(stats.sq_doorbell_updates - earlier.sq_doorbell_updates,
	                 nvme_soft_get_doorbells(dev, qp->id, false));
	assert_int_equal(stats.cq_doorbell_updates - earlier.cq_doorbell_updates,
	                 nvme_soft_get_doorbells(dev, qp->id, true));
}

/* Whatever else is unusual, the numbers are exact. */
static void test_stats(void **state)
{
	static const bool delays[] = {false, true};
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair_stats stats;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen seen;
	int i, k;

	(void)state;
	for (k = 0; k < 2; k++) {
		memset(&opts, 0, sizeof(opts));
		memset(&seen, 0, sizeof(seen));
		opts.entries = 16;
		opts.stats = true;
		opts.delay_cmd_submit = delays[k];
		memset(&earlier, 0, sizeof(earlier));
		ctrlr = start_soft(&qp, &opts);
		expect_stats(qp, 0, 0, 0, 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		expect_stats(qp, 1, 1, 0, 0);
		for (i = 0; i < 7; i++)
			flush(qp, &seen);
		expect_stats(qp, 1, 1, 7, 0);
		nvme_qpair_get_stats(qp, &stats);
		assert_int_equal(stats.sq_doorbell_updates, delays[k] ? 0 : 7);
		assert_int_equal(nvme_qpair_process_completions(qp, 3), 3);
		expect_stats(qp, 2, 1, 7, 3);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 4);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		expect_stats(qp, 5, 3, 7, 7);
		for (i = 0; i < 15; i++) /* a full ring has two doorbells of the CQ, and more */
			flush(qp, &seen);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 15);
		expect_stats(qp, 6, 3, 22, 22);
		flush(qp, &seen);
		/* what ends with the queue is a completion, but no poll */
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
		expect_stats(qp, 6, 3, 23, 23);
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
		expect_stats(qp, 7, 4, 23, 23);
		flush(qp, &seen);
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
		expect_stats(qp, 7, 4, 24, 24);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

static void test_no_stats(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct nvme_qpair_stats stats;

	(void)state;
	assert_int_equal(nvme_qpair_get_stats(qp, &stats), -ENOTSUP);
	assert_int_equal(fake_logged(&fake, "create it with stats in its options"), 1);
	assert_int_equal(stats.polls, 0);
	assert_int_equal(qp->unusual, 0);
	stop(&fake, ctrlr);
}

/* Those of a group are the sum over those of its queue pairs that have some. */
static void test_group_stats(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_poll_group_stats stats;
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	struct seen seen;
	int i;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&opts, 0, sizeof(opts));
	for (i = 0; i < 3; i++) {
		opts.stats = i != 1;
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
		assert_int_equal(nvme_poll_group_add(group, qp), 0);
		flush(qp, &seen);
		flush(qp, &seen);
	}
	assert_int_equal(poll_once(group), 6);
	assert_int_equal(poll_once(group), 0);
	nvme_poll_group_get_stats(group, &stats);
	assert_int_equal(stats.qpairs.polls, 4);
	assert_int_equal(stats.qpairs.idle_polls, 2);
	assert_int_equal(stats.qpairs.submitted_requests, 4);
	assert_int_equal(stats.qpairs.completions, 4);
	assert_int_equal(stats.qpairs.sq_doorbell_updates, 4);
	assert_int_equal(stats.qpairs.cq_doorbell_updates, 2);
	/* those that are aborted are completions, too, without a doorbell */
	fake.hook = hold_io;
	flush(qp, &seen);
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
	nvme_poll_group_get_stats(group, &stats);
	assert_int_equal(stats.qpairs.submitted_requests, 5);
	assert_int_equal(stats.qpairs.completions, 5);
	assert_int_equal(stats.qpairs.cq_doorbell_updates, 2);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* ---- connecting ---- */

static struct nvme_qpair *unconnected(struct nvme_ctrlr *ctrlr)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;

	memset(&opts, 0, sizeof(opts));
	opts.entries = 8;
	opts.create_only = true;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	return qp;
}

static void expect_refused(struct nvme_qpair *qp, struct seen *seen)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(qp->ctrlr, 1);
	char block[512];
	struct nvme_cpl cpl;

	assert_int_equal(nvme_ns_cmd_flush(ns, qp, note, seen), -ENXIO);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, block, 0, 1, note, seen, 0), -ENXIO);
	assert_int_equal(nvme_ns_read(ns, qp, block, 0, 1, &cpl), -ENXIO);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	assert_false(nvme_qpair_is_connected(qp));
}

/* What is only created is told to the controller later, and as often as one likes. */
static void test_create_only(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	uint64_t cmds = fake.cmds;
	struct nvme_qpair *qp = unconnected(ctrlr), *qp2;
	struct seen seen;
	int i;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(fake.cmds, cmds);
	assert_int_equal(nvme_poll_group_add(group, qp), 0);
	expect_refused(qp, &seen);
	assert_true(fake_logged(&fake, "queue pair 1 is not connected") >= 2);
	assert_int_equal(poll_once(group), 0); /* that is no failure */
	assert_int_equal(num_failed, 0);
	qp2 = fake_qpair(ctrlr, 8); /* its id is taken */
	assert_int_equal(nvme_qpair_get_id(qp2), 2);
	for (i = 0; i < 3; i++) {
		cmds = fake.cmds;
		assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), 0);
		assert_int_equal(fake.cmds, cmds + 2);
		assert_true(nvme_qpair_is_connected(qp));
		assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), -EISCONN);
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp),
		                 0); /* it works: nothing is done */
		assert_int_equal(fake.cmds, cmds + 2);
		seen.calls = 0;
		while (seen.calls < 10) { /* more than a lap */
			flush(qp, &seen);
			assert_int_equal(poll_once(group), 1);
			assert_int_equal(seen.status, 0);
		}
		cmds = fake.cmds;
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
		assert_int_equal(fake.cmds, cmds + 2);
		assert_int_equal(fake.sq[1].entries + fake.cq[1].entries, 0);
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
		assert_int_equal(fake.cmds, cmds + 2);
		expect_refused(qp, &seen);
	}
	cmds = fake.cmds;
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0); /* there is nothing to tell */
	assert_int_equal(fake.cmds, cmds);
	assert_int_equal(members(group), 0);
	qp = unconnected(ctrlr);
	assert_int_equal(nvme_qpair_get_id(qp), 1);
	stop(&fake, ctrlr);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

static void submit_again(struct seen *seen)
{
	seen->rc = nvme_ns_cmd_flush(nvme_ctrlr_get_ns(seen->qp->ctrlr, 1), seen->qp, note, seen);
}

/* What is outstanding ends, what was completed before counts, and no callback starts anything. */
static void test_disconnect(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen[3];
	int i, round;

	(void)state;
	for (round = 0; round < 3; round++) {
		memset(seen, 0, sizeof(seen));
		fake.hook = hold_io;
		for (i = 0; i < 3; i++) {
			seen[i].qp = qp;
			seen[i].then = submit_again;
			flush(qp, &seen[i]);
		}
		fake_release(&fake, 1);
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
		for (i = 0; i < 3; i++) {
			assert_int_equal(seen[i].calls, 1);
			assert_int_equal(seen[i].status, i == 1 ? 0 : NVME_SC_ABORTED_SQ_DELETION);
			assert_int_equal(seen[i].rc, -ENXIO);
		}
		assert_int_equal(fake_logged(&fake, "is not connected"), 0); /* no reproach there */
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
		assert_int_equal(fake.num_held, 0);
	}
	stop(&fake, ctrlr);
}

/* Refused by the controller, a queue pair is what it was; the next try may work. */
static void test_connect_refused(void **state)
{
	static const uint8_t opcs[] = {NVME_OPC_CREATE_IO_CQ, NVME_OPC_CREATE_IO_SQ};
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_qpair *qp = unconnected(ctrlr);
	struct seen seen;
	unsigned int i;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 2; i++) {
		hook_opc = opcs[i];
		fake.hook = refuse_admin;
		assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), -EIO);
		expect_refused(qp, &seen);
		assert_int_equal(fake.cq[1].entries, 0);
		fake.hook = NULL;
		assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
		flush(qp, &seen);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
	}
	assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, NULL), -EINVAL);
	stop(&fake, ctrlr);
}

/* Nobody knows what a controller that does not answer has done: the rings stay until it is off. */
static void test_connect_unanswered(void **state)
{
	static const uint8_t opcs[] = {NVME_OPC_CREATE_IO_CQ, NVME_OPC_CREATE_IO_SQ};
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct seen seen;
	size_t used;
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		memset(&seen, 0, sizeof(seen));
		ctrlr = start(&fake);
		qp = unconnected(ctrlr);
		used = dma_in_use(ctrlr);
		hook_opc = opcs[i];
		fake.hook = drop_admin;
		assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), -ETIMEDOUT);
		assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, note, &seen),
		                 -ETIMEDOUT);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), -ETIMEDOUT);
		assert_true(nvme_ctrlr_free_io_qpair(qp) < 0);
		assert_int_equal(dma_in_use(ctrlr), used);
		stop(&fake, ctrlr);
	}
}

/* The same on the way back: callbacks wait until no data can be reached. */
static void test_disconnect_unanswered(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_poll_group *group = new_group();
	struct nvme_qpair *qp = member(group, ctrlr);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	hook_opc = NVME_OPC_DELETE_IO_SQ;
	fake.hook = drop_admin;
	flush(qp, &seen);
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), -ETIMEDOUT);
	assert_int_equal(seen.calls, 0);
	assert_true(nvme_qpair_is_connected(qp));
	assert_int_equal(poll_once(group), 0); /* it has failed, and that is told */
	assert_int_equal(num_failed, 1);
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), -ETIMEDOUT);
	assert_int_equal(seen.calls, 0);
	fake.hook = hold_io; /* the controller has thought better of it */
	assert_int_equal(nvme_ctrlr_reconnect_io_qpair(qp), 0);
	assert_int_equal(seen.calls, 1);
	fake.hook = drop_admin;
	flush(qp, &seen);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -ETIMEDOUT);
	assert_int_equal(members(group), 0);
	assert_int_equal(seen.calls, 1);
	stop(&fake, ctrlr);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* ---- rings of the caller's own ---- */

/* Where the caller says, and the memory is the caller's again afterwards. */
static void test_own_rings(void **state)
{
	size_t len = 65536;
	uint8_t *own = (uint8_t *)aligned_alloc(65536, len);
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_io_qpair_opts opts;
	size_t used = dma_in_use(ctrlr);
	struct nvme_qpair *qp;
	struct seen seen;
	uint64_t iova;
	void *arena;
	int i, k;

	(void)state;
	assert_non_null(own);
	memset(own, 0xff, len); /* new CQEs, by their phase */
	assert_int_equal(nvme_dma_register(ctrlr, own, len), 0);
	arena = nvme_dma_alloc(ctrlr, 8192);
	for (i = 0; i < 4; i++) {
		memset(&seen, 0, sizeof(seen));
		memset(&opts, 0, sizeof(opts));
		opts.entries = 128;
		if (i != 1) {
			opts.sq.vaddr = i == 3 ? arena : own + 4096;
			opts.sq.len = 8192;
		}
		if (i != 2) {
			opts.cq.vaddr = own;
			opts.cq.len = 4096;
		}
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
		if (i != 1) {
			assert_int_equal(nvme_dma_iova(ctrlr, opts.sq.vaddr, 8192, &iova), 0);
			assert_int_equal(fake.sq[1].base, iova);
			assert_ptr_equal(qp->sq, opts.sq.vaddr);
		}
		if (i != 2) {
			assert_int_equal(nvme_dma_iova(ctrlr, own, 4096, &iova), 0);
			assert_int_equal(fake.cq[1].base, iova);
		}
		for (k = 0; k < 300; k++) {
			flush(qp, &seen);
			assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		}
		assert_int_equal(seen.calls, 300);
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		assert_int_equal(dma_in_use(ctrlr), used + 8192);
	}
	nvme_dma_free(ctrlr, arena);
	assert_int_equal(nvme_dma_unregister(ctrlr, own), 0);
	assert_int_equal(dma_in_use(ctrlr), used);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 0);
	stop(&fake, ctrlr);
	free(own);
}

static void test_bad_rings(void **state)
{
	static uint8_t elsewhere[8192];
	struct nvme_ctrlr *ctrlr = start(&fake);
	uint8_t *own = (uint8_t *)nvme_dma_alloc(ctrlr, 16384);
	const struct {
		struct nvme_queue_memory sq, cq;
		const char *says;
	} rows[] = {
		{{NULL, 4096}, {NULL, 0}, "give both or none"},
		{{NULL, 0}, {NULL, 1}, "give both or none"},
		{{own, 0}, {NULL, 0}, "too small"},
		{{own, 4095}, {NULL, 0}, "too small"},
		{{NULL, 0}, {own, 1023}, "too small"},
		{{elsewhere, 8192}, {NULL, 0}, "not DMA memory"},
		{{NULL, 0}, {elsewhere, 8192}, "not DMA memory"},
		{{own + 12292, 8192}, {NULL, 0}, "not DMA memory"}, /* its end is outside */
		{{own + 64, 8192}, {NULL, 0}, "does not begin at a page"},
		{{NULL, 0}, {own + 2048, 8192}, "does not begin at a page"},
		{{own, 8192}, {own, 8192}, "overlap"},
	};
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp, *qp2;
	size_t used = dma_in_use(ctrlr);
	uint64_t cmds = fake.cmds;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&opts, 0, sizeof(opts));
		opts.entries = 64;
		opts.sq = rows[i].sq;
		opts.cq = rows[i].cq;
		fake.text_len = 0;
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), -EINVAL);
		assert_null(qp);
		assert_int_equal(fake.lines[NVME_LOG_ERROR], i + 1);
		assert_int_equal(fake_logged(&fake, rows[i].says), 1);
		assert_int_equal(dma_in_use(ctrlr), used);
	}
	assert_int_equal(fake.cmds, cmds);
	memset(&opts, 0, sizeof(opts));
	opts.entries = 64;
	opts.sq.vaddr = own;
	opts.sq.len = 16384; /* four times what it takes */
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp2), -EINVAL);
	assert_int_equal(fake_logged(&fake, "another queue pair has a ring there"), 1);
	opts.sq.vaddr = own + 4096;
	opts.sq.len = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp2), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp2), 0);
	stop(&fake, ctrlr);
}

/* As many entries as the controller has, not as were asked for, must have room. */
static void test_rings_and_mqes(void **state)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	(void)state;
	fake_init(&fake);
	fake.cap = (fake.cap & ~UINT64_C(0xffff)) | 63;
	ctrlr = fake_attach(&fake);
	memset(&opts, 0, sizeof(opts));
	opts.entries = 1024;
	opts.sq.vaddr = nvme_dma_alloc(ctrlr, 4096);
	opts.sq.len = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_qpair_get_entries(qp), 64);
	stop(&fake, ctrlr);
}

/* Freed without an answer, the rings are still the controller's. */
static void test_own_rings_are_buried(void **state)
{
	struct nvme_ctrlr *ctrlr = start(&fake);
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&opts, 0, sizeof(opts));
	opts.entries = 64;
	opts.sq.vaddr = nvme_dma_alloc(ctrlr, 4096);
	opts.sq.len = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	hook_opc = NVME_OPC_DELETE_IO_SQ;
	fake.hook = drop_admin;
	flush(qp, &seen);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -ETIMEDOUT);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), -EINVAL);
	assert_int_equal(fake_logged(&fake, "another queue pair has a ring there"), 1);
	stop(&fake, ctrlr);
	assert_int_equal(seen.calls, 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_membership),
		cmocka_unit_test(test_two_controllers),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_failed_is_freed),
		cmocka_unit_test(test_failed_is_reconnected),
		cmocka_unit_test(test_callback_frees_other),
		cmocka_unit_test(test_callback_detaches_other),
		cmocka_unit_test(test_callback_refused),
		cmocka_unit_test(test_callback_polls),
		cmocka_unit_test(test_callback_fails_and_leaves),
		cmocka_unit_test(test_callback_of_member),
		cmocka_unit_test(test_callback_leaves_and_joins),
		cmocka_unit_test(test_callback_removes_next),
		cmocka_unit_test(test_callback_of_end),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_no_stats),
		cmocka_unit_test(test_group_stats),
		cmocka_unit_test(test_create_only),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_connect_unanswered),
		cmocka_unit_test(test_disconnect_unanswered),
		cmocka_unit_test(test_own_rings),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_rings_and_mqes),
		cmocka_unit_test(test_own_rings_are_buried),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
