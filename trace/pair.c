// SPDX-License-Identifier: MIT
/*
 * Finds the command of each completion: same controller, same queue, same CID.
 *
 * Outstanding commands are in a hash table and, in the order of their submission, in a list. Both
 * are bounded: of a trace in which nothing ever completes, the oldest commands are forgotten.
 */
#include "pair.h"

#define BUCKETS    32768u
#define MAX_QUEUES 4096u
#define MAX_SHARED 1024u

struct open_cmd {
	struct open_cmd *next_in_bucket, *older, *newer;
	uint32_t ctrlr;
	uint16_t qid, cid;
	bool hashed; /* false: its CID was used again, it will never be found */
	bool again;  /* known only from the line that is printed at the end of a command */
	bool has_time;
	uint64_t number, time_ns;
	uint32_t have;
	struct nvme_cmd cmd;
};

/* A submission queue whose completions go to a queue of another number. */
struct shared_cq {
	uint32_t ctrlr;
	uint16_t sqid, cqid;
};

struct queue_depth {
	bool used;
	uint32_t ctrlr;
	uint16_t qid;
	uint32_t outstanding;
};

struct pairing {
	struct open_cmd *bucket[BUCKETS];
	struct open_cmd *oldest, *newest;
	uint32_t count;
	uint64_t forgotten;
	struct shared_cq shared[MAX_SHARED];
	uint32_t num_shared;
	struct queue_depth depth[MAX_QUEUES];
};

static uint32_t hash(uint32_t ctrlr, uint16_t qid, uint16_t cid)
{
	uint32_t x = (uint32_t)qid << 16 | cid;

	x = (x ^ ctrlr * 0x9e3779b1u) * 0x85ebca6bu;
	return x ^ x >> 15;
}

struct pairing *pairing_new(void)
{
	return calloc(1, sizeof(struct pairing));
}

/* ---- how many are outstanding on a queue ---- */

/* NULL: more queues than this counts. */
static struct queue_depth *find_depth(struct pairing *p, uint32_t ctrlr, uint16_t qid)
{
	uint32_t at = hash(ctrlr, qid, 0) % MAX_QUEUES, i;
	struct queue_depth *d;

	for (i = 0; i < 64; i++) {
		d = &p->depth[(at + i) % MAX_QUEUES];
		if (d->used && d->ctrlr == ctrlr && d->qid == qid)
			return d;
		if (!d->used) {
			d->used = true;
			d->ctrlr = ctrlr;
			d->qid = qid;
			return d;
		}
	}
	return NULL;
}

static void change_depth(struct pairing *p, const struct open_cmd *c, bool more)
{
	struct queue_depth *d = find_depth(p, c->ctrlr, c->qid);

	if (d != NULL)
		d->outstanding += more ? 1u : d->outstanding > 0 ? 0xffffffffu : 0u;
}

static void show_depth(struct pairing *p, uint16_t qid, struct rec *rec)
{
	struct queue_depth *d = find_depth(p, rec->ctrlr, qid);

	if (d == NULL)
		return;
	rec->outstanding = d->outstanding;
	rec->has |= HAS_DEPTH;
}

/* ---- outstanding commands ---- */

static struct open_cmd *find(const struct pairing *p, uint32_t ctrlr, uint16_t qid, uint16_t cid)
{
	struct open_cmd *c = p->bucket[hash(ctrlr, qid, cid) % BUCKETS];

	while (c != NULL && (c->ctrlr != ctrlr || c->qid != qid || c->cid != cid))
		c = c->next_in_bucket;
	return c;
}

static void unhash(struct pairing *p, struct open_cmd *c)
{
	struct open_cmd **link = &p->bucket[hash(c->ctrlr, c->qid, c->cid) % BUCKETS];

	if (!c->hashed)
		return;
	while (*link != c)
		link = &(*link)->next_in_bucket;
	*link = c->next_in_bucket;
	c->hashed = false;
	change_depth(p, c, false);
}

static void drop(struct pairing *p, struct open_cmd *c)
{
	unhash(p, c);
	*(c->older != NULL ? &c->older->newer : &p->oldest) = c->newer;
	*(c->newer != NULL ? &c->newer->older : &p->newest) = c->older;
	p->count--;
	free(c);
}

static void insert(struct pairing *p, const struct rec *rec)
{
	struct open_cmd *c = calloc(1, sizeof(*c)), **bucket;

	if (c == NULL)
		return;
	if (p->count >= PAIRING_MAX_OPEN) {
		drop(p, p->oldest);
		p->forgotten++;
	}
	c->ctrlr = rec->ctrlr;
	c->qid = rec->qid;
	c->cid = rec->cmd.cid;
	c->again = rec->kind == REC_CMD_AGAIN;
	c->has_time = (rec->has & HAS_TIME) != 0;
	c->number = rec->number;
	c->time_ns = rec->time_ns;
	c->have = rec->cmd_have;
	c->cmd = rec->cmd;
	bucket = &p->bucket[hash(c->ctrlr, c->qid, c->cid) % BUCKETS];
	c->next_in_bucket = *bucket;
	*bucket = c;
	c->hashed = true;
	c->older = p->newest;
	*(p->newest != NULL ? &p->newest->newer : &p->oldest) = c;
	p->newest = c;
	p->count++;
	change_depth(p, c, true);
}

/* ---- which queue completes where ---- */

static void note_create_sq(struct pairing *p, const struct rec *rec)
{
	const uint32_t need = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	uint16_t sqid, cqid;
	uint32_t i;

	if (rec->qid != 0 || rec->cmd.opc != NVME_OPC_CREATE_IO_SQ ||
	    (rec->cmd_have & need) != need)
		return;
	sqid = (uint16_t)NVME_GET(rec->cmd.cdw10, NVME_CREATE_IO_Q_QID);
	cqid = (uint16_t)NVME_GET(rec->cmd.cdw11, NVME_CREATE_IO_SQ_CQID);
	for (i = 0; i < p->num_shared; i++)
		if (p->shared[i].ctrlr == rec->ctrlr && p->shared[i].sqid == sqid)
			break;
	if (i == p->num_shared && (sqid == cqid || i == MAX_SHARED))
		return;
	p->shared[i] = (struct shared_cq){rec->ctrlr, sqid, cqid};
	if (i == p->num_shared)
		p->num_shared++;
}

static bool completes_elsewhere(const struct pairing *p, uint32_t ctrlr, uint16_t qid)
{
	uint32_t i;

	for (i = 0; i < p->num_shared; i++)
		if (p->shared[i].ctrlr == ctrlr && p->shared[i].sqid == qid)
			return p->shared[i].cqid != qid;
	return false;
}

/*
 * The completion names its completion queue only (QEMU): the command is in one of the submission
 * queues that complete there.
 */
static struct open_cmd *find_by_cq(const struct pairing *p, struct rec *rec)
{
	struct open_cmd *c = NULL, *other;
	uint32_t i;

	if (!completes_elsewhere(p, rec->ctrlr, rec->qid))
		c = find(p, rec->ctrlr, rec->qid, rec->cpl.cid);
	for (i = 0; i < p->num_shared; i++) {
		if (p->shared[i].ctrlr != rec->ctrlr || p->shared[i].cqid != rec->qid ||
		    p->shared[i].sqid == rec->qid)
			continue;
		other = find(p, rec->ctrlr, p->shared[i].sqid, rec->cpl.cid);
		if (other == NULL)
			continue;
		if (c != NULL)
			rec->problem = "commands of several queues with this CID complete here: "
				       "taken for the oldest";
		if (c == NULL || other->number < c->number)
			c = other;
	}
	return c;
}

/*
 * Kernels up to about 5.17 print a completion's CID without the generation counter that is in bits
 * 15 to 12 of the command's. Only they do not say the phase and head either.
 */
static struct open_cmd *find_generation(const struct pairing *p, const struct rec *rec)
{
	struct open_cmd *best = NULL, *c;
	unsigned gen;

	if (rec->cpl.cid > 0xfff || (rec->has & (HAS_PHASE | HAS_SQHD | HAS_SQID)) != 0)
		return NULL;
	for (gen = 1; gen < 16; gen++) {
		c = find(p, rec->ctrlr, rec->qid, (uint16_t)(gen << 12 | rec->cpl.cid));
		if (c != NULL && (best == NULL || c->number > best->number))
			best = c;
	}
	return best;
}

/* ---- records ---- */

static void pair_command(struct pairing *p, struct rec *rec)
{
	struct open_cmd *c = find(p, rec->ctrlr, rec->qid, rec->cmd.cid);

	rec->has |= HAS_OPC;
	if (rec->kind == REC_CMD_AGAIN && c != NULL) {
		rec->cmd_number = c->number;
		return;
	}
	if (c != NULL) {
		rec->problem = "its CID is in use: an earlier command with it has not completed";
		unhash(p, c);
	}
	if (rec->kind == REC_COMMAND)
		note_create_sq(p, rec);
	insert(p, rec);
	show_depth(p, rec->qid, rec);
}

static void pair_completion(struct pairing *p, struct rec *rec)
{
	struct open_cmd *c;
	uint16_t qid;

	c = rec->has & HAS_SQID ? find(p, rec->ctrlr, rec->qid, rec->cpl.cid) : find_by_cq(p, rec);
	if (c == NULL)
		c = find_generation(p, rec);
	if (c == NULL) {
		rec->problem = "no command with this CID is outstanding on its queue";
		show_depth(p, rec->qid, rec);
		return;
	}
	qid = c->qid;
	rec->of = c->cmd;
	rec->of_have = c->have;
	if (c->have & HAVE_OPC)
		rec->has |= HAS_OPC;
	rec->cmd_number = c->number;
	if (!c->again && c->has_time && (rec->has & HAS_TIME)) {
		if (rec->time_ns >= c->time_ns) {
			rec->latency_ns = rec->time_ns - c->time_ns;
			rec->has |= HAS_LATENCY;
		} else {
			rec->problem = "it is older than its command";
		}
	}
	drop(p, c);
	show_depth(p, qid, rec);
}

void pairing_record(struct pairing *p, struct rec *rec)
{
	if ((rec->has & HAS_QID) == 0)
		return;
	if (rec->kind == REC_COMMAND || rec->kind == REC_CMD_AGAIN) {
		if (rec->cmd_have & HAVE_OPC)
			pair_command(p, rec);
	} else if (rec->kind == REC_COMPLETION) {
		pair_completion(p, rec);
	}
}

bool pairing_next_open(struct pairing *p, struct rec *rec)
{
	struct open_cmd *c = p->oldest;

	if (c == NULL)
		return false;
	memset(rec, 0, sizeof(*rec));
	rec->kind = REC_COMMAND;
	rec->has = HAS_QID | HAS_CTRLR | HAS_OPC | (c->has_time ? HAS_TIME : 0u);
	rec->cmd_have = c->have;
	rec->number = c->number;
	rec->time_ns = c->time_ns;
	rec->ctrlr = c->ctrlr;
	rec->qid = c->qid;
	rec->cmd = c->cmd;
	rec->problem = "it never completed";
	drop(p, c);
	return true;
}

uint64_t pairing_forgotten(const struct pairing *p)
{
	return p->forgotten;
}

void pairing_free(struct pairing *p)
{
	if (p == NULL)
		return;
	while (p->oldest != NULL)
		drop(p, p->oldest);
	free(p);
}
