/* SPDX-License-Identifier: MIT
 *
 * Zoned namespaces on the software controller: what Identify says and what a device makes up, every
 * state of a zone and every way out of it, writes, appends, reports, limits, and what is refused.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "seen.h"

#define ZONED   "soft:size=1M,zns=64,zcap=48,mor=3,mar=5,zasl=2,zdes=128"
#define ZSZE    64u
#define ZCAP    48u
#define ZONES   32u
#define ROOM    (1u << 20) /* of the buffer */
#define ZS(z)   ((uint64_t)(z)*ZSZE)
#define ST(sc)  ((unsigned)NVME_SCT_COMMAND_SPECIFIC << 8 | (sc))
#define GEN(sc) ((unsigned)(sc))

#define BOUNDARY    ST(NVME_SC_ZONED_BOUNDARY_ERROR)
#define IS_FULL     ST(NVME_SC_ZONE_IS_FULL)
#define IS_RO       ST(NVME_SC_ZONE_IS_READ_ONLY)
#define IS_OFFLINE  ST(NVME_SC_ZONE_IS_OFFLINE)
#define INVALID     ST(NVME_SC_ZONE_INVALID_WRITE)
#define MANY_ACTIVE ST(NVME_SC_TOO_MANY_ACTIVE_ZONES)
#define MANY_OPEN   ST(NVME_SC_TOO_MANY_OPEN_ZONES)
#define NO_WAY      ST(NVME_SC_INVALID_ZONE_STATE_TRANSITION)

enum { E = NVME_ZONE_STATE_EMPTY, IO, EO, C, RO = 0xd, F, OFF };

static struct nvme_ctrlr *ctrlr;
static const struct nvme_dev *dev;
static struct nvme_ns *ns;
static struct nvme_qpair *qp;
static uint8_t *buf, *mem;
static char text[65536]; /* of the log */

static void keep_line(void *arg, enum nvme_log_level level, const char *line)
{
	size_t len = strlen(text);

	(void)arg;
	if (level <= NVME_LOG_WARNING)
		snprintf(text + len, sizeof(text) - len, "%s\n", line);
}

/* The log has this in it since the last call; it is forgotten. */
static void expect_log(const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in the log:\n%s", part, text);
	text[0] = '\0';
}

static void attach(const char *device)
{
	struct nvme_ctrlr_opts opts;

	text[0] = '\0';
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = keep_line;
	opts.log_level = NVME_LOG_WARNING;
	if (nvme_attach(device, &opts, &ctrlr) != 0)
		fail_msg("%s: %s", device, text);
	dev = nvme_ctrlr_get_dev(ctrlr);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
}

static void start_with(const char *device, uint32_t entries)
{
	struct nvme_io_qpair_opts opts;

	attach(device);
	assert_non_null(ns);
	memset(&opts, 0, sizeof(opts));
	opts.entries = entries;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, ROOM);
	mem = (uint8_t *)nvme_soft_get_ns_memory(dev, 1, NULL);
	assert_true(buf != NULL && mem != NULL);
}

static void start(const char *device)
{
	start_with(device, 64);
}

static void stop(void)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev, &stats);
	assert_int_equal(stats.strays, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- commands and what comes of them: 0, or type and code of the status ---- */

static unsigned status_of(const struct nvme_cpl *cpl)
{
	return NVME_GET(cpl->status, NVME_CPL_SCT) << 8 | NVME_GET(cpl->status, NVME_CPL_SC);
}

static unsigned outcome(int rc, const struct nvme_cpl *cpl)
{
	assert_true(rc == 0 || rc == -EIO);
	assert_true((rc == 0) == (status_of(cpl) == 0));
	return status_of(cpl);
}

static unsigned manage(enum nvme_zone_send_action action, uint64_t slba, bool all)
{
	struct nvme_cpl cpl;

	return outcome(nvme_zns_manage_zone(ns, qp, slba, all, action, &cpl), &cpl);
}

static unsigned write_at(uint64_t slba, uint32_t nlb)
{
	struct nvme_cpl cpl;

	return outcome(nvme_ns_write(ns, qp, buf, slba, nlb, &cpl), &cpl);
}

/* One command, wherever zones end. */
static unsigned command(uint8_t opc, uint64_t slba, uint32_t nlb)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	bool data = opc == NVME_OPC_READ || opc == NVME_OPC_WRITE || opc == NVME_OPC_ZONE_APPEND ||
	            opc == NVME_OPC_COMPARE;

	nvme__fill_no_data(&cmd, opc, 1, slba, nlb, 0);
	return outcome(nvme_ctrlr_io(ctrlr, qp, &cmd, data ? buf : NULL, data ? nlb * 512 : 0,
	                             &cpl),
	               &cpl);
}

/* Any command for zones, as the caller wants it. */
static unsigned raw(uint8_t opc, uint64_t slba, uint32_t cdw12, uint32_t cdw13, uint32_t len)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	nvme__cmd_init(&cmd, opc, 1);
	cmd.cdw10 = (uint32_t)slba;
	cmd.cdw11 = (uint32_t)(slba >> 32);
	cmd.cdw12 = cdw12;
	cmd.cdw13 = cdw13;
	return outcome(nvme_ctrlr_io(ctrlr, qp, &cmd, len != 0 ? buf : NULL, len, &cpl), &cpl);
}

/* A look at CSTS moves the controller's time on to what is due next. */
static void poll_once(void)
{
	(void)nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS);
	assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
}

static unsigned wait_for(struct seen *seen)
{
	int i;

	for (i = 0; i < 10000 && seen->calls == 0; i++)
		poll_once();
	assert_int_equal(seen->calls, 1);
	return status_of(&seen->cpl);
}

static struct nvme_zns_zone zone_at(uint64_t slba)
{
	struct nvme_zns_zone zone;
	uint32_t found;

	assert_int_equal(nvme_zns_get_zones(ns, qp, slba, NVME_ZRA_LIST_ALL, &zone, 1, &found,
	                                    NULL),
	                 0);
	assert_int_equal(found, 1);
	return zone;
}

static int state_at(uint64_t slba)
{
	struct nvme_zns_zone zone = zone_at(slba);

	return (int)NVME_GET(zone.zs, NVME_ZONE_STATE);
}

/* A zone that is empty, into a state. */
static void put_zone(uint64_t slba, int state)
{
	if (state == IO)
		assert_int_equal(write_at(slba, 1), 0);
	if (state == EO || state == C)
		assert_int_equal(manage(NVME_ZONE_OPEN, slba, false), 0);
	if (state == C)
		assert_int_equal(manage(NVME_ZONE_CLOSE, slba, false), 0);
	if (state == F)
		assert_int_equal(manage(NVME_ZONE_FINISH, slba, false), 0);
	if (state == RO || state == OFF)
		assert_int_equal(nvme_soft_set_zone_state(dev, 1, slba,
		                                          (enum nvme_zone_state)state),
		                 0);
	assert_int_equal(state_at(slba), state);
}

/* ---- what is known ---- */

static void test_identify(void **state)
{
	(void)state;
	start(ZONED);
	assert_int_equal(NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CC), NVME_CC_CSS),
	                 NVME_CC_CSS_IOCS);
	assert_int_equal(nvme_ns_get_csi(ns), NVME_CSI_ZNS);
	assert_int_equal(nvme_zns_ns_get_zone_size_sectors(ns), ZSZE);
	assert_int_equal(nvme_zns_ns_get_zone_size(ns), ZSZE * 512);
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), ZONES);
	assert_int_equal(nvme_zns_ns_get_max_open_zones(ns), 3);
	assert_int_equal(nvme_zns_ns_get_max_active_zones(ns), 5);
	assert_int_equal(nvme_zns_ns_get_zone_desc_ext_size(ns), 128);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 4 * 4096);
	assert_int_equal(nvme_zns_ns_get_data(ns)->mar, 4);
	assert_int_equal(nvme_zns_ns_get_data(ns)->mor, 2);
	assert_int_equal(nvme_zns_ns_get_data(ns)->lbafe[0].zsze, ZSZE);
	assert_int_equal(nvme_zns_ns_get_data(ns)->lbafe[0].zdes, 2);
	assert_int_equal(nvme_ns_get_data(ns)->ncap, ZONES * ZCAP);
	stop();

	/* no limits: MDTS is that of appends; blocks that make no zone are not there */
	start("soft:size=1M,lbs=4096,zns=100,mdts=3");
	assert_int_equal(nvme_ns_get_num_sectors(ns), 200);
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 2);
	assert_int_equal(nvme_zns_ns_get_zone_size(ns), 409600);
	assert_int_equal(nvme_zns_ns_get_max_open_zones(ns), 0);
	assert_int_equal(nvme_zns_ns_get_max_active_zones(ns), 0);
	assert_int_equal(nvme_zns_ns_get_zone_desc_ext_size(ns), 0);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 32768);
	stop();
}

/* A namespace without zones says so, in every function, and costs no command. */
static void test_without_zones(void **state)
{
	struct nvme_zns_zone zone;
	struct nvme_cpl cpl;
	uint64_t cmds;
	uint32_t found;
	struct nvme_soft_stats stats;

	(void)state;
	start("soft:size=1M");
	assert_int_equal(nvme_ns_get_csi(ns), NVME_CSI_NVM);
	assert_null(nvme_zns_ns_get_data(ns));
	assert_int_equal(nvme_zns_ns_get_zone_size_sectors(ns), 0);
	assert_int_equal(nvme_zns_ns_get_zone_size(ns), 0);
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 0);
	assert_int_equal(nvme_zns_ns_get_max_open_zones(ns), 0);
	assert_int_equal(nvme_zns_ns_get_max_active_zones(ns), 0);
	assert_int_equal(nvme_zns_ns_get_zone_desc_ext_size(ns), 0);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 0);
	nvme_soft_get_stats(dev, &stats);
	cmds = stats.io_cmds;
#define REFUSED(call)                                   \
	do {                                            \
		assert_int_equal(call, -ENOTSUP);       \
		expect_log("namespace 1 has no zones"); \
	} while (0)
	REFUSED(nvme_zns_open_zone(ns, qp, 0, false, count, NULL));
	REFUSED(nvme_zns_close_zone(ns, qp, 0, false, count, NULL));
	REFUSED(nvme_zns_finish_zone(ns, qp, 0, false, count, NULL));
	REFUSED(nvme_zns_reset_zone(ns, qp, 0, true, count, NULL));
	REFUSED(nvme_zns_offline_zone(ns, qp, 0, false, count, NULL));
	REFUSED(nvme_zns_manage_zone(ns, qp, 0, true, NVME_ZONE_RESET, &cpl));
	assert_int_equal(cpl.cid, 0xffff);
	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 0, buf, 64, count, NULL));
	REFUSED(nvme_zns_report_zones(ns, qp, buf, 4096, 0, NVME_ZRA_LIST_ALL, true, count, NULL));
	REFUSED(nvme_zns_ext_report_zones(ns, qp, buf, 4096, 0, NVME_ZRA_LIST_ALL, true, count,
	                                  NULL));
	REFUSED(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, &zone, 1, &found, &cpl));
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 1, count, NULL, 0));
	REFUSED(nvme_zns_append(ns, qp, buf, 0, 1, NULL, &cpl));
#undef REFUSED
	nvme_soft_get_stats(dev, &stats);
	assert_int_equal(stats.io_cmds, cmds);
	/* and the controller knows none of the commands */
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 0, 0, NVME_ZONE_RESET, 0),
	                 GEN(NVME_SC_INVALID_OPCODE));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 63, 0, 256),
	                 GEN(NVME_SC_INVALID_OPCODE));
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, 0, 1), GEN(NVME_SC_INVALID_OPCODE));
	stop();
}

/* ---- states ---- */

static const enum nvme_zone_send_action actions[] = {
	NVME_ZONE_CLOSE, NVME_ZONE_FINISH, NVME_ZONE_OPEN, NVME_ZONE_RESET, NVME_ZONE_OFFLINE,
};
static const int states[] = {E, IO, EO, C, F, RO, OFF};

/* Every state and every action: where it leads, 0 for INVALID ZONE STATE TRANSITION. */
static void test_transitions(void **state)
{
	static const int to[5][7] = {
		{0, C, C, C, 0, 0, 0},     /* close */
		{F, F, F, F, F, 0, 0},     /* finish */
		{EO, EO, EO, EO, 0, 0, 0}, /* open */
		{E, E, E, E, E, 0, 0},     /* reset */
		{0, 0, 0, 0, 0, OFF, OFF}, /* offline */
	};
	unsigned a, from;

	(void)state;
	for (a = 0; a < 5; a++) {
		start(ZONED);
		for (from = 0; from < 7; from++) {
			uint64_t slba = ZS(3 * from);
			int want = to[a][from];

			put_zone(slba, states[from]);
			if (manage(actions[a], slba, false) != (want != 0 ? 0 : NO_WAY))
				fail_msg("action %u from state %d", actions[a], states[from]);
			assert_int_equal(state_at(slba), want != 0 ? want : states[from]);
			if (from < 5) /* gives back what it holds of the limits */
				assert_int_equal(manage(NVME_ZONE_RESET, slba, false), 0);
		}
		stop();
	}
}

/* The same with all zones at once: those that it can be done with. */
static void test_select_all(void **state)
{
	static const int to[5][7] = {
		{E, C, C, C, F, RO, OFF},    /* close */
		{E, F, F, F, F, RO, OFF},    /* finish */
		{E, IO, EO, EO, F, RO, OFF}, /* open: closed ones */
		{E, E, E, E, E, RO, OFF},    /* reset */
		{E, IO, EO, C, F, OFF, OFF}, /* offline */
	};
	unsigned a, i;

	(void)state;
	for (a = 0; a < 5; a++) {
		start(ZONED);
		for (i = 0; i < 7; i++)
			put_zone(ZS(i), states[i]);
		assert_int_equal(manage(actions[a], 12345, true), 0); /* the block does not count */
		for (i = 0; i < 7; i++) {
			if (state_at(ZS(i)) != to[a][i])
				fail_msg("action %u: state %d became %d, not %d", actions[a],
				         states[i], state_at(ZS(i)), to[a][i]);
		}
		stop();
	}
	/* opening all is not done by halves */
	start(ZONED);
	for (i = 0; i < 4; i++)
		put_zone(ZS(i), C);
	assert_int_equal(manage(NVME_ZONE_OPEN, 0, true), MANY_OPEN);
	for (i = 0; i < 4; i++)
		assert_int_equal(state_at(ZS(i)), C);
	assert_int_equal(manage(NVME_ZONE_RESET, ZS(0), false), 0);
	assert_int_equal(manage(NVME_ZONE_OPEN, 0, true), 0);
	assert_int_equal(state_at(ZS(3)), EO);
	stop();
}

/* The asynchronous calls put the same on the wire. */
static void test_actions(void **state)
{
	static int (*const calls[])(struct nvme_ns *, struct nvme_qpair *, uint64_t, bool,
	                            nvme_cmd_cb, void *) = {
		nvme_zns_close_zone, nvme_zns_finish_zone,  nvme_zns_open_zone,
		nvme_zns_reset_zone, nvme_zns_offline_zone,
	};
	struct nvme_soft_cmd last = {0};
	unsigned i;

	(void)state;
	start(ZONED);
	for (i = 0; i < 10; i++) {
		struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
		bool all = i >= 5;

		assert_int_equal(calls[i % 5](ns, qp, ZS(31), all, count, &seen), 0);
		(void)wait_for(&seen);
		assert_int_equal(nvme_soft_get_last_cmds(dev, &last, 1), 1);
		assert_int_equal(last.cmd.opc, 0x79);
		assert_int_equal(last.cmd.nsid, 1);
		assert_int_equal(last.cmd.cdw10, all ? 0 : ZS(31));
		assert_int_equal(last.cmd.cdw11, 0);
		assert_int_equal(last.cmd.cdw13, (all ? 0x100u : 0u) | actions[i % 5]);
		assert_int_equal(last.cmd.cdw12 | last.cmd.cdw14 | last.cmd.cdw15, 0);
	}
	stop();
}

/* ---- writes and reads ---- */

static void test_writes(void **state)
{
	uint32_t i;

	(void)state;
	start(ZONED);
	memset(buf, 0x5a, ROOM);
	assert_int_equal(write_at(ZS(1) + 1, 1), INVALID);
	assert_int_equal(state_at(ZS(1)), E);
	assert_int_equal(write_at(ZS(1), 8), 0);
	assert_int_equal(state_at(ZS(1)), IO);
	assert_int_equal(zone_at(ZS(1)).wp, ZS(1) + 8);
	assert_int_equal(zone_at(ZS(1)).zcap, ZCAP);
	assert_int_equal(zone_at(ZS(1)).zslba, ZS(1));
	assert_int_equal(NVME_GET(zone_at(ZS(1)).zt, NVME_ZONE_TYPE), NVME_ZONE_TYPE_SEQWR);
	assert_int_equal(write_at(ZS(1), 1), INVALID);     /* again */
	assert_int_equal(write_at(ZS(1) + 9, 1), INVALID); /* a hole */
	assert_int_equal(write_at(ZS(1) + 8, 41), BOUNDARY);
	assert_int_equal(write_at(ZS(1) + 8, 40), 0); /* to the capacity, and full */
	assert_int_equal(state_at(ZS(1)), F);
	assert_int_equal(zone_at(ZS(1)).wp, UINT64_MAX);
	assert_int_equal(write_at(ZS(1) + ZCAP, 1), IS_FULL);
	assert_memory_equal(mem + ZS(1) * 512, buf, ZCAP * 512);
	for (i = 0; i < 16 * 512; i++)
		assert_int_equal(mem[(ZS(1) + ZCAP) * 512 + i], 0);
	assert_int_equal(write_at(ZS(2) + ZCAP, 1), BOUNDARY);
	put_zone(ZS(3), RO);
	assert_int_equal(write_at(ZS(3), 1), IS_RO);
	put_zone(ZS(4), OFF);
	assert_int_equal(write_at(ZS(4), 1), IS_OFFLINE);
	assert_int_equal(write_at(ZS(31), 1), 0); /* the last zone */

	assert_int_equal(command(NVME_OPC_READ, ZS(1), ZSZE), 0);
	assert_memory_equal(buf, mem + ZS(1) * 512, ZSZE * 512);
	assert_int_equal(command(NVME_OPC_READ, ZS(1) + 1, ZSZE), BOUNDARY);
	assert_int_equal(command(NVME_OPC_READ, ZS(3), 1), 0); /* read only is what it says */
	assert_int_equal(command(NVME_OPC_READ, ZS(4), 1), IS_OFFLINE);
	assert_int_equal(command(NVME_OPC_COMPARE, ZS(4), 1), IS_OFFLINE);
	assert_int_equal(command(NVME_OPC_VERIFY, ZS(1) + 1, ZSZE), BOUNDARY);

	/* a reset takes the content */
	assert_int_equal(manage(NVME_ZONE_RESET, ZS(1), false), 0);
	assert_int_equal(zone_at(ZS(1)).wp, ZS(1));
	for (i = 0; i < ZSZE * 512; i++)
		assert_int_equal(mem[ZS(1) * 512 + i], 0);
	assert_int_equal(mem[ZS(31) * 512], 0x5a);
	stop();
}

/* The other commands that write move the write pointer, too. */
static void test_other_writes(void **state)
{
	struct nvme_copy_range range;
	struct nvme_cpl cpl;

	(void)state;
	start(ZONED);
	memset(buf, 0x77, ROOM);
	assert_int_equal(write_at(ZS(1), 4), 0);
	assert_int_equal(command(NVME_OPC_WRITE_ZEROES, ZS(1), 1), INVALID);
	assert_int_equal(command(NVME_OPC_WRITE_ZEROES, ZS(1) + 4, 4), 0);
	assert_int_equal(zone_at(ZS(1)).wp, ZS(1) + 8);
	assert_int_equal(command(NVME_OPC_WRITE_UNCORRECTABLE, ZS(1), 1), INVALID);
	assert_int_equal(command(NVME_OPC_WRITE_UNCORRECTABLE, ZS(1) + 8, 2), 0);
	assert_int_equal(zone_at(ZS(1)).wp, ZS(1) + 10);
	assert_int_equal(command(NVME_OPC_READ, ZS(1) + 9, 1), 0x281);

	memset(&range, 0, sizeof(range));
	range.slba = ZS(1);
	range.nlb = 3;
	assert_int_equal(outcome(nvme_ns_copy(ns, qp, &range, 1, ZS(2) + 1, &cpl), &cpl), INVALID);
	assert_int_equal(outcome(nvme_ns_copy(ns, qp, &range, 1, ZS(2), &cpl), &cpl), 0);
	assert_int_equal(zone_at(ZS(2)).wp, ZS(2) + 4);
	assert_memory_equal(mem + ZS(2) * 512, buf, 4 * 512);
	/* what was unreadable is gone with the reset */
	assert_int_equal(manage(NVME_ZONE_RESET, ZS(1), false), 0);
	assert_int_equal(command(NVME_OPC_READ, ZS(1) + 9, 1), 0);
	stop();
}

/* A command that fails moves nothing. */
static void test_failed_write(void **state)
{
	struct nvme_cpl cpl;
	uint64_t lba = 77;

	(void)state;
	start(ZONED ",plan=on write #1 status 2/80; on zone-append #1 status 2/80");
	assert_int_equal(write_at(ZS(1), 4), 0x280);
	assert_int_equal(outcome(nvme_zns_append(ns, qp, buf, ZS(1), 4, &lba, &cpl), &cpl), 0x280);
	assert_int_equal(lba, 77);
	assert_int_equal(state_at(ZS(1)), E);
	assert_int_equal(write_at(ZS(1), 4), 0);
	stop();
}

/* ---- limits ---- */

static void test_limits(void **state)
{
	unsigned i;

	(void)state;
	start(ZONED); /* 3 open, 5 active */
	for (i = 0; i < 4; i++)
		assert_int_equal(write_at(ZS(i), 1), 0);
	/* the one that was opened first had to make room */
	assert_int_equal(state_at(ZS(0)), C);
	assert_int_equal(state_at(ZS(1)), IO);
	assert_int_equal(state_at(ZS(3)), IO);
	assert_int_equal(write_at(ZS(0) + 1, 1), 0); /* and 1 is the oldest now */
	assert_int_equal(state_at(ZS(1)), C);
	assert_int_equal(state_at(ZS(0)), IO);
	assert_int_equal(write_at(ZS(4), 1), 0);
	assert_int_equal(write_at(ZS(5), 1), MANY_ACTIVE);
	assert_int_equal(manage(NVME_ZONE_OPEN, ZS(5), false), MANY_ACTIVE);
	assert_int_equal(state_at(ZS(5)), E);
	assert_int_equal(manage(NVME_ZONE_FINISH, ZS(0), false), 0);
	assert_int_equal(write_at(ZS(5), 1), 0); /* a full zone is not active */
	assert_int_equal(manage(NVME_ZONE_RESET, 0, true), 0);

	/* zones that were opened explicitly stay open */
	for (i = 0; i < 3; i++)
		assert_int_equal(manage(NVME_ZONE_OPEN, ZS(i), false), 0);
	assert_int_equal(manage(NVME_ZONE_OPEN, ZS(3), false), MANY_OPEN);
	assert_int_equal(write_at(ZS(3), 1), MANY_OPEN);
	assert_int_equal(state_at(ZS(3)), E);
	assert_int_equal(manage(NVME_ZONE_OPEN, ZS(2), false), 0); /* it is */
	assert_int_equal(write_at(ZS(2), ZCAP), 0); /* full: it gives its place back */
	assert_int_equal(write_at(ZS(3), 1), 0);
	assert_int_equal(manage(NVME_ZONE_OPEN, ZS(3), false), 0);
	assert_int_equal(state_at(ZS(3)), EO);
	assert_int_equal(write_at(ZS(3) + 1, 1), 0); /* a write leaves it so */
	assert_int_equal(state_at(ZS(3)), EO);
	stop();
}

/* ---- Zone Append ---- */

static void test_append(void **state)
{
	uint8_t data[3 * 512];
	struct nvme_cpl cpl;
	uint64_t lba;

	(void)state;
	start(ZONED);
	memset(data, 0x31, sizeof(data));
	assert_int_equal(nvme_zns_append(ns, qp, data, ZS(2), 3, &lba, &cpl), 0);
	assert_int_equal(lba, ZS(2));
	assert_int_equal(nvme_zns_append_lba(&cpl), ZS(2));
	assert_int_equal(nvme_zns_append(ns, NULL, data, ZS(2), 2, &lba, NULL), 0);
	assert_int_equal(lba, ZS(2) + 3);
	assert_int_equal(nvme_zns_append(ns, qp, data, ZS(2), 1, NULL, NULL), 0);
	assert_int_equal(zone_at(ZS(2)).wp, ZS(2) + 6);
	assert_int_equal(state_at(ZS(2)), IO);
	assert_memory_equal(mem + ZS(2) * 512, data, sizeof(data));
	assert_memory_equal(mem + (ZS(2) + 3) * 512, data, sizeof(data));
	assert_int_equal(mem[(ZS(2) + 6) * 512], 0);
	/* what the controller refuses */
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2) + 6, 1), GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2), 33), GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2), 32), 0);
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2), 11), BOUNDARY);
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2), 10), 0);
	assert_int_equal(state_at(ZS(2)), F);
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(2), 1), IS_FULL);
	put_zone(ZS(3), OFF);
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(3), 1), IS_OFFLINE);
	put_zone(ZS(4), RO);
	assert_int_equal(command(NVME_OPC_ZONE_APPEND, ZS(4), 1), IS_RO);
	stop();
}

/* Many at a time to one zone, executed in another order than they were sent. */
static void test_appends_at_once(void **state)
{
	struct seen seen[16];
	uint64_t taken = 0;
	unsigned i;

	(void)state;
	start(ZONED ",plan=on zone-append delay 0us..900us");
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 16; i++) {
		memset(buf + i * 4096, (int)(i + 1), 3 * 512);
		assert_int_equal(nvme_zns_zone_append(ns, qp, buf + i * 4096, ZS(7), 3, count,
		                                      &seen[i], NVME_IO_FLAGS_FUA),
		                 0);
	}
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 16);
	for (i = 0; i < 16; i++) {
		uint64_t lba;

		assert_int_equal(wait_for(&seen[i]), 0);
		lba = nvme_zns_append_lba(&seen[i].cpl);
		assert_true(lba >= ZS(7) && lba <= ZS(7) + 45 && (lba - ZS(7)) % 3 == 0);
		assert_int_equal(taken >> (lba - ZS(7)) & 1, 0);
		taken |= UINT64_C(1) << (lba - ZS(7));
		assert_memory_equal(mem + lba * 512, buf + i * 4096, 3 * 512);
	}
	assert_int_equal(state_at(ZS(7)), F);
	/* in the order of the ring it would be 0, 3, 6, ... */
	for (i = 0; i < 16; i++) {
		if (nvme_zns_append_lba(&seen[i].cpl) != ZS(7) + i * 3)
			break;
	}
	assert_true(i < 16);
	stop();
}

/* An LBA that needs more than 32 bits. */
static void test_far_append(void **state)
{
	const uint64_t zone = UINT64_C(1) << 30, far = UINT64_C(5) << 30;
	struct nvme_soft_cmd last = {0};
	uint64_t lba;

	(void)state;
	start("soft:size=4T,zns=1073741824");
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 8);
	assert_int_equal(nvme_zns_append(ns, qp, buf, far, 1, &lba, NULL), 0);
	assert_int_equal(lba, far);
	assert_int_equal(nvme_zns_append(ns, qp, buf, far, 1, &lba, NULL), 0);
	assert_int_equal(lba, far + 1);
	assert_int_equal(zone_at(far + 5).zslba, far);
	assert_int_equal(zone_at(far).wp, far + 2);
	assert_int_equal(zone_at(far - 1).zslba, far - zone);
	assert_int_equal(manage(NVME_ZONE_CLOSE, far, false), 0);
	assert_int_equal(nvme_soft_get_last_cmds(dev, &last, 1), 1);
	assert_int_equal(last.cmd.cdw10, (uint32_t)far);
	assert_int_equal(last.cmd.cdw11, (uint32_t)(far >> 32));
	stop();
}

/* ---- descriptor extensions ---- */

static void test_extensions(void **state)
{
	struct nvme_zns_report head;
	struct nvme_zns_zone zone;
	struct seen seen;
	unsigned i;

	(void)state;
	start(ZONED);
	for (i = 0; i < 128; i++)
		buf[i] = (uint8_t)(i + 1);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_zns_set_zone_desc_ext(ns, qp, ZS(1), buf, 128, count, &seen), 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(state_at(ZS(1)), C);
	assert_int_equal(zone_at(ZS(1)).za, NVME_ZA_ZDEV);
	assert_int_equal(zone_at(ZS(1)).wp, ZS(1));
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_zns_set_zone_desc_ext(ns, qp, ZS(1), buf, 128, count, &seen), 0);
	assert_int_equal(wait_for(&seen), NO_WAY); /* not empty any more */

	/* two zones, each with its extension, and room for half a third */
	memset(&seen, 0, sizeof(seen));
	memset(buf + 4096, 0xee, 4096);
	assert_int_equal(nvme_zns_ext_report_zones(ns, qp, buf + 4096, 64 + 192 + 192 + 100, ZS(1),
	                                           NVME_ZRA_LIST_ALL, true, count, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	memcpy(&head, buf + 4096, sizeof(head));
	assert_int_equal(head.nr_zones, 2);
	memcpy(&zone, buf + 4096 + 64, sizeof(zone));
	assert_int_equal(zone.zslba, ZS(1));
	assert_memory_equal(buf + 4096 + 128, buf, 128);
	memcpy(&zone, buf + 4096 + 64 + 192, sizeof(zone));
	assert_int_equal(zone.zslba, ZS(2));
	assert_int_equal(zone.za, 0);
	for (i = 64 + 256; i < 548; i++)
		assert_int_equal(buf[4096 + i], 0);
	assert_int_equal(buf[4096 + 548], 0xee);

	/* a reset takes it away */
	assert_int_equal(manage(NVME_ZONE_RESET, ZS(1), false), 0);
	assert_int_equal(zone_at(ZS(1)).za, 0);
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, ZS(1), 63, NVME_ZRA_EXT_REPORT, 256),
	                 0);
	for (i = 128; i < 256; i++)
		assert_int_equal(buf[i], 0);
	/* it is active, and so counts; and all zones cannot have one at once */
	for (i = 0; i < 5; i++)
		assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, ZS(i), 0, NVME_ZONE_SET_ZDE,
		                     128),
		                 0);
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, ZS(5), 0, NVME_ZONE_SET_ZDE, 128),
	                 MANY_ACTIVE);
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 0, 0, 0x100 | NVME_ZONE_SET_ZDE, 128),
	                 GEN(NVME_SC_INVALID_FIELD));
	stop();
}

/* ---- reports ---- */

static uint64_t report(uint32_t len, uint64_t slba, enum nvme_zone_report_opts opts, bool partial)
{
	struct seen seen = {0, {0, 0, 0, 0, 0, 0}};
	struct nvme_zns_report head;

	memset(buf, 0xee, 65536);
	assert_int_equal(nvme_zns_report_zones(ns, qp, buf, len, slba, opts, partial, count, &seen),
	                 0);
	assert_int_equal(wait_for(&seen), 0);
	assert_int_equal(buf[len], 0xee);
	memcpy(&head, buf, sizeof(head));
	return head.nr_zones;
}

static uint64_t listed(unsigned i)
{
	struct nvme_zns_zone zone;

	memcpy(&zone, buf + 64 + i * sizeof(zone), sizeof(zone));
	return zone.zslba;
}

static void test_reports(void **state)
{
	static const enum nvme_zone_report_opts opts[] = {
		NVME_ZRA_LIST_EMPTY,   NVME_ZRA_LIST_IOPEN, NVME_ZRA_LIST_EOPEN,
		NVME_ZRA_LIST_CLOSED,  NVME_ZRA_LIST_FULL,  NVME_ZRA_LIST_READ_ONLY,
		NVME_ZRA_LIST_OFFLINE,
	};
	struct nvme_soft_cmd last = {0};
	unsigned i;

	(void)state;
	start(ZONED);
	assert_int_equal(report(64, 0, NVME_ZRA_LIST_ALL, false), ZONES);
	assert_int_equal(report(64, 0, NVME_ZRA_LIST_ALL, true), 0);
	assert_int_equal(report(64 + 3 * 64, 0, NVME_ZRA_LIST_ALL, true), 3);
	assert_int_equal(listed(2), ZS(2));
	assert_int_equal(report(64 + 3 * 64 + 60, 0, NVME_ZRA_LIST_ALL, true), 3);
	assert_int_equal(report(64 + 3 * 64, ZS(20), NVME_ZRA_LIST_ALL, false), 12);
	assert_int_equal(listed(0), ZS(20));
	assert_int_equal(report(64 + 3 * 64, ZS(30) + 5, NVME_ZRA_LIST_ALL, true), 2);
	assert_int_equal(listed(0), ZS(30));
	assert_int_equal(listed(1), ZS(31));
	assert_int_equal(listed(2), 0);
	for (i = 1; i < 7; i++)
		put_zone(ZS(4 * i), states[i]);
	assert_int_equal(report(4096, 0, NVME_ZRA_LIST_EMPTY, true), ZONES - 6);
	for (i = 1; i < 7; i++) {
		assert_int_equal(report(4096, 0, opts[i], true), 1);
		assert_int_equal(listed(0), ZS(4 * i));
		assert_int_equal(report(4096, ZS(4 * i) + ZSZE, opts[i], false), 0);
	}
	assert_int_equal(nvme_soft_get_last_cmds(dev, &last, 1), 1);
	assert_int_equal(last.cmd.opc, 0x7a);
	assert_int_equal(last.cmd.cdw10, ZS(25));
	assert_int_equal(last.cmd.cdw12, 1023);
	assert_int_equal(last.cmd.cdw13, 0x0700);
	/* what the controller refuses */
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 2048, 15, 0, 64),
	                 GEN(NVME_SC_LBA_OUT_OF_RANGE));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 15, 2, 64),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 15, 0x800, 64),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 1u << 17, 0, 64),
	                 GEN(NVME_SC_INVALID_FIELD)); /* MDTS */
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 0, 0, 4), 0);
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 2048, 0, NVME_ZONE_OPEN, 0),
	                 GEN(NVME_SC_LBA_OUT_OF_RANGE));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 1, 0, NVME_ZONE_OPEN, 0),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 0, 0, 0x06, 0),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 0, 0, 0x106, 0),
	                 GEN(NVME_SC_INVALID_FIELD));
	stop();
}

/* All zones of a namespace, in several reports, into an array. */
static void test_get_zones(void **state)
{
	static struct nvme_zns_zone zones[2049];
	struct nvme_io_qpair_opts opts;
	struct nvme_soft_stats before, after;
	struct nvme_qpair *small;
	struct nvme_cpl cpl;
	uint32_t found, i;

	(void)state;
	start("soft:size=1M,zns=1");
	memset(zones, 0xee, sizeof(zones));
	nvme_soft_get_stats(dev, &before);
	assert_int_equal(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, zones, 2048, &found,
	                                    &cpl),
	                 0);
	nvme_soft_get_stats(dev, &after);
	assert_int_equal(after.io_cmds - before.io_cmds, 3); /* 1023 of 64 bytes in 64 KiB */
	assert_int_equal(found, 2048);
	for (i = 0; i < 2048; i++)
		assert_int_equal(zones[i].zslba, i);
	assert_int_equal(zones[2048].zslba, UINT64_C(0xeeeeeeeeeeeeeeee));
	assert_int_equal(nvme_zns_get_zones(ns, NULL, 2000, NVME_ZRA_LIST_ALL, zones, 2048, &found,
	                                    NULL),
	                 0);
	assert_int_equal(found, 48);
	memset(zones, 0xee, sizeof(zones));
	assert_int_equal(nvme_zns_get_zones(ns, qp, 5, NVME_ZRA_LIST_ALL, zones, 2, &found, NULL),
	                 0);
	assert_int_equal(found, 2);
	assert_int_equal(zones[1].zslba, 6);
	assert_int_equal(zones[2].zslba, UINT64_C(0xeeeeeeeeeeeeeeee));
	assert_int_equal(manage(NVME_ZONE_FINISH, 1500, false), 0);
	assert_int_equal(manage(NVME_ZONE_FINISH, 10, false), 0);
	assert_int_equal(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_FULL, zones, 2048, &found,
	                                    NULL),
	                 0);
	assert_int_equal(found, 2);
	assert_int_equal(zones[1].zslba, 1500);
	/* a queue pair that can carry little */
	memset(&opts, 0, sizeof(opts));
	opts.max_xfer_size = 192;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &small), 0);
	nvme_soft_get_stats(dev, &before);
	assert_int_equal(nvme_zns_get_zones(ns, small, 0, NVME_ZRA_LIST_ALL, zones, 9, &found,
	                                    NULL),
	                 0);
	nvme_soft_get_stats(dev, &after);
	assert_int_equal(after.io_cmds - before.io_cmds, 5);
	assert_int_equal(found, 9);
	assert_int_equal(zones[8].zslba, 8);
	assert_int_equal(nvme_ctrlr_free_io_qpair(small), 0);
	opts.max_xfer_size = 64;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &small), 0);
	assert_int_equal(nvme_zns_get_zones(ns, small, 0, NVME_ZRA_LIST_ALL, zones, 9, &found,
	                                    NULL),
	                 -EMSGSIZE);
	expect_log("128 bytes are too many for one command");
	assert_int_equal(found, 0);
	/* an error in the second report: the first stays */
	assert_int_equal(nvme_soft_set_plan(dev, "on zone-management-receive #2 status 0/6"), 0);
	assert_int_equal(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, zones, 2048, &found,
	                                    &cpl),
	                 -EIO);
	assert_int_equal(status_of(&cpl), 6);
	assert_int_equal(found, 1023);
	stop();
}

/* ---- what a device makes up ---- */

/* It is left out, for this reason. */
static void left_out(const char *plan, const char *why)
{
	char device[256];

	snprintf(device, sizeof(device), ZONED ",plan=%s", plan);
	attach(device);
	assert_null(ns);
	assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 0);
	assert_non_null(strstr(text, "namespace 1 is left out: "));
	expect_log(why);
	stop();
}

static void test_made_up(void **state)
{
	(void)state;
	left_out("identify zsze=0", "its zones have no blocks (ZSZE)");
	left_out("identify zsze=2049", "one zone is larger than all of it (ZSZE)");
	left_out("identify zsze=0xffffffffffffffff", "one zone is larger than all of it (ZSZE)");
	left_out("on identify #5 status 0/2", "the controller does not tell how");
	left_out("identify csi=1", "does not know its command set (CSI 01h)");
	left_out("identify csi=0xff", "does not know its command set (CSI ffh)");

	start(ZONED ",plan=identify zsze=2048;identify zdes=255;identify mar=0xfffffffe;"
	            "identify mor=0xffffffff;identify zasl=255");
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 1);
	assert_int_equal(nvme_zns_ns_get_zone_desc_ext_size(ns), 16320);
	assert_int_equal(nvme_zns_ns_get_max_active_zones(ns), UINT32_MAX);
	assert_int_equal(nvme_zns_ns_get_max_open_zones(ns), 0);
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 512 << 10); /* MDTS */
	stop();

	/* zones that do not fill the namespace: the rest is the last one, and nothing overflows */
	start(ZONED ",plan=identify zsze=1000");
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 2);
	assert_int_equal(nvme_ns_next_piece(ns, 65536, 1990, 100), 10);
	assert_int_equal(nvme_ns_next_piece(ns, 65536, 2000, 40), 40);
	stop();

	/* no ZASL: what MDTS allows */
	start(ZONED ",plan=on identify #6 status 0/2");
	assert_int_equal(nvme_zns_ctrlr_get_max_zone_append_size(ctrlr), 512 << 10);
	stop();

	/* a queue that has failed is no namespace without zones */
	text[0] = '\0';
	{
		static const char device[] = ZONED ",plan=on identify #5 drop";
		struct nvme_ctrlr_opts opts;

		memset(&opts, 0, sizeof(opts));
		opts.dev_ops = nvme_soft_dev_ops(device);
		opts.log = keep_line;
		opts.log_level = NVME_LOG_WARNING;
		assert_int_equal(nvme_attach(device, &opts, &ctrlr), -ETIMEDOUT);
	}
}

static void test_wrong_append(void **state)
{
	static const struct {
		const char *plan;
		int rc;
	} rows[] = {
		{"on zone-append dw0 0x7f", -EIO},       {"on zone-append dw0 0x80", 0},
		{"on zone-append dw0 0xbc", 0},          {"on zone-append dw0 0xbd", -EIO},
		{"on zone-append dw0 0xffffffff", -EIO},
	};
	struct nvme_cpl cpl;
	uint64_t lba;
	unsigned i;

	(void)state;
	start(ZONED);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(nvme_soft_set_plan(dev, rows[i].plan), 0);
		lba = 1;
		assert_int_equal(nvme_zns_append(ns, qp, buf, ZS(2), 4, &lba, &cpl), rows[i].rc);
		assert_int_equal(status_of(&cpl), 0);
		if (rows[i].rc == 0) {
			assert_int_equal(lba, nvme_zns_append_lba(&cpl));
			continue;
		}
		assert_int_equal(lba, 1);
		expect_log(
			"4 blocks were appended to the zone at block 128, and the controller says");
	}
	stop();
}

/* Reports that are none. */
static void test_wrong_reports(void **state)
{
	static const struct {
		uint64_t zslba, wp, zcap;
		uint8_t zs;
		bool sane;
	} rows[] = {
		{64, 64, 48, 0x10, true},
		{64, 112, 48, 0x20, true},
		{64, 113, 48, 0x20, false},
		{64, 63, 48, 0x40, false},
		{64, 0, 48, 0xe0, true},
		{64, UINT64_MAX, 48, 0x30, false},
		{64, UINT64_MAX, 48, 0xf0, true},
		{64, 5, 48, 0x00, true},
		{65, 65, 48, 0x10, false},
		{64, 64, 64, 0x10, true},
		{64, 64, 65, 0x10, false},
		{0, 0, 48, 0x10, false},
		{2048, 2048, 48, 0x10, false},
		{1984, 1984, 48, 0x10, true},
		{UINT64_MAX - 63, UINT64_MAX - 63, 0, 0x10, false},
	};
	struct nvme_zns_report head;
	struct nvme_zns_zone zones[4], *zone = (struct nvme_zns_zone *)(void *)(buf + 64);
	uint64_t slba;
	unsigned i;

	(void)state;
	start(ZONED);
	zone = (struct nvme_zns_zone *)(void *)(buf + 64);
	memset(buf, 0, 4096);
	memset(&head, 0, sizeof(head));
	head.nr_zones = 1;
	memcpy(buf, &head, sizeof(head));
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		slba = 64;
		zone->zslba = rows[i].zslba;
		zone->wp = rows[i].wp;
		zone->zcap = rows[i].zcap;
		zone->zs = rows[i].zs;
		if (nvme__zns_take_report(ns, buf, 3, &slba, zones) != (rows[i].sane ? 1 : -EIO))
			fail_msg("row %u", i);
		assert_int_equal(slba, rows[i].sane ? rows[i].zslba + 64 : 64);
	}
	expect_log("a report of the zones of namespace 1 makes no sense from the zone at block");
	/* a report of the last zone is the end, even where the numbers are */
	stop();
	start(ZONED ",plan=identify nsze=0xffffffffffffffff;identify zsze=0x8000000000000001");
	zone = (struct nvme_zns_zone *)(void *)(buf + 64);
	memset(buf, 0, 4096);
	head.nr_zones = 2;
	memcpy(buf, &head, sizeof(head));
	zone[0].zslba = zone[1].zslba = UINT64_C(0x8000000000000001);
	slba = 0;
	assert_int_equal(nvme__zns_take_report(ns, buf, 3, &slba, zones), -EIO);
	assert_int_equal(slba, UINT64_MAX);
	stop();
	start(ZONED);
	zone = (struct nvme_zns_zone *)(void *)(buf + 64);
	memset(buf, 0, 4096);

	/* the same zone twice, and more zones than there is room for */
	zone[0].zslba = zone[0].wp = zone[1].zslba = zone[1].wp = 64;
	zone[0].zcap = zone[1].zcap = 48;
	zone[0].zs = zone[1].zs = 0x10;
	head.nr_zones = 2;
	memcpy(buf, &head, sizeof(head));
	slba = 0;
	assert_int_equal(nvme__zns_take_report(ns, buf, 3, &slba, zones), -EIO);
	head.nr_zones = UINT64_MAX;
	memcpy(buf, &head, sizeof(head));
	slba = 0;
	assert_int_equal(nvme__zns_take_report(ns, buf, 1, &slba, zones), 1);
	assert_int_equal(slba, 128);
	stop();
}

/* ---- transfers of any size ---- */

/* What was sent: blocks of the last n commands that write, the oldest first. */
static void expect_pieces(const uint32_t *want, unsigned n)
{
	struct nvme_soft_cmd last[NVME_SOFT_LAST_CMDS];
	unsigned i;

	assert_true(nvme_soft_get_last_cmds(dev, last, NVME_SOFT_LAST_CMDS) >= n);
	for (i = 0; i < n; i++)
		assert_int_equal(NVME_GET(last[n - 1 - i].cmd.cdw12, NVME_RW_NLB) + 1, want[i]);
}

static void test_pieces(void **state)
{
	static const uint32_t three[] = {64, 64, 40}, two[] = {24, 60}, zeroes[] = {64, 64, 2};
	struct nvme_cpl cpl;
	uint32_t i;

	(void)state;
	start("soft:size=1M,zns=64");
	for (i = 0; i < ROOM; i++)
		buf[i] = (uint8_t)(i / 512 * 7 + i);
	assert_int_equal(nvme_ns_next_piece(ns, 1000, 10, 500), 54);
	assert_int_equal(nvme_ns_next_piece(ns, 1000, 63, 500), 1);
	assert_int_equal(nvme_ns_next_piece(ns, 10, 10, 500), 10);
	assert_int_equal(write_at(0, 168), 0);
	expect_pieces(three, 3);
	assert_int_equal(write_at(168, 84), 0);
	expect_pieces(two, 2);
	assert_memory_equal(mem, buf, 168 * 512);
	memset(buf, 0, ROOM);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 168, NULL), 0);
	expect_pieces(three, 3);
	assert_memory_equal(mem, buf, 168 * 512);
	assert_int_equal(nvme_ns_verify(ns, qp, 0, 168, NULL), 0);
	expect_pieces(three, 3);
	assert_int_equal(nvme_ns_compare(ns, qp, buf, 0, 168, NULL), 0);
	expect_pieces(three, 3);
	assert_int_equal(nvme_ns_write_zeroes(ns, qp, ZS(8), 130, 0, &cpl), 0);
	expect_pieces(zeroes, 3);
	assert_int_equal(zone_at(ZS(10)).wp, ZS(10) + 2);
	/* one command is sent as it is */
	assert_int_equal(command(NVME_OPC_WRITE, ZS(10) + 2, 63), BOUNDARY);
	stop();
}

/* Large writes go one by one, whatever the controller does with the order; others need not wait. */
static void test_large_writes(void **state)
{
	struct seen wrote, read;
	unsigned most = 0;
	uint32_t i;

	(void)state;
	start("soft:size=1M,zns=256,mdts=2,plan=on write delay 100us..900us");
	for (i = 0; i < ROOM; i++)
		buf[i] = (uint8_t)(i / 512 * 13 + i);
	memset(&wrote, 0, sizeof(wrote));
	memset(&read, 0, sizeof(read));
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 600, count, &wrote, 0), 0);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 1);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf + ROOM / 2, 1024, 900, count, &read, 0),
	                 0);
	assert_true(nvme_qpair_get_num_outstanding(qp) > 10);
	while (read.calls == 0)
		poll_once();
	while (wrote.calls == 0) {
		unsigned now = nvme_qpair_get_num_outstanding(qp);

		most = now > most ? now : most;
		poll_once();
	}
	assert_int_equal(most, 1);
	assert_int_equal(status_of(&read.cpl) | status_of(&wrote.cpl), 0);
	assert_memory_equal(mem, buf, 600 * 512 < ROOM / 2 ? 600 * 512 : ROOM / 2);
	assert_int_equal(zone_at(512).wp, 600);
	stop();
}

/* Two writes and reads at a time through a small queue: all end, and none waits for ever. */
static void test_large_writes_in_line(void **state)
{
	struct seen seen[4];
	unsigned i, polls = 0;

	(void)state;
	start_with("soft:size=1M,zns=256,mdts=1,plan=on cmd delay 0us..200us", 4);
	memset(seen, 0, sizeof(seen));
	memset(buf, 0x42, 300 * 512);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 300, count, &seen[0], 0), 0);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 512, 300, count, &seen[1], 0), 0);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf + ROOM / 2, 1024, 300, count, &seen[2],
	                                        0),
	                 0);
	while (seen[0].calls + seen[1].calls + seen[2].calls < 3 && polls++ < 10000)
		poll_once();
	for (i = 0; i < 3; i++) {
		assert_int_equal(seen[i].calls, 1);
		assert_int_equal(status_of(&seen[i].cpl), 0);
	}
	assert_int_equal(zone_at(256).wp, 300);
	assert_int_equal(zone_at(768).wp, 812);
	assert_memory_equal(mem, buf, 300 * 512);
	assert_memory_equal(mem + 512 * 512, buf, 300 * 512);
	/* the second child fails: nothing more is sent */
	assert_int_equal(nvme_soft_set_plan(dev, "on write #2 status 2/80"), 0);
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 1024, 100, count, &seen[3], 0), 0);
	assert_int_equal(wait_for(&seen[3]), 0x280);
	assert_int_equal(zone_at(1024).wp, 1024 + 16);
	stop();
}

/* A transfer behind one that waits for its turn has all slots that are free meanwhile. */
static void test_large_read_behind(void **state)
{
	struct seen wrote, read;
	unsigned i;

	(void)state;
	start_with("soft:size=1M,zns=256,mdts=1,plan=on write delay 50ms", 4);
	memset(&wrote, 0, sizeof(wrote));
	memset(&read, 0, sizeof(read));
	assert_int_equal(nvme_ns_cmd_write_large(ns, qp, buf, 0, 64, count, &wrote, 0), 0);
	assert_int_equal(nvme_ns_cmd_read_large(ns, qp, buf + ROOM / 2, 1024, 300, count, &read, 0),
	                 0);
	for (i = 0; i < 40; i++)
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	assert_int_equal(read.calls, 1);
	assert_int_equal(wrote.calls, 0);
	assert_int_equal(wait_for(&wrote), 0);
	assert_int_equal(zone_at(0).wp, 64);
	stop();
}

/* ---- what is refused before anything is sent ---- */

static void test_refused(void **state)
{
	struct nvme_zns_zone zone;
	struct nvme_soft_stats before, after;
	struct nvme_cpl cpl;
	uint32_t found;
	uint64_t lba;

	(void)state;
	start(ZONED);
	nvme_soft_get_stats(dev, &before);
#define REFUSED(call, rc, why)              \
	do {                                \
		assert_int_equal(call, rc); \
		expect_log(why);            \
	} while (0)
	REFUSED(nvme_zns_open_zone(ns, qp, 1, false, count, NULL), -EINVAL,
	        "no zone begins at block 1 of namespace 1: give a multiple of 64");
	REFUSED(nvme_zns_reset_zone(ns, qp, 2048, false, count, NULL), -ERANGE,
	        "the namespace ends before");
	REFUSED(nvme_zns_finish_zone(ns, qp, 0, false, NULL, NULL), -EINVAL, "it has no callback");
	REFUSED(nvme_zns_close_zone(ns, NULL, 0, false, count, NULL), -EINVAL,
	        "it has no queue pair");
	REFUSED(nvme_zns_manage_zone(ns, qp, 63, false, NVME_ZONE_OPEN, &cpl), -EINVAL,
	        "no zone begins at block 63");
	REFUSED(nvme_zns_manage_zone(ns, qp, 0, false, NVME_ZONE_SET_ZDE, &cpl), -EINVAL,
	        "it has data, or there is no such action");
	REFUSED(nvme_zns_manage_zone(ns, qp, 0, true, (enum nvme_zone_send_action)0, &cpl), -EINVAL,
	        "there is no such action");
	REFUSED(nvme_zns_manage_zone(ns, qp, 0, true, (enum nvme_zone_send_action)6, &cpl), -EINVAL,
	        "there is no such action");
	assert_int_equal(status_of(&cpl), 0x371);

	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 0, buf, 64, count, NULL), -EINVAL,
	        "len is not nvme_zns_ns_get_zone_desc_ext_size()");
	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 64 + 1, buf, 128, count, NULL), -EINVAL,
	        "no zone begins at block 65");
	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 0, NULL, 128, count, NULL), -EINVAL,
	        "buf is NULL");
	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 0, &cpl, 128, count, NULL), -EFAULT,
	        "not DMA memory of one buffer");

	REFUSED(nvme_zns_report_zones(ns, qp, buf, 60, 0, NVME_ZRA_LIST_ALL, true, count, NULL),
	        -EINVAL, "len is a multiple of 4, and at least 64");
	REFUSED(nvme_zns_report_zones(ns, qp, buf, 66, 0, NVME_ZRA_LIST_ALL, true, count, NULL),
	        -EINVAL, "len is a multiple of 4, and at least 64");
	REFUSED(nvme_zns_report_zones(ns, qp, buf, (512 << 10) + 4, 0, NVME_ZRA_LIST_ALL, true,
	                              count, NULL),
	        -EMSGSIZE, "bytes are too many for one command");
	REFUSED(nvme_zns_report_zones(ns, qp, buf, 64, 2048, NVME_ZRA_LIST_ALL, true, count, NULL),
	        -ERANGE, "the namespace ends before");
	REFUSED(nvme_zns_ext_report_zones(ns, qp, buf, 64, 0, (enum nvme_zone_report_opts)8, true,
	                                  count, NULL),
	        -EINVAL, "there are no such zones");
	REFUSED(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, NULL, 1, &found, &cpl), -EINVAL,
	        "there is no room for a zone");
	found = 7;
	REFUSED(nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, &zone, 0, &found, &cpl), -EINVAL,
	        "there is no room for a zone");
	assert_int_equal(found, 0);
	REFUSED(nvme_zns_get_zones(ns, qp, 0, (enum nvme_zone_report_opts)9, &zone, 1, &found,
	                           NULL),
	        -EINVAL, "there are no such zones");

	REFUSED(nvme_zns_zone_append(ns, qp, buf, 1, 1, count, NULL, 0), -EINVAL,
	        "no zone begins at block 1");
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 33, count, NULL, 0), -EMSGSIZE,
	        "33 blocks are too many for one command: send at most 32 (ZASL)");
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 0, count, NULL, 0), -EINVAL,
	        "no blocks were asked for");
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 1, count, NULL, 1), -EINVAL,
	        "a flag is unknown");
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 1, NULL, NULL, 0), -EINVAL,
	        "it has no callback");
	REFUSED(nvme_zns_zone_append(ns, qp, &cpl, 0, 1, count, NULL, 0), -EFAULT,
	        "not DMA memory of one buffer");
	lba = 9;
	REFUSED(nvme_zns_append(ns, qp, buf, 0, 0, &lba, &cpl), -EINVAL,
	        "no blocks were asked for");
	REFUSED(nvme_zns_append(ns, qp, buf, 0, 33, &lba, &cpl), -EMSGSIZE, "(ZASL)");
	assert_int_equal(lba, 9);
	nvme_soft_get_stats(dev, &after);
	assert_int_equal(after.io_cmds, before.io_cmds);
	stop();

	start("soft:size=1M,zns=4");
	REFUSED(nvme_zns_zone_append(ns, qp, buf, 0, 5, count, NULL, 0), -EMSGSIZE,
	        "send at most 4 (a zone has no more)");
	REFUSED(nvme_zns_set_zone_desc_ext(ns, qp, 0, buf, 0, count, NULL), -ENOTSUP,
	        "the zones of namespace 1 have no descriptor extensions (ZDES)");
	REFUSED(nvme_zns_ext_report_zones(ns, qp, buf, 64, 0, NVME_ZRA_LIST_ALL, true, count, NULL),
	        -ENOTSUP, "have no descriptor extensions");
#undef REFUSED
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_SEND, 0, 0, NVME_ZONE_SET_ZDE, 64),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(raw(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0, 63, NVME_ZRA_EXT_REPORT, 256),
	                 GEN(NVME_SC_INVALID_FIELD));
	assert_int_equal(nvme_soft_set_zone_state(dev, 1, 0, NVME_ZONE_STATE_FULL), -EINVAL);
	assert_int_equal(nvme_soft_set_zone_state(dev, 2, 0, NVME_ZONE_STATE_OFFLINE), -EINVAL);
	assert_int_equal(nvme_soft_set_zone_state(dev, 1, 2048, NVME_ZONE_STATE_OFFLINE), -EINVAL);
	stop();
}

/* ---- Format, Sanitize, and what a controller says of its commands ---- */

static void test_format(void **state)
{
	struct nvme_format format;
	struct nvme_sanitize what;
	uint64_t lba;

	(void)state;
	start("soft:size=1M,zns=64,zcap=48,zdes=64,mar=2");
	memset(buf, 0x11, 4096);
	put_zone(ZS(0), IO);
	put_zone(ZS(1), C);
	memset(&format, 0, sizeof(format));
	format.lbaf = 3; /* 4096 bytes */
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), 0);
	assert_int_equal(nvme_ns_get_num_sectors(ns), 256);
	assert_int_equal(nvme_zns_ns_get_num_zones(ns), 4);
	assert_int_equal(nvme_zns_ns_get_zone_size(ns), 64 * 4096);
	assert_int_equal(state_at(ZS(0)), E);
	assert_int_equal(state_at(ZS(1)), E);
	put_zone(ZS(2), IO); /* and none is active any more */
	put_zone(ZS(3), IO);
	assert_int_equal(nvme_zns_append(ns, qp, buf, ZS(3), 1, &lba, NULL), 0);
	assert_int_equal(lba, ZS(3) + 1);
	/* a block so large that there is no whole zone */
	format.lbaf = 7;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), -EIO);
	assert_int_equal(zone_at(ZS(3)).wp, ZS(3) + 2);
	memset(&what, 0, sizeof(what));
	what.action = NVME_SANITIZE_BLOCK_ERASE;
	assert_int_equal(nvme_ctrlr_sanitize(ctrlr, &what, NULL), 0);
	while (manage(NVME_ZONE_FINISH, ZS(0), false) != 0)
		;
	assert_int_equal(state_at(ZS(0)), F);
	assert_int_equal(state_at(ZS(3)), E);
	stop();
}

/* A namespace that another has taken the place of: what it was is forgotten. */
static void test_not_zoned_any_more(void **state)
{
	struct nvme_format format;

	(void)state;
	start(ZONED);
	assert_int_equal(nvme_soft_set_plan(dev, "identify csi=0"), 0);
	memset(&format, 0, sizeof(format));
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), 0);
	assert_int_equal(nvme_ns_get_csi(ns), NVME_CSI_NVM);
	assert_int_equal(nvme_zns_ns_get_zone_size_sectors(ns), 0);
	assert_null(nvme_zns_ns_get_data(ns));
	assert_int_equal(nvme_ns_next_piece(ns, 1000, 0, 500), 500);
	stop();
}

static uint32_t effects_of(uint8_t opc)
{
	uint32_t log[1024];

	assert_int_equal(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, log,
	                                         sizeof(log), 0, NULL),
	                 0);
	return log[256 + opc];
}

static void test_command_sets(void **state)
{
	uint8_t data[4096];
	struct nvme_cmd cmd;

	(void)state;
	start(ZONED);
	assert_int_equal(effects_of(NVME_OPC_ZONE_MANAGEMENT_SEND), 3);
	assert_int_equal(effects_of(NVME_OPC_ZONE_MANAGEMENT_RECEIVE), 1);
	assert_int_equal(effects_of(NVME_OPC_ZONE_APPEND), 3);
	nvme__cmd_init(&cmd, NVME_OPC_IDENTIFY, 0);
	cmd.cdw10 = NVME_ID_CNS_IOCS;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, data, sizeof(data), NULL), 0);
	assert_int_equal(data[0], 0x5); /* NVM and zoned */
	cmd.cdw10 = NVME_ID_CNS_ACTIVE_NS_LIST_IOCS;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, data, sizeof(data), NULL), 0);
	assert_int_equal(data[0], 0); /* none of the NVM command set */
	cmd.cdw11 = NVME_SET(NVME_CSI_ZNS, NVME_IDENTIFY_CSI);
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, data, sizeof(data), NULL), 0);
	assert_int_equal(data[0], 1);
	stop();
	start("soft:size=1M");
	assert_int_equal(effects_of(NVME_OPC_ZONE_APPEND), 0);
	assert_int_equal(effects_of(NVME_OPC_WRITE), 3);
	stop();
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_EMPTY), "EMPTY");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_IOPEN), "IMPLICITLY OPENED");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_EOPEN), "EXPLICITLY OPENED");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_CLOSED), "CLOSED");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_READ_ONLY), "READ ONLY");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_FULL), "FULL");
	assert_string_equal(nvme_zone_state_name(NVME_ZONE_STATE_OFFLINE), "OFFLINE");
	assert_string_equal(nvme_zone_state_name(0), "RESERVED");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_CLOSE), "CLOSE ZONE");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_FINISH), "FINISH ZONE");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_OPEN), "OPEN ZONE");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_RESET), "RESET ZONE");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_OFFLINE), "OFFLINE ZONE");
	assert_string_equal(nvme_zone_action_name(NVME_ZONE_SET_ZDE),
	                    "SET ZONE DESCRIPTOR EXTENSION");
	assert_string_equal(nvme_zone_action_name(0xff), "RESERVED");
}

/* The text of a device. */
static void test_options(void **state)
{
	static const char *const wrong[][2] = {
		{"soft:zcap=4", "mean nothing without zones"},
		{"soft:mor=4", "mean nothing without zones"},
		{"soft:mar=4", "mean nothing without zones"},
		{"soft:zasl=4", "mean nothing without zones"},
		{"soft:zdes=64", "mean nothing without zones"},
		{"soft:zns=4,zcap=5", "a zone has at least zcap=5"},
		{"soft:zns=2049,size=1M", "size= at least one zone"},
		{"soft:zns=4,mor=3,mar=2", "mor=3 is more than mar=2"},
		{"soft:zns=4,zdes=65", "give a multiple of 64"},
		{"soft:zns=4,ms=8", "zones go neither with metadata"},
		{"soft:zns=4,file=x", "leave ms=, file= and css= out"},
		{"soft:zns=4,css=1", "need CAP.CSS bit 6"},
	};
	char why[512];
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(nvme_soft_check(wrong[i][0], why, sizeof(why)), -EINVAL);
		if (strstr(why, wrong[i][1]) == NULL)
			fail_msg("%s: %s", wrong[i][0], why);
	}
	assert_int_equal(nvme_soft_check("soft:zns=2048,size=1M,zcap=1,mor=2,mar=2,zdes=4096", why,
	                                 sizeof(why)),
	                 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_without_zones),
		cmocka_unit_test(test_transitions),
		cmocka_unit_test(test_select_all),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_other_writes),
		cmocka_unit_test(test_failed_write),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_appends_at_once),
		cmocka_unit_test(test_far_append),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_reports),
		cmocka_unit_test(test_get_zones),
		cmocka_unit_test(test_made_up),
		cmocka_unit_test(test_wrong_append),
		cmocka_unit_test(test_wrong_reports),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_large_writes),
		cmocka_unit_test(test_large_writes_in_line),
		cmocka_unit_test(test_large_read_behind),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_not_zoned_any_more),
		cmocka_unit_test(test_command_sets),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
