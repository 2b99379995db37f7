// SPDX-License-Identifier: MIT
/*
 * What prints records, and how it is asked to.
 */
#ifndef NVTRACE_OUTPUT_H
#define NVTRACE_OUTPUT_H

#include "../cmd.h"
#include "../reader.h"

struct options {
	int style;         /* STYLE_* */
	bool prefix;       /* text: with date, place and level */
	bool bits;         /* -H */
	bool explain;      /* --explain */
	bool show_latency; /* text: latency and commands outstanding behind each line */
	int times;         /* text: 0 as logged, 1 since the start, 2 since the previous line */
	bool verbose;      /* text: also registers, doorbells, mappings, the controller's side */

	bool color;   /* text: with the colours of a terminal */
	bool numbers; /* -n, text: the number of each record */
	unsigned top; /* --top, -c: so many of the slowest commands; 0: some */

	const char *out_file; /* -o, -w; NULL: standard output */
};

/*
 * Makes the file of -o the standard output. Called when the input has proved to be readable, so that
 * a mistyped input costs nobody the output of an earlier run. A negative errno: it cannot be
 * written, and a sentence has said so.
 */
int output_open(const struct options *options);

struct output;
struct output_ops {
	const char *name; /* "text", "json", ... */
	int (*begin)(struct output *o);
	int (*record)(struct output *o, struct rec *rec);
	int (*end)(struct output *o, struct pairing *p); /* 1: it has found mistakes */
};

struct output {
	const struct output_ops *ops;
	FILE *out;
	const struct options *options;
	void *state;
};

/* Has the text a line for it? Registers are shown without -v too if their fields are asked for. */
bool text_shows(const struct options *options, const struct rec *rec);

extern const struct output_ops text_output, json_output, csv_output, perfetto_output, html_output,
	svg_output, pcapng_output, summary_output, lint_output;

#endif /* NVTRACE_OUTPUT_H */
