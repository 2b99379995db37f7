/* SPDX-License-Identifier: MIT
 *
 * The driver against a hostile device. Registers, completions, identify data, the passing of time
 * and the contents of every mapped byte come from the input; the program uses the driver as a user
 * might, and checks what must hold whatever the device does:
 *
 *  - the callback of every command runs exactly once by the time its queue is freed,
 *  - nothing hangs, and blocking calls end in (virtual) time,
 *  - doorbell values are slots of their queue, and what is in the slot is described correctly,
 *  - nothing is written to a device whose CC or CSTS has read as all ones,
 *  - after a detach or a failed attach no DMA mapping and no memory is left,
 *  - no text of the driver holds a control character that came from the device.
 *
 * See fuzz.h for how to run it.
 */
#include <stddef.h>

/* The driver's memory, counted, so that what is left over is noticed for the input that did it. */
static void *user_calloc(size_t n, size_t size);
static void user_free(void *p);
#define NVME_CALLOC(n, size) user_calloc((n), (size))
#define NVME_FREE(p)         user_free(p)
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "fuzz.h"

#define MS        UINT64_C(1000000)
#define MAX_MAPS  128
#define MAX_QID   24    /* queues that the device keeps books of */
#define MAX_HELD  64    /* commands that the device answers later */
#define MAX_CMDS  512   /* commands that the user submits in one input */
#define MAX_BUFS  8     /* DMA buffers, registered regions */
#define MAX_QPS   4     /* queue pairs of the user */
#define MAX_CALLS 64    /* driver calls in one attach */
#define PATIENCE  60000 /* register accesses and looks at the clock in one driver call */
#define HOST_PAGE 4096u

/* What a device may do wrong. A few of these are chosen for each input. */
#define BAD_REGS   (1u << 0)  /* registers read as anything */
#define BAD_GONE   (1u << 1)  /* all ones from some access on */
#define BAD_READY  (1u << 2)  /* RDY or SHST late or never, CFS */
#define BAD_CAP    (1u << 3)  /* capabilities out of the ordinary */
#define BAD_MAP    (1u << 4)  /* dma_map() fails */
#define BAD_CQE    (1u << 5)  /* completions with changed fields */
#define BAD_DROP   (1u << 6)  /* commands without completion */
#define BAD_DELAY  (1u << 7)  /* commands answered later and in another order */
#define BAD_FLOOD  (1u << 8)  /* completions for nothing, many of them */
#define BAD_SCRIB  (1u << 9)  /* writes to any mapped memory */
#define BAD_DATA   (1u << 10) /* identify data changed */
#define BAD_STATUS (1u << 11) /* error statuses */
#define BAD_OPEN   (1u << 12) /* open() fails, odd windows and address ranges */
#define BAD_MEMORY (1u << 13) /* the host has no memory */
#define BAD_TIME   (1u << 14) /* a slow clock, a fast one */

static struct {
	uint64_t attached, refused, completed;
} total;

struct map {
	uint64_t iova;
	size_t len;
	uint8_t *at;
};

struct ring {
	uint64_t base;
	uint32_t entries, index; /* the next slot to read, or to write */
	uint16_t phase;
};

struct held {
	uint16_t qid;
	struct nvme_cmd cmd;
};

/* The controller memory buffer, of which there is so much, whatever the registers say. */
#define CMB_BYTES (256u << 10)
static uint8_t cmb_memory[CMB_BYTES] __attribute__((aligned(HOST_PAGE)));

struct cmb {
	uint32_t loc, sz, sts;
	uint64_t msc, bus_addr, bar_size;
	uint64_t offset, len; /* what the driver mapped of the BAR; len 0: nothing */
};

struct device {
	struct nvme_dev_ops ops; /* must be first: it leads back to this structure */
	struct fuzz *in;
	uint32_t bad;      /* BAD_* */
	uint32_t rate;     /* how often, of 256 */
	uint32_t gone_in;  /* accesses until the device is gone */
	uint32_t tell_in;  /* and until something is told of it beside the queues */
	int tell_fd;       /* this way; -1: nobody listens */
	uint32_t patience; /* accesses left in this driver call */
	uint32_t offs;     /* how often it was switched off in this driver call */
	bool gone, reported_gone, open;

	uint64_t cap, asq, acq;
	uint32_t vs, cc, aqa;
	uint32_t told_dstrd; /* CAP.DSTRD as it was last read */
	bool told_cmbs;      /* and CAP.CMBS, until its memory is mapped */
	uint32_t nn, lbads, queues;
	uint64_t nsze;
	uint64_t ready_at, shst_at; /* ns */
	bool cfs;

	uint64_t now, tick, base_tick;
	struct map map[MAX_MAPS];
	unsigned int num_maps;
	struct ring sq[MAX_QID], cq[MAX_QID];
	uint16_t cqid[MAX_QID];
	struct held held[MAX_HELD];
	uint32_t num_held;

	struct cmb cmb;
	const uint8_t *expect; /* the buffer that the next I/O command must describe, or NULL */
	uint32_t expect_len;
};

static bool misbehaves(struct device *d, uint32_t family)
{
	return (d->bad & family) != 0 && fuzz_chance(d->in, d->rate);
}

/* ---- the device's view of memory ---- */

/* Where the controller's own memory begins for it; false: it is off. */
static bool cmb_base(const struct device *d, uint64_t *base)
{
	bool legacy = !d->told_cmbs;

	*base = legacy ? d->cmb.bus_addr + d->cmb.offset : d->cmb.msc & ~(uint64_t)4095;
	return d->cmb.len != 0 && (legacy || NVME_GET(d->cmb.msc, NVME_CMBMSC_CMSE) != 0);
}

/* Registers that change may have told the driver something else about it than they tell us. */
static bool cmb_unclear(const struct device *d)
{
	return (d->bad & BAD_REGS) != 0 && d->cmb.len != 0;
}

/* The memory at iova and how much of it is in one piece. NULL: not mapped. */
static uint8_t *mapped(struct device *d, uint64_t iova, size_t *len)
{
	uint64_t base;
	unsigned int i;

	if (cmb_base(d, &base) && iova - base < d->cmb.len) {
		if (*len > d->cmb.len - (iova - base))
			*len = (size_t)(d->cmb.len - (iova - base));
		return cmb_memory + d->cmb.offset + (iova - base);
	}

	for (i = 0; i < d->num_maps; i++) {
		uint64_t offset = iova - d->map[i].iova;

		if (offset >= d->map[i].len)
			continue;
		if (*len > d->map[i].len - offset)
			*len = d->map[i].len - (size_t)offset;
		return d->map[i].at + offset;
	}
	return NULL;
}

/* Copies as much as is mapped; a device that goes elsewhere is stopped by the IOMMU. */
static bool dma_copy(struct device *d, uint64_t iova, void *data, size_t len, bool to_host)
{
	uint8_t *at = (uint8_t *)data, *mem;
	size_t n;

	for (; len != 0; len -= n, at += n, iova += n) {
		n = len;
		mem = mapped(d, iova, &n);
		if (mem == NULL)
			return false;
		memcpy(to_host ? mem : at, to_host ? at : mem, n);
	}
	return true;
}

/* Writes somewhere: into a ring, a list, a buffer. */
static void scribble(struct device *d)
{
	uint8_t junk[64];
	size_t len = 1 + fuzz_below(d->in, sizeof(junk));
	const struct map *m;
	uint64_t iova;

	if (d->num_maps == 0)
		return;
	m = &d->map[fuzz_below(d->in, d->num_maps)];
	memset(junk, fuzz_u8(d->in), sizeof(junk));
	fuzz_mutate(d->in, junk, sizeof(junk));
	if (fuzz_chance(d->in, 128)) /* the first pages: rings and PRP lists of the admin queue */
		iova = m->iova + fuzz_below(d->in, m->len < 0x8000 ? (uint32_t)m->len : 0x8000);
	else
		iova = m->iova + fuzz_u64(d->in) % m->len;
	dma_copy(d, iova, junk, len, true);
}

/* ---- do the PRPs of a command describe the buffer that was given? ---- */

/* The next piece of data, at entry: is it where the buffer goes on? */
static bool prp_piece(struct device *d, uint64_t entry, uint64_t page, uint32_t *done)
{
	size_t len = (size_t)(page - (entry & (page - 1))), left = len;
	const uint8_t *mem;

	if (len > d->expect_len - *done)
		len = left = d->expect_len - *done;
	mem = mapped(d, entry, &left);
	if (mem != d->expect + *done || left != len)
		return false;
	*done += (uint32_t)len;
	return true;
}

static void check_prps(struct device *d, const struct nvme_cmd *cmd)
{
	uint64_t page = UINT64_C(4096) << NVME_GET(d->cc, NVME_CC_MPS), list = cmd->dptr.prp.prp2,
		 entry;
	uint32_t done = 0;
	bool ok = prp_piece(d, cmd->dptr.prp.prp1, page, &done);

	if (ok && done < d->expect_len && d->expect_len - done <= page)
		ok = prp_piece(d, cmd->dptr.prp.prp2, page, &done);
	while (ok && done < d->expect_len) {
		ok = (list & 7) == 0 && dma_copy(d, list, &entry, sizeof(entry), false);
		if (ok && ((list + 8) & (page - 1)) == 0 && d->expect_len - done > page) {
			list = entry; /* the last entry of a page is a link */
			ok = (list & (page - 1)) == 0 &&
			     dma_copy(d, list, &entry, sizeof(entry), false);
		}
		ok = ok && (entry & (page - 1)) == 0 && prp_piece(d, entry, page, &done);
		list += 8;
	}
	fuzz_check(ok || cmb_unclear(d),
	           "the PRPs of a command do not describe its buffer (%u of %u bytes)", done,
	           d->expect_len);
	d->expect = NULL;
}

/* ---- completions ---- */

static void put_cqe(struct device *d, uint16_t cqid, struct nvme_cpl cpl)
{
	struct ring *cq = &d->cq[cqid];

	if (cq->entries == 0)
		return;
	fuzz_run.steps++;
	d->tick = d->base_tick;
	cpl.status = (uint16_t)((cpl.status & ~1u) | cq->phase);
	if (misbehaves(d, BAD_CQE))
		fuzz_mutate(d->in, &cpl, sizeof(cpl));
	dma_copy(d, cq->base + cq->index * sizeof(cpl), &cpl, sizeof(cpl), true);
	if (++cq->index >= cq->entries) {
		cq->index = 0;
		cq->phase ^= 1;
	}
}

/* Completions for nothing: noise, or plausible ones, up to more than the ring holds. */
static void flood(struct device *d)
{
	uint16_t cqid = (uint16_t)fuzz_below(d->in, 4);
	uint32_t n = fuzz_below(d->in, fuzz_chance(d->in, 32) ? 300 : 6);
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = cqid;
	cpl.cid = fuzz_u8(d->in);
	for (; n > 0; n--) {
		if (fuzz_chance(d->in, 64))
			fuzz_mutate(d->in, &cpl, sizeof(cpl));
		cpl.cid++;
		put_cqe(d, cqid, cpl);
	}
}

/* ---- commands ---- */

static void fill_id_ctrlr(struct device *d, struct nvme_id_ctrlr *data)
{
	data->mdts = (uint8_t)fuzz_below(d->in, 10);
	data->sqes = 0x66;
	data->cqes = 0x44;
	data->nn = d->nn;
	data->rtd3e = fuzz_chance(d->in, 16) ? fuzz_u32(d->in) : 1000000;
	data->oncs = fuzz_chance(d->in, 32) ? (uint16_t)fuzz_bytes(d->in, 2) : UINT16_MAX;
	data->fuses = (uint16_t)fuzz_below(d->in, 2);
	data->sgls = fuzz_chance(d->in, 96) ? fuzz_u32(d->in) : 0;
	data->lpa = fuzz_u8(d->in);
	data->oacs = UINT16_MAX;
}

static void fill_id_ns(struct device *d, struct nvme_id_ns *data, uint32_t nsid)
{
	data->nsze = data->ncap = nsid <= d->nn ? d->nsze : 0;
	data->nlbaf = 1;
	data->flbas = fuzz_chance(d->in, 64) ? (uint8_t)fuzz_below(d->in, 0x20) : 0;
	data->lbaf[0].lbads = data->lbaf[1].lbads = (uint8_t)d->lbads;
	data->lbaf[1].ms = 8;
	data->noiob = fuzz_chance(d->in, 64) ? fuzz_u8(d->in) : 0;
	data->mc = (uint8_t)fuzz_below(d->in, 4);
	data->dpc = 0x1f;
	data->dps = fuzz_chance(d->in, 64) ? fuzz_u8(d->in) : 0;
	data->mssrl = fuzz_chance(d->in, 64) ? (uint16_t)fuzz_bytes(d->in, 2) : 64;
	data->mcl = fuzz_chance(d->in, 64) ? fuzz_u32(d->in) : 256;
	data->msrc = fuzz_u8(d->in);
}

static void fill_id_descs(struct device *d, uint8_t *data)
{
	static const uint8_t len[] = {0, 8, 16, 16};
	uint32_t i, at = 0, n = fuzz_below(d->in, 6);

	for (i = 0; i < n; i++) {
		data[at] = (uint8_t)(1 + i % 3);
		data[at + 1] = fuzz_chance(d->in, 32) ? fuzz_u8(d->in) : len[data[at]];
		data[at + 4] = (uint8_t)i;
		at += 4u + data[at + 1];
	}
	if (fuzz_chance(d->in, 96)) {
		data[at] = NVME_NIDT_CSI;
		data[at + 1] = 1;
		data[at + 4] = fuzz_chance(d->in, 32) ? fuzz_u8(d->in) : NVME_CSI_ZNS;
	}
}

static void fill_id_zns(struct device *d, struct nvme_zns_id_ns *data)
{
	uint32_t i;

	data->mar = fuzz_chance(d->in, 64) ? fuzz_u32(d->in) : 7;
	data->mor = fuzz_chance(d->in, 64) ? fuzz_u32(d->in) : 3;
	for (i = 0; i < 64; i++)
		data->lbafe[i].zsze = 64;
	if (fuzz_chance(d->in, 48))
		data->lbafe[0].zsze = fuzz_odd(d->in);
	data->lbafe[0].zdes = fuzz_chance(d->in, 128) ? fuzz_u8(d->in) : 0;
}

static void identify(struct device *d, const struct nvme_cmd *cmd)
{
	uint64_t space[512]; /* aligned for every structure in it */
	uint8_t *data = (uint8_t *)space;
	uint32_t i, nsid;

	memset(space, 0, sizeof(space));
	switch (NVME_GET(cmd->cdw10, NVME_IDENTIFY_CNS)) {
	case NVME_ID_CNS_CTRLR:
		fill_id_ctrlr(d, (struct nvme_id_ctrlr *)(void *)space);
		break;
	case NVME_ID_CNS_NS:
		fill_id_ns(d, (struct nvme_id_ns *)(void *)space, cmd->nsid);
		break;
	case NVME_ID_CNS_ACTIVE_NS_LIST:
		nsid = cmd->nsid;
		for (i = 0; i < 1024 && nsid < d->nn; i++) {
			nsid++;
			memcpy(data + (size_t)4 * i, &nsid, 4);
		}
		break;
	case NVME_ID_CNS_NS_IOCS:
		fill_id_zns(d, (struct nvme_zns_id_ns *)(void *)space);
		break;
	case NVME_ID_CNS_CTRLR_IOCS:
		data[0] = fuzz_chance(d->in, 128) ? fuzz_u8(d->in) : 0;
		break;
	default:
		fill_id_descs(d, data);
	}
	if (misbehaves(d, BAD_DATA))
		fuzz_mutate(d->in, data, fuzz_chance(d->in, 128) ? 128 : 4096);
	dma_copy(d, cmd->dptr.prp.prp1, data, 4096, true);
}

/* A report of zones that could be one, as far as it is in the first page. */
static void report_zones(struct device *d, const struct nvme_cmd *cmd)
{
	uint64_t space[64]; /* the header and seven zones */
	uint64_t slba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11), prp1 = cmd->dptr.prp.prp1;
	struct nvme_zns_zone *zone = (struct nvme_zns_zone *)(void *)(space + 8);
	uint64_t len = ((uint64_t)cmd->cdw12 + 1) * 4;
	uint32_t i;

	memset(space, 0, sizeof(space));
	space[0] = fuzz_chance(d->in, 32) ? fuzz_odd(d->in) : fuzz_below(d->in, 8);
	for (i = 0; i < 7; i++) {
		zone[i].zs = (uint8_t)(fuzz_chance(d->in, 16) ? fuzz_u8(d->in) : 0x10);
		zone[i].zslba = zone[i].wp = slba / 64 * 64 + i * 64;
		zone[i].zcap = 64;
	}
	if (misbehaves(d, BAD_DATA))
		fuzz_mutate(d->in, space, sizeof(space));
	len = len < sizeof(space) ? len : sizeof(space);
	if (len > HOST_PAGE - prp1 % HOST_PAGE)
		len = HOST_PAGE - prp1 % HOST_PAGE;
	(void)dma_copy(d, prp1, space, len, true);
}

/* The books about rings follow the latest command that names one, whatever is answered to it. */
static void learn_queue(struct device *d, const struct nvme_cmd *cmd)
{
	uint32_t qid = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QID);
	bool is_cq = cmd->opc == NVME_OPC_CREATE_IO_CQ;
	struct ring *ring;

	if (qid == 0 || qid >= MAX_QID)
		return;
	ring = is_cq ? &d->cq[qid] : &d->sq[qid];
	ring->base = cmd->dptr.prp.prp1;
	ring->entries = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QSIZE) + 1;
	ring->index = 0;
	ring->phase = 1;
	if (!is_cq)
		d->cqid[qid] = (uint16_t)qid;
}

/* A command gets its answer. */
static void answer(struct device *d, uint16_t qid, const struct nvme_cmd *cmd)
{
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqhd = (uint16_t)d->sq[qid].index;
	cpl.sqid = qid;
	cpl.cid = cmd->cid;
	if (qid == 0 && cmd->opc == NVME_OPC_IDENTIFY)
		identify(d, cmd);
	else if (qid == 0 && cmd->opc == NVME_OPC_SET_FEATURES)
		cpl.cdw0 = (d->queues - 1) | (d->queues - 1) << 16;
	else if (qid != 0 && cmd->opc == NVME_OPC_ZONE_MANAGEMENT_RECEIVE && cmd->flags == 0)
		report_zones(d, cmd);
	else if (qid != 0 && cmd->opc == NVME_OPC_ZONE_APPEND)
		cpl.cdw0 = fuzz_chance(d->in, 64) ? fuzz_u32(d->in) : cmd->cdw10;
	if (misbehaves(d, BAD_STATUS))
		cpl.status = (uint16_t)fuzz_bytes(d->in, 2);
	put_cqe(d, d->cqid[qid], cpl);
	if (misbehaves(d, BAD_FLOOD)) /* the same once more */
		put_cqe(d, d->cqid[qid], cpl);
}

static void take_command(struct device *d, uint16_t qid, const struct nvme_cmd *cmd)
{
	if (qid == 0 && (cmd->opc == NVME_OPC_CREATE_IO_CQ || cmd->opc == NVME_OPC_CREATE_IO_SQ))
		learn_queue(d, cmd);
	if (d->expect != NULL && qid != 0)
		check_prps(d, cmd);
	if (misbehaves(d, BAD_DROP))
		return;
	if (d->num_held < MAX_HELD && misbehaves(d, BAD_DELAY)) {
		d->held[d->num_held].qid = qid;
		d->held[d->num_held++].cmd = *cmd;
		return;
	}
	answer(d, qid, cmd);
}

/* What the device does of its own accord, whenever it gets the chance. */
static void device_runs(struct device *d)
{
	struct held held;
	uint32_t i;

	if (d->gone)
		return;
	if (d->num_held > 0 && !fuzz_chance(d->in, 128)) {
		i = fuzz_below(d->in, d->num_held);
		held = d->held[i];
		d->held[i] = d->held[--d->num_held];
		answer(d, held.qid, &held.cmd);
	}
	if (misbehaves(d, BAD_SCRIB))
		scribble(d);
	if (misbehaves(d, BAD_FLOOD))
		flood(d);
}

/* ---- registers ---- */

static struct device *device_of(const struct nvme_dev *dev)
{
	return (struct device *)(uintptr_t)dev->ops;
}

/* One access. A driver that cannot stop is stopped: the device disappears, and then we do. */
static void count_access(struct device *d)
{
	if (d->gone_in != 0 && --d->gone_in == 0)
		d->gone = true;
	if (d->tell_in != 0 && --d->tell_in == 0 && d->tell_fd >= 0)
		(void)!write(d->tell_fd, "\1\0\0\0\0\0\0", 8);
	if (d->patience > 0) {
		d->patience--;
		return;
	}
	fuzz_check(d->gone && !d->in->left, "a driver call hangs");
	if (d->gone && fuzz_run.input_failed)
		abort();
	d->gone = true;
	d->in->left = 0;
	d->patience = PATIENCE;
}

static void ring_sq(struct device *d, uint16_t qid, uint32_t tail)
{
	struct ring *sq = &d->sq[qid];
	struct nvme_cmd cmd;

	fuzz_check(tail < sq->entries, "SQ %u of %u entries: tail %u", qid, sq->entries, tail);
	while (sq->index != tail && tail < sq->entries) {
		if (!dma_copy(d, sq->base + sq->index * sizeof(cmd), &cmd, sizeof(cmd), false)) {
			fuzz_check(cmb_unclear(d), "SQ %u is not in mapped memory", qid);
			return;
		}
		sq->index = (sq->index + 1) % sq->entries;
		take_command(d, qid, &cmd);
	}
}

static void ring_doorbell(struct device *d, uint32_t offset, uint32_t value)
{
	uint32_t stride = 4u << d->told_dstrd, index = (offset - 0x1000) / stride;
	uint32_t qid = index / 2;

	if ((offset - 0x1000) % stride != 0 || qid >= MAX_QID) {
		fuzz_fail("a doorbell at offset %xh", offset);
		return;
	}
	if (index % 2 == 0)
		ring_sq(d, (uint16_t)qid, value);
	else
		fuzz_check(value < d->cq[qid].entries, "CQ %u of %u entries: head %u", qid,
		           d->cq[qid].entries, value);
}

/* How long something takes in ns: a moment, or by chance for ever. */
static uint64_t delay(struct device *d)
{
	if (misbehaves(d, BAD_READY))
		return fuzz_chance(d->in, 128) ? UINT64_MAX - d->now
		                               : fuzz_below(d->in, 60000) * MS;
	return MS;
}

static void write_cc(struct device *d, uint32_t cc)
{
	if (NVME_GET(cc, NVME_CC_EN) != NVME_GET(d->cc, NVME_CC_EN)) {
		d->offs += NVME_GET(cc, NVME_CC_EN) == 0;
		d->ready_at = d->now + delay(d);
		d->cfs = misbehaves(d, BAD_READY);
		d->num_held = 0;
	}
	if (NVME_GET(cc, NVME_CC_EN) != 0 && NVME_GET(d->cc, NVME_CC_EN) == 0) {
		memset(d->sq, 0, sizeof(d->sq));
		memset(d->cq, 0, sizeof(d->cq));
		d->sq[0].base = d->asq;
		d->sq[0].entries = NVME_GET(d->aqa, NVME_AQA_ASQS) + 1;
		d->cq[0].base = d->acq;
		d->cq[0].entries = NVME_GET(d->aqa, NVME_AQA_ACQS) + 1;
		d->cq[0].phase = 1;
	}
	if (NVME_GET(cc, NVME_CC_SHN) != 0 && NVME_GET(d->cc, NVME_CC_SHN) == 0)
		d->shst_at = d->now + delay(d);
	d->cc = cc;
}

static uint32_t read_csts(const struct device *d)
{
	bool ready = d->now >= d->ready_at ? NVME_GET(d->cc, NVME_CC_EN) != 0
	                                   : NVME_GET(d->cc, NVME_CC_EN) == 0;
	uint32_t shst = NVME_GET(d->cc, NVME_CC_SHN) == 0 ? NVME_CSTS_SHST_NORMAL
	                : d->now >= d->shst_at            ? NVME_CSTS_SHST_COMPLETE
	                                                  : NVME_CSTS_SHST_OCCURRING;

	return NVME_SET(ready, NVME_CSTS_RDY) | NVME_SET(d->cfs, NVME_CSTS_CFS) |
	       NVME_SET(shst, NVME_CSTS_SHST);
}

static bool cmb_shown(const struct device *d)
{
	return NVME_GET64(d->cap, NVME_CAP_CMBS) == 0 || NVME_GET(d->cmb.msc, NVME_CMBMSC_CRE) != 0;
}

static uint32_t register_value(const struct device *d, uint32_t offset)
{
	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)d->cap;
	case NVME_REG_CAP + 4:
		return (uint32_t)(d->cap >> 32);
	case NVME_REG_VS:
		return d->vs;
	case NVME_REG_CC:
		return d->cc;
	case NVME_REG_CSTS:
		return read_csts(d);
	case NVME_REG_CMBLOC:
		return cmb_shown(d) ? d->cmb.loc : 0;
	case NVME_REG_CMBSZ:
		return cmb_shown(d) ? d->cmb.sz : 0;
	case NVME_REG_CMBMSC:
		return (uint32_t)d->cmb.msc;
	case NVME_REG_CMBMSC + 4:
		return (uint32_t)(d->cmb.msc >> 32);
	case NVME_REG_CMBSTS:
		return d->cmb.sts;
	default:
		return 0;
	}
}

static uint32_t device_read_4(struct nvme_dev *dev, uint32_t offset)
{
	struct device *d = device_of(dev);
	uint32_t value;

	fuzz_check(offset % 4 == 0 && offset < dev->bar0_size, "a read at offset %xh", offset);
	count_access(d);
	device_runs(d);
	value = register_value(d, offset);
	if (misbehaves(d, BAD_REGS))
		fuzz_mutate(d->in, &value, sizeof(value));
	if (d->gone)
		value = UINT32_MAX;
	if (offset == NVME_REG_CAP + 4)
		d->told_dstrd = NVME_GET((uint64_t)value << 32, NVME_CAP_DSTRD);
	if (offset == NVME_REG_CAP + 4 && d->cmb.len == 0)
		d->told_cmbs = NVME_GET64((uint64_t)value << 32, NVME_CAP_CMBS) != 0;
	if (value == UINT32_MAX && (offset == NVME_REG_CC || offset == NVME_REG_CSTS))
		d->reported_gone = true;
	return value;
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	*reg = high ? (*reg & UINT32_MAX) | (uint64_t)value << 32
	            : (*reg & ~(uint64_t)UINT32_MAX) | value;
}

static void device_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct device *d = device_of(dev);

	fuzz_run.steps++;
	fuzz_check(offset % 4 == 0 && offset < dev->bar0_size, "a write at offset %xh", offset);
	fuzz_check(!d->reported_gone, "a write at offset %xh to a device that is gone", offset);
	count_access(d);
	d->tick = d->base_tick;
	if (d->gone)
		return;
	if (offset >= NVME_REG_DOORBELLS)
		ring_doorbell(d, offset, value);
	else if (offset == NVME_REG_CC)
		write_cc(d, value);
	else if (offset == NVME_REG_AQA)
		d->aqa = value;
	else if (offset / 8 == NVME_REG_ASQ / 8)
		set_half(&d->asq, offset % 8 != 0, value);
	else if (offset / 8 == NVME_REG_ACQ / 8)
		set_half(&d->acq, offset % 8 != 0, value);
	else if (offset / 8 == NVME_REG_CMBMSC / 8)
		set_half(&d->cmb.msc, offset % 8 != 0, value);
	device_runs(d);
}

/* Time passes when somebody looks, and ever faster while nothing else happens. */
static uint64_t device_now_ns(struct nvme_dev *dev)
{
	struct device *d = device_of(dev);

	count_access(d);
	device_runs(d);
	d->now += d->tick;
	if (d->tick < 1000 * MS)
		d->tick += d->tick / 2 + 1;
	return d->now;
}

/* The system asks for the device, or its bus fails, at some time. */
static int device_set_events(struct nvme_dev *dev, const int *fds)
{
	struct device *d = device_of(dev);

	d->tell_fd = -1;
	if (fds == NULL || (d->bad & BAD_GONE) == 0)
		return fds == NULL ? 0 : -ENOTSUP;
	d->tell_fd = fds[fuzz_below(d->in, NVME_DEV_EVENTS)];
	d->tell_in = 1 + fuzz_below(d->in, 1024);
	return 0;
}

/* ---- the access table ---- */

static int device_open(struct nvme_dev *dev, const char *addr)
{
	struct device *d = device_of(dev);
	unsigned int i;

	(void)addr;
	if (misbehaves(d, BAD_OPEN))
		return -EACCES;
	dev->page_size = HOST_PAGE;
	dev->bar0_size = misbehaves(d, BAD_OPEN) ? (size_t)0x1000 + fuzz_u8(d->in) * 4u : 0x4000;
	dev->num_iova = 1;
	dev->iova[0].last = misbehaves(d, BAD_OPEN) ? fuzz_odd(d->in) : 0x7fffffffff;
	if (misbehaves(d, BAD_OPEN)) {
		dev->num_iova = fuzz_below(d->in, NVME_MAX_IOVA_RANGES + 1);
		for (i = 0; i < dev->num_iova; i++) {
			dev->iova[i].start = fuzz_odd(d->in);
			dev->iova[i].last = dev->iova[i].start + fuzz_odd(d->in);
		}
	}
	d->open = true;
	return 0;
}

static void device_close(struct nvme_dev *dev)
{
	struct device *d = device_of(dev);

	fuzz_check(d->open, "the device is closed but was not open");
	fuzz_check(d->num_maps == 0, "%u DMA mappings are left at close", d->num_maps);
	fuzz_check(d->reported_gone || d->gone || d->cmb.len == 0 ||
	                   NVME_GET64(d->cap, NVME_CAP_CMBS) == 0 ||
	                   NVME_GET(d->cmb.msc, NVME_CMBMSC_CMSE) == 0 ||
	                   (d->bad & (BAD_REGS | BAD_CAP)) != 0,
	           "the controller memory buffer is left on at close");
	d->cmb.len = 0;
	d->open = false;
}

/* Is it in one of the ranges that open() named? */
static bool in_range(const struct nvme_dev *dev, uint64_t iova, size_t len)
{
	unsigned int i;

	for (i = 0; i < dev->num_iova; i++) {
		if (iova >= dev->iova[i].start && iova <= dev->iova[i].last &&
		    len - 1 <= dev->iova[i].last - iova)
			return true;
	}
	return false;
}

static int device_dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	struct device *d = device_of(dev);
	uint64_t base;
	unsigned int i;

	if (misbehaves(d, BAD_MAP) || d->num_maps == MAX_MAPS)
		return -ENOMEM;
	fuzz_check(len != 0 && iova != 0 &&
	                   ((iova | len | (uintptr_t)vaddr) & (HOST_PAGE - 1)) == 0,
	           "DMA mapping of %zu bytes at %" PRIx64 "h", len, iova);
	fuzz_check(in_range(dev, iova, len), "%" PRIx64 "h cannot be mapped", iova);
	fuzz_check(!cmb_base(d, &base) || iova + len <= base || base + d->cmb.len <= iova,
	           "a DMA mapping at %" PRIx64 "h is where the controller's own memory is", iova);
	for (i = 0; i < d->num_maps; i++)
		fuzz_check(iova + len <= d->map[i].iova || d->map[i].iova + d->map[i].len <= iova,
		           "DMA mappings overlap at %" PRIx64 "h", iova);
	d->map[d->num_maps].iova = iova;
	d->map[d->num_maps].len = len;
	d->map[d->num_maps++].at = (uint8_t *)vaddr;
	return 0;
}

static int device_dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	struct device *d = device_of(dev);
	size_t sum = 0;
	unsigned int i = 0;

	while (i < d->num_maps) {
		if (d->map[i].iova >= iova && d->map[i].iova - iova < len) {
			sum += d->map[i].len;
			d->map[i] = d->map[--d->num_maps];
		} else {
			i++;
		}
	}
	fuzz_check(sum == len, "%zu bytes are unmapped where %zu were mapped", len, sum);
	return 0;
}

static int device_get_bar(struct nvme_dev *dev, unsigned int bar, uint64_t *bus_addr,
                          uint64_t *size)
{
	struct device *d = device_of(dev);

	fuzz_check(bar <= 5 && bar != 1, "BAR %u was asked for", bar);
	*bus_addr = d->cmb.bus_addr;
	*size = d->cmb.bar_size;
	return misbehaves(d, BAD_OPEN) ? -ENODEV : 0;
}

static int device_map_bar(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
                          void **vaddr)
{
	struct device *d = device_of(dev);

	fuzz_check(bar <= 5 && bar != 1 && len != 0 && offset % 4096 == 0 &&
	                   offset <= d->cmb.bar_size && len <= d->cmb.bar_size - offset,
	           "%zu bytes at %" PRIx64 "h of BAR %u are not in it", len, offset, bar);
	fuzz_check(d->cmb.len == 0, "a BAR is mapped twice");
	if (misbehaves(d, BAD_MAP) || offset >= CMB_BYTES || len > CMB_BYTES - offset)
		return -ENOMEM;
	d->cmb.offset = offset;
	d->cmb.len = len;
	*vaddr = cmb_memory + offset;
	return 0;
}

static int device_reset(struct nvme_dev *dev)
{
	struct device *d = device_of(dev);

	if (misbehaves(d, BAD_READY))
		return -EIO;
	d->cc = 0;
	d->cfs = false;
	d->ready_at = 0;
	d->cmb.msc = 0;
	return 0;
}

/* One that works, or anything. Some are from before NVMe 1.4, some cannot do everything. */
static void choose_cmb(struct device *d)
{
	struct cmb *cmb = &d->cmb;

	if (!fuzz_chance(d->in, 96))
		return;
	cmb->loc = NVME_SET(2, NVME_CMBLOC_BIR) |
	           (fuzz_chance(d->in, 128) ? 0xe0 : fuzz_u8(d->in) & 0xf8u);
	cmb->sz = NVME_SET(1 + fuzz_below(d->in, CMB_BYTES / 4096), NVME_CMBSZ_SZ) |
	          (fuzz_chance(d->in, 128) ? 0x1d : fuzz_u8(d->in) & 0x1fu);
	cmb->bar_size = CMB_BYTES;
	cmb->bus_addr = fuzz_chance(d->in, 128) ? (uint64_t)fuzz_below(d->in, 1 << 20) << 12 : 0;
	if (fuzz_chance(d->in, 64))
		d->vs = NVME_VS_SET(1, 3, 0);
	else
		d->cap |= NVME_SET64(1, NVME_CAP_CMBS);
	if (fuzz_chance(d->in, 64))
		cmb->msc = fuzz_odd(d->in);
	if (fuzz_chance(d->in, 16))
		cmb->loc = (uint32_t)fuzz_odd(d->in);
	if (fuzz_chance(d->in, 16))
		cmb->sz = (uint32_t)fuzz_odd(d->in);
	if (fuzz_chance(d->in, 16))
		cmb->bar_size = fuzz_odd(d->in);
	if (fuzz_chance(d->in, 16))
		cmb->bus_addr = fuzz_odd(d->in);
	cmb->sts = fuzz_chance(d->in, 16);
}

static void choose_cap(struct device *d)
{
	d->cap = NVME_SET64(63, NVME_CAP_MQES) | NVME_SET64(1, NVME_CAP_CQR) |
	         NVME_SET64(4, NVME_CAP_TO) | NVME_SET64(NVME_CAP_CSS_NVM, NVME_CAP_CSS);
	d->vs = NVME_VS_SET(1, 4, 0);
	if ((d->bad & BAD_CAP) == 0)
		return;
	switch (fuzz_below(d->in, 4)) {
	case 0:
		d->cap ^= fuzz_odd(d->in);
		break;
	case 1:
		d->cap |= NVME_SET64(fuzz_below(d->in, 10), NVME_CAP_MPSMIN) |
		          NVME_SET64(fuzz_below(d->in, 4), NVME_CAP_DSTRD);
		break;
	case 2:
		d->cap |= NVME_SET64(fuzz_bytes(d->in, 2), NVME_CAP_MQES) |
		          NVME_SET64(1, NVME_CAP_AMS);
		break;
	default:
		d->cap |= NVME_SET64(fuzz_u8(d->in), NVME_CAP_CSS) |
		          NVME_SET64(fuzz_u8(d->in), NVME_CAP_TO);
	}
	d->vs = fuzz_chance(d->in, 64) ? fuzz_u32(d->in)
	                               : NVME_VS_SET(fuzz_below(d->in, 3), fuzz_below(d->in, 5), 0);
}

static void device_init(struct device *d, struct fuzz *in)
{
	static const struct nvme_dev_ops ops = {
		"fuzz",         device_open,    device_close,      device_dma_map, device_dma_unmap,
		device_read_4,  device_write_4, device_reset,      device_now_ns,  NULL,
		device_get_bar, device_map_bar, device_set_events,
	};
	static const uint8_t rates[] = {1, 3, 8, 32, 128, 255};

	memset(d, 0, sizeof(*d));
	memcpy(&d->ops, &ops, sizeof(ops));
	d->in = in;
	d->patience = PATIENCE;
	d->tell_fd = -1;
	d->bad = fuzz_bytes(in, 2) & fuzz_bytes(in, 2);
	if (fuzz_chance(in, 128))
		d->bad &= fuzz_bytes(in, 2);
	d->rate = rates[fuzz_below(in, sizeof(rates))];
	if ((d->bad & BAD_GONE) != 0)
		d->gone_in = 1 + fuzz_below(in, fuzz_chance(in, 128) ? 32 : 1024);
	choose_cap(d);
	choose_cmb(d);
	d->nn = fuzz_chance(in, 4) ? fuzz_below(in, 1200) : 1 + fuzz_below(in, 3);
	d->lbads = 9 + (fuzz_chance(in, 128) ? fuzz_below(in, 8) : 0);
	d->queues = 1 + fuzz_below(in, 16);
	d->nsze = fuzz_chance(in, 32) ? fuzz_odd(in) : 4096;
	d->base_tick = d->tick = (d->bad & BAD_TIME) != 0 ? 1 + fuzz_u32(in) : MS / 4;
}

/* ---- the user ---- */

struct user_cmd {
	struct user *user;
	struct nvme_qpair *qp; /* NULL: the admin queue */
	uint32_t calls;
	bool endless; /* its callback submits it again, as a benchmark would */
};

struct user_buf {
	uint8_t *at;
	size_t len;
	bool registered; /* memory of the user's own */
	bool cmb;        /* the controller's */
};

struct user {
	struct device d;
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns; /* any of them, or NULL */
	struct nvme_qpair *qp[MAX_QPS];
	struct user_cmd cmd[MAX_CMDS];
	uint32_t num_cmds;
	struct user_buf buf[MAX_BUFS];
	uint32_t depth; /* of callbacks */
	uint32_t timeout_ms;
};

/* Time is virtual: there is nobody to wait for. In place of the C library's. */
int sched_yield(void)
{
	return 0;
}

static struct user *the_user; /* for the memory functions, which have no argument */
static uint64_t live_blocks;

static void *user_calloc(size_t n, size_t size)
{
	void *p;

	if (the_user != NULL && misbehaves(&the_user->d, BAD_MEMORY))
		return NULL;
	p = calloc(n, size);
	live_blocks += p != NULL;
	return p;
}

static void user_free(void *p)
{
	live_blocks -= p != NULL;
	free(p);
}

/* Before each call of the driver. */
static void driver_call(struct user *u)
{
	fuzz_run.steps++;
	u->d.patience = PATIENCE;
	u->d.offs = 0;
}

/* ---- text ---- */

static void check_text(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((uint8_t)*text < ' ' || (uint8_t)*text >= 0x7f) {
			fuzz_fail("byte %02xh in a line of text", (uint8_t)*text);
			return;
		}
	}
}

static void user_log(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	fuzz_check(level >= NVME_LOG_ERROR && level <= NVME_LOG_DEBUG, "log level %d", level);
	check_text(line);
}

/* Runs one nvme_format_* function twice: with room for all, and with exactly as much as was asked. */
struct format {
	int (*run)(char *buf, size_t size, const struct format *f);
	uint16_t qid;
	uint32_t value;
	uint64_t reg;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	const struct nvme_field *field;
};

static int run_cmd(char *buf, size_t size, const struct format *f)
{
	return nvme_format_cmd(buf, size, f->qid, &f->cmd);
}

static int run_cpl(char *buf, size_t size, const struct format *f)
{
	return nvme_format_cpl(buf, size, f->qid, &f->cpl);
}

static int run_version(char *buf, size_t size, const struct format *f)
{
	return nvme_format_version(buf, size, f->value);
}

static int run_reg_name(char *buf, size_t size, const struct format *f)
{
	return nvme_format_reg_name(buf, size, f->value, (unsigned int)(f->reg & 15));
}

static int run_field_value(char *buf, size_t size, const struct format *f)
{
	return nvme_format_field_value(buf, size, f->field, f->reg);
}

static int run_field(char *buf, size_t size, const struct format *f)
{
	return nvme_format_field(buf, size, f->field, f->reg);
}

static void format_once(const struct format *f, size_t size)
{
	char whole[NVME_TEXT_MAX], *cut = (char *)malloc(size + 1);
	int len, again;

	if (cut == NULL)
		return;
	fuzz_run.steps++;
	len = f->run(whole, sizeof(whole), f);
	fuzz_check(len >= 0 && len < NVME_TEXT_MAX, "a text of %d characters", len);
	check_text(whole);
	cut[size] = '*';
	again = f->run(cut, size, f);
	fuzz_check(again == len, "%d characters in %zu bytes, %d in more", again, size, len);
	fuzz_check(cut[size] == '*', "more than %zu bytes of text were written", size);
	if (size != 0)
		fuzz_check(strlen(cut) < size && strncmp(cut, whole, strlen(cut)) == 0,
		           "a text that was cut is a different one");
	free(cut);
}

static void format_things(struct fuzz *in)
{
	static int (*const runs[])(char *, size_t, const struct format *) = {
		run_cmd,
		run_cpl,
		run_version,
		run_reg_name,
	};
	const struct nvme_field *field;
	struct format f;

	memset(&f, 0, sizeof(f));
	f.run = runs[fuzz_below(in, 4)];
	f.qid = (uint16_t)fuzz_below(in, 3);
	f.value = (uint32_t)fuzz_odd(in);
	f.reg = fuzz_odd(in);
	f.cmd.opc = fuzz_u8(in);
	fuzz_mutate(in, &f.cmd, sizeof(f.cmd));
	fuzz_mutate(in, &f.cpl, sizeof(f.cpl));
	format_once(&f, fuzz_below(in, NVME_TEXT_MAX));
	field = nvme_reg_fields(fuzz_below(in, 0x70) & ~3u);
	for (; field->name != NULL; field++) {
		f.field = field;
		f.run = fuzz_chance(in, 128) ? run_field : run_field_value;
		format_once(&f, fuzz_below(in, 64));
	}
}

static void name_things(struct fuzz *in)
{
	uint8_t a = fuzz_u8(in), b = fuzz_u8(in);
	uint32_t offset = (uint32_t)fuzz_odd(in);

	fuzz_run.steps++;
	fuzz_check(nvme_opc_name(b & 1, a) != NULL && nvme_feat_name(a) != NULL &&
	                   nvme_fabrics_name(a) != NULL && nvme_sct_name(a) != NULL &&
	                   nvme_status_name(b, a) != NULL && nvme_sgl_type_name(a) != NULL &&
	                   nvme_sgl_subtype_name(a) != NULL && nvme_log_page_name(a) != NULL &&
	                   nvme_cns_name(a) != NULL && nvme_reg_name(offset) != NULL &&
	                   nvme_csi_name(a) != NULL && nvme_fabrics_status_name(a) != NULL &&
	                   nvme_opc_full_name(b & 1, a) != NULL && nvme_feat_full_name(a) != NULL &&
	                   nvme_fabrics_full_name(a) != NULL &&
	                   nvme_status_full_name(b, a, (uint8_t)offset) != NULL &&
	                   nvme_reg_fields(offset) != NULL && nvme_reg_size(offset) <= 8,
	           "a name is NULL");
}

/* ---- commands ---- */

static void submit_something(struct user *u, struct nvme_qpair *qp);

/* What the documentation allows a callback to do, and what it promises to refuse. */
static void misuse_in_callback(struct user *u, struct nvme_qpair *qp)
{
	int rc;

	switch (fuzz_below(u->d.in, 6)) {
	case 0:
	case 1:
	case 2:
		submit_something(u, qp);
		break;
	case 3:
		if (qp != NULL)
			(void)nvme_qpair_process_completions(qp, fuzz_below(u->d.in, 4));
		break;
	case 4:
		rc = qp != NULL ? nvme_ctrlr_free_io_qpair(qp) : -EBUSY;
		fuzz_check(rc == -EBUSY, "a queue pair was freed in its own callback: %d", rc);
		break;
	default:
		rc = nvme_detach(u->ctrlr);
		fuzz_check(rc == -EBUSY, "the controller was detached in a callback: %d", rc);
	}
}

static void user_callback(void *arg, const struct nvme_cpl *cpl);

/* A flush that follows on itself until the queue takes no more. */
static int submit_endless(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	int rc;

	cmd->endless = true;
	cmd->calls = 0;
	rc = nvme_ns_cmd_flush(u->ns, qp, user_callback, cmd);
	if (rc != 0)
		cmd->endless = false;
	return rc;
}

static void user_callback(void *arg, const struct nvme_cpl *cpl)
{
	struct user_cmd *cmd = (struct user_cmd *)arg;
	struct user *u = cmd->user;

	total.completed++;
	cmd->calls++;
	fuzz_check(cmd->calls == 1, "a callback runs %u times", cmd->calls);
	fuzz_check(cpl != NULL, "a callback without completion");
	if (cmd->endless) {
		cmd->calls = submit_endless(u, cmd->qp, cmd) != 0;
		return;
	}
	if (u->depth < 3 && fuzz_chance(u->d.in, 24)) {
		u->depth++;
		misuse_in_callback(u, cmd->qp);
		u->depth--;
	}
}

/* As much of a buffer as is used: some are very large. */
static uint32_t buf_len(const struct user_buf *buf)
{
	return buf->len < 0x400000 ? (uint32_t)buf->len : 0x400000;
}

/* A buffer for a command, inside DMA memory (mostly) and of a random length. */
static uint8_t *pick_buffer(struct user *u, uint32_t *len, bool dma_only)
{
	static uint8_t other[HOST_PAGE];
	const struct user_buf *buf = &u->buf[fuzz_below(u->d.in, MAX_BUFS)];
	uint32_t offset;

	if (buf->at == NULL || (!dma_only && fuzz_chance(u->d.in, 64))) {
		*len = fuzz_below(u->d.in, sizeof(other));
		return dma_only ? NULL : other;
	}
	offset = fuzz_chance(u->d.in, 128) ? fuzz_below(u->d.in, buf_len(buf)) : 0;
	if (!fuzz_chance(u->d.in, 16))
		offset &= ~3u;
	*len = 1 + fuzz_below(u->d.in, buf_len(buf) - offset);
	return buf->at + offset;
}

static uint64_t pick_lba(struct user *u)
{
	uint64_t nsze = nvme_ns_get_num_sectors(u->ns);

	if (fuzz_chance(u->d.in, 16))
		return fuzz_odd(u->d.in);
	return fuzz_chance(u->d.in, 64) ? nsze - fuzz_below(u->d.in, 16)
	                                : fuzz_below(u->d.in, 4096);
}

static void fill_command(struct user *u, struct nvme_cmd *cmd)
{
	static const uint8_t opcodes[] = {NVME_OPC_FLUSH,        NVME_OPC_WRITE,
	                                  NVME_OPC_READ,         NVME_OPC_GET_LOG_PAGE,
	                                  NVME_OPC_GET_FEATURES, NVME_OPC_ASYNC_EVENT_REQUEST};

	memset(cmd, 0, sizeof(*cmd));
	cmd->opc = opcodes[fuzz_below(u->d.in, sizeof(opcodes))];
	cmd->nsid = 1;
	if (fuzz_chance(u->d.in, 32))
		fuzz_mutate(u->d.in, cmd, sizeof(*cmd));
	if (cmd->opc == NVME_OPC_CREATE_IO_SQ || cmd->opc == NVME_OPC_CREATE_IO_CQ)
		cmd->opc = NVME_OPC_FLUSH; /* only the driver creates queues here */
}

/* What the next I/O command must describe. With delayed doorbells the next one is another. */
static void expect_buffer(struct user *u, const struct nvme_qpair *qp, const uint8_t *buf,
                          uint32_t len)
{
	if ((qp->unusual & NVME__UNUSUAL_DELAY) == 0)
		u->d.expect = buf;
	u->d.expect_len = len;
}

static int submit_rw(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	uint32_t len, nlb, block = nvme_ns_get_extended_sector_size(u->ns);
	uint8_t *buf = pick_buffer(u, &len, true);
	uint32_t flags = fuzz_chance(u->d.in, 32) ? (uint32_t)fuzz_odd(u->d.in) : 0;

	nlb = fuzz_chance(u->d.in, 16) ? (uint32_t)fuzz_odd(u->d.in) : len / block;
	if (buf == NULL)
		return -EFAULT;
	expect_buffer(u, qp, buf, nlb * block);
	if (fuzz_chance(u->d.in, 128))
		return nvme_ns_cmd_read(u->ns, qp, buf, pick_lba(u), nlb, user_callback, cmd,
		                        flags);
	return nvme_ns_cmd_write(u->ns, qp, buf, pick_lba(u), nlb, user_callback, cmd, flags);
}

static int submit_raw(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	struct nvme_cmd sqe;
	uint32_t len = 0;
	uint8_t *buf = NULL;

	fill_command(u, &sqe);
	if (fuzz_chance(u->d.in, 128))
		buf = pick_buffer(u, &len, true);
	if (buf == NULL)
		len = 0;
	if (qp == NULL)
		return nvme_ctrlr_cmd_admin_raw(u->ctrlr, &sqe, buf, len, user_callback, cmd);
	expect_buffer(u, qp, len != 0 ? buf : NULL, len);
	return nvme_ctrlr_cmd_io_raw(u->ctrlr, qp, &sqe, buf, len, user_callback, cmd);
}

/* A few pieces of memory, or none, of any length; holes where the call may take them. */
static int pick_iov(struct user *u, struct iovec *iov, int max, uint64_t *len)
{
	int i, n = (int)fuzz_below(u->d.in, (uint32_t)max);
	uint32_t piece;

	*len = 0;
	for (i = 0; i < n; i++) {
		iov[i].iov_base = fuzz_chance(u->d.in, 16) ? NULL : pick_buffer(u, &piece, true);
		if (iov[i].iov_base == NULL)
			piece = 512 * fuzz_below(u->d.in, 8);
		if (fuzz_chance(u->d.in, 200))
			piece &= ~511u;
		iov[i].iov_len = piece;
		*len += piece;
	}
	return n;
}

static int submit_scattered(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	uint32_t one, block = nvme_ns_get_extended_sector_size(u->ns);
	uint32_t flags = fuzz_chance(u->d.in, 64) ? NVME_IO_FLAGS_SGL : 0;
	struct iovec iov[24];
	uint64_t len, nlb;
	uint8_t *buf;
	int n;

	if (fuzz_chance(u->d.in, 64)) {
		buf = pick_buffer(u, &one, true);
		if (buf == NULL)
			return -EFAULT;
		return nvme_ns_cmd_write_large(u->ns, qp, buf, pick_lba(u), one / block,
		                               user_callback, cmd, flags);
	}
	n = pick_iov(u, iov, 24, &len);
	nlb = fuzz_chance(u->d.in, 16) ? fuzz_odd(u->d.in) : len / block;
	if (fuzz_chance(u->d.in, 128))
		return nvme_ns_cmd_readv(u->ns, qp, iov, n, pick_lba(u), nlb, user_callback, cmd,
		                         flags);
	return nvme_ns_cmd_writev(u->ns, qp, iov, n, pick_lba(u), nlb, user_callback, cmd, flags);
}

/* Ranges of blocks: more than one command of them, sometimes. */
static int submit_ranges(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	static struct nvme_dsm_range ranges[600];
	static struct nvme_copy_range sources[300];
	uint32_t i, n = fuzz_chance(u->d.in, 32) ? 600 : fuzz_below(u->d.in, 12);

	if (fuzz_chance(u->d.in, 128)) {
		for (i = 0; i < n; i++) {
			ranges[i].slba = i < 12 ? pick_lba(u) : i;
			ranges[i].nlb = i < 12 ? fuzz_below(u->d.in, 64) : 1;
		}
		return nvme_ns_cmd_dataset_management(u->ns, qp, fuzz_below(u->d.in, 8), ranges, n,
		                                      user_callback, cmd);
	}
	n = n < 300 ? n : 300;
	for (i = 0; i < n; i++) {
		sources[i].slba = i < 12 ? pick_lba(u) : i;
		sources[i].nlb = (uint16_t)(i < 12 ? fuzz_below(u->d.in, 64) : 1);
	}
	return nvme_ns_cmd_copy(u->ns, qp, sources, n, pick_lba(u), user_callback, cmd);
}

static int submit_with_md(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	uint32_t len, md_len, nlb, flags = fuzz_chance(u->d.in, 128) ? fuzz_u32(u->d.in) : 0;
	uint8_t *buf = pick_buffer(u, &len, true), *md = pick_buffer(u, &md_len, true);

	if (buf == NULL)
		return -EFAULT;
	nlb = len / nvme_ns_get_extended_sector_size(u->ns);
	if (fuzz_chance(u->d.in, 128))
		return nvme_ns_cmd_read_with_md(u->ns, qp, buf, md, pick_lba(u), nlb, user_callback,
		                                cmd, flags, fuzz_u8(u->d.in), fuzz_u8(u->d.in));
	return nvme_ns_cmd_write_with_md(u->ns, qp, buf, md, pick_lba(u), nlb, user_callback, cmd,
	                                 flags, fuzz_u8(u->d.in), fuzz_u8(u->d.in));
}

/* Those with two buffers, or one, or none. */
static int submit_rare(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	uint32_t len, other_len, nlb, what = fuzz_below(u->d.in, 8);
	uint8_t *buf = pick_buffer(u, &len, true), *other = pick_buffer(u, &other_len, true);
	uint64_t slba = pick_lba(u);

	if (buf == NULL || other == NULL)
		return -EFAULT;
	nlb = (len < other_len ? len : other_len) / nvme_ns_get_extended_sector_size(u->ns);
	switch (what) {
	case 0:
		return nvme_ns_cmd_compare(u->ns, qp, buf, slba, nlb, user_callback, cmd, 0);
	case 1:
		return nvme_ns_cmd_write_zeroes(u->ns, qp, slba, nlb, user_callback, cmd,
		                                fuzz_chance(u->d.in, 64) ? fuzz_u32(u->d.in) : 0);
	case 2:
		return nvme_ns_cmd_write_uncorrectable(u->ns, qp, slba, nlb, user_callback, cmd);
	case 3:
		return nvme_ns_cmd_verify(u->ns, qp, slba, nlb, user_callback, cmd, 0);
	case 4:
	case 5:
		return nvme_ns_cmd_compare_and_write(u->ns, qp, buf, other, slba, nlb,
		                                     user_callback, cmd);
	default:
		return submit_ranges(u, qp, cmd);
	}
}

/* For zones, mostly of a namespace that has some. */
static int submit_zones(struct user *u, struct nvme_qpair *qp, struct user_cmd *cmd)
{
	static int (*const calls[])(struct nvme_ns *, struct nvme_qpair *, uint64_t, bool,
	                            nvme_cmd_cb, void *) = {
		nvme_zns_open_zone,  nvme_zns_close_zone,   nvme_zns_finish_zone,
		nvme_zns_reset_zone, nvme_zns_offline_zone,
	};
	uint32_t len, what = fuzz_below(u->d.in, 9), opts = fuzz_below(u->d.in, 9);
	uint64_t slba = fuzz_chance(u->d.in, 64) ? pick_lba(u) : fuzz_below(u->d.in, 8) * 64;
	uint8_t *buf = pick_buffer(u, &len, true);

	if (what < 5)
		return calls[what](u->ns, qp, slba, fuzz_chance(u->d.in, 64), user_callback, cmd);
	if (buf == NULL)
		return -EFAULT;
	switch (what) {
	case 5:
		return nvme_zns_report_zones(u->ns, qp, buf, len, slba,
		                             (enum nvme_zone_report_opts)opts, true, user_callback,
		                             cmd);
	case 6:
		return nvme_zns_ext_report_zones(u->ns, qp, buf, len, slba,
		                                 (enum nvme_zone_report_opts)opts, false,
		                                 user_callback, cmd);
	case 7:
		return nvme_zns_set_zone_desc_ext(u->ns, qp, slba, buf,
		                                  nvme_zns_ns_get_zone_desc_ext_size(u->ns),
		                                  user_callback, cmd);
	default:
		return nvme_zns_zone_append(u->ns, qp, buf, slba,
		                            len / nvme_ns_get_extended_sector_size(u->ns),
		                            user_callback, cmd, 0);
	}
}

/* On the admin queue. */
static int submit_admin(struct user *u, struct user_cmd *cmd)
{
	uint32_t len;
	uint8_t *buf = pick_buffer(u, &len, true);

	if (fuzz_chance(u->d.in, 64))
		return nvme_ctrlr_cmd_abort(u->ctrlr, u->qp[fuzz_below(u->d.in, MAX_QPS)],
		                            (uint16_t)fuzz_below(u->d.in, 32), user_callback, cmd);
	if (buf == NULL)
		return -EFAULT;
	return nvme_ctrlr_cmd_get_log_page(u->ctrlr, fuzz_u8(u->d.in), NVME_NSID_ALL, buf, len,
	                                   fuzz_chance(u->d.in, 64) ? fuzz_odd(u->d.in) : 0,
	                                   user_callback, cmd);
}

/* One asynchronous command on a queue pair, or on the admin queue. */
static void submit_something(struct user *u, struct nvme_qpair *qp)
{
	struct user_cmd *cmd = &u->cmd[u->num_cmds];
	uint32_t what = fuzz_below(u->d.in, 13);
	int rc;

	if (u->num_cmds == MAX_CMDS || u->ctrlr == NULL)
		return;
	u->num_cmds++; /* also taken if the command is refused: then it has no callback */
	fuzz_run.steps++;
	cmd->user = u;
	cmd->qp = qp;
	cmd->calls = 0;
	cmd->endless = false;
	if (qp == NULL && what > 8)
		rc = submit_admin(u, cmd);
	else if (qp == NULL || what == 0)
		rc = submit_raw(u, qp, cmd);
	else if (u->ns == NULL)
		rc = -ENODEV;
	else if (what == 1 && fuzz_chance(u->d.in, 64))
		rc = submit_endless(u, qp, cmd);
	else if (what == 1)
		rc = nvme_ns_cmd_flush(u->ns, qp, user_callback, cmd);
	else if (what < 8)
		rc = submit_rw(u, qp, cmd);
	else if (what < 10)
		rc = submit_scattered(u, qp, cmd);
	else if (what == 10)
		rc = submit_rare(u, qp, cmd);
	else if (what == 12)
		rc = submit_zones(u, qp, cmd);
	else
		rc = submit_with_md(u, qp, cmd);
	u->d.expect = NULL;
	if (rc != 0) {
		fuzz_check(cmd->calls == 0, "the callback of a command that was refused (%d) ran",
		           rc);
		cmd->calls = 1;
	}
}

/* Every command of a queue is over when the queue is. NULL: the admin queue. */
static void check_callbacks(struct user *u, const struct nvme_qpair *qp)
{
	uint32_t i;

	for (i = 0; i < u->num_cmds; i++) {
		if (u->cmd[i].qp == qp) {
			fuzz_check(u->cmd[i].calls == 1,
			           "a callback ran %u times when its queue was freed",
			           u->cmd[i].calls);
			u->cmd[i].calls = 1;
		}
	}
}

static bool commands_outstanding(const struct user *u)
{
	uint32_t i;

	for (i = 0; i < u->num_cmds; i++) {
		if (u->cmd[i].calls == 0)
			return true;
	}
	return false;
}

/* ---- what a user does ---- */

static void use_queues(struct user *u)
{
	uint32_t i = fuzz_below(u->d.in, MAX_QPS);
	struct nvme_io_qpair_opts opts;
	const struct nvme_qpair *old = u->qp[i];
	int rc;

	driver_call(u);
	if (old != NULL) {
		fuzz_check(nvme_qpair_get_id(old) != 0 && nvme_qpair_get_num_outstanding(old) <
		                                                  nvme_qpair_get_entries(old),
		           "more commands are outstanding than the queue has slots");
		rc = nvme_ctrlr_free_io_qpair(u->qp[i]);
		u->qp[i] = NULL;
		if (rc == 0) /* else the rest comes when the controller is detached */
			check_callbacks(u, old);
		for (i = 0; i < u->num_cmds; i++) { /* its address may come back */
			if (u->cmd[i].qp == old)
				u->cmd[i].qp = NULL;
		}
		return;
	}
	memset(&opts, 0, sizeof(opts));
	opts.entries = fuzz_chance(u->d.in, 32) ? (uint32_t)fuzz_odd(u->d.in)
	                                        : 2 + fuzz_below(u->d.in, 20);
	opts.max_xfer_size = fuzz_chance(u->d.in, 64) ? (uint32_t)fuzz_odd(u->d.in) : 0;
	if (fuzz_chance(u->d.in, 16))
		opts.max_xfer_size = 0x800000;
	opts.qprio = fuzz_chance(u->d.in, 16) ? fuzz_u8(u->d.in) : 0;
	opts.delay_cmd_submit = fuzz_chance(u->d.in, 48);
	opts.sq_in_cmb = fuzz_chance(u->d.in, 64);
	(void)nvme_ctrlr_alloc_io_qpair(u->ctrlr, fuzz_chance(u->d.in, 16) ? NULL : &opts,
	                                &u->qp[i]);
}

static void use_polls(struct user *u)
{
	struct nvme_qpair *qp = u->qp[fuzz_below(u->d.in, MAX_QPS)];
	uint32_t n = 1 + fuzz_below(u->d.in, 8);
	bool idle = fuzz_chance(u->d.in, 1);

	if (idle) /* so long that the driver wonders whether the device is still alive */
		n = 2 * NVME__WATCH_FIRST;
	driver_call(u);
	while (n-- > 0) {
		u->d.patience = PATIENCE;
		if (!idle) {
			driver_call(u);
			device_runs(&u->d);
		}
		if (qp == NULL)
			(void)nvme_ctrlr_process_admin_completions(u->ctrlr);
		else
			(void)nvme_qpair_process_completions(qp, fuzz_below(u->d.in, 4));
	}
}

static void use_submit(struct user *u)
{
	struct nvme_qpair *qp = u->qp[fuzz_below(u->d.in, MAX_QPS)];
	uint32_t n = 1 + fuzz_below(u->d.in, 12);

	for (; n > 0; n--) {
		driver_call(u);
		submit_something(u, qp);
	}
}

/*
 * A blocking call with one command ends by its timeout. The clock's own steps come on top: each look
 * is one, the watch may look in each poll, and there are 256 polls until the caller looks, twice, for each
 * of six commands: those that create a queue pair come first. When the ladder resets the controller in it, that can wait for CSTS.RDY ten times: two for 0 before and
 * after a reset of the PCI function, three to come up, four for a second try, and one to give it up.
 */
#define LATE_LOOKS  (6 * 520)
#define READY_WAITS 10

static void check_elapsed(const struct user *u, uint64_t start)
{
	uint64_t ms = (u->d.now - start) / MS, step = u->d.base_tick / MS + 1500,
		 ready = u->d.offs != 0 ? READY_WAITS * (uint64_t)u->ctrlr->ready_timeout : 0;

	fuzz_check(ms <= 8 * u->timeout_ms + LATE_LOOKS * step + ready,
	           "a call with a timeout of %u ms took %" PRIu64 " ms", u->timeout_ms, ms);
}

static void use_blocking_command(struct user *u)
{
	struct nvme_qpair *qp = u->qp[fuzz_below(u->d.in, MAX_QPS)];
	uint64_t start = u->d.now;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	uint32_t len = 0;
	uint8_t *buf = NULL;

	driver_call(u);
	fill_command(u, &cmd);
	if (fuzz_chance(u->d.in, 128))
		buf = pick_buffer(u, &len, false);
	if (fuzz_chance(u->d.in, 128))
		(void)nvme_ctrlr_admin(u->ctrlr, &cmd, buf, len, &cpl);
	else
		(void)nvme_ctrlr_io(u->ctrlr, qp, &cmd, buf, len,
		                    fuzz_chance(u->d.in, 128) ? &cpl : NULL);
	check_elapsed(u, start);
}

static void use_blocking_rw(struct user *u)
{
	struct nvme_qpair *qp = u->qp[fuzz_below(u->d.in, MAX_QPS)];
	uint32_t nlb, skew = fuzz_below(u->d.in, 4);
	uint64_t slba;
	uint8_t *buf;

	if (u->ns == NULL)
		return;
	driver_call(u);
	slba = pick_lba(u);
	nlb = 1 + fuzz_below(u->d.in, (fuzz_chance(u->d.in, 8) ? 0x80000 : 0x4000) /
	                                      nvme_ns_get_sector_size(u->ns));
	buf = (uint8_t *)calloc((size_t)nlb * nvme_ns_get_extended_sector_size(u->ns) + skew, 1);
	if (buf == NULL)
		return;
	if (fuzz_chance(u->d.in, 128))
		(void)nvme_ns_read(u->ns, qp, buf + skew, slba, nlb, NULL);
	else if (fuzz_chance(u->d.in, 128))
		(void)nvme_ns_write(u->ns, qp, buf + skew, slba, nlb, NULL);
	else
		(void)nvme_ns_flush(u->ns, qp, NULL);
	free(buf);
}

/* What was reported, whoever made it up. */
static void check_zones(const struct nvme_ns *ns, const struct nvme_zns_zone *zones, uint32_t n)
{
	uint64_t size = nvme_zns_ns_get_zone_size_sectors(ns);
	uint32_t i;

	for (i = 0; i < n; i++) {
		fuzz_check(zones[i].zslba % size == 0 &&
		                   zones[i].zslba < nvme_ns_get_num_sectors(ns) &&
		                   zones[i].zcap <= size &&
		                   (i == 0 || zones[i].zslba > zones[i - 1].zslba),
		           "a zone at block %" PRIu64, zones[i].zslba);
	}
}

static void use_zones(struct user *u)
{
	struct nvme_qpair *qp = u->qp[fuzz_below(u->d.in, MAX_QPS)];
	uint32_t max = 1 + fuzz_below(u->d.in, 20), found, what = fuzz_below(u->d.in, 3);
	struct nvme_zns_zone zones[20];
	uint8_t block[65536 + 8];
	uint64_t lba, slba, size;
	int rc;

	if (u->ns == NULL || nvme_ns_get_extended_sector_size(u->ns) > sizeof(block))
		return;
	driver_call(u);
	slba = pick_lba(u);
	memset(block, 0, sizeof(block));
	if (what == 0) {
		(void)nvme_zns_manage_zone(u->ns, qp, slba, fuzz_chance(u->d.in, 64),
		                           (enum nvme_zone_send_action)fuzz_below(u->d.in, 8),
		                           NULL);
	} else if (what == 1) {
		slba &= ~(uint64_t)63;
		size = nvme_zns_ns_get_zone_size_sectors(u->ns); /* a reset may change it */
		rc = nvme_zns_append(u->ns, qp, block, slba, 1, &lba, NULL);
		fuzz_check(rc != 0 || (lba >= slba && lba - slba < size),
		           "an append to block %" PRIu64, lba);
	} else {
		(void)nvme_zns_get_zones(u->ns, qp, slba,
		                         (enum nvme_zone_report_opts)fuzz_below(u->d.in, 9), zones,
		                         max, &found, NULL);
		fuzz_check(found <= max, "%u zones where there is room for %u", found, max);
		check_zones(u->ns, zones, found);
	}
}

static void drop_buffer(struct user *u, struct user_buf *buf)
{
	if (buf->registered) {
		if (nvme_dma_unregister(u->ctrlr, buf->at) != 0)
			fuzz_fail("a region cannot be unregistered");
		free(buf->at);
	} else if (buf->cmb) {
		if (nvme_ctrlr_unmap_cmb(u->ctrlr) != 0)
			fuzz_fail("controller memory cannot be given back");
	} else {
		nvme_dma_free(u->ctrlr, buf->at);
	}
	memset(buf, 0, sizeof(*buf));
}

/* The address that the driver gives must lead the device to the same byte. */
static void check_iova(struct user *u, const struct user_buf *buf)
{
	uint32_t offset = fuzz_below(u->d.in, buf_len(buf));
	size_t len = buf->len - offset, found = len;
	uint64_t iova;

	fuzz_check(nvme_dma_iova(u->ctrlr, buf->at + offset, len, &iova) == 0,
	           "no IOVA for DMA memory");
	while (found != 0 && mapped(&u->d, iova, &found) == buf->at + offset && found < len) {
		iova += found; /* mapped piece by piece */
		offset += (uint32_t)found;
		len -= found;
		found = len;
	}
	fuzz_check(found == len, "the IOVA of DMA memory leads elsewhere");
}

/* What is not right is refused, without harm. */
static void refuse_wrong_memory(struct user *u)
{
	static uint8_t other[2 * HOST_PAGE];
	uint64_t iova;

	nvme_dma_free(u->ctrlr, NULL);
	nvme_dma_free(u->ctrlr, other);
	if (u->buf[0].at != NULL)
		nvme_dma_free(u->ctrlr, u->buf[0].at + 4);
	fuzz_check(nvme_dma_register(u->ctrlr, other + 1, HOST_PAGE) == -EINVAL &&
	                   nvme_dma_register(u->ctrlr, NULL, HOST_PAGE) == -EINVAL &&
	                   nvme_dma_unregister(u->ctrlr, other) == -EINVAL &&
	                   nvme_dma_iova(u->ctrlr, other, 4, &iova) == -EFAULT,
	           "memory that is not DMA memory was taken for it");
	fuzz_check(nvme_detach(NULL) == 0 && nvme_ctrlr_free_io_qpair(NULL) == 0,
	           "NULL is not nothing");
}

static void use_memory(struct user *u)
{
	struct user_buf *buf = &u->buf[fuzz_below(u->d.in, MAX_BUFS)];
	bool own = fuzz_chance(u->d.in, 96);
	size_t len = 1 + fuzz_below(u->d.in, fuzz_chance(u->d.in, 16) ? 0x20000 : 0x3000);

	driver_call(u);
	if (fuzz_chance(u->d.in, 1)) /* enough for a PRP list of several pages */
		len = 0x300000;
	if (fuzz_chance(u->d.in, 8))
		refuse_wrong_memory(u);
	if (buf->at != NULL && fuzz_chance(u->d.in, 64)) {
		check_iova(u, buf);
		(void)nvme_dma_register(u->ctrlr, buf->at, HOST_PAGE); /* a second time: refused */
	} else if (buf->at != NULL && !commands_outstanding(u)) {
		drop_buffer(u, buf);
	} else if (buf->at == NULL && own) {
		len = (len + HOST_PAGE - 1) & ~(size_t)(HOST_PAGE - 1);
		buf->at = (uint8_t *)aligned_alloc(HOST_PAGE, len);
		if (buf->at != NULL && nvme_dma_register(u->ctrlr, buf->at, len) != 0) {
			free(buf->at);
			buf->at = NULL;
		}
	} else if (buf->at == NULL) {
		if (fuzz_chance(u->d.in, 16))
			len = (size_t)fuzz_odd(u->d.in);
		buf->at = (uint8_t *)nvme_dma_alloc(u->ctrlr, len);
	}
	if (buf->len == 0 && buf->at != NULL) {
		buf->len = len;
		buf->registered = own;
	}
	if (buf->at == NULL)
		buf->len = 0;
}

/* A buffer in the controller's memory, or its end. All that is not a ring's is one buffer. */
static void use_cmb(struct user *u)
{
	struct user_buf *buf = &u->buf[fuzz_below(u->d.in, MAX_BUFS)], *other = u->buf;
	struct nvme_cmb_info info;
	uint8_t *at;
	size_t len;

	driver_call(u);
	while (other < u->buf + MAX_BUFS && !other->cmb)
		other++;
	if (fuzz_chance(u->d.in, 32) && nvme_ctrlr_reserve_cmb(u->ctrlr) == 0)
		fuzz_check(nvme_ctrlr_get_cmb(u->ctrlr, &info) == 0 && info.iova != 0,
		           "it is reserved, but it is nowhere");
	at = (uint8_t *)nvme_ctrlr_map_cmb(u->ctrlr, &len);
	fuzz_check(at == NULL ? len == 0
	                      : u->d.cmb.len != 0 && at >= cmb_memory + u->d.cmb.offset &&
	                                at + len == cmb_memory + u->d.cmb.offset + u->d.cmb.len,
	           "%zu bytes at %p are not the controller's memory", len, (void *)at);
	if (at != NULL && other < u->buf + MAX_BUFS) {
		fuzz_check(at == other->at && len == other->len, "it has moved");
	} else if (at != NULL && buf->at == NULL) {
		buf->at = at;
		buf->len = len;
		buf->cmb = true;
	} else if (at != NULL) {
		fuzz_check(nvme_ctrlr_unmap_cmb(u->ctrlr) == 0 &&
		                   nvme_ctrlr_unmap_cmb(u->ctrlr) == -ENOENT,
		           "it is given back once");
	}
}

static void use_accessors(struct user *u)
{
	struct nvme_ctrlr *c = u->ctrlr;
	uint32_t nsid, n = 0, dstrd = u->d.told_dstrd;
	bool cmbs = u->d.told_cmbs;
	bool gone = u->d.reported_gone;

	driver_call(u);
	for (nsid = nvme_ctrlr_get_first_active_ns(c); nsid != 0 && n <= 2048; n++) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(c, nsid);

		fuzz_check(ns != NULL && nvme_ns_get_id(ns) == nsid, "NSID %u is not there", nsid);
		if (ns == NULL)
			break;
		fuzz_check(nvme_ns_get_sector_size(ns) >= 512 &&
		                   nvme_ns_get_extended_sector_size(ns) >=
		                           nvme_ns_get_sector_size(ns),
		           "blocks of %u bytes", nvme_ns_get_sector_size(ns));
		fuzz_check((nvme_ns_get_eui64(ns) == NULL || nvme_ns_get_nguid(ns) != ns->uuid) &&
		                   nvme_ns_get_uuid(ns) != ns->eui64 &&
		                   nvme_ns_get_ctrlr(ns) == c &&
		                   nvme_ns_get_max_nlb(ns, u->qp[0]) <= 65536 &&
		                   nvme_ns_get_data(ns) != NULL &&
		                   nvme_ns_get_num_sectors(ns) != 0 &&
		                   nvme_zns_ns_get_zone_size_sectors(ns) <=
		                           nvme_ns_get_num_sectors(ns) &&
		                   (nvme_zns_ns_get_data(ns) != NULL || ns->refuse != 0) >=
		                           (nvme_ns_get_csi(ns) == NVME_CSI_ZNS) &&
		                   nvme_zns_ctrlr_get_max_zone_append_size(c) <=
		                           nvme_ctrlr_get_max_xfer_size(c),
		           "a namespace makes no sense");
		if (u->ns == NULL || fuzz_chance(u->d.in, 32))
			u->ns = ns;
		nsid = nvme_ctrlr_get_next_active_ns(c, nsid);
	}
	fuzz_check(n <= 2048, "the namespaces do not end");
	fuzz_check(nvme_ctrlr_get_max_xfer_size(c) >= 4096, "max_xfer_size is too small");
	(void)nvme_ctrlr_get_num_io_queues(c);
	(void)nvme_ctrlr_get_data(c);
	(void)nvme_ctrlr_get_dev(c);
	/* the driver hands out what it reads, without looking at it */
	(void)nvme_ctrlr_get_reg_4(c, (uint32_t)fuzz_odd(u->d.in));
	(void)nvme_ctrlr_get_reg_8(c, (uint32_t)fuzz_odd(u->d.in));
	u->d.told_dstrd = dstrd;
	u->d.told_cmbs = cmbs;
	u->d.reported_gone = gone;
}

static void on_event(void *arg, const struct nvme_cpl *cpl)
{
	struct user *u = (struct user *)arg;
	char text[NVME_TEXT_MAX];

	fuzz_check(u == the_user && u->ctrlr->adminq->polling == 1,
	           "an event is told outside of a poll");
	fuzz_check(nvme_format_aer(text, sizeof(text), cpl->cdw0) < (int)sizeof(text),
	           "an event has too long a text");
}

/* Whatever the device makes of its events: what waits has bounds. */
static void use_events(struct user *u)
{
	struct nvme_apst table[NVME_APST_STATES];
	const struct nvme__events *ev;

	driver_call(u);
	if (fuzz_chance(u->d.in, 128)) {
		(void)nvme_ctrlr_register_aer_callback(u->ctrlr,
		                                       fuzz_chance(u->d.in, 32) ? NULL : on_event,
		                                       u);
	} else if (fuzz_chance(u->d.in, 128)) {
		(void)nvme_ctrlr_set_power_state(u->ctrlr, fuzz_below(u->d.in, 40),
		                                 fuzz_below(u->d.in, 9), NULL);
	} else {
		memset(table, 0, sizeof(table));
		fuzz_mutate(u->d.in, table, sizeof(table));
		(void)nvme_ctrlr_set_apst(u->ctrlr, true, table, NULL);
	}
	ev = u->ctrlr->events;
	fuzz_check(ev == NULL || (ev->outstanding <= NVME__AERS && ev->count <= NVME__EVENTS &&
	                          ev->num_more <= NVME__MORE),
	           "too much waits for events");
}

static void use_driver(struct user *u)
{
	static void (*const uses[])(struct user *) = {
		use_queues,           use_queues,      use_polls,  use_polls,  use_submit,
		use_submit,           use_submit,      use_memory, use_memory, use_accessors,
		use_blocking_command, use_blocking_rw, use_zones,  use_cmb,    use_events,
	};
	uint32_t n = fuzz_below(u->d.in, MAX_CALLS);

	use_accessors(u);
	use_memory(u);
	use_queues(u);
	while (n-- > 0 && u->d.in->left != 0)
		uses[fuzz_below(u->d.in, sizeof(uses) / sizeof(uses[0]))](u);
}

/* ---- one input ---- */

static void choose_opts(struct user *u, struct nvme_ctrlr_opts *opts)
{
	static const size_t windows[] = {1, 4096, 65536, 1 << 20, 16 << 20, 0};
	struct fuzz *in = u->d.in;

	memset(opts, 0, sizeof(*opts));
	opts->dev_ops = &u->d.ops;
	opts->log = user_log;
	opts->log_level = fuzz_chance(in, 32) ? NVME_LOG_DEBUG : NVME_LOG_ERROR;
	opts->admin_queue_size = fuzz_chance(in, 128) ? 2 + fuzz_below(in, 8) : 0;
	opts->admin_timeout_ms = opts->io_timeout_ms = u->timeout_ms = 1 + fuzz_below(in, 2000);
	if (fuzz_chance(in, 16)) {
		opts->admin_queue_size = (uint32_t)fuzz_odd(in);
		opts->num_io_queues = (uint32_t)fuzz_odd(in);
		opts->arb_mechanism = fuzz_below(in, 3);
	}
	opts->keep_alive_timeout_ms = fuzz_chance(in, 32) ? (uint32_t)fuzz_odd(in) : 0;
	opts->read_error_log = fuzz_chance(in, 64);
	if (fuzz_chance(in, 32))
		opts->dma_window =
			fuzz_chance(in, 128) ? windows[fuzz_below(in, 6)] : (size_t)fuzz_odd(in);
}

static void detach(struct user *u)
{
	uint32_t i;

	driver_call(u);
	u->d.patience *= 4;
	(void)nvme_detach(u->ctrlr);
	u->ctrlr = NULL;
	for (i = 0; i < u->num_cmds; i++)
		fuzz_check(u->cmd[i].calls == 1,
		           "a callback ran %u times when the controller was detached",
		           u->cmd[i].calls);
	for (i = 0; i < MAX_BUFS; i++) {
		if (u->buf[i].registered)
			free(u->buf[i].at);
	}
}

static void fuzz_one(struct fuzz *in)
{
	struct user *u = (struct user *)calloc(1, sizeof(*u));
	struct nvme_ctrlr_opts opts;

	if (u == NULL)
		return;
	live_blocks = 0;
	device_init(&u->d, in);
	choose_opts(u, &opts);
	format_things(in);
	name_things(in);
	the_user = u;
	driver_call(u);
	if (nvme_attach("0000:00:00.0", &opts, &u->ctrlr) == 0) {
		total.attached++;
		use_driver(u);
		detach(u);
	} else {
		total.refused++;
		fuzz_check(u->ctrlr == NULL, "a failed attach returns a controller");
	}
	the_user = NULL;
	fuzz_check(!u->d.open && u->d.num_maps == 0, "the device is still open, %u DMA mappings",
	           u->d.num_maps);
	fuzz_check(live_blocks == 0, "%" PRIu64 " blocks of memory are left", live_blocks);
	free(u);
}

static void fuzz_summary(void)
{
	printf("%" PRIu64 " attaches succeeded, %" PRIu64 " were refused, %" PRIu64
	       " commands completed",
	       total.attached, total.refused, total.completed);
}

#ifndef NVME_LIBFUZZER
int main(int argc, char **argv)
{
	return fuzz_main(argc, argv, "fuzz_driver", 60000);
}
#endif
