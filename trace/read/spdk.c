// SPDX-License-Identifier: MIT
/*
 * Reader of debug logs: SPDK's in all three dialects, and our own driver's, which says the same.
 *
 *	up to 20.04   "sqid:" everywhere, no data pointer
 *	20.07-25.05   "qid:", data pointer; opcode and NSID of admin commands hexadecimal
 *	from 25.09    these two decimal; a bracket with controller and queue pair in front
 *
 * The dialect shows in an opcode whose number fits its name in one radix only, in the bracket, in
 * the width of cdw0. A command is printed when it was submitted, and once more just before a
 * completion with an error; so one that is printed while it waits is held until the next record
 * tells which of the two it is.
 */
#include "scan.h"
#include <time.h>

enum spdk_dialect { SPDK_HEX, SPDK_DECIMAL };

#define SPDK_SLOTS  65536u
#define SPDK_WAYS   4u
#define SPDK_CTRLRS 16

/* A command that was printed and has not completed. */
struct spdk_slot {
	uint64_t key; /* 0: free */
	uint32_t sum; /* of what the line said */
};

struct spdk_state {
	struct scan_line line;
	enum spdk_dialect dialect;
	struct spdk_slot *slots;
	bool held, ready;
	struct rec command; /* held: printed while it waits */
	struct rec next;    /* ready: the record behind it */
	char minute[20];    /* the latest, "2026-11-21 07:47", and what it is in seconds */
	time_t minute_seconds;
	char ctrlr[SPDK_CTRLRS][80];
	unsigned ctrlrs;
};

/* ---- what stands in front of a message ---- */

/* "2026-11-21 07:47:20.920705] ", local time. */
static bool spdk_time(struct spdk_state *st, const char **at, uint64_t *time_ns)
{
	const char *p = *at;
	struct tm tm = {.tm_isdst = -1};
	uint64_t ns, seconds;
	int used = 0;

	if (strnlen(p, 26) < 26 || p[4] != '-' || p[16] != ':' || p[19] != '.')
		return false;
	if (st->minute[0] == '\0' || strncmp(st->minute, p, 16) != 0) {
		if (sscanf(p, "%4d-%2d-%2d %2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		           &tm.tm_hour, &tm.tm_min, &used) != 5 ||
		    used != 16 || tm.tm_year < 1970 || tm.tm_mon < 1)
			return false;
		tm.tm_year -= 1900;
		tm.tm_mon--;
		st->minute_seconds = mktime(&tm);
		snprintf(st->minute, sizeof(st->minute), "%.16s", p);
	}
	seconds = (uint64_t)st->minute_seconds;
	p += 17;
	if (!scan_seconds(&p, &ns) || !scan_literal(&p, "] "))
		return false;
	*time_ns = seconds * 1000000000u + ns;
	*at = p;
	return true;
}

static bool spdk_level(const char **at, enum nvme_log_level *level)
{
	static const char *const names[] = {"ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"};
	const char *p;
	int i;

	for (i = 0; i < 5; i++) {
		p = *at;
		if (scan_literal(&p, names[i]) && scan_literal(&p, "*: ")) {
			*level = (enum nvme_log_level)(i + 1);
			*at = p;
			return true;
		}
	}
	return false;
}

/*
 * "FILE:LINE:FUNCTION: " in front of the level, read backwards from its end: what stands before
 * it, a date or the prefix of some other log, may be anything. Returns where it begins, or NULL.
 */
static const char *spdk_place(const char *line, const char *end, struct rec *rec)
{
	const char *func, *number, *file, *p;
	uint64_t n;

	if (end - line < 3 || end[-1] != ' ' || end[-2] != ':')
		return NULL;
	end -= 2;
	for (func = end; func > line && scan_is_word(func[-1]); func--)
		;
	if (func == end || func == line || func[-1] != ':')
		return NULL;
	for (number = func - 1; number > line && scan_is_digit(number[-1]); number--)
		;
	p = number;
	if (!scan_number(&p, 10, 0x7fffffff, &n) || *p != ':')
		return NULL;
	while (number > line && number[-1] == ' ')
		number--; /* the line number has a width */
	if (number == line || number[-1] != ':')
		return NULL;
	for (file = number - 1; file > line && file[-1] != ' '; file--)
		;
	scan_copy(rec->file, sizeof(rec->file), file, (size_t)(number - 1 - file));
	scan_copy(rec->func, sizeof(rec->func), func, (size_t)(end - func));
	rec->line = (uint32_t)n;
	rec->has |= HAS_PLACE;
	return file;
}

/* The message, and what stands in front of it into rec. */
static const char *spdk_prefix(struct spdk_state *st, const char *line, struct rec *rec)
{
	const char *star, *message = line, *place = NULL, *p;

	for (star = strchr(line, '*'); star != NULL; star = strchr(star + 1, '*')) {
		p = star + 1;
		if (!spdk_level(&p, &rec->level))
			continue;
		place = spdk_place(line, star, rec);
		message = p;
		break;
	}
	/* the date is at the start of the line, or ends where the place begins */
	p = line + 1;
	if (line[0] == '[' && spdk_time(st, &p, &rec->time_ns)) {
		rec->has |= HAS_TIME;
		return message == line ? p : message;
	}
	if (place != NULL && place - line >= 29 && place[-29] == '[') {
		p = place - 28;
		if (spdk_time(st, &p, &rec->time_ns))
			rec->has |= HAS_TIME;
	}
	return message;
}

/* "[0000:00:02.0,cntlid:0,qid:1,qpair:0x2000002f2de0,ENABLED] ", from 25.09 on. */
static const char *spdk_context(struct spdk_state *st, const char *message, struct rec *rec)
{
	const char *end = strstr(message, "] "), *name;
	unsigned i;
	size_t len;

	if (message[0] != '[' || end == NULL)
		return message;
	name = scan_key(message, "cntlid:");
	if (name == NULL || name > end)
		return message;
	st->dialect = SPDK_DECIMAL;
	len = (size_t)(name - message) - strlen("[,cntlid:");
	if (name - message < 10 || len >= sizeof(st->ctrlr[0]))
		return end + 2;
	for (i = 0; i < st->ctrlrs; i++)
		if (strncmp(st->ctrlr[i], message + 1, len) == 0 && st->ctrlr[i][len] == '\0')
			break;
	if (i == SPDK_CTRLRS)
		return end + 2;
	if (i == st->ctrlrs) {
		memcpy(st->ctrlr[i], message + 1, len);
		st->ctrlr[i][len] = '\0';
		st->ctrlrs++;
	}
	rec->has |= HAS_CTRLR;
	rec->ctrlr = i;
	return end + 2;
}

/* ---- data pointers ---- */

/* The code of an SGL type or subtype whose name stands here, the longest one; -1 none. */
static int spdk_sgl_name(const char **at, const char *(*name_of)(uint8_t code))
{
	size_t best = 0, len;
	int code, found = -1;

	for (code = 0; code < 16; code++) {
		len = strlen(name_of((uint8_t)code));
		if (len > best && strncmp(*at, name_of((uint8_t)code), len) == 0 &&
		    (*at)[len] == ' ') {
			best = len;
			found = code;
		}
	}
	*at += found < 0 ? 0 : best + 1;
	return found;
}

/*
 * " len:0x200" or " len:0x0 key:0x0". The key of a data block, which old versions printed, is the
 * upper part of its length.
 */
static bool spdk_sgl_tail(struct rec *rec, const char *p, bool reserved)
{
	struct nvme_sgl_desc *sgl = &rec->cmd.dptr.sgl;
	uint64_t len, key;

	if (*p == '\0')
		return true;
	if (!scan_literal(&p, " len:") || !scan_number(&p, 16, 0xffffffff, &len))
		return false;
	sgl->len = (uint32_t)len;
	if (scan_literal(&p, " key:")) {
		if (!scan_number(&p, 16, 0xffffffff, &key))
			return false;
		sgl->len = (sgl->len & 0xffffff) | (uint32_t)key << 24;
		sgl->rsvd[0] = (uint8_t)(key >> 8);
		sgl->rsvd[1] = (uint8_t)(key >> 16);
		sgl->rsvd[2] = (uint8_t)(key >> 24);
	}
	if (!reserved)
		rec->cmd_have |= HAVE_DPTR2;
	return *p == '\0';
}

/*
 * "PRP1 0x.. PRP2 0x..", "SGL TYPE SUBTYPE 0x..", or nothing. PSDT is 1 or 2 for an SGL: that it is
 * one is what the lower value stands for. A name that several codes share is one of these codes.
 */
static bool spdk_dptr(struct rec *rec, const char *p)
{
	union nvme_dptr *dptr = &rec->cmd.dptr;
	int type, subtype;

	if (*p == '\0') {
		/* the blank is printed, and nothing behind it: only the reserved PSDT does that */
		if (p[-1] == ' ' && NVME_GET(rec->cmd.opc, NVME_OPC_DATA) != NVME_OPC_DATA_NONE)
			rec->cmd.flags = (uint8_t)NVME_SET(3, NVME_CMD_PSDT);
		return true;
	}
	if (scan_literal(&p, "PRP1 ")) {
		rec->cmd_have |= HAVE_DPTR1 | HAVE_DPTR2;
		return scan_number(&p, 16, UINT64_MAX, &dptr->prp.prp1) &&
		       scan_literal(&p, " PRP2 ") &&
		       scan_number(&p, 16, UINT64_MAX, &dptr->prp.prp2) && *p == '\0';
	}
	if (!scan_literal(&p, "SGL "))
		return false;
	type = spdk_sgl_name(&p, nvme_sgl_type_name);
	subtype = type < 0 ? -1 : spdk_sgl_name(&p, nvme_sgl_subtype_name);
	if (subtype < 0 || !scan_number(&p, 16, UINT64_MAX, &dptr->sgl.addr))
		return false;
	rec->cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	dptr->sgl.id = NVME_SGL_ID(type, subtype);
	rec->cmd_have |= HAVE_DPTR1;
	return spdk_sgl_tail(rec, p,
	                     strcmp(nvme_sgl_type_name((uint8_t)type), "RESERVED") == 0 ||
	                             strcmp(nvme_sgl_subtype_name((uint8_t)subtype), "RESERVED") ==
	                                     0);
}

/* ---- commands ---- */

/* "KEY:NUMBER", and the blank behind it if there is one. */
static bool spdk_item(const char **at, const char *key, unsigned base, uint64_t max,
                      uint64_t *value)
{
	const char *p = *at;

	if (!scan_literal(&p, key) || !scan_number(&p, base, max, value))
		return false;
	if (*p == ' ')
		p++;
	else if (*p != '\0')
		return false;
	*at = p;
	return true;
}

static bool spdk_cid(const char **at, struct rec *rec)
{
	uint64_t cid;

	if (!spdk_item(at, "cid:", 10, 0xffff, &cid))
		return false;
	rec->cmd.cid = (uint16_t)cid;
	return true;
}

static bool spdk_qid(const char **at, struct rec *rec)
{
	uint64_t qid;

	if (!spdk_item(at, "qid:", 10, 0xffff, &qid) && !spdk_item(at, "sqid:", 10, 0xffff, &qid))
		return false;
	rec->qid = (uint16_t)qid;
	return true;
}

static void spdk_command(struct rec *rec, unsigned opc)
{
	rec->kind = REC_COMMAND;
	rec->has |= HAS_QID | HAS_OPC;
	rec->cmd.opc = (uint8_t)opc;
	rec->cmd_have |= HAVE_OPC;
}

static void spdk_cdw(struct rec *rec, unsigned dw, uint64_t value)
{
	*scan_cdw(&rec->cmd, dw) = (uint32_t)value;
	rec->cmd_have |= HAVE_DW(dw);
}

/* "SET FEATURES NUMBER OF QUEUES cid:191 cdw10:00000007 PRP1 0x0 PRP2 0x0": the admin queue's. */
static bool spdk_features(const char *message, struct rec *rec)
{
	const char *p = scan_key(message, "cid:");
	uint64_t cdw10;

	if (p == NULL)
		return false;
	p -= strlen("cid:");
	spdk_command(rec, message[0] == 'S' ? NVME_OPC_SET_FEATURES : NVME_OPC_GET_FEATURES);
	if (!spdk_cid(&p, rec) || !spdk_item(&p, "cdw10:", 16, 0xffffffff, &cdw10))
		return false;
	spdk_cdw(rec, 10, cdw10);
	return spdk_dptr(rec, p);
}

/* "FABRIC CONNECT qid:1 cid:0 ". */
static bool spdk_fabric(const char *message, struct rec *rec)
{
	const char *name = message + strlen("FABRIC "), *p = scan_key(message, "qid:");
	unsigned type;
	size_t len;

	if (p == NULL || p - strlen(" qid:") < name)
		return false;
	p -= strlen("qid:");
	len = (size_t)(p - 1 - name);
	for (type = 0; type < 16; type++) {
		const char *known = nvme_fabrics_name((uint8_t)type);

		if (strncmp(known, name, len) == 0 && known[len] == '\0')
			break;
	}
	spdk_command(rec, NVME_OPC_FABRIC);
	rec->cmd.nsid = 0xff; /* a type without a name, until we know better */
	if (type < 16 && strchr(nvme_fabrics_name((uint8_t)type), '/') == NULL) {
		rec->cmd.nsid = type;
		rec->cmd_have |= HAVE_NSID;
	}
	return spdk_qid(&p, rec) && spdk_cid(&p, rec) && spdk_dptr(rec, p);
}

/* Does the number in this radix go with the name that was printed? */
static bool spdk_fits(const char *message, size_t name_len, const char *digits, unsigned base,
                      uint64_t *opc)
{
	const char *name, *p = digits;

	if (!scan_number(&p, base, 0xff, opc) || *p != ')')
		return false;
	name = nvme_opc_name(0, (uint8_t)*opc);
	return strncmp(name, message, name_len) == 0 && name[name_len] == '\0';
}

/*
 * The opcode of an admin command, "(7c)" or "(124)". False: no number at all. Where only one radix
 * fits the name the dialect is known from there on.
 */
static bool spdk_admin_opc(struct spdk_state *st, const char *message, size_t name_len,
                           const char *digits, uint64_t *opc)
{
	uint64_t hex = 256, dec = 256;
	bool fits_hex = spdk_fits(message, name_len, digits, 16, &hex);
	bool fits_dec = spdk_fits(message, name_len, digits, 10, &dec);

	if (fits_hex && !fits_dec)
		st->dialect = SPDK_HEX;
	if (fits_dec && !fits_hex)
		st->dialect = SPDK_DECIMAL;
	*opc = st->dialect == SPDK_DECIMAL && dec < 256 ? dec : hex < 256 ? hex : dec;
	return *opc < 256;
}

/* "nsid:1" of an I/O command, which some versions print as a signed number. */
static bool spdk_io_nsid(const char **at, struct rec *rec)
{
	bool minus;
	uint64_t nsid;

	if (!scan_literal(at, "nsid:"))
		return false;
	minus = **at == '-';
	*at += minus;
	if (!scan_number(at, 10, minus ? 0x80000000 : 0xffffffff, &nsid))
		return false;
	rec->cmd.nsid = minus ? (uint32_t)(0 - nsid) : (uint32_t)nsid;
	rec->cmd_have |= HAVE_NSID;
	if (**at == ' ')
		++*at;
	else if (**at != '\0')
		return false;
	return true;
}

/* The NSID of an admin command, in the radix of the dialect, or the one in which it is a number. */
static bool spdk_admin_nsid(struct spdk_state *st, const char **at, struct rec *rec)
{
	unsigned base = st->dialect == SPDK_DECIMAL ? 10 : 16;
	uint64_t nsid;

	if (!spdk_item(at, "nsid:", base, 0xffffffff, &nsid)) {
		if (!spdk_item(at, "nsid:", 26 - base, 0xffffffff, &nsid))
			return false;
		st->dialect = base == 10 ? SPDK_HEX : SPDK_DECIMAL;
	}
	rec->cmd.nsid = (uint32_t)nsid;
	rec->cmd_have |= HAVE_NSID;
	return true;
}

static bool spdk_other_io(const char *digits, const char *p, struct rec *rec)
{
	uint64_t opc;

	if (rec->qid == 0 || !scan_number(&digits, 16, 0xff, &opc) || *digits != ')')
		return false;
	spdk_command(rec, (unsigned)opc);
	return spdk_io_nsid(&p, rec) && p[strspn(p, " ")] == '\0';
}

/* What follows "NAME (OPC) ": an admin command has a CDW10, an I/O command has none. */
static bool spdk_numbered(struct spdk_state *st, const char *message, size_t name_len,
                          const char *digits, struct rec *rec)
{
	const char *p = strchr(digits, ')');
	uint64_t opc, cdw10, cdw11;

	if (p == NULL || *++p != ' ')
		return false;
	p++;
	if (!spdk_qid(&p, rec) || !spdk_cid(&p, rec))
		return false;
	if (strstr(p, "cdw10:") == NULL && rec->qid != 0)
		return spdk_other_io(digits, p, rec);
	if (!spdk_admin_opc(st, message, name_len, digits, &opc))
		return false;
	spdk_command(rec, (unsigned)opc);
	if (!spdk_admin_nsid(st, &p, rec) || !spdk_item(&p, "cdw10:", 16, 0xffffffff, &cdw10) ||
	    !spdk_item(&p, "cdw11:", 16, 0xffffffff, &cdw11))
		return false;
	spdk_cdw(rec, 10, cdw10);
	spdk_cdw(rec, 11, cdw11);
	return spdk_dptr(rec, p);
}

/* I/O commands without a number: "READ sqid:1 cid:190 nsid:1 lba:0 len:1 PRP1 ..." or only NSID. */
static bool spdk_io(const char *message, size_t name_len, struct rec *rec)
{
	static const uint8_t opcs[] = {NVME_OPC_FLUSH,   NVME_OPC_DATASET_MANAGEMENT,
	                               NVME_OPC_READ,    NVME_OPC_WRITE,
	                               NVME_OPC_COMPARE, NVME_OPC_WRITE_UNCORRECTABLE};
	const char *p = message + name_len + 1, *name;
	uint64_t lba, len;
	size_t i;

	for (i = 0; i < sizeof(opcs); i++) {
		name = nvme_opc_name(1, opcs[i]);
		if (strncmp(name, message, name_len) == 0 && name[name_len] == '\0')
			break;
	}
	if (i == sizeof(opcs) || !spdk_qid(&p, rec) || !spdk_cid(&p, rec) || !spdk_io_nsid(&p, rec))
		return false;
	spdk_command(rec, opcs[i]);
	if (i < 2)
		return p[strspn(p, " ")] == '\0';
	if (!spdk_item(&p, "lba:", 10, UINT64_MAX, &lba) ||
	    !spdk_item(&p, "len:", 10, 0x10000, &len) || len == 0)
		return false;
	spdk_cdw(rec, 10, lba);
	spdk_cdw(rec, 11, lba >> 32);
	rec->cmd.cdw12 = (uint32_t)len - 1; /* 1-based in the log */
	rec->cmd_have |= HAVE_NLB;
	return spdk_dptr(rec, p);
}

/* ---- completions ---- */

static bool spdk_flag(const char **at, const char *key, uint64_t *value)
{
	return spdk_item(at, key, 16, 1, value);
}

/* Behind "STATUS (": "00/02) qid:2 cid:1894 cdw0:0 sqhd:0000 p:1 m:0 dnr:1". */
static bool spdk_completion(struct spdk_state *st, const char *p, struct rec *rec)
{
	uint64_t sct, sc, cid, cdw0, sqhd, phase, more, dnr;
	const char *digits;

	rec->kind = REC_COMPLETION;
	if (!scan_number(&p, 16, 7, &sct) || *p++ != '/' || !scan_number(&p, 16, 0xff, &sc) ||
	    !scan_literal(&p, ") ") || !spdk_qid(&p, rec) ||
	    !spdk_item(&p, "cid:", 10, 0xffff, &cid))
		return false;
	digits = p;
	if (!spdk_item(&p, "cdw0:", 16, 0xffffffff, &cdw0))
		return false;
	if (p - digits < (long)sizeof("cdw0:00000000"))
		st->dialect = SPDK_HEX;
	else if (digits[5] == '0')
		st->dialect = SPDK_DECIMAL; /* with leading zeroes */
	if (!spdk_item(&p, "sqhd:", 16, 0xffff, &sqhd) || !spdk_flag(&p, "p:", &phase) ||
	    !spdk_flag(&p, "m:", &more) || !spdk_flag(&p, "dnr:", &dnr) || *p != '\0')
		return false;
	rec->has |= HAS_QID | HAS_DW0 | HAS_SQHD | HAS_PHASE | HAS_STATUS | HAS_FLAGS;
	rec->cpl.cid = (uint16_t)cid;
	rec->cpl.cdw0 = (uint32_t)cdw0;
	rec->cpl.sqhd = (uint16_t)sqhd;
	rec->cpl.status = (uint16_t)((uint16_t)NVME_SET(sct, NVME_CPL_SCT) |
	                             (uint16_t)NVME_SET(sc, NVME_CPL_SC) |
	                             (uint16_t)NVME_SET(phase, NVME_CPL_P) |
	                             (uint16_t)NVME_SET(more, NVME_CPL_M) |
	                             (uint16_t)NVME_SET(dnr, NVME_CPL_DNR));
	return true;
}

/* ---- messages and lines ---- */

/* The length of the name in capitals that a command or completion begins with. */
static size_t spdk_name_len(const char *message)
{
	size_t len = 0;

	while ((message[len] >= 'A' && message[len] <= 'Z') || scan_is_digit(message[len]) ||
	       (message[len] != '\0' && strchr(" /_-", message[len]) != NULL))
		len++;
	while (len > 0 && message[len - 1] == ' ')
		len--;
	return len;
}

static bool spdk_message(struct spdk_state *st, const char *message, struct rec *rec)
{
	size_t len = spdk_name_len(message);
	const char *p = message + len;

	if (len < 2 || *p != ' ')
		return false;
	if (scan_literal(&p, " (")) {
		if (p[0] != '\0' && p[1] != '\0' && p[2] == '/')
			return spdk_completion(st, p, rec);
		return spdk_numbered(st, message, len, p, rec);
	}
	if (strncmp(message, "SET FEATURES ", 13) == 0 ||
	    strncmp(message, "GET FEATURES ", 13) == 0)
		return spdk_features(message, rec);
	if (strncmp(message, "FABRIC ", 7) == 0)
		return spdk_fabric(message, rec);
	return spdk_io(message, len, rec);
}

/* Without a function's name in front: is this meant to be a command or a completion? */
static bool spdk_looks(const char *message)
{
	return message[0] >= 'A' && message[0] <= 'Z' && message[1] >= 'A' && message[1] <= 'Z' &&
	       (strstr(message, " cid:") != NULL || strstr(message, " sqid:") != NULL ||
	        strstr(message, " qid:") != NULL);
}

/* 1 a record, 0 nothing of interest, -1 damaged. */
static int spdk_parse(struct spdk_state *st, struct rec *rec)
{
	const char *line = st->line.text, *message, *text;
	bool command;

	scan_begin(rec, REC_LOG, st->line.number);
	text = spdk_prefix(st, line, rec);
	message = spdk_context(st, text, rec);
	if ((rec->has & HAS_PLACE) != 0) {
		if (strstr(rec->func, "spdk_nvme_qpair_print") != NULL)
			st->dialect = SPDK_DECIMAL;
		command = strstr(rec->func, "print_command") != NULL ||
		          strstr(rec->func, "print_completion") != NULL;
		if (command && strstr(message, "doesn't match qid") == NULL)
			return spdk_message(st, message, rec) ? 1 : -1;
	} else if (spdk_looks(message)) {
		return spdk_message(st, message, rec) ? 1 : -1;
	} else if ((rec->has & HAS_TIME) == 0) {
		return 0;
	} else if (strncmp(message, "nvme", 4) == 0 && message[strcspn(message, ".: ")] == '.') {
		return -1; /* the line ends in its prefix */
	} else {
		rec->kind = REC_NOTE;
	}
	scan_copy(rec->text, sizeof(rec->text), text, strlen(text));
	return 1;
}

/* ---- which commands wait ---- */

static uint64_t spdk_key(const struct rec *rec, uint16_t cid)
{
	uint64_t ctrlr = (rec->has & HAS_CTRLR) != 0 ? rec->ctrlr + 1 : 0;

	return 1ull << 48 | ctrlr << 32 | (uint64_t)rec->qid << 16 | cid;
}

static uint32_t spdk_sum(const struct nvme_cmd *cmd)
{
	const uint8_t *bytes = (const uint8_t *)cmd;
	uint32_t sum = 2166136261u;
	size_t i;

	for (i = 0; i < sizeof(*cmd); i++)
		sum = (sum ^ bytes[i]) * 16777619u;
	return sum;
}

/* The slot in that command's set with the key wanted: its own, or 0 for a free one. */
static struct spdk_slot *spdk_find(struct spdk_state *st, uint64_t key, uint64_t want)
{
	uint64_t set = (key * 0x9e3779b97f4a7c15u >> 32) % (SPDK_SLOTS / SPDK_WAYS);
	struct spdk_slot *s = &st->slots[set * SPDK_WAYS];
	unsigned i;

	for (i = 0; i < SPDK_WAYS; i++)
		if (s[i].key == want)
			return &s[i];
	return NULL;
}

static void spdk_wait(struct spdk_state *st, const struct rec *rec)
{
	uint64_t key = spdk_key(rec, rec->cmd.cid);
	struct spdk_slot *s = spdk_find(st, key, key);

	if (s == NULL)
		s = spdk_find(st, key, 0);
	if (s == NULL)
		return; /* so many wait that this one is not remembered */
	s->key = key;
	s->sum = spdk_sum(&rec->cmd);
}

static bool spdk_waits(struct spdk_state *st, const struct rec *rec)
{
	uint64_t key = spdk_key(rec, rec->cmd.cid);
	const struct spdk_slot *s = spdk_find(st, key, key);

	return s != NULL && s->sum == spdk_sum(&rec->cmd);
}

/* Does this record tell that the command held was printed because it failed? */
static bool spdk_failed(const struct rec *held, const struct rec *rec)
{
	if (rec->kind == REC_LOG)
		return rec->level == NVME_LOG_ERROR &&
		       strstr(rec->text, "doesn't match qid") != NULL;
	return rec->kind == REC_COMPLETION && (rec->cpl.status & 0xffe) != 0 &&
	       spdk_key(rec, rec->cpl.cid) == spdk_key(held, held->cmd.cid);
}

/* ---- the reader ---- */

static void spdk_close(struct reader *rd)
{
	struct spdk_state *st = rd->state;

	if (st != NULL)
		free(st->slots);
	free(st);
	rd->state = NULL;
}

/* What the beginning tells of the dialect counts for the very first lines already. */
static void spdk_learn(struct spdk_state *st, const uint8_t *head, size_t len)
{
	size_t at, n;
	const uint8_t *end;

	for (at = 0; at < len; at += n + 1) {
		end = memchr(head + at, '\n', len - at);
		n = end != NULL ? (size_t)(end - head) - at : len - at;
		memcpy(st->line.text, head + at, n);
		st->line.text[n] = '\0';
		spdk_parse(st, &st->next);
	}
}

static int spdk_open(struct reader *rd)
{
	struct spdk_state *st = calloc(1, sizeof(*st));

	rd->state = st;
	if (st == NULL)
		return -ENOMEM;
	st->slots = calloc(SPDK_SLOTS, sizeof(*st->slots));
	if (st->slots == NULL) {
		spdk_close(rd);
		return -ENOMEM;
	}
	spdk_learn(st, rd->head + rd->head_at, rd->head_len - rd->head_at);
	return 0;
}

/* The next record as its line has it. */
static int spdk_read(struct reader *rd, struct rec *rec)
{
	struct spdk_state *st = rd->state;
	int status;

	if (st->ready) {
		*rec = st->next;
		st->ready = false;
		return 1;
	}
	while ((status = scan_line(rd, &st->line)) == 1) {
		status = spdk_parse(st, rec);
		if (status < 0)
			return scan_damage(rd, rec, &st->line, "a line that does not parse");
		if (status > 0)
			return 1;
	}
	return status;
}

static int spdk_give_held(struct spdk_state *st, struct rec *rec, bool failed)
{
	*rec = st->command;
	st->held = false;
	rec->kind = failed ? REC_CMD_AGAIN : REC_COMMAND;
	if (!failed)
		spdk_wait(st, rec);
	return 1;
}

static int spdk_next(struct reader *rd, struct rec *rec)
{
	struct spdk_state *st = rd->state;
	struct spdk_slot *s;
	int status;

	for (;;) {
		status = spdk_read(rd, rec);
		if (st->held) {
			if (status > 0) {
				st->next = *rec;
				st->ready = true;
			}
			return spdk_give_held(st, rec,
			                      status > 0 && spdk_failed(&st->command, rec));
		}
		if (status <= 0)
			return status;
		if (rec->kind == REC_COMMAND && spdk_waits(st, rec)) {
			st->command = *rec;
			st->held = true;
			continue;
		}
		if (rec->kind == REC_COMMAND)
			spdk_wait(st, rec);
		if (rec->kind == REC_COMPLETION) {
			s = spdk_find(st, spdk_key(rec, rec->cpl.cid), spdk_key(rec, rec->cpl.cid));
			if (s != NULL)
				s->key = 0;
		}
		return 1;
	}
}

static int spdk_probe_line(const char *line)
{
	enum nvme_log_level level;
	const char *star, *p;
	struct rec rec;

	for (star = strchr(line, '*'); star != NULL; star = strchr(star + 1, '*')) {
		p = star + 1;
		rec.has = 0;
		if (spdk_level(&p, &level) && spdk_place(line, star, &rec) != NULL)
			return strncmp(rec.file, "nvme", 4) == 0 ? 95 : 60;
	}
	return spdk_looks(line) && strstr(line, "cid:") != NULL && strstr(line, "qid:") != NULL ? 85
	                                                                                        : 0;
}

static int spdk_probe(const uint8_t *head, size_t len)
{
	return scan_probe(head, len, spdk_probe_line);
}

const struct reader_ops spdk_reader = {
	.input = INPUT_SPDK,
	.name = "spdk",
	.probe = spdk_probe,
	.open = spdk_open,
	.next = spdk_next,
	.close = spdk_close,
};
