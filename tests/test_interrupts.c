// SPDX-License-Identifier: MIT
/*
 * Interrupts on the software controller: which vector a queue has, that a completion makes its
 * descriptor readable, that waiting loses none, and what is refused. (test_vm has the same over
 * VFIO.)
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
	opts.interrupts = true;
	opts.log = listen;
	said[0] = '\0';
	return opts;
}

static struct nvme_ctrlr *attach(const char *device, uint32_t queues)
{
	struct nvme_ctrlr_opts opts = options(device);
	struct nvme_ctrlr *ctrlr;

	opts.num_io_queues = queues;
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	return ctrlr;
}

static bool readable(const struct nvme_qpair *qp)
{
	struct pollfd pfd = {nvme_qpair_get_fd(qp), POLLIN, 0};

	return poll(&pfd, 1, 0) == 1;
}

static void count(void *arg, const struct nvme_cpl *cpl)
{
	assert_false(nvme_cpl_is_error(cpl));
	(*(int *)arg)++;
}

static void ignore(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	(*(int *)arg)++;
}

static int num_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Each queue pair has its own; a completion signals that one alone; detach closes all. */
static void test_own_descriptor(void **state)
{
	int before = num_fds(), done = 0, i;
	struct nvme_ctrlr *ctrlr = attach("soft", 3);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp[3];
	uint64_t signals;
	char *buf;

	(void)state;
	for (i = 0; i < 3; i++)
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp[i]), 0);
	assert_int_not_equal(nvme_qpair_get_fd(qp[0]), nvme_qpair_get_fd(qp[1]));
	assert_int_not_equal(nvme_qpair_get_fd(qp[1]), nvme_qpair_get_fd(qp[2]));
	assert_int_equal(num_fds(), before + 4 + NVME_DEV_EVENTS); /* and the admin queue's */
	buf = nvme_dma_alloc(ctrlr, 4096);
	assert_false(readable(qp[0]) || readable(qp[1]) || readable(qp[2]));
	assert_int_equal(nvme_ns_cmd_read(ns, qp[1], buf, 0, 1, count, &done, 0), 0);
	assert_int_equal(nvme_ns_cmd_read(ns, qp[1], buf, 1, 1, count, &done, 0), 0);
	assert_false(readable(qp[0]) || readable(qp[2]));
	assert_true(readable(qp[1]));
	assert_int_equal(read(nvme_qpair_get_fd(qp[1]), &signals, 8), 8);
	assert_true(signals == 2); /* one for each completion */
	assert_false(readable(qp[1]));
	assert_int_equal(nvme_qpair_process_completions(qp[1], 0), 2);
	assert_int_equal(done, 2);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(num_fds(), before);
}

/* Commands come from another thread's controller while this one sleeps: none is slept through. */
static void test_wait(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mode=thread", 1);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp;
	int done = 0, sent, rc;
	char *buf;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	buf = nvme_dma_alloc(ctrlr, 4096);
	assert_int_equal(nvme_qpair_wait(qp, 0), 0);
	for (sent = 0; sent < 2000; sent++) {
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &done, 0), 0);
		while (done <= sent - sent % 3) { /* one, two or three outstanding */
			rc = nvme_qpair_wait(qp, 60000);
			assert_true(rc >= 0);
		}
	}
	while (done < sent)
		assert_true(nvme_qpair_wait(qp, 60000) >= 0);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* What is there already is found without sleeping, and nothing is a zero. */
static void test_wait_without_sleep(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft", 1);
	struct nvme_qpair *qp;
	int done = 0;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, count, &done), 0);
	assert_int_equal(nvme_qpair_wait(qp, -1), 1);
	assert_int_equal(done, 1);
	/* its signal is still there: one look in vain, which is a zero and not an error */
	assert_int_equal(nvme_qpair_wait(qp, -1), 0);
	assert_int_equal(nvme_qpair_wait(qp, 1), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void one_failed(struct nvme_qpair *qp, void *ctx)
{
	(*(int *)ctx)++;
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp) <= 0, 1);
}

/* Two controllers in threads of their own, one sleeper: none of their completions is slept through. */
static void test_group_wait(void **state)
{
	struct nvme_ctrlr *ctrlrs[2] = {attach("soft:mode=thread", 2),
	                                attach("soft:mode=thread,seed=2", 2)};
	struct nvme_poll_group *group = nvme_poll_group_create(NULL);
	struct nvme_qpair *qp[4];
	int done = 0, sent, i;
	char *buf[2];

	(void)state;
	for (i = 0; i < 4; i++) {
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlrs[i / 2], NULL, &qp[i]), 0);
		assert_int_equal(nvme_poll_group_add(group, qp[i]), 0);
	}
	for (i = 0; i < 2; i++)
		buf[i] = nvme_dma_alloc(ctrlrs[i], 4096);
	assert_true(nvme_poll_group_wait(group, 0, 0, one_failed) == 0);
	assert_true(nvme_poll_group_wait(group, 0, 1, one_failed) == 0);
	for (sent = 0; sent < 2000; sent++) {
		i = sent * 7 / 3 % 4;
		assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlrs[i / 2], 1), qp[i],
		                                  buf[i / 2], 0, 1, count, &done, 0),
		                 0);
		while (done <= sent - sent % 3)
			assert_true(nvme_poll_group_wait(group, 0, 60000, one_failed) >= 0);
	}
	while (done < sent)
		assert_true(nvme_poll_group_wait(group, 0, -1, one_failed) >= 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(nvme_detach(ctrlrs[i]), 0);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* A controller that has gone is noticed by the wait after one in vain. */
static void test_wait_for_nobody(void **state)
{
	const char *const device = "soft:plan=on read #1 gone";
	struct nvme_ctrlr *ctrlr = attach(device, 1);
	struct nvme_qpair *qp;
	int done = 0;
	char *buf = nvme_dma_alloc(ctrlr, 4096);

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	(void)nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, ignore, &done, 0);
	assert_int_equal(nvme_qpair_wait(qp, 1), 0);
	assert_int_equal(nvme_qpair_wait(qp, 1), -ENODEV);
	(void)nvme_detach(ctrlr);
	assert_int_equal(done, 1);
}

/* What it must not sleep through, and where it cannot sleep. */
static void test_group_wait_refuses(void **state)
{
	const char *const device = "soft:plan=on read #2 gone";
	int failed = 0, done = 0, i;
	struct nvme_poll_group *group = nvme_poll_group_create(&failed);
	struct nvme_ctrlr *ctrlr = attach(device, 1);
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_qpair *qp;
	char *buf = nvme_dma_alloc(ctrlr, 4096);

	(void)state;
	assert_true(nvme_poll_group_wait(group, 0, -1, one_failed) == -ENXIO);
	assert_true(nvme_poll_group_wait(group, 0, -1, NULL) == -EINVAL);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_poll_group_add(group, qp), 0);
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
	assert_true(nvme_poll_group_wait(group, 0, -1, one_failed) == -ENXIO);
	assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), 0);
	for (i = 0; i < 2; i++) /* the second one is its last */
		(void)nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, ignore, &done,
		                       0);
	for (i = 0; i < 4; i++) /* what came before, its signal, a time that is over, the look */
		assert_true(nvme_poll_group_wait(group, 0, 1, one_failed) >= 0);
	assert_int_equal(failed, 1);
	(void)nvme_detach(ctrlr);
	opts.interrupts = false;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_poll_group_add(group, qp), 0);
	assert_true(nvme_poll_group_wait(group, 0, -1, one_failed) == -ENOTSUP);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(nvme_poll_group_destroy(group), 0);
}

/* A table that gives fewer vectors than it is asked for: the others are polled. */
static int two_vectors(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	return nvme_soft_dev_ops("soft")->set_interrupts(dev, fds, num < 2 ? num : 2);
}

static int too_many(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	(void)dev;
	(void)fds;
	return (int)num + 1;
}

/* Says that it has them, and raises none. */
static int silent(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	(void)dev;
	return fds != NULL ? (int)num : 0;
}

static int broken(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	(void)dev;
	(void)fds;
	(void)num;
	return -EIO;
}

/* A completion whose interrupt is lost is found by the look that ends each part of a long sleep. */
static void test_lost_interrupt(void **state)
{
	const char *const device = "soft:mode=thread,plan=on read delay 50ms";
	struct nvme_ctrlr_opts opts = options(device);
	struct nvme_dev_ops ops = *opts.dev_ops;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	int done = 0;

	(void)state;
	ops.set_interrupts = silent;
	opts.dev_ops = &ops;
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_true(nvme_qpair_get_fd(qp) >= 0);
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp,
	                                  nvme_dma_alloc(ctrlr, 4096), 0, 1, count, &done, 0),
	                 0);
	assert_int_equal(nvme_qpair_wait(qp, 20000), 1);
	assert_int_equal(done, 1);
	assert_null(strstr(said, "late"));
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static int vectors_set, enabled_with_vectors, enabled_without;

static int note_vectors(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	vectors_set = fds != NULL;
	return nvme_soft_dev_ops("soft")->set_interrupts(dev, fds, num);
}

static void note_enable(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	if (offset == NVME_REG_CC && NVME_GET(value, NVME_CC_EN) != 0 &&
	    NVME_GET(value, NVME_CC_SHN) == 0)
		*(vectors_set ? &enabled_with_vectors : &enabled_without) += 1;
	nvme_soft_dev_ops("soft")->write_4(dev, offset, value);
}

/* Some controllers look at their vectors when they are enabled, and never again. */
static void test_vectors_before_enable(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_dev_ops ops = *opts.dev_ops;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	ops.set_interrupts = note_vectors;
	ops.write_4 = note_enable;
	opts.dev_ops = &ops;
	vectors_set = enabled_with_vectors = enabled_without = 0;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_reset(ctrlr), 0);
	assert_int_equal(enabled_with_vectors, 2);
	assert_int_equal(enabled_without, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(vectors_set, 0);
}

static void test_few_vectors(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_dev_ops ops = *opts.dev_ops;
	int before = num_fds(), done = 0;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *one, *two;

	(void)state;
	ops.set_interrupts = two_vectors;
	opts.dev_ops = &ops;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	assert_int_equal(num_fds(), before + 2 + NVME_DEV_EVENTS);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &one), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &two), 0);
	assert_true(nvme_qpair_get_fd(one) >= 0);
	assert_int_equal(nvme_qpair_get_fd(two), -ENOSPC);
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), two, count, &done), 0);
	assert_int_equal(nvme_qpair_wait(two, 0), 1);
	assert_int_equal(nvme_qpair_wait(two, 0), -ENOSPC);
	assert_int_equal(done, 1);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(num_fds(), before);
}

/* -ENOTSUP, or what the table says; one sentence; and nothing is left open. */
static void test_refused(void **state)
{
	static const struct {
		int (*set)(struct nvme_dev *dev, const int *fds, unsigned int num);
		int rc;
	} rows[] = {{NULL, -ENOTSUP}, {too_many, -ENOTSUP}, {broken, -EIO}};
	struct nvme_ctrlr *ctrlr;
	int before = num_fds();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr_opts opts = options("soft");
		struct nvme_dev_ops ops = *opts.dev_ops;

		ops.set_interrupts = rows[i].set;
		opts.dev_ops = &ops;
		assert_int_equal(nvme_attach("soft", &opts, &ctrlr), rows[i].rc);
		assert_non_null(strstr(said, "the device cannot raise interrupts here ("));
		assert_null(strstr(strchr(said, '\n') + 1, "\n"));
		assert_int_equal(num_fds(), before);
	}
}

/* Without the option: no descriptor, and the controller is told so. */
static void test_polled(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	int before = num_fds();
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	(void)state;
	opts.interrupts = false;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(num_fds(), before + NVME_DEV_EVENTS);
	assert_int_equal(nvme_qpair_get_fd(qp), -ENOTSUP);
	assert_int_equal(nvme_qpair_wait(qp, 0), -ENOTSUP);
	assert_int_equal(nvme__qpair_interrupt(qp), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* IEN and IV as the controller gets them. */
static uint32_t last_create_cq;

static enum fake_verdict see_create_cq(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                       struct nvme_cpl *cpl)
{
	(void)f;
	(void)cpl;
	if (qid == 0 && cmd->opc == NVME_OPC_CREATE_IO_CQ)
		last_create_cq = cmd->cdw11;
	return FAKE_EXEC;
}

static int accept(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	(void)dev;
	(void)fds;
	return (int)num;
}

static void check_create_cq(bool interrupts, uint32_t cdw11)
{
	static struct fake fake;
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	fake_init(&fake);
	fake.ops.set_interrupts = accept;
	fake.hook = see_create_cq;
	opts.dev_ops = &fake.ops;
	opts.interrupts = interrupts;
	assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(last_create_cq, cdw11);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(last_create_cq, interrupts ? cdw11 + 0x10000u : cdw11);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_coalescing(void **state)
{
	static const struct {
		uint32_t completions, delay_us, cdw11;
	} good[] = {{1, 0, 0x0000},   {9, 100, 0x0108},     {9, 101, 0x0208},
	            {256, 1, 0x01ff}, {256, 25500, 0xffff}, {1, 25401, 0xff00}};
	struct nvme_ctrlr *ctrlr = attach("soft", 1);
	struct nvme_cpl cpl;
	uint32_t value;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(nvme_ctrlr_set_interrupt_coalescing(ctrlr, good[i].completions,
		                                                     good[i].delay_us, &cpl),
		                 0);
		assert_int_equal(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_INTERRUPT_COALESCING, 0, 0,
		                                        NULL, 0, &value, NULL),
		                 0);
		assert_int_equal(value, good[i].cdw11);
	}
	assert_int_equal(nvme_ctrlr_set_interrupt_coalescing(ctrlr, 0, 100, &cpl), -EINVAL);
	assert_int_equal(cpl.cid, 0xffff); /* none came */
	assert_non_null(strstr(said, "for 0 completions or 100 us: ask for 1 to 256"));
	assert_int_equal(nvme_ctrlr_set_interrupt_coalescing(ctrlr, 257, 100, NULL), -EINVAL);
	assert_int_equal(nvme_ctrlr_set_interrupt_coalescing(ctrlr, 1, 25501, NULL), -EINVAL);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_create_cq(void **state)
{
	(void)state;
	check_create_cq(false, 0x1);    /* PC */
	check_create_cq(true, 0x10003); /* PC, IEN, IV 1 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_descriptor),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_wait_without_sleep),
		cmocka_unit_test(test_wait_for_nobody),
		cmocka_unit_test(test_lost_interrupt),
		cmocka_unit_test(test_vectors_before_enable),
		cmocka_unit_test(test_group_wait),
		cmocka_unit_test(test_group_wait_refuses),
		cmocka_unit_test(test_few_vectors),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_polled),
		cmocka_unit_test(test_coalescing),
		cmocka_unit_test(test_create_cq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
