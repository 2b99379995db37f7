// SPDX-License-Identifier: MIT
/*
 * Does a namespace hold something? Examples that write ask this first.
 *
 * To read a whole disk takes too long. So this looks where it shows what a disk is used for: in the
 * first MiB (partition tables, file systems) and in the last one (RAID sets, ZFS, the second GPT),
 * and at samples between them, each at the start of a MiB, where partitions begin. Any byte that is
 * not zero counts. What lies in none of these places is not found: tell the user where you looked.
 */
#ifndef IN_USE_H
#define IN_USE_H

#include "nvme.h"
#include <stdlib.h>
#include <string.h>

#define LOOK_END     ((uint32_t)1 << 20) /* bytes at either end */
#define LOOK_SAMPLE  4096u               /* bytes of a sample */
#define LOOK_SAMPLES 64u

struct in_use {
	char looked[96];  /* where, in words */
	const char *what; /* what was found; NULL: nothing but zeros */
	uint64_t lba;     /* and where: the block, the byte in it, its value */
	uint32_t offset;
	uint8_t byte;
};

/* Signatures in the first MiB, by which the owner may know the disk again. */
static const struct signature {
	const char *name;
	size_t offset; /* in bytes from the start of the namespace */
	const char *magic;
	size_t len;
} signatures[] = {
	{"a GPT partition table", 512, "EFI PART", 8},
	{"a GPT partition table", 4096, "EFI PART", 8},
	{"an LVM physical volume", 512, "LABELONE", 8},
	{"an encrypted volume (LUKS)", 0, "LUKS\xba\xbe", 6},
	{"an XFS file system", 0, "XFSB", 4},
	{"an NTFS file system", 3, "NTFS    ", 8},
	{"an exFAT file system", 3, "EXFAT   ", 8},
	{"an ext2, ext3 or ext4 file system", 1080, "\x53\xef", 2},
	{"an F2FS file system", 1024, "\x10\x20\xf5\xf2", 4},
	{"a member of a RAID array (md)", 0, "\xfc\x4e\x2b\xa9", 4},
	{"a member of a RAID array (md)", 4096, "\xfc\x4e\x2b\xa9", 4},
	{"swap space", 4086, "SWAPSPACE2", 10},
	{"a btrfs file system", 65600, "_BHRfS_M", 8},
	{"an ISO 9660 file system", 32769, "CD001", 5},
	{"an MBR partition table or a FAT file system", 510, "\x55\xaa", 2},
};

static const char *name_signature(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		const struct signature *s = &signatures[i];

		if (s->offset + s->len <= size && memcmp(data + s->offset, s->magic, s->len) == 0)
			return s->name;
	}
	return "data";
}

/* Reads nlb blocks, at most LOOK_END bytes. ours at the start of the namespace is nothing. */
static int look_at(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t lba, uint64_t nlb,
                   const char *ours, struct in_use *use)
{
	uint32_t block = nvme_ns_get_extended_sector_size(ns);
	size_t size = (size_t)nlb * block, i = 0;
	uint8_t *data;
	int rc;

	if (use->what != NULL)
		return 0; /* enough is known */
	data = malloc(size);
	if (data == NULL)
		return -ENOMEM;
	rc = nvme_ns_read(ns, qp, data, lba, nlb, NULL);
	if (lba == 0 && rc == 0 && memcmp(data, ours, strlen(ours)) == 0)
		i = strlen(ours);
	while (rc == 0 && i < size && data[i] == 0)
		i++;
	if (rc == 0 && i < size) {
		use->what = lba == 0 ? name_signature(data, size) : "data";
		use->lba = lba + i / block;
		use->offset = (uint32_t)(i % block);
		use->byte = data[i];
	}
	free(data);
	return rc;
}

/* Looks at ns and says in *use what it found and where it looked. A negative errno: unreadable. */
static int find_use(struct nvme_ns *ns, struct nvme_qpair *qp, const char *ours, struct in_use *use)
{
	uint32_t block = nvme_ns_get_extended_sector_size(ns);
	uint64_t end = LOOK_END / block, all = nvme_ns_get_num_sectors(ns);
	uint64_t sample = block < LOOK_SAMPLE ? LOOK_SAMPLE / block : 1;
	uint64_t between = all / end > 2 ? all / end - 2 : 0; /* whole MiBs */
	uint64_t n = between < LOOK_SAMPLES ? between : LOOK_SAMPLES;
	uint64_t i, mib;
	int rc = 0;

	memset(use, 0, sizeof(*use));
	if (n == 0) { /* small enough to be read as a whole */
		snprintf(use->looked, sizeof(use->looked), "all of it");
		for (i = 0; rc == 0 && i < all; i += end)
			rc = look_at(ns, qp, i, all - i < end ? all - i : end, ours, use);
		return rc;
	}
	snprintf(use->looked, sizeof(use->looked),
	         "the first and the last MiB and %" PRIu64 " samples of %" PRIu64
	         " bytes between them",
	         n, sample * block);
	rc = look_at(ns, qp, 0, end, ours, use);
	for (i = 0; rc == 0 && i < n; i++) {
		mib = 1 + between / n * i +
		      between % n * i / n; /* between * i / n would overflow */
		rc = look_at(ns, qp, mib * end, sample, ours, use);
	}
	return rc != 0 ? rc : look_at(ns, qp, all - end, end, ours, use);
}

/*
 * 0 if ns looks unused; -EEXIST if it does not, or why it could not be read. One sentence on
 * standard error says what was found and where it looked. ours is the text that the program itself
 * may have left at the start of the namespace in an earlier run.
 */
static int refuse_used_disk(const char *program, struct nvme_ns *ns, struct nvme_qpair *qp,
                            const char *ours)
{
	const char *device = nvme_ctrlr_get_dev(nvme_ns_get_ctrlr(ns))->name;
	struct in_use use;
	int rc = find_use(ns, qp, ours, &use);

	fprintf(stderr, "%s: namespace %" PRIu32 " of %s ", program, nvme_ns_get_id(ns), device);
	if (rc != 0)
		fprintf(stderr,
		        "cannot be read to see if it is in use (%s): look at the status above\n",
		        strerror(-rc));
	else if (use.what == NULL)
		fprintf(stderr, "holds only zeros where it was looked at: %s\n", use.looked);
	else
		fprintf(stderr,
		        "holds %s (block %" PRIu64 ", byte %" PRIu32
		        " is %02xh), which writing may destroy: name another disk, or run it with "
		        "--force if nothing on this one is needed (looked at: %s)\n",
		        use.what, use.lba, use.offset, use.byte, use.looked);
	return rc == 0 && use.what != NULL ? -EEXIST : rc;
}

#endif /* IN_USE_H */
