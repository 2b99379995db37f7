/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft_plan.h - the text of a device and the text of a fault plan, read for nvme_soft.h, which
 * includes this file and lists the options of a device.
 *
 * THE STATEMENTS OF A FAULT PLAN are separated by ';' or newline, words by blanks; numbers may be
 * hexadecimal (0x7f):
 *
 *	on WHICH ACTION...       every command of that kind, until the plan is changed
 *	  WHICH   a kind, then any of the restrictions
 *	    kind  cmd (any I/O command), admin (any admin command), any, or the name of an opcode
 *	          in lower case with dashes (read, write-zeroes, identify), or opc 0x7f (I/O)
 *	    #3            only the third of that kind (restrictions below included)
 *	    lba 100..200  only if it touches one of these blocks; lba 100 for one block
 *	    qid 2, nsid 1 only on that queue, in that namespace
 *	  ACTION
 *	    status 2/81   ends with this status (SCT/SC, hexadecimal) and is not executed; after it
 *	                  may stand  dnr  more  crd 2  for the other bits of the status field
 *	    dw0 1         ends with this in dword 0 of the completion and is not executed
 *	    delay 50ms    is executed so much later (ns, us, ms, s); delay 0us..90us at random
 *	    drop          never completes, unless it is aborted
 *	    duplicate     completes twice
 *	    cid 4095, sqid 9, sqhd 65535    the completion has this in the field
 *	    phase-stuck   the completion is written with the phase of the lap before
 *	    stray         the controller writes to memory that was not given to it
 *	    flood         from now on every slot of the completion queue looks new, for ever
 *	    cfs           a fatal error: CSTS.CFS is set, nothing completes any more
 *	    gone          the device disappears: registers read as all ones, nothing completes
 *	    remove        the system asks for the device (VFIO's request); it works on until then
 *	    bus-error     its bus reports an error (AER of PCI Express); the device works on
 *	    times 2       the actions apply to so many commands, not to all
 *	ready never, ready after 300ms          CSTS.RDY after CC.EN = 1
 *	shutdown never, shutdown after 300ms    CSTS.SHST after CC.SHN
 *	cfs at enable [once]     CC.EN = 1 leads to CSTS.CFS, always or the first time only
 *	cfs on WHICH, gone on WHICH, remove on WHICH, bus-error on WHICH, dma stray on WHICH,
 *	flood on WHICH           the same as on WHICH ACTION
 *	gone at attach           registers read as all ones from the start
 *	gone after 300ms         from so long after open() on, or after the plan was changed
 *	back after 300ms         what has gone answers again so long after: the link was down, what was
 *	                         rung in between is lost, the rest is as it was
 *	remove at attach, remove after 300ms, bus-error at attach, bus-error after 300ms
 *	start en=1 rdy=1         what CC.EN and CSTS.RDY are when the driver comes
 *	map fail #3              the third dma_map() fails with -ENOMEM
 *	aer EVENT [after WHICH]  an asynchronous event: smart, error, namespace or firmware
 *	activation 300ms, activation never      how long CSTS.PP stays 1 after a firmware event, and
 *	                         no command is fetched; without the statement not at all
 *	identify FIELD=N         a field of Identify Controller: mdts, nn, sqes, cqes, oncs, vwc, aerl,
 *	                         acl, rtd3e, sgls, crdt1, crdt2, crdt3, cntlid, plsi, crcap,
 *	                         sanicap, kpioc, oacs, lpa, fuses, acwu, oaes, elpe, mtfa; of Identify
 *	                         Namespace: nsze, nsfeat, nlbaf, nulbaf, flbas, noiob, dps, nacwu,
 *	                         dlfeat, msrc; lbads and ms of the format in use; csi of its
 *	                         descriptors; with zones mar, mor, zasl, and zsze and zdes of the
 *	                         format in use
 *	identify strings         serial number, model and firmware of control characters
 *	nn=4294967295            the same as identify nn=
 *	nslist 3,2,2             what the list of active namespaces says
 *	vs=1.0.0                 version of the controller
 *	torn                     completions are written in small pieces with pauses (mode=thread)
 *
 * CONTENTS (search for the tag)
 *	>>soft-config   the text of a device
 *	>>soft-plan     a fault plan, and its text
 *	>>soft-rules    which rule a command meets
 */
#ifndef NVME_SOFT_PLAN_H
#define NVME_SOFT_PLAN_H

#define NVME_SOFT__MAX_QUEUES 128u
#define NVME_SOFT__MAX_NS     64u
#define NVME_SOFT__MAX_RULES  64u
#define NVME_SOFT__MAX_EDITS  32u
#define NVME_SOFT__EVENTS     16u /* events that wait to be told */
#define NVME_SOFT__NEVER      UINT64_MAX
#define NVME_SOFT__US         UINT64_C(1000) /* in ns */
#define NVME_SOFT__MS         UINT64_C(1000000)

#define NVME_SOFT__COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A line like those of nvme.h, with the name of nvme_soft.h. */
static void __attribute__((format(printf, 5, 6)))
nvme_soft__log(const struct nvme_log *log, enum nvme_log_level level, int line, const char *func,
               const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	nvme__log_vwrite(log, level, "nvme_soft.h", line, func, "soft", fmt, ap);
	va_end(ap);
}

#define NVME_SOFT__WHY_SIZE 512

/* Writes down why a text is refused. */
static int __attribute__((format(printf, 2, 3)))
nvme_soft__wrong(char why[NVME_SOFT__WHY_SIZE], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, NVME_SOFT__WHY_SIZE, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A number at *text, decimal or 0x and hexadecimal; *text moves behind it. */
static bool nvme_soft__number(const char **text, uint64_t *value)
{
	bool hex = (*text)[0] == '0' && ((*text)[1] == 'x' || (*text)[1] == 'X');
	const char *digit = hex ? *text + 2 : *text;
	char *end;

	if (hex ? !isxdigit((unsigned char)*digit) : !isdigit((unsigned char)*digit))
		return false;
	errno = 0;
	*value = strtoull(digit, &end, hex ? 16 : 10);
	*text = end;
	return errno == 0;
}

/* ============================================================================================
 * >>soft-config
 * ============================================================================================ */

struct nvme_soft__config {
	uint64_t size;
	uint32_t lbs, ns, mdts, mqes, queues, dstrd, dbbuf, to, crwmt, mpsmin, mpsmax, css, iova,
		seed, sgls, noiob, kas, ps, nssr;
	uint32_t ms, mset, pi, pil;
	uint32_t zns, zcap, mor, mar, zasl, zdes;
	uint32_t cmb, cmblegacy, cmbsz, cmbloc;
	bool size_given, threaded;
	char file[512];
	const char *plan;
};

/* The options that are plain numbers. */
static const struct nvme_soft__option {
	const char *name;
	size_t offset;
	uint32_t min, max;
} nvme_soft__options[] = {
	{"lbs", offsetof(struct nvme_soft__config, lbs), 512, 65536},
	{"ns", offsetof(struct nvme_soft__config, ns), 1, NVME_SOFT__MAX_NS},
	{"mdts", offsetof(struct nvme_soft__config, mdts), 0, 255},
	{"mqes", offsetof(struct nvme_soft__config, mqes), 1, 65535},
	{"queues", offsetof(struct nvme_soft__config, queues), 1, NVME_SOFT__MAX_QUEUES},
	{"dstrd", offsetof(struct nvme_soft__config, dstrd), 0, 15},
	{"dbbuf", offsetof(struct nvme_soft__config, dbbuf), 0, 1},
	{"to", offsetof(struct nvme_soft__config, to), 0, 255},
	{"crwmt", offsetof(struct nvme_soft__config, crwmt), 0, 65535},
	{"mpsmin", offsetof(struct nvme_soft__config, mpsmin), 0, 15},
	{"mpsmax", offsetof(struct nvme_soft__config, mpsmax), 0, 15},
	{"css", offsetof(struct nvme_soft__config, css), 0, 255},
	{"ms", offsetof(struct nvme_soft__config, ms), 0, 256},
	{"mset", offsetof(struct nvme_soft__config, mset), 0, 1},
	{"pi", offsetof(struct nvme_soft__config, pi), 0, 3},
	{"pil", offsetof(struct nvme_soft__config, pil), 0, 1},
	{"zns", offsetof(struct nvme_soft__config, zns), 0, UINT32_MAX},
	{"zcap", offsetof(struct nvme_soft__config, zcap), 1, UINT32_MAX},
	{"mor", offsetof(struct nvme_soft__config, mor), 0, UINT32_MAX},
	{"mar", offsetof(struct nvme_soft__config, mar), 0, UINT32_MAX},
	{"zasl", offsetof(struct nvme_soft__config, zasl), 0, 255},
	{"zdes", offsetof(struct nvme_soft__config, zdes), 0, 4096},
	{"cmb", offsetof(struct nvme_soft__config, cmb), 0, 4096},
	{"cmblegacy", offsetof(struct nvme_soft__config, cmblegacy), 0, 1},
	{"cmbsz", offsetof(struct nvme_soft__config, cmbsz), 0, UINT32_MAX},
	{"cmbloc", offsetof(struct nvme_soft__config, cmbloc), 0, UINT32_MAX},
	{"iova", offsetof(struct nvme_soft__config, iova), 30, 62},
	{"seed", offsetof(struct nvme_soft__config, seed), 0, UINT32_MAX},
	{"sgls", offsetof(struct nvme_soft__config, sgls), 0, UINT32_MAX},
	{"noiob", offsetof(struct nvme_soft__config, noiob), 0, 65535},
	{"kas", offsetof(struct nvme_soft__config, kas), 0, 65535},
	{"ps", offsetof(struct nvme_soft__config, ps), 1, 32},
	{"nssr", offsetof(struct nvme_soft__config, nssr), 0, 1},
};

static int nvme_soft__set_number(struct nvme_soft__config *cfg, const char *key, const char *value,
                                 char *why)
{
	const struct nvme_soft__option *o = nvme_soft__options;
	const struct nvme_soft__option *end = o + NVME_SOFT__COUNT(nvme_soft__options);
	const char *at = value;
	uint64_t n = 0;
	bool lbs = strcmp(key, "lbs") == 0;

	while (o < end && strcmp(o->name, key) != 0)
		o++;
	if (o == end)
		return nvme_soft__wrong(why,
		                        "soft device: there is no option '%s': use size, lbs, "
		                        "ns, mdts, mqes, queues, dstrd, dbbuf, to, crwmt, "
		                        "mpsmin, mpsmax, css, ms, mset, pi, pil, zns, zcap, mor, "
		                        "mar, zasl, zdes, cmb, cmblegacy, cmbsz, cmbloc, iova, "
		                        "sgls, noiob, kas, ps, nssr, file, mode, seed or plan",
		                        key);
	if (!nvme_soft__number(&at, &n) || *at != '\0' || n < o->min || n > o->max ||
	    (lbs && (n & (n - 1)) != 0))
		return nvme_soft__wrong(why, "soft device: %s=%s is wrong: give %s from %u to %u",
		                        key, value, lbs ? "a power of two" : "a number", o->min,
		                        o->max);
	*(uint32_t *)(void *)((uint8_t *)cfg + o->offset) = (uint32_t)n;
	return 0;
}

/* A number with a unit: "64M" */
static bool nvme_soft__size(const char *text, uint64_t *value)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned int shift = 0;

	if (!nvme_soft__number(&text, value))
		return false;
	if (*text != '\0') {
		unit = strchr(units, toupper((unsigned char)*text));
		if (unit == NULL || text[1] != '\0')
			return false;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (*value == 0 || *value >> (50 - shift) != 0)
		return false;
	*value <<= shift;
	return true;
}

static int nvme_soft__set_option(struct nvme_soft__config *cfg, const char *key, const char *value,
                                 char *why)
{
	const char *want;
	bool good;

	if (strcmp(key, "size") == 0) {
		cfg->size_given = true;
		good = nvme_soft__size(value, &cfg->size);
		want = "give a number of bytes such as size=64M";
	} else if (strcmp(key, "mode") == 0) {
		cfg->threaded = strcmp(value, "thread") == 0;
		good = cfg->threaded || strcmp(value, "sync") == 0;
		want = "use sync or thread";
	} else if (strcmp(key, "file") == 0) {
		snprintf(cfg->file, sizeof(cfg->file), "%s", value);
		return *value != '\0' ? 0
		                      : nvme_soft__wrong(why, "soft device: file= needs a name");
	} else {
		return nvme_soft__set_number(cfg, key, value, why);
	}
	if (good)
		return 0;
	return nvme_soft__wrong(why, "soft device: %s=%s is wrong: %s", key, value, want);
}

/* Do the options for metadata fit together? */
static int nvme_soft__check_md(const struct nvme_soft__config *cfg, char *why)
{
	if (cfg->pi != 0 && cfg->ms < 8)
		return nvme_soft__wrong(why,
		                        "soft device: pi=%u needs 8 bytes of metadata, but ms is "
		                        "%u: give ms=8 or more",
		                        cfg->pi, cfg->ms);
	if (cfg->ms == 0 && cfg->mset != 0)
		return nvme_soft__wrong(why, "soft device: mset=1 means nothing without metadata: "
		                             "give ms=8, for instance");
	if (cfg->pi == 0 && cfg->pil != 0)
		return nvme_soft__wrong(why, "soft device: pil=1 means nothing without protection "
		                             "information: give pi=1, 2 or 3");
	if (cfg->ms != 0 && cfg->file[0] != '\0')
		return nvme_soft__wrong(why, "soft device: metadata is not kept in a file: leave "
		                             "ms= or file= out");
	return 0;
}

/* Zones, where there are any: do the options for them fit together? */
static int nvme_soft__check_zns(struct nvme_soft__config *cfg, char *why)
{
	if (cfg->zns == 0 && (cfg->zcap | cfg->mor | cfg->mar | cfg->zasl | cfg->zdes) != 0)
		return nvme_soft__wrong(why, "soft device: zcap=, mor=, mar=, zasl= and zdes= mean "
		                             "nothing without zones: give zns=4096, for instance");
	if (cfg->zns == 0)
		return 0;
	if (cfg->zcap == 0)
		cfg->zcap = cfg->zns;
	if (cfg->zcap > cfg->zns || cfg->size / cfg->lbs < cfg->zns)
		return nvme_soft__wrong(why,
		                        "soft device: zns=%u is wrong: a zone has at least zcap=%u "
		                        "blocks, and size= at least one zone",
		                        cfg->zns, cfg->zcap);
	if (cfg->mar != 0 && cfg->mor > cfg->mar)
		return nvme_soft__wrong(why,
		                        "soft device: mor=%u is more than mar=%u: open zones are "
		                        "active ones, give mar at least as much",
		                        cfg->mor, cfg->mar);
	if (cfg->zdes % 64 != 0)
		return nvme_soft__wrong(why, "soft device: zdes=%u is wrong: give a multiple of 64",
		                        cfg->zdes);
	if (cfg->ms != 0 || cfg->file[0] != '\0' || (cfg->css & NVME_CAP_CSS_IOCS) == 0)
		return nvme_soft__wrong(why,
		                        "soft device: zones go neither with metadata nor with a "
		                        "file, and need CAP.CSS bit 6: leave ms=, file= and "
		                        "css= out");
	return 0;
}

static bool nvme_soft__is_soft(const char *device)
{
	return device != NULL && strncmp(device, "soft", 4) == 0 &&
	       (device[4] == '\0' || device[4] == ':');
}

/* "soft:key=value,key=value,plan=the rest" */
static int nvme_soft__parse_device(const char *device, struct nvme_soft__config *cfg, char *why)
{
	char item[512], *value;
	const char *at;
	size_t len;

	memset(cfg, 0, sizeof(*cfg));
	cfg->size = UINT64_C(1) << 30;
	cfg->lbs = 512;
	cfg->ns = cfg->seed = cfg->ps = 1;
	cfg->mdts = 7;
	cfg->mqes = 1023;
	cfg->queues = 64;
	cfg->to = 20;
	cfg->mpsmax = UINT32_MAX;
	cfg->css = NVME_CAP_CSS_NVM | NVME_CAP_CSS_IOCS;
	cfg->iova = 48;
	cfg->cmbsz = UINT32_MAX; /* what follows from cmb */
	cfg->cmbloc = NVME_SET(2, NVME_CMBLOC_BIR) | NVME_SET(1, NVME_CMBLOC_CDPMLS) |
	              NVME_SET(1, NVME_CMBLOC_CDPCILS) | NVME_SET(1, NVME_CMBLOC_CDMMMS);
	cfg->sgls = 1 | NVME_SET(1, NVME_ID_SGLS_BIT_BUCKET);
	if (!nvme_soft__is_soft(device))
		return nvme_soft__wrong(why, "'%.64s' is no soft device: use soft or soft:size=1G",
		                        device);
	at = device[4] == ':' ? device + 5 : "";
	for (; *at != '\0' && strncmp(at, "plan=", 5) != 0; at += len + (at[len] == ',')) {
		len = strcspn(at, ",");
		snprintf(item, sizeof(item), "%.*s", (int)len, at);
		value = strchr(item, '=');
		if (value == NULL || len >= sizeof(item))
			return nvme_soft__wrong(why,
			                        "soft device: '%s' is not an option: write "
			                        "them as key=value with commas between them",
			                        item);
		*value++ = '\0';
		if (nvme_soft__set_option(cfg, item, value, why) != 0)
			return -EINVAL;
	}
	cfg->plan = *at != '\0' ? at + 5 : "";
	if (cfg->mpsmax == UINT32_MAX)
		cfg->mpsmax = cfg->mpsmin > 4 ? cfg->mpsmin : 4;
	if (cfg->mpsmax < cfg->mpsmin)
		return nvme_soft__wrong(why,
		                        "soft device: mpsmax=%u is less than mpsmin=%u: give "
		                        "the larger page size in mpsmax",
		                        cfg->mpsmax, cfg->mpsmin);
	if (cfg->size % cfg->lbs != 0)
		return nvme_soft__wrong(why,
		                        "soft device: size=%" PRIu64 " is not a multiple of the "
		                        "block size: give a multiple of lbs=%u",
		                        cfg->size, cfg->lbs);
	return nvme_soft__check_md(cfg, why) != 0 ? -EINVAL : nvme_soft__check_zns(cfg, why);
}

/* ============================================================================================
 * >>soft-plan
 *
 * The parser goes through a statement word by word. The first word that does not fit is reported
 * and remembered in rc; from then on no word is taken any more.
 * ============================================================================================ */

/* What happens to a command; which members count is a set of bits. */
enum {
	NVME_SOFT__STATUS = 1 << 0,
	NVME_SOFT__DW0 = 1 << 1,
	NVME_SOFT__DELAY = 1 << 2,
	NVME_SOFT__DROP = 1 << 3,
	NVME_SOFT__DUPLICATE = 1 << 4,
	NVME_SOFT__CID = 1 << 5,
	NVME_SOFT__SQID = 1 << 6,
	NVME_SOFT__SQHD = 1 << 7,
	NVME_SOFT__PHASE_STUCK = 1 << 8,
	NVME_SOFT__STRAY = 1 << 9,
	NVME_SOFT__FLOOD = 1 << 10,
	NVME_SOFT__CFS = 1 << 11,
	NVME_SOFT__GONE = 1 << 12,
	NVME_SOFT__AER = 1 << 13,
	NVME_SOFT__REMOVE = 1 << 14,
	NVME_SOFT__BUS_ERROR = 1 << 15
};

struct nvme_soft__event {
	uint8_t type, info, lid;
};

struct nvme_soft__fault {
	uint32_t set; /* NVME_SOFT__STATUS and so on */
	uint32_t dw0;
	uint16_t status, cid, sqid, sqhd;
	uint64_t delay, delay_max;
	struct nvme_soft__event event;
};

/* "on WHICH ACTION" */
struct nvme_soft__rule {
	bool admin, io, has_lba;
	int opc;           /* -1: any */
	uint64_t n, times; /* 0: all; 0: no limit */
	uint64_t lba_first, lba_last;
	uint32_t qid, nsid; /* UINT32_MAX and 0: any */
	struct nvme_soft__fault fault;
	uint64_t seen, used;
};

/* "identify FIELD=N" */
struct nvme_soft__edit {
	const struct nvme_soft__field *field;
	uint64_t value;
};

struct nvme_soft__plan {
	struct nvme_soft__rule rules[NVME_SOFT__MAX_RULES];
	struct nvme_soft__edit edits[NVME_SOFT__MAX_EDITS];
	struct nvme_soft__event events[NVME_SOFT__EVENTS];
	uint32_t num_rules, num_edits, num_events, num_nslist;
	uint32_t nslist[32];
	uint64_t ready, shutdown, activation; /* ns; NVME_SOFT__NEVER */
	uint64_t gone, back;            /* ns: until it goes, and from then on until it is back */
	uint64_t tell[NVME_DEV_EVENTS]; /* ns until this is signalled */
	uint64_t cfs_enables;           /* so many times CC.EN = 1 fails */
	uint64_t map_fail;              /* this dma_map() fails, counted from 1 */
	uint32_t vs;
	bool has_start, start_en, start_rdy, torn, odd_strings, has_nslist;
};

/* A field of the Identify data that a plan can change. */
static const struct nvme_soft__field {
	const char *name;
	uint8_t cns, size;
	uint16_t offset;
} nvme_soft__fields[] = {
	{"mdts", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, mdts)},
	{"cntlid", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, cntlid)},
	{"rtd3e", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, rtd3e)},
	{"crdt1", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt1)},
	{"crdt2", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt2)},
	{"crdt3", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt3)},
	{"plsi", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, plsi)},
	{"crcap", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, crcap)},
	{"sanicap", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, sanicap)},
	{"kpioc", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, kpioc)},
	{"acl", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, acl)},
	{"aerl", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, aerl)},
	{"sqes", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, sqes)},
	{"cqes", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, cqes)},
	{"nn", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, nn)},
	{"oncs", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, oncs)},
	{"vwc", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, vwc)},
	{"oacs", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, oacs)},
	{"lpa", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, lpa)},
	{"fuses", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, fuses)},
	{"acwu", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, acwu)},
	{"oaes", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, oaes)},
	{"elpe", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, elpe)},
	{"mtfa", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, mtfa)},
	{"sgls", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, sgls)},
	{"nsze", NVME_ID_CNS_NS, 8, offsetof(struct nvme_id_ns, nsze)},
	{"nsfeat", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, nsfeat)},
	{"nlbaf", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, nlbaf)},
	{"nulbaf", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, nulbaf)},
	{"flbas", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, flbas)},
	{"dps", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, dps)},
	{"noiob", NVME_ID_CNS_NS, 2, offsetof(struct nvme_id_ns, noiob)},
	{"nacwu", NVME_ID_CNS_NS, 2, offsetof(struct nvme_id_ns, nacwu)},
	{"dlfeat", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, dlfeat)},
	{"msrc", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, msrc)},
	{"ms", NVME_ID_CNS_NS, 2, UINT16_MAX}, /* of the format in use */
	{"lbads", NVME_ID_CNS_NS, 1, UINT16_MAX},
	{"csi", NVME_ID_CNS_NS_ID_DESC, 1, 56},
	{"mar", NVME_ID_CNS_NS_IOCS, 4, offsetof(struct nvme_zns_id_ns, mar)},
	{"mor", NVME_ID_CNS_NS_IOCS, 4, offsetof(struct nvme_zns_id_ns, mor)},
	{"zsze", NVME_ID_CNS_NS_IOCS, 8, offsetof(struct nvme_zns_id_ns, lbafe)},
	{"zdes", NVME_ID_CNS_NS_IOCS, 1, offsetof(struct nvme_zns_id_ns, lbafe[0].zdes)},
	{"zasl", NVME_ID_CNS_CTRLR_IOCS, 1, offsetof(struct nvme_zns_id_ctrlr, zasl)},
};

static const struct nvme_soft__kind {
	const char *name;
	struct nvme_soft__event event;
} nvme_soft__events[] = {
	{"smart", {NVME_AER_TYPE_SMART, 1, NVME_LOG_PAGE_SMART}}, /* temperature */
	{"error", {NVME_AER_TYPE_ERROR, 3, NVME_LOG_PAGE_ERROR}}, /* persistent internal error */
	{"namespace", {NVME_AER_TYPE_NOTICE, 0, NVME_LOG_PAGE_CHANGED_NS_LIST}},
	{"firmware", {NVME_AER_TYPE_NOTICE, 1, NVME_LOG_PAGE_FIRMWARE_SLOT}},
};

/* A statement while it is read. */
struct nvme_soft__words {
	char text[256];     /* cut at the blanks as far as it was read */
	char original[256]; /* for the error message */
	const char *word;   /* the one at hand, "" after the last */
	char *rest;
	char *why;
	int rc;
};

/* ---- words ---- */

static void nvme_soft__next_word(struct nvme_soft__words *w)
{
	w->rest += strspn(w->rest, " \t\r");
	w->word = w->rest;
	w->rest += strcspn(w->rest, " \t\r");
	if (*w->rest != '\0')
		*w->rest++ = '\0';
}

/* The word at hand is wrong. */
static void nvme_soft__expected(struct nvme_soft__words *w, const char *what)
{
	if (w->rc != 0)
		return;
	if (*w->word == '\0')
		w->rc = nvme_soft__wrong(w->why, "fault plan: '%s' ends too early: expected %s",
		                         w->original, what);
	else
		w->rc = nvme_soft__wrong(w->why,
		                         "fault plan: in '%s' the word '%s' is wrong: expected %s",
		                         w->original, w->word, what);
}

/* After a look at the word: takes it if that was good. */
static void nvme_soft__take_if(struct nvme_soft__words *w, bool good, const char *what)
{
	if (good && w->rc == 0)
		nvme_soft__next_word(w);
	else
		nvme_soft__expected(w, what);
}

static bool nvme_soft__take(struct nvme_soft__words *w, const char *text)
{
	if (w->rc != 0 || strcmp(w->word, text) != 0)
		return false;
	nvme_soft__next_word(w);
	return true;
}

static void nvme_soft__must_take(struct nvme_soft__words *w, const char *text)
{
	nvme_soft__take_if(w, strcmp(w->word, text) == 0, text);
}

/* A number from min to max after the text that the word begins with. */
static uint64_t nvme_soft__take_number(struct nvme_soft__words *w, const char *before, uint64_t min,
                                       uint64_t max, const char *what)
{
	bool good = strncmp(w->word, before, strlen(before)) == 0;
	const char *at = w->word + (good ? strlen(before) : 0);
	uint64_t value = 0;

	good = good && nvme_soft__number(&at, &value) && *at == '\0' && value >= min &&
	       value <= max;
	nvme_soft__take_if(w, good, what);
	return good ? value : 0;
}

/* "50ms" */
static bool nvme_soft__time(const char **text, uint64_t *ns)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	uint64_t unit = 1;
	size_t i;

	if (!nvme_soft__number(text, ns))
		return false;
	for (i = 0; i < 4; i++, unit *= 1000) {
		if (strncmp(*text, units[i], strlen(units[i])) != 0)
			continue;
		*text += strlen(units[i]);
		*ns = *ns < NVME_SOFT__NEVER / 2 / unit ? *ns * unit : NVME_SOFT__NEVER / 2;
		return true;
	}
	return false;
}

/* One value, or two with ".." between them where last is not NULL. */
static void nvme_soft__take_range(struct nvme_soft__words *w,
                                  bool (*get)(const char **text, uint64_t *value), uint64_t *first,
                                  uint64_t *last, const char *what)
{
	const char *at = w->word;
	bool good = get(&at, first);

	if (good && last != NULL) {
		*last = *first;
		if (strncmp(at, "..", 2) == 0) {
			at += 2;
			good = get(&at, last) && *last >= *first;
		}
	}
	nvme_soft__take_if(w, good && *at == '\0', what);
}

static void nvme_soft__take_time(struct nvme_soft__words *w, uint64_t *first, uint64_t *last)
{
	nvme_soft__take_range(w, nvme_soft__time, first, last,
	                      "a time such as 300ms (ns, us, ms or s)");
}

/* The largest number in so many bytes. */
static uint64_t nvme_soft__max(size_t size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

/* ---- on WHICH ACTION ---- */

/* "READ" is "read", "WRITE ZEROES" is "write-zeroes". Also the opcodes that SPDK has no word for. */
static bool nvme_soft__is_opcode(const char *word, uint16_t qid, uint8_t opc)
{
	const char *name = nvme_opc_name(qid, opc);

	if (strcmp(name, nvme_opc_name(qid, 0xff)) == 0)
		name = nvme_opc_full_name(qid, opc);
	if (strcmp(name, "RESERVED") == 0 || strcmp(name, "VENDOR SPECIFIC") == 0)
		return false;
	for (; *name != '\0' && *word != '\0'; name++, word++) {
		if (*word != (*name == ' ' ? '-' : tolower((unsigned char)*name)))
			return false;
	}
	return *name == '\0' && *word == '\0';
}

static void nvme_soft__take_kind(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	int opc;

	r->opc = -1;
	r->admin = strcmp(w->word, "admin") == 0 || strcmp(w->word, "any") == 0;
	r->io = strcmp(w->word, "cmd") == 0 || strcmp(w->word, "any") == 0;
	if (nvme_soft__take(w, "opc")) {
		r->opc = (int)nvme_soft__take_number(w, "", 0, 255, "an opcode such as 0x7f");
		r->io = true;
		return;
	}
	for (opc = 0; opc < 256 && *w->word != '\0' && !r->admin && !r->io; opc++) {
		r->admin = nvme_soft__is_opcode(w->word, 0, (uint8_t)opc);
		r->io = !r->admin && nvme_soft__is_opcode(w->word, 1, (uint8_t)opc);
		r->opc = opc;
	}
	nvme_soft__take_if(w, r->admin || r->io,
	                   "cmd, admin, any, opc or an opcode such as read or identify");
}

/* A new rule with its WHICH: a kind and its restrictions. */
static struct nvme_soft__rule *nvme_soft__take_which(struct nvme_soft__words *w,
                                                     struct nvme_soft__plan *plan)
{
	struct nvme_soft__rule *r = &plan->rules[plan->num_rules++];

	memset(r, 0, sizeof(*r));
	r->qid = UINT32_MAX;
	nvme_soft__take_kind(w, r);
	while (w->rc == 0) {
		if (*w->word == '#') {
			r->n = nvme_soft__take_number(w, "#", 1, UINT32_MAX,
			                              "a number such as #3, from 1");
		} else if (nvme_soft__take(w, "lba")) {
			r->has_lba = true;
			nvme_soft__take_range(w, nvme_soft__number, &r->lba_first, &r->lba_last,
			                      "a block or a range of blocks such as 100..200");
		} else if (nvme_soft__take(w, "qid")) {
			r->qid =
				(uint32_t)nvme_soft__take_number(w, "", 0, 65535, "a queue number");
		} else if (nvme_soft__take(w, "nsid")) {
			r->nsid = (uint32_t)nvme_soft__take_number(w, "", 0, UINT32_MAX,
			                                           "a namespace number");
		} else {
			break;
		}
	}
	return r;
}

/* "2/81", then dnr, more, crd N */
static void nvme_soft__take_status(struct nvme_soft__words *w, struct nvme_soft__fault *f)
{
	const char *at = w->word;
	char *end = NULL;
	unsigned long sct = strtoul(at, &end, 16), sc = 256;

	if (isxdigit((unsigned char)*at) && *end == '/' && isxdigit((unsigned char)end[1]))
		sc = strtoul(end + 1, &end, 16);
	nvme_soft__take_if(w, sct < 8 && sc < 256 && *end == '\0',
	                   "a status SCT/SC in hexadecimal such as 2/81");
	f->status = (uint16_t)((uint16_t)NVME_SET(sct, NVME_CPL_SCT) |
	                       (uint16_t)NVME_SET(sc, NVME_CPL_SC));
	while (w->rc == 0) {
		if (nvme_soft__take(w, "dnr"))
			f->status |= (uint16_t)NVME_SET(1, NVME_CPL_DNR);
		else if (nvme_soft__take(w, "more"))
			f->status |= (uint16_t)NVME_SET(1, NVME_CPL_M);
		else if (nvme_soft__take(w, "crd"))
			f->status |= (uint16_t)
				NVME_SET(nvme_soft__take_number(w, "", 0, 3,
			                                        "a retry delay from 0 to 3"),
			                 NVME_CPL_CRD);
		else
			break;
	}
}

#define NVME_SOFT__MEMBER(name) \
	offsetof(struct nvme_soft__rule, name), sizeof(((struct nvme_soft__rule *)0)->name)

/* A word, and the member of the rule that the number after it goes to; size 0: no number. */
static const struct nvme_soft__action {
	const char *name;
	uint32_t set;
	size_t member, size;
	const char *what;
} nvme_soft__actions[] = {
	{"dw0", NVME_SOFT__DW0, NVME_SOFT__MEMBER(fault.dw0), "a dword"},
	{"cid", NVME_SOFT__CID, NVME_SOFT__MEMBER(fault.cid), "a number up to 65535"},
	{"sqid", NVME_SOFT__SQID, NVME_SOFT__MEMBER(fault.sqid), "a number up to 65535"},
	{"sqhd", NVME_SOFT__SQHD, NVME_SOFT__MEMBER(fault.sqhd), "a number up to 65535"},
	{"times", 0, NVME_SOFT__MEMBER(times), "how many times"},
	{"drop", NVME_SOFT__DROP, 0, 0, NULL},
	{"duplicate", NVME_SOFT__DUPLICATE, 0, 0, NULL},
	{"phase-stuck", NVME_SOFT__PHASE_STUCK, 0, 0, NULL},
	{"stray", NVME_SOFT__STRAY, 0, 0, NULL},
	{"flood", NVME_SOFT__FLOOD, 0, 0, NULL},
	{"cfs", NVME_SOFT__CFS, 0, 0, NULL},
	{"gone", NVME_SOFT__GONE, 0, 0, NULL},
	{"remove", NVME_SOFT__REMOVE, 0, 0, NULL},
	{"bus-error", NVME_SOFT__BUS_ERROR, 0, 0, NULL},
};

static void nvme_soft__take_action(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	const struct nvme_soft__action *a = nvme_soft__actions;
	uint64_t n;

	if (nvme_soft__take(w, "status")) {
		r->fault.set |= NVME_SOFT__STATUS;
		nvme_soft__take_status(w, &r->fault);
		return;
	}
	if (nvme_soft__take(w, "delay")) {
		r->fault.set |= NVME_SOFT__DELAY;
		nvme_soft__take_time(w, &r->fault.delay, &r->fault.delay_max);
		return;
	}
	for (; a < nvme_soft__actions + NVME_SOFT__COUNT(nvme_soft__actions); a++) {
		if (!nvme_soft__take(w, a->name))
			continue;
		r->fault.set |= a->set;
		if (a->size != 0) {
			n = nvme_soft__take_number(w, "", 0, nvme_soft__max(a->size), a->what);
			memcpy((uint8_t *)r + a->member, &n, a->size);
		}
		return;
	}
	nvme_soft__expected(w, "status, dw0, delay, drop, duplicate, cid, sqid, sqhd, phase-stuck, "
	                       "stray, flood, cfs, gone, remove, bus-error or times");
}

/* "on WHICH ACTION..." and, with set, "cfs on WHICH" */
static void nvme_soft__take_rule(struct nvme_soft__words *w, struct nvme_soft__plan *plan,
                                 uint32_t set)
{
	struct nvme_soft__rule *r;

	nvme_soft__must_take(w, "on");
	r = nvme_soft__take_which(w, plan);
	r->fault.set = set;
	while (w->rc == 0 && set == 0 && (r->fault.set == 0 || *w->word != '\0'))
		nvme_soft__take_action(w, r);
}

/* ---- the other statements ---- */

static void nvme_soft__take_aer(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	struct nvme_soft__rule *r;
	size_t i = 0;

	while (i < NVME_SOFT__COUNT(nvme_soft__events) &&
	       !nvme_soft__take(w, nvme_soft__events[i].name))
		i++;
	if (i == NVME_SOFT__COUNT(nvme_soft__events)) {
		nvme_soft__expected(w, "smart, error, namespace or firmware");
	} else if (nvme_soft__take(w, "after")) {
		r = nvme_soft__take_which(w, plan);
		r->fault.set = NVME_SOFT__AER;
		r->fault.event = nvme_soft__events[i].event;
	} else if (plan->num_events < NVME_SOFT__EVENTS) {
		plan->events[plan->num_events++] = nvme_soft__events[i].event;
	}
}

/* "mdts=5" */
static void nvme_soft__take_field(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	size_t i, len = strcspn(w->word, "=");
	struct nvme_soft__edit *e = &plan->edits[plan->num_edits];
	char before[16];

	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__fields); i++) {
		const struct nvme_soft__field *f = &nvme_soft__fields[i];

		if (strlen(f->name) != len || strncmp(f->name, w->word, len) != 0 ||
		    plan->num_edits == NVME_SOFT__MAX_EDITS)
			continue;
		plan->num_edits++;
		snprintf(before, sizeof(before), "%s=", f->name);
		e->field = f;
		e->value = nvme_soft__take_number(w, before, 0, nvme_soft__max(f->size),
		                                  "a number that fits into the field");
		return;
	}
	nvme_soft__expected(w, "FIELD=N with a field such as mdts, nn or lbads");
}

static void nvme_soft__take_version(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const char *at = w->word + strlen("vs=");
	uint64_t v[3] = {0, 0, 0};
	bool good = true;
	int i;

	for (i = 0; i < 3 && good; i++) {
		good = nvme_soft__number(&at, &v[i]) && v[i] < 256 && *at == (i < 2 ? '.' : '\0');
		at += i < 2 && good;
	}
	plan->vs = NVME_VS_SET(v[0], v[1], v[2]);
	nvme_soft__take_if(w, good, "a version such as vs=1.4.0");
}

static void nvme_soft__take_nslist(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const char *at = w->word;
	uint64_t n = 0;
	bool good, more = true;

	plan->has_nslist = true;
	for (plan->num_nslist = 0, good = true; good && more; at++) {
		good = plan->num_nslist < 32 && nvme_soft__number(&at, &n) && n <= UINT32_MAX &&
		       (*at == '\0' || *at == ',');
		more = *at == ',';
		if (good)
			plan->nslist[plan->num_nslist++] = (uint32_t)n;
	}
	nvme_soft__take_if(w, good, "at most 32 numbers with commas such as 3,2,2");
}

/* "ready", "shutdown": never, or after a time */
static void nvme_soft__take_when(struct nvme_soft__words *w, uint64_t *when)
{
	if (nvme_soft__take(w, "never"))
		*when = NVME_SOFT__NEVER;
	else if (nvme_soft__take(w, "after"))
		nvme_soft__take_time(w, when, NULL);
	else
		nvme_soft__expected(w, "never, or after and a time");
}

/* "cfs", "gone" and so on: what they mean for a command, and the time of the others. */
static const struct nvme_soft__end {
	const char *name;
	uint32_t set;
	size_t when;
} nvme_soft__ends[] = {
	{"cfs", NVME_SOFT__CFS, 0},
	{"gone", NVME_SOFT__GONE, offsetof(struct nvme_soft__plan, gone)},
	{"remove", NVME_SOFT__REMOVE, offsetof(struct nvme_soft__plan, tell[NVME_DEV_REQUEST])},
	{"bus-error", NVME_SOFT__BUS_ERROR, offsetof(struct nvme_soft__plan, tell[NVME_DEV_ERROR])},
};

static const struct nvme_soft__end *nvme_soft__find_end(struct nvme_soft__words *w)
{
	size_t i;

	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__ends); i++) {
		if (nvme_soft__take(w, nvme_soft__ends[i].name))
			return &nvme_soft__ends[i];
	}
	return NULL;
}

/* At a moment, or on a command. */
static void nvme_soft__take_end(struct nvme_soft__words *w, struct nvme_soft__plan *plan,
                                const struct nvme_soft__end *end)
{
	uint64_t *when = (uint64_t *)(void *)((uint8_t *)plan + end->when);
	bool cfs = end->set == NVME_SOFT__CFS;

	if (strcmp(w->word, "on") == 0) {
		nvme_soft__take_rule(w, plan, end->set);
	} else if (!cfs && nvme_soft__take(w, "after")) {
		nvme_soft__take_time(w, when, NULL);
	} else if (!nvme_soft__take(w, "at")) {
		nvme_soft__expected(w, cfs ? "at or on" : "at, on or after");
	} else {
		nvme_soft__must_take(w, cfs ? "enable" : "attach");
		if (cfs)
			plan->cfs_enables = nvme_soft__take(w, "once") ? 1 : UINT64_MAX;
		else
			*when = 0;
	}
}

static void nvme_soft__take_statement(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const struct nvme_soft__end *end = nvme_soft__find_end(w);

	if (end != NULL) {
		nvme_soft__take_end(w, plan, end);
	} else if (strcmp(w->word, "on") == 0) {
		nvme_soft__take_rule(w, plan, 0);
	} else if (nvme_soft__take(w, "ready")) {
		nvme_soft__take_when(w, &plan->ready);
	} else if (nvme_soft__take(w, "shutdown")) {
		nvme_soft__take_when(w, &plan->shutdown);
	} else if (nvme_soft__take(w, "activation")) {
		if (nvme_soft__take(w, "never"))
			plan->activation = NVME_SOFT__NEVER;
		else
			nvme_soft__take_time(w, &plan->activation, NULL);
	} else if (nvme_soft__take(w, "back")) {
		nvme_soft__must_take(w, "after");
		nvme_soft__take_time(w, &plan->back, NULL);
	} else if (nvme_soft__take(w, "start")) {
		plan->has_start = true;
		plan->start_en = nvme_soft__take_number(w, "en=", 0, 1, "en=0 or en=1") != 0;
		plan->start_rdy = nvme_soft__take_number(w, "rdy=", 0, 1, "rdy=0 or rdy=1") != 0;
	} else if (nvme_soft__take(w, "aer")) {
		nvme_soft__take_aer(w, plan);
	} else if (nvme_soft__take(w, "identify")) {
		if (nvme_soft__take(w, "strings"))
			plan->odd_strings = true;
		else
			nvme_soft__take_field(w, plan);
	} else if (nvme_soft__take(w, "nslist")) {
		nvme_soft__take_nslist(w, plan);
	} else if (nvme_soft__take(w, "torn")) {
		plan->torn = true;
	} else if (nvme_soft__take(w, "map")) {
		nvme_soft__must_take(w, "fail");
		plan->map_fail =
			nvme_soft__take_number(w, "#", 1, UINT32_MAX, "a number such as #3");
	} else if (nvme_soft__take(w, "dma")) {
		nvme_soft__must_take(w, "stray");
		nvme_soft__take_rule(w, plan, NVME_SOFT__STRAY);
	} else if (nvme_soft__take(w, "flood")) {
		nvme_soft__take_rule(w, plan, NVME_SOFT__FLOOD);
	} else if (strncmp(w->word, "vs=", 3) == 0) {
		nvme_soft__take_version(w, plan);
	} else if (strncmp(w->word, "nn=", 3) == 0) {
		nvme_soft__take_field(w, plan);
	} else {
		nvme_soft__expected(w,
		                    "on, ready, shutdown, cfs, gone, back, remove, bus-error, start, "
		                    "map, aer, activation, identify, nslist, nn=, vs=, dma, flood or "
		                    "torn");
	}
}

/* Adds the statements of text to the plan. */
static int nvme_soft__parse_plan(const char *text, struct nvme_soft__plan *plan, char *why)
{
	struct nvme_soft__words w;
	size_t len;

	w.why = why;
	w.rc = 0;
	for (; *text != '\0' && w.rc == 0; text += len + (text[len] != '\0')) {
		text += strspn(text, " \t\r");
		len = strcspn(text, ";\n");
		if (len >= sizeof(w.text) || plan->num_rules == NVME_SOFT__MAX_RULES)
			return nvme_soft__wrong(why,
			                        "fault plan: '%.40s...' is too much: a statement has at most %zu "
			                        "characters, a plan less than %u rules",
			                        text, sizeof(w.text) - 1, NVME_SOFT__MAX_RULES);
		snprintf(w.text, sizeof(w.text), "%.*s", (int)len, text);
		memcpy(w.original, w.text, sizeof(w.text));
		w.rest = w.text;
		nvme_soft__next_word(&w);
		if (*w.word == '\0')
			continue;
		nvme_soft__take_statement(&w, plan);
		if (*w.word != '\0')
			nvme_soft__expected(&w, "the end of the statement");
	}
	return w.rc;
}

static void nvme_soft__plan_init(struct nvme_soft__plan *plan)
{
	memset(plan, 0, sizeof(*plan));
	plan->ready = 100 * NVME_SOFT__US;
	plan->shutdown = 200 * NVME_SOFT__US;
	plan->gone = plan->back = NVME_SOFT__NEVER;
	plan->tell[NVME_DEV_REQUEST] = plan->tell[NVME_DEV_ERROR] = NVME_SOFT__NEVER;
	plan->vs = NVME_VS_SET(2, 0, 0);
}

/* The device, its plan and the one in the environment. */
static int nvme_soft__parse(const char *device, struct nvme_soft__config *cfg,
                            struct nvme_soft__plan *plan, char *why)
{
	const char *env = getenv("NVME_FAULTS");
	int rc = nvme_soft__parse_device(device, cfg, why);

	nvme_soft__plan_init(plan);
	if (rc == 0)
		rc = nvme_soft__parse_plan(cfg->plan, plan, why);
	if (rc == 0 && env != NULL)
		rc = nvme_soft__parse_plan(env, plan, why);
	return rc;
}

NVMEDEF int nvme_soft_check(const char *device, char *why, size_t size)
{
	struct nvme_soft__config cfg;
	struct nvme_soft__plan plan;
	char reason[NVME_SOFT__WHY_SIZE] = "";
	int rc = nvme_soft__parse(device, &cfg, &plan, reason);

	if (size > 0)
		snprintf(why, size, "%s", reason);
	return rc;
}

/* ============================================================================================
 * >>soft-rules
 * ============================================================================================ */

/* Does a command with blocks touch these? Only opcodes with SLBA and NLB have blocks. */
static bool nvme_soft__touches(const struct nvme_cmd *cmd, uint64_t first, uint64_t last)
{
	uint64_t slba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	uint64_t end = slba + NVME_GET(cmd->cdw12, NVME_RW_NLB);

	switch (cmd->opc) {
	case NVME_OPC_READ:
	case NVME_OPC_WRITE:
	case NVME_OPC_COMPARE:
	case NVME_OPC_WRITE_ZEROES:
	case NVME_OPC_WRITE_UNCORRECTABLE:
	case NVME_OPC_VERIFY:
		return slba <= last && first <= end;
	default:
		return false;
	}
}

static bool nvme_soft__matches(struct nvme_soft__rule *r, uint16_t qid, const struct nvme_cmd *cmd)
{
	if ((qid == 0 ? !r->admin : !r->io) || (r->opc >= 0 && r->opc != cmd->opc) ||
	    (r->qid != UINT32_MAX && r->qid != qid) || (r->nsid != 0 && r->nsid != cmd->nsid) ||
	    (r->has_lba && (qid == 0 || !nvme_soft__touches(cmd, r->lba_first, r->lba_last))))
		return false;
	r->seen++;
	if ((r->n != 0 && r->n != r->seen) || (r->times != 0 && r->used == r->times))
		return false;
	r->used++;
	return true;
}

/* What the plan has for this command. A later rule prevails over an earlier one. */
static void nvme_soft__find_fault(struct nvme_soft__plan *plan, uint16_t qid,
                                  const struct nvme_cmd *cmd, struct nvme_soft__fault *f)
{
	uint32_t i;

	for (i = 0; i < plan->num_rules; i++) {
		const struct nvme_soft__fault *g = &plan->rules[i].fault;

		if (!nvme_soft__matches(&plan->rules[i], qid, cmd))
			continue;
		f->set |= g->set;
		f->status = g->set & NVME_SOFT__STATUS ? g->status : f->status;
		f->dw0 = g->set & NVME_SOFT__DW0 ? g->dw0 : f->dw0;
		f->cid = g->set & NVME_SOFT__CID ? g->cid : f->cid;
		f->sqid = g->set & NVME_SOFT__SQID ? g->sqid : f->sqid;
		f->sqhd = g->set & NVME_SOFT__SQHD ? g->sqhd : f->sqhd;
		f->delay = g->set & NVME_SOFT__DELAY ? g->delay : f->delay;
		f->delay_max = g->set & NVME_SOFT__DELAY ? g->delay_max : f->delay_max;
		f->event = g->set & NVME_SOFT__AER ? g->event : f->event;
	}
}

#endif /* NVME_SOFT_PLAN_H */
