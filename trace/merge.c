// SPDX-License-Identifier: MIT
/*
 * nvtrace A --with B: the same run as two sources saw it, the driver and QEMU, on one timeline.
 *
 * QEMU's log has no clock that could be compared with ours, often none at all, so its lines are
 * placed by their command: what the controller did for a command comes before the host sees the
 * completion. Within each source the order is kept.
 *
 * Both are read twice: first only the commands, as a table, to find out which belong together;
 * then everything, to print it.
 */
#include "merge.h"
#include "map.h"
#include <sys/stat.h>

#define COMMANDS (UINT32_C(1) << 21) /* in each source */
#define SHIFTS   256  /* so many ways to lay the runs of the two side by side are tried */
#define SAMPLE   1000 /* by so many commands of each queue */
#define LOOK     64   /* so many commands may be missing in one place */
#define NONE     UINT32_MAX

struct mcmd {
	uint64_t number, cpl_at; /* cpl_at: the completion is that record of the source; 0: none */
	uint64_t lba;
	uint32_t blocks, nsid, run, match;
	uint16_t qid, cid, status;
	uint8_t opc;
	bool has_opc, has_lba, has_blocks, has_nsid, has_status;
};

struct side {
	const char *file, *label;
	enum input input;
	struct mcmd *cmd;
	uint32_t *order; /* the commands by run and queue */
	uint32_t count, size, runs;
	uint32_t first_run, last_run; /* that are compared */
	bool cut, no_memory;          /* something had to be left out */
	int status;

	/* while it is read */
	struct reader rd;
	struct pairing *pairing;
	struct rec rec;
	struct map open; /* queue and CID: index of the command */
	uint64_t at;     /* records so far */
	uint32_t index;  /* commands so far */
	uint32_t run, run_commands;
	bool started;
};

static int side_start(struct side *s, bool again)
{
	s->at = 0;
	s->index = s->run = s->run_commands = 0;
	map_init(&s->open, sizeof(uint32_t));
	s->pairing = pairing_new();
	if (s->pairing == NULL) {
		s->no_memory = true;
		return -ENOMEM;
	}
	if (reader_start(&s->rd, s->file, s->input, again) != 0)
		return -EIO;
	s->started = true;
	s->label = s->rd.ops->name;
	return 0;
}

static void side_stop(struct side *s)
{
	rec_free(&s->rec);
	if (s->started) {
		if (reader_status(&s->rd) > s->status)
			s->status = reader_status(&s->rd);
		reader_end(&s->rd);
	}
	if (s->pairing != NULL)
		pairing_free(s->pairing);
	map_free(&s->open);
	s->pairing = NULL;
	s->started = false;
}

/* Setting up the admin queue begins a run: another driver, or the same one after a reset. */
static bool begins_run(const struct rec *r)
{
	if (r->kind != REC_REG_WRITE)
		return false;
	switch (r->reg.offset) {
	case NVME_REG_AQA:
	case NVME_REG_ASQ:
	case NVME_REG_ACQ:
		return true;
	case NVME_REG_CC:
		return NVME_GET((uint32_t)r->reg.value, NVME_CC_EN) != 0 &&
		       NVME_GET((uint32_t)r->reg.value, NVME_CC_SHN) == NVME_CC_SHN_NONE;
	default:
		return false;
	}
}

/* The next record; for a command or completion *index is the number of the command. */
static bool side_next(struct side *s, uint32_t *index)
{
	uint64_t key;
	uint32_t *slot;

	*index = NONE;
	if (reader_next(&s->rd, s->pairing, &s->rec) <= 0)
		return false;
	s->at++;
	if (begins_run(&s->rec) && s->run_commands != 0) {
		s->run++;
		s->run_commands = 0;
	}
	if ((s->rec.has & HAS_QID) == 0)
		return true;
	if (s->rec.kind == REC_COMMAND) {
		s->run_commands++;
		*index = s->index++;
		slot = map_put(&s->open, map_key(0, s->rec.qid, s->rec.cmd.cid));
		if (slot != NULL)
			*slot = *index;
		else
			s->no_memory = true;
	} else if (s->rec.kind == REC_COMPLETION) {
		key = map_key(0, s->rec.qid,
		              s->rec.cmd_number != 0 ? s->rec.of.cid : s->rec.cpl.cid);
		slot = map_get(&s->open, key);
		if (slot != NULL) {
			*index = *slot;
			map_remove(&s->open, key);
		}
	}
	return true;
}

/* ---- the first reading: a table of commands ---- */

static bool add_command(struct side *s, const struct rec *r)
{
	struct mcmd *c;
	uint32_t size = s->size == 0 ? 1024 : s->size * 2;

	if (s->count == COMMANDS) {
		s->cut = true;
		return false;
	}
	if (s->count == s->size) {
		c = realloc(s->cmd, size * sizeof(*c));
		if (c == NULL) {
			s->cut = s->no_memory = true;
			return false;
		}
		s->cmd = c;
		s->size = size;
	}
	c = &s->cmd[s->count++];
	memset(c, 0, sizeof(*c));
	c->number = r->number;
	c->run = s->run;
	c->match = NONE;
	c->qid = r->qid;
	c->cid = r->cmd.cid;
	c->opc = r->cmd.opc;
	c->nsid = r->cmd.nsid;
	c->has_opc = (r->cmd_have & HAVE_OPC) != 0;
	c->has_nsid = (r->cmd_have & HAVE_NSID) != 0;
	c->has_lba = cmd_lba(r->qid, &r->cmd, r->cmd_have, &c->lba);
	c->has_blocks = cmd_blocks(r->qid, &r->cmd, r->cmd_have, &c->blocks);
	return true;
}

static int compare_places(const void *a, const void *b, void *arg)
{
	const struct mcmd *cmd = arg;
	uint32_t i, j;

	memcpy(&i, a, sizeof(i));
	memcpy(&j, b, sizeof(j));
	if (cmd[i].run != cmd[j].run)
		return cmd[i].run < cmd[j].run ? -1 : 1;
	if (cmd[i].qid != cmd[j].qid)
		return cmd[i].qid < cmd[j].qid ? -1 : 1;
	return i < j ? -1 : i > j;
}

static int side_read(struct side *s)
{
	uint32_t index, i;
	int rc = side_start(s, false);

	while (rc == 0 && side_next(s, &index)) {
		if (index == NONE)
			continue;
		if (s->rec.kind == REC_COMMAND && !add_command(s, &s->rec))
			break;
		if (s->rec.kind == REC_COMPLETION && index < s->count) {
			s->cmd[index].cpl_at = s->at;
			s->cmd[index].has_status = (s->rec.has & HAS_STATUS) != 0;
			s->cmd[index].status =
				(uint16_t)(cpl_sct(&s->rec.cpl) << 8 | cpl_sc(&s->rec.cpl));
		}
	}
	s->runs = s->run + 1;
	side_stop(s);
	s->order = calloc(s->count + 1u, sizeof(*s->order));
	s->no_memory |= s->order == NULL;
	if (rc != 0 || s->order == NULL)
		return rc != 0 ? rc : -ENOMEM;
	for (i = 0; i < s->count; i++)
		s->order[i] = i;
	qsort_r(s->order, s->count, sizeof(*s->order), compare_places, s->cmd);
	return 0;
}

/* ---- which commands belong together ---- */

static bool same(const struct mcmd *a, const struct mcmd *b)
{
	return a->cid == b->cid && (!a->has_opc || !b->has_opc || a->opc == b->opc) &&
	       (!a->has_lba || !b->has_lba || a->lba == b->lba) &&
	       (!a->has_blocks || !b->has_blocks || a->blocks == b->blocks);
}

/* Commands of one queue in one run, in the order of submission. */
struct part {
	struct mcmd *cmd;
	const uint32_t *order;
	uint32_t at, end;
};

static struct mcmd *part_at(const struct part *p, uint32_t ahead)
{
	return ahead < p->end - p->at ? &p->cmd[p->order[p->at + ahead]] : NULL;
}

/* Do the two go on alike when so many are skipped on either side? Two in a row are believed. */
static bool goes_on(const struct part *a, uint32_t skip_a, const struct part *b, uint32_t skip_b)
{
	const struct mcmd *x = part_at(a, skip_a), *y = part_at(b, skip_b);

	if (x == NULL || y == NULL || !same(x, y))
		return false;
	x = part_at(a, skip_a + 1);
	y = part_at(b, skip_b + 1);
	return x == NULL || y == NULL || same(x, y);
}

/*
 * Both sources keep the order of a queue, so a walk along both finds the partners. Returns how many
 * are the same; with `keep` the partners are noted.
 */
static uint32_t match_queue(struct part a, struct part b, bool keep)
{
	uint32_t agree = 0, skip, skip_a, skip_b, tried = 0;
	struct mcmd *x, *y;

	while ((keep || tried++ < SAMPLE) && (x = part_at(&a, 0)) != NULL &&
	       (y = part_at(&b, 0)) != NULL) {
		skip_a = skip_b = 0;
		for (skip = 1; !same(x, y) && skip <= LOOK; skip++) {
			skip_a = goes_on(&a, skip, &b, 0) ? skip : 0;
			skip_b = skip_a == 0 && goes_on(&a, 0, &b, skip) ? skip : 0;
			if (skip_a != 0 || skip_b != 0)
				break;
		}
		a.at += skip_a;
		b.at += skip_b;
		if (skip_a != 0 || skip_b != 0)
			continue;
		if (keep && x->cid == y->cid) {
			x->match = b.order[b.at];
			y->match = a.order[a.at];
		}
		agree += same(x, y);
		a.at++;
		b.at++;
	}
	return agree;
}

static uint32_t first_of_run(const struct side *s, uint32_t run)
{
	uint32_t low = 0, high = s->count, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (s->cmd[s->order[mid]].run < run)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool next_part(const struct side *s, uint32_t run, uint32_t *at, struct part *p)
{
	uint32_t i = *at;

	if (i == 0)
		i = first_of_run(s, run);
	p->cmd = s->cmd;
	p->order = s->order;
	p->at = p->end = i;
	while (p->end < s->count && s->cmd[s->order[p->end]].run == run &&
	       s->cmd[s->order[p->end]].qid == s->cmd[s->order[i]].qid)
		p->end++;
	*at = i;
	return p->at < p->end;
}

static uint32_t match_runs(struct side *a, uint32_t run_a, struct side *b, uint32_t run_b,
                           bool keep)
{
	uint32_t at_a = 0, at_b = 0, agree = 0, qa, qb;
	struct part pa, pb;

	while (next_part(a, run_a, &at_a, &pa) && next_part(b, run_b, &at_b, &pb)) {
		qa = a->cmd[a->order[at_a]].qid;
		qb = b->cmd[b->order[at_b]].qid;
		if (qa == qb)
			agree += match_queue(pa, pb, keep);
		if (qa <= qb)
			at_a = pa.end;
		if (qb <= qa)
			at_b = pb.end;
	}
	return agree;
}

/*
 * A log of QEMU also has what firmware, kernel and other drivers did before and after. Our runs are
 * those of its runs with which they agree most.
 */
static void match(struct side *a, struct side *b)
{
	uint32_t runs = a->runs < b->runs ? a->runs : b->runs, shift, best_shift = 0, i;
	uint64_t agree, best = 0;

	for (shift = 0; shift + runs <= b->runs && shift < SHIFTS; shift++) {
		for (agree = 0, i = 0; i < runs; i++)
			agree += match_runs(a, i, b, shift + i, false);
		if (agree >= best) { /* the last one: the driver under test comes after others */
			best = agree;
			best_shift = shift;
		}
	}
	for (i = 0; i < runs; i++)
		match_runs(a, i, b, best_shift + i, true);
	a->first_run = 0;
	a->last_run = a->runs - 1;
	b->first_run = best_shift;
	b->last_run = best_shift + runs - 1;
}

/* ---- the second reading: the timeline ---- */

struct merge {
	struct side a, b;
	const struct options *options;
	uint64_t agree, differ, missing_a, missing_b, other_runs;
	uint64_t start_ns;
	uint32_t peek_index;
	bool has_start, peeked; /* peeked: b.rec is read and not yet printed */
};

static void describe(char *buf, size_t size, const struct merge *m, const struct rec *r)
{
	buf[0] = '\0';
	switch (r->kind) {
	case REC_COMMAND:
	case REC_COMPLETION:
		style_format_rec(buf, size, (int)m->options->style, r);
		break;
	case REC_DOORBELL:
		snprintf(buf, size, "%s %u doorbell: %s %" PRIu32,
		         r->doorbell.cq != 0 ? "CQ" : "SQ", (unsigned)r->qid,
		         r->doorbell.cq != 0 ? "head" : "tail", r->doorbell.new_value);
		break;
	case REC_REG_WRITE:
		nvme_format_reg_name(buf, size, r->reg.offset, 0);
		text_add(buf, size, " = 0x%" PRIx64, r->reg.value);
		break;
	case REC_IRQ:
		snprintf(buf, size, "interrupt, vector %u", (unsigned)r->vector);
		break;
	case REC_DEV_FETCH:
		snprintf(buf, size, "fetched cid:%u", (unsigned)r->cmd.cid);
		break;
	case REC_DEV_DATA:
		snprintf(buf, size, "data %s 0x%" PRIx64 " len:%" PRIu32,
		         r->data.to_host != 0 ? "to" : "of", r->data.iova, r->data.len);
		break;
	case REC_DEV_CQE:
		snprintf(buf, size, "posted completion cid:%u", (unsigned)r->cpl.cid);
		break;
	case REC_ATTACH:
	case REC_NOTE:
	case REC_DAMAGE:
		snprintf(buf, size, "%s", r->text);
		break;
	default:
		break;
	}
}

/* What a source wrote must not play with the terminal. */
static void put_plain(const char *text)
{
	for (; *text != '\0'; text++)
		putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
	putchar('\n');
}

static void print_rec(struct merge *m, const struct side *s, const struct rec *r)
{
	bool timed = s == &m->a && (r->has & HAS_TIME) != 0;
	char text[1200], ns[32] = "";

	describe(text, sizeof(text), m, r);
	if (text[0] == '\0')
		return;
	if (timed && !m->has_start) {
		m->has_start = true;
		m->start_ns = r->time_ns;
	}
	if (timed)
		format_ns(ns, sizeof(ns), r->time_ns > m->start_ns ? r->time_ns - m->start_ns : 0);
	printf("%11s  %-5s %7" PRIu64 "  ", ns, s->label, r->number);
	put_plain(text);
}

static void __attribute__((format(printf, 1, 2))) print_finding(const char *fmt, ...)
{
	va_list ap;

	printf("%28s! ", "");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* Says where two partners disagree. */
static void compare_partners(struct merge *m, const struct mcmd *a, const struct mcmd *b)
{
	const char *la = m->a.label, *lb = m->b.label;
	bool differ = false;

	if (a->has_opc && b->has_opc && a->opc != b->opc) {
		print_finding("opcode: %02xh in %s record %" PRIu64 ", %02xh in %s record %" PRIu64,
		              (unsigned)a->opc, la, a->number, (unsigned)b->opc, lb, b->number);
		differ = true;
	}
	if (a->has_nsid && b->has_nsid && a->nsid != b->nsid) {
		print_finding("NSID: %" PRIu32 " in %s record %" PRIu64 ", %" PRIu32
		              " in %s record %" PRIu64,
		              a->nsid, la, a->number, b->nsid, lb, b->number);
		differ = true;
	}
	if (a->has_lba && b->has_lba && a->lba != b->lba) {
		print_finding("LBA: %" PRIu64 " in %s record %" PRIu64 ", %" PRIu64
		              " in %s record %" PRIu64,
		              a->lba, la, a->number, b->lba, lb, b->number);
		differ = true;
	}
	if (a->has_blocks && b->has_blocks && a->blocks != b->blocks) {
		print_finding("length: %" PRIu32 " in %s record %" PRIu64 ", %" PRIu32
		              " in %s record %" PRIu64,
		              a->blocks, la, a->number, b->blocks, lb, b->number);
		differ = true;
	}
	if (a->has_status && b->has_status && a->status != b->status) {
		print_finding("status: %03xh in %s, %03xh in %s, of the command in %s record %" PRIu64,
		              (unsigned)a->status, la, (unsigned)b->status, lb, la, a->number);
		differ = true;
	}
	m->agree += !differ;
	m->differ += differ;
}

static void report_a(struct merge *m, uint32_t index)
{
	const struct mcmd *c = &m->a.cmd[index];

	if (c->match != NONE) {
		compare_partners(m, c, &m->b.cmd[c->match]);
		return;
	}
	print_finding("missing in %s: queue %u cid:%u of %s record %" PRIu64, m->b.label,
	              (unsigned)c->qid, (unsigned)c->cid, m->a.label, c->number);
	m->missing_b++;
}

static void print_b(struct merge *m, uint32_t index)
{
	struct side *b = &m->b;
	const struct mcmd *c;

	if (b->run < b->first_run || b->run > b->last_run) {
		m->other_runs += b->rec.kind == REC_COMMAND;
		return;
	}
	print_rec(m, b, &b->rec);
	if (b->rec.kind != REC_COMMAND || index >= b->count)
		return;
	c = &b->cmd[index];
	if (c->match != NONE)
		return;
	print_finding("missing in %s: queue %u cid:%u of %s record %" PRIu64, m->a.label,
	              (unsigned)c->qid, (unsigned)c->cid, b->label, c->number);
	m->missing_a++;
}

static bool peek(struct merge *m)
{
	if (!m->peeked)
		m->peeked = side_next(&m->b, &m->peek_index);
	return m->peeked;
}

static void print_peeked(struct merge *m)
{
	print_b(m, m->peek_index);
	m->peeked = false;
}

/* Prints what b has, up to record `until`. */
static void drain(struct merge *m, uint64_t until)
{
	while ((m->peeked || m->b.at < until) && peek(m) && m->b.at <= until)
		print_peeked(m);
}

static bool same_access(const struct rec *a, const struct rec *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == REC_DOORBELL)
		return a->qid == b->qid && (a->doorbell.cq != 0) == (b->doorbell.cq != 0) &&
		       a->doorbell.new_value == b->doorbell.new_value;
	return a->reg.offset == b->reg.offset && a->reg.value == b->reg.value;
}

/* What the host just wrote to a register is what b sees next, if it logs that at all. */
static void follow(struct merge *m, const struct rec *r)
{
	const struct rec *b = &m->b.rec;
	bool arrived = false;

	while (!arrived && peek(m)) {
		if (m->b.run >= m->b.first_run) {
			arrived = same_access(r, b);
			if (!arrived && b->kind != REC_IRQ && b->kind != REC_NOTE &&
			    b->kind != REC_REG_READ)
				return;
		}
		print_peeked(m);
	}
}

static void timeline(struct merge *m)
{
	struct side *a = &m->a;
	uint32_t index, partner;

	while (side_next(a, &index)) {
		if (a->rec.kind == REC_COMMAND && index >= a->count && a->cut)
			break;
		partner = index < a->count ? a->cmd[index].match : NONE;
		if (a->rec.kind == REC_COMPLETION && partner != NONE)
			drain(m, m->b.cmd[partner].cpl_at);
		print_rec(m, a, &a->rec);
		if (a->rec.kind == REC_DOORBELL || a->rec.kind == REC_REG_WRITE)
			follow(m, &a->rec);
		if (a->rec.kind == REC_COMMAND && index < a->count)
			report_a(m, index);
	}
	if (!a->cut)
		drain(m, UINT64_MAX);
}

static int print_result(const struct merge *m)
{
	uint64_t wrong = m->differ + m->missing_a + m->missing_b;

	printf("\n%" PRIu64 " commands agree, %" PRIu64 " disagree, %" PRIu64
	       " missing in %s, %" PRIu64 " missing in %s\n",
	       m->agree, m->differ, m->missing_b, m->b.file, m->missing_a, m->a.file);
	if (m->other_runs != 0)
		printf("%" PRIu64 " commands in %s are from before or after this run\n",
		       m->other_runs, m->b.file);
	if (m->a.cut || m->b.cut)
		printf("only the first %" PRIu32 " commands were compared\n",
		       m->a.cut ? m->a.count : m->b.count);
	return wrong != 0 ? FOUND : DECODED;
}

/* Reads both, and both again; the exit status. */
static int merge(struct merge *m)
{
	struct side *a = &m->a, *b = &m->b;
	int rc;

	rc = side_read(a);
	if (side_read(b) != 0 || rc != 0 || output_open(m->options) != 0)
		return NOT_DECODED;
	match(a, b);
	if (side_start(a, true) != 0 || side_start(b, true) != 0)
		return NOT_DECODED;
	timeline(m);
	rc = print_result(m);
	side_stop(a);
	side_stop(b);
	return a->cut || b->cut || a->status != DECODED || b->status != DECODED ? NOT_DECODED : rc;
}

/* What comes through a pipe is there only once. */
static bool is_pipe(const char *file)
{
	struct stat st;

	return strcmp(file, "-") == 0 || (stat(file, &st) == 0 && S_ISFIFO(st.st_mode));
}

int nvtrace_merge(const char *const file[2], const enum input input[2],
                  const struct options *options)
{
	struct merge *m;
	int rc;

	if (is_pipe(file[0]) || is_pipe(file[1])) {
		fprintf(stderr,
		        "nvtrace: --with reads its files twice, and %s is none: store it "
		        "in a file first\n",
		        strcmp(file[!is_pipe(file[0])], "-") == 0 ? "standard input"
		                                                  : file[!is_pipe(file[0])]);
		return WRONG_USAGE;
	}
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		fprintf(stderr, "nvtrace: %s\n", strerror(ENOMEM));
		return NOT_DECODED;
	}
	m->options = options;
	m->a.file = file[0];
	m->b.file = file[1];
	m->a.input = input[0];
	m->b.input = input[1];
	rc = merge(m);
	if (m->a.no_memory || m->b.no_memory) {
		fprintf(stderr, "nvtrace: there was no memory to compare all of it: compare "
		                "shorter traces\n");
		rc = NOT_DECODED;
	}
	side_stop(&m->a);
	side_stop(&m->b);
	free(m->a.cmd);
	free(m->a.order);
	free(m->b.cmd);
	free(m->b.order);
	free(m);
	return rc;
}
