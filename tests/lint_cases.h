// SPDX-License-Identifier: MIT
/*
 * Mistakes that tests/test_lint.c makes, each with the next thing to it that is none. All begin with
 * an enabled controller that has queue 1 of four entries, whose tail is 2 after six commands.
 */
#ifndef LINT_CASES_H
#define LINT_CASES_H

/* ---- pieces ---- */

static void put_dma(struct trace *t, uint16_t kind, uint64_t iova, uint64_t len)
{
	struct nvme_trace_dma dma = {.vaddr = kind == NVME_TRACE_DMA_MAP, .iova = iova, .len = len};

	put(t, kind, 0, &dma, sizeof(dma));
}

static void put_map(struct trace *t, uint64_t iova, uint64_t len)
{
	put_dma(t, NVME_TRACE_DMA_MAP, iova, len);
}

static void put_unmap(struct trace *t, uint64_t iova, uint64_t len)
{
	put_dma(t, NVME_TRACE_DMA_UNMAP, iova, len);
}

/* A read with the data pointer that the driver recorded: one page, two, or a list of two. */
static void put_prps(struct trace *t, uint16_t cid, struct nvme_trace_prp prp, uint64_t first,
                     uint64_t second)
{
	struct nvme_trace_prp_list part = {.cid = cid, .count = 2, .entry = {first, second}};
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .cid = cid, .nsid = 1, .mptr = 0x90000};

	prp.cid = cid;
	put(t, NVME_TRACE_PRP, 1, &prp, sizeof(prp));
	if (prp.nprp == 3)
		put(t, NVME_TRACE_PRP_LIST, 1, &part, 8 + 2 * 8);
	cmd.dptr.prp.prp1 = prp.prp1;
	cmd.dptr.prp.prp2 = prp.prp2;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

/* Three pages that are not in a row, 0x20000, 0x22000 and 0x25000, from offset 0x800 of the first. */
static void put_list(struct trace *t)
{
	const struct nvme_trace_prp prp = {.prp1 = 0x20800,
	                                   .prp2 = 0x30048,
	                                   .len = 0x2800,
	                                   .nprp = 3};

	put_prps(t, 6, prp, 0x22000, 0x25000);
}

static void put_data(struct trace *t, uint16_t cid, uint64_t iova, uint32_t len)
{
	struct nvme_trace_data data = {.iova = iova, .len = len, .cid = cid, .to_host = 1};

	put(t, NVME_TRACE_DEV_DATA, 1, &data, sizeof(data));
}

/* All that the rules on data need, and correct: the fourth command on queue 1. */
static void put_moved_list(struct trace *t)
{
	const struct nvme_trace_prp prp = {.prp1 = 0x20800,
	                                   .prp2 = 0x30048,
	                                   .len = 0x2800,
	                                   .nprp = 3};

	put_map(t, 0x10000, 0x20000);
	put_map(t, 0x30000, 0x1000);
	put_prps(t, 3, prp, 0x22000, 0x25000);
	put_doorbell(t, 1, 0, 3, 0);
	put_data(t, 3, 0x20800, 0x2800);
	put_cpl(t, 1, 3, 1);
	put_doorbell(t, 1, 1, 3, 0);
}

/* A read of so many blocks without a record of its data pointer. */
static void put_read_at(struct trace *t, uint64_t prp1, uint32_t blocks)
{
	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, blocks - 1, prp1);
}

static void put_one_page(struct trace *t, uint64_t prp1, uint32_t len)
{
	const struct nvme_trace_prp prp = {.prp1 = prp1, .len = len, .nprp = 1};

	put_prps(t, 6, prp, 0, 0);
}

/* A completion that says what it likes, of the seventh command, which was announced. */
static void put_odd_cpl(struct trace *t, uint16_t sqid, uint16_t sqhd)
{
	struct nvme_cpl cpl = {.sqid = sqid, .sqhd = sqhd, .cid = 6};

	put_cmd(t, 1, 6, NVME_OPC_READ, 0, 0, 0, 0x20000);
	put_doorbell(t, 1, 0, 2, 3);
	put(t, NVME_TRACE_CQE, 1, &cpl, sizeof(cpl));
	put_doorbell(t, 1, 1, 2, 3);
}

static void put_reads(struct trace *t, uint16_t from, uint16_t upto)
{
	for (; from < upto; from++)
		put_cmd(t, 1, from, NVME_OPC_READ, 0, 0, 0, 0x20000);
}

/* ---- PRP2 ---- */

static void m_no_prp2(struct trace *t)
{
	put_read_at(t, 0x20000, 9);
}

static void i_no_prp2(struct trace *t)
{
	put_read_at(t, 0x20000, 8);
}

static void m_no_prp2_offset(struct trace *t)
{
	put_read_at(t, 0x20c04, 2);
}

static void i_no_prp2_offset(struct trace *t)
{
	put_read_at(t, 0x20c00, 2);
}

static void m_no_prp2_len(struct trace *t)
{
	put_one_page(t, 0x20e00, 516);
}

static void i_no_prp2_len(struct trace *t)
{
	put_one_page(t, 0x20e00, 512);
}

static void m_no_prp2_identify(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_IDENTIFY, 1, 0, 0, 0x20004);
}

static void i_no_prp2_identify(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_IDENTIFY, 1, 0, 0, 0x20000);
}

/* What moves no data, or other data than blocks, or by an SGL. */
static void i_no_prp2_others(struct trace *t)
{
	struct nvme_cmd cmd = {.opc = NVME_OPC_WRITE, .cid = 8, .nsid = 1, .cdw12 = 99};

	put_cmd(t, 1, 6, NVME_OPC_WRITE_ZEROES, 0, 0, 99, 0x20000);
	put_cmd(t, 1, 7, NVME_OPC_DATASET_MANAGEMENT, 0, 0, 99, 0x20000);
	cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	cmd.dptr.prp.prp1 = 0x20000;
	put(t, NVME_TRACE_SQE, 1, &cmd, sizeof(cmd));
}

static void m_no_prp2_large_page(struct trace *t)
{
	put_disable(t);
	put_again(t, 1);
	put_queue_1(t, 0);
	put_read_at(t, 0x20000, 17);
}

static void i_no_prp2_large_page(struct trace *t)
{
	put_disable(t);
	put_again(t, 1);
	put_queue_1(t, 0);
	put_read_at(t, 0x20000, 16);
}

/* ---- mappings ---- */

static void m_map(struct trace *t)
{
	put_map(t, 0x20000, 0x1000);
	put_read_at(t, 0x21000, 1);
}

static void m_map_before(struct trace *t)
{
	put_map(t, 0x20000, 0x1000);
	put_read_at(t, 0x1f000, 1);
}

static void i_map(struct trace *t)
{
	put_map(t, 0x20000, 0x1000);
	put_map(t, 0x40000, 0x1000);
	put_map(t, 0x1f000, 0x1000);
	put_read_at(t, 0x1f000, 1);
	put_cmd(t, 1, 7, NVME_OPC_READ, 0, 0, 0, 0x20e00);
	put_cmd(t, 1, 8, NVME_OPC_READ, 0, 0, 0, 0x40000);
	put_cmd(t, 0, 9, NVME_OPC_SET_FEATURES, 7, 0, 0, 0);
}

/* Nothing is known to be mapped, so nothing is judged; there is nothing to take away, either. */
static void i_map_none(struct trace *t)
{
	put_unmap(t, 0x20000, 0x1000);
	put_read_at(t, 0x20000, 1);
}

static void m_map_between(struct trace *t)
{
	put_map(t, 0x40000, 0x1000);
	put_map(t, 0x20000, 0x1000);
	put_read_at(t, 0x30000, 1);
}

/* The last byte counts. */
static void m_map_len(struct trace *t)
{
	put_map(t, 0x20000, 0x900);
	put_one_page(t, 0x20800, 0x104);
}

static void i_map_len(struct trace *t)
{
	put_map(t, 0x20000, 0x900);
	put_one_page(t, 0x20800, 0x100);
}

/* A page in two pieces, of which the second is there first. */
static void i_map_pieces(struct trace *t)
{
	put_map(t, 0x20900, 0x700);
	put_map(t, 0x20000, 0x900);
	put_one_page(t, 0x20800, 0x800);
}

static void m_map_prp2(struct trace *t)
{
	const struct nvme_trace_prp prp = {.prp1 = 0x20000, .prp2 = 0x21000, .len = 8192, .nprp = 2};

	put_map(t, 0x20000, 0x1800);
	put_prps(t, 6, prp, 0, 0);
}

static void m_map_list_page(struct trace *t)
{
	put_map(t, 0x20000, 0x6000);
	put_list(t);
}

static void m_map_entry(struct trace *t)
{
	put_map(t, 0x20000, 0x5000);
	put_map(t, 0x30000, 0x1000);
	put_list(t);
}

/* Pieces that touch each other, in any order, and one within another. */
static void i_map_list(struct trace *t)
{
	put_map(t, 0x23000, 0x3000);
	put_map(t, 0x30000, 0x1000);
	put_map(t, 0x20000, 0x3000);
	put_map(t, 0x21000, 0x800);
	put_list(t);
}

static void m_unmap(struct trace *t)
{
	put_map(t, 0x20000, 0x6000);
	put_map(t, 0x30000, 0x1000);
	put_unmap(t, 0x22000, 0x1000);
	put_list(t);
}

/* What stands out of it on either side stays, and what is mapped again is there. */
static void i_unmap(struct trace *t)
{
	put_map(t, 0x20000, 0x6000);
	put_map(t, 0x30000, 0x1000);
	put_unmap(t, 0x21000, 0x1000);
	put_unmap(t, 0x23000, 0x2000);
	put_unmap(t, 0x30800, 0x10000);
	put_map(t, 0x50000, 0x1000);
	put_unmap(t, 0x25000, 0x1000);
	put_map(t, 0x25000, 0x1000);
	put_list(t);
}

static void m_unmap_all(struct trace *t)
{
	put_map(t, 0x20000, 0x6000);
	put_map(t, 0x30000, 0x1000);
	put_map(t, 0x50000, 0x1000);
	put_unmap(t, 0x1f000, 0x12000);
	put_list(t);
}

static void m_map_queue(struct trace *t)
{
	put_map(t, 0x20000, 0x1000);
	put_cmd(t, 0, 9, NVME_OPC_CREATE_IO_CQ, 0x00030002, 1, 0, 0x40000);
}

/* ---- where the controller moved data ---- */

static void m_data(struct trace *t)
{
	put_list(t);
	put_data(t, 6, 0x21000, 512);
}

static void m_data_before(struct trace *t)
{
	put_list(t);
	put_data(t, 6, 0x207fc, 8);
}

static void m_data_long(struct trace *t)
{
	put_list(t);
	put_data(t, 6, 0x20800, 0x2801);
}

static void m_data_end(struct trace *t)
{
	put_list(t);
	put_data(t, 6, 0x25800, 0x801);
}

static void m_data_two(struct trace *t)
{
	const struct nvme_trace_prp prp = {.prp1 = 0x20000,
	                                   .prp2 = 0x22000,
	                                   .len = 0x1800,
	                                   .nprp = 2};

	put_prps(t, 6, prp, 0, 0);
	put_data(t, 6, 0x22000, 0x801);
}

/* All of it, parts of it, metadata, and the data of commands whose pointer is in no record. */
static void i_data(struct trace *t)
{
	put_list(t);
	put_data(t, 6, 0x20800, 0x2800);
	put_data(t, 6, 0x20800, 0x800);
	put_data(t, 6, 0x22000, 0x2000);
	put_data(t, 6, 0x25800, 0x800);
	put_data(t, 6, 0x90000, 0x4000);
	put_data(t, 7, 0x70000, 0x1000);
	put_doorbell(t, 1, 0, 2, 3);
	put_cpl(t, 1, 6, 0);
	put_data(t, 6, 0x70000, 0x1000);
	put_read_at(t, 0x70000, 8);
	put_data(t, 6, 0x70000, 0x1000);
}

/* The pointer of the CID's earlier command is not that of this one. */
static void i_data_later(struct trace *t)
{
	put_list(t);
	put_disable(t);
	put_on(t, 0x460001);
	put_queue_1(t, 0);
	put_read_at(t, 0x70000, 8);
	put_data(t, 6, 0x70000, 0x1000);
}

/* ---- SQHD and SQID ---- */

static void m_sqhd(struct trace *t)
{
	put_odd_cpl(t, 1, 0);
	put_reads(t, 7, 8);
	put_doorbell(t, 1, 0, 3, 0);
	*tail_of(t, 1) = 1;
	put_cpl(t, 1, 7, 0); /* from where is not sure now */
}

static void i_sqhd(struct trace *t)
{
	put_odd_cpl(t, 1, 3);
}

static void m_sqhd_size(struct trace *t)
{
	put_reads(t, 6, 9);
	put_doorbell(t, 1, 0, 2, 1);
	*tail_of(t, 1) = 4;
	put_cpl(t, 1, 6, 0);
}

/* It lags behind, and catches up; two are written then, and one of them announced. */
static void i_sqhd_late(struct trace *t)
{
	put_odd_cpl(t, 1, 2);
	put_reads(t, 7, 9);
	put_doorbell(t, 1, 0, 3, 0);
	put_cpl(t, 1, 7, 0);
}

static void m_sqhd_written(struct trace *t)
{
	put_reads(t, 6, 8);
	put_doorbell(t, 1, 0, 2, 3);
	*tail_of(t, 1) = 0;
	put_cpl(t, 1, 6, 0);
}

/* Doorbells in memory announce more than the trace shows, but nothing that is not written. */
static void i_sqhd_shadow(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_reads(t, 6, 8);
	*tail_of(t, 1) = 0;
	put_cpl(t, 1, 6, 0);
}

static void m_sqhd_shadow(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_reads(t, 6, 8);
	*tail_of(t, 1) = 1;
	put_cpl(t, 1, 6, 0);
}

/* Whether its command has ended with it or not: there is one mistake. */
static void m_sqid(struct trace *t)
{
	put_odd_cpl(t, 2, 3);
	put_reads(t, 6, 7);
	put_doorbell(t, 1, 0, 3, 0);
	put_cpl(t, 1, 6, 0);
}

static void m_sqid_admin(struct trace *t)
{
	put_odd_cpl(t, 0, 3);
	put_cpl(t, 1, 6, 0);
}

/* ---- doorbells ---- */

static void m_no_sq(struct trace *t)
{
	put_doorbell(t, 2, 0, 0, 1);
}

static void m_no_cq(struct trace *t)
{
	put_doorbell(t, 2, 1, 0, 1);
}

/* A CQ of that number is no SQ, and what was refused is none. */
static void m_only_cq(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_CREATE_IO_CQ, 0x00030002, 1);
	put_doorbell(t, 2, 1, 0, 0);
	put_doorbell(t, 2, 0, 0, 1);
}

/* One that was, even if it is gone. */
static void i_was_queue(struct trace *t)
{
	put_delete(t, 2);
	put_doorbell(t, 1, 1, 2, 3);
	put_doorbell(t, 1, 0, 2, 3);
}

static void m_unannounced(struct trace *t)
{
	put_reads(t, 6, 8);
	put_delete(t, 2);
}

static void m_unannounced_one(struct trace *t)
{
	put_reads(t, 6, 8);
	put_doorbell(t, 1, 0, 2, 3);
	put_delete(t, 2);
}

static void i_announced(struct trace *t)
{
	put_reads(t, 6, 8);
	put_doorbell(t, 1, 0, 2, 0);
	put_delete(t, 2);
}

static void m_unannounced_off(struct trace *t)
{
	put_reads(t, 6, 7);
	put_detach(t);
}

static void m_unannounced_detach(struct trace *t)
{
	put_reads(t, 6, 7);
	put(t, NVME_TRACE_DETACH, 0, NULL, 0);
}

/* The trace may just end before the doorbell; a reset drops what was delayed. */
static void i_unannounced_end(struct trace *t)
{
	put_reads(t, 6, 9);
}

static void i_unannounced_reset(struct trace *t)
{
	put_reads(t, 6, 9);
	put_disable(t);
	put_on(t, 0x460001);
	put_queue_1(t, 0);
	put_detach(t);
}

static void i_unannounced_shadow(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0, 0);
	put_reads(t, 6, 8);
	put_delete(t, 3);
}

static void m_unannounced_late(struct trace *t)
{
	put_reads(t, 6, 8);
	put_mark(t, NVME_TRACE_LATE, 1, 6, 500);
	put_delete(t, 2);
}

static void i_unannounced_late(struct trace *t)
{
	put_reads(t, 6, 7);
	put_doorbell(t, 1, 0, 2, 3);
	put_reads(t, 7, 8);
	put_mark(t, NVME_TRACE_LATE, 1, 6, 500);
}

static void m_sq_overrun(struct trace *t)
{
	put_reads(t, 6, 9);
	put_doorbell(t, 1, 0, 2, 1);
	put_reads(t, 9, 11);
}

/* What the driver ended itself was fetched, or not. */
static void i_sq_made_up(struct trace *t)
{
	uint16_t i;

	put_reads(t, 6, 9);
	put_doorbell(t, 1, 0, 2, 1);
	for (i = 6; i < 9; i++)
		put_cpl(t, 1, i, NVME_SC_ABORTED_SQ_DELETION << 1);
	put_reads(t, 9, 10);
}

/* More are outstanding than the ring holds, but the controller has fetched some. */
static void i_sq_overrun(struct trace *t)
{
	put_reads(t, 6, 9);
	put_doorbell(t, 1, 0, 2, 1);
	put_cpl(t, 1, 8, 0);
	put_reads(t, 9, 12);
	put_doorbell(t, 1, 0, 1, 0);
}

/* ---- queues ---- */

static void m_cq_first(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_DELETE_IO_CQ, 1, 0);
}

/* The other SQ that completes there. */
static void m_cq_shared(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_CREATE_IO_SQ, 0x00030002, 0x00010001);
	put_admin(t, 3, NVME_OPC_DELETE_IO_SQ, 1, 0);
	put_admin(t, 4, NVME_OPC_DELETE_IO_CQ, 1, 0);
}

/* The deletion of the SQ is under way; another CQ; and an SQ that was never made. */
static void i_cq_last(struct trace *t)
{
	put_admin(t, 2, NVME_OPC_CREATE_IO_CQ, 0x00030002, 1);
	put_admin(t, 3, NVME_OPC_DELETE_IO_CQ, 2, 0);
	put_cmd(t, 0, 1, NVME_OPC_DELETE_IO_SQ, 1, 0, 0, 0);
	put_cmd(t, 0, 2, NVME_OPC_DELETE_IO_CQ, 1, 0, 0, 0);
}

static void m_qsize_cq(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_CREATE_IO_CQ, 0x08000002, 1, 0, 0x10000);
}

static void m_qsize_sq(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_CREATE_IO_SQ, 0x08000002, 0x00010001, 0, 0x10000);
}

static void i_qsize(struct trace *t)
{
	put_cmd(t, 0, 9, NVME_OPC_CREATE_IO_CQ, 0x07ff0002, 1, 0, 0x10000);
	put_cmd(t, 0, 8, NVME_OPC_CREATE_IO_SQ, 0x07ff0002, 0x00010001, 0, 0x10000);
}

static void m_iosqes(struct trace *t)
{
	put_disable(t);
	put_on(t, 0x400001);
	put_queue_1(t, 0);
}

static void m_iocqes(struct trace *t)
{
	put_disable(t);
	put_on(t, 0x060001);
	put_queue_1(t, 0);
}

/* Both sizes may be set later than CC.EN; after a reset of the function they are not known. */
static void i_entry_sizes(struct trace *t)
{
	put_disable(t);
	put_on(t, 0x000001);
	put_reg(t, NVME_REG_CC, 0x460001);
	put_queue_1(t, 0);
	put_disable(t);
	put_on(t, 0x000001);
	put_reg(t, NVME_REG_AQA, 0x001f001f);
	put_queue_1(t, 0);
}

static const struct made more_cases[] = {
	{"no PRP2", "queue 1: no PRP2: cid:6 moves 4608 bytes or more from 0x20000 on", m_no_prp2},
	{"a page", NULL, i_no_prp2},
	{"no PRP2, offset", "no PRP2: cid:6 moves 1024 bytes or more from 0x20c04",
         m_no_prp2_offset},
	{"up to the end of the page", NULL, i_no_prp2_offset},
	{"no PRP2, len", "no PRP2: cid:6 moves 516 bytes or more from 0x20e00", m_no_prp2_len},
	{"len up to the end of the page", NULL, i_no_prp2_len},
	{"Identify", "queue 0: no PRP2: cid:9 moves 4096 bytes or more", m_no_prp2_identify},
	{"Identify in a page", NULL, i_no_prp2_identify},
	{"no PRP2 needed", NULL, i_no_prp2_others},
	{"large page", "no PRP2: cid:6 moves 8704 bytes", m_no_prp2_large_page},
	{"in a large page", NULL, i_no_prp2_large_page},

	{"map", "queue 1: PRP outside of the mappings: PRP1 0x21000 of cid:6 is not mapped", m_map},
	{"before the map", "PRP1 0x1f000 of cid:6 is not mapped", m_map_before},
	{"between maps", "PRP1 0x30000 of cid:6 is not mapped", m_map_between},
	{"in the maps", NULL, i_map},
	{"no maps", NULL, i_map_none},
	{"over the end of the map", "PRP1 0x20800 of cid:6 is not mapped", m_map_len},
	{"up to the end of the map", NULL, i_map_len},
	{"page in two pieces", NULL, i_map_pieces},
	{"half of PRP2", "PRP2 0x21000 of cid:6 is not mapped", m_map_prp2},
	{"the list itself", "PRP2 (PRP list) 0x30048 of cid:6 is not mapped", m_map_list_page},
	{"entry of the list", "an entry of the list, 0x25000 of cid:6 is not", m_map_entry},
	{"list in the maps", NULL, i_map_list},
	{"unmapped", "an entry of the list, 0x22000 of cid:6 is not mapped", m_unmap},
	{"others unmapped", NULL, i_unmap},
	{"all but one unmapped", "PRP2 (PRP list) 0x30048 of cid:6 is not mapped", m_unmap_all},
	{"queue not mapped", "queue 0: PRP outside of the mappings: PRP1 0x40000", m_map_queue},

	{"data", "queue 1: data outside of the PRPs: the controller wrote 512 bytes to 0x21000 ",
         m_data},
	{"data before", "8 bytes to 0x207fc for cid:6, whose PRPs have 0 bytes", m_data_before},
	{"data too long", "to 0x20800 for cid:6, whose PRPs have 10240 bytes", m_data_long},
	{"data over the end", "to 0x25800 for cid:6, whose PRPs have 2048 bytes", m_data_end},
	{"data of two pages", "to 0x22000 for cid:6, whose PRPs have 2048 bytes", m_data_two},
	{"data inside", NULL, i_data},
	{"data of a later command", NULL, i_data_later},

	{"SQHD",
         "queue 1: SQ head beyond the tail: cid:6 has sqhd 0, behind 2 there were 1 commands announced",
         m_sqhd},
	{"SQHD too large", "cid:6 has sqhd 4, behind 2", m_sqhd_size},
	{"SQHD good", NULL, i_sqhd},
	{"SQHD late", NULL, i_sqhd_late},
	{"SQHD not announced", "cid:6 has sqhd 0, behind 2 there were 1 commands", m_sqhd_written},
	{"SQHD, shadow", NULL, i_sqhd_shadow},
	{"SQHD not written", "cid:6 has sqhd 1, behind 2 there were 2 commands written",
         m_sqhd_shadow},
	{"SQID", "queue 1: foreign SQID: cid:6 is said to be of SQ 2, which does not", m_sqid},
	{"SQID 0, and a second end", "foreign SQID: cid:6 is said to be of SQ 0", m_sqid_admin},

	{"no SQ", "queue 2: doorbell of no queue: tail 1, but there never was an SQ 2", m_no_sq},
	{"no CQ", "queue 2: doorbell of no queue: head 1, but there never was a CQ 2", m_no_cq},
	{"only a CQ", "doorbell of no queue: tail 1, but there never was an SQ 2", m_only_cq},
	{"queue that was", NULL, i_was_queue},
	{"unannounced", "queue 1: SQ tail never rung: 2 commands were written and not announced",
         m_unannounced},
	{"unannounced, one", "SQ tail never rung: 1 commands were written", m_unannounced_one},
	{"announced", NULL, i_announced},
	{"unannounced, shut down", "SQ tail never rung: 1 commands", m_unannounced_off},
	{"unannounced, detach", "SQ tail never rung: 1 commands", m_unannounced_detach},
	{"unannounced, end of trace", NULL, i_unannounced_end},
	{"unannounced, reset", NULL, i_unannounced_reset},
	{"unannounced, shadow", NULL, i_unannounced_shadow},
	{"unannounced, late",
         "SQ tail never rung: 2 commands were written and not announced when the first",
         m_unannounced_late},
	{"announced, late", NULL, i_unannounced_late},
	{"SQ overrun", "queue 1: SQ overrun: cid:9 is written while 3 commands", m_sq_overrun},
	{"SQ full", NULL, i_sq_overrun},
	{"SQ, made up", NULL, i_sq_made_up},

	{"CQ first", "queue 0: CQ 1 deleted before its SQ: SQ 1 completes there", m_cq_first},
	{"CQ of two", "CQ 1 deleted before its SQ: SQ 2 completes there", m_cq_shared},
	{"CQ last", NULL, i_cq_last},
	{"CQ too large", "queue too large: CQ 2 with 2049 entries, the controller has 2048",
         m_qsize_cq},
	{"SQ too large", "queue too large: SQ 2 with 2049 entries", m_qsize_sq},
	{"as large as can be", NULL, i_qsize},
	{"IOSQES", "no size of entries: SQ 1 is created while CC.IOSQES is 0, not 6", m_iosqes},
	{"IOCQES", "no size of entries: CQ 1 is created while CC.IOCQES is 0, not 4", m_iocqes},
	{"entry sizes", NULL, i_entry_sizes},
};

#endif /* LINT_CASES_H */
