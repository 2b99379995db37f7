// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: mistakes against the protocol that a trace shows. One line for each, with the
 * number of the record; nothing where the trace does not tell enough to be sure.
 */
#include "analysis.h"

#define CTRLRS 64
#define QUEUES 1024

struct cidset {
	uint8_t bits[65536 / 8];
};

/* A submission queue and the completion queue of the same number. */
struct lintq {
	uint64_t key;
	uint32_t sq_size, cq_size; /* 0: not known */
	uint32_t tail;             /* of the last doorbell */
	uint32_t head;
	uint64_t written;       /* commands since the last doorbell */
	uint64_t unreleased;    /* completions that were taken and not yet handed back */
	uint64_t completions;   /* of the completion queue, since it was made */
	uint64_t last_cpl;      /* record */
	uint64_t sq_without_cq; /* record that made the SQ when its CQ was not there; 0: none */
	uint32_t index, phase;  /* of the next completion */
	uint16_t cqid;          /* where completions of this SQ go */
	bool sq_made, cq_made, cq_asked;
	bool tail_known, head_known, phase_known;
	bool cq_rung, later; /* later: something happened after the last completion */
	bool overrun;
	struct cidset *open, *seen;
};

struct lintc {
	uint32_t ctrlr;
	uint32_t page;
	bool whole; /* the trace has it from its start */
	bool shutdown, disabled, shadow;
};

struct lint {
	struct lintc ctrlr[CTRLRS];
	struct lintq *queue[QUEUES];
	uint32_t ctrlrs, queues, left_out;
	struct lintq *last;
	uint64_t findings, records;
	uint64_t first;  /* number of the first record: what was before it is lost */
	bool old_values; /* the source has commands before their doorbells, as our recorder */
	bool doorbells;
	struct rec *prp; /* the last data pointer */
};

static void __attribute__((format(printf, 4, 5)))
finding(struct output *o, uint64_t number, uint16_t qid, const char *fmt, ...)
{
	struct lint *l = o->state;
	va_list ap;

	l->findings++;
	fprintf(o->out, "record %" PRIu64 ": queue %u: ", number, (unsigned)qid);
	va_start(ap, fmt);
	vfprintf(o->out, fmt, ap);
	va_end(ap);
	fputc('\n', o->out);
}

/* ---- sets of CIDs ---- */

static bool cid_in(const struct cidset *s, uint16_t cid)
{
	return s != NULL && (s->bits[cid / 8] >> cid % 8 & 1) != 0;
}

static void cid_put(struct cidset **s, uint16_t cid, bool in)
{
	uint8_t bit = (uint8_t)(1u << cid % 8);

	if (*s == NULL)
		*s = calloc(1, sizeof(**s));
	if (*s == NULL)
		return;
	if (in)
		(*s)->bits[cid / 8] |= bit;
	else
		(*s)->bits[cid / 8] &= (uint8_t)~bit;
}

/* ---- what is known of controllers and queues ---- */

static struct lintc *find_ctrlr(struct lint *l, const struct rec *r)
{
	uint32_t n = key_ctrlr(queue_key(r)), i;

	for (i = 0; i < l->ctrlrs; i++)
		if (l->ctrlr[i].ctrlr == n)
			return &l->ctrlr[i];
	if (l->ctrlrs == CTRLRS)
		return NULL;
	l->ctrlr[l->ctrlrs] = (struct lintc){.ctrlr = n, .page = 4096};
	return &l->ctrlr[l->ctrlrs++];
}

static struct lintq *find_queue(struct lint *l, uint64_t key)
{
	struct lintq *q;
	uint32_t i;

	if (l->last != NULL && l->last->key == key)
		return l->last;
	for (i = 0; i < l->queues; i++)
		if (l->queue[i]->key == key)
			return l->last = l->queue[i];
	if (l->queues == QUEUES) {
		l->left_out++;
		return NULL;
	}
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return NULL;
	q->key = key;
	q->cqid = key_qid(key);
	return l->last = l->queue[l->queues++] = q;
}

static struct lintq *other_queue(struct lint *l, const struct rec *r, uint16_t qid)
{
	return find_queue(l, (queue_key(r) & ~UINT64_C(0xffff)) | qid);
}

static void sq_reset(struct lintq *q, uint32_t size)
{
	q->sq_size = size;
	q->tail = 0;
	q->tail_known = size != 0;
	q->written = 0;
	if (q->open != NULL)
		memset(q->open, 0, sizeof(*q->open));
}

static void cq_reset(struct lintq *q, uint32_t size)
{
	q->cq_size = size;
	q->head = q->index = 0;
	q->phase = 1; /* the ring starts as zeroes, so the first lap has ones */
	q->head_known = q->phase_known = size != 0;
	q->unreleased = q->completions = 0;
	q->cq_rung = q->later = q->overrun = false;
}

static void check_never_rung(struct output *o, const struct lintq *q)
{
	const struct lint *l = o->state;
	uint32_t i;

	if (!l->doorbells || q->cq_rung || q->completions == 0 || !q->later)
		return;
	for (i = 0; i < l->ctrlrs; i++)
		if (l->ctrlr[i].ctrlr == key_ctrlr(q->key) && l->ctrlr[i].shadow)
			return;
	finding(o, q->last_cpl, key_qid(q->key),
	        "CQ head never rung: %" PRIu64 " completions were taken, none was handed back",
	        q->completions);
}

/* A reset makes an end of all queues; the admin queue begins anew with the sizes of AQA. */
static void ctrlr_reset(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->queues; i++) {
		struct lintq *q = l->queue[i];

		if (key_ctrlr(q->key) != key_ctrlr(queue_key(r)))
			continue;
		check_never_rung(o, q);
		sq_reset(q, key_qid(q->key) == 0 ? q->sq_size : 0);
		cq_reset(q, key_qid(q->key) == 0 ? q->cq_size : 0);
		q->sq_made = q->cq_made = q->cq_asked = false;
		q->sq_without_cq = 0;
	}
}

/* ---- registers ---- */

static void take_cc(struct output *o, struct lintc *c, const struct rec *r)
{
	uint32_t cc = (uint32_t)r->reg.value;

	if (NVME_CC_EN(cc) == 0) {
		ctrlr_reset(o, r);
		c->disabled = true;
	} else {
		c->whole = true;
		if (c->disabled)
			c->shutdown = false;
		c->disabled = false;
		c->page = UINT32_C(4096) << NVME_CC_MPS(cc);
	}
	c->shutdown = NVME_CC_SHN(cc) != NVME_CC_SHN_NONE;
}

static void take_reg_write(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *admin = other_queue(l, r, 0);

	if (c == NULL || admin == NULL)
		return;
	switch (r->reg.offset) {
	case NVME_REG_CC:
		take_cc(o, c, r);
		break;
	case NVME_REG_AQA:
		sq_reset(admin, (uint32_t)nvme_bits(r->reg.value, 11, 0) + 1);
		cq_reset(admin, (uint32_t)nvme_bits(r->reg.value, 27, 16) + 1);
		break;
	case NVME_REG_ASQ:
	case NVME_REG_ACQ:
		if (nvme_bits(r->reg.value, 11, 0) != 0)
			finding(o, r->number, 0,
			        "misaligned queue: %s 0x%" PRIx64 " is not at a multiple of 4096",
			        nvme_reg_name(r->reg.offset), r->reg.value);
		break;
	default:
		break;
	}
}

/* ---- data pointers ---- */

static bool prps_recorded(const struct lint *l, const struct rec *r)
{
	return l->prp != NULL && l->prp->kind == REC_PRP && queue_key(l->prp) == queue_key(r) &&
	       l->prp->prp.cid == r->cmd.cid;
}

static void check_list(struct output *o, const struct rec *r, uint32_t page)
{
	const struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->prp->entries; i++)
		if (l->prp->entry[i] % page != 0) {
			finding(o, l->prp->number, r->qid,
			        "misaligned PRP: entry %" PRIu32
			        " of the list of cid:%u, 0x%" PRIx64
			        ", is not at the start of a page",
			        i, (unsigned)r->cmd.cid, l->prp->entry[i]);
			return;
		}
}

static void check_prps(struct output *o, const struct rec *r, uint32_t page)
{
	const struct lint *l = o->state;
	uint64_t prp1 = r->cmd.dptr.prp.prp1, prp2 = r->cmd.dptr.prp.prp2;
	uint32_t unit = 8; /* PRP2 may be a list, which is only aligned to its entries */
	bool queue = r->qid == 0 &&
	             (r->cmd.opc == NVME_OPC_CREATE_IO_SQ || r->cmd.opc == NVME_OPC_CREATE_IO_CQ);

	if ((r->cmd_have & HAVE_OPC) == 0 || NVME_OPC_DATA(r->cmd.opc) == NVME_OPC_DATA_NONE ||
	    ((r->cmd_have & HAVE_FLAGS) != 0 && NVME_CMD_PSDT(r->cmd.flags) != NVME_PSDT_PRP))
		return;
	if ((r->cmd_have & HAVE_DPTR1) == HAVE_DPTR1 && prp1 % (queue ? page : 4) != 0)
		finding(o, r->number, r->qid,
		        "misaligned PRP: PRP1 0x%" PRIx64 " of cid:%u is not %s", prp1,
		        (unsigned)r->cmd.cid, queue ? "at the start of a page" : "a multiple of 4");
	if (prps_recorded(l, r)) {
		unit = l->prp->prp.nprp == 2 ? page : 8;
		if (l->prp->prp.nprp > 2)
			check_list(o, r, page);
	}
	if (!queue && (r->cmd_have & HAVE_DPTR2) == HAVE_DPTR2 && prp2 % unit != 0)
		finding(o, r->number, r->qid,
		        "misaligned PRP: PRP2 0x%" PRIx64 " of cid:%u is not %s", prp2,
		        (unsigned)r->cmd.cid,
		        unit == 8 ? "a multiple of 8" : "at the start of a page");
}

/* ---- commands ---- */

static void check_create_sq(struct output *o, const struct lintc *c, const struct rec *r)
{
	struct lint *l = o->state;
	uint16_t sqid = (uint16_t)nvme_bits(r->cmd.cdw10, 15, 0);
	uint16_t cqid = (uint16_t)nvme_bits(r->cmd.cdw11, 31, 16);
	struct lintq *sq = other_queue(l, r, sqid), *cq = other_queue(l, r, cqid);

	if (sq == NULL || cq == NULL)
		return;
	if (cqid != 0 && !cq->cq_made) {
		if (c->whole || cq->cq_asked)
			finding(o, r->number, 0, "SQ %u created before its CQ: CQ %u %s",
			        (unsigned)sqid, (unsigned)cqid,
			        cq->cq_asked ? "is not yet there" : "does not exist");
		else
			cq->sq_without_cq = r->number;
	}
	sq->cqid = cqid;
	sq_reset(sq, (uint32_t)nvme_bits(r->cmd.cdw10, 31, 16) + 1);
	sq->sq_made = true;
}

static void check_create_cq(struct output *o, const struct rec *r)
{
	uint16_t cqid = (uint16_t)nvme_bits(r->cmd.cdw10, 15, 0);
	struct lintq *cq = other_queue(o->state, r, cqid);

	if (cq == NULL)
		return;
	if (cq->sq_without_cq != 0)
		finding(o, cq->sq_without_cq, 0,
		        "SQ created before its CQ: CQ %u is created only in record %" PRIu64,
		        (unsigned)cqid, r->number);
	cq->sq_without_cq = 0;
	cq->cq_asked = true;
	cq_reset(cq, (uint32_t)nvme_bits(r->cmd.cdw10, 31, 16) + 1);
}

static void take_command(struct output *o, const struct rec *r)
{
	const uint32_t dws = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r));

	if (c == NULL || q == NULL)
		return;
	if (c->shutdown)
		finding(o, r->number, r->qid, "command after shutdown: cid:%u",
		        (unsigned)r->cmd.cid);
	else if (c->disabled)
		finding(o, r->number, r->qid, "command while the controller is disabled: cid:%u",
		        (unsigned)r->cmd.cid);
	if (cid_in(q->open, r->cmd.cid))
		finding(o, r->number, r->qid, "CID reused while outstanding: cid:%u",
		        (unsigned)r->cmd.cid);
	cid_put(&q->open, r->cmd.cid, true);
	cid_put(&q->seen, r->cmd.cid, true);
	q->written++;
	check_prps(o, r, c->page);
	if (r->qid == 0 && (r->cmd_have & dws) == dws) {
		if (r->cmd.opc == NVME_OPC_CREATE_IO_SQ)
			check_create_sq(o, c, r);
		else if (r->cmd.opc == NVME_OPC_CREATE_IO_CQ)
			check_create_cq(o, r);
	}
}

/* ---- completions ---- */

/* What a completed admin command has changed. */
static void take_admin_result(struct output *o, const struct rec *r)
{
	struct lintc *c = find_ctrlr(o->state, r);
	struct lintq *q = other_queue(o->state, r, (uint16_t)nvme_bits(r->of.cdw10, 15, 0));

	if (q == NULL || c == NULL || rec_is_error(r) || (r->of_have & HAVE_OPC) == 0)
		return;
	switch (r->of.opc) {
	case NVME_OPC_CREATE_IO_CQ:
		q->cq_made = true;
		break;
	case NVME_OPC_DELETE_IO_CQ:
		check_never_rung(o, q);
		q->cq_made = q->cq_asked = false;
		cq_reset(q, 0);
		break;
	case NVME_OPC_DELETE_IO_SQ:
		q->sq_made = false;
		sq_reset(q, 0);
		break;
	case NVME_OPC_DOORBELL_BUFFER_CONFIG:
		c->shadow = true; /* from now on most doorbells are in memory, unseen */
		break;
	default:
		break;
	}
}

static void check_phase(struct output *o, struct lintq *cq, const struct rec *r)
{
	uint32_t p = NVME_CPL_P(r->cpl.status);

	if ((r->has & HAS_PHASE) == 0 || !cq->phase_known)
		return;
	if (p != cq->phase) {
		finding(o, r->number, r->qid,
		        "phase error: cid:%u in slot %" PRIu32 " has p:%" PRIu32
		        " in a lap of p:%" PRIu32 ", it is an old entry",
		        (unsigned)r->cpl.cid, cq->index, p, cq->phase);
		cq->phase = p;
	}
	if (++cq->index == cq->cq_size) {
		cq->index = 0;
		cq->phase ^= 1;
	}
}

static void check_overrun(struct output *o, struct lintq *cq, const struct rec *r)
{
	const struct lint *l = o->state;
	const struct lintc *c = find_ctrlr(o->state, r);

	cq->unreleased++;
	if (c == NULL || c->shadow || !l->doorbells || !cq->head_known || cq->overrun ||
	    cq->unreleased < cq->cq_size)
		return;
	finding(o, r->number, r->qid,
	        "CQ overrun: %" PRIu64
	        " completions since the head was rung, in a queue of %" PRIu32,
	        cq->unreleased, cq->cq_size);
	cq->overrun = true; /* once until the next doorbell */
}

/*
 * In a ring of our recorder that went round, the first completions belong to commands that are
 * overwritten. Only it has slot numbers that need not begin at 1; others number lines.
 */
static bool is_older(const struct lint *l, const struct rec *r)
{
	return l->first > 1 && (r->has & HAS_PHASE) != 0 && (r->has & HAS_CTRLR) != 0;
}

static void take_completion(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintq *q = find_queue(l, queue_key(r)), *cq;
	uint16_t cid = r->cmd_number != 0 ? r->of.cid : r->cpl.cid;

	if (q == NULL)
		return;
	if (r->cmd_number == 0 && (!is_older(l, r) || cid_in(q->seen, cid)))
		finding(o, r->number, r->qid, "completion without command: cid:%u",
		        (unsigned)r->cpl.cid);
	cid_put(&q->open, cid, false);
	cq = other_queue(l, r, q->cqid);
	if (cq == NULL)
		return;
	cq->completions++;
	cq->last_cpl = r->number;
	cq->later = false;
	check_phase(o, cq, r);
	check_overrun(o, cq, r);
	if (r->qid == 0 && r->cmd_number != 0)
		take_admin_result(o, r);
}

/* ---- doorbells ---- */

static bool check_value(struct output *o, const struct rec *r, uint32_t size)
{
	if (size == 0 || r->doorbell.new_value < size)
		return true;
	finding(o, r->number, r->qid,
	        "doorbell beyond the queue: %s %" PRIu32 " in a queue of %" PRIu32,
	        r->doorbell.cq != 0 ? "head" : "tail", r->doorbell.new_value, size);
	return false;
}

/* How many entries a doorbell moved on; false: the size is not known and it went round. */
static bool moved(uint32_t from, uint32_t to, uint32_t size, uint64_t *entries)
{
	*entries = to >= from ? to - from : (uint64_t)to + size - from;
	return to >= from || size != 0;
}

static void take_sq_doorbell(struct output *o, struct lintq *q, const struct rec *r)
{
	const struct lint *l = o->state;
	uint64_t entries;

	if (check_value(o, r, q->sq_size) && l->old_values && q->tail_known &&
	    moved(q->tail, r->doorbell.new_value, q->sq_size, &entries) && entries > q->written)
		finding(o, r->number, r->qid,
		        "doorbell beyond the tail: SQ tail %" PRIu32 " to %" PRIu32
		        " announces %" PRIu64 " commands, %" PRIu64 " written",
		        q->tail, r->doorbell.new_value, entries, q->written);
	q->tail = r->doorbell.new_value;
	q->tail_known = true;
	q->written = 0;
}

static void take_cq_doorbell(struct output *o, struct lintq *q, const struct rec *r)
{
	uint64_t entries;

	q->cq_rung = true;
	if (!check_value(o, r, q->cq_size))
		return;
	if (q->head_known && moved(q->head, r->doorbell.new_value, q->cq_size, &entries)) {
		if (entries > q->unreleased)
			finding(o, r->number, r->qid,
			        "doorbell beyond the tail: CQ head %" PRIu32 " to %" PRIu32
			        " hands back %" PRIu64 " entries, %" PRIu64 " completed",
			        q->head, r->doorbell.new_value, entries, q->unreleased);
		q->unreleased -= entries < q->unreleased ? entries : q->unreleased;
	} else {
		q->unreleased = 0;
	}
	q->overrun = false;
	q->head = r->doorbell.new_value;
	q->head_known = true;
}

static void take_doorbell(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintq *q = find_queue(l, queue_key(r));

	l->doorbells = true;
	l->old_values |= (r->has & HAS_OLD) != 0;
	if (q == NULL)
		return;
	if (r->doorbell.cq != 0)
		take_cq_doorbell(o, q, r);
	else
		take_sq_doorbell(o, q, r);
}

/* ---- the output ---- */

static int lint_begin(struct output *o)
{
	o->state = calloc(1, sizeof(struct lint));
	return o->state != NULL ? 0 : -ENOMEM;
}

static void keep_prp(struct lint *l, struct rec *r)
{
	if (l->prp == NULL)
		l->prp = calloc(1, sizeof(*l->prp));
	if (l->prp == NULL)
		return;
	rec_free(l->prp);
	*l->prp = *r;
	l->prp->entry = NULL;
	l->prp->entries = 0;
	if (r->entries == 0)
		return;
	l->prp->entry = malloc(r->entries * sizeof(*r->entry));
	if (l->prp->entry == NULL)
		return;
	memcpy(l->prp->entry, r->entry, r->entries * sizeof(*r->entry));
	l->prp->entries = r->entries;
}

/* Whoever goes on working, or detaches, had the time to hand completions back. */
static void mark_later(struct lint *l, const struct rec *r)
{
	struct lintq *q;
	uint32_t i;

	if (r->kind == REC_COMMAND && (r->has & HAS_QID) != 0) {
		q = find_queue(l, queue_key(r));
		q = q != NULL ? other_queue(l, r, q->cqid) : NULL;
		if (q != NULL)
			q->later = true;
	}
	for (i = 0; r->kind == REC_DETACH && i < l->queues; i++)
		if (key_ctrlr(l->queue[i]->key) == key_ctrlr(queue_key(r)))
			l->queue[i]->later = true;
}

static int lint_record(struct output *o, struct rec *r)
{
	struct lint *l = o->state;
	bool queue = (r->has & HAS_QID) != 0;
	struct lintc *c;

	if (l->records++ == 0)
		l->first = r->number;
	mark_later(l, r);
	switch (r->kind) {
	case REC_ATTACH:
		c = find_ctrlr(l, r);
		if (c != NULL)
			c->whole = true;
		break;
	case REC_REG_WRITE:
		take_reg_write(o, r);
		break;
	case REC_PRP:
		keep_prp(l, r);
		break;
	case REC_COMMAND:
		if (queue)
			take_command(o, r);
		break;
	case REC_COMPLETION:
		if (queue)
			take_completion(o, r);
		break;
	case REC_DOORBELL:
		if (queue)
			take_doorbell(o, r);
		break;
	default:
		break;
	}
	return 0;
}

static int lint_end(struct output *o, struct pairing *p)
{
	struct lint *l = o->state;
	bool found;
	uint32_t i;

	(void)p;
	for (i = 0; i < l->queues; i++)
		check_never_rung(o, l->queue[i]);
	found = l->findings != 0;
	if (l->left_out != 0)
		fprintf(stderr, "nvtrace: more than %d queues: the others were not checked\n",
		        QUEUES);
	if (!found)
		fprintf(stderr, "nvtrace: no mistakes found in %" PRIu64 " records\n", l->records);
	for (i = 0; i < l->queues; i++) {
		free(l->queue[i]->open);
		free(l->queue[i]->seen);
		free(l->queue[i]);
	}
	if (l->prp != NULL)
		rec_free(l->prp);
	free(l->prp);
	free(l);
	o->state = NULL;
	return found ? 1 : 0;
}

const struct output_ops lint_output = {
	.name = "lint", .begin = lint_begin, .record = lint_record, .end = lint_end};
