// SPDX-License-Identifier: MIT
/*
 * fused: a counter on the disk that two writers share without a lock.
 *
 * Block 0 of the first namespace holds a number. Two queue pairs, as two hosts would, add 1 to it,
 * each a hundred times: they read it and send Compare and Write, a fused pair of commands that writes
 * the new number only if the old one is still there. Who comes too late is told so by COMPARE FAILURE,
 * reads again and tries again. In the end the number is 200: no addition was lost.
 *
 *	fused [--force] [DEVICE]		for example: fused 0000:01:00.0
 *
 * Without a device it works on the software controller. It writes to the disk: a disk that holds
 * anything where in_use.h looks is refused, unless --force says that its content may be lost.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"

#define WRITERS    2
#define ADDITIONS  100u
#define TIMEOUT_MS 30000

/* One writer. It stands in main() and lives longer than the controller, as in hello_world. */
struct writer {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint8_t *seen,
		*next; /* a block each, in DMA memory: what was read, what is to be written */
	unsigned int added, lost; /* additions that were made, and that came too late */
	int rc;                   /* why it has given up */
	struct nvme_cpl cpl;
};

static void read_done(void *arg, const struct nvme_cpl *cpl);

/* Reads the number: what comes of it is seen in read_done(). A callback may submit commands. */
static void begin(struct writer *w)
{
	w->rc = nvme_ns_cmd_read(w->ns, w->qp, w->seen, 0, 1, read_done, w, 0);
}

static void pair_done(void *arg, const struct nvme_cpl *cpl)
{
	const uint32_t sc = NVME_GET(cpl->status, NVME_CPL_SC);
	struct writer *w = arg;

	w->cpl = *cpl;
	if (!nvme_cpl_is_error(cpl)) {
		w->added++;
	} else if (NVME_GET(cpl->status, NVME_CPL_SCT) == NVME_SCT_MEDIA_ERROR &&
	           sc == NVME_SC_COMPARE_FAILURE) {
		w->lost++; /* the other one was faster */
	} else {
		w->rc = -EIO;
		return;
	}
	if (w->added < ADDITIONS)
		begin(w);
}

static void read_done(void *arg, const struct nvme_cpl *cpl)
{
	uint32_t size, number;
	struct writer *w = arg;

	w->cpl = *cpl;
	if (nvme_cpl_is_error(cpl)) {
		w->rc = -EIO;
		return;
	}
	size = nvme_ns_get_extended_sector_size(w->ns);
	memcpy(w->next, w->seen, size);
	memcpy(&number, w->seen, sizeof(number));
	number++;
	memcpy(w->next, &number, sizeof(number));
	w->rc = nvme_ns_cmd_compare_and_write(w->ns, w->qp, w->seen, w->next, 0, 1, pair_done, w);
}

static int open_writer(struct nvme_ctrlr *ctrlr, struct nvme_ns *ns, struct writer *w)
{
	uint32_t size = nvme_ns_get_extended_sector_size(ns);

	w->ns = ns;
	w->seen = nvme_dma_alloc(ctrlr, size);
	w->next = nvme_dma_alloc(ctrlr, size);
	if (w->seen == NULL || w->next == NULL)
		return -ENOMEM;
	return nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &w->qp);
}

/* Both at once, from one thread: their commands meet in the controller. */
static int count(struct nvme_ctrlr *ctrlr, struct writer *writers)
{
	uint64_t deadline = device_now_ms(ctrlr) + TIMEOUT_MS;
	int i, rc;

	for (i = 0; i < WRITERS; i++)
		begin(&writers[i]);
	for (;;) {
		bool late = device_now_ms(ctrlr) > deadline, busy = false;

		for (i = 0; i < WRITERS; i++) {
			rc = nvme_qpair_process_completions(writers[i].qp, 1);
			if (rc < 0 || writers[i].rc != 0)
				return rc < 0 ? rc : writers[i].rc;
			busy |= writers[i].added < ADDITIONS;
		}
		if (!busy)
			return 0;
		if (late)
			return -ETIMEDOUT;
	}
}

static int run(struct nvme_ctrlr *ctrlr, bool look_first, struct writer *writers)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	char text[NVME_ERROR_MAX];
	uint32_t number = 0;
	int rc = 0, i;

	if (ns == NULL) {
		fprintf(stderr, "fused: no namespace: create one with 'nvme create-ns'\n");
		return -ENODEV;
	}
	for (i = 0; i < WRITERS && rc == 0; i++)
		rc = open_writer(ctrlr, ns, &writers[i]);
	if (rc == 0 && look_first)
		rc = refuse_used_disk("fused", ns, writers[0].qp, "");
	if (rc != 0)
		return rc;
	memset(writers[0].next, 0, nvme_ns_get_extended_sector_size(ns));
	rc = nvme_ns_write(ns, writers[0].qp, writers[0].next, 0, 1, &writers[0].cpl);
	if (rc == 0)
		rc = count(ctrlr, writers);
	for (i = 0; i < WRITERS; i++) {
		printf("writer %d: %u additions, %u came too late\n", i + 1, writers[i].added,
		       writers[i].lost);
		if (rc != 0)
			fprintf(stderr, "fused: writer %d: %s\n", i + 1,
			        nvme_strerror(text, sizeof(text), rc, &writers[i].cpl));
	}
	if (rc == 0)
		rc = nvme_ns_read(ns, writers[0].qp, writers[0].seen, 0, 1, NULL);
	if (rc != 0)
		return rc;
	memcpy(&number, writers[0].seen, sizeof(number));
	printf("the number is %" PRIu32 "\n", number);
	return number == WRITERS * ADDITIONS ? 0 : -EIO; /* nvme_detach() frees all */
}

int main(int argc, char **argv)
{
	bool force = argc > 1 && strcmp(argv[1], "--force") == 0;
	const char *device = argc > (force ? 2 : 1) ? argv[argc - 1] : "soft";
	struct writer writers[WRITERS];
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	memset(writers, 0, sizeof(writers));
	setenv("NVME_LOG", "warning", 0); /* to come too late is no news; the user may want more */
	if (argc > (force ? 3 : 2) || device[0] == '-') {
		return wrong_use("fused", device, "[--force] [DEVICE]\n" DEVICE_USAGE);
	}
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = run(ctrlr, !force && !device_is_blank(device), writers);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
