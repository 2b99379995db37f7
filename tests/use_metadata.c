// SPDX-License-Identifier: MIT
/*
 * use_metadata: blocks with metadata, and what a controller notices. For each namespace a line, with
 * its number of blocks and the status of each step:
 *
 *	use_metadata ADDR		as it is formatted
 *	use_metadata ADDR format	namespace n is formatted as md_block.h says, first
 *
 * Leaves the blocks of md_block.h at MD_LBA, with the protection information that the host made, and
 * 100 blocks behind them the same, with what the controller made (PRACT).
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include "md_block.h"

#define MADE (MD_LBA + 100)

static struct layout L;
static struct nvme_ns *ns;
static uint8_t *data, *md;
static struct nvme_cpl cpl;

static void fail(const char *what, int rc)
{
	fprintf(stderr, "use_metadata: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void format(struct nvme_ctrlr *ctrlr, uint32_t nsid, const struct layout *l)
{
	const struct nvme_id_ns *id = nvme_ns_get_data(ns);
	struct nvme_format f;
	int rc;

	memset(&f, 0, sizeof(f));
	while (f.lbaf <= id->nlbaf &&
	       (1u << id->lbaf[f.lbaf].lbads != l->lbs || id->lbaf[f.lbaf].ms != l->ms))
		f.lbaf++;
	f.mset = (uint8_t)l->mset;
	f.pi = (uint8_t)l->pi;
	f.pil = (uint8_t)l->pil;
	rc = nvme_ctrlr_format(ctrlr, nsid, &f, NULL);
	if (rc != 0)
		fail("format", rc);
}

static void look(void)
{
	const struct nvme_id_ns *id = nvme_ns_get_data(ns);

	L.lbs = nvme_ns_get_sector_size(ns);
	L.ms = id->lbaf[NVME_FLBAS_INDEX(id->flbas)].ms;
	L.mset = NVME_GET(id->flbas, NVME_FLBAS_EXT);
	L.pi = NVME_GET(id->dps, NVME_DPS_PIT);
	L.pil = NVME_GET(id->dps, NVME_DPS_PIP);
}

/* The blocks of this namespace into the buffers, as they are transferred with these flags. */
static void fill(uint32_t lba, uint32_t flags)
{
	bool stays = L.pi != 0 && (flags & NVME_IO_FLAGS_PRACT) != 0 && L.ms == 8;
	static uint8_t block[4096 + 64];
	uint32_t i;

	for (i = 0; i < MD_NLB; i++) {
		uint8_t *at = data + i * (size_t)(L.lbs + (L.mset && !stays ? L.ms : 0));

		make_block(&L, block, lba + i, nvme_ns_get_id(ns));
		memcpy(at, block, L.lbs);
		if (!stays)
			memcpy(L.mset ? at + L.lbs : md + i * (size_t)L.ms, block + L.lbs, L.ms);
	}
}

static void rw(const char *what, bool to_device, uint32_t lba, uint32_t flags, uint16_t app_tag)
{
	void *apart = L.mset ? NULL : md;
	int rc;

	if (to_device)
		rc = nvme_ns_write_with_md(ns, NULL, data, apart, lba, MD_NLB, &cpl, flags, 0xffff,
		                           app_tag);
	else
		rc = nvme_ns_read_with_md(ns, NULL, data, apart, lba, MD_NLB, &cpl, flags, 0xffff,
		                          app_tag);
	if (rc != 0 && rc != -EIO)
		fail(what, rc);
	printf(" %s %" PRIx32 "/%02" PRIx32, what, NVME_GET(cpl.status, NVME_CPL_SCT),
	       NVME_GET(cpl.status, NVME_CPL_SC));
}

/* A byte of the protection information of the second block. */
static void damage(unsigned byte)
{
	size_t at = pi_at(&L) - L.lbs + byte;

	if (L.mset)
		data[L.lbs + L.ms + L.lbs + at] ^= 0x40;
	else
		md[L.ms + at] ^= 0x40;
}

/* What was read is what fill() makes. */
static void compare(uint32_t lba)
{
	size_t len = MD_NLB * (size_t)(L.lbs + (L.mset ? L.ms : 0)), md_len = MD_NLB * (size_t)L.ms;
	static uint8_t was[MD_NLB * (4096 + 64)], md_was[MD_NLB * 64];

	memcpy(was, data, len);
	memcpy(md_was, md, md_len);
	fill(lba, 0);
	printf(" %s", memcmp(was, data, len) == 0 && (L.mset || memcmp(md_was, md, md_len) == 0)
	                      ? "same"
	                      : "DIFFERENT");
}

static void run(void)
{
	const uint32_t guard = NVME_IO_FLAGS_PRCHK_GUARD, app = NVME_IO_FLAGS_PRCHK_APPTAG;
	const uint32_t ref = NVME_IO_FLAGS_PRCHK_REFTAG, pract = NVME_IO_FLAGS_PRACT;
	uint32_t all = L.pi == 0 ? 0 : guard | app | (L.pi != 3 ? ref : 0);

	fill(MD_LBA, 0);
	rw("write", true, MD_LBA, all, MD_APP_TAG);
	memset(data, 0, 4096);
	rw("read", false, MD_LBA, all, MD_APP_TAG);
	compare(MD_LBA);
	if (L.pi == 0)
		return;
	rw("other tag", false, MD_LBA, app, MD_APP_TAG ^ 1);
	fill(MADE, pract);
	rw("PRACT", true, MADE, pract, MD_APP_TAG);
	rw("read", false, MADE, all, MD_APP_TAG);
	compare(MADE);
	rw("unwritten", false, MADE + 100, all, MD_APP_TAG);
	fill(MD_LBA + 50, 0);
	damage(1);
	rw("bad guard", true, MD_LBA + 50, guard, MD_APP_TAG);
	damage(1);
	damage(2);
	rw("bad app", true, MD_LBA + 50, app, MD_APP_TAG);
	damage(2);
	if (L.pi == 3)
		return;
	damage(7);
	rw("bad ref", true, MD_LBA + 50, ref, MD_APP_TAG);
}

int main(int argc, char **argv)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	uint32_t nsid;
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: use_metadata DEVICE [format]\n");
		return 2;
	}
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(argv[1]);
	opts.log_level = NVME_LOG_ERROR;
	rc = nvme_attach(argv[1], &opts, &ctrlr);
	if (rc != 0)
		return 1;
	data = (uint8_t *)nvme_dma_alloc(ctrlr, 1 << 16);
	md = (uint8_t *)nvme_dma_alloc(ctrlr, 1 << 12);
	nsid = nvme_ctrlr_get_first_active_ns(ctrlr);
	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		ns = nvme_ctrlr_get_ns(ctrlr, nsid);
		if (argc > 2 && nsid <= VM_LAYOUTS)
			format(ctrlr, nsid, &vm_layouts[nsid - 1]);
		look();
		printf("%" PRIu32 ": %u+%u mset %u pi %u pil %u, blocks %" PRIu64 ":", nsid, L.lbs,
		       L.ms, L.mset, L.pi, L.pil, nvme_ns_get_num_sectors(ns));
		run();
		printf("\n");
	}
	return nvme_detach(ctrlr) != 0;
}
