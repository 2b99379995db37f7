// SPDX-License-Identifier: MIT
/*
 * What the outputs share that judge a trace instead of printing it.
 */
#ifndef ANALYSIS_H
#define ANALYSIS_H

#include <stdarg.h>
#include "nvtrace.h"

/* A queue of a controller as one number; sources without a controller have controller 0. */
static inline uint64_t queue_key(const struct rec *r)
{
	return (uint64_t)((r->has & HAS_CTRLR) != 0 ? r->ctrlr : 0) << 16 | r->qid;
}

static inline uint32_t key_ctrlr(uint64_t key)
{
	return (uint32_t)(key >> 16);
}

static inline uint16_t key_qid(uint64_t key)
{
	return (uint16_t)(key & 0xffff);
}

/* Appends to a buffer and says nothing when it is full. */
static inline void __attribute__((format(printf, 3, 4)))
text_add(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

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
	case 0x0c: /* Verify */
	case 0x7d: /* Zone Append */
		return true;
	default:
		return false;
	}
}

static inline bool cmd_lba(uint16_t qid, const struct nvme_cmd *cmd, uint32_t have, uint64_t *lba)
{
	const uint32_t need = HAVE_DW(10) | HAVE_DW(11);

	if (!cmd_has_range(qid, cmd, have) || (have & need) != need)
		return false;
	*lba = (uint64_t)cmd->cdw11 << 32 | cmd->cdw10;
	return true;
}

/* Number of blocks, 1-based. */
static inline bool cmd_blocks(uint16_t qid, const struct nvme_cmd *cmd, uint32_t have,
                              uint32_t *blocks)
{
	if (!cmd_has_range(qid, cmd, have) || (have & (HAVE_DW(12) | HAVE_NLB)) == 0)
		return false;
	*blocks = (cmd->cdw12 & 0xffff) + 1;
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

/* "830 ns", "12.3 us", "4.56 ms", "1.23 s" */
static inline void format_ns(char *buf, size_t size, uint64_t ns)
{
	double v = (double)ns;

	if (ns < 1000)
		snprintf(buf, size, "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		snprintf(buf, size, "%.*f us", ns < 100000 ? 2 : 1, v / 1e3);
	else if (ns < UINT64_C(1000000000))
		snprintf(buf, size, "%.*f ms", ns < 100000000 ? 2 : 1, v / 1e6);
	else
		snprintf(buf, size, "%.3f s", v / 1e9);
}

/* ---- the data pointer of the command that follows, one for each queue ---- */

#define PRP_PENDING 256

struct prp_pending {
	struct {
		uint64_t key;
		uint32_t len, nprp;
		uint16_t cid;
		bool used;
	} slot[PRP_PENDING];
};

static inline void prp_pending_put(struct prp_pending *p, const struct rec *r)
{
	uint64_t key = queue_key(r);
	size_t i = (size_t)((key ^ key >> 16) % PRP_PENDING);

	p->slot[i].key = key;
	p->slot[i].cid = r->prp.cid;
	p->slot[i].len = r->prp.len;
	p->slot[i].nprp = r->prp.nprp;
	p->slot[i].used = true;
}

/* How many bytes the command that was just submitted moves; false: its PRPs were not recorded. */
static inline bool prp_pending_take(struct prp_pending *p, const struct rec *r, uint32_t *len,
                                    uint32_t *nprp)
{
	uint64_t key = queue_key(r);
	size_t i = (size_t)((key ^ key >> 16) % PRP_PENDING);

	if (!p->slot[i].used || p->slot[i].key != key || p->slot[i].cid != r->cmd.cid)
		return false;
	p->slot[i].used = false;
	*len = p->slot[i].len;
	*nprp = p->slot[i].nprp;
	return true;
}

/* ---- a string that came from a source, in JSON inside of HTML ---- */

/* Only ASCII leaves here, and nothing of it can end a script element or a string. */
static inline void put_json_string(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', out);
	for (; *p != '\0'; p++)
		if (*p < 0x20 || *p >= 0x7f || strchr("\"\\<>&'", *p) != NULL)
			fprintf(out, "\\u%04x", (unsigned)*p);
		else
			fputc(*p, out);
	fputc('"', out);
}

/* The same in the text of an XML element or attribute. */
static inline void put_xml(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	for (; *p != '\0'; p++)
		if (strchr("\"'<>&", *p) != NULL)
			fprintf(out, "&#%u;", (unsigned)*p);
		else
			fputc(*p < 0x20 || *p >= 0x7f ? '?' : *p, out);
}

#endif /* ANALYSIS_H */
