// SPDX-License-Identifier: MIT
/*
 * The device that an example works on: the software controller, unless the user names another.
 *
 *	soft			a controller in this process, on blank memory
 *	soft:size=64M,file=x	the same with options, see tools/nvme_soft.h
 *	0000:01:00.0		a real one, which must be bound to vfio-pci
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#define DEVICE_USAGE                                                                           \
	"DEVICE is soft (the default), soft:OPTIONS, or a PCI address such as 0000:01:00.0;\n" \
	"tools/nvme-bind status lists the addresses, tools/nvme_soft.h the options\n"

/* Is it memory that is new in each run? Only a software controller with file= keeps anything. */
static inline bool device_is_blank(const char *device)
{
	return nvme_soft_dev_ops(device) != NULL && strstr(device, "file=") == NULL;
}

/* Milliseconds of the controller's clock. One in software may have a clock of its own. */
static inline uint64_t device_now_ms(struct nvme_ctrlr *ctrlr)
{
	struct nvme_dev *dev = (struct nvme_dev *)(uintptr_t)nvme_ctrlr_get_dev(ctrlr);
	struct timespec now;

	if (dev->ops->now_ns != NULL)
		return dev->ops->now_ns(dev) / 1000000;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Attaches to device. Returns 0, or the exit status of a program that cannot: 2 where the text of
 * the device or of a fault plan is wrong, 1 for everything else. The reason is on standard error.
 */
static inline int open_device(const char *device, struct nvme_ctrlr **ctrlr)
{
	struct nvme_ctrlr_opts opts;
	char why[256];

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device); /* NULL, and that is VFIO, for a PCI address */
	if (opts.dev_ops != NULL && nvme_soft_check(device, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		return 2;
	}
	return nvme_attach(device, &opts, ctrlr) == 0 ? 0 : 1;
}

#endif /* DEVICE_H */
