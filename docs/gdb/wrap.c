// SPDX-License-Identifier: MIT
/*
 * wrap: reads one block six times through a queue of four entries, so that both rings come round.
 * For docs/gdb/7-phase.gdb.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

static void read_done(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	*(bool *)arg = true;
}

static int read_once(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t lba)
{
	bool done = false;
	int rc = nvme_ns_cmd_read(ns, qp, buf, lba, 1, read_done, &done, 0);

	while (rc >= 0 && !done)
		rc = nvme_qpair_process_completions(qp, 0);
	return rc < 0 ? rc : 0;
}

int main(int argc, char **argv)
{
	struct nvme_io_qpair_opts four = {.entries = 4};
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint64_t lba;
	void *buf;
	int rc;

	if (open_device(argc > 1 ? argv[1] : "soft", &ctrlr) != 0)
		return 1;
	buf = nvme_dma_alloc(ctrlr, 4096);
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, &four, &qp);
	for (lba = 0; rc == 0 && buf != NULL && lba < 6; lba++)
		rc = read_once(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, lba);
	return nvme_detach(ctrlr) != 0 || rc != 0;
}
