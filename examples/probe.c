// SPDX-License-Identifier: MIT
/*
 * probe: all NVMe controllers at once, a line for each.
 *
 *	probe [DEVICE...]		for example: probe all; probe soft:seed=1 soft:seed=2
 *
 * Attaches to the devices that are named, or to every one that is bound to vfio-pci (all), prints
 * one line for each in the order in which they get ready, and detaches from them. Their waits
 * overlap: ten disks that take two seconds each take two seconds. Nothing is written.
 *
 * This is also the place to see what nvme_probe_async() and nvme_detach_async() look like to their
 * caller: all that is below runs in one thread. Those that the driver starts only attach, and wait
 * for the end of a shutdown.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

struct found {
	struct nvme_ctrlr *ctrlr[MAX_DEVICES];
	int num;
};

/* A field of Identify is no string: it is filled up with blanks, and may hold anything. */
static void print_field(const char *field, int size)
{
	while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
		size--;
	for (int i = 0; i < size; i++)
		putchar(isprint((unsigned char)field[i]) ? field[i] : '.');
}

static void print_line(const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr)
{
	const struct nvme_id_ctrlr *id = nvme_ctrlr_get_data(ctrlr);
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);
	unsigned namespaces = 0;
	uint64_t bytes = 0;

	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		const struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

		bytes += nvme_ns_get_num_sectors(ns) * nvme_ns_get_sector_size(ns);
		namespaces++;
	}
	printf("%s: ", trid->traddr);
	print_field((const char *)id->mn, sizeof(id->mn));
	printf(", serial number ");
	print_field((const char *)id->sn, sizeof(id->sn));
	printf(", %u namespace%s, %" PRIu64 " MB\n", namespaces, namespaces == 1 ? "" : "s",
	       bytes / 1000000);
}

/* Before anything is done to it: what shall be different? A queue for each of two threads, say. */
static bool probe_cb(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr_opts *opts)
{
	(void)ctx, (void)trid;
	opts->num_io_queues = 2;
	return true;
}

static void attach_cb(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	struct found *found = ctx;

	(void)opts;
	print_line(trid, ctrlr);
	if (found->num < MAX_DEVICES)
		found->ctrlr[found->num++] = ctrlr;
	else
		(void)nvme_detach(ctrlr);
}

static void attach_fail_cb(void *ctx, const struct nvme_transport_id *trid, int rc)
{
	(void)ctx;
	printf("%s: failed: %s\n", trid->traddr, strerror(-rc)); /* the log says more */
}

/* Attaches to all. Between two polls there is time for other things. */
static int attach_all(struct devices *devices, struct found *found)
{
	struct nvme_probe_ctx *probe;
	int rc;

	devices->opts.attach_fail_cb = attach_fail_cb;
	probe = nvme_probe_async(NULL, found, probe_cb, attach_cb, &devices->opts);
	if (probe == NULL)
		return -EINVAL;
	do
		rc = nvme_probe_poll_async(probe);
	while (rc == -EAGAIN);
	return rc;
}

/* Tells all of them before it waits for one. */
static int detach_all(const struct found *found)
{
	struct nvme_detach_ctx *detach = NULL;
	int rc, failed = 0;

	for (int i = 0; i < found->num; i++) {
		if (nvme_detach_async(found->ctrlr[i], &detach) != 0)
			failed = nvme_detach(found->ctrlr[i]); /* no memory: one by one */
	}
	do
		rc = nvme_detach_poll_async(detach);
	while (rc == -EAGAIN);
	return rc != 0 ? rc : failed;
}

int main(int argc, char **argv)
{
	static struct found found;
	struct devices devices;
	int status;

	if (argc > 1 && argv[1][0] == '-') {
		return wrong_use("probe", argv[1], "[DEVICE...]\n" DEVICES_USAGE);
	}
	if (name_devices(&devices, argv + 1, argc - 1) != 0)
		return 2;
	status = attach_all(&devices, &found) != 0;
	if (status == 0 && found.num == 0)
		return no_device("probe");
	return detach_all(&found) != 0 ? 1 : status;
}
