// SPDX-License-Identifier: MIT
/*
 * libnvme's side of test_compare.c: what its headers say, and the commands that it builds. libnvme
 * hands a command to the kernel with ioctl(), and here ioctl() is a function that keeps it.
 */
#include <libnvme.h>
#include <stdarg.h>
#include <string.h>

#include "compare.h"

/* ---- numbers and structures ---- */

static struct compare_row rows[1024];
static size_t num_rows;

static void add(const char *list, const char *name, uint64_t value)
{
	struct compare_row row;

	row.list = list;
	row.name = name;
	row.value = value;
	if (num_rows < sizeof(rows) / sizeof(rows[0]))
		rows[num_rows++] = row;
}

#define VALUE(list, ours, theirs) add(list, #theirs, (uint32_t)(theirs));
#define SIZE(ours, theirs)        add("size", #theirs, sizeof(theirs));
#define FIELD(ours, our_field, theirs, field) \
	add("field", #theirs "." #field,      \
	    (uint64_t)offsetof(theirs, field) << 32 | sizeof(((theirs *)0)->field));
#define BITS(ours, theirs)                     \
	add("bit field", "NVME_" #theirs "_*", \
	    (uint64_t)NVME_##theirs##_MASK << NVME_##theirs##_SHIFT);
#define MASK(ours, theirs) add("bit field", #theirs, (uint32_t)(theirs));
#define ALONE(why, ours)
#define ALONE_FIELD(why, ours, field)

size_t compare_libnvme_rows(const struct compare_row **list)
{
	num_rows = 0;
#include "compare_list.h"
	*list = rows;
	return num_rows;
}

uint8_t compare_libnvme_lbaf(uint8_t flbas)
{
	uint8_t index;

	nvme_id_ns_flbas_to_lbaf_inuse(flbas, &index);
	return index;
}

/* ---- commands ---- */

static struct nvme_passthru_cmd64 sent; /* the last one */
static unsigned int num_sent;

/* Both structures are the same up to timeout_ms. */
int ioctl(int fd, unsigned long request, ...)
{
	size_t size = offsetof(struct nvme_passthru_cmd64, timeout_ms);
	va_list ap;

	(void)fd;
	if (request != NVME_IOCTL_ADMIN_CMD && request != NVME_IOCTL_IO_CMD &&
	    request != NVME_IOCTL_ADMIN64_CMD && request != NVME_IOCTL_IO64_CMD)
		return -1;
	va_start(ap, request);
	memcpy(&sent, va_arg(ap, void *), size);
	va_end(ap);
	num_sent++;
	return 0;
}

int compare_libnvme_send(const struct compare_cmd *cmd, const uint64_t *values, uint32_t sqe[16])
{
	memset(&sent, 0, sizeof(sent));
	memset(sqe, 0, 16 * sizeof(*sqe));
	num_sent = 0;
	cmd->send(values);
	if (num_sent != 1)
		return -1;
	sqe[0] = sent.opcode | (uint32_t)sent.flags << 8;
	sqe[1] = sent.nsid;
	memcpy(&sqe[10], &sent.cdw10, 6 * sizeof(*sqe));
	return 0;
}

static char data[4096]; /* nothing is ever transferred */

/* Arguments of a libnvme function: those that every structure has, then the rest. */
#define ARGS(type)                      \
	struct type args;               \
	memset(&args, 0, sizeof(args)); \
	args.args_size = sizeof(args);  \
	args.fd = -1

static void send_identify(const uint64_t *v)
{
	ARGS(nvme_identify_args);
	args.data = data;
	args.cns = (enum nvme_identify_cns)v[0];
	args.cntid = (uint16_t)v[1];
	args.cns_specific_id = (uint16_t)v[2];
	args.csi = (enum nvme_csi)v[3];
	args.uuidx = (uint8_t)v[4];
	nvme_identify(&args);
}

static void send_get_log(const uint64_t *v)
{
	ARGS(nvme_get_log_args);
	args.log = data;
	args.lid = (enum nvme_cmd_get_log_lid)v[0];
	args.lsp = (uint8_t)v[1];
	args.rae = v[2] != 0;
	args.len = (uint32_t)((v[3] | v[4] << 16) + 1) * 4;
	args.lsi = (uint16_t)v[5];
	args.lpo = v[6];
	args.csi = (enum nvme_csi)v[7];
	args.ot = v[8] != 0;
	args.uuidx = (uint8_t)v[9];
	nvme_get_log(&args);
}

static void send_set_features(const uint64_t *v)
{
	ARGS(nvme_set_features_args);
	args.fid = (uint8_t)v[0];
	args.save = v[1] != 0;
	args.cdw11 = (uint32_t)v[2];
	args.uuidx = (uint8_t)v[3];
	nvme_set_features(&args);
}

static void send_get_features(const uint64_t *v)
{
	ARGS(nvme_get_features_args);
	args.fid = (uint8_t)v[0];
	args.sel = (enum nvme_get_features_sel)v[1];
	args.cdw11 = (uint32_t)v[2];
	args.uuidx = (uint8_t)v[3];
	nvme_get_features(&args);
}

static void send_format(const uint64_t *v)
{
	ARGS(nvme_format_nvm_args);
	args.lbaf = (uint8_t)v[0];
	args.mset = (enum nvme_cmd_format_mset)v[1];
	args.pi = (enum nvme_cmd_format_pi)v[2];
	args.pil = (enum nvme_cmd_format_pil)v[3];
	args.ses = (enum nvme_cmd_format_ses)v[4];
	args.lbafu = (uint8_t)v[5];
	nvme_format_nvm(&args);
}

static void send_ns_mgmt(const uint64_t *v)
{
	ARGS(nvme_ns_mgmt_args);
	args.sel = (enum nvme_ns_mgmt_sel)v[0];
	args.csi = (uint8_t)v[1];
	nvme_ns_mgmt(&args);
}

static void send_ns_attach(const uint64_t *v)
{
	ARGS(nvme_ns_attach_args);
	args.sel = (enum nvme_ns_attach_sel)v[0];
	nvme_ns_attach(&args);
}

static void send_fw_download(const uint64_t *v)
{
	ARGS(nvme_fw_download_args);
	args.data = data;
	args.data_len = (uint32_t)(v[0] + 1) * 4;
	args.offset = (uint32_t)v[1] * 4;
	nvme_fw_download(&args);
}

static void send_fw_commit(const uint64_t *v)
{
	ARGS(nvme_fw_commit_args);
	args.slot = (uint8_t)v[0];
	args.action = (enum nvme_fw_commit_ca)v[1];
	args.bpid = v[2] != 0;
	nvme_fw_commit(&args);
}

static void send_security_send(const uint64_t *v)
{
	ARGS(nvme_security_send_args);
	args.nssf = (uint8_t)v[0];
	args.spsp0 = (uint8_t)v[1];
	args.spsp1 = (uint8_t)(v[1] >> 8);
	args.secp = (uint8_t)v[2];
	args.tl = (uint32_t)v[3];
	nvme_security_send(&args);
}

static void send_security_receive(const uint64_t *v)
{
	ARGS(nvme_security_receive_args);
	args.nssf = (uint8_t)v[0];
	args.spsp0 = (uint8_t)v[1];
	args.spsp1 = (uint8_t)(v[1] >> 8);
	args.secp = (uint8_t)v[2];
	args.al = (uint32_t)v[3];
	nvme_security_receive(&args);
}

static void send_get_lba_status(const uint64_t *v)
{
	ARGS(nvme_get_lba_status_args);
	args.slba = v[0];
	args.mndw = (uint32_t)v[1];
	args.rl = (uint16_t)v[2];
	args.atype = (enum nvme_lba_status_atype)v[3];
	nvme_get_lba_status(&args);
}

static void send_directive_send(const uint64_t *v)
{
	ARGS(nvme_directive_send_args);
	args.data = data;
	args.data_len = (uint32_t)(v[0] + 1) * 4;
	args.doper = (enum nvme_directive_send_doper)v[1];
	args.dtype = (enum nvme_directive_dtype)v[2];
	args.dspec = (uint16_t)v[3];
	nvme_directive_send(&args);
}

static void send_directive_recv(const uint64_t *v)
{
	ARGS(nvme_directive_recv_args);
	args.data = data;
	args.data_len = (uint32_t)(v[0] + 1) * 4;
	args.doper = (enum nvme_directive_receive_doper)v[1];
	args.dtype = (enum nvme_directive_dtype)v[2];
	args.dspec = (uint16_t)v[3];
	nvme_directive_recv(&args);
}

static void send_sanitize(const uint64_t *v)
{
	ARGS(nvme_sanitize_nvm_args);
	args.sanact = (enum nvme_sanitize_sanact)v[0];
	args.ause = v[1] != 0;
	args.owpass = (uint8_t)v[2];
	args.oipbp = v[3] != 0;
	args.nodas = v[4] != 0;
	args.ovrpat = (uint32_t)v[5];
	nvme_sanitize_nvm(&args);
}

static void send_self_test(const uint64_t *v)
{
	ARGS(nvme_dev_self_test_args);
	args.stc = (enum nvme_dst_stc)v[0];
	nvme_dev_self_test(&args);
}

static void send_virtual_mgmt(const uint64_t *v)
{
	ARGS(nvme_virtual_mgmt_args);
	args.act = (enum nvme_virt_mgmt_act)v[0];
	args.rt = (enum nvme_virt_mgmt_rt)v[1];
	args.cntlid = (uint16_t)v[2];
	args.nr = (uint16_t)v[3];
	nvme_virtual_mgmt(&args);
}

static void send_flush(const uint64_t *v)
{
	(void)v;
	nvme_flush(-1, 1);
}

/* PRINFO as libnvme has it: four bits of control. */
static uint16_t prinfo(uint64_t v)
{
	return (uint16_t)((v & 1 ? NVME_IO_PRINFO_PRCHK_REF : 0) |
	                  (v & 2 ? NVME_IO_PRINFO_PRCHK_APP : 0) |
	                  (v & 4 ? NVME_IO_PRINFO_PRCHK_GUARD : 0) |
	                  (v & 8 ? NVME_IO_PRINFO_PRACT : 0));
}

/* SLBA, NLB, LR, FUA, PRINFO, STC and the three tags stand in all of these, in this order. */
static void send_io(const uint64_t *v, uint8_t opcode, uint16_t control, uint8_t dsm,
                    uint16_t dspec)
{
	ARGS(nvme_io_args);
	args.slba = v[0];
	args.nlb = (uint16_t)v[1];
	args.control = (uint16_t)(control | (v[2] ? NVME_IO_LR : 0) | (v[3] ? NVME_IO_FUA : 0) |
	                          prinfo(v[4]) | (v[5] ? NVME_IO_STC : 0));
	args.reftag_u64 = v[6]; /* takes the place of reftag */
	args.appmask = (uint16_t)v[7];
	args.apptag = (uint16_t)v[8];
	args.dsm = dsm;
	args.dspec = dspec;
	nvme_io(&args, opcode);
}

static void send_read(const uint64_t *v)
{
	send_io(v, nvme_cmd_read, 0, (uint8_t)v[9], 0);
}

static void send_write(const uint64_t *v)
{
	send_io(v, nvme_cmd_write, v[10] ? NVME_IO_DTYPE_STREAMS : 0, (uint8_t)v[9],
	        (uint16_t)v[11]);
}

static void send_compare(const uint64_t *v)
{
	send_io(v, nvme_cmd_compare, 0, 0, 0);
}

static void send_verify(const uint64_t *v)
{
	send_io(v, nvme_cmd_verify, 0, 0, 0);
}

static void send_write_zeroes(const uint64_t *v)
{
	send_io(v, nvme_cmd_write_zeroes, v[9] ? NVME_IO_DEAC : 0, 0, 0);
}

static void send_write_uncorrectable(const uint64_t *v)
{
	uint64_t all[9] = {v[0], v[1], 0, 0, 0, 0, 0, 0, 0};

	send_io(all, nvme_cmd_write_uncor, 0, 0, 0);
}

static void send_dsm(const uint64_t *v)
{
	struct nvme_dsm_range ranges[256];
	ARGS(nvme_dsm_args);
	memset(ranges, 0, sizeof(ranges));
	args.dsm = ranges;
	args.nr_ranges = (uint16_t)(v[0] + 1);
	args.attrs = (uint32_t)((v[1] ? NVME_DSMGMT_IDR : 0) | (v[2] ? NVME_DSMGMT_IDW : 0) |
	                        (v[3] ? NVME_DSMGMT_AD : 0));
	nvme_dsm(&args);
}

static void send_copy(const uint64_t *v)
{
	ARGS(nvme_copy_args);
	args.sdlba = v[0];
	args.nr = (uint16_t)(v[1] + 1);
	args.format = (uint8_t)v[2];
	args.prinfor = (uint8_t)v[3];
	args.dtype = (uint8_t)v[4];
	args.prinfow = (uint8_t)v[5];
	args.fua = v[6] != 0;
	args.lr = v[7] != 0;
	args.dspec = (uint16_t)v[8];
	nvme_copy(&args);
}

static void send_resv_register(const uint64_t *v)
{
	ARGS(nvme_resv_register_args);
	args.rrega = (enum nvme_resv_rrega)v[0];
	args.iekey = v[1] != 0;
	args.cptpl = (enum nvme_resv_cptpl)v[2];
	nvme_resv_register(&args);
}

static void send_resv_acquire(const uint64_t *v)
{
	ARGS(nvme_resv_acquire_args);
	args.racqa = (enum nvme_resv_racqa)v[0];
	args.iekey = v[1] != 0;
	args.rtype = (enum nvme_resv_rtype)v[2];
	nvme_resv_acquire(&args);
}

static void send_resv_release(const uint64_t *v)
{
	ARGS(nvme_resv_release_args);
	args.rrela = (enum nvme_resv_rrela)v[0];
	args.iekey = v[1] != 0;
	args.rtype = (enum nvme_resv_rtype)v[2];
	nvme_resv_release(&args);
}

static void send_resv_report(const uint64_t *v)
{
	ARGS(nvme_resv_report_args);
	args.len = (uint32_t)(v[0] + 1) * 4;
	args.eds = v[1] != 0;
	nvme_resv_report(&args);
}

static void send_zone_send(const uint64_t *v)
{
	ARGS(nvme_zns_mgmt_send_args);
	args.slba = v[0];
	args.zsa = (enum nvme_zns_send_action)v[1];
	args.select_all = v[2] != 0;
	args.zsaso = (uint8_t)v[3];
	nvme_zns_mgmt_send(&args);
}

static void send_zone_recv(const uint64_t *v)
{
	ARGS(nvme_zns_mgmt_recv_args);
	args.slba = v[0];
	args.zra = (enum nvme_zns_recv_action)v[1];
	args.zrasf = (uint16_t)v[2];
	args.zras_feat = v[3] != 0;
	args.data_len = (uint32_t)(v[4] + 1) * 4;
	nvme_zns_mgmt_recv(&args);
}

static void send_zone_append(const uint64_t *v)
{
	ARGS(nvme_zns_append_args);
	args.zslba = v[0];
	args.nlb = (uint16_t)v[1];
	args.control = (uint16_t)((v[2] ? NVME_IO_LR : 0) | (v[3] ? NVME_IO_FUA : 0) |
	                          prinfo(v[4]) | (v[5] ? NVME_IO_ZNS_APPEND_PIREMAP : 0));
	nvme_zns_append(&args);
}

#define U8  0xffu
#define U16 0xffffu
#define U32 0xffffffffu
#define U64 UINT64_MAX
#define LEN 0x3ffffffeu /* dwords, 0-based, of a length of 32 bits */
#define RW                                                                  \
	{"SLBA", U64}, {"NLB", U16}, {"LR", 1}, {"FUA", 1}, {"PRINFO", 15}, \
	{                                                                   \
		"STC", 1                                                    \
	}
#define EXPECTED_TAGS                    \
	{"ELBTL", U32}, {"ELBATM", U16}, \
	{                                \
		"ELBAT", U16             \
	}
#define TAGS                           \
	{"LBTL", U32}, {"LBATM", U16}, \
	{                              \
		"LBAT", U16            \
	}

static const struct compare_cmd cmds[] = {
	{"nvme_identify",
         0,
         {{"CNS", U8}, {"CNTID", U16}, {"CNSSID", U16}, {"CSI", U8}, {"UIDX", 127}},
         send_identify},
	{"nvme_get_log",
         0,
         {{"LID", U8},
          {"LSP", 127},
          {"RAE", 1},
          {"NUMDL", U16},
          {"NUMDU", 0x3ffe},
          {"LSI", U16},
          {"LPO", U64},
          {"CSI", U8},
          {"OT", 1},
          {"UIDX", 127}},
         send_get_log},
	{"nvme_set_features",
         0,
         {{"FID", U8}, {"SV", 1}, {"CDW11", U32}, {"UIDX", 127}},
         send_set_features},
	{"nvme_get_features",
         0,
         {{"FID", U8}, {"SEL", 7}, {"CDW11", U32}, {"UIDX", 127}},
         send_get_features},
	{"nvme_format_nvm",
         0,
         {{"LBAFL", 15}, {"MSET", 1}, {"PI", 7}, {"PIL", 1}, {"SES", 7}, {"LBAFU", 3}},
         send_format},
	{"nvme_ns_mgmt", 0, {{"SEL", 15}, {"CSI", U8}}, send_ns_mgmt},
	{"nvme_ns_attach", 0, {{"SEL", 15}}, send_ns_attach},
	{"nvme_fw_download", 0, {{"NUMD", LEN}, {"OFST", 0x3fffffff}}, send_fw_download},
	{"nvme_fw_commit", 0, {{"FS", 7}, {"CA", 7}, {"BPID", 1}}, send_fw_commit},
	{"nvme_security_send",
         0,
         {{"NSSF", U8}, {"SPSP", U16}, {"SECP", U8}, {"TL", U32}},
         send_security_send},
	{"nvme_security_receive",
         0,
         {{"NSSF", U8}, {"SPSP", U16}, {"SECP", U8}, {"AL", U32}},
         send_security_receive},
	{"nvme_get_lba_status",
         0,
         {{"SLBA", U64}, {"MNDW", U32}, {"RL", U16}, {"ATYPE", U8}},
         send_get_lba_status},
	{"nvme_directive_send",
         0,
         {{"NUMD", LEN}, {"DOPER", U8}, {"DTYPE", U8}, {"DSPEC", U16}},
         send_directive_send},
	{"nvme_directive_recv",
         0,
         {{"NUMD", LEN}, {"DOPER", U8}, {"DTYPE", U8}, {"DSPEC", U16}},
         send_directive_recv},
	{"nvme_sanitize_nvm",
         0,
         {{"SANACT", 7}, {"AUSE", 1}, {"OWPASS", 15}, {"OIPBP", 1}, {"NDAS", 1}, {"OVRPAT", U32}},
         send_sanitize},
	{"nvme_dev_self_test", 0, {{"STC", 15}}, send_self_test},
	{"nvme_virtual_mgmt",
         0,
         {{"ACT", 15}, {"RT", 7}, {"CNTLID", U16}, {"NR", U16}},
         send_virtual_mgmt},
	{"nvme_flush", 1, {{NULL, 0}}, send_flush},
	{"nvme_read", 1, {RW, EXPECTED_TAGS, {"DSM", U8}}, send_read},
	{"nvme_write", 1, {RW, TAGS, {"DSM", U8}, {"DTYPE", 1}, {"DSPEC", U16}}, send_write},
	{"nvme_compare", 1, {RW, EXPECTED_TAGS}, send_compare},
	{"nvme_verify", 1, {RW, EXPECTED_TAGS}, send_verify},
	{"nvme_write_zeros", 1, {RW, TAGS, {"DEAC", 1}}, send_write_zeroes},
	{"nvme_write_uncorrectable", 1, {{"SLBA", U64}, {"NLB", U16}}, send_write_uncorrectable},
	{"nvme_dsm", 1, {{"NR", U8}, {"IDR", 1}, {"IDW", 1}, {"AD", 1}}, send_dsm},
	{"nvme_copy",
         1,
         {{"SDLBA", U64},
          {"NR", U8},
          {"DESFMT", 15},
          {"PRINFOR", 15},
          {"DTYPE", 15},
          {"PRINFOW", 15},
          {"FUA", 1},
          {"LR", 1},
          {"DSPEC", U16}},
         send_copy},
	{"nvme_resv_register", 1, {{"RREGA", 7}, {"IEKEY", 1}, {"CPTPL", 3}}, send_resv_register},
	{"nvme_resv_acquire", 1, {{"RACQA", 7}, {"IEKEY", 1}, {"RTYPE", U8}}, send_resv_acquire},
	{"nvme_resv_release", 1, {{"RRELA", 7}, {"IEKEY", 1}, {"RTYPE", U8}}, send_resv_release},
	{"nvme_resv_report", 1, {{"NUMD", LEN}, {"EDS", 1}}, send_resv_report},
	{"nvme_zns_mgmt_send",
         1,
         {{"SLBA", U64}, {"ZSA", U8}, {"SELALL", 1}, {"ZSASO", 1}},
         send_zone_send},
	{"nvme_zns_mgmt_recv",
         1,
         {{"SLBA", U64}, {"ZRA", U8}, {"ZRASF", U8}, {"PR", 1}, {"NUMD", LEN}},
         send_zone_recv},
	{"nvme_zns_append",
         1,
         {{"ZSLBA", U64}, {"NLB", U16}, {"LR", 1}, {"FUA", 1}, {"PRINFO", 15}, {"PIREMAP", 1}},
         send_zone_append},
};

size_t compare_libnvme_cmds(const struct compare_cmd **list)
{
	*list = cmds;
	return sizeof(cmds) / sizeof(cmds[0]);
}
