// SPDX-License-Identifier: MIT
/*
 * nvtrace: its words. A record is what all of its parts speak of:
 *
 *	reader    turns a source (our recorder's file, a kernel or QEMU trace, a log) into records
 *	pairing   finds the command of each completion
 *	filter    drops records that nobody asked for
 *	output    prints records: text, JSON, pictures, ...
 *
 * One record at a time goes through these, so that memory stays bounded however long the source is.
 * What a source does not carry stays absent: the `has` bits of a record say what is there, and
 * nothing else in it may be looked at.
 *
 * What stands on what: rec.h is the ground, and clean.h says what may reach a terminal; words, cmd and
 * fields say what is in a record; pair and reader make records, the folder read/ has the sources; filter
 * chooses; the folder out/ prints; diff, merge and hex are outputs of their own; cli reads the command
 * line, and main.c is nothing else.
 */
#ifndef NVTRACE_REC_H
#define NVTRACE_REC_H

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
	HAS_ONE_CTRLR = 1 << 16, /* no ctrlr, but all records so far are of one controller */
	HAS_GAP = 1 << 17,       /* records are missing before this one */
	HAS_BYTES = 1 << 18,     /* a command: bytes */
	HAS_DIRECTION = 1 << 19  /* a command: to_host */
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

#define REC_TEXT 1024

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
	uint64_t bytes; /* of data that a command moves, and which way, as the source says it beside */
	bool to_host; /* the command itself */
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

/* A queue of a controller as one number; sources without a controller have controller 0. */
static inline uint64_t queue_key(const struct rec *r)
{
	return (uint64_t)((r->has & HAS_CTRLR) != 0 ? r->ctrlr : 0) << 16 | r->qid;
}

static inline uint32_t key_ctrlr(uint64_t key)
{
	return (uint32_t)(key >> 16);
}

static inline uint16_t key_qid(uint64_t key)
{
	return (uint16_t)(key & 0xffff);
}

#endif /* NVTRACE_REC_H */
