// SPDX-License-Identifier: MIT
/*
 * hotplug: controllers that come and go.
 *
 * Attaches to what is there, reads block after block from each, and looks for new ones twice a second.
 * One that the system wants back (it is to be pulled out, or bound to another driver) finishes what it
 * is at and is detached, and so is one that has gone or failed; the others go on.
 *
 *	hotplug [-t SECONDS] [DEVICE]...	for example: hotplug all
 *
 * Ends after SECONDS, or, without, when the last one has left. Without a device it works on two
 * software controllers, one that is asked for and one that is pulled out. Nothing is written.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define USAGE                        \
	"[-t SECONDS] [DEVICE]...\n" \
	"all is every controller bound to vfio-pci, also those that come later\n" DEVICE_USAGE
#define LOOK_MS 500

struct disk {
	char name[NVME_TRADDR_SIZE];
	struct nvme_ctrlr *ctrlr; /* NULL: this place is free */
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	void *buf;
	uint64_t read;
	bool busy, failed; /* a read is on its way; it did not go well */
	bool leaving;
};

struct disks {
	struct disk disk[MAX_DEVICES];
	int num, errors;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs inside nvme_ctrlr_process_admin_completions(), once. */
static void on_remove(void *ctx, struct nvme_ctrlr *ctrlr)
{
	static const char *const why[] = {"", "is asked for", "has failed", "is gone"};
	struct disk *d = ((struct disks *)ctx)->disk;

	while (d->ctrlr != ctrlr)
		d++;
	printf("%s %s\n", d->name, why[nvme_ctrlr_get_removal(ctrlr)]);
	d->leaving = true;
}

/* Runs inside nvme_probe(). A controller that nothing can be read from leaves at once. */
static void on_attach(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	struct disks *disks = ctx;
	struct disk *d = disks->disk;

	(void)opts;
	while (d < disks->disk + MAX_DEVICES && d->ctrlr != NULL)
		d++;
	if (d == disks->disk + MAX_DEVICES) {
		(void)nvme_detach(ctrlr);
		return;
	}
	memset(d, 0, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", trid->traddr);
	printf("%s is there\n", d->name);
	disks->num++;
	d->ctrlr = ctrlr;
	d->ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	if (d->ns != NULL)
		d->buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(d->ns));
	if (d->buf != NULL && nvme_ns_get_num_sectors(d->ns) != 0)
		(void)nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &d->qp);
	d->leaving = d->qp == NULL;
}

static void on_read(void *arg, const struct nvme_cpl *cpl)
{
	struct disk *d = arg;

	d->busy = false;
	d->failed = nvme_cpl_is_error(cpl);
	d->read += !d->failed;
}

/* One step: a read if there is none, what has completed, and is it still ours? */
static void work(struct disk *d)
{
	uint64_t lba = d->read % nvme_ns_get_num_sectors(d->ns);
	int rc = 0;

	if (!d->busy && !d->leaving) {
		rc = nvme_ns_cmd_read(d->ns, d->qp, d->buf, lba, 1, on_read, d, 0);
		d->busy = rc == 0;
	}
	if (rc == 0)
		rc = nvme_qpair_process_completions(d->qp, 0);
	(void)nvme_ctrlr_process_admin_completions(d->ctrlr); /* calls on_remove() */
	d->leaving = d->leaving || rc < 0 || d->failed;
	d->busy = d->busy && rc >= 0; /* what a queue pair that has failed owes us never comes */
}

/* What was read, and whether it ended well: asked for politely, or not asked at all. */
static void leave(struct disks *disks, struct disk *d)
{
	enum nvme_removal why = nvme_ctrlr_get_removal(d->ctrlr);
	bool failed = d->failed || (d->leaving && why == NVME_REMOVAL_NONE);

	if (nvme_detach(d->ctrlr) != 0) /* the callback of a read that is outstanding runs here */
		failed = failed || why < NVME_REMOVAL_FAILED;
	printf("%s is detached after %" PRIu64 " blocks\n", d->name, d->read);
	disks->errors += failed;
	disks->num--;
	d->ctrlr = NULL;
}

/* Until the time is over, or everything has left. */
static int run(struct disks *disks, struct nvme_probe_opts *opts, uint64_t seconds)
{
	uint64_t end = now_ms() + seconds * 1000, look = 0;
	struct disk *d;
	bool over;

	do {
		if (now_ms() >= look) {
			if (nvme_probe(NULL, disks, NULL, on_attach, opts) != 0 && look == 0)
				disks->errors++; /* later it may be one on its way out */
			opts->num_devs = 0; /* those that are named are there once; buses change */
			look = now_ms() + LOOK_MS;
		}
		over = seconds == 0 ? disks->num == 0 : now_ms() >= end;
		for (d = disks->disk; d < disks->disk + MAX_DEVICES; d++) {
			if (d->ctrlr != NULL && d->qp != NULL)
				work(d);
			if (d->ctrlr == NULL || (!over && (d->busy || !d->leaving)))
				continue;
			leave(disks, d);
			look = now_ms() + LOOK_MS; /* the kernel takes it away now */
		}
		(void)fflush(stdout);
	} while (!over);
	return disks->errors != 0;
}

int main(int argc, char **argv)
{
	static const char *const two[] = {"soft:plan=on read #100 remove",
	                                  "soft:seed=2,plan=on read #300 gone"};
	static struct disks disks;
	struct devices devices;
	unsigned long seconds = 0;
	char *end = NULL;
	int status;

	if (argc > 1 && strcmp(argv[1], "-t") == 0) {
		seconds = argc > 2 ? strtoul(argv[2], &end, 10) : 0;
		if (seconds == 0 || *end != '\0')
			return wrong_use("hotplug", argc > 2 ? argv[2] : NULL, USAGE);
		argv += 2;
		argc -= 2;
	}
	if (argc > 1 && argv[1][0] == '-')
		return wrong_use("hotplug", argv[1], USAGE);
	if (argc > 1)
		status = name_devices(&devices, argv + 1, argc - 1);
	else
		status = name_devices(&devices, (char *const *)(uintptr_t)two, 2);
	if (status != 0)
		return status;
	devices.opts.remove_cb = on_remove;
	(void)nvme_catch_sigbus(); /* a program may decide that; a library should not */
	return run(&disks, &devices.opts, seconds);
}
