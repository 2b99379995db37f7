// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: its rules. Each has a name, a place in the specification and a list of what a
 * source must show so that it can be judged. What a source shows is found out from its records.
 */
#include "lint.h"

/* The titles stand alone where the number of the section is not sure. */
static const struct {
	const char *name, *source;
	uint32_t needs;
} rules[RULES] = {
	[RULE_CID] = {"CID reuse", "Base 2.1 §4.1.1, Fig. 91: Command Dword 0", SEES_COMMANDS},
	[RULE_ORPHAN] = {"completion without command", "Base 2.1 §4.2.1: Completion Queue Entry",
                         SEES_COMMANDS | SEES_COMPLETIONS},
	[RULE_PHASE] = {"phase", "Base 2.1 §4.2.4: Phase Tag", SEES_PHASE},
	[RULE_SQID] = {"SQID", "Base 2.1 §4.2.1: Completion Queue Entry", SEES_SQID},
	[RULE_SQHD] = {"SQHD", "Base 2.1 §4.2.1: Completion Queue Entry",
                       SEES_COMMANDS | SEES_DOORBELLS | SEES_TAILS | SEES_SQHD},
	[RULE_TAIL] = {"SQ tail", "PCIe 1.1 §3.1.2: Doorbells", SEES_DOORBELLS},
	[RULE_HEAD] = {"CQ head", "PCIe 1.1 §3.1.2: Doorbells", SEES_DOORBELLS},
	[RULE_NO_QUEUE] = {"doorbell of no queue", "PCIe 1.1 §3.1.2: Doorbells",
                           SEES_DOORBELLS | SEES_ATTACH},
	[RULE_SQ_NEVER_RUNG] = {"SQ never rung",
                                "Base 2.1: Memory-based Transport Queue Model (PCIe)",
                                SEES_DOORBELLS | SEES_TAILS},
	[RULE_CQ_NEVER_RUNG] = {"CQ never rung",
                                "Base 2.1: Memory-based Transport Queue Model (PCIe)",
                                SEES_DOORBELLS},
	[RULE_SQ_OVERRUN] = {"SQ overrun", "Base 2.1: Full Queue",
                             SEES_COMMANDS | SEES_DOORBELLS | SEES_TAILS | SEES_SQHD},
	[RULE_CQ_OVERRUN] = {"CQ overrun", "Base 2.1: Full Queue", SEES_DOORBELLS | SEES_PHASE},
	[RULE_PRP] = {"PRP alignment", "Base 2.1 §4.3.1: Physical Region Page Entry and List",
                      SEES_PRP1},
	[RULE_PRP2] = {"PRP2 missing", "Base 2.1 §4.3.1: Physical Region Page Entry and List",
                       SEES_PRP1 | SEES_REGS},
	[RULE_MAPPED] = {"PRP outside of the mappings",
                         "Base 2.1 §4.3.1: Physical Region Page Entry and List",
                         SEES_PRP1 | SEES_ATTACH | SEES_MAPS},
	[RULE_DATA] = {"data outside of the PRPs",
                       "Base 2.1 §4.3.1: Physical Region Page Entry and List",
                       SEES_LISTS | SEES_DATA},
	[RULE_MPTR] = {"MPTR alignment", "Base 2.1 §4.1.1, Fig. 92: MPTR", SEES_MPTR},
	[RULE_FUSED] = {"fused pairs", "Base 2.1: Fused Operations", SEES_FUSE},
	[RULE_BASE] = {"queue bases", "Base 2.1 §3.1.4.9, §3.1.4.10: ASQ, ACQ", SEES_REGS},
	[RULE_ADMIN] = {"admin queue set up",
                        "Base 2.1 §3.5.1: Memory-based controller initialization (PCIe)",
                        SEES_REGS | SEES_ATTACH},
	[RULE_READY] = {"CSTS.RDY", "Base 2.1 §3.1.4.6, Fig. 42: Controller Status",
                        SEES_REGS | SEES_READS | SEES_ATTACH | SEES_DOORBELLS | SEES_TAILS},
	[RULE_OFF] = {"commands to a controller that is off",
                      "Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration",
                      SEES_COMMANDS | SEES_REGS},
	[RULE_ENTRY_SIZE] = {"entry sizes", "Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration",
                             SEES_CREATE | SEES_REGS},
	[RULE_QSIZE] = {"queue sizes", "Base 2.1 §3.1.4.1, Fig. 36: Controller Capabilities",
                        SEES_CREATE | SEES_ATTACH},
	[RULE_CQ_FIRST] = {"SQ without CQ", "Base 2.1 §5.2.2: Create I/O Submission Queue command",
                           SEES_CREATE},
	[RULE_CQ_LAST] = {"CQ deleted before its SQ",
                          "Base 2.1: Delete I/O Completion Queue command",
                          SEES_CREATE | SEES_COMPLETIONS | SEES_STATUS},
	[RULE_GONE] = {"commands on queues that are gone", "Base 2.1: Controller Level Reset",
                       SEES_COMMANDS | SEES_REGS},
	[RULE_ABORT] = {"abort in a queue that is gone", "Base 2.1: Abort command",
                        SEES_CREATE | SEES_COMPLETIONS},
	[RULE_RETRY] = {"retry in spite of DNR", "Base 2.1 §4.2.3, Fig. 100: Status Field",
                        SEES_MARKS | SEES_STATUS},
	[RULE_EVENTS] = {"event requests", "Base 2.1: Asynchronous Event Request command",
                         SEES_COMMANDS | SEES_STATUS},
};

/* In the order in which they are blamed. */
static const struct {
	uint32_t sight;
	const char *name;
} sights[] = {
	{SEES_COMMANDS, "commands"},
	{SEES_COMPLETIONS, "completions"},
	{SEES_DOORBELLS, "doorbells"},
	{SEES_TAILS, "doorbells of the driver's side"},
	{SEES_PRP1, "PRPs"},
	{SEES_MPTR, "MPTR"},
	{SEES_REGS, "registers"},
	{SEES_CREATE, "creation of queues"},
	{SEES_STATUS, "status"},
	{SEES_FUSE, "flags of commands"},
	{SEES_LISTS, "PRP lists"},
	{SEES_DATA, "transfers of the controller"},
	{SEES_MAPS, "DMA mappings"},
	{SEES_PHASE, "phase bits"},
	{SEES_SQID, "SQIDs"},
	{SEES_SQHD, "SQHD"},
	{SEES_ATTACH, "attach"},
	{SEES_READS, "reads of registers"},
	{SEES_MARKS, "marks of retries"},
};

#define SIGHTS (sizeof(sights) / sizeof(sights[0]))

void lint_finding(struct output *o, enum lint_rule rule, uint64_t number, uint16_t qid,
                  const char *fmt, ...)
{
	struct lint *l = o->state;
	va_list ap;

	l->findings++;
	fprintf(o->out, "record %" PRIu64 ": queue %u: ", number, (unsigned)qid);
	va_start(ap, fmt);
	vfprintf(o->out, fmt, ap);
	va_end(ap);
	fprintf(o->out, " [%s]\n", rules[rule].source);
}

/* ---- what the source shows ---- */

static uint32_t command_shows(const struct rec *r)
{
	const uint32_t dws = HAVE_OPC | HAVE_DW(10) | HAVE_DW(11);
	uint32_t sees = SEES_COMMANDS;

	if (r->cmd_have == HAVE_SQE) /* it is our recorder's, which has a word for retries */
		sees |= SEES_MARKS;
	if ((r->cmd_have & HAVE_FLAGS) != 0)
		sees |= SEES_FUSE;
	if ((r->cmd_have & HAVE_DPTR1) == HAVE_DPTR1)
		sees |= SEES_PRP1;
	if ((r->cmd_have & HAVE_MPTR) == HAVE_MPTR)
		sees |= SEES_MPTR;
	if (r->qid == 0 && (r->cmd_have & dws) == dws)
		sees |= SEES_CREATE;
	return sees;
}

static uint32_t completion_shows(const struct rec *r)
{
	static const struct {
		uint32_t has, sees;
	} parts[] = {{HAS_PHASE, SEES_PHASE},
	             {HAS_SQID, SEES_SQID},
	             {HAS_SQHD, SEES_SQHD},
	             {HAS_STATUS, SEES_STATUS}};
	uint32_t sees = SEES_COMPLETIONS;
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if ((r->has & parts[i].has) != 0)
			sees |= parts[i].sees;
	return sees;
}

void lint_see(struct lint *l, const struct rec *r)
{
	static const uint32_t sees[] = {
		[REC_ATTACH] = SEES_ATTACH,      [REC_PRP] = SEES_LISTS,
		[REC_DMA_MAP] = SEES_MAPS,       [REC_DEV_DATA] = SEES_DATA,
		[REC_REG_READ] = SEES_READS,     [REC_REG_WRITE] = SEES_REGS,
		[REC_DOORBELL] = SEES_DOORBELLS, [REC_MARK] = SEES_MARKS,
	};

	if (r->kind == REC_COMMAND)
		l->sees |= command_shows(r);
	else if (r->kind == REC_COMPLETION)
		l->sees |= completion_shows(r);
	else if (r->kind < sizeof(sees) / sizeof(sees[0]))
		l->sees |= sees[r->kind];
	if (r->kind == REC_DOORBELL && (r->has & HAS_OLD) != 0)
		l->sees |= SEES_TAILS;
}

/* ---- the report ---- */

/* Which of the sights is missing first; SIGHTS: none, the rule was judged. */
static size_t blamed(const struct lint *l, enum lint_rule rule)
{
	size_t i;

	for (i = 0; i < SIGHTS; i++)
		if ((rules[rule].needs & sights[i].sight & ~l->sees) != 0)
			return i;
	return SIGHTS;
}

/* The names of the rules that were judged, or fell to this sight. How many they are. */
static unsigned print_rules(const struct lint *l, size_t sight, bool print)
{
	unsigned count = 0;
	int rule;

	for (rule = 0; rule < RULES; rule++) {
		if (blamed(l, (enum lint_rule)rule) != sight)
			continue;
		if (print)
			fprintf(stderr, "%s%s", count == 0 ? "" : ", ", rules[rule].name);
		count++;
	}
	return count;
}

void lint_report(const struct lint *l)
{
	unsigned judged = print_rules(l, SIGHTS, false);
	const char *between = "as the source has no ";
	size_t i;

	if (l->findings == 0)
		fprintf(stderr, "nvtrace: no mistakes found");
	else
		fprintf(stderr, "nvtrace: %" PRIu64 " mistake%s found", l->findings,
		        l->findings == 1 ? "" : "s");
	fprintf(stderr, " in %" PRIu64 " records by %u of %d rules%s", l->records, judged, RULES,
	        judged != 0 ? ": " : "");
	print_rules(l, SIGHTS, true);
	if (judged != RULES)
		fprintf(stderr, "\nnvtrace: not looked for, ");
	for (i = 0; i < SIGHTS; i++) {
		if (print_rules(l, i, false) == 0)
			continue;
		fprintf(stderr, "%s%s: ", between, sights[i].name);
		print_rules(l, i, true);
		between = "; no ";
	}
	fputc('\n', stderr);
}
