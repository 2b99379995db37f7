/* SPDX-License-Identifier: MIT */
/*
 * What test_compare.c (nvme.h) and compare_libnvme.c (libnvme) tell each other.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include <stddef.h>
#include <stdint.h>

/* One row of compare_list.h as one of the two sees it. Rows have the same index on both sides. */
struct compare_row {
	const char *list, *name;
	uint64_t value;
};

/* libnvme's; returns how many. */
size_t compare_libnvme_rows(const struct compare_row **rows);

/* The index of the LBA format that FLBAS names. */
uint8_t compare_libnvme_lbaf(uint8_t flbas);

#define COMPARE_FIELDS 12

/* A command that libnvme builds, and what its arguments are called in nvme.h's tables. */
struct compare_cmd {
	const char *name; /* of the function */
	uint16_t qid;     /* 0: admin, 1: I/O */
	struct {
		const char *name;
		uint64_t most; /* the largest value that libnvme can give it */
	} fields[COMPARE_FIELDS];
	void (*send)(const uint64_t *values); /* one for each field, in their order */
};

size_t compare_libnvme_cmds(const struct compare_cmd **cmds);

/*
 * Has libnvme build the command with these values and send it, to nowhere. Dwords 0, 1 and 10 to 15
 * of what it handed to the kernel are put into sqe. 0, or -1 if it sent nothing.
 */
int compare_libnvme_send(const struct compare_cmd *cmd, const uint64_t *values, uint32_t sqe[16]);

#endif /* COMPARE_H */
