// SPDX-License-Identifier: MIT
/*
 * The devices that an example works on: the software controller, unless the user names others.
 *
 *	soft			a controller in this process, on blank memory
 *	soft:size=64M,file=x	the same with options, see tools/nvme_soft.h
 *	0000:01:00.0		a real one, which must be bound to vfio-pci
 *	all			where several can be named: every one that is bound to vfio-pci
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#define DEVICE_USAGE                                                                           \
	"DEVICE is soft (the default), soft:OPTIONS, or a PCI address such as 0000:01:00.0;\n" \
	"tools/nvme-bind status lists the addresses, tools/nvme_soft.h the options\n"

#define DEVICES_USAGE \
	"Of several devices each has its turn; all is every controller bound to vfio-pci\n" DEVICE_USAGE
#define MAX_DEVICES 64

/* For nvme_probe(): its options, and the devices that they name. */
struct devices {
	struct nvme_probe_opts opts;
	struct nvme_named_dev named[MAX_DEVICES];
};

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

/* An argument that is wrong, or NULL for one that is missing, and what is right. Returns 2. */
static inline int wrong_use(const char *program, const char *argument, const char *usage)
{
	if (argument != NULL)
		fprintf(stderr, "%s: '%s' is not understood\n", program, argument);
	else
		fprintf(stderr, "%s: something is missing\n", program);
	fprintf(stderr, "usage: %s %s", program, usage);
	return 2;
}

/*
 * The devices of a command line, soft if there is none. Returns 0, or 2, the exit status, with the
 * reason on standard error.
 */
static inline int name_devices(struct devices *devices, char *const *names, int count)
{
	char why[256];
	int i = 0;

	memset(devices, 0, sizeof(*devices));
	devices->opts.devs = devices->named;
	devices->opts.devs_only = true;
	do {
		const char *name = count > 0 ? names[i] : "soft";
		struct nvme_named_dev *dev = &devices->named[devices->opts.num_devs];

		if (strcmp(name, "all") == 0) {
			devices->opts.devs_only = false;
			continue;
		}
		if (devices->opts.num_devs == MAX_DEVICES) {
			fprintf(stderr, "'%s' is too much: name at most %d devices\n", name,
			        MAX_DEVICES);
			return 2;
		}
		dev->addr = name;
		dev->dev_ops = nvme_soft_dev_ops(name); /* NULL, and that is VFIO */
		if (dev->dev_ops != NULL && nvme_soft_check(name, why, sizeof(why)) != 0) {
			fprintf(stderr, "%s\n", why);
			return 2;
		}
		devices->opts.num_devs++;
	} while (++i < count);
	return 0;
}

/* What "all" was, if nvme_probe() finds nothing. Returns the exit status. */
static inline int no_device(const char *program)
{
	fprintf(stderr,
	        "%s: no controller is bound to vfio-pci: bind one with 'tools/nvme-bind bind'\n",
	        program);
	return 1;
}

/*
 * Attaches to device, with options of which dev_ops is filled in here. Returns 0, or the exit status
 * of a program that cannot: 2 where the text of the device or of a fault plan is wrong, 1 for
 * everything else. The reason is on standard error.
 */
static inline int open_device_with(const char *device, struct nvme_ctrlr_opts *opts,
                                   struct nvme_ctrlr **ctrlr)
{
	char why[256];

	opts->dev_ops = nvme_soft_dev_ops(device); /* NULL, and that is VFIO, for a PCI address */
	if (opts->dev_ops != NULL && nvme_soft_check(device, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		return 2;
	}
	return nvme_attach(device, opts, ctrlr) == 0 ? 0 : 1;
}

/* The same with the defaults. */
static inline int open_device(const char *device, struct nvme_ctrlr **ctrlr)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	return open_device_with(device, &opts, ctrlr);
}

#endif /* DEVICE_H */
