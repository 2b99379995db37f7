// SPDX-License-Identifier: MIT
/*
 * The data pointer of the command that follows, one for each queue.
 */
#ifndef NVTRACE_PRPS_H
#define NVTRACE_PRPS_H

#include "../rec.h"

#define PRP_PENDING 256

struct prp_pending {
	struct {
		uint64_t key;
		uint32_t len, nprp;
		uint16_t cid;
		bool used;
	} slot[PRP_PENDING];
};

static inline void prp_pending_put(struct prp_pending *p, const struct rec *r)
{
	uint64_t key = queue_key(r);
	size_t i = (size_t)((key ^ key >> 16) % PRP_PENDING);

	p->slot[i].key = key;
	p->slot[i].cid = r->prp.cid;
	p->slot[i].len = r->prp.len;
	p->slot[i].nprp = r->prp.nprp;
	p->slot[i].used = true;
}

/* How many bytes the command that was just submitted moves; false: its PRPs were not recorded. */
static inline bool prp_pending_take(struct prp_pending *p, const struct rec *r, uint32_t *len,
                                    uint32_t *nprp)
{
	uint64_t key = queue_key(r);
	size_t i = (size_t)((key ^ key >> 16) % PRP_PENDING);

	if (!p->slot[i].used || p->slot[i].key != key || p->slot[i].cid != r->cmd.cid)
		return false;
	p->slot[i].used = false;
	*len = p->slot[i].len;
	*nprp = p->slot[i].nprp;
	return true;
}

#endif /* NVTRACE_PRPS_H */
