/* SPDX-License-Identifier: MIT
 *
 * DMA memory: the arena, the caller's own regions, the addresses they get; and what depends on
 * them, the splitting of large transfers and the bounce buffers of the blocking helpers.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "splits.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define GIB ((size_t)1024 * 1024 * 1024)

static struct fake fake;

static struct nvme_ctrlr *start_with_window(size_t window)
{
	struct nvme_ctrlr_opts opts = fake_opts(&fake);
	struct nvme_ctrlr *ctrlr;
	int rc;

	opts.dma_window = window;
	rc = nvme_attach("fake", &opts, &ctrlr);
	if (rc != 0)
		fail_msg("attach returned %d:\n%s", rc, fake.text);
	return ctrlr;
}

static struct nvme_ctrlr *start(void)
{
	fake_init(&fake);
	return fake_attach(&fake);
}

static void stop(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_false(fake.open);
	assert_int_equal(fake.num_maps, 0);
}

/* Walks the arena: extents cover what is mapped, in order, and no two free ones are neighbours. */
static size_t used_bytes(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme__extent *e;
	size_t at = 0, used = 0;

	for (e = ctrlr->arena.extents; e != NULL; e = e->next) {
		assert_int_equal(e->offset, at);
		assert_true(e->len > 0 && e->len % ctrlr->arena.page == 0);
		assert_true(e->use != NVME__EXTENT_FREE || e->next == NULL ||
		            e->next->use != NVME__EXTENT_FREE);
		at += e->len;
		used += e->use != NVME__EXTENT_FREE ? e->len : 0;
	}
	assert_int_equal(at, ctrlr->arena.mapped);
	return used;
}

static bool all_bytes(const uint8_t *mem, size_t len, uint8_t value)
{
	size_t i;

	for (i = 0; i < len && mem[i] == value; i++)
		;
	return i == len;
}

/* Whole pages, at the start of one. */
static uint8_t *pages_of_my_own(size_t size)
{
	void *mem = NULL;

	assert_int_equal(posix_memalign(&mem, 4096, size), 0);
	memset(mem, 0, size);
	return (uint8_t *)mem;
}

/* ---- the arena ---- */

static void test_alloc_free(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	size_t before = used_bytes(ctrlr);
	uint8_t *a, *b, *c, *d, *whole;

	(void)state;
	a = (uint8_t *)nvme_dma_alloc(ctrlr, 1);
	b = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	c = (uint8_t *)nvme_dma_alloc(ctrlr, 4097);
	d = (uint8_t *)nvme_dma_alloc(ctrlr, 1);
	assert_true(a != NULL && b != NULL && c != NULL && d != NULL);
	assert_int_equal(((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) & 4095, 0);
	assert_ptr_equal(b, a + 4096); /* pieces never share a page */
	assert_ptr_equal(c, b + 4096);
	assert_ptr_equal(d, c + 8192);
	assert_int_equal(used_bytes(ctrlr), before + 5 * 4096);
	memset(a, 0xee, 4096);
	memset(b, 0xee, 4096);
	memset(c, 0xee, 8192);

	nvme_dma_free(ctrlr, b);
	assert_ptr_equal(nvme_dma_alloc(ctrlr, 100), b); /* the first that is large enough */
	assert_true(all_bytes(b, 4096, 0));
	nvme_dma_free(ctrlr, a);
	nvme_dma_free(ctrlr, c);
	assert_true((uint8_t *)nvme_dma_alloc(ctrlr, 4 * 4096) >
	            d); /* no hole is large enough yet */
	nvme_dma_free(ctrlr, b);
	whole = (uint8_t *)nvme_dma_alloc(ctrlr, 4 * 4096); /* the three have become one */
	assert_ptr_equal(whole, a);
	assert_true(all_bytes(whole, 4 * 4096, 0));
	nvme_dma_free(ctrlr, NULL);
	nvme_dma_free(ctrlr, whole);
	nvme_dma_free(ctrlr, d);
	assert_int_equal(used_bytes(ctrlr), before + 4 * 4096);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 0);
	stop(ctrlr);
}

static void test_double_free(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint8_t *a = (uint8_t *)nvme_dma_alloc(ctrlr, 8192),
		*b = (uint8_t *)nvme_dma_alloc(ctrlr, 1);
	size_t used = used_bytes(ctrlr);
	uint8_t local;

	(void)state;
	nvme_dma_free(ctrlr, a + 4096);
	nvme_dma_free(ctrlr, a + 1);
	nvme_dma_free(ctrlr, &local);
	assert_int_equal(used_bytes(ctrlr), used);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 3);
	nvme_dma_free(ctrlr, a);
	nvme_dma_free(ctrlr, a);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 4);
	assert_int_equal(used_bytes(ctrlr), used - 8192);
	nvme_dma_free(ctrlr, b);
	nvme_dma_free(ctrlr, b); /* now inside a larger free piece */
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 5);
	assert_int_equal(used_bytes(ctrlr), used - 8192 - 4096);
	stop(ctrlr);
}

static void test_growth(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint64_t maps = fake.maps, iova, end;
	uint8_t *big, *mem[64];
	unsigned int i;

	(void)state;
	assert_int_equal(maps, 1); /* queues and buffers of bring-up fit into the first step */
	for (i = 0; i < 64; i++) {
		mem[i] = (uint8_t *)nvme_dma_alloc(ctrlr, 64 * KIB);
		assert_non_null(mem[i]);
		memset(mem[i], (int)i, 64 * KIB);
	}
	assert_true(fake.maps - maps >= 15 && fake.maps - maps <= 17); /* 256 KiB each */
	for (i = 0; i < 64; i++)
		assert_true(all_bytes(mem[i], 64 * KIB, (uint8_t)i));
	maps = fake.maps;
	big = (uint8_t *)nvme_dma_alloc(ctrlr, 40 * MIB); /* in one step, and in one piece */
	assert_non_null(big);
	assert_int_equal(fake.maps, maps + 1);
	memset(big, 0x11, 40 * MIB);
	assert_int_equal(nvme_dma_iova(ctrlr, big, 40 * MIB, &iova), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, big + 40 * MIB - 1, 1, &end), 0);
	assert_true(end == iova + 40 * MIB - 1);
	used_bytes(ctrlr);
	stop(ctrlr);
}

static void test_exhaustion(void **state)
{
	struct nvme_ctrlr *ctrlr;
	unsigned int n = 0, i;
	void *mem[256];
	size_t left;

	(void)state;
	fake_init(&fake);
	ctrlr = start_with_window(MIB + 1); /* becomes 1 MiB + 4 KiB */
	assert_int_equal(ctrlr->arena.window, MIB + 4096);
	assert_null(nvme_dma_alloc(ctrlr, 0));
	assert_null(nvme_dma_alloc(ctrlr, MIB + 4097));
	assert_null(nvme_dma_alloc(ctrlr, SIZE_MAX));
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 3);
	left = ctrlr->arena.window - used_bytes(ctrlr);
	while (n < 256 && (mem[n] = nvme_dma_alloc(ctrlr, 8192)) != NULL)
		n++;
	assert_int_equal(n, left / 8192);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 4);
	assert_int_equal(fake_logged(&fake, "is used up"), 1);
	nvme_dma_free(ctrlr, mem[7]);
	assert_ptr_equal(nvme_dma_alloc(ctrlr, 8192), mem[7]);
	for (i = 0; i < n; i += 2)
		nvme_dma_free(ctrlr, mem[i]);
	assert_null(nvme_dma_alloc(ctrlr, 4 * 8192)); /* enough in all, but in pieces */
	for (i = 1; i < n; i += 2)
		nvme_dma_free(ctrlr, mem[i]);
	assert_non_null(nvme_dma_alloc(ctrlr, n * 8192));
	stop(ctrlr);
}

/* Random sizes, each piece filled with its own pattern. */
static void test_random(void **state)
{
	struct nvme_ctrlr *ctrlr;
	uint8_t *mem[40];
	size_t len[40], before;
	uint32_t random = 3;
	unsigned int step, refused = 0, i;

	(void)state;
	fake_init(&fake);
	ctrlr = start_with_window(2 * MIB);
	before = used_bytes(ctrlr);
	memset(mem, 0, sizeof(mem));
	for (step = 0; step < 4000; step++) {
		random = random * 1664525u + 1013904223u;
		i = (random >> 20) % 40;
		if (mem[i] != NULL) {
			assert_true(all_bytes(mem[i], len[i], (uint8_t)i));
			nvme_dma_free(ctrlr, mem[i]);
			mem[i] = NULL;
		} else {
			len[i] = 1 + (random >> 4) % (200 * KIB);
			mem[i] = (uint8_t *)nvme_dma_alloc(ctrlr, len[i]);
			if (mem[i] == NULL) {
				refused++;
				continue;
			}
			assert_true(all_bytes(mem[i], len[i], 0));
			memset(mem[i], (int)i, len[i]);
		}
		used_bytes(ctrlr);
	}
	for (i = 0; i < 40; i++)
		nvme_dma_free(ctrlr, mem[i]);
	assert_int_equal(used_bytes(ctrlr), before);
	assert_true(refused > 10 && refused < 2000);
	print_message("%u allocations and frees, %u refused\n", step, refused);
	stop(ctrlr);
}

/* ---- mappings that fail ---- */

static void test_map_fails_at_attach(void **state)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	unsigned int k;

	(void)state;
	for (k = 1; k <= 3; k++) { /* rings of 4096 entries: several steps */
		fake_init(&fake);
		fake.fail_map = k;
		opts = fake_opts(&fake);
		opts.admin_queue_size = 4096;
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), -ENOMEM);
		assert_null(ctrlr);
		assert_false(fake.open);
		assert_int_equal(fake.num_maps, 0);
		assert_true(fake.maps >= k);
		assert_int_equal(NVME_GET(fake.cc, NVME_CC_EN), 0);
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), 0);
		stop(ctrlr);
	}
}

static void test_map_fails_later(void **state)
{
	struct nvme_io_qpair_opts opts = {.entries = 1024, .max_xfer_size = 131072};
	struct nvme_ctrlr *ctrlr = start();
	uint8_t *mine = pages_of_my_own(8192);
	size_t used = used_bytes(ctrlr), mapped = ctrlr->arena.mapped;
	struct nvme_qpair *qp;
	unsigned int k;
	uint64_t iova;

	(void)state;
	fake.fail_map = (unsigned int)fake.maps + 1;
	assert_null(nvme_dma_alloc(ctrlr, MIB));
	assert_int_equal(ctrlr->arena.mapped, mapped);
	assert_int_equal(used_bytes(ctrlr), used);

	fake.fail_map = (unsigned int)fake.maps + 1;
	assert_int_equal(nvme_dma_register(ctrlr, mine, 8192), -ENOMEM);
	assert_int_equal(nvme_dma_iova(ctrlr, mine, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_register(ctrlr, mine, 8192), 0);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine), 0);

	for (k = 1; k <= 2; k++) { /* a queue pair: rings, then PRP lists */
		uint64_t commands = fake.cmds;

		fake.fail_map = (unsigned int)fake.maps + k;
		qp = (struct nvme_qpair *)(void *)ctrlr;
		if (nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp) == 0)
			break; /* fewer steps were necessary */
		assert_null(qp);
		assert_int_equal(fake.cmds, commands);
		assert_int_equal(used_bytes(ctrlr), used);
	}
	assert_true(k > 1);
	fake.fail_map = 0;
	assert_non_null(nvme_dma_alloc(ctrlr, MIB));
	fake_qpair(ctrlr, 1024);
	stop(ctrlr);
	free(mine);
}

/* ---- addresses ---- */

static void test_iova_ranges(void **state)
{
	static const struct {
		struct nvme_iova_range range[3];
		size_t window;
		uint64_t at; /* where the window ends up; 0: refused */
	} rows[] = {
		{{{0, 0x7fffffffff}}, GIB, 2 * MIB},                           /* 39 bits */
		{{{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}}, GIB, 2 * MIB}, /* MSI window */
		{{{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}}, 4 * GIB, 0xff000000},
		{{{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}}, 0xfea00000, 2 * MIB},
		{{{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}}, 0xfec01000, 0xff000000},
		{{{0x1000, 0x1fff}}, 64 * KIB, 0}, /* one page */
		{{{0, 0x1fffff}}, 64 * KIB, 0},    /* all of it below the first usable address */
		{{{0x200000, 0x2fffff}}, MIB, 0x200000}, /* exactly */
		{{{0x200000, 0x2ffffe}}, MIB, 0},        /* one byte less */
		{{{0x200001, 0x5fffff}}, MIB, 0x400000},
		{{{0, 0xfff}, {0x10000, 0x1ffff}, {0x40000000, 0x7fffffff}}, MIB, 0x40000000},
		{{{0x5000, 0x4000}, {0x40000000, 0x7fffffff}}, MIB, 0x40000000}, /* nonsense */
		{{{0x8000000000000000, 0xffffffff00000000}}, MIB, 0x8000000000000000},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr;
		struct nvme_ctrlr_opts opts;
		int rc;

		if (sizeof(void *) < 8 && rows[i].window - 1 >= 2 * GIB)
			continue; /* more than addresses of 32 bits can reach, or 2^32: 0 */
		fake_init(&fake);
		memcpy(fake.iova, rows[i].range, sizeof(rows[i].range));
		fake.num_iova = rows[i].range[1].last == 0 ? 1 : rows[i].range[2].last == 0 ? 2 : 3;
		opts = fake_opts(&fake);
		opts.dma_window = rows[i].window;
		rc = nvme_attach("fake", &opts, &ctrlr);
		if (rows[i].at == 0) {
			assert_int_equal(rc, -ENOSPC);
			assert_int_equal(fake_logged(&fake, "dma_window"), 1);
			assert_int_equal(fake.maps, 0);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_true(ctrlr->arena.iova == rows[i].at);
		assert_non_null(nvme_dma_alloc(ctrlr, 300 * KIB));
		stop(ctrlr);
	}
	print_message("%u sets of ranges\n", i);
}

/* Some IOMMUs report addresses up to the last one. */
static void test_iova_top(void **state)
{
	static const struct nvme_iova_range ranges[] = {{0, UINT64_MAX},
	                                                {0xfef00000, UINT64_MAX},
	                                                {0xffffff8000000000, 0xfffffffffff00000}};
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct nvme_ctrlr *ctrlr;

		fake_init(&fake);
		fake.iova[0] = ranges[i];
		ctrlr = fake_attach(&fake);
		assert_true(ctrlr->arena.iova >= ranges[i].start);
		stop(ctrlr);
	}
}

static void test_register(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint8_t *mine = pages_of_my_own(16 * 4096), *arena = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	uint64_t first, last, iova;
	unsigned int errors;

	(void)state;
	assert_int_equal(nvme_dma_register(ctrlr, NULL, 4096), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, mine, 0), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, mine + 1, 4096), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, mine + 512, 4096), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, mine, 4095), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, mine, 4097), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, arena, 4096), -EINVAL);
	assert_int_equal(fake.lines[NVME_LOG_ERROR], 7);
	assert_int_equal(fake.maps, 1);

	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_register(ctrlr, mine + 4 * 4096, 4 * 4096), 0);
	errors = fake.lines[NVME_LOG_ERROR];
	assert_int_equal(nvme_dma_register(ctrlr, mine + 4 * 4096, 4 * 4096),
	                 -EINVAL); /* the same */
	assert_int_equal(nvme_dma_register(ctrlr, mine + 3 * 4096, 2 * 4096),
	                 -EINVAL); /* its start */
	assert_int_equal(nvme_dma_register(ctrlr, mine + 7 * 4096, 2 * 4096),
	                 -EINVAL);                                                  /* its end */
	assert_int_equal(nvme_dma_register(ctrlr, mine + 5 * 4096, 4096), -EINVAL); /* inside */
	assert_int_equal(nvme_dma_register(ctrlr, mine, 16 * 4096), -EINVAL);       /* around */
	assert_int_equal(fake.lines[NVME_LOG_ERROR], errors + 5);
	assert_int_equal(nvme_dma_register(ctrlr, mine + 8 * 4096, 4096), 0); /* right after it */
	assert_int_equal(nvme_dma_register(ctrlr, mine + 3 * 4096, 4096), 0); /* right before it */

	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096, 4 * 4096, &first), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 8 * 4096 - 1, 1, &last), 0);
	assert_true(last == first + 4 * 4096 - 1);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096, 4 * 4096 + 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 8 * 4096 - 1, 2, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096 - 1, 2, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 9 * 4096, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096, SIZE_MAX, &iova), -EFAULT);

	assert_int_equal(nvme_dma_unregister(ctrlr, mine + 5 * 4096), -EINVAL);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine), -EINVAL);
	assert_int_equal(nvme_dma_unregister(ctrlr, arena), -EINVAL);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine + 4 * 4096), 0);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine + 4 * 4096), -EINVAL);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 4 * 4096, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 8 * 4096, 4096, &iova), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, mine + 3 * 4096, 4096, &iova), 0);
	stop(ctrlr); /* takes back what is still registered */
	free(mine);
}

/* A region that begins before the arena and reaches into it. */
static void test_register_into_arena(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint64_t maps = fake.maps;
	uint8_t *base = ctrlr->arena.base;

	(void)state;
	assert_int_equal(nvme_dma_register(ctrlr, base + ctrlr->arena.mapped, 4096), -EINVAL);
	assert_int_equal(nvme_dma_register(ctrlr, base - 4096, 8192), -EINVAL);
	assert_int_equal(fake.maps, maps);
	stop(ctrlr);
}

static void test_too_many_regions(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint8_t *mine = pages_of_my_own(200 * 4096);
	uint64_t iova[NVME__MAX_REGIONS], other;
	unsigned int i, k;

	(void)state;
	for (i = 0; i < NVME__MAX_REGIONS; i++) {
		assert_int_equal(nvme_dma_register(ctrlr, mine + (size_t)i * 8192, 8192), 0);
		assert_int_equal(nvme_dma_iova(ctrlr, mine + (size_t)i * 8192, 8192, &iova[i]), 0);
		for (k = 0; k < i; k++)
			assert_true(iova[i] >= iova[k] + 8192 || iova[k] >= iova[i] + 8192);
	}
	assert_int_equal(nvme_dma_register(ctrlr, mine + (size_t)i * 8192, 8192), -ENOSPC);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine + 5 * 8192), 0);
	for (k = 0; k < i; k++) { /* the others keep their addresses */
		assert_int_equal(nvme_dma_iova(ctrlr, mine + (size_t)k * 8192, 8192, &other),
		                 k == 5 ? -EFAULT : 0);
		if (k != 5)
			assert_true(other == iova[k]);
	}
	assert_int_equal(nvme_dma_register(ctrlr, mine + (size_t)i * 8192, 8192), 0);
	stop(ctrlr);
	free(mine);
}

static void test_regions_narrow_space(void **state)
{
	uint8_t *mine = pages_of_my_own(8 * 4096);
	struct nvme_ctrlr *ctrlr;
	unsigned int n = 0;

	(void)state;
	fake_init(&fake);
	fake.iova[0].start = 0;
	fake.iova[0].last = 8 * MIB - 1; /* room for the window and two more */
	fake.iova[1].start = 0xfef00000;
	fake.iova[1].last = 0xfeffffff; /* not aligned to 2 MiB: never used */
	fake.num_iova = 2;
	ctrlr = start_with_window(MIB);
	while (n < 8 && nvme_dma_register(ctrlr, mine + (size_t)n * 4096, 4096) == 0)
		n++;
	assert_int_equal(n, 2);
	assert_int_equal(nvme_dma_register(ctrlr, mine + (size_t)n * 4096, 4096), -ENOSPC);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine), 0);
	assert_int_equal(nvme_dma_register(ctrlr, mine + (size_t)n * 4096, 4096), 0);
	stop(ctrlr);
	free(mine);
}

/* What lies in one buffer has an address; what leaves it, was freed or is a ring has none. */
static void test_iova_bounds(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	const struct nvme__arena *a = &ctrlr->arena;
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 3 * 4096 - 100);
	uint8_t *next = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	const void *const rings[] = {qp->sq, qp->cq, qp->lists, ctrlr->adminq->sq};
	uint64_t iova = 0;
	uint8_t local;
	size_t i;

	(void)state;
	assert_true(next == buf + 3 * 4096);
	assert_int_equal(nvme_dma_iova(ctrlr, buf, 3 * 4096, &iova), 0);
	assert_true(iova == a->iova + (uint64_t)(buf - a->base));
	assert_int_equal(nvme_dma_iova(ctrlr, buf + 3 * 4096 - 1, 1, &iova), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, buf + 4100, 2 * 4096 - 4, &iova), 0);
	assert_true(iova == a->iova + (uint64_t)(buf + 4100 - a->base));
	iova = 0x55;
	assert_int_equal(nvme_dma_iova(ctrlr, buf, 3 * 4096 + 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, buf + 4100, 2 * 4096 - 3, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, buf + 8, SIZE_MAX, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, buf + 8, SIZE_MAX - 7, &iova), -EFAULT);
	for (i = 0; i < 4; i++)
		assert_int_equal(nvme_dma_iova(ctrlr, rings[i], 1, &iova), -EFAULT);
	nvme_dma_free(ctrlr, next);
	assert_int_equal(nvme_dma_iova(ctrlr, next, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, a->base - 1, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, a->base - 1, 2, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, a->base + a->mapped, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, a->base + a->window, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, NULL, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, &local, 1, &iova), -EFAULT);
	assert_true(iova == 0x55);
	stop(ctrlr);
}

/* A ring is not the caller's to free, even if he knows where it is. */
static void test_free_ring(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	size_t used = used_bytes(ctrlr);

	(void)state;
	nvme_dma_free(ctrlr, qp->sq);
	assert_int_equal(used_bytes(ctrlr), used);
	assert_int_equal(fake_logged(&fake, "is not a buffer of nvme_dma_alloc()"), 1);
	stop(ctrlr);
}

static unsigned int callbacks;

static void count(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg;
	assert_false(nvme_cpl_is_error(cpl));
	callbacks++;
}

static void test_io_in_region(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t *mine = pages_of_my_own(16 * 4096);
	static const size_t offsets[] = {0, 4, 508, 4092, 16 * 4096 - 24 * 512};
	unsigned int i, k;

	(void)state;
	callbacks = 0;
	assert_int_equal(nvme_dma_register(ctrlr, mine, 16 * 4096), 0);
	for (i = 0; i < 5; i++) {
		for (k = 0; k < 24 * 512; k++)
			fake.disk[k] = (uint8_t)(k / 3 + i);
		memset(mine, 0xcc, 16 * 4096);
		assert_int_equal(nvme_ns_cmd_read(ns, qp, mine + offsets[i], 0, 24, count, NULL, 0),
		                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_memory_equal(mine + offsets[i], fake.disk, 24 * 512);
		assert_true(all_bytes(mine, offsets[i], 0xcc));
		assert_true(all_bytes(mine + offsets[i] + 24 * 512,
		                      16 * 4096 - offsets[i] - 24 * 512, 0xcc));
		assert_int_equal(nvme_ns_cmd_write(ns, qp, mine + offsets[i], 100, 24, count, NULL,
		                                   0),
		                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_memory_equal(fake.disk + 100 * 512, fake.disk, 24 * 512);
	}
	assert_int_equal(callbacks, 10);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, mine + 16 * 4096 - 508, 0, 1, count, NULL, 0),
	                 -EFAULT);
	assert_int_equal(nvme_dma_unregister(ctrlr, mine), 0);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, mine, 0, 1, count, NULL, 0), -EFAULT);
	stop(ctrlr);
	free(mine);
}

/* ---- splitting ---- */

static void check_split(const struct split *row)
{
	struct nvme_io_qpair_opts opts = {.entries = 4, .max_xfer_size = row->max_xfer};
	uint32_t block = (1u << row->lbads) + row->ms;
	size_t len = (size_t)row->n * block, i;
	uint8_t *out = (uint8_t *)malloc(len + 1), *in = (uint8_t *)malloc(len + 1);
	struct nvme_qpair *qp = NULL;
	struct nvme_ctrlr *ctrlr;
	uint64_t slba = row->slba, n = row->n, before;
	struct nvme_ns *ns;
	struct nvme_cpl cpl;

	assert_true(out != NULL && in != NULL);
	ctrlr = attach_split(&fake, row);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_non_null(ns);
	if (row->max_xfer != 0)
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	else
		assert_int_equal(nvme_ns_flush(ns, NULL, NULL), 0); /* creates the queue pair */

	for (i = 0; n != 0; i++) { /* the rule alone */
		uint32_t piece =
			nvme_ns_next_piece(ns,
		                           nvme_ns_get_max_nlb(ns,
		                                               qp != NULL ? qp : ctrlr->sync_qp),
		                           slba, n);

		if (i == MAX_CUTS || piece != row->want[i].nlb || slba != row->want[i].slba)
			fail_msg("%s: piece %zu is (%" PRIu64 ",%" PRIu32 ")", row->id, i, slba,
			         piece);
		slba += piece;
		n -= piece;
	}
	for (i = 0; i < len; i++)
		out[i] = (uint8_t)(i ^ i >> 9);
	out[len] = in[len] = 0x99;
	before = fake.cmds;
	assert_int_equal(nvme_ns_write(ns, qp, out, row->slba, row->n, &cpl), 0);
	assert_false(nvme_cpl_is_error(&cpl));
	check_split_commands(&fake, row, NVME_OPC_WRITE, before, 0);
	before = fake.cmds;
	assert_int_equal(nvme_ns_read(ns, qp, in, row->slba, row->n, NULL), 0);
	check_split_commands(&fake, row, NVME_OPC_READ, before, 0);
	for (i = 0; i < len && len <= sizeof(fake.disk); i++)
		assert_true(in[i] == out[i]);
	assert_int_equal(in[len], 0x99);
	stop(ctrlr);
	free(out);
	free(in);
}

static void test_split(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(splits) / sizeof(splits[0]); i++)
		check_split(&splits[i]);
	print_message("%u splits\n", i);
}

static void test_range(void **state)
{
	static const struct {
		uint64_t slba, n;
		int rc;
	} rows[] = {
		{0, 0, -EINVAL}, /* B23 */
		{2048, 0, -EINVAL},
		{UINT64_MAX, 8, -ERANGE}, /* B25 */
		{UINT64_MAX, 1, -ERANGE},
		{UINT64_MAX - 7, 8, -ERANGE},
		{2048, 1, -ERANGE},
		{2047, 2, -ERANGE},
		{0, 2049, -ERANGE},
		{1, UINT64_MAX, -ERANGE},
		{8, UINT64_MAX - 7, -ERANGE},
		{0, (uint64_t)1 << 32, -ERANGE},
		{(uint64_t)1 << 32, 1, -ERANGE},
	};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, MIB);
	uint64_t before = fake.cmds;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(nvme_ns_read(ns, qp, buf, rows[i].slba, rows[i].n, NULL),
		                 rows[i].rc);
		assert_int_equal(nvme_ns_write(ns, qp, buf, rows[i].slba, rows[i].n, NULL),
		                 rows[i].rc);
		if (rows[i].n <= UINT32_MAX)
			assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, rows[i].slba,
			                                  (uint32_t)rows[i].n, count, NULL, 0),
			                 rows[i].rc);
	}
	assert_int_equal(fake.cmds, before);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 2047, 1, NULL), 0);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, 2048, NULL), 0);
	assert_int_equal(fake.cmds, before + 1 + 8);
	print_message("%u ranges\n", i);
	stop(ctrlr);
}

static void test_one_command_limit(void **state)
{
	static const struct {
		uint32_t max_xfer, fits; /* of the queue pair, in bytes; blocks */
	} rows[] = {{0, 256},  {131072, 256}, {1 << 20, 256}, {65536, 128},
	            {4096, 8}, {512, 1},      {1000, 1}};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, MIB);
	struct nvme_cmd cmd;
	unsigned int i;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_READ;
	cmd.nsid = 1;
	assert_int_equal(nvme_ctrlr_get_max_xfer_size(ctrlr), 131072); /* MDTS */
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_io_qpair_opts opts = {.entries = 4, .max_xfer_size = rows[i].max_xfer};
		uint32_t fits = rows[i].fits,
			 bytes = rows[i].max_xfer != 0 ? rows[i].max_xfer : 131072;
		struct nvme_qpair *qp;
		uint64_t before;

		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
		assert_int_equal(nvme_ns_get_max_nlb(ns, qp), fits);
		before = fake.cmds;
		callbacks = 0;
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, fits + 1, count, NULL, 0),
		                 -EMSGSIZE);
		assert_int_equal(nvme_ns_cmd_write(ns, qp, buf, 0, 2048, count, NULL, 0),
		                 -EMSGSIZE);
		bytes = bytes < 131072 ? bytes : 131072;
		assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, buf, bytes + 4, count,
		                                       NULL),
		                 -EMSGSIZE);
		assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &cmd, buf, bytes + 4, NULL), -EMSGSIZE);
		assert_int_equal(fake.cmds, before);
		/* the worst start: just before the end of a page */
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf + 4092, 0, fits, count, NULL, 0), 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
		assert_int_equal(callbacks, 1);
		assert_memory_equal(buf + 4092, fake.disk, fits * 512);
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	}
	print_message("%u limits\n", i);
	stop(ctrlr);
}

/* A queue pair whose transfers cannot hold a single block. */
static void test_limit_below_block(void **state)
{
	struct nvme_io_qpair_opts opts = {.entries = 4, .max_xfer_size = 256};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t data[512];
	struct nvme_qpair *qp;
	uint64_t before;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	before = fake.cmds;
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), -EMSGSIZE);
	assert_int_equal(nvme_ns_write(ns, qp, data, 0, 1, NULL), -EMSGSIZE);
	assert_int_equal(fake.cmds, before);
	stop(ctrlr);
}

/* ---- bounce buffers ---- */

static void test_bounce(void **state)
{
	static const size_t offsets[] = {0, 1, 2, 3, 4, 511, 4093};
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *dma = (uint8_t *)nvme_dma_alloc(ctrlr, 64 * KIB), stack[8192];
	size_t used, i, k, o;

	(void)state;
	memset(stack, 0, sizeof(stack));
	/* creates the helpers' queue pair and its bounce buffer, which are kept */
	assert_int_equal(nvme_ns_read(ns, NULL, stack, 0, 2, NULL), 0);
	used = used_bytes(ctrlr);
	for (i = 0; i < 7; i++) {
		uint8_t *mem[] = {stack, dma};

		o = offsets[i];
		for (k = 0; k < 2; k++) {
			memset(mem[k], 0xb1, 8192);
			memset(mem[k] + o, (int)(0x20 + i), 1024);
			memset(fake.disk, 0, 4096);
			assert_int_equal(nvme_ns_write(ns, NULL, mem[k] + o, 1, 2, NULL), 0);
			assert_true(all_bytes(fake.disk, 512, 0));
			assert_true(all_bytes(fake.disk + 512, 1024, (uint8_t)(0x20 + i)));
			assert_true(all_bytes(fake.disk + 1536, 512, 0));
			memset(fake.disk + 512, 0x5a, 1024);
			assert_int_equal(nvme_ns_read(ns, NULL, mem[k] + o, 1, 2, NULL), 0);
			assert_true(all_bytes(mem[k], o, 0xb1));
			assert_true(all_bytes(mem[k] + o, 1024, 0x5a));
			assert_true(all_bytes(mem[k] + o + 1024, 8192 - 1024 - o, 0xb1));
			assert_int_equal(used_bytes(ctrlr), used); /* the same one again */
		}
	}
	/* aligned DMA memory is used as it is */
	assert_int_equal(nvme_ns_read(ns, NULL, dma + 8, 0, 1, NULL), 0);
	assert_true(fake.log[(fake.cmds - 1) % FAKE_RING].cmd.dptr.prp.prp1 ==
	            ctrlr->arena.iova + (uint64_t)(dma + 8 - ctrlr->arena.base));
	print_message("%zu offsets\n", i);
	stop(ctrlr);
}

static enum fake_verdict write_then_fail(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                         struct nvme_cpl *cpl)
{
	if (qid == 0 || cmd->opc != NVME_OPC_READ)
		return FAKE_EXEC;
	fake_exec(f, qid, cmd, cpl);
	cpl->status = (uint16_t)((uint16_t)NVME_SET(2, NVME_CPL_SCT) |
	                         (uint16_t)NVME_SET(0x81, NVME_CPL_SC));
	return FAKE_ANSWER;
}

static void test_bounce_error(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cpl cpl;
	uint8_t stack[1024];
	size_t used;

	(void)state;
	assert_int_equal(nvme_ns_read(ns, NULL, stack, 0, 2, NULL), 0);
	used = used_bytes(ctrlr);
	memset(fake.disk, 0x66, 4096);
	memset(stack, 0x11, sizeof(stack));
	fake.hook = write_then_fail;
	assert_int_equal(nvme_ns_read(ns, NULL, stack, 0, 2, &cpl), -EIO);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SCT), 2);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), 0x81);
	assert_true(all_bytes(stack, sizeof(stack), 0x11)); /* half a result is no result */
	assert_int_equal(used_bytes(ctrlr), used);
	stop(ctrlr);
}

/* The second of three pieces fails: the third is not sent, and the caller learns which status it was. */
static enum fake_verdict fail_second(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	(void)f;
	if (qid == 0 || cmd->cdw10 != 256)
		return FAKE_EXEC;
	cpl->status = (uint16_t)((uint16_t)NVME_SET(2, NVME_CPL_SCT) |
	                         (uint16_t)NVME_SET(0x80, NVME_CPL_SC));
	return FAKE_ANSWER;
}

static void test_piece_fails(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 768 * 512);
	struct nvme_cpl cpl;
	uint64_t before;

	(void)state;
	assert_int_equal(nvme_ns_flush(ns, NULL, NULL), 0);
	fake.hook = fail_second;
	before = fake.cmds;
	assert_int_equal(nvme_ns_write(ns, NULL, buf, 0, 768, &cpl), -EIO);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), 0x80);
	assert_int_equal(fake.cmds, before + 2);
	fake.hook = NULL;
	assert_int_equal(nvme_ns_write(ns, NULL, buf, 0, 768, &cpl), 0);
	assert_false(nvme_cpl_is_error(&cpl));
	stop(ctrlr);
}

/* No room for the bounce buffer: an error, and nothing is sent. */
static void test_no_bounce(void **state)
{
	struct nvme_ctrlr *ctrlr;
	uint8_t stack[512];
	struct nvme_ns *ns;
	uint64_t before;
	void *all;

	(void)state;
	fake_init(&fake);
	ctrlr = start_with_window(512 * KIB);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_int_equal(nvme_ns_flush(ns, NULL, NULL), 0);
	while (nvme_dma_alloc(ctrlr, 4096) != NULL)
		;
	all = ctrlr->arena.base + ctrlr->arena.mapped - 4096;
	before = fake.cmds;
	assert_int_equal(nvme_ns_read(ns, NULL, stack, 0, 1, NULL), -ENOMEM);
	assert_int_equal(fake.cmds, before);
	nvme_dma_free(ctrlr, all);
	assert_int_equal(nvme_ns_read(ns, NULL, stack, 0, 1, NULL), 0);
	stop(ctrlr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc_free),
		cmocka_unit_test(test_double_free),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_exhaustion),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_map_fails_at_attach),
		cmocka_unit_test(test_map_fails_later),
		cmocka_unit_test(test_iova_ranges),
		cmocka_unit_test(test_iova_top),
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_register_into_arena),
		cmocka_unit_test(test_too_many_regions),
		cmocka_unit_test(test_regions_narrow_space),
		cmocka_unit_test(test_iova_bounds),
		cmocka_unit_test(test_free_ring),
		cmocka_unit_test(test_io_in_region),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_one_command_limit),
		cmocka_unit_test(test_limit_below_block),
		cmocka_unit_test(test_bounce),
		cmocka_unit_test(test_bounce_error),
		cmocka_unit_test(test_piece_fails),
		cmocka_unit_test(test_no_bounce),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
