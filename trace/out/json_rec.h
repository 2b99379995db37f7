// SPDX-License-Identifier: MIT
/*
 * Commands and completions as members of a JSON object, for all outputs that write JSON. Fields have
 * their names of the specification in lower case and their values as in the queue entry.
 */
#ifndef NVTRACE_JSON_REC_H
#define NVTRACE_JSON_REC_H

#include "output.h"
#include "json.h"

/* A name of the specification as a key: "SLBA" is "slba". */
void json_lower(char *to, size_t size, const char *name);
/* cid, opc, name, nsid, ... of a record with a command, as far as the source carries them. */
void json_command(struct json *j, const struct rec *r);
/* cid, status, ... of a record with a completion, and the opcode of its command. */
void json_completion(struct json *j, const struct rec *r);

#endif /* NVTRACE_JSON_REC_H */
