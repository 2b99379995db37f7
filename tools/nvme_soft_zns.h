/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft_zns.h - the part of nvme_soft.h, which includes this file, for zoned namespaces: the
 * states of zones, what a write may do to them, and the commands for them (search for >>soft-zns).
 * [ZNS: Zoned Namespace Concepts, Zone States]
 *
 * A state is left and entered in one place, nvme_soft__zone_move(), which counts the zones that are
 * open and active. A zone keeps its state when the controller is reset or shut down; a Format and a
 * Sanitize empty all.
 */
#ifndef NVME_SOFT_ZNS_H
#define NVME_SOFT_ZNS_H

/* ============================================================================================
 * >>soft-zns
 * ============================================================================================ */

static bool nvme_soft__zone_is_open(uint8_t state)
{
	return state == NVME_ZONE_STATE_IOPEN || state == NVME_ZONE_STATE_EOPEN;
}

static bool nvme_soft__zone_is_active(uint8_t state)
{
	return nvme_soft__zone_is_open(state) || state == NVME_ZONE_STATE_CLOSED;
}

static uint64_t nvme_soft__num_zones(const struct nvme_soft__ns *ns)
{
	return ns->zsze != 0 ? ns->nsze / ns->zsze : 0;
}

static struct nvme_soft__zone *nvme_soft__zone_of(const struct nvme_soft__ns *ns, uint64_t lba)
{
	return &ns->zones[lba / ns->zsze];
}

static uint64_t nvme_soft__zone_start(const struct nvme_soft__ns *ns,
                                      const struct nvme_soft__zone *z)
{
	return (uint64_t)(z - ns->zones) * ns->zsze;
}

static uint8_t *nvme_soft__zone_ext(const struct nvme_soft *s, const struct nvme_soft__ns *ns,
                                    const struct nvme_soft__zone *z)
{
	return ns->exts + (size_t)(z - ns->zones) * s->cfg.zdes;
}

/* ---- the memory ---- */

/* Zones of a namespace in the format that has most of them. */
static uint64_t nvme_soft__zones_room(const struct nvme_soft *s)
{
	return s->cfg.zns != 0 ? s->cfg.size / 512 / s->cfg.zns : 0;
}

static uint64_t nvme_soft__zone_bytes(const struct nvme_soft *s)
{
	return sizeof(struct nvme_soft__zone) + s->cfg.zdes;
}

/* All zones are empty, as in a namespace that was just formatted, whose blocks are zeros. */
static void nvme_soft__empty_zones(const struct nvme_soft *s, struct nvme_soft__ns *ns)
{
	uint64_t i, num = nvme_soft__num_zones(ns);

	for (i = 0; i < num; i++) {
		memset(&ns->zones[i], 0, sizeof(ns->zones[i]));
		ns->zones[i].state = NVME_ZONE_STATE_EMPTY;
	}
	if (num != 0)
		memset(ns->exts, 0, (size_t)(num * s->cfg.zdes));
	ns->num_open = ns->num_active = 0;
}

/* Zones have the same number of blocks in each format; blocks that make no whole zone are lost. */
static void nvme_soft__set_zones(const struct nvme_soft *s, struct nvme_soft__ns *ns)
{
	ns->zsze = s->cfg.zns;
	if (ns->zsze != 0)
		ns->nsze -= ns->nsze % ns->zsze;
	nvme_soft__empty_zones(s, ns);
}

/* The zones of all namespaces, then their extensions. */
static int nvme_soft__open_zones(struct nvme_soft *s)
{
	uint64_t room = nvme_soft__zones_room(s), all = room * s->cfg.ns;
	uint64_t size = all * nvme_soft__zone_bytes(s);
	uint32_t i;

	if (all == 0)
		return 0;
	if ((size_t)size == size)
		s->zones = (struct nvme_soft__zone *)nvme__reserve((size_t)size, true);
	if (s->zones == NULL) {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "no room for %" PRIu64 " zones: give a smaller size= or a larger "
		               "zns=",
		               all);
		return -ENOMEM;
	}
	for (i = 1; i <= s->cfg.ns; i++) {
		s->ns[i].zones = s->zones + (i - 1) * room;
		s->ns[i].exts = (uint8_t *)(s->zones + all) + (i - 1) * room * s->cfg.zdes;
		nvme_soft__set_zones(s, &s->ns[i]);
	}
	return 0;
}

static void nvme_soft__close_zones(struct nvme_soft *s)
{
	uint64_t all = nvme_soft__zones_room(s) * s->cfg.ns;

	if (s->zones != NULL)
		nvme__unreserve(s->zones, (size_t)(all * nvme_soft__zone_bytes(s)));
}

/* ---- Identify ---- */

/* Limits are 0-based there: one less than 0, for none, is all ones. */
static void nvme_soft__id_zns(const struct nvme_soft *s, struct nvme_zns_id_ns *id)
{
	uint32_t i;

	id->mar = s->cfg.mar - 1;
	id->mor = s->cfg.mor - 1;
	for (i = 0; i < 8; i++) {
		id->lbafe[i].zsze = s->cfg.size >> (9 + i) >= s->cfg.zns ? s->cfg.zns : 0;
		id->lbafe[i].zdes = (uint8_t)(s->cfg.zdes / 64);
	}
}

/* ---- states ---- */

static void nvme_soft__zone_move(struct nvme_soft *s, struct nvme_soft__ns *ns,
                                 struct nvme_soft__zone *z, uint8_t state)
{
	ns->num_open -= nvme_soft__zone_is_open(z->state);
	ns->num_active -= nvme_soft__zone_is_active(z->state);
	ns->num_open += nvme_soft__zone_is_open(state);
	ns->num_active += nvme_soft__zone_is_active(state);
	if (nvme_soft__zone_is_open(state) && !nvme_soft__zone_is_open(z->state))
		z->opened = ++s->zones_opened;
	z->state = state;
}

/* To make room for another, the zone that a write has opened the longest time ago is closed. */
static bool nvme_soft__close_oldest(struct nvme_soft *s, struct nvme_soft__ns *ns)
{
	uint64_t i, num = nvme_soft__num_zones(ns);
	struct nvme_soft__zone *oldest = NULL;

	for (i = 0; i < num; i++) {
		struct nvme_soft__zone *z = &ns->zones[i];

		if (z->state == NVME_ZONE_STATE_IOPEN &&
		    (oldest == NULL || z->opened < oldest->opened))
			oldest = z;
	}
	if (oldest != NULL)
		nvme_soft__zone_move(s, ns, oldest, NVME_ZONE_STATE_CLOSED);
	return oldest != NULL;
}

/* Are there resources for one more zone that is active, and open? */
static uint16_t nvme_soft__zone_room(struct nvme_soft *s, struct nvme_soft__ns *ns, bool active,
                                     bool open)
{
	if (active && s->cfg.mar != 0 && ns->num_active >= s->cfg.mar)
		return NVME_SOFT__SPECIFIC(NVME_SC_TOO_MANY_ACTIVE_ZONES);
	if (open && s->cfg.mor != 0 && ns->num_open >= s->cfg.mor &&
	    !nvme_soft__close_oldest(s, ns))
		return NVME_SOFT__SPECIFIC(NVME_SC_TOO_MANY_OPEN_ZONES);
	return 0;
}

/* Opens a zone that is empty, closed or, to be opened explicitly, open. */
static uint16_t nvme_soft__open_zone(struct nvme_soft *s, struct nvme_soft__ns *ns,
                                     struct nvme_soft__zone *z, uint8_t state)
{
	uint16_t status = 0;

	if (!nvme_soft__zone_is_open(z->state))
		status = nvme_soft__zone_room(s, ns, !nvme_soft__zone_is_active(z->state), true);
	if (status == 0)
		nvme_soft__zone_move(s, ns, z, state);
	return status;
}

static void nvme_soft__reset_zone(struct nvme_soft *s, struct nvme_soft__ns *ns,
                                  struct nvme_soft__zone *z)
{
	nvme_soft__zone_move(s, ns, z, NVME_ZONE_STATE_EMPTY);
	z->wp = 0;
	z->attributes = 0;
	if (s->cfg.zdes != 0)
		memset(nvme_soft__zone_ext(s, ns, z), 0, s->cfg.zdes);
	nvme_soft__zero(s, ns, nvme_soft__zone_start(ns, z) << ns->lbads, ns->zsze << ns->lbads);
}

/* ---- reads and writes of blocks, as job says ---- */

/* Where the state of a zone takes no write. 0: it does. */
static uint16_t nvme_soft__zone_takes(const struct nvme_soft__zone *z)
{
	switch (z->state) {
	case NVME_ZONE_STATE_FULL:
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONE_IS_FULL);
	case NVME_ZONE_STATE_READ_ONLY:
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONE_IS_READ_ONLY);
	case NVME_ZONE_STATE_OFFLINE:
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONE_IS_OFFLINE);
	default:
		return 0;
	}
}

/* A write stands at the write pointer, ends at the capacity, and opens the zone. */
static uint16_t nvme_soft__zone_check_write(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__zone *z = nvme_soft__zone_of(job->ns, job->slba);
	uint64_t at = job->slba % job->ns->zsze;
	uint16_t status = nvme_soft__zone_takes(z);

	if (status != 0)
		return status;
	if (at > s->cfg.zcap || job->nlb > s->cfg.zcap - at)
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONED_BOUNDARY_ERROR);
	if (at != z->wp)
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONE_INVALID_WRITE);
	if (nvme_soft__zone_is_open(z->state))
		return 0;
	return nvme_soft__open_zone(s, job->ns, z, NVME_ZONE_STATE_IOPEN);
}

/* A read stays in its zone, and an offline zone has nothing to read. */
static uint16_t nvme_soft__zone_check_read(const struct nvme_soft__job *job)
{
	const struct nvme_soft__zone *z = nvme_soft__zone_of(job->ns, job->slba);

	if (z->state == NVME_ZONE_STATE_OFFLINE)
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONE_IS_OFFLINE);
	if (job->nlb > job->ns->zsze - job->slba % job->ns->zsze)
		return NVME_SOFT__SPECIFIC(NVME_SC_ZONED_BOUNDARY_ERROR);
	return 0;
}

/*
 * A Zone Append has the start of a zone as its blocks: from here on they are those at the write
 * pointer. ZASL is checked as MDTS is. [ZNS: Zone Append command]
 */
static uint16_t nvme_soft__zone_place(const struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__zone *z = nvme_soft__zone_of(job->ns, job->slba);
	uint32_t shift = 12 + s->cfg.mpsmin + s->cfg.zasl;

	if (job->slba % job->ns->zsze != 0 ||
	    (s->cfg.zasl != 0 && shift < 40 && job->len > UINT64_C(1) << shift))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (nvme_soft__zone_takes(z) != 0)
		return nvme_soft__zone_takes(z);
	job->slba += z->wp;
	job->mem += z->wp << job->ns->lbads;
	return 0;
}

/* 0 for a command whose blocks the zones allow, and for any of a namespace without zones. */
static uint16_t nvme_soft__check_zones(struct nvme_soft *s, struct nvme_soft__job *job, bool writes)
{
	uint16_t status = 0;

	if (job->ns->zsze == 0)
		return 0;
	if (job->cmd.opc == NVME_OPC_ZONE_APPEND)
		status = nvme_soft__zone_place(s, job);
	if (status != 0)
		return status;
	return writes ? nvme_soft__zone_check_write(s, job) : nvme_soft__zone_check_read(job);
}

/* The blocks were written: the write pointer moves, and at the capacity the zone is full. The
 * completion of a Zone Append tells which they were. */
static void nvme_soft__zone_wrote(struct nvme_soft *s, struct nvme_soft__job *job)
{
	struct nvme_soft__zone *z;

	if (job->ns->zsze == 0)
		return;
	z = nvme_soft__zone_of(job->ns, job->slba);
	z->wp += job->nlb;
	if (z->wp == s->cfg.zcap)
		nvme_soft__zone_move(s, job->ns, z, NVME_ZONE_STATE_FULL);
	if (job->cmd.opc != NVME_OPC_ZONE_APPEND)
		return;
	job->dw0 = (uint32_t)job->slba;
	job->dw1 = (uint32_t)(job->slba >> 32);
}

/* ---- Zone Management Send [ZNS: Zone Management Send command] ---- */

/* From which states an action leads somewhere, and from which it leaves all as it is. */
static const struct nvme_soft__zone_action {
	uint8_t action;
	uint32_t from, stay, all; /* states as bits; all: those that Select All takes */
} nvme_soft__zone_actions[] = {
#define NVME_SOFT__ZS(state) (1u << NVME_ZONE_STATE_##state)
	{NVME_ZONE_CLOSE, NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN), NVME_SOFT__ZS(CLOSED),
         NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN)},
	{NVME_ZONE_FINISH,
         NVME_SOFT__ZS(EMPTY) | NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN) | NVME_SOFT__ZS(CLOSED),
         NVME_SOFT__ZS(FULL), NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN) | NVME_SOFT__ZS(CLOSED)},
	{NVME_ZONE_OPEN, NVME_SOFT__ZS(EMPTY) | NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(CLOSED),
         NVME_SOFT__ZS(EOPEN), NVME_SOFT__ZS(CLOSED)},
	{NVME_ZONE_RESET,
         NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN) | NVME_SOFT__ZS(CLOSED) | NVME_SOFT__ZS(FULL),
         NVME_SOFT__ZS(EMPTY),
         NVME_SOFT__ZS(IOPEN) | NVME_SOFT__ZS(EOPEN) | NVME_SOFT__ZS(CLOSED) | NVME_SOFT__ZS(FULL)},
	{NVME_ZONE_OFFLINE, NVME_SOFT__ZS(READ_ONLY), NVME_SOFT__ZS(OFFLINE),
         NVME_SOFT__ZS(READ_ONLY)},
};

static uint16_t nvme_soft__zone_do(struct nvme_soft *s, struct nvme_soft__ns *ns,
                                   struct nvme_soft__zone *z, uint32_t action)
{
	switch (action) {
	case NVME_ZONE_OPEN:
		return nvme_soft__open_zone(s, ns, z, NVME_ZONE_STATE_EOPEN);
	case NVME_ZONE_CLOSE:
		nvme_soft__zone_move(s, ns, z, NVME_ZONE_STATE_CLOSED);
		return 0;
	case NVME_ZONE_FINISH:
		nvme_soft__zone_move(s, ns, z, NVME_ZONE_STATE_FULL);
		return 0;
	case NVME_ZONE_RESET:
		nvme_soft__reset_zone(s, ns, z);
		return 0;
	default:
		nvme_soft__zone_move(s, ns, z, NVME_ZONE_STATE_OFFLINE);
		return 0;
	}
}

/* Opening is all or nothing, and no zone is closed for it. */
static uint16_t nvme_soft__zone_do_all(struct nvme_soft *s, struct nvme_soft__ns *ns,
                                       const struct nvme_soft__zone_action *a)
{
	uint64_t i, num = nvme_soft__num_zones(ns);

	/* open zones and closed ones together are the active ones */
	if (a->action == NVME_ZONE_OPEN && s->cfg.mor != 0 && ns->num_active > s->cfg.mor)
		return NVME_SOFT__SPECIFIC(NVME_SC_TOO_MANY_OPEN_ZONES);
	for (i = 0; i < num; i++) {
		if ((a->all >> ns->zones[i].state & 1) != 0)
			(void)nvme_soft__zone_do(s, ns, &ns->zones[i], a->action);
	}
	return 0;
}

/* An empty zone gets its extension, and is closed then. */
static uint16_t nvme_soft__zone_set_ext(struct nvme_soft *s, struct nvme_soft__job *job,
                                        struct nvme_soft__ns *ns, struct nvme_soft__zone *z)
{
	uint16_t status;

	if (s->cfg.zdes == 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (z->state != NVME_ZONE_STATE_EMPTY)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_ZONE_STATE_TRANSITION);
	status = nvme_soft__zone_room(s, ns, true, false);
	if (status == 0)
		status = nvme_soft_transfer(s, job, s->page, s->cfg.zdes, false);
	if (status != 0)
		return status;
	memcpy(nvme_soft__zone_ext(s, ns, z), s->page, s->cfg.zdes);
	z->attributes |= NVME_ZA_ZDEV;
	nvme_soft__zone_move(s, ns, z, NVME_ZONE_STATE_CLOSED);
	return 0;
}

static uint16_t nvme_soft_zone_send(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t action = NVME_GET(job->cmd.cdw13, NVME_ZONE_SEND_ZSA);
	bool all = NVME_GET(job->cmd.cdw13, NVME_ZONE_SEND_SELALL) != 0;
	uint16_t status = nvme_soft__check_nsid(s, job->cmd.nsid);
	uint64_t slba = NVME_RW_SLBA(job->cmd.cdw10, job->cmd.cdw11);
	const struct nvme_soft__zone_action *a = nvme_soft__zone_actions;
	const struct nvme_soft__zone_action *end = a + NVME_SOFT__COUNT(nvme_soft__zone_actions);
	struct nvme_soft__zone *z;
	struct nvme_soft__ns *ns;

	if (status != 0)
		return status;
	ns = &s->ns[job->cmd.nsid];
	while (a < end && a->action != action)
		a++;
	if (all && a < end)
		return nvme_soft__zone_do_all(s, ns, a);
	if (slba >= ns->nsze)
		return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	if (all || slba % ns->zsze != 0 || (a == end && action != NVME_ZONE_SET_ZDE))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	z = nvme_soft__zone_of(ns, slba);
	if (a == end)
		return nvme_soft__zone_set_ext(s, job, ns, z);
	if ((a->stay >> z->state & 1) != 0)
		return 0;
	if ((a->from >> z->state & 1) == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_ZONE_STATE_TRANSITION);
	return nvme_soft__zone_do(s, ns, z, action);
}

/* ---- Zone Management Receive [ZNS: Zone Management Receive command] ---- */

/* The states that a report lists, as bits, by its option. */
static const uint32_t nvme_soft__zone_lists[] = {
	UINT32_MAX,
	NVME_SOFT__ZS(EMPTY),
	NVME_SOFT__ZS(IOPEN),
	NVME_SOFT__ZS(EOPEN),
	NVME_SOFT__ZS(CLOSED),
	NVME_SOFT__ZS(FULL),
	NVME_SOFT__ZS(READ_ONLY),
	NVME_SOFT__ZS(OFFLINE),
#undef NVME_SOFT__ZS
};

static void nvme_soft__zone_desc(const struct nvme_soft *s, const struct nvme_soft__ns *ns,
                                 const struct nvme_soft__zone *z, struct nvme_zns_zone *desc)
{
	memset(desc, 0, sizeof(*desc));
	desc->zt = NVME_ZONE_TYPE_SEQWR;
	desc->zs = (uint8_t)NVME_SET(z->state, NVME_ZONE_STATE);
	desc->za = z->attributes;
	desc->zcap = s->cfg.zcap;
	desc->zslba = nvme_soft__zone_start(ns, z);
	desc->wp = nvme_soft__zone_takes(z) == 0 ? desc->zslba + z->wp : UINT64_MAX;
}

/* Fills len bytes, which are zero, with the zones from the one of slba on. */
static void nvme_soft__zone_report(const struct nvme_soft *s, const struct nvme_soft__job *job,
                                   uint8_t *report, size_t len)
{
	const struct nvme_soft__ns *ns = &s->ns[job->cmd.nsid];
	uint32_t cdw13 = job->cmd.cdw13, ext, states;
	uint64_t i, num = nvme_soft__num_zones(ns), listed = 0;
	struct nvme_zns_report head;
	size_t at = sizeof(head);

	ext = NVME_GET(cdw13, NVME_ZONE_RECEIVE_ZRA) != 0 ? s->cfg.zdes : 0;
	states = nvme_soft__zone_lists[NVME_GET(cdw13, NVME_ZONE_RECEIVE_ZRASF)];
	memset(&head, 0, sizeof(head));
	for (i = NVME_RW_SLBA(job->cmd.cdw10, job->cmd.cdw11) / ns->zsze; i < num; i++) {
		const struct nvme_soft__zone *z = &ns->zones[i];
		struct nvme_zns_zone desc;

		if ((states >> z->state & 1) == 0)
			continue;
		listed++;
		if (at + sizeof(desc) + ext > len)
			continue;
		nvme_soft__zone_desc(s, ns, z, &desc);
		memcpy(report + at, &desc, sizeof(desc));
		if (ext != 0)
			memcpy(report + at + sizeof(desc), nvme_soft__zone_ext(s, ns, z), ext);
		at += sizeof(desc) + ext;
		head.nr_zones++;
	}
	if (NVME_GET(cdw13, NVME_ZONE_RECEIVE_PR) == 0)
		head.nr_zones = listed;
	memcpy(report, &head, sizeof(head) < len ? sizeof(head) : len);
}

static uint16_t nvme_soft_zone_receive(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t cdw13 = job->cmd.cdw13, action = NVME_GET(cdw13, NVME_ZONE_RECEIVE_ZRA);
	uint64_t len = ((uint64_t)job->cmd.cdw12 + 1) * 4;
	uint16_t status = nvme_soft__check_nsid(s, job->cmd.nsid);
	uint8_t *report;

	if (status != 0)
		return status;
	if (NVME_RW_SLBA(job->cmd.cdw10, job->cmd.cdw11) >= s->ns[job->cmd.nsid].nsze)
		return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	if (action > NVME_ZRA_EXT_REPORT || (action == NVME_ZRA_EXT_REPORT && s->cfg.zdes == 0) ||
	    NVME_GET(cdw13, NVME_ZONE_RECEIVE_ZRASF) > NVME_ZRA_LIST_OFFLINE ||
	    nvme_soft__too_long(s, len) || len > (UINT64_C(32) << 20))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	report = (uint8_t *)calloc(1, (size_t)len);
	if (report == NULL)
		return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
	nvme_soft__zone_report(s, job, report, (size_t)len);
	status = nvme_soft_transfer(s, job, report, (size_t)len, true);
	free(report);
	return status;
}

/* The commands for zones are there with a zoned namespace, and with CC.CSS 6 only. */
static bool nvme_soft__lacks_zones(const struct nvme_soft *s, uint8_t opc)
{
	if (opc != NVME_OPC_ZONE_MANAGEMENT_SEND && opc != NVME_OPC_ZONE_MANAGEMENT_RECEIVE &&
	    opc != NVME_OPC_ZONE_APPEND)
		return false;
	return s->cfg.zns == 0 || NVME_GET(s->cc, NVME_CC_CSS) != NVME_CC_CSS_IOCS;
}

#endif /* NVME_SOFT_ZNS_H */
