// SPDX-License-Identifier: MIT
/*
 * What a command does, for all who judge commands: which blocks it names, what it is called, and how
 * it ended.
 */
#ifndef NVTRACE_CMD_H
#define NVTRACE_CMD_H

#include "fields.h"
#include "words.h"

/* The commands of the NVM command set that name a range: SLBA in CDW10 and 11, NLB in CDW12. */
static inline bool cmd_has_range(uint16_t qid, const struct nvme_cmd *cmd, uint32_t have)
{
	if (qid == 0 || (have & HAVE_OPC) == 0)
		return false;
	switch (cmd->opc) {
	case NVME_OPC_WRITE:
	case NVME_OPC_READ:
	case NVME_OPC_WRITE_UNCORRECTABLE:
	case NVME_OPC_COMPARE:
	case NVME_OPC_WRITE_ZEROES:
	case NVME_OPC_VERIFY:
	case NVME_OPC_ZONE_APPEND:
		return true;
	default:
		return false;
	}
}

/* The block that a command names first: SLBA, the SDLBA of Copy, or where a zone begins. */
static inline bool cmd_lba(uint16_t qid, const struct nvme_cmd *cmd, uint32_t have, uint64_t *lba)
{
	const uint32_t need = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	bool named = cmd_has_range(qid, cmd, have) ||
	             (qid != 0 &&
	              (cmd->opc == NVME_OPC_COPY || cmd->opc == NVME_OPC_ZONE_MANAGEMENT_SEND ||
	               cmd->opc == NVME_OPC_ZONE_MANAGEMENT_RECEIVE));

	*lba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	return named && (have & need) == need;
}

/* Number of blocks, 1-based. */
static inline bool cmd_blocks(uint16_t qid, const struct nvme_cmd *cmd, uint32_t have,
                              uint32_t *blocks)
{
	if (!cmd_has_range(qid, cmd, have) || (have & (HAVE_DW(12) | HAVE_NLB)) == 0)
		return false;
	*blocks = NVME_GET(cmd->cdw12, NVME_RW_NLB) + 1;
	return true;
}

/* "READ", or "IO COMMAND (7dh)" where the name alone would say nothing. */
static inline void cmd_name(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd,
                            uint32_t have)
{
	const char *name;

	if ((have & HAVE_OPC) == 0) {
		snprintf(buf, size, "unknown");
		return;
	}
	name = nvme_opc_name(qid, cmd->opc);
	if (strstr(name, "COMMAND") != NULL)
		snprintf(buf, size, "%s (%02xh)", name, (unsigned)cmd->opc);
	else
		snprintf(buf, size, "%s", name);
}

/* A command in the words of the log, without its addresses, as far as the source tells. */
static inline void cmd_describe(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd,
                                uint32_t have)
{
	uint32_t blocks;
	uint64_t lba;
	unsigned dw;

	cmd_name(buf, size, qid, cmd, have);
	text_add(buf, size, " %s:%u cid:%u", qid == 0 ? "qid" : "sqid", (unsigned)qid,
	         (unsigned)cmd->cid);
	if ((have & HAVE_NSID) != 0)
		text_add(buf, size, " nsid:%" PRIu32, cmd->nsid);
	if (cmd_has_range(qid, cmd, have)) {
		if (cmd_lba(qid, cmd, have, &lba))
			text_add(buf, size, " lba:%" PRIu64, lba);
		if (cmd_blocks(qid, cmd, have, &blocks))
			text_add(buf, size, " len:%" PRIu32, blocks);
		return;
	}
	for (dw = 10; dw < 16; dw++)
		if ((have & HAVE_DW(dw)) != 0 && (dw < 12 || cmd_dword(cmd, dw) != 0) &&
		    (qid == 0 || cmd_dword(cmd, dw) != 0))
			text_add(buf, size, " cdw%u:%08" PRIx32, dw, cmd_dword(cmd, dw));
}

static inline uint8_t cpl_sct(const struct nvme_cpl *cpl)
{
	return (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT);
}

static inline uint8_t cpl_sc(const struct nvme_cpl *cpl)
{
	return (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC);
}

static inline bool rec_is_error(const struct rec *r)
{
	return (r->has & HAS_STATUS) != 0 && (cpl_sct(&r->cpl) != 0 || cpl_sc(&r->cpl) != 0);
}

/* "SUCCESS (00/00)" */
static inline void cpl_describe(char *buf, size_t size, const struct rec *r)
{
	if ((r->has & HAS_STATUS) != 0)
		snprintf(buf, size, "%s (%02x/%02x)",
		         nvme_status_name(cpl_sct(&r->cpl), cpl_sc(&r->cpl)),
		         (unsigned)cpl_sct(&r->cpl), (unsigned)cpl_sc(&r->cpl));
	else
		snprintf(buf, size, "completed");
}

#endif /* NVTRACE_CMD_H */
