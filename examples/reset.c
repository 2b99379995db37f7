// SPDX-License-Identifier: MIT
/*
 * reset: a controller that is reset while commands are on their way.
 *
 * Two queue pairs read the first blocks of a namespace. In the middle of it the controller is reset.
 * Nothing is lost: each read ends once, in the next poll of its own queue pair, with its data or as
 * aborted. Then the queue pair is connected again, and the aborted reads are sent once more.
 *
 *	reset [--resubmit] [--subsystem] [DEVICE]	for example: reset 0000:01:00.0
 *
 * --resubmit leaves connecting and sending again to the queue pairs: nobody hears of the reset.
 * --subsystem resets all controllers of the NVM subsystem, where the device can (soft:nssr=1).
 * Without a device it works on the software controller, where half of the reads hang.
 * It only reads.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define QUEUES     2
#define READS      4
#define TIMEOUT_MS 30000

/* One read. All of them live longer than the controller, since callbacks may come that late. */
struct io {
	uint8_t *buf; /* a block, in DMA memory */
	bool ended;
	struct nvme_cpl cpl;
};

struct queue {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint64_t lba; /* of the first read */
	struct io io[READS];
};

static void read_ended(void *arg, const struct nvme_cpl *cpl)
{
	struct io *io = arg;

	io->ended = true;
	io->cpl = *cpl;
}

static bool was_aborted(const struct io *io)
{
	return io->ended && NVME_GET(io->cpl.status, NVME_CPL_SCT) == NVME_SCT_GENERIC &&
	       NVME_GET(io->cpl.status, NVME_CPL_SC) == NVME_SC_ABORTED_SQ_DELETION;
}

static int count_ended(const struct queue *q, bool aborted)
{
	int i, n = 0;

	for (i = 0; i < READS; i++)
		n += q->io[i].ended && was_aborted(&q->io[i]) == aborted;
	return n;
}

/* Sends the reads that were not sent yet, or those that were aborted. */
static int send_reads(struct queue *q, bool again)
{
	int i, rc = 0;

	for (i = 0; i < READS && rc == 0; i++) {
		struct io *io = &q->io[i];

		if (again && !was_aborted(io))
			continue;
		io->ended = false;
		rc = nvme_ns_cmd_read(q->ns, q->qp, io->buf,
		                      (q->lba + (uint64_t)i) % nvme_ns_get_num_sectors(q->ns), 1,
		                      read_ended, io, 0);
	}
	return rc;
}

static int wait_for_all(struct nvme_ctrlr *ctrlr, struct queue *q)
{
	uint64_t deadline = device_now_ms(ctrlr) + TIMEOUT_MS;
	int i, rc = 0;

	for (i = 0; i < READS && rc >= 0; i += rc >= 0 && q->io[i].ended) {
		rc = nvme_qpair_process_completions(q->qp, 0);
		if (rc == 0 && device_now_ms(ctrlr) > deadline)
			rc = -ETIMEDOUT;
	}
	return rc < 0 ? rc : 0;
}

/* After the reset: -ENXIO says so, and all that was outstanding has ended in this poll. */
static int go_on(struct nvme_ctrlr *ctrlr, struct queue *q, int n)
{
	int rc = nvme_qpair_process_completions(q->qp, 0);

	if (rc == -ENXIO) {
		printf("queue %d: the reset ends it, %d reads complete, %d aborted\n", n,
		       count_ended(q, false), count_ended(q, true));
		rc = nvme_ctrlr_reconnect_io_qpair(q->qp);
		if (rc == 0)
			rc = send_reads(q, true);
	}
	if (rc >= 0)
		rc = wait_for_all(ctrlr, q);
	if (rc == 0)
		printf("queue %d: works, %d reads complete, %d aborted\n", n, count_ended(q, false),
		       count_ended(q, true));
	return rc;
}

/* The data is what a blocking read finds there. */
static int check(struct nvme_ctrlr *ctrlr, struct queue *q)
{
	uint32_t size = nvme_ns_get_extended_sector_size(q->ns);
	uint8_t *block = nvme_dma_alloc(ctrlr, size);
	int i, rc = block == NULL ? -ENOMEM : 0;

	for (i = 0; i < READS && rc == 0; i++) {
		uint64_t lba = (q->lba + (uint64_t)i) % nvme_ns_get_num_sectors(q->ns);

		rc = nvme_cpl_is_error(&q->io[i].cpl) ? -EIO : 0;
		if (rc == 0)
			rc = nvme_ns_read(q->ns, q->qp, block, lba, 1, NULL);
		if (rc == 0 && memcmp(block, q->io[i].buf, size) != 0)
			rc = -EILSEQ;
	}
	return rc;
}

static int open_queue(struct nvme_ctrlr *ctrlr, struct queue *q, bool resubmit)
{
	struct nvme_io_qpair_opts opts = {.entries = 2 * READS, .resubmit = resubmit};
	int i;

	q->ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	if (q->ns == NULL) {
		fprintf(stderr, "reset: no namespace: create one with 'nvme create-ns'\n");
		return -ENODEV;
	}
	for (i = 0; i < READS; i++) { /* nvme_detach() releases them */
		q->io[i].buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(q->ns));
		if (q->io[i].buf == NULL)
			return -ENOMEM;
	}
	return nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &q->qp);
}

static int run(struct nvme_ctrlr *ctrlr, struct queue *queues, bool resubmit, bool subsystem)
{
	int i, rc = 0;

	for (i = 0; i < QUEUES && rc == 0; i++) {
		queues[i].lba = (uint64_t)i * READS;
		rc = open_queue(ctrlr, &queues[i], resubmit);
	}
	for (i = 0; i < QUEUES && rc == 0; i++)
		rc = send_reads(&queues[i], false);
	if (rc == 0)
		rc = subsystem ? nvme_ctrlr_reset_subsystem(ctrlr) : nvme_ctrlr_reset(ctrlr);
	if (rc == 0)
		printf("the %s was reset\n", subsystem ? "NVM subsystem" : "controller");
	for (i = 0; i < QUEUES && rc == 0; i++)
		rc = go_on(ctrlr, &queues[i], i + 1);
	for (i = 0; i < QUEUES && rc == 0; i++)
		rc = check(ctrlr, &queues[i]);
	if (rc != 0)
		fprintf(stderr, "reset: failed: %s\n", strerror(-rc));
	return rc;
}

int main(int argc, char **argv)
{
	const char *device = "soft:plan=on read lba 2..5 drop times 4";
	bool resubmit = false, subsystem = false;
	struct queue queues[QUEUES];
	struct nvme_ctrlr *ctrlr;
	int i, status, rc;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--resubmit") == 0)
			resubmit = true;
		else if (strcmp(argv[i], "--subsystem") == 0)
			subsystem = true;
		else
			break;
	}
	if (i < argc && argv[i][0] != '-')
		device = argv[i++];
	if (i < argc) {
		return wrong_use("reset", argv[i],
		                 "[--resubmit] [--subsystem] [DEVICE]\n" DEVICE_USAGE);
	}
	memset(queues, 0, sizeof(queues));
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = run(ctrlr, queues, resubmit, subsystem);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
