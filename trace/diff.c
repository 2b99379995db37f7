// SPDX-License-Identifier: MIT
/*
 * nvtrace --diff A B: do two runs do the same? What has no meaning is set aside: times, addresses,
 * CIDs, how often a status register was polled, and how the queues took turns. What is left is a
 * list for the registers and one for each queue, and these are compared like two texts.
 */
#include "merge.h"
#include "clean.h"
#include "map.h"

#define ITEMS   (UINT32_C(1) << 19) /* in each source */
#define STREAMS 256
#define STEPS   1000 /* differences in one list that are told apart; more are one block */
#define REGS    UINT64_MAX

struct item {
	char *text;
	uint64_t number;
	bool waits; /* a command without its completion so far */
};

struct stream {
	uint64_t key; /* REGS or a queue */
	struct item *item;
	uint32_t count, size;
	uint64_t tail, head, sq_doorbells, cq_doorbells;
};

struct run {
	const char *file;
	struct stream stream[STREAMS];
	uint32_t streams, items;
	struct map open; /* queue and CID: stream and item of the command */
	struct map prps; /* queue: struct shape */
	bool cut, doorbells, regs;
	bool readable;
	bool no_memory; /* something had to be left out */
	int status;
};

struct shape {
	uint32_t len, nprp;
	uint16_t cid;
};

struct place {
	uint32_t stream, item;
};

/* ---- reading a run ---- */

static struct stream *find_stream(struct run *run, uint64_t key)
{
	uint32_t i;

	for (i = 0; i < run->streams; i++)
		if (run->stream[i].key == key)
			return &run->stream[i];
	if (run->streams == STREAMS) {
		run->cut = true;
		return NULL;
	}
	run->stream[run->streams].key = key;
	return &run->stream[run->streams++];
}

static struct item *add_item(struct run *run, struct stream *s, uint64_t number, const char *text)
{
	uint32_t size = s->size == 0 ? 64 : s->size * 2;
	struct item *item;

	if (run->items == ITEMS) {
		run->cut = true;
		return NULL;
	}
	if (s->count == s->size) {
		item = realloc(s->item, size * sizeof(*item));
		if (item == NULL) {
			run->no_memory = true;
			return NULL;
		}
		s->item = item;
		s->size = size;
	}
	item = &s->item[s->count];
	item->text = strdup(text);
	item->number = number;
	item->waits = false;
	if (item->text == NULL) {
		run->no_memory = true;
		return NULL;
	}
	s->count++;
	run->items++;
	return item;
}

static void append(struct run *run, struct item *item, const char *text)
{
	size_t len = strlen(item->text);
	char *longer = realloc(item->text, len + strlen(text) + 1);

	if (longer == NULL) {
		run->no_memory = true;
		return;
	}
	strcpy(longer + len, text);
	item->text = longer;
}

/* A command without its CID and its addresses; of its data pointer the shape stays. */
static void put_meaning(char *buf, size_t size, struct run *run, const struct rec *r)
{
	const struct shape *shape = map_get(&run->prps, queue_key(r));
	unsigned dw = 10;
	uint32_t blocks;
	uint64_t lba;

	cmd_name(buf, size, r->qid, &r->cmd, r->cmd_have);
	if ((r->cmd_have & HAVE_NSID) != 0)
		text_add(buf, size, " nsid:%" PRIu32, r->cmd.nsid);
	if (cmd_lba(r->qid, &r->cmd, r->cmd_have, &lba)) {
		text_add(buf, size, " lba:%" PRIu64, lba);
		dw = 12;
	}
	if (cmd_blocks(r->qid, &r->cmd, r->cmd_have, &blocks))
		text_add(buf, size, " len:%" PRIu32, blocks);
	for (; dw < 16; dw++)
		if ((r->cmd_have & HAVE_DW(dw)) != 0 &&
		    (cmd_dword(&r->cmd, dw) &
		     (dw == 12 && cmd_has_range(r->qid, &r->cmd, r->cmd_have) ? 0xffff0000u
		                                                              : UINT32_MAX)) != 0)
			text_add(buf, size, " cdw%u:%08" PRIx32, dw, cmd_dword(&r->cmd, dw));
	if (shape != NULL && shape->cid == r->cmd.cid)
		text_add(buf, size, ", %" PRIu32 " bytes in %" PRIu32 " PRPs", shape->len,
		         shape->nprp);
}

static void take_command(struct run *run, const struct rec *r)
{
	struct stream *s = find_stream(run, queue_key(r));
	struct place *place;
	struct item *item;
	char text[320];

	if (s == NULL)
		return;
	put_meaning(text, sizeof(text), run, r);
	map_remove(&run->prps, queue_key(r));
	item = add_item(run, s, r->number, text);
	if (item == NULL)
		return;
	item->waits = true;
	place = map_put(&run->open, queue_key(r) << 16 | r->cmd.cid);
	if (place == NULL) {
		run->no_memory = true;
		return;
	}
	place->stream = (uint32_t)(s - run->stream);
	place->item = s->count - 1;
}

static void take_completion(struct run *run, const struct rec *r)
{
	uint64_t key = queue_key(r) << 16 | (r->cmd_number != 0 ? r->of.cid : r->cpl.cid);
	const struct place *place = map_get(&run->open, key);
	char text[160] = ": ", orphan[192];
	struct stream *s;

	cpl_describe(text + 2, sizeof(text) - 2, r);
	if ((r->has & HAS_DW0) != 0 && r->cpl.cdw0 != 0)
		text_add(text, sizeof(text), " cdw0:%08" PRIx32, r->cpl.cdw0);
	if ((r->has & HAS_FLAGS) != 0 && NVME_GET(r->cpl.status, NVME_CPL_DNR) != 0)
		text_add(text, sizeof(text), " dnr:1");
	if (place != NULL) {
		s = &run->stream[place->stream];
		append(run, &s->item[place->item], text);
		s->item[place->item].waits = false;
		map_remove(&run->open, key);
		return;
	}
	s = find_stream(run, queue_key(r));
	snprintf(orphan, sizeof(orphan), "completion without command%s", text);
	if (s != NULL)
		add_item(run, s, r->number, orphan);
}

static void take_reg_write(struct run *run, const struct rec *r)
{
	struct stream *s = find_stream(run, REGS);
	uint32_t offset = r->reg.offset;
	char text[96];

	run->regs = true;
	if (s == NULL)
		return;
	nvme_format_reg_name(text, sizeof(text), offset, 0);
	if (offset >= NVME_REG_ASQ && offset < NVME_REG_ACQ + 8)
		text_add(text, sizeof(text), " = an address");
	else
		text_add(text, sizeof(text), " = %" PRIx64 "h", r->reg.value);
	add_item(run, s, r->number, text);
}

static void take_attach(struct run *run, const struct rec *r)
{
	struct stream *s = find_stream(run, REGS);
	char text[96];

	if (s == NULL)
		return;
	snprintf(text, sizeof(text), "attached: CAP %016" PRIx64 "h, VS %08" PRIx32 "h",
	         r->attach.cap, r->attach.vs);
	add_item(run, s, r->number, text);
}

static void take_doorbell(struct run *run, const struct rec *r)
{
	struct stream *s = find_stream(run, queue_key(r));

	run->doorbells = true;
	if (s == NULL)
		return;
	if (r->doorbell.cq != 0) {
		s->head = r->doorbell.new_value;
		s->cq_doorbells++;
	} else {
		s->tail = r->doorbell.new_value;
		s->sq_doorbells++;
	}
}

static void take(struct run *run, const struct rec *r)
{
	bool queue = (r->has & HAS_QID) != 0;
	struct shape *shape;

	if (r->kind == REC_COMMAND && queue) {
		take_command(run, r);
	} else if (r->kind == REC_COMPLETION && queue) {
		take_completion(run, r);
	} else if (r->kind == REC_DOORBELL && queue) {
		take_doorbell(run, r);
	} else if (r->kind == REC_REG_WRITE) {
		take_reg_write(run, r);
	} else if (r->kind == REC_ATTACH) {
		take_attach(run, r);
	} else if (r->kind == REC_PRP && queue) {
		shape = run->prps.count < 4096 ? map_put(&run->prps, queue_key(r)) : NULL;
		if (shape != NULL)
			*shape = (struct shape){r->prp.len, r->prp.nprp, r->prp.cid};
	}
}

/* The last lines of a list: what never completed, and where the doorbells stood in the end. */
static void finish(struct run *run, bool doorbells)
{
	char text[64];
	uint32_t i, j;

	for (i = 0; i < run->streams; i++) {
		struct stream *s = &run->stream[i];

		for (j = 0; j < s->count; j++)
			if (s->item[j].waits)
				append(run, &s->item[j], ": no completion");
		if (!doorbells || s->key == REGS)
			continue;
		snprintf(text, sizeof(text), "SQ doorbell: %s",
		         s->sq_doorbells == 0 ? "never" : "");
		if (s->sq_doorbells != 0)
			text_add(text, sizeof(text), "at last %" PRIu64, s->tail);
		add_item(run, s, 0, text);
		snprintf(text, sizeof(text), "CQ doorbell: %s",
		         s->cq_doorbells == 0 ? "never" : "");
		if (s->cq_doorbells != 0)
			text_add(text, sizeof(text), "at last %" PRIu64, s->head);
		add_item(run, s, 0, text);
	}
}

static void read_run(struct run *run, const char *file, enum input input)
{
	struct pairing *pairing = pairing_new();
	struct rec *r = calloc(1, sizeof(*r));
	struct reader *rd = calloc(1, sizeof(*rd));

	run->file = file;
	run->status = NOT_DECODED;
	map_init(&run->open, sizeof(struct place));
	map_init(&run->prps, sizeof(struct shape));
	if (pairing == NULL || r == NULL || rd == NULL) {
		run->no_memory = true;
	} else if (reader_start(rd, file, input, false) == 0) {
		run->readable = true;
		while (reader_next(rd, pairing, r) > 0)
			take(run, r);
		rec_free(r);
		run->status = reader_status(rd);
		reader_end(rd);
	}
	if (pairing != NULL)
		pairing_free(pairing);
	free(r);
	free(rd);
	map_free(&run->open);
	map_free(&run->prps);
}

static void free_run(struct run *run)
{
	uint32_t i, j;

	for (i = 0; run != NULL && i < run->streams; i++) {
		for (j = 0; j < run->stream[i].count; j++)
			free(run->stream[i].item[j].text);
		free(run->stream[i].item);
	}
	free(run);
}

/* ---- comparing two lists ---- */

struct walk {
	const struct stream *a, *b;
	uint64_t differences;
	bool headed;
};

static void print_head(struct walk *w)
{
	uint64_t key = w->a != NULL ? w->a->key : w->b->key;

	if (w->headed)
		return;
	w->headed = true;
	if (key == REGS)
		printf("@@ registers @@\n");
	else if (key_ctrlr(key) != 0)
		printf("@@ controller %" PRIu32 " queue %u @@\n", key_ctrlr(key),
		       (unsigned)key_qid(key));
	else
		printf("@@ queue %u @@\n", (unsigned)key_qid(key));
}

static void print_item(struct walk *w, char sign, const struct item *item)
{
	print_head(w);
	w->differences++;
	if (item->number != 0)
		printf("%c#%-7" PRIu64 " ", sign, item->number);
	else
		printf("%c%-8s ", sign, "");
	clean_put(stdout, item->text);
	putchar('\n');
}

static bool equal(const struct walk *w, uint32_t i, uint32_t j)
{
	return strcmp(w->a->item[i].text, w->b->item[j].text) == 0;
}

/*
 * Myers' algorithm for a[a0..a1) and b[b0..b1): reach[d][k] is how far one gets in a on diagonal k
 * with d differences. Rows are kept for the way back; there are at most STEPS of them.
 */
static int find_steps(const struct walk *w, uint32_t a0, uint32_t a1, uint32_t b0, uint32_t b1,
                      int64_t **reach)
{
	int64_t n = (int64_t)a1 - a0, m = (int64_t)b1 - b0, x, y, k;
	int d;

	for (d = 0; d <= STEPS; d++) {
		reach[d] = calloc((size_t)(2 * d + 1), sizeof(**reach));
		if (reach[d] == NULL)
			return -1;
		for (k = -d; k <= d; k += 2) {
			const int64_t *last = d > 0 ? reach[d - 1] + (d - 1) : NULL;

			if (d == 0)
				x = 0;
			else if (k == -d || (k != d && last[k - 1] < last[k + 1]))
				x = last[k + 1];
			else
				x = last[k - 1] + 1;
			y = x - k;
			while (x < n && y < m && x >= 0 && y >= 0 &&
			       equal(w, a0 + (uint32_t)x, b0 + (uint32_t)y)) {
				x++;
				y++;
			}
			reach[d][k + d] = x;
			if (x >= n && y >= m)
				return d;
		}
	}
	return -1;
}

/* Walks back along the rows and marks what is only in a and only in b. */
static void mark_steps(int64_t **reach, int d, int64_t n, int64_t m, bool *only_a, bool *only_b)
{
	int64_t x = n, y = m, k, before;

	for (; d > 0; d--) {
		const int64_t *last = reach[d - 1] + (d - 1);

		k = x - y;
		if (k == -d || (k != d && last[k - 1] < last[k + 1])) {
			before = last[k + 1];
			y = before - (k + 1);
			if (y >= 0 && y < m)
				only_b[y] = true;
		} else {
			before = last[k - 1];
			y = before - (k - 1);
			if (before >= 0 && before < n)
				only_a[before] = true;
		}
		x = before;
	}
}

static void print_marked(struct walk *w, uint32_t a0, uint32_t a1, uint32_t b0, uint32_t b1,
                         const bool *only_a, const bool *only_b)
{
	uint32_t i = a0, j = b0;

	while (i < a1 || j < b1) {
		if (i < a1 && only_a[i - a0])
			print_item(w, '-', &w->a->item[i++]);
		else if (j < b1 && only_b[j - b0])
			print_item(w, '+', &w->b->item[j++]);
		else {
			i += i < a1;
			j += j < b1;
		}
	}
}

static void print_all(struct walk *w, char sign, const struct stream *s, uint32_t from,
                      uint32_t end)
{
	uint32_t i;

	for (i = from; i < end; i++)
		print_item(w, sign, &s->item[i]);
}

static void compare_middle(struct walk *w, uint32_t a0, uint32_t a1, uint32_t b0, uint32_t b1)
{
	int64_t **reach = calloc(STEPS + 1, sizeof(*reach));
	bool *only_a = calloc((size_t)(a1 - a0) + 1, 1), *only_b = calloc((size_t)(b1 - b0) + 1, 1);
	int d = -1, i;

	if (reach != NULL && only_a != NULL && only_b != NULL)
		d = find_steps(w, a0, a1, b0, b1, reach);
	if (d < 0) { /* too different, or no memory: all of it */
		print_all(w, '-', w->a, a0, a1);
		print_all(w, '+', w->b, b0, b1);
	} else {
		mark_steps(reach, d, (int64_t)a1 - a0, (int64_t)b1 - b0, only_a, only_b);
		print_marked(w, a0, a1, b0, b1, only_a, only_b);
	}
	for (i = 0; reach != NULL && i <= STEPS; i++)
		free(reach[i]);
	free(reach);
	free(only_a);
	free(only_b);
}

static uint64_t compare_streams(const struct stream *a, const struct stream *b)
{
	uint32_t head = 0, end_a = a != NULL ? a->count : 0, end_b = b != NULL ? b->count : 0;
	struct walk w = {.a = a, .b = b};

	while (head < end_a && head < end_b && equal(&w, head, head))
		head++;
	while (end_a > head && end_b > head && equal(&w, end_a - 1, end_b - 1)) {
		end_a--;
		end_b--;
	}
	if (head < end_a && head < end_b) {
		compare_middle(&w, head, end_a, head, end_b);
		return w.differences;
	}
	print_all(&w, '-', a, head, end_a);
	print_all(&w, '+', b, head, end_b);
	return w.differences;
}

static const struct stream *stream_of(const struct run *run, uint64_t key)
{
	uint32_t i;

	for (i = 0; i < run->streams; i++)
		if (run->stream[i].key == key)
			return &run->stream[i];
	return NULL;
}

static int compare_runs(struct run *a, struct run *b)
{
	uint64_t differences = 0;
	uint32_t i;

	/* what only one kind of source can tell is no difference */
	finish(a, a->doorbells && b->doorbells);
	finish(b, a->doorbells && b->doorbells);
	printf("--- %s\n+++ %s\n", a->file, b->file);
	for (i = 0; i < a->streams; i++)
		if (a->stream[i].key != REGS || (a->regs && b->regs))
			differences +=
				compare_streams(&a->stream[i], stream_of(b, a->stream[i].key));
	for (i = 0; i < b->streams; i++)
		if (stream_of(a, b->stream[i].key) == NULL &&
		    (b->stream[i].key != REGS || (a->regs && b->regs)))
			differences += compare_streams(NULL, &b->stream[i]);
	if (differences == 0)
		printf("the same: %" PRIu32 " commands, register writes and doorbells\n", a->items);
	else
		printf("%" PRIu64 " lines differ\n", differences);
	if (a->cut || b->cut)
		printf("only the first %" PRIu32 " entries and %d queues were compared\n", ITEMS,
		       STREAMS);
	if (a->no_memory || b->no_memory)
		fprintf(stderr, "nvtrace: there was no memory to compare all of it: compare "
		                "shorter traces\n");
	if (a->cut || b->cut || a->no_memory || b->no_memory)
		return NOT_DECODED;
	return differences != 0 ? FOUND : DECODED;
}

int nvtrace_diff(const char *const file[2], const enum input input[2],
                 const struct options *options)
{
	struct run *x = calloc(1, sizeof(*x)), *y = calloc(1, sizeof(*y));
	int rc = NOT_DECODED;

	if (x == NULL || y == NULL) {
		fprintf(stderr, "nvtrace: %s\n", strerror(ENOMEM));
	} else {
		read_run(x, file[0], input[0]);
		read_run(y, file[1], input[1]);
		if (x->readable && y->readable && output_open(options) == 0)
			rc = compare_runs(x, y);
		if (x->status > rc || y->status > rc)
			rc = NOT_DECODED;
	}
	free_run(x);
	free_run(y);
	return rc;
}
