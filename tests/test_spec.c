/*
 * Layouts, register fields and codes against the numbers of the specification, written down a
 * second time here as plain numbers, and against values seen on real controllers.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* One line of a figure: bytes first to last of a structure are this field. */
#define BYTES(type, field, first, last)                                             \
	do {                                                                        \
		assert_int_equal(offsetof(type, field), first);                     \
		assert_int_equal(sizeof(((type *)0)->field), (last) - (first) + 1); \
		checked++;                                                          \
	} while (0)

static int checked;

static void test_bits(void **state)
{
	const uint64_t all = UINT64_MAX;

	(void)state;
	assert_true(nvme_bits(all, 63, 0) == all);
	assert_true(nvme_bits(all, 62, 0) == all >> 1);
	assert_true(nvme_bits(all, 63, 63) == 1);
	assert_true(nvme_bits(all, 63, 1) == all >> 1);
	assert_true(nvme_bits(UINT64_C(0x123456789abcdef0), 31, 16) == 0x9abc);
	assert_true(nvme_bits(UINT64_C(0x123456789abcdef0), 3, 0) == 0);
	/* out of range is zero bits, not undefined behaviour */
	assert_true(nvme_bits(all, 64, 64) == 0);
	assert_true(nvme_bits(all, 200, 32) == 0xffffffff);
	assert_true(nvme_bits(all, 3, 4) == 0);
	assert_true(nvme_bits(all, UINT32_MAX, 0) == all);

	assert_true(nvme_field(all, 63, 0) == all);
	assert_true(nvme_field(all, 15, 14) == 0xc000);
	assert_true(nvme_field(5, 63, 63) == UINT64_C(1) << 63); /* cut to the width of the field */
	assert_true(nvme_field(1, 64, 64) == 0);
	for (unsigned lo = 0; lo < 64; lo++) {
		for (unsigned hi = lo; hi < 64; hi++) {
			assert_true(nvme_bits(nvme_field(all, hi, lo), hi, lo) ==
			            nvme_bits(all, hi - lo, 0));
		}
	}
}

static void test_register_offsets(void **state)
{
	(void)state;
	assert_int_equal(NVME_REG_CAP, 0x00);
	assert_int_equal(NVME_REG_VS, 0x08);
	assert_int_equal(NVME_REG_INTMS, 0x0c);
	assert_int_equal(NVME_REG_INTMC, 0x10);
	assert_int_equal(NVME_REG_CC, 0x14);
	assert_int_equal(NVME_REG_CSTS, 0x1c);
	assert_int_equal(NVME_REG_NSSR, 0x20);
	assert_int_equal(NVME_REG_AQA, 0x24);
	assert_int_equal(NVME_REG_ASQ, 0x28);
	assert_int_equal(NVME_REG_ACQ, 0x30);
	assert_int_equal(NVME_REG_CMBLOC, 0x38);
	assert_int_equal(NVME_REG_CMBSZ, 0x3c);
	assert_int_equal(NVME_REG_BPMBL, 0x48);
	assert_int_equal(NVME_REG_CMBMSC, 0x50);
	assert_int_equal(NVME_REG_NSSD, 0x64);
	assert_int_equal(NVME_REG_CRTO, 0x68);
	assert_int_equal(NVME_REG_PMRCAP, 0xe00);
	assert_int_equal(NVME_REG_PMRMSCU, 0xe18);
	assert_int_equal(NVME_REG_DOORBELLS, 0x1000);
}

static void test_doorbells(void **state)
{
	(void)state;
	assert_int_equal(NVME_SQ_TDBL(0, 0), 0x1000);
	assert_int_equal(NVME_CQ_HDBL(0, 0), 0x1004);
	assert_int_equal(NVME_SQ_TDBL(1, 0), 0x1008);
	assert_int_equal(NVME_CQ_HDBL(1, 0), 0x100c);
	assert_int_equal(NVME_CQ_HDBL(64, 0), 0x1000 + 129 * 4);
	/* DSTRD 3: pairs are 64 bytes apart, the completion queue 32 behind the submission queue */
	assert_int_equal(NVME_SQ_TDBL(5, 3), 0x1000 + 5 * 64);
	assert_int_equal(NVME_CQ_HDBL(5, 3), 0x1000 + 5 * 64 + 32);
	assert_int_equal(NVME_SQ_TDBL(65535, 0), 0x1000 + 65535 * 8);
}

static void test_cap(void **state)
{
	const uint64_t qemu = UINT64_C(0x004008200f0107ff);

	(void)state;
	assert_int_equal(NVME_GET(qemu, NVME_CAP_MQES), 2047);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_CQR), 1);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_AMS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_TO), 15);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_DSTRD), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_NSSRS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_CSS), NVME_CAP_CSS_NVM | NVME_CAP_CSS_IOCS);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_BPS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_CPS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_MPSMIN), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_MPSMAX), 4);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_PMRS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_CMBS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_NSSS), 0);
	assert_int_equal(NVME_GET(qemu, NVME_CAP_CRMS), 0);
	assert_true((NVME_SET64(2047, NVME_CAP_MQES) | NVME_SET64(1, NVME_CAP_CQR) |
	             NVME_SET64(15, NVME_CAP_TO) | NVME_SET64(0x41, NVME_CAP_CSS) |
	             NVME_SET64(4, NVME_CAP_MPSMAX)) == qemu);

	assert_int_equal(NVME_GET(UINT64_C(3) << 17, NVME_CAP_AMS), 3);
	assert_int_equal(NVME_GET(UINT64_C(0xa) << 32, NVME_CAP_DSTRD), 0xa);
	assert_int_equal(NVME_GET(UINT64_C(1) << 36, NVME_CAP_NSSRS), 1);
	assert_int_equal(NVME_GET(UINT64_C(1) << 45, NVME_CAP_BPS), 1);
	assert_int_equal(NVME_GET(UINT64_C(2) << 46, NVME_CAP_CPS), 2);
	assert_int_equal(NVME_GET(UINT64_C(0x9) << 48, NVME_CAP_MPSMIN), 9);
	assert_int_equal(NVME_GET(UINT64_C(1) << 56, NVME_CAP_PMRS), 1);
	assert_int_equal(NVME_GET(UINT64_C(1) << 57, NVME_CAP_CMBS), 1);
	assert_int_equal(NVME_GET(UINT64_C(1) << 58, NVME_CAP_NSSS), 1);
	assert_int_equal(NVME_GET(UINT64_C(3) << 59, NVME_CAP_CRMS), 3);
	assert_int_equal(NVME_GET(UINT64_C(1) << 61, NVME_CAP_NSSES), 1);
}

static void test_cc_csts(void **state)
{
	const uint32_t shutdown = 0x464060; /* a normal shutdown request, EN back at 0 */

	(void)state;
	assert_int_equal(NVME_GET(shutdown, NVME_CC_EN), 0);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_CSS), NVME_CC_CSS_IOCS);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_MPS), 0);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_AMS), NVME_CC_AMS_RR);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_SHN), NVME_CC_SHN_NORMAL);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_IOSQES), 6);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_IOCQES), 4);
	assert_int_equal(NVME_GET(shutdown, NVME_CC_CRIME), 0);
	assert_int_equal(NVME_SET(1, NVME_CC_EN) | NVME_SET(6, NVME_CC_IOSQES) |
	                         NVME_SET(4, NVME_CC_IOCQES),
	                 0x460001);
	assert_int_equal(NVME_SET(NVME_CC_SHN_ABRUPT, NVME_CC_SHN), 0x8000);
	assert_int_equal(NVME_SET(7, NVME_CC_CSS), 0x70);
	assert_int_equal(NVME_SET(0xf, NVME_CC_MPS), 0x780);
	assert_int_equal(NVME_SET(0x1f, NVME_CC_MPS), 0x780); /* does not spill into AMS */
	assert_int_equal(NVME_SET(7, NVME_CC_AMS), 0x3800);
	assert_int_equal(NVME_SET(1, NVME_CC_CRIME), 0x1000000);

	assert_int_equal(NVME_GET(0x1, NVME_CSTS_RDY), 1);
	assert_int_equal(NVME_GET(0x2, NVME_CSTS_CFS), 1);
	assert_int_equal(NVME_GET(0x2, NVME_CSTS_RDY), 0);
	assert_int_equal(NVME_GET(0x9, NVME_CSTS_SHST), NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(NVME_SET(NVME_CSTS_SHST_OCCURRING, NVME_CSTS_SHST), 0x4);
	assert_int_equal(NVME_GET(0x10, NVME_CSTS_NSSRO), 1);
	assert_int_equal(NVME_GET(0x20, NVME_CSTS_PP), 1);
	assert_int_equal(NVME_GET(0x40, NVME_CSTS_ST), 1);
}

static void test_other_registers(void **state)
{
	(void)state;
	assert_int_equal(NVME_GET(0x1f001f, NVME_AQA_ASQS), 31);
	assert_int_equal(NVME_GET(0x1f001f, NVME_AQA_ACQS), 31);
	assert_int_equal(NVME_SET(31, NVME_AQA_ASQS) | NVME_SET(31, NVME_AQA_ACQS), 0x1f001f);
	assert_int_equal(NVME_SET(4096, NVME_AQA_ACQS), 0); /* 4095 is the largest */
	assert_int_equal(NVME_GET(0x10400, NVME_VS_MJR), 1);
	assert_int_equal(NVME_GET(0x10400, NVME_VS_MNR), 4);
	assert_int_equal(NVME_GET(0x10203, NVME_VS_TER), 3);
	assert_int_equal(NVME_VS_SET(1, 4, 0), 0x10400);
	assert_true(NVME_GET64(UINT64_C(0xfedcba9876543000), NVME_ASQ_ASQB) ==
	            UINT64_C(0xfedcba9876543));
	assert_true(NVME_GET64(UINT64_MAX, NVME_ACQ_ACQB) == UINT64_MAX >> 12);
	assert_int_equal(NVME_GET(0x12345002, NVME_CMBLOC_BIR), 2);
	assert_int_equal(NVME_GET(0x12345002, NVME_CMBLOC_OFST), 0x12345);
	assert_int_equal(NVME_GET(0x100, NVME_CMBLOC_CQDA), 1);
	assert_int_equal(NVME_GET(0x0000421f, NVME_CMBSZ_SZU), 2);
	assert_int_equal(NVME_GET(0x0000421f, NVME_CMBSZ_SZ), 4);
	assert_int_equal(NVME_GET(0x10, NVME_CMBSZ_WDS), 1);
	assert_int_equal(NVME_GET(0x000a0005, NVME_CRTO_CRWMT), 5);
	assert_int_equal(NVME_GET(0x000a0005, NVME_CRTO_CRIMT), 10);
	assert_memory_equal("eMVN", (&(uint32_t){NVME_NSSR_NSSRC}), 4); /* "NVMe", little-endian */
	assert_memory_equal("lmrN", (&(uint32_t){NVME_NSSD_NORMAL}), 4);
	assert_memory_equal("prbA", (&(uint32_t){NVME_NSSD_ABRUPT}), 4);
}

static void test_command_layout(void **state)
{
	(void)state;
	checked = 0;
	assert_int_equal(sizeof(struct nvme_cmd), 64);
	BYTES(struct nvme_cmd, opc, 0, 0);
	BYTES(struct nvme_cmd, flags, 1, 1);
	BYTES(struct nvme_cmd, cid, 2, 3);
	BYTES(struct nvme_cmd, nsid, 4, 7);
	BYTES(struct nvme_cmd, cdw2, 8, 11);
	BYTES(struct nvme_cmd, cdw3, 12, 15);
	BYTES(struct nvme_cmd, mptr, 16, 23);
	BYTES(struct nvme_cmd, dptr, 24, 39);
	BYTES(struct nvme_cmd, dptr.prp.prp1, 24, 31);
	BYTES(struct nvme_cmd, dptr.prp.prp2, 32, 39);
	BYTES(struct nvme_cmd, dptr.sgl.addr, 24, 31);
	BYTES(struct nvme_cmd, dptr.sgl.len, 32, 35);
	BYTES(struct nvme_cmd, dptr.sgl.id, 39, 39);
	BYTES(struct nvme_cmd, cdw10, 40, 43);
	BYTES(struct nvme_cmd, cdw11, 44, 47);
	BYTES(struct nvme_cmd, cdw12, 48, 51);
	BYTES(struct nvme_cmd, cdw13, 52, 55);
	BYTES(struct nvme_cmd, cdw14, 56, 59);
	BYTES(struct nvme_cmd, cdw15, 60, 63);

	assert_int_equal(sizeof(struct nvme_cpl), 16);
	BYTES(struct nvme_cpl, cdw0, 0, 3);
	BYTES(struct nvme_cpl, cdw1, 4, 7);
	BYTES(struct nvme_cpl, sqhd, 8, 9);
	BYTES(struct nvme_cpl, sqid, 10, 11);
	BYTES(struct nvme_cpl, cid, 12, 13);
	BYTES(struct nvme_cpl, status, 14, 15);
	print_message("queue entries: %d fields\n", checked);
}

static void test_status(void **state)
{
	struct nvme_cpl cpl;

	(void)state;
	/* INVALID QUEUE SIZE (1/02h) with DNR and P set */
	assert_int_equal(NVME_GET(0x8205, NVME_CPL_P), 1);
	assert_int_equal(NVME_GET(0x8205, NVME_CPL_SC), NVME_SC_INVALID_QUEUE_SIZE);
	assert_int_equal(NVME_GET(0x8205, NVME_CPL_SCT), NVME_SCT_COMMAND_SPECIFIC);
	assert_int_equal(NVME_GET(0x8205, NVME_CPL_DNR), 1);
	assert_int_equal(NVME_GET(0x8205, NVME_CPL_M), 0);
	assert_int_equal(NVME_GET(0x4000, NVME_CPL_M), 1);
	assert_int_equal(NVME_GET(0x3000, NVME_CPL_CRD), 3);
	assert_int_equal(NVME_GET(0x0e00, NVME_CPL_SCT), 7);
	assert_int_equal(NVME_GET(0x01fe, NVME_CPL_SC), 0xff);
	assert_int_equal((uint16_t)NVME_SET(0x02, NVME_CPL_SC) |
	                         (uint16_t)NVME_SET(1, NVME_CPL_SCT) |
	                         (uint16_t)NVME_SET(1, NVME_CPL_DNR) |
	                         (uint16_t)NVME_SET(1, NVME_CPL_P),
	                 0x8205);

	memset(&cpl, 0xff, sizeof(cpl));
	assert_true(nvme_cpl_is_error(&cpl));
	for (unsigned status = 0; status < 0x10000; status++) {
		cpl.status = (uint16_t)status;
		assert_int_equal(nvme_cpl_is_error(&cpl), (status & 0x0ffe) != 0);
	}
}

static void test_command_dwords(void **state)
{
	(void)state;
	/* as SPDK's hello_world sends them: queue 1, 256 entries, contiguous, completion queue 1 */
	assert_int_equal(NVME_SET(1, NVME_CREATE_IO_Q_QID) | NVME_SET(255, NVME_CREATE_IO_Q_QSIZE),
	                 0x00ff0001);
	assert_int_equal(NVME_SET(1, NVME_CREATE_IO_CQ_PC), 0x00000001);
	assert_int_equal(NVME_SET(1, NVME_CREATE_IO_SQ_PC) | NVME_SET(1, NVME_CREATE_IO_SQ_CQID),
	                 0x00010001);
	/* as Linux does: 1024 entries, interrupts on vector 2 */
	assert_int_equal(NVME_SET(1, NVME_CREATE_IO_CQ_PC) | NVME_SET(1, NVME_CREATE_IO_CQ_IEN) |
	                         NVME_SET(2, NVME_CREATE_IO_CQ_IV),
	                 0x00020003);
	assert_int_equal(NVME_GET(0x03ff0002, NVME_CREATE_IO_Q_QSIZE), 1023);
	assert_int_equal(NVME_GET(0x03ff0002, NVME_CREATE_IO_Q_QID), 2);
	assert_int_equal(NVME_GET(0x00020003, NVME_CREATE_IO_CQ_IV), 2);
	assert_int_equal(NVME_GET(0x00020003, NVME_CREATE_IO_CQ_IEN), 1);
	assert_int_equal(NVME_SET(3, NVME_CREATE_IO_SQ_QPRIO), 0x6);
	assert_int_equal(NVME_SET(7, NVME_DELETE_IO_Q_QID), 7);
	assert_int_equal(NVME_SET(1, NVME_ABORT_SQID) | NVME_SET(0xbf, NVME_ABORT_CID), 0x00bf0001);
	assert_int_equal(NVME_SET(NVME_ID_CNS_CTRLR, NVME_IDENTIFY_CNS), 1);
	assert_int_equal(NVME_SET(2, NVME_IDENTIFY_CNTID) | NVME_SET(0x13, NVME_IDENTIFY_CNS),
	                 0x00020013);
	assert_int_equal(NVME_SET(NVME_CSI_ZNS, NVME_IDENTIFY_CSI), 0x02000000);
	assert_int_equal(NVME_SET(7, NVME_FEATURES_FID), 7);
	assert_int_equal(NVME_SET(1, NVME_SET_FEATURES_SV), 0x80000000);
	assert_int_equal(NVME_SET(3, NVME_GET_FEATURES_SEL), 0x300);
	/* 003f003fh is QEMU's answer: 64 queues of both kinds */
	assert_int_equal(NVME_GET(0x003f003f, NVME_NUM_QUEUES_NSQ), 63);
	assert_int_equal(NVME_SET(1, NVME_NUM_QUEUES_NCQ) | NVME_SET(1, NVME_NUM_QUEUES_NSQ),
	                 0x10001);
	/* 03ff0005h: page 5, 1024 dwords */
	assert_int_equal(NVME_SET(5, NVME_GET_LOG_PAGE_LID) |
	                         NVME_SET(1023, NVME_GET_LOG_PAGE_NUMDL),
	                 0x03ff0005);
	assert_int_equal(NVME_SET(0x12345678, NVME_GET_LOG_PAGE_NUMDL), 0x56780000);
	assert_int_equal(NVME_SET((0x12345678) >> 16, NVME_GET_LOG_PAGE_NUMDU), 0x1234);
	assert_int_equal(NVME_GET_LOG_PAGE_NUMD(0x56780002, 0x1234), 0x12345678);
	assert_int_equal(NVME_SET(1, NVME_GET_LOG_PAGE_RAE), 0x8000);
	assert_int_equal(NVME_SET(0x7f, NVME_GET_LOG_PAGE_LSP), 0x7f00);
	assert_int_equal(NVME_GET(0x00010100, NVME_AER_TYPE),
	                 0); /* bad doorbell value, error log */
	assert_int_equal(NVME_GET(0x00010100, NVME_AER_INFO), 1);
	assert_int_equal(NVME_GET(0x00010100, NVME_AER_LID), NVME_LOG_PAGE_ERROR);
	assert_int_equal(NVME_SET(7, NVME_RW_NLB) | NVME_SET(1, NVME_RW_FUA) |
	                         NVME_SET(1, NVME_RW_LR),
	                 0xc0000007);
	assert_int_equal(NVME_SET(0xf, NVME_RW_PRINFO), 0x3c000000);
	assert_int_equal(NVME_GET(0xffffffff, NVME_RW_NLB), 0xffff);
	assert_int_equal(NVME_SET(1, NVME_WRITE_ZEROES_DEAC), 0x02000000);
	assert_true(NVME_RW_SLBA(0xffffffffu, 1u) == UINT64_C(0x1ffffffff));
	assert_int_equal(NVME_SET(1, NVME_DSM_AD), 4);
	assert_int_equal(NVME_GET(0x40, NVME_CMD_PSDT), NVME_PSDT_SGL);
	assert_int_equal((uint8_t)NVME_SET(NVME_PSDT_SGL_MPTR, NVME_CMD_PSDT), 0x80);
	assert_int_equal(NVME_GET(0x42, NVME_CMD_FUSE), NVME_FUSE_SECOND);
	assert_int_equal(NVME_GET(NVME_OPC_READ, NVME_OPC_DATA), NVME_OPC_DATA_TO_HOST);
	assert_int_equal(NVME_GET(NVME_OPC_FLUSH, NVME_OPC_DATA), NVME_OPC_DATA_NONE);
	assert_int_equal(NVME_SGL_ID(NVME_SGL_TYPE_LAST_SEGMENT, NVME_SGL_SUBTYPE_OFFSET), 0x31);
	assert_int_equal(NVME_GET(0x4f, NVME_SGL_TYPE), NVME_SGL_TYPE_KEYED_DATA_BLOCK);
	assert_int_equal(NVME_GET(0x4f, NVME_SGL_SUBTYPE), NVME_SGL_SUBTYPE_INVALIDATE_KEY);
}

static void test_identify_ctrlr(void **state)
{
	(void)state;
	checked = 0;
	assert_int_equal(sizeof(struct nvme_id_ctrlr), 4096);
	BYTES(struct nvme_id_ctrlr, vid, 0, 1);
	BYTES(struct nvme_id_ctrlr, ssvid, 2, 3);
	BYTES(struct nvme_id_ctrlr, sn, 4, 23);
	BYTES(struct nvme_id_ctrlr, mn, 24, 63);
	BYTES(struct nvme_id_ctrlr, fr, 64, 71);
	BYTES(struct nvme_id_ctrlr, rab, 72, 72);
	BYTES(struct nvme_id_ctrlr, ieee, 73, 75);
	BYTES(struct nvme_id_ctrlr, cmic, 76, 76);
	BYTES(struct nvme_id_ctrlr, mdts, 77, 77);
	BYTES(struct nvme_id_ctrlr, cntlid, 78, 79);
	BYTES(struct nvme_id_ctrlr, ver, 80, 83);
	BYTES(struct nvme_id_ctrlr, rtd3r, 84, 87);
	BYTES(struct nvme_id_ctrlr, rtd3e, 88, 91);
	BYTES(struct nvme_id_ctrlr, oaes, 92, 95);
	BYTES(struct nvme_id_ctrlr, ctratt, 96, 99);
	BYTES(struct nvme_id_ctrlr, rrls, 100, 101);
	BYTES(struct nvme_id_ctrlr, nssl, 104, 107);
	BYTES(struct nvme_id_ctrlr, plsi, 110, 110);
	BYTES(struct nvme_id_ctrlr, cntrltype, 111, 111);
	BYTES(struct nvme_id_ctrlr, fguid, 112, 127);
	BYTES(struct nvme_id_ctrlr, crdt1, 128, 129);
	BYTES(struct nvme_id_ctrlr, crdt3, 132, 133);
	BYTES(struct nvme_id_ctrlr, crcap, 134, 134);
	BYTES(struct nvme_id_ctrlr, nvmsr, 253, 253);
	BYTES(struct nvme_id_ctrlr, vwci, 254, 254);
	BYTES(struct nvme_id_ctrlr, mec, 255, 255);
	BYTES(struct nvme_id_ctrlr, oacs, 256, 257);
	BYTES(struct nvme_id_ctrlr, acl, 258, 258);
	BYTES(struct nvme_id_ctrlr, aerl, 259, 259);
	BYTES(struct nvme_id_ctrlr, frmw, 260, 260);
	BYTES(struct nvme_id_ctrlr, lpa, 261, 261);
	BYTES(struct nvme_id_ctrlr, elpe, 262, 262);
	BYTES(struct nvme_id_ctrlr, npss, 263, 263);
	BYTES(struct nvme_id_ctrlr, avscc, 264, 264);
	BYTES(struct nvme_id_ctrlr, apsta, 265, 265);
	BYTES(struct nvme_id_ctrlr, wctemp, 266, 267);
	BYTES(struct nvme_id_ctrlr, cctemp, 268, 269);
	BYTES(struct nvme_id_ctrlr, mtfa, 270, 271);
	BYTES(struct nvme_id_ctrlr, hmpre, 272, 275);
	BYTES(struct nvme_id_ctrlr, hmmin, 276, 279);
	BYTES(struct nvme_id_ctrlr, tnvmcap, 280, 295);
	BYTES(struct nvme_id_ctrlr, unvmcap, 296, 311);
	BYTES(struct nvme_id_ctrlr, rpmbs, 312, 315);
	BYTES(struct nvme_id_ctrlr, edstt, 316, 317);
	BYTES(struct nvme_id_ctrlr, dsto, 318, 318);
	BYTES(struct nvme_id_ctrlr, fwug, 319, 319);
	BYTES(struct nvme_id_ctrlr, kas, 320, 321);
	BYTES(struct nvme_id_ctrlr, hctma, 322, 323);
	BYTES(struct nvme_id_ctrlr, mntmt, 324, 325);
	BYTES(struct nvme_id_ctrlr, mxtmt, 326, 327);
	BYTES(struct nvme_id_ctrlr, sanicap, 328, 331);
	BYTES(struct nvme_id_ctrlr, hmminds, 332, 335);
	BYTES(struct nvme_id_ctrlr, hmmaxd, 336, 337);
	BYTES(struct nvme_id_ctrlr, nsetidmax, 338, 339);
	BYTES(struct nvme_id_ctrlr, endgidmax, 340, 341);
	BYTES(struct nvme_id_ctrlr, anatt, 342, 342);
	BYTES(struct nvme_id_ctrlr, anacap, 343, 343);
	BYTES(struct nvme_id_ctrlr, anagrpmax, 344, 347);
	BYTES(struct nvme_id_ctrlr, nanagrpid, 348, 351);
	BYTES(struct nvme_id_ctrlr, pels, 352, 355);
	BYTES(struct nvme_id_ctrlr, domainid, 356, 357);
	BYTES(struct nvme_id_ctrlr, megcap, 368, 383);
	BYTES(struct nvme_id_ctrlr, sqes, 512, 512);
	BYTES(struct nvme_id_ctrlr, cqes, 513, 513);
	BYTES(struct nvme_id_ctrlr, maxcmd, 514, 515);
	BYTES(struct nvme_id_ctrlr, nn, 516, 519);
	BYTES(struct nvme_id_ctrlr, oncs, 520, 521);
	BYTES(struct nvme_id_ctrlr, fuses, 522, 523);
	BYTES(struct nvme_id_ctrlr, fna, 524, 524);
	BYTES(struct nvme_id_ctrlr, vwc, 525, 525);
	BYTES(struct nvme_id_ctrlr, awun, 526, 527);
	BYTES(struct nvme_id_ctrlr, awupf, 528, 529);
	BYTES(struct nvme_id_ctrlr, icsvscc, 530, 530);
	BYTES(struct nvme_id_ctrlr, nwpc, 531, 531);
	BYTES(struct nvme_id_ctrlr, acwu, 532, 533);
	BYTES(struct nvme_id_ctrlr, cdfs, 534, 535);
	BYTES(struct nvme_id_ctrlr, sgls, 536, 539);
	BYTES(struct nvme_id_ctrlr, mnan, 540, 543);
	BYTES(struct nvme_id_ctrlr, maxdna, 544, 559);
	BYTES(struct nvme_id_ctrlr, maxcna, 560, 563);
	BYTES(struct nvme_id_ctrlr, subnqn, 768, 1023);
	BYTES(struct nvme_id_ctrlr, ioccsz, 1792, 1795);
	BYTES(struct nvme_id_ctrlr, iorcsz, 1796, 1799);
	BYTES(struct nvme_id_ctrlr, icdoff, 1800, 1801);
	BYTES(struct nvme_id_ctrlr, fcatt, 1802, 1802);
	BYTES(struct nvme_id_ctrlr, msdbd, 1803, 1803);
	BYTES(struct nvme_id_ctrlr, ofcs, 1804, 1805);
	BYTES(struct nvme_id_ctrlr, psd, 2048, 3071);
	BYTES(struct nvme_id_ctrlr, psd[1], 2080, 2111);
	BYTES(struct nvme_id_ctrlr, vs, 3072, 4095);
	BYTES(struct nvme_psd, mp, 0, 1);
	BYTES(struct nvme_psd, flags, 3, 3);
	BYTES(struct nvme_psd, enlat, 4, 7);
	BYTES(struct nvme_psd, exlat, 8, 11);
	BYTES(struct nvme_psd, rrt, 12, 12);
	BYTES(struct nvme_psd, rwl, 15, 15);
	BYTES(struct nvme_psd, idlp, 16, 17);
	BYTES(struct nvme_psd, ips, 18, 18);
	BYTES(struct nvme_psd, actp, 20, 21);
	BYTES(struct nvme_psd, aps, 22, 22);
	print_message("Identify Controller: %d fields\n", checked);
}

static void test_identify_ns(void **state)
{
	(void)state;
	checked = 0;
	assert_int_equal(sizeof(struct nvme_id_ns), 4096);
	BYTES(struct nvme_id_ns, nsze, 0, 7);
	BYTES(struct nvme_id_ns, ncap, 8, 15);
	BYTES(struct nvme_id_ns, nuse, 16, 23);
	BYTES(struct nvme_id_ns, nsfeat, 24, 24);
	BYTES(struct nvme_id_ns, nlbaf, 25, 25);
	BYTES(struct nvme_id_ns, flbas, 26, 26);
	BYTES(struct nvme_id_ns, mc, 27, 27);
	BYTES(struct nvme_id_ns, dpc, 28, 28);
	BYTES(struct nvme_id_ns, dps, 29, 29);
	BYTES(struct nvme_id_ns, nmic, 30, 30);
	BYTES(struct nvme_id_ns, rescap, 31, 31);
	BYTES(struct nvme_id_ns, fpi, 32, 32);
	BYTES(struct nvme_id_ns, dlfeat, 33, 33);
	BYTES(struct nvme_id_ns, nawun, 34, 35);
	BYTES(struct nvme_id_ns, nacwu, 38, 39);
	BYTES(struct nvme_id_ns, nabspf, 44, 45);
	BYTES(struct nvme_id_ns, noiob, 46, 47);
	BYTES(struct nvme_id_ns, nvmcap, 48, 63);
	BYTES(struct nvme_id_ns, npwg, 64, 65);
	BYTES(struct nvme_id_ns, nows, 72, 73);
	BYTES(struct nvme_id_ns, mssrl, 74, 75);
	BYTES(struct nvme_id_ns, mcl, 76, 79);
	BYTES(struct nvme_id_ns, msrc, 80, 80);
	BYTES(struct nvme_id_ns, anagrpid, 92, 95);
	BYTES(struct nvme_id_ns, nsattr, 99, 99);
	BYTES(struct nvme_id_ns, nvmsetid, 100, 101);
	BYTES(struct nvme_id_ns, endgid, 102, 103);
	BYTES(struct nvme_id_ns, nguid, 104, 119);
	BYTES(struct nvme_id_ns, eui64, 120, 127);
	BYTES(struct nvme_id_ns, lbaf, 128, 383);
	BYTES(struct nvme_id_ns, lbaf[1], 132, 135);
	BYTES(struct nvme_id_ns, vs, 384, 4095);
	BYTES(struct nvme_lbaf, ms, 0, 1);
	BYTES(struct nvme_lbaf, lbads, 2, 2);
	BYTES(struct nvme_lbaf, rp, 3, 3);
	print_message("Identify Namespace: %d fields\n", checked);

	assert_int_equal(NVME_FLBAS_INDEX(0x00), 0);
	assert_int_equal(NVME_FLBAS_INDEX(0x14), 4); /* bit 4 is not part of the index */
	assert_int_equal(NVME_GET(0x14, NVME_FLBAS_EXT), 1);
	assert_int_equal(NVME_FLBAS_INDEX(0x23), 0x13);
	for (unsigned flbas = 0; flbas < 256; flbas++)
		assert_true(NVME_FLBAS_INDEX(flbas) < 64);
	assert_int_equal(sizeof(struct nvme_ns_list), 4096);
	assert_int_equal(sizeof(struct nvme_ns_id_desc), 4);
	assert_int_equal(NVME_GET(0x66, NVME_ID_QES_MIN), 6);
	assert_int_equal(NVME_GET(0x64, NVME_ID_QES_MAX), 6);
}

static void test_log_pages(void **state)
{
	(void)state;
	checked = 0;
	assert_int_equal(sizeof(struct nvme_smart_log), 512);
	BYTES(struct nvme_smart_log, critical_warning, 0, 0);
	BYTES(struct nvme_smart_log, temperature, 1, 2);
	BYTES(struct nvme_smart_log, avsp, 3, 3);
	BYTES(struct nvme_smart_log, avspt, 4, 4);
	BYTES(struct nvme_smart_log, pused, 5, 5);
	BYTES(struct nvme_smart_log, egcws, 6, 6);
	BYTES(struct nvme_smart_log, data_units_read, 32, 47);
	BYTES(struct nvme_smart_log, data_units_written, 48, 63);
	BYTES(struct nvme_smart_log, host_reads, 64, 79);
	BYTES(struct nvme_smart_log, host_writes, 80, 95);
	BYTES(struct nvme_smart_log, busy_time, 96, 111);
	BYTES(struct nvme_smart_log, power_cycles, 112, 127);
	BYTES(struct nvme_smart_log, power_on_hours, 128, 143);
	BYTES(struct nvme_smart_log, unsafe_shutdowns, 144, 159);
	BYTES(struct nvme_smart_log, media_errors, 160, 175);
	BYTES(struct nvme_smart_log, error_log_entries, 176, 191);
	BYTES(struct nvme_smart_log, wctt, 192, 195);
	BYTES(struct nvme_smart_log, cctt, 196, 199);
	BYTES(struct nvme_smart_log, tsen, 200, 215);
	BYTES(struct nvme_smart_log, tmt1tc, 216, 219);
	BYTES(struct nvme_smart_log, tttmt2, 228, 231);

	assert_int_equal(sizeof(struct nvme_error_log_entry), 64);
	BYTES(struct nvme_error_log_entry, ecnt, 0, 7);
	BYTES(struct nvme_error_log_entry, sqid, 8, 9);
	BYTES(struct nvme_error_log_entry, cid, 10, 11);
	BYTES(struct nvme_error_log_entry, sts, 12, 13);
	BYTES(struct nvme_error_log_entry, pel, 14, 15);
	BYTES(struct nvme_error_log_entry, lba, 16, 23);
	BYTES(struct nvme_error_log_entry, nsid, 24, 27);
	BYTES(struct nvme_error_log_entry, vsia, 28, 28);
	BYTES(struct nvme_error_log_entry, trtype, 29, 29);
	BYTES(struct nvme_error_log_entry, csinfo, 32, 39);
	BYTES(struct nvme_error_log_entry, ttsi, 40, 41);

	assert_int_equal(sizeof(struct nvme_fw_slot_log), 512);
	BYTES(struct nvme_fw_slot_log, afi, 0, 0);
	BYTES(struct nvme_fw_slot_log, frs, 8, 63);

	assert_int_equal(sizeof(struct nvme_dsm_range), 16);
	BYTES(struct nvme_dsm_range, cattr, 0, 3);
	BYTES(struct nvme_dsm_range, nlb, 4, 7);
	BYTES(struct nvme_dsm_range, slba, 8, 15);
	print_message("log pages and ranges: %d fields\n", checked);
}

/* Codes that no table of names covers (the others are checked by number in test_text.c). */
static void test_codes(void **state)
{
	(void)state;
	assert_int_equal(NVME_OPC_VERIFY, 0x0c);
	assert_int_equal(NVME_OPC_COPY, 0x19);
	assert_int_equal(NVME_OPC_IO_MANAGEMENT_RECEIVE, 0x12);
	assert_int_equal(NVME_OPC_IO_MANAGEMENT_SEND, 0x1d);
	assert_int_equal(NVME_OPC_ZONE_MANAGEMENT_SEND, 0x79);
	assert_int_equal(NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0x7a);
	assert_int_equal(NVME_OPC_ZONE_APPEND, 0x7d);
	assert_int_equal(NVME_OPC_CAPACITY_MANAGEMENT, 0x20);
	assert_int_equal(NVME_OPC_LOCKDOWN, 0x24);
	assert_int_equal(NVME_FEAT_HOST_BEHAVIOR, 0x16);
	assert_int_equal(NVME_FEAT_IO_COMMAND_SET_PROFILE, 0x19);
	assert_int_equal(NVME_FEAT_NS_WRITE_PROTECTION, 0x84);
	assert_int_equal(NVME_LOG_PAGE_ERROR, 0x01);
	assert_int_equal(NVME_LOG_PAGE_SMART, 0x02);
	assert_int_equal(NVME_LOG_PAGE_FIRMWARE_SLOT, 0x03);
	assert_int_equal(NVME_LOG_PAGE_COMMAND_EFFECTS, 0x05);
	assert_int_equal(NVME_LOG_PAGE_ANA, 0x0c);
	assert_int_equal(NVME_LOG_PAGE_SANITIZE_STATUS, 0x81);
	assert_int_equal(NVME_ID_CNS_NS, 0x00);
	assert_int_equal(NVME_ID_CNS_CTRLR, 0x01);
	assert_int_equal(NVME_ID_CNS_ACTIVE_NS_LIST, 0x02);
	assert_int_equal(NVME_ID_CNS_NS_ID_DESC, 0x03);
	assert_int_equal(NVME_ID_CNS_NS_IOCS, 0x05);
	assert_int_equal(NVME_ID_CNS_CTRLR_IOCS, 0x06);
	assert_int_equal(NVME_ID_CNS_IOCS, 0x1c);
	assert_int_equal(NVME_NIDT_EUI64, 1);
	assert_int_equal(NVME_NIDT_NGUID, 2);
	assert_int_equal(NVME_NIDT_UUID, 3);
	assert_int_equal(NVME_NIDT_CSI, 4);
	assert_int_equal(NVME_SCT_PATH, 3);
	assert_int_equal(NVME_SCT_VENDOR_SPECIFIC, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),           cmocka_unit_test(test_register_offsets),
		cmocka_unit_test(test_doorbells),      cmocka_unit_test(test_cap),
		cmocka_unit_test(test_cc_csts),        cmocka_unit_test(test_other_registers),
		cmocka_unit_test(test_command_layout), cmocka_unit_test(test_status),
		cmocka_unit_test(test_command_dwords), cmocka_unit_test(test_identify_ctrlr),
		cmocka_unit_test(test_identify_ns),    cmocka_unit_test(test_log_pages),
		cmocka_unit_test(test_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
