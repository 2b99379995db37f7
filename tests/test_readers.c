// SPDX-License-Identifier: MIT
/*
 * The readers of text, against captures of Linux 6.1, QEMU 7.2 and SPDK v23.05, lines of every
 * dialect there is, a sample of SPDK's text, and damaged copies of all of it. Run from the root of
 * the repository: reads tests/fixtures/.
 */
#include "trace/cmd.h"
#include "trace/read/scan.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define FIXTURES "tests/fixtures/"
#define INIT     FIXTURES "linux-6.1.176.init.ftrace.txt"
#define IO       FIXTURES "linux-6.1.176.io.ftrace.txt"
#define QEMU     FIXTURES "qemu-7.2.seabios.log"
#define SPDK     FIXTURES "spdk-v23.05-hello_world-qemu.log"
#define SAMPLE   FIXTURES "spdk-v23.05-text-sample.tsv"

/* ---- reading from memory ---- */

static void start(struct reader *rd, const struct reader_ops *ops, const char *text, size_t len)
{
	memset(rd, 0, sizeof(*rd));
	rd->ops = ops;
	rd->name = "a test";
	rd->in = fmemopen((void *)(uintptr_t)text, len, "rb");
	if (len != 0) /* of which fmemopen() makes nothing */
		assert_non_null(rd->in);
	rd->head_len = rd->in != NULL ? fread(rd->head, 1, sizeof(rd->head), rd->in) : 0;
	assert_int_equal(ops->open(rd), 0);
}

static void stop(struct reader *rd)
{
	rd->ops->close(rd);
	if (rd->in != NULL)
		fclose(rd->in);
}

struct all {
	struct rec *rec;
	size_t count;
	unsigned of[REC_NOTE + 1]; /* how many of each kind */
	uint64_t damaged, dropped;
};

static struct all all;

static void forget(void)
{
	free(all.rec);
	memset(&all, 0, sizeof(all));
}

static void read_all(const struct reader_ops *ops, const char *text, size_t len)
{
	static struct reader rd;
	struct rec rec;
	int status;

	forget();
	start(&rd, ops, text, len);
	while ((status = ops->next(&rd, &rec)) == 1) {
		if ((all.count & (all.count - 1)) == 0)
			all.rec = realloc(all.rec, (all.count * 2 + 1) * sizeof(rec));
		assert_non_null(all.rec);
		all.rec[all.count++] = rec;
		all.of[rec.kind]++;
	}
	assert_int_equal(status, 0);
	all.damaged = rd.damaged;
	all.dropped = rd.dropped;
	stop(&rd);
}

static void read_text(const struct reader_ops *ops, const char *text)
{
	read_all(ops, text, strlen(text));
}

static char *load(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text = malloc(1 << 20);

	if (f == NULL)
		fail_msg("no fixture %s: run the tests from the root of the repository", path);
	assert_non_null(text);
	*len = fread(text, 1, (1 << 20) - 1, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

static void read_fixture(const struct reader_ops *ops, const char *path)
{
	size_t len;
	char *text = load(path, &len);

	read_all(ops, text, len);
	free(text);
}

/* Record i as one line of what it holds. */
static const char *shown(size_t i)
{
	static char text[1400];
	const struct rec *r = &all.rec[i];
	const struct nvme_cmd *c = &r->cmd;
	int n;

	assert_true(i < all.count);
	n = snprintf(text, sizeof(text), "%u q%d c%d ", (unsigned)r->number,
	             (r->has & HAS_QID) != 0 ? r->qid : -1,
	             (r->has & HAS_CTRLR) != 0 ? (int)r->ctrlr : -1);
	switch (r->kind) {
	case REC_COMMAND:
	case REC_CMD_AGAIN:
		snprintf(text + n, sizeof(text) - (size_t)n,
		         "%s %05x opc %02x flags %02x cid %u nsid %" PRIx32 " %" PRIx32 " %" PRIx32
		         " %" PRIx32 " %" PRIx32 " %" PRIx32 " %" PRIx32,
		         r->kind == REC_COMMAND ? "cmd" : "again", r->cmd_have, c->opc, c->flags,
		         c->cid, c->nsid, c->cdw10, c->cdw11, c->cdw12, c->cdw13, c->cdw14,
		         c->cdw15);
		break;
	case REC_COMPLETION:
		snprintf(text + n, sizeof(text) - (size_t)n,
		         "cpl %03x cid %u dw0 %" PRIx32 " dw1 %" PRIx32 " sqhd %x status %04x",
		         r->has & 0x7f0, r->cpl.cid, r->cpl.cdw0, r->cpl.cdw1, r->cpl.sqhd,
		         r->cpl.status);
		break;
	case REC_QUEUE:
		snprintf(text + n, sizeof(text) - (size_t)n, "sq %u %u", r->sq_head, r->sq_tail);
		break;
	case REC_DOORBELL:
		snprintf(text + n, sizeof(text) - (size_t)n, "db %x %s %u", r->doorbell.offset,
		         r->doorbell.cq ? "cq" : "sq", r->doorbell.new_value);
		break;
	case REC_REG_WRITE:
		snprintf(text + n, sizeof(text) - (size_t)n, "reg %x %" PRIx64 " %u", r->reg.offset,
		         r->reg.value, r->reg.size);
		break;
	case REC_ASYNC_EVENT:
		snprintf(text + n, sizeof(text) - (size_t)n, "aer %" PRIx32 " %s", r->cpl.cdw0,
		         r->text);
		break;
	case REC_IRQ:
		snprintf(text + n, sizeof(text) - (size_t)n, "irq %u%s", r->vector, r->text);
		break;
	case REC_LOG:
		snprintf(text + n, sizeof(text) - (size_t)n, "log %d %s", r->level, r->text);
		break;
	default:
		snprintf(text + n, sizeof(text) - (size_t)n, "%s %s",
		         r->kind == REC_DAMAGE ? "damage" : "note", r->text);
	}
	return text;
}

static void expect(size_t i, const char *want)
{
	assert_string_equal(shown(i), want);
}

/* The record of a line. */
static size_t at_line(uint64_t number)
{
	size_t i;

	for (i = 0; i < all.count && all.rec[i].number != number; i++)
		;
	return i;
}

/* One line, one record. */
static void one(const struct reader_ops *ops, const char *line, const char *want)
{
	read_text(ops, line);
	assert_int_equal(all.count, 1);
	expect(0, want);
}

/* Every completion has its command before it, by queue and CID. */
static unsigned pairs(void)
{
	unsigned n = 0;
	size_t i, j;

	for (i = 0; i < all.count; i++) {
		if (all.rec[i].kind != REC_COMPLETION)
			continue;
		for (j = i; j > 0; j--)
			if (all.rec[j - 1].kind == REC_COMMAND &&
			    all.rec[j - 1].cmd.cid == all.rec[i].cpl.cid &&
			    all.rec[j - 1].qid == all.rec[i].qid)
				break;
		n += j > 0;
	}
	return n;
}

/* ---- the recorder ---- */

#define LISTS 64 /* that threads are in the middle of */

static void put_slot(struct nvme_trace_slot *slot, uint64_t seq, uint16_t kind, const void *payload,
                     size_t len)
{
	memset(slot, 0, sizeof(*slot));
	slot->seq = seq;
	slot->check = ~seq;
	slot->tid = (uint32_t)(seq + 1) / 2;
	slot->kind = kind;
	slot->qid = 1;
	slot->len = (uint8_t)len;
	memcpy(slot->payload, payload, len);
}

/* A PRP list takes the memory of the entries that are there, not of those that it claims. */
static void nvt_claimed_entries(void **state)
{
	static struct nvme_trace_slot slot[2 * LISTS + 2];
	struct nvme_trace_header h = {.version = NVME_TRACE_VERSION,
	                              .byte_order = NVME_TRACE_BYTE_ORDER,
	                              .slot_size = sizeof(slot[0]),
	                              .slots = 2 * LISTS + 1,
	                              .next = 2 * LISTS + 2};
	struct nvme_trace_prp prp = {.nprp = 65536, .cid = 1};
	struct nvme_trace_prp_list part = {.cid = 1, .count = 10};
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ};
	static struct reader rd;
	struct mallinfo2 before, after;
	struct rec rec;
	uint64_t i;

	(void)state;
	memcpy(h.magic, NVME_TRACE_MAGIC, sizeof(h.magic));
	memcpy(&slot[0], &h, sizeof(h));
	for (i = 1; i <= 2 * LISTS; i += 2) {
		put_slot(&slot[i], i, NVME_TRACE_PRP, &prp, sizeof(prp));
		put_slot(&slot[i + 1], i + 1, NVME_TRACE_PRP_LIST, &part, sizeof(part));
	}
	put_slot(&slot[i], i, NVME_TRACE_SQE, &cmd, sizeof(cmd));
	start(&rd, &nvt_reader, (const char *)slot, sizeof(slot));
	before = mallinfo2();
	assert_int_equal(rd.ops->next(&rd, &rec), 1);
	after = mallinfo2();
	assert_int_equal(rec.kind, REC_COMMAND);
	assert_true(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (1 << 20));
	stop(&rd);
	/* and all of them come, whatever their number */
	for (prp.nprp = 3; prp.nprp < 2 * LISTS * 10; prp.nprp += 7) {
		put_slot(&slot[1], 1, NVME_TRACE_PRP, &prp, sizeof(prp));
		for (i = 0; i < prp.nprp - 1; i += part.count) {
			part.first = (uint32_t)i;
			part.count = (uint16_t)(prp.nprp - 1 - i < 10 ? prp.nprp - 1 - i : 10);
			part.entry[0] = 4096 * i;
			part.entry[part.count - 1] = 4096 * (i + part.count - 1);
			put_slot(&slot[2 + i / 10], 2 + i / 10, NVME_TRACE_PRP_LIST, &part,
			         sizeof(part));
			slot[2 + i / 10].tid = slot[1].tid;
		}
		start(&rd, &nvt_reader, (const char *)slot, sizeof(slot));
		assert_int_equal(rd.ops->next(&rd, &rec), 1);
		assert_int_equal(rec.kind, REC_PRP);
		assert_int_equal(rec.entries, prp.nprp - 1);
		for (i = 0; i < rec.entries; i += 10)
			assert_int_equal(rec.entry[i], 4096 * i);
		assert_int_equal(rec.entry[rec.entries - 1], 4096 * (rec.entries - 1));
		rec_free(&rec);
		stop(&rd);
	}
}

/* ---- Linux ---- */

static void ftrace_captures(void **state)
{
	(void)state;
	read_fixture(&ftrace_reader, INIT);
	assert_int_equal(all.of[REC_COMMAND], 21);
	assert_int_equal(all.of[REC_COMPLETION], 21);
	assert_int_equal(all.of[REC_QUEUE], 21);
	assert_int_equal(all.count, 63);
	assert_int_equal(pairs(), 21);
	expect(at_line(13), "13 q0 c0 cmd 10403 opc 06 flags 00 cid 0 nsid 0 1 0 0 0 0 0");
	expect(at_line(14), "14 q0 c0 sq 1 1");
	expect(at_line(16), "16 q0 c0 cmd 1fc03 opc 02 flags 00 cid 1 nsid 0 3ff0005 0 0 0 0 0");
	expect(at_line(28), "28 q0 c0 cmd 10c03 opc 09 flags 00 cid 4097 nsid 0 7 10001 0 0 0 0");
	expect(at_line(30), "30 q0 c0 cpl 780 cid 4097 dw0 3f003f dw1 0 sqhd 0 status 0000");
	expect(at_line(31),
	       "31 q0 c0 cmd 10c03 opc 05 flags 00 cid 4098 nsid 0 3ff0001 10003 0 0 0 0");
	expect(at_line(34),
	       "34 q0 c0 cmd 10c03 opc 01 flags 00 cid 4099 nsid 0 3ff0001 10001 0 0 0 0");
	assert_int_equal(all.rec[0].time_ns, 3473359000);

	read_fixture(&ftrace_reader, IO);
	assert_int_equal(all.of[REC_COMMAND], 18);
	assert_int_equal(all.of[REC_COMPLETION], 18);
	assert_int_equal(all.of[REC_QUEUE], 18);
	assert_int_equal(all.count, 54);
	assert_int_equal(pairs(), 18);
	expect(at_line(16), "16 q2 c0 cmd 17c03 opc 02 flags 00 cid 16640 nsid 1 8 0 7 0 0 0");
	expect(at_line(31), "31 q2 c0 cmd 10c03 opc 09 flags 00 cid 37120 nsid 1 0 4 0 0 0 0");
	expect(at_line(46),
	       "46 q2 c0 cmd 17c03 opc 02 flags 00 cid 41216 nsid 1 3b9ac9ff 0 0 0 0 0");
	expect(at_line(48), "48 q2 c0 cpl 780 cid 41216 dw0 0 dw1 0 sqhd 0 status 8100");
	expect(at_line(60), "60 q2 c0 cpl 780 cid 257 dw0 0 dw1 0 sqhd 0 status 050a");
	expect(at_line(64), "64 q0 c0 cmd 1fc03 opc c0 flags 00 cid 24576 nsid 0 0 0 0 0 0 0");
	expect(at_line(52),
	       "52 q0 c0 cmd 1fc03 opc 02 flags 00 cid 20482 nsid ffffffff f00fe 0 0 0 0 0");
}

static void ftrace_dialects(void **state)
{
	const struct reader_ops *f = &ftrace_reader;

	(void)state;
	one(f,
	    "nvme_setup_cmd: nvme0: qid=0, cmdid=4099, nsid=0, flags=0x0, meta=0x0, "
	    "cmd=(nvme_admin_create_cq cqid=2, qsize=1023, cq_flags=0x3, irq_vector=2)",
	    "1 q0 c0 cmd 10c03 opc 05 flags 00 cid 4099 nsid 0 3ff0002 20003 0 0 0 0");
	one(f,
	    "a b-c:d/1 -31 (   99) [001] 2.5: nvme_sq: nvme3: disk=nvme3c1n1, qid=2, head=8, "
	    "tail=9",
	    "1 q2 c3 sq 8 9");
	assert_int_equal(all.rec[0].time_ns, 2500000000);
	/* up to 4.17: two events, no controller; up to 5.2: decimal */
	one(f,
	    " x-1 [000] ....  1.000001: nvme_setup_nvm_cmd: qid=1, nsid=1, cmdid=7, flags=0x0, "
	    "meta=0x0, cmd=(nvme_cmd_read slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0)",
	    "1 q1 c-1 cmd 17c03 opc 02 flags 00 cid 7 nsid 1 8 0 7 0 0 0");
	one(f,
	    " x-1 [000] ....  1.000001: nvme_setup_admin_cmd: cmdid=7, flags=0x0, meta=0x0, "
	    "cmd=(nvme_admin_get_features fid=0x7 sel=0x3 cdw11=0x0)",
	    "1 q0 c-1 cmd 10c01 opc 0a flags 00 cid 7 nsid 0 307 0 0 0 0 0");
	one(f,
	    " x-1 [000] ....  1.000001: nvme_complete_rq: nvme0: qid=0, cmdid=16, "
	    "res=8589934593, retries=0, flags=0x0, status=16512",
	    "1 q0 c0 cpl 780 cid 16 dw0 1 dw1 2 sqhd 0 status 8100");
	one(f,
	    " x-1 [000] 1.0: nvme_complete_rq: cmdid=16, qid=3, res=0, retries=0, flags=0x0, "
	    "status=0",
	    "1 q3 c-1 cpl 780 cid 16 dw0 0 dw1 0 sqhd 0 status 0000");
	one(f, " x-1 [000] 1.0: nvme_async_event: nvme1: NVME_AEN=0x000302 [NVME_AER_NOTICE]",
	    "1 q0 c1 aer 302 NVME_AER_NOTICE");
	/* newer kernels: texts behind numbers, more bits of LBAF */
	one(f,
	    "nvme_setup_cmd: nvme0: disk=nvme0n1, qid=1, cmdid=1, nsid=1, flags=0x0, meta=0x0, "
	    "cmd=(nvme_cmd_zone_mgmt_send slba=4294967296, zsa=2:finish, all zones, all=1)",
	    "1 q1 c0 cmd 12c03 opc 79 flags 00 cid 1 nsid 1 0 1 0 102 0 0");
	one(f,
	    "nvme_setup_cmd: nvme0: qid=1, cmdid=1, nsid=1, flags=0x0, meta=0x0, "
	    "cmd=(nvme_cmd_resv_acquire racqa=1:preempt, iekey=1, rtype=3:write exclusive all)",
	    "1 q1 c0 cmd 10403 opc 11 flags 00 cid 1 nsid 1 309 0 0 0 0 0");
	one(f,
	    "nvme_setup_cmd: nvme0: qid=0, cmdid=1, nsid=1, flags=0x0, meta=0x0, "
	    "cmd=(nvme_admin_format_nvm lbaf=17, mset=1, pi=2, pil=1, ses=1)",
	    "1 q0 c0 cmd 10403 opc 80 flags 00 cid 1 nsid 1 1351 0 0 0 0 0");
	one(f,
	    "nvme_setup_cmd: nvme0: qid=1, cmdid=1, nsid=1, flags=0x0, meta=0x0, "
	    "cmd=(nvme_fabrics_type_connect recfmt=0, qid=1, sqsize=127, cattr=4, kato=5000)",
	    "1 q1 c0 cmd 11c03 opc 7f flags 00 cid 1 nsid 1 10000 4007f 1388 0 0 0");
	one(f,
	    "nvme_setup_cmd: nvme0: qid=1, cmdid=1, nsid=5, flags=0x40, meta=0x0, "
	    "cmd=(nvme_fabrics_type_auth_send spsp0=01, spsp1=0a, secp=e9, tl=512)",
	    "1 q1 c0 cmd 10c03 opc 7f flags 40 cid 1 nsid 5 e90a0100 200 0 0 0 0");
}

static void ftrace_losses(void **state)
{
	(void)state;
	read_text(&ftrace_reader, "# entries-in-buffer/entries-written: 60/63   #P:2\n"
	                          "CPU:1 [LOST 23 EVENTS]\n");
	assert_int_equal(all.dropped, 26);
	assert_int_equal(all.of[REC_NOTE], 2);
	read_text(&tracecmd_reader, "CPU:0 [7 EVENTS DROPPED]\nCPU:0 [EVENTS DROPPED]\n");
	assert_int_equal(all.dropped, 8);
	read_text(&ftrace_reader, " x-1 [000] 1.0: nvme_sq: nvme0: qid=0, head=8, ta\n"
	                          " x-1 [000] 1.0: nvme_setup_c\n"
	                          " x-1 [000] 1.0: nvme_other: nvme0: anything\n"
	                          "nvme_setup_cmd: nvme0: qid=0, cmdid=1, nsid=1, flags=0x0, "
	                          "meta=0x0, cmd=(nvme_admin_identify cns=1, ctr\n"
	                          "nvme_sq: nvme0: qid=0, head=8, tail=65536\n");
	assert_int_equal(all.count, 4);
	assert_int_equal(all.of[REC_DAMAGE], 4);
	assert_int_equal(all.damaged, 4);
	assert_int_equal(all.rec[2].number, 4);
	/* what the host made up */
	read_text(&ftrace_reader, "nvme_complete_rq: nvme0: qid=1, cmdid=16, res=0x0, retries=1, "
	                          "flags=0x1, status=0x371\n");
	assert_int_equal(all.count, 2);
	expect(0, "1 q1 c0 cpl 780 cid 16 dw0 0 dw1 0 sqhd 0 status 06e2");
	expect(1, "1 q1 c0 note cid 16: retry 1, cancelled by the host: not what the controller "
	          "answered");
}

/* With options/latency-format times stand in another form, with or without options/verbose. */
static void ftrace_latency(void **state)
{
	static const char *const lines[] = {
		"      dd-1234    0d..2.    5us : nvme_sq: nvme0: qid=2, head=8, tail=9\n",
		"  <idle>-0       1d.h1.  105us+: nvme_sq: nvme0: qid=2, head=8, tail=9\n",
		"  <idle>-0       1d.h1. 1105us!: nvme_sq: nvme0: qid=2, head=8, tail=9\n",
		"  dd 123 1 0 00000000 1.105ms (+0.001ms): nvme_sq: nvme0: qid=2, head=8, tail=9\n",
	};
	static const uint64_t times[] = {5000, 105000, 1105000, 1105000};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		one(&ftrace_reader, lines[i], "1 q2 c0 sq 8 9");
		assert_int_equal(all.rec[0].has & HAS_TIME, HAS_TIME);
		assert_int_equal(all.rec[0].time_ns, times[i]);
	}
	/* what is in no form that is known does not pass for an empty trace */
	read_text(&ftrace_reader, "# nop latency trace v1.1.5 on 6.1.0\n"
	                          " dd-1 0d..2. 5xx : nvme_sq: nvme0: qid=2, head=8, tail=9\n"
	                          " dd-1 0d..2. us : nvme_sq: nvme0: qid=2, head=8, tail=9\n");
	assert_int_equal(all.count, 1);
	assert_int_equal(all.damaged, 1);
	assert_non_null(strstr(shown(0), "the events in 2 lines do not stand behind a time"));
}

/* What a later kernel says of a command in addition does not cost what is known of it. */
static void ftrace_unknown_fields(void **state)
{
	static const struct {
		const char *cmd, *want;
		uint64_t fields;
	} cases[] = {
		{"nvme_cmd_read slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0",
	         "17c03 opc 02 flags 00 cid 7 nsid 1 8 0 7 0 0 0", 0},
		{"nvme_cmd_read slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0, cets=5",
	         "17c03 opc 02 flags 00 cid 7 nsid 1 8 0 7 0 0 0", 1},
		{"nvme_cmd_read hint=9 slba=8, len=7, odd=0x1, ctrl=0x0, dsmgmt=0, reftag=0",
	         "17c03 opc 02 flags 00 cid 7 nsid 1 8 0 7 0 0 0", 1},
		{"nvme_cmd_read slba=8, blocks=7, ctrl=0x0",
	         "11c03 opc 02 flags 00 cid 7 nsid 1 8 0 0 0 0 0", 1},
		{"nvme_cmd_verify slba=8, len=7", "10003 opc 0c flags 00 cid 7 nsid 1 0 0 0 0 0 0",
	         1},
		{"0x91 slba=8", "10003 opc 91 flags 00 cid 7 nsid 1 0 0 0 0 0 0", 1},
		{"nvme_cmd_read slba=8, len=7, ctrl=0x0", NULL, 0},
		{"nvme_cmd_read slba=8, len=x, ctrl=0x0, dsmgmt=0, reftag=0", NULL, 0},
		{"nvme_cmd_read slba=8 len", NULL, 0},
		{"nvme_cmd_verify ", NULL, 0},
	};
	struct reader rd;
	struct rec rec;
	char line[400], want[200];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(line, sizeof(line),
		         "nvme_setup_cmd: nvme0: qid=1, cmdid=7, nsid=1, flags=0x0, meta=0x0, "
		         "cmd=(%s)\n",
		         cases[i].cmd);
		start(&rd, &ftrace_reader, line, strlen(line));
		assert_int_equal(rd.ops->next(&rd, &rec), 1);
		assert_int_equal(rd.fields, cases[i].fields);
		stop(&rd);
		if (cases[i].want == NULL) {
			assert_int_equal(rec.kind, REC_DAMAGE);
			continue;
		}
		snprintf(want, sizeof(want), "1 q1 c0 cmd %s", cases[i].want);
		one(&ftrace_reader, line, want);
	}
}

static void tracecmd_lines(void **state)
{
	const struct reader_ops *t = &tracecmd_reader;

	(void)state;
	one(t,
	    " dd-180 [001] 4.963564: nvme_setup_cmd:       [FAILED TO PARSE] disk=nvme0n1 "
	    "ctrl_id=0 qid=2 opcode=18 flags=0 fctype=1 cid=4868 nsid=1 metadata=0 "
	    "cdw10=ARRAY[80, 00, 00, 00, 01, 00, 00, 00, 7f, 00, 00, 00, 00, 00, 00, 00, 00, "
	    "00, 00, 00, ff, 00, 00, 00]",
	    "1 q2 c0 cmd 1fc03 opc 12 flags 00 cid 4868 nsid 1 80 1 7f 0 0 ff");
	one(t,
	    " dd-180 [001] 4.963564: nvme_setup_cmd:       [FAILED TO PARSE] disk= ctrl_id=0 qid=2 "
	    "opcode=2 flags=0 fctype=1 cid=4868 nsid=1 metadata=0 cdw10=",
	    "1 q2 c0 cmd 10003 opc 02 flags 00 cid 4868 nsid 1 0 0 0 0 0 0");
	one(t,
	    " dd-180 [001] 4.963564: nvme_setup_cmd:       [FAILED TO PARSE] disk= ctrl_id=0 qid=2 "
	    "opcode=2 flags=0 fctype=1 cid=4868 nsid=1 metadata=0 cdw10=ABCDE",
	    "1 q2 c0 cmd 10403 opc 02 flags 00 cid 4868 nsid 1 44434241 0 0 0 0 0");
	one(t,
	    " <idle>-0 [001] 4.963754: nvme_sq:            [FAILED TO PARSE] ctrl_id=0 "
	    "disk=nvme0n1 qid=2 sq_head=12 sq_tail=12",
	    "1 q2 c0 sq 12 12");
	one(t,
	    " <idle>-0 [001] 4.963763: nvme_complete_rq:   [FAILED TO PARSE] disk=nvme0n1 "
	    "ctrl_id=0 qid=2 cid=4868 result=0 retries=0 flags=0 status=16512",
	    "1 q2 c0 cpl 780 cid 4868 dw0 0 dw1 0 sqhd 0 status 8100");
	one(t, " x-0 [001] 4.963763: nvme_async_event:   [FAILED TO PARSE] ctrl_id=2 result=770",
	    "1 q0 c2 aer 302 ");
	read_all(t, "\x17\x08\x44tracing7\0\0\n\n", 14);
	assert_int_equal(all.of[REC_DAMAGE], 1);
	assert_int_equal(all.count, 1);
}

/* ---- QEMU ---- */

static void qemu_capture(void **state)
{
	size_t i, blocks = 0;

	(void)state;
	read_fixture(&qemu_reader, QEMU);
	assert_int_equal(all.of[REC_COMMAND], 260);
	assert_int_equal(all.of[REC_COMPLETION], 260);
	assert_int_equal(all.of[REC_DOORBELL], 520);
	assert_int_equal(all.of[REC_REG_WRITE], 7);
	assert_int_equal(all.of[REC_IRQ], 259);
	assert_int_equal(all.of[REC_NOTE], 15 + 4); /* reads; reset, timestamp, enable, masked */
	assert_int_equal(all.damaged, 0);
	assert_int_equal(pairs(), 260);
	for (i = 0; i < all.count; i++)
		blocks += all.rec[i].kind == REC_COMPLETION && (all.rec[i].has & HAS_QID) == 0;
	assert_int_equal(blocks, 0);
	expect(at_line(5), "5 q-1 c-1 reg 14 0 4");
	expect(at_line(22), "22 q-1 c-1 reg 14 460001 4");
	expect(at_line(30), "30 q0 c-1 db 1000 sq 1");
	expect(at_line(31), "31 q0 c-1 cmd 00fc1 opc 06 flags 00 cid 0 nsid 0 1 0 0 0 0 0");
	assert_int_equal(all.rec[at_line(31)].cmd.dptr.prp.prp1, 0x3efe4000);
	expect(at_line(36), "36 q0 c-1 cpl 780 cid 0 dw0 0 dw1 0 sqhd 0 status 0000");
	expect(at_line(37), "37 q-1 c-1 irq 0pin");
	expect(at_line(39), "39 q0 c-1 db 1004 cq 1");
	expect(at_line(44), "44 q0 c-1 cmd 00cc1 opc 05 flags 00 cid 1 nsid 0 ff0001 1 0 0 0 0");
	expect(at_line(54),
	       "54 q0 c-1 cmd 00cc1 opc 01 flags 00 cid 2 nsid 0 ff0001 10001 0 0 0 0");
	expect(at_line(2877), "2877 q1 c-1 db 1008 sq 1");
	expect(at_line(2878), "2878 q1 c-1 cmd 20fc3 opc 02 flags 00 cid 0 nsid 1 0 0 0 0 0 0");
	assert_int_equal(all.rec[at_line(2878)].cmd.dptr.prp.prp1, 0x15a00);
	expect(at_line(2884), "2884 q1 c-1 cpl 780 cid 0 dw0 0 dw1 0 sqhd 0 status 0000");
}

static void qemu_dialects(void **state)
{
	const struct reader_ops *q = &qemu_reader;

	(void)state;
	one(q, "4711@1700000000.123456:pci_nvme_io_cmd cid 3 nsid 0x1f sqid 2 opc 0x2 opname 'X'",
	    "1 q2 c-1 cmd 00003 opc 02 flags 00 cid 3 nsid 1f 0 0 0 0 0 0");
	assert_int_equal(all.rec[0].time_ns, 1700000000123456000);
	one(q, "2026-01-02T03:04:05.678901Z pci_nvme_irq_msix raising MSI-X IRQ vector 5\r",
	    "1 q-1 c-1 irq 5");
	assert_int_equal(all.rec[0].time_ns, 1767323045678901000);
	one(q, "pci_nvme_mmio_doorbell_sq cqid 3 new_tail 9", "1 q3 c-1 db 1018 sq 9");
	one(q, "pci_nvme_mmio_cfg wrote MMIO, config controller config=0x460001",
	    "1 q-1 c-1 reg 14 460001 4");
	one(q, "nvme_mmio_cfg wrote MMIO, config controller config=0x460001",
	    "1 q-1 c-1 reg 14 460001 4");
	one(q, "pci_nvme_aer_post_cqe type 0x2 info 0x3 lid 0x4", "1 q0 c-1 aer 40302 ");
	one(q, "pci_nvme_err_invalid_opc invalid opcode 0x99",
	    "1 q-1 c-1 note pci_nvme_err_invalid_opc invalid opcode 0x99");
	one(q, "pci_nvme_enqueue_req_completion cid 1 cqi",
	    "1 q-1 c-1 damage a line that does not parse: pci_nvme_enqueue_req_completion cid 1 "
	    "cqi");
	read_text(q, "pci_nvme_admin_cmd cid 9 sqid 0 opc 0x2 opname 'NVME_ADM_CMD_GET_LOG_PAGE'\n"
	             "pci_nvme_get_log cid 9 lid 0x2 lsp 0x1 rae 0x1 len 512 off 4294967297\n"
	             "pci_nvme_map_prp trans_len 512 len 512 prp1 0x1000 prp2 0x2000 num_prps 1\n"
	             "pci_nvme_enqueue_req_completion cid 9 cqid 0 dw0 0x0 dw1 0x0 status 0x4002\n"
	             "pci_nvme_admin_cmd cid 10 sqid 0 opc 0x9 opname 'NVME_ADM_CMD_SET_FEATURES'\n"
	             "pci_nvme_setfeat cid 10 nsid 0xffffffff fid 0x7 save 0x1 cdw11 0x10001\n"
	             "pci_nvme_io_cmd cid 1 nsid 0x1 sqid 1 opc 0x9 opname 'NVME_NVM_CMD_DSM'\n"
	             "pci_nvme_dsm nr 1 attr 0x4\n"
	             "pci_nvme_io_cmd cid 2 nsid 0x1 sqid 1 opc 0x1 opname 'NVME_NVM_CMD_WRITE'\n"
	             "pci_nvme_write cid 2 opname 'NVME_NVM_CMD_WRITE' nsid 1 nlb 256 count 131072 "
	             "lba 0x100000001\n");
	assert_int_equal(all.count, 5);
	expect(0, "1 q0 c-1 cmd 03fc1 opc 02 flags 00 cid 9 nsid 0 7f8102 0 1 1 0 0");
	expect(1, "4 q0 c-1 cpl 780 cid 9 dw0 0 dw1 0 sqhd 0 status 8004");
	expect(2, "5 q0 c-1 cmd 00c03 opc 09 flags 00 cid 10 nsid ffffffff 80000007 10001 0 0 0 0");
	expect(3, "7 q1 c-1 cmd 00c03 opc 09 flags 00 cid 1 nsid 1 0 4 0 0 0 0");
	expect(4, "9 q1 c-1 cmd 20c03 opc 01 flags 00 cid 2 nsid 1 1 1 ff 0 0 0");
}

#define CREATE_SQ(cid, sqid)                                                              \
	"pci_nvme_admin_cmd cid " cid " sqid 0 opc 0x1 opname 'NVME_ADM_CMD_CREATE_SQ'\n" \
	"pci_nvme_create_sq create submission queue, addr=0x1000, sqid=" sqid             \
	", cqid=5, qsize=7, qflags=1\n"                                                   \
	"pci_nvme_enqueue_req_completion cid " cid " cqid 0 dw0 0x0 dw1 0x0 status 0x0\n"
#define READ_CMD(cid, sqid) \
	"pci_nvme_io_cmd cid " cid " nsid 0x1 sqid " sqid " opc 0x2 opname 'NVME_NVM_CMD_READ'\n"
#define DONE(cid, cqid) \
	"pci_nvme_enqueue_req_completion cid " cid " cqid " cqid " dw0 0x0 dw1 0x0 status 0x0\n"

/* Which submission queue a completion belongs to. */
static void qemu_queues(void **state)
{
	(void)state;
	/* two that share one: the CID tells, unless both wait with the same */
	read_text(&qemu_reader, CREATE_SQ("1", "3") CREATE_SQ("2", "4") READ_CMD("7", "3")
	                                READ_CMD("8", "4") DONE("8", "5") DONE("7", "5"));
	assert_int_equal(all.of[REC_COMPLETION], 4);
	expect(6, "9 q4 c-1 cpl 780 cid 8 dw0 0 dw1 0 sqhd 0 status 0000");
	expect(7, "10 q3 c-1 cpl 780 cid 7 dw0 0 dw1 0 sqhd 0 status 0000");
	read_text(&qemu_reader, CREATE_SQ("1", "3") CREATE_SQ("2", "4") READ_CMD("7", "3")
	                                READ_CMD("7", "4") DONE("7", "5"));
	expect(6, "9 q-1 c-1 cpl 780 cid 7 dw0 0 dw1 0 sqhd 0 status 0000");
	assert_non_null(strstr(shown(7), "several submission queues"));
	/* a log that begins too late */
	read_text(&qemu_reader, READ_CMD("7", "3") DONE("7", "3") DONE("8", "3") DONE("8", "2"));
	expect(1, "2 q3 c-1 cpl 780 cid 7 dw0 0 dw1 0 sqhd 0 status 0000");
	expect(2, "3 q3 c-1 cpl 780 cid 8 dw0 0 dw1 0 sqhd 0 status 0000");
	expect(3, "4 q-1 c-1 cpl 780 cid 8 dw0 0 dw1 0 sqhd 0 status 0000");
}

#define ENABLED   "pci_nvme_mmio_start_success setting controller enable bit succeeded\n"
#define CC(value) "pci_nvme_mmio_write addr 0x14 data " value " size 4\n"
#define STOPPED   "pci_nvme_mmio_stopped cleared controller enable bit\n"
#define RESET     "pci_nvme_pci_reset PCI Function Level Reset\n"

/* No line says of which controller it is: where there are two for certain, reading ends. */
static void qemu_two(void **state)
{
	static const struct {
		const char *log;
		bool two;
	} cases[] = {
		{CC("0x1") ENABLED READ_CMD("1", "1") CC("0x0") READ_CMD("1", "1"), true},
		{CC("0x1") ENABLED READ_CMD("1", "1") ENABLED READ_CMD("1", "1"), true},
		{CC("0x1") ENABLED CC("0x0") STOPPED CC("0x1") ENABLED READ_CMD("1", "1"), false},
		{CC("0x1") ENABLED RESET CC("0x0") CC("0x1") ENABLED READ_CMD("1", "1"), false},
		{READ_CMD("1", "1") CC("0x0") CC("0x1") ENABLED READ_CMD("1", "1"), false},
		{"7@1.000001:" ENABLED
	         "7@1.000002:" READ_CMD("1", "1") "8@1.000003:" READ_CMD("2", "1"),
	         true},
		{"7@1.000001:" ENABLED "8@1.000002:something else\n"
	         "7@1.000003:" READ_CMD("2", "1"),
	         false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		read_text(&qemu_reader, cases[i].log);
		assert_int_equal(all.damaged, cases[i].two);
		assert_int_equal(all.rec[all.count - 1].kind,
		                 cases[i].two ? REC_DAMAGE : REC_COMMAND);
		assert_int_equal(all.of[REC_COMMAND], i == 4 ? 2 : 1);
	}
	read_text(&qemu_reader, cases[0].log);
	assert_non_null(strstr(shown(all.count - 1), "line 5: here a second controller begins"));
	read_text(&qemu_reader, cases[5].log);
	assert_non_null(strstr(shown(all.count - 1), "line 3: here the lines of a second QEMU"));
}

#define IDENTIFY(cid, cns)                                                               \
	"pci_nvme_admin_cmd cid " cid " sqid 0 opc 0x6 opname 'NVME_ADM_CMD_IDENTIFY'\n" \
	"pci_nvme_identify cid " cid " cns " cns " ctrlid 0 csi 0x0\n"
#define MAP(len, prp1, prp2)                                                                  \
	"pci_nvme_map_prp trans_len 512 len " len " prp1 " prp1 " prp2 " prp2 " num_prps 1\n" \
	"pci_nvme_map_addr addr " prp1 " len 512\n"

/* What follows a command: whom Identify is about, and how many bytes go which way. */
static void qemu_more(void **state)
{
	static const uint32_t nsids[] = {7, 8, 0xffffffff, 9, 10, 0};
	size_t i;

	(void)state;
	read_text(&qemu_reader,
	          IDENTIFY("0", "0x0") "pci_nvme_identify_ns nsid 7\n" MAP("4096", "0x1000", "0x0")
	                  IDENTIFY("1", "0x5") "pci_nvme_identify_ns_csi nsid=8, csi=0x2\n" IDENTIFY("2", "0x2") "pci_nvme_identify_nslist nsid 4294967295\n" IDENTIFY(
				  "3",
				  "0x7") "pci_nvme_identify_nslist_csi "
	                                 "nsid=9, csi=0x2\n" IDENTIFY("4", "0x3") "pci_nvme_identify_ns_descr_list nsid 10\n" IDENTIFY(
						 "5", "0x1") "pci_nvme_identify_ctrl "
	                                                     "identify controller\n");
	assert_int_equal(all.of[REC_COMMAND], 6);
	assert_int_equal(all.damaged, 0);
	for (i = 0; i < 6; i++) {
		assert_int_equal((all.rec[i].cmd_have & HAVE_NSID) != 0, i < 5);
		assert_int_equal(all.rec[i].cmd.nsid, nsids[i]);
	}
	assert_int_equal(all.rec[0].has & (HAS_BYTES | HAS_DIRECTION), HAS_BYTES);
	assert_int_equal(all.rec[0].bytes, 4096);
	assert_int_equal(all.rec[1].has & HAS_BYTES, 0);

	read_text(&qemu_reader,
	          READ_CMD("1", "1") "pci_nvme_read cid 1 nsid 1 nlb 1 count 520 lba 0x0\n" MAP(
			  "512", "0x1000",
			  "0x2000") "pci_nvme_io_cmd cid 2 nsid 0x1 sqid 1 opc 0x8\n"
	                            "pci_nvme_write cid 2 nsid 1 nlb 8 count 4096 "
	                            "lba 0x0\n"
	                            "pci_nvme_rw_cb cid 1 blk 'd0'\n" MAP("512", "0x1000",
	                                                                  "0x2000") "pci_nvme_io_cmd cid 3 nsid 0x1 sqid 1 opc 0x1\n"
	                                                                            "pci_nvme_write cid 3 nsid 1 nlb 1 count 512 lba 0x0\n");
	assert_int_equal(all.count, 3);
	assert_int_equal(all.rec[0].bytes, 520);
	assert_int_equal(all.rec[0].has & (HAS_BYTES | HAS_DIRECTION), HAS_BYTES | HAS_DIRECTION);
	assert_true(all.rec[0].to_host);
	assert_int_equal(all.rec[0].cmd.dptr.prp.prp2, 0x2000);
	/* it writes zeroes, and the data is of the read before */
	assert_int_equal(all.rec[1].has & (HAS_BYTES | HAS_DIRECTION), 0);
	assert_int_equal(all.rec[1].cmd_have & HAVE_DPTR1, 0);
	assert_int_equal(all.rec[2].bytes, 512);
	assert_false(all.rec[2].to_host);
}

/* ---- SPDK ---- */

static void spdk_capture(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	read_fixture(&spdk_reader, SPDK);
	assert_int_equal(all.of[REC_COMMAND], 19);
	assert_int_equal(all.of[REC_COMPLETION], 19);
	assert_int_equal(all.of[REC_LOG], 74);
	assert_int_equal(all.of[REC_NOTE], 2);
	assert_int_equal(all.count, 114);
	assert_int_equal(all.damaged, 0);
	assert_int_equal(pairs(), 19);
	expect(at_line(7), "7 q-1 c-1 log 5 Searching for 1b36:0010 [1af4:1100]...");
	assert_string_equal(all.rec[at_line(7)].file, "nvme_quirks.c");
	assert_string_equal(all.rec[at_line(7)].func, "nvme_get_quirks");
	assert_int_equal(all.rec[at_line(7)].line, 112);
	assert_int_equal(all.rec[at_line(7)].time_ns, 1795247241555158000);
	expect(at_line(9),
	       "9 q-1 c-1 log 5 [0000:00:02.0] setting state to delay init (no timeout)");
	expect(at_line(32), "32 q0 c-1 cmd 00fc3 opc 06 flags 00 cid 191 nsid 0 1 0 0 0 0 0");
	assert_int_equal(all.rec[at_line(32)].cmd.dptr.prp.prp1, 0x2000002f9000);
	expect(at_line(33), "33 q0 c-1 cpl 6b0 cid 191 dw0 0 dw1 0 sqhd 1 status 0001");
	expect(at_line(41), "41 q0 c-1 cmd 007c1 opc 09 flags 00 cid 191 nsid 0 b 0 0 0 0 0");
	expect(at_line(43), "43 q0 c-1 cmd 00c03 opc 0c flags 00 cid 190 nsid 0 0 0 0 0 0 0");
	expect(at_line(64), "64 q0 c-1 cpl 6b0 cid 191 dw0 3f003f dw1 0 sqhd 9 status 0001");
	expect(at_line(107), "107 q1 c-1 cmd 20fc3 opc 01 flags 40 cid 191 nsid 1 0 0 0 0 0 0");
	assert_int_equal(all.rec[at_line(107)].cmd.dptr.sgl.len, 0x200);
	expect(at_line(117), "117 q0 c-1 cpl 6b0 cid 190 dw0 0 dw1 0 sqhd 0 status 0010");
}

static void spdk_dialects(void **state)
{
	const struct reader_ops *s = &spdk_reader;

	(void)state;
	one(s,
	    "[2021-03-23 22:53:11.472883] nvme_qpair.c: 268:nvme_io_qpair_print_command: *NOTICE*: "
	    "READ sqid:2 cid:1894 nsid:1 lba:8492288 len:256 SGL DATA BLOCK ADDRESS 0x0 len:0x0 "
	    "key:0x0",
	    "1 q2 c-1 cmd 20fc3 opc 02 flags 40 cid 1894 nsid 1 819500 0 ff 0 0 0");
	one(s,
	    "[2021-03-23 22:53:11.472970] nvme_qpair.c: 452:spdk_nvme_print_completion: *NOTICE*: "
	    "INVALID FIELD (00/02) qid:2 cid:1894 cdw0:0 sqhd:0000 p:0 m:0 dnr:1",
	    "1 q2 c-1 cpl 6b0 cid 1894 dw0 0 dw1 0 sqhd 0 status 8004");
	/* up to 20.04 */
	one(s,
	    "nvme_qpair.c: 99:nvme_admin_qpair_print_command: *NOTICE*: SET FEATURES (09) sqid:0 "
	    "cid:5 nsid:1f cdw10:00000007 cdw11:00010001",
	    "1 q0 c-1 cmd 00c03 opc 09 flags 00 cid 5 nsid 1f 7 10001 0 0 0 0");
	one(s, "SUCCESS (00/00) sqid:1 cid:5 cdw0:0 sqhd:0002 p:1 m:0 dnr:0",
	    "1 q1 c-1 cpl 6b0 cid 5 dw0 0 dw1 0 sqhd 2 status 0001");
	/* from 25.09: decimal, and a bracket */
	one(s,
	    "[2026-03-23 22:53:11.472883] nvme_qpair.c: 310:spdk_nvme_qpair_print_command: "
	    "*NOTICE*: "
	    "[0000:00:02.0,cntlid:0,qid:0,qpair:0x2000002f2de0,ENABLED] ADMIN COMMAND (192) qid:0 "
	    "cid:63 nsid:10 cdw10:00000000 cdw11:00000000 ",
	    "1 q0 c0 cmd 00c03 opc c0 flags 00 cid 63 nsid a 0 0 0 0 0 0");
	one(s, "KEEP ALIVE (24) qid:0 cid:63 nsid:10 cdw10:00000000 cdw11:00000000 ",
	    "1 q0 c-1 cmd 00c03 opc 18 flags 00 cid 63 nsid a 0 0 0 0 0 0");
	one(s, "KEEP ALIVE (18) qid:0 cid:63 nsid:10 cdw10:00000000 cdw11:00000000 ",
	    "1 q0 c-1 cmd 00c03 opc 18 flags 00 cid 63 nsid 10 0 0 0 0 0 0");
	one(s, "GET FEATURES NUMBER OF QUEUES cid:3 cdw10:00000007 PRP1 0x0 PRP2 0x0",
	    "1 q0 c-1 cmd 007c1 opc 0a flags 00 cid 3 nsid 0 7 0 0 0 0 0");
	one(s, "FABRIC CONNECT qid:1 cid:0 ",
	    "1 q1 c-1 cmd 00003 opc 7f flags c0 cid 0 nsid 1 0 0 0 0 0 0");
	one(s, "IO COMMAND (7d) sqid:1 cid:9 nsid:-1",
	    "1 q1 c-1 cmd 00003 opc 7d flags 00 cid 9 nsid ffffffff 0 0 0 0 0 0");
	one(s, "FLUSH sqid:1 cid:9 nsid:4294967295",
	    "1 q1 c-1 cmd 00003 opc 00 flags 00 cid 9 nsid ffffffff 0 0 0 0 0 0");
	one(s, "FABRIC PROPERTY GET qid:0 cid:7 PRP1 0x0 PRP2 0x0",
	    "1 q0 c-1 cmd 003c3 opc 7f flags 00 cid 7 nsid 4 0 0 0 0 0 0");
	one(s,
	    "[2026-03-23 22:53:11.472883] nvme_ctrlr.c:1458:f: *DEBUG*: [0000:00:02.0,cntlid:0] "
	    "setting "
	    "state to ready (no timeout)",
	    "1 q-1 c0 log 5 [0000:00:02.0,cntlid:0] setting state to ready (no timeout)");
	/* our own */
	one(s, "[2026-11-21 10:26:14.522661] nvme.h:6676:nvme_attach: *INFO*: [soft] attaching",
	    "1 q-1 c-1 log 4 [soft] attaching");
	one(s,
	    "[2026-11-21 10:26:14.522742] nvme.h:5228:nvme_qpair_print_command: *NOTICE*: IDENTIFY "
	    "(06) qid:0 cid:0 nsid:0 cdw10:00000001 cdw11:00000000 PRP1 0x206000 PRP2 0x0",
	    "1 q0 c-1 cmd 00fc3 opc 06 flags 00 cid 0 nsid 0 1 0 0 0 0 0");
	/* a later line tells that the first ones are decimal */
	read_text(s,
	          "IDENTIFY (06) qid:0 cid:1 nsid:10 cdw10:00000000 cdw11:00000000 PRP1 0x0 PRP2 "
	          "0x0\nSUCCESS (00/00) qid:0 cid:1 cdw0:00000000 sqhd:0002 p:1 m:0 dnr:0\n");
	expect(0, "1 q0 c-1 cmd 00fc3 opc 06 flags 00 cid 1 nsid a 0 0 0 0 0 0");
}

/* Printed twice because it failed, or submitted twice. */
static void spdk_again(void **state)
{
	static const char line[] = "READ sqid:1 cid:9 nsid:1 lba:5 len:1 PRP1 0x1000 PRP2 0x0\n";
	static const char ok[] = "SUCCESS (00/00) qid:1 cid:9 cdw0:0 sqhd:0001 p:1 m:0 dnr:0\n";
	static const char bad[] =
		"LBA OUT OF RANGE (00/80) qid:1 cid:9 cdw0:0 sqhd:0001 p:1 m:0 dnr:1\n";
	char text[1024];

	(void)state;
	snprintf(text, sizeof(text), "%s%s%s%s%s", line, ok, line, line, bad);
	read_text(&spdk_reader, text);
	assert_int_equal(all.count, 5);
	assert_int_equal(all.of[REC_COMMAND], 2);
	assert_int_equal(all.rec[3].kind, REC_CMD_AGAIN);
	snprintf(text, sizeof(text), "%s%s", line, bad); /* a release build prints only failures */
	read_text(&spdk_reader, text);
	assert_int_equal(all.of[REC_COMMAND], 1);
	snprintf(text, sizeof(text), "%s%s%s%s", line, line, ok,
	         line); /* a completion is missing */
	read_text(&spdk_reader, text);
	assert_int_equal(all.of[REC_COMMAND], 3);
	assert_int_equal(all.of[REC_CMD_AGAIN], 0);
	read_text(&spdk_reader, "READ sqid:1 cid:9 nsid:1 lba:5 len:1 PRP1 0x10\n"
	                        "READ sqid:1 ci\nREAD sqid:1 cid:9 nsid:1 lba:5 len\n"
	                        "[2021-03-23 22:53:11.472970] nvme_qpair.c: 452:spdk_nvme_prin\n"
	                        "Hello world!\nx\n");
	assert_int_equal(all.of[REC_DAMAGE], 4);
	assert_int_equal(all.count, 4);
}

/* What a line says is all in the record: it can be printed again from it. */
static void spdk_sample(void **state)
{
	char text[NVME_TEXT_MAX], *tsv, *line, *message, *save = NULL;
	unsigned lines = 0;
	size_t len;

	(void)state;
	tsv = load(SAMPLE, &len);
	for (line = strtok_r(tsv, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		message = strchr(strchr(line, '\t') + 1, '\t') + 1;
		read_text(&spdk_reader, message);
		assert_int_equal(all.count, 1);
		if (all.rec[0].kind == REC_COMMAND)
			nvme_format_cmd(text, sizeof(text), all.rec[0].qid, &all.rec[0].cmd);
		else
			nvme_format_cpl(text, sizeof(text), all.rec[0].qid, &all.rec[0].cpl);
		assert_string_equal(text, message);
		assert_int_equal(all.rec[0].kind,
		                 strchr(line, '\t') - line == 128 ? REC_COMMAND : REC_COMPLETION);
		lines++;
	}
	assert_int_equal(lines, 124);
	free(tsv);
}

/* ---- telling them apart ---- */

static const struct reader_ops *const readers[] = {&ftrace_reader, &tracecmd_reader, &qemu_reader,
                                                   &spdk_reader};

static const char *probed(const char *text, size_t len)
{
	const char *best = "none";
	int most = 0, sure;
	size_t i;

	for (i = 0; i < 4; i++) {
		sure = readers[i]->probe((const uint8_t *)text, len < 4096 ? len : 4096);
		assert_in_range(sure, 0, 100);
		if (sure > most)
			best = readers[i]->name;
		most = sure > most ? sure : most;
	}
	return best;
}

static void probes(void **state)
{
	static const char *const files[][2] = {{INIT, "ftrace"},
	                                       {IO, "ftrace"},
	                                       {QEMU, "qemu"},
	                                       {SPDK, "spdk"},
	                                       {"nvme.h", "none"}};
	static const char *const texts[][2] =
		{{"", "none"},
	         {"\n\n\n", "none"},
	         {"Hello world!\n", "none"},
	         {" x-0 [001] 4.9: nvme_sq:  [FAILED TO PARSE] ctrl_id=0 disk=d qid=2", "tracecmd"},
	         {"cpus=2\n x-0 [001] 4.9: sched_switch: a b\n", "tracecmd"},
	         {"# tracer: nop\n#\n", "ftrace"},
	         {"4711@1700000000.123456:pci_nvme_pci_reset PCI\n", "qemu"},
	         {"2026-01-02T03:04:05.678901Z pci_nvme_pci_reset PCI\n", "qemu"},
	         {"READ sqid:1 cid:9 nsid:1 lba:5 len:1 PRP1 0x10\n", "spdk"},
	         {"[2026-11-21 10:26:14.522661] nvme.h:6676:nvme_attach: *INFO*: [soft] x\n",
	          "spdk"}};
	char junk[4096], *text;
	size_t i, len;

	(void)state;
	for (i = 0; i < 5; i++) {
		text = load(files[i][0], &len);
		assert_string_equal(probed(text, len), files[i][1]);
		free(text);
	}
	for (i = 0; i < 10; i++)
		assert_string_equal(probed(texts[i][0], strlen(texts[i][0])), texts[i][1]);
	for (i = 0; i < sizeof(junk); i++)
		junk[i] = (char)(i * 2654435761u >> 13);
	memcpy(junk, "NVMEHTRC", 8);
	assert_string_equal(probed(junk, sizeof(junk)), "none");
	assert_string_equal(probed("\x17\x08\x44tracing7\0\0", 13), "tracecmd");
}

/* ---- damage ---- */

static uint32_t seed = 20231;

static uint32_t draw(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

/* Bytes changed, cut out, repeated; numbers made large. */
static void mutate(char *text, size_t *len)
{
	static const char bytes[] = "0123456789abcdefx =:,()[]*@/-\n\n\0\xff%";
	size_t at = draw((uint32_t)*len), n = 1 + draw(40);

	n = at + n > *len ? *len - at : n;
	switch (draw(4)) {
	case 0: /* one that the grammars care about */
	case 1:
		text[at] = bytes[draw(sizeof(bytes) - 1)];
		break;
	case 2:
		memmove(text + at, text + at + n, *len - at - n);
		*len -= n;
		break;
	default:
		memset(text + at, draw(2) != 0 ? '9' : 'f', n < 12 ? n : 12);
	}
}

static unsigned long fuzz_one(const struct reader_ops *ops, const char *text, size_t len)
{
	static struct reader rd;
	struct rec rec;
	unsigned long records = 0, lines;
	const char *end = text + len;

	start(&rd, ops, text, len);
	while (ops->next(&rd, &rec) == 1) {
		assert_in_range(rec.kind, REC_ATTACH, REC_NOTE);
		assert_non_null(memchr(rec.text, '\0', sizeof(rec.text)));
		assert_true(rec.number > 0);
		records++;
	}
	stop(&rd);
	for (lines = 1; (text = memchr(text, '\n', (size_t)(end - text))) != NULL; text++, lines++)
		;
	assert_true(records <= 4 * lines);
	return lines;
}

static void fuzz(void **state)
{
	static const char *const files[] = {INIT, IO, QEMU, SPDK, SAMPLE};
	unsigned long lines = 0;
	unsigned round, i, changes;
	char *text, *copy;
	size_t len, n, at;

	(void)state;
	copy = malloc(1 << 20);
	assert_non_null(copy);
	for (round = 0; lines < 200000; round++) {
		text = load(files[round % 5], &len);
		for (i = 0; i < 30; i++) {
			/* a piece of at most 16 KiB, with more damage each time */
			at = draw((uint32_t)len);
			n = len - at < 16384 ? len - at : 16384;
			memcpy(copy, text + at, n);
			for (changes = draw(20 + i * 20); changes > 0 && n > 0; changes--)
				mutate(copy, &n);
			probed(copy, n);
			lines += fuzz_one(readers[draw(20) == 0   ? draw(4)
			                          : round % 5 < 2 ? draw(2)
			                          : round % 5 < 3 ? 2
			                                          : 3],
			                  copy, n);
		}
		free(text);
	}
	free(copy);
}

/* Lines without an end, of what a parser would look at again and again. */
static void long_lines(void **state)
{
	static const char *const pieces[] = {"nvme_",
	                                     "nvme_sq: ",
	                                     "    ",
	                                     "qid=1, ",
	                                     "pci_nvme_",
	                                     "cid ",
	                                     "*NOTICE*: ",
	                                     "a:1:b: *INFO*: ",
	                                     "[",
	                                     "] ",
	                                     "cdw10=(",
	                                     "1",
	                                     "nvme_setup_cmd: zsa=1:zsa=1:",
	                                     "READ sqid:1 "};
	size_t size = 4 << 20, i, at;
	char *text = malloc(size);

	(void)state;
	assert_non_null(text);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (at = 0; at < size; at++)
			text[at] = pieces[i][at % strlen(pieces[i])];
		for (at = 0; at < 4; at++)
			fuzz_one(readers[at], text, size);
	}
	/* and the next line is read again, under its own number */
	memset(text, 'x', 200000);
	strcpy(text + 200000, "\nnvme_sq: nvme0: qid=1, head=2, tail=3\n");
	read_text(&ftrace_reader, text);
	assert_int_equal(all.count, 1);
	expect(0, "2 q1 c0 sq 2 3");
	free(text);
}

static int after(void **state)
{
	(void)state;
	forget();
	return 0;
}

/* ---- commands ---- */

/* Which blocks a command names is said in one place; the table of fields has to agree. */
static void blocks_of_commands(void **state)
{
	struct nvme_cmd cmd = {.cdw10 = 7, .cdw11 = 1, .cdw12 = 0xffff0003};
	uint32_t opc, blocks, named = 0;
	uint64_t lba;

	(void)state;
	for (opc = 0; opc < 256; opc++) {
		const struct nvme_cmd_field *f = nvme_cmd_fields(1, (uint8_t)opc);
		bool has_lba = false, has_nlb = false;

		for (; f->name != NULL; f++) {
			has_lba |= f->dword == 10 && strstr(f->name, "LBA") != NULL;
			has_nlb |= f->dword == 12 && strcmp(f->name, "NLB") == 0;
		}
		cmd.opc = (uint8_t)opc;
		assert_int_equal(cmd_lba(1, &cmd, HAVE_SQE, &lba), has_lba);
		assert_int_equal(cmd_blocks(1, &cmd, HAVE_SQE, &blocks), has_nlb);
		assert_true(!has_lba || lba == (UINT64_C(1) << 32 | 7));
		assert_true(!has_nlb || blocks == 4);
		assert_false(cmd_lba(0, &cmd, HAVE_SQE, &lba));
		assert_false(cmd_lba(1, &cmd, HAVE_SQE & ~HAVE_DW(11), &lba));
		assert_false(cmd_blocks(1, &cmd, HAVE_SQE & ~(HAVE_DW(12) | HAVE_NLB), &blocks));
		named += has_lba;
	}
	assert_int_equal(named, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nvt_claimed_entries),
		cmocka_unit_test(ftrace_captures),
		cmocka_unit_test(ftrace_dialects),
		cmocka_unit_test(ftrace_losses),
		cmocka_unit_test(ftrace_latency),
		cmocka_unit_test(ftrace_unknown_fields),
		cmocka_unit_test(tracecmd_lines),
		cmocka_unit_test(qemu_capture),
		cmocka_unit_test(qemu_dialects),
		cmocka_unit_test(qemu_queues),
		cmocka_unit_test(qemu_two),
		cmocka_unit_test(qemu_more),
		cmocka_unit_test(spdk_capture),
		cmocka_unit_test(spdk_dialects),
		cmocka_unit_test(spdk_again),
		cmocka_unit_test(spdk_sample),
		cmocka_unit_test(probes),
		cmocka_unit_test(fuzz),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(blocks_of_commands),
	};

	return cmocka_run_group_tests(tests, NULL, after);
}
