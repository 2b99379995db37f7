// SPDX-License-Identifier: MIT
/*
 * cmb: a copy that never crosses the host's memory.
 *
 * Some controllers have memory of their own that the host can map: the controller memory buffer. What
 * is read into it and written from it to another place is copied inside the controller; the host
 * sends two commands and moves no data. And with the submission queue there as well, the controller
 * does not even come to fetch these.
 *
 *	cmb [--force] [DEVICE]		for example: cmb 0000:01:00.0
 *
 * Without a device it works on the software controller, with a buffer of 1 MiB. Another needs --force,
 * since its first 16 blocks are overwritten. Run it with NVME_TRACE=file, then look at the file with
 * nvtrace: PRP1 of both commands is in the range that the line "map" of the buffer names.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define DEFAULT "soft:size=16M,cmb=1"
#define NLB     8u /* blocks: LBA 0 to 7, copied to LBA 8 to 15 */

/* What the registers say, in words. */
static void print_properties(const struct nvme_cmb_info *info)
{
	const struct {
		uint32_t bit;
		const char *what;
	} uses[] = {
		{NVME_SET(1, NVME_CMBSZ_SQS), "submission queues"},
		{NVME_SET(1, NVME_CMBSZ_CQS), "completion queues"},
		{NVME_SET(1, NVME_CMBSZ_LISTS), "lists"},
		{NVME_SET(1, NVME_CMBSZ_RDS), "data of reads"},
		{NVME_SET(1, NVME_CMBSZ_WDS), "data of writes"},
	};
	const char *between = "";

	printf("%" PRIu64 " KiB of controller memory at %" PRIu64 " KiB of BAR %" PRIu32 ", for ",
	       info->size / 1024, info->offset / 1024, info->bar);
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		if ((info->cmbsz & uses[i].bit) == 0)
			continue;
		printf("%s%s", between, uses[i].what);
		between = ", ";
	}
	printf("%s\n", info->legacy ? "; as before NVMe 1.4, always on" : "");
}

/* A queue pair whose submission queue is in the controller, if that is possible. */
static int open_queue(struct nvme_ctrlr *ctrlr, const struct nvme_cmb_info *info,
                      struct nvme_qpair **qp)
{
	struct nvme_io_qpair_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.entries = 64;
	opts.sq_in_cmb = NVME_GET(info->cmbsz, NVME_CMBSZ_SQS) != 0;
	printf("The submission queue is in %s\n",
	       opts.sq_in_cmb ? "controller memory" : "the host's memory");
	return nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, qp);
}

/* Two commands, and the data stays in the controller. */
static int copy(struct nvme_ns *ns, struct nvme_qpair *qp, void *cmb)
{
	int rc = nvme_ns_read(ns, qp, cmb, 0, NLB, NULL);

	if (rc == 0)
		rc = nvme_ns_write(ns, qp, cmb, NLB, NLB, NULL);
	printf("LBA 0 to %u to LBA %u to %u through controller memory: %s\n", NLB - 1, NLB,
	       2 * NLB - 1, rc == 0 ? "done" : strerror(-rc));
	return rc;
}

/* Writes something, has it copied, and looks, in the usual way, whether it has arrived. */
static int run(struct nvme_ns *ns, struct nvme_qpair *qp, void *cmb, size_t cmb_size)
{
	size_t len = (size_t)NLB * nvme_ns_get_extended_sector_size(ns), i;
	uint8_t *data = malloc(2 * len), *back = data + len;
	int rc = data != NULL && len <= cmb_size ? 0 : -ENOMEM;

	for (i = 0; rc == 0 && i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 512);
	if (rc == 0)
		rc = nvme_ns_write(ns, qp, data, 0, NLB, NULL);
	if (rc == 0)
		rc = copy(ns, qp, cmb);
	if (rc == 0)
		rc = nvme_ns_read(ns, qp, back, NLB, NLB, NULL);
	if (rc == 0) {
		rc = memcmp(data, back, len) == 0 ? 0 : -EILSEQ;
		printf("The copy is %s\n", rc == 0 ? "the same" : "NOT the same");
	}
	free(data);
	return rc;
}

static int use_memory(struct nvme_ctrlr *ctrlr, const char *device)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	struct nvme_cmb_info info;
	struct nvme_qpair *qp;
	size_t size;
	void *cmb;

	if (ns == NULL || nvme_ctrlr_get_cmb(ctrlr, &info) != 0) {
		fprintf(stderr, "cmb: %s has no %s\n", device,
		        ns == NULL ? "namespace"
		                   : "controller memory buffer: use another one, or soft:cmb=1");
		return 1;
	}
	print_properties(&info);
	if (open_queue(ctrlr, &info, &qp) != 0)
		return 1;
	/* after the queue, for it takes all that is left */
	cmb = nvme_ctrlr_map_cmb(ctrlr, &size);
	if (cmb == NULL)
		return 1;
	printf("%zu KiB are left for data\n", size / 1024);
	return run(ns, qp, cmb, size) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *device = NULL;
	struct nvme_ctrlr *ctrlr;
	bool force = false;
	int i, rc;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--force") == 0) {
			force = true;
		} else if (argv[i][0] == '-' || device != NULL) {
			return wrong_use("cmb", argv[i], "[--force] [DEVICE]\n" DEVICE_USAGE);
		} else {
			device = argv[i];
		}
	}
	if (device == NULL)
		device = DEFAULT;
	if (!force && !device_is_blank(device)) {
		fprintf(stderr,
		        "cmb: the first %u blocks of %s would be overwritten: if their content may "
		        "be lost, say so with --force\n",
		        2 * NLB, device);
		return 1;
	}
	rc = open_device(device, &ctrlr);
	if (rc != 0)
		return rc;
	rc = use_memory(ctrlr, device);
	return nvme_detach(ctrlr) != 0 ? 1 : rc;
}
