// SPDX-License-Identifier: MIT
/*
 * Asynchronous events, keep alive, the error log, and power: the sections >>events and >>power of
 * nvme.h, on the software controller.
 */
#include <stddef.h>

/* The allocation number calloc_fails, from now on, fails; 0: none. */
static int calloc_fails;
static void *try_calloc(size_t n, size_t bytes);

#define NVME_CALLOC(n, bytes) try_calloc((n), (bytes))
#define NVME_FREE(p)          free(p)
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *try_calloc(size_t n, size_t bytes)
{
	return calloc_fails != 0 && --calloc_fails == 0 ? NULL : calloc(n, bytes);
}

/* ---- the log ---- */

static char log_text[1 << 18];
static size_t log_len;
static unsigned int looked_up; /* errors, also when the text is full */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void capture(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg, (void)level;
	pthread_mutex_lock(&log_lock);
	looked_up += strstr(line, "error log: READ") != NULL;
	if (log_len + strlen(line) + 2 < sizeof(log_text))
		log_len += (size_t)snprintf(log_text + log_len, sizeof(log_text) - log_len, "%s\n",
		                            line);
	pthread_mutex_unlock(&log_lock);
}

/* How often the log says so since it was forgotten. */
static unsigned int said(const char *part)
{
	const char *at = log_text;
	unsigned int n = 0;

	while ((at = strstr(at, part)) != NULL) {
		at += strlen(part);
		n++;
	}
	return n;
}

static void expect_said(const char *part, unsigned int times)
{
	if (said(part) != times)
		fail_msg("'%s' is %u times in the log, not %u:\n%s", part, said(part), times,
		         log_text);
}

static void forget(void)
{
	log_len = 0;
	log_text[0] = '\0';
}

/* ---- a controller ---- */

static struct nvme_ctrlr *ctrlr;
static const struct nvme_dev *dev;
static struct nvme_soft *soft;
static struct nvme_qpair *qp;
static struct nvme_ns *ns;
static uint8_t *buf;

/* What the callback has seen. It outlives the controller. */
static struct {
	unsigned int calls;
	uint32_t cdw0;
	uint64_t sectors; /* of namespace 1, when it was called; 0: not there */
	int rc[6];
	unsigned int read; /* log pages that it has read itself */
} aer;

static void on_event(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ns *one = nvme_ctrlr_get_ns(ctrlr, 1);

	assert_ptr_equal(arg, &aer);
	aer.calls++;
	aer.cdw0 = cpl->cdw0;
	aer.sectors = one != NULL ? nvme_ns_get_num_sectors(one) : 0;
}

static void start_with(const char *device, struct nvme_ctrlr_opts opts)
{
	opts.dev_ops = opts.dev_ops != NULL ? opts.dev_ops : nvme_soft_dev_ops(device);
	opts.log = capture;
	opts.log_level = NVME_LOG_INFO;
	forget();
	memset(&aer, 0, sizeof(aer));
	if (nvme_attach(device, &opts, &ctrlr) != 0)
		fail_msg("%s: %s", device, log_text);
	dev = nvme_ctrlr_get_dev(ctrlr);
	soft = nvme_soft__of(dev);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
}

static const struct nvme_ctrlr_opts defaults;

static void start(const char *device)
{
	start_with(device, defaults);
}

/* The same, with events. */
static void listen(const char *device)
{
	start(device);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
}

static void stop(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	assert_int_equal(stats.strays, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void polls(int n)
{
	while (n-- > 0)
		assert_true(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
}

static uint64_t admin_cmds(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	return stats.admin_cmds;
}

/* Polls until nothing more comes of it. */
static void settle(void)
{
	uint64_t before;

	do {
		before = admin_cmds();
		polls(4);
	} while (admin_cmds() != before);
}

/* How many of the last commands have this opcode. */
static unsigned int sent(uint8_t opc)
{
	struct nvme_soft_cmd list[NVME_SOFT_LAST_CMDS];
	uint32_t i, n = nvme_soft_get_last_cmds(dev, list, NVME_SOFT_LAST_CMDS);
	unsigned int found = 0;

	for (i = 0; i < n; i++)
		found += list[i].qid == 0 && list[i].cmd.opc == opc;
	return found;
}

/* The latest command but `back`. */
static struct nvme_cmd latest(uint32_t back)
{
	struct nvme_soft_cmd list[NVME_SOFT_LAST_CMDS];

	assert_true(nvme_soft_get_last_cmds(dev, list, NVME_SOFT_LAST_CMDS) > back);
	return list[back].cmd;
}

static struct nvme_cmd command(uint8_t opc, uint32_t nsid)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.nsid = nsid;
	return cmd;
}

static void count(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	(*(unsigned int *)arg)++;
}

static void inject(uint32_t type, uint32_t info, uint32_t lid)
{
	nvme_soft_inject_aer(dev, type, info, lid);
}

static void smart(void)
{
	inject(NVME_AER_TYPE_SMART, NVME_AER_SMART_TEMPERATURE, NVME_LOG_PAGE_SMART);
}

static void ring(uint32_t offset, uint32_t value)
{
	dev->ops->write_4((struct nvme_dev *)(uintptr_t)dev, offset, value);
}

static void advance(uint64_t ms)
{
	soft->now += ms * 1000000;
}

/* ---- switching on ---- */

static void test_off_by_default(void **state)
{
	(void)state;
	start("soft");
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, NULL, NULL), 0);
	settle();
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 0);
	assert_int_equal(sent(NVME_OPC_SET_FEATURES), 1); /* the number of queues */
	assert_null(ctrlr->events);
	stop();
}

static void test_arming(void **state)
{
	struct nvme_cmd cmd;

	(void)state;
	listen("soft");
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 4); /* AERL is 3 */
	cmd = latest(4);
	assert_int_equal(cmd.opc, NVME_OPC_SET_FEATURES);
	assert_int_equal(cmd.cdw10, NVME_FEAT_ASYNC_EVENT_CONFIG);
	assert_int_equal(cmd.cdw11, 0x31f); /* SMART, and what OAES has: 300h */
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	settle();
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 4);
	assert_int_equal(aer.calls, 0);
	stop();
	listen("soft:plan=identify oaes=0xffffffff");
	assert_int_equal(latest(4).cdw11, 0x80007f1f);
	stop();
	listen("soft:plan=identify aerl=0; identify oaes=0");
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 1);
	assert_int_equal(latest(1).cdw11, 0x01f);
	stop();
	/* a controller that takes no end of them, and keeps them */
	listen("soft:plan=identify aerl=255; on async-event-request drop");
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 8);
	stop();
	/* one that cannot be configured tells what it likes */
	listen("soft:plan=on set-features #2 status 0/02");
	expect_said("refuses the configuration of events", 1);
	smart();
	settle();
	assert_int_equal(aer.calls, 1);
	stop();
}

static void submit_aer(unsigned int *ended)
{
	struct nvme_cmd cmd = command(NVME_OPC_ASYNC_EVENT_REQUEST, 0);

	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, ended), 0);
}

/* The caller's own requests, and the room in the admin queue. */
static void test_arming_limits(void **state)
{
	struct nvme_ctrlr_opts opts = defaults;
	unsigned int ended = 0;
	int i;

	(void)state;
	start("soft");
	submit_aer(&ended);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	settle();
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 4);
	assert_int_equal(ctrlr->events->outstanding, 3);
	stop();
	assert_int_equal(ended, 1);
	start("soft");
	for (i = 0; i < 4; i++)
		submit_aer(&ended);
	forget();
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), -ENOSPC);
	expect_said("no Asynchronous Event Request can be sent", 1);
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 4);
	smart(); /* which is the caller's, and nobody is registered */
	settle();
	assert_int_equal(ended, 2);
	assert_int_equal(aer.calls, 0);
	stop();
	/* nearly all CIDs are taken: the rest goes out with the first event */
	start("soft:plan=on get-features drop");
	for (i = 0; i < 29; i++) {
		struct nvme_cmd cmd = command(NVME_OPC_GET_FEATURES, 0);

		assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &ended), 0);
	}
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	assert_int_equal(ctrlr->events->outstanding, 2);
	stop();
	opts.admin_queue_size = 6;
	start_with("soft", opts);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 2);
	stop();
	opts.admin_queue_size = 2;
	start_with("soft", opts);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), -ENOSPC);
	expect_said("larger admin_queue_size", 1);
	stop();
}

static void test_arming_fails(void **state)
{
	struct nvme_ctrlr_opts opts = defaults;
	struct nvme_ctrlr *none;

	(void)state;
	start("soft");
	calloc_fails = 1;
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), -ENOMEM);
	assert_int_equal(nvme_soft_set_plan(dev, "on set-features gone"), 0);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), -ENODEV);
	assert_false(ctrlr->events->armed);
	assert_null(ctrlr->events->cb);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log = capture;
	opts.read_error_log = true;
	calloc_fails = 6; /* controller, soft's are its own; found by trying */
	while (nvme_attach("soft", &opts, &none) != 0)
		calloc_fails = 0;
	assert_int_equal(nvme_detach(none), 0);
}

/* ---- an event, its page, and the next request ---- */

static void test_smart(void **state)
{
	int i;

	(void)state;
	listen("soft");
	for (i = 1; i <= 20; i++) {
		forget();
		smart();
		assert_int_equal(aer.calls, i - 1); /* not before somebody polls */
		polls(1);
		assert_int_equal(aer.calls, i - 1); /* nor before the page was read */
		/* the next request went out at once, then the page was asked for */
		assert_int_equal(latest(1).opc, NVME_OPC_ASYNC_EVENT_REQUEST);
		assert_int_equal(latest(0).opc, NVME_OPC_GET_LOG_PAGE);
		assert_int_equal(latest(0).cdw10, 127u << 16 | NVME_LOG_PAGE_SMART); /* no RAE */
		polls(1);
		assert_int_equal(aer.calls, i);
		assert_int_equal(aer.cdw0, 0x00020101);
		expect_said("asynchronous event: SMART / HEALTH STATUS: TEMPERATURE THRESHOLD "
		            "(1/01) log page:02",
		            1);
		expect_said("SMART: critical warning 02h temperature, 87 C, 100 % spare, 0 % used",
		            1);
		assert_int_equal(ctrlr->events->outstanding, 4);
	}
	settle();
	assert_int_equal(aer.calls, 20);
	stop();
}

static void test_masked(void **state)
{
	(void)state;
	listen("soft");
	assert_int_equal(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0, NULL, 0,
	                                        NULL),
	                 0);
	assert_int_equal(nvme_soft_set_plan(dev, "aer smart; aer namespace; aer firmware"), 0);
	settle();
	assert_int_equal(aer.calls, 0);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	stop();
}

/* No callback any more: the event is still dealt with, so that the next can come. */
static void test_no_callback(void **state)
{
	(void)state;
	listen("soft");
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, NULL, NULL), 0);
	smart();
	settle();
	expect_said("SMART: critical warning", 1);
	assert_int_equal(aer.calls, 0);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	smart();
	settle();
	assert_int_equal(aer.calls, 1);
	stop();
}

/* A page that the driver does not know is the caller's to read, and no other. */
static void test_other_pages(void **state)
{
	(void)state;
	listen("soft");
	inject(NVME_AER_TYPE_IO, 1, NVME_LOG_PAGE_SANITIZE_STATUS);
	inject(NVME_AER_TYPE_VS, 9, 0xc0);
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(aer.cdw0, 0x00c00907);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	expect_said("I/O COMMAND SET: SANITIZE OPERATION COMPLETED (6/01) log page:81", 1);
	expect_said("VENDOR SPECIFIC: RESERVED / VENDOR SPECIFIC (7/09) log page:c0", 1);
	stop();
}

/* Several at once: each in turn, in their order, with its page. */
static void test_several(void **state)
{
	(void)state;
	listen("soft:plan=aer error; aer smart; aer namespace");
	settle();
	assert_int_equal(aer.calls, 3);
	assert_int_equal(aer.cdw0, 0x00040002);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 3);
	expect_said("ERROR STATUS: PERSISTENT INTERNAL ERROR (0/03) log page:01", 1);
	expect_said("NOTICE: NAMESPACE ATTRIBUTE CHANGED (2/00) log page:04", 1);
	expect_said("error log: ", 0); /* it is empty */
	stop();
}

/* ---- what goes wrong ---- */

/* what the controller refuses is not sent again, and that is said once. */
static void test_refused(void **state)
{
	uint64_t before;

	(void)state;
	listen("soft:plan=on async-event-request status 1/05");
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 4);
	before = admin_cmds();
	polls(20);
	assert_int_equal(admin_cmds(), before);
	expect_said("an Asynchronous Event Request failed and is not sent again: 3 are left", 1);
	expect_said("not sent again", 1);
	expect_said("ASYNC LIMIT EXCEEDED", 4);
	assert_int_equal(ctrlr->events->outstanding, 0);
	assert_int_equal(aer.calls, 0);
	stop();
	/* it promises more than it takes; those that are left work */
	listen("soft:plan=identify aerl=5");
	assert_int_equal(sent(NVME_OPC_ASYNC_EVENT_REQUEST), 6);
	settle();
	assert_int_equal(ctrlr->events->outstanding, 4);
	expect_said("not sent again", 1);
	smart();
	settle();
	smart();
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(ctrlr->events->outstanding, 4);
	stop();
}

/* The page cannot be read: the callback runs all the same, and nothing is tried again. */
static void test_page_fails(void **state)
{
	uint64_t before;

	(void)state;
	listen("soft");
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page status 0/06 more; aer smart"), 0);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	expect_said("log page 02h of an event could not be read", 1);
	expect_said("SMART: critical", 0);
	before = admin_cmds();
	polls(10);
	assert_int_equal(admin_cmds(), before);
	stop();
}

/* An event for each request, at once and for ever: what waits is bounded, and so is a poll. */
static void test_flood(void **state)
{
	uint64_t before;
	int i;

	(void)state;
	listen("soft:plan=on async-event-request dw0 0x20101; on get-log-page delay 1s");
	for (i = 0; i < 100; i++) {
		before = admin_cmds();
		polls(1);
		assert_true(ctrlr->events->count + ctrlr->events->outstanding <= NVME__EVENTS);
		assert_true(admin_cmds() - before <= NVME__EVENTS);
	}
	assert_int_equal(ctrlr->events->count, NVME__EVENTS);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	assert_int_equal(nvme_soft_set_plan(dev, ""), 0);
	advance(2000);
	(void)nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS);
	settle();
	assert_int_equal(ctrlr->events->count, 0);
	assert_int_equal(ctrlr->events->outstanding, 4);
	assert_true(aer.calls >= NVME__EVENTS);
	stop();
}

/* No CID is free: the page is read when there is one. */
static void test_full_queue(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_GET_FEATURES, 0);
	unsigned int ended = 0, i = 0;
	int rc;

	(void)state;
	listen("soft:plan=on get-features drop");
	cmd.cdw10 = NVME_FEAT_ARBITRATION;
	do {
		rc = nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &ended);
	} while (rc == 0 && ++i < 100);
	assert_int_equal(rc, -EAGAIN);
	smart();
	polls(5); /* the next request has taken the CID of the one that ended */
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	assert_int_equal(aer.calls, 0);
	nvme__tracker_put(ctrlr->adminq, &ctrlr->adminq->trackers[latest(1).cid]);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	assert_int_equal(aer.calls, 1);
	stop();
}

/* ---- namespaces ---- */

static int read_at(uint64_t lba)
{
	return nvme_ns_read(ns, qp, buf, lba, 1, NULL);
}

static void test_namespace(void **state)
{
	struct nvme_cpl cpl;

	(void)state;
	listen("soft:size=1M,ns=3");
	assert_int_equal(read_at(2047), 0);
	forget();
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 1000), 0);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.cdw0, 0x00040002);
	assert_int_equal(aer.sectors, 1000); /* known when the callback runs */
	expect_said("namespace 1 has changed", 1);
	expect_said("namespace 2 has changed", 0);
	assert_int_equal(read_at(1000), -ERANGE);
	assert_int_equal(read_at(999), 0);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 0), 0); /* gone */
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(aer.sectors, 0);
	assert_null(nvme_ctrlr_get_ns(ctrlr, 1));
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -ENOENT);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 2048), 0); /* and back */
	assert_int_equal(nvme_soft_resize_ns(dev, 3, 5), 0);
	settle();
	assert_int_equal(aer.sectors, 2048);
	assert_int_equal(nvme_ns_get_num_sectors(nvme_ctrlr_get_ns(ctrlr, 3)), 5);
	assert_int_equal(read_at(2047), 0);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_CHANGED_NS_LIST, 0, buf, 4096,
	                                         0, &cpl),
	                 0);
	assert_int_equal(buf[0], 0); /* reading it has emptied it */
	assert_int_equal(nvme_soft_resize_ns(dev, 4, 5), -EINVAL);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 2049), -EINVAL);
	stop();
}

/* Only those in the list are identified again; reads of them are refused in between. */
static void test_namespace_refused(void **state)
{
	struct nvme_ns *two;

	(void)state;
	listen("soft:size=1M,ns=2");
	two = nvme_ctrlr_get_ns(ctrlr, 2);
	two->nsze = 7; /* what Identify would put right */
	assert_int_equal(nvme_soft_set_plan(dev, "on identify delay 10ms"), 0);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 4), 0);
	polls(1);
	assert_int_equal(aer.calls, 0);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(ns->nsze, 4);
	assert_int_equal(two->nsze, 7);
	stop();
	/* without the list all of them are */
	listen("soft:size=1M,ns=2");
	nvme_ctrlr_get_ns(ctrlr, 2)->nsze = 7;
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page status 0/06"), 0);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 4), 0);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.sectors, 4);
	assert_int_equal(nvme_ctrlr_get_ns(ctrlr, 2)->nsze, 2048);
	stop();
	/* nor does the list name them when they are too many */
	listen("soft:size=1M,ns=2");
	{
		static struct nvme_ns_list many = {{NVME_NSID_ALL}};
		static struct nvme_ns_list last;

		nvme__event_namespaces(ctrlr, &many);
		assert_true(ctrlr->ns_changing);
		assert_int_equal(ctrlr->ns[0]->refuse, -EBUSY);
		assert_int_equal(ctrlr->ns[1]->refuse, -EBUSY);
		forget();
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -EBUSY);
		polls(1);
		assert_int_equal(read_at(0), 0);
		memset(&last, 0xff, sizeof(last)); /* full, without an end */
		last.nsid[0] = 5;
		last.nsid[1023] = 2;
		nvme__event_namespaces(ctrlr, &last);
		assert_int_equal(ctrlr->ns[0]->refuse, 0);
		assert_int_equal(ctrlr->ns[1]->refuse, -EBUSY);
		polls(1);
		assert_int_equal(ctrlr->ns[1]->refuse, 0);
	}
	stop();
}

/* A Format of the caller's is on its way: only after it are sizes known, and the event told. */
static void test_namespace_and_format(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, 2);
	unsigned int done = 0;
	int i;

	(void)state;
	listen("soft:size=1M,ns=2");
	assert_int_equal(nvme_soft_set_plan(dev, "on format-nvm delay 100ms"), 0);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &done), 0);
	assert_int_equal(nvme_soft_resize_ns(dev, 1, 9), 0);
	polls(5);
	assert_int_equal(done, 0);
	assert_int_equal(aer.calls, 0);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -EBUSY);
	for (i = 0; i < 1000 && done == 0; i++) {
		(void)nvme__now_ms(ctrlr);
		polls(1);
	}
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.sectors, 9);
	stop();
}

/* ---- error events ---- */

static void test_bad_doorbells(void **state)
{
	(void)state;
	listen("soft");
	forget();
	ring(NVME_SQ_TDBL(50, 0), 1);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.cdw0, 0x00010000);
	expect_said("ERROR STATUS: INVALID DOORBELL REGISTER (0/00) log page:01", 1);
	expect_said("error log: error 1, queue 50, INVALID FIELD (00/02), lba:0 nsid:0\n", 1);
	forget();
	ring(NVME_CQ_HDBL(1, 0), 4095);
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(aer.cdw0, 0x00010100);
	expect_said("INVALID DOORBELL VALUE (0/01)", 1);
	expect_said("error log: error 2, queue 1,", 1);
	stop();
}

/* ---- firmware activation ---- */

static int refused_io(void)
{
	struct nvme_cmd cmd = command(NVME_OPC_FLUSH, 1);
	struct iovec iov = {buf, 512};
	struct nvme_dsm_range range = {0, 1, 0};
	unsigned int done = 0;
	int rc[9], i;

	rc[0] = nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &done, 0);
	rc[1] = nvme_ns_cmd_write(ns, qp, buf, 0, 1, count, &done, 0);
	rc[2] = nvme_ns_cmd_flush(ns, qp, count, &done);
	rc[3] = nvme_ns_cmd_readv(ns, qp, &iov, 1, 0, 1, count, &done, 0);
	rc[4] = nvme_ns_cmd_write_zeroes(ns, qp, 0, 1, count, &done, 0);
	rc[5] = nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, NULL, 0, count, &done);
	rc[6] = nvme_ns_read(ns, qp, buf, 0, 1, NULL);
	rc[7] = nvme_ns_flush(ns, qp, NULL);
	rc[8] = nvme_ns_cmd_dataset_management(ns, qp, 4, &range, 1, count, &done);
	for (i = 1; i < 9; i++)
		assert_int_equal(rc[i], rc[0]);
	while (done < 7 && rc[0] == 0)
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	return rc[0];
}

static void test_firmware(void **state)
{
	int i;

	(void)state;
	listen("soft:plan=activation 300ms");
	assert_int_equal(nvme_soft_set_plan(dev, "activation 300ms; aer firmware"), 0);
	assert_int_equal(NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS), NVME_CSTS_PP), 1);
	assert_int_equal(read_at(0), 0); /* the driver has not heard of it: it waits */
	stop();
	listen("soft");
	assert_int_equal(nvme_soft_set_plan(dev, "activation 300ms; aer firmware"), 0);
	polls(1);
	forget();
	assert_int_equal(refused_io(), -EAGAIN);
	expect_said("ERROR", 0); /* nothing is wrong */
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	for (i = 0; i < 1000 && aer.calls == 0; i++) {
		bool paused = NVME_GET(soft->csts, NVME_CSTS_PP) != 0;

		if (paused)
			assert_false(ctrlr->events->reading);
		polls(1);
	}
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.cdw0, 0x00030102);
	assert_true(i > 100); /* virtual milliseconds */
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	expect_said("firmware: slot 1 is running, slot 0 after the next reset", 1);
	expect_said("still being activated", 0);
	assert_int_equal(refused_io(), 0);
	stop();
	/* without a pause it is over with the first look */
	listen("soft:plan=aer firmware");
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(refused_io(), 0);
	stop();
}

/* The controller asks for a second (MTFA) and takes longer. */
static void test_firmware_too_long(void **state)
{
	uint64_t from;
	int i;

	(void)state;
	listen("soft:plan=activation never");
	from = soft->now;
	assert_int_equal(nvme_soft_set_plan(dev, "activation never; aer firmware"), 0);
	for (i = 0; i < 5000 && said("still being activated") == 0; i++)
		polls(1);
	expect_said("still being activated (CSTS.PP) after the time that the controller asked for "
	            "(MTFA, 1000 ms)",
	            1);
	assert_true(soft->now - from > UINT64_C(1000000000) &&
	            soft->now - from < UINT64_C(1200000000));
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), 0);
	assert_int_equal(aer.calls, 0); /* the page cannot be read yet */
	soft->pp_at = soft->now;
	settle();
	(void)nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	stop();
	/* MTFA 0: as long as an admin command may take */
	listen("soft:plan=identify mtfa=0");
	from = soft->now;
	assert_int_equal(nvme_soft_set_plan(dev, "activation never; aer firmware"), 0);
	for (i = 0; i < 50000 && said("still being activated") == 0; i++)
		polls(1);
	assert_true(soft->now - from > UINT64_C(30000000000));
	soft->pp_at = soft->now;
	settle();
	stop();
}

/* A Format meanwhile: the sizes of before must not come back when I/O goes on. */
static void test_firmware_and_format(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, 1);
	unsigned int done = 0;
	int i, rc;

	(void)state;
	listen("soft:size=1M,ns=2");
	nvme_ctrlr_get_ns(ctrlr, 2)->nsze = 7; /* what Identify would put right */
	assert_int_equal(nvme_soft_set_plan(dev, "activation 50ms; on format-nvm delay 200ms; "
	                                         "aer firmware"),
	                 0);
	polls(1);
	cmd.cdw10 = 3; /* 4096 bytes */
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &done), 0);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -EBUSY);
	for (i = 0; i < 1000 && done == 0; i++) {
		polls(1);
		(void)nvme__now_ms(ctrlr);
		rc = nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0);
		assert_true(rc == -EBUSY || done != 0);
	}
	assert_int_equal(done, 1);
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(nvme_ns_get_sector_size(ns), 4096);
	assert_int_equal(read_at(255), 0);
	assert_int_equal(nvme_ctrlr_get_ns(ctrlr, 2)->nsze, 7); /* it was held, and nothing else */
	stop();
	/* one that was sent before ends while I/O is held: the other namespace is still known */
	listen("soft:size=1M,ns=2,plan=on format-nvm delay 20ms");
	nvme_ctrlr_get_ns(ctrlr, 2)->nsze = 7;
	done = 0;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, count, &done), 0);
	assert_int_equal(nvme_soft_set_plan(dev, "activation 200ms; aer firmware"), 0);
	for (i = 0; i < 1000 && done == 0; i++)
		polls(1);
	settle();
	assert_int_equal(nvme_ctrlr_get_ns(ctrlr, 2)->nsze, 7);
	assert_int_equal(nvme_ns_get_sector_size(ns), 4096);
	stop();
	/* a namespace that is identified while I/O is held is held, too */
	listen("soft:size=1M");
	assert_int_equal(nvme_soft_set_plan(dev, "activation 50ms; aer firmware"), 0);
	polls(1);
	nvme__ns_set_refuse(ns, 0);
	polls(1);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -EAGAIN);
	stop();
}

/* What was begun before goes on, and the device may disappear meanwhile. */
static void test_firmware_scatter(void **state)
{
	struct nvme_io_qpair_opts few;
	struct nvme_qpair *narrow;
	unsigned int done = 0;
	int i;

	(void)state;
	listen("soft:size=16M");
	memset(&few, 0, sizeof(few));
	few.entries = 3;
	few.max_xfer_size = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &few, &narrow), 0);
	assert_int_equal(nvme_ns_cmd_read_large(ns, narrow, buf, 0, 128, count, &done, 0), 0);
	assert_int_equal(nvme_soft_set_plan(dev, "activation 50ms; aer firmware"), 0);
	polls(1);
	for (i = 0; i < 1000 && done == 0; i++) {
		assert_true(nvme_qpair_process_completions(narrow, 0) >= 0);
		polls(1);
	}
	assert_int_equal(done, 1);
	stop();
	listen("soft");
	assert_int_equal(nvme_soft_set_plan(dev, "activation never; aer firmware"), 0);
	polls(1);
	soft->gone = true;
	(void)nvme_ctrlr_process_admin_completions(ctrlr);
	assert_false(ctrlr->paused);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0), -ENODEV);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
}

/* ---- the callback ---- */

static void page_read(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg;
	assert_false(nvme_cpl_is_error(cpl));
	aer.read++;
}

static void busy_callback(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd = command(NVME_OPC_ABORT, 0);

	on_event(arg, cpl);
	aer.rc[0] = nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL);
	aer.rc[1] = nvme_detach(ctrlr);
	aer.rc[2] = nvme_ctrlr_process_admin_completions(ctrlr);
	aer.rc[3] = nvme_ctrlr_cmd_get_log_page(ctrlr, NVME_LOG_PAGE_SMART, NVME_NSID_ALL, buf, 512,
	                                        0, page_read, NULL);
	aer.rc[4] = nvme_ctrlr_register_aer_callback(ctrlr, on_event, arg);
	aer.rc[5] = nvme_ns_cmd_read(ns, qp, buf, 0, 1, count, &aer.read, 0);
}

static void register_in_callback(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	*(int *)arg = nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer);
}

static void test_callback(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_ABORT, 0);
	int rc = 0;

	(void)state;
	start("soft");
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, register_in_callback, &rc),
	                 0);
	polls(1);
	assert_int_equal(rc, -EBUSY);
	expect_said("nvme_ctrlr_register_aer_callback()", 1);
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, busy_callback, &aer), 0);
	smart();
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(aer.rc[0], -EBUSY);
	assert_int_equal(aer.rc[1], -EBUSY);
	assert_int_equal(aer.rc[2], -EBUSY);
	assert_int_equal(aer.rc[3], 0);
	assert_int_equal(aer.rc[4], 0);
	assert_int_equal(aer.rc[5], 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(aer.read, 2);
	smart(); /* the other callback */
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(aer.read, 2);
	stop();
}

/* the driver drops the requests itself, and the callback does not hear of that. */
static void test_detach(void **state)
{
	(void)state;
	listen("soft");
	forget();
	stop();
	expect_said("aborting outstanding command", 4);
	expect_said("ASYNC EVENT REQUEST (0c) qid:0", 4);
	expect_said("ABORTED - SQ DELETION (00/08)", 4);
	expect_said("not sent again", 0);
	assert_int_equal(aer.calls, 0);
	/* an event that was told, and the page that is being read */
	listen("soft");
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page drop"), 0);
	smart();
	polls(3);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	forget();
	stop();
	expect_said("aborting outstanding command", 5);
	expect_said("could not be read", 0);
	assert_int_equal(aer.calls, 0);
}

/* After a reset of the controller events are armed again, and what went with it is no event. */
static void test_armed_again(void **state)
{
	struct nvme_qpair *aq;
	uint32_t i;

	(void)state;
	listen("soft");
	aq = ctrlr->adminq;
	nvme_soft_set_plan(dev, "");
	for (i = 0; i < aq->num_trackers; i++) { /* as a reset ends them */
		struct nvme_cpl cpl;

		memset(&cpl, 0, sizeof(cpl));
		cpl.status = (uint16_t)NVME_SET(NVME_SC_ABORTED_SQ_DELETION, NVME_CPL_SC);
		if (aq->trackers[i].outstanding)
			nvme_complete_request(aq, &aq->trackers[i], &cpl);
	}
	soft->num_aers = 0;
	soft->features[NVME_FEAT_ASYNC_EVENT_CONFIG] = 0;
	assert_int_equal(ctrlr->events->outstanding, 0);
	polls(2);
	assert_int_equal(soft->num_aers, 0);
	expect_said("not sent again", 0);
	assert_int_equal(nvme__ctrlr_arm_events(ctrlr), 0);
	assert_int_equal(soft->num_aers, 4);
	smart();
	settle();
	assert_int_equal(aer.calls, 1);
	stop();
}

/* ---- keep alive ---- */

static struct nvme_ctrlr_opts alive(uint32_t ms)
{
	struct nvme_ctrlr_opts opts = defaults;

	opts.keep_alive_timeout_ms = ms;
	return opts;
}

static bool is_fatal(void)
{
	return NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS), NVME_CSTS_CFS) != 0;
}

static void test_keep_alive(void **state)
{
	unsigned int i, n = 0;
	uint64_t before;

	(void)state;
	start_with("soft:kas=10", alive(5500));
	assert_int_equal(nvme_ctrlr_get_opts(ctrlr)->keep_alive_timeout_ms, 6000);
	assert_int_equal(soft->features[NVME_FEAT_KEEP_ALIVE_TIMER], 6000);
	polls(3);
	assert_int_equal(sent(NVME_OPC_KEEP_ALIVE), 0);
	for (i = 0; i < 600; i++) { /* a minute */
		before = admin_cmds();
		advance(100);
		polls(2);
		n += (unsigned int)(admin_cmds() - before);
	}
	assert_in_range(n, 19, 21); /* every 3 s */
	assert_false(is_fatal());
	stop();
	/* nobody polls */
	start_with("soft:kas=10", alive(6000));
	advance(5900);
	assert_false(is_fatal());
	advance(200);
	assert_true(is_fatal());
	assert_int_equal(nvme_detach(ctrlr), -EIO);
	/* one at a time */
	start_with("soft:kas=1,plan=on keep-alive drop", alive(1000));
	soft->keep_alive_at = NVME_SOFT__NEVER;
	for (i = 0; i < 80; i++) {
		advance(100);
		polls(2);
	}
	assert_int_equal(sent(NVME_OPC_KEEP_ALIVE), 1);
	stop();
	expect_said("a Keep Alive failed", 0);
}

static void test_keep_alive_not_there(void **state)
{
	(void)state;
	start_with("soft", alive(5500));
	expect_said("the controller has no keep alive (KAS is 0)", 1);
	assert_int_equal(nvme_ctrlr_get_opts(ctrlr)->keep_alive_timeout_ms, 0);
	advance(60000);
	polls(3);
	assert_int_equal(sent(NVME_OPC_KEEP_ALIVE), 0);
	assert_int_equal(sent(NVME_OPC_SET_FEATURES), 1);
	stop();
	start_with("soft:kas=10,plan=on set-features #2 status 0/02", alive(5500));
	expect_said("the controller refuses the Keep Alive Timer", 1);
	assert_int_equal(nvme_ctrlr_get_opts(ctrlr)->keep_alive_timeout_ms, 0);
	stop();
	start_with("soft:kas=10,plan=on keep-alive status 0/06", alive(2000));
	soft->keep_alive_at = NVME_SOFT__NEVER; /* it is more patient than it says */
	advance(1000);
	polls(2);
	advance(500); /* not yet */
	polls(2);
	assert_int_equal(sent(NVME_OPC_KEEP_ALIVE), 1);
	advance(600);
	polls(2);
	assert_int_equal(sent(NVME_OPC_KEEP_ALIVE), 2);
	expect_said("a Keep Alive failed: the controller may stop after 2000 ms", 1);
	stop();
	assert_int_equal(nvme__keep_alive_round(1, 1000), 1000);
	assert_int_equal(nvme__keep_alive_round(1000, 1000), 1000);
	assert_int_equal(nvme__keep_alive_round(1001, 1000), 2000);
	assert_int_equal(nvme__keep_alive_round(UINT32_MAX, 100), UINT32_MAX / 100 * 100);
	assert_int_equal(nvme__keep_alive_round(UINT32_MAX, 6553500), 4292542500u);
}

/* A Format takes longer than the timer. */
static void test_keep_alive_format(void **state)
{
	struct nvme_format format;

	(void)state;
	memset(&format, 0, sizeof(format));
	start_with("soft:size=1M,kas=10,plan=on format-nvm delay 30s", alive(4000));
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), 0);
	assert_true(sent(NVME_OPC_KEEP_ALIVE) >= 10);
	assert_false(is_fatal());
	stop();
}

/* ---- the error log ---- */

static struct nvme_ctrlr_opts with_error_log(void)
{
	struct nvme_ctrlr_opts opts = defaults;

	opts.read_error_log = true;
	return opts;
}

/* A read past the end, which only a raw command can send. */
static void bad_read(uint64_t lba)
{
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1);
	unsigned int done = 0;

	cmd.cdw10 = (uint32_t)lba;
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, buf, 512, count, &done), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(done, 1);
}

static void test_error_log(void **state)
{
	unsigned int i;

	(void)state;
	start_with("soft:size=1M", with_error_log());
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	forget();
	bad_read(5000);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0); /* not in the thread of the queue pair */
	polls(1);
	assert_int_equal(latest(0).opc, NVME_OPC_GET_LOG_PAGE);
	assert_int_equal(latest(0).cdw10, 1023u << 16 | 1u << 15 | NVME_LOG_PAGE_ERROR); /* RAE */
	polls(1);
	expect_said("error log: READ sqid:1 cid:", 1);
	expect_said("LBA OUT OF RANGE (00/80), lba:5000 nsid:1, byte 40 bit 0 of the command", 1);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	/* two with the same CID, and one of the admin queue: one page tells of all */
	forget();
	bad_read(6000);
	bad_read(7000);
	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, 0xc0, 0, buf, 512, 0, NULL), -EIO);
	settle();
	expect_said("error log: READ", 2);
	expect_said("lba:7000 nsid:1", 2); /* the newest of this CID, for both */
	expect_said("error log: GET LOG PAGE (02) qid:0", 1);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 3);
	/* more than are kept */
	forget();
	for (i = 0; i < 20; i++)
		bad_read(5000 + i);
	settle();
	expect_said("error log: READ", 16);
	expect_said("error log: 4 more completions with M were not looked up", 1);
	forget();
	bad_read(9000);
	settle();
	expect_said("error log: READ", 1);
	expect_said("more completions", 0);
	stop();
}

static void test_error_log_fails(void **state)
{
	(void)state;
	/* the look at the log fails itself, and has more to tell */
	start_with("soft:size=1M,plan=on get-log-page status 0/02 more", with_error_log());
	bad_read(5000);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	expect_said("the error log could not be read: what it says of 1 errors is not known", 1);
	expect_said("error log: READ", 0);
	bad_read(5000);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 2);
	stop();
	/* and so may the page of an event */
	start_with("soft:size=1M,plan=on get-log-page status 0/02 more", with_error_log());
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	smart();
	settle();
	assert_int_equal(aer.calls, 1);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 1);
	stop();
	/* no entry of the command, or one with another status */
	start_with("soft:size=1M", with_error_log());
	bad_read(5000);
	soft->num_errors = 0;
	settle();
	expect_said("error log: READ", 1);
	expect_said("it has no entry of this", 1);
	bad_read(5000);
	soft->errors[0].sts ^= 2;
	settle();
	expect_said("it has no entry of this", 2);
	bad_read(5000);
	soft->errors[1].sqid = 9;
	soft->errors[0].sqid = 9;
	settle();
	expect_said("it has no entry of this", 3);
	bad_read(5000);
	soft->errors[2].cid++;
	settle();
	expect_said("it has no entry of this", 4);
	stop();
	/* without M, or without the option, it is not looked at */
	start_with("soft:size=1M,plan=on read status 2/81", with_error_log());
	bad_read(0);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	stop();
	start("soft:size=1M");
	bad_read(5000);
	settle();
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 0);
	assert_null(ctrlr->events);
	stop();
	/* a short log is asked for no more than it has */
	start_with("soft:size=1M,plan=identify elpe=2", with_error_log());
	bad_read(5000);
	settle();
	assert_int_equal(latest(0).cdw10 >> 16, 3 * 16 - 1);
	expect_said("LBA OUT OF RANGE", 2); /* the completion, and the entry */
	stop();
	/* and a long one no more than there is room for */
	start_with("soft:size=1M,plan=identify elpe=255", with_error_log());
	bad_read(5000);
	settle();
	assert_int_equal(latest(0).cdw10 >> 16, 1023);
	/* while the page is read at the detach */
	assert_int_equal(nvme_soft_set_plan(dev, "on get-log-page drop"), 0);
	bad_read(5000);
	polls(1);
	forget();
	stop();
	expect_said("could not be read", 0);
}

/* Events and the error log share a page: one after the other. */
static void test_error_log_and_event(void **state)
{
	(void)state;
	start_with("soft:size=1M", with_error_log());
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	forget();
	smart();
	bad_read(5000);
	ring(NVME_SQ_TDBL(50, 0), 1);
	settle();
	assert_int_equal(aer.calls, 2);
	assert_int_equal(sent(NVME_OPC_GET_LOG_PAGE), 3);
	expect_said("error log: READ", 1);
	expect_said("error log: error 2, queue 50", 1);
	expect_said("SMART: critical warning 02h temperature, 87 C", 1);
	ring(NVME_SQ_TDBL(50, 0), 1); /* acknowledged by the event's page, not by the other's RAE */
	settle();
	assert_int_equal(aer.calls, 3);
	stop();
}

/* ---- other threads ---- */

#define ROUNDS 200

struct other {
	pthread_t thread;
	struct nvme_qpair *qp;
	struct nvme_ns *ns; /* not the one that changes */
	uint8_t *buf;
};

/* Errors with M, and reads that may be held, while the main thread polls for events. */
static void *other_thread(void *arg)
{
	struct other *o = (struct other *)arg;
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1);
	unsigned int done, i;
	int rc;

	cmd.cdw10 = 1u << 30;
	for (i = 0; i < ROUNDS; i++) {
		done = 0;
		if (i % 2 != 0)
			rc = nvme_ctrlr_cmd_io_raw(ctrlr, o->qp, &cmd, o->buf, 512, count, &done);
		else
			rc = nvme_ns_cmd_read(o->ns, o->qp, o->buf, 0, 1, count, &done, 0);
		assert_true(rc == 0 || rc == -EAGAIN);
		while (rc == 0 && done == 0)
			assert_true(nvme_qpair_process_completions(o->qp, 0) >= 0);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct other others[2];
	int i;

	(void)state;
	start_with("soft:size=1M,ns=2,mode=thread", with_error_log());
	assert_int_equal(nvme_ctrlr_register_aer_callback(ctrlr, on_event, &aer), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &others[i].qp), 0);
		others[i].ns = nvme_ctrlr_get_ns(ctrlr, 2);
		others[i].buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
		assert_int_equal(pthread_create(&others[i].thread, NULL, other_thread, &others[i]),
		                 0);
	}
	for (i = 0; i < 2000 || (aer.calls < 5 && i < 10000000); i++) {
		if (i % 200 == 0)
			assert_int_equal(nvme_soft_set_plan(dev, "activation 1ms; aer firmware"),
			                 0);
		if (i % 200 == 100)
			assert_int_equal(nvme_soft_resize_ns(dev, 1, 1000 + (uint64_t)i % 7), 0);
		polls(1);
	}
	for (i = 0; i < 2; i++)
		pthread_join(others[i].thread, NULL);
	for (i = 0; i < 100000 && (ctrlr->events->count != 0 || ctrlr->paused); i++)
		polls(1);
	assert_true(aer.calls > 0);
	assert_int_equal(ctrlr->events->outstanding, 4);
	assert_true(looked_up > 0);
	stop();
}

/* ---- power ---- */

static uint32_t last_cc;

static void watch_cc(struct nvme_dev *d, uint32_t offset, uint32_t value)
{
	if (offset == NVME_REG_CC && NVME_GET(value, NVME_CC_SHN) != 0)
		last_cc = value;
	nvme_soft_write_4(d, offset, value);
}

static void test_power_state(void **state)
{
	uint32_t ps = 99, wh = 99;
	struct nvme_cpl cpl;

	(void)state;
	start("soft:ps=5");
	assert_int_equal(nvme_ctrlr_get_power_state(ctrlr, &ps, &wh, &cpl), 0);
	assert_int_equal(ps, 0);
	assert_int_equal(wh, 0);
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, 4, 2, &cpl), 0);
	assert_int_equal(latest(0).cdw10, NVME_FEAT_POWER_MANAGEMENT);
	assert_int_equal(latest(0).cdw11, 2u << 5 | 4);
	assert_int_equal(nvme_ctrlr_get_power_state(ctrlr, &ps, &wh, NULL), 0);
	assert_int_equal(ps, 4);
	assert_int_equal(wh, 2);
	assert_int_equal(nvme_ctrlr_get_power_state(ctrlr, NULL, NULL, NULL), 0);
	forget();
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, 5, 0, &cpl), -EINVAL);
	assert_true(nvme_cpl_is_error(&cpl));
	expect_said("the controller has states 0 to 4 (NPSS), and hints are 0 to 7", 1);
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, 0, 8, NULL), -EINVAL);
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, UINT32_MAX, 0, NULL), -EINVAL);
	assert_int_equal(nvme_soft_set_plan(dev, "on get-features status 0/02"), 0);
	ps = 99;
	assert_int_equal(nvme_ctrlr_get_power_state(ctrlr, &ps, &wh, &cpl), -EIO);
	assert_int_equal(ps, 99);
	assert_int_equal(nvme_soft_set_plan(dev, "on set-features status 0/02"), 0);
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, 0, 0, &cpl), -EIO);
	stop();
	start("soft:ps=5"); /* a controller that says more than 32 */
	ctrlr->data.npss = 255;
	assert_int_equal(nvme_ctrlr_set_power_state(ctrlr, 32, 0, NULL), -EINVAL);
	stop();
}

static void test_apst(void **state)
{
	struct nvme_apst table[NVME_APST_STATES], got[NVME_APST_STATES];
	bool enable = true;

	(void)state;
	memset(table, 0, sizeof(table));
	start("soft:ps=5"); /* 3 and 4 are non-operational */
	assert_int_equal(nvme_ctrlr_get_apst(ctrlr, &enable, got, NULL), 0);
	assert_false(enable);
	assert_memory_equal(got, table, sizeof(table));
	table[0].idle_ms = 100;
	table[0].ps = 3;
	table[3].idle_ms = 16777215;
	table[3].ps = 4;
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, true, table, NULL), 0);
	assert_true(soft->apst[0] == (100u << 8 | 3 << 3));
	assert_int_equal(nvme_ctrlr_get_apst(ctrlr, &enable, got, NULL), 0);
	assert_true(enable);
	assert_memory_equal(got, table, sizeof(table));
	assert_int_equal(nvme_ctrlr_get_apst(ctrlr, NULL, NULL, NULL), 0);
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, false, NULL, NULL), 0);
	assert_int_equal(nvme_ctrlr_get_apst(ctrlr, &enable, got, NULL), 0);
	assert_false(enable);
	assert_int_equal(got[0].idle_ms, 0);
	stop();
}

static void refuse_apst(uint32_t at, uint32_t idle_ms, uint32_t ps, const char *why)
{
	struct nvme_apst table[NVME_APST_STATES];
	struct nvme_cpl cpl;

	memset(table, 0, sizeof(table));
	table[0].idle_ms = 5;
	table[0].ps = 4;
	table[at].idle_ms = idle_ms;
	table[at].ps = ps;
	forget();
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, true, table, &cpl), -EINVAL);
	assert_true(nvme_cpl_is_error(&cpl));
	expect_said(why, 1);
}

static void test_apst_refused(void **state)
{
	struct nvme_apst table[NVME_APST_STATES];
	uint64_t before;

	(void)state;
	memset(table, 0, sizeof(table));
	start("soft:ps=5");
	before = admin_cmds();
	refuse_apst(1, 16777216, 3, "at state 1 (the idle time is at most 16777215 ms)");
	refuse_apst(2, 5, 5, "at state 2 (there is no such state to go to (NPSS))");
	refuse_apst(2, 5, 0xffffffff, "there is no such state to go to");
	refuse_apst(3, 5, 2, "at state 3 (the state to go to is an operational one (NOPS))");
	refuse_apst(5, 5, 4, "at state 5 (there is no such state (NPSS))");
	refuse_apst(31, 0, 4, "at state 31 (without an idle time there is no state to go to)");
	forget();
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, true, table, NULL), -EINVAL);
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, true, NULL, NULL), -EINVAL);
	expect_said("at state 0 (it is switched on without any transition)", 2);
	assert_int_equal(admin_cmds(), before);
	stop();
	start("soft");
	assert_int_equal(nvme_ctrlr_set_apst(ctrlr, true, table, NULL), -ENOTSUP);
	expect_said("APSTA bit 0", 1);
	assert_int_equal(nvme_ctrlr_get_apst(ctrlr, NULL, NULL, NULL), -EIO);
	stop();
}

/* what CC.SHN says */
static void test_abrupt(void **state)
{
	struct nvme_dev_ops ops = *nvme_soft_dev_ops("soft");
	struct nvme_ctrlr_opts opts = defaults;
	unsigned int i;

	(void)state;
	ops.write_4 = watch_cc;
	opts.dev_ops = &ops;
	for (i = 0; i < 4; i++) {
		last_cc = 0;
		start_with("soft", opts);
		if (i != 0)
			nvme_ctrlr_set_abrupt_shutdown(ctrlr, i != 2);
		stop();
		assert_int_equal(NVME_GET(last_cc, NVME_CC_SHN),
		                 i % 2 != 0 ? NVME_CC_SHN_ABRUPT : NVME_CC_SHN_NORMAL);
	}
}

/* ---- texts ---- */

static void test_texts(void **state)
{
	struct nvme_error_log_entry e;
	char text[NVME_TEXT_MAX];
	uint32_t cdw0;

	(void)state;
	for (cdw0 = 0; cdw0 < 0x10000; cdw0++) /* whatever a device says */
		assert_true(nvme_format_aer(text, sizeof(text), cdw0 | 0xff000000u) <
		            (int)sizeof(text));
	nvme_format_aer(text, sizeof(text), 0xffffffff);
	assert_string_equal(text, "VENDOR SPECIFIC: RESERVED / VENDOR SPECIFIC (7/ff) log page:ff");
	nvme_format_aer(text, sizeof(text), 0x00700005);
	assert_string_equal(text, "RESERVED: RESERVED / VENDOR SPECIFIC (5/00) log page:70");
	assert_string_equal(nvme_aer_info_name(NVME_AER_TYPE_NOTICE, 0xf0), "DISCOVERY LOG CHANGE");
	assert_string_equal(nvme_aer_type_name(4), "ONE-SHOT");
	memset(&e, 0xff, sizeof(e));
	assert_true(nvme_format_error_entry(text, sizeof(text), &e) < (int)sizeof(text));
	e.pel = 0x7ff;
	assert_true(nvme_format_error_entry(text, sizeof(text), &e) < (int)sizeof(text));
	assert_non_null(strstr(text, ", byte 255 bit 7 of the command"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off_by_default),
		cmocka_unit_test(test_arming),
		cmocka_unit_test(test_arming_limits),
		cmocka_unit_test(test_arming_fails),
		cmocka_unit_test(test_smart),
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_no_callback),
		cmocka_unit_test(test_other_pages),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_page_fails),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_namespace),
		cmocka_unit_test(test_namespace_refused),
		cmocka_unit_test(test_namespace_and_format),
		cmocka_unit_test(test_bad_doorbells),
		cmocka_unit_test(test_firmware),
		cmocka_unit_test(test_firmware_too_long),
		cmocka_unit_test(test_firmware_and_format),
		cmocka_unit_test(test_firmware_scatter),
		cmocka_unit_test(test_callback),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_armed_again),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_keep_alive_not_there),
		cmocka_unit_test(test_keep_alive_format),
		cmocka_unit_test(test_error_log),
		cmocka_unit_test(test_error_log_fails),
		cmocka_unit_test(test_error_log_and_event),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_power_state),
		cmocka_unit_test(test_apst),
		cmocka_unit_test(test_apst_refused),
		cmocka_unit_test(test_abrupt),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
