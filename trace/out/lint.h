// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: what its parts share.
 *
 *	lint.c         controllers, queues and doorbells, record by record
 *	lint_data.c    where commands have their data, and where the controller moved it
 *	lint_rules.c   the rules: names, places in the specification, what each has to see
 */
#ifndef NVTRACE_LINT_H
#define NVTRACE_LINT_H

#include "output.h"

#define LINT_CTRLRS 64
#define LINT_QUEUES 1024
#define PAGE_LEAST  4096

enum lint_rule {
	RULE_CID,
	RULE_ORPHAN,
	RULE_PHASE,
	RULE_SQID,
	RULE_SQHD,
	RULE_TAIL,
	RULE_HEAD,
	RULE_NO_QUEUE,
	RULE_SQ_NEVER_RUNG,
	RULE_CQ_NEVER_RUNG,
	RULE_SQ_OVERRUN,
	RULE_CQ_OVERRUN,
	RULE_PRP,
	RULE_PRP2,
	RULE_MAPPED,
	RULE_DATA,
	RULE_MPTR,
	RULE_FUSED,
	RULE_BASE,
	RULE_ADMIN,
	RULE_READY,
	RULE_OFF,
	RULE_ENTRY_SIZE,
	RULE_QSIZE,
	RULE_CQ_FIRST,
	RULE_CQ_LAST,
	RULE_GONE,
	RULE_ABORT,
	RULE_RETRY,
	RULE_EVENTS,
	RULES
};

/* What a source may show. A rule can only be judged where it has met all that the rule needs. */
enum lint_sight {
	SEES_COMMANDS = 1 << 0,
	SEES_COMPLETIONS = 1 << 1,
	SEES_STATUS = 1 << 2,
	SEES_CREATE = 1 << 3, /* CDW10 and CDW11 of what makes and deletes queues */
	SEES_FUSE = 1 << 4,
	SEES_PRP1 = 1 << 5,
	SEES_MPTR = 1 << 6,
	SEES_LISTS = 1 << 7, /* records of data pointers, with their length */
	SEES_DATA = 1 << 8,
	SEES_MAPS = 1 << 9,
	SEES_PHASE = 1 << 10,
	SEES_SQID = 1 << 11,
	SEES_SQHD = 1 << 12,
	SEES_REGS = 1 << 13,
	SEES_READS = 1 << 14, /* of registers */
	SEES_ATTACH = 1 << 15,
	SEES_DOORBELLS = 1 << 16,
	SEES_TAILS = 1 << 17, /* doorbells that follow their commands, as the driver writes them */
	SEES_MARKS = 1 << 18
};

struct lintq;

/* What the controller may reach: pieces that do not touch each other, in order. */
struct lint_maps {
	struct lint_piece {
		uint64_t from, upto;
	} * piece;
	uint32_t count, room;
	bool whole; /* all mappings since the attach are in the trace */
};

struct lintc {
	uint32_t ctrlr;
	uint32_t page;
	bool whole;    /* the trace has it from its start */
	bool attached; /* ... which is the attach */
	bool page_known;
	bool shutdown, disabled, shadow;
	enum { EN_UNKNOWN, EN_OFF, EN_ON } enabled;
	bool cc_known;
	bool await_ready; /* it was enabled, and CSTS.RDY was not read as 1 since */
	uint8_t admin;    /* what was written of AQA, ASQ, ACQ: bits 0, 1, 2 */
	uint32_t cc;
	uint32_t mqes; /* 0-based; 0: not known */
	struct lint_maps maps;
};

struct lint {
	struct lintc ctrlr[LINT_CTRLRS];
	struct lintq *queue[LINT_QUEUES];
	uint32_t ctrlrs, queues, left_out;
	struct lintq *last;
	uint64_t findings, records;
	uint64_t unsure; /* record from which on controllers cannot be told apart; 0: they can */
	uint32_t sees;   /* SEES_* */
	uint32_t reg_tid;
	bool reg_threads; /* several threads look at registers: what is news to one is none to all */
	struct rec *prp;  /* the data pointer of the command that follows */
	struct lint_transfers *transfers; /* data pointers of commands that are outstanding */
};

/* ---- lint_rules.c ---- */

void lint_finding(struct output *o, enum lint_rule rule, uint64_t number, uint16_t qid,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* What the source shows by this record. */
void lint_see(struct lint *l, const struct rec *r);
/* To standard error: how many rules were judged, and which were not, and why. */
void lint_report(const struct lint *l);

/* ---- lint_data.c ---- */

void lint_maps_begin(struct lint_maps *m, bool whole);
void lint_map(struct lint_maps *m, const struct rec *r);
void lint_keep_prp(struct lint *l, struct rec *r);
/* The data pointer of a command: c NULL, it is not known of which controller. */
void lint_check_data(struct output *o, const struct lintc *c, const struct rec *r);
void lint_check_moved(struct output *o, const struct rec *r);
void lint_transfer_ends(struct lint *l, const struct rec *r, uint16_t cid);
void lint_transfers_none(struct lint *l);
void lint_data_free(struct lint *l);

#endif /* NVTRACE_LINT_H */
