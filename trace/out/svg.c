// SPDX-License-Identifier: MIT
/*
 * nvtrace -T svg: who tells whom what, as a sequence diagram of host, memory and controller. What
 * the controller does by itself is there only where it was recorded too.
 *
 * The picture has its own colours for light and dark and no script; text of the source is escaped.
 */
#include "output.h"

#define COMMANDS 16  /* of these, the first ones of the trace: the rest is for -f to choose */
#define ROWS     400 /* arrows */
#define HOST     90
#define MEMORY   510
#define CTRLR    890
#define WIDTH    960
#define LABEL    58 /* characters that fit between two lifelines */
#define TOP      64
#define STEP     30

enum row_class { ROW_HOST, ROW_CTRLR, ROW_DATA, ROW_ERROR };

struct row {
	int from, to; /* lifelines: HOST, MEMORY, CTRLR */
	enum row_class class;
	uint64_t at;
	bool has_time, first; /* first: of a command */
	char text[160];
};

struct kept {
	uint64_t key, number;
	uint16_t cid;
	bool open;
};

struct diagram {
	struct row row[ROWS];
	struct kept kept[COMMANDS];
	uint32_t rows, commands;
	uint64_t seen, start;
	bool full, started;
};

static int svg_begin(struct output *o)
{
	o->state = calloc(1, sizeof(struct diagram));
	return o->state != NULL ? 0 : -ENOMEM;
}

static struct row *add_row(struct diagram *d, const struct rec *r, int from, int to,
                           enum row_class class)
{
	struct row *row;

	if (d->rows == ROWS) {
		d->full = true;
		return NULL;
	}
	row = &d->row[d->rows++];
	row->from = from;
	row->to = to;
	row->class = class;
	row->has_time = (r->has & HAS_TIME) != 0;
	row->at = r->time_ns;
	if (row->has_time && !d->started) {
		d->started = true;
		d->start = r->time_ns;
	}
	return row;
}

/* The command of the diagram that is outstanding with that CID, the newest if there are several. */
static struct kept *find_kept(struct diagram *d, const struct rec *r, uint16_t cid)
{
	uint64_t key = queue_key(r);
	uint32_t i;

	for (i = d->commands; i > 0; i--)
		if (d->kept[i - 1].key == key && d->kept[i - 1].cid == cid && d->kept[i - 1].open)
			return &d->kept[i - 1];
	return NULL;
}

/*
 * A doorbell belongs to the diagram if the arrow before it on its queue does: a command for a tail,
 * a completion for a head.
 */
static bool queue_is_kept(const struct diagram *d, const struct rec *r, bool open)
{
	uint64_t key = queue_key(r);
	uint32_t i;

	for (i = 0; i < d->commands; i++)
		if (d->kept[i].key == key && (d->kept[i].open == open || d->seen <= COMMANDS))
			return true;
	return false;
}

/* Short, as there is little room: dwords that are zero are left out. */
static void label_command(struct row *row, const struct rec *r)
{
	size_t size = sizeof(row->text);
	uint32_t blocks;
	uint64_t lba;
	unsigned dw;

	cmd_name(row->text, size, r->qid, &r->cmd, r->cmd_have);
	text_add(row->text, size, " cid:%u", (unsigned)r->cmd.cid);
	if ((r->cmd_have & HAVE_NSID) != 0 && r->cmd.nsid != 0)
		text_add(row->text, size, " nsid:%" PRIu32, r->cmd.nsid);
	if (cmd_lba(r->qid, &r->cmd, r->cmd_have, &lba))
		text_add(row->text, size, " lba:%" PRIu64, lba);
	if (cmd_blocks(r->qid, &r->cmd, r->cmd_have, &blocks))
		text_add(row->text, size, " len:%" PRIu32, blocks);
	for (dw = 10; dw < 16 && !cmd_has_range(r->qid, &r->cmd, r->cmd_have); dw++)
		if ((r->cmd_have & HAVE_DW(dw)) != 0 && cmd_dword(&r->cmd, dw) != 0)
			text_add(row->text, size, " cdw%u:%" PRIx32 "h", dw,
			         cmd_dword(&r->cmd, dw));
	if (strlen(row->text) > LABEL)
		strcpy(row->text + LABEL - 3, "...");
}

static void take_command(struct diagram *d, const struct rec *r)
{
	struct kept *k;
	struct row *row;

	if (++d->seen > COMMANDS)
		return;
	row = add_row(d, r, HOST, MEMORY, ROW_HOST);
	if (row == NULL)
		return;
	k = &d->kept[d->commands++];
	k->key = queue_key(r);
	k->number = r->number;
	k->cid = r->cmd.cid;
	k->open = true;
	row->first = true;
	label_command(row, r);
}

static void take_completion(struct diagram *d, const struct rec *r)
{
	struct kept *k = find_kept(d, r, r->cpl.cid);
	struct row *row;
	char text[96];

	if (k == NULL || k->number != r->cmd_number)
		return;
	row = add_row(d, r, MEMORY, HOST, rec_is_error(r) ? ROW_ERROR : ROW_HOST);
	k->open = false;
	if (row == NULL)
		return;
	cpl_describe(text, sizeof(text), r);
	snprintf(row->text, sizeof(row->text), "%s cid:%u", text, (unsigned)r->cpl.cid);
	if ((r->has & HAS_SQHD) != 0)
		text_add(row->text, sizeof(row->text), " sqhd:%u", (unsigned)r->cpl.sqhd);
	if ((r->has & HAS_PHASE) != 0)
		text_add(row->text, sizeof(row->text), " p:%" PRIu32,
		         NVME_GET(r->cpl.status, NVME_CPL_P));
	if ((r->has & HAS_LATENCY) != 0) {
		format_ns(text, sizeof(text), r->latency_ns);
		text_add(row->text, sizeof(row->text), ", %s", text);
	}
}

static void take_doorbell(struct diagram *d, const struct rec *r)
{
	bool cq = r->doorbell.cq != 0;
	struct row *row;

	if (!queue_is_kept(d, r, !cq))
		return;
	row = add_row(d, r, HOST, CTRLR, ROW_HOST);
	if (row == NULL)
		return;
	snprintf(row->text, sizeof(row->text), "%s %u doorbell: %s", cq ? "CQ" : "SQ",
	         (unsigned)r->qid, cq ? "head" : "tail");
	if ((r->has & HAS_OLD) != 0)
		text_add(row->text, sizeof(row->text), " %" PRIu32 " to", r->doorbell.old_value);
	text_add(row->text, sizeof(row->text), " %" PRIu32, r->doorbell.new_value);
}

static void take_device(struct diagram *d, const struct rec *r)
{
	uint16_t cid = r->kind == REC_DEV_FETCH  ? r->cmd.cid
	               : r->kind == REC_DEV_DATA ? r->data.cid
	                                         : r->cpl.cid;
	bool to_host = r->kind != REC_DEV_DATA || r->data.to_host != 0;
	struct row *row = NULL;

	if (find_kept(d, r, cid) == NULL)
		return;
	if (r->kind == REC_DEV_FETCH) {
		row = add_row(d, r, MEMORY, CTRLR, ROW_CTRLR);
		if (row != NULL)
			snprintf(row->text, sizeof(row->text), "fetches cid:%u", (unsigned)cid);
	} else if (r->kind == REC_DEV_DATA) {
		row = add_row(d, r, to_host ? CTRLR : MEMORY, to_host ? MEMORY : CTRLR, ROW_DATA);
		if (row != NULL)
			snprintf(row->text, sizeof(row->text), "%" PRIu32 " bytes of data",
			         r->data.len);
	} else {
		row = add_row(d, r, CTRLR, MEMORY, ROW_CTRLR);
		if (row != NULL)
			snprintf(row->text, sizeof(row->text), "posts completion cid:%u",
			         (unsigned)cid);
	}
}

static int svg_record(struct output *o, struct rec *r)
{
	struct diagram *d = o->state;

	if ((r->has & HAS_QID) == 0 && r->kind != REC_DEV_DATA)
		return 0;
	switch (r->kind) {
	case REC_COMMAND:
		take_command(d, r);
		break;
	case REC_COMPLETION:
		take_completion(d, r);
		break;
	case REC_DOORBELL:
		take_doorbell(d, r);
		break;
	case REC_DEV_FETCH:
	case REC_DEV_DATA:
	case REC_DEV_CQE:
		take_device(d, r);
		break;
	default:
		break;
	}
	return 0;
}

/* ---- drawing ---- */

/* A string that came from a source, in the text of an XML element or attribute. */
static void put_xml(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	for (; *p != '\0'; p++)
		if (strchr("\"'<>&", *p) != NULL)
			fprintf(out, "&#%u;", (unsigned)*p);
		else
			fputc(*p < 0x20 || *p >= 0x7f ? '?' : *p, out);
}

/* clang-format off */
static const char *const style[] = {
	"<style>",
	"svg { color-scheme: light dark; --fg: #1c2128; --bg: #ffffff; --soft: #6b7480; --line: #c4cad1;",
	"  --ctrlr: #2f8f5b; --data: #2f7fd0; --error: #cc2f3a; font: 13px system-ui, sans-serif; }",
	"@media (prefers-color-scheme: dark) { svg { --fg: #e4e8ec; --bg: #14181d; --soft: #98a2ad;",
	"  --line: #434b54; --ctrlr: #58b985; --data: #5aa5ee; --error: #f2606a; } }",
	".bg { fill: var(--bg); } .life { stroke: var(--line); stroke-width: 1.5; }",
	".sep { stroke: var(--line); stroke-dasharray: 2 4; }",
	".head { fill: var(--bg); stroke: var(--fg); } text { fill: var(--fg); text-anchor: middle; }",
	".name { font-weight: 600; font-size: 14px; } .time { fill: var(--soft); font-size: 11px;",
	"  text-anchor: end; } .note { fill: var(--soft); text-anchor: start; }",
	".label { paint-order: stroke; stroke: var(--bg); stroke-width: 4px; }",
	".host { --c: var(--fg); } .ctrlr { --c: var(--ctrlr); } .data { --c: var(--data); }",
	".error { --c: var(--error); } .arrow { stroke: var(--c); stroke-width: 1.5; }",
	".tip { fill: var(--c); } .data .arrow { stroke-width: 3; }",
	".error .label, .ctrlr .label, .data .label { fill: var(--c); }",
	"</style>",
};
/* clang-format on */

static const char *class_name(enum row_class class)
{
	return class == ROW_CTRLR   ? "ctrlr"
	       : class == ROW_DATA  ? "data"
	       : class == ROW_ERROR ? "error"
	                            : "host";
}

static void draw_row(FILE *out, const struct diagram *d, const struct row *row, int y)
{
	int dir = row->to > row->from ? 1 : -1, tip = row->to - dir * 8;
	char ns[32];

	if (row->first && row != d->row)
		fprintf(out, "<line class='sep' x1='8' x2='%d' y1='%d' y2='%d'/>\n", WIDTH - 8,
		        y - STEP / 2 - 6, y - STEP / 2 - 6);
	fprintf(out, "<g class='%s'>", class_name(row->class));
	fprintf(out, "<line class='arrow' x1='%d' x2='%d' y1='%d' y2='%d'/>", row->from, tip, y, y);
	fprintf(out, "<path class='tip' d='M%d %dl%d -5v10z'/>", row->to, y, -dir * 9);
	fprintf(out, "<text class='label' x='%d' y='%d'>", (row->from + row->to) / 2, y - 7);
	put_xml(out, row->text);
	fputs("</text>", out);
	if (row->has_time) {
		format_ns(ns, sizeof(ns), row->at > d->start ? row->at - d->start : 0);
		fprintf(out, "<text class='time' x='%d' y='%d'>%s</text>", HOST - 12, y + 4, ns);
	}
	fputs("</g>\n", out);
}

static void draw_lifelines(FILE *out, int bottom)
{
	static const struct {
		int x;
		const char *name;
	} life[] = {{HOST, "host"}, {MEMORY, "memory"}, {CTRLR, "controller"}};
	size_t i;

	for (i = 0; i < sizeof(life) / sizeof(life[0]); i++) {
		fprintf(out, "<line class='life' x1='%d' x2='%d' y1='36' y2='%d'/>\n", life[i].x,
		        life[i].x, bottom);
		fprintf(out,
		        "<rect class='head' x='%d' y='10' width='110' height='28' rx='5'/>"
		        "<text class='name' x='%d' y='29'>%s</text>\n",
		        life[i].x - 55, life[i].x, life[i].name);
	}
}

static int svg_end(struct output *o, struct pairing *p)
{
	struct diagram *d = o->state;
	int bottom = TOP + STEP * (int)d->rows, height = bottom + 30;
	uint32_t i;

	(void)p;
	fprintf(o->out,
	        "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d "
	        "%d' "
	        "role='img' aria-label='NVMe commands as a sequence diagram'>\n",
	        WIDTH, height, WIDTH, height);
	for (i = 0; i < sizeof(style) / sizeof(style[0]); i++)
		fprintf(o->out, "%s\n", style[i]);
	fprintf(o->out, "<rect class='bg' width='%d' height='%d'/>\n", WIDTH, height);
	draw_lifelines(o->out, bottom);
	for (i = 0; i < d->rows; i++)
		draw_row(o->out, d, &d->row[i], TOP + STEP * (int)i + STEP / 2);
	if (d->full || d->seen > d->commands)
		fprintf(o->out,
		        "<text class='note' x='12' y='%d'>The first %" PRIu32 " of %" PRIu64
		        " commands%s; choose others with -f.</text>\n",
		        bottom + 20, d->commands, d->seen, d->full ? ", cut short" : "");
	else if (d->seen == 0)
		fprintf(o->out, "<text class='note' x='12' y='%d'>No commands.</text>\n",
		        bottom + 20);
	fputs("</svg>\n", o->out);
	free(d);
	o->state = NULL;
	return 0;
}

const struct output_ops svg_output = {.name = "svg",
                                      .begin = svg_begin,
                                      .record = svg_record,
                                      .end = svg_end};
