// SPDX-License-Identifier: MIT
/*
 * metadata: blocks with protection information, and who notices what.
 *
 * Protection information is 8 bytes beside each block: a guard, which is a CRC of the block, an
 * application tag, which is the program's own, and a reference tag, which says which block it is.
 * The host makes it before the data leaves, the controller checks it when the data arrives; on the
 * way back it is the other way round. What is damaged or misplaced between the two ends is noticed.
 *
 *	metadata [--force] [DEVICE]		for example: metadata 0000:01:00.0
 *
 * Without a device it works on the software controller, with 8 bytes of metadata and type 1. Another
 * needs a namespace that was formatted with protection information (nvme_ctrlr_format()), and --force,
 * since its first four blocks are overwritten. Run it with NVME_TRACE=file, then look at the file
 * with nvtrace -H.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define DEFAULT "soft:size=16M,ms=8,pi=1"
#define NLB     4u
#define APP_TAG 0xcafe
#define ALL     0xffff /* of the application tag: compare every bit */

/* What a transfer needs: the namespace, what is known of its blocks, and memory for both kinds. */
struct blocks {
	struct nvme_ns *ns;
	struct nvme_pi_ctx pi;
	uint32_t check; /* what can be checked: with type 3 there is no reference tag */
	uint8_t *data, *md;
	uint8_t *apart; /* md, or NULL where metadata is in the data */
};

/* The first namespace with protection information. */
static struct nvme_ns *find_namespace(struct nvme_ctrlr *ctrlr)
{
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);

	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

		if (NVME_GET(nvme_ns_get_data(ns)->dps, NVME_DPS_PIT) != 0)
			return ns;
	}
	return NULL;
}

static int prepare(struct blocks *b, struct nvme_ns *ns)
{
	b->ns = ns;
	b->check = NVME_IO_FLAGS_PRCHK_GUARD | NVME_IO_FLAGS_PRCHK_APPTAG;
	if (NVME_GET(nvme_ns_get_data(ns)->dps, NVME_DPS_PIT) != 3)
		b->check |= NVME_IO_FLAGS_PRCHK_REFTAG;
	if (nvme_pi_ctx_init(&b->pi, ns, 0, b->check, ALL, APP_TAG) != 0)
		return -ENOTSUP;
	b->data = calloc(NLB, (size_t)b->pi.block_size + b->pi.md_size);
	b->md = calloc(NLB, b->pi.md_size);
	b->apart = b->pi.extended ? NULL : b->md;
	printf("Namespace %" PRIu32 ": blocks of %" PRIu32 " bytes, %" PRIu32
	       " bytes of metadata %s, protection information of type %u in the %s 8\n",
	       nvme_ns_get_id(ns), b->pi.block_size, b->pi.md_size,
	       b->pi.extended ? "behind each block" : "in a buffer of its own", b->pi.type,
	       b->pi.first ? "first" : "last");
	return b->data != NULL && b->md != NULL ? 0 : -ENOMEM;
}

/* Writes or reads LBA 0 to NLB - 1 and says how it ended. */
static int transfer(struct blocks *b, bool to_device, uint32_t flags, uint16_t app_tag)
{
	struct nvme_cpl cpl;
	int rc;

	if (to_device)
		rc = nvme_ns_write_with_md(b->ns, NULL, b->data, b->apart, 0, NLB, &cpl, flags, ALL,
		                           app_tag);
	else
		rc = nvme_ns_read_with_md(b->ns, NULL, b->data, b->apart, 0, NLB, &cpl, flags, ALL,
		                          app_tag);
	printf("  %s\n", nvme_status_name((uint8_t)NVME_GET(cpl.status, NVME_CPL_SCT),
	                                  (uint8_t)NVME_GET(cpl.status, NVME_CPL_SC)));
	return rc;
}

/* The protection information of the last block, as it stands in the buffer. */
static void print_last(const struct blocks *b)
{
	size_t block = (size_t)b->pi.block_size + b->pi.md_size;
	const uint8_t *md = b->pi.extended ? b->data + NLB * block - b->pi.md_size
	                                   : b->md + (size_t)(NLB - 1) * b->pi.md_size;
	struct nvme_pi pi;

	memcpy(&pi, md + (b->pi.first ? 0 : b->pi.md_size - sizeof(pi)), sizeof(pi));
	printf("  the last block: guard %02x%02x, application tag %02x%02x, reference tag "
	       "%02x%02x%02x%02x\n",
	       pi.guard[0], pi.guard[1], pi.app_tag[0], pi.app_tag[1], pi.ref_tag[0], pi.ref_tag[1],
	       pi.ref_tag[2], pi.ref_tag[3]);
}

/* Five transfers. Those that should fail have to, with -EIO: anything else is an error. */
static int run(struct blocks *b)
{
	size_t len = NLB * ((size_t)b->pi.block_size + (b->pi.extended ? b->pi.md_size : 0));
	struct nvme_pi_error err;

	printf("Writing blocks whose protection information the host has made\n");
	memset(b->data, 'x', len);
	(void)nvme_pi_generate(&b->pi, b->data, b->apart, NLB);
	if (transfer(b, true, b->check, APP_TAG) != 0)
		return 1;

	printf("The same with a bit that has changed on the way\n");
	b->data[len / NLB] ^= 1; /* in the second block */
	if (transfer(b, true, b->check, APP_TAG) != -EIO)
		return 1;
	if (nvme_pi_verify(&b->pi, b->data, b->apart, NLB, &err) == -EILSEQ)
		printf("  block %" PRIu32 ": %s, %04" PRIx32 " instead of %04" PRIx32 "\n",
		       err.block, nvme_status_name(NVME_SCT_MEDIA_ERROR, err.sc), err.actual,
		       err.expected);

	printf("Reading them, and checking them once more in the host\n");
	if (transfer(b, false, b->check, APP_TAG) != 0 ||
	    nvme_pi_verify(&b->pi, b->data, b->apart, NLB, NULL) != 0)
		return 1;
	print_last(b);

	printf("Reading them as somebody who expects another application tag\n");
	if (transfer(b, false, b->check, APP_TAG ^ 1) != -EIO)
		return 1;

	printf("Leaving it to the controller: PRACT\n");
	memset(b->data, 'y', len);
	if (transfer(b, true, NVME_IO_FLAGS_PRACT, APP_TAG) != 0 ||
	    transfer(b, false, b->check, APP_TAG) != 0)
		return 1;
	print_last(b);
	return 0;
}

int main(int argc, char **argv)
{
	const char *device = NULL;
	struct nvme_ctrlr *ctrlr;
	struct blocks b = {0};
	bool force = false;
	struct nvme_ns *ns;
	int i, rc;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--force") == 0) {
			force = true;
		} else if (argv[i][0] == '-' || device != NULL) {
			return wrong_use("metadata", argv[i], "[--force] [DEVICE]\n" DEVICE_USAGE);
		} else {
			device = argv[i];
		}
	}
	if (device == NULL)
		device = DEFAULT;
	if (!force && !device_is_blank(device)) {
		fprintf(stderr,
		        "metadata: the first %u blocks of %s would be overwritten: if their content "
		        "may be lost, say so with --force\n",
		        NLB, device);
		return 1;
	}
	rc = open_device(device, &ctrlr);
	if (rc != 0)
		return rc;
	ns = find_namespace(ctrlr);
	rc = 1;
	if (ns == NULL)
		fprintf(stderr,
		        "metadata: %s has no namespace with protection information: format one with "
		        "it, or use soft:ms=8,pi=1\n",
		        device);
	else if (prepare(&b, ns) == 0)
		rc = run(&b);
	if (nvme_detach(ctrlr) != 0)
		rc = 1;
	free(b.data);
	free(b.md);
	return rc;
}
