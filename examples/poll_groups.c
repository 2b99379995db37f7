// SPDX-License-Identifier: MIT
/*
 * poll_groups: one thread, several disks, one poll.
 *
 *	poll_groups [--wait] [DEVICE]...		for example: poll_groups 0000:01:00.0 0000:02:00.0
 *
 * Reads the first blocks of each disk through two queue pairs, several at a time. All queue pairs are
 * in one poll group, so that the loop in read_all() does not grow with the disks. A disk that fails
 * leaves the group, and the others go on:
 *
 *	poll_groups soft 'soft:seed=2,plan=on read #10 gone'
 *
 * With --wait the thread sleeps where there is nothing to do, until an interrupt of any of the disks.
 * Without a device it works on two software controllers. Nothing is written.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

enum {
	MAX_DISKS = 8, /* as the usage says */
	QPAIRS = 2,
	AT_A_TIME = 8,
	BLOCKS = 1000,
	TIMEOUT_MS = 30000,
	SLEEP_MS = 1000
};

struct disk;

struct request { /* one read after the other, always through the same queue pair */
	struct disk *disk;
	struct nvme_qpair *qp;
	uint8_t *buf;
};

struct disk {
	const char *device;
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	struct nvme_qpair *qps[QPAIRS];
	struct request requests[AT_A_TIME];
	uint64_t next, end; /* LBAs */
	unsigned int done, outstanding;
	bool lost;
};

static void read_next(struct request *r);

static void read_done(void *arg, const struct nvme_cpl *cpl)
{
	struct request *r = arg;

	r->disk->outstanding--;
	if (nvme_cpl_is_error(cpl))
		return;
	r->disk->done++;
	read_next(r);
}

static void read_next(struct request *r)
{
	struct disk *d = r->disk;

	if (d->lost || d->next == d->end)
		return;
	if (nvme_ns_cmd_read(d->ns, r->qp, r->buf, d->next, 1, read_done, r, 0) != 0)
		return;
	d->next++;
	d->outstanding++;
}

/*
 * Runs inside the poll, for a queue pair that has failed. The other one of its disk goes with it, for
 * a disk fails as a whole; callbacks that are still to come wait for nvme_detach().
 */
static void leave_group(struct nvme_qpair *qp, void *ctx)
{
	struct disk *d = ctx;
	int i;

	while (d->ctrlr != nvme_qpair_get_ctrlr(qp))
		d++;
	printf("%s leaves the group\n", d->device);
	d->lost = true;
	for (i = 0; i < QPAIRS; i++)
		(void)nvme_ctrlr_free_io_qpair(d->qps[i]); /* takes it out of the group, too */
}

/* Attaches, and adds the queue pairs to the group. 0, or the exit status. */
static int open_disk(struct disk *d, struct nvme_poll_group *group, bool wait)
{
	struct nvme_ctrlr_opts opts;
	uint8_t *buf;
	int i, status;

	memset(&opts, 0, sizeof(opts));
	opts.interrupts = wait;
	status = open_device_with(d->device, &opts, &d->ctrlr);
	if (status != 0)
		return status;
	d->ns = nvme_ctrlr_get_ns(d->ctrlr, nvme_ctrlr_get_first_active_ns(d->ctrlr));
	if (d->ns == NULL) {
		fprintf(stderr, "poll_groups: %s has no namespace\n", d->device);
		return 1;
	}
	d->end = nvme_ns_get_num_sectors(d->ns) < BLOCKS ? nvme_ns_get_num_sectors(d->ns) : BLOCKS;
	buf = nvme_dma_alloc(d->ctrlr, (size_t)AT_A_TIME * nvme_ns_get_extended_sector_size(d->ns));
	for (i = 0; i < QPAIRS; i++) {
		if (buf == NULL || nvme_ctrlr_alloc_io_qpair(d->ctrlr, NULL, &d->qps[i]) != 0 ||
		    nvme_poll_group_add(group, d->qps[i]) != 0)
			return 1; /* nvme_detach() frees all that is there */
	}
	for (i = 0; i < AT_A_TIME; i++) {
		d->requests[i].disk = d;
		d->requests[i].qp = d->qps[i % QPAIRS];
		d->requests[i].buf = buf + (size_t)i * nvme_ns_get_extended_sector_size(d->ns);
	}
	return 0;
}

/* Is something outstanding on a disk that is still there? */
static bool is_busy(const struct disk *disks, int n)
{
	while (n-- > 0) {
		if (!disks[n].lost && disks[n].outstanding > 0)
			return true;
	}
	return false;
}

/* One loop for all. */
static void read_all(struct disk *disks, int n, struct nvme_poll_group *group, bool wait)
{
	uint64_t deadline = device_now_ms(disks[0].ctrlr) + TIMEOUT_MS;
	int i, polls = 0;

	for (i = 0; i < n * AT_A_TIME; i++)
		read_next(&disks[i / AT_A_TIME].requests[i % AT_A_TIME]);
	while (is_busy(disks, n)) {
		if (wait)
			(void)nvme_poll_group_wait(group, 0, SLEEP_MS, leave_group);
		else
			(void)nvme_poll_group_process_completions(group, 0, leave_group);
		if ((wait || ++polls % 4096 == 0) && device_now_ms(disks[0].ctrlr) > deadline)
			return; /* a disk that is there, but does not answer */
	}
}

int main(int argc, char **argv)
{
	static const char *const two[] = {"soft", "soft:seed=2"};
	static struct disk disks[MAX_DISKS]; /* callbacks write to it until nvme_detach() is over */
	struct nvme_poll_group *group = nvme_poll_group_create(disks);
	bool wait = argc > 1 && strcmp(argv[1], "--wait") == 0;
	int i, n, status = group == NULL;

	argv += 1 + wait;
	argc -= 1 + wait;
	n = argc > 0 ? argc : 2;
	if (n > MAX_DISKS || (argc > 0 && argv[0][0] == '-')) {
		status = wrong_use("poll_groups", argv[n > MAX_DISKS ? MAX_DISKS : 0],
		                   "[--wait] [DEVICE]... (at most 8)\n" DEVICE_USAGE);
		n = 0;
	}
	for (i = 0; i < n && status == 0; i++) {
		disks[i].device = argc > 0 ? argv[i] : two[i];
		status = open_disk(&disks[i], group, wait);
	}
	if (status == 0 && n > 0)
		read_all(disks, n, group, wait);
	for (i = 0; i < n; i++) {
		if (status == 0 || disks[i].done != 0)
			printf("%s: %u of %" PRIu64 " blocks read\n", disks[i].device,
			       disks[i].done, disks[i].end);
		if (disks[i].done != disks[i].end && status == 0)
			status = 1;
		(void)nvme_detach(disks[i].ctrlr); /* takes its queue pairs out of the group */
	}
	(void)nvme_poll_group_destroy(group);
	return status;
}
