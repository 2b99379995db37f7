// SPDX-License-Identifier: MIT
/*
 * Traces as the flight recorder writes them, made slot by slot.
 */
#ifndef MAKE_TRACE_H
#define MAKE_TRACE_H

#include "run.h"
#include "nvme.h"

#define T0 UINT64_C(1700000000000000000)

struct trace {
	FILE *file;
	uint64_t count, time;
	uint64_t slots; /* 0: as many as there are events; fewer, and the oldest are overwritten */
	uint8_t ctrlr;  /* of the events to come, and their thread */
	uint32_t tid;
	uint32_t tail[2][10]; /* of the first queues, as last rung: completions say it as SQHD */
};

static inline const char *path(const char *name)
{
	static char text[8][128];
	static int next;
	char *p = text[next++ % 8];

	snprintf(p, sizeof(text[0]), "%s/%s", dir, name);
	return p;
}

static inline void trace_open(struct trace *t, const char *name)
{
	struct nvme_trace_slot slot;

	memset(t, 0, sizeof(*t));
	memset(&slot, 0, sizeof(slot));
	t->file = fopen(path(name), "wb");
	assert_non_null(t->file);
	t->time = T0;
	assert_int_equal(fwrite(&slot, sizeof(slot), 1, t->file), 1);
}

static inline void trace_close(struct trace *t)
{
	struct nvme_trace_header h;

	memset(&h, 0, sizeof(h));
	memcpy(h.magic, NVME_TRACE_MAGIC, sizeof(h.magic));
	h.version = NVME_TRACE_VERSION;
	h.byte_order = NVME_TRACE_BYTE_ORDER;
	h.slot_size = sizeof(struct nvme_trace_slot);
	h.slots = t->slots != 0 && t->count > t->slots ? t->slots : t->count;
	h.next = t->count + 1;
	h.start_ns = T0;
	h.ctrlrs = 1;
	rewind(t->file);
	assert_int_equal(fwrite(&h, sizeof(h), 1, t->file), 1);
	assert_int_equal(fclose(t->file), 0);
}

static inline void put(struct trace *t, uint16_t kind, uint16_t qid, const void *payload,
                       size_t len)
{
	struct nvme_trace_slot slot;

	memset(&slot, 0, sizeof(slot));
	slot.seq = ++t->count;
	slot.time_ns = t->time += 1000;
	slot.kind = kind;
	slot.qid = qid;
	slot.ctrlr = t->ctrlr;
	slot.tid = t->tid;
	slot.len = (uint8_t)len;
	slot.check = ~slot.seq;
	if (len != 0)
		memcpy(slot.payload, payload, len);
	if (t->slots != 0 && (t->count - 1) % t->slots == 0)
		assert_int_equal(fseek(t->file, sizeof(slot), SEEK_SET), 0);
	assert_int_equal(fwrite(&slot, sizeof(slot), 1, t->file), 1);
}

static inline void put_attach(struct trace *t)
{
	struct nvme_trace_attach a = {.cap = 0x40ff0107ff, .vs = 0x10400, .name = "0000:00:03.0"};

	put(t, NVME_TRACE_ATTACH, 0, &a, sizeof(a));
}

static inline uint32_t *tail_of(struct trace *t, uint16_t qid)
{
	return &t->tail[t->ctrlr % 2][qid % 10];
}

static inline void put_reg(struct trace *t, uint32_t offset, uint64_t value)
{
	struct nvme_trace_reg reg = {offset, 4, value};

	put(t, NVME_TRACE_REG_WRITE, 0, &reg, sizeof(reg));
	if (offset == NVME_REG_AQA || (offset == NVME_REG_CC && value % 2 == 0))
		memset(t->tail[t->ctrlr % 2], 0, sizeof(t->tail[0]));
}

static inline void put_read(struct trace *t, uint32_t offset, uint64_t value)
{
	struct nvme_trace_reg reg = {offset, 4, value};

	put(t, NVME_TRACE_REG_READ, 0, &reg, sizeof(reg));
}

static inline void put_cmd(struct trace *t, uint16_t qid, uint16_t cid, uint8_t opc, uint32_t cdw10,
                           uint32_t cdw11, uint32_t cdw12, uint64_t prp1)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.cid = cid;
	cmd.nsid = qid != 0;
	cmd.cdw10 = cdw10;
	cmd.cdw11 = cdw11;
	cmd.cdw12 = cdw12;
	cmd.dptr.prp.prp1 = prp1;
	put(t, NVME_TRACE_SQE, qid, &cmd, sizeof(cmd));
}

/* All that was announced was fetched. What the driver makes up itself has no SQHD. */
static inline void put_cpl(struct trace *t, uint16_t qid, uint16_t cid, uint16_t status)
{
	struct nvme_cpl cpl = {.sqid = qid, .cid = cid, .status = status};

	if (status != NVME_SC_ABORTED_SQ_DELETION << 1)
		cpl.sqhd = (uint16_t)*tail_of(t, qid);
	put(t, NVME_TRACE_CQE, qid, &cpl, sizeof(cpl));
}

static inline void put_doorbell(struct trace *t, uint16_t qid, uint16_t cq, uint32_t from,
                                uint32_t to)
{
	struct nvme_trace_doorbell d = {.offset = 0x1000u + 8u * qid + 4u * cq,
	                                .cq = cq,
	                                .old_value = from,
	                                .new_value = to};

	put(t, NVME_TRACE_DOORBELL, qid, &d, sizeof(d));
	if (cq == 0)
		*tail_of(t, qid) = to;
}

static inline void put_mark(struct trace *t, uint32_t what, uint16_t qid, uint16_t cid,
                            uint32_t value)
{
	struct nvme_trace_mark mark = {.what = what, .cid = cid, .value = value};

	put(t, NVME_TRACE_MARK, qid, &mark, sizeof(mark));
}

/* A whole command on the admin queue, the n-th. */
static inline void put_admin(struct trace *t, uint32_t n, uint8_t opc, uint32_t cdw10,
                             uint32_t cdw11)
{
	put_cmd(t, 0, 0, opc, cdw10, cdw11, 0, 0x10000);
	put_doorbell(t, 0, 0, n, n + 1);
	put_cpl(t, 0, 0, 1);
	put_doorbell(t, 0, 1, n, n + 1);
	if (opc == NVME_OPC_CREATE_IO_SQ)
		*tail_of(t, (uint16_t)cdw10) = 0;
}

/* CC.EN is set, and the controller is ready. */
static inline void put_on(struct trace *t, uint32_t cc)
{
	put_reg(t, NVME_REG_CC, cc);
	put_read(t, NVME_REG_CSTS, 1);
}

static inline void put_enable(struct trace *t)
{
	put_attach(t);
	put_reg(t, NVME_REG_CC, 0);
	put_reg(t, NVME_REG_AQA, 0x001f001f);
	put_reg(t, NVME_REG_ASQ, 0x1000);
	put_reg(t, NVME_REG_ACQ, 0x2000);
	put_on(t, 0x460001);
}

/* An enabled controller with queue 1 of 4 entries. */
static inline void put_start(struct trace *t)
{
	put_enable(t);
	put_admin(t, 0, NVME_OPC_CREATE_IO_CQ, 0x00030001, 1);
	put_admin(t, 1, NVME_OPC_CREATE_IO_SQ, 0x00030001, 0x00010001);
}

/* A command on queue 1, the n-th. */
static inline void put_io(struct trace *t, uint32_t n, uint8_t opc, uint32_t lba, uint32_t blocks)
{
	put_cmd(t, 1, (uint16_t)n, opc, lba, 0, blocks - 1, 0x20000);
	put_doorbell(t, 1, 0, n % 4, (n + 1) % 4);
	put_cpl(t, 1, (uint16_t)n, n / 4 % 2 == 0);
	put_doorbell(t, 1, 1, n % 4, (n + 1) % 4);
}

#endif /* MAKE_TRACE_H */
