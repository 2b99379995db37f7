// SPDX-License-Identifier: MIT
/*
 * What nvtrace says of single fields: their bits, the places in the specification, what a filter
 * makes of them, and the times of a completion and its command. NVTRACE in the environment names
 * another build.
 */
#include "make_trace.h"

static const char *nvtrace = "$BUILD/nvtrace";

static int begin(void **state)
{
	nvtrace = getenv("NVTRACE") != NULL ? getenv("NVTRACE") : nvtrace;
	return make_dir(state);
}

static void hex(char *text, const void *from, size_t len)
{
	const uint8_t *bytes = from;
	size_t i;

	for (i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* What nvtrace --hex prints of a command. */
static void decode(struct result *r, const char *options, uint16_t qid, const struct nvme_cmd *cmd)
{
	char text[2 * sizeof(*cmd) + 1];

	hex(text, cmd, sizeof(*cmd));
	run(r, "echo sqe %u %s | %s --hex %s", qid, text, nvtrace, options);
	expect_status(r, 0);
}

/* ---- bits ---- */

/* Each field gets a value that is in no other place of the dword. */
static void test_bits(void **state)
{
	const struct nvme_cmd log_page = {.opc = NVME_OPC_GET_LOG_PAGE,
	                                  .cdw10 = 0x12349c02,
	                                  .cdw11 = 0x0005abcd};
	const struct {
		uint32_t cdw11;
		const char *what[2];
	} queues[] = {
		{NVME_SET(4, NVME_CREATE_IO_SQ_CQID) | NVME_SET(0, NVME_CREATE_IO_SQ_QPRIO) | 1,
	         {"[2:1] QPRIO : 0 urgent\n", "[0:0] PC : 0x1 yes\n"}},
		{NVME_SET(4, NVME_CREATE_IO_SQ_CQID) | NVME_SET(1, NVME_CREATE_IO_SQ_QPRIO),
	         {"[2:1] QPRIO : 0x1 high\n", "[0:0] PC : 0 no\n"}},
		{NVME_SET(4, NVME_CREATE_IO_SQ_CQID) | NVME_SET(2, NVME_CREATE_IO_SQ_QPRIO) | 1,
	         {"[2:1] QPRIO : 0x2 medium\n", "[0:0] PC : 0x1 yes\n"}},
		{NVME_SET(4, NVME_CREATE_IO_SQ_CQID) | NVME_SET(3, NVME_CREATE_IO_SQ_QPRIO),
	         {"[2:1] QPRIO : 0x3 low\n", "[31:16] CQID : 0x4\n"}},
	};
	struct nvme_cmd cmd = {.opc = NVME_OPC_CREATE_IO_SQ, .cdw10 = 0x00ff0003};
	struct result r;
	size_t i;

	(void)state;
	decode(&r, "-H", 0, &log_page);
	/* (ABCD1234h + 1) dwords */
	expect_in(&r, r.out, "[31:16] NUMDL : 0x1234 with NUMDU 11529373908 bytes in all\n");
	expect_in(&r, r.out, "[15:15] RAE : 0x1 yes\n");
	expect_in(&r, r.out, "[14:8] LSP : 0x1c\n");
	expect_in(&r, r.out, "[7:0] LID : 0x2 ");
	expect_in(&r, r.out, "[31:16] LSI : 0x5\n");
	expect_in(&r, r.out, "[15:0] NUMDU : 0xabcd\n");
	done(&r);
	for (i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		cmd.cdw11 = queues[i].cdw11;
		decode(&r, "-H", 0, &cmd);
		expect_in(&r, r.out, "[31:16] QSIZE : 0xff 256 entries\n");
		expect_in(&r, r.out, "[15:0] QID : 0x3\n");
		expect_in(&r, r.out, queues[i].what[0]);
		expect_in(&r, r.out, queues[i].what[1]);
		done(&r);
	}
}

/* What is done with zones, what is reported of them, and where an append has written. */
static void test_zones(void **state)
{
	static const struct {
		uint32_t opc, cdw13;
		const char *what[3];
	} rows[] = {
		{0x79, 0x001, {"[7:0] ZSA : 0x1 CLOSE ZONE\n", "[8:8] SELALL : 0 no\n"}},
		{0x79, 0x102, {"[7:0] ZSA : 0x2 FINISH ZONE\n", "[8:8] SELALL : 0x1 yes\n"}},
		{0x79, 0x003, {"[7:0] ZSA : 0x3 OPEN ZONE\n"}},
		{0x79, 0x004, {"[7:0] ZSA : 0x4 RESET ZONE\n"}},
		{0x79, 0x005, {"[7:0] ZSA : 0x5 OFFLINE ZONE\n"}},
		{0x79, 0x010, {"[7:0] ZSA : 0x10 SET ZONE DESCRIPTOR EXTENSION\n"}},
		{0x79, 0x07f, {"[7:0] ZSA : 0x7f RESERVED\n"}},
		{0x7a, 0x00000, {"[15:8] ZRASF : 0 all zones\n", "[7:0] ZRA : 0 report\n"}},
		{0x7a,
	         0x10101,
	         {"[16:16] PR : 0x1 yes\n", "[15:8] ZRASF : 0x1 empty\n",
	          "[7:0] ZRA : 0x1 extended report\n"}},
		{0x7a,
	         0x00202,
	         {"[15:8] ZRASF : 0x2 implicitly opened\n", "[7:0] ZRA : 0x2 reserved\n"}},
		{0x7a, 0x00300, {"ZRASF : 0x3 explicitly opened\n", "NUMD : 0x3ff 4096 bytes\n"}},
		{0x7a, 0x00400, {"ZRASF : 0x4 closed\n"}},
		{0x7a, 0x00500, {"ZRASF : 0x5 full\n"}},
		{0x7a, 0x00600, {"ZRASF : 0x6 read only\n"}},
		{0x7a, 0x00700, {"ZRASF : 0x7 offline\n"}},
		{0x7a, 0x00800, {"ZRASF : 0x8 reserved\n"}},
	};
	struct nvme_cpl cpl = {.cdw0 = 67, .cdw1 = 2, .sqid = 1, .cid = 5};
	struct result r;
	struct trace t;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct nvme_cmd zone = {.opc = (uint8_t)rows[i].opc,
		                              .cdw12 = 1023,
		                              .cdw13 = rows[i].cdw13};

		decode(&r, "-H", 1, &zone);
		for (k = 0; k < 3 && rows[i].what[k] != NULL; k++)
			expect_in(&r, r.out, rows[i].what[k]);
		done(&r);
	}
	for (i = 0; i < 2; i++) { /* one that was written, and one that was not */
		cpl.status = (uint16_t)(i == 0 ? 0 : 0xb9 << 1 | 1 << 9);
		trace_open(&t, "append.nvt");
		put_cmd(&t, 1, 5, NVME_OPC_ZONE_APPEND, 64, 0, 3, 0x20000);
		put(&t, NVME_TRACE_CQE, 1, &cpl, sizeof(cpl));
		trace_close(&t);
		run(&r, "%s -H --explain %s", nvtrace, path("append.nvt"));
		expect_status(&r, 0);
		expect_in(&r, r.out, "[63:0] ZSLBA : 0x40 block 64\n");
		if (i == 0) {
			expect_in(&r, r.out,
			          "[63:0] ALBA : 0x200000043 the first block that was written\n");
			expect_in(&r, r.out, "written from block 8589934659 on, where the write");
		} else {
			assert_null(strstr(r.out, "ALBA"));
			assert_null(strstr(r.out, "8589934659"));
			expect_in(&r, r.out, "status code b9h (ZONE IS FULL)");
		}
		done(&r);
	}
}

/* ---- what is done ---- */

/* The fields of features, actions by name, zeros that mean something, and data only where it is. */
static void test_meanings(void **state)
{
	static const char data[] = "data are in host memory";
	static const struct {
		uint16_t qid;
		uint8_t opc;
		uint32_t cdw10, cdw11;
		const char *says, *not ; /* says in -H and --explain, or in one of them */
	} cases[] = {
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_ARBITRATION, 0x01000003,
	         "High Priority Weight (HPW) is 1: 2 commands.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_ARBITRATION, 7, "[2:0] AB : 0x7 no limit\n",
	         data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_ARBITRATION, 0,
	         "(AB) is 0: 1 command at a time.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_POWER_MANAGEMENT, 0x45, "[7:5] WH : 0x2\n",
	         data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD, 0x1f0157,
	         "(THSEL) is 1: below it.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD, 0x1f0157,
	         "(TMPSEL) is 15: all sensors.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD, 0x20157,
	         "(TMPSEL) is 2: sensor 2.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD, 0x100,
	         "(TMPTH) is 256: -17 degrees Celsius.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_ERROR_RECOVERY, 0x10003,
	         "(TLER) is 3: 300 ms.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_VOLATILE_WRITE_CACHE, 0,
	         "Volatile Write Cache Enable (WCE) is 0: no.", "CDW11) is"},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_NUMBER_OF_QUEUES, 0x70000,
	         "(NCQR) is 7: asks for 8 completion queues.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_NUMBER_OF_QUEUES, 0x70000,
	         "[15:0] NSQR : 0 asks for 1 submission queue\n", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_INTERRUPT_COALESCING, 0x0203,
	         "(TIME) is 2: 200 us.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_INTERRUPT_COALESCING, 0x0203,
	         "(THR) is 3: 4 completions.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_ASYNC_EVENT_CONFIG, 0x100,
	         "Namespace Attribute Notices (NAN) is 1: yes.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_KEEP_ALIVE_TIMER, 0, "(KATO) is 0: off.",
	         data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_NS_WRITE_PROTECTION, 1,
	         "(WPS) is 1: write protected.", data},
		{0, NVME_OPC_SET_FEATURES, NVME_FEAT_AUTO_POWER_STATE_TRANSITION, 1, data,
	         "CDW11) is"},
		{0, NVME_OPC_GET_FEATURES, NVME_FEAT_TIMESTAMP, 0, data, "CDW11) is"},
		{0, NVME_OPC_GET_FEATURES, NVME_FEAT_POWER_MANAGEMENT, 0, "(SEL) is 0: current.",
	         data},
		{0, NVME_OPC_SET_FEATURES, 0xc0, 5, "Feature Specific (CDW11) is 5.", NULL},
		{0, NVME_OPC_CREATE_IO_CQ, 0x10001, 1,
	         "The queue is in host memory, from 0x1000 on", data},
		{0, NVME_OPC_NS_MANAGEMENT, 0, 0, "Select (SEL) is 0: create.", NULL},
		{0, NVME_OPC_NS_MANAGEMENT, 1, 0, "Select (SEL) is 1: delete.", NULL},
		{0, NVME_OPC_NS_ATTACHMENT, 0, 0, "Select (SEL) is 0: attach.", NULL},
		{0, NVME_OPC_FIRMWARE_COMMIT, 3 << 3, 0, "the slot and activate it now.", NULL},
		{0, NVME_OPC_DEVICE_SELF_TEST, 2, 0, "(STC) is 2: extended self-test.", NULL},
		{0, NVME_OPC_DEVICE_SELF_TEST, 15, 0, "(STC) is 15: abort the self-test.", NULL},
		{1, NVME_OPC_RESERVATION_REGISTER, 0, 0, "(RREGA) is 0: register.", NULL},
		{1, NVME_OPC_RESERVATION_ACQUIRE, 0x301, 0,
	         "(RTYPE) is 3: write exclusive, registrants only.", NULL},
		{1, NVME_OPC_RESERVATION_ACQUIRE, 0x301, 0, "(RACQA) is 1: preempt.", NULL},
		{1, NVME_OPC_RESERVATION_RELEASE, 1, 0, "(RRELA) is 1: clear.", "(RTYPE)"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nvme_cmd cmd = {.opc = cases[i].opc, .nsid = 1};

		cmd.dptr.prp.prp1 = 0x1000;
		cmd.cdw10 = cases[i].cdw10;
		cmd.cdw11 = cases[i].cdw11;
		decode(&r, "-H --explain", cases[i].qid, &cmd);
		expect_in(&r, r.out, cases[i].says);
		if (cases[i].not != NULL && strstr(r.out, cases[i].not ) != NULL)
			fail_msg("case %zu says %s:\n%s", i, cases[i].not, r.out);
		done(&r);
	}
}

/* What Get Features tells is in DW0 of its completion. */
static void test_feature_that_is_told(void **state)
{
	struct nvme_cpl cpl = {.cdw0 = 0x157, .status = 1};
	struct result r;
	struct trace t;

	(void)state;
	trace_open(&t, "feature.nvt");
	put_cmd(&t, 0, 0, NVME_OPC_GET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0, 0);
	put(&t, NVME_TRACE_CQE, 0, &cpl, sizeof(cpl));
	put_cmd(&t, 0, 0, NVME_OPC_GET_FEATURES, NVME_FEAT_TEMPERATURE_THRESHOLD | 3 << 8, 0, 0, 0);
	put(&t, NVME_TRACE_CQE, 0, &cpl, sizeof(cpl));
	trace_close(&t);
	run(&r, "%s -H %s | grep -c 'TMPTH : 0x157 70 degrees'", nvtrace, path("feature.nvt"));
	assert_string_equal(r.out, "1\n"); /* not what is supported */
	done(&r);
}

/* ---- the specification ---- */

static void test_citations(void **state)
{
	static const struct {
		uint16_t qid;
		uint8_t opc;
		const char *place;
	} cases[] = {
		{0, NVME_OPC_DELETE_IO_SQ, "[Base 2.1: Delete I/O Submission Queue command]"},
		{0, NVME_OPC_CREATE_IO_SQ,
	         "[Base 2.1 §5.2.2: Create I/O Submission Queue command]"},
		{0, NVME_OPC_GET_LOG_PAGE, "[Base 2.1 §5.1.12: Get Log Page command]"},
		{0, NVME_OPC_DELETE_IO_CQ, "[Base 2.1: Delete I/O Completion Queue command]"},
		{0, NVME_OPC_CREATE_IO_CQ,
	         "[Base 2.1 §5.2.1: Create I/O Completion Queue command]"},
		{0, NVME_OPC_IDENTIFY, "[Base 2.1 §5.1.13: Identify command]"},
		{0, NVME_OPC_ABORT, "[Base 2.1: Abort command]"},
		{0, NVME_OPC_ASYNC_EVENT_REQUEST, "[Base 2.1: Asynchronous Event Request command]"},
		{0, NVME_OPC_FORMAT_NVM, "[Base 2.1: Format NVM command]"},
		{0, NVME_OPC_GET_LBA_STATUS, "[NVM 1.1: Get LBA Status command]"},
		{1, NVME_OPC_FLUSH, "[Base 2.1 §7.2: Flush command]"},
		{1, NVME_OPC_WRITE, "[NVM 1.1 §3.3.6: Write command]"},
		{1, NVME_OPC_READ, "[NVM 1.1 §3.3.4: Read command]"},
		{1, NVME_OPC_COMPARE, "[NVM 1.1: Compare command]"},
		{1, NVME_OPC_VERIFY, "[NVM 1.1: Verify command]"},
		{1, NVME_OPC_ZONE_APPEND, "[ZNS: Zone Append command]"},
		/* the command dword and the data pointer are cited with every command */
		{1, NVME_OPC_READ, "[Base 2.1 §4.1.1, Fig. 91: Command Dword 0]"},
		{1, NVME_OPC_READ, "[Base 2.1 §4.3.1: Physical Region Page Entry and List]"},
	};
	static const struct {
		uint32_t offset;
		const char *place;
	} registers[] = {
		{NVME_REG_CC, "[Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]"},
		{NVME_REG_AQA, "[Base 2.1 §3.1.4.8, Fig. 44: Admin Queue Attributes]"},
		{NVME_REG_ASQ, "[Base 2.1 §3.1.4.9: Admin Submission Queue Base Address]"},
		{NVME_REG_ACQ, "[Base 2.1 §3.1.4.10: Admin Completion Queue Base Address]"},
		{NVME_REG_INTMS, "[Base 2.1 §3.1.4.3: Interrupt Mask Set]"},
		{NVME_REG_INTMC, "[Base 2.1 §3.1.4.4: Interrupt Mask Clear]"},
		{NVME_REG_NSSR, "[Base 2.1 §3.1.4.7, Fig. 43: NVM Subsystem Reset]"},
	};
	struct result r;
	struct trace t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nvme_cmd cmd = {.opc = cases[i].opc, .nsid = 1};

		cmd.dptr.prp.prp1 = 0x1000;
		decode(&r, "--explain", cases[i].qid, &cmd);
		expect_in(&r, r.out, cases[i].place);
		done(&r);
	}
	for (i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		trace_open(&t, "reg.nvt");
		put_reg(&t, registers[i].offset, 1);
		trace_close(&t);
		run(&r, "%s -v --explain %s", nvtrace, path("reg.nvt"));
		expect_status(&r, 0);
		expect_in(&r, r.out, registers[i].place);
		done(&r);
	}
}

/* ---- filters ---- */

/* How many lines of text the filter leaves of h.nvt. */
static void expect_filter(const char *filter, int lines)
{
	struct result r;
	int n = 0;
	char *at;

	run(&r, "%s -f '%s' %s", nvtrace, filter, path("h.nvt"));
	expect_status(&r, 0);
	for (at = r.out; (at = strchr(at, '\n')) != NULL; at++)
		n++;
	if (n != lines) {
		fprintf(stderr, "%s: %d lines, not %d\n", filter, n, lines);
		show(&r);
	}
	assert_int_equal(n, lines);
	done(&r);
}

/* 10 commands and their completions: LBA 100 to 109, a Verify last, at LBA 109. */
static void test_filter(void **state)
{
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "h.nvt");
	for (i = 0; i < 10; i++)
		put_io(&t, i, i < 9 ? NVME_OPC_READ : NVME_OPC_VERIFY, 100 + i, 2);
	trace_close(&t);
	expect_filter("kind==command && lba in 102..105", 4);
	expect_filter("kind==command && lba in 105..105", 1);
	expect_filter("kind==command && lba in 90..100", 1);
	expect_filter("kind==command && lba in 109..200", 1);
	expect_filter("kind==command && lba in 110..200", 0);
	expect_filter("opc==verify", 2);
	expect_filter("opc==read", 18);
	/* each command takes four records: SQE, doorbell, CQE, doorbell */
	expect_filter("record==1", 1);
	expect_filter("record in 5..12 && kind!=doorbell", 4);
	expect_filter("record in 37..100", 2);
}

/* Verify names blocks, as Read does. */
static void test_verify_range(void **state)
{
	struct result r;
	struct trace t;

	(void)state;
	trace_open(&t, "v.nvt");
	put_io(&t, 0, NVME_OPC_VERIFY, 77, 8);
	put_io(&t, 1, NVME_OPC_VERIFY, 99, 5);
	trace_close(&t);
	run(&r, "%s -c %s", nvtrace, path("v.nvt"));
	expect_status(&r, 0);
	/* count, errors, blocks */
	expect_in(&r, expect_in(&r, r.out, "(0ch) "), "   2       0         13 ");
	expect_in(&r, r.out, "lba:77 len:8: SUCCESS (00/00)\n");
	done(&r);
}

/* ---- times ---- */

/* A completion with an earlier time than its command's has no latency, and that is said. */
static void test_older_than_its_command(void **state)
{
	static const char older[] = "it is older than its command";
	struct result r;
	struct trace t;
	int old;

	(void)state;
	for (old = 0; old < 2; old++) {
		trace_open(&t, "t.nvt");
		put_cmd(&t, 1, 0, NVME_OPC_READ, 0, 0, 0, 0x20000);
		t.time -= old ? 5000 : 1000; /* a slot later is 1000 ns later: so not at once */
		put_cpl(&t, 1, 0, 1);
		trace_close(&t);
		run(&r, "%s -v --latency %s", nvtrace, path("t.nvt"));
		if (old)
			expect_in(&r, r.out, older);
		else
			assert_null(strstr(r.out, older));
		done(&r);
		run(&r, "%s -T json %s", nvtrace, path("t.nvt"));
		assert_int_equal(strstr(r.out, "latency_ns") == NULL, old);
		done(&r);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),         cmocka_unit_test(test_zones),
		cmocka_unit_test(test_meanings),     cmocka_unit_test(test_feature_that_is_told),
		cmocka_unit_test(test_citations),    cmocka_unit_test(test_filter),
		cmocka_unit_test(test_verify_range), cmocka_unit_test(test_older_than_its_command),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, begin, remove_dir);
}
