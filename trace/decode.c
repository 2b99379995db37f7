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

/* 0 or the negative errno of the output; how the input was is in the reader. */
static int stream(struct reader *rd, struct output *out, struct pairing *pairs,
                  const struct filter *filter, struct problems *problems)
{
	struct rec rec;
	int rc = 0;

	memset(&rec, 0, sizeof(rec));
	while (rc >= 0 && reader_next(rd, pairs, &rec) > 0) {
		count_problem(problems, &rec);
		if (filter == NULL || filter_match(filter, &rec))
			rc = out->ops->record(out, &rec);
	}
	rec_free(&rec);
	return rc;
}

/* Commands that never completed: counted, and with -v shown behind everything else. */
static uint64_t report_open(struct output *out, struct pairing *pairs, const struct filter *filter)
{
	struct rec rec;
	uint64_t n = 0;

	while (pairing_next_open(pairs, &rec)) {
		n++;
		if (out->options->verbose && (filter == NULL || filter_match(filter, &rec)))
			out->ops->record(out, &rec);
	}
	return n;
}

/* What of an open reader goes to the output; the exit status. */
static int decode_all(struct reader *rd, struct pairing *pairs, const struct filter *filter,
                      struct output *out)
{
	struct problems problems = {0, 0, 0};
	bool text = out->ops == &text_output;
	int rc, end;

	rc = stream(rd, out, pairs, filter, &problems);
	if (text)
		problems.lost = report_open(out, pairs, filter);
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

int decode(const char *name, enum input input, const struct filter *filter, struct output *out)
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
		status = decode_all(&rd, pairs, filter, out);
	reader_end(&rd);
	pairing_free(pairs);
	return status;
}
