// SPDX-License-Identifier: MIT
/*
 * scatter: one call, much data, memory in pieces.
 *
 * Sends four transfers that no single nvme_ns_cmd_read() or nvme_ns_cmd_write() could carry, on a
 * queue with room for three commands, and checks what comes back:
 *
 *	pages   pages of memory in reverse order: still one PRP list
 *	parts   a block out of three pieces of odd lengths: PRPs cannot say that, an SGL can
 *	hole    of three blocks only the one in the middle is kept
 *	large   4 MiB, cut into as many commands as it takes
 *
 *	scatter [--force] [DEVICE]		for example: NVME_LOG=debug scatter 0000:01:00.0
 *
 * Without a device it works on the software controller. It overwrites the first 4 MiB of the disk: one
 * that holds anything where in_use.h looks is refused, unless --force says that its content may be
 * lost. The same on a controller without SGLs: scatter soft:sgls=0
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"

#define PAGE       4096u
#define LARGE      ((size_t)4 << 20)
#define TIMEOUT_MS 30000

/* One transfer. It outlives the controller, since a callback may come as late as nvme_detach(). */
struct io {
	bool done, failed;
};

struct disk {
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint32_t block;
	uint8_t *buf;     /* LARGE bytes of DMA memory */
	uint8_t *pattern; /* what they should be */
	struct io *io;
};

static void io_complete(void *arg, const struct nvme_cpl *cpl)
{
	struct io *io = arg;

	io->failed = nvme_cpl_is_error(cpl);
	io->done = true;
}

/* Sends pieces to or from the start of the disk and waits for them. iov is not needed after the call. */
static int transfer(struct disk *d, bool write, const struct iovec *iov, int pieces, uint64_t nlb)
{
	uint64_t deadline = device_now_ms(d->ctrlr) + TIMEOUT_MS;
	int rc;

	memset(d->io, 0, sizeof(*d->io));
	rc = write ? nvme_ns_cmd_writev(d->ns, d->qp, iov, pieces, 0, nlb, io_complete, d->io, 0)
	           : nvme_ns_cmd_readv(d->ns, d->qp, iov, pieces, 0, nlb, io_complete, d->io, 0);
	while (rc >= 0 && !d->io->done) {
		bool late = device_now_ms(d->ctrlr) > deadline;

		rc = nvme_qpair_process_completions(d->qp, 0); /* and sends what waits */
		if (rc == 0 && late)
			rc = -ETIMEDOUT;
	}
	return rc < 0 ? rc : d->io->failed ? -EIO : 0;
}

static int write_pattern(struct disk *d, size_t len)
{
	struct iovec iov = {d->buf, len};

	memcpy(d->buf, d->pattern, len);
	return transfer(d, true, &iov, 1, len / d->block);
}

/* Page by page, the last one first. */
static int pages(struct disk *d)
{
	struct iovec iov[16];
	size_t i;
	int n, rc;

	for (n = 0; n < 16; n++) {
		iov[n].iov_base = d->buf + (15 - (size_t)n) * PAGE;
		iov[n].iov_len = PAGE;
	}
	rc = write_pattern(d, 16 * PAGE);
	if (rc == 0)
		rc = transfer(d, false, iov, n, 16 * PAGE / d->block);
	for (i = 0; i < 16 && rc == 0; i++)
		if (memcmp(iov[i].iov_base, d->pattern + i * PAGE, PAGE) != 0)
			rc = -EILSEQ;
	return rc;
}

/* 300 + 300 bytes and the rest of a block, each in a page of its own. */
static int parts(struct disk *d)
{
	struct iovec iov[3] = {{d->buf + 100, 300},
	                       {d->buf + PAGE, 300},
	                       {d->buf + 2 * PAGE, d->block - 600}};
	struct iovec whole = {d->buf, d->block};
	uint32_t at = 0;
	int i, rc;

	if (d->block < 600)
		iov[0].iov_len = iov[1].iov_len = 100, iov[2].iov_len = d->block - 200;
	for (i = 0; i < 3; at += (uint32_t)iov[i++].iov_len)
		memcpy(iov[i].iov_base, d->pattern + at, iov[i].iov_len);
	rc = transfer(d, true, iov, 3, 1);
	if (rc == 0)
		rc = transfer(d, false, &whole, 1, 1);
	return rc == 0 && memcmp(d->buf, d->pattern, d->block) != 0 ? -EILSEQ : rc;
}

/* iov_base NULL: the controller throws these bytes away. */
static int hole(struct disk *d)
{
	struct iovec iov[3] = {{NULL, d->block}, {d->buf, d->block}, {NULL, d->block}};
	int rc = write_pattern(d, 3 * (size_t)d->block);

	if (rc == 0)
		rc = transfer(d, false, iov, 3, 3);
	return rc == 0 && memcmp(d->buf, d->pattern + d->block, d->block) != 0 ? -EILSEQ : rc;
}

static int large(struct disk *d)
{
	struct iovec iov = {d->buf, LARGE};
	int rc = write_pattern(d, LARGE);

	memset(d->buf, 0, LARGE);
	if (rc == 0)
		rc = transfer(d, false, &iov, 1, LARGE / d->block);
	return rc == 0 && memcmp(d->buf, d->pattern, LARGE) != 0 ? -EILSEQ : rc;
}

static int run(struct disk *d)
{
	static const struct {
		const char *name;
		int (*run)(struct disk *d);
	} steps[] = {{"pages", pages}, {"parts", parts}, {"hole", hole}, {"large", large}};
	size_t i;
	int rc;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		rc = steps[i].run(d);
		if (rc != 0 && rc != -EOPNOTSUPP) {
			fprintf(stderr, "scatter: %s failed: %s\n", steps[i].name, strerror(-rc));
			return rc;
		}
		printf("%-5s %s\n", steps[i].name,
		       rc == 0 ? "ok" : "not possible, the controller takes no SGLs for it");
	}
	return 0;
}

static int scatter(struct nvme_ctrlr *ctrlr, bool look_first, struct io *io)
{
	struct nvme_io_qpair_opts opts = {.entries = 4};
	struct disk d = {ctrlr, NULL, NULL, 0, NULL, NULL, io};
	size_t i;
	int rc;

	d.ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	if (d.ns == NULL)
		return -ENODEV;
	d.block = nvme_ns_get_extended_sector_size(d.ns);
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &d.qp);
	if (rc == 0 && look_first)
		rc = refuse_used_disk("scatter", d.ns, d.qp, "not scatter's");
	if (rc != 0)
		return rc;
	d.buf = nvme_dma_alloc(ctrlr, LARGE); /* nvme_detach() releases it */
	d.pattern = malloc(LARGE);
	if (d.buf == NULL || d.pattern == NULL) {
		free(d.pattern);
		return -ENOMEM;
	}
	for (i = 0; i < LARGE; i++)
		d.pattern[i] = (uint8_t)(i * 7 ^ i >> 8 ^ i >> 15);
	rc = run(&d);
	free(d.pattern);
	return rc;
}

int main(int argc, char **argv)
{
	bool force = argc > 1 && strcmp(argv[1], "--force") == 0;
	const char *device = argc > (force ? 2 : 1) ? argv[argc - 1] : "soft";
	struct io io = {false, false};
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	if (argc > (force ? 3 : 2) || device[0] == '-') {
		return wrong_use("scatter", device, "[--force] [DEVICE]\n" DEVICE_USAGE);
	}
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = scatter(ctrlr, !force && !device_is_blank(device), &io);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
