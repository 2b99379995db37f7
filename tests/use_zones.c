// SPDX-License-Identifier: MIT
/*
 * use_zones: what a controller does with zones. A line for each step, with the status of each command
 * (SCT/SC) and what became of the zone: its state and how far the write pointer is from its start.
 *
 *	use_zones DEVICE	with limits of 3 open zones and 5 active ones
 *
 * Leaves in zone 0 of namespace 1 a transfer that goes on in zones 1 and 2, where zones can be written
 * to their end; in zone 3 what was appended, block n full of n, and in zone 4 eight blocks of 5Ah.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#define APPENDS 32u
#define ROOM    ((size_t)4 << 20)

static struct nvme_ctrlr *ctrlr;
static struct nvme_ns *ns;
static struct nvme_qpair *qp;
static uint8_t *buf;
static uint64_t zsze;
static uint32_t block;

static void fail(const char *what, int rc)
{
	fprintf(stderr, "use_zones: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void print_status(const char *what, const struct nvme_cpl *cpl)
{
	printf(" %s %x/%02x", what, NVME_GET(cpl->status, NVME_CPL_SCT),
	       NVME_GET(cpl->status, NVME_CPL_SC));
}

static void print_zone(uint64_t zone)
{
	struct nvme_zns_zone z;
	uint32_t found;
	int rc = nvme_zns_get_zones(ns, qp, zone * zsze, NVME_ZRA_LIST_ALL, &z, 1, &found, NULL);

	if (rc != 0 || found != 1)
		fail("report", rc);
	printf(" [%s", nvme_zone_state_name((uint8_t)NVME_GET(z.zs, NVME_ZONE_STATE)));
	if (nvme__zone_has_wp(&z))
		printf(" %" PRIu64, z.wp - z.zslba);
	printf("]");
}

static void manage(const char *what, enum nvme_zone_send_action action, uint64_t zone, bool all)
{
	struct nvme_cpl cpl;
	int rc = nvme_zns_manage_zone(ns, qp, zone * zsze, all, action, &cpl);

	if (rc != 0 && rc != -EIO)
		fail(what, rc);
	print_status(what, &cpl);
	print_zone(zone);
}

/* One command, wherever the zone ends. */
static void write_blocks(const char *what, uint64_t slba, uint32_t nlb)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	nvme__fill_no_data(&cmd, NVME_OPC_WRITE, nvme_ns_get_id(ns), slba, nlb, 0);
	rc = nvme_ctrlr_io(ctrlr, qp, &cmd, buf, nlb * block, &cpl);
	if (rc != 0 && rc != -EIO)
		fail(what, rc);
	print_status(what, &cpl);
}

static void read_blocks(const char *what, uint64_t slba, uint32_t nlb)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	nvme__fill_no_data(&cmd, NVME_OPC_READ, nvme_ns_get_id(ns), slba, nlb, 0);
	rc = nvme_ctrlr_io(ctrlr, qp, &cmd, buf, nlb * block, &cpl);
	if (rc != 0 && rc != -EIO)
		fail(what, rc);
	print_status(what, &cpl);
}

static void count(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_cpl *at = (struct nvme_cpl *)arg;

	*at = *cpl;
	at->sqid = UINT16_MAX; /* it has come */
}

static void wait_for(struct nvme_cpl *cpl)
{
	while (cpl->sqid != UINT16_MAX) {
		int rc = nvme_qpair_process_completions(qp, 0);

		if (rc < 0)
			fail("polling", rc);
	}
}

static void use_limits(void)
{
	const struct nvme_zns_id_ns *id = nvme_zns_ns_get_data(ns);

	printf("limits: %" PRIu64 " zones of %" PRIu64 " blocks, %" PRIu32 " open, %" PRIu32
	       " active, %" PRIu32 " bytes appended, %" PRIu32 " bytes of extension, OZCS %u\n",
	       nvme_zns_ns_get_num_zones(ns), zsze, nvme_zns_ns_get_max_open_zones(ns),
	       nvme_zns_ns_get_max_active_zones(ns), nvme_zns_ctrlr_get_max_zone_append_size(ctrlr),
	       nvme_zns_ns_get_zone_desc_ext_size(ns), id->ozcs);
}

/* Blocks of a pattern over three zones, if they can be written to their end. */
static void use_large(void)
{
	uint64_t nlb = 2 * zsze + 100, i;
	struct nvme_cpl cpl;
	uint32_t found;
	struct nvme_zns_zone z;
	int rc = nvme_zns_get_zones(ns, qp, 0, NVME_ZRA_LIST_ALL, &z, 1, &found, NULL);

	if (rc != 0)
		fail("report", rc);
	if (z.zcap != zsze || nlb * block > ROOM)
		return;
	for (i = 0; i < nlb * block / 4; i++)
		((uint32_t *)(void *)buf)[i] = (uint32_t)i * 2654435761u;
	memset(&cpl, 0, sizeof(cpl));
	rc = nvme_ns_cmd_write_large(ns, qp, buf, 0, nlb, count, &cpl, 0);
	if (rc != 0)
		fail("write_large", rc);
	wait_for(&cpl);
	printf("large:");
	print_status("write", &cpl);
	print_zone(0);
	print_zone(1);
	print_zone(2);
	printf("\n");
}

static void use_appends(void)
{
	static struct nvme_cpl cpl[APPENDS];
	bool taken[APPENDS] = {false}, good = true;
	uint64_t lba;
	uint32_t i;

	for (i = 0; i < APPENDS; i++) {
		int rc;

		memset(buf + i * 4096, (int)i, block);
		rc = nvme_zns_zone_append(ns, qp, buf + i * 4096, 3 * zsze, 1, count, &cpl[i], 0);
		if (rc != 0)
			fail("append", rc);
	}
	printf("appends:");
	for (i = 0; i < APPENDS; i++) {
		wait_for(&cpl[i]);
		lba = nvme_zns_append_lba(&cpl[i]) - 3 * zsze;
		good = good && !nvme_cpl_is_error(&cpl[i]) && lba < APPENDS && !taken[lba];
		if (good)
			taken[lba] = true;
		printf(" %" PRIu64, lba);
	}
	printf(" %s", good ? "good" : "bad");
	print_zone(3);
	printf("\n");
}

static void use_writes(void)
{
	memset(buf, 0x5a, 64 * block);
	printf("writes:");
	write_blocks("start", 4 * zsze, 4);
	write_blocks("again", 4 * zsze, 4);
	write_blocks("hole", 4 * zsze + 5, 1);
	write_blocks("next", 4 * zsze + 4, 4);
	print_zone(4);
	read_blocks("read", 4 * zsze, 8);
	read_blocks("across", 5 * zsze - 1, 2);
	manage("finish", NVME_ZONE_FINISH, 4, false);
	write_blocks("full", 4 * zsze + 8, 1);
	printf("\n");
}

static void use_states(void)
{
	uint64_t i;

	printf("states:");
	manage("open", NVME_ZONE_OPEN, 5, false);
	manage("close", NVME_ZONE_CLOSE, 5, false);
	manage("reset", NVME_ZONE_RESET, 5, false);
	manage("close", NVME_ZONE_CLOSE, 5, false);
	manage("offline", NVME_ZONE_OFFLINE, 5, false);
	manage("finish", NVME_ZONE_FINISH, 5, false);
	manage("open", NVME_ZONE_OPEN, 5, false);
	manage("reset", NVME_ZONE_RESET, 5, false);
	printf("\nlimits met:");
	manage("close", NVME_ZONE_CLOSE, 3, true); /* all zones: nothing is open after that */
	manage("finish", NVME_ZONE_FINISH, 3, true);
	for (i = 6; i < 10; i++)
		manage("open", NVME_ZONE_OPEN, i, false);
	write_blocks("write", 9 * zsze, 1);
	manage("close", NVME_ZONE_CLOSE, 6, false);
	for (i = 10; i < 13; i++) {
		write_blocks("write", i * zsze, 1);
		print_zone(i);
	}
	manage("reset", NVME_ZONE_RESET, 11, false); /* which has made room, or not */
	printf("\n");
}

static void use_extension(void)
{
	uint32_t size = nvme_zns_ns_get_zone_desc_ext_size(ns), i;
	struct nvme_zns_report head;
	struct nvme_cpl cpl;
	int rc;

	if (size == 0)
		return;
	for (i = 0; i < size; i++)
		buf[i] = (uint8_t)(i + 1);
	printf("extension:");
	manage("reset", NVME_ZONE_RESET, 10, false); /* one active zone less */
	memset(&cpl, 0, sizeof(cpl));
	rc = nvme_zns_set_zone_desc_ext(ns, qp, 13 * zsze, buf, size, count, &cpl);
	if (rc != 0)
		fail("extension", rc);
	wait_for(&cpl);
	print_status("set", &cpl);
	print_zone(13);
	memset(&cpl, 0, sizeof(cpl));
	memset(buf + 4096, 0, 4096);
	rc = nvme_zns_ext_report_zones(ns, qp, buf + 4096, 4096, 13 * zsze, NVME_ZRA_LIST_CLOSED,
	                               true, count, &cpl);
	if (rc != 0)
		fail("extended report", rc);
	wait_for(&cpl);
	print_status("report", &cpl);
	memcpy(&head, buf + 4096, sizeof(head));
	printf(" %" PRIu64 " zones, %s\n", head.nr_zones,
	       memcmp(buf, buf + 4096 + 128, size) == 0 ? "same" : "different");
}

/* All zones, and those of a state. */
static void use_reports(void)
{
	static struct nvme_zns_zone zones[4096];
	uint32_t opts, found;
	int rc;

	printf("reports:");
	for (opts = NVME_ZRA_LIST_ALL; opts <= NVME_ZRA_LIST_OFFLINE; opts++) {
		rc = nvme_zns_get_zones(ns, qp, 0, (enum nvme_zone_report_opts)opts, zones, 4096,
		                        &found, NULL);
		if (rc != 0)
			fail("report", rc);
		printf(" %" PRIu32, found);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	struct nvme_ctrlr_opts opts;
	int rc;

	if (argc != 2)
		return 2;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(argv[1]); /* NULL, and that is VFIO */
	rc = nvme_attach(argv[1], &opts, &ctrlr);
	if (rc == 0)
		rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	if (rc != 0)
		fail("attach", rc);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, ROOM);
	if (ns == NULL || buf == NULL || nvme_ns_get_csi(ns) != NVME_CSI_ZNS)
		fail("namespace 1 has no zones", -ENOTSUP);
	zsze = nvme_zns_ns_get_zone_size_sectors(ns);
	block = nvme_ns_get_sector_size(ns);
	use_limits();
	use_large();
	use_appends();
	use_writes();
	use_states();
	use_extension();
	use_reports();
	return nvme_detach(ctrlr) != 0;
}
