// SPDX-License-Identifier: MIT
/*
 * Reader of QEMU's log of its NVMe controller (-trace 'pci_nvme*'), the controller's side.
 *
 * One command is spread over several lines: what was fetched, what it asks for, where its data is.
 * They follow each other, as QEMU runs its devices one at a time, so a command is held until a line
 * begins something else. Completions name a completion queue and no submission queue; which queue
 * a command came from follows from the queues that were created, or from the one command that
 * waits with that CID. Where neither tells, the queue stays unknown.
 *
 * No line names a controller. Records are marked HAS_ONE_CTRLR as long as the log cannot be of
 * two: it has the enabling of the one, and nothing that this one would not do. Where it is certain
 * that there are two (one is enabled while another is on, or lines begin with two process IDs),
 * reading ends with a sentence: what follows would be mixed up.
 */
#include "scan.h"
#include <time.h>

#define QEMU_KEYS 7

struct qemu_state;
struct qemu_line {
	uint64_t v[QEMU_KEYS];
	uint32_t seen;
	const char *text; /* event and payload */
};

/* A command that waits, found by CQ and CID. */
struct qemu_slot {
	uint32_t cq; /* QEMU_NO_CQ: its queue's creation is not in the log */
	uint16_t cid, sqid;
	uint16_t waiting; /* commands with this CQ and CID, 0: the slot is free */
	bool ambiguous;   /* and they come from different queues */
};

#define QEMU_NO_CQ 0x10000u
#define QEMU_SLOTS 65536u

/* All queues are forgotten when the controller is reset: when `era` no longer matches. */
struct qemu_queue {
	uint32_t era;
	uint16_t cqid; /* of an SQ: where it completes */
	uint32_t sqs;  /* of a CQ: how many SQs complete there */
	uint16_t sqid; /* of a CQ: the last of them */
};

struct qemu_state {
	struct scan_line line;
	struct rec *out; /* records to be given out, in order */
	unsigned out_at, out_count;
	bool held; /* command: lines that belong to it may follow */
	struct rec command;
	bool write; /* a register write whose meaning the next line may tell */
	struct rec reg;
	uint64_t reg_offset, reg_size; /* of the latest write */
	struct qemu_queue *sq, *cq;
	uint32_t era;
	struct qemu_slot *slots;
	bool on, shut, several; /* a controller is enabled; is shut down; there may be others */
	bool sure;              /* it is on still: nothing that could be its reset came since */
	const char *declined;   /* why nothing more is read */
	uint64_t pid;           /* of the QEMU that writes, 0: not known */
	uint32_t set_up; /* which registers of the admin queue were written since it was off */
	bool creating;   /* a Create I/O SQ that has not completed yet */
	uint16_t create_cid, create_sqid, create_cqid;
	uint64_t time_ns;
	bool has_time;
	char date[20]; /* the latest, "2026-01-02T03:04:05", and what it is in seconds */
	time_t date_seconds;
};

#define QEMU_OUT 4

/* ---- records ---- */

static struct rec *qemu_begin(struct qemu_state *st, struct rec *rec, enum rec_kind kind)
{
	scan_begin(rec, kind, st->line.number);
	rec->has = st->has_time ? HAS_TIME : 0;
	rec->time_ns = st->time_ns;
	return rec;
}

/* The command is complete, whatever is known of it. */
static void qemu_flush_command(struct qemu_state *st)
{
	if (st->held && st->out_count < QEMU_OUT)
		st->out[st->out_count++] = st->command;
	st->held = false;
}

static void qemu_two_ctrlrs(struct qemu_state *st)
{
	if (st->sure)
		st->declined = "here a second controller begins, and the lines do not tell which "
			       "of them they are of: log a QEMU with one NVMe controller";
}

/*
 * The admin queue is set up once, while the controller is off. One that is on and is disabled says
 * so in the next line, before this is called.
 */
static void qemu_watch_write(struct qemu_state *st)
{
	uint32_t offset = st->reg.reg.offset, bit;

	if (offset == NVME_REG_CC && st->on &&
	    NVME_GET((uint32_t)st->reg.reg.value, NVME_CC_EN) == 0) {
		st->several = true;
		qemu_two_ctrlrs(st);
	}
	if (offset < NVME_REG_AQA || offset >= NVME_REG_ACQ + 8)
		return;
	bit = 1u << (offset - NVME_REG_AQA);
	st->several |= st->on || (st->set_up & bit) != 0;
	st->set_up |= bit;
}

static void qemu_flush_write(struct qemu_state *st)
{
	if (st->write)
		qemu_watch_write(st);
	if (st->write && st->out_count < QEMU_OUT)
		st->out[st->out_count++] = st->reg;
	st->write = false;
}

/* A new record behind all that was held; at most two are. */
static struct rec *qemu_put(struct qemu_state *st, enum rec_kind kind)
{
	qemu_flush_command(st);
	qemu_flush_write(st);
	return qemu_begin(st, &st->out[st->out_count++], kind);
}

static void qemu_note(struct qemu_state *st, const char *text)
{
	struct rec *rec = qemu_put(st, REC_NOTE);

	scan_copy(rec->text, sizeof(rec->text), text, strlen(text));
}

/* ---- queues ---- */

static struct qemu_queue *qemu_queue(struct qemu_state *st, struct qemu_queue *queues, uint16_t id)
{
	struct qemu_queue *q = &queues[id];

	return q->era == st->era ? q : NULL;
}

static uint32_t qemu_cq_of(struct qemu_state *st, uint16_t sqid)
{
	const struct qemu_queue *q = qemu_queue(st, st->sq, sqid);

	return sqid == 0 ? 0 : q != NULL ? q->cqid : QEMU_NO_CQ;
}

static void qemu_remove_sq(struct qemu_state *st, uint16_t sqid)
{
	struct qemu_queue *sq = qemu_queue(st, st->sq, sqid), *cq;

	if (sq == NULL)
		return;
	sq->era = 0;
	cq = qemu_queue(st, st->cq, sq->cqid);
	if (cq != NULL && cq->sqs > 0)
		cq->sqs--;
}

static void qemu_add_sq(struct qemu_state *st, uint16_t sqid, uint16_t cqid)
{
	struct qemu_queue *cq = &st->cq[cqid];

	qemu_remove_sq(st, sqid);
	st->sq[sqid].era = st->era;
	st->sq[sqid].cqid = cqid;
	if (cq->era != st->era)
		cq->sqs = 0;
	cq->era = st->era;
	cq->sqs++;
	cq->sqid = sqid;
}

static void qemu_reset(struct qemu_state *st)
{
	st->era++;
	st->creating = false;
}

static struct qemu_slot *qemu_slot(struct qemu_state *st, uint32_t cq, uint16_t cid)
{
	return &st->slots[(cq * 4099u + cid) % QEMU_SLOTS];
}

static bool qemu_waits(const struct qemu_slot *s, uint32_t cq, uint16_t cid)
{
	return s->waiting > 0 && s->cq == cq && s->cid == cid;
}

/* Two that fall into one slot: the older one is forgotten, as memory has an end. */
static void qemu_submitted(struct qemu_state *st, uint16_t sqid, uint16_t cid)
{
	uint32_t cq = qemu_cq_of(st, sqid);
	struct qemu_slot *s = qemu_slot(st, cq, cid);

	if (!qemu_waits(s, cq, cid)) {
		*s = (struct qemu_slot){.cq = cq, .cid = cid, .sqid = sqid, .waiting = 1};
	} else if (s->sqid != sqid || s->ambiguous) {
		s->ambiguous = true;
		s->waiting = s->waiting < UINT16_MAX ? (uint16_t)(s->waiting + 1) : UINT16_MAX;
	}
}

/* Takes a waiting command out: 1 and its queue, 0 there is none, -1 it could be several. */
static int qemu_take(struct qemu_slot *s, uint16_t *sqid)
{
	bool ambiguous = s->ambiguous;

	*sqid = s->sqid;
	s->waiting--;
	if (s->waiting == 0)
		s->ambiguous = false;
	return ambiguous ? -1 : 1;
}

/* The same for a completion. A queue whose creation was not seen is learnt on the way. */
static int qemu_completed(struct qemu_state *st, uint16_t cqid, uint16_t cid, uint16_t *sqid)
{
	const struct qemu_queue *cq = qemu_queue(st, st->cq, cqid);
	struct qemu_slot *s = qemu_slot(st, cqid, cid);
	int found;

	if (qemu_waits(s, cqid, cid))
		return qemu_take(s, sqid);
	s = qemu_slot(st, QEMU_NO_CQ, cid);
	if (cqid != 0 && qemu_waits(s, QEMU_NO_CQ, cid)) {
		found = qemu_take(s, sqid);
		if (found == 1 && qemu_cq_of(st, *sqid) == QEMU_NO_CQ)
			qemu_add_sq(st, *sqid, cqid);
		return found;
	}
	*sqid = cq != NULL ? cq->sqid : 0;
	return cqid == 0 || (cq != NULL && cq->sqs == 1 && qemu_cq_of(st, cq->sqid) == cqid);
}

/* ---- lines that begin a command ---- */

static void qemu_command(struct qemu_state *st, uint64_t cid, uint64_t sqid, uint64_t opc)
{
	qemu_flush_command(st);
	qemu_flush_write(st);
	qemu_begin(st, &st->command, REC_COMMAND);
	st->held = true;
	st->several |= !st->on; /* the enabling is not in this log, nor is that of others */
	st->command.has |= HAS_QID | HAS_OPC;
	st->command.qid = (uint16_t)sqid;
	st->command.cmd.cid = (uint16_t)cid;
	st->command.cmd.opc = (uint8_t)opc;
	st->command.cmd_have = HAVE_OPC;
	qemu_submitted(st, (uint16_t)sqid, (uint16_t)cid);
}

static void qemu_admin_cmd(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_command(st, l->v[0], l->v[1], l->v[2]);
}

static void qemu_io_cmd(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_command(st, l->v[0], l->v[2], l->v[3]);
	st->command.cmd.nsid = (uint32_t)l->v[1];
	st->command.cmd_have |= HAVE_NSID;
}

/* ---- lines that say more about it ---- */

/* The command that is held, if it is that CID. */
static struct rec *qemu_held(struct qemu_state *st, uint64_t cid)
{
	return st->held && st->command.cmd.cid == cid ? &st->command : NULL;
}

static void qemu_set(struct rec *rec, unsigned dw, uint64_t value)
{
	*scan_cdw(&rec->cmd, dw) = (uint32_t)value;
	rec->cmd_have |= HAVE_DW(dw);
}

static void qemu_set_nsid(struct rec *rec, uint64_t nsid)
{
	rec->cmd.nsid = (uint32_t)nsid;
	rec->cmd_have |= HAVE_NSID;
}

static void qemu_set_prp1(struct rec *rec, uint64_t prp1)
{
	rec->cmd.dptr.prp.prp1 = prp1;
	rec->cmd_have |= HAVE_DPTR1;
}

static void qemu_identify(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_held(st, l->v[0]);

	if (rec == NULL)
		return;
	qemu_set(rec, 10, l->v[1] | l->v[2] << 16);
	qemu_set(rec, 11, l->v[3] << 24);
}

/* The line behind it, of what is identified. */
static void qemu_identify_nsid(struct qemu_state *st, const struct qemu_line *l)
{
	if (st->held && (l->seen & 1) != 0 && st->command.qid == 0 &&
	    st->command.cmd.opc == NVME_OPC_IDENTIFY)
		qemu_set_nsid(&st->command, l->v[0]);
}

/* len is in bytes; what the command holds is the number of dwords less one, in two halves. */
static void qemu_get_log(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_held(st, l->v[0]);
	uint64_t dwords = l->v[4] / 4 - 1;

	if (rec == NULL || l->v[4] == 0 || l->v[4] % 4 != 0)
		return;
	qemu_set(rec, 10, l->v[1] | l->v[2] << 8 | l->v[3] << 15 | (dwords & 0xffff) << 16);
	qemu_set(rec, 11, dwords >> 16);
	qemu_set(rec, 12, l->v[5]);
	qemu_set(rec, 13, l->v[5] >> 32);
}

static void qemu_getfeat(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_held(st, l->v[0]);

	if (rec == NULL)
		return;
	qemu_set_nsid(rec, l->v[1]);
	qemu_set(rec, 10, l->v[2] | l->v[3] << 8);
	qemu_set(rec, 11, l->v[4]);
}

static void qemu_setfeat(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_held(st, l->v[0]);

	if (rec == NULL)
		return;
	qemu_set_nsid(rec, l->v[1]);
	qemu_set(rec, 10, l->v[2] | l->v[3] << 31);
	qemu_set(rec, 11, l->v[4]);
}

/* qsize is printed as it is in the command, 0-based. */
static void qemu_create_sq(struct qemu_state *st, const struct qemu_line *l)
{
	if (!st->held)
		return;
	qemu_set_prp1(&st->command, l->v[0]);
	qemu_set(&st->command, 10, l->v[1] | l->v[3] << 16);
	qemu_set(&st->command, 11, l->v[4] | l->v[2] << 16);
	st->creating = true; /* and it may yet fail */
	st->create_cid = st->command.cmd.cid;
	st->create_sqid = (uint16_t)l->v[1];
	st->create_cqid = (uint16_t)l->v[2];
}

static void qemu_create_cq(struct qemu_state *st, const struct qemu_line *l)
{
	if (!st->held)
		return;
	qemu_set_prp1(&st->command, l->v[0]);
	qemu_set(&st->command, 10, l->v[1] | l->v[3] << 16);
	qemu_set(&st->command, 11, l->v[4] | l->v[2] << 16);
}

static void qemu_del_sq(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_remove_sq(st, (uint16_t)l->v[0]);
	if (st->held)
		qemu_set(&st->command, 10, l->v[0]);
}

static void qemu_del_cq(struct qemu_state *st, const struct qemu_line *l)
{
	if (st->held)
		qemu_set(&st->command, 10, l->v[0]);
}

/* So many bytes, unless the command moves none: Write Zeroes has a length of blocks only. */
static void qemu_bytes(struct rec *rec, uint64_t bytes)
{
	if (rec == NULL || NVME_GET(rec->cmd.opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE)
		return;
	rec->bytes = bytes;
	rec->has |= HAS_BYTES;
}

/* nlb is 1-based here, and the rest of CDW12 is not printed. */
static void qemu_blocks(struct rec *rec, uint64_t nsid, uint64_t nlb, uint64_t lba)
{
	if (rec == NULL)
		return;
	qemu_set_nsid(rec, nsid);
	qemu_set(rec, 10, lba);
	qemu_set(rec, 11, lba >> 32);
	if (nlb == 0 || nlb > 0x10000)
		return;
	rec->cmd.cdw12 = (uint32_t)nlb - 1;
	rec->cmd_have |= HAVE_NLB;
}

static void qemu_rw(struct qemu_state *st, const struct qemu_line *l, bool to_host)
{
	struct rec *rec = qemu_held(st, l->v[0]);

	qemu_blocks(rec, l->v[1], l->v[2], l->v[4]);
	qemu_bytes(rec, l->v[3]);
	if (rec == NULL || (rec->has & HAS_BYTES) == 0)
		return;
	rec->to_host = to_host;
	rec->has |= HAS_DIRECTION;
}

static void qemu_read(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_rw(st, l, true);
}

static void qemu_write(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_rw(st, l, false);
}

static void qemu_compare(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_blocks(qemu_held(st, l->v[0]), l->v[1], l->v[3], l->v[2]);
}

/* nr counts from 1 here. */
static void qemu_dsm(struct qemu_state *st, const struct qemu_line *l)
{
	if (!st->held || l->v[0] == 0)
		return;
	qemu_set(&st->command, 10, l->v[0] - 1);
	qemu_set(&st->command, 11, l->v[1]);
}

static void qemu_ns_attachment(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_held(st, l->v[0]);

	if (rec != NULL)
		qemu_set(rec, 10, l->v[1]);
}

static void qemu_dbbuf(struct qemu_state *st, const struct qemu_line *l)
{
	if (!st->held)
		return;
	qemu_set_prp1(&st->command, l->v[0]);
	st->command.cmd.dptr.prp.prp2 = l->v[1];
	st->command.cmd_have |= HAVE_DPTR2;
}

/* The first one is the command's own; a Copy, say, may map more. */
static void qemu_map_prp(struct qemu_state *st, const struct qemu_line *l)
{
	if (!st->held || (st->command.cmd_have & HAVE_DPTR1) != 0)
		return;
	if ((st->command.has & HAS_BYTES) == 0)
		qemu_bytes(&st->command, l->v[1]);
	qemu_dbbuf(st, &(struct qemu_line){.v = {l->v[2], l->v[3]}});
}

/* An earlier command goes on: what it maps is not of the one that is held. */
static void qemu_callback(struct qemu_state *st, const struct qemu_line *l)
{
	(void)l;
	qemu_flush_command(st);
}

/* ---- completions and interrupts ---- */

static void qemu_completion(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_put(st, REC_COMPLETION);
	uint16_t cid = (uint16_t)l->v[0], cqid = (uint16_t)l->v[1];
	int found = qemu_completed(st, cqid, cid, &rec->qid);

	rec->has |= HAS_STATUS | HAS_FLAGS | (found == 1 ? HAS_QID : 0);
	rec->has |= (l->seen & 4) != 0 ? HAS_DW0 : 0;
	rec->has |= (l->seen & 8) != 0 ? HAS_DW1 : 0;
	rec->cpl.cid = cid;
	rec->cpl.cdw0 = (uint32_t)l->v[2];
	rec->cpl.cdw1 = (uint32_t)l->v[3];
	rec->cpl.status = (uint16_t)(l->v[4] << 1);
	if (st->creating && cqid == 0 && cid == st->create_cid) {
		st->creating = false;
		if (l->v[4] == 0)
			qemu_add_sq(st, st->create_sqid, st->create_cqid);
	}
	if (found == 1)
		return;
	rec->qid = 0;
	rec = qemu_put(st, REC_NOTE);
	snprintf(rec->text, sizeof(rec->text),
	         found == 0 ? "completion queue %u, cid %u: which submission queue it belongs to "
	                      "is not in this log"
	                    : "completion queue %u, cid %u: commands of several submission queues "
	                      "wait for it, and the log does not say which this is",
	         cqid, cid);
}

static void qemu_irq_msix(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_put(st, REC_IRQ)->vector = (uint16_t)l->v[0];
}

static void qemu_irq_pin(struct qemu_state *st, const struct qemu_line *l)
{
	(void)l;
	snprintf(qemu_put(st, REC_IRQ)->text, REC_TEXT, "pin");
}

static void qemu_async_event(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_put(st, REC_ASYNC_EVENT);

	rec->has |= HAS_QID | HAS_DW0;
	rec->cpl.cdw0 = (uint32_t)(l->v[0] | l->v[1] << 8 | l->v[2] << 16);
}

/* ---- registers and doorbells ---- */

/* A line that tells what it means may follow. */
static void qemu_hold_write(struct qemu_state *st, uint32_t offset, uint32_t size, uint64_t value)
{
	qemu_flush_command(st);
	qemu_flush_write(st);
	qemu_begin(st, &st->reg, REC_REG_WRITE);
	st->reg.reg.offset = offset;
	st->reg.reg.value = value;
	st->reg.reg.size = size;
	st->write = true;
}

static void qemu_mmio_write(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_hold_write(st, (uint32_t)l->v[0], (uint32_t)l->v[2], l->v[1]);
	st->reg_offset = l->v[0];
	st->reg_size = l->v[2];
}

/* The log has no value for a read, and a register record is nothing without one. */
static void qemu_mmio_read(struct qemu_state *st, const struct qemu_line *l)
{
	struct rec *rec = qemu_put(st, REC_NOTE);

	snprintf(rec->text, sizeof(rec->text),
	         "register 0x%" PRIx64 " is read, %u bytes; the value is not in this log", l->v[0],
	         (unsigned)l->v[1]);
}

/* The same write in other words: a record only if the write itself is not traced. */
static void qemu_register(struct qemu_state *st, uint32_t offset, uint64_t value)
{
	if (offset >= st->reg_offset && offset - st->reg_offset < st->reg_size)
		return;
	qemu_hold_write(st, offset, 4, value & 0xffffffff);
}

static void qemu_mmio_intms(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x0c, l->v[0]);
}

static void qemu_mmio_intmc(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x10, l->v[0]);
}

static void qemu_mmio_cc(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x14, l->v[0]);
}

static void qemu_mmio_aqa(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x24, l->v[0]);
}

static void qemu_mmio_asq(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x28, l->v[0]);
}

static void qemu_mmio_asq_hi(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x2c, l->v[0]);
}

static void qemu_mmio_acq(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x30, l->v[0]);
}

static void qemu_mmio_acq_hi(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_register(st, 0x34, l->v[0]);
}

/* The write to the doorbell register comes first; the two lines are one event. */
static void qemu_doorbell(struct qemu_state *st, const struct qemu_line *l, bool cq)
{
	uint32_t offset = 0x1000 + ((uint32_t)l->v[0] * 2 + cq) * 4;
	struct rec *rec;

	if (st->write && st->reg.reg.offset >= 0x1000) {
		offset = st->reg.reg.offset;
		st->write = false;
	}
	st->several |= !st->on;
	rec = qemu_put(st, REC_DOORBELL);
	rec->has |= HAS_QID;
	rec->qid = (uint16_t)l->v[0];
	rec->doorbell.offset = offset;
	rec->doorbell.cq = cq;
	rec->doorbell.new_value = (uint32_t)l->v[1];
}

static void qemu_doorbell_sq(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_doorbell(st, l, false);
}

static void qemu_doorbell_cq(struct qemu_state *st, const struct qemu_line *l)
{
	qemu_doorbell(st, l, true);
}

static void qemu_started(struct qemu_state *st, const struct qemu_line *l)
{
	st->several |= st->on;
	qemu_two_ctrlrs(st);
	st->on = st->sure = true;
	st->shut = false;
	st->set_up = 0;
	qemu_note(st, l->text);
}

static void qemu_stopped(struct qemu_state *st, const struct qemu_line *l)
{
	st->on = st->sure = false;
	qemu_note(st, l->text);
	qemu_reset(st);
}

/* One that was shut down takes no commands until it is disabled, or reset as here. */
static void qemu_shutdown(struct qemu_state *st, const struct qemu_line *l)
{
	st->shut = true;
	qemu_note(st, l->text);
}

/* Of which controller, if one is on, is not said. */
static void qemu_pci_reset(struct qemu_state *st, const struct qemu_line *l)
{
	st->on = st->on && !st->shut;
	st->sure = false;
	if (!st->on)
		st->set_up = 0;
	qemu_note(st, l->text);
	qemu_reset(st);
}

/* ---- the table of events ---- */

struct qemu_event {
	const char *name;
	void (*fn)(struct qemu_state *st, const struct qemu_line *l); /* NULL: nothing to tell */
	struct {
		const char *key; /* "?" in front: may be missing; "a/b": either */
		uint64_t max;
	} keys[QEMU_KEYS];
};

#define U1  1
#define U8  0xff
#define U16 0xffff
#define U32 0xffffffff
#define U64 UINT64_MAX

static const struct qemu_event qemu_events[] = {
	{"admin_cmd", qemu_admin_cmd, {{"cid", U16}, {"sqid", U16}, {"opc", U8}}},
	{"io_cmd", qemu_io_cmd, {{"cid", U16}, {"nsid", U32}, {"sqid", U16}, {"opc", U8}}},
	{"enqueue_req_completion",
         qemu_completion,
         {{"cid", U16}, {"cqid", U16}, {"?dw0", U32}, {"?dw1", U32}, {"status", 0x7fff}}},
	{"mmio_write", qemu_mmio_write, {{"addr", U32}, {"data", U64}, {"size", U8}}},
	{"mmio_read", qemu_mmio_read, {{"addr", U32}, {"size", U8}}},
	/* early versions have the wrong word for the queue */
	{"mmio_doorbell_sq", qemu_doorbell_sq, {{"sqid/cqid", U16}, {"new_tail", U16}}},
	{"mmio_doorbell_cq", qemu_doorbell_cq, {{"cqid", U16}, {"new_head", U16}}},
	{"irq_msix", qemu_irq_msix, {{"vector", U16}}},
	{"irq_pin", qemu_irq_pin, {{0}}},
	{"identify", qemu_identify, {{"cid", U16}, {"cns", U8}, {"ctrlid", U16}, {"csi", U8}}},
	{"get_log",
         qemu_get_log,
         {{"cid", U16}, {"lid", U8}, {"lsp", 0x7f}, {"rae", U1}, {"len", U64}, {"off", U64}}},
	{"getfeat",
         qemu_getfeat,
         {{"cid", U16}, {"nsid", U32}, {"fid", U8}, {"sel", 7}, {"cdw11", U32}}},
	{"setfeat",
         qemu_setfeat,
         {{"cid", U16}, {"nsid", U32}, {"fid", U8}, {"save", U1}, {"cdw11", U32}}},
	{"create_sq",
         qemu_create_sq,
         {{"addr", U64}, {"sqid", U16}, {"cqid", U16}, {"qsize", U16}, {"qflags", U16}}},
	{"create_cq",
         qemu_create_cq,
         {{"addr", U64}, {"cqid", U16}, {"vector", U16}, {"qsize", U16}, {"qflags", U16}}},
	{"del_sq", qemu_del_sq, {{"sqid", U16}}},
	{"del_cq", qemu_del_cq, {{"cqid", U16}}},
	{"read",
         qemu_read,
         {{"cid", U16}, {"nsid", U32}, {"nlb", U32}, {"count", U64}, {"lba", U64}}},
	{"write",
         qemu_write,
         {{"cid", U16}, {"nsid", U32}, {"nlb", U32}, {"count", U64}, {"lba", U64}}},
	{"compare", qemu_compare, {{"cid", U16}, {"nsid", U32}, {"slba", U64}, {"nlb", U32}}},
	{"verify", qemu_compare, {{"cid", U16}, {"nsid", U32}, {"slba", U64}, {"nlb", U32}}},
	{"dsm", qemu_dsm, {{"nr", 256}, {"attr", U32}}},
	{"ns_attachment", qemu_ns_attachment, {{"cid", U16}, {"sel", 15}}},
	{"dbbuf_config", qemu_dbbuf, {{"dbs_addr", U64}, {"eis_addr", U64}}},
	{"map_prp",
         qemu_map_prp,
         {{"trans_len", U64}, {"len", U64}, {"prp1", U64}, {"prp2", U64}, {"num_prps", U32}}},
	{"aer_post_cqe", qemu_async_event, {{"type", U8}, {"info", U8}, {"lid", U8}}},
	{"mmio_intm_set", qemu_mmio_intms, {{"data", U64}}},
	{"mmio_intm_clr", qemu_mmio_intmc, {{"data", U64}}},
	{"mmio_cfg", qemu_mmio_cc, {{"config", U64}}},
	{"mmio_aqattr", qemu_mmio_aqa, {{"attributes", U64}}},
	{"mmio_asqaddr", qemu_mmio_asq, {{"address", U64}}},
	{"mmio_asqaddr_hi", qemu_mmio_asq_hi, {{"half", U64}}},
	{"mmio_acqaddr", qemu_mmio_acq, {{"address", U64}}},
	{"mmio_acqaddr_hi", qemu_mmio_acq_hi, {{"half", U64}}},
	{"mmio_stopped", qemu_stopped, {{0}}},
	{"mmio_start_success", qemu_started, {{0}}},
	{"mmio_shutdown_set", qemu_shutdown, {{0}}},
	{"pci_reset", qemu_pci_reset, {{0}}},
	/* what other lines say already, and QEMU's own bookkeeping */
	{"map_addr", NULL, {{"addr", U64}, {"len", U64}}},
	{"map_addr_cmb", NULL, {{"addr", U64}, {"len", U64}}},
	{"map_sgl", NULL, {{"type", U8}, {"len", U64}}},
	{"dma_read", NULL, {{"prp1", U64}, {"prp2", U64}}},
	{"err_req_status", NULL, {{"cid", U16}, {"nsid", U32}, {"status", U16}, {"opc", U8}}},
	{"aer", NULL, {{"cid", U16}}},
	{"process_aers", NULL, {{"queued", U32}}},
	{"identify_ctrl", NULL, {{0}}},
	{"identify_ctrl_csi", NULL, {{0}}},
	{"identify_ns", qemu_identify_nsid, {{"?nsid", U32}}},
	{"identify_ns_ind", qemu_identify_nsid, {{"?nsid", U32}}},
	{"identify_ctrl_list", NULL, {{0}}},
	{"identify_pri_ctrl_cap", NULL, {{0}}},
	{"identify_sec_ctrl_list", NULL, {{0}}},
	{"identify_ns_csi", qemu_identify_nsid, {{"?nsid", U32}}},
	{"identify_nslist", qemu_identify_nsid, {{"?nsid", U32}}},
	{"identify_nslist_csi", qemu_identify_nsid, {{"?nsid", U32}}},
	{"identify_cmd_set", NULL, {{0}}},
	{"identify_ns_descr_list", qemu_identify_nsid, {{"?nsid", U32}}},
	{"flush_ns", NULL, {{0}}},
	{"rw_cb", qemu_callback, {{"cid", U16}}},
	{"rw_complete_cb", qemu_callback, {{"cid", U16}}},
	{"misc_cb", qemu_callback, {{"cid", U16}}},
	{"verify_cb", qemu_callback, {{"cid", U16}}},
	{"verify_mdata_in_cb", qemu_callback, {{"cid", U16}}},
	{"compare_data_cb", qemu_callback, {{"cid", U16}}},
	{"compare_mdata_cb", qemu_callback, {{"cid", U16}}},
	{"aio_discard_cb", qemu_callback, {{"cid", U16}}},
	{"aio_copy_in_cb", qemu_callback, {{"cid", U16}}},
	{"aio_flush_cb", qemu_callback, {{"cid", U16}}},
	{"dif_rw_cb", qemu_callback, {{"cid", U16}}},
	{"dif_rw_mdata_in_cb", qemu_callback, {{"cid", U16}}},
	{"dif_rw_mdata_out_cb", qemu_callback, {{"cid", U16}}},
	{"dif_rw_check_cb", qemu_callback, {{"cid", U16}}},
	{"block_status", NULL, {{0}}},
	{"update_sq_eventidx", NULL, {{"sqid", U16}}},
	{"update_cq_eventidx", NULL, {{"cqid", U16}}},
	{"eventidx_sq", NULL, {{0}}},
	{"eventidx_cq", NULL, {{0}}},
};

static const struct qemu_event *qemu_event(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(qemu_events) / sizeof(qemu_events[0]); i++)
		if (qemu_events[i].name[0] == name[0] &&
		    strncmp(qemu_events[i].name, name, len) == 0 &&
		    qemu_events[i].name[len] == '\0')
			return &qemu_events[i];
	return NULL;
}

/* Behind "KEY " or "KEY=" if a number follows; other words with that name are passed over. */
static const char *qemu_key(const char *p, const char *key, size_t len)
{
	const char *at;

	for (at = p; (at = strstr(at, key)) != NULL; at++) {
		if ((at == p || !scan_is_word(at[-1])) && (at[len] == ' ' || at[len] == '=') &&
		    scan_is_digit(at[len + 1]))
			return at + len + 1;
	}
	return NULL;
}

static bool qemu_value(const char **at, const char *keys, uint64_t max, uint64_t *value)
{
	char key[24];
	const char *p;
	size_t len;

	for (; *keys != '\0'; keys += len + (keys[len] == '/')) {
		len = strcspn(keys, "/");
		snprintf(key, sizeof(key), "%.*s", (int)len, keys);
		p = qemu_key(*at, key, len);
		if (p == NULL)
			continue;
		if (!scan_number(&p, 0, max, value) || (*p != '\0' && *p != ' ' && *p != ','))
			return false;
		*at = p;
		return true;
	}
	return false;
}

static bool qemu_keys(const struct qemu_event *event, const char *p, struct qemu_line *l)
{
	const char *key, *before;
	bool optional;
	unsigned i;

	for (i = 0; i < QEMU_KEYS && (key = event->keys[i].key) != NULL; i++) {
		optional = *key == '?';
		before = p;
		if (qemu_value(&p, key + optional, event->keys[i].max, &l->v[i])) {
			l->seen |= 1u << i;
		} else if (optional && qemu_key(before, key + 1, strlen(key + 1)) == NULL) {
			l->v[i] = 0;
		} else {
			return false;
		}
	}
	return true;
}

/* ---- the line ---- */

/* "2026-01-02T03:04:05.678901Z " */
static bool qemu_iso_time(struct qemu_state *st, const char **at)
{
	const char *p = *at;
	struct tm tm = {0};
	uint64_t ns;
	int used = 0;

	if (strncmp(st->date, p, 19) != 0 || st->date[0] == '\0') {
		if (!scan_is_digit(*p) || strnlen(p, 20) < 20 ||
		    sscanf(p, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		           &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 ||
		    used != 19)
			return false;
		if (tm.tm_year < 1970 || tm.tm_mon < 1)
			return false;
		tm.tm_year -= 1900;
		tm.tm_mon--;
		st->date_seconds = timegm(&tm);
		snprintf(st->date, sizeof(st->date), "%.19s", p);
	}
	p += 18; /* the last digit, so that what follows looks like seconds: its fraction counts */
	if (!scan_seconds(&p, &ns) || !scan_literal(&p, "Z "))
		return false;
	st->time_ns = (uint64_t)st->date_seconds * 1000000000u + ns % 1000000000u;
	*at = p;
	return true;
}

/* The name of the event without its "pci_nvme_", if the line is one; len: 0 others. */
static const char *qemu_name(const char *line, size_t *len)
{
	size_t n;

	*len = 0;
	if (!scan_literal(&line, "pci_nvme_")) {
		/* before it was called so, only events that are known count */
		if (!scan_literal(&line, "nvme_"))
			return NULL;
		n = strcspn(line, " ");
		if (qemu_event(line, n) == NULL || line[n] != ' ')
			return NULL;
	}
	while (scan_is_word(line[*len]))
		++*len;
	return line;
}

static bool qemu_is_ours(const char *p)
{
	size_t len;

	return qemu_name(p, &len) != NULL;
}

/* "1234@1700000000.123456:" */
static bool qemu_pid_time(struct qemu_state *st, const char **at)
{
	const char *p = *at;
	uint64_t pid;

	if (!scan_number(&p, 10, UINT32_MAX, &pid) || *p++ != '@' ||
	    !scan_seconds(&p, &st->time_ns) || *p++ != ':')
		return false;
	if (st->pid != 0 && pid != st->pid && qemu_is_ours(p))
		st->declined = "here the lines of a second QEMU begin: decode those of one at a "
			       "time, as grep '^PID@' finds them";
	st->pid = qemu_is_ours(p) ? pid : st->pid;
	*at = p;
	return true;
}

/* 1 a line of ours, 0 not, -1 one that does not parse. */
static int qemu_parse(struct qemu_state *st, const char *p)
{
	const struct qemu_event *event;
	struct qemu_line l = {0};
	const char *name;
	size_t len;

	st->has_time = qemu_pid_time(st, &p) || qemu_iso_time(st, &p);
	if (st->declined != NULL)
		return 0;
	l.text = p;
	name = qemu_name(p, &len);
	if (name == NULL)
		return 0;
	if (len == 0 || name[len] != ' ' || name[len + 1] == '\0')
		return -1; /* every event has something to say */
	event = qemu_event(name, len);
	if (event == NULL) {
		qemu_note(st, l.text);
		return 1;
	}
	if (!qemu_keys(event, name + len, &l))
		return -1;
	if (event->fn != NULL)
		event->fn(st, &l);
	return 1;
}

static void qemu_close(struct reader *rd)
{
	struct qemu_state *st = rd->state;

	if (st == NULL)
		return;
	free(st->out);
	free(st->sq);
	free(st->cq);
	free(st->slots);
	free(st);
	rd->state = NULL;
}

static int qemu_open(struct reader *rd)
{
	struct qemu_state *st = calloc(1, sizeof(*st));

	rd->state = st;
	if (st == NULL)
		return -ENOMEM;
	st->out = calloc(QEMU_OUT, sizeof(*st->out));
	st->sq = calloc(0x10000, sizeof(*st->sq));
	st->cq = calloc(0x10000, sizeof(*st->cq));
	st->slots = calloc(QEMU_SLOTS, sizeof(*st->slots));
	st->era = 1;
	if (st->out != NULL && st->sq != NULL && st->cq != NULL && st->slots != NULL)
		return 0;
	qemu_close(rd);
	return -ENOMEM;
}

/* The last record, in place of all that would follow. */
static void qemu_decline(struct reader *rd, struct qemu_state *st)
{
	st->held = st->held && st->command.number != st->line.number;
	snprintf(qemu_put(st, REC_DAMAGE)->text, REC_TEXT, "line %" PRIu64 ": %s", st->line.number,
	         st->declined);
	rd->damaged++;
}

static int qemu_next(struct reader *rd, struct rec *rec)
{
	struct qemu_state *st = rd->state;
	int status;

	while (st->out_at == st->out_count) {
		st->out_at = st->out_count = 0;
		if (st->declined != NULL)
			return 0;
		status = scan_line(rd, &st->line);
		if (status < 0)
			return status;
		if (status == 0) {
			qemu_flush_command(st);
			qemu_flush_write(st);
			if (st->out_count == 0)
				return 0;
		} else if (qemu_parse(st, st->line.text) < 0) {
			scan_damage(rd, qemu_put(st, REC_DAMAGE), &st->line,
			            "a line that does not parse");
		}
		if (st->declined != NULL)
			qemu_decline(rd, st);
	}
	*rec = st->out[st->out_at++];
	rec->has |= st->several ? 0 : HAS_ONE_CTRLR;
	return 1;
}

static int qemu_probe_line(const char *line)
{
	const char *p = line, *at;
	size_t len;
	uint64_t n;

	if (scan_is_digit(*p) && (at = strchr(p, '@')) != NULL && at - p < 12) {
		p = at + 1;
		if (!scan_seconds(&p, &n) || *p++ != ':')
			return 0;
	} else if (scan_is_digit(*p) && (at = strstr(p, "Z ")) != NULL && at - p < 40) {
		p = at + 2;
	}
	p = qemu_name(p, &len);
	return p == NULL ? 0 : qemu_event(p, len) != NULL ? 95 : 60;
}

static int qemu_probe(const uint8_t *head, size_t len)
{
	return scan_probe(head, len, qemu_probe_line);
}

const struct reader_ops qemu_reader = {
	.input = INPUT_QEMU,
	.name = "qemu",
	.probe = qemu_probe,
	.open = qemu_open,
	.next = qemu_next,
	.close = qemu_close,
};
