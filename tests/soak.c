// SPDX-License-Identifier: MIT
/*
 * Everything at once, for long: queue pairs of all kinds, commands of all kinds and sizes, faults,
 * resets from everywhere, queue pairs and memory that come and go, controllers that disappear. What
 * it does follows from a seed. Each block that is written carries a stamp, and what the medium may
 * hold is known block by block: after a write that failed the old stamp or the new one.
 *
 *	soak [-s SEED] [-r ROUNDS] [-n STEPS] [-t THREADS] [DEVICE]
 *
 * A round is an attach, STEPS steps (20000) and a detach, with the seed SEED + number of the round.
 * DEVICE is soft (the default), or a PCI address: of namespace 1 the first blocks are overwritten,
 * and nothing is made to fail but by resets, when nothing is outstanding. THREADS 0 is one thread, on
 * soft with a virtual clock, where a seed always leads to the same; with more each has its own queue
 * pairs. Without -r and -t it is a test of half a minute: some rounds of either kind, and the first
 * one twice. With SOAK_LOG in the environment the log is on standard error.
 *
 * The account at the end has to be even: a callback for each command, no byte wrong, no memory
 * mapped, no doorbell or DMA of the driver where there should be none.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/time.h>
#include <sys/uio.h>

#define MAX_THREADS 8
#define LANES       3   /* queue pairs of a thread */
#define BLOCKS      600 /* that belong to a queue pair */
#define STAMPS      4   /* that a block may have */
#define OPS         12
#define MAX_OPS     48
#define OP_BYTES    ((size_t)256 * 1024)
#define HANG_S      60

enum kind {
	READ,
	WRITE,
	COMPARE,
	WRITE_ZEROES,
	FLUSH,
	DEALLOCATE,
	COPY,
	COMPARE_AND_WRITE,
	VERIFY,
	KINDS
};

/* What a block may hold, and who is at it. */
struct block {
	uint64_t stamps[STAMPS];
	uint8_t num, readers;
	bool writer;
};

struct lane;

/* One command, with the memory that it needs. */
struct op {
	struct lane *lane;
	struct nvme_qpair *qp; /* that it was submitted to */
	enum kind kind;
	uint8_t *dma, *heap;
	uint32_t at, from, nlb; /* blocks of the lane; from: source of a copy */
	uint64_t stamp;
	uint64_t trouble; /* how much there had been when it was submitted */
	bool busy;
	bool limbo; /* nobody knows whether it is over: a blocking call gave up */
	bool other; /* a compare with something else */
};

/* A queue pair, the blocks that nobody else touches, and the model of them. */
struct lane {
	struct worker *worker;
	uint32_t id;
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp; /* NULL: none at the moment */
	struct nvme_ns *ns;
	uint32_t nsid;
	uint64_t base;
	bool grouped;
	int sick; /* what the last poll gave */
	uint32_t failures;
	uint64_t next_stamp;
	struct block block[BLOCKS];
	struct op op[MAX_OPS];
	uint32_t num_ops;
};

struct admin_op {
	int busy;
	uint8_t *dma;
};

struct worker {
	uint32_t id;
	uint64_t random, steps, digest;
	struct lane lane[LANES];
	struct nvme_poll_group *group;
	struct admin_op admin[4];
	void *more; /* DMA memory that comes and goes */
	void *registered;
	bool is_registered;
	pthread_t thread;
};

static struct {
	const char *device;
	bool soft;
	uint32_t threads;
	uint64_t seed, steps;
	/* of the round */
	struct nvme_dev_ops ops;
	struct nvme_ctrlr *ctrlr;
	struct worker *worker;
	uint32_t workers;
	uint32_t lbs, timeout_ms;
	char edits[128]; /* of each plan: what the controller says of itself */
	bool ladder, duplicates, tells_late;
	int over;             /* nothing works any more */
	int gone;             /* on purpose */
	int faults;           /* there is a plan */
	uint64_t trouble;     /* plans and resets so far */
	pthread_mutex_t lock; /* the controller's thread is who has it */
	uint64_t mends;
} run;

/* All that is counted, by all threads. */
static struct {
	uint64_t rounds, steps, submitted, ended, failed, blocking, limbo, admin_submitted,
		admin_ended, refused, resets, reset_errors, callback_resets, reconnects, renewals,
		buried, plans, gone, over, attach_failed, verified, late_doorbells, told;
} sum;

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static int is_set(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(int *flag, int value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

/* ---- failures ---- */

static void last_words(void)
{
	static volatile sig_atomic_t said;
	char text[256];
	int len;
	ssize_t done;

	if (said)
		return;
	said = 1;
	len = snprintf(text, sizeof(text),
	               "soak: at step %" PRIu64 "; again: soak -s %" PRIu64 " -r 1 -n %" PRIu64
	               " -t %" PRIu32 " %s\n",
	               get(&sum.steps), run.seed, run.steps, run.threads, run.device);
	done = write(STDERR_FILENO, text, (size_t)len);
	(void)done;
}

static void __attribute__((format(printf, 1, 2), noreturn)) wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "soak: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	last_words();
	abort();
}

static void on_signal(int sig)
{
	last_words();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Each HANG_S seconds: has there been a step? */
static void on_alarm(int sig)
{
	static uint64_t before = UINT64_MAX;
	static const char text[] = "soak: nothing moves any more\n";
	ssize_t done;

	(void)sig;
	if (get(&sum.steps) != before) {
		before = get(&sum.steps);
		return;
	}
	done = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)done;
	abort();
}

/* There when the program is built with a sanitizer, NULL otherwise. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void catch_crashes(void)
{
	static const struct itimerval each = {{HANG_S, 0}, {HANG_S, 0}};

	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &each, NULL);
	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(last_words);
	else
		signal(SIGSEGV, on_signal);
}

/* The software controller says what the driver did wrong. */
static void hear(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	if (getenv("SOAK_LOG") != NULL)
		fprintf(stderr, "%" PRIu64 ": %s\n", get(&sum.steps), line);
	if (strstr(line, "a bug of the driver") == NULL)
		return;
	/* the thread of a queue pair may ring while another resets the controller */
	if (run.threads == 0 || strstr(line, "doorbell") == NULL)
		wrong("%s", line);
}

/* ---- chance ---- */

static uint64_t draw(struct worker *w)
{
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint32_t below(struct worker *w, uint32_t n)
{
	return (uint32_t)(draw(w) % n);
}

/* In n of 10000 cases. */
static bool chance(struct worker *w, uint32_t n)
{
	return below(w, 10000) < n;
}

/* What happened, in one number: the same for the same seed, where there is one thread. */
static void digest(struct worker *w, uint64_t value)
{
	w->digest = (w->digest ^ value) * UINT64_C(0x100000001b3);
}

/* ---- stamps ---- */

static uint64_t stamp_word(uint64_t stamp, uint32_t i)
{
	uint64_t z = (stamp + i) * UINT64_C(0x9e3779b97f4a7c15);

	return i == 0 || stamp == 0 ? stamp : z ^ z >> 31;
}

static void stamp_block(uint8_t *to, uint64_t stamp)
{
	uint64_t *word = (uint64_t *)(void *)to;
	uint32_t i;

	for (i = 0; i < run.lbs / 8; i++)
		word[i] = stamp_word(stamp, i);
}

/* Is one of the stamps that the block may have there, and nothing else? It is the only one then. */
static void check_block(struct lane *l, uint32_t at, const uint8_t *from, const char *where)
{
	const uint64_t *word = (const uint64_t *)(const void *)from;
	struct block *b = &l->block[at];
	uint32_t i, k;

	for (k = 0; k < b->num && b->stamps[k] != word[0]; k++)
		;
	if (k == b->num)
		wrong("%s: block %" PRIu32 " of queue pair %" PRIu32 " has the stamp %" PRIx64
		      ", not %" PRIx64 " (%u possible)",
		      where, at, l->id, word[0], b->stamps[0], b->num);
	for (i = 1; i < run.lbs / 8; i++) {
		if (word[i] != stamp_word(word[0], i))
			wrong("%s: block %" PRIu32 " of queue pair %" PRIu32
			      " is wrong from byte %u on",
			      where, at, l->id, 8 * i);
	}
	b->stamps[0] = word[0];
	if (!b->writer)
		b->num = 1;
	add(&sum.verified, run.lbs);
}

static bool block_may(struct block *b, uint64_t stamp)
{
	uint32_t k;

	for (k = 0; k < b->num; k++) {
		if (b->stamps[k] == stamp)
			return true;
	}
	if (b->num == STAMPS)
		return false;
	b->stamps[b->num++] = stamp;
	return true;
}

/* ---- which blocks are free for what ---- */

static bool writes(enum kind kind)
{
	return kind == WRITE || kind == WRITE_ZEROES || kind == DEALLOCATE || kind == COPY ||
	       kind == COMPARE_AND_WRITE;
}

/* One who reads what it does not know learns something; what compares or copies has to know. */
static bool may_use(const struct op *op, uint32_t at, bool to_write)
{
	const struct block *b = &op->lane->block[at];
	bool must_know = op->kind == COMPARE || op->kind == COMPARE_AND_WRITE ||
	                 (op->kind == COPY && !to_write);

	if (b->writer || (to_write && b->readers != 0) || b->readers == UINT8_MAX)
		return false;
	if (must_know && b->num != 1)
		return false;
	return !to_write || b->num < STAMPS;
}

static bool may_take(const struct op *op)
{
	uint32_t i;

	for (i = 0; i < op->nlb; i++) {
		if (!may_use(op, op->at + i, writes(op->kind)))
			return false;
		if (op->kind == COPY && !may_use(op, op->from + i, false))
			return false;
	}
	return op->kind != COPY || op->at + op->nlb <= op->from || op->from + op->nlb <= op->at;
}

static void take_blocks(struct op *op, int sign)
{
	struct block *b = op->lane->block;
	uint32_t i;

	for (i = 0; i < op->nlb; i++) {
		if (writes(op->kind))
			b[op->at + i].writer = sign > 0;
		else
			b[op->at + i].readers = (uint8_t)(b[op->at + i].readers + sign);
		if (op->kind == COPY)
			b[op->from + i].readers = (uint8_t)(b[op->from + i].readers + sign);
	}
}

/* What block i holds when it is done. */
static uint64_t outcome(const struct op *op, uint32_t i)
{
	if (op->kind == COPY)
		return op->lane->block[op->from + i].stamps[0];
	return op->kind == WRITE || op->kind == COMPARE_AND_WRITE ? op->stamp + i : 0;
}

static struct op *free_op(struct lane *l)
{
	uint32_t i;

	for (i = 0; i < l->num_ops; i++) {
		if (!l->op[i].busy)
			return &l->op[i];
	}
	return NULL;
}

static void fill(struct op *op, uint8_t *buf)
{
	struct block *b = op->lane->block;
	uint32_t i, lbs = run.lbs;

	for (i = 0; i < op->nlb; i++) {
		if (op->kind == READ)
			memset(buf + (size_t)i * lbs, 0xdb, 24);
		else if (op->kind == WRITE)
			stamp_block(buf + (size_t)i * lbs, op->stamp + i);
		else if (op->kind == COMPARE || op->kind == COMPARE_AND_WRITE)
			stamp_block(buf + (size_t)i * lbs, b[op->at + i].stamps[0]);
		if (op->kind == COMPARE_AND_WRITE)
			stamp_block(buf + OP_BYTES / 2 + (size_t)i * lbs, op->stamp + i);
	}
	if (op->other)
		buf[(size_t)(op->nlb - 1) * lbs + 13] ^= 4;
}

static enum kind draw_kind(struct worker *w)
{
	static const enum kind often[] = {READ, READ, READ, WRITE, WRITE, WRITE};
	uint32_t n = below(w, 14);

	return n < 6 ? often[n] : (enum kind)below(w, KINDS);
}

static bool supported(const struct lane *l, enum kind kind)
{
	static const uint32_t flags[KINDS] = {
		0,
		0,
		NVME_NS_COMPARE_SUPPORTED,
		NVME_NS_WRITE_ZEROES_SUPPORTED,
		0,
		NVME_NS_DEALLOCATE_SUPPORTED,
		NVME_NS_COPY_SUPPORTED,
		NVME_NS_COMPARE_SUPPORTED,
		NVME_NS_VERIFY_SUPPORTED,
	};

	if (kind == COMPARE_AND_WRITE &&
	    ((nvme_ctrlr_get_data(run.ctrlr)->fuses & 1) == 0 || nvme_qpair_get_entries(l->qp) < 3))
		return false;
	return (nvme_ns_get_flags(l->ns) & flags[kind]) == flags[kind];
}

/* A command of at most most blocks, with its blocks taken. NULL: none fits at the moment. */
static struct op *draw_op(struct lane *l, uint32_t most)
{
	struct worker *w = l->worker;
	struct op *op = free_op(l);
	uint32_t tries;

	if (op == NULL)
		return NULL;
	for (tries = 0; tries < 5; tries++) {
		op->kind = draw_kind(w);
		op->nlb = 1 + below(w, chance(w, 3000) || most < 8 ? most : 8);
		op->nlb = op->kind == FLUSH ? 0 : op->nlb;
		op->nlb = op->kind == COMPARE_AND_WRITE && op->nlb > 8 ? 8 : op->nlb;
		op->at = below(w, BLOCKS - op->nlb);
		op->from = below(w, BLOCKS - op->nlb);
		op->other =
			(op->kind == COMPARE || op->kind == COMPARE_AND_WRITE) && chance(w, 2000);
		if (supported(l, op->kind) && may_take(op))
			break;
	}
	if (tries == 5)
		return NULL;
	op->stamp = l->next_stamp;
	l->next_stamp += op->nlb;
	op->trouble = is_set(&run.faults) ? UINT64_MAX : get(&run.trouble);
	op->qp = l->qp;
	op->busy = true;
	take_blocks(op, 1);
	return op;
}

static void drop_op(struct op *op)
{
	take_blocks(op, -1);
	op->busy = op->limbo = false;
}

/* ---- the end of a command ---- */

/* It may have done what it was to do, and nothing else. */
static void may_be_done(struct op *op)
{
	uint32_t i;

	for (i = 0; writes(op->kind) && !op->other && i < op->nlb; i++) {
		if (!block_may(&op->lane->block[op->at + i], outcome(op, i)))
			wrong("a block has too many stamps");
	}
}

static void is_done(struct op *op, const uint8_t *buf)
{
	struct lane *l = op->lane;
	uint32_t i;

	if (op->other)
		wrong("a compare with other data succeeds, kind %d", (int)op->kind);
	if (op->kind == DEALLOCATE)
		may_be_done(op); /* a hint */
	for (i = 0; i < op->nlb; i++) {
		if (op->kind == READ)
			check_block(l, op->at + i, buf + (size_t)i * run.lbs, "read");
		if (!writes(op->kind) || op->kind == DEALLOCATE)
			continue;
		l->block[op->at + i].stamps[0] = outcome(op, i);
		l->block[op->at + i].num = 1;
	}
}

/* Was there a reason? Where nobody did anything wrong nothing fails, except for a late Abort. */
static void check_status(const struct op *op, const struct nvme_cpl *cpl)
{
	uint32_t status =
		NVME_GET(cpl->status, NVME_CPL_SCT) << 8 | NVME_GET(cpl->status, NVME_CPL_SC);

	if (status == (NVME_SCT_MEDIA_ERROR << 8 | NVME_SC_COMPARE_FAILURE)) {
		if (!op->other)
			wrong("a compare with the same data fails, kind %d", (int)op->kind);
		return;
	}
	if (!run.soft) /* QEMU cancels what is out when a queue is deleted: any status may come */
		return;
	if (op->trouble != get(&run.trouble) || is_set(&run.over) || is_set(&run.gone))
		return;
	if (status != NVME_SC_ABORTED_BY_REQUEST && status != NVME_SC_ABORTED_SQ_DELETION &&
	    status != NVME_SC_ABORTED_FAILED_FUSED && status != 0x371)
		wrong("without a reason a command of kind %d has the status %03x", (int)op->kind,
		      status);
}

static void end_op(struct op *op, const struct nvme_cpl *cpl, const uint8_t *buf)
{
	if (!nvme_cpl_is_error(cpl)) {
		is_done(op, buf);
	} else {
		check_status(op, cpl);
		may_be_done(op);
		add(&sum.failed, 1);
	}
	drop_op(op);
}

static void do_reset(struct worker *w);
static bool submit(struct lane *l);

/* What is allowed in a callback, and what is refused there. */
static void use_callback(struct lane *l)
{
	struct worker *w = l->worker;

	if (l->qp == NULL || run.duplicates)
		return;
	if (chance(w, 500))
		(void)submit(l);
	if (chance(w, 50) && nvme_qpair_process_completions(l->qp, 0) != -EBUSY)
		wrong("a callback can poll its queue pair");
	if (chance(w, 50) && nvme_ctrlr_free_io_qpair(l->qp) != -EBUSY)
		wrong("a callback can free its queue pair");
	if (chance(w, 4)) {
		add(&sum.callback_resets, 1);
		do_reset(w);
	}
}

static void on_end(void *arg, const struct nvme_cpl *cpl)
{
	struct op *op = (struct op *)arg;
	struct lane *l = op->lane;

	if (!op->busy || op->limbo)
		wrong("a callback comes twice, kind %d", (int)op->kind);
	add(&sum.ended, 1);
	digest(l->worker, (uint64_t)cpl->status << 16 | (uint64_t)(op - l->op) << 8 | op->kind);
	end_op(op, cpl, op->dma);
	use_callback(l);
}

/* ---- submitting ---- */

/* Pieces of random sizes, next to each other in memory or not: the last come first, in pairs. */
static int cut(struct op *op, struct iovec *iov, bool any_size)
{
	struct worker *w = op->lane->worker;
	size_t len = (size_t)op->nlb * run.lbs, at = 0, n;
	int num = 0;

	while (at < len) {
		n = any_size ? 4 * (1 + (size_t)below(w, 3000)) : 4096 * (1 + (size_t)below(w, 5));
		n = n > len - at || num == 100 ? len - at : n;
		iov[num].iov_base = op->dma + at;
		iov[num++].iov_len = n;
		at += n;
	}
	return num;
}

static int submit_rw(struct op *op, struct nvme_qpair *qp)
{
	struct lane *l = op->lane;
	struct worker *w = l->worker;
	bool sgls = (nvme_ctrlr_get_data(run.ctrlr)->sgls & 3) == 1;
	uint64_t slba = l->base + op->at;
	/* the parts of a transfer follow each other inside a poll, and would meet duplicates */
	uint32_t how = run.duplicates ? 7 : below(w, 8);
	struct iovec iov[128];
	int num;

	if (op->nlb > nvme_ns_get_max_nlb(l->ns, qp) && how > 1 && !run.duplicates)
		how = 0;
	if (how == 0 && op->kind == READ)
		return nvme_ns_cmd_read_large(l->ns, qp, op->dma, slba, op->nlb, on_end, op, 0);
	if (how == 0)
		return nvme_ns_cmd_write_large(l->ns, qp, op->dma, slba, op->nlb, on_end, op, 0);
	num = cut(op, iov, sgls);
	if (how == 1 && op->kind == READ)
		return nvme_ns_cmd_readv(l->ns, qp, iov, num, slba, op->nlb, on_end, op,
		                         sgls ? NVME_IO_FLAGS_SGL : 0);
	if (how == 1)
		return nvme_ns_cmd_writev(l->ns, qp, iov, num, slba, op->nlb, on_end, op, 0);
	if (op->kind == READ)
		return nvme_ns_cmd_read(l->ns, qp, op->dma, slba, op->nlb, on_end, op, 0);
	return nvme_ns_cmd_write(l->ns, qp, op->dma, slba, op->nlb, on_end, op,
	                         how == 2 ? NVME_IO_FLAGS_FUA : 0);
}

static void range_of(const struct op *op, struct nvme_dsm_range *dsm, struct nvme_copy_range *copy)
{
	memset(dsm, 0, sizeof(*dsm));
	dsm->slba = op->lane->base + op->at;
	dsm->nlb = op->nlb;
	memset(copy, 0, sizeof(*copy));
	copy->slba = op->lane->base + op->from;
	copy->nlb = (uint16_t)(op->nlb - 1);
}

static int submit_op(struct op *op, struct nvme_qpair *qp)
{
	struct lane *l = op->lane;
	uint64_t slba = l->base + op->at;
	struct nvme_dsm_range dsm;
	struct nvme_copy_range copy;

	range_of(op, &dsm, &copy);
	switch (op->kind) {
	case COMPARE:
		return nvme_ns_cmd_compare(l->ns, qp, op->dma, slba, op->nlb, on_end, op, 0);
	case WRITE_ZEROES:
		return nvme_ns_cmd_write_zeroes(l->ns, qp, slba, op->nlb, on_end, op, 0);
	case FLUSH:
		return nvme_ns_cmd_flush(l->ns, qp, on_end, op);
	case DEALLOCATE:
		return nvme_ns_cmd_dataset_management(l->ns, qp, NVME_DSM_ATTR_DEALLOCATE, &dsm, 1,
		                                      on_end, op);
	case COPY:
		return nvme_ns_cmd_copy(l->ns, qp, &copy, 1, slba, on_end, op);
	case COMPARE_AND_WRITE:
		return nvme_ns_cmd_compare_and_write(l->ns, qp, op->dma, op->dma + OP_BYTES / 2,
		                                     slba, op->nlb, on_end, op);
	case VERIFY:
		return nvme_ns_cmd_verify(l->ns, qp, slba, op->nlb, on_end, op, 0);
	default:
		return submit_rw(op, qp);
	}
}

/* Errors that say what is the case, and not that something is asked for that cannot be. */
static void check_refusal(struct lane *l, int rc, const char *what)
{
	switch (rc) {
	case -EAGAIN:
	case -ENXIO:
	case -EIO:
	case -ENODEV:
	case -ESHUTDOWN:
	case -ETIMEDOUT:
	case -EBUSY:
	case -ENOENT:
		break;
	default:
		wrong("%s on queue pair %" PRIu32 ": %s", what, l->id, strerror(-rc));
	}
	add(&sum.refused, 1);
	digest(l->worker, (uint64_t)(unsigned int)-rc);
}

static uint32_t most_blocks(const struct lane *l, bool large)
{
	uint32_t fits = (uint32_t)(OP_BYTES / run.lbs), one = nvme_ns_get_max_nlb(l->ns, l->qp);

	fits = fits > BLOCKS / 2 ? BLOCKS / 2 : fits;
	return large || one > fits ? fits : one;
}

/* Blocks that a command without parts can have. */
static uint32_t one_command(const struct lane *l, enum kind kind)
{
	const struct nvme_id_ns *id = nvme_ns_get_data(l->ns);
	uint32_t most = nvme_ns_get_max_nlb(l->ns, l->qp);

	if (kind != COPY)
		return most;
	most = id->mssrl < most ? id->mssrl : most;
	return id->mcl < most ? id->mcl : most;
}

static bool large_kind(enum kind kind)
{
	return kind == READ || kind == WRITE || kind == WRITE_ZEROES || kind == DEALLOCATE ||
	       kind == VERIFY;
}

/* true: one more is on its way. */
static bool submit(struct lane *l)
{
	struct worker *w = l->worker;
	struct op *op;
	int rc;

	if (l->qp == NULL)
		return false;
	op = draw_op(l, most_blocks(l, !run.duplicates && chance(w, 2000)));
	if (op == NULL)
		return false;
	if (!large_kind(op->kind) && op->nlb > one_command(l, op->kind)) {
		drop_op(op);
		return false;
	}
	fill(op, op->dma);
	rc = submit_op(op, l->qp);
	if (rc == 0) {
		add(&sum.submitted, 1);
		return true;
	}
	check_refusal(l, rc, "a submission");
	if (rc == -EBUSY || rc == -ENOENT)
		l->sick = rc;
	drop_op(op);
	return false;
}

/* ---- blocking calls ---- */

static int block_on(struct op *op, struct nvme_qpair *qp, uint8_t *buf, struct nvme_cpl *cpl)
{
	struct lane *l = op->lane;
	uint64_t slba = l->base + op->at;
	struct nvme_dsm_range dsm;
	struct nvme_copy_range copy;

	range_of(op, &dsm, &copy);
	switch (op->kind) {
	case READ:
		return nvme_ns_read(l->ns, qp, buf, slba, op->nlb, cpl);
	case WRITE:
		return nvme_ns_write(l->ns, qp, buf, slba, op->nlb, cpl);
	case COMPARE:
		return nvme_ns_compare(l->ns, qp, buf, slba, op->nlb, cpl);
	case WRITE_ZEROES:
		return nvme_ns_write_zeroes(l->ns, qp, slba, op->nlb, 0, cpl);
	case DEALLOCATE:
		return nvme_ns_deallocate(l->ns, qp, slba, op->nlb, cpl);
	case COPY:
		return nvme_ns_copy(l->ns, qp, &copy, 1, slba, cpl);
	case VERIFY:
		return nvme_ns_verify(l->ns, qp, slba, op->nlb, cpl);
	default:
		return nvme_ns_flush(l->ns, qp, cpl);
	}
}

/* Where no completion came the command may still be executed. */
static void enter_limbo(struct op *op)
{
	may_be_done(op);
	op->limbo = true;
	add(&sum.limbo, 1);
}

/* Nothing of this queue pair is with the controller any more. */
static void leave_limbo(struct lane *l, const struct nvme_qpair *qp)
{
	uint32_t i;

	for (i = 0; i < l->num_ops; i++) {
		if (l->op[i].limbo && l->op[i].qp == qp)
			drop_op(&l->op[i]);
	}
}

static void blocking(struct lane *l)
{
	struct worker *w = l->worker;
	struct op *op;
	struct nvme_cpl cpl;
	uint8_t *buf;
	int rc;

	if (l->qp == NULL)
		return;
	op = draw_op(l, most_blocks(l, true));
	if (op == NULL)
		return;
	if (op->kind == COMPARE_AND_WRITE || (op->kind == COPY && op->nlb > one_command(l, COPY))) {
		drop_op(op);
		return;
	}
	buf = chance(w, 5000) ? op->dma : op->heap;
	fill(op, buf);
	rc = block_on(op, l->qp, buf, &cpl);
	add(&sum.blocking, 1);
	digest(w, (uint64_t)(unsigned int)-rc << 16 | cpl.status);
	if (rc == 0 || rc == -EIO) {
		if (rc == 0 && nvme_cpl_is_error(&cpl))
			wrong("a blocking call gives 0 and an error status");
		if (rc == 0 || (NVME_GET(cpl.status, NVME_CPL_SCT) == NVME_SCT_MEDIA_ERROR &&
		                NVME_GET(cpl.status, NVME_CPL_SC) == NVME_SC_COMPARE_FAILURE)) {
			end_op(op, &cpl, buf);
			return;
		}
	}
	if (rc != -EIO)
		check_refusal(l, rc, "a blocking call");
	enter_limbo(op);
	if (rc == -EBUSY || rc == -ENOENT)
		l->sick = rc;
}

/* ---- polling ---- */

static void found(struct lane *l, int rc)
{
	digest(l->worker, (uint64_t)(unsigned int)rc);
	if (rc == -EBUSY)
		wrong("a poll of queue pair %" PRIu32 " is refused", l->id);
	l->sick = rc < 0 ? rc : 0;
	if (rc >= 0)
		l->failures = 0;
}

static void on_disconnected(struct nvme_qpair *qp, void *ctx)
{
	struct worker *w = (struct worker *)ctx;
	uint32_t i;

	for (i = 0; i < LANES; i++) {
		if (w->lane[i].qp == qp)
			w->lane[i].sick = -ENXIO;
	}
}

static void poll_lane(struct lane *l)
{
	struct worker *w = l->worker;
	uint32_t max = run.duplicates || chance(w, 7000) ? 0 : 1 + below(w, 4);

	if (l->qp == NULL)
		return;
	if (l->grouped && chance(w, 5000)) {
		if (nvme_poll_group_process_completions(w->group, max, on_disconnected) < 0)
			wrong("a poll of a group fails");
	} else if (nvme_qpair_get_fd(l->qp) >= 0 && !run.duplicates && chance(w, 2000)) {
		found(l, nvme_qpair_wait(l->qp, run.threads == 0 ? 0 : (int)below(w, 3)));
	} else {
		found(l, nvme_qpair_process_completions(l->qp, max));
	}
}

/* Time goes by. */
static void idle(struct worker *w, uint32_t looks)
{
	const struct nvme_dev *dev = nvme_ctrlr_get_dev(run.ctrlr);
	uint32_t i;

	if (run.threads != 0 || !run.soft) {
		usleep(50 * looks);
		return;
	}
	for (i = 0; i < looks; i++)
		(void)run.ops.now_ns((struct nvme_dev *)(uintptr_t)dev);
	for (i = 0; i < LANES * 64; i++)
		poll_lane(&w->lane[i % LANES]);
}

/* ---- queue pairs that come and go ---- */

static void lock_ctrlr(void)
{
	pthread_mutex_lock(&run.lock);
}

static void unlock_ctrlr(void)
{
	pthread_mutex_unlock(&run.lock);
}

static void draw_opts(struct worker *w, struct nvme_io_qpair_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
	opts->entries = chance(w, 3000) ? 2 + below(w, 8) : 16 + below(w, 100);
	opts->delay_cmd_submit = chance(w, 3000);
	opts->stats = chance(w, 3000);
	opts->resubmit = chance(w, 4000);
	opts->retry_in_order = chance(w, 2000);
	opts->create_only = chance(w, 1000);
	opts->max_xfer_size = chance(w, 2000) ? 16384 : 0;
}

static void new_ops(struct lane *l, uint32_t n)
{
	for (; n > 0 && l->num_ops < MAX_OPS; n--) {
		struct op *op = &l->op[l->num_ops];

		op->lane = l;
		op->dma = (uint8_t *)nvme_dma_alloc(run.ctrlr, OP_BYTES);
		op->heap = (uint8_t *)malloc(OP_BYTES);
		if (op->dma == NULL || op->heap == NULL)
			wrong("no memory for commands");
		l->num_ops++;
	}
}

static void new_qpair(struct lane *l)
{
	struct worker *w = l->worker;
	int rc;

	draw_opts(w, &l->opts);
	lock_ctrlr();
	rc = nvme_ctrlr_alloc_io_qpair(run.ctrlr, &l->opts, &l->qp);
	unlock_ctrlr();
	digest(w, (uint64_t)(unsigned int)-rc);
	if (rc != 0) {
		l->failures++;
		return;
	}
	if (l->opts.create_only)
		l->sick = -ENXIO;
	l->grouped = chance(w, 4000);
	if (l->grouped && nvme_poll_group_add(w->group, l->qp) != 0)
		wrong("a queue pair cannot be added to a group");
}

/* What is outstanding has ended, unless the controller did not confirm. */
static void free_qpair(struct lane *l)
{
	struct nvme_qpair *qp = l->qp;
	uint32_t i;
	int rc;

	if (qp == NULL)
		return;
	lock_ctrlr();
	rc = nvme_ctrlr_free_io_qpair(qp);
	unlock_ctrlr();
	digest(l->worker, (uint64_t)(unsigned int)-rc);
	if (rc == -EBUSY)
		wrong("queue pair %" PRIu32 " cannot be freed", l->id);
	l->qp = NULL;
	l->sick = 0;
	add(rc == 0 ? &sum.renewals : &sum.buried, 1);
	if (rc == 0)
		leave_limbo(l, qp);
	for (i = 0; i < l->num_ops && rc == 0; i++) {
		if (l->op[i].busy && l->op[i].qp == qp)
			wrong("queue pair %" PRIu32 " is freed, but a command has not ended",
			      l->id);
	}
	if (rc != 0)
		new_ops(l, 4);
}

static void reconnect(struct lane *l)
{
	int rc = nvme_ctrlr_reconnect_io_qpair(l->qp);

	digest(l->worker, (uint64_t)(unsigned int)-rc);
	add(&sum.reconnects, 1);
	if (rc != 0) {
		l->failures++;
		return;
	}
	leave_limbo(l, l->qp);
	l->sick = 0;
}

static void disconnect(struct lane *l)
{
	int rc;

	if (l->qp == NULL)
		return;
	lock_ctrlr();
	rc = nvme_ctrlr_disconnect_io_qpair(l->qp);
	unlock_ctrlr();
	digest(l->worker, (uint64_t)(unsigned int)-rc);
	if (rc == 0 &&
	    (nvme_qpair_is_connected(l->qp) || nvme_qpair_get_num_outstanding(l->qp) != 0))
		wrong("queue pair %" PRIu32 " is not disconnected", l->id);
	l->sick = -ENXIO;
}

static void change_group(struct lane *l)
{
	struct nvme_poll_group *group = l->worker->group;

	if (l->qp == NULL)
		return;
	if ((l->grouped ? nvme_poll_group_remove(group, l->qp)
	                : nvme_poll_group_add(group, l->qp)) != 0)
		wrong("queue pair %" PRIu32 " cannot change its group", l->id);
	l->grouped = !l->grouped;
}

/* ---- faults and resets ---- */

/* A statement of a fault plan. */
static void draw_fault(struct worker *w, char *text, size_t size)
{
	static const char *const kinds[] = {"cmd",          "cmd",     "read",  "write",
	                                    "write-zeroes", "compare", "flush", "opc 0x19"};
	static const char *const status[] = {"0/82", "0/84",       "0/06",
	                                     "2/81", "2/81 dnr",   "0/82 dnr",
	                                     "3/00", "0/06 crd 1", "0/82 crd 2"};
	static const char *const admin[] = {"on abort dw0 1 times 2",
	                                    "on abort drop times 1",
	                                    "on abort delay 5ms times 3",
	                                    "on identify drop times 1",
	                                    "on admin delay 1ms..9ms times 9",
	                                    "on create-io-sq status 1/01 dnr times 1",
	                                    "on create-io-cq drop times 1",
	                                    "on delete-io-sq drop times 1",
	                                    "on delete-io-cq status 0/06 dnr times 1",
	                                    "on get-features drop times 1",
	                                    "on identify status 0/06 dnr times 1",
	                                    "on create-io-sq drop times 1",
	                                    "on admin status 0/82 times 2",
	                                    "on admin cfs times 1",
	                                    "ready after 30ms",
	                                    "cfs at enable once"};
	const char *kind = kinds[below(w, sizeof(kinds) / sizeof(kinds[0]))];
	uint32_t n = 1 + below(w, 6);

	switch (below(w, run.duplicates ? 10 : 9)) {
	case 0:
		snprintf(text, size, "on %s drop times %u", kind, 1 + n / 3);
		break;
	case 1:
		snprintf(text, size, "on %s delay 0us..%ums times %u", kind, 10 * n, 20 * n);
		break;
	case 2:
	case 3:
		snprintf(text, size, "on %s status %s times %u", kind,
		         status[below(w, sizeof(status) / sizeof(status[0]))], n);
		break;
	case 4:
		snprintf(text, size, "on %s cid 65000 times %u", kind, n / 2 + 1);
		break;
	case 5:
		snprintf(text, size, "on %s %s times %u", kind, n < 4 ? "sqid 999" : "sqhd 65535",
		         n);
		break;
	case 6:
		snprintf(text, size, "on %s %s times 1", kind, n < 3 ? "cfs" : "phase-stuck");
		break;
	case 7:
	case 8:
		snprintf(text, size, "%s", admin[below(w, sizeof(admin) / sizeof(admin[0]))]);
		break;
	default:
		snprintf(text, size, "on %s duplicate times %u", kind, n);
	}
}

static void change_plan(struct worker *w, const char *text)
{
	bool faults = text == NULL || *text != '\0';
	char plan[1024], one[128];
	uint32_t n = 1 + below(w, 3);

	if (!run.soft)
		return;
	snprintf(plan, sizeof(plan), "%s; %s", run.edits, text != NULL ? text : "");
	for (; text == NULL && n > 0; n--) {
		draw_fault(w, one, sizeof(one));
		snprintf(plan + strlen(plan), sizeof(plan) - strlen(plan), "%s; ", one);
	}
	set(&run.faults, 1); /* before and after: a command meets the one or the other */
	add(&run.trouble, 1);
	add(&sum.plans, faults);
	if (nvme_soft_set_plan(nvme_ctrlr_get_dev(run.ctrlr), plan) != 0)
		wrong("no fault plan: %s", plan);
	set(&run.faults, faults);
}

/* Commands that have not ended; those of queue pairs that were not let go of end with the detach. */
static uint64_t still_busy(bool of_former_too)
{
	uint32_t i, j, k;
	uint64_t n = 0;

	for (i = 0; i < run.workers; i++) {
		for (j = 0; j < LANES; j++) {
			const struct lane *l = &run.worker[i].lane[j];

			for (k = 0; k < l->num_ops; k++)
				n += l->op[k].busy && !l->op[k].limbo &&
				     (of_former_too || l->op[k].qp == l->qp);
		}
		for (k = 0; k < 4; k++)
			n += (uint64_t)is_set(&run.worker[i].admin[k].busy);
	}
	return n;
}

/*
 * QEMU 7.2 crashes now and then when a reset comes while it works for a queue. Over PCI nothing is
 * outstanding then, and with several threads there are no resets.
 */
static bool may_reset(struct worker *w)
{
	uint32_t i, tries;
	bool busy = !run.soft;

	if (run.soft)
		return true;
	for (i = 0; run.threads != 0 || i < LANES; i++) {
		if (run.threads != 0 || (w->lane[i].qp != NULL && w->lane[i].qp->polling != 0))
			return false;
	}
	for (tries = 0; busy && tries < 1000000; tries++) {
		poll_lane(&w->lane[tries % LANES]);
		busy = still_busy(false) != 0;
	}
	return !busy;
}

static void do_reset(struct worker *w)
{
	int rc;

	if (!may_reset(w))
		return;
	add(&run.trouble, 1);
	rc = nvme_ctrlr_reset(run.ctrlr);
	add(&sum.resets, 1);
	add(&run.trouble, 1);
	digest(w, (uint64_t)(unsigned int)-rc);
	if (rc != 0 && rc != -EBUSY)
		add(&sum.reset_errors, 1);
	if (rc != 0 && !is_set(&run.faults) && rc != -EBUSY && rc != -ENODEV && !run.soft)
		wrong("a reset fails: %s", strerror(-rc));
}

/* The controller was given up: the caller may reset it once more. */
static void recover(struct worker *w)
{
	change_plan(w, "");
	do_reset(w);
	if (nvme_ctrlr_is_failed(run.ctrlr) && ++run.mends > 20)
		set(&run.over, 1);
}

static void on_late(void *arg, struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, uint16_t cid)
{
	struct worker *w = &run.worker[0];

	(void)arg;
	add(&sum.told, 1);
	if (run.threads == 0 && qp != NULL && chance(w, 5000))
		(void)nvme_ctrlr_cmd_abort(ctrlr, qp, cid, nvme__ladder_abort_done, ctrlr);
	else
		(void)nvme_ctrlr_reset(ctrlr);
	add(&run.trouble, 1);
}

/* A queue pair that does not work is connected again, or replaced. */
static void mend(struct lane *l)
{
	struct worker *w = l->worker;

	if (l->sick == -ENODEV && is_set(&run.gone)) {
		set(&run.over, 1);
	} else if (nvme_ctrlr_is_failed(run.ctrlr) || l->sick == -EIO || l->failures % 8 == 7) {
		l->failures++;
		lock_ctrlr();
		recover(w);
		unlock_ctrlr();
	} else if (l->sick == -EBUSY || l->sick == -ENOENT) {
		lock_ctrlr();
		l->ns = nvme_ctrlr_get_ns(run.ctrlr, l->nsid);
		unlock_ctrlr();
		l->sick = 0;
		if (l->ns == NULL)
			set(&run.over, 1);
	} else if (l->failures > 30) {
		set(&run.over, 1); /* all ids are taken by those that were not confirmed */
	} else if (l->qp == NULL) {
		new_qpair(l);
	} else if (l->failures > 3 || chance(w, 2000)) {
		free_qpair(l);
	} else {
		reconnect(l);
	}
}

/* ---- admin commands ---- */

static void on_admin_end(void *arg, const struct nvme_cpl *cpl)
{
	struct admin_op *op = (struct admin_op *)arg;

	(void)cpl;
	if (!is_set(&op->busy))
		wrong("the callback of an admin command comes twice");
	add(&sum.admin_ended, 1);
	if (nvme_ctrlr_reset(run.ctrlr) != -EBUSY)
		wrong("the callback of an admin command can reset the controller");
	set(&op->busy, 0);
}

static void submit_admin(struct worker *w)
{
	struct admin_op *op = &w->admin[below(w, 4)];
	int rc;

	if (is_set(&op->busy))
		return;
	set(&op->busy, 1);
	add(&sum.admin_submitted, 1);
	rc = chance(w, 5000)
	             ? nvme_ctrlr_cmd_get_feature(run.ctrlr, NVME_FEAT_ARBITRATION, 0, 0, NULL, 0,
	                                          on_admin_end, op)
	             : nvme_ctrlr_cmd_get_log_page(run.ctrlr, NVME_LOG_PAGE_SMART, UINT32_MAX,
	                                           op->dma, 512, 0, on_admin_end, op);
	if (rc == 0)
		return;
	add(&sum.admin_submitted, UINT64_MAX);
	set(&op->busy, 0);
}

static void admin(struct worker *w)
{
	struct nvme_id_ctrlr id;
	struct nvme_cmd cmd;

	lock_ctrlr();
	if (chance(w, 4000)) {
		submit_admin(w);
	} else if (chance(w, 1000)) {
		memset(&cmd, 0, sizeof(cmd));
		cmd.opc = NVME_OPC_IDENTIFY;
		cmd.cdw10 = NVME_ID_CNS_CTRLR;
		if (nvme_ctrlr_admin(run.ctrlr, &cmd, &id, sizeof(id), NULL) == 0 &&
		    id.vid != nvme_ctrlr_get_data(run.ctrlr)->vid)
			wrong("Identify gives something else");
	} else {
		(void)nvme_ctrlr_process_admin_completions(run.ctrlr);
	}
	unlock_ctrlr();
}

/* ---- memory ---- */

static void change_memory(struct worker *w)
{
	size_t page = 4096;
	int rc;

	if (chance(w, 5000)) {
		nvme_dma_free(run.ctrlr, w->more);
		w->more = chance(w, 5000) ? nvme_dma_alloc(run.ctrlr, page * (1 + below(w, 300)))
		                          : NULL;
		return;
	}
	rc = w->is_registered ? nvme_dma_unregister(run.ctrlr, w->registered)
	                      : nvme_dma_register(run.ctrlr, w->registered, 16 * page);
	if (rc != 0 && !is_set(&run.over))
		wrong("memory cannot be registered, or no more: %s", strerror(-rc));
	if (rc == 0)
		w->is_registered = !w->is_registered;
}

/* ---- one step ---- */

/* Faults come and go, so that there are times in which nothing may fail. */
static void step_seldom(struct worker *w, struct lane *l)
{
	uint32_t n = below(w, 100);

	if (n < 15 && !run.soft)
		do_reset(w); /* instead of faults */
	else if (n < 25)
		change_plan(w, NULL);
	else if (n < 55)
		change_plan(w, "");
	else if (n < 65)
		idle(w, 1 + below(w, 40));
	else if (n < 70)
		do_reset(w);
	else if (n < 75)
		free_qpair(l);
	else if (n < 80)
		disconnect(l);
	else if (n < 90)
		change_group(l);
	else
		change_memory(w);
}

static void step(struct worker *w)
{
	struct lane *l = &w->lane[below(w, LANES)];
	uint32_t n = below(w, 1000);

	add(&sum.steps, 1);
	if ((l->sick != 0 || l->qp == NULL) && chance(w, 1000))
		mend(l);
	else if (n < 450)
		(void)submit(l);
	else if (n < 940)
		poll_lane(l);
	else if (n < 960 && l->qp != NULL)
		nvme_qpair_ring(l->qp);
	else if (n < 975)
		blocking(l);
	else if (n < 990)
		admin(w);
	else if (n < 994)
		step_seldom(w, l);
}

static void *work(void *arg)
{
	struct worker *w = (struct worker *)arg;

	for (; w->steps > 0 && !is_set(&run.over); w->steps--)
		step(w);
	return NULL;
}

/* ---- a round ---- */

static void new_lane(struct worker *w, uint32_t i)
{
	struct lane *l = &w->lane[i];
	uint32_t k, num_ns = nvme_ctrlr_get_next_active_ns(run.ctrlr, 1) != 0 ? 2 : 1;

	l->worker = w;
	l->id = w->id * LANES + i;
	l->nsid = 1 + l->id % num_ns;
	l->ns = nvme_ctrlr_get_ns(run.ctrlr, l->nsid);
	if (l->ns == NULL)
		wrong("there is no namespace %" PRIu32, l->nsid);
	l->base = (uint64_t)l->id * BLOCKS;
	l->next_stamp = (run.seed & 0xffff) << 40 | (uint64_t)(l->id + 1) << 32 | 1;
	for (k = 0; k < BLOCKS; k++)
		l->block[k].num = 1;
	new_ops(l, OPS);
	new_qpair(l);
}

static void new_worker(uint32_t id, uint64_t steps)
{
	struct worker *w = &run.worker[id];
	uint32_t i;

	w->id = id;
	w->random = run.seed * 64 + id;
	w->steps = steps;
	w->group = nvme_poll_group_create(w);
	w->registered =
		mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->group == NULL || w->registered == MAP_FAILED)
		wrong("no memory");
	for (i = 0; i < 4; i++)
		w->admin[i].dma = (uint8_t *)nvme_dma_alloc(run.ctrlr, 4096);
	for (i = 0; i < LANES; i++)
		new_lane(w, i);
}

/* A disk has something on it before: it is overwritten. */
static void stamp_disk(struct worker *w)
{
	uint32_t i, k;
	uint8_t *buf = (uint8_t *)malloc((size_t)BLOCKS * run.lbs);

	for (i = 0; i < LANES && buf != NULL; i++) {
		struct lane *l = &w->lane[i];

		for (k = 0; k < BLOCKS; k++) {
			l->block[k].stamps[0] = l->next_stamp;
			stamp_block(buf + (size_t)k * run.lbs, l->next_stamp++);
		}
		if (nvme_ns_write(l->ns, NULL, buf, l->base, BLOCKS, NULL) != 0)
			wrong("the disk cannot be written to");
	}
	free(buf);
}

static void read_disk(struct worker *w)
{
	uint32_t i, k;
	uint8_t *buf = (uint8_t *)malloc((size_t)BLOCKS * run.lbs);

	for (i = 0; i < LANES && buf != NULL; i++) {
		struct lane *l = &w->lane[i];

		if (nvme_ns_read(l->ns, NULL, buf, l->base, BLOCKS, NULL) != 0)
			wrong("the disk cannot be read");
		for (k = 0; k < BLOCKS; k++)
			check_block(l, k, buf + (size_t)k * run.lbs, "at the end");
	}
	free(buf);
}

/* A device that is known to be gone is not written to. (Another thread may be about to.) */
static void on_write(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	if (run.threads == 0 && run.ctrlr != NULL && nvme__ctrlr_is_gone(run.ctrlr))
		wrong("a write to register %" PRIx32 " after the device has gone", offset);
	nvme_soft__ops.write_4(dev, offset, value);
}

/* All is off, and all callbacks have run: what is on the medium, and what has the controller seen? */
static void on_close(struct nvme_dev *dev)
{
	struct nvme_soft_stats stats;
	uint32_t i, j, k;
	size_t size;

	nvme_soft_get_stats(dev, &stats);
	add(&sum.late_doorbells, stats.bad_doorbells);
	if (stats.bytes_mapped != 0 || stats.strays != 0)
		wrong("%" PRIu64 " bytes mapped, %" PRIu64 " strays", stats.bytes_mapped,
		      stats.strays);
	for (i = 0; i < run.workers; i++) {
		for (j = 0; j < LANES; j++) {
			struct lane *l = &run.worker[i].lane[j];
			const uint8_t *at =
				(const uint8_t *)nvme_soft_get_ns_memory(dev, l->nsid, &size);

			for (k = 0; at != NULL && k < BLOCKS; k++)
				check_block(l, k, at + (l->base + k) * run.lbs, "on the medium");
		}
	}
	nvme_soft__ops.close(dev);
}

static void draw_device(struct worker *w, char *text, size_t size)
{
	run.lbs = chance(w, 8000) ? 512 : 4096;
	snprintf(run.edits, sizeof(run.edits),
	         "identify crdt1=1; identify crdt2=3; identify acl=%u", below(w, 4));
	snprintf(text, size,
	         "soft:seed=%" PRIu64 ",size=64M,lbs=%" PRIu32 ",ns=%u,mdts=%u,mqes=%u,dbbuf=1,"
	         "sgls=%u,noiob=%u%s,plan=%s",
	         run.seed & 0xffff, run.lbs, 1 + below(w, 2), 1 + below(w, 5),
	         chance(w, 5000) ? 1023 : 15 + below(w, 100), chance(w, 3000) ? 0 : 1,
	         chance(w, 2000) ? 24 : 0, run.threads != 0 ? ",mode=thread" : "", run.edits);
	run.ops = nvme_soft__ops;
	run.ops.write_4 = on_write;
	run.ops.close = on_close;
	if (chance(w, 1000)) {
		size_t used = strlen(text);

		snprintf(text + used, size - used, "; ");
		draw_fault(w, text + used + 2, size - used - 2);
		set(&run.faults, 1);
	}
}

static void draw_ctrlr_opts(struct worker *w, struct nvme_ctrlr_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
	opts->log = hear;
	opts->log_level = getenv("SOAK_LOG") != NULL ? NVME_LOG_INFO : NVME_LOG_NOTICE;
	opts->dev_ops = run.soft ? &run.ops : NULL;
	opts->num_io_queues = 64;
	opts->interrupts = chance(w, 3000);
	opts->shadow_doorbells = run.soft && chance(w, 3000);
	run.duplicates = run.soft && run.threads == 0 && chance(w, 1500);
	opts->retry_count = run.duplicates || chance(w, 1500) ? NVME_RETRY_NEVER : 1 + below(w, 6);
	run.tells_late = chance(w, 1500);
	run.ladder = !run.tells_late;
	run.timeout_ms = 20 + below(w, 150);
	opts->io_timeout_ms = run.soft ? run.timeout_ms : 5000;
	opts->admin_timeout_ms = run.soft ? run.timeout_ms + below(w, 200) : 5000;
}

static void __attribute__((noreturn)) name_busy(void)
{
	uint32_t i, k;

	for (i = 0; i < run.workers * LANES; i++) {
		const struct lane *l = &run.worker[i / LANES].lane[i % LANES];

		for (k = 0; k < l->num_ops; k++) {
			if (l->op[k].busy && !l->op[k].limbo && l->op[k].qp == l->qp)
				fprintf(stderr,
				        "soak: kind %d, queue pair %" PRIu32 ", last poll %d\n",
				        (int)l->op[k].kind, l->id, l->sick);
		}
	}
	wrong("%" PRIu64 " commands are still outstanding after a long time", still_busy(false));
}

/* With a ladder whatever is outstanding ends by itself, when one only polls. */
static void drain(void)
{
	uint32_t i, tries, most = run.threads == 0 ? 3000 : 20000;
	bool busy = true;

	change_plan(&run.worker[0], "");
	for (tries = 0; busy && tries < most && !is_set(&run.over); tries++) {
		for (i = 0; i < run.workers; i++) {
			struct worker *w = &run.worker[i];
			struct lane *l = &w->lane[below(w, LANES)];

			if (l->sick != 0 || l->qp == NULL)
				mend(l);
			if (run.threads == 0)
				idle(w, 4);
			else
				usleep(300);
			poll_lane(&w->lane[0]);
			poll_lane(&w->lane[1]);
			poll_lane(&w->lane[2]);
		}
		lock_ctrlr();
		(void)nvme_ctrlr_process_admin_completions(run.ctrlr);
		unlock_ctrlr();
		busy = still_busy(false) != 0;
	}
	if (busy && run.ladder && !is_set(&run.over))
		name_busy();
}

static void vanish(void)
{
	struct worker *w = &run.worker[0];
	uint32_t i;

	set(&run.gone, 1);
	add(&sum.gone, 1);
	change_plan(w, chance(w, 5000) ? "on cmd gone" : "on admin gone");
	for (i = 0; i < 2000 && !is_set(&run.over); i++)
		step(w);
}

static void end_worker(struct worker *w)
{
	uint32_t i;

	for (i = 0; i < LANES; i++) {
		if (chance(w, 5000))
			free_qpair(&w->lane[i]);
	}
	if (chance(w, 5000)) {
		nvme_dma_free(run.ctrlr, w->more);
		if (w->is_registered && nvme_dma_unregister(run.ctrlr, w->registered) != 0)
			wrong("memory cannot be given back");
	}
}

static void drop_worker(struct worker *w)
{
	uint32_t i, k;

	if (nvme_poll_group_destroy(w->group) != 0)
		wrong("a group has queue pairs that are gone");
	munmap(w->registered, 16 * 4096);
	for (i = 0; i < LANES; i++) {
		for (k = 0; k < w->lane[i].num_ops; k++)
			free(w->lane[i].op[k].heap);
	}
}

static void run_workers(void)
{
	uint32_t i;

	if (run.threads == 0) {
		work(&run.worker[0]);
		return;
	}
	for (i = 0; i < run.workers; i++) {
		if (pthread_create(&run.worker[i].thread, NULL, work, &run.worker[i]) != 0)
			wrong("no thread");
	}
	for (i = 0; i < run.workers; i++)
		pthread_join(run.worker[i].thread, NULL);
}

static void end_round(void)
{
	struct worker *w = &run.worker[0];
	bool faults = run.soft && chance(w, 2500);
	uint32_t i;
	int rc;

	if (run.soft && !is_set(&run.over) && chance(w, 2000))
		vanish();
	else if (!faults)
		drain();
	if (!run.soft)
		read_disk(w);
	for (i = 0; i < run.workers; i++)
		end_worker(&run.worker[i]);
	rc = nvme_detach(run.ctrlr);
	if (rc != 0 && !is_set(&run.over) && !is_set(&run.gone) && !faults)
		wrong("the detach fails: %s", strerror(-rc));
	if (still_busy(true) != 0)
		wrong("%" PRIu64 " commands have not ended", still_busy(true));
	add(&sum.over, (uint64_t)is_set(&run.over));
}

static void attach(struct worker *chances)
{
	struct nvme_ctrlr_opts opts;
	char text[512];
	int rc;

	if (run.soft)
		draw_device(chances, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%s", run.device);
	draw_ctrlr_opts(chances, &opts);
	rc = nvme_attach(text, &opts, &run.ctrlr);
	if (rc != 0 && !is_set(&run.faults))
		wrong("%s cannot be attached: %s", text, strerror(-rc));
	if (rc != 0)
		return;
	if (run.tells_late &&
	    nvme_ctrlr_register_timeout_callback(run.ctrlr, run.timeout_ms * (uint64_t)1000,
	                                         run.timeout_ms * (uint64_t)2000, on_late,
	                                         NULL) != 0)
		wrong("no callback for late commands");
}

/* Returns what happened, in one number. */
static uint64_t one_round(uint64_t seed)
{
	struct worker chances;
	uint64_t result;
	uint32_t i;

	memset(&chances, 0, sizeof(chances));
	chances.random = seed;
	run.seed = seed;
	run.ctrlr = NULL;
	run.workers = 0;
	run.mends = 0;
	set(&run.over, 0);
	set(&run.gone, 0);
	set(&run.faults, 0);
	add(&sum.rounds, 1);
	attach(&chances);
	if (run.ctrlr == NULL) {
		add(&sum.attach_failed, 1);
		return 0;
	}
	run.worker = (struct worker *)calloc(MAX_THREADS, sizeof(*run.worker));
	if (run.worker == NULL)
		wrong("no memory");
	run.lbs = nvme_ns_get_sector_size(nvme_ctrlr_get_ns(run.ctrlr, 1));
	for (i = 0; i < (run.threads == 0 ? 1 : run.threads); i++) {
		new_worker(i, run.steps / (run.threads == 0 ? 1 : run.threads));
		run.workers++;
		if (!run.soft)
			stamp_disk(&run.worker[i]);
	}
	run_workers();
	end_round();
	result = run.worker[0].digest;
	for (i = 0; i < run.workers; i++)
		drop_worker(&run.worker[i]);
	free(run.worker);
	return result;
}

static void account(void)
{
	printf("soak: %" PRIu64 " rounds, %" PRIu64 " steps; %" PRIu64
	       " commands submitted, %" PRIu64 " ended (%" PRIu64 " with an error), %" PRIu64
	       " refused; %" PRIu64 " blocking calls, %" PRIu64 " without an end; %" PRIu64
	       " admin commands submitted, %" PRIu64 " ended\n",
	       sum.rounds, sum.steps, sum.submitted, sum.ended, sum.failed, sum.refused,
	       sum.blocking, sum.limbo, sum.admin_submitted, sum.admin_ended);
	printf("soak: %" PRIu64 " resets (%" PRIu64 " in callbacks, %" PRIu64 " failed), %" PRIu64
	       " late commands told, %" PRIu64 " fault plans, %" PRIu64 " reconnects, %" PRIu64
	       " queue pairs freed and %" PRIu64 " not confirmed, %" PRIu64 " removals, %" PRIu64
	       " rounds ended early, %" PRIu64 " not attached\n",
	       sum.resets, sum.callback_resets, sum.reset_errors, sum.told, sum.plans,
	       sum.reconnects, sum.renewals, sum.buried, sum.gone, sum.over, sum.attach_failed);
	printf("soak: %" PRIu64 " bytes verified, 0 wrong; %" PRIu64 " doorbells during resets\n",
	       sum.verified, sum.late_doorbells);
	if (sum.submitted != sum.ended || sum.admin_submitted != sum.admin_ended)
		wrong("the account is not even");
}

static void rounds(uint64_t seed, uint64_t num, uint32_t threads, uint64_t steps)
{
	uint64_t i;

	run.threads = threads;
	run.steps = steps;
	for (i = 0; i < num; i++)
		(void)one_round(seed + i);
}

/* One seed, one thread, one result. */
static void twice(uint64_t seed)
{
	uint64_t first;

	run.threads = 0;
	run.steps = 20000;
	first = one_round(seed);
	if (one_round(seed) != first)
		wrong("the same seed has led to something else");
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, num = 0, steps = 20000;
	long threads = -1;
	int c;

	while ((c = getopt(argc, argv, "s:r:n:t:")) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			num = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			steps = strtoull(optarg, NULL, 0);
		else if (c == 't')
			threads = strtol(optarg, NULL, 0);
		else
			return 2;
	}
	if (threads > MAX_THREADS)
		return 2;
	run.device = argc > optind ? argv[optind] : "soft";
	run.soft = strcmp(run.device, "soft") == 0;
	pthread_mutex_init(&run.lock, NULL);
	catch_crashes();
	if (threads < 0 && num == 0) {
		twice(seed);
		rounds(seed + 1, 40, 0, steps);
		rounds(seed, 3, 3, steps / 4);
	} else {
		rounds(seed, num != 0 ? num : 1, threads < 0 ? 0 : (uint32_t)threads, steps);
	}
	account();
	return 0;
}
