/* SPDX-License-Identifier: MIT
 *
 * A small NVMe controller behind struct nvme_dev_ops, for the unit tests. Its registers are variables,
 * time is virtual and passes whenever somebody looks at the clock, and commands are carried out
 * inside the doorbell write. It is strict: whatever a driver must not do (memory that is not mapped,
 * a doorbell out of range, a PRP that points inside a page) fails the test at once.
 * Include it after nvme.h and cmocka.h.
 */
#ifndef FAKE_CTRLR_H
#define FAKE_CTRLR_H

#define FAKE_NEVER  UINT64_MAX
#define FAKE_QUEUES 20
#define FAKE_RING   8192 /* commands held back, recorded or waiting for room in a CQ */
#define FAKE_MS     UINT64_C(1000000)

enum fake_verdict {
	FAKE_EXEC,   /* carry the command out and complete it */
	FAKE_ANSWER, /* do not carry it out, send the completion as it is */
	FAKE_DROP,   /* no completion, ever */
	FAKE_HOLD    /* keep it until fake_release() */
};

struct fake_sq {
	uint64_t base;
	uint32_t entries, head, tail; /* entries 0: there is no such queue */
	uint16_t cqid;
};

struct fake_cq {
	uint64_t base;
	uint32_t entries, head, tail, rings;
	uint16_t phase;
};

struct fake_cmd {
	uint16_t qid;
	struct nvme_cmd cmd;
};

struct fake_cpl {
	uint16_t qid;
	struct nvme_cpl cpl;
};

struct fake {
	struct nvme_dev_ops ops; /* must be first: it leads back to this structure */

	/* ---- the script: set after fake_init(), before or during a test ---- */
	uint64_t cap;
	uint32_t vs, cc, crto;
	bool rdy, cfs, gone;
	uint64_t up_ms, down_ms, shst_ms; /* how long EN = 1, EN = 0 and a shutdown take */
	unsigned int cfs_enables;         /* so many times EN = 1 ends with CFS */
	bool reset_heals;                 /* ops->reset() sets cfs_enables to 0 */
	uint64_t gone_at_cmd;             /* this command makes the device disappear; 0: none */
	uint64_t gone_at_csts; /* so does this look at CSTS: ends tests that would hang */
	size_t bar0_size;
	struct nvme_iova_range iova[NVME_MAX_IOVA_RANGES];
	unsigned int num_iova;
	unsigned int fail_map; /* this call of dma_map() fails with -ENOMEM; 0: none */
	uint32_t nsq, ncq;     /* queues that are granted */
	uint32_t nn, block;    /* namespaces 1..nn, bytes of a block (with metadata) in RAM disk */
	uint64_t nsze;
	uint8_t mdts;
	enum fake_verdict (*hook)(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
	                          struct nvme_cpl *cpl);
	void (*edit)(struct fake *f, uint32_t cns, uint32_t nsid, void *data); /* identify data */
	void (*on_cq_doorbell)(struct fake *f, uint16_t qid);

	/* ---- what happened ---- */
	uint64_t now, tick; /* ns */
	uint64_t rdy_at, shst_at, csts_reads, cmds, maps, resets, writes, writes_after_gone;
	uint32_t aqa;
	uint64_t asq, acq;
	bool rdy_next, saw_gone, open;
	struct {
		uint64_t iova;
		size_t len;
		uint8_t *at;
	} map[256];
	unsigned int num_maps;
	struct fake_sq sq[FAKE_QUEUES];
	struct fake_cq cq[FAKE_QUEUES];
	struct fake_cmd log[FAKE_RING];  /* command n is at [n % FAKE_RING], from 0 */
	struct fake_cmd held[FAKE_RING]; /* oldest first */
	uint32_t num_held;
	struct fake_cpl late[FAKE_RING]; /* no room in the CQ yet */
	uint32_t num_late;
	struct {
		uint32_t offset, value;
	} reg[64]; /* the last register writes, write n is at [n % 64] */
	uint8_t disk[1 << 20];
	uint8_t data[4096];

	/* the driver's log: lines by level, and the text of the last lines */
	unsigned int lines[6];
	char text[1 << 18];
	size_t text_len;
};

/* ---- memory ---- */

/* How many bytes from iova on lie in one mapping, and where. */
static inline uint8_t *fake_dma(struct fake *f, uint64_t iova, size_t *len)
{
	unsigned int i;

	for (i = 0; i < f->num_maps; i++) {
		uint64_t offset = iova - f->map[i].iova;

		if (offset < f->map[i].len) {
			if (*len > f->map[i].len - offset)
				*len = f->map[i].len - (size_t)offset;
			return f->map[i].at + offset;
		}
	}
	fail_msg("the device was sent to %" PRIx64 "h, which is not mapped", iova);
	return NULL;
}

/* Device to memory (to_host) or back, through as many mappings as it takes. */
static inline void fake_copy(struct fake *f, uint64_t iova, void *data, size_t len, bool to_host)
{
	uint8_t *at = (uint8_t *)data, *mem;
	size_t n;

	for (; len != 0; len -= n, at += n, iova += n) {
		n = len;
		mem = fake_dma(f, iova, &n);
		memcpy(to_host ? mem : at, to_host ? at : mem, n);
	}
}

/* The same for the data of a command: byte by byte as the PRPs say [Base 2.1 §4.3.1]. */
static inline void fake_prp_copy(struct fake *f, const struct nvme_cmd *cmd, void *data, size_t len,
                                 bool to_host)
{
	uint64_t page = UINT64_C(4096) << NVME_GET(f->cc, NVME_CC_MPS), entry = cmd->dptr.prp.prp1,
		 list = 0;
	uint8_t *at = (uint8_t *)data;
	size_t n = (size_t)(page - (entry & (page - 1)));

	assert_int_equal(entry & 3, 0);
	for (;;) {
		n = n < len ? n : len;
		fake_copy(f, entry, at, n, to_host);
		at += n;
		len -= n;
		if (len == 0)
			return;
		n = (size_t)page;
		if (list == 0 && len <= page) {
			entry = cmd->dptr.prp.prp2;
		} else {
			if (list == 0)
				list = cmd->dptr.prp.prp2;
			assert_int_equal(list & 7, 0);
			fake_copy(f, list, &entry, 8, false);
			if (((list + 8) & (page - 1)) == 0 &&
			    len > page) { /* last of its page: a link */
				list = entry;
				assert_int_equal(list & (page - 1), 0);
				fake_copy(f, list, &entry, 8, false);
			}
			list += 8;
		}
		assert_int_equal(entry & (page - 1), 0);
	}
}

/* ---- completions ---- */

static inline void fake_put_cqe(struct fake *f, uint16_t qid, struct nvme_cpl cpl)
{
	struct fake_cq *cq = &f->cq[qid];

	cpl.status = (uint16_t)((cpl.status & ~1u) | cq->phase);
	fake_copy(f, cq->base + cq->tail * sizeof(cpl), &cpl, sizeof(cpl), true);
	if (++cq->tail == cq->entries) {
		cq->tail = 0;
		cq->phase ^= 1;
	}
}

/* Sends a completion with the right phase, or keeps it while the CQ is full. */
static inline void fake_post(struct fake *f, uint16_t qid, const struct nvme_cpl *cpl)
{
	struct fake_cq *cq = &f->cq[qid];

	if ((cq->tail + 1) % cq->entries != cq->head) {
		fake_put_cqe(f, qid, *cpl);
		return;
	}
	assert_true(f->num_late < FAKE_RING);
	f->late[f->num_late].qid = qid;
	f->late[f->num_late++].cpl = *cpl;
}

static inline void fake_post_late(struct fake *f, uint16_t qid)
{
	struct fake_cq *cq = &f->cq[qid];
	uint32_t i, kept = 0;

	for (i = 0; i < f->num_late; i++) {
		if (f->late[i].qid == qid && (cq->tail + 1) % cq->entries != cq->head)
			fake_put_cqe(f, qid, f->late[i].cpl);
		else
			f->late[kept++] = f->late[i];
	}
	f->num_late = kept;
}

/* ---- commands ---- */

static inline void fake_identify(struct fake *f, uint32_t cns, uint32_t nsid, uint8_t *data)
{
	struct nvme_id_ctrlr *ctrlr = (struct nvme_id_ctrlr *)(void *)data;
	struct nvme_id_ns *ns = (struct nvme_id_ns *)(void *)data;
	uint32_t i, n;

	memset(data, 0, 4096);
	if (cns == NVME_ID_CNS_CTRLR) {
		ctrlr->mdts = f->mdts;
		ctrlr->sqes = 0x66;
		ctrlr->cqes = 0x44;
		ctrlr->nn = f->nn;
	} else if (cns == NVME_ID_CNS_NS) {
		ns->nsze = ns->ncap = nsid <= f->nn ? f->nsze : 0;
		ns->lbaf[0].lbads = 9;
		ns->lbaf[1].lbads = 12;
		ns->nlbaf = 1;
		ns->flbas = f->block == 4096;
	} else if (cns == NVME_ID_CNS_ACTIVE_NS_LIST) {
		for (i = 0, n = nsid + 1; i < 1024 && n <= f->nn && n > nsid; i++, n++)
			memcpy(data + 4 * i, &n, 4);
	} else if (cns == NVME_ID_CNS_NS_ID_DESC) {
		data[0] = NVME_NIDT_EUI64;
		data[1] = 8;
		memset(data + 4, (int)(nsid & 0xff), 8);
	}
	if (f->edit != NULL)
		f->edit(f, cns, nsid, data);
}

/* Read or write on the RAM disk, which repeats when the namespace is larger than it is. */
static inline void fake_rw(struct fake *f, const struct nvme_cmd *cmd, struct nvme_cpl *cpl)
{
	uint64_t slba = cmd->cdw10 | (uint64_t)cmd->cdw11 << 32, nlb = (cmd->cdw12 & 0xffff) + 1;
	size_t len = (size_t)nlb * f->block, at = (size_t)(slba * f->block % sizeof(f->disk)), i;
	uint8_t *data;

	if (slba >= f->nsze || nlb > f->nsze - slba) {
		cpl->status = 0x80 << 1; /* LBA out of range */
		return;
	}
	data = (uint8_t *)malloc(len);
	assert_non_null(data);
	if (cmd->opc == NVME_OPC_WRITE)
		fake_prp_copy(f, cmd, data, len, false);
	for (i = 0; i < len; i++) {
		uint8_t *byte = &f->disk[(at + i) % sizeof(f->disk)];

		if (cmd->opc == NVME_OPC_WRITE)
			*byte = data[i];
		else
			data[i] = *byte;
	}
	if (cmd->opc == NVME_OPC_READ)
		fake_prp_copy(f, cmd, data, len, true);
	free(data);
}

/* Status words (SCT and SC, shifted) are those of the specification. */
static inline void fake_create_queue(struct fake *f, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	uint16_t qid = (uint16_t)NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QID);
	uint32_t entries = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QSIZE) + 1;
	uint64_t base = cmd->dptr.prp.prp1;
	uint16_t cqid = (uint16_t)NVME_GET(cmd->cdw11, NVME_CREATE_IO_SQ_CQID);
	bool cq = cmd->opc == NVME_OPC_CREATE_IO_CQ;

	assert_int_equal(cmd->cdw11 & 1, 1); /* contiguous */
	assert_int_equal(base & ((UINT64_C(4096) << NVME_GET(f->cc, NVME_CC_MPS)) - 1), 0);
	if (qid == 0 || qid >= FAKE_QUEUES || (cq ? f->cq[qid].entries : f->sq[qid].entries) != 0) {
		cpl->status = 0x101 << 1; /* invalid queue identifier */
	} else if (entries < 2 || entries > NVME_GET(f->cap, NVME_CAP_MQES) + 1) {
		cpl->status = 0x102 << 1; /* invalid queue size */
	} else if (cq) {
		memset(&f->cq[qid], 0, sizeof(f->cq[qid]));
		f->cq[qid].base = base;
		f->cq[qid].entries = entries;
		f->cq[qid].phase = 1;
	} else if (cqid == 0 || cqid >= FAKE_QUEUES || f->cq[cqid].entries == 0) {
		cpl->status = 0x100 << 1; /* completion queue invalid */
	} else {
		memset(&f->sq[qid], 0, sizeof(f->sq[qid]));
		f->sq[qid].base = base;
		f->sq[qid].entries = entries;
		f->sq[qid].cqid = cqid;
	}
}

static inline void fake_delete_queue(struct fake *f, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	uint32_t qid = NVME_GET(cmd->cdw10, NVME_DELETE_IO_Q_QID), i, kept = 0;
	bool cq = cmd->opc == NVME_OPC_DELETE_IO_CQ;

	if (qid == 0 || qid >= FAKE_QUEUES || (cq ? f->cq[qid].entries : f->sq[qid].entries) == 0) {
		cpl->status = 0x101 << 1;
		return;
	}
	if (!cq) { /* what it holds of this queue is forgotten */
		for (i = 0; i < f->num_held; i++) {
			if (f->held[i].qid != qid)
				f->held[kept++] = f->held[i];
		}
		f->num_held = kept;
		f->sq[qid].entries = 0;
		return;
	}
	for (i = 1; i < FAKE_QUEUES; i++) {
		if (f->sq[i].entries != 0 && f->sq[i].cqid == qid) {
			cpl->status = 0x10c << 1; /* a submission queue still uses it */
			return;
		}
	}
	f->cq[qid].entries = 0;
}

static inline void fake_exec(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                             struct nvme_cpl *cpl)
{
	if (qid != 0) {
		if (cmd->opc == NVME_OPC_READ || cmd->opc == NVME_OPC_WRITE)
			fake_rw(f, cmd, cpl);
		else if (cmd->opc != NVME_OPC_FLUSH)
			cpl->status = 0x01 << 1; /* invalid opcode */
		return;
	}
	switch (cmd->opc) {
	case NVME_OPC_IDENTIFY:
		fake_identify(f, NVME_GET(cmd->cdw10, NVME_IDENTIFY_CNS), cmd->nsid, f->data);
		fake_prp_copy(f, cmd, f->data, sizeof(f->data), true);
		break;
	case NVME_OPC_SET_FEATURES:
		cpl->cdw0 = (f->nsq - 1) | (f->ncq - 1) << 16;
		break;
	case NVME_OPC_CREATE_IO_CQ:
	case NVME_OPC_CREATE_IO_SQ:
		fake_create_queue(f, cmd, cpl);
		break;
	case NVME_OPC_DELETE_IO_CQ:
	case NVME_OPC_DELETE_IO_SQ:
		fake_delete_queue(f, cmd, cpl);
		break;
	default:
		cpl->status = 0x01 << 1;
	}
}

static inline void fake_handle(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                               bool hooked)
{
	enum fake_verdict verdict = FAKE_EXEC;
	struct nvme_cpl cpl;

	memset(&cpl, 0, sizeof(cpl));
	cpl.sqhd = (uint16_t)f->sq[qid].head;
	cpl.sqid = qid;
	cpl.cid = cmd->cid;
	if (hooked && f->hook != NULL)
		verdict = f->hook(f, qid, cmd, &cpl);
	if (verdict == FAKE_HOLD) {
		assert_true(f->num_held < FAKE_RING);
		f->held[f->num_held].qid = qid;
		f->held[f->num_held++].cmd = *cmd;
		return;
	}
	if (verdict == FAKE_EXEC)
		fake_exec(f, qid, cmd, &cpl);
	if (verdict != FAKE_DROP)
		fake_post(f, f->sq[qid].cqid, &cpl);
}

/* Carries out the i-th of the commands that are held back. */
static inline void fake_release(struct fake *f, uint32_t i)
{
	struct fake_cmd cmd = f->held[i];

	assert_true(i < f->num_held);
	memmove(&f->held[i], &f->held[i + 1], (--f->num_held - i) * sizeof(cmd));
	fake_handle(f, cmd.qid, &cmd.cmd, false);
}

/* ---- registers ---- */

static inline struct fake *fake_of(const struct nvme_dev *dev)
{
	return (struct fake *)(uintptr_t)dev->ops;
}

static inline void fake_doorbell(struct fake *f, uint32_t offset, uint32_t value)
{
	uint32_t stride = 4u << NVME_GET(f->cap, NVME_CAP_DSTRD),
		 index = (offset - 0x1000) / stride;
	uint16_t qid = (uint16_t)(index / 2);
	struct nvme_cmd cmd;

	assert_int_equal((offset - 0x1000) % stride, 0);
	assert_true(index / 2 < FAKE_QUEUES);
	if (f->cfs)
		return;
	assert_true(f->rdy);
	if (index % 2 != 0) {
		struct fake_cq *cq = &f->cq[qid];

		assert_true(value < cq->entries);
		cq->head = value;
		cq->rings++;
		fake_post_late(f, qid);
		if (f->on_cq_doorbell != NULL)
			f->on_cq_doorbell(f, qid);
		return;
	}
	assert_true(value < f->sq[qid].entries);
	f->sq[qid].tail = value;
	while (f->sq[qid].head != f->sq[qid].tail) {
		fake_copy(f, f->sq[qid].base + f->sq[qid].head * sizeof(cmd), &cmd, sizeof(cmd),
		          false);
		f->sq[qid].head = (f->sq[qid].head + 1) % f->sq[qid].entries;
		f->log[f->cmds % FAKE_RING].qid = qid;
		f->log[f->cmds % FAKE_RING].cmd = cmd;
		if (++f->cmds == f->gone_at_cmd) {
			f->gone = true;
			return;
		}
		fake_handle(f, qid, &cmd, true);
	}
}

static inline void fake_write_cc(struct fake *f, uint32_t cc)
{
	uint32_t size = f->aqa;

	if (NVME_GET(cc, NVME_CC_EN) != 0 && NVME_GET(f->cc, NVME_CC_EN) == 0) {
		assert_false(f->rdy);
		assert_int_equal((f->asq | f->acq) &
		                         ((UINT64_C(4096) << NVME_GET(cc, NVME_CC_MPS)) - 1),
		                 0);
		assert_true(NVME_GET(cc, NVME_CC_MPS) >= NVME_GET(f->cap, NVME_CAP_MPSMIN));
		memset(f->sq, 0, sizeof(f->sq));
		memset(f->cq, 0, sizeof(f->cq));
		f->num_held = f->num_late = 0;
		f->sq[0].base = f->asq;
		f->sq[0].entries = NVME_GET(size, NVME_AQA_ASQS) + 1;
		f->cq[0].base = f->acq;
		f->cq[0].entries = NVME_GET(size, NVME_AQA_ACQS) + 1;
		f->cq[0].phase = 1;
		f->cfs = f->cfs_enables > 0;
		f->cfs_enables -= f->cfs;
		f->rdy_next = true;
		f->rdy_at =
			f->cfs || f->up_ms == FAKE_NEVER ? FAKE_NEVER : f->now + f->up_ms * FAKE_MS;
	} else if (NVME_GET(cc, NVME_CC_EN) == 0 && NVME_GET(f->cc, NVME_CC_EN) != 0) {
		f->cfs = false;
		f->shst_at = FAKE_NEVER;
		f->rdy_next = false;
		f->rdy_at = f->down_ms == FAKE_NEVER ? FAKE_NEVER : f->now + f->down_ms * FAKE_MS;
	} else if (NVME_GET(cc, NVME_CC_SHN) != 0 && NVME_GET(f->cc, NVME_CC_SHN) == 0) {
		f->shst_at = f->shst_ms == FAKE_NEVER ? FAKE_NEVER : f->now + f->shst_ms * FAKE_MS;
	}
	f->cc = cc;
}

static inline uint32_t fake_read_4(struct nvme_dev *dev, uint32_t offset)
{
	struct fake *f = fake_of(dev);

	if (offset == NVME_REG_CSTS && ++f->csts_reads == f->gone_at_csts)
		f->gone = true;
	if (f->gone) {
		f->saw_gone = f->saw_gone || offset == NVME_REG_CSTS;
		return UINT32_MAX;
	}
	if (f->now >= f->rdy_at)
		f->rdy = f->rdy_next;
	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)f->cap;
	case NVME_REG_CAP + 4:
		return (uint32_t)(f->cap >> 32);
	case NVME_REG_VS:
		return f->vs;
	case NVME_REG_CRTO:
		return f->crto;
	case NVME_REG_CC:
		return f->cc;
	case NVME_REG_CSTS:
		return NVME_SET(f->rdy, NVME_CSTS_RDY) | NVME_SET(f->cfs, NVME_CSTS_CFS) |
		       NVME_SET(NVME_GET(f->cc, NVME_CC_SHN) == 0 ? NVME_CSTS_SHST_NORMAL
		                : f->now >= f->shst_at            ? NVME_CSTS_SHST_COMPLETE
		                                                  : NVME_CSTS_SHST_OCCURRING,
		                NVME_CSTS_SHST);
	default:
		return 0;
	}
}

static inline void fake_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct fake *f = fake_of(dev);

	f->reg[f->writes % 64].offset = offset;
	f->reg[f->writes++ % 64].value = value;
	f->writes_after_gone += f->saw_gone;
	if (f->gone)
		return;
	if (offset >= NVME_REG_DOORBELLS)
		fake_doorbell(f, offset, value);
	else if (offset == NVME_REG_CC)
		fake_write_cc(f, value);
	else
		assert_int_equal(NVME_GET(f->cc, NVME_CC_EN), 0);
	if (offset == NVME_REG_AQA)
		f->aqa = value;
	if (offset == NVME_REG_ASQ)
		f->asq = value;
	if (offset == NVME_REG_ASQ + 4)
		f->asq |= (uint64_t)value << 32;
	if (offset == NVME_REG_ACQ)
		f->acq = value;
	if (offset == NVME_REG_ACQ + 4)
		f->acq |= (uint64_t)value << 32;
}

/* ---- the access table ---- */

static inline int fake_open(struct nvme_dev *dev, const char *addr)
{
	struct fake *f = fake_of(dev);

	(void)addr;
	dev->priv = f;
	dev->page_size = 4096;
	dev->bar0_size = f->bar0_size;
	memcpy(dev->iova, f->iova, sizeof(dev->iova));
	dev->num_iova = f->num_iova;
	f->open = true;
	return 0;
}

static inline void fake_close(struct nvme_dev *dev)
{
	struct fake *f = fake_of(dev);

	assert_true(f->open);
	assert_int_equal(f->num_maps, 0);
	f->open = false;
}

static inline int fake_dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	struct fake *f = fake_of(dev);
	bool inside = false;
	unsigned int i;

	if (++f->maps == f->fail_map)
		return -ENOMEM;
	assert_int_equal((iova | len | (uintptr_t)vaddr) & (dev->page_size - 1), 0);
	assert_true(len != 0 && iova != 0);
	for (i = 0; i < f->num_iova; i++)
		inside = inside || (iova >= f->iova[i].start && iova <= f->iova[i].last &&
		                    len - 1 <= f->iova[i].last - iova);
	assert_true(inside);
	for (i = 0; i < f->num_maps; i++)
		assert_true(iova + len <= f->map[i].iova || f->map[i].iova + f->map[i].len <= iova);
	assert_true(f->num_maps < 256);
	f->map[f->num_maps].iova = iova;
	f->map[f->num_maps].len = len;
	f->map[f->num_maps++].at = (uint8_t *)vaddr;
	return 0;
}

/* Removes whole mappings only, as VFIO's type1v2 does, and not while the controller may use them. */
static inline int fake_dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	struct fake *f = fake_of(dev);
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < f->num_maps;) {
		if (f->map[i].iova >= iova && f->map[i].iova - iova < len) {
			sum += f->map[i].len;
			f->map[i] = f->map[--f->num_maps];
		} else {
			i++;
		}
	}
	assert_int_equal(sum, len);
	return 0;
}

static inline int fake_reset(struct nvme_dev *dev)
{
	struct fake *f = fake_of(dev);

	f->resets++;
	f->cc = 0;
	f->rdy = f->cfs = false;
	f->rdy_at = FAKE_NEVER;
	if (f->reset_heals)
		f->cfs_enables = 0;
	return 0;
}

static inline uint64_t fake_now_ns(struct nvme_dev *dev)
{
	struct fake *f = fake_of(dev);

	return f->now += f->tick;
}

static inline void fake_log(void *arg, enum nvme_log_level level, const char *line)
{
	struct fake *f = (struct fake *)arg;
	size_t len = strlen(line);

	f->lines[level]++;
	if (f->text_len + len + 2 > sizeof(f->text))
		f->text_len = 0; /* the beginning is of no use any more */
	memcpy(f->text + f->text_len, line, len);
	f->text_len += len;
	f->text[f->text_len++] = '\n';
	f->text[f->text_len] = '\0';
}

/* A healthy controller: NVMe 1.4, 1 ms to get ready, MDTS 128 KiB, two namespaces of 512-byte blocks. */
static inline void fake_init(struct fake *f)
{
	static const struct nvme_dev_ops ops = {
		"fake",      fake_open,    fake_close, fake_dma_map, fake_dma_unmap,
		fake_read_4, fake_write_4, fake_reset, fake_now_ns,  NULL,
		NULL,        NULL,         NULL,
	};

	memset(f, 0, sizeof(*f));
	memcpy(&f->ops, &ops, sizeof(ops));
	f->cap = NVME_SET64(1023, NVME_CAP_MQES) | NVME_SET64(1, NVME_CAP_CQR) |
	         NVME_SET64(4, NVME_CAP_TO) | NVME_SET64(NVME_CAP_CSS_NVM, NVME_CAP_CSS);
	f->vs = NVME_VS_SET(1, 4, 0);
	f->up_ms = f->down_ms = f->shst_ms = 1;
	f->rdy_at = f->shst_at = FAKE_NEVER;
	f->bar0_size = 0x4000;
	f->iova[0].last = 0x7fffffffff;
	f->num_iova = 1;
	f->nsq = f->ncq = 8;
	f->nn = 2;
	f->block = 512;
	f->nsze = 2048;
	f->mdts = 5;
	f->tick = FAKE_MS;
}

static inline struct nvme_ctrlr_opts fake_opts(struct fake *f)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = &f->ops;
	opts.log = fake_log;
	opts.log_arg = f;
	opts.log_level = NVME_LOG_INFO;
	opts.admin_timeout_ms = opts.io_timeout_ms = 1000;
	opts.no_ladder = true; /* what is late stays late */
	return opts;
}

static inline struct nvme_ctrlr *fake_attach(struct fake *f)
{
	struct nvme_ctrlr_opts opts = fake_opts(f);
	struct nvme_ctrlr *ctrlr;
	int rc = nvme_attach("fake", &opts, &ctrlr);

	if (rc != 0)
		fail_msg("attach returned %d:\n%s", rc, f->text);
	assert_non_null(ctrlr);
	return ctrlr;
}

static inline struct nvme_qpair *fake_qpair(struct nvme_ctrlr *ctrlr, uint32_t entries)
{
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;

	memset(&opts, 0, sizeof(opts));
	opts.entries = entries;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	return qp;
}

/* How often a text stands in the log. */
static inline unsigned int fake_logged(const struct fake *f, const char *what)
{
	const char *at = f->text;
	unsigned int n = 0;

	while ((at = strstr(at, what)) != NULL) {
		at += strlen(what);
		n++;
	}
	return n;
}

#endif /* FAKE_CTRLR_H */
