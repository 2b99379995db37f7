// SPDX-License-Identifier: MIT
/*
 * What commands, completions and registers say, field by field: what -H and --explain print. The
 * fields of commands and registers are those of nvme.h; here are what a command is for, where the
 * specification describes it, and what values mean.
 *
 * A place in the specification is cited with its section number where that is certain, otherwise
 * by title alone, as numbers move between revisions.
 */
#include "fields.h"
#include "feat.h"
#include "words.h"

/* What a command is for, in the words after "It", and where the specification describes it. */
struct command {
	uint8_t opc;
	const char *purpose, *citation;
};

static const struct command admin_commands[] = {
	{NVME_OPC_DELETE_IO_SQ, "deletes an I/O submission queue",
         "[Base 2.1: Delete I/O Submission Queue command]"},
	{NVME_OPC_CREATE_IO_SQ,
         "creates an I/O submission queue, whose completion queue must be there already",
         "[Base 2.1 §5.2.2: Create I/O Submission Queue command]"},
	{NVME_OPC_GET_LOG_PAGE, "reads a log page of the controller",
         "[Base 2.1 §5.1.12: Get Log Page command]"},
	{NVME_OPC_DELETE_IO_CQ,
         "deletes an I/O completion queue, whose submission queues must be gone already",
         "[Base 2.1: Delete I/O Completion Queue command]"},
	{NVME_OPC_CREATE_IO_CQ, "creates an I/O completion queue",
         "[Base 2.1 §5.2.1: Create I/O Completion Queue command]"},
	{NVME_OPC_IDENTIFY, "asks what the controller, a namespace or the NVM subsystem is",
         "[Base 2.1 §5.1.13: Identify command]"},
	{NVME_OPC_ABORT, "asks the controller to give up another command",
         "[Base 2.1: Abort command]"},
	{NVME_OPC_SET_FEATURES, "sets a feature of the controller",
         "[Base 2.1: Set Features command]"},
	{NVME_OPC_GET_FEATURES, "asks for the setting of a feature",
         "[Base 2.1: Get Features command]"},
	{NVME_OPC_ASYNC_EVENT_REQUEST,
         "waits, perhaps for ever, until the controller has an event to tell",
         "[Base 2.1: Asynchronous Event Request command]"},
	{NVME_OPC_NS_MANAGEMENT, "creates or deletes a namespace",
         "[Base 2.1: Namespace Management command]"},
	{NVME_OPC_FIRMWARE_COMMIT, "puts downloaded firmware into use",
         "[Base 2.1: Firmware Commit command]"},
	{NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD, "hands over a part of a firmware image",
         "[Base 2.1: Firmware Image Download command]"},
	{NVME_OPC_DEVICE_SELF_TEST, "starts or stops a self-test",
         "[Base 2.1: Device Self-test command]"},
	{NVME_OPC_NS_ATTACHMENT, "attaches a namespace to controllers or detaches it",
         "[Base 2.1: Namespace Attachment command]"},
	{NVME_OPC_KEEP_ALIVE, "tells the controller that the host still lives",
         "[Base 2.1: Keep Alive command]"},
	{NVME_OPC_DIRECTIVE_SEND, "sends data of a directive",
         "[Base 2.1: Directive Send command]"},
	{NVME_OPC_DIRECTIVE_RECEIVE, "fetches data of a directive",
         "[Base 2.1: Directive Receive command]"},
	{NVME_OPC_VIRTUALIZATION_MANAGEMENT,
         "distributes resources among primary and secondary controllers",
         "[Base 2.1: Virtualization Management command]"},
	{NVME_OPC_NVME_MI_SEND, "sends a command of the management interface",
         "[Base 2.1: NVMe-MI Send command]"},
	{NVME_OPC_NVME_MI_RECEIVE, "fetches an answer of the management interface",
         "[Base 2.1: NVMe-MI Receive command]"},
	{NVME_OPC_DOORBELL_BUFFER_CONFIG,
         "names memory that stands in for the doorbells (PRP1) and for event indexes (PRP2)",
         "[Base 2.1: Doorbell Buffer Config command]"},
	{NVME_OPC_FORMAT_NVM, "formats: all data are lost", "[Base 2.1: Format NVM command]"},
	{NVME_OPC_SECURITY_SEND, "sends data of a security protocol",
         "[Base 2.1: Security Send command]"},
	{NVME_OPC_SECURITY_RECEIVE, "fetches data of a security protocol",
         "[Base 2.1: Security Receive command]"},
	{NVME_OPC_SANITIZE, "starts to erase all data for good", "[Base 2.1: Sanitize command]"},
	{NVME_OPC_GET_LBA_STATUS, "asks which blocks may be unreadable",
         "[NVM 1.1: Get LBA Status command]"},
};

static const struct command io_commands[] = {
	{NVME_OPC_FLUSH, "puts what the controller has cached on the medium",
         "[Base 2.1 §7.2: Flush command]"},
	{NVME_OPC_WRITE, "writes blocks: the controller fetches the data from memory",
         "[NVM 1.1 §3.3.6: Write command]"},
	{NVME_OPC_READ, "reads blocks: the controller puts the data into memory",
         "[NVM 1.1 §3.3.4: Read command]"},
	{NVME_OPC_WRITE_UNCORRECTABLE, "marks blocks as unreadable until they are written again",
         "[NVM 1.1: Write Uncorrectable command]"},
	{NVME_OPC_COMPARE, "compares blocks with data in memory", "[NVM 1.1: Compare command]"},
	{NVME_OPC_WRITE_ZEROES, "sets blocks to zero without a transfer of data",
         "[NVM 1.1: Write Zeroes command]"},
	{NVME_OPC_DATASET_MANAGEMENT,
         "says how ranges of blocks are used, or that they are not (deallocate)",
         "[NVM 1.1: Dataset Management command]"},
	{NVME_OPC_VERIFY, "checks that blocks can be read, without a transfer of data",
         "[NVM 1.1: Verify command]"},
	{NVME_OPC_RESERVATION_REGISTER, "registers a key for reservations, or removes it",
         "[Base 2.1: Reservation Register command]"},
	{NVME_OPC_RESERVATION_REPORT, "asks who has registered and reserved",
         "[Base 2.1: Reservation Report command]"},
	{NVME_OPC_RESERVATION_ACQUIRE, "reserves a namespace",
         "[Base 2.1: Reservation Acquire command]"},
	{NVME_OPC_RESERVATION_RELEASE, "gives a reservation up",
         "[Base 2.1: Reservation Release command]"},
	{NVME_OPC_COPY, "copies blocks within the controller", "[NVM 1.1: Copy command]"},
	{NVME_OPC_ZONE_MANAGEMENT_SEND, "changes the state of a zone",
         "[ZNS: Zone Management Send command]"},
	{NVME_OPC_ZONE_MANAGEMENT_RECEIVE, "asks for the state of zones",
         "[ZNS: Zone Management Receive command]"},
	{NVME_OPC_ZONE_APPEND, "writes at the write pointer of a zone",
         "[ZNS: Zone Append command]"},
};

static const struct command fabric_command = {NVME_OPC_FABRIC, "is a command of NVMe over Fabrics",
                                              "[Base 2.1: Fabrics Command Set]"};

static const struct command *find_command(uint16_t qid, uint8_t opc)
{
	const struct command *c = qid == 0 ? admin_commands : io_commands;
	size_t n =
		qid == 0 ? sizeof(admin_commands) / sizeof(*c) : sizeof(io_commands) / sizeof(*c);
	size_t i;

	if (opc == NVME_OPC_FABRIC)
		return &fabric_command;
	for (i = 0; i < n; i++)
		if (c[i].opc == opc)
			return &c[i];
	return NULL;
}

const char *opc_citation(uint16_t qid, uint8_t opc)
{
	const struct command *c = find_command(qid, opc);

	return c != NULL  ? c->citation
	       : qid == 0 ? "[Base 2.1: Admin Command Set]"
	                  : "[Base 2.1: I/O Commands]";
}

uint32_t cmd_dword(const struct nvme_cmd *cmd, unsigned n)
{
	const struct nvme_cmd_field all = {(uint8_t)n, 31, 0, "CDW", "Command Dword"};

	return (uint32_t)nvme_cmd_field_get(&all, cmd);
}

/* ---- what a value means ---- */

static const char *code_text(const char *const *names, size_t count, uint64_t value)
{
	return value < count ? names[value] : "reserved";
}

#define CODE(names, value) code_text(names, sizeof(names) / sizeof((names)[0]), value)

/* Four bits, each of which says something: PRACT, then what is checked (PRCHK). */
static int protection_value(char *buf, size_t size, uint64_t v)
{
	static const char *const bits[] = {"PRACT", "check guard", "check app tag",
	                                   "check ref tag"};
	int n = snprintf(buf, size, "%s", ""), i;

	for (i = 0; i < 4; i++)
		if ((v << i & 8) != 0)
			n += snprintf(buf + n, size - (size_t)n, "%s%s", n > 0 ? ", " : "",
			              bits[i]);
	return n;
}

/* Names that mean the same in every command: sizes and counts are 0-based. */
static int common_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint64_t v)
{
	static const char *const priorities[] = {"urgent", "high", "medium", "low"};
	static const char *const select[] = {"current", "default", "saved",
	                                     "supported capabilities"};
	static const char *const yes_no[] = {"FUA", "LR",  "RAE", "SV",   "AD",     "IDR",
	                                     "IDW", "IEN", "PC",  "DEAC", "SELALL", "PR"};
	const char *n = f->name;
	size_t i;

	for (i = 0; i < sizeof(yes_no) / sizeof(yes_no[0]); i++)
		if (strcmp(n, yes_no[i]) == 0)
			return snprintf(buf, size, "%s", v ? "yes" : "no");
	if (strcmp(n, "QSIZE") == 0)
		return snprintf(buf, size, "%" PRIu64 " entries", v + 1);
	if (strncmp(n, "PRINFO", 6) == 0)
		return protection_value(buf, size, v);
	if (strcmp(n, "NLB") == 0)
		return snprintf(buf, size, "%" PRIu64 " block%s", v + 1, v != 0 ? "s" : "");
	if (strcmp(n, "NR") == 0 && f->hi == 7)
		return snprintf(buf, size, "%" PRIu64 " range%s", v + 1, v != 0 ? "s" : "");
	if (strcmp(n, "SLBA") == 0 || strcmp(n, "SDLBA") == 0 || strcmp(n, "ZSLBA") == 0)
		return snprintf(buf, size, "block %" PRIu64, v);
	if (strcmp(n, "CNS") == 0)
		return snprintf(buf, size, "%s", nvme_cns_name((uint8_t)v));
	if (strcmp(n, "LID") == 0)
		return snprintf(buf, size, "%s", nvme_log_page_name((uint8_t)v));
	if (strcmp(n, "FID") == 0)
		return snprintf(buf, size, "%s", nvme_feat_full_name((uint8_t)v));
	if (strcmp(n, "QPRIO") == 0)
		return snprintf(buf, size, "%s", CODE(priorities, v));
	if (strcmp(n, "SEL") == 0 && f->hi == 10)
		return snprintf(buf, size, "%s", CODE(select, v));
	if (strcmp(n, "CSI") == 0)
		return snprintf(buf, size, "%s", nvme_csi_name((uint8_t)v));
	return -1;
}

/* What is done with a zone, and what is reported of which. */
static int zone_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint64_t v)
{
	static const char *const reports[] = {"report", "extended report"};
	static const char *const lists[] = {"all zones",         "empty",  "implicitly opened",
	                                    "explicitly opened", "closed", "full",
	                                    "read only",         "offline"};

	if (strcmp(f->name, "ZSA") == 0)
		return snprintf(buf, size, "%s", nvme_zone_action_name((uint8_t)v));
	if (strcmp(f->name, "ZRA") == 0)
		return snprintf(buf, size, "%s", CODE(reports, v));
	if (strcmp(f->name, "ZRASF") == 0)
		return snprintf(buf, size, "%s", CODE(lists, v));
	if (strcmp(f->name, "NUMD") == 0)
		return snprintf(buf, size, "%" PRIu64 " bytes", v * 4 + 4);
	return -1;
}

/* What is done: the field that says which of its deeds a command is to do. */
static int action_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint8_t opc,
                        uint64_t v)
{
	static const char *const commit[] = {
		"put the image into the slot, do not activate it",
		"put the image into the slot, activate it at the next reset",
		"activate the slot at the next reset",
		"put the image into the slot and activate it now",
		"reserved",
		"reserved",
		"replace a boot partition",
		"activate a boot partition",
	};
	static const char *const create[] = {"create", "delete"};
	static const char *const attach[] = {"attach", "detach"};
	static const char *const test[] = {"reserved", "short self-test", "extended self-test"};

	if (strcmp(f->name, "CA") == 0)
		return snprintf(buf, size, "%s", CODE(commit, v));
	if (strcmp(f->name, "STC") == 0)
		return snprintf(buf, size, "%s",
		                v == 15   ? "abort the self-test"
		                : v == 14 ? "vendor specific"
		                          : CODE(test, v));
	if (strcmp(f->name, "SEL") != 0)
		return -1;
	return snprintf(buf, size, "%s",
	                opc == NVME_OPC_NS_MANAGEMENT ? CODE(create, v) : CODE(attach, v));
}

static int reservation_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint64_t v)
{
	static const char *const types[] = {
		"reserved",
		"write exclusive",
		"exclusive access",
		"write exclusive, registrants only",
		"exclusive access, registrants only",
		"write exclusive, all registrants",
		"exclusive access, all registrants",
	};
	static const char *const reg[] = {"register", "unregister", "replace"};
	static const char *const acquire[] = {"acquire", "preempt", "preempt and abort"};
	static const char *const release[] = {"release", "clear"};
	static const char *const persist[] = {"no change", "reserved", "gone with the power",
	                                      "kept without power"};

	if (strcmp(f->name, "RTYPE") == 0)
		return snprintf(buf, size, "%s", CODE(types, v));
	if (strcmp(f->name, "RREGA") == 0)
		return snprintf(buf, size, "%s", CODE(reg, v));
	if (strcmp(f->name, "RACQA") == 0)
		return snprintf(buf, size, "%s", CODE(acquire, v));
	if (strcmp(f->name, "RRELA") == 0)
		return snprintf(buf, size, "%s", CODE(release, v));
	if (strcmp(f->name, "CPTPL") == 0)
		return snprintf(buf, size, "%s", CODE(persist, v));
	if (strcmp(f->name, "IEKEY") == 0 || strcmp(f->name, "EDS") == 0)
		return snprintf(buf, size, "%s", v != 0 ? "yes" : "no");
	return -1;
}

/* Values that need the rest of the command, or mean something in one command only. */
static int special_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint16_t qid,
                         const struct nvme_cmd *cmd, uint64_t v)
{
	static const char *const erase[] = {"no secure erase", "user data erase",
	                                    "cryptographic erase"};
	static const char *const sanact[] = {"reserved",     "exit failure mode",
	                                     "block erase",  "overwrite",
	                                     "crypto erase", "exit media verification"};

	int n;

	if (qid != 0) {
		n = reservation_value(buf, size, f, v);
		return n >= 0 ? n : zone_value(buf, size, f, v);
	}
	if (strcmp(f->name, "NUMDL") == 0)
		return snprintf(buf, size, "with NUMDU %" PRIu64 " bytes in all",
		                ((uint64_t)(cmd->cdw11 & 0xffff) << 16 | v) * 4 + 4);
	if (strcmp(f->name, "SES") == 0)
		return snprintf(buf, size, "%s", CODE(erase, v));
	if (strcmp(f->name, "SANACT") == 0)
		return snprintf(buf, size, "%s", CODE(sanact, v));
	return action_value(buf, size, f, cmd->opc, v);
}

int cmd_field_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint16_t qid,
                    const struct nvme_cmd *cmd)
{
	uint64_t v = nvme_cmd_field_get(f, cmd);
	int n = common_value(buf, size, f, v);

	if (n < 0)
		n = special_value(buf, size, f, qid, cmd, v);
	if (n < 0)
		n = snprintf(buf, size, "%s", "");
	return n;
}

/* ---- -H ---- */

static void put_bit_line(FILE *out, unsigned hi, unsigned lo, const char *name, uint64_t value,
                         const char *text)
{
	fprintf(out, "      [%u:%u] %s : %s%" PRIx64 "%s%s\n", hi, lo, name, value ? "0x" : "",
	        value, *text != '\0' ? " " : "", text);
}

static void put_heading(FILE *out, const char *name, uint64_t value, int digits)
{
	fprintf(out, "    %s %0*" PRIx64 "\n", name, digits, value);
}

static bool known(const struct rec *rec, uint32_t what)
{
	return (rec->cmd_have & what) == what;
}

static void put_cdw0(FILE *out, const struct rec *rec)
{
	static const char *const fuse[] = {"normal", "first of a fused pair",
	                                   "second of a fused pair"};
	static const char *const psdt[] = {"PRP", "SGL", "SGL, metadata too"};
	const struct nvme_cmd *c = &rec->cmd;

	if (!known(rec, HAVE_OPC))
		return;
	if (known(rec, HAVE_FLAGS))
		put_heading(out, "CDW0", cmd_dword(c, 0), 8);
	else
		fprintf(out, "    CDW0\n");
	put_bit_line(out, 31, 16, "CID", c->cid, "");
	if (known(rec, HAVE_FLAGS)) {
		put_bit_line(out, 15, 14, "PSDT", NVME_GET(c->flags, NVME_CMD_PSDT),
		             CODE(psdt, NVME_GET(c->flags, NVME_CMD_PSDT)));
		put_bit_line(out, 9, 8, "FUSE", NVME_GET(c->flags, NVME_CMD_FUSE),
		             CODE(fuse, NVME_GET(c->flags, NVME_CMD_FUSE)));
	}
	put_bit_line(out, 7, 0, "OPC", c->opc, nvme_opc_full_name(rec->qid, c->opc));
}

static void put_sgl(FILE *out, const struct nvme_sgl_desc *sgl)
{
	uint8_t type = (uint8_t)NVME_GET(sgl->id, NVME_SGL_TYPE),
		sub = (uint8_t)NVME_GET(sgl->id, NVME_SGL_SUBTYPE);

	fprintf(out, "    SGL1\n");
	put_bit_line(out, 127, 124, "TYPE", type, nvme_sgl_type_name(type));
	put_bit_line(out, 123, 120, "SUBTYPE", sub, nvme_sgl_subtype_name(sub));
	put_bit_line(out, 95, 64, "LEN", sgl->len, "");
	put_bit_line(out, 63, 0, "ADDR", sgl->addr, "");
}

static void put_pointers(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;
	bool sgl = NVME_GET(c->flags, NVME_CMD_PSDT) != NVME_PSDT_PRP;

	if (known(rec, HAVE_MPTR) && c->mptr != 0)
		put_heading(out, "MPTR", c->mptr, 16);
	if (sgl && known(rec, HAVE_DPTR1 | HAVE_DPTR2)) {
		put_sgl(out, &c->dptr.sgl);
		return;
	}
	if (known(rec, HAVE_DPTR1))
		put_heading(out, "PRP1", c->dptr.prp.prp1, 16);
	if (known(rec, HAVE_DPTR2))
		put_heading(out, "PRP2", c->dptr.prp.prp2, 16);
}

/* Is all of this field in what the source carries? */
static bool field_known(const struct rec *rec, const struct nvme_cmd_field *f)
{
	if (strcmp(f->name, "NLB") == 0 && known(rec, HAVE_NLB))
		return true;
	return known(rec, HAVE_DW(f->dword)) && (f->hi < 32 || known(rec, HAVE_DW(f->dword + 1)));
}

/* Of Set Features; what Get Features has there is in the completion, and here for a few only. */
static void put_feature_bits(FILE *out, const struct nvme_cmd *cmd, uint32_t value)
{
	const struct nvme_cmd_field *f = feature_fields(cmd);
	char text[160];

	for (; f->name != NULL; f++) {
		uint32_t v = (uint32_t)nvme_bits(value, f->hi, f->lo);

		feature_value(text, sizeof(text), f, v);
		put_bit_line(out, f->hi, f->lo, f->name, v, text);
	}
}

static bool sets_feature(const struct rec *rec)
{
	return rec->qid == 0 && rec->cmd.opc == NVME_OPC_SET_FEATURES && known(rec, HAVE_DW(10));
}

static void put_fields(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd_field *f = nvme_cmd_fields(rec->qid, rec->cmd.opc);
	uint32_t named = 0;
	char text[160], name[16];
	unsigned dw;

	for (; f->name != NULL; f++) {
		if (!field_known(rec, f))
			continue;
		if ((named & HAVE_DW(f->dword)) == 0) {
			snprintf(name, sizeof(name), "CDW%u", (unsigned)f->dword);
			if (known(rec, HAVE_DW(f->dword)))
				put_heading(out, name, cmd_dword(&rec->cmd, f->dword), 8);
			else
				fprintf(out, "    %s\n", name);
		}
		named |= HAVE_DW(f->dword) | (f->hi > 31 ? HAVE_DW(f->dword + 1) : 0);
		cmd_field_value(text, sizeof(text), f, rec->qid, &rec->cmd);
		if (strcmp(f->name, "CDW11") == 0 && sets_feature(rec) &&
		    feature_fields(&rec->cmd)->name != NULL)
			put_feature_bits(out, &rec->cmd, rec->cmd.cdw11);
		else
			put_bit_line(out, f->hi, f->lo, f->name, nvme_cmd_field_get(f, &rec->cmd),
			             text);
	}
	for (dw = 10; dw < 16; dw++) { /* what has no name but a value */
		snprintf(name, sizeof(name), "CDW%u", dw);
		if (known(rec, HAVE_DW(dw)) && (named & HAVE_DW(dw)) == 0 &&
		    cmd_dword(&rec->cmd, dw) != 0)
			put_heading(out, name, cmd_dword(&rec->cmd, dw), 8);
	}
}

static void put_command_bits(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;

	put_cdw0(out, rec);
	if (known(rec, HAVE_OPC | HAVE_NSID) && c->opc == NVME_OPC_FABRIC) {
		put_heading(out, "CDW1", c->nsid, 8);
		put_bit_line(out, 7, 0, "FCTYPE", c->nsid & 0xff,
		             nvme_fabrics_full_name((uint8_t)(c->nsid & 0xff)));
	} else if (known(rec, HAVE_NSID)) {
		put_heading(out, "NSID", c->nsid, 8);
	}
	if (known(rec, HAVE_DW(2)) && c->cdw2 != 0)
		put_heading(out, "CDW2", c->cdw2, 8);
	if (known(rec, HAVE_DW(3)) && c->cdw3 != 0)
		put_heading(out, "CDW3", c->cdw3, 8);
	put_pointers(out, rec);
	put_fields(out, rec);
}

/* What an Asynchronous Event Request was completed for. */
static void put_event(FILE *out, uint32_t dw0)
{
	uint8_t type = (uint8_t)NVME_GET(dw0, NVME_AER_TYPE);
	uint8_t info = (uint8_t)NVME_GET(dw0, NVME_AER_INFO);
	uint8_t lid = (uint8_t)NVME_GET(dw0, NVME_AER_LID);

	put_bit_line(out, 23, 16, "LID", lid, nvme_log_page_name(lid));
	put_bit_line(out, 15, 8, "INFO", info, nvme_aer_info_name(type, info));
	put_bit_line(out, 2, 0, "TYPE", type, nvme_aer_type_name(type));
}

/* DW0 of the few commands whose result has fields. */
static void put_result(FILE *out, const struct rec *rec)
{
	uint32_t dw0 = rec->cpl.cdw0;
	char text[48];

	put_heading(out, "DW0", dw0, 8);
	if (rec->qid == 0 && (rec->of_have & HAVE_OPC) != 0 &&
	    rec->of.opc == NVME_OPC_ASYNC_EVENT_REQUEST && !nvme_cpl_is_error(&rec->cpl))
		put_event(out, dw0);
	if (!(rec->of_have & HAVE_DW(10)) || rec->qid != 0)
		return;
	if ((rec->of.opc == NVME_OPC_SET_FEATURES || rec->of.opc == NVME_OPC_GET_FEATURES) &&
	    NVME_GET(rec->of.cdw10, NVME_FEATURES_FID) == NVME_FEAT_NUMBER_OF_QUEUES) {
		snprintf(text, sizeof(text), "%" PRIu32 " completion queues", (dw0 >> 16) + 1);
		put_bit_line(out, 31, 16, "NCQA", dw0 >> 16, text);
		snprintf(text, sizeof(text), "%" PRIu32 " submission queues", (dw0 & 0xffff) + 1);
		put_bit_line(out, 15, 0, "NSQA", dw0 & 0xffff, text);
	} else if (rec->of.opc == NVME_OPC_GET_FEATURES && !nvme_cpl_is_error(&rec->cpl) &&
	           NVME_GET(rec->of.cdw10, NVME_GET_FEATURES_SEL) != 3) {
		put_feature_bits(out, &rec->of, dw0);
	}
}

/* The same status code means something else as the answer to a fabrics command. */
static const char *status_name(const struct rec *rec)
{
	return nvme_status_full_name((uint8_t)NVME_GET(rec->cpl.status, NVME_CPL_SCT),
	                             (uint8_t)NVME_GET(rec->cpl.status, NVME_CPL_SC),
	                             (rec->of_have & HAVE_OPC) ? rec->of.opc : 0);
}

/* Does it tell, in dwords 0 and 1, where a Zone Append has put its blocks? */
static bool says_where(const struct rec *rec)
{
	return (rec->has & HAS_DW0) && (rec->has & HAS_DW1) && (rec->of_have & HAVE_OPC) &&
	       rec->qid != 0 && rec->of.opc == NVME_OPC_ZONE_APPEND &&
	       !nvme_cpl_is_error(&rec->cpl);
}

static uint64_t appended_at(const struct nvme_cpl *c)
{
	return (uint64_t)c->cdw1 << 32 | c->cdw0;
}

static void put_completion_bits(FILE *out, const struct rec *rec)
{
	const struct nvme_cpl *c = &rec->cpl;
	uint8_t sct = (uint8_t)NVME_GET(c->status, NVME_CPL_SCT),
		sc = (uint8_t)NVME_GET(c->status, NVME_CPL_SC);

	if (rec->has & HAS_DW0)
		put_result(out, rec);
	if (rec->has & HAS_DW1)
		put_heading(out, "DW1", c->cdw1, 8);
	if (says_where(rec))
		put_bit_line(out, 63, 0, "ALBA", appended_at(c),
		             "the first block that was written");
	if (rec->has & (HAS_SQID | HAS_SQHD))
		fprintf(out, "    DW2\n");
	if (rec->has & HAS_SQID)
		put_bit_line(out, 31, 16, "SQID", c->sqid, "");
	if (rec->has & HAS_SQHD)
		put_bit_line(out, 15, 0, "SQHD", c->sqhd, "");
	fprintf(out, "    DW3\n");
	if (rec->has & HAS_FLAGS) {
		put_bit_line(out, 31, 31, "DNR", NVME_GET(c->status, NVME_CPL_DNR),
		             NVME_GET(c->status, NVME_CPL_DNR) ? "do not retry" : "");
		put_bit_line(out, 30, 30, "M", NVME_GET(c->status, NVME_CPL_M),
		             NVME_GET(c->status, NVME_CPL_M) ? "more in the error log" : "");
		put_bit_line(out, 29, 28, "CRD", NVME_GET(c->status, NVME_CPL_CRD), "");
	}
	if (rec->has & HAS_STATUS) {
		put_bit_line(out, 27, 25, "SCT", sct, nvme_sct_name(sct));
		put_bit_line(out, 24, 17, "SC", sc, status_name(rec));
	}
	if (rec->has & HAS_PHASE)
		put_bit_line(out, 16, 16, "P", NVME_GET(c->status, NVME_CPL_P), "");
	put_bit_line(out, 15, 0, "CID", c->cid, "");
}

/*
 * 64-bit registers are accessed in halves: of their fields those are shown that lie in bits hi:lo,
 * where the record's value stands in *whole.
 */
static const struct nvme_field *reg_part(const struct rec *rec, unsigned *lo, unsigned *hi,
                                         uint64_t *whole)
{
	uint32_t offset = rec->reg.offset;
	bool upper = offset >= 4 && nvme_reg_size(offset - 4) == 8 && offset < NVME_REG_DOORBELLS;

	*lo = upper ? 32 : 0;
	*hi = *lo + (rec->reg.size == 8 && !upper ? 63 : 31);
	*whole = upper ? rec->reg.value << 32 : rec->reg.value;
	return nvme_reg_fields(upper ? offset - 4 : offset);
}

static void put_reg_bits(FILE *out, const struct rec *rec)
{
	unsigned lo, hi;
	uint64_t whole;
	const struct nvme_field *f = reg_part(rec, &lo, &hi, &whole);
	char line[256];

	for (; f->name != NULL; f++) {
		if (f->lo < lo || f->hi > hi)
			continue;
		nvme_format_field(line, sizeof(line), f, whole);
		fprintf(out, "      %s\n", line);
	}
}

void print_bits(FILE *out, const struct rec *rec)
{
	switch (rec->kind) {
	case REC_COMMAND:
	case REC_CMD_AGAIN:
	case REC_DEV_FETCH:
		put_command_bits(out, rec);
		break;
	case REC_COMPLETION:
	case REC_DEV_CQE:
		put_completion_bits(out, rec);
		break;
	case REC_REG_READ:
	case REC_REG_WRITE:
		put_reg_bits(out, rec);
		break;
	default:
		break;
	}
}

/* ---- --explain ---- */

static bool makes_queue(const struct rec *rec)
{
	return rec->qid == 0 &&
	       (rec->cmd.opc == NVME_OPC_CREATE_IO_SQ || rec->cmd.opc == NVME_OPC_CREATE_IO_CQ);
}

/* By the opcode; but of the features only some have data. */
static bool moves_data(const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;

	if (rec->qid == 0 && (c->opc == NVME_OPC_SET_FEATURES || c->opc == NVME_OPC_GET_FEATURES))
		return !known(rec, HAVE_DW(10)) || feature_has_data(c);
	return NVME_GET(c->opc, NVME_OPC_DATA) != NVME_OPC_DATA_NONE;
}

static void explain_pointer(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;

	if (!moves_data(rec) || !known(rec, HAVE_DPTR1 | HAVE_DPTR2))
		return;
	if (makes_queue(rec)) {
		fprintf(out,
		        "    The queue is in host memory, from 0x%" PRIx64
		        " on, or (PC = 0) a list of its pages is there. %s\n",
		        c->dptr.prp.prp1, opc_citation(0, c->opc));
		return;
	}
	if (NVME_GET(c->flags, NVME_CMD_PSDT) != NVME_PSDT_PRP) {
		fprintf(out, "    PSDT is not 0: an SGL descriptor says where the data are. "
		             "[Base 2.1 §4.3.2: Scatter Gather List]\n");
		return;
	}
	if (c->dptr.prp.prp1 == 0 && c->dptr.prp.prp2 == 0)
		return;
	fprintf(out, "    The data are in host memory at PRP1 0x%" PRIx64, c->dptr.prp.prp1);
	if (c->dptr.prp.prp2 != 0)
		fprintf(out, "; PRP2 0x%" PRIx64 " is the second page, or a list of the others",
		        c->dptr.prp.prp2);
	fprintf(out, ". [Base 2.1 §4.3.1: Physical Region Page Entry and List]\n");
	if (known(rec, HAVE_MPTR) && c->mptr != 0)
		fprintf(out,
		        "    The metadata of the blocks is in a buffer of its own, at MPTR 0x%" PRIx64
		        ". [Base 2.1 §4.1.1, Fig. 92: Common Command Format]\n",
		        c->mptr);
}

/* What the command does, or its name at least. */
static void explain_purpose(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;
	const struct command *known_cmd = find_command(rec->qid, c->opc);

	if (known_cmd == NULL)
		fprintf(out, "    It is %s (%02xh): nvtrace knows no more of it.",
		        nvme_opc_full_name(rec->qid, c->opc), (unsigned)c->opc);
	else if (known_cmd == &fabric_command && known(rec, HAVE_NSID))
		fprintf(out, "    It %s: %s.", known_cmd->purpose,
		        nvme_fabrics_full_name((uint8_t)(c->nsid & 0xff)));
	else
		fprintf(out, "    It %s.", known_cmd->purpose);
	fprintf(out, " %s\n", opc_citation(rec->qid, c->opc));
}

/* The fields of the feature that is set; false: none are known. */
static bool explain_feature(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd_field *f = feature_fields(&rec->cmd);
	char text[160];

	if (!sets_feature(rec) || f->name == NULL)
		return false;
	for (; f->name != NULL; f++) {
		uint32_t v = (uint32_t)nvme_bits(rec->cmd.cdw11, f->hi, f->lo);

		feature_value(text, sizeof(text), f, v);
		fprintf(out, "    %s (%s) is %" PRIu32 "%s%s.\n", f->what, f->name, v,
		        text[0] != '\0' ? ": " : "", text);
	}
	return true;
}

/* Is a 0 worth a word? Where it has a name of its own, and is not just what is not asked for. */
static bool zero_says(const struct rec *rec, const struct nvme_cmd_field *f, const char *text)
{
	return (strcmp(f->name, "CDW11") == 0 && sets_feature(rec)) ||
	       (text[0] != '\0' && strcmp(text, "no") != 0 && strcmp(f->name, "QPRIO") != 0 &&
	        strcmp(f->name, "CSI") != 0 && strcmp(f->name, "RTYPE") != 0);
}

static void explain_command(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;
	const struct nvme_cmd_field *f = nvme_cmd_fields(rec->qid, c->opc);
	char text[160];

	if (rec->kind == REC_CMD_AGAIN)
		fprintf(out, "    This command has failed: it is shown once more before its "
		             "completion.\n");
	explain_purpose(out, rec);
	if (known(rec, HAVE_OPC))
		fprintf(out,
		        "    CID %u, unique among the commands outstanding on queue %u, will be "
		        "in its completion. [Base 2.1 §4.1.1, Fig. 91: Command Dword 0]\n",
		        (unsigned)c->cid, (unsigned)rec->qid);
	explain_pointer(out, rec);
	for (; f->name != NULL; f++) {
		cmd_field_value(text, sizeof(text), f, rec->qid, c);
		if (!field_known(rec, f) ||
		    (nvme_cmd_field_get(f, c) == 0 && !zero_says(rec, f, text)))
			continue;
		if (strcmp(f->name, "CDW11") == 0 && explain_feature(out, rec))
			continue;
		fprintf(out, "    %s (%s) is %" PRIu64 "%s%s.\n", f->what, f->name,
		        nvme_cmd_field_get(f, c), text[0] != '\0' ? ": " : "", text);
	}
}

static void explain_status(FILE *out, const struct rec *rec)
{
	const struct nvme_cpl *c = &rec->cpl;
	uint8_t sct = (uint8_t)NVME_GET(c->status, NVME_CPL_SCT),
		sc = (uint8_t)NVME_GET(c->status, NVME_CPL_SC);

	if (!nvme_cpl_is_error(c))
		fprintf(out, "    The command succeeded.");
	else
		fprintf(out,
		        "    The command failed: status code type %xh (%s), status code %02xh "
		        "(%s).",
		        (unsigned)sct, nvme_sct_name(sct), (unsigned)sc, status_name(rec));
	if ((rec->has & HAS_FLAGS) && NVME_GET(c->status, NVME_CPL_DNR))
		fprintf(out, " It would fail again (DNR).");
	if ((rec->has & HAS_FLAGS) && NVME_GET(c->status, NVME_CPL_M))
		fprintf(out, " The error log has more (M).");
	fprintf(out, " [Base 2.1 §4.2.3, Fig. 100: Status Field]\n");
}

static void explain_completion(FILE *out, const struct rec *rec)
{
	const struct nvme_cpl *c = &rec->cpl;

	if (rec->has & HAS_STATUS)
		explain_status(out, rec);
	if (rec->of_have & HAVE_OPC)
		fprintf(out, "    It completes the %s with CID %u.\n",
		        nvme_opc_full_name(rec->qid, rec->of.opc), (unsigned)c->cid);
	if (says_where(rec))
		fprintf(out,
		        "    The data was written from block %" PRIu64
		        " on, where the write pointer of the zone was. [ZNS: Zone Append "
		        "command]\n",
		        appended_at(c));
	if (rec->has & HAS_SQHD)
		fprintf(out,
		        "    SQHD: the controller has fetched the submission queue up to entry "
		        "%u; those before it may be used again. [Base 2.1 §4.2.1: Completion "
		        "Queue Entry]\n",
		        (unsigned)c->sqhd);
	if (rec->has & HAS_PHASE)
		fprintf(out,
		        "    P is %" PRIu32 ": this lap's mark of a new entry, the opposite of the "
		        "lap before. [Base 2.1 §4.2.4, Fig. 108: Phase Tag]\n",
		        NVME_GET(c->status, NVME_CPL_P));
}

static const char *reg_citation(uint32_t offset)
{
	static const struct {
		uint32_t offset;
		const char *text;
	} places[] = {
		{NVME_REG_CAP, "[Base 2.1 §3.1.4.1, Fig. 36: Controller Capabilities]"},
		{NVME_REG_VS, "[Base 2.1 §3.1.4.2, Fig. 37: Version]"},
		{NVME_REG_INTMS, "[Base 2.1 §3.1.4.3: Interrupt Mask Set]"},
		{NVME_REG_INTMC, "[Base 2.1 §3.1.4.4: Interrupt Mask Clear]"},
		{NVME_REG_CC, "[Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]"},
		{NVME_REG_CSTS, "[Base 2.1 §3.1.4.6, Fig. 42: Controller Status]"},
		{NVME_REG_NSSR, "[Base 2.1 §3.1.4.7, Fig. 43: NVM Subsystem Reset]"},
		{NVME_REG_AQA, "[Base 2.1 §3.1.4.8, Fig. 44: Admin Queue Attributes]"},
		{NVME_REG_ASQ, "[Base 2.1 §3.1.4.9: Admin Submission Queue Base Address]"},
		{NVME_REG_ACQ, "[Base 2.1 §3.1.4.10: Admin Completion Queue Base Address]"},
	};
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (places[i].offset == offset ||
		    (places[i].offset + 4 == offset && nvme_reg_size(places[i].offset) == 8))
			return places[i].text;
	return "[Base 2.1 §3.1.4: Controller properties]";
}

static void explain_reg(FILE *out, const struct rec *rec)
{
	uint64_t value, whole;
	unsigned lo, hi;
	const struct nvme_field *f = reg_part(rec, &lo, &hi, &whole);
	char text[128];

	fprintf(out, "    The host %s the register %s%s. %s\n",
	        rec->kind == REC_REG_READ ? "reads" : "writes",
	        nvme_reg_name(lo > 0 ? rec->reg.offset - 4 : rec->reg.offset),
	        lo > 0 ? " (its upper half)" : "", reg_citation(rec->reg.offset));
	for (; f->name != NULL; f++) {
		if (f->lo < lo || f->hi > hi)
			continue;
		value = nvme_bits(whole, f->hi, f->lo);
		nvme_format_field_value(text, sizeof(text), f, value);
		if (value != 0 || text[0] != '\0')
			fprintf(out, "    %s (%s) is %" PRIu64 "%s%s.\n", f->what, f->name, value,
			        text[0] != '\0' ? ": " : "", text);
	}
}

static void explain_other(FILE *out, const struct rec *rec)
{
	if (rec->kind == REC_DOORBELL)
		fprintf(out, "    The host tells the controller %s. [PCIe 1.1 §3.1.2.%d: %s]\n",
		        rec->doorbell.cq ? "which completions it has seen"
		                         : "that new commands stand in the queue up to here",
		        rec->doorbell.cq ? 2 : 1, rec->doorbell.cq ? "CQyHDBL" : "SQyTDBL");
	else if (rec->kind == REC_PRP)
		fprintf(out, "    The buffer as pages: one entry for each page of host memory. "
		             "[Base 2.1 §4.3.1: Physical Region Page Entry and List]\n");
}

void print_explanation(FILE *out, const struct rec *rec)
{
	switch (rec->kind) {
	case REC_COMMAND:
	case REC_CMD_AGAIN:
		explain_command(out, rec);
		break;
	case REC_COMPLETION:
		explain_completion(out, rec);
		break;
	case REC_REG_READ:
	case REC_REG_WRITE:
		explain_reg(out, rec);
		break;
	default:
		explain_other(out, rec);
		break;
	}
}
