/*
 * The formatter against three witnesses: a sample of what SPDK v23.05 prints for given records,
 * a log that SPDK v23.05 wrote on QEMU's device, and a second list of all names. Then against
 * small buffers and nonsense. Run from the root of the repository: reads tests/fixtures/.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef NVME_FIXTURES
#define NVME_FIXTURES "tests/fixtures"
#endif
#define SAMPLE NVME_FIXTURES "/spdk-v23.05-text-sample.tsv"
#define LOG    NVME_FIXTURES "/spdk-v23.05-hello_world-qemu.log"

static FILE *open_fixture(const char *path)
{
	FILE *f = fopen(path, "r");

	if (f == NULL)
		fail_msg("no fixture %s: run the tests from the root of the repository", path);
	return f;
}

/* Hex digits to bytes; the number of bytes, or 0 if there is anything but pairs of digits. */
static size_t unhex(uint8_t *out, size_t max, const char *hex)
{
	size_t n = 0;

	for (; hex[0] != '\0' && hex[1] != '\0' && n < max; hex += 2) {
		unsigned byte;

		if (sscanf(hex, "%2x", &byte) != 1)
			return 0;
		out[n++] = (uint8_t)byte;
	}
	return hex[0] == '\0' ? n : 0;
}

/* One row of the sample: a record of 64 (command) or 16 bytes (completion), queue, text. */
struct row {
	uint8_t record[64];
	size_t size;
	uint16_t qid;
	char text[256];
};

/* The next row; false at the end of the file. The text keeps its trailing blanks. */
static bool read_row(FILE *f, struct row *row)
{
	char line[512];
	char *hex = line;
	char *qid;
	char *text;

	if (fgets(line, sizeof(line), f) == NULL)
		return false;
	line[strcspn(line, "\n")] = '\0';
	qid = strchr(line, '\t');
	assert_non_null(qid);
	*qid++ = '\0';
	text = strchr(qid, '\t');
	assert_non_null(text);
	*text++ = '\0';
	row->size = unhex(row->record, sizeof(row->record), hex);
	row->qid = (uint16_t)strtoul(qid, NULL, 10);
	assert_true(strlen(text) < sizeof(row->text));
	memcpy(row->text, text, strlen(text) + 1);
	return true;
}

static int format_row(char *buf, size_t size, const struct row *row)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	if (row->size == sizeof(cmd)) {
		memcpy(&cmd, row->record, sizeof(cmd));
		return nvme_format_cmd(buf, size, row->qid, &cmd);
	}
	assert_int_equal(row->size, sizeof(cpl));
	memcpy(&cpl, row->record, sizeof(cpl));
	return nvme_format_cpl(buf, size, row->qid, &cpl);
}

static void test_sample(void **state)
{
	FILE *f = open_fixture(SAMPLE);
	struct row row;
	char buf[256];
	int commands = 0;
	int completions = 0;

	(void)state;
	while (read_row(f, &row)) {
		int n = format_row(buf, sizeof(buf), &row);

		assert_string_equal(buf, row.text);
		assert_int_equal(n, strlen(row.text));
		assert_true(n < NVME_TEXT_MAX);
		commands += row.size == 64;
		completions += row.size == 16;
	}
	fclose(f);
	print_message("sample: %d commands, %d completions\n", commands, completions);
	assert_int_equal(commands, 96);
	assert_int_equal(completions, 28);
}

/* Every row into a buffer of every size from 0 up, with a guard behind it. */
static void test_truncation(void **state)
{
	FILE *f = open_fixture(SAMPLE);
	struct row row;
	int rows = 0;

	(void)state;
	while (read_row(f, &row)) {
		size_t len = strlen(row.text);

		for (size_t size = 0; size <= len + 2; size++) {
			char *buf = malloc(size + 1); /* exact, so that ASan sees an overrun */

			assert_non_null(buf);
			memset(buf, 0x5a, size + 1);
			assert_int_equal(format_row(size ? buf : NULL, size, &row), len);
			assert_int_equal(buf[size], 0x5a);
			if (size > 0) {
				size_t kept = len < size ? len : size - 1;

				assert_int_equal(strlen(buf), kept);
				assert_memory_equal(buf, row.text, kept);
			}
			free(buf);
		}
		rows++;
	}
	fclose(f);
	print_message("truncation: %d rows\n", rows);
	assert_int_equal(rows, 124);
}

/* ---- the log of SPDK's hello_world ---------------------------------------------------------- */

/* A command from the numbers in its line; false for a form that does not occur in the log. */
static bool parse_cmd(const char *text, struct nvme_cmd *cmd, uint16_t *qid)
{
	char name[64];
	char dptr[128] = "";
	unsigned opc = 0;
	unsigned q = 0;
	unsigned cid = 0;
	unsigned len = 0;
	uint64_t lba = 0;
	int at = 0;

	memset(cmd, 0, sizeof(*cmd));
	if (sscanf(text, "%63[A-Z -] (%x) qid:%u cid:%u nsid:%x cdw10:%x cdw11:%x %n", name, &opc,
	           &q, &cid, &cmd->nsid, &cmd->cdw10, &cmd->cdw11, &at) == 7) {
		cmd->opc = (uint8_t)opc;
	} else if (sscanf(text, "SET FEATURES %63[A-Z ] cid:%u cdw10:%x %n", name, &cid,
	                  &cmd->cdw10, &at) == 3) {
		cmd->opc = 0x09;
	} else if (sscanf(text, "%63[A-Z] sqid:%u cid:%u nsid:%u lba:%" SCNu64 " len:%u %n", name,
	                  &q, &cid, &cmd->nsid, &lba, &len, &at) == 6) {
		cmd->opc = strcmp(name, "WRITE") == 0 ? 0x01 : 0x02;
		cmd->cdw10 = (uint32_t)lba;
		cmd->cdw11 = (uint32_t)(lba >> 32);
		cmd->cdw12 = len - 1;
	} else {
		return false;
	}
	cmd->cid = (uint16_t)cid;
	*qid = (uint16_t)q;
	snprintf(dptr, sizeof(dptr), "%s", text + at);
	if (strncmp(dptr, "SGL DATA BLOCK ADDRESS ", 23) == 0) {
		cmd->flags = 0x40;
		return sscanf(dptr + 23, "0x%" SCNx64 " len:0x%x", &cmd->dptr.sgl.addr,
		              &cmd->dptr.sgl.len) == 2;
	}
	return dptr[0] == '\0' || sscanf(dptr, "PRP1 0x%" SCNx64 " PRP2 0x%" SCNx64,
	                                 &cmd->dptr.prp.prp1, &cmd->dptr.prp.prp2) == 2;
}

static bool parse_cpl(const char *text, struct nvme_cpl *cpl, uint16_t *qid)
{
	unsigned v[9];
	const char *status = strchr(text, '(');

	memset(cpl, 0, sizeof(*cpl));
	if (status == NULL ||
	    sscanf(status, "(%x/%x) qid:%u cid:%u cdw0:%x sqhd:%x p:%x m:%x dnr:%x", &v[0], &v[1],
	           &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8]) != 9) {
		return false;
	}
	*qid = (uint16_t)v[2];
	cpl->cid = (uint16_t)v[3];
	cpl->cdw0 = v[4];
	cpl->sqhd = (uint16_t)v[5];
	cpl->status = (uint16_t)(v[8] << 15 | v[7] << 14 | v[0] << 9 | v[1] << 1 | v[6]);
	return true;
}

/* Numbers out of the line, then back through the formatter: the same line again. */
static void test_log(void **state)
{
	FILE *f = open_fixture(LOG);
	char line[1024];
	char buf[256];
	int commands = 0;
	int completions = 0;

	(void)state;
	while (fgets(line, sizeof(line), f) != NULL) {
		const char *text = strstr(line, "*NOTICE*: ");
		struct nvme_cmd cmd;
		struct nvme_cpl cpl;
		uint16_t qid = 0;

		line[strcspn(line, "\r\n")] = '\0';
		if (text == NULL)
			continue;
		text += strlen("*NOTICE*: ");
		if (strstr(line, "print_completion") != NULL) {
			assert_true(parse_cpl(text, &cpl, &qid));
			nvme_format_cpl(buf, sizeof(buf), qid, &cpl);
			completions++;
		} else if (strstr(line, "print_command") != NULL) {
			assert_true(parse_cmd(text, &cmd, &qid));
			nvme_format_cmd(buf, sizeof(buf), qid, &cmd);
			commands++;
		} else {
			continue;
		}
		assert_string_equal(buf, text);
	}
	fclose(f);
	print_message("log: %d commands, %d completions\n", commands, completions);
	assert_int_equal(commands, 19);
	assert_int_equal(completions, 19);
}

/* ---- all names ------------------------------------------------------------------------------ */

/* The names SPDK v23.05 uses, by number: also a check of the enumerations in nvme.h. */
struct listed {
	unsigned code;
	const char *text;
};
#define OTHER 0x100u

static const struct listed admin_opcodes[] = {
	{0x00, "DELETE IO SQ"},
	{0x01, "CREATE IO SQ"},
	{0x02, "GET LOG PAGE"},
	{0x04, "DELETE IO CQ"},
	{0x05, "CREATE IO CQ"},
	{0x06, "IDENTIFY"},
	{0x08, "ABORT"},
	{0x09, "SET FEATURES"},
	{0x0a, "GET FEATURES"},
	{0x0c, "ASYNC EVENT REQUEST"},
	{0x0d, "NAMESPACE MANAGEMENT"},
	{0x10, "FIRMWARE COMMIT"},
	{0x11, "FIRMWARE IMAGE DOWNLOAD"},
	{0x14, "DEVICE SELF-TEST"},
	{0x15, "NAMESPACE ATTACHMENT"},
	{0x18, "KEEP ALIVE"},
	{0x19, "DIRECTIVE SEND"},
	{0x1a, "DIRECTIVE RECEIVE"},
	{0x1c, "VIRTUALIZATION MANAGEMENT"},
	{0x1d, "NVME-MI SEND"},
	{0x1e, "NVME-MI RECEIVE"},
	{0x7c, "DOORBELL BUFFER CONFIG"},
	{0x7f, "FABRIC"},
	{0x80, "FORMAT NVM"},
	{0x81, "SECURITY SEND"},
	{0x82, "SECURITY RECEIVE"},
	{0x84, "SANITIZE"},
	{0x86, "GET LBA STATUS"},
	{0xe2, "OCSSD / GEOMETRY"},
	{OTHER, "ADMIN COMMAND"},
};

static const struct listed io_opcodes[] = {
	{0x00, "FLUSH"},
	{0x01, "WRITE"},
	{0x02, "READ"},
	{0x04, "WRITE UNCORRECTABLE"},
	{0x05, "COMPARE"},
	{0x08, "WRITE ZEROES"},
	{0x09, "DATASET MANAGEMENT"},
	{0x0d, "RESERVATION REGISTER"},
	{0x0e, "RESERVATION REPORT"},
	{0x11, "RESERVATION ACQUIRE"},
	{0x15, "RESERVATION RELEASE"},
	{0x90, "OCSSD / VECTOR RESET"},
	{0x91, "OCSSD / VECTOR WRITE"},
	{0x92, "OCSSD / VECTOR READ"},
	{0x93, "OCSSD / VECTOR COPY"},
	{OTHER, "IO COMMAND"},
};

static const struct listed features[] = {
	{0x01, "ARBITRATION"},
	{0x02, "POWER MANAGEMENT"},
	{0x03, "LBA RANGE TYPE"},
	{0x04, "TEMPERATURE THRESHOLD"},
	{0x05, "ERROR_RECOVERY"},
	{0x06, "VOLATILE WRITE CACHE"},
	{0x07, "NUMBER OF QUEUES"},
	{0x08, "INTERRUPT COALESCING"},
	{0x09, "INTERRUPT VECTOR CONFIGURATION"},
	{0x0a, "WRITE ATOMICITY"},
	{0x0b, "ASYNC EVENT CONFIGURATION"},
	{0x0c, "AUTONOMOUS POWER STATE TRANSITION"},
	{0x0d, "HOST MEM BUFFER"},
	{0x0e, "TIMESTAMP"},
	{0x0f, "KEEP ALIVE TIMER"},
	{0x10, "HOST CONTROLLED THERMAL MANAGEMENT"},
	{0x11, "NON OPERATIONAL POWER STATE CONFIG"},
	{0x80, "SOFTWARE PROGRESS MARKER"},
	{0x81, "HOST IDENTIFIER"},
	{0x82, "HOST RESERVE MASK"},
	{0x83, "HOST RESERVE PERSIST"},
	{OTHER, "RESERVED"},
};

static const struct listed fabrics[] = {
	{0x00, "PROPERTY SET"},        {0x01, "CONNECT"},
	{0x04, "PROPERTY GET"},        {0x05, "AUTHENTICATION SEND"},
	{0x06, "AUTHENTICATION RECV"}, {OTHER, "RESERVED / VENDOR SPECIFIC"},
};

static const struct listed sgl_types[] = {
	{0x00, "DATA BLOCK"},      {0x01, "BIT BUCKET"},       {0x02, "SEGMENT"},
	{0x03, "LAST SEGMENT"},    {0x04, "KEYED DATA BLOCK"}, {0x05, "TRANSPORT DATA BLOCK"},
	{0x0f, "VENDOR SPECIFIC"}, {OTHER, "RESERVED"},
};

static const struct listed sgl_subtypes[] = {
	{0x00, "ADDRESS"},        {0x01, "OFFSET"},    {0x0a, "TRANSPORT"},
	{0x0f, "INVALIDATE KEY"}, {OTHER, "RESERVED"},
};

static const struct listed status_generic[] = {
	{0x00, "SUCCESS"},
	{0x01, "INVALID OPCODE"},
	{0x02, "INVALID FIELD"},
	{0x03, "COMMAND ID CONFLICT"},
	{0x04, "DATA TRANSFER ERROR"},
	{0x05, "ABORTED - POWER LOSS"},
	{0x06, "INTERNAL DEVICE ERROR"},
	{0x07, "ABORTED - BY REQUEST"},
	{0x08, "ABORTED - SQ DELETION"},
	{0x09, "ABORTED - FAILED FUSED"},
	{0x0a, "ABORTED - MISSING FUSED"},
	{0x0b, "INVALID NAMESPACE OR FORMAT"},
	{0x0c, "COMMAND SEQUENCE ERROR"},
	{0x0d, "INVALID SGL SEGMENT DESCRIPTOR"},
	{0x0e, "INVALID NUMBER OF SGL DESCRIPTORS"},
	{0x0f, "DATA SGL LENGTH INVALID"},
	{0x10, "METADATA SGL LENGTH INVALID"},
	{0x11, "SGL DESCRIPTOR TYPE INVALID"},
	{0x12, "INVALID CONTROLLER MEMORY BUFFER"},
	{0x13, "INVALID PRP OFFSET"},
	{0x14, "ATOMIC WRITE UNIT EXCEEDED"},
	{0x15, "OPERATION DENIED"},
	{0x16, "INVALID SGL OFFSET"},
	{0x18, "HOSTID INCONSISTENT FORMAT"},
	{0x19, "KEEP ALIVE EXPIRED"},
	{0x1a, "KEEP ALIVE INVALID"},
	{0x1b, "ABORTED - PREEMPT AND ABORT"},
	{0x1c, "SANITIZE FAILED"},
	{0x1d, "SANITIZE IN PROGRESS"},
	{0x1e, "DATA BLOCK GRANULARITY INVALID"},
	{0x1f, "COMMAND NOT SUPPORTED FOR QUEUE IN CMB"},
	{0x20, "COMMAND NAMESPACE IS PROTECTED"},
	{0x21, "COMMAND INTERRUPTED"},
	{0x22, "COMMAND TRANSIENT TRANSPORT ERROR"},
	{0x80, "LBA OUT OF RANGE"},
	{0x81, "CAPACITY EXCEEDED"},
	{0x82, "NAMESPACE NOT READY"},
	{0x83, "RESERVATION CONFLICT"},
	{0x84, "FORMAT IN PROGRESS"},
	{0x85, "INVALID VALUE SIZE"},
	{0x86, "INVALID KEY SIZE"},
	{0x87, "KV KEY DOES NOT EXIST"},
	{0x88, "UNRECOVERED ERROR"},
	{0x89, "KEY EXISTS"},
	{OTHER, "GENERIC"},
};

static const struct listed status_command_specific[] = {
	{0x00, "INVALID COMPLETION QUEUE"},
	{0x01, "INVALID QUEUE IDENTIFIER"},
	{0x02, "INVALID QUEUE SIZE"},
	{0x03, "ABORT CMD LIMIT EXCEEDED"},
	{0x05, "ASYNC LIMIT EXCEEDED"},
	{0x06, "INVALID FIRMWARE SLOT"},
	{0x07, "INVALID FIRMWARE IMAGE"},
	{0x08, "INVALID INTERRUPT VECTOR"},
	{0x09, "INVALID LOG PAGE"},
	{0x0a, "INVALID FORMAT"},
	{0x0b, "FIRMWARE REQUIRES CONVENTIONAL RESET"},
	{0x0c, "INVALID QUEUE DELETION"},
	{0x0d, "FEATURE ID NOT SAVEABLE"},
	{0x0e, "FEATURE NOT CHANGEABLE"},
	{0x0f, "FEATURE NOT NAMESPACE SPECIFIC"},
	{0x10, "FIRMWARE REQUIRES NVM RESET"},
	{0x11, "FIRMWARE REQUIRES RESET"},
	{0x12, "FIRMWARE REQUIRES MAX TIME VIOLATION"},
	{0x13, "FIRMWARE ACTIVATION PROHIBITED"},
	{0x14, "OVERLAPPING RANGE"},
	{0x15, "NAMESPACE INSUFFICIENT CAPACITY"},
	{0x16, "NAMESPACE ID UNAVAILABLE"},
	{0x18, "NAMESPACE ALREADY ATTACHED"},
	{0x19, "NAMESPACE IS PRIVATE"},
	{0x1a, "NAMESPACE NOT ATTACHED"},
	{0x1b, "THINPROVISIONING NOT SUPPORTED"},
	{0x1c, "CONTROLLER LIST INVALID"},
	{0x1d, "DEVICE SELF-TEST IN PROGRESS"},
	{0x1e, "BOOT PARTITION WRITE PROHIBITED"},
	{0x1f, "INVALID CONTROLLER ID"},
	{0x20, "INVALID SECONDARY CONTROLLER STATE"},
	{0x21, "INVALID NUMBER OF CONTROLLER RESOURCES"},
	{0x22, "INVALID RESOURCE IDENTIFIER"},
	{0x23, "SANITIZE PROHIBITED"},
	{0x24, "ANA GROUP IDENTIFIER INVALID"},
	{0x25, "ANA ATTACH FAILED"},
	{0x26, "INSUFFICIENT CAPACITY"},
	{0x27, "NAMESPACE ATTACH LIMIT EXCEEDED"},
	{0x28, "PROHIBIT COMMAND EXEC NOT SUPPORTED"},
	{0x29, "IOCS NOT SUPPORTED"},
	{0x2a, "IOCS NOT ENABLED"},
	{0x2b, "IOCS COMBINATION REJECTED"},
	{0x2c, "INVALID IOCS"},
	{0x2d, "IDENTIFIER UNAVAILABLE"},
	{0x7f, "STREAM RESOURCE ALLOCATION FAILED"},
	{0x80, "CONFLICTING ATTRIBUTES"},
	{0x81, "INVALID PROTECTION INFO"},
	{0x82, "WRITE TO RO RANGE"},
	{0x83, "CMD SIZE LIMIT SIZE EXCEEDED"},
	{0xb8, "ZONED BOUNDARY ERROR"},
	{0xb9, "ZONE IS FULL"},
	{0xba, "ZONE IS READ ONLY"},
	{0xbb, "ZONE IS OFFLINE"},
	{0xbc, "ZONE INVALID WRITE"},
	{0xbd, "TOO MANY ACTIVE ZONES"},
	{0xbe, "TOO MANY OPEN ZONES"},
	{0xbf, "INVALID ZONE STATE TRANSITION"},
	{OTHER, "COMMAND SPECIFIC"},
};

static const struct listed status_media[] = {
	{0x80, "WRITE FAULTS"},
	{0x81, "UNRECOVERED READ ERROR"},
	{0x82, "GUARD CHECK ERROR"},
	{0x83, "APPLICATION TAG CHECK ERROR"},
	{0x84, "REFERENCE TAG CHECK ERROR"},
	{0x85, "COMPARE FAILURE"},
	{0x86, "ACCESS DENIED"},
	{0x87, "DEALLOCATED OR UNWRITTEN BLOCK"},
	{0x88, "END TO END STORAGE TAG CHECK ERROR"},
	{0xc0, "RESET OFFLINE CHUNK"},
	{0xc1, "INVALID RESET"},
	{0xd0, "READ HIGH ECC"},
	{0xf0, "WRITE FAIL WRITE NEXT UNIT"},
	{0xf1, "WRITE FAIL CHUNK EARLY CLOSE"},
	{0xf2, "OUT OF ORDER WRITE"},
	{OTHER, "MEDIA ERROR"},
};

static const struct listed status_path[] = {
	{0x00, "INTERNAL PATH ERROR"},
	{0x01, "ASYMMETRIC ACCESS PERSISTENT LOSS"},
	{0x02, "ASYMMETRIC ACCESS INACCESSIBLE"},
	{0x03, "ASYMMETRIC ACCESS TRANSITION"},
	{0x60, "CONTROLLER PATH ERROR"},
	{0x70, "HOST PATH ERROR"},
	{0x71, "ABORTED BY HOST"},
	{OTHER, "PATH ERROR"},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const char *admin_name(uint8_t code)
{
	return nvme_opc_name(0, code);
}

static const char *io_name(uint8_t code)
{
	return code == 0x7f ? "IO COMMAND" : nvme_opc_name(1, code); /* 7Fh is never I/O */
}

static const char *generic_name(uint8_t code)
{
	return nvme_status_name(0, code);
}

static const char *command_specific_name(uint8_t code)
{
	return nvme_status_name(1, code);
}

static const char *media_name(uint8_t code)
{
	return nvme_status_name(2, code);
}

static const char *path_name(uint8_t code)
{
	return nvme_status_name(3, code);
}

/* All 256 codes: those in the list, and the others as the list's last row says. */
static void check_list(const struct listed *list, size_t count, const char *(*name)(uint8_t))
{
	for (unsigned code = 0; code < 256; code++) {
		size_t i = 0;

		while (i < count - 1 && list[i].code != code)
			i++;
		assert_string_equal(name((uint8_t)code), list[i].text);
	}
}

static const char *full_admin_name(uint8_t code)
{
	return nvme_opc_full_name(0, code);
}

static const char *full_io_name(uint8_t code)
{
	return code == 0x7f ? "RESERVED" : nvme_opc_full_name(1, code);
}

static const char *full_generic_name(uint8_t code)
{
	return nvme_status_full_name(0, code, 0);
}

static const char *full_command_specific_name(uint8_t code)
{
	return nvme_status_full_name(1, code, NVME_OPC_READ);
}

static const char *full_fabrics_status_name(uint8_t code)
{
	return nvme_status_full_name(1, code, NVME_OPC_FABRIC);
}

static const char *full_media_name(uint8_t code)
{
	return nvme_status_full_name(2, code, 0);
}

static const char *full_path_name(uint8_t code)
{
	return nvme_status_full_name(3, code, 0);
}

/*
 * A full name is SPDK's where SPDK has one, a name of its own for the codes in more (ended by a
 * zero), and otherwise one of two words. No two codes have the same name.
 */
static void check_full(const char *(*full)(uint8_t), const char *(*name)(uint8_t),
                       const char *any_other, const uint8_t *more, unsigned vendor)
{
	for (unsigned code = 0; code < 256; code++) {
		const char *text = full((uint8_t)code);

		if (strcmp(name((uint8_t)code), any_other) != 0) {
			assert_string_equal(text, name((uint8_t)code));
			continue;
		}
		if (strchr((const char *)more, (int)code) == NULL || code == 0) {
			assert_string_equal(text, code >= vendor ? "VENDOR SPECIFIC" : "RESERVED");
			continue;
		}
		assert_string_not_equal(text, "VENDOR SPECIFIC");
		assert_string_not_equal(text, "RESERVED");
		for (unsigned other = 0; other < code; other++)
			assert_string_not_equal(text, full((uint8_t)other));
	}
}

static void test_full_names(void **state)
{
	static const uint8_t none[] = {0};
	static const uint8_t admin[] = {0x20, 0x21, 0x22, 0x24, 0x25, 0x28, 0x29,
	                                0x2a, 0x2d, 0x31, 0x35, 0x39, 0x3d, 0x3e,
	                                0x41, 0x42, 0x45, 0x85, 0x88, 0x89, 0};
	static const uint8_t io[] = {0x06, 0x0c, 0x10, 0x12, 0x14, 0x18,
	                             0x19, 0x1d, 0x79, 0x7a, 0x7d, 0};
	static const uint8_t feat[] = {0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
	                               0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21,
	                               0x78, 0x79, 0x7d, 0x7e, 0x7f, 0x84, 0x85, 0};
	static const uint8_t type[] = {0x08, 0};
	static const uint8_t generic[] = {0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0};
	static const uint8_t specific[] = {0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34,
	                                   0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b,
	                                   0x85, 0x86, 0x87, 0x89, 0xb6, 0xb7, 0};

	(void)state;
	check_full(full_admin_name, admin_name, "ADMIN COMMAND", admin, 0xc0);
	check_full(full_io_name, io_name, "IO COMMAND", io, 0x80);
	check_full(nvme_feat_full_name, nvme_feat_name, "RESERVED", feat, 0xc0);
	check_full(nvme_fabrics_full_name, nvme_fabrics_name, "RESERVED / VENDOR SPECIFIC", type,
	           0xc0);
	check_full(full_generic_name, generic_name, "GENERIC", generic, 0xc0);
	check_full(full_command_specific_name, command_specific_name, "COMMAND SPECIFIC", specific,
	           0xc0);
	check_full(full_media_name, media_name, "MEDIA ERROR", none, 0xc0);
	check_full(full_path_name, path_name, "PATH ERROR", none, 0xc0);
	assert_string_equal(nvme_feat_full_name(0x16), "HOST BEHAVIOR SUPPORT");
	assert_string_equal(nvme_opc_full_name(0, 0x24), "LOCKDOWN");
	assert_string_equal(nvme_opc_full_name(7, 0x0c), "VERIFY");
	assert_string_equal(nvme_opc_full_name(7, 0x7d), "ZONE APPEND");
	assert_string_equal(nvme_fabrics_full_name(0x08), "DISCONNECT");
	assert_string_equal(full_generic_name(0x2a), "INVALID PLACEMENT HANDLE LIST");
	assert_string_equal(full_command_specific_name(0x85), "INCOMPATIBLE NAMESPACE OR FORMAT");
	assert_string_equal(full_fabrics_status_name(0x85), "INVALID QUEUE TYPE");
	assert_string_equal(full_fabrics_status_name(0x80), "INCOMPATIBLE FORMAT");
	assert_string_equal(full_fabrics_status_name(0x08), "INVALID INTERRUPT VECTOR");
	assert_string_equal(full_fabrics_status_name(0xb8), "RESERVED");
	assert_string_equal(nvme_fabrics_status_name(0x91), "AUTH REQUIRED");
	assert_string_equal(nvme_fabrics_status_name(0x85), "FABRIC COMMAND SPECIFIC");
	assert_string_equal(nvme_status_full_name(7, 0, 0), "VENDOR SPECIFIC");
	assert_string_equal(nvme_csi_name(3), "SUBSYSTEM LOCAL MEMORY");
	assert_string_equal(nvme_csi_name(4), "COMPUTATIONAL PROGRAMS");
	assert_string_equal(nvme_csi_name(5), "RESERVED");
}

static void test_names(void **state)
{
	(void)state;
	check_list(admin_opcodes, COUNT(admin_opcodes), admin_name);
	check_list(io_opcodes, COUNT(io_opcodes), io_name);
	check_list(features, COUNT(features), nvme_feat_name);
	check_list(fabrics, COUNT(fabrics), nvme_fabrics_name);
	check_list(sgl_types, COUNT(sgl_types), nvme_sgl_type_name);
	check_list(sgl_subtypes, COUNT(sgl_subtypes), nvme_sgl_subtype_name);
	check_list(status_generic, COUNT(status_generic), generic_name);
	check_list(status_command_specific, COUNT(status_command_specific), command_specific_name);
	check_list(status_media, COUNT(status_media), media_name);
	check_list(status_path, COUNT(status_path), path_name);
	assert_string_equal(nvme_opc_name(5, 0x7f), "FABRIC");
	for (unsigned sc = 0; sc < 256; sc++) {
		for (uint8_t sct = 4; sct < 20; sct++) {
			assert_string_equal(nvme_status_name(sct, (uint8_t)sc),
			                    sct == 7 ? "VENDOR SPECIFIC" : "RESERVED");
		}
		assert_non_null(nvme_log_page_name((uint8_t)sc));
		assert_non_null(nvme_cns_name((uint8_t)sc));
	}
	assert_string_equal(nvme_sct_name(3), "PATH");
	assert_string_equal(nvme_sct_name(255), "RESERVED");
	assert_string_equal(nvme_log_page_name(0x02), "SMART / HEALTH INFORMATION");
	assert_string_equal(nvme_log_page_name(0xc0), "RESERVED / VENDOR SPECIFIC");
	assert_string_equal(nvme_cns_name(0x01), "CONTROLLER");
	assert_string_equal(nvme_cns_name(0xff), "RESERVED");
}

/* ---- nonsense ------------------------------------------------------------------------------- */

/* A cheap random number, the same in every run. */
static uint8_t next_byte(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint8_t)(*seed >> 56);
}

static void test_all_opcodes(void **state)
{
	static const uint16_t queues[] = {0, 1, 2, 0x7fff, 0x8000, 0xffff};
	uint64_t seed = 1;
	int lines = 0;
	int longest = 0;

	(void)state;
	for (unsigned opc = 0; opc < 256; opc++) {
		for (size_t q = 0; q < COUNT(queues); q++) {
			for (int round = 0; round < 34; round++) {
				uint8_t bytes[64];
				struct nvme_cmd cmd;
				struct nvme_cpl cpl;
				char buf[NVME_TEXT_MAX];
				int n;

				for (size_t i = 0; i < sizeof(bytes); i++) {
					bytes[i] = round == 0   ? 0x00
					           : round == 1 ? 0xff
					                        : next_byte(&seed);
				}
				bytes[0] = (uint8_t)opc;
				bytes[1] = (uint8_t)(round << 6 | (bytes[1] & 0x3f));
				memcpy(&cmd, bytes, sizeof(cmd));
				memcpy(&cpl, bytes + 16, sizeof(cpl));
				n = nvme_format_cmd(buf, sizeof(buf), queues[q], &cmd);
				assert_int_equal(n, strlen(buf)); /* it did fit */
				longest = n > longest ? n : longest;
				n = nvme_format_cpl(buf, sizeof(buf), queues[q], &cpl);
				assert_int_equal(n, strlen(buf));
				longest = n > longest ? n : longest;
				lines += 2;
			}
		}
	}
	print_message("all opcodes: %d lines, the longest has %d characters\n", lines, longest);
}

/* The worst that each form of line can hold still fits into NVME_TEXT_MAX. */
static void test_longest(void **state)
{
	char buf[NVME_TEXT_MAX];
	int longest = 0;

	(void)state;
	for (unsigned opc = 0; opc < 256; opc++) {
		for (unsigned id = 0; id < 256; id++) {
			for (int q = 0; q < 2; q++) {
				struct nvme_cmd cmd;
				int n;

				memset(&cmd, 0xff, sizeof(cmd));
				cmd.opc = (uint8_t)opc;
				cmd.flags = 0x40;
				cmd.nsid = 0x80000000u | 4u; /* -2147483644 */
				cmd.cdw10 = 0xffffff00u | id;
				cmd.dptr.sgl.id = (uint8_t)id;
				n = nvme_format_cmd(buf, sizeof(buf), q ? 0xffff : 0, &cmd);
				longest = n > longest ? n : longest;
			}
		}
	}
	print_message("longest command line: %d characters\n", longest);
	assert_true(longest < NVME_TEXT_MAX);
}

/* ---- registers ------------------------------------------------------------------------------ */

static const struct nvme_field *find_field(uint32_t offset, const char *name)
{
	const struct nvme_field *f = nvme_reg_fields(offset);

	while (f->name != NULL && strcmp(f->name, name) != 0)
		f++;
	assert_non_null(f->name);
	return f;
}

static void check_value(uint32_t offset, const char *name, uint64_t value, const char *text)
{
	char buf[128];
	int n = nvme_format_field_value(buf, sizeof(buf), find_field(offset, name), value);

	assert_string_equal(buf, text);
	assert_int_equal(n, strlen(text));
}

static void test_field_values(void **state)
{
	char buf[128];

	(void)state;
	check_value(NVME_REG_CAP, "TO", 15, "7500 ms");
	check_value(NVME_REG_CAP, "TO", 255, "127500 ms");
	check_value(NVME_REG_CAP, "MQES", 2047, "2048 entries");
	check_value(NVME_REG_CAP, "MPSMIN", 0, "4096 bytes");
	check_value(NVME_REG_CAP, "MPSMAX", 15, "134217728 bytes");
	check_value(NVME_REG_CAP, "DSTRD", 0, "4 bytes");
	check_value(NVME_REG_CAP, "DSTRD", 15, "131072 bytes");
	check_value(NVME_REG_CAP, "CSS", 0x41, "NVM, I/O command sets");
	check_value(NVME_REG_CAP, "CSS", 0xff, "NVM, I/O command sets, admin only");
	check_value(NVME_REG_CAP, "CSS", 0x02, ""); /* a bit without a name */
	check_value(NVME_REG_CAP, "CSS", 0, "none");
	check_value(NVME_REG_CAP, "CQR", 1, "yes");
	check_value(NVME_REG_CC, "IOSQES", 6, "64 bytes");
	check_value(NVME_REG_CC, "IOCQES", 4, "16 bytes");
	check_value(NVME_REG_CC, "SHN", 1, "normal shutdown notification");
	check_value(NVME_REG_CC, "CSS", 6, "all supported I/O command sets");
	check_value(NVME_REG_CC, "CSS", 5, "reserved");
	check_value(NVME_REG_CC, "EN", 1, "enabled");
	check_value(NVME_REG_CSTS, "SHST", 2, "shutdown processing complete");
	check_value(NVME_REG_CSTS, "CFS", 1, "fatal error");
	check_value(NVME_REG_AQA, "ASQS", 31, "32 entries");
	check_value(NVME_REG_ASQ, "ASQB", 0x12345, "0x12345000");
	check_value(NVME_REG_VS, "MJR", 1, "");
	check_value(NVME_REG_NSSR, "NSSRC", 0x4e564d65, "reset the NVM subsystem");
	check_value(NVME_REG_CRTO, "CRWMT", 3, "1500 ms");
	check_value(NVME_REG_CMBSZ, "SZU", 2, "1 MiB");
	/* wider than the field */
	check_value(NVME_REG_CAP, "MPSMIN", 16, "");
	check_value(NVME_REG_CC, "IOSQES", UINT64_MAX, "");
	check_value(NVME_REG_CC, "EN", UINT64_C(0x100000001), "");
	check_value(NVME_REG_CAP, "MQES", UINT64_MAX, "");

	nvme_format_field(buf, sizeof(buf), find_field(NVME_REG_CAP, "TO"),
	                  UINT64_C(0x4008200f0107ff));
	assert_string_equal(buf, "[31:24] TO : 0xf 7500 ms");
	nvme_format_field(buf, sizeof(buf), find_field(NVME_REG_VS, "MJR"), 0x00010400);
	assert_string_equal(buf, "[31:16] MJR : 0x1");
	nvme_format_version(buf, sizeof(buf), 0x00010400);
	assert_string_equal(buf, "1.4.0");
	nvme_format_version(buf, sizeof(buf), 0x00020100);
	assert_string_equal(buf, "2.1.0");
}

/* Any opcode of any queue. Rows are in order, do not overlap and stay in CDW10 to CDW15. */
static void test_cmd_fields(void **state)
{
	static const struct nvme_cmd_field beyond[] = {{15, 63, 0, "BEYOND", ""},
	                                               {16, 31, 0, "BEYOND", ""},
	                                               {255, 63, 0, "BEYOND", ""}};
	int fields = 0, commands = 0;
	struct nvme_cmd cmd;

	(void)state;
	for (unsigned at = 0; at < 512; at++) {
		uint16_t qid = at < 256 ? 0 : 0xffff;
		const struct nvme_cmd_field *f = nvme_cmd_fields(qid, (uint8_t)at);
		uint32_t seen[6] = {0};

		assert_non_null(f);
		assert_true(f == nvme_cmd_fields(qid == 0 ? 0 : 1, (uint8_t)at));
		commands += f->name != NULL;
		for (; f->name != NULL; f++) {
			uint32_t dwords[16] = {0};
			uint64_t mask = nvme_field(UINT64_MAX, f->hi, f->lo);

			assert_non_null(f->what);
			assert_true(f->dword >= 10 && f->dword <= 15 && f->hi >= f->lo);
			assert_true(f->hi < 32 || (f->hi < 64 && f->lo < 32 && f->dword < 15));
			assert_true(f[1].name == NULL || f[1].dword > f->dword ||
			            (f[1].dword == f->dword && f[1].hi < f->lo));
			dwords[f->dword] = (uint32_t)mask;
			assert_true((seen[f->dword - 10] & (uint32_t)mask) == 0);
			seen[f->dword - 10] |= (uint32_t)mask;
			if (f->hi > 31) {
				dwords[f->dword + 1] = (uint32_t)(mask >> 32);
				assert_true((seen[f->dword - 9] & (uint32_t)(mask >> 32)) == 0);
				seen[f->dword - 9] |= (uint32_t)(mask >> 32);
			}
			/* all of its bits are found, and none besides */
			memcpy(&cmd, dwords, sizeof(cmd));
			assert_true(nvme_cmd_field_get(f, &cmd) == mask >> f->lo);
			for (unsigned i = 0; i < 16; i++)
				dwords[i] = ~dwords[i];
			memcpy(&cmd, dwords, sizeof(cmd));
			assert_true(nvme_cmd_field_get(f, &cmd) == 0);
			fields++;
		}
	}
	/* a row of one's own that leaves the command finds zeroes there */
	memset(&cmd, 0xff, sizeof(cmd));
	assert_true(nvme_cmd_field_get(&beyond[0], &cmd) == 0xffffffff);
	assert_true(nvme_cmd_field_get(&beyond[1], &cmd) == 0);
	assert_true(nvme_cmd_field_get(&beyond[2], &cmd) == 0);
	print_message("%d commands with %d fields\n", commands, fields);
	assert_true(commands > 30 && fields > 150);
}

/* Any offset, any value, any size of buffer. Fields do not overlap and stay in the register. */
static void test_registers(void **state)
{
	static const uint64_t values[] = {0, 1, UINT64_C(0x5555555555555555), UINT64_MAX};
	char buf[NVME_TEXT_MAX];
	int fields = 0;

	(void)state;
	for (uint32_t offset = 0; offset < 0x1100; offset++) {
		const struct nvme_field *f = nvme_reg_fields(offset);
		unsigned size = nvme_reg_size(offset);
		uint64_t seen = 0;

		assert_non_null(f);
		assert_non_null(nvme_reg_name(offset));
		for (; f->name != NULL; f++) {
			uint64_t mask = nvme_field(UINT64_MAX, f->hi, f->lo);

			assert_non_null(f->what);
			assert_true(f->hi >= f->lo && f->hi < 8 * size);
			assert_true((seen & mask) == 0);
			seen |= mask;
			fields++;
			for (size_t i = 0; i < COUNT(values); i++) {
				int n = nvme_format_field(buf, sizeof(buf), f, values[i]);

				assert_int_equal(n, strlen(buf));
				for (size_t cut = 0; cut <= (size_t)n; cut++) {
					char *part = malloc(cut + 1);

					assert_non_null(part);
					assert_int_equal(nvme_format_field(part, cut + 1, f,
					                                   values[i]),
					                 n);
					assert_int_equal(strlen(part), cut);
					free(part);
				}
				nvme_format_field_value(buf, 1, f, values[i]);
				assert_int_equal(buf[0], '\0');
			}
		}
	}
	assert_int_equal(nvme_reg_fields(0x39)->name == NULL, 1);
	assert_string_equal(nvme_reg_name(0x39), "RESERVED");
	assert_int_equal(nvme_reg_size(0x39), 0);
	assert_string_equal(nvme_reg_name(0x14), "CC");
	assert_int_equal(nvme_reg_size(0x00), 8);
	assert_int_equal(nvme_reg_size(0x14), 4);
	print_message("registers: %d fields\n", fields);
	assert_true(fields > 50);
}

static void check_reg_name(uint32_t offset, unsigned dstrd, const char *text)
{
	char buf[32];

	nvme_format_reg_name(buf, sizeof(buf), offset, dstrd);
	assert_string_equal(buf, text);
}

static void test_reg_names(void **state)
{
	char buf[4];
	volatile size_t size = sizeof(buf); /* the compiler would warn of the cut */

	(void)state;
	check_reg_name(0x00, 0, "CAP");
	check_reg_name(0x04, 0, "CAP+4");
	check_reg_name(0x2c, 0, "ASQ+4");
	check_reg_name(0x14, 0, "CC");
	check_reg_name(0x18, 0, "RESERVED");
	check_reg_name(0x1000, 0, "SQ0TDBL");
	check_reg_name(0x1004, 0, "CQ0HDBL");
	check_reg_name(0x1008, 0, "SQ1TDBL");
	check_reg_name(0x100c, 0, "CQ1HDBL");
	check_reg_name(0x1002, 0, "RESERVED");
	check_reg_name(0x1020, 3, "CQ0HDBL");
	check_reg_name(0x1040, 3, "SQ1TDBL");
	check_reg_name(0x1004, 3, "RESERVED");
	check_reg_name(0x1000, 16, "RESERVED");
	check_reg_name(0x1000, 0xffffffff, "RESERVED");
	check_reg_name(0xfffffffc, 0, "RESERVED");
	for (unsigned qid = 0; qid < 65536; qid += 257) {
		char name[32];

		snprintf(name, sizeof(name), "CQ%uHDBL", qid);
		check_reg_name(NVME_CQ_HDBL(qid, 2), 2, name);
	}
	assert_int_equal(nvme_format_reg_name(buf, size, 0x1000, 0), 7);
	assert_string_equal(buf, "SQ0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),     cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_log),        cmocka_unit_test(test_names),
		cmocka_unit_test(test_full_names), cmocka_unit_test(test_all_opcodes),
		cmocka_unit_test(test_longest),    cmocka_unit_test(test_field_values),
		cmocka_unit_test(test_cmd_fields), cmocka_unit_test(test_registers),
		cmocka_unit_test(test_reg_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
