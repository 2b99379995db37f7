// SPDX-License-Identifier: MIT
/*
 * nvdd: a file onto a namespace, or a namespace into a file, many commands at a time.
 *
 *	nvdd [--force] write FILE DEVICE	for example: nvdd write disk.img 0000:01:00.0
 *	nvdd [--force] read FILE DEVICE
 *
 * Zeros are not copied: what is zero in FILE, or is a hole there, becomes Write Zeroes where the
 * controller has that, and may be deallocated; what is zero on the disk becomes a hole in FILE. Each
 * piece that comes back makes room for the next one, so that up to DEPTH of them are under way. On a
 * terminal a bar shows how far it is.
 *
 * 'write' refuses a disk that holds anything where in_use.h looks, and 'read' a FILE that is there,
 * unless --force says that its content may be lost.
 */
#define _GNU_SOURCE /* SEEK_DATA */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include "in_use.h"
#include <sys/stat.h>

enum { DEPTH = 32, PIECE = 128 << 10, MAX_IDLE_MS = 30000 };

struct piece { /* one command at a time */
	struct copy *copy;
	uint8_t *buf;
	uint64_t at; /* bytes from the start */
	uint32_t len;
};

struct copy {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	const char *name; /* of the file */
	int file;
	bool write, zeroes;             /* to the device; it has Write Zeroes */
	uint32_t step, block;           /* bytes of a piece and of a block */
	uint64_t next, end, done, size; /* bytes; end is whole blocks, size is the file's */
	uint32_t depth, outstanding;
	int rc; /* the first error */
	struct nvme_cpl cpl;
	struct piece pieces[DEPTH];
};

static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* len bytes of the file, whatever read() makes of it; zeros behind its end. */
static int load(struct copy *c, uint8_t *buf, uint32_t len, uint64_t at)
{
	ssize_t n;

	memset(buf, 0, len);
	while (len > 0 && at < c->size) {
		n = pread(c->file, buf, len, (off_t)at);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) /* it has become shorter meanwhile */
			return -ENODATA;
		n = n < 0 ? 0 : n;
		buf += n;
		at += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

static int store(const struct copy *c, const uint8_t *buf, uint32_t len, uint64_t at)
{
	ssize_t n;

	while (len > 0) {
		n = pwrite(c->file, buf, len, (off_t)at);
		if (n < 0 && errno != EINTR)
			return -errno;
		n = n < 0 ? 0 : n;
		buf += n;
		at += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

static void start(struct piece *p);

static void piece_done(void *arg, const struct nvme_cpl *cpl)
{
	struct piece *p = arg;
	struct copy *c = p->copy;

	c->outstanding--;
	if (c->rc == 0 && nvme_cpl_is_error(cpl)) {
		c->cpl = *cpl;
		c->rc = -EIO;
	}
	if (c->rc == 0 && !c->write && !is_zero(p->buf, p->len))
		c->rc = store(c, p->buf, p->len, p->at);
	c->done += p->len;
	start(p);
}

/* The next piece. A hole of the file needs not be read to know what is in it: load() gives zeros. */
static int submit(struct piece *p)
{
	struct copy *c = p->copy;
	uint64_t slba = p->at / c->block;
	uint32_t nlb = p->len / c->block;
	int rc;

	if (!c->write)
		return nvme_ns_cmd_read(c->ns, c->qp, p->buf, slba, nlb, piece_done, p, 0);
	rc = load(c, p->buf, p->len, p->at);
	if (rc != 0)
		return rc;
	if (c->zeroes && is_zero(p->buf, p->len))
		return nvme_ns_cmd_write_zeroes(c->ns, c->qp, slba, nlb, piece_done, p,
		                                NVME_IO_FLAGS_DEALLOCATE);
	return nvme_ns_cmd_write(c->ns, c->qp, p->buf, slba, nlb, piece_done, p, 0);
}

static void start(struct piece *p)
{
	struct copy *c = p->copy;
	int rc;

	if (c->rc != 0 || c->next == c->end)
		return;
	p->at = c->next;
	p->len = c->end - c->next < c->step ? (uint32_t)(c->end - c->next) : c->step;
	c->next += p->len;
	rc = submit(p);
	if (rc == 0)
		c->outstanding++;
	else
		c->rc = rc;
}

static void show(const struct copy *c)
{
	static const char full[] = "########################################";
	int width = (int)sizeof(full) - 1, part;

	if (!isatty(STDERR_FILENO))
		return;
	part = c->end == 0 ? width : (int)((double)c->done / (double)c->end * width);
	fprintf(stderr, "\r[%-*.*s] %" PRIu64 " of %" PRIu64 " MiB", width, part, full,
	        c->done >> 20, c->end >> 20);
}

/* Until all is there. What has not come back in 30 s never will. */
static int run(struct copy *c)
{
	struct nvme_ctrlr *ctrlr = nvme_ns_get_ctrlr(c->ns);
	uint64_t now, shown = 0, idle_since = device_now_ms(ctrlr);
	uint32_t i;
	int rc;

	for (i = 0; i < c->depth; i++)
		start(&c->pieces[i]);
	while (c->outstanding > 0) {
		now = device_now_ms(ctrlr);
		rc = nvme_qpair_process_completions(c->qp, 0);
		if (rc < 0)
			return rc;
		if (rc > 0)
			idle_since = now;
		else if (now > idle_since + MAX_IDLE_MS)
			return -ETIMEDOUT;
		if (now >= shown + 100)
			show(c);
		shown = now >= shown + 100 ? now : shown;
	}
	show(c);
	fprintf(stderr, isatty(STDERR_FILENO) ? "\n" : "");
	if (c->rc == 0 && c->write) /* a volatile cache is not yet the medium */
		c->rc = nvme_ns_flush(c->ns, c->qp, &c->cpl);
	return c->rc;
}

/* Queue pair and buffers; all of it is the controller's, which frees it. */
static int open_device_side(struct copy *c, struct nvme_ctrlr *ctrlr)
{
	uint32_t most, i;
	uint8_t *buf;
	int rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &c->qp);

	if (rc != 0)
		return rc;
	c->depth = nvme_qpair_get_entries(c->qp) - 1; /* one stays empty */
	c->depth = c->depth < DEPTH ? c->depth : DEPTH;
	c->block = nvme_ns_get_sector_size(c->ns);
	most = nvme_ns_get_max_nlb(c->ns, c->qp);
	c->step = PIECE / c->block < most ? PIECE / c->block : most;
	c->step = (c->step > 0 ? c->step : 1) * c->block;
	c->zeroes = (nvme_ns_get_flags(c->ns) & NVME_NS_WRITE_ZEROES_SUPPORTED) != 0;
	buf = nvme_dma_alloc(ctrlr, (size_t)c->step * DEPTH);
	for (i = 0; i < DEPTH; i++) {
		c->pieces[i].copy = c;
		c->pieces[i].buf = buf + (size_t)i * c->step;
	}
	return buf != NULL ? 0 : -ENOMEM;
}

static int refuse(const struct copy *c, const char *why)
{
	fprintf(stderr, "nvdd: %s: %s\n", c->name, why);
	return -EINVAL;
}

/* The file, and how much is to be copied. */
static int open_file_side(struct copy *c, bool force)
{
	uint64_t room = nvme_ns_get_num_sectors(c->ns) * c->block;
	int flags = c->write ? O_RDONLY : O_WRONLY | O_CREAT | (force ? O_TRUNC : O_EXCL);
	struct stat st;

	c->file = open(c->name, flags | O_CLOEXEC, 0666);
	if (c->file < 0 && errno == EEXIST)
		return refuse(c, "is there already: name another file, or run nvdd with --force");
	if (c->file < 0 || fstat(c->file, &st) != 0)
		return refuse(c, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(c, "is no regular file: name one");
	c->size = c->write ? (uint64_t)st.st_size : room;
	c->end = (c->size + c->block - 1) / c->block * c->block;
	if (c->end > room)
		return refuse(c, "is larger than the namespace: name a smaller file");
	return 0;
}

static int copy(struct copy *c, struct nvme_ctrlr *ctrlr, bool force, bool look_first)
{
	char text[NVME_ERROR_MAX];
	int rc;

	c->ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	if (c->ns == NULL ||
	    nvme_ns_get_extended_sector_size(c->ns) != nvme_ns_get_sector_size(c->ns)) {
		fprintf(stderr, "nvdd: the controller has no namespace without metadata in its "
		                "blocks: make one with 'nvme create-ns' or 'nvme format'\n");
		return -ENODEV;
	}
	rc = open_device_side(c, ctrlr);
	if (rc == 0)
		rc = open_file_side(c, force);
	if (rc == 0 && look_first)
		rc = refuse_used_disk("nvdd", c->ns, c->qp, "");
	if (rc != 0)
		return rc;
	rc = run(c);
	if (!c->write && rc == 0 && ftruncate(c->file, (off_t)c->size) != 0)
		rc = -errno;
	if (rc != 0)
		fprintf(stderr, "nvdd: not all was copied: %s\n",
		        nvme_strerror(text, sizeof(text), rc,
		                      nvme_cpl_is_error(&c->cpl) ? &c->cpl : NULL));
	else
		printf("%" PRIu64 " bytes were copied\n", c->size);
	return rc;
}

int main(int argc, char **argv)
{
	bool force = argc > 1 && strcmp(argv[1], "--force") == 0;
	static struct copy c; /* callbacks write to it until nvme_detach() is over */
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	argv += force;
	argc -= force;
	if (argc != 4 || (strcmp(argv[1], "read") != 0 && strcmp(argv[1], "write") != 0)) {
		return wrong_use("nvdd",
		                 argc > 4    ? argv[4]
		                 : argc == 4 ? argv[1]
		                             : NULL,
		                 "[--force] read|write FILE DEVICE\n" DEVICE_USAGE);
	}
	c.write = strcmp(argv[1], "write") == 0;
	c.name = argv[2];
	c.file = -1;
	status = open_device(argv[3], &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	rc = copy(&c, ctrlr, force, c.write && !force && !device_is_blank(argv[3]));
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	if (c.file >= 0 && close(c.file) != 0) {
		rc = -errno;
		fprintf(stderr, "nvdd: %s: %s\n", c.name, strerror(errno));
	}
	return rc != 0;
}
