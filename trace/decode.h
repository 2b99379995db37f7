// SPDX-License-Identifier: MIT
/*
 * The way of a record: reader, pairing, filter, output.
 */
#ifndef NVTRACE_DECODE_H
#define NVTRACE_DECODE_H

#include "filter.h"
#include "out/output.h"

#define MAX_CONTEXT 1000

/* What of a trace is wanted. */
struct selection {
	struct filter *filter, *since, *until; /* all of them; NULL: whatever it is */
	bool errors;                           /* only what has failed */
	unsigned before, after;                /* records around each that is wanted, text only */
};

/* All of a file ("-": standard input) that is selected. Returns the exit status. */
int decode(const char *name, enum input input, const struct selection *selection,
           struct output *out);

#endif /* NVTRACE_DECODE_H */
