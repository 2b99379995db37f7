// SPDX-License-Identifier: MIT
/*
 * Text: the lines of the debug log. What our recorder has recorded comes out byte for byte as
 * NVME_LOG=debug printed it; what other sources lack is left out. Everything that the log has no
 * line for (registers, doorbells, mappings, the controller's side) appears with -v only.
 */
#include "output.h"
#include "../clean.h"

#define LINE_MAX_TEXT 2048

/* Most lines come from a few places: what stands in front of them is made once. */
struct place {
	enum nvme_log_level level;
	uint32_t line;
	char file[40], func[80], text[200];
};

struct text {
	uint64_t first_ns, last_ns;
	bool have_time;
	uint64_t second; /* that date is of: dates are made once a second too */
	char date[64];
	struct place place[8];
	unsigned dstrd[256]; /* of each controller, for the names of doorbells */
};

/* ---- the time and place in front of a message ---- */

/* With -t and -d: seconds since the start, since the line before. */
static void relative_time(struct output *o, const struct rec *rec, char *buf, size_t size)
{
	struct text *t = o->state;
	uint64_t from, ns;

	if (!t->have_time) {
		t->have_time = true;
		t->first_ns = t->last_ns = rec->time_ns;
	}
	from = o->options->times == 1 ? t->first_ns : t->last_ns;
	t->last_ns = rec->time_ns;
	ns = rec->time_ns >= from ? rec->time_ns - from : from - rec->time_ns;
	snprintf(buf, size, "%s%" PRIu64 ".%09" PRIu64, rec->time_ns >= from ? "" : "-",
	         ns / 1000000000u, ns % 1000000000u);
}

/* "nvme.h:1234:nvme_ring_sq_doorbell: *DEBUG*: ", without the date that comes before it. */
static void put_place(struct output *o, const struct rec *rec)
{
	struct text *t = o->state;
	struct place *p = &t->place[(rec->line + (unsigned)rec->kind) %
	                            (sizeof(t->place) / sizeof(t->place[0]))];
	char line[512], *at;

	if (p->text[0] == '\0' || p->line != rec->line || p->level != rec->level ||
	    strcmp(p->func, rec->func) != 0 || strcmp(p->file, rec->file) != 0) {
		format_log_line(line, sizeof(line), 0, rec->file, rec->line, rec->func, rec->level,
		                "");
		at = strstr(line, "] ");
		p->line = rec->line;
		p->level = rec->level;
		memcpy(p->file, rec->file, sizeof(p->file));
		memcpy(p->func, rec->func, sizeof(p->func));
		snprintf(p->text, sizeof(p->text), "%.199s", at != NULL ? at + 2 : line);
	}
	clean_put(o->out, p->text);
}

static void put_date(struct output *o, const struct rec *rec)
{
	uint64_t second = rec->time_ns / 1000000000u, micros = rec->time_ns / 1000 % 1000000;
	struct text *t = o->state;

	if (second < 1000000000u) { /* since the machine started */
		fprintf(o->out, "[%5" PRIu64 ".%06" PRIu64 "] ", second, micros);
		return;
	}
	if (second != t->second) {
		format_log_line(t->date, sizeof(t->date), rec->time_ns, "", 0, "", NVME_LOG_NOTICE,
		                "");
		t->date[strcspn(t->date, ".")] = '\0';
		t->second = second;
	}
	fprintf(o->out, "%s.%06" PRIu64 "] ", t->date, micros);
}

static void put_prefix(struct output *o, const struct rec *rec)
{
	char when[48];

	if (o->options->numbers)
		fprintf(o->out, "%6" PRIu64 "  ", rec->number);
	if (o->options->times != 0 && (rec->has & HAS_TIME)) {
		relative_time(o, rec, when, sizeof(when));
		fprintf(o->out, o->options->prefix ? "[%s] " : "%16s ", when);
	} else if (o->options->prefix && (rec->has & HAS_TIME)) {
		put_date(o, rec);
	}
	if (!o->options->prefix)
		return;
	if (rec->has & HAS_PLACE)
		put_place(o, rec);
	else if (rec->has & HAS_CTRLR)
		fprintf(o->out, "nvme%" PRIu32 ": ", rec->ctrlr);
}

static void put_line(struct output *o, const struct rec *rec, const char *text)
{
	put_prefix(o, rec);
	clean_put(o->out, text);
	fputc('\n', o->out);
}

/* ---- behind a message ---- */

static void put_extra(struct output *o, const struct rec *rec)
{
	bool more = false;

	if (o->options->show_latency && (rec->has & HAS_LATENCY)) {
		fprintf(o->out, "  # %" PRIu64 ".%03" PRIu64 " us", rec->latency_ns / 1000,
		        rec->latency_ns % 1000);
		more = true;
	}
	if (o->options->show_latency && (rec->has & HAS_DEPTH)) {
		fprintf(o->out, "%s%" PRIu32 " outstanding", more ? ", " : "  # ",
		        rec->outstanding);
		more = true;
	}
	if (o->options->verbose && rec->problem != NULL)
		fprintf(o->out, "%s%s", more ? ", " : "  # ", rec->problem);
}

/* ---- the kinds of records ---- */

static void put_message(struct output *o, const struct rec *rec)
{
	char text[LINE_MAX_TEXT];

	style_format_rec(text, sizeof(text), o->options->style, rec);
	put_prefix(o, rec);
	clean_put(o->out, text);
	put_extra(o, rec);
	fputc('\n', o->out);
}

/* As nvme__prp_list_print() does. A list that is not whole ends where it ends. */
static void put_prps(struct output *o, const struct rec *rec)
{
	const struct nvme_trace_prp *prp = &rec->prp;
	uint32_t i, last = prp->nprp > 2 ? rec->entries : prp->nprp > 0 ? prp->nprp - 1 : 0;
	char text[128];

	if (prp->virt_addr != 0)
		snprintf(text, sizeof(text), "prp_index:0 virt_addr:0x%" PRIx64 " len:%" PRIu32,
		         prp->virt_addr, prp->len);
	else
		snprintf(text, sizeof(text), "prp_index:0 virt_addr:(nil) len:%" PRIu32, prp->len);
	put_line(o, rec, text);
	format_prp_line(text, sizeof(text), prp->nprp, 0, prp->prp1);
	put_line(o, rec, text);
	for (i = 1; i <= last; i++) {
		format_prp_line(text, sizeof(text), prp->nprp, i,
		                prp->nprp > 2 && rec->entry != NULL ? rec->entry[i - 1]
		                                                    : prp->prp2);
		put_line(o, rec, text);
	}
	if (prp->nprp > 1) {
		format_prp_line(text, sizeof(text), prp->nprp, prp->nprp, prp->prp2);
		put_line(o, rec, text);
	}
}

/* As nvme__log_sgl() does; the first part of a segment has the line in front. */
static void put_sgl(struct output *o, const struct rec *rec)
{
	const struct nvme_trace_sgl *sgl = &rec->sgl;
	char text[128];
	uint32_t i;

	if (sgl->first == 0) {
		format_sgl_head(text, sizeof(text), sgl->segment, sgl->descs, sgl->len);
		put_line(o, rec, text);
	}
	for (i = 0; i < sgl->count; i++) {
		format_sgl_line(text, sizeof(text), sgl->first + i, &sgl->desc[i]);
		put_line(o, rec, text);
	}
}

static void put_reg(struct output *o, const struct rec *rec)
{
	struct text *t = o->state;
	char text[128], name[32];

	nvme_format_reg_name(name, sizeof(name), rec->reg.offset, t->dstrd[rec->ctrlr & 0xff]);
	snprintf(text, sizeof(text), "%s %s (%" PRIx32 "h) %s 0x%" PRIx64,
	         rec->kind == REC_REG_READ ? "read" : "write", name, rec->reg.offset,
	         rec->kind == REC_REG_READ ? "=" : "<-", rec->reg.value);
	put_line(o, rec, text);
}

static void put_doorbell(struct output *o, const struct rec *rec)
{
	const struct nvme_trace_doorbell *db = &rec->doorbell;
	char text[128], old[32] = "";

	if (rec->has & HAS_OLD)
		snprintf(old, sizeof(old), " (was %" PRIu32 ")", db->old_value);
	snprintf(text, sizeof(text), "doorbell %s%u%s = %" PRIu32 "%s%s", db->cq ? "CQ" : "SQ",
	         (unsigned)rec->qid, db->cq ? "HDBL" : "TDBL", db->new_value, old,
	         db->in_memory ? " in memory" : "");
	put_line(o, rec, text);
}

static void put_attach(struct output *o, const struct rec *rec)
{
	const struct nvme_trace_attach *a = &rec->attach;
	struct text *t = o->state;
	char text[192], vs[32];

	t->dstrd[rec->ctrlr & 0xff] = NVME_GET(a->cap, NVME_CAP_DSTRD);
	nvme_format_version(vs, sizeof(vs), a->vs);
	snprintf(text, sizeof(text),
	         "attach %.24s through %.8s: %04x:%04x, NVMe %s, CAP 0x%016" PRIx64, a->name,
	         a->access, (unsigned)a->vendor_id, (unsigned)a->device_id, vs, a->cap);
	if (o->options->verbose)
		put_line(o, rec, text);
}

/* The controller's side of a command. */
static void put_device(struct output *o, const struct rec *rec)
{
	char text[LINE_MAX_TEXT], what[LINE_MAX_TEXT - 64];

	if (rec->kind == REC_DEV_DATA) {
		snprintf(text, sizeof(text),
		         "controller %s %" PRIu32 " bytes %s 0x%" PRIx64 " for qid:%u cid:%u",
		         rec->data.to_host ? "wrote" : "read", rec->data.len,
		         rec->data.to_host ? "to" : "from", rec->data.iova, (unsigned)rec->qid,
		         (unsigned)rec->data.cid);
	} else {
		style_format_rec(what, sizeof(what), o->options->style, rec);
		snprintf(text, sizeof(text), "controller %s %s",
		         rec->kind == REC_DEV_FETCH ? "fetched" : "posted", what);
	}
	put_line(o, rec, text);
}

static void put_other(struct output *o, const struct rec *rec)
{
	char text[LINE_MAX_TEXT];

	switch (rec->kind) {
	case REC_DETACH:
		snprintf(text, sizeof(text), "detach");
		break;
	case REC_DMA_MAP:
		snprintf(text, sizeof(text), "map %" PRIu64 " bytes at 0x%" PRIx64 " as 0x%" PRIx64,
		         rec->dma.len, rec->dma.vaddr, rec->dma.iova);
		break;
	case REC_DMA_UNMAP:
		snprintf(text, sizeof(text), "unmap %" PRIu64 " bytes of 0x%" PRIx64, rec->dma.len,
		         rec->dma.iova);
		break;
	case REC_QUEUE:
		snprintf(text, sizeof(text), "queue qid:%u head:%u tail:%u", (unsigned)rec->qid,
		         (unsigned)rec->sq_head, (unsigned)rec->sq_tail);
		break;
	case REC_IRQ:
		snprintf(text, sizeof(text), "interrupt vector:%u", (unsigned)rec->vector);
		break;
	default:
		snprintf(text, sizeof(text), "%s", rec->text);
		break;
	}
	put_line(o, rec, text);
}

static void put_async_event(struct output *o, const struct rec *rec)
{
	char text[LINE_MAX_TEXT];

	snprintf(text, sizeof(text),
	         "ASYNC EVENT type:%" PRIu32 " info:%02" PRIx32 " page:%02" PRIx32 "%s%s",
	         rec->cpl.cdw0 & 7, rec->cpl.cdw0 >> 8 & 0xff, rec->cpl.cdw0 >> 16 & 0xff,
	         rec->text[0] != '\0' ? " " : "", rec->text);
	put_line(o, rec, text);
}

bool text_shows(const struct options *opt, const struct rec *rec)
{
	switch (rec->kind) {
	case REC_ATTACH:
	case REC_COMMAND:
	case REC_CMD_AGAIN:
	case REC_COMPLETION:
	case REC_PRP:
	case REC_SGL:
	case REC_LOG:
	case REC_ASYNC_EVENT:
		return true;
	case REC_DAMAGE:
		return false; /* standard error has it */
	case REC_REG_READ:
	case REC_REG_WRITE:
		return opt->verbose || opt->bits || opt->explain;
	default:
		return opt->verbose;
	}
}

/* ---- the output ---- */

static int text_begin(struct output *o)
{
	o->state = calloc(1, sizeof(struct text));
	return o->state != NULL ? 0 : -ENOMEM;
}

/* Errors and what the driver does about them stand out; what is not on the wire steps back. */
static const char *color_of(const struct rec *rec)
{
	switch (rec->kind) {
	case REC_COMMAND:
		return "\033[36m"; /* cyan */
	case REC_COMPLETION:
		return rec_is_error(rec) ? "\033[1;31m" : "\033[32m"; /* red, green */
	case REC_CMD_AGAIN:
	case REC_DAMAGE:
		return "\033[31m";
	case REC_MARK:
	case REC_ASYNC_EVENT:
		return "\033[1;33m"; /* yellow */
	case REC_LOG:
		return rec->level == NVME_LOG_ERROR     ? "\033[31m"
		       : rec->level == NVME_LOG_WARNING ? "\033[33m"
		                                        : "\033[2m"; /* faint */
	default:
		return "\033[2m";
	}
}

static void put_record(struct output *o, const struct rec *rec)
{
	switch (rec->kind) {
	case REC_COMMAND:
	case REC_CMD_AGAIN:
	case REC_COMPLETION:
		put_message(o, rec);
		break;
	case REC_LOG:
		put_line(o, rec, rec->text);
		break;
	case REC_PRP:
		put_prps(o, rec);
		break;
	case REC_SGL:
		put_sgl(o, rec);
		break;
	case REC_REG_READ:
	case REC_REG_WRITE:
		put_reg(o, rec);
		break;
	case REC_DOORBELL:
		put_doorbell(o, rec);
		break;
	case REC_ATTACH:
		put_attach(o, rec);
		break;
	case REC_DEV_FETCH:
	case REC_DEV_DATA:
	case REC_DEV_CQE:
		put_device(o, rec);
		break;
	case REC_ASYNC_EVENT:
		put_async_event(o, rec);
		break;
	default:
		put_other(o, rec);
		break;
	}
}

static int text_record(struct output *o, struct rec *rec)
{
	if (!text_shows(o->options, rec))
		return 0;
	if (o->options->color)
		fputs(color_of(rec), o->out);
	put_record(o, rec);
	if (o->options->color)
		fputs("\033[0m", o->out);
	if (o->options->bits)
		print_bits(o->out, rec);
	if (o->options->explain)
		print_explanation(o->out, rec);
	return ferror(o->out) ? -EIO : 0;
}

static int text_end(struct output *o, struct pairing *p)
{
	(void)p;
	free(o->state);
	o->state = NULL;
	return fflush(o->out) != 0 ? -EIO : 0;
}

const struct output_ops text_output = {"text", text_begin, text_record, text_end};
