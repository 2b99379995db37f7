// SPDX-License-Identifier: MIT
/*
 * The flight recorder: what is in the file, when it is there, and what becomes of it when it is
 * full, shared by threads, or left by a program that was killed; and that a program whose recorder
 * cannot record goes on without. RUN_IO in the environment names another build of run_io.
 */
#define _GNU_SOURCE
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "run.h"
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

struct trace_file {
	struct nvme_trace_header header;
	const struct nvme_trace_slot *slot;
	uint8_t *data;
};

static struct trace_file load(const char *path)
{
	struct trace_file t;
	size_t size;

	t.data = (uint8_t *)read_file(path, &size);
	assert_true(size >= 128);
	memcpy(&t.header, t.data, sizeof(t.header));
	assert_memory_equal(t.header.magic, NVME_TRACE_MAGIC, 8);
	assert_int_equal(t.header.version, NVME_TRACE_VERSION);
	assert_int_equal(t.header.byte_order, NVME_TRACE_BYTE_ORDER);
	assert_int_equal(t.header.slot_size, sizeof(struct nvme_trace_slot));
	assert_int_equal(size, (t.header.slots + 1) * sizeof(struct nvme_trace_slot));
	t.slot = (const struct nvme_trace_slot *)(const void *)t.data + 1;
	return t;
}

/* The slot with this number, which must be whole. */
static const struct nvme_trace_slot *slot(const struct trace_file *t, uint64_t seq)
{
	const struct nvme_trace_slot *s = &t->slot[(seq - 1) % t->header.slots];

	assert_int_equal(s->seq, seq);
	assert_int_equal(s->check, ~seq);
	assert_true(s->len <= NVME_TRACE_PAYLOAD);
	return s;
}

static unsigned int count_kind(const struct trace_file *t, uint16_t kind)
{
	unsigned int n = 0;
	uint64_t seq;

	for (seq = 1; seq < t->header.next; seq++)
		n += slot(t, seq)->kind == kind;
	return n;
}

/* Attaches, writes and reads one block, detaches; everything recorded to path. */
static void record(const char *path, uint64_t slots, uint32_t blocks)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_trace *trace;
	struct nvme_ctrlr *ctrlr;
	uint8_t *buf;
	uint32_t i;

	assert_int_equal(nvme_trace_open(path, slots, &trace), 0);
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log_level = NVME_LOG_ERROR;
	opts.trace = trace;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	buf = nvme_dma_alloc(ctrlr, 131072);
	for (i = 0; i < blocks; i++) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);

		assert_int_equal(nvme_ns_write(ns, NULL, buf, i, 1, NULL), 0);
		assert_int_equal(nvme_ns_read(ns, NULL, buf, i, 1, NULL), 0);
	}
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), NULL, buf, 0, 256, NULL), 0);
	nvme_dma_free(ctrlr, buf);
	assert_int_equal(nvme_detach(ctrlr), 0);
	nvme_trace_close(trace);
}

static void test_events(void **state)
{
	const char *path = image("events.nvt");
	const struct nvme_trace_slot *s;
	struct nvme_trace_prp_list part;
	struct nvme_trace_attach attach;
	struct nvme_trace_prp prp;
	unsigned int listed = 0;
	struct trace_file t;
	uint64_t seq, last = 0;

	(void)state;
	record(path, 0, 3);
	t = load(path);
	assert_int_equal(t.header.slots, 65536);
	assert_int_equal(t.header.ctrlrs, 1);
	assert_string_equal(t.header.program, "test_trace");
	/* commands: 4 Identify, Set Features, 2 to create, 7 for data, 2 to delete */
	assert_int_equal(count_kind(&t, NVME_TRACE_SQE), 16);
	assert_int_equal(count_kind(&t, NVME_TRACE_CQE), 16);
	assert_int_equal(count_kind(&t, NVME_TRACE_DOORBELL), 32);
	assert_int_equal(count_kind(&t, NVME_TRACE_ATTACH), 1);
	assert_int_equal(count_kind(&t, NVME_TRACE_DETACH), 1);
	assert_int_equal(count_kind(&t, NVME_TRACE_SQE_ERROR), 0);
	assert_true(count_kind(&t, NVME_TRACE_REG_WRITE) >= 7);
	assert_true(count_kind(&t, NVME_TRACE_DMA_MAP) >= 1);
	assert_int_equal(count_kind(&t, NVME_TRACE_DMA_UNMAP), 1);
	for (seq = 1; seq < t.header.next; seq++) {
		s = slot(&t, seq);
		assert_true(s->time_ns >= last && s->time_ns >= t.header.start_ns);
		last = s->time_ns;
		if (s->kind == NVME_TRACE_ATTACH) {
			memcpy(&attach, s->payload, sizeof(attach));
			assert_string_equal(attach.name, "soft");
			assert_int_equal(attach.vs, 0x20000);
			assert_int_equal(NVME_GET(attach.cap, NVME_CAP_MQES), 1023);
		} else if (s->kind == NVME_TRACE_PRP) {
			memcpy(&prp, s->payload, sizeof(prp));
		} else if (s->kind == NVME_TRACE_PRP_LIST) {
			memcpy(&part, s->payload, s->len);
			assert_int_equal(part.first, listed);
			assert_int_equal(part.entry[0], prp.prp1 + (listed + 1) * 4096);
			listed += part.count;
		}
	}
	assert_int_equal(prp.len, 131072);
	assert_int_equal(prp.nprp, 32);
	assert_int_equal(listed, 31);
	free(t.data);
}

/* A full file keeps the newest slots and says how many there were. */
static void test_wrap(void **state)
{
	const char *path = image("wrap.nvt");
	struct trace_file t;
	uint64_t seq;

	(void)state;
	record(path, 64, 100);
	t = load(path);
	assert_int_equal(t.header.slots, 64);
	assert_true(t.header.next > 1000);
	for (seq = t.header.next - 64; seq < t.header.next; seq++)
		slot(&t, seq);
	assert_int_equal(slot(&t, t.header.next - 1)->kind, NVME_TRACE_DETACH);
	free(t.data);
}

/* Threads that record at the same time lose nothing and mix nothing up. */
static struct nvme_dev shared_dev;

static void *emit(void *arg)
{
	uint8_t payload[NVME_TRACE_PAYLOAD];
	uint16_t i;

	memset(payload, *(int *)arg, sizeof(payload));
	for (i = 0; i < 10000; i++)
		nvme_trace_event(&shared_dev, NVME_TRACE_DEV_DATA, i, payload, sizeof(payload));
	return NULL;
}

static void test_threads(void **state)
{
	const char *path = image("threads.nvt");
	pthread_t thread[4];
	int name[4] = {1, 2, 3, 4};
	uint16_t next[5] = {0, 0, 0, 0, 0};
	struct nvme_log log;
	struct trace_file t;
	uint64_t seq;
	int i, k;

	(void)state;
	memset(&log, 0, sizeof(log));
	assert_int_equal(nvme_trace_open(path, 40000, &log.trace), 0);
	shared_dev.log = &log;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, emit, &name[i]), 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	nvme_trace_close(log.trace);
	t = load(path);
	assert_int_equal(t.header.next, 40001);
	for (seq = 1; seq <= 40000; seq++) {
		const struct nvme_trace_slot *s = slot(&t, seq);

		for (k = 1; k < NVME_TRACE_PAYLOAD; k++)
			assert_int_equal(s->payload[k], s->payload[0]);
		assert_int_equal(s->qid, next[s->payload[0]]++);
	}
	free(t.data);
}

/*
 * A slot is published last. A child is stepped through the recording of an event, instruction by
 * instruction, over the slot of an earlier one: whenever a reader would take the slot for whole, it
 * holds all of the one event or all of the other.
 */
enum { OLD_EVENT = 1, NEW_EVENT = 2 };

static __attribute__((noinline)) void put_event(const struct nvme_log *log, int event)
{
	uint8_t payload[NVME_TRACE_PAYLOAD];

	memset(payload, event, sizeof(payload));
	nvme__trace_put(log, (uint64_t)event, (uint16_t)event, event, (uint16_t)event, payload,
	                sizeof(payload));
}

static struct nvme_trace_slot whole_event(int event, uint32_t tid)
{
	struct nvme_trace_slot s;

	memset(&s, 0, sizeof(s));
	s.seq = s.time_ns = (uint64_t)event;
	s.tid = tid;
	s.kind = s.line = s.qid = (uint16_t)event;
	s.ctrlr = 7;
	s.len = sizeof(s.payload);
	memset(s.payload, event, sizeof(s.payload));
	s.check = ~s.seq;
	return s;
}

static void test_published_last(void **state)
{
	const volatile struct nvme_trace_slot *live;
	unsigned long steps[3] = {0, 0, 0}; /* while the slot holds nothing whole, old, new */
	struct nvme_trace_slot want[3], now;
	struct nvme_log log;
	int status, event;
	pid_t pid;

	(void)state;
	memset(&log, 0, sizeof(log));
	log.ctrlr = 7;
	assert_int_equal(nvme_trace_open(image("order.nvt"), 1, &log.trace), 0);
	put_event(&log, OLD_EVENT);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			raise(SIGSTOP);
		put_event(&log, NEW_EVENT);
		_exit(0);
	}
	want[OLD_EVENT] = whole_event(OLD_EVENT, (uint32_t)getpid());
	want[NEW_EVENT] = whole_event(NEW_EVENT, (uint32_t)pid);
	live = log.trace->slot;
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		now = *live; /* the child stands still */
		event = now.check == ~now.seq && now.seq != 0 ? (int)now.seq : 0;
		assert_in_range(event, 0, NEW_EVENT);
		if (event != 0)
			assert_memory_equal(&now, &want[event], sizeof(now));
		steps[event]++;
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(steps[0] > 0 && steps[OLD_EVENT] > 0 && steps[NEW_EVENT] > 0);
	nvme_trace_close(log.trace);
}

static void ignore(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg, (void)cpl;
}

/* A doorbell goes on where its last value ended, on a ring that wraps, one slot or several on. */
static void ring_doorbells(struct nvme_ctrlr *ctrlr)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	uint8_t *buf = nvme_dma_alloc(ctrlr, 512);
	unsigned int i, n;

	memset(&opts, 0, sizeof(opts));
	opts.entries = 8;
	assert_non_null(buf);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	for (n = 1; n < 8; n++) {
		for (i = 0; i < n; i++)
			assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0,
			                                  1, ignore, NULL, 0),
			                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), n);
	}
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	nvme_dma_free(ctrlr, buf);
}

static void test_doorbells(void **state)
{
	const char *path = image("doorbells.nvt");
	uint32_t last[2][2] = {{0, 0}, {0, 0}}; /* of each queue: SQ tail, CQ head */
	unsigned int rung[2][2] = {{0, 0}, {0, 0}};
	struct nvme_trace_doorbell db;
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct trace_file t;
	uint64_t seq;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log_level = NVME_LOG_ERROR;
	assert_int_equal(nvme_trace_open(path, 0, &opts.trace), 0);
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	ring_doorbells(ctrlr);
	assert_int_equal(nvme_detach(ctrlr), 0);
	nvme_trace_close(opts.trace);
	t = load(path);
	for (seq = 1; seq < t.header.next; seq++) {
		const struct nvme_trace_slot *s = slot(&t, seq);

		if (s->kind != NVME_TRACE_DOORBELL)
			continue;
		memcpy(&db, s->payload, sizeof(db));
		assert_in_range(s->qid, 0, 1);
		assert_in_range(db.cq, 0, 1);
		assert_int_equal(db.offset, 0x1000 + (2 * s->qid + db.cq) * 4);
		assert_int_equal(db.old_value, last[s->qid][db.cq]);
		assert_int_not_equal(db.new_value, db.old_value);
		last[s->qid][db.cq] = db.new_value;
		rung[s->qid][db.cq]++;
	}
	assert_int_equal(rung[1][0], 28); /* once for each command, */
	assert_true(rung[1][1] >= 7);     /* for completions at least once for each time reaped */
	assert_int_equal(last[1][0], 28 % 8);
	assert_int_equal(last[1][1], 28 % 8);
	free(t.data);
}

/* ---- how often the clock is looked at ---- */

struct resubmit {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint8_t *buf;
	int again; /* submit one more in so many callbacks from now, and never after that */
};

static void count_down(void *arg, const struct nvme_cpl *cpl)
{
	struct resubmit *r = (struct resubmit *)arg;

	assert_false(nvme_cpl_is_error(cpl));
	if (--r->again == 0)
		assert_int_equal(nvme_ns_cmd_read(r->ns, r->qp, r->buf, 0, 1, count_down, r, 0), 0);
}

#define PAUSE_US 2000

/* The times of the CQEs of queue 1, and that no time goes back. */
static unsigned int cqe_times(const struct trace_file *t, uint64_t *time_ns, unsigned int max)
{
	unsigned int n = 0;
	uint64_t seq;

	for (seq = 1; seq < t->header.next; seq++) {
		const struct nvme_trace_slot *s = slot(t, seq);

		if (seq > 1)
			assert_true(s->time_ns >= slot(t, seq - 1)->time_ns);
		if (s->kind == NVME_TRACE_CQE && s->qid == 1 && n < max)
			time_ns[n++] = s->time_ns;
	}
	return n;
}

/* PRPs, SQE and doorbell of a command of queue 1: three events in a row, one look at the clock. */
static void expect_one_look_per_submission(const struct trace_file *t, unsigned int commands)
{
	unsigned int n = 0;
	uint64_t seq;

	for (seq = 1; seq + 2 < t->header.next; seq++) {
		const struct nvme_trace_slot *s = slot(t, seq);

		if (s->kind != NVME_TRACE_PRP || s->qid != 1)
			continue;
		assert_int_equal(slot(t, seq + 1)->kind, NVME_TRACE_SQE);
		assert_int_equal(slot(t, seq + 2)->kind, NVME_TRACE_DOORBELL);
		assert_int_equal(slot(t, seq + 1)->time_ns, s->time_ns);
		assert_int_equal(slot(t, seq + 2)->time_ns, s->time_ns);
		n++;
	}
	assert_int_equal(n, commands);
}

/*
 * CQEs that are there together have one time, but not an older one than what a callback between
 * them recorded; and one that is left for the next call has a time of its own.
 */
static void test_looks(void **state)
{
	const char *path = image("looks.nvt");
	struct resubmit r = {NULL, NULL, NULL, 2};
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	uint64_t time_ns[16];
	struct trace_file t;
	int i;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log_level = NVME_LOG_ERROR;
	assert_int_equal(nvme_trace_open(path, 0, &opts.trace), 0);
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	r.ns = nvme_ctrlr_get_ns(ctrlr, 1);
	r.buf = nvme_dma_alloc(ctrlr, 512);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &r.qp), 0);
	for (i = 0; i < 6; i++)
		assert_int_equal(nvme_ns_cmd_read(r.ns, r.qp, r.buf, 0, 1, count_down, &r, 0), 0);
	assert_int_equal(nvme_qpair_process_completions(r.qp, 4), 4);
	for (i = 0; i < 3; i++) {
		usleep(PAUSE_US);
		assert_int_equal(nvme_qpair_process_completions(r.qp, 1), 1);
	}
	assert_int_equal(nvme_ctrlr_free_io_qpair(r.qp), 0);
	nvme_dma_free(ctrlr, r.buf);
	assert_int_equal(nvme_detach(ctrlr), 0);
	nvme_trace_close(opts.trace);
	t = load(path);
	expect_one_look_per_submission(&t, 7);
	assert_int_equal(cqe_times(&t, time_ns, 16), 7);
	assert_int_equal(time_ns[1], time_ns[0]);
	assert_true(time_ns[2] > time_ns[1]); /* the read that the callback submitted */
	assert_int_equal(time_ns[3], time_ns[2]);
	for (i = 4; i < 7; i++)
		assert_true(time_ns[i] >= time_ns[i - 1] + PAUSE_US * 1000);
	free(t.data);
}

/* ---- long PRP lists ---- */

#define LONG_LIST 2048u

static uint64_t list_memory[LONG_LIST / 511 + 2][512] __attribute__((aligned(4096)));

static void long_list(struct nvme_prp *prp, uint32_t pages)
{
	nvme__prp_init(prp, 4096, list_memory[0] + 500, 0x100000 + 500 * 8, LONG_LIST / 511 + 2,
	               4096);
	assert_int_equal(nvme_prp_list_append(prp, 0x40000000, pages * 4096), 0);
}

/* Instructions that a child takes to record the PRPs. */
static unsigned long steps_of_list(const struct nvme_log *log, const struct nvme_prp *prp)
{
	unsigned long steps = 0;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			raise(SIGSTOP);
		nvme__prp_list_print(log, 1, 2, prp, NULL, prp->prp_index * 4096);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		steps++;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return steps;
}

static void expect_long_list(const struct nvme_log *log, uint64_t seq, uint32_t pages)
{
	uint32_t i, listed = 0;

	for (; listed < pages - 1; listed += i, seq++) {
		const struct nvme_trace_slot *s = &log->trace->slot[seq - 1];
		struct nvme_trace_prp_list part;

		memcpy(&part, s->payload, sizeof(part));
		assert_int_equal(s->seq, seq);
		assert_int_equal(s->kind, NVME_TRACE_PRP_LIST);
		assert_int_equal(s->len, 8 + part.count * 8);
		assert_int_equal(part.cid, 2);
		assert_int_equal(part.first, listed);
		assert_int_equal(part.count, pages - 1 - listed < 10 ? pages - 1 - listed : 10);
		for (i = 0; i < part.count; i++)
			assert_int_equal(part.entry[i], 0x40000000 + (listed + i + 1) * 4096ull);
	}
}

/* A list of several pages is recorded as it is, and one eight times as long costs eight times. */
static void test_long_list(void **state)
{
	struct nvme_log log;
	struct nvme_prp prp;
	unsigned long steps;

	(void)state;
	memset(&log, 0, sizeof(log));
	assert_int_equal(nvme_trace_open(image("list.nvt"), 1000, &log.trace), 0);
	long_list(&prp, LONG_LIST / 8);
	steps = steps_of_list(&log, &prp);
	expect_long_list(&log, 2, LONG_LIST / 8);
	long_list(&prp, LONG_LIST);
	assert_true(log.trace->header->next < 100);
	log.trace->header->next = 101;
	assert_true(steps_of_list(&log, &prp) < 16 * steps);
	expect_long_list(&log, 102, LONG_LIST);
	nvme_trace_close(log.trace);
}

static void expect_list_line(void *arg, enum nvme_log_level level, const char *line)
{
	uint32_t *n = (uint32_t *)arg;
	char want[64];

	(void)level;
	if (*n == 0)
		snprintf(want, sizeof(want), "prp_index:0 virt_addr:(nil) len:%u",
		         LONG_LIST * 4096);
	else if (*n == 1)
		snprintf(want, sizeof(want), "prp1 = 0x40000000");
	else if (*n <= LONG_LIST)
		snprintf(want, sizeof(want), "prp[%u] = 0x%x", *n - 2,
		         0x40000000 + (*n - 1) * 4096);
	else
		snprintf(want, sizeof(want), "prp2 = 0x%x (PRP list)", 0x100000 + 500 * 8);
	assert_string_equal(strstr(line, "*DEBUG*: ") + 9, want);
	++*n;
}

static void test_long_list_printed(void **state)
{
	struct nvme_prp prp;
	struct nvme_log log;
	uint32_t lines = 0;

	(void)state;
	memset(&log, 0, sizeof(log));
	log.level = NVME_LOG_DEBUG;
	log.fn = expect_list_line;
	log.arg = &lines;
	long_list(&prp, LONG_LIST);
	nvme__prp_list_print(&log, 1, 2, &prp, NULL, LONG_LIST * 4096);
	assert_int_equal(lines, LONG_LIST + 2);
}

/* ---- other programs ---- */

static const char *run_io(void)
{
	return program("RUN_IO", "tests/run_io");
}

/* A program that records until it is killed. */
static pid_t start_recording(const char *path)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when this test fails */
	setenv("NVME_TRACE", path, 1);
	setenv("NVME_LOG", "error", 1);
	if (freopen("/dev/null", "w", stdout) != NULL)
		execl(run_io(), run_io(), "hold", "soft", (char *)NULL);
	perror(run_io());
	_exit(127);
}

static uint64_t events_so_far(const char *path)
{
	struct nvme_trace_header h;
	FILE *file = fopen(path, "rb");
	uint64_t n = 0;

	if (file == NULL)
		return 0;
	if (fread(&h, sizeof(h), 1, file) == 1 && memcmp(h.magic, NVME_TRACE_MAGIC, 8) == 0)
		n = h.next - 1;
	fclose(file);
	return n;
}

static void wait_for_events(pid_t pid, const char *path, uint64_t n)
{
	int i;

	for (i = 0; events_so_far(path) < n; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			fail_msg("%s has ended: build it with 'make %s'", run_io(), run_io());
		if (i == 60000 / 5)
			fail_msg("%s has recorded too little to %s in a minute", run_io(), path);
		usleep(5000);
	}
}

static void stop(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What was recorded before a program was killed is in the file. */
static void test_killed(void **state)
{
	const char *path = image("killed.nvt");
	struct trace_file t;
	pid_t pid;

	(void)state;
	pid = start_recording(path);
	wait_for_events(pid, path, 100);
	stop(pid);
	t = load(path);
	assert_true(t.header.next > 100);
	assert_int_equal(t.header.pid, pid);
	assert_string_equal(t.header.program, "run_io");
	slot(&t, t.header.next > t.header.slots ? t.header.next - t.header.slots + 8 : 1);
	free(t.data);
}

/* hello_world has done its work, and the recorder has said in one line why it does not record. */
static void expect_unrecorded(const struct result *r, const char *why)
{
	expect_status(r, 0);
	expect_in(r, r->out, "Hello world!");
	expect_in(r, r->err, why);
	if (strchr(r->err, '\n') != strrchr(r->err, '\n'))
		show(r);
	assert_ptr_equal(strchr(r->err, '\n'), strrchr(r->err, '\n'));
}

/* Two programs with the same NVME_TRACE: the second one leaves the file to the first. */
static void test_two_programs(void **state)
{
	const char *path = image("twice.nvt");
	struct trace_file t;
	struct result r;
	pid_t pid;

	(void)state;
	pid = start_recording(path);
	wait_for_events(pid, path, 100);
	run(&r, "NVME_TRACE=%s NVME_TRACE_SLOTS=64 NVME_LOG=error $BUILD/hello_world", path);
	expect_unrecorded(&r, "(another recorder writes to it): give each program its own, as "
	                      "NVME_TRACE=trace.%p.nvt does");
	done(&r);
	wait_for_events(pid, path, events_so_far(path) + 100);
	stop(pid);
	t = load(path);
	assert_int_equal(t.header.pid, pid);
	free(t.data);
	/* a lock ends with its program */
	run(&r, "NVME_TRACE=%s NVME_TRACE_SLOTS=64 NVME_LOG=error $BUILD/hello_world", path);
	expect_status(&r, 0);
	assert_string_equal(r.err, "");
	done(&r);
	t = load(path);
	assert_int_equal(t.header.slots, 64);
	free(t.data);
}

/* %p is the process id, as often as it stands there. */
static void test_pid_in_name(void **state)
{
	char name[128];
	struct trace_file t;
	struct result r;

	(void)state;
	run(&r,
	    "NVME_TRACE=%s/%%p-100%%-%%p.nvt NVME_LOG=error sh -c 'echo $$; exec "
	    "$BUILD/hello_world'",
	    dir);
	expect_status(&r, 0);
	assert_string_equal(r.err, "");
	snprintf(name, sizeof(name), "%s/%d-100%%-%d.nvt", dir, atoi(r.out), atoi(r.out));
	t = load(name);
	assert_int_equal(t.header.pid, atoi(r.out));
	free(t.data);
	done(&r);
	run(&r, "NVME_TRACE=%s/$(printf %%05000d 0) NVME_LOG=error $BUILD/hello_world", dir);
	expect_unrecorded(&r, "(File name too long): name a shorter one");
	done(&r);
}

/* A child records on into the file of its parent, as a thread of its own. */
static void test_fork(void **state)
{
	const char *path = image("fork.nvt");
	struct nvme_trace *second;
	struct nvme_log log;
	struct trace_file t;
	int status, i;
	pid_t pid;

	(void)state;
	memset(&log, 0, sizeof(log));
	assert_int_equal(nvme_trace_open(path, 10, &log.trace), 0);
	for (i = 1; i <= 3; i++) {
		if (i != 2) {
			put_event(&log, i);
			continue;
		}
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			put_event(&log, i);
			nvme_trace_close(log.trace);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	/* the child has closed it, but for the parent it is still locked */
	assert_int_equal(nvme_trace_open(path, 10, &second), -EBUSY);
	nvme_trace_close(log.trace);
	t = load(path);
	assert_int_equal(t.header.next, 4);
	assert_int_equal(slot(&t, 1)->tid, getpid());
	assert_int_equal(slot(&t, 2)->tid, pid);
	assert_int_equal(slot(&t, 3)->tid, getpid());
	free(t.data);
}

/* ---- one recorder for the program ---- */

#define ATTACHERS 8

static pthread_barrier_t at_once;

static void *attach_and_detach(void *arg)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;

	(void)arg;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log_level = NVME_LOG_ERROR;
	pthread_barrier_wait(&at_once);
	if (nvme_attach("soft", &opts, &ctrlr) != 0 || nvme_detach(ctrlr) != 0)
		_exit(1);
	return NULL;
}

/* A program of its own, for NVME_TRACE is looked at once, that attaches in so many threads. */
static void attach_in_threads(const char *trace, const char *err, int n)
{
	pthread_t thread[ATTACHERS];
	int status, i;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("NVME_TRACE", trace, 1);
		if (freopen(err, "w", stderr) == NULL ||
		    pthread_barrier_init(&at_once, NULL, (unsigned int)n) != 0)
			_exit(2);
		for (i = 0; i < n; i++)
			if (pthread_create(&thread[i], NULL, attach_and_detach, NULL) != 0)
				_exit(3);
		for (i = 0; i < n; i++)
			pthread_join(thread[i], NULL);
		fflush(stderr);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_one_for_all(void **state)
{
	const char *path = image("all.nvt"), *err = image("all.err");
	struct trace_file t;
	char *text;

	(void)state;
	attach_in_threads(path, err, ATTACHERS);
	t = load(path);
	assert_int_equal(t.header.ctrlrs, ATTACHERS);
	assert_int_equal(count_kind(&t, NVME_TRACE_DETACH), ATTACHERS);
	free(t.data);
	attach_in_threads("/nonexistent/x.nvt", err, ATTACHERS);
	text = read_file(err, NULL);
	assert_non_null(strstr(text, "cannot record to '/nonexistent/x.nvt'"));
	assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n')); /* said once */
	free(text);
}

/* A line longer than any that the log prints is cut, and nothing behind it is recorded. */
static void test_long_line(void **state)
{
	const struct nvme__log_place place = {"nvme.h", 1, "test_long_line"};
	const char *path = image("long.nvt");
	char text[5000];
	struct nvme_log log;
	struct trace_file t;
	uint64_t seq, bytes = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memset(&log, 0, sizeof(log));
	assert_int_equal(nvme_trace_open(path, 100, &log.trace), 0);
	nvme__trace_log(&log, nvme__log_now(&log), &place, NVME_LOG_ERROR, text);
	nvme_trace_close(log.trace);
	t = load(path);
	for (seq = 1; seq < t.header.next; seq++)
		bytes += slot(&t, seq)->len;
	assert_int_equal(bytes, NVME__LOG_LINE_MAX - 1);
	free(t.data);
}

/* What one controller's register reads as says nothing about another's. */
static void test_two_controllers(void **state)
{
	const char *path = image("two.nvt");
	struct nvme_ctrlr *ctrlr[2];
	struct nvme_ctrlr_opts opts;
	struct nvme_trace *trace;
	struct trace_file t;
	uint64_t before;
	int i;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log_level = NVME_LOG_ERROR;
	assert_int_equal(nvme_trace_open(path, 0, &trace), 0);
	opts.trace = trace;
	for (i = 0; i < 2; i++)
		assert_int_equal(nvme_attach("soft", &opts, &ctrlr[i]), 0);
	before = trace->header->next;
	for (i = 0; i < 4; i++) /* twice from each: the second time in a row is no news */
		(void)nvme_ctrlr_get_reg_4(ctrlr[i / 2], NVME_REG_VS);
	assert_int_equal(trace->header->next, before + 2);
	for (i = 0; i < 2; i++)
		assert_int_equal(nvme_detach(ctrlr[i]), 0);
	nvme_trace_close(trace);
	t = load(path);
	for (i = 0; i < 2; i++) {
		assert_int_equal(slot(&t, before + (uint64_t)i)->kind, NVME_TRACE_REG_READ);
		assert_int_equal(slot(&t, before + (uint64_t)i)->ctrlr, i);
	}
	free(t.data);
}

/* ---- a recorder that cannot be had is said, and the program goes on without ---- */

static void test_cannot(void **state)
{
	struct nvme_trace *trace;
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=/nonexistent/x.nvt NVME_LOG=error $BUILD/hello_world");
	expect_unrecorded(&r, "cannot record to '/nonexistent/x.nvt' (open: No such file or "
	                      "directory): name a file in a directory that you may write to");
	done(&r);
	assert_int_equal(nvme_trace_open("/nonexistent/x", 0, &trace), -ENOENT);
	assert_null(trace);
	assert_int_equal(nvme_trace_open(image("big.nvt"), UINT64_MAX, &trace), -EINVAL);
	nvme_trace_close(NULL);
}

/* NVME_TRACE_SLOTS is a number of slots or a mistake, and by mistake no file is touched. */
static void test_bad_slots(void **state)
{
	static const char *const bad[] = {"abc",  "-1",         "0",
	                                  "+5",   " 5",         "64k",
	                                  "0x40", "4294967297", "99999999999999999999"};
	const char *path = image("slots.nvt");
	struct trace_file t;
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char why[128];

		run(&r, "NVME_TRACE=%s NVME_TRACE_SLOTS='%s' NVME_LOG=error $BUILD/hello_world",
		    path, bad[i]);
		snprintf(why, sizeof(why),
		         "because NVME_TRACE_SLOTS=%s is no number of slots: use 1 to 4294967296, "
		         "or unset it for 65536\n",
		         bad[i]);
		expect_unrecorded(&r, why);
		assert_int_equal(access(path, F_OK), -1);
		done(&r);
	}
	for (i = 0; i < 2; i++) {
		run(&r, "NVME_TRACE=%s NVME_TRACE_SLOTS=%s NVME_LOG=error $BUILD/hello_world", path,
		    i == 0 ? "" : "0100");
		expect_status(&r, 0);
		assert_string_equal(r.err, "");
		done(&r);
		t = load(path);
		assert_int_equal(t.header.slots, i == 0 ? 65536 : 100);
		free(t.data);
	}
}

/* What is no trace stays as it is. */
static void test_no_trace(void **state)
{
	static const char *const texts[] = {"precious", "x", "a file that is longer than a header"};
	const char *path = image("precious"), *fifo = image("fifo");
	const char *others[] = {"/dev/null", fifo};
	struct nvme_trace *trace;
	struct result r;
	char *now;
	size_t i;

	(void)state;
	assert_int_equal(mkfifo(fifo, 0600), 0);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		unlink(path);
		run(&r, "printf '%s' >%s; NVME_TRACE=%s NVME_LOG=error $BUILD/hello_world",
		    texts[i], path, path);
		expect_unrecorded(&r, "(it is there and is no trace): name another file, or remove "
		                      "this one if nobody needs it\n");
		done(&r);
		now = read_file(path, NULL);
		assert_string_equal(now, texts[i]);
		free(now);
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(nvme_trace_open(others[i], 0, &trace), -EEXIST);
	assert_int_equal(nvme_trace_open(dir, 0, &trace), -EISDIR);
}

static void expect_same_file(const char *path, const char *data, size_t size)
{
	size_t size_now;
	char *now = read_file(path, &size_now);

	assert_int_equal(size_now, size);
	assert_memory_equal(now, data, size);
	free(now);
}

/* Limits of the process, with an older trace that is not lost for a newer one that cannot be. */
static void test_limits(void **state)
{
	const char *path = image("limits.nvt");
	struct trace_file t;
	struct result r;
	size_t size;
	char *old;

	(void)state;
	record(path, 64, 1);
	old = read_file(path, &size);
	run(&r, "ulimit -f 100; NVME_TRACE=%s NVME_LOG=error $BUILD/hello_world", path);
	expect_unrecorded(&r, "(its 8193 KiB are more than the limit of ");
	expect_in(&r, r.err,
	          "for a file): raise that with 'ulimit -f unlimited', or set "
	          "NVME_TRACE_SLOTS to fewer slots of 128 bytes\n");
	expect_same_file(path, old, size);
	done(&r);
	run(&r,
	    "ulimit -v 8000000; NVME_TRACE=%s NVME_TRACE_SLOTS=100000000 NVME_LOG=error "
	    "$BUILD/hello_world",
	    path);
	expect_unrecorded(&r, "(mmap of 12500001 KiB: Cannot allocate memory): set "
	                      "NVME_TRACE_SLOTS to fewer slots of 128 bytes, or name a file on "
	                      "another file system\n");
	expect_same_file(path, old, size);
	free(old);
	done(&r);
	run(&r,
	    "ulimit -f 100; NVME_TRACE=%s NVME_TRACE_SLOTS=100 NVME_LOG=error $BUILD/hello_world",
	    path);
	expect_status(&r, 0);
	assert_string_equal(r.err, "");
	done(&r);
	t = load(path);
	assert_int_equal(t.header.slots, 100);
	free(t.data);
}

/*
 * A file system with room for an older trace and three pages more, fewer than hello_world fills:
 * mounted where nobody else sees it. (test_vm does this in a guest, where nothing can forbid it.)
 */
static void test_full(void **state)
{
	const char *mnt = image("full");
	struct result r, ns;

	(void)state;
	run(&ns,
	    "mkdir -p %s; for ns in 'unshare -rm' 'unshare -m'; do "
	    "$ns mount -t tmpfs none %s && { echo $ns; exit 0; }; done; exit 1",
	    mnt, mnt);
	if (ns.status != 0) {
		print_message("no file system may be mounted here: only test_vm does it\n%s",
		              ns.err);
		done(&ns);
		skip();
	}
	ns.out[strcspn(ns.out, "\n")] = '\0';
	run(&r,
	    "%s sh -c 'export NVME_LOG=error; cd %s; mount -t tmpfs -o size=24k none . && cd . && "
	    "NVME_TRACE=%s/old.nvt NVME_TRACE_SLOTS=64 $0 && cp old.nvt .. && "
	    "NVME_TRACE=%s/new.nvt $0 && NVME_TRACE=%s/old.nvt $0 && cmp old.nvt ../old.nvt && "
	    "mount -o remount,ro . && NVME_TRACE=%s/ro.nvt $0' $(realpath $BUILD/hello_world)",
	    ns.out, mnt, mnt, mnt, mnt, mnt);
	expect_status(&r, 0);
	expect_in(&r, r.err,
	          "new.nvt' (no room for its 8193 KiB: No space left on device): make room there, "
	          "name a file on another file system, or set NVME_TRACE_SLOTS to fewer slots of "
	          "128 bytes\n");
	expect_in(&r, r.err, "old.nvt' (no room for its 8193 KiB: No space left on device)");
	expect_in(&r, r.err, "ro.nvt' (open: Read-only file system): name a file in a directory");
	done(&r);
	done(&ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),      cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_threads),     cmocka_unit_test(test_published_last),
		cmocka_unit_test(test_doorbells),   cmocka_unit_test(test_looks),
		cmocka_unit_test(test_long_list),   cmocka_unit_test(test_long_list_printed),
		cmocka_unit_test(test_killed),      cmocka_unit_test(test_two_programs),
		cmocka_unit_test(test_pid_in_name), cmocka_unit_test(test_fork),
		cmocka_unit_test(test_one_for_all), cmocka_unit_test(test_cannot),
		cmocka_unit_test(test_bad_slots),   cmocka_unit_test(test_no_trace),
		cmocka_unit_test(test_limits),      cmocka_unit_test(test_full),
		cmocka_unit_test(test_long_line),   cmocka_unit_test(test_two_controllers),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
