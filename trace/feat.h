// SPDX-License-Identifier: MIT
/*
 * The features of Set and Get Features, whose values are in CDW11, and in DW0 of completions.
 */
#ifndef NVTRACE_FEAT_H
#define NVTRACE_FEAT_H

#include "rec.h"

/* The fields of CDW11 for one of these commands; none for another feature, or another command. */
const struct nvme_cmd_field *feature_fields(const struct nvme_cmd *cmd);
/* Has the feature a structure in memory? For a feature that is not known: perhaps. */
bool feature_has_data(const struct nvme_cmd *cmd);
/* What the value of a field means, "" where it is just a number. */
int feature_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint32_t value);

#endif /* NVTRACE_FEAT_H */
