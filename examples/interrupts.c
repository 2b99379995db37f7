// SPDX-License-Identifier: MIT
/*
 * interrupts: sleep until the controller has something to tell.
 *
 * Reads the first blocks of a namespace, a few at a time, and waits in poll() for the file
 * descriptor of the queue pair, beside whatever else a program waits for there.
 *
 *	interrupts [DEVICE]		for example: interrupts 0000:01:00.0
 *
 * Without a device it works on the software controller, in a thread of its own. It only reads.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#include <poll.h>

#define DEPTH      8
#define READS      64
#define TIMEOUT_MS 30000

/* All that the callbacks need. It lives longer than the controller. */
struct reads {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint32_t sent, done, failed, wakes;
};

/* One of DEPTH buffers, and whose it is. */
struct slot {
	struct reads *reads;
	uint8_t *buf;
};

static void read_next(struct slot *slot);

/* Runs inside nvme_qpair_process_completions(): the buffer is free for the next block. */
static void read_done(void *arg, const struct nvme_cpl *cpl)
{
	struct slot *slot = arg;

	slot->reads->done++;
	slot->reads->failed += nvme_cpl_is_error(cpl);
	read_next(slot);
}

static void read_next(struct slot *slot)
{
	struct reads *r = slot->reads;
	uint64_t lba = r->sent % nvme_ns_get_num_sectors(r->ns);

	if (r->sent == READS)
		return;
	r->sent++;
	if (nvme_ns_cmd_read(r->ns, r->qp, slot->buf, lba, 1, read_done, slot, 0) != 0) {
		r->done++;
		r->failed++;
	}
}

/* Sleeps until the queue pair's descriptor is readable, and takes its signal. */
static int sleep_until_signal(struct nvme_qpair *qp)
{
	struct pollfd pfd = {nvme_qpair_get_fd(qp), POLLIN, 0};
	uint64_t signals;

	if (poll(&pfd, 1, TIMEOUT_MS) != 1)
		return -ETIMEDOUT;
	return read(pfd.fd, &signals, sizeof(signals)) == sizeof(signals) ? 0 : -errno;
}

/* First the signal, then the completions: one that comes in between leaves another signal. */
static int read_all(struct reads *r, struct slot *slots)
{
	uint32_t i;
	int rc = 0;

	for (i = 0; i < DEPTH; i++)
		read_next(&slots[i]);
	while (r->done < READS && rc >= 0) {
		rc = sleep_until_signal(r->qp);
		r->wakes++;
		if (rc == 0)
			rc = nvme_qpair_process_completions(r->qp, 0);
	}
	return rc < 0 ? rc : r->failed != 0 ? -EIO : 0;
}

static int run(struct nvme_ctrlr *ctrlr, struct reads *r, struct slot *slots)
{
	uint32_t i;
	int rc;

	r->ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	if (r->ns == NULL) {
		fprintf(stderr, "interrupts: no namespace: create one with 'nvme create-ns'\n");
		return -ENODEV;
	}
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &r->qp);
	for (i = 0; i < DEPTH && rc == 0; i++) {
		slots[i].reads = r;
		slots[i].buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(r->ns));
		rc = slots[i].buf != NULL ? 0 : -ENOMEM;
	}
	return rc != 0 ? rc : read_all(r, slots);
}

int main(int argc, char **argv)
{
	const char *device = argc > 1 ? argv[1] : "soft:mode=thread";
	struct slot slots[DEPTH];
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct reads r;
	int rc;

	if (argc > 2 || device[0] == '-') {
		return wrong_use("interrupts", argv[argc - 1], "[DEVICE]\n" DEVICE_USAGE);
	}
	memset(&r, 0, sizeof(r));
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.interrupts = true;
	if (nvme_attach(device, &opts, &ctrlr) != 0)
		return 1; /* the driver has said why */
	rc = run(ctrlr, &r, slots);
	if (rc != 0)
		fprintf(stderr, "interrupts: the reads failed: %s\n", strerror(-rc));
	else
		printf("%u blocks were read, %s\n", r.done,
		       r.wakes <= r.done ? "and every look found something" : "with looks in vain");
	if (nvme_detach(ctrlr) != 0) /* frees the queue pair and its buffers */
		rc = -EIO;
	return rc != 0;
}
