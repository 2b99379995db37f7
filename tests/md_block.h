/* SPDX-License-Identifier: MIT
 *
 * What blocks with metadata and protection information must look like, computed without nvme.h: a
 * reference for tests, here and on the other side of a virtual machine.
 */
#ifndef MD_BLOCK_H
#define MD_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pattern.h"

/* A format: bytes of data and metadata; metadata behind each block or separate; PI and its place. */
struct layout {
	unsigned lbs, ms, mset, pi, pil;
};

#define MD_APP_TAG 0xbeef
#define MD_LBA     5 /* where the blocks are, */
#define MD_NLB     3 /* so many of them */

/* CRC-16/T10-DIF bit by bit, as the polynomial is defined. */
static inline uint16_t slow_crc(uint16_t crc, const uint8_t *at, size_t len)
{
	size_t i;
	int bit;

	for (i = 0; i < len; i++)
		for (bit = 7; bit >= 0; bit--)
			crc = (uint16_t)((crc << 1) ^
			                 (((crc >> 15) ^ (at[i] >> bit & 1)) != 0 ? 0x8bb7 : 0));
	return crc;
}

/* Where the protection information is in a block of data and metadata. */
static inline size_t pi_at(const struct layout *l)
{
	return l->lbs + (l->pil ? 0 : l->ms - 8);
}

/* Puts it there. */
static inline void put_pi(const struct layout *l, uint8_t *block, uint32_t lba, uint16_t app_tag)
{
	size_t at = pi_at(l);
	uint16_t guard = slow_crc(0, block, l->pil ? l->lbs : at);
	uint32_t ref = l->pi == 3 ? 0 : lba;
	uint8_t pi[8] = {(uint8_t)(guard >> 8), (uint8_t)guard,       (uint8_t)(app_tag >> 8),
	                 (uint8_t)app_tag,      (uint8_t)(ref >> 24), (uint8_t)(ref >> 16),
	                 (uint8_t)(ref >> 8),   (uint8_t)ref};

	memcpy(block + at, pi, sizeof(pi));
}

/* A whole block, data and metadata behind it. */
static inline void make_block(const struct layout *l, uint8_t *block, uint32_t lba, uint32_t seed)
{
	pattern_fill(block, l->lbs + l->ms, lba * UINT64_C(10000), seed);
	if (l->pi != 0)
		put_pi(l, block, lba, MD_APP_TAG);
}

/* Namespace n of the test in the virtual machine is formatted so; seed of its blocks: n. */
static const struct layout vm_layouts[] = {
	{512, 8, 0, 1, 0},  {512, 8, 1, 1, 0},   {512, 8, 0, 2, 1},
	{512, 8, 1, 3, 0},  {4096, 16, 0, 3, 1}, {4096, 64, 1, 2, 0},
	{512, 16, 1, 1, 1}, {4096, 8, 0, 0, 0},  {512, 64, 0, 1, 0},
};

#define VM_LAYOUTS (sizeof(vm_layouts) / sizeof(vm_layouts[0]))

#endif /* MD_BLOCK_H */
