// SPDX-License-Identifier: MIT
/*
 * Queue entries as hexadecimal digits.
 */
#ifndef NVTRACE_HEX_H
#define NVTRACE_HEX_H

#include "out/output.h"

/* Lines 'sqe QID HEX' and 'cqe QID HEX' of standard input; returns the exit status. */
int decode_hex(const struct options *options);

#endif /* NVTRACE_HEX_H */
