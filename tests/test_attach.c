/* SPDX-License-Identifier: MIT
 *
 * Bringing a controller up and down: reset and enable from every state it may be found in, time
 * limits, identify data that cannot be true, shutdown. Every failure must leave nothing behind and
 * say in the log what is wrong and what to do.
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

#define TO_MS 2000 /* CAP.TO = 4 */

static struct fake fake;

/* "what is wrong: what to do", with the context in brackets before it. */
static void check_errors(void)
{
	const char *at = fake.text;

	while ((at = strstr(at, "*ERROR*: ")) != NULL) {
		const char *end = strchr(at, '\n'), *colon;

		at += strlen("*ERROR*: ");
		if (*at == '[')
			at = strchr(at, ']') + 2;
		colon = strchr(at, ':');
		if (colon == NULL || colon > end || colon - at < 10 || end - colon < 10)
			fail_msg("not a cause and a fix: %.*s", (int)(end - at), at);
	}
}

static void check_failed(struct nvme_ctrlr *ctrlr)
{
	assert_null(ctrlr);
	assert_false(fake.open);
	assert_int_equal(fake.num_maps, 0);
	if (!fake.gone)
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
	assert_true(fake.lines[NVME_LOG_ERROR] > 0);
	check_errors();
}

static void expect_failure(int want)
{
	struct nvme_ctrlr_opts opts = fake_opts(&fake);
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)(void *)&fake;
	int rc = nvme_attach("fake", &opts, &ctrlr);

	if (rc != want)
		fail_msg("%d instead of %d:\n%s", rc, want, fake.text);
	check_failed(ctrlr);
}

static void stop(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_false(fake.open);
	assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
}

static uint64_t elapsed_ms(uint64_t from)
{
	return (fake.now - from) / FAKE_MS;
}

/* ---- states ---- */

static void check_states(const char *const *want)
{
	const char *at = fake.text, *end;

	for (; *want != NULL; want++) {
		at = strstr(at, "setting state to ");
		if (at == NULL)
			fail_msg("no state %s", *want);
		at += strlen("setting state to ");
		end = strstr(at, " (");
		if (strlen(*want) != (size_t)(end - at) || strncmp(at, *want, strlen(*want)) != 0)
			fail_msg("state %.*s instead of %s", (int)(end - at), at, *want);
		at = end;
	}
}

#define STATES_BEFORE "delay init", "read vs", "read cap", "check en"
#define STATES_AFTER                                                                               \
	"disable and wait for CSTS.RDY = 0", "controller is disabled", "connect adminq",           \
		"enable controller by writing CC.EN = 1", "wait for CSTS.RDY = 1",                 \
		"reset admin queue", "identify controller", "wait for identify controller",        \
		"set number of queues", "wait for set number of queues", "identify active ns",     \
		"wait for identify active ns", "identify ns", "wait for identify ns",              \
		"identify namespace id descriptors", "wait for identify namespace id descriptors", \
		"identify ns", "wait for identify ns", "identify namespace id descriptors",        \
		"wait for identify namespace id descriptors", "ready", NULL

static void test_start_states(void **state)
{
	static const char *const down[] = {STATES_BEFORE, STATES_AFTER};
	static const char *const up[] = {STATES_BEFORE, "set CC.EN = 0", STATES_AFTER};
	static const char *const rising[] = {STATES_BEFORE, "disable and wait for CSTS.RDY = 1",
	                                     "set CC.EN = 0", STATES_AFTER};
	static const struct {
		bool en, rdy;
		uint64_t change_ms, least_ms, most_ms;
		const char *const *states;
	} rows[] = {
		{false, false, FAKE_NEVER, 0, 100, down},
		{true, true, FAKE_NEVER, 0, 100, up},
		{true, false, 700, 700, 800, rising},
		{false, true, 900, 900, 1000, down},
		{true, false, FAKE_NEVER, TO_MS, TO_MS + 100, rising},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr_opts opts;
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		fake.cc = rows[i].en ? 0x00460001 : 0;
		fake.rdy = rows[i].rdy;
		fake.rdy_next = !rows[i].rdy;
		if (rows[i].change_ms != FAKE_NEVER)
			fake.rdy_at = rows[i].change_ms * FAKE_MS;
		opts = fake_opts(&fake);
		opts.log_level = NVME_LOG_DEBUG;
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
		check_states(rows[i].states);
		assert_true(elapsed_ms(0) >= rows[i].least_ms && elapsed_ms(0) < rows[i].most_ms);
		assert_int_equal(fake.cc, 0x00460001); /* IOCQES 4, IOSQES 6, MPS 0, NVM, EN */
		assert_int_equal(fake.lines[NVME_LOG_ERROR], 0);
		stop(ctrlr);
	}
	print_message("%u start states\n", i);
}

static void test_admin_queue_size(void **state)
{
	static const uint32_t sizes[] = {2, 3, 32, 4096};
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct nvme_ctrlr_opts opts;
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		opts = fake_opts(&fake);
		opts.admin_queue_size = sizes[i];
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
		assert_int_equal(fake.aqa, (sizes[i] - 1) | (sizes[i] - 1) << 16);
		stop(ctrlr);
	}
}

/* ---- time limits ---- */

static void test_ready_timeout(void **state)
{
	static const struct {
		uint32_t to;
		uint64_t up_ms;
		int rc;
		uint32_t crms, crto;
	} rows[] = {
		/* the clock goes on by 1 ms when it is read: twice before the last look at CSTS */
		{4, TO_MS - 1, 0, 0, 0},
		{4, TO_MS, 0, 0, 0},
		{4, TO_MS + 4, -ETIMEDOUT, 0, 0},
		{1, 500, 0, 0, 0},
		{1, 504, -ETIMEDOUT, 0, 0},
		{0, 499, 0, 0, 0},
		{0, 504, -ETIMEDOUT, 0, 0},
		{255, 127500, 0, 0, 0},
		{255, 127504, -ETIMEDOUT, 0, 0},
		{4, 0, 0, 0, 0},
		{4, FAKE_NEVER, -ETIMEDOUT, 0, 0},
		/* CRTO.CRWMT, if CAP.CRMS has CRWMS and it is the larger one */
		{255, 200000, 0, NVME_CAP_CRMS_CRWMS, 400},
		{255, 200004, -ETIMEDOUT, NVME_CAP_CRMS_CRWMS, 400},
		{4, TO_MS, 0, NVME_CAP_CRMS_CRWMS, 1},
		{0, 504, -ETIMEDOUT, NVME_CAP_CRMS_CRWMS, 0},
		{4, TO_MS + 4, -ETIMEDOUT, NVME_CAP_CRMS_CRIMS, 400},
		{4, TO_MS + 4, -ETIMEDOUT, 0, 400},
		{4, TO_MS + 4, -ETIMEDOUT, NVME_CAP_CRMS_CRWMS, 400u << 16}, /* CRIMT */
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_init(&fake);
		fake.cap &= ~NVME_SET64(0xff, NVME_CAP_TO);
		fake.cap |= NVME_SET64(rows[i].to, NVME_CAP_TO);
		fake.cap |= NVME_SET64(rows[i].crms, NVME_CAP_CRMS);
		fake.crto = rows[i].crto;
		fake.up_ms = rows[i].up_ms;
		if (rows[i].rc == 0) {
			stop(fake_attach(&fake));
			continue;
		}
		expect_failure(rows[i].rc);
		/* a limit that is missed is missed by 4 ms here */
		assert_true(elapsed_ms(0) <
		            (rows[i].up_ms == FAKE_NEVER ? TO_MS : rows[i].up_ms) + 100);
		assert_int_equal(fake_logged(&fake, "wait for CSTS.RDY = 1"), 1);
		assert_int_equal(fake.resets, 0);
	}
	print_message("%u timeouts\n", i);
}

static void test_never_down(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.cc = 0x00460001;
	fake.rdy = true;
	fake.down_ms = FAKE_NEVER;
	expect_failure(-ETIMEDOUT);
	assert_int_equal(fake_logged(&fake, "disable and wait for CSTS.RDY = 0"), 1);
	assert_int_equal(fake.cmds, 0);
}

/* ---- CFS ---- */

static void test_cfs_at_enable(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.cfs_enables = 99;
	expect_failure(-EIO);
	assert_true(elapsed_ms(0) < 100); /* does not wait for TO */
	assert_int_equal(fake.resets, 1);
	assert_int_equal(fake.cfs_enables, 97); /* two attempts */
	assert_int_equal(fake_logged(&fake, "CSTS.CFS"), 2);

	fake_init(&fake);
	fake.cfs_enables = 1;
	stop(fake_attach(&fake));
	assert_int_equal(fake.resets, 1);
	assert_int_equal(fake.lines[NVME_LOG_WARNING], 1);

	fake_init(&fake);
	fake.cfs_enables = 99;
	fake.reset_heals = true;
	stop(fake_attach(&fake));
	assert_int_equal(fake.resets, 1);

	fake_init(&fake);
	fake.cfs_enables = 1;
	fake.ops.reset = NULL; /* EN = 0 is a reset, too */
	stop(fake_attach(&fake));
	assert_int_equal(fake.resets, 0);
}

/* A reset during which the admin rings fill up with rubbish, valid phase bits included. */
static int dirty_reset(struct nvme_dev *dev)
{
	uint8_t dirt[512];

	memset(dirt, 0xff, sizeof(dirt));
	fake_copy(&fake, fake.acq, dirt, sizeof(dirt), true);
	return fake_reset(dev);
}

static void test_stale_admin_queue(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.cfs_enables = 1;
	fake.ops.reset = dirty_reset;
	stop(fake_attach(&fake));
	assert_int_equal(fake.resets, 1);
	assert_int_equal(fake_logged(&fake, "does not map"), 0);
}

static void test_cfs_found(void **state)
{
	(void)state;
	fake_init(&fake); /* left behind by the last owner */
	fake.cc = 0x00460001;
	fake.rdy = fake.cfs = true;
	stop(fake_attach(&fake));
	assert_true(elapsed_ms(0) < 100);
}

static uint64_t cfs_at; /* ns; FAKE_NEVER: not any more */

static uint64_t clock_with_cfs(struct nvme_dev *dev)
{
	uint64_t now = fake_now_ns(dev);

	if (now >= cfs_at) {
		fake.cfs = true;
		cfs_at = FAKE_NEVER;
	}
	return now;
}

/* Found on its way up, and it fails there: nobody waits for CAP.TO, EN = 0 clears it. */
static void test_cfs_on_its_way_up(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		fake_init(&fake);
		fake.cc = 0x00460001;
		fake.rdy_next = true;
		fake.rdy_at = FAKE_NEVER;
		fake.cfs = i == 0;
		cfs_at = i == 0 ? FAKE_NEVER : 300 * FAKE_MS;
		fake.ops.now_ns = clock_with_cfs;
		stop(fake_attach(&fake));
		assert_true(elapsed_ms(0) < (i == 0 ? 100 : 400));
		assert_true(i == 0 || elapsed_ms(0) >= 300);
	}
}

static enum fake_verdict cfs_at_identify(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                         struct nvme_cpl *cpl)
{
	(void)qid, (void)cmd, (void)cpl;
	f->cfs = true;
	return FAKE_DROP;
}

static void test_cfs_at_identify(void **state)
{
	(void)state;
	fake_init(
		&fake); /* as when ASQ points to no memory: RDY, and CFS with the first doorbell */
	fake.hook = cfs_at_identify;
	expect_failure(-EIO);
	assert_true(elapsed_ms(0) < 1000);
}

/* ---- a device that is not there ---- */

static void test_gone(void **state)
{
	uint64_t commands, reads, i;

	(void)state;
	fake_init(&fake);
	fake.gone = true;
	expect_failure(-ENODEV);
	assert_int_equal(fake.writes, 0);

	fake_init(&fake);
	stop(fake_attach(&fake));
	commands = fake.cmds;
	reads = fake.csts_reads;
	assert_true(commands >= 7 && reads >= 4);
	for (i = 1; i <= commands; i++) {
		fake_init(&fake);
		fake.gone_at_cmd = i;
		expect_failure(-ENODEV);
		assert_int_equal(fake.writes_after_gone, 0);
		assert_int_equal(fake_logged(&fake, "the device is gone ("), 1);
	}
	for (i = 1; i <= 3; i++) { /* the rest is shutdown */
		fake_init(&fake);
		fake.gone_at_csts = i;
		expect_failure(-ENODEV);
		assert_int_equal(fake.writes_after_gone, 0);
	}
	print_message("%u points to disappear at\n", (unsigned int)commands + 4);
}

static void test_gone_at_shutdown(void **state)
{
	struct nvme_ctrlr *ctrlr;

	(void)state;
	fake_init(&fake);
	ctrlr = fake_attach(&fake);
	fake.gone_at_csts = fake.csts_reads + 1;
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_false(fake.open);
	assert_int_equal(fake.writes_after_gone, 0);
	check_errors();
}

/* VS reads as all ones, CSTS does not. */
static void test_no_version(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.vs = UINT32_MAX;
	expect_failure(-EIO);
}

/* ---- capabilities ---- */

static void test_mqes(void **state)
{
	static const struct {
		uint32_t mqes, want, get;
	} rows[] = {{1, 256, 2},    {1, 2, 2},          {2, 0, 3},          {63, 256, 64},
	            {63, 64, 64},   {63, 63, 63},       {255, 0, 256},      {1023, 1024, 1024},
	            {1023, 0, 256}, {1023, 1025, 1024}, {1023, 65536, 1024}};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		struct nvme_qpair *qp;

		fake_init(&fake);
		fake.cap &= ~NVME_SET64(0xffff, NVME_CAP_MQES);
		fake.cap |= NVME_SET64(rows[i].mqes, NVME_CAP_MQES);
		ctrlr = fake_attach(&fake);
		qp = fake_qpair(ctrlr, rows[i].want);
		assert_int_equal(nvme_qpair_get_entries(qp), rows[i].get);
		assert_int_equal(fake.sq[1].entries, rows[i].get);
		assert_int_equal(fake.cq[1].entries, rows[i].get);
		assert_int_equal(fake_logged(&fake, "CAP.MQES"),
		                 (rows[i].want ? rows[i].want : 256) > rows[i].mqes + 1);
		assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
		assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
		assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
		stop(ctrlr);
	}
	print_message("%u queue sizes\n", i);
}

static void test_page_sizes(void **state)
{
	unsigned int mpsmin;

	(void)state;
	for (mpsmin = 0; mpsmin < 16; mpsmin++) {
		struct nvme_ctrlr *ctrlr;
		uint8_t data[4096];

		fake_init(&fake);
		fake.cap |=
			NVME_SET64(mpsmin, NVME_CAP_MPSMIN) | NVME_SET64(mpsmin, NVME_CAP_MPSMAX);
		if (mpsmin > 8) { /* 2 MiB and more */
			expect_failure(-ENOTSUP);
			assert_int_equal(fake.writes, 0);
			continue;
		}
		ctrlr = fake_attach(&fake);
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_MPS), mpsmin);
		assert_int_equal(ctrlr->page_size, 4096u << mpsmin);
		memset(data, 0x3c, sizeof(data));
		assert_int_equal(nvme_ns_write(nvme_ctrlr_get_ns(ctrlr, 1), NULL, data, 8, 8, NULL),
		                 0);
		assert_memory_equal(fake.disk + 4096, data, sizeof(data));
		stop(ctrlr);
	}
}

static void test_senseless_cap(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.cap &= ~NVME_SET64(0xffff, NVME_CAP_MQES);
	expect_failure(-ENOTSUP);
	assert_int_equal(fake.writes, 0);

	fake_init(&fake);
	fake.cap |= NVME_SET64(15, NVME_CAP_DSTRD); /* the doorbells of queue 1 are beyond BAR0 */
	expect_failure(-ENOTSUP);

	fake_init(&fake);
	fake.bar0_size = 0x1000 + 16; /* exactly the doorbells of queues 0 and 1 */
	stop(fake_attach(&fake));

	fake_init(&fake);
	fake.bar0_size = 0x1000 + 12;
	expect_failure(-ENOTSUP);
}

static void test_command_sets(void **state)
{
	static const struct {
		uint32_t cap_css, cc_css, queues;
	} rows[] = {{0x01, 0, 8}, {0x41, 6, 8}, {0x40, 6, 8},
	            {0xc0, 6, 8}, {0x80, 7, 0}, {0x00, 0, 8}};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		struct nvme_qpair *qp;

		fake_init(&fake);
		fake.cap &= ~NVME_SET64(0xff, NVME_CAP_CSS);
		fake.cap |= NVME_SET64(rows[i].cap_css, NVME_CAP_CSS);
		ctrlr = fake_attach(&fake);
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_CSS), rows[i].cc_css);
		assert_int_equal(nvme_ctrlr_get_num_io_queues(ctrlr), rows[i].queues);
		if (rows[i].queues == 0) {
			assert_int_equal(fake.cmds, 1); /* Identify Controller */
			assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 0);
			assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), -ENOSPC);
			assert_null(qp);
			check_errors();
		}
		stop(ctrlr);
	}
	print_message("%u values of CAP.CSS\n", i);
}

static void test_bad_options(void **state)
{
	static const struct {
		uint32_t admin_queue_size, num_io_queues, arb;
		size_t window;
		int rc;
	} rows[] = {
		{1, 0, 0, 0, -EINVAL},
		{4097, 0, 0, 0, -EINVAL},
		{0, 65535, 0, 0, -EINVAL},
		{UINT32_MAX, 0, 0, 0, -EINVAL},
		{0, 0, 2, 0, -EINVAL},
		{0, 0, NVME_CC_AMS_VS, 0, -EINVAL},
		{0, 0, 1, 0, -ENOTSUP}, /* the fake has no weighted round robin */
		{0, 0, 0, (size_t)1 << 40, -ENOSPC},
		{0, 0, 0, SIZE_MAX, -ENOSPC},
	};
	struct nvme_ctrlr *ctrlr;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr_opts opts;

		fake_init(&fake);
		opts = fake_opts(&fake);
		opts.admin_queue_size = rows[i].admin_queue_size;
		opts.num_io_queues = rows[i].num_io_queues;
		opts.arb_mechanism = rows[i].arb;
		opts.dma_window = rows[i].window;
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), rows[i].rc);
		check_failed(ctrlr);
		assert_int_equal(fake.writes, 0);
	}
	ctrlr = (struct nvme_ctrlr *)(void *)&fake;
	assert_int_equal(nvme_attach(NULL, NULL, &ctrlr), -EINVAL);
	assert_null(ctrlr);
	assert_int_equal(nvme_detach(NULL), 0);
	print_message("%u bad options\n", i);
}

/* ---- identify ---- */

static uint8_t edit_mdts;
static struct nvme_id_ns edit_ns; /* of namespace 1 */
static const uint32_t *edit_list;
static uint32_t edit_rtd3e;

static void edit_ctrlr(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	struct nvme_id_ctrlr *ctrlr = (struct nvme_id_ctrlr *)data;

	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_CTRLR) {
		ctrlr->mdts = edit_mdts;
		ctrlr->rtd3e = edit_rtd3e;
	}
}

static void test_mdts(void **state)
{
	static const struct {
		uint8_t mdts, mpsmin;
		uint32_t bytes;
	} rows[] = {
		{0, 0, 32 << 20},  {1, 0, 8192},       {2, 0, 16384},      {5, 0, 131072},
		{12, 0, 16 << 20}, {13, 0, 32 << 20},  {14, 0, 32 << 20},  {20, 0, 32 << 20},
		{32, 0, 32 << 20}, {64, 0, 32 << 20},  {255, 0, 32 << 20}, {1, 4, 131072},
		{8, 4, 16 << 20},  {9, 4, 32 << 20},   {255, 4, 32 << 20}, {4, 8, 16 << 20},
		{5, 8, 32 << 20},  {255, 8, 32 << 20},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		fake.cap |= NVME_SET64(rows[i].mpsmin, NVME_CAP_MPSMIN);
		fake.nsze = 1 << 20;
		fake.edit = edit_ctrlr;
		edit_mdts = rows[i].mdts;
		ctrlr = fake_attach(&fake);
		assert_int_equal(nvme_ctrlr_get_max_xfer_size(ctrlr), rows[i].bytes);
		assert_int_equal(nvme_ns_get_max_nlb(nvme_ctrlr_get_ns(ctrlr, 1), NULL),
		                 rows[i].bytes / 512);
		stop(ctrlr);
	}
	print_message("%u values of MDTS\n", i);
}

static void edit_namespace(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f;
	if (cns == NVME_ID_CNS_NS && nsid == 1)
		memcpy(data, &edit_ns, sizeof(edit_ns));
}

static void test_formats(void **state)
{
	static const struct {
		uint8_t flbas, nlbaf, at, lbads;
		uint16_t ms;
		bool kept;
		uint8_t nulbaf;
	} rows[] = {
		{0, 0, 0, 0, 0, false, 0},
		{0, 0, 0, 1, 0, false, 0},
		{0, 0, 0, 8, 0, false, 0},
		{0, 0, 0, 9, 0, true, 0},
		{0, 0, 0, 12, 0, true, 0},
		{0, 0, 0, 16, 0, true, 0},
		{0, 0, 0, 17, 0, false, 0},
		{0, 0, 0, 31, 0, false, 0},
		{0, 0, 0, 32, 0, false, 0},
		{0, 0, 0, 63, 0, false, 0},
		{0, 0, 0, 64, 0, false, 0},
		{0, 0, 0, 128, 0, false, 0},
		{0, 0, 0, 255, 0, false, 0},
		{1, 0, 1, 9, 0, false, 0}, /* index beyond NLBAF */
		{15, 14, 15, 9, 0, false, 0},
		{15, 15, 15, 9, 0, true, 0},
		{1, 1, 1, 9, 0, true, 0},
		{0x21, 1, 1, 9, 0, true, 0}, /* fewer than 17 formats: bits 6:5 are not part of the index */
		{0x21, 16, 17, 9, 0, false, 0},
		{0x21, 17, 17, 9, 0, true, 0},
		{0x6f, 63, 63, 9, 0, true, 0},
		{0x6f, 62, 63, 9, 0, false, 0},
		{0x6f, 255, 63, 9, 0, true, 0},
		{0x10, 0, 0, 9, 8, true, 0},
		{0x10, 0, 0, 9, 65535, true, 0},
		{0x00, 0, 0, 9, 8, true, 0},
		{0x10, 0, 0, 16, 65535, true, 0},
		{1, 0, 1, 12, 0, true, 1}, /* formats with attributes of their own follow */
		{2, 0, 2, 12, 0, false, 1},
		{0x21, 8, 1, 9, 0, true, 7}, /* 16 formats: still without bits 6:5 */
		{0x21, 8, 17, 12, 0, true, 9},
		{0x21, 8, 17, 12, 0, false, 8},
		{0x6f, 255, 63, 9, 0, true, 255},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		struct nvme_ns *ns;

		fake_init(&fake);
		fake.edit = edit_namespace;
		memset(&edit_ns, 0, sizeof(edit_ns));
		edit_ns.nsze = 100;
		edit_ns.flbas = rows[i].flbas;
		edit_ns.nlbaf = rows[i].nlbaf;
		edit_ns.nulbaf = rows[i].nulbaf;
		edit_ns.lbaf[rows[i].at].lbads = rows[i].lbads;
		edit_ns.lbaf[rows[i].at].ms = rows[i].ms;
		ctrlr = fake_attach(&fake);
		ns = nvme_ctrlr_get_ns(ctrlr, 1);
		assert_int_equal(ns != NULL, rows[i].kept);
		assert_non_null(nvme_ctrlr_get_ns(ctrlr, 2));
		assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), rows[i].kept ? 1 : 2);
		assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 1), 2);
		assert_int_equal(fake_logged(&fake, "namespace 1 is left out"), !rows[i].kept);
		if (ns != NULL) {
			assert_int_equal(nvme_ns_get_sector_size(ns), 1u << rows[i].lbads);
			assert_int_equal(nvme_ns_get_extended_sector_size(ns),
			                 (1u << rows[i].lbads) +
			                         (rows[i].flbas & 0x10 ? rows[i].ms : 0));
			assert_true(nvme_ns_get_max_nlb(ns, NULL) > 0);
		}
		stop(ctrlr);
	}
	print_message("%u formats\n", i);
}

static void test_separate_metadata(void **state)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct nvme_ns *ns;
	void *buf;

	(void)state;
	fake_init(&fake);
	fake.edit = edit_namespace;
	memset(&edit_ns, 0, sizeof(edit_ns));
	edit_ns.nsze = 100;
	edit_ns.lbaf[0].lbads = 9;
	edit_ns.lbaf[0].ms = 8;
	ctrlr = fake_attach(&fake);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	qp = fake_qpair(ctrlr, 4);
	buf = nvme_dma_alloc(ctrlr, 4096);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 1, NULL), -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_write(ns, qp, buf, 0, 1, nvme__sync_late, NULL, 0), -ENOTSUP);
	stop(ctrlr);
}

static void edit_active_list(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	uint32_t *list = (uint32_t *)data, i;

	if (cns == NVME_ID_CNS_NS && f->nn == UINT32_MAX)
		memcpy(data, &edit_ns, sizeof(edit_ns));
	if (cns != NVME_ID_CNS_ACTIVE_NS_LIST)
		return;
	memset(list, 0, 4096);
	for (i = 0; edit_list[i] != 0; i++)
		list[i] = edit_list[i];
	(void)nsid;
}

static void test_active_list(void **state)
{
	static const struct {
		uint32_t nn, list[6], kept[4];
	} rows[] = {
		{4, {0}, {0}},
		{4, {1, 2, 3, 4, 0}, {1, 2, 3, 4}},
		{4, {2, 4, 0}, {2, 4, 0}},
		{4, {1, 1, 2, 0}, {1, 0}},       /* repeats */
		{4, {2, 1, 0}, {2, 0}},          /* descends */
		{4, {1, 3, 2, 4, 0}, {1, 3, 0}}, /* descends later */
		{4, {5, 0}, {0}},                /* larger than NN */
		{4, {1, 5, 2, 0}, {1, 0}},       /* larger than NN */
		{4, {1, UINT32_MAX, 0}, {1, 0}}, /* means all namespaces */
		{UINT32_MAX, {1, 0xfffffffe, 0}, {1, 0xfffffffe, 0}},
		{UINT32_MAX, {1, UINT32_MAX, 0}, {1, 0}}, /* is no namespace whatever NN says */
	};
	unsigned int i, k;

	(void)state;
	memset(&edit_ns, 0, sizeof(edit_ns));
	edit_ns.nsze = 10;
	edit_ns.lbaf[0].lbads = 9;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		uint32_t nsid;

		fake_init(&fake);
		fake.nn = rows[i].nn;
		fake.edit = edit_active_list;
		edit_list = rows[i].list;
		ctrlr = fake_attach(&fake);
		nsid = nvme_ctrlr_get_first_active_ns(ctrlr);
		for (k = 0; k < 4 && rows[i].kept[k] != 0; k++) {
			assert_int_equal(nsid, rows[i].kept[k]);
			assert_int_equal(nvme_ns_get_id(nvme_ctrlr_get_ns(ctrlr, nsid)), nsid);
			nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid);
		}
		if (nsid != 0)
			fail_msg("row %u: NSID %" PRIu32 " was kept", i, nsid);
		assert_null(nvme_ctrlr_get_ns(ctrlr, 0));
		stop(ctrlr);
	}
	print_message("%u lists\n", i);
}

static unsigned int count_ns(const struct nvme_ctrlr *ctrlr)
{
	uint32_t nsid = 0;
	unsigned int n = 0;

	while ((nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) != 0)
		n++;
	return n;
}

static unsigned int count_cmds(uint32_t cns)
{
	unsigned int n = 0;
	uint64_t i;

	assert_true(fake.cmds <= FAKE_RING);
	for (i = 0; i < fake.cmds; i++)
		n += fake.log[i].qid == 0 && fake.log[i].cmd.opc == NVME_OPC_IDENTIFY &&
		     NVME_GET(fake.log[i].cmd.cdw10, NVME_IDENTIFY_CNS) == cns;
	return n;
}

static void test_many_namespaces(void **state)
{
	static const struct {
		uint32_t nn, vs;
		unsigned int kept, pages, warnings;
	} rows[] = {
		{0, 0x10400, 0, 1, 0},
		{1023, 0x10400, 1023, 1, 0},
		{1024, 0x10400, 1024, 2, 0},
		{1025, 0x10400, 1024, 2, 1},
		{3000, 0x10400, 1024, 2, 1},
		{UINT32_MAX, 0x10400, 1024, 2, 1},
		{3, 0x10000, 3, 0, 0},
		{0, 0x10000, 0, 0, 0},
		{UINT32_MAX, 0x10000, 1024, 0, 0},
		{3, 0x10100, 3, 1, 0},
		{3, 0x20100, 3, 1, 0},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		fake.nn = rows[i].nn;
		fake.vs = rows[i].vs;
		ctrlr = fake_attach(&fake);
		assert_int_equal(count_ns(ctrlr), rows[i].kept);
		assert_int_equal(count_cmds(NVME_ID_CNS_ACTIVE_NS_LIST), rows[i].pages);
		assert_int_equal(count_cmds(NVME_ID_CNS_NS), rows[i].kept);
		assert_int_equal(count_cmds(NVME_ID_CNS_NS_ID_DESC),
		                 rows[i].vs >= NVME_VS_SET(1, 3, 0) ? rows[i].kept : 0);
		assert_int_equal(fake.lines[NVME_LOG_WARNING], rows[i].warnings);
		stop(ctrlr);
	}
	print_message("%u controllers\n", i);
}

static enum fake_verdict no_active_list(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                        struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != NVME_OPC_IDENTIFY ||
	    NVME_GET(cmd->cdw10, NVME_IDENTIFY_CNS) != NVME_ID_CNS_ACTIVE_NS_LIST)
		return FAKE_EXEC;
	cpl->status = 0x02 << 1; /* invalid field */
	return FAKE_ANSWER;
}

static enum fake_verdict no_ns_1(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                 struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != NVME_OPC_IDENTIFY || cmd->nsid != 1)
		return FAKE_EXEC;
	cpl->status = 0x0b << 1; /* invalid namespace */
	return FAKE_ANSWER;
}

static enum fake_verdict no_names(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                  struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != NVME_OPC_IDENTIFY ||
	    NVME_GET(cmd->cdw10, NVME_IDENTIFY_CNS) != NVME_ID_CNS_NS_ID_DESC)
		return FAKE_EXEC;
	cpl->status = 0x02 << 1;
	return FAKE_ANSWER;
}

static void test_identify_refused(void **state)
{
	struct nvme_ctrlr *ctrlr;

	(void)state;
	fake_init(&fake);
	fake.nn = 5;
	fake.hook = no_active_list;
	ctrlr = fake_attach(&fake);
	assert_int_equal(count_ns(ctrlr), 5);
	stop(ctrlr);

	fake_init(&fake);
	fake.hook = no_names;
	ctrlr = fake_attach(&fake);
	assert_int_equal(count_ns(ctrlr), 2);
	assert_null(nvme_ns_get_eui64(nvme_ctrlr_get_ns(ctrlr, 1)));
	stop(ctrlr);

	fake_init(&fake);
	fake.nn = 3;
	fake.hook = no_ns_1; /* its list of active namespaces that come after 1 is not asked for */
	ctrlr = fake_attach(&fake);
	assert_int_equal(count_ns(ctrlr), 2);
	assert_null(nvme_ctrlr_get_ns(ctrlr, 1));
	assert_int_equal(nvme_ns_get_eui64(nvme_ctrlr_get_ns(ctrlr, 2))[7], 2);
	stop(ctrlr);
}

static enum fake_verdict refuse_all(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                    struct nvme_cpl *cpl)
{
	(void)f, (void)qid, (void)cmd;
	cpl->status = 0x06 << 1;
	return FAKE_ANSWER;
}

static enum fake_verdict drop_all(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                  struct nvme_cpl *cpl)
{
	(void)f, (void)qid, (void)cmd, (void)cpl;
	return FAKE_DROP;
}

static void test_identify_fails(void **state)
{
	(void)state;
	fake_init(&fake);
	fake.hook = refuse_all;
	expect_failure(-EIO);
	assert_int_equal(fake.cmds, 1);
	fake_init(&fake);
	fake.hook = drop_all;
	expect_failure(-ETIMEDOUT);
	assert_int_equal(fake.cmds, 1);
	assert_true(elapsed_ms(0) >= 1000 && elapsed_ms(0) < 1200);
}

static uint32_t garbage_seed;

static void garbage(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	uint32_t random = garbage_seed * 2654435761u + (uint32_t)f->cmds * 40503u;
	uint8_t *at = (uint8_t *)data;
	unsigned int i;

	(void)nsid;
	if (cns == NVME_ID_CNS_CTRLR && garbage_seed % 8 != 0)
		return;
	for (i = 0; i < 4096; i++) {
		random = random * 1664525u + 1013904223u;
		if (garbage_seed % 3 == 0 ||
		    (random >> 28) == 0) /* all of it, or bytes here and there */
			at[i] = (uint8_t)(garbage_seed == 3 ? 0xff : random >> 16);
	}
}

static void test_garbage(void **state)
{
	unsigned int attached = 0, refused = 0;

	(void)state;
	for (garbage_seed = 1; garbage_seed <= 600; garbage_seed++) {
		struct nvme_ctrlr_opts opts;
		struct nvme_ctrlr *ctrlr;
		uint32_t nsid = 0;
		int rc;

		fake_init(&fake);
		fake.nn = garbage_seed;
		fake.edit = garbage;
		opts = fake_opts(&fake);
		rc = nvme_attach("fake", &opts, &ctrlr);
		assert_true(fake.cmds < 3000);
		if (rc != 0) {
			assert_int_equal(rc, -ENOTSUP);
			check_failed(ctrlr);
			refused++;
			continue;
		}
		while ((nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) != 0) {
			const struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

			assert_true(nvme_ns_get_num_sectors(ns) > 0);
			assert_true(nvme_ns_get_sector_size(ns) >= 512 &&
			            nvme_ns_get_sector_size(ns) <= 65536);
		}
		fake.edit = NULL;
		ctrlr->data.rtd3e = 0; /* or the shutdown may take an hour */
		stop(ctrlr);
		attached++;
	}
	print_message("%u attached, %u refused\n", attached, refused);
	assert_true(attached > 300 && refused > 20);
}

/* ---- queues ---- */

static void test_queues_granted(void **state)
{
	static const struct {
		uint32_t want, nsq, ncq, get;
	} rows[] = {{0, 8, 8, 8},   {0, 3, 5, 3},         {0, 5, 3, 3}, {0, 1, 1, 1},
	            {2, 64, 64, 2}, {1, 65536, 65536, 1}, {16, 4, 4, 4}};
	unsigned int i, k;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr_opts opts;
		struct nvme_ctrlr *ctrlr;
		struct nvme_qpair *qp;

		fake_init(&fake);
		fake.nsq = rows[i].nsq;
		fake.ncq = rows[i].ncq;
		opts = fake_opts(&fake);
		opts.num_io_queues = rows[i].want;
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
		k = rows[i].want ? rows[i].want : 8;
		assert_int_equal(fake.log[1].cmd.opc, NVME_OPC_SET_FEATURES);
		assert_int_equal(fake.log[1].cmd.cdw11, (k - 1) | (k - 1) << 16);
		assert_int_equal(nvme_ctrlr_get_num_io_queues(ctrlr), rows[i].get);
		for (k = 1; k <= rows[i].get; k++)
			assert_int_equal(nvme_qpair_get_id(fake_qpair(ctrlr, 4)), k);
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), -ENOSPC);
		assert_null(qp);
		check_errors();
		stop(ctrlr);
	}
	print_message("%u grants\n", i);
}

static enum fake_verdict no_features(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	(void)f;
	if (qid != 0 || cmd->opc != NVME_OPC_SET_FEATURES)
		return FAKE_EXEC;
	cpl->status = 0x02 << 1;
	return FAKE_ANSWER;
}

static void test_no_queues_granted(void **state)
{
	struct nvme_ctrlr *ctrlr;

	(void)state;
	fake_init(&fake);
	fake.hook = no_features;
	ctrlr = fake_attach(&fake);
	assert_int_equal(nvme_ctrlr_get_num_io_queues(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 0);
	assert_int_equal(fake.lines[NVME_LOG_WARNING], 1);
	stop(ctrlr);
}

/* ---- shutdown ---- */

static void test_shutdown(void **state)
{
	static const struct {
		uint32_t rtd3e_us;
		uint64_t shst_ms;
		int rc;
		uint64_t least_ms, most_ms;
	} rows[] = {
		{0, 1, 0, 0, 100},
		{0, 9999, 0, 9999, 10100},
		{0, FAKE_NEVER, -ETIMEDOUT, 10000, 10100},
		{1000000, FAKE_NEVER, -ETIMEDOUT, 10000, 10100},
		{20000000, 15000, 0, 15000, 15100},
		{20000000, FAKE_NEVER, -ETIMEDOUT, 20000, 20100},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		uint64_t from, writes;

		fake_init(&fake);
		fake.edit = edit_ctrlr;
		edit_mdts = 5;
		edit_rtd3e = rows[i].rtd3e_us;
		fake.shst_ms = rows[i].shst_ms;
		ctrlr = fake_attach(&fake);
		from = fake.now;
		writes = fake.writes;
		assert_int_equal(nvme_detach(ctrlr), rows[i].rc);
		assert_false(fake.open);
		assert_true(elapsed_ms(from) >= rows[i].least_ms &&
		            elapsed_ms(from) < rows[i].most_ms);
		assert_int_equal(fake.writes, writes + 2);
		assert_int_equal(fake.reg[writes % 64].offset, NVME_REG_CC);
		assert_int_equal(NVME_GET(fake.reg[writes % 64].value, NVME_CC_SHN),
		                 NVME_CC_SHN_NORMAL);
		assert_int_equal(NVME_GET(fake.reg[writes % 64].value, NVME_CC_EN), 1);
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
		assert_int_equal(fake.lines[NVME_LOG_ERROR], rows[i].rc != 0);
		check_errors();
	}
	edit_rtd3e = 0;
	print_message("%u shutdowns\n", i);
}

/* The same time for a shutdown that is to be quick. */
static void test_abrupt_shutdown(void **state)
{
	static const struct {
		uint64_t shst_ms;
		int rc;
		uint64_t least_ms, most_ms;
	} rows[] = {{3000, 0, 3000, 3100}, {FAKE_NEVER, -ETIMEDOUT, 10000, 10100}};
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct nvme_ctrlr *ctrlr;
		uint64_t from, writes;

		fake_init(&fake);
		fake.shst_ms = rows[i].shst_ms;
		ctrlr = fake_attach(&fake);
		nvme_ctrlr_set_abrupt_shutdown(ctrlr, true);
		from = fake.now;
		writes = fake.writes;
		assert_int_equal(nvme_detach(ctrlr), rows[i].rc);
		assert_false(fake.open);
		assert_true(elapsed_ms(from) >= rows[i].least_ms &&
		            elapsed_ms(from) < rows[i].most_ms);
		assert_int_equal(fake.writes, writes + 2);
		assert_int_equal(NVME_GET(fake.reg[writes % 64].value, NVME_CC_SHN),
		                 NVME_CC_SHN_ABRUPT);
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
	}
}

static void test_detach_order(void **state)
{
	static const uint8_t opc[] = {NVME_OPC_DELETE_IO_SQ, NVME_OPC_DELETE_IO_CQ};
	struct nvme_ctrlr *ctrlr;
	uint64_t before;
	unsigned int i, ids = 0;

	(void)state;
	fake_init(&fake);
	ctrlr = fake_attach(&fake);
	for (i = 0; i < 3; i++)
		fake_qpair(ctrlr, 8);
	before = fake.cmds;
	stop(ctrlr);
	assert_int_equal(fake.cmds, before + 6);
	for (i = 0; i < 6; i++) { /* of each pair first the SQ, then the CQ */
		const struct nvme_cmd *cmd = &fake.log[before + i].cmd;

		assert_int_equal(fake.log[before + i].qid, 0);
		assert_int_equal(cmd->opc, opc[i % 2]);
		assert_int_equal(cmd->cdw10, fake.log[before + (i & ~1u)].cmd.cdw10);
		ids |= 1u << cmd->cdw10;
	}
	assert_int_equal(ids, 0xe);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 0);
}

static void test_attach_again(void **state)
{
	unsigned int i;

	(void)state;
	fake_init(&fake);
	for (i = 0; i < 20; i++) {
		struct nvme_ctrlr *ctrlr = fake_attach(&fake);

		fake_qpair(ctrlr, 16);
		stop(ctrlr);
	}
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 0);
}

/* ---- addresses, and the access that is built in ---- */

static void test_addresses(void **state)
{
	static const char *const good[][2] = {
		{"0000:01:00.0", "0000:01:00.0"},   {"01:00.0", "0000:01:00.0"},
		{"1:2.3", "0000:01:02.3"},          {"0000:0A:1F.7", "0000:0a:1f.7"},
		{"10000:e1:00.0", "10000:e1:00.0"}, {"ffff:ff:1f.7", "ffff:ff:1f.7"},
		{"0:0:0.0", "0000:00:00.0"},        {"ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
	};
	static const char *const bad[] = {
		"",
		"bogus",
		"0000:01:00",
		"01:00",
		"01",
		"01:00.8",
		"01:20.0",
		"0000:01:00.0 ",
		" 01:00.0",
		"01:00.0x",
		"01:00.00",
		"0000:100:00.0",
		"0000:01:00.0.0",
		"/dev/nvme0",
		"01-00.0",
		":01:00.0",
		"::.",
		"-1:00.0",
		"0000:-1:00.0",
		"0000:01:-1.0",
		"0000: 1:00.0",
		"0000:01: 0.0",
		"0000:+1:00.0",
		"0x0:01:00.0",
		"0000:0x:00.0",
		"123456789:01:00.0",
	};
	unsigned int i, wrong = 0;
	char addr[24];

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(nvme__pci_parse_addr(good[i][0], addr, sizeof(addr)), 0);
		assert_string_equal(addr, good[i][1]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (nvme__pci_parse_addr(bad[i], addr, sizeof(addr)) != -EINVAL) {
			print_message("'%s' was taken for %s\n", bad[i], addr);
			wrong++;
		}
	}
	print_message("%zu addresses, %u that are none\n", sizeof(good) / sizeof(good[0]), i);
	assert_int_equal(wrong, 0);
}

static void test_vfio_refuses(void **state)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)(void *)&fake;
	struct nvme_ctrlr_opts opts;

	(void)state;
	fake_init(&fake);
	opts = fake_opts(&fake);
	opts.dev_ops = NULL;
	assert_int_equal(nvme_attach("bogus", &opts, &ctrlr), -EINVAL);
	assert_null(ctrlr);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 1);
	assert_int_equal(fake_logged(&fake, "'bogus' is not a PCI address"), 1);
	check_errors();
	assert_int_equal(nvme_attach("ffff:ff:1f.7", &opts, &ctrlr), -ENODEV);
	assert_null(ctrlr);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 2);
	check_errors();
	assert_int_equal(nvme_attach("bogus", NULL, &ctrlr), -EINVAL); /* to standard error */
	assert_null(ctrlr);
}

/* Identify data is parsed once, from a copy that the device cannot reach. */
static void test_identify_is_a_copy(void **state)
{
	struct nvme_ctrlr *ctrlr = NULL;
	uint64_t iova;

	(void)state;
	fake_init(&fake);
	ctrlr = fake_attach(&fake);
	assert_int_equal(nvme_dma_iova(ctrlr, nvme_ctrlr_get_data(ctrlr), 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, nvme_ns_get_data(nvme_ctrlr_get_ns(ctrlr, 1)), 1,
	                               &iova),
	                 -EFAULT);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_states),
		cmocka_unit_test(test_admin_queue_size),
		cmocka_unit_test(test_ready_timeout),
		cmocka_unit_test(test_never_down),
		cmocka_unit_test(test_cfs_at_enable),
		cmocka_unit_test(test_stale_admin_queue),
		cmocka_unit_test(test_identify_is_a_copy),
		cmocka_unit_test(test_cfs_found),
		cmocka_unit_test(test_cfs_on_its_way_up),
		cmocka_unit_test(test_cfs_at_identify),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_gone_at_shutdown),
		cmocka_unit_test(test_no_version),
		cmocka_unit_test(test_mqes),
		cmocka_unit_test(test_page_sizes),
		cmocka_unit_test(test_senseless_cap),
		cmocka_unit_test(test_command_sets),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_mdts),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_separate_metadata),
		cmocka_unit_test(test_active_list),
		cmocka_unit_test(test_many_namespaces),
		cmocka_unit_test(test_identify_refused),
		cmocka_unit_test(test_identify_fails),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_queues_granted),
		cmocka_unit_test(test_no_queues_granted),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_abrupt_shutdown),
		cmocka_unit_test(test_detach_order),
		cmocka_unit_test(test_attach_again),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_vfio_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
