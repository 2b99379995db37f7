// SPDX-License-Identifier: MIT
/*
 * zns: a zoned namespace, whose blocks are written one behind the other, zone by zone.
 *
 * Several appends are on their way to one zone at the same time. Each says "somewhere in this zone",
 * and only its completion says where: the write pointer of the zone tells the controller. Then the
 * blocks are read back from there, and the zone is reset, which is how blocks become free.
 *
 *	zns [--force] [DEVICE]		for example: zns 0000:01:00.0
 *
 * Without a device it works on the software controller, with 8 zones. On another it reports the zones
 * only, unless --force says that the first empty one may be written and reset. Run it with
 * NVME_TRACE=file, then look at the file with nvtrace -H.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define DEFAULT "soft:size=8M,zns=2048,zcap=1536,mor=4,mar=8"
#define APPENDS 4u
#define ROWS    16u /* of the table */

/* One append on its way. */
struct append {
	uint8_t *buf; /* a block that nobody else has */
	uint64_t lba; /* where it is, by its completion */
	struct nvme_cpl cpl;
	bool done;
};

/* Says what has not worked, and why; returns the exit status. */
static int complain(const char *what, int rc, const struct nvme_cpl *cpl)
{
	char text[NVME_ERROR_MAX];

	fprintf(stderr, "zns: %s: %s\n", what, nvme_strerror(text, sizeof(text), rc, cpl));
	return 1;
}

/* The first zoned namespace. */
static struct nvme_ns *find_namespace(struct nvme_ctrlr *ctrlr)
{
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);

	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

		if (nvme_ns_get_csi(ns) == NVME_CSI_ZNS)
			return ns;
	}
	return NULL;
}

static void print_zone(const struct nvme_zns_zone *z)
{
	uint32_t state = NVME_GET(z->zs, NVME_ZONE_STATE);

	printf("%12" PRIu64 " %10" PRIu64 "  %-17s ", z->zslba, z->zcap,
	       nvme_zone_state_name((uint8_t)state));
	if (state <= NVME_ZONE_STATE_CLOSED)
		printf("%" PRIu64 "\n", z->wp);
	else
		printf("-\n");
}

/* The first zones from slba on, at most so many. */
static int print_zones(struct nvme_ns *ns, uint64_t slba, uint32_t max)
{
	struct nvme_zns_zone zones[ROWS];
	struct nvme_cpl cpl;
	uint32_t i, found;
	int rc;

	rc = nvme_zns_get_zones(ns, NULL, slba, NVME_ZRA_LIST_ALL, zones, max, &found, &cpl);
	if (rc != 0)
		return complain("a report of zones", rc, &cpl);
	for (i = 0; i < found; i++)
		print_zone(&zones[i]);
	return 0;
}

static int report(struct nvme_ns *ns)
{
	printf("Namespace %" PRIu32 ": %" PRIu64 " zones of %" PRIu64 " blocks; limits (0: none): "
	       "%" PRIu32 " open, %" PRIu32 " active, %" PRIu32 " bytes in an append\n",
	       nvme_ns_get_id(ns), nvme_zns_ns_get_num_zones(ns),
	       nvme_zns_ns_get_zone_size_sectors(ns), nvme_zns_ns_get_max_open_zones(ns),
	       nvme_zns_ns_get_max_active_zones(ns),
	       nvme_zns_ctrlr_get_max_zone_append_size(nvme_ns_get_ctrlr(ns)));
	printf("       start   capacity  state             write pointer\n");
	return print_zones(ns, 0, ROWS);
}

static void appended(void *arg, const struct nvme_cpl *cpl)
{
	struct append *a = arg;

	a->lba = nvme_zns_append_lba(cpl);
	a->cpl = *cpl;
	a->done = true;
}

/* All at once; then where each one is. */
static int append_all(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t zslba,
                      struct append *list)
{
	uint32_t size = nvme_ns_get_extended_sector_size(ns), i;
	int rc;

	for (i = 0; i < APPENDS; i++) {
		memset(list[i].buf, (int)('a' + i), size);
		rc = nvme_zns_zone_append(ns, qp, list[i].buf, zslba, 1, appended, &list[i], 0);
		if (rc != 0)
			return complain("an append was not sent", rc, NULL);
	}
	for (i = 0; i < APPENDS; i++) {
		while (!list[i].done) {
			rc = nvme_qpair_process_completions(qp, 0);
			if (rc < 0)
				return complain("polling", rc, NULL);
		}
		if (nvme_cpl_is_error(&list[i].cpl))
			return complain("an append failed", -EIO, &list[i].cpl);
		printf("  block '%c' is at %" PRIu64 "\n", (int)('a' + i), list[i].lba);
	}
	return 0;
}

/* Is each block where its completion said? */
static int read_back(struct nvme_ns *ns, const struct append *list)
{
	uint32_t size = nvme_ns_get_extended_sector_size(ns), i;
	uint8_t *block = malloc(size);
	int rc = block == NULL;

	for (i = 0; i < APPENDS && rc == 0; i++)
		rc = nvme_ns_read(ns, NULL, block, list[i].lba, 1, NULL) != 0 ||
		     memcmp(block, list[i].buf, size) != 0;
	printf(rc == 0 ? "  read back: the same\n" : "  read back: not the same\n");
	free(block);
	return rc;
}

static int manage(struct nvme_ns *ns, uint64_t zslba, enum nvme_zone_send_action action)
{
	struct nvme_cpl cpl;
	int rc = nvme_zns_manage_zone(ns, NULL, zslba, false, action, &cpl);

	if (rc != 0)
		return complain(nvme_zone_action_name((uint8_t)action), rc, &cpl);
	return print_zones(ns, zslba, 1);
}

/* What can be done with an empty zone, and it is empty again. */
static int use_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t zslba, struct append *list)
{
	printf("Appending %u blocks at once to the zone at block %" PRIu64 "\n", APPENDS, zslba);
	if (append_all(ns, qp, zslba, list) != 0 || print_zones(ns, zslba, 1) != 0 ||
	    read_back(ns, list) != 0)
		return 1;
	printf("Finishing it: as good as full\n");
	if (manage(ns, zslba, NVME_ZONE_FINISH) != 0)
		return 1;
	printf("Resetting it: its blocks are free again\n");
	return manage(ns, zslba, NVME_ZONE_RESET);
}

/* With memory that the controller can reach, and a queue pair, for the first empty zone. */
static int run(struct nvme_ctrlr *ctrlr, struct nvme_ns *ns)
{
	struct append list[APPENDS] = {0};
	struct nvme_zns_zone zone;
	struct nvme_qpair *qp;
	uint32_t i, found;
	int rc = 0;

	if (nvme_zns_get_zones(ns, NULL, 0, NVME_ZRA_LIST_EMPTY, &zone, 1, &found, NULL) != 0)
		return 1;
	if (found == 0) {
		fprintf(stderr, "zns: no zone is empty: reset one whose content may be lost\n");
		return 1;
	}
	if (nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp) != 0)
		return 1;
	for (i = 0; i < APPENDS && rc == 0; i++) {
		list[i].buf = nvme_dma_alloc(ctrlr, nvme_ns_get_extended_sector_size(ns));
		rc = list[i].buf == NULL;
	}
	return rc != 0 ? rc : use_zone(ns, qp, zone.zslba, list);
}

int main(int argc, char **argv)
{
	const char *device = NULL;
	struct nvme_ctrlr *ctrlr;
	bool force = false;
	struct nvme_ns *ns;
	int i, rc;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--force") == 0)
			force = true;
		else if (argv[i][0] == '-' || device != NULL)
			return wrong_use("zns", argv[i], "[--force] [DEVICE]\n" DEVICE_USAGE);
		else
			device = argv[i];
	}
	if (device == NULL)
		device = DEFAULT;
	rc = open_device(device, &ctrlr);
	if (rc != 0)
		return rc;
	ns = find_namespace(ctrlr);
	if (ns == NULL)
		fprintf(stderr, "zns: %s has no zoned namespace: use soft:zns=4096, for example\n",
		        device);
	rc = ns == NULL || report(ns) != 0;
	if (rc == 0 && !force && !device_is_blank(device))
		printf("Nothing was written: --force lets the first empty zone be used\n");
	else if (rc == 0)
		rc = run(ctrlr, ns);
	if (nvme_detach(ctrlr) != 0)
		rc = 1;
	return rc;
}
