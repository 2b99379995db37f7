// SPDX-License-Identifier: MIT
/*
 * Which records are wanted: -f.
 */
#ifndef NVTRACE_FILTER_H
#define NVTRACE_FILTER_H

#include "rec.h"

struct filter;
/* Compiles an expression. NULL: wrong, with a sentence in why and the column (from 1) in *column. */
struct filter *filter_new(const char *text, char *why, size_t size, int *column);
bool filter_match(const struct filter *f, const struct rec *rec);
void filter_free(struct filter *f);

#endif /* NVTRACE_FILTER_H */
