// SPDX-License-Identifier: MIT
/*
 * format: another block size, and everything that was on the namespace is gone.
 *
 *	format [--force] [--lbaf N] [--ses N] [DEVICE]	for example: format --lbaf 3 0000:01:00.0
 *
 * Without --lbaf it lists the formats of the first namespace and changes nothing. --ses is what
 * becomes of the data: 0 nothing in particular, 1 it is erased, 2 the key to it is. Without a device it
 * works on the software controller. A disk that holds anything where in_use.h looks is refused,
 * unless --force says that its content may be lost.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"

struct arguments {
	const char *device;
	bool force;
	int lbaf, ses; /* lbaf -1: only list */
};

/* The formats of a namespace; the one in use has a star. Sizes of 0 stand for "not available". */
static void list_formats(const struct nvme_ns *ns)
{
	const struct nvme_id_ns *data = nvme_ns_get_data(ns);
	uint32_t n = data->nlbaf + 1u + data->nulbaf, in_use = nvme_ns_get_format_index(data);

	printf("Namespace %" PRIu32 ": %" PRIu64 " blocks of %" PRIu32 " bytes\n",
	       nvme_ns_get_id(ns), nvme_ns_get_num_sectors(ns), nvme_ns_get_sector_size(ns));
	for (uint32_t i = 0; i < n && i < 64; i++) {
		const struct nvme_lbaf *f = &data->lbaf[i];
		uint32_t size = f->lbads >= 9 && f->lbads < 32 ? 1u << f->lbads : 0;

		printf("  format %2" PRIu32 "%c %6" PRIu32 " bytes, metadata %u bytes\n", i,
		       i == in_use ? '*' : ' ', size, f->ms);
	}
}

/* nvme_ctrlr_format() waits, and the block size follows: ns stays what it was, with other numbers. */
static int format(struct nvme_ctrlr *ctrlr, struct nvme_ns *ns, const struct arguments *args)
{
	char text[NVME_ERROR_MAX];
	struct nvme_format what;
	struct nvme_cpl cpl;
	int rc;

	memset(&what, 0, sizeof(what));
	what.lbaf = (uint8_t)args->lbaf;
	what.ses = (uint8_t)args->ses;
	rc = nvme_ctrlr_format(ctrlr, nvme_ns_get_id(ns), &what, &cpl);
	if (rc != 0) {
		fprintf(stderr, "format: it failed: %s\n",
		        nvme_strerror(text, sizeof(text), rc, &cpl));
		return rc;
	}
	printf("Formatted.\n");
	list_formats(ns);
	return 0;
}

static int run(struct nvme_ctrlr *ctrlr, const struct arguments *args)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	int rc = 0;

	if (ns == NULL) {
		fprintf(stderr, "format: no namespace: create one with 'nvme create-ns'\n");
		return -ENODEV;
	}
	list_formats(ns);
	if (args->lbaf < 0)
		return 0;
	if (!args->force && !device_is_blank(args->device))
		rc = refuse_used_disk("format", ns, NULL, "");
	return rc != 0 ? rc : format(ctrlr, ns, args);
}

/* A number from 0 to most; -1: it is none. */
static int number(const char *text, long most)
{
	char *end;
	long n = strtol(text, &end, 10);

	return *text >= '0' && *text <= '9' && *end == '\0' && n <= most ? (int)n : -1;
}

/* Options first, then the device. Returns what is not understood, or NULL. */
static const char *parse(int argc, char **argv, struct arguments *args)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		bool lbaf = strcmp(argv[i], "--lbaf") == 0, ses = strcmp(argv[i], "--ses") == 0;
		int n;

		if (strcmp(argv[i], "--force") == 0) {
			args->force = true;
			continue;
		}
		if ((!lbaf && !ses) || i + 1 == argc)
			return argv[i];
		n = number(argv[++i], lbaf ? 63 : 2);
		if (n < 0)
			return argv[i];
		*(lbaf ? &args->lbaf : &args->ses) = n;
	}
	if (i < argc)
		args->device = argv[i++];
	return i < argc ? argv[i] : NULL;
}

int main(int argc, char **argv)
{
	struct arguments args = {"soft", false, -1, 0};
	const char *wrong = parse(argc, argv, &args);
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	if (wrong != NULL) {
		return wrong_use("format", wrong,
		                 "[--force] [--lbaf 0..63] [--ses 0..2] [DEVICE]\n" DEVICE_USAGE);
	}
	status = open_device(args.device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = run(ctrlr, &args);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
