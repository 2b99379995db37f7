// SPDX-License-Identifier: MIT
/*
 * The flight recorder: what is in the file, when it is there, and what becomes of it when it is
 * full, shared by threads, or left by a program that was killed.
 */
#define _GNU_SOURCE
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "run.h"
#include <pthread.h>
#include <signal.h>

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
			assert_int_equal(NVME_CAP_MQES(attach.cap), 1023);
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

/* What was recorded before a program was killed is in the file. */
static void test_killed(void **state)
{
	const char *path = image("killed.nvt");
	struct trace_file t;
	struct result r;

	(void)state;
	run(&r,
	    "NVME_TRACE=%s NVME_LOG=error build/tests/run_io hold soft & "
	    "while ! [ -s %s ]; do sleep 0.05; done; sleep 0.3; kill -9 $!; wait $!; true",
	    path, path);
	t = load(path);
	assert_true(t.header.next > 100);
	assert_string_equal(t.header.program, "run_io");
	slot(&t, t.header.next > t.header.slots ? t.header.next - t.header.slots + 8 : 1);
	done(&r);
	free(t.data);
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

/* A recorder that cannot be had is said, and the program goes on without. */
static void test_cannot(void **state)
{
	struct nvme_trace *trace;
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=/nonexistent/x.nvt build/hello_world");
	expect_status(&r, 0);
	expect_in(&r, r.out, "Hello world!");
	expect_in(&r, r.err, "cannot record to '/nonexistent/x.nvt' (open: No such file");
	done(&r);
	assert_int_equal(nvme_trace_open("/nonexistent/x", 0, &trace), -ENOENT);
	assert_null(trace);
	assert_int_equal(nvme_trace_open(image("big.nvt"), UINT64_MAX, &trace), -EINVAL);
	nvme_trace_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),          cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_threads),         cmocka_unit_test(test_killed),
		cmocka_unit_test(test_cannot),          cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_two_controllers),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
