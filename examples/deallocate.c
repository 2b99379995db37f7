// SPDX-License-Identifier: MIT
/*
 * deallocate: what others call trim or discard.
 *
 * Writes a pattern to the first blocks of the first namespace, tells the controller that every second
 * one of them is no longer needed, all in one command, and looks what they read as now. Whether a
 * controller does anything about it is its own affair: Dataset Management is a hint.
 *
 *	deallocate [--force] [DEVICE]		for example: deallocate 0000:01:00.0
 *
 * Without a device it works on the software controller. It writes to the disk: a disk that holds
 * anything where in_use.h looks is refused, unless --force says that its content may be lost.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"

#define BLOCKS     32u
#define TIMEOUT_MS 30000

/* Stands in main() and lives longer than the controller, as in hello_world. */
struct io {
	bool done;
	struct nvme_cpl cpl;
};

static void io_complete(void *arg, const struct nvme_cpl *cpl)
{
	struct io *io = arg;

	io->cpl = *cpl;
	io->done = true;
}

static int wait_for(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, const struct io *io)
{
	uint64_t deadline = device_now_ms(ctrlr) + TIMEOUT_MS;

	while (!io->done) {
		bool late = device_now_ms(ctrlr) > deadline;
		int rc = nvme_qpair_process_completions(qp, 0);

		if (rc < 0)
			return rc;
		if (rc == 0 && late)
			return -ETIMEDOUT;
	}
	return nvme_cpl_is_error(&io->cpl) ? -EIO : 0;
}

/*
 * Blocks 1, 3, 5 and so on, a range for each. The driver copies the ranges before it returns: they
 * may stand on the stack, and the callback comes once, however many commands they make.
 */
static int deallocate(struct nvme_ns *ns, struct nvme_qpair *qp, struct io *io)
{
	struct nvme_dsm_range ranges[BLOCKS / 2];
	int rc;

	memset(ranges, 0, sizeof(ranges));
	for (uint32_t i = 0; i < BLOCKS / 2; i++) {
		ranges[i].slba = 2 * i + 1;
		ranges[i].nlb = 1;
	}
	rc = nvme_ns_cmd_dataset_management(ns, qp, NVME_DSM_ATTR_DEALLOCATE, ranges, BLOCKS / 2,
	                                    io_complete, io);
	return rc != 0 ? rc : wait_for(nvme_ns_get_ctrlr(ns), qp, io);
}

static void print_promise(const struct nvme_ns *ns)
{
	static const char *const values[] = {"anything: the controller does not say", "zeroes",
	                                     "all ones"};

	printf("Deallocated blocks read as %s.\n",
	       values[nvme_ns_get_dealloc_logical_block_read_value(ns)]);
}

/* One character for each block: # as it was written, 0 zeroes, 1 all ones, ? something else. */
static void print_blocks(const uint8_t *data, uint32_t block)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint8_t is = data[(size_t)i * block];

		putchar(is == 0xa5 ? '#' : is == 0 ? '0' : is == 0xff ? '1' : '?');
	}
	putchar('\n');
}

static int run(struct nvme_ctrlr *ctrlr, bool look_first, struct io *io)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	char text[NVME_ERROR_MAX];
	struct nvme_qpair *qp;
	uint8_t *data;
	size_t size;
	int rc;

	if (ns == NULL || nvme_ns_get_num_sectors(ns) < BLOCKS) {
		fprintf(stderr, "deallocate: no namespace of at least %u blocks\n", BLOCKS);
		return -ENODEV;
	}
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	if (rc == 0 && look_first)
		rc = refuse_used_disk("deallocate", ns, qp, "");
	if (rc != 0)
		return rc;
	print_promise(ns);
	size = (size_t)BLOCKS * nvme_ns_get_extended_sector_size(ns);
	data = malloc(size);
	if (data == NULL)
		return -ENOMEM;
	memset(data, 0xa5, size);
	rc = nvme_ns_write(ns, qp, data, 0, BLOCKS, &io->cpl); /* blocking: any memory will do */
	if (rc == 0)
		rc = deallocate(ns, qp, io);
	if (rc == 0)
		rc = nvme_ns_read(ns, qp, data, 0, BLOCKS, &io->cpl);
	if (rc == 0)
		print_blocks(data, nvme_ns_get_extended_sector_size(ns));
	else
		fprintf(stderr, "deallocate: it failed: %s\n",
		        nvme_strerror(text, sizeof(text), rc, &io->cpl));
	free(data);
	return rc;
}

int main(int argc, char **argv)
{
	bool force = argc > 1 && strcmp(argv[1], "--force") == 0;
	const char *device = argc > (force ? 2 : 1) ? argv[argc - 1] : "soft";
	struct nvme_ctrlr *ctrlr;
	struct io io;
	int status, rc;

	memset(&io, 0, sizeof(io));
	if (argc > (force ? 3 : 2) || device[0] == '-') {
		return wrong_use("deallocate", device, "[--force] [DEVICE]\n" DEVICE_USAGE);
	}
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = run(ctrlr, !force && !device_is_blank(device), &io);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
