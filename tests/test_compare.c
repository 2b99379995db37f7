// SPDX-License-Identifier: MIT
/*
 * What nvme.h and nvtrace say of the specification, compared with what others say: Debian's libnvme
 * (<nvme/types.h> and the commands that it builds) and the kernel's <linux/nvme_ioctl.h>. Nobody
 * copied from the other, so a number that is wrong here does not agree there.
 *
 * compare_list.h has the pairs of names, and those that only nvme.h knows, with the reason. A number
 * or field that is added to nvme.h and is not in that list fails the test.
 */
#define NVME_IMPLEMENTATION
#define NVME_STATIC
#include "nvme.h"
#include "../trace/fields.c"

#include <linux/nvme_ioctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compare.h"

/* ---- our side of the list ---- */

static struct compare_row ours[1024];
static struct compare_row alone[512]; /* list: why */
static size_t num_ours, num_alone;

static void add_to(struct compare_row *rows, size_t *num, const char *list, const char *name,
                   uint64_t value)
{
	assert_true(*num < 512 || rows == ours);
	assert_true(*num < 1024);
	rows[*num].list = list;
	rows[*num].name = name;
	rows[(*num)++].value = value;
}

static void add(const char *list, const char *name, uint64_t value)
{
	add_to(ours, &num_ours, list, name, value);
}

#define VALUE(list, name, theirs) add(list, #name, (uint32_t)(name));
#define SIZE(type, theirs)        add("size", #type, sizeof(type));
#define FIELD(type, field, theirs, their_field) \
	add("field", #type "." #field,          \
	    (uint64_t)offsetof(type, field) << 32 | sizeof(((type *)0)->field));
#define BITS(field, theirs)           add("bit field", #field, NVME_SET64(UINT64_MAX, field));
#define MASK(field, theirs)           add("bit field", #field, NVME_SET64(UINT64_MAX, field));
#define ALONE(why, name)              add_to(alone, &num_alone, why, #name, 0);
#define ALONE_FIELD(why, type, field) add_to(alone, &num_alone, why, #type "." #field, 0);

static char *header; /* nvme.h */
static char *spec;   /* of it >>spec and >>codes */

/* Adds the section from one banner to another. */
static bool add_section(const char *begin, const char *end)
{
	const char *from = strstr(header, begin);
	const char *to = strstr(header, end);

	if (from == NULL || to == NULL || to < from)
		return false;
	strncat(spec, from, (size_t)(to - from));
	return true;
}

static int fill(void **state)
{
	FILE *file = fopen("nvme.h", "rb");

	(void)state;
#include "compare_list.h"
	header = (char *)calloc(1, 1 << 20);
	if (file == NULL || header == NULL || fread(header, 1, (1 << 20) - 1, file) == 0)
		return -1;
	fclose(file);
	spec = (char *)calloc(1, 1 << 20);
	if (spec == NULL)
		return -1;
	return add_section("\n * >>spec\n", "\n * >>api\n") &&
	                       add_section("\n * >>codes\n", "\n * >>more\n")
	               ? 0
	               : -1;
}

static int release(void **state)
{
	(void)state;
	free(header);
	free(spec);
	return 0;
}

/* ---- the comparison ---- */

/* How many rows each list has, where it first occurs. */
static void print_counts(void)
{
	size_t i, k, n;

	for (i = 0; i < num_ours; i++) {
		for (k = 0; k < i && strcmp(ours[k].list, ours[i].list) != 0; k++)
			continue;
		for (n = 0, k = k < i ? num_ours : i; k < num_ours; k++)
			n += strcmp(ours[k].list, ours[i].list) == 0;
		if (n > 0)
			print_message("%4zu %s\n", n, ours[i].list);
	}
	print_message("%4zu in all, %zu only in nvme.h\n", num_ours, num_alone);
}

static void test_numbers_and_structures(void **state)
{
	const struct compare_row *theirs;
	size_t n = compare_libnvme_rows(&theirs), i, wrong = 0;

	(void)state;
	assert_int_equal(n, num_ours);
	for (i = 0; i < n; i++) {
		if (ours[i].value == theirs[i].value)
			continue;
		wrong++;
		if (strcmp(ours[i].list, "field") == 0)
			print_error("%s: %u bytes at %u, but %s: %u at %u\n", ours[i].name,
			            (uint32_t)ours[i].value, (uint32_t)(ours[i].value >> 32),
			            theirs[i].name, (uint32_t)theirs[i].value,
			            (uint32_t)(theirs[i].value >> 32));
		else
			print_error("%s: %s is %" PRIx64 "h, but %s is %" PRIx64 "h\n",
			            ours[i].list, ours[i].name, ours[i].value, theirs[i].name,
			            theirs[i].value);
	}
	print_counts();
	assert_int_equal(wrong, 0);
	assert_true(n > 500);
}

/* The tables for -H and the register dump say the same as the macros. */
static void test_register_tables(void **state)
{
	char name[64];
	size_t r, i, n = 0;

	(void)state;
	for (r = 0; r < sizeof(nvme__regs) / sizeof(nvme__regs[0]); r++) {
		const struct nvme_field *f = nvme__regs[r].fields;

		for (; f->name != NULL; f++) {
			snprintf(name, sizeof(name), "NVME_%s_%s", nvme__regs[r].name, f->name);
			for (i = 0; i < num_ours; i++) {
				if (strcmp(ours[i].name, name) != 0)
					continue;
				if (ours[i].value != nvme_field(UINT64_MAX, f->hi, f->lo))
					fail_msg("%s is not [%u:%u]", name, f->hi, f->lo);
				n++;
			}
		}
	}
	print_message("%zu fields of registers\n", n);
	assert_true(n > 40);
}

static void test_format_index(void **state)
{
	unsigned flbas;

	(void)state;
	for (flbas = 0; flbas < 256; flbas++)
		assert_int_equal(NVME_FLBAS_INDEX(flbas), compare_libnvme_lbaf((uint8_t)flbas));
}

/* ---- a command in the kernel's passthrough ---- */

#define KERNEL(type, field, theirs)                                                           \
	{                                                                                     \
#type "." #theirs, offsetof(struct nvme_cmd, field),                          \
			offsetof(struct type, theirs), sizeof(((struct nvme_cmd *)0)->field), \
			sizeof(((struct type *)0)->theirs)                                    \
	}
#define KERNEL_ALL(type)                                                                      \
	KERNEL(type, opc, opcode), KERNEL(type, flags, flags), KERNEL(type, cid, rsvd1),      \
		KERNEL(type, nsid, nsid), KERNEL(type, cdw2, cdw2), KERNEL(type, cdw3, cdw3), \
		KERNEL(type, mptr, metadata), KERNEL(type, dptr.prp.prp1, addr),              \
		KERNEL(type, cdw10, cdw10), KERNEL(type, cdw11, cdw11),                       \
		KERNEL(type, cdw12, cdw12), KERNEL(type, cdw13, cdw13),                       \
		KERNEL(type, cdw14, cdw14), KERNEL(type, cdw15, cdw15)

/* Where the two lengths of a passthrough command are, a command has its second pointer. */
static void test_kernel_passthrough(void **state)
{
	static const struct {
		const char *name;
		size_t at, their_at, size, their_size;
	} rows[] = {
		KERNEL_ALL(nvme_passthru_cmd),
		KERNEL_ALL(nvme_passthru_cmd64),
		KERNEL_ALL(nvme_uring_cmd),
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].at != rows[i].their_at || rows[i].size != rows[i].their_size)
			fail_msg("%s: %zu bytes at %zu, but here %zu at %zu", rows[i].name,
			         rows[i].their_size, rows[i].their_at, rows[i].size, rows[i].at);
	}
	print_message("%zu fields of commands\n", i);
}

/* ---- the dwords of commands ---- */

/* Which commands have the fields whose names begin so. */
static const struct group {
	const char *prefix;
	uint16_t qid;
	uint8_t opcs, opc[6];
} groups[] = {
	{"NVME_CREATE_IO_Q_", 0, 2, {NVME_OPC_CREATE_IO_SQ, NVME_OPC_CREATE_IO_CQ}},
	{"NVME_CREATE_IO_SQ_", 0, 1, {NVME_OPC_CREATE_IO_SQ}},
	{"NVME_CREATE_IO_CQ_", 0, 1, {NVME_OPC_CREATE_IO_CQ}},
	{"NVME_DELETE_IO_Q_", 0, 2, {NVME_OPC_DELETE_IO_SQ, NVME_OPC_DELETE_IO_CQ}},
	{"NVME_ABORT_", 0, 1, {NVME_OPC_ABORT}},
	{"NVME_IDENTIFY_", 0, 1, {NVME_OPC_IDENTIFY}},
	{"NVME_FEATURES_", 0, 2, {NVME_OPC_SET_FEATURES, NVME_OPC_GET_FEATURES}},
	{"NVME_SET_FEATURES_", 0, 1, {NVME_OPC_SET_FEATURES}},
	{"NVME_GET_FEATURES_", 0, 1, {NVME_OPC_GET_FEATURES}},
	{"NVME_FORMAT_", 0, 1, {NVME_OPC_FORMAT_NVM}},
	{"NVME_GET_LOG_PAGE_", 0, 1, {NVME_OPC_GET_LOG_PAGE}},
	{"NVME_RW_",
         1,
         6,
         {NVME_OPC_READ, NVME_OPC_WRITE, NVME_OPC_COMPARE, NVME_OPC_VERIFY, NVME_OPC_WRITE_ZEROES,
          NVME_OPC_WRITE_UNCORRECTABLE}},
	{"NVME_WRITE_ZEROES_", 1, 1, {NVME_OPC_WRITE_ZEROES}},
	{"NVME_DSM_", 1, 1, {NVME_OPC_DATASET_MANAGEMENT}},
	{"NVME_COPY_", 1, 1, {NVME_OPC_COPY}},
	{"NVME_NS_MANAGEMENT_", 0, 1, {NVME_OPC_NS_MANAGEMENT}},
	{"NVME_NS_ATTACHMENT_", 0, 1, {NVME_OPC_NS_ATTACHMENT}},
	{"NVME_SELF_TEST_", 0, 1, {NVME_OPC_DEVICE_SELF_TEST}},
	{"NVME_SANITIZE_", 0, 1, {NVME_OPC_SANITIZE}},
	{"NVME_ZONE_SEND_", 1, 1, {NVME_OPC_ZONE_MANAGEMENT_SEND}},
	{"NVME_ZONE_RECEIVE_", 1, 1, {NVME_OPC_ZONE_MANAGEMENT_RECEIVE}},
};

/* Places that are neither in a register nor in CDW10 to CDW15, and why. */
static const struct {
	const char *name, *where;
} elsewhere[] = {
	{"NVME_SGL_TYPE", "byte 15 of an SGL descriptor"},
	{"NVME_SGL_SUBTYPE", "byte 15 of an SGL descriptor"},
	{"NVME_CMD_FUSE", "the flags of a command"},
	{"NVME_CMD_PSDT", "the flags of a command"},
	{"NVME_OPC_DATA", "an opcode"},
	{"NVME_CPL_P", "the status of a completion"},
	{"NVME_CPL_SC", "the status of a completion"},
	{"NVME_CPL_SCT", "the status of a completion"},
	{"NVME_CPL_CRD", "the status of a completion"},
	{"NVME_CPL_M", "the status of a completion"},
	{"NVME_CPL_DNR", "the status of a completion"},
	{"NVME_ABORT_NOT_ABORTED", "dword 0 of a completion"},
	{"NVME_AER_TYPE", "dword 0 of a completion"},
	{"NVME_AER_INFO", "dword 0 of a completion"},
	{"NVME_AER_LID", "dword 0 of a completion"},
	{"NVME_AEC_SMART", "the value of a feature"},
	{"NVME_POWER_PS", "the value of a feature"},
	{"NVME_POWER_WH", "the value of a feature"},
	{"NVME_APST_ENABLE", "the value of a feature"},
	{"NVME_APST_ITPS", "the data of a feature"},
	{"NVME_APST_ITPT", "the data of a feature"},
	{"NVME_PSD_NOPS", "a power state"},
	{"NVME_COALESCING_THR", "the value of a feature"},
	{"NVME_COALESCING_TIME", "the value of a feature"},
	{"NVME_NUM_QUEUES_NSQ", "the value of a feature"},
	{"NVME_NUM_QUEUES_NCQ", "the value of a feature"},
	{"NVME_ID_SGLS", "a structure"},
	{"NVME_ID_SGLS_BIT_BUCKET", "a structure"},
	{"NVME_ID_QES_MIN", "a structure"},
	{"NVME_ID_QES_MAX", "a structure"},
	{"NVME_ID_VWC_PRESENT", "a structure"},
	{"NVME_FPI_SUPPORTED", "a structure"},
	{"NVME_FPI_REMAINING", "a structure"},
	{"NVME_FLBAS_LOW", "a structure"},
	{"NVME_FLBAS_HIGH", "a structure"},
	{"NVME_FLBAS_EXT", "a structure"},
	{"NVME_DPS_PIT", "a structure"},
	{"NVME_DPS_PIP", "a structure"},
	{"NVME_DLFEAT_READ", "a structure"},
	{"NVME_SSTAT_STATUS", "a structure"},
	{"NVME_SSTAT_PASSES", "a structure"},
	{"NVME_SSTAT_GDE", "a structure"},
	{"NVME_ZONE_TYPE", "a structure"},
	{"NVME_ZONE_STATE", "a structure"},
};

static size_t find_elsewhere(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
		if (strcmp(elsewhere[i].name, name) == 0)
			break;
	return i;
}

/* The commands that a name belongs to, and what of it is the name of the field. */
static const struct group *find_group(const char *name, const char **field)
{
	size_t i;

	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		*field = name + strlen(groups[i].prefix);
		if (strncmp(name, groups[i].prefix, strlen(groups[i].prefix)) == 0)
			return &groups[i];
	}
	return NULL;
}

/* The row with that name, or the end of the list. */
static const struct nvme_cmd_field *find_row(uint16_t qid, uint8_t opc, const char *field)
{
	const struct nvme_cmd_field *f = nvme_cmd_fields(qid, opc);

	while (f->name != NULL && strcmp(f->name, field) != 0)
		f++;
	return f;
}

/* How many commands have the field; each of them has it at these bits. */
static size_t check_cmd_macro(const struct group *g, const char *name, const char *field,
                              unsigned hi, unsigned lo)
{
	size_t i, n = 0;

	for (i = 0; i < g->opcs; i++) {
		const struct nvme_cmd_field *f = find_row(g->qid, g->opc[i], field);

		if (f->name == NULL)
			continue;
		n++;
		if (f->hi != hi || f->lo != lo)
			fail_msg("%s is [%u:%u], but %s of %s [%u:%u]", name, hi, lo, field,
			         nvme_opc_full_name(g->qid, g->opc[i]), f->hi, f->lo);
	}
	return n;
}

/* The same for a register: 1 or 0. */
static size_t check_reg_macro(const char *name, unsigned hi, unsigned lo)
{
	const struct nvme_field *f;
	size_t r, len;

	for (r = 0; r < sizeof(nvme__regs) / sizeof(nvme__regs[0]); r++) {
		len = strlen(nvme__regs[r].name);
		if (strncmp(name + 5, nvme__regs[r].name, len) != 0 || name[5 + len] != '_')
			continue;
		for (f = nvme_reg_fields(nvme__regs[r].offset); f->name != NULL; f++)
			if (strcmp(f->name, name + 5 + len + 1) == 0)
				break;
		if (f->name != NULL && (f->hi != hi || f->lo != lo))
			fail_msg("%s is [%u:%u], but in the register [%u:%u]", name, hi, lo, f->hi,
			         f->lo);
		return f->name != NULL;
	}
	return 0;
}

/* Every "#define NVME_X_Y hi, lo" is the place that the tables of registers and commands have. */
static void test_places(void **state)
{
	bool met[sizeof(elsewhere) / sizeof(elsewhere[0])] = {false};
	size_t regs = 0, cmds = 0, others = 0, i, wrong = 0;
	char name[64], *line, *save = NULL, *text = strdup(header);
	unsigned hi, lo;

	(void)state;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const struct group *g;
		const char *field;

		if (sscanf(line, "#define %63[A-Z0-9_] %u, %u", name, &hi, &lo) != 3)
			continue;
		i = find_elsewhere(name);
		g = find_group(name, &field);
		if (i < sizeof(elsewhere) / sizeof(elsewhere[0])) {
			others++;
			met[i] = true;
		} else if (g != NULL && check_cmd_macro(g, name, field, hi, lo) > 0) {
			cmds++;
		} else if (check_reg_macro(name, hi, lo) > 0) {
			regs++;
		} else {
			wrong++;
			print_error("%s is in no table of nvme.h: add a row to it, or the name to "
			            "those that are elsewhere\n",
			            name);
		}
	}
	for (i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		if (met[i])
			continue;
		wrong++;
		print_error("%s, in %s, is not in nvme.h\n", elsewhere[i].name, elsewhere[i].where);
	}
	free(text);
	print_message("%zu places in registers, %zu in commands, %zu elsewhere\n", regs, cmds,
	              others);
	assert_int_equal(wrong, 0);
	assert_true(regs > 50 && cmds > 30);
}

/* The macros for what is in two dwords. */
static void test_two_dwords(void **state)
{
	const struct nvme_cmd cmd = {.cdw10 = 0x89abcdef,
	                             .cdw11 = 0x01234567,
	                             .cdw12 = 0x76543210,
	                             .cdw13 = 0xfedcba98};
	const struct nvme_cmd_field *f;

	(void)state;
	f = find_row(1, NVME_OPC_READ, "SLBA");
	assert_true(nvme_cmd_field_get(f, &cmd) == UINT64_C(0x0123456789abcdef));
	assert_true(nvme_cmd_field_get(f, &cmd) == NVME_RW_SLBA(cmd.cdw10, cmd.cdw11));
	f = find_row(0, NVME_OPC_GET_LOG_PAGE, "LPO");
	assert_true(nvme_cmd_field_get(f, &cmd) == UINT64_C(0xfedcba9876543210));
	assert_true((nvme_cmd_field_get(find_row(0, NVME_OPC_GET_LOG_PAGE, "NUMDU"), &cmd) << 16 |
	             nvme_cmd_field_get(find_row(0, NVME_OPC_GET_LOG_PAGE, "NUMDL"), &cmd)) ==
	            NVME_GET_LOG_PAGE_NUMD(cmd.cdw10, cmd.cdw11));
}

/* Rows that libnvme agrees with. */
static const struct nvme_cmd_field *compared[512];
static size_t num_compared;

static bool was_compared(const struct nvme_cmd_field *f)
{
	size_t i;

	for (i = 0; i < num_compared; i++)
		if (compared[i] == f)
			return true;
	return false;
}

/* Are the fields of the command that libnvme has built where nvme.h looks for them? */
static void check_command(const struct compare_cmd *cmd, const uint64_t *values)
{
	struct nvme_cmd sqe;
	uint32_t dwords[16];
	size_t i;

	if (compare_libnvme_send(cmd, values, dwords) != 0)
		fail_msg("%s sends nothing", cmd->name);
	memcpy(&sqe, dwords, sizeof(sqe));
	for (i = 0; i < COMPARE_FIELDS && cmd->fields[i].name != NULL; i++) {
		const char *name = cmd->fields[i].name;
		const struct nvme_cmd_field *f = find_row(cmd->qid, sqe.opc, name);

		if (f->name == NULL)
			fail_msg("%s: nvme.h knows no %s of %s", cmd->name, name,
			         nvme_opc_full_name(cmd->qid, sqe.opc));
		if (nvme_cmd_field_get(f, &sqe) != values[i])
			fail_msg("%s: %s is %" PRIx64 "h, but nvme.h sees %" PRIx64 "h", cmd->name,
			         name, values[i], nvme_cmd_field_get(f, &sqe));
		if (!was_compared(f)) {
			assert_true(num_compared < sizeof(compared) / sizeof(compared[0]));
			compared[num_compared++] = f;
		}
	}
}

/* All fields 0, then each of them alone with all its bits, then all of them. */
static void test_commands(void **state)
{
	const struct compare_cmd *cmds;
	size_t n = compare_libnvme_cmds(&cmds), i, k, fields = 0;

	(void)state;
	for (i = 0; i < n; i++) {
		uint64_t none[COMPARE_FIELDS] = {0}, all[COMPARE_FIELDS] = {0};

		check_command(&cmds[i], none);
		for (k = 0; k < COMPARE_FIELDS && cmds[i].fields[k].name != NULL; k++) {
			uint64_t one[COMPARE_FIELDS] = {0};

			one[k] = all[k] = cmds[i].fields[k].most;
			check_command(&cmds[i], one);
			fields++;
		}
		check_command(&cmds[i], all);
	}
	print_message("%zu commands of libnvme with %zu fields\n", n, fields);
}

/* What libnvme 1.3 does not know yet, from later versions of nvme-cli and the specification. */
static void test_newer_fields(void **state)
{
	static const struct {
		uint16_t qid;
		uint8_t opc;
		const char *name;
		uint8_t dword, hi, lo; /* 0: there is no such field */
	} rows[] = {
		{0, NVME_OPC_SANITIZE, "EMVS", 10, 10, 10},
		{1, NVME_OPC_READ, "CETYPE", 12, 19, 16},
		{1, NVME_OPC_WRITE, "CETYPE", 12, 19, 16},
		{1, NVME_OPC_COMPARE, "CETYPE", 12, 19, 16},
		{1, NVME_OPC_VERIFY, "CETYPE", 12, 19, 16},
		{1, NVME_OPC_COPY, "CETYPE", 12, 19, 16},
		{1, NVME_OPC_COPY, "STCW", 12, 24, 24},
		{1, NVME_OPC_COPY, "STCR", 12, 25, 25},
		{1, NVME_OPC_READ, "DSM", 13, 7, 0},
		{1, NVME_OPC_COMPARE, "DSM", 0, 0, 0},
		{1, NVME_OPC_VERIFY, "DSM", 0, 0, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct nvme_cmd_field *f = find_row(rows[i].qid, rows[i].opc, rows[i].name);

		if (f->dword != rows[i].dword || f->hi != rows[i].hi || f->lo != rows[i].lo)
			fail_msg("%s of %s is CDW%u [%u:%u]", rows[i].name,
			         nvme_opc_full_name(rows[i].qid, rows[i].opc), f->dword, f->hi,
			         f->lo);
	}
}

/* A fabrics command has its type where others have the NSID. */
static void test_fabrics_type(void **state)
{
	char text[4096];
	struct rec rec;
	FILE *out = tmpfile();
	size_t n;

	(void)state;
	assert_non_null(out);
	memset(&rec, 0, sizeof(rec));
	rec.kind = REC_COMMAND;
	rec.cmd_have = HAVE_SQE;
	rec.cmd.opc = NVME_OPC_FABRIC;
	rec.cmd.nsid = NVME_FABRICS_DISCONNECT;
	print_bits(out, &rec);
	print_explanation(out, &rec);
	rewind(out);
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	fclose(out);
	assert_non_null(strstr(text, "      [7:0] FCTYPE : 0x8 DISCONNECT\n"));
	assert_non_null(strstr(text, "    It is a command of NVMe over Fabrics: DISCONNECT. "));
	assert_null(strstr(text, "NSID"));
}

/* ---- is anything left out? ---- */

static bool listed(const char *name)
{
	const struct group *g;
	const char *field;
	size_t i;

	for (i = 0; i < num_ours; i++)
		if (strcmp(ours[i].name, name) == 0)
			return true;
	for (i = 0; i < num_alone; i++)
		if (strcmp(alone[i].name, name) == 0)
			return true;
	g = find_group(name, &field);
	for (i = 0; g != NULL && i < g->opcs; i++)
		if (was_compared(find_row(g->qid, g->opc[i], field)))
			return true;
	return false;
}

/* Every number and macro of >>spec and >>codes. */
static void test_nothing_left_out(void **state)
{
	char name[64], *line, *save = NULL, *text;
	size_t n = 0, missing = 0;

	(void)state;
	text = strdup(spec);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "\t%63[A-Z0-9_] = ", name) != 1 &&
		    sscanf(line, "#define %63[A-Z0-9_]", name) != 1)
			continue;
		if (strncmp(name, "NVME_", 5) != 0 || strncmp(name, "NVME__", 6) == 0 ||
		    strcmp(name, "NVME_STATIC_ASSERT") == 0 || strcmp(name, "NVME_H_MORE") == 0 ||
		    strcmp(name, "NVME_GET") == 0 || strcmp(name, "NVME_GET64") == 0 ||
		    strcmp(name, "NVME_SET") == 0 || strcmp(name, "NVME_SET64") == 0)
			continue;
		n++;
		if (listed(name))
			continue;
		missing++;
		print_error("%s is not compared: add it to tests/compare_list.h\n", name);
	}
	free(text);
	print_message("%zu numbers and macros in nvme.h\n", n);
	assert_int_equal(missing, 0);
	assert_true(n > 500);
}

/* The same for the fields of the structures that are compared. */
static void test_no_field_left_out(void **state)
{
	size_t i, n = 0, missing = 0;

	(void)state;
	for (i = 0; i < num_ours; i++) {
		char start[80], field[48], name[128], *at, *end, *line, *save = NULL;

		if (strcmp(ours[i].list, "size") != 0)
			continue;
		snprintf(start, sizeof(start), "\n%s {\n", ours[i].name);
		at = strstr(spec, start);
		assert_non_null(at);
		at = strdup(at + strlen(start));
		end = strstr(at, "\n};");
		assert_non_null(end);
		*end = '\0';
		for (line = strtok_r(at, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			if (sscanf(line, "\tstruct %*s %47[a-z0-9_]", field) != 1 &&
			    sscanf(line, "\t%*[a-z0-9_] %47[a-z0-9_]", field) != 1)
				continue;
			if (strncmp(field, "rsvd", 4) == 0)
				continue;
			n++;
			snprintf(name, sizeof(name), "%s.%s", ours[i].name, field);
			if (listed(name))
				continue;
			missing++;
			print_error("%s is not compared: add it to tests/compare_list.h\n", name);
		}
		free(at);
	}
	print_message("%zu fields of structures in nvme.h\n", n);
	assert_int_equal(missing, 0);
	assert_true(n > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_and_structures),
		cmocka_unit_test(test_register_tables),
		cmocka_unit_test(test_format_index),
		cmocka_unit_test(test_kernel_passthrough),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_two_dwords),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_newer_fields),
		cmocka_unit_test(test_fabrics_type),
		cmocka_unit_test(test_nothing_left_out),
		cmocka_unit_test(test_no_field_left_out),
	};

	return cmocka_run_group_tests(tests, fill, release);
}
