// SPDX-License-Identifier: MIT
/*
 * .gz and .xz, by zlib and liblzma. Several packed files one behind the other are one, as gzip and xz
 * have it. Memory stays bounded whatever they hold.
 */
#include "unpack.h"
#include <lzma.h>
#include <zlib.h>

#define MAX_XZ_MEMORY (UINT64_C(256) << 20) /* xz -9 takes 65 MiB */

struct packed {
	FILE *from;
	bool xz, ended;
	bool fresh; /* the file before it has ended, nothing of another one was read */
	z_stream z;
	lzma_stream lzma;
	uint8_t in[16384];
};

static bool is_gzip(const uint8_t *head, size_t len)
{
	return len >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8;
}

static bool is_xz(const uint8_t *head, size_t len)
{
	static const uint8_t magic[] = {0xfd, '7', 'z', 'X', 'Z', 0};

	return len >= sizeof(magic) && memcmp(head, magic, sizeof(magic)) == 0;
}

bool is_packed(const uint8_t *head, size_t len)
{
	return is_gzip(head, len) || is_xz(head, len);
}

static ssize_t bad(void)
{
	errno = EBADMSG;
	return -1;
}

/* More packed bytes; false: there are none, or they cannot be read. */
static bool fill(struct packed *p, size_t *left, const uint8_t **next)
{
	if (*left == 0) {
		*left = fread(p->in, 1, sizeof(p->in), p->from);
		*next = p->in;
	}
	return *left != 0;
}

/* What follows a file may be another one, or zeros, as tapes have them. */
static ssize_t read_gzip(struct packed *p, char *buf, size_t size)
{
	const uint8_t *next = p->z.next_in;
	size_t left = p->z.avail_in;
	int rc;

	p->z.next_out = (Bytef *)buf;
	p->z.avail_out = (uInt)size;
	while (p->z.avail_out == size) {
		if (!fill(p, &left, &next))
			return p->fresh && !ferror(p->from) ? 0 : bad();
		p->z.next_in = (Bytef *)(uintptr_t)next;
		p->z.avail_in = (uInt)left;
		if (p->fresh && *next == 0) {
			p->z.next_in = (Bytef *)(uintptr_t)++next;
			p->z.avail_in = (uInt)--left;
			continue;
		}
		p->fresh = false;
		rc = inflate(&p->z, Z_NO_FLUSH);
		next = p->z.next_in;
		left = p->z.avail_in;
		if (rc == Z_STREAM_END) {
			p->fresh = true;
			rc = inflateReset(&p->z);
		}
		if (rc != Z_OK && rc != Z_BUF_ERROR)
			return bad();
	}
	return (ssize_t)(size - p->z.avail_out);
}

static ssize_t read_xz(struct packed *p, char *buf, size_t size)
{
	lzma_ret rc = LZMA_OK;
	bool more;

	p->lzma.next_out = (uint8_t *)buf;
	p->lzma.avail_out = size;
	while (p->lzma.avail_out == size && rc == LZMA_OK) {
		more = fill(p, &p->lzma.avail_in, &p->lzma.next_in);
		if (!more && ferror(p->from))
			return bad();
		rc = lzma_code(&p->lzma, more ? LZMA_RUN : LZMA_FINISH);
	}
	p->ended = rc == LZMA_STREAM_END;
	return rc == LZMA_OK || p->ended ? (ssize_t)(size - p->lzma.avail_out) : bad();
}

static ssize_t packed_read(void *cookie, char *buf, size_t size)
{
	struct packed *p = cookie;

	if (size > 1 << 20)
		size = 1 << 20;
	return p->ended || size == 0 ? 0 : p->xz ? read_xz(p, buf, size) : read_gzip(p, buf, size);
}

static void end_decoder(struct packed *p)
{
	if (p->xz)
		lzma_end(&p->lzma);
	else
		inflateEnd(&p->z);
	free(p);
}

static int packed_close(void *cookie)
{
	struct packed *p = cookie;

	if (p->from != stdin)
		fclose(p->from);
	end_decoder(p);
	return 0;
}

static bool begin_decoder(struct packed *p, size_t len)
{
	if (p->xz) {
		p->lzma.next_in = p->in;
		p->lzma.avail_in = len;
		return lzma_stream_decoder(&p->lzma, MAX_XZ_MEMORY, LZMA_CONCATENATED) == LZMA_OK;
	}
	p->z.next_in = p->in;
	p->z.avail_in = (uInt)len;
	return inflateInit2(&p->z, 15 + 16) == Z_OK; /* gzip and nothing else */
}

FILE *unpack(FILE *from, const uint8_t *head, size_t len)
{
	static const cookie_io_functions_t io = {.read = packed_read, .close = packed_close};
	struct packed *p = calloc(1, sizeof(*p));
	FILE *out;

	if (p == NULL || len > sizeof(p->in)) {
		free(p);
		return NULL;
	}
	p->from = from;
	p->xz = is_xz(head, len);
	memcpy(p->in, head, len);
	if (!begin_decoder(p, len)) {
		free(p);
		return NULL;
	}
	out = fopencookie(p, "r", io);
	if (out == NULL)
		end_decoder(p);
	return out;
}
