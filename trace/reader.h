// SPDX-License-Identifier: MIT
/*
 * From a file or a pipe to records.
 */
#ifndef NVTRACE_READER_H
#define NVTRACE_READER_H

#include "pair.h"

/* The exit status. Of a run that has two to tell, the larger one counts. */
enum {
	DECODED,     /* and there is nothing to report */
	FOUND,       /* mistakes (--lint) or differences (--diff, --with) */
	WRONG_USAGE, /* nothing was done */
	NOT_DECODED  /* not everything could be read, decoded or written */
};

enum input { INPUT_AUTO, INPUT_NVT, INPUT_FTRACE, INPUT_TRACECMD, INPUT_QEMU, INPUT_SPDK };

struct reader;

/*
 * Each reader looks at one kind of source. probe() says from its first bytes (at least 4 KiB, or all
 * of it) how sure it is, 0 to 100. next() fills in the next record: 1 a record, 0 the end, a
 * negative errno for an input that cannot be read on. A damaged place is a record REC_DAMAGE; a kind
 * of record that is not known is none: later versions of a source may add some.
 * A reader may queue several records for one line; it never guesses what the line does not say.
 */
struct reader_ops {
	enum input input;
	const char *name; /* "nvt", "ftrace", ... */
	int (*probe)(const uint8_t *head, size_t len);
	int (*open)(struct reader *rd); /* sets rd->state; rd->in stands at the start */
	int (*next)(struct reader *rd, struct rec *rec);
	void (*close)(struct reader *rd);
};

struct reader {
	const struct reader_ops *ops;
	FILE *in;         /* a file or a pipe; never seek without need */
	const char *name; /* for messages: a file name or "standard input" */
	void *state;
	uint64_t damaged;   /* damaged places met so far */
	uint64_t dropped;   /* records that the source says it has lost */
	uint64_t unknown;   /* records of a kind that the reader does not know: skipped */
	uint64_t moved;     /* records that a program overwrote, or was writing, meanwhile */
	uint8_t head[4096]; /* what was read for probing and not yet consumed; see reader_read() */
	size_t head_len, head_at;

	char unknown_what[64]; /* the first of the unknown ones */
	uint64_t fields;       /* commands with fields that the reader does not know: left out */
	char fields_what[64];  /* the first of them */
	bool again;            /* it is read for the second time: damage and notes were told */
	bool packed;           /* by gzip or xz */
	bool failed, ended;    /* next() could not go on; it has said that there is no more */
};

extern const struct reader_ops nvt_reader, ftrace_reader, tracecmd_reader, qemu_reader, spdk_reader;

/* fread() and getline() that give the probed bytes first. */
size_t reader_read(struct reader *rd, void *buf, size_t len);
/* A line without its newline; -1 at the end. A line over 64 KiB comes in pieces. */
long reader_getline(struct reader *rd, char *buf, size_t size);
/*
 * Opens a file ("-": standard input), finds out what it is (INPUT_AUTO) and opens its reader. A
 * negative errno: it cannot be read, and a sentence on standard error has said why. `again` for a
 * file that was read before: what there is to say about its records is not said twice.
 */
int reader_start(struct reader *rd, const char *name, enum input input, bool again);
/*
 * The next record, paired: 1 a record, 0 the end, a negative errno. What was in *rec is freed. Says
 * on standard error what is damaged, and at the end what was left out.
 */
int reader_next(struct reader *rd, struct pairing *pairing, struct rec *rec);
/* "nvt" and so on, NULL: there is none of that name. */
const struct reader_ops *reader_named(const char *name, size_t len);
/* Whose the first bytes of a file look like; NULL: nobody's. */
const struct reader_ops *reader_probe(const struct reader *rd);
/* At the end: DECODED or NOT_DECODED. */
int reader_status(const struct reader *rd);
void reader_end(struct reader *rd);
/* "nvtrace: NAME: ..." on standard error. */
void reader_complain(const struct reader *rd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif /* NVTRACE_READER_H */
