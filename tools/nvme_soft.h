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
 *	dbbuf=1       Doorbell Buffer Config, for shadow doorbells; default 0
 *	to=1          CAP.TO, in 500 ms; default 20
 *	crwmt=400     CRTO.CRWMT, in 500 ms, with CAP.CRMS to match; default 0, neither
 *	mpsmin=4      CAP.MPSMIN, the smallest page is 4096 << mpsmin bytes; default 0
 *	mpsmax=4      CAP.MPSMAX; default 4, or mpsmin if that is larger
 *	css=0x80      CAP.CSS, a set of bits; default 41h, NVM and "one or more I/O command sets"
 *	ms=8          bytes of metadata of a block, up to 256; default 0. It is kept in memory only,
 *	              not in file=. Formats 8 to 15 are then those with metadata
 *	mset=1        metadata at the end of each block, in the data; default 0, separate (MPTR)
 *	pi=1          protection information, type 1 to 3, where ms is at least 8; default 0, none
 *	pil=1         it is the first 8 bytes of the metadata; default 0, the last
 *	zns=4096      blocks of a zone: the namespaces are zoned; default 0, they are not. The states of
 *	              zones are kept in memory only, not in file=
 *	zcap=3000     blocks of a zone that can be written; default all
 *	mor=8         zones that can be open at the same time; default 0, no limit
 *	mar=12        zones that can be active; default 0, no limit
 *	zasl=2        ZASL, the largest Zone Append, 2^zasl pages; default 0, that of mdts
 *	zdes=64       bytes of a zone's descriptor extension, a multiple of 64; default 0, none
 *	cmb=16        MiB of a controller memory buffer, all of BAR 2; default 0, none
 *	cmblegacy=1   the buffer is as before NVMe 1.4, without CAP.CMBS, and the version is at
 *	              most 1.3; default 0
 *	cmbsz=0x40421f  CMBSZ as it is shown, for a buffer that can do less or registers that lie;
 *	              default: all of the BAR for SQs, lists and data, no CQs
 *	cmbloc=0x62   CMBLOC likewise; default e2h, data, lists and metadata may mix memories
 *	iova=39       bits of the addresses that DMA can use; default 48
 *	sgls=2        SGLS of Identify Controller, a set of bits: 0 no SGLs, 2 dword aligned ones;
 *	              default 10001h, any alignment and bit buckets. What it does not say is refused
 *	noiob=96      NOIOB of each namespace, blocks; default 0
 *	kas=10        KAS, the unit of the keep alive timer in 100 ms; when the timer runs out the
 *	              controller has a fatal status; default 0, no keep alive
 *	ps=5          power states, 1 to 32, the last half of them non-operational; default 1, and then
 *	              no autonomous transitions
 *	nssr=1        CAP.NSSRS, the NVM subsystem can be reset; default 0
 *	file=disk.img keeps the namespaces in a file, one after the other. A file that does not exist
 *	              is created; one that does gives the size, and size= must not contradict it;
 *	              not in WebAssembly
 *	mode=thread   the controller runs in a thread of its own, where there are threads, and in
 *	              real time; default sync
 *	seed=7        changes serial number, worldwide names and random delays; default 1
 *	plan=...      a fault plan; takes the rest of the text, so it comes last
 *
 * TWO MODES. sync: a doorbell write executes the commands before it returns, and time is virtual:
 * it stands still while the driver works and runs while the driver only waits, so that a timeout of
 * 30 s takes no time and every run is the same. thread: the controller looks for doorbells as a
 * device would. Its log lines then come from its own thread.
 *
 * A FAULT PLAN says what goes wrong, and when. It is in plan=, in the environment variable
 * NVME_FAULTS (statements of both are used) or given to nvme_soft_set_plan(). nvme_soft_plan.h
 * lists the statements; they look like this:
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
 *	>>soft-clock    virtual time
 *	>>soft-cmb      the controller memory buffer
 *	>>soft-dma      host memory: what is mapped, PRP lists, SGLs, the transfer
 *	>>soft-queue    the rings; posting completions
 *	>>soft-create   creating and deleting queues, Abort
 *	>>soft-nvm      reads, writes and the other commands of the NVM command set
 *	>>soft-zns      zones
 *	>>soft-md       the same with metadata and protection information
 *	>>soft-execute  one command from the ring to its completion
 *	>>soft-regs     registers, doorbells, reset and shutdown
 *	>>soft-open     the access table, the thread
 *
 * Five more files belong to it: nvme_soft_plan.h reads the text of a device and of a fault plan;
 * nvme_soft_md.h has what namespaces with metadata need, nvme_soft_zns.h what zoned ones do;
 * nvme_soft_cmb.h has the controller memory buffer;
 * nvme_soft_admin.h has Identify, features, log pages, events, Format, self-test, sanitize,
 * dma_map(), and the file behind the namespaces. The way of a command, from the doorbell to the
 * completion, is all in here.
 *
 * Not modelled: guards of 32 and 64 bits, interrupts other than an eventfd for each vector,
 * discontiguous queues, weighted round robin, namespace management.
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
/*
 * Another host gives a namespace so many blocks, 0: takes it away, and this one is told by an event.
 * -EINVAL: no such namespace, or more blocks than it had at first.
 */
NVMEDEF int nvme_soft_resize_ns(const struct nvme_dev *dev, uint32_t nsid, uint64_t blocks);

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
/* Its metadata, block after block, apart from the data whatever the format. NULL: it has none. */
NVMEDEF void *nvme_soft_get_ns_metadata(const struct nvme_dev *dev, uint32_t nsid, size_t *size);

/*
 * What wear does to a zone, the one with block lba: state is NVME_ZONE_STATE_READ_ONLY or ..OFFLINE.
 * -EINVAL: another state, or no such zone.
 */
NVMEDEF int nvme_soft_set_zone_state(const struct nvme_dev *dev, uint32_t nsid, uint64_t lba,
                                     enum nvme_zone_state state);

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

#ifndef NVME_IMPLEMENTATION
#error "nvme_soft.h: its implementation needs that of nvme.h: define NVME_IMPLEMENTATION before"
#endif
#ifdef NVME__IMPLEMENTED /* or nvme.h has said what is wrong */

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>soft-state
 * ============================================================================================ */
#include "nvme_soft_plan.h"

#define NVME_SOFT__MAX_MAPS 512u
#define NVME_SOFT__AERS     4u   /* AERL + 1 */
#define NVME_SOFT__ERRORS   64u  /* entries of the error log, ELPE + 1 */
#define NVME_SOFT__ABORTS   4u   /* ACL + 1 */
#define NVME_SOFT__ACWU     127u /* Compare and Write: blocks, 0-based */
#define NVME_SOFT__RESULTS  20u  /* of self-tests that are kept */

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
	uint16_t iv; /* interrupt vector */
	bool ien;    /* which it raises */
	bool flood;
	struct nvme_cpl last; /* for a flood */
	uint64_t rings;
};

/* A zone. */
struct nvme_soft__zone {
	uint64_t wp;     /* the write pointer: blocks from the start of the zone */
	uint64_t opened; /* in which order zones were opened */
	uint8_t state, attributes;
};

/* The controller memory buffer: its registers, and what follows from them. */
struct nvme_soft__cmb {
	uint8_t *mem;          /* the BAR; NULL: there is none */
	uint32_t loc, sz, sts; /* as they can be read now */
	uint64_t msc;
	bool on;            /* these addresses mean it: */
	uint64_t base, len; /* ... */
	uint8_t *at;        /* ... and this is where it is */
	uint32_t seen; /* of the data pointer at hand: 1 here, 2 in the host's memory, 3 both */
};

struct nvme_soft__ns {
	uint8_t *mem;
	uint64_t nsze;
	uint32_t lbads;
	uint8_t *md;   /* metadata: that of block n is at n * ms */
	uint32_t ms;   /* bytes of it; 0: none */
	uint8_t pi;    /* type of protection information; 0: none */
	bool pil;      /* it is the first bytes of the metadata, not the last */
	bool extended; /* metadata is transferred with the data, not by MPTR */
	uint8_t *bad;  /* a bit per block, 1: Write Uncorrectable made it so; NULL: none ever */
	uint64_t num_bad;
	uint64_t zsze;                 /* blocks of a zone; 0: there are none */
	struct nvme_soft__zone *zones; /* in the order of their blocks, ... */
	uint8_t *exts;                 /* ... and their descriptor extensions */
	uint32_t num_open, num_active;
};

/* One command on its way through the controller. */
struct nvme_soft__job {
	struct nvme_cmd cmd;
	struct nvme_soft__sq *sq;
	uint64_t since, due; /* a delayed one: from when to when it waits */
	uint32_t dw0, dw1;   /* of the completion */
	bool to_host;        /* where its data goes */
	struct nvme_soft__fault fault;
	struct nvme_soft__ns *ns; /* a command with SLBA and NLB: the blocks, and where they are */
	uint64_t slba, nlb;
	uint8_t *mem;
	size_t len;
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
	uint32_t vs, intm, cc, csts, aqa, crto;
	struct nvme_soft__cmb cmb;
	bool gone;

	uint64_t now, rdy_at, shst_at; /* virtual time and what is to happen when */
	uint64_t pp_at, keep_alive_at; /* firmware is active; the timer has run out */
	uint64_t gone_at, back_at, tell_at[NVME_DEV_EVENTS];
	uint32_t waits;  /* looks at the clock with nothing in between */
	bool clock_seen; /* the last access was a look at the clock */
	uint64_t random;

	struct nvme_soft__map maps[NVME_SOFT__MAX_MAPS];
	uint32_t num_maps;
	struct nvme_soft__piece *pieces; /* of the transfer at hand */
	uint32_t num_pieces, max_pieces;

	struct nvme_soft__sq sq[NVME_SOFT__MAX_QUEUES + 1];
	struct nvme_soft__cq cq[NVME_SOFT__MAX_QUEUES + 1];
	uint64_t shadow, event_idx;             /* pages of the host's, 0: there are none */
	int irq_fds[NVME_SOFT__MAX_QUEUES + 1]; /* the host's, by vector */
	unsigned int num_irqs;
	int event_fds[NVME_DEV_EVENTS]; /* the host's, by enum nvme_dev_event */
	bool has_event_fds, told[NVME_DEV_EVENTS];
	struct nvme_soft__job fused[NVME_SOFT__MAX_QUEUES + 1]; /* first halves; sq NULL: none */
	struct nvme_soft__job *late;                            /* delayed and dropped, by due */
	uint32_t num_late, max_late;

	uint16_t aers[NVME_SOFT__AERS]; /* CIDs of outstanding AERs */
	uint32_t num_aers;
	struct nvme_soft__event events[NVME_SOFT__EVENTS];
	uint32_t num_events, masked; /* masked: types told and not yet acknowledged */
	struct nvme_error_log_entry errors[NVME_SOFT__ERRORS];
	uint64_t num_errors;
	struct nvme_smart_log smart;
	uint64_t data_read, data_written;   /* 512-byte units */
	uint64_t ns_changed;                /* namespaces that the log has, bit 0: NSID 1 */
	struct nvme_self_test_log tests;    /* as they are when none is running */
	uint64_t test_since, test_until;    /* the one that is running, ... */
	uint32_t test_nsid;                 /* ... and of which namespace */
	struct nvme_sanitize_log sanitized; /* without the progress */
	uint64_t sanitize_since, sanitize_until;

	uint32_t features[256], defaults[256];
	uint64_t timestamp, timestamp_set_at;
	uint8_t host_id[16];
	uint64_t apst[32];

	struct nvme_soft__ns ns[NVME_SOFT__MAX_NS + 1]; /* by NSID */
	uint8_t *disk;
	uint64_t disk_size;
	uint8_t *md, *stage; /* metadata of all namespaces; see nvme_soft_md.h */
	size_t stage_size;
	struct nvme_soft__zone *zones; /* of all namespaces; see nvme_soft_zns.h */
	uint64_t zones_opened;         /* ever */
	uint64_t page[512];            /* 4096 bytes: Identify data, log pages, ranges */

	struct nvme_soft_cmd last[NVME_SOFT_LAST_CMDS];

	nvme__mutex lock;
#ifdef NVME__THREADS
	pthread_t thread;
#endif
	uint32_t waiting; /* host threads that want the lock */
	uint32_t stop;
	/* mode=thread: doorbells, last: bad ones. Aligned: atomic on i386 too */
	uint64_t mail[2 * NVME_SOFT__MAX_QUEUES + 3] __attribute__((aligned(8)));
};

static struct nvme_soft *nvme_soft__of(const struct nvme_dev *dev)
{
	return (struct nvme_soft *)dev->priv;
}

#define NVME_SOFT__LOG(s, lvl, ...)                                                       \
	do {                                                                              \
		if (nvme__unlikely((s)->log->level >= (lvl)))                             \
			nvme_soft__log((s)->log, (lvl), __LINE__, __func__, __VA_ARGS__); \
	} while (0)

/* A status as it stands in a completion, phase 0. What the controller finds wrong itself would be
 * wrong again (DNR), and the error log has more to say (M). [Base 2.1 §4.2.3: Status Field] */
#define NVME_SOFT__RAW(sct, sc) \
	((uint16_t)((uint16_t)NVME_SET(sct, NVME_CPL_SCT) | (uint16_t)NVME_SET(sc, NVME_CPL_SC)))
#define NVME_SOFT__ERR(sct, sc)                                                     \
	((uint16_t)(NVME_SOFT__RAW(sct, sc) | (uint16_t)NVME_SET(1, NVME_CPL_DNR) | \
	            (uint16_t)NVME_SET(1, NVME_CPL_M)))
#define NVME_SOFT__GENERIC(sc)  NVME_SOFT__ERR(NVME_SCT_GENERIC, sc)
#define NVME_SOFT__SPECIFIC(sc) NVME_SOFT__ERR(NVME_SCT_COMMAND_SPECIFIC, sc)
#define NVME_SOFT__MEDIA(sc)    NVME_SOFT__ERR(NVME_SCT_MEDIA_ERROR, sc)
#define NVME_SOFT__ABORTED(sc)  NVME_SOFT__RAW(NVME_SCT_GENERIC, sc)
#define NVME_SOFT__LATER        ((uint16_t)1) /* no completion now: as a status, a phase bit */

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
	nvme__mutex_lock(&s->lock);
	__atomic_sub_fetch(&s->waiting, 1, __ATOMIC_RELAXED);
}

static void nvme_soft__unlock(struct nvme_soft *s)
{
	nvme__mutex_unlock(&s->lock);
}

static uint64_t nvme_soft__real_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * NVME_SOFT__MS + (uint64_t)ts.tv_nsec;
}

static uint64_t nvme_soft__after(const struct nvme_soft *s, uint64_t delay)
{
	return delay == NVME_SOFT__NEVER ? NVME_SOFT__NEVER : s->now + delay;
}

/* What the plan has for times counted from now. */
static void nvme_soft__schedule(struct nvme_soft *s)
{
	int i;

	s->gone_at = nvme_soft__after(s, s->plan.gone);
	s->back_at = NVME_SOFT__NEVER;
	for (i = 0; i < NVME_DEV_EVENTS; i++)
		s->tell_at[i] = nvme_soft__after(s, s->plan.tell[i]);
}

/* When the next delayed command is due, not counting those that wait for room in their CQ. */
static uint64_t nvme_soft__next_late(const struct nvme_soft *s)
{
	uint32_t i = 0;

	while (i < s->num_late && s->late[i].due <= s->now)
		i++;
	return i < s->num_late ? s->late[i].due : NVME_SOFT__NEVER;
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
	uint64_t next = nvme_soft__next_late(s), step = NVME_SOFT__US;

	s->clock_seen = true;
	if (s->cfg.threaded) {
		s->now = nvme_soft__real_time();
		return;
	}
	next = s->rdy_at < next ? s->rdy_at : next;
	next = s->shst_at < next ? s->shst_at : next;
	next = s->pp_at < next ? s->pp_at : next;
	next = s->keep_alive_at < next ? s->keep_alive_at : next;
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

#include "nvme_soft_cmb.h"

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
	s->csts |= NVME_SET(1, NVME_CSTS_CFS);
	s->rdy_at = NVME_SOFT__NEVER;
}

/* Host memory at iova, or that of the controller, and in *len at most how much of it lies in one
 * piece. */
static uint8_t *nvme_soft__reach(const struct nvme_soft *s, uint64_t iova, size_t *len)
{
	uint32_t i;

	if (nvme_soft__cmb_has(s, iova))
		return nvme_soft__cmb_reach(s, iova, len);
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
static void *nvme_soft__host(const struct nvme_soft *s, uint64_t iova, size_t len)
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

static uint16_t nvme_soft__add_piece(struct nvme_soft *s, uint8_t *at, size_t len)
{
	if (s->num_pieces == s->max_pieces) {
		uint32_t max = s->max_pieces > 0 ? 2 * s->max_pieces : 64;
		void *more = realloc(s->pieces, max * sizeof(*s->pieces));

		if (more == NULL)
			return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
		s->pieces = (struct nvme_soft__piece *)more;
		s->max_pieces = max;
	}
	s->pieces[s->num_pieces].at = at;
	s->pieces[s->num_pieces++].len = len;
	return 0;
}

/* The next len bytes of the transfer are at iova. */
static uint16_t nvme_soft__add_iova(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    uint64_t iova, size_t len)
{
	uint16_t status = 0;

	while (len > 0 && status == 0) {
		size_t have = len;
		uint8_t *at = nvme_soft__reach(s, iova, &have);

		status = nvme_soft__cmb_check_data(s, iova, job->to_host);
		if (status != 0)
			return status;

		if (at == NULL)
			return nvme_soft_report_stray(s, job, iova, len,
			                              job->to_host ? "writing data"
			                                           : "reading data");
		status = nvme_soft__add_piece(s, at, have);
		iova += have;
		len -= have;
	}
	return status;
}

/* ---- PRPs [Base 2.1 §4.3.1: Physical Region Page Entry and List] ---- */

static uint64_t nvme_soft__page_size(const struct nvme_soft *s)
{
	return UINT64_C(4096) << NVME_GET(s->cc, NVME_CC_MPS);
}

/*
 * The list: page addresses, one for each page that is still to come. When they do not all fit into
 * the rest of the list's page, the last entry of that page is the address of the next list page.
 */
static uint16_t nvme_soft_walk_prp_list(struct nvme_soft *s, const struct nvme_soft__job *job,
                                        uint64_t list, size_t len)
{
	uint64_t page = nvme_soft__page_size(s), mask = page - 1;

	if ((list & 7) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	while (len > 0) {
		uint64_t need = (len + mask) / page, slots = (page - (list & mask)) / 8;
		uint64_t take = need < slots ? need : slots, i;
		const uint64_t *entry =
			(const uint64_t *)nvme_soft__host(s, list, (size_t)take * 8);
		uint16_t status = nvme_soft__cmb_check_list(s, list);

		if (status != 0)
			return status;
		s->stats.list_reads++;
		if (entry == NULL)
			return nvme_soft_report_stray(s, job, list, (size_t)take * 8,
			                              "fetching a PRP list");
		for (i = 0; i < take; i++) {
			size_t n = len < page ? len : (size_t)page;
			uint64_t at = entry[i];

			if ((at & mask) != 0)
				return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
			if (need > slots && i + 1 == slots) {
				list = at;
				break;
			}
			status = nvme_soft__add_iova(s, job, at, n);
			if (status != 0)
				return status;
			len -= n;
		}
	}
	return 0;
}

/* Only PRP1 may point into the middle of a page. PRP2 is the second page, or the list. */
static uint16_t nvme_soft_walk_prps(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    size_t len)
{
	uint64_t page = nvme_soft__page_size(s);
	uint64_t prp1 = job->cmd.dptr.prp.prp1, prp2 = job->cmd.dptr.prp.prp2;
	size_t first = (size_t)(page - (prp1 & (page - 1)));
	uint16_t status;

	if ((prp1 & 3) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	first = len < first ? len : first;
	status = nvme_soft__add_iova(s, job, prp1, first);
	if (status != 0 || len == first)
		return status;
	if (len - first > page)
		return nvme_soft_walk_prp_list(s, job, prp2, len - first);
	if ((prp2 & (page - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	return nvme_soft__add_iova(s, job, prp2, len - first);
}

/* ---- SGLs [Base 2.1 §4.3.2: Scatter Gather List] ---- */

/* A Data Block, or a Bit Bucket: data of a read that nobody wants, nothing at all for a write. */
static uint16_t nvme_soft__sgl_data(struct nvme_soft *s, const struct nvme_soft__job *job,
                                    struct nvme_sgl_desc d, size_t *left)
{
	bool bucket = NVME_GET(d.id, NVME_SGL_TYPE) == NVME_SGL_TYPE_BIT_BUCKET;

	if (bucket ? NVME_GET(s->cfg.sgls, NVME_ID_SGLS_BIT_BUCKET) == 0
	           : NVME_GET(d.id, NVME_SGL_TYPE) != NVME_SGL_TYPE_DATA_BLOCK)
		return NVME_SOFT__GENERIC(NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID);
	if (NVME_GET(s->cfg.sgls, NVME_ID_SGLS) == 2 && ((d.addr | d.len) & 3) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_SGL_DATA_BLOCK_GRANULARITY_INVALID);
	if (bucket && !job->to_host)
		return 0;
	if (d.len > *left)
		return NVME_SOFT__GENERIC(NVME_SC_DATA_SGL_LENGTH_INVALID);
	*left -= d.len;
	return bucket ? nvme_soft__add_piece(s, NULL, d.len)
	              : nvme_soft__add_iova(s, job, d.addr, d.len);
}

/*
 * The first segment is in the command, which has room for one descriptor. A Segment descriptor, the
 * last of a segment that is not the last one, or a Last Segment descriptor says where the next is.
 */
static uint16_t nvme_soft_walk_sgl(struct nvme_soft *s, const struct nvme_soft__job *job,
                                   size_t len)
{
	const struct nvme_sgl_desc *desc = &job->cmd.dptr.sgl;
	uint32_t i, count = 1, segments, type = NVME_SGL_TYPE_SEGMENT;
	uint16_t status = 0;

	for (segments = 0; segments <= 1024; segments++) { /* more are a loop */
		struct nvme_sgl_desc d = desc[count - 1];
		bool last = segments > 0 && type == NVME_SGL_TYPE_LAST_SEGMENT;

		for (i = 0; i < count; i++) {
			type = NVME_GET(desc[i].id, NVME_SGL_TYPE);
			if (NVME_GET(desc[i].id, NVME_SGL_SUBTYPE) != NVME_SGL_SUBTYPE_ADDRESS)
				return NVME_SOFT__GENERIC(NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID);
			if (type == NVME_SGL_TYPE_SEGMENT || type == NVME_SGL_TYPE_LAST_SEGMENT)
				break;
			status = nvme_soft__sgl_data(s, job, desc[i], &len);
			if (status != 0)
				return status;
		}
		if (i == count && segments > 0 && !last) /* a Segment, but nothing follows */
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_SGL_SEG_DESCRIPTOR);
		if (i == count)
			return len > 0 ? NVME_SOFT__GENERIC(NVME_SC_DATA_SGL_LENGTH_INVALID) : 0;
		if (i != count - 1)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_NUM_SGL_DESCRIPTORS);
		if (last || d.len == 0 || d.len % 16 != 0 || (d.addr & 7) != 0)
			return NVME_SOFT__GENERIC(NVME_SC_INVALID_SGL_SEG_DESCRIPTOR);
		status = nvme_soft__cmb_check_list(s, d.addr);
		if (status != 0)
			return status;
		desc = (const struct nvme_sgl_desc *)nvme_soft__host(s, d.addr, d.len);
		count = d.len / 16;
		s->stats.list_reads++;
		if (desc == NULL)
			return nvme_soft_report_stray(s, job, d.addr, d.len,
			                              "fetching an SGL segment");
	}
	return NVME_SOFT__GENERIC(NVME_SC_INVALID_NUM_SGL_DESCRIPTORS);
}

/* ---- the transfer ---- */

/* Fills s->pieces with the places in host memory that the data pointer stands for. */
static uint16_t nvme_soft_walk_dptr(struct nvme_soft *s, struct nvme_soft__job *job, size_t len,
                                    bool to_host)
{
	uint32_t psdt = NVME_GET(job->cmd.flags, NVME_CMD_PSDT);

	s->num_pieces = 0;
	nvme_soft__cmb_begin(s);
	job->to_host = to_host;
	if (len == 0)
		return 0;
	if (psdt == NVME_PSDT_PRP)
		return nvme_soft_walk_prps(s, job, len);
	/* over PCIe admin commands use PRPs [Base 2.1 §4.1.1: Command Dword 0, PSDT] */
	if (job->sq->id == 0 || psdt > NVME_PSDT_SGL_MPTR ||
	    NVME_GET(s->cfg.sgls, NVME_ID_SGLS) == 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	return nvme_soft_walk_sgl(s, job, len);
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

/* The controller's side of the story goes into the driver's flight recorder. */
static void nvme_soft__trace(const struct nvme_soft *s, enum nvme_trace_kind kind, uint16_t qid,
                             const void *payload, size_t len)
{
	if (NVME__TRACING(s->log))
		nvme__trace_put(s->log, nvme__log_now(s->log), (uint16_t)kind, 0, qid, payload,
		                len);
}

static void nvme_soft__trace_data(const struct nvme_soft *s, const struct nvme_soft__job *job,
                                  size_t len, bool to_host)
{
	struct nvme_trace_data data;

	data.iova = job->cmd.dptr.prp.prp1;
	data.len = (uint32_t)len;
	data.cid = job->cmd.cid;
	data.to_host = to_host;
	nvme_soft__trace(s, NVME_TRACE_DEV_DATA, job->sq->id, &data, sizeof(data));
}

/* Moves len bytes between the controller's memory and the host's. */
static uint16_t nvme_soft_transfer(struct nvme_soft *s, struct nvme_soft__job *job, void *mem,
                                   size_t len, bool to_host)
{
	uint16_t status = nvme_soft_walk_dptr(s, job, len, to_host);
	uint8_t *at = (uint8_t *)mem;
	uint32_t i;

	if (status != 0)
		return status;
	nvme_soft__trace_data(s, job, len, to_host);
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
 * written at its tail [Base 2.1: Memory-based Transport Queue Model (PCIe)].
 * ============================================================================================ */

/* Where the rings are in host memory: looked up once, not for every command. */
static void nvme_soft__find_rings(struct nvme_soft *s)
{
	struct nvme_soft__sq *sq;
	struct nvme_soft__cq *cq;

	for (sq = s->sq; sq <= &s->sq[NVME_SOFT__MAX_QUEUES]; sq++)
		sq->ring = (struct nvme_cmd *)nvme_soft__host(s, sq->base,
		                                              sq->entries * sizeof(*sq->ring));
	for (cq = s->cq; cq <= &s->cq[NVME_SOFT__MAX_QUEUES]; cq++)
		cq->ring = (struct nvme_cpl *)nvme_soft__host(s, cq->base,
		                                              cq->entries * sizeof(*cq->ring));
}

static void nvme_soft__create_sq(struct nvme_soft *s, uint32_t id, uint64_t base, uint32_t entries,
                                 uint32_t cqid)
{
	struct nvme_soft__sq *sq = &s->sq[id];

	memset(sq, 0, sizeof(*sq));
	sq->id = (uint16_t)id;
	sq->cqid = (uint16_t)cqid;
	sq->base = base;
	sq->entries = entries;
	s->cq[cqid].num_sqs++;
	nvme_soft__find_rings(s);
}

static void nvme_soft__create_cq(struct nvme_soft *s, uint32_t id, uint64_t base, uint32_t entries)
{
	struct nvme_soft__cq *cq = &s->cq[id];

	memset(cq, 0, sizeof(*cq));
	cq->id = (uint16_t)id;
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
	nvme_soft__u32 *last = (nvme_soft__u32 *)&slot->cid;
	uint32_t old = (uint32_t)slot->status << 16;

	slot->cdw0 = cpl->cdw0;
	slot->cdw1 = cpl->cdw1;
	slot->sqhd = cpl->sqhd;
	slot->sqid = cpl->sqid;
	if (s->plan.torn) { /* the new CID is there before the new phase */
		nvme_soft__pause();
		__atomic_store_n(last, cpl->cid | old, __ATOMIC_RELEASE);
		nvme_soft__pause();
	}
	__atomic_store_n(last, cpl->cid | (uint32_t)cpl->status << 16, __ATOMIC_RELEASE);
}

/* Fault "flood": the whole ring looks new, seen from where the host is. */
static void nvme_soft__flood(const struct nvme_soft *s, struct nvme_soft__cq *cq)
{
	struct nvme_cpl cpl = cq->last;
	uint32_t i;

	for (i = 0; i < cq->entries && cq->ring != NULL; i++) { /* NULL: unmapped meanwhile */
		uint32_t slot = (cq->head + i) % cq->entries;
		uint16_t phase = (uint16_t)(cq->head_phase ^ (slot < cq->head));

		cpl.status = (uint16_t)((cpl.status & ~1u) | phase);
		nvme_soft__store_cqe(s, &cq->ring[slot], &cpl);
	}
}

/* MSI-X: a message for each completion, here a number that is added to an eventfd. */
static void nvme_soft__interrupt(const struct nvme_soft *s, const struct nvme_soft__cq *cq)
{
	const uint64_t one = 1;

	if (!cq->ien || cq->iv >= s->num_irqs)
		return;
	if (write(s->irq_fds[cq->iv], &one, sizeof(one)) != (ssize_t)sizeof(one))
		NVME_SOFT__LOG(s, NVME_LOG_DEBUG, "interrupt %u was not delivered", cq->iv);
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
	nvme_soft__trace(s, NVME_TRACE_DEV_CQE, cpl->sqid, cpl, sizeof(*cpl));
	nvme_soft__store_cqe(s, &cq->ring[cq->tail], cpl);
	if (++cq->tail == cq->entries) {
		cq->tail = 0;
		cq->phase ^= 1;
	}
	s->stats.completions++;
	nvme_soft__interrupt(s, cq);
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
	cpl.cdw1 = job->dw1;
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
 * >>soft-create
 * ============================================================================================ */

/*
 * What both kinds of queues need: a size, contiguous memory on a page border, and entries of 2^es
 * bytes, where CC has to say 2^want.
 */
static uint16_t nvme_soft__check_queue(const struct nvme_soft *s, const struct nvme_cmd *cmd,
                                       uint32_t es, uint32_t want)
{
	uint32_t size = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QSIZE);

	if (size == 0 || size > s->cfg.mqes || es != want)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_SIZE);
	if (NVME_GET(cmd->cdw11, NVME_CREATE_IO_CQ_PC) == 0) /* CAP.CQR is 1 */
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if ((cmd->dptr.prp.prp1 & (nvme_soft__page_size(s) - 1)) != 0)
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_PRP_OFFSET);
	return 0;
}

/* [Base 2.1 §5.2.1: Create I/O Completion Queue command] */
static uint16_t nvme_soft_create_io_cq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t qid = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QID),
		 size = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QSIZE);
	uint16_t status;

	if (qid == 0 || qid > s->cfg.queues || s->cq[qid].entries != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	status = nvme_soft__check_queue(s, cmd, NVME_GET(s->cc, NVME_CC_IOCQES), 4);
	if (status != 0)
		return status;
	if (NVME_GET(cmd->cdw11, NVME_CREATE_IO_CQ_IV) >
	    s->cfg.queues) /* a vector for each queue */
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_INTERRUPT_VECTOR);
	status = nvme_soft__cmb_check(s, cmd->dptr.prp.prp1, NVME_SET(1, NVME_CMBSZ_CQS));
	if (status != 0)
		return status;
	nvme_soft__create_cq(s, qid, cmd->dptr.prp.prp1, size + 1);
	s->cq[qid].ien = NVME_GET(cmd->cdw11, NVME_CREATE_IO_CQ_IEN) != 0;
	s->cq[qid].iv = (uint16_t)NVME_GET(cmd->cdw11, NVME_CREATE_IO_CQ_IV);
	return 0;
}

/* [Base 2.1 §5.2.2: Create I/O Submission Queue command] */
static uint16_t nvme_soft_create_io_sq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint32_t qid = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QID),
		 size = NVME_GET(cmd->cdw10, NVME_CREATE_IO_Q_QSIZE);
	uint32_t cqid = NVME_GET(cmd->cdw11, NVME_CREATE_IO_SQ_CQID);
	uint16_t status;

	if (cqid == 0 || cqid > s->cfg.queues || qid == 0 || qid > s->cfg.queues ||
	    s->sq[qid].entries != 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	if (s->cq[cqid].entries == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_COMPLETION_QUEUE_INVALID);
	status = nvme_soft__check_queue(s, cmd, NVME_GET(s->cc, NVME_CC_IOSQES), 6);
	if (status == 0)
		status = nvme_soft__cmb_check(s, cmd->dptr.prp.prp1, NVME_SET(1, NVME_CMBSZ_SQS));
	if (status == 0)
		nvme_soft__create_sq(s, qid, cmd->dptr.prp.prp1, size + 1, cqid);
	return status;
}

static uint16_t nvme_soft_delete_io_cq(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint32_t qid = NVME_GET(job->cmd.cdw10, NVME_DELETE_IO_Q_QID);

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
	uint32_t qid = NVME_GET(job->cmd.cdw10, NVME_DELETE_IO_Q_QID), i = 0;
	struct nvme_soft__sq *sq = &s->sq[qid > s->cfg.queues ? 0 : qid];

	if (sq->id == 0 || sq->entries == 0)
		return NVME_SOFT__SPECIFIC(NVME_SC_INVALID_QUEUE_IDENTIFIER);
	while (i < s->num_late) {
		struct nvme_soft__job late;

		if (s->late[i].sq != sq) {
			i++;
			continue;
		}
		late = nvme_soft__take_late(s, i);
		nvme_soft_complete(s, &late, NVME_SOFT__ABORTED(NVME_SC_ABORTED_SQ_DELETION));
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
	uint32_t sqid = NVME_GET(job->cmd.cdw10, NVME_ABORT_SQID),
		 cid = NVME_GET(job->cmd.cdw10, NVME_ABORT_CID);
	struct nvme_soft__job victim;
	uint32_t i, aborts = 0;

	for (i = 0; i < s->num_late; i++)
		aborts += s->late[i].sq->id == 0 && s->late[i].cmd.opc == NVME_OPC_ABORT;
	if (aborts >= NVME_SOFT__ABORTS)
		return NVME_SOFT__SPECIFIC(NVME_SC_ABORT_COMMAND_LIMIT_EXCEEDED);
	victim.sq = NULL;
	for (i = 0; i < s->num_late && victim.sq == NULL; i++) {
		const struct nvme_soft__sq *sq = s->late[i].sq;

		/* its completion needs room, and on queue 0 that of the Abort does too */
		if (sq->id == sqid && s->late[i].cmd.cid == cid &&
		    nvme_soft__room(&s->cq[sq->cqid]) > (sq->cqid == 0 ? 1u : 0u))
			victim = nvme_soft__take_late(s, i);
	}
	for (i = 0; i < s->num_aers && sqid == 0 && victim.sq == NULL; i++) {
		if (s->aers[i] == cid && nvme_soft__room(&s->cq[0]) > 1) {
			memset(&victim, 0, sizeof(victim));
			victim.sq = &s->sq[0];
			victim.cmd.opc = NVME_OPC_ASYNC_EVENT_REQUEST;
			victim.cmd.cid = (uint16_t)cid;
			s->aers[i] = s->aers[--s->num_aers];
		}
	}
	if (victim.sq != NULL)
		nvme_soft_complete(s, &victim, NVME_SOFT__ABORTED(NVME_SC_ABORTED_BY_REQUEST));
	job->dw0 = victim.sq == NULL;
	return 0;
}

/* ============================================================================================
 * >>soft-nvm
 *
 * The NVM command set. A namespace is a piece of memory; block n is at n << lbads. There is no
 * cache, except that a file may be behind that memory. The functions for commands with SLBA and NLB
 * find these checked, and in the job what they stand for.
 * ============================================================================================ */

/* Is it one of ours? FFFFFFFFh is not. [Base 2.1: Namespace Identifier] */
static uint16_t nvme_soft__check_nsid(const struct nvme_soft *s, uint32_t nsid)
{
	return nsid >= 1 && nsid <= s->cfg.ns
	               ? 0
	               : NVME_SOFT__GENERIC(NVME_SC_INVALID_NAMESPACE_OR_FORMAT);
}

/* Is len more than MDTS allows? [Base 2.1 §5.1.13.2.1: MDTS, in units of CAP.MPSMIN] */
static bool nvme_soft__too_long(const struct nvme_soft *s, uint64_t len)
{
	uint32_t shift = 12 + s->cfg.mpsmin + s->cfg.mdts;

	return s->cfg.mdts != 0 && shift < 40 && len > UINT64_C(1) << shift;
}

#include "nvme_soft_md.h"

static uint16_t nvme_soft__check_blocks(struct nvme_soft *s, struct nvme_soft__job *job, bool data)
{
	const struct nvme_cmd *cmd = &job->cmd;
	uint16_t status = nvme_soft__check_nsid(s, cmd->nsid);

	if (status != 0)
		return status;
	job->ns = &s->ns[cmd->nsid];
	job->slba = NVME_RW_SLBA(cmd->cdw10, cmd->cdw11);
	job->nlb = (uint64_t)NVME_GET(cmd->cdw12, NVME_RW_NLB) + 1;
	status = nvme_soft__check_prinfo(job->ns, cmd);
	if (status != 0)
		return status;
	if (data && nvme_soft__too_long(s, job->nlb * nvme_soft__md_in_data(job->ns, cmd)))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (job->slba >= job->ns->nsze || job->nlb > job->ns->nsze - job->slba)
		return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	job->mem = job->ns->mem + (job->slba << job->ns->lbads);
	job->len = (size_t)(job->nlb << job->ns->lbads);
	return 0;
}

/* ---- blocks that Write Uncorrectable made unreadable ---- */

static uint16_t nvme_soft__check_readable(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__ns *ns = job->ns;
	uint64_t i;

	for (i = job->slba; ns->num_bad != 0 && i < job->slba + job->nlb; i++) {
		if ((ns->bad[i / 8] >> (i % 8) & 1) != 0) {
			s->smart.media_errors[0]++;
			return NVME_SOFT__MEDIA(NVME_SC_UNRECOVERED_READ_ERROR);
		}
	}
	return 0;
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

/* Gives whole pages of anonymous memory back: they are zero when they are used next. */
static bool nvme_soft__discard(const struct nvme_soft *s, uint8_t *at, size_t len)
{
#ifdef __linux__ /* other systems may keep what they hold */
	return s->cfg.file[0] == '\0' && madvise(at, len, MADV_DONTNEED) == 0;
#else
	(void)s, (void)at, (void)len;
	return false;
#endif
}

/* What was written is now in the file, where there is one. */
static bool nvme_soft__sync(const struct nvme_soft *s)
{
#ifdef __wasm__
	(void)s;
	return true;
#else
	return s->cfg.file[0] == '\0' || msync(s->disk, (size_t)s->disk_size, MS_SYNC) == 0;
#endif
}

static void nvme_soft__zero(struct nvme_soft *s, struct nvme_soft__ns *ns, uint64_t offset,
                            uint64_t len)
{
	uint8_t *at = ns->mem + offset;
	uint64_t head = (uint64_t)(-(uintptr_t)at & 4095);
	uint64_t pages = len > head ? (len - head) & ~UINT64_C(4095) : 0;

	nvme_soft__set_bad(ns, offset >> ns->lbads, len >> ns->lbads, false);
	if (pages == 0 || !nvme_soft__discard(s, at + head, (size_t)pages)) {
		memset(at, 0, (size_t)len);
		return;
	}
	memset(at, 0, (size_t)head);
	memset(at + head + pages, 0, (size_t)(len - head - pages));
}

#include "nvme_soft_zns.h"

/* ---- the commands ---- */

/* [NVM 1.1 §3.3.4: Read command] */
static uint16_t nvme_soft_read(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t status = nvme_soft__check_readable(s, job);

	if (status != 0)
		return status;
	s->smart.host_reads[0]++;
	s->data_read += job->len / 512;
	if (job->ns->ms != 0)
		return nvme_soft__md_read(s, job);
	return nvme_soft_transfer(s, job, job->mem, job->len, true);
}

/* [NVM 1.1 §3.3.6: Write command] */
static uint16_t nvme_soft_write(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t status = job->ns->ms != 0 ? nvme_soft__md_write(s, job)
	                                   : nvme_soft_transfer(s, job, job->mem, job->len, false);

	if (status != 0)
		return status;
	nvme_soft__set_bad(job->ns, job->slba, job->nlb, false);
	s->smart.host_writes[0]++;
	s->data_written += job->len / 512;
	return 0;
}

/* [NVM 1.1: Compare command] */
static uint16_t nvme_soft_compare(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t status = nvme_soft_walk_dptr(s, job, job->ns->ms != 0 ? 0 : job->len, false);
	const uint8_t *mem = job->mem;
	uint32_t i;

	if (status == 0)
		status = nvme_soft__check_readable(s, job);
	if (status != 0)
		return status;
	s->smart.host_reads[0]++;
	if (job->ns->ms != 0)
		return nvme_soft__md_compare(s, job);
	for (i = 0; i < s->num_pieces; mem += s->pieces[i++].len) {
		if (memcmp(s->pieces[i].at, mem, s->pieces[i].len) != 0)
			return NVME_SOFT__MEDIA(NVME_SC_COMPARE_FAILURE);
	}
	return 0;
}

static uint16_t nvme_soft_write_zeroes(struct nvme_soft *s, struct nvme_soft__job *job)
{
	nvme_soft__zero(s, job->ns, job->slba << job->ns->lbads, job->len);
	return job->ns->ms != 0 ? nvme_soft__md_write_zeroes(s, job) : 0;
}

/* What is to be done beside the check of its blocks is the check of protection information. */
static uint16_t nvme_soft_verify(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t status = nvme_soft__check_readable(s, job);

	return status == 0 && job->ns->ms != 0 ? nvme_soft__md_verify(s, job) : status;
}

/* Reads of these blocks fail until they are written again. */
static uint16_t nvme_soft_write_uncorrectable(struct nvme_soft *s, struct nvme_soft__job *job)
{
	if (job->ns->bad == NULL) { /* a bit for each block of the smallest size */
		job->ns->bad = (uint8_t *)nvme__reserve((size_t)(s->cfg.size / 4096 + 1), true);
		if (job->ns->bad == NULL)
			return NVME_SOFT__GENERIC(NVME_SC_INTERNAL_DEVICE_ERROR);
	}
	nvme_soft__set_bad(job->ns, job->slba, job->nlb, true);
	return 0;
}

/* All ranges are checked before the first is deallocated. [NVM 1.1: Dataset Management command] */
static uint16_t nvme_soft_dataset_management(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_dsm_range *range = (const struct nvme_dsm_range *)(const void *)s->page;
	uint32_t nr = NVME_GET(job->cmd.cdw10, NVME_DSM_NR) + 1, i;
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
	for (i = 0; i < nr && NVME_GET(job->cmd.cdw11, NVME_DSM_AD) != 0; i++) {
		nvme_soft__zero(s, ns, range[i].slba << ns->lbads,
		                (uint64_t)range[i].nlb << ns->lbads);
		nvme_soft__md_unwrite(ns, range[i].slba, range[i].nlb);
	}
	return 0;
}

/* [Base 2.1 §7.2: Flush command]. NSID FFFFFFFFh: all namespaces. */
static uint16_t nvme_soft_flush(struct nvme_soft *s, struct nvme_soft__job *job)
{
	if (job->cmd.nsid != NVME_NSID_ALL && nvme_soft__check_nsid(s, job->cmd.nsid) != 0)
		return nvme_soft__check_nsid(s, job->cmd.nsid);
	if (!nvme_soft__sync(s))
		return NVME_SOFT__MEDIA(NVME_SC_WRITE_FAULTS);
	return 0;
}

#define NVME_SOFT__MSSRL 256u  /* Copy: blocks of a range, ... */
#define NVME_SOFT__MCL   1024u /* ... and of all */
#define NVME_SOFT__MSRC  31u   /* ranges, 0-based */

/* The ranges of a Copy, in s->page: within the limits and the namespace, and readable. */
static uint16_t nvme_soft__check_copy(struct nvme_soft *s, struct nvme_soft__job *job, uint32_t nr)
{
	const struct nvme_copy_range *r = (const struct nvme_copy_range *)(const void *)s->page;
	struct nvme_soft__job part = *job;
	uint16_t status = 0;
	uint32_t i;

	job->nlb = 0;
	for (i = 0; i < nr && status == 0; i++) {
		part.slba = r[i].slba;
		part.nlb = r[i].nlb + UINT64_C(1);
		job->nlb += part.nlb;
		if (part.nlb > NVME_SOFT__MSSRL || job->nlb > NVME_SOFT__MCL)
			return NVME_SOFT__SPECIFIC(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED);
		if (part.slba >= job->ns->nsze || part.nlb > job->ns->nsze - part.slba)
			return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
		status = nvme_soft__check_readable(s, &part);
	}
	if (status == 0 && (job->slba >= job->ns->nsze || job->nlb > job->ns->nsze - job->slba))
		return NVME_SOFT__GENERIC(NVME_SC_LBA_OUT_OF_RANGE);
	return status;
}

/* Ranges of format 0, one behind the other to SDLBA. [NVM 1.1: Copy command] */
static uint16_t nvme_soft_copy(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_copy_range *r = (const struct nvme_copy_range *)(const void *)s->page;
	uint32_t nr = NVME_GET(job->cmd.cdw12, NVME_COPY_NR) + 1, i;
	uint16_t status = nvme_soft__check_nsid(s, job->cmd.nsid);
	uint64_t md;
	uint8_t *to;

	if (status == 0 && NVME_GET(job->cmd.cdw12, NVME_COPY_DESFMT) != 0)
		status = NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	if (status == 0 && nr > NVME_SOFT__MSRC + 1)
		status = NVME_SOFT__SPECIFIC(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED);
	if (status == 0)
		status = nvme_soft_transfer(s, job, s->page, nr * sizeof(*r), false);
	if (status != 0)
		return status;
	job->ns = &s->ns[job->cmd.nsid];
	job->slba = NVME_RW_SLBA(job->cmd.cdw10, job->cmd.cdw11);
	status = nvme_soft__check_copy(s, job, nr);
	if (status == 0)
		status = nvme_soft__check_zones(s, job, true);
	if (status != 0)
		return status;
	to = job->ns->mem + (job->slba << job->ns->lbads);
	md = job->slba;
	for (i = 0; i < nr; i++) {
		size_t len = (r[i].nlb + (size_t)1) << job->ns->lbads;

		memmove(to, job->ns->mem + (r[i].slba << job->ns->lbads), len);
		to += len;
		if (job->ns->ms != 0) /* as it is: its tags are not changed */
			memmove(nvme_soft__md_at(job->ns, md), nvme_soft__md_at(job->ns, r[i].slba),
			        (r[i].nlb + (size_t)1) * job->ns->ms);
		md += r[i].nlb + (uint64_t)1;
	}
	nvme_soft__set_bad(job->ns, job->slba, job->nlb, false);
	nvme_soft__zone_wrote(s, job);
	s->smart.host_writes[0]++;
	s->data_written += (job->nlb << job->ns->lbads) / 512;
	return 0;
}

/* How a command is executed, and its effects: CSUPP [0] supported, LBCC [1] changes blocks. */
struct nvme_soft__handler {
	uint8_t opc, effects;
	bool blocks, data; /* it has SLBA and NLB; MDTS limits them */
	uint16_t (*execute)(struct nvme_soft *s, struct nvme_soft__job *job);
};

static const struct nvme_soft__handler *nvme_soft__find_handler(bool admin, uint8_t opc);

#include "nvme_soft_admin.h"

/* ============================================================================================
 * >>soft-execute
 *
 * One command, from the ring to its completion: nvme_soft_fetch_command() takes the SQE,
 * nvme_soft_dispatch() looks what the fault plan has for it, nvme_soft_execute() carries it out,
 * nvme_soft_complete() answers.
 * ============================================================================================ */

static const struct nvme_soft__handler nvme_soft__admin_cmds[] = {
	{NVME_OPC_DELETE_IO_SQ, 0x1, false, false, nvme_soft_delete_io_sq},
	{NVME_OPC_CREATE_IO_SQ, 0x1, false, false, nvme_soft_create_io_sq},
	{NVME_OPC_GET_LOG_PAGE, 0x1, false, false, nvme_soft_get_log_page},
	{NVME_OPC_DELETE_IO_CQ, 0x1, false, false, nvme_soft_delete_io_cq},
	{NVME_OPC_CREATE_IO_CQ, 0x1, false, false, nvme_soft_create_io_cq},
	{NVME_OPC_IDENTIFY, 0x1, false, false, nvme_soft_identify},
	{NVME_OPC_ABORT, 0x1, false, false, nvme_soft_abort},
	{NVME_OPC_SET_FEATURES, 0x1, false, false, nvme_soft_set_features},
	{NVME_OPC_GET_FEATURES, 0x1, false, false, nvme_soft_get_features},
	{NVME_OPC_DOORBELL_BUFFER_CONFIG, 0x1, false, false, nvme_soft_doorbell_buffer_config},
	{NVME_OPC_FORMAT_NVM, 0x3, false, false, nvme_soft_format},
	{NVME_OPC_ASYNC_EVENT_REQUEST, 0x1, false, false, nvme_soft_async_event_request},
	{NVME_OPC_DEVICE_SELF_TEST, 0x1, false, false, nvme_soft_self_test},
	{NVME_OPC_SANITIZE, 0x3, false, false, nvme_soft_sanitize},
	{NVME_OPC_KEEP_ALIVE, 0x1, false, false, nvme_soft_keep_alive},
};

static const struct nvme_soft__handler nvme_soft__nvm_cmds[] = {
	{NVME_OPC_FLUSH, 0x1, false, false, nvme_soft_flush},
	{NVME_OPC_WRITE, 0x3, true, true, nvme_soft_write},
	{NVME_OPC_READ, 0x1, true, true, nvme_soft_read},
	{NVME_OPC_WRITE_UNCORRECTABLE, 0x3, true, false, nvme_soft_write_uncorrectable},
	{NVME_OPC_COMPARE, 0x1, true, true, nvme_soft_compare},
	{NVME_OPC_WRITE_ZEROES, 0x3, true, false, nvme_soft_write_zeroes},
	{NVME_OPC_VERIFY, 0x1, true, false, nvme_soft_verify},
	{NVME_OPC_DATASET_MANAGEMENT, 0x3, false, false, nvme_soft_dataset_management},
	{NVME_OPC_COPY, 0x3, false, false, nvme_soft_copy},
	{NVME_OPC_ZONE_MANAGEMENT_SEND, 0x3, false, false, nvme_soft_zone_send},
	{NVME_OPC_ZONE_MANAGEMENT_RECEIVE, 0x1, false, false, nvme_soft_zone_receive},
	{NVME_OPC_ZONE_APPEND, 0x3, true, true, nvme_soft_write},
};

static const struct nvme_soft__handler *nvme_soft__find_handler(bool admin, uint8_t opc)
{
	const struct nvme_soft__handler *h = admin ? nvme_soft__admin_cmds : nvme_soft__nvm_cmds;
	const struct nvme_soft__handler *end = h + (admin ? NVME_SOFT__COUNT(nvme_soft__admin_cmds)
	                                                  : NVME_SOFT__COUNT(nvme_soft__nvm_cmds));

	while (h < end && h->opc != opc)
		h++;
	return h < end ? h : NULL;
}

static bool nvme_soft__dead(const struct nvme_soft *s)
{
	return s->gone || NVME_GET(s->csts, NVME_CSTS_CFS) != 0 ||
	       NVME_GET(s->csts, NVME_CSTS_RDY) == 0;
}

/* Keeps a command for later, or for ever. */
static void nvme_soft__wait(struct nvme_soft *s, const struct nvme_soft__job *job, uint64_t due)
{
	uint32_t i;

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
	for (i = s->num_late++; i > 0 && s->late[i - 1].due > due; i--)
		s->late[i] = s->late[i - 1];
	s->late[i] = *job;
	s->late[i].since = s->now;
	s->late[i].due = due;
}

static void nvme_soft_complete(struct nvme_soft *s, struct nvme_soft__job *job, uint16_t status)
{
	/* no room: ended by Delete I/O SQ, and nobody can be told */
	if (status == NVME_SOFT__LATER || nvme_soft__dead(s) ||
	    nvme_soft__room(&s->cq[job->sq->cqid]) == 0)
		return;
	if (NVME_GET(status, NVME_CPL_SC) != 0 || NVME_GET(status, NVME_CPL_SCT) != 0) {
		s->stats.errors++;
		nvme_soft__record_error(s, job->sq->id, &job->cmd, status);
	}
	nvme_soft_post_completion(s, job, status);
	if (job->fault.set & NVME_SOFT__AER)
		nvme_soft_raise_event(s, job->fault.event);
}

/* Returns the status, or NVME_SOFT__LATER for a command that stays with the controller. */
static uint16_t nvme_soft_execute(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__fault *f = &job->fault;
	const struct nvme_soft__handler *h;
	uint16_t status = 0;
	bool writes;

	if (f->set & NVME_SOFT__STRAY)
		return nvme_soft_report_stray(s, job, UINT64_C(1) << 52, 4096,
		                              "writing where the fault plan says");
	if (f->set & (NVME_SOFT__STATUS | NVME_SOFT__DW0)) {
		job->dw0 = f->set & NVME_SOFT__DW0 ? f->dw0 : 0;
		return f->set & NVME_SOFT__STATUS ? f->status : 0;
	}
	if (job->sq->id == 0 && (NVME_GET(job->cmd.flags, NVME_CMD_FUSE) != NVME_FUSE_NONE ||
	                         NVME_GET(job->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);
	h = nvme_soft__find_handler(job->sq->id == 0, job->cmd.opc);
	if (h == NULL || (job->sq->id != 0 && nvme_soft__lacks_zones(s, h->opc)))
		return NVME_SOFT__GENERIC(NVME_SC_INVALID_OPCODE);
	if (nvme_soft__sanitizing(s) && (job->sq->id != 0 || (h->effects & 0x2) != 0))
		return NVME_SOFT__GENERIC(NVME_SC_SANITIZE_IN_PROGRESS);
	writes = h->blocks && (h->effects & 0x2) != 0;
	if (h->blocks)
		status = nvme_soft__check_blocks(s, job, h->data);
	if (h->blocks && status == 0)
		status = nvme_soft__check_zones(s, job, writes);
	if (status == 0)
		status = h->execute(s, job);
	if (writes && status == 0)
		nvme_soft__zone_wrote(s, job);
	return status;
}

/* What goes on beside the queues: the host hears of it once it listens. */
static void nvme_soft__tell(struct nvme_soft *s, enum nvme_dev_event event)
{
	uint64_t one = 1;

	s->told[event] = true;
	if (s->has_event_fds && write(s->event_fds[event], &one, sizeof(one)) < 0)
		NVME_SOFT__LOG(s, NVME_LOG_ERROR, "an event is lost: %s", strerror(errno));
}

static void nvme_soft__go(struct nvme_soft *s)
{
	NVME_SOFT__LOG(s, NVME_LOG_WARNING, "the device disappears, as planned");
	s->gone = true;
	s->back_at = nvme_soft__after(s, s->plan.back);
	s->num_late = s->num_aers = s->num_events = 0;
}

/* What the plan has for this command, or simply its execution. */
static void nvme_soft_dispatch(struct nvme_soft *s, struct nvme_soft__job *job)
{
	const struct nvme_soft__fault *f = &job->fault;

	if (f->set & NVME_SOFT__FLOOD)
		s->cq[job->sq->cqid].flood = true;
	if (f->set & NVME_SOFT__REMOVE)
		nvme_soft__tell(s, NVME_DEV_REQUEST);
	if (f->set & NVME_SOFT__BUS_ERROR)
		nvme_soft__tell(s, NVME_DEV_ERROR);
	if (f->set & NVME_SOFT__GONE) {
		nvme_soft__go(s);
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
	uint16_t status, wrong = NVME_SOFT__GENERIC(NVME_SC_INVALID_FIELD);

	if (a->opc != NVME_OPC_COMPARE || b->opc != NVME_OPC_WRITE || a->nsid != b->nsid ||
	    a->cdw10 != b->cdw10 || a->cdw11 != b->cdw11 ||
	    NVME_GET(a->cdw12, NVME_RW_NLB) != NVME_GET(b->cdw12, NVME_RW_NLB) ||
	    NVME_GET(a->cdw12, NVME_RW_NLB) > NVME_SOFT__ACWU) {
		if (NVME_GET(a->cdw12, NVME_RW_NLB) > NVME_SOFT__ACWU)
			wrong = NVME_SOFT__GENERIC(NVME_SC_ATOMIC_WRITE_UNIT_EXCEEDED);
		nvme_soft_complete(s, first, wrong);
		nvme_soft_complete(s, second, wrong);
		return;
	}
	status = nvme_soft_execute(s, first);
	nvme_soft_complete(s, first, status);
	if (NVME_GET(status, NVME_CPL_SC) != 0 || NVME_GET(status, NVME_CPL_SCT) != 0)
		status = NVME_SOFT__ABORTED(NVME_SC_ABORTED_FAILED_FUSED);
	else
		status = nvme_soft_execute(s, second);
	nvme_soft_complete(s, second, status);
}

/* Holds a first half until its second comes. True: the command is taken care of. */
static bool nvme_soft__fuse(struct nvme_soft *s, struct nvme_soft__job *job)
{
	uint16_t missing = NVME_SOFT__ABORTED(NVME_SC_ABORTED_MISSING_FUSED);
	uint32_t fuse = NVME_GET(job->cmd.flags, NVME_CMD_FUSE);
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
	uint64_t n = s->stats.admin_cmds + s->stats.io_cmds;
	struct nvme_soft__job job;

	memset(&job, 0, sizeof(job));
	job.cmd = sq->ring[sq->head];
	job.sq = sq;
	nvme_soft__trace(s, NVME_TRACE_DEV_FETCH, sq->id, &job.cmd, sizeof(job.cmd));
	if (++sq->head == sq->entries)
		sq->head = 0;
	s->last[n % NVME_SOFT_LAST_CMDS].qid = sq->id;
	s->last[n % NVME_SOFT_LAST_CMDS].cmd = job.cmd;
	if (sq->id == 0)
		s->stats.admin_cmds++;
	else
		s->stats.io_cmds++;
	nvme_soft__find_fault(&s->plan, sq->id, &job.cmd, &job.fault);
	if (sq->id != 0 &&
	    (NVME_GET(job.cmd.flags, NVME_CMD_FUSE) != NVME_FUSE_NONE ||
	     s->fused[sq->id].sq != NULL) &&
	    nvme_soft__fuse(s, &job))
		return;
	nvme_soft_dispatch(s, &job);
}

/* All commands of one queue, as far as there is room for their completions. */
static void nvme_soft_process_sq(struct nvme_soft *s, struct nvme_soft__sq *sq)
{
	while (sq->head != sq->tail && !nvme_soft__dead(s) &&
	       NVME_GET(s->csts, NVME_CSTS_SHST) == NVME_CSTS_SHST_NORMAL &&
	       NVME_GET(s->csts, NVME_CSTS_PP) == 0) {
		if (sq->ring == NULL) {
			nvme_soft_report_stray(s, NULL, sq->base, sq->entries * sizeof(*sq->ring),
			                       "fetching from a submission queue");
			nvme_soft_fatal(s, "a submission queue is not in mapped memory");
			return;
		}
		if (nvme_soft__room(&s->cq[sq->cqid]) < (s->fused[sq->id].sq != NULL ? 2u : 1u))
			return; /* goes on when the CQ head moves */
		nvme_soft_fetch_command(s, sq);
	}
}

/* Delayed commands whose time has come and whose completion has room, the earliest first. */
static void nvme_soft__run_late(struct nvme_soft *s)
{
	struct nvme_soft__job job;
	uint32_t i = 0;

	while (i < s->num_late && s->late[i].due <= s->now && !nvme_soft__dead(s)) {
		if (nvme_soft__room(&s->cq[s->late[i].sq->cqid]) == 0) {
			i++;
			continue;
		}
		job = nvme_soft__take_late(s, i);
		nvme_soft_complete(s, &job, nvme_soft_execute(s, &job));
		i = 0; /* the command may have changed the list */
	}
}

/* ============================================================================================
 * >>soft-regs   [Base 2.1 §3.1.4: Controller properties]
 * ============================================================================================ */

/* RDY follows EN. On the way up the admin queues come into being. */
static void nvme_soft_become_ready(struct nvme_soft *s)
{
	uint32_t i;

	s->rdy_at = NVME_SOFT__NEVER;
	if (NVME_GET(s->cc, NVME_CC_EN) == 0) {
		s->csts &= ~NVME_SET(1, NVME_CSTS_RDY);
		return;
	}
	nvme_soft__create_cq(s, 0, s->acq, NVME_GET(s->aqa, NVME_AQA_ACQS) + 1);
	nvme_soft__create_sq(s, 0, s->asq, NVME_GET(s->aqa, NVME_AQA_ASQS) + 1, 0);
	s->csts |= NVME_SET(1, NVME_CSTS_RDY);
	for (i = 0; i < s->plan.num_events; i++)
		nvme_soft_raise_event(s, s->plan.events[i]);
}

/* The new firmware works: what waits in the rings is fetched. */
static void nvme_soft_go_on(struct nvme_soft *s)
{
	uint32_t qid;

	s->pp_at = NVME_SOFT__NEVER;
	s->csts &= ~NVME_SET(1, NVME_CSTS_PP);
	for (qid = 0; qid <= s->cfg.queues; qid++)
		nvme_soft_process_sq(s, &s->sq[qid]);
}

/* What happens to the device as a whole, whatever the driver does. */
static void nvme_soft__run_removal(struct nvme_soft *s)
{
	int i;

	for (i = 0; i < NVME_DEV_EVENTS; i++) {
		if (s->now < s->tell_at[i])
			continue;
		s->tell_at[i] = NVME_SOFT__NEVER;
		nvme_soft__tell(s, (enum nvme_dev_event)i);
	}
	if (s->now >= s->gone_at) {
		s->gone_at = NVME_SOFT__NEVER;
		nvme_soft__go(s);
	}
	if (s->now >= s->back_at) {
		s->back_at = NVME_SOFT__NEVER;
		s->gone = false;
	}
}

static void nvme_soft__run_due(struct nvme_soft *s)
{
	nvme_soft__run_removal(s);
	if (s->gone)
		return;
	if (s->now >= s->keep_alive_at) {
		s->keep_alive_at = NVME_SOFT__NEVER;
		nvme_soft_fatal(s, "the keep alive timer has run out");
	}
	if (s->now >= s->pp_at)
		nvme_soft_go_on(s);
	if (s->now >= s->rdy_at)
		nvme_soft_become_ready(s);
	if (s->now >= s->shst_at) {
		s->shst_at = NVME_SOFT__NEVER;
		s->csts = (s->csts & ~NVME_SET(3, NVME_CSTS_SHST)) |
		          NVME_SET(NVME_CSTS_SHST_COMPLETE, NVME_CSTS_SHST);
	}
	nvme_soft__run_late(s);
}

/* What a reset by CC.EN = 0 takes back; AQA, ASQ and ACQ stay [Base 2.1: Controller Level Reset]. */
static void nvme_soft_reset(struct nvme_soft *s)
{
	uint32_t i;

	for (i = 0; i < NVME_SOFT__COUNT(s->mail); i++)
		__atomic_store_n(&s->mail[i], 0, __ATOMIC_RELAXED);
	memset(s->sq, 0, sizeof(s->sq));
	memset(s->cq, 0, sizeof(s->cq));
	memset(s->fused, 0, sizeof(s->fused));
	nvme_soft__reset_features(s);
	nvme_soft__reset_self_test(s);
	s->shadow = s->event_idx = 0;
	s->num_late = s->num_aers = s->num_events = s->masked = 0;
	s->csts = s->intm = 0;
	s->rdy_at = s->shst_at = s->pp_at = s->keep_alive_at = NVME_SOFT__NEVER;
	memset(s->apst, 0, sizeof(s->apst));
}

/* What is wrong with the way the host wants the controller to work; NULL: nothing. */
static const char *nvme_soft__check_enable(const struct nvme_soft *s)
{
	uint32_t css = NVME_GET(s->cc, NVME_CC_CSS), has = s->cfg.css;

	if (NVME_GET(s->aqa, NVME_AQA_ASQS) == 0 || NVME_GET(s->aqa, NVME_AQA_ACQS) == 0)
		return "AQA: an admin queue has at least 2 entries";
	if (((s->asq | s->acq) & 4095) != 0)
		return "ASQ or ACQ is not page aligned";
	if (NVME_GET(s->cc, NVME_CC_MPS) < s->cfg.mpsmin ||
	    NVME_GET(s->cc, NVME_CC_MPS) > s->cfg.mpsmax)
		return "CC.MPS is not between CAP.MPSMIN and CAP.MPSMAX";
	if (NVME_GET(s->cc, NVME_CC_AMS) != NVME_CC_AMS_RR)
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
	if (wrong != NULL)
		nvme_soft_fatal(s, wrong);
	else
		s->rdy_at = nvme_soft__after(s, s->plan.ready);
}

/*
 * What a write of CC can change while EN is 1: EN and SHN, and the sizes of the entries of I/O queues
 * as long as there is no such queue. What happens to queues when they change is not defined.
 */
static uint32_t nvme_soft__free_cc_bits(struct nvme_soft *s, uint32_t value)
{
	uint32_t sizes = NVME_SET(15, NVME_CC_IOSQES) | NVME_SET(15, NVME_CC_IOCQES), qid;

	for (qid = 1; qid <= s->cfg.queues; qid++) {
		if (s->cq[qid].entries == 0) /* a submission queue has a completion queue */
			continue;
		if (((s->cc ^ value) & sizes) != 0)
			NVME_SOFT__LOG(s, NVME_LOG_ERROR,
			               "a bug of the driver: CC.IOSQES or CC.IOCQES changes while "
			               "there are I/O queues: delete them first");
		sizes = 0;
		break;
	}
	return NVME_SET(1, NVME_CC_EN) | NVME_SET(3, NVME_CC_SHN) | sizes;
}

/*
 * EN 0 to 1 enables, 1 to 0 resets. SHN that becomes non-zero starts a shutdown.
 * [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]
 */
static void nvme_soft_write_cc(struct nvme_soft *s, uint32_t value)
{
	uint32_t old = s->cc, free_bits = nvme_soft__free_cc_bits(s, value);

	s->cc = NVME_GET(old, NVME_CC_EN) != 0 ? (old & ~free_bits) | (value & free_bits) : value;
	if (NVME_GET(old, NVME_CC_EN) == 0 && NVME_GET(value, NVME_CC_EN) != 0)
		nvme_soft_enable(s);
	else if (NVME_GET(old, NVME_CC_EN) != 0 && NVME_GET(value, NVME_CC_EN) == 0)
		nvme_soft_reset(s);
	if (NVME_GET(old, NVME_CC_SHN) == 0 && NVME_GET(value, NVME_CC_SHN) != 0 &&
	    NVME_GET(value, NVME_CC_EN) != 0) {
		s->csts |= NVME_SET(NVME_CSTS_SHST_OCCURRING, NVME_CSTS_SHST);
		(void)nvme_soft__sync(s);
		s->shst_at = nvme_soft__after(s, s->plan.shutdown);
	}
}

static void nvme_soft__forget_registers(struct nvme_soft *s)
{
	s->asq = s->acq = 0;
	s->aqa = s->cc = 0;
	nvme_soft_reset(s);
	s->cmb.msc = 0;
	nvme_soft__cmb_update(s);
}

/* [Base 2.1: NVM Subsystem Reset]: this controller is all of its NVM subsystem. */
static void nvme_soft_write_nssr(struct nvme_soft *s, uint32_t value)
{
	if (!s->cfg.nssr || value != NVME_NSSR_NSSRC)
		return;
	nvme_soft__forget_registers(s);
	s->csts = NVME_SET(1, NVME_CSTS_NSSRO);
}

/* The dwords of the registers, and which bits a write changes. A 64-bit register has two, the lower
 * one first, as in the memory of the hosts that nvme.h runs on. */
static const struct nvme_soft__reg {
	uint32_t offset;
	size_t member;
	uint32_t writable;
} nvme_soft__regs[] = {
	{NVME_REG_CAP, offsetof(struct nvme_soft, cap), 0},
	{NVME_REG_CAP + 4, offsetof(struct nvme_soft, cap) + 4, 0},
	{NVME_REG_VS, offsetof(struct nvme_soft, vs), 0},
	{NVME_REG_INTMS, offsetof(struct nvme_soft, intm), 0}, /* see nvme_soft_set_reg() */
	{NVME_REG_INTMC, offsetof(struct nvme_soft, intm), 0},
	{NVME_REG_CC, offsetof(struct nvme_soft, cc), 0},
	{NVME_REG_CSTS, offsetof(struct nvme_soft, csts), 0},
	{NVME_REG_AQA, offsetof(struct nvme_soft, aqa), 0x0fff0fff},
	{NVME_REG_ASQ, offsetof(struct nvme_soft, asq), UINT32_MAX},
	{NVME_REG_ASQ + 4, offsetof(struct nvme_soft, asq) + 4, UINT32_MAX},
	{NVME_REG_ACQ, offsetof(struct nvme_soft, acq), UINT32_MAX},
	{NVME_REG_ACQ + 4, offsetof(struct nvme_soft, acq) + 4, UINT32_MAX},
	{NVME_REG_CRTO, offsetof(struct nvme_soft, crto), 0},
	{NVME_REG_CMBLOC, offsetof(struct nvme_soft, cmb.loc), 0},
	{NVME_REG_CMBSZ, offsetof(struct nvme_soft, cmb.sz), 0},
	{NVME_REG_CMBMSC, offsetof(struct nvme_soft, cmb.msc), 0}, /* see nvme_soft_cmb.h */
	{NVME_REG_CMBMSC + 4, offsetof(struct nvme_soft, cmb.msc) + 4, 0},
	{NVME_REG_CMBSTS, offsetof(struct nvme_soft, cmb.sts), 0},
};

/* 0 where no register is. */
static uint32_t nvme_soft_get_reg(const struct nvme_soft *s, uint32_t offset)
{
	uint32_t value = 0;
	size_t i;

	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__regs); i++) {
		if (nvme_soft__regs[i].offset == offset)
			memcpy(&value, (const uint8_t *)s + nvme_soft__regs[i].member, 4);
	}
	return value;
}

static void nvme_soft_set_reg(struct nvme_soft *s, uint32_t offset, uint32_t value)
{
	size_t i;

	if (offset == NVME_REG_INTMS) /* write 1 to set */
		s->intm |= value;
	else if (offset == NVME_REG_INTMC) /* write 1 to clear */
		s->intm &= ~value;
	else if (offset == NVME_REG_CC)
		nvme_soft_write_cc(s, value);
	else if (offset == NVME_REG_CMBMSC || offset == NVME_REG_CMBMSC + 4)
		nvme_soft__cmb_write(s, offset, value);
	else if (offset == NVME_REG_NSSR)
		nvme_soft_write_nssr(s, value);
	for (i = 0; i < NVME_SOFT__COUNT(nvme_soft__regs); i++) {
		const struct nvme_soft__reg *reg = &nvme_soft__regs[i];
		uint32_t kept = value & reg->writable;

		if (reg->offset == offset && reg->writable != 0)
			memcpy((uint8_t *)s + reg->member, &kept, 4);
	}
}

/* ---- doorbells [PCIe 1.1 §3.1.2.1: SQyTDBL], [PCIe 1.1 §3.1.2.2: CQyHDBL] ---- */

/* A doorbell that makes no sense is an event: 00h no such queue, 01h no such value. */
static void nvme_soft__bad_doorbell(struct nvme_soft *s, uint32_t index, uint32_t value,
                                    uint8_t info)
{
	struct nvme_soft__event e = {NVME_AER_TYPE_ERROR, info, NVME_LOG_PAGE_ERROR};
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
	nvme_soft_raise_event(s, e);
}

/* The head of a completion queue moved: its slots are free. It cannot overtake the tail. */
static void nvme_soft_ring_cq(struct nvme_soft *s, struct nvme_soft__cq *cq, uint32_t index,
                              uint32_t value)
{
	uint32_t taken = (value + cq->entries - cq->head) % cq->entries;
	uint32_t used = cq->entries - 1 - nvme_soft__room(cq), qid;

	if (value >= cq->entries || (!cq->flood && (taken == 0 || taken > used))) {
		nvme_soft__bad_doorbell(s, index, value, 1);
		return;
	}
	if (value < cq->head)
		cq->head_phase ^= 1;
	cq->head = value;
	if (cq->flood)
		nvme_soft__flood(s, cq);
	nvme_soft__run_late(s); /* whatever waited for room */
	nvme_soft_deliver_events(s);
	for (qid = 0; qid <= s->cfg.queues; qid++)
		nvme_soft_process_sq(s, &s->sq[qid]);
}

/* Doorbell number index: SQ0, CQ0, SQ1, CQ1, ... */
/* ---- shadow doorbells [Base 2.1: Doorbell Buffer Config command] ---- */

static uint32_t *nvme_soft__shadow_at(const struct nvme_soft *s, uint64_t page, uint32_t index)
{
	uint64_t offset = (uint64_t)index * (4u << s->cfg.dstrd);

	if (offset + 4 > nvme_soft__page_size(s))
		return NULL;
	return (uint32_t *)nvme_soft__host(s, page + offset, 4);
}

/*
 * What the host wrote to one doorbell, in memory. UINT32_MAX: no news. EventIdx is where the value
 * is when the register has to be written to wake this controller up, and just before that when it
 * will look by itself: in mode=thread it always does, in mode=sync after a doorbell only.
 */
static uint32_t nvme_soft__shadow_news(const struct nvme_soft *s, uint32_t index, uint32_t known)
{
	uint32_t *value = nvme_soft__shadow_at(s, s->shadow, index);
	uint32_t *event = nvme_soft__shadow_at(s, s->event_idx, index), now;

	if (value == NULL || event == NULL)
		return UINT32_MAX;
	now = __atomic_load_n(value, __ATOMIC_ACQUIRE);
	if (now != known)
		return now;
	__atomic_store_n(event, s->cfg.threaded ? (known - 1) & 0xffff : known, __ATOMIC_RELEASE);
	__sync_synchronize();
	now = __atomic_load_n(value, __ATOMIC_ACQUIRE); /* it may have come just before */
	return now != known ? now : UINT32_MAX;
}

static void nvme_soft_ring_sq(struct nvme_soft *s, struct nvme_soft__sq *sq, uint32_t index,
                              uint32_t value)
{
	if (value >= sq->entries || value == sq->tail) {
		nvme_soft__bad_doorbell(s, index, value, 1);
		return;
	}
	sq->tail = value;
	nvme_soft_process_sq(s, sq);
}

/* Heads first: they make room. true: there was something new. */
static bool nvme_soft_look_at_shadow(struct nvme_soft *s)
{
	bool busy = false, again = true;
	uint32_t qid, news;

	while (again && s->shadow != 0 && !nvme_soft__dead(s)) {
		again = false;
		for (qid = 1; qid <= s->cfg.queues; qid++) {
			struct nvme_soft__cq *cq = &s->cq[qid];
			struct nvme_soft__sq *sq = &s->sq[qid];

			news = cq->entries == 0 ? UINT32_MAX
			                        : nvme_soft__shadow_news(s, 2 * qid + 1, cq->head);
			if (news < cq->entries)
				nvme_soft_ring_cq(s, cq, 2 * qid + 1, news);
			again = again || news < cq->entries;
			news = sq->entries == 0 ? UINT32_MAX
			                        : nvme_soft__shadow_news(s, 2 * qid, sq->tail);
			if (news < sq->entries)
				nvme_soft_ring_sq(s, sq, 2 * qid, news);
			again = again || news < sq->entries;
		}
		busy = busy || again;
	}
	return busy;
}

static void nvme_soft_ring(struct nvme_soft *s, uint32_t index, uint32_t value)
{
	uint32_t qid = index / 2;

	s->waits = 0;
	if (s->gone) {
		s->stats.writes_after_gone++;
		return;
	}
	if (NVME_GET(s->csts, NVME_CSTS_RDY) == 0)
		return;
	if (qid > s->cfg.queues ||
	    (index % 2 ? s->cq[qid].entries == 0 : s->sq[qid].entries == 0)) {
		nvme_soft__bad_doorbell(s, index, value, 0);
	} else if (s->shadow != 0 && qid != 0) { /* only a call to look there */
		*(index % 2 ? &s->cq[qid].rings : &s->sq[qid].rings) += 1;
		(void)nvme_soft_look_at_shadow(s);
	} else if (index % 2) {
		s->cq[qid].rings++;
		nvme_soft_ring_cq(s, &s->cq[qid], index, value);
	} else {
		s->sq[qid].rings++;
		nvme_soft_ring_sq(s, &s->sq[qid], index, value);
	}
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
	if (polling && nvme_soft__next_late(s) < NVME_SOFT__NEVER)
		s->now = nvme_soft__next_late(s); /* see >>soft-clock */
	nvme_soft__run_due(s);
	s->stats.reg_reads++;
	value = s->gone ? UINT32_MAX : nvme_soft_get_reg(s, offset);
	nvme_soft__unlock(s);
	return value;
}

static void nvme_soft_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	uint32_t index = UINT32_MAX, stride = 4u << s->cfg.dstrd, last = 2 * s->cfg.queues + 2;

	if (offset >= NVME_REG_DOORBELLS && (offset - NVME_REG_DOORBELLS) % stride == 0)
		index = (offset - NVME_REG_DOORBELLS) / stride;
	if (offset >= NVME_REG_DOORBELLS && s->cfg.threaded) {
		/* left in the mail box of its queue: the thread will find it */
		__atomic_store_n(&s->mail[index < last ? index : last], UINT64_C(1) << 32 | value,
		                 __ATOMIC_RELEASE);
		return;
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

#ifdef NVME__THREADS

/*
 * One look at all doorbells and at the clock. A bus keeps the order of writes, mail boxes do not:
 * the admin queue, whose commands delete queues, comes after all that was rung before it.
 */
static bool nvme_soft_poll(struct nvme_soft *s)
{
	uint32_t i;
	uint64_t mail;
	bool busy = false;

	s->now = nvme_soft__real_time();
	for (i = 2 * s->cfg.queues + 3; i-- > 0;) {
		if (__atomic_load_n(&s->mail[i], __ATOMIC_RELAXED) == 0)
			continue;
		/* acquire: what the host wrote before it rang, the SQE above all, is seen now */
		mail = __atomic_exchange_n(&s->mail[i], 0, __ATOMIC_ACQUIRE);
		nvme_soft_ring(s, i, (uint32_t)mail);
		busy = true;
	}
	busy = nvme_soft_look_at_shadow(s) || busy;
	nvme_soft__run_due(s);
	return busy;
}

static void *nvme_soft__thread_main(void *arg)
{
	struct nvme_soft *s = (struct nvme_soft *)arg;
	uint32_t idle = 0;

	while (__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE) == 0) {
		bool busy;

		nvme__mutex_lock(&s->lock);
		busy = nvme_soft_poll(s);
		nvme__mutex_unlock(&s->lock);
		idle = busy ? 0 : idle + 1;
		if (idle > 1000)
			nvme_soft__pause();
		else if (!busy || __atomic_load_n(&s->waiting, __ATOMIC_RELAXED) != 0)
			sched_yield();
	}
	return NULL;
}

static int nvme_soft__begin_thread(struct nvme_soft *s)
{
	return -pthread_create(&s->thread, NULL, nvme_soft__thread_main, s);
}

static void nvme_soft__end_thread(struct nvme_soft *s)
{
	__atomic_store_n(&s->stop, 1, __ATOMIC_RELEASE);
	pthread_join(s->thread, NULL);
}

#else

static int nvme_soft__begin_thread(struct nvme_soft *s)
{
	NVME_SOFT__LOG(s, NVME_LOG_ERROR, "there are no threads here: use mode=sync");
	return -ENOTSUP;
}

static void nvme_soft__end_thread(struct nvme_soft *s)
{
	(void)s;
}

#endif

/* ---- the controller as it comes out of the box ---- */

static void nvme_soft__power_on(struct nvme_soft *s)
{
	const struct nvme_soft__config *cfg = &s->cfg;

	s->cap = NVME_SET64(cfg->mqes, NVME_CAP_MQES) | NVME_SET64(1, NVME_CAP_CQR) |
	         NVME_SET64(cfg->to, NVME_CAP_TO) | NVME_SET64(cfg->dstrd, NVME_CAP_DSTRD) |
	         NVME_SET64(cfg->css, NVME_CAP_CSS) | NVME_SET64(cfg->mpsmin, NVME_CAP_MPSMIN) |
	         NVME_SET64(cfg->mpsmax, NVME_CAP_MPSMAX) | NVME_SET64(cfg->nssr, NVME_CAP_NSSRS) |
	         NVME_SET64(cfg->cmb != 0 && cfg->cmblegacy == 0, NVME_CAP_CMBS) |
	         NVME_SET64(cfg->crwmt != 0 ? NVME_CAP_CRMS_CRWMS : 0, NVME_CAP_CRMS);
	s->crto = NVME_SET(cfg->crwmt, NVME_CRTO_CRWMT);
	s->vs = s->plan.vs;
	if (cfg->cmblegacy != 0 && s->vs >= NVME_VS_SET(1, 4, 0))
		s->vs = NVME_VS_SET(1, 3, 0);
	nvme_soft__forget_registers(s);
}

/* "start en=1 rdy=1": what another driver may have left behind */
static void nvme_soft__start(struct nvme_soft *s)
{
	const struct nvme_soft__plan *plan = &s->plan;

	nvme_soft__schedule(s);
	if (!plan->has_start)
		return;
	s->aqa = NVME_SET(31, NVME_AQA_ASQS) | NVME_SET(31, NVME_AQA_ACQS);
	s->asq = 0xdead0000;
	s->acq = 0xdead8000;
	s->cc = NVME_SET(6, NVME_CC_IOSQES) | NVME_SET(4, NVME_CC_IOCQES) |
	        NVME_SET(plan->start_en, NVME_CC_EN);
	s->csts = NVME_SET(plan->start_rdy, NVME_CSTS_RDY);
	if (plan->start_en != plan->start_rdy)
		s->rdy_at = nvme_soft__after(s, plan->ready);
}

static void nvme_soft__fill_dev(struct nvme_dev *dev, const struct nvme_soft *s)
{
	size_t doorbells = (size_t)2 * (s->cfg.queues + 1) * (4u << s->cfg.dstrd);

	dev->vendor_id = dev->subsystem_vendor_id = NVME_SOFT_VENDOR_ID;
	dev->device_id = dev->subsystem_device_id = NVME_SOFT_DEVICE_ID;
	dev->class_code = NVME__PCI_CLASS;
	dev->bar0 = NULL; /* nothing is mapped: every access is a call */
	dev->bar0_mapped = 0;
	dev->bar0_size = (NVME_REG_DOORBELLS + doorbells + 0x3fff) & ~(size_t)0x3fff;
	dev->page_size = NVME__HOST_PAGE_SIZE;
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
			nvme__unreserve(s->ns[i].bad, (size_t)(s->cfg.size / 4096 + 1));
	}
	if (s->disk != NULL)
		nvme__unreserve(s->disk, (size_t)s->disk_size);
	nvme_soft__close_md(s);
	nvme_soft__close_zones(s);
	nvme_soft__cmb_close(s);
	free(s->pieces);
	free(s->late);
	nvme__mutex_destroy(&s->lock);
	free(s);
}

static int nvme_soft__open(struct nvme_dev *dev, const char *addr)
{
	struct nvme_soft *s = (struct nvme_soft *)calloc(1, sizeof(*s));
	char why[NVME_SOFT__WHY_SIZE];
	int rc;

	if (s == NULL)
		return -ENOMEM;
	nvme__mutex_init(&s->lock);
	s->log = nvme__log_of(dev);
	snprintf(dev->name, sizeof(dev->name), "soft");
	rc = nvme_soft__parse(addr, &s->cfg, &s->plan, why);
	s->cfg.plan = NULL; /* points into the caller's text */
	if (rc != 0)
		NVME_SOFT__LOG(s, NVME_LOG_ERROR, "%s", why);
	if (rc == 0)
		rc = nvme_soft__open_disk(s);
	if (rc == 0)
		rc = nvme_soft__cmb_open(s);
	if (rc != 0) {
		nvme_soft__free(s);
		return rc;
	}
	s->now = s->cfg.threaded ? nvme_soft__real_time() : 0;
	s->random = UINT64_C(0x9e3779b97f4a7c15) ^ s->cfg.seed;
	s->smart.temperature[0] = 310 & 0xff;
	s->smart.temperature[1] = 310 >> 8;
	s->smart.avsp = 100;
	s->smart.avspt = 10;
	s->smart.power_cycles[0] = 1;
	memset(s->tests.result, 0xff, sizeof(s->tests.result)); /* Fh: not used */
	nvme_soft__power_on(s);
	nvme_soft__start(s);
	nvme_soft__fill_dev(dev, s);
	if (s->cfg.threaded)
		rc = nvme_soft__begin_thread(s);
	if (rc != 0)
		nvme_soft__free(s);
	return rc;
}

static void nvme_soft__close(struct nvme_dev *dev)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	if (s == NULL)
		return;
	if (s->cfg.threaded)
		nvme_soft__end_thread(s);
	if (s->stats.bytes_mapped != 0)
		NVME_SOFT__LOG(s, NVME_LOG_ERROR,
		               "a bug of the driver: %" PRIu64 " bytes are still mapped at close()",
		               s->stats.bytes_mapped);
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

/* A vector for each queue. */
static int nvme_soft__set_interrupts(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	struct nvme_soft *s = nvme_soft__of(dev);

	nvme_soft__lock(s);
	s->num_irqs = num < s->cfg.queues + 1 ? num : s->cfg.queues + 1;
	if (s->num_irqs > 0)
		memcpy(s->irq_fds, fds, s->num_irqs * sizeof(*fds));
	nvme_soft__unlock(s);
	return (int)s->num_irqs;
}

/* What was told before the host listened is told now. */
static int nvme_soft__set_events(struct nvme_dev *dev, const int *fds)
{
	struct nvme_soft *s = nvme_soft__of(dev);
	int i;

	nvme_soft__lock(s);
	s->has_event_fds = fds != NULL;
	for (i = 0; i < NVME_DEV_EVENTS && fds != NULL; i++) {
		s->event_fds[i] = fds[i];
		if (s->told[i])
			nvme_soft__tell(s, (enum nvme_dev_event)i);
	}
	nvme_soft__unlock(s);
	return 0;
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
	nvme_soft__set_interrupts,
	nvme_soft__get_bar,
	nvme_soft__map_bar,
	nvme_soft__set_events,
};

NVMEDEF const struct nvme_dev_ops *nvme_soft_dev_ops(const char *device)
{
	return nvme_soft__is_soft(device) ? &nvme_soft__ops : NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* NVME__IMPLEMENTED */
#endif /* NVME_SOFT_IMPLEMENTATION */
