// SPDX-License-Identifier: MIT
/*
 * The bytes that the guest writes and the host expects: a function of the position on the disk
 * and a seed, so that data at a wrong place is noticed like data that is wrong.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>

static inline uint8_t pattern_byte(uint64_t pos, uint32_t seed)
{
	uint64_t x = (pos / 8 + 1) * 0x9e3779b97f4a7c15u ^ ((uint64_t)seed << 32 | seed);

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 32;
	return (uint8_t)(x >> (8 * (pos % 8)));
}

static inline void pattern_fill(uint8_t *buf, size_t len, uint64_t pos, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = pattern_byte(pos + i, seed);
}

/* The index of the first byte that differs, or -1. */
static inline long pattern_check(const uint8_t *buf, size_t len, uint64_t pos, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (buf[i] != pattern_byte(pos + i, seed))
			return (long)i;
	}
	return -1;
}

/*
 * Where the pattern test writes: sizes from one block to 1 MiB (and one odd size above), starting
 * at odd blocks. In bytes, as multiples of 512; a test on larger blocks scales them by its block.
 */
static const struct extent {
	uint32_t block, nlb;
} pattern_extents[] = {
	{1, 1},    {3, 2},       {7, 7},       {17, 8},      {33, 9},       {63, 16},
	{99, 64},  {201, 100},   {513, 255},   {1025, 256},  {1501, 257},   {2049, 1000},
	{5001, 1}, {5003, 1023}, {7001, 1024}, {9001, 1025}, {12345, 2048}, {15001, 2049},
};

#define PATTERN_EXTENTS (sizeof(pattern_extents) / sizeof(pattern_extents[0]))

#endif /* PATTERN_H */
