// SPDX-License-Identifier: MIT
/*
 * Devices that are asked for or taken away, on the software controller and on a hostile one: what is
 * refused, what still completes, that the callback comes once, and that registers which raise SIGBUS
 * read as all ones. It runs with ThreadSanitizer, too. (The kernel's part of it: test_vm.)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fake_ctrlr.h"
#include "said.h"

#define ASKED   "the system wants the device back"
#define MANY    ((int)(4 * NVME__WATCH_MAX)) /* polls in which a queue pair is looked after */
#define TIMEOUT 60000                        /* ms, for what must happen */

/* ---- a controller, a queue pair, and who counts ---- */

static struct {
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	char *buf;
	int good, bad;         /* callbacks of commands */
	int removed;           /* calls of on_remove() */
	enum nvme_removal why; /* what it was told */
	bool detaches;         /* it shall */
	int detached;          /* with this result */
} t;

static void on_remove(void *ctx, struct nvme_ctrlr *ctrlr)
{
	assert_ptr_equal(ctx, &t);
	assert_ptr_equal(ctrlr, t.ctrlr);
	t.removed++;
	t.why = nvme_ctrlr_get_removal(ctrlr);
	if (t.detaches)
		t.detached = nvme_detach(ctrlr);
}

static void on_done(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg;
	if (nvme_cpl_is_error(cpl))
		t.bad++;
	else
		t.good++;
}

static int count_lines(const char *what)
{
	const char *at = said;
	int n = 0;

	while ((at = strstr(at, what)) != NULL) {
		n++;
		at++;
	}
	return n;
}

static void attach_with(const char *device, const struct nvme_ctrlr_opts *more)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	if (more != NULL)
		opts = *more;
	if (opts.dev_ops == NULL)
		opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = listen;
	opts.no_ladder = true; /* which would reset what has failed */
	said[0] = '\0';
	memset(&t, 0, sizeof(t));
	assert_int_equal(nvme_attach(device, &opts, &t.ctrlr), 0);
	t.ns = nvme_ctrlr_get_ns(t.ctrlr, 1);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(t.ctrlr, NULL, &t.qp), 0);
	t.buf = nvme_dma_alloc(t.ctrlr, 4096);
	assert_non_null(t.buf);
	nvme_ctrlr_set_remove_cb(t.ctrlr, on_remove, &t);
}

static void attach(const char *device)
{
	attach_with(device, NULL);
}

static int start_read(void)
{
	return nvme_ns_cmd_read(t.ns, t.qp, t.buf, 0, 1, on_done, NULL, 0);
}

/* A poll that looks after the queue pair, if something is outstanding. */
static int poll_long(void)
{
	int i, rc = 0;

	for (i = 0; i < MANY && rc == 0; i++)
		rc = nvme_qpair_process_completions(t.qp, 0);
	return rc;
}

/* Whatever is submitted to an I/O queue pair gets this. */
static void expect_refused(int rc)
{
	struct nvme_dsm_range range = {0, 1, 0};
	struct iovec iov = {t.buf, 512};
	struct nvme_cpl cpl;
	char block[512];

	assert_int_equal(start_read(), rc);
	assert_int_equal(nvme_ns_cmd_write(t.ns, t.qp, t.buf, 0, 1, on_done, NULL, 0), rc);
	assert_int_equal(nvme_ns_cmd_flush(t.ns, t.qp, on_done, NULL), rc);
	assert_int_equal(nvme_ns_cmd_write_zeroes(t.ns, t.qp, 0, 1, on_done, NULL, 0), rc);
	assert_int_equal(nvme_ns_cmd_dataset_management(t.ns, t.qp, 4, &range, 1, on_done, NULL),
	                 rc);
	assert_int_equal(nvme_ns_cmd_readv(t.ns, t.qp, &iov, 1, 0, 1, on_done, NULL, 0), rc);
	assert_int_equal(nvme_ns_read(t.ns, t.qp, block, 0, 1, &cpl), rc);
	assert_true(nvme_cpl_is_error(&cpl));
	assert_int_equal(nvme_ns_flush(t.ns, t.qp, NULL), rc);
}

/* ---- asked for ---- */

/* Four reads are on their way when the third brings the request: all complete, no fifth begins. */
static void test_asked(void **state)
{
	struct nvme_smart_log smart;
	int i;

	(void)state;
	attach("soft:plan=on read delay 1ms; on read #3 remove");
	for (i = 0; i < 4; i++)
		assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_NONE);
	assert_int_equal(t.removed, 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	assert_int_equal(t.why, NVME_REMOVAL_REQUESTED);
	expect_refused(-ENODEV);
	while (t.good < 4)
		assert_true(poll_long() > 0);
	assert_int_equal(t.bad, 0);
	expect_refused(-ENODEV);
	/* the admin queue works on */
	assert_int_equal(nvme_ctrlr_get_log_page(t.ctrlr, NVME_LOG_PAGE_SMART, NVME_NSID_ALL,
	                                         &smart, sizeof(smart), 0, NULL),
	                 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	assert_int_equal(count_lines(ASKED), 1);
	assert_non_null(strstr(said, "nvme_detach()"));
	assert_int_equal(nvme_ctrlr_free_io_qpair(t.qp), 0);
	assert_int_equal(nvme_detach(t.ctrlr), 0); /* a shutdown as any other */
	assert_int_equal(t.removed, 1);
}

/* Who never polls the admin queue hears of it from a queue pair that has waited long. */
static void test_asked_seen_by_poll(void **state)
{
	(void)state;
	attach("soft:plan=on read #1 drop remove");
	assert_int_equal(start_read(), 0);
	assert_int_equal(poll_long(), 0); /* no failure: it may yet complete */
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_REQUESTED);
	assert_int_equal(count_lines(ASKED), 1);
	expect_refused(-ENODEV);
	assert_int_equal(t.removed, 0); /* in the controller's thread only */
	assert_int_equal(nvme_detach(t.ctrlr), 0);
	assert_int_equal(t.bad, 1);
	assert_int_equal(t.removed, 0);
}

/* Whatever the driver is at when the request comes, it is seen afterwards, once. */
static void test_asked_any_time(void **state)
{
	static const char *const plans[] = {
		"remove at attach",      "on identify #1 remove",     "on set-features #1 remove",
		"on identify #3 remove", "on create-io-cq #1 remove", "on create-io-sq #1 remove",
		"remove on identify #2", "on delete-io-sq #1 remove", "on delete-io-cq #1 remove",
		"on identify #4 remove",
	};
	char device[128];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		bool late = strstr(plans[i], "delete") != NULL;

		snprintf(device, sizeof(device), "soft:plan=%s", plans[i]);
		attach(device);
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
		assert_int_equal(t.removed, late ? 0 : 1);
		assert_int_equal(start_read(), late ? 0 : -ENODEV);
		assert_int_equal(nvme_detach(t.ctrlr), 0);
		assert_int_equal(t.good + t.bad, late ? 1 : 0);
		assert_int_equal(count_lines(ASKED), late ? 0 : 1);
	}
	print_message("%zu moments\n", i);
}

/* A transfer of many commands: what was sent completes, the rest is refused, its callback tells. */
static void test_asked_in_large_transfer(void **state)
{
	struct nvme_io_qpair_opts opts;
	char *big;

	(void)state;
	attach("soft:mdts=1,plan=on read #2 remove");
	memset(&opts, 0, sizeof(opts));
	opts.entries = 4;
	assert_int_equal(nvme_ctrlr_free_io_qpair(t.qp), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(t.ctrlr, &opts, &t.qp), 0);
	big = nvme_dma_alloc(t.ctrlr, 1 << 20);
	assert_int_equal(nvme_ns_cmd_read_large(t.ns, t.qp, big, 0, 2048, on_done, NULL, 0), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	while (t.good + t.bad == 0)
		assert_true(poll_long() > 0);
	assert_int_equal(t.bad, 1);
	assert_int_equal(nvme_qpair_get_num_outstanding(t.qp), 0);
	assert_int_equal(nvme_detach(t.ctrlr), 0);
	assert_int_equal(t.bad, 1);
}

/* The callback may detach, and then the controller is not touched any more. */
static void test_detach_in_callback(void **state)
{
	(void)state;
	attach("soft:plan=on read #1 drop remove");
	t.detaches = true;
	t.detached = -1;
	assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	assert_int_equal(t.detached, 0);
	assert_int_equal(t.bad, 1);
}

static void poll_admin_here(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	*(int *)arg = nvme_ctrlr_process_admin_completions(t.ctrlr);
}

/* Not within a callback of the admin queue, nor within nvme_detach(). */
static void test_no_callback_in_callback(void **state)
{
	struct nvme_cmd cmd;
	int rc = 1;

	(void)state;
	attach("soft:plan=on get-features #1 remove");
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_NUMBER_OF_QUEUES;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(t.ctrlr, &cmd, NULL, 0, poll_admin_here, &rc), 0);
	assert_int_equal(nvme_qpair_process_completions(t.ctrlr->adminq, 0), 1);
	assert_int_equal(rc, -EBUSY);
	assert_int_equal(t.removed, 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	assert_int_equal(nvme_detach(t.ctrlr), 0);

	attach("soft:plan=on read #1 drop");
	assert_int_equal(nvme_ns_cmd_read(t.ns, t.qp, t.buf, 0, 1, poll_admin_here, &rc, 0), 0);
	assert_int_equal(nvme_soft_set_plan(nvme_ctrlr_get_dev(t.ctrlr), "remove at attach"), 0);
	assert_int_equal(nvme_detach(t.ctrlr), 0); /* runs it */
	assert_int_equal(t.removed, 0);
}

/* One that is set later hears of it, too; NULL is nobody, and a second one hears nothing. */
static void test_callback_later(void **state)
{
	(void)state;
	attach("soft:plan=remove at attach");
	nvme_ctrlr_set_remove_cb(t.ctrlr, NULL, NULL);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_REQUESTED);
	assert_int_equal(t.removed, 0);
	nvme_ctrlr_set_remove_cb(t.ctrlr, on_remove, &t);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	nvme_ctrlr_set_remove_cb(t.ctrlr, on_remove, &t);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.removed, 1);
	assert_int_equal(nvme_detach(t.ctrlr), 0);
}

/* ---- a bus error ---- */

static void test_bus_error(void **state)
{
	(void)state;
	attach("soft:plan=on read #2 drop bus-error");
	assert_int_equal(start_read(), 0);
	assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_qpair_process_completions(t.qp, 0), 1);
	assert_int_equal(poll_long(), -EIO);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_FAILED);
	expect_refused(-EIO);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), -EIO);
	assert_int_equal(t.removed, 1);
	assert_int_equal(t.why, NVME_REMOVAL_FAILED);
	assert_int_equal(count_lines("the bus of the device has reported an error"), 1);
	assert_int_equal(count_lines("has failed (its bus reported an error)"),
	                 2); /* both queues */
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), -EIO);
	assert_int_equal(nvme_detach(t.ctrlr), 0); /* it answers, so its cache is saved */
	assert_int_equal(t.good, 1);
	assert_int_equal(t.bad, 1);
	assert_int_equal(t.removed, 1);
}

/* Asked for, failed, gone: the last is what counts, and the callback has come before. */
static void test_worse_and_worse(void **state)
{
	const struct nvme_dev *dev;
	struct nvme_qpair *idle; /* which nobody polls */

	(void)state;
	attach("soft:plan=on read #1 remove drop");
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(t.ctrlr, NULL, &idle), 0);
	dev = nvme_ctrlr_get_dev(t.ctrlr);
	assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(t.why, NVME_REMOVAL_REQUESTED);
	assert_int_equal(nvme_soft_set_plan(dev, "bus-error after 0us"), 0);
	(void)nvme_ctrlr_get_reg_4(t.ctrlr, NVME_REG_CSTS); /* time goes on */
	assert_int_equal(poll_long(), -EIO);
	assert_int_equal(start_read(), -EIO);
	assert_int_equal(nvme_ns_cmd_flush(t.ns, idle, on_done, NULL), -EIO);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_FAILED);
	assert_int_equal(nvme_soft_set_plan(dev, "gone after 0us"), 0);
	(void)nvme_ctrlr_get_reg_4(t.ctrlr, NVME_REG_VS);
	assert_int_equal(nvme__ctrlr_set_gone(t.ctrlr), -ENODEV); /* as a waiting call would */
	assert_int_equal(nvme_ns_cmd_flush(t.ns, idle, on_done, NULL), -ENODEV);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_GONE);
	assert_int_equal(nvme_detach(t.ctrlr), -ENODEV);
	assert_int_equal(t.removed, 1);
	assert_int_equal(t.bad, 1);
}

/* ---- gone ---- */

/* With commands outstanding a poll finds it, without any the controller's thread does. */
static void test_gone(void **state)
{
	struct nvme_soft_stats stats;
	int i, reads;

	(void)state;
	for (reads = 0; reads <= 4; reads += 4) {
		attach("soft:plan=on read drop");
		for (i = 0; i < reads; i++)
			assert_int_equal(start_read(), 0);
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
		assert_int_equal(nvme_soft_set_plan(nvme_ctrlr_get_dev(t.ctrlr), "gone at attach"),
		                 0);
		assert_int_equal(reads > 0 ? poll_long()
		                           : nvme_ctrlr_process_admin_completions(t.ctrlr),
		                 -ENODEV);
		assert_int_equal(t.removed, reads > 0 ? 0 : 1);
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), -ENODEV);
		assert_int_equal(t.removed, 1);
		assert_int_equal(t.why, NVME_REMOVAL_GONE);
		expect_refused(-ENODEV);
		assert_int_equal(t.good + t.bad, 0);
		assert_int_equal(count_lines("the device is gone ("), 1);
		nvme_soft_get_stats(nvme_ctrlr_get_dev(t.ctrlr), &stats);
		assert_int_equal(stats.writes_after_gone, 0);
		assert_int_equal(nvme_detach(t.ctrlr), -ENODEV);
		assert_int_equal(t.bad, reads);
		assert_int_equal(t.removed, 1);
	}
}

/* The link was down for a while: what was seen to be gone stays so. */
static void test_back(void **state)
{
	struct nvme_dev *dev;
	int i;

	(void)state;
	attach("soft:plan=on read #1 gone; back after 10us");
	dev = &t.ctrlr->dev;
	assert_int_equal(start_read(), 0);
	assert_true(nvme_mmio_read_4(dev, NVME_REG_CSTS) == UINT32_MAX); /* nobody has noticed */
	for (i = 0; i < 20; i++)
		(void)nvme_mmio_read_4(dev, NVME_REG_CSTS);
	assert_true(nvme_mmio_read_4(dev, NVME_REG_CSTS) != UINT32_MAX);
	assert_int_equal(poll_long(), 0); /* alive; the read is lost */
	assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_qpair_process_completions(t.qp, 0), 1);
	assert_int_equal(nvme_detach(t.ctrlr), 0);
	assert_int_equal(t.bad, 1);

	attach("soft:plan=on read #1 gone; back after 10us");
	assert_int_equal(start_read(), 0);
	assert_int_equal(poll_long(), -ENODEV);
	for (i = 0; i < 20; i++)
		(void)nvme_mmio_read_4(&t.ctrlr->dev, NVME_REG_CSTS);
	assert_int_equal(start_read(), -ENODEV);
	assert_int_equal(nvme_detach(t.ctrlr), -ENODEV);
}

/* Some bridges answer with zeros for what is not there; and some other hand resets a controller. */
static void test_zeros(void **state)
{
	static const struct {
		uint32_t vs;
		int rc;
		enum nvme_removal why;
		const char *says;
	} rows[] = {
		{0, -ENODEV, NVME_REMOVAL_GONE, "(the device is gone)"},
		{0x00010400, -EIO, NVME_REMOVAL_NONE, "(somebody else has reset"},
	};
	struct fake fake;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr_opts opts;

		fake_init(&fake);
		opts = fake_opts(&fake);
		attach_with("fake", &opts);
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
		fake.cc = 0;
		fake.rdy = fake.rdy_next = false;
		fake.vs = rows[i].vs;
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), rows[i].rc);
		assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), rows[i].why);
		assert_int_equal(t.removed, rows[i].why != NVME_REMOVAL_NONE);
		assert_int_equal(count_lines(rows[i].says), 1);
		(void)nvme_detach(t.ctrlr);
	}
}

/* ---- asleep ---- */

/* A controller in a thread of its own, to which this happens some time after it is attached. */
static void attach_asleep(const char *plan)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.interrupts = true;
	attach_with("soft:mode=thread", &opts);
	assert_int_equal(nvme_soft_set_plan(nvme_ctrlr_get_dev(t.ctrlr), plan), 0);
}

/* Who sleeps without end is woken once; who sleeps again does so. */
static void test_wait(void **state)
{
	struct pollfd pfds[NVME_DEV_EVENTS];

	(void)state;
	attach_asleep("remove after 20ms");
	assert_int_equal(nvme__ctrlr_event_fds(t.ctrlr, pfds), 2);
	assert_int_equal(nvme_qpair_wait(t.qp, -1), 0);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_REQUESTED);
	assert_int_equal(nvme__ctrlr_event_fds(t.ctrlr, pfds), 1); /* the other may still come */
	assert_int_equal(nvme_qpair_wait(t.qp, 1), 0);
	assert_int_equal(nvme_detach(t.ctrlr), 0);

	attach_asleep("bus-error after 20ms");
	assert_int_equal(nvme_qpair_wait(t.qp, -1), -EIO);
	assert_int_equal(nvme_qpair_wait(t.qp, -1), -EIO);
	assert_int_equal(nvme_detach(t.ctrlr), 0);

	/* a completion alone is not taken for it */
	attach_asleep("");
	assert_int_equal(start_read(), 0);
	while (t.good == 0)
		assert_true(nvme_qpair_wait(t.qp, TIMEOUT) >= 0);
	assert_true(t.qp->watch_in > 1);
	assert_int_equal(nvme_detach(t.ctrlr), 0);
}

static void group_failed(struct nvme_qpair *qp, void *ctx)
{
	(*(int *)ctx)++;
	(void)nvme_ctrlr_free_io_qpair(qp);
}

static void test_group_wait(void **state)
{
	struct nvme_poll_group *group;
	int failed = 0;

	(void)state;
	group = nvme_poll_group_create(&failed);
	attach_asleep("remove after 20ms");
	assert_int_equal(nvme_poll_group_add(group, t.qp), 0);
	assert_true(nvme_poll_group_wait(group, 0, -1, group_failed) == 0);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_REQUESTED);
	assert_int_equal(failed, 0);
	assert_true(nvme_poll_group_wait(group, 0, 1, group_failed) == 0);
	assert_int_equal(nvme_detach(t.ctrlr), 0);

	attach_asleep("bus-error after 20ms");
	assert_int_equal(nvme_poll_group_add(group, t.qp), 0);
	assert_true(nvme_poll_group_wait(group, 0, -1, group_failed) == 0);
	assert_int_equal(failed, 1);
	assert_int_equal(nvme_detach(t.ctrlr), 0);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* ---- threads ---- */

static void *read_until_refused(void *arg)
{
	struct nvme_qpair *qp = (struct nvme_qpair *)arg;
	static __thread int good;
	char *buf = (char *)nvme_dma_alloc(t.ctrlr, 4096);
	struct nvme_cpl cpl;
	intptr_t rc = 0;

	while (rc == 0) {
		rc = nvme_ns_read(t.ns, qp, buf, 0, 1, &cpl);
		good += rc == 0;
	}
	nvme_dma_free(t.ctrlr, buf);
	return (void *)rc;
}

/* Seen in the controller's thread, it holds in those of the queue pairs at once. */
static void test_threads(void **state)
{
	struct nvme_qpair *qps[2];
	pthread_t threads[2];
	void *rc;
	int i;

	(void)state;
	attach_asleep("remove after 50ms");
	for (i = 0; i < 2; i++) {
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(t.ctrlr, NULL, &qps[i]), 0);
		assert_int_equal(pthread_create(&threads[i], NULL, read_until_refused, qps[i]), 0);
	}
	while (t.removed == 0) {
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
		sched_yield();
	}
	for (i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_int_equal((intptr_t)rc, -ENODEV);
	}
	assert_int_equal(nvme_detach(t.ctrlr), 0);
	assert_int_equal(count_lines(ASKED), 1);
}

/* ---- tables of one's own ---- */

static int num_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int calls_with_fds, calls_without;

static int no_events(struct nvme_dev *dev, const int *fds)
{
	(void)dev;
	calls_with_fds += fds != NULL;
	calls_without += fds == NULL;
	return -EINVAL;
}

static int count_events(struct nvme_dev *dev, const int *fds)
{
	(void)no_events(dev, fds);
	return 0;
}

/* A system that knows no such events is none the worse; descriptors are closed in all cases. */
static void test_no_events(void **state)
{
	static const struct {
		int (*set)(struct nvme_dev *dev, const int *fds);
		int with, without;
	} rows[] = {{NULL, 0, 0}, {no_events, 1, 0}, {count_events, 1, 1}};
	struct nvme_dev_ops ops = *nvme_soft_dev_ops("soft");
	struct nvme_ctrlr_opts opts;
	int before = num_fds();
	size_t i;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = &ops;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ops.set_events = rows[i].set;
		calls_with_fds = calls_without = 0;
		attach_with("soft:plan=on read #2 remove", &opts);
		assert_int_equal(num_fds(), before + (rows[i].without != 0 ? 2 : 0));
		assert_int_equal(start_read(), 0);
		assert_int_equal(start_read(), 0);
		assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
		assert_int_equal(t.removed, 0);
		assert_int_equal(start_read(), 0);
		assert_int_equal(nvme_detach(t.ctrlr), 0);
		assert_int_equal(t.good + t.bad, 3);
		assert_int_equal(calls_with_fds, rows[i].with);
		assert_int_equal(calls_without, rows[i].without);
		assert_int_equal(num_fds(), before);
		assert_string_equal(said, "");
	}
	/* also where the attach fails */
	ops.set_events = count_events;
	opts.log = listen;
	assert_int_equal(nvme_attach("soft:plan=gone at attach", &opts, &t.ctrlr), -ENODEV);
	assert_int_equal(num_fds(), before);
}

/* ---- probing ---- */

static struct nvme_ctrlr *probed[2];
static int num_probed, probe_removed[2];

static void on_attach(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	(void)ctx, (void)trid, (void)opts;
	probed[num_probed++] = ctrlr;
}

static bool listen_to(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr_opts *opts)
{
	(void)ctx, (void)trid;
	opts->log = listen;
	return true;
}

static void on_probe_remove(void *ctx, struct nvme_ctrlr *ctrlr)
{
	assert_ptr_equal(ctx, probed);
	probe_removed[ctrlr == probed[1]]++;
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Each controller that a probe attaches to has its remove_cb, and the other one goes on. */
static void test_probe_remove(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", nvme_soft_dev_ops("soft")},
		{"soft:seed=2,plan=on flush #1 remove", nvme_soft_dev_ops("soft")},
	};
	struct nvme_probe_opts opts;
	struct nvme_probe_ctx *async;
	int i, rc;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.devs = devs;
	opts.num_devs = 2;
	opts.devs_only = true;
	opts.remove_cb = on_probe_remove;
	for (i = 0; i < 2; i++) {
		num_probed = probe_removed[0] = probe_removed[1] = 0;
		if (i == 0) {
			rc = nvme_probe(NULL, probed, listen_to, on_attach, &opts);
		} else {
			async = nvme_probe_async(NULL, probed, listen_to, on_attach, &opts);
			while ((rc = nvme_probe_poll_async(async)) == -EAGAIN)
				;
			if (strcmp(nvme_ctrlr_get_data(probed[0])->sn,
			           nvme_ctrlr_get_data(probed[1])->sn) > 0) {
				struct nvme_ctrlr *first = probed[0];

				probed[0] = probed[1];
				probed[1] = first;
			}
		}
		assert_int_equal(rc, 0);
		(void)nvme_ns_flush(nvme_ctrlr_get_ns(probed[0], 1), NULL, NULL);
		(void)nvme_ns_flush(nvme_ctrlr_get_ns(probed[1], 1), NULL, NULL);
		(void)nvme_ctrlr_process_admin_completions(probed[0]);
		(void)nvme_ctrlr_process_admin_completions(probed[1]);
		assert_int_equal(probe_removed[0] + probe_removed[1], 1);
		assert_int_equal(probe_removed[1], 1);
		assert_int_equal(nvme_detach(probed[0]), 0);
	}
}

/* Functions of PCI are remembered from attach to detach, and by nothing but their address. */
static void test_attached(void **state)
{
	struct nvme_dev dev;
	int slots[300], i, full = 0;

	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.ops = &nvme__vfio_ops;
	snprintf(dev.name, sizeof(dev.name), "0000:00:00.0"); /* all of it zeros */
	assert_false(nvme__is_attached("0000:00:00.0"));
	slots[0] = nvme__attached_add(&dev);
	snprintf(dev.name, sizeof(dev.name), "10000:e1:1f.7");
	slots[1] = nvme__attached_add(&dev);
	assert_true(nvme__is_attached("0000:00:00.0"));
	assert_true(nvme__is_attached("10000:e1:1f.7"));
	assert_false(nvme__is_attached("0000:e1:1f.7"));
	assert_false(nvme__is_attached("10000:e1:1f.6"));
	assert_false(nvme__is_attached("10000:e1:1e.7"));
	assert_false(nvme__is_attached("soft"));
	nvme__attached_drop(slots[0]);
	assert_false(nvme__is_attached("0000:00:00.0"));
	assert_true(nvme__is_attached("10000:e1:1f.7"));
	nvme__attached_drop(slots[1]);
	dev.ops = nvme_soft_dev_ops("soft"); /* whatever the name */
	slots[0] = nvme__attached_add(&dev);
	assert_false(nvme__is_attached("10000:e1:1f.7"));
	nvme__attached_drop(slots[0]);
	for (i = 0; i < 300; i++) {
		slots[i] = nvme__attached_add(&dev);
		full += slots[i] < 0;
	}
	assert_int_equal(full, 300 - NVME__MAX_ATTACHED);
	for (i = 0; i < 300; i++)
		nvme__attached_drop(slots[i]);
	slots[0] = nvme__attached_add(&dev);
	assert_int_equal(slots[0], 0);
	nvme__attached_drop(slots[0]);
}

/* ---- registers that raise SIGBUS ---- */

#define WINDOW 8192 /* the registers, and one page of doorbells */

/* Registers in a file that can be cut off: reads of what is cut off raise SIGBUS. */
static uint8_t *map_file(int *fd)
{
	void *at;

	*fd = memfd_create("registers", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, WINDOW), 0);
	at = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_true(at != MAP_FAILED);
	return (uint8_t *)at;
}

/*
 * From here on the driver reads the registers in a file, which says what they said before. Doorbells
 * remain with the controller.
 */
static int map_registers(struct nvme_ctrlr *ctrlr)
{
	uint32_t at, value;
	uint8_t *file;
	int fd;

	file = map_file(&fd);
	for (at = 0; at <= NVME_REG_CRTO; at += 4) {
		value = nvme_mmio_read_4(&ctrlr->dev, at);
		memcpy(file + at, &value, 4);
	}
	nvme__attached_drop(ctrlr->removal->slot);
	ctrlr->dev.bar0 = file;
	ctrlr->dev.bar0_mapped = WINDOW;
	ctrlr->removal->slot = nvme__attached_add(&ctrlr->dev);
	ctrlr->dev.bar0_mapped = NVME_REG_DOORBELLS;
	return fd;
}

static void unmap_registers(struct nvme_ctrlr *ctrlr, uint8_t *file)
{
	nvme__attached_drop(ctrlr->removal->slot);
	ctrlr->removal->slot = -1;
	ctrlr->dev.bar0 = NULL;
	ctrlr->dev.bar0_mapped = 0;
	assert_int_equal(munmap(file, WINDOW), 0);
}

/* cmocka has a handler of its own in each test, which comes after ours: ours goes in again. */
static void catch_sigbus(void)
{
	struct sigaction action;

	assert_int_equal(nvme_catch_sigbus(), 0);
	assert_int_equal(nvme_catch_sigbus(), 0);
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = nvme__on_sigbus;
	action.sa_flags = SA_SIGINFO;
	assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
}

/* Two controllers; the registers of the second one fault, then those of the first. */
static void test_sigbus(void **state)
{
	struct nvme_ctrlr *other;
	int fds[2], rc;
	uint8_t *file;

	(void)state;
	catch_sigbus();
	attach("soft:seed=2");
	other = t.ctrlr;
	fds[0] = map_registers(other);
	attach("soft:plan=on read drop");
	fds[1] = map_registers(t.ctrlr);
	file = (uint8_t *)(uintptr_t)t.ctrlr->dev.bar0;
	assert_int_equal(start_read(), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), 0);
	assert_int_equal(ftruncate(fds[1], 0), 0);
	assert_int_equal(poll_long(), -ENODEV);
	assert_int_equal(nvme_ctrlr_get_removal(t.ctrlr), NVME_REMOVAL_GONE);
	assert_int_equal(nvme_ctrlr_process_admin_completions(t.ctrlr), -ENODEV);
	assert_int_equal(t.removed, 1);
	assert_int_equal(file[WINDOW - 1], 0xff); /* all of the window is covered */
	/* the other one is none of this */
	assert_int_equal(nvme_ctrlr_get_reg_4(other, NVME_REG_VS), NVME_VS_SET(2, 0, 0));
	assert_int_equal(nvme_detach(t.ctrlr), -ENODEV);
	assert_int_equal(t.bad, 1);
	assert_int_equal(munmap(file, WINDOW), 0);

	file = (uint8_t *)(uintptr_t)other->dev.bar0;
	assert_int_equal(ftruncate(fds[0], 0), 0);
	assert_true(nvme_ctrlr_get_reg_4(other, NVME_REG_VS) == UINT32_MAX);
	rc = nvme_detach(other);
	assert_int_equal(rc, -ENODEV);
	assert_int_equal(munmap(file, WINDOW), 0);
	close(fds[0]);
	close(fds[1]);
}

/* A doorbell, which is a store. */
static void test_sigbus_doorbell(void **state)
{
	uint8_t *file;
	int fd;

	(void)state;
	catch_sigbus();
	attach("soft");
	fd = map_registers(t.ctrlr);
	file = (uint8_t *)(uintptr_t)t.ctrlr->dev.bar0;
	t.qp->sq_doorbell = (volatile uint32_t *)(void *)(file + t.qp->sq_tdbl);
	assert_int_equal(ftruncate(fd, 0), 0);
	errno = 4711;
	assert_int_equal(start_read(), 0);
	assert_int_equal(errno, 4711); /* a signal may come at any time */
	assert_int_equal(poll_long(), -ENODEV);
	assert_int_equal(nvme_detach(t.ctrlr), -ENODEV);
	assert_int_equal(t.bad, 1);
	assert_int_equal(munmap(file, WINDOW), 0);
	close(fd);
}

static void *read_status(void *arg)
{
	volatile uint32_t *at = (volatile uint32_t *)arg;
	uint32_t bad = 0, value;
	int i;

	for (i = 0; i < 20000; i++) {
		value = at[NVME_REG_CSTS / 4];
		bad += value != UINT32_MAX && value != NVME_SET(1, NVME_CSTS_RDY);
	}
	return (void *)(uintptr_t)bad;
}

/* Threads that fault at the same time see what was there, or all ones, and nothing between. */
static void test_sigbus_threads(void **state)
{
	pthread_t threads[4];
	uint8_t *file;
	void *bad;
	int fd, i, round;

	(void)state;
	catch_sigbus();
	for (round = 0; round < 20; round++) {
		attach("soft");
		fd = map_registers(t.ctrlr);
		file = (uint8_t *)(uintptr_t)t.ctrlr->dev.bar0;
		for (i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, read_status, file), 0);
		/* beyond the end of the file, not a hole in it, which would read as zeros */
		assert_int_equal(ftruncate(fd, 0), 0);
		for (i = 0; i < 4; i++) {
			assert_int_equal(pthread_join(threads[i], &bad), 0);
			assert_true(bad == NULL || (uintptr_t)bad < 5);
		}
		unmap_registers(t.ctrlr, file);
		assert_int_equal(nvme_detach(t.ctrlr), 0);
		close(fd);
	}
}

/* ---- SIGBUS that is none of ours, each in a process of its own ---- */

static volatile sig_atomic_t earlier_calls;
static sigjmp_buf earlier;

static void plain_handler(int sig)
{
	earlier_calls += sig == SIGBUS;
	siglongjmp(earlier, 1);
}

static void info_handler(int sig, siginfo_t *info, void *context)
{
	earlier_calls += sig == SIGBUS && info->si_addr != NULL && context != NULL;
	siglongjmp(earlier, 1);
}

enum before { DEFAULT, IGNORED, PLAIN, INFO };

static void set_before(enum before before)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = before == IGNORED ? SIG_IGN : before == PLAIN ? plain_handler : SIG_DFL;
	if (before == INFO) {
		action.sa_sigaction = info_handler;
		action.sa_flags = SA_SIGINFO;
	}
	(void)sigaction(SIGBUS, &action, NULL);
}

/* How a child ends that has this handler, then ours, and gets a SIGBUS of its own or of another. */
static int fate(enum before before, bool sent)
{
	int fd, status = 0;
	uint8_t *file;
	pid_t pid = fork();

	if (pid == 0) {
		struct rlimit no_core = {0, 0};

		(void)setrlimit(RLIMIT_CORE, &no_core);
		set_before(before);
		if (nvme_catch_sigbus() != 0)
			_exit(9);
		file = map_file(&fd);
		(void)!ftruncate(fd, 0);
		if (sigsetjmp(earlier, 1) == 0) {
			if (sent)
				(void)raise(SIGBUS);
			else
				*(volatile uint8_t *)file = 1;
		}
		_exit(earlier_calls == 1 ? 7 : earlier_calls == 0 ? 5 : 6);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs first: the handler is not there yet, and a child gets a fresh one. */
static void test_sigbus_passed_on(void **state)
{
	(void)state;
	assert_int_equal(fate(DEFAULT, false), -SIGBUS);
	assert_int_equal(fate(DEFAULT, true), -SIGBUS);
	assert_int_equal(fate(IGNORED, false), -SIGBUS); /* a fault cannot be ignored */
	assert_int_equal(fate(IGNORED, true), 5);
	assert_int_equal(fate(PLAIN, false), 7);
	assert_int_equal(fate(PLAIN, true), 7);
	assert_int_equal(fate(INFO, false), 7);
}

/* What shares a page with something else must not be covered. */
static void test_sigbus_not_whole_pages(void **state)
{
	struct nvme_dev dev;
	int fd, slot;
	uint8_t *file = map_file(&fd);

	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.ops = nvme_soft_dev_ops("soft");
	dev.bar0 = file + 64;
	dev.bar0_mapped = 4096;
	slot = nvme__attached_add(&dev);
	assert_true(nvme__attached[slot].len == 0);
	assert_false(nvme__mend((uintptr_t)file + 100));
	nvme__attached_drop(slot);
	dev.bar0 = file;
	dev.bar0_mapped = 4000; /* the whole page is the BAR's */
	slot = nvme__attached_add(&dev);
	assert_false(nvme__mend((uintptr_t)file - 1));
	assert_false(nvme__mend((uintptr_t)file + 4096));
	assert_int_equal(file[4095], 0);
	assert_true(nvme__mend((uintptr_t)file + 4095));
	assert_int_equal(file[4095], 0xff);
	assert_int_equal(file[4096], 0);
	nvme__attached_drop(slot);
	assert_false(nvme__mend((uintptr_t)file));
	assert_int_equal(munmap(file, WINDOW), 0);
	close(fd);
}

/* ---- the plan ---- */

static void test_plan_text(void **state)
{
	static const struct {
		const char *plan, *says;
	} rows[] = {
		{"remove at attach; remove on read #3; remove after 300ms", NULL},
		{"bus-error at attach; bus-error on any; bus-error after 1s", NULL},
		{"gone after 2us; back after 3us; on read remove drop; on cmd bus-error times 2",
	         NULL},
		{"remove", "at, on or after"},
		{"bus-error never", "at, on or after"},
		{"remove at enable", "attach"},
		{"gone after", "time"},
		{"back at attach", "after"},
		{"cfs after 3ms", "at or on"},
	};
	char device[256], why[512];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(device, sizeof(device), "soft:plan=%s", rows[i].plan);
		assert_int_equal(nvme_soft_check(device, why, sizeof(why)),
		                 rows[i].says == NULL ? 0 : -EINVAL);
		if (rows[i].says != NULL && strstr(why, rows[i].says) == NULL)
			fail_msg("%s: %s", rows[i].plan, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sigbus_passed_on),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_asked_seen_by_poll),
		cmocka_unit_test(test_asked_any_time),
		cmocka_unit_test(test_asked_in_large_transfer),
		cmocka_unit_test(test_detach_in_callback),
		cmocka_unit_test(test_no_callback_in_callback),
		cmocka_unit_test(test_callback_later),
		cmocka_unit_test(test_bus_error),
		cmocka_unit_test(test_worse_and_worse),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_group_wait),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_no_events),
		cmocka_unit_test(test_probe_remove),
		cmocka_unit_test(test_attached),
		cmocka_unit_test(test_sigbus),
		cmocka_unit_test(test_sigbus_doorbell),
		cmocka_unit_test(test_sigbus_threads),
		cmocka_unit_test(test_sigbus_not_whole_pages),
		cmocka_unit_test(test_plan_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
