// SPDX-License-Identifier: MIT
/*
 * hello_world: one block out, one block in.
 *
 * Attaches to an NVMe controller, creates a queue pair, writes "Hello world!\n" to LBA 0 of the
 * first namespace, reads it back into a cleared buffer and prints it. Run it with NVME_LOG=debug
 * to see every step of the driver. With several devices it attaches to all, then each has its turn.
 *
 *	hello_world [--force] [DEVICE...]	for example: hello_world 0000:01:00.0
 *
 * Without a device it works on the software controller. It writes to the disk: a disk that holds
 * anything where in_use.h looks is refused, unless --force says that its content may be lost.
 * "all" is every controller that is bound to vfio-pci; it does not go together with --force.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"

#define GREETING   "Hello world!\n"
#define TIMEOUT_MS 30000

/*
 * The state of one command. Its callback writes here, and every command gets its callback: one that
 * the controller never completes gets it late, when its queue pair is freed or even inside
 * nvme_detach(). So this stands in main() and lives longer than the controller. The function that
 * sends the command may have returned by then.
 */
struct io {
	bool done;
	bool failed;
};

/* Runs inside nvme_qpair_process_completions(), when the completion of the command was read. */
static void io_complete(void *arg, const struct nvme_cpl *cpl)
{
	struct io *io = arg;

	io->failed = nvme_cpl_is_error(cpl);
	io->done = true;
}

static int wait_for(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, const struct io *io)
{
	uint64_t deadline = device_now_ms(ctrlr) + TIMEOUT_MS;

	while (!io->done) {
		bool late = device_now_ms(ctrlr) > deadline; /* first the clock, then a last look */
		int rc = nvme_qpair_process_completions(qp, 0);

		if (rc < 0)
			return rc; /* the command is still outstanding: leave buf and io alone */
		if (rc == 0 && late)
			return -ETIMEDOUT; /* and so it is here */
	}
	return io->failed ? -EIO : 0;
}

/* Writes the greeting to LBA 0, clears the buffer, and reads LBA 0 back into it. */
static int write_and_read(struct nvme_ns *ns, struct nvme_qpair *qp, char *buf, struct io *io)
{
	struct nvme_ctrlr *ctrlr = nvme_ns_get_ctrlr(ns);
	uint32_t size = nvme_ns_get_extended_sector_size(ns);
	int rc;

	memcpy(buf, GREETING, sizeof(GREETING));
	rc = nvme_ns_cmd_write(ns, qp, buf, 0, 1, io_complete, io, 0);
	if (rc == 0)
		rc = wait_for(ctrlr, qp, io);
	if (rc != 0)
		return rc;

	memset(buf, 0, size);
	memset(io, 0, sizeof(*io));
	rc = nvme_ns_cmd_read(ns, qp, buf, 0, 1, io_complete, io, 0);
	if (rc == 0)
		rc = wait_for(ctrlr, qp, io);
	if (rc == 0)
		printf("%.*s", (int)strnlen(buf, size), buf);
	return rc;
}

/* "10GB", in decimal units as disks are sold; below 1 GB in smaller ones. */
static void print_namespaces(struct nvme_ctrlr *ctrlr)
{
	static const char *const units[] = {"B", "kB", "MB", "GB"};
	uint32_t id = nvme_ctrlr_get_first_active_ns(ctrlr);

	for (; id != 0; id = nvme_ctrlr_get_next_active_ns(ctrlr, id)) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, id);
		uint64_t size = nvme_ns_get_num_sectors(ns) * nvme_ns_get_sector_size(ns);
		int unit = 0;

		for (; size >= 1000 && unit < 3; unit++)
			size /= 1000;
		printf("  Namespace ID: %u size: %" PRIu64 "%s\n", id, size, units[unit]);
	}
}

/* A controller, and what its commands write to as long as it is attached. */
struct disk {
	struct nvme_ctrlr *ctrlr;
	bool look_first; /* it may hold something */
	struct io io;
};

struct disks {
	struct disk disk[MAX_DEVICES];
	int num;
	bool force;
	bool failed; /* some other is of no use */
};

/* Runs for each controller, in nvme_probe(): is it wanted? */
static bool probe_cb(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr_opts *opts)
{
	(void)ctx, (void)opts;
	printf("Attaching to %s\n", trid->traddr);
	return true;
}

/* Runs when it is attached. It is ours from here on. */
static void attach_cb(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	struct disks *disks = ctx;
	struct disk *disk = &disks->disk[disks->num];

	(void)opts;
	printf("Attached to %s\n", nvme_ctrlr_get_dev(ctrlr)->name);
	if (disks->num == MAX_DEVICES || nvme_ctrlr_get_first_active_ns(ctrlr) == 0) {
		fprintf(stderr, disks->num == MAX_DEVICES
		                        ? "hello_world: too many devices: name fewer\n"
		                        : "hello_world: no namespace: create one with "
		                          "'nvme create-ns'\n");
		(void)nvme_detach(ctrlr);
		disks->failed = true;
		return;
	}
	disk->ctrlr = ctrlr;
	disk->look_first = !disks->force && !device_is_blank(trid->traddr);
	disks->num++;
	print_namespaces(ctrlr);
}

static int hello_world(struct disk *disk)
{
	struct nvme_ctrlr *ctrlr = disk->ctrlr;
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	struct nvme_qpair *qp;
	char *buf;
	int rc;

	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	if (rc == 0 && disk->look_first)
		rc = refuse_used_disk("hello_world", ns, qp, GREETING);
	if (rc != 0)
		return rc; /* nvme_detach() frees the queue pair */
	buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(ns));
	if (buf == NULL)
		return -ENOMEM;
	printf("INFO: using host memory buffer for IO\n");
	rc = write_and_read(ns, qp, buf, &disk->io);
	if (rc != 0)
		fprintf(stderr, "hello_world: the transfer failed: %s\n", strerror(-rc));
	/* First the queue, then the buffer. If the queue stays so must the buffer, until detach. */
	if (nvme_ctrlr_free_io_qpair(qp) == 0)
		nvme_dma_free(ctrlr, buf);
	return rc;
}

/* Says what is wrong with an argument, or nothing. */
static bool refuse(const char *arg, bool force)
{
	if (arg[0] == '-')
		fprintf(stderr, "hello_world: there is no option '%s'\n", arg);
	else if (force && strcmp(arg, "all") == 0)
		fprintf(stderr, "hello_world: with --force name the disks: not 'all'\n");
	else
		return false;
	fprintf(stderr, "usage: hello_world [--force] [DEVICE...]\n" DEVICES_USAGE);
	return true;
}

int main(int argc, char **argv)
{
	static struct disks disks;
	struct devices devices;
	int i, first, status;

	disks.force = argc > 1 && strcmp(argv[1], "--force") == 0;
	first = disks.force ? 2 : 1;
	for (i = first; i < argc; i++) {
		if (refuse(argv[i], disks.force))
			return 2;
	}
	if (name_devices(&devices, argv + first, argc - first) != 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0); /* so that its lines stand in their places in the log */
	printf("Initializing NVMe Controllers\n");
	/* If one fails the driver has said why, and there may be others. */
	status = nvme_probe(NULL, &disks, probe_cb, attach_cb, &devices.opts) != 0 || disks.failed;
	if (disks.num > 0)
		printf("Initialization complete.\n");
	else if (status == 0)
		status = no_device("hello_world");
	for (i = 0; i < disks.num; i++)
		status |= hello_world(&disks.disk[i]) != 0;
	for (i = 0; i < disks.num; i++)
		status |= nvme_detach(disks.disk[i].ctrlr) != 0;
	return status;
}
