// SPDX-License-Identifier: MIT
/*
 * Which command a completion belongs to.
 */
#ifndef NVTRACE_PAIR_H
#define NVTRACE_PAIR_H

#include "rec.h"

/* So many commands are outstanding at most; of more the oldest are forgotten. */
#define PAIRING_MAX_OPEN 131072u

struct pairing *pairing_new(void);
/* Looks at every record in order and sets the fields that are its own. */
void pairing_record(struct pairing *p, struct rec *rec);
/* Commands that never completed, one at a time: false when there are no more. */
bool pairing_next_open(struct pairing *p, struct rec *rec);
/* So many more there were, of which nothing else is known. */
uint64_t pairing_forgotten(const struct pairing *p);
void pairing_free(struct pairing *p);

#endif /* NVTRACE_PAIR_H */
