// SPDX-License-Identifier: MIT
/*
 * leave: detaches while commands are on their way. Two are left: a read whose completion nobody
 * has looked at yet, and an Asynchronous Event Request, which a controller keeps until it has an
 * event to tell. For docs/gdb/9-shutdown.gdb.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

/* Says how a command ended. */
static void ended(void *arg, const struct nvme_cpl *cpl)
{
	const char *what = arg;

	printf("%s ended with %s\n", what,
	       nvme_status_name((uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT),
	                        (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC)));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct nvme_cmd event = {.opc = NVME_OPC_ASYNC_EVENT_REQUEST};
	char read_name[] = "the read", event_name[] = "the event request";
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	void *buf;
	int rc;

	if (open_device(argc > 1 ? argv[1] : "soft", &ctrlr) != 0)
		return 1;
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	buf = nvme_dma_alloc(ctrlr, 4096);
	if (rc == 0 && buf != NULL) {
		rc = nvme_ctrlr_cmd_admin_raw(ctrlr, &event, NULL, 0, ended, event_name);
		if (rc == 0)
			rc = nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, ended,
			                      read_name, 0);
	}
	return nvme_detach(ctrlr) != 0 || rc != 0;
}
