/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft.h - the other end of the wire: an NVMe controller in software, behind nvme.h.
 *
 * The driver in nvme.h reaches a device through a small table of functions, struct nvme_dev_ops.
 * This file is such a table with a controller behind it: registers, queues, commands, namespaces.
 * It needs no hardware and no privileges. A register write is a function call into it, so that a
 * debugger can step from nvme_ring_sq_doorbell() into the controller that fetches the command. Read
 * it as the mirror image of nvme.h: what one file writes the other reads.
 *
 * Do this in ONE C or C++ file, which is also the one with the implementation of nvme.h:
 *
 *	#define NVME_IMPLEMENTATION
 *	#include "nvme.h"
 *	#define NVME_SOFT_IMPLEMENTATION
 *	#include "nvme_soft.h"
 *
 *	opts.dev_ops = nvme_soft_dev_ops(argv[1]);   // NULL, that is VFIO, for a PCI address
 *	nvme_attach(argv[1], &opts, &ctrlr);
 *
 * With glibc older than 2.34 link with -pthread.
 *
 * THE DEVICE is called "soft", or "soft:" and options with commas between them:
 *	size=1G       bytes of each namespace (K, M, G, T: 2^10, ...); default 1G, used up lazily
 *	lbs=4096      bytes of a block, a power of two from 512 to 65536; default 512
 *	ns=2          namespaces, NSID 1 to ns; default 1, at most 64
 *	mdts=5        largest transfer, 2^mdts pages, 0: no limit; default 7
 *	mqes=63       CAP.MQES, 0-based; default 1023
 *	queues=4      I/O queue pairs that it grants, 1 to 128; default 64
 *	dstrd=0       CAP.DSTRD, doorbells are 4 << dstrd bytes apart; default 0
 *	to=1          CAP.TO, in 500 ms; default 20
 *	mpsmin=4      CAP.MPSMIN, the smallest page is 4096 << mpsmin bytes; default 0
 *	mpsmax=4      CAP.MPSMAX; default 4, or mpsmin if that is larger
 *	css=0x80      CAP.CSS, a set of bits; default 41h, NVM and "one or more I/O command sets"
 *	iova=39       bits of the addresses that DMA can use; default 48
 *	file=disk.img keeps the namespaces in a file, one after the other. A file that does not exist
 *	              is created; one that does gives the size, and size= must not contradict it
 *	mode=thread   the controller runs in a thread of its own and in real time; default sync
 *	seed=7        changes serial number, worldwide names and random delays; default 1
 *	plan=...      a fault plan; takes the rest of the text, so it comes last
 *
 * TWO MODES. sync: a doorbell write executes the commands before it returns, and time is virtual:
 * it stands still while the driver works and runs while the driver only waits, so that a timeout of
 * 30 s takes no time and every run is the same. thread: the controller looks for doorbells as a
 * device would. Its log lines then come from its own thread.
 *
 * A FAULT PLAN says what goes wrong, and when. It is in plan=, in the environment variable
 * NVME_FAULTS (statements of both are used) or given to nvme_soft_set_plan(). Statements are
 * separated by ';' or newline, words by blanks; numbers may be hexadecimal (0x7f):
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
 *	    times 2       the actions apply to so many commands, not to all
 *	ready never, ready after 300ms          CSTS.RDY after CC.EN = 1
 *	shutdown never, shutdown after 300ms    CSTS.SHST after CC.SHN
 *	cfs at enable [once]     CC.EN = 1 leads to CSTS.CFS, always or the first time only
 *	cfs on WHICH, gone on WHICH, dma stray on WHICH, flood on WHICH    the same as on WHICH ACTION
 *	gone at attach           registers read as all ones from the start
 *	start en=1 rdy=1         what CC.EN and CSTS.RDY are when the driver comes
 *	map fail #3              the third dma_map() fails with -ENOMEM
 *	aer EVENT [after WHICH]  an asynchronous event: smart, error, namespace or firmware
 *	identify FIELD=N         a field of Identify Controller: mdts, nn, sqes, cqes, oncs, vwc, aerl,
 *	                         acl, rtd3e, sgls, crdt1, crdt2, crdt3, cntlid; of Identify Namespace:
 *	                         nsze, nlbaf, flbas, noiob, dps; lbads and ms of the format in use
 *	identify strings         serial number, model and firmware of control characters
 *	nn=4294967295            the same as identify nn=
 *	nslist 3,2,2             what the list of active namespaces says
 *	vs=1.0.0                 version of the controller
 *	torn                     completions are written in small pieces with pauses (mode=thread)
 *
 *	NVME_FAULTS='on read #3 status 2/81 dnr; on write lba 100..200 delay 50ms' ./perf soft
 *
 * DMA. The controller touches only memory that the driver passed to dma_map(). Any other access
 * is a bug of the driver: it is reported in the log with the command that led to it, counted, and
 * the command fails with 0/04h (Data Transfer Error); CSTS.CFS is set if it was a queue.
 *
 * CONTENTS (search for the tag)
 *	>>soft-api      the functions of this file
 *	>>soft-state    what the controller remembers
 *	>>soft-config   the text of a device
 *	>>soft-plan     the text of a fault plan, and which rule a command meets
 *	>>soft-clock    virtual time
 *	>>soft-dma      host memory: what is mapped, PRP lists, SGLs, the transfer
 *	>>soft-queue    fetching commands, posting completions
 *	>>soft-event    asynchronous events, the error log
 *	>>soft-identify Identify
 *	>>soft-admin    queues, features, log pages, Abort, Format
 *	>>soft-nvm      reads, writes and the other commands of the NVM command set
 *	>>soft-execute  one command from the ring to its completion
 *	>>soft-regs     registers, doorbells, reset and shutdown
 *	>>soft-open     the access table, the thread
 *
 * Not modelled: metadata and protection information, interrupts (vectors are only checked),
 * discontiguous queues, weighted round robin, controller memory buffer, namespace management, zones.
 * [Base 2.1 ...], [NVM 1.1 ...], [PCIe 1.1 ...]: the specifications, as in nvme.h.
 */
#ifndef NVME_SOFT_H
#define NVME_SOFT_H

#include "nvme.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>soft-api
 *
 * dev is that of nvme_ctrlr_get_dev(). The functions can be called at any time, in both modes.
 * ============================================================================================ */

/* PCI ids of no known device: "nv" and "so" in ASCII. */
#define NVME_SOFT_VENDOR_ID 0x6e76u
#define NVME_SOFT_DEVICE_ID 0x736fu

/* The access table if device is "soft" or begins with "soft:", else NULL. device may be NULL. */
NVMEDEF const struct nvme_dev_ops *nvme_soft_dev_ops(const char *device);

/*
 * Are the text of a device and the fault plans, its own and the one in NVME_FAULTS, correct? 0, or
 * -EINVAL with one sentence in why that names the wrong part and says what is right.
 */
NVMEDEF int nvme_soft_check(const char *device, char *why, size_t size);

/* Replaces the fault plan; NULL or "": nothing goes wrong any more. -EINVAL, the log says why. */
NVMEDEF int nvme_soft_set_plan(const struct nvme_dev *dev, const char *plan);

/* Raises an asynchronous event: NVME_AER_TYPE_*, its information, the log page to read. */
NVMEDEF void nvme_soft_inject_aer(const struct nvme_dev *dev, uint32_t type, uint32_t info,
                                  uint32_t lid);

struct nvme_soft_stats {
	uint64_t admin_cmds, io_cmds; /* commands fetched */
	uint64_t completions, errors; /* posted; with an error status among them */
	uint64_t list_reads;          /* PRP list pages and SGL segments fetched */
	uint64_t strays;              /* accesses outside of what dma_map() had mapped */
	uint64_t bad_doorbells;
	uint64_t reg_reads, reg_writes; /* without doorbells */
	uint64_t writes_after_gone;
	uint64_t enables, resets;         /* CC.EN 0 to 1; calls of reset() */
	uint64_t map_calls, bytes_mapped; /* calls of dma_map(); bytes mapped now */
	uint64_t now_ns;                  /* the controller's clock */
};

NVMEDEF void nvme_soft_get_stats(const struct nvme_dev *dev, struct nvme_soft_stats *stats);
/* How often a doorbell was rung: the tail of submission queue qid, or the head of the CQ. */
NVMEDEF uint64_t nvme_soft_get_doorbells(const struct nvme_dev *dev, uint16_t qid, bool cq);
/* The content of a namespace. NULL: no such namespace. */
NVMEDEF void *nvme_soft_get_ns_memory(const struct nvme_dev *dev, uint32_t nsid, size_t *size);

#define NVME_SOFT_LAST_CMDS 64
struct nvme_soft_cmd {
	uint16_t qid;
	struct nvme_cmd cmd;
};
/* The last commands fetched, at most NVME_SOFT_LAST_CMDS, the latest first. Returns how many. */
NVMEDEF uint32_t nvme_soft_get_last_cmds(const struct nvme_dev *dev, struct nvme_soft_cmd *list,
                                         uint32_t max);

#ifdef __cplusplus
}
#endif

#endif /* NVME_SOFT_H */

/* ============================================================================================
 * The implementation.
 * ============================================================================================ */
#if defined(NVME_SOFT_IMPLEMENTATION) && !defined(NVME_SOFT__IMPLEMENTED)
#define NVME_SOFT__IMPLEMENTED

#ifndef NVME__IMPLEMENTED
#error "nvme_soft.h: its implementation needs that of nvme.h: define NVME_IMPLEMENTATION before"
#endif

#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>soft-state
 * ============================================================================================ */
#define NVME_SOFT__MAX_QUEUES 128u
#define NVME_SOFT__MAX_NS     64u
#define NVME_SOFT__MAX_MAPS   512u
#define NVME_SOFT__MAX_RULES  64u
#define NVME_SOFT__MAX_EDITS  32u
#define NVME_SOFT__AERS       4u  /* AERL + 1 */
#define NVME_SOFT__EVENTS     16u /* events that wait to be told */
#define NVME_SOFT__ERRORS     64u /* entries of the error log, ELPE + 1 */
#define NVME_SOFT__ABORTS     4u  /* ACL + 1 */
#define NVME_SOFT__NEVER      UINT64_MAX
#define NVME_SOFT__US         UINT64_C(1000)
#define NVME_SOFT__MS         UINT64_C(1000000)

/* What the text of the device said. */
struct nvme_soft__config {
	uint64_t size;
	uint32_t lbs, ns, mdts, mqes, queues, dstrd, to, mpsmin, mpsmax, css, iova, seed;
	bool size_given, threaded;
	char file[512];
	const char *plan;
};

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
	NVME_SOFT__AER = 1 << 13
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
	bool admin, io;
	int opc;        /* -1: any */
	uint64_t n;     /* 0: all */
	uint64_t times; /* 0: no limit */
	uint64_t lba_first, lba_last;
	bool has_lba;
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
	uint64_t ready, shutdown; /* ns; NVME_SOFT__NEVER */
	uint64_t cfs_enables;     /* so many times CC.EN = 1 fails */
	uint64_t map_fail;        /* this dma_map() fails, counted from 1 */
	uint32_t vs;
	bool has_vs, has_start, start_en, start_rdy, gone_at_attach, torn, odd_strings, has_nslist;
};

/* A range that the driver mapped: host memory at, reachable under iova. */
struct nvme_soft__map {
	uint64_t iova, len;
	uint8_t *at;
};

/* A submission queue: the host moves the tail, the controller the head. entries 0: none. */
struct nvme_soft__sq {
	struct nvme_cmd *ring; /* NULL: not in mapped memory */
	uint64_t base;
	uint32_t entries, head, tail;
	uint16_t id, cqid;
	uint64_t rings;
};

/* A completion queue: the controller moves the tail, the host the head. */
struct nvme_soft__cq {
	struct nvme_cpl *ring;
	uint64_t base;
	uint32_t entries, head, tail;
	uint16_t id, phase;  /* phase: what is written in this lap */
	uint16_t head_phase; /* of the slot at the head */
	uint16_t num_sqs;
	bool flood;
	struct nvme_cpl last; /* for a flood */
	uint64_t rings;
};

/* One command on its way through the controller. */
struct nvme_soft__job {
	struct nvme_cmd cmd;
	struct nvme_soft__sq *sq;
	uint64_t due; /* a delayed one: when */
	uint32_t dw0; /* of the completion */
	struct nvme_soft__fault fault;
};

struct nvme_soft__ns {
	uint8_t *mem;
	uint64_t size, nsze;
	uint32_t lbads;
	uint8_t *
		bad; /* a bit per block that Write Uncorrectable made unreadable; NULL: none ever */
	uint64_t num_bad;
};

/* Where a piece of a transfer is in host memory. NULL: nowhere, a bit bucket. */
struct nvme_soft__piece {
	uint8_t *at;
	size_t len;
};

struct nvme_soft {
	const struct nvme_log *log;
	struct nvme_soft__config cfg;
	struct nvme_soft__plan plan;
	struct nvme_soft_stats stats;

	uint64_t cap, asq, acq; /* the registers */
	uint32_t vs, intm, cc, csts, aqa;
	bool gone;

	uint64_t now, rdy_at, shst_at; /* virtual time and what is to happen when */
	uint32_t waits;                /* looks at the clock with nothing in between */
	bool clock_seen;               /* the last access was a look at the clock */
	uint64_t random;

	struct nvme_soft__map maps[NVME_SOFT__MAX_MAPS];
	uint32_t num_maps;
	struct nvme_soft__piece *pieces; /* of the transfer at hand */
	uint32_t num_pieces, max_pieces;

	struct nvme_soft__sq sq[NVME_SOFT__MAX_QUEUES + 1];
	struct nvme_soft__cq cq[NVME_SOFT__MAX_QUEUES + 1];
	struct nvme_soft__job fused[NVME_SOFT__MAX_QUEUES + 1]; /* first halves; sq NULL: none */
	struct nvme_soft__job *late;                            /* delayed and dropped commands */
	uint32_t num_late, max_late;
	bool backlog; /* something waits for room in a completion queue */

	uint16_t aers[NVME_SOFT__AERS]; /* CIDs of outstanding AERs */
	uint32_t num_aers;
	struct nvme_soft__event events[NVME_SOFT__EVENTS];
	uint32_t num_events, masked; /* masked: types told and not yet acknowledged */
	struct nvme_error_log_entry errors[NVME_SOFT__ERRORS];
	uint64_t num_errors;
	struct nvme_smart_log smart;
	uint64_t data_read, data_written; /* 512-byte units */
	bool ns_changed;

	uint32_t features[256], defaults[256];
	uint32_t temp_under;
	uint64_t timestamp, timestamp_set_at;
	uint8_t host_id[16];

	struct nvme_soft__ns ns[NVME_SOFT__MAX_NS + 1]; /* by NSID */
	uint8_t *disk;
	uint64_t disk_size;
	uint64_t page[512]; /* 4096 bytes: Identify data, log pages, ranges */

	struct nvme_soft_cmd last[NVME_SOFT_LAST_CMDS];

	pthread_mutex_t lock;
	pthread_t thread;
	uint32_t waiting; /* host threads that want the lock */
	uint32_t stop;
	uint64_t mail[2 * NVME_SOFT__MAX_QUEUES + 3]; /* mode=thread: doorbells, last: bad ones */
};

static struct nvme_soft *nvme_soft__of(const struct nvme_dev *dev)
{
	return (struct nvme_soft *)dev->priv;
}

/* A line like those of nvme.h, with this file's name. */
static void __attribute__((format(printf, 5, 6)))
nvme_soft__log(const struct nvme_soft *s, enum nvme_log_level level, int line, const char *func,
               const char *fmt, ...)
{
	static const char *const names[] = {"", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"};
	char text[NVME__LOG_LINE_MAX];
	struct timespec now;
	struct tm tm;
	size_t n;
	va_list ap;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = strftime(text, sizeof(text), "[%Y-%m-%d %H:%M:%S", &tm);
	n += (size_t)snprintf(text + n, 192, ".%06ld] nvme_soft.h:%4d:%.64s: *%s*: [soft] ",
	                      now.tv_nsec / 1000, line, func, names[level]);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	if (s->log->fn != NULL)
		s->log->fn(s->log->arg, level, text);
	else
		NVME_LOG(level, text);
}

#define NVME_SOFT__LOG(s, lvl, ...)                                                  \
	do {                                                                         \
		if (nvme__unlikely((s)->log->level >= (lvl)))                        \
			nvme_soft__log((s), (lvl), __LINE__, __func__, __VA_ARGS__); \
	} while (0)

/* A status as it stands in a completion, phase 0. What the controller finds wrong itself would be
 * wrong again (DNR), and the error log has more to say (M). [Base 2.1 §4.2.3: Status Field] */
#define NVME_SOFT__RAW(sct, sc) ((uint16_t)(NVME_CPL_SCT_SET(sct) | NVME_CPL_SC_SET(sc)))
#define NVME_SOFT__ERR(sct, sc) \
	((uint16_t)(NVME_SOFT__RAW(sct, sc) | NVME_CPL_DNR_SET(1) | NVME_CPL_M_SET(1)))
#define NVME_SOFT__GENERIC(sc)  NVME_SOFT__ERR(NVME_SCT_GENERIC, sc)
#define NVME_SOFT__SPECIFIC(sc) NVME_SOFT__ERR(NVME_SCT_COMMAND_SPECIFIC, sc)
#define NVME_SOFT__MEDIA(sc)    NVME_SOFT__ERR(NVME_SCT_MEDIA_ERROR, sc)

/* ============================================================================================
 * >>soft-config
 * ============================================================================================ */

struct nvme_soft__why {
	char *text;
	size_t size;
};

static int __attribute__((format(printf, 2, 3)))
nvme_soft__wrong(const struct nvme_soft__why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (why->size > 0)
		vsnprintf(why->text, why->size, fmt, ap);
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

/* The whole text as a number of at most max, with a unit where units is not NULL. */
static bool nvme_soft__size(const char *text, uint64_t *value)
{
	static const char units[] = "KMGT";
	const char *unit;

	if (!nvme_soft__number(&text, value))
		return false;
	if (*text == '\0')
		return true;
	unit = strchr(units, toupper((unsigned char)*text));
	if (unit == NULL || text[1] != '\0')
		return false;
	unsigned int shift = 10 * (unsigned int)(unit - units + 1);
	if (*value >> (63 - shift) != 0)
		return false;
	*value <<= shift;
	return true;
}

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
	{"to", offsetof(struct nvme_soft__config, to), 0, 255},
	{"mpsmin", offsetof(struct nvme_soft__config, mpsmin), 0, 15},
	{"mpsmax", offsetof(struct nvme_soft__config, mpsmax), 0, 15},
	{"css", offsetof(struct nvme_soft__config, css), 0, 255},
	{"iova", offsetof(struct nvme_soft__config, iova), 30, 62},
	{"seed", offsetof(struct nvme_soft__config, seed), 0, UINT32_MAX},
};

static int nvme_soft__set_number(struct nvme_soft__config *cfg, const char *key, const char *value,
                                 const struct nvme_soft__why *why)
{
	const struct nvme_soft__option *o = nvme_soft__options;
	const struct nvme_soft__option *end = o + sizeof(nvme_soft__options) / sizeof(*o);
	const char *at = value;
	uint64_t n = 0;

	while (o < end && strcmp(o->name, key) != 0)
		o++;
	if (o == end)
		return nvme_soft__wrong(why,
		                        "soft device: there is no option '%s': use size, lbs, ns, "
		                        "mdts, mqes, queues, dstrd, to, mpsmin, mpsmax, css, iova, "
		                        "file, mode, seed or plan",
		                        key);
	if (!nvme_soft__number(&at, &n) || *at != '\0' || n < o->min || n > o->max ||
	    (strcmp(key, "lbs") == 0 && (n & (n - 1)) != 0))
		return nvme_soft__wrong(
			why, "soft device: %s=%s is wrong: give %s from %" PRIu32 " to %" PRIu32,
			key, value, strcmp(key, "lbs") == 0 ? "a power of two" : "a number", o->min,
			o->max);
	*(uint32_t *)(void *)((uint8_t *)cfg + o->offset) = (uint32_t)n;
	return 0;
}

static int nvme_soft__set_option(struct nvme_soft__config *cfg, const char *key, const char *value,
                                 const struct nvme_soft__why *why)
{
	if (strcmp(key, "size") == 0) {
		cfg->size_given = true;
		if (nvme_soft__size(value, &cfg->size) && cfg->size != 0 && cfg->size >> 50 == 0)
			return 0;
		return nvme_soft__wrong(why,
		                        "soft device: size=%s is wrong: give a number of bytes, at "
		                        "least one block, such as size=64M",
		                        value);
	}
	if (strcmp(key, "mode") == 0) {
		cfg->threaded = strcmp(value, "thread") == 0;
		if (cfg->threaded || strcmp(value, "sync") == 0)
			return 0;
		return nvme_soft__wrong(why, "soft device: mode=%s is wrong: use sync or thread",
		                        value);
	}
	if (strcmp(key, "file") == 0) {
		snprintf(cfg->file, sizeof(cfg->file), "%s", value);
		if (*value != '\0')
			return 0;
		return nvme_soft__wrong(why, "soft device: file= needs the name of a file");
	}
	return nvme_soft__set_number(cfg, key, value, why);
}

/* Do the options fit together? */
static int nvme_soft__check_config(struct nvme_soft__config *cfg, const struct nvme_soft__why *why)
{
	if (cfg->mpsmax == UINT32_MAX)
		cfg->mpsmax = cfg->mpsmin > 4 ? cfg->mpsmin : 4;
	if (cfg->mpsmax < cfg->mpsmin)
		return nvme_soft__wrong(why,
		                        "soft device: mpsmax=%" PRIu32
		                        " is less than mpsmin=%" PRIu32
		                        ": give the larger page size in mpsmax",
		                        cfg->mpsmax, cfg->mpsmin);
	if (cfg->size % cfg->lbs != 0)
		return nvme_soft__wrong(why,
		                        "soft device: size=%" PRIu64
		                        " is not a multiple of the block size: give a multiple of "
		                        "lbs=%" PRIu32,
		                        cfg->size, cfg->lbs);
	return 0;
}

/* "soft:key=value,key=value,plan=the rest" */
static int nvme_soft__parse_device(const char *device, struct nvme_soft__config *cfg,
                                   const struct nvme_soft__why *why)
{
	char key[16], value[512];
	const char *at, *end;
	int rc, n;

	memset(cfg, 0, sizeof(*cfg));
	cfg->size = UINT64_C(1) << 30;
	cfg->lbs = 512;
	cfg->ns = cfg->seed = 1;
	cfg->mdts = 7;
	cfg->mqes = 1023;
	cfg->queues = 64;
	cfg->to = 20;
	cfg->mpsmax = UINT32_MAX;
	cfg->css = NVME_CAP_CSS_NVM | NVME_CAP_CSS_IOCS;
	cfg->iova = 48;
	cfg->plan = "";
	if (strncmp(device, "soft", 4) != 0 || (device[4] != '\0' && device[4] != ':'))
		return nvme_soft__wrong(why, "'%.64s' is no soft device: use soft or soft:size=1G",
		                        device);
	for (at = device[4] == ':' ? device + 5 : ""; *at != '\0';
	     at = *end == ',' ? end + 1 : end) {
		if (strncmp(at, "plan=", 5) == 0) {
			cfg->plan = at + 5;
			break;
		}
		end = at + strcspn(at, ",");
		n = (int)strcspn(at, "=,");
		if (at[n] != '=' || n >= (int)sizeof(key) || end - at - n > (int)sizeof(value))
			return nvme_soft__wrong(
				why,
				"soft device: '%.*s' is not an option: write them as "
				"key=value with commas between them",
				(int)(end - at), at);
		snprintf(key, sizeof(key), "%.*s", n, at);
		snprintf(value, sizeof(value), "%.*s", (int)(end - at) - n - 1, at + n + 1);
		rc = nvme_soft__set_option(cfg, key, value, why);
		if (rc != 0)
			return rc;
	}
	return nvme_soft__check_config(cfg, why);
}

/* ============================================================================================
 * >>soft-plan
 * ============================================================================================ */

/* A field of the Identify data that a plan can change. */
static const struct nvme_soft__field {
	const char *name;
	uint8_t cns;
	uint8_t size;
	uint16_t offset;
} nvme_soft__fields[] = {
	{"mdts", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, mdts)},
	{"cntlid", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, cntlid)},
	{"rtd3e", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, rtd3e)},
	{"crdt1", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt1)},
	{"crdt2", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt2)},
	{"crdt3", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, crdt3)},
	{"acl", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, acl)},
	{"aerl", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, aerl)},
	{"sqes", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, sqes)},
	{"cqes", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, cqes)},
	{"nn", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, nn)},
	{"oncs", NVME_ID_CNS_CTRLR, 2, offsetof(struct nvme_id_ctrlr, oncs)},
	{"vwc", NVME_ID_CNS_CTRLR, 1, offsetof(struct nvme_id_ctrlr, vwc)},
	{"sgls", NVME_ID_CNS_CTRLR, 4, offsetof(struct nvme_id_ctrlr, sgls)},
	{"nsze", NVME_ID_CNS_NS, 8, offsetof(struct nvme_id_ns, nsze)},
	{"nlbaf", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, nlbaf)},
	{"flbas", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, flbas)},
	{"dps", NVME_ID_CNS_NS, 1, offsetof(struct nvme_id_ns, dps)},
	{"noiob", NVME_ID_CNS_NS, 2, offsetof(struct nvme_id_ns, noiob)},
	{"ms", NVME_ID_CNS_NS, 2, UINT16_MAX}, /* of the format in use */
	{"lbads", NVME_ID_CNS_NS, 1, UINT16_MAX},
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

/* A statement cut into words, while it is read. */
struct nvme_soft__words {
	char text[256];     /* the words, each terminated */
	char original[256]; /* for the error message */
	const char *word[32];
	uint32_t count, at;
	const struct nvme_soft__why *why;
};

/* The word at hand, "" after the last. */
static const char *nvme_soft__word(const struct nvme_soft__words *w)
{
	return w->at < w->count ? w->word[w->at] : "";
}

static bool nvme_soft__take(struct nvme_soft__words *w, const char *text)
{
	if (strcmp(nvme_soft__word(w), text) != 0)
		return false;
	w->at++;
	return true;
}

/* The word at hand is wrong. */
static int nvme_soft__expected(const struct nvme_soft__words *w, const char *what)
{
	const char *word = nvme_soft__word(w);

	if (*word == '\0')
		return nvme_soft__wrong(w->why, "fault plan: '%s' ends too early: expected %s",
		                        w->original, what);
	return nvme_soft__wrong(w->why, "fault plan: in '%s' the word '%s' is wrong: expected %s",
	                        w->original, word, what);
}

/* A number from 0 to max after the text that the word begins with. */
static int nvme_soft__take_number(struct nvme_soft__words *w, const char *before, uint64_t max,
                                  uint64_t *value, const char *what)
{
	const char *at = nvme_soft__word(w);

	if (strncmp(at, before, strlen(before)) != 0)
		return nvme_soft__expected(w, what);
	at += strlen(before);
	if (!nvme_soft__number(&at, value) || *at != '\0' || *value > max)
		return nvme_soft__expected(w, what);
	w->at++;
	return 0;
}

/* "50ms" */
static bool nvme_soft__time(const char **text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {{"ns", 1},
	             {"us", NVME_SOFT__US},
	             {"ms", NVME_SOFT__MS},
	             {"s", 1000 * NVME_SOFT__MS}};
	size_t i, len;

	if (!nvme_soft__number(text, ns))
		return false;
	for (i = 0; i < 4; i++) {
		len = strlen(units[i].unit);
		if (strncmp(*text, units[i].unit, len) == 0) {
			*text += len;
			*ns = *ns < NVME_SOFT__NEVER / 2 / units[i].ns ? *ns * units[i].ns
			                                               : NVME_SOFT__NEVER / 2;
			return true;
		}
	}
	return false;
}

/* "50ms" or, where last is not NULL, "0us..90us" too. */
static int nvme_soft__take_time(struct nvme_soft__words *w, uint64_t *first, uint64_t *last)
{
	const char *at = nvme_soft__word(w);
	bool ok = nvme_soft__time(&at, first);

	if (ok && last != NULL) {
		*last = *first;
		if (strncmp(at, "..", 2) == 0) {
			at += 2;
			ok = nvme_soft__time(&at, last) && *last >= *first;
		}
	}
	if (!ok || *at != '\0')
		return nvme_soft__expected(w, "a time such as 300ms (ns, us, ms or s)");
	w->at++;
	return 0;
}

/* "READ" is "read", "WRITE ZEROES" is "write-zeroes". Also the opcodes that SPDK has no word for. */
static bool nvme_soft__is_opcode(const char *word, uint16_t qid, uint8_t opc)
{
	const char *name = nvme_opc_name(qid, opc);

	if (strcmp(name, nvme_opc_name(qid, 0xff)) == 0)
		name = qid == 0 && opc == NVME_OPC_KEEP_ALIVE ? "KEEP ALIVE"
		       : qid != 0 && opc == NVME_OPC_VERIFY   ? "VERIFY"
		                                              : "";
	for (; *name != '\0' && *word != '\0'; name++, word++) {
		if (*word != (*name == ' ' ? '-' : tolower((unsigned char)*name)))
			return false;
	}
	return *name == '\0' && *word == '\0';
}

static int nvme_soft__take_kind(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	const char *word = nvme_soft__word(w);
	uint64_t n = 0;
	int rc, opc;

	r->opc = -1;
	r->admin = strcmp(word, "admin") == 0 || strcmp(word, "any") == 0;
	r->io = strcmp(word, "cmd") == 0 || strcmp(word, "any") == 0;
	if (nvme_soft__take(w, "opc")) {
		rc = nvme_soft__take_number(w, "", 255, &n, "an opcode such as 0x7f");
		r->opc = (int)n;
		r->io = true;
		return rc;
	}
	for (opc = 0; opc < 256 && *word != '\0' && !r->admin && !r->io; opc++) {
		r->admin = nvme_soft__is_opcode(word, 0, (uint8_t)opc);
		r->io = !r->admin && nvme_soft__is_opcode(word, 1, (uint8_t)opc);
		r->opc = opc;
	}
	if (!r->admin && !r->io)
		return nvme_soft__expected(
			w, "cmd, admin, any, opc or an opcode such as read or identify");
	w->at++;
	return 0;
}

static int nvme_soft__take_lba(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	const char *at = nvme_soft__word(w);

	r->has_lba = nvme_soft__number(&at, &r->lba_first);
	r->lba_last = r->lba_first;
	if (r->has_lba && strncmp(at, "..", 2) == 0) {
		at += 2;
		r->has_lba = nvme_soft__number(&at, &r->lba_last) && r->lba_last >= r->lba_first;
	}
	if (!r->has_lba || *at != '\0')
		return nvme_soft__expected(w, "a block or a range of blocks such as 100..200");
	w->at++;
	return 0;
}

/* WHICH: a kind and its restrictions. */
static int nvme_soft__take_which(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	uint64_t n = 0;
	int rc;

	memset(r, 0, sizeof(*r));
	r->qid = UINT32_MAX;
	rc = nvme_soft__take_kind(w, r);
	while (rc == 0) {
		if (*nvme_soft__word(w) == '#') {
			rc = nvme_soft__take_number(w, "#", UINT32_MAX, &r->n,
			                            "a number such as #3, from 1");
			if (rc == 0 && r->n == 0) {
				w->at--;
				rc = nvme_soft__expected(w, "a number such as #3, from 1");
			}
		} else if (nvme_soft__take(w, "lba")) {
			rc = nvme_soft__take_lba(w, r);
		} else if (nvme_soft__take(w, "qid")) {
			rc = nvme_soft__take_number(w, "", 65535, &n, "a queue number");
			r->qid = (uint32_t)n;
		} else if (nvme_soft__take(w, "nsid")) {
			rc = nvme_soft__take_number(w, "", UINT32_MAX, &n, "a namespace number");
			r->nsid = (uint32_t)n;
		} else {
			return 0;
		}
	}
	return rc;
}

/* "2/81", then dnr, more, crd N */
static int nvme_soft__take_status(struct nvme_soft__words *w, struct nvme_soft__fault *f)
{
	const char *at = nvme_soft__word(w);
	char *end = NULL;
	unsigned long sct = strtoul(at, &end, 16), sc = 0;
	uint64_t crd = 0;
	int rc = 0;

	if (end != at && *end == '/' && isxdigit((unsigned char)end[1]))
		sc = strtoul(end + 1, &end, 16);
	else
		sct = 8;
	if (!isxdigit((unsigned char)*at) || sct > 7 || sc > 255 || *end != '\0')
		return nvme_soft__expected(w, "a status SCT/SC in hexadecimal such as 2/81");
	w->at++;
	f->status = NVME_SOFT__RAW(sct, sc);
	while (rc == 0) {
		if (nvme_soft__take(w, "dnr")) {
			f->status |= NVME_CPL_DNR_SET(1);
		} else if (nvme_soft__take(w, "more")) {
			f->status |= NVME_CPL_M_SET(1);
		} else if (nvme_soft__take(w, "crd")) {
			rc = nvme_soft__take_number(w, "", 3, &crd, "a retry delay from 0 to 3");
			f->status |= NVME_CPL_CRD_SET(crd);
		} else {
			return 0;
		}
	}
	return rc;
}

/* Actions that are one word. */
static const struct nvme_soft__action {
	const char *name;
	uint32_t set;
} nvme_soft__actions[] = {
	{"drop", NVME_SOFT__DROP},   {"duplicate", NVME_SOFT__DUPLICATE},
	{"stray", NVME_SOFT__STRAY}, {"phase-stuck", NVME_SOFT__PHASE_STUCK},
	{"flood", NVME_SOFT__FLOOD}, {"cfs", NVME_SOFT__CFS},
	{"gone", NVME_SOFT__GONE},
};

static uint32_t nvme_soft__take_action_word(struct nvme_soft__words *w)
{
	size_t i;

	for (i = 0; i < sizeof(nvme_soft__actions) / sizeof(nvme_soft__actions[0]); i++) {
		if (nvme_soft__take(w, nvme_soft__actions[i].name))
			return nvme_soft__actions[i].set;
	}
	return 0;
}

static int nvme_soft__take_action(struct nvme_soft__words *w, struct nvme_soft__rule *r)
{
	struct nvme_soft__fault *f = &r->fault;
	uint32_t set = nvme_soft__take_action_word(w);
	uint64_t n = 0;
	int rc = 0;

	if (set == 0 && nvme_soft__take(w, "status")) {
		set = NVME_SOFT__STATUS;
		rc = nvme_soft__take_status(w, f);
	} else if (set == 0 && nvme_soft__take(w, "delay")) {
		set = NVME_SOFT__DELAY;
		rc = nvme_soft__take_time(w, &f->delay, &f->delay_max);
	} else if (set == 0 && nvme_soft__take(w, "dw0")) {
		set = NVME_SOFT__DW0;
		rc = nvme_soft__take_number(w, "", UINT32_MAX, &n, "a dword");
		f->dw0 = (uint32_t)n;
	} else if (set == 0 && nvme_soft__take(w, "times")) {
		return nvme_soft__take_number(w, "", UINT64_MAX, &r->times, "how many times");
	} else if (set == 0) {
		set = nvme_soft__take(w, "cid")    ? NVME_SOFT__CID
		      : nvme_soft__take(w, "sqid") ? NVME_SOFT__SQID
		      : nvme_soft__take(w, "sqhd") ? NVME_SOFT__SQHD
		                                   : 0;
		if (set == 0)
			return nvme_soft__expected(
				w, "status, dw0, delay, drop, duplicate, cid, sqid, sqhd, "
				   "phase-stuck, stray, flood, cfs, gone or times");
		rc = nvme_soft__take_number(w, "", 65535, &n, "a number up to 65535");
		f->cid = set == NVME_SOFT__CID ? (uint16_t)n : f->cid;
		f->sqid = set == NVME_SOFT__SQID ? (uint16_t)n : f->sqid;
		f->sqhd = set == NVME_SOFT__SQHD ? (uint16_t)n : f->sqhd;
	}
	f->set |= set;
	return rc;
}

static struct nvme_soft__rule *nvme_soft__new_rule(struct nvme_soft__plan *plan)
{
	return &plan->rules[plan->num_rules < NVME_SOFT__MAX_RULES ? plan->num_rules++
	                                                           : NVME_SOFT__MAX_RULES - 1];
}

/* "on WHICH ACTION..." and, with set, "cfs on WHICH" */
static int nvme_soft__take_rule(struct nvme_soft__words *w, struct nvme_soft__plan *plan,
                                uint32_t set)
{
	struct nvme_soft__rule *r = nvme_soft__new_rule(plan);
	int rc = nvme_soft__take_which(w, r);

	r->fault.set = set;
	while (rc == 0 && (r->fault.set == 0 || (set == 0 && w->at < w->count)))
		rc = nvme_soft__take_action(w, r);
	return rc;
}

static int nvme_soft__take_aer(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const size_t kinds = sizeof(nvme_soft__events) / sizeof(nvme_soft__events[0]);
	struct nvme_soft__rule *r;
	size_t i = 0;
	int rc;

	while (i < kinds && !nvme_soft__take(w, nvme_soft__events[i].name))
		i++;
	if (i == kinds)
		return nvme_soft__expected(w, "smart, error, namespace or firmware");
	if (nvme_soft__take(w, "after")) {
		r = nvme_soft__new_rule(plan);
		rc = nvme_soft__take_which(w, r);
		r->fault.set = NVME_SOFT__AER;
		r->fault.event = nvme_soft__events[i].event;
		return rc;
	}
	if (plan->num_events < NVME_SOFT__EVENTS)
		plan->events[plan->num_events++] = nvme_soft__events[i].event;
	return 0;
}

/* "mdts=5" */
static int nvme_soft__take_field(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const size_t count = sizeof(nvme_soft__fields) / sizeof(nvme_soft__fields[0]);
	const char *word = nvme_soft__word(w);
	size_t i, len = strcspn(word, "=");
	struct nvme_soft__edit *e;
	char before[16];

	for (i = 0; i < count; i++) {
		if (strlen(nvme_soft__fields[i].name) == len &&
		    strncmp(nvme_soft__fields[i].name, word, len) == 0)
			break;
	}
	if (i == count || plan->num_edits == NVME_SOFT__MAX_EDITS)
		return nvme_soft__expected(w, "FIELD=N with a field such as mdts, nn or lbads");
	e = &plan->edits[plan->num_edits++];
	e->field = &nvme_soft__fields[i];
	snprintf(before, sizeof(before), "%s=", e->field->name);
	return nvme_soft__take_number(w, before,
	                              UINT64_MAX >> (64 - 8 * (unsigned int)e->field->size),
	                              &e->value, "a number that fits into the field");
}

static int nvme_soft__take_version(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const char *at = nvme_soft__word(w) + 3;
	uint64_t v[3] = {0, 0, 0};
	bool ok = true;
	int i;

	for (i = 0; i < 3 && ok; i++) {
		ok = nvme_soft__number(&at, &v[i]) && v[i] < 256 && *at == (i < 2 ? '.' : '\0');
		at += i < 2 && ok;
	}
	if (!ok)
		return nvme_soft__expected(w, "a version such as vs=1.4.0");
	plan->vs = NVME_VS_SET(v[0], v[1], v[2]);
	plan->has_vs = true;
	w->at++;
	return 0;
}

static int nvme_soft__take_nslist(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	const char *at = nvme_soft__word(w);
	uint64_t n = 0;

	plan->has_nslist = true;
	for (plan->num_nslist = 0; plan->num_nslist < 32; at++) {
		if (!nvme_soft__number(&at, &n) || n > UINT32_MAX)
			break;
		plan->nslist[plan->num_nslist++] = (uint32_t)n;
		if (*at == '\0') {
			w->at++;
			return 0;
		}
		if (*at != ',')
			break;
	}
	return nvme_soft__expected(w, "at most 32 numbers with commas such as 3,2,2");
}

/* "ready", "shutdown": never, or after a time */
static int nvme_soft__take_when(struct nvme_soft__words *w, uint64_t *when)
{
	if (nvme_soft__take(w, "never")) {
		*when = NVME_SOFT__NEVER;
		return 0;
	}
	if (!nvme_soft__take(w, "after"))
		return nvme_soft__expected(w, "never, or after and a time");
	return nvme_soft__take_time(w, when, NULL);
}

static int nvme_soft__take_start(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	uint64_t en = 0, rdy = 0;
	int rc = nvme_soft__take_number(w, "en=", 1, &en, "en=0 or en=1");

	if (rc == 0)
		rc = nvme_soft__take_number(w, "rdy=", 1, &rdy, "rdy=0 or rdy=1");
	plan->has_start = true;
	plan->start_en = en != 0;
	plan->start_rdy = rdy != 0;
	return rc;
}

static int nvme_soft__take_identify(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	if (!nvme_soft__take(w, "strings"))
		return nvme_soft__take_field(w, plan);
	plan->odd_strings = true;
	return 0;
}

/* "cfs", "gone": at a moment, or on a command */
static int nvme_soft__take_end(struct nvme_soft__words *w, struct nvme_soft__plan *plan, bool cfs)
{
	if (nvme_soft__take(w, "on"))
		return nvme_soft__take_rule(w, plan, cfs ? NVME_SOFT__CFS : NVME_SOFT__GONE);
	if (!nvme_soft__take(w, "at"))
		return nvme_soft__expected(w, "at or on");
	if (!nvme_soft__take(w, cfs ? "enable" : "attach"))
		return nvme_soft__expected(w, cfs ? "enable" : "attach");
	if (cfs)
		plan->cfs_enables = nvme_soft__take(w, "once") ? 1 : UINT64_MAX;
	else
		plan->gone_at_attach = true;
	return 0;
}

static int nvme_soft__take_statement(struct nvme_soft__words *w, struct nvme_soft__plan *plan)
{
	if (nvme_soft__take(w, "on"))
		return nvme_soft__take_rule(w, plan, 0);
	if (nvme_soft__take(w, "ready"))
		return nvme_soft__take_when(w, &plan->ready);
	if (nvme_soft__take(w, "shutdown"))
		return nvme_soft__take_when(w, &plan->shutdown);
	if (nvme_soft__take(w, "cfs"))
		return nvme_soft__take_end(w, plan, true);
	if (nvme_soft__take(w, "gone"))
		return nvme_soft__take_end(w, plan, false);
	if (nvme_soft__take(w, "start"))
		return nvme_soft__take_start(w, plan);
	if (nvme_soft__take(w, "aer"))
		return nvme_soft__take_aer(w, plan);
	if (nvme_soft__take(w, "identify"))
		return nvme_soft__take_identify(w, plan);
	if (nvme_soft__take(w, "nslist"))
		return nvme_soft__take_nslist(w, plan);
	if (nvme_soft__take(w, "torn"))
		return plan->torn = true, 0;
	if (nvme_soft__take(w, "map"))
		return nvme_soft__take(w, "fail")
		               ? nvme_soft__take_number(w, "#", UINT32_MAX, &plan->map_fail,
		                                        "a number such as #3")
		               : nvme_soft__expected(w, "fail");
	if (nvme_soft__take(w, "dma"))
		return !nvme_soft__take(w, "stray") ? nvme_soft__expected(w, "stray")
		       : !nvme_soft__take(w, "on")
		               ? nvme_soft__expected(w, "on")
		               : nvme_soft__take_rule(w, plan, NVME_SOFT__STRAY);
	if (nvme_soft__take(w, "flood"))
		return nvme_soft__take(w, "on") ? nvme_soft__take_rule(w, plan, NVME_SOFT__FLOOD)
		                                : nvme_soft__expected(w, "on");
	if (strncmp(nvme_soft__word(w), "vs=", 3) == 0)
		return nvme_soft__take_version(w, plan);
	if (strncmp(nvme_soft__word(w), "nn=", 3) == 0)
		return nvme_soft__take_field(w, plan);
	return nvme_soft__expected(w, "on, ready, shutdown, cfs, gone, start, map, aer, identify, "
	                              "nslist, nn=, vs=, dma, flood or torn");
}

static void nvme_soft__split(struct nvme_soft__words *w)
{
	char *at = w->text;

	for (w->count = w->at = 0; w->count < 32; w->count++) {
		at += strspn(at, " \t\r");
		if (*at == '\0')
			return;
		w->word[w->count] = at;
		at += strcspn(at, " \t\r");
		if (*at != '\0')
			*at++ = '\0';
	}
}

/* Adds the statements of text to the plan. */
static int nvme_soft__parse_plan(const char *text, struct nvme_soft__plan *plan,
                                 const struct nvme_soft__why *why)
{
	struct nvme_soft__words w;
	size_t len;
	int rc;

	w.why = why;
	for (; *text != '\0'; text += len + (text[len] != '\0')) {
		len = strcspn(text, ";\n");
		text += strspn(text, " \t\r");
		len = strcspn(text, ";\n");
		if (len >= sizeof(w.text) || plan->num_rules == NVME_SOFT__MAX_RULES)
			return nvme_soft__wrong(
				why,
				"fault plan: '%.40s...' is too much: a statement has "
				"at most %zu characters, a plan less than %u rules",
				text, sizeof(w.text) - 1, NVME_SOFT__MAX_RULES);
		snprintf(w.text, sizeof(w.text), "%.*s", (int)len, text);
		snprintf(w.original, sizeof(w.original), "%.*s", (int)len, text);
		nvme_soft__split(&w);
		rc = w.count > 0 ? nvme_soft__take_statement(&w, plan) : 0;
		if (rc == 0 && w.at < w.count)
			rc = nvme_soft__expected(&w, "the end of the statement");
		if (rc != 0)
			return rc;
	}
	return 0;
}

static void nvme_soft__plan_init(struct nvme_soft__plan *plan)
{
	memset(plan, 0, sizeof(*plan));
	plan->ready = 100 * NVME_SOFT__US;
	plan->shutdown = 200 * NVME_SOFT__US;
}

/* The device, its plan and the one in the environment. */
static int nvme_soft__parse(const char *device, struct nvme_soft__config *cfg,
                            struct nvme_soft__plan *plan, const struct nvme_soft__why *why)
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
	struct nvme_soft__why reason;
	struct nvme_soft__config cfg;
	struct nvme_soft__plan plan;

	reason.text = why;
	reason.size = size;
	if (size > 0)
		why[0] = '\0';
	return nvme_soft__parse(device, &cfg, &plan, &reason);
}

/* Does a command with blocks touch these? Only opcodes with SLBA and NLB have blocks. */
static bool nvme_soft__touches(const struct nvme_cmd *cmd, uint64_t first, uint64_t last)
{
	uint64_t slba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	uint64_t end = slba + NVME_RW_NLB(cmd->cdw12);

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
	if (qid == 0 ? !r->admin : !r->io)
		return false;
	if ((r->opc >= 0 && r->opc != cmd->opc) || (r->qid != UINT32_MAX && r->qid != qid) ||
	    (r->nsid != 0 && r->nsid != cmd->nsid))
		return false;
	if (r->has_lba && (qid == 0 || !nvme_soft__touches(cmd, r->lba_first, r->lba_last)))
		return false;
	r->seen++;
	if ((r->n != 0 && r->n != r->seen) || (r->times != 0 && r->used == r->times))
		return false;
	r->used++;
	return true;
}

/* What the plan has for this command. A later rule prevails over an earlier one. */
static void nvme_soft__find_fault(struct nvme_soft *s, uint16_t qid, const struct nvme_cmd *cmd,
                                  struct nvme_soft__fault *f)
{
	uint32_t i;

	f->set = 0;
	for (i = 0; i < s->plan.num_rules; i++) {
		const struct nvme_soft__fault *g = &s->plan.rules[i].fault;

		if (!nvme_soft__matches(&s->plan.rules[i], qid, cmd))
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

/* ============================================================================================
 * >>soft-clock
 *
 * In sync mode time is a number. It grows by a microsecond with every register access. A driver
 * that only waits looks at the clock again and again: then it grows by a millisecond, but not past
 * the next thing that is due, so that nothing is seen too late; with nothing due it takes larger
 * steps. A driver that polls a completion queue without a clock reads CSTS now and then, and that
 * moves the time on to the next delayed command.
 * ============================================================================================ */

static void nvme_soft__lock(struct nvme_soft *s)
{
	__atomic_add_fetch(&s->waiting, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&s->lock);
	__atomic_sub_fetch(&s->waiting, 1, __ATOMIC_RELAXED);
}

static void nvme_soft__unlock(struct nvme_soft *s)
{
	pthread_mutex_unlock(&s->lock);
}

static uint64_t nvme_soft__real_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * NVME_SOFT__MS + (uint64_t)ts.tv_nsec;
}

/* When the next delayed command is due, not counting those that wait for room in their CQ. */
static uint64_t nvme_soft__next_late(const struct nvme_soft *s)
{
	uint64_t next = NVME_SOFT__NEVER;
	uint32_t i;

	for (i = 0; i < s->num_late; i++) {
		if (s->late[i].due > s->now && s->late[i].due < next)
			next = s->late[i].due;
	}
	return next;
}

static uint64_t nvme_soft__next_due(const struct nvme_soft *s)
{
	uint64_t next = nvme_soft__next_late(s);

	next = s->rdy_at < next ? s->rdy_at : next;
	return s->shst_at < next ? s->shst_at : next;
}

/* A register access takes its time. What it does may be what the driver waits for no longer. */
static void nvme_soft__tick(struct nvme_soft *s, bool idle)
{
	s->now = s->cfg.threaded ? nvme_soft__real_time() : s->now + NVME_SOFT__US;
	s->clock_seen = false;
	if (!idle)
		s->waits = 0;
}

static void nvme_soft__pass_time(struct nvme_soft *s)
{
	uint64_t next = nvme_soft__next_due(s), step = NVME_SOFT__US;

	s->clock_seen = true;
	if (s->cfg.threaded) {
		s->now = nvme_soft__real_time();
		return;
	}
	if (++s->waits >= 2)
		step = next == NVME_SOFT__NEVER ? 10 * NVME_SOFT__MS : NVME_SOFT__MS;
	s->now = next > s->now && next - s->now < step ? next : s->now + step;
}

/* xorshift64, for delays at random that are the same in every run */
static uint64_t nvme_soft__random(struct nvme_soft *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random;
}

/* ============================================================================================
 * >>soft-dma
 *
 * A real controller reaches host memory through the IOMMU, which knows what the driver mapped. Here
 * the table of mappings is both: what is not in it cannot be reached.
 * ============================================================================================ */

/* Something that ends all processing until the next reset [Base 2.1 §3.1.4.6: CSTS.CFS]. */
static void nvme_soft_fatal(struct nvme_soft *s, const char *why)
{
	NVME_SOFT__LOG(s, NVME_LOG_WARNING, "CSTS.CFS = 1: %s", why);
	s->csts |= NVME_CSTS_CFS_SET(1);
	s->rdy_at = NVME_SOFT__NEVER;
}

/* Host memory at iova, and in *len at most how much of it lies in one piece. */
static uint8_t *nvme_soft__reach(const struct nvme_soft *s, uint64_t iova, size_t *len)
{
	uint32_t i;

	for (i = 0; i < s->num_maps; i++) {
		uint64_t offset = iova - s->maps[i].iova;

		if (offset < s->maps[i].len) {
			if (*len > s->maps[i].len - offset)
				*len = (size_t)(s->maps[i].len - offset);
			return s->maps[i].at + offset;
		}
	}
	return NULL;
}

/* The same for exactly len bytes; NULL: not all of them are mapped in one piece. */
static uint8_t *nvme_soft__host(const struct nvme_soft *s, uint64_t iova, size_t len)
{
	size_t have = len;
	uint8_t *at = nvme_soft__reach(s, iova, &have);

	return have == len ? at : NULL;
}

/* The driver sent the controller where it must not go. */
static uint16_t nvme_soft_report_stray(struct nvme_soft *s, const struct nvme_soft__job *job,
                                       uint64_t iova, size_t len, const char *doing)
{
	char text[256] = "no command";

	if (job != NULL)
		nvme_format_cmd(text, sizeof(text), job->sq->id, &job->cmd);
	s->stats.strays++;
	NVME_SOFT__LOG(s, NVME_LOG_ERROR,
	               "a bug of the driver: %s, %zu bytes at IOVA %016" PRIx64
	               "h, which dma_map() has not made reachable; the command: %s",
	               doing, len, iova, text);
	return NVME_SOFT__GENERIC(NVME_SC_DATA_TRANSFER_ERROR);
}

/* Adds a piece to the list. Pieces that follow each other in memory become one. */
static bool nvme_soft__add_piece(struct nvme_soft *s, uint8_t *at, size_t len)
{
	struct nvme_soft__piece *last = s->num_pieces > 0 ? &s->pieces[s->num_pieces - 1] : NULL;

	if (last != NULL && at != NULL && last->at != NULL && last->at + last->len == at) {
		last->len += len;
		return true;
	}
	if (s->num_pieces == s->max_pieces) {
		uint32_t max = s->max_pieces > 0 ? 2 * s->max_pieces : 64;
		void *more = realloc(s->pieces, max * sizeof(*s->pieces));

		if (more == NULL)
			return false;
		s->pieces = (struct nvme_soft__piece *)more;
		s->max_pieces = max;
	}
	s->pieces[s->num_pieces].at = at;
	s->pieces[s->num_pieces++].len = len;
	return true;
}

/* The next len bytes of the transfer are at iova. */
static uint16_t nvme_soft__add_iova(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    uint64_t iova, size_t len, bool to_host)
{
	while (len > 0) {
		size_t have = len;
		uint8_t *at = nvme_soft__reach(s, iova, &have);

		if (at == NULL)
			return nvme_soft_report_stray(s, job, iova, len,
			                              to_host ? "writing data" : "reading data");
		if (!nvme_soft__add_piece(s, at, have))
			return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
		iova += have;
		len -= have;
	}
	return 0;
}

/* ---- PRPs [Base 2.1 §4.3.1: Physical Region Page Entry and List] ---- */

/*
 * The list: page addresses, one for each page that is still to come. When they do not all fit into
 * the rest of the list's page, the last entry of that page is the address of the next list page.
 */
static uint16_t nvme_soft_walk_prp_list(struct nvme_soft *s, const struct nvme_soft__job *job,
                                        uint64_t list, size_t len, bool to_host)
{
	uint64_t page = UINT64_C(4096) << NVME_CC_MPS(s->cc), mask = page - 1;

	if ((list & 7) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	while (len > 0) {
		uint64_t need = (len + mask) / page, slots = (page - (list & mask)) / 8;
		uint64_t take = need < slots ? need : slots, i;
		const uint64_t *entry =
			(const uint64_t *)(const void *)nvme_soft__host(s, list, take * 8);

		s->stats.list_reads++;
		if (entry == NULL)
			return nvme_soft_report_stray(s, job, list, take * 8,
			                              "fetching a PRP list");
		for (i = 0; i < (need > slots ? take - 1 : take); i++) {
			size_t n = len < page ? len : (size_t)page;
			uint16_t status;

			if ((entry[i] & mask) != 0)
				return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
			status = nvme_soft__add_iova(s, job, entry[i], n, to_host);
			if (status != 0)
				return status;
			len -= n;
		}
		if (len > 0) {
			list = entry[take - 1];
			if ((list & mask) != 0)
				return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
		}
	}
	return 0;
}

/* Only PRP1 may point into the middle of a page. PRP2 is the second page, or the list. */
static uint16_t nvme_soft_walk_prps(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    size_t len, bool to_host)
{
	uint64_t page = UINT64_C(4096) << NVME_CC_MPS(s->cc);
	uint64_t prp1 = job->cmd.dptr.prp.prp1, prp2 = job->cmd.dptr.prp.prp2;
	size_t first = (size_t)(page - (prp1 & (page - 1)));
	uint16_t status;

	if ((prp1 & 3) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	first = len < first ? len : first;
	status = nvme_soft__add_iova(s, job, prp1, first, to_host);
	if (status != 0 || len == first)
		return status;
	if (len - first > page)
		return nvme_soft_walk_prp_list(s, job, prp2, len - first, to_host);
	if ((prp2 & (page - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	return nvme_soft__add_iova(s, job, prp2, len - first, to_host);
}

/* ---- SGLs [Base 2.1 §4.3.2: Scatter Gather List] ---- */

/* Where a walk through the segments of an SGL is. */
struct nvme_soft__sgl {
	const struct nvme_sgl_desc *desc; /* the segment at hand */
	uint32_t count;                   /* descriptors in it */
	uint32_t segments;                /* so far */
	bool more, last;                  /* announced by a Segment, by a Last Segment descriptor */
	size_t want, have;                /* bytes: of the command, described so far */
};

/* A Segment or Last Segment descriptor: the list goes on elsewhere. */
static uint16_t nvme_soft__next_segment(struct nvme_soft *s, const struct nvme_soft__job *job,
                                        struct nvme_soft__sgl *w, struct nvme_sgl_desc d)
{
	if (w->last || d.len == 0 || d.len % 16 != 0 || (d.addr & 7) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_SGL_SEG_DESCRIPTOR);
	if (++w->segments > 1024) /* a loop */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_NUM_SGL_DESCRIPTORS);
	w->desc = (const struct nvme_sgl_desc *)(const void *)nvme_soft__host(s, d.addr, d.len);
	s->stats.list_reads++;
	if (w->desc == NULL)
		return nvme_soft_report_stray(s, job, d.addr, d.len, "fetching an SGL segment");
	w->count = d.len / 16;
	w->last = NVME_SGL_TYPE(d.id) == NVME_SGL_TYPE_LAST_SEGMENT;
	w->more = !w->last;
	return 0;
}

/* A Data Block, or a Bit Bucket: data of a read that nobody wants, nothing at all for a write. */
static uint16_t nvme_soft__sgl_data(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    struct nvme_soft__sgl *w, const struct nvme_sgl_desc *d,
                                    bool to_host)
{
	bool bucket = NVME_SGL_TYPE(d->id) == NVME_SGL_TYPE_BIT_BUCKET;

	if (bucket && !to_host)
		return 0;
	if (d->len > w->want - w->have)
		return NVME_SOFT__GENERIC(NVME_SC_DATA_SGL_LENGTH_INVALID);
	w->have += d->len;
	if (!bucket)
		return nvme_soft__add_iova(s, job, d->addr, d->len, to_host);
	return nvme_soft__add_piece(s, NULL, d->len)
	               ? 0
	               : NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
}

/* One segment from end to end. Sets w->desc to the next one, or to NULL. */
static uint16_t nvme_soft_walk_segment(struct nvme_soft *s, const struct nvme_soft__job *job,
                                       struct nvme_soft__sgl *w, bool to_host)
{
	const struct nvme_sgl_desc *d = w->desc, *end = d + w->count;
	uint16_t status = 0;

	for (w->desc = NULL; d < end && status == 0; d++) {
		if (NVME_SGL_SUBTYPE(d->id) != NVME_SGL_SUBTYPE_ADDRESS)
			return NVME_SOFT__GENERIC(NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID);
		switch (NVME_SGL_TYPE(d->id)) {
		case NVME_SGL_TYPE_DATA_BLOCK:
		case NVME_SGL_TYPE_BIT_BUCKET:
			status = nvme_soft__sgl_data(s, job, w, d, to_host);
			break;
		case NVME_SGL_TYPE_SEGMENT:
		case NVME_SGL_TYPE_LAST_SEGMENT:
			if (d + 1 != end)
				return NVME_SOFT__GENERIC(NVME_SC_INVALID_NUM_SGL_DESCRIPTORS);
			return nvme_soft__next_segment(s, job, w, *d);
		default:
			return NVME_SOFT__GENERIC(NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID);
		}
	}
	if (status == 0 && w->more) /* "not the last segment", but nothing follows it */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_SGL_SEG_DESCRIPTOR);
	return status;
}

static uint16_t nvme_soft_walk_sgl(struct nvme_soft *s, const struct nvme_soft__job *job,
                                   size_t len, bool to_host)
{
	struct nvme_soft__sgl w;
	uint16_t status = 0;

	memset(&w, 0, sizeof(w));
	w.desc = &job->cmd.dptr.sgl; /* the command has room for one descriptor */
	w.count = 1;
	w.want = len;
	while (w.desc != NULL && status == 0)
		status = nvme_soft_walk_segment(s, job, &w, to_host);
	if (status == 0 && w.have < len)
		return NVME_SOFT__GENERIC(NVME_SC_DATA_SGL_LENGTH_INVALID);
	return status;
}

/* ---- the transfer ---- */

/* Fills s->pieces with the places in host memory that the data pointer stands for. */
static uint16_t nvme_soft_walk_dptr(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    size_t len, bool to_host)
{
	uint32_t psdt = NVME_CMD_PSDT(job->cmd.flags);

	s->num_pieces = 0;
	if (len == 0)
		return 0;
	if (psdt == NVME_PSDT_PRP)
		return nvme_soft_walk_prps(s, job, len, to_host);
	/* over PCIe admin commands use PRPs [Base 2.1 §4.1.1: Command Dword 0, PSDT] */
	if (job->sq->id == 0 || psdt > NVME_PSDT_SGL_MPTR)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	return nvme_soft_walk_sgl(s, job, len, to_host);
}

/* The first len bytes of the pieces become those at mem, all others zero. */
static void nvme_soft__scatter(struct nvme_soft *s, const uint8_t *mem, size_t len)
{
	uint32_t i;

	for (i = 0; i < s->num_pieces; i++) {
		const struct nvme_soft__piece *p = &s->pieces[i];
		size_t n = p->len < len ? p->len : len;

		if (p->at != NULL) {
			memcpy(p->at, mem, n);
			memset(p->at + n, 0, p->len - n);
		}
		mem += n;
		len -= n;
	}
}

/* Moves len bytes between the controller's memory and the host's. */
static uint16_t nvme_soft_transfer(struct nvme_soft *s, const struct nvme_soft__job *job, void *mem,
                                   size_t len, bool to_host)
{
	uint16_t status = nvme_soft_walk_dptr(s, job, len, to_host);
	uint8_t *at = (uint8_t *)mem;
	uint32_t i;

	if (status != 0)
		return status;
	if (to_host) {
		nvme_soft__scatter(s, at, len);
		return 0;
	}
	for (i = 0; i < s->num_pieces; at += s->pieces[i++].len)
		memcpy(at, s->pieces[i].at, s->pieces[i].len);
	return 0;
}

/* ============================================================================================
 * >>soft-queue
 *
 * The same rings as in nvme.h, from the other side: here the SQ is read at its head and the CQ
 * written at its tail [Base 2.1 §3.3.3: Queue memory].
 * ============================================================================================ */

/* Where the rings are in host memory: looked up once, not for every command. */
static void nvme_soft__find_rings(struct nvme_soft *s)
{
	uint32_t i;

	for (i = 0; i <= NVME_SOFT__MAX_QUEUES; i++) {
		struct nvme_soft__sq *sq = &s->sq[i];
		struct nvme_soft__cq *cq = &s->cq[i];

		sq->ring = (struct nvme_cmd *)(void *)nvme_soft__host(
			s, sq->base, sq->entries * sizeof(*sq->ring));
		cq->ring = (struct nvme_cpl *)(void *)nvme_soft__host(
			s, cq->base, cq->entries * sizeof(*cq->ring));
	}
}

static void nvme_soft__create_sq(struct nvme_soft *s, uint16_t id, uint64_t base, uint32_t entries,
                                 uint16_t cqid)
{
	struct nvme_soft__sq *sq = &s->sq[id];

	memset(sq, 0, sizeof(*sq));
	sq->id = id;
	sq->cqid = cqid;
	sq->base = base;
	sq->entries = entries;
	s->cq[cqid].num_sqs++;
	nvme_soft__find_rings(s);
}

static void nvme_soft__create_cq(struct nvme_soft *s, uint16_t id, uint64_t base, uint32_t entries)
{
	struct nvme_soft__cq *cq = &s->cq[id];

	memset(cq, 0, sizeof(*cq));
	cq->id = id;
	cq->base = base;
	cq->entries = entries;
	cq->phase = cq->head_phase = 1; /* the host zeroed the ring: new entries have a 1 */
	nvme_soft__find_rings(s);
}

/* Free slots. One always stays empty, or full would look like empty. */
static uint32_t nvme_soft__room(const struct nvme_soft__cq *cq)
{
	return (cq->head + cq->entries - cq->tail - 1) % cq->entries;
}

typedef uint32_t __attribute__((may_alias)) nvme_soft__u32;

static void nvme_soft__pause(void)
{
	struct timespec ts;

	ts.tv_sec = 0;
	ts.tv_nsec = 20000;
	nanosleep(&ts, NULL);
}

/*
 * The dword with the phase bit goes last, and with release semantics: a host that sees the phase
 * must find the rest of the completion, and the data of the command, in its memory.
 */
static void nvme_soft__store_cqe(const struct nvme_soft *s, struct nvme_cpl *slot,
                                 const struct nvme_cpl *cpl)
{
	uint32_t old = (uint32_t)slot->status << 16;

	slot->cdw0 = cpl->cdw0;
	slot->cdw1 = cpl->cdw1;
	slot->sqhd = cpl->sqhd;
	slot->sqid = cpl->sqid;
	if (s->plan.torn) { /* the new CID is there before the new phase */
		nvme_soft__pause();
		__atomic_store_n((nvme_soft__u32 *)&slot->cid, cpl->cid | old, __ATOMIC_RELEASE);
		nvme_soft__pause();
	}
	__atomic_store_n((nvme_soft__u32 *)&slot->cid, cpl->cid | (uint32_t)cpl->status << 16,
	                 __ATOMIC_RELEASE);
}

/* Fault "flood": the whole ring looks new, seen from where the host is. */
static void nvme_soft__flood(const struct nvme_soft *s, struct nvme_soft__cq *cq)
{
	struct nvme_cpl cpl = cq->last;
	uint32_t i;

	if (cq->ring == NULL)
		return; /* unmapped in the meantime */
	for (i = 0; i < cq->entries; i++) {
		uint32_t slot = (cq->head + i) % cq->entries;
		uint16_t phase = (uint16_t)(cq->head_phase ^ (slot < cq->head));

		cpl.status = (uint16_t)((cpl.status & ~1u) | phase);
		nvme_soft__store_cqe(s, &cq->ring[slot], &cpl);
	}
}

static void nvme_soft__write_cqe(struct nvme_soft *s, struct nvme_soft__cq *cq,
                                 struct nvme_cpl *cpl, bool wrong_phase)
{
	uint16_t phase = (uint16_t)(wrong_phase ? !cq->phase : cq->phase);

	if (cq->ring == NULL) {
		nvme_soft_report_stray(s, NULL, cq->base, cq->entries * sizeof(*cpl),
		                       "writing to a completion queue");
		nvme_soft_fatal(s, "a completion queue is not in mapped memory");
		return;
	}
	cpl->status = (uint16_t)((cpl->status & ~1u) | phase); /* [Base 2.1 §4.2.4: Phase Tag] */
	nvme_soft__store_cqe(s, &cq->ring[cq->tail], cpl);
	if (++cq->tail == cq->entries) {
		cq->tail = 0;
		cq->phase ^= 1;
	}
	s->stats.completions++;
	cq->last = *cpl;
	if (cq->flood)
		nvme_soft__flood(s, cq);
}

/* The answer to a command [Base 2.1 §4.2.1: Completion Queue Entry], falsified where planned. */
static void nvme_soft_post_completion(struct nvme_soft *s, const struct nvme_soft__job *job,
                                      uint16_t status)
{
	const struct nvme_soft__fault *f = &job->fault;
	struct nvme_soft__cq *cq = &s->cq[job->sq->cqid];
	struct nvme_cpl cpl;

	cpl.cdw0 = job->dw0;
	cpl.cdw1 = 0;
	cpl.sqhd = f->set & NVME_SOFT__SQHD ? f->sqhd : (uint16_t)job->sq->head;
	cpl.sqid = f->set & NVME_SOFT__SQID ? f->sqid : job->sq->id;
	cpl.cid = f->set & NVME_SOFT__CID ? f->cid : job->cmd.cid;
	cpl.status = status;
	s->waits = 0;
	nvme_soft__write_cqe(s, cq, &cpl, (f->set & NVME_SOFT__PHASE_STUCK) != 0);
	if (f->set & NVME_SOFT__DUPLICATE && nvme_soft__room(cq) > 0)
		nvme_soft__write_cqe(s, cq, &cpl, false);
}

/* ============================================================================================
 * >>soft-event
 * ============================================================================================ */

/*
 * The error log: the latest error first [Base 2.1 §5.1.12: Error Information]. pel is the byte of
 * the command that is to blame, where the status tells.
 */
static void nvme_soft__record_error(struct nvme_soft *s, uint16_t sqid, const struct nvme_cmd *cmd,
                                    uint16_t status)
{
	struct nvme_error_log_entry *e = &s->errors[s->num_errors++ % NVME_SOFT__ERRORS];
	bool generic = NVME_CPL_SCT(status) == NVME_SCT_GENERIC;

	memset(e, 0, sizeof(*e));
	e->ecnt = s->num_errors;
	e->sqid = sqid;
	e->cid = cmd->cid;
	e->sts = status;
	e->pel = 0xffff;
	e->opc = cmd->opc;
	e->nsid = cmd->nsid;
	if (sqid != 0)
		e->lba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	if (generic && NVME_CPL_SC(status) == NVME_SC_INVALID_OPCODE)
		e->pel = 0;
	else if (generic && NVME_CPL_SC(status) == NVME_SC_INVALID_NAMESPACE_OR_FORMAT)
		e->pel = offsetof(struct nvme_cmd, nsid);
	else if (generic && NVME_CPL_SC(status) == NVME_SC_INVALID_PRP_OFFSET)
		e->pel = offsetof(struct nvme_cmd, dptr);
	else if (generic && NVME_CPL_SC(status) == NVME_SC_LBA_OUT_OF_RANGE)
		e->pel = offsetof(struct nvme_cmd, cdw10);
	s->smart.error_log_entries[0] = s->num_errors;
}

/* Does the host want to hear of it? [Base 2.1: Asynchronous Event Configuration feature] */
static bool nvme_soft__event_wanted(const struct nvme_soft *s, const struct nvme_soft__event *e)
{
	uint32_t config = s->features[NVME_FEAT_ASYNC_EVENT_CONFIG];
	static const uint32_t warning[] = {NVME_SMART_DEGRADED, NVME_SMART_TEMPERATURE,
	                                   NVME_SMART_SPARE};

	if (e->type == NVME_AER_TYPE_SMART)
		return e->info > 2 || (config & warning[e->info]) != 0;
	if (e->type == NVME_AER_TYPE_NOTICE)
		return e->info > 1 || (config & (0x100u << e->info)) != 0;
	return true;
}

/*
 * Completes outstanding Asynchronous Event Requests with what there is to tell. A type that was told
 * is masked until the host has read its log page. [Base 2.1: Asynchronous Event Request command]
 */
static void nvme_soft_deliver_events(struct nvme_soft *s)
{
	struct nvme_soft__job job;
	uint32_t i = 0;

	while (i < s->num_events && s->num_aers > 0 && nvme_soft__room(&s->cq[0]) > 0) {
		struct nvme_soft__event e = s->events[i];

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
		job.dw0 = NVME_AER_TYPE_SET(e.type) | NVME_AER_INFO_SET(e.info) |
		          NVME_AER_LID_SET(e.lid);
		nvme_soft_post_completion(s, &job, 0);
	}
}

static void nvme_soft_raise_event(struct nvme_soft *s, struct nvme_soft__event e)
{
	uint32_t i;

	if (e.type == NVME_AER_TYPE_SMART && e.info == 1) {
		s->smart.critical_warning |= NVME_SMART_TEMPERATURE;
		s->smart.temperature[0] = 360 & 0xff; /* kelvin, above WCTEMP and CCTEMP */
	}
	if (e.lid == NVME_LOG_PAGE_CHANGED_NS_LIST)
		s->ns_changed = true;
	if ((s->csts & NVME_CSTS_RDY_SET(1)) == 0 || !nvme_soft__event_wanted(s, &e))
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
	s->masked &= lid == NVME_LOG_PAGE_ERROR   ? ~(1u << NVME_AER_TYPE_ERROR)
	             : lid == NVME_LOG_PAGE_SMART ? ~(1u << NVME_AER_TYPE_SMART)
	             : lid == NVME_LOG_PAGE_CHANGED_NS_LIST || lid == NVME_LOG_PAGE_FIRMWARE_SLOT
	                     ? ~(1u << NVME_AER_TYPE_NOTICE)
	                     : ~0u;
	nvme_soft_deliver_events(s);
}

static uint16_t nvme_soft_async_event_request(struct nvme_soft *s, struct nvme_soft__job *job)
{
	if (s->num_aers == NVME_SOFT__AERS)
		return NVME_SOFT__SPECIFIC(NVME_SC_ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED);
	s->aers[s->num_aers++] = job->cmd.cid;
	nvme_soft_deliver_events(s);
	return 1; /* no completion now; 1 is no status, it would be a phase bit */
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

/* [Base 2.1 §5.1.13.2.1, Fig. 312: Identify Controller Data Structure] */
static void nvme_soft__id_ctrlr(const struct nvme_soft *s, struct nvme_id_ctrlr *id)
{
	id->vid = id->ssvid = NVME_SOFT_VENDOR_ID;
	nvme_soft__id_strings(s, id);
	id->mdts = (uint8_t)s->cfg.mdts;
	id->cntlid = 1;
	id->ver = s->vs;
	id->rtd3r = 1000000;
	id->rtd3e = 1000000;
	id->oaes = 0x300; /* namespace attribute and firmware activation notices */
	id->cntrltype = 1;
	id->oacs = NVME_OACS_FORMAT;
	id->acl = NVME_SOFT__ABORTS - 1;
	id->aerl = NVME_SOFT__AERS - 1;
	id->frmw = 0x03; /* one slot, read only */
	id->lpa = 0x06;  /* effects log, offsets */
	id->elpe = NVME_SOFT__ERRORS - 1;
	id->wctemp = 343;
	id->cctemp = 353;
	id->tnvmcap[0] = s->disk_size;
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = s->cfg.ns;
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_WRITE_UNC | NVME_ONCS_DSM |
	           NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE | NVME_ONCS_TIMESTAMP | NVME_ONCS_VERIFY;
	id->fuses = 1;  /* Compare and Write */
	id->vwc = 0x07; /* present; Flush takes FFFFFFFFh */
	id->acwu = 0;
	id->sgls = 1 | 1u << 16; /* any alignment; bit buckets */
	id->psd[0].mp = 500;
}

/* 8 and 16 bytes that nobody else has: locally administered, made from seed and NSID. */
static void nvme_soft__ns_names(const struct nvme_soft *s, uint32_t nsid, uint8_t *eui64,
                                uint8_t *nguid)
{
	int i;

	memset(eui64, 0, 8);
	memset(nguid, 0, 16);
	for (i = 0; i < 4; i++) {
		eui64[3 - i] = (uint8_t)(s->cfg.seed >> 8 * i);
		eui64[7 - i] = (uint8_t)(nsid >> 8 * i);
	}
	eui64[0] = (uint8_t)((eui64[0] & 0xfc) | 0x02);
	memcpy(nguid, "soft", 4);
	memcpy(nguid + 8, eui64, 8);
}

/* [NVM 1.1 §4.1.5.1, Fig. 114: Identify Namespace Data Structure]. Format n: 512 << n bytes. */
static void nvme_soft__id_ns(const struct nvme_soft *s, uint32_t nsid, struct nvme_id_ns *id)
{
	const struct nvme_soft__ns *ns = &s->ns[nsid];
	uint8_t i;

	id->nsze = id->ncap = id->nuse = ns->nsze;
	id->nlbaf = 7;
	id->flbas = (uint8_t)(ns->lbads - 9);
	id->dlfeat = 0x01; /* deallocated blocks read as zeroes */
	id->nvmcap[0] = ns->size;
	nvme_soft__ns_names(s, nsid, id->eui64, id->nguid);
	for (i = 0; i < 8; i++)
		id->lbaf[i].lbads = (uint8_t)(9 + i);
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
	at[56] = NVME_CSI_NVM;
}

static void nvme_soft__id_ns_list(const struct nvme_soft *s, uint32_t after,
                                  struct nvme_ns_list *list)
{
	uint32_t n = 0, i;

	if (s->plan.has_nslist) {
		memcpy(list->nsid, s->plan.nslist, s->plan.num_nslist * sizeof(list->nsid[0]));
		return;
	}
	for (i = 1; i <= s->cfg.ns; i++) {
		if (i > after)
			list->nsid[n++] = i;
	}
}

/* Changes what the plan says. */
static void nvme_soft__id_edit(const struct nvme_soft *s, uint32_t cns, uint8_t *data)
{
	uint32_t i;

	for (i = 0; i < s->plan.num_edits; i++) {
		const struct nvme_soft__edit *e = &s->plan.edits[i];
		size_t offset = e->field->offset;

		if (e->field->cns != cns)
			continue;
		if (offset == UINT16_MAX) {
			struct nvme_id_ns *id = (struct nvme_id_ns *)(void *)data;
			struct nvme_lbaf *f = &id->lbaf[NVME_FLBAS_INDEX(id->flbas)];

			offset = (size_t)((uint8_t *)f - data);
			offset += e->field->size == 1 ? offsetof(struct nvme_lbaf, lbads) : 0;
		}
		memcpy(data + offset, &e->value, e->field->size);
	}
}

/* Is it one of ours? FFFFFFFFh is not. [Base 2.1 §3.2.1: Namespace identifiers] */
static uint16_t nvme_soft__check_nsid(const struct nvme_soft *s, uint32_t nsid)
{
	return nsid >= 1 && nsid <= s->cfg.ns
	               ? 0
	               : NVME_SOFT__GENERIC(NVME_SC_INVALID_NAMESPACE_OR_FORMAT);
}

/* Fills data, which is zero. [Base 2.1 §5.1.13, Fig. 310: CNS Values] */
static uint16_t nvme_soft__id_data(const struct nvme_soft *s, const struct nvme_cmd *cmd,
                                   void *data)
{
	uint32_t cns = NVME_IDENTIFY_CNS(cmd->cdw10), csi = NVME_IDENTIFY_CSI(cmd->cdw11);
	uint32_t since = cns <= NVME_ID_CNS_CTRLR            ? 0
	                 : cns == NVME_ID_CNS_ACTIVE_NS_LIST ? NVME_VS_SET(1, 1, 0)
	                 : cns == NVME_ID_CNS_NS_ID_DESC     ? NVME_VS_SET(1, 3, 0)
	                                                     : NVME_VS_SET(2, 0, 0);
	uint8_t *bytes = (uint8_t *)data;

	if (s->vs < since || (cns >= NVME_ID_CNS_NS_IOCS && csi != NVME_CSI_NVM))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	switch (cns) {
	case NVME_ID_CNS_CTRLR:
		nvme_soft__id_ctrlr(s, (struct nvme_id_ctrlr *)data);
		return 0;
	case NVME_ID_CNS_ACTIVE_NS_LIST:
	case NVME_ID_CNS_ACTIVE_NS_LIST_IOCS:
		if (cmd->nsid >= NVME_NSID_ALL - 1)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_NAMESPACE_OR_FORMAT);
		nvme_soft__id_ns_list(s, cmd->nsid, (struct nvme_ns_list *)data);
		return 0;
	case NVME_ID_CNS_CTRLR_IOCS: /* all limits 0: none, or those of MDTS */
		return 0;
	case NVME_ID_CNS_IOCS: /* combination 0: bit 0, the NVM command set */
		bytes[0] = 0x01;
		return 0;
	case NVME_ID_CNS_NS:
	case NVME_ID_CNS_NS_ID_DESC:
	case NVME_ID_CNS_NS_IOCS:
	case NVME_ID_CNS_NS_INDEPENDENT:
		break;
	default:
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	}
	if (nvme_soft__check_nsid(s, cmd->nsid) != 0)
		return nvme_soft__check_nsid(s, cmd->nsid);
	if (cns == NVME_ID_CNS_NS)
		nvme_soft__id_ns(s, cmd->nsid, (struct nvme_id_ns *)data);
	else if (cns == NVME_ID_CNS_NS_ID_DESC)
		nvme_soft__id_descs(s, cmd->nsid, bytes);
	else if (cns == NVME_ID_CNS_NS_INDEPENDENT)
		bytes[14] = 0x01; /* NSTAT: ready */
	return 0;
}

static uint16_t nvme_soft_identify(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t status;

	memset(s->page, 0, sizeof(s->page));
	status = nvme_soft__id_data(s, &job->cmd, s->page);
	nvme_soft__id_edit(s, NVME_IDENTIFY_CNS(job->cmd.cdw10), (uint8_t *)s->page);
	return status != 0 ? status : nvme_soft_transfer(s, job, s->page, sizeof(s->page), true);
}

/* ============================================================================================
 * >>soft-admin
 * ============================================================================================ */

/* ---- queues ---- */

/* [Base 2.1 §5.2.1: Create I/O Completion Queue command] */
static uint16_t nvme_soft_create_io_cq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t qid = NVME_CREATE_IO_Q_QID(cmd->cdw10), size = NVME_CREATE_IO_Q_QSIZE(cmd->cdw10);
	uint64_t page = UINT64_C(4096) << NVME_CC_MPS(s->cc);

	if (qid == 0 || qid > s->cfg.queues || s->cq[qid].entries != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	if (size == 0 || size > s->cfg.mqes)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_SIZE);
	if (NVME_CREATE_IO_CQ_IV(cmd->cdw11) > s->cfg.queues) /* a vector for each queue */
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_INTERRUPT_VECTOR);
	if (NVME_CREATE_IO_CQ_PC(cmd->cdw11) == 0) /* CAP.CQR is 1 */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if ((cmd->dptr.prp.prp1 & (page - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	nvme_soft__create_cq(s, (uint16_t)qid, cmd->dptr.prp.prp1, size + 1);
	return 0;
}

/* [Base 2.1 §5.2.2: Create I/O Submission Queue command] */
static uint16_t nvme_soft_create_io_sq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t qid = NVME_CREATE_IO_Q_QID(cmd->cdw10), size = NVME_CREATE_IO_Q_QSIZE(cmd->cdw10);
	uint32_t cqid = NVME_CREATE_IO_SQ_CQID(cmd->cdw11);
	uint64_t page = UINT64_C(4096) << NVME_CC_MPS(s->cc);

	if (cqid == 0 || cqid > s->cfg.queues || qid == 0 || qid > s->cfg.queues ||
	    s->sq[qid].entries != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	if (s->cq[cqid].entries == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_COMPLETION_QUEUE_INVALID);
	if (size == 0 || size > s->cfg.mqes)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_SIZE);
	if (NVME_CREATE_IO_SQ_PC(cmd->cdw11) == 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if ((cmd->dptr.prp.prp1 & (page - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	nvme_soft__create_sq(s, (uint16_t)qid, cmd->dptr.prp.prp1, size + 1, (uint16_t)cqid);
	return 0;
}

static uint16_t nvme_soft_delete_io_cq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t qid = NVME_DELETE_IO_Q_QID(job->cmd.cdw10);

	if (qid == 0 || qid > s->cfg.queues || s->cq[qid].entries == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	if (s->cq[qid].num_sqs != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_DELETION);
	s->cq[qid].entries = 0;
	s->cq[qid].ring = NULL;
	return 0;
}

static void nvme_soft_complete(struct nvme_soft *s, struct nvme_soft__job *job, uint16_t status);

/* Takes a command out of those that wait. */
static struct nvme_soft__job nvme_soft__take_late(struct nvme_soft *s, uint32_t i)
{
	struct nvme_soft__job job = s->late[i];

	s->num_late--;
	memmove(&s->late[i], &s->late[i + 1], (s->num_late - i) * sizeof(job));
	return job;
}

/* What is still in flight ends before the queue does [Base 2.1: Delete I/O Submission Queue]. */
static uint16_t nvme_soft_delete_io_sq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t qid = NVME_DELETE_IO_Q_QID(job->cmd.cdw10), i = 0;
	struct nvme_soft__sq *sq = &s->sq[qid > s->cfg.queues ? 0 : qid];

	if (sq->id == 0 || sq->entries == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	while (i < s->num_late) {
		if (s->late[i].sq == sq) {
			struct nvme_soft__job late = nvme_soft__take_late(s, i);

			nvme_soft_complete(
				s, &late,
				NVME_SOFT__RAW(NVME_SCT_GENERIC, NVME_SC_ABORTED_SQ_DELETION));
		} else {
			i++;
		}
	}
	s->fused[sq->id].sq = NULL;
	s->cq[sq->cqid].num_sqs--;
	sq->entries = sq->head = sq->tail = 0; /* what was not fetched is never fetched */
	sq->ring = NULL;
	return 0;
}

/* CQE dword 0, bit 0: 0 if it was aborted, 1 if not. [Base 2.1: Abort command] */
static uint16_t nvme_soft_abort(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t sqid = NVME_ABORT_SQID(job->cmd.cdw10), cid = NVME_ABORT_CID(job->cmd.cdw10);
	uint16_t aborted = NVME_SOFT__RAW(NVME_SCT_GENERIC, NVME_SC_ABORTED_BY_REQUEST);
	struct nvme_soft__job victim;
	uint32_t i, aborts = 0;

	for (i = 0; i < s->num_late; i++)
		aborts += s->late[i].sq->id == 0 && s->late[i].cmd.opc == NVME_OPC_ABORT;
	if (aborts >= NVME_SOFT__ABORTS)
		return NVME_SOFT__SPECIFIC(NVME_SC_ABORT_COMMAND_LIMIT_EXCEEDED);
	for (i = 0; i < s->num_late; i++) {
		const struct nvme_soft__sq *sq = s->late[i].sq;

		/* its completion needs room, and on queue 0 that of the Abort does too */
		if (sq->id == sqid && s->late[i].cmd.cid == cid &&
		    nvme_soft__room(&s->cq[sq->cqid]) > (sq->cqid == 0 ? 1u : 0u)) {
			victim = nvme_soft__take_late(s, i);
			nvme_soft_complete(s, &victim, aborted);
			return 0;
		}
	}
	for (i = 0; i < s->num_aers && sqid == 0; i++) {
		if (s->aers[i] == cid && nvme_soft__room(&s->cq[0]) > 1) {
			memset(&victim, 0, sizeof(victim));
			victim.sq = &s->sq[0];
			victim.cmd.opc = NVME_OPC_ASYNC_EVENT_REQUEST;
			victim.cmd.cid = (uint16_t)cid;
			s->aers[i] = s->aers[--s->num_aers];
			nvme_soft_complete(s, &victim, aborted);
			return 0;
		}
	}
	job->dw0 = 1;
	return 0;
}

/* ---- features [Base 2.1: Set Features command, Get Features command] ---- */

static const struct nvme_soft__feature {
	uint8_t fid;
	uint8_t bytes; /* of a data structure; 0: the value is CDW11 */
	bool per_ns;
	uint32_t mask; /* bits that can be set */
	uint32_t initial;
} nvme_soft__features[] = {
	{NVME_FEAT_ARBITRATION, 0, false, 0xffffff07u, 0x07}, /* burst: no limit */
	{NVME_FEAT_POWER_MANAGEMENT, 0, false, 0xff, 0},
	{NVME_FEAT_TEMPERATURE_THRESHOLD, 0, false, 0x3fffff, 343},
	{NVME_FEAT_ERROR_RECOVERY, 0, true, 0xffff, 0},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, 0, false, 0x1, 1},
	{NVME_FEAT_NUMBER_OF_QUEUES, 0, false, UINT32_MAX, 0},
	{NVME_FEAT_INTERRUPT_COALESCING, 0, false, 0xffff, 0},
	{NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, false, 0x1ffff, 0},
	{NVME_FEAT_WRITE_ATOMICITY, 0, false, 0x1, 0},
	{NVME_FEAT_ASYNC_EVENT_CONFIG, 0, false, 0x31f, 0x31f},
	{NVME_FEAT_TIMESTAMP, 8, false, 0, 0},
	{NVME_FEAT_HOST_IDENTIFIER, 8, false, 0, 0},
};

static const struct nvme_soft__feature *nvme_soft__find_feature(uint32_t fid)
{
	size_t i;

	for (i = 0; i < sizeof(nvme_soft__features) / sizeof(nvme_soft__features[0]); i++) {
		if (nvme_soft__features[i].fid == fid)
			return &nvme_soft__features[i];
	}
	return NULL;
}

/* How many queues: asked for and granted, both 0-based [Base 2.1: Number of Queues feature]. */
static uint16_t nvme_soft__set_num_queues(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t nsq = NVME_NUM_QUEUES_NSQ(job->cmd.cdw11), most = s->cfg.queues - 1;
	uint32_t ncq = NVME_NUM_QUEUES_NCQ(job->cmd.cdw11), i;

	if (nsq == 65535 || ncq == 65535)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	for (i = 1; i <= s->cfg.queues; i++) {
		if (s->cq[i].entries != 0 || s->sq[i].entries != 0)
			return NVME_SOFT__GENERIC(NVME_SC_COMMAND_SEQUENCE_ERROR);
	}
	nsq = nsq < most ? nsq : most;
	ncq = ncq < most ? ncq : most;
	job->dw0 = NVME_NUM_QUEUES_NSQ_SET(nsq) | NVME_NUM_QUEUES_NCQ_SET(ncq);
	s->features[NVME_FEAT_NUMBER_OF_QUEUES] = job->dw0;
	return 0;
}

static uint16_t nvme_soft__set_feature_data(struct nvme_soft *s, struct nvme_soft__job *job,
                                            uint32_t fid)
{
	size_t len = fid == NVME_FEAT_HOST_IDENTIFIER && (job->cmd.cdw11 & 1) != 0 ? 16 : 8;
	uint16_t status = nvme_soft_transfer(s, job, s->page, len, false);

	if (status == 0 && fid == NVME_FEAT_TIMESTAMP) { /* 48 bits of milliseconds */
		s->timestamp = nvme_bits(s->page[0], 47, 0);
		s->timestamp_set_at = s->now;
	} else if (status == 0) {
		memset(s->host_id, 0, sizeof(s->host_id));
		memcpy(s->host_id, s->page, len);
	}
	return status;
}

static uint16_t nvme_soft_set_features(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t fid = NVME_FEATURES_FID(cmd->cdw10), value = cmd->cdw11;
	const struct nvme_soft__feature *f = nvme_soft__find_feature(fid);

	if (f == NULL)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (NVME_SET_FEATURES_SV(cmd->cdw10) != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_FEATURE_ID_NOT_SAVEABLE);
	if (!f->per_ns && cmd->nsid != 0 && cmd->nsid != NVME_NSID_ALL)
		return NVME_SOFT__SPECIFIC(NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC);
	if (f->per_ns && cmd->nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, cmd->nsid) != 0)
		return nvme_soft__check_nsid(s, cmd->nsid);
	if (f->bytes != 0)
		return nvme_soft__set_feature_data(s, job, fid);
	if (fid == NVME_FEAT_NUMBER_OF_QUEUES)
		return nvme_soft__set_num_queues(s, job);
	if ((fid == NVME_FEAT_POWER_MANAGEMENT && nvme_bits(value, 4, 0) != 0) ||
	    (fid == NVME_FEAT_INTERRUPT_VECTOR_CONFIG && nvme_bits(value, 15, 0) > s->cfg.queues) ||
	    (fid == NVME_FEAT_TEMPERATURE_THRESHOLD && nvme_bits(value, 21, 20) > 1))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (fid == NVME_FEAT_TEMPERATURE_THRESHOLD && nvme_bits(value, 21, 20) == 1)
		s->temp_under = value & 0xffff;
	else
		s->features[fid] = value & f->mask;
	return 0;
}

/* Timestamp [47:0], in ms since it was set; host identifier */
static uint16_t nvme_soft__get_feature_data(struct nvme_soft *s, struct nvme_soft__job *job,
                                            uint32_t fid)
{
	bool wide = fid == NVME_FEAT_HOST_IDENTIFIER && (job->cmd.cdw11 & 1) != 0;

	memcpy(s->page, s->host_id, sizeof(s->host_id));
	if (fid == NVME_FEAT_TIMESTAMP) {
		s->page[0] = s->timestamp + (s->now - s->timestamp_set_at) / NVME_SOFT__MS;
		s->page[0] = nvme_bits(s->page[0], 47, 0) |
		             nvme_field(s->timestamp_set_at != 0 ? 1 : 0, 51, 49);
	}
	return nvme_soft_transfer(s, job, s->page, wide ? 16 : 8, true);
}

/* SEL: 0 current, 1 default, 2 saved (there is none: default), 3 what can be done with it */
static uint16_t nvme_soft_get_features(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t fid = NVME_FEATURES_FID(job->cmd.cdw10);
	uint32_t sel = NVME_GET_FEATURES_SEL(job->cmd.cdw10), cdw11 = job->cmd.cdw11;
	const struct nvme_soft__feature *f = nvme_soft__find_feature(fid);

	if (f == NULL || sel > 3)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (sel == 3) { /* saveable [0], per namespace [1], changeable [2] */
		job->dw0 = 0x4 | (f->per_ns ? 0x2u : 0);
		return 0;
	}
	if (f->bytes != 0)
		return nvme_soft__get_feature_data(s, job, fid);
	job->dw0 = sel == 0 ? s->features[fid] : s->defaults[fid];
	if (fid == NVME_FEAT_TEMPERATURE_THRESHOLD && nvme_bits(cdw11, 21, 20) == 1)
		job->dw0 = sel == 0 ? s->temp_under : 0;
	if (fid == NVME_FEAT_INTERRUPT_VECTOR_CONFIG) {
		if (nvme_bits(cdw11, 15, 0) > s->cfg.queues)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
		if ((job->dw0 & 0xffff) != (cdw11 & 0xffff))
			job->dw0 = cdw11 & 0xffff; /* coalescing is remembered for one vector */
	}
	return 0;
}

/* ---- log pages [Base 2.1 §5.1.12: Get Log Page command] ---- */

static void nvme_soft__error_log(const struct nvme_soft *s, uint8_t *page)
{
	uint64_t i, n = s->num_errors < NVME_SOFT__ERRORS ? s->num_errors : NVME_SOFT__ERRORS;

	for (i = 0; i < n; i++)
		memcpy(page + 64 * i, &s->errors[(s->num_errors - 1 - i) % NVME_SOFT__ERRORS], 64);
}

static void nvme_soft__smart_log(const struct nvme_soft *s, struct nvme_smart_log *log)
{
	*log = s->smart;
	log->data_units_read[0] = (s->data_read + 999) / 1000;
	log->data_units_written[0] = (s->data_written + 999) / 1000;
}

static const uint8_t nvme_soft__admin_opcodes[] = {
	NVME_OPC_DELETE_IO_SQ, NVME_OPC_CREATE_IO_SQ,        NVME_OPC_GET_LOG_PAGE,
	NVME_OPC_DELETE_IO_CQ, NVME_OPC_CREATE_IO_CQ,        NVME_OPC_IDENTIFY,
	NVME_OPC_ABORT,        NVME_OPC_SET_FEATURES,        NVME_OPC_GET_FEATURES,
	NVME_OPC_FORMAT_NVM,   NVME_OPC_ASYNC_EVENT_REQUEST,
};

static const uint8_t nvme_soft__io_opcodes[] = {
	NVME_OPC_FLUSH,   NVME_OPC_WRITE,        NVME_OPC_READ,   NVME_OPC_WRITE_UNCORRECTABLE,
	NVME_OPC_COMPARE, NVME_OPC_WRITE_ZEROES, NVME_OPC_VERIFY, NVME_OPC_DATASET_MANAGEMENT,
};

/* A dword for each opcode: CSUPP [0] supported, LBCC [1] changes the content of blocks. */
static void nvme_soft__effects_log(uint32_t *page)
{
	size_t i;

	for (i = 0; i < sizeof(nvme_soft__admin_opcodes); i++)
		page[nvme_soft__admin_opcodes[i]] = 0x1;
	for (i = 0; i < sizeof(nvme_soft__io_opcodes); i++)
		page[256 + nvme_soft__io_opcodes[i]] =
			nvme_soft__io_opcodes[i] == NVME_OPC_WRITE ||
					nvme_soft__io_opcodes[i] == NVME_OPC_WRITE_ZEROES ||
					nvme_soft__io_opcodes[i] == NVME_OPC_WRITE_UNCORRECTABLE ||
					nvme_soft__io_opcodes[i] == NVME_OPC_DATASET_MANAGEMENT
				? 0x3
				: 0x1;
	page[NVME_OPC_FORMAT_NVM] = 0x3;
}

/* Puts a log page into s->page, which is zero. Returns its size, 0: there is no such page. */
static size_t nvme_soft__log_page(struct nvme_soft *s, uint32_t lid)
{
	uint8_t *bytes = (uint8_t *)s->page;
	uint32_t *dwords = (uint32_t *)(void *)bytes, i;

	switch (lid) {
	case NVME_LOG_PAGE_SUPPORTED:
		for (i = NVME_LOG_PAGE_SUPPORTED; i <= NVME_LOG_PAGE_COMMAND_EFFECTS; i++)
			dwords[i] = 0x1;
		return 1024;
	case NVME_LOG_PAGE_ERROR:
		nvme_soft__error_log(s, bytes);
		return sizeof(s->errors);
	case NVME_LOG_PAGE_SMART:
		nvme_soft__smart_log(s, (struct nvme_smart_log *)(void *)bytes);
		return sizeof(struct nvme_smart_log);
	case NVME_LOG_PAGE_FIRMWARE_SLOT:
		bytes[0] = 1; /* slot 1 is running */
		snprintf((char *)bytes + 8, 16, "%-8.8s", "0.1");
		return sizeof(struct nvme_fw_slot_log);
	case NVME_LOG_PAGE_CHANGED_NS_LIST:
		dwords[0] = s->ns_changed ? 1 : 0;
		s->ns_changed = false;
		return sizeof(struct nvme_ns_list);
	case NVME_LOG_PAGE_COMMAND_EFFECTS:
		nvme_soft__effects_log(dwords);
		return 4096;
	default:
		return 0;
	}
}

/* Is len more than MDTS allows? [Base 2.1 §5.1.13.2.1: MDTS, in units of CAP.MPSMIN] */
static bool nvme_soft__too_long(const struct nvme_soft *s, uint64_t len)
{
	uint32_t shift = 12 + s->cfg.mpsmin + s->cfg.mdts;

	return s->cfg.mdts != 0 && shift < 40 && len > UINT64_C(1) << shift;
}

static uint16_t nvme_soft_get_log_page(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t lid = NVME_GET_LOG_PAGE_LID(cmd->cdw10);
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
	if (NVME_GET_LOG_PAGE_RAE(cmd->cdw10) == 0)
		nvme_soft__acknowledge(s, lid);
	return 0;
}

/* ---- Format NVM [Base 2.1: Format NVM command] ---- */

static void nvme_soft__zero(struct nvme_soft *s, struct nvme_soft__ns *ns, uint64_t offset,
                            uint64_t len);

static uint16_t nvme_soft_format(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t cdw10 = job->cmd.cdw10, nsid = job->cmd.nsid;
	uint32_t format = NVME__GET(cdw10, 13, 12) << 4 | NVME__GET(cdw10, 3, 0);
	uint32_t i;

	if (nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, nsid) != 0)
		return nvme_soft__check_nsid(s, nsid);
	if (format > 7 || NVME__GET(cdw10, 8, 4) != 0) /* MSET, PI and PIL: no metadata here */
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_FORMAT);
	if (NVME__GET(cdw10, 11, 9) > 1) /* SES: none, user data */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	for (i = 1; i <= s->cfg.ns; i++) {
		if (nsid != NVME_NSID_ALL && nsid != i)
			continue;
		nvme_soft__zero(s, &s->ns[i], 0, s->ns[i].size);
		s->ns[i].lbads = 9 + format;
		s->ns[i].nsze = s->ns[i].size >> s->ns[i].lbads;
	}
	return 0;
}

static uint16_t nvme_soft_execute_admin(struct nvme_soft *s, struct nvme_soft__job *job)
{
	if (NVME_CMD_FUSE(job->cmd.flags) != NVME_FUSE_NONE ||
	    NVME_CMD_PSDT(job->cmd.flags) != NVME_PSDT_PRP)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	switch (job->cmd.opc) {
	case NVME_OPC_DELETE_IO_SQ:
		return nvme_soft_delete_io_sq(s, job);
	case NVME_OPC_CREATE_IO_SQ:
		return nvme_soft_create_io_sq(s, job);
	case NVME_OPC_GET_LOG_PAGE:
		return nvme_soft_get_log_page(s, job);
	case NVME_OPC_DELETE_IO_CQ:
		return nvme_soft_delete_io_cq(s, job);
	case NVME_OPC_CREATE_IO_CQ:
		return nvme_soft_create_io_cq(s, job);
	case NVME_OPC_IDENTIFY:
		return nvme_soft_identify(s, job);
	case NVME_OPC_ABORT:
		return nvme_soft_abort(s, job);
	case NVME_OPC_SET_FEATURES:
		return nvme_soft_set_features(s, job);
	case NVME_OPC_GET_FEATURES:
		return nvme_soft_get_features(s, job);
	case NVME_OPC_ASYNC_EVENT_REQUEST:
		return nvme_soft_async_event_request(s, job);
	case NVME_OPC_FORMAT_NVM:
		return nvme_soft_format(s, job);
	default:
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_OPCODE);
	}
}

/* ============================================================================================
 * >>soft-nvm
 *
 * The NVM command set. A namespace is a piece of memory; block n is at n << lbads. There is no
 * cache, except that a file may be behind that memory.
 * ============================================================================================ */

/* ---- blocks that Write Uncorrectable made unreadable ---- */

static bool nvme_soft__any_bad(const struct nvme_soft__ns *ns, uint64_t slba, uint64_t nlb)
{
	uint64_t i;

	for (i = slba; ns->num_bad != 0 && i < slba + nlb; i++) {
		if ((ns->bad[i / 8] >> (i % 8) & 1) != 0)
			return true;
	}
	return false;
}

static void nvme_soft__set_bad(struct nvme_soft__ns *ns, uint64_t slba, uint64_t nlb, bool bad)
{
	uint64_t i;

	for (i = slba; (bad || ns->num_bad != 0) && i < slba + nlb; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8));

		if (((ns->bad[i / 8] & bit) != 0) == bad)
			continue;
		ns->bad[i / 8] ^= bit;
		ns->num_bad = bad ? ns->num_bad + 1 : ns->num_bad - 1;
	}
}

static void nvme_soft__zero(struct nvme_soft *s, struct nvme_soft__ns *ns, uint64_t offset,
                            uint64_t len)
{
	uint8_t *at = ns->mem + offset;
	uint64_t head = (uint64_t)(-(uintptr_t)at & 4095);
	uint64_t pages = len > head ? (len - head) & ~UINT64_C(4095) : 0;

	nvme_soft__set_bad(ns, offset >> ns->lbads, len >> ns->lbads, false);
	/* whole pages of anonymous memory are given back: they are zero when they are used next */
	if (s->cfg.file[0] != '\0' || pages == 0 ||
	    madvise(at + head, (size_t)pages, MADV_DONTNEED) != 0) {
		memset(at, 0, (size_t)len);
		return;
	}
	memset(at, 0, (size_t)head);
	memset(at + head + pages, 0, (size_t)(len - head - pages));
}

/* A command with SLBA and NLB: what it is about. */
struct nvme_soft__extent {
	struct nvme_soft__ns *ns;
	uint64_t slba, nlb;
	uint8_t *mem;
	size_t len;
};

static uint16_t nvme_soft__check_blocks(struct nvme_soft *s, const struct nvme_cmd *cmd, bool data,
                                        struct nvme_soft__extent *x)
{
	uint16_t status = nvme_soft__check_nsid(s, cmd->nsid);

	if (status != 0)
		return status;
	x->ns = &s->ns[cmd->nsid];
	x->slba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	x->nlb = (uint64_t)NVME_RW_NLB(cmd->cdw12) + 1;
	if (NVME_RW_PRINFO(cmd->cdw12) != 0 && NVME_RW_PRINFO(cmd->cdw12) != 8)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_PROTECTION_INFO);
	if (data && nvme_soft__too_long(s, x->nlb << x->ns->lbads))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (x->slba >= x->ns->nsze || x->nlb > x->ns->nsze - x->slba)
		return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	x->mem = x->ns->mem + (x->slba << x->ns->lbads);
	x->len = (size_t)(x->nlb << x->ns->lbads);
	return 0;
}

/* [NVM 1.1 §3.3.4: Read command] */
static uint16_t nvme_soft_read(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, true, &x);

	if (status != 0)
		return status;
	if (nvme_soft__any_bad(x.ns, x.slba, x.nlb)) {
		s->smart.media_errors[0]++;
		return NVME_SOFT__MEDIA(NVME_SC_UNRECOVERED_READ_ERROR);
	}
	s->smart.host_reads[0]++;
	s->data_read += x.len / 512;
	return nvme_soft_transfer(s, job, x.mem, x.len, true);
}

/* [NVM 1.1 §3.3.6: Write command] */
static uint16_t nvme_soft_write(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, true, &x);

	if (status == 0)
		status = nvme_soft_transfer(s, job, x.mem, x.len, false);
	if (status != 0)
		return status;
	nvme_soft__set_bad(x.ns, x.slba, x.nlb, false);
	s->smart.host_writes[0]++;
	s->data_written += x.len / 512;
	return 0;
}

/* [NVM 1.1: Compare command] */
static uint16_t nvme_soft_compare(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, true, &x);
	uint32_t i;

	if (status == 0)
		status = nvme_soft_walk_dptr(s, job, x.len, false);
	if (status != 0)
		return status;
	if (nvme_soft__any_bad(x.ns, x.slba, x.nlb))
		return NVME_SOFT__MEDIA(NVME_SC_UNRECOVERED_READ_ERROR);
	s->smart.host_reads[0]++;
	for (i = 0; i < s->num_pieces; x.mem += s->pieces[i++].len) {
		if (memcmp(s->pieces[i].at, x.mem, s->pieces[i].len) != 0)
			return NVME_SOFT__MEDIA(NVME_SC_COMPARE_FAILURE);
	}
	return 0;
}

static uint16_t nvme_soft_write_zeroes(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, false, &x);

	if (status == 0)
		nvme_soft__zero(s, x.ns, x.slba << x.ns->lbads, x.len);
	return status;
}

/* Reads of these blocks fail until they are written again. */
static uint16_t nvme_soft_write_uncorrectable(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, false, &x);
	void *bad;

	if (status != 0)
		return status;
	if (x.ns->bad == NULL) { /* a bit for each block of the smallest size */
		bad = mmap(NULL, (size_t)(x.ns->size / 4096 + 1), PROT_READ | PROT_WRITE,
		           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (bad == MAP_FAILED)
			return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
		x.ns->bad = (uint8_t *)bad;
	}
	nvme_soft__set_bad(x.ns, x.slba, x.nlb, true);
	return 0;
}

static uint16_t nvme_soft_verify(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	struct nvme_soft__extent x;
	uint16_t status = nvme_soft__check_blocks(s, &job->cmd, false, &x);

	if (status == 0 && nvme_soft__any_bad(x.ns, x.slba, x.nlb))
		return NVME_SOFT__MEDIA(NVME_SC_UNRECOVERED_READ_ERROR);
	return status;
}

/* All ranges are checked before the first is deallocated. [NVM 1.1: Dataset Management command] */
static uint16_t nvme_soft_dataset_management(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	const struct nvme_dsm_range *range = (const struct nvme_dsm_range *)(const void *)s->page;
	uint32_t nr = NVME_DSM_NR(job->cmd.cdw10) + 1, i;
	uint16_t status = nvme_soft__check_nsid(s, job->cmd.nsid);
	struct nvme_soft__ns *ns;

	if (status == 0)
		status = nvme_soft_transfer(s, job, s->page, nr * sizeof(*range), false);
	if (status != 0)
		return status;
	ns = &s->ns[job->cmd.nsid];
	for (i = 0; i < nr; i++) {
		if (range[i].slba > ns->nsze || range[i].nlb > ns->nsze - range[i].slba)
			return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	}
	for (i = 0; i < nr && NVME_DSM_AD(job->cmd.cdw11) != 0; i++)
		nvme_soft__zero(s, ns, range[i].slba << ns->lbads,
		                (uint64_t)range[i].nlb << ns->lbads);
	return 0;
}

/* [Base 2.1 §7.2: Flush command]. NSID FFFFFFFFh: all namespaces. */
static uint16_t nvme_soft_flush(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	uint16_t status = nvme_soft__check_nsid(s, job->cmd.nsid);

	if (status != 0 && job->cmd.nsid != NVME_NSID_ALL)
		return status;
	if (s->cfg.file[0] != '\0' && msync(s->disk, (size_t)s->disk_size, MS_SYNC) != 0)
		return NVME_SOFT__MEDIA(NVME_SC_WRITE_FAULTS);
	return 0;
}

static uint16_t nvme_soft_execute_nvm(struct nvme_soft *s, const struct nvme_soft__job *job)
{
	switch (job->cmd.opc) {
	case NVME_OPC_READ:
		return nvme_soft_read(s, job);
	case NVME_OPC_WRITE:
		return nvme_soft_write(s, job);
	case NVME_OPC_FLUSH:
		return nvme_soft_flush(s, job);
	case NVME_OPC_COMPARE:
		return nvme_soft_compare(s, job);
	case NVME_OPC_WRITE_ZEROES:
		return nvme_soft_write_zeroes(s, job);
	case NVME_OPC_WRITE_UNCORRECTABLE:
		return nvme_soft_write_uncorrectable(s, job);
	case NVME_OPC_DATASET_MANAGEMENT:
		return nvme_soft_dataset_management(s, job);
	case NVME_OPC_VERIFY:
		return nvme_soft_verify(s, job);
	default:
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_OPCODE);
	}
}

/* ============================================================================================
 * >>soft-execute
 *
 * One command, from the ring to its completion: nvme_soft_fetch_command() takes the SQE,
 * nvme_soft_dispatch() looks what the fault plan has for it, nvme_soft_execute() carries it out,
 * nvme_soft_complete() answers.
 * ============================================================================================ */

/* The device is pulled out. */
static void nvme_soft_disappear(struct nvme_soft *s)
{
	NVME_SOFT__LOG(s, NVME_LOG_WARNING, "the device disappears, as planned");
	s->gone = true;
	s->num_late = s->num_aers = s->num_events = 0;
}

static bool nvme_soft__dead(const struct nvme_soft *s)
{
	return s->gone || (s->csts & NVME_CSTS_CFS_SET(1)) != 0 ||
	       (s->csts & NVME_CSTS_RDY_SET(1)) == 0;
}

/* Keeps a command for later, or for ever. */
static void nvme_soft__wait(struct nvme_soft *s, const struct nvme_soft__job *job, uint64_t due)
{
	if (s->num_late == s->max_late) {
		uint32_t max = s->max_late > 0 ? 2 * s->max_late : 64;
		void *more = realloc(s->late, max * sizeof(*s->late));

		if (more == NULL) {
			nvme_soft_fatal(s, "out of memory");
			return;
		}
		s->late = (struct nvme_soft__job *)more;
		s->max_late = max;
	}
	s->late[s->num_late] = *job;
	s->late[s->num_late++].due = due;
}

static void nvme_soft_complete(struct nvme_soft *s, struct nvme_soft__job *job, uint16_t status)
{
	if (status == 1 || nvme_soft__dead(s))
		return;
	if (nvme_soft__room(&s->cq[job->sq->cqid]) == 0)
		return; /* ended by Delete I/O SQ, and nobody has room to be told */
	if (NVME_CPL_SC(status) != 0 || NVME_CPL_SCT(status) != 0) {
		s->stats.errors++;
		nvme_soft__record_error(s, job->sq->id, &job->cmd, status);
	}
	nvme_soft_post_completion(s, job, status);
	if (job->fault.set & NVME_SOFT__AER)
		nvme_soft_raise_event(s, job->fault.event);
}

/* Returns the status; 1 for a command that stays with the controller. */
static uint16_t nvme_soft_execute(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__fault *f = &job->fault;

	if (nvme__unlikely(f->set & (NVME_SOFT__STATUS | NVME_SOFT__DW0 | NVME_SOFT__STRAY))) {
		if (f->set & NVME_SOFT__STRAY)
			return nvme_soft_report_stray(s, job, UINT64_C(1) << 52, 4096,
			                              "writing where the fault plan says");
		job->dw0 = f->set & NVME_SOFT__DW0 ? f->dw0 : 0;
		return f->set & NVME_SOFT__STATUS ? f->status : 0;
	}
	if (job->sq->id == 0)
		return nvme_soft_execute_admin(s, job);
	return nvme_soft_execute_nvm(s, job);
}

/* What the plan has for this command, or simply its execution. */
static void nvme_soft_dispatch(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__fault *f = &job->fault;

	if (f->set & NVME_SOFT__FLOOD)
		s->cq[job->sq->cqid].flood = true;
	if (f->set & NVME_SOFT__GONE) {
		nvme_soft_disappear(s);
	} else if (f->set & NVME_SOFT__CFS) {
		nvme_soft_fatal(s, "as planned");
	} else if (f->set & NVME_SOFT__DROP) {
		nvme_soft__wait(s, job, NVME_SOFT__NEVER);
	} else if (f->set & NVME_SOFT__DELAY) {
		uint64_t range = f->delay_max - f->delay + 1;

		nvme_soft__wait(s, job, s->now + f->delay + nvme_soft__random(s) % range);
	} else {
		nvme_soft_complete(s, job, nvme_soft_execute(s, job));
	}
}

/* ---- fused operations [Base 2.1: Fused Operations], [NVM 1.1: Compare and Write] ---- */

static void nvme_soft__execute_pair(struct nvme_soft *s, struct nvme_soft__job *first,
                                    struct nvme_soft__job *second)
{
	const struct nvme_cmd *a = &first->cmd, *b = &second->cmd;
	uint16_t status, failed = NVME_SOFT__RAW(NVME_SCT_GENERIC, NVME_SC_ABORTED_FAILED_FUSED);

	if (a->opc != NVME_OPC_COMPARE || b->opc != NVME_OPC_WRITE || a->nsid != b->nsid ||
	    a->cdw10 != b->cdw10 || a->cdw11 != b->cdw11 ||
	    NVME_RW_NLB(a->cdw12) != NVME_RW_NLB(b->cdw12)) {
		nvme_soft_complete(s, first, NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD));
		nvme_soft_complete(s, second, NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD));
		return;
	}
	status = nvme_soft_execute(s, first);
	nvme_soft_complete(s, first, status);
	nvme_soft_complete(s, second,
	                   NVME_CPL_SC(status) == 0 && NVME_CPL_SCT(status) == 0
	                           ? nvme_soft_execute(s, second)
	                           : failed);
}

/* Holds a first half until its second comes. True: the command is taken care of. */
static bool nvme_soft__fuse(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t missing = NVME_SOFT__RAW(NVME_SCT_GENERIC, NVME_SC_ABORTED_MISSING_FUSED);
	uint32_t fuse = NVME_CMD_FUSE(job->cmd.flags);
	struct nvme_soft__job *first = &s->fused[job->sq->id], half = *first;

	first->sq = NULL;
	if (half.sq != NULL && fuse == NVME_FUSE_SECOND) {
		nvme_soft__execute_pair(s, &half, job);
		return true;
	}
	if (half.sq != NULL)
		nvme_soft_complete(s, &half, missing);
	if (fuse == NVME_FUSE_FIRST)
		*first = *job;
	else if (fuse == NVME_FUSE_SECOND)
		nvme_soft_complete(s, job, missing);
	else if (fuse != NVME_FUSE_NONE)
		nvme_soft_complete(s, job, NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD));
	return fuse != NVME_FUSE_NONE;
}

/* ---- fetching ---- */

/* Takes the SQE at the head of the ring. */
static void nvme_soft_fetch_command(struct nvme_soft *s, struct nvme_soft__sq *sq)
{
	struct nvme_soft__job job;
	uint64_t n = s->stats.admin_cmds + s->stats.io_cmds;

	job.cmd = sq->ring[sq->head];
	job.sq = sq;
	job.due = 0;
	job.dw0 = 0;
	job.fault.set = 0;
	if (++sq->head == sq->entries)
		sq->head = 0;
	s->last[n % NVME_SOFT_LAST_CMDS].qid = sq->id;
	s->last[n % NVME_SOFT_LAST_CMDS].cmd = job.cmd;
	if (sq->id == 0)
		s->stats.admin_cmds++;
	else
		s->stats.io_cmds++;
	if (nvme__unlikely(s->plan.num_rules != 0))
		nvme_soft__find_fault(s, sq->id, &job.cmd, &job.fault);
	if (nvme__unlikely(sq->id != 0 && (NVME_CMD_FUSE(job.cmd.flags) != NVME_FUSE_NONE ||
	                                   s->fused[sq->id].sq != NULL)) &&
	    nvme_soft__fuse(s, &job))
		return;
	nvme_soft_dispatch(s, &job);
}

/* All commands of one queue, as far as there is room for their completions. */
static void nvme_soft_process_sq(struct nvme_soft *s, struct nvme_soft__sq *sq)
{
	while (sq->head != sq->tail && !nvme_soft__dead(s) &&
	       NVME_CSTS_SHST(s->csts) == NVME_CSTS_SHST_NORMAL) {
		if (sq->ring == NULL) {
			nvme_soft_report_stray(s, NULL, sq->base, sq->entries * sizeof(*sq->ring),
			                       "fetching from a submission queue");
			nvme_soft_fatal(s, "a submission queue is not in mapped memory");
			return;
		}
		if (nvme_soft__room(&s->cq[sq->cqid]) < (s->fused[sq->id].sq != NULL ? 2u : 1u)) {
			s->backlog = true; /* goes on when the CQ head moves */
			return;
		}
		nvme_soft_fetch_command(s, sq);
	}
}

/* Delayed commands whose time has come, the earliest first. */
static void nvme_soft__run_late(struct nvme_soft *s)
{
	uint32_t i, next;

	do {
		next = s->num_late;
		for (i = 0; i < s->num_late && !nvme_soft__dead(s); i++) {
			const struct nvme_soft__job *job = &s->late[i];

			if (job->due <= s->now && nvme_soft__room(&s->cq[job->sq->cqid]) > 0 &&
			    (next == s->num_late || job->due < s->late[next].due))
				next = i;
		}
		if (next < s->num_late) {
			struct nvme_soft__job job = nvme_soft__take_late(s, next);

			nvme_soft_complete(s, &job, nvme_soft_execute(s, &job));
			next = UINT32_MAX;
		}
	} while (next == UINT32_MAX);
}

/* Everything that waited for room in a completion queue. */
static void nvme_soft__run_backlog(struct nvme_soft *s)
{
	uint32_t i;

	s->backlog = false;
	nvme_soft__run_late(s);
	nvme_soft_deliver_events(s);
	for (i = 0; i <= s->cfg.queues; i++)
		nvme_soft_process_sq(s, &s->sq[i]);
}

/* ============================================================================================
 * >>soft-regs   [Base 2.1 §3.1.4: Controller properties]
 * ============================================================================================ */

/* RDY follows EN. On the way up the admin queues come into being. */
static void nvme_soft_become_ready(struct nvme_soft *s)
{
	uint32_t i;

	s->rdy_at = NVME_SOFT__NEVER;
	if (NVME_CC_EN(s->cc) == 0) {
		s->csts &= ~NVME_CSTS_RDY_SET(1);
		return;
	}
	nvme_soft__create_cq(s, 0, s->acq, NVME_AQA_ACQS(s->aqa) + 1);
	nvme_soft__create_sq(s, 0, s->asq, NVME_AQA_ASQS(s->aqa) + 1, 0);
	s->csts |= NVME_CSTS_RDY_SET(1);
	for (i = 0; i < s->plan.num_events; i++)
		nvme_soft_raise_event(s, s->plan.events[i]);
}

static void nvme_soft__run_due(struct nvme_soft *s)
{
	if (s->gone)
		return;
	if (s->now >= s->rdy_at)
		nvme_soft_become_ready(s);
	if (s->now >= s->shst_at) {
		s->shst_at = NVME_SOFT__NEVER;
		s->csts = (s->csts & ~NVME_CSTS_SHST_SET(3)) |
		          NVME_CSTS_SHST_SET(NVME_CSTS_SHST_COMPLETE);
	}
	if (s->num_late != 0)
		nvme_soft__run_late(s);
}

/* What a reset by CC.EN = 0 takes back; AQA, ASQ and ACQ stay [Base 2.1: Controller Level Reset]. */
static void nvme_soft_reset(struct nvme_soft *s)
{
	uint32_t i;

	for (i = 0; i < sizeof(s->mail) / sizeof(s->mail[0]); i++)
		__atomic_store_n(&s->mail[i], 0, __ATOMIC_RELAXED);
	memset(s->sq, 0, sizeof(s->sq));
	memset(s->cq, 0, sizeof(s->cq));
	memset(s->fused, 0, sizeof(s->fused));
	memcpy(s->features, s->defaults, sizeof(s->features));
	s->temp_under = 0;
	s->num_late = s->num_aers = s->num_events = s->masked = 0;
	s->backlog = false;
	s->csts = 0;
	s->intm = 0;
	s->rdy_at = s->shst_at = NVME_SOFT__NEVER;
}

/* What is wrong with the way the host wants the controller to work; NULL: nothing. */
static const char *nvme_soft__check_enable(const struct nvme_soft *s)
{
	uint32_t css = NVME_CC_CSS(s->cc), has = s->cfg.css;

	if (NVME_AQA_ASQS(s->aqa) == 0 || NVME_AQA_ACQS(s->aqa) == 0)
		return "AQA: an admin queue has at least 2 entries";
	if (((s->asq | s->acq) & 4095) != 0)
		return "ASQ or ACQ is not page aligned";
	if (NVME_CC_MPS(s->cc) < s->cfg.mpsmin || NVME_CC_MPS(s->cc) > s->cfg.mpsmax)
		return "CC.MPS is not between CAP.MPSMIN and CAP.MPSMAX";
	if (NVME_CC_IOSQES(s->cc) != 6 || NVME_CC_IOCQES(s->cc) != 4)
		return "CC.IOSQES is not 6 or CC.IOCQES is not 4";
	if (NVME_CC_AMS(s->cc) != NVME_CC_AMS_RR)
		return "CC.AMS is not supported";
	if (!(css == NVME_CC_CSS_NVM && (has & NVME_CAP_CSS_NVM) != 0) &&
	    !(css == NVME_CC_CSS_IOCS && (has & NVME_CAP_CSS_IOCS) != 0) &&
	    !(css == NVME_CC_CSS_ADMIN && (has & NVME_CAP_CSS_ADMIN) != 0))
		return "CC.CSS is not supported";
	return NULL;
}

static void nvme_soft_enable(struct nvme_soft *s)
{
	const char *wrong = nvme_soft__check_enable(s);

	s->stats.enables++;
	if (wrong == NULL && s->plan.cfs_enables != 0) {
		s->plan.cfs_enables -= s->plan.cfs_enables != UINT64_MAX;
		wrong = "as planned";
	}
	if (wrong != NULL) {
		nvme_soft_fatal(s, wrong);
		return;
	}
	s->rdy_at = s->plan.ready == NVME_SOFT__NEVER ? NVME_SOFT__NEVER : s->now + s->plan.ready;
}

/* EN 0 to 1 enables, 1 to 0 resets. All but EN and SHN is fixed while EN is 1. SHN that becomes
 * non-zero starts a shutdown. [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration] */
static void nvme_soft_write_cc(struct nvme_soft *s, uint32_t value)
{
	uint32_t old = s->cc, free_bits = NVME_CC_EN_SET(1) | NVME_CC_SHN_SET(3);

	s->cc = NVME_CC_EN(old) != 0 ? (old & ~free_bits) | (value & free_bits) : value;
	if (NVME_CC_EN(old) == 0 && NVME_CC_EN(value) != 0)
		nvme_soft_enable(s);
	else if (NVME_CC_EN(old) != 0 && NVME_CC_EN(value) == 0)
		nvme_soft_reset(s);
	if (NVME_CC_SHN(old) == 0 && NVME_CC_SHN(value) != 0 && NVME_CC_EN(value) != 0) {
		s->csts |= NVME_CSTS_SHST_SET(NVME_CSTS_SHST_OCCURRING);
		if (s->cfg.file[0] != '\0')
			(void)msync(s->disk, (size_t)s->disk_size, MS_SYNC);
		s->shst_at = s->plan.shutdown == NVME_SOFT__NEVER ? NVME_SOFT__NEVER
		                                                  : s->now + s->plan.shutdown;
	}
}

static uint32_t nvme_soft_get_reg(const struct nvme_soft *s, uint32_t offset)
{
	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)s->cap;
	case NVME_REG_CAP + 4:
		return (uint32_t)(s->cap >> 32);
	case NVME_REG_VS:
		return s->vs;
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return s->intm;
	case NVME_REG_CC:
		return s->cc;
	case NVME_REG_CSTS:
		return s->csts;
	case NVME_REG_AQA:
		return s->aqa;
	case NVME_REG_ASQ:
		return (uint32_t)s->asq;
	case NVME_REG_ASQ + 4:
		return (uint32_t)(s->asq >> 32);
	case NVME_REG_ACQ:
		return (uint32_t)s->acq;
	case NVME_REG_ACQ + 4:
		return (uint32_t)(s->acq >> 32);
	default: /* not there, or a doorbell */
		return 0;
	}
}

/* Registers that are not listed are read only, or not there. */
static void nvme_soft_set_reg(struct nvme_soft *s, uint32_t offset, uint32_t value)
{
	const uint64_t low = UINT32_MAX;

	switch (offset) {
	case NVME_REG_INTMS: /* write 1 to set */
		s->intm |= value;
		break;
	case NVME_REG_INTMC: /* write 1 to clear */
		s->intm &= ~value;
		break;
	case NVME_REG_CC:
		nvme_soft_write_cc(s, value);
		break;
	case NVME_REG_AQA:
		s->aqa = value & (NVME_AQA_ASQS_SET(0xfff) | NVME_AQA_ACQS_SET(0xfff));
		break;
	case NVME_REG_ASQ:
		s->asq = (s->asq & ~low) | value;
		break;
	case NVME_REG_ASQ + 4:
		s->asq = (s->asq & low) | (uint64_t)value << 32;
		break;
	case NVME_REG_ACQ:
		s->acq = (s->acq & ~low) | value;
		break;
	case NVME_REG_ACQ + 4:
		s->acq = (s->acq & low) | (uint64_t)value << 32;
		break;
	default:
		break;
	}
}

/* ---- doorbells [PCIe 1.1 §3.1.2.1, §3.1.2.2] ---- */

/* A doorbell that makes no sense is an event: 00h no such queue, 01h no such value. */
static void nvme_soft__bad_doorbell(struct nvme_soft *s, uint32_t index, uint32_t value,
                                    uint8_t info)
{
	struct nvme_soft__event e;
	struct nvme_cmd none;
	char name[32];

	nvme_format_reg_name(name, sizeof(name), NVME_REG_DOORBELLS + 4 * index, 0);
	NVME_SOFT__LOG(s, NVME_LOG_ERROR, "a bug of the driver: doorbell %s = %" PRIu32 ": %s",
	               name, value,
	               info == 0 ? "there is no such queue" : "no value that this queue can take");
	s->stats.bad_doorbells++;
	memset(&none, 0, sizeof(none));
	none.cid = NVME_CID_NONE;
	nvme_soft__record_error(s, (uint16_t)(index / 2), &none,
	                        NVME_SOFT__RAW(NVME_SCT_GENERIC, NVME_SC_INVALID_FIELD));
	e.type = NVME_AER_TYPE_ERROR;
	e.info = info;
	e.lid = NVME_LOG_PAGE_ERROR;
	nvme_soft_raise_event(s, e);
}

/* The head of a completion queue moved: its slots are free. It cannot overtake the tail. */
static void nvme_soft_ring_cq(struct nvme_soft *s, struct nvme_soft__cq *cq, uint32_t index,
                              uint32_t value)
{
	uint32_t taken = (value + cq->entries - cq->head) % cq->entries;
	uint32_t used = cq->entries - 1 - nvme_soft__room(cq);

	if (value >= cq->entries || (!cq->flood && (taken == 0 || taken > used))) {
		nvme_soft__bad_doorbell(s, index, value, 1);
		return;
	}
	if (value < cq->head)
		cq->head_phase ^= 1;
	cq->head = value;
	if (cq->flood)
		nvme_soft__flood(s, cq);
	if (s->backlog)
		nvme_soft__run_backlog(s);
	if (cq->id == 0)
		nvme_soft_deliver_events(s);
}

/* Doorbell number index: SQ0, CQ0, SQ1, CQ1, ... */
static void nvme_soft_ring(struct nvme_soft *s, uint32_t index, uint32_t value)
{
	uint32_t qid = index / 2;

	s->waits = 0;
	if (s->gone) {
		s->stats.writes_after_gone++;
		return;
	}
	if ((s->csts & NVME_CSTS_RDY_SET(1)) == 0)
		return;
	if (qid > s->cfg.queues ||
	    (index % 2 ? s->cq[qid].entries == 0 : s->sq[qid].entries == 0)) {
		nvme_soft__bad_doorbell(s, index, value, 0);
	} else if (index % 2) {
		s->cq[qid].rings++;
		nvme_soft_ring_cq(s, &s->cq[qid], index, value);
	} else {
		struct nvme_soft__sq *sq = &s->sq[qid];

		sq->rings++;
		if (value >= sq->entries || value == sq->tail) {
			nvme_soft__bad_doorbell(s, index, value, 1);
			return;
		}
		sq->tail = value;
		nvme_soft_process_sq(s, sq);
	}
}

/* Which doorbell is at this offset? UINT32_MAX: between two of them. */
static uint32_t nvme_soft__doorbell_index(const struct nvme_soft *s, uint32_t offset)
{
	uint32_t stride = 4u << s->cfg.dstrd;

	offset -= NVME_REG_DOORBELLS;
	return offset % stride == 0 ? offset / stride : UINT32_MAX;
}

/* ---- the two functions that the driver calls ---- */

static uint32_t nvme_soft_read_4(struct nvme_dev *dev, uint32_t offset)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint32_t value;
	bool polling;

	nvme_soft__lock(s);
	polling = offset == NVME_REG_CSTS && !s->clock_seen && !s->cfg.threaded;
	nvme_soft__tick(s, true);
	if (polling && s->num_late != 0 && nvme_soft__next_late(s) < NVME_SOFT__NEVER)
		s->now = nvme_soft__next_late(s); /* see >>soft-clock */
	nvme_soft__run_due(s);
	s->stats.reg_reads++;
	value = s->gone ? UINT32_MAX : nvme_soft_get_reg(s, offset);
	nvme_soft__unlock(s);
	return value;
}

/* mode=thread: a doorbell is left in the mail box of its queue; the thread will find it. */
static void nvme_soft__leave_mail(struct nvme_soft *s, uint32_t index, uint32_t value)
{
	uint32_t last = 2 * s->cfg.queues + 2;

	__atomic_store_n(&s->mail[index < last ? index : last], UINT64_C(1) << 32 | value,
	                 __ATOMIC_RELEASE);
}

static void nvme_soft_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint32_t index = UINT32_MAX;

	if (offset >= NVME_REG_DOORBELLS) {
		index = nvme_soft__doorbell_index(s, offset);
		if (s->cfg.threaded) {
			nvme_soft__leave_mail(s, index, value);
			return;
		}
	}
	nvme_soft__lock(s);
	nvme_soft__tick(s, false);
	nvme_soft__run_due(s);
	if (offset >= NVME_REG_DOORBELLS) {
		nvme_soft_ring(s, index, value);
	} else if (s->gone) {
		s->stats.writes_after_gone++;
	} else {
		s->stats.reg_writes++;
		nvme_soft_set_reg(s, offset, value);
	}
	nvme_soft__unlock(s);
}

/* ============================================================================================
 * >>soft-open
 * ============================================================================================ */

/* ---- mode=thread ---- */

/* The doorbell value that was left, and bit 32; 0: none. */
static uint64_t nvme_soft__take_mail(struct nvme_soft *s, uint32_t i)
{
	if (__atomic_load_n(&s->mail[i], __ATOMIC_RELAXED) == 0)
		return 0;
	/* acquire: what the host wrote before it rang, the SQE above all, is seen now */
	return __atomic_exchange_n(&s->mail[i], 0, __ATOMIC_ACQUIRE);
}

/*
 * One look at all doorbells and at the clock. A bus keeps the order of writes, mail boxes do not:
 * the admin queue, whose commands delete queues, comes after all that was rung before it.
 */
static bool nvme_soft_poll(struct nvme_soft *s)
{
	uint32_t i, last = 2 * s->cfg.queues + 2;
	uint64_t admin = nvme_soft__take_mail(s, 0), mail;
	bool busy = admin != 0;

	s->now = nvme_soft__real_time();
	for (i = 1; i <= last; i++) {
		mail = nvme_soft__take_mail(s, i);
		if (mail == 0)
			continue;
		nvme_soft_ring(s, i, (uint32_t)mail);
		busy = true;
	}
	if (admin != 0)
		nvme_soft_ring(s, 0, (uint32_t)admin);
	nvme_soft__run_due(s);
	return busy;
}

static void *nvme_soft__thread_main(void *arg)
{
	struct nvme_soft *s = (struct nvme_soft *)arg;
	uint32_t idle = 0;

	while (__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE) == 0) {
		bool busy;

		pthread_mutex_lock(&s->lock);
		busy = nvme_soft_poll(s);
		pthread_mutex_unlock(&s->lock);
		idle = busy ? 0 : idle + 1;
		if (idle > 1000)
			nvme_soft__pause();
		else if (!busy || __atomic_load_n(&s->waiting, __ATOMIC_RELAXED) != 0)
			sched_yield();
	}
	return NULL;
}

/* ---- memory of the host ---- */

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
	uint32_t i;

	for (i = 0; i < s->num_maps; i++) {
		struct nvme_soft__map *m = &s->maps[i];

		if (iova < m->iova + m->len && m->iova < iova + len)
			return -EEXIST;
	}
	s->stats.bytes_mapped += len;
	for (i = 0; i < s->num_maps; i++) {
		struct nvme_soft__map *m = &s->maps[i];

		if (m->iova + m->len == iova && m->at + m->len == at) {
			m->len += len;
			return 0;
		}
	}
	if (s->num_maps == NVME_SOFT__MAX_MAPS) {
		s->stats.bytes_mapped -= len;
		return -ENOSPC;
	}
	s->maps[s->num_maps].iova = iova;
	s->maps[s->num_maps].len = len;
	s->maps[s->num_maps++].at = at;
	return 0;
}

static int nvme_soft__dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t odd = ((uint64_t)(uintptr_t)vaddr | len | iova) & (dev->page_size - 1);
	int rc;

	nvme_soft__lock(s);
	s->stats.map_calls++;
	if (len == 0 || odd != 0 || !nvme_soft__range_ok(dev, iova, len))
		rc = -EINVAL;
	else if (s->plan.map_fail == s->stats.map_calls)
		rc = -ENOMEM;
	else
		rc = nvme_soft__add_map(s, (uint8_t *)vaddr, len, iova);
	if (rc == 0)
		nvme_soft__find_rings(s);
	else
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "dma_map() of %zu bytes at %p as IOVA %016" PRIx64 "h: %s", len,
		               vaddr, iova,
		               rc == -ENOMEM   ? "fails, as planned"
		               : rc == -EEXIST ? "a part of it is mapped already"
		               : rc == -ENOSPC ? "too many mappings"
		                               : "not whole pages, or outside of the IOVA ranges");
	nvme_soft__unlock(s);
	return rc;
}

/* Takes [iova, iova + len) out of every range; what is left of one may be two. */
static void nvme_soft__cut_map(struct nvme_soft *s, uint64_t iova, uint64_t len)
{
	uint32_t i = 0;

	while (i < s->num_maps) {
		struct nvme_soft__map m = s->maps[i];
		uint64_t end = m.iova + m.len, first = m.iova > iova ? m.iova : iova;
		uint64_t last = end < iova + len ? end : iova + len;

		if (first >= last) {
			i++;
			continue;
		}
		s->stats.bytes_mapped -= last - first;
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
}

static int nvme_soft__dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t before;

	nvme_soft__lock(s);
	before = s->stats.bytes_mapped;
	nvme_soft__cut_map(s, iova, len);
	nvme_soft__find_rings(s);
	before -= s->stats.bytes_mapped;
	nvme_soft__unlock(s);
	return before == len ? 0 : -ENOENT;
}

/* ---- the disk ---- */

static int nvme_soft__open_file(struct nvme_soft *s, struct nvme_dev *dev)
{
	struct nvme_soft__config *cfg = &s->cfg;
	int fd = open(cfg->file, O_RDWR | O_CREAT | O_CLOEXEC, 0666), rc = 0;
	uint64_t want = cfg->size * cfg->ns, have;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		rc = -errno;
		NVME__DEV_LOG(dev, NVME_LOG_ERROR, "cannot open %s (%s): name another file",
		              cfg->file, strerror(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	have = (uint64_t)st.st_size;
	if (have == 0) {
		rc = ftruncate(fd, (off_t)want) != 0 ? -errno : 0;
	} else if (cfg->size_given ? have != want : have % ((uint64_t)cfg->ns * cfg->lbs) != 0) {
		NVME__DEV_LOG(dev, NVME_LOG_ERROR,
		              "%s has %" PRIu64 " bytes, which is not %s of %" PRIu64
		              ": leave size= out, or name another file",
		              cfg->file, have, cfg->size_given ? "the size" : "a multiple",
		              cfg->size_given ? want : (uint64_t)cfg->ns * cfg->lbs);
		rc = -EINVAL;
	} else {
		cfg->size = have / cfg->ns;
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	return fd;
}

static int nvme_soft__open_disk(struct nvme_soft *s, struct nvme_dev *dev)
{
	int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint32_t i;
	void *mem;

	if (s->cfg.file[0] != '\0') {
		fd = nvme_soft__open_file(s, dev);
		if (fd < 0)
			return fd;
		flags = MAP_SHARED;
	}
	s->disk_size = s->cfg.size * s->cfg.ns;
	mem = mmap(NULL, (size_t)s->disk_size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (mem == MAP_FAILED) {
		NVME__DEV_LOG(dev, NVME_LOG_ERROR,
		              "cannot map %" PRIu64
		              " bytes for the namespaces: give a smaller size=",
		              s->disk_size);
		return -ENOMEM;
	}
	s->disk = (uint8_t *)mem;
	for (i = 1; i <= s->cfg.ns; i++) {
		s->ns[i].mem = s->disk + (i - 1) * s->cfg.size;
		s->ns[i].size = s->cfg.size;
		s->ns[i].lbads = (uint32_t)__builtin_ctz(s->cfg.lbs);
		s->ns[i].nsze = s->cfg.size / s->cfg.lbs;
	}
	return 0;
}

/* ---- the controller as it comes out of the box ---- */

static void nvme_soft__power_on(struct nvme_soft *s)
{
	const struct nvme_soft__config *cfg = &s->cfg;
	size_t i;

	s->cap = NVME_CAP_MQES_SET(cfg->mqes) | NVME_CAP_CQR_SET(1) | NVME_CAP_TO_SET(cfg->to) |
	         NVME_CAP_DSTRD_SET(cfg->dstrd) | NVME_CAP_CSS_SET(cfg->css) |
	         NVME_CAP_MPSMIN_SET(cfg->mpsmin) | NVME_CAP_MPSMAX_SET(cfg->mpsmax);
	s->vs = s->plan.has_vs ? s->plan.vs : NVME_VS_SET(2, 0, 0);
	for (i = 0; i < sizeof(nvme_soft__features) / sizeof(nvme_soft__features[0]); i++)
		s->defaults[nvme_soft__features[i].fid] = nvme_soft__features[i].initial;
	s->defaults[NVME_FEAT_NUMBER_OF_QUEUES] =
		NVME_NUM_QUEUES_NSQ_SET(cfg->queues - 1) | NVME_NUM_QUEUES_NCQ_SET(cfg->queues - 1);
	s->aqa = 0;
	s->asq = s->acq = 0;
	s->cc = 0;
	nvme_soft_reset(s);
}

/* "start en=1 rdy=1": what another driver may have left behind */
static void nvme_soft__start(struct nvme_soft *s)
{
	const struct nvme_soft__plan *plan = &s->plan;

	s->gone = plan->gone_at_attach;
	if (!plan->has_start)
		return;
	s->aqa = NVME_AQA_ASQS_SET(31) | NVME_AQA_ACQS_SET(31);
	s->asq = 0xdead0000;
	s->acq = 0xdead8000;
	s->cc = NVME_CC_IOSQES_SET(6) | NVME_CC_IOCQES_SET(4) | NVME_CC_EN_SET(plan->start_en);
	s->csts = NVME_CSTS_RDY_SET(plan->start_rdy);
	if (plan->start_en != plan->start_rdy && plan->ready != NVME_SOFT__NEVER)
		s->rdy_at = s->now + plan->ready;
}

static void nvme_soft__fill_dev(struct nvme_dev *dev, const struct nvme_soft *s)
{
	size_t doorbells = (size_t)2 * (s->cfg.queues + 1) * (4u << s->cfg.dstrd);

	snprintf(dev->name, sizeof(dev->name), "soft");
	dev->vendor_id = NVME_SOFT_VENDOR_ID;
	dev->device_id = NVME_SOFT_DEVICE_ID;
	dev->bar0 = NULL; /* nothing is mapped: every access is a call */
	dev->bar0_mapped = 0;
	dev->bar0_size = (NVME_REG_DOORBELLS + doorbells + 0x3fff) & ~(size_t)0x3fff;
	dev->page_size = 4096;
	dev->iova[0].start = 0; /* all but the window for interrupts, as on a PC */
	dev->iova[0].last = s->cfg.iova > 31 ? 0xfedfffff : (UINT64_C(1) << s->cfg.iova) - 1;
	dev->iova[1].start = 0xfef00000;
	dev->iova[1].last = (UINT64_C(1) << s->cfg.iova) - 1;
	dev->num_iova = s->cfg.iova > 32 ? 2 : 1;
	dev->priv = (void *)(uintptr_t)s;
}

static void nvme_soft__free(struct nvme_soft *s)
{
	uint32_t i;

	for (i = 1; i <= s->cfg.ns; i++) {
		if (s->ns[i].bad != NULL)
			munmap(s->ns[i].bad, (size_t)(s->ns[i].size / 4096 + 1));
	}
	if (s->disk != NULL)
		munmap(s->disk, (size_t)s->disk_size);
	free(s->pieces);
	free(s->late);
	free(s);
}

static int nvme_soft__begin(struct nvme_soft *s, struct nvme_dev *dev)
{
	int rc = nvme_soft__open_disk(s, dev);

	if (rc != 0)
		return rc;
	s->now = s->cfg.threaded ? nvme_soft__real_time() : 0;
	s->random = UINT64_C(0x9e3779b97f4a7c15) ^ s->cfg.seed;
	s->smart.temperature[0] = 310 & 0xff;
	s->smart.temperature[1] = 310 >> 8;
	s->smart.avsp = 100;
	s->smart.avspt = 10;
	s->smart.power_cycles[0] = 1;
	nvme_soft__power_on(s);
	nvme_soft__start(s);
	nvme_soft__fill_dev(dev, s);
	rc = -pthread_mutex_init(&s->lock, NULL);
	if (rc == 0 && s->cfg.threaded) {
		rc = -pthread_create(&s->thread, NULL, nvme_soft__thread_main, s);
		if (rc != 0)
			pthread_mutex_destroy(&s->lock);
	}
	return rc;
}

static int nvme_soft__open(struct nvme_dev *dev, const char *addr)
{
	struct nvme_soft *s = (struct nvme_soft *)calloc(1, sizeof(*s));
	struct nvme_soft__why why;
	char text[512] = "";
	int rc;

	if (s == NULL)
		return -ENOMEM;
	s->log = dev->log;
	why.text = text;
	why.size = sizeof(text);
	snprintf(dev->name, sizeof(dev->name), "soft");
	rc = nvme_soft__parse(addr, &s->cfg, &s->plan, &why);
	s->cfg.plan = NULL; /* points into the caller's text */
	if (rc != 0)
		NVME__DEV_LOG(dev, NVME_LOG_ERROR, "%s", text);
	else
		rc = nvme_soft__begin(s, dev);
	if (rc != 0)
		nvme_soft__free(s);
	return rc;
}

static void nvme_soft__close(struct nvme_dev *dev)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	if (s == NULL)
		return;
	if (s->cfg.threaded) {
		__atomic_store_n(&s->stop, 1, __ATOMIC_RELEASE);
		pthread_join(s->thread, NULL);
	}
	if (s->stats.bytes_mapped != 0)
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "a bug of the driver: %" PRIu64 " bytes are still mapped at close()",
		               s->stats.bytes_mapped);
	pthread_mutex_destroy(&s->lock);
	nvme_soft__free(s);
	dev->priv = NULL;
}

/* A reset of the PCI function: all registers as after power on. */
static int nvme_soft__reset_function(struct nvme_dev *dev)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	nvme_soft__lock(s);
	s->stats.resets++;
	nvme_soft__power_on(s);
	nvme_soft__unlock(s);
	return s->gone ? -ENODEV : 0;
}

static uint64_t nvme_soft__now_ns(struct nvme_dev *dev)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t now;

	nvme_soft__lock(s);
	nvme_soft__pass_time(s);
	nvme_soft__run_due(s);
	now = s->now;
	nvme_soft__unlock(s);
	return now;
}

static const struct nvme_dev_ops nvme_soft__ops = {
	"soft",
	nvme_soft__open,
	nvme_soft__close,
	nvme_soft__dma_map,
	nvme_soft__dma_unmap,
	nvme_soft_read_4,
	nvme_soft_write_4,
	nvme_soft__reset_function,
	nvme_soft__now_ns,
};

NVMEDEF const struct nvme_dev_ops *nvme_soft_dev_ops(const char *device)
{
	if (device == NULL || strncmp(device, "soft", 4) != 0 ||
	    (device[4] != '\0' && device[4] != ':'))
		return NULL;
	return &nvme_soft__ops;
}

/* ---- for tests ---- */

NVMEDEF int nvme_soft_set_plan(const struct nvme_dev *dev, const char *text)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	struct nvme_soft__plan plan;
	struct nvme_soft__why why;
	char reason[512];
	int rc;

	why.text = reason;
	why.size = sizeof(reason);
	nvme_soft__plan_init(&plan);
	rc = nvme_soft__parse_plan(text != NULL ? text : "", &plan, &why);
	nvme_soft__lock(s);
	if (rc == 0) {
		uint32_t i;

		s->plan = plan;
		s->vs = plan.has_vs ? plan.vs : NVME_VS_SET(2, 0, 0);
		s->plan.map_fail += plan.map_fail != 0 ? s->stats.map_calls : 0;
		for (i = 0; i < plan.num_events; i++)
			nvme_soft_raise_event(s, plan.events[i]);
	} else {
		NVME_SOFT__LOG(s, NVME_LOG_ERROR, "%s", reason);
	}
	nvme_soft__unlock(s);
	return rc;
}

NVMEDEF void nvme_soft_inject_aer(const struct nvme_dev *dev, uint32_t type, uint32_t info,
                                  uint32_t lid)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	struct nvme_soft__event e;

	e.type = (uint8_t)(type & 7);
	e.info = (uint8_t)info;
	e.lid = (uint8_t)lid;
	nvme_soft__lock(s);
	nvme_soft_raise_event(s, e);
	nvme_soft__unlock(s);
}

NVMEDEF void nvme_soft_get_stats(const struct nvme_dev *dev, struct nvme_soft_stats *stats)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	nvme_soft__lock(s);
	s->stats.now_ns = s->now;
	*stats = s->stats;
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
		*size = (size_t)s->ns[nsid].size;
	return s->ns[nsid].mem;
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

#ifdef __cplusplus
}
#endif

#endif /* NVME_SOFT_IMPLEMENTATION */
