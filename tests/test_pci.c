// SPDX-License-Identifier: MIT
/*
 * What is asked of the PCI bus, and of whom, on a bus that this file makes up in the place of
 * libpci's. (The bus of a virtual machine: test_vm.)
 */
#define pci_alloc     fake_pci_alloc
#define pci_init      fake_pci_init
#define pci_scan_bus  fake_pci_scan_bus
#define pci_cleanup   fake_pci_cleanup
#define pci_fill_info fake_pci_fill_info
#define pci_read_byte fake_pci_read_byte
#define pci_read_word fake_pci_read_word
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* A domain that no computer has, so that nothing is found in sysfs. */
#define DOMAIN 0x7ace
#define DISK_1 "7ace:01:00.0"
#define DISK_2 "7ace:03:00.1"

static struct pci_access bus;
static struct pci_dev functions[4];
static unsigned int asked[4]; /* how often each was read from */

static void put(unsigned int i, uint8_t number, uint8_t function, uint16_t device_class)
{
	functions[i].domain = DOMAIN;
	functions[i].bus = number;
	functions[i].func = function;
	functions[i].device_class = device_class;
	functions[i].next = i < 3 ? &functions[i + 1] : NULL;
}

static int new_bus(void **state)
{
	(void)state;
	memset(functions, 0, sizeof(functions));
	memset(asked, 0, sizeof(asked));
	put(0, 0, 0, 0x0600); /* a host bridge */
	put(1, 1, 0, 0x0108);
	put(2, 2, 0, 0x0300); /* a graphics card */
	put(3, 3, 1, 0x0108);
	return 0;
}

struct pci_access *pci_alloc(void)
{
	return &bus;
}

void pci_init(struct pci_access *access)
{
	access->devices = NULL;
}

void pci_scan_bus(struct pci_access *access)
{
	access->devices = &functions[0];
}

void pci_cleanup(struct pci_access *access)
{
	(void)access;
}

int pci_fill_info(struct pci_dev *dev, int flags)
{
	asked[dev - functions]++;
	dev->vendor_id = 0x1b36;
	return flags;
}

u8 pci_read_byte(struct pci_dev *dev, int at)
{
	asked[dev - functions]++;
	return at == PCI_CLASS_PROG ? 2 : 0;
}

u16 pci_read_word(struct pci_dev *dev, int at)
{
	(void)at;
	asked[dev - functions]++;
	return 0;
}

static void test_enumerate(void **state)
{
	struct nvme_pci_info list[4];

	(void)state;
	assert_int_equal(nvme_pci_enumerate(list, 4), 2);
	assert_string_equal(list[0].addr, DISK_1);
	assert_string_equal(list[1].addr, DISK_2);
	assert_int_equal(list[1].class_code, 0x010802);
	assert_int_equal(list[1].vendor_id, 0x1b36);
	assert_int_equal(nvme_pci_enumerate(list, 1), 2);
	assert_int_equal(nvme_pci_enumerate(NULL, 0), 2);
}

static void quiet(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg, (void)level, (void)line;
}

/* To attach one controller, nobody else is read from: it takes time, and wakes who is asleep. */
static void test_attach_asks_one(void **state)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.log = quiet;
	assert_true(nvme_attach(DISK_2, &opts, &ctrlr) < 0); /* vfio-pci does not hold it */
	assert_true(asked[3] > 0);
	assert_int_equal(asked[0] + asked[1] + asked[2], 0);
	assert_int_equal(nvme_attach("7ace:04:00.0", &opts, &ctrlr), -ENODEV);
	assert_int_equal(nvme_attach("7ace:02:00.0", &opts, &ctrlr), -ENOTSUP); /* graphics */
	assert_int_equal(asked[0] + asked[1], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_enumerate, new_bus),
		cmocka_unit_test_setup(test_attach_asks_one, new_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
