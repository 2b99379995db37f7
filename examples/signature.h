// SPDX-License-Identifier: MIT
/*
 * Does a namespace hold something? Examples that write ask this first.
 *
 * A disk counts as used when any of its first bytes is not zero. Where they form a well-known
 * signature its name is told, so that the owner recognises the disk.
 */
#ifndef SIGNATURE_H
#define SIGNATURE_H

#include "nvme.h"
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_BYTES ((size_t)132 << 10) /* up to and including the superblock of btrfs */

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

/* What a buffer of the first bytes holds, NULL for nothing. greeting at the start is nothing. */
static const char *name_signature(const uint8_t *data, size_t size, const char *greeting)
{
	size_t greeting_len = strlen(greeting);
	size_t i;

	for (i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		const struct signature *s = &signatures[i];

		if (s->offset + s->len <= size && memcmp(data + s->offset, s->magic, s->len) == 0)
			return s->name;
	}
	i = size > greeting_len && memcmp(data, greeting, greeting_len) == 0 ? greeting_len : 0;
	for (; i < size; i++) {
		if (data[i] != 0)
			return "data";
	}
	return NULL;
}

/*
 * Reads the first bytes of ns and names what they hold in *what (NULL: nothing). greeting is what
 * the example itself may have left at the start by an earlier run.
 */
static int find_signature(struct nvme_ns *ns, struct nvme_qpair *qp, const char *greeting,
                          const char **what)
{
	uint32_t block = nvme_ns_get_extended_sector_size(ns);
	uint64_t nlb = (SIGNATURE_BYTES + block - 1) / block;
	uint8_t *data;
	int rc;

	if (nlb > nvme_ns_get_num_sectors(ns))
		nlb = nvme_ns_get_num_sectors(ns);
	data = malloc((size_t)nlb * block);
	if (data == NULL)
		return -ENOMEM;
	rc = nvme_ns_read(ns, qp, data, 0, nlb, NULL);
	if (rc == 0)
		*what = name_signature(data, (size_t)nlb * block, greeting);
	free(data);
	return rc;
}

#endif /* SIGNATURE_H */
