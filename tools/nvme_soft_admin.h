/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft_admin.h - the part of nvme_soft.h, which includes this file, that has nothing to do
 * with the way of a command: what the controller says of itself, Format, and where memory is.
 *
 * CONTENTS (search for the tag)
 *	>>soft-event    asynchronous events, the error log
 *	>>soft-identify Identify
 *	>>soft-feature  Set Features, Get Features
 *	>>soft-log      Get Log Page
 *	>>soft-format   Format NVM
 *	>>soft-tasks    what goes on in the background: Device Self-test, Sanitize
 *	>>soft-iommu    dma_map() and dma_unmap()
 *	>>soft-disk     the memory of the namespaces, and the file behind it
 *	>>soft-test     what only tests call
 */
#ifndef NVME_SOFT_ADMIN_H
#define NVME_SOFT_ADMIN_H

/* ============================================================================================
 * >>soft-event
 * ============================================================================================ */

/*
 * The error log: the latest error first [Base 2.1 §5.1.12.1.2, Fig. 205: Error Information]. pel is
 * the byte of the command that is to blame, where the status tells.
 */
static void nvme_soft__record_error(struct nvme_soft *s, uint16_t sqid, const struct nvme_cmd *cmd,
                                    uint16_t status)
{
	struct nvme_error_log_entry *e = &s->errors[s->num_errors++ % NVME_SOFT__ERRORS];
	uint32_t sc = NVME_GET(status, NVME_CPL_SCT) == NVME_SCT_GENERIC
	                      ? NVME_GET(status, NVME_CPL_SC)
	                      : 0;

	memset(e, 0, sizeof(*e));
	e->ecnt = s->num_errors;
	e->sqid = sqid;
	e->cid = cmd->cid;
	e->sts = status;
	e->lpver = 1; /* csi and opc are there, and csi is 0: NVM */
	e->opc = cmd->opc;
	e->nsid = cmd->nsid;
	e->lba = sqid != 0 ? NVME_RW_SLBA(cmd->cdw10, cmd->cdw11) : 0;
	e->pel = 0xffff;
	if (sc == NVME_SC_INVALID_OPCODE)
		e->pel = offsetof(struct nvme_cmd, opc);
	else if (sc == NVME_SC_INVALID_NAMESPACE_OR_FORMAT)
		e->pel = offsetof(struct nvme_cmd, nsid);
	else if (sc == NVME_SC_INVALID_PRP_OFFSET)
		e->pel = offsetof(struct nvme_cmd, dptr);
	else if (sc == NVME_SC_LBA_OUT_OF_RANGE)
		e->pel = offsetof(struct nvme_cmd, cdw10);
	s->smart.error_log_entries[0] = s->num_errors;
}

/* Does the host want to hear of it? [Base 2.1: Asynchronous Event Configuration feature] */
static bool nvme_soft__event_wanted(const struct nvme_soft *s, struct nvme_soft__event e)
{
	static const uint32_t warning[] = {NVME_SMART_DEGRADED, NVME_SMART_TEMPERATURE,
	                                   NVME_SMART_SPARE};
	uint32_t config = s->features[NVME_FEAT_ASYNC_EVENT_CONFIG];

	if (e.type == NVME_AER_TYPE_SMART)
		return e.info > 2 || (config & warning[e.info]) != 0;
	return e.type != NVME_AER_TYPE_NOTICE || e.info > 1 || (config & (0x100u << e.info)) != 0;
}

/*
 * Completes outstanding Asynchronous Event Requests with what there is to tell. A type that was told
 * is masked until the host has read its log page. [Base 2.1: Asynchronous Event Request command]
 */
static void nvme_soft_deliver_events(struct nvme_soft *s)
{
	uint32_t i = 0;

	while (i < s->num_events && s->num_aers > 0 && nvme_soft__room(&s->cq[0]) > 0) {
		struct nvme_soft__event e = s->events[i];
		struct nvme_soft__job job;

		if ((s->masked >> e.type & 1) != 0) {
			i++;
			continue;
		}
		s->num_events--;
		memmove(&s->events[i], &s->events[i + 1], (s->num_events - i) * sizeof(e));
		s->masked |= 1u << e.type;
		memset(&job, 0, sizeof(job));
		job.sq = &s->sq[0];
		job.cmd.cid = s->aers[--s->num_aers];
		job.dw0 = NVME_SET(e.type, NVME_AER_TYPE) | NVME_SET(e.info, NVME_AER_INFO) |
		          NVME_SET(e.lid, NVME_AER_LID);
		nvme_soft_post_completion(s, &job, 0);
	}
}

static void nvme_soft_raise_event(struct nvme_soft *s, struct nvme_soft__event e)
{
	bool firmware = e.type == NVME_AER_TYPE_NOTICE && e.info == NVME_AER_NOTICE_FIRMWARE;
	uint32_t i;

	if (firmware && NVME_GET(s->csts, NVME_CSTS_RDY) != 0 && s->plan.activation != 0) {
		s->csts |= NVME_SET(1, NVME_CSTS_PP);
		s->pp_at = nvme_soft__after(s, s->plan.activation);
	}
	if (e.type == NVME_AER_TYPE_SMART && e.info == 1) {
		s->smart.critical_warning |= NVME_SMART_TEMPERATURE;
		s->smart.temperature[0] = 360 & 0xff; /* kelvin, above WCTEMP and CCTEMP */
	}
	if (e.lid == NVME_LOG_PAGE_CHANGED_NS_LIST && s->ns_changed == 0)
		s->ns_changed = 1;
	if (NVME_GET(s->csts, NVME_CSTS_RDY) == 0 || !nvme_soft__event_wanted(s, e))
		return;
	for (i = 0; i < s->num_events; i++) {
		if (memcmp(&s->events[i], &e, sizeof(e)) == 0)
			return;
	}
	if (s->num_events < NVME_SOFT__EVENTS)
		s->events[s->num_events++] = e;
	nvme_soft_deliver_events(s);
}

/* The log page was read: events that it explains are done, their type may be told again. */
static void nvme_soft__acknowledge(struct nvme_soft *s, uint32_t lid)
{
	uint32_t i, kept = 0;

	for (i = 0; i < s->num_events; i++) {
		if (s->events[i].lid != lid)
			s->events[kept++] = s->events[i];
	}
	s->num_events = kept;
	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__events); i++) {
		if (nvme_soft__events[i].event.lid == lid)
			s->masked &= ~(1u << nvme_soft__events[i].event.type);
	}
	nvme_soft_deliver_events(s);
}

static uint16_t nvme_soft_async_event_request(struct nvme_soft *s, struct nvme_soft__job *job)
{
	if (s->num_aers == NVME_SOFT__AERS)
		return NVME_SOFT__SPECIFIC(NVME_SC_ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED);
	s->aers[s->num_aers++] = job->cmd.cid;
	nvme_soft_deliver_events(s);
	return NVME_SOFT__LATER;
}

/* The timer begins anew. [Base 2.1: Keep Alive Timer feature] */
static void nvme_soft__feed(struct nvme_soft *s)
{
	uint32_t ms = s->features[NVME_FEAT_KEEP_ALIVE_TIMER];

	s->keep_alive_at = ms != 0 ? s->now + ms * NVME_SOFT__MS : NVME_SOFT__NEVER;
}

/* [Base 2.1: Keep Alive command] */
static uint16_t nvme_soft_keep_alive(struct nvme_soft *s, struct nvme_soft__job *job)
{
	(void)job;
	if (s->cfg.kas == 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_OPCODE);
	nvme_soft__feed(s);
	return 0;
}

/* ============================================================================================
 * >>soft-identify   [Base 2.1 §5.1.13: Identify command]
 * ============================================================================================ */

/* Blank padded, without an end. */
static void nvme_soft__pad(char *dst, size_t size, const char *text)
{
	size_t len = strlen(text);

	memset(dst, ' ', size);
	memcpy(dst, text, len < size ? len : size);
}

static void nvme_soft__id_strings(const struct nvme_soft *s, struct nvme_id_ctrlr *id)
{
	char text[32];

	snprintf(text, sizeof(text), "SOFT%08" PRIX32, s->cfg.seed);
	nvme_soft__pad(id->sn, sizeof(id->sn), text);
	nvme_soft__pad(id->mn, sizeof(id->mn), "nvme.h software controller");
	snprintf(text, sizeof(text), "%d.%d.%d", NVME_VERSION_MAJOR, NVME_VERSION_MINOR,
	         NVME_VERSION_PATCH);
	nvme_soft__pad(id->fr, sizeof(id->fr), text);
	if (s->plan.odd_strings) { /* what no terminal should be sent */
		memset(id->sn, 0x1b, sizeof(id->sn));
		memset(id->mn, 0xff, sizeof(id->mn));
		memset(id->fr, '\n', sizeof(id->fr));
	}
	snprintf(id->subnqn, sizeof(id->subnqn),
	         "nqn.2014-08.org.nvmexpress:uuid:%08" PRIx32 "-0000-4000-8000-736f66747761",
	         s->cfg.seed);
}

/* Each state needs half as much as the one before. */
static void nvme_soft__id_power(const struct nvme_soft *s, struct nvme_id_ctrlr *id)
{
	uint32_t i;

	id->npss = (uint8_t)(s->cfg.ps - 1);
	id->apsta = s->cfg.ps > 1 ? NVME_APSTA_SUPPORTED : 0;
	for (i = 0; i < s->cfg.ps; i++) {
		id->psd[i].mp = (uint16_t)(500 >> (i < 9 ? i : 8)); /* in 0.01 W */
		id->psd[i].flags =
			i >= (s->cfg.ps + 1) / 2 ? (uint8_t)NVME_SET(1, NVME_PSD_NOPS) : 0;
	}
}

/* [Base 2.1 §5.1.13.2.1, Fig. 312: Identify Controller Data Structure] */
static void nvme_soft__id_ctrlr(const struct nvme_soft *s, struct nvme_id_ctrlr *id)
{
	id->vid = id->ssvid = NVME_SOFT_VENDOR_ID;
	nvme_soft__id_strings(s, id);
	id->mdts = (uint8_t)s->cfg.mdts;
	id->cntlid = 1;
	id->ver = s->vs;
	id->rtd3r = id->rtd3e = 1000000;
	id->oaes = 0x300; /* namespace attribute and firmware activation notices */
	id->cntrltype = 1;
	id->oacs = (uint16_t)(NVME_OACS_FORMAT | NVME_OACS_SELF_TEST |
	                      (s->cfg.dbbuf ? NVME_OACS_DBBUF : 0));
	id->acl = NVME_SOFT__ABORTS - 1;
	id->aerl = NVME_SOFT__AERS - 1;
	id->frmw = 0x03; /* one slot, read only */
	id->lpa = NVME_LPA_EFFECTS | NVME_LPA_EXTENDED | NVME_LPA_SUPPORTED;
	id->elpe = NVME_SOFT__ERRORS - 1;
	id->wctemp = 343;
	id->cctemp = 353;
	id->tnvmcap[0] = s->disk_size;
	id->edstt = 1; /* minutes */
	id->mtfa = 10; /* a second */
	id->kas = (uint16_t)s->cfg.kas;
	id->sanicap = NVME_SANICAP_CRYPTO | NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE;
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = s->cfg.ns;
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_WRITE_UNC | NVME_ONCS_DSM |
	           NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE | NVME_ONCS_TIMESTAMP |
	           NVME_ONCS_VERIFY | NVME_ONCS_COPY;
	id->fuses = NVME_FUSES_COMPARE_AND_WRITE;
	id->acwu = NVME_SOFT__ACWU;
	id->cdfs = 0x1; /* Copy: ranges of format 0 */
	id->vwc = 0x07; /* present; Flush takes FFFFFFFFh */
	id->sgls = s->cfg.sgls;
	nvme_soft__id_power(s, id);
}

/* 8 and 16 bytes that nobody else has: locally administered, made from seed and NSID. */
static void nvme_soft__ns_names(const struct nvme_soft *s, uint32_t nsid, uint8_t *eui64,
                                uint8_t *nguid)
{
	int i;

	for (i = 0; i < 4; i++) {
		eui64[3 - i] = (uint8_t)(s->cfg.seed >> 8 * i);
		eui64[7 - i] = (uint8_t)(nsid >> 8 * i);
	}
	eui64[0] = (uint8_t)((eui64[0] & 0xfc) | 0x02);
	memcpy(nguid, "soft", 4);
	memcpy(nguid + 8, eui64, 8);
}

/* Identify Namespace, FPI: how much of a Format that a fault plan delays is still to be done. */
static uint8_t nvme_soft__format_progress(const struct nvme_soft *s, uint32_t nsid)
{
	uint32_t i;

	for (i = 0; i < s->num_late; i++) {
		const struct nvme_soft__job *job = &s->late[i];

		if (job->sq->id == 0 && job->cmd.opc == NVME_OPC_FORMAT_NVM && job->due > s->now &&
		    (job->cmd.nsid == nsid || job->cmd.nsid == NVME_NSID_ALL))
			return (uint8_t)(0x80 |
			                 (job->due - s->now) * 100 / (job->due - job->since));
	}
	return 0x80; /* the field is supported, and nothing remains */
}

/* [NVM 1.1 §4.1.5.1, Fig. 114: Identify Namespace Data Structure]. Format n: 512 << n bytes. */
static void nvme_soft__id_ns(const struct nvme_soft *s, uint32_t nsid, struct nvme_id_ns *id)
{
	const struct nvme_soft__ns *ns = &s->ns[nsid];
	uint8_t i;

	if (ns->nsze == 0) /* inactive: all is zero */
		return;
	id->nsze = id->ncap = id->nuse = ns->nsze;
	id->nlbaf = 7;
	id->flbas = (uint8_t)(ns->lbads - 9);
	id->fpi = nvme_soft__format_progress(s, nsid);
	id->dlfeat = 0x01; /* deallocated blocks read as zeroes */
	id->noiob = (uint16_t)s->cfg.noiob;
	id->nvmcap[0] = s->cfg.size;
	id->mssrl = NVME_SOFT__MSSRL;
	id->mcl = NVME_SOFT__MCL;
	id->msrc = NVME_SOFT__MSRC;
	nvme_soft__ns_names(s, nsid, id->eui64, id->nguid);
	for (i = 0; i < 8; i++)
		id->lbaf[i].lbads = (uint8_t)(9 + i);
	nvme_soft__id_md(s, ns, id);
	if (ns->zsze != 0)
		id->ncap = id->nuse = nvme_soft__num_zones(ns) * s->cfg.zcap;
}

/* The command set of the namespaces. */
static uint8_t nvme_soft__csi(const struct nvme_soft *s)
{
	return s->cfg.zns != 0 ? NVME_CSI_ZNS : NVME_CSI_NVM;
}

/* [Base 2.1: Namespace Identification Descriptor]: EUI-64, NGUID, UUID, command set. */
static void nvme_soft__id_descs(const struct nvme_soft *s, uint32_t nsid, uint8_t *at)
{
	at[0] = NVME_NIDT_EUI64;
	at[1] = 8;
	at[12] = NVME_NIDT_NGUID;
	at[13] = 16;
	nvme_soft__ns_names(s, nsid, at + 4, at + 16);
	at[32] = NVME_NIDT_UUID;
	at[33] = 16;
	memcpy(at + 36, at + 16, 16);
	at[36 + 6] = 0x40; /* version 4, variant 1 [RFC 9562] */
	at[36 + 8] = 0x80;
	at[52] = NVME_NIDT_CSI;
	at[53] = 1;
	at[56] = nvme_soft__csi(s);
}

static void nvme_soft__id_ns_list(const struct nvme_soft *s, uint32_t after, uint32_t *nsid)
{
	if (s->plan.has_nslist) {
		memcpy(nsid, s->plan.nslist, s->plan.num_nslist * sizeof(*nsid));
		return;
	}
	while (after < s->cfg.ns) {
		if (s->ns[++after].nsze != 0)
			*nsid++ = after;
	}
}

/* Changes what the plan says. */
static void nvme_soft__id_edit(const struct nvme_soft *s, uint32_t cns, uint32_t nsid,
                               uint8_t *data)
{
	uint32_t i;

	for (i = 0; i < s->plan.num_edits; i++) {
		const struct nvme_soft__edit *e = &s->plan.edits[i];
		size_t offset = e->field->offset;

		if (e->field->cns != cns)
			continue;
		if (offset == UINT16_MAX) {
			const struct nvme_id_ns *id = (const struct nvme_id_ns *)(const void *)data;

			offset = offsetof(struct nvme_id_ns, lbaf) +
			         NVME_FLBAS_INDEX(id->flbas) * sizeof(struct nvme_lbaf) +
			         (e->field->size == 1 ? offsetof(struct nvme_lbaf, lbads) : 0);
		}
		if (cns == NVME_ID_CNS_NS_IOCS &&
		    offset >= offsetof(struct nvme_zns_id_ns, lbafe) &&
		    nvme_soft__check_nsid(s, nsid) == 0) /* of the format in use */
			offset += (s->ns[nsid].lbads - 9) * sizeof(struct nvme_zns_lbafe);
		memcpy(data + offset, &e->value, e->field->size);
	}
}

/* Fills data, which is zero. [Base 2.1 §5.1.13, Fig. 310: CNS Values] */
static uint16_t nvme_soft__id_data(const struct nvme_soft *s, uint32_t cns, uint32_t csi,
                                   uint32_t nsid, void *data)
{
	uint8_t *bytes = (uint8_t *)data;
	uint16_t status = nvme_soft__check_nsid(s, nsid);

	switch (cns) {
	case NVME_ID_CNS_CTRLR:
		nvme_soft__id_ctrlr(s, (struct nvme_id_ctrlr *)data);
		return 0;
	case NVME_ID_CNS_ACTIVE_NS_LIST:
	case NVME_ID_CNS_ACTIVE_NS_LIST_IOCS:
		if (nsid >= NVME_NSID_ALL - 1)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_NAMESPACE_OR_FORMAT);
		if (cns == NVME_ID_CNS_ACTIVE_NS_LIST || csi == nvme_soft__csi(s))
			nvme_soft__id_ns_list(s, nsid, (uint32_t *)data);
		return 0;
	case NVME_ID_CNS_CTRLR_IOCS: /* all limits 0: none, or those of MDTS */
		if (csi == NVME_CSI_ZNS)
			bytes[0] = (uint8_t)s->cfg.zasl;
		return 0;
	case NVME_ID_CNS_IOCS: /* combination 0, a bit for each command set: NVM, and the zoned one */
		bytes[0] = (uint8_t)(1u << NVME_CSI_NVM | 1u << nvme_soft__csi(s));
		return 0;
	case NVME_ID_CNS_NS:
		if (status == 0)
			nvme_soft__id_ns(s, nsid, (struct nvme_id_ns *)data);
		return status;
	case NVME_ID_CNS_NS_ID_DESC:
		if (status == 0)
			nvme_soft__id_descs(s, nsid, bytes);
		return status;
	case NVME_ID_CNS_NS_INDEPENDENT:
		bytes[14] = 0x01; /* NSTAT: ready */
		return status;
	case NVME_ID_CNS_NS_IOCS:
		if (status == 0 && csi == NVME_CSI_ZNS)
			nvme_soft__id_zns(s, (struct nvme_zns_id_ns *)data);
		return status;
	default:
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	}
}

static uint16_t nvme_soft_identify(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t cns = NVME_GET(job->cmd.cdw10, NVME_IDENTIFY_CNS);
	uint32_t csi = NVME_GET(job->cmd.cdw11, NVME_IDENTIFY_CSI);
	uint32_t since = cns <= NVME_ID_CNS_CTRLR            ? 0
	                 : cns == NVME_ID_CNS_ACTIVE_NS_LIST ? NVME_VS_SET(1, 1, 0)
	                 : cns == NVME_ID_CNS_NS_ID_DESC     ? NVME_VS_SET(1, 3, 0)
	                                                     : NVME_VS_SET(2, 0, 0);
	uint16_t status;

	if (s->vs < since ||
	    (cns >= NVME_ID_CNS_NS_IOCS && csi != NVME_CSI_NVM && csi != nvme_soft__csi(s)))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	memset(s->page, 0, sizeof(s->page));
	status = nvme_soft__id_data(s, cns, csi, job->cmd.nsid, s->page);
	nvme_soft__id_edit(s, cns, job->cmd.nsid, (uint8_t *)s->page);
	return status != 0 ? status : nvme_soft_transfer(s, job, s->page, sizeof(s->page), true);
}

/* ============================================================================================
 * >>soft-feature   [Base 2.1: Set Features command, Get Features command]
 * ============================================================================================ */

static const struct nvme_soft__feature {
	uint8_t fid;
	bool data; /* a data structure; else the value is CDW11 */
	bool per_ns;
	uint32_t mask; /* bits that can be set */
	uint32_t initial;
} nvme_soft__features[] = {
	{NVME_FEAT_ARBITRATION, false, false, 0xffffff07u, 0x07}, /* burst: no limit */
	{NVME_FEAT_POWER_MANAGEMENT, false, false, 0xff, 0},
	{NVME_FEAT_TEMPERATURE_THRESHOLD, false, false, 0x3fffff, 343},
	{NVME_FEAT_ERROR_RECOVERY, false, true, 0xffff, 0},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, false, false, 0x1, 1},
	{NVME_FEAT_NUMBER_OF_QUEUES, false, false, UINT32_MAX, 0},
	{NVME_FEAT_INTERRUPT_COALESCING, false, false, 0xffff, 0},
	{NVME_FEAT_INTERRUPT_VECTOR_CONFIG, false, false, 0x1ffff, 0},
	{NVME_FEAT_WRITE_ATOMICITY, false, false, 0x1, 0},
	{NVME_FEAT_ASYNC_EVENT_CONFIG, false, false, 0x31f, 0x31f},
	{NVME_FEAT_AUTO_POWER_STATE_TRANSITION, true, false, 0, 0},
	{NVME_FEAT_TIMESTAMP, true, false, 0, 0},
	{NVME_FEAT_KEEP_ALIVE_TIMER, false, false, UINT32_MAX, 0},
	{NVME_FEAT_HOST_IDENTIFIER, true, false, 0, 0},
};

static const struct nvme_soft__feature *nvme_soft__find_feature(const struct nvme_soft *s,
                                                                uint32_t fid)
{
	size_t i;

	if ((fid == NVME_FEAT_KEEP_ALIVE_TIMER && s->cfg.kas == 0) ||
	    (fid == NVME_FEAT_AUTO_POWER_STATE_TRANSITION && s->cfg.ps == 1))
		return NULL;
	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__features); i++) {
		if (nvme_soft__features[i].fid == fid)
			return &nvme_soft__features[i];
	}
	return NULL;
}

static void nvme_soft__reset_features(struct nvme_soft *s)
{
	uint32_t most = s->cfg.queues - 1;
	size_t i;

	memset(s->defaults, 0, sizeof(s->defaults));
	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__features); i++)
		s->defaults[nvme_soft__features[i].fid] = nvme_soft__features[i].initial;
	s->defaults[NVME_FEAT_NUMBER_OF_QUEUES] =
		NVME_SET(most, NVME_NUM_QUEUES_NSQ) | NVME_SET(most, NVME_NUM_QUEUES_NCQ);
	memcpy(s->features, s->defaults, sizeof(s->features));
}

/* Where the value is: the under temperature threshold takes the place of FID 0, which is none. */
static uint32_t nvme_soft__feature_slot(uint32_t fid, uint32_t cdw11)
{
	return fid == NVME_FEAT_TEMPERATURE_THRESHOLD && nvme_bits(cdw11, 21, 20) == 1 ? 0 : fid;
}

/* How many queues: asked for and granted, both 0-based [Base 2.1: Number of Queues feature]. */
static uint16_t nvme_soft__set_num_queues(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t nsq = NVME_GET(job->cmd.cdw11, NVME_NUM_QUEUES_NSQ), most = s->cfg.queues - 1;
	uint32_t ncq = NVME_GET(job->cmd.cdw11, NVME_NUM_QUEUES_NCQ), i;

	if (nsq == 65535 || ncq == 65535)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	for (i = 1; i <= s->cfg.queues; i++) {
		if (s->cq[i].entries != 0 || s->sq[i].entries != 0)
			return NVME_SOFT__GENERIC(NVME_SC_COMMAND_SEQUENCE_ERROR);
	}
	job->dw0 = NVME_SET(nsq < most ? nsq : most, NVME_NUM_QUEUES_NSQ) |
	           NVME_SET(ncq < most ? ncq : most, NVME_NUM_QUEUES_NCQ);
	s->features[NVME_FEAT_NUMBER_OF_QUEUES] = job->dw0;
	return 0;
}

/* Timestamp: 48 bits of milliseconds, that go on from when it was set [49]. Host Identifier: 8 or,
 * with EXHID, 16 bytes. */
static uint16_t nvme_soft__feature_data(struct nvme_soft *s, struct nvme_soft__job *job,
                                        uint32_t fid, bool to_host)
{
	bool wide = fid == NVME_FEAT_HOST_IDENTIFIER && (job->cmd.cdw11 & 1) != 0;
	size_t size = wide ? 16 : 8;
	uint64_t passed = (s->now - s->timestamp_set_at) / NVME_SOFT__MS;
	uint16_t status;

	memcpy(s->page, s->host_id, sizeof(s->host_id));
	if (fid == NVME_FEAT_TIMESTAMP)
		s->page[0] = nvme_bits(s->timestamp + passed, 47, 0) |
		             nvme_field(s->timestamp_set_at != 0 ? 1 : 0, 51, 49);
	if (fid == NVME_FEAT_AUTO_POWER_STATE_TRANSITION) {
		size = sizeof(s->apst);
		memcpy(s->page, s->apst, size);
		job->dw0 = to_host ? s->features[fid] : 0;
	}
	status = nvme_soft_transfer(s, job, s->page, size, to_host);
	if (status != 0 || to_host)
		return status;
	if (fid == NVME_FEAT_AUTO_POWER_STATE_TRANSITION) {
		memcpy(s->apst, s->page, size);
		s->features[fid] = job->cmd.cdw11 & 1;
	} else if (fid == NVME_FEAT_TIMESTAMP) {
		s->timestamp = nvme_bits(s->page[0], 47, 0);
		s->timestamp_set_at = s->now;
	} else {
		memset(s->host_id, 0, sizeof(s->host_id));
		memcpy(s->host_id, s->page, wide ? 16 : 8);
	}
	return 0;
}

static uint16_t nvme_soft_set_features(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t fid = NVME_GET(cmd->cdw10, NVME_FEATURES_FID), value = cmd->cdw11;
	const struct nvme_soft__feature *f = nvme_soft__find_feature(s, fid);

	if (f == NULL)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (NVME_GET(cmd->cdw10, NVME_SET_FEATURES_SV) != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_FEATURE_ID_NOT_SAVEABLE);
	if (!f->per_ns && cmd->nsid != 0 && cmd->nsid != NVME_NSID_ALL)
		return NVME_SOFT__SPECIFIC(NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC);
	if (f->per_ns && cmd->nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, cmd->nsid) != 0)
		return nvme_soft__check_nsid(s, cmd->nsid);
	if (f->data)
		return nvme_soft__feature_data(s, job, fid, false);
	if (fid == NVME_FEAT_NUMBER_OF_QUEUES)
		return nvme_soft__set_num_queues(s, job);
	if ((fid == NVME_FEAT_POWER_MANAGEMENT && NVME_GET(value, NVME_POWER_PS) >= s->cfg.ps) ||
	    (fid == NVME_FEAT_INTERRUPT_VECTOR_CONFIG && nvme_bits(value, 15, 0) > s->cfg.queues) ||
	    (fid == NVME_FEAT_TEMPERATURE_THRESHOLD && nvme_bits(value, 21, 20) > 1))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	s->features[nvme_soft__feature_slot(fid, value)] = value & f->mask;
	if (fid == NVME_FEAT_KEEP_ALIVE_TIMER)
		nvme_soft__feed(s);
	return 0;
}

/* SEL: 0 current, 1 default, 2 saved (there is none: default), 3 what can be done with it */
static uint16_t nvme_soft_get_features(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t fid = NVME_GET(job->cmd.cdw10, NVME_FEATURES_FID), cdw11 = job->cmd.cdw11;
	uint32_t sel = NVME_GET(job->cmd.cdw10, NVME_GET_FEATURES_SEL);
	uint32_t slot = nvme_soft__feature_slot(fid, cdw11);
	const struct nvme_soft__feature *f = nvme_soft__find_feature(s, fid);

	if (f == NULL || sel > 3)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (sel == 3) { /* saveable [0], per namespace [1], changeable [2] */
		job->dw0 = 0x4 | (f->per_ns ? 0x2u : 0);
		return 0;
	}
	if (f->data)
		return nvme_soft__feature_data(s, job, fid, true);
	job->dw0 = sel == 0 ? s->features[slot] : s->defaults[slot];
	if (slot == 0)
		job->dw0 &= 0xffff;
	if (fid == NVME_FEAT_INTERRUPT_VECTOR_CONFIG) {
		if (nvme_bits(cdw11, 15, 0) > s->cfg.queues)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
		if ((job->dw0 & 0xffff) != (cdw11 & 0xffff))
			job->dw0 = cdw11 & 0xffff; /* coalescing is remembered for one vector */
	}
	return 0;
}

/* ============================================================================================
 * >>soft-tasks   [Base 2.1: Device Self-test command, Sanitize command]
 *
 * What goes on in the background takes time of the controller's clock: a short self-test a second,
 * an extended one a minute, a sanitize operation a second.
 * ============================================================================================ */

#define NVME_SOFT__TEST_OK        0x0u
#define NVME_SOFT__TEST_ABORTED   0x1u /* by a Device Self-test command */
#define NVME_SOFT__TEST_RESET     0x2u /* by a reset of the controller */
#define NVME_SOFT__TEST_SANITIZED 0x9u

/* The self-test that is running ends: its result comes first in the log. */
static void nvme_soft__end_self_test(struct nvme_soft *s, uint32_t result)
{
	struct nvme_self_test_result *r = s->tests.result;

	if (s->tests.current == 0)
		return;
	memmove(r + 1, r, (NVME_SOFT__RESULTS - 1) * sizeof(*r));
	memset(r, 0, sizeof(*r));
	r->status = (uint8_t)(result | (uint32_t)s->tests.current << 4);
	if (s->test_nsid != 0) {
		r->valid = 0x1;
		memcpy(r->nsid, &s->test_nsid, sizeof(r->nsid));
	}
	s->tests.current = 0;
}

/* A reset ends a short one, an extended one goes on. */
static void nvme_soft__reset_self_test(struct nvme_soft *s)
{
	if (s->now >= s->test_until)
		nvme_soft__end_self_test(s, NVME_SOFT__TEST_OK);
	else if (s->tests.current == NVME_SELF_TEST_SHORT)
		nvme_soft__end_self_test(s, NVME_SOFT__TEST_RESET);
}

/* How much of the time from since to until is over, of so many parts. */
static uint64_t nvme_soft__passed(const struct nvme_soft *s, uint64_t since, uint64_t until,
                                  uint64_t parts)
{
	uint64_t whole = until > since ? until - since : 1, part = s->now - since;

	return part < whole ? (uint64_t)((double)part / (double)whole * (double)parts) : parts;
}

static void nvme_soft__self_test_log(struct nvme_soft *s, struct nvme_self_test_log *log)
{
	if (s->now >= s->test_until)
		nvme_soft__end_self_test(s, NVME_SOFT__TEST_OK);
	*log = s->tests;
	if (log->current != 0)
		log->completion = (uint8_t)nvme_soft__passed(s, s->test_since, s->test_until, 100);
}

static uint16_t nvme_soft_self_test(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t code = NVME_GET(job->cmd.cdw10, NVME_SELF_TEST_STC), nsid = job->cmd.nsid;

	if (nsid != 0 && nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, nsid) != 0)
		return nvme_soft__check_nsid(s, nsid);
	if (s->now >= s->test_until)
		nvme_soft__end_self_test(s, NVME_SOFT__TEST_OK);
	if (code == NVME_SELF_TEST_ABORT) {
		nvme_soft__end_self_test(s, NVME_SOFT__TEST_ABORTED);
		return 0;
	}
	if (code != NVME_SELF_TEST_SHORT && code != NVME_SELF_TEST_EXTENDED)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (s->tests.current != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_DEVICE_SELF_TEST_IN_PROGRESS);
	s->tests.current = (uint8_t)code;
	s->test_nsid = nsid;
	s->test_since = s->now;
	s->test_until = s->now + (code == NVME_SELF_TEST_SHORT ? 1u : 60u) * 1000 * NVME_SOFT__MS;
	return 0;
}

static bool nvme_soft__sanitizing(const struct nvme_soft *s)
{
	return s->now < s->sanitize_until;
}

static void nvme_soft__sanitize_log(const struct nvme_soft *s, struct nvme_sanitize_log *log)
{
	*log = s->sanitized;
	log->sprog = UINT16_MAX;
	log->eto = log->etbe = log->etce = log->etond = log->etbend = log->etcend = 1;
	if (!nvme_soft__sanitizing(s))
		return;
	log->sstat = NVME_SSTAT_RUNNING;
	log->sprog = (uint16_t)nvme_soft__passed(s, s->sanitize_since, s->sanitize_until, 65535);
}

/* With NDAS an overwrite leaves its pattern, inverted as often as it was said; else zeroes are read. */
static void nvme_soft__erase(struct nvme_soft *s, uint32_t cdw10, uint32_t pattern)
{
	uint32_t passes = NVME_GET(cdw10, NVME_SANITIZE_OWPASS), i;
	uint64_t at;

	for (i = 1; i <= s->cfg.ns; i++) {
		nvme_soft__zero(s, &s->ns[i], 0, s->cfg.size);
		nvme_soft__md_unwrite(&s->ns[i], 0, s->ns[i].nsze);
		nvme_soft__empty_zones(s, &s->ns[i]);
	}
	if (NVME_GET(cdw10, NVME_SANITIZE_SANACT) != NVME_SANITIZE_OVERWRITE ||
	    NVME_GET(cdw10, NVME_SANITIZE_NDAS) == 0)
		return;
	if (NVME_GET(cdw10, NVME_SANITIZE_OIPBP) != 0 && passes % 2 == 0)
		pattern = ~pattern; /* 16 passes, which are 0 here, are even too */
	for (at = 0; at + 4 <= s->disk_size; at += 4)
		memcpy(s->disk + at, &pattern, 4);
}

static uint16_t nvme_soft_sanitize(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t cdw10 = job->cmd.cdw10, action = NVME_GET(cdw10, NVME_SANITIZE_SANACT);
	bool overwrite = action == NVME_SANITIZE_OVERWRITE;
	uint32_t passes = NVME_GET(cdw10, NVME_SANITIZE_OWPASS);

	if (action == NVME_SANITIZE_EXIT_FAILURE) /* none has failed */
		return 0;
	if (action < NVME_SANITIZE_BLOCK_ERASE || action > NVME_SANITIZE_CRYPTO_ERASE)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	nvme_soft__end_self_test(s, NVME_SOFT__TEST_SANITIZED);
	nvme_soft__erase(s, cdw10, job->cmd.cdw11);
	s->sanitized.scdw10 = cdw10;
	s->sanitized.sstat = NVME_SSTAT_OK;
	if (overwrite)
		s->sanitized.sstat |= (uint16_t)NVME_SET(passes, NVME_SSTAT_PASSES);
	if (overwrite && passes == 0)
		s->sanitized.sstat |= (uint16_t)NVME_SET(16, NVME_SSTAT_PASSES);
	s->sanitize_since = s->now;
	s->sanitize_until = s->now + 1000 * NVME_SOFT__MS;
	return 0;
}

/* ============================================================================================
 * >>soft-log   [Base 2.1 §5.1.12: Get Log Page command]
 * ============================================================================================ */

/* Puts a log page into s->page, which is zero. Returns its size, 0: there is no such page. */
static size_t nvme_soft__log_page(struct nvme_soft *s, uint32_t lid)
{
	uint8_t *bytes = (uint8_t *)s->page;
	uint32_t *dwords = (uint32_t *)(void *)bytes;
	struct nvme_smart_log *smart = (struct nvme_smart_log *)(void *)bytes;
	struct nvme_error_log_entry *errors = (struct nvme_error_log_entry *)(void *)bytes;
	const struct nvme_soft__handler *h;
	uint64_t i;

	switch (lid) {
	case NVME_LOG_PAGE_SUPPORTED:
		for (i = NVME_LOG_PAGE_SUPPORTED; i <= NVME_LOG_PAGE_FEATURE_EFFECTS; i++)
			dwords[i] = i <= NVME_LOG_PAGE_DEVICE_SELF_TEST || i > 0x11;
		dwords[NVME_LOG_PAGE_SANITIZE_STATUS] = 0x1;
		return 1024;
	case NVME_LOG_PAGE_ERROR:
		for (i = 0; i < s->num_errors && i < NVME_SOFT__ERRORS; i++)
			errors[i] = s->errors[(s->num_errors - 1 - i) % NVME_SOFT__ERRORS];
		return sizeof(s->errors);
	case NVME_LOG_PAGE_SMART:
		*smart = s->smart;
		smart->data_units_read[0] = (s->data_read + 999) / 1000;
		smart->data_units_written[0] = (s->data_written + 999) / 1000;
		return sizeof(*smart);
	case NVME_LOG_PAGE_FIRMWARE_SLOT:
		bytes[0] = 1; /* slot 1 is running */
		snprintf((char *)bytes + 8, 16, "%-8.8s", "0.1");
		return sizeof(struct nvme_fw_slot_log);
	case NVME_LOG_PAGE_CHANGED_NS_LIST:
		for (i = 0; i < s->cfg.ns; i++) {
			if ((s->ns_changed >> i & 1) != 0)
				*dwords++ = (uint32_t)i + 1;
		}
		s->ns_changed = 0;
		return sizeof(struct nvme_ns_list);
	case NVME_LOG_PAGE_COMMAND_EFFECTS:
		for (i = 0; i < 512; i++) {
			h = nvme_soft__find_handler(i < 256, (uint8_t)i);
			dwords[i] = h != NULL ? h->effects : 0;
			if ((i == NVME_OPC_DOORBELL_BUFFER_CONFIG && !s->cfg.dbbuf) ||
			    (i == NVME_OPC_KEEP_ALIVE && s->cfg.kas == 0))
				dwords[i] = 0;
			if (i >= 256 && nvme_soft__lacks_zones(s, (uint8_t)i))
				dwords[i] = 0;
		}
		return 4096;
	case NVME_LOG_PAGE_DEVICE_SELF_TEST:
		nvme_soft__self_test_log(s, (struct nvme_self_test_log *)(void *)bytes);
		return sizeof(struct nvme_self_test_log);
	case NVME_LOG_PAGE_FEATURE_EFFECTS: /* FSUPP */
		for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__features); i++)
			dwords[nvme_soft__features[i].fid] =
				nvme_soft__find_feature(s, nvme_soft__features[i].fid) != NULL;
		return 1024;
	case NVME_LOG_PAGE_SANITIZE_STATUS:
		nvme_soft__sanitize_log(s, (struct nvme_sanitize_log *)(void *)bytes);
		return sizeof(struct nvme_sanitize_log);
	default:
		return 0;
	}
}

static uint16_t nvme_soft_get_log_page(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t lid = NVME_GET(cmd->cdw10, NVME_GET_LOG_PAGE_LID);
	uint64_t len = ((uint64_t)NVME_GET_LOG_PAGE_NUMD(cmd->cdw10, cmd->cdw11) + 1) * 4;
	uint64_t offset = (uint64_t)cmd->cdw13 << 32 | cmd->cdw12;
	uint16_t status;
	size_t size;

	memset(s->page, 0, sizeof(s->page));
	size = nvme_soft__log_page(s, lid);
	if (size == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_LOG_PAGE);
	if (offset > size || (offset & 3) != 0 || nvme_soft__too_long(s, len) ||
	    len > (UINT64_C(32) << 20) ||
	    (lid == NVME_LOG_PAGE_SMART && cmd->nsid != 0 && cmd->nsid != NVME_NSID_ALL))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	status = nvme_soft_walk_dptr(s, job, (size_t)len, true);
	if (status != 0)
		return status;
	nvme_soft__scatter(s, (uint8_t *)s->page + offset, size - (size_t)offset);
	if (NVME_GET(cmd->cdw10, NVME_GET_LOG_PAGE_RAE) == 0)
		nvme_soft__acknowledge(s, lid);
	return 0;
}

/* ============================================================================================
 * >>soft-dbbuf   [Base 2.1: Doorbell Buffer Config command]
 * ============================================================================================ */
static uint16_t nvme_soft_doorbell_buffer_config(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint64_t shadow = job->cmd.dptr.prp.prp1, event_idx = job->cmd.dptr.prp.prp2;
	size_t page_size = (size_t)nvme_soft__page_size(s);

	if (!s->cfg.dbbuf)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_OPCODE);
	if (shadow == 0 || event_idx == 0 || ((shadow | event_idx) & (page_size - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (nvme_soft__host(s, shadow, page_size) == NULL ||
	    nvme_soft__host(s, event_idx, page_size) == NULL)
		return nvme_soft_report_stray(s, job, shadow, page_size,
		                              "setting up doorbell buffers");
	s->shadow = shadow;
	s->event_idx = event_idx;
	return 0;
}

/* ============================================================================================
 * >>soft-format   [Base 2.1: Format NVM command]
 * ============================================================================================ */

/* MSET, PI and PIL are for formats with metadata; PI needs 8 bytes of it. */
static bool nvme_soft__format_ok(const struct nvme_soft *s, uint32_t format, uint32_t cdw10)
{
	uint32_t pi = NVME_GET(cdw10, NVME_FORMAT_PI);

	if (s->cfg.size >> (9 + format % 8) < s->cfg.zns) /* not a whole zone */
		return false;
	if (format < 8)
		return nvme_bits(cdw10, 8, 4) == 0;
	return s->cfg.ms != 0 && format < 16 &&
	       (pi == 0 || (pi <= 3 && s->cfg.ms >= sizeof(struct nvme_pi)));
}

static uint16_t nvme_soft_format(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t cdw10 = job->cmd.cdw10, nsid = job->cmd.nsid, i;
	uint32_t format =
		NVME_GET(cdw10, NVME_FORMAT_LBAFU) << 4 | NVME_GET(cdw10, NVME_FORMAT_LBAFL);

	if (nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, nsid) != 0)
		return nvme_soft__check_nsid(s, nsid);
	if (!nvme_soft__format_ok(s, format, cdw10))
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_FORMAT);
	if (NVME_GET(cdw10, NVME_FORMAT_SES) > 1) /* SES: none, user data */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	for (i = 1; i <= s->cfg.ns; i++) {
		if (nsid != NVME_NSID_ALL && nsid != i)
			continue;
		nvme_soft__zero(s, &s->ns[i], 0, s->cfg.size);
		nvme_soft__set_format(s, &s->ns[i], format, NVME_GET(cdw10, NVME_FORMAT_MSET),
		                      NVME_GET(cdw10, NVME_FORMAT_PI),
		                      NVME_GET(cdw10, NVME_FORMAT_PIL));
		nvme_soft__set_zones(s, &s->ns[i]);
	}
	return 0;
}

/* ============================================================================================
 * >>soft-iommu   dma_map() and dma_unmap()
 * ============================================================================================ */

static bool nvme_soft__range_ok(const struct nvme_dev *dev, uint64_t iova, uint64_t len)
{
	unsigned int i;

	for (i = 0; i < dev->num_iova; i++) {
		if (iova >= dev->iova[i].start && iova <= dev->iova[i].last &&
		    len - 1 <= dev->iova[i].last - iova)
			return true;
	}
	return false;
}

/* Adds a range; one that continues another, on both sides, becomes part of it. */
static int nvme_soft__add_map(struct nvme_soft *s, uint8_t *at, uint64_t len, uint64_t iova)
{
	struct nvme_soft__map *m, *before = NULL;

	if (nvme_soft__cmb_across(s, iova, len)) /* it would never be reached */
		return -EEXIST;
	for (m = s->maps; m < s->maps + s->num_maps; m++) {
		if (iova < m->iova + m->len && m->iova < iova + len)
			return -EEXIST;
		if (m->iova + m->len == iova && m->at + m->len == at)
			before = m;
	}
	if (before != NULL) {
		before->len += len;
		return 0;
	}
	if (s->num_maps == NVME_SOFT__MAX_MAPS)
		return -ENOSPC;
	m->iova = iova;
	m->len = len;
	m->at = at;
	s->num_maps++;
	return 0;
}

static int nvme_soft__dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t odd = ((uint64_t)(uintptr_t)vaddr | len | iova) & (dev->page_size - 1);
	const char *why = "not whole pages, or outside of the IOVA ranges";
	int rc = -EINVAL;

	nvme_soft__lock(s);
	if (++s->stats.map_calls == s->plan.map_fail)
		rc = -ENOMEM;
	else if (len > 0 && odd == 0 && nvme_soft__range_ok(dev, iova, len))
		rc = nvme_soft__add_map(s, (uint8_t *)vaddr, len, iova);
	if (rc == 0)
		s->stats.bytes_mapped += len;
	else
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "dma_map() of %zu bytes at %p as IOVA %016" PRIx64 "h: %s", len,
		               vaddr, iova,
		               rc == -ENOMEM   ? "fails, as planned"
		               : rc == -EEXIST ? "a part of it is mapped already"
		               : rc == -ENOSPC ? "too many mappings"
		                               : why);
	nvme_soft__find_rings(s);
	nvme_soft__unlock(s);
	return rc;
}

/* Takes [iova, iova + len) out of every range; what is left of one may be two. */
static int nvme_soft__dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t found = 0;
	uint32_t i = 0;

	nvme_soft__lock(s);
	while (i < s->num_maps) {
		struct nvme_soft__map m = s->maps[i];
		uint64_t end = m.iova + m.len, first = m.iova > iova ? m.iova : iova;
		uint64_t last = end < iova + len ? end : iova + len;

		if (first >= last) {
			i++;
			continue;
		}
		found += last - first;
		s->maps[i] = s->maps[--s->num_maps];
		if (m.iova < first) {
			s->maps[s->num_maps] = m;
			s->maps[s->num_maps++].len = first - m.iova;
		}
		if (last < end && s->num_maps < NVME_SOFT__MAX_MAPS) {
			s->maps[s->num_maps].iova = last;
			s->maps[s->num_maps].at = m.at + (last - m.iova);
			s->maps[s->num_maps++].len = end - last;
		}
	}
	s->stats.bytes_mapped -= found;
	nvme_soft__find_rings(s);
	nvme_soft__unlock(s);
	return found == len ? 0 : -ENOENT;
}

/* ============================================================================================
 * >>soft-disk   the memory of the namespaces, and the file behind it
 * ============================================================================================ */

#ifndef __wasm__

/* The file has the size of all namespaces, or gives it. Returns a file descriptor. */
static int nvme_soft__open_file(struct nvme_soft *s)
{
	struct nvme_soft__config *cfg = &s->cfg;
	int fd = open(cfg->file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	uint64_t want = cfg->size * cfg->ns, unit = (uint64_t)cfg->ns * cfg->lbs, have;
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) != 0 || (st.st_size == 0 && ftruncate(fd, (off_t)want) != 0)) {
		rc = -errno;
		NVME_SOFT__LOG(s, NVME_LOG_ERROR, "cannot open %s (%s): name another file",
		               cfg->file, strerror(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	have = st.st_size == 0 ? want : (uint64_t)st.st_size;
	if (cfg->size_given ? have != want : have % unit != 0) {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "%s has %" PRIu64 " bytes, which is not %s of %" PRIu64
		               ": leave size= out, or name another file",
		               cfg->file, have, cfg->size_given ? "the size" : "a multiple",
		               cfg->size_given ? want : unit);
		close(fd);
		return -EINVAL;
	}
	cfg->size = have / cfg->ns;
	return fd;
}

/* size bytes of the file; blank memory for fd -1. NULL: no room. */
static void *nvme_soft__map_disk(int fd, size_t size)
{
	void *mem;

	if (fd < 0)
		return nvme__reserve(size, true);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return mem != MAP_FAILED ? mem : NULL;
}

#else

static int nvme_soft__open_file(struct nvme_soft *s)
{
	NVME_SOFT__LOG(s, NVME_LOG_ERROR,
	               "cannot open %s, for WebAssembly maps no files: leave file= out",
	               s->cfg.file);
	return -ENOTSUP;
}

static void *nvme_soft__map_disk(int fd, size_t size)
{
	(void)fd; /* there is none */
	return nvme__reserve(size, true);
}

#endif

static int nvme_soft__open_disk(struct nvme_soft *s)
{
	void *mem = NULL;
	int fd = -1, rc;
	uint32_t i;

	if (s->cfg.file[0] != '\0') {
		fd = nvme_soft__open_file(s);
		if (fd < 0)
			return fd;
	}
	s->disk_size = s->cfg.size * s->cfg.ns;
	if ((size_t)s->disk_size == s->disk_size) /* not so: addresses have 32 bits */
		mem = nvme_soft__map_disk(fd, (size_t)s->disk_size);
	if (fd >= 0)
		close(fd);
	if (mem == NULL) {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "no room for %" PRIu64 " bytes: give a smaller size=", s->disk_size);
		return -ENOMEM;
	}
	s->disk = (uint8_t *)mem;
	for (i = 1; i <= s->cfg.ns; i++)
		s->ns[i].mem = s->disk + (i - 1) * s->cfg.size;
	rc = nvme_soft__open_md(s);
	return rc != 0 ? rc : nvme_soft__open_zones(s);
}

/* ============================================================================================
 * >>soft-test   the functions of nvme_soft.h with which a test steers and looks
 * ============================================================================================ */

NVMEDEF int nvme_soft_set_plan(const struct nvme_dev *dev, const char *text)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	char why[NVME_SOFT__WHY_SIZE];
	struct nvme_soft__plan plan;
	uint32_t i;
	int rc;

	nvme_soft__plan_init(&plan);
	rc = nvme_soft__parse_plan(text != NULL ? text : "", &plan, why);
	nvme_soft__lock(s);
	if (rc == 0) {
		s->plan = plan;
		s->vs = plan.vs;
		nvme_soft__schedule(s);
		s->plan.map_fail += plan.map_fail != 0 ? s->stats.map_calls : 0;
		for (i = 0; i < plan.num_events; i++)
			nvme_soft_raise_event(s, plan.events[i]);
	} else {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR, "%s", why);
	}
	nvme_soft__unlock(s);
	return rc;
}

NVMEDEF void nvme_soft_inject_aer(const struct nvme_dev *dev, uint32_t type, uint32_t info,
                                  uint32_t lid)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	struct nvme_soft__event e = {(uint8_t)(type & 7), (uint8_t)info, (uint8_t)lid};

	nvme_soft__lock(s);
	nvme_soft_raise_event(s, e);
	nvme_soft__unlock(s);
}

NVMEDEF int nvme_soft_resize_ns(const struct nvme_dev *dev, uint32_t nsid, uint64_t blocks)
{
	struct nvme_soft__event e = {NVME_AER_TYPE_NOTICE, NVME_AER_NOTICE_NS,
	                             NVME_LOG_PAGE_CHANGED_NS_LIST};
	struct nvme_soft *s = nvme_soft__of(dev);
	int rc = -EINVAL;

	nvme_soft__lock(s);
	if (nsid != 0 && nsid <= s->cfg.ns && blocks <= s->cfg.size >> s->ns[nsid].lbads) {
		s->ns[nsid].nsze = blocks;
		s->ns_changed |= UINT64_C(1) << (nsid - 1);
		nvme_soft_raise_event(s, e);
		rc = 0;
	}
	nvme_soft__unlock(s);
	return rc;
}

NVMEDEF void nvme_soft_get_stats(const struct nvme_dev *dev, struct nvme_soft_stats *stats)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	nvme_soft__lock(s);
	*stats = s->stats;
	stats->now_ns = s->now;
	nvme_soft__unlock(s);
}

NVMEDEF uint64_t nvme_soft_get_doorbells(const struct nvme_dev *dev, uint16_t qid, bool cq)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t rings = 0;

	nvme_soft__lock(s);
	if (qid <= NVME_SOFT__MAX_QUEUES)
		rings = cq ? s->cq[qid].rings : s->sq[qid].rings;
	nvme_soft__unlock(s);
	return rings;
}

NVMEDEF void *nvme_soft_get_ns_memory(const struct nvme_dev *dev, uint32_t nsid, size_t *size)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	if (nsid == 0 || nsid > s->cfg.ns)
		return NULL;
	if (size != NULL)
		*size = (size_t)s->cfg.size;
	return s->ns[nsid].mem;
}

NVMEDEF void *nvme_soft_get_ns_metadata(const struct nvme_dev *dev, uint32_t nsid, size_t *size)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	if (nsid == 0 || nsid > s->cfg.ns || s->ns[nsid].ms == 0)
		return NULL;
	if (size != NULL)
		*size = (size_t)(s->ns[nsid].nsze * s->ns[nsid].ms);
	return s->ns[nsid].md;
}

NVMEDEF int nvme_soft_set_zone_state(const struct nvme_dev *dev, uint32_t nsid, uint64_t lba,
                                     enum nvme_zone_state state)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	int rc = -EINVAL;

	nvme_soft__lock(s);
	if (nsid != 0 && nsid <= s->cfg.ns && s->ns[nsid].zsze != 0 && lba < s->ns[nsid].nsze &&
	    (state == NVME_ZONE_STATE_READ_ONLY || state == NVME_ZONE_STATE_OFFLINE)) {
		nvme_soft__zone_move(s, &s->ns[nsid], nvme_soft__zone_of(&s->ns[nsid], lba),
		                     (uint8_t)state);
		rc = 0;
	}
	nvme_soft__unlock(s);
	return rc;
}

NVMEDEF uint32_t nvme_soft_get_last_cmds(const struct nvme_dev *dev, struct nvme_soft_cmd *list,
                                         uint32_t max)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t n;
	uint32_t i;

	nvme_soft__lock(s);
	n = s->stats.admin_cmds + s->stats.io_cmds;
	max = max < NVME_SOFT_LAST_CMDS ? max : NVME_SOFT_LAST_CMDS;
	for (i = 0; i < max && i < n; i++)
		list[i] = s->last[(n - 1 - i) % NVME_SOFT_LAST_CMDS];
	nvme_soft__unlock(s);
	return i;
}

#endif /* NVME_SOFT_ADMIN_H */
