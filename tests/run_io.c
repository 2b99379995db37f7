// SPDX-License-Identifier: MIT
/*
 * I/O on a controller, software or real, checked: run_io COMMAND DEVICE [NUMBER [DEVICE2]]
 *
 *	pattern DEVICE SEED	write the extents of pattern.h with the blocking helpers, read them back
 *	async DEVICE SEED		the same through asynchronous commands, many at a time, two queues
 *	threads DEVICE SEED	four threads with a queue pair each: blocking calls, commands, DMA memory
 *	soak DEVICE SEED	the same, fifty times as long
 *	groups DEVICE SEED	four threads with a poll group of two queue pairs each, connected twice
 *	depth DEVICE ENTRIES	1000 commands through a queue of that many entries
 *	format DEVICE SEED	to 4096-byte blocks and back to 512, and what is said and done then
 *	scatter DEVICE SEED	the extents of pattern.h from and to memory in pieces: PRPs, and SGLs where they are
 *	commands DEVICE SEED	Compare, Write Zeroes, Copy and the rest, features, log pages: see below
 *	cmb DEVICE SEED	the extents of pattern.h out of and into the controller memory buffer
 *	limits DEVICE		what must be refused is refused, what the device refuses is reported
 *	vfio DEVICE		what VFIO gives: IOVA ranges, function reset, registers without a mapping
 *	events DEVICE		bad doorbells, namespaces that go and come; SMART warnings, which somebody else
 *				must raise when it has printed "masked" (2) and "unmasked" (4)
 *	reset DEVICE SEED	resets with writes on their way, a fatal status, a reset by somebody else
 *	refusals DEVICE		mistakes of many kinds, sent by hand: what the device answers arrives
 *	stray DEVICE		the device writes where no memory is mapped for it
 *	list			the controllers that libpci finds
 *	hold DEVICE		attach, print "holding", keep writing to the last blocks for ever
 *
 * With shadow- before the command doorbells are in memory, with cmb- submission queues in the
 * controller memory buffer. With DEVICE2 the same runs on two controllers at once, in two threads.
 *
 * It exits with 0 when everything was as it should be and says otherwise what was not.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "pattern.h"
#include <pthread.h>

#define CHECK(cond)                                                                              \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			fprintf(stderr, "run_io: line %d: %s does not hold\n", __LINE__, #cond); \
			exit(1);                                                                 \
		}                                                                                \
	} while (0)

static int checks;

static void checked(int n)
{
	__atomic_fetch_add(&checks, n, __ATOMIC_RELAXED);
}

static void check_extent(const uint8_t *buf, size_t len, uint64_t pos, uint32_t seed)
{
	long at = pattern_check(buf, len, pos, seed);

	if (at >= 0) {
		fprintf(stderr, "run_io: byte %ld of %zu at disk offset %llu is wrong\n", at, len,
		        (unsigned long long)pos);
		exit(1);
	}
	checked(1);
}

/* ---- pattern ---- */

/* Every extent, from a buffer that starts at a bad address for DMA: the helpers must cope. */
static void pattern_on(struct nvme_ns *ns, uint32_t seed)
{
	uint32_t block = nvme_ns_get_sector_size(ns);
	uint8_t *memory = malloc(((size_t)4 << 20) * (block / 512) + 1), *buf = memory + 1;
	size_t i;

	CHECK(memory != NULL);
	for (i = 0; i < PATTERN_EXTENTS; i++) {
		const struct extent *e = &pattern_extents[i];
		size_t len = (size_t)e->nlb * block;

		if (e->block + e->nlb > nvme_ns_get_num_sectors(ns))
			continue;
		pattern_fill(buf, len, (uint64_t)e->block * block, seed);
		CHECK(nvme_ns_write(ns, NULL, buf, e->block, e->nlb, NULL) == 0);
		memset(buf, 0x55, len);
		CHECK(nvme_ns_read(ns, NULL, buf, e->block, e->nlb, NULL) == 0);
		check_extent(buf, len, (uint64_t)e->block * block, seed);
	}
	CHECK(nvme_ns_flush(ns, NULL, NULL) == 0);
	free(memory);
}

/* Namespace n gets the seed SEED + n. */
static void run_pattern(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);

	CHECK(nsid != 0);
	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

		printf("namespace %u: %llu blocks of %u bytes\n", nsid,
		       (unsigned long long)nvme_ns_get_num_sectors(ns),
		       nvme_ns_get_sector_size(ns));
		pattern_on(ns, seed + nsid);
	}
}

/* ---- async ---- */

struct slot {
	uint8_t *buf;
	uint32_t nlb;
	uint64_t slba;
	int done; /* 1: completed well, -1: with an error */
};

static void slot_done(void *arg, const struct nvme_cpl *cpl)
{
	struct slot *slot = arg;

	CHECK(slot->done == 0);
	slot->done = nvme_cpl_is_error(cpl) ? -1 : 1;
}

/* All slots at once, over two queues in turn, then wait for the last. */
static void submit_all(struct nvme_ns *ns, struct nvme_qpair **qps, struct slot *slots, int n,
                       bool wr)
{
	int i, rc, pending = n;

	for (i = 0; i < n; i++) {
		struct slot *s = &slots[i];

		s->done = 0;
		do {
			rc = wr ? nvme_ns_cmd_write(ns, qps[i % 2], s->buf, s->slba, s->nlb,
			                            slot_done, s,
			                            i % 3 == 0 ? NVME_IO_FLAGS_FUA : 0)
			        : nvme_ns_cmd_read(ns, qps[i % 2], s->buf, s->slba, s->nlb,
			                           slot_done, s, 0);
			if (rc == -EAGAIN)
				CHECK(nvme_qpair_process_completions(qps[i % 2], 1) >= 0);
		} while (rc == -EAGAIN);
		CHECK(rc == 0);
	}
	while (pending > 0) {
		CHECK(nvme_qpair_process_completions(qps[0], 0) >= 0);
		CHECK(nvme_qpair_process_completions(qps[1], 3) >= 0);
		for (i = 0, pending = 0; i < n; i++) {
			CHECK(slots[i].done >= 0);
			pending += slots[i].done == 0;
		}
	}
}

/*
 * Buffers start at every dword offset in a page in turn. One of them is memory of this program's
 * own, registered for DMA.
 */
static void run_async(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	enum { SLOTS = 61, SIZE = 1 << 17 };
	const size_t own_size = 1 << 18;
	uint8_t *own = aligned_alloc(4096, own_size);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_io_qpair_opts opts = {.entries = 16};
	uint32_t block = nvme_ns_get_sector_size(ns);
	struct nvme_qpair *qps[2];
	struct slot slots[SLOTS];
	uint64_t at = 1;
	int i, lap;

	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qps[0]) == 0);
	opts.entries = 5;
	opts.delay_cmd_submit = true;
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qps[1]) == 0);
	CHECK(own != NULL && nvme_dma_register(ctrlr, own, own_size) == 0);
	for (lap = 0; lap < 3; lap++, at = 1) {
		for (i = 0; i < SLOTS; i++) {
			struct slot *s = &slots[i];

			if (lap == 0)
				s->buf = i == 5 ? own : nvme_dma_alloc(ctrlr, SIZE + 4096);
			CHECK(s->buf != NULL);
			s->nlb = 1 + (uint32_t)(i * 13) % (SIZE / block);
			s->slba = at;
			at += s->nlb + 1;
			s->buf += lap == 0 ? (i * 68) % 4096 : 4;
			pattern_fill(s->buf, (size_t)s->nlb * block, s->slba * block, seed + 1);
		}
		submit_all(ns, qps, slots, SLOTS, true);
		for (i = 0; i < SLOTS; i++)
			memset(slots[i].buf, 0xaa, (size_t)slots[i].nlb * block);
		submit_all(ns, qps, slots, SLOTS, false);
		for (i = 0; i < SLOTS; i++)
			check_extent(slots[i].buf, (size_t)slots[i].nlb * block,
			             slots[i].slba * block, seed + 1);
	}
	CHECK(nvme_ctrlr_free_io_qpair(qps[0]) == 0);
	CHECK(nvme_ctrlr_free_io_qpair(qps[1]) == 0);
	CHECK(nvme_dma_unregister(ctrlr, own) == 0);
	free(own);
	printf("%d commands a lap\n", 2 * SLOTS);
}

/* ---- threads ---- */

enum { WORKERS = 4, WORKER_BLOCKS = 1000 };

struct worker {
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint64_t first; /* its blocks are first to first + WORKER_BLOCKS - 1 */
	uint32_t seed;
	int rounds, checks;
	pthread_t thread;
};

/* Several blocks in ordinary memory at an odd address: each call goes through a copy. */
static void work_blocking(struct worker *w, uint8_t *buf, int round)
{
	uint32_t block = nvme_ns_get_sector_size(w->ns), nlb = 1 + (uint32_t)round % 15;
	uint64_t slba = w->first + (uint64_t)round * 7 % (WORKER_BLOCKS - 16);
	uint32_t seed = w->seed + (uint32_t)round * 16;

	pattern_fill(buf, (size_t)nlb * block, slba * block, seed);
	CHECK(nvme_ns_write(w->ns, w->qp, buf, slba, nlb, NULL) == 0);
	memset(buf, 0, (size_t)nlb * block);
	CHECK(nvme_ns_read(w->ns, w->qp, buf, slba, nlb, NULL) == 0);
	CHECK(pattern_check(buf, (size_t)nlb * block, slba * block, seed) == -1);
	w->checks++;
}

/* Three reads at once into memory that came just now and goes again. */
static void work_async(struct worker *w, uint8_t *own, int round)
{
	uint32_t block = nvme_ns_get_sector_size(w->ns), seed = w->seed + (uint32_t)round;
	uint64_t slba = w->first + (uint64_t)round % (WORKER_BLOCKS - 3);
	uint8_t *dma = nvme_dma_alloc(w->ctrlr, (size_t)3 * block);
	struct slot slots[3];
	int i;

	CHECK(dma != NULL && nvme_dma_register(w->ctrlr, own, 65536) == 0);
	pattern_fill(own, (size_t)3 * block, slba * block, seed);
	CHECK(nvme_ns_write(w->ns, w->qp, own, slba, 3, NULL) == 0);
	for (i = 0; i < 3; i++) {
		slots[i].buf = dma + (size_t)i * block;
		slots[i].done = 0;
		CHECK(nvme_ns_cmd_read(w->ns, w->qp, slots[i].buf, slba + (uint64_t)i, 1, slot_done,
		                       &slots[i], 0) == 0);
	}
	while (slots[0].done + slots[1].done + slots[2].done < 3)
		CHECK(nvme_qpair_process_completions(w->qp, 0) >= 0);
	CHECK(pattern_check(dma, (size_t)3 * block, slba * block, seed) == -1);
	CHECK(nvme_dma_unregister(w->ctrlr, own) == 0);
	nvme_dma_free(w->ctrlr, dma);
	w->checks++;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t *memory = malloc((size_t)16 * nvme_ns_get_sector_size(w->ns));
	uint8_t *own = aligned_alloc(65536, 65536);
	int round;

	CHECK(memory != NULL && own != NULL);
	for (round = 0; round < w->rounds; round++) {
		work_blocking(w, memory + 1, round);
		work_async(w, own, round);
	}
	free(memory);
	free(own);
	return NULL;
}

/* Each thread has a queue pair; everything else is the controller's, and used by all at once. */
static void work_together(struct nvme_ctrlr *ctrlr, uint32_t seed, int rounds)
{
	struct worker workers[WORKERS];
	size_t i;

	memset(workers, 0, sizeof(workers));
	for (i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		w->ctrlr = ctrlr;
		w->ns = nvme_ctrlr_get_ns(ctrlr, 1);
		w->first = i * WORKER_BLOCKS;
		w->seed = seed + (uint32_t)i * 1000003;
		w->rounds = rounds;
		CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &w->qp) == 0);
	}
	for (i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	for (i = 0; i < WORKERS; i++) {
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
		CHECK(nvme_ctrlr_free_io_qpair(workers[i].qp) == 0);
		checked(workers[i].checks);
	}
}

static void run_threads(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	work_together(ctrlr, seed, 60);
}

/* The same for longer, where no sanitizer slows it down. */
static void run_soak(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	work_together(ctrlr, seed, 3000);
}

/* ---- groups ---- */

enum { POLLERS = 4, POLLED = 2, IN_FLIGHT = 8, PIECE = 4, LAPS = 50 };

/*
 * A piece of the disk on its way: written through one queue pair of the group, read back through
 * the other, compared, and on to the next lap, all of it in callbacks.
 */
struct piece {
	struct poller *poller;
	uint8_t *buf;
	uint64_t slba;
	int lap, turn; /* which queue pair is next */
	bool reading;
};

struct poller {
	struct nvme_ns *ns;
	struct nvme_poll_group *group;
	struct nvme_qpair *qps[POLLED];
	struct piece pieces[IN_FLIGHT];
	uint32_t seed;
	int busy, checks;
	pthread_t thread;
};

static void piece_done(void *arg, const struct nvme_cpl *cpl);

static void piece_send(struct piece *p)
{
	struct nvme_qpair *qp = p->poller->qps[p->turn++ % POLLED];
	int rc = p->reading ? nvme_ns_cmd_read(p->poller->ns, qp, p->buf, p->slba, PIECE,
	                                       piece_done, p, 0)
	                    : nvme_ns_cmd_write(p->poller->ns, qp, p->buf, p->slba, PIECE,
	                                        piece_done, p, 0);

	CHECK(rc == 0);
}

static void piece_done(void *arg, const struct nvme_cpl *cpl)
{
	struct piece *p = arg;
	size_t size = (size_t)PIECE * nvme_ns_get_sector_size(p->poller->ns);
	uint32_t seed = p->poller->seed + (uint32_t)p->lap;

	CHECK(!nvme_cpl_is_error(cpl));
	if (p->reading) {
		CHECK(pattern_check(p->buf, size, p->slba, seed) == -1);
		p->poller->checks++;
		if (++p->lap == LAPS) {
			p->poller->busy--;
			return;
		}
		pattern_fill(p->buf, size, p->slba, seed + 1);
	} else {
		memset(p->buf, 0, size);
	}
	p->reading = !p->reading;
	piece_send(p);
}

static void no_failure(struct nvme_qpair *qp, void *ctx)
{
	(void)qp, (void)ctx;
	CHECK(!"a queue pair has failed");
}

/* The group is created, used and emptied in this thread; queue pairs come and go in another. */
static void *poll_group(void *arg)
{
	struct poller *poller = arg;
	struct nvme_poll_group_stats stats;
	int i;

	poller->group = nvme_poll_group_create(poller);
	CHECK(poller->group != NULL);
	for (i = 0; i < POLLED; i++)
		CHECK(nvme_poll_group_add(poller->group, poller->qps[i]) == 0);
	for (i = 0; i < IN_FLIGHT; i++)
		piece_send(&poller->pieces[i]);
	while (poller->busy > 0)
		CHECK(nvme_poll_group_process_completions(poller->group, 3, no_failure) >= 0);
	nvme_poll_group_get_stats(poller->group, &stats);
	CHECK(stats.completions == 2 * LAPS * IN_FLIGHT && stats.num_qpairs == POLLED);
	CHECK(stats.qpairs.completions % stats.completions == 0); /* of one round, or of two */
	CHECK(stats.qpairs.submitted_requests == stats.qpairs.completions);
	for (i = 0; i < POLLED; i++)
		CHECK(nvme_poll_group_remove(poller->group, poller->qps[i]) == 0);
	CHECK(nvme_poll_group_destroy(poller->group) == 0);
	return NULL;
}

/* One round of all threads, with doorbells of either kind. */
static void run_pollers(struct poller *pollers, uint8_t *buf, uint32_t seed)
{
	size_t size = (size_t)PIECE * nvme_ns_get_sector_size(pollers->ns);
	int i, k;

	for (i = 0; i < POLLERS; i++) {
		struct poller *poller = &pollers[i];

		poller->seed = seed + (uint32_t)i * 1000003;
		poller->busy = IN_FLIGHT;
		poller->checks = 0;
		for (k = 0; k < IN_FLIGHT; k++) {
			struct piece *p = &poller->pieces[k];

			memset(p, 0, sizeof(*p));
			p->poller = poller;
			p->buf = buf + (size_t)(i * IN_FLIGHT + k) * size;
			p->slba = (uint64_t)(i * IN_FLIGHT + k) * PIECE;
			p->turn = k;
			pattern_fill(p->buf, size, p->slba, poller->seed);
		}
		CHECK(pthread_create(&poller->thread, NULL, poll_group, poller) == 0);
	}
	for (i = 0; i < POLLERS; i++) {
		CHECK(pthread_join(pollers[i].thread, NULL) == 0);
		checked(pollers[i].checks);
	}
}

/* Each thread has a group. Between two rounds all queue pairs are disconnected and come again. */
static void run_groups(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	size_t size = (size_t)PIECE * nvme_ns_get_sector_size(ns);
	uint8_t *buf = nvme_dma_alloc(ctrlr, POLLERS * IN_FLIGHT * size);
	struct nvme_io_qpair_opts opts = {.entries = 16, .stats = true, .create_only = true};
	struct nvme_qpair *qps[POLLERS * POLLED];
	struct poller pollers[POLLERS];
	int i, round;

	CHECK(buf != NULL);
	memset(pollers, 0, sizeof(pollers));
	for (i = 0; i < POLLERS * POLLED; i++) {
		opts.delay_cmd_submit = i % 3 == 0;
		CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qps[i]) == 0);
		pollers[i / POLLED].qps[i % POLLED] = qps[i];
		pollers[i / POLLED].ns = ns;
	}
	for (round = 0; round < 2; round++) {
		for (i = 0; i < POLLERS * POLLED; i++)
			CHECK(nvme_ctrlr_connect_io_qpair(ctrlr, qps[i]) == 0);
		run_pollers(pollers, buf, seed + (uint32_t)(round * LAPS));
		for (i = 0; i < POLLERS * POLLED; i++)
			CHECK(nvme_ctrlr_disconnect_io_qpair(qps[i]) == 0);
	}
	for (i = 0; i < POLLERS * POLLED; i++)
		CHECK(nvme_ctrlr_free_io_qpair(qps[i]) == 0);
	nvme_dma_free(ctrlr, buf);
}

/* ---- depth ---- */

static void run_depth(struct nvme_ctrlr *ctrlr, uint32_t entries)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_io_qpair_opts opts = {.entries = entries};
	uint32_t size = nvme_ns_get_sector_size(ns), most;
	struct nvme_qpair *qp;
	struct slot *slots;
	int i, n, rc, left = 1000;

	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp) == 0);
	most = nvme_qpair_get_entries(qp) - 1;
	printf("%u entries\n", most + 1);
	slots = calloc(most, sizeof(*slots));
	CHECK(slots != NULL);
	slots[0].buf = nvme_dma_alloc(ctrlr, (size_t)most * size);
	CHECK(slots[0].buf != NULL);
	while (left > 0) {
		for (i = 0; i < (int)most; i++) {
			slots[i].buf = slots[0].buf + (size_t)i * size;
			slots[i].done = 0;
			CHECK(nvme_ns_cmd_read(ns, qp, slots[i].buf, (uint64_t)i, 1, slot_done,
			                       &slots[i], 0) == 0);
		}
		rc = nvme_ns_cmd_read(ns, qp, slots[0].buf, 0, 1, slot_done, &slots[0], 0);
		CHECK(rc == -EAGAIN);
		for (n = 0; n < (int)most; n += rc)
			CHECK((rc = nvme_qpair_process_completions(qp, 0)) >= 0);
		for (i = 0; i < (int)most; i++)
			CHECK(slots[i].done == 1);
		left -= (int)most;
		checked(1);
	}
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
	nvme_dma_free(ctrlr, slots[0].buf);
	free(slots);
}

/* ---- commands ----
 *
 * On the first 8192 blocks, of 512 bytes, which get the pattern of SEED: blocks 100 to 299 become
 * zeroes, 2048 to 4095 are deallocated, 5000 to 5019 become copies of 10 to 19 and 30 to 39, and
 * block 6000 is 6001 as Compare and Write leaves it, if the controller can. What the controller
 * lacks is refused.
 */

static void expect_status_code(const struct nvme_cpl *cpl, uint32_t sct, uint32_t sc)
{
	CHECK(NVME_GET(cpl->status, NVME_CPL_SCT) == sct);
	CHECK(NVME_GET(cpl->status, NVME_CPL_SC) == sc);
	checked(1);
}

static void outcome(void *arg, const struct nvme_cpl *cpl)
{
	*(struct nvme_cpl *)arg = *cpl;
}

/* Waits for a command whose callback is outcome(): the CID was FFFFh, which no completion has. */
static void wait_for_outcome(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                             const struct nvme_cpl *cpl)
{
	while (cpl->cid == 0xffff) {
		CHECK(nvme_qpair_process_completions(qp, 0) >= 0);
		CHECK(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
	}
	checked(1);
}

static void commands_with_data(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *buf)
{
	struct nvme_ctrlr *ctrlr = nvme_ns_get_ctrlr(ns);
	struct nvme_cpl cpl;
	int rc;

	CHECK(nvme_ns_compare(ns, NULL, buf, 0, 8192, NULL) == 0);
	buf[512 * 77]++;
	CHECK(nvme_ns_compare(ns, qp, buf, 0, 8192, &cpl) == -EIO);
	expect_status_code(&cpl, NVME_SCT_MEDIA_ERROR, NVME_SC_COMPARE_FAILURE);
	buf[512 * 77]--;
	cpl.cid = 0xffff;
	CHECK(nvme_ns_cmd_compare(ns, qp, buf, 0, 8, outcome, &cpl, 0) == 0);
	wait_for_outcome(ctrlr, qp, &cpl);
	CHECK(!nvme_cpl_is_error(&cpl));
	/* QEMU 7.2 has Verify, but does not say so */
	CHECK(nvme_ns_verify(ns, qp, 0, 8192, NULL) ==
	      ((nvme_ns_get_flags(ns) & NVME_NS_VERIFY_SUPPORTED) != 0 ? 0 : -ENOTSUP));
	cpl.cid = 0xffff;
	rc = nvme_ns_cmd_compare_and_write(ns, qp, buf + 512 * 6000, buf + 512 * 6001, 6000, 1,
	                                   outcome, &cpl);
	if ((nvme_ctrlr_get_data(ctrlr)->fuses & NVME_FUSES_COMPARE_AND_WRITE) != 0) {
		CHECK(rc == 0);
		wait_for_outcome(ctrlr, qp, &cpl);
		CHECK(!nvme_cpl_is_error(&cpl));
	} else {
		CHECK(rc == -ENOTSUP);
	}
	checked(5);
}

static void commands_without_data(struct nvme_ns *ns, struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = nvme_ns_get_ctrlr(ns);
	static struct nvme_dsm_range ranges[512];
	struct nvme_copy_range copies[2];
	struct nvme_cpl cpl;
	uint32_t i;

	CHECK(nvme_ns_write_zeroes(ns, qp, 100, 100, 0, NULL) == 0);
	cpl.cid = 0xffff;
	CHECK(nvme_ns_cmd_write_zeroes(ns, qp, 200, 100, outcome, &cpl, NVME_IO_FLAGS_DEALLOCATE) ==
	      0);
	wait_for_outcome(ctrlr, qp, &cpl);
	CHECK(!nvme_cpl_is_error(&cpl));
	CHECK(nvme_ns_deallocate(ns, qp, 2048, 1024, NULL) == 0);
	for (i = 0; i < 512; i++) { /* two commands: of 256 ranges each */
		ranges[i].slba = 3072 + i * 2;
		ranges[i].nlb = 2;
	}
	cpl.cid = 0xffff;
	CHECK(nvme_ns_cmd_dataset_management(ns, qp, NVME_DSM_ATTR_DEALLOCATE, ranges, 512, outcome,
	                                     &cpl) == 0);
	wait_for_outcome(ctrlr, qp, &cpl);
	CHECK(!nvme_cpl_is_error(&cpl));
	memset(copies, 0, sizeof(copies));
	copies[0].slba = 10;
	copies[1].slba = 30;
	copies[0].nlb = copies[1].nlb = 9; /* 0-based */
	cpl.cid = 0xffff;
	CHECK(nvme_ns_cmd_copy(ns, qp, copies, 2, 5000, outcome, &cpl) == 0);
	wait_for_outcome(ctrlr, qp, &cpl);
	CHECK(!nvme_cpl_is_error(&cpl));
	CHECK(nvme_ns_copy(ns, NULL, copies, 2, nvme_ns_get_num_sectors(ns) - 19, NULL) == -ERANGE);
	checked(8);
}

static void commands_of_features(struct nvme_ctrlr *ctrlr)
{
	uint32_t value = 0;
	uint64_t stamp = 0;
	int rc;

	CHECK(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 333, 0, NULL, 0,
	                             NULL) == 0);
	CHECK(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0, NULL, 0, &value,
	                             NULL) == 0);
	CHECK(value == 333);
	CHECK(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_NUMBER_OF_QUEUES, 0, 0, NULL, 0, &value,
	                             NULL) == 0);
	CHECK(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_TIMESTAMP, 0, 0, &stamp, 8, NULL, NULL) == 0);
	CHECK(nvme_ctrlr_is_feature_supported(ctrlr, NVME_FEAT_TIMESTAMP));
	CHECK(!nvme_ctrlr_is_feature_supported(ctrlr, 0xbf));
	/* QEMU 7.2 answers that this feature is not changeable */
	rc = nvme_ctrlr_set_interrupt_coalescing(ctrlr, 4, 200, NULL);
	CHECK(rc == 0 || rc == -EIO);
	CHECK(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_INTERRUPT_COALESCING, 0, 0, NULL, 0, &value,
	                             NULL) == 0);
	CHECK(value == (rc == 0 ? 0x0203u : 0));
	checked(10);
}

/* An Abort finds nothing to abort: the command was complete long ago. */
static void commands_of_admin(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	static uint8_t whole[4096], part[4096];
	struct nvme_smart_log smart;
	struct nvme_cpl cpl;
	uint32_t i;

	CHECK(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_SMART, NVME_NSID_ALL, &smart,
	                              sizeof(smart), 0, NULL) == 0);
	CHECK((smart.temperature[0] | smart.temperature[1] << 8) > 250);
	CHECK(smart.host_writes[0] != 0);
	CHECK(nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS));
	CHECK(!nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_ANA));
	CHECK(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, whole, 4096, 0,
	                              NULL) == 0);
	for (i = 0; i < 4096; i += 512)
		CHECK(nvme_ctrlr_get_log_page(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, part + i,
		                              512, i, NULL) == 0);
	CHECK(memcmp(whole, part, sizeof(whole)) == 0);
	CHECK((whole[4 * NVME_OPC_IDENTIFY] & 1) != 0);
	cpl.cid = 0xffff;
	CHECK(nvme_ctrlr_cmd_abort(ctrlr, qp, 0, outcome, &cpl) == 0);
	wait_for_outcome(ctrlr, qp, &cpl);
	CHECK(NVME_GET(cpl.cdw0, NVME_ABORT_NOT_ABORTED) == 1);
	checked(11);
}

static void run_commands(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = nvme_dma_alloc(ctrlr, 8192 * 512);
	struct nvme_qpair *qp;

	CHECK(ns != NULL && buf != NULL && nvme_ns_get_sector_size(ns) == 512);
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	pattern_fill(buf, 8192 * 512, 0, seed);
	CHECK(nvme_ns_write(ns, qp, buf, 0, 8192, NULL) == 0);
	commands_with_data(ns, qp, buf);
	commands_without_data(ns, qp);
	CHECK(nvme_ns_flush(ns, qp, NULL) == 0);
	commands_of_features(ctrlr);
	commands_of_admin(ctrlr, qp);
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
	nvme_dma_free(ctrlr, buf);
}

/* ---- limits ---- */

static void run_limits(struct nvme_ctrlr *ctrlr, uint32_t unused)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint64_t nsze = nvme_ns_get_num_sectors(ns);
	uint32_t most = nvme_ns_get_max_nlb(ns, NULL);
	struct nvme_smart_log smart;
	struct slot slot = {NULL, 0, 0, 0};
	struct nvme_qpair *qp;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	char on_stack[512];

	(void)unused;
	printf("max_nlb %u, queues %u\n", most, nvme_ctrlr_get_num_io_queues(ctrlr));
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	slot.buf = nvme_dma_alloc(ctrlr, (size_t)(most + 1) * nvme_ns_get_sector_size(ns));
	CHECK(slot.buf != NULL);

	/* refused by the driver: nothing reaches the device */
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, 0, 0, slot_done, &slot, 0) == -EINVAL);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, 0, 1, slot_done, &slot, 1) == -EINVAL);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, 0, most + 1, slot_done, &slot, 0) == -EMSGSIZE);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, nsze, 1, slot_done, &slot, 0) == -ERANGE);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, nsze - 1, 2, slot_done, &slot, 0) == -ERANGE);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, UINT64_MAX, 8, slot_done, &slot, 0) == -ERANGE);
	CHECK(nvme_ns_cmd_read(ns, qp, on_stack, 0, 1, slot_done, &slot, 0) == -EFAULT);
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf + 1, 0, 1, slot_done, &slot, 0) == -EFAULT);
	CHECK(nvme_ns_read(ns, NULL, on_stack, nsze, 1, NULL) == -ERANGE);
	CHECK(nvme_qpair_get_num_outstanding(qp) == 0);

	/* the largest command goes through */
	CHECK(nvme_ns_cmd_read(ns, qp, slot.buf, 0, most, slot_done, &slot, 0) == 0);
	while (slot.done == 0)
		CHECK(nvme_qpair_process_completions(qp, 0) >= 0);
	CHECK(slot.done == 1);

	/* refused by the device: the status arrives */
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_READ;
	cmd.nsid = 1;
	cmd.cdw10 = (uint32_t)nsze;
	CHECK(nvme_ctrlr_io(ctrlr, qp, &cmd, on_stack, sizeof(on_stack), &cpl) == -EIO);
	CHECK(NVME_GET(cpl.status, NVME_CPL_SCT) == NVME_SCT_GENERIC &&
	      NVME_GET(cpl.status, NVME_CPL_SC) == NVME_SC_LBA_OUT_OF_RANGE);
	cmd.opc = 0x7f;
	CHECK(nvme_ctrlr_io(ctrlr, NULL, &cmd, NULL, 0, &cpl) == -EIO);
	CHECK(NVME_GET(cpl.status, NVME_CPL_SC) == NVME_SC_INVALID_OPCODE &&
	      NVME_GET(cpl.status, NVME_CPL_DNR) == 1);

	/* admin passthrough: the SMART log */
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_LOG_PAGE;
	cmd.nsid = NVME_NSID_ALL;
	cmd.cdw10 = NVME_SET(NVME_LOG_PAGE_SMART, NVME_GET_LOG_PAGE_LID) |
	            NVME_SET(sizeof(smart) / 4 - 1, NVME_GET_LOG_PAGE_NUMDL);
	CHECK(nvme_ctrlr_admin(ctrlr, &cmd, &smart, sizeof(smart), &cpl) == 0);
	printf("temperature %u K\n",
	       smart.temperature[0] | (unsigned int)smart.temperature[1] << 8);
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
	checked(1);
}

/* ---- format ---- */

/* The LBA format with blocks of so many bytes and no metadata. */
static uint8_t find_format(struct nvme_ns *ns, uint32_t block)
{
	const struct nvme_id_ns *id = nvme_ns_get_data(ns);
	uint8_t i;

	for (i = 0; i <= id->nlbaf; i++) {
		if (id->lbaf[i].ms == 0 && 1u << id->lbaf[i].lbads == block)
			return i;
	}
	CHECK(!"there is such a format");
	return 0;
}

/* What holds for the namespace now, tried with a write and a read of single blocks. */
static void expect_block_size(struct nvme_ns *ns, struct nvme_qpair *qp, uint32_t block,
                              uint64_t bytes, uint32_t seed)
{
	uint8_t *buf = nvme_dma_alloc(nvme_ns_get_ctrlr(ns), block);
	uint64_t slba;

	CHECK(buf != NULL);
	CHECK(nvme_ns_get_sector_size(ns) == block);
	CHECK(nvme_ns_get_num_sectors(ns) == bytes / block);
	for (slba = 0; slba < 8; slba++) {
		pattern_fill(buf, block, slba * block, seed);
		CHECK(nvme_ns_write(ns, qp, buf, slba, 1, NULL) == 0);
		memset(buf, 0, block);
		CHECK(nvme_ns_read(ns, qp, buf, slba, 1, NULL) == 0);
		check_extent(buf, block, slba * block, seed);
	}
	CHECK(nvme_ns_read(ns, qp, buf, bytes / block, 1, NULL) == -ERANGE);
	nvme_dma_free(nvme_ns_get_ctrlr(ns), buf);
}

/* Through the function, through the raw command, and back, under a queue pair that stays. */
static void run_format(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint64_t bytes = nvme_ns_get_num_sectors(ns) * nvme_ns_get_sector_size(ns);
	struct nvme_format format;
	struct nvme_qpair *qp;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	memset(&format, 0, sizeof(format));
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	expect_block_size(ns, qp, 512, bytes, seed);
	format.lbaf = find_format(ns, 4096);
	CHECK(nvme_ctrlr_format(ctrlr, 1, &format, &cpl) == 0 && !nvme_cpl_is_error(&cpl));
	expect_block_size(ns, qp, 4096, bytes, seed);
	format.lbaf = (uint8_t)(nvme_ns_get_data(ns)->nlbaf + 1);
	CHECK(nvme_ctrlr_format(ctrlr, 1, &format, &cpl) == -EINVAL);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_FORMAT_NVM;
	cmd.nsid = 1;
	cmd.cdw10 = NVME_SET(find_format(ns, 512), NVME_FORMAT_LBAFL);
	CHECK(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL) == 0);
	expect_block_size(ns, qp, 512, bytes, seed);
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
}

/* ---- vfio ---- */

/* The lab's IOMMU has 39 address bits, and x86 keeps FEE00000h to FEEFFFFFh for interrupts. */
static void check_ranges(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme_dev *dev = &ctrlr->dev;
	bool arena_inside = false;
	unsigned int i;

	CHECK(dev->num_iova >= 2);
	for (i = 0; i < dev->num_iova; i++) {
		const struct nvme_iova_range *r = &dev->iova[i];

		printf("IOVA %llx to %llx\n", (unsigned long long)r->start,
		       (unsigned long long)r->last);
		CHECK(r->last < (uint64_t)1 << 39);
		CHECK(r->last < 0xfee00000 || r->start > 0xfeefffff);
		arena_inside |= ctrlr->arena.iova >= r->start &&
		                ctrlr->arena.iova + ctrlr->arena.window - 1 <= r->last;
	}
	CHECK(arena_inside);
}

static void run_vfio(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	uint32_t cc;

	check_ranges(ctrlr);

	/* a function reset leaves the controller disabled, and it comes up again */
	CHECK(NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CC), NVME_CC_EN) == 1);
	CHECK(ctrlr->dev.ops->reset(&ctrlr->dev) == 0);
	cc = nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CC);
	CHECK(cc != UINT32_MAX && NVME_GET(cc, NVME_CC_EN) == 0);
	CHECK(nvme_ctrlr_start(ctrlr) == 0 && nvme_ctrlr_set_num_queues(ctrlr) == 0);

	/* every register access through pread() and pwrite(), as if nothing could be mapped */
	CHECK(ctrlr->dev.bar0_mapped >= 0x2000);
	ctrlr->dev.bar0_mapped = 0;
	run_pattern(ctrlr, seed);
	CHECK(nvme_ctrlr_get_reg_8(ctrlr, NVME_REG_CAP) == ctrlr->cap);
}

/* ---- events ---- */

struct heard {
	uint32_t events, cdw0, refused;
};

static void hear(void *arg, const struct nvme_cpl *cpl)
{
	struct heard *h = arg;

	h->events++;
	h->cdw0 = cpl->cdw0;
}

static void hear_end(void *arg, const struct nvme_cpl *cpl)
{
	struct heard *h = arg;

	h->refused = cpl->status >> 1;
}

/* Polls for so many milliseconds, or until there were so many events. */
static void hear_for(struct nvme_ctrlr *ctrlr, const struct heard *h, uint32_t events, uint32_t ms)
{
	uint64_t end = device_now_ms(ctrlr) + ms;

	while (h->events < events && device_now_ms(ctrlr) < end) {
		CHECK(nvme_ctrlr_process_admin_completions(ctrlr) >= 0);
		usleep(1000);
	}
}

/* One event of this kind, and no more. */
static void hear_one(struct nvme_ctrlr *ctrlr, struct heard *h, uint32_t cdw0)
{
	uint32_t before = h->events;

	hear_for(ctrlr, h, before + 1, 20000);
	hear_for(ctrlr, h, before + 2, 50);
	CHECK(h->events == before + 1);
	CHECK(h->cdw0 == cdw0);
	checked(1);
}

/* As many requests as the controller takes are there: one more is refused. */
static void hear_one_too_many(struct nvme_ctrlr *ctrlr, struct heard *h)
{
	struct nvme_cmd cmd;

	CHECK(ctrlr->events->outstanding == nvme_ctrlr_get_data(ctrlr)->aerl + 1u);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_ASYNC_EVENT_REQUEST;
	CHECK(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, hear_end, h) == 0);
	hear_for(ctrlr, h, 1, 100);
	CHECK((h->refused & 0x7ff) == 0x105);
	checked(1);
}

static void hear_of_namespaces(struct nvme_ctrlr *ctrlr, struct heard *h)
{
	CHECK(nvme_ctrlr_detach_ns(ctrlr, 2, NULL, 0, NULL) == 0);
	hear_one(ctrlr, h, 0x00040002);
	CHECK(nvme_ctrlr_get_ns(ctrlr, 2) == NULL);
	CHECK(nvme_ctrlr_attach_ns(ctrlr, 2, NULL, 0, NULL) == 0);
	hear_one(ctrlr, h, 0x00040002);
	CHECK(nvme_ns_get_num_sectors(nvme_ctrlr_get_ns(ctrlr, 2)) != 0);
}

/* A warning that is masked is none; the next one is. */
static void hear_of_smart(struct nvme_ctrlr *ctrlr, struct heard *h)
{
	uint32_t before = h->events, config;

	CHECK(nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0, NULL, 0, &config,
	                             NULL) == 0);
	CHECK((config & 0x1f) == 0x1f);
	CHECK(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0, NULL, 0, NULL) ==
	      0);
	printf("masked\n");
	fflush(stdout);
	hear_for(ctrlr, h, before + 1, 1000);
	CHECK(h->events == before);
	CHECK(nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, config, 0, NULL, 0,
	                             NULL) == 0);
	printf("unmasked\n");
	fflush(stdout);
	hear_one(ctrlr, h, 0x00020001);
}

static void run_events(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	static struct heard h; /* what is outstanding at the detach ends after this function */
	struct nvme_qpair *qp;

	(void)seed;
	memset(&h, 0, sizeof(h));
	CHECK(nvme_ctrlr_register_aer_callback(ctrlr, hear, &h) == 0);
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	hear_one_too_many(ctrlr, &h);
	nvme_mmio_write_4(&ctrlr->dev, NVME_SQ_TDBL(50, NVME_GET64(ctrlr->cap, NVME_CAP_DSTRD)), 1);
	hear_one(ctrlr, &h, 0x00010000);
	nvme_mmio_write_4(&ctrlr->dev, qp->sq_tdbl, 0xffff);
	hear_one(ctrlr, &h, 0x00010100);
	hear_of_namespaces(ctrlr, &h);
	hear_of_smart(ctrlr, &h);
	hear_for(ctrlr, &h, UINT32_MAX, 100);
	CHECK(ctrlr->events->outstanding == nvme_ctrlr_get_data(ctrlr)->aerl + 1u);
	CHECK(h.events == 5);
}

static int run_list(void)
{
	struct nvme_pci_info info[8];
	int i, n = nvme_pci_enumerate(info, 8);

	CHECK(n >= 0 && n <= 8 && nvme_pci_enumerate(NULL, 0) == n);
	for (i = 0; i < n; i++)
		printf("%s %04x:%04x %06x driver '%s' group %d node %d\n", info[i].addr,
		       info[i].vendor_id, info[i].device_id, info[i].class_code, info[i].driver,
		       info[i].iommu_group, info[i].numa_node);
	return n;
}

/* ---- scatter ---- */

/* len bytes in pieces, each in a page or several of its own, the last ones first; or odd ones. */
static int scatter_iov(struct iovec *iov, uint8_t *area, size_t len, bool odd)
{
	size_t at = 0, part, least = len > 1 << 20 ? 5000 : 300; /* or they would be too many */
	int n;

	for (n = 0; at < len; at += part) {
		part = odd ? least + 96 * ((size_t)n % 97) : 4096 * (2 + (size_t)n % 3);
		part = part < len - at ? part : len - at;
		iov[n].iov_base = area + (size_t)(1023 - n) * 16384 + (odd ? 4 * (n % 9) : 0);
		iov[n++].iov_len = part;
		CHECK(n < 1023);
	}
	return n;
}

static void scatter_wait(struct nvme_qpair *qp, struct slot *slot)
{
	while (slot->done == 0)
		CHECK(nvme_qpair_process_completions(qp, 0) >= 0);
	CHECK(slot->done == 1);
	slot->done = 0;
}

static void scatter_extent(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *area,
                           const struct extent *e, uint32_t seed, bool odd, uint32_t flags)
{
	uint32_t block = nvme_ns_get_sector_size(ns);
	static struct iovec iov[1024];
	struct slot slot = {0};
	uint64_t pos = (uint64_t)e->block * block;
	int n = scatter_iov(iov, area, (size_t)e->nlb * block, odd), i;

	for (i = 0; i < n; pos += iov[i++].iov_len)
		pattern_fill(iov[i].iov_base, iov[i].iov_len, pos, seed);
	CHECK(nvme_ns_cmd_writev(ns, qp, iov, n, e->block, e->nlb, slot_done, &slot, flags) == 0);
	scatter_wait(qp, &slot);
	memset(area, 0x55, (size_t)1024 * 16384);
	CHECK(nvme_ns_cmd_readv(ns, qp, iov, n, e->block, e->nlb, slot_done, &slot, flags) == 0);
	scatter_wait(qp, &slot);
	for (i = 0, pos = (uint64_t)e->block * block; i < n; pos += iov[i++].iov_len)
		check_extent(iov[i].iov_base, iov[i].iov_len, pos, seed);
}

/* Of the second extent the first block is thrown away. */
static void scatter_hole(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *area, uint32_t seed)
{
	uint32_t block = nvme_ns_get_sector_size(ns);
	struct iovec iov[2] = {{NULL, block}, {area, block}};
	struct slot slot = {0};
	uint64_t slba = pattern_extents[1].block;

	CHECK(nvme_ns_cmd_readv(ns, qp, iov, 2, slba, 2, slot_done, &slot, 0) == 0);
	scatter_wait(qp, &slot);
	check_extent(area, block, (slba + 1) * block, seed);
}

static void run_scatter(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_io_qpair_opts opts = {.entries = 5};
	uint32_t sgls = nvme_ctrlr_get_data(ctrlr)->sgls, support = NVME_GET(sgls, NVME_ID_SGLS);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *area = nvme_dma_alloc(ctrlr, (size_t)1024 * 16384);
	struct nvme_qpair *qp;
	size_t i;

	CHECK(area != NULL && nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp) == 0);
	for (i = 0; i < PATTERN_EXTENTS; i++) {
		bool odd = support != 0 && i % 2 == 0;

		scatter_extent(ns, qp, area, &pattern_extents[i], seed + 1, odd,
		               support != 0 && i % 4 == 3 ? NVME_IO_FLAGS_SGL : 0);
	}
	if (support != 0 && NVME_GET(sgls, NVME_ID_SGLS_BIT_BUCKET) != 0)
		scatter_hole(ns, qp, area, seed + 1);
	printf("SGLS %" PRIx32 "\n", sgls);
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
	CHECK(nvme_ns_flush(ns, NULL, NULL) == 0);
}

/* ---- refusals ---- */

/* What the device answers: the status that is wanted, or another one that some controllers have. */
static void answer(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, const struct nvme_cmd *cmd,
                   uint32_t want, uint32_t other)
{
	struct nvme_cpl cpl;
	uint32_t got;
	int rc;

	rc = qp == NULL ? nvme_ctrlr_admin(ctrlr, cmd, NULL, 0, &cpl)
	                : nvme_ctrlr_io(ctrlr, qp, cmd, NULL, 0, &cpl);
	CHECK(rc == (nvme_cpl_is_error(&cpl) ? -EIO : 0));
	got = cpl.status >> 1 & 0x7ff;
	if (got != want && got != other)
		fprintf(stderr, "run_io: opcode %02x, cdw10 %08x, cdw11 %08x: %03x, not %03x\n",
		        cmd->opc, cmd->cdw10, cmd->cdw11, got, want);
	CHECK(got == want || got == other);
	CHECK(cmd->opc != NVME_OPC_ABORT || qp != NULL || (cpl.cdw0 & 1) == 1);
	checked(1);
}

static void answer_queue(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t qid, uint32_t size,
                         uint32_t cdw11, uint64_t prp1, uint32_t want)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.cdw10 = qid | size << 16;
	cmd.cdw11 = cdw11;
	cmd.dptr.prp.prp1 = prp1;
	/* QEMU says "completion queue invalid" of a queue that is not there, or may not be deleted */
	answer(ctrlr, NULL, &cmd, want, want == 0x101 ? 0x100 : want);
}

/* Queue 7 is created and deleted by hand, with each mistake that can be made. */
static void refused_queues(struct nvme_ctrlr *ctrlr, uint64_t at)
{
	const uint8_t cq = NVME_OPC_CREATE_IO_CQ, sq = NVME_OPC_CREATE_IO_SQ;
	const uint32_t pc = 1, on7 = 7u << 16 | pc;
	uint32_t most = (uint32_t)NVME_GET64(ctrlr->cap, NVME_CAP_MQES);
	struct nvme_cmd cmd;

	CHECK(most < 0xffff);
	answer_queue(ctrlr, sq, 7, 3, on7, at, 0x100); /* its completion queue is not there */
	answer_queue(ctrlr, cq, 0, 3, pc, at, 0x101);
	answer_queue(ctrlr, cq, 0xfff0, 3, pc, at, 0x101);
	answer_queue(ctrlr, cq, 7, 0, pc, at, 0x102);
	answer_queue(ctrlr, cq, 7, most + 1, pc, at, 0x102);
	answer_queue(ctrlr, cq, 7, 3, pc, at + 8, 0x013);
	answer_queue(ctrlr, cq, 7, 3, 0, at, 0x002); /* not contiguous, and CAP.CQR is 1 */
	answer_queue(ctrlr, cq, 7, 3, 2000u << 16 | 2 | pc, at, 0x108);
	answer_queue(ctrlr, cq, 7, 3, pc, at, 0);
	answer_queue(ctrlr, cq, 7, 3, pc, at, 0x101);
	answer_queue(ctrlr, sq, 0, 3, on7, at + 4096, 0x101);
	answer_queue(ctrlr, sq, 7, 0, on7, at + 4096, 0x102);
	answer_queue(ctrlr, sq, 7, most + 1, on7, at + 4096, 0x102);
	answer_queue(ctrlr, sq, 7, 3, on7, at + 4100, 0x013);
	answer_queue(ctrlr, sq, 7, 3, 7u << 16, at + 4096, 0x002);
	answer_queue(ctrlr, sq, 7, 3, on7, at + 4096, 0);
	answer_queue(ctrlr, sq, 7, 3, on7, at + 4096, 0x101);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_CQ, 7, 0, 0, 0, 0x10c); /* still in use */
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_SET_FEATURES;
	cmd.cdw10 = NVME_FEAT_NUMBER_OF_QUEUES;
	answer(ctrlr, NULL, &cmd, 0x00c, 0x00c); /* too late */
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_SQ, 7, 0, 0, 0, 0);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_SQ, 7, 0, 0, 0, 0x101);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_SQ, 0, 0, 0, 0, 0x101);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_CQ, 7, 0, 0, 0, 0);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_CQ, 7, 0, 0, 0, 0x101);
	answer_queue(ctrlr, NVME_OPC_DELETE_IO_CQ, 0, 0, 0, 0, 0x101);
}

/* A read of nlb blocks with this data pointer. */
static void answer_read(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, uint32_t nlb,
                        uint64_t first, uint64_t second, bool sgl, uint32_t want)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_READ;
	cmd.flags = (uint8_t)NVME_SET(sgl ? NVME_PSDT_SGL : 0, NVME_CMD_PSDT);
	cmd.nsid = 1;
	cmd.cdw12 = nlb - 1;
	cmd.dptr.prp.prp1 = first;
	cmd.dptr.prp.prp2 = second;
	answer(ctrlr, qp, &cmd, want, want == 0x011 ? 0x00d : want);
}

/* Mistakes that the driver does not make, sent by hand: the device's answer arrives, and no harm is done. */
static void run_refusals(struct nvme_ctrlr *ctrlr, uint32_t unused)
{
	uint8_t *mem = nvme_dma_alloc(ctrlr, 65536);
	struct nvme_qpair *qp;
	struct nvme_cmd cmd;
	uint64_t at;

	(void)unused;
	CHECK(mem != NULL && nvme_dma_iova(ctrlr, mem, 65536, &at) == 0);
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	refused_queues(ctrlr, at);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = 0x7f;
	cmd.nsid = 1;
	answer(ctrlr, qp, &cmd, 0x001, 0x001);
	cmd.opc = NVME_OPC_READ;
	cmd.dptr.prp.prp1 = at;
	cmd.cdw11 = 1; /* beyond 2^32 blocks */
	answer(ctrlr, qp, &cmd, 0x080, 0x080);
	cmd.cdw11 = 0;
	cmd.nsid = 99;
	answer(ctrlr, qp, &cmd, 0x00b, 0x002);
	cmd.opc = NVME_OPC_ABORT;
	cmd.nsid = 0;
	cmd.cdw10 = 0x12340000u | nvme_qpair_get_id(qp);
	answer(ctrlr, NULL, &cmd, 0, 0x002);
	answer_read(ctrlr, qp, 16, at, at + 4096 + 8, false, 0x013);
	answer_read(ctrlr, qp, 16, at, at + 4096, false, 0);
	answer_read(ctrlr, qp, 2, at, 1023, true, 0x00f);                        /* a byte short */
	answer_read(ctrlr, qp, 2, at, 1024 | UINT64_C(0xf0) << 56, true, 0x011); /* no such type */
	answer_read(ctrlr, qp, 2, at + 4096, 17 | UINT64_C(0x30) << 56, true, 0x00d);
	answer_read(ctrlr, qp, 2, at, 1024, true, 0);
	CHECK(nvme_qpair_get_num_outstanding(qp) == 0);
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
}

/* ---- stray ---- */

/*
 * The device is sent where no memory is mapped for it, as one would go by itself that is broken: to the
 * part of the driver's window behind what is in use, and to address 0. The buffers beside stay as they
 * are, and all goes on, whatever status the device gives.
 */
static void run_stray(struct nvme_ctrlr *ctrlr, uint32_t unused)
{
	const uint64_t nowhere[] = {ctrlr->arena.iova + ctrlr->arena.mapped, 0};
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = nvme_dma_alloc(ctrlr, 65536), *block = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	size_t i, k;

	(void)unused;
	CHECK(buf != NULL && block != NULL);
	memset(buf, 0x5a, 65536);
	for (i = 0; i < 2; i++) {
		memset(&cmd, 0, sizeof(cmd));
		cmd.opc = NVME_OPC_IDENTIFY;
		cmd.cdw10 = NVME_ID_CNS_CTRLR;
		cmd.dptr.prp.prp1 = nowhere[i];
		memset(&cpl, 0, sizeof(cpl));
		(void)nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
		printf("%llx: status %u/%02x\n", (unsigned long long)nowhere[i],
		       NVME_GET(cpl.status, NVME_CPL_SCT), NVME_GET(cpl.status, NVME_CPL_SC));
		for (k = 0; k < 65536; k++)
			CHECK(buf[k] == 0x5a);
		CHECK(nvme_ns_read(ns, NULL, block, 0, 1, NULL) == 0);
		checked(1);
	}
}

/* ---- hold ---- */

static void run_hold(struct nvme_ctrlr *ctrlr, uint32_t unused)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint64_t last = nvme_ns_get_num_sectors(ns) - 1;
	uint8_t *buf = calloc(1, nvme_ns_get_sector_size(ns));

	(void)unused;
	CHECK(buf != NULL);
	printf("holding\n");
	fflush(stdout);
	for (;;)
		CHECK(nvme_ns_write(ns, NULL, buf, last, 1, NULL) == 0);
}

/* ---- the controller memory buffer ---- */

/* Memory of both kinds in one command: what the controller thinks of it. */
static void cmb_mixed(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *cmb)
{
	struct nvme_ctrlr *ctrlr = nvme_ns_get_ctrlr(ns);
	uint32_t block = nvme_ns_get_sector_size(ns);
	uint8_t *host = nvme_dma_alloc(ctrlr, 4096);
	struct iovec iov[2];
	struct slot slot = {0};

	CHECK(host != NULL);
	iov[0].iov_base = host;
	iov[1].iov_base = cmb;
	iov[0].iov_len = iov[1].iov_len = 4096;
	CHECK(nvme_ns_cmd_readv(ns, qp, iov, 2, 0, 8192 / block, slot_done, &slot, 0) == 0);
	while (slot.done == 0)
		CHECK(nvme_qpair_process_completions(qp, 0) >= 0);
	printf("host and controller memory in one command: %s\n",
	       slot.done > 0 ? "done" : "an error");
	nvme_dma_free(ctrlr, host);
}

/* Each extent is written from the buffer, read into it 4 bytes further on, and looked at here. */
static void run_cmb(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint32_t block = nvme_ns_get_sector_size(ns);
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	uint8_t *cmb, *buf;
	size_t size, i;

	memset(&opts, 0, sizeof(opts));
	opts.sq_in_cmb = true;
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp) == 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	buf = malloc(size);
	CHECK(cmb != NULL && buf != NULL);
	for (i = 0; i < PATTERN_EXTENTS; i++) {
		const struct extent *e = &pattern_extents[i];
		size_t len = (size_t)e->nlb * block;

		if (e->block + e->nlb > nvme_ns_get_num_sectors(ns) || len + 4 > size)
			continue;
		pattern_fill(buf, len, (uint64_t)e->block * block, seed);
		memcpy(cmb, buf, len);
		CHECK(nvme_ns_write(ns, qp, cmb, e->block, e->nlb, NULL) == 0);
		CHECK(nvme_ns_read(ns, qp, cmb + 4, e->block, e->nlb, NULL) == 0);
		memcpy(buf, cmb + 4, len);
		check_extent(buf, len, (uint64_t)e->block * block, seed);
	}
	cmb_mixed(ns, qp, cmb);
	CHECK(nvme_ctrlr_unmap_cmb(ctrlr) == 0);
	free(buf);
}

/* ---- resets ---- */

#define RESETS 20

struct write {
	uint8_t *buf;
	int calls;
	bool failed;
};

static void write_ended(void *arg, const struct nvme_cpl *cpl)
{
	struct write *w = arg;

	w->calls++;
	w->failed |= nvme_cpl_is_error(cpl);
}

/* In the middle of 16 writes of 32 KiB, which are sent again. What they wrote is read afterwards. */
static void reset_while_writing(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_io_qpair_opts opts = {.entries = 32, .resubmit = true};
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint32_t block = nvme_ns_get_sector_size(ns), len = 32768, i, k;
	struct write w[16];
	struct nvme_qpair *qp;
	uint8_t *back = malloc(len);

	CHECK(back != NULL && nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp) == 0);
	memset(w, 0, sizeof(w));
	for (i = 0; i < 16; i++)
		CHECK((w[i].buf = nvme_dma_alloc(ctrlr, len)) != NULL);
	for (k = 0; k < RESETS; k++) {
		for (i = 0; i < 16; i++) {
			w[i].calls = 0;
			pattern_fill(w[i].buf, len, (uint64_t)i * len, seed + k);
			CHECK(nvme_ns_cmd_write(ns, qp, w[i].buf, (uint64_t)i * len / block,
			                        len / block, write_ended, &w[i], 0) == 0);
		}
		CHECK(nvme_ctrlr_reset(ctrlr) == 0);
		for (i = 0; i < 16; i += w[i].calls != 0)
			CHECK(nvme_qpair_process_completions(qp, 0) >= 0);
		for (i = 0; i < 16; i++) {
			CHECK(w[i].calls == 1 && !w[i].failed);
			CHECK(nvme_ns_read(ns, qp, back, (uint64_t)i * len / block, len / block,
			                   NULL) == 0);
			check_extent(back, len, (uint64_t)i * len, seed + k);
		}
	}
	CHECK(nvme_ctrlr_free_io_qpair(qp) == 0);
	free(back);
}

static void write_sysfs(const struct nvme_ctrlr *ctrlr, const char *name, long at, const char *data,
                        size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", nvme_ctrlr_get_dev(ctrlr)->name,
	         name);
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0 && pwrite(fd, data, len, at) == (ssize_t)len);
	close(fd);
}

/* The read that is on its way is ended by the ladder's reset, and then all works again. */
static void reset_ends(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, const struct write *w)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t block[4096];
	int rc = 0;

	while (w->calls == 0 && rc >= 0)
		rc = nvme_qpair_process_completions(qp, 0);
	CHECK(rc == -ENXIO && w->calls == 1 && w->failed);
	CHECK(!nvme_ctrlr_is_failed(ctrlr));
	CHECK(nvme_ctrlr_reconnect_io_qpair(qp) == 0);
	CHECK(nvme_ns_read(ns, qp, block, 0, 1, NULL) == 0);
	checked(1);
}

/* QEMU's controller reports a fatal error when it may not read its queue. */
static void run_reset(struct nvme_ctrlr *ctrlr, uint32_t seed)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp;
	struct write w;
	uint32_t csts;

	reset_while_writing(ctrlr, seed);
	memset(&w, 0, sizeof(w));
	CHECK((w.buf = nvme_dma_alloc(ctrlr, 4096)) != NULL);
	CHECK(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0);
	write_sysfs(ctrlr, "config", 4, "\2", 1); /* memory, but no bus master */
	CHECK(nvme_ns_cmd_read(ns, qp, w.buf, 0, 1, write_ended, &w, 0) == 0);
	do
		csts = nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS);
	while (NVME_GET(csts, NVME_CSTS_CFS) == 0);
	write_sysfs(ctrlr, "config", 4, "\6", 1);
	reset_ends(ctrlr, qp, &w);
	/* a function level reset that the driver knows nothing of: the queues are gone */
	w.calls = 0;
	w.failed = false;
	ctrlr->ladder.io_ms = 3000; /* enough for a read, and else waited for */
	write_sysfs(ctrlr, "reset", 0, "1", 1);
	CHECK(NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CC), NVME_CC_EN) == 0);
	write_sysfs(ctrlr, "config", 4, "\6", 1);
	CHECK(nvme_ns_cmd_read(ns, qp, w.buf, 0, 1, write_ended, &w, 0) == 0);
	reset_ends(ctrlr, qp, &w);
}

/* ---- one controller or two ---- */

struct job {
	void (*run)(struct nvme_ctrlr *ctrlr, uint32_t number);
	struct nvme_ctrlr *ctrlr;
	uint32_t number;
	pthread_t thread;
};

static void *run_job(void *arg)
{
	struct job *job = arg;

	job->run(job->ctrlr, job->number);
	return NULL;
}

static void run_jobs(struct job *jobs, int n)
{
	int i;

	for (i = 1; i < n; i++)
		CHECK(pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]) == 0);
	run_job(&jobs[0]);
	for (i = 1; i < n; i++)
		CHECK(pthread_join(jobs[i].thread, NULL) == 0);
}

/* With what the name of the command says: "shadow-async", "cmb-async". */
static int attach(const char *device, bool shadow, bool cmb, struct nvme_ctrlr **ctrlr)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.shadow_doorbells = shadow;
	opts.use_cmb_sqs = cmb;
	return nvme_attach(device, &opts, ctrlr);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct nvme_ctrlr *ctrlr, uint32_t number);
	} commands[] = {
		{"pattern", run_pattern}, {"async", run_async},       {"threads", run_threads},
		{"depth", run_depth},     {"limits", run_limits},     {"hold", run_hold},
		{"vfio", run_vfio},       {"soak", run_soak},         {"format", run_format},
		{"scatter", run_scatter}, {"commands", run_commands}, {"groups", run_groups},
		{"reset", run_reset},     {"cmb", run_cmb},           {"events", run_events},
		{"stray", run_stray},     {"refusals", run_refusals},
	};
	bool shadow = argc > 1 && strncmp(argv[1], "shadow-", 7) == 0;
	bool cmb = argc > 1 && strncmp(argv[1], "cmb-", 4) == 0;
	int k, devices = argc > 4 ? 2 : 1;
	struct job jobs[2];
	size_t i;

	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return run_list() == 0;
	for (i = 0; argc >= 3 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1] + (shadow ? 7 : cmb ? 4 : 0), commands[i].name) != 0)
			continue;
		for (k = 0; k < devices; k++) {
			jobs[k].run = commands[i].run;
			jobs[k].number = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
			CHECK(attach(argv[k == 0 ? 2 : 4], shadow, cmb, &jobs[k].ctrlr) == 0);
		}
		run_jobs(jobs, devices);
		for (k = 0; k < devices; k++)
			CHECK(nvme_detach(jobs[k].ctrlr) == 0);
		printf("%s: %d checks passed\n", argv[1], checks);
		return 0;
	}
	fprintf(stderr,
	        "usage: run_io list | "
	        "[shadow-|cmb-]pattern|async|threads|groups|soak|format|commands|depth|scatter|"
	        "limits|cmb|vfio|events|reset|stray|refusals|hold DEVICE [NUMBER [DEVICE2]]\n");
	return 2;
}
