// SPDX-License-Identifier: MIT
/*
 * The way of a record: reader, pairing, filter, output.
 */
#ifndef NVTRACE_DECODE_H
#define NVTRACE_DECODE_H

#include "filter.h"
#include "out/output.h"

/* All of a file ("-": standard input); filter NULL: everything. Returns the exit status. */
int decode(const char *name, enum input input, const struct filter *filter, struct output *out);

#endif /* NVTRACE_DECODE_H */
