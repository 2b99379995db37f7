// SPDX-License-Identifier: MIT
/*
 * What test_barriers.c compiles for each architecture and takes apart: the way of a command to the
 * doorbell, and the way of a completion from the ring.
 */
#define NVME__ASIDE static inline
#define NVME_IMPLEMENTATION
#define NVME_STATIC
#include "nvme.h"

void submit(struct nvme_qpair *qp, struct nvme_tracker *tr);
bool reap(struct nvme_qpair *qp, struct nvme_cpl *cpl);

void submit(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	nvme_copy_command(&qp->sq[qp->sq_tail], &tr->cmd);
	nvme_qpair_submit_request(qp, tr, NULL, 0);
}

bool reap(struct nvme_qpair *qp, struct nvme_cpl *cpl)
{
	return nvme__qpair_read_cqe(qp, cpl);
}
