// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: mistakes against the protocol that a trace shows. One line for each, with the
 * number of the record; nothing where the trace does not tell enough to be sure.
 */
#include "lint.h"

struct cidset {
	uint8_t bits[65536 / 8];
};

/*
 * A submission queue and the completion queue of the same number. What counts from the making of a
 * queue is only judged where the trace has it all, from the making on: it may have gone round, and
 * slots of it may be damaged.
 */
struct lintq {
	uint64_t key;
	uint32_t sq_size, cq_size; /* 0: not known */
	uint32_t tail, head;       /* of the last doorbells */
	uint64_t written;          /* commands that were not announced yet */
	uint64_t in_ring;          /* commands of which no completion said that they were fetched */
	uint32_t sq_head;          /* as completions say */
	uint64_t unreleased;       /* completions that were taken and not handed back, at least */
	uint64_t completions;      /* of the completion queue, since it was made */
	uint64_t last_cpl;         /* record */
	uint64_t sq_without_cq;    /* record that made the SQ when its CQ was not there; 0: none */
	uint64_t first_half;       /* record of a fused pair's first half that waits; 0: none */
	uint16_t first_cid;        /* its CID, ... */
	uint64_t first_written;    /* ... and commands written up to it, itself included */
	uint32_t index, phase;     /* of the next completion */
	uint16_t cqid;             /* where completions of this SQ go */
	struct nvme_cpl bad;       /* the last completion whose SQHD cannot be */
	bool sq_whole, cq_whole;   /* everything since the making is in the trace */
	bool tail_sure, head_sure, phase_sure, sqhd_sure; /* and so these are known */
	bool sq_ever, cq_ever;                            /* was made since the attach */
	bool sq_leaves;                                   /* its deletion was asked for */
	bool cq_made, cq_asked, cq_rung;
	bool odd_phase; /* of the last completion */
	bool overrun;
	bool gone; /* it was made, and a reset or its deletion was the end of it */
	uint32_t open_count;
	struct cidset *open, *seen;
	struct cidset *final;   /* those that ended last with DNR */
	struct cidset *strange; /* those that a completion with another SQID was for, or was not */
};

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

static void cids_none(struct cidset *s)
{
	if (s != NULL)
		memset(s, 0, sizeof(*s));
}

/* ---- what is known of controllers and queues ---- */

static struct lintc *find_ctrlr(struct lint *l, const struct rec *r)
{
	uint32_t n = key_ctrlr(queue_key(r)), i;

	for (i = 0; i < l->ctrlrs; i++)
		if (l->ctrlr[i].ctrlr == n)
			return &l->ctrlr[i];
	if (l->ctrlrs == LINT_CTRLRS)
		return NULL;
	l->ctrlr[l->ctrlrs] = (struct lintc){.ctrlr = n, .page = PAGE_LEAST};
	return &l->ctrlr[l->ctrlrs++];
}

/* From here on all of it is in the trace, or nothing is known. */
static void ctrlr_begin(struct lintc *c, bool attached)
{
	struct lint_maps maps = c->maps;

	lint_maps_begin(&maps, attached);
	*c = (struct lintc){.ctrlr = c->ctrlr,
	                    .page = PAGE_LEAST,
	                    .whole = attached,
	                    .attached = attached,
	                    .maps = maps};
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
	if (l->queues == LINT_QUEUES) {
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

/* From here on the queue is new, with so many entries; 0: it is gone, or nothing is known of it. */
static void sq_begin(struct lintq *q, uint32_t size)
{
	q->gone = size == 0 && (q->sq_size != 0 || q->gone);
	q->sq_size = size;
	q->tail = 0;
	q->written = q->in_ring = 0;
	q->sq_head = 0;
	q->first_half = 0;
	q->sq_whole = q->tail_sure = q->sqhd_sure = size != 0;
	q->sq_leaves = false;
	q->open_count = 0;
	cids_none(q->strange);
	cids_none(q->open);
}

static void cq_begin(struct lintq *q, uint32_t size)
{
	q->cq_size = size;
	q->head = q->index = 0;
	q->phase = 1; /* the ring starts as zeroes, so the first lap has ones */
	q->cq_whole = q->head_sure = q->phase_sure = size != 0;
	q->unreleased = q->completions = 0;
	q->cq_rung = q->odd_phase = q->overrun = false;
}

/* Records are missing here: whatever was known may have changed. */
static void forget(struct lint *l)
{
	uint32_t i;

	for (i = 0; i < l->ctrlrs; i++)
		ctrlr_begin(&l->ctrlr[i], false);
	lint_transfers_none(l);
	for (i = 0; i < l->queues; i++) {
		sq_begin(l->queue[i], 0);
		cq_begin(l->queue[i], 0);
		cids_none(l->queue[i]->seen);
		cids_none(l->queue[i]->final);
		l->queue[i]->gone = false;
		l->queue[i]->cqid = key_qid(l->queue[i]->key);
		l->queue[i]->cq_made = l->queue[i]->cq_asked = false;
		l->queue[i]->sq_without_cq = 0;
	}
}

static bool has_shadow(const struct lint *l, const struct lintq *q)
{
	uint32_t i;

	for (i = 0; i < l->ctrlrs; i++)
		if (l->ctrlr[i].ctrlr == key_ctrlr(q->key))
			return l->ctrlr[i].shadow;
	return false;
}

/* So, too: what was written before it was delayed, and must be announced before the queue ends. */
static void check_never_announced(struct output *o, struct lintq *q, uint64_t number,
                                  const char *when)
{
	const struct lint *l = o->state;

	if ((l->sees & SEES_TAILS) == 0 || !q->sq_whole || !q->tail_sure || q->written == 0 ||
	    has_shadow(l, q))
		return;
	lint_finding(o, RULE_SQ_NEVER_RUNG, number, key_qid(q->key),
	             "SQ tail never rung: %" PRIu64 " commands were written and not announced %s",
	             q->written, when);
	q->tail_sure = false; /* once */
}

/* Only when the driver has gone on to something else: it may be just about to ring. */
static void check_never_rung(struct output *o, struct lintq *q)
{
	const struct lint *l = o->state;

	if ((l->sees & SEES_DOORBELLS) == 0 || !q->cq_whole || q->cq_rung || q->completions == 0)
		return;
	if (has_shadow(l, q))
		return;
	lint_finding(o, RULE_CQ_NEVER_RUNG, q->last_cpl, key_qid(q->key),
	             "CQ head never rung: %" PRIu64 " completions were taken, none was handed back",
	             q->completions);
	q->cq_rung = true; /* once */
}

static void check_all_rung(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->queues; i++)
		if (key_ctrlr(l->queue[i]->key) == key_ctrlr(queue_key(r)))
			check_never_rung(o, l->queue[i]);
}

/* Who resets a controller drops what was delayed; who is done with it does not. */
static void check_all_announced(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->queues; i++)
		if (key_ctrlr(l->queue[i]->key) == key_ctrlr(queue_key(r)))
			check_never_announced(o, l->queue[i], r->number, "before the end");
}

/* A reset makes an end of all queues; the admin queue begins anew with the sizes of AQA. */
static void ctrlr_reset(struct lint *l, const struct rec *r)
{
	uint32_t i;

	for (i = 0; i < l->queues; i++) {
		struct lintq *q = l->queue[i];
		bool admin = key_qid(q->key) == 0;

		if (key_ctrlr(q->key) != key_ctrlr(queue_key(r)))
			continue;
		sq_begin(q, admin ? q->sq_size : 0);
		cq_begin(q, admin ? q->cq_size : 0);
		q->cqid = key_qid(q->key);
		q->cq_made = q->cq_asked = false;
		q->sq_without_cq = 0;
	}
}

/* ---- registers ---- */

static void take_attach(struct lint *l, const struct rec *r)
{
	struct lintc *c = find_ctrlr(l, r);
	uint32_t i;

	if (c == NULL)
		return;
	ctrlr_begin(c, true);
	c->mqes = NVME_GET(r->attach.cap, NVME_CAP_MQES);
	ctrlr_reset(l, r);
	for (i = 0; i < l->queues; i++)
		if (key_ctrlr(l->queue[i]->key) == c->ctrlr)
			l->queue[i]->sq_ever = l->queue[i]->cq_ever = false;
}

static void keep_cc(struct lintc *c, uint32_t cc)
{
	c->cc = cc;
	c->enabled = NVME_GET(cc, NVME_CC_EN) != 0 ? EN_ON : EN_OFF;
}

/*
 * What a controller needs to begin. AQA, ASQ and ACQ outlive a reset by CC.EN, so they must have
 * been written once. That it is ready the host must read; where several threads look at registers, a
 * value that one of them has read before is in no record.
 */
static void check_enable(struct output *o, struct lintc *c, const struct rec *r)
{
	if (!c->attached || c->enabled != EN_OFF)
		return;
	if (c->admin != 7)
		lint_finding(o, RULE_ADMIN, r->number, 0,
		             "enabled without an admin queue: CC.EN is set, but%s%s%s were not written",
		             (c->admin & 1) != 0 ? "" : " AQA", (c->admin & 2) != 0 ? "" : " ASQ",
		             (c->admin & 4) != 0 ? "" : " ACQ");
	c->admin = 7; /* once */
	c->await_ready = true;
}

static void take_reg_read(struct lint *l, const struct rec *r)
{
	struct lintc *c = find_ctrlr(l, r);
	uint32_t value = (uint32_t)r->reg.value;

	if (c == NULL)
		return;
	if (r->reg.offset == NVME_REG_CC && value != UINT32_MAX)
		keep_cc(c, value);
	if (r->reg.offset == NVME_REG_CSTS && NVME_GET(value, NVME_CSTS_RDY) != 0)
		c->await_ready = false;
}

/*
 * Where only the controller's side is told, as by QEMU, who disables it may be another driver than
 * the one that died with completions in its queue; who shuts it down had time to ring.
 */
static void take_cc(struct output *o, struct lintc *c, const struct lintq *admin,
                    const struct rec *r)
{
	uint32_t cc = (uint32_t)r->reg.value;
	bool shutdown = NVME_GET(cc, NVME_CC_SHN) != NVME_CC_SHN_NONE;

	if (shutdown)
		check_all_announced(o, r);
	if (shutdown || (NVME_GET(cc, NVME_CC_EN) == 0 && (r->has & HAS_CTRLR) != 0))
		check_all_rung(o, r);
	if (NVME_GET(cc, NVME_CC_EN) == 0) {
		ctrlr_reset(o->state, r);
		c->disabled = true;
		c->shadow = false;
	} else {
		c->whole |= !shutdown && (c->disabled || admin->sq_whole);
		c->disabled = false;
		c->page = UINT32_C(4096) << NVME_GET(cc, NVME_CC_MPS);
		c->page_known = true;
		check_enable(o, c, r);
	}
	c->shutdown = shutdown;
	keep_cc(c, cc);
	c->cc_known = true;
}

static void check_base(struct output *o, const struct rec *r)
{
	if (r->reg.offset != NVME_REG_ASQ && r->reg.offset != NVME_REG_ACQ)
		return;
	if (r->reg.value % PAGE_LEAST != 0)
		lint_finding(o, RULE_BASE, r->number, 0,
		             "misaligned queue: %s 0x%" PRIx64 " is not at a multiple of %d",
		             nvme_reg_name(r->reg.offset), r->reg.value, PAGE_LEAST);
}

static void take_reg_write(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *admin = other_queue(l, r, 0);

	check_base(o, r);
	if (c == NULL || admin == NULL)
		return;
	if (r->reg.offset == NVME_REG_CC) {
		take_cc(o, c, admin, r);
	} else if (r->reg.offset == NVME_REG_ASQ) {
		c->admin |= 2;
	} else if (r->reg.offset == NVME_REG_ACQ) {
		c->admin |= 4;
	} else if (r->reg.offset == NVME_REG_AQA) {
		/* it is off, if only by a reset of the function that is in no record */
		ctrlr_reset(l, r);
		c->shadow = c->cc_known = c->await_ready = false;
		c->enabled = EN_OFF;
		c->admin |= 1;
		sq_begin(admin, NVME_GET((uint32_t)r->reg.value, NVME_AQA_ASQS) + 1u);
		cq_begin(admin, NVME_GET((uint32_t)r->reg.value, NVME_AQA_ACQS) + 1u);
	}
}

/* ---- commands ---- */

static void check_create_sq(struct output *o, const struct lintc *c, const struct rec *r)
{
	uint16_t sqid = (uint16_t)NVME_GET(r->cmd.cdw10, NVME_CREATE_IO_Q_QID);
	uint16_t cqid = (uint16_t)NVME_GET(r->cmd.cdw11, NVME_CREATE_IO_SQ_CQID);
	struct lintq *cq = other_queue(o->state, r, cqid);

	if (cq == NULL || cqid == 0 || cq->cq_made)
		return;
	if (c->whole || cq->cq_asked)
		lint_finding(o, RULE_CQ_FIRST, r->number, 0,
		             "SQ %u created before its CQ: CQ %u %s", (unsigned)sqid,
		             (unsigned)cqid, cq->cq_asked ? "is not yet there" : "does not exist");
	else
		cq->sq_without_cq = r->number;
}

static void check_create_cq(struct output *o, const struct rec *r)
{
	uint16_t cqid = (uint16_t)NVME_GET(r->cmd.cdw10, NVME_CREATE_IO_Q_QID);
	struct lintq *cq = other_queue(o->state, r, cqid);

	if (cq == NULL)
		return;
	if (cq->sq_without_cq != 0)
		lint_finding(o, RULE_CQ_FIRST, cq->sq_without_cq, 0,
		             "SQ created before its CQ: CQ %u is created only in record %" PRIu64,
		             (unsigned)cqid, r->number);
	cq->sq_without_cq = 0;
	cq->cq_asked = true;
}

/* QSIZE and MQES are both 0-based. */
static void check_create(struct output *o, const struct lintc *c, const struct rec *r)
{
	uint32_t qsize = NVME_GET(r->cmd.cdw10, NVME_CREATE_IO_Q_QSIZE);
	uint16_t qid = (uint16_t)NVME_GET(r->cmd.cdw10, NVME_CREATE_IO_Q_QID);
	bool sq = r->cmd.opc == NVME_OPC_CREATE_IO_SQ;
	uint32_t size = sq ? NVME_GET(c->cc, NVME_CC_IOSQES) : NVME_GET(c->cc, NVME_CC_IOCQES);

	if (c->mqes != 0 && qsize > c->mqes)
		lint_finding(o, RULE_QSIZE, r->number, 0,
		             "queue too large: %s %u with %" PRIu32
		             " entries, the controller has %" PRIu32 " at most (CAP.MQES + 1)",
		             sq ? "SQ" : "CQ", (unsigned)qid, qsize + 1, c->mqes + 1);
	if (c->cc_known && size < (sq ? 6u : 4u))
		lint_finding(o, RULE_ENTRY_SIZE, r->number, 0,
		             "no size of entries: %s %u is created while CC.%s is %" PRIu32
		             ", not %d",
		             sq ? "SQ" : "CQ", (unsigned)qid, sq ? "IOSQES" : "IOCQES", size,
		             sq ? 6 : 4);
}

/* Nothing is said of queues whose making, or deletion, may still be under way. */
static void check_delete_cq(struct output *o, const struct rec *r)
{
	uint16_t cqid = (uint16_t)NVME_GET(r->cmd.cdw10, NVME_DELETE_IO_Q_QID);
	const struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->queues; i++) {
		const struct lintq *q = l->queue[i];

		if (key_ctrlr(q->key) == key_ctrlr(queue_key(r)) && key_qid(q->key) != 0 &&
		    q->cqid == cqid && q->sq_whole && !q->sq_leaves) {
			lint_finding(o, RULE_CQ_LAST, r->number, 0,
			             "CQ %u deleted before its SQ: SQ %u completes there",
			             (unsigned)cqid, (unsigned)key_qid(q->key));
			return;
		}
	}
}

static void check_delete_sq(struct output *o, const struct rec *r)
{
	struct lintq *q =
		other_queue(o->state, r, (uint16_t)NVME_GET(r->cmd.cdw10, NVME_DELETE_IO_Q_QID));

	if (q == NULL)
		return;
	check_never_announced(o, q, r->number, "before the deletion of the queue");
	q->sq_leaves = true;
}

static void check_state(struct output *o, const struct lintc *c, const struct lintq *q,
                        const struct rec *r)
{
	if (c->shutdown)
		lint_finding(o, RULE_OFF, r->number, r->qid, "command after shutdown: cid:%u",
		             (unsigned)r->cmd.cid);
	else if (c->disabled)
		lint_finding(o, RULE_OFF, r->number, r->qid,
		             "command while the controller is disabled: cid:%u",
		             (unsigned)r->cmd.cid);
	else if (q->gone)
		lint_finding(o, RULE_GONE, r->number, r->qid,
		             "command on a queue that is gone: cid:%u, after a reset or the deletion "
		             "of the queue, which was not created since",
		             (unsigned)r->cmd.cid);
}

/*
 * The two halves of a fused pair stand in adjacent slots. A second half whose first may be before
 * the trace is no mistake that can be seen.
 */
static void check_fused(struct output *o, struct lintq *q, const struct rec *r)
{
	uint32_t fuse = NVME_GET(r->cmd.flags, NVME_CMD_FUSE);

	if ((r->cmd_have & HAVE_FLAGS) == 0 || r->qid == 0) {
		q->first_half = 0;
		return;
	}
	if (q->first_half != 0 && fuse != NVME_FUSE_SECOND)
		lint_finding(o, RULE_FUSED, q->first_half, r->qid,
		             "fused pair cut: cid:%u is a first half, but behind it comes cid:%u, "
		             "which is no second half",
		             (unsigned)q->first_cid, (unsigned)r->cmd.cid);
	else if (q->first_half == 0 && fuse == NVME_FUSE_SECOND && q->sq_whole)
		lint_finding(o, RULE_FUSED, r->number, r->qid,
		             "fused pair cut: cid:%u is a second half without a first half before it",
		             (unsigned)r->cmd.cid);
	q->first_half = fuse == NVME_FUSE_FIRST ? r->number : 0;
	q->first_cid = r->cmd.cid;
	q->first_written = q->written;
}

/* What an Abort is for may have ended in the meantime, but its queue must be there. */
static void check_abort(struct output *o, const struct rec *r)
{
	uint16_t sqid = (uint16_t)NVME_GET(r->cmd.cdw10, NVME_ABORT_SQID);
	const struct lintq *q = other_queue(o->state, r, sqid);

	if (q != NULL && q->gone)
		lint_finding(o, RULE_ABORT, r->number, r->qid,
		             "abort of cid:%u of queue %u, which is gone after a reset or its deletion",
		             (unsigned)NVME_GET(r->cmd.cdw10, NVME_ABORT_CID), (unsigned)sqid);
}

/* The slots of commands that are not known to be fetched are not the driver's. */
static void check_sq_overrun(struct output *o, struct lintq *q, const struct rec *r)
{
	const struct lint *l = o->state;

	q->in_ring++;
	if ((l->sees & SEES_TAILS) == 0 || !q->sqhd_sure || q->in_ring < q->sq_size)
		return;
	lint_finding(o, RULE_SQ_OVERRUN, r->number, r->qid,
	             "SQ overrun: cid:%u is written while %" PRIu64
	             " commands before it may not have been fetched, into a queue of %" PRIu32,
	             (unsigned)r->cmd.cid, q->in_ring - 1, q->sq_size);
	q->sqhd_sure = false; /* once: the head is ambiguous now */
}

static void check_admin_command(struct output *o, const struct lintc *c, const struct rec *r)
{
	const uint32_t dws = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	uint8_t opc = r->cmd.opc;

	if (r->qid != 0 || (r->cmd_have & dws) != dws)
		return;
	if (opc == NVME_OPC_CREATE_IO_SQ || opc == NVME_OPC_CREATE_IO_CQ)
		check_create(o, c, r);
	if (opc == NVME_OPC_CREATE_IO_SQ)
		check_create_sq(o, c, r);
	else if (opc == NVME_OPC_CREATE_IO_CQ)
		check_create_cq(o, r);
	else if (opc == NVME_OPC_DELETE_IO_SQ)
		check_delete_sq(o, r);
	else if (opc == NVME_OPC_DELETE_IO_CQ)
		check_delete_cq(o, r);
	else if (opc == NVME_OPC_ABORT)
		check_abort(o, r);
}

static void check_cid(struct output *o, struct lintq *q, const struct rec *r)
{
	if (!cid_in(q->open, r->cmd.cid))
		q->open_count++;
	else if (!cid_in(q->strange, r->cmd.cid))
		lint_finding(o, RULE_CID, r->number, r->qid, "CID reused while outstanding: cid:%u",
		             (unsigned)r->cmd.cid);
	cid_put(&q->open, r->cmd.cid, true);
	cid_put(&q->seen, r->cmd.cid, true);
	cid_put(&q->strange, r->cmd.cid, false);
}

static void take_command(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r));

	if (c == NULL || q == NULL)
		return;
	check_state(o, c, q, r);
	check_cid(o, q, r);
	q->written++;
	check_sq_overrun(o, q, r);
	check_fused(o, q, r);
	lint_check_data(o, c, r);
	check_admin_command(o, c, r);
}

/* DNR says: the same command will fail again. Who waits until a command is late has gone on. */
static void take_mark(struct output *o, const struct rec *r)
{
	struct lintq *q = find_queue(o->state, queue_key(r));

	if (q == NULL)
		return;
	if (r->mark.what == NVME_TRACE_RETRY && cid_in(q->final, r->mark.cid))
		lint_finding(o, RULE_RETRY, r->number, r->qid,
		             "retry although it must not be: cid:%u ended with DNR (do not retry)",
		             (unsigned)r->mark.cid);
	if (r->mark.what == NVME_TRACE_LATE && q->written >= q->open_count)
		check_never_announced(o, q, r->number, "when the first of them is late");
}

/* ---- completions ---- */

static void take_created(struct lint *l, const struct rec *r)
{
	uint32_t size = NVME_GET(r->of.cdw10, NVME_CREATE_IO_Q_QSIZE) + 1u;
	struct lintq *q = other_queue(l, r, (uint16_t)NVME_GET(r->of.cdw10, NVME_CREATE_IO_Q_QID));

	if (q == NULL)
		return;
	if (r->of.opc == NVME_OPC_CREATE_IO_SQ) {
		q->cqid = (uint16_t)NVME_GET(r->of.cdw11, NVME_CREATE_IO_SQ_CQID);
		q->sq_ever = true;
		sq_begin(q, size);
	} else {
		q->cq_made = q->cq_ever = true;
		cq_begin(q, size);
	}
}

static void take_deleted(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintq *q = other_queue(l, r, (uint16_t)NVME_GET(r->of.cdw10, NVME_DELETE_IO_Q_QID));

	if (q == NULL)
		return;
	if (r->of.opc == NVME_OPC_DELETE_IO_SQ) {
		sq_begin(q, 0);
		return;
	}
	check_never_rung(o, q);
	cq_begin(q, 0);
	q->cq_made = q->cq_asked = false;
	q->sq_without_cq = 0;
}

/* What a completed admin command has changed. */
/* How many a controller takes (AERL + 1) is in no record, but this status is. */
static void check_event_request(struct output *o, const struct rec *r)
{
	if ((r->has & HAS_STATUS) == 0 || (r->of_have & HAVE_OPC) == 0 ||
	    r->of.opc != NVME_OPC_ASYNC_EVENT_REQUEST)
		return;
	if (cpl_sct(&r->cpl) == NVME_SCT_COMMAND_SPECIFIC &&
	    cpl_sc(&r->cpl) == NVME_SC_ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED)
		lint_finding(o, RULE_EVENTS, r->number, r->qid,
		             "one event request too many: cid:%u, the controller has AERL + 1 of them",
		             (unsigned)r->cpl.cid);
}

static void take_admin_result(struct output *o, const struct rec *r)
{
	const uint32_t dws = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	uint8_t opc = r->of.opc;

	check_event_request(o, r);
	if (c == NULL || (r->has & HAS_STATUS) == 0 || rec_is_error(r) ||
	    (r->of_have & HAVE_OPC) == 0)
		return;
	if (opc == NVME_OPC_DOORBELL_BUFFER_CONFIG)
		c->shadow = true; /* from now on most doorbells are in memory, unseen */
	else if ((opc == NVME_OPC_CREATE_IO_SQ || opc == NVME_OPC_CREATE_IO_CQ) &&
	         (r->of_have & dws) == dws)
		take_created(l, r);
	else if ((opc == NVME_OPC_DELETE_IO_SQ || opc == NVME_OPC_DELETE_IO_CQ) &&
	         (r->of_have & HAVE_DW(10)) != 0)
		take_deleted(o, r);
}

/* An entry of another lap is one mistake; behind two in a row the lap itself is in doubt. */
static void check_phase(struct output *o, struct lintq *cq, const struct rec *r)
{
	uint32_t p = NVME_GET(r->cpl.status, NVME_CPL_P);

	if ((r->has & HAS_PHASE) == 0 || !cq->phase_sure)
		return;
	if (p != cq->phase && cq->odd_phase) {
		cq->phase_sure = false;
		return;
	}
	if (p != cq->phase)
		lint_finding(o, RULE_PHASE, r->number, r->qid,
		             "phase error: cid:%u in slot %" PRIu32 " has p:%" PRIu32
		             " in a lap of p:%" PRIu32 ", it is an old entry",
		             (unsigned)r->cpl.cid, cq->index, p, cq->phase);
	cq->odd_phase = p != cq->phase;
	if (++cq->index == cq->cq_size) {
		cq->index = 0;
		cq->phase ^= 1;
		cq->odd_phase = false;
	}
}

/* QEMU tells of completions that wait for a slot, so there it is no mistake of the driver. */
static void check_overrun(struct output *o, struct lintq *cq, const struct rec *r)
{
	const struct lint *l = o->state;
	const struct lintc *c = find_ctrlr(o->state, r);

	cq->unreleased++;
	if (c == NULL || c->shadow || (l->sees & SEES_DOORBELLS) == 0 ||
	    (r->has & HAS_PHASE) == 0 || cq->cq_size == 0 || cq->overrun ||
	    cq->unreleased < cq->cq_size)
		return;
	lint_finding(o, RULE_CQ_OVERRUN, r->number, r->qid,
	             "CQ overrun: %" PRIu64
	             " completions since the head was rung, in a queue of %" PRIu32,
	             cq->unreleased, cq->cq_size);
	cq->overrun = true; /* once until the next doorbell */
}

/* Is the command of this completion not there, and was it not before the first record either? */
static bool is_orphan(const struct lintc *c, const struct lintq *q, const struct rec *r,
                      uint16_t cid)
{
	return r->cmd_number == 0 && !cid_in(q->open, cid) && !cid_in(q->strange, cid) &&
	       (c->whole || q->sq_whole || cid_in(q->seen, cid));
}

/* The driver itself ends what a controller that is off will not end; nvme.h does it with these. */
static bool is_made_up(const struct rec *r)
{
	return (r->has & HAS_STATUS) != 0 && cpl_sct(&r->cpl) == NVME_SCT_GENERIC &&
	       cpl_sc(&r->cpl) == NVME_SC_ABORTED_SQ_DELETION && r->cpl.sqhd == 0 &&
	       NVME_GET(r->cpl.status, NVME_CPL_P) == 0;
}

static void take_cqe(struct output *o, struct lintq *cq, const struct rec *r)
{
	if (is_made_up(r)) { /* or it is not: then the slots from here on are not known */
		cq->head_sure = cq->phase_sure = false;
		return;
	}
	cq->completions++;
	cq->last_cpl = r->number;
	check_phase(o, cq, r);
	check_overrun(o, cq, r);
}

/* So many entries behind; both are slots of the ring. */
static uint32_t moved(uint32_t from, uint32_t to, uint32_t size)
{
	return to >= from ? to - from : to + size - from;
}

/*
 * Each queue pair of our driver has a completion queue of its own. Whether the command with this CID
 * is at an end when a completion says another queue, some drivers say, and others not.
 */
static void check_sqid(struct output *o, struct lintq *q, const struct rec *r)
{
	if ((r->has & HAS_SQID) == 0 || r->cpl.sqid == r->qid)
		return;
	lint_finding(o, RULE_SQID, r->number, r->qid,
	             "foreign SQID: cid:%u is said to be of SQ %u, which does not complete here",
	             (unsigned)r->cpl.cid, (unsigned)r->cpl.sqid);
	cid_put(&q->strange, r->cpl.cid, true);
}

/* SQHD: so far the controller has fetched, from where it was before. */
static void check_sqhd(struct output *o, const struct lintc *c, struct lintq *q,
                       const struct rec *r)
{
	const struct lint *l = o->state;
	bool announced = q->tail_sure && !c->shadow;
	uint64_t there = announced ? q->in_ring - q->written : q->in_ring;
	uint32_t entries;

	if ((r->has & HAS_SQHD) == 0 || (l->sees & SEES_TAILS) == 0 || !q->sqhd_sure ||
	    cid_in(q->strange, r->cpl.cid))
		return;
	entries = moved(q->sq_head, r->cpl.sqhd, q->sq_size);
	if (r->cpl.sqhd < q->sq_size && entries <= there) {
		q->in_ring -= entries;
		q->sq_head = r->cpl.sqhd;
		return;
	}
	lint_finding(o, RULE_SQHD, r->number, r->qid,
	             "SQ head beyond the tail: cid:%u has sqhd %u, behind %" PRIu32
	             " there were %" PRIu64 " commands %s in a queue of %" PRIu32,
	             (unsigned)r->cpl.cid, (unsigned)r->cpl.sqhd, q->sq_head, there,
	             announced ? "announced" : "written", q->sq_size);
	q->sqhd_sure = false; /* once */
}

/* Our driver records such a completion twice: as a bad one, and as the end of its command. */
static bool is_told_again(struct lintq *q, const struct rec *r)
{
	bool again = r->cmd_number == 0 && (r->has & HAS_SQHD) != 0 &&
	             memcmp(&q->bad, &r->cpl, sizeof(q->bad)) == 0;

	memset(&q->bad, 0, sizeof(q->bad));
	if ((r->has & HAS_SQHD) != 0 && q->sq_size != 0 && r->cpl.sqhd >= q->sq_size)
		q->bad = r->cpl;
	return again && r->cpl.sqhd != 0;
}

static void take_completion(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r)), *cq;
	uint16_t cid = r->cmd_number != 0 ? r->of.cid : r->cpl.cid;

	if (c == NULL || q == NULL || is_told_again(q, r))
		return;
	if (is_orphan(c, q, r, cid))
		lint_finding(o, RULE_ORPHAN, r->number, r->qid,
		             "completion without command: cid:%u", (unsigned)r->cpl.cid);
	if (cid_in(q->open, cid))
		q->open_count--;
	cid_put(&q->open, cid, false);
	if ((r->has & HAS_FLAGS) != 0)
		cid_put(&q->final, cid, NVME_GET(r->cpl.status, NVME_CPL_DNR) != 0);
	lint_transfer_ends(l, r, cid);
	cq = other_queue(l, r, q->cqid);
	if (cq == NULL || c->disabled)
		return;
	if (is_made_up(r)) {
		q->sqhd_sure = false;
	} else {
		check_sqid(o, q, r);
		check_sqhd(o, c, q, r);
	}
	take_cqe(o, cq, r);
	if (r->qid == 0 && r->cmd_number != 0)
		take_admin_result(o, r);
}

/* ---- doorbells ---- */

static bool check_value(struct output *o, const struct rec *r, uint32_t size)
{
	if (size == 0 || r->doorbell.new_value < size)
		return true;
	lint_finding(o, r->doorbell.cq != 0 ? RULE_HEAD : RULE_TAIL, r->number, r->qid,
	             "doorbell beyond the queue: %s %" PRIu32 " in a queue of %" PRIu32,
	             r->doorbell.cq != 0 ? "head" : "tail", r->doorbell.new_value, size);
	return false;
}

/* Only where the source has commands before their doorbells, as our recorder. */
static void take_sq_doorbell(struct output *o, struct lintq *q, const struct rec *r)
{
	uint32_t entries;

	if (!check_value(o, r, q->sq_size)) {
		q->tail_sure = false;
		return;
	}
	if (!q->tail_sure || (r->has & HAS_OLD) == 0)
		return;
	entries = moved(q->tail, r->doorbell.new_value, q->sq_size);
	if (entries > q->written)
		lint_finding(o, RULE_TAIL, r->number, r->qid,
		             "doorbell beyond the tail: SQ tail %" PRIu32 " to %" PRIu32
		             " announces %" PRIu32 " commands, %" PRIu64 " written",
		             q->tail, r->doorbell.new_value, entries, q->written);
	if (q->first_half != 0 && entries >= q->first_written)
		lint_finding(o, RULE_FUSED, r->number, r->qid,
		             "fused pair cut: SQ tail %" PRIu32 " to %" PRIu32
		             " announces cid:%u, a first half, without its second half",
		             q->tail, r->doorbell.new_value, (unsigned)q->first_cid);
	q->written -= entries < q->written ? entries : q->written;
	q->first_written -= entries < q->first_written ? entries : q->first_written;
	q->tail = r->doorbell.new_value;
}

static void take_cq_doorbell(struct output *o, struct lintq *q, const struct rec *r)
{
	uint32_t entries;

	q->cq_rung = true;
	q->overrun = false;
	if (!check_value(o, r, q->cq_size))
		q->head_sure = false;
	if (!q->head_sure) {
		q->unreleased = 0;
		return;
	}
	entries = moved(q->head, r->doorbell.new_value, q->cq_size);
	if (entries > q->unreleased)
		lint_finding(o, RULE_HEAD, r->number, r->qid,
		             "doorbell beyond the tail: CQ head %" PRIu32 " to %" PRIu32
		             " hands back %" PRIu32 " entries, %" PRIu64 " completed",
		             q->head, r->doorbell.new_value, entries, q->unreleased);
	q->unreleased -= entries < q->unreleased ? entries : q->unreleased;
	q->head = r->doorbell.new_value;
}

/* Of the admin queue there is always one, be it not yet told of. */
static void check_queue_is(struct output *o, const struct lintc *c, const struct lintq *q,
                           const struct rec *r)
{
	bool cq = r->doorbell.cq != 0;

	if (!c->attached || r->qid == 0 || (cq ? q->cq_ever : q->sq_ever))
		return;
	lint_finding(o, RULE_NO_QUEUE, r->number, r->qid,
	             "doorbell of no queue: %s %" PRIu32 ", but there never was %s %u",
	             cq ? "head" : "tail", r->doorbell.new_value, cq ? "a CQ" : "an SQ",
	             (unsigned)r->qid);
}

static void check_ready(struct output *o, struct lintc *c, const struct rec *r)
{
	const struct lint *l = o->state;

	if (c->await_ready && !l->reg_threads && r->doorbell.cq == 0)
		lint_finding(o, RULE_READY, r->number, r->qid,
		             "not yet ready: SQ tail %" PRIu32
		             " announces commands, but CSTS.RDY was not read as 1 since CC.EN was set",
		             r->doorbell.new_value);
	c->await_ready = false; /* once */
}

static void take_doorbell(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r));

	if (c == NULL || q == NULL)
		return;
	check_queue_is(o, c, q, r);
	check_ready(o, c, r);
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

/* Without a controller a record stands for itself: only what is wrong with any can be said. */
static void take_alone(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;

	if (l->unsure == 0) {
		l->unsure = r->number;
		forget(l);
	}
	if (r->kind == REC_COMMAND)
		lint_check_data(o, NULL, r);
	else if (r->kind == REC_REG_WRITE)
		check_base(o, r);
}

static void take_record(struct output *o, const struct rec *r)
{
	switch (r->kind) {
	case REC_REG_WRITE:
		take_reg_write(o, r);
		break;
	case REC_COMMAND:
		take_command(o, r);
		break;
	case REC_COMPLETION:
		take_completion(o, r);
		break;
	case REC_REG_READ:
		take_reg_read(o->state, r);
		break;
	default:
		take_doorbell(o, r);
		break;
	}
}

static bool names_no_ctrlr(const struct lint *l, const struct rec *r)
{
	return (r->has & HAS_CTRLR) == 0 && (l->unsure != 0 || (r->has & HAS_ONE_CTRLR) == 0);
}

/* Whose registers are read by one thread alone leaves a record of all that changes. */
static void note_reader(struct lint *l, const struct rec *r)
{
	if (l->reg_tid != 0 && l->reg_tid != r->tid + 1)
		l->reg_threads = true;
	l->reg_tid = r->tid + 1;
}

static void take_mapping(struct lint *l, const struct rec *r)
{
	struct lintc *c = find_ctrlr(l, r);

	if (c != NULL)
		lint_map(&c->maps, r);
}

static int lint_record(struct output *o, struct rec *r)
{
	struct lint *l = o->state;

	l->records++;
	lint_see(l, r);
	if (r->kind == REC_REG_READ || r->kind == REC_REG_WRITE)
		note_reader(l, r);
	if (r->kind == REC_DAMAGE || (r->has & HAS_GAP) != 0)
		forget(l);
	switch (r->kind) {
	case REC_ATTACH:
		take_attach(l, r);
		break;
	case REC_DETACH:
		check_all_announced(o, r);
		check_all_rung(o, r);
		break;
	case REC_PRP:
		lint_keep_prp(l, r);
		break;
	case REC_DMA_MAP:
	case REC_DMA_UNMAP:
		take_mapping(l, r);
		break;
	case REC_DEV_DATA:
		lint_check_moved(o, r);
		break;
	case REC_MARK:
		take_mark(o, r);
		break;
	case REC_COMMAND:
	case REC_COMPLETION:
	case REC_DOORBELL:
	case REC_REG_READ:
	case REC_REG_WRITE:
		if (r->kind != REC_REG_READ && r->kind != REC_REG_WRITE && (r->has & HAS_QID) == 0)
			break;
		if (names_no_ctrlr(l, r))
			take_alone(o, r);
		else
			take_record(o, r);
		if (r->kind == REC_COMMAND && l->prp != NULL && queue_key(l->prp) == queue_key(r))
			l->prp->kind = REC_NOTE; /* it was the pointer of this command alone */
		break;
	default:
		break;
	}
	return 0;
}

/*
 * Where the trace ends the driver may have been about to ring. Not so if it took all that the ring
 * can hold and waits for more: then it has never rung and never will.
 */
static void check_stuck(struct output *o, struct lintq *q)
{
	if (q->cq_size >= 4 && q->head_sure && q->completions >= q->cq_size - 1 && q->phase_sure &&
	    q->open_count != 0)
		check_never_rung(o, q);
}

static void lint_free(struct lint *l)
{
	uint32_t i;

	for (i = 0; i < l->queues; i++) {
		free(l->queue[i]->open);
		free(l->queue[i]->seen);
		free(l->queue[i]->final);
		free(l->queue[i]->strange);
		free(l->queue[i]);
	}
	lint_data_free(l);
	free(l);
}

static int lint_end(struct output *o, struct pairing *p)
{
	struct lint *l = o->state;
	bool found;
	uint32_t i;

	(void)p;
	for (i = 0; i < l->queues; i++)
		check_stuck(o, l->queue[i]);
	found = l->findings != 0;
	if (l->left_out != 0)
		fprintf(stderr, "nvtrace: more than %d queues: the others were not checked\n",
		        LINT_QUEUES);
	if (l->unsure != 0)
		fprintf(stderr,
		        "nvtrace: from record %" PRIu64
		        " on there may be several controllers that this trace does not tell "
		        "apart: only what each record shows by itself was checked\n",
		        l->unsure);
	lint_report(l);
	lint_free(l);
	o->state = NULL;
	return found ? 1 : 0;
}

const struct output_ops lint_output = {.name = "lint",
                                       .begin = lint_begin,
                                       .record = lint_record,
                                       .end = lint_end};
