// SPDX-License-Identifier: MIT
/*
 * nvtrace A --with B: the same run as two sources saw it, the driver and QEMU, on one timeline.
 *
 * QEMU's log has no clock that could be compared with ours, often none at all, so its lines are
 * placed by their command: what the controller did for a command comes before the host sees the
 * completion. Within each source the order is kept. Only of the time that both cover, one of them can
 * miss a command: what lies outside is counted as before or after.
 *
 * Both are read twice: first only the commands, as a table, to find out which belong together;
 * then everything, to print it.
 */
#include "merge.h"
#include "clean.h"
#include "map.h"
#include "out/prps.h"
#include <sys/stat.h>

#define COMMANDS (UINT32_C(1) << 21) /* in each source */
#define SHIFTS   256  /* so many ways to lay the runs of the two side by side are tried */
#define SAMPLE   1000 /* by so many commands of each queue */
#define LOOK     64   /* so many commands may be missing in one place */
#define STARTS   4096 /* so many places where the one may begin in the other are tried */
#define CTRLRS   64   /* in each source */
#define NONE     UINT32_MAX

/* Is a command without a partner missing, or outside of what the other source covers? */
enum place { MISSING, BEFORE, AFTER };

struct mcmd {
	uint64_t number, cpl_at; /* cpl_at: the completion is that record of the source; 0: none */
	uint64_t time_ns, lba, bytes, dptr[2];
	uint32_t blocks, nsid, run, match;
	uint16_t qid, cid, status;
	uint8_t opc, ctrlr; /* ctrlr: of the side's */
	enum place place;
	bool has_time, has_opc, has_lba, has_blocks, has_bytes, has_nsid, has_status;
	bool has_dptr[2], sgl, has_direction, to_host;
};

/* Attached twice under one name it is the same one. */
struct ctrlr {
	char name[sizeof(((struct nvme_trace_attach *)0)->name)]; /* "": not known */
	uint32_t commands, partner;
	uint32_t first_run, last_run; /* that are compared */
	uint32_t run, run_commands;   /* while it is read */
};

struct side {
	const char *file, *label;
	enum input input;
	struct mcmd *cmd;
	uint32_t *order; /* the commands by controller, run and queue */
	uint32_t count, size, ctrlrs, with_commands;
	struct ctrlr ctrlr[CTRLRS];
	bool named, many; /* its commands name their controller; more than CTRLRS */
	bool has_time;    /* and then the times of its first and last record */
	uint64_t first_ns, last_ns;
	bool cut, no_memory; /* something had to be left out */
	int status;

	/* while it is read */
	struct reader rd;
	struct pairing *pairing;
	struct rec rec;
	struct map open;    /* controller, queue and CID: index of the command */
	struct map numbers; /* of controllers in the source: their index here */
	struct prp_pending prps;
	uint64_t at;    /* records so far */
	uint32_t index; /* commands so far */
	bool started;
};

static int side_start(struct side *s, bool again)
{
	s->at = 0;
	s->index = s->ctrlrs = 0;
	memset(&s->prps, 0, sizeof(s->prps));
	map_init(&s->open, sizeof(uint32_t));
	map_init(&s->numbers, sizeof(uint32_t));
	s->pairing = pairing_new();
	if (s->pairing == NULL) {
		s->no_memory = true;
		return -ENOMEM;
	}
	if (reader_start(&s->rd, s->file, s->input, again) != 0)
		return -EIO;
	s->started = true;
	s->label = s->rd.ops->name;
	return 0;
}

static void side_stop(struct side *s)
{
	rec_free(&s->rec);
	if (s->started) {
		if (reader_status(&s->rd) > s->status)
			s->status = reader_status(&s->rd);
		reader_end(&s->rd);
	}
	if (s->pairing != NULL)
		pairing_free(s->pairing);
	map_free(&s->open);
	map_free(&s->numbers);
	s->pairing = NULL;
	s->started = false;
}

/* Setting up the admin queue begins a run: another driver, or the same one after a reset. */
static bool begins_run(const struct rec *r)
{
	if (r->kind != REC_REG_WRITE)
		return false;
	switch (r->reg.offset) {
	case NVME_REG_AQA:
	case NVME_REG_ASQ:
	case NVME_REG_ACQ:
		return true;
	case NVME_REG_CC:
		return NVME_GET((uint32_t)r->reg.value, NVME_CC_EN) != 0 &&
		       NVME_GET((uint32_t)r->reg.value, NVME_CC_SHN) == NVME_CC_SHN_NONE;
	default:
		return false;
	}
}

/* A controller that was not met before; of too many the last one stands for the rest. */
static uint32_t new_ctrlr(struct side *s, uint32_t number, const char *name)
{
	uint32_t *slot = map_put(&s->numbers, number), i;

	for (i = 0; i < s->ctrlrs && name[0] != '\0'; i++)
		if (strcmp(s->ctrlr[i].name, name) == 0)
			break;
	if (name[0] == '\0')
		i = s->ctrlrs;
	if (i == CTRLRS) {
		s->many = true;
		i--;
	} else if (i == s->ctrlrs) {
		s->ctrlrs++;
		s->ctrlr[i].run = s->ctrlr[i].run_commands = 0;
		snprintf(s->ctrlr[i].name, sizeof(s->ctrlr[i].name), "%s", name);
	}
	if (slot != NULL)
		*slot = i;
	else
		s->no_memory = true;
	return i;
}

/* Which controller a record is of; those of a source that names none are of one. */
static uint32_t find_ctrlr(struct side *s, const struct rec *r)
{
	uint32_t number = (r->has & HAS_CTRLR) != 0 ? r->ctrlr : 0;
	const uint32_t *slot = map_get(&s->numbers, number);

	if (r->kind == REC_ATTACH)
		return new_ctrlr(s, number, r->attach.name);
	return slot != NULL ? *slot : new_ctrlr(s, number, "");
}

/* The next record; for a command or completion *index is the number of the command. */
static bool side_next(struct side *s, uint32_t *ctrlr, uint32_t *index)
{
	struct ctrlr *c;
	uint64_t key;
	uint32_t *slot;

	*index = NONE;
	if (reader_next(&s->rd, s->pairing, &s->rec) <= 0)
		return false;
	s->at++;
	*ctrlr = find_ctrlr(s, &s->rec);
	c = &s->ctrlr[*ctrlr];
	if (begins_run(&s->rec) && c->run_commands != 0) {
		c->run++;
		c->run_commands = 0;
	}
	if ((s->rec.has & HAS_QID) == 0)
		return true;
	if (s->rec.kind == REC_COMMAND) {
		c->run_commands++;
		*index = s->index++;
		slot = map_put(&s->open, map_key(*ctrlr, s->rec.qid, s->rec.cmd.cid));
		if (slot != NULL)
			*slot = *index;
		else
			s->no_memory = true;
	} else if (s->rec.kind == REC_COMPLETION) {
		key = map_key(*ctrlr, s->rec.qid,
		              s->rec.cmd_number != 0 ? s->rec.of.cid : s->rec.cpl.cid);
		slot = map_get(&s->open, key);
		if (slot != NULL) {
			*index = *slot;
			map_remove(&s->open, key);
		}
	}
	return true;
}

/* ---- the first reading: a table of commands ---- */

/* How much data a command moves, which way and where, as far as the source tells. */
static void take_data(struct side *s, struct mcmd *c, const struct rec *r)
{
	uint32_t data = NVME_GET(r->cmd.opc, NVME_OPC_DATA), len, nprp;
	const uint32_t parts[] = {HAVE_DPTR1, HAVE_DPTR2};
	unsigned i;

	memcpy(c->dptr, &r->cmd.dptr, sizeof(c->dptr));
	for (i = 0; i < 2; i++)
		c->has_dptr[i] = (r->cmd_have & parts[i]) == parts[i] && data != NVME_OPC_DATA_NONE;
	c->sgl = (r->cmd_have & HAVE_FLAGS) != 0 &&
	         NVME_GET(r->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP;
	c->has_bytes = prp_pending_take(&s->prps, r, &len, &nprp);
	c->bytes = c->has_bytes ? len : r->bytes;
	/* of others a controller may move less than was asked for */
	c->has_bytes = (c->has_bytes || (r->has & HAS_BYTES) != 0) &&
	               cmd_has_range(r->qid, &r->cmd, r->cmd_have);
	c->has_direction =
		(r->has & HAS_DIRECTION) != 0 ||
		(c->has_opc && (data == NVME_OPC_DATA_TO_CTRLR || data == NVME_OPC_DATA_TO_HOST));
	c->to_host = (r->has & HAS_DIRECTION) != 0 ? r->to_host : data == NVME_OPC_DATA_TO_HOST;
}

static bool add_command(struct side *s, uint32_t ctrlr, const struct rec *r)
{
	struct mcmd *c;
	uint32_t size = s->size == 0 ? 1024 : s->size * 2;

	if (s->count == COMMANDS) {
		s->cut = true;
		return false;
	}
	if (s->count == s->size) {
		c = realloc(s->cmd, size * sizeof(*c));
		if (c == NULL) {
			s->cut = s->no_memory = true;
			return false;
		}
		s->cmd = c;
		s->size = size;
	}
	c = &s->cmd[s->count++];
	memset(c, 0, sizeof(*c));
	c->number = r->number;
	c->ctrlr = (uint8_t)ctrlr;
	c->run = s->ctrlr[ctrlr].run;
	c->match = NONE;
	c->has_time = (r->has & HAS_TIME) != 0;
	c->time_ns = r->time_ns;
	c->qid = r->qid;
	c->cid = r->cmd.cid;
	c->opc = r->cmd.opc;
	c->nsid = r->cmd.nsid;
	c->has_opc = (r->cmd_have & HAVE_OPC) != 0;
	c->has_nsid = (r->cmd_have & HAVE_NSID) != 0;
	c->has_lba = cmd_lba(r->qid, &r->cmd, r->cmd_have, &c->lba);
	c->has_blocks = cmd_blocks(r->qid, &r->cmd, r->cmd_have, &c->blocks);
	take_data(s, c, r);
	s->ctrlr[ctrlr].commands++;
	s->named |= (r->has & HAS_CTRLR) != 0;
	return true;
}

static int compare_places(const void *a, const void *b, void *arg)
{
	const struct mcmd *cmd = arg;
	uint32_t i, j;

	memcpy(&i, a, sizeof(i));
	memcpy(&j, b, sizeof(j));
	if (cmd[i].ctrlr != cmd[j].ctrlr)
		return cmd[i].ctrlr < cmd[j].ctrlr ? -1 : 1;
	if (cmd[i].run != cmd[j].run)
		return cmd[i].run < cmd[j].run ? -1 : 1;
	if (cmd[i].qid != cmd[j].qid)
		return cmd[i].qid < cmd[j].qid ? -1 : 1;
	return i < j ? -1 : i > j;
}

static void take_record(struct side *s, uint32_t index)
{
	const struct rec *r = &s->rec;

	if ((r->has & HAS_TIME) != 0) {
		if (!s->has_time || r->time_ns < s->first_ns)
			s->first_ns = r->time_ns;
		if (!s->has_time || r->time_ns > s->last_ns)
			s->last_ns = r->time_ns;
		s->has_time = true;
	}
	if (r->kind == REC_PRP && (r->has & HAS_QID) != 0)
		prp_pending_put(&s->prps, r);
	if (r->kind == REC_COMPLETION && index < s->count) {
		s->cmd[index].cpl_at = s->at;
		s->cmd[index].has_status = (r->has & HAS_STATUS) != 0;
		s->cmd[index].status = (uint16_t)(cpl_sct(&r->cpl) << 8 | cpl_sc(&r->cpl));
	}
}

static int side_read(struct side *s)
{
	uint32_t ctrlr, index, i;
	int rc = side_start(s, false);

	while (rc == 0 && side_next(s, &ctrlr, &index)) {
		if (s->rec.kind == REC_COMMAND && index != NONE && !add_command(s, ctrlr, &s->rec))
			break;
		take_record(s, index);
	}
	for (i = 0; i < s->ctrlrs; i++) {
		s->with_commands += s->ctrlr[i].commands != 0;
		s->ctrlr[i].partner = NONE;
		s->ctrlr[i].last_run = s->ctrlr[i].run;
	}
	side_stop(s);
	s->order = calloc(s->count + 1u, sizeof(*s->order));
	s->no_memory |= s->order == NULL;
	if (rc != 0 || s->order == NULL)
		return rc != 0 ? rc : -ENOMEM;
	for (i = 0; i < s->count; i++)
		s->order[i] = i;
	qsort_r(s->order, s->count, sizeof(*s->order), compare_places, s->cmd);
	return 0;
}

/* ---- which controllers belong together ---- */

static void pair_ctrlrs(struct side *a, uint32_t i, struct side *b, uint32_t j)
{
	a->ctrlr[i].partner = j;
	b->ctrlr[j].partner = i;
}

/* The next one from *i on that has commands and no partner yet. */
static bool next_alone(const struct side *s, uint32_t *i)
{
	while (*i < s->ctrlrs && (s->ctrlr[*i].commands == 0 || s->ctrlr[*i].partner != NONE))
		++*i;
	return *i < s->ctrlrs;
}

static void pair_by_name(struct side *a, struct side *b)
{
	uint32_t i, j;

	for (i = 0; next_alone(a, &i); i++)
		for (j = 0; next_alone(b, &j); j++)
			if (a->ctrlr[i].name[0] != '\0' &&
			    strcmp(a->ctrlr[i].name, b->ctrlr[j].name) == 0) {
				pair_ctrlrs(a, i, b, j);
				break;
			}
}

static int decline(const struct side *many, const struct side *other)
{
	if (!other->named)
		fprintf(stderr,
		        "nvtrace: %s has commands of %" PRIu32 " controllers, and %s does not say "
		        "of which its commands are: record one controller at a time\n",
		        many->file, many->with_commands, other->file);
	else
		fprintf(stderr,
		        "nvtrace: which of the %" PRIu32 " controllers in %s are the %" PRIu32
		        " in %s is not in their names: record the same controllers in both\n",
		        many->with_commands, many->file, other->with_commands, other->file);
	return -EINVAL;
}

/*
 * By their names; where these are of different kinds, or unknown, in the order in which they appear,
 * if there are as many. One alone needs no name.
 */
static int match_ctrlrs(struct side *a, struct side *b)
{
	const struct side *many = a->with_commands >= b->with_commands ? a : b;
	const struct side *other = many == a ? b : a;
	uint32_t i = 0, j = 0;
	bool found = false;

	if (a->many || b->many || (many->with_commands > 1 && !other->named && other->count > 0))
		return decline(a->many ? a : b->many ? b : many, a->many ? b : b->many ? a : other);
	pair_by_name(a, b);
	for (i = 0; i < a->ctrlrs; i++)
		found |= a->ctrlr[i].partner != NONE;
	if (!found && a->with_commands != b->with_commands && other->count > 0)
		return decline(many, other);
	for (i = j = 0; !found && next_alone(a, &i) && next_alone(b, &j); i++, j++)
		pair_ctrlrs(a, i, b, j);
	return 0;
}

/* ---- which commands belong together ---- */

static bool same(const struct mcmd *a, const struct mcmd *b)
{
	return a->cid == b->cid && (!a->has_opc || !b->has_opc || a->opc == b->opc) &&
	       (!a->has_lba || !b->has_lba || a->lba == b->lba) &&
	       (!a->has_blocks || !b->has_blocks || a->blocks == b->blocks);
}

/* Commands of one queue in one run, in the order of submission. */
struct part {
	struct mcmd *cmd;
	const uint32_t *order;
	uint32_t at, end;
};

static struct mcmd *part_at(const struct part *p, uint32_t ahead)
{
	return ahead < p->end - p->at ? &p->cmd[p->order[p->at + ahead]] : NULL;
}

/* Do the two go on alike when so many are skipped on either side? Two in a row are believed. */
static bool goes_on(const struct part *a, uint32_t skip_a, const struct part *b, uint32_t skip_b)
{
	const struct mcmd *x = part_at(a, skip_a), *y = part_at(b, skip_b);

	if (x == NULL || y == NULL || !same(x, y))
		return false;
	x = part_at(a, skip_a + 1);
	y = part_at(b, skip_b + 1);
	return x == NULL || y == NULL || same(x, y);
}

/*
 * Both sources keep the order of a queue, so a walk along both finds the partners. Returns how many
 * are the same; with `keep` the partners are noted.
 */
static uint32_t match_queue(struct part a, struct part b, bool keep)
{
	uint32_t agree = 0, skip, skip_a, skip_b, tried = 0;
	struct mcmd *x, *y;

	while ((keep || tried++ < SAMPLE) && (x = part_at(&a, 0)) != NULL &&
	       (y = part_at(&b, 0)) != NULL) {
		skip_a = skip_b = 0;
		for (skip = 1; !same(x, y) && skip <= LOOK; skip++) {
			skip_a = goes_on(&a, skip, &b, 0) ? skip : 0;
			skip_b = skip_a == 0 && goes_on(&a, 0, &b, skip) ? skip : 0;
			if (skip_a != 0 || skip_b != 0)
				break;
		}
		a.at += skip_a;
		b.at += skip_b;
		if (skip_a != 0 || skip_b != 0)
			continue;
		if (keep && x->cid == y->cid) {
			x->match = b.order[b.at];
			y->match = a.order[a.at];
		}
		agree += same(x, y);
		a.at++;
		b.at++;
	}
	return agree;
}

/* So many commands in front of the one are not in the other, whose record begins later. */
static void find_start(struct part *a, const struct part *b, uint32_t *best)
{
	uint32_t skip, agree, skip_best = 0, tried = 0;
	struct part from = *a;

	for (skip = 1; skip < a->end - a->at && tried < STARTS; skip++) {
		if (!goes_on(a, skip, b, 0))
			continue;
		tried++;
		from.at = a->at + skip;
		agree = match_queue(from, *b, false);
		if (agree > *best) {
			*best = agree;
			skip_best = skip;
		}
	}
	a->at += skip_best;
}

/* Where only a few agree from the start on, another place to begin may be better. */
static uint32_t match_part(struct part a, struct part b, bool keep)
{
	uint32_t best = match_queue(a, b, false), most = a.end - a.at, before = best;
	struct part later = b;

	most = most < b.end - b.at ? most : b.end - b.at;
	most = most < SAMPLE ? most : SAMPLE;
	if (best < most - most / 4) {
		find_start(&later, &a, &best);
		before = best;
		find_start(&a, &b, &best);
		if (best == before)
			b = later;
	}
	return keep ? match_queue(a, b, true) : best;
}

static uint32_t first_of_run(const struct side *s, uint32_t ctrlr, uint32_t run)
{
	uint32_t low = 0, high = s->count, mid;
	const struct mcmd *c;

	while (low < high) {
		mid = low + (high - low) / 2;
		c = &s->cmd[s->order[mid]];
		if (c->ctrlr < ctrlr || (c->ctrlr == ctrlr && c->run < run))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool next_part(const struct side *s, uint32_t *at, struct part *p)
{
	const struct mcmd *first = &s->cmd[s->order[*at]], *c = first;

	p->cmd = s->cmd;
	p->order = s->order;
	p->at = p->end = *at;
	while (p->end < s->count && c->ctrlr == first->ctrlr && c->run == first->run &&
	       c->qid == first->qid)
		c = &s->cmd[s->order[++p->end]];
	return p->at < p->end;
}

/* The same, of one run of one controller only. */
static bool part_of_run(const struct side *s, uint32_t ctrlr, uint32_t run, uint32_t *at,
                        struct part *p)
{
	const struct mcmd *c;

	if (*at == NONE)
		*at = first_of_run(s, ctrlr, run);
	if (*at == s->count)
		return false;
	c = &s->cmd[s->order[*at]];
	return c->ctrlr == ctrlr && c->run == run && next_part(s, at, p);
}

static uint32_t match_runs(struct side *a, uint32_t ctrlr_a, uint32_t run_a, struct side *b,
                           uint32_t ctrlr_b, uint32_t run_b, bool keep)
{
	uint32_t at_a = NONE, at_b = NONE, agree = 0, qa, qb;
	struct part pa, pb;

	while (part_of_run(a, ctrlr_a, run_a, &at_a, &pa) &&
	       part_of_run(b, ctrlr_b, run_b, &at_b, &pb)) {
		qa = a->cmd[a->order[at_a]].qid;
		qb = b->cmd[b->order[at_b]].qid;
		if (qa == qb)
			agree += match_part(pa, pb, keep);
		if (qa <= qb)
			at_a = pa.end;
		if (qb <= qa)
			at_b = pb.end;
	}
	return agree;
}

/*
 * A log of QEMU also has what firmware, kernel and other drivers did before and after. The runs of
 * the one that has fewer are those of the other with which they agree most.
 */
static void match_ctrlr(struct side *few, uint32_t i, struct side *many, uint32_t j)
{
	struct ctrlr *f = &few->ctrlr[i], *m = &many->ctrlr[j];
	uint32_t runs = f->last_run + 1, more = m->last_run - f->last_run, shift, run;
	uint64_t agree, best = 0;

	for (shift = 0; shift <= more && shift < SHIFTS; shift++) {
		for (agree = 0, run = 0; run < runs; run++)
			agree += match_runs(few, i, run, many, j, shift + run, false);
		if (agree >= best) { /* the last one: the driver under test comes after others */
			best = agree;
			m->first_run = shift;
		}
	}
	m->last_run = m->first_run + runs - 1;
	for (run = 0; run < runs; run++)
		match_runs(few, i, run, many, j, m->first_run + run, true);
}

/* Is it of a controller and a run that the other source has, too? */
static bool is_compared(const struct side *s, uint32_t ctrlr, uint32_t run)
{
	const struct ctrlr *c = &s->ctrlr[ctrlr];

	return c->partner != NONE && run >= c->first_run && run <= c->last_run;
}

/* ---- what both cover ---- */

struct window {
	bool timed;           /* there are times in both: */
	int64_t low, high;    /* what b says of a command is between so much later than a does */
	bool late, early;     /* without: the other one begins later, it ends earlier */
	uint32_t first, last; /* commands with a partner */
};

static void find_lag(struct window *w, const struct side *a, const struct side *b)
{
	const struct mcmd *x, *y;
	int64_t lag;
	uint32_t i;

	for (i = 0; i < a->count; i++) {
		x = &a->cmd[i];
		y = x->match != NONE ? &b->cmd[x->match] : NULL;
		if (y == NULL || !x->has_time || !y->has_time || !same(x, y))
			continue;
		lag = (int64_t)(y->time_ns - x->time_ns);
		if (!w->timed || lag < w->low)
			w->low = lag;
		if (!w->timed || lag > w->high)
			w->high = lag;
		w->timed = true;
	}
}

/* Whether the first and the last command have a partner; false: none has. */
static bool find_ends(const struct side *s, struct window *w, bool alone[2])
{
	uint32_t i, first = NONE, last = NONE;

	w->first = w->last = NONE;
	for (i = 0; i < s->count; i++) {
		if (!is_compared(s, s->cmd[i].ctrlr, s->cmd[i].run))
			continue;
		if (first == NONE)
			first = i;
		last = i;
		if (s->cmd[i].match == NONE)
			continue;
		if (w->first == NONE)
			w->first = i;
		w->last = i;
	}
	alone[0] = first != w->first;
	alone[1] = last != w->last;
	return w->first != NONE;
}

/*
 * Where a command without a partner stands: in front of all in its queue that have one (`early`),
 * behind them (`late`), or both, when none has. The other source would have seen it at some time
 * between low and high later: was it recording then? Without times a source that has nothing of its
 * own at an end is taken for one that begins later, or ends earlier.
 */
static enum place find_place(const struct window *w, const struct side *other, const struct mcmd *c,
                             uint32_t index, bool early, bool late)
{
	if (w->timed && c->has_time) {
		if (early && (int64_t)(c->time_ns + (uint64_t)w->low - other->first_ns) < 0)
			return BEFORE;
		if (late && (int64_t)(c->time_ns + (uint64_t)w->high - other->last_ns) > 0)
			return AFTER;
		return MISSING;
	}
	if (early && w->late && (!late || index < w->first))
		return BEFORE;
	if (late && w->early && (!early || index > w->last))
		return AFTER;
	return MISSING;
}

static void place_part(struct side *s, const struct side *other, const struct window *w,
                       const struct part *p)
{
	uint32_t first = NONE, last = NONE, i;
	struct mcmd *c;

	for (i = p->at; i < p->end; i++) {
		if (s->cmd[s->order[i]].match == NONE)
			continue;
		first = first == NONE ? i : first;
		last = i;
	}
	for (i = p->at; i < p->end; i++) {
		c = &s->cmd[s->order[i]];
		if (c->match == NONE)
			c->place = find_place(w, other, c, s->order[i], first == NONE || i < first,
			                      last == NONE || i > last);
	}
}

static void place_all(struct side *s, const struct side *other, const struct window *w)
{
	struct part p;
	uint32_t at = 0;

	while (at < s->count && next_part(s, &at, &p)) {
		if (is_compared(s, s->cmd[s->order[at]].ctrlr, s->cmd[s->order[at]].run))
			place_part(s, other, w, &p);
		at = p.end;
	}
}

static void find_window(struct side *a, struct side *b)
{
	struct window of_a = {.timed = false}, of_b;
	bool alone_a[2], alone_b[2];

	find_lag(&of_a, a, b);
	of_b = of_a;
	of_b.low = -of_a.high;
	of_b.high = -of_a.low;
	if (!find_ends(a, &of_a, alone_a) || !find_ends(b, &of_b, alone_b))
		return; /* nothing in common */
	of_a.late = alone_a[0] && !alone_b[0];
	of_b.late = alone_b[0] && !alone_a[0];
	of_a.early = alone_a[1] && !alone_b[1];
	of_b.early = alone_b[1] && !alone_a[1];
	place_all(a, b, &of_a);
	place_all(b, a, &of_b);
}

static void match(struct side *a, struct side *b)
{
	uint32_t i, j;

	for (i = 0; i < a->ctrlrs; i++) {
		j = a->ctrlr[i].partner;
		if (j == NONE)
			continue;
		if (a->ctrlr[i].last_run <= b->ctrlr[j].last_run)
			match_ctrlr(a, i, b, j);
		else
			match_ctrlr(b, j, a, i);
	}
	find_window(a, b);
}

/* ---- the second reading: the timeline ---- */

struct merge {
	struct side a, b;
	const struct options *options;
	uint64_t agree, differ;
	uint64_t alone_a[3], alone_b[3]; /* without a partner, by enum place */
	uint64_t runs_a, runs_b;         /* of other runs */
	uint64_t ctrlrs_a, ctrlrs_b;     /* of other controllers */
	uint64_t start_ns;
	uint32_t peek_index, peek_ctrlr;
	bool has_start, peeked; /* peeked: b.rec is read and not yet printed */
};

static void describe(char *buf, size_t size, const struct merge *m, const struct rec *r)
{
	buf[0] = '\0';
	switch (r->kind) {
	case REC_COMMAND:
	case REC_COMPLETION:
		style_format_rec(buf, size, (int)m->options->style, r);
		break;
	case REC_DOORBELL:
		snprintf(buf, size, "%s %u doorbell: %s %" PRIu32,
		         r->doorbell.cq != 0 ? "CQ" : "SQ", (unsigned)r->qid,
		         r->doorbell.cq != 0 ? "head" : "tail", r->doorbell.new_value);
		break;
	case REC_REG_WRITE:
		nvme_format_reg_name(buf, size, r->reg.offset, 0);
		text_add(buf, size, " = 0x%" PRIx64, r->reg.value);
		break;
	case REC_IRQ:
		snprintf(buf, size, "interrupt, vector %u", (unsigned)r->vector);
		break;
	case REC_DEV_FETCH:
		snprintf(buf, size, "fetched cid:%u", (unsigned)r->cmd.cid);
		break;
	case REC_DEV_DATA:
		snprintf(buf, size, "data %s 0x%" PRIx64 " len:%" PRIu32,
		         r->data.to_host != 0 ? "to" : "of", r->data.iova, r->data.len);
		break;
	case REC_DEV_CQE:
		snprintf(buf, size, "posted completion cid:%u", (unsigned)r->cpl.cid);
		break;
	case REC_ATTACH:
	case REC_NOTE:
	case REC_DAMAGE:
		snprintf(buf, size, "%s", r->text);
		break;
	default:
		break;
	}
}

static void print_rec(struct merge *m, const struct side *s, const struct rec *r)
{
	bool timed = s == &m->a && (r->has & HAS_TIME) != 0;
	char text[1200], ns[32] = "";

	describe(text, sizeof(text), m, r);
	if (text[0] == '\0')
		return;
	if (timed && !m->has_start) {
		m->has_start = true;
		m->start_ns = r->time_ns;
	}
	if (timed)
		format_ns(ns, sizeof(ns), r->time_ns > m->start_ns ? r->time_ns - m->start_ns : 0);
	printf("%11s  %-5s %7" PRIu64 "  ", ns, s->label, r->number);
	clean_put(stdout, text);
	putchar('\n');
}

static void __attribute__((format(printf, 1, 2))) print_finding(const char *fmt, ...)
{
	va_list ap;

	printf("%28s! ", "");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static const char *direction(const struct mcmd *c)
{
	return c->to_host ? "to the host" : "to the controller";
}

/* Says where two partners disagree. */
static void compare_partners(struct merge *m, const struct mcmd *a, const struct mcmd *b)
{
	const char *la = m->a.label, *lb = m->b.label;
	bool differ = false;
	unsigned i;

	if (a->has_opc && b->has_opc && a->opc != b->opc) {
		print_finding("opcode: %02xh in %s record %" PRIu64 ", %02xh in %s record %" PRIu64,
		              (unsigned)a->opc, la, a->number, (unsigned)b->opc, lb, b->number);
		differ = true;
	}
	if (a->has_nsid && b->has_nsid && a->nsid != b->nsid) {
		print_finding("NSID: %" PRIu32 " in %s record %" PRIu64 ", %" PRIu32
		              " in %s record %" PRIu64,
		              a->nsid, la, a->number, b->nsid, lb, b->number);
		differ = true;
	}
	if (a->has_lba && b->has_lba && a->lba != b->lba) {
		print_finding("LBA: %" PRIu64 " in %s record %" PRIu64 ", %" PRIu64
		              " in %s record %" PRIu64,
		              a->lba, la, a->number, b->lba, lb, b->number);
		differ = true;
	}
	if (a->has_blocks && b->has_blocks && a->blocks != b->blocks) {
		print_finding("length: %" PRIu32 " in %s record %" PRIu64 ", %" PRIu32
		              " in %s record %" PRIu64,
		              a->blocks, la, a->number, b->blocks, lb, b->number);
		differ = true;
	}
	if (a->has_bytes && b->has_bytes && a->bytes != b->bytes) {
		print_finding("bytes: %" PRIu64 " in %s record %" PRIu64 ", %" PRIu64
		              " in %s record %" PRIu64,
		              a->bytes, la, a->number, b->bytes, lb, b->number);
		differ = true;
	}
	if (a->opc == b->opc && a->has_direction && b->has_direction && a->to_host != b->to_host) {
		print_finding("direction: %s in %s record %" PRIu64 ", %s in %s record %" PRIu64,
		              direction(a), la, a->number, direction(b), lb, b->number);
		differ = true;
	}
	for (i = 0; i < 2; i++) {
		if (!a->has_dptr[i] || !b->has_dptr[i] || a->dptr[i] == b->dptr[i])
			continue;
		print_finding("%s: 0x%" PRIx64 " in %s record %" PRIu64 ", 0x%" PRIx64
		              " in %s record %" PRIu64,
		              a->sgl || b->sgl ? "data pointer"
		              : i == 0         ? "PRP1"
		                               : "PRP2",
		              a->dptr[i], la, a->number, b->dptr[i], lb, b->number);
		differ = true;
	}
	if (a->has_status && b->has_status && a->status != b->status) {
		print_finding("status: %03xh in %s, %03xh in %s, of the command in %s record %" PRIu64,
		              (unsigned)a->status, la, (unsigned)b->status, lb, la, a->number);
		differ = true;
	}
	m->agree += !differ;
	m->differ += differ;
}

/* A command without a partner: missing, or from another time than the other source is. */
static void report_alone(const struct mcmd *c, const struct side *s, const struct side *other,
                         uint64_t alone[3])
{
	alone[c->place]++;
	if (c->place == MISSING)
		print_finding("missing in %s: queue %u cid:%u of %s record %" PRIu64, other->label,
		              (unsigned)c->qid, (unsigned)c->cid, s->label, c->number);
}

static void report_a(struct merge *m, uint32_t index)
{
	const struct mcmd *c = &m->a.cmd[index];

	if (m->a.ctrlr[c->ctrlr].partner == NONE && m->b.count != 0)
		m->ctrlrs_a++;
	else if (m->a.ctrlr[c->ctrlr].partner != NONE && !is_compared(&m->a, c->ctrlr, c->run))
		m->runs_a++;
	else if (c->match != NONE)
		compare_partners(m, c, &m->b.cmd[c->match]);
	else
		report_alone(c, &m->a, &m->b, m->alone_a);
}

static void print_b(struct merge *m, uint32_t ctrlr, uint32_t index)
{
	struct side *b = &m->b;
	bool command = b->rec.kind == REC_COMMAND;

	if (m->a.count != 0 && b->ctrlr[ctrlr].commands != 0 &&
	    !is_compared(b, ctrlr, b->ctrlr[ctrlr].run)) {
		*(b->ctrlr[ctrlr].partner == NONE ? &m->ctrlrs_b : &m->runs_b) += command;
		return;
	}
	print_rec(m, b, &b->rec);
	if (command && index < b->count && b->cmd[index].match == NONE)
		report_alone(&b->cmd[index], b, &m->a, m->alone_b);
}

static bool peek(struct merge *m)
{
	if (!m->peeked)
		m->peeked = side_next(&m->b, &m->peek_ctrlr, &m->peek_index);
	return m->peeked;
}

static void print_peeked(struct merge *m)
{
	print_b(m, m->peek_ctrlr, m->peek_index);
	m->peeked = false;
}

/* Prints what b has, up to record `until`. */
static void drain(struct merge *m, uint64_t until)
{
	while ((m->peeked || m->b.at < until) && peek(m) && m->b.at <= until)
		print_peeked(m);
}

static bool same_access(const struct rec *a, const struct rec *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == REC_DOORBELL)
		return a->qid == b->qid && (a->doorbell.cq != 0) == (b->doorbell.cq != 0) &&
		       a->doorbell.new_value == b->doorbell.new_value;
	return a->reg.offset == b->reg.offset && a->reg.value == b->reg.value;
}

/* What the host just wrote to a register is what b sees next, if it logs that at all. */
static void follow(struct merge *m, const struct rec *r)
{
	const struct rec *b = &m->b.rec;
	bool arrived = false;

	while (!arrived && peek(m)) {
		if (m->b.ctrlr[m->peek_ctrlr].run >= m->b.ctrlr[m->peek_ctrlr].first_run) {
			arrived = same_access(r, b);
			if (!arrived && b->kind != REC_IRQ && b->kind != REC_NOTE &&
			    b->kind != REC_REG_READ)
				return;
		}
		print_peeked(m);
	}
}

static void timeline(struct merge *m)
{
	struct side *a = &m->a;
	uint32_t ctrlr, index, partner;

	while (side_next(a, &ctrlr, &index)) {
		if (a->rec.kind == REC_COMMAND && index >= a->count && a->cut)
			break;
		partner = index < a->count ? a->cmd[index].match : NONE;
		if (a->rec.kind == REC_COMPLETION && partner != NONE)
			drain(m, m->b.cmd[partner].cpl_at);
		print_rec(m, a, &a->rec);
		if (a->rec.kind == REC_DOORBELL || a->rec.kind == REC_REG_WRITE)
			follow(m, &a->rec);
		if (a->rec.kind == REC_COMMAND && index < a->count)
			report_a(m, index);
	}
	if (!a->cut)
		drain(m, UINT64_MAX);
}

static void print_count(uint64_t n, const char *file, const char *what)
{
	if (n != 0)
		printf("%" PRIu64 " commands in %s are %s\n", n, file, what);
}

static void print_outside(const uint64_t alone[3], const char *file, const char *other)
{
	if (alone[BEFORE] != 0)
		printf("%" PRIu64 " commands in %s are from before %s begins\n", alone[BEFORE],
		       file, other);
	if (alone[AFTER] != 0)
		printf("%" PRIu64 " commands in %s are from after %s ends\n", alone[AFTER], file,
		       other);
}

static int print_result(const struct merge *m)
{
	const char *a = m->a.file, *b = m->b.file;
	uint64_t wrong = m->differ + m->alone_a[MISSING] + m->alone_b[MISSING];

	printf("\n%" PRIu64 " commands agree, %" PRIu64 " disagree, %" PRIu64
	       " missing in %s, %" PRIu64 " missing in %s\n",
	       m->agree, m->differ, m->alone_a[MISSING], b, m->alone_b[MISSING], a);
	print_outside(m->alone_a, a, b);
	print_outside(m->alone_b, b, a);
	print_count(m->runs_a, a, "from before or after this run");
	print_count(m->runs_b, b, "from before or after this run");
	print_count(m->ctrlrs_a, a, "of controllers that the other one does not have");
	print_count(m->ctrlrs_b, b, "of controllers that the other one does not have");
	if (m->a.cut || m->b.cut)
		printf("only the first %" PRIu32 " commands were compared\n",
		       m->a.cut ? m->a.count : m->b.count);
	return wrong != 0 ? FOUND : DECODED;
}

/* Reads both, and both again; the exit status. */
static int merge(struct merge *m)
{
	struct side *a = &m->a, *b = &m->b;
	int rc;

	rc = side_read(a);
	if (side_read(b) != 0 || rc != 0 || match_ctrlrs(a, b) != 0 || output_open(m->options) != 0)
		return NOT_DECODED;
	match(a, b);
	if (side_start(a, true) != 0 || side_start(b, true) != 0)
		return NOT_DECODED;
	timeline(m);
	rc = print_result(m);
	side_stop(a);
	side_stop(b);
	return a->cut || b->cut || a->status != DECODED || b->status != DECODED ? NOT_DECODED : rc;
}

/* What comes through a pipe is there only once. */
static bool is_pipe(const char *file)
{
	struct stat st;

	return strcmp(file, "-") == 0 || (stat(file, &st) == 0 && S_ISFIFO(st.st_mode));
}

int nvtrace_merge(const char *const file[2], const enum input input[2],
                  const struct options *options)
{
	struct merge *m;
	int rc;

	if (is_pipe(file[0]) || is_pipe(file[1])) {
		fprintf(stderr,
		        "nvtrace: --with reads its files twice, and %s is none: store it "
		        "in a file first\n",
		        strcmp(file[!is_pipe(file[0])], "-") == 0 ? "standard input"
		                                                  : file[!is_pipe(file[0])]);
		return WRONG_USAGE;
	}
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		fprintf(stderr, "nvtrace: %s\n", strerror(ENOMEM));
		return NOT_DECODED;
	}
	m->options = options;
	m->a.file = file[0];
	m->b.file = file[1];
	m->a.input = input[0];
	m->b.input = input[1];
	rc = merge(m);
	if (m->a.no_memory || m->b.no_memory) {
		fprintf(stderr, "nvtrace: there was no memory to compare all of it: compare "
		                "shorter traces\n");
		rc = NOT_DECODED;
	}
	side_stop(&m->a);
	side_stop(&m->b);
	free(m->a.cmd);
	free(m->a.order);
	free(m->b.cmd);
	free(m->b.order);
	free(m);
	return rc;
}
