// SPDX-License-Identifier: MIT
/*
 * The fields of commands, completions and registers, one by one: -H and --explain.
 */
#ifndef NVTRACE_FIELDS_H
#define NVTRACE_FIELDS_H

#include "rec.h"

/* "[Base 2.1 §5.1.13: Identify command]": where the specification describes it. */
const char *opc_citation(uint16_t qid, uint8_t opc);
/* What a field's value means, "" where it is just a number. */
int cmd_field_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint16_t qid,
                    const struct nvme_cmd *cmd);

/* Dword n (0 to 15) of a command. */
uint32_t cmd_dword(const struct nvme_cmd *cmd, unsigned n);
/* -H and --explain: lines on what the record holds, each indented. */
void print_bits(FILE *out, const struct rec *rec);
void print_explanation(FILE *out, const struct rec *rec);

#endif /* NVTRACE_FIELDS_H */
