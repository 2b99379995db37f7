// SPDX-License-Identifier: MIT
/*
 * What all sources have in common: finding out which one it is, bytes and lines, and what is said of
 * those that are damaged.
 */
#include "reader.h"
#include "clean.h"
#include "unpack.h"
#include <stdarg.h>
#include <sys/stat.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct reader_ops *const readers[] = {
	&nvt_reader, &ftrace_reader, &tracecmd_reader, &qemu_reader, &spdk_reader,
};

void reader_complain(const struct reader *rd, const char *fmt, ...)
{
	char text[REC_TEXT + 64];
	va_list ap;

	fflush(stdout); /* so that messages stand where they belong */
	fprintf(stderr, "nvtrace: %s: ", rd->name);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clean_put(stderr, text); /* it may quote the source */
	fputc('\n', stderr);
}

size_t reader_read(struct reader *rd, void *buf, size_t len)
{
	size_t n = rd->head_len - rd->head_at;

	if (n > len)
		n = len;
	memcpy(buf, rd->head + rd->head_at, n);
	rd->head_at += n;
	if (n < len)
		n += fread((uint8_t *)buf + n, 1, len - n, rd->in);
	return n;
}

long reader_getline(struct reader *rd, char *buf, size_t size)
{
	size_t len = 0;
	int c = EOF;

	while (len + 1 < size) {
		c = rd->head_at < rd->head_len ? rd->head[rd->head_at++] : getc_unlocked(rd->in);
		if (c == EOF || c == '\n')
			break;
		buf[len++] = (char)c;
	}
	buf[len] = '\0';
	return c == EOF && len == 0 ? -1 : (long)len;
}

const struct reader_ops *reader_named(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < COUNT(readers); i++)
		if (strlen(readers[i]->name) == len && strncmp(readers[i]->name, name, len) == 0)
			return readers[i];
	return NULL;
}

const struct reader_ops *reader_probe(const struct reader *rd)
{
	const struct reader_ops *best = NULL;
	int most = 0, sure;
	size_t i;

	for (i = 0; i < COUNT(readers); i++) {
		sure = readers[i]->probe(rd->head, rd->head_len);
		if (sure > most) {
			most = sure;
			best = readers[i];
		}
	}
	return best;
}

static const struct reader_ops *choose_reader(struct reader *rd, enum input input)
{
	const struct reader_ops *best;
	size_t i;

	for (i = 0; i < COUNT(readers); i++)
		if (readers[i]->input == input)
			return readers[i];
	if (rd->head_len == 0) {
		reader_complain(rd, "it is empty");
		return NULL;
	}
	best = reader_probe(rd);
	if (best == NULL)
		reader_complain(rd, "this is no trace that nvtrace knows; say what it is with "
		                    "--input");
	return best;
}

/* What an error of reading is told as. */
static const char *read_error(const struct reader *rd)
{
	return rd->packed ? "its packed data is damaged or cut: get the file once more"
	                  : strerror(errno);
}

/*
 * The first bytes, unpacked. A pipe is not waited for if it is known what comes through it. -EIO and
 * such: a sentence has said so.
 */
static int read_head(struct reader *rd, enum input input)
{
	struct stat st;
	FILE *unpacked;

	if (input != INPUT_AUTO && (fstat(fileno(rd->in), &st) != 0 || !S_ISREG(st.st_mode)))
		return 0;
	rd->head_len = fread(rd->head, 1, sizeof(rd->head), rd->in);
	if (!ferror(rd->in) && is_packed(rd->head, rd->head_len)) {
		unpacked = unpack(rd->in, rd->head, rd->head_len);
		if (unpacked == NULL) {
			reader_complain(rd, "it cannot be unpacked: there is no memory");
			return -ENOMEM;
		}
		rd->in = unpacked;
		rd->packed = true;
		rd->head_len = fread(rd->head, 1, sizeof(rd->head), rd->in);
	}
	if (!ferror(rd->in))
		return 0;
	reader_complain(rd, "%s", read_error(rd));
	return -EIO;
}

int reader_start(struct reader *rd, const char *name, enum input input, bool again)
{
	int rc;

	memset(rd, 0, sizeof(*rd));
	rd->again = again;
	rd->name = strcmp(name, "-") == 0 ? "standard input" : name;
	rd->in = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
	if (rd->in == NULL) {
		rc = -errno;
		reader_complain(rd, "%s: name a trace that is there and that you may read",
		                strerror(-rc));
		return rc;
	}
	rc = read_head(rd, input);
	if (rc == 0) {
		rd->ops = choose_reader(rd, input);
		rc = rd->ops != NULL ? rd->ops->open(rd) : -EINVAL;
	}
	if (rc != 0)
		reader_end(rd);
	return rc;
}

void reader_end(struct reader *rd)
{
	if (rd->ops != NULL)
		rd->ops->close(rd);
	if (rd->in != NULL && rd->in != stdin)
		fclose(rd->in);
	rd->ops = NULL;
	rd->in = NULL;
}

/* What was left out, though nothing is damaged. */
static void report_left_out(const struct reader *rd)
{
	if (rd->unknown > 0)
		reader_complain(rd,
		                "%" PRIu64
		                " events are of kinds that this nvtrace does not know and "
		                "were skipped (%s): a newer nvtrace may know them",
		                rd->unknown, rd->unknown_what);
	if (rd->fields > 0)
		reader_complain(rd,
		                "%" PRIu64 " commands have fields that this nvtrace does not know "
		                "(%s): the rest of them was read; a newer nvtrace may know them",
		                rd->fields, rd->fields_what);
	if (rd->moved > 0)
		reader_complain(rd,
		                "it was being written: %" PRIu64 " events were overwritten or not "
		                "yet finished when this was read: a larger NVME_TRACE_SLOTS keeps "
		                "more",
		                rd->moved);
}

int reader_next(struct reader *rd, struct pairing *pairing, struct rec *rec)
{
	int rc;

	rec_free(rec);
	if (rd->ended)
		return 0;
	rc = rd->ops->next(rd, rec);
	rd->ended = rc <= 0;
	if (rc < 0) {
		rd->failed = true;
		reader_complain(rd, "decoding stopped: %s", strerror(-rc));
	} else if (rc == 0 && ferror(rd->in)) {
		reader_complain(rd, "it cannot be read to its end: %s", read_error(rd));
	}
	if (rc <= 0 && !rd->again)
		report_left_out(rd);
	if (rc <= 0)
		return rc;
	if (rec->kind == REC_DAMAGE && !rd->again)
		reader_complain(rd, "%s", rec->text);
	pairing_record(pairing, rec);
	return 1;
}

int reader_status(const struct reader *rd)
{
	return rd->failed || rd->damaged > 0 || ferror(rd->in) ? NOT_DECODED : DECODED;
}
