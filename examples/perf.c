// SPDX-License-Identifier: MIT
/*
 * perf: how many reads and writes a second, and how long does each take?
 *
 *	perf [-q DEPTH] [-o BYTES] [-w WORKLOAD] [-t SECONDS] [-r DEVICE]...
 *
 * The options are those of SPDK's tool, see 'perf --help'. Each thread has a poll group with queue
 * pairs of every device and keeps DEPTH commands in flight on each: the callback of one submits the
 * next. Nothing is compared, and blocks that are written hold rubbish afterwards: a device that keeps
 * its data is written to with --force only.
 *
 * Without a device it works on the software controller. What it shows then is the cost of the driver
 * and of a controller in the same process.
 */
#define _GNU_SOURCE
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"
#include "perf_report.h"
#include <signal.h>

enum { MAX_IDLE_MS = 30000 };

static struct nvme_ctrlr *ctrlrs[MAX_DEVICES];
static int stop, failures, running; /* all threads look at them */

struct io { /* one command, again and again */
	struct stream *stream;
	struct nvme_qpair *qp;
	uint8_t *buf;
	uint64_t start;
	bool read;
};

struct stream { /* one device in one thread: a line of the table */
	struct worker *worker;
	const char *device;
	struct nvme_ns *ns;
	struct nvme_qpair *qps[MAX_QPAIRS];
	struct io *ios;             /* depth of them */
	uint32_t nlb;               /* blocks of one */
	uint64_t left;              /* so many are still to be submitted */
	uint64_t places, next, rng; /* the namespace in pieces of nlb blocks */
	struct tally tally;
};

struct worker { /* one thread */
	struct stream *streams;
	pthread_t thread;
	int core;
	uint32_t outstanding;
	uint64_t start, end; /* ns */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int look(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static void interrupted(int signal)
{
	(void)signal;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

/* Only the first one is told of; the others follow from it. */
static void fail(const char *device, const char *what)
{
	if (__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) == 0)
		fprintf(stderr, "perf: %s: %s: the run ends here\n", device, what);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

/* ---- commands ---- */

static uint64_t next_random(uint64_t *state) /* xorshift64 */
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void io_done(void *arg, const struct nvme_cpl *cpl);

static void submit(struct io *io)
{
	struct stream *s = io->stream;
	uint64_t place = (is_random ? next_random(&s->rng) : s->next++) % s->places;
	uint64_t slba = place * s->nlb;
	int rc;

	io->read = next_random(&s->rng) % 100 < read_percent;
	io->start = now_ns();
	if (io->read)
		rc = nvme_ns_cmd_read(s->ns, io->qp, io->buf, slba, s->nlb, io_done, io, 0);
	else
		rc = nvme_ns_cmd_write(s->ns, io->qp, io->buf, slba, s->nlb, io_done, io, 0);
	if (rc != 0) {
		/* another thread may have found out first that the controller is gone */
		fail(s->device, rc == -ENODEV || rc == -EIO || rc == -ENXIO
		                        ? "a queue pair has failed"
		                        : strerror(-rc));
		return;
	}
	s->worker->outstanding++;
	s->left--;
}

/* The next one goes out at once, until there were enough. */
static void io_done(void *arg, const struct nvme_cpl *cpl)
{
	struct io *io = arg;
	struct stream *s = io->stream;
	struct worker *w = s->worker;
	uint64_t now = now_ns();

	w->outstanding--;
	if (nvme_cpl_is_error(cpl)) {
		fail(s->device, "a command has failed, see its status above");
		return;
	}
	s->tally.elapsed = now - w->start;
	tally_add(&s->tally, io->read, now - io->start);
	if (s->left > 0 && now < w->end && !look(&stop))
		submit(io);
}

/* ---- threads ---- */

static void qpair_failed(struct nvme_qpair *qp, void *ctx)
{
	(void)ctx;
	fail(nvme_ctrlr_get_dev(nvme_qpair_get_ctrlr(qp))->name, "a queue pair has failed");
}

/* The time in ms, by the clock of the devices: some go on when they are looked at. */
static uint64_t devices_now(void)
{
	uint64_t now = 0, at;
	uint32_t i;

	for (i = 0; i < num_devices; i++) {
		at = device_now_ms(ctrlrs[i]);
		now = at > now ? at : now;
	}
	return now;
}

static int64_t poll_once(struct nvme_poll_group *group)
{
	if (interrupts)
		return nvme_poll_group_wait(group, 0, 1000, qpair_failed);
	return nvme_poll_group_process_completions(group, 0, qpair_failed);
}

/* Polls until nothing is outstanding. What has not come back in 30 s never will. */
static void poll_all(struct worker *w, struct nvme_poll_group *group)
{
	uint64_t deadline = devices_now() + MAX_IDLE_MS;
	uint32_t idle = 0;

	while (w->outstanding > 0 && !look(&failures)) {
		if (poll_once(group) != 0)
			idle = 0;
		else if ((++idle % 4096 == 0 || interrupts) && devices_now() > deadline)
			fail(w->streams->device, "nothing was completed in 30 seconds");
		else if (idle == 1)
			deadline = devices_now() + MAX_IDLE_MS;
	}
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	struct nvme_poll_group *group = nvme_poll_group_create(w);
	uint32_t i, k;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)w->core, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (group == NULL)
		fail("the poll group", strerror(ENOMEM));
	for (i = 0; i < num_devices * qpairs && group != NULL; i++)
		(void)nvme_poll_group_add(group, w->streams[i / qpairs].qps[i % qpairs]);
	w->start = now_ns();
	w->end = num_ios != 0 ? UINT64_MAX : w->start + (uint64_t)seconds * 1000000000;
	for (i = 0; i < num_devices; i++) {
		for (k = 0; k < depth && w->streams[i].left > 0 && !look(&failures); k++)
			submit(&w->streams[i].ios[k]);
	}
	poll_all(w, group);
	for (i = 0; i < num_devices * qpairs && group != NULL; i++)
		(void)nvme_poll_group_remove(group, w->streams[i / qpairs].qps[i % qpairs]);
	(void)nvme_poll_group_destroy(group);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* How far it is: one line, and on a terminal only. */
static void show_progress(const struct worker *workers)
{
	const struct timespec a_tenth = {0, 100000000};
	uint64_t done, start = now_ns();
	uint32_t i, k;

	while (isatty(STDERR_FILENO) && __atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0) {
		(void)nanosleep(&a_tenth, NULL);
		for (done = 0, i = 0; i < threads; i++) {
			for (k = 0; k < num_devices; k++)
				done += __atomic_load_n(&workers[i].streams[k].tally.done,
				                        __ATOMIC_RELAXED);
		}
		fprintf(stderr, "\r%5.1f s %12" PRIu64 " I/Os %10.0f IOPS \r",
		        (double)(now_ns() - start) / 1e9, done,
		        (double)done * 1e9 / (double)(now_ns() - start));
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "%48s\r", "");
}

static void run_workers(struct worker *workers)
{
	cpu_set_t set;
	uint32_t i, started;
	int core = -1;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	(void)sched_getaffinity(0, sizeof(set), &set);
	signal(SIGINT, interrupted);
	running = (int)threads;
	for (started = 0; started < threads; started++) {
		do
			core = (core + 1) % CPU_SETSIZE;
		while (!CPU_ISSET((size_t)core, &set));
		workers[started].core = core;
		if (pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]))
			break;
	}
	__atomic_fetch_sub(&running, (int)(threads - started), __ATOMIC_RELEASE);
	if (started < threads)
		fail("-c", "there cannot be so many threads");
	show_progress(workers);
	for (i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
}

/* ---- before and after ---- */

/* Queue pairs and buffers. 0, or the exit status. */
static int open_stream(struct stream *s, struct nvme_ctrlr *ctrlr)
{
	uint32_t i, each = (depth + qpairs - 1) / qpairs;
	size_t step = (size_t)s->nlb * nvme_ns_get_extended_sector_size(s->ns);
	struct nvme_io_qpair_opts opts;
	uint8_t *buf;

	step = (step + 4095) / 4096 * 4096;
	buf = nvme_dma_alloc(ctrlr, step * depth);
	s->ios = calloc(depth, sizeof(*s->ios));
	if (buf == NULL || s->ios == NULL)
		return 1;
	memset(&opts, 0, sizeof(opts));
	opts.entries = each + 1; /* one stays empty */
	opts.delay_cmd_submit = delay != 0;
	opts.stats = stats != 0;
	for (i = 0; i < qpairs; i++) {
		if (nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &s->qps[i]) != 0)
			return 1;
		if (nvme_qpair_get_entries(s->qps[i]) > each)
			continue;
		fprintf(stderr, "perf: -q %u is too much for %u queue pairs of %s: say -q %u\n",
		        depth, qpairs, s->device, (nvme_qpair_get_entries(s->qps[i]) - 1) * qpairs);
		return 2;
	}
	for (i = 0; i < depth; i++) {
		s->ios[i].stream = s;
		s->ios[i].qp = s->qps[i % qpairs];
		s->ios[i].buf = buf + step * i;
	}
	return 0;
}

/* Is an I/O one command, and may it be written? 0, or the exit status. */
static int check_device(const char *device, struct nvme_ns *ns)
{
	uint32_t block = nvme_ns_get_sector_size(ns), most = nvme_ns_get_max_nlb(ns, NULL);

	if (size % block != 0 || size / block > most ||
	    size / block > nvme_ns_get_num_sectors(ns)) {
		fprintf(stderr, "perf: -o %u is no I/O of %s: say 1 to %u blocks of %u bytes\n",
		        size, device, most, block);
		return 2;
	}
	if (read_percent == 100 || force || device_is_blank(device))
		return 0;
	if (refuse_used_disk("perf", ns, NULL, "") == 0)
		fprintf(stderr,
		        "perf: -w %s overwrites %s: run it with --force if nothing on it is "
		        "needed\n",
		        workload, device);
	return 1;
}

static int open_devices(void)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ns *ns;
	uint32_t i;
	int status = 0;

	for (i = 0; i < num_devices && status == 0; i++) {
		memset(&opts, 0, sizeof(opts));
		opts.num_io_queues = threads * qpairs + 1; /* one for looking at the disk */
		opts.interrupts = interrupts != 0;
		opts.no_ladder = true; /* what needs a rung of it is no measurement: it ends here */
		status = open_device_with(devices[i], &opts, &ctrlrs[i]);
		if (status != 0)
			break;
		ns = nvme_ctrlr_get_ns(ctrlrs[i], nvme_ctrlr_get_first_active_ns(ctrlrs[i]));
		if (ns == NULL)
			fprintf(stderr, "perf: %s has no namespace\n", devices[i]);
		status = ns == NULL ? 1 : check_device(devices[i], ns);
	}
	return status;
}

/* What thread n does with device i. */
static int set_up(struct worker *w, uint32_t n, uint32_t i)
{
	struct stream *s = &w->streams[i];
	uint32_t line = n * num_devices + i, lines = threads * num_devices;

	s->worker = w;
	s->device = devices[i];
	s->ns = nvme_ctrlr_get_ns(ctrlrs[i], nvme_ctrlr_get_first_active_ns(ctrlrs[i]));
	s->nlb = size / nvme_ns_get_sector_size(s->ns);
	s->places = nvme_ns_get_num_sectors(s->ns) / s->nlb;
	s->next = s->places / threads * n;
	s->rng = UINT64_C(0x9e3779b97f4a7c15) * (line + 1);
	s->left = num_ios == 0 ? UINT64_MAX : num_ios / lines + (line < num_ios % lines);
	return open_stream(s, ctrlrs[i]);
}

static void report(struct worker *workers)
{
	struct nvme_qpair_stats of_one;
	uint32_t i, k, q;

	report_begin();
	for (i = 0; i < threads; i++) {
		for (k = 0; k < num_devices; k++) {
			struct stream *s = &workers[i].streams[k];

			for (q = 0; q < qpairs && stats; q++) {
				if (nvme_qpair_get_stats(s->qps[q], &of_one) == 0)
					tally_add_stats(&s->tally, &of_one);
			}
			report_line(s->device, nvme_ns_get_id(s->ns), workers[i].core, &s->tally);
		}
	}
	report_end();
}

static int perf(struct worker *workers)
{
	uint32_t i, k;
	int status = open_devices();

	for (i = 0; i < threads && status == 0; i++) {
		workers[i].streams = calloc(num_devices, sizeof(*workers[i].streams));
		if (workers[i].streams == NULL)
			return 1;
		for (k = 0; k < num_devices && status == 0; k++)
			status = set_up(&workers[i], i, k);
	}
	if (status != 0)
		return status;
	run_workers(workers);
	report(workers);
	return failures != 0;
}

int main(int argc, char **argv)
{
	static struct worker workers[MAX_THREADS];
	uint32_t i, k;
	int status;

	parse_options(argc, argv);
	status = perf(workers);
	for (i = 0; i < num_devices; i++) { /* commands that are left get their callbacks here */
		if (nvme_detach(ctrlrs[i]) != 0)
			status = 1;
	}
	for (i = 0; i < threads; i++) {
		for (k = 0; k < num_devices && workers[i].streams != NULL; k++)
			free(workers[i].streams[k].ios);
		free(workers[i].streams);
	}
	return status;
}
