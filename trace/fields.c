// SPDX-License-Identifier: MIT
/*
 * The fields of commands, completions and registers by their names in the specification: what -H
 * and --explain print, and what JSON and the others take their names from.
 *
 * A place in the specification is cited with its section number where that is certain, otherwise
 * by title alone, as numbers move between revisions.
 */
#include "nvtrace.h"

#define END                         \
	{                           \
		0, 0, 0, NULL, NULL \
	}
#define LIST static const struct sqe_field

/* ---- CDW10 to CDW15 of each command ---- */

LIST no_fields[] = {END};

LIST delete_q[] = {{10, 15, 0, "QID", "Queue Identifier"}, END};

LIST create_sq[] = {
	{10, 31, 16, "QSIZE", "Queue Size"},
	{10, 15, 0, "QID", "Queue Identifier"},
	{11, 31, 16, "CQID", "Completion Queue Identifier"},
	{11, 2, 1, "QPRIO", "Queue Priority"},
	{11, 0, 0, "PC", "Physically Contiguous"},
	{12, 15, 0, "NVMSETID", "NVM Set Identifier"},
	END,
};

LIST create_cq[] = {
	{10, 31, 16, "QSIZE", "Queue Size"},       {10, 15, 0, "QID", "Queue Identifier"},
	{11, 31, 16, "IV", "Interrupt Vector"},    {11, 1, 1, "IEN", "Interrupts Enabled"},
	{11, 0, 0, "PC", "Physically Contiguous"}, END,
};

LIST get_log_page[] = {
	{10, 31, 16, "NUMDL", "Number of Dwords Lower"},
	{10, 15, 15, "RAE", "Retain Asynchronous Event"},
	{10, 14, 8, "LSP", "Log Specific Parameter"},
	{10, 7, 0, "LID", "Log Page Identifier"},
	{11, 31, 16, "LSI", "Log Specific Identifier"},
	{11, 15, 0, "NUMDU", "Number of Dwords Upper"},
	{12, 63, 0, "LPO", "Log Page Offset"},
	{14, 31, 24, "CSI", "Command Set Identifier"},
	{14, 23, 23, "OT", "Offset Type"},
	{14, 6, 0, "UIDX", "UUID Index"},
	END,
};

LIST identify[] = {
	{10, 31, 16, "CNTID", "Controller Identifier"},
	{10, 7, 0, "CNS", "Controller or Namespace Structure"},
	{11, 31, 24, "CSI", "Command Set Identifier"},
	{11, 15, 0, "CNSSID", "CNS Specific Identifier"},
	{14, 6, 0, "UIDX", "UUID Index"},
	END,
};

LIST abort_cmd[] = {
	{10, 31, 16, "CID", "Command Identifier"},
	{10, 15, 0, "SQID", "Submission Queue Identifier"},
	END,
};

LIST set_features[] = {
	{10, 31, 31, "SV", "Save"},
	{10, 7, 0, "FID", "Feature Identifier"},
	{11, 31, 0, "CDW11", "Feature Specific"},
	{14, 6, 0, "UIDX", "UUID Index"},
	END,
};

LIST get_features[] = {
	{10, 10, 8, "SEL", "Select"},
	{10, 7, 0, "FID", "Feature Identifier"},
	{11, 31, 0, "CDW11", "Feature Specific"},
	{14, 6, 0, "UIDX", "UUID Index"},
	END,
};

LIST ns_management[] = {
	{10, 3, 0, "SEL", "Select"},
	{11, 31, 24, "CSI", "Command Set Identifier"},
	END,
};

LIST firmware_commit[] = {
	{10, 31, 31, "BPID", "Boot Partition ID"},
	{10, 5, 3, "CA", "Commit Action"},
	{10, 2, 0, "FS", "Firmware Slot"},
	END,
};

LIST firmware_download[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 31, 0, "OFST", "Offset"},
	END,
};

LIST self_test[] = {{10, 3, 0, "STC", "Self-test Code"}, END};

LIST ns_attachment[] = {{10, 3, 0, "SEL", "Select"}, END};

LIST directive[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 31, 16, "DSPEC", "Directive Specific"},
	{11, 15, 8, "DTYPE", "Directive Type"},
	{11, 7, 0, "DOPER", "Directive Operation"},
	END,
};

LIST virtualization[] = {
	{10, 31, 16, "CNTLID", "Controller Identifier"},
	{10, 10, 8, "RT", "Resource Type"},
	{10, 3, 0, "ACT", "Action"},
	{11, 15, 0, "NR", "Number of Controller Resources"},
	END,
};

LIST format_nvm[] = {
	{10, 13, 12, "LBAFU", "LBA Format Upper"},
	{10, 11, 9, "SES", "Secure Erase Settings"},
	{10, 8, 8, "PIL", "Protection Information Location"},
	{10, 7, 5, "PI", "Protection Information"},
	{10, 4, 4, "MSET", "Metadata Settings"},
	{10, 3, 0, "LBAFL", "LBA Format Lower"},
	END,
};

LIST security_send[] = {
	{10, 31, 24, "SECP", "Security Protocol"},
	{10, 23, 8, "SPSP", "SP Specific"},
	{10, 7, 0, "NSSF", "NVMe Security Specific Field"},
	{11, 31, 0, "TL", "Transfer Length"},
	END,
};

LIST security_receive[] = {
	{10, 31, 24, "SECP", "Security Protocol"},
	{10, 23, 8, "SPSP", "SP Specific"},
	{10, 7, 0, "NSSF", "NVMe Security Specific Field"},
	{11, 31, 0, "AL", "Allocation Length"},
	END,
};

LIST sanitize[] = {
	{10, 10, 10, "EMVS", "Enter Media Verification State"},
	{10, 9, 9, "NDAS", "No-Deallocate After Sanitize"},
	{10, 8, 8, "OIPBP", "Overwrite Invert Pattern Between Passes"},
	{10, 7, 4, "OWPASS", "Overwrite Pass Count"},
	{10, 3, 3, "AUSE", "Allow Unrestricted Sanitize Exit"},
	{10, 2, 0, "SANACT", "Sanitize Action"},
	{11, 31, 0, "OVRPAT", "Overwrite Pattern"},
	END,
};

LIST get_lba_status[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 0, "MNDW", "Maximum Number of Dwords"},
	{13, 31, 24, "ATYPE", "Action Type"},
	{13, 15, 0, "RL", "Range Length"},
	END,
};

LIST read_cmd[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFO", "Protection Information"},
	{12, 24, 24, "STC", "Storage Tag Check"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	{13, 7, 0, "DSM", "Dataset Management"},
	{14, 31, 0, "ELBTL", "Expected Logical Block Tags Lower"},
	{15, 31, 16, "ELBATM", "Expected Logical Block Application Tag Mask"},
	{15, 15, 0, "ELBAT", "Expected Logical Block Application Tag"},
	END,
};

/* Compare and Verify: a read without hints for the cache. */
LIST check_cmd[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFO", "Protection Information"},
	{12, 24, 24, "STC", "Storage Tag Check"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	{14, 31, 0, "ELBTL", "Expected Logical Block Tags Lower"},
	{15, 31, 16, "ELBATM", "Expected Logical Block Application Tag Mask"},
	{15, 15, 0, "ELBAT", "Expected Logical Block Application Tag"},
	END,
};

LIST write_cmd[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFO", "Protection Information"},
	{12, 24, 24, "STC", "Storage Tag Check"},
	{12, 23, 20, "DTYPE", "Directive Type"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	{13, 7, 0, "DSM", "Dataset Management"},
	{14, 31, 0, "LBTL", "Logical Block Tags Lower"},
	{15, 31, 16, "LBATM", "Logical Block Application Tag Mask"},
	{15, 15, 0, "LBAT", "Logical Block Application Tag"},
	END,
};

LIST write_uncorrectable[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 23, 20, "DTYPE", "Directive Type"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	END,
};

LIST write_zeroes[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFO", "Protection Information"},
	{12, 25, 25, "DEAC", "Deallocate"},
	{12, 24, 24, "STC", "Storage Tag Check"},
	{12, 23, 20, "DTYPE", "Directive Type"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	{14, 31, 0, "LBTL", "Logical Block Tags Lower"},
	{15, 31, 16, "LBATM", "Logical Block Application Tag Mask"},
	{15, 15, 0, "LBAT", "Logical Block Application Tag"},
	END,
};

LIST dataset_management[] = {
	{10, 7, 0, "NR", "Number of Ranges"},
	{11, 2, 2, "AD", "Attribute - Deallocate"},
	{11, 1, 1, "IDW", "Attribute - Integral Dataset for Write"},
	{11, 0, 0, "IDR", "Attribute - Integral Dataset for Read"},
	END,
};

LIST copy_cmd[] = {
	{10, 63, 0, "SDLBA", "Starting Destination LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFOW", "Protection Information Write"},
	{12, 25, 25, "STCR", "Storage Tag Check Read"},
	{12, 24, 24, "STCW", "Storage Tag Check Write"},
	{12, 23, 20, "DTYPE", "Directive Type"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, 15, 12, "PRINFOR", "Protection Information Read"},
	{12, 11, 8, "DESFMT", "Descriptor Format"},
	{12, 7, 0, "NR", "Number of Ranges"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	END,
};

LIST reservation_register[] = {
	{10, 31, 30, "CPTPL", "Change Persist Through Power Loss State"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RREGA", "Reservation Register Action"},
	END,
};

LIST reservation_report[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 0, 0, "EDS", "Extended Data Structure"},
	END,
};

LIST reservation_acquire[] = {
	{10, 15, 8, "RTYPE", "Reservation Type"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RACQA", "Reservation Acquire Action"},
	END,
};

LIST reservation_release[] = {
	{10, 15, 8, "RTYPE", "Reservation Type"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RRELA", "Reservation Release Action"},
	END,
};

LIST zone_send[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{13, 9, 9, "ZSASO", "Zone Send Action Specific Option"},
	{13, 8, 8, "SELALL", "Select All"},
	{13, 7, 0, "ZSA", "Zone Send Action"},
	END,
};

LIST zone_receive[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 0, "NUMD", "Number of Dwords"},
	{13, 16, 16, "PR", "Partial Report"},
	{13, 15, 8, "ZRASF", "Zone Receive Action Specific Field"},
	{13, 7, 0, "ZRA", "Zone Receive Action"},
	END,
};

LIST zone_append[] = {
	{10, 63, 0, "ZSLBA", "Zone Start LBA"},
	{12, 31, 31, "LR", "Limited Retry"},
	{12, 30, 30, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFO", "Protection Information"},
	{12, 25, 25, "PIREMAP", "Protection Information Remap"},
	{12, 15, 0, "NLB", "Number of Logical Blocks"},
	END,
};

/* What a command is for, in the words after "It", and where the specification describes it. */
struct command {
	uint8_t opc;
	const struct sqe_field *fields;
	const char *purpose, *citation;
};

static const struct command admin_commands[] = {
	{NVME_OPC_DELETE_IO_SQ, delete_q, "deletes an I/O submission queue",
         "[Base 2.1: Delete I/O Submission Queue command]"},
	{NVME_OPC_CREATE_IO_SQ, create_sq,
         "creates an I/O submission queue, whose completion queue must be there already",
         "[Base 2.1 §5.2.2: Create I/O Submission Queue command]"},
	{NVME_OPC_GET_LOG_PAGE, get_log_page, "reads a log page of the controller",
         "[Base 2.1 §5.1.12: Get Log Page command]"},
	{NVME_OPC_DELETE_IO_CQ, delete_q,
         "deletes an I/O completion queue, whose submission queues must be gone already",
         "[Base 2.1: Delete I/O Completion Queue command]"},
	{NVME_OPC_CREATE_IO_CQ, create_cq, "creates an I/O completion queue",
         "[Base 2.1 §5.2.1: Create I/O Completion Queue command]"},
	{NVME_OPC_IDENTIFY, identify,
         "asks what the controller, a namespace or the NVM subsystem is",
         "[Base 2.1 §5.1.13: Identify command]"},
	{NVME_OPC_ABORT, abort_cmd, "asks the controller to give up another command",
         "[Base 2.1: Abort command]"},
	{NVME_OPC_SET_FEATURES, set_features, "sets a feature of the controller",
         "[Base 2.1: Set Features command]"},
	{NVME_OPC_GET_FEATURES, get_features, "asks for the setting of a feature",
         "[Base 2.1: Get Features command]"},
	{NVME_OPC_ASYNC_EVENT_REQUEST, no_fields,
         "waits, perhaps for ever, until the controller has an event to tell",
         "[Base 2.1: Asynchronous Event Request command]"},
	{NVME_OPC_NS_MANAGEMENT, ns_management, "creates or deletes a namespace",
         "[Base 2.1: Namespace Management command]"},
	{NVME_OPC_FIRMWARE_COMMIT, firmware_commit, "puts downloaded firmware into use",
         "[Base 2.1: Firmware Commit command]"},
	{NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD, firmware_download,
         "hands over a part of a firmware image", "[Base 2.1: Firmware Image Download command]"},
	{NVME_OPC_DEVICE_SELF_TEST, self_test, "starts or stops a self-test",
         "[Base 2.1: Device Self-test command]"},
	{NVME_OPC_NS_ATTACHMENT, ns_attachment,
         "attaches a namespace to controllers or detaches it",
         "[Base 2.1: Namespace Attachment command]"},
	{NVME_OPC_KEEP_ALIVE, no_fields, "tells the controller that the host still lives",
         "[Base 2.1: Keep Alive command]"},
	{NVME_OPC_DIRECTIVE_SEND, directive, "sends data of a directive",
         "[Base 2.1: Directive Send command]"},
	{NVME_OPC_DIRECTIVE_RECEIVE, directive, "fetches data of a directive",
         "[Base 2.1: Directive Receive command]"},
	{NVME_OPC_VIRTUALIZATION_MANAGEMENT, virtualization,
         "distributes resources among primary and secondary controllers",
         "[Base 2.1: Virtualization Management command]"},
	{NVME_OPC_NVME_MI_SEND, no_fields, "sends a command of the management interface",
         "[Base 2.1: NVMe-MI Send command]"},
	{NVME_OPC_NVME_MI_RECEIVE, no_fields, "fetches an answer of the management interface",
         "[Base 2.1: NVMe-MI Receive command]"},
	{NVME_OPC_DOORBELL_BUFFER_CONFIG, no_fields,
         "names memory that stands in for the doorbells (PRP1) and for event indexes (PRP2)",
         "[Base 2.1: Doorbell Buffer Config command]"},
	{NVME_OPC_FORMAT_NVM, format_nvm, "formats: all data are lost",
         "[Base 2.1: Format NVM command]"},
	{NVME_OPC_SECURITY_SEND, security_send, "sends data of a security protocol",
         "[Base 2.1: Security Send command]"},
	{NVME_OPC_SECURITY_RECEIVE, security_receive, "fetches data of a security protocol",
         "[Base 2.1: Security Receive command]"},
	{NVME_OPC_SANITIZE, sanitize, "starts to erase all data for good",
         "[Base 2.1: Sanitize command]"},
	{NVME_OPC_GET_LBA_STATUS, get_lba_status, "asks which blocks may be unreadable",
         "[NVM 1.1: Get LBA Status command]"},
};

static const struct command io_commands[] = {
	{NVME_OPC_FLUSH, no_fields, "puts what the controller has cached on the medium",
         "[Base 2.1 §7.2: Flush command]"},
	{NVME_OPC_WRITE, write_cmd, "writes blocks: the controller fetches the data from memory",
         "[NVM 1.1 §3.3.6: Write command]"},
	{NVME_OPC_READ, read_cmd, "reads blocks: the controller puts the data into memory",
         "[NVM 1.1 §3.3.4: Read command]"},
	{NVME_OPC_WRITE_UNCORRECTABLE, write_uncorrectable,
         "marks blocks as unreadable until they are written again",
         "[NVM 1.1: Write Uncorrectable command]"},
	{NVME_OPC_COMPARE, check_cmd, "compares blocks with data in memory",
         "[NVM 1.1: Compare command]"},
	{NVME_OPC_WRITE_ZEROES, write_zeroes, "sets blocks to zero without a transfer of data",
         "[NVM 1.1: Write Zeroes command]"},
	{NVME_OPC_DATASET_MANAGEMENT, dataset_management,
         "says how ranges of blocks are used, or that they are not (deallocate)",
         "[NVM 1.1: Dataset Management command]"},
	{NVME_OPC_VERIFY, check_cmd, "checks that blocks can be read, without a transfer of data",
         "[NVM 1.1: Verify command]"},
	{NVME_OPC_RESERVATION_REGISTER, reservation_register,
         "registers a key for reservations, or removes it",
         "[Base 2.1: Reservation Register command]"},
	{NVME_OPC_RESERVATION_REPORT, reservation_report, "asks who has registered and reserved",
         "[Base 2.1: Reservation Report command]"},
	{NVME_OPC_RESERVATION_ACQUIRE, reservation_acquire, "reserves a namespace",
         "[Base 2.1: Reservation Acquire command]"},
	{NVME_OPC_RESERVATION_RELEASE, reservation_release, "gives a reservation up",
         "[Base 2.1: Reservation Release command]"},
	{NVME_OPC_COPY, copy_cmd, "copies blocks within the controller", "[NVM 1.1: Copy command]"},
	{NVME_OPC_ZONE_MANAGEMENT_SEND, zone_send, "changes the state of a zone",
         "[ZNS: Zone Management Send command]"},
	{NVME_OPC_ZONE_MANAGEMENT_RECEIVE, zone_receive, "asks for the state of zones",
         "[ZNS: Zone Management Receive command]"},
	{NVME_OPC_ZONE_APPEND, zone_append, "writes at the write pointer of a zone",
         "[ZNS: Zone Append command]"},
};

static const struct command fabric_command = {NVME_OPC_FABRIC, no_fields,
                                              "is a command of NVMe over Fabrics",
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

const struct sqe_field *sqe_fields(uint16_t qid, uint8_t opc)
{
	const struct command *c = find_command(qid, opc);

	return c != NULL ? c->fields : no_fields;
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
	uint32_t value = 0;

	if (n < 16)
		memcpy(&value, (const uint8_t *)cmd + (size_t)n * 4, sizeof(value));
	return value;
}

uint64_t sqe_field_get(const struct sqe_field *f, const struct nvme_cmd *cmd)
{
	uint64_t value = cmd_dword(cmd, f->dw) | (uint64_t)cmd_dword(cmd, f->dw + 1u) << 32;

	return nvme_bits(value, f->hi, f->lo);
}

/* ---- what a value means ---- */

static const char *code_text(const char *const *names, size_t count, uint64_t value)
{
	return value < count ? names[value] : "reserved";
}

#define CODE(names, value) code_text(names, sizeof(names) / sizeof((names)[0]), value)

/* Names that mean the same in every command: sizes and counts are 0-based. */
static int common_value(char *buf, size_t size, const struct sqe_field *f, uint64_t v)
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

/* Values that need the rest of the command, or mean something in one command only. */
static int special_value(char *buf, size_t size, const struct sqe_field *f, uint16_t qid,
                         const struct nvme_cmd *cmd, uint64_t v)
{
	static const char *const erase[] = {"no secure erase", "user data erase",
	                                    "cryptographic erase"};
	static const char *const sanact[] = {"reserved",     "exit failure mode",
	                                     "block erase",  "overwrite",
	                                     "crypto erase", "exit media verification"};

	if (qid != 0)
		return -1;
	if (strcmp(f->name, "NUMDL") == 0)
		return snprintf(buf, size, "with NUMDU %" PRIu64 " bytes in all",
		                ((uint64_t)(cmd->cdw11 & 0xffff) << 16 | v) * 4 + 4);
	if (strcmp(f->name, "SES") == 0)
		return snprintf(buf, size, "%s", CODE(erase, v));
	if (strcmp(f->name, "SANACT") == 0)
		return snprintf(buf, size, "%s", CODE(sanact, v));
	if (strcmp(f->name, "CDW11") == 0 && cmd->opc == NVME_OPC_SET_FEATURES &&
	    NVME_GET(cmd->cdw10, NVME_FEATURES_FID) == NVME_FEAT_NUMBER_OF_QUEUES)
		return snprintf(buf, size,
		                "asks for %" PRIu64 " submission and %" PRIu64 " completion queues",
		                (v & 0xffff) + 1, (v >> 16) + 1);
	return -1;
}

int sqe_field_value(char *buf, size_t size, const struct sqe_field *f, uint16_t qid,
                    const struct nvme_cmd *cmd)
{
	uint64_t v = sqe_field_get(f, cmd);
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
static bool field_known(const struct rec *rec, const struct sqe_field *f)
{
	if (strcmp(f->name, "NLB") == 0 && known(rec, HAVE_NLB))
		return true;
	return known(rec, HAVE_DW(f->dw)) && (f->hi < 32 || known(rec, HAVE_DW(f->dw + 1)));
}

static void put_fields(FILE *out, const struct rec *rec)
{
	const struct sqe_field *f = sqe_fields(rec->qid, rec->cmd.opc);
	uint32_t named = 0;
	char text[160], name[16];
	unsigned dw;

	for (; f->name != NULL; f++) {
		if (!field_known(rec, f))
			continue;
		if ((named & HAVE_DW(f->dw)) == 0) {
			snprintf(name, sizeof(name), "CDW%u", (unsigned)f->dw);
			if (known(rec, HAVE_DW(f->dw)))
				put_heading(out, name, cmd_dword(&rec->cmd, f->dw), 8);
			else
				fprintf(out, "    %s\n", name);
		}
		named |= HAVE_DW(f->dw) | (f->hi > 31 ? HAVE_DW(f->dw + 1) : 0);
		sqe_field_value(text, sizeof(text), f, rec->qid, &rec->cmd);
		put_bit_line(out, f->hi, f->lo, f->name, sqe_field_get(f, &rec->cmd), text);
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

/* DW0 of the few commands whose result has fields. */
static void put_result(FILE *out, const struct rec *rec)
{
	uint32_t dw0 = rec->cpl.cdw0;
	char text[48];

	put_heading(out, "DW0", dw0, 8);
	if (!(rec->of_have & HAVE_DW(10)) || rec->qid != 0)
		return;
	if ((rec->of.opc == NVME_OPC_SET_FEATURES || rec->of.opc == NVME_OPC_GET_FEATURES) &&
	    NVME_GET(rec->of.cdw10, NVME_FEATURES_FID) == NVME_FEAT_NUMBER_OF_QUEUES) {
		snprintf(text, sizeof(text), "%" PRIu32 " completion queues", (dw0 >> 16) + 1);
		put_bit_line(out, 31, 16, "NCQA", dw0 >> 16, text);
		snprintf(text, sizeof(text), "%" PRIu32 " submission queues", (dw0 & 0xffff) + 1);
		put_bit_line(out, 15, 0, "NSQA", dw0 & 0xffff, text);
	}
}

/* The same status code means something else as the answer to a fabrics command. */
static const char *status_name(const struct rec *rec)
{
	return nvme_status_full_name((uint8_t)NVME_GET(rec->cpl.status, NVME_CPL_SCT),
	                             (uint8_t)NVME_GET(rec->cpl.status, NVME_CPL_SC),
	                             (rec->of_have & HAVE_OPC) ? rec->of.opc : 0);
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

static void explain_pointer(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;

	if (NVME_GET(c->opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE ||
	    !known(rec, HAVE_DPTR1 | HAVE_DPTR2))
		return;
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

static void explain_command(FILE *out, const struct rec *rec)
{
	const struct nvme_cmd *c = &rec->cmd;
	const struct sqe_field *f = sqe_fields(rec->qid, c->opc);
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
		sqe_field_value(text, sizeof(text), f, rec->qid, c);
		if (!field_known(rec, f) ||
		    (sqe_field_get(f, c) == 0 && strcmp(f->name, "NLB") != 0 &&
		     strcmp(f->name, "SLBA") != 0 && strcmp(f->name, "CNS") != 0))
			continue;
		fprintf(out, "    %s (%s) is %" PRIu64 "%s%s.\n", f->what, f->name,
		        sqe_field_get(f, c), text[0] != '\0' ? ": " : "", text);
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
