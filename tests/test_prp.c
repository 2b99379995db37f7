/* SPDX-License-Identifier: MIT
 *
 * PRP lists: a table of cases that were tried on a real controller model, the exact limits, and a
 * second, naive builder to compare with. Run from the root of the repository: reads tests/fixtures/.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define POISON    0xa5
#define MAX_PAGES 16400 /* entries of the largest buffer that is built here */

static uint64_t entries[MAX_PAGES]; /* the pages of a buffer, for the reference */

static uint8_t *poisoned(size_t size)
{
	uint8_t *mem = NULL;

	assert_int_equal(posix_memalign((void **)&mem, 65536, size), 0);
	memset(mem, POISON, size);
	return mem;
}

static void put_qword(uint8_t *mem, size_t size, size_t at, uint64_t value)
{
	assert_true(at + 8 <= size);
	memcpy(mem + at, &value, 8);
}

/* ---- the table ---- */

/* "9000ff8:9002000;9002000:4001000,...": puts each qword where list_base is at offset at. */
static unsigned int expect_lists(char *text, uint8_t *mem, size_t size, uint64_t base, size_t at)
{
	unsigned int pages = 0;
	char *page, *qword;

	while ((page = strsep(&text, ";")) != NULL && *page != '\0') {
		uint64_t addr = strtoull(strsep(&page, ":"), NULL, 16);

		pages++;
		for (; (qword = strsep(&page, ",")) != NULL; addr += 8)
			put_qword(mem, size, (size_t)(addr - base) + at, strtoull(qword, NULL, 16));
	}
	return pages;
}

static int append_segments(struct nvme_prp *prp, char *text)
{
	char *segment;
	int rc = 0;

	while (rc == 0 && (segment = strsep(&text, ",")) != NULL) {
		uint64_t iova = strtoull(strsep(&segment, "+"), NULL, 16);

		rc = nvme_prp_list_append(prp, iova, (uint32_t)strtoul(segment, NULL, 16));
	}
	return rc;
}

static int expected_error(const char *reason)
{
	if (strncmp(reason, "EFAULT", 6) == 0)
		return -EFAULT;
	if (strncmp(reason, "EINVAL", 6) == 0)
		return -EINVAL;
	assert_int_equal(strncmp(reason, "ENOTPRP", 7), 0);
	return -EOPNOTSUPP;
}

static void check_row(char *line)
{
	char *column[9];
	uint32_t page_size, pages;
	uint8_t *mem, *want;
	uint64_t base;
	size_t at, size;
	struct nvme_prp prp;
	int i, rc;

	for (i = 0; i < 9; i++) {
		column[i] = strsep(&line, "\t\n");
		assert_non_null(column[i]);
	}
	page_size = (uint32_t)strtoul(column[2], NULL, 10);
	base = strtoull(column[4], NULL, 16);
	at = (size_t)(base & (page_size - 1));
	size = (size_t)4 * 2 * page_size;
	mem = poisoned(size);
	want = poisoned(size);
	nvme__prp_init(&prp, page_size, (uint64_t *)(void *)(mem + at), base, 4,
	               (size_t)2 * page_size);
	rc = append_segments(&prp, column[3]);
	if (strcmp(column[5], "reject") == 0) {
		if (rc != expected_error(column[6]))
			fail_msg("%s %s: %d instead of %s", column[0], column[1], rc, column[6]);
	} else {
		if (rc != 0 || prp.prp1 != strtoull(column[5], NULL, 16) ||
		    prp.prp2 != strtoull(column[6], NULL, 16))
			fail_msg("%s %s: rc %d PRP1 %" PRIx64 " PRP2 %" PRIx64, column[0],
			         column[1], rc, prp.prp1, prp.prp2);
		pages = expect_lists(column[7], want, size, base, at);
		if (memcmp(mem, want, size) != 0 || (pages > 0 && prp.list_used != pages))
			fail_msg("%s %s: the list is not as expected", column[0], column[1]);
	}
	free(mem);
	free(want);
}

static void test_table(void **state)
{
	FILE *file = fopen("tests/fixtures/prp.tsv", "r");
	static char line[65536];
	int rows = 0;

	(void)state;
	if (file == NULL)
		fail_msg(
			"no tests/fixtures/prp.tsv: run the tests from the root of the repository");
	while (fgets(line, sizeof(line), file) != NULL) {
		if (line[0] == '#')
			continue;
		assert_non_null(strchr(line, '\n'));
		check_row(line);
		rows++;
	}
	fclose(file);
	print_message("%d rows of prp.tsv\n", rows);
	assert_int_equal(rows, 32);
}

/* ---- limits ---- */

static void test_top_of_address_space(void **state)
{
	static const struct {
		uint64_t iova;
		uint32_t len;
		int rc;
	} rows[] = {
		{UINT64_MAX - 4095, 4096, 0},
		{UINT64_MAX - 4095, 4097, -EFAULT},
		{UINT64_MAX - 4095, 4100, -EFAULT},
		{UINT64_MAX - 3, 4, 0},
		{UINT64_MAX - 3, 5, -EFAULT},
		{UINT64_MAX - 3, UINT32_MAX, -EFAULT},
		{UINT64_MAX - 3 * 4096 + 1, 3 * 4096, 0},
		{UINT64_MAX - 3 * 4096 + 1, 3 * 4096 + 1, -EFAULT},
		{UINT64_MAX - 3 * 4096 + 5, 3 * 4096 - 4, 0},
		{UINT64_MAX, 1, -EFAULT}, /* not dword aligned */
	};
	struct nvme_prp prp;
	uint64_t list[512];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(list, POISON, sizeof(list));
		nvme__prp_init(&prp, 4096, list, 0x10000, 1, 4096);
		assert_int_equal(nvme_prp_list_append(&prp, rows[i].iova, rows[i].len), rows[i].rc);
		if (rows[i].rc == 0)
			assert_true(prp.prp1 == rows[i].iova);
	}
	nvme__prp_init(&prp, 4096, list, 0x10000, 1, 4096);
	assert_int_equal(nvme_prp_list_append(&prp, UINT64_MAX - 3 * 4096 + 1, 3 * 4096), 0);
	assert_true(list[0] == UINT64_MAX - 2 * 4096 + 1 && list[1] == UINT64_MAX - 4095);
	print_message("%zu ranges at the top\n", i);
}

/* The longest buffer that list_pages can describe, and one page more. */
static void test_list_full(void **state)
{
	static const struct {
		uint32_t list_pages, in_page, most; /* list offset; pages of the longest buffer */
	} rows[] = {
		{0, 0, 2},          {1, 0, 1 + 512},        {2, 0, 1 + 511 + 512},
		{1, 4088, 2},       {1, 4080, 1 + 2},       {1, 2048, 1 + 256},
		{2, 4088, 1 + 512}, {2, 4080, 1 + 1 + 512}, {3, 0, 1 + 511 + 511 + 512},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = (size_t)4 * 4096, end = (size_t)rows[i].list_pages * 4096, k;
		uint32_t extra;

		for (extra = 0; extra < 3; extra++) {
			uint8_t *mem = poisoned(size);
			uint64_t *list = (uint64_t *)(void *)(mem + rows[i].in_page);
			struct nvme_prp prp;

			nvme__prp_init(&prp, 4096, list, 0x100000 + rows[i].in_page,
			               rows[i].list_pages, 4096);
			assert_int_equal(nvme_prp_list_append(&prp, 0x8000000,
			                                      (rows[i].most + extra) * 4096),
			                 extra == 0 ? 0 : -EMSGSIZE);
			for (k = 0; k < rows[i].in_page; k++)
				assert_int_equal(mem[k], POISON);
			for (k = end; k < size; k++)
				assert_int_equal(mem[k], POISON);
			free(mem);
		}
	}
	print_message("%zu list sizes\n", i);
}

static void test_order_of_pieces(void **state)
{
	struct nvme_prp prp;
	uint64_t list[512];

	(void)state;
	nvme__prp_init(&prp, 4096, list, 0x10000, 1, 4096);
	assert_int_equal(nvme_prp_list_append(&prp, 0x4000, 4096), 0);
	assert_int_equal(nvme_prp_list_append(&prp, 0x9004, 4), -EOPNOTSUPP); /* starts in a page */
	nvme__prp_init(&prp, 4096, list, 0x10000, 1, 4096);
	assert_int_equal(nvme_prp_list_append(&prp, 0x4000, 4092), 0);
	assert_int_equal(nvme_prp_list_append(&prp, 0x9000, 4), -EOPNOTSUPP); /* after a hole */
	nvme__prp_init(&prp, 4096, list, 0x10000, 1, 4096);
	assert_int_equal(nvme_prp_list_append(&prp, 0x4000, 4096), 0);
	assert_int_equal(nvme_prp_list_append(&prp, 0x9000, 0), -EINVAL);
	assert_int_equal(nvme_prp_list_append(&prp, 0x9002, 4), -EFAULT);
}

/* ---- brute force ---- */

struct reference {
	uint64_t prp1, prp2;
	int rc;
};

/* n entries, straight from the text of the specification; the list goes into mem. */
static struct reference build(const uint64_t *entry, size_t n, uint32_t page_size, uint8_t *mem,
                              size_t size, uint64_t list, uint32_t list_pages, size_t stride)
{
	uint64_t first_page = list & ~(uint64_t)(page_size - 1);
	struct reference r = {entry[0], n == 2 ? entry[1] : n > 2 ? list : 0, 0};
	size_t slot = (size_t)(list - first_page), done = 1, page = 0;

	while (n > 2 && done < n) {
		if (page >= list_pages) {
			r.rc = -EMSGSIZE;
			return r;
		}
		if (slot == page_size - 8 &&
		    n - done > 1) { /* last slot, and more than it can take */
			if (page + 1 >= list_pages) {
				r.rc = -EMSGSIZE;
				return r;
			}
			put_qword(mem, size, page * stride + slot,
			          first_page + (page + 1) * stride);
			page++;
			slot = 0;
			continue;
		}
		put_qword(mem, size, page * stride + slot, entry[done++]);
		slot += 8;
	}
	return r;
}

static size_t split_pages(uint64_t iova, uint64_t len, uint32_t page_size, size_t n)
{
	uint64_t end = iova + len;

	for (; iova < end; iova = (iova / page_size + 1) * page_size)
		entries[n++] = iova;
	return n;
}

static void compare(struct nvme_prp *prp, int rc, size_t n, const uint8_t *mem, uint8_t *want,
                    size_t size, size_t stride)
{
	struct reference r = build(entries, n, prp->page_size, want, size, prp->list_iova,
	                           prp->list_pages, stride);

	assert_int_equal(rc, r.rc);
	if (rc != 0)
		return;
	assert_true(prp->prp1 == r.prp1 && prp->prp2 == r.prp2);
	assert_int_equal(prp->prp_index, n);
	assert_memory_equal(mem, want, size);
}

static void test_brute_force(void **state)
{
	static const uint32_t page_sizes[] = {4096, 8192, 65536};
	unsigned int p, o, l, k, s, built = 0, refused = 0;

	(void)state;
	for (p = 0; p < 3; p++) {
		const uint32_t ps = page_sizes[p];
		const uint32_t offsets[] = {0, 4, 512, ps / 2, ps - 512, ps - 4};
		const uint32_t lists[] = {0, 8, 64, ps / 2, ps - 64, ps - 16, ps - 8};
		const size_t size = (size_t)3 * ps;
		uint8_t *mem = poisoned(size), *want = poisoned(size);

		for (o = 0; o < 6; o++) {
			for (l = 0; l < 7; l++) {
				for (k = 0; k < 4; k++) {
					for (s = 0; s < 60; s++) {
						/* around 0..29 pages, then around whole list pages */
						uint64_t len =
							s < 30 ? (uint64_t)s * ps + s * 4 + 1
							       : (uint64_t)(ps / 8 + s - 45) * ps *
									 (s % 2 + 1);
						uint64_t iova = 0x4000000000 + offsets[o];
						struct nvme_prp prp;
						int rc;

						if (len > UINT32_MAX || len / ps + 2 > MAX_PAGES)
							continue;
						memset(mem, POISON, size);
						memset(want, POISON, size);
						nvme__prp_init(&prp, ps,
						               (uint64_t *)(void *)(mem + lists[l]),
						               0x10000000 + lists[l], k, ps);
						rc = nvme_prp_list_append(&prp, iova,
						                          (uint32_t)len);
						compare(&prp, rc, split_pages(iova, len, ps, 0),
						        mem, want, size, ps);
						if (rc == 0)
							built++;
						else
							refused++;
					}
				}
			}
		}
		free(mem);
		free(want);
	}
	print_message("%u lists built, %u refused for want of room\n", built, refused);
	assert_true(built > 5000 && refused > 1000);
}

/* The same with buffers of several pieces, scattered over memory. */
static void test_brute_force_pieces(void **state)
{
	const size_t size = (size_t)4 * 2 * 4096;
	uint8_t *mem = poisoned(size), *want = poisoned(size);
	unsigned int round;
	uint32_t random = 1;

	(void)state;
	for (round = 0; round < 3000; round++) {
		size_t n = 0, pieces = 1 + round % 9, i;
		uint32_t in_page = (round * 8) & 4095;
		struct nvme_prp prp;
		int rc = 0;

		memset(mem, POISON, size);
		memset(want, POISON, size);
		nvme__prp_init(&prp, 4096, (uint64_t *)(void *)(mem + in_page),
		               0x70000000 + in_page, 4, (size_t)2 * 4096);
		for (i = 0; i < pieces && rc == 0; i++) {
			uint64_t iova;
			uint32_t len;

			random = random * 1664525u + 1013904223u;
			iova = (uint64_t)(random >> 8) << 12;
			len = (1 + (random >> 20) % 150) * 4096;
			if (i == 0) { /* starts anywhere */
				iova += random & 0xffc;
				len -= (uint32_t)(iova & 4095);
			}
			if (i == pieces - 1) /* ends anywhere */
				len -= len > 4096 ? (random >> 4) & 0xfff : 0;
			rc = nvme_prp_list_append(&prp, iova, len);
			n = split_pages(iova, len, 4096, n);
		}
		assert_int_equal(rc, 0);
		compare(&prp, rc, n, mem, want, size, (size_t)2 * 4096);
	}
	free(mem);
	free(want);
	print_message("%u scattered buffers\n", round);
}

/* ---- the room that the driver gives to the list of one command ---- */

static void check_room(uint32_t max_xfer, uint32_t ps, uint32_t offset)
{
	static uint8_t lists[3 * 40 * 65536] __attribute__((aligned(65536)));
	uint32_t pages, bytes = nvme__prp_list_bytes(max_xfer, ps, &pages), tracker;
	struct nvme_prp prp;
	uint32_t i;

	assert_true(bytes % 64 == 0 && 3 * (size_t)bytes <= sizeof(lists));
	assert_true(pages == 1 ? bytes <= ps && (bytes & (bytes - 1)) == 0 : bytes == pages * ps);
	for (tracker = 0; tracker < 3; tracker += 2) {
		uint8_t *mem = lists + (size_t)tracker * bytes;

		memset(lists + bytes, POISON, bytes); /* the neighbour's */
		nvme__prp_init(&prp, ps, (uint64_t *)(void *)mem,
		               0x10000000 + (uint64_t)tracker * bytes, pages, ps);
		assert_int_equal(nvme_prp_list_append(&prp, 0x400000000 + offset, max_xfer), 0);
		for (i = 0; i < bytes; i += 8)
			assert_true(lists[bytes + i] == POISON);
	}
}

static void test_list_room(void **state)
{
	static const uint32_t page_sizes[] = {4096, 8192, 16384, 65536};
	unsigned int p, n, checked = 0;

	(void)state;
	for (p = 0; p < 4; p++) {
		const uint32_t ps = page_sizes[p];
		uint32_t most = NVME__MAX_XFER_SIZE / ps;

		for (n = 1; n <= most; n++) {
			check_room(n * ps, ps, ps - 4);
			if (n % 7 == 0 || n < 40 || n % (ps / 8 - 1) < 4) {
				check_room(n * ps, ps, 0);
				check_room(n * ps, ps, 4);
				check_room(n * ps - 512, ps, ps - 4);
				check_room(n * ps - ps + 8, ps, ps - 4);
			}
			checked++;
		}
	}
	print_message("%u transfer sizes\n", checked);
	assert_int_equal(checked, 8192 + 4096 + 2048 + 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),       cmocka_unit_test(test_top_of_address_space),
		cmocka_unit_test(test_list_full),   cmocka_unit_test(test_order_of_pieces),
		cmocka_unit_test(test_brute_force), cmocka_unit_test(test_brute_force_pieces),
		cmocka_unit_test(test_list_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
