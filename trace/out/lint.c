// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: mistakes against the protocol that a trace shows. One line for each, with the
 * number of the record; nothing where the trace does not tell enough to be sure.
 */
#include "output.h"

#define CTRLRS     64
#define QUEUES     1024
#define PAGE_LEAST 4096

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
	uint64_t unreleased;       /* completions that were taken and not handed back, at least */
	uint64_t completions;      /* of the completion queue, since it was made */
	uint64_t last_cpl;         /* record */
	uint64_t sq_without_cq;    /* record that made the SQ when its CQ was not there; 0: none */
	uint64_t first_half;       /* record of a fused pair's first half that waits; 0: none */
	uint16_t first_cid;        /* its CID, ... */
	uint64_t first_written;    /* ... and commands written up to it, itself included */
	uint32_t index, phase;     /* of the next completion */
	uint16_t cqid;             /* where completions of this SQ go */
	bool sq_whole, cq_whole;   /* everything since the making is in the trace */
	bool tail_sure, head_sure, phase_sure; /* and so these are known */
	bool cq_made, cq_asked, cq_rung;
	bool odd_phase; /* of the last completion */
	bool overrun;
	bool gone; /* it was made, and a reset or its deletion was the end of it */
	uint32_t open_count;
	struct cidset *open, *seen;
	struct cidset *final; /* those that ended last with DNR */
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
	uint64_t unsure; /* record from which on controllers cannot be told apart; 0: they can */
	bool doorbells;  /* the source has them */
	bool phases;     /* it shows what the driver took, not what the controller posts */
	struct rec *prp; /* the data pointer of the command that follows */
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
	if (l->ctrlrs == CTRLRS)
		return NULL;
	l->ctrlr[l->ctrlrs] = (struct lintc){.ctrlr = n, .page = PAGE_LEAST};
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

/* From here on the queue is new, with so many entries; 0: it is gone, or nothing is known of it. */
static void sq_begin(struct lintq *q, uint32_t size)
{
	q->gone = size == 0 && (q->sq_size != 0 || q->gone);
	q->sq_size = size;
	q->tail = 0;
	q->written = 0;
	q->first_half = 0;
	q->sq_whole = q->tail_sure = size != 0;
	q->open_count = 0;
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
		l->ctrlr[i] = (struct lintc){.ctrlr = l->ctrlr[i].ctrlr, .page = PAGE_LEAST};
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

/* Only when the driver has gone on to something else: it may be just about to ring. */
static void check_never_rung(struct output *o, struct lintq *q)
{
	const struct lint *l = o->state;
	uint32_t i;

	if (!l->doorbells || !q->cq_whole || q->cq_rung || q->completions == 0)
		return;
	for (i = 0; i < l->ctrlrs; i++)
		if (l->ctrlr[i].ctrlr == key_ctrlr(q->key) && l->ctrlr[i].shadow)
			return;
	finding(o, q->last_cpl, key_qid(q->key),
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

	if (c == NULL)
		return;
	*c = (struct lintc){.ctrlr = c->ctrlr, .page = PAGE_LEAST, .whole = true};
	ctrlr_reset(l, r);
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
	}
	c->shutdown = shutdown;
}

static void check_base(struct output *o, const struct rec *r)
{
	if (r->reg.offset != NVME_REG_ASQ && r->reg.offset != NVME_REG_ACQ)
		return;
	if (r->reg.value % PAGE_LEAST != 0)
		finding(o, r->number, 0,
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
	} else if (r->reg.offset == NVME_REG_AQA) {
		/* it is off, if only by a reset of the function that is in no record */
		ctrlr_reset(l, r);
		c->shadow = false;
		sq_begin(admin, NVME_GET((uint32_t)r->reg.value, NVME_AQA_ASQS) + 1u);
		cq_begin(admin, NVME_GET((uint32_t)r->reg.value, NVME_AQA_ACQS) + 1u);
	}
}

/* ---- data pointers ---- */

static bool prps_recorded(const struct lint *l, const struct rec *r)
{
	return l->prp != NULL && l->prp->kind == REC_PRP && queue_key(l->prp) == queue_key(r) &&
	       l->prp->prp.cid == r->cmd.cid && l->prp->prp.prp1 == r->cmd.dptr.prp.prp1;
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

	if ((r->cmd_have & HAVE_OPC) == 0 ||
	    NVME_GET(r->cmd.opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE ||
	    ((r->cmd_have & HAVE_FLAGS) != 0 &&
	     NVME_GET(r->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP))
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

/* Where MPTR is an address: SGLs may have metadata at any byte, if the controller says so (SGLS). */
static void check_mptr(struct output *o, const struct rec *r)
{
	const uint32_t need = HAVE_OPC | HAVE_FLAGS | HAVE_MPTR;

	if (r->qid == 0 || (r->cmd_have & need) != need ||
	    NVME_GET(r->cmd.opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE ||
	    NVME_GET(r->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP || r->cmd.mptr % 4 == 0)
		return;
	finding(o, r->number, r->qid,
	        "misaligned metadata: MPTR 0x%" PRIx64 " of cid:%u is not a multiple of 4",
	        r->cmd.mptr, (unsigned)r->cmd.cid);
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
		finding(o, r->number, 0, "SQ %u created before its CQ: CQ %u %s", (unsigned)sqid,
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
		finding(o, cq->sq_without_cq, 0,
		        "SQ created before its CQ: CQ %u is created only in record %" PRIu64,
		        (unsigned)cqid, r->number);
	cq->sq_without_cq = 0;
	cq->cq_asked = true;
}

static void check_state(struct output *o, const struct lintc *c, const struct lintq *q,
                        const struct rec *r)
{
	if (c->shutdown)
		finding(o, r->number, r->qid, "command after shutdown: cid:%u",
		        (unsigned)r->cmd.cid);
	else if (c->disabled)
		finding(o, r->number, r->qid, "command while the controller is disabled: cid:%u",
		        (unsigned)r->cmd.cid);
	else if (q->gone)
		finding(o, r->number, r->qid,
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
		finding(o, q->first_half, r->qid,
		        "fused pair cut: cid:%u is a first half, but behind it comes cid:%u, "
		        "which is no second half",
		        (unsigned)q->first_cid, (unsigned)r->cmd.cid);
	else if (q->first_half == 0 && fuse == NVME_FUSE_SECOND && q->sq_whole)
		finding(o, r->number, r->qid,
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
		finding(o, r->number, r->qid,
		        "abort of cid:%u of queue %u, which is gone after a reset or its deletion",
		        (unsigned)NVME_GET(r->cmd.cdw10, NVME_ABORT_CID), (unsigned)sqid);
}

static void take_command(struct output *o, const struct rec *r)
{
	const uint32_t dws = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r));

	if (c == NULL || q == NULL)
		return;
	check_state(o, c, q, r);
	if (cid_in(q->open, r->cmd.cid))
		finding(o, r->number, r->qid, "CID reused while outstanding: cid:%u",
		        (unsigned)r->cmd.cid);
	else
		q->open_count++;
	cid_put(&q->open, r->cmd.cid, true);
	cid_put(&q->seen, r->cmd.cid, true);
	q->written++;
	check_fused(o, q, r);
	check_prps(o, r, c->page);
	check_mptr(o, r);
	if (r->qid == 0 && (r->cmd_have & dws) == dws) {
		if (r->cmd.opc == NVME_OPC_CREATE_IO_SQ)
			check_create_sq(o, c, r);
		else if (r->cmd.opc == NVME_OPC_CREATE_IO_CQ)
			check_create_cq(o, r);
		else if (r->cmd.opc == NVME_OPC_ABORT)
			check_abort(o, r);
	}
}

/* DNR says: the same command will fail again. */
static void take_mark(struct output *o, const struct rec *r)
{
	const struct lintq *q = find_queue(o->state, queue_key(r));

	if (r->mark.what == NVME_TRACE_RETRY && q != NULL && cid_in(q->final, r->mark.cid))
		finding(o, r->number, r->qid,
		        "retry although it must not be: cid:%u ended with DNR (do not retry)",
		        (unsigned)r->mark.cid);
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
		sq_begin(q, size);
	} else {
		q->cq_made = true;
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
		finding(o, r->number, r->qid,
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
		finding(o, r->number, r->qid,
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
	if (c == NULL || c->shadow || !l->doorbells || (r->has & HAS_PHASE) == 0 ||
	    cq->cq_size == 0 || cq->overrun || cq->unreleased < cq->cq_size)
		return;
	finding(o, r->number, r->qid,
	        "CQ overrun: %" PRIu64
	        " completions since the head was rung, in a queue of %" PRIu32,
	        cq->unreleased, cq->cq_size);
	cq->overrun = true; /* once until the next doorbell */
}

/* Is the command of this completion not there, and was it not before the first record either? */
static bool is_orphan(const struct lintc *c, const struct lintq *q, const struct rec *r,
                      uint16_t cid)
{
	return r->cmd_number == 0 && !cid_in(q->open, cid) &&
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
	struct lint *l = o->state;

	if (is_made_up(r)) { /* or it is not: then the slots from here on are not known */
		cq->head_sure = cq->phase_sure = false;
		return;
	}
	l->phases |= (r->has & HAS_PHASE) != 0;
	cq->completions++;
	cq->last_cpl = r->number;
	check_phase(o, cq, r);
	check_overrun(o, cq, r);
}

static void take_completion(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintc *c = find_ctrlr(l, r);
	struct lintq *q = find_queue(l, queue_key(r)), *cq;
	uint16_t cid = r->cmd_number != 0 ? r->of.cid : r->cpl.cid;

	if (c == NULL || q == NULL)
		return;
	if (is_orphan(c, q, r, cid))
		finding(o, r->number, r->qid, "completion without command: cid:%u",
		        (unsigned)r->cpl.cid);
	if (cid_in(q->open, cid))
		q->open_count--;
	cid_put(&q->open, cid, false);
	if ((r->has & HAS_FLAGS) != 0)
		cid_put(&q->final, cid, NVME_GET(r->cpl.status, NVME_CPL_DNR) != 0);
	cq = other_queue(l, r, q->cqid);
	if (cq == NULL || c->disabled)
		return;
	take_cqe(o, cq, r);
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

/* How many entries a doorbell moved on; both are slots of the ring. */
static uint32_t moved(uint32_t from, uint32_t to, uint32_t size)
{
	return to >= from ? to - from : to + size - from;
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
		finding(o, r->number, r->qid,
		        "doorbell beyond the tail: SQ tail %" PRIu32 " to %" PRIu32
		        " announces %" PRIu32 " commands, %" PRIu64 " written",
		        q->tail, r->doorbell.new_value, entries, q->written);
	if (q->first_half != 0 && entries >= q->first_written)
		finding(o, r->number, r->qid,
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
		finding(o, r->number, r->qid,
		        "doorbell beyond the tail: CQ head %" PRIu32 " to %" PRIu32
		        " hands back %" PRIu32 " entries, %" PRIu64 " completed",
		        q->head, r->doorbell.new_value, entries, q->unreleased);
	q->unreleased -= entries < q->unreleased ? entries : q->unreleased;
	q->head = r->doorbell.new_value;
}

static void take_doorbell(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;
	struct lintq *q = find_queue(l, queue_key(r));

	l->doorbells = true;
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

/* Without a controller a record stands for itself: only what is wrong with any can be said. */
static void take_alone(struct output *o, const struct rec *r)
{
	struct lint *l = o->state;

	if (l->unsure == 0) {
		l->unsure = r->number;
		forget(l);
	}
	if (r->kind == REC_COMMAND)
		check_prps(o, r, PAGE_LEAST);
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
	default:
		take_doorbell(o, r);
		break;
	}
}

static bool names_no_ctrlr(const struct lint *l, const struct rec *r)
{
	return (r->has & HAS_CTRLR) == 0 && (l->unsure != 0 || (r->has & HAS_ONE_CTRLR) == 0);
}

static int lint_record(struct output *o, struct rec *r)
{
	struct lint *l = o->state;

	l->records++;
	if (r->kind == REC_DAMAGE || (r->has & HAS_GAP) != 0)
		forget(l);
	switch (r->kind) {
	case REC_ATTACH:
		take_attach(l, r);
		break;
	case REC_DETACH:
		check_all_rung(o, r);
		break;
	case REC_PRP:
		keep_prp(l, r);
		break;
	case REC_MARK:
		take_mark(o, r);
		break;
	case REC_COMMAND:
	case REC_COMPLETION:
	case REC_DOORBELL:
	case REC_REG_WRITE:
		if (r->kind != REC_REG_WRITE && (r->has & HAS_QID) == 0)
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
		free(l->queue[i]);
	}
	if (l->prp != NULL)
		rec_free(l->prp);
	free(l->prp);
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
		        QUEUES);
	if (l->unsure != 0)
		fprintf(stderr,
		        "nvtrace: from record %" PRIu64
		        " on there may be several controllers that this trace does not tell "
		        "apart: only what each record shows by itself was checked\n",
		        l->unsure);
	if (!found)
		fprintf(stderr, "nvtrace: no mistakes found in %" PRIu64 " records\n", l->records);
	lint_free(l);
	o->state = NULL;
	return found ? 1 : 0;
}

const struct output_ops lint_output = {.name = "lint",
                                       .begin = lint_begin,
                                       .record = lint_record,
                                       .end = lint_end};
