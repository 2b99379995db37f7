// SPDX-License-Identifier: MIT
/*
 * From a reader to an output, one record at a time.
 */
#include "decode.h"

struct problems {
	uint64_t orphans, others, lost;
};

static void count_problem(struct problems *n, const struct rec *rec)
{
	if (rec->problem == NULL)
		return;
	if (rec->kind == REC_COMPLETION && (rec->has & HAS_OPC) == 0)
		n->orphans++;
	else
		n->others++;
}

static void report_problems(const struct reader *rd, const struct problems *n)
{
	if (n->orphans + n->others + n->lost > 0)
		reader_complain(rd,
		                "completions without a command: %" PRIu64
		                ", commands without a completion: %" PRIu64
		                ", other oddities: %" PRIu64 " (-v shows where)",
		                n->orphans, n->lost, n->others);
}

static bool passes(const struct filter *filter, const struct rec *rec)
{
	return filter == NULL || filter_match(filter, rec);
}

/* The filters learn from every record when the trace begins. */
static bool is_selected(const struct selection *s, const struct rec *rec)
{
	bool since = passes(s->since, rec), until = passes(s->until, rec),
	     wanted = passes(s->filter, rec);

	return since && until && wanted &&
	       (!s->errors || rec->kind == REC_CMD_AGAIN ||
	        (rec->kind == REC_COMPLETION && rec_is_error(rec)));
}

/* ---- -A and -B: the records around those that are selected ---- */

struct context {
	struct rec *kept; /* a ring of those that were not printed */
	unsigned size, count, next;
	unsigned due;       /* so many more are printed, whatever they are */
	bool any, left_out; /* something was printed; something was not since */
};

static int context_new(struct context *c, unsigned before)
{
	memset(c, 0, sizeof(*c));
	c->size = before;
	c->kept = before != 0 ? calloc(before, sizeof(*c->kept)) : NULL;
	return before == 0 || c->kept != NULL ? 0 : -ENOMEM;
}

static void context_free(struct context *c)
{
	unsigned i;

	for (i = 0; i < c->size; i++)
		rec_free(&c->kept[i]);
	free(c->kept);
}

/* The record moves into the ring, with what it owns. */
static void context_keep(struct context *c, struct rec *rec)
{
	c->left_out |= c->count == c->size;
	if (c->size == 0)
		return;
	rec_free(&c->kept[c->next]);
	c->kept[c->next] = *rec;
	rec->entry = NULL;
	rec->entries = 0;
	c->next = (c->next + 1) % c->size;
	c->count += c->count < c->size;
}

/* As grep does: a line between what does not belong together. */
static int context_flush(struct context *c, struct output *out)
{
	unsigned i = (c->next + c->size - c->count) % (c->size != 0 ? c->size : 1);
	int rc = 0;

	if (c->any && c->left_out)
		fputs("--\n", out->out);
	for (; c->count != 0 && rc >= 0; c->count--, i = (i + 1) % c->size)
		rc = out->ops->record(out, &c->kept[i]);
	c->left_out = false;
	c->any = true;
	return rc;
}

static int put_in_context(struct context *c, const struct selection *s, struct output *out,
                          struct rec *rec)
{
	int rc;

	if (is_selected(s, rec) && text_shows(out->options, rec)) {
		rc = context_flush(c, out);
		c->due = s->after;
		return rc < 0 ? rc : out->ops->record(out, rec);
	}
	if (!text_shows(out->options, rec))
		return 0;
	if (c->due != 0) {
		c->due--;
		return out->ops->record(out, rec);
	}
	context_keep(c, rec);
	return 0;
}

/* ---- the way of a record ---- */

/* 0 or the negative errno of the output; how the input was is in the reader. */
static int stream(struct reader *rd, struct output *out, struct pairing *pairs,
                  const struct selection *selection, struct problems *problems)
{
	bool around = selection->before + selection->after != 0;
	struct context context;
	struct rec rec;
	int rc = context_new(&context, selection->before);

	memset(&rec, 0, sizeof(rec));
	while (rc >= 0 && reader_next(rd, pairs, &rec) > 0) {
		count_problem(problems, &rec);
		if (around)
			rc = put_in_context(&context, selection, out, &rec);
		else if (is_selected(selection, &rec))
			rc = out->ops->record(out, &rec);
	}
	rec_free(&rec);
	context_free(&context);
	return rc;
}

/* Commands that never completed: all counted; with -v shown behind everything else if remembered. */
static uint64_t report_open(struct output *out, struct pairing *pairs,
                            const struct selection *selection)
{
	struct rec rec;
	uint64_t n = pairing_forgotten(pairs);

	while (pairing_next_open(pairs, &rec)) {
		n++;
		if (out->options->verbose && is_selected(selection, &rec))
			out->ops->record(out, &rec);
	}
	return n;
}

/* What of an open reader goes to the output; the exit status. */
static int decode_all(struct reader *rd, struct pairing *pairs, const struct selection *selection,
                      struct output *out)
{
	struct problems problems = {0, 0, 0};
	bool text = out->ops == &text_output;
	int rc, end;

	rc = stream(rd, out, pairs, selection, &problems);
	if (text)
		problems.lost = report_open(out, pairs, selection);
	end = out->ops->end(out, pairs);
	if (rc >= 0 && end < 0)
		rc = end;
	if (text)
		report_problems(rd, &problems);
	if (rc < 0)
		reader_complain(rd, "decoding stopped: %s", strerror(-rc));
	if (rc < 0 || reader_status(rd) != DECODED)
		return NOT_DECODED;
	return end > 0 ? FOUND : DECODED;
}

int decode(const char *name, enum input input, const struct selection *selection,
           struct output *out)
{
	int rc, status = NOT_DECODED;
	struct pairing *pairs;
	struct reader rd;

	if (reader_start(&rd, name, input, false) != 0)
		return NOT_DECODED;
	pairs = pairing_new();
	rc = pairs != NULL ? output_open(out->options) : -ENOMEM;
	if (pairs == NULL || (rc == 0 && (rc = out->ops->begin(out)) < 0))
		reader_complain(&rd, "%s", strerror(-rc));
	else if (rc >= 0)
		status = decode_all(&rd, pairs, selection, out);
	reader_end(&rd);
	pairing_free(pairs);
	return status;
}
