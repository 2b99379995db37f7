// SPDX-License-Identifier: MIT
/*
 * The filter of -f. Its grammar (docs/nvtrace.md explains it):
 *
 *	or         := and { "||" and }
 *	and        := not { "&&" not }
 *	not        := "!" not | "(" or ")" | comparison
 *	comparison := field operator value | field "in" value ".." value | field
 *	operator   := "==" | "=" | "!=" | "<" | "<=" | ">" | ">="
 *
 * It is compiled to a program for a stack of truth values that has a fixed size: expressions may
 * be nested only so deep that neither this compiler nor the program can run out of it.
 */
#include "filter.h"
#include "cmd.h"
#include <ctype.h>
#include <stdarg.h>

#define MAX_OPS   1024
#define MAX_DEPTH 100

enum field {
	F_QID,
	F_CID,
	F_NSID,
	F_OPC,
	F_LBA,
	F_NLB,
	F_LEN,
	F_STATUS,
	F_SCT,
	F_SC,
	F_LAT,
	F_PRP1,
	F_KIND,
	F_CTRLR,
	F_TIME,
	F_DNR,
	F_PHASE,
	F_SQHD,
	F_RECORD
};

/* As -T json calls them, too, where that is another name. */
static const struct {
	const char *name;
	enum field field;
} field_names[] = {
	{"qid", F_QID},       {"cid", F_CID},       {"nsid", F_NSID},   {"opc", F_OPC},
	{"lba", F_LBA},       {"slba", F_LBA},      {"nlb", F_NLB},     {"len", F_LEN},
	{"status", F_STATUS}, {"sct", F_SCT},       {"sc", F_SC},       {"lat", F_LAT},
	{"prp1", F_PRP1},     {"kind", F_KIND},     {"event", F_KIND},  {"ctrlr", F_CTRLR},
	{"time", F_TIME},     {"dnr", F_DNR},       {"phase", F_PHASE}, {"sqhd", F_SQHD},
	{"record", F_RECORD}, {"number", F_RECORD},
};

enum op_code { OP_AND, OP_OR, OP_NOT, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_SET };

struct op {
	enum op_code code;
	enum field field;
	uint64_t value, last; /* last: of OP_IN */
	int space;            /* opc by name: 0 admin, 1 I/O, -1 either */
};

/* What a filter learns while it works: "time" counts from the first record. */
struct start {
	bool known;
	uint64_t time_ns;
};

struct filter {
	struct op op[MAX_OPS];
	int count;
	struct start *start;
};

struct compiler {
	struct filter *f;
	const char *text, *at, *wrong; /* wrong: where an error is */
	char *why;
	size_t size;
	int depth;
};

/* ---- names ---- */

struct name {
	const char *name;
	int space;
	uint64_t value;
};

/* Commands, in the words of nvme-cli and of the specification. */
static const struct name opc_names[] = {
	{"delete_sq", 0, NVME_OPC_DELETE_IO_SQ},
	{"create_sq", 0, NVME_OPC_CREATE_IO_SQ},
	{"get_log_page", 0, NVME_OPC_GET_LOG_PAGE},
	{"delete_cq", 0, NVME_OPC_DELETE_IO_CQ},
	{"create_cq", 0, NVME_OPC_CREATE_IO_CQ},
	{"identify", 0, NVME_OPC_IDENTIFY},
	{"abort", 0, NVME_OPC_ABORT},
	{"set_features", 0, NVME_OPC_SET_FEATURES},
	{"get_features", 0, NVME_OPC_GET_FEATURES},
	{"aer", 0, NVME_OPC_ASYNC_EVENT_REQUEST},
	{"ns_mgmt", 0, NVME_OPC_NS_MANAGEMENT},
	{"fw_commit", 0, NVME_OPC_FIRMWARE_COMMIT},
	{"fw_download", 0, NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD},
	{"self_test", 0, NVME_OPC_DEVICE_SELF_TEST},
	{"ns_attach", 0, NVME_OPC_NS_ATTACHMENT},
	{"keep_alive", 0, NVME_OPC_KEEP_ALIVE},
	{"directive_send", 0, NVME_OPC_DIRECTIVE_SEND},
	{"directive_recv", 0, NVME_OPC_DIRECTIVE_RECEIVE},
	{"virt_mgmt", 0, NVME_OPC_VIRTUALIZATION_MANAGEMENT},
	{"dbbuf", 0, NVME_OPC_DOORBELL_BUFFER_CONFIG},
	{"fabric", -1, NVME_OPC_FABRIC},
	{"format", 0, NVME_OPC_FORMAT_NVM},
	{"security_send", 0, NVME_OPC_SECURITY_SEND},
	{"security_recv", 0, NVME_OPC_SECURITY_RECEIVE},
	{"sanitize", 0, NVME_OPC_SANITIZE},
	{"get_lba_status", 0, NVME_OPC_GET_LBA_STATUS},
	{"flush", 1, NVME_OPC_FLUSH},
	{"write", 1, NVME_OPC_WRITE},
	{"read", 1, NVME_OPC_READ},
	{"write_uncorrectable", 1, NVME_OPC_WRITE_UNCORRECTABLE},
	{"compare", 1, NVME_OPC_COMPARE},
	{"write_zeroes", 1, NVME_OPC_WRITE_ZEROES},
	{"dsm", 1, NVME_OPC_DATASET_MANAGEMENT},
	{"verify", 1, NVME_OPC_VERIFY},
	{"resv_register", 1, NVME_OPC_RESERVATION_REGISTER},
	{"resv_report", 1, NVME_OPC_RESERVATION_REPORT},
	{"resv_acquire", 1, NVME_OPC_RESERVATION_ACQUIRE},
	{"resv_release", 1, NVME_OPC_RESERVATION_RELEASE},
	{"copy", 1, NVME_OPC_COPY},
	{"zone_send", 1, NVME_OPC_ZONE_MANAGEMENT_SEND},
	{"zone_recv", 1, NVME_OPC_ZONE_MANAGEMENT_RECEIVE},
	{"zone_append", 1, NVME_OPC_ZONE_APPEND},
	{NULL, 0, 0},
};

static const struct name *find_name(const struct name *list, const char *text, size_t len)
{
	for (; list->name != NULL; list++)
		if (strlen(list->name) == len && strncasecmp(list->name, text, len) == 0)
			return list;
	return NULL;
}

/* ---- words ---- */

static bool __attribute__((format(printf, 3, 4)))
fail(struct compiler *c, const char *at, const char *fmt, ...)
{
	va_list ap;

	if (c->wrong == NULL) { /* the first error counts */
		c->wrong = at;
		va_start(ap, fmt);
		vsnprintf(c->why, c->size, fmt, ap);
		va_end(ap);
	}
	return false;
}

static void skip_blanks(struct compiler *c)
{
	while (isspace((unsigned char)*c->at))
		c->at++;
}

static bool take(struct compiler *c, const char *what)
{
	skip_blanks(c);
	if (strncmp(c->at, what, strlen(what)) != 0)
		return false;
	c->at += strlen(what);
	return true;
}

/* Letters, digits, - and _; a minus is taken for an underscore by names. */
static size_t word(struct compiler *c)
{
	size_t n = 0;

	skip_blanks(c);
	while (isalnum((unsigned char)c->at[n]) || c->at[n] == '_')
		n++;
	return n;
}

static bool emit(struct compiler *c, struct op op)
{
	if (c->f->count == MAX_OPS)
		return fail(c, c->at, "the expression is too long");
	c->f->op[c->f->count++] = op;
	return true;
}

/* ---- values ---- */

static bool number(struct compiler *c, uint64_t *value)
{
	const char *start;
	char *end;

	skip_blanks(c);
	start = c->at;
	if (!isdigit((unsigned char)*start))
		return fail(c, start, "a number is missing here");
	errno = 0;
	*value = strtoull(start, &end, strncasecmp(start, "0x", 2) == 0 ? 16 : 10);
	if (errno == ERANGE)
		return fail(c, start, "this number is too large");
	if (strncasecmp(start, "0x", 2) == 0 && !isxdigit((unsigned char)start[2]))
		return fail(c, start, "hexadecimal digits must follow 0x");
	c->at = end;
	return true;
}

/* ns, us, ms, s: for lat and time. Without a unit it is nanoseconds for neither: it is required. */
static bool duration(struct compiler *c, uint64_t *value)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	const char *start = c->at;
	uint64_t whole, fraction = 0, scale = 1;
	size_t i;

	if (!number(c, &whole))
		return false;
	if (*c->at == '.' && isdigit((unsigned char)c->at[1])) {
		for (c->at++; isdigit((unsigned char)*c->at); c->at++) {
			if (scale < 1000000000) {
				fraction = fraction * 10 + (uint64_t)(*c->at - '0');
				scale *= 10;
			}
		}
	}
	for (i = 0; i < 4; i++) {
		size_t n = strlen(units[i].name);

		if (strncmp(c->at, units[i].name, n) != 0 || isalnum((unsigned char)c->at[n]))
			continue;
		c->at += n;
		if (whole > UINT64_MAX / units[i].ns - 1)
			return fail(c, start, "this time is too long");
		*value = whole * units[i].ns + fraction * units[i].ns / scale;
		return true;
	}
	if (whole == 0 && fraction == 0 && !isalnum((unsigned char)*c->at)) {
		*value = 0;
		return true;
	}
	return fail(c, c->at, "a unit is missing here: ns, us, ms or s");
}

static bool status(struct compiler *c, uint64_t *value)
{
	unsigned long sct, sc;
	char *end;
	const char *start;

	skip_blanks(c);
	start = c->at;
	if (isxdigit((unsigned char)*start) && strspn(start, "0123456789abcdefABCDEF") <= 2 &&
	    start[strspn(start, "0123456789abcdefABCDEF")] == '/') {
		sct = strtoul(start, &end, 16);
		if (!isxdigit((unsigned char)end[1]))
			return fail(c, end + 1, "a status code must follow, such as 2/81");
		sc = strtoul(end + 1, &end, 16);
		if (sct > 7 || sc > 0xff)
			return fail(c, start, "a status goes from 0/00 to 7/ff");
		c->at = end;
		*value = sct << 8 | sc;
		return true;
	}
	return number(c, value);
}

static bool named(struct compiler *c, const struct name *list, const char *what, struct op *op,
                  uint64_t *value)
{
	const struct name *name;
	char text[32];
	size_t n = word(c), i;

	if (n == 0 || isdigit((unsigned char)*c->at))
		return number(c, value);
	/* dashes within a name: write-zeroes */
	while (c->at[n] == '-' && isalnum((unsigned char)c->at[n + 1]))
		for (n++; isalnum((unsigned char)c->at[n]) || c->at[n] == '_'; n++)
			;
	if (n >= sizeof(text))
		return fail(c, c->at, "%s of this name is not known", what);
	for (i = 0; i < n; i++)
		text[i] = c->at[i] == '-' ? '_' : c->at[i];
	name = find_name(list, text, n);
	if (name == NULL)
		return fail(c, c->at, "%s of this name is not known", what);
	op->space = name->space;
	*value = name->value;
	c->at += n;
	return true;
}

/* "completion", or its number. */
static bool kind_value(struct compiler *c, uint64_t *value)
{
	size_t n = word(c);
	int kind;

	if (n != 0 && isdigit((unsigned char)*c->at))
		return number(c, value);
	for (kind = 0; kind <= REC_NOTE; kind++) {
		const char *name = rec_kind_name((enum rec_kind)kind);

		if (n != strlen(name) || strncasecmp(c->at, name, n) != 0)
			continue;
		*value = (uint64_t)kind;
		c->at += n;
		return true;
	}
	return fail(c, c->at,
	            n == 0 ? "a kind of record is missing here"
	                   : "a kind of record of this name is not known");
}

static bool value_of(struct compiler *c, struct op *op, uint64_t *value)
{
	skip_blanks(c);
	switch (op->field) {
	case F_OPC:
		return named(c, opc_names, "a command", op, value);
	case F_KIND:
		return kind_value(c, value);
	case F_STATUS:
		return status(c, value);
	case F_LAT:
	case F_TIME:
		return duration(c, value);
	default:
		return number(c, value);
	}
}

/* Behind a value something must end it: "qid==1x" is a mistake. */
static bool value_ends(struct compiler *c)
{
	if (isalnum((unsigned char)*c->at) || *c->at == '_')
		return fail(c, c->at, "this does not belong to the value");
	return true;
}

/* ---- expressions ---- */

static bool range(struct compiler *c, struct op *op)
{
	const char *start;

	if (!value_of(c, op, &op->value))
		return false;
	if (!take(c, ".."))
		return fail(c, c->at,
		            "'..' and the end of the range must follow, such as 100..200");
	skip_blanks(c);
	start = c->at;
	if (!value_of(c, op, &op->last) || !value_ends(c))
		return false;
	if (op->last < op->value)
		return fail(c, start, "the range ends before it begins");
	op->code = OP_IN;
	return emit(c, *op);
}

static bool operator_of(struct compiler *c, enum op_code *code)
{
	static const struct {
		const char *text;
		enum op_code code;
	} operators[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE},
	                 {"<", OP_LT},  {">", OP_GT},  {"=", OP_EQ}};
	size_t i;

	for (i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		if (take(c, operators[i].text)) {
			*code = operators[i].code;
			return true;
		}
	}
	return false;
}

static bool comparison(struct compiler *c)
{
	struct op op = {OP_SET, F_QID, 0, 0, -1};
	size_t n = word(c), i;

	for (i = 0; i < sizeof(field_names) / sizeof(field_names[0]); i++)
		if (n == strlen(field_names[i].name) && strncmp(c->at, field_names[i].name, n) == 0)
			break;
	if (n == 0)
		return fail(c, c->at,
		            *c->at == '\0' ? "a comparison is missing at the end"
		                           : "a field is missing here");
	if (i == sizeof(field_names) / sizeof(field_names[0]))
		return fail(c, c->at,
		            "there is no field '%.*s': it must be one of qid cid nsid opc lba nlb len "
		            "status sct sc lat prp1 kind ctrlr time dnr phase "
		            "sqhd record",
		            (int)(n < 32 ? n : 32), c->at);
	op.field = field_names[i].field;
	c->at += n;
	if (word(c) == 2 && strncmp(c->at, "in", 2) == 0) {
		c->at += 2;
		return range(c, &op);
	}
	if (operator_of(c, &op.code)) {
		if (!value_of(c, &op, &op.value) || !value_ends(c))
			return false;
		return emit(c, op);
	}
	skip_blanks(c);
	if (*c->at != '\0' && *c->at != ')' && *c->at != '&' && *c->at != '|')
		return fail(c, c->at, "an operator is missing here: == != < <= > >= or in");
	return emit(c, op);
}

static bool or_expression(struct compiler *c);

static bool not_expression(struct compiler *c)
{
	const struct op not_op = {OP_NOT, F_QID, 0, 0, 0};
	const char *start;
	bool ok;

	skip_blanks(c);
	start = c->at;
	if (c->depth >= MAX_DEPTH)
		return fail(c, start, "the expression is nested too deep");
	c->depth++;
	if (take(c, "!")) {
		ok = not_expression(c) && emit(c, not_op);
	} else if (take(c, "(")) {
		ok = or_expression(c);
		if (ok && !take(c, ")")) {
			skip_blanks(c);
			ok = fail(c, *c->at == '\0' ? start : c->at,
			          *c->at == '\0' ? "this parenthesis is not closed"
			                         : "&&, || or ) must follow here");
		}
	} else {
		ok = comparison(c);
	}
	c->depth--;
	return ok;
}

static bool and_expression(struct compiler *c)
{
	const struct op and_op = {OP_AND, F_QID, 0, 0, 0};

	if (!not_expression(c))
		return false;
	while (take(c, "&&"))
		if (!not_expression(c) || !emit(c, and_op))
			return false;
	return true;
}

static bool or_expression(struct compiler *c)
{
	const struct op or_op = {OP_OR, F_QID, 0, 0, 0};

	if (!and_expression(c))
		return false;
	while (take(c, "||"))
		if (!and_expression(c) || !emit(c, or_op))
			return false;
	return true;
}

struct filter *filter_new(const char *text, char *why, size_t size, int *column)
{
	struct filter *f = calloc(1, sizeof(*f));
	struct compiler c = {f, text, text, NULL, why, size, 0};
	bool ok;

	if (f != NULL)
		f->start = calloc(1, sizeof(*f->start));
	if (f == NULL || f->start == NULL) {
		free(f);
		snprintf(why, size, "no memory");
		*column = 1;
		return NULL;
	}
	ok = or_expression(&c);
	skip_blanks(&c);
	if (ok && *c.at != '\0')
		ok = fail(&c, c.at,
		          *c.at == ')' ? "this parenthesis was not opened"
		                       : "&& or || must follow here");
	if (ok)
		return f;
	*column = (int)(c.wrong - text) + 1;
	filter_free(f);
	return NULL;
}

void filter_free(struct filter *f)
{
	if (f != NULL)
		free(f->start);
	free(f);
}

/* ---- matching ---- */

static bool cmd_value(const struct nvme_cmd *cmd, uint32_t have, uint16_t qid, enum field field,
                      uint64_t *value)
{
	uint32_t blocks;

	switch (field) {
	case F_OPC:
		*value = cmd->opc;
		return (have & HAVE_OPC) != 0;
	case F_NSID:
		*value = cmd->nsid;
		return (have & HAVE_NSID) != 0;
	case F_PRP1:
		*value = cmd->dptr.prp.prp1;
		return (have & HAVE_DPTR1) == HAVE_DPTR1;
	case F_LBA:
		return cmd_lba(qid, cmd, have, value);
	case F_NLB: /* 0-based, as in the command */
	case F_LEN:
		if (!cmd_blocks(qid, cmd, have, &blocks))
			return false;
		*value = blocks - (field == F_NLB);
		return true;
	default:
		return false;
	}
}

static bool is_command(const struct rec *rec)
{
	return rec->kind == REC_COMMAND || rec->kind == REC_CMD_AGAIN || rec->kind == REC_DEV_FETCH;
}

static bool is_completion(const struct rec *rec)
{
	return rec->kind == REC_COMPLETION || rec->kind == REC_DEV_CQE;
}

static bool cpl_value(const struct rec *rec, enum field field, uint64_t *value)
{
	uint16_t s = rec->cpl.status;

	switch (field) {
	case F_STATUS:
		*value = (uint64_t)NVME_GET(s, NVME_CPL_SCT) << 8 | NVME_GET(s, NVME_CPL_SC);
		return (rec->has & HAS_STATUS) != 0;
	case F_SCT:
		*value = NVME_GET(s, NVME_CPL_SCT);
		return (rec->has & HAS_STATUS) != 0;
	case F_SC:
		*value = NVME_GET(s, NVME_CPL_SC);
		return (rec->has & HAS_STATUS) != 0;
	case F_DNR:
		*value = NVME_GET(s, NVME_CPL_DNR);
		return (rec->has & HAS_FLAGS) != 0;
	case F_PHASE:
		*value = NVME_GET(s, NVME_CPL_P);
		return (rec->has & HAS_PHASE) != 0;
	case F_SQHD:
		*value = rec->cpl.sqhd;
		return (rec->has & HAS_SQHD) != 0;
	case F_LAT:
		*value = rec->latency_ns;
		return (rec->has & HAS_LATENCY) != 0;
	default:
		return cmd_value(&rec->of, rec->of_have, rec->qid, field, value);
	}
}

static bool cid_value(const struct rec *rec, uint64_t *value)
{
	if (is_command(rec)) {
		*value = rec->cmd.cid;
		return (rec->cmd_have & HAVE_OPC) != 0;
	}
	*value = rec->kind == REC_PRP        ? rec->prp.cid
	         : rec->kind == REC_SGL      ? rec->sgl.cid
	         : rec->kind == REC_DEV_DATA ? rec->data.cid
	         : rec->kind == REC_MARK     ? rec->mark.cid
	                                     : rec->cpl.cid;
	return rec->kind == REC_PRP || rec->kind == REC_SGL || rec->kind == REC_DEV_DATA ||
	       (rec->kind == REC_MARK && rec->mark.what <= NVME_TRACE_RETRY) || is_completion(rec);
}

static bool time_value(const struct start *start, const struct rec *rec, uint64_t *value)
{
	*value = rec->time_ns >= start->time_ns ? rec->time_ns - start->time_ns : 0;
	return (rec->has & HAS_TIME) != 0;
}

static bool field_value(const struct start *start, const struct rec *rec, enum field field,
                        uint64_t *value)
{
	switch (field) {
	case F_KIND:
		*value = (uint64_t)rec->kind;
		return true;
	case F_RECORD:
		*value = rec->number;
		return true;
	case F_QID:
		*value = rec->qid;
		return (rec->has & HAS_QID) != 0;
	case F_CTRLR:
		*value = rec->ctrlr;
		return (rec->has & HAS_CTRLR) != 0;
	case F_TIME:
		return time_value(start, rec, value);
	case F_CID:
		return cid_value(rec, value);
	case F_PRP1:
		if (rec->kind == REC_PRP) {
			*value = rec->prp.prp1;
			return true;
		}
		break;
	default:
		break;
	}
	if (is_completion(rec))
		return cpl_value(rec, field, value);
	return is_command(rec) && cmd_value(&rec->cmd, rec->cmd_have, rec->qid, field, value);
}

/* Is the opcode by this name one of the queue? Number 1 is Write on one, Create SQ on another. */
static bool same_space(const struct op *op, const struct rec *rec)
{
	return op->space < 0 || (op->space == 0) == (rec->qid == 0);
}

static bool compare(const struct start *start, const struct op *op, const struct rec *rec)
{
	uint64_t v;

	if (!field_value(start, rec, op->field, &v))
		return false;
	switch (op->code) {
	case OP_EQ:
		return v == op->value && same_space(op, rec);
	case OP_NE:
		return v != op->value || !same_space(op, rec);
	case OP_LT:
		return v < op->value;
	case OP_LE:
		return v <= op->value;
	case OP_GT:
		return v > op->value;
	case OP_GE:
		return v >= op->value;
	case OP_IN:
		return v >= op->value && v <= op->last;
	default:
		return v != 0;
	}
}

/* The stack holds one value for each level of nesting at most three times: see MAX_DEPTH. */
bool filter_match(const struct filter *f, const struct rec *rec)
{
	bool stack[MAX_DEPTH * 3 + 8] = {false};
	int top = 0, i;

	if (!f->start->known && (rec->has & HAS_TIME)) {
		f->start->known = true;
		f->start->time_ns = rec->time_ns;
	}
	for (i = 0; i < f->count; i++) {
		const struct op *op = &f->op[i];

		if (op->code == OP_NOT) {
			stack[top - 1] = !stack[top - 1];
		} else if (op->code == OP_AND || op->code == OP_OR) {
			top--;
			stack[top - 1] = op->code == OP_AND ? stack[top - 1] && stack[top]
			                                    : stack[top - 1] || stack[top];
		} else {
			stack[top++] = compare(f->start, op, rec);
		}
	}
	return top > 0 && stack[0];
}
