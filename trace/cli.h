// SPDX-License-Identifier: MIT
/*
 * The command line: what is asked for, whether it may be done, and who does it.
 */
#ifndef NVTRACE_CLI_H
#define NVTRACE_CLI_H

#include "out/output.h"

struct arguments {
	struct options options;
	enum input input[2]; /* of the first and the second file */
	const char *input_option;
	const struct output_ops *output;
	const char *output_option; /* which option chose it */
	const char *filter, *with, *since, *until;
	bool errors;
	enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color;
	unsigned before, after;
	const char *file[2];
	int files;
	bool hex, diff;
};

/* Fills in a, which begins with the text output. -1: go on; else the exit status. */
int parse_arguments(struct arguments *a, int argc, char **argv);
/* 0, or WRONG_USAGE: an output is one of the inputs, or what is in it would be lost. (target.c) */
int check_targets(const struct arguments *a);
/* Does it; returns the exit status. */
int run(const struct arguments *a);

/* "nvtrace: ..., see nvtrace --help" on standard error; returns WRONG_USAGE. */
int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Does this name, "-", mean standard input or output? */
bool is_stdin(const char *name);

#endif /* NVTRACE_CLI_H */
