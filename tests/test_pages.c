// SPDX-License-Identifier: MIT
/*
 * Hosts with pages of 16 or 64 KiB. The driver is told that pages are larger than they are here, and
 * this kernel's calls are made to behave as theirs: mprotect() refuses what is not in whole pages,
 * and VFIO describes and maps BAR0 as Linux does.
 */
#define _GNU_SOURCE
#include <stddef.h>

static size_t test_page = 4096;
#define NVME__HOST_PAGE_SIZE test_page
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char logged[65536];

static void keep_line(void *arg, enum nvme_log_level level, const char *line)
{
	size_t n = strlen(logged);

	(void)arg;
	if (level <= NVME_LOG_WARNING)
		snprintf(logged + n, sizeof(logged) - n, "%s\n", line);
}

/* How often text is in the log. */
static int count(const char *text)
{
	const char *at = logged;
	int n = 0;

	while ((at = strstr(at, text)) != NULL) {
		at += strlen(text);
		n++;
	}
	return n;
}

/* ---- the kernel ---- */

static int refused;      /* calls of mprotect() with something else than whole pages */
static int out_of_pages; /* fail from now on */

int mprotect(void *addr, size_t len, int prot)
{
	if (((uintptr_t)addr | len) % test_page != 0)
		refused++;
	if (out_of_pages || ((uintptr_t)addr | len) % test_page != 0) {
		errno = out_of_pages ? ENOMEM : EINVAL;
		return -1;
	}
	return (int)syscall(SYS_mprotect, addr, len, prot);
}

/* What VFIO_DEVICE_GET_REGION_INFO says of BAR0. */
static struct {
	struct vfio_region_info info;
	struct vfio_info_cap_header header; /* struct vfio_region_info_cap_sparse_mmap */
	uint32_t nr_areas, reserved;
	struct vfio_region_sparse_mmap_area area;
} bar;

static int mem_fd; /* stands for the device's descriptor: what is mapped is the BAR */

int ioctl(int fd, unsigned long request, ...)
{
	struct vfio_region_info *info;
	va_list ap;

	va_start(ap, request);
	info = va_arg(ap, struct vfio_region_info *);
	va_end(ap);
	assert_int_equal(fd, mem_fd);
	assert_true(request == VFIO_DEVICE_GET_REGION_INFO);
	memcpy(info, &bar, info->argsz < bar.info.argsz ? info->argsz : bar.info.argsz);
	info->argsz = bar.info.argsz;
	return 0;
}

/* ---- the software controller ---- */

static void done(void *arg, const struct nvme_cpl *cpl)
{
	*(int *)arg = nvme_cpl_is_error(cpl) ? -1 : 1;
}

/* Attach, write, read back, queue pairs; every buffer has pages of its own. */
static void use_soft(const char *device)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint8_t *a, *b, small[512];
	int finished = 0;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = keep_line;
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	assert_int_equal(ctrlr->dev.page_size, test_page);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	a = (uint8_t *)nvme_dma_alloc(ctrlr, 3 * 4096);
	b = (uint8_t *)nvme_dma_alloc(ctrlr, 1);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal((uintptr_t)a % test_page, 0);
	assert_int_equal((uintptr_t)b % test_page, 0);
	memset(a, 0x5a, 3 * 4096);
	assert_int_equal(nvme_ns_cmd_write(nvme_ctrlr_get_ns(ctrlr, 1), qp, a, 8, 24, done,
	                                   &finished, 0),
	                 0);
	while (finished == 0)
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
	assert_int_equal(finished, 1);
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, small, 31, 1, NULL), 0);
	assert_int_equal(small[0], 0x5a);
	assert_int_equal(small[511], 0x5a);
	/* memory of one's own comes in whole pages of the host */
	assert_int_equal(nvme_dma_register(ctrlr, small, 512), -EINVAL);
	nvme_detach(ctrlr);
	assert_int_equal(refused, 0);
}

static void test_soft(void **state)
{
	static const size_t sizes[] = {4096, 16384, 65536};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		test_page = sizes[i];
		use_soft("soft");
		use_soft("soft:mpsmin=2");
		use_soft("soft:mpsmin=4,mdts=2");
	}
	test_page = 4096;
}

/* No memory is said, once, with the way out. */
static void test_no_memory(void **state)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops("soft");
	opts.log = keep_line;
	logged[0] = '\0';
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	out_of_pages = 1;
	assert_null(nvme_dma_alloc(ctrlr, 1 << 20));
	out_of_pages = 0;
	assert_int_equal(count("bytes of memory for DMA (Cannot allocate memory)"), 1);
	assert_int_equal(count("ulimit -v"), 1);
	assert_non_null(nvme_dma_alloc(ctrlr, 1 << 20));
	nvme_detach(ctrlr);
}

/* ---- BAR0 ---- */

struct row {
	size_t page, bar, area; /* area: the part that may be mapped, 0: no list of parts */
	bool mmap;              /* the flag */
	size_t mapped;
	const char *warning;
};

static const struct row rows[] = {
	{4096, 16384, 0, true, 16384, NULL},
	{4096, 16384, 8192, true, 8192, NULL},
	{4096, 16384, 0, false, 0, "pages of 4096 bytes, says VFIO"},
	{16384, 16384, 0, true, 16384, NULL},
	/* alone on its page: the kernel lets the whole page be mapped */
	{65536, 16384, 0, true, 16384, NULL},
	{65536, 8192, 0, true, 8192, NULL},
	/* not alone: no flag */
	{65536, 16384, 0, false, 0,
         "pages of 65536 bytes, since something else may be on its page"},
	/* what is left around the MSI-X table is less than a page */
	{65536, 131072, 65536, true, 65536, NULL},
	{65536, 65536, 8192, true, 0, "BAR0 of 65536 bytes cannot be mapped with pages of 65536"},
};

static void set_bar(const struct row *row)
{
	memset(&bar, 0, sizeof(bar));
	bar.info.argsz = sizeof(bar.info);
	bar.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	bar.info.size = row->bar;
	if (row->mmap)
		bar.info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (row->area == 0)
		return;
	bar.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
	bar.info.argsz = sizeof(bar);
	bar.info.cap_offset = (uint32_t)sizeof(bar.info);
	bar.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	bar.nr_areas = 1;
	bar.area.size = row->area;
}

static void test_bar0(void **state)
{
	struct nvme_log log;
	struct nvme__vfio v;
	struct nvme_dev dev;
	uint32_t value;
	size_t i;

	(void)state;
	mem_fd = memfd_create("bar", 0);
	assert_true(mem_fd >= 0);
	assert_int_equal(ftruncate(mem_fd, 1 << 20), 0);
	memset(&log, 0, sizeof(log));
	log.level = NVME_LOG_NOTICE;
	log.fn = keep_line;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&v, 0, sizeof(v));
		memset(&dev, 0, sizeof(dev));
		v.container = v.group = -1;
		v.device = mem_fd;
		dev.priv = &v;
		dev.log = &log;
		dev.ops = &nvme__vfio_ops;
		test_page = dev.page_size = rows[i].page;
		logged[0] = '\0';
		set_bar(&rows[i]);
		assert_int_equal(nvme__vfio_map_bar0(&dev), 0);
		assert_int_equal(dev.bar0_size, rows[i].bar);
		assert_int_equal(dev.bar0_mapped, rows[i].mapped);
		assert_int_equal(v.bar0_map_len % test_page, 0);
		assert_int_equal(count("\n"), rows[i].warning != NULL);
		if (rows[i].warning != NULL) {
			assert_int_equal(count(rows[i].warning), 1);
			assert_int_equal(count("every doorbell is a system call"), 1);
		}
		/* a doorbell arrives, mapped or not */
		nvme_mmio_write_4(&dev, NVME_REG_DOORBELLS + 4, (uint32_t)i + 1);
		assert_int_equal(pread(mem_fd, &value, 4, NVME_REG_DOORBELLS + 4), 4);
		assert_int_equal(value, i + 1);
		if (v.bar0_map != NULL)
			munmap(v.bar0_map, v.bar0_map_len);
	}
	test_page = 4096;
	close(mem_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_soft),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_bar0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
