// SPDX-License-Identifier: MIT
/*
 * prp_steps: describes five buffers with PRPs and sends nothing. For docs/gdb/5-prp.gdb.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define PAGE       4096u
#define LIST_PAGES 3u

/* A place to stop: the command is complete and would go to queue pair qp now. */
static void look(struct nvme_qpair *qp, const struct nvme_cmd *cmd)
{
	(void)qp;
	(void)cmd;
}

/* A write of len bytes at buf, with memory for a list in case one is needed. */
static void describe(struct nvme_qpair *qp, uint64_t *list, const uint8_t *buf, uint32_t len)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(qp->ctrlr, 1);
	struct nvme_cmd cmd;
	struct nvme_prp prp;
	uint64_t iova = 0, list_iova = 0;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_WRITE;
	cmd.nsid = nvme_ns_get_id(ns);
	cmd.cdw12 = len / nvme_ns_get_sector_size(ns) - 1;

	(void)nvme_dma_iova(qp->ctrlr, buf, len, &iova);
	(void)nvme_dma_iova(qp->ctrlr, list, LIST_PAGES * PAGE, &list_iova);
	nvme__prp_init(&prp, PAGE, list, list_iova, LIST_PAGES, PAGE);
	(void)nvme_prp_list_append(&prp, iova, len);
	cmd.dptr.prp.prp1 = prp.prp1;
	cmd.dptr.prp.prp2 = prp.prp2;
	look(qp, &cmd);
}

int main(int argc, char **argv)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint64_t *list;
	uint8_t *buf;

	if (open_device(argc > 1 ? argv[1] : "soft", &ctrlr) != 0)
		return 1;
	if (nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) == 0 &&
	    (list = nvme_dma_alloc(ctrlr, LIST_PAGES * PAGE)) != NULL &&
	    (buf = nvme_dma_alloc(ctrlr, 4 << 20)) != NULL) {
		describe(qp, list, buf, 512);
		describe(qp, list, buf, 8 << 10);
		describe(qp, list, buf + 2048, 8 << 10);
		describe(qp, list, buf, 1 << 20);
		describe(qp, list, buf, 4 << 20);
	}
	return nvme_detach(ctrlr) != 0;
}
