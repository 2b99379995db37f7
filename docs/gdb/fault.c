// SPDX-License-Identifier: MIT
/*
 * fault: three commands that a controller must refuse. The driver's own checks would stop the
 * first one, so it goes past them, as a raw command. For docs/gdb/8-error.gdb.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

/* A read of the block behind the last one. */
static int read_past_the_end(struct nvme_ctrlr *ctrlr, void *buf, struct nvme_cpl *cpl)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = {.opc = NVME_OPC_READ, .nsid = 1};
	uint64_t lba = nvme_ns_get_num_sectors(ns);

	cmd.cdw10 = (uint32_t)lba;
	cmd.cdw11 = (uint32_t)(lba >> 32);
	return nvme_ctrlr_io(ctrlr, NULL, &cmd, buf, nvme_ns_get_sector_size(ns), cpl);
}

/* An opcode that no command has. */
static int send_nonsense(struct nvme_ctrlr *ctrlr, struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd = {.opc = 0x7c, .nsid = 1};

	return nvme_ctrlr_io(ctrlr, NULL, &cmd, NULL, 0, cpl);
}

/* Deletes a queue that is not there. */
static int delete_no_queue(struct nvme_ctrlr *ctrlr, struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd = {.opc = NVME_OPC_DELETE_IO_SQ, .cdw10 = 7};

	return nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, cpl);
}

int main(int argc, char **argv)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_cpl cpl;
	void *buf;

	if (open_device(argc > 1 ? argv[1] : "soft", &ctrlr) != 0)
		return 1;
	buf = nvme_dma_alloc(ctrlr, 4096);
	if (buf != NULL) {
		(void)read_past_the_end(ctrlr, buf, &cpl);
		(void)send_nonsense(ctrlr, &cpl);
		(void)delete_no_queue(ctrlr, &cpl);
	}
	return nvme_detach(ctrlr) != 0;
}
