// SPDX-License-Identifier: MIT
/*
 * Readers of what the Linux driver's tracepoints say: the text of tracefs, and that of
 * `trace-cmd report`, which has no decoder for these events and prints their raw fields.
 *
 * Kernels differ. Up to 4.17 admin and I/O commands are two events without a controller; up to 5.2
 * result and status are decimal; from 5.14 on the upper four bits of a CID count its reuse, which
 * until 5.17 only the command shows and not the completion. Fields are found by their names, and
 * numbers say themselves whether they are hexadecimal, so that one grammar reads them all.
 */
#include "scan.h"

/* ---- the command in parentheses ---- */

struct ft_arg {
	const char *key;
	uint8_t dw, lo, width; /* dword 10 to 15, lowest bit, bits; 64: this dword and the next */
};

#define FT_LBAF 6 /* a width that only LBAF has: its upper two bits are elsewhere */

struct ft_name {
	const char *name;
	uint8_t opc;
	struct ft_arg args[6];
};

#define FT_RW_ARGS                                                                \
	{                                                                         \
		{"slba=", 10, 0, 64}, {"len=", 12, 0, 16}, {"ctrl=", 12, 16, 16}, \
			{"dsmgmt=", 13, 0, 32}, {"reftag=", 14, 0, 32},           \
	}

/* Commands without arguments here come with their 24 bytes of CDW10 to CDW15. */
static const struct ft_name ft_names[] = {
	{"nvme_cmd_read", NVME_OPC_READ, FT_RW_ARGS},
	{"nvme_cmd_write", NVME_OPC_WRITE, FT_RW_ARGS},
	{"nvme_cmd_flush", NVME_OPC_FLUSH, {{0}}},
	{"nvme_cmd_write_zeroes", NVME_OPC_WRITE_ZEROES, FT_RW_ARGS},
	{"nvme_cmd_zone_append", NVME_OPC_ZONE_APPEND, FT_RW_ARGS},
	{"nvme_cmd_dsm",
         NVME_OPC_DATASET_MANAGEMENT,
         {{"nr=", 10, 0, 32}, {"attributes=", 11, 0, 32}}},
	{"nvme_cmd_write_uncor", NVME_OPC_WRITE_UNCORRECTABLE, {{0}}},
	{"nvme_cmd_compare", NVME_OPC_COMPARE, {{0}}},
	{"nvme_cmd_verify", NVME_OPC_VERIFY, {{0}}},
	{"nvme_cmd_copy", NVME_OPC_COPY, {{0}}},
	{"nvme_cmd_zone_mgmt_send",
         NVME_OPC_ZONE_MANAGEMENT_SEND,
         {{"slba=", 10, 0, 64}, {"zsa=", 13, 0, 8}, {"all=", 13, 8, 8}}},
	{"nvme_cmd_zone_mgmt_recv",
         NVME_OPC_ZONE_MANAGEMENT_RECEIVE,
         {{"slba=", 10, 0, 64},
          {"numd=", 12, 0, 32},
          {"zra=", 13, 0, 8},
          {"zrasf=", 13, 8, 8},
          {"pr=", 13, 16, 8}}},
	{"nvme_cmd_resv_register",
         NVME_OPC_RESERVATION_REGISTER,
         {{"rrega=", 10, 0, 3}, {"iekey=", 10, 3, 1}, {"ptpl=", 10, 30, 2}}},
	{"nvme_cmd_resv_acquire",
         NVME_OPC_RESERVATION_ACQUIRE,
         {{"racqa=", 10, 0, 3}, {"iekey=", 10, 3, 1}, {"rtype=", 10, 8, 8}}},
	{"nvme_cmd_resv_release",
         NVME_OPC_RESERVATION_RELEASE,
         {{"rrela=", 10, 0, 3}, {"iekey=", 10, 3, 1}, {"rtype=", 10, 8, 8}}},
	{"nvme_cmd_resv_report",
         NVME_OPC_RESERVATION_REPORT,
         {{"numd=", 10, 0, 32}, {"eds=", 11, 0, 1}}},
	{"nvme_admin_identify", NVME_OPC_IDENTIFY, {{"cns=", 10, 0, 8}, {"ctrlid=", 10, 16, 16}}},
	{"nvme_admin_create_sq",
         NVME_OPC_CREATE_IO_SQ,
         {{"sqid=", 10, 0, 16},
          {"qsize=", 10, 16, 16},
          {"sq_flags=", 11, 0, 16},
          {"cqid=", 11, 16, 16}}},
	{"nvme_admin_create_cq",
         NVME_OPC_CREATE_IO_CQ,
         {{"cqid=", 10, 0, 16},
          {"qsize=", 10, 16, 16},
          {"cq_flags=", 11, 0, 16},
          {"irq_vector=", 11, 16, 16}}},
	{"nvme_admin_delete_sq", NVME_OPC_DELETE_IO_SQ, {{"sqid=", 10, 0, 16}}},
	{"nvme_admin_delete_cq", NVME_OPC_DELETE_IO_CQ, {{"cqid=", 10, 0, 16}}},
	/* sv is bit 3 of the uppermost byte, which is not where the specification has SV */
	{"nvme_admin_set_features",
         NVME_OPC_SET_FEATURES,
         {{"fid=", 10, 0, 8}, {"sv=", 10, 24, 8}, {"cdw11=", 11, 0, 32}}},
	{"nvme_admin_get_features",
         NVME_OPC_GET_FEATURES,
         {{"fid=", 10, 0, 8}, {"sel=", 10, 8, 3}, {"cdw11=", 11, 0, 32}}},
	{"nvme_admin_get_lba_status",
         NVME_OPC_GET_LBA_STATUS,
         {{"slba=", 10, 0, 64}, {"mndw=", 12, 0, 32}, {"rl=", 13, 0, 16}, {"atype=", 13, 24, 8}}},
	{"nvme_admin_format_nvm",
         NVME_OPC_FORMAT_NVM,
         {{"lbaf=", 10, 0, FT_LBAF},
          {"mset=", 10, 4, 1},
          {"pi=", 10, 5, 3},
          {"pil=", 10, 8, 1},
          {"ses=", 10, 9, 3}}},
	{"nvme_admin_get_log_page", NVME_OPC_GET_LOG_PAGE, {{0}}},
	{"nvme_admin_abort_cmd", NVME_OPC_ABORT, {{0}}},
	{"nvme_admin_async_event", NVME_OPC_ASYNC_EVENT_REQUEST, {{0}}},
	{"nvme_admin_ns_mgmt", NVME_OPC_NS_MANAGEMENT, {{0}}},
	{"nvme_admin_activate_fw", NVME_OPC_FIRMWARE_COMMIT, {{0}}},
	{"nvme_admin_download_fw", NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD, {{0}}},
	{"nvme_admin_dev_self_test", NVME_OPC_DEVICE_SELF_TEST, {{0}}},
	{"nvme_admin_ns_attach", NVME_OPC_NS_ATTACHMENT, {{0}}},
	{"nvme_admin_keep_alive", NVME_OPC_KEEP_ALIVE, {{0}}},
	{"nvme_admin_directive_send", NVME_OPC_DIRECTIVE_SEND, {{0}}},
	{"nvme_admin_directive_recv", NVME_OPC_DIRECTIVE_RECEIVE, {{0}}},
	{"nvme_admin_virtual_mgmt", NVME_OPC_VIRTUALIZATION_MANAGEMENT, {{0}}},
	{"nvme_admin_nvme_mi_send", NVME_OPC_NVME_MI_SEND, {{0}}},
	{"nvme_admin_nvme_mi_recv", NVME_OPC_NVME_MI_RECEIVE, {{0}}},
	{"nvme_admin_dbbuf", NVME_OPC_DOORBELL_BUFFER_CONFIG, {{0}}},
	{"nvme_admin_security_send", NVME_OPC_SECURITY_SEND, {{0}}},
	{"nvme_admin_security_recv", NVME_OPC_SECURITY_RECEIVE, {{0}}},
	{"nvme_admin_sanitize_nvm", NVME_OPC_SANITIZE, {{0}}},
	{"nvme_fabrics_type_property_set",
         NVME_OPC_FABRIC,
         {{"attrib=", 10, 0, 8}, {"ofst=", 11, 0, 32}, {"value=", 12, 0, 64}}},
	{"nvme_fabrics_type_connect",
         NVME_OPC_FABRIC,
         {{"recfmt=", 10, 0, 16},
          {"qid=", 10, 16, 16},
          {"sqsize=", 11, 0, 16},
          {"cattr=", 11, 16, 8},
          {"kato=", 12, 0, 32}}},
	{"nvme_fabrics_type_property_get",
         NVME_OPC_FABRIC,
         {{"attrib=", 10, 0, 8}, {"ofst=", 11, 0, 32}}},
	{"nvme_fabrics_type_auth_send",
         NVME_OPC_FABRIC,
         {{"spsp0=", 10, 8, 8}, {"spsp1=", 10, 16, 8}, {"secp=", 10, 24, 8}, {"tl=", 11, 0, 32}}},
	{"nvme_fabrics_type_auth_receive",
         NVME_OPC_FABRIC,
         {{"spsp0=", 10, 8, 8}, {"spsp1=", 10, 16, 8}, {"secp=", 10, 24, 8}, {"al=", 11, 0, 32}}},
};

#define FT_UNKNOWN 32 /* of the name of an argument */

/* Up to 24 bytes of two hexadecimal digits with blanks or commas between: how many, -1 others. */
static int ft_bytes(const char *p, const char *end, uint8_t bytes[24])
{
	int n = 0;

	for (;;) {
		while (p < end && (*p == ' ' || *p == ','))
			p++;
		if (p == end)
			return n;
		if (n == 24 || scan_digit(p[0]) > 15 || scan_digit(p[1]) > 15 || scan_is_word(p[2]))
			return -1;
		bytes[n++] = (uint8_t)(scan_digit(p[0]) << 4 | scan_digit(p[1]));
		p += 2;
	}
}

/* The first dwords of CDW10 to CDW15 from memory. */
static void ft_put_bytes(struct rec *rec, const uint8_t *bytes, int count)
{
	int i;

	for (i = 0; i < count / 4; i++, bytes += 4) {
		*scan_cdw(&rec->cmd, 10 + (unsigned)i) =
			(uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
			(uint32_t)bytes[3] << 24;
		rec->cmd_have |= HAVE_DW(10 + i);
	}
}

static void ft_put_arg(struct rec *rec, const struct ft_arg *arg, uint64_t value)
{
	uint32_t *dw = scan_cdw(&rec->cmd, arg->dw);

	rec->cmd_have |= HAVE_DW(arg->dw);
	if (arg->width == 64) {
		rec->cmd_have |= HAVE_DW(arg->dw + 1);
		*dw = (uint32_t)value;
		*scan_cdw(&rec->cmd, arg->dw + 1u) = (uint32_t)(value >> 32);
	} else if (arg->width == FT_LBAF) {
		*dw |= (uint32_t)(value & 15) | (uint32_t)(value >> 4) << 12;
	} else {
		*dw |= (uint32_t)value << arg->lo;
	}
}

/* Which of the arguments from arg on stands at p; NULL: none. */
static const struct ft_arg *ft_arg_at(const struct ft_arg *arg, const char *p)
{
	for (; arg->key != NULL; arg++)
		if (strncmp(p, arg->key, strlen(arg->key)) == 0)
			return arg;
	return NULL;
}

/* Passes over "NAME=VALUE" that is new to us; the first name is remembered. */
static bool ft_unknown(const char **at, char unknown[FT_UNKNOWN])
{
	const char *p = *at;
	size_t len;

	for (len = 0; scan_is_word(p[len]); len++)
		;
	if (len == 0 || p[len] != '=')
		return false;
	if (unknown[0] == '\0')
		scan_copy(unknown, FT_UNKNOWN, p, len);
	*at = p + strcspn(p, ", ");
	return true;
}

/*
 * The arguments by their names, in order. Newer kernels put a text behind some numbers, as in
 * "zsa=1:close zone"; it ends where the next argument begins. They may also have arguments that are
 * not known here: those are passed over, and the others may then be fewer.
 */
static bool ft_args(struct rec *rec, const struct ft_arg *arg, const char *p,
                    char unknown[FT_UNKNOWN])
{
	const struct ft_arg *here;
	bool missing = false;
	uint64_t value, max;
	unsigned base;

	while (p += strspn(p, " ,"), *p != '\0') {
		here = ft_arg_at(arg, p);
		if (here == NULL && !ft_unknown(&p, unknown))
			return false;
		if (here == NULL)
			continue;
		missing |= here != arg;
		arg = here + 1;
		max = here->width == 64 ? UINT64_MAX : (1ull << here->width) - 1;
		base = strncmp(here->key, "sp", 2) == 0 || strcmp(here->key, "secp=") == 0 ? 16 : 0;
		p += strlen(here->key);
		if (!scan_number(&p, base, max, &value))
			return false;
		ft_put_arg(rec, here, value);
		if (*p == ':' && (arg->key == NULL || scan_key(p, arg->key) == NULL))
			p += strlen(p);
		else if (*p == ':')
			p = scan_key(p, arg->key) - strlen(arg->key);
	}
	return (!missing && arg->key == NULL) || unknown[0] != '\0';
}

static const struct ft_name *ft_name(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(ft_names) / sizeof(ft_names[0]); i++)
		if (strncmp(ft_names[i].name, name, len) == 0 && ft_names[i].name[len] == '\0')
			return &ft_names[i];
	return NULL;
}

/* "(NAME ARGS)": text stands behind the parenthesis that opens; the one that closes ends the line. */
static bool ft_command(struct rec *rec, char *text, char unknown[FT_UNKNOWN])
{
	static const struct ft_arg none = {NULL, 0, 0, 0};
	const struct ft_name *name;
	const char *p = text, *raw;
	size_t len = strlen(text);
	uint8_t bytes[24];
	uint64_t opc = 0;
	bool fabrics;

	while (len > 0 && text[len - 1] == ' ')
		len--;
	if (len == 0 || text[len - 1] != ')')
		return false;
	text[--len] = '\0';
	len = strcspn(text, " ");
	name = ft_name(text, len);
	if (name == NULL && (!scan_number(&p, 16, 0xff, &opc) || p != text + len))
		return false;
	p = text + len + strspn(text + len, " ");
	rec->cmd.opc = name != NULL ? name->opc : (uint8_t)opc;
	raw = p;
	fabrics = scan_literal(&raw, "specific=");
	if (fabrics)
		rec->cmd.opc = NVME_OPC_FABRIC; /* what was printed is the fabrics type */
	if (fabrics || scan_literal(&raw, "cdw10=")) {
		if (ft_bytes(raw, raw + strlen(raw), bytes) != 24)
			return false;
		ft_put_bytes(rec, bytes, 24);
		return true;
	}
	return ft_args(rec, name != NULL ? name->args : &none, p, unknown) && raw[0] != '\0';
}

/*
 * trace-cmd's array of 24 bytes. While they look like a string it prints them as one, up to the
 * first zero, and the rest is lost; then only whole dwords in front of it are known.
 */
static bool ft_array(struct rec *rec, const char *text)
{
	uint8_t bytes[24];
	size_t len;

	if (!scan_literal(&text, "ARRAY[")) {
		len = strlen(text) < 24 ? strlen(text) : 24;
		memcpy(bytes, text, len);
		ft_put_bytes(rec, bytes, (int)len);
		return true;
	}
	len = strcspn(text, "]");
	if (text[len] != ']' || ft_bytes(text, text + len, bytes) != 24)
		return false;
	ft_put_bytes(rec, bytes, 24);
	return true;
}

/* ---- the fields in front of it ---- */

enum ft_field {
	FT_CTRL,
	FT_QID,
	FT_CID,
	FT_NSID,
	FT_FLAGS,
	FT_META,
	FT_RESULT,
	FT_RETRIES,
	FT_STATUS,
	FT_HEAD,
	FT_TAIL,
	FT_OPCODE,
	FT_FIELDS
};

struct ft_fields {
	uint32_t seen; /* bits of enum ft_field */
	uint64_t v[FT_FIELDS];
	char *cmd;         /* behind "cmd=(", or NULL */
	const char *array; /* behind "cdw10=", or NULL */
	char unknown[FT_UNKNOWN];
};

/* The kernel's own names first, then those of the fields in the event, which trace-cmd prints. */
static const struct {
	const char *key;
	enum ft_field field;
	uint64_t max;
} ft_keys[] = {
	{"qid", FT_QID, 0xffff},
	{"cmdid", FT_CID, 0xffff},
	{"nsid", FT_NSID, 0xffffffff},
	{"flags", FT_FLAGS, 0xff},
	{"meta", FT_META, UINT64_MAX},
	{"res", FT_RESULT, UINT64_MAX},
	{"retries", FT_RETRIES, 0xffff},
	{"status", FT_STATUS, 0xffff},
	{"head", FT_HEAD, 0xffff},
	{"tail", FT_TAIL, 0xffff},
	{"ctrl_id", FT_CTRL, 0x7fffffff},
	{"cid", FT_CID, 0xffff},
	{"opcode", FT_OPCODE, 0xff},
	{"metadata", FT_META, UINT64_MAX},
	{"result", FT_RESULT, 0xffffffffffffffff},
	{"sq_head", FT_HEAD, 0xffff},
	{"sq_tail", FT_TAIL, 0xffff},
};

#define FT_KEYS (sizeof(ft_keys) / sizeof(ft_keys[0]))

static size_t ft_key(const char *key, size_t len)
{
	size_t i;

	for (i = 0; i < FT_KEYS; i++)
		if (strncmp(ft_keys[i].key, key, len) == 0 && ft_keys[i].key[len] == '\0')
			break;
	return i;
}

/* One KEY=VALUE; fields that are new to us are passed over. */
static bool ft_pair(struct ft_fields *f, const char **at, size_t len)
{
	size_t i = ft_key(*at, len);
	const char *p = *at + len + 1;

	if (i == FT_KEYS) {
		p += strcspn(p, " ,");
	} else {
		if ((f->seen & 1u << ft_keys[i].field) != 0 ||
		    !scan_number(&p, 0, ft_keys[i].max, &f->v[ft_keys[i].field]))
			return false;
		f->seen |= 1u << ft_keys[i].field;
	}
	*at = p;
	return *p == '\0' || *p == ' ' || *p == ',';
}

/* "nvme0: KEY=VALUE, KEY=VALUE, ..." in any order, with commas or, from trace-cmd, blanks. */
static bool ft_fields(struct ft_fields *f, char *text)
{
	const char *p = text;
	size_t len;

	memset(f, 0, sizeof(*f));
	if (scan_literal(&p, "nvme")) {
		if (!scan_number(&p, 10, 0x7fffffff, &f->v[FT_CTRL]) || *p++ != ':')
			return false;
		f->seen |= 1u << FT_CTRL;
	}
	for (;;) {
		while (*p == ' ' || *p == ',')
			p++;
		if (*p == '\0')
			return true;
		for (len = 0; scan_is_word(p[len]); len++)
			;
		if (len == 0 || p[len] != '=')
			return false;
		if (strncmp(p, "cmd=(", 5) == 0) {
			f->cmd = text + (p - text) + 5;
			return true;
		}
		if (strncmp(p, "cdw10=", 6) == 0) {
			f->array = p + 6;
			return true;
		}
		if (!ft_pair(f, &p, len))
			return false;
	}
}

static bool ft_saw(const struct ft_fields *f, uint32_t fields)
{
	return (f->seen & fields) == fields;
}

#define FT(field) (1u << FT_##field)

/* ---- the events ---- */

enum ft_event {
	FT_SETUP,
	FT_SETUP_NVM,
	FT_SETUP_ADMIN,
	FT_COMPLETE,
	FT_SQ,
	FT_AER,
	FT_CUT,
	FT_NONE
};

static const char *const ft_events[] = {
	"nvme_setup_cmd:", "nvme_setup_nvm_cmd:", "nvme_setup_admin_cmd:", "nvme_complete_rq:",
	"nvme_sq:",        "nvme_async_event:",
};

struct ft_state {
	struct scan_line line;
	bool has_note;
	struct rec note;          /* comes after the record of the same line */
	char unknown[FT_UNKNOWN]; /* an argument of a command that is not known */
	uint64_t events, strange; /* that were read; lines with one in a form that is not known */
};

static bool ft_setup(struct rec *rec, enum ft_event event, struct ft_fields *f)
{
	bool raw = ft_saw(f, FT(OPCODE));

	rec->kind = REC_COMMAND;
	if (event == FT_SETUP_ADMIN)
		f->seen |= FT(QID); /* which is 0; that event does not print it */
	if (!ft_saw(f, FT(QID) | FT(CID) | FT(FLAGS)) || (f->cmd == NULL && !raw))
		return false;
	if (event != FT_SETUP_ADMIN && !ft_saw(f, FT(NSID)))
		return false;
	rec->cmd.cid = (uint16_t)f->v[FT_CID];
	rec->cmd.flags = (uint8_t)f->v[FT_FLAGS];
	rec->cmd.opc = (uint8_t)f->v[FT_OPCODE];
	rec->cmd.nsid = (uint32_t)f->v[FT_NSID];
	rec->cmd_have = HAVE_OPC | HAVE_FLAGS | (ft_saw(f, FT(NSID)) ? HAVE_NSID : 0);
	rec->has |= HAS_OPC;
	return f->cmd != NULL ? ft_command(rec, f->cmd, f->unknown)
	                      : f->array != NULL && ft_array(rec, f->array);
}

/* What the host did of its own accord; the completion that it belongs to does not say so. */
static void ft_note(struct ft_state *st, const struct rec *rec, const struct ft_fields *f)
{
	bool cancelled = (f->v[FT_FLAGS] & 1) != 0;

	if (!cancelled && f->v[FT_RETRIES] == 0)
		return;
	scan_begin(&st->note, REC_NOTE, rec->number);
	st->note.has = rec->has & (HAS_TIME | HAS_QID | HAS_CTRLR);
	st->note.time_ns = rec->time_ns;
	st->note.ctrlr = rec->ctrlr;
	st->note.qid = rec->qid;
	snprintf(st->note.text, sizeof(st->note.text), "cid %u: retry %u%s", rec->cpl.cid,
	         (unsigned)f->v[FT_RETRIES],
	         cancelled ? ", cancelled by the host: not what the controller answered" : "");
	st->has_note = true;
}

static bool ft_complete(struct ft_state *st, struct rec *rec, const struct ft_fields *f)
{
	rec->kind = REC_COMPLETION;
	if (!ft_saw(f, FT(QID) | FT(CID) | FT(RESULT) | FT(STATUS) | FT(RETRIES) | FT(FLAGS)))
		return false;
	rec->has |= HAS_DW0 | HAS_DW1;
	rec->cpl.cid = (uint16_t)f->v[FT_CID];
	rec->cpl.cdw0 = (uint32_t)f->v[FT_RESULT];
	rec->cpl.cdw1 = (uint32_t)(f->v[FT_RESULT] >> 32);
	if (f->v[FT_STATUS] <= 0x7fff) { /* else a negative errno */
		rec->has |= HAS_STATUS | HAS_FLAGS;
		rec->cpl.status = (uint16_t)(f->v[FT_STATUS] << 1);
	}
	ft_note(st, rec, f);
	return true;
}

static bool ft_queue(struct rec *rec, const struct ft_fields *f)
{
	rec->kind = REC_QUEUE;
	rec->sq_head = (uint16_t)f->v[FT_HEAD];
	rec->sq_tail = (uint16_t)f->v[FT_TAIL];
	return ft_saw(f, FT(QID) | FT(HEAD) | FT(TAIL));
}

/* "nvme0: NVME_AEN=0x000302 [NVME_AER_NOTICE]", or trace-cmd's "ctrl_id=0 result=770". */
static bool ft_async(struct rec *rec, char *text)
{
	const char *p = scan_key(text, "NVME_AEN="), *end;
	uint64_t value, ctrl;
	struct ft_fields f;

	rec->kind = REC_ASYNC_EVENT;
	rec->has |= HAS_DW0 | HAS_QID;
	if (p == NULL) {
		if (!ft_fields(&f, text) || !ft_saw(&f, FT(RESULT)))
			return false;
		value = f.v[FT_RESULT];
		ctrl = f.v[FT_CTRL];
		rec->has |= ft_saw(&f, FT(CTRL)) ? HAS_CTRLR : 0;
	} else {
		if (!scan_number(&p, 0, 0xffffffff, &value) || !scan_literal(&p, " [") ||
		    (end = strchr(p, ']')) == NULL)
			return false;
		scan_copy(rec->text, sizeof(rec->text), p, (size_t)(end - p));
		p = text;
		if (scan_literal(&p, "nvme") && scan_number(&p, 10, 0x7fffffff, &ctrl))
			rec->has |= HAS_CTRLR;
		else
			ctrl = 0;
	}
	rec->ctrlr = (uint32_t)ctrl;
	rec->cpl.cdw0 = (uint32_t)value;
	return true;
}

static bool ft_event(struct ft_state *st, struct rec *rec, enum ft_event event, char *text)
{
	const char *p = text + strspn(text, " ");
	struct ft_fields f;

	if (scan_literal(&p, "[FAILED TO PARSE]"))
		p += strspn(p, " ");
	text += p - text;
	if (event == FT_AER)
		return ft_async(rec, text);
	if (!ft_fields(&f, text))
		return false;
	rec->has |= HAS_QID | (ft_saw(&f, FT(CTRL)) ? HAS_CTRLR : 0);
	rec->ctrlr = (uint32_t)f.v[FT_CTRL];
	rec->qid = (uint16_t)f.v[FT_QID];
	switch (event) {
	case FT_COMPLETE:
		return ft_complete(st, rec, &f);
	case FT_SQ:
		return ft_queue(rec, &f);
	default:
		if (!ft_setup(rec, event, &f))
			return false;
		memcpy(st->unknown, f.unknown, sizeof(st->unknown));
		return true;
	}
}

/* ---- the line ---- */

/* Which event's name and colon stand here; FT_CUT: the line ends within one. */
static enum ft_event ft_match(const char *p)
{
	size_t left = strnlen(p, 32), len;
	int i;

	for (i = 0; i < FT_CUT; i++) {
		len = strlen(ft_events[i]);
		if (strncmp(p, ft_events[i], left < len ? left : len) == 0)
			return left < len ? FT_CUT : (enum ft_event)i;
	}
	return FT_NONE;
}

/*
 * The times of latency-format, in front of the colon at end: "12us+", whose mark may also be a blank,
 * or "0.012ms (+0.002ms)". They count from the first event.
 */
static bool ft_latency(const char *line, const char *end, struct rec *rec)
{
	const char *p = end, *start;
	uint64_t value;

	if (p > line && p[-1] == ')') {
		while (p > line && *p != '(')
			p--;
		while (p > line && p[-1] == ' ')
			p--;
	} else if (p > line && strchr(" +!#*@$", p[-1]) != NULL) {
		p--;
	}
	if (p - line < 4 || p[-1] != 's' || (p[-2] != 'u' && p[-2] != 'm'))
		return false;
	for (start = p - 2; start > line && (scan_is_digit(start[-1]) || start[-1] == '.');)
		start--;
	end = start;
	for (value = 0; p[-2] == 'u' && scan_is_digit(*start) && value < UINT64_MAX / 100000;)
		value = value * 10 + (uint64_t)(*start++ - '0');
	rec->time_ns = value * 1000;
	if (p[-2] == 'm' && scan_seconds(&start, &value))
		rec->time_ns = value / 1000;
	if (start == end || start != p - 2)
		return false;
	rec->has |= HAS_TIME;
	return true;
}

/*
 * Does an event begin at p: after a time and a colon, or at the start of the line? What stands in
 * front of the time, a task's name, may be anything. Each place is looked at once.
 */
static bool ft_begins(const char *line, const char *p, struct rec *rec)
{
	const char *end, *start;

	if (p - line >= 5 && strncmp(p - 5, "nvme:", 5) == 0)
		p -= 5; /* as perf prints it */
	end = p;
	while (end > line && end[-1] == ' ')
		end--;
	if (end == line)
		return true;
	if (end == p || end[-1] != ':')
		return false;
	for (start = end - 1; start > line && (scan_is_digit(start[-1]) || start[-1] == '.');)
		start--;
	if (start == end - 1)
		return ft_latency(line, end - 1, rec);
	if (scan_seconds(&start, &rec->time_ns) && start == end - 1)
		rec->has |= HAS_TIME; /* else a clock that counts something else */
	return true;
}

static enum ft_event ft_find(char *line, struct rec *rec, char **payload)
{
	enum ft_event event;
	char *p = line;

	for (; (p = strstr(p, "nvme_")) != NULL; p++) {
		if (p > line && scan_is_word(p[-1]))
			continue;
		event = ft_match(p);
		if (event == FT_NONE || !ft_begins(line, p, rec))
			continue;
		*payload = event < FT_CUT ? p + strlen(ft_events[event]) : p;
		return event;
	}
	return FT_NONE;
}

/* "CPU:1 [LOST 23 EVENTS]" of the kernel, "CPU:1 [23 EVENTS DROPPED]" of trace-cmd. */
static bool ft_lost_on_cpu(const char *p, uint64_t *cpu, uint64_t *count)
{
	*count = 0;
	if (!scan_literal(&p, "CPU:") || !scan_number(&p, 10, 0xffff, cpu) ||
	    !scan_literal(&p, " ["))
		return false;
	if (scan_literal(&p, "LOST "))
		return scan_literal(&p, "EVENTS]") ||
		       (scan_number(&p, 10, UINT32_MAX, count) && scan_literal(&p, " EVENTS]"));
	return scan_literal(&p, "EVENTS DROPPED]") ||
	       (scan_number(&p, 10, UINT32_MAX, count) && scan_literal(&p, " EVENTS DROPPED]"));
}

/* What says that events are missing: true, and a note. */
static bool ft_lost(struct reader *rd, struct rec *rec, const char *line, uint64_t number)
{
	uint64_t cpu, kept, count;

	if (ft_lost_on_cpu(line, &cpu, &count)) {
		scan_begin(rec, REC_NOTE, number);
		rec->has = HAS_GAP;
		snprintf(rec->text, sizeof(rec->text),
		         count != 0 ? "CPU %u: %" PRIu64 " events are lost here"
		                    : "CPU %u: events are lost here",
		         (unsigned)cpu, count);
		rd->dropped += count != 0 ? count : 1;
		return true;
	}
	if (!scan_literal(&line, "# entries-in-buffer/entries-written: ") ||
	    !scan_number(&line, 10, UINT64_MAX, &kept) || *line++ != '/' ||
	    !scan_number(&line, 10, UINT64_MAX, &count) || count <= kept)
		return false;
	scan_begin(rec, REC_NOTE, number);
	snprintf(rec->text, sizeof(rec->text),
	         "the trace buffer was full: the first %" PRIu64 " of %" PRIu64
	         " events are overwritten",
	         count - kept, count);
	rd->dropped += count - kept;
	return true;
}

static int ft_open(struct reader *rd)
{
	rd->state = calloc(1, sizeof(struct ft_state));
	return rd->state != NULL ? 0 : -ENOMEM;
}

static void ft_close(struct reader *rd)
{
	free(rd->state);
	rd->state = NULL;
}

static bool ft_names_event(const char *line)
{
	const char *p = line;

	for (; (p = strstr(p, "nvme_")) != NULL; p++)
		if ((p == line || !scan_is_word(p[-1])) && ft_match(p) < FT_CUT)
			return true;
	return false;
}

/* There were events, and not one of them could be read. */
static int ft_decline(struct reader *rd, struct rec *rec)
{
	struct ft_state *st = rd->state;

	scan_begin(rec, REC_DAMAGE, st->line.number);
	snprintf(rec->text, sizeof(rec->text),
	         "the events in %" PRIu64 " lines do not stand behind a time and a colon: switch "
	         "off what changes that, as options/latency-format does, and record again",
	         st->strange);
	st->strange = 0;
	rd->damaged++;
	return 1;
}

static int ft_next(struct reader *rd, struct rec *rec)
{
	struct ft_state *st = rd->state;
	enum ft_event event;
	char *payload = NULL;
	int status;

	if (st->has_note) {
		*rec = st->note;
		st->has_note = false;
		return 1;
	}
	while ((status = scan_line(rd, &st->line)) == 1) {
		st->unknown[0] = '\0';
		if (ft_lost(rd, rec, st->line.text, st->line.number))
			return 1;
		if (st->line.text[0] == '#' || strstr(st->line.text, "nvme_") == NULL)
			continue;
		scan_begin(rec, REC_NOTE, st->line.number);
		event = ft_find(st->line.text, rec, &payload);
		st->strange += event == FT_NONE && ft_names_event(st->line.text);
		if (event == FT_NONE)
			continue;
		st->events++;
		if (event == FT_CUT)
			return scan_damage(rd, rec, &st->line, "an event that is cut off");
		if (!ft_event(st, rec, event, payload)) {
			st->has_note = false;
			return scan_damage(rd, rec, &st->line, "an event that does not parse");
		}
		if (st->unknown[0] != '\0' && rd->fields++ == 0)
			snprintf(rd->fields_what, sizeof(rd->fields_what),
			         "the first is %s in line %" PRIu64, st->unknown, st->line.number);
		return 1;
	}
	return status == 0 && st->events == 0 && st->strange != 0 ? ft_decline(rd, rec) : status;
}

/* ---- probing ---- */

static enum ft_event ft_probe_event(const char *line)
{
	char copy[1024], *payload;
	struct rec rec;

	rec.has = 0;
	snprintf(copy, sizeof(copy), "%s", line);
	return ft_find(copy, &rec, &payload);
}

/* "TASK-PID [CPU] FLAGS TIME: EVENT: ...": a trace, be it of something else. */
static bool ft_is_trace_line(const char *line)
{
	const char *p = strstr(line, " [");
	uint64_t number;

	if (p == NULL)
		return false;
	p += 2;
	if (!scan_number(&p, 10, 0xffff, &number) || !scan_literal(&p, "] "))
		return false;
	p += strspn(p, " ");
	if (!scan_is_digit(*p)) {
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	return scan_seconds(&p, &number) && *p == ':';
}

static int ft_probe_line(const char *line)
{
	if (strncmp(line, "# tracer: ", 10) == 0)
		return 90;
	if (strstr(line, "[FAILED TO PARSE]") != NULL)
		return ft_is_trace_line(line) ? 40 : 0;
	if (ft_probe_event(line) < FT_CUT)
		return 95;
	return ft_is_trace_line(line) ? 50 : 0;
}

static int ft_probe(const uint8_t *head, size_t len)
{
	return scan_probe(head, len, ft_probe_line);
}

static int tracecmd_probe_line(const char *line)
{
	const char *p = line;
	uint64_t cpus;

	if (scan_literal(&p, "cpus=") && scan_number(&p, 10, 0xffff, &cpus) && *p == '\0')
		return 96;
	if (strstr(line, "[FAILED TO PARSE]") != NULL && ft_is_trace_line(line))
		return ft_probe_event(line) < FT_CUT ? 98 : 60;
	return 0;
}

#define TRACE_DAT_MAGIC "\x17\x08\x44tracing"

static bool tracecmd_is_binary(const uint8_t *head, size_t len)
{
	return len >= sizeof(TRACE_DAT_MAGIC) - 1 &&
	       memcmp(head, TRACE_DAT_MAGIC, sizeof(TRACE_DAT_MAGIC) - 1) == 0;
}

static int tracecmd_probe(const uint8_t *head, size_t len)
{
	return tracecmd_is_binary(head, len) ? 100 : scan_probe(head, len, tracecmd_probe_line);
}

/* trace-cmd's own file is for trace-cmd; say so instead of finding nothing in it. */
static int tracecmd_next(struct reader *rd, struct rec *rec)
{
	struct ft_state *st = rd->state;
	int status;

	if (st->line.number != 0 || st->has_note)
		return ft_next(rd, rec);
	if (!tracecmd_is_binary(rd->head + rd->head_at, rd->head_len - rd->head_at))
		return ft_next(rd, rec);
	scan_begin(rec, REC_DAMAGE, 1);
	snprintf(rec->text, sizeof(rec->text),
	         "this is trace-cmd's binary file: decode what 'trace-cmd report' prints of it");
	rd->damaged++;
	while ((status = scan_line(rd, &st->line)) == 1)
		;
	return status < 0 ? status : 1;
}

const struct reader_ops ftrace_reader = {
	.input = INPUT_FTRACE,
	.name = "ftrace",
	.probe = ft_probe,
	.open = ft_open,
	.next = ft_next,
	.close = ft_close,
};

const struct reader_ops tracecmd_reader = {
	.input = INPUT_TRACECMD,
	.name = "tracecmd",
	.probe = tracecmd_probe,
	.open = ft_open,
	.next = tracecmd_next,
	.close = ft_close,
};
