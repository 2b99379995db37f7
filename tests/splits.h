// SPDX-License-Identifier: MIT
/*
 * Where one call becomes several commands: by MDTS, by NOIOB, by the limit of the queue pair. The
 * blocking calls and the scattered ones must cut alike, so that both are tested with these rows.
 */
#ifndef SPLITS_H
#define SPLITS_H

#include "fake_ctrlr.h"

#define MAX_CUTS 8

struct split {
	const char *id;
	uint8_t mdts, mpsmin, lbads;
	uint16_t ms, noiob;
	uint32_t max_xfer; /* of a queue pair made for it; 0: what the controller allows */
	uint64_t slba, n;
	struct {
		uint64_t slba;
		uint32_t nlb;
	} want[MAX_CUTS];
};

static const struct split splits[] = {
	{"B01", 5, 0, 9, 0, 0, 0, 0, 1, {{0, 1}}},
	{"B03", 5, 0, 9, 0, 0, 0, 10, 512, {{10, 256}, {266, 256}}},
	{"B05", 5, 0, 9, 0, 0, 0, 4096, 255, {{4096, 255}}},
	{"at the limit", 5, 0, 9, 0, 0, 0, 4096, 256, {{4096, 256}}},
	{"one above it", 5, 0, 9, 0, 0, 0, 4096, 257, {{4096, 256}, {4352, 1}}},
	{"B07", 5, 0, 9, 0, 0, 0, 4096, 1024, {{4096, 256}, {4352, 256}, {4608, 256}, {4864, 256}}},
	{"B09", 0, 0, 9, 0, 0, 32 << 20, 0, 65536, {{0, 65536}}},
	{"B09 + 1", 0, 0, 9, 0, 0, 32 << 20, 0, 65537, {{0, 65536}, {65536, 1}}},
	{"B11", 5, 0, 12, 0, 0, 0, 7, 100, {{7, 32}, {39, 32}, {71, 32}, {103, 4}}},
	{"B13", 5, 0, 9, 0, 96, 0, 90, 20, {{90, 6}, {96, 14}}},
	{"B15", 5, 0, 9, 0, 256, 0, 256, 512, {{256, 256}, {512, 256}}},
	{"B17", 5, 0, 9, 8, 0, 0, 0, 512, {{0, 252}, {252, 252}, {504, 8}}},
	{"B19",
         5,
         0,
         9,
         0,
         8,
         0,
         4294967292,
         16,
         {{4294967292, 4}, {4294967296, 8}, {4294967304, 4}}},
	{"B21", 5, 0, 9, 0, 0, 0, 0, 512, {{0, 256}, {256, 256}}},
	{"B21, 64 KiB pages", 1, 4, 9, 0, 0, 0, 0, 512, {{0, 256}, {256, 256}}},
	{"B50", 255, 0, 9, 0, 0, 0, 0, 8192, {{0, 4096}, {4096, 4096}}},
	{"NOIOB above MDTS", 5, 0, 9, 0, 1000, 0, 900, 400, {{900, 100}, {1000, 256}, {1256, 44}}},
	{"NOIOB 1", 5, 0, 9, 0, 1, 0, 3, 2, {{3, 1}, {4, 1}}},
	{"own limit", 5, 0, 9, 0, 0, 8192, 0, 40, {{0, 16}, {16, 16}, {32, 8}}},
	{"odd limit", 5, 0, 9, 0, 0, 1000, 0, 2, {{0, 1}, {1, 1}}},
};

static struct nvme_id_ns edit_ns; /* what Identify Namespace shows */

static inline void edit_namespace(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_NS)
		memcpy(data, &edit_ns, sizeof(edit_ns));
}

static inline uint64_t slba_of(const struct nvme_cmd *cmd)
{
	return cmd->cdw10 | (uint64_t)cmd->cdw11 << 32;
}

static inline uint32_t nlb_of(const struct nvme_cmd *cmd)
{
	return (cmd->cdw12 & 0xffff) + 1;
}

/* A controller with one namespace that is as the row says. */
static inline struct nvme_ctrlr *attach_split(struct fake *fake, const struct split *row)
{
	fake_init(fake);
	fake->cap |= NVME_SET64(row->mpsmin, NVME_CAP_MPSMIN);
	fake->mdts = row->mdts;
	fake->nn = 1;
	fake->block = (1u << row->lbads) + row->ms;
	fake->nsze = (uint64_t)1 << 40;
	fake->edit = edit_namespace;
	memset(&edit_ns, 0, sizeof(edit_ns));
	edit_ns.nsze = fake->nsze;
	edit_ns.noiob = row->noiob;
	edit_ns.flbas = row->ms != 0 ? 0x10 : 0;
	edit_ns.lbaf[0].lbads = row->lbads;
	edit_ns.lbaf[0].ms = row->ms;
	return fake_attach(fake);
}

/* From the command numbered before on: exactly those of the row, all else of CDW12 being cdw12. */
static inline void check_split_commands(const struct fake *fake, const struct split *row,
                                        uint8_t opc, uint64_t before, uint32_t cdw12)
{
	unsigned int i;

	for (i = 0; i < MAX_CUTS && row->want[i].nlb != 0; i++) {
		const struct fake_cmd *log = &fake->log[(before + i) % FAKE_RING];

		if (before + i >= fake->cmds || log->qid == 0 || log->cmd.opc != opc ||
		    log->cmd.nsid != 1 || slba_of(&log->cmd) != row->want[i].slba ||
		    log->cmd.cdw12 != (cdw12 | (row->want[i].nlb - 1)))
			fail_msg("%s: command %u is (%" PRIu64 ",%" PRIu32 ")", row->id, i,
			         slba_of(&log->cmd), nlb_of(&log->cmd));
	}
	assert_int_equal(fake->cmds, before + i);
}

#endif /* SPLITS_H */
