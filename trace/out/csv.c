// SPDX-License-Identifier: MIT
/*
 * Comma-separated values as in RFC 4180: a row for each command when it completes, those that never
 * did at the end, or where there are too many of those. A cell is empty where the source does not tell. NLB is 0-based, as in the command.
 */
#include "output.h"
#include "opens.h"

struct state {
	FILE *out;
	struct opens opens;
	bool more; /* a cell precedes in this row */
};

static const char header[] =
	"time_ns,ctrlr,qid,cid,opc,name,nsid,slba,nlb,status,latency_ns,sct,sc,crd,more,dnr,phase,"
	"sqhd,cdw0,prp1,prp2,cdw10,cdw11,cdw12,cdw13,cdw14,cdw15,number,cpl_number,problem";

/* ---- cells ---- */

static void put_empty(struct state *s)
{
	if (s->more)
		putc(',', s->out);
	s->more = true;
}

static void put_text(struct state *s, const char *text)
{
	put_empty(s);
	if (text[strcspn(text, ",\"\r\n")] == '\0') {
		fputs(text, s->out);
		return;
	}
	putc('"', s->out);
	for (; *text != '\0'; text++)
		fputs(*text == '"' ? "\"\"" : (char[]){*text, '\0'}, s->out);
	putc('"', s->out);
}

static void put_uint(struct state *s, bool there, uint64_t value)
{
	put_empty(s);
	if (there)
		fprintf(s->out, "%" PRIu64, value);
}

static void put_hex(struct state *s, bool there, uint64_t value)
{
	put_empty(s);
	if (there)
		fprintf(s->out, "0x%" PRIx64, value);
}

/* ---- rows ---- */

static bool have_all(const struct open_cmd *c, uint32_t what)
{
	return (c->cmd_have & what) == what;
}

static void put_opcode(struct state *s, const struct open_cmd *c)
{
	bool opc = c->cmd_have & HAVE_OPC;

	put_uint(s, opc, c->cmd.opc);
	if (opc && ((c->has & HAS_QID) || c->cmd.opc == NVME_OPC_FABRIC))
		put_text(s, nvme_opc_name(c->qid, c->cmd.opc));
	else
		put_empty(s);
}

static void put_command(struct state *s, const struct open_cmd *c, const struct rec *cpl)
{
	bool cid = (c->cmd_have & HAVE_OPC) || cpl != NULL;
	uint16_t qid = c->has & HAS_QID ? c->qid : 0;
	uint32_t blocks = 0;
	uint64_t lba = 0;
	bool there;

	put_uint(s, c->has & HAS_TIME, c->time_ns);
	put_uint(s, c->has & HAS_CTRLR, c->ctrlr);
	put_uint(s, c->has & HAS_QID, c->qid);
	put_uint(s, cid, c->cmd_have & HAVE_OPC || cpl == NULL ? c->cmd.cid : cpl->cpl.cid);
	put_opcode(s, c);
	put_uint(s, (c->cmd_have & HAVE_NSID) && c->cmd.opc != NVME_OPC_FABRIC, c->cmd.nsid);
	there = cmd_lba(qid, &c->cmd, c->cmd_have, &lba);
	put_uint(s, there, lba);
	there = cmd_blocks(qid, &c->cmd, c->cmd_have, &blocks);
	put_uint(s, there, there ? blocks - 1 : 0); /* 0-based, as in the command */
}

/* cpl NULL: it never came. */
static void put_completion(struct state *s, const struct rec *cpl)
{
	uint32_t has = cpl != NULL ? cpl->has : 0;
	uint16_t status = cpl != NULL ? cpl->cpl.status : 0;
	uint8_t sct = (uint8_t)NVME_GET(status, NVME_CPL_SCT),
		sc = (uint8_t)NVME_GET(status, NVME_CPL_SC);

	if (has & HAS_STATUS)
		put_text(s, nvme_status_name(sct, sc));
	else
		put_empty(s);
	put_uint(s, has & HAS_LATENCY, cpl != NULL ? cpl->latency_ns : 0);
	put_uint(s, has & HAS_STATUS, sct);
	put_uint(s, has & HAS_STATUS, sc);
	put_uint(s, has & HAS_FLAGS, NVME_GET(status, NVME_CPL_CRD));
	put_uint(s, has & HAS_FLAGS, NVME_GET(status, NVME_CPL_M));
	put_uint(s, has & HAS_FLAGS, NVME_GET(status, NVME_CPL_DNR));
	put_uint(s, has & HAS_PHASE, NVME_GET(status, NVME_CPL_P));
	put_uint(s, has & HAS_SQHD, cpl != NULL ? cpl->cpl.sqhd : 0);
	put_hex(s, has & HAS_DW0, cpl != NULL ? cpl->cpl.cdw0 : 0);
}

static void put_dwords(struct state *s, const struct open_cmd *c)
{
	bool prp = !(c->cmd_have & HAVE_FLAGS) ||
	           NVME_GET(c->cmd.flags, NVME_CMD_PSDT) == NVME_PSDT_PRP;
	uint32_t dw[16];
	unsigned i;

	memcpy(dw, &c->cmd, sizeof(dw));
	put_hex(s, prp && have_all(c, HAVE_DPTR1), c->cmd.dptr.prp.prp1);
	put_hex(s, prp && have_all(c, HAVE_DPTR2), c->cmd.dptr.prp.prp2);
	for (i = 10; i < 16; i++)
		put_hex(s, c->cmd_have & HAVE_DW(i), dw[i]);
}

static void put_row(struct state *s, const struct open_cmd *c, const struct rec *cpl)
{
	const char *problem = cpl != NULL && cpl->problem != NULL ? cpl->problem : c->problem;

	s->more = false;
	put_command(s, c, cpl);
	put_completion(s, cpl);
	put_dwords(s, c);
	put_uint(s, c->number != 0, c->number);
	put_uint(s, cpl != NULL, cpl != NULL ? cpl->number : 0);
	put_text(s, problem != NULL ? problem : "");
	fputs("\r\n", s->out);
}

/* What a completion tells about its command where the command itself was not shown to us. */
static void from_completion(struct open_cmd *c, const struct rec *r)
{
	memset(c, 0, sizeof(*c));
	c->number = r->cmd_number;
	c->has = r->has & (HAS_CTRLR | HAS_QID);
	c->ctrlr = r->ctrlr;
	c->qid = r->qid;
	c->cmd = r->of;
	c->cmd_have = r->has & HAS_OPC ? r->of_have : 0;
	if ((r->has & HAS_TIME) && (r->has & HAS_LATENCY) && r->time_ns >= r->latency_ns) {
		c->has |= HAS_TIME;
		c->time_ns = r->time_ns - r->latency_ns;
	}
}

static int begin(struct output *o)
{
	struct state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->out = o->out;
	opens_init(&s->opens);
	o->state = s;
	fprintf(o->out, "%s\r\n", header);
	return 0;
}

static int record(struct output *o, struct rec *rec)
{
	struct state *s = o->state;
	struct open_cmd c;

	if (rec_is_command(rec) && opens_forget(&s->opens, &c))
		put_row(s, &c, NULL);
	if (rec_is_command(rec) && opens_add(&s->opens, rec, &c))
		put_row(s, &c, NULL);
	if (rec->kind == REC_COMPLETION) {
		if (!opens_take(&s->opens, rec, &c))
			from_completion(&c, rec);
		put_row(s, &c, rec);
	}
	return ferror(o->out) ? -EIO : 0;
}

static int end(struct output *o, struct pairing *p)
{
	struct state *s = o->state;
	struct open_cmd *all;
	size_t count, i;

	(void)p;
	if (s == NULL)
		return -ENOMEM; /* there was no begin */
	all = opens_sorted(&s->opens, &count);
	for (i = 0; i < count; i++)
		put_row(s, &all[i], NULL);
	free(all);
	opens_report(&s->opens, "have their rows where the others began");
	opens_free(&s->opens);
	free(s);
	o->state = NULL;
	return ferror(o->out) ? -EIO : 0;
}

const struct output_ops csv_output = {.name = "csv", .begin = begin, .record = record, .end = end};
