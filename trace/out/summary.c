// SPDX-License-Identifier: MIT
/*
 * nvtrace -c: a trace in numbers. Everything here has a fixed size, however long the trace is:
 * latencies go into histograms, time into columns that widen as it passes.
 */
#include "output.h"
#include "prps.h"

#define GROUPS     512 /* opcodes of queues */
#define QUEUES     256
#define STATUSES   64
#define SLOWEST    10 /* without --top */
#define COLUMNS    64 /* of a graph over time */
#define ROWS       8
#define BAR        40
#define EXACT      128 /* so many latencies are kept as they are: small traces get exact numbers */
#define SUB_BITS   5   /* above, buckets of 1/32 of an octave: 3 % */
#define SUB        (1u << SUB_BITS)
#define BUCKETS    ((64 - SUB_BITS + 1) * SUB)
#define GRAPHS_MAX 16
#define MARKS      (NVME_TRACE_REMOVAL + 1)

struct hist {
	uint64_t count, min, max;
	double sum;
	uint64_t exact[EXACT];
	uint64_t bucket[BUCKETS];
};

struct group {
	uint64_t key;
	struct nvme_cmd cmd; /* its opcode */
	uint32_t have;
	uint64_t commands, completions, errors, blocks, bytes;
	bool has_blocks, has_bytes;
	struct hist *latency;
};

struct column {
	uint32_t max, last;
	bool used;
};

struct queue {
	uint64_t key;
	uint64_t commands, completions, sq_doorbells, cq_doorbells, bytes;
	uint32_t depth_max;
	bool has_depth;
	struct column column[COLUMNS];
};

struct slow {
	uint64_t latency, number;
	uint16_t qid;
	uint32_t ctrlr, have;
	struct nvme_cmd cmd;
	char status[96];
};

struct summary {
	struct group *group[GROUPS];
	struct queue *queue[QUEUES];
	unsigned groups, queues, statuses, slows;
	struct {
		uint16_t code;
		uint64_t count;
	} status[STATUSES];
	struct slow *slow;
	unsigned slowest; /* how many there is room for */
	struct prp_pending prps;
	uint64_t records, commands, completions, errors, orphans, open, damaged, left_out;
	uint64_t marks[MARKS], events;
	uint64_t first, last, width; /* time, or the record number where there is none */
	uint64_t first_ns, last_ns;
	bool started, by_number, has_time;
};

/* ---- histograms ---- */

static size_t hist_bucket(uint64_t v)
{
	unsigned e;

	if (v < SUB)
		return (size_t)v;
	e = 63u - (unsigned)__builtin_clzll(v);
	return (size_t)((e - SUB_BITS + 1) * SUB + ((v >> (e - SUB_BITS)) & (SUB - 1)));
}

/* The middle of a bucket. */
static uint64_t hist_value(size_t bucket)
{
	unsigned e = (unsigned)(bucket / SUB) + SUB_BITS - 1;
	uint64_t low;

	if (bucket < SUB)
		return bucket;
	low = (uint64_t)(SUB + bucket % SUB) << (e - SUB_BITS);
	return low + (UINT64_C(1) << (e - SUB_BITS)) / 2;
}

static void hist_add(struct hist *h, uint64_t v)
{
	if (h->count < EXACT)
		h->exact[h->count] = v;
	if (h->count == 0 || v < h->min)
		h->min = v;
	if (h->count == 0 || v > h->max)
		h->max = v;
	h->count++;
	h->sum += (double)v;
	h->bucket[hist_bucket(v)]++;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

/* The smallest latency that so many of 1000 do not exceed. */
static uint64_t hist_permille(struct hist *h, unsigned most)
{
	uint64_t rank = h->count / 1000 * most + (h->count % 1000 * most + 999) / 1000, sum = 0;
	size_t i;

	if (rank == 0)
		rank = 1;
	if (h->count <= EXACT) {
		qsort(h->exact, (size_t)h->count, sizeof(h->exact[0]), compare_u64);
		return h->exact[rank - 1];
	}
	if (rank == h->count)
		return h->max;
	for (i = 0; i < BUCKETS; i++) {
		sum += h->bucket[i];
		if (sum >= rank)
			break;
	}
	sum = i < BUCKETS ? hist_value(i) : h->max;
	return sum < h->min ? h->min : sum > h->max ? h->max : sum;
}

/* ---- taking in records ---- */

static struct group *find_group(struct summary *s, const struct rec *r, const struct nvme_cmd *cmd,
                                uint32_t have)
{
	uint64_t key = queue_key(r);
	struct group *g;
	unsigned i;

	have &= HAVE_OPC;
	for (i = 0; i < s->groups; i++)
		if (s->group[i]->key == key && s->group[i]->have == have &&
		    (have == 0 || s->group[i]->cmd.opc == cmd->opc))
			return s->group[i];
	if (s->groups == GROUPS) {
		s->left_out++;
		return NULL;
	}
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return NULL;
	g->key = key;
	g->cmd.opc = cmd->opc;
	g->have = have;
	return s->group[s->groups++] = g;
}

static struct queue *find_queue(struct summary *s, const struct rec *r)
{
	uint64_t key = queue_key(r);
	struct queue *q;
	unsigned i;

	if ((r->has & HAS_QID) == 0)
		return NULL;
	for (i = 0; i < s->queues; i++)
		if (s->queue[i]->key == key)
			return s->queue[i];
	if (s->queues == QUEUES) {
		s->left_out++;
		return NULL;
	}
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return NULL;
	q->key = key;
	return s->queue[s->queues++] = q;
}

/* Half as many columns of twice the width. */
static void widen(struct summary *s)
{
	struct column *c, *b;
	unsigned i, j;

	for (i = 0; i < s->queues; i++) {
		c = s->queue[i]->column;
		for (j = 0; j < COLUMNS / 2; j++) {
			b = c[2 * j + 1].used ? &c[2 * j + 1] : &c[2 * j];
			c[j] = (struct column){.max = c[2 * j].max > c[2 * j + 1].max
			                                      ? c[2 * j].max
			                                      : c[2 * j + 1].max,
			                       .last = b->last,
			                       .used = b->used};
		}
		memset(c + COLUMNS / 2, 0, sizeof(*c) * COLUMNS / 2);
	}
	s->width *= 2;
}

/* Where on the axis a record is; the clock of a damaged trace may jump, the axis does not. */
static size_t column_of(struct summary *s, const struct rec *r)
{
	uint64_t at = s->by_number ? r->number : r->time_ns;

	if (!s->by_number && (r->has & HAS_TIME) == 0)
		at = s->last;
	if (at < s->last)
		at = s->last;
	s->last = at;
	while ((at - s->first) / s->width >= COLUMNS && s->width < UINT64_C(1) << 62)
		widen(s);
	at = (at - s->first) / s->width;
	return at < COLUMNS ? (size_t)at : COLUMNS - 1;
}

static void take_depth(struct summary *s, struct queue *q, const struct rec *r)
{
	struct column *c;

	if (q == NULL || (r->has & HAS_DEPTH) == 0)
		return;
	if (!s->started) {
		s->started = true;
		s->by_number = (r->has & HAS_TIME) == 0;
		s->first = s->last = s->by_number ? r->number : r->time_ns;
		s->width = s->by_number ? 1 : 100;
	}
	c = &q->column[column_of(s, r)];
	if (!c->used || r->outstanding > c->max)
		c->max = r->outstanding;
	c->last = r->outstanding;
	c->used = true;
	q->has_depth = true;
	if (r->outstanding > q->depth_max)
		q->depth_max = r->outstanding;
}

static void take_command(struct summary *s, struct queue *q, const struct rec *r)
{
	struct group *g = find_group(s, r, &r->cmd, r->cmd_have);
	uint32_t len, nprp, blocks;
	uint64_t bytes;

	s->commands++;
	if (q != NULL)
		q->commands++;
	if (g == NULL)
		return;
	g->commands++;
	if (cmd_blocks(r->qid, &r->cmd, r->cmd_have, &blocks)) {
		g->blocks += blocks;
		g->has_blocks = true;
	}
	if (prp_pending_take(&s->prps, r, &len, &nprp))
		bytes = len;
	else if ((r->has & HAS_BYTES) != 0)
		bytes = r->bytes;
	else
		return;
	g->bytes += bytes;
	g->has_bytes = true;
	if (q != NULL)
		q->bytes += bytes;
}

static void take_status(struct summary *s, const struct rec *r)
{
	uint16_t code = (uint16_t)(cpl_sct(&r->cpl) << 8 | cpl_sc(&r->cpl));
	unsigned i;

	for (i = 0; i < s->statuses; i++)
		if (s->status[i].code == code)
			break;
	if (i == STATUSES)
		return;
	s->status[i].code = code;
	s->status[i].count++;
	if (i == s->statuses)
		s->statuses++;
}

static void take_slow(struct summary *s, const struct rec *r)
{
	unsigned i = s->slows;
	struct slow *slow;

	if (i == s->slowest && s->slow[i - 1].latency >= r->latency_ns)
		return;
	if (i == s->slowest)
		i--;
	else
		s->slows++;
	for (; i > 0 && s->slow[i - 1].latency < r->latency_ns; i--)
		s->slow[i] = s->slow[i - 1];
	slow = &s->slow[i];
	slow->latency = r->latency_ns;
	slow->number = r->cmd_number;
	slow->qid = r->qid;
	slow->ctrlr = (r->has & HAS_CTRLR) != 0 ? r->ctrlr : 0;
	slow->cmd = r->of;
	slow->have = r->of_have;
	cpl_describe(slow->status, sizeof(slow->status), r);
}

/* Of the two records that a kernel's trace may have of an event the completion counts. */
static bool is_event(const struct rec *r)
{
	return r->qid == 0 && r->cmd_number != 0 && (r->of_have & HAVE_OPC) != 0 &&
	       r->of.opc == NVME_OPC_ASYNC_EVENT_REQUEST && !rec_is_error(r);
}

static void take_completion(struct summary *s, struct queue *q, const struct rec *r)
{
	struct group *g;

	s->completions++;
	s->events += is_event(r);
	if (q != NULL)
		q->completions++;
	if (rec_is_error(r)) {
		s->errors++;
		take_status(s, r);
	}
	if (r->cmd_number == 0) {
		s->orphans++;
		return;
	}
	if ((r->has & HAS_LATENCY) != 0)
		take_slow(s, r);
	g = find_group(s, r, &r->of, r->of_have);
	if (g == NULL)
		return;
	g->completions++;
	g->errors += rec_is_error(r);
	if ((r->has & HAS_LATENCY) == 0)
		return;
	if (g->latency == NULL)
		g->latency = calloc(1, sizeof(*g->latency));
	if (g->latency != NULL)
		hist_add(g->latency, r->latency_ns);
}

static int summary_begin(struct output *o)
{
	struct summary *s = calloc(1, sizeof(*s));

	o->state = s;
	if (s == NULL)
		return -ENOMEM;
	s->slowest = o->options->top != 0 ? o->options->top : SLOWEST;
	s->slow = calloc(s->slowest, sizeof(*s->slow));
	return s->slow != NULL ? 0 : -ENOMEM;
}

static int summary_record(struct output *o, struct rec *r)
{
	struct summary *s = o->state;
	struct queue *q;

	s->records++;
	if ((r->has & HAS_TIME) != 0) {
		if (!s->has_time || r->time_ns < s->first_ns)
			s->first_ns = r->time_ns;
		if (!s->has_time || r->time_ns > s->last_ns)
			s->last_ns = r->time_ns;
		s->has_time = true;
	}
	switch (r->kind) {
	case REC_PRP:
		prp_pending_put(&s->prps, r);
		break;
	case REC_COMMAND:
		q = find_queue(s, r);
		take_command(s, q, r);
		take_depth(s, q, r);
		break;
	case REC_COMPLETION:
		q = find_queue(s, r);
		take_completion(s, q, r);
		take_depth(s, q, r);
		break;
	case REC_DOORBELL:
		q = find_queue(s, r);
		if (q != NULL && r->doorbell.cq != 0)
			q->cq_doorbells++;
		else if (q != NULL)
			q->sq_doorbells++;
		break;
	case REC_DAMAGE:
		s->damaged++;
		break;
	case REC_MARK:
		if (r->mark.what < MARKS)
			s->marks[r->mark.what]++;
		break;
	default:
		break;
	}
	return 0;
}

/* ---- printing ---- */

static void put_queue_name(char *buf, size_t size, const struct summary *s, uint64_t key)
{
	unsigned i;

	buf[0] = '\0';
	for (i = 0; i < s->queues; i++)
		if (key_ctrlr(s->queue[i]->key) != key_ctrlr(key))
			break;
	if (i < s->queues) /* only worth saying where there are several controllers */
		text_add(buf, size, "%" PRIu32 ":", key_ctrlr(key));
	text_add(buf, size, "%u", (unsigned)key_qid(key));
}

static void put_number(FILE *out, int width, uint64_t value, bool known)
{
	if (known)
		fprintf(out, " %*" PRIu64, width, value);
	else
		fprintf(out, " %*s", width, "-");
}

static void put_latencies(FILE *out, struct hist *h)
{
	static const unsigned most[] = {500, 900, 990, 999};
	char text[32] = "-";
	unsigned i;

	for (i = 0; i < 7; i++) {
		if (h != NULL)
			format_ns(text, sizeof(text),
			          i == 0   ? h->min
			          : i == 1 ? (uint64_t)(h->sum / (double)h->count)
			          : i < 6  ? hist_permille(h, most[i - 2])
			                   : h->max);
		fprintf(out, " %9s", text);
	}
}

static int compare_groups(const void *a, const void *b)
{
	const struct group *const *x = a, *const *y = b;

	if ((*x)->key != (*y)->key)
		return (*x)->key < (*y)->key ? -1 : 1;
	return (int)(*x)->cmd.opc - (int)(*y)->cmd.opc;
}

static void print_groups(FILE *out, struct summary *s)
{
	char name[64];
	unsigned i;

	fprintf(out, "\n%-6s %-24s %9s %7s %10s %13s %9s %9s %9s %9s %9s %9s %9s\n", "queue",
	        "command", "count", "errors", "blocks", "bytes", "min", "mean", "p50", "p90", "p99",
	        "p99.9", "max");
	qsort(s->group, s->groups, sizeof(s->group[0]), compare_groups);
	for (i = 0; i < s->groups; i++) {
		struct group *g = s->group[i];

		put_queue_name(name, sizeof(name), s, g->key);
		fprintf(out, "%-6s ", name);
		cmd_name(name, sizeof(name), key_qid(g->key), &g->cmd, g->have);
		fprintf(out, "%-24s", name);
		put_number(out, 9, g->commands, true);
		put_number(out, 7, g->errors, g->completions != 0);
		put_number(out, 10, g->blocks, g->has_blocks);
		put_number(out, 13, g->bytes, g->has_bytes);
		put_latencies(out, g->latency);
		fputc('\n', out);
	}
}

static void put_bar(FILE *out, uint64_t value, uint64_t max)
{
	uint64_t n = max == 0 ? 0 : (uint64_t)((double)value / (double)max * BAR);

	if (n == 0 && value != 0)
		n = 1;
	for (; n > 0 && n <= BAR; n--)
		fputc('#', out);
	fputc('\n', out);
}

/* One line for each power of two from the smallest to the largest latency. */
static void print_histogram(FILE *out, const struct summary *s, bool admin)
{
	uint64_t octave[64] = {0}, max = 0, all = 0;
	int lowest = 64, highest = -1, e;
	char from[32], to[32];
	unsigned i;
	size_t b;

	for (i = 0; i < s->groups; i++) {
		if (s->group[i]->latency == NULL || (key_qid(s->group[i]->key) == 0) != admin)
			continue;
		for (b = 0; b < BUCKETS; b++) {
			if (s->group[i]->latency->bucket[b] == 0)
				continue;
			e = b < 2 ? 0 : 63 - __builtin_clzll(hist_value(b));
			octave[e] += s->group[i]->latency->bucket[b];
			all += s->group[i]->latency->bucket[b];
			lowest = e < lowest ? e : lowest;
			highest = e > highest ? e : highest;
		}
	}
	if (all == 0)
		return;
	for (e = lowest; e <= highest; e++)
		max = octave[e] > max ? octave[e] : max;
	fprintf(out, "\nlatency of %s commands (%" PRIu64 ")\n", admin ? "admin" : "I/O", all);
	for (e = lowest; e <= highest; e++) {
		format_ns(from, sizeof(from), e == 0 ? 0 : UINT64_C(1) << e);
		format_ns(to, sizeof(to), e == 63 ? UINT64_MAX : UINT64_C(2) << e);
		fprintf(out, "%11s to %-10s %9" PRIu64 " |", from, to, octave[e]);
		put_bar(out, octave[e], max);
	}
}

static void print_graph(FILE *out, const struct summary *s, const struct queue *q)
{
	uint32_t height[COLUMNS], level, rows = q->depth_max < ROWS ? q->depth_max : ROWS;
	uint64_t span = s->last - s->first;
	size_t i, used = (size_t)(span / s->width) + 1;
	uint32_t last = 0, row;
	char text[32];

	used = used > COLUMNS ? COLUMNS : used;
	for (i = 0; i < used; i++) { /* nothing happened in a column: all is as it was */
		height[i] = q->column[i].used && q->column[i].max > last ? q->column[i].max : last;
		last = q->column[i].used ? q->column[i].last : last;
	}
	put_queue_name(text, sizeof(text), s, q->key);
	fprintf(out, "\nqueue %s: commands outstanding, at most %" PRIu32 "\n", text, q->depth_max);
	for (row = rows; row > 0; row--) {
		level = (uint32_t)(((uint64_t)q->depth_max * row + rows - 1) / rows);
		fprintf(out, "%11" PRIu32 " |", level);
		for (i = 0; i < used; i++)
			fputc(height[i] >= level ? '#' : ' ', out);
		fputc('\n', out);
	}
	fprintf(out, "%11d +", 0);
	for (i = 0; i < used; i++)
		fputc('-', out);
	if (s->by_number)
		snprintf(text, sizeof(text), "%" PRIu64 " records", span + 1);
	else
		format_ns(text, sizeof(text), span);
	fprintf(out, " %s\n", text);
}

/* Completions and bytes of the I/O queues in each second of the trace. */
static void print_rates(FILE *out, const struct summary *s)
{
	double seconds = (double)(s->last_ns - s->first_ns) / 1e9;
	uint64_t commands = 0, bytes = 0;
	unsigned i, queues = 0;
	char name[32];

	for (i = 0; i < s->queues; i++) {
		const struct queue *q = s->queue[i];

		if (key_qid(q->key) == 0 || q->completions == 0)
			continue;
		if (queues++ == 0)
			fprintf(out, "\n%-6s %12s %12s\n", "queue", "IOPS", "MiB/s");
		put_queue_name(name, sizeof(name), s, q->key);
		fprintf(out, "%-6s %12.0f", name, (double)q->completions / seconds);
		if (q->bytes != 0)
			fprintf(out, " %12.1f\n", (double)q->bytes / seconds / 1048576);
		else
			fprintf(out, " %12s\n", "-");
		commands += q->completions;
		bytes += q->bytes;
	}
	if (queues < 2)
		return;
	fprintf(out, "%-6s %12.0f", "all", (double)commands / seconds);
	if (bytes != 0)
		fprintf(out, " %12.1f\n", (double)bytes / seconds / 1048576);
	else
		fprintf(out, " %12s\n", "-");
}

static void put_ratio(FILE *out, uint64_t doorbells, uint64_t per)
{
	if (doorbells == 0 || per == 0)
		fprintf(out, " %9s", "-");
	else
		fprintf(out, " %9.2f", (double)doorbells / (double)per);
}

static int compare_queues(const void *a, const void *b)
{
	const struct queue *const *x = a, *const *y = b;

	return (*x)->key < (*y)->key ? -1 : (*x)->key > (*y)->key;
}

static void print_queues(FILE *out, struct summary *s)
{
	unsigned i, graphs = 0;
	char name[32];

	qsort(s->queue, s->queues, sizeof(s->queue[0]), compare_queues);
	fprintf(out, "\n%-6s %9s %11s %12s %12s %9s %9s\n", "queue", "commands", "completions",
	        "SQ doorbells", "CQ doorbells", "SQ/cmd", "CQ/cpl");
	for (i = 0; i < s->queues; i++) {
		const struct queue *q = s->queue[i];

		put_queue_name(name, sizeof(name), s, q->key);
		fprintf(out, "%-6s", name);
		put_number(out, 9, q->commands, true);
		put_number(out, 11, q->completions, true);
		put_number(out, 12, q->sq_doorbells, true);
		put_number(out, 12, q->cq_doorbells, true);
		put_ratio(out, q->sq_doorbells, q->commands);
		put_ratio(out, q->cq_doorbells, q->completions);
		fputc('\n', out);
	}
	for (i = 0; i < s->queues; i++)
		if (s->queue[i]->has_depth && s->queue[i]->depth_max > 0 && graphs++ < GRAPHS_MAX)
			print_graph(out, s, s->queue[i]);
	if (graphs > GRAPHS_MAX)
		fprintf(out, "\n%u more queues are not drawn\n", graphs - GRAPHS_MAX);
}

static void print_slowest(FILE *out, const struct summary *s)
{
	char text[256], ns[32];
	unsigned i;

	if (s->slows == 0)
		return;
	fprintf(out, "\nslowest commands\n");
	for (i = 0; i < s->slows; i++) {
		format_ns(ns, sizeof(ns), s->slow[i].latency);
		cmd_describe(text, sizeof(text), s->slow[i].qid, &s->slow[i].cmd, s->slow[i].have);
		fprintf(out, "%11s  #%-8" PRIu64 " %s: %s\n", ns, s->slow[i].number, text,
		        s->slow[i].status);
	}
}

static void print_statuses(FILE *out, const struct summary *s)
{
	unsigned i;

	if (s->statuses == 0)
		return;
	fprintf(out, "\nerrors\n");
	for (i = 0; i < s->statuses; i++)
		fprintf(out, "%11" PRIu64 "  %s (%02x/%02x)\n", s->status[i].count,
		        nvme_status_name((uint8_t)(s->status[i].code >> 8),
		                         (uint8_t)s->status[i].code),
		        (unsigned)s->status[i].code >> 8, s->status[i].code & 0xffu);
}

/* What went wrong beside error statuses, and what was done about it. */
static void print_marks(FILE *out, const struct summary *s)
{
	static const char *const text[MARKS] = {
		[NVME_TRACE_LATE] = "commands were late",
		[NVME_TRACE_ABORT] = "aborts were asked for",
		[NVME_TRACE_RETRY] = "times a command was sent again",
		[NVME_TRACE_RESET] = "resets were begun",
		[NVME_TRACE_RESET_END] = "resets were complete",
		[NVME_TRACE_GIVEN_UP] = "times the controller was given up",
		[NVME_TRACE_REMOVAL] = "signs of a removal",
	};
	uint64_t sum = s->events;
	unsigned i;

	for (i = 0; i < MARKS; i++)
		sum += s->marks[i];
	if (sum == 0)
		return;
	fprintf(out, "\nincidents\n");
	for (i = 1; i < MARKS; i++)
		if (s->marks[i] != 0)
			fprintf(out, "%11" PRIu64 "  %s\n", s->marks[i], text[i]);
	if (s->events != 0)
		fprintf(out, "%11" PRIu64 "  asynchronous events\n", s->events);
}

static void print_totals(FILE *out, const struct summary *s)
{
	char ns[32];

	fprintf(out, "%" PRIu64 " records", s->records);
	if (s->has_time) {
		format_ns(ns, sizeof(ns), s->last_ns - s->first_ns);
		fprintf(out, " in %s", ns);
	}
	fprintf(out, ": %" PRIu64 " commands, %" PRIu64 " completions, %" PRIu64 " errors\n",
	        s->commands, s->completions, s->errors);
	if (s->orphans != 0)
		fprintf(out, "%" PRIu64 " completions without a command\n", s->orphans);
	if (s->open != 0)
		fprintf(out, "%" PRIu64 " commands without a completion\n", s->open);
	if (s->damaged != 0)
		fprintf(out, "%" PRIu64 " damaged places\n", s->damaged);
	if (s->left_out != 0)
		fprintf(out,
		        "%" PRIu64 " records of more than %d queues or %d kinds of commands are "
		        "left out below\n",
		        s->left_out, QUEUES, GROUPS);
}

static int summary_end(struct output *o, struct pairing *p)
{
	struct summary *s = o->state;
	struct rec *open = calloc(1, sizeof(*open));
	unsigned i;

	s->open = p != NULL ? pairing_forgotten(p) : 0;
	while (open != NULL && p != NULL && pairing_next_open(p, open)) {
		s->open++;
		rec_free(open);
	}
	free(open);
	print_totals(o->out, s);
	if (s->groups != 0)
		print_groups(o->out, s);
	print_statuses(o->out, s);
	print_marks(o->out, s);
	if (s->last_ns > s->first_ns)
		print_rates(o->out, s);
	print_histogram(o->out, s, true);
	print_histogram(o->out, s, false);
	if (s->queues != 0)
		print_queues(o->out, s);
	print_slowest(o->out, s);
	for (i = 0; i < s->groups; i++) {
		free(s->group[i]->latency);
		free(s->group[i]);
	}
	for (i = 0; i < s->queues; i++)
		free(s->queue[i]);
	free(s->slow);
	free(s);
	o->state = NULL;
	return 0;
}

const struct output_ops summary_output = {.name = "summary",
                                          .begin = summary_begin,
                                          .record = summary_record,
                                          .end = summary_end};
