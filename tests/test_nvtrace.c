// SPDX-License-Identifier: MIT
/*
 * nvtrace: its text output is the live log, it copes with damaged files, it pairs and filters.
 * The environment can name other programs: NVTRACE, RUN_IO.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "trace/pair.h"
#include "run.h"
#include <inttypes.h>
#include <pthread.h>

static const char *nvtrace(void)
{
	const char *name = getenv("NVTRACE");

	return name != NULL ? name : "$BUILD/nvtrace";
}

static const char *run_io(void)
{
	const char *name = getenv("RUN_IO");

	return name != NULL ? name : "$BUILD/tests/run_io";
}

/* ---- the same as the live log ---- */

/* Leaves only lines of the log: what the program says by itself begins with its name. */
static void keep_log(char *text)
{
	char *in = text, *out = text, *end;

	while (*in != '\0') {
		end = in + strcspn(in, "\n");
		end += *end == '\n';
		if (*in == '[') {
			memmove(out, in, (size_t)(end - in));
			out += end - in;
		}
		in = end;
	}
	*out = '\0';
}

/* Standard error of the program, and what nvtrace makes of its record. */
static void expect_live_log(const char *env, const char *program, const char *args)
{
	const char *trace = image("live.nvt");
	struct result live, decoded;

	run(&live, "NVME_TRACE=%s NVME_TRACE_SLOTS=500000 NVME_LOG=debug %s %s %s", trace, env,
	    program, args);
	run(&decoded, "%s %s", nvtrace(), trace);
	expect_status(&decoded, 0);
	keep_log(live.err);
	assert_true(strlen(live.err) > 1000);
	if (strcmp(decoded.out, live.err) != 0)
		fprintf(stderr, "%s %s %s: not the same\n", env, program, args);
	assert_string_equal(decoded.out, live.err);
	done(&live);
	done(&decoded);
}

static void test_live_log(void **state)
{
	(void)state;
	expect_live_log("", "$BUILD/hello_world", "soft");
	expect_live_log("", "$BUILD/identify", "soft");
	expect_live_log("", run_io(), "pattern soft 7");
	expect_live_log("", run_io(), "async soft 7");
	expect_live_log("", run_io(), "limits soft");
}

static void test_live_log_of_errors(void **state)
{
	(void)state;
	expect_live_log("NVME_FAULTS='on read #2 status 2/81 dnr more'", run_io(),
	                "pattern soft 7");
	expect_live_log("NVME_FAULTS='on write #2 sqid 9'", "$BUILD/hello_world", "soft");
	expect_live_log("NVME_FAULTS='on read #1 duplicate'", "$BUILD/hello_world", "soft");
	expect_live_log("NVME_FAULTS='on read cid 4095'", "$BUILD/hello_world", "soft");
	expect_live_log("NVME_FAULTS='identify strings'", "$BUILD/identify", "soft");
}

/* ---- files that are not as they should be ---- */

/* The trace of hello_world, with so many slots. */
static char *record(const char *name, int slots, size_t *size, struct result *live)
{
	run(live, "NVME_TRACE=%s NVME_TRACE_SLOTS=%d NVME_LOG=debug $BUILD/hello_world soft",
	    image(name), slots);
	expect_status(live, 0);
	return read_file(image(name), size);
}

static const char *write_trace(const char *data, size_t size)
{
	const char *name = image("changed.nvt");
	FILE *file = fopen(name, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
	return name;
}

static void test_wrap(void **state)
{
	struct result live, decoded, piped;
	size_t size, n;
	char *data = record("wrap.nvt", 64, &size, &live);

	(void)state;
	assert_int_equal(size, 65 * 128);
	run(&decoded, "%s %s", nvtrace(), image("wrap.nvt"));
	expect_status(&decoded, 0);
	expect_in(&decoded, decoded.err, "events were overwritten");
	n = strlen(decoded.out);
	assert_true(n > 1000 && n < strlen(live.err));
	assert_string_equal(decoded.out, live.err + strlen(live.err) - n);
	run(&piped, "cat %s | %s -", image("wrap.nvt"), nvtrace());
	expect_status(&piped, 0);
	assert_string_equal(piped.out, decoded.out);
	free(data);
	done(&live);
	done(&decoded);
	done(&piped);
}

/* Whatever is cut off, what is left is the beginning of the log. */
static void test_truncated(void **state)
{
	struct result live, r;
	size_t size, len, lost = 0;
	char *data = record("cut.nvt", 400, &size, &live);

	(void)state;
	for (len = 0; len <= size; len += len < 1024 ? 61 : 997) {
		run(&r, "%s %s", nvtrace(), write_trace(data, len));
		assert_true(r.status == 0 || r.status == 3);
		assert_memory_equal(r.out, live.err, strlen(r.out));
		if (strcmp(r.out, live.err) != 0) {
			expect_status(&r, 3);
			expect_in(&r, r.err, "nvtrace: ");
			lost++;
		}
		done(&r);
	}
	assert_true(lost > 10);
	free(data);
	done(&live);
}

static void test_header(void **state)
{
	static const struct {
		size_t at;
		const char *bytes;
		size_t len;
		const char *says;
	} cases[] = {
		{0, "X", 1, "no trace that nvtrace knows"},
		{8, "\2", 1, "version 2 of the format"},
		{12, "\1\2\3\4", 4, "the other byte order"},
		{12, "\1\1\1\1", 4, "is no byte order"},
		{16, "\1", 1, "its header is damaged"},
		{24, "\0\0\0\0\0\0\0\0", 8, "its header is damaged"},
	};
	struct result live, r;
	size_t size, i;
	char *data = record("head.nvt", 400, &size, &live), *copy = malloc(size);

	(void)state;
	assert_non_null(copy);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(copy, data, size);
		memcpy(copy + cases[i].at, cases[i].bytes, cases[i].len);
		run(&r, "%s %s", nvtrace(), write_trace(copy, size));
		expect_status(&r, 3);
		expect_in(&r, r.err, cases[i].says);
		assert_string_equal(r.out, "");
		done(&r);
	}
	free(copy);
	free(data);
	done(&live);
}

/* One slot is lost, the lines before and behind it are there. */
static void test_damaged_slot(void **state)
{
	static const size_t at[] = {0, 120};
	struct result live, r;
	size_t size, i;
	char *data = record("slot.nvt", 400, &size, &live), *line;

	(void)state;
	for (i = 0; i < 2; i++) {
		data[3 * 128 + at[i]] = (char)(data[3 * 128 + at[i]] ^ 0x55);
		run(&r, "%s %s", nvtrace(), write_trace(data, size));
		expect_status(&r, 3);
		expect_in(&r, r.err, "event 3 is lost");
		line = strchr(live.err, '\n') + 1;
		assert_memory_equal(r.out, live.err, (size_t)(line - live.err));
		assert_true(strlen(r.out) > strlen(live.err) * 9 / 10);
		assert_string_equal(r.out + strlen(r.out) - 200, live.err + strlen(live.err) - 200);
		data[3 * 128 + at[i]] = (char)(data[3 * 128 + at[i]] ^ 0x55);
		done(&r);
	}
	free(data);
	done(&live);
}

/* Bytes changed at random, always the same ones: every output survives it. */
static void test_random_damage(void **state)
{
	static const char *const outputs[] = {"-vH --explain --latency",
	                                      "-T json",
	                                      "-T csv",
	                                      "-T perfetto",
	                                      "-T html",
	                                      "-T svg",
	                                      "-c",
	                                      "--lint",
	                                      "-w /dev/null"};
	struct result live, r;
	size_t size[2], k;
	char *data[2], *copy;
	unsigned seed = 1, i, j;

	(void)state;
	data[0] = record("flip0.nvt", 400, &size[0], &live);
	done(&live);
	data[1] = record("flip1.nvt", 64, &size[1], &live);
	done(&live);
	for (i = 0; i < 200; i++) {
		k = i % 2;
		copy = malloc(size[k]);
		assert_non_null(copy);
		memcpy(copy, data[k], size[k]);
		for (j = 0; j <= i % 20; j++) {
			size_t pos;

			seed = seed * 1664525u + 1013904223u;
			pos = (seed >> 8) % size[k];
			/* in the header, but for what test_header() tries, and in the slots */
			if (pos < 32)
				pos += 32;
			seed = seed * 1664525u + 1013904223u;
			copy[pos] = (char)(seed >> 16);
		}
		run(&r, "timeout 20 %s %s %s", nvtrace(), outputs[i % 9],
		    write_trace(copy, size[k]));
		if (r.status == 2 || r.status > 3)
			show(&r);
		assert_true(r.status != 2 && r.status <= 3);
		done(&r);
		free(copy);
	}
	free(data[0]);
	free(data[1]);
}

/* ---- traces made by hand ---- */

struct maker {
	struct nvme_trace *trace;
	struct nvme_log log;
	uint64_t now;
};

static void make(struct maker *m, const char *name, uint64_t slots)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(nvme_trace_open(image(name), slots, &m->trace), 0);
	m->log.trace = m->trace;
	m->now = UINT64_C(1800000000000000000);
}

static void put_cmd(struct maker *m, uint16_t qid, uint16_t cid, uint8_t opc, uint64_t lba)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.cid = cid;
	cmd.nsid = 1;
	cmd.cdw10 = (uint32_t)lba;
	cmd.cdw11 = (uint32_t)(lba >> 32);
	cmd.cdw12 = 7;
	cmd.dptr.prp.prp1 = 0x1000;
	nvme__trace_put(&m->log, m->now += 1000, NVME_TRACE_SQE, 1, qid, &cmd, sizeof(cmd));
}

static void put_cpl(struct maker *m, uint16_t qid, uint16_t cid, uint16_t status, uint64_t after)
{
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.cid = cid;
	cpl.sqid = qid;
	cpl.status = status;
	nvme__trace_put(&m->log, m->now += after, NVME_TRACE_CQE, 1, qid, &cpl, sizeof(cpl));
}

/* Log lines and PRP lists of two threads, one slot of each in turn. */
static void test_threads_interleaved(void **state)
{
	const struct nvme__log_place place = {"nvme.h", 7, "f"};
	char text[2][401];
	struct maker m;
	struct result r;
	struct nvme_trace_slot copy[12];
	int i, parts;

	(void)state;
	make(&m, "threads.nvt", 64);
	for (i = 0; i < 2; i++) {
		memset(text[i], 'a' + i, 400);
		text[i][400] = '\0';
		nvme__trace_log(&m.log, m.now, &place, NVME_LOG_DEBUG, text[i]);
	}
	parts = (int)(m.trace->header->next - 1) / 2;
	assert_true(parts > 2 && parts * 2 <= 12);
	memcpy(copy, m.trace->slot, sizeof(copy));
	for (i = 0; i < 2 * parts; i++) {
		struct nvme_trace_slot *s = &m.trace->slot[i];

		*s = copy[i % 2 * parts + i / 2];
		s->tid = (uint32_t)(i % 2) + 1;
		s->seq = (uint64_t)i + 1;
		s->check = ~s->seq;
	}
	nvme_trace_close(m.trace);
	run(&r, "%s --no-prefix %s", nvtrace(), image("threads.nvt"));
	expect_status(&r, 0);
	assert_int_equal(strlen(r.out), 802);
	assert_memory_equal(r.out, text[0], 400);
	assert_memory_equal(r.out + 401, text[1], 400);
	done(&r);
}

/* A program that was killed while it wrote, or is still running, is no reason to complain. */
static void test_unfinished(void **state)
{
	struct maker m;
	struct result r;

	(void)state;
	make(&m, "open.nvt", 64);
	put_cmd(&m, 1, 5, NVME_OPC_READ, 1);
	put_cpl(&m, 1, 5, 1, 1000);
	put_cmd(&m, 1, 6, NVME_OPC_READ, 1);
	m.trace->slot[2].seq = 0;
	run(&r, "%s --no-prefix %s | wc -l", nvtrace(), image("open.nvt"));
	assert_string_equal(r.out, "2\n");
	assert_string_equal(r.err, "");
	done(&r);
	put_cpl(&m, 1, 6, 1, 1000); /* but now an event is lost */
	nvme_trace_close(m.trace);
	run(&r, "%s --no-prefix %s", nvtrace(), image("open.nvt"));
	expect_status(&r, 3);
	expect_in(&r, r.err, "event 3 is lost: its slot was not written to its end");
	done(&r);
}

/* ---- a program that goes on writing ---- */

/* The newest events stand where the oldest were, and may not be finished. */
static void test_gave_way(void **state)
{
	struct maker m;
	struct result r;
	uint16_t i;

	(void)state;
	make(&m, "gave.nvt", 64);
	for (i = 0; i < 100; i++)
		put_cmd(&m, 1, i, NVME_OPC_READ, i);
	m.trace->slot[98 % 64].seq = 0; /* events 99 and 100, where 35 and 36 were */
	m.trace->slot[99 % 64].seq = 0;
	nvme_trace_close(m.trace);
	run(&r, "%s --no-prefix %s | wc -l", nvtrace(), image("gave.nvt"));
	assert_string_equal(r.out, "62\n");
	assert_null(strstr(r.err, "lost"));
	done(&r);
	run(&r, "cat %s | %s", image("gave.nvt"), nvtrace());
	expect_status(&r, 0);
	assert_null(strstr(r.err, "lost"));
	done(&r);
}

struct writer {
	struct maker m;
	uint32_t commands; /* so many ... */
	unsigned pause;    /* ... with this many microseconds now and then ... */
	int *stop;         /* ... or until this is set */
};

static void *keep_writing(void *arg)
{
	const struct nvme__log_place place = {"nvme.h", 7, "f"};
	struct writer *w = arg;
	char text[200];
	uint32_t i;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (i = 0; i < w->commands && !__atomic_load_n(w->stop, __ATOMIC_RELAXED); i++) {
		put_cmd(&w->m, 1, (uint16_t)i, NVME_OPC_READ, i);
		put_cpl(&w->m, 1, (uint16_t)i, 1, 1000);
		if (i % 64 != 0)
			continue;
		nvme__trace_log(&w->m.log, w->m.now, &place, NVME_LOG_DEBUG, text);
		if (w->pause != 0)
			usleep(w->pause);
	}
	return NULL;
}

/*
 * Nothing is lost, or as much as `unfinished` threads were in the middle of: in what a pipe brings
 * nobody can look again whether they have finished since.
 */
static bool told_truly(const struct result *r, int unfinished)
{
	const char *at;
	int lost = 0, torn = 0;

	for (at = r->err; (at = strstr(at, " lost: ")) != NULL; at++)
		lost++;
	for (at = r->err; (at = strstr(at, "was not written to its end")) != NULL; at++)
		torn++;
	return r->status == (lost != 0 ? 3 : 0) && lost == torn && lost <= unfinished;
}

/* Two threads write as fast as they can. Nothing is damaged, and most of it is shown. */
static void expect_live(uint64_t slots, uint32_t commands, unsigned pause, int runs)
{
	static const char *const ways[] = {"$n $t", "$n -v $t | { sleep 0.1; cat; }", "$n -c <$t",
	                                   "cat $t | $n"};
	struct writer w[2];
	pthread_t thread[2];
	int stop = 0, i, moved = 0, wrong = 0, none = 0;
	struct result r;
	char all[64];

	snprintf(all, sizeof(all), " %u events were overwritten", (unsigned)slots);
	make(&w[0].m, "moving.nvt", slots);
	w[0].stop = &stop;
	w[0].commands = commands;
	w[0].pause = pause;
	w[1] = w[0];
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, keep_writing, &w[i]), 0);
	while (__atomic_load_n(&w[0].m.trace->header->next, __ATOMIC_RELAXED) <
	       (commands < slots ? 1000 : slots + 1000))
		usleep(1000);
	for (i = 0; i < runs; i++) {
		run(&r, "n=%s t=%s; %s", nvtrace(), image("moving.nvt"), ways[i % 4]);
		/* what cat copies may be from many rounds: then there is little that fits; and on a
		 * busy machine the writers may have gone once round before nvtrace has a look */
		if (strlen(r.out) < (i % 4 == 3 ? 1 : 500) && strstr(r.err, all) != NULL)
			none++;
		else if (strlen(r.out) < (i % 4 == 3 ? 1 : 500) ||
		         strstr(r.err, "not there") != NULL ||
		         !told_truly(&r, i % 4 == 3 ? 2 : 0)) {
			fprintf(stderr, "%s: status %d, %zu bytes\n%.2000s", ways[i % 4], r.status,
			        strlen(r.out), r.err);
			wrong++;
		}
		moved += strstr(r.err, "not yet finished when this was read") != NULL;
		done(&r);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	nvme_trace_close(w[0].m.trace);
	print_message("%d of %d times events were overwritten meanwhile, %d times all of them\n",
	              moved, runs, none);
	assert_int_equal(wrong, 0);
	assert_true(none < runs);
}

/*
 * A copy of a file that was being written: its header is older than its slots, some of which are
 * not finished, and of what spans several slots the beginning is gone.
 */
static void test_copied_meanwhile(void **state)
{
	const struct nvme__log_place place = {"nvme.h", 7, "f"};
	static const int wraps[] = {1, 0};
	struct nvme_trace_header *h;
	struct maker m;
	struct result r;
	char text[400];
	uint32_t i, k;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (k = 0; k < 2; k++) {
		make(&m, "copied.nvt", 64);
		for (i = 0; i < (wraps[k] ? 25 : 5); i++) {
			put_cmd(&m, 1, (uint16_t)i, NVME_OPC_READ, i);
			put_cpl(&m, 1, (uint16_t)i, 1, 1000);
			nvme__trace_log(&m.log, m.now, &place, NVME_LOG_DEBUG, text);
		}
		h = m.trace->header;
		assert_true(wraps[k] ? h->next > 128 : h->next < 60);
		m.trace->slot[(h->next - 20) % 64].seq = 0;
		m.trace->slot[(h->next - 4) % 64].seq = 0; /* within the last log line */
		h->next -= 10;
		nvme_trace_close(m.trace);
		run(&r, "%s %s", nvtrace(), image("copied.nvt"));
		expect_status(&r, 0);
		expect_in(&r, r.err, "it was being written: ");
		assert_null(strstr(r.err, "lost"));
		assert_null(strstr(r.err, "damaged"));
		expect_in(&r, r.out, "READ sqid:1");
		done(&r);
		/* damage stays what it is */
		write_at(image("copied.nvt"), 128 + 10 * 128 + 7, "\x55", 1);
		run(&r, "%s %s", nvtrace(), image("copied.nvt"));
		expect_status(&r, 3);
		expect_in(&r, r.err, "lost: ");
		done(&r);
	}
}

static void test_written_meanwhile(void **state)
{
	(void)state;
	expect_live(4096, UINT32_MAX, 0, 24);           /* wraps again and again */
	expect_live(UINT64_C(1) << 19, 120000, 300, 8); /* does not wrap */
}

/* ---- kinds of a later version ---- */

/* One more event, as number `seq`: the others move up. */
static void insert_kind(struct maker *m, uint64_t seq, uint16_t kind)
{
	struct nvme_trace_slot *s = m->trace->slot;
	uint64_t i;

	memmove(&s[seq], &s[seq - 1], (m->trace->header->next - seq) * sizeof(*s));
	m->trace->header->next++;
	s[seq - 1].kind = kind;
	for (i = seq; i < m->trace->header->next; i++) {
		s[i - 1].seq = i;
		s[i - 1].check = ~i;
	}
}

/* Skipped, wherever they stand, and counted; in every output, and when two are compared. */
static void test_unknown_kinds(void **state)
{
	static const char *const outputs[] = {"", "-v", "-c", "-H", "-T csv -f qid==0", "--lint"};
	const struct nvme__log_place place = {"nvme.h", 7, "f"};
	struct result with, without;
	char text[300];
	struct maker m;
	size_t i;
	int k;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (k = 0; k < 2; k++) {
		make(&m, k == 0 ? "today.nvt" : "later.nvt", 64);
		nvme__trace_log(&m.log, m.now, &place, NVME_LOG_DEBUG, text);
		put_cmd(&m, 0, 1, NVME_OPC_IDENTIFY, 0);
		if (k == 1) {
			insert_kind(&m, 2, 77); /* between the parts of the log line */
			insert_kind(&m, 1, 65535);
			insert_kind(&m, 4, 35);
		}
		nvme_trace_close(m.trace);
	}
	for (i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
		run(&without, "%s %s %s", nvtrace(), outputs[i], image("today.nvt"));
		run(&with, "%s %s %s", nvtrace(), outputs[i], image("later.nvt"));
		assert_int_equal(with.status, without.status);
		expect_in(&with, with.err,
		          "3 events are of kinds that this nvtrace does not know and were skipped "
		          "(the first is event 1, of kind 65535)");
		assert_null(strstr(with.err, "lost"));
		assert_null(strstr(without.err, "skipped"));
		if (strncmp(outputs[i], "-T", 2) != 0 && strcmp(outputs[i], "--lint") != 0)
			assert_string_equal(with.out, without.out); /* no record numbers */
		done(&with);
		done(&without);
	}
	run(&with, "%s --diff %s %s", nvtrace(), image("today.nvt"), image("later.nvt"));
	expect_status(&with, 0);
	expect_in(&with, with.err, "3 events are of kinds");
	done(&with);
	make(&m, "none.nvt", 64);
	put_cmd(&m, 0, 1, NVME_OPC_IDENTIFY, 0);
	insert_kind(&m, 1, 0); /* no version has it */
	nvme_trace_close(m.trace);
	run(&with, "%s %s", nvtrace(), image("none.nvt"));
	expect_status(&with, 3);
	expect_in(&with, with.err, "event 1 is lost: it is of no kind");
	done(&with);
}

/* ---- nothing is destroyed ---- */

static void copy(const char *from, const char *to)
{
	struct result r;

	run(&r, "cp %s %s", image(from), image(to));
	expect_status(&r, 0);
	done(&r);
}

/* An output that is an input, whatever it is called, and an output that is somebody else's file. */
static void test_input_is_kept(void **state)
{
	static const struct {
		const char *command; /* $n is nvtrace; X is the trace; Y is another */
		const char *says;
	} cases[] = {
		{"$n -o X X", "the output X is the input X"},
		{"$n -w X X", "the output X is the input X"},
		{"$n -o ./X X", "the output ./X is the input X"},
		{"$n -o X ./X", "the output X is the input ./X"},
		{"$n -o sym X", "the output sym is the input X"},
		{"$n -o X sym", "the output X is the input sym"},
		{"$n -o hard X", "the output hard is the input X"},
		{"$n -o X hard", "the output X is the input hard"},
		{"$n -T html -o $PWD/X X", "/X is the input X"},
		{"$n -o X <X", "the output X is the input standard input"},
		{"$n -o X - <X", "the output X is the input -"},
		{"$n -o /dev/stdin <X", "the output /dev/stdin is the input standard input"},
		{"$n -o X --diff X Y", "the output X is the input X"},
		{"$n -o X --diff Y X", "the output X is the input X"},
		{"$n -o X X --with Y", "the output X is the input X"},
		{"$n -o X Y --with X", "the output X is the input X"},
		{"$n -o hard Y --with X", "the output hard is the input X"},
		{"$n --hex -o X <X", "the output X is the input standard input"},
		{"$n X >>X", "standard output is the input X: write to another file; "},
		{"$n -c X 1<>X", "standard output is the input X"},
		{"$n <X >>X", "standard output is the input standard input"},
		{"$n --diff Y X >>X", "standard output is the input X"},
		{"$n Y --with X >>X", "standard output is the input X"},
		{"$n X 2>>X", ""},
		/* not the input, but a trace or binary data of somebody */
		{"$n -w X Y", "the output X is a trace itself"},
		{"$n -o X nonexistent", "the output X is a trace itself"},
		{"$n -o qemu Y", "the output qemu is a trace itself"},
		{"$n -o ftrace Y", "the output ftrace is a trace itself"},
		{"$n -o image Y", "the output image holds what nvtrace has not written"},
	};
	struct result r;
	size_t i, size;
	char *full;

	(void)state;
	free(record("kept.nvt", 400, &size, &r));
	done(&r);
	copy("kept.nvt", "X");
	copy("kept.nvt", "Y");
	full = realpath(program("NVTRACE", "nvtrace"), NULL);
	assert_non_null(full);
	run(&r,
	    "cp tests/fixtures/qemu-7.2.seabios.log %s/qemu; cp "
	    "tests/fixtures/linux-6.1.176.io.ftrace.txt %s/ftrace; cd %s; ln -s X sym; ln X hard; "
	    "head -c 4096 /dev/zero >image; md5sum X Y qemu ftrace image >sums",
	    dir, dir, dir);
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r, "n=%s; cd %s; %s", full, dir, cases[i].command);
		if (r.status != 2)
			fprintf(stderr, "%s\n", cases[i].command);
		expect_status(&r, 2);
		expect_in(&r, r.err, cases[i].says);
		assert_string_equal(r.out, "");
		done(&r);
		run(&r, "cd %s; md5sum --quiet -c sums", dir);
		if (r.status != 0)
			fprintf(stderr, "destroyed by: %s\n", cases[i].command);
		expect_status(&r, 0);
		done(&r);
	}
	/* Nothing can be done about this one, but it can be said. */
	run(&r, "n=%s; cd %s; $n X >X", full, dir);
	expect_status(&r, 2);
	expect_in(&r, r.err, "with > the shell has emptied this one");
	done(&r);
	free(full);
}

/* What nvtrace has written is replaced; but not for an input that cannot be read. */
static void test_output_is_replaced(void **state)
{
	static const char *const outputs[] =
		{"-o",        "-v -o",          "-T json -o", "-T csv -o", "-T html -o",
	         "-T svg -o", "-T perfetto -o", "-c -o",      "-w"};
	static const char *const inputs[] = {"kept.nvt", "qemu"};
	struct result r;
	size_t i, k;
	char *once, *again;

	(void)state;
	for (i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
		for (k = 0; k < 2; k++) {
			run(&r, "rm -f %s; %s %s %s %s", image("O"), nvtrace(), outputs[i],
			    image("O"), image(inputs[k]));
			expect_status(&r, 0);
			done(&r);
			once = read_file(image("O"), NULL);
			run(&r, "%s %s %s %s", nvtrace(), outputs[i], image("O"),
			    image("nonexistent"));
			expect_status(&r, 3);
			done(&r);
			again = read_file(image("O"), NULL);
			assert_string_equal(again, once);
			free(again);
			write_at(image("O"), (long)strlen(once), "longer", 6);
			run(&r, "%s %s %s %s", nvtrace(), outputs[i], image("O"), image(inputs[k]));
			expect_status(&r, 0);
			done(&r);
			again = read_file(image("O"), NULL);
			assert_string_equal(again, once);
			free(again);
			free(once);
		}
	}
	run(&r, "%s -o /dev/null %s", nvtrace(), image("kept.nvt"));
	expect_status(&r, 0);
	done(&r);
	run(&r, "%s %s >&-", nvtrace(), image("kept.nvt"));
	expect_status(&r, 3);
	done(&r);
}

/* ---- two files ---- */

/* The message that plain mode has for a damaged file, in the other modes. */
static void test_damage_of_two(void **state)
{
	static const char *const both[] = {"$n --diff D K", "$n --diff K D", "$n D --with K",
	                                   "$n K --with D"};
	static const char *const damages[] = {
		"printf U | dd of=D bs=1 seek=504 conv=notrunc", /* a check word */
		"head -c 10000 K >D",                            /* cut */
		"printf U | dd of=D bs=1 seek=16 conv=notrunc",  /* the header */
		"head -c 60 K >D",
		": >D",
		"rm D",
	};
	struct result plain, r;
	size_t i, k;
	char *full = realpath(program("NVTRACE", "nvtrace"), NULL), *message;

	(void)state;
	assert_non_null(full);
	for (i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		run(&r, "cd %s; cp kept.nvt K; cp K D; %s", dir, damages[i]);
		expect_status(&r, 0);
		done(&r);
		run(&plain, "cd %s; %s -T csv D", dir, full);
		expect_status(&plain, 3);
		message = strstr(plain.err, "nvtrace: D: ");
		assert_non_null(message);
		for (k = 0; k < 4; k++) {
			run(&r, "cd %s; n=%s; %s", dir, full, both[k]);
			expect_status(&r, 3);
			assert_string_equal(r.err, message); /* once */
			done(&r);
		}
		done(&plain);
	}
	free(full);
}

static void test_input_of_two(void **state)
{
	struct result r;
	char *full = realpath(program("NVTRACE", "nvtrace"), NULL);

	(void)state;
	assert_non_null(full);
	run(&r, "cd %s; %s --diff --input qemu K K", dir, full);
	expect_status(&r, 0);
	expect_in(&r, r.out, "the same: 0 commands");
	done(&r);
	run(&r, "cd %s; %s --diff --input nvt,qemu K K", dir, full);
	expect_status(&r, 1);
	expect_in(&r, r.out, "\n-#");
	assert_null(strstr(r.out, "\n+#"));
	done(&r);
	run(&r, "cd %s; %s --input nvt K --with qemu", dir, full);
	expect_status(&r, 3);
	expect_in(&r, r.err, "qemu: it does not begin with NVMEHTRC");
	done(&r);
	run(&r, "cd %s; %s --input nvt,qemu K --with qemu", dir, full);
	expect_in(&r, r.out, "missing in qemu");
	expect_status(&r, 1);
	done(&r);
	run(&r, "cd %s; mkfifo pipe; %s K --with pipe", dir, full);
	expect_status(&r, 2);
	expect_in(&r, r.err, "pipe is none");
	done(&r);
	free(full);
}

/* Each status, and that 3 outweighs 1. */
static void test_exit_status(void **state)
{
	static const struct {
		const char *args;
		int status;
	} cases[] = {
		{"good.nvt", 0},
		{"-c good.nvt", 0},
		{"--lint good.nvt", 0},
		{"--diff good.nvt good.nvt", 0},
		{"good.nvt --with good.nvt", 0},
		{"wrong.nvt", 0}, /* decoded; to judge is for --lint */
		{"--lint wrong.nvt", 1},
		{"--diff good.nvt wrong.nvt", 1},
		{"good.nvt --with wrong.nvt", 1},
		{"--nonsense good.nvt", 2},
		{"-f 'lat>1' good.nvt", 2},
		{"-o good.nvt good.nvt", 2},
		{"torn.nvt", 3},
		{"-c torn.nvt", 3},
		{"--lint torn.nvt", 3},
		{"--diff good.nvt torn.nvt", 3},
		{"torn.nvt --with good.nvt", 3},
		{"not-there", 3},
		{"good.nvt >/dev/full", 3},
		{"-o /dev/full -T html good.nvt", 3},
	};
	static const char *const names[] = {"good.nvt", "wrong.nvt", "torn.nvt"};
	char *full = realpath(program("NVTRACE", "nvtrace"), NULL);
	struct maker m;
	struct result r;
	size_t i;

	(void)state;
	assert_non_null(full);
	for (i = 0; i < 3; i++) {
		make(&m, names[i], 64);
		put_cmd(&m, 1, 5, NVME_OPC_READ, 1);
		put_cpl(&m, 1, 5, 1, 1000);
		put_cmd(&m, 1, 6, NVME_OPC_READ, 1);
		if (i > 0)
			put_cmd(&m, 1, 6, NVME_OPC_READ, 2); /* a CID that is in use */
		put_cpl(&m, 1, 6, 1, 1000);
		if (i == 2)
			m.trace->slot[1].check = 0;
		nvme_trace_close(m.trace);
	}
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r, "cd %s; %s %s", dir, full, cases[i].args);
		if (r.status != cases[i].status)
			fprintf(stderr, "%s\n", cases[i].args);
		expect_status(&r, cases[i].status);
		done(&r);
	}
	free(full);
}

/* Fields that are not known are said once, at the end, and a latency-format of no known kind. */
static void test_strange_ftrace(void **state)
{
	static const char line[] = "nvme_setup_cmd: nvme0: qid=1, cmdid=%s, nsid=1, flags=0x0, "
				   "meta=0x0, cmd=(nvme_cmd_read slba=8, len=7, new=1)";
	struct result r;
	const char *at;

	(void)state;
	run(&r, "printf '%s\\n' 1 2 3 | %s --input ftrace", line, nvtrace());
	expect_status(&r, 0);
	expect_in(&r, r.out, "READ sqid:1 cid:3 nsid:1 lba:8 len:8");
	at = expect_in(&r, r.err,
	               "3 commands have fields that this nvtrace does not know (the first is new "
	               "in line 1)");
	assert_null(strstr(at, "fields"));
	done(&r);
	run(&r,
	    "printf '# tracer: nop\\n dd-1 0d..2. 5?? : nvme_sq: nvme0: qid=2, head=8, tail=9\\n' "
	    "| %s",
	    nvtrace());
	expect_status(&r, 3);
	expect_in(&r, r.err, "options/latency-format");
	done(&r);
}

static void test_problems(void **state)
{
	struct maker m;
	struct result r;

	(void)state;
	make(&m, "problems.nvt", 64);
	put_cpl(&m, 1, 9, 1, 1000);
	put_cmd(&m, 1, 5, NVME_OPC_READ, 1);
	put_cmd(&m, 1, 5, NVME_OPC_READ, 2);
	put_cpl(&m, 1, 5, 1, 60000);
	put_cmd(&m, 2, 7, NVME_OPC_WRITE, 3);
	nvme_trace_close(m.trace);
	run(&r, "%s -v --latency --no-prefix %s", nvtrace(), image("problems.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.err,
	          "completions without a command: 1, commands without a completion: 2, "
	          "other oddities: 1");
	expect_in(&r, r.out,
	          "cid:9 cdw0:0 sqhd:0000 p:1 m:0 dnr:0  # 0 outstanding, no command "
	          "with this CID is outstanding on its queue\n");
	expect_in(&r, r.out,
	          "lba:2 len:8 PRP1 0x1000 PRP2 0x0  # 1 outstanding, its CID is in "
	          "use");
	expect_in(&r, r.out, "cid:5 cdw0:0 sqhd:0000 p:1 m:0 dnr:0  # 60.000 us, 0 outstanding\n");
	expect_in(&r, r.out,
	          "WRITE sqid:2 cid:7 nsid:1 lba:3 len:8 PRP1 0x1000 PRP2 0x0  # it "
	          "never completed\n");
	done(&r);
}

/* ---- pairing, where no recorder of ours is involved ---- */

static struct rec command(uint16_t qid, uint16_t cid, uint8_t opc)
{
	struct rec rec;

	memset(&rec, 0, sizeof(rec));
	rec.kind = REC_COMMAND;
	rec.has = HAS_QID | HAS_TIME;
	rec.cmd_have = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	rec.qid = qid;
	rec.cmd.cid = cid;
	rec.cmd.opc = opc;
	return rec;
}

static struct rec completion(uint16_t qid, uint16_t cid)
{
	struct rec rec;

	memset(&rec, 0, sizeof(rec));
	rec.kind = REC_COMPLETION;
	rec.has = HAS_QID | HAS_TIME;
	rec.qid = qid;
	rec.cpl.cid = cid;
	return rec;
}

/* Old kernels: the command's CID has a generation in its upper bits, the completion's has not. */
static void test_pair_generation(void **state)
{
	struct pairing *p = pairing_new();
	struct rec rec;

	(void)state;
	assert_non_null(p);
	rec = command(1, 0x3007, NVME_OPC_READ);
	rec.number = 1;
	pairing_record(p, &rec);
	rec = command(1, 0x1007, NVME_OPC_WRITE);
	rec.number = 2;
	pairing_record(p, &rec);
	rec = completion(1, 7);
	pairing_record(p, &rec);
	assert_int_equal(rec.cmd_number, 2); /* the newest */
	assert_int_equal(rec.of.opc, NVME_OPC_WRITE);
	assert_null(rec.problem);
	rec = completion(1, 7);
	rec.has |= HAS_PHASE; /* no such kernel: no guessing */
	pairing_record(p, &rec);
	assert_non_null(rec.problem);
	rec = completion(2, 7);
	pairing_record(p, &rec);
	assert_non_null(rec.problem);
	pairing_free(p);
}

/* QEMU's log: the completion names its completion queue only. */
static void test_pair_shared_cq(void **state)
{
	struct pairing *p = pairing_new();
	struct rec rec;
	uint16_t sq;

	(void)state;
	assert_non_null(p);
	for (sq = 2; sq <= 3; sq++) {
		rec = command(0, sq, NVME_OPC_CREATE_IO_SQ);
		rec.cmd.cdw10 = sq;
		rec.cmd.cdw11 = 1u << 16;
		pairing_record(p, &rec);
	}
	rec = command(3, 4, NVME_OPC_READ);
	rec.number = 9;
	pairing_record(p, &rec);
	rec = completion(1, 4);
	pairing_record(p, &rec);
	assert_int_equal(rec.cmd_number, 9);
	assert_null(rec.problem);
	for (sq = 2; sq <= 3; sq++) {
		rec = command(sq, 5, NVME_OPC_READ);
		rec.number = sq;
		pairing_record(p, &rec);
	}
	rec = completion(1, 5);
	pairing_record(p, &rec);
	assert_int_equal(rec.cmd_number, 2);
	assert_non_null(rec.problem);
	pairing_free(p);
}

/* Nothing ever completes: memory stays bounded, the oldest are forgotten. */
static void test_pair_bounded(void **state)
{
	struct pairing *p = pairing_new();
	struct rec rec;
	uint32_t i, left = 0;

	(void)state;
	assert_non_null(p);
	for (i = 0; i < PAIRING_MAX_OPEN + 1000; i++) {
		rec = command((uint16_t)(i >> 16), (uint16_t)i, NVME_OPC_READ);
		rec.number = i + 1;
		pairing_record(p, &rec);
	}
	while (pairing_next_open(p, &rec))
		assert_int_equal(rec.number, 1001 + left++);
	assert_int_equal(left, PAIRING_MAX_OPEN);
	assert_int_equal(pairing_forgotten(p), 1000);
	pairing_free(p);
}

/* They are counted all the same. */
static void test_forgotten(void **state)
{
	const uint32_t all = PAIRING_MAX_OPEN + 1000;
	struct maker m;
	struct result r;
	char say[80];
	uint32_t i;

	(void)state;
	make(&m, "forgotten.nvt", all);
	for (i = 0; i < all; i++)
		put_cmd(&m, (uint16_t)(i >> 16), (uint16_t)i, NVME_OPC_READ, i);
	nvme_trace_close(m.trace);
	run(&r, "%s %s | wc -l", nvtrace(), image("forgotten.nvt"));
	snprintf(say, sizeof(say), " commands without a completion: %" PRIu32 ",", all);
	expect_in(&r, r.err, say);
	done(&r);
	run(&r, "%s -c %s", nvtrace(), image("forgotten.nvt"));
	snprintf(say, sizeof(say), "\n%" PRIu32 " commands without a completion\n", all);
	expect_in(&r, r.out, say);
	done(&r);
	remove(image("forgotten.nvt"));
}

/* ---- --hex ---- */

static void test_hex(void **state)
{
	char *rows = read_file("tests/fixtures/spdk-v23.05-text-sample.tsv", NULL);
	char *save = NULL, *row, *qid, *text;
	const char *name = image("hex.in");
	FILE *in = fopen(name, "w");
	struct result r;
	const char *at;
	int n = 0;

	(void)state;
	assert_non_null(in);
	for (row = rows; *row != '\0'; row = text + strlen(text) + 1, n++) {
		text = row + strcspn(row, "\n");
		*text = '\0';
		save = strchr(row, '\t');
		assert_non_null(save);
		qid = save + 1;
		fprintf(in, "%s %.*s %.*s\n", save - row == 128 ? "sqe" : "cqe",
		        (int)strcspn(qid, "\t"), qid, (int)(save - row), row);
	}
	fclose(in);
	assert_true(n > 100);
	run(&r, "%s --hex <%s", nvtrace(), name);
	expect_status(&r, 0);
	at = r.out;
	for (row = rows; n > 0; row += strlen(row) + 1, n--) {
		text = strchr(strchr(row, '\t') + 1, '\t') + 1;
		assert_memory_equal(at, text, strlen(text));
		at += strlen(text);
		assert_int_equal(*at++, '\n');
	}
	assert_string_equal(at, "");
	done(&r);
	free(rows);
}

#define ZERO_CQE "00000000000000000000000000000000"

static void test_hex_bad_lines(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "printf 'cqe 1 " ZERO_CQE "\\nnonsense\\ncqe 70000 " ZERO_CQE "\\ncqe 1 " ZERO_CQE
	    "00\\ncqe 1 0x\\nsqe 1 " ZERO_CQE "\\n\\ncqe 1 " ZERO_CQE " x\\nCQE 1 " ZERO_CQE
	    "\\ncqe\\t2 " ZERO_CQE "\\r\\n%%05000d\\ncqe 3 " ZERO_CQE "' 1 | %s --hex",
	    nvtrace());
	expect_status(&r, 3);
	assert_string_equal(r.out, "SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0000 p:0 m:0 dnr:0\n"
	                           "SUCCESS (00/00) qid:2 cid:0 cdw0:0 sqhd:0000 p:0 m:0 dnr:0\n"
	                           "SUCCESS (00/00) qid:3 cid:0 cdw0:0 sqhd:0000 p:0 m:0 dnr:0\n");
	expect_in(&r, r.err, "line 2: it does not begin with sqe or cqe");
	expect_in(&r, r.err, "line 3: a queue number from 0 to 65535");
	expect_in(&r, r.err, "line 4: a CQE has 32");
	expect_in(&r, r.err, "line 5: a CQE has 32");
	expect_in(&r, r.err, "line 6: an SQE has 128");
	expect_in(&r, r.err, "line 7: ");
	expect_in(&r, r.err, "line 8: something follows");
	expect_in(&r, r.err, "line 9: ");
	expect_in(&r, r.err, "line 11: it is too long");
	assert_null(strstr(r.err, "line 10:"));
	assert_null(strstr(r.err, "line 12:"));
	done(&r);
}

static void test_style(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "printf 'sqe 0 80000100ffffffff%%0112d\\ncqe 0 0100000000000000000000000100%%s\\n' 0 "
	    "0100 | %s --hex --style v26",
	    nvtrace());
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "FORMAT NVM (128) qid:0 cid:1 nsid:4294967295 cdw10:00000000 "
	                    "cdw11:00000000 \n"
	                    "SUCCESS (00/00) qid:0 cid:1 cdw0:00000001 sqhd:0000 p:1 m:0 dnr:0\n");
	done(&r);
}

/* ---- filters ---- */

static void expect_lines(const char *filter, int lines)
{
	struct result r;

	run(&r, "%s --no-prefix -f '%s' %s | wc -l", nvtrace(), filter, image("filter.nvt"));
	if (atoi(r.out) != lines)
		fprintf(stderr, "filter %s\n", filter);
	assert_int_equal(atoi(r.out), lines);
	done(&r);
}

static void test_filter(void **state)
{
	struct maker m;

	(void)state;
	make(&m, "filter.nvt", 64);
	put_cmd(&m, 1, 5, NVME_OPC_READ, 100);
	put_cmd(&m, 1, 6, NVME_OPC_WRITE, 0x500000000);
	put_cmd(&m, 2, 5, NVME_OPC_FLUSH, 0);
	put_cpl(&m, 1, 5,
	        (uint16_t)NVME_SET(2, NVME_CPL_SCT) | (uint16_t)NVME_SET(0x81, NVME_CPL_SC) |
	                (uint16_t)NVME_SET(1, NVME_CPL_DNR) | 1,
	        100000);
	put_cpl(&m, 1, 6, 1, 1000);
	put_cpl(&m, 2, 5, 0, 1000);
	put_cmd(&m, 0, 0, NVME_OPC_CREATE_IO_SQ, 1);
	put_cpl(&m, 0, 0, 1, 1000000);
	nvme_trace_close(m.trace);
	expect_lines("qid>=0", 8);
	expect_lines("qid==1", 4);
	expect_lines("qid = 1 && cid==5", 2);
	expect_lines("opc==read", 2);
	expect_lines("opc==write", 2); /* not Create I/O SQ, which has the same number */
	expect_lines("opc==1", 4);
	expect_lines("opc==create-sq", 2);
	expect_lines("opc!=read", 6);
	expect_lines("lba in 100..200", 2);
	expect_lines("lba==0x500000000", 2);
	expect_lines("lba==0", 0); /* Flush has none */
	expect_lines("nlb==7", 4); /* 0-based */
	expect_lines("len==8", 4);
	expect_lines("len<8", 0);
	expect_lines("status!=0", 1);
	expect_lines("status==2/81", 1);
	expect_lines("status in 2/00..2/ff", 1);
	expect_lines("sct==2 && sc==0x81 && dnr", 1);
	expect_lines("status==0", 3); /* commands have no status */
	expect_lines("!(status==0)", 5);
	expect_lines("lat>102us", 1);
	expect_lines("lat>0.9ms || lat<=102us", 4);
	expect_lines("lat > 100us && lat < 0.2ms", 3);
	expect_lines("phase==0", 1);
	expect_lines("kind==command", 4);
	expect_lines("kind!=command&&!(qid==0)", 3);
	expect_lines("time<=2us", 3);
	expect_lines("prp1==0x1000", 8);
	expect_lines("ctrlr==0 && nsid==1", 8);
	expect_lines("sqhd==0", 4);
	expect_lines("qid==1 && opc==read && lba in 100..200 && status!=0 && lat>50us", 1);
	expect_lines("qid==1 && opc==read || qid==2 && opc==flush", 4);
	expect_lines("qid==1 && (opc==read || qid==2) && kind==completion", 1);
	expect_lines("((((!!!!(qid==1)))))", 4);
}

static void test_filter_errors(void **state)
{
	static const struct {
		const char *filter;
		int column;
		const char *why;
	} cases[] = {
		{"", 1, "a comparison is missing"},
		{"qid==1 &&", 10, "a comparison is missing"},
		{"qid==1 & cid==2", 8, "&& or || must follow"},
		{"quid==1", 1, "there is no field"},
		{"qid=>1", 5, "a number is missing"},
		{"qid 1", 5, "an operator is missing"},
		{"qid==1x", 7, "does not belong to the value"},
		{"qid==0x", 6, "hexadecimal digits must follow"},
		{"qid==99999999999999999999", 6, "too large"},
		{"opc==raed", 6, "a command of this name"},
		{"lat>50", 7, "a unit is missing"},
		{"lat>50m", 7, "a unit is missing"},
		{"lba in 200..100", 13, "ends before it begins"},
		{"lba in 200", 11, "must follow"},
		{"(qid==1", 1, "is not closed"},
		{"qid==1)", 7, "was not opened"},
		{"status==2/", 11, "a status code must follow"},
		{"status==9/00", 9, "a status goes from"},
		{"==1", 1, "a field is missing"},
	};
	char deep[4096], want[64];
	struct result r;
	const char *at;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r, "%s -f '%s' /dev/null", nvtrace(), cases[i].filter);
		expect_status(&r, 2);
		expect_in(&r, r.err, cases[i].why);
		at = strchr(r.err, '\n');
		assert_non_null(at);
		snprintf(want, sizeof(want), "\n  %.40s\n  %*s\n", cases[i].filter, cases[i].column,
		         "^");
		if (strcmp(at, want) != 0)
			show(&r);
		assert_string_equal(at, want);
		done(&r);
	}
	memset(deep, '(', sizeof(deep));
	deep[sizeof(deep) - 1] = '\0';
	run(&r, "%s -f '%s' /dev/null", nvtrace(), deep);
	expect_status(&r, 2);
	expect_in(&r, r.err, "nested too deep");
	done(&r);
}

/* ---- the rest ---- */

static void expect_output(const char *args, const char *what)
{
	struct result r;

	run(&r, "%s %s %s", nvtrace(), args, image("out.nvt"));
	expect_status(&r, 0);
	expect_in(&r, r.out, what);
	done(&r);
}

static void test_text_options(void **state)
{
	struct result live;
	size_t size;

	(void)state;
	free(record("out.nvt", 400, &size, &live));
	done(&live);
	expect_output("--no-prefix", "\nIDENTIFY (06) qid:0 cid:0 nsid:0 cdw10:00000001 ");
	expect_output("-t", "[0.000000000] nvme.h:");
	expect_output("-d --no-prefix", " 0.000000000 [soft] attaching");
	expect_output("-v", "doorbell SQ0TDBL = 1 (was 0)");
	expect_output("-v", "write CC (14h) <- 0x460061");
	expect_output("-H", "      [19:16] IOSQES : 0x6 64 bytes\n");
	expect_output("-H", "      [7:0] CNS : 0x1 CONTROLLER\n");
	expect_output("-H", "      [15:0] NLB : 0 1 block\n");
	expect_output("-H", "      [24:17] SC : 0 SUCCESS\n");
	expect_output("--explain", "[NVM 1.1 §3.3.4: Read command]");
	expect_output("--explain", "[Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]");
	expect_output("--latency", " us, 0 outstanding\n");
	expect_output("--color --no-prefix", "\033[36mIDENTIFY (06) qid:0 ");
	expect_output("--color=always --no-prefix", "\033[0m\033[32mSUCCESS (00/00) qid:0 ");
}

/* What an event request was completed for; one that failed tells nothing. */
static void test_event_fields(void **state)
{
	static const char log[] =
		"[2026-08-21 10:00:00.000001] nvme_qpair.c: 223:nvme_admin_qpair_print_command: "
		"*NOTICE*: ASYNC EVENT REQUEST (0c) qid:0 cid:5 nsid:0 cdw10:00000000 "
		"cdw11:00000000 \n"
		"[2026-08-21 10:00:00.000002] nvme_qpair.c: 474:spdk_nvme_print_completion: "
		"*NOTICE*: %s qid:0 cid:5 cdw0:20101 sqhd:0000 p:0 m:0 dnr:0\n";
	struct result r;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		const char *name = image("event.log");
		FILE *file = fopen(name, "w");

		assert_non_null(file);
		assert_true(fprintf(file, log,
		                    i == 0 ? "SUCCESS (00/00)" : "INVALID FIELD (00/02)") > 0);
		fclose(file);
		run(&r, "%s -H %s", nvtrace(), name);
		if (i == 0) {
			expect_in(&r, r.out, "[23:16] LID : 0x2 SMART / HEALTH INFORMATION\n");
			expect_in(&r, r.out, "[15:8] INFO : 0x1 TEMPERATURE THRESHOLD\n");
			expect_in(&r, r.out, "[2:0] TYPE : 0x1 SMART / HEALTH STATUS\n");
		} else {
			assert_null(strstr(r.out, "] LID"));
		}
		done(&r);
	}
}

/* Codes that SPDK has no word for: its line stays as it is, -H and --explain know better. */
static void test_names_beyond_spdk(void **state)
{
	static const char log[] =
		"[2026-08-21 10:00:00.000001] nvme_qpair.c: 213:nvme_admin_qpair_print_command: "
		"*NOTICE*: GET FEATURES RESERVED cid:1 cdw10:00000016 PRP1 0x1000 PRP2 0x0\n"
		"[2026-08-21 10:00:00.000002] nvme_qpair.c: 474:spdk_nvme_print_completion: "
		"*NOTICE*: COMMAND SPECIFIC (01/2e) qid:0 cid:1 cdw0:0 sqhd:0000 p:0 m:0 dnr:0\n"
		"[2026-08-21 10:00:00.000003] nvme_qpair.c: 223:nvme_admin_qpair_print_command: "
		"*NOTICE*: ADMIN COMMAND (24) qid:0 cid:2 nsid:0 cdw10:00000000 cdw11:00000000 \n"
		"[2026-08-21 10:00:00.000004] nvme_qpair.c: 474:spdk_nvme_print_completion: "
		"*NOTICE*: GENERIC (00/23) qid:0 cid:2 cdw0:0 sqhd:0000 p:0 m:0 dnr:0\n"
		"[2026-08-21 10:00:00.000005] nvme_qpair.c: 243:nvme_io_qpair_print_command: "
		"*NOTICE*: IO COMMAND (7d) sqid:1 cid:3 nsid:1\n";
	static const char *const more[] = {
		"[7:0] FID : 0x16 HOST BEHAVIOR SUPPORT\n",
		"Feature Identifier (FID) is 22: HOST BEHAVIOR SUPPORT.\n",
		"[24:17] SC : 0x2e NAMESPACE IS DISPERSED\n",
		"status code 2eh (NAMESPACE IS DISPERSED)",
		"[7:0] OPC : 0x24 LOCKDOWN\n",
		"It is LOCKDOWN (24h): nvtrace knows no more of it. [Base 2.1: Admin Command "
		"Set]\n",
		"It completes the LOCKDOWN with CID 2.\n",
		"[24:17] SC : 0x23 COMMAND PROHIBITED BY COMMAND AND FEATURE LOCKDOWN\n",
		"[7:0] OPC : 0x7d ZONE APPEND\n",
	};
	const char *name = image("beyond.log");
	FILE *file = fopen(name, "w");
	struct result r;
	size_t i;

	(void)state;
	assert_non_null(file);
	assert_true(fputs(log, file) >= 0);
	fclose(file);
	run(&r, "%s %s", nvtrace(), name);
	assert_string_equal(r.out, log);
	done(&r);
	run(&r, "%s -H --explain %s", nvtrace(), name);
	for (i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		expect_in(&r, r.out, more[i]);
	done(&r);
}

static void test_usage(void **state)
{
	static const struct {
		const char *args;
		int status;
		const char *says;
	} cases[] = {
		{"--input x", 2, "--input x: no such input"},
		{"-T x", 2, "-T x: no such format"},
		{"--style x", 2, "--style x: no such style"},
		{"-c --lint", 2, "--lint does not go with -c"},
		{"--hex x", 2, "'x' is one file too many"},
		{"a b", 2, "'b' is one file too many"},
		{"--diff a", 2, "--diff needs two files"},
		{"--with a", 2, "--with needs a file"},
		{"--hex -f qid", 2, "-f does not go with --hex"},
		{"--nonsense", 2, "nonsense"},
		{"--since 2", 2, "--since 2: a unit is missing here"},
		{"--until x", 2, "--until x: this is no time"},
		{"--until s", 2, "--until s: a number is missing here"},
		{"--since '1s || qid'", 2, "--since 1s || qid: this is no time"},
		{"--since 2s --since 3s", 2, "--since is given twice"},
		{"--errors --lint", 2, "--errors does not go with --lint"},
		{"--since 2s --diff a b", 2, "--since does not go with --diff"},
		{"--until 2s a --with b", 2, "--until does not go with --with"},
		{"-A 1", 2, "-A and -B are for the text of what -f"},
		{"-B 1 --errors -c", 2, "-A and -B are for the text of what -f"},
		{"-B 1001 --errors", 2, "-B 1001: a number up to 1000 is meant"},
		{"-A -1 --errors", 2, "-A -1: a number up to 1000 is meant"},
		{"--color=pink", 2, "--color=pink: auto, always or never is meant"},
		{"--top 5", 2, "--top is for -c"},
		{"--top 5x -c", 2, "--top 5x: a number up to 100000 is meant"},
		{"/nonexistent", 3, "/nonexistent: No such file"},
		{"/dev/null", 3, "it is empty"},
		{"/", 3, "/: "},
		{"tests/test_nvtrace.c", 3, "no trace that nvtrace knows"},
		{"--hex -o /nonexistent/x", 3, "cannot write /nonexistent/x"},
		{"--hex -o tests", 3, "cannot write tests (Is a directory)"},
		{"--hex --input qemu", 2, "--input does not go with --hex"},
		{"--input qemu,x --diff a b", 2, "--input qemu,x: no such input"},
		{"--input qemu,nvt a", 2, "--input qemu,nvt is for two files"},
		{"--diff - -", 2, "only one of its files from standard input"},
		{"- --with a", 2, "standard input is none"},
		{"--diff /nonexistent /dev/null", 3, "/nonexistent: No such file"},
		{"/dev/null --with /nonexistent", 3, "/nonexistent: No such file"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r, "%s %s", nvtrace(), cases[i].args);
		expect_status(&r, cases[i].status);
		expect_in(&r, r.err, cases[i].says);
		assert_string_equal(r.out, "");
		done(&r);
	}
	run(&r, "%s --help", nvtrace());
	expect_status(&r, 0);
	expect_in(&r, r.out, "usage: nvtrace");
	done(&r);
}

/* The options that a command prints, one on each line. */
static char *options_of(const char *command)
{
	struct result r;
	char *all;

	run(&r, "%s | grep -oE -- '(^|[ [\"])--?[a-zA-Z][a-z-]*' | tr -d ' [\"' | sort -u",
	    command);
	expect_status(&r, 0);
	all = strdup(r.out);
	assert_non_null(all);
	done(&r);
	return all;
}

/* Help, manual and completion know the same options. */
static void test_options_are_everywhere(void **state)
{
	char command[512], *help, *other;

	(void)state;
	snprintf(command, sizeof(command), "%s --help", nvtrace());
	help = options_of(command);
	assert_non_null(strstr(help, "--since\n"));
	other = options_of("sed 's/\\\\-/-/g; s/\\\\f[A-Z]/ /g' docs/nvtrace.1");
	assert_string_equal(other, help);
	free(other);
	other = options_of("bash -c '. tools/nvtrace.bash; COMP_WORDS=(nvtrace -); COMP_CWORD=1; "
	                   "_nvtrace; printf \"%s\\n\" \"${COMPREPLY[@]}\"'");
	assert_string_equal(other, help);
	free(other);
	free(help);
}

static void expect_packed(const char *command, int status, const char *says)
{
	struct result r;

	run(&r, "N=$(realpath %s) && cd %s && %s", nvtrace(), dir, command);
	expect_status(&r, status);
	expect_in(&r, r.err, says);
	done(&r);
}

/* Packed by gzip or xz, from a file or a pipe, whatever its name is, and not the whole of it. */
static void test_packed(void **state)
{
	struct result live;
	size_t size;

	(void)state;
	free(record("out.nvt", 400, &size, &live));
	done(&live);
	expect_packed("$N out.nvt >a && gzip -c out.nvt >p && $N p | cmp - a && $N - <p | cmp - a && "
	              "cat p | $N --input nvt --no-prefix | grep -q READ; "
	              "$N --input nvt p | cmp - a",
	              0, "");
	expect_packed("xz -c out.nvt >p && $N p | cmp - a && cat p | $N | cmp - a", 0, "");
	/* two are one; tapes have zeros behind the last */
	expect_packed("$N --no-prefix out.nvt >b && (printf '[%s] nvme_qpair.c: 1:f: *NOTICE*: "
	              "FLUSH sqid:1 cid:7 nsid:1\n' '2026-08-21 10:00:00.000001' | tee one | gzip; "
	              "gzip -c one; head -c 100 /dev/zero) >p && "
	              "test $($N --input spdk p | grep -c FLUSH) = 2",
	              0, "");
	expect_packed("gzip -c out.nvt | head -c 2000 >p && $N p >b; rc=$?; test $(wc -l <b) -gt 10 && "
	              "exit $rc",
	              3,
	              "p: it cannot be read to its end: its packed data is damaged or cut: get the file once more\n");
	expect_packed("xz -c out.nvt | head -c 2000 >p && $N p >b; rc=$?; test $(wc -l <b) -gt 10 && "
	              "exit $rc",
	              3,
	              "p: it cannot be read to its end: its packed data is damaged or cut: get the file once more\n");
	expect_packed("printf '\\037\\213\\010 and no more' >p && $N p", 3,
	              "p: its packed data is damaged or cut: get the file once more\n");
	expect_packed("printf '\\3757zXZ\\0 and no more' >p && $N p", 3,
	              "p: its packed data is damaged or cut: get the file once more\n");
}

/* What a source holds beyond printable characters does not reach the terminal. */
static void test_control_characters(void **state)
{
	struct result r;
	const char *c;

	(void)state;
	run(&r,
	    "printf 'x-1 [000] 1.0: nvme_setup_cmd: \\177\\033[31mbad\\n' | %s --input ftrace -",
	    getenv("NVTRACE") != NULL ? getenv("NVTRACE") : "$BUILD/nvtrace");
	expect_status(&r, 3);
	expect_in(&r, r.err, "bad");
	for (c = r.err; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c != 0x7f));
	done(&r);
}

/* C1 is obeyed as a byte and in UTF-8; letters have the same bytes in their middle and stay. */
static void test_c1(void **state)
{
	static const char hostile[] =
		"a\x9b"
		"31m b\xc2\x9b"
		"2J c\xc2\x85 d\xe0\x82\x9b e\xc0\x9b "
		"f\xf0\x80\x82\x9b g\x1b[ \xc3\x9b\xe2\x82\x9b\xf0\x9f\x98\x80 "
		"h\xed\xa0\x9b i\x7f j\xe2\x9b";
	static const char *const ways[] = {"$n -v %s",           "$n -v --style v26 -H %s",
	                                   "$n -v --explain %s", "$n -c %s",
	                                   "$n --diff %s b.nvt", "$n %s --with b.nvt",
	                                   "$n --lint %s",       "$n -T csv %s",
	                                   "$n -T svg %s",       "$n -T html %s",
	                                   "$n -T json %s",      "$n -T perfetto %s"};
	static const char *const letters[] = {"\xc3\x9b", "\xe2\x82\x9b", "\xf0\x9f\x98\x80"};
	static const char *const files[] = {"a.nvt", "a.qemu", "a.spdk", "a.ftrace"};
	const struct nvme__log_place place = {"nvme.h", 7, "f"};
	const struct nvme_trace_attach attach = {.name = "n\xc2\x9b", .access = "\x9b"};
	char *full = realpath(program("NVTRACE", "nvtrace"), NULL);
	char line[200], *p, *end;
	struct maker m;
	struct result r;
	size_t i, k, n, text;
	FILE *f;

	(void)state;
	for (k = 0; k < 2; k++) {
		make(&m, k == 0 ? "a.nvt" : "b.nvt", 64);
		nvme__trace_put(&m.log, m.now, NVME_TRACE_ATTACH, 1, 0, &attach, sizeof(attach));
		put_cmd(&m, 1, (uint16_t)k, NVME_OPC_READ, 1);
		nvme__trace_log(&m.log, m.now, &place, NVME_LOG_NOTICE, k == 0 ? hostile : "x");
		nvme_trace_close(m.trace);
	}
	for (k = 1; k < 4; k++) {
		f = fopen(image(files[k]), "w");
		assert_non_null(f);
		fprintf(f,
		        k == 1 ? "pci_nvme_err_x %s\npci_nvme_irq_pin pulsing\npci_nvme_aer cid %s\n"
		        : k == 2
		                ? "nvme.c: 1:f: *NOTICE*: %s\nnvme.c: 1:nvme_x_print_command: *NOTICE*: %s\n"
		                : "nvme_async_event: nvme1: NVME_AEN=0x000302 [%s]\nnvme_sq: %s\n",
		        hostile, hostile);
		fclose(f);
	}
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (k = 0; k < 4; k++) {
			snprintf(line, sizeof(line), ways[i], files[k]);
			run(&r, "cd %s; n=%s; %s", dir, full, line);
			for (text = 0; text < 2; text++) {
				p = text == 0 ? r.out : r.err;
				for (n = 0; n < 3; n++)
					while ((end = strstr(p, letters[n])) != NULL)
						memset(end, '_', strlen(letters[n]));
				for (; *p != '\0'; p++)
					if ((unsigned char)*p >= 0x7f && (unsigned char)*p < 0xa0) {
						fprintf(stderr, "%s: %02x\n", line,
						        (unsigned char)*p);
						fail();
					}
			}
			if (i == 0 && k == 0)
				expect_in(&r, r.out,
				          "a\\x9b31m b\xc2\\x9b2J c\xc2\\x85 d\xe0\\x82\\x9b");
			if (i == 0 && k == 0)
				expect_in(&r, r.out, "g\\x1b[ _________ h");
			done(&r);
		}
	free(full);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_c1),
		cmocka_unit_test(test_live_log),
		cmocka_unit_test(test_live_log_of_errors),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_damaged_slot),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_threads_interleaved),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_gave_way),
		cmocka_unit_test(test_written_meanwhile),
		cmocka_unit_test(test_copied_meanwhile),
		cmocka_unit_test(test_unknown_kinds),
		cmocka_unit_test(test_input_is_kept),
		cmocka_unit_test(test_output_is_replaced),
		cmocka_unit_test(test_damage_of_two),
		cmocka_unit_test(test_input_of_two),
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_strange_ftrace),
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_pair_generation),
		cmocka_unit_test(test_pair_shared_cq),
		cmocka_unit_test(test_pair_bounded),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_hex_bad_lines),
		cmocka_unit_test(test_style),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_errors),
		cmocka_unit_test(test_text_options),
		cmocka_unit_test(test_event_fields),
		cmocka_unit_test(test_names_beyond_spdk),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_options_are_everywhere),
		cmocka_unit_test(test_packed),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
