// SPDX-License-Identifier: MIT
/*
 * The message of a command or completion, in the words of two generations of SPDK, and of records
 * of which only a part is known.
 *
 * The style v26 (SPDK 25.09 and later) prints the opcode and NSID of admin commands in decimal,
 * NSIDs of I/O commands without a sign, DW0 of completions with eight digits, and has names of its
 * own for the command specific status codes of Fabrics commands.
 */
#include "words.h"

/* Text that grows; len is what it would be if there were room, as with snprintf. */
struct text {
	char *buf;
	size_t size, len;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	size_t at = t->len < t->size ? t->len : t->size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->size > at ? t->buf + at : NULL, t->size - at, fmt, ap);
	va_end(ap);
	t->len += n > 0 ? (size_t)n : 0;
}

static bool is_admin(uint16_t qid, uint8_t opc)
{
	return qid == 0 || opc == NVME_OPC_FABRIC;
}

/* ---- what is known of a record ---- */

static bool have(const struct rec *rec, uint32_t what)
{
	return (rec->cmd_have & what) == what;
}

/*
 * The data pointer is printed only when all of it is known, or PRP1 at least. Of a command without
 * data it is known to be empty, and only the blank before it remains.
 */
static void add_dptr(struct text *t, const struct rec *rec)
{
	char text[160];

	if (NVME_GET(rec->cmd.opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE) {
		add(t, " ");
	} else if (have(rec, HAVE_DPTR1 | HAVE_DPTR2)) {
		format_dptr(text, sizeof(text), &rec->cmd);
		add(t, " %s", text);
	} else if (have(rec, HAVE_DPTR1) &&
	           NVME_GET(rec->cmd.flags, NVME_CMD_PSDT) == NVME_PSDT_PRP) {
		add(t, " PRP1 0x%" PRIx64, rec->cmd.dptr.prp.prp1);
	}
}

static void add_cid(struct text *t, const struct rec *rec)
{
	if (have(rec, HAVE_OPC))
		add(t, " cid:%u", (unsigned)rec->cmd.cid);
}

static void add_admin_cmd(struct text *t, int style, const struct rec *rec)
{
	const struct nvme_cmd *cmd = &rec->cmd;
	bool v26 = style == STYLE_V26;

	add(t, "%s", nvme_opc_name(rec->qid, cmd->opc));
	if (cmd->opc == NVME_OPC_SET_FEATURES || cmd->opc == NVME_OPC_GET_FEATURES) {
		if (have(rec, HAVE_DW(10)))
			add(t, " %s",
			    nvme_feat_name((uint8_t)NVME_GET(cmd->cdw10, NVME_FEATURES_FID)));
		add_cid(t, rec);
		if (have(rec, HAVE_DW(10)))
			add(t, " cdw10:%08" PRIx32, cmd->cdw10);
		add_dptr(t, rec);
		return;
	}
	if (cmd->opc == NVME_OPC_FABRIC) {
		if (have(rec, HAVE_NSID))
			add(t, " %s", nvme_fabrics_name((uint8_t)(cmd->nsid & 0xff)));
		add(t, " qid:%u", (unsigned)rec->qid);
		add_cid(t, rec);
		add_dptr(t, rec);
		return;
	}
	add(t, v26 ? " (%02u) qid:%u" : " (%02x) qid:%u", (unsigned)cmd->opc, (unsigned)rec->qid);
	add_cid(t, rec);
	if (have(rec, HAVE_NSID))
		add(t, v26 ? " nsid:%" PRIu32 : " nsid:%" PRIx32, cmd->nsid);
	if (have(rec, HAVE_DW(10)))
		add(t, " cdw10:%08" PRIx32, cmd->cdw10);
	if (have(rec, HAVE_DW(11)))
		add(t, " cdw11:%08" PRIx32, cmd->cdw11);
	add_dptr(t, rec);
}

static bool has_lba(uint8_t opc)
{
	return opc == NVME_OPC_WRITE || opc == NVME_OPC_READ ||
	       opc == NVME_OPC_WRITE_UNCORRECTABLE || opc == NVME_OPC_COMPARE;
}

static void add_io_cmd(struct text *t, int style, const struct rec *rec)
{
	const struct nvme_cmd *cmd = &rec->cmd;

	add(t, "%s", nvme_opc_name(rec->qid, cmd->opc));
	if (!has_lba(cmd->opc) && cmd->opc != NVME_OPC_FLUSH &&
	    cmd->opc != NVME_OPC_DATASET_MANAGEMENT)
		add(t, " (%02x)", (unsigned)cmd->opc);
	add(t, " sqid:%u", (unsigned)rec->qid);
	add_cid(t, rec);
	if (have(rec, HAVE_NSID) && style == STYLE_V26)
		add(t, " nsid:%" PRIu32, cmd->nsid);
	else if (have(rec, HAVE_NSID))
		add(t, " nsid:%" PRId32, (int32_t)cmd->nsid);
	if (!has_lba(cmd->opc))
		return;
	if (have(rec, HAVE_DW(10) | HAVE_DW(11)))
		add(t, " lba:%" PRIu64, NVME_RW_SLBA(cmd->cdw10, cmd->cdw11));
	if (have(rec, HAVE_DW(12)) || have(rec, HAVE_NLB))
		add(t, " len:%" PRIu32, NVME_GET(cmd->cdw12, NVME_RW_NLB) + 1);
	add_dptr(t, rec);
}

static void add_cpl(struct text *t, int style, const struct rec *rec)
{
	const struct nvme_cpl *cpl = &rec->cpl;
	uint8_t sct = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT),
		sc = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC);
	bool fabrics = style == STYLE_V26 && sct == NVME_SCT_COMMAND_SPECIFIC &&
	               (rec->of_have & HAVE_OPC) && rec->of.opc == NVME_OPC_FABRIC;

	if (rec->has & HAS_STATUS)
		add(t, "%s (%02x/%02x)",
		    fabrics ? nvme_fabrics_status_name(sc) : nvme_status_name(sct, sc),
		    (unsigned)sct, (unsigned)sc);
	else
		add(t, "COMPLETION");
	if (rec->has & HAS_QID)
		add(t, " qid:%u", (unsigned)rec->qid);
	add(t, " cid:%u", (unsigned)cpl->cid);
	if (rec->has & HAS_DW0)
		add(t, style == STYLE_V26 ? " cdw0:%08" PRIx32 : " cdw0:%" PRIx32, cpl->cdw0);
	if (rec->has & HAS_SQHD)
		add(t, " sqhd:%04x", (unsigned)cpl->sqhd);
	if (rec->has & HAS_PHASE)
		add(t, " p:%" PRIx32, NVME_GET(cpl->status, NVME_CPL_P));
	if (rec->has & HAS_FLAGS)
		add(t, " m:%" PRIx32 " dnr:%" PRIx32, NVME_GET(cpl->status, NVME_CPL_M),
		    NVME_GET(cpl->status, NVME_CPL_DNR));
}

int style_format_rec(char *buf, size_t size, int style, const struct rec *rec)
{
	const uint32_t whole_cpl =
		HAS_QID | HAS_STATUS | HAS_DW0 | HAS_SQHD | HAS_PHASE | HAS_FLAGS;
	bool is_cpl = rec->kind == REC_COMPLETION || rec->kind == REC_DEV_CQE;
	struct text t = {buf, size, 0};

	if (style == STYLE_V2305 && is_cpl && (rec->has & whole_cpl) == whole_cpl)
		return nvme_format_cpl(buf, size, rec->qid, &rec->cpl);
	if (style == STYLE_V2305 && !is_cpl && have(rec, HAVE_SQE))
		return nvme_format_cmd(buf, size, rec->qid, &rec->cmd);

	if (size > 0)
		buf[0] = '\0';
	if (is_cpl)
		add_cpl(&t, style, rec);
	else if (is_admin(rec->qid, rec->cmd.opc))
		add_admin_cmd(&t, style, rec);
	else
		add_io_cmd(&t, style, rec);
	return (int)t.len;
}

int style_format_cmd(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cmd *cmd)
{
	struct rec rec;

	if (style == STYLE_V2305)
		return nvme_format_cmd(buf, size, qid, cmd);
	memset(&rec, 0, sizeof(rec));
	rec.kind = REC_COMMAND;
	rec.qid = qid;
	rec.cmd = *cmd;
	rec.cmd_have = HAVE_SQE;
	return style_format_rec(buf, size, style, &rec);
}

int style_format_cpl(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cpl *cpl,
                     bool fabrics)
{
	struct rec rec;

	if (style == STYLE_V2305)
		return nvme_format_cpl(buf, size, qid, cpl);
	memset(&rec, 0, sizeof(rec));
	rec.kind = REC_COMPLETION;
	rec.has = HAS_QID | HAS_STATUS | HAS_DW0 | HAS_SQHD | HAS_PHASE | HAS_FLAGS;
	rec.qid = qid;
	rec.cpl = *cpl;
	if (fabrics) {
		rec.of.opc = NVME_OPC_FABRIC;
		rec.of_have = HAVE_OPC;
	}
	return style_format_rec(buf, size, style, &rec);
}

/* ---- marks ---- */

const char *mark_name(uint32_t what)
{
	static const char *const names[] = {
		[NVME_TRACE_LATE] = "late",           [NVME_TRACE_ABORT] = "abort",
		[NVME_TRACE_RETRY] = "retry",         [NVME_TRACE_RESET] = "reset",
		[NVME_TRACE_RESET_END] = "reset_end", [NVME_TRACE_GIVEN_UP] = "given_up",
		[NVME_TRACE_REMOVAL] = "removal",
	};

	return what < sizeof(names) / sizeof(names[0]) ? names[what] : NULL;
}

static const char *removal_name(uint32_t removal)
{
	return removal == NVME_REMOVAL_REQUESTED ? "the system wants the device back"
	       : removal == NVME_REMOVAL_FAILED  ? "its bus has failed"
	                                         : "the device is gone";
}

int format_mark(char *buf, size_t size, uint16_t qid, const struct nvme_trace_mark *mark)
{
	unsigned cid = mark->cid, q = qid;

	switch (mark->what) {
	case NVME_TRACE_LATE:
		return snprintf(buf, size, "late: qid:%u cid:%u, %" PRIu32 " ms are allowed", q,
		                cid, mark->value);
	case NVME_TRACE_ABORT:
		return snprintf(buf, size, "abort: qid:%u cid:%u", q, cid);
	case NVME_TRACE_RETRY:
		return snprintf(buf, size, "retry: qid:%u cid:%u in %" PRIu32 " ms", q, cid,
		                mark->value);
	case NVME_TRACE_RESET:
		return snprintf(buf, size, "reset");
	case NVME_TRACE_RESET_END:
		return snprintf(buf, size, "reset is complete");
	case NVME_TRACE_GIVEN_UP:
		return snprintf(buf, size, "given up: %s",
		                mark->value < 4096 ? strerror((int)mark->value) : "?");
	case NVME_TRACE_REMOVAL:
		return snprintf(buf, size, "removal: %s", removal_name(mark->value));
	default:
		return snprintf(buf, size, "mark %" PRIu32, mark->what);
	}
}

/* ---- kinds ---- */

static const char *const kind_names[] = {
	[REC_ATTACH] = "attach",
	[REC_DETACH] = "detach",
	[REC_REG_READ] = "reg_read",
	[REC_REG_WRITE] = "reg_write",
	[REC_COMMAND] = "command",
	[REC_CMD_AGAIN] = "command_again",
	[REC_COMPLETION] = "completion",
	[REC_DOORBELL] = "doorbell",
	[REC_PRP] = "prp",
	[REC_SGL] = "sgl",
	[REC_DMA_MAP] = "dma_map",
	[REC_DMA_UNMAP] = "dma_unmap",
	[REC_LOG] = "log",
	[REC_ASYNC_EVENT] = "async_event",
	[REC_QUEUE] = "queue",
	[REC_IRQ] = "irq",
	[REC_MARK] = "mark",
	[REC_DEV_FETCH] = "dev_fetch",
	[REC_DEV_DATA] = "dev_data",
	[REC_DEV_CQE] = "dev_completion",
	[REC_DAMAGE] = "damage",
	[REC_NOTE] = "note",
};

const char *rec_kind_name(enum rec_kind kind)
{
	return kind_names[kind];
}
