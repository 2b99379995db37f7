// SPDX-License-Identifier: MIT
/*
 * The I/O tests that hold on every controller: the software one, in both of its modes, and QEMU's
 * behind VFIO. Each is a call of run_io on a disk image and what must come out of it.
 */
#ifndef IO_LIST_H
#define IO_LIST_H

#include "run.h"

static const struct io_test {
	const char *name;
	const char *qemu; /* options of tools/vm */
	const char *soft; /* options of the software controller: the same device */
	const char *command;
	int number;     /* argument of the command, a seed for those that write */
	long size;      /* of the disk image, MiB */
	uint32_t block; /* bytes; not 0: the image must hold the pattern afterwards, seed number + 1 */
	const char *expect[2];
} io_tests[] = {
	{"pattern", "", "", "pattern", 10, 16, 512, {"pattern: 18 checks passed"}},
	{"small MDTS", "--nvme mdts=1", "mdts=1", "pattern", 20, 16, 512, {"pattern: 18 checks"}},
	{"4096-byte blocks",
         "--nvme logical_block_size=4096",
         "lbs=4096",
         "pattern",
         30,
         80,
         4096,
         {"namespace 1: 20480 blocks of 4096 bytes", "pattern: 18 checks"}},
	{"asynchronous", "", "", "async", 40, 16, 0, {"async: 183 checks passed"}},
	{"threads", "", "", "threads", 50, 16, 0, {"threads: 480 checks passed"}},
	{"groups", "", "", "groups", 55, 16, 0, {"groups: 3200 checks passed"}},
	{"format", "", "", "format", 60, 16, 0, {"format: 24 checks passed"}},
	{"2 entries", "", "", "depth", 2, 1, 0, {"2 entries", "depth: 1000 checks passed"}},
	{"3 entries", "", "", "depth", 3, 1, 0, {"3 entries", "depth: 500 checks passed"}},
	{"64 entries", "", "", "depth", 64, 1, 0, {"64 entries", "depth: 16 checks passed"}},
	{"more than MQES", "", "mqes=2047", "depth", 65536, 1, 0, {"2048 entries"}},
	{"limits", "", "", "limits", 0, 1, 0, {"max_nlb 1024, queues 8", "limits: 1 checks"}},
	{"limits of MDTS", "--nvme mdts=1", "mdts=1", "limits", 0, 1, 0, {"max_nlb 16, queues 8"}},
	{"refusals", "", "", "refusals", 0, 1, 0, {"refusals: 35 checks passed"}},
	{"few queues", "--nvme max_ioqpairs=3", "queues=3", "limits", 0, 1, 0, {"queues 3\n"}},
};

#define IO_TESTS (sizeof(io_tests) / sizeof(io_tests[0]))

/* What 'run_io async' leaves on the disk: see run_async() there. */
static inline void expect_async(const char *path, uint32_t seed)
{
	size_t size, i, at = 1;
	uint8_t *data = (uint8_t *)read_file(path, &size);

	for (i = 0; i < 61; i++) {
		size_t nlb = 1 + (i * 13) % 256;

		assert_int_equal(data[at * 512 - 1], 0);
		assert_int_equal(pattern_check(data + at * 512, nlb * 512, at * 512, seed), -1);
		at += nlb + 1;
	}
	free(data);
}

/* The result of one test, and the disk image that it left. */
static inline void expect_io(const struct result *r, const struct io_test *t, const char *disk)
{
	size_t i;

	expect_status(r, 0);
	assert_null(strstr(r->err, "did not complete")); /* and nobody was told otherwise */
	for (i = 0; i < 2 && t->expect[i] != NULL; i++)
		expect_in(r, r->out, t->expect[i]);
	if (t->block != 0)
		expect_pattern(disk, t->block, (uint32_t)t->number + 1);
	if (strcmp(t->command, "async") == 0)
		expect_async(disk, (uint32_t)t->number + 1);
}

#endif /* IO_LIST_H */
