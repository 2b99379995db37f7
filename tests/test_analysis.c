// SPDX-License-Identifier: MIT
/*
 * What nvtrace makes of a trace: summary, merge, diff, the HTML page and the SVG picture.
 * NVTRACE and HELLO_WORLD in the environment name other builds of the two programs.
 */
#include "make_trace.h"
#include <inttypes.h>

static const char *nvtrace = "$BUILD/nvtrace", *hello_world = "$BUILD/hello_world";

static int make_traces(void **state)
{
	if (make_dir(state) != 0)
		return 1;
	nvtrace = getenv("NVTRACE") != NULL ? getenv("NVTRACE") : nvtrace;
	hello_world = getenv("HELLO_WORLD") != NULL ? getenv("HELLO_WORLD") : hello_world;
	return 0;
}

static const char *record_hello_world(void)
{
	struct result r;

	run(&r, "NVME_TRACE=%s %s", path("hello.nvt"), hello_world);
	expect_status(&r, 0);
	done(&r);
	return path("hello.nvt");
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		n++;
	return n;
}

/* "51 commands in FILE are ...", or no such line where there are none. */
static void expect_count(const struct result *r, const char *what, int commands)
{
	const char *at = strstr(r->out, what);

	if (at == NULL) {
		if (commands != 0)
			expect_in(r, r->out, what);
		return;
	}
	while (at > r->out && at[-1] != '\n')
		at--;
	if (atoi(at) != commands)
		show(r);
	assert_int_equal(atoi(at), commands);
}

/* ---- a log of QEMU ---- */

/* What QEMU says of a command; the zeroes are as put_io() and put_cmd() have it. */
struct qemu_io {
	unsigned opc;
	uint32_t lba, blocks;
	unsigned bytes;
	uint64_t prp1, prp2;
	const char *line; /* of the data: read or write; NULL: as the opcode is */
};

static void put_qemu(FILE *f, uint32_t cid, struct qemu_io io, const char *time)
{
	const char *name = io.opc == NVME_OPC_READ ? "READ" : "WRITE";
	const char *line = io.line != NULL ? io.line : io.opc == NVME_OPC_READ ? "read" : "write";

	fprintf(f, "%spci_nvme_io_cmd cid %u nsid 0x1 sqid 1 opc 0x%x opname 'NVME_NVM_CMD_%s'\n",
	        time, cid, io.opc, name);
	fprintf(f, "%spci_nvme_%s cid %u %snsid 1 nlb %u count %u lba 0x%x\n", time, line, cid,
	        strcmp(line, "write") == 0 ? "opname 'NVME_NVM_CMD_WRITE' " : "", io.blocks,
	        io.bytes, io.lba);
	fprintf(f,
	        "%spci_nvme_map_prp trans_len %u len %u prp1 0x%" PRIx64 " prp2 0x%" PRIx64
	        " num_prps 1\n",
	        time, io.bytes, io.bytes, io.prp1, io.prp2);
	fprintf(f, "%spci_nvme_enqueue_req_completion cid %u cqid 1 dw0 0x0 dw1 0x0 status 0x0\n",
	        time, cid);
}

static void put_qemu_io(FILE *f, uint32_t n, unsigned opc, uint32_t lba, uint32_t blocks)
{
	struct qemu_io io = {opc, lba, blocks, blocks * 512, 0x20000, 0, NULL};

	put_qemu(f, n, io, "");
}

static FILE *open_qemu_log(void)
{
	FILE *f = fopen(path("q.log"), "w");

	assert_non_null(f);
	/* firmware was here before */
	fprintf(f, "pci_nvme_mmio_cfg wrote MMIO, config controller config=0x460001\n"
	           "pci_nvme_admin_cmd cid 9 sqid 0 opc 0x6 opname 'NVME_ADM_CMD_IDENTIFY'\n"
	           "pci_nvme_enqueue_req_completion cid 9 cqid 0 dw0 0x0 dw1 0x0 status 0x0\n"
	           "pci_nvme_mmio_cfg wrote MMIO, config controller config=0x460001\n"
	           "pci_nvme_admin_cmd cid 0 sqid 0 opc 0x5 opname 'NVME_ADM_CMD_CREATE_CQ'\n"
	           "pci_nvme_create_cq create completion queue, addr=0x10000, cqid=1, vector=0, "
	           "qsize=3, qflags=1, ien=0\n"
	           "pci_nvme_enqueue_req_completion cid 0 cqid 0 dw0 0x0 dw1 0x0 status 0x0\n"
	           "pci_nvme_admin_cmd cid 0 sqid 0 opc 0x1 opname 'NVME_ADM_CMD_CREATE_SQ'\n"
	           "pci_nvme_create_sq create submission queue, addr=0x10000, sqid=1, cqid=1, "
	           "qsize=3, qflags=1\n"
	           "pci_nvme_enqueue_req_completion cid 0 cqid 0 dw0 0x0 dw1 0x0 status 0x0\n");
	return f;
}

/* ---- summary ---- */

static void test_summary(void **state)
{
	struct result r;
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "a.nvt");
	put_start(&t);
	for (i = 0; i < 9; i++)
		put_io(&t, i, NVME_OPC_READ, i, 8);
	put_cmd(&t, 1, 9, NVME_OPC_WRITE, 1, 0, 0, 0x20000);
	t.time += 5000000;
	put_cpl(&t, 1, 9, 0x80 << 1);
	put_cpl(&t, 1, 77, 0);
	put_cmd(&t, 1, 10, NVME_OPC_WRITE, 1, 0, 0, 0x20000);
	trace_close(&t);
	run(&r, "%s -c %s", nvtrace, path("a.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "13 commands, 13 completions, 1 errors\n");
	expect_in(&r, r.out, "1 completions without a command\n");
	expect_in(&r, r.out, "1 commands without a completion\n");
	expect_in(&r, expect_in(&r, r.out, "\n1      READ "),
	          " 9       0         72             -   2.00 us   2.00 us   2.00 us   2.00 us   "
	          "2.00 us   2.00 us   2.00 us\n");
	expect_in(&r, r.out, "LBA OUT OF RANGE (00/80)\n");
	expect_in(&r, r.out, "latency of I/O commands (10)\n");
	expect_in(&r, r.out, "queue 1: commands outstanding, at most 1\n");
	expect_in(&r, r.out, "slowest commands\n    5.00 ms  #");
	done(&r);
	run(&r, "%s -c %s", nvtrace, record_hello_world());
	expect_status(&r, 0);
	expect_in(&r, r.out, " errors\n");
	expect_in(&r, r.out, "SQ doorbells");
	done(&r);
}

/* QEMU's log says itself how many bytes a command moves. */
static void test_summary_qemu(void **state)
{
	struct result r;
	uint32_t i;
	FILE *f = open_qemu_log();

	(void)state;
	for (i = 0; i < 5; i++)
		put_qemu_io(f, i, i < 3 ? NVME_OPC_READ : NVME_OPC_WRITE, i, 8);
	fclose(f);
	run(&r, "%s -c %s", nvtrace, path("q.log"));
	expect_status(&r, 0);
	expect_in(&r, r.out,
	          "\n1      WRITE                            2       0         16          8192 ");
	expect_in(&r, r.out,
	          "\n1      READ                             3       0         24         12288 ");
	done(&r);
}

/* Many latencies: the percentiles come from buckets of 3 %. */
static void test_percentiles(void **state)
{
	struct result r;
	struct trace t;
	uint32_t i;
	double mean, p50, p90, p99, p999;

	(void)state;
	trace_open(&t, "p.nvt");
	for (i = 0; i < 1000; i++) {
		put_cmd(&t, 1, 0, NVME_OPC_READ, 0, 0, 0, 0x20000);
		t.time += i * 1000;
		put_cpl(&t, 1, 0, 1);
	}
	trace_close(&t);
	run(&r, "%s -c %s", nvtrace, path("p.nvt"));
	expect_status(&r, 0);
	assert_int_equal(sscanf(strstr(r.out, "\n1      READ"),
	                        " 1 READ 1000 0 1000 - %*f us %lf us %lf us %lf us %lf us %lf",
	                        &mean, &p50, &p90, &p99, &p999),
	                 5);
	assert_true(mean > 500 && mean < 501);
	assert_true(p50 > 485 && p50 < 515);
	assert_true(p90 > 870 && p90 < 930);
	assert_true(p99 > 960 && p99 < 1020);
	assert_true(p999 > 970 && p999 < 1020);
	done(&r);
}

/* ---- diff ---- */

static void make_run(const char *name, uint64_t delay, uint32_t lba, bool last)
{
	struct trace t;
	uint32_t i;

	trace_open(&t, name);
	t.time += delay;
	put_start(&t);
	for (i = 0; i < 20; i++) {
		t.time += delay;
		put_io(&t, i, NVME_OPC_WRITE, i == 7 ? lba : i, 1);
	}
	if (last)
		put_io(&t, 20, NVME_OPC_READ, 5, 1);
	trace_close(&t);
}

static void test_diff(void **state)
{
	struct result r;

	(void)state;
	make_run("a.nvt", 0, 7, false);
	make_run("b.nvt", 777, 7, false);
	make_run("c.nvt", 0, 8, true);
	run(&r, "%s --diff %s %s", nvtrace, path("a.nvt"), path("b.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "the same: ");
	done(&r);
	run(&r, "%s --diff %s %s", nvtrace, path("a.nvt"), path("c.nvt"));
	expect_status(&r, 1);
	assert_int_equal(count(r.out, "@@ queue 1 @@"), 1);
	assert_int_equal(count(r.out, "@@ queue 0 @@"), 0);
	assert_int_equal(count(r.out, "\n-#"), 1);
	assert_int_equal(count(r.out, "\n+#"), 2);
	expect_in(&r, r.out, "WRITE nsid:1 lba:7 len:1: SUCCESS (00/00)\n");
	expect_in(&r, r.out, "READ nsid:1 lba:5 len:1: SUCCESS (00/00)\n");
	done(&r);
	run(&r, "%s --diff %s %s", nvtrace, path("a.nvt"), path("not-there"));
	assert_int_not_equal(r.status, 0);
	done(&r);
}

/* ---- merge ---- */

static void test_merge(void **state)
{
	static const struct {
		uint32_t change, skip; /* the command where QEMU's log is different */
		unsigned opc;
		uint32_t lba, blocks;
		bool more;
		const char *say;
	} cases[] = {
		{99, 99, 1, 0, 1, false, "8 commands agree, 0 disagree, 0 missing"},
		{3, 99, 2, 3, 1, false, "! opcode: 01h in nvt record"},
		{3, 99, 1, 4, 1, false, "! LBA: 3 in nvt record"},
		{3, 99, 1, 3, 2, false, "! length: 1 in nvt record"},
		{99, 2, 1, 0, 1, false, "! missing in qemu: queue 1 cid:2 of nvt record"},
		{99, 99, 1, 0, 1, true, "! missing in nvt: queue 1 cid:77 of qemu record"},
	};
	struct result r;
	struct trace t;
	uint32_t i;
	size_t n;
	FILE *f;

	(void)state;
	trace_open(&t, "a.nvt");
	put_start(&t);
	for (i = 0; i < 6; i++)
		put_io(&t, i, NVME_OPC_WRITE, i, 1);
	trace_close(&t);
	for (n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		f = open_qemu_log();
		for (i = 0; i < 6; i++) {
			if (i == cases[n].change)
				put_qemu_io(f, i, cases[n].opc, cases[n].lba, cases[n].blocks);
			else if (i != cases[n].skip)
				put_qemu_io(f, i, NVME_OPC_WRITE, i, 1);
			if (i == 3 && cases[n].more)
				put_qemu_io(f, 77, NVME_OPC_WRITE, 77, 1);
		}
		fclose(f);
		run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
		expect_status(&r, n != 0);
		expect_in(&r, r.out, cases[n].say);
		assert_int_equal(count(r.out, "! "), n != 0);
		/* the controller's side of a command stands between the two of the host */
		expect_in(&r, expect_in(&r, r.out, "  qemu"), "  nvt");
		expect_in(&r, r.out, "1 commands in ");
		done(&r);
	}
}

/* Where the data is, how much and which way: all of a command that QEMU's log tells. */
static void test_merge_data(void **state)
{
	static const struct {
		struct qemu_io io;
		const char *say;
	} cases[] = {
		{{NVME_OPC_WRITE, 3, 8, 4096, 0x20000, 0x30000, NULL},
	         "8 commands agree, 0 disagree, 0 missing"},
		{{NVME_OPC_WRITE, 3, 8, 4096, 0x21000, 0x30000, NULL},
	         "! PRP1: 0x20000 in nvt record"},
		{{NVME_OPC_WRITE, 3, 8, 4096, 0x20000, 0x31000, NULL},
	         "! PRP2: 0x30000 in nvt record"},
		{{NVME_OPC_WRITE, 3, 8, 512, 0x20000, 0x30000, NULL},
	         "! bytes: 4096 in nvt record"},
		{{NVME_OPC_WRITE, 3, 8, 4096, 0x20000, 0x30000, "read"},
	         "! direction: to the controller in nvt record"},
	};
	struct nvme_trace_prp prp = {.prp1 = 0x20000, .prp2 = 0x30000, .len = 4096, .nprp = 2};
	struct nvme_cmd cmd = {.opc = NVME_OPC_WRITE, .cid = 3, .nsid = 1, .cdw10 = 3, .cdw12 = 7};
	struct result r;
	struct trace t;
	uint32_t i;
	size_t n;
	FILE *f;

	(void)state;
	cmd.dptr.prp.prp1 = 0x20000;
	cmd.dptr.prp.prp2 = 0x30000;
	prp.cid = 3;
	trace_open(&t, "a.nvt");
	put_start(&t);
	for (i = 0; i < 6; i++) {
		if (i != 3) {
			put_io(&t, i, NVME_OPC_WRITE, i, 1);
			continue;
		}
		put(&t, NVME_TRACE_PRP, 1, &prp, sizeof(prp));
		put(&t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
		put_cpl(&t, 1, 3, 1);
	}
	trace_close(&t);
	for (n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		f = open_qemu_log();
		for (i = 0; i < 6; i++)
			if (i == 3)
				put_qemu(f, i, cases[n].io, "");
			else
				put_qemu_io(f, i, NVME_OPC_WRITE, i, 1);
		fclose(f);
		run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
		expect_status(&r, n != 0);
		expect_in(&r, r.out, cases[n].say);
		assert_int_equal(count(r.out, "! "), n != 0);
		done(&r);
	}
}

#define LONG 600 /* commands */

/* So many of the driver's commands, all with their times. */
static void put_ios(uint32_t from, uint32_t end, bool start)
{
	struct trace t;
	uint32_t i;

	trace_open(&t, "a.nvt");
	t.time += UINT64_C(4000) * from;
	if (start)
		put_start(&t);
	for (i = from; i < end; i++)
		put_io(&t, i, NVME_OPC_READ, i * 8, 8);
	trace_close(&t);
}

/* What QEMU saw of them, but for one; with times its clock is an hour ahead. */
static void log_ios(uint32_t from, uint32_t end, uint32_t skip, bool start, bool timed)
{
	FILE *f = start ? open_qemu_log() : fopen(path("q.log"), "w");
	struct qemu_io io = {NVME_OPC_READ, 0, 8, 4096, 0x20000, 0, NULL};
	uint64_t ns;
	char time[64] = "";
	uint32_t i;

	assert_non_null(f);
	for (i = from; i < end; i++) {
		ns = T0 + UINT64_C(3600000000000) + (start ? 14000 : 0) + UINT64_C(4000) * i + 2500;
		if (timed)
			snprintf(time, sizeof(time), "7@%" PRIu64 ".%06" PRIu64 ":",
			         ns / 1000000000, ns % 1000000000 / 1000);
		io.lba = i * 8;
		if (i != skip)
			put_qemu(f, i, io, time);
	}
	fclose(f);
}

/* One that starts late or ends early misses nothing: only what both cover is compared. */
static void test_merge_window(void **state)
{
	static const struct {
		uint32_t a_from, a_end, b_from, b_end, skip;
		int agree, missing, before_b, after_b, before_a, after_a;
	} cases[] = {
		{0, LONG, 0, LONG, LONG, LONG, 0, 0, 0, 0, 0},
		{0, LONG, 51, LONG, LONG, LONG - 51, 0, 51, 0, 0, 0},
		{0, LONG, 0, LONG - 325, LONG, LONG - 325, 0, 0, 325, 0, 0},
		{0, LONG, 325, LONG - 51, LONG, LONG - 376, 0, 325, 51, 0, 0},
		{325, LONG, 0, LONG, LONG, LONG - 325, 0, 0, 0, 325, 0},
		{0, LONG - 325, 0, LONG, LONG, LONG - 325, 0, 0, 0, 0, 325},
		{0, LONG - 51, 325, LONG, LONG, LONG - 376, 0, 325, 0, 0, 51},
		{0, LONG, 325, LONG - 51, 400, LONG - 377, 1, 325, 51, 0, 0},
	};
	struct result r;
	char say[128];
	size_t n, timed;

	(void)state;
	for (n = 0; n < 2 * (sizeof(cases) / sizeof(cases[0])); n++) {
		timed = n % 2;
		put_ios(cases[n / 2].a_from, cases[n / 2].a_end, false);
		log_ios(cases[n / 2].b_from, cases[n / 2].b_end, cases[n / 2].skip, false, timed);
		run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
		snprintf(say, sizeof(say),
		         "\n%d commands agree, 0 disagree, %d missing in %s, 0 missing in ",
		         cases[n / 2].agree, cases[n / 2].missing, path("q.log"));
		expect_in(&r, r.out, say);
		expect_status(&r, cases[n / 2].missing != 0);
		assert_int_equal(count(r.out, "! missing"), cases[n / 2].missing);
		expect_count(&r, "a.nvt are from before ", cases[n / 2].before_b);
		expect_count(&r, "a.nvt are from after ", cases[n / 2].after_b);
		expect_count(&r, "q.log are from before ", cases[n / 2].before_a);
		expect_count(&r, "q.log are from after ", cases[n / 2].after_a);
		done(&r);
	}
}

/* Times tell what the order cannot: QEMU recorded on when the last command did not come. */
static void test_merge_lost_at_end(void **state)
{
	struct result r;
	FILE *f;

	(void)state;
	put_ios(0, 20, false);
	log_ios(0, 19, 99, false, true);
	f = fopen(path("q.log"), "a");
	assert_non_null(f);
	fprintf(f, "7@%" PRIu64 ".500000:pci_nvme_mmio_read addr 0x1c size 4\n",
	        T0 / 1000000000 + 3600);
	fclose(f);
	run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
	expect_status(&r, 1);
	expect_in(&r, r.out, "! missing in qemu: queue 1 cid:19 of nvt record");
	done(&r);
}

/* Another run of the driver, which only one of the two has. */
static void test_merge_runs(void **state)
{
	struct result r;
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "a.nvt");
	put_start(&t);
	for (i = 0; i < 5; i++)
		put_io(&t, i, NVME_OPC_WRITE, 100 + i, 8);
	put_start(&t);
	for (i = 0; i < 9; i++)
		put_io(&t, i, NVME_OPC_READ, i * 8, 8);
	trace_close(&t);
	log_ios(2, 9, 99, false, false);
	run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "\n7 commands agree, 0 disagree, 0 missing");
	expect_count(&r, "a.nvt are from before or after this run", 7);
	done(&r);
}

static void put_attached(struct trace *t, uint8_t ctrlr, const char *name)
{
	struct nvme_trace_attach a = {.cap = 0x40ff0107ff, .vs = 0x10400};

	t->ctrlr = ctrlr;
	snprintf(a.name, sizeof(a.name), "%s", name);
	put(t, NVME_TRACE_ATTACH, 0, &a, sizeof(a));
}

/* Two controllers, which take turns, by number; "": of no name. */
static void put_two(const char *file, uint8_t first, const char *one, const char *two)
{
	uint8_t ctrlr[2] = {first, (uint8_t)(1 - first)};
	const char *name[2] = {one, two};
	struct trace t;
	uint32_t i, k;

	trace_open(&t, file);
	for (k = 0; k < 2; k++)
		if (name[k][0] != '\0')
			put_attached(&t, ctrlr[k], name[k]);
	for (i = 0; i < 12; i++)
		for (k = 0; k < 2; k++) {
			t.ctrlr = ctrlr[k];
			/* by name or by place the one writes and the other reads */
			if (strcmp(name[k], "0000:00:03.0") == 0 || (name[k][0] == '\0' && k == 0))
				put_io(&t, i, NVME_OPC_WRITE, i, 1);
			else
				put_io(&t, i, NVME_OPC_READ, 1000 + i, 1);
		}
	trace_close(&t);
}

static void test_merge_ctrlrs(void **state)
{
	static const struct {
		const char *one, *two;
		uint8_t first;
	} others[] = {
		{"0000:00:03.0", "0000:00:04.0", 0},
		{"0000:00:04.0", "0000:00:03.0", 0}, /* found by name, wherever they stand */
		{"0000:00:04.0", "0000:00:03.0", 1},
		{"", "", 0}, /* by order */
		{"", "", 1},
	};
	struct result r;
	struct trace t;
	uint32_t i;
	size_t n;

	(void)state;
	put_two("a.nvt", 0, "0000:00:03.0", "0000:00:04.0");
	for (n = 0; n < sizeof(others) / sizeof(others[0]); n++) {
		put_two("b.nvt", others[n].first, others[n].one, others[n].two);
		run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("b.nvt"));
		expect_status(&r, 0);
		expect_in(&r, r.out, "\n24 commands agree, 0 disagree, 0 missing");
		done(&r);
	}
	/* each has its own completions, though queue and CID are the same */
	for (n = 0; n < 2; n++) {
		trace_open(&t, n == 0 ? "c.nvt" : "d.nvt");
		put_attached(&t, 0, "0000:00:03.0");
		put_attached(&t, 1, "0000:00:04.0");
		for (t.ctrlr = 0; t.ctrlr < 2; t.ctrlr++)
			put_cmd(&t, 1, 5, NVME_OPC_READ, 0, 0, 0, 0x20000);
		t.ctrlr = 0;
		put_cpl(&t, 1, 5, 1);
		t.ctrlr = 1;
		put_cpl(&t, 1, 5, n == 0 ? 1 : 0x80 << 1);
		trace_close(&t);
	}
	run(&r, "%s %s --with %s", nvtrace, path("c.nvt"), path("d.nvt"));
	expect_status(&r, 1);
	expect_in(&r, r.out, "! status: 000h in nvt, 080h in nvt");
	expect_in(&r, r.out, "\n1 commands agree, 1 disagree, 0 missing");
	done(&r);
	/* one that has only the second */
	trace_open(&t, "b.nvt");
	put_attached(&t, 0, "0000:00:04.0");
	for (i = 0; i < 12; i++)
		put_io(&t, i, NVME_OPC_READ, 1000 + i, 1);
	trace_close(&t);
	run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("b.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "\n12 commands agree, 0 disagree, 0 missing");
	expect_count(&r, "a.nvt are of controllers that the other one does not have", 12);
	done(&r);
	/* which of them it is cannot be known */
	trace_open(&t, "b.nvt");
	for (i = 0; i < 12; i++)
		put_io(&t, i, NVME_OPC_READ, 1000 + i, 1);
	trace_close(&t);
	run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("b.nvt"));
	expect_status(&r, 3);
	expect_in(&r, r.err, "which of the 2 controllers in");
	assert_string_equal(r.out, "");
	done(&r);
	log_ios(0, 5, 99, true, false);
	run(&r, "%s %s --with %s", nvtrace, path("a.nvt"), path("q.log"));
	expect_status(&r, 3);
	expect_in(&r, r.err, "has commands of 2 controllers, and");
	assert_string_equal(r.out, "");
	done(&r);
	run(&r, "%s %s --with %s", nvtrace, path("q.log"), path("a.nvt"));
	expect_status(&r, 3);
	expect_in(&r, r.err, "does not say of which its commands are");
	done(&r);
}

/* ---- pictures ---- */

static bool have(const char *program)
{
	char line[64];

	snprintf(line, sizeof(line), "command -v %s >/dev/null 2>&1", program);
	return system(line) == 0;
}

#define CHROMIUM                                                                                 \
	"timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir=%s/chromium " \
	"--dump-dom file://%s"

static void test_html(void **state)
{
	const char *trace = record_hello_world();
	struct result text, r;
	char *page;
	int commands;

	(void)state;
	run(&text, "%s -T json %s | grep -c '\"event\": *\"command\"'", nvtrace, trace);
	commands = atoi(text.out);
	assert_true(commands > 5);
	done(&text);
	run(&r, "%s -T html %s", nvtrace, trace);
	expect_status(&r, 0);
	assert_int_equal(count(r.out, "{\"lane\":"), commands + count(r.out, "\"cq\":"));
	assert_int_equal(count(r.out, "</script"), 2);
	assert_int_equal(count(r.out, "src="), 0);
	assert_int_equal(count(r.out, "http"),
	                 3); /* http-equiv, and the name of SVG, not an address */
	page = strdup(r.out);
	done(&r);
	if (!have("chromium"))
		fail_msg("chromium is not there: run tools/deps.sh");
	write_at(new_image("h.html", 0), 0, page, strlen(page));
	run(&r, CHROMIUM, dir, path("h.html"));
	expect_status(&r, 0);
	assert_int_equal(count(r.out, "class=\"bar "), commands);
	assert_int_equal(count(r.out, "<td>OPC</td>"), 0);
	done(&r);
	/* a click on the last bar */
	run(&r,
	    "sed 's#</body>#<script>[...document.querySelectorAll(\".bar\")].pop().dispatchEvent("
	    "new MouseEvent(\"click\",{bubbles:true}))</script></body>#' %s >%s",
	    path("h.html"), path("click.html"));
	expect_status(&r, 0);
	done(&r);
	run(&r, CHROMIUM, dir, path("click.html"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "<td>OPC</td><td>04h</td><td>DELETE IO CQ</td>");
	expect_in(&r, r.out, "<td>SC</td><td>00h</td><td>SUCCESS</td>");
	done(&r);
	free(page);
}

/* What is beside error statuses: of each kind how often, and nothing of what there was not. */
static void test_incidents(void **state)
{
	static const char *const lines[] = {
		"          1  commands were late\n",
		"          2  aborts were asked for\n",
		"          3  times a command was sent again\n",
		"          4  resets were begun\n",
		"          5  resets were complete\n",
		"          6  times the controller was given up\n",
		"          7  signs of a removal\n",
		"          1  asynchronous events\n",
	};
	struct result r;
	struct trace t;
	uint32_t i, k;

	(void)state;
	trace_open(&t, "a.nvt");
	put_start(&t);
	for (i = NVME_TRACE_LATE; i <= NVME_TRACE_REMOVAL + 1; i++)
		for (k = 0; k < i; k++)
			put_mark(&t, i, 1, 6, 2);
	put_admin(&t, 2, NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0);
	put_cmd(&t, 0, 1, NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0, 0, 0);
	put_cpl(&t, 0, 1, NVME_SC_ABORTED_SQ_DELETION << 1);
	trace_close(&t);
	run(&r, "%s -c %s", nvtrace, path("a.nvt"));
	expect_status(&r, 0);
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		expect_in(&r, r.out, lines[i]);
	done(&r);
	run(&r, "%s -v --no-prefix -f 'kind==mark && cid==6' %s | uniq", nvtrace, path("a.nvt"));
	expect_status(&r, 0);
	assert_string_equal(r.out, "late: qid:1 cid:6, 2 ms are allowed\n"
	                           "abort: qid:1 cid:6\n"
	                           "retry: qid:1 cid:6 in 2 ms\n");
	done(&r);
	run(&r, "%s -v --no-prefix -f 'kind==mark' %s | uniq | tail -n +4", nvtrace, path("a.nvt"));
	assert_string_equal(r.out, "reset\nreset is complete\n"
	                           "given up: No such file or directory\n"
	                           "removal: its bus has failed\nmark 8\n");
	done(&r);
	run(&r, "%s -T json -f 'kind==mark' %s | jq -r '[.what, .cid, .value] | @csv' | uniq",
	    nvtrace, path("a.nvt"));
	assert_string_equal(r.out, "\"late\",6,2\n\"abort\",6,2\n\"retry\",6,2\n"
	                           "\"reset\",,2\n\"reset_end\",,2\n\"given_up\",,2\n"
	                           "\"removal\",,2\n,,2\n");
	done(&r);
	trace_open(&t, "b.nvt");
	put_start(&t);
	trace_close(&t);
	run(&r, "%s -c %s", nvtrace, path("b.nvt"));
	expect_status(&r, 0);
	assert_int_equal(count(r.out, "incidents"), 0);
	done(&r);
}

static void expect_lines(const char *args, const char *lines)
{
	struct result r;

	run(&r, "%s -n --no-prefix %s %s | sed 's/ nsid.*//; s/ cdw0.*//'", nvtrace, args,
	    path("a.nvt"));
	expect_status(&r, 0);
	if (strcmp(r.out, lines) != 0)
		fail_msg("%s:\n%s--- not\n%s", args, r.out, lines);
	done(&r);
}

/* A part of a trace, and what stands around it. Record 1 + 2 * i is command i, at 2 * i us. */
static void test_selection(void **state)
{
	struct result r;
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "a.nvt");
	for (i = 0; i < 8; i++) {
		put_cmd(&t, 1, (uint16_t)i, NVME_OPC_READ, i, 0, 0, 0x20000);
		put_cpl(&t, 1, (uint16_t)i, i % 5 == 1 ? NVME_SC_LBA_OUT_OF_RANGE << 1 : 0);
		if (i == 2)
			put_doorbell(&t, 1, 0, 2, 3); /* no line without -v */
	}
	trace_close(&t);
	expect_lines("--errors", "     4  LBA OUT OF RANGE (00/80) qid:1 cid:1\n"
	                         "    15  LBA OUT OF RANGE (00/80) qid:1 cid:6\n");
	expect_lines("--errors -B 1 -A 2", "     3  READ sqid:1 cid:1\n"
	                                   "     4  LBA OUT OF RANGE (00/80) qid:1 cid:1\n"
	                                   "     5  READ sqid:1 cid:2\n"
	                                   "     6  SUCCESS (00/00) qid:1 cid:2\n"
	                                   "--\n"
	                                   "    14  READ sqid:1 cid:6\n"
	                                   "    15  LBA OUT OF RANGE (00/80) qid:1 cid:6\n"
	                                   "    16  READ sqid:1 cid:7\n"
	                                   "    17  SUCCESS (00/00) qid:1 cid:7\n");
	/* what is in between is not said twice, and nothing is left out: no line between */
	expect_lines("-f 'record==4 || record==6' -B 1", "     3  READ sqid:1 cid:1\n"
	                                                 "     4  LBA OUT OF RANGE (00/80) "
	                                                 "qid:1 cid:1\n"
	                                                 "     5  READ sqid:1 cid:2\n"
	                                                 "     6  SUCCESS (00/00) qid:1 cid:2\n");
	expect_lines("-f 'record==6' -A 1 -v", "     6  SUCCESS (00/00) qid:1 cid:2\n"
	                                       "     7  doorbell SQ1TDBL = 3 (was 2)\n");
	expect_lines("--since 14us", "    15  LBA OUT OF RANGE (00/80) qid:1 cid:6\n"
	                             "    16  READ sqid:1 cid:7\n"
	                             "    17  SUCCESS (00/00) qid:1 cid:7\n");
	expect_lines("--until 1us", "     1  READ sqid:1 cid:0\n"
	                            "     2  SUCCESS (00/00) qid:1 cid:0\n");
	expect_lines("--since 2us --until 4us -f opc==read", "     3  READ sqid:1 cid:1\n"
	                                                     "     4  LBA OUT OF RANGE (00/80) "
	                                                     "qid:1 cid:1\n"
	                                                     "     5  READ sqid:1 cid:2\n");
	expect_lines("--since 1s", "");
	run(&r, "%s -c --since 2us --top 3 %s", nvtrace, path("a.nvt"));
	expect_status(&r, 0);
	assert_int_equal(count(r.out, "SUCCESS (00/00)\n") + count(r.out, "(00/80)\n"), 4);
	expect_in(&r, r.out, "15 records in 14.00 us: 7 commands");
	expect_in(&r, r.out,
	          "queue          IOPS        MiB/s\n1            500000            -\n");
	done(&r);
}

static void test_svg(void **state)
{
	struct nvme_trace_data data = {.iova = 0x20000, .len = 4096, .cid = 0, .to_host = 1};
	struct nvme_cpl cpl = {.sqid = 1, .cid = 0, .status = 1};
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .cid = 0, .nsid = 1};
	struct result r;
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "a.nvt");
	put_cmd(&t, 1, 0, NVME_OPC_READ, 0, 0, 7, 0x20000);
	put_doorbell(&t, 1, 0, 0, 1);
	put(&t, NVME_TRACE_DEV_FETCH, 1, &cmd, sizeof(cmd));
	put(&t, NVME_TRACE_DEV_DATA, 1, &data, sizeof(data));
	put(&t, NVME_TRACE_DEV_CQE, 1, &cpl, sizeof(cpl));
	put_cpl(&t, 1, 0, 1);
	put_doorbell(&t, 1, 1, 0, 1);
	trace_close(&t);
	run(&r, "%s -T svg %s", nvtrace, path("a.nvt"));
	expect_status(&r, 0);
	assert_int_equal(count(r.out, "class='arrow'"), 7);
	expect_in(&r, expect_in(&r, r.out, "READ cid:0 nsid:1 lba:0 len:8"),
	          "SQ 1 doorbell: tail 0 to 1");
	expect_in(&r, expect_in(&r, r.out, "fetches cid:0"), "4096 bytes of data");
	expect_in(&r, expect_in(&r, r.out, "posts completion"), "CQ 1 doorbell: head 0 to 1");
	expect_in(&r, r.out, "prefers-color-scheme: dark");
	assert_int_equal(count(r.out, "choose others"), 0);
	done(&r);
	trace_open(&t, "b.nvt");
	put_start(&t);
	for (i = 0; i < 50; i++)
		put_io(&t, i, NVME_OPC_READ, i, 1);
	trace_close(&t);
	run(&r, "%s -T svg %s", nvtrace, path("b.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "The first 16 of 52 commands; choose others with -f.");
	done(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_summary),      cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_incidents),    cmocka_unit_test(test_selection),
		cmocka_unit_test(test_diff),         cmocka_unit_test(test_merge),
		cmocka_unit_test(test_html),         cmocka_unit_test(test_svg),
		cmocka_unit_test(test_summary_qemu), cmocka_unit_test(test_merge_data),
		cmocka_unit_test(test_merge_window), cmocka_unit_test(test_merge_lost_at_end),
		cmocka_unit_test(test_merge_runs),   cmocka_unit_test(test_merge_ctrlrs),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_traces, remove_dir);
}
