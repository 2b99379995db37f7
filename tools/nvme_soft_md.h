/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft_md.h - the part of nvme_soft.h, which includes this file, for namespaces whose blocks
 * have metadata: where it is kept, how it comes and goes, and what protection information is for
 * (search for >>soft-md). [NVM 1.1: Metadata, End-to-end Data Protection]
 *
 * A command with metadata is staged: data and metadata of all its blocks stand apart from each other
 * there, however they are transferred, and nothing is written before all of it was checked.
 */
#ifndef NVME_SOFT_MD_H
#define NVME_SOFT_MD_H

/* ============================================================================================
 * >>soft-md
 * ============================================================================================ */

/* A command on its way through the stage. */
struct nvme_soft__md {
	uint8_t *data, *md;     /* of all blocks, one kind after the other */
	uint8_t *mixed;         /* as the host has it: metadata behind each block */
	size_t block, ms, nlb;  /* bytes, bytes, blocks */
	bool stays;             /* the metadata is not transferred */
	bool pract;             /* PRACT, where it means something */
	struct nvme_pi_ctx ctx; /* for data and md */
};

/* Is the metadata nothing but protection information, which PRACT keeps here? */
static bool nvme_soft__md_stays(const struct nvme_soft__ns *ns, const struct nvme_cmd *cmd)
{
	return ns->pi != 0 && (cmd->cdw12 & NVME_IO_FLAGS_PRACT) != 0 &&
	       ns->ms == sizeof(struct nvme_pi);
}

/* Bytes of a block as it is transferred by the data pointer. */
static uint64_t nvme_soft__md_in_data(const struct nvme_soft__ns *ns, const struct nvme_cmd *cmd)
{
	return (UINT64_C(1) << ns->lbads) +
	       (ns->extended && !nvme_soft__md_stays(ns, cmd) ? ns->ms : 0);
}

/*
 * PRINFO: without protection information only PRACT is ignored here. Type 3 has no reference tag to
 * check; type 1 wants that of the first LBA.
 */
static uint16_t nvme_soft__check_prinfo(const struct nvme_soft__ns *ns, const struct nvme_cmd *cmd)
{
	uint32_t prinfo = NVME_GET(cmd->cdw12, NVME_RW_PRINFO);
	bool ref_tag = (cmd->cdw12 & NVME_IO_FLAGS_PRCHK_REFTAG) != 0;

	if ((ns->pi == 0 && prinfo != 0 && prinfo != 8) || (ns->pi == 3 && ref_tag) ||
	    (ns->pi == 1 && ref_tag && cmd->cdw14 != cmd->cdw10) ||
	    (ns->pi != 0 && cmd->opc == NVME_OPC_COMPARE &&
	     (cmd->cdw12 & NVME_IO_FLAGS_PRACT) != 0))
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_PROTECTION_INFO);
	return 0;
}

/* ---- the memory ---- */

/* So many bytes of metadata have room for a namespace in any format. */
static uint64_t nvme_soft__md_room(const struct nvme_soft *s)
{
	return s->cfg.size / 512 * s->cfg.ms;
}

static uint8_t *nvme_soft__md_at(const struct nvme_soft__ns *ns, uint64_t lba)
{
	return ns->md + lba * ns->ms;
}

/*
 * Blocks that were never written, or deallocated, have metadata of zeros; their protection
 * information is all ones, so that it is not checked.
 */
static void nvme_soft__md_unwrite(const struct nvme_soft__ns *ns, uint64_t slba, uint64_t nlb)
{
	size_t at =
		ns->pil || ns->ms < sizeof(struct nvme_pi) ? 0 : ns->ms - sizeof(struct nvme_pi);
	uint64_t i;

	if (ns->ms == 0)
		return;
	memset(nvme_soft__md_at(ns, slba), 0, (size_t)(nlb * ns->ms));
	for (i = 0; i < nlb && ns->pi != 0; i++)
		memset(nvme_soft__md_at(ns, slba + i) + at, 0xff, sizeof(struct nvme_pi));
}

/* The LBA formats: 0 to 7 without metadata and, where it was asked for, 8 to 15 with it. */
static void nvme_soft__set_format(struct nvme_soft *s, struct nvme_soft__ns *ns, uint32_t format,
                                  uint32_t mset, uint32_t pi, uint32_t pil)
{
	ns->lbads = 9 + format % 8;
	ns->nsze = s->cfg.size >> ns->lbads;
	ns->ms = format < 8 ? 0 : s->cfg.ms;
	ns->extended = ns->ms != 0 && mset != 0;
	ns->pi = ns->ms != 0 ? (uint8_t)pi : 0;
	ns->pil = ns->pi != 0 && pil != 0;
	nvme_soft__md_unwrite(ns, 0, ns->nsze);
}

static int nvme_soft__open_md(struct nvme_soft *s)
{
	uint64_t room = nvme_soft__md_room(s), all = room * s->cfg.ns;
	uint32_t i, format = (uint32_t)__builtin_ctz(s->cfg.lbs) - 9;

	if (all != 0 && (size_t)all == all)
		s->md = (uint8_t *)nvme__reserve((size_t)all, true);
	if (all != 0 && s->md == NULL) {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "no room for %" PRIu64
		               " bytes of metadata: give a smaller size= or ms=",
		               all);
		return -ENOMEM;
	}
	for (i = 1; i <= s->cfg.ns; i++) {
		s->ns[i].md = s->md != NULL ? s->md + (i - 1) * room : NULL;
		nvme_soft__set_format(s, &s->ns[i], format + (s->cfg.ms != 0 ? 8 : 0), s->cfg.mset,
		                      s->cfg.pi, s->cfg.pil);
	}
	return 0;
}

static void nvme_soft__close_md(struct nvme_soft *s)
{
	if (s->md != NULL)
		nvme__unreserve(s->md, (size_t)(nvme_soft__md_room(s) * s->cfg.ns));
	free(s->stage);
}

/* What Identify Namespace says of it; id is zero there. */
static void nvme_soft__id_md(const struct nvme_soft *s, const struct nvme_soft__ns *ns,
                             struct nvme_id_ns *id)
{
	uint8_t i;

	if (s->cfg.ms == 0)
		return;
	id->nlbaf = 15;
	for (i = 0; i < 8; i++) {
		id->lbaf[8 + i].lbads = (uint8_t)(9 + i);
		id->lbaf[8 + i].ms = (uint16_t)s->cfg.ms;
	}
	id->mc = NVME_MC_EXTENDED | NVME_MC_SEPARATE;
	if (s->cfg.ms >= sizeof(struct nvme_pi))
		id->dpc = NVME_DPC_TYPE1 | NVME_DPC_TYPE2 | NVME_DPC_TYPE3 | NVME_DPC_FIRST |
		          NVME_DPC_LAST;
	id->dps = (uint8_t)(NVME_SET(ns->pi, NVME_DPS_PIT) | NVME_SET(ns->pil, NVME_DPS_PIP));
	if (ns->ms != 0)
		id->flbas = (uint8_t)((id->flbas | 8u) | NVME_SET(ns->extended, NVME_FLBAS_EXT));
}

/* ---- the stage ---- */

static uint16_t nvme_soft__md_begin(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    struct nvme_soft__md *m)
{
	const struct nvme_soft__ns *ns = job->ns;
	const struct nvme_cmd *cmd = &job->cmd;
	size_t size;

	memset(m, 0, sizeof(*m));
	m->block = (size_t)1 << ns->lbads;
	m->ms = ns->ms;
	m->nlb = (size_t)job->nlb;
	m->pract = ns->pi != 0 && (cmd->cdw12 & NVME_IO_FLAGS_PRACT) != 0;
	m->stays = nvme_soft__md_stays(ns, cmd);
	m->ctx.block_size = (uint32_t)m->block;
	m->ctx.md_size = ns->ms;
	m->ctx.first = ns->pil;
	m->ctx.type = ns->pi;
	m->ctx.flags = cmd->cdw12 & NVME__IO_FLAGS_PRCHK;
	m->ctx.app_tag = (uint16_t)NVME_GET(cmd->cdw15, NVME_RW_LBAT);
	m->ctx.app_tag_mask = (uint16_t)NVME_GET(cmd->cdw15, NVME_RW_LBATM);
	m->ctx.ref_tag = cmd->cdw14;
	size = 2 * m->nlb * (m->block + m->ms);
	if (size > s->stage_size) {
		free(s->stage);
		s->stage = (uint8_t *)malloc(size);
		s->stage_size = s->stage != NULL ? size : 0;
	}
	if (s->stage == NULL)
		return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
	m->data = s->stage;
	m->md = m->data + m->nlb * m->block;
	m->mixed = m->md + m->nlb * m->ms;
	memset(m->md, 0, m->nlb * m->ms);
	return 0;
}

/* From blocks with metadata behind each to one kind after the other, and back. */
static void nvme_soft__md_split(const struct nvme_soft__md *m)
{
	size_t i;

	for (i = 0; i < m->nlb; i++) {
		const uint8_t *from = m->mixed + i * (m->block + m->ms);

		memcpy(m->data + i * m->block, from, m->block);
		memcpy(m->md + i * m->ms, from + m->block, m->ms);
	}
}

static void nvme_soft__md_mix(const struct nvme_soft__md *m)
{
	size_t i;

	for (i = 0; i < m->nlb; i++) {
		uint8_t *to = m->mixed + i * (m->block + m->ms);

		memcpy(to, m->data + i * m->block, m->block);
		memcpy(to + m->block, m->md + i * m->ms, m->ms);
	}
}

/* ---- the transfer ---- */

/* Metadata in a buffer of its own: one piece at MPTR [Base 2.1 §4.1.1, Fig. 92: MPTR]. */
static uint16_t nvme_soft__md_transfer_mptr(struct nvme_soft *s, struct nvme_soft__job *job,
                                            const struct nvme_soft__md *m, bool to_host)
{
	uint8_t *at = m->md;
	struct nvme_trace_data data;
	uint16_t status;
	uint32_t i;

	data.iova = job->cmd.mptr;
	data.len = (uint32_t)(m->nlb * m->ms);
	data.cid = job->cmd.cid;
	data.to_host = to_host;
	s->num_pieces = 0;
	job->to_host = to_host;
	status = nvme_soft__cmb_check_md(s, job->cmd.mptr);
	if (status == 0)
		status = nvme_soft__add_iova(s, job, job->cmd.mptr, data.len);
	if (status != 0)
		return status;
	nvme_soft__trace(s, NVME_TRACE_DEV_DATA, job->sq->id, &data, sizeof(data));
	for (i = 0; i < s->num_pieces; at += s->pieces[i++].len) {
		if (to_host)
			memcpy(s->pieces[i].at, at, s->pieces[i].len);
		else
			memcpy(at, s->pieces[i].at, s->pieces[i].len);
	}
	return 0;
}

/* Where the metadata is to be is not given: what a plain read or write of this namespace lacks. */
static uint16_t nvme_soft__md_check_mptr(const struct nvme_soft__job *job,
                                         const struct nvme_soft__md *m)
{
	if (m->stays || job->ns->extended)
		return 0;
	if (job->cmd.mptr == 0 || (job->cmd.mptr & 3) != 0 ||
	    NVME_GET(job->cmd.flags, NVME_CMD_PSDT) == NVME_PSDT_SGL_MPTR)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	return 0;
}

static uint16_t nvme_soft__md_from_host(struct nvme_soft *s, struct nvme_soft__job *job,
                                        const struct nvme_soft__md *m)
{
	bool mixed = job->ns->extended && !m->stays;
	uint16_t status = nvme_soft__md_check_mptr(job, m);

	if (status == 0)
		status = nvme_soft_transfer(s, job, mixed ? m->mixed : m->data,
		                            m->nlb * (m->block + (mixed ? m->ms : 0)), false);
	if (status == 0 && mixed)
		nvme_soft__md_split(m);
	else if (status == 0 && !m->stays)
		status = nvme_soft__md_transfer_mptr(s, job, m, false);
	return status;
}

static uint16_t nvme_soft__md_to_host(struct nvme_soft *s, struct nvme_soft__job *job,
                                      const struct nvme_soft__md *m)
{
	bool mixed = job->ns->extended && !m->stays;
	uint16_t status = nvme_soft__md_check_mptr(job, m);

	if (status == 0 && mixed)
		nvme_soft__md_mix(m);
	if (status == 0)
		status = nvme_soft_transfer(s, job, mixed ? m->mixed : m->data,
		                            m->nlb * (m->block + (mixed ? m->ms : 0)), true);
	if (status == 0 && !mixed && !m->stays)
		status = nvme_soft__md_transfer_mptr(s, job, m, true);
	return status;
}

/* ---- the check ---- */

/* What stands in the stage, or where data and md point. */
static uint16_t nvme_soft__md_check(const struct nvme_soft__md *m, const uint8_t *data,
                                    const uint8_t *md)
{
	struct nvme_pi_error err;

	memset(&err, 0, sizeof(err));
	if (m->ctx.type == 0 || nvme_pi_verify(&m->ctx, data, md, (uint32_t)m->nlb, &err) == 0)
		return 0;
	return NVME_SOFT__MEDIA(err.sc);
}

/* ---- the commands ---- */

static uint16_t nvme_soft__md_read(struct nvme_soft *s, struct nvme_soft__job *job)
{
	struct nvme_soft__md m;
	uint16_t status = nvme_soft__md_begin(s, job, &m);

	if (status != 0)
		return status;
	memcpy(m.data, job->mem, m.nlb * m.block);
	memcpy(m.md, nvme_soft__md_at(job->ns, job->slba), m.nlb * m.ms);
	status = nvme_soft__md_check(&m, m.data, m.md);
	return status != 0 ? status : nvme_soft__md_to_host(s, job, &m);
}

static uint16_t nvme_soft__md_write(struct nvme_soft *s, struct nvme_soft__job *job)
{
	struct nvme_soft__md m;
	uint16_t status = nvme_soft__md_begin(s, job, &m);

	if (status == 0)
		status = nvme_soft__md_from_host(s, job, &m);
	if (status == 0 && m.pract)
		(void)nvme_pi_generate(&m.ctx, m.data, m.md, (uint32_t)m.nlb);
	else if (status == 0)
		status = nvme_soft__md_check(&m, m.data, m.md);
	if (status != 0)
		return status;
	memcpy(job->mem, m.data, m.nlb * m.block);
	memcpy(nvme_soft__md_at(job->ns, job->slba), m.md, m.nlb * m.ms);
	return 0;
}

/* Protection information is checked on both sides, and not compared. [NVM 1.1: Compare command] */
static uint16_t nvme_soft__md_compare(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const uint8_t *md = nvme_soft__md_at(job->ns, job->slba);
	struct nvme_soft__md m;
	uint16_t status = nvme_soft__md_begin(s, job, &m);
	size_t i, pi = job->ns->pi != 0 ? sizeof(struct nvme_pi) : 0, from;

	if (status == 0)
		status = nvme_soft__md_from_host(s, job, &m);
	if (status == 0)
		status = nvme_soft__md_check(&m, job->mem, md);
	if (status == 0)
		status = nvme_soft__md_check(&m, m.data, m.md);
	if (status != 0)
		return status;
	from = job->ns->pil ? pi : 0;
	for (i = 0; i < m.nlb; i++) {
		if (memcmp(m.data + i * m.block, job->mem + i * m.block, m.block) != 0 ||
		    memcmp(m.md + i * m.ms + from, md + i * m.ms + from, m.ms - pi) != 0)
			return NVME_SOFT__MEDIA(NVME_SC_COMPARE_FAILURE);
	}
	return 0;
}

/* [NVM 1.1: Verify command] */
static uint16_t nvme_soft__md_verify(struct nvme_soft *s, struct nvme_soft__job *job)
{
	struct nvme_soft__md m;
	uint16_t status = nvme_soft__md_begin(s, job, &m);

	if (status != 0)
		return status;
	return nvme_soft__md_check(&m, job->mem, nvme_soft__md_at(job->ns, job->slba));
}

/* The data is zero already. PRACT makes protection information for it, else that is zero, too. */
static uint16_t nvme_soft__md_write_zeroes(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint8_t *md = nvme_soft__md_at(job->ns, job->slba);
	struct nvme_soft__md m;
	uint16_t status = nvme_soft__md_begin(s, job, &m);

	if (status != 0)
		return status;
	memset(md, 0, m.nlb * m.ms);
	if (m.pract)
		(void)nvme_pi_generate(&m.ctx, job->mem, md, (uint32_t)m.nlb);
	return 0;
}

#endif /* NVME_SOFT_MD_H */
