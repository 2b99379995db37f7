// SPDX-License-Identifier: MIT
/*
 * Traces that somebody has packed.
 */
#ifndef NVTRACE_UNPACK_H
#define NVTRACE_UNPACK_H

#include "rec.h"

/* Are these the first bytes of what gzip or xz has written? */
bool is_packed(const uint8_t *head, size_t len);
/*
 * A stream of what is packed in another one, whose first bytes were read already. It owns that one,
 * unless it is standard input. Where the packed data is damaged or ends too soon reading fails with
 * EBADMSG. NULL: no memory, and nothing is owned.
 */
FILE *unpack(FILE *from, const uint8_t *head, size_t len);

#endif /* NVTRACE_UNPACK_H */
