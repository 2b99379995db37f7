// SPDX-License-Identifier: MIT
/*
 * Two traces at once, and what each is.
 */
#ifndef NVTRACE_MERGE_H
#define NVTRACE_MERGE_H

#include "out/output.h"

/* Both return the exit status. */
int nvtrace_merge(const char *const file[2], const enum input input[2],
                  const struct options *options);
int nvtrace_diff(const char *const file[2], const enum input input[2],
                 const struct options *options);

#endif /* NVTRACE_MERGE_H */
