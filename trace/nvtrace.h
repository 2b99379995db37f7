// SPDX-License-Identifier: MIT
/*
 * nvtrace: what its parts share.
 *
 *	reader    turns a source (our recorder's file, a kernel or QEMU trace, a log) into records
 *	pairing   finds the command of each completion
 *	filter    drops records that nobody asked for
 *	output    prints records: text, JSON, pictures, ...
 *
 * One record at a time goes through these, so that memory stays bounded however long the source is.
 * What a source does not carry stays absent: the `has` bits of a record say what is there, and
 * nothing else in it may be looked at.
 */
#ifndef NVTRACE_H
#define NVTRACE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* long traces on 32-bit hosts */
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <inttypes.h>
#include <errno.h>
#include "nvme.h"

/* ---- records ---- */

enum rec_kind {
	REC_ATTACH, /* a controller was attached: attach, text (its name) */
	REC_DETACH,
	REC_REG_READ,    /* reg */
	REC_REG_WRITE,   /* reg */
	REC_COMMAND,     /* cmd: one for each command that was submitted */
	REC_CMD_AGAIN,   /* cmd: printed once more because it failed (our recorder, SPDK's log) */
	REC_COMPLETION,  /* cpl */
	REC_DOORBELL,    /* doorbell */
	REC_PRP,         /* prp and entry[]: the data pointer of the command that follows */
	REC_SGL,         /* sgl: a part of the segment that a command names, which follows */
	REC_DMA_MAP,     /* dma */
	REC_DMA_UNMAP,   /* dma */
	REC_LOG,         /* level, file, func, line, text: a line of the driver's log */
	REC_ASYNC_EVENT, /* cpl.cdw0: what an Asynchronous Event Request told (kernel, QEMU) */
	REC_QUEUE,       /* qid, sq_head, sq_tail: nvme_sq of the kernel */
	REC_IRQ,         /* the controller raised an interrupt: vector */
	REC_MARK,        /* mark, text: something goes wrong, and what the driver does about it */
	REC_DEV_FETCH,   /* cmd: the controller fetched it */
	REC_DEV_DATA,    /* data: the controller moved data */
	REC_DEV_CQE,     /* cpl: the controller posted it */
	REC_DAMAGE, /* the source is damaged here: text says how; the reader went on behind it */
	REC_NOTE    /* anything else worth showing: text */
};

enum rec_has {
	HAS_TIME = 1 << 0,
	HAS_QID = 1 << 1,
	HAS_CTRLR = 1 << 2,
	HAS_PLACE = 1 << 3, /* file, func, line, tid of a line of our own log */
	HAS_PHASE = 1 << 4, /* cpl: P */
	HAS_SQHD = 1 << 5,
	HAS_SQID = 1 << 6,
	HAS_DW0 = 1 << 7, /* cpl: cdw0 */
	HAS_DW1 = 1 << 8,
	HAS_STATUS = 1 << 9,     /* cpl: SCT, SC */
	HAS_FLAGS = 1 << 10,     /* cpl: CRD, M, DNR */
	HAS_OLD = 1 << 11,       /* doorbell: old value */
	HAS_LATENCY = 1 << 12,   /* set by the pairing: latency_ns */
	HAS_OPC = 1 << 13,       /* of the command; set by the pairing for completions */
	HAS_DEPTH = 1 << 14,     /* set by the pairing: outstanding */
	HAS_TEXT_LINE = 1 << 15, /* raw: the line of the source, for messages */
	HAS_ONE_CTRLR = 1 << 16, /* no ctrlr, but all records so far are of one controller */
	HAS_GAP = 1 << 17        /* records are missing before this one */
};

/* Bits of cmd_have: which dwords of the SQE the source carries. DW0 is opcode, flags and CID. */
#define HAVE_DW(n) (1u << (n))
#define HAVE_OPC   HAVE_DW(0) /* opcode and CID */
#define HAVE_FLAGS (1u << 16) /* FUSE and PSDT */
#define HAVE_NSID  HAVE_DW(1)
#define HAVE_MPTR  (HAVE_DW(4) | HAVE_DW(5))
#define HAVE_DPTR1 (HAVE_DW(6) | HAVE_DW(7)) /* PRP1, or the address of an SGL */
#define HAVE_DPTR2 (HAVE_DW(8) | HAVE_DW(9))
#define HAVE_NLB   (1u << 17) /* of CDW12 only the number of blocks */
#define HAVE_SQE   0x1ffffu   /* all of it */

#define REC_TEXT    1024
#define REC_ENTRIES 16

struct rec {
	enum rec_kind kind;
	uint32_t has;      /* HAS_* */
	uint32_t cmd_have; /* HAVE_*, where cmd is used */
	uint64_t number;   /* of the record in its source, from 1: a slot or a line */
	uint64_t time_ns;  /* since 1970 (our recorder, SPDK) or since boot (kernel); HAS_TIME */
	uint32_t tid;
	uint32_t ctrlr; /* HAS_CTRLR: 0, 1, ... as the source numbers them */
	uint16_t qid;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl; /* cpl.cid is there whenever cpl is */
	struct nvme_trace_reg reg;
	struct nvme_trace_doorbell doorbell;
	struct nvme_trace_prp prp;
	struct nvme_trace_sgl sgl;
	uint64_t *entry; /* REC_PRP: prp.nprp - 1 entries of the list (malloc'd, NULL: none); the
	                  * record owns them, see rec_free() */
	uint32_t entries;
	struct nvme_trace_dma dma;
	struct nvme_trace_data data;
	struct nvme_trace_mark mark;
	struct nvme_trace_attach attach;
	uint16_t sq_head, sq_tail, vector;
	enum nvme_log_level level;
	uint32_t line;
	char file[40], func[80];
	char text[REC_TEXT];

	/* set by the pairing */
	uint64_t latency_ns;  /* of a completion */
	uint32_t outstanding; /* on its queue, after this record */
	uint64_t cmd_number;  /* a completion: number of its command's record, 0: none */
	struct nvme_cmd of;   /* a completion: its command, as far as of_have says */
	uint32_t of_have;
	const char *
		problem; /* what is wrong with it: an orphan, a duplicate CID, ...; NULL: nothing */
};

static inline void rec_free(struct rec *r)
{
	free(r->entry);
	r->entry = NULL;
	r->entries = 0;
}

/* ---- readers ---- */

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
	bool again;            /* it is read for the second time: damage and notes were told */
	bool failed, ended;    /* next() could not go on; it has said that there is no more */
};

extern const struct reader_ops nvt_reader, ftrace_reader, tracecmd_reader, qemu_reader, spdk_reader;

/* fread() and getline() that give the probed bytes first. (nvtrace.c) */
size_t reader_read(struct reader *rd, void *buf, size_t len);
/* A line without its newline; -1 at the end. A line over 64 KiB comes in pieces. */
long reader_getline(struct reader *rd, char *buf, size_t size);
/*
 * Opens a file ("-": standard input), finds out what it is (INPUT_AUTO) and opens its reader. A
 * negative errno: it cannot be read, and a sentence on standard error has said why. `again` for a
 * file that was read before: what there is to say about its records is not said twice. (nvtrace.c)
 */
int reader_start(struct reader *rd, const char *name, enum input input, bool again);
/*
 * The next record, paired: 1 a record, 0 the end, a negative errno. What was in *rec is freed. Says
 * on standard error what is damaged, and at the end what was left out. (nvtrace.c)
 */
struct pairing;
int reader_next(struct reader *rd, struct pairing *pairing, struct rec *rec);
/* At the end: DECODED or NOT_DECODED. (nvtrace.c) */
int reader_status(const struct reader *rd);
void reader_end(struct reader *rd);
/* "nvtrace: NAME: ..." on standard error. */
void reader_complain(const struct reader *rd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- pairing (pair.c) ---- */

struct pairing *pairing_new(void);
/* Looks at every record in order and sets the fields that are its own. */
void pairing_record(struct pairing *p, struct rec *rec);
/* Commands that never completed, one at a time: false when there are no more. */
bool pairing_next_open(struct pairing *p, struct rec *rec);
void pairing_free(struct pairing *p);

/* ---- filter (filter.c) ---- */

struct filter;
/* Compiles an expression. NULL: wrong, with a sentence in why and the column (from 1) in *column. */
struct filter *filter_new(const char *text, char *why, size_t size, int *column);
bool filter_match(const struct filter *f, const struct rec *rec);
void filter_free(struct filter *f);

/* ---- outputs ---- */

/* The exit status. Of a run that has two to tell, the larger one counts. */
enum {
	DECODED,     /* and there is nothing to report */
	FOUND,       /* mistakes (--lint) or differences (--diff, --with) */
	WRONG_USAGE, /* nothing was done */
	NOT_DECODED  /* not everything could be read, decoded or written */
};

enum { STYLE_V2305, STYLE_V26 };

struct options {
	int style;         /* STYLE_* */
	bool prefix;       /* text: with date, place and level */
	bool bits;         /* -H */
	bool explain;      /* --explain */
	bool show_latency; /* text: latency and commands outstanding behind each line */
	int times;         /* text: 0 as logged, 1 since the start, 2 since the previous line */
	bool verbose;      /* text: also registers, doorbells, mappings, the controller's side */

	const char *out_file; /* -o, -w; NULL: standard output */
};

/*
 * Makes the file of -o the standard output. Called when the input has proved to be readable, so that
 * a mistyped input costs nobody the output of an earlier run. A negative errno: it cannot be
 * written, and a sentence has said so. (nvtrace.c)
 */
int output_open(const struct options *options);

struct output;
struct output_ops {
	const char *name; /* "text", "json", ... */
	int (*begin)(struct output *o);
	int (*record)(struct output *o, struct rec *rec);
	int (*end)(struct output *o, struct pairing *p); /* 1: it has found mistakes */
};

struct output {
	const struct output_ops *ops;
	FILE *out;
	const struct options *options;
	void *state;
};

extern const struct output_ops text_output, json_output, csv_output, perfetto_output, html_output,
	svg_output, pcapng_output, summary_output, lint_output;

/* The message of a command or completion in a style, like nvme_format_cmd(). (style.c) */
int style_format_cmd(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cmd *cmd);
int style_format_cpl(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cpl *cpl,
                     bool fabrics);

/* "[Base 2.1 §5.1.13: Identify command]": where the specification describes it. (fields.c) */
const char *opc_citation(uint16_t qid, uint8_t opc);
/* What a field's value means, "" where it is just a number. (fields.c) */
int cmd_field_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint16_t qid,
                    const struct nvme_cmd *cmd);

/*
 * The same for a record of which only a part may be known: what is absent is left out. A record
 * that is whole gives exactly the text of the two functions above. (style.c)
 */
int style_format_rec(char *buf, size_t size, int style, const struct rec *rec);

/* Dword n (0 to 15) of a command. (fields.c) */
uint32_t cmd_dword(const struct nvme_cmd *cmd, unsigned n);
/* -H and --explain: lines on what the record holds, each indented. (fields.c) */
void print_bits(FILE *out, const struct rec *rec);
void print_explanation(FILE *out, const struct rec *rec);

/* "late", "reset", ...: what a mark is called, in JSON and CSV too. NULL: another one. (style.c) */
const char *mark_name(uint32_t what);
/* "late: qid:1 cid:8, 500 ms are allowed", into the text of a mark. (style.c) */
int format_mark(char *buf, size_t size, uint16_t qid, const struct nvme_trace_mark *mark);

/* What of nvme.h's own formatting is private to its implementation. (nvtrace.c) */
int format_log_line(char *buf, size_t size, uint64_t time_ns, const char *file, uint32_t line,
                    const char *func, enum nvme_log_level level, const char *text);
int format_sgl_line(char *buf, size_t size, uint32_t i, const struct nvme_sgl_desc *desc);
int format_sgl_head(char *buf, size_t size, uint64_t segment, uint32_t descs, uint32_t len);
int format_prp_line(char *buf, size_t size, uint32_t nprp, uint32_t i, uint64_t prp);
int format_dptr(char *buf, size_t size, const struct nvme_cmd *cmd);

/* Two traces at once, and what each is; they return the exit status. (merge.c, diff.c) */
int nvtrace_merge(const char *const file[2], const enum input input[2],
                  const struct options *options);
int nvtrace_diff(const char *const file[2], const enum input input[2],
                 const struct options *options);

#endif /* NVTRACE_H */
