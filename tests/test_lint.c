// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: what it must find, one mistake for each line, and on what it must be silent. The
 * innocent are runs of run_io, whole, cut anywhere and gone round, on one controller and on two;
 * traces that are made slot by slot; and logs of QEMU. NVTRACE, RUN_IO and HELLO_WORLD in the
 * environment name other builds of the programs.
 */
#include "make_trace.h"

static const char *nvtrace = "$BUILD/nvtrace", *hello_world = "$BUILD/hello_world";
static const char *run_io = "$BUILD/tests/run_io";

static int make_traces(void **state)
{
	nvtrace = getenv("NVTRACE") != NULL ? getenv("NVTRACE") : nvtrace;
	hello_world = getenv("HELLO_WORLD") != NULL ? getenv("HELLO_WORLD") : hello_world;
	run_io = getenv("RUN_IO") != NULL ? getenv("RUN_IO") : run_io;
	return make_dir(state);
}

static int lines(const char *text)
{
	int n = 0;

	for (; (text = strchr(text, '\n')) != NULL; text++)
		n++;
	return n;
}

/* Exactly one finding, which says `what`; or, with what NULL, none and the status that says so. */
static void expect_lint(const char *of, const char *name, const char *what)
{
	struct result r;

	run(&r, "%s --lint %s", nvtrace, path(name));
	if (r.status != (what != NULL) || lines(r.out) != (what != NULL)) {
		fprintf(stderr, "%s:\n", of);
		show(&r);
	}
	assert_int_equal(r.status, what != NULL);
	assert_int_equal(lines(r.out), what != NULL);
	if (what != NULL) {
		assert_int_equal(strncmp(r.out, "record ", 7), 0);
		assert_true(strstr(r.out, " [Base 2.1") != NULL ||
		            strstr(r.out, " [PCIe 1.1") != NULL);
		expect_in(&r, r.err, "nvtrace: 1 mistake found in ");
		expect_in(&r, r.out, what);
	} else {
		expect_in(&r, r.err, "no mistakes found in ");
	}
	done(&r);
}

/* ---- pieces of traces ---- */

/* A command on queue 1 and its way to the completion, which is not handed back. */
static void put_unrung(struct trace *t, uint32_t n)
{
	put_cmd(t, 1, (uint16_t)n, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, n % 4, (n + 1) % 4);
	put_cpl(t, 1, (uint16_t)n, n / 4 % 2 == 0);
}

/* A read of three pages (a list of two entries) or of two, with its data pointer in front. */
static void put_read_prps(struct trace *t, uint64_t prp2, uint32_t nprp, uint64_t entry)
{
	struct nvme_trace_prp prp = {.prp1 = 0x20000,
	                             .prp2 = prp2,
	                             .len = nprp * 4096,
	                             .nprp = nprp};
	struct nvme_trace_prp_list part = {.count = 2, .entry = {0x21000, entry}};
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .nsid = 1};

	put(t, NVME_TRACE_PRP, 1, &prp, sizeof(prp));
	if (nprp == 3)
		put(t, NVME_TRACE_PRP_LIST, 1, &part, 8 + 2 * 8);
	cmd.dptr.prp.prp1 = prp.prp1;
	cmd.dptr.prp.prp2 = prp2;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

static void put_disable(struct trace *t)
{
	put_reg(t, NVME_REG_CC, 0);
}

static void put_detach(struct trace *t)
{
	put_reg(t, NVME_REG_CC, 0x464001);
	put_disable(t);
	put(t, NVME_TRACE_DETACH, 0, NULL, 0);
}

/* Both queues 1 go, the CQ's last entry handed back or not. `n` admin commands were before. */
static void put_delete(struct trace *t, uint32_t n)
{
	put_admin(t, n, NVME_OPC_DELETE_IO_SQ, 1, 0);
	put_admin(t, n + 1, NVME_OPC_DELETE_IO_CQ, 1, 0);
}

/* Enabled again, with pages of 4096 << mps bytes. */
static void put_again(struct trace *t, uint32_t mps)
{
	put_reg(t, NVME_REG_AQA, 0x001f001f);
	put_on(t, 0x460001 | mps << 7);
}

static void put_queue_1(struct trace *t, uint32_t n)
{
	put_admin(t, n, NVME_OPC_CREATE_IO_CQ, 0x00030001, 1);
	put_admin(t, n + 1, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
}

/* A command with metadata in a buffer of its own. */
static void put_with_mptr(struct trace *t, uint16_t cid, uint8_t opc, uint32_t psdt, uint64_t mptr)
{
	struct nvme_cmd cmd = {.opc = opc, .cid = cid, .nsid = 1, .mptr = mptr};

	cmd.flags = (uint8_t)NVME_SET(psdt, NVME_CMD_PSDT);
	cmd.dptr.prp.prp1 = 0x20000;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

struct made {
	const char *name, *what; /* what NULL: no mistake */
	void (*make)(struct trace *t);
};

#include "lint_cases.h"

/* ---- mistakes ---- */

static void m_mptr(struct trace *t)
{
	put_with_mptr(t, 6, NVME_OPC_READ, NVME_PSDT_PRP, 0x40002);
}

static void m_tail(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 0);
}

/* Over the end of the ring: 3 to 1 are two commands. */
static void m_tail_wraps(struct trace *t)
{
	put_io(t, 6, NVME_OPC_READ, 0, 1);
	put_cmd(t, 1, 7, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 3, 1);
}

static void m_size(struct trace *t)
{
	put_doorbell(t, 1, 0, 2, 4);
}

/* One mistake, and what follows it is not counted from a tail that cannot be. */
static void m_far(struct trace *t)
{
	put_doorbell(t, 1, 0, 2, 300);
	put_doorbell(t, 1, 0, 300, 2);
}

/* Half a fused pair, or a command by itself, on queue 1. */
static void put_half(struct trace *t, uint16_t cid, uint32_t fuse)
{
	struct nvme_cmd cmd = {.opc = fuse == NVME_FUSE_FIRST ? NVME_OPC_COMPARE : NVME_OPC_WRITE,
	                       .flags = (uint8_t)NVME_SET(fuse, NVME_CMD_FUSE),
	                       .cid = cid,
	                       .nsid = 1};

	cmd.dptr.prp.prp1 = 0x20000;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

/* A doorbell for each half. */
static void m_fused_rung(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_FIRST);
	put_doorbell(t, 1, 0, 2, 3);
	put_half(t, 7, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 3, 0);
}

/* Delayed doorbells: there is a command before it, and the doorbell covers both. */
static void m_fused_rung_late(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_NONE);
	put_half(t, 7, NVME_FUSE_FIRST);
	put_doorbell(t, 1, 0, 2, 0);
	put_half(t, 8, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 0, 1);
}

/* The command before it has a doorbell of its own, and so has the first half. */
static void m_fused_rung_twice(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_NONE);
	put_half(t, 7, NVME_FUSE_FIRST);
	put_doorbell(t, 1, 0, 2, 3);
	put_doorbell(t, 1, 0, 3, 0);
	put_half(t, 8, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 0, 1);
}

static void m_fused_between(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_FIRST);
	put_half(t, 7, NVME_FUSE_NONE);
	put_doorbell(t, 1, 0, 2, 0);
}

static void m_fused_twice(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_FIRST);
	put_half(t, 7, NVME_FUSE_FIRST);
	put_half(t, 8, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 2, 1);
}

static void m_fused_alone(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 2, 3);
}

static void m_cq_far(struct trace *t)
{
	put_unrung(t, 6);
	put_doorbell(t, 1, 1, 2, 300);
	put_doorbell(t, 1, 1, 300, 3);
}

static void m_head(struct trace *t)
{
	put_doorbell(t, 1, 1, 2, 3);
}

static void m_head_wraps(struct trace *t)
{
	put_io(t, 6, NVME_OPC_READ, 0, 1);
	put_unrung(t, 7);
	put_doorbell(t, 1, 1, 3, 1);
}

static void m_cid(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
}

/* One flipped bit, in a good lap. */
static void m_phase(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_cpl(t, 1, 6, 1);
	put_doorbell(t, 1, 1, 2, 3);
	put_io(t, 7, NVME_OPC_READ, 0, 1);
	put_io(t, 8, NVME_OPC_READ, 0, 1);
}

/* Two old entries in a row: the lap itself is in doubt then, and what follows is not judged. */
static void m_phases(struct trace *t)
{
	uint16_t i;

	for (i = 6; i < 8; i++) {
		put_cmd(t, 1, i, NVME_OPC_READ, 0, 0, 0, 0x20000);
		put_doorbell(t, 1, 0, i % 4u, (i + 1) % 4u);
		put_cpl(t, 1, i, 1);
		put_doorbell(t, 1, 1, i % 4u, (i + 1) % 4u);
	}
	for (i = 10; i < 14; i++)
		put_io(t, i - 2u, NVME_OPC_READ, 0, 1);
}

static void m_overrun(struct trace *t)
{
	uint32_t i;

	for (i = 6; i < 10; i++)
		put_unrung(t, i);
}

static void m_prp(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20002);
}

static void m_prp2(struct trace *t)
{
	put_read_prps(t, 0x21008, 2, 0);
}

static void m_prp2_list(struct trace *t)
{
	put_read_prps(t, 0x30004, 3, 0x22000);
}

static void m_list(struct trace *t)
{
	put_read_prps(t, 0x30008, 3, 0x22008);
}

/* The second page begins at 4096, but a page is 8192 here. */
static void m_page_size(struct trace *t)
{
	put_disable(t);
	put_again(t, 1);
	put_queue_1(t, 0);
	put_read_prps(t, 0x21000, 2, 0);
}

static void m_queue_base(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_CREATE_IO_CQ, 0x00030002, 1, 0, 0x20800);
}

static void m_asq(struct trace *t)
{
	put_reg(t, NVME_REG_ASQ, 0x1800);
}

static void m_acq(struct trace *t)
{
	put_reg(t, NVME_REG_ACQ, 0x2040);
}

static void m_shutdown(struct trace *t)
{
	put_reg(t, NVME_REG_CC, 0x464001);
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
}

static void m_disabled(struct trace *t)
{
	put_disable(t);
	put_cmd(t, 0, 9, NVME_OPC_IDENTIFY, 1, 0, 0, 0x20000);
}

static void m_orphan(struct trace *t)
{
	put_cpl(t, 1, 40, 0);
}

static void m_twice(struct trace *t)
{
	put_unrung(t, 6);
	put_cpl(t, 1, 6, 0);
}

/* A reset ends all queues, so there is no CQ 1 any more. */
static void m_reset(struct trace *t)
{
	put_disable(t);
	put_on(t, 0x460001);
	put_admin(t, 0, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
}

/* So does a reset of the function, which is in no record, but for the admin queue made anew. */
static void m_function_reset(struct trace *t)
{
	put_again(t, 0);
	put_admin(t, 0, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
}

static void m_deleted_cq(struct trace *t)
{
	put_delete(t, 2);
	put_admin(t, 4, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
}

static void m_refused_cq(struct trace *t)
{
	put_cmd(t, 0, 0, NVME_OPC_CREATE_IO_CQ, 0x00030002, 1, 0, 0x10000);
	put_doorbell(t, 0, 0, 2, 3);
	put_cpl(t, 0, 0, (uint16_t)(NVME_SCT_COMMAND_SPECIFIC << 9 | 1 << 1 | 1));
	put_doorbell(t, 0, 1, 2, 3);
	put_admin(t, 3, NVME_OPC_CREATE_IO_SQ, 0x00030002, 0x00020001);
}

/* A reset makes the doorbell buffers void: the doorbells are in the trace again. */
static void put_overrun_anew(struct trace *t)
{
	uint32_t i;

	put_queue_1(t, 0);
	for (i = 0; i < 4; i++)
		put_unrung(t, i);
}

static void m_shadow_reset(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_disable(t);
	put_on(t, 0x460001);
	put_overrun_anew(t);
}

static void m_shadow_function_reset(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_again(t, 0);
	put_overrun_anew(t);
}

static void m_events(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0, 0, 0);
	put_doorbell(t, 0, 0, 2, 3);
	put_cpl(t, 0, 9, (uint16_t)(NVME_SCT_COMMAND_SPECIFIC << 9 | 5 << 1 | 1));
	put_doorbell(t, 0, 1, 2, 3);
}

/* A command that went into the ring of before. */
static void m_gone(struct trace *t)
{
	put_disable(t);
	put_on(t, 0x460001);
	put_io(t, 6, NVME_OPC_READ, 0, 1);
}

/* What fails with DNR fails again. */
static void fail_and_retry(struct trace *t, uint16_t status)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 6, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_cpl(t, 1, 6, status);
	put_doorbell(t, 1, 1, 2, 3);
	put_mark(t, NVME_TRACE_RETRY, 1, 6, 0);
}

static void m_retry_dnr(struct trace *t)
{
	fail_and_retry(t, (uint16_t)(NVME_SC_NAMESPACE_NOT_READY << 1 | NVME_SET(1, NVME_CPL_DNR)));
}

static void m_retry(struct trace *t)
{
	fail_and_retry(t, NVME_SC_NAMESPACE_NOT_READY << 1);
}

/* The CID had DNR once, in another life. */
static void m_retry_later(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 6, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_cpl(t, 1, 6, (uint16_t)(NVME_SC_NAMESPACE_NOT_READY << 1 | NVME_SET(1, NVME_CPL_DNR)));
	put_doorbell(t, 1, 1, 2, 3);
	put_cmd(t, 1, 6, NVME_OPC_READ, 6, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 3, 0);
	put_cpl(t, 1, 6, NVME_SC_NAMESPACE_NOT_READY << 1);
	put_doorbell(t, 1, 1, 3, 0);
	put_mark(t, NVME_TRACE_RETRY, 1, 6, 0);
}

/* An Abort of what has just ended is none; one in a queue that was deleted is. */
static void m_abort(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_ABORT, 0x00050001, 0);
}

static void m_abort_gone(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DELETE_IO_SQ, 1, 0);
	put_admin(t, 3, NVME_OPC_ABORT, 0x00050001, 0);
}

/* A reset is the end of what was outstanding, and the same CID goes on in the queue made anew. */
static void m_reset_resubmit(struct trace *t)
{
	put_cmd(t, 1, 7, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_disable(t);
	put_on(t, 0x460001);
	put_queue_1(t, 0);
	put_cmd(t, 1, 7, NVME_OPC_READ, 0, 0, 0, 0x20000);
}

/* An enabled controller, queue 1 of four entries, six commands there: so each of them begins. */
static void expect_made(const struct made *cases, size_t n)
{
	struct trace t;
	uint32_t k;
	size_t i;

	for (i = 0; i < n; i++) {
		trace_open(&t, "made.nvt");
		put_start(&t);
		for (k = 0; k < 6; k++)
			put_io(&t, k, NVME_OPC_WRITE, k, 1);
		cases[i].make(&t);
		trace_close(&t);
		expect_lint(cases[i].name, "made.nvt", cases[i].what);
	}
	print_message("%zu traces\n", n);
}

static void test_mistakes(void **state)
{
	static const struct made cases[] = {
		{"tail",
	         "queue 1: doorbell beyond the tail: SQ tail 2 to 0 announces 2 commands, 1 ",
	         m_tail},
		{"tail wraps", "SQ tail 3 to 1 announces 2 commands, 1 written", m_tail_wraps},
		{"size", "doorbell beyond the queue: tail 4 in a queue of 4", m_size},
		{"far", "doorbell beyond the queue: tail 300 in a queue of 4", m_far},
		{"CQ far", "doorbell beyond the queue: head 300 in a queue of 4", m_cq_far},
		{"head", "doorbell beyond the tail: CQ head 2 to 3 hands back 1 entries, 0 ",
	         m_head},
		{"head wraps", "CQ head 3 to 1 hands back 2 entries, 1 completed", m_head_wraps},
		{"cid", "queue 1: CID reused while outstanding: cid:6", m_cid},
		{"phase", "queue 1: phase error: cid:6 in slot 2", m_phase},
		{"phases", "queue 1: phase error: cid:6 in slot 2", m_phases},
		{"overrun", "queue 1: CQ overrun: 4 completions", m_overrun},
		{"prp", "queue 1: misaligned PRP: PRP1 0x20002 of cid:6 is not a multiple of 4",
	         m_prp},
		{"prp2", "misaligned PRP: PRP2 0x21008 of cid:0 is not at the start of a page",
	         m_prp2},
		{"prp2 of a list", "misaligned PRP: PRP2 0x30004 of cid:0 is not a multiple of 8",
	         m_prp2_list},
		{"list", "misaligned PRP: entry 1 of the list of cid:0, 0x22008, is not at",
	         m_list},
		{"mptr",
	         "queue 1: misaligned metadata: MPTR 0x40002 of cid:6 is not a multiple of 4",
	         m_mptr},
		{"page size", "PRP2 0x21000 of cid:0 is not at the start of a page", m_page_size},
		{"queue base", "PRP1 0x20800 of cid:9 is not at the start of a page", m_queue_base},
		{"asq", "misaligned queue: ASQ 0x1800 is not at a multiple of 4096", m_asq},
		{"acq", "misaligned queue: ACQ 0x2040 is not at a multiple of 4096", m_acq},
		{"shutdown", "queue 1: command after shutdown: cid:6", m_shutdown},
		{"disabled", "queue 0: command while the controller is disabled: cid:9",
	         m_disabled},
		{"orphan", "queue 1: completion without command: cid:40", m_orphan},
		{"twice", "queue 1: completion without command: cid:6", m_twice},
		{"queue that is gone",
	         "queue 1: command on a queue that is gone: cid:6, after a reset", m_gone},
		{"reset, the same CID again", NULL, m_reset_resubmit},
		{"retry with DNR", "queue 1: retry although it must not be: cid:6 ended with DNR",
	         m_retry_dnr},
		{"retry", NULL, m_retry},
		{"retry of another command", NULL, m_retry_later},
		{"abort", NULL, m_abort},
		{"abort in vain", "queue 0: abort of cid:5 of queue 1, which is gone",
	         m_abort_gone},
		{"reset", "SQ 1 created before its CQ: CQ 1 does not exist", m_reset},
		{"deleted CQ", "SQ 1 created before its CQ: CQ 1 does not exist", m_deleted_cq},
		{"refused CQ", "SQ 2 created before its CQ: CQ 2 ", m_refused_cq},
		{"function reset", "SQ 1 created before its CQ: CQ 1 does not exist",
	         m_function_reset},
		{"shadow, then function reset", "CQ overrun: 4 completions",
	         m_shadow_function_reset},
		{"shadow, then reset", "CQ overrun: 4 completions", m_shadow_reset},
		{"fused, two doorbells",
	         "queue 1: fused pair cut: SQ tail 2 to 3 announces cid:6, a first half, without",
	         m_fused_rung},
		{"fused, late doorbell", "fused pair cut: SQ tail 2 to 0 announces cid:7",
	         m_fused_rung_late},
		{"fused, two doorbells later", "fused pair cut: SQ tail 3 to 0 announces cid:7",
	         m_fused_rung_twice},
		{"fused, another between",
	         "fused pair cut: cid:6 is a first half, but behind it comes cid:7",
	         m_fused_between},
		{"fused, two first halves",
	         "fused pair cut: cid:6 is a first half, but behind it comes cid:7", m_fused_twice},
		{"events", "queue 0: one event request too many: cid:9, the controller has AERL",
	         m_events},
		{"fused, no first half",
	         "fused pair cut: cid:6 is a second half without a first half before it",
	         m_fused_alone},
	};

	(void)state;
	expect_made(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_more_mistakes(void **state)
{
	(void)state;
	expect_made(more_cases, sizeof(more_cases) / sizeof(more_cases[0]));
}

static void test_no_queue(void **state)
{
	struct trace t;

	(void)state;
	trace_open(&t, "made.nvt");
	put_enable(&t);
	put_admin(&t, 0, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
	trace_close(&t);
	expect_lint("SQ first", "made.nvt",
	            "queue 0: SQ 1 created before its CQ: CQ 1 does not exist");
}

/* ---- the innocent ---- */

/* The same status of another command, another one of an event request, and one that told. */
static void i_events(struct trace *t)
{
	uint32_t i;

	for (i = 0; i < 3; i++) {
		put_cmd(t, 0, 9, i == 0 ? NVME_OPC_ABORT : NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0, 0,
		        0);
		put_doorbell(t, 0, 0, 2 + i, 3 + i);
		put_cpl(t, 0, 9, (uint16_t)((i < 2 ? 5u + 0x100u * (i == 0) : 0u) << 1 | 1));
		put_doorbell(t, 0, 1, 2 + i, 3 + i);
	}
}

static void i_nothing(struct trace *t)
{
	(void)t;
}

/* After Doorbell Buffer Config doorbells are in memory, where no record sees them. */
static void i_shadow(struct trace *t)
{
	uint32_t i;

	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_delete(t, 3);
	put_queue_1(t, 5);
	for (i = 0; i < 9; i++) {
		put_cmd(t, 1, (uint16_t)i, NVME_OPC_READ, 0, 0, 0, 0x20000);
		*tail_of(t, 1) = (i + 1) % 4;
		put_cpl(t, 1, (uint16_t)i, i / 4 % 2 == 0);
	}
	put_delete(t, 7);
	put_detach(t);
}

static void i_page_size(struct trace *t)
{
	put_disable(t);
	put_again(t, 1);
	put_queue_1(t, 0);
	put_read_prps(t, 0x22000, 2, 0);
}

/* What a reset leaves behind: the same CIDs, rings from their start, slots not handed back. */
static void i_reset(struct trace *t)
{
	uint32_t i;

	put_cmd(t, 1, 2, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_disable(t);
	put_again(t, 0);
	put_queue_1(t, 0);
	for (i = 0; i < 9; i++)
		put_io(t, i, NVME_OPC_READ, i, 1);
	put_delete(t, 2);
	put_queue_1(t, 4);
	for (i = 0; i < 3; i++)
		put_io(t, i, NVME_OPC_READ, i, 1);
}

/* A reset of the function is in no record: the admin queue is just set up once more. */
static void i_function_reset(struct trace *t)
{
	put_unrung(t, 6);
	put_again(t, 0);
	put_queue_1(t, 0);
	put_io(t, 0, NVME_OPC_READ, 0, 1);
}

/* What the controller does not end the driver ends, and no slot of a ring is used for it. */
static void i_aborted(struct trace *t)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_cmd(t, 0, 9, NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0, 0, 0);
	put_doorbell(t, 0, 0, 2, 3);
	put_cpl(t, 0, 9, NVME_SC_ABORTED_SQ_DELETION << 1);
	put_admin(t, 3, NVME_OPC_DELETE_IO_SQ, 1, 0);
	put_cpl(t, 1, 6, NVME_SC_ABORTED_SQ_DELETION << 1);
	put_admin(t, 4, NVME_OPC_DELETE_IO_CQ, 1, 0);
	put_cmd(t, 0, 1, NVME_OPC_ASYNC_EVENT_REQUEST, 0, 0, 0, 0);
	put_doorbell(t, 0, 0, 5, 6);
	put_disable(t);
	put_cpl(t, 0, 1, NVME_SC_ABORTED_BY_REQUEST << 1);
	put(t, NVME_TRACE_DETACH, 0, NULL, 0);
}

/* Two doorbells for three commands: what the first does not announce the second does. */
static void i_announced_later(struct trace *t)
{
	uint16_t i;

	for (i = 6; i < 9; i++)
		put_cmd(t, 1, i, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put_doorbell(t, 1, 0, 3, 1);
}

/* Pairs, alone and behind another command that is announced before or with them. */
static void i_fused(struct trace *t)
{
	put_half(t, 6, NVME_FUSE_FIRST);
	put_half(t, 7, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 2, 0);
	put_cpl(t, 1, 6, 0);
	put_cpl(t, 1, 7, 0);
	put_doorbell(t, 1, 1, 2, 0);
	put_half(t, 8, NVME_FUSE_NONE);
	put_half(t, 9, NVME_FUSE_FIRST);
	put_doorbell(t, 1, 0, 0, 1); /* of the first one alone */
	put_half(t, 10, NVME_FUSE_SECOND);
	put_doorbell(t, 1, 0, 1, 3);
}

/* A data pointer of an earlier command says nothing of this one, whose PRPs are the caller's. */
static void i_old_prp(struct trace *t)
{
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .nsid = 1};

	put_read_prps(t, 0x21000, 2, 0);
	put_doorbell(t, 1, 0, 2, 3);
	put_cpl(t, 1, 0, 0);
	put_doorbell(t, 1, 1, 2, 3);
	cmd.dptr.prp.prp1 = 0x20000;
	cmd.dptr.prp.prp2 = 0x30008;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

/* What is aligned, what no command with data has, and what SGLs may have. */
static void i_mptr(struct trace *t)
{
	put_with_mptr(t, 6, NVME_OPC_WRITE, NVME_PSDT_PRP, 0x40004);
	put_with_mptr(t, 7, NVME_OPC_FLUSH, NVME_PSDT_PRP, 0x40002);
	put_with_mptr(t, 8, NVME_OPC_READ, NVME_PSDT_SGL, 0x40001);
}

static void test_innocent(void **state)
{
	static const struct made cases[] = {
		{"nothing", NULL, i_nothing},
		{"shadow doorbells", NULL, i_shadow},
		{"page size", NULL, i_page_size},
		{"reset", NULL, i_reset},
		{"function reset", NULL, i_function_reset},
		{"aborted by the driver", NULL, i_aborted},
		{"events", NULL, i_events},
		{"announced later", NULL, i_announced_later},
		{"old data pointer", NULL, i_old_prp},
		{"metadata", NULL, i_mptr},
		{"fused pairs", NULL, i_fused},
	};

	(void)state;
	expect_made(cases, sizeof(cases) / sizeof(cases[0]));
}

/* The first half of the first pair was overwritten. */
static void test_fused_begins_before(void **state)
{
	struct trace t;

	(void)state;
	trace_open(&t, "made.nvt");
	put_half(&t, 7, NVME_FUSE_SECOND);
	put_doorbell(&t, 1, 0, 2, 0);
	trace_close(&t);
	expect_lint("second half first", "made.nvt", NULL);
}

/* Slots that are damaged may have held what is missing. */
static void test_damage(void **state)
{
	const uint8_t bad[8] = {0};
	struct result r;
	struct trace t;
	uint64_t i, n;

	(void)state;
	trace_open(&t, "good.nvt");
	put_start(&t);
	for (i = 0; i < 3; i++)
		put_io(&t, (uint32_t)i, NVME_OPC_READ, 0, 1);
	put_moved_list(&t);
	for (i = 4; i < 12; i++)
		put_io(&t, (uint32_t)i, NVME_OPC_READ, 0, 1);
	n = t.count;
	put_delete(&t, 2);
	put_detach(&t);
	trace_close(&t);
	for (i = 1; i <= n; i++) {
		run(&r, "cp %s %s", path("good.nvt"), path("bad.nvt"));
		done(&r);
		write_at(path("bad.nvt"), (long)(i * 128 + 120), (const char *)bad, sizeof(bad));
		run(&r, "%s --lint %s", nvtrace, path("bad.nvt"));
		if (r.out[0] != '\0')
			show(&r);
		assert_string_equal(r.out, "");
		expect_in(&r, r.err, "no mistakes found");
		done(&r);
	}
}

/* Two controllers have queues and CIDs of the same numbers. */
static void test_two_controllers(void **state)
{
	struct trace t;
	uint32_t i;

	(void)state;
	trace_open(&t, "two.nvt");
	for (t.ctrlr = 0; t.ctrlr < 2; t.ctrlr++)
		put_start(&t);
	for (i = 0; i < 3; i++)
		for (t.ctrlr = 0; t.ctrlr < 2; t.ctrlr++)
			put_cmd(&t, 1, (uint16_t)i, NVME_OPC_READ, 0, 0, 0, 0x20000);
	t.ctrlr = 0;
	put_doorbell(&t, 1, 0, 0, 3);
	put_detach(&t);
	t.ctrlr = 1;
	put_doorbell(&t, 1, 0, 0, 2);
	trace_close(&t);
	expect_lint("two controllers", "two.nvt", NULL);
}

/* ---- a head that is never rung ---- */

/* How the driver goes on, and how much it took. Only where it goes on it had time to ring. */
static void make_never_rung(struct trace *t, uint32_t n, const char *end)
{
	uint32_t i;

	put_start(t);
	for (i = 0; i < n; i++)
		put_unrung(t, i);
	if (strcmp(end, "delete") == 0)
		put_delete(t, 2);
	else if (strcmp(end, "shutdown") == 0)
		put_reg(t, NVME_REG_CC, 0x464001);
	else if (strcmp(end, "disable") == 0)
		put_disable(t);
	else if (strcmp(end, "down") == 0)
		put_detach(t);
	else if (strcmp(end, "detach") == 0)
		put(t, NVME_TRACE_DETACH, 0, NULL, 0);
	else if (strcmp(end, "all") == 0) {
		put_delete(t, 2);
		put_detach(t);
	} else if (strcmp(end, "next") == 0) {
		put_cmd(t, 1, (uint16_t)n, NVME_OPC_READ, 0, 0, 0, 0x20000);
		put_doorbell(t, 1, 0, n % 4, (n + 1) % 4);
	}
}

static void test_never_rung(void **state)
{
	static const struct {
		const char *end, *what;
		uint32_t n;
	} cases[] = {
		{"delete", "queue 1: CQ head never rung: 2 completions were taken, none", 2},
		{"shutdown", "queue 1: CQ head never rung: 1 completions were taken", 1},
		{"disable", "queue 1: CQ head never rung: 2 completions were taken", 2},
		{"detach", "queue 1: CQ head never rung: 3 completions were taken", 3},
		{"all", "queue 1: CQ head never rung: 2 completions were taken", 2},
		{"down", "queue 1: CQ head never rung: 2 completions were taken", 2},
		{"next", "queue 1: CQ head never rung: 3 completions were taken", 3},
		{"next", NULL, 2}, /* a callback that submits: the batch may not have ended */
		{"here", NULL, 3},
		{"all", NULL, 0},
	};
	struct trace t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		trace_open(&t, "made.nvt");
		make_never_rung(&t, cases[i].n, cases[i].end);
		trace_close(&t);
		expect_lint(cases[i].end, "made.nvt", cases[i].what);
	}
}

/* ---- controllers that begin ---- */

enum {
	NO_ATTACH = 1,
	NO_AQA = 2,
	NO_ASQ = 4,
	NO_ACQ = 8,
	NO_READY = 16,
	NOT_YET = 32,
	IS_ON = 64,
	THREADS = 128,
	RESET = 256,
	NO_OFF = 512
};

static void put_begin(struct trace *t, int how)
{
	if ((how & NO_ATTACH) == 0)
		put_attach(t);
	if ((how & IS_ON) != 0)
		put_read(t, NVME_REG_CC, 0x460001);
	else if ((how & NO_OFF) == 0)
		put_reg(t, NVME_REG_CC, 0);
	if ((how & NO_AQA) == 0)
		put_reg(t, NVME_REG_AQA, 0x001f001f);
	if ((how & NO_ASQ) == 0)
		put_reg(t, NVME_REG_ASQ, 0x1000);
	if ((how & NO_ACQ) == 0)
		put_reg(t, NVME_REG_ACQ, 0x2000);
	if ((how & THREADS) != 0) {
		t->tid = 1;
		put_read(t, NVME_REG_VS, 0x10400);
		t->tid = 0;
	}
	put_reg(t, NVME_REG_CC, 0x460001);
	if ((how & NOT_YET) != 0)
		put_read(t, NVME_REG_CSTS, 0);
	if ((how & NO_READY) == 0)
		put_read(t, NVME_REG_CSTS, 1);
	if ((how & RESET) != 0) {
		put_disable(t);
		put_reg(t, NVME_REG_CC, 0x460001);
	}
	put_admin(t, 0, NVME_OPC_CREATE_IO_CQ, 0x00030001, 1);
}

static void test_begin(void **state)
{
	static const struct {
		const char *what;
		int how;
	} cases[] = {
		{NULL, 0},
		{NULL, NOT_YET},
		{"queue 0: enabled without an admin queue: CC.EN is set, but AQA were not", NO_AQA},
		{"CC.EN is set, but ASQ were not written", NO_ASQ},
		{"CC.EN is set, but ACQ were not written", NO_ACQ},
		{"CC.EN is set, but AQA ASQ ACQ were not written", NO_AQA | NO_ASQ | NO_ACQ},
		{NULL, NO_AQA | NO_ASQ | NO_ACQ | NO_ATTACH},
		{NULL, NO_AQA | NO_ASQ | NO_ACQ | IS_ON},
		{NULL, NO_AQA | NO_OFF},
		{"queue 0: not yet ready: SQ tail 1 announces commands", NO_READY},
		{"not yet ready: SQ tail 1", NO_READY | NOT_YET},
		{"not yet ready: SQ tail 1", RESET},
		{NULL, NO_READY | THREADS},
		{NULL, NO_READY | NO_ATTACH},
		{NULL, NO_READY | NO_AQA | IS_ON},
	};
	struct trace t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		trace_open(&t, "made.nvt");
		put_begin(&t, cases[i].how);
		trace_close(&t);
		expect_lint(cases[i].what != NULL ? cases[i].what : "begin", "made.nvt",
		            cases[i].what);
	}
}

/* What may have been before the trace is no mistake: queues, mappings, the size of a page. */
static void test_no_attach(void **state)
{
	struct trace t;

	(void)state;
	trace_open(&t, "made.nvt");
	put_cmd(&t, 1, 1, NVME_OPC_READ, 0, 0, 15, 0x20000);
	put_doorbell(&t, 1, 0, 0, 1);
	put_doorbell(&t, 2, 0, 0, 1);
	put_map(&t, 0x50000, 0x1000);
	put_cmd(&t, 1, 2, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_moved_list(&t);
	put_cmd(&t, 0, 0, NVME_OPC_CREATE_IO_CQ, 0xffff0001, 1, 0, 0x10000);
	put_cmd(&t, 0, 1, NVME_OPC_DELETE_IO_CQ, 1, 0, 0, 0);
	trace_close(&t);
	expect_lint("no attach", "made.nvt", NULL);
}

/* ---- a software controller that does wrong ---- */

/* The live log, which the text of the record equals, has SPDK's line for it. */
static void test_soft_plans(void **state)
{
	static const char *const cases[][2] = {
		{"sqid 9", "queue 1: foreign SQID: cid:0 is said to be of SQ 9"},
		{"sqhd 65535", "queue 1: SQ head beyond the tail: cid:0 has sqhd 65535, behind 1"},
		{"sqhd 3", "queue 1: SQ head beyond the tail: cid:0 has sqhd 3, behind 1"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r,
		    "NVME_LOG=debug NVME_TRACE=%s %s 'soft:plan=on read #1 %s' 2>%s; %s %s >%s; "
		    "grep nvme.h: %s | cmp - %s",
		    path("plan.nvt"), hello_world, cases[i][0], path("live"), nvtrace,
		    path("plan.nvt"), path("text"), path("live"), path("text"));
		expect_status(&r, 0);
		done(&r);
		expect_lint(cases[i][0], "plan.nvt", cases[i][1]);
		run(&r, "grep -c \"sqid 9 doesn't match qid\" %s", path("text"));
		assert_string_equal(r.out, i == 0 ? "1\n" : "0\n");
		done(&r);
	}
}

/* Whichever phase bit is wrong, and only that, it is one mistake. */
static void test_flipped_phase(void **state)
{
	struct nvme_trace_slot slot;
	struct result r;
	size_t size, at;
	char *data;
	int n = 0;

	(void)state;
	run(&r, "NVME_LOG=error NVME_TRACE=%s NVME_TRACE_SLOTS=9000 %s depth soft:size=16M 3",
	    path("whole.nvt"), run_io);
	expect_status(&r, 0);
	done(&r);
	data = read_file(path("whole.nvt"), &size);
	for (at = sizeof(slot); at < size && n < 60; at += sizeof(slot)) {
		memcpy(&slot, data + at, sizeof(slot));
		if (slot.kind != NVME_TRACE_CQE || slot.seq == 0)
			continue;
		data[at + 28 + 14] ^= 1;
		write_at(new_image("flip.nvt", 0), 0, data, size);
		expect_lint("flipped phase", "flip.nvt", "phase error: cid:");
		data[at + 28 + 14] ^= 1;
		n++;
	}
	assert_int_equal(n, 60);
	free(data);
}

/* The driver itself, without its CQ doorbells: the admin queue and the I/O queue are told of. */
static void test_driver_never_rings(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "mkdir -p %s/deaf && sed '/^NVME__HOT void nvme_ring_cq_doorbell/,/^}/ { /{/a return;\n"
	    "}' nvme.h >%s/deaf/nvme.h && ! cmp -s nvme.h %s/deaf/nvme.h && "
	    "cc -std=c11 -O1 -w -I%s/deaf -Itools -Iexamples examples/hello_world.c "
	    "-o %s/deaf/hello_world -lpci -pthread && NVME_TRACE=%s/deaf.nvt %s/deaf/hello_world",
	    dir, dir, dir, dir, dir, dir, dir);
	expect_status(&r, 0);
	done(&r);
	run(&r, "%s --lint %s", nvtrace, path("deaf.nvt"));
	expect_status(&r, 1);
	assert_int_equal(lines(r.out), 2);
	expect_in(&r, r.out, "queue 1: CQ head never rung: 2 completions were taken");
	expect_in(&r, r.out, "queue 0: CQ head never rung: ");
	done(&r);
}

/* ---- a recorder that went round ---- */

static void test_wrapped(void **state)
{
	static const struct {
		uint64_t slots;
		bool orphan;
	} cases[] = {{5, false}, {6, false}, {7, false}, {8, false}, {60, false}, {60, true}};
	struct trace t;
	uint32_t k;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		trace_open(&t, "round.nvt");
		t.slots = cases[i].slots;
		put_start(&t);
		for (k = 0; k < 50; k++) {
			put_io(&t, k % 8, NVME_OPC_READ, k, 1);
			if (k == 40 && cases[i].orphan)
				put_cpl(&t, 1, 0,
				        1); /* its command was there, and so was its end */
		}
		trace_close(&t);
		expect_lint("went round", "round.nvt",
		            cases[i].orphan ? "completion without command: cid:0" : NULL);
	}
}

/* ---- every mode of run_io ---- */

static void lint_run(const char *command, const char *number, const char *device, bool two,
                     int slots)
{
	struct result r;

	run(&r, "NVME_LOG=error NVME_TRACE=%s NVME_TRACE_SLOTS=%d %s %s %s %s %s", path("run.nvt"),
	    slots, run_io, command, device, number, two ? device : "");
	if (r.status != 0)
		show(&r);
	assert_int_equal(r.status, 0);
	done(&r);
	expect_lint(command, "run.nvt", NULL);
}

static const char *const modes[][2] = {{"pattern", "10"}, {"async", "20"}, {"threads", "30"},
                                       {"limits", "0"},   {"depth", "16"}, {"depth", "2"},
                                       {"depth", "3"},    {"depth", "64"}, {"soak", "40"},
                                       {"format", "3"}};
static const int ring_sizes[] = {65536, 200, 61};

/* The first so many modes, in a file that holds all of it or goes round. */
static void lint_runs(const char *mode, size_t num_modes, size_t sizes)
{
	char device[64];
	size_t i, k;

	snprintf(device, sizeof(device), "soft:size=16M,mode=%s", mode);
	for (i = 0; i < num_modes; i++) {
		for (k = 0; k < sizes; k++) {
			lint_run(modes[i][0], modes[i][1], device, false, ring_sizes[k]);
			lint_run(modes[i][0], modes[i][1], device, true, ring_sizes[k]);
		}
	}
	print_message("%zu runs, mode %s\n", num_modes * sizes * 2, mode);
}

static void test_sync(void **state)
{
	(void)state;
	lint_runs("sync", 8, 3);
}

static void test_thread(void **state)
{
	(void)state;
	lint_runs("thread", 5, 2);
}

/* run_io hold writes until it is killed, hello_world does not. */
static void test_killed(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "NVME_LOG=error NVME_TRACE=%s NVME_TRACE_SLOTS=500 %s hold soft >%s & pid=$!; "
	    "until grep -q holding %s; do sleep 0.05; done; sleep 0.2; kill -9 $pid; wait $pid; "
	    "true",
	    path("hold.nvt"), run_io, path("hold"), path("hold"));
	expect_status(&r, 0);
	done(&r);
	expect_lint("hold", "hold.nvt", NULL);
	run(&r, "NVME_TRACE=%s %s", path("hello.nvt"), hello_world);
	expect_status(&r, 0);
	done(&r);
	expect_lint("hello_world", "hello.nvt", NULL);
}

/* Wherever a recording ends, and wherever it begins, there is nothing to accuse. */
static void test_cut(void **state)
{
	struct nvme_trace_header h;
	struct result r;
	char *data;
	size_t size;
	uint64_t n;

	(void)state;
	run(&r, "NVME_LOG=error NVME_TRACE=%s %s depth soft 5 && NVME_LOG=error NVME_TRACE=%s %s",
	    path("all.nvt"), run_io, path("hello.nvt"), hello_world);
	expect_status(&r, 0);
	done(&r);
	data = read_file(path("all.nvt"), &size);
	memcpy(&h, data, sizeof(h));
	assert_true(h.next > 200);
	for (n = 1; n < 200; n += n < 120 ? 7 : 1) {
		h.slots = n; /* the file that stops there, then one that begins there */
		h.next = n + 1;
		memcpy(data, &h, sizeof(h));
		write_at(new_image("cut.nvt", 0), 0, data, (size_t)(n + 1) * 128);
		expect_lint("cut", "cut.nvt", NULL);
	}
	free(data);
	for (n = 20; n < 60; n++)
		lint_run("depth", "5", "soft:size=16M", false, (int)n);
}

/* ---- logs that name no controller ---- */

static const char qemu_start[] =
	"pci_nvme_mmio_write addr 0x14 data 0x0 size 4\n"
	"pci_nvme_mmio_cfg wrote MMIO, config controller config=0x0\n"
	"pci_nvme_mmio_write addr 0x24 data 0x1f001f size 4\n"
	"pci_nvme_mmio_aqattr wrote MMIO, admin queue attributes=0x1f001f\n"
	"pci_nvme_mmio_write addr 0x28 data 0x1000 size 4\n"
	"pci_nvme_mmio_write addr 0x2c data 0x0 size 4\n"
	"pci_nvme_mmio_write addr 0x30 data 0x2000 size 4\n"
	"pci_nvme_mmio_write addr 0x34 data 0x0 size 4\n"
	"pci_nvme_mmio_write addr 0x14 data 0x460001 size 4\n"
	"pci_nvme_mmio_cfg wrote MMIO, config controller config=0x460001\n"
	"pci_nvme_mmio_start_success setting controller enable bit succeeded\n";
static const char qemu_set_up_only[] = "pci_nvme_mmio_write addr 0x24 data 0x1f001f size 4\n";
static const char qemu_disable[] = "pci_nvme_mmio_write addr 0x14 data 0x0 size 4\n"
				   "pci_nvme_mmio_cfg wrote MMIO, config controller config=0x0\n";
static const char qemu_stopped[] = "pci_nvme_mmio_stopped cleared controller enable bit\n";
static const char qemu_shutdown[] =
	"pci_nvme_mmio_write addr 0x14 data 0x464001 size 4\n"
	"pci_nvme_mmio_cfg wrote MMIO, config controller config=0x464001\n"
	"pci_nvme_mmio_shutdown_set shutdown bit set\n";
static const char qemu_pci_reset[] = "pci_nvme_pci_reset PCI Function Level Reset\n";
static const char qemu_enabled[] =
	"pci_nvme_mmio_start_success setting controller enable bit succeeded\n";
/* the same command twice: a mistake of one controller's driver, and none of two */
static const char qemu_command[] =
	"pci_nvme_admin_cmd cid 3 sqid 0 opc 0x6 opname 'NVME_ADM_CMD_IDENTIFY'\n";

static void test_qemu(void **state)
{
	static const struct {
		const char *name, *log[8];
		int mistake; /* the log is of one controller, and so the two commands are one; -1:
		              * it is of two for certain */
	} cases[] = {
		{"one", {qemu_start, qemu_command, qemu_command}, true},
		{"two", {qemu_start, qemu_start, qemu_command, qemu_command}, -1},
		{"second comes later", {qemu_start, qemu_command, qemu_start, qemu_command}, -1},
		{"second is set up",
	         {qemu_start, qemu_command, qemu_set_up_only, qemu_command},
	         false},
		{"second is disabled", {qemu_start, qemu_command, qemu_disable, qemu_command}, -1},
		{"both set up, one on",
	         {qemu_set_up_only, qemu_start, qemu_command, qemu_command},
	         false},
		{"set up, then both",
	         {qemu_start, qemu_set_up_only, qemu_command, qemu_command},
	         false},
		{"only enabled", {qemu_start, qemu_enabled, qemu_command, qemu_command}, -1},
		{"log begins later", {qemu_command, qemu_command}, false},
		{"begins later, second on", {qemu_command, qemu_start, qemu_command}, false},
		{"disabled between",
	         {qemu_start, qemu_command, qemu_disable, qemu_stopped, qemu_start, qemu_command},
	         false},
		{"and again",
	         {qemu_start, qemu_disable, qemu_stopped, qemu_start, qemu_command, qemu_command},
	         true},
		{"shut down, reset",
	         {qemu_start, qemu_shutdown, qemu_pci_reset, qemu_start, qemu_command,
	          qemu_command},
	         true},
		{"reset of which",
	         {qemu_start, qemu_command, qemu_pci_reset, qemu_start, qemu_command, qemu_command},
	         false},
	};
	struct result r;
	size_t i, k;
	FILE *f;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f = fopen(path("q.log"), "w");
		assert_non_null(f);
		for (k = 0; k < 8 && cases[i].log[k] != NULL; k++)
			fputs(cases[i].log[k], f);
		fclose(f);
		if (cases[i].mistake < 0) {
			run(&r, "%s --lint %s", nvtrace, path("q.log"));
			expect_status(&r, 3);
			expect_in(&r, r.err, "here a second controller begins");
			done(&r);
			continue;
		}
		expect_lint(cases[i].name, "q.log",
		            cases[i].mistake ? "queue 0: CID reused while outstanding: cid:3"
		                             : NULL);
	}
	/* and it says what it could not see */
	run(&r, "%s --lint %s", nvtrace, path("q.log"));
	expect_in(&r, r.err,
	          "there may be several controllers that this trace does not tell apart");
	done(&r);
}

/* What a record shows by itself needs no controller. */
static void test_qemu_alone(void **state)
{
	static const char prp[] =
		"pci_nvme_io_cmd cid 3 nsid 0x1 sqid 1 opc 0x2 opname 'NVME_NVM_CMD_READ'\n"
		"pci_nvme_map_prp trans_len 512 len 512 prp1 0x20002 prp2 0x0 num_prps 1\n";
	static const char asq[] = "pci_nvme_mmio_write addr 0x28 data 0x1040 size 4\n";

	(void)state;
	write_at(new_image("q.log", 0), 0, prp, strlen(prp));
	expect_lint("PRP", "q.log", "misaligned PRP: PRP1 0x20002");
	write_at(new_image("q.log", 0), 0, asq, strlen(asq));
	expect_lint("ASQ", "q.log", "misaligned queue: ASQ 0x1040");
}

/* Real logs: firmware on QEMU, a kernel that boots and one that reads and writes. */
static void test_fixtures(void **state)
{
	static const char *const logs[] = {"qemu-7.2.seabios.log", "linux-6.1.176.init.ftrace.txt",
	                                   "linux-6.1.176.io.ftrace.txt",
	                                   "spdk-v23.05-hello_world-qemu.log"};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(logs) / sizeof(logs[0]); i++) {
		run(&r, "%s --lint tests/fixtures/%s", nvtrace, logs[i]);
		if (r.status != 0)
			show(&r);
		assert_string_equal(r.out, "");
		assert_int_equal(r.status, 0);
		done(&r);
	}
}

/* ---- what was judged, and what could not be ---- */

static void test_report(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_LOG=error NVME_TRACE=%s %s soft", path("h.nvt"), hello_world);
	done(&r);
	run(&r, "%s --lint %s", nvtrace, path("h.nvt"));
	expect_in(&r, r.err, " records by 30 of 30 rules: CID reuse, completion without command, ");
	expect_in(&r, r.err, "data outside of the PRPs, ");
	assert_null(strstr(r.err, "not looked for"));
	assert_int_equal(lines(r.err), 1);
	done(&r);
	run(&r, "%s --lint tests/fixtures/linux-6.1.176.io.ftrace.txt", nvtrace);
	expect_in(&r, r.err, "nvtrace: no mistakes found in ");
	expect_in(&r, r.err,
	          " by 7 of 30 rules: CID reuse, completion without command, fused pairs, SQ "
	          "without CQ, CQ deleted before its SQ, abort in a queue that is gone, event "
	          "requests\n");
	expect_in(&r, r.err, "nvtrace: not looked for, as the source has no doorbells: ");
	expect_in(&r, r.err, "SQHD, SQ tail, CQ head, ");
	expect_in(&r, r.err, "; no PRPs: PRP alignment, PRP2 missing, PRP outside of the mappings");
	expect_in(&r, r.err, "; no registers: ");
	assert_int_equal(lines(r.err), 2);
	done(&r);
	run(&r, "%s --lint tests/fixtures/qemu-7.2.seabios.log", nvtrace);
	expect_in(&r, r.err, "; no DMA mappings: ");
	assert_null(strstr(r.err, "no doorbells:"));
	done(&r);
	run(&r, "%s --lint tests/fixtures/spdk-v23.05-hello_world-qemu.log", nvtrace);
	expect_in(&r, r.err, "not looked for, as the source has no doorbells: ");
	done(&r);
	write_at(new_image("q.log", 0), 0, qemu_disable, strlen(qemu_disable));
	run(&r, "%s --lint %s", nvtrace, path("q.log"));
	expect_in(&r, r.err, " by 1 of 30 rules: queue bases\n");
	expect_in(&r, r.err, "not looked for, as the source has no commands: CID reuse, ");
	done(&r);
}

/* Events that the kernel lost: the command that used this CID may have completed there. */
static void test_lost_events(void **state)
{
	static const char setup[] = "  fio-1  [000] .... 10.00000%d: nvme_setup_cmd: nvme0: "
				    "disk=nvme0n1, qid=1, cmdid=5, "
				    "nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_read slba=0, "
				    "len=0, ctrl=0x0, dsmgmt=0, "
				    "reftag=0)\n";
	FILE *f;
	int lost;

	(void)state;
	for (lost = 0; lost < 2; lost++) {
		f = fopen(path("f.txt"), "w");
		assert_non_null(f);
		fprintf(f, setup, 1);
		if (lost)
			fprintf(f, "CPU:0 [LOST 23 EVENTS]\n");
		fprintf(f, setup, 2);
		fclose(f);
		expect_lint("lost events", "f.txt",
		            lost ? NULL : "queue 1: CID reused while outstanding: cid:5");
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes),    cmocka_unit_test(test_more_mistakes),
		cmocka_unit_test(test_begin),       cmocka_unit_test(test_no_attach),
		cmocka_unit_test(test_soft_plans),  cmocka_unit_test(test_flipped_phase),
		cmocka_unit_test(test_report),      cmocka_unit_test(test_no_queue),
		cmocka_unit_test(test_innocent),    cmocka_unit_test(test_fused_begins_before),
		cmocka_unit_test(test_damage),      cmocka_unit_test(test_two_controllers),
		cmocka_unit_test(test_never_rung),  cmocka_unit_test(test_driver_never_rings),
		cmocka_unit_test(test_wrapped),     cmocka_unit_test(test_sync),
		cmocka_unit_test(test_thread),      cmocka_unit_test(test_killed),
		cmocka_unit_test(test_cut),         cmocka_unit_test(test_qemu),
		cmocka_unit_test(test_qemu_alone),  cmocka_unit_test(test_fixtures),
		cmocka_unit_test(test_lost_events),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_traces, remove_dir);
}
