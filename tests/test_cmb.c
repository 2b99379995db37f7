// SPDX-License-Identifier: MIT
/*
 * The controller memory buffer: what is believed of its registers, how it is switched on and off,
 * submission queues and data in it, and what is refused. (test_vm has the same over VFIO.)
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "said.h"

#define MIB ((uint64_t)1 << 20)

/* ---- a device between the driver and the software controller ---- */

static const struct nvme_dev_ops *soft_ops;
static struct nvme_dev_ops ops;
static uint32_t msc[64], num_msc; /* what was written to CMBMSC, both halves in turn */
static uint32_t msc_offset[64];
static uint32_t lie_at, lie; /* what is read at an offset; 0: what the controller says */
static uint64_t bus_addr;
static int bar_rc, map_rc;
static unsigned int maps;

static void watch_write(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	if (offset == NVME_REG_CMBMSC || offset == NVME_REG_CMBMSC + 4) {
		msc_offset[num_msc % 64] = offset;
		msc[num_msc++ % 64] = value;
	}
	soft_ops->write_4(dev, offset, value);
}

static uint32_t watch_read(struct nvme_dev *dev, uint32_t offset)
{
	uint32_t value = soft_ops->read_4(dev, offset);

	return offset == lie_at && lie != 0 ? lie : value;
}

static int watch_get_bar(struct nvme_dev *dev, unsigned int bar, uint64_t *addr, uint64_t *size)
{
	int rc = soft_ops->get_bar(dev, bar, addr, size);

	if (bus_addr != 0)
		*addr = bus_addr;
	return bar_rc != 0 ? bar_rc : rc;
}

static int watch_map_bar(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
                         void **vaddr)
{
	maps++;
	return map_rc != 0 ? map_rc : soft_ops->map_bar(dev, bar, offset, len, vaddr);
}

static struct nvme_ctrlr_opts options(const char *device)
{
	struct nvme_ctrlr_opts opts;

	soft_ops = nvme_soft_dev_ops(device);
	ops = *soft_ops;
	ops.write_4 = watch_write;
	ops.read_4 = watch_read;
	ops.get_bar = watch_get_bar;
	ops.map_bar = watch_map_bar;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = &ops;
	opts.log = listen;
	said[0] = '\0';
	num_msc = lie = maps = 0;
	bus_addr = 0;
	bar_rc = map_rc = 0;
	return opts;
}

static struct nvme_ctrlr *attach(const char *device)
{
	struct nvme_ctrlr_opts opts = options(device);
	struct nvme_ctrlr *ctrlr;

	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	return ctrlr;
}

static struct nvme_soft *soft_of(struct nvme_ctrlr *ctrlr)
{
	return nvme_soft__of(nvme_ctrlr_get_dev(ctrlr));
}

static void expect_said(const char *text)
{
	if (strstr(said, text) == NULL)
		fail_msg("not said: '%s', but: '%s'", text, said);
	said[0] = '\0';
}

static int alloc_qpair(struct nvme_ctrlr *ctrlr, uint32_t entries, struct nvme_qpair **qp)
{
	struct nvme_io_qpair_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.entries = entries;
	opts.sq_in_cmb = true;
	return nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, qp);
}

static struct nvme_ns *ns_of(struct nvme_ctrlr *ctrlr)
{
	return nvme_ctrlr_get_ns(ctrlr, 1);
}

static uint64_t io_cmds(struct nvme_ctrlr *ctrlr)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(nvme_ctrlr_get_dev(ctrlr), &stats);
	return stats.io_cmds;
}

static void done(void *arg, const struct nvme_cpl *cpl)
{
	assert_false(nvme_cpl_is_error(cpl));
	(*(int *)arg)++;
}

static void wait_for(struct nvme_qpair *qp, const int *count, int n)
{
	while (*count < n)
		assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
}

/* Is the ring that the controller reads in its own memory? */
static bool ring_is_there(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	const struct nvme_soft *s = soft_of(ctrlr);
	const uint8_t *ring = (const uint8_t *)s->sq[nvme_qpair_get_id(qp)].ring;

	return ring >= s->cmb.at && ring < s->cmb.at + s->cmb.len;
}

/* ---- what there is ---- */

static void test_none(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft");
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_cmb_info info;
	struct nvme_qpair *qp;
	size_t size = 7;

	(void)state;
	assert_int_equal(num_msc, 0);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), -ENOTSUP);
	assert_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(size, 0);
	expect_said("CMB not available: the controller has no memory for data that can be used");
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENOTSUP);
	assert_int_equal(nvme_ctrlr_unmap_cmb(ctrlr), -ENOENT);
	expect_said("no controller memory was taken for data");
	assert_int_equal(alloc_qpair(ctrlr, 0, &qp), -ENOTSUP);
	expect_said("no memory for submission queues that can be used");
	assert_int_equal(nvme_detach(ctrlr), 0);
	opts = options("soft");
	opts.use_cmb_sqs = true;
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), -ENOTSUP);
	expect_said("which use_cmb_sqs asks for");
}

/* Off until it is used; then on, at an address that the driver chose; off again at the end. */
static void test_on_and_off(void **state)
{
	const uint32_t cre = NVME_SET(1, NVME_CMBMSC_CRE), cmse = NVME_SET(1, NVME_CMBMSC_CMSE);
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=4");
	struct nvme_cmb_info info;
	size_t size;

	(void)state;
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_int_equal(info.size, 4 * MIB);
	assert_int_equal(info.offset, 0);
	assert_int_equal(info.bar, 2);
	assert_int_equal(info.cmbloc, 0xe2);
	assert_int_equal(info.cmbsz, 0x421d);
	assert_int_equal(info.iova, 0);
	assert_false(info.legacy);
	assert_int_equal(num_msc, 1);
	assert_int_equal(msc[0], cre);
	assert_int_equal(maps, 0);
	assert_false(soft_of(ctrlr)->cmb.on);
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(size, 4 * MIB);
	assert_int_equal(maps, 1);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_int_not_equal(info.iova, 0);
	/* the upper half first */
	assert_int_equal(num_msc, 3);
	assert_int_equal(msc_offset[1], NVME_REG_CMBMSC + 4);
	assert_int_equal(msc[1], info.iova >> 32);
	assert_int_equal(msc_offset[2], NVME_REG_CMBMSC);
	assert_int_equal(msc[2], (uint32_t)info.iova | cre | cmse);
	assert_true(soft_of(ctrlr)->cmb.on);
	assert_int_equal(soft_of(ctrlr)->cmb.base, info.iova);
	/* no memory of the host's has the address */
	assert_true(info.iova >= ctrlr->arena.iova + ctrlr->arena.window ||
	            info.iova + info.size <= ctrlr->arena.iova);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(num_msc, 4);
	assert_int_equal(msc[3], 0);
	assert_string_equal(said, "");
}

/* Before NVMe 1.4: always on, at the address of the BAR, which the arena must not have. */
static void test_legacy(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=2,cmblegacy=1");
	struct nvme_cmb_info info;
	uint8_t *cmb, block[512];
	size_t size;

	(void)state;
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_true(info.legacy);
	assert_int_equal(info.iova, 0x40000000);
	assert_true(ctrlr->arena.iova >= info.iova + info.size);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_non_null(cmb);
	assert_int_equal(size, 2 * MIB);
	memset(block, 0x3c, sizeof(block));
	assert_int_equal(nvme_ns_write(ns_of(ctrlr), NULL, block, 5, 1, NULL), 0);
	assert_int_equal(nvme_ns_read(ns_of(ctrlr), NULL, cmb, 5, 1, NULL), 0);
	assert_memory_equal(cmb, block, sizeof(block));
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(num_msc, 0);
	/* since 1.4 a controller without CAP.CMBS has none, whatever the register is */
	ctrlr = attach("soft:cmb=2,cmblegacy=1,plan=vs=1.2.0");
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

/* The address on the bus is CBA, where it is known, and kept out of the arena all the same. */
static void test_bus_address(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=8,cmbloc=0x10e2,cmbsz=0x721d");
	struct nvme_ctrlr *ctrlr;
	struct nvme_cmb_info info;
	size_t size;

	(void)state;
	bus_addr = 0x12300000;
	assert_int_equal(nvme_attach("soft:cmb=8,cmbloc=0x10e2,cmbsz=0x721d", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_int_equal(info.offset, MIB);
	assert_int_equal(info.size, 7 * MIB);
	assert_int_equal(info.iova, 0x12400000);
	assert_true(ctrlr->arena.iova >= info.iova + info.size);
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(soft_of(ctrlr)->cmb.base, 0x12400000);
	assert_ptr_equal(ctrlr->cmb->vaddr, soft_of(ctrlr)->cmb.mem + MIB);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

/* What another driver has left on is switched off before the arena gets its addresses. */
static void leave_on(struct nvme_dev *dev)
{
	soft_ops->write_4(dev, NVME_REG_CMBMSC, 0x00200003); /* 2 MiB: the first of the arena's */
}

static int open_left_on(struct nvme_dev *dev, const char *addr)
{
	int rc = soft_ops->open(dev, addr);

	if (rc == 0)
		leave_on(dev);
	return rc;
}

static void test_left_on(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=4");
	struct nvme_ctrlr *ctrlr;
	struct nvme_cmb_info info;

	(void)state;
	ops.open = open_left_on;
	assert_int_equal(nvme_attach("soft:cmb=4", &opts, &ctrlr), 0);
	assert_false(soft_of(ctrlr)->cmb.on);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_false(info.legacy);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

static char warned[4096];

static void listen_to_warnings(void *arg, enum nvme_log_level level, const char *line)
{
	if (level == NVME_LOG_WARNING)
		snprintf(warned + strlen(warned), sizeof(warned) - strlen(warned), "%s\n", line);
	listen(arg, level, line);
}

/* Registers that make no sense cost the controller its memory, not its caller the controller. */
static void expect_left_alone(const char *device, const char *why, struct nvme_ctrlr_opts *opts)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_cmb_info info;
	size_t size;

	warned[0] = '\0';
	opts->log = listen_to_warnings;
	opts->log_level = NVME_LOG_WARNING;
	assert_int_equal(nvme_attach(device, opts, &ctrlr), 0);
	if (why[0] == '\0' ? warned[0] != '\0' : strstr(warned, why) == NULL)
		fail_msg("%s: not '%s' but '%s'", device, why, warned);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), -ENOTSUP);
	assert_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(maps, 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_hostile_registers(void **state)
{
	static const struct {
		const char *device, *why;
	} rows[] = {
		{"soft:cmb=4,cmbsz=0x21d", ""}, /* size 0: there is none */
		{"soft:cmb=4,cmbsz=0x171d", "CMBSZ.SZU is reserved"},
		{"soft:cmb=4,cmbsz=0xffffff1d", "CMBSZ.SZU is reserved"},
		{"soft:cmb=4,cmbsz=0xfffff61d", "it is not inside its BAR"},
		{"soft:cmb=4,cmbsz=0x521d", "it is not inside its BAR"},
		{"soft:cmb=4,cmbloc=0x1062", "it is not inside its BAR"},
		{"soft:cmb=4,cmbsz=0x121d,cmbloc=0xfffff062", "it is not inside its BAR"},
		{"soft:cmb=4,cmbsz=0x161d,cmbloc=0xfffff062", "it is not inside its BAR"},
		{"soft:cmb=4,cmbloc=0x61", "CMBLOC.BIR is reserved"},
		{"soft:cmb=4,cmbloc=0x66", "CMBLOC.BIR is reserved"},
		{"soft:cmb=4,cmbloc=0x67", "CMBLOC.BIR is reserved"},
		{"soft:cmb=4,cmbloc=0x60", "it lies across registers"},
		{"soft:cmb=4,cmbloc=0x1060,cmbsz=0x301d", "it lies across registers"},
	};
	struct nvme_ctrlr_opts opts;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		opts = options(rows[i].device);
		expect_left_alone(rows[i].device, rows[i].why, &opts);
	}
	assert_non_null(strstr(warned, "CMBLOC 00001060h, CMBSZ 0000301dh"));
	/* a device that is gone says nothing of its memory, nor does one that breaks off here */
	opts = options("soft:cmb=4");
	lie_at = NVME_REG_CMBSZ;
	lie = UINT32_MAX;
	expect_left_alone("soft:cmb=4", "", &opts);
	opts = options("soft:cmb=4");
	lie_at = NVME_REG_CMBMSC;
	lie = UINT32_MAX;
	expect_left_alone("soft:cmb=4", "", &opts);
	assert_int_equal(num_msc, 0);
	/* doorbells that are far apart reach further than the buffer begins */
	opts = options("soft:cmb=4,dstrd=12,cmbloc=0x1060,cmbsz=0x321d");
	opts.num_io_queues = 64;
	expect_left_alone("soft:cmb=4,dstrd=12,cmbloc=0x1060,cmbsz=0x321d", "across registers",
	                  &opts);
}

static void test_hostile_bars(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=4");

	(void)state;
	bar_rc = -ENODEV;
	expect_left_alone("soft:cmb=4", "the device has no such BAR", &opts);
	opts = options("soft:cmb=4");
	bus_addr = 0x12345678;
	expect_left_alone("soft:cmb=4", "the address of its BAR makes no sense", &opts);
	opts = options("soft:cmb=4");
	bus_addr = UINT64_MAX - 4 * MIB - 4095 + 4096;
	expect_left_alone("soft:cmb=4", "the address of its BAR makes no sense", &opts);
	opts = options("soft:cmb=4");
	ops.get_bar = NULL;
	expect_left_alone("soft:cmb=4", "reaches its registers only", &opts);
	opts = options("soft:cmb=4");
	ops.map_bar = NULL;
	expect_left_alone("soft:cmb=4", "reaches its registers only", &opts);
}

static int no_bus_address(struct nvme_dev *dev, unsigned int bar, uint64_t *addr, uint64_t *size)
{
	int rc = soft_ops->get_bar(dev, bar, addr, size);

	*addr = 0;
	return rc;
}

static void test_legacy_without_address(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=4,cmblegacy=1,iova=30");

	(void)state;
	ops.get_bar = no_bus_address;
	expect_left_alone("soft:cmb=4,cmblegacy=1", "on the bus is not known", &opts);
}

/* The smallest, the last pages of a BAR, and BAR 0 behind the doorbells. */
static void test_places(void **state)
{
	static const struct {
		const char *device;
		uint64_t size, offset;
	} rows[] = {
		{"soft:cmb=1,cmbsz=0x101d", 4096, 0},
		{"soft:cmb=1,cmbsz=0x201d,cmbloc=0xfe0e3", 8192, 0xfe000},
		{"soft:cmb=4,cmbloc=0x10e0,cmbsz=0x321d", 3 * MIB, MIB},
		{"soft:cmb=16,cmbsz=0x131d,cmbloc=0xe4", 16 * MIB, 0},
	};
	struct nvme_cmb_info info;
	size_t i, size;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr = attach(rows[i].device);
		uint8_t *cmb = nvme_ctrlr_map_cmb(ctrlr, &size);

		assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
		assert_int_equal(size, rows[i].size);
		assert_int_equal(info.size, rows[i].size);
		assert_int_equal(info.offset, rows[i].offset);
		assert_int_equal(nvme_ns_read(ns_of(ctrlr), NULL, cmb + size - 512, 0, 1, NULL), 0);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
	assert_string_equal(said, "");
}

/* The device does not play along when it is to be switched on. */
static void test_cannot_be_used(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=4");
	struct nvme_ctrlr_opts opts;
	struct nvme_qpair *qp;
	size_t size;

	(void)state;
	map_rc = -ENODEV;
	assert_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	expect_said("its BAR cannot be mapped: No such device");
	assert_int_equal(alloc_qpair(ctrlr, 0, &qp), -ENODEV);
	assert_null(qp);
	map_rc = 0;
	lie_at = NVME_REG_CMBSTS;
	lie = 1;
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -EIO);
	expect_said("the controller finds its address invalid, CMBSTS.CBAI");
	assert_int_equal(alloc_qpair(ctrlr, 0, &qp), -EIO);
	lie = 0;
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), 0);
	assert_int_equal(maps, 3); /* two failed; the third lasts */
	assert_int_equal(nvme_detach(ctrlr), 0);

	ctrlr = attach("soft:cmb=4");
	lie_at = NVME_REG_CMBSTS;
	lie = UINT32_MAX;
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENODEV);
	expect_said("gone");
	maps = num_msc = 0;
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENODEV);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(num_msc, 0); /* nothing is written to what is not there */

	/* 1 GiB of addresses, of which the arena has some */
	opts = options("soft:cmb=1024,iova=30");
	opts.dma_window = 16 * MIB;
	assert_int_equal(nvme_attach("soft:cmb=1024,iova=30", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENOSPC);
	expect_said("there are no addresses for it: No space left on device");
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- submission queues ---- */

/* Writes and reads through a small ring many times round. */
static void run_io(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, int n)
{
	uint8_t *buf = nvme_dma_alloc(ctrlr, 8 * 4096);
	int sent, count = 0;

	for (sent = 0; sent < n; sent++) {
		uint8_t *at = buf + 4096 * (sent % 8);

		while (sent - count >= 5)
			assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
		memset(at, 1 + sent % 250, 512);
		assert_int_equal(nvme_ns_cmd_write(ns_of(ctrlr), qp, at, (uint64_t)sent, 1, done,
		                                   &count, 0),
		                 0);
	}
	wait_for(qp, &count, n);
	for (sent = 0; sent < n; sent++) {
		assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, buf, (uint64_t)sent, 1, done,
		                                  &count, 0),
		                 0);
		wait_for(qp, &count, n + sent + 1);
		assert_int_equal(buf[0], 1 + sent % 250);
		assert_int_equal(buf[511], 1 + sent % 250);
	}
	nvme_dma_free(ctrlr, buf);
}

static void check_queue(const char *device, bool delay, bool shadow, enum nvme_log_level level)
{
	struct nvme_ctrlr_opts opts = options(device);
	struct nvme_io_qpair_opts qopts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	opts.shadow_doorbells = shadow;
	opts.log_level = level;
	assert_int_equal(nvme_attach(device, &opts, &ctrlr), 0);
	memset(&qopts, 0, sizeof(qopts));
	qopts.entries = 7;
	qopts.sq_in_cmb = true;
	qopts.delay_cmd_submit = delay;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &qopts, &qp), 0);
	assert_true(ring_is_there(ctrlr, qp));
	run_io(ctrlr, qp, 200);
	nvme_qpair_get_opts(qp, &qopts);
	assert_true(qopts.sq_in_cmb);
	/* connected anew it begins again, in the same place */
	assert_int_equal(nvme_ctrlr_disconnect_io_qpair(qp), 0);
	assert_int_equal(nvme_ctrlr_connect_io_qpair(ctrlr, qp), 0);
	assert_true(ring_is_there(ctrlr, qp));
	run_io(ctrlr, qp, 20);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

static void test_queue(void **state)
{
	(void)state;
	check_queue("soft:cmb=1", false, false, NVME_LOG_ERROR);
	check_queue("soft:cmb=1", true, false, NVME_LOG_ERROR);
	check_queue("soft:cmb=1", false, false, NVME_LOG_DEBUG);
	check_queue("soft:cmb=1,dbbuf=1", true, true, NVME_LOG_ERROR);
	check_queue("soft:cmb=1,dbbuf=1,mode=thread", false, true, NVME_LOG_ERROR);
	check_queue("soft:cmb=1,mode=thread", false, false, NVME_LOG_ERROR);
	check_queue("soft:cmb=1,cmblegacy=1", false, false, NVME_LOG_ERROR);
	check_queue("soft:cmb=4,mpsmin=4", false, false, NVME_LOG_ERROR);
}

/* Two commands under one doorbell, where the first is not announced. */
static void test_fused(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1");
	uint8_t *buf = nvme_dma_alloc(ctrlr, 8192);
	struct nvme_qpair *qp;
	int count = 0, i;

	(void)state;
	assert_int_equal(alloc_qpair(ctrlr, 5, &qp), 0);
	memset(buf + 4096, 9, 512);
	assert_int_equal(nvme_ns_cmd_compare_and_write(ns_of(ctrlr), qp, buf, buf + 4096, 3, 1,
	                                               done, &count),
	                 0);
	wait_for(qp, &count, 1);
	memset(buf, 9, 512);
	for (i = 2; i < 12; i++) {
		assert_int_equal(nvme_ns_cmd_compare_and_write(ns_of(ctrlr), qp, buf, buf + 4096, 3,
		                                               1, done, &count),
		                 0);
		wait_for(qp, &count, i);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* All queue pairs, that of the blocking calls included; one with a ring of the caller's is not. */
static void test_all_queues(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=1");
	struct nvme_io_qpair_opts qopts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp, *own;
	uint8_t block[512] = {0};

	(void)state;
	opts.use_cmb_sqs = true;
	assert_int_equal(nvme_attach("soft:cmb=1", &opts, &ctrlr), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_true(ring_is_there(ctrlr, qp));
	assert_int_equal(nvme_ns_write(ns_of(ctrlr), NULL, block, 0, 1, NULL), 0);
	assert_true(ring_is_there(ctrlr, ctrlr->sync_qp));
	nvme_ctrlr_get_default_io_qpair_opts(ctrlr, &qopts);
	assert_true(qopts.sq_in_cmb);
	memset(&qopts, 0, sizeof(qopts));
	qopts.entries = 8;
	qopts.sq.vaddr = nvme_dma_alloc(ctrlr, 4096);
	qopts.sq.len = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &qopts, &own), 0);
	assert_false(ring_is_there(ctrlr, own));
	run_io(ctrlr, own, 20);
	nvme_qpair_get_opts(own, &qopts);
	assert_false(qopts.sq_in_cmb);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Places are given from the front, and again when they are free. */
static void test_room(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=1,cmbsz=0x801d");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp[5], *none;
	size_t size, i;
	uint64_t second;

	(void)state;
	opts.num_io_queues = 10;
	assert_int_equal(nvme_attach("soft:cmb=1,cmbsz=0x801d", &opts, &ctrlr), 0);
	for (i = 0; i < 4; i++) /* 8 pages, 2 each: 65 entries are a page and a bit */
		assert_int_equal(alloc_qpair(ctrlr, 65, &qp[i]), 0);
	assert_int_equal(alloc_qpair(ctrlr, 2, &none), -ENOSPC);
	assert_null(none);
	expect_said("has no 4096 bytes left for a submission queue");
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENOSPC);
	expect_said("submission queues have all of the controller memory buffer");
	second = qp[1]->sq_iova;
	assert_int_equal(second, ctrlr->cmb->info.iova + 8192);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp[1]), 0);
	assert_int_equal(alloc_qpair(ctrlr, 129, &none), -ENOSPC); /* 3 pages */
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp[1]), 0);
	assert_int_equal(qp[1]->sq_iova, second);
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp[4]), 0);
	assert_int_equal(qp[4]->sq_iova, second + 4096);
	/* data begins behind the last ring, and queues may fill what is free before it */
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp[3]), 0);
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(size, 8192);
	assert_int_equal(alloc_qpair(ctrlr, 64, &none), -ENOSPC);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp[0]), 0);
	assert_int_equal(alloc_qpair(ctrlr, 65, &qp[0]), 0);
	assert_int_equal(nvme_ctrlr_unmap_cmb(ctrlr), 0);
	assert_int_equal(alloc_qpair(ctrlr, 65, &qp[3]), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* A ring begins at a page as the controller sees it, which may be larger than what CBA counts in. */
static void test_large_pages(void **state)
{
	struct nvme_ctrlr_opts opts = options("soft:cmb=1,mpsmin=4");
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	(void)state;
	bus_addr = 0x12301000;
	assert_int_equal(nvme_attach("soft:cmb=1,mpsmin=4", &opts, &ctrlr), 0);
	assert_int_equal(alloc_qpair(ctrlr, 8, &qp), 0);
	assert_int_equal(qp->sq_iova, 0x12310000);
	assert_ptr_equal(qp->cmb_sq, ctrlr->cmb->vaddr + 0xf000);
	run_io(ctrlr, qp, 20);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

/* One that the controller did not delete keeps its place. */
static void test_buried(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,cmbsz=0x101d");
	struct nvme_qpair *qp, *none;

	(void)state;
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp), 0);
	assert_int_equal(nvme_soft_set_plan(nvme_ctrlr_get_dev(ctrlr),
	                                    "on delete-io-sq status 0/6"),
	                 0);
	assert_int_not_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_int_equal(nvme_soft_set_plan(nvme_ctrlr_get_dev(ctrlr), NULL), 0);
	assert_int_equal(alloc_qpair(ctrlr, 64, &none), -ENOSPC);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_own_rings(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1");
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	size_t size;
	void *cmb = nvme_ctrlr_map_cmb(ctrlr, &size);

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 8;
	opts.sq.vaddr = cmb;
	opts.sq.len = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), -EINVAL);
	expect_said("it is the controller's memory: use sq_in_cmb instead");
	opts.sq.vaddr = nvme_dma_alloc(ctrlr, 4096);
	opts.sq_in_cmb = true;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), -EINVAL);
	expect_said("sq and sq_in_cmb of the options are two places for one ring");
	assert_int_equal(nvme_dma_register(ctrlr, cmb, 4096), -EINVAL);
	expect_said("DMA memory already");
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- data ---- */

/* A block is copied through the controller's memory alone. */
static void test_data(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=4");
	struct nvme_qpair *qp;
	struct nvme_cmb_info info;
	uint8_t *cmb, *disk;
	uint64_t iova;
	size_t size;
	int count = 0;

	(void)state;
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp), 0);
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_int_equal(size, 4 * MIB - 4096);
	assert_ptr_equal(nvme_ctrlr_map_cmb(ctrlr, &size), cmb);
	assert_int_equal(nvme_ctrlr_get_cmb(ctrlr, &info), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, cmb, size, &iova), 0);
	assert_int_equal(iova, info.iova + 4096);
	disk = nvme_soft_get_ns_memory(nvme_ctrlr_get_dev(ctrlr), 1, &size);
	memset(disk, 0xa7, 128 << 10);
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb, 0, 256, done, &count, 0), 0);
	wait_for(qp, &count, 1);
	assert_int_equal(nvme_ns_cmd_write(ns_of(ctrlr), qp, cmb, 1000, 256, done, &count, 0), 0);
	wait_for(qp, &count, 2);
	assert_memory_equal(disk + 1000 * 512, disk, 128 << 10);
	assert_memory_equal(soft_of(ctrlr)->cmb.at + 4096, disk, 128 << 10);
	/* at an odd place, large, in pieces, and by calls that wait */
	assert_int_equal(nvme_ns_cmd_read_large(ns_of(ctrlr), qp, cmb + 12, 0, 600, done, &count,
	                                        0),
	                 0);
	wait_for(qp, &count, 3);
	assert_int_equal(nvme_ns_write(ns_of(ctrlr), NULL, cmb + 12, 5000, 3, NULL), 0);
	assert_memory_equal(disk + 5000 * 512, disk, 3 * 512);
	assert_int_equal(nvme_ns_read(ns_of(ctrlr), NULL, cmb + 1, 5000, 3, NULL), 0);
	assert_memory_equal(cmb + 1, disk, 3 * 512);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");
}

/* Pieces here and there are one transfer, where the controller mixes memories. */
static void test_pieces(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1");
	struct nvme_qpair *qp;
	uint8_t *host = nvme_dma_alloc(ctrlr, 8192), *cmb, *disk;
	struct iovec iov[3];
	size_t size;
	int count = 0;

	(void)state;
	disk = nvme_soft_get_ns_memory(nvme_ctrlr_get_dev(ctrlr), 1, &size);
	memset(disk, 1, 4096);
	memset(disk + 4096, 2, 4096);
	memset(disk + 8192, 3, 4096);
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp), 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	iov[0].iov_base = host;
	iov[1].iov_base = cmb;
	iov[2].iov_base = host + 4096;
	iov[0].iov_len = iov[1].iov_len = iov[2].iov_len = 4096;
	assert_int_equal(nvme_ns_cmd_readv(ns_of(ctrlr), qp, iov, 3, 0, 24, done, &count, 0), 0);
	wait_for(qp, &count, 1);
	assert_memory_equal(host, disk, 4096);
	assert_memory_equal(cmb, disk + 4096, 4096);
	assert_memory_equal(host + 4096, disk + 8192, 4096);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* What leaves it, or was never given, is no DMA memory. */
static void test_borders(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1");
	struct nvme_qpair *qp;
	uint64_t iova, sent;
	uint8_t *cmb;
	size_t size;
	int count = 0;

	(void)state;
	assert_int_equal(alloc_qpair(ctrlr, 64, &qp), 0);
	cmb = qp->cmb_sq;
	assert_int_equal(nvme_dma_iova(ctrlr, cmb + 4096, 512, &iova), -EFAULT);
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb + 4096, 0, 1, done, &count, 0),
	                 -EFAULT);
	assert_ptr_equal(nvme_ctrlr_map_cmb(ctrlr, &size), cmb + 4096);
	cmb += 4096;
	sent = io_cmds(ctrlr);
	assert_int_equal(nvme_dma_iova(ctrlr, cmb - 512, 512, &iova), -EFAULT); /* the ring */
	assert_int_equal(nvme_dma_iova(ctrlr, cmb + size - 512, 512, &iova), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, cmb + size - 512, 513, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, cmb + size, 1, &iova), -EFAULT);
	said[0] = '\0';
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb + size - 512, 0, 2, done, &count,
	                                  0),
	                 -EFAULT);
	expect_said("not DMA memory of one buffer");
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb + 2, 0, 1, done, &count, 0),
	                 -EFAULT);
	expect_said("or not dword aligned");
	assert_int_equal(nvme_ns_read(ns_of(ctrlr), qp, cmb + size - 512, 0, 2, NULL), -EFAULT);
	nvme_dma_free(ctrlr, cmb);
	expect_said("is not a buffer of nvme_dma_alloc()");
	assert_int_equal(nvme_ctrlr_unmap_cmb(ctrlr), 0);
	assert_int_equal(nvme_ctrlr_unmap_cmb(ctrlr), -ENOENT);
	assert_int_equal(nvme_dma_iova(ctrlr, cmb, 512, &iova), -EFAULT);
	assert_true(io_cmds(ctrlr) == sent);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- what the registers do not allow ---- */

static void test_directions(void **state)
{
	static const struct {
		const char *device;
		int read, write;
		const char *why;
	} rows[] = {
		{"soft:cmb=1,cmbsz=0x121d", 0, 0, ""},
		{"soft:cmb=1,cmbsz=0x1215", -ENOTSUP, 0, "it holds no data of reads, CMBSZ.RDS"},
		{"soft:cmb=1,cmbsz=0x120d", 0, -ENOTSUP, "it holds no data of writes, CMBSZ.WDS"},
	};
	struct nvme_qpair *qp;
	struct iovec iov;
	size_t i, size;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_ctrlr *ctrlr = attach(rows[i].device);
		uint8_t *cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
		int count = 0, good = (rows[i].read == 0) + (rows[i].write == 0);
		uint64_t sent = io_cmds(ctrlr);

		assert_non_null(cmb);
		assert_int_equal(alloc_qpair(ctrlr, 0, &qp), -ENOSPC);
		said[0] = '\0';
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
		iov.iov_base = cmb;
		iov.iov_len = 512;
		assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb, 0, 1, done, &count, 0),
		                 rows[i].read);
		assert_int_equal(nvme_ns_cmd_write(ns_of(ctrlr), qp, cmb, 0, 1, done, &count, 0),
		                 rows[i].write);
		assert_int_equal(nvme_ns_cmd_readv(ns_of(ctrlr), qp, &iov, 1, 0, 1, done, &count,
		                                   0),
		                 rows[i].read);
		assert_int_equal(nvme_ns_cmd_writev(ns_of(ctrlr), qp, &iov, 1, 0, 1, done, &count,
		                                    0),
		                 rows[i].write);
		assert_int_equal(nvme_ns_cmd_compare(ns_of(ctrlr), qp, cmb, 0, 1, done, &count, 0),
		                 rows[i].write);
		wait_for(qp, &count, 2 * good + (rows[i].write == 0));
		assert_int_equal(nvme_ns_read(ns_of(ctrlr), qp, cmb, 0, 1, NULL), rows[i].read);
		assert_int_equal(nvme_ns_write(ns_of(ctrlr), qp, cmb, 0, 1, NULL), rows[i].write);
		assert_true(io_cmds(ctrlr) == sent + (uint64_t)(3 * good + (rows[i].write == 0)));
		assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
		if (good == 2)
			assert_string_equal(said, "");
		else
			expect_said(rows[i].why);
		assert_int_equal(nvme_detach(ctrlr), 0);
	}
}

static void test_kinds(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,cmbsz=0x121c"); /* no SQS */
	struct nvme_ctrlr_opts opts;
	struct nvme_qpair *qp;
	size_t size;

	(void)state;
	assert_int_equal(alloc_qpair(ctrlr, 0, &qp), -ENOTSUP);
	expect_said("no memory for submission queues (CMBSZ)");
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(size, MIB);
	assert_int_equal(nvme_detach(ctrlr), 0);
	opts = options("soft:cmb=1,cmbsz=0x121c");
	opts.use_cmb_sqs = true;
	assert_int_equal(nvme_attach("soft:cmb=1,cmbsz=0x121c", &opts, &ctrlr), -ENOTSUP);
	assert_int_equal(msc[num_msc - 1], 0);
	ctrlr = attach("soft:cmb=1,cmbsz=0x1205"); /* neither RDS nor WDS */
	assert_int_equal(nvme_ctrlr_reserve_cmb(ctrlr), -ENOTSUP);
	expect_said("no memory for data (CMBSZ)");
	assert_int_equal(alloc_qpair(ctrlr, 0, &qp), 0);
	run_io(ctrlr, qp, 20);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Without CDPMLS the list of pages and the data are in the same memory, and lists are in the host's. */
static void test_mixed(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,cmbloc=0xc2");
	uint8_t *host = nvme_dma_alloc(ctrlr, 4096), *cmb;
	struct nvme_qpair *qp;
	struct iovec iov[2];
	size_t size;
	int count = 0;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb, 0, 16, done, &count, 0), 0);
	wait_for(qp, &count, 1);
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb, 0, 17, done, &count, 0), -ENOTSUP);
	expect_said("the list of its pages would be in other memory, CMBLOC.CDPMLS");
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb + 512, 0, 16, done, &count, 0),
	                 -ENOTSUP);
	assert_int_equal(nvme_ns_cmd_read(ns_of(ctrlr), qp, cmb + 512, 0, 15, done, &count, 0), 0);
	wait_for(qp, &count, 2);
	iov[0].iov_base = host;
	iov[1].iov_base = cmb;
	iov[0].iov_len = iov[1].iov_len = 4096;
	said[0] = '\0';
	assert_int_equal(nvme_ns_cmd_readv(ns_of(ctrlr), qp, iov, 2, 0, 16, done, &count, 0),
	                 -ENOTSUP);
	expect_said("it mixes with no other memory, CMBLOC.CDPMLS");
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
	iov[1].iov_base = host;
	assert_int_equal(nvme_ns_cmd_readv(ns_of(ctrlr), qp, iov, 2, 0, 16, done, &count, 0), 0);
	wait_for(qp, &count, 3);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static int rw_md(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, void *buf, void *md, bool write)
{
	int count = 0, rc;

	if (write)
		rc = nvme_ns_cmd_write_with_md(ns_of(ctrlr), qp, buf, md, 0, 2, done, &count, 0, 0,
		                               0);
	else
		rc = nvme_ns_cmd_read_with_md(ns_of(ctrlr), qp, buf, md, 0, 2, done, &count, 0, 0,
		                              0);
	if (rc == 0)
		wait_for(qp, &count, 1);
	return rc;
}

static void test_metadata(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,ms=8,cmbloc=0x62"); /* no CDMMMS */
	uint8_t *host = nvme_dma_alloc(ctrlr, 4096), *cmb;
	struct nvme_qpair *qp;
	size_t size;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_int_equal(rw_md(ctrlr, qp, cmb, host, false), -ENOTSUP);
	expect_said("data and metadata would be in different memory, CMBLOC.CDMMMS");
	assert_int_equal(rw_md(ctrlr, qp, host, cmb, true), -ENOTSUP);
	expect_said("CMBLOC.CDMMMS");
	assert_int_equal(nvme_ns_read_with_md(ns_of(ctrlr), qp, cmb, host, 0, 2, NULL, 0, 0, 0),
	                 -ENOTSUP);
	said[0] = '\0';
	memset(host, 0x11, 1024);
	memset(host + 1024, 0x22, 16);
	assert_int_equal(rw_md(ctrlr, qp, host, host + 1024, true), 0);
	assert_int_equal(rw_md(ctrlr, qp, cmb, cmb + 1024, false), 0);
	assert_memory_equal(cmb, host, 1040);
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_string_equal(said, "");

	ctrlr = attach("soft:cmb=1,ms=8,cmbsz=0x1215"); /* CDMMMS, but no RDS */
	host = nvme_dma_alloc(ctrlr, 4096);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	assert_int_equal(rw_md(ctrlr, qp, host, cmb, true), 0);
	assert_string_equal(said, "");
	assert_int_equal(rw_md(ctrlr, qp, host, cmb, false), -ENOTSUP);
	expect_said("CMBSZ.RDS");
	assert_int_equal(nvme_detach(ctrlr), 0);
}

struct in_callback {
	struct nvme_ctrlr *ctrlr;
	int reserve, unmap, calls;
};

static void try_in_callback(void *arg, const struct nvme_cpl *cpl)
{
	struct in_callback *in = (struct in_callback *)arg;

	(void)cpl;
	in->reserve = nvme_ctrlr_reserve_cmb(in->ctrlr);
	in->unmap = nvme_ctrlr_unmap_cmb(in->ctrlr);
	in->calls++;
}

static void test_in_callbacks(void **state)
{
	struct in_callback in = {attach("soft:cmb=1"), 0, 0, 0};
	struct nvme_cmd cmd;

	(void)state;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_FEATURES;
	cmd.cdw10 = NVME_FEAT_NUMBER_OF_QUEUES;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(in.ctrlr, &cmd, NULL, 0, try_in_callback, &in),
	                 0);
	while (in.calls == 0)
		assert_true(nvme_ctrlr_process_admin_completions(in.ctrlr) >= 0);
	assert_int_equal(in.reserve, -EBUSY);
	assert_int_equal(in.unmap, -EBUSY);
	assert_int_equal(nvme_detach(in.ctrlr), 0);
}

/* ---- the controller's side ---- */

static void wr(struct nvme_ctrlr *ctrlr, uint32_t offset, uint32_t value)
{
	soft_ops->write_4(&ctrlr->dev, offset, value);
}

static uint32_t rd(struct nvme_ctrlr *ctrlr, uint32_t offset)
{
	return soft_ops->read_4(&ctrlr->dev, offset);
}

static void test_soft_registers(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=4,iova=40");

	(void)state;
	assert_int_equal(NVME_GET64(ctrlr->cap, NVME_CAP_CMBS), 1);
	wr(ctrlr, NVME_REG_CMBMSC, 0);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBLOC), 0);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSZ), 0);
	wr(ctrlr, NVME_REG_CMBMSC, 0xffe);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBMSC), 2); /* reserved bits stay 0 */
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSZ), 0);  /* CMSE alone shows nothing */
	assert_false(soft_of(ctrlr)->cmb.on);
	wr(ctrlr, NVME_REG_CMBMSC, 1);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBLOC), 0xe2);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSZ), 0x421d);
	wr(ctrlr, NVME_REG_CMBLOC, 1);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBLOC), 0xe2);
	/* the last 4 MiB of 40 bits, and a page more */
	wr(ctrlr, NVME_REG_CMBMSC + 4, 0xff);
	wr(ctrlr, NVME_REG_CMBMSC, 0xffc00003);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSTS), 0);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBMSC + 4), 0xff);
	assert_true(soft_of(ctrlr)->cmb.on);
	wr(ctrlr, NVME_REG_CMBMSC, 0xffc01003);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSTS), 1);
	assert_false(soft_of(ctrlr)->cmb.on);
	wr(ctrlr, NVME_REG_CMBMSC + 4, 0x100);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSTS), 1);
	wr(ctrlr, NVME_REG_CMBMSC, 1);
	assert_int_equal(rd(ctrlr, NVME_REG_CMBSTS), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static uint32_t status_of(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, struct nvme_cmd *cmd)
{
	struct nvme_cpl cpl;
	int rc = qp == NULL ? nvme_ctrlr_admin(ctrlr, cmd, NULL, 0, &cpl)
	                    : nvme_ctrlr_io(ctrlr, qp, cmd, NULL, 0, &cpl);

	assert_true(rc == 0 || rc == -EIO);
	return NVME_GET(cpl.status, NVME_CPL_SCT) << 8 | NVME_GET(cpl.status, NVME_CPL_SC);
}

static struct nvme_cmd a_read(uint8_t opc, uint64_t prp1, uint64_t prp2, uint32_t nlb)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.nsid = 1;
	cmd.dptr.prp.prp1 = prp1;
	cmd.dptr.prp.prp2 = prp2;
	cmd.cdw12 = nlb - 1;
	return cmd;
}

/* INVALID USE OF CONTROLLER MEMORY BUFFER, for commands that the driver would not send. */
static void test_soft_refuses(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,cmbsz=0x1210,cmbloc=0x42"); /* WDS alone */
	struct nvme_cmd cmd;
	struct nvme_qpair *qp;
	uint64_t *list = nvme_dma_alloc(ctrlr, 4096), iova, at;
	size_t size;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	at = ctrlr->cmb->info.iova;
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_CREATE_IO_CQ;
	cmd.dptr.prp.prp1 = at;
	cmd.cdw10 = NVME_SET(5, NVME_CREATE_IO_Q_QID) | NVME_SET(7, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = NVME_SET(1, NVME_CREATE_IO_CQ_PC);
	assert_int_equal(status_of(ctrlr, NULL, &cmd), 0x12);
	cmd.opc = NVME_OPC_CREATE_IO_SQ;
	cmd.cdw11 |= NVME_SET(1, NVME_CREATE_IO_SQ_CQID);
	assert_int_equal(status_of(ctrlr, NULL, &cmd), 0x12);
	cmd = a_read(NVME_OPC_READ, at, 0, 1);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	cmd = a_read(NVME_OPC_WRITE, at, 0, 1);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0);
	/* a list there, one that names it, and two pages of which one is not there */
	cmd = a_read(NVME_OPC_WRITE, at, at + 4096, 24);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	assert_int_equal(nvme_dma_iova(ctrlr, list, 4096, &iova), 0);
	list[0] = at + 4096;
	list[1] = at + 8192;
	cmd = a_read(NVME_OPC_WRITE, at, iova, 24);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	cmd = a_read(NVME_OPC_WRITE, at, iova, 16);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	cmd = a_read(NVME_OPC_WRITE, at, at + 4096, 16);
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0);
	cmd = a_read(NVME_OPC_READ, iova, 0, 1); /* the host's alone is not concerned */
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Without CDMMMS metadata is where the data is. */
static void test_soft_refuses_md(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1,ms=8,cmbloc=0x62");
	uint8_t *host = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_qpair *qp;
	struct nvme_cmd cmd;
	uint64_t iova, at;
	size_t size;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	at = ctrlr->cmb->info.iova;
	assert_int_equal(nvme_dma_iova(ctrlr, host, 4096, &iova), 0);
	cmd = a_read(NVME_OPC_WRITE, iova, 0, 1);
	cmd.mptr = at;
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	cmd.mptr = iova + 512;
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0);
	cmd.dptr.prp.prp1 = at;
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0x12);
	cmd.mptr = at + 512;
	assert_int_equal(status_of(ctrlr, qp, &cmd), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* Host memory under addresses of the buffer would never be reached. */
static void test_soft_overlap(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:cmb=1");
	static uint8_t page[4096] __attribute__((aligned(4096)));
	size_t size;

	(void)state;
	assert_non_null(nvme_ctrlr_map_cmb(ctrlr, &size));
	assert_int_equal(soft_ops->dma_map(&ctrlr->dev, page, 4096,
	                                   ctrlr->cmb->info.iova + MIB - 4096),
	                 -EEXIST);
	expect_said("a part of it is mapped already");
	assert_int_equal(soft_ops->dma_map(&ctrlr->dev, page, 4096, ctrlr->cmb->info.iova + MIB),
	                 0);
	assert_int_equal(soft_ops->dma_unmap(&ctrlr->dev, ctrlr->cmb->info.iova + MIB, 4096), 0);
	/* the driver gives its addresses to nobody else */
	assert_int_equal(nvme_dma_register(ctrlr, page, 4096), 0);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),         cmocka_unit_test(test_on_and_off),
		cmocka_unit_test(test_legacy),       cmocka_unit_test(test_bus_address),
		cmocka_unit_test(test_left_on),      cmocka_unit_test(test_hostile_registers),
		cmocka_unit_test(test_hostile_bars), cmocka_unit_test(test_legacy_without_address),
		cmocka_unit_test(test_places),       cmocka_unit_test(test_cannot_be_used),
		cmocka_unit_test(test_queue),        cmocka_unit_test(test_fused),
		cmocka_unit_test(test_all_queues),   cmocka_unit_test(test_room),
		cmocka_unit_test(test_large_pages),  cmocka_unit_test(test_buried),
		cmocka_unit_test(test_own_rings),    cmocka_unit_test(test_data),
		cmocka_unit_test(test_pieces),       cmocka_unit_test(test_borders),
		cmocka_unit_test(test_directions),   cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_mixed),        cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_in_callbacks), cmocka_unit_test(test_soft_registers),
		cmocka_unit_test(test_soft_refuses), cmocka_unit_test(test_soft_refuses_md),
		cmocka_unit_test(test_soft_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
