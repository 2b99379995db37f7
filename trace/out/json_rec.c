// SPDX-License-Identifier: MIT
#include "json_rec.h"

/* ---- commands ---- */

static const char *opcode_name(const struct rec *r, uint8_t opc)
{
	if (!(r->has & HAS_QID) && opc != NVME_OPC_FABRIC)
		return NULL; /* an admin command or one for I/O: another name each */
	return nvme_opc_name(r->qid, opc);
}

static void put_opcode(struct json *j, const struct rec *r, uint8_t opc)
{
	const char *name = opcode_name(r, opc);

	json_uint(j, "opc", opc);
	if (name != NULL)
		json_str(j, "name", name);
}

static void put_sgl(struct json *j, const struct nvme_sgl_desc *sgl)
{
	json_object(j, "sgl");
	json_uint(j, "type", NVME_GET(sgl->id, NVME_SGL_TYPE));
	json_str(j, "type_name", nvme_sgl_type_name((uint8_t)NVME_GET(sgl->id, NVME_SGL_TYPE)));
	json_uint(j, "subtype", NVME_GET(sgl->id, NVME_SGL_SUBTYPE));
	json_hex(j, "addr", sgl->addr);
	json_uint(j, "len", sgl->len);
	json_close(j);
}

/* An SGL has its length in the second half, without which only its address is known. */
static void put_dptr(struct json *j, const struct nvme_cmd *cmd, uint32_t have)
{
	uint32_t both = HAVE_DPTR1 | HAVE_DPTR2;

	if ((have & HAVE_FLAGS) && NVME_GET(cmd->flags, NVME_CMD_PSDT) != NVME_PSDT_PRP) {
		if ((have & both) == both)
			put_sgl(j, &cmd->dptr.sgl);
		return;
	}
	if ((have & HAVE_DPTR1) == HAVE_DPTR1)
		json_hex(j, "prp1", cmd->dptr.prp.prp1);
	if ((have & HAVE_DPTR2) == HAVE_DPTR2)
		json_hex(j, "prp2", cmd->dptr.prp.prp2);
}

static void put_common(struct json *j, const struct rec *r)
{
	const struct nvme_cmd *cmd = &r->cmd;
	uint32_t have = r->cmd_have;

	if (have & HAVE_OPC) {
		json_uint(j, "cid", cmd->cid);
		put_opcode(j, r, cmd->opc);
	}
	if (have & HAVE_FLAGS) {
		json_uint(j, "fuse", NVME_GET(cmd->flags, NVME_CMD_FUSE));
		json_uint(j, "psdt", NVME_GET(cmd->flags, NVME_CMD_PSDT));
	}
	if ((have & (HAVE_OPC | HAVE_NSID)) == (HAVE_OPC | HAVE_NSID) &&
	    cmd->opc == NVME_OPC_FABRIC) {
		json_uint(j, "fctype", cmd->nsid & 0xff);
		json_str(j, "fctype_name", nvme_fabrics_name((uint8_t)(cmd->nsid & 0xff)));
	} else if (have & HAVE_NSID) {
		json_uint(j, "nsid", cmd->nsid);
	}
	if ((have & HAVE_DW(2)) && cmd->cdw2 != 0)
		json_uint(j, "cdw2", cmd->cdw2);
	if ((have & HAVE_DW(3)) && cmd->cdw3 != 0)
		json_uint(j, "cdw3", cmd->cdw3);
	if ((have & HAVE_MPTR) == HAVE_MPTR)
		json_hex(j, "mptr", cmd->mptr);
	put_dptr(j, cmd, have);
}

/* Does the source carry the field? Of CDW12 it may be the number of blocks only. */
static bool have_field(const struct nvme_cmd_field *f, uint32_t have)
{
	uint32_t need = HAVE_DW(f->dword);

	if (f->hi > 31)
		need |= HAVE_DW(f->dword + 1);
	if ((have & need) == need)
		return true;
	return f->dword == 12 && f->lo == 0 && f->hi == 15 && (have & HAVE_NLB) &&
	       strcmp(f->name, "NLB") == 0;
}

void json_lower(char *to, size_t size, const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0' && i + 1 < size; i++) {
		bool upper = name[i] >= 'A' && name[i] <= 'Z';
		bool lower = name[i] >= 'a' && name[i] <= 'z';
		bool digit = name[i] >= '0' && name[i] <= '9';

		to[i] = upper ? (char)(name[i] - 'A' + 'a') : lower || digit ? name[i] : '_';
	}
	to[i] = '\0';
}

/* Create I/O Submission Queue has a QID and Abort a CID, which are not those of the command. */
static bool taken(const char *key, const struct nvme_cmd_field *first,
                  const struct nvme_cmd_field *f)
{
	static const char *const keys[] = {
		"event", "number", "time_ns", "ctrlr", "tid",    "file", "func",
		"line",  "qid",    "cid",     "opc",   "name",   "fuse", "psdt",
		"nsid",  "mptr",   "prp1",    "prp2",  "fctype", "sgl",  "outstanding",
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (keys[i][0] == key[0] && strcmp(keys[i], key) == 0)
			return true;
	}
	for (; first != f; first++) {
		if (strcmp(first->name, f->name) == 0)
			return true;
	}
	return false;
}

static void put_field(struct json *j, const struct nvme_cmd *cmd,
                      const struct nvme_cmd_field *first, const struct nvme_cmd_field *f)
{
	uint64_t value = nvme_cmd_field_get(f, cmd);
	char name[48], key[64];

	json_lower(name, sizeof(name), f->name);
	if (!taken(name, first, f))
		snprintf(key, sizeof(key), "%s", name);
	else
		snprintf(key, sizeof(key), "cdw%u_%s", (unsigned)f->dword, name);
	if (f->hi > 31)
		json_hex(j, key, value);
	else
		json_uint(j, key, value);
	if (strcmp(f->name, "NLB") == 0)
		json_uint(j, "blocks", value + 1);
}

/* The dwords that depend on the opcode: those without fields as they are. */
static void put_cdw10_15(struct json *j, const struct rec *r)
{
	const struct nvme_cmd_field *first = NULL, *f;
	uint32_t dw[16], named = 0;
	unsigned i;
	char key[8];

	memcpy(dw, &r->cmd, sizeof(dw));
	if ((r->cmd_have & HAVE_OPC) && ((r->has & HAS_QID) || r->cmd.opc == NVME_OPC_FABRIC))
		first = nvme_cmd_fields(r->has & HAS_QID ? r->qid : 0, r->cmd.opc);
	for (f = first; f != NULL && f->name != NULL; f++) {
		named |= HAVE_DW(f->dword) | (f->hi > 31 ? HAVE_DW(f->dword + 1) : 0);
		if (have_field(f, r->cmd_have))
			put_field(j, &r->cmd, first, f);
	}
	for (i = 10; i < 16; i++) {
		if (!(r->cmd_have & HAVE_DW(i)) || (named & HAVE_DW(i)) ||
		    (named != 0 && dw[i] == 0))
			continue;
		snprintf(key, sizeof(key), "cdw%u", i);
		json_uint(j, key, dw[i]);
	}
}

void json_command(struct json *j, const struct rec *r)
{
	put_common(j, r);
	put_cdw10_15(j, r);
}

/* ---- completions ---- */

static void put_status(struct json *j, const struct rec *r)
{
	uint16_t status = r->cpl.status;
	uint8_t sct = (uint8_t)NVME_GET(status, NVME_CPL_SCT),
		sc = (uint8_t)NVME_GET(status, NVME_CPL_SC);

	if (r->has & HAS_STATUS) {
		json_uint(j, "sct", sct);
		json_uint(j, "sc", sc);
		json_str(j, "status", nvme_status_name(sct, sc));
	}
	if (r->has & HAS_FLAGS) {
		json_uint(j, "crd", NVME_GET(status, NVME_CPL_CRD));
		json_uint(j, "more", NVME_GET(status, NVME_CPL_M));
		json_uint(j, "dnr", NVME_GET(status, NVME_CPL_DNR));
	}
	if (r->has & HAS_PHASE)
		json_uint(j, "phase", NVME_GET(status, NVME_CPL_P));
}

void json_completion(struct json *j, const struct rec *r)
{
	json_uint(j, "cid", r->cpl.cid);
	if ((r->has & HAS_OPC) && (r->of_have & HAVE_OPC))
		put_opcode(j, r, r->of.opc);
	put_status(j, r);
	if (r->has & HAS_SQHD)
		json_uint(j, "sqhd", r->cpl.sqhd);
	if (r->has & HAS_SQID)
		json_uint(j, "sqid", r->cpl.sqid);
	if (r->has & HAS_DW0)
		json_uint(j, "cdw0", r->cpl.cdw0);
	if (r->has & HAS_DW1)
		json_uint(j, "cdw1", r->cpl.cdw1);
	if (r->has & HAS_LATENCY)
		json_uint(j, "latency_ns", r->latency_ns);
	if (r->cmd_number != 0)
		json_uint(j, "command", r->cmd_number);
}
