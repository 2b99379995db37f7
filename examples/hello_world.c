// SPDX-License-Identifier: MIT
/*
 * hello_world: one block out, one block in.
 *
 * Attaches to an NVMe controller, creates a queue pair, writes "Hello world!\n" to LBA 0 of the
 * first namespace, reads it back into a cleared buffer and prints it. Run it with NVME_LOG=debug
 * to see every step of the driver.
 *
 *	hello_world [--force] [DEVICE]		for example: hello_world 0000:01:00.0
 *
 * Without a device it works on the software controller. It writes to the disk: a disk that holds
 * anything in its first blocks is refused, unless --force says that its content may be lost.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "signature.h"

#define GREETING "Hello world!\n"

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

static int wait_for(struct nvme_qpair *qp, struct io *io)
{
	while (!io->done) {
		int rc = nvme_qpair_process_completions(qp, 0);

		if (rc < 0)
			return rc;
	}
	return io->failed ? -EIO : 0;
}

/* Writes the greeting to LBA 0, clears the buffer, and reads LBA 0 back into it. */
static int write_and_read(struct nvme_ns *ns, struct nvme_qpair *qp, char *buf)
{
	uint32_t size = nvme_ns_get_extended_sector_size(ns);
	struct io io = {false, false};
	int rc;

	memcpy(buf, GREETING, sizeof(GREETING));
	rc = nvme_ns_cmd_write(ns, qp, buf, 0, 1, io_complete, &io, 0);
	if (rc == 0)
		rc = wait_for(qp, &io);
	if (rc != 0)
		return rc;

	memset(buf, 0, size);
	memset(&io, 0, sizeof(io));
	rc = nvme_ns_cmd_read(ns, qp, buf, 0, 1, io_complete, &io, 0);
	if (rc == 0)
		rc = wait_for(qp, &io);
	if (rc == 0)
		printf("%.*s", (int)strnlen(buf, size), buf);
	fflush(stdout); /* so that it stands in its place among the lines of the log */
	return rc;
}

/* Says what would be lost, and how to go on. */
static int refuse_used_disk(struct nvme_ctrlr *ctrlr, struct nvme_ns *ns, struct nvme_qpair *qp)
{
	const char *what = NULL;
	int rc = find_signature(ns, qp, GREETING, &what);

	if (rc != 0) {
		fprintf(stderr,
		        "hello_world: cannot read the first blocks (%s): look at the status "
		        "above\n",
		        strerror(-rc));
		return rc;
	}
	if (what == NULL)
		return 0;
	fprintf(stderr,
	        "hello_world: namespace %u of %s holds %s, which writing would destroy: name "
	        "another "
	        "disk, or run it with --force if nothing on this one is needed\n",
	        nvme_ns_get_id(ns), nvme_ctrlr_get_dev(ctrlr)->name, what);
	return -EEXIST;
}

static int hello_world(struct nvme_ctrlr *ctrlr, bool force)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	struct nvme_qpair *qp;
	char *buf;
	int rc;

	if (ns == NULL) {
		fprintf(stderr, "hello_world: the controller has no namespace: create one with "
		                "'nvme create-ns', or name another controller\n");
		return -ENODEV;
	}
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	if (rc != 0)
		return rc;
	rc = force ? 0 : refuse_used_disk(ctrlr, ns, qp);
	buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(ns));
	if (rc == 0 && (rc = buf != NULL ? write_and_read(ns, qp, buf) : -ENOMEM) != 0)
		fprintf(stderr, "hello_world: the transfer failed: %s\n", strerror(-rc));
	nvme_ctrlr_free_io_qpair(qp); /* first the queue: then nothing uses the buffer any more */
	nvme_dma_free(ctrlr, buf);
	return rc;
}

int main(int argc, char **argv)
{
	bool force = argc > 1 && strcmp(argv[1], "--force") == 0;
	const char *device = argc > (force ? 2 : 1) ? argv[argc - 1] : "soft";
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	if (argc > (force ? 3 : 2) || device[0] == '-') {
		fprintf(stderr, "usage: hello_world [--force] [DEVICE]\n" DEVICE_USAGE);
		return 2;
	}
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = hello_world(ctrlr, force);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
