// SPDX-License-Identifier: MIT
/*
 * What nvtrace writes for other programs, read by these: JSON by jq, the capture file by tshark.
 * NVTRACE in the environment names another build of nvtrace.
 */
#include "run.h"
#include <inttypes.h>
#include <time.h>
#include "nvme.h"
#include "../trace/out/json.h"
#include "../trace/map.h"
#include "../trace/out/opens.h"

#define SPDK_LOG "tests/fixtures/spdk-v23.05-hello_world-qemu.log"
#define TSHARK   "tshark -n -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE"

static const char *nvtrace;

/* ---- traces made by hand ---- */

#define SLOTS 4096

struct trace {
	struct nvme_trace_header header;
	uint8_t rest[8]; /* of the header's slot */
	struct nvme_trace_slot slot[SLOTS];
};

static struct trace trace;

static void new_trace(void)
{
	memset(&trace, 0, sizeof(trace));
	memcpy(trace.header.magic, NVME_TRACE_MAGIC, 8);
	trace.header.version = NVME_TRACE_VERSION;
	trace.header.byte_order = NVME_TRACE_BYTE_ORDER;
	trace.header.slot_size = sizeof(trace.slot[0]);
	trace.header.slots = SLOTS;
	trace.header.next = 1;
	trace.header.start_ns = UINT64_C(1700000000000000000);
	trace.header.ctrlrs = 1;
	strcpy(trace.header.program, "test");
}

static void add_slot(enum nvme_trace_kind kind, uint16_t qid, const void *payload, size_t len)
{
	uint64_t seq = trace.header.next++;
	struct nvme_trace_slot *slot = &trace.slot[seq - 1];

	assert_true(seq <= SLOTS && len <= sizeof(slot->payload));
	slot->seq = seq;
	slot->check = ~seq;
	slot->time_ns = trace.header.start_ns + seq * 1234;
	slot->tid = 1;
	slot->kind = (uint16_t)kind;
	slot->line = 1;
	slot->qid = qid;
	slot->len = (uint8_t)len;
	memcpy(slot->payload, payload, len);
}

/* A short line of the log; text may hold any bytes but 0. */
static void add_log(const char *text)
{
	uint8_t payload[NVME_TRACE_PAYLOAD];
	size_t len = 1 + sizeof("file") + sizeof("func");

	payload[0] = NVME_LOG_INFO;
	memcpy(payload + 1, "file\0func", sizeof("file\0func"));
	assert_true(len + strlen(text) + 1 <= sizeof(payload));
	memcpy(payload + len, text, strlen(text) + 1);
	add_slot(NVME_TRACE_LOG, 0, payload, len + strlen(text) + 1);
}

static void add_command(uint16_t qid, uint8_t opc, uint16_t cid, uint64_t slba, uint32_t nlb)
{
	struct nvme_cmd cmd = {.opc = opc, .cid = cid, .nsid = 1};

	cmd.cdw10 = (uint32_t)slba;
	cmd.cdw11 = (uint32_t)(slba >> 32);
	cmd.cdw12 = nlb - 1;
	cmd.dptr.prp.prp1 = UINT64_C(0x8000000000000000) + slba * 4096;
	add_slot(NVME_TRACE_SQE, qid, &cmd, sizeof(cmd));
}

static void add_completion(uint16_t qid, uint16_t cid, uint16_t status)
{
	struct nvme_cpl cpl = {.cid = cid, .sqid = qid, .status = status | 1};

	add_slot(NVME_TRACE_CQE, qid, &cpl, sizeof(cpl));
}

static const char *write_trace(const char *name, size_t size)
{
	const char *path = image(name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(&trace, 1, size, file), size);
	fclose(file);
	return path;
}

#define MIX_QUEUES   4
#define MIX_COMMANDS 600
#define MIX_OPEN     3

/*
 * Reads, writes and others on several queues, out of order, some of them with errors; MIX_OPEN
 * commands never complete.
 */
static const char *write_mix(const char *name)
{
	static const uint8_t opcs[] = {NVME_OPC_READ, NVME_OPC_WRITE, NVME_OPC_WRITE_ZEROES,
	                               NVME_OPC_COMPARE};
	uint16_t error = (uint16_t)NVME_SET(2, NVME_CPL_SCT) |
	                 (uint16_t)NVME_SET(0x81, NVME_CPL_SC) |
	                 (uint16_t)NVME_SET(1, NVME_CPL_DNR);
	uint16_t qid, cid, pending[8][2];
	unsigned n, at, depth = 0;
	uint64_t slba;

	new_trace();
	srand(1);
	for (n = 0; n < MIX_COMMANDS; n++) {
		qid = (uint16_t)(n % MIX_QUEUES + 1);
		cid = (uint16_t)(n % 100);
		slba = (uint64_t)rand() << 8 | n;
		add_command(qid, opcs[rand() % 4], cid, slba, (uint32_t)rand() % 65536 + 1);
		pending[depth][0] = qid;
		pending[depth++][1] = cid;
		if (depth < 8)
			continue;
		at = (unsigned)rand() % 8;
		add_completion(pending[at][0], pending[at][1], n % 10 == 0 ? error : 0);
		memmove(pending[at], pending[--depth], sizeof(pending[0]));
	}
	while (depth > MIX_OPEN) {
		depth--;
		add_completion(pending[depth][0], pending[depth][1], 0);
	}
	return write_trace(name, sizeof(trace));
}

static const char *record_hello(void)
{
	const char *path = image("hello.nvt");
	struct result r;

	run(&r, "NVME_TRACE=%s $BUILD/hello_world soft", path);
	expect_status(&r, 0);
	done(&r);
	return path;
}

static void expect_number(const struct result *r, long want)
{
	char *end;

	expect_status(r, 0);
	if (strtol(r->out, &end, 10) != want || end == r->out)
		show(r);
	assert_int_equal(strtol(r->out, &end, 10), want);
}

/* A shell command whose output is a number. */
#define EXPECT_NUMBER(want, ...)              \
	do {                                  \
		struct result number;         \
		run(&number, __VA_ARGS__);    \
		expect_number(&number, want); \
		done(&number);                \
	} while (0)

/* A shell command that must succeed without a word. */
#define EXPECT_SILENT(...)                           \
	do {                                         \
		struct result silent;                \
		run(&silent, __VA_ARGS__);           \
		expect_status(&silent, 0);           \
		assert_string_equal(silent.out, ""); \
		done(&silent);                       \
	} while (0)

/* A capture file that is valid in every layer. */
static void expect_capture(const char *path)
{
	EXPECT_SILENT(TSHARK " -r %s -Y 'tcp.checksum.status != 1 || ip.checksum.status != 1 || "
	                     "_ws.malformed || tcp.analysis.flags'",
	              path);
}

/* Perfetto can make sense of it, and it has so many commands. */
static void expect_perfetto(const char *json, long commands)
{
	EXPECT_NUMBER(1, "jq -s length %s", json);
	EXPECT_NUMBER(commands, "jq '[.traceEvents[] | select(.ph == \"b\")] | length' %s", json);
	/* each slice begins and ends once, and has a name */
	EXPECT_SILENT("jq -c '[.traceEvents[] | select(.cat == \"nvme\")] | group_by(.id)[] | "
	              "select(map(.ph) != [\"b\", \"e\"] or .[0].name != .[1].name or "
	              ".[0].ts > .[1].ts)' %s",
	              json);
	/* each queue that is used has a name */
	EXPECT_SILENT("jq -c '(.traceEvents | map(select(.name == \"thread_name\")) | map(.tid)) as $t "
	              "| .traceEvents[] | select(.ph != \"M\") | .tid as $x | "
	              "select($t | index($x) | not)' %s",
	              json);
}

/* ---- the writer ---- */

static char written[4096];

/* What a JSON writer writes for a text, with its quotes. */
static const char *quoted(const char *text, size_t len, bool html)
{
	FILE *out = fmemopen(written, sizeof(written), "w");
	struct json j;

	assert_non_null(out);
	json_init(&j, out);
	j.html = html;
	json_quote(&j, text, len);
	fclose(out);
	return written;
}

static void test_writer_text(void **state)
{
	(void)state;
#define QUOTED(text) quoted(text, sizeof(text) - 1, false)
	assert_string_equal(QUOTED(""), "\"\"");
	assert_string_equal(QUOTED("a/b \"c\" \\"), "\"a/b \\\"c\\\" \\\\\"");
	assert_string_equal(QUOTED("\b\t\n\f\r\x01\x1f\x7f"),
	                    "\"\\b\\t\\n\\f\\r\\u0001\\u001f\\u007f\"");
	assert_string_equal(QUOTED("\0"), "\"\\u0000\"");
	assert_string_equal(QUOTED("\xc3\xa9 \xe2\x82\xac"), "\"\\u00e9 \\u20ac\"");
	assert_string_equal(QUOTED("\xf0\x9f\x98\x80"), "\"\\ud83d\\ude00\"");
	/* stray, cut, overlong, surrogate, beyond the last */
	assert_string_equal(QUOTED("\x80"), "\"\\ufffd\"");
	assert_string_equal(QUOTED("\xe2\x82"), "\"\\ufffd\\ufffd\"");
	assert_string_equal(QUOTED("\xe2\x82z"), "\"\\ufffd\\ufffdz\"");
	assert_string_equal(QUOTED("\xc0\xaf"), "\"\\ufffd\\ufffd\"");
	assert_string_equal(QUOTED("\xe0\x80\xaf"), "\"\\ufffd\\ufffd\\ufffd\"");
	assert_string_equal(QUOTED("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
	assert_string_equal(QUOTED("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	assert_string_equal(QUOTED("\xff"), "\"\\ufffd\"");
	assert_string_equal(QUOTED("</script>"), "\"</script>\"");
	assert_string_equal(quoted("</script>&", 10, true), "\"\\u003c/script\\u003e\\u0026\"");
}

static void test_writer_structure(void **state)
{
	FILE *out = fmemopen(written, sizeof(written), "w");
	struct json j;

	(void)state;
	assert_non_null(out);
	json_init(&j, out);
	json_object(&j, NULL);
	json_uint(&j, "n", UINT64_MAX);
	json_hex(&j, "h", UINT64_MAX);
	json_array(&j, "a");
	json_bool(&j, NULL, true);
	json_object(&j, NULL);
	json_close(&j);
	json_close(&j);
	json_us(&j, "t", -1234);
	json_us(&j, "u", INT64_MIN);
	json_strn(&j, "s", "abcdef", 3);
	json_strf(&j, "f", "%d", 7);
	json_close(&j);
	json_newline(&j);
	json_array(&j, NULL);
	json_close(&j);
	json_close(&j); /* one too many does nothing */
	fclose(out);
	assert_string_equal(written, "{\"n\":18446744073709551615,\"h\":\"0xffffffffffffffff\","
	                             "\"a\":[true,{}],\"t\":-1.234,"
	                             "\"u\":-9223372036854775.808,\"s\":\"abc\",\"f\":\"7\"}\n[]");
}

/* Against an array of which all keys are an index. */
static void test_map(void **state)
{
	static unsigned there[512];
	struct map m;
	unsigned n, key, count = 0, *value;

	(void)state;
	map_init(&m, sizeof(unsigned));
	assert_null(map_get(&m, 0));
	map_remove(&m, 0);
	srand(2);
	for (n = 1; n < 200000; n++) {
		key = (unsigned)rand() % 512;
		value = map_get(&m, key);
		assert_int_equal(value != NULL ? *value : 0, there[key]);
		/* first it fills up, then it runs empty */
		if (rand() % 4 < (n < 100000 ? 3 : 1)) {
			value = map_put(&m, key);
			assert_non_null(value);
			assert_int_equal(*value, there[key]);
			count += there[key] == 0;
			there[key] = *value = n;
		} else {
			map_remove(&m, key);
			count -= there[key] != 0;
			there[key] = 0;
		}
		assert_int_equal(m.count, count);
	}
	map_free(&m);
}

/* ---- JSON ---- */

static void test_json(void **state)
{
	const char *path = record_hello();
	struct result r;

	(void)state;
	run(&r, "%s -T json %s | tee %s/hello.json", nvtrace, path, dir);
	expect_status(&r, 0);
	assert_true(strncmp(r.out, "{\"event\":\"", 10) == 0);
	expect_in(&r, r.out, "{\"event\":\"attach\",");
	expect_in(&r, r.out, "{\"event\":\"detach\",");
	expect_in(&r, r.out, "\"state\":\"identify controller\"");
	expect_in(&r, r.out, "\"reg\":\"CC\"");
	done(&r);
	EXPECT_SILENT("jq -c 'select((type != \"object\") or (keys_unsorted[0] != \"event\"))' "
	              "%s/hello.json",
	              dir);
	EXPECT_NUMBER(0, "LC_ALL=C grep -c '[^ -~]' %s/hello.json || true", dir);
	/* 64-bit values are strings */
	EXPECT_SILENT("jq -c 'select(.event == \"command\") | select((.prp1 | type) != \"string\" or "
	              "(.prp1 | startswith(\"0x\") | not))' %s/hello.json",
	              dir);
	EXPECT_SILENT("jq -c 'select(.name == \"READ\" and .event == \"command\") | "
	              "select(.slba != \"0x0\" or .blocks != .nlb + 1 or .nsid != 1 or .qid != 1)' "
	              "%s/hello.json",
	              dir);
	/* every completion has its command */
	EXPECT_SILENT("jq -cs '(map(select(.event == \"command\") | {(.number | tostring): .opc}) | "
	              "add) as $c | .[] | select(.event == \"completion\") | "
	              "select($c[.command | tostring] != .opc or .status != \"SUCCESS\" or "
	              ".latency_ns <= 0)' %s/hello.json",
	              dir);
	run(&r,
	    "jq -c 'select(.name == \"CREATE IO SQ\" and .event == \"command\") | "
	    "[.qid, .cdw10_qid, .cqid]' %s/hello.json",
	    dir);
	expect_in(&r, r.out, "[0,1,1]");
	done(&r);
}

/* One object for each command, whatever else is said about it. */
static void test_json_commands(void **state)
{
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .cid = 7, .nsid = 1};
	const char *path;

	(void)state;
	path = write_mix("mix.nvt");
	EXPECT_NUMBER(MIX_COMMANDS, "%s -T json %s | grep -c '^{\"event\":\"command\",'", nvtrace,
	              path);
	new_trace();
	add_slot(NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
	add_slot(NVME_TRACE_SQE_ERROR, 1, &cmd, sizeof(cmd));
	add_completion(1, 7, (uint16_t)NVME_SET(2, NVME_CPL_SC));
	add_completion(1, 8, 0);
	path = write_trace("error.nvt", sizeof(trace));
	EXPECT_NUMBER(1, "%s -T json %s | grep -c '^{\"event\":\"command\",'", nvtrace, path);
	EXPECT_NUMBER(1,
	              "%s -T json %s | jq -c 'select(.event == \"completion\" and .sc == 2 and "
	              ".opc == 2 and .name == \"READ\" and .status == \"INVALID FIELD\")' | wc -l",
	              nvtrace, path);
	EXPECT_NUMBER(1,
	              "%s -T json %s | jq -c 'select(.event == \"completion\" and .cid == 8 and "
	              "(has(\"opc\") or has(\"latency_ns\") | not) and has(\"problem\"))' | wc -l",
	              nvtrace, path);
}

/* Text of the log cannot break out of its string. */
static void test_json_hostile(void **state)
{
	static const char *const texts[] = {
		"\",\"event\":\"command\"}\n{\"x\":1",
		"</script><script>alert(1)</script>",
		"\\\"\\\\\\",
		"\xff\xfe\xc3(\xed\xa0\x80\xf8\x88",
		"caf\xc3\xa9 \xe2\x80\xa8 \x1b[31m \x7f",
		"%s%n%n",
	};
	char all[64];
	const char *path;
	struct result r;
	unsigned i;

	(void)state;
	new_trace();
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		add_log(texts[i]);
	for (i = 1; i < 256; i++) {
		all[(i - 1) % 51] = (char)i;
		all[(i - 1) % 51 + 1] = '\0';
		if (i % 51 == 0)
			add_log(all);
	}
	path = write_trace("hostile.nvt", sizeof(trace));
	run(&r,
	    "%s -T json %s | LC_ALL=C grep -v '[^ -~]' | jq -s 'map(select(.event == \"log\")) "
	    "| length'",
	    nvtrace, path);
	expect_number(&r, (long)i / 51 + (long)(sizeof(texts) / sizeof(texts[0])));
	done(&r);
	run(&r, "%s -T json %s | jq -r .text", nvtrace, path);
	expect_status(&r, 0);
	expect_in(&r, r.out, texts[0]);
	expect_in(&r, r.out, texts[1]);
	expect_in(&r, r.out, texts[4]);
	done(&r);
	EXPECT_NUMBER(1, "%s -T perfetto %s | jq -s length", nvtrace, path);
}

/* What a kernel's trace does not say is not there. */
static const char *write_ftrace(const char *name)
{
	static const char text[] =
		"# tracer: nop\n"
		"     kworker/0:1-31  [000] .....  1.000000: nvme_setup_cmd: nvme0: disk=nvme0n1, "
		"qid=1,"
		" cmdid=4097, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_read slba=4294967296, "
		"len=7,"
		" ctrl=0x0, dsmgmt=0, reftag=0)\n"
		"          <idle>-0   [000] d.h..  1.000250: nvme_complete_rq: nvme0: disk=nvme0n1,"
		" qid=1, cmdid=4097, res=0x0, retries=0, flags=0x0, status=0x4080\n"
		"     kworker/0:1-31  [000] .....  1.000300: nvme_setup_cmd: nvme0: disk=nvme0n1, "
		"qid=1,"
		" cmdid=2, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_flush cdw10=00 00 00 00 00 "
		"00 00"
		" 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)\n";
	const char *path = image(name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
	return path;
}

static void test_json_absent(void **state)
{
	const char *path = write_ftrace("k.ftrace");
	struct result r;

	(void)state;
	run(&r,
	    "%s -T json %s | jq -c 'select(.event == \"command\") | "
	    "[.cid, .slba, .nlb, has(\"prp1\"), has(\"mptr\")]'",
	    nvtrace, path);
	assert_string_equal(r.out, "[4097,\"0x100000000\",7,false,false]\n"
	                           "[2,null,null,false,false]\n");
	done(&r);
	run(&r,
	    "%s -T json %s | jq -c 'select(.event == \"completion\") | [.sct, .sc, .dnr, "
	    ".latency_ns, has(\"phase\"), has(\"sqhd\")]'",
	    nvtrace, path);
	assert_string_equal(r.out, "[0,128,1,250000,false,false]\n");
	done(&r);
}

/* The beginning of a command is lost: what is printed when it fails is all there is of it. */
static void test_failed_only(void **state)
{
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .cid = 9, .nsid = 1, .cdw10 = 4096, .cdw12 = 7};
	const char *path;

	(void)state;
	new_trace();
	add_slot(NVME_TRACE_SQE_ERROR, 1, &cmd, sizeof(cmd));
	add_completion(1, 9,
	               (uint16_t)NVME_SET(2, NVME_CPL_SCT) | (uint16_t)NVME_SET(0x81, NVME_CPL_SC));
	path = write_trace("failed.nvt", sizeof(trace));
	EXPECT_NUMBER(1, "%s -T json %s | grep -c '^{\"event\":\"command\",'", nvtrace, path);
	EXPECT_NUMBER(0, "%s -T json %s | grep -c latency_ns || true", nvtrace, path);
	EXPECT_NUMBER(1,
	              "%s -T csv %s | grep -c '^,0,1,9,2,READ,1,4096,7,UNRECOVERED READ ERROR,,'",
	              nvtrace, path);
	EXPECT_SILENT("%s -T perfetto %s >%s/failed.json", nvtrace, path, dir);
	expect_perfetto(image("failed.json"), 1);
	EXPECT_SILENT("%s -w %s/failed.pcapng %s", nvtrace, dir, path);
	expect_capture(image("failed.pcapng"));
	EXPECT_NUMBER(1,
	              TSHARK
	              " -r %s/failed.pcapng -Y 'nvme.cmd.slba == 4096 && nvme.cmd.nlb == 8' | "
	              "wc -l",
	              dir);
	EXPECT_NUMBER(1, TSHARK " -r %s/failed.pcapng -Y 'nvme.cqe.status.sc == 0x81' | wc -l",
	              dir);
}

/* ---- CSV ---- */

static void test_csv(void **state)
{
	const char *path = write_mix("mix.nvt");
	struct result r;

	(void)state;
	run(&r, "%s -T csv %s | tee %s/mix.csv", nvtrace, path, dir);
	expect_status(&r, 0);
	assert_true(strncmp(r.out,
	                    "time_ns,ctrlr,qid,cid,opc,name,nsid,slba,nlb,status,latency_ns,",
	                    63) == 0);
	done(&r);
	EXPECT_NUMBER(MIX_COMMANDS + 1, "wc -l <%s/mix.csv", dir);
	EXPECT_NUMBER(MIX_COMMANDS + 1, "grep -c '\r$' %s/mix.csv", dir);
	EXPECT_NUMBER(1, "awk -F , '{ n[NF] } END { print length(n) }' %s/mix.csv", dir);
	/* commands without a completion come last */
	EXPECT_NUMBER(MIX_OPEN,
	              "tail -n %d %s/mix.csv | awk -F , '$10 == \"\" && $11 == \"\"' | wc -l",
	              MIX_OPEN, dir);
	EXPECT_NUMBER(MIX_OPEN, "awk -F , '$10 == \"\"' %s/mix.csv | wc -l", dir);
	/* the same commands as in the JSON, by number */
	EXPECT_SILENT("%s -T json %s | jq -r 'select(.event == \"command\") | "
	              "[.number, .qid, .cid, .opc] | @csv' | sort >%s/a; "
	              "awk -F , 'NR > 1 { print $28 \",\" $3 \",\" $4 \",\" $5 }' %s/mix.csv | "
	              "sort >%s/b; cmp %s/a %s/b",
	              nvtrace, path, dir, dir, dir, dir, dir);
}

static void test_csv_absent(void **state)
{
	struct result r;

	(void)state;
	run(&r, "%s -T csv %s", nvtrace, write_ftrace("k.ftrace"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "1000000000,0,1,4097,2,READ,1,4294967296,7,LBA OUT OF RANGE,250000,");
	expect_in(&r, r.out, "1000300000,0,1,2,0,FLUSH,1,,,,,");
	done(&r);
}

/* ---- Perfetto ---- */

static void test_perfetto(void **state)
{
	const char *path = write_mix("mix.nvt");
	long kept;

	(void)state;
	EXPECT_SILENT("%s -T perfetto %s >%s/mix.json", nvtrace, path, dir);
	expect_perfetto(image("mix.json"), MIX_COMMANDS);
	/* the counters: up with each command, down with each completion, to what stays open */
	EXPECT_NUMBER(2 * MIX_COMMANDS - MIX_OPEN,
	              "jq '[.traceEvents[] | select(.ph == \"C\")] | length' %s/mix.json", dir);
	EXPECT_NUMBER(MIX_OPEN,
	              "jq '[.traceEvents[] | select(.ph == \"C\")] | group_by(.name) | "
	              "map(.[-1].args.commands) | add' %s/mix.json",
	              dir);
	EXPECT_NUMBER(MIX_OPEN,
	              "jq '[.traceEvents[] | select(.args.completed == false)] | length' "
	              "%s/mix.json",
	              dir);
	for (kept = 100; kept <= 900; kept += 400) {
		write_trace("cut.nvt", (size_t)kept * 128 + 77);
		EXPECT_NUMBER(3, "%s -T perfetto %s/cut.nvt >%s/cut.json 2>%s/cut.err; echo $?",
		              nvtrace, dir, dir, dir);
		EXPECT_NUMBER(1, "jq -s length %s/cut.json", dir);
		EXPECT_SILENT("jq -c '[.traceEvents[] | select(.cat == \"nvme\")] | group_by(.id)[] "
		              "| select(map(.ph) != [\"b\", \"e\"])' %s/cut.json",
		              dir);
	}
	EXPECT_SILENT("%s -T perfetto %s >%s/hello.perfetto", nvtrace, record_hello(), dir);
	EXPECT_NUMBER(1,
	              "jq '[.traceEvents[] | select(.ph == \"i\" and (.name | "
	              "test(\"doorbell\")))] | length > 10 | if . then 1 else 0 end' "
	              "%s/hello.perfetto",
	              dir);
}

/* ---- pcapng ---- */

/* Each command and completion that tshark sees is one of nvtrace's JSON, in that order. */
static void expect_same(const char *path, const char *capture)
{
	EXPECT_SILENT("%s -T json %s >%s/all.json", nvtrace, path, dir);
	/* of commands with an LBA, tshark 4.0 takes only reads and writes apart */
	EXPECT_SILENT("jq -r 'select(.event == \"command\") | (.qid > 0 and (.opc == 1 or .opc == 2)) "
	              "as $rw | [.qid, .opc, .cid, (if $rw then .slba, .blocks else \"\", \"\" end)] "
	              "| @tsv' %s/all.json >%s/a",
	              dir, dir);
	EXPECT_SILENT(TSHARK " -r %s -Y 'nvme.cmd.opc && nvme.cmd.cid != 0xffff' -T fields "
	                     "-e tcp.srcport -e nvme.cmd.opc -e nvme.cmd.cid -e nvme.cmd.slba "
	                     "-e nvme.cmd.nlb >%s/t",
	              capture, dir);
	EXPECT_SILENT("while IFS='\t' read -r port opc cid slba nlb; do "
	              "printf '%%d\\t%%d\\t%%d\\t' $((port - 50000)) $((opc)) $((cid)); "
	              "[ -z \"$slba\" ] || printf '0x%%x' $((slba)); printf '\\t%%s\\n' \"$nlb\"; "
	              "done <%s/t | sed 's/\\t\\t$/\\t\\t/' >%s/b; cmp %s/a %s/b",
	              dir, dir, dir, dir);
	EXPECT_SILENT("jq -r 'select(.event == \"completion\") | [.qid, .cid, .sct, .sc, "
	              "(.latency_ns // \"\")] | @tsv' %s/all.json >%s/a",
	              dir, dir);
	/* its latencies are in milliseconds */
	EXPECT_SILENT(TSHARK " -r %s -Y 'nvme.cqe.cid && nvme.cqe.cid != 0xffff' -T fields "
	                     "-e tcp.dstport -e nvme.cqe.cid -e nvme.cqe.status.sct "
	                     "-e nvme.cqe.status.sc -e nvme.cmd_latency >%s/t",
	              capture, dir);
	EXPECT_SILENT("while IFS='\t' read -r port cid sct sc ms; do "
	              "printf '%%d\\t%%d\\t%%d\\t%%d\\t' $((port - 50000)) $((cid)) $((sct)) "
	              "$((sc)); [ -n \"$ms\" ] && awk \"BEGIN { printf \\\"%%.0f\\n\\\", $ms * 1e6 }\" "
	              "|| echo; done <%s/t >%s/b; cmp %s/a %s/b",
	              dir, dir, dir, dir);
}

static void test_pcapng(void **state)
{
	const char *path = write_mix("mix.nvt");

	(void)state;
	EXPECT_SILENT("%s -w %s/mix.pcapng %s", nvtrace, dir, path);
	expect_capture(image("mix.pcapng"));
	expect_same(path, image("mix.pcapng"));
	EXPECT_NUMBER(MIX_QUEUES,
	              TSHARK " -r %s/mix.pcapng -Y 'nvme.fabrics.cmd.connect.qid' | wc -l", dir);
	/* filters of tshark find what those of nvtrace find */
	EXPECT_NUMBER(0,
	              "a=$(" TSHARK " -r %s/mix.pcapng -Y 'nvme.cmd.opc == 2 && nvme.cmd.nlb > "
	              "30000' | wc -l); b=$(jq -c 'select(.event == \"command\" and .opc == 2 and "
	              ".blocks > 30000)' %s/all.json | wc -l); test $a -gt 10 && echo $((a - b))",
	              dir, dir);
	EXPECT_NUMBER(0,
	              "a=$(" TSHARK " -r %s/mix.pcapng -Y 'nvme.cqe.status.sc != 0' | wc -l); "
	              "b=$(jq -c 'select(.event == \"completion\" and .sc != 0)' %s/all.json | "
	              "wc -l); test $a -gt 10 && echo $((a - b))",
	              dir, dir);
}

static void test_pcapng_hello(void **state)
{
	const char *path = record_hello();
	struct result r;

	(void)state;
	EXPECT_SILENT("%s -w %s/hello.pcapng %s", nvtrace, dir, path);
	expect_capture(image("hello.pcapng"));
	expect_same(path, image("hello.pcapng"));
	run(&r, TSHARK " -r %s/hello.pcapng", dir);
	expect_status(&r, 0);
	expect_in(&r, r.out, "NVMe Identify Controller");
	expect_in(&r, r.out, "NVMe Create SQ");
	expect_in(&r, r.out, "NVMe CQE for Read");
	done(&r);
}

/* What is absent in the source is named; queues of any number have a connection of their own. */
static void test_pcapng_partial(void **state)
{
	struct result r;
	unsigned qid;

	(void)state;
	EXPECT_SILENT("%s -w %s/spdk.pcapng %s", nvtrace, dir, SPDK_LOG);
	expect_capture(image("spdk.pcapng"));
	expect_same(SPDK_LOG, image("spdk.pcapng"));
	EXPECT_SILENT("%s -w %s/k.pcapng %s", nvtrace, dir, write_ftrace("k.ftrace"));
	expect_capture(image("k.pcapng"));
	run(&r,
	    TSHARK " -r %s/k.pcapng -T fields -e nvme.cmd.opc -e frame.comment "
	           "-Y 'nvme.cmd.opc == 2'",
	    dir);
	expect_in(&r, r.out, "not in the source: ");
	expect_in(&r, r.out, "PRP1");
	done(&r);
	new_trace();
	for (qid = 0; qid < 65536; qid += 257) {
		add_command((uint16_t)qid, 2, 1, 0, 1);
		add_completion((uint16_t)qid, 1, 0);
	}
	write_trace("many.nvt", sizeof(trace));
	EXPECT_SILENT("%s -w %s/many.pcapng %s/many.nvt", nvtrace, dir, dir);
	expect_capture(image("many.pcapng"));
	EXPECT_NUMBER(256,
	              TSHARK " -r %s/many.pcapng -Y nvme.cmd_latency -T fields -e tcp.stream | "
	                     "sort -u | wc -l",
	              dir);
}

/* ---- commands that never complete ---- */

/* Whatever goes and in whichever order: the oldest are forgotten first, and memory is bounded. */
static void test_opens(void **state)
{
	struct rec r = {.kind = REC_COMMAND, .has = HAS_QID | HAS_CTRLR};
	struct open_cmd c;
	struct opens o;
	uint64_t i, gone = 0;

	(void)state;
	opens_init(&o);
	for (i = 1; i <= 3 * (uint64_t)PAIRING_MAX_OPEN; i++) {
		r.number = i;
		r.qid = (uint16_t)(i >> 16);
		r.cmd.cid = (uint16_t)i;
		if (opens_forget(&o, &c)) {
			gone += gone == 6 ? 3 : 1;
			assert_int_equal(c.number, gone);
		}
		opens_add(&o, &r, &c);
		assert_true(o.cmds.count <= PAIRING_MAX_OPEN);
		if (i == 9) { /* completions: of the middle and of two in a row */
			assert_true(opens_remove(&o, 7, &c));
			assert_true(opens_remove(&o, 8, &c));
		}
	}
	assert_int_equal(o.cmds.count, PAIRING_MAX_OPEN);
	assert_int_equal(o.latest.count, PAIRING_MAX_OPEN);
	assert_int_equal(o.forgotten, 2 * (uint64_t)PAIRING_MAX_OPEN - 2);
	for (i = 2 * (uint64_t)PAIRING_MAX_OPEN + 1; i <= 3 * (uint64_t)PAIRING_MAX_OPEN; i++)
		assert_true(opens_remove(&o, i, &c));
	assert_int_equal(o.cmds.count + o.latest.count + o.oldest + o.newest, 0);
	opens_free(&o);
}

static void test_many_open(void **state)
{
	static const char *const ways[] = {"-T csv", "-T perfetto", "-w /dev/null"};
	const int extra = 100, all = (int)PAIRING_MAX_OPEN + extra;
	struct result r;
	size_t i;

	(void)state;
	run(&r,
	    "awk 'BEGIN { for (i = 0; i < %d; i++) printf \"nvme_setup_cmd: nvme0: qid=%%d, cmdid=%%d, "
	    "nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_flush cdw10=00 00 00 00 00 00 00 00 00 00 00 "
	    "00 00 00 00 00 00 00 00 00 00 00 00 00)\\n\", 1 + i / 65536, i %% 65536 }' >%s",
	    all, image("open.ftrace"));
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i < 3; i++) {
		run(&r, "%s %s %s >%s", nvtrace, ways[i], image("open.ftrace"), image("open.out"));
		expect_status(&r, 0);
		expect_in(&r, r.err,
		          "more than 131072 commands were without a completion at once: "
		          "the oldest 100 ");
		done(&r);
		if (i == 0) /* each has its row, in order */
			EXPECT_SILENT("awk -F , 'NR > 1 { print $28 }' %s >%s; seq %d | cmp - %s",
			              image("open.out"), image("rows"), all, image("rows"));
		if (i == 1)
			EXPECT_NUMBER(all, "grep -c '\"completed\": *false' %s", image("open.out"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer_text),   cmocka_unit_test(test_writer_structure),
		cmocka_unit_test(test_map),           cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_commands), cmocka_unit_test(test_json_hostile),
		cmocka_unit_test(test_json_absent),   cmocka_unit_test(test_failed_only),
		cmocka_unit_test(test_csv),           cmocka_unit_test(test_csv_absent),
		cmocka_unit_test(test_perfetto),      cmocka_unit_test(test_pcapng),
		cmocka_unit_test(test_pcapng_hello),  cmocka_unit_test(test_pcapng_partial),
		cmocka_unit_test(test_opens),         cmocka_unit_test(test_many_open),
	};

	nvtrace = getenv("NVTRACE");
	if (nvtrace == NULL)
		nvtrace = "$BUILD/nvtrace";
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
