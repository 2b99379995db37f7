/* SPDX-License-Identifier: MIT */
/*
 * nvme.h - v0.1.0 - a complete NVMe driver in one header, written to be read.
 *
 * It drives an NVMe controller from an ordinary Linux process, through VFIO: it maps the
 * registers, enables the controller, identifies it, creates queue pairs, builds PRP lists, rings
 * doorbells and reaps completions. There is no framework below it and no thread behind it.
 *
 * Do this in ONE C or C++ file, before any other #include, to create the implementation:
 *
 *	#define NVME_IMPLEMENTATION
 *	#include "nvme.h"
 *
 * Everywhere else just #include "nvme.h". Link with -lpci. C11 or C++17, little-endian Linux;
 * without VFIO, for devices of one's own (NVME_NO_VFIO), also other systems.
 *
 * Quick start: read block 0 of namespace 1 and write it to standard output.
 *
 *	struct nvme_ctrlr *ctrlr;
 *	uint8_t block[65536];
 *
 *	if (nvme_attach("0000:01:00.0", NULL, &ctrlr) != 0)
 *		return 1;                          // the reason is on standard error
 *	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
 *	if (ns != NULL && nvme_ns_read(ns, NULL, block, 0, 1, NULL) == 0)
 *		fwrite(block, nvme_ns_get_sector_size(ns), 1, stdout);
 *	nvme_detach(ctrlr);
 *
 * The device must be bound to vfio-pci first (tools/nvme-bind bind 0000:01:00.0). Run any program
 * with NVME_LOG=debug in the environment to see every step that the driver takes.
 *
 * WARNING: a driver in user space can destroy the data on a disk as surely as the kernel can.
 *
 * THREE BOOKS (search for the tag)
 *
 * Book 1, THE DRIVER: everything between the caller and the wire, for attach, identify, queue
 * pairs, read, write, flush and detach. To be read in an evening, from >>state on; what stands
 * before that is to be skimmed.
 *	>>options   compile-time options, versions, includes
 *	>>spec      the part of the specification that the driver uses
 *	>>api       the functions of this book, and the rules for all
 *	   the implementation, in the order of the wire:
 *	>>state     what the driver remembers: who writes and who reads it
 *	>>hooks     what this book calls in the other two
 *	>>regs      reading and writing registers
 *	>>dma       memory that the controller can reach, and its address there (IOVA)
 *	>>queue     submission and completion queues: rings, phase, doorbells
 *	>>prp       describing a buffer to the controller: PRP1, PRP2, PRP lists
 *	>>submit    one command from the caller to the doorbell
 *	>>complete  one completion from the ring to the caller; waiting for one
 *	>>enable    reset and enable
 *	>>identify  who it is, and which namespaces it has
 *	>>qpair     creating and deleting I/O queue pairs
 *	>>attach    the beginning and the end
 *	>>io        read, write, flush
 *	>>pci       finding controllers, with libpci
 *	>>vfio      getting at one of them: container, group, device, BAR0, bus master
 *
 * Book 2, MORE OF NVME: to be searched by tag.
 *	>>codes     all other registers, structures and codes of the specification
 *	>>more      the functions of this book
 *	   the implementation:
 *	>>options-check, >>probe, >>arena, >>unusual, >>raw, >>changes, >>blocking, >>interrupts,
 *	>>shadow, >>cmb, >>scatter, >>format, >>metadata, >>commands, >>zones, >>admin-commands,
 *	>>events, >>power, >>connect, >>groups, >>watch, >>ladder, >>retry, >>reset, >>removal,
 *	>>getters
 *
 * Book 3, REFERENCE AND PLUMBING: what a reader may skip, and tools live on.
 *	>>text      names of codes; commands, completions and registers as text
 *	>>trace     the flight recorder: everything that happens, in a file
 *	   the implementation:
 *	>>names, >>words, >>fields, >>log, >>recorder, >>records, >>explain, >>strerror, >>platform
 *	>>licence
 *
 * How the comments cite: [Base 2.1 §3.1.4.5: Controller Configuration] is the NVM Express Base
 * Specification 2.1, [NVM 1.1 ...] the NVM Command Set Specification 1.1, [PCIe 1.1 ...] the NVMe
 * over PCIe Transport Specification 1.1. Section numbers move between revisions, titles do not.
 *
 * Names: nvme_x is public, nvme__x the driver's own. Functions that readers of SPDK know bear the
 * name that they have there (nvme_qpair_construct, nvme_ring_sq_doorbell), private as they are.
 *
 * Words used throughout:
 *	SQ, CQ    submission queue and completion queue: two rings in host memory
 *	SQE, CQE  their entries: a command of 64 bytes, a completion of 16 bytes
 *	doorbell  a register that tells the controller how far a ring has moved
 *	phase     a bit that tells a new CQE from one of the previous lap
 *	PRP       physical region page: the address of one memory page, as the controller sees it
 *	IOVA      an address as the controller sees it; the IOMMU translates it to real memory
 *	LBA       logical block address; NLB, a number of blocks, stored 0-based in the command
 *	NSID      namespace id, from 1: a namespace is what other disks call the disk
 */

/* ############################################################################################
 * BOOK 1: THE DRIVER
 * ############################################################################################ */

/* ============================================================================================
 * >>options
 *
 * Define before the #include, where the implementation is created:
 *	NVME_STATIC           make every function static (several copies in one program are fine)
 *	NVME_TEXT_ONLY        names, texts and structures without the driver, for decoders: nothing
 *	                      of Linux, of VFIO or of libpci is needed
 *	NVME_NO_VFIO          the driver without VFIO and PCI, for device tables of one's own (see
 *	                      struct nvme_dev_ops): neither libpci nor Linux's headers are needed,
 *	                      but C11 and POSIX with gcc or clang; nvme_pci_enumerate() is missing.
 *	                      WebAssembly (wasm32-wasi) needs this and NVME_NO_TRACE
 *	NVME_NO_TRACE         leave the flight recorder out
 *	NVME_ASSERT(x)        checks of the driver's own logic; default assert()
 *	NVME_CALLOC(n, size), NVME_FREE(p)
 *	                      memory for the driver's own bookkeeping; never seen by the device
 *	NVME_LOG_LINE(level, line)
 *	                      where finished log lines go when the options hold no callback;
 *	                      default: standard error
 *	NVME_WMB(), NVME_RMB()
 *	                      the memory barriers of >>regs, for a processor not listed there
 *	NVMEDEF               what stands before every function; default extern, or static. In a
 *	                      shared library that is compiled with -fvisibility=hidden:
 *	                      -D'NVMEDEF=extern __attribute__((visibility("default")))'
 *	                      makes it export the functions of the driver
 *
 * LIVING TOGETHER WITH LIBNVME: some names of the API, nvme_ns_read() among them, are also
 * functions of that library. A program that links with it, itself or through another library, must
 * define NVME_STATIC, or else libnvme would call these functions instead of its own. For the same
 * reason nvme.h and <libnvme.h> go into two different C files.
 * ============================================================================================ */
#ifndef NVME_H
#define NVME_H

/* -std=c11 hides mmap() flags and clock_gettime() unless this stands before the first #include. */
#if defined(NVME_IMPLEMENTATION) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE 1
#endif
/* VFIO numbers the parts of a device in the upper half of file offsets: off_t needs 64 bits. */
#if defined(NVME_IMPLEMENTATION) && !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NVME_VERSION_MAJOR 0
#define NVME_VERSION_MINOR 1
#define NVME_VERSION_PATCH 0

#ifndef NVMEDEF
#ifdef NVME_STATIC
#define NVMEDEF static __attribute__((unused))
#else
#define NVMEDEF extern
#endif
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "nvme.h: NVMe structures are little-endian and this driver uses them in place; big-endian hosts are not supported"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>spec
 *
 * What the NVM Express specifications define, as far as this driver needs it: registers, queue
 * entries, data structures and codes. No policy and no state here, only names for bits and bytes.
 * The rest is in >>codes.
 *
 * All multi-byte values are little-endian, in registers and in memory [Base 2.1 §1.4.3: Byte
 * order]; the structures below are used as they are, so the host must be little-endian too.
 * "0-based" [Base 2.1 §1.4: Conventions] means that the stored value is one less than the number
 * meant: 0 is one entry, 2047 is 2048 entries.
 *
 * Packed values are plain integers. The name of a field is where it is, "highest bit, lowest bit",
 * stated once and used with
 *	NVME_GET(cc, NVME_CC_MPS)   the field, out of the value of a register or command dword
 *	NVME_SET(x, NVME_CC_MPS)    x at the place of the field, the rest zero (or them together)
 * and, where a field or its place goes beyond 32 bits, with NVME_GET64 and NVME_SET64.
 * ============================================================================================ */

#ifdef __cplusplus
#define NVME_STATIC_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define NVME_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif

/* Every layout below is checked by the compiler against the byte numbers of the spec. */
#define NVME__SIZE(type, size) NVME_STATIC_ASSERT(sizeof(type) == (size), #type " has a wrong size")
#define NVME__AT(type, field, offset) \
	NVME_STATIC_ASSERT(offsetof(type, field) == (offset), #type "." #field " is misplaced")

/* Bits hi:lo of value, moved down to bit 0. Bits beyond 63 read as zero. */
static inline uint64_t nvme_bits(uint64_t value, unsigned hi, unsigned lo)
{
	if (lo > 63 || hi < lo)
		return 0;
	value >>= lo;
	if (hi - lo >= 63)
		return value;
	return value & ((UINT64_C(1) << (hi - lo + 1)) - 1);
}

/* The other way round: value, cut to the width of the field, moved up to bits hi:lo. */
static inline uint64_t nvme_field(uint64_t value, unsigned hi, unsigned lo)
{
	return lo > 63 ? 0 : nvme_bits(value, hi - lo, 0) << lo;
}

#define NVME_GET(v, ...)   ((uint32_t)nvme_bits((uint64_t)(v), __VA_ARGS__))
#define NVME_SET(x, ...)   ((uint32_t)nvme_field((uint64_t)(x), __VA_ARGS__))
#define NVME_GET64(v, ...) nvme_bits((uint64_t)(v), __VA_ARGS__)
#define NVME_SET64(x, ...) nvme_field((uint64_t)(x), __VA_ARGS__)

/* ---- registers ---- */

/*
 * Byte offsets of the controller registers in BAR0. The spec calls them properties, because
 * fabrics have them too. CAP, ASQ and ACQ are 64 bits wide, the others 32. A controller that is
 * gone reads as all ones, which is no valid value of CSTS.
 * [Base 2.1 §3.1.4: Controller properties]
 */
#define NVME_REG_CAP       0x00   /* Controller Capabilities (64 bits, read only) */
#define NVME_REG_VS        0x08   /* Version (read only) */
#define NVME_REG_CC        0x14   /* Controller Configuration */
#define NVME_REG_CSTS      0x1c   /* Controller Status */
#define NVME_REG_AQA       0x24   /* Admin Queue Attributes */
#define NVME_REG_ASQ       0x28   /* Admin Submission Queue Base Address (64 bits) */
#define NVME_REG_ACQ       0x30   /* Admin Completion Queue Base Address (64 bits) */
#define NVME_REG_CRTO      0x68   /* Controller Ready Timeouts */
#define NVME_REG_DOORBELLS 0x1000 /* the first doorbell: SQ0TDBL, the admin submission queue */

/*
 * Doorbells: two 32-bit registers per queue pair, first the tail of submission queue qid, then
 * the head of completion queue qid. They are (4 << CAP.DSTRD) bytes apart, so DSTRD is needed
 * for every address. A doorbell takes an index into the queue (not a count, not a byte offset).
 * The host writes doorbells and does not read them: what a read returns is not defined.
 * [PCIe 1.1 §3.1.2.1: SQyTDBL], [PCIe 1.1 §3.1.2.2: CQyHDBL]
 */
#define NVME_SQ_TDBL(qid, dstrd) (NVME_REG_DOORBELLS + (2u * (uint32_t)(qid)) * (4u << (dstrd)))
#define NVME_CQ_HDBL(qid, dstrd) \
	(NVME_REG_DOORBELLS + (2u * (uint32_t)(qid) + 1u) * (4u << (dstrd)))

/*
 * CAP: what the controller can do, to be read first. TO is in units of 500 ms and bounds every
 * wait for CSTS.RDY, together with CRTO. MQES is 0-based. MPSMIN and MPSMAX are exponents: a page
 * is 2^(12+n) bytes.
 * CSS and CRMS are sets of bits, not numbers.
 * [Base 2.1 §3.1.4.1, Fig. 36: Controller Capabilities]
 */
#define NVME_CAP_MQES   15, 0  /* max queue entries supported, 0-based */
#define NVME_CAP_CQR    16, 16 /* contiguous queues required */
#define NVME_CAP_AMS    18, 17 /* arbitration mechanisms beyond round robin */
#define NVME_CAP_TO     31, 24 /* timeout for CSTS.RDY, units of 500 ms */
#define NVME_CAP_DSTRD  35, 32 /* doorbell stride: 4 << DSTRD bytes */
#define NVME_CAP_NSSRS  36, 36 /* NVM subsystem reset supported */
#define NVME_CAP_CSS    44, 37 /* command sets supported, NVME_CAP_CSS_* */
#define NVME_CAP_BPS    45, 45 /* boot partition support */
#define NVME_CAP_CPS    47, 46 /* controller power scope */
#define NVME_CAP_MPSMIN 51, 48 /* smallest page: 2^(12+n) bytes */
#define NVME_CAP_MPSMAX 55, 52 /* largest page: 2^(12+n) bytes */
#define NVME_CAP_PMRS   56, 56 /* persistent memory region supported */
#define NVME_CAP_CMBS   57, 57 /* controller memory buffer supported */
#define NVME_CAP_NSSS   58, 58 /* NVM subsystem shutdown supported */
#define NVME_CAP_CRMS   60, 59 /* ready modes supported, NVME_CAP_CRMS_* */
#define NVME_CAP_NSSES  61, 61 /* NVM subsystem shutdown enhancements */

#define NVME_CAP_CSS_NVM    0x01u /* bits of CAP.CSS: NVM command set */
#define NVME_CAP_CSS_IOCS   0x40u /* one or more I/O command sets, see CC.CSS = 6 */
#define NVME_CAP_CSS_ADMIN  0x80u /* no I/O command set: only the admin queue works */
#define NVME_CAP_AMS_WRR    0x1u  /* bits of CAP.AMS: weighted round robin with urgent class */
#define NVME_CAP_AMS_VS     0x2u  /* vendor specific */
#define NVME_CAP_CRMS_CRWMS 0x1u  /* bits of CAP.CRMS: controller ready with media */
#define NVME_CAP_CRMS_CRIMS 0x2u  /* controller ready independent of media */

/*
 * VS: the version of the Base Specification that the controller implements, 1.4.0 is 00010400h.
 * Version 1.0 controllers know no namespace list (Identify CNS 2), hence the interest.
 * [Base 2.1 §3.1.4.2, Fig. 37: Version]
 */
#define NVME_VS_MJR 31, 16 /* major */
#define NVME_VS_MNR 15, 8  /* minor */
#define NVME_VS_TER 7, 0   /* tertiary */
#define NVME_VS_SET(mjr, mnr, ter) \
	(NVME_SET(mjr, NVME_VS_MJR) | NVME_SET(mnr, NVME_VS_MNR) | NVME_SET(ter, NVME_VS_TER))

/*
 * CC: how the host wants the controller to work. CSS, MPS, AMS and CRIME are to be set while EN is
 * 0. IOSQES and IOCQES are exponents: 6 (64-byte commands) and 4 (16-byte completions), easily
 * swapped. They count from the first I/O queue on: a host may set them while EN is 1, when Identify
 * has told the sizes (SQES, CQES), but not change them while there are I/O queues. Writing EN 0 to
 * 1 enables, 1 to 0 resets; CSTS.RDY follows, see CAP.TO.
 * [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]
 */
#define NVME_CC_EN     0, 0   /* enable */
#define NVME_CC_CSS    6, 4   /* I/O command set selected, NVME_CC_CSS_* */
#define NVME_CC_MPS    10, 7  /* memory page size: 2^(12+n) bytes */
#define NVME_CC_AMS    13, 11 /* arbitration mechanism, NVME_CC_AMS_* */
#define NVME_CC_SHN    15, 14 /* shutdown notification, NVME_CC_SHN_* */
#define NVME_CC_IOSQES 19, 16 /* I/O submission queue entry: 2^n bytes */
#define NVME_CC_IOCQES 23, 20 /* I/O completion queue entry: 2^n bytes */
#define NVME_CC_CRIME  24, 24 /* ready independent of media enable */

#define NVME_CC_CSS_NVM    0u /* NVM command set */
#define NVME_CC_CSS_IOCS   6u /* all I/O command sets the controller supports */
#define NVME_CC_CSS_ADMIN  7u /* admin command set only */
#define NVME_CC_AMS_RR     0u /* round robin */
#define NVME_CC_AMS_WRR    1u /* weighted round robin with urgent priority class */
#define NVME_CC_AMS_VS     7u /* vendor specific */
#define NVME_CC_SHN_NONE   0u /* no notification */
#define NVME_CC_SHN_NORMAL 1u /* normal shutdown: power goes off soon, save what is cached */
#define NVME_CC_SHN_ABRUPT 2u /* abrupt shutdown: power goes off at once */

/*
 * CSTS: what the controller is doing. RDY follows CC.EN. CFS set means a fatal error that only
 * a controller level reset can clear, of which CC.EN 1 to 0 is one, a reset of the PCI function
 * another: a wait loop has to look at it, or it waits for nothing.
 * FFFFFFFFh means that the device is gone.
 * [Base 2.1 §3.1.4.6, Fig. 42: Controller Status]
 */
#define NVME_CSTS_RDY   0, 0 /* ready to process commands */
#define NVME_CSTS_CFS   1, 1 /* controller fatal status */
#define NVME_CSTS_SHST  3, 2 /* shutdown status, NVME_CSTS_SHST_* */
#define NVME_CSTS_NSSRO 4, 4 /* NVM subsystem reset occurred */
#define NVME_CSTS_PP    5, 5 /* processing paused */
#define NVME_CSTS_ST    6, 6 /* shutdown type: 0 controller, 1 subsystem */

#define NVME_CSTS_SHST_NORMAL    0u          /* normal operation, no shutdown requested */
#define NVME_CSTS_SHST_OCCURRING 1u          /* shutdown processing occurring */
#define NVME_CSTS_SHST_COMPLETE  2u          /* shutdown processing complete */
#define NVME_CSTS_GONE           0xffffffffu /* what a device that is not there reads as */

/*
 * AQA, ASQ, ACQ: size and place of the admin queues, which no command could create. Sizes are
 * 0-based, 2 to 4096 entries. Addresses are page aligned: bits 11:0 are zero.
 * [Base 2.1 §3.1.4.8, Fig. 44: Admin Queue Attributes; §3.1.4.9, §3.1.4.10: base addresses]
 */
#define NVME_AQA_ASQS       11, 0  /* admin submission queue size, 0-based */
#define NVME_AQA_ACQS       27, 16 /* admin completion queue size, 0-based */
#define NVME_ASQ_ASQB       63, 12 /* base address in units of 4096 bytes */
#define NVME_ACQ_ACQB       63, 12
#define NVME_AQ_MAX_ENTRIES 4096u /* of an admin queue, either kind */

/*
 * CRTO: how long becoming ready may take, for media that need more than the 127.5 s that CAP.TO can
 * say. CRWMT is valid if CAP.CRMS has CRWMS and bounds the wait of a host that leaves CC.CRIME 0;
 * it should not be less than CAP.TO, and where it is, the larger of both is safe. CRIMT is valid if
 * CAP.CRMS has CRIMS and bounds the wait of a host that sets CC.CRIME: commands that need the
 * medium may then fail until CRWMT is over. Both in units of 500 ms. [Base 2.1: Controller Ready
 * Timeouts]
 */
#define NVME_CRTO_CRWMT 15, 0  /* ready with media timeout, 500 ms */
#define NVME_CRTO_CRIMT 31, 16 /* ready independent of media timeout, 500 ms */

/* ---- queue entries ---- */

/*
 * SGL descriptor, 16 bytes: one piece of a scatter gather list, or a pointer to a list (segment)
 * of more. len is in bytes. Kinds of descriptor differ in what bytes 8 to 14 mean; for a keyed
 * data block the length has 24 bits (8 to 10) and a 32-bit key follows (11 to 14).
 * [Base 2.1 §4.3.2, Fig. 114, 115, 116: SGL Descriptor Format, Types, Sub Types]
 */
struct nvme_sgl_desc {
	uint64_t addr;   /* Address, of data or of the next segment */
	uint32_t len;    /* Length in bytes */
	uint8_t rsvd[3]; /* Reserved; upper part of the key of a keyed data block */
	uint8_t id;      /* SGL Identifier: type [7:4], sub type [3:0] */
};
NVME__SIZE(struct nvme_sgl_desc, 16);
NVME__AT(struct nvme_sgl_desc, len, 8);
NVME__AT(struct nvme_sgl_desc, id, 15);

/*
 * PRP: where the data is, as page addresses. prp1 is the first byte of the data and may point
 * into the middle of a page. prp2 is the second page if the data touches two, or the address of
 * a list of page addresses if it touches more, or is not used.
 * [Base 2.1 §4.3.1: Physical Region Page Entry and List]
 */
struct nvme_prp_pair {
	uint64_t prp1; /* PRP Entry 1: any dword-aligned address */
	uint64_t prp2; /* PRP Entry 2: second page, or address of the PRP list */
};

/* DPTR, 16 bytes of the command: PSDT in the flags says which of the two is meant. */
union nvme_dptr {
	struct nvme_prp_pair prp;
	struct nvme_sgl_desc sgl;
};
NVME__SIZE(union nvme_dptr, 16);

/*
 * Submission queue entry: one command, 64 bytes. The host writes it into the slot at the tail
 * of the ring and then rings the doorbell. cid is the host's own number for it and comes back
 * in the completion: it must be unique among the commands outstanding on that queue, and FFFFh
 * is not for commands. cdw10 to cdw15 mean something else for each opcode.
 * [Base 2.1 §4.1.1, Fig. 91: Command Dword 0; Fig. 92: Common Command Format]
 */
struct nvme_cmd {
	uint8_t opc;          /* Opcode; bits 1:0 give the direction, see NVME_OPC_DATA */
	uint8_t flags;        /* FUSE [1:0], PSDT [7:6] */
	uint16_t cid;         /* Command Identifier */
	uint32_t nsid;        /* Namespace Identifier, from 1; 0: none, FFFFFFFFh: all */
	uint32_t cdw2;        /* Command Dword 2 */
	uint32_t cdw3;        /* Command Dword 3 */
	uint64_t mptr;        /* Metadata Pointer */
	union nvme_dptr dptr; /* Data Pointer: two PRPs or one SGL descriptor */
	uint32_t cdw10;       /* Command Dword 10 to 15: depend on the opcode */
	uint32_t cdw11;
	uint32_t cdw12;
	uint32_t cdw13;
	uint32_t cdw14;
	uint32_t cdw15;
};
NVME__SIZE(struct nvme_cmd, 64);
NVME__AT(struct nvme_cmd, cid, 2);
NVME__AT(struct nvme_cmd, nsid, 4);
NVME__AT(struct nvme_cmd, cdw2, 8);
NVME__AT(struct nvme_cmd, mptr, 16);
NVME__AT(struct nvme_cmd, dptr, 24);
NVME__AT(struct nvme_cmd, cdw10, 40);
NVME__AT(struct nvme_cmd, cdw15, 60);

#define NVME_CMD_FUSE      1, 0 /* fused operation: NVME_FUSE_* */
#define NVME_CMD_PSDT      7, 6 /* PRP or SGL: NVME_PSDT_* */
#define NVME_FUSE_NONE     0u
#define NVME_FUSE_FIRST    1u /* first of a pair; both in adjacent slots, one doorbell write */
#define NVME_FUSE_SECOND   2u
#define NVME_PSDT_PRP      0u          /* DPTR is PRPs */
#define NVME_PSDT_SGL      1u          /* DPTR is an SGL descriptor, MPTR a plain address */
#define NVME_PSDT_SGL_MPTR 2u          /* both are SGLs */
#define NVME_CID_NONE      0xffffu     /* in the error log: an error that belongs to no command */
#define NVME_NSID_ALL      0xffffffffu /* every namespace attached to the controller */

/* Bits 1:0 of nearly every opcode tell which way data goes, as seen from the host. */
#define NVME_OPC_DATA          1, 0
#define NVME_OPC_DATA_NONE     0u
#define NVME_OPC_DATA_TO_CTRLR 1u
#define NVME_OPC_DATA_TO_HOST  2u
#define NVME_OPC_DATA_BOTH     3u

/*
 * Completion queue entry, 16 bytes: the controller's answer. It is new if its phase bit P
 * differs from that of the previous round through the ring. sqhd tells how far the controller
 * has fetched the submission queue. status is the upper half of dword 3 just as it is stored,
 * that is with P in bit 0: status 0 or 1 is success.
 * [Base 2.1 §4.2.1, Fig. 96, 97, 98: Completion Queue Entry], [§4.2.4, Fig. 108: Phase Tag]
 */
struct nvme_cpl {
	uint32_t cdw0;   /* Dword 0: result, depends on the command */
	uint32_t cdw1;   /* Dword 1: result, used by few commands */
	uint16_t sqhd;   /* SQ Head Pointer */
	uint16_t sqid;   /* SQ Identifier: many SQs may share one CQ */
	uint16_t cid;    /* Command Identifier of the command that completed */
	uint16_t status; /* P [0], Status [15:1] */
};
NVME__SIZE(struct nvme_cpl, 16);
NVME__AT(struct nvme_cpl, sqhd, 8);
NVME__AT(struct nvme_cpl, cid, 12);
NVME__AT(struct nvme_cpl, status, 14);

/*
 * The status word. SC alone says nothing: 02h is Invalid Field for SCT 0 and Invalid Queue Size
 * for SCT 1. CRD picks one of the delays CRDT1 to CRDT3 (100 ms units) before a retry, but only
 * for a host that has set ACRE in the feature Host Behavior Support (16h); for others it is 0.
 * [Base 2.1 §4.2.3, Fig. 100: Status Field]
 */
#define NVME_CPL_P   0, 0   /* phase tag */
#define NVME_CPL_SC  8, 1   /* status code, NVME_SC_* */
#define NVME_CPL_SCT 11, 9  /* status code type, NVME_SCT_* */
#define NVME_CPL_CRD 13, 12 /* command retry delay: 0 none, 1 to 3 */
#define NVME_CPL_M   14, 14 /* more: details are in the error log */
#define NVME_CPL_DNR 15, 15 /* do not retry: it would fail again */

/* True when SCT and SC are not both zero. P, CRD, M and DNR do not make an error. */
static inline bool nvme_cpl_is_error(const struct nvme_cpl *cpl)
{
	return nvme_bits(cpl->status, 11, 1) != 0;
}

/* ---- opcodes and other codes ---- */

/*
 * The commands that the driver sends of its own accord; the others are in >>codes. An opcode means
 * one thing on queue 0, the admin queue, and another on I/O queues.
 * [Base 2.1: Admin Command Set], [Base 2.1 §7.2: Flush], [NVM 1.1: I/O commands]
 */
enum nvme_opc {
	/* on queue 0 */
	NVME_OPC_DELETE_IO_SQ = 0x00,
	NVME_OPC_CREATE_IO_SQ = 0x01,
	NVME_OPC_DELETE_IO_CQ = 0x04,
	NVME_OPC_CREATE_IO_CQ = 0x05,
	NVME_OPC_IDENTIFY = 0x06,
	NVME_OPC_SET_FEATURES = 0x09,
	/* on the others */
	NVME_OPC_FLUSH = 0x00,
	NVME_OPC_WRITE = 0x01,
	NVME_OPC_READ = 0x02,
};

/*
 * What Identify returns: Controller or Namespace Structure, CDW10 [7:0]; always 4096 bytes. The
 * others are enum nvme_id_cns in >>codes. [Base 2.1 §5.1.13, Fig. 310: CNS Values]
 */
enum {
	/* struct nvme_id_ns */
	NVME_ID_CNS_NS = 0x00,
	/* struct nvme_id_ctrlr */
	NVME_ID_CNS_CTRLR = 0x01,
	/* struct nvme_ns_list; not in NVMe 1.0 */
	NVME_ID_CNS_ACTIVE_NS_LIST = 0x02,
};

/*
 * The feature that every driver sets; the others are enum nvme_feat. [Base 2.1: Feature
 * Identifiers]
 */
enum {
	NVME_FEAT_NUMBER_OF_QUEUES = 0x07,
};

/* ---- command dwords ---- */

/*
 * Create and Delete I/O queues. CDW10 is the same for both kinds: identifier from 1 and size,
 * 0-based. DPTR.PRP1 is the address of the queue when PC is 1. The completion queue comes first,
 * because the submission queue names it; they are deleted in the opposite order.
 * [Base 2.1 §5.2.1, Fig. 474, 475: Create I/O Completion Queue, CDW10, CDW11]
 * [Base 2.1 §5.2.2, Fig. 478, 479: Create I/O Submission Queue, CDW10, CDW11]
 */
#define NVME_CREATE_IO_Q_QID    15, 0  /* queue identifier, from 1 */
#define NVME_CREATE_IO_Q_QSIZE  31, 16 /* entries, 0-based */
#define NVME_CREATE_IO_CQ_PC    0, 0   /* physically contiguous */
#define NVME_CREATE_IO_CQ_IEN   1, 1   /* interrupts enabled */
#define NVME_CREATE_IO_CQ_IV    31, 16 /* interrupt vector */
#define NVME_CREATE_IO_SQ_PC    0, 0   /* physically contiguous */
#define NVME_CREATE_IO_SQ_QPRIO 2, 1   /* priority, NVME_QPRIO_* */
#define NVME_CREATE_IO_SQ_CQID  31, 16 /* where completions go */
#define NVME_DELETE_IO_Q_QID    15, 0  /* queue identifier */

#define NVME_QPRIO_URGENT 0u /* priorities count only with weighted round robin (CC.AMS 1) */
#define NVME_QPRIO_HIGH   1u
#define NVME_QPRIO_MEDIUM 2u
#define NVME_QPRIO_LOW    3u

/* Identify: asks for one 4096-byte structure. [Base 2.1 §5.1.13: Identify] */
#define NVME_IDENTIFY_CNS    7, 0   /* which one, NVME_ID_CNS_* */
#define NVME_IDENTIFY_CNTID  31, 16 /* controller identifier */
#define NVME_IDENTIFY_CNSSID 15, 0  /* CNS specific, e.g. NVM Set */
#define NVME_IDENTIFY_CSI    31, 24 /* command set, NVME_CSI_* */

/* Set Features, Get Features. The value is CDW11 on the way in, CQE dword 0 on the way out.
 * [Base 2.1: Set Features command], [Base 2.1: Get Features command] */
#define NVME_FEATURES_FID     7, 0   /* feature, NVME_FEAT_* */
#define NVME_GET_FEATURES_SEL 10, 8  /* 0 current, 1 default, 2 saved */
#define NVME_SET_FEATURES_SV  31, 31 /* save over power cycles */

/*
 * Feature 07h, Number of Queues: the host asks in CDW11 for I/O queues of both kinds, the
 * controller says in CQE dword 0 how many it grants, which may be less or more. Same layout,
 * both 0-based, so that "no I/O queue" cannot be said. Only before the first queue is created.
 * [Base 2.1: Number of Queues feature]
 */
#define NVME_NUM_QUEUES_NSQ 15, 0  /* I/O submission queues, 0-based */
#define NVME_NUM_QUEUES_NCQ 31, 16 /* I/O completion queues, 0-based */

/*
 * Read, Write, Compare, Write Zeroes: the starting LBA is CDW10 (low) and CDW11 (high), both in
 * logical blocks. NLB is 0-based: a length of 0 cannot be said, FFFFh is 65536 blocks.
 * [NVM 1.1 §3.3.4, Fig. 53: Read, CDW12; §3.3.6, Fig. 70: Write, CDW12]
 */
#define NVME_RW_NLB                15, 0  /* logical blocks, 0-based */
#define NVME_RW_DTYPE              23, 20 /* directive type (Write) */
#define NVME_RW_STC                24, 24 /* storage tag check */
#define NVME_RW_PRINFO             29, 26 /* protection information */
#define NVME_RW_FUA                30, 30 /* force unit access: no cache */
#define NVME_RW_LR                 31, 31 /* limited retry */
#define NVME_RW_SLBA(cdw10, cdw11) ((uint64_t)(cdw11) << 32 | (uint64_t)(cdw10))

/* ---- Identify data structures ---- */

/*
 * One power state, 32 bytes. Power is mp * 0.01 W, or * 0.0001 W if MXPS (flags bit 0) is set.
 * Latencies are in microseconds; 0 is "not reported". The relative numbers are ranks: smaller
 * is better. Scales are in bits 7:6 of ips and aps: 1 is 0.0001 W, 2 is 0.01 W.
 * [Base 2.1 §5.1.13.2.1: Identify Controller, Power State Descriptor]
 */
struct nvme_psd {
	uint16_t mp; /* Maximum Power */
	uint8_t rsvd2;
	uint8_t flags;  /* MXPS [0] max power scale, NOPS [1] non-operational state */
	uint32_t enlat; /* Entry Latency, us */
	uint32_t exlat; /* Exit Latency, us */
	uint8_t rrt;    /* Relative Read Throughput [4:0] */
	uint8_t rrl;    /* Relative Read Latency [4:0] */
	uint8_t rwt;    /* Relative Write Throughput [4:0] */
	uint8_t rwl;    /* Relative Write Latency [4:0] */
	uint16_t idlp;  /* Idle Power, unit from ips */
	uint8_t ips;    /* Idle Power Scale [7:6] */
	uint8_t rsvd19;
	uint16_t actp;       /* Active Power, unit from aps */
	uint8_t aps;         /* Active Power Workload [2:0], Active Power Scale [7:6] */
	uint8_t epfrt;       /* Emergency Power Fail Recovery Time */
	uint8_t fqvt;        /* Forced Quiescence Vault Time */
	uint8_t epfvt;       /* Emergency Power Fail Vault Time */
	uint8_t epfr_fqv_ts; /* scales of EPFRT [3:0] and FQVT [7:4] */
	uint8_t epfvts;      /* scale of EPFVT [3:0] */
	uint8_t rsvd28[4];
};
NVME__SIZE(struct nvme_psd, 32);

/*
 * Identify Controller (CNS 01h), 4096 bytes. Traps: strings are padded with blanks and have no
 * terminating zero; mdts is an exponent in units of the page size CAP.MPSMIN (0: no limit);
 * acl, aerl, elpe, npss, awun, awupf are 0-based; nn is the highest NSID, not a count;
 * temperatures are in kelvin. 128-bit numbers are little-endian pairs: low half first.
 * [Base 2.1 §5.1.13.2.1, Fig. 312: Identify Controller Data Structure]
 */
struct nvme_id_ctrlr {
	/* bytes 0 to 255: capabilities and features */
	uint16_t vid;    /* PCI Vendor ID */
	uint16_t ssvid;  /* PCI Subsystem Vendor ID */
	char sn[20];     /* Serial Number, ASCII, blank padded */
	char mn[40];     /* Model Number, ASCII, blank padded */
	char fr[8];      /* Firmware Revision, ASCII, blank padded */
	uint8_t rab;     /* Recommended Arbitration Burst, 2^n commands */
	uint8_t ieee[3]; /* IEEE OUI Identifier, low byte first */
	uint8_t cmic;    /* Multi-Path I/O and Namespace Sharing Capabilities */
	uint8_t mdts;    /* Maximum Data Transfer Size: 2^n pages of CAP.MPSMIN, 0: no limit */
	uint16_t cntlid; /* Controller ID in the NVM subsystem */
	uint32_t ver;    /* Version, as in register VS */
	uint32_t rtd3r;  /* RTD3 Resume Latency, us */
	uint32_t rtd3e;  /* RTD3 Entry Latency, us: how long a shutdown may take */
	uint32_t oaes;   /* Optional Asynchronous Events Supported */
	uint32_t ctratt; /* Controller Attributes */
	uint16_t rrls;   /* Read Recovery Levels Supported */
	uint8_t bpcap;   /* Boot Partition Capabilities */
	uint8_t rsvd103;
	uint32_t nssl; /* NVM Subsystem Shutdown Latency, us */
	uint8_t rsvd108[2];
	uint8_t plsi;      /* Power Loss Signaling Information */
	uint8_t cntrltype; /* Controller Type: 1 I/O, 2 discovery, 3 administrative */
	uint8_t fguid[16]; /* FRU Globally Unique Identifier */
	uint16_t crdt1;    /* Command Retry Delay Time 1, 100 ms */
	uint16_t crdt2;    /* Command Retry Delay Time 2, 100 ms */
	uint16_t crdt3;    /* Command Retry Delay Time 3, 100 ms */
	uint8_t crcap;     /* Controller Reachability Capabilities */
	uint8_t rsvd135[118];
	uint8_t nvmsr; /* NVM Subsystem Report */
	uint8_t vwci;  /* VPD Write Cycle Information */
	uint8_t mec;   /* Management Endpoint Capabilities */

	/* bytes 256 to 511: admin command set attributes */
	uint16_t oacs;       /* Optional Admin Command Support, NVME_OACS_* */
	uint8_t acl;         /* Abort Command Limit, 0-based */
	uint8_t aerl;        /* Asynchronous Event Request Limit, 0-based */
	uint8_t frmw;        /* Firmware Updates: slot 1 read only [0], slots [3:1] */
	uint8_t lpa;         /* Log Page Attributes */
	uint8_t elpe;        /* Error Log Page Entries, 0-based */
	uint8_t npss;        /* Number of Power States Support, 0-based */
	uint8_t avscc;       /* Admin Vendor Specific Command Configuration */
	uint8_t apsta;       /* Autonomous Power State Transition Attributes */
	uint16_t wctemp;     /* Warning Composite Temperature Threshold, kelvin */
	uint16_t cctemp;     /* Critical Composite Temperature Threshold, kelvin */
	uint16_t mtfa;       /* Maximum Time for Firmware Activation, 100 ms */
	uint32_t hmpre;      /* Host Memory Buffer Preferred Size, 4 KiB */
	uint32_t hmmin;      /* Host Memory Buffer Minimum Size, 4 KiB */
	uint64_t tnvmcap[2]; /* Total NVM Capacity, bytes, 128 bits */
	uint64_t unvmcap[2]; /* Unallocated NVM Capacity, bytes, 128 bits */
	uint32_t rpmbs;      /* Replay Protected Memory Block Support */
	uint16_t edstt;      /* Extended Device Self-test Time, minutes */
	uint8_t dsto;        /* Device Self-test Options */
	uint8_t fwug;        /* Firmware Update Granularity, 4 KiB; 0 unknown, FFh any */
	uint16_t kas;        /* Keep Alive Support: granularity, 100 ms; 0: not supported */
	uint16_t hctma;      /* Host Controlled Thermal Management Attributes */
	uint16_t mntmt;      /* Minimum Thermal Management Temperature, kelvin */
	uint16_t mxtmt;      /* Maximum Thermal Management Temperature, kelvin */
	uint32_t sanicap;    /* Sanitize Capabilities */
	uint32_t hmminds;    /* Host Memory Buffer Minimum Descriptor Entry Size, 4 KiB */
	uint16_t hmmaxd;     /* Host Memory Maximum Descriptors Entries */
	uint16_t nsetidmax;  /* NVM Set Identifier Maximum */
	uint16_t endgidmax;  /* Endurance Group Identifier Maximum */
	uint8_t anatt;       /* ANA Transition Time, seconds */
	uint8_t anacap;      /* Asymmetric Namespace Access Capabilities */
	uint32_t anagrpmax;  /* ANA Group Identifier Maximum */
	uint32_t nanagrpid;  /* Number of ANA Group Identifiers */
	uint32_t pels;       /* Persistent Event Log Size, 64 KiB */
	uint16_t domainid;   /* Domain Identifier */
	uint8_t kpioc;       /* Key Per I/O Capabilities */
	uint8_t rsvd359;
	uint16_t mptfawr; /* Max Processing Time for Firmware Activation Without Reset, 100 ms */
	uint8_t rsvd362[6];
	uint64_t megcap[2]; /* Max Endurance Group Capacity, bytes, 128 bits */
	uint8_t tmpthha;    /* Temperature Threshold Hysteresis Attributes */
	uint8_t rsvd385;
	uint16_t cqt; /* Command Quiesce Time, ms */
	uint8_t rsvd388[124];

	/* bytes 512 to 1023: NVM command set attributes */
	uint8_t sqes;       /* Submission Queue Entry Size, 2^n: required [3:0], maximum [7:4] */
	uint8_t cqes;       /* Completion Queue Entry Size, 2^n: required [3:0], maximum [7:4] */
	uint16_t maxcmd;    /* Maximum Outstanding Commands, 0: not reported */
	uint32_t nn;        /* Number of Namespaces: the highest valid NSID */
	uint16_t oncs;      /* Optional NVM Command Support, NVME_ONCS_* */
	uint16_t fuses;     /* Fused Operation Support: Compare and Write [0] */
	uint8_t fna;        /* Format NVM Attributes */
	uint8_t vwc;        /* Volatile Write Cache: present [0], Flush of all NSIDs [2:1] */
	uint16_t awun;      /* Atomic Write Unit Normal, logical blocks, 0-based */
	uint16_t awupf;     /* Atomic Write Unit Power Fail, logical blocks, 0-based */
	uint8_t icsvscc;    /* I/O Command Set Vendor Specific Command Configuration */
	uint8_t nwpc;       /* Namespace Write Protection Capabilities */
	uint16_t acwu;      /* Atomic Compare and Write Unit, logical blocks, 0-based */
	uint16_t cdfs;      /* Copy Descriptor Formats Supported, bit n: format n */
	uint32_t sgls;      /* SGL Support: [1:0] 0 none, 1 any, 2 dword aligned */
	uint32_t mnan;      /* Maximum Number of Allowed Namespaces, 0: see nn */
	uint64_t maxdna[2]; /* Maximum Domain Namespace Attachments, 128 bits */
	uint32_t maxcna;    /* Maximum I/O Controller Namespace Attachments */
	uint32_t oaqd;      /* Optimal Aggregated Queue Depth */
	uint8_t rhiri;      /* Recommended Host-Initiated Refresh Interval */
	uint8_t hirt;       /* Host-Initiated Refresh Time */
	uint16_t cmmrtd;    /* Controller Maximum Memory Range Tracking Descriptors */
	uint16_t nmmrtd;    /* NVM Subsystem Maximum Memory Range Tracking Descriptors */
	uint8_t minmrtg;    /* Minimum Memory Range Tracking Granularity */
	uint8_t maxmrtg;    /* Maximum Memory Range Tracking Granularity */
	uint8_t trattr;     /* Tracking Attributes */
	uint8_t rsvd577;
	uint16_t mcudmq;  /* Maximum Controller User Data Migration Queues */
	uint16_t mnsudmq; /* Maximum NVM Subsystem User Data Migration Queues */
	uint16_t mcmr;    /* Maximum CDQ Memory Ranges */
	uint16_t nmcmr;   /* NVM Subsystem Maximum CDQ Memory Ranges */
	uint16_t mcdqpc;  /* Maximum Controller Data Queue PRP Count */
	uint8_t rsvd588[180];
	char subnqn[256]; /* NVM Subsystem NVMe Qualified Name, UTF-8, zero terminated */
	uint8_t rsvd1024[768];

	/* bytes 1792 to 2047: fabrics only */
	uint32_t ioccsz; /* I/O Queue Command Capsule Supported Size, 16 bytes */
	uint32_t iorcsz; /* I/O Queue Response Capsule Supported Size, 16 bytes */
	uint16_t icdoff; /* In Capsule Data Offset, 16 bytes */
	uint8_t fcatt;   /* Fabrics Controller Attributes */
	uint8_t msdbd;   /* Maximum SGL Data Block Descriptors, 0: no limit */
	uint16_t ofcs;   /* Optional Fabrics Commands Support */
	uint8_t dctype;  /* Discovery Controller Type */
	uint8_t rsvd1807[241];

	struct nvme_psd psd[32]; /* Power State Descriptors, the first npss + 1 are valid */
	uint8_t vs[1024];        /* Vendor Specific */
};
NVME__SIZE(struct nvme_id_ctrlr, 4096);

#define NVME_ID_SGLS    1, 0 /* of sgls: 0 no SGLs, 1 any, 2 dword aligned */
#define NVME_ID_QES_MIN 3, 0 /* of sqes or cqes: required size, 2^n */
#define NVME_ID_QES_MAX 7, 4 /* of sqes or cqes: maximum size, 2^n */

/*
 * LBA format: a block has 2^lbads bytes of data and ms bytes of metadata. lbads below 9 (512
 * bytes) means that the format is not available. rp is a hint: 0 best to 3 degraded.
 * [NVM 1.1 §4.1.5.1, Fig. 116: LBA Format]
 */
struct nvme_lbaf {
	uint16_t ms;   /* Metadata Size, bytes */
	uint8_t lbads; /* LBA Data Size, 2^n bytes */
	uint8_t rp;    /* Relative Performance [1:0] */
};
NVME__SIZE(struct nvme_lbaf, 4);

/*
 * Identify Namespace (CNS 00h), 4096 bytes, NVM command set. Sizes are in logical blocks of the
 * format that flbas selects. An inactive namespace returns all zeroes. nlbaf is 0-based;
 * nguid and eui64 are big-endian, the only ones here.
 * [NVM 1.1 §4.1.5.1, Fig. 114: Identify Namespace Data Structure]
 */
struct nvme_id_ns {
	uint64_t nsze;   /* Namespace Size, logical blocks: LBAs 0 to nsze - 1 */
	uint64_t ncap;   /* Namespace Capacity, logical blocks that may be allocated */
	uint64_t nuse;   /* Namespace Utilization, logical blocks allocated now */
	uint8_t nsfeat;  /* Namespace Features */
	uint8_t nlbaf;   /* Number of LBA Formats, 0-based */
	uint8_t flbas;   /* Formatted LBA Size: format index [3:0] and [6:5], inline metadata [4] */
	uint8_t mc;      /* Metadata Capabilities */
	uint8_t dpc;     /* End-to-end Data Protection Capabilities */
	uint8_t dps;     /* End-to-end Data Protection Type Settings */
	uint8_t nmic;    /* Namespace Multi-path I/O and Sharing Capabilities */
	uint8_t rescap;  /* Reservation Capabilities */
	uint8_t fpi;     /* Format Progress Indicator */
	uint8_t dlfeat;  /* Deallocate Logical Block Features: what a read returns [2:0] */
	uint16_t nawun;  /* Namespace Atomic Write Unit Normal, 0-based */
	uint16_t nawupf; /* Namespace Atomic Write Unit Power Fail, 0-based */
	uint16_t nacwu;  /* Namespace Atomic Compare and Write Unit, 0-based */
	uint16_t nabsn;  /* Namespace Atomic Boundary Size Normal, 0-based */
	uint16_t nabo;   /* Namespace Atomic Boundary Offset */
	uint16_t nabspf; /* Namespace Atomic Boundary Size Power Fail, 0-based */
	uint16_t noiob;  /* Namespace Optimal I/O Boundary, logical blocks, 0: none */
	uint64_t nvmcap[2]; /* NVM Capacity, bytes, 128 bits */
	uint16_t npwg;      /* Namespace Preferred Write Granularity, 0-based */
	uint16_t npwa;      /* Namespace Preferred Write Alignment, 0-based */
	uint16_t npdg;      /* Namespace Preferred Deallocate Granularity, 0-based */
	uint16_t npda;      /* Namespace Preferred Deallocate Alignment, 0-based */
	uint16_t nows;      /* Namespace Optimal Write Size, 0-based */
	uint16_t mssrl;     /* Maximum Single Source Range Length (Copy), logical blocks */
	uint32_t mcl;       /* Maximum Copy Length, logical blocks */
	uint8_t msrc;       /* Maximum Source Range Count (Copy), 0-based */
	uint8_t kpios;      /* Key Per I/O Status */
	uint8_t nulbaf;     /* Number of Unique Attribute LBA Formats, behind the others in lbaf */
	uint8_t rsvd83;
	uint32_t kpiodaag; /* Key Per I/O Data Access Alignment and Granularity */
	uint8_t rsvd88[4];
	uint32_t anagrpid; /* ANA Group Identifier */
	uint8_t rsvd96[3];
	uint8_t nsattr;            /* Namespace Attributes: write protected [0] */
	uint16_t nvmsetid;         /* NVM Set Identifier */
	uint16_t endgid;           /* Endurance Group Identifier */
	uint8_t nguid[16];         /* Namespace Globally Unique Identifier, big-endian, 0: none */
	uint8_t eui64[8];          /* IEEE Extended Unique Identifier, big-endian, 0: none */
	struct nvme_lbaf lbaf[64]; /* LBA Formats, the first nlbaf + 1 + nulbaf are valid */
	uint8_t vs[3712];          /* Vendor Specific */
};
NVME__SIZE(struct nvme_id_ns, 4096);

/* Index into lbaf: low 4 bits in [3:0], upper 2 bits in [6:5]; never above 63. */
#define NVME_FLBAS_LOW  3, 0 /* format index, bits 3:0 */
#define NVME_FLBAS_HIGH 6, 5 /* format index, bits 5:4 */
#define NVME_FLBAS_INDEX(flbas) \
	(NVME_GET(flbas, NVME_FLBAS_HIGH) << 4 | NVME_GET(flbas, NVME_FLBAS_LOW))
#define NVME_FLBAS_EXT 4, 4 /* metadata follows each block in the data */

/* List of namespace identifiers, ascending, ended by the first 0 if it is not full.
 * [Base 2.1: Namespace List] */
struct nvme_ns_list {
	uint32_t nsid[1024];
};
NVME__SIZE(struct nvme_ns_list, 4096);

/* ============================================================================================
 * >>api
 *
 * Rules that hold for every function, in this book and in the next:
 *  - It returns 0 or a count when it worked and a negative errno when it did not. What the
 *    controller thinks of a command is a different thing: the status in its completion. Blocking
 *    functions return -EIO for a completion with an error status and hand out the completion.
 *  - Functions with _cmd_ in their name submit a command and return at once; its callback runs
 *    inside a later nvme_qpair_process_completions(). The others wait.
 *  - Sizes are bytes, nlb counts blocks (1 means one block), addresses of blocks are LBAs.
 *  - Threads. One queue pair belongs to one thread at a time; different queue pairs may be used
 *    from different threads at once, in asynchronous and in blocking calls, without a lock. DMA
 *    memory (nvme_dma_*) may be used from any thread. Everything else that takes a struct
 *    nvme_ctrlr (admin commands, creating and deleting queue pairs, Format, blocking calls without
 *    a queue pair) belongs to one thread at a time, and nvme_detach() to the last. Only to reset a
 *    controller, and to connect a queue pair again after that, is any thread's.
 *  - Buffers of _cmd_ functions must be DMA memory (nvme_dma_alloc or nvme_dma_register). A
 *    transfer stays inside the buffer that it starts in, whole pages of it; what would leave it is
 *    refused with -EFAULT. From submission to callback the buffer belongs to the controller, and no
 *    callback runs while the controller can still reach it. Blocking functions take any memory.
 *  - Callbacks. Each runs exactly once, at the latest inside nvme_detach(). A callback may submit
 *    commands, use DMA memory and ask for what is known. It must not poll its own queue pair, nor
 *    free it, nor make blocking calls on it: these are refused with -EBUSY, and so is in a callback
 *    of an admin command whatever needs the admin queue (creating and deleting queue pairs, Format,
 *    nvme_ctrlr_admin), in any callback nvme_detach(), and in one that nvme_detach() runs all of
 *    them; submissions get -ESHUTDOWN there.
 *  - A misuse that gets a negative errno is explained by one sentence in the log, at level error.
 *
 * Blocking calls, raw commands, Format and what is known of a controller or namespace: >>more.
 * ============================================================================================ */

struct nvme_ctrlr; /* one attached controller */
struct nvme_ns;    /* a namespace: lives as long as the controller, also when it is deleted */
struct nvme_qpair; /* a submission queue with its completion queue */

/* ---- log ---- */

enum nvme_log_level {
	/* the environment's NVME_LOG, or notice */
	NVME_LOG_DEFAULT = 0,
	/* what failed, why, and how to mend it */
	NVME_LOG_ERROR = 1,
	/* worked, but not as asked */
	NVME_LOG_WARNING = 2,
	/* commands that ended with an error status */
	NVME_LOG_NOTICE = 3,
	/* what was found and chosen */
	NVME_LOG_INFO = 4,
	/* every state, command, PRP entry and completion */
	NVME_LOG_DEBUG = 5
};

/* Receives one finished line (prefix included, no newline). Must not call the driver. */
typedef void (*nvme_log_fn)(void *arg, enum nvme_log_level level, const char *line);

#ifndef NVME_TEXT_ONLY

/* ---- finding controllers ---- */

#ifndef NVME_NO_VFIO
struct nvme_pci_info {
	char addr[24];   /* "0000:01:00.0": domain:bus:device.function */
	char driver[32]; /* kernel driver bound to it: "nvme", "vfio-pci", "" for none */
	uint16_t vendor_id;
	uint16_t device_id;
	uint16_t subsystem_vendor_id;
	uint16_t subsystem_device_id;
	uint8_t revision_id;
	uint32_t class_code; /* base class, sub-class, programming interface: 010802h is NVMe */
	int iommu_group;     /* -1: none */
	int numa_node;       /* -1: unknown */
};

/*
 * Lists the NVMe controllers (PCI class 01h:08h:02h) of this machine. Fills at most max entries
 * of list and returns how many there are (possibly more than max), or a negative errno.
 */
NVMEDEF int nvme_pci_enumerate(struct nvme_pci_info *list, int max);
#endif

/* ---- attach and detach ---- */

/*
 * A device as the driver sees it: a window of registers and an address space for DMA. The vfio
 * access below is built in; a table of one's own (a simulator, another transport) goes into the
 * options. open() fills in the fields; the driver never looks into priv.
 */
#define NVME_MAX_IOVA_RANGES 16

struct nvme_iova_range {
	uint64_t start, last; /* both inclusive */
};

struct nvme_dev_ops;
struct nvme_trace;

struct nvme_dev {
	const struct nvme_dev_ops *ops;
	void *priv;    /* belongs to the access table */
	char name[24]; /* for the log: a PCI address in its full form */
	/* What PCI says of it, as in struct nvme_pci_info; 0 where there is no PCI. */
	uint16_t vendor_id;
	uint16_t device_id;
	uint16_t subsystem_vendor_id;
	uint16_t subsystem_device_id;
	uint8_t revision_id;
	uint32_t class_code;
	volatile uint8_t *bar0; /* registers mapped into this process, or NULL */
	size_t bar0_mapped;     /* bytes from bar0 on that plain loads and stores can reach */
	size_t bar0_size;       /* bytes of the register window */
	size_t page_size;       /* granularity of dma_map(): a power of two */
	struct nvme_iova_range iova[NVME_MAX_IOVA_RANGES]; /* usable for DMA, ascending */
	unsigned int num_iova;
	const struct nvme_log *log; /* set by the driver before open(); NULL: standard error */
	size_t dma_window;          /* bytes that nvme_dma_alloc() may come to map; set likewise */
};

/* What a device is told of beside its queues: each has an eventfd, see >>removal. */
enum nvme_dev_event {
	/* the system wants the device back */
	NVME_DEV_REQUEST,
	/* its bus has reported an error after which it is not to be relied on */
	NVME_DEV_ERROR,
	NVME_DEV_EVENTS
};

struct nvme_dev_ops {
	const char *name; /* "vfio" */
	/*
	 * Opens the device called addr and fills in *dev. One that fails explains it in the log and
	 * leaves nothing behind: there is no close() after it.
	 */
	int (*open)(struct nvme_dev *dev, const char *addr);
	/* Undoes open(). */
	void (*close)(struct nvme_dev *dev);
	/*
	 * Lets the device reach len bytes at vaddr under the address iova (whole pages). Both are
	 * called from any thread, but never two at a time. One dma_unmap() may cover several
	 * mappings that follow each other.
	 */
	int (*dma_map)(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova);
	int (*dma_unmap)(struct nvme_dev *dev, uint64_t iova, size_t len);
	/* Registers beyond bar0_mapped. */
	uint32_t (*read_4)(struct nvme_dev *dev, uint32_t offset);
	void (*write_4)(struct nvme_dev *dev, uint32_t offset, uint32_t value);
	/* Resets the PCI function and leaves bus mastering on. NULL: not possible. */
	int (*reset)(struct nvme_dev *dev);
	/* Nanoseconds of a clock that never goes back. NULL: CLOCK_MONOTONIC. */
	uint64_t (*now_ns)(struct nvme_dev *dev);
	/*
	 * Has the device signal interrupt vector i by writing to the eventfd fds[i]. Called while
	 * CC.EN is 0, and with num 0 before close(). Returns for how many vectors, from 0 on, it
	 * does so: 1 to num; -ENOTSUP if for none. NULL: no interrupts.
	 */
	int (*set_interrupts)(struct nvme_dev *dev, const int *fds, unsigned int num);
	/*
	 * Of a BAR, 0 to 5: its size, and its address on the bus, 0 if that is not known. -ENODEV: no
	 * such BAR. NULL: BARs beyond the registers cannot be reached, nor can what is in them.
	 */
	int (*get_bar)(struct nvme_dev *dev, unsigned int bar, uint64_t *bus_addr, uint64_t *size);
	/* Maps len bytes at offset of a BAR until close(), once at most. NULL if get_bar() is. */
	int (*map_bar)(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
	               void **vaddr);
	/*
	 * Has enum nvme_dev_event i signalled by a write to the eventfd fds[i]. Called before the
	 * first register is read, and with NULL before close(). 0, also if some of them cannot come;
	 * a negative errno if none can. NULL: none can.
	 */
	int (*set_events)(struct nvme_dev *dev, const int *fds);
};

/* Every field may be 0, which means the default. */
struct nvme_ctrlr_opts {
	uint32_t admin_queue_size; /* entries, 2..4096; default 32 */
	uint32_t num_io_queues;    /* queue pairs to ask the controller for; default 8 */
	uint32_t admin_timeout_ms; /* after which an admin command is late; default 30000 */
	uint32_t io_timeout_ms;    /* and an I/O command, in blocking calls, too; default 30000 */
	uint32_t arb_mechanism;    /* NVME_CC_AMS_RR, or NVME_CC_AMS_WRR for queue priorities */
	size_t dma_window;         /* bytes nvme_dma_alloc() can give in all; default 1 GiB
	                                    * of addresses (128 MiB where they have 32 bits,
	                                    * 16 MiB in WebAssembly), backed by memory only
	                                    * as it is used */
	enum nvme_log_level log_level;
	nvme_log_fn log; /* default: standard error */
	void *log_arg;
	const struct nvme_dev_ops *dev_ops; /* default: vfio */
	struct nvme_trace *trace;           /* default: as NVME_TRACE says, or none */
	bool interrupts; /* completions raise interrupts, see nvme_qpair_get_fd(); -ENOTSUP where
	                  * the device or the system has none */
	bool shadow_doorbells; /* doorbells of I/O queues go to memory, and to the register only when
	                        * the controller asks for it, for one in software that polls;
	                        * -ENOTSUP where it has no Doorbell Buffer Config command */
	bool use_cmb_sqs; /* sq_in_cmb for all I/O queue pairs that have no sq of the caller's; -ENOTSUP
	                   * where the controller has no memory for them */
	uint32_t retry_count; /* how often a command is sent again whose status may pass, 1..255, or
	                       * NVME_RETRY_NEVER; default 5 */
	bool no_ladder; /* without a timeout callback nothing is done about late commands and fatal
	                 * errors, see nvme_ctrlr_register_timeout_callback() */
	uint32_t keep_alive_timeout_ms; /* 0: none; else a Keep Alive is sent in time, see >>more */
	bool read_error_log; /* look up what has more to tell (M) in the error log, see >>more */
};

/*
 * Takes over the controller at a PCI address ("0000:01:00.0", "01:00.0" for domain 0, or a
 * transport id, "trtype:PCIe traddr:0000:01:00.0"), which must be bound to vfio-pci, and brings it
 * to the point where namespaces are known and queue pairs can be created. opts may be NULL. On
 * failure the device is left disabled, *ctrlr is NULL and the log holds one sentence with the cause
 * and the way out. -EINVAL bad address or options, -ENODEV no such device or it is gone, -ENOTSUP
 * not an NVMe controller or one that this driver cannot use, -EBUSY in use by another driver or
 * process, -EACCES no permission, -EPERM the kernel does not let this device be used (no interrupt
 * remapping, for instance), -EMFILE too many open files, -ENOMEM no memory to lock, -ENOSPC no DMA
 * addresses, -ETIMEDOUT not ready in time, -EIO failed. Other codes are those of an open() of one's
 * own.
 */
NVMEDEF int nvme_attach(const char *addr, const struct nvme_ctrlr_opts *opts,
                        struct nvme_ctrlr **ctrlr);

/*
 * Deletes the queue pairs that are left, shuts the controller down in an orderly way (so that its
 * cache is safe on the medium), disables it and releases everything. Callbacks of commands that are
 * still outstanding run with the status ABORTED - SQ DELETION, when the controller can reach their
 * data no more: those of a queue when it is deleted, the rest when the controller is disabled and
 * its DMA memory unmapped. NULL is allowed. Returns 0, or -EBUSY when called from a callback
 * (nothing is released then), or -ETIMEDOUT, -EIO or -ENODEV when the controller did not finish its
 * shutdown: it is released then too, but what it held in its cache may be lost. It waits for a
 * shutdown as long as the controller asks (RTD3E), at least 10 seconds and at most 60.
 */
NVMEDEF int nvme_detach(struct nvme_ctrlr *ctrlr);

/* ---- DMA memory ---- */

/* These functions may be called from any thread, at any time from attach to detach. */

/* Zeroed memory that the controller can reach, whole pages. NULL: none left, the log says why. */
NVMEDEF void *nvme_dma_alloc(struct nvme_ctrlr *ctrlr, size_t size);
/* Gives memory of nvme_dma_alloc() back. No command may be using it. NULL is allowed. */
NVMEDEF void nvme_dma_free(struct nvme_ctrlr *ctrlr, void *buf);

/*
 * Makes memory of the caller's own reachable: vaddr and len must be whole pages. The controller
 * can read and write all of it until it is unregistered, which no command may be using it for.
 * -EINVAL not whole pages or overlapping, -ENOSPC too many regions, -ENOMEM not enough lockable
 * memory, -ESHUTDOWN in a callback that nvme_detach() runs.
 */
NVMEDEF int nvme_dma_register(struct nvme_ctrlr *ctrlr, void *vaddr, size_t len);
NVMEDEF int nvme_dma_unregister(struct nvme_ctrlr *ctrlr, void *vaddr);

/*
 * The address under which the controller sees len bytes at vaddr. -EFAULT: not DMA memory for data,
 * or not all in one buffer.
 */
NVMEDEF int nvme_dma_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                          uint64_t *iova);

/* ---- queue pairs ---- */

/* Memory of the caller's own: DMA memory, see >>connect. */
struct nvme_queue_memory {
	void *vaddr; /* NULL: the driver takes memory of its own */
	size_t len;  /* bytes */
};

/* Every field may be 0, which means the default. */
struct nvme_io_qpair_opts {
	uint32_t entries;       /* 2..65536, one of them stays empty; default 256; the controller's
	                        * limit CAP.MQES reduces it */
	uint32_t qprio;         /* NVME_QPRIO_*; only with arb_mechanism NVME_CC_AMS_WRR */
	uint32_t max_xfer_size; /* bytes of the largest command; sizes the PRP lists; default: what
	                         * the controller allows, at most 2 MiB */
	bool delay_cmd_submit;  /* ring the SQ doorbell once for many commands: at the next
	                         * nvme_qpair_process_completions(), when half the ring waits, or
	                         * by nvme_qpair_ring(); a doorbell is an exit in a virtual machine */
	bool stats;             /* count, for nvme_qpair_get_stats() */
	bool create_only;       /* the controller is told by nvme_ctrlr_connect_io_qpair() */
	bool resubmit;          /* after a reset connect by itself, and send again what does the
	                         * same twice: reads, writes and flushes, but no copies */
	bool retry_in_order;    /* take nothing new (-EAGAIN) while a command is tried again */
	struct nvme_queue_memory sq, cq; /* where the rings are to be */
	bool sq_in_cmb; /* the submission queue is in the controller's memory, see >>cmb; -ENOTSUP
	                 * where it has none for that, -ENOSPC where there is no room left */
};

/* Creates a completion queue and its submission queue. opts may be NULL. */
NVMEDEF int nvme_ctrlr_alloc_io_qpair(struct nvme_ctrlr *ctrlr,
                                      const struct nvme_io_qpair_opts *opts,
                                      struct nvme_qpair **qp);
/*
 * Deletes the submission queue, then the completion queue, and releases their memory. Commands that
 * are outstanding get their callback when the submission queue is deleted. -EBUSY: called where it
 * must not be (see the rules for callbacks); the queue pair is still the caller's. After any other
 * error it is not: the controller did not confirm the deletion and may still use rings and data, so
 * these, and callbacks that did not run, wait for nvme_detach(). The handle is void either way.
 */
NVMEDEF int nvme_ctrlr_free_io_qpair(struct nvme_qpair *qp);

/* Runs when the command is complete. cpl is valid during the call. See the rules for callbacks. */
typedef void (*nvme_cmd_cb)(void *arg, const struct nvme_cpl *cpl);

/*
 * Reaps at most max completions (0: all that are there, at most one lap of the ring) and runs their
 * callbacks. Returns how many completions there were, with those of commands that are tried again;
 * -ENXIO when the queue has failed (its controller sent completions that make no sense) or a reset was
 * its end (see reset in >>more), -EIO when the controller has failed, -ENODEV when it is gone, -EBUSY
 * in a callback of the same queue pair. Waits only where it finds that the controller has to be reset.
 */
NVMEDEF int nvme_qpair_process_completions(struct nvme_qpair *qp, uint32_t max);

/* ---- reads and writes ---- */

#define NVME_IO_FLAGS_FUA           (1u << 30) /* force unit access: on the medium, not in a cache */
#define NVME_IO_FLAGS_LIMITED_RETRY (1u << 31)

/*
 * Submits one read or write of nlb blocks at slba. buf must hold nlb times
 * nvme_ns_get_extended_sector_size() bytes and be dword aligned. -EINVAL nlb is 0 or a flag is
 * unknown, -ERANGE past the end of the namespace, -EMSGSIZE more than one command can carry (see
 * nvme_ns_get_max_nlb), -EFAULT buf is not DMA memory, not aligned or too small, -ENOTSUP the
 * metadata of the namespace is separate from its data (see nvme_ns_cmd_read_with_md), -EBUSY the
 * namespace is being formatted, -ENOENT it is not there any more, -EAGAIN the queue is full:
 * process completions first, -ENXIO, -EIO or -ENODEV the queue has failed (-ENXIO also: it is not
 * connected, or a reset was its end), -ESHUTDOWN it is being deleted.
 */
NVMEDEF int nvme_ns_cmd_read(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                             uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags);
NVMEDEF int nvme_ns_cmd_write(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                              uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags);
NVMEDEF int nvme_ns_cmd_flush(struct nvme_ns *ns, struct nvme_qpair *qp, nvme_cmd_cb cb, void *arg);

#endif /* NVME_TEXT_ONLY */

#ifdef __cplusplus
}
#endif

#endif /* NVME_H */

/* ############################################################################################
 * BOOK 1, THE IMPLEMENTATION. From here on: how it works.
 * ############################################################################################ */
#if defined(NVME_IMPLEMENTATION) && !defined(NVME_TEXT_ONLY) && !defined(NVME__BOOK1)
#define NVME__BOOK1 /* once, even if another header includes this one again */

#ifndef __wasi__
#include <sys/mman.h>
#endif
#include <time.h>

#if defined(__wasi__) && !(defined(NVME_NO_VFIO) && defined(NVME_NO_TRACE))
#error "nvme.h: WASI has neither PCI nor files to map: compile with -DNVME_NO_VFIO -DNVME_NO_TRACE"
#elif !defined(CLOCK_MONOTONIC) || (!defined(MAP_ANONYMOUS) && !defined(__wasi__))
#error "nvme.h: include nvme.h before any other header where NVME_IMPLEMENTATION is defined, or compile with -D_GNU_SOURCE"
#else /* without what follows, which would only add errors to this one */

#define NVME__IMPLEMENTED

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if !defined(__wasi__) || defined(_REENTRANT)
#define NVME__THREADS
#include <pthread.h>
#endif
#ifndef NVME_NO_VFIO
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif
#ifndef NVME_NO_VFIO
#include <pci/pci.h>
#endif

#ifndef ESHUTDOWN /* it is not in POSIX: the number that Linux has */
#define ESHUTDOWN 108
#endif
#ifndef NVME_ASSERT
#define NVME_ASSERT(x) assert(x)
#endif
#ifndef NVME_CALLOC
#define NVME_CALLOC(n, size) calloc((n), (size))
#define NVME_FREE(p)         free(p)
#endif

/* Where there are no threads, nobody has to wait for another. */
#ifdef NVME__THREADS
typedef pthread_mutex_t nvme__mutex;
#define nvme__mutex_init(m)    ((void)pthread_mutex_init((m), NULL))
#define nvme__mutex_destroy(m) ((void)pthread_mutex_destroy(m))
#define nvme__mutex_lock(m)    ((void)pthread_mutex_lock(m))
#define nvme__mutex_unlock(m)  ((void)pthread_mutex_unlock(m))
#define nvme__mutex_trylock(m) (pthread_mutex_trylock(m) == 0)
#else
typedef char nvme__mutex;
#define nvme__mutex_init(m)    ((void)(m))
#define nvme__mutex_destroy(m) ((void)(m))
#define nvme__mutex_lock(m)    ((void)(m))
#define nvme__mutex_unlock(m)  ((void)(m))
#define nvme__mutex_trylock(m) ((void)(m), true)
#endif

#define nvme__likely(x)   __builtin_expect(!!(x), 1)
#define nvme__unlikely(x) __builtin_expect(!!(x), 0)

/*
 * For the functions that every command passes through: one piece of code in an optimised build,
 * real functions for a debugger to stop at in a build without optimisation.
 */
#ifdef __OPTIMIZE__
#define NVME__HOT static inline __attribute__((always_inline))
#else
#define NVME__HOT static __attribute__((unused))
#endif
#define NVME__COLD static __attribute__((noinline))
/* Cold, but on the way to the device: the test of the barriers looks into it. */
#ifndef NVME__ASIDE
#define NVME__ASIDE NVME__COLD
#endif

/* Bytes of a page of the host's memory: 4, 16 or 64 KiB. Tests put another number here. */
#ifndef NVME__HOST_PAGE_SIZE
#define NVME__HOST_PAGE_SIZE ((size_t)sysconf(_SC_PAGESIZE))
#endif

/* ============================================================================================
 * >>state
 *
 * What the driver remembers. Everything that lives here is private to the process; what the
 * controller reads and writes (rings, PRP lists, buffers) is in DMA memory and only pointed to:
 *
 *	what                    who writes it            who reads it
 *	submission queue (SQ)   the driver, at the tail  the controller, at its head
 *	completion queue (CQ)   the controller           the driver, at the head
 *	doorbells (registers)   the driver               the controller
 *	PRP list                the driver               the controller
 *	data of a write         the caller               the controller
 *	data of a read          the controller           the caller
 *
 * Until its doorbell is rung an SQE is the driver's, after that the controller's, until the CQE
 * with its CID is there. A queue pair and all that hangs on it belong to one thread.
 * ============================================================================================ */

/* Who has a piece of the DMA arena: nobody, the driver for rings and PRP lists, or data. */
enum nvme__extent_use { NVME__EXTENT_FREE, NVME__EXTENT_RING, NVME__EXTENT_BUFFER };

/* A piece of the DMA arena. The list is in the order of addresses. */
struct nvme__extent {
	struct nvme__extent *next;
	size_t offset, len;
	enum nvme__extent_use use;
};

/*
 * The DMA arena: a window of addresses reserved once, in this process and in the IOMMU, and backed
 * with memory step by step. The IOVA of a byte is its offset in the window plus a constant.
 *
 * left[] tells for each page how many bytes of the same buffer there are from its start on; 0: no
 * data may go there, since the page is free or holds a ring or PRP lists. All of it is changed
 * under ctrlr->dma_lock. left[] alone is also read without it, to check a transfer: who submits one
 * owns the buffer, so its entries stand still.
 */
struct nvme__arena {
	uint8_t *base;
	uint64_t iova;
	size_t window;    /* bytes reserved */
	size_t mapped;    /* bytes that are memory and mapped for the device, from the start */
	size_t dirty;     /* of these, bytes that were handed out once: the rest is still zero */
	size_t page;      /* every piece starts and ends at a multiple of this, a power of two */
	size_t page_mask; /* page - 1 */
	unsigned int page_shift;
	size_t *left;
	struct nvme__extent *extents;
};

/*
 * Memory of the caller's, registered for DMA. A slot never moves. Its version is even while it is
 * empty and odd while it holds a region, and changes each time: other threads, which look for
 * theirs without a lock, notice that it was reused.
 */
struct nvme__region {
	uint32_t version;
	uint8_t *vaddr;
	size_t len;
	uint64_t iova __attribute__((aligned(8))); /* for atomic access on 32-bit machines, too */
};

#define NVME__MAX_REGIONS 64

/*
 * One command on its way: who waits for it, and the command as it was sent, for the log and to know
 * whether it has data (PRP1 is not 0).
 */
struct nvme_tracker {
	struct nvme_cmd cmd;
	uint64_t prp_list_iova;
	uint64_t *prp_list;             /* this tracker's own, in DMA memory */
	struct nvme_tracker *next_free; /* valid while it is free, or waits */
	nvme_cmd_cb cb;
	void *cb_arg;
	uint32_t outstanding; /* 0: free, 1: on its way, more: what the watch noted, see >>watch */
	uint16_t cid;         /* its index among the trackers of the queue pair, for ever */
	uint8_t retries;      /* how often it was sent again, see >>retry */
	bool waiting;         /* for due_ms, to be sent again, in the list of next_free */
	uint32_t due_ms;
	uint8_t unused[44 - 4 * sizeof(void *)]; /* of 128 bytes: its address is a shift */
};
NVME__SIZE(struct nvme_tracker, 128);

/*
 * Where the data of a blocking call is, when the caller's memory is no DMA memory. After a timeout
 * it stays lent until the late completion, or until the controller is off.
 */
struct nvme__bounce {
	uint8_t *buf;
	size_t len;
	bool lent;
};

#define NVME__BOUNCES         4   /* for one queue pair, each of at most its max_xfer_size bytes */

/*
 * What submitting and reaping do besides the usual, as bits of one word, qp->unusual, that is
 * tested once on either way. What Book 2 adds to the path of a command hangs on it.
 */
#define NVME__UNUSUAL_VERBOSE 1u  /* commands are printed or recorded */
#define NVME__UNUSUAL_DELAY   2u  /* the doorbell waits for the next poll */
#define NVME__UNUSUAL_SHADOW  4u  /* doorbells go to memory first */
#define NVME__UNUSUAL_STATS   8u  /* all of it is counted */
#define NVME__UNUSUAL_RETRY   16u /* a command was sent again, or waits for that */
#define NVME__UNUSUAL_CMB     32u /* the ring is copied to the controller's memory */

/* How often the watch looks at a queue pair. */
struct nvme__watch {
	uint64_t last_ms, looked_ms; /* when it read the clock last, and looked */
	uint32_t every;              /* polls until it reads the clock again */
};

struct nvme_qpair {
	/* the submission queue: the driver writes at the tail, the controller reads at its head */
	struct nvme_cmd *sq;
	uint32_t sq_tail;
	uint32_t sq_tdbl;               /* byte offset of the SQ tail doorbell in BAR0 ... */
	volatile uint32_t *sq_doorbell; /* ... and where it is mapped, or NULL */

	/* the completion queue: the controller writes, the driver reads at the head */
	struct nvme_cpl *cq;
	uint32_t cq_head;
	uint32_t cq_hdbl; /* byte offset of the CQ head doorbell, and where it is */
	volatile uint32_t *cq_doorbell;
	uint32_t phase; /* what the phase bit of a new CQE looks like in this lap: 1 or 0 */

	/* the commands: the CID of one is the index of its tracker */
	uint16_t id;
	uint32_t entries; /* of each ring */
	uint32_t num_trackers;
	uint32_t num_free;
	struct nvme_tracker *free; /* a list: the CID that was free last is used first */
	struct nvme_tracker *trackers;

	uint32_t max_xfer_size;
	uint32_t list_pages;   /* PRP list pages of one tracker */
	uint32_t list_entries; /* entries in the first of them */
	uint32_t watch_in;     /* polls until the watch looks, see >>watch */
	uint32_t bad_cqes;     /* in all its life */
	uint32_t cqes_seen; /* for the recorder: there when it looked at the clock, not yet taken */
	uint32_t unusual;   /* NVME__UNUSUAL_*: what submissions do besides the usual; 0: nothing */
	uint32_t delayed;   /* commands in the ring that the controller has not heard of */
	int polling;        /* not 0: callbacks of this queue pair are running */
	int refuse;         /* 0, or the negative errno that submissions get */
	int failed;         /* 0, or the negative errno that polls get: the queue is given up */
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *next;
	uint64_t sq_iova, cq_iova;
	size_t sq_shadow, cq_shadow; /* where its doorbells are in the pages of >>shadow */
	uint8_t *lists;              /* DMA memory of all PRP lists */
	uint32_t qprio;
	struct nvme__bounce bounce[NVME__BOUNCES];
	struct nvme__scatter *scatter;    /* see >>scatter; NULL: not needed yet */
	struct nvme__op *ops;             /* of >>commands: those that are not in use */
	bool disconnected;                /* the controller knows nothing of it, see >>connect */
	bool lost;                        /* a reset made the controller forget it, see >>reset */
	struct nvme__watch watch;         /* see >>watch */
	struct nvme_tracker *retry_first; /* those that wait to be sent again, see >>retry */
	uint32_t num_retried;             /* commands on their way that were sent again */
	bool resubmit, retry_in_order;    /* as in the options */
	bool own_sq, own_cq;              /* these rings are the caller's memory */
	uint8_t *cmb_sq;                  /* its copy for the controller, see >>cmb */
	struct nvme_qpair_stats *counted; /* NULL: nothing is counted */
	struct nvme_poll_group *group;    /* NULL: none, see >>groups */
	struct nvme_qpair *group_next;
};

struct nvme_ns {
	struct nvme_ctrlr *ctrlr;
	uint32_t id;
	uint32_t sector_size;
	uint32_t extended_sector_size;
	uint32_t noiob;         /* preferred boundary in blocks, 0: none */
	uint32_t max_nlb;       /* of one command; 0 while plain reads and writes are refused */
	uint32_t limit;         /* what max_nlb is otherwise */
	bool separate_metadata; /* needs MPTR: plain reads and writes cannot serve it */
	uint8_t csi;            /* its command set, NVME_CSI_* */
	int refuse;             /* 0, -EBUSY: it is being changed, -ENOENT: it was there once */
	uint64_t nsze;          /* blocks */
	uint64_t zone_size;     /* blocks; 0: it has no zones, see >>zones */
	struct nvme_id_ns data;
	uint8_t eui64[8], nguid[16], uuid[16];
};

#define NVME__MAX_NS 1024u /* namespaces kept of what a device reports */

/*
 * The stations of bring-up, with the names that SPDK logs for them; an admin command has two, as
 * SPDK sends it in one and waits in the other. They are logged, so that the logs can be compared,
 * and named in errors; nothing else depends on them.
 */
enum nvme_ctrlr_state {
	NVME_CTRLR_STATE_INIT_DELAY,
	NVME_CTRLR_STATE_READ_VS,
	NVME_CTRLR_STATE_READ_CAP,
	NVME_CTRLR_STATE_CHECK_EN,
	NVME_CTRLR_STATE_DISABLE_WAIT_FOR_READY_1,
	NVME_CTRLR_STATE_SET_EN_0,
	NVME_CTRLR_STATE_DISABLE_WAIT_FOR_READY_0,
	NVME_CTRLR_STATE_DISABLED,
	NVME_CTRLR_STATE_CONNECT_ADMINQ,
	NVME_CTRLR_STATE_ENABLE,
	NVME_CTRLR_STATE_ENABLE_WAIT_FOR_READY_1,
	NVME_CTRLR_STATE_RESET_ADMIN_QUEUE,
	NVME_CTRLR_STATE_IDENTIFY,
	NVME_CTRLR_STATE_WAIT_FOR_IDENTIFY,
	NVME_CTRLR_STATE_SET_NUM_QUEUES,
	NVME_CTRLR_STATE_WAIT_FOR_SET_NUM_QUEUES,
	NVME_CTRLR_STATE_IDENTIFY_ACTIVE_NS,
	NVME_CTRLR_STATE_WAIT_FOR_IDENTIFY_ACTIVE_NS,
	NVME_CTRLR_STATE_IDENTIFY_NS,
	NVME_CTRLR_STATE_WAIT_FOR_IDENTIFY_NS,
	NVME_CTRLR_STATE_IDENTIFY_ID_DESCS,
	NVME_CTRLR_STATE_WAIT_FOR_IDENTIFY_ID_DESCS,
	NVME_CTRLR_STATE_READY,
	NVME_CTRLR_STATE_ERROR
};

/* What is logged, and where to. */
struct nvme_log {
	enum nvme_log_level level;
	nvme_log_fn fn;
	void *arg;
	bool verbose;             /* commands are printed or recorded: one test for both */
	uint8_t ctrlr;            /* number of the controller in the recorder's file */
	struct nvme_trace *trace; /* NULL: nothing is recorded */
};

#define NVME__GONE     1 /* registers read as no controller's do: nothing is written any more */
#define NVME__ASKED    2 /* the system wants it back: no I/O is begun any more, see >>removal */
#define NVME__BUS_FAIL 4 /* its bus has reported an error: it counts as failed */

#define NVME__QUIRK_NO_ABORT 1u /* Abort is answered, and does nothing */
#define NVME__QUIRK_NO_SHST  2u /* CSTS.SHST never says that the shutdown is complete */

/* What happens when a command is late, and what has happened. */
struct nvme__ladder {
	/* the caller's own, instead of the rungs: nvme_timeout_cb */
	void (*cb)(void *arg, struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, uint16_t cid);
	void *arg;
	uint32_t io_ms, admin_ms; /* when a command is late; 0: never */
	uint32_t resets;          /* in a row that helped nothing */
	uint32_t total;           /* how often the controller has forgotten its queues */
	uint64_t last_reset_ms;
	uint32_t quirks; /* NVME__QUIRK_* of this device */
	int failed;      /* not 0: the controller was given up */
	bool stands;     /* the bring-up is done */
	bool told_admin; /* cb runs for an admin command; under admin_lock */
};

struct nvme_ctrlr {
	struct nvme_dev dev;
	struct nvme_log log;
	struct nvme_ctrlr_opts opts;
	enum nvme_ctrlr_state state;
	int gone;     /* NVME__GONE and others: 0 while all is well */
	bool closing; /* nvme_detach() is at work: callbacks can start nothing new */
	bool cut_off; /* no memory is mapped for the device any more */

	uint64_t cap;
	uint32_t vs;
	uint32_t page_size; /* what CC.MPS says, in bytes: 1 << page_shift */
	unsigned int page_shift;
	uint32_t ready_timeout; /* CAP.TO or CRTO.CRWMT, ms */
	uint32_t max_xfer_size;
	uint32_t max_append; /* bytes, what ZASL says, see >>zones; 0: not known yet */
	uint32_t num_io_queues;
	struct nvme_id_ctrlr data;
	uint8_t *id_page; /* where Identify puts its data, in DMA memory; NULL: none yet */

	nvme__mutex admin_lock; /* recursive: the admin queue, the lists here, resets: see >>ladder */
	struct nvme_qpair *adminq;
	struct nvme_qpair *io_qpairs; /* a list, in no order */
	struct nvme_qpair *zombies; /* those that the controller may still use: they end with it */
	struct nvme_qpair *sync_qp; /* of the blocking helpers */
	uint8_t *shadow;            /* two pages, see >>shadow; NULL: not used */
	struct nvme__cmb *cmb;      /* its own memory, see >>cmb; NULL: it has none */
	int *irq_fds;               /* an eventfd for each interrupt vector; NULL: none are used */
	uint32_t num_irqs;
	struct nvme__ladder ladder;    /* see >>ladder */
	struct nvme__removal *removal; /* see >>removal */

	struct nvme_ns *ns[NVME__MAX_NS]; /* ascending, with those that were there once */
	uint32_t num_ns;
	bool ns_changing; /* a command that changes namespaces was sent: identify them after it */
	struct nvme__events *events; /* see >>events; NULL: none are asked for */
	bool paused;                 /* new I/O is held: firmware is being activated */
	bool abrupt;                 /* how it is shut down, see >>power */

	nvme__mutex dma_lock;
	struct nvme__arena arena;
	struct nvme__region regions[NVME__MAX_REGIONS];
	uint32_t num_regions; /* slots that were ever in use */
};

/* ============================================================================================
 * >>hooks
 *
 * All that this book calls in the other two, so that a reader knows where it leaves the path. None
 * of it is needed to understand what follows: the log and the record watch, explanations end a step
 * that has failed, the arena says who has which piece of DMA memory.
 * ============================================================================================ */

/* ---- log ---- */

/* Where a line comes from, so that an explanation bears the name of the step that it explains. */
#define NVME__HERE           __LINE__, __func__

#ifdef NVME_NO_TRACE
#define NVME__TRACING(log) false
#else
#define NVME__TRACING(log) ((log)->trace != NULL)
#endif

/* The arguments are evaluated only when the line will be printed or recorded. */
#define NVME__LOG(log, lvl, ...)                                                          \
	do {                                                                              \
		if (nvme__unlikely((log)->level >= (lvl) || NVME__TRACING(log)))          \
			nvme__log_write((log), (lvl), "nvme.h", __LINE__, __func__, NULL, \
			                __VA_ARGS__);                                     \
	} while (0)

/* The same, with the name of the device in front. */
#define NVME__DEV_LOG(dev, lvl, ...)                                                               \
	do {                                                                                       \
		const struct nvme_log *nvme__l = nvme__log_of(dev);                                \
		if (nvme__unlikely(nvme__l->level >= (lvl) || NVME__TRACING(nvme__l)))             \
			nvme__log_write(nvme__l, (lvl), "nvme.h", __LINE__, __func__, (dev)->name, \
			                __VA_ARGS__);                                              \
	} while (0)

static const struct nvme_log *nvme__log_of(const struct nvme_dev *dev);
static void nvme__log_write(const struct nvme_log *log, enum nvme_log_level level, const char *file,
                            int line, const char *func, const char *ctx, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));
static void nvme__log_state(struct nvme_ctrlr *ctrlr, uint64_t timeout_ms, int line,
                            const char *func);

/* ---- what goes into the record, and with the debug log on to be read at once ---- */

static void nvme__trace_attach(const struct nvme_ctrlr *ctrlr);
static void nvme__trace_detach(const struct nvme_ctrlr *ctrlr);
NVME__COLD void nvme__trace_reg(const struct nvme_dev *dev, bool write, uint32_t offset,
                                uint32_t val);
static void nvme__trace_dma(const struct nvme_dev *dev, const void *vaddr, uint64_t iova,
                            size_t len);

/* ---- options, and memory ---- */

static int nvme__ctrlr_set_opts(struct nvme_ctrlr *ctrlr, const struct nvme_ctrlr_opts *user);
static int nvme__ctrlr_check_qpair_opts(struct nvme_ctrlr *ctrlr, struct nvme_io_qpair_opts *opts);
#ifndef NVME_NO_VFIO
static int nvme__pci_parse_trid(const char *text, char *addr, size_t size);
#endif
static void *nvme__reserve(size_t size, bool usable);
static int nvme__back(void *at, size_t size, bool usable);
static int nvme__iova_alloc(const struct nvme_ctrlr *ctrlr, uint64_t len, uint64_t *iova);
static void *nvme__dma_take(struct nvme_ctrlr *ctrlr, size_t size, enum nvme__extent_use use);
static void nvme__dma_give_back(struct nvme_ctrlr *ctrlr, void *at, enum nvme__extent_use use);
static void nvme__dma_cut_off(struct nvme_ctrlr *ctrlr);
static void nvme__arena_fini(struct nvme_ctrlr *ctrlr);
static void nvme__bounce_free(struct nvme_qpair *qp);
NVME__COLD uint64_t nvme__region_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                                      uint8_t opc);

/* ---- what is not usual ---- */

NVME__COLD void nvme__submit_unusual(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                     const void *buf, uint32_t len);
static void nvme__ring_delayed(struct nvme_qpair *qp);
NVME__COLD void nvme__poll_unusual(struct nvme_qpair *qp);
NVME__COLD bool nvme__cq_doorbell_unusual(struct nvme_qpair *qp, uint32_t count);
NVME__COLD bool nvme__end_unusual(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                  const struct nvme_cpl *cpl);
NVME__COLD int nvme__qpair_watch(struct nvme_qpair *qp);
NVME__COLD int nvme__qpair_poll_failed(struct nvme_qpair *qp);
static bool nvme__qpair_end_lost(struct nvme_qpair *qp);
static void nvme__ctrlr_init_lock(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_lock(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_unlock(struct nvme_ctrlr *ctrlr);
static int nvme__qpair_set_more(struct nvme_qpair *qp, const struct nvme_io_qpair_opts *opts);
static void nvme__qpair_drop_more(struct nvme_qpair *qp);
static void nvme__qpair_leave_group(struct nvme_qpair *qp);
static int nvme__ctrlr_init_more(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_fini_events(struct nvme_ctrlr *ctrlr);
static void nvme__qpair_init_shadow(struct nvme_qpair *qp);
static int nvme__ctrlr_init_cmb(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_fini_cmb(struct nvme_ctrlr *ctrlr);
static int nvme__submit_io(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                           const struct nvme_cmd *cmd, void *buf, uint32_t len, nvme_cmd_cb cb,
                           void *arg);
static int nvme__ctrlr_refuse_call(struct nvme_ctrlr *ctrlr, const char *what);
NVME__COLD int nvme__refuse_rw(const struct nvme_ns *ns, const struct nvme_qpair *qp, uint64_t slba,
                               uint32_t nlb, uint32_t io_flags, nvme_cmd_cb cb);
static void nvme__cpl_set_none(struct nvme_cpl *cpl, uint16_t qid);
static void nvme__qpair_drain(struct nvme_qpair *qp);
static void nvme__qpair_abort_outstanding(struct nvme_qpair *qp, bool with_data);
static int nvme__ctrlr_init_removal(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_fini_removal(struct nvme_ctrlr *ctrlr);
static int nvme__ctrlr_init_interrupts(struct nvme_ctrlr *ctrlr);
static void nvme__ctrlr_fini_interrupts(struct nvme_ctrlr *ctrlr);
static uint32_t nvme__qpair_interrupt(const struct nvme_qpair *qp);
static int nvme__ctrlr_list_more_ns(struct nvme_ctrlr *ctrlr, uint32_t last);
static int nvme__ns_identify_names(struct nvme_ns *ns);
static struct nvme_ns *nvme__ctrlr_ns_slot(struct nvme_ctrlr *ctrlr, uint32_t nsid);
static void nvme__ctrlr_remove_ns(struct nvme_ctrlr *ctrlr, const uint32_t *nsids, int found);

/* ---- explanations: one sentence, cause and remedy; the errno that the step returns comes back ---- */

static int nvme__explain_gone(struct nvme_ctrlr *ctrlr, int line, const char *func);
static void nvme__explain_reserve(struct nvme_ctrlr *ctrlr, size_t size, int line,
                                  const char *func);
static int nvme__explain_no_iova(struct nvme_ctrlr *ctrlr, size_t window, int rc, int line,
                                 const char *func);
static int nvme__explain_window_full(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__explain_no_memory(struct nvme_ctrlr *ctrlr, size_t len, int rc, int line,
                                   const char *func);
NVME__COLD int nvme__explain_buffer(const struct nvme_qpair *qp, const void *buf, uint32_t len,
                                    int rc, int line, const char *func);
static int nvme__explain_failed(struct nvme_qpair *qp, int line, const char *func);
static void nvme__explain_bad_cqe(struct nvme_qpair *qp, const struct nvme_cpl *cpl,
                                  const char *what, int line, const char *func);
NVME__COLD int nvme__explain_in_callback(const struct nvme_qpair *qp, const char *what, int line,
                                         const char *func);
NVME__COLD int nvme__explain_timeout(const struct nvme_qpair *qp, uint32_t timeout_ms, int line,
                                     const char *func);
static int nvme__explain_no_version(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__explain_page_size(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__explain_cap(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__explain_no_wrr(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__explain_ready(struct nvme_ctrlr *ctrlr, int rc, int line, const char *func);
static int nvme__explain_shutdown(struct nvme_ctrlr *ctrlr, uint64_t timeout, int line,
                                  const char *func);
static int nvme__explain_no_identify(struct nvme_ctrlr *ctrlr, int rc, int line, const char *func);
static int nvme__explain_entry_size(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__warn_no_io_queues(struct nvme_ctrlr *ctrlr, int line, const char *func);
static int nvme__warn_ns_list(struct nvme_ctrlr *ctrlr, uint32_t n, uint32_t nsid, int line,
                              const char *func);
static int nvme__warn_ns_format(const struct nvme_ns *ns, int line, const char *func);
static int nvme__explain_create_reset(struct nvme_ctrlr *ctrlr, uint16_t qid, int line,
                                      const char *func);
static int nvme__explain_create(struct nvme_ctrlr *ctrlr, const char *what, int rc,
                                const struct nvme_cpl *cpl, int line, const char *func);
static int nvme__explain_no_qpair(struct nvme_ctrlr *ctrlr, int line, const char *func);
static void nvme__explain_buried(struct nvme_qpair *qp, int rc, int line, const char *func);

#ifndef NVME_NO_VFIO
static int nvme__vfio_set_interrupts(struct nvme_dev *dev, const int *fds, unsigned int num);
static int nvme__vfio_get_bar(struct nvme_dev *dev, unsigned int bar, uint64_t *bus_addr,
                              uint64_t *size);
static int nvme__vfio_map_bar(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
                              void **vaddr);
static int nvme__vfio_set_events(struct nvme_dev *dev, const int *fds);
static int nvme__explain_no_group(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_files(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_driver(struct nvme_dev *dev, const char *driver, int line,
                                const char *func);
static int nvme__explain_address(struct nvme_dev *dev, const char *addr, int line,
                                 const char *func);
static int nvme__explain_no_device(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_class(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_container(struct nvme_dev *dev, int rc, int line, const char *func);
static int nvme__explain_vfio_version(struct nvme_dev *dev, int version, int line,
                                      const char *func);
static int nvme__explain_no_type1(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_group(struct nvme_dev *dev, int group_id, const char *path, int rc,
                               int line, const char *func);
static int nvme__explain_not_viable(struct nvme_dev *dev, int group_id, int line, const char *func);
static int nvme__explain_iommu(struct nvme_dev *dev, int rc, int line, const char *func);
static int nvme__explain_device(struct nvme_dev *dev, int rc, int line, const char *func);
static int nvme__explain_region(struct nvme_dev *dev, uint32_t index, int line, const char *func);
static int nvme__explain_bar0_size(struct nvme_dev *dev, uint64_t size, int line, const char *func);
static int nvme__warn_bar0_unmapped(struct nvme_dev *dev, int error, int line, const char *func);
static int nvme__explain_config(struct nvme_dev *dev, int line, const char *func);
static int nvme__explain_dma_map(struct nvme_dev *dev, const void *vaddr, size_t len, int rc,
                                 int line, const char *func);
static void nvme__explain_write(struct nvme_dev *dev, uint32_t offset, int line, const char *func);
#endif
/* ============================================================================================
 * >>regs
 *
 * All register access of the driver goes through these functions. `volatile` keeps the compiler
 * from leaving out, joining or repeating an access. 64-bit registers are read and written in two
 * halves, low half first, which every platform can do [Base 2.1 §3.1.4: Controller properties].
 * ============================================================================================ */

/*
 * What the host wrote to memory must be there before the device hears of it by the next store, that
 * of a doorbell. The barriers of C11 and __sync_synchronize() order memory among processors; a
 * store to a device is another kind of store on some of them:
 *	x86      keeps the order of all stores: it is enough to stop the compiler
 *	aarch64  dmb oshst: stores before stores, as seen from the outer shareable domain, where
 *	         devices are; C11 uses ish, that of the processors
 *	armv7    dsb st: older than the rule that all observers see one order of stores, so this
 *	         waits until the stores are complete
 *	riscv    fence ow,ow: w is memory, o is output to a device; C11 uses rw,rw, without o
 *	ppc64    sync: neither lwsync nor eieio orders memory against device
 * Elsewhere: the strongest that the compiler knows.
 */
#if defined(NVME_WMB)
#elif defined(__x86_64__) || defined(__i386__)
#define NVME_WMB() __asm__ volatile("" ::: "memory")
#elif defined(__aarch64__)
#define NVME_WMB() __asm__ volatile("dmb oshst" ::: "memory")
#elif defined(__ARM_ARCH) && __ARM_ARCH >= 7
#define NVME_WMB() __asm__ volatile("dsb st" ::: "memory")
#elif defined(__riscv)
#define NVME_WMB() __asm__ volatile("fence ow, ow" ::: "memory")
#elif defined(__powerpc__)
#define NVME_WMB() __asm__ volatile("sync" ::: "memory")
#else
#define NVME_WMB() __sync_synchronize()
#endif

/*
 * What the host reads next is not older than what it read before, both from memory that the device
 * writes: the phase first, then the rest. x86 reads in order; aarch64: dmb oshld, loads before all
 * that follows; armv7 has no such kind and uses dmb osh, for all; riscv: fence r,rw; ppc64: lwsync,
 * since both are memory.
 */
#if defined(NVME_RMB)
#elif defined(__x86_64__) || defined(__i386__)
#define NVME_RMB() __asm__ volatile("" ::: "memory")
#elif defined(__aarch64__)
#define NVME_RMB() __asm__ volatile("dmb oshld" ::: "memory")
#elif defined(__ARM_ARCH) && __ARM_ARCH >= 7
#define NVME_RMB() __asm__ volatile("dmb osh" ::: "memory")
#elif defined(__riscv)
#define NVME_RMB() __asm__ volatile("fence r, rw" ::: "memory")
#elif defined(__powerpc__)
#define NVME_RMB() __asm__ volatile("lwsync" ::: "memory")
#else
#define NVME_RMB() __sync_synchronize()
#endif

/*
 * How the phase is read before NVME_RMB(). The barrier is what orders the reads; ThreadSanitizer
 * sees no barrier, but it sees an acquiring load, so it gets one as well.
 */
#define NVME__PHASE_ORDER __ATOMIC_RELAXED
#if defined(__SANITIZE_THREAD__)
#undef NVME__PHASE_ORDER
#define NVME__PHASE_ORDER __ATOMIC_ACQUIRE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef NVME__PHASE_ORDER
#define NVME__PHASE_ORDER __ATOMIC_ACQUIRE
#endif
#endif

/*
 * Registers are accessed at their size and in place, in dwords [Base 2.1 §3.1.4: Controller
 * properties].
 */
NVME__HOT void nvme_mmio_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t val)
{
	if (nvme__likely(offset < dev->bar0_mapped))
		*(volatile uint32_t *)(volatile void *)(dev->bar0 + offset) = val;
	else
		dev->ops->write_4(dev, offset, val);
}

NVME__HOT uint32_t nvme_mmio_read_4(struct nvme_dev *dev, uint32_t offset)
{
	uint32_t val;

	if (nvme__likely(offset < dev->bar0_mapped))
		val = *(volatile uint32_t *)(volatile void *)(dev->bar0 + offset);
	else
		val = dev->ops->read_4(dev, offset);
	if (nvme__unlikely(dev->log->verbose))
		nvme__trace_reg(dev, false, offset, val);
	return val;
}

/* Where a doorbell is mapped into this process, or NULL [PCIe 1.1 §3.1.2: Doorbells]. */
static volatile uint32_t *nvme__doorbell(const struct nvme_dev *dev, uint32_t offset)
{
	return offset < dev->bar0_mapped
	               ? (volatile uint32_t *)(volatile void *)(dev->bar0 + offset)
	               : NULL;
}

/* Out of line, which keeps the call through the table out of the hot path. */
NVME__ASIDE void nvme__doorbell_unmapped(struct nvme_dev *dev, uint32_t offset, uint32_t val)
{
	nvme_mmio_write_4(dev, offset, val);
}

/*
 * A doorbell is a plain store where it is mapped [PCIe 1.1 §3.1.2: Doorbells]. It is not recorded
 * here: the rings know more of it.
 */
NVME__HOT void nvme__doorbell_write(struct nvme_dev *dev, volatile uint32_t *doorbell,
                                    uint32_t offset, uint32_t val)
{
	if (nvme__likely(doorbell != NULL))
		*doorbell = val;
	else
		nvme__doorbell_unmapped(dev, offset, val);
}

/* A register that is no doorbell. */
static void nvme__reg_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t val)
{
	if (dev->log->verbose)
		nvme__trace_reg(dev, true, offset, val);
	nvme_mmio_write_4(dev, offset, val);
}

/* ASQ and ACQ: the low half first [Base 2.1 §3.1.4.9, §3.1.4.10: ASQ, ACQ]. */
static void nvme__reg_write_8(struct nvme_dev *dev, uint32_t offset, uint64_t val)
{
	nvme__reg_write_4(dev, offset, (uint32_t)val);
	nvme__reg_write_4(dev, offset + 4, (uint32_t)(val >> 32));
}

/* CAP, which does not change meanwhile [Base 2.1 §3.1.4.1, Fig. 36: Controller Capabilities]. */
static uint64_t nvme_mmio_read_8(struct nvme_dev *dev, uint32_t offset)
{
	uint64_t low = nvme_mmio_read_4(dev, offset);

	return low | (uint64_t)nvme_mmio_read_4(dev, offset + 4) << 32;
}

/* ---- a device that is not there ---- */

/*
 * Any queue's thread may find out that the device is gone, when a register reads as all ones, which
 * is no value of CSTS [Base 2.1 §3.1.4.6, Fig. 42: Controller Status].
 */
static int nvme__ctrlr_is_gone(const struct nvme_ctrlr *ctrlr)
{
	return __atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED) & NVME__GONE;
}

/* A register has read so. What happens to the device after that is no news any more. */
NVME__COLD int nvme__ctrlr_set_gone(struct nvme_ctrlr *ctrlr)
{
	if ((__atomic_fetch_or(&ctrlr->gone, NVME__GONE, __ATOMIC_RELAXED) & NVME__GONE) == 0)
		nvme__explain_gone(ctrlr, NVME__HERE);
	return -ENODEV;
}

/*
 * CSTS with its two bad omens. A device that was pulled out, or whose link is down, reads as all
 * ones; CSTS.CFS says that the controller has given up [Base 2.1 §3.1.4.6, Fig. 42: Controller
 * Status]. Either ends every wait at once.
 */
static int nvme__ctrlr_check_csts(struct nvme_ctrlr *ctrlr, uint32_t *csts)
{
	*csts = nvme__ctrlr_is_gone(ctrlr) ? UINT32_MAX
	                                   : nvme_mmio_read_4(&ctrlr->dev, NVME_REG_CSTS);
	if (*csts == UINT32_MAX)
		return nvme__ctrlr_set_gone(ctrlr);
	return NVME_GET(*csts, NVME_CSTS_CFS) != 0 ? -EIO : 0;
}

/*
 * CC, before it is changed: all ones must not be written back [Base 2.1 §3.1.4.5, Fig. 41:
 * Controller Configuration].
 */
static int nvme__ctrlr_read_cc(struct nvme_ctrlr *ctrlr, uint32_t *cc)
{
	if (nvme__ctrlr_is_gone(ctrlr))
		return -ENODEV;
	*cc = nvme_mmio_read_4(&ctrlr->dev, NVME_REG_CC);
	return *cc == UINT32_MAX ? nvme__ctrlr_set_gone(ctrlr) : 0;
}

/* ============================================================================================
 * >>dma
 *
 * The controller does not know this process's addresses. It reads and writes IOVAs, which the
 * IOMMU turns into physical pages for those ranges that this process has mapped for the device.
 *
 * There is one arena for each controller: a window of addresses, reserved here and in IOVA space
 * in one piece, so that translation is a subtraction. Memory comes to it step by step. Rings, PRP
 * lists and buffers are taken from it in whole pages, so that no two of them share a page and a
 * device that strays from one does not fall into another. Who has which piece, and memory of the
 * caller's own, is >>arena in Book 2.
 * ============================================================================================ */

/*
 * The default: 1 GiB. Where addresses have 32 bits, a part of what there is: 128 MiB. WebAssembly
 * cannot reserve addresses without memory: 16 MiB.
 */
#ifdef __wasm__
#define NVME__DMA_WINDOW ((size_t)16 << 20)
#else
#define NVME__DMA_WINDOW ((size_t)1 << (sizeof(void *) > 4 ? 30 : 27))
#endif
/* How much is mapped at a time: each mapping is a system call. */
#define NVME__DMA_STEP ((size_t)256 << 10)

/* The two places where memory is mapped for the device and unmapped again; both are recorded. */
static int nvme__dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	int rc = dev->ops->dma_map(dev, vaddr, len, iova);

	if (rc == 0)
		nvme__trace_dma(dev, vaddr, iova, len);
	return rc;
}

static int nvme__dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	int rc = dev->ops->dma_unmap(dev, iova, len);

	if (rc == 0)
		nvme__trace_dma(dev, NULL, iova, len);
	return rc;
}

static uint64_t nvme__round_up(uint64_t n, uint64_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

/* Addresses. usable: memory comes to a page when it is first touched; else by nvme__back(). */
static void *nvme__arena_reserve(struct nvme_ctrlr *ctrlr, size_t size, bool usable)
{
	void *at = nvme__reserve(size, usable);

	if (at == NULL)
		nvme__explain_reserve(ctrlr, size, NVME__HERE);
	return at;
}

/*
 * Reserves the addresses; memory comes later. IOVA 0 is never among them, since PRP2 = 0 has to
 * mean that there is none [Base 2.1 §4.3.1: PRP entry and list].
 */
static int nvme__arena_init(struct nvme_ctrlr *ctrlr)
{
	struct nvme__arena *a = &ctrlr->arena;
	size_t window = ctrlr->opts.dma_window;
	int rc;

	a->page = ctrlr->dev.page_size > ctrlr->page_size ? ctrlr->dev.page_size : ctrlr->page_size;
	a->page_mask = a->page - 1;
	a->page_shift = (unsigned int)__builtin_ctzll(a->page);
	window = (size_t)nvme__round_up(window, a->page);
	rc = nvme__iova_alloc(ctrlr, window, &a->iova);
	if (rc != 0)
		return nvme__explain_no_iova(ctrlr, window, rc, NVME__HERE);
	a->base = (uint8_t *)nvme__arena_reserve(ctrlr, window, false);
	if (a->base == NULL)
		return -ENOMEM;
	a->window = window;
#ifdef MADV_DONTFORK /* a fork would make pages copy-on-write, and parent and device part ways */
	madvise(a->base, window, MADV_DONTFORK);
#endif
	a->left = (size_t *)nvme__arena_reserve(ctrlr, (window >> a->page_shift) * sizeof(*a->left),
	                                        true);
	return a->left != NULL ? 0 : -ENOMEM;
}

/*
 * Backs the next bytes of the window with memory and lets the device reach them: whole pages of the
 * host, of the IOMMU and of the controller [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration].
 */
static int nvme__arena_grow(struct nvme_ctrlr *ctrlr, size_t need)
{
	struct nvme__arena *a = &ctrlr->arena;
	size_t step = need > NVME__DMA_STEP ? need : NVME__DMA_STEP;
	uint8_t *at = a->base + a->mapped;
	int rc;

	if (step > a->window - a->mapped)
		step = a->window - a->mapped;
	if (step < need)
		return nvme__explain_window_full(ctrlr, NVME__HERE);
	rc = nvme__back(at, step, true);
	if (rc != 0)
		return nvme__explain_no_memory(ctrlr, step, rc, NVME__HERE);
	rc = nvme__dma_map(&ctrlr->dev, at, step, a->iova + a->mapped);
	if (rc != 0) {
		(void)nvme__back(at, step, false);
		return rc;
	}
	a->mapped += step;
	return 0;
}

/* ---- what the driver takes for itself ---- */

/*
 * Rings and PRP lists: whole pages that no data may be read into. A ring has to begin at a page and
 * to be in one piece, since PC is 1 [Base 2.1 §5.2.1, Fig. 475: Create I/O Completion Queue].
 */
static void *nvme__ring_alloc(struct nvme_ctrlr *ctrlr, size_t size)
{
	return nvme__dma_take(ctrlr, size, NVME__EXTENT_RING);
}

/*
 * Of memory of the driver's own, which has no room for data: what goes into ASQ, ACQ and PRP1 of
 * the commands that create queues [Base 2.1 §5.2.2: Create I/O Submission Queue].
 */
static uint64_t nvme__ring_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr)
{
	return ctrlr->arena.iova + (uint64_t)((const uint8_t *)vaddr - ctrlr->arena.base);
}

/* ---- translation, in any thread and without a lock ---- */

/*
 * Translation is a subtraction: below the window the difference wraps and fails the same test. What
 * would leave the buffer that it starts in is refused: behind it there are rings, or other buffers.
 * len is at most SIZE_MAX / 2. Addresses in one piece here are in one piece there, so that the
 * pages of a buffer follow each other in its PRPs [Base 2.1 §4.3.1: PRP entry and list]. opc: what
 * it is for, since not all memory is for all commands; 0: not known.
 */
NVME__HOT int nvme__dma_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                             uint8_t opc, uint64_t *iova)
{
	const struct nvme__arena *a = &ctrlr->arena;
	size_t offset = (size_t)((uintptr_t)vaddr - (uintptr_t)a->base), room;

	if (nvme__unlikely(offset >= a->window)) {
		uint64_t at = nvme__region_iova(ctrlr, vaddr, len, opc);

		if (at == 0)
			return -EFAULT;
		*iova = at;
		return 0;
	}
	room = __atomic_load_n(&a->left[offset >> a->page_shift], __ATOMIC_RELAXED);
	if (nvme__unlikely((offset & a->page_mask) + len > room))
		return -EFAULT;
	*iova = a->iova + offset;
	return 0;
}

/* ============================================================================================
 * >>queue
 *
 * A queue is a ring of slots in host memory [Base 2.1: Memory-based Transport Queue Model (PCIe)].
 * The producer owns the tail, the consumer the head; head == tail means empty, so one slot always
 * stays free.
 *
 *	SQ: the driver writes a 64-byte command at the tail and announces the new tail with the SQ
 *	    tail doorbell; the controller tells how far it has read in the SQHD field of each CQE.
 *	CQ: the controller writes a 16-byte completion at its tail and inverts the phase bit with
 *	    every lap; the driver takes entries as long as the phase is the expected one and hands
 *	    the slots back with the CQ head doorbell. No register needs to be read for that.
 *
 * This driver keeps fewer commands outstanding than the ring has slots, 65535 at most. The controller
 * fetches in order, so a free CID implies a free slot, and SQHD need not be believed; and FFFFh, which
 * is not for commands, is never a CID.
 * ============================================================================================ */

/*
 * Puts the tail on the wire: the index of the slot after the last command, not a count of commands
 * [PCIe 1.1 §3.1.2.1: SQyTDBL]. The SQE must be in memory before the controller hears of it.
 */
NVME__HOT void nvme_ring_sq_doorbell(struct nvme_qpair *qp)
{
	NVME_WMB();
	nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
}

/*
 * Hands the slots before the head back to the controller [PCIe 1.1 §3.1.2.2: CQyHDBL]: count of
 * them since it last was told. No barrier: the host has written nothing that the controller is to
 * read, and what was read from the slots has decided branches on the way here.
 */
NVME__HOT void nvme_ring_cq_doorbell(struct nvme_qpair *qp, uint32_t count)
{
	if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
		return;
	if (nvme__likely(!nvme__ctrlr_is_gone(qp->ctrlr)))
		nvme__doorbell_write(&qp->ctrlr->dev, qp->cq_doorbell, qp->cq_hdbl, qp->cq_head);
}

/* ---- the commands of a queue pair ---- */

/*
 * Takes a free CID. NULL: as many commands are outstanding as the queue has room for. A CID is
 * unique among the outstanding commands of its queue [Base 2.1 §4.1.1, Fig. 91: Command Dword 0].
 */
NVME__HOT struct nvme_tracker *nvme__tracker_get(struct nvme_qpair *qp, nvme_cmd_cb cb, void *arg)
{
	struct nvme_tracker *tr;

	tr = qp->free;
	if (nvme__unlikely(tr == NULL))
		return NULL;
	qp->free = tr->next_free;
	qp->num_free--;
	tr->outstanding = 1;
	tr->cb = cb;
	tr->cb_arg = arg;
	return tr;
}

/*
 * After its completion the CID may be used again [Base 2.1 §4.2.1, Fig. 98: Completion Queue
 * Entry].
 */
NVME__HOT void nvme__tracker_put(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	tr->outstanding = 0;
	tr->next_free = qp->free;
	qp->free = tr;
	qp->num_free++;
}

/* ---- building and taking apart ---- */

/* polls before the watch looks first: it finds its own pace */
#define NVME__WATCH_FIRST         1024

/*
 * Does it take commands (0, or the negative errno that they get), and does it give completions?
 * Atomic, since another thread may reset the controller.
 */
static void nvme__qpair_set_refuse(struct nvme_qpair *qp, int refuse)
{
	__atomic_store_n(&qp->refuse, refuse, __ATOMIC_RELAXED);
}

static void nvme__qpair_set_failed(struct nvme_qpair *qp, int rc)
{
	nvme__qpair_set_refuse(qp, rc);
	__atomic_store_n(&qp->failed, rc, __ATOMIC_RELEASE);
}

NVME__HOT int nvme__qpair_failed(const struct nvme_qpair *qp)
{
	return __atomic_load_n(&qp->failed, __ATOMIC_RELAXED);
}

/*
 * What a command gets before anything else is looked at: 0, or why this queue pair sends none. The
 * admin queue works on while the device is asked for: queues are to be deleted.
 */
static int nvme__qpair_refusal(const struct nvme_qpair *qp)
{
	int refuse = __atomic_load_n(&qp->refuse, __ATOMIC_RELAXED);
	int gone = __atomic_load_n(&qp->ctrlr->gone, __ATOMIC_RELAXED);

	if (refuse != 0 || gone == 0)
		return refuse;
	if ((gone & (NVME__GONE | NVME__BUS_FAIL)) == NVME__BUS_FAIL)
		return -EIO;
	return (gone & NVME__GONE) != 0 || qp->id != 0 ? -ENODEV : 0;
}

/*
 * Empty rings. Phase 1 for the first lap, which is why the completion queue is zeroed [Base 2.1
 * §4.2.4, Fig. 108: Phase Tag].
 */
static void nvme__qpair_reset_rings(struct nvme_qpair *qp)
{
	memset(qp->sq, 0, qp->entries * sizeof(*qp->sq));
	memset(qp->cq, 0, qp->entries * sizeof(*qp->cq));
	qp->sq_tail = qp->cq_head = qp->delayed = 0;
	qp->bad_cqes = 0;
	qp->watch_in = NVME__WATCH_FIRST;
	qp->phase = 1;
	qp->lost = false;
	nvme__qpair_set_failed(qp, 0);
}

/* Back to the state after creation: empty rings, all CIDs free. */
static void nvme__qpair_reset(struct nvme_qpair *qp)
{
	uint32_t i;

	nvme__qpair_reset_rings(qp);
	qp->num_free = qp->num_trackers;
	qp->free = NULL;
	for (i = qp->num_trackers; i-- > 0;) { /* CID 0 comes first */
		qp->trackers[i].cid = (uint16_t)i;
		qp->trackers[i].outstanding = 0;
		qp->trackers[i].next_free = qp->free;
		qp->free = &qp->trackers[i];
	}
}

/*
 * All that the controller could reach. It must have let go of the queues: they are deleted, or
 * CC.EN is 0 [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration].
 */
static void nvme__qpair_free_memory(struct nvme_qpair *qp)
{
	nvme__bounce_free(qp);
	nvme__qpair_drop_more(qp);
	nvme__dma_give_back(qp->ctrlr, qp->lists, NVME__EXTENT_RING);
	nvme__dma_give_back(qp->ctrlr, qp->cq, NVME__EXTENT_RING);
	nvme__dma_give_back(qp->ctrlr, qp->sq, NVME__EXTENT_RING);
}

static void nvme__qpair_destroy(struct nvme_qpair *qp)
{
	nvme__qpair_free_memory(qp);
	NVME_FREE(qp->scatter);
	NVME_FREE(qp->trackers);
	NVME_FREE(qp);
}

/*
 * Bytes of one tracker's PRP list (see >>prp): a power of two, so that none crosses a page, or
 * whole pages, each but the last with one entry less, for its link to the next [Base 2.1 §4.3.1:
 * PRP entry and list]. 64 bytes at least: a line of the cache.
 */
static uint32_t nvme__prp_list_bytes(uint32_t max_xfer_size, uint32_t page_size, uint32_t *pages)
{
	/*
	 * a buffer that starts inside a page touches one more, but the first page is not in the
	 * list
	 */
	uint32_t entries = (max_xfer_size + page_size - 1) / page_size;
	uint32_t per_page = page_size / 8;
	uint32_t bytes = 64;

	*pages = 1;
	if (entries > per_page)
		*pages = (entries - 2) / (per_page - 1) + 1;
	if (*pages > 1)
		return *pages * page_size;
	while (bytes < entries * 8)
		bytes *= 2;
	return bytes;
}

/*
 * The memory of both rings and of all PRP lists, and the trackers beside it. Entries of the one
 * ring have 64 bytes, of the other 16 [Base 2.1 §4.1.1, Fig. 92: Common Command Format], [Base 2.1
 * §4.2.1, Fig. 96: Completion Queue Entry].
 */
static int nvme__qpair_alloc_memory(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	uint32_t i, bytes;

	bytes = nvme__prp_list_bytes(qp->max_xfer_size, ctrlr->page_size, &qp->list_pages);
	/* an SGL may stand in its place, whose descriptors are twice as large */
	if (NVME_GET(ctrlr->data.sgls, NVME_ID_SGLS) != 0 && bytes < ctrlr->page_size)
		bytes *= 2;
	qp->trackers = (struct nvme_tracker *)NVME_CALLOC(qp->num_trackers, sizeof(*qp->trackers));
	qp->list_entries = (bytes < ctrlr->page_size ? bytes : ctrlr->page_size) / 8;
	if (qp->trackers == NULL)
		return -ENOMEM;
	/* one after the other: why there is no memory need be said once only */
	qp->sq = (struct nvme_cmd *)nvme__ring_alloc(ctrlr, qp->entries * sizeof(*qp->sq));
	if (qp->sq != NULL)
		qp->cq = (struct nvme_cpl *)nvme__ring_alloc(ctrlr, qp->entries * sizeof(*qp->cq));
	if (qp->cq != NULL)
		qp->lists = (uint8_t *)nvme__ring_alloc(ctrlr, (size_t)qp->num_trackers * bytes);
	if (qp->lists == NULL)
		return -ENOMEM;
	qp->sq_iova = nvme__ring_iova(ctrlr, qp->sq);
	qp->cq_iova = nvme__ring_iova(ctrlr, qp->cq);
	for (i = 0; i < qp->num_trackers; i++) {
		uint8_t *list = qp->lists + (size_t)i * bytes;

		qp->trackers[i].prp_list = (uint64_t *)(void *)list;
		qp->trackers[i].prp_list_iova = nvme__ring_iova(ctrlr, list);
	}
	return 0;
}

/*
 * Builds the host's side of a queue pair. Both doorbells of queue id have their place among those
 * of all queues, CAP.DSTRD apart [PCIe 1.1 §3.1.2: Doorbells].
 */
static int nvme_qpair_construct(struct nvme_ctrlr *ctrlr, uint16_t id, uint32_t entries,
                                uint32_t max_xfer_size, struct nvme_qpair **out)
{
	struct nvme_qpair *qp = (struct nvme_qpair *)NVME_CALLOC(1, sizeof(*qp));
	uint32_t dstrd = NVME_GET(ctrlr->cap, NVME_CAP_DSTRD);
	int rc;

	if (qp == NULL)
		return -ENOMEM;
	qp->ctrlr = ctrlr;
	qp->id = id;
	qp->entries = entries;
	qp->num_trackers = entries - 1;
	qp->max_xfer_size = max_xfer_size;
	qp->sq_tdbl = NVME_SQ_TDBL(id, dstrd);
	qp->cq_hdbl = NVME_CQ_HDBL(id, dstrd);
	qp->sq_doorbell = nvme__doorbell(&ctrlr->dev, qp->sq_tdbl);
	qp->cq_doorbell = nvme__doorbell(&ctrlr->dev, qp->cq_hdbl);
	qp->unusual = ctrlr->log.verbose ? NVME__UNUSUAL_VERBOSE : 0;
	nvme__qpair_init_shadow(qp);
	rc = nvme__qpair_alloc_memory(qp);
	if (rc != 0) {
		nvme__qpair_destroy(qp);
		return rc;
	}
	nvme__qpair_reset(qp);
	NVME__LOG(&ctrlr->log, NVME_LOG_INFO, "qid:%u entries = %u num_trackers = %u", id, entries,
	          qp->num_trackers);
	*out = qp;
	return 0;
}

/* ============================================================================================
 * >>prp
 *
 * A PRP entry is the address of one memory page. Only the first may point inside its page; the
 * transfer then goes on at the start of the page that the next entry names [Base 2.1 §4.3.1: PRP
 * entry and list]. A command has room for two:
 *
 *	1 page     PRP1 = the buffer                    PRP2 = 0
 *	2 pages    PRP1 = the buffer                    PRP2 = the second page
 *	3 or more  PRP1 = the buffer                    PRP2 = the PRP list: second, third, ... page
 *
 * A list that does not fit into its page goes on in another one: the last entry of a full page is
 * then a link, the address of the next list page.
 *
 * nvme__build_prps() is what every command passes through: one piece of memory whose list, if it has
 * one, fits into a page. nvme_prp_list_append() is the general way, for lists of several pages and
 * buffers of several pieces; with pages of 4 KiB a command needs it above 2 MiB.
 * ============================================================================================ */

/* A list in the making. The pieces of a buffer are appended to it one by one. */
struct nvme_prp {
	uint32_t page_size;  /* CC.MPS in bytes: a power of two */
	uint32_t prp_index;  /* entries so far: a count, which SPDK's log calls an index */
	uint64_t prp1, prp2; /* for the command's data pointer */
	uint32_t last_end; /* offset in its page where the last piece ended; 0: at the end of it */
	uint32_t list_pages; /* list pages available */
	uint32_t list_used;  /* list pages begun */
	uint64_t *list_base; /* where the list starts, as this process sees it, and ... */
	uint64_t list_iova;  /* ... as the controller does: qword aligned */
	size_t list_stride;  /* from one list page to the next, in bytes */
	uint64_t *list;      /* the next free entry of the current list page */
	uint64_t *list_end;  /* the last entry that fits into it */
};

/*
 * list_iova may lie inside a page, at a qword [Base 2.1 §4.3.1: PRP entry and list]; list page k
 * starts k strides after the page that it is in.
 */
NVME__HOT void nvme__prp_init(struct nvme_prp *prp, uint32_t page_size, uint64_t *list,
                              uint64_t list_iova, uint32_t list_pages, size_t list_stride)
{
	prp->page_size = page_size;
	prp->prp_index = 0;
	prp->prp1 = prp->prp2 = 0;
	prp->last_end = 0;
	prp->list_pages = list_pages;
	prp->list_used = 0;
	prp->list_base = list;
	prp->list_iova = list_iova;
	prp->list_stride = list_stride;
}

/*
 * More than two pages, so a list after all: the second page becomes its first entry, and PRP2 the
 * address of the list, which may begin inside a page [Base 2.1 §4.3.1: PRP entry and list].
 */
static int nvme__prp_begin_list(struct nvme_prp *prp)
{
	uint64_t in_page = prp->list_iova & (prp->page_size - 1);

	if (prp->list_pages == 0)
		return -EMSGSIZE;
	prp->list_used = 1;
	prp->list = prp->list_base;
	prp->list_end = prp->list + (prp->page_size - in_page) / 8 - 1;
	*prp->list++ = prp->prp2;
	prp->prp2 = prp->list_iova;
	return 0;
}

/*
 * The list page is full and one more entry is coming: the last one moves on, a link replaces it
 * [Base 2.1 §4.3.1: PRP entry and list].
 */
static int nvme__prp_next_list_page(struct nvme_prp *prp)
{
	uint64_t in_page = prp->list_iova & (prp->page_size - 1);
	size_t offset = prp->list_used * prp->list_stride - (size_t)in_page;
	uint64_t *page = (uint64_t *)(void *)((uint8_t *)prp->list_base + offset);

	if (prp->list_used >= prp->list_pages)
		return -EMSGSIZE;
	page[0] = *prp->list_end;
	*prp->list_end = prp->list_iova + offset;
	prp->list = page + 1;
	prp->list_end = page + prp->page_size / 8 - 1;
	prp->list_used++;
	return 0;
}

/*
 * Entries for count pages that follow each other. One at a time the loop would cost more than the
 * stores: so first what does not make up four, then four a turn.
 */
NVME__HOT void nvme__prp_fill(uint64_t *list, uint64_t addr, uint64_t count, uint64_t page)
{
	uint64_t *end = list + count;

	if ((count & 1) != 0) {
		*list++ = addr;
		addr += page;
	}
	if ((count & 2) != 0) {
		list[0] = addr;
		list[1] = addr + page;
		list += 2;
		addr += 2 * page;
	}
	for (; list != end; list += 4, addr += 4 * page) {
		list[0] = addr;
		list[1] = addr + page;
		list[2] = addr + 2 * page;
		list[3] = addr + 3 * page;
	}
}

/* Pages of a piece that go into the list, count of them from addr on: one list page at a time. The
 * offset in each is zero [Base 2.1 §4.3.1: PRP entry and list]. */
static int nvme__prp_append_to_list(struct nvme_prp *prp, uint64_t addr, uint64_t count)
{
	uint64_t page = prp->page_size, run;
	int rc;

	while (count != 0) {
		if (prp->prp_index == 2 && (rc = nvme__prp_begin_list(prp)) != 0)
			return rc;
		if (prp->list > prp->list_end && (rc = nvme__prp_next_list_page(prp)) != 0)
			return rc;
		run = (uint64_t)(prp->list_end + 1 - prp->list);
		run = count < run ? count : run;
		nvme__prp_fill(prp->list, addr, run, page);
		addr += run * page;
		prp->list += run;
		prp->prp_index += (uint32_t)run;
		count -= run;
	}
	return 0;
}

/* Can these bytes follow what is there already? Only the first entry may have an offset, and that
 * is dword aligned [Base 2.1 §4.3.1: PRP entry and list]. */
NVME__HOT int nvme__prp_check(const struct nvme_prp *prp, uint64_t iova, uint32_t len)
{
	if (nvme__unlikely(len == 0))
		return -EINVAL;
	if (nvme__unlikely((iova & 3) != 0 || len - 1 > UINT64_MAX - iova))
		return -EFAULT;
	if (nvme__unlikely(prp->prp_index != 0 &&
	                   (prp->last_end != 0 || (iova & (prp->page_size - 1)) != 0)))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Appends len bytes at iova. All pieces but the first must start at a page boundary and all but
 * the last must end at one, or PRPs cannot describe the buffer. -EINVAL len is 0, -EFAULT not
 * dword aligned or past the end of the address space, -EOPNOTSUPP a hole inside a page,
 * -EMSGSIZE the list is full. After an error the list must be begun again.
 */
NVME__HOT int nvme_prp_list_append(struct nvme_prp *prp, uint64_t iova, uint32_t len)
{
	uint64_t page_size = prp->page_size, mask = page_size - 1;
	uint64_t pages = ((iova & mask) + len + mask) >> __builtin_ctzll(page_size);
	int rc;

	rc = nvme__prp_check(prp, iova, len);
	if (nvme__unlikely(rc != 0))
		return rc;
	prp->last_end = (uint32_t)((iova + len) & mask);
	if (prp->prp_index == 0) { /* PRP1: the only entry that may point inside its page */
		prp->prp1 = iova;
		prp->prp_index = 1;
		iova = (iova & ~mask) + page_size;
		pages--;
	}
	if (pages != 0 && prp->prp_index == 1) { /* PRP2, if this is the last page */
		prp->prp2 = iova;
		prp->prp_index = 2;
		iova += page_size;
		pages--;
	}
	return pages != 0 ? nvme__prp_append_to_list(prp, iova, pages) : 0;
}

/* ---- the PRPs of a command ---- */

/* More than two pages: PRP2 names a list, which is this tracker's own. */
static int nvme__build_prp_list(struct nvme_qpair *qp, struct nvme_tracker *tr, uint64_t iova,
                                uint32_t len, struct nvme_prp *prp)
{
	nvme__prp_init(prp, qp->ctrlr->page_size, tr->prp_list, tr->prp_list_iova, qp->list_pages,
	               qp->ctrlr->page_size);
	return nvme_prp_list_append(prp, iova, len);
}

/* A list that does not fit into its first page. Returns PRP2, or 0 if it does not fit at all. */
NVME__COLD uint64_t nvme__build_prp_chain(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                          uint64_t iova, uint32_t len)
{
	struct nvme_prp prp;

	return nvme__build_prp_list(qp, tr, iova, len, &prp) == 0 ? prp.prp2 : 0;
}

/*
 * The data pointer of a command: buf, which is one piece of DMA memory, as PRPs. It must be dword
 * aligned [Base 2.1 §4.3.1: PRP entry and list].
 */
NVME__HOT int nvme__build_prps(struct nvme_qpair *qp, struct nvme_tracker *tr, uint8_t opc,
                               const void *buf, uint32_t len, struct nvme_prp_pair *prps)
{
	uint32_t page_size = qp->ctrlr->page_size, in_page, entries;
	uint64_t iova;

	if (nvme__unlikely(((uintptr_t)buf & 3) != 0 ||
	                   nvme__dma_iova(qp->ctrlr, buf, len, opc, &iova) != 0))
		return nvme__explain_buffer(qp, buf, len, -EFAULT, NVME__HERE);
	/* one page: PRP1 says all */
	in_page = (uint32_t)iova & (page_size - 1);
	prps->prp1 = iova;
	prps->prp2 = 0;
	if (nvme__likely(in_page + len <= page_size))
		return 0;
	/* two: PRP2 is the second */
	prps->prp2 = iova - in_page + page_size;
	if (in_page + len <= 2 * page_size)
		return 0;
	/* more: PRP2 is the list of all but the first */
	entries = (in_page + len - 1) >> qp->ctrlr->page_shift;
	if (nvme__likely(entries <= qp->list_entries)) {
		nvme__prp_fill(tr->prp_list, prps->prp2, entries, page_size);
		prps->prp2 = tr->prp_list_iova;
		return 0;
	}
	prps->prp2 = nvme__build_prp_chain(qp, tr, iova, len);
	if (nvme__likely(prps->prp2 != 0))
		return 0;
	return nvme__explain_buffer(qp, buf, len, -EMSGSIZE, NVME__HERE);
}

/* ============================================================================================
 * >>submit
 *
 * The way of a command: a tracker (and with it a CID), its PRPs, the SQE into the ring, the
 * doorbell. No lock, no allocation and no system call from here to the controller.
 * ============================================================================================ */

/* An SQE without data: what is not named here is zero [Base 2.1 §4.1.1, Fig. 92: Common Command
 * Format]. */
static void nvme__cmd_init(struct nvme_cmd *cmd, uint8_t opc, uint32_t nsid)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opc = opc;
	cmd->nsid = nsid;
}

/*
 * The 64 bytes of an SQE, from the tracker to the slot at the tail of the ring [Base 2.1 §4.1.1,
 * Fig. 92: Common Command Format]. A function of its own, because published sessions with gdb stop
 * at it. Reads and writes do not pass here: theirs are written in place, by nvme__fill_rw().
 */
NVME__HOT void nvme_copy_command(struct nvme_cmd *dst, const struct nvme_cmd *src)
{
	*dst = *src;
}

/*
 * The SQE is in the slot at the tail: the tail moves on, round the ring, and the controller hears
 * of it [Base 2.1: Memory-based Transport Queue Model (PCIe)]. buf and len are for the record.
 */
NVME__HOT void nvme_qpair_submit_request(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                         const void *buf, uint32_t len)
{
	if (++qp->sq_tail == qp->entries)
		qp->sq_tail = 0;
	if (nvme__unlikely(qp->unusual != 0))
		nvme__submit_unusual(qp, tr, buf, len);
	else
		nvme_ring_sq_doorbell(qp);
}

/*
 * Any command, as it was written, with the CID filled in and, where len is not 0, the data pointer
 * as PRPs: PSDT is 0 [Base 2.1 §4.1.1, Fig. 91: Command Dword 0]. -EAGAIN: no CID is free.
 */
static int nvme__submit_raw(struct nvme_qpair *qp, const struct nvme_cmd *cmd, void *buf,
                            uint32_t len, nvme_cmd_cb cb, void *arg)
{
	struct nvme_tracker *tr;
	int rc = nvme__qpair_refusal(qp);

	if (rc != 0)
		return rc;
	tr = nvme__tracker_get(qp, cb, arg);
	if (tr == NULL)
		return -EAGAIN;
	tr->cmd = *cmd;
	tr->cmd.cid = tr->cid;
	rc = len == 0 ? 0 : nvme__build_prps(qp, tr, cmd->opc, buf, len, &tr->cmd.dptr.prp);
	if (rc != 0) {
		nvme__tracker_put(qp, tr);
		return rc;
	}
	nvme_copy_command(&qp->sq[qp->sq_tail], &tr->cmd);
	nvme_qpair_submit_request(qp, tr, buf, len);
	return 0;
}

/* ============================================================================================
 * >>complete
 *
 * The way back. A CQE is new when its phase bit is the expected one [Base 2.1 §4.2.4, Fig. 108:
 * Phase Tag]. Nothing in it is believed before it was checked: a controller that is broken, or
 * hostile, may cost its caller the queue but not the process.
 * ============================================================================================ */

/* senseless CQEs before a queue is given up */
#define NVME__BAD_CQE_LIMIT       8

/*
 * After the batch at hand nothing goes in or comes out any more; what is outstanding ends when the
 * queue is freed. There is no status for this: the completions themselves cannot be trusted.
 */
static int nvme__qpair_fail(struct nvme_qpair *qp, int rc)
{
	if (nvme__qpair_failed(qp) == 0) {
		nvme__qpair_set_failed(qp, rc);
		nvme__explain_failed(qp, NVME__HERE);
	}
	return nvme__qpair_failed(qp);
}

/*
 * A CQE that makes no sense [Base 2.1 §4.2.1, Fig. 97: Completion Queue Entry]. A few are passed
 * over.
 */
NVME__COLD void nvme__qpair_bad_cqe(struct nvme_qpair *qp, const struct nvme_cpl *cpl,
                                    const char *what)
{
	if (nvme__qpair_failed(qp) != 0) /* enough was said */
		return;
	nvme__explain_bad_cqe(qp, cpl, what, NVME__HERE);
	if (++qp->bad_cqes >= NVME__BAD_CQE_LIMIT)
		nvme__qpair_fail(qp, -ENXIO);
}

/*
 * The command is done: its CID is free, and whoever waits is told (who may use the CID at once).
 * Worth a line is an error, any SCT and SC but 0 [Base 2.1 §4.2.3, Fig. 100: Status Field], and
 * perhaps another try.
 */
NVME__HOT void nvme_complete_request(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                     const struct nvme_cpl *cpl)
{
	nvme_cmd_cb cb = tr->cb;
	void *arg = tr->cb_arg;

	/*
	 * one test for all of the status but P: where only M, DNR or CRD are set it is no error
	 * there
	 */
	if (nvme__unlikely(((cpl->status & 0xfffeu) | qp->unusual) != 0) &&
	    nvme__end_unusual(qp, tr, cpl))
		return; /* it is sent again */
	nvme__tracker_put(qp, tr);
	cb(arg, cpl);
}

/*
 * Finds the command that a CQE is for, if there is one, by CID and SQID [Base 2.1 §4.2.1, Fig. 96,
 * 97, 98: Completion Queue Entry].
 */
NVME__HOT void nvme__qpair_take_cqe(struct nvme_qpair *qp, const struct nvme_cpl *cpl)
{
	uint32_t cid = cpl->cid;

	if (nvme__unlikely(cid >= qp->num_trackers || !qp->trackers[cid].outstanding ||
	                   cpl->sqid != qp->id)) {
		nvme__qpair_bad_cqe(qp, cpl, "cpl does not map to outstanding cmd");
		return;
	}
	if (nvme__unlikely(cpl->sqhd >= qp->entries)) /* not used, but a bad sign */
		nvme__qpair_bad_cqe(qp, cpl, "SQHD is not a slot of the submission queue");
	nvme_complete_request(qp, &qp->trackers[cid], cpl);
}

typedef uint32_t __attribute__((may_alias)) nvme__u32_alias;

/*
 * Copies the CQE at the head if it is new. The dword with CID, phase and status is read first, and
 * the rest only after it: the controller makes the phase visible last, so once that is new the rest
 * is there, if it is read later; read the other way round, it could be from the lap before [Base
 * 2.1 §4.2.4, Fig. 108: Phase Tag]. The copy is what gets checked and used, since the device can go
 * on writing to the original.
 */
NVME__HOT bool nvme__qpair_read_cqe(struct nvme_qpair *qp, struct nvme_cpl *cpl)
{
	const struct nvme_cpl *slot = &qp->cq[qp->cq_head];
	uint32_t dw3 = __atomic_load_n((const nvme__u32_alias *)&slot->cid, NVME__PHASE_ORDER);

	if ((((dw3 >> 16) ^ qp->phase) & 1) != 0)
		return false;
	NVME_RMB();
	*cpl = *slot;
	cpl->cid = (uint16_t)dw3;
	cpl->status = (uint16_t)(dw3 >> 16);
	return true;
}

/*
 * The head moves on; with every lap the phase of new entries changes [Base 2.1 §4.2.4, Fig. 108:
 * Phase Tag].
 */
NVME__HOT void nvme__qpair_next_slot(struct nvme_qpair *qp)
{
	if (++qp->cq_head == qp->entries) {
		qp->cq_head = 0;
		qp->phase ^= 1;
	}
}

/*
 * Takes what is there, in turns with the callbacks, which may submit. There is one doorbell for the
 * whole batch, or for every half ring of a long one, so that the controller does not run out of
 * slots [PCIe 1.1 §3.1.2.2: CQyHDBL]. Now and then the watch looks whether something is late.
 */
NVME__HOT int nvme__qpair_reap(struct nvme_qpair *qp, uint32_t max)
{
	uint32_t half = qp->entries / 2, unrung = 0, left;
	struct nvme_cpl cpl;

	/* 0 (0 - 1 wraps) and more than a lap become one lap: a flooded ring cannot keep us here */
	if (max - 1 >= qp->entries)
		max = qp->entries;
	qp->polling++;
	for (left = max; left != 0 && nvme__qpair_read_cqe(qp, &cpl); left--) {
		/* before this one is taken: the head then covers only those that were handled */
		if (unrung >= half && nvme__qpair_failed(qp) == 0) {
			nvme_ring_cq_doorbell(qp, unrung);
			unrung = 0;
		}
		nvme__qpair_next_slot(qp);
		unrung++;
		nvme__qpair_take_cqe(qp, &cpl);
	}
	qp->polling--;
	if (nvme__unlikely(nvme__qpair_failed(qp) != 0)) /* a callback may have reset all */
		return nvme__qpair_failed(qp);
	if (unrung != 0)
		nvme_ring_cq_doorbell(qp, unrung);
	if (nvme__unlikely(--qp->watch_in == 0) && nvme__qpair_watch(qp) != 0)
		return nvme__qpair_failed(qp);
	return (int)(max - left);
}

/* A poll in a callback, of a queue that has failed, or of one that does more than the usual. */
NVME__COLD int nvme__qpair_poll_unusual(struct nvme_qpair *qp)
{
	if (qp->polling != 0)
		return nvme__explain_in_callback(qp, "nvme_qpair_process_completions()",
		                                 NVME__HERE);
	if (nvme__qpair_failed(qp) != 0)
		return nvme__qpair_poll_failed(qp);
	nvme__poll_unusual(qp);
	return 0;
}

/*
 * No register is read to find out: the phase in memory tells [Base 2.1 §4.2.4, Fig. 108: Phase
 * Tag].
 */
NVMEDEF int nvme_qpair_process_completions(struct nvme_qpair *qp, uint32_t max)
{
	int rc = 0;

	if (nvme__unlikely((qp->polling | nvme__qpair_failed(qp) | (int)qp->unusual) != 0))
		rc = nvme__qpair_poll_unusual(qp);
	return nvme__likely(rc == 0) ? nvme__qpair_reap(qp, max) : rc;
}

/* ---- waiting for one command ----
 *
 * Bring-up sends admin commands one at a time and has nothing else to do meanwhile. The waiter is on
 * the stack; when the time is up, the command is told to forget it.
 */

/* Who waits. lent: where to note that a late command may still use the data, or NULL. */
struct nvme__sync {
	struct nvme_cpl cpl;
	bool *lent;
	bool done;
};

static void nvme__sync_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme__sync *sync = (struct nvme__sync *)arg;

	sync->cpl = *cpl;
	sync->done = true;
}

/* Nobody waits for it any more, but the controller has now let go of the data. */
static void nvme__sync_late(void *arg, const struct nvme_cpl *cpl)
{
	bool *lent = (bool *)arg;

	(void)cpl;
	if (lent != NULL)
		*lent = false;
}

/* Nobody waits any longer: a completion that comes late must not find the waiter's stack. */
static void nvme__sync_abandon(struct nvme_qpair *qp, struct nvme__sync *sync)
{
	uint32_t i;

	for (i = 0; i < qp->num_trackers; i++) {
		if (qp->trackers[i].outstanding && qp->trackers[i].cb_arg == sync) {
			qp->trackers[i].cb = nvme__sync_late;
			qp->trackers[i].cb_arg = sync->lent;
			if (sync->lent != NULL)
				*sync->lent = true;
		}
	}
}

static uint64_t nvme__real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static uint64_t nvme__now_ms(struct nvme_ctrlr *ctrlr)
{
	if (ctrlr->dev.ops->now_ns != NULL)
		return ctrlr->dev.ops->now_ns(&ctrlr->dev) / 1000000u;
	return nvme__real_ms();
}

static uint32_t nvme__qpair_timeout_ms(const struct nvme_qpair *qp)
{
	const struct nvme_ctrlr_opts *opts = &qp->ctrlr->opts;

	return qp->id == 0 ? opts->admin_timeout_ms : opts->io_timeout_ms;
}

/*
 * Polls until something has come, for a while at most. 1: the time was up before that. The clock is
 * read first, so that a completion which is there has the last word, however late one looks.
 */
static int nvme__wait_a_little(struct nvme_qpair *qp, uint64_t deadline)
{
	int late = nvme__now_ms(qp->ctrlr) > deadline, rc = 0, polls;

	for (polls = 0; polls < 256 && rc == 0; polls++)
		rc = nvme_qpair_process_completions(qp, 0);
	if (rc == 0 && !late)
		sched_yield();
	return rc < 0 ? rc : late;
}

/*
 * Polls until the command is complete. -EIO: with an error status [Base 2.1 §4.2.3, Fig. 100:
 * Status Field]. Other errors mean that it is not complete and that the controller may still be
 * using its buffer.
 */
static int nvme_wait_for_completion(struct nvme_qpair *qp, struct nvme__sync *sync,
                                    uint64_t deadline)
{
	int late = 0;

	while (!sync->done && late == 0)
		late = nvme__wait_a_little(qp, deadline);
	if (sync->done)
		return nvme_cpl_is_error(&sync->cpl) ? -EIO : 0;
	nvme__sync_abandon(qp, sync);
	if (late < 0)
		return late;
	return nvme__explain_timeout(qp, nvme__qpair_timeout_ms(qp), NVME__HERE);
}

/* Submits a command; if the queue is full of the caller's own, polls until one of them completes. */
static int nvme__submit_sync(struct nvme_qpair *qp, const struct nvme_cmd *cmd, void *buf,
                             uint32_t len, struct nvme__sync *sync, uint64_t deadline)
{
	int rc, late = 0;

	for (;;) {
		rc = nvme__submit_raw(qp, cmd, buf, len, nvme__sync_done, sync);
		if (rc != -EAGAIN || late != 0)
			break;
		late = nvme__wait_a_little(qp, deadline);
		if (late < 0)
			return late;
	}
	if (rc == -EAGAIN)
		return nvme__explain_timeout(qp, nvme__qpair_timeout_ms(qp), NVME__HERE);
	return rc;
}

/* Submits a command whose data, if any, is in DMA memory, and waits for it. */
static int nvme__submit_and_wait(struct nvme_qpair *qp, const struct nvme_cmd *cmd, void *buf,
                                 uint32_t len, bool *lent, struct nvme_cpl *cpl)
{
	uint64_t deadline = nvme__now_ms(qp->ctrlr) + nvme__qpair_timeout_ms(qp);
	struct nvme__sync sync;
	int rc;

	memset(&sync, 0, sizeof(sync));
	sync.lent = lent;
	rc = nvme__submit_sync(qp, cmd, buf, len, &sync, deadline);
	if (rc == 0)
		rc = nvme_wait_for_completion(qp, &sync, deadline);
	if (sync.done)
		*cpl = sync.cpl;
	return rc;
}

/*
 * Sends one of the driver's own admin commands and waits. Refused in callbacks of the admin queue.
 * Where no completion came, *cpl is one that no controller sends, with an error status.
 */
static int nvme__ctrlr_admin(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd, void *buf,
                             uint32_t len, struct nvme_cpl *cpl)
{
	int rc;

	nvme__cpl_set_none(cpl, 0);
	nvme__ctrlr_lock(ctrlr);
	if (ctrlr->adminq->polling != 0)
		rc = nvme__explain_in_callback(ctrlr->adminq, "a blocking function", NVME__HERE);
	else
		rc = nvme__submit_and_wait(ctrlr->adminq, cmd, buf, len, NULL, cpl);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* ============================================================================================
 * >>enable
 *
 * From a device that was found to one that takes commands [Base 2.1 §3.5.1: Memory-based controller
 * initialization (PCIe)]. The table of contents is nvme__ctrlr_bring_up(), at the end of
 * >>identify.
 * ============================================================================================ */
#define NVME__SHUTDOWN_MS         10000u
#define NVME__SHUTDOWN_MAX_MS     60000u
#define NVME__MAX_PAGE_SIZE       ((uint32_t)1 << 20)
#define NVME__MAX_XFER_SIZE       ((uint32_t)32 << 20)  /* where MDTS sets no limit: 65536 x 512 */
#define NVME__ADMIN_MAX_XFER_SIZE ((uint32_t)128 << 10) /* of an admin command */
#define NVME__NO_TIMEOUT          UINT64_MAX

static void nvme_ctrlr_set_state(struct nvme_ctrlr *ctrlr, enum nvme_ctrlr_state state,
                                 uint64_t timeout_ms)
{
	ctrlr->state = state;
	nvme__log_state(ctrlr, timeout_ms, NVME__HERE);
}

/* An admin command is about to be sent and waited for: the log has both stations. */
static void nvme__ctrlr_set_admin_state(struct nvme_ctrlr *ctrlr, enum nvme_ctrlr_state state)
{
	nvme_ctrlr_set_state(ctrlr, state, ctrlr->opts.admin_timeout_ms);
	nvme_ctrlr_set_state(ctrlr, (enum nvme_ctrlr_state)(state + 1),
	                     ctrlr->opts.admin_timeout_ms);
}

/* ---- what it can do ---- */

/* The version decides which commands may be sent [Base 2.1 §3.1.4.2, Fig. 37: Version]. */
static int nvme__ctrlr_read_vs(struct nvme_ctrlr *ctrlr)
{
	uint32_t csts;

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_READ_VS, NVME__NO_TIMEOUT);
	ctrlr->vs = nvme_mmio_read_4(&ctrlr->dev, NVME_REG_VS);
	if (ctrlr->vs == UINT32_MAX) { /* nothing answers, or something that is no controller */
		if (nvme__ctrlr_check_csts(ctrlr, &csts) == -ENODEV)
			return -ENODEV;
		return nvme__explain_no_version(ctrlr, NVME__HERE);
	}
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO, "NVMe version %u.%u.%u",
	              NVME_GET(ctrlr->vs, NVME_VS_MJR), NVME_GET(ctrlr->vs, NVME_VS_MNR),
	              NVME_GET(ctrlr->vs, NVME_VS_TER));
	return 0;
}

/*
 * How long CSTS.RDY may take, in ms. CAP.TO and CRTO.CRWMT count 500 ms; 0 is taken as one unit. It
 * is the larger of the two, as there are controllers whose CRWMT says less than CAP.TO [Base 2.1
 * §3.1.4.1, Fig. 36: Controller Capabilities], [Base 2.1: Controller Ready Timeouts].
 */
static uint32_t nvme__ctrlr_ready_timeout(struct nvme_ctrlr *ctrlr)
{
	uint32_t units = NVME_GET(ctrlr->cap, NVME_CAP_TO), crwmt = 0;

	if ((NVME_GET(ctrlr->cap, NVME_CAP_CRMS) & NVME_CAP_CRMS_CRWMS) != 0)
		crwmt = NVME_GET(nvme_mmio_read_4(&ctrlr->dev, NVME_REG_CRTO), NVME_CRTO_CRWMT);
	units = crwmt > units ? crwmt : units;
	return (units > 0 ? units : 1) * 500;
}

/*
 * Does CAP make sense, and does it allow what was asked for? [Base 2.1 §3.1.4.1, Fig. 36:
 * Controller Capabilities]
 */
static int nvme__ctrlr_check_cap(struct nvme_ctrlr *ctrlr)
{
	uint64_t cap = ctrlr->cap;

	/* a page of the smallest size that the controller knows must not be too large for us */
	if ((4096u << NVME_GET(cap, NVME_CAP_MPSMIN)) > NVME__MAX_PAGE_SIZE)
		return nvme__explain_page_size(ctrlr, NVME__HERE);
	/* MQES is 0-based, and a queue has two entries at least [Base 2.1 §3.3.3.1: Queue Size] */
	if (NVME_GET(cap, NVME_CAP_MQES) == 0)
		return nvme__explain_cap(ctrlr, NVME__HERE);
	/* the doorbells of queue pair 1 must be there [PCIe 1.1 §3.1.2: Doorbells] */
	if (ctrlr->dev.bar0_size < NVME_CQ_HDBL(1, NVME_GET(cap, NVME_CAP_DSTRD)) + 4u)
		return nvme__explain_cap(ctrlr, NVME__HERE);
	if (ctrlr->opts.arb_mechanism == NVME_CC_AMS_WRR &&
	    (NVME_GET(cap, NVME_CAP_AMS) & NVME_CAP_AMS_WRR) == 0)
		return nvme__explain_no_wrr(ctrlr, NVME__HERE);
	return 0;
}

/*
 * What the controller can do: queue size, page size, doorbell stride, how long RDY may take
 * [Base 2.1 §3.1.4.1, Fig. 36: Controller Capabilities].
 */
static int nvme__ctrlr_read_cap(struct nvme_ctrlr *ctrlr)
{
	uint32_t csts;
	int rc;

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_READ_CAP, NVME__NO_TIMEOUT);
	ctrlr->cap = nvme_mmio_read_8(&ctrlr->dev, NVME_REG_CAP);
	/* a device that went since VS was read, or just a wrong CAP? */
	if (((uint32_t)ctrlr->cap == UINT32_MAX || ctrlr->cap >> 32 == UINT32_MAX) &&
	    nvme__ctrlr_check_csts(ctrlr, &csts) == -ENODEV)
		return -ENODEV;
	nvme__trace_attach(ctrlr);
	ctrlr->ready_timeout = nvme__ctrlr_ready_timeout(ctrlr);
	rc = nvme__ctrlr_check_cap(ctrlr);
	if (rc != 0)
		return rc;
	/* CC.MPS will be the smallest page there is: PRP lists are in units of it */
	ctrlr->page_shift = 12 + NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN);
	ctrlr->page_size = 1u << ctrlr->page_shift;
	return 0;
}

/* ---- reset and enable ---- */

/*
 * Polls CSTS until RDY is as wanted [Base 2.1 §3.1.4.6, Fig. 42: Controller Status]. A fatal status
 * ends the wait unless we are on the way down.
 */
static int nvme__ctrlr_wait_ready(struct nvme_ctrlr *ctrlr, uint32_t rdy, bool mind_cfs)
{
	uint64_t deadline = nvme__now_ms(ctrlr) + ctrlr->ready_timeout;
	uint32_t csts;
	bool late;
	int rc;

	for (;;) {
		/* the clock is looked at before CSTS, so that RDY has the last word */
		late = nvme__now_ms(ctrlr) > deadline;
		rc = nvme__ctrlr_check_csts(ctrlr, &csts);
		if (rc == -ENODEV || (rc != 0 && mind_cfs))
			return rc;
		if (NVME_GET(csts, NVME_CSTS_RDY) == rdy)
			return 0;
		if (late)
			return -ETIMEDOUT;
		sched_yield();
	}
}

/* CC.EN from 1 to 0 is a Controller Reset: all queues end, and CSTS.RDY follows [Base 2.1 §3.1.4.5,
 * Fig. 41: Controller Configuration]. */
static void nvme__ctrlr_clear_en(struct nvme_ctrlr *ctrlr, uint32_t cc)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "Setting CC.EN = 0");
	nvme__reg_write_4(&ctrlr->dev, NVME_REG_CC, cc & ~NVME_SET(1, NVME_CC_EN));
}

/*
 * Brings the controller down whatever its last owner left behind. CC.EN may change only when
 * CSTS.RDY has followed it, so each of the four combinations has its own way to EN = 0, RDY = 0
 * [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration].
 */
static int nvme_ctrlr_disable(struct nvme_ctrlr *ctrlr)
{
	uint64_t timeout = ctrlr->ready_timeout;
	uint32_t cc, csts;
	int rc;

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_CHECK_EN, NVME__NO_TIMEOUT);
	rc = nvme__ctrlr_check_csts(ctrlr, &csts);
	if (rc == -ENODEV || nvme__ctrlr_read_cc(ctrlr, &cc) != 0)
		return -ENODEV;
	if (NVME_GET(cc, NVME_CC_EN) != 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "CC.EN = 1");
		if (NVME_GET(csts, NVME_CSTS_RDY) == 0 && rc == 0) { /* still on its way up */
			nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_DISABLE_WAIT_FOR_READY_1,
			                     timeout);
			rc = nvme__ctrlr_wait_ready(ctrlr, 1, true);
			if (rc == -ENODEV)
				return rc; /* anything else: clear EN all the same */
		}
		nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_SET_EN_0, timeout);
		nvme__ctrlr_clear_en(ctrlr, cc);
	}
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_DISABLE_WAIT_FOR_READY_0, timeout);
	rc = nvme__ctrlr_wait_ready(ctrlr, 0, false);
	if (rc != 0)
		return nvme__explain_ready(ctrlr, rc, NVME__HERE);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "CC.EN = 0 && CSTS.RDY = 0");
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_DISABLED, timeout);
	return 0;
}

/*
 * The admin queue pair exists from the start: its place goes into registers, not into a command
 * [Base 2.1 §1.5.4: Admin Queue]. Its rings stay when the controller is reset.
 */
static int nvme_ctrlr_construct_admin_qpair(struct nvme_ctrlr *ctrlr)
{
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_CONNECT_ADMINQ, NVME__NO_TIMEOUT);
	if (ctrlr->adminq != NULL) {
		nvme__qpair_reset(ctrlr->adminq);
		return 0;
	}
	return nvme_qpair_construct(ctrlr, 0, ctrlr->opts.admin_queue_size,
	                            NVME__ADMIN_MAX_XFER_SIZE, &ctrlr->adminq);
}

/*
 * Which command sets of CAP.CSS to switch on: all of them, where the controller can say which one a
 * namespace has (zoned ones have another), NVM alone, or none but admin [Base 2.1 §3.1.4.1, Fig. 36:
 * Controller Capabilities].
 */
static uint32_t nvme__ctrlr_choose_css(const struct nvme_ctrlr *ctrlr)
{
	uint32_t css = NVME_GET(ctrlr->cap, NVME_CAP_CSS);

	if ((css & NVME_CAP_CSS_IOCS) != 0)
		return NVME_CC_CSS_IOCS;
	if ((css & NVME_CAP_CSS_NVM) != 0)
		return NVME_CC_CSS_NVM;
	return (css & NVME_CAP_CSS_ADMIN) != 0 ? NVME_CC_CSS_ADMIN : NVME_CC_CSS_NVM;
}

/*
 * How the controller is to work: MPS is the page size of PRPs, IOSQES and IOCQES are exponents, 2^6
 * bytes for a command and 2^4 for a completion [Base 2.1 §3.1.4.5, Fig. 41: Controller
 * Configuration].
 */
static uint32_t nvme__ctrlr_choose_cc(const struct nvme_ctrlr *ctrlr)
{
	return NVME_SET(nvme__ctrlr_choose_css(ctrlr), NVME_CC_CSS) |
	       NVME_SET(NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN), NVME_CC_MPS) |
	       NVME_SET(ctrlr->opts.arb_mechanism, NVME_CC_AMS) |
	       NVME_SET(NVME_CC_SHN_NONE, NVME_CC_SHN) | NVME_SET(6, NVME_CC_IOSQES) |
	       NVME_SET(4, NVME_CC_IOCQES);
}

/*
 * Where the admin queues are, what the I/O queues will be like, and go. AQA holds both sizes
 * 0-based [Base 2.1 §3.1.4.8, Fig. 44: Admin Queue Attributes], ASQ and ACQ the addresses of the
 * rings as the controller sees them [Base 2.1 §3.1.4.9, §3.1.4.10: ASQ, ACQ].
 */
static int nvme_ctrlr_enable(struct nvme_ctrlr *ctrlr)
{
	struct nvme_dev *dev = &ctrlr->dev;
	uint32_t size = ctrlr->adminq->entries - 1;
	int rc;

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_ENABLE, ctrlr->ready_timeout);
	nvme__reg_write_8(dev, NVME_REG_ASQ, ctrlr->adminq->sq_iova);
	nvme__reg_write_8(dev, NVME_REG_ACQ, ctrlr->adminq->cq_iova);
	nvme__reg_write_4(dev, NVME_REG_AQA,
	                  NVME_SET(size, NVME_AQA_ASQS) | NVME_SET(size, NVME_AQA_ACQS));
	/* no barrier: the controller looks at no ring before the first doorbell, which has one */
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "Setting CC.EN = 1");
	nvme__reg_write_4(dev, NVME_REG_CC, nvme__ctrlr_choose_cc(ctrlr) | NVME_SET(1, NVME_CC_EN));

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_ENABLE_WAIT_FOR_READY_1, ctrlr->ready_timeout);
	rc = nvme__ctrlr_wait_ready(ctrlr, 1, true);
	if (rc != 0)
		return nvme__explain_ready(ctrlr, rc, NVME__HERE);
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "CC.EN = 1 && CSTS.RDY = 1 - controller is ready");
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_RESET_ADMIN_QUEUE,
	                     ctrlr->opts.admin_timeout_ms);
	return 0;
}

/*
 * Leaves the controller with CC.EN = 0, so that it touches our memory no more [Base 2.1 §3.1.4.5,
 * Fig. 41: Controller Configuration]. CSTS.RDY = 1 is not waited for: it was seen before, or the
 * controller is given up.
 */
static int nvme__ctrlr_turn_off(struct nvme_ctrlr *ctrlr)
{
	uint32_t cc, csts;

	if (nvme__ctrlr_check_csts(ctrlr, &csts) == -ENODEV || nvme__ctrlr_read_cc(ctrlr, &cc) != 0)
		return -ENODEV;
	if (NVME_GET(cc, NVME_CC_EN) != 0)
		nvme__ctrlr_clear_en(ctrlr, cc);
	return nvme__ctrlr_wait_ready(ctrlr, 0, false);
}

/* Down, admin queues, up [Base 2.1 §3.5.1: Memory-based controller initialization (PCIe)]. */
static int nvme__ctrlr_try_start(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme_ctrlr_disable(ctrlr);

	if (rc == 0)
		rc = nvme_ctrlr_construct_admin_qpair(ctrlr);
	if (rc == 0)
		rc = nvme_ctrlr_enable(ctrlr);
	return rc;
}

/*
 * A controller that answers with a fatal status gets a reset and a second chance: CSTS.CFS is
 * cleared by a controller level reset only [Base 2.1 §3.1.4.6, Fig. 42: Controller Status].
 */
static int nvme_ctrlr_start(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_try_start(ctrlr);

	if (rc != -EIO)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING, "resetting the controller to try once more");
	if (nvme__ctrlr_turn_off(ctrlr) == -ENODEV)
		return -ENODEV;
	if (ctrlr->dev.ops->reset != NULL)
		(void)ctrlr->dev.ops->reset(&ctrlr->dev);
	return nvme__ctrlr_try_start(ctrlr);
}

/* ---- shutdown ---- */

/* How long it may take: as RTD3E says, within bounds, as the field goes up to 71 minutes [Base 2.1
 * §5.1.13.2.1, Fig. 312: Identify Controller data structure]. */
static uint64_t nvme__ctrlr_shutdown_ms(const struct nvme_ctrlr *ctrlr)
{
	uint64_t ms = (uint64_t)ctrlr->data.rtd3e / 1000 + 1;

	if (ms < NVME__SHUTDOWN_MS)
		return NVME__SHUTDOWN_MS;
	return ms < NVME__SHUTDOWN_MAX_MS ? ms : NVME__SHUTDOWN_MAX_MS;
}

/* Until CSTS.SHST says that all is saved [Base 2.1 §3.1.4.6, Fig. 42: Controller Status]. */
static int nvme__ctrlr_wait_shutdown(struct nvme_ctrlr *ctrlr, uint64_t timeout)
{
	uint64_t start = nvme__now_ms(ctrlr);
	uint32_t csts;
	bool late;

	for (;;) {
		late = nvme__now_ms(ctrlr) > start + timeout;
		if (nvme__ctrlr_check_csts(ctrlr, &csts) == -ENODEV)
			return -ENODEV;
		if (NVME_GET(csts, NVME_CSTS_SHST) == NVME_CSTS_SHST_COMPLETE)
			break;
		if (late && (ctrlr->ladder.quirks & NVME__QUIRK_NO_SHST) != 0)
			break; /* this one never says so */
		if (late)
			return nvme__explain_shutdown(ctrlr, timeout, NVME__HERE);
		sched_yield();
	}
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "shutdown complete in %" PRIu64 " milliseconds",
	              nvme__now_ms(ctrlr) - start);
	return 0;
}

/*
 * Tells the controller with CC.SHN that power may go, waits until it has saved what it held, then
 * disables it [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]. One with a fatal status will
 * save nothing any more.
 */
static int nvme_ctrlr_shutdown(struct nvme_ctrlr *ctrlr)
{
	struct nvme_dev *dev = &ctrlr->dev;
	uint64_t timeout = nvme__ctrlr_shutdown_ms(ctrlr);
	uint32_t cc, csts;
	int rc;

	rc = nvme__ctrlr_check_csts(ctrlr, &csts);
	if (rc == -ENODEV || nvme__ctrlr_read_cc(ctrlr, &cc) != 0)
		return -ENODEV;
	if (rc != 0 || NVME_GET(cc, NVME_CC_EN) == 0) {
		int off = nvme__ctrlr_turn_off(ctrlr);

		return rc != 0 ? rc : off;
	}
	cc &= ~NVME_SET(3, NVME_CC_SHN);
	cc |= NVME_SET(ctrlr->abrupt ? NVME_CC_SHN_ABRUPT : NVME_CC_SHN_NORMAL, NVME_CC_SHN);
	nvme__reg_write_4(dev, NVME_REG_CC, cc);
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "RTD3E = %" PRIu32 " us", ctrlr->data.rtd3e);
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "shutdown timeout = %" PRIu64 " ms", timeout);
	rc = nvme__ctrlr_wait_shutdown(ctrlr, timeout);
	if (rc == -ENODEV)
		return rc;
	return nvme__ctrlr_turn_off(ctrlr) == 0 ? rc : -ETIMEDOUT;
}

/* ============================================================================================
 * >>identify
 *
 * Who the controller is and how much one command may carry, how many I/O queues it grants, and
 * which namespaces there are in what format. All of it is 4096 bytes at a time, by one command,
 * and none of it is believed without a look.
 * ============================================================================================ */

/*
 * One Identify command; the structure that is asked for comes as 4096 bytes [Base 2.1 §5.1.13, Fig.
 * 310: Identify, CNS values], into a page of the driver's own that is used for nothing else. When
 * it timed out the controller may still write to that page: it is left alone, and the next Identify
 * takes another.
 */
static int nvme_ctrlr_cmd_identify(struct nvme_ctrlr *ctrlr, uint32_t cns, uint32_t nsid,
                                   uint32_t csi, void *data)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	if (ctrlr->id_page == NULL)
		ctrlr->id_page = (uint8_t *)nvme__dma_take(ctrlr, 4096, NVME__EXTENT_BUFFER);
	if (ctrlr->id_page == NULL)
		return -ENOMEM;
	memset(ctrlr->id_page, 0, 4096);
	nvme__cmd_init(&cmd, NVME_OPC_IDENTIFY, nsid);
	cmd.cdw10 = NVME_SET(cns, NVME_IDENTIFY_CNS);
	cmd.cdw11 = NVME_SET(csi, NVME_IDENTIFY_CSI);
	rc = nvme__ctrlr_admin(ctrlr, &cmd, ctrlr->id_page, 4096, &cpl);
	if (rc == 0)
		memcpy(data, ctrlr->id_page, 4096);
	else if (rc == -ETIMEDOUT)
		ctrlr->id_page = NULL;
	return rc;
}

/*
 * MDTS is a power of two in pages of CAP.MPSMIN, 0 means no limit [Base 2.1 §5.1.13.2.1, Fig. 312:
 * Identify Controller data structure]. The shift is bounded before it is made.
 */
static uint32_t nvme__max_xfer_from_mdts(uint8_t mdts, uint32_t mpsmin)
{
	if (mdts == 0 || mdts + 12 + mpsmin >= 25) /* 2^25 bytes are the driver's own limit */
		return NVME__MAX_XFER_SIZE;
	return 4096u << mpsmin << mdts;
}

/*
 * The controller's own structure: MDTS, SQES, CQES and much that is only shown [Base 2.1
 * §5.1.13.2.1, Fig. 312: Identify Controller data structure].
 */
static int nvme_ctrlr_identify(struct nvme_ctrlr *ctrlr)
{
	struct nvme_dev *dev = &ctrlr->dev;
	struct nvme_id_ctrlr *data = &ctrlr->data;
	int rc;

	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY);
	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_CTRLR, 0, 0, data);
	if (rc != 0)
		return nvme__explain_no_identify(ctrlr, rc, NVME__HERE);
	ctrlr->max_xfer_size =
		nvme__max_xfer_from_mdts(data->mdts, NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN));
	if (ctrlr->adminq->max_xfer_size > ctrlr->max_xfer_size)
		ctrlr->adminq->max_xfer_size = ctrlr->max_xfer_size;
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "transport max_xfer_size %u", NVME__MAX_XFER_SIZE);
	if (data->mdts > 0)
		NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "MDTS max_xfer_size %u", ctrlr->max_xfer_size);
	NVME__DEV_LOG(dev, NVME_LOG_DEBUG, "CNTLID 0x%04x", data->cntlid);
	/* entries of 2^6 and 2^4 bytes are what CC says; a controller may want no larger ones */
	if (NVME_GET(data->sqes, NVME_ID_QES_MIN) > 6 || NVME_GET(data->cqes, NVME_ID_QES_MIN) > 4)
		return nvme__explain_entry_size(ctrlr, NVME__HERE);
	return 0;
}

/*
 * Asks for I/O queues. Both numbers are 0-based, in the request and in the answer, and the answer
 * may be smaller or larger than the request [Base 2.1: Number of Queues feature].
 */
static int nvme_ctrlr_set_num_queues(struct nvme_ctrlr *ctrlr)
{
	uint32_t want = ctrlr->opts.num_io_queues, sqs, cqs;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	if (nvme__ctrlr_choose_css(ctrlr) == NVME_CC_CSS_ADMIN)
		return 0; /* no I/O command set, so no I/O queues */
	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_SET_NUM_QUEUES);
	nvme__cmd_init(&cmd, NVME_OPC_SET_FEATURES, 0);
	cmd.cdw10 = NVME_SET(NVME_FEAT_NUMBER_OF_QUEUES, NVME_FEATURES_FID);
	cmd.cdw11 =
		NVME_SET(want - 1, NVME_NUM_QUEUES_NSQ) | NVME_SET(want - 1, NVME_NUM_QUEUES_NCQ);
	rc = nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
	if (rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0)
		return nvme__warn_no_io_queues(ctrlr, NVME__HERE);
	if (rc != 0)
		return rc;
	sqs = NVME_GET(cpl.cdw0, NVME_NUM_QUEUES_NSQ) + 1;
	cqs = NVME_GET(cpl.cdw0, NVME_NUM_QUEUES_NCQ) + 1;
	ctrlr->num_io_queues = sqs < cqs ? sqs : cqs;
	if (ctrlr->num_io_queues > want)
		ctrlr->num_io_queues = want;
	return 0;
}

/* ---- namespaces ---- */

/*
 * The active ones, ascending, ended by a zero [Base 2.1: Namespace List]. An NSID that breaks the
 * rules ends the list. Returns how many were found. A list that fills its page is longer than this
 * driver's table: Book 2 looks at what it cannot keep.
 */
static int nvme__ctrlr_list_active_ns(struct nvme_ctrlr *ctrlr, struct nvme_ns_list *list)
{
	uint32_t n, last = 0;
	int rc;

	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST, 0, 0, list);
	if (rc != 0)
		return rc;
	for (n = 0; n < NVME__MAX_NS && list->nsid[n] != 0; n++) {
		if (list->nsid[n] <= last || list->nsid[n] > ctrlr->data.nn ||
		    list->nsid[n] == NVME_NSID_ALL)
			return nvme__warn_ns_list(ctrlr, n, list->nsid[n], NVME__HERE);
		last = list->nsid[n];
	}
	return n < NVME__MAX_NS ? (int)n : nvme__ctrlr_list_more_ns(ctrlr, last);
}

/* The NSIDs 1, 2, 3, ... of a controller from before the active namespace list existed, in NVMe 1.1
 * [Base 2.1 §3.1.4.2, Fig. 37: Version]; NN is the highest. */
static int nvme__ctrlr_guess_active_ns(struct nvme_ctrlr *ctrlr, struct nvme_ns_list *list)
{
	uint32_t n;

	for (n = 0; n < ctrlr->data.nn && n < NVME__MAX_NS; n++)
		list->nsid[n] = n + 1;
	return (int)n;
}

/*
 * Which of the formats, from FLBAS [NVM 1.1 §4.1.5.1, Fig. 114: Identify Namespace data structure].
 * NULL: none of those that are listed, or one whose block is not 2^9 to 2^16 bytes.
 */
static const struct nvme_lbaf *nvme__ns_find_lbaf(const struct nvme_id_ns *data)
{
	uint32_t last = (uint32_t)data->nlbaf + data->nulbaf;
	uint32_t index = NVME_FLBAS_INDEX(data->flbas);

	if (last < 16)
		index &= 15; /* the upper bits of the index are defined with more formats only */
	if (index > last || index >= 64)
		return NULL;
	if (data->lbaf[index].lbads < 9 || data->lbaf[index].lbads > 16)
		return NULL;
	return &data->lbaf[index];
}

/*
 * Blocks that fit into so many bytes, and into the field NLB, which has 16 bits and is 0-based
 * [NVM 1.1 §3.3.4, Fig. 53: Read, CDW12].
 */
static uint32_t nvme__ns_max_nlb(const struct nvme_ns *ns, uint32_t bytes)
{
	uint32_t nlb = bytes / ns->extended_sector_size;

	return nlb < 65536 ? nlb : 65536;
}

/*
 * Takes from Identify Namespace what reads and writes need, and refuses a namespace whose format
 * makes no sense [NVM 1.1 §4.1.5.1, Fig. 116: LBA Format].
 */
static int nvme__ns_parse(struct nvme_ns *ns)
{
	const struct nvme_id_ns *data = &ns->data;
	const struct nvme_lbaf *lbaf = nvme__ns_find_lbaf(data);

	if (lbaf == NULL)
		return -EINVAL;
	ns->nsze = data->nsze;
	ns->sector_size = 1u << lbaf->lbads;
	ns->separate_metadata = lbaf->ms != 0 && NVME_GET(data->flbas, NVME_FLBAS_EXT) == 0;
	ns->extended_sector_size = ns->sector_size + (ns->separate_metadata ? 0u : lbaf->ms);
	ns->noiob = data->noiob;
	if (ns->extended_sector_size > ns->ctrlr->max_xfer_size)
		return -EINVAL;
	ns->limit = ns->separate_metadata ? 0 : nvme__ns_max_nlb(ns, ns->ctrlr->max_xfer_size);
	if (ns->limit > ns->nsze)
		ns->limit = (uint32_t)ns->nsze;
	return 0;
}

/*
 * 0: reads and writes may come. Other threads see it, with the sizes that were written before, in
 * their next one: max_nlb is stored last (release) and loaded first (acquire, nvme__check_rw()).
 */
static void nvme__ns_set_refuse(struct nvme_ns *ns, int refuse)
{
	__atomic_store_n(&ns->refuse, refuse, __ATOMIC_RELEASE);
	__atomic_store_n(&ns->max_nlb, refuse != 0 ? 0 : ns->limit, __ATOMIC_RELEASE);
}

/*
 * Identify Namespace, CNS 00h, which makes what is known of it true again [Base 2.1 §5.1.13, Fig.
 * 310: Identify, CNS values]; -ENOENT for an NSID that is not active, for which all is zero [NVM
 * 1.1 §4.1.5.1, Fig. 114: Identify Namespace data structure], or that cannot be used. Reads and
 * writes are refused until all of it is known.
 */
static int nvme_ctrlr_identify_ns(struct nvme_ctrlr *ctrlr, struct nvme_ns *ns)
{
	int rc;

	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY_NS);
	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_NS, ns->id, 0, &ns->data);
	if (rc != 0)
		return rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0 ? -ENOENT : rc;
	if (ns->data.nsze == 0)
		return -ENOENT;
	if (nvme__ns_parse(ns) != 0)
		return nvme__warn_ns_format(ns, NVME__HERE);
	rc = nvme__ns_identify_names(ns);
	if (rc == 0)
		nvme__ns_set_refuse(ns, 0);
	return rc;
}

/*
 * One namespace of the list: identified, unless it is known (refuse is 0, or -EAGAIN while I/O is
 * held; a new one has -ENOENT).
 */
static int nvme__ctrlr_add_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid)
{
	struct nvme_ns *ns = nvme__ctrlr_ns_slot(ctrlr, nsid);
	int rc;

	if (ns == NULL)
		return -ENOMEM;
	if (ns->refuse == 0 || ns->refuse == -EAGAIN)
		return 0;
	rc = nvme_ctrlr_identify_ns(ctrlr, ns);
	if (rc == -ENOENT)
		nvme__ns_set_refuse(ns, -ENOENT);
	if (rc == 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "Namespace %" PRIu32 " was added", nsid);
	return rc == -ENOENT ? 0 : rc;
}

/* All of them: those that have gone, then those that are new [Base 2.1: Namespace List]. */
static int nvme_ctrlr_identify_active_ns(struct nvme_ctrlr *ctrlr)
{
	struct nvme_ns_list list;
	int i, found, rc = 0;

	if (ctrlr->num_io_queues == 0)
		return 0;
	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY_ACTIVE_NS);
	found = ctrlr->vs >= NVME_VS_SET(1, 1, 0) ? nvme__ctrlr_list_active_ns(ctrlr, &list) : -EIO;
	if (found == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0)
		found = nvme__ctrlr_guess_active_ns(ctrlr, &list);
	if (found < 0)
		return found;
	nvme__ctrlr_remove_ns(ctrlr, list.nsid, found);
	for (i = 0; i < found && rc == 0; i++)
		rc = nvme__ctrlr_add_ns(ctrlr, list.nsid[i]);
	return rc;
}

/* ---- the whole bring-up ---- */

/*
 * The table of contents. The numbers are those of the steps in [Base 2.1 §3.5.1: Memory-based
 * controller initialization (PCIe)]; the last two, I/O queues, are >>qpair, when they are asked
 * for.
 */
static int nvme__ctrlr_bring_up(struct nvme_ctrlr *ctrlr)
{
	int rc;

	/* should it be asked for, or taken away */
	rc = nvme__ctrlr_init_removal(ctrlr);
	if (rc != 0)
		return rc;
	/* before the first: which NVMe is it, and what can it do? */
	rc = nvme__ctrlr_read_vs(ctrlr);
	if (rc != 0)
		return rc;
	rc = nvme__ctrlr_read_cap(ctrlr);
	if (rc != 0)
		return rc;
	/* memory: its own, then ours; and interrupts, if they were asked for: before CC.EN is 1 */
	rc = nvme__ctrlr_init_cmb(ctrlr);
	if (rc == 0)
		rc = nvme__arena_init(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_init_interrupts(ctrlr);
	if (rc != 0)
		return rc;
	/*
	 * 1. wait until it is not ready; 2. AQA, ASQ, ACQ; 3. CC.CSS; 4. CC.AMS, CC.MPS;
	 * 5. CC.EN = 1; 6. wait until it is ready
	 */
	rc = nvme_ctrlr_start(ctrlr);
	if (rc != 0)
		return rc;
	/* 7. who is it? */
	rc = nvme_ctrlr_identify(ctrlr);
	if (rc != 0)
		return rc;
	/* 9. how many I/O queues may we have? Before 8, for without any namespaces are of no use. */
	rc = nvme_ctrlr_set_num_queues(ctrlr);
	if (rc != 0)
		return rc;
	/* 8. which namespaces, in what format? */
	rc = nvme_ctrlr_identify_active_ns(ctrlr);
	return rc != 0 ? rc : nvme__ctrlr_init_more(ctrlr);
}

static int nvme_ctrlr_process_init(struct nvme_ctrlr *ctrlr)
{
	int rc;

	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_INIT_DELAY, NVME__NO_TIMEOUT);
	rc = nvme__ctrlr_bring_up(ctrlr);
	nvme_ctrlr_set_state(ctrlr, rc == 0 ? NVME_CTRLR_STATE_READY : NVME_CTRLR_STATE_ERROR,
	                     NVME__NO_TIMEOUT);
	return rc;
}

/* ============================================================================================
 * >>qpair
 *
 * An I/O queue pair is two rings in memory (see >>queue) that the controller is told of by admin
 * commands: the completion queue first, since the submission queue names it, and they are deleted
 * in the opposite order [Base 2.1 §5.2.1: Create I/O Completion Queue, §5.2.2: Create I/O Submission
 * Queue].
 * ============================================================================================ */

/*
 * PC = 1: the ring is one contiguous piece; IEN = 0: this driver polls, unless interrupts were
 * asked for [Base 2.1 §5.2.1, Fig. 474, 475: Create I/O Completion Queue].
 */
static int nvme_ctrlr_cmd_create_io_cq(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                                       struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;

	nvme__cmd_init(&cmd, NVME_OPC_CREATE_IO_CQ, 0);
	cmd.dptr.prp.prp1 = qp->cq_iova;
	cmd.cdw10 = NVME_SET(qp->id, NVME_CREATE_IO_Q_QID) |
	            NVME_SET(qp->entries - 1, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = NVME_SET(1, NVME_CREATE_IO_CQ_PC) | nvme__qpair_interrupt(qp);
	return nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, cpl);
}

/*
 * CQID: where its completions go, here the queue with the same number. QPRIO counts with weighted
 * round robin only [Base 2.1 §5.2.2, Fig. 478, 479: Create I/O Submission Queue].
 */
static int nvme_ctrlr_cmd_create_io_sq(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                                       struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;

	nvme__cmd_init(&cmd, NVME_OPC_CREATE_IO_SQ, 0);
	cmd.dptr.prp.prp1 = qp->sq_iova;
	cmd.cdw10 = NVME_SET(qp->id, NVME_CREATE_IO_Q_QID) |
	            NVME_SET(qp->entries - 1, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = NVME_SET(1, NVME_CREATE_IO_SQ_PC) |
	            NVME_SET(qp->qprio, NVME_CREATE_IO_SQ_QPRIO) |
	            NVME_SET(qp->id, NVME_CREATE_IO_SQ_CQID);
	return nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, cpl);
}

/* [Base 2.1: Delete I/O Submission Queue command], [Base 2.1: Delete I/O Completion Queue command] */
static int nvme__ctrlr_cmd_delete_queue(struct nvme_ctrlr *ctrlr, uint8_t opc, uint16_t qid)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	nvme__cmd_init(&cmd, opc, 0);
	cmd.cdw10 = NVME_SET(qid, NVME_DELETE_IO_Q_QID);
	return nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
}

static int nvme_ctrlr_cmd_delete_io_cq(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	return nvme__ctrlr_cmd_delete_queue(ctrlr, NVME_OPC_DELETE_IO_CQ, qp->id);
}

static int nvme_ctrlr_cmd_delete_io_sq(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	return nvme__ctrlr_cmd_delete_queue(ctrlr, NVME_OPC_DELETE_IO_SQ, qp->id);
}

/* A queue pair of ours with this id, living or not yet let go of. */
static bool nvme__ctrlr_owns_qid(const struct nvme_ctrlr *ctrlr, uint32_t qid)
{
	const struct nvme_qpair *qp;

	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next) {
		if (qp->id == qid)
			return true;
	}
	for (qp = ctrlr->zombies; qp != NULL; qp = qp->next) {
		if (qp->id == qid)
			return true;
	}
	return false;
}

/*
 * The lowest queue id that is free, of 1 to what the controller granted [Base 2.1 §3.3.3.2: Queue
 * Identifier]. 0: there is none.
 */
static uint16_t nvme__ctrlr_free_qid(const struct nvme_ctrlr *ctrlr)
{
	uint32_t qid;

	for (qid = 1; qid <= ctrlr->num_io_queues; qid++) {
		if (!nvme__ctrlr_owns_qid(ctrlr, qid))
			return (uint16_t)qid;
	}
	return 0;
}

/*
 * For one of two reasons. rc is an error: the controller may still use it, so rings, data and
 * callbacks wait until the controller is off [Base 2.1 §3.1.4.5, Fig. 41: Controller
 * Configuration]. rc is 0: nvme_detach() has deleted it, and callbacks that it runs later must find
 * a queue pair that refuses.
 */
static void nvme__qpair_bury(struct nvme_qpair *qp, int rc)
{
	nvme__qpair_set_refuse(qp, -ESHUTDOWN);
	qp->next = qp->ctrlr->zombies;
	qp->ctrlr->zombies = qp;
	if (rc != 0)
		nvme__explain_buried(qp, rc, NVME__HERE);
}

/*
 * Tells the controller about the rings, steps 10 and 11 of [Base 2.1 §3.5.1: Memory-based
 * controller initialization (PCIe)]. What was created is deleted again if the rest fails.
 */
static int nvme__ctrlr_connect_io_qpair(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	uint32_t resets = ctrlr->ladder.total; /* the ladder may reset in any of the polls here */
	struct nvme_cpl cpl;
	int rc;

	rc = nvme_ctrlr_cmd_create_io_cq(ctrlr, qp, &cpl);
	if (rc != 0)
		return nvme__explain_create(ctrlr, "completion queue", rc, &cpl, NVME__HERE);
	rc = nvme_ctrlr_cmd_create_io_sq(ctrlr, qp, &cpl);
	if (resets != ctrlr->ladder.total)
		return nvme__explain_create_reset(ctrlr, qp->id, NVME__HERE);
	if (rc == 0)
		return 0;
	nvme__explain_create(ctrlr, "submission queue", rc, &cpl, NVME__HERE);
	/* any error but -EIO: it may still know the ring, and the queue pair is buried */
	return nvme_ctrlr_cmd_delete_io_cq(ctrlr, qp) == 0 ? rc : -ETIMEDOUT;
}

/* The host's side, then the controller's. The options are checked and complete. */
static int nvme__ctrlr_create_io_qpair(struct nvme_ctrlr *ctrlr, uint16_t qid,
                                       const struct nvme_io_qpair_opts *opts,
                                       struct nvme_qpair **out)
{
	struct nvme_qpair *qp;
	int rc;

	rc = nvme_qpair_construct(ctrlr, qid, opts->entries, opts->max_xfer_size, &qp);
	if (rc != 0)
		return rc;
	qp->qprio = opts->qprio;
	rc = nvme__qpair_set_more(qp, opts);
	if (rc != 0) {
		nvme__qpair_destroy(qp);
		return rc;
	}
	if (!opts->create_only)
		rc = nvme__ctrlr_connect_io_qpair(ctrlr, qp);
	if (rc == -EIO &&
	    nvme__qpair_failed(ctrlr->adminq) == 0) { /* refused: the rings are not in use */
		nvme__qpair_destroy(qp);
		return rc;
	}
	if (rc != 0) {
		nvme__qpair_bury(qp, rc);
		return rc;
	}
	qp->next = ctrlr->io_qpairs;
	ctrlr->io_qpairs = qp;
	*out = qp;
	return 0;
}

/* Its size is bounded by CAP.MQES, its number by what was granted [Base 2.1 §3.3.3.1: Queue Size]. */
NVMEDEF int nvme_ctrlr_alloc_io_qpair(struct nvme_ctrlr *ctrlr,
                                      const struct nvme_io_qpair_opts *user_opts,
                                      struct nvme_qpair **out)
{
	struct nvme_io_qpair_opts opts;
	uint32_t dstrd = NVME_GET(ctrlr->cap, NVME_CAP_DSTRD);
	uint16_t qid;
	int rc;

	*out = NULL;
	memset(&opts, 0, sizeof(opts));
	if (user_opts != NULL)
		opts = *user_opts;
	rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_alloc_io_qpair()");
	if (rc == 0)
		rc = nvme__ctrlr_check_qpair_opts(ctrlr, &opts);
	if (rc != 0)
		return rc;
	qid = nvme__ctrlr_free_qid(ctrlr);
	if (qid == 0 || NVME_CQ_HDBL(qid, dstrd) + 4u > ctrlr->dev.bar0_size)
		return nvme__explain_no_qpair(ctrlr, NVME__HERE);
	nvme__ctrlr_lock(ctrlr); /* a reset comes before it or finds it in the list */
	rc = nvme__ctrlr_create_io_qpair(ctrlr, qid, &opts, out);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* Takes it out of the controller's list. */
static void nvme__qpair_unlink(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	struct nvme_qpair **link;

	for (link = &ctrlr->io_qpairs; *link != qp; link = &(*link)->next)
		;
	*link = qp->next;
	nvme__qpair_leave_group(qp);
	if (ctrlr->sync_qp == qp)
		ctrlr->sync_qp = NULL;
}

/*
 * Deletes the submission queue, then the completion queue. When the first is deleted the controller
 * is done with all commands and their data [Base 2.1: Delete I/O Submission Queue command], so that
 * their callbacks may run.
 */
static int nvme__qpair_disconnect(struct nvme_qpair *qp)
{
	int rc;

	if (qp->disconnected || nvme__qpair_end_lost(qp))
		return 0;
	if (qp->delayed != 0)
		nvme__ring_delayed(qp);
	rc = nvme_ctrlr_cmd_delete_io_sq(qp->ctrlr, qp);
	if (rc != 0) /* a reset while it waits is as good */
		return nvme__qpair_end_lost(qp) ? 0 : rc;
	if (nvme__qpair_failed(qp) == 0)
		(void)nvme__qpair_reap(qp, 0); /* what came before the queue was gone */
	rc = nvme_ctrlr_cmd_delete_io_cq(qp->ctrlr, qp);
	nvme__qpair_abort_outstanding(qp, true);
	return nvme__qpair_end_lost(qp) ? 0 : rc;
}

/* One that is not deleted is buried: it ends when the controller is off. */
static int nvme__qpair_delete(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	int rc;

	nvme__qpair_set_refuse(qp, -ESHUTDOWN);
	qp->polling++; /* callbacks run from here on, and they may not free it once more */
	nvme__ctrlr_lock(ctrlr); /* against a reset in the middle */
	rc = nvme__qpair_disconnect(qp);
	nvme__qpair_unlink(qp);
	nvme__ctrlr_unlock(ctrlr);
	if (rc == 0 && !ctrlr->closing)
		nvme__qpair_destroy(qp);
	else
		nvme__qpair_bury(qp, rc);
	return rc;
}

NVMEDEF int nvme_ctrlr_free_io_qpair(struct nvme_qpair *qp)
{
	static const char me[] = "nvme_ctrlr_free_io_qpair()";
	int rc;

	if (qp == NULL)
		return 0;
	if (qp->polling != 0)
		return nvme__explain_in_callback(qp, me, NVME__HERE);
	rc = nvme__ctrlr_refuse_call(qp->ctrlr, me);
	return rc != 0 ? rc : nvme__qpair_delete(qp);
}

/* ============================================================================================
 * >>attach
 *
 * The beginning and the end. The device is opened through a table of functions, that of >>vfio or
 * one of the caller's: registers that can be read, and DMA that can be mapped, are all that the
 * rest needs. Then it is brought up. The end goes the same way back: queues, shutdown, CC.EN = 0,
 * no memory mapped for the device, and only then the last callbacks, whose buffers are the
 * caller's again.
 * ============================================================================================ */

/*
 * A queue pair's last hour: what was completed, as its phase tells [Base 2.1 §4.2.4, Fig. 108:
 * Phase Tag], then what never will be.
 */
static void nvme__qpair_end(struct nvme_qpair *qp)
{
	nvme__qpair_set_refuse(qp, -ESHUTDOWN); /* nothing is tried again */
	qp->polling++;                          /* callbacks run here */
	nvme__qpair_drain(qp);
	nvme__qpair_abort_outstanding(qp, true);
}

/*
 * Releases everything, in the reverse order of its coming. The controller should be off, CC.EN = 0
 * and CSTS.RDY = 0 [Base 2.1 §3.1.4.6, Fig. 42: Controller Status]; one that would not go off is
 * made harmless by cutting off its DMA.
 */
static void nvme__ctrlr_destroy(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp;

	ctrlr->closing = true;
	nvme__dma_cut_off(ctrlr); /* before the callbacks: their buffers are the caller's again */
	for (qp = ctrlr->zombies; qp != NULL; qp = qp->next)
		nvme__qpair_end(qp);
	if (ctrlr->adminq != NULL)
		nvme__qpair_end(ctrlr->adminq);
	while ((qp = ctrlr->zombies) != NULL) { /* no callback can come that asks for one of them */
		ctrlr->zombies = qp->next;
		nvme__qpair_destroy(qp);
	}
	if (ctrlr->adminq != NULL)
		nvme__qpair_destroy(ctrlr->adminq);
	while (ctrlr->num_ns > 0)
		NVME_FREE(ctrlr->ns[--ctrlr->num_ns]);
	nvme__ctrlr_fini_events(ctrlr);
	nvme__arena_fini(ctrlr);
	nvme__ctrlr_fini_interrupts(ctrlr);
	nvme__ctrlr_fini_cmb(ctrlr);
	nvme__ctrlr_fini_removal(ctrlr);
	nvme__trace_detach(ctrlr);
	ctrlr->dev.ops->close(&ctrlr->dev);
	nvme__mutex_destroy(&ctrlr->dma_lock);
	nvme__mutex_destroy(&ctrlr->admin_lock);
	NVME_FREE(ctrlr);
}

/* One with options that are complete, and the device open. NULL: *rc says why not. */
static struct nvme_ctrlr *nvme__ctrlr_open(const char *addr, const struct nvme_ctrlr_opts *opts,
                                           int *rc)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)NVME_CALLOC(1, sizeof(*ctrlr));

	*rc = -ENOMEM;
	if (ctrlr == NULL)
		return NULL;
	snprintf(ctrlr->dev.name, sizeof(ctrlr->dev.name), "%s", addr);
	nvme__mutex_init(&ctrlr->dma_lock);
	nvme__ctrlr_init_lock(ctrlr);
	*rc = nvme__ctrlr_set_opts(ctrlr, opts);
	if (*rc == 0)
		*rc = ctrlr->dev.ops->open(&ctrlr->dev, addr);
	if (*rc == 0)
		return ctrlr;
	nvme__mutex_destroy(&ctrlr->dma_lock);
	nvme__mutex_destroy(&ctrlr->admin_lock);
	NVME_FREE(ctrlr);
	return NULL;
}

/*
 * Opens the device, then brings the controller up [Base 2.1 §3.5.1: Memory-based controller
 * initialization (PCIe)].
 */
NVMEDEF int nvme_attach(const char *addr, const struct nvme_ctrlr_opts *opts,
                        struct nvme_ctrlr **out)
{
	struct nvme_ctrlr *ctrlr;
	int rc;

	*out = NULL;
	/* no device has the address "", and the log will say so */
	ctrlr = nvme__ctrlr_open(addr != NULL ? addr : "", opts, &rc);
	if (ctrlr == NULL)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
	              "attaching through %s: %04x:%04x, BAR0 of %zu bytes", ctrlr->dev.ops->name,
	              ctrlr->dev.vendor_id, ctrlr->dev.device_id, ctrlr->dev.bar0_size);
	rc = nvme_ctrlr_process_init(ctrlr);
	if (rc != 0) {
		(void)nvme__ctrlr_turn_off(ctrlr);
		nvme__ctrlr_destroy(ctrlr);
		return rc;
	}
	*out = ctrlr;
	return 0;
}

/* Not in a callback, neither of the admin queue nor of any other. */
static int nvme__ctrlr_may_detach(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp;
	int rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_detach()");

	for (qp = ctrlr->io_qpairs; qp != NULL && rc == 0; qp = qp->next) {
		if (qp->polling != 0)
			rc = nvme__explain_in_callback(qp, "nvme_detach()", NVME__HERE);
	}
	return rc;
}

/*
 * Callbacks with data wait until the controller cannot reach the data any more: each queue's until
 * it is deleted [Base 2.1: Delete I/O Submission Queue command], the rest until the controller is
 * disabled and its DMA memory unmapped. Commands without data, such as Asynchronous Event Requests,
 * end before the shutdown [Base 2.1: Asynchronous Event Request command].
 */
static int nvme_ctrlr_destruct_async(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp;
	int rc = nvme__ctrlr_may_detach(ctrlr);

	if (rc != 0)
		return rc;
	ctrlr->closing = true;
	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next)
		nvme__qpair_set_refuse(qp, -ESHUTDOWN);
	while (ctrlr->io_qpairs != NULL)
		(void)nvme__qpair_delete(ctrlr->io_qpairs);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "Prepare to destruct SSD");
	ctrlr->adminq->polling++; /* its callbacks run from here on */
	nvme__qpair_abort_outstanding(ctrlr->adminq, false);
	return 0;
}

/* Callbacks, the shutdown, the last callbacks (nvme_detach_async() takes these steps apart). */
NVMEDEF int nvme_detach(struct nvme_ctrlr *ctrlr)
{
	int rc = ctrlr != NULL ? nvme_ctrlr_destruct_async(ctrlr) : 0;

	if (ctrlr == NULL || rc != 0)
		return rc;
	rc = nvme_ctrlr_shutdown(ctrlr);
	nvme__ctrlr_destroy(ctrlr);
	return rc;
}

/* ============================================================================================
 * >>io
 *
 * Reads and writes. SLBA goes into CDW10 and CDW11, NLB, 0-based, into the low half of CDW12
 * [NVM 1.1 §3.3.4: Read command, §3.3.6: Write command].
 * ============================================================================================ */

#define NVME__IO_FLAGS  (NVME_IO_FLAGS_FUA | NVME_IO_FLAGS_LIMITED_RETRY)

/*
 * Nothing that the namespace cannot hold, LBAs 0 to NSZE - 1 [NVM 1.1 §4.1.5.1, Fig. 114: Identify
 * Namespace data structure], or one command cannot carry, MDTS [Base 2.1 §5.1.13.2.1, Fig. 312:
 * Identify Controller data structure]. max_nlb is at most nsze. It is one expression, as each part
 * holds nearly always; which one did not is asked afterwards.
 */
NVME__HOT bool nvme__check_rw(const struct nvme_ns *ns, const struct nvme_qpair *qp, uint64_t slba,
                              uint32_t nlb, uint64_t *len, uint32_t io_flags, nvme_cmd_cb cb)
{
	/* acquire: sizes are read after it, so they are those that it came with */
	uint32_t max_nlb = __atomic_load_n(&ns->max_nlb, __ATOMIC_ACQUIRE);
	int gone = __atomic_load_n(&qp->ctrlr->gone, __ATOMIC_RELAXED);
	int refuse = __atomic_load_n(&qp->refuse, __ATOMIC_RELAXED);

	*len = (uint64_t)nlb * ns->extended_sector_size;
	return nvme__likely((refuse | gone) == 0 && qp->ctrlr == ns->ctrlr && nlb - 1 < max_nlb &&
	                    slba <= ns->nsze - nlb && *len <= qp->max_xfer_size &&
	                    (io_flags & ~NVME__IO_FLAGS) == 0 && cb != NULL);
}

/*
 * The SQE of a read or write, all 64 bytes of it [NVM 1.1 §3.3.4, Fig. 53: Read, CDW12; §3.3.6,
 * Fig. 70: Write, CDW12].
 */
NVME__HOT void nvme__fill_rw(struct nvme_cmd *sqe, uint8_t opc, uint16_t cid, uint32_t nsid,
                             const struct nvme_prp_pair *prps, uint64_t slba, uint32_t cdw12)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opc = opc;
	sqe->cid = cid;
	sqe->nsid = nsid;
	sqe->dptr.prp = *prps;
	sqe->cdw10 = (uint32_t)slba;
	sqe->cdw11 = (uint32_t)(slba >> 32);
	sqe->cdw12 = cdw12;
}

/*
 * Check, tracker, PRPs, SQE, doorbell. A read and a write differ in the opcode only, whose lowest
 * bits say which way the data goes [Base 2.1 §4.1.1, Fig. 91: Command Dword 0].
 */
NVME__HOT int nvme__ns_cmd_rw(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc, void *buf,
                              uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                              uint32_t io_flags)
{
	struct nvme_prp_pair prps;
	struct nvme_tracker *tr;
	uint64_t len;
	uint32_t nsid;
	uint16_t cid;
	int rc;

	if (!nvme__check_rw(ns, qp, slba, nlb, &len, io_flags, cb))
		return nvme__refuse_rw(ns, qp, slba, nlb, io_flags, cb);
	tr = nvme__tracker_get(qp, cb, arg);
	if (nvme__unlikely(tr == NULL))
		return -EAGAIN;
	rc = nvme__build_prps(qp, tr, opc, buf, (uint32_t)len, &prps);
	if (nvme__unlikely(rc != 0)) {
		nvme__tracker_put(qp, tr);
		return rc;
	}
	/* Written twice from registers: to read back 64 bytes that were just written in small
	 * pieces, as a copy would, a processor has to wait for them. */
	nsid = ns->id;
	cid = tr->cid;
	nvme__fill_rw(&qp->sq[qp->sq_tail], opc, cid, nsid, &prps, slba, (nlb - 1) | io_flags);
	nvme__fill_rw(&tr->cmd, opc, cid, nsid, &prps, slba, (nlb - 1) | io_flags);
	nvme_qpair_submit_request(qp, tr, buf, (uint32_t)len);
	return 0;
}

/* [NVM 1.1 §3.3.4: Read command] */
NVMEDEF int nvme_ns_cmd_read(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                             uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	return nvme__ns_cmd_rw(ns, qp, NVME_OPC_READ, buf, slba, nlb, cb, arg, io_flags);
}

/* [NVM 1.1 §3.3.6: Write command] */
NVMEDEF int nvme_ns_cmd_write(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                              uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
}

/*
 * What the controller holds in a volatile cache goes to the medium [Base 2.1 §7.2: Flush].
 * Submitted as any other command is: the checks of >>raw, then nvme__submit_raw().
 */
NVMEDEF int nvme_ns_cmd_flush(struct nvme_ns *ns, struct nvme_qpair *qp, nvme_cmd_cb cb, void *arg)
{
	struct nvme_cmd cmd;

	nvme__cmd_init(&cmd, NVME_OPC_FLUSH, ns->id);
	return nvme__submit_io(ns->ctrlr, qp, &cmd, NULL, 0, cb, arg);
}

/* ============================================================================================
 * >>pci
 *
 * An NVMe controller is a PCI function whose class code reads 01h (mass storage), 08h (non-volatile
 * memory), 02h (NVM Express) [PCIe 1.1 §3.8.1: PCI header]. libpci walks the bus; which kernel
 * driver holds a function and which IOMMU group it is in are links in sysfs.
 * ============================================================================================ */
#define NVME__PCI_CLASS 0x010802u

/* Up to max hexadecimal digits that are followed by end, which is passed over too. */
static bool nvme__pci_parse_hex(const char **text, int max, char end, unsigned int *value)
{
	const char *at = *text;
	char *stop;

	if (!isxdigit((unsigned char)*at) || (at[0] == '0' && (at[1] | 0x20) == 'x'))
		return false; /* strtoul() would take blanks, signs and 0x */
	*value = (unsigned int)strtoul(at, &stop, 16);
	*text = stop + 1;
	return stop - at <= max && *stop == end;
}

/* "01:00.0" or "0000:01:00.0" to the full form that sysfs uses. */
static int nvme__pci_parse_addr(const char *text, char *addr, size_t size)
{
	unsigned int domain = 0, bus, dev, func;
	const char *colon = strchr(text, ':');

	if (colon != NULL && strchr(colon + 1, ':') != NULL &&
	    !nvme__pci_parse_hex(&text, 8, ':', &domain))
		return -EINVAL;
	if (!nvme__pci_parse_hex(&text, 2, ':', &bus) ||
	    !nvme__pci_parse_hex(&text, 2, '.', &dev) ||
	    !nvme__pci_parse_hex(&text, 1, '\0', &func) || dev > 0x1f || func > 7)
		return -EINVAL;
	snprintf(addr, size, "%04x:%02x:%02x.%x", domain, bus, dev, func);
	return 0;
}

#ifndef NVME_NO_VFIO

NVME_STATIC_ASSERT(sizeof(off_t) >= 8, "nvme.h: compile with -D_FILE_OFFSET_BITS=64");

/* libpci reports a fatal error by a call that must not return. */
static __thread jmp_buf nvme__pci_failed;

static void nvme__pci_error(char *msg, ...) __attribute__((noreturn));
static void nvme__pci_error(char *msg, ...)
{
	(void)msg;
	longjmp(nvme__pci_failed, 1);
}

static void nvme__pci_quiet(char *msg, ...)
{
	(void)msg;
}

/* The last part of where a symbolic link of a PCI function points, "" when there is none. */
static void nvme__pci_link(const char *addr, const char *link, char *out, size_t size)
{
	char path[128], target[512];
	const char *base;
	ssize_t n;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.23s/%.32s", addr, link);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	base = strrchr(target, '/');
	snprintf(out, size, "%.*s", (int)size - 1, base != NULL ? base + 1 : target);
}

/* The address alone: libpci knows it from the scan. */
static void nvme__pci_begin(struct nvme_pci_info *info, const struct pci_dev *dev)
{
	memset(info, 0, sizeof(*info));
	snprintf(info->addr, sizeof(info->addr), "%04x:%02x:%02x.%x", (unsigned int)dev->domain,
	         (unsigned int)dev->bus, (unsigned int)dev->dev, (unsigned int)dev->func);
}

/* The rest is read from the function, which wakes it where it sleeps without power. */
static void nvme__pci_fill(struct nvme_pci_info *info, struct pci_dev *dev)
{
	char group[32];

	pci_fill_info(dev, PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_NUMA_NODE);
	info->vendor_id = dev->vendor_id;
	info->device_id = dev->device_id;
	info->subsystem_vendor_id = pci_read_word(dev, PCI_SUBSYSTEM_VENDOR_ID);
	info->subsystem_device_id = pci_read_word(dev, PCI_SUBSYSTEM_ID);
	info->revision_id = pci_read_byte(dev, PCI_REVISION_ID);
	info->class_code =
		((uint32_t)dev->device_class << 8) | (uint32_t)pci_read_byte(dev, PCI_CLASS_PROG);
	info->numa_node = dev->numa_node;
	nvme__pci_link(info->addr, "driver", info->driver, sizeof(info->driver));
	nvme__pci_link(info->addr, "iommu_group", group, sizeof(group));
	info->iommu_group = group[0] != '\0' ? atoi(group) : -1;
}

/* Every NVMe function on the bus; with addr, only the one there, of any class. */
static int nvme__pci_scan(const char *addr, struct nvme_pci_info *list, int max)
{
	struct pci_access *volatile access = pci_alloc();
	struct nvme_pci_info info;
	struct pci_dev *dev;
	volatile int found = 0; /* volatile, as access, because of setjmp() */

	access->error = nvme__pci_error;
	access->warning = nvme__pci_quiet;
	if (setjmp(nvme__pci_failed) != 0) /* no PCI bus here, or no way to look at it */
		return errno == EMFILE ? -EMFILE : -ENODEV; /* libpci is half-way: no cleanup */
	pci_init(access);
	pci_scan_bus(access);
	for (dev = access->devices; dev != NULL; dev = dev->next) {
		nvme__pci_begin(&info, dev);
		if (addr != NULL && strcmp(info.addr, addr) != 0)
			continue;
		nvme__pci_fill(&info, dev);
		if (addr == NULL && info.class_code != NVME__PCI_CLASS)
			continue;
		if (found < max)
			list[found] = info;
		found = found + 1;
	}
	pci_cleanup(access);
	return found;
}

NVMEDEF int nvme_pci_enumerate(struct nvme_pci_info *list, int max)
{
	if (max < 0 || (list == NULL && max > 0))
		return -EINVAL;
	return nvme__pci_scan(NULL, list, max);
}

/* ============================================================================================
 * >>vfio
 *
 * VFIO is how Linux lets a process own a PCI function. Three files are involved:
 *	container  /dev/vfio/vfio   an IOMMU address space: what is mapped here, the device can reach
 *	group      /dev/vfio/<n>    the functions that the IOMMU cannot tell apart; all or none
 *	device     from the group   config space, BARs and interrupts of one function
 * They are opened in this order and closed in the reverse. The IOMMU is what makes this safe: the
 * controller can read and write the memory that was mapped for it, and nothing else. The table of
 * contents is nvme__vfio_open_all().
 * ============================================================================================ */

struct nvme__vfio {
	int container, group, device; /* file descriptors, -1: not open */
	int group_id;
	bool iommu_set;
	struct vfio_region_info bar0, config;
	void *bar0_map, *cmb_map;
	size_t bar0_map_len, cmb_map_len;
};

static struct nvme__vfio *nvme__vfio_of(const struct nvme_dev *dev)
{
	return (struct nvme__vfio *)dev->priv;
}

/* Refuses a device that vfio-pci does not hold. */
static int nvme__vfio_check_driver(struct nvme_dev *dev, const struct nvme_pci_info *info)
{
	if (strcmp(info->driver, "vfio-pci") == 0)
		return 0;
	if (info->iommu_group < 0)
		return nvme__explain_no_group(dev, NVME__HERE);
	return nvme__explain_driver(dev, info->driver, NVME__HERE);
}

/* Is there a device at this address, is it an NVMe controller, and may we have it? */
static int nvme__vfio_find_device(struct nvme_dev *dev, const char *addr)
{
	struct nvme_pci_info info;
	int found;

	if (nvme__pci_parse_addr(addr, dev->name, sizeof(dev->name)) != 0 &&
	    nvme__pci_parse_trid(addr, dev->name, sizeof(dev->name)) != 0)
		return nvme__explain_address(dev, addr, NVME__HERE);
	found = nvme__pci_scan(dev->name, &info, 1);
	if (found == -EMFILE)
		return nvme__explain_files(dev, NVME__HERE);
	if (found != 1)
		return nvme__explain_no_device(dev, NVME__HERE);
	dev->vendor_id = info.vendor_id;
	dev->device_id = info.device_id;
	dev->subsystem_vendor_id = info.subsystem_vendor_id;
	dev->subsystem_device_id = info.subsystem_device_id;
	dev->revision_id = info.revision_id;
	dev->class_code = info.class_code;
	if (info.class_code != NVME__PCI_CLASS)
		return nvme__explain_class(dev, NVME__HERE);
	nvme__vfio_of(dev)->group_id = info.iommu_group;
	return nvme__vfio_check_driver(dev, &info);
}

/* An empty address space, of a kernel that speaks this version of VFIO and has a type1 IOMMU. */
static int nvme__vfio_open_container(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);

	if (v->group_id < 0)
		return nvme__explain_no_group(dev, NVME__HERE);
	v->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (v->container < 0)
		return nvme__explain_container(dev, -errno, NVME__HERE);
	if (ioctl(v->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		return nvme__explain_vfio_version(dev, VFIO_API_VERSION, NVME__HERE);
	if (ioctl(v->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return nvme__explain_no_type1(dev, NVME__HERE);
	return 0;
}

/* All devices of the group must be free; then it joins the address space. */
static int nvme__vfio_open_group(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	struct vfio_group_status status;
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%d", v->group_id);
	v->group = open(path, O_RDWR | O_CLOEXEC);
	if (v->group < 0)
		return nvme__explain_group(dev, v->group_id, path, -errno, NVME__HERE);

	memset(&status, 0, sizeof(status));
	status.argsz = sizeof(status);
	if (ioctl(v->group, VFIO_GROUP_GET_STATUS, &status) != 0)
		return nvme__explain_group(dev, v->group_id, path, -errno, NVME__HERE);
	if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0)
		return nvme__explain_not_viable(dev, v->group_id, NVME__HERE);
	if (ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &v->container) != 0)
		return nvme__explain_group(dev, v->group_id, path, -errno, NVME__HERE);
	return 0;
}

/* type1v2 is the plain kind: whole ranges are mapped and unmapped, all memory is pinned. */
static int nvme__vfio_set_iommu(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);

	if (ioctl(v->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
		return nvme__explain_iommu(dev, -errno, NVME__HERE);
	v->iommu_set = true;
	return 0;
}

/* Without the kernel's list: 39 bits, the least an IOMMU has, around x86's interrupt window. */
static void nvme__vfio_default_ranges(struct nvme_dev *dev)
{
	dev->iova[0].start = 0;
	dev->iova[0].last = 0xfedfffff;
	dev->iova[1].start = 0xfef00000;
	dev->iova[1].last = 0x7fffffffff;
	dev->num_iova = 2;
}

static void nvme__vfio_parse_ranges(struct nvme_dev *dev, const uint8_t *info, uint32_t size,
                                    uint32_t cap_offset)
{
	struct vfio_iommu_type1_info_cap_iova_range cap;
	struct vfio_info_cap_header header;
	uint32_t i, at;

	for (at = cap_offset; at != 0 && at <= size - sizeof(header); at = header.next) {
		memcpy(&header, info + at, sizeof(header));
		if (header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE || at > size - sizeof(cap))
			continue;
		memcpy(&cap, info + at, sizeof(cap));
		at += (uint32_t)sizeof(cap);
		for (i = 0; i < cap.nr_iovas && dev->num_iova < NVME_MAX_IOVA_RANGES; i++) {
			if (at + sizeof(struct vfio_iova_range) > size)
				return;
			memcpy(&dev->iova[dev->num_iova++], info + at,
			       sizeof(struct vfio_iova_range));
			at += (uint32_t)sizeof(struct vfio_iova_range);
		}
		return;
	}
}

/* The smallest page that the IOMMU maps, if that is larger than the host's, and its ranges. */
static void nvme__vfio_parse_iommu(struct nvme_dev *dev, const uint8_t *info, uint32_t size)
{
	struct vfio_iommu_type1_info head;
	size_t smallest;

	memset(&head, 0, sizeof(head));
	memcpy(&head, info, size < sizeof(head) ? size : sizeof(head));
	if ((head.flags & VFIO_IOMMU_INFO_PGSIZES) != 0 && head.iova_pgsizes != 0) {
		smallest = (size_t)(head.iova_pgsizes & (~head.iova_pgsizes + 1));
		if (smallest > dev->page_size)
			dev->page_size = smallest;
	}
	if ((head.flags & VFIO_IOMMU_INFO_CAPS) != 0)
		nvme__vfio_parse_ranges(dev, info, size, head.cap_offset);
}

/* Which addresses the device may be given: an IOMMU has a width, and windows that it keeps. */
static int nvme__vfio_get_iova_ranges(struct nvme_dev *dev)
{
	struct vfio_iommu_type1_info head;
	int container = nvme__vfio_of(dev)->container;
	uint8_t *info;

	memset(&head, 0, sizeof(head));
	head.argsz = sizeof(head);
	dev->page_size = NVME__HOST_PAGE_SIZE;
	if (ioctl(container, VFIO_IOMMU_GET_INFO, &head) != 0)
		return -errno;
	/* argsz is now how much the kernel has to say */
	info = (uint8_t *)NVME_CALLOC(1, head.argsz);
	if (info == NULL)
		return -ENOMEM;
	memcpy(info, &head.argsz, sizeof(head.argsz));
	if (ioctl(container, VFIO_IOMMU_GET_INFO, info) == 0)
		nvme__vfio_parse_iommu(dev, info, head.argsz);
	NVME_FREE(info);
	if (dev->num_iova == 0)
		nvme__vfio_default_ranges(dev);
	return 0;
}

static int nvme__vfio_open_device(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);

	v->device = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, dev->name);
	return v->device >= 0 ? 0 : nvme__explain_device(dev, -errno, NVME__HERE);
}

static int nvme__vfio_get_region(struct nvme_dev *dev, uint32_t index,
                                 struct vfio_region_info *region)
{
	memset(region, 0, sizeof(*region));
	region->argsz = sizeof(*region);
	region->index = index;
	if (ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_GET_REGION_INFO, region) == 0)
		return 0;
	return nvme__explain_region(dev, index, NVME__HERE);
}

/*
 * How many bytes from the start of BAR0 may be mapped. A kernel that guards the MSI-X table lists
 * the parts that may; the registers are in the first of them.
 */
static size_t nvme__vfio_mappable(struct nvme_dev *dev, const struct vfio_region_info *bar0)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;
	struct vfio_info_cap_header header;
	size_t len = (size_t)bar0->size;
	uint32_t at, next;
	uint8_t *info;

	if ((bar0->flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
		return 0;
	if ((bar0->flags & VFIO_REGION_INFO_FLAG_CAPS) == 0 || bar0->argsz <= sizeof(*bar0))
		return len;
	info = (uint8_t *)NVME_CALLOC(1, bar0->argsz);
	if (info == NULL)
		return 0;
	memcpy(info, bar0, sizeof(*bar0));
	if (ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_GET_REGION_INFO, info) == 0) {
		for (at = bar0->cap_offset; at != 0 && at <= bar0->argsz - sizeof(header);
		     at = next) {
			memcpy(&header, info + at, sizeof(header));
			next = header.next;
			if (header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP ||
			    at + sizeof(sparse) + sizeof(area) > bar0->argsz)
				continue;
			memcpy(&sparse, info + at, sizeof(sparse));
			memcpy(&area, info + at + sizeof(sparse), sizeof(area));
			len = sparse.nr_areas > 0 && area.offset == 0 ? (size_t)area.size : 0;
		}
	}
	NVME_FREE(info);
	return len < bar0->size ? len : (size_t)bar0->size;
}

/*
 * The same in whole pages. A BAR that is smaller than a page and stands alone on it can be mapped
 * too: VFIO sets the flag then, and hands out the whole page. A part of a BAR is rounded down.
 */
static size_t nvme__vfio_map_len(struct nvme_dev *dev, const struct vfio_region_info *bar0)
{
	size_t len = nvme__vfio_mappable(dev, bar0), mask = NVME__HOST_PAGE_SIZE - 1;

	return (len == bar0->size ? len + mask : len) & ~mask;
}

/*
 * BAR0 (with BAR1 its upper half) holds the registers and, from 1000h on, the doorbells [PCIe 1.1
 * §3.8.1: PCI header]. Where it cannot be mapped every access is a pread() or pwrite().
 */
static int nvme__vfio_map_bar0(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	int rc;

	rc = nvme__vfio_get_region(dev, VFIO_PCI_BAR0_REGION_INDEX, &v->bar0);
	if (rc != 0)
		return rc;
	if (v->bar0.size < NVME_REG_DOORBELLS + 8 || v->bar0.size > (1u << 30))
		return nvme__explain_bar0_size(dev, v->bar0.size, NVME__HERE);
	dev->bar0_size = (size_t)v->bar0.size;
	v->bar0_map_len = nvme__vfio_map_len(dev, &v->bar0);
	if (v->bar0_map_len == 0)
		return nvme__warn_bar0_unmapped(dev, 0, NVME__HERE);
	v->bar0_map = mmap(NULL, v->bar0_map_len, PROT_READ | PROT_WRITE, MAP_SHARED, v->device,
	                   (off_t)v->bar0.offset);
	if (v->bar0_map == MAP_FAILED) {
		v->bar0_map = NULL;
		return nvme__warn_bar0_unmapped(dev, errno, NVME__HERE);
	}
	dev->bar0 = (volatile uint8_t *)v->bar0_map;
	dev->bar0_mapped = v->bar0_map_len < dev->bar0_size ? v->bar0_map_len : dev->bar0_size;
	return 0;
}

/*
 * A function may start DMA only while Bus Master Enable is set in its PCI command register [PCIe
 * 1.1 §3.8.1: PCI header]. INTx is off: here are polls, or MSI-X.
 */
static int nvme__vfio_enable_bus_master(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	uint16_t command;
	off_t at;
	int rc;

	rc = nvme__vfio_get_region(dev, VFIO_PCI_CONFIG_REGION_INDEX, &v->config);
	if (rc != 0)
		return rc;
	at = (off_t)v->config.offset + PCI_COMMAND;
	if (pread(v->device, &command, sizeof(command), at) == sizeof(command)) {
		command = (uint16_t)(command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
		                     PCI_COMMAND_DISABLE_INTx);
		if (pwrite(v->device, &command, sizeof(command), at) == sizeof(command))
			return 0;
	}
	return nvme__explain_config(dev, NVME__HERE);
}

static void nvme__vfio_close(struct nvme_dev *dev)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);

	if (v == NULL)
		return;
	if (v->bar0_map != NULL)
		munmap(v->bar0_map, v->bar0_map_len);
	if (v->cmb_map != NULL)
		munmap(v->cmb_map, v->cmb_map_len);
	if (v->device >= 0)
		close(v->device); /* the kernel switches bus mastering off and resets the function */
	if (v->iommu_set)
		ioctl(v->group, VFIO_GROUP_UNSET_CONTAINER);
	if (v->group >= 0)
		close(v->group);
	if (v->container >= 0)
		close(v->container);
	NVME_FREE(v);
	dev->priv = NULL;
	dev->bar0 = NULL;
	dev->bar0_mapped = 0;
}

static int nvme__vfio_open_all(struct nvme_dev *dev, const char *addr)
{
	int rc;

	/* it exists, is NVMe, and vfio-pci holds it */
	rc = nvme__vfio_find_device(dev, addr);
	if (rc != 0)
		return rc;
	/* an empty address space */
	rc = nvme__vfio_open_container(dev);
	if (rc != 0)
		return rc;
	/* which the group of the device joins */
	rc = nvme__vfio_open_group(dev);
	if (rc != 0)
		return rc;
	/* the IOMMU now translates for it */
	rc = nvme__vfio_set_iommu(dev);
	if (rc != 0)
		return rc;
	/* with these addresses */
	rc = nvme__vfio_get_iova_ranges(dev);
	if (rc != 0)
		return rc;
	/* the function itself */
	rc = nvme__vfio_open_device(dev);
	if (rc != 0)
		return rc;
	/* its registers */
	rc = nvme__vfio_map_bar0(dev);
	if (rc != 0)
		return rc;
	/* and it may start DMA */
	return nvme__vfio_enable_bus_master(dev);
}

static int nvme__vfio_open(struct nvme_dev *dev, const char *addr)
{
	struct nvme__vfio *v = (struct nvme__vfio *)NVME_CALLOC(1, sizeof(*v));
	int rc;

	if (v == NULL)
		return -ENOMEM;
	v->container = v->group = v->device = -1;
	dev->priv = v;
	rc = nvme__vfio_open_all(dev, addr);
	if (rc != 0)
		nvme__vfio_close(dev);
	return rc;
}

/* ---- DMA and registers ---- */

/* The kernel pins the memory and tells the IOMMU; it counts against RLIMIT_MEMLOCK. */
static int nvme__vfio_dma_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	struct vfio_iommu_type1_dma_map map;

	memset(&map, 0, sizeof(map));
	map.argsz = sizeof(map);
	map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	map.vaddr = (uint64_t)(uintptr_t)vaddr;
	map.iova = iova;
	map.size = len;
	if (ioctl(nvme__vfio_of(dev)->container, VFIO_IOMMU_MAP_DMA, &map) == 0)
		return 0;
	return nvme__explain_dma_map(dev, vaddr, len, -errno, NVME__HERE);
}

static int nvme__vfio_dma_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap;

	memset(&unmap, 0, sizeof(unmap));
	unmap.argsz = sizeof(unmap);
	unmap.iova = iova;
	unmap.size = len;
	return ioctl(nvme__vfio_of(dev)->container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0 ? 0 : -errno;
}

/* Registers that could not be mapped. A device that does not answer reads as all ones. */
static uint32_t nvme__vfio_read_4(struct nvme_dev *dev, uint32_t offset)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	uint32_t value;

	if (pread(v->device, &value, sizeof(value), (off_t)v->bar0.offset + (off_t)offset) !=
	    (ssize_t)sizeof(value))
		return UINT32_MAX;
	return value;
}

static void nvme__vfio_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);

	if (pwrite(v->device, &value, sizeof(value), (off_t)v->bar0.offset + (off_t)offset) !=
	    (ssize_t)sizeof(value))
		nvme__explain_write(dev, offset, NVME__HERE);
}

static int nvme__vfio_reset(struct nvme_dev *dev)
{
	struct vfio_device_info info;

	memset(&info, 0, sizeof(info));
	info.argsz = sizeof(info);
	if (ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_GET_INFO, &info) != 0)
		return -errno;
	if ((info.flags & VFIO_DEVICE_FLAGS_RESET) == 0)
		return -ENOTSUP;
	if (ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_RESET) != 0)
		return -errno;
	return nvme__vfio_enable_bus_master(dev);
}

static const struct nvme_dev_ops nvme__vfio_ops = {
	"vfio",
	nvme__vfio_open,
	nvme__vfio_close,
	nvme__vfio_dma_map,
	nvme__vfio_dma_unmap,
	nvme__vfio_read_4,
	nvme__vfio_write_4,
	nvme__vfio_reset,
	NULL, /* CLOCK_MONOTONIC */
	nvme__vfio_set_interrupts,
	nvme__vfio_get_bar,
	nvme__vfio_map_bar,
	nvme__vfio_set_events,
};

#endif /* NVME_NO_VFIO */

/* ############################################################################################
 * END OF BOOK 1. What follows is to be looked up.
 * ############################################################################################ */

#ifdef __cplusplus
}
#endif

#endif /* the order of the includes */
#endif /* NVME__BOOK1 */

/* ############################################################################################
 * BOOK 2: MORE OF NVME
 *
 * What the driver can do besides, and what it keeps account of. To be searched by tag:
 *	>>codes          all other registers, structures and codes of the specification
 *	>>more           the functions of this book
 *	   the implementation:
 *	>>options-check  defaults, and what is refused
 *	>>probe          several controllers at once; transport ids
 *	>>arena          who has which piece of DMA memory; memory of the caller's own
 *	>>unusual        doorbells that are delayed; how commands end that nobody completes
 *	>>raw            any command
 *	>>changes        namespaces that come, go and change
 *	>>blocking       calls that wait, with data in any memory
 *	>>interrupts     waiting without polling
 *	>>shadow         doorbells in memory
 *	>>cmb            queues and data in the controller's own memory
 *	>>scatter        reads and writes of any size, to memory in pieces: PRPs or SGLs
 *	>>format         Format NVM
 *	>>metadata       metadata of blocks, and protection information in it
 *	>>commands       Compare, Write Zeroes, Copy and the other commands of namespaces
 *	>>zones          zoned namespaces
 *	>>admin-commands features, log pages, self-test, sanitize, namespace management
 *	>>events         what the controller tells unasked; keep alive; the error log
 *	>>power          power states, and how a controller is told that power goes
 *	>>connect        queue pairs that are told of, forgotten and told of again; their statistics
 *	>>groups         many queue pairs, one poll
 *	>>removal        devices that are asked for, or taken away
 *	>>getters        what is known
 * ############################################################################################ */

/* ============================================================================================
 * >>codes
 *
 * The rest of what the specifications define, in the order of >>spec, for this book and the next.
 * ============================================================================================ */
#ifndef NVME_H_MORE
#define NVME_H_MORE

#ifndef NVME_TEXT_ONLY
#include <sys/uio.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- registers ---- */

/*
 * The registers that Book 1 does not touch. BPMBL and CMBMSC are 64 bits wide, the others 32.
 * [Base 2.1 §3.1.4: Controller properties]
 */
#define NVME_REG_INTMS   0x0c  /* Interrupt Mask Set (pin and MSI only, not MSI-X) */
#define NVME_REG_INTMC   0x10  /* Interrupt Mask Clear (pin and MSI only, not MSI-X) */
#define NVME_REG_NSSR    0x20  /* NVM Subsystem Reset */
#define NVME_REG_CMBLOC  0x38  /* Controller Memory Buffer Location */
#define NVME_REG_CMBSZ   0x3c  /* Controller Memory Buffer Size */
#define NVME_REG_BPINFO  0x40  /* Boot Partition Information */
#define NVME_REG_BPRSEL  0x44  /* Boot Partition Read Select */
#define NVME_REG_BPMBL   0x48  /* Boot Partition Memory Buffer Location (64 bits) */
#define NVME_REG_CMBMSC  0x50  /* Controller Memory Buffer Memory Space Control (64 bits) */
#define NVME_REG_CMBSTS  0x58  /* Controller Memory Buffer Status */
#define NVME_REG_CMBEBS  0x5c  /* Controller Memory Buffer Elasticity Buffer Size */
#define NVME_REG_CMBSWTP 0x60  /* Controller Memory Buffer Sustained Write Throughput */
#define NVME_REG_NSSD    0x64  /* NVM Subsystem Shutdown */
#define NVME_REG_PMRCAP  0xe00 /* Persistent Memory Region Capabilities */
#define NVME_REG_PMRCTL  0xe04 /* Persistent Memory Region Control */
#define NVME_REG_PMRSTS  0xe08 /* Persistent Memory Region Status */
#define NVME_REG_PMREBS  0xe0c /* Persistent Memory Region Elasticity Buffer Size */
#define NVME_REG_PMRSWTP 0xe10 /* Persistent Memory Region Sustained Write Throughput */
#define NVME_REG_PMRMSCL 0xe14 /* Persistent Memory Region Memory Space Control Lower */
#define NVME_REG_PMRMSCU 0xe18 /* Persistent Memory Region Memory Space Control Upper */

/* Magic values that trigger when written; any other value does nothing.
 * [Base 2.1 §3.1.4.7, Fig. 43: NVM Subsystem Reset], [Base 2.1: NVM Subsystem Shutdown] */
#define NVME_NSSR_NSSRC  0x4e564d65u /* "NVMe": reset the NVM subsystem */
#define NVME_NSSD_NORMAL 0x4e726d6cu /* "Nrml": normal shutdown of the NVM subsystem */
#define NVME_NSSD_ABRUPT 0x41627270u /* "Abrp": abrupt shutdown of the NVM subsystem */

/*
 * CMBLOC, CMBSZ: memory inside the controller that may hold queues and data. The offset counts
 * in the unit that CMBSZ.SZU gives: 0 is 4 KiB, each step is 16 times more, 6 is 64 GiB. CMBMSC
 * shows both registers (CRE) and tells the controller under which addresses commands mean this
 * memory (CMSE, CBA), CMBSTS what it thinks of the addresses.
 * [Base 2.1: Controller Memory Buffer Location], [Base 2.1: Controller Memory Buffer Size],
 * [Base 2.1: Controller Memory Buffer Memory Space Control]
 */
#define NVME_CMBLOC_BIR     2, 0   /* number of the BAR that holds the buffer */
#define NVME_CMBLOC_CQMMS   3, 3   /* queue in more than one memory supported */
#define NVME_CMBLOC_CQPDS   4, 4   /* discontiguous queues supported */
#define NVME_CMBLOC_CDPMLS  5, 5   /* pointer lists and data may mix memories */
#define NVME_CMBLOC_CDPCILS 6, 6   /* pointer list and command independent */
#define NVME_CMBLOC_CDMMMS  7, 7   /* data and metadata may mix memories */
#define NVME_CMBLOC_CQDA    8, 8   /* queue dword alignment */
#define NVME_CMBLOC_OFST    31, 12 /* offset in that BAR, unit from CMBSZ.SZU */
#define NVME_CMBSZ_SQS      0, 0   /* submission queues may be there */
#define NVME_CMBSZ_CQS      1, 1   /* completion queues may be there */
#define NVME_CMBSZ_LISTS    2, 2   /* PRP and SGL lists may be there */
#define NVME_CMBSZ_RDS      3, 3   /* data of reads may be there */
#define NVME_CMBSZ_WDS      4, 4   /* data of writes may be there */
#define NVME_CMBSZ_SZU      11, 8  /* size unit: 4096 << (4 * SZU) bytes */
#define NVME_CMBSZ_SZ       31, 12 /* size in that unit, 0: no buffer */
#define NVME_CMBMSC_CRE     0, 0   /* capabilities registers enabled */
#define NVME_CMBMSC_CMSE    1, 1   /* memory space enabled */
#define NVME_CMBMSC_CBA     63, 12 /* controller base address, 4096 bytes */
#define NVME_CMBSTS_CBAI    0, 0   /* controller base address invalid */

/* ---- queue entries ---- */

#define NVME_SGL_TYPE    7, 4
#define NVME_SGL_SUBTYPE 3, 0
#define NVME_SGL_ID(type, subtype) \
	((uint8_t)(((unsigned)(type) << 4 | (unsigned)(subtype)) & 0xffu))

enum nvme_sgl_type {
	/* points to data */
	NVME_SGL_TYPE_DATA_BLOCK = 0x0,
	/* len bytes of a read are thrown away */
	NVME_SGL_TYPE_BIT_BUCKET = 0x1,
	/* points to a list that is not the last one */
	NVME_SGL_TYPE_SEGMENT = 0x2,
	/* points to the last list */
	NVME_SGL_TYPE_LAST_SEGMENT = 0x3,
	/* fabrics: data behind a key */
	NVME_SGL_TYPE_KEYED_DATA_BLOCK = 0x4,
	NVME_SGL_TYPE_TRANSPORT_DATA_BLOCK = 0x5,
	NVME_SGL_TYPE_VENDOR_SPECIFIC = 0xf,
};

enum nvme_sgl_subtype {
	NVME_SGL_SUBTYPE_ADDRESS = 0x0,
	NVME_SGL_SUBTYPE_OFFSET = 0x1,
	NVME_SGL_SUBTYPE_TRANSPORT = 0xa,
	NVME_SGL_SUBTYPE_INVALIDATE_KEY = 0xf,
};

/* ---- opcodes and other codes, beside those of >>spec ---- */

/* Opcodes on queue 0. C0h to FFh are vendor specific. [Base 2.1: Admin Command Set] */
enum nvme_admin_opc {
	NVME_OPC_GET_LOG_PAGE = 0x02,
	NVME_OPC_ABORT = 0x08,
	NVME_OPC_GET_FEATURES = 0x0a,
	NVME_OPC_ASYNC_EVENT_REQUEST = 0x0c,
	NVME_OPC_NS_MANAGEMENT = 0x0d,
	NVME_OPC_FIRMWARE_COMMIT = 0x10,
	NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD = 0x11,
	NVME_OPC_DEVICE_SELF_TEST = 0x14,
	NVME_OPC_NS_ATTACHMENT = 0x15,
	NVME_OPC_KEEP_ALIVE = 0x18,
	NVME_OPC_DIRECTIVE_SEND = 0x19,
	NVME_OPC_DIRECTIVE_RECEIVE = 0x1a,
	NVME_OPC_VIRTUALIZATION_MANAGEMENT = 0x1c,
	NVME_OPC_NVME_MI_SEND = 0x1d,
	NVME_OPC_NVME_MI_RECEIVE = 0x1e,
	NVME_OPC_CAPACITY_MANAGEMENT = 0x20,
	NVME_OPC_DISCOVERY_INFO_MANAGEMENT = 0x21,
	NVME_OPC_FABRIC_ZONING_RECEIVE = 0x22,
	NVME_OPC_LOCKDOWN = 0x24,
	NVME_OPC_FABRIC_ZONING_LOOKUP = 0x25,
	NVME_OPC_CLEAR_EXPORTED_CONFIG = 0x28,
	NVME_OPC_FABRIC_ZONING_SEND = 0x29,
	NVME_OPC_CREATE_EXPORTED_SUBSYSTEM = 0x2a,
	NVME_OPC_MANAGE_EXPORTED_SUBSYSTEM = 0x2d,
	NVME_OPC_MANAGE_EXPORTED_NS = 0x31,
	NVME_OPC_MANAGE_EXPORTED_PORT = 0x35,
	NVME_OPC_SEND_DISCOVERY_LOG_PAGE = 0x39,
	NVME_OPC_TRACK_SEND = 0x3d,
	NVME_OPC_TRACK_RECEIVE = 0x3e,
	NVME_OPC_MIGRATION_SEND = 0x41,
	NVME_OPC_MIGRATION_RECEIVE = 0x42,
	NVME_OPC_CONTROLLER_DATA_QUEUE = 0x45,
	NVME_OPC_DOORBELL_BUFFER_CONFIG = 0x7c,
	/* on any queue; the fabrics command type is SQE byte 4 */
	NVME_OPC_FABRIC = 0x7f,
	NVME_OPC_FORMAT_NVM = 0x80,
	NVME_OPC_SECURITY_SEND = 0x81,
	NVME_OPC_SECURITY_RECEIVE = 0x82,
	NVME_OPC_SANITIZE = 0x84,
	/* 85h, 88h, 89h: Computational Programs command set */
	NVME_OPC_LOAD_PROGRAM = 0x85,
	NVME_OPC_GET_LBA_STATUS = 0x86,
	NVME_OPC_PROGRAM_ACTIVATION_MANAGEMENT = 0x88,
	NVME_OPC_MEMORY_RANGE_SET_MANAGEMENT = 0x89,
	/* Open-Channel SSD, vendor specific range */
	NVME_OPC_OCSSD_GEOMETRY = 0xe2,
};

/* Opcodes on queues 1 and up. [Base 2.1 §7.2: Flush], [NVM 1.1: I/O commands], [ZNS: commands] */
enum nvme_io_opc {
	NVME_OPC_WRITE_UNCORRECTABLE = 0x04,
	NVME_OPC_COMPARE = 0x05,
	/* 06h, 10h, 14h: Key Value; 01h is Store there, 02h Retrieve */
	NVME_OPC_KV_LIST = 0x06,
	NVME_OPC_WRITE_ZEROES = 0x08,
	NVME_OPC_DATASET_MANAGEMENT = 0x09,
	NVME_OPC_VERIFY = 0x0c,
	NVME_OPC_RESERVATION_REGISTER = 0x0d,
	NVME_OPC_RESERVATION_REPORT = 0x0e,
	NVME_OPC_KV_DELETE = 0x10,
	NVME_OPC_RESERVATION_ACQUIRE = 0x11,
	NVME_OPC_IO_MANAGEMENT_RECEIVE = 0x12,
	NVME_OPC_KV_EXIST = 0x14,
	NVME_OPC_RESERVATION_RELEASE = 0x15,
	NVME_OPC_CANCEL = 0x18,
	NVME_OPC_COPY = 0x19,
	NVME_OPC_IO_MANAGEMENT_SEND = 0x1d,
	NVME_OPC_ZONE_MANAGEMENT_SEND = 0x79,
	NVME_OPC_ZONE_MANAGEMENT_RECEIVE = 0x7a,
	NVME_OPC_ZONE_APPEND = 0x7d,
	/* Open-Channel SSD, vendor specific range */
	NVME_OPC_OCSSD_VECTOR_RESET = 0x90,
	NVME_OPC_OCSSD_VECTOR_WRITE = 0x91,
	NVME_OPC_OCSSD_VECTOR_READ = 0x92,
	NVME_OPC_OCSSD_VECTOR_COPY = 0x93,
};

/* Fabrics command types, SQE byte 4 when the opcode is 7Fh. [Base 2.1: Fabrics Command Set] */
enum nvme_fabrics_type {
	NVME_FABRICS_PROPERTY_SET = 0x00,
	NVME_FABRICS_CONNECT = 0x01,
	NVME_FABRICS_PROPERTY_GET = 0x04,
	NVME_FABRICS_AUTHENTICATION_SEND = 0x05,
	NVME_FABRICS_AUTHENTICATION_RECEIVE = 0x06,
	NVME_FABRICS_DISCONNECT = 0x08,
};

/* Feature identifiers of Set and Get Features, CDW10 [7:0]. C0h to FFh are vendor specific.
 * [Base 2.1: Feature Identifiers] */
enum nvme_feat {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER_MANAGEMENT = 0x02,
	NVME_FEAT_LBA_RANGE_TYPE = 0x03,
	NVME_FEAT_TEMPERATURE_THRESHOLD = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_VOLATILE_WRITE_CACHE = 0x06,
	NVME_FEAT_INTERRUPT_COALESCING = 0x08,
	NVME_FEAT_INTERRUPT_VECTOR_CONFIG = 0x09,
	NVME_FEAT_WRITE_ATOMICITY = 0x0a,
	NVME_FEAT_ASYNC_EVENT_CONFIG = 0x0b,
	NVME_FEAT_AUTO_POWER_STATE_TRANSITION = 0x0c,
	NVME_FEAT_HOST_MEM_BUFFER = 0x0d,
	NVME_FEAT_TIMESTAMP = 0x0e,
	NVME_FEAT_KEEP_ALIVE_TIMER = 0x0f,
	NVME_FEAT_HOST_THERMAL_MANAGEMENT = 0x10,
	NVME_FEAT_NON_OP_POWER_STATE_CONFIG = 0x11,
	NVME_FEAT_READ_RECOVERY_LEVEL = 0x12,
	NVME_FEAT_PREDICTABLE_LATENCY_CONFIG = 0x13,
	NVME_FEAT_PREDICTABLE_LATENCY_WINDOW = 0x14,
	NVME_FEAT_LBA_STATUS_INTERVAL = 0x15,
	NVME_FEAT_HOST_BEHAVIOR = 0x16,
	NVME_FEAT_SANITIZE_CONFIG = 0x17,
	NVME_FEAT_ENDURANCE_GROUP_EVENT = 0x18,
	NVME_FEAT_IO_COMMAND_SET_PROFILE = 0x19,
	NVME_FEAT_SPINUP_CONTROL = 0x1a,
	NVME_FEAT_POWER_LOSS_SIGNALING = 0x1b,
	NVME_FEAT_PERFORMANCE_CHARACTERISTICS = 0x1c,
	NVME_FEAT_FDP = 0x1d,
	NVME_FEAT_FDP_EVENTS = 0x1e,
	NVME_FEAT_NS_ADMIN_LABEL = 0x1f,
	NVME_FEAT_KEY_VALUE_CONFIG = 0x20,
	NVME_FEAT_CONTROLLER_DATA_QUEUE = 0x21,
	NVME_FEAT_EMBEDDED_MGMT_ADDRESS = 0x78,
	NVME_FEAT_HOST_MGMT_AGENT_ADDRESS = 0x79,
	NVME_FEAT_ENHANCED_CTRLR_METADATA = 0x7d,
	NVME_FEAT_CTRLR_METADATA = 0x7e,
	NVME_FEAT_NS_METADATA = 0x7f,
	NVME_FEAT_SOFTWARE_PROGRESS_MARKER = 0x80,
	NVME_FEAT_HOST_IDENTIFIER = 0x81,
	NVME_FEAT_HOST_RESERVE_MASK = 0x82,
	NVME_FEAT_HOST_RESERVE_PERSIST = 0x83,
	NVME_FEAT_NS_WRITE_PROTECTION = 0x84,
	NVME_FEAT_BOOT_PARTITION_WRITE_PROTECTION = 0x85,
};

/* Interrupt Coalescing, CDW11. [Base 2.1: Interrupt Coalescing feature] */
#define NVME_COALESCING_THR  7, 0  /* aggregation threshold: completions, 0-based */
#define NVME_COALESCING_TIME 15, 8 /* aggregation time, 100 us; 0: no delay */

/* Log page identifiers, Get Log Page CDW10 [7:0]. C0h to FFh are vendor specific.
 * [Base 2.1 §5.1.12, Fig. 202: Log Page Identifiers] */
enum nvme_log_page {
	NVME_LOG_PAGE_SUPPORTED = 0x00,
	/* struct nvme_error_log_entry[] */
	NVME_LOG_PAGE_ERROR = 0x01,
	/* struct nvme_smart_log */
	NVME_LOG_PAGE_SMART = 0x02,
	/* struct nvme_fw_slot_log */
	NVME_LOG_PAGE_FIRMWARE_SLOT = 0x03,
	/* struct nvme_ns_list */
	NVME_LOG_PAGE_CHANGED_NS_LIST = 0x04,
	NVME_LOG_PAGE_COMMAND_EFFECTS = 0x05,
	NVME_LOG_PAGE_DEVICE_SELF_TEST = 0x06,
	NVME_LOG_PAGE_TELEMETRY_HOST = 0x07,
	NVME_LOG_PAGE_TELEMETRY_CTRLR = 0x08,
	NVME_LOG_PAGE_ENDURANCE_GROUP = 0x09,
	NVME_LOG_PAGE_PREDICTABLE_LATENCY = 0x0a,
	NVME_LOG_PAGE_PREDICTABLE_LATENCY_AGG = 0x0b,
	NVME_LOG_PAGE_ANA = 0x0c,
	NVME_LOG_PAGE_PERSISTENT_EVENT = 0x0d,
	NVME_LOG_PAGE_LBA_STATUS = 0x0e,
	NVME_LOG_PAGE_ENDURANCE_GROUP_EVENT = 0x0f,
	NVME_LOG_PAGE_MEDIA_UNIT_STATUS = 0x10,
	NVME_LOG_PAGE_CAPACITY_CONFIG_LIST = 0x11,
	NVME_LOG_PAGE_FEATURE_EFFECTS = 0x12,
	NVME_LOG_PAGE_MI_COMMAND_EFFECTS = 0x13,
	NVME_LOG_PAGE_LOCKDOWN = 0x14,
	NVME_LOG_PAGE_BOOT_PARTITION = 0x15,
	NVME_LOG_PAGE_ROTATIONAL_MEDIA = 0x16,
	NVME_LOG_PAGE_DISPERSED_NS = 0x17,
	NVME_LOG_PAGE_MANAGEMENT_ADDRESS = 0x18,
	NVME_LOG_PAGE_PHY_RX_EOM = 0x19,
	NVME_LOG_PAGE_REACHABILITY_GROUPS = 0x1a,
	NVME_LOG_PAGE_REACHABILITY_ASSOC = 0x1b,
	NVME_LOG_PAGE_CHANGED_ALLOCATED_NS = 0x1c,
	NVME_LOG_PAGE_FDP_CONFIGS = 0x20,
	NVME_LOG_PAGE_FDP_RUH_USAGE = 0x21,
	NVME_LOG_PAGE_FDP_STATISTICS = 0x22,
	NVME_LOG_PAGE_FDP_EVENTS = 0x23,
	NVME_LOG_PAGE_DISCOVERY = 0x70,
	NVME_LOG_PAGE_HOST_DISCOVERY = 0x71,
	NVME_LOG_PAGE_AVE_DISCOVERY = 0x72,
	NVME_LOG_PAGE_PULL_MODEL_DDC = 0x73,
	NVME_LOG_PAGE_RESERVATION = 0x80,
	NVME_LOG_PAGE_SANITIZE_STATUS = 0x81,
	NVME_LOG_PAGE_CHANGED_ZONES = 0xbf,
};

/* What Identify returns: Controller or Namespace Structure, CDW10 [7:0]; always 4096 bytes.
 * [Base 2.1 §5.1.13, Fig. 310: CNS Values] */
enum nvme_id_cns {
	/* struct nvme_ns_id_desc, each followed by nidl bytes */
	NVME_ID_CNS_NS_ID_DESC = 0x03,
	NVME_ID_CNS_NVM_SET_LIST = 0x04,
	/* namespace, specific to a command set (CSI) */
	NVME_ID_CNS_NS_IOCS = 0x05,
	/* controller, specific to a command set (CSI) */
	NVME_ID_CNS_CTRLR_IOCS = 0x06,
	NVME_ID_CNS_ACTIVE_NS_LIST_IOCS = 0x07,
	/* namespace, the same for every command set */
	NVME_ID_CNS_NS_INDEPENDENT = 0x08,
	NVME_ID_CNS_NS_FORMAT = 0x09,
	NVME_ID_CNS_NS_FORMAT_IOCS = 0x0a,
	NVME_ID_CNS_ALLOCATED_NS_LIST = 0x10,
	NVME_ID_CNS_ALLOCATED_NS = 0x11,
	NVME_ID_CNS_NS_ATTACHED_CTRLR_LIST = 0x12,
	NVME_ID_CNS_CTRLR_LIST = 0x13,
	NVME_ID_CNS_PRIMARY_CTRLR_CAP = 0x14,
	NVME_ID_CNS_SECONDARY_CTRLR_LIST = 0x15,
	NVME_ID_CNS_NS_GRANULARITY_LIST = 0x16,
	NVME_ID_CNS_UUID_LIST = 0x17,
	NVME_ID_CNS_DOMAIN_LIST = 0x18,
	NVME_ID_CNS_ENDURANCE_GROUP_LIST = 0x19,
	NVME_ID_CNS_ALLOCATED_NS_LIST_IOCS = 0x1a,
	NVME_ID_CNS_ALLOCATED_NS_IOCS = 0x1b,
	/* command sets that the controller supports */
	NVME_ID_CNS_IOCS = 0x1c,
	NVME_ID_CNS_UNDERLYING_NS_LIST = 0x1d,
	NVME_ID_CNS_PORTS_LIST = 0x1e,
	NVME_ID_CNS_ALLOCATED_NS_INDEPENDENT = 0x1f,
	NVME_ID_CNS_CTRLR_STATE_FORMATS = 0x20,
};

/* Command Set Identifiers, Identify CDW11 [31:24]. [Base 2.1: I/O Command Sets] */
enum nvme_csi {
	/* NVM (blocks) */
	NVME_CSI_NVM = 0x00,
	/* Key Value */
	NVME_CSI_KV = 0x01,
	/* Zoned Namespaces */
	NVME_CSI_ZNS = 0x02,
	/* Subsystem Local Memory */
	NVME_CSI_SLM = 0x03,
	/* Computational Programs */
	NVME_CSI_CP = 0x04,
};

/* ---- status codes ---- */

/* Status code types: which of the lists below SC is from. [Base 2.1 §4.2.3: Status Field] */
enum nvme_sct {
	NVME_SCT_GENERIC = 0,
	NVME_SCT_COMMAND_SPECIFIC = 1,
	NVME_SCT_MEDIA_ERROR = 2,
	NVME_SCT_PATH = 3,
	NVME_SCT_VENDOR_SPECIFIC = 7,
};

/* SCT 0: any command. 80h and up depend on the command set. [Base 2.1: Generic Command Status] */
enum nvme_sc_generic {
	NVME_SC_SUCCESS = 0x00,
	NVME_SC_INVALID_OPCODE = 0x01,
	NVME_SC_INVALID_FIELD = 0x02,
	NVME_SC_COMMAND_ID_CONFLICT = 0x03,
	NVME_SC_DATA_TRANSFER_ERROR = 0x04,
	NVME_SC_ABORTED_POWER_LOSS = 0x05,
	NVME_SC_INTERNAL_DEVICE_ERROR = 0x06,
	NVME_SC_ABORTED_BY_REQUEST = 0x07,
	NVME_SC_ABORTED_SQ_DELETION = 0x08,
	NVME_SC_ABORTED_FAILED_FUSED = 0x09,
	NVME_SC_ABORTED_MISSING_FUSED = 0x0a,
	NVME_SC_INVALID_NAMESPACE_OR_FORMAT = 0x0b,
	NVME_SC_COMMAND_SEQUENCE_ERROR = 0x0c,
	NVME_SC_INVALID_SGL_SEG_DESCRIPTOR = 0x0d,
	NVME_SC_INVALID_NUM_SGL_DESCRIPTORS = 0x0e,
	NVME_SC_DATA_SGL_LENGTH_INVALID = 0x0f,
	NVME_SC_METADATA_SGL_LENGTH_INVALID = 0x10,
	NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID = 0x11,
	NVME_SC_INVALID_CONTROLLER_MEM_BUF = 0x12,
	NVME_SC_INVALID_PRP_OFFSET = 0x13,
	NVME_SC_ATOMIC_WRITE_UNIT_EXCEEDED = 0x14,
	NVME_SC_OPERATION_DENIED = 0x15,
	NVME_SC_INVALID_SGL_OFFSET = 0x16,
	NVME_SC_HOSTID_INCONSISTENT_FORMAT = 0x18,
	NVME_SC_KEEP_ALIVE_EXPIRED = 0x19,
	NVME_SC_KEEP_ALIVE_INVALID = 0x1a,
	NVME_SC_ABORTED_PREEMPT = 0x1b,
	NVME_SC_SANITIZE_FAILED = 0x1c,
	NVME_SC_SANITIZE_IN_PROGRESS = 0x1d,
	NVME_SC_SGL_DATA_BLOCK_GRANULARITY_INVALID = 0x1e,
	NVME_SC_COMMAND_INVALID_IN_CMB = 0x1f,
	NVME_SC_NAMESPACE_IS_PROTECTED = 0x20,
	NVME_SC_COMMAND_INTERRUPTED = 0x21,
	NVME_SC_TRANSIENT_TRANSPORT_ERROR = 0x22,
	NVME_SC_PROHIBITED_BY_LOCKDOWN = 0x23,
	NVME_SC_ADMIN_MEDIA_NOT_READY = 0x24,
	NVME_SC_INVALID_KEY_TAG = 0x25,
	NVME_SC_HOST_DISPERSED_NS_DISABLED = 0x26,
	NVME_SC_HOST_ID_NOT_INITIALIZED = 0x27,
	NVME_SC_INCORRECT_KEY = 0x28,
	NVME_SC_FDP_DISABLED = 0x29,
	NVME_SC_INVALID_PLACEMENT_HANDLE_LIST = 0x2a,
	NVME_SC_LBA_OUT_OF_RANGE = 0x80,
	NVME_SC_CAPACITY_EXCEEDED = 0x81,
	NVME_SC_NAMESPACE_NOT_READY = 0x82,
	NVME_SC_RESERVATION_CONFLICT = 0x83,
	NVME_SC_FORMAT_IN_PROGRESS = 0x84,
	/* 85h to 89h: Key Value command set */
	NVME_SC_INVALID_VALUE_SIZE = 0x85,
	NVME_SC_INVALID_KEY_SIZE = 0x86,
	NVME_SC_KV_KEY_DOES_NOT_EXIST = 0x87,
	NVME_SC_UNRECOVERED_ERROR = 0x88,
	NVME_SC_KEY_EXISTS = 0x89,
};

/* SCT 1: what the code means depends on the command. [Base 2.1: Command Specific Status] */
enum nvme_sc_command_specific {
	NVME_SC_COMPLETION_QUEUE_INVALID = 0x00,
	NVME_SC_INVALID_QUEUE_IDENTIFIER = 0x01,
	NVME_SC_INVALID_QUEUE_SIZE = 0x02,
	NVME_SC_ABORT_COMMAND_LIMIT_EXCEEDED = 0x03,
	NVME_SC_ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED = 0x05,
	NVME_SC_INVALID_FIRMWARE_SLOT = 0x06,
	NVME_SC_INVALID_FIRMWARE_IMAGE = 0x07,
	NVME_SC_INVALID_INTERRUPT_VECTOR = 0x08,
	NVME_SC_INVALID_LOG_PAGE = 0x09,
	NVME_SC_INVALID_FORMAT = 0x0a,
	NVME_SC_FIRMWARE_REQ_CONVENTIONAL_RESET = 0x0b,
	NVME_SC_INVALID_QUEUE_DELETION = 0x0c,
	NVME_SC_FEATURE_ID_NOT_SAVEABLE = 0x0d,
	NVME_SC_FEATURE_NOT_CHANGEABLE = 0x0e,
	NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC = 0x0f,
	NVME_SC_FIRMWARE_REQ_NVM_RESET = 0x10,
	NVME_SC_FIRMWARE_REQ_RESET = 0x11,
	NVME_SC_FIRMWARE_REQ_MAX_TIME_VIOLATION = 0x12,
	NVME_SC_FIRMWARE_ACTIVATION_PROHIBITED = 0x13,
	NVME_SC_OVERLAPPING_RANGE = 0x14,
	NVME_SC_NAMESPACE_INSUFFICIENT_CAPACITY = 0x15,
	NVME_SC_NAMESPACE_ID_UNAVAILABLE = 0x16,
	NVME_SC_NAMESPACE_ALREADY_ATTACHED = 0x18,
	NVME_SC_NAMESPACE_IS_PRIVATE = 0x19,
	NVME_SC_NAMESPACE_NOT_ATTACHED = 0x1a,
	NVME_SC_THINPROVISIONING_NOT_SUPPORTED = 0x1b,
	NVME_SC_CONTROLLER_LIST_INVALID = 0x1c,
	NVME_SC_DEVICE_SELF_TEST_IN_PROGRESS = 0x1d,
	NVME_SC_BOOT_PARTITION_WRITE_PROHIBITED = 0x1e,
	NVME_SC_INVALID_CTRLR_ID = 0x1f,
	NVME_SC_INVALID_SECONDARY_CTRLR_STATE = 0x20,
	NVME_SC_INVALID_NUM_CTRLR_RESOURCES = 0x21,
	NVME_SC_INVALID_RESOURCE_ID = 0x22,
	NVME_SC_SANITIZE_PROHIBITED = 0x23,
	NVME_SC_ANA_GROUP_IDENTIFIER_INVALID = 0x24,
	NVME_SC_ANA_ATTACH_FAILED = 0x25,
	NVME_SC_INSUFFICIENT_CAPACITY = 0x26,
	NVME_SC_NAMESPACE_ATTACH_LIMIT_EXCEEDED = 0x27,
	NVME_SC_PROHIBIT_COMMAND_EXEC_NOT_SUPPORTED = 0x28,
	NVME_SC_IOCS_NOT_SUPPORTED = 0x29,
	NVME_SC_IOCS_NOT_ENABLED = 0x2a,
	NVME_SC_IOCS_COMBINATION_REJECTED = 0x2b,
	NVME_SC_INVALID_IOCS = 0x2c,
	NVME_SC_IDENTIFIER_UNAVAILABLE = 0x2d,
	NVME_SC_NAMESPACE_IS_DISPERSED = 0x2e,
	NVME_SC_INVALID_DISCOVERY_INFO = 0x2f,
	NVME_SC_ZONING_DATA_LOCKED = 0x30,
	NVME_SC_ZONING_DATA_NOT_FOUND = 0x31,
	NVME_SC_INSUFFICIENT_DISCOVERY_RESOURCES = 0x32,
	NVME_SC_REQUESTED_FUNCTION_DISABLED = 0x33,
	NVME_SC_ZONEGROUP_ORIGINATOR_INVALID = 0x34,
	NVME_SC_INVALID_HOST = 0x35,
	NVME_SC_INVALID_NVM_SUBSYSTEM = 0x36,
	NVME_SC_INVALID_CONTROLLER_DATA_QUEUE = 0x37,
	NVME_SC_NOT_ENOUGH_RESOURCES = 0x38,
	NVME_SC_CONTROLLER_SUSPENDED = 0x39,
	NVME_SC_CONTROLLER_NOT_SUSPENDED = 0x3a,
	NVME_SC_CONTROLLER_DATA_QUEUE_FULL = 0x3b,
	NVME_SC_STREAM_RESOURCE_ALLOCATION_FAILED = 0x7f,
	/* 80h and up: I/O commands */
	NVME_SC_CONFLICTING_ATTRIBUTES = 0x80,
	NVME_SC_INVALID_PROTECTION_INFO = 0x81,
	NVME_SC_ATTEMPTED_WRITE_TO_RO_RANGE = 0x82,
	NVME_SC_CMD_SIZE_LIMIT_EXCEEDED = 0x83,
	NVME_SC_INCOMPATIBLE_NAMESPACE_OR_FORMAT = 0x85,
	NVME_SC_FAST_COPY_NOT_POSSIBLE = 0x86,
	NVME_SC_OVERLAPPING_IO_RANGE = 0x87,
	NVME_SC_INSUFFICIENT_RESOURCES = 0x89,
	/* B6h to BFh: Zoned Namespaces */
	NVME_SC_INVALID_ZONE_OPERATION = 0xb6,
	NVME_SC_ZRWA_RESOURCES_UNAVAILABLE = 0xb7,
	NVME_SC_ZONED_BOUNDARY_ERROR = 0xb8,
	NVME_SC_ZONE_IS_FULL = 0xb9,
	NVME_SC_ZONE_IS_READ_ONLY = 0xba,
	NVME_SC_ZONE_IS_OFFLINE = 0xbb,
	NVME_SC_ZONE_INVALID_WRITE = 0xbc,
	NVME_SC_TOO_MANY_ACTIVE_ZONES = 0xbd,
	NVME_SC_TOO_MANY_OPEN_ZONES = 0xbe,
	NVME_SC_INVALID_ZONE_STATE_TRANSITION = 0xbf,
};

/* SCT 1 as the answer to a fabrics command (opcode 7Fh). [Base 2.1: Fabrics Command Set] */
enum nvme_sc_fabrics {
	NVME_SC_FABRICS_INCOMPATIBLE_FORMAT = 0x80,
	NVME_SC_FABRICS_CONTROLLER_BUSY = 0x81,
	NVME_SC_FABRICS_INVALID_PARAM = 0x82,
	NVME_SC_FABRICS_RESTART_DISCOVERY = 0x83,
	NVME_SC_FABRICS_INVALID_HOST = 0x84,
	/* Disconnect on the admin queue */
	NVME_SC_FABRICS_INVALID_QUEUE_TYPE = 0x85,
	NVME_SC_FABRICS_LOG_RESTART_DISCOVERY = 0x90,
	NVME_SC_FABRICS_AUTH_REQUIRED = 0x91,
};

/* SCT 2: the data itself. [Base 2.1: Media and Data Integrity Errors] */
enum nvme_sc_media {
	NVME_SC_WRITE_FAULTS = 0x80,
	NVME_SC_UNRECOVERED_READ_ERROR = 0x81,
	NVME_SC_GUARD_CHECK_ERROR = 0x82,
	NVME_SC_APPLICATION_TAG_CHECK_ERROR = 0x83,
	NVME_SC_REFERENCE_TAG_CHECK_ERROR = 0x84,
	NVME_SC_COMPARE_FAILURE = 0x85,
	NVME_SC_ACCESS_DENIED = 0x86,
	NVME_SC_DEALLOCATED_OR_UNWRITTEN_BLOCK = 0x87,
	NVME_SC_STORAGE_TAG_CHECK_ERROR = 0x88,
	/* C0h and up: Open-Channel SSD */
	NVME_SC_OCSSD_OFFLINE_CHUNK = 0xc0,
	NVME_SC_OCSSD_INVALID_RESET = 0xc1,
	NVME_SC_OCSSD_READ_HIGH_ECC = 0xd0,
	NVME_SC_OCSSD_WRITE_FAIL_WRITE_NEXT_UNIT = 0xf0,
	NVME_SC_OCSSD_WRITE_FAIL_CHUNK_EARLY_CLOSE = 0xf1,
	NVME_SC_OCSSD_OUT_OF_ORDER_WRITE = 0xf2,
};

/* SCT 3: the way to the controller or namespace. [Base 2.1: Path Related Status] */
enum nvme_sc_path {
	NVME_SC_INTERNAL_PATH_ERROR = 0x00,
	NVME_SC_ANA_PERSISTENT_LOSS = 0x01,
	NVME_SC_ANA_INACCESSIBLE = 0x02,
	NVME_SC_ANA_TRANSITION = 0x03,
	NVME_SC_CONTROLLER_PATH_ERROR = 0x60,
	NVME_SC_HOST_PATH_ERROR = 0x70,
	NVME_SC_ABORTED_BY_HOST = 0x71,
};

/* ---- command dwords ---- */

/* Abort: asks for the end of one command, best effort. CQE dword 0 bit 0 is 0 if it was aborted.
 * [Base 2.1, Abort command] */
#define NVME_ABORT_SQID        15, 0
#define NVME_ABORT_CID         31, 16
#define NVME_ABORT_NOT_ABORTED 0, 0

/*
 * Format NVM, CDW10. LBAFL and LBAFU together are the index of the LBA format.
 * [Base 2.1: Format NVM command]
 */
#define NVME_FORMAT_LBAFL      3, 0   /* LBA format index, bits 3:0 */
#define NVME_FORMAT_MSET       4, 4   /* metadata at the end of each block */
#define NVME_FORMAT_PI         7, 5   /* protection information, type 0 to 3 */
#define NVME_FORMAT_PIL        8, 8   /* it is the first bytes of the metadata */
#define NVME_FORMAT_SES        11, 9  /* secure erase, NVME_FORMAT_SES_* */
#define NVME_FORMAT_LBAFU      13, 12 /* LBA format index, bits 5:4 */
#define NVME_FORMAT_SES_NONE   0u
#define NVME_FORMAT_SES_USER   1u /* user data is erased */
#define NVME_FORMAT_SES_CRYPTO 2u /* the key to it is */

/*
 * Get Log Page: numd is the number of dwords to return, 0-based, cut into a lower (CDW10) and an
 * upper half (CDW11). The byte offset into the page is CDW12 (low) and CDW13 (high). With RAE 0
 * reading the page acknowledges the asynchronous event that belongs to it.
 * [Base 2.1 §5.1.12, Fig. 197: Get Log Page, CDW10]
 */
#define NVME_GET_LOG_PAGE_LID   7, 0   /* which page, NVME_LOG_PAGE_* */
#define NVME_GET_LOG_PAGE_LSP   14, 8  /* log specific parameter */
#define NVME_GET_LOG_PAGE_RAE   15, 15 /* retain asynchronous event */
#define NVME_GET_LOG_PAGE_NUMDL 31, 16 /* dwords, lower half */
#define NVME_GET_LOG_PAGE_NUMDU 15, 0  /* dwords, upper half */
#define NVME_GET_LOG_PAGE_LSI   31, 16 /* log specific identifier */
#define NVME_GET_LOG_PAGE_NUMD(cdw10, cdw11) \
	(NVME_GET(cdw11, NVME_GET_LOG_PAGE_NUMDU) << 16 | NVME_GET(cdw10, NVME_GET_LOG_PAGE_NUMDL))

/*
 * Asynchronous Event Request: completes only when there is something to tell. CQE dword 0 says
 * what happened and which log page has to be read to learn more and to clear the event.
 * [Base 2.1: Asynchronous Event Request command]
 */
#define NVME_AER_TYPE           2, 0   /* event type, NVME_AER_TYPE_* */
#define NVME_AER_INFO           15, 8  /* event information, depends on the type */
#define NVME_AER_LID            23, 16 /* log page to read */
#define NVME_AER_TYPE_ERROR     0u     /* info 00h bad doorbell register, 01h bad doorbell value */
#define NVME_AER_TYPE_SMART     1u     /* info 00h reliability, 01h temperature, 02h spare */
#define NVME_AER_TYPE_NOTICE    2u     /* info 00h namespaces changed, 01h firmware activation */
#define NVME_AER_TYPE_IMMEDIATE 3u     /* info 00h normal NVM subsystem shutdown */
#define NVME_AER_TYPE_ONE_SHOT  4u     /* info 00h controller data queue */
#define NVME_AER_TYPE_IO        6u     /* specific to the I/O command set */
#define NVME_AER_TYPE_VS        7u     /* vendor specific */

#define NVME_AER_ERROR_REGISTER    0x00u /* info of an error: write to an invalid doorbell */
#define NVME_AER_ERROR_VALUE       0x01u /* an invalid value for a doorbell */
#define NVME_AER_SMART_RELIABILITY 0x00u /* of SMART */
#define NVME_AER_SMART_TEMPERATURE 0x01u
#define NVME_AER_SMART_SPARE       0x02u
#define NVME_AER_NOTICE_NS         0x00u /* of a notice: attributes of namespaces changed */
#define NVME_AER_NOTICE_FIRMWARE   0x01u /* firmware activation starts */

/*
 * Asynchronous Event Configuration, CDW11: which SMART warnings and notices become events. The
 * notices have the places that they have in OAES, where a controller says which it knows.
 * [Base 2.1: Asynchronous Event Configuration feature]
 */
#define NVME_AEC_SMART    7, 0        /* as in critical_warning, NVME_SMART_* */
#define NVME_AEC_NS       0x00000100u /* namespace attributes */
#define NVME_AEC_FIRMWARE 0x00000200u /* firmware activation */
#define NVME_AEC_NOTICES  0x80007f00u /* all notices that this driver has a name for */

/* Power Management, CDW11. [Base 2.1: Power Management feature] */
#define NVME_POWER_PS 4, 0 /* power state */
#define NVME_POWER_WH 7, 5 /* workload hint, 0: none */

/*
 * Autonomous Power State Transition: 32 entries of 64 bits, one for each power state: to which state
 * the controller goes when it was idle for so long. [Base 2.1: Autonomous Power State Transition
 * feature]
 */
#define NVME_APST_ENABLE     0, 0  /* CDW11 */
#define NVME_APST_ITPS       7, 3  /* of an entry: idle transition power state, non-operational */
#define NVME_APST_ITPT       31, 8 /* idle time prior to transition, ms; 0: none */
#define NVME_PSD_NOPS        1, 1  /* of flags of a power state: non-operational, no I/O in it */
#define NVME_APSTA_SUPPORTED 0x01u /* bit of apsta */

#define NVME_WRITE_ZEROES_DEAC 25, 25 /* deallocate if possible */

/*
 * Dataset Management: up to 256 ranges in the data buffer, their number 0-based in CDW10.
 * The attribute AD (deallocate, what others call trim or discard) is a hint.
 * [NVM 1.1, Dataset Management command]
 */
struct nvme_dsm_range {
	uint32_t cattr; /* Context Attributes */
	uint32_t nlb;   /* Length in logical blocks, NOT 0-based */
	uint64_t slba;  /* Starting LBA */
};
NVME__SIZE(struct nvme_dsm_range, 16);
NVME__AT(struct nvme_dsm_range, slba, 8);
#define NVME_DSM_NR  7, 0 /* number of ranges, 0-based */
#define NVME_DSM_IDR 0, 0 /* attribute: integral dataset for read */
#define NVME_DSM_IDW 1, 1 /* attribute: integral dataset for write */
#define NVME_DSM_AD  2, 2 /* attribute: deallocate */

/*
 * Copy: the source ranges are in the data buffer, the destination is CDW10 and CDW11. nlb is 0-based,
 * as in a read. The last three are for protection information.
 * [NVM 1.1: Copy command, Source Range Entries Copy Descriptor Format 0h]
 */
struct nvme_copy_range {
	uint8_t rsvd0[8];
	uint64_t slba; /* Starting LBA */
	uint16_t nlb;  /* Number of Logical Blocks, 0-based */
	uint8_t rsvd18[6];
	uint32_t eilbrt; /* Expected Initial Logical Block Reference Tag */
	uint16_t elbat;  /* Expected Logical Block Application Tag */
	uint16_t elbatm; /* Expected Logical Block Application Tag Mask */
};
NVME__SIZE(struct nvme_copy_range, 32);
NVME__AT(struct nvme_copy_range, slba, 8);
NVME__AT(struct nvme_copy_range, nlb, 16);
NVME__AT(struct nvme_copy_range, eilbrt, 24);
#define NVME_COPY_NR     7, 0  /* number of ranges, 0-based */
#define NVME_COPY_DESFMT 11, 8 /* format of the ranges: 0 is the one above */

/* Host Behavior Support, the data of that feature. [Base 2.1: Host Behavior Support feature] */
struct nvme_host_behavior {
	uint8_t acre; /* 1: the host knows CRD, the delay of a retry */
	uint8_t rsvd1[511];
};
NVME__SIZE(struct nvme_host_behavior, 512);

/* Namespace Management and Attachment. [Base 2.1: Namespace Management command] */
#define NVME_NS_MANAGEMENT_SEL    3, 0   /* 0 create, 1 delete */
#define NVME_NS_MANAGEMENT_CSI    31, 24 /* command set of the new one, NVME_CSI_* */
#define NVME_NS_ATTACHMENT_SEL    3, 0   /* 0 attach, 1 detach */
#define NVME_NS_MANAGEMENT_CREATE 0u
#define NVME_NS_MANAGEMENT_DELETE 1u
#define NVME_NS_ATTACHMENT_ATTACH 0u
#define NVME_NS_ATTACHMENT_DETACH 1u

/* Device Self-test, CDW10. [Base 2.1: Device Self-test command] */
#define NVME_SELF_TEST_STC      3, 0 /* which, NVME_SELF_TEST_* */
#define NVME_SELF_TEST_SHORT    0x1u
#define NVME_SELF_TEST_EXTENDED 0x2u
#define NVME_SELF_TEST_VS       0xeu /* vendor specific */
#define NVME_SELF_TEST_ABORT    0xfu

/* Sanitize, CDW10; CDW11 is the pattern of an overwrite. [Base 2.1: Sanitize command] */
#define NVME_SANITIZE_SANACT       2, 0 /* what is done, NVME_SANITIZE_* */
#define NVME_SANITIZE_AUSE         3, 3 /* allow unrestricted exit after a failure */
#define NVME_SANITIZE_OWPASS       7, 4 /* passes of an overwrite, 0: 16 */
#define NVME_SANITIZE_OIPBP        8, 8 /* invert the pattern between passes */
#define NVME_SANITIZE_NDAS         9, 9 /* no deallocation afterwards */
#define NVME_SANITIZE_EXIT_FAILURE 1u
#define NVME_SANITIZE_BLOCK_ERASE  2u
#define NVME_SANITIZE_OVERWRITE    3u
#define NVME_SANITIZE_CRYPTO_ERASE 4u

/*
 * Reads and writes of blocks with protection information, CDW15: the application tag that is
 * written or expected, and which of its bits are compared. CDW14 has the reference tag of the first
 * block. [NVM 1.1: Protection Information]
 */
#define NVME_RW_LBAT  15, 0  /* application tag */
#define NVME_RW_LBATM 31, 16 /* its mask: a bit that is 0 is not compared */

/*
 * Zone Management Send and Receive, CDW13. CDW10 and CDW11 are a block of the zone; the length of a
 * report is CDW12, a number of dwords, 0-based. Zone Append has the fields of a write, and the first
 * block that it wrote in dword 0 and 1 of its completion.
 * [ZNS: Zone Management Send command, Zone Management Receive command, Zone Append command]
 */
#define NVME_ZONE_SEND_ZSA      7, 0   /* what is done, enum nvme_zone_send_action */
#define NVME_ZONE_SEND_SELALL   8, 8   /* with all zones that it can be done with */
#define NVME_ZONE_RECEIVE_ZRA   7, 0   /* 0 report, 1 extended: with descriptor extensions */
#define NVME_ZONE_RECEIVE_ZRASF 15, 8  /* which zones, enum nvme_zone_report_opts */
#define NVME_ZONE_RECEIVE_PR    16, 16 /* count the zones in the buffer only, not all of them */
#define NVME_ZRA_REPORT         0u
#define NVME_ZRA_EXT_REPORT     1u

enum nvme_zone_send_action {
	NVME_ZONE_CLOSE = 0x01,
	NVME_ZONE_FINISH = 0x02,
	NVME_ZONE_OPEN = 0x03,
	NVME_ZONE_RESET = 0x04,
	NVME_ZONE_OFFLINE = 0x05,
	NVME_ZONE_SET_ZDE = 0x10,
};

/* Which zones a report lists. */
enum nvme_zone_report_opts {
	NVME_ZRA_LIST_ALL = 0x00,
	NVME_ZRA_LIST_EMPTY = 0x01,
	NVME_ZRA_LIST_IOPEN = 0x02,
	NVME_ZRA_LIST_EOPEN = 0x03,
	NVME_ZRA_LIST_CLOSED = 0x04,
	NVME_ZRA_LIST_FULL = 0x05,
	NVME_ZRA_LIST_READ_ONLY = 0x06,
	NVME_ZRA_LIST_OFFLINE = 0x07,
};

/* What can be done with a zone. Implicitly opened is one that a write has opened. [ZNS: Zone States] */
enum nvme_zone_state {
	NVME_ZONE_STATE_EMPTY = 0x1,
	NVME_ZONE_STATE_IOPEN = 0x2,
	NVME_ZONE_STATE_EOPEN = 0x3,
	NVME_ZONE_STATE_CLOSED = 0x4,
	NVME_ZONE_STATE_READ_ONLY = 0xd,
	NVME_ZONE_STATE_FULL = 0xe,
	NVME_ZONE_STATE_OFFLINE = 0xf,
};

/* ---- Identify data structures ---- */

/*
 * Metadata and protection information of a namespace: MC and DPC say what is possible, DPS what is
 * in use. [NVM 1.1 §4.1.5.1, Fig. 114: Identify Namespace Data Structure]
 */
#define NVME_MC_EXTENDED 0x01u /* bits of MC: at the end of each block, in the data */
#define NVME_MC_SEPARATE 0x02u /* in a buffer of its own, MPTR */
#define NVME_DPC_TYPE1   0x01u /* bits of DPC: protection information of type 1 */
#define NVME_DPC_TYPE2   0x02u
#define NVME_DPC_TYPE3   0x04u
#define NVME_DPC_FIRST   0x08u /* it can be the first bytes of the metadata */
#define NVME_DPC_LAST    0x10u /* it can be the last */
#define NVME_DPS_PIT     2, 0  /* type 1 to 3; 0: no protection information */
#define NVME_DPS_PIP     3, 3  /* 1: it is the first bytes of the metadata; 0: the last */

/*
 * Protection information with a 16-bit guard, 8 bytes of the metadata of a block. The only numbers
 * in NVMe that are big-endian in memory, as they come from SCSI. [NVM 1.1: Protection Information]
 */
struct nvme_pi {
	uint8_t guard[2];   /* CRC of the block, nvme_crc16_t10dif() */
	uint8_t app_tag[2]; /* Application Tag: the host's; FFFFh: the block is not checked */
	uint8_t ref_tag[4]; /* Reference Tag: low 32 bits of the LBA (types 1 and 2) */
};
NVME__SIZE(struct nvme_pi, 8);

/* The bytes of the structures in >>spec. */
NVME__AT(struct nvme_psd, enlat, 4);
NVME__AT(struct nvme_psd, rwl, 15);
NVME__AT(struct nvme_psd, actp, 20);
NVME__AT(struct nvme_psd, epfvts, 27);
NVME__AT(struct nvme_id_ctrlr, sn, 4);
NVME__AT(struct nvme_id_ctrlr, mn, 24);
NVME__AT(struct nvme_id_ctrlr, fr, 64);
NVME__AT(struct nvme_id_ctrlr, mdts, 77);
NVME__AT(struct nvme_id_ctrlr, ver, 80);
NVME__AT(struct nvme_id_ctrlr, ctratt, 96);
NVME__AT(struct nvme_id_ctrlr, cntrltype, 111);
NVME__AT(struct nvme_id_ctrlr, crdt1, 128);
NVME__AT(struct nvme_id_ctrlr, nvmsr, 253);
NVME__AT(struct nvme_id_ctrlr, oacs, 256);
NVME__AT(struct nvme_id_ctrlr, wctemp, 266);
NVME__AT(struct nvme_id_ctrlr, tnvmcap, 280);
NVME__AT(struct nvme_id_ctrlr, unvmcap, 296);
NVME__AT(struct nvme_id_ctrlr, kas, 320);
NVME__AT(struct nvme_id_ctrlr, sanicap, 328);
NVME__AT(struct nvme_id_ctrlr, domainid, 356);
NVME__AT(struct nvme_id_ctrlr, megcap, 368);
NVME__AT(struct nvme_id_ctrlr, cqt, 386);
NVME__AT(struct nvme_id_ctrlr, sqes, 512);
NVME__AT(struct nvme_id_ctrlr, nn, 516);
NVME__AT(struct nvme_id_ctrlr, vwc, 525);
NVME__AT(struct nvme_id_ctrlr, sgls, 536);
NVME__AT(struct nvme_id_ctrlr, maxdna, 544);
NVME__AT(struct nvme_id_ctrlr, mcdqpc, 586);
NVME__AT(struct nvme_id_ctrlr, subnqn, 768);
NVME__AT(struct nvme_id_ctrlr, ioccsz, 1792);
NVME__AT(struct nvme_id_ctrlr, dctype, 1806);
NVME__AT(struct nvme_id_ctrlr, psd, 2048);
NVME__AT(struct nvme_id_ctrlr, vs, 3072);
NVME__AT(struct nvme_id_ns, nsfeat, 24);
NVME__AT(struct nvme_id_ns, flbas, 26);
NVME__AT(struct nvme_id_ns, dlfeat, 33);
NVME__AT(struct nvme_id_ns, noiob, 46);
NVME__AT(struct nvme_id_ns, nvmcap, 48);
NVME__AT(struct nvme_id_ns, mcl, 76);
NVME__AT(struct nvme_id_ns, kpiodaag, 84);
NVME__AT(struct nvme_id_ns, anagrpid, 92);
NVME__AT(struct nvme_id_ns, nsattr, 99);
NVME__AT(struct nvme_id_ns, nguid, 104);
NVME__AT(struct nvme_id_ns, eui64, 120);
NVME__AT(struct nvme_id_ns, lbaf, 128);
NVME__AT(struct nvme_id_ns, vs, 384);

#define NVME_OACS_SECURITY     0x0001u /* bits of oacs: Security Send and Receive */
#define NVME_OACS_FORMAT       0x0002u /* Format NVM */
#define NVME_OACS_FIRMWARE     0x0004u /* Firmware Commit and Image Download */
#define NVME_OACS_NS_MGMT      0x0008u /* Namespace Management and Attachment */
#define NVME_OACS_SELF_TEST    0x0010u /* Device Self-test */
#define NVME_OACS_DIRECTIVES   0x0020u /* Directive Send and Receive */
#define NVME_OACS_MI           0x0040u /* NVMe-MI Send and Receive */
#define NVME_OACS_VIRT_MGMT    0x0080u /* Virtualization Management */
#define NVME_OACS_DBBUF        0x0100u /* Doorbell Buffer Config */
#define NVME_OACS_LBA_STATUS   0x0200u /* Get LBA Status */
#define NVME_OACS_LOCKDOWN     0x0400u /* Lockdown */
#define NVME_FNA_FORMAT_ALL    0x01u   /* bits of fna: Format NVM formats all namespaces */
#define NVME_FNA_ERASE_ALL     0x02u   /* a secure erase erases all namespaces */
#define NVME_FNA_CRYPTO_ERASE  0x04u   /* cryptographic erase is supported */
#define NVME_ONCS_COMPARE      0x0001u /* bits of oncs: Compare */
#define NVME_ONCS_WRITE_UNC    0x0002u /* Write Uncorrectable */
#define NVME_ONCS_DSM          0x0004u /* Dataset Management */
#define NVME_ONCS_WRITE_ZEROES 0x0008u /* Write Zeroes */
#define NVME_ONCS_SAVE         0x0010u /* Save and Select fields of the features commands */
#define NVME_ONCS_RESERVATIONS 0x0020u /* reservations */
#define NVME_ONCS_TIMESTAMP    0x0040u /* Timestamp feature */
#define NVME_ONCS_VERIFY       0x0080u /* Verify */
#define NVME_ONCS_COPY         0x0100u /* Copy */

#define NVME_ID_SGLS_BIT_BUCKET      16, 16  /* the bit bucket descriptor is supported */
#define NVME_LPA_SMART_PER_NS        0x01u   /* bits of lpa: SMART log for each namespace */
#define NVME_LPA_EFFECTS             0x02u   /* Commands Supported and Effects log */
#define NVME_LPA_EXTENDED            0x04u   /* offsets and lengths above 16 KiB in Get Log Page */
#define NVME_LPA_TELEMETRY           0x08u   /* telemetry logs */
#define NVME_LPA_PERSISTENT          0x10u   /* Persistent Event log */
#define NVME_LPA_SUPPORTED           0x20u   /* logs 00h, 05h, 12h, 13h: what is supported */
#define NVME_FUSES_COMPARE_AND_WRITE 0x0001u /* bit of fuses */
#define NVME_SANICAP_CRYPTO          0x00000001u /* bits of sanicap: crypto erase */
#define NVME_SANICAP_BLOCK           0x00000002u /* block erase */
#define NVME_SANICAP_OVERWRITE       0x00000004u /* overwrite */
#define NVME_SANICAP_NDI             0x20000000u /* no deallocation is inhibited */
#define NVME_NSFEAT_NATOMIC          0x02u       /* bit of nsfeat: nawun, nawupf and nacwu count */
#define NVME_DLFEAT_READ             2, 0        /* of dlfeat: what deallocated blocks read as */

#define NVME_ID_VWC_PRESENT 0, 0

#define NVME_FPI_SUPPORTED 7, 7 /* fpi: the percentage below means something */
#define NVME_FPI_REMAINING 6, 0 /* per cent of a format still to be done */

/* Head of one Namespace Identification Descriptor (CNS 03h); nidl bytes of identifier follow,
 * then the next head, until one with nidl 0 or the end of the 4096 bytes.
 * [Base 2.1: Namespace Identification Descriptor] */
struct nvme_ns_id_desc {
	uint8_t nidt; /* Namespace Identifier Type, NVME_NIDT_* */
	uint8_t nidl; /* Namespace Identifier Length, bytes */
	uint8_t rsvd2[2];
};
NVME__SIZE(struct nvme_ns_id_desc, 4);

enum nvme_nidt {
	/* 8 bytes, big-endian */
	NVME_NIDT_EUI64 = 1,
	/* 16 bytes, big-endian */
	NVME_NIDT_NGUID = 2,
	/* 16 bytes, RFC 9562 */
	NVME_NIDT_UUID = 3,
	/* 1 byte: command set, enum nvme_csi */
	NVME_NIDT_CSI = 4,
};

/*
 * Identify Namespace of the Zoned Namespace Command Set (CNS 05h, CSI 02h), 4096 bytes. The limits
 * of zones are 0-based; all ones means that there is none. lbafe goes with the LBA formats of struct
 * nvme_id_ns. [ZNS: Identify Namespace Data Structure]
 */
struct nvme_zns_lbafe {
	uint64_t zsze; /* Zone Size, logical blocks */
	uint8_t zdes;  /* Zone Descriptor Extension Size, 64 bytes */
	uint8_t rsvd9[7];
};
NVME__SIZE(struct nvme_zns_lbafe, 16);

struct nvme_zns_id_ns {
	uint16_t zoc;  /* Zone Operation Characteristics */
	uint16_t ozcs; /* Optional Zoned Command Support, NVME_OZCS_* */
	uint32_t mar;  /* Maximum Active Resources, 0-based */
	uint32_t mor;  /* Maximum Open Resources, 0-based */
	uint32_t rrl;  /* Reset Recommended Limit, seconds; 0: not reported */
	uint32_t frl;  /* Finish Recommended Limit, seconds; 0: not reported */
	uint8_t rsvd20[2796];
	struct nvme_zns_lbafe lbafe[64]; /* LBA Format Extensions */
	uint8_t vs[256];
};
NVME__SIZE(struct nvme_zns_id_ns, 4096);
NVME__AT(struct nvme_zns_id_ns, mar, 4);
NVME__AT(struct nvme_zns_id_ns, frl, 16);
NVME__AT(struct nvme_zns_id_ns, lbafe, 2816);

#define NVME_OZCS_READ_ACROSS 0x0001u /* bit of ozcs: reads may cross the boundary of a zone */

/* Identify Controller of the same (CNS 06h, CSI 02h). [ZNS: Identify Controller Data Structure] */
struct nvme_zns_id_ctrlr {
	uint8_t zasl; /* Zone Append Size Limit: 2^n pages of CAP.MPSMIN, 0: that of MDTS */
	uint8_t rsvd1[4095];
};
NVME__SIZE(struct nvme_zns_id_ctrlr, 4096);

/*
 * A report of zones: this header, then a descriptor for each zone, in an extended report with its
 * extension behind it. wp means nothing in a zone that is full, read only or offline.
 * [ZNS: Report Zones, Zone Descriptor]
 */
struct nvme_zns_report {
	uint64_t nr_zones; /* Number of Zones that match; partial report: of those that follow */
	uint8_t rsvd8[56];
};
NVME__SIZE(struct nvme_zns_report, 64);

struct nvme_zns_zone {
	uint8_t zt;  /* Zone Type [3:0], NVME_ZONE_TYPE_SEQWR */
	uint8_t zs;  /* Zone State [7:4], enum nvme_zone_state */
	uint8_t za;  /* Zone Attributes, NVME_ZA_* */
	uint8_t zai; /* Zone Attributes Information */
	uint8_t rsvd4[4];
	uint64_t zcap;  /* Zone Capacity: blocks that can be written, from the first on */
	uint64_t zslba; /* Zone Start Logical Block Address */
	uint64_t wp;    /* Write Pointer: the LBA that the next write has to begin at */
	uint8_t rsvd32[32];
};
NVME__SIZE(struct nvme_zns_zone, 64);
NVME__AT(struct nvme_zns_zone, zcap, 8);
NVME__AT(struct nvme_zns_zone, wp, 24);

#define NVME_ZONE_TYPE       3, 0  /* of zt */
#define NVME_ZONE_TYPE_SEQWR 2u    /* sequential write required: there is no other */
#define NVME_ZONE_STATE      7, 4  /* of zs */
#define NVME_ZA_ZFC          0x01u /* bits of za: finished by the controller */
#define NVME_ZA_FZR          0x02u /* it recommends to finish the zone */
#define NVME_ZA_RZR          0x04u /* it recommends to reset the zone */
#define NVME_ZA_ZDEV         0x80u /* the descriptor extension was set */

/* ---- log pages ---- */

/*
 * SMART / Health Information (log page 02h), 512 bytes. One "data unit" is 1000 blocks of 512
 * bytes, rounded up, whatever the LBA size. Temperatures are in kelvin. Most counters have 128
 * bits, low half first. avsp, avspt and pused are percentages; pused may exceed 100 (max 255).
 * [Base 2.1 §5.1.12: SMART / Health Information]
 */
struct nvme_smart_log {
	uint8_t critical_warning; /* Critical Warning, NVME_SMART_* */
	uint8_t temperature[2];   /* Composite Temperature, kelvin, low byte first */
	uint8_t avsp;             /* Available Spare, % */
	uint8_t avspt;            /* Available Spare Threshold, % */
	uint8_t pused;            /* Percentage Used, % */
	uint8_t egcws;            /* Endurance Group Critical Warning Summary */
	uint8_t rsvd7[25];
	uint64_t data_units_read[2];    /* Data Units Read, 512000 bytes */
	uint64_t data_units_written[2]; /* Data Units Written, 512000 bytes */
	uint64_t host_reads[2];         /* Host Read Commands */
	uint64_t host_writes[2];        /* Host Write Commands */
	uint64_t busy_time[2];          /* Controller Busy Time, minutes */
	uint64_t power_cycles[2];       /* Power Cycles */
	uint64_t power_on_hours[2];     /* Power On Hours */
	uint64_t unsafe_shutdowns[2];   /* Unexpected Power Losses */
	uint64_t media_errors[2];       /* Media and Data Integrity Errors */
	uint64_t error_log_entries[2];  /* Number of Error Information Log Entries, ever */
	uint32_t wctt;                  /* Warning Composite Temperature Time, minutes */
	uint32_t cctt;                  /* Critical Composite Temperature Time, minutes */
	uint16_t tsen[8];               /* Temperature Sensor 1 to 8, kelvin, 0: none */
	uint32_t tmt1tc;                /* Thermal Management Temperature 1 Transition Count */
	uint32_t tmt2tc;                /* Thermal Management Temperature 2 Transition Count */
	uint32_t tttmt1; /* Total Time For Thermal Management Temperature 1, seconds */
	uint32_t tttmt2; /* Total Time For Thermal Management Temperature 2, seconds */
	uint8_t rsvd232[280];
};
NVME__SIZE(struct nvme_smart_log, 512);
NVME__AT(struct nvme_smart_log, temperature, 1);
NVME__AT(struct nvme_smart_log, data_units_read, 32);
NVME__AT(struct nvme_smart_log, power_on_hours, 128);
NVME__AT(struct nvme_smart_log, error_log_entries, 176);
NVME__AT(struct nvme_smart_log, wctt, 192);
NVME__AT(struct nvme_smart_log, tsen, 200);
NVME__AT(struct nvme_smart_log, tttmt2, 228);

#define NVME_SMART_SPARE       0x01u /* bits of critical_warning: spare below threshold */
#define NVME_SMART_TEMPERATURE 0x02u /* too hot or too cold */
#define NVME_SMART_DEGRADED    0x04u /* reliability degraded */
#define NVME_SMART_READ_ONLY   0x08u /* all media read only */
#define NVME_SMART_BACKUP      0x10u /* volatile memory backup failed */
#define NVME_SMART_PMR         0x20u /* persistent memory region read only or unreliable */

/*
 * One entry of the Error Information log (log page 01h), 64 bytes, newest first. ecnt counts
 * errors over the life of the controller; 0 marks an unused entry. sts is laid out like the
 * status of a completion, phase in bit 0. csi and opc are valid only if lpver is 1.
 * [Base 2.1 §5.1.12.1.2, Fig. 205: Error Information]
 */
struct nvme_error_log_entry {
	uint64_t ecnt;   /* Error Count, 0: entry not used */
	uint16_t sqid;   /* Submission Queue ID */
	uint16_t cid;    /* Command ID, FFFFh: no command */
	uint16_t sts;    /* Status Info: as struct nvme_cpl.status */
	uint16_t pel;    /* Parameter Error Location: byte [7:0], bit [10:8] in the command */
	uint64_t lba;    /* LBA of the first error */
	uint32_t nsid;   /* Namespace Identifier */
	uint8_t vsia;    /* Vendor Specific Information Available: log page, 0: none */
	uint8_t trtype;  /* Transport Type */
	uint8_t csi;     /* Command Set Indicator, enum nvme_csi */
	uint8_t opc;     /* Opcode */
	uint64_t csinfo; /* Command Specific Information */
	uint16_t ttsi;   /* Transport Type Specific Information */
	uint8_t rsvd42[21];
	uint8_t lpver; /* Log Page Version: 1; controllers of older revisions have 0 */
};
NVME__SIZE(struct nvme_error_log_entry, 64);
NVME__AT(struct nvme_error_log_entry, lba, 16);
NVME__AT(struct nvme_error_log_entry, vsia, 28);
NVME__AT(struct nvme_error_log_entry, csinfo, 32);
NVME__AT(struct nvme_error_log_entry, lpver, 63);

/* Firmware Slot Information (log page 03h), 512 bytes. afi: slot running now [2:0], slot after
 * the next reset [6:4], 0 if unknown. [Base 2.1 §5.1.12: Firmware Slot Information] */
struct nvme_fw_slot_log {
	uint8_t afi; /* Active Firmware Info */
	uint8_t rsvd1[7];
	char frs[7][8]; /* Firmware Revision for Slot 1 to 7, ASCII, all zero: empty */
	uint8_t rsvd64[448];
};
NVME__SIZE(struct nvme_fw_slot_log, 512);
NVME__AT(struct nvme_fw_slot_log, frs, 8);
NVME__AT(struct nvme_fw_slot_log, rsvd64, 64);

/*
 * Result of one self-test, 28 bytes, in struct nvme_self_test_log. Numbers of several bytes are low
 * byte first; they stand at odd places. [Base 2.1: Device Self-test log page]
 */
struct nvme_self_test_result {
	uint8_t status; /* result [3:0], FFh or Fh: not used; what was run [7:4], NVME_SELF_TEST_* */
	uint8_t segment; /* that failed, if result is 7 */
	uint8_t valid;   /* nsid [0], flba [1], sct [2], sc [3] mean something */
	uint8_t rsvd3;
	uint8_t poh[8];  /* Power On Hours when it ended */
	uint8_t nsid[4]; /* of the Failing LBA */
	uint8_t flba[8]; /* Failing LBA */
	uint8_t sct;
	uint8_t sc;
	uint8_t vs[2];
};
NVME__SIZE(struct nvme_self_test_result, 28);
NVME__AT(struct nvme_self_test_result, flba, 16);

/* Device Self-test (log page 06h), 564 bytes, the newest result first. */
struct nvme_self_test_log {
	uint8_t current;    /* what is running [3:0], NVME_SELF_TEST_*, 0: nothing */
	uint8_t completion; /* of it, per cent [6:0] */
	uint8_t rsvd2[2];
	struct nvme_self_test_result result[20];
};
NVME__SIZE(struct nvme_self_test_log, 564);

/* Sanitize Status (log page 81h), 512 bytes. Times are estimates in seconds, FFFFFFFFh: unknown.
 * [Base 2.1: Sanitize Status log page] */
struct nvme_sanitize_log {
	uint16_t sprog;  /* Sanitize Progress, of 65536; FFFFh: none is running */
	uint16_t sstat;  /* Sanitize Status, NVME_SSTAT_* */
	uint32_t scdw10; /* CDW10 of the latest Sanitize command */
	uint32_t eto;    /* Estimated Time For Overwrite */
	uint32_t etbe;   /* Estimated Time For Block Erase */
	uint32_t etce;   /* Estimated Time For Crypto Erase */
	uint32_t etond;  /* the same three without deallocation */
	uint32_t etbend;
	uint32_t etcend;
	uint8_t rsvd32[480];
};
NVME__SIZE(struct nvme_sanitize_log, 512);
NVME__AT(struct nvme_sanitize_log, etcend, 28);

#define NVME_SSTAT_STATUS        2, 0 /* of sstat, NVME_SSTAT_* */
#define NVME_SSTAT_PASSES        7, 3 /* completed passes of an overwrite */
#define NVME_SSTAT_GDE           8, 8 /* global data erased: nothing was written since */
#define NVME_SSTAT_NEVER         0u
#define NVME_SSTAT_OK            1u
#define NVME_SSTAT_RUNNING       2u
#define NVME_SSTAT_FAILED        3u
#define NVME_SSTAT_OK_NO_DEALLOC 4u

/* ============================================================================================
 * >>more
 *
 * The rules of >>api hold here, too.
 * ============================================================================================ */
#ifndef NVME_TEXT_ONLY

/* ---- transport ids ---- */

/* How a controller is reached. The numbers are SPDK's. */
enum nvme_transport_type {
	/* PCI Express: libpci finds it, VFIO opens it */
	NVME_TRANSPORT_PCIE = 256,
	/* a device table of the caller's, see struct nvme_named_dev */
	NVME_TRANSPORT_CUSTOM = 4096
};

#define NVME_TRADDR_SIZE 1024

struct nvme_transport_id {
	enum nvme_transport_type trtype;
	/* "0000:04:00.0"; of CUSTOM, what its open() is called with. "": every one of trtype. */
	char traddr[NVME_TRADDR_SIZE];
};

/*
 * Reads "trtype:PCIe traddr:0000:04:00.0". Between a key and its value is a colon or an equals
 * sign, between pairs are blanks. Keys and the names PCIe and CUSTOM may be written in capitals or
 * not. Each key comes at most once, in any order; without trtype it is PCIe. A PCI address is
 * completed (04:00.0 is in domain 0) and put in lower case. An address of CUSTOM that holds blanks
 * comes last, behind trtype. Writes the whole *trid, zeros if it fails. -EINVAL the text is wrong,
 * -ENOTSUP it names a transport that this driver does not speak (RDMA, TCP, FC, ...). Any thread.
 */
NVMEDEF int nvme_transport_id_parse(struct nvme_transport_id *trid, const char *text);

/* The other way round. Returns its length as snprintf() does, or -EINVAL: no such trtype. */
NVMEDEF int nvme_transport_id_format(char *buf, size_t size, const struct nvme_transport_id *trid);

/* 0: the same controller, however the address is written; else which comes first, as strcmp(). */
NVMEDEF int nvme_transport_id_compare(const struct nvme_transport_id *a,
                                      const struct nvme_transport_id *b);

/* "PCIe", "CUSTOM", or NULL. */
NVMEDEF const char *nvme_transport_id_trtype_str(enum nvme_transport_type trtype);

/* ---- probing: several controllers at once ---- */

/* A device that is on no bus, or a PCI address. Its text is copied. */
struct nvme_named_dev {
	const char *addr;                   /* what open() is called with; under 1024 characters */
	const struct nvme_dev_ops *dev_ops; /* NULL: vfio, and addr is a PCI address */
};

/* For a controller that is asked for, or gone: see removal. */
typedef void (*nvme_remove_cb)(void *ctx, struct nvme_ctrlr *ctrlr);
/*
 * For each controller found, before anything is done to it. opts holds the defaults (dev_ops: what
 * will open it) and may be changed. Returns whether to attach to it.
 */
typedef bool (*nvme_probe_cb)(void *ctx, const struct nvme_transport_id *trid,
                              struct nvme_ctrlr_opts *opts);
/*
 * For each controller that is attached: from here on it is the caller's, to be detached some time,
 * in the callback if wanted. opts are those of nvme_ctrlr_get_opts(). trid is valid during the
 * call.
 */
typedef void (*nvme_attach_cb)(void *ctx, const struct nvme_transport_id *trid,
                               struct nvme_ctrlr *ctrlr, const struct nvme_ctrlr_opts *opts);
/* For each that was not: rc is what nvme_attach() returned. The log says why. */
typedef void (*nvme_attach_fail_cb)(void *ctx, const struct nvme_transport_id *trid, int rc);

/* Every field may be 0. */
struct nvme_probe_opts {
	const struct nvme_named_dev *devs; /* probed besides those on the bus, and before them */
	uint32_t num_devs;
	bool devs_only;         /* the bus is not looked at */
	uint32_t *num_attached; /* where to count those attached: from 0, before each attach_cb */
	nvme_attach_fail_cb attach_fail_cb;
	/*
	 * For each controller that is attached: what nvme_ctrlr_set_remove_cb() sets, before its
	 * attach_cb. Called with the ctx of the probe, but not by it: see removal.
	 */
	nvme_remove_cb remove_cb;
};

/*
 * Attaches to all controllers that are found and wanted: those that opts names, and those that
 * libpci finds on the bus, bound to vfio-pci (with NVME_NO_VFIO: none). What another driver holds
 * is left alone. trid NULL: all of them; one without an address: those of its trtype; one with an
 * address: that one, and for PCIe also if it is bound to another driver (the log then says how to
 * bind it). A PCI address that is found twice is taken once. What this program has attached to and
 * not yet detached is passed over on the bus: to probe again finds what was plugged in since.
 *
 * First probe_cb is called for all (NULL: all are wanted), those on the bus in the order of their
 * addresses. Then they are attached one after the other, in that order, each with its attach_cb
 * behind it; all in the caller's thread.
 *
 * Returns 0, also when nothing was found, or the first error that there was: one controller that
 * fails does not keep the others from being attached. Before anything is attached: -EINVAL no
 * attach_cb, a wrong trid, or an address that is too long; -ENODEV nothing has the address in trid;
 * -ENOMEM; -EMFILE too many open files.
 */
NVMEDEF int nvme_probe(const struct nvme_transport_id *trid, void *ctx, nvme_probe_cb probe_cb,
                       nvme_attach_cb attach_cb, const struct nvme_probe_opts *opts);

/*
 * The same, all at once: probe_cb is called here, then a thread is started for each controller,
 * which does what nvme_attach() does and ends. NULL: nothing was begun, the log says why. The
 * context must be polled until it is done.
 *
 * What runs in these threads, several at a time: open() and the other functions of device tables,
 * opts.log, NVME_LOG_LINE, NVME_CALLOC and NVME_FREE. What does not: the callbacks of this section.
 * Without threads (WebAssembly), or if none can be started, a poll attaches to one and waits for
 * it.
 */
struct nvme_probe_ctx;
NVMEDEF struct nvme_probe_ctx *nvme_probe_async(const struct nvme_transport_id *trid, void *ctx,
                                                nvme_probe_cb probe_cb, nvme_attach_cb attach_cb,
                                                const struct nvme_probe_opts *opts);
/*
 * Calls attach_cb or attach_fail_cb for at most one controller, in the order in which they get
 * ready. -EAGAIN: there are more to come, poll again. Anything else: done, and the context is gone;
 * 0 or the first error. (An open() of one's own that fails with -EAGAIN counts as -EBUSY here.)
 * -EBUSY in a callback of the same context: nothing is done, and the context stays. One thread at a
 * time.
 */
NVMEDEF int nvme_probe_poll_async(struct nvme_probe_ctx *ctx);

/*
 * nvme_detach() of several controllers, so that their shutdowns overlap. *ctx is NULL at first, and
 * every controller of the same *ctx is detached at once. Queues are deleted here, with the
 * callbacks of their commands; a thread of its own waits for the shutdown; the rest, and the last
 * callbacks, are in nvme_detach_poll_async(). From here on the controller is not to be used. 0,
 * also for NULL; -EBUSY as nvme_detach(), -ENOMEM: nothing has happened, the controller is still
 * attached.
 */
struct nvme_detach_ctx;
NVMEDEF int nvme_detach_async(struct nvme_ctrlr *ctrlr, struct nvme_detach_ctx **ctx);
/*
 * Releases at most one controller. -EAGAIN: poll again. Anything else: done, and the context is
 * gone; 0 or the first error of nvme_detach(). NULL is allowed: 0. -EBUSY in a callback that it
 * runs.
 */
NVMEDEF int nvme_detach_poll_async(struct nvme_detach_ctx *ctx);

/* ---- options ---- */

/*
 * The defaults, as far as they are known before a device is: log, log_arg, log_level and trace stay
 * 0, which means what the environment says.
 */
NVMEDEF void nvme_ctrlr_get_default_opts(struct nvme_ctrlr_opts *opts);
/*
 * The options as used, nothing left open but log (NULL: standard error). Valid until detach. (What
 * the controller made of num_io_queues: nvme_ctrlr_get_num_io_queues().)
 */
NVMEDEF const struct nvme_ctrlr_opts *nvme_ctrlr_get_opts(const struct nvme_ctrlr *ctrlr);
/* The same for queue pairs: defaults on this controller, within its limits; and what one has. */
NVMEDEF void nvme_ctrlr_get_default_io_qpair_opts(struct nvme_ctrlr *ctrlr,
                                                  struct nvme_io_qpair_opts *opts);
NVMEDEF void nvme_qpair_get_opts(const struct nvme_qpair *qp, struct nvme_io_qpair_opts *opts);

/* ---- what was found ---- */

NVMEDEF const struct nvme_dev *nvme_ctrlr_get_dev(const struct nvme_ctrlr *ctrlr);
NVMEDEF const struct nvme_id_ctrlr *nvme_ctrlr_get_data(const struct nvme_ctrlr *ctrlr);
NVMEDEF uint32_t nvme_ctrlr_get_reg_4(struct nvme_ctrlr *ctrlr, uint32_t offset);
NVMEDEF uint64_t nvme_ctrlr_get_reg_8(struct nvme_ctrlr *ctrlr, uint32_t offset);
/* Largest transfer of one command in bytes, from MDTS and the driver's own limit. */
NVMEDEF uint32_t nvme_ctrlr_get_max_xfer_size(const struct nvme_ctrlr *ctrlr);
/* I/O queue pairs that the controller granted. */
NVMEDEF uint32_t nvme_ctrlr_get_num_io_queues(const struct nvme_ctrlr *ctrlr);

/*
 * Namespaces: walk them with first and next (0 ends), or get one by its NSID (NULL: not there).
 * What is said of one follows a Format or a namespace management command of this driver's: from its
 * submission until it is complete and the namespaces were identified again, reads and writes are
 * refused with -EBUSY; those of a namespace that has gone with -ENOENT. What other hosts change is
 * not noticed.
 */
NVMEDEF uint32_t nvme_ctrlr_get_first_active_ns(const struct nvme_ctrlr *ctrlr);
NVMEDEF uint32_t nvme_ctrlr_get_next_active_ns(const struct nvme_ctrlr *ctrlr, uint32_t nsid);
NVMEDEF struct nvme_ns *nvme_ctrlr_get_ns(const struct nvme_ctrlr *ctrlr, uint32_t nsid);

NVMEDEF uint32_t nvme_ns_get_id(const struct nvme_ns *ns);
NVMEDEF struct nvme_ctrlr *nvme_ns_get_ctrlr(const struct nvme_ns *ns);
NVMEDEF uint64_t nvme_ns_get_num_sectors(const struct nvme_ns *ns);
/* Bytes of data in one block, without metadata. */
NVMEDEF uint32_t nvme_ns_get_sector_size(const struct nvme_ns *ns);
/* Bytes that one block takes in a buffer: data, plus metadata where the format interleaves it. */
NVMEDEF uint32_t nvme_ns_get_extended_sector_size(const struct nvme_ns *ns);
/* Largest nlb of one command on a queue pair; qp NULL: as far as the controller is concerned. */
NVMEDEF uint32_t nvme_ns_get_max_nlb(const struct nvme_ns *ns, const struct nvme_qpair *qp);
NVMEDEF const struct nvme_id_ns *nvme_ns_get_data(const struct nvme_ns *ns);
/* Worldwide names, or NULL where the device gave none: 8, 16 and 16 bytes. */
NVMEDEF const uint8_t *nvme_ns_get_eui64(const struct nvme_ns *ns);
NVMEDEF const uint8_t *nvme_ns_get_nguid(const struct nvme_ns *ns);
NVMEDEF const uint8_t *nvme_ns_get_uuid(const struct nvme_ns *ns);

/* ---- queue pairs ---- */

NVMEDEF struct nvme_ctrlr *nvme_qpair_get_ctrlr(const struct nvme_qpair *qp);
NVMEDEF uint16_t nvme_qpair_get_id(const struct nvme_qpair *qp);
NVMEDEF uint32_t nvme_qpair_get_entries(const struct nvme_qpair *qp);
NVMEDEF uint32_t nvme_qpair_get_num_outstanding(const struct nvme_qpair *qp);

/*
 * With delay_cmd_submit: announces what was submitted. Otherwise, and with nothing new, does
 * nothing.
 */
NVMEDEF void nvme_qpair_ring(struct nvme_qpair *qp);

/*
 * nvme_qpair_process_completions() for the admin queue. It identifies namespaces again, with
 * commands of its own, when a command that changed them is complete; it does what asynchronous events,
 * keep alive and the error log need, and looks whether the device is asked for or gone (see removal),
 * also when nothing is outstanding: who uses these calls it again and again.
 */
NVMEDEF int nvme_ctrlr_process_admin_completions(struct nvme_ctrlr *ctrlr);

/* ---- when something goes wrong ----
 *
 * Each poll counts, and about every 10 ms one of them looks at the clock, at CSTS and at the
 * commands of its queue pair. A command that is out for longer than io_timeout_ms, or admin_timeout_ms
 * on the admin queue, is late; that is noticed some 20 ms after the time at the earliest, and only
 * while somebody polls or waits: who wants to hear of admin commands has to poll the admin queue, too.
 * Asynchronous Event Requests and Format NVM are never late.
 *
 * What then happens, unless the options have no_ladder: the queue is polled once more; an I/O command
 * is aborted (Abort command), and when it is still there after as much time again, or was an admin
 * command, the controller is reset, as it is when it reports a fatal status (CSTS.CFS). One that
 * needs a fourth reset before ten times that time has passed without is given up. A reset waits for
 * CSTS.RDY, each time for as long as CAP.TO says (up to 127.5 s): the poll or the blocking call in
 * which it happens takes so much longer.
 */

/* What a reset did not help, and what is gone: nothing will work any more. In any thread. */
NVMEDEF bool nvme_ctrlr_is_failed(struct nvme_ctrlr *ctrlr);

/*
 * Hears of a command that is late, once, in the thread of its queue pair (qp NULL: the admin queue)
 * inside a poll of it. Allowed there: nvme_ctrlr_cmd_abort() (if it is the controller's thread, too),
 * nvme_ctrlr_reset(), submissions; refused: to poll, free or disconnect this queue pair, blocking
 * calls on it, nvme_detach().
 */
typedef void (*nvme_timeout_cb)(void *arg, struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                                uint16_t cid);

/*
 * From now on the caller does what is to be done for late commands; the driver aborts and resets
 * nothing. Microseconds, rounded up to ms, at most 3 days; 0: no limit. -EINVAL: above that, or cb is
 * NULL. In the controller's thread, before others use their queue pairs.
 */
NVMEDEF int nvme_ctrlr_register_timeout_callback(struct nvme_ctrlr *ctrlr, uint64_t timeout_io_us,
                                                 uint64_t timeout_admin_us, nvme_timeout_cb cb,
                                                 void *arg);

/*
 * Resets the controller: CC.EN = 0, and where that does not help, a reset of the PCI function; then
 * it is brought up again and its namespaces are identified anew. May be called in any thread, in
 * callbacks of I/O commands and of nvme_timeout_cb, too; not in those of admin commands (-EBUSY).
 * Another call meanwhile waits. What was set by nvme_ctrlr_set_feature() is lost.
 *
 * Each queue pair stops: submissions and polls get -ENXIO. Its next poll first ends what was
 * outstanding, with the status ABORTED - SQ DELETION, in its own thread; then, or at once,
 * nvme_ctrlr_reconnect_io_qpair() makes it usable again, which is allowed in its own thread. With
 * `resubmit` in its options the poll does all of this itself. Callbacks of admin commands run inside
 * this call.
 *
 * 0, or why the controller could not be brought up again: it has failed then, and can be reset
 * again. -ENODEV: it is gone. -ENXIO: it would not go off, so all its memory was unmapped for good.
 * [Base 2.1 §3.1.4.5, Fig. 41: Controller Configuration]
 */
NVMEDEF int nvme_ctrlr_reset(struct nvme_ctrlr *ctrlr);
/* The same with a reset of the whole NVM subsystem before. -ENOTSUP: CAP.NSSRS is 0. */
NVMEDEF int nvme_ctrlr_reset_subsystem(struct nvme_ctrlr *ctrlr);

#define NVME_RETRY_NEVER UINT32_MAX /* retry_count of the options: no command is sent again */

/* ---- removal ----
 *
 * A device may be wanted back: it is to be pulled out of a virtual machine, or bound to another
 * driver. The kernel then asks the process that holds it, and waits until that lets go: for ever, if
 * it must. Or the device is pulled out at once, or its bus reports an error.
 *
 * Asked for: from the moment this is seen, commands to I/O queue pairs are refused with -ENODEV, all
 * at once in all threads; what is outstanding completes as ever; admin commands go on. nvme_detach()
 * shuts the controller down as usual, and the kernel goes on.
 * Bus error: submissions and polls get -EIO.
 * Gone (registers read FFFFFFFFh, or VS and CSTS 0): submissions and polls get -ENODEV. Callbacks of
 * what is outstanding run inside nvme_detach(), at the latest.
 * A controller that somebody else has reset, so that CSTS.RDY is 0: it is reset, as one with a fatal
 * status (see above); polls get -EIO where the ladder is off.
 *
 * It is seen by nvme_ctrlr_process_admin_completions(), by who waits for interrupts, and by a poll
 * of a queue pair with commands outstanding where nothing has come for a while. Each is logged with
 * one sentence. The kernel's part needs Linux and a device table with set_events().
 */
enum nvme_removal {
	NVME_REMOVAL_NONE = 0,
	/* the system wants the device back: finish, and detach */
	NVME_REMOVAL_REQUESTED = 1,
	/* its bus has reported an error: detach */
	NVME_REMOVAL_FAILED = 2,
	/* it is not there any more: detach */
	NVME_REMOVAL_GONE = 3
};

/* As far as it was seen, the last in this list that is true. Any thread. */
NVMEDEF enum nvme_removal nvme_ctrlr_get_removal(const struct nvme_ctrlr *ctrlr);

/*
 * remove_cb runs once, in the controller's thread, as the last thing that
 * nvme_ctrlr_process_admin_completions() does, when the controller is asked for, or has failed or
 * gone. It may do what that thread may, nvme_detach() included: unless that is refused (in a
 * callback), the controller is not to be touched after it. Not called by a detach that comes first.
 * With one set, each nvme_ctrlr_process_admin_completions() also reads CSTS, so that a device that
 * has gone is found without commands outstanding. NULL: none. In the controller's thread.
 */
NVMEDEF void nvme_ctrlr_set_remove_cb(struct nvme_ctrlr *ctrlr, nvme_remove_cb remove_cb,
                                      void *ctx);

/*
 * Keeps the process alive where the registers of a device that was taken away, or is being reset by
 * the kernel, raise SIGBUS: from then on the registers of every controller of this program, attached
 * before or after, read as all ones instead, and all ends with -ENODEV. For controllers whose
 * registers are mapped at whole pages, 256 at a time.
 *
 * It installs a signal handler, which passes on what is not about such registers to the one that was
 * there before, so install others first. Nobody but the program may decide that: there is one
 * handler for the whole process, which may belong to a debugger's helper, a runtime or another
 * library, and a library that took it without being asked would hide their faults, and break when
 * they take it back. Stays for ever; more calls do nothing. Any thread. 0, -ENOTSUP where there is no
 * Linux, or what sigaction() says.
 */
NVMEDEF int nvme_catch_sigbus(void);

/* ---- interrupts ----
 *
 * With `interrupts` in the options of the attach a completion of an I/O queue pair makes a file
 * descriptor readable, for poll() and epoll: an eventfd, one for each interrupt vector (MSI-X). It
 * belongs to the queue pair. Who has been woken reads 8 bytes from it first, and reaps then, until
 * nothing is left: the other way round a completion between the two would wake nobody. Polling
 * without looking at it is still possible.
 */

/*
 * The descriptor, or a negative errno: -ENOTSUP without interrupts, -ENOSPC when the device has
 * fewer vectors than queue pairs: this one can only be polled.
 */
NVMEDEF int nvme_qpair_get_fd(const struct nvme_qpair *qp);
/*
 * Reaps what is there, as nvme_qpair_process_completions() does; where there is nothing, sleeps
 * until there is or timeout_ms is over (negative: without end). Returns how many, 0 when the time
 * is over, a signal came or the device is asked for (see removal; once), the errors of
 * nvme_qpair_get_fd() and nvme_qpair_process_completions(). A controller that has gone or failed may
 * raise no interrupt: the call after one whose time was over in vain looks for that.
 */
NVMEDEF int nvme_qpair_wait(struct nvme_qpair *qp, int timeout_ms);

/*
 * Fewer interrupts for more latency: the controller may hold an interrupt of an I/O queue back until
 * `completions` of them (1 to 256) wait in it, but not longer than about delay_us (0 to 25500, rounded
 * up to hundreds). 1 or 0 microseconds turn that off. For all queues, and only until a reset; many
 * controllers ignore it. It belongs to the controller's thread. -EINVAL out of these ranges, errors of
 * nvme_ctrlr_set_feature(). [Base 2.1: Interrupt Coalescing feature]
 */
NVMEDEF int nvme_ctrlr_set_interrupt_coalescing(struct nvme_ctrlr *ctrlr, uint32_t completions,
                                                uint32_t delay_us, struct nvme_cpl *cpl);

/* ---- the controller memory buffer ----
 *
 * Some controllers have memory of their own in one of their BARs. A submission queue there need not
 * be fetched from the host: that is sq_in_cmb in the options of a queue pair. Data there need not
 * cross the host's memory at all: a block that is read into it and written from it to another place
 * is copied inside the controller.
 *
 * Attaching finds out where the memory is and switches nothing on; what these functions and
 * sq_in_cmb then use is switched off again by nvme_detach(). Submission queues take it from the
 * front, page by page of CC.MPS; nvme_ctrlr_reserve_cmb() makes all that is left memory for data.
 * They belong to the controller's thread and are refused with -EBUSY in callbacks of admin commands
 * and of nvme_detach().
 *
 * To this process it is a device: uncached, slow to read, and on some processors only to be accessed
 * at aligned addresses. Completion queues, PRP lists and SGLs stay in the host's memory.
 * [Base 2.1: Controller Memory Buffer]
 */

struct nvme_cmb_info {
	uint64_t size;   /* bytes */
	uint64_t offset; /* in its BAR, bytes */
	uint64_t iova;   /* as the controller sees it; 0: not known before it is used */
	uint32_t bar;    /* 0 to 5 */
	uint32_t cmbloc; /* both registers, for NVME_CMBLOC_* ... */
	uint32_t cmbsz;  /* ... and NVME_CMBSZ_*: what may be there */
	bool legacy;     /* always on, at its address on the bus, as before NVMe 1.4 */
};

/* -ENOTSUP: there is none, or none that can be used; the log of the attach says why. */
NVMEDEF int nvme_ctrlr_get_cmb(const struct nvme_ctrlr *ctrlr, struct nvme_cmb_info *info);

/*
 * All that no submission queue has is for data from now on. 0 also if it is that already. -ENOTSUP
 * there is no such memory, it holds no data (RDS, WDS), or it cannot be mapped; -ENOSPC queues have
 * all of it, or there are no DMA addresses for it; -EIO the controller refused the address; -ENODEV
 * it is gone.
 */
NVMEDEF int nvme_ctrlr_reserve_cmb(struct nvme_ctrlr *ctrlr);
/*
 * The memory for data, reserved by this call if it was not, and its *size in bytes: whole pages, not
 * zeroed. NULL: the log says why. It is a buffer as one of nvme_dma_alloc() is, for commands of this
 * controller only, and nvme_dma_iova() knows it. Commands whose data the controller does not allow
 * there (RDS, WDS, CDPMLS, CDMMMS) are refused with -ENOTSUP. To be given back, not freed.
 */
NVMEDEF void *nvme_ctrlr_map_cmb(struct nvme_ctrlr *ctrlr, size_t *size);
/* Gives it back to the submission queues. No command may be using it. -ENOENT: it was not taken. */
NVMEDEF int nvme_ctrlr_unmap_cmb(struct nvme_ctrlr *ctrlr);

/* ---- queue pairs: connecting, statistics ----
 *
 * A queue pair has two sides: rings and trackers here, and two queues that the controller was told
 * of. nvme_ctrlr_alloc_io_qpair() makes both; with create_only in its options it makes the first
 * one only, and a queue pair may lose and get back the second. One that is not connected refuses
 * submissions and polls with -ENXIO. Of these functions the rules for creating and freeing hold:
 * they belong to the controller's thread and are refused with -EBUSY in callbacks of the same queue
 * pair, of admin commands and of nvme_detach().
 *
 * With sq and cq in the options the rings are where the caller says: DMA memory, of nvme_dma_alloc()
 * or registered, that begins at a page of the controller's (CC.MPS) and has room for all entries, 64
 * bytes each in sq, 16 in cq; -EINVAL otherwise. It is the controller's and the driver's until the
 * queue pair is freed, or, where that was not confirmed, the controller detached: not to be written,
 * given back or unregistered before. The driver cannot tell it from memory for data: commands must
 * stay out of it.
 */

/*
 * Tells the controller of a queue pair of its own that is not connected. -EISCONN it is, -EINVAL it
 * is another controller's, -EIO the controller refused: it can be tried again. After any other error
 * the controller may know of it or not: the queue pair can only be freed.
 */
NVMEDEF int nvme_ctrlr_connect_io_qpair(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp);
/*
 * Deletes the submission queue and the completion queue of the controller and keeps the rest.
 * Commands that are outstanding get their callback with the status ABORTED - SQ DELETION before this
 * returns. 0, also if it was not connected. After an error the controller did not confirm: the queue
 * pair has failed with it, and what is outstanding stays so until it is freed, or after that until
 * nvme_detach().
 */
NVMEDEF int nvme_ctrlr_disconnect_io_qpair(struct nvme_qpair *qp);
/*
 * Connects a queue pair that was disconnected, or that has failed: that one is disconnected first,
 * its rings start anew. One that works stays as it is. Errors are those of the other two.
 */
NVMEDEF int nvme_ctrlr_reconnect_io_qpair(struct nvme_qpair *qp);
/* Does the controller know of it? True for a queue pair that has failed, too. */
NVMEDEF bool nvme_qpair_is_connected(const struct nvme_qpair *qp);

/* What happened since the queue pair was created. */
struct nvme_qpair_stats {
	uint64_t polls;      /* that looked at the completion queue */
	uint64_t idle_polls; /* that found nothing there */
	uint64_t completions; /* callbacks: of commands that were completed, or aborted by the driver */
	uint64_t submitted_requests;  /* commands put into the ring */
	uint64_t sq_doorbell_updates; /* doorbells rung, of either kind */
	uint64_t cq_doorbell_updates;
};

/*
 * For a queue pair with stats in its options; -ENOTSUP without. In the thread of the queue pair. A
 * queue pair without statistics pays nothing for them.
 */
NVMEDEF int nvme_qpair_get_stats(const struct nvme_qpair *qp, struct nvme_qpair_stats *stats);

/* ---- poll groups ----
 *
 * Queue pairs of any controllers that one thread polls with one call. A group belongs to one thread
 * at a time, and so do the queue pairs in it; what changes the group counts as its use: adding and
 * removing, and also freeing a queue pair that is in it, or detaching its controller, which both
 * take it out.
 *
 * In callbacks that run inside a poll of the group all this is allowed: adding (polled from the next
 * time on), removing, and freeing other queue pairs than the one whose callback it is, which takes
 * effect at once. What is refused with -EBUSY is to poll the group, and to destroy it.
 */
struct nvme_poll_group;

/* ctx is the caller's. NULL: no memory. */
NVMEDEF struct nvme_poll_group *nvme_poll_group_create(void *ctx);
/* -EBUSY while it has queue pairs. NULL is allowed. */
NVMEDEF int nvme_poll_group_destroy(struct nvme_poll_group *group);
NVMEDEF void *nvme_poll_group_get_ctx(const struct nvme_poll_group *group);

/*
 * Connected or not. -EBUSY: it is in a group already, this one or another; -ESHUTDOWN: it is being
 * freed, or its controller detached.
 */
NVMEDEF int nvme_poll_group_add(struct nvme_poll_group *group, struct nvme_qpair *qp);
/* -ENOENT: it is not in this group. */
NVMEDEF int nvme_poll_group_remove(struct nvme_poll_group *group, struct nvme_qpair *qp);

/*
 * Receives a queue pair that has failed, and the ctx of the group. nvme_poll_group_remove(),
 * nvme_ctrlr_free_io_qpair() and nvme_ctrlr_reconnect_io_qpair() are what it is for.
 */
typedef void (*nvme_disconnected_qpair_cb)(struct nvme_qpair *qp, void *ctx);

/*
 * nvme_qpair_process_completions() for each queue pair in the group, with at most
 * completions_per_qpair (0: a lap of its ring) for each. Returns how many there were. One that has
 * failed goes to disconnected_cb, in each poll until it is removed, freed or connected again, and
 * does not keep the others from being polled; one that the caller has not connected is passed over.
 * -EINVAL disconnected_cb is NULL; -EBUSY in a callback inside a poll of this group, or, when the
 * others were polled, in one of a queue pair in it. Never waits.
 */
NVMEDEF int64_t nvme_poll_group_process_completions(struct nvme_poll_group *group,
                                                    uint32_t completions_per_qpair,
                                                    nvme_disconnected_qpair_cb disconnected_cb);

/*
 * The same where every controller was attached with `interrupts`: where there is nothing, it sleeps
 * until one of the queue pairs has something or timeout_ms is over (negative: without end). 0 when
 * the time is over, a signal came or a device is asked for, or after a disconnected_cb; as with nvme_qpair_wait(), what has
 * gone is found by the call after one in vain. The errors of the poll, and before
 * it sleeps: those of nvme_qpair_get_fd() for one of them, -ENXIO when none is connected, -ENOMEM.
 */
NVMEDEF int64_t nvme_poll_group_wait(struct nvme_poll_group *group, uint32_t completions_per_qpair,
                                     int timeout_ms, nvme_disconnected_qpair_cb disconnected_cb);

struct nvme_poll_group_stats {
	uint64_t polls;                 /* of the group */
	uint64_t idle_polls;            /* that found nothing in any queue pair */
	uint64_t completions;           /* the sum of what polls returned */
	uint64_t failures;              /* calls of disconnected_cb */
	uint32_t num_qpairs;            /* in the group now */
	struct nvme_qpair_stats qpairs; /* the sum over those in it now that have statistics */
};

NVMEDEF void nvme_poll_group_get_stats(const struct nvme_poll_group *group,
                                       struct nvme_poll_group_stats *stats);

/* ---- any command ---- */

/*
 * Any command: the driver fills in the CID and, where len is not 0, PRP1 and PRP2 for buf. With len
 * 0 the data pointer is sent as the caller wrote it. That len is what the command transfers is the
 * caller's to know. -EINVAL for the deletion of a queue that the driver uses; Format and namespace
 * management are noticed (see namespaces). Nothing else is looked at.
 */
NVMEDEF int nvme_ctrlr_cmd_admin_raw(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd,
                                     void *buf, uint32_t len, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_ctrlr_cmd_io_raw(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                                  const struct nvme_cmd *cmd, void *buf, uint32_t len,
                                  nvme_cmd_cb cb, void *arg);

/* ---- blocking helpers ----
 *
 * For small tools. buf is any memory (what is not DMA memory is copied through a buffer of the
 * driver's). Reads and writes of any length are sent as several commands, one after the other, cut
 * at the largest transfer, at NOIOB and at the end of a zone. qp NULL means a queue pair of the
 * controller's own, created on first use; then the call belongs to the controller's thread. cpl,
 * where not NULL, receives the last completion, the one with the error if there was one. Where none
 * came, which is so with every error but -EIO for a status, it has the status ABORTED BY HOST
 * (03/71), CID FFFFh.
 *
 * -ETIMEDOUT: nothing came within io_timeout_ms or admin_timeout_ms. The command is still with the
 * controller, which may use its data until the queue pair is freed or the controller detached: a
 * buffer of DMA memory is not to be touched before; any other memory is, since the driver keeps its
 * own copy. A queue pair keeps at most four buffers for such copies, each of at most its
 * max_xfer_size bytes, for its next calls. -EBUSY: four commands with one have timed out and not
 * come back.
 */
NVMEDEF int nvme_ns_read(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                         uint64_t nlb, struct nvme_cpl *cpl);
NVMEDEF int nvme_ns_write(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf, uint64_t slba,
                          uint64_t nlb, struct nvme_cpl *cpl);
NVMEDEF int nvme_ns_flush(struct nvme_ns *ns, struct nvme_qpair *qp, struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_admin(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd, void *buf,
                             uint32_t len, struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_io(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                          const struct nvme_cmd *cmd, void *buf, uint32_t len,
                          struct nvme_cpl *cpl);

/* ---- reads and writes of any size, memory in pieces ---- */

#define NVME_IO_FLAGS_SGL (1u << 0) /* of the functions here: SGLs, also where PRPs would do */
#define NVME_MAX_PIECES   1024      /* of memory, in one call */

/*
 * Reads or writes nlb blocks at slba as as many commands as it takes, several at a time. The memory
 * is that of iov, one piece behind the other: DMA memory, each piece inside one buffer, together
 * nlb times nvme_ns_get_extended_sector_size() bytes. Pieces of no bytes are passed over. In a read
 * a piece with iov_base NULL is a hole: its bytes are thrown away (only with bit buckets, SGLS bit
 * 16). nlb has 64 bits: nothing but the namespace is its limit.
 *
 * A command ends at the largest transfer (MDTS, and max_xfer_size of the queue pair), at NOIOB as
 * nvme_ns_next_piece() says, and where PRPs would need a hole inside of a page: all pieces of a
 * command but the first begin at a page, all but the last end at one, and the first is dword
 * aligned. Where that ends a command too early it goes with an SGL, if the controller takes them
 * (SGLS), or all do, if io_flags has NVME_IO_FLAGS_SGL; an SGL has room for at least half as many
 * descriptors as the PRP list of the largest transfer has entries, and for 8. FUA and limited retry
 * go into each command. No command crosses the end of a zone, and writes to a zoned namespace are
 * sent one by one. [Base 2.1 §4.3.1: PRP entry and list], [Base 2.1 §4.3.2: SGL descriptors]
 *
 * What finds no room in the queue goes on from completions, inside
 * nvme_qpair_process_completions(): commands that are many do not fail the call, and while one is
 * outstanding the others follow. iov is looked at during the call only: what is needed of it later
 * is copied. The memory that it names belongs to the controller until the callback.
 *
 * cb runs once, when no command of the transfer is outstanding. Its completion is that of the
 * command that failed at the lowest LBA, or of the last that succeeded. After a failure nothing
 * more is sent; which of the other blocks were transferred is not told. What was not sent because
 * the queue or the namespace came to an end has the status ABORTED - SQ DELETION or ABORTED BY
 * HOST.
 *
 * Refused before anything is sent: what nvme_ns_cmd_read() refuses, and -EINVAL the pieces are not
 * nlb blocks, -EMSGSIZE they are more than NVME_MAX_PIECES (those that are next to each other are
 * one), or the queue pair cannot carry a block, -EFAULT not DMA memory, or a command would begin at
 * no dword, -EOPNOTSUPP a block that PRPs cannot describe, or a hole, or NVME_IO_FLAGS_SGL, and the
 * controller has no SGLs for it. -EAGAIN: no slot of the queue is free, 1024 of these calls are on
 * their way, or 16 that are not all sent: process completions first. -ENOMEM: the first call on a
 * queue pair allocates what all need, about 300 KiB.
 */
NVMEDEF int nvme_ns_cmd_readv(struct nvme_ns *ns, struct nvme_qpair *qp, const struct iovec *iov,
                              int iovcnt, uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                              uint32_t io_flags);
NVMEDEF int nvme_ns_cmd_writev(struct nvme_ns *ns, struct nvme_qpair *qp, const struct iovec *iov,
                               int iovcnt, uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                               uint32_t io_flags);
/* The same with one buffer. */
NVMEDEF int nvme_ns_cmd_read_large(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                   uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                                   uint32_t io_flags);
NVMEDEF int nvme_ns_cmd_write_large(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                    uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                                    uint32_t io_flags);

/* What Format NVM is to do. Every field may be 0: LBA format 0, no metadata in blocks, no PI. */
struct nvme_format {
	uint8_t lbaf;        /* index of an LBA format, 0..63: nvme_ns_get_data()->lbaf[] */
	uint8_t mset;        /* 1: metadata, if any, at the end of each block; 0: separate */
	uint8_t pi;          /* protection information: 0 none, or type 1 to 3 */
	uint8_t pil;         /* 1: it is the first bytes of the metadata; 0: the last */
	uint8_t ses;         /* NVME_FORMAT_SES_* */
	uint32_t timeout_ms; /* default 600000 */
};

/*
 * Formats a namespace, or all with NVME_NSID_ALL: ITS DATA IS LOST. Some controllers format all in
 * any case (FNA). Waits, with the progress in the log at level info, then identifies the namespaces
 * again: block size and number of blocks follow, pointers to struct nvme_ns stay. No thread may
 * have commands outstanding on the namespace; new ones are refused with -EBUSY meanwhile. [Base
 * 2.1: Format NVM command] -ENOTSUP the controller has no such command, -EINVAL no such format,
 * -EIO refused by the controller, see cpl, or formatted but not identified, -ETIMEDOUT not complete
 * in time: it goes on, and the namespace stays refused until nvme_ctrlr_process_admin_completions()
 * has seen its end.
 */
NVMEDEF int nvme_ctrlr_format(struct nvme_ctrlr *ctrlr, uint32_t nsid,
                              const struct nvme_format *format, struct nvme_cpl *cpl);

/* ---- metadata and protection information ----
 *
 * A block of a format with metadata has ms bytes more (nvme_ns_get_data()->lbaf[]): in the data,
 * behind each block (FLBAS bit 4), or in a buffer of their own. With protection information, 8 of
 * them are a struct nvme_pi, which the controller checks on the way. Only the format with a 16-bit
 * guard is known here: the others are off until a host enables them (LBAFEE, feature 16h), which
 * this driver does not do. [NVM 1.1: Metadata, End-to-end Data Protection]
 */

#define NVME_IO_FLAGS_PRCHK_REFTAG (1u << 26) /* check the reference tag (types 1 and 2) */
#define NVME_IO_FLAGS_PRCHK_APPTAG (1u << 27) /* check the application tag */
#define NVME_IO_FLAGS_PRCHK_GUARD  (1u << 28) /* check the guard */
#define NVME_IO_FLAGS_PRACT        (1u << 29) /* the controller makes it (write), strips it (read) */

/*
 * Submits one read or write of nlb blocks at slba, of any namespace; like nvme_ns_cmd_read(), with
 * these differences:
 *  - md is a DMA buffer, dword aligned, for nlb * ms bytes where the metadata is separate, else
 *    NULL. buf holds nlb times nvme_ns_get_extended_sector_size() bytes.
 *  - With NVME_IO_FLAGS_PRACT and ms 8, the metadata is nothing but protection information and is
 *    not transferred: buf holds nlb times nvme_ns_get_sector_size() bytes, md is not used. With
 *    larger ms all of it is transferred, and in a write the controller replaces 8 bytes of it.
 *    apptag is the application tag that it writes.
 *  - NVME_IO_FLAGS_PRCHK_* say what the controller checks: the guard against the data; the
 *    application tag against apptag, in those bits that apptag_mask has; the reference tag against
 *    the low 32 bits of the LBA (types 1 and 2; type 3 has none that a controller could check, so
 *    that flag is refused). A block whose application tag is FFFFh is not checked, with type 3 if
 *    its reference tag is FFFFFFFFh, too. What does not agree ends with GUARD, APPLICATION TAG or
 *    REFERENCE TAG CHECK ERROR (02/82, 02/83, 02/84), and a write then has not written.
 * -EINVAL as there, and for protection flags where there is no protection information, md NULL
 * where it is needed or given where it is not; -EFAULT for md as for buf; -ENOTSUP a format that
 * the specification does not have (type above 3, or less than 8 bytes of metadata).
 */
NVMEDEF int nvme_ns_cmd_read_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                                     uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                                     uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag);
NVMEDEF int nvme_ns_cmd_write_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                      void *md, uint64_t slba, uint32_t nlb, nvme_cmd_cb cb,
                                      void *arg, uint32_t io_flags, uint16_t apptag_mask,
                                      uint16_t apptag);

/*
 * The same as blocking helpers: buf and md are any memory, blocks of any number are cut into
 * pieces. A copy of separate metadata stands behind that of the data, in the same bounce buffer,
 * which is then of up to twice max_xfer_size bytes.
 */
NVMEDEF int nvme_ns_read_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                                 uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl,
                                 uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag);
NVMEDEF int nvme_ns_write_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                                  const void *md, uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl,
                                  uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag);

/*
 * CRC-16/T10-DIF of len bytes: polynomial 8BB7h, not reflected. init is 0, or the result for the
 * bytes before. [NVM 1.1: Protection Information, Guard field]
 */
NVMEDEF uint16_t nvme_crc16_t10dif(uint16_t init, const void *buf, size_t len);

/* Where metadata and protection information are, and what is to be in it. */
struct nvme_pi_ctx {
	uint32_t block_size; /* bytes of data of a block */
	uint32_t md_size;    /* bytes of metadata of a block, at least 8 */
	bool extended;       /* metadata follows each block in the data */
	bool first;          /* it is the first 8 bytes of the metadata; else the last */
	uint8_t type;        /* 1..3 */
	uint32_t flags;      /* NVME_IO_FLAGS_PRCHK_*: what nvme_pi_verify() looks at */
	uint16_t app_tag;
	uint16_t app_tag_mask; /* bits of it that nvme_pi_verify() compares */
	uint32_t ref_tag; /* of the first block; types 1 and 2: one more in each that follows */
};

/*
 * Fills in what the namespace says, for blocks from slba on. -ENOTSUP: it has no protection
 * information.
 */
NVMEDEF int nvme_pi_ctx_init(struct nvme_pi_ctx *ctx, const struct nvme_ns *ns, uint64_t slba,
                             uint32_t flags, uint16_t app_tag_mask, uint16_t app_tag);

/* The first thing that is wrong. */
struct nvme_pi_error {
	uint32_t block; /* counted from 0 */
	uint8_t sc;     /* NVME_SC_GUARD_CHECK_ERROR, ..APPLICATION_TAG.., ..REFERENCE_TAG.. */
	uint32_t expected, actual; /* of this field; the application tag with the mask applied */
};

/*
 * Write the protection information of nlb blocks into their metadata, and check it as a controller
 * does. md is NULL with ctx->extended. The guard is over the data and, unless the protection
 * information comes first, the metadata before it. nvme_pi_verify() returns 0, or -EILSEQ with *err
 * filled in (err may be NULL). Both: -EINVAL for a ctx that makes no sense. From any thread.
 */
NVMEDEF int nvme_pi_generate(const struct nvme_pi_ctx *ctx, void *buf, void *md, uint32_t nlb);
NVMEDEF int nvme_pi_verify(const struct nvme_pi_ctx *ctx, const void *buf, const void *md,
                           uint32_t nlb, struct nvme_pi_error *err);

/* The piece that the helpers would send first of n blocks at slba: 1..n blocks, of one zone. */
NVMEDEF uint32_t nvme_ns_next_piece(const struct nvme_ns *ns, uint32_t max_nlb, uint64_t slba,
                                    uint64_t n);

/* ---- more commands ----
 *
 * As nvme_ns_cmd_read() and nvme_ns_read() are: the same checks, rules and errors. A controller that
 * lacks a command (ONCS, FUSES) is found out before anything is sent: -ENOTSUP. Commands without data
 * carry up to 65536 blocks, -EMSGSIZE for more. Whether a controller has a lower limit (VSL, WZSL,
 * WUSL) the driver does not know: it then answers INVALID FIELD. The blocking forms take any number
 * of blocks and send pieces that a read could carry, which every controller takes.
 *
 * Dataset Management, Copy and Compare and Write need memory beside the command: a queue pair takes
 * it once (nvme_dma_alloc, NVME_CALLOC) and keeps it for its next such commands. -ENOMEM.
 */
#define NVME_IO_FLAGS_DEALLOCATE \
	(1u << 25) /* Write Zeroes: deallocate, where that reads as zeroes */

/*
 * Compare: is this on the medium? SC COMPARE FAILURE (02/85), and so -EIO, if it is not.
 * [NVM 1.1: Compare command]
 */
NVMEDEF int nvme_ns_cmd_compare(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                                uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags);
NVMEDEF int nvme_ns_compare(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                            uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl);
/* The blocks read as zeroes afterwards. [NVM 1.1: Write Zeroes command] */
NVMEDEF int nvme_ns_cmd_write_zeroes(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                     uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags);
NVMEDEF int nvme_ns_write_zeroes(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 uint64_t nlb, uint32_t io_flags, struct nvme_cpl *cpl);
/* Reads of the blocks fail (02/81) until they are written. [NVM 1.1: Write Uncorrectable command] */
NVMEDEF int nvme_ns_cmd_write_uncorrectable(struct nvme_ns *ns, struct nvme_qpair *qp,
                                            uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_ns_write_uncorrectable(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                        uint64_t nlb, struct nvme_cpl *cpl);
/* A read that sends no data: can the medium be read? [NVM 1.1: Verify command] */
NVMEDEF int nvme_ns_cmd_verify(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags);
NVMEDEF int nvme_ns_verify(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba, uint64_t nlb,
                           struct nvme_cpl *cpl);

/*
 * Dataset Management: what the ranges are good for; all that it says is a hint. The ranges are
 * copied before the call returns. More than 256 become several commands, sent one after the other;
 * the callback runs once, after the last, with the first error there was. A range has at least one
 * block. -EINVAL no range, or an attribute that is unknown. [NVM 1.1: Dataset Management command]
 */
#define NVME_DSM_ATTR_READ       (1u << 0) /* optimise for reading them as one */
#define NVME_DSM_ATTR_WRITE      (1u << 1) /* for writing them as one */
#define NVME_DSM_ATTR_DEALLOCATE (1u << 2) /* their content is no longer needed */
NVMEDEF int nvme_ns_cmd_dataset_management(struct nvme_ns *ns, struct nvme_qpair *qp,
                                           uint32_t attributes, const struct nvme_dsm_range *ranges,
                                           uint32_t num_ranges, nvme_cmd_cb cb, void *arg);
/* Stops at the first command that fails. */
NVMEDEF int nvme_ns_dataset_management(struct nvme_ns *ns, struct nvme_qpair *qp,
                                       uint32_t attributes, const struct nvme_dsm_range *ranges,
                                       uint32_t num_ranges, struct nvme_cpl *cpl);
/* The attribute AD for all these blocks, in ranges of at most 4194304. */
NVMEDEF int nvme_ns_deallocate(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               uint64_t nlb, struct nvme_cpl *cpl);

/*
 * Copies source ranges of the namespace, one behind the other, to dest_lba. The ranges are copied
 * before the call returns. -EINVAL no range; -EMSGSIZE more ranges (MSRC), blocks in one (MSSRL) or
 * in all (MCL) than the namespace allows: see nvme_ns_get_data(). [NVM 1.1: Copy command]
 */
NVMEDEF int nvme_ns_cmd_copy(struct nvme_ns *ns, struct nvme_qpair *qp,
                             const struct nvme_copy_range *ranges, uint32_t num_ranges,
                             uint64_t dest_lba, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_ns_copy(struct nvme_ns *ns, struct nvme_qpair *qp,
                         const struct nvme_copy_range *ranges, uint32_t num_ranges,
                         uint64_t dest_lba, struct nvme_cpl *cpl);

/*
 * Compares with cmp_buf and, if that is what is there, writes wr_buf, and nobody comes between: a
 * fused pair of commands, announced by one doorbell. The callback runs once, when both are complete,
 * with the completion that matters: the error that stopped it, COMPARE FAILURE (02/85) for instance,
 * or the success of the write. At most ACWU or NACWU blocks, -EMSGSIZE. -EAGAIN when there is no room
 * for both commands. [Base 2.1: Fused Operations]
 */
NVMEDEF int nvme_ns_cmd_compare_and_write(struct nvme_ns *ns, struct nvme_qpair *qp, void *cmp_buf,
                                          void *wr_buf, uint64_t slba, uint32_t nlb, nvme_cmd_cb cb,
                                          void *arg);

/* ---- zoned namespaces ----
 *
 * Their blocks are in zones of one size, and those of a zone are written in the order of their LBAs:
 * a write begins at the write pointer of the zone and moves it. What is in a zone goes as a whole,
 * when it is reset. Its first blocks, zcap of them (struct nvme_zns_zone), can be written; the rest
 * exists only so that zones begin at even places. [ZNS: Zoned Namespace Concepts]
 *
 * A zone that is written to is open, and an open or closed one is active; controllers have limits
 * for both. A write opens its zone (implicitly), and the controller may close such a zone when
 * another needs the place. What the state of a zone does not allow is an error of the command, SCT 1
 * with SC B8h to BFh: nothing here keeps book of states, as other hosts change them, too.
 *
 * nvme_ns_cmd_read() and its like work as always, but no command may cross the end of a zone: the
 * blocking calls and those of any size cut there, the others get ZONED BOUNDARY ERROR (01/B8).
 * Several writes to a zone at a time are the caller's risk, since a controller may execute commands
 * in any order: one after the other, or Zone Append.
 *
 * All functions with a namespace without zones: -ENOTSUP. Besides, those that send commands have the
 * errors of nvme_ns_cmd_flush(), -ERANGE slba is not in the namespace, and -EBUSY and -ENOENT as a
 * read has them.
 */

/* Its command set, NVME_CSI_*: NVM or, with zones, ZNS. Others are left out of the namespaces. */
NVMEDEF uint8_t nvme_ns_get_csi(const struct nvme_ns *ns);
/* NULL: it has no zones. What Identify says, as it came. */
NVMEDEF const struct nvme_zns_id_ns *nvme_zns_ns_get_data(const struct nvme_ns *ns);
/* Blocks, and bytes of data, from the start of a zone to that of the next; 0: it has no zones. */
NVMEDEF uint64_t nvme_zns_ns_get_zone_size_sectors(const struct nvme_ns *ns);
NVMEDEF uint64_t nvme_zns_ns_get_zone_size(const struct nvme_ns *ns);
/* Zones of that size; 0: none. */
NVMEDEF uint64_t nvme_zns_ns_get_num_zones(const struct nvme_ns *ns);
/* Zones that can be open, and active, at the same time; 0: there is no limit, or it has no zones. */
NVMEDEF uint32_t nvme_zns_ns_get_max_open_zones(const struct nvme_ns *ns);
NVMEDEF uint32_t nvme_zns_ns_get_max_active_zones(const struct nvme_ns *ns);
/* Bytes of the extension of a zone's descriptor, a multiple of 64; 0: there is none. */
NVMEDEF uint32_t nvme_zns_ns_get_zone_desc_ext_size(const struct nvme_ns *ns);
/* Bytes of the largest Zone Append; 0: no zoned namespace was found. */
NVMEDEF uint32_t nvme_zns_ctrlr_get_max_zone_append_size(const struct nvme_ctrlr *ctrlr);

/*
 * Changes the state of the zone that begins at slba (-EINVAL: none does) or, with select_all, of all
 * zones where that is possible; slba is not looked at then. nvme_zns_reset_zone() takes the content
 * of zones away. [ZNS: Zone Management Send command]
 */
NVMEDEF int nvme_zns_open_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               bool select_all, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_zns_close_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                bool select_all, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_zns_finish_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 bool select_all, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_zns_reset_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                bool select_all, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_zns_offline_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                  bool select_all, nvme_cmd_cb cb, void *arg);
/* The same as a blocking helper. action: NVME_ZONE_OPEN and so on; -EINVAL for SET_ZDE and others. */
NVMEDEF int nvme_zns_manage_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 bool select_all, enum nvme_zone_send_action action,
                                 struct nvme_cpl *cpl);

/*
 * Gives an empty zone its descriptor extension, and so makes it a closed one. buf is DMA memory;
 * len is nvme_zns_ns_get_zone_desc_ext_size(), -EINVAL otherwise. -ENOTSUP: that is 0.
 */
NVMEDEF int nvme_zns_set_zone_desc_ext(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                       void *buf, uint32_t len, nvme_cmd_cb cb, void *arg);

/*
 * Reports the zones from the one with block slba on, of the states that opts names: a struct
 * nvme_zns_report, then a struct nvme_zns_zone for each, as many as there is room for. buf is DMA
 * memory, len bytes: a multiple of 4, with room for the header (-EINVAL), one command's
 * (-EMSGSIZE). With partial, nr_zones counts those in the buffer, else all that match: it is the
 * device's word, not to be used as an index before it was compared with len. The extended report has
 * the extension behind each descriptor; -ENOTSUP where there is none. [ZNS: Zone Management Receive
 * command]
 */
NVMEDEF int nvme_zns_report_zones(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                  uint32_t len, uint64_t slba, enum nvme_zone_report_opts opts,
                                  bool partial, nvme_cmd_cb cb, void *arg);
NVMEDEF int nvme_zns_ext_report_zones(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                      uint32_t len, uint64_t slba, enum nvme_zone_report_opts opts,
                                      bool partial, nvme_cmd_cb cb, void *arg);
/*
 * The same as a blocking helper, with as many commands as it takes: at most max zones (-EINVAL: 0)
 * into zones, which is any memory; *found says how many, also after an error. What is there was
 * looked at: they ascend, begin where zones do, and zcap and, where it means something, wp are
 * inside. -EIO with a cpl of success: the report was not like that.
 */
NVMEDEF int nvme_zns_get_zones(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               enum nvme_zone_report_opts opts, struct nvme_zns_zone *zones,
                               uint32_t max, uint32_t *found, struct nvme_cpl *cpl);

/*
 * Writes nlb blocks at the write pointer of the zone that begins at zslba, wherever it is when the
 * command is executed: many may be on their way to one zone. As nvme_ns_cmd_write(), and -EINVAL no
 * zone begins at zslba, -EMSGSIZE more than nvme_zns_ctrlr_get_max_zone_append_size() or a zone
 * holds. [ZNS: Zone Append command]
 */
NVMEDEF int nvme_zns_zone_append(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                 uint64_t zslba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                                 uint32_t io_flags);
/* Where it wrote: the LBA of the first block, from a completion without error. The device's word. */
NVMEDEF uint64_t nvme_zns_append_lba(const struct nvme_cpl *cpl);
/*
 * The same as a blocking helper, one command: buf is any memory, and *lba, where not NULL, is in the
 * zone. -EIO with a cpl of success: the controller said that it wrote somewhere else.
 */
NVMEDEF int nvme_zns_append(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                            uint64_t zslba, uint32_t nlb, uint64_t *lba, struct nvme_cpl *cpl);

/* ---- what a namespace can do, with SPDK's names and meanings ---- */

#define NVME_NS_DEALLOCATE_SUPPORTED          0x001u /* Dataset Management */
#define NVME_NS_FLUSH_SUPPORTED               0x002u /* there is a volatile cache to flush */
#define NVME_NS_RESERVATION_SUPPORTED         0x004u
#define NVME_NS_WRITE_ZEROES_SUPPORTED        0x008u
#define NVME_NS_DPS_PI_SUPPORTED              0x010u /* formatted with protection information */
#define NVME_NS_EXTENDED_LBA_SUPPORTED        0x020u /* metadata at the end of each block */
#define NVME_NS_WRITE_UNCORRECTABLE_SUPPORTED 0x040u
#define NVME_NS_COMPARE_SUPPORTED             0x080u
#define NVME_NS_VERIFY_SUPPORTED              0x100u /* these two SPDK does not have */
#define NVME_NS_COPY_SUPPORTED                0x200u
NVMEDEF uint32_t nvme_ns_get_flags(const struct nvme_ns *ns);
NVMEDEF uint64_t nvme_ns_get_size(const struct nvme_ns *ns);    /* bytes of data */
NVMEDEF uint32_t nvme_ns_get_md_size(const struct nvme_ns *ns); /* bytes of metadata of a block */
NVMEDEF uint32_t nvme_ns_get_pi_type(const struct nvme_ns *ns); /* 0 none, or type 1 to 3 */
NVMEDEF bool nvme_ns_supports_extended_lba(const struct nvme_ns *ns);
/* NOIOB: blocks between boundaries that a command had better not cross; 0: none. */
NVMEDEF uint32_t nvme_ns_get_optimal_io_boundary(const struct nvme_ns *ns);
NVMEDEF uint32_t nvme_ns_get_max_io_xfer_size(const struct nvme_ns *ns);  /* bytes, of a command */
NVMEDEF uint32_t nvme_ns_get_format_index(const struct nvme_id_ns *data); /* into data->lbaf */

/* What deallocated blocks read as. */
enum nvme_dealloc_read_value {
	NVME_DEALLOC_NOT_REPORTED = 0,
	NVME_DEALLOC_READ_00 = 1,
	NVME_DEALLOC_READ_FF = 2
};
NVMEDEF enum nvme_dealloc_read_value
nvme_ns_get_dealloc_logical_block_read_value(const struct nvme_ns *ns);

/* ---- more admin commands ----
 *
 * They belong to the controller's thread, as all admin commands. After a _cmd_ form poll with
 * nvme_ctrlr_process_admin_completions().
 */

/*
 * Asks for the end of command cid of a queue pair (NULL: the admin queue). Whether it was aborted is
 * bit 0 of the completion's cdw0 (0: yes); the command then ends with ABORTED - BY REQUEST (00/07).
 * -EINVAL there is no such CID, -EAGAIN as many Aborts as the controller allows (ACL) are on their
 * way. [Base 2.1: Abort command]
 */
NVMEDEF int nvme_ctrlr_cmd_abort(struct nvme_ctrlr *ctrlr, const struct nvme_qpair *qp,
                                 uint16_t cid, nvme_cmd_cb cb, void *arg);

/*
 * Features. fid is CDW10 as it is sent: NVME_FEAT_*, and where wanted NVME_SET(sel,
 * NVME_GET_FEATURES_SEL) or NVME_SET(1, NVME_SET_FEATURES_SV). buf is for features with a data
 * structure, else NULL and len 0. value, where not NULL, receives dword 0 of the completion.
 * -EINVAL len is not a multiple of 4. [Base 2.1: Get Features command, Set Features command]
 */
NVMEDEF int nvme_ctrlr_cmd_get_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                       uint32_t cdw12, void *buf, uint32_t len, nvme_cmd_cb cb,
                                       void *arg);
NVMEDEF int nvme_ctrlr_cmd_set_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                       uint32_t cdw12, void *buf, uint32_t len, nvme_cmd_cb cb,
                                       void *arg);
NVMEDEF int nvme_ctrlr_get_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                   uint32_t cdw12, void *buf, uint32_t len, uint32_t *value,
                                   struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_set_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                   uint32_t cdw12, const void *buf, uint32_t len,
                                   struct nvme_cpl *cpl);

/*
 * A log page, len bytes of it from offset on, both multiples of 4 (-EINVAL). nsid is mostly
 * NVME_NSID_ALL. What one command cannot carry is sent as several, all but the last with RAE, so
 * that an event is acknowledged when the whole page was read. It stops at the first error. A page
 * that changes meanwhile is the caller's to notice. -ENOTSUP an offset, or more than 16 KiB, from a
 * controller without extended data (LPA bit 2). [Base 2.1 §5.1.12: Get Log Page command]
 */
NVMEDEF int nvme_ctrlr_cmd_get_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t nsid,
                                        void *buf, uint32_t len, uint64_t offset, nvme_cmd_cb cb,
                                        void *arg);
NVMEDEF int nvme_ctrlr_get_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t nsid, void *buf,
                                    uint32_t len, uint64_t offset, struct nvme_cpl *cpl);

/*
 * Does the controller have it? From its log page 00h, or 12h for features, where there is one, and
 * for that an admin command is sent and waited for; else from what Identify says.
 */
NVMEDEF bool nvme_ctrlr_is_log_page_supported(struct nvme_ctrlr *ctrlr, uint8_t lid);
NVMEDEF bool nvme_ctrlr_is_feature_supported(struct nvme_ctrlr *ctrlr, uint8_t fid);

/*
 * Starts a self-test or, with NVME_SELF_TEST_ABORT, ends it: code is NVME_SELF_TEST_*, nsid 0 for
 * the controller alone, NVME_NSID_ALL for all namespaces, too. It goes on in the background: log page
 * NVME_LOG_PAGE_DEVICE_SELF_TEST, struct nvme_self_test_log, says how far it is. -ENOTSUP no such
 * command, -EINVAL no such code. [Base 2.1: Device Self-test command]
 */
NVMEDEF int nvme_ctrlr_self_test(struct nvme_ctrlr *ctrlr, uint32_t nsid, uint32_t code,
                                 struct nvme_cpl *cpl);

/* What Sanitize is to do. */
struct nvme_sanitize {
	uint8_t action;     /* NVME_SANITIZE_* */
	uint8_t passes;     /* of an overwrite, 1 to 16 */
	bool invert;        /* the pattern, between two passes */
	bool unrestricted;  /* a failure may be left with NVME_SANITIZE_EXIT_FAILURE */
	bool no_deallocate; /* the blocks stay allocated */
	uint32_t pattern;   /* of an overwrite */
};

/*
 * Starts a sanitize operation: ALL DATA IN THE SUBSYSTEM IS LOST, even if power fails. It goes on in
 * the background: log page NVME_LOG_PAGE_SANITIZE_STATUS, struct nvme_sanitize_log, says how far it
 * is; until then reads and writes end with SANITIZE IN PROGRESS (00/1D). -ENOTSUP the controller
 * cannot do this (SANICAP), -EINVAL no such action or passes. [Base 2.1: Sanitize command]
 */
NVMEDEF int nvme_ctrlr_sanitize(struct nvme_ctrlr *ctrlr, const struct nvme_sanitize *what,
                                struct nvme_cpl *cpl);

/*
 * Namespace Management and Attachment. Of data NSZE, NCAP, FLBAS, DPS and NMIC count, and what else
 * the specification lets a host say; *nsid becomes the new one's. It must be attached to be used.
 * cntlids names controllers (num of them); NULL means this one. THE DATA OF A DELETED NAMESPACE IS
 * LOST. What the driver knows of namespaces follows (see namespaces above). -ENOTSUP no such
 * commands (OACS), -EINVAL num is more than 2047, or NSID 0. [Base 2.1: Namespace Management command]
 */
NVMEDEF int nvme_ctrlr_create_ns(struct nvme_ctrlr *ctrlr, const struct nvme_id_ns *data,
                                 uint32_t *nsid, struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_delete_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_attach_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, const uint16_t *cntlids,
                                 uint32_t num, struct nvme_cpl *cpl);
NVMEDEF int nvme_ctrlr_detach_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, const uint16_t *cntlids,
                                 uint32_t num, struct nvme_cpl *cpl);

/* ---- asynchronous events ----
 *
 * A controller can tell without being asked that it is too hot, that a namespace has changed or that
 * a doorbell makes no sense: with the completion of a command that waits for this, an Asynchronous
 * Event Request. None is sent until a callback is registered. Then all SMART warnings and the notices
 * that the controller offers (OAES) are switched on (feature 0Bh), and as many requests are sent as
 * it takes (AERL), at most eight and at most half the admin queue.
 *
 * Each event is a line in the log, and the next request goes out at once. Everything else happens in
 * nvme_ctrlr_process_admin_completions(), which somebody has to call, a few times a second or more
 * often. The log page that explains the event is read without RAE, so that others of its type may
 * follow, and told in the log:
 *	error (01h)              the newest entry
 *	SMART (02h)              critical warnings, temperature, spare
 *	firmware activation (03h) new I/O is refused with -EAGAIN from the event on, until the controller
 *	                         has CSTS.PP = 0 again or the time that it asks for (MTFA) is over, also in
 *	                         other threads; then the page is read. Parts of a call that was accepted
 *	                         before are still sent.
 *	namespaces (04h)         those in the list are identified again; reads and writes of them are
 *	                         refused meanwhile, as after a command that changes them
 * Other pages are the caller's to read, with nvme_ctrlr_get_log_page() for instance: until then there
 * are no more events of that type. [Base 2.1: Asynchronous Event Request command]
 */

/*
 * Receives the completion of the request: dword 0 tells what happened, see NVME_AER_* and
 * nvme_format_aer(). It runs in nvme_ctrlr_process_admin_completions() only, when the page was read
 * (or could not be) and namespaces were identified, and may do what callbacks of admin commands may:
 * submit commands, nvme_ctrlr_cmd_get_log_page() for instance, but not wait for them (-EBUSY).
 */
typedef void (*nvme_aer_cb)(void *arg, const struct nvme_cpl *cpl);

/*
 * Sends the requests, the first time, and sets the callback, which takes the place of an earlier one.
 * cb NULL: nobody hears of events any more; those that were switched on are still dealt with. It
 * belongs to the controller's thread. Requests that end because the controller is detached are no
 * events. -EBUSY in a callback (a callback can be replaced there, but requests not be sent), -ENOSPC
 * the admin queue has no room for a request, or the caller has sent as many as the controller takes,
 * -ENOMEM, and the errors of nvme_ctrlr_set_feature(); then nothing is registered.
 */
NVMEDEF int nvme_ctrlr_register_aer_callback(struct nvme_ctrlr *ctrlr, nvme_aer_cb cb, void *arg);

/*
 * Keep alive: with keep_alive_timeout_ms in the options of the attach the controller gives up (a
 * fatal status, CSTS.CFS) when it hears nothing for so long, and the driver sends a Keep Alive at half
 * the time, one at a time, in nvme_ctrlr_process_admin_completions() and while nvme_ctrlr_format()
 * waits; other blocking calls send none. The time is rounded up to what the controller can count (KAS),
 * and nvme_ctrlr_get_opts() has the result: 0 where there is none, which a warning says.
 * [Base 2.1: Keep Alive command, Keep Alive Timer feature]
 *
 * The error log: with read_error_log in the options each completion with M (more) set, on any queue,
 * is looked up in log page 01h by the next nvme_ctrlr_process_admin_completions(), and what the entry
 * of the command says is a line in the log, at level notice. Events are not acknowledged by it (RAE).
 * Of more than 16 in between the rest is counted only.
 */

/* ---- power ---- */

/*
 * The power state, 0 to NPSS, and what the host is about to do (workload_hint, 0 to 7; 0: not said).
 * In a non-operational state the first command that needs the medium ends it. For the controller's
 * thread. -EINVAL there is no such state or hint, errors of nvme_ctrlr_set_feature().
 * [Base 2.1: Power Management feature]
 */
NVMEDEF int nvme_ctrlr_set_power_state(struct nvme_ctrlr *ctrlr, uint32_t ps,
                                       uint32_t workload_hint, struct nvme_cpl *cpl);
/* Both where not NULL. */
NVMEDEF int nvme_ctrlr_get_power_state(struct nvme_ctrlr *ctrlr, uint32_t *ps,
                                       uint32_t *workload_hint, struct nvme_cpl *cpl);

/* What a controller does on its own in a power state: after idle_ms without I/O it goes to ps. */
struct nvme_apst {
	uint32_t idle_ms; /* 1 to 16777215; 0: it stays */
	uint32_t ps;      /* a non-operational state */
};

#define NVME_APST_STATES 32

/*
 * Autonomous power state transitions: table[i] is for power state i, NULL for all zeros. The
 * controller forgets it with a reset. For the controller's thread. -ENOTSUP it cannot (APSTA),
 * -EINVAL enable without any transition, a time that is too long, a state that it does not have
 * (NPSS), or one that is operational. [Base 2.1: Autonomous Power State Transition feature]
 */
NVMEDEF int nvme_ctrlr_set_apst(struct nvme_ctrlr *ctrlr, bool enable,
                                const struct nvme_apst table[NVME_APST_STATES],
                                struct nvme_cpl *cpl);
/* What is set. Both where not NULL. */
NVMEDEF int nvme_ctrlr_get_apst(struct nvme_ctrlr *ctrlr, bool *enable,
                                struct nvme_apst table[NVME_APST_STATES], struct nvme_cpl *cpl);

/*
 * How nvme_detach() tells the controller that power may go: abrupt (CC.SHN = 2) when it goes at once,
 * so that the controller makes short work of it; otherwise it saves all it holds, the default.
 */
NVMEDEF void nvme_ctrlr_set_abrupt_shutdown(struct nvme_ctrlr *ctrlr, bool abrupt);

/* ---- one text for any outcome ---- */

#define NVME_ERROR_MAX 128 /* bytes that hold any of these texts */

/*
 * What came of a call: rc is what it returned, cpl its completion or NULL. "COMPARE FAILURE (02/85)"
 * where the controller refused it, "the queue is full (-11)" where the driver did, "success".
 * Writes to buf, at most size bytes, and returns it: any thread may call it at any time.
 */
NVMEDEF const char *nvme_strerror(char *buf, size_t size, int rc, const struct nvme_cpl *cpl);

#endif /* NVME_TEXT_ONLY */

#ifdef __cplusplus
}
#endif

#endif /* NVME_H_MORE */

/* ############################################################################################
 * BOOK 2, THE IMPLEMENTATION.
 * ############################################################################################ */
#if defined(NVME__IMPLEMENTED) && !defined(NVME__BOOK2)
#define NVME__BOOK2

#ifdef __linux__
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>options-check
 *
 * What the options leave open is filled in, and what cannot be is refused, before anything is sent.
 * ============================================================================================ */

#define NVME__ADMIN_QUEUE_SIZE 32u
#define NVME__NUM_IO_QUEUES    8u
#define NVME__IO_QUEUE_SIZE    256u
#define NVME__RETRIES          5
#define NVME__TIMEOUT_MS       30000u
#define NVME__IO_MAX_XFER_SIZE ((uint32_t)2 << 20) /* default of a queue pair's PRP lists */
#define NVME__MAX_VECTORS      2048u               /* MSI-X has no more */

#ifdef NVME_NO_VFIO
#define NVME__DEFAULT_OPS NULL
#else
#define NVME__DEFAULT_OPS (&nvme__vfio_ops)
#endif

static enum nvme_log_level nvme__log_level_from_env(void);
static struct nvme_trace *nvme__trace_from_env(void);
static uint8_t nvme__trace_next_ctrlr(struct nvme_trace *trace);

/* Where the log and the record go. The first of all options: the others are complained of in it. */
static void nvme__ctrlr_set_log(struct nvme_ctrlr *ctrlr)
{
	struct nvme_ctrlr_opts *opts = &ctrlr->opts;
	struct nvme_log *log = &ctrlr->log;

	if (opts->log_level == NVME_LOG_DEFAULT)
		opts->log_level = nvme__log_level_from_env();
	if (opts->trace == NULL)
		opts->trace = nvme__trace_from_env();
	log->level = opts->log_level;
	log->trace = opts->trace;
	if (log->trace != NULL)
		log->ctrlr = nvme__trace_next_ctrlr(log->trace);
	log->verbose = log->level >= NVME_LOG_DEBUG || NVME__TRACING(log);
	log->fn = opts->log;
	log->arg = opts->log_arg;
	ctrlr->dev.log = log;
}

/* What stands for 0 in the options. Log and record are for nvme__ctrlr_set_log(). */
static void nvme__fill_opts(struct nvme_ctrlr_opts *opts)
{
	if (opts->admin_queue_size == 0)
		opts->admin_queue_size = NVME__ADMIN_QUEUE_SIZE;
	if (opts->num_io_queues == 0)
		opts->num_io_queues = NVME__NUM_IO_QUEUES;
	if (opts->admin_timeout_ms == 0)
		opts->admin_timeout_ms = NVME__TIMEOUT_MS;
	if (opts->io_timeout_ms == 0)
		opts->io_timeout_ms = NVME__TIMEOUT_MS;
	if (opts->retry_count == 0)
		opts->retry_count = NVME__RETRIES;
	if (opts->dma_window == 0)
		opts->dma_window = NVME__DMA_WINDOW;
	if (opts->dev_ops == NULL)
		opts->dev_ops = NVME__DEFAULT_OPS;
}

/* Copies the caller's options and fills in the defaults. */
static int nvme__ctrlr_set_opts(struct nvme_ctrlr *ctrlr, const struct nvme_ctrlr_opts *user)
{
	struct nvme_ctrlr_opts *opts = &ctrlr->opts;

	if (user != NULL)
		*opts = *user;
	nvme__ctrlr_set_log(ctrlr);
	nvme__fill_opts(opts);
	ctrlr->dev.ops = opts->dev_ops;
	ctrlr->dev.dma_window = opts->dma_window;
	if (opts->admin_queue_size < 2 || opts->admin_queue_size > NVME_AQ_MAX_ENTRIES ||
	    opts->num_io_queues > 65534 || opts->arb_mechanism > NVME_CC_AMS_WRR ||
	    (opts->retry_count > 255 && opts->retry_count != NVME_RETRY_NEVER)) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "options out of range: admin_queue_size is 2 to %u, num_io_queues 1 to 65534, arb_mechanism 0 or 1, retry_count 1 to 255 or NVME_RETRY_NEVER",
		              NVME_AQ_MAX_ENTRIES);
		return -EINVAL;
	}
	if (ctrlr->dev.ops == NULL) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "this program was compiled without VFIO: compile it without NVME_NO_VFIO, or give it a device table in dev_ops of the options");
		return -ENOTSUP;
	}
	return 0;
}

static int nvme__ctrlr_check_own_rings(struct nvme_ctrlr *ctrlr,
                                       const struct nvme_io_qpair_opts *opts);

/* Fills in defaults and refuses what cannot be. */
static int nvme__ctrlr_check_qpair_opts(struct nvme_ctrlr *ctrlr, struct nvme_io_qpair_opts *opts)
{
	uint32_t most = NVME_GET(ctrlr->cap, NVME_CAP_MQES) + 1;

	if (opts->entries == 0)
		opts->entries = NVME__IO_QUEUE_SIZE;
	if (opts->entries < 2 || opts->entries > 65536 || opts->qprio > 3) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "a queue of %" PRIu32 " entries with priority %" PRIu32
		              " was asked for: use 2 to 65536 entries and priorities 0 to 3",
		              opts->entries, opts->qprio);
		return -EINVAL;
	}
	if (opts->qprio != 0 && ctrlr->opts.arb_mechanism != NVME_CC_AMS_WRR) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "queue priorities mean nothing with round robin: attach with arb_mechanism NVME_CC_AMS_WRR, or leave qprio 0");
		return -EINVAL;
	}
	if (opts->entries > most) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
		              "a queue of %" PRIu32 " entries becomes one of %" PRIu32
		              ", all that the controller supports (CAP.MQES)",
		              opts->entries, most);
		opts->entries = most;
	}
	if (opts->max_xfer_size == 0)
		opts->max_xfer_size = NVME__IO_MAX_XFER_SIZE;
	if (opts->max_xfer_size > ctrlr->max_xfer_size)
		opts->max_xfer_size = ctrlr->max_xfer_size;
	if (ctrlr->opts.use_cmb_sqs && opts->sq.vaddr == NULL)
		opts->sq_in_cmb = true;
	return nvme__ctrlr_check_own_rings(ctrlr, opts);
}

/* ---- what is used ---- */

NVMEDEF void nvme_ctrlr_get_default_opts(struct nvme_ctrlr_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
	nvme__fill_opts(opts);
}

NVMEDEF const struct nvme_ctrlr_opts *nvme_ctrlr_get_opts(const struct nvme_ctrlr *ctrlr)
{
	return &ctrlr->opts;
}

NVMEDEF void nvme_ctrlr_get_default_io_qpair_opts(struct nvme_ctrlr *ctrlr,
                                                  struct nvme_io_qpair_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
	(void)nvme__ctrlr_check_qpair_opts(ctrlr, opts); /* which refuses no default */
}

NVMEDEF void nvme_qpair_get_opts(const struct nvme_qpair *qp, struct nvme_io_qpair_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
	opts->entries = qp->entries;
	opts->qprio = qp->qprio;
	opts->max_xfer_size = qp->max_xfer_size;
	opts->delay_cmd_submit = (qp->unusual & NVME__UNUSUAL_DELAY) != 0;
	opts->sq_in_cmb = qp->cmb_sq != NULL;
}

/* ============================================================================================
 * >>probe
 *
 * Several controllers at once. What is found becomes a list of jobs, one for each controller; a job
 * is what a thread may do alone: nvme_attach(), or the shutdown within nvme_detach(), which both
 * wait most of the time. So bring-up stays what it is, one step after the other, and the waits
 * overlap. Threads touch nothing but their own job; all callbacks and the lists are the caller's.
 * ============================================================================================ */

/* ---- transport ids ---- */

#define NVME__BLANKS " \t\r\n"

/* Equal, capitals or not? text is of len characters. */
static bool nvme__word_is(const char *text, size_t len, const char *word)
{
	size_t i;

	for (i = 0; i < len && word[i] != '\0'; i++) {
		if (tolower((unsigned char)text[i]) != tolower((unsigned char)word[i]))
			return false;
	}
	return i == len && word[i] == '\0';
}

NVMEDEF const char *nvme_transport_id_trtype_str(enum nvme_transport_type trtype)
{
	switch (trtype) {
	case NVME_TRANSPORT_PCIE:
		return "PCIe";
	case NVME_TRANSPORT_CUSTOM:
		return "CUSTOM";
	}
	return NULL;
}

/* The value of trtype. NULL, or why not. */
static const char *nvme__trid_set_trtype(struct nvme_transport_id *trid, const char *value,
                                         size_t len, int *rc)
{
	static const char *const others[] = {"RDMA", "TCP", "FC", "VFIOUSER"};
	size_t i;

	if (nvme__word_is(value, len, "PCIe"))
		trid->trtype = NVME_TRANSPORT_PCIE;
	else if (nvme__word_is(value, len, "CUSTOM"))
		trid->trtype = NVME_TRANSPORT_CUSTOM;
	else
		*rc = -EINVAL;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (nvme__word_is(value, len, others[i]))
			*rc = -ENOTSUP;
	}
	return *rc == 0 ? NULL
	                : "trtype is not PCIe or CUSTOM, which are all that this driver speaks";
}

/* One pair, of which *text is the rest. An address of CUSTOM goes to the end of the text. */
static const char *nvme__trid_set(struct nvme_transport_id *trid, const char **text, int *rc)
{
	const char *key = *text, *value;
	size_t key_len = strcspn(key, ":=" NVME__BLANKS), len;
	bool trtype = nvme__word_is(key, key_len, "trtype");

	*rc = -EINVAL;
	if (!trtype && !nvme__word_is(key, key_len, "traddr"))
		return "there are the keys trtype and traddr only";
	if (key[key_len] != ':' && key[key_len] != '=')
		return "a key has no value";
	if (trtype ? trid->trtype != 0 : trid->traddr[0] != '\0')
		return "a key is there twice";
	value = key + key_len + 1;
	len = strcspn(value, NVME__BLANKS);
	if (len == 0)
		return "a key has no value";
	if (!trtype && trid->trtype == NVME_TRANSPORT_CUSTOM)
		len = strlen(value);
	if (!trtype && len >= sizeof(trid->traddr))
		return "an address has 1023 characters at most";
	*text = value + len;
	*rc = 0;
	if (trtype)
		return nvme__trid_set_trtype(trid, value, len, rc);
	memcpy(trid->traddr, value, len);
	return NULL;
}

/* The full form of a PCI address in its place, if it is one. */
static int nvme__trid_complete(struct nvme_transport_id *trid)
{
	char addr[24];

	if (trid->trtype != NVME_TRANSPORT_PCIE || trid->traddr[0] == '\0')
		return 0;
	if (nvme__pci_parse_addr(trid->traddr, addr, sizeof(addr)) != 0)
		return -EINVAL;
	snprintf(trid->traddr, sizeof(trid->traddr), "%s", addr);
	return 0;
}

/* NULL, or what is wrong. */
static const char *nvme__trid_parse(struct nvme_transport_id *trid, const char *text, int *rc)
{
	const char *why = NULL;

	memset(trid, 0, sizeof(*trid));
	*rc = 0;
	for (text += strspn(text, NVME__BLANKS); *text != '\0' && why == NULL;
	     text += strspn(text, NVME__BLANKS))
		why = nvme__trid_set(trid, &text, rc);
	if (why == NULL && trid->trtype == 0 && trid->traddr[0] == '\0') {
		*rc = -EINVAL;
		why = "it is empty";
	}
	if (why == NULL && trid->trtype == 0)
		trid->trtype = NVME_TRANSPORT_PCIE;
	if (why == NULL && (*rc = nvme__trid_complete(trid)) != 0)
		why = "its address is not one of PCI, such as 0000:04:00.0";
	if (why != NULL)
		memset(trid, 0, sizeof(*trid));
	return why;
}

#ifndef NVME_NO_VFIO
/* For nvme_attach(): the address out of a transport id. */
static int nvme__pci_parse_trid(const char *text, char *addr, size_t size)
{
	struct nvme_transport_id trid;
	int rc;

	if (nvme__trid_parse(&trid, text, &rc) != NULL || trid.trtype != NVME_TRANSPORT_PCIE)
		return -EINVAL;
	return nvme__pci_parse_addr(trid.traddr, addr, size);
}
#endif

/* Where lines go that are about no device: to standard error, as NVME_LOG says. */
static struct nvme_log nvme__probe_log(void)
{
	struct nvme_log log;

	memset(&log, 0, sizeof(log));
	log.level = nvme__log_level_from_env();
	return log;
}

NVMEDEF int nvme_transport_id_parse(struct nvme_transport_id *trid, const char *text)
{
	struct nvme_log log;
	const char *why;
	int rc;

	why = nvme__trid_parse(trid, text != NULL ? text : "", &rc);
	if (why != NULL) {
		log = nvme__probe_log();
		NVME__LOG(&log, NVME_LOG_ERROR,
		          "'%.128s' is no transport id (%s): write 'trtype:PCIe traddr:0000:04:00.0'",
		          text != NULL ? text : "", why);
	}
	return rc;
}

NVMEDEF int nvme_transport_id_format(char *buf, size_t size, const struct nvme_transport_id *trid)
{
	const char *trtype = nvme_transport_id_trtype_str(trid->trtype);

	if (trtype == NULL)
		return -EINVAL;
	return snprintf(buf, size, "trtype:%s%s%s", trtype,
	                trid->traddr[0] != '\0' ? " traddr:" : "", trid->traddr);
}

NVMEDEF int nvme_transport_id_compare(const struct nvme_transport_id *a,
                                      const struct nvme_transport_id *b)
{
	struct nvme_transport_id x = *a, y = *b;

	if (x.trtype != y.trtype)
		return x.trtype < y.trtype ? -1 : 1;
	(void)nvme__trid_complete(&x); /* what is no address of PCI is compared as it is */
	(void)nvme__trid_complete(&y);
	return strcmp(x.traddr, y.traddr);
}

/* ---- jobs, with threads and without ---- */

enum nvme__job_state { NVME__JOB_WAITING, NVME__JOB_RUNNING, NVME__JOB_ENDED };

/* One controller on its way up or down. While it is running it belongs to its thread. */
struct nvme__job {
	struct nvme__job *next;
	void (*work)(struct nvme__job *job);
	int state; /* enum nvme__job_state; the thread sets it to the last, with release */
	int rc;
	struct nvme_ctrlr *ctrlr;
	struct nvme_transport_id trid; /* on its way up: which, and how */
	struct nvme_ctrlr_opts opts;
#ifdef NVME__THREADS
	pthread_t thread;
	bool threaded;
#endif
};

static void nvme__job_append(struct nvme__job **list, struct nvme__job *job)
{
	while (*list != NULL)
		list = &(*list)->next;
	*list = job;
}

static void nvme__job_run(struct nvme__job *job)
{
	job->work(job);
	__atomic_store_n(&job->state, (int)NVME__JOB_ENDED, __ATOMIC_RELEASE);
}

#ifdef NVME__THREADS
static void *nvme__job_main(void *arg)
{
	nvme__job_run((struct nvme__job *)arg);
	return NULL;
}
#endif

/* In a thread of its own. If there is none it stays waiting, and a poll does it. */
static void nvme__job_start(struct nvme__job *job)
{
#ifdef NVME__THREADS
	job->state = NVME__JOB_RUNNING;
	job->threaded = pthread_create(&job->thread, NULL, nvme__job_main, job) == 0;
	if (!job->threaded)
		job->state = NVME__JOB_WAITING;
#else
	(void)job;
#endif
}

/* Is it in this state? acquire: what its thread has done is seen with it. */
static bool nvme__job_is(struct nvme__job *job, enum nvme__job_state state)
{
	return __atomic_load_n(&job->state, __ATOMIC_ACQUIRE) == (int)state;
}

/* The first of the list in this state, taken out of it, or NULL. */
static struct nvme__job *nvme__job_take(struct nvme__job **list, enum nvme__job_state state)
{
	struct nvme__job *job;

	while (*list != NULL && !nvme__job_is(*list, state))
		list = &(*list)->next;
	job = *list;
	if (job != NULL)
		*list = job->next;
	return job;
}

/* One that has ended, taken out of the list, or done here if no thread does it. NULL: not yet. */
static struct nvme__job *nvme__job_poll(struct nvme__job **list)
{
	struct nvme__job *job = nvme__job_take(list, NVME__JOB_ENDED);

	if (job == NULL) {
		job = nvme__job_take(list, NVME__JOB_WAITING);
		if (job != NULL)
			nvme__job_run(job);
		else
			sched_yield();
	}
#ifdef NVME__THREADS
	if (job != NULL && job->threaded)
		(void)pthread_join(job->thread, NULL);
#endif
	return job;
}

/* ---- what there is ---- */

struct nvme_probe_ctx {
	struct nvme__job *jobs;
	struct nvme_log log; /* of what concerns no single controller */
	void *cb_ctx;
	nvme_attach_cb attach_cb;
	nvme_attach_fail_cb attach_fail_cb;
	nvme_remove_cb remove_cb;
	uint32_t *num_attached;
	int rc;       /* the first error */
	bool polling; /* a callback is running */
};

static void nvme__probe_free(struct nvme_probe_ctx *ctx)
{
	struct nvme__job *job;

	while ((job = ctx->jobs) != NULL) {
		ctx->jobs = job->next;
		NVME_FREE(job);
	}
	NVME_FREE(ctx);
}

static void nvme__probe_work(struct nvme__job *job)
{
	job->rc = nvme_attach(job->trid.traddr, &job->opts, &job->ctrlr);
}

/* Does the caller's trid mean this one? */
static bool nvme__trid_selects(const struct nvme_transport_id *by,
                               const struct nvme_transport_id *trid)
{
	if (by == NULL)
		return true;
	if (by->traddr[0] == '\0')
		return by->trtype == trid->trtype;
	return nvme_transport_id_compare(by, trid) == 0;
}

/* A function on the bus is there once; two software controllers may have the same name. */
static bool nvme__probe_has(const struct nvme_probe_ctx *ctx, const struct nvme_transport_id *trid)
{
	const struct nvme__job *job;

	for (job = ctx->jobs; job != NULL; job = job->next) {
		if (trid->trtype == NVME_TRANSPORT_PCIE &&
		    nvme_transport_id_compare(&job->trid, trid) == 0)
			return true;
	}
	return false;
}

/* Puts one on the list, unless the caller's trid means others or it is there. */
static int nvme__probe_add(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by,
                           const char *addr, const struct nvme_dev_ops *ops)
{
	struct nvme__job *job = (struct nvme__job *)NVME_CALLOC(1, sizeof(*job));

	if (job == NULL)
		return -ENOMEM;
	job->trid.trtype = ops != NULL ? NVME_TRANSPORT_CUSTOM : NVME_TRANSPORT_PCIE;
	snprintf(job->trid.traddr, sizeof(job->trid.traddr), "%s", addr);
	(void)nvme__trid_complete(&job->trid); /* if it is none nvme_attach() will say so */
	if (!nvme__trid_selects(by, &job->trid) || nvme__probe_has(ctx, &job->trid)) {
		NVME_FREE(job);
		return 0;
	}
	job->work = nvme__probe_work;
	nvme_ctrlr_get_default_opts(&job->opts);
	if (ops != NULL)
		job->opts.dev_ops = ops;
	nvme__job_append(&ctx->jobs, job);
	return 0;
}

/* The devices that the caller names. */
static int nvme__probe_named(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by,
                             const struct nvme_probe_opts *opts)
{
	uint32_t i;
	int rc = 0;

	for (i = 0; i < opts->num_devs && rc == 0; i++) {
		const char *addr = opts->devs[i].addr;

		if (addr == NULL || addr[0] == '\0' || strlen(addr) >= NVME_TRADDR_SIZE) {
			NVME__LOG(&ctx->log, NVME_LOG_ERROR,
			          "device %" PRIu32
			          " has no address of 1 to %u characters: give it one",
			          i, NVME_TRADDR_SIZE - 1);
			return -EINVAL;
		}
		rc = nvme__probe_add(ctx, by, addr, opts->devs[i].dev_ops);
	}
	return rc;
}

#ifdef NVME_NO_VFIO
static int nvme__probe_bus(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by)
{
	(void)ctx, (void)by;
	return 0;
}
#else
/* For qsort(): by address. A domain of five digits comes behind those of four. */
static int nvme__pci_info_compare(const void *a, const void *b)
{
	const char *x = ((const struct nvme_pci_info *)a)->addr;
	const char *y = ((const struct nvme_pci_info *)b)->addr;

	return strlen(x) != strlen(y) ? (int)strlen(x) - (int)strlen(y) : strcmp(x, y);
}

static bool nvme__is_attached(const char *addr);

/* What libpci finds, in whatever order, as far as vfio-pci holds it and we do not. */
static int nvme__probe_add_found(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by,
                                 struct nvme_pci_info *list, int found)
{
	int i, rc = 0;

	qsort(list, (size_t)found, sizeof(*list), nvme__pci_info_compare);
	for (i = 0; i < found && rc == 0; i++) {
		if (nvme__is_attached(list[i].addr))
			continue;
		if (strcmp(list[i].driver, "vfio-pci") == 0) {
			rc = nvme__probe_add(ctx, by, list[i].addr, NULL);
			continue;
		}
		NVME__LOG(&ctx->log, NVME_LOG_INFO,
		          "%s is left alone: it is bound to %s, not to vfio-pci", list[i].addr,
		          list[i].driver[0] != '\0' ? list[i].driver : "no driver");
	}
	return rc;
}

/* Looks at the bus, a second time if the list was too short. */
static int nvme__probe_bus(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by)
{
	struct nvme_pci_info *list = NULL;
	int max = 0, found = 64, rc;

	while (found > max) {
		NVME_FREE(list);
		max = found;
		list = (struct nvme_pci_info *)NVME_CALLOC((size_t)max, sizeof(*list));
		if (list == NULL)
			return -ENOMEM;
		found = nvme_pci_enumerate(list, max);
	}
	rc = found < 0 ? found : nvme__probe_add_found(ctx, by, list, found);
	NVME_FREE(list);
	return rc == -ENODEV ? 0 : rc; /* without a bus there is nothing on it */
}
#endif

/* All that is there and meant. An address of PCI needs no bus to be looked at. */
static int nvme__probe_find(struct nvme_probe_ctx *ctx, const struct nvme_transport_id *by,
                            const struct nvme_probe_opts *opts)
{
	bool pcie = by == NULL || by->trtype == NVME_TRANSPORT_PCIE;
	bool one = by != NULL && by->traddr[0] != '\0';
	int rc = opts != NULL ? nvme__probe_named(ctx, by, opts) : 0;

	if (rc != 0)
		return rc;
	if (pcie && (opts == NULL || !opts->devs_only))
		return one ? nvme__probe_add(ctx, by, by->traddr, NULL) : nvme__probe_bus(ctx, by);
	if (!one || ctx->jobs != NULL)
		return 0;
	NVME__LOG(&ctx->log, NVME_LOG_ERROR,
	          "no device is called '%.128s': name it in devs of the options", by->traddr);
	return -ENODEV;
}

/* Asks the caller about each. Those that are not wanted leave the list. */
static void nvme__probe_ask(struct nvme_probe_ctx *ctx, nvme_probe_cb probe_cb)
{
	struct nvme__job **at = &ctx->jobs, *job;

	while ((job = *at) != NULL) {
		if (probe_cb == NULL || probe_cb(ctx->cb_ctx, &job->trid, &job->opts)) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		NVME_FREE(job);
	}
}

static int nvme__probe_check(const struct nvme_log *log, const struct nvme_transport_id *trid,
                             nvme_attach_cb attach_cb, const struct nvme_probe_opts *opts)
{
	if (attach_cb == NULL) {
		NVME__LOG(log, NVME_LOG_ERROR,
		          "nvme_probe() needs an attach_cb: without it nobody gets the controllers");
		return -EINVAL;
	}
	if (opts != NULL && opts->num_devs > 0 && opts->devs == NULL) {
		NVME__LOG(log, NVME_LOG_ERROR, "num_devs is not 0, but devs is NULL: name them");
		return -EINVAL;
	}
	if (trid == NULL || (nvme_transport_id_trtype_str(trid->trtype) != NULL &&
	                     memchr(trid->traddr, '\0', sizeof(trid->traddr)) != NULL))
		return 0;
	NVME__LOG(log, NVME_LOG_ERROR,
	          "this is no transport id: fill it in with nvme_transport_id_parse()");
	return -EINVAL;
}

/* Not what one device lacks, which is in the log already: the process has no more to give. */
static int nvme__probe_explain(const struct nvme_log *log, int rc)
{
	if (rc == -ENOMEM || rc == -EMFILE)
		NVME__LOG(log, NVME_LOG_ERROR, "controllers cannot be looked for: %s: %s",
		          strerror(-rc),
		          rc == -ENOMEM ? "free some memory" : "raise the limit, see 'ulimit -n'");
	return rc;
}

/* Everything but attaching. NULL: *rc says why. */
static struct nvme_probe_ctx *nvme__probe_begin(const struct nvme_transport_id *trid, void *cb_ctx,
                                                nvme_probe_cb probe_cb, nvme_attach_cb attach_cb,
                                                const struct nvme_probe_opts *opts, int *rc)
{
	const struct nvme_log log = nvme__probe_log();
	struct nvme_probe_ctx *ctx;

	*rc = nvme__probe_check(&log, trid, attach_cb, opts);
	if (*rc != 0)
		return NULL;
	ctx = (struct nvme_probe_ctx *)NVME_CALLOC(1, sizeof(*ctx));
	if (ctx == NULL) {
		*rc = nvme__probe_explain(&log, -ENOMEM);
		return NULL;
	}
	ctx->log = log;
	ctx->cb_ctx = cb_ctx;
	ctx->attach_cb = attach_cb;
	ctx->attach_fail_cb = opts != NULL ? opts->attach_fail_cb : NULL;
	ctx->remove_cb = opts != NULL ? opts->remove_cb : NULL;
	ctx->num_attached = opts != NULL ? opts->num_attached : NULL;
	if (ctx->num_attached != NULL)
		*ctx->num_attached = 0;
	*rc = nvme__probe_find(ctx, trid, opts);
	if (*rc == 0) {
		nvme__probe_ask(ctx, probe_cb);
		return ctx;
	}
	nvme__probe_free(ctx);
	*rc = nvme__probe_explain(&log, *rc);
	return NULL;
}

/* ---- attaching ---- */

/* The end of a job: the controller becomes the caller's, or its failure is remembered. */
static void nvme__probe_hand_over(struct nvme_probe_ctx *ctx, struct nvme__job *job)
{
	ctx->polling = true;
	if (job->rc == 0) {
		if (ctx->num_attached != NULL)
			(*ctx->num_attached)++;
		nvme_ctrlr_set_remove_cb(job->ctrlr, ctx->remove_cb, ctx->cb_ctx);
		ctx->attach_cb(ctx->cb_ctx, &job->trid, job->ctrlr,
		               nvme_ctrlr_get_opts(job->ctrlr));
	} else {
		if (ctx->rc == 0)
			ctx->rc = job->rc == -EAGAIN ? -EBUSY : job->rc; /* see the poll */
		if (ctx->attach_fail_cb != NULL)
			ctx->attach_fail_cb(ctx->cb_ctx, &job->trid, job->rc);
	}
	ctx->polling = false;
}

NVMEDEF int nvme_probe_poll_async(struct nvme_probe_ctx *ctx)
{
	struct nvme__job *job;
	int rc;

	if (ctx->polling) {
		NVME__LOG(&ctx->log, NVME_LOG_ERROR,
		          "nvme_probe_poll_async() is called in a callback of its own: return first");
		return -EBUSY;
	}
	job = nvme__job_poll(&ctx->jobs);
	if (job != NULL)
		nvme__probe_hand_over(ctx, job);
	NVME_FREE(job);
	if (ctx->jobs != NULL)
		return -EAGAIN;
	rc = ctx->rc;
	nvme__probe_free(ctx);
	return rc;
}

NVMEDEF int nvme_probe(const struct nvme_transport_id *trid, void *ctx, nvme_probe_cb probe_cb,
                       nvme_attach_cb attach_cb, const struct nvme_probe_opts *opts)
{
	struct nvme_probe_ctx *probe;
	int rc;

	probe = nvme__probe_begin(trid, ctx, probe_cb, attach_cb, opts, &rc);
	if (probe == NULL)
		return rc;
	do
		rc = nvme_probe_poll_async(probe); /* no thread is started: it attaches to one */
	while (rc == -EAGAIN);
	return rc;
}

NVMEDEF struct nvme_probe_ctx *nvme_probe_async(const struct nvme_transport_id *trid, void *ctx,
                                                nvme_probe_cb probe_cb, nvme_attach_cb attach_cb,
                                                const struct nvme_probe_opts *opts)
{
	struct nvme_probe_ctx *probe;
	struct nvme__job *job;
	int rc;

	probe = nvme__probe_begin(trid, ctx, probe_cb, attach_cb, opts, &rc);
	for (job = probe != NULL ? probe->jobs : NULL; job != NULL; job = job->next)
		nvme__job_start(job);
	return probe;
}

/* ---- detaching ---- */

struct nvme_detach_ctx {
	struct nvme__job *jobs;
	int rc;                    /* the first error */
	struct nvme_ctrlr *ending; /* its callbacks are running */
};

static int nvme__detach_explain(const struct nvme_log *log, int rc)
{
	NVME__LOG(log, NVME_LOG_ERROR,
	          rc == -EBUSY
	                  ? "nvme_detach_poll_async() is called in a callback that it runs: return first"
	                  : "there is no memory to detach with: use nvme_detach(), which needs none");
	return rc;
}

static void nvme__detach_work(struct nvme__job *job)
{
	job->rc = nvme_ctrlr_shutdown(job->ctrlr);
}

NVMEDEF int nvme_detach_async(struct nvme_ctrlr *ctrlr, struct nvme_detach_ctx **ctx)
{
	struct nvme_detach_ctx *detach = *ctx;
	struct nvme__job *job;
	int rc;

	if (ctrlr == NULL)
		return 0;
	job = (struct nvme__job *)NVME_CALLOC(1, sizeof(*job));
	if (detach == NULL)
		detach = (struct nvme_detach_ctx *)NVME_CALLOC(1, sizeof(*detach));
	if (job != NULL && detach != NULL)
		rc = nvme_ctrlr_destruct_async(ctrlr);
	else
		rc = nvme__detach_explain(ctrlr->dev.log, -ENOMEM);
	if (rc != 0) {
		NVME_FREE(job);
		if (*ctx == NULL)
			NVME_FREE(detach);
		return rc;
	}
	job->ctrlr = ctrlr;
	job->work = nvme__detach_work;
	nvme__job_append(&detach->jobs, job);
	nvme__job_start(job);
	*ctx = detach;
	return 0;
}

NVMEDEF int nvme_detach_poll_async(struct nvme_detach_ctx *ctx)
{
	struct nvme__job *job;
	int rc;

	if (ctx == NULL)
		return 0;
	if (ctx->ending != NULL)
		return nvme__detach_explain(ctx->ending->dev.log, -EBUSY);
	job = nvme__job_poll(&ctx->jobs);
	if (job != NULL) {
		ctx->ending = job->ctrlr;
		nvme__ctrlr_destroy(job->ctrlr); /* with the last callbacks */
		ctx->ending = NULL;
		ctx->rc = ctx->rc != 0 ? ctx->rc : job->rc;
		NVME_FREE(job);
	}
	if (ctx->jobs != NULL)
		return -EAGAIN;
	rc = ctx->rc;
	NVME_FREE(ctx);
	return rc;
}

/* ============================================================================================
 * >>arena
 *
 * Who has which piece of a controller's DMA memory (see >>dma), and memory of the caller's own.
 * ============================================================================================ */

static void nvme__dma_lock(struct nvme_ctrlr *ctrlr)
{
	nvme__mutex_lock(&ctrlr->dma_lock);
}

static void nvme__dma_unlock(struct nvme_ctrlr *ctrlr)
{
	nvme__mutex_unlock(&ctrlr->dma_lock);
}

/* A slot that holds a region has an odd version. */
static bool nvme__region_used(const struct nvme__region *r)
{
	return r->version % 2 == 1;
}

/*
 * Copies a slot without the lock. false: it is empty or was changing, so it is not the region of
 * somebody who has a command to submit. Each load is an acquire: the version is read last, too.
 */
static bool nvme__region_read(const struct nvme__region *r, struct nvme__region *copy)
{
	copy->version = __atomic_load_n(&r->version, __ATOMIC_ACQUIRE);
	copy->vaddr = __atomic_load_n(&r->vaddr, __ATOMIC_ACQUIRE);
	copy->len = __atomic_load_n(&r->len, __ATOMIC_ACQUIRE);
	copy->iova = __atomic_load_n(&r->iova, __ATOMIC_ACQUIRE);
	return nvme__region_used(copy) &&
	       copy->version == __atomic_load_n(&r->version, __ATOMIC_RELAXED);
}

/* Fills a slot, with the lock held. Who sees a new field also sees that the version was even. */
static void nvme__region_write(struct nvme__region *r, uint8_t *vaddr, size_t len, uint64_t iova)
{
	__atomic_store_n(&r->vaddr, vaddr, __ATOMIC_RELEASE);
	__atomic_store_n(&r->len, len, __ATOMIC_RELEASE);
	__atomic_store_n(&r->iova, iova, __ATOMIC_RELEASE);
	__atomic_store_n(&r->version, r->version + 1, __ATOMIC_RELEASE);
}

/* For each page of an extent: the bytes to the end of its buffer, or 0 if it is none. */
static void nvme__arena_set_left(struct nvme__arena *a, const struct nvme__extent *e, bool buffer)
{
	size_t at;

	for (at = 0; at < e->len; at += a->page)
		__atomic_store_n(&a->left[(e->offset + at) >> a->page_shift],
		                 buffer ? e->len - at : 0, __ATOMIC_RELAXED);
}

/* ---- addresses ---- */

static uint64_t nvme__cmb_conflict(const struct nvme_ctrlr *ctrlr, uint64_t iova, uint64_t len);

/* The end of what is mapped across [iova, iova + len), or 0 when that is free. */
static uint64_t nvme__iova_conflict(const struct nvme_ctrlr *ctrlr, uint64_t iova, uint64_t len)
{
	const struct nvme__arena *a = &ctrlr->arena;
	uint32_t i;

	if (a->window != 0 && iova < a->iova + a->window && a->iova < iova + len)
		return a->iova + a->window;
	for (i = 0; i < ctrlr->num_regions; i++) {
		const struct nvme__region *r = &ctrlr->regions[i];

		if (nvme__region_used(r) && iova < r->iova + r->len && r->iova < iova + len)
			return r->iova + r->len;
	}
	return nvme__cmb_conflict(ctrlr, iova, len);
}

/*
 * Finds len free bytes of IOVA space inside the ranges that the IOMMU can translate. Some hardware
 * has 39 address bits only, and x86 keeps FEE00000h..FEEFFFFFh for interrupts: a write there would
 * raise one. Address 0 is not used: a zero in PRP2 means that there is none.
 */
static int nvme__iova_alloc(const struct nvme_ctrlr *ctrlr, uint64_t len, uint64_t *iova)
{
	const uint64_t align = (uint64_t)2 << 20;
	uint64_t at, end, last;
	unsigned int i;

	for (i = 0; i < ctrlr->dev.num_iova; i++) {
		const struct nvme_iova_range *r = &ctrlr->dev.iova[i];

		last = r->last < UINT64_MAX - 2 * align ? r->last : UINT64_MAX - 2 * align;
		if (r->start > last)
			continue;
		at = nvme__round_up(r->start > 0 ? r->start : align, align);
		while (at <= last && len - 1 <= last - at) {
			end = nvme__iova_conflict(ctrlr, at, len);
			if (end == 0) {
				*iova = at;
				return 0;
			}
			at = nvme__round_up(end, align);
		}
	}
	return -ENOSPC;
}

/* ---- pieces of the arena ---- */

static void nvme__unreserve(void *at, size_t size);

/* Nothing of it is mapped for the device any more. */
static void nvme__arena_fini(struct nvme_ctrlr *ctrlr)
{
	struct nvme__arena *a = &ctrlr->arena;
	struct nvme__extent *e, *next;

	for (e = a->extents; e != NULL; e = next) {
		next = e->next;
		NVME_FREE(e);
	}
	if (a->left != NULL)
		nvme__unreserve(a->left, (a->window >> a->page_shift) * sizeof(*a->left));
	if (a->base != NULL)
		nvme__unreserve(a->base, a->window);
	memset(a, 0, sizeof(*a));
}

/*
 * From here on the device reaches no memory of ours, whatever it does. What it was told to do with
 * the memory ends here at the latest.
 */
static void nvme__dma_cut_off(struct nvme_ctrlr *ctrlr)
{
	uint32_t i;

	nvme__dma_lock(ctrlr);
	for (i = 0; i < ctrlr->num_regions && !ctrlr->cut_off; i++) {
		if (nvme__region_used(&ctrlr->regions[i]))
			(void)nvme__dma_unmap(&ctrlr->dev, ctrlr->regions[i].iova,
			                      ctrlr->regions[i].len);
	}
	/* one mapping for each step of growth, unmapped by one call */
	if (ctrlr->arena.mapped != 0 && !ctrlr->cut_off)
		(void)nvme__dma_unmap(&ctrlr->dev, ctrlr->arena.iova, ctrlr->arena.mapped);
	ctrlr->cut_off = true;
	nvme__dma_unlock(ctrlr);
}

/* The first free extent that is large enough, with the rest of it split off. */
static struct nvme__extent *nvme__extent_take(struct nvme__arena *a, size_t len)
{
	struct nvme__extent *e, *rest;

	for (e = a->extents; e != NULL && (e->use != NVME__EXTENT_FREE || e->len < len);
	     e = e->next)
		;
	if (e == NULL || e->len == len)
		return e;
	rest = (struct nvme__extent *)NVME_CALLOC(1, sizeof(*rest));
	if (rest == NULL)
		return NULL;
	rest->next = e->next;
	rest->offset = e->offset + len;
	rest->len = e->len - len;
	e->next = rest;
	e->len = len;
	return e;
}

/* Adds newly mapped memory to the end of the list, to the last extent where that is free. */
static int nvme__extent_append(struct nvme__arena *a, size_t offset, size_t len)
{
	struct nvme__extent **link = &a->extents, *last = NULL, *e;

	for (; *link != NULL; link = &(*link)->next)
		last = *link;
	if (last != NULL && last->use == NVME__EXTENT_FREE) {
		last->len += len;
		return 0;
	}
	e = (struct nvme__extent *)NVME_CALLOC(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	e->offset = offset;
	e->len = len;
	*link = e;
	return 0;
}

/* How much must be added at the end so that a piece of len bytes fits there. */
static size_t nvme__arena_missing(const struct nvme__arena *a, size_t len)
{
	const struct nvme__extent *e = a->extents;

	while (e != NULL && e->next != NULL)
		e = e->next;
	if (e == NULL || e->use != NVME__EXTENT_FREE)
		return len;
	return e->len < len ? len - e->len : 0;
}

/* len bytes, whole pages, from what is there or from what can be added. */
static struct nvme__extent *nvme__extent_get(struct nvme_ctrlr *ctrlr, size_t len)
{
	struct nvme__arena *a = &ctrlr->arena;
	struct nvme__extent *e = nvme__extent_take(a, len);
	size_t missing, mapped = a->mapped;

	if (e != NULL || ctrlr->cut_off)
		return e;
	missing = nvme__arena_missing(a, len);
	if (missing == 0) /* there is room, but no memory to split an extent */
		return NULL;
	if (nvme__arena_grow(ctrlr, missing) != 0 ||
	    nvme__extent_append(a, mapped, a->mapped - mapped) != 0)
		return NULL;
	return nvme__extent_take(a, len);
}

static void *nvme__dma_take(struct nvme_ctrlr *ctrlr, size_t size, enum nvme__extent_use use)
{
	struct nvme__arena *a = &ctrlr->arena;
	struct nvme__extent *e;
	size_t dirty = 0;
	void *at = NULL;

	if (size == 0 || size > a->window) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "%zu bytes of DMA memory were asked for: ask for 1 to %zu, or set a larger dma_window in the options",
		              size, a->window);
		return NULL;
	}
	size = (size_t)nvme__round_up(size, a->page);
	nvme__dma_lock(ctrlr);
	e = nvme__extent_get(ctrlr, size);
	if (e != NULL) {
		e->use = use;
		at = a->base + e->offset;
		nvme__arena_set_left(a, e, use == NVME__EXTENT_BUFFER);
		dirty = a->dirty > e->offset ? a->dirty - e->offset : 0;
		if (a->dirty < e->offset + size)
			a->dirty = e->offset + size;
	}
	nvme__dma_unlock(ctrlr);
	if (at != NULL) /* what is new is zero, and not touched before it is needed */
		memset(at, 0, dirty < size ? dirty : size);
	return at;
}

/* Joins a free extent with the next one while that is free too. */
static void nvme__extent_merge(struct nvme__extent *e)
{
	struct nvme__extent *next;

	while (e != NULL && e->use == NVME__EXTENT_FREE && e->next != NULL &&
	       e->next->use == NVME__EXTENT_FREE) {
		next = e->next;
		e->len += next->len;
		e->next = next->next;
		NVME_FREE(next);
	}
}

/* The lock is held. false: nothing that was taken for this use begins there. */
static bool nvme__extent_put(struct nvme__arena *a, const void *at, enum nvme__extent_use use)
{
	struct nvme__extent *e, *before = NULL;

	for (e = a->extents; e != NULL && a->base + e->offset != (const uint8_t *)at; e = e->next)
		before = e;
	if (e == NULL || e->use != use)
		return false;
	e->use = NVME__EXTENT_FREE;
	nvme__arena_set_left(a, e, false);
	nvme__extent_merge(e);
	nvme__extent_merge(before);
	return true;
}

static void nvme__dma_give_back(struct nvme_ctrlr *ctrlr, void *at, enum nvme__extent_use use)
{
	bool found;

	if (at == NULL)
		return;
	nvme__dma_lock(ctrlr);
	found = nvme__extent_put(&ctrlr->arena, at, use);
	nvme__dma_unlock(ctrlr);
	if (!found)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "%p is not a buffer of nvme_dma_alloc(), or was freed before: free each buffer once",
		              at);
}

NVMEDEF void *nvme_dma_alloc(struct nvme_ctrlr *ctrlr, size_t size)
{
	return nvme__dma_take(ctrlr, size, NVME__EXTENT_BUFFER);
}

NVMEDEF void nvme_dma_free(struct nvme_ctrlr *ctrlr, void *buf)
{
	nvme__dma_give_back(ctrlr, buf, NVME__EXTENT_BUFFER);
}

/* ---- memory of the caller's own ---- */

static bool nvme__cmb_mapped_at(const struct nvme_ctrlr *ctrlr, const uint8_t *at, size_t len);
static uint64_t nvme__cmb_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                               uint8_t opc);

/* Is any of these bytes in the arena's window, registered already, or the controller's? */
static bool nvme__dma_overlaps(const struct nvme_ctrlr *ctrlr, const uint8_t *at, size_t len)
{
	const struct nvme__arena *a = &ctrlr->arena;
	uint32_t i;

	for (i = 0; i < ctrlr->num_regions; i++) {
		const struct nvme__region *r = &ctrlr->regions[i];

		if (nvme__region_used(r) && at < r->vaddr + r->len && r->vaddr < at + len)
			return true;
	}
	return (at < a->base + a->window && a->base < at + len) ||
	       nvme__cmb_mapped_at(ctrlr, at, len);
}

/* The lowest slot that is empty. NULL: there is none. */
static struct nvme__region *nvme__region_slot(struct nvme_ctrlr *ctrlr)
{
	uint32_t i;

	for (i = 0; i < NVME__MAX_REGIONS; i++) {
		if (!nvme__region_used(&ctrlr->regions[i]))
			return &ctrlr->regions[i];
	}
	return NULL;
}

/* The lock is held. Maps the memory, then lets the threads that submit commands see it. */
static int nvme__region_add(struct nvme_ctrlr *ctrlr, uint8_t *at, size_t len)
{
	struct nvme__region *r = nvme__region_slot(ctrlr);
	uint64_t iova;
	int rc;

	if (ctrlr->cut_off)
		return -ESHUTDOWN;
	if (nvme__dma_overlaps(ctrlr, at, len))
		return -EINVAL;
	if (r == NULL || nvme__iova_alloc(ctrlr, len, &iova) != 0)
		return -ENOSPC;
	rc = nvme__dma_map(&ctrlr->dev, at, len, iova);
	if (rc != 0)
		return rc;
	nvme__region_write(r, at, len, iova);
	if ((uint32_t)(r - ctrlr->regions) >= ctrlr->num_regions)
		__atomic_store_n(&ctrlr->num_regions, (uint32_t)(r - ctrlr->regions) + 1,
		                 __ATOMIC_RELEASE);
	return 0;
}

NVMEDEF int nvme_dma_register(struct nvme_ctrlr *ctrlr, void *vaddr, size_t len)
{
	size_t mask = ctrlr->dev.page_size - 1;
	int rc;

	if (vaddr == NULL || len == 0 || ((uintptr_t)vaddr & mask) != 0 || (len & mask) != 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "%zu bytes at %p are not whole pages: align address and length to %zu",
		              len, vaddr, mask + 1);
		return -EINVAL;
	}
	nvme__dma_lock(ctrlr);
	rc = nvme__region_add(ctrlr, (uint8_t *)vaddr, len);
	nvme__dma_unlock(ctrlr);
	if (rc == -EINVAL)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "%zu bytes at %p are DMA memory already: register memory once", len,
		              vaddr);
	else if (rc == -ENOSPC)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "no room for another region (%d are possible): unregister some, or register fewer and larger ones",
		              NVME__MAX_REGIONS);
	else if (rc == -ESHUTDOWN)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the controller is being detached: callbacks that run then cannot register memory");
	return rc;
}

/* The lock is held. */
static int nvme__region_remove(struct nvme_ctrlr *ctrlr, const uint8_t *at)
{
	uint32_t i;
	int rc = 0;

	for (i = 0; i < ctrlr->num_regions; i++) {
		struct nvme__region *r = &ctrlr->regions[i];

		if (!nvme__region_used(r) || r->vaddr != at)
			continue;
		if (!ctrlr->cut_off)
			rc = nvme__dma_unmap(&ctrlr->dev, r->iova, r->len);
		if (rc == 0)
			__atomic_store_n(&r->version, r->version + 1, __ATOMIC_RELEASE);
		return rc;
	}
	return -ENOENT;
}

NVMEDEF int nvme_dma_unregister(struct nvme_ctrlr *ctrlr, void *vaddr)
{
	int rc;

	nvme__dma_lock(ctrlr);
	rc = nvme__region_remove(ctrlr, (const uint8_t *)vaddr);
	nvme__dma_unlock(ctrlr);
	if (rc != -ENOENT)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "%p is not the start of a registered region: give the address that was registered",
	              vaddr);
	return -EINVAL;
}

/* The slow half of nvme__dma_iova(): the few regions of the caller's own, and the controller's
 * memory. 0, where nothing is ever mapped, for what is in none of them. */
NVME__COLD uint64_t nvme__region_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                                      uint8_t opc)
{
	uint32_t i, count = __atomic_load_n(&ctrlr->num_regions, __ATOMIC_ACQUIRE);
	struct nvme__region r;

	for (i = 0; i < count; i++) {
		size_t offset;

		if (!nvme__region_read(&ctrlr->regions[i], &r))
			continue;
		offset = (size_t)((uintptr_t)vaddr - (uintptr_t)r.vaddr);
		if (offset < r.len && len <= r.len - offset)
			return r.iova + offset;
	}
	return nvme__cmb_iova(ctrlr, vaddr, len, opc);
}

NVMEDEF int nvme_dma_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                          uint64_t *iova)
{
	if (len > SIZE_MAX / 2) /* the sum in the check must not wrap */
		return -EFAULT;
	return nvme__dma_iova(ctrlr, vaddr, len > 0 ? len : 1, 0, iova);
}

/* ============================================================================================
 * >>unusual
 *
 * What hangs on the one word that is tested in submit and reap, and how commands end that the
 * controller does not complete.
 * ============================================================================================ */

static void nvme__print_submission(struct nvme_qpair *qp, struct nvme_tracker *tr, const void *buf,
                                   uint32_t len);
NVME__COLD void nvme__print_end(struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                const struct nvme_cpl *cpl);

NVME__COLD void nvme__events_note_more(struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                       const struct nvme_cpl *cpl);
static void nvme__trace_doorbell(struct nvme_qpair *qp, uint16_t cq, uint32_t old_value,
                                 bool in_memory);
static bool nvme__shadow_suffices(struct nvme_qpair *qp, size_t at, uint32_t old_value,
                                  uint32_t new_value);
static void nvme__cmb_push(struct nvme_qpair *qp, uint32_t from);
static bool nvme__retry(struct nvme_qpair *qp, struct nvme_tracker *tr, const struct nvme_cpl *cpl);
static void nvme__retry_end(struct nvme_qpair *qp, struct nvme_tracker *tr);
static void nvme__retry_due(struct nvme_qpair *qp);

/* The doorbell of the commands that were put into the ring since it was last rung. */
static void nvme__ring_delayed(struct nvme_qpair *qp)
{
	uint32_t old = (qp->sq_tail + qp->entries - qp->delayed) % qp->entries;
	bool in_memory = false;

	qp->delayed = 0;
	if ((qp->unusual & NVME__UNUSUAL_CMB) != 0)
		nvme__cmb_push(qp, old);
	if ((qp->unusual & NVME__UNUSUAL_SHADOW) != 0)
		in_memory = nvme__shadow_suffices(qp, qp->sq_shadow, old, qp->sq_tail);
	if ((qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__trace_doorbell(qp, 0, old, in_memory);
	if (in_memory || nvme__ctrlr_is_gone(qp->ctrlr)) /* it may have gone meanwhile */
		return;
	if ((qp->unusual & NVME__UNUSUAL_STATS) != 0)
		qp->counted->sq_doorbell_updates++;
	nvme_ring_sq_doorbell(qp);
}

/* That at the end of a poll comes when its callbacks are done. */
static void nvme__count_cq_doorbell(struct nvme_qpair *qp, bool in_memory)
{
	if (!in_memory && !nvme__ctrlr_is_gone(qp->ctrlr))
		qp->counted->cq_doorbell_updates++;
	if (qp->polling == 0)
		qp->counted->idle_polls--;
}

/* count slots before the head go back to the controller. true: the register need not be written. */
NVME__COLD bool nvme__cq_doorbell_unusual(struct nvme_qpair *qp, uint32_t count)
{
	uint32_t old = (qp->cq_head + qp->entries - count) % qp->entries;
	bool in_memory = false;

	if ((qp->unusual & NVME__UNUSUAL_SHADOW) != 0)
		in_memory = nvme__shadow_suffices(qp, qp->cq_shadow, old, qp->cq_head);
	if ((qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__trace_doorbell(qp, 1, old, in_memory);
	if ((qp->unusual & NVME__UNUSUAL_STATS) != 0)
		nvme__count_cq_doorbell(qp, in_memory);
	return in_memory;
}

/* A command that is printed, recorded, or announced later; buf is its data, built as PRPs. */
NVME__COLD void nvme__submit_unusual(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                     const void *buf, uint32_t len)
{
	qp->delayed++;
	if ((qp->unusual & NVME__UNUSUAL_STATS) != 0)
		qp->counted->submitted_requests++;
	if ((qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__print_submission(qp, tr, buf, len);
	if ((qp->unusual & NVME__UNUSUAL_DELAY) == 0 || qp->delayed >= qp->entries / 2)
		nvme__ring_delayed(qp);
}

/* A poll begins, and counts as idle until its doorbell says otherwise. What waits is announced. */
NVME__COLD void nvme__poll_unusual(struct nvme_qpair *qp)
{
	if ((qp->unusual & NVME__UNUSUAL_RETRY) != 0)
		nvme__retry_due(qp);
	if (qp->delayed != 0)
		nvme__ring_delayed(qp);
	if ((qp->unusual & NVME__UNUSUAL_STATS) == 0)
		return;
	qp->counted->polls++;
	qp->counted->idle_polls++;
}

/*
 * A command has ended: with an error, or on a queue pair that does more than the usual. true: it is
 * not over, as it is sent again, or waits for that and cannot have ended.
 */
NVME__COLD bool nvme__end_unusual(struct nvme_qpair *qp, struct nvme_tracker *tr,
                                  const struct nvme_cpl *cpl)
{
	bool retrying = (qp->unusual & NVME__UNUSUAL_RETRY) != 0;

	if (retrying && tr->waiting) {
		nvme__qpair_bad_cqe(qp, cpl, "cpl is for a cmd that waits to be sent again");
		return true;
	}
	nvme__print_end(qp, tr, cpl);
	if (NVME_GET(cpl->status, NVME_CPL_M) != 0 && qp->ctrlr->opts.read_error_log)
		nvme__events_note_more(qp, tr, cpl);
	if (nvme_cpl_is_error(cpl) && nvme__retry(qp, tr, cpl))
		return true;
	if (retrying)
		nvme__retry_end(qp, tr);
	if ((qp->unusual & NVME__UNUSUAL_STATS) != 0)
		qp->counted->completions++;
	return false;
}

NVMEDEF void nvme_qpair_ring(struct nvme_qpair *qp)
{
	if (qp->delayed != 0 && nvme__qpair_failed(qp) == 0)
		nvme__ring_delayed(qp);
}

/* What the controller has completed, of a queue that it does not look at any more: no doorbell. */
static void nvme__qpair_drain(struct nvme_qpair *qp)
{
	struct nvme_cpl cpl;
	uint32_t count;

	for (count = 0; count < qp->entries && nvme__qpair_read_cqe(qp, &cpl); count++) {
		nvme__qpair_next_slot(qp);
		if (cpl.cid < qp->num_trackers && qp->trackers[cpl.cid].outstanding &&
		    cpl.sqid == qp->id)
			nvme_complete_request(qp, &qp->trackers[cpl.cid], &cpl);
	}
}

/* A command that the controller will not end. It must not be able to reach the data any more. */
static void nvme__tracker_abort(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	struct nvme_cpl cpl;

	if ((qp->unusual & NVME__UNUSUAL_RETRY) != 0)
		nvme__retry_end(qp, tr);
	if (tr->cb == nvme__sync_late) { /* told already, by -ETIMEDOUT */
		nvme__tracker_put(qp, tr);
		nvme__sync_late(tr->cb_arg, NULL);
		return;
	}
	memset(&cpl, 0, sizeof(cpl));
	cpl.sqid = qp->id;
	cpl.cid = tr->cid;
	cpl.status = (uint16_t)NVME_SET(NVME_SC_ABORTED_SQ_DELETION, NVME_CPL_SC);
	NVME__LOG(&qp->ctrlr->log, NVME_LOG_ERROR, "aborting outstanding command");
	nvme_complete_request(qp, tr, &cpl);
}

/* All of them, or those without data. */
static void nvme__qpair_abort_outstanding(struct nvme_qpair *qp, bool with_data)
{
	uint32_t i;

	if (nvme__qpair_refusal(qp) == 0)
		nvme__qpair_set_refuse(qp, -ESHUTDOWN);
	for (i = 0; i < qp->num_trackers; i++) {
		struct nvme_tracker *tr = &qp->trackers[i];

		if (tr->outstanding != 0 && (with_data || tr->cmd.dptr.prp.prp1 == 0))
			nvme__tracker_abort(qp, tr);
	}
}

/*
 * What a blocking call hands out when no completion came: "aborted by host" (3/71h), which no
 * controller sends and which does not read as success [Base 2.1 §4.2.3, Fig. 100: Status Field].
 */
static void nvme__cpl_set_none(struct nvme_cpl *cpl, uint16_t qid)
{
	memset(cpl, 0, sizeof(*cpl));
	cpl->sqid = qid;
	cpl->cid = UINT16_MAX;
	cpl->status = (uint16_t)((uint16_t)NVME_SET(NVME_SCT_PATH, NVME_CPL_SCT) |
	                         (uint16_t)NVME_SET(NVME_SC_ABORTED_BY_HOST, NVME_CPL_SC));
}

/* What needs the admin queue cannot be done while its callbacks run, or while all ends. */
static int nvme__ctrlr_refuse_call(struct nvme_ctrlr *ctrlr, const char *what)
{
	int rc = 0;

	nvme__ctrlr_lock(ctrlr); /* another thread may be at a reset, with callbacks of its own */
	if (ctrlr->adminq->polling != 0)
		rc = nvme__explain_in_callback(ctrlr->adminq, what, NVME__HERE);
	nvme__ctrlr_unlock(ctrlr);
	if (rc != 0 || !ctrlr->closing)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "%s was called while the controller is being detached: callbacks that run then can start nothing new",
	              what);
	return -EBUSY;
}

/* ============================================================================================
 * >>raw
 *
 * Any command, as the caller wrote it. What the driver itself lives on is looked at.
 * ============================================================================================ */

/* Nothing that could not be sent, or whose data the driver could not describe. */
static int nvme__check_raw(const struct nvme_qpair *qp, const struct nvme_cmd *cmd, const void *buf,
                           uint32_t len, bool has_cb)
{
	const char *why =
		cmd == NULL   ? "cmd is NULL"
		: !has_cb     ? "it has no callback"
		: len == 0    ? NULL
		: buf == NULL ? "buf is NULL, but len is not 0"
		: NVME_GET(cmd->flags, NVME_CMD_PSDT) != 0
			? "the driver builds PRPs for buf, not SGLs: clear PSDT, or give len 0"
			: NULL;

	if (why != NULL) {
		NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
		              "a command for queue %u is refused (%s): see >>api in nvme.h", qp->id,
		              why);
		return -EINVAL;
	}
	if (len <= qp->max_xfer_size)
		return 0;
	NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
	              "%" PRIu32
	              " bytes are too many for one command on queue %u: send at most %" PRIu32
	              ", see max_xfer_size",
	              len, qp->id, qp->max_xfer_size);
	return -EMSGSIZE;
}

/* None, or not one of this controller's. */
NVME__COLD int nvme__refuse_qpair(const struct nvme_ctrlr *ctrlr, const struct nvme_qpair *qp)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "a command is refused (%s): create one with nvme_ctrlr_alloc_io_qpair()",
	              qp == NULL ? "it has no queue pair"
	                         : "the queue pair is another controller's");
	return -EINVAL;
}

/* A command for a queue pair that is not connected: callbacks of its end came before it was that. */
NVME__COLD void nvme__explain_disconnected(const struct nvme_qpair *qp)
{
	if (qp->disconnected)
		NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
		              "a command is refused (queue pair %u is not connected): connect it with nvme_ctrlr_connect_io_qpair()",
		              qp->id);
}

/* What the caller gave, after what keeps every command away. */
static int nvme__submit_checked(struct nvme_qpair *qp, const struct nvme_cmd *cmd, void *buf,
                                uint32_t len, nvme_cmd_cb cb, void *arg)
{
	int rc = 0;

	nvme__explain_disconnected(qp);
	if (nvme__qpair_refusal(qp) == 0)
		rc = nvme__check_raw(qp, cmd, buf, len, cb != NULL);
	return rc != 0 ? rc : nvme__submit_raw(qp, cmd, buf, len, cb, arg);
}

static int nvme__submit_io(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                           const struct nvme_cmd *cmd, void *buf, uint32_t len, nvme_cmd_cb cb,
                           void *arg)
{
	if (qp == NULL || qp->ctrlr != ctrlr)
		return nvme__refuse_qpair(ctrlr, qp);
	if (__atomic_load_n(&ctrlr->paused, __ATOMIC_RELAXED))
		return -EAGAIN;
	return nvme__submit_checked(qp, cmd, buf, len, cb, arg);
}

NVMEDEF int nvme_ctrlr_cmd_io_raw(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                                  const struct nvme_cmd *cmd, void *buf, uint32_t len,
                                  nvme_cmd_cb cb, void *arg)
{
	return nvme__submit_io(ctrlr, qp, cmd, buf, len, cb, arg);
}

/* Format NVM and namespace management change what reads and writes go by. */
static bool nvme__cmd_changes_ns(const struct nvme_cmd *cmd)
{
	return cmd->opc == NVME_OPC_FORMAT_NVM || cmd->opc == NVME_OPC_NS_MANAGEMENT ||
	       cmd->opc == NVME_OPC_NS_ATTACHMENT || cmd->opc == NVME_OPC_CAPACITY_MANAGEMENT;
}

/* Is it there, and what is known of it true? -EAGAIN: only its I/O is held, see >>events. */
static bool nvme__ns_is_here(const struct nvme_ns *ns)
{
	return ns->refuse == 0 || ns->refuse == -EAGAIN;
}

/*
 * From the submission of a command that changes namespaces until they were identified again, I/O to
 * them is refused: it would go by sizes that hold no longer.
 */
static void nvme__ctrlr_expect_ns_change(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd)
{
	bool all = cmd->nsid == NVME_NSID_ALL || cmd->opc == NVME_OPC_CAPACITY_MANAGEMENT ||
	           (cmd->opc == NVME_OPC_FORMAT_NVM &&
	            (ctrlr->data.fna & (NVME_FNA_FORMAT_ALL | NVME_FNA_ERASE_ALL)) != 0);
	uint32_t i;

	if (!nvme__cmd_changes_ns(cmd))
		return;
	ctrlr->ns_changing = true;
	for (i = 0; i < ctrlr->num_ns; i++) {
		if (!nvme__ns_is_here(ctrlr->ns[i]) || (!all && ctrlr->ns[i]->id != cmd->nsid))
			continue;
		nvme__ns_set_refuse(ctrlr->ns[i], -EBUSY);
	}
}

/* Is such a command still on its way? */
static bool nvme__ctrlr_ns_change_pending(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme_qpair *qp = ctrlr->adminq;
	uint32_t i;

	for (i = 0; i < qp->num_trackers; i++) {
		if (qp->trackers[i].outstanding && nvme__cmd_changes_ns(&qp->trackers[i].cmd))
			return true;
	}
	return false;
}

/* It was not submitted after all. */
static void nvme__ctrlr_forget_ns_change(struct nvme_ctrlr *ctrlr)
{
	uint32_t i;

	if (!ctrlr->ns_changing || nvme__ctrlr_ns_change_pending(ctrlr))
		return;
	ctrlr->ns_changing = false;
	for (i = 0; i < ctrlr->num_ns; i++) {
		if (ctrlr->ns[i]->refuse == -EBUSY)
			nvme__ns_set_refuse(ctrlr->ns[i], 0);
	}
}

/*
 * What an admin command of the caller's means for the driver. It may not delete a queue that the
 * driver uses, and what it does to namespaces makes what is known of them old.
 */
static int nvme__ctrlr_admin_check(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd)
{
	if (ctrlr->closing)
		return -ESHUTDOWN;
	if (cmd == NULL)
		return nvme__check_raw(ctrlr->adminq, cmd, NULL, 0, true);
	if ((cmd->opc == NVME_OPC_DELETE_IO_SQ || cmd->opc == NVME_OPC_DELETE_IO_CQ) &&
	    nvme__ctrlr_owns_qid(ctrlr, NVME_GET(cmd->cdw10, NVME_DELETE_IO_Q_QID))) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "queue %" PRIu32
		              " belongs to a queue pair of this driver: delete it with nvme_ctrlr_free_io_qpair()",
		              NVME_GET(cmd->cdw10, NVME_DELETE_IO_Q_QID));
		return -EINVAL;
	}
	nvme__ctrlr_expect_ns_change(ctrlr, cmd);
	return 0;
}

NVMEDEF int nvme_ctrlr_cmd_admin_raw(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd,
                                     void *buf, uint32_t len, nvme_cmd_cb cb, void *arg)
{
	int rc;

	nvme__ctrlr_lock(ctrlr);
	rc = nvme__ctrlr_admin_check(ctrlr, cmd);
	if (rc == 0)
		rc = nvme__submit_checked(ctrlr->adminq, cmd, buf, len, cb, arg);
	if (rc != 0)
		nvme__ctrlr_forget_ns_change(ctrlr);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* ============================================================================================
 * >>changes
 *
 * Namespaces: their names in the world, lists that are too long, and what a command of the caller's
 * does to them.
 * ============================================================================================ */

/* The driver keeps as many namespaces as a page of the list names. Is there another page? */
static int nvme__ctrlr_list_more_ns(struct nvme_ctrlr *ctrlr, uint32_t last)
{
	struct nvme_ns_list more;
	int rc;

	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST, last, 0, &more);
	if (rc != 0)
		return rc;
	if (more.nsid[0] != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "the list of active namespaces is cut after %u entries: NSID %" PRIu32
		              " is one too many for this driver",
		              NVME__MAX_NS, more.nsid[0]);
	return (int)NVME__MAX_NS;
}

/* A namespace in memory, with room for what Identify says of its zones. */
struct nvme__ns_slot {
	struct nvme_ns ns;
	struct nvme_zns_id_ns zns;
};

/* The structure of a namespace, known or new. NULL: no memory. They stay until the detach. */
static struct nvme_ns *nvme__ctrlr_ns_slot(struct nvme_ctrlr *ctrlr, uint32_t nsid)
{
	uint32_t at = ctrlr->num_ns, i;
	struct nvme_ns *ns;

	while (at > 0 && ctrlr->ns[at - 1]->id >= nsid)
		at--;
	if (at < ctrlr->num_ns && ctrlr->ns[at]->id == nsid)
		return ctrlr->ns[at];
	if (ctrlr->num_ns == NVME__MAX_NS)
		return NULL;
	ns = (struct nvme_ns *)NVME_CALLOC(1, sizeof(struct nvme__ns_slot));
	if (ns == NULL)
		return NULL;
	ns->ctrlr = ctrlr;
	ns->id = nsid;
	ns->refuse = -ENOENT;
	for (i = ctrlr->num_ns++; i > at; i--)
		ctrlr->ns[i] = ctrlr->ns[i - 1];
	ctrlr->ns[at] = ns;
	return ns;
}

/* Those that the list does not name any more. Both are ascending. */
static void nvme__ctrlr_remove_ns(struct nvme_ctrlr *ctrlr, const uint32_t *nsids, int found)
{
	uint32_t i;
	int at = 0;

	for (i = 0; i < ctrlr->num_ns; i++) {
		struct nvme_ns *ns = ctrlr->ns[i];

		while (at < found && nsids[at] < ns->id)
			at++;
		if (ns->refuse == -ENOENT || (at < found && nsids[at] == ns->id))
			continue;
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG, "Namespace %" PRIu32 " was removed",
		              ns->id);
		nvme__ns_set_refuse(ns, -ENOENT);
	}
}

/* Worldwide names of a namespace [Base 2.1, Namespace Identification Descriptor list]. */
static void nvme__ns_parse_id_descs(struct nvme_ns *ns, const uint8_t *list)
{
	struct nvme_ns_id_desc desc;
	size_t at = 0;

	while (at + sizeof(desc) <= 4096) {
		memcpy(&desc, list + at, sizeof(desc));
		at += sizeof(desc);
		if (desc.nidl == 0 || desc.nidl > 4096 - at)
			return;
		if (desc.nidt == NVME_NIDT_EUI64 && desc.nidl == sizeof(ns->eui64))
			memcpy(ns->eui64, list + at, sizeof(ns->eui64));
		else if (desc.nidt == NVME_NIDT_NGUID && desc.nidl == sizeof(ns->nguid))
			memcpy(ns->nguid, list + at, sizeof(ns->nguid));
		else if (desc.nidt == NVME_NIDT_UUID && desc.nidl == sizeof(ns->uuid))
			memcpy(ns->uuid, list + at, sizeof(ns->uuid));
		else if (desc.nidt == NVME_NIDT_CSI && desc.nidl == sizeof(ns->csi))
			ns->csi = list[at];
		at += desc.nidl;
	}
}

static int nvme__ns_identify_zones(struct nvme_ns *ns);

/* What the other command sets call reads and writes is something else: Store and Retrieve, say. */
static int nvme__ns_check_csi(const struct nvme_ns *ns)
{
	if (ns->csi == NVME_CSI_NVM)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_WARNING,
	              "namespace %" PRIu32
	              " is left out: this driver does not know its command set (CSI %02xh)",
	              ns->id, ns->csi);
	return -ENOENT;
}

/* Its names and its command set, from Identify Namespace and, from NVMe 1.3 on, from a list of its
 * own. */
static int nvme__ns_identify_names(struct nvme_ns *ns)
{
	struct nvme_ctrlr *ctrlr = ns->ctrlr;
	uint8_t descs[4096];

	memcpy(ns->nguid, ns->data.nguid, sizeof(ns->nguid));
	memcpy(ns->eui64, ns->data.eui64, sizeof(ns->eui64));
	memset(ns->uuid, 0, sizeof(ns->uuid));
	ns->csi = NVME_CSI_NVM;
	ns->zone_size = 0;
	if (ctrlr->vs < NVME_VS_SET(1, 3, 0))
		return 0;
	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY_ID_DESCS);
	if (nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_NS_ID_DESC, ns->id, 0, descs) == 0)
		nvme__ns_parse_id_descs(ns, descs);
	if (nvme__qpair_failed(ctrlr->adminq) != 0) /* the names are a courtesy: else no failure */
		return nvme__qpair_failed(ctrlr->adminq);
	return ns->csi == NVME_CSI_ZNS ? nvme__ns_identify_zones(ns) : nvme__ns_check_csi(ns);
}

static bool nvme__ctrlr_see_removal(struct nvme_ctrlr *ctrlr, int *rc);
static void nvme__ctrlr_tell_removal(struct nvme_ctrlr *ctrlr);

/* A command that changes namespaces is complete, well or not: what holds for them now? */
NVME__COLD int nvme__ctrlr_settle_namespaces(struct nvme_ctrlr *ctrlr)
{
	int rc;

	if (ctrlr->closing || nvme__ctrlr_ns_change_pending(ctrlr))
		return 0;
	ctrlr->ns_changing = false;
	rc = nvme_ctrlr_identify_active_ns(ctrlr);
	if (rc != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the namespaces could not be identified again (%s): reads and writes of those that changed are refused; detach the controller and attach it again",
		              strerror(-rc));
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_READY, NVME__NO_TIMEOUT);
	return rc;
}

static void nvme__ctrlr_tend_events(struct nvme_ctrlr *ctrlr);

NVMEDEF int nvme_ctrlr_process_admin_completions(struct nvme_ctrlr *ctrlr)
{
	bool tell;
	int rc;

	nvme__ctrlr_lock(ctrlr);
	rc = nvme_qpair_process_completions(ctrlr->adminq, 0);
	if (nvme__unlikely(ctrlr->ns_changing) && rc >= 0)
		(void)nvme__ctrlr_settle_namespaces(ctrlr);
	if (ctrlr->events != NULL && rc >= 0)
		nvme__ctrlr_tend_events(ctrlr);
	tell = nvme__ctrlr_see_removal(ctrlr, &rc);
	nvme__ctrlr_unlock(ctrlr);
	if (tell) /* its callback may detach: nothing after it */
		nvme__ctrlr_tell_removal(ctrlr);
	return rc;
}

/* ============================================================================================
 * >>blocking
 *
 * Calls that wait, with data in any memory: what is not DMA memory goes through a bounce buffer.
 * ============================================================================================ */

static void nvme__ops_free(struct nvme_qpair *qp);

/* A buffer of this queue pair's own of at least len bytes. NULL: *rc says why not. */
static struct nvme__bounce *nvme__bounce_get(struct nvme_qpair *qp, uint32_t len, int *rc)
{
	struct nvme__bounce *b = NULL;
	int i;

	for (i = 0; i < NVME__BOUNCES && (b == NULL || b->len < len); i++) {
		if (!qp->bounce[i].lent)
			b = &qp->bounce[i];
	}
	*rc = b == NULL ? -EBUSY : 0;
	if (b == NULL)
		NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
		              "%d commands of queue pair %u timed out and may still use its bounce buffers: detach the controller, which resets it, or use DMA memory",
		              NVME__BOUNCES, qp->id);
	if (b == NULL || b->len >= len)
		return b;
	nvme_dma_free(qp->ctrlr, b->buf);
	b->buf = (uint8_t *)nvme_dma_alloc(qp->ctrlr, len);
	b->len = b->buf != NULL ? len : 0;
	*rc = b->buf != NULL ? 0 : -ENOMEM;
	return b->buf != NULL ? b : NULL;
}

static void nvme__bounce_free(struct nvme_qpair *qp)
{
	int i;

	for (i = 0; i < NVME__BOUNCES; i++)
		nvme_dma_free(qp->ctrlr, qp->bounce[i].buf);
	nvme__ops_free(qp);
}

/*
 * Can the controller reach this memory as it is (1), or does it take a copy (0)? What begins in a
 * DMA buffer and leaves it is neither: the copy would run over rings and other buffers.
 */
static bool nvme__cmb_holds(const struct nvme_ctrlr *ctrlr, const void *vaddr);

static int nvme__is_dma_memory(const struct nvme_ctrlr *ctrlr, const void *buf, uint32_t len)
{
	const struct nvme__arena *a = &ctrlr->arena;
	const uint8_t *at = (const uint8_t *)buf;
	uint64_t iova;

	if (nvme_dma_iova(ctrlr, buf, len, &iova) == 0)
		return ((uintptr_t)buf & 3) == 0;
	if (nvme__cmb_holds(ctrlr, buf))
		return -EFAULT;
	return at < a->base + a->window && a->base < at + len ? -EFAULT : 0;
}

/*
 * Any command, with data in any memory: what is not DMA memory goes through a bounce buffer. The
 * lowest bits of an opcode tell which way the data flows [Base 2.1 §4.1.1, Fig. 91: data transfer].
 */
static int nvme__command_and_wait(struct nvme_qpair *qp, const struct nvme_cmd *cmd, void *buf,
                                  uint32_t len, struct nvme_cpl *cpl)
{
	struct nvme__bounce *bounce;
	struct nvme_cpl local;
	int rc, direct;

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, qp->id);
	if (qp->polling != 0)
		return nvme__explain_in_callback(qp, "a blocking function", NVME__HERE);
	rc = nvme__qpair_refusal(qp);
	if (rc == 0)
		rc = nvme__check_raw(qp, cmd, buf, len, true);
	if (rc != 0)
		return rc;
	direct = len == 0 ? 1 : nvme__is_dma_memory(qp->ctrlr, buf, len);
	if (direct < 0)
		return nvme__explain_buffer(qp, buf, len, direct, NVME__HERE);
	if (direct)
		return nvme__submit_and_wait(qp, cmd, buf, len, NULL, cpl);
	bounce = nvme__bounce_get(qp, len, &rc);
	if (bounce == NULL)
		return rc;
	if ((NVME_GET(cmd->opc, NVME_OPC_DATA) & NVME_OPC_DATA_TO_CTRLR) != 0)
		memcpy(bounce->buf, buf, len);
	else
		memset(bounce->buf, 0, len); /* of what the last call left nothing may come back */
	rc = nvme__submit_and_wait(qp, cmd, bounce->buf, len, &bounce->lent, cpl);
	if (rc == 0 && (NVME_GET(cmd->opc, NVME_OPC_DATA) & NVME_OPC_DATA_TO_HOST) != 0)
		memcpy(buf, bounce->buf, len);
	return rc;
}

/* The queue pair of the helpers: two entries are enough for one command at a time. */
static int nvme__ctrlr_sync_qpair(struct nvme_ctrlr *ctrlr, struct nvme_qpair **qp)
{
	struct nvme_io_qpair_opts opts;

	if (*qp != NULL)
		return (*qp)->ctrlr == ctrlr ? 0 : nvme__refuse_qpair(ctrlr, *qp);
	if (ctrlr->sync_qp == NULL) {
		int rc;

		memset(&opts, 0, sizeof(opts));
		opts.entries = 2;
		rc = nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &ctrlr->sync_qp);
		if (rc != 0)
			return rc;
	}
	*qp = ctrlr->sync_qp;
	return nvme__qpair_failed(*qp) == -ENXIO ? nvme_ctrlr_reconnect_io_qpair(*qp) : 0;
}

/*
 * Why no read or write of these blocks is possible, whatever the queue. 0: it is. with_md: by a
 * function that knows where their metadata is.
 */
static int nvme__refuse_blocks_md(const struct nvme_ns *ns, uint64_t slba, uint64_t nlb,
                                  bool with_md)
{
	int rc = __atomic_load_n(&ns->refuse, __ATOMIC_ACQUIRE);
	const char *why = NULL;

	if (rc == -EAGAIN) /* as with a queue that is full: nothing is wrong */
		return rc;
	if (rc == -ENOENT) {
		why = "it is not there any more: get it again with nvme_ctrlr_get_ns()";
	} else if (rc != 0) {
		why = "it is being formatted or changed: try again when that is complete";
	} else if (nlb == 0) {
		rc = -EINVAL;
		why = "no blocks were asked for: nlb is 1 for one block";
	} else if (slba >= ns->nsze || nlb > ns->nsze - slba) {
		rc = -ERANGE;
		why = "the namespace ends before: see nvme_ns_get_num_sectors()";
	} else if (ns->separate_metadata && !with_md) {
		rc = -ENOTSUP;
		why = "its metadata is separate from the data: use nvme_ns_cmd_read_with_md() and its like, or format it with metadata at the end of each block, or without any";
	}
	if (rc != 0)
		NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
		              "%" PRIu64 " blocks at %" PRIu64 " of namespace %" PRIu32
		              " are refused: %s",
		              nlb, slba, ns->id, why);
	return rc;
}

static int nvme__refuse_blocks(const struct nvme_ns *ns, uint64_t slba, uint64_t nlb)
{
	return nvme__refuse_blocks_md(ns, slba, nlb, false);
}

/* Why a read or write is refused. */
NVME__COLD int nvme__refuse_rw(const struct nvme_ns *ns, const struct nvme_qpair *qp, uint64_t slba,
                               uint32_t nlb, uint32_t io_flags, nvme_cmd_cb cb)
{
	int rc;

	nvme__explain_disconnected(qp);
	rc = nvme__qpair_refusal(qp);
	if (rc != 0)
		return rc;
	if (cb == NULL || (io_flags & ~NVME__IO_FLAGS) != 0 || qp->ctrlr != ns->ctrlr) {
		NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
		              "a read or write is refused (%s): see >>api in nvme.h",
		              cb == NULL               ? "it has no callback"
		              : qp->ctrlr != ns->ctrlr ? "the queue pair is another controller's"
		                                       : "a flag is unknown");
		return -EINVAL;
	}
	rc = nvme__refuse_blocks(ns, slba, nlb);
	if (rc != 0)
		return rc;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "%" PRIu32
	              " blocks are too many for one command on queue pair %u: send at most %" PRIu32
	              ", see nvme_ns_get_max_nlb()",
	              nlb, qp->id, nvme_ns_get_max_nlb(ns, qp));
	return -EMSGSIZE;
}

/* Of n blocks at slba those in the first zone: no command may cross its end. */
static uint64_t nvme__ns_in_zone(const struct nvme_ns *ns, uint64_t slba, uint64_t n)
{
	uint64_t left = ns->zone_size != 0 ? ns->zone_size - slba % ns->zone_size : n;

	return n < left ? n : left;
}

NVMEDEF uint32_t nvme_ns_next_piece(const struct nvme_ns *ns, uint32_t max_nlb, uint64_t slba,
                                    uint64_t n)
{
	uint64_t piece = nvme__ns_in_zone(ns, slba, n < max_nlb ? n : max_nlb);

	/* a command that crosses a boundary of NOIOB blocks costs the controller two accesses */
	if (ns->noiob != 0 && piece > ns->noiob - slba % ns->noiob)
		piece = ns->noiob - slba % ns->noiob;
	return (uint32_t)piece;
}

static int nvme__ns_rw(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc, void *buf,
                       uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl)
{
	uint8_t *at = (uint8_t *)buf;
	struct nvme_cmd cmd;
	uint32_t piece;
	int rc;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	rc = nvme__refuse_blocks(ns, slba, nlb);
	if (rc == 0)
		rc = nvme__ctrlr_sync_qpair(ns->ctrlr, &qp);
	while (rc == 0 && nlb != 0) {
		piece = nvme_ns_next_piece(ns, nvme_ns_get_max_nlb(ns, qp), slba, nlb);
		if (piece == 0) {
			NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
			              "queue pair %u cannot carry a block of %" PRIu32
			              " bytes: create it with a larger max_xfer_size",
			              qp->id, ns->extended_sector_size);
			return -EMSGSIZE;
		}
		nvme__cmd_init(&cmd, opc, ns->id);
		cmd.cdw10 = (uint32_t)slba;
		cmd.cdw11 = (uint32_t)(slba >> 32);
		cmd.cdw12 = piece - 1;
		rc = nvme__command_and_wait(qp, &cmd, at, piece * ns->extended_sector_size, cpl);
		if (rc != 0)
			break;
		at += (size_t)piece * ns->extended_sector_size;
		slba += piece;
		nlb -= piece;
	}
	return rc;
}

NVMEDEF int nvme_ns_read(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                         uint64_t nlb, struct nvme_cpl *cpl)
{
	return nvme__ns_rw(ns, qp, NVME_OPC_READ, buf, slba, nlb, cpl);
}

NVMEDEF int nvme_ns_write(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf, uint64_t slba,
                          uint64_t nlb, struct nvme_cpl *cpl)
{
	return nvme__ns_rw(ns, qp, NVME_OPC_WRITE, (void *)(uintptr_t)buf, slba, nlb, cpl);
}

NVMEDEF int nvme_ns_flush(struct nvme_ns *ns, struct nvme_qpair *qp, struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;

	nvme__cmd_init(&cmd, NVME_OPC_FLUSH, ns->id);
	return nvme_ctrlr_io(ns->ctrlr, qp, &cmd, NULL, 0, cpl);
}

NVMEDEF int nvme_ctrlr_admin(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *cmd, void *buf,
                             uint32_t len, struct nvme_cpl *cpl)
{
	int rc;

	nvme__ctrlr_lock(ctrlr);
	rc = nvme__ctrlr_admin_check(ctrlr, cmd);
	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if (rc == 0)
		rc = nvme__command_and_wait(ctrlr->adminq, cmd, buf, len, cpl);
	if (ctrlr->ns_changing && ctrlr->adminq->polling == 0)
		(void)nvme__ctrlr_settle_namespaces(ctrlr);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

NVMEDEF int nvme_ctrlr_io(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                          const struct nvme_cmd *cmd, void *buf, uint32_t len, struct nvme_cpl *cpl)
{
	int rc;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	rc = nvme__ctrlr_sync_qpair(ctrlr, &qp);
	if (rc == 0 && __atomic_load_n(&ctrlr->paused, __ATOMIC_RELAXED))
		rc = -EAGAIN;
	return rc != 0 ? rc : nvme__command_and_wait(qp, cmd, buf, len, cpl);
}

/* ============================================================================================
 * >>interrupts
 *
 * A completion queue with IEN = 1 raises interrupt vector IV when the controller has put something
 * into it [Base 2.1 §5.2.1, Fig. 475: Create I/O Completion Queue]. The vectors are MSI-X messages,
 * which must be on before CC.EN is 1, and the kernel turns each into a write to an eventfd. Vector 0
 * belongs to the admin queue, vector n to queue pair n, so that no two share a descriptor: who reads
 * a shared one would take the other's signal.
 * ============================================================================================ */

#ifdef __linux__

/* Closes the first num descriptors. */
static void nvme__close_fds(const int *fds, uint32_t num)
{
	while (num-- > 0)
		close(fds[num]);
}

/* num of them, which can be read without waiting. 0 or a negative errno. */
static int nvme__open_eventfds(int *fds, uint32_t num)
{
	uint32_t i;
	int rc;

	for (i = 0; i < num; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fds[i] < 0) {
			rc = -errno;
			nvme__close_fds(fds, i);
			return rc;
		}
	}
	return 0;
}

/* As many vectors as there may be queue pairs, and one for the admin queue, or fewer. */
static int nvme__ctrlr_open_vectors(struct nvme_ctrlr *ctrlr)
{
	uint32_t want = ctrlr->opts.num_io_queues + 1;
	int rc;

	want = want < NVME__MAX_VECTORS ? want : NVME__MAX_VECTORS;
	ctrlr->irq_fds = (int *)NVME_CALLOC(want, sizeof(*ctrlr->irq_fds));
	if (ctrlr->irq_fds == NULL)
		return -ENOMEM;
	rc = nvme__open_eventfds(ctrlr->irq_fds, want);
	if (rc != 0)
		return rc;
	ctrlr->num_irqs = want;
	rc = ctrlr->dev.ops->set_interrupts(&ctrlr->dev, ctrlr->irq_fds, want);
	if (rc <= 0 || (uint32_t)rc > want)
		return rc < 0 ? rc : -ENOTSUP;
	nvme__close_fds(ctrlr->irq_fds + rc, want - (uint32_t)rc);
	ctrlr->num_irqs = (uint32_t)rc;
	return 0;
}

static int nvme__ctrlr_init_interrupts(struct nvme_ctrlr *ctrlr)
{
	int rc = -ENOTSUP;

	if (!ctrlr->opts.interrupts)
		return 0;
	if (ctrlr->dev.ops->set_interrupts != NULL)
		rc = nvme__ctrlr_open_vectors(ctrlr);
	if (rc != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the device cannot raise interrupts here (%s): attach without interrupts in the options, and poll",
		              rc == -ENOTSUP ? "it has no MSI-X vector" : strerror(-rc));
	return rc;
}

/* The device forgets them first. */
static void nvme__ctrlr_fini_interrupts(struct nvme_ctrlr *ctrlr)
{
	if (ctrlr->irq_fds == NULL)
		return;
	(void)ctrlr->dev.ops->set_interrupts(&ctrlr->dev, NULL, 0);
	nvme__close_fds(ctrlr->irq_fds, ctrlr->num_irqs);
	NVME_FREE(ctrlr->irq_fds);
	ctrlr->irq_fds = NULL;
}

static int nvme__ctrlr_event_fds(const struct nvme_ctrlr *ctrlr, struct pollfd *pfds);
static int nvme__ctrlr_watch_device(struct nvme_ctrlr *ctrlr);

/*
 * Until one of them is readable: how many are, 0 when the time is over, -EINTR when a signal came.
 * Signals of queue pairs are taken before completions: one that comes in between leaves another. Behind
 * the num of queue pairs there are `more` of devices, whose signals stay: nvme__ctrlr_watch_device()
 * looks for them.
 */
static int nvme__sleep(struct pollfd *pfds, uint32_t num, uint32_t more, int timeout_ms)
{
	uint64_t signals;
	uint32_t i;
	int rc = poll(pfds, num + more, timeout_ms);

	if (rc < 0)
		return -errno;
	for (i = 0; i < num; i++) {
		if (pfds[i].revents != 0 && read(pfds[i].fd, &signals, sizeof(signals)) < 0 &&
		    errno != EAGAIN)
			return -errno;
	}
	return rc;
}

static uint32_t nvme__retry_wait_ms(const struct nvme_qpair *qp);

#define NVME__SLEEP_MS 500 /* at a time: what is late or gone raises no interrupt */

/* How long to sleep before the next look, of what is left until `end`. */
static int nvme__sleep_slice(int timeout_ms, uint64_t end, uint32_t retry_ms)
{
	uint64_t now = nvme__real_ms(), left = end > now ? end - now : 0;
	uint32_t slice = retry_ms < NVME__SLEEP_MS ? retry_ms + 1 : NVME__SLEEP_MS;

	return timeout_ms >= 0 && left < slice ? (int)left : (int)slice;
}

/* Who has slept in vain, or was woken by the device, looks whether that is still there. */
static void nvme__qpair_woken(struct nvme_qpair *qp, bool by_queue)
{
	int rc = by_queue ? 0 : nvme__ctrlr_watch_device(qp->ctrlr);

	if (rc != 0)
		(void)nvme__qpair_fail(qp, rc);
	if (!by_queue)
		qp->watch.looked_ms = qp->watch_in = 1; /* the next poll looks if all is well */
}

NVMEDEF int nvme_qpair_wait(struct nvme_qpair *qp, int timeout_ms)
{
	uint64_t end = nvme__real_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
	struct pollfd pfds[1 + NVME_DEV_EVENTS];
	int rc, more, slice;

	for (;;) {
		rc = nvme_qpair_process_completions(qp, 0);
		pfds[0].fd = nvme_qpair_get_fd(qp);
		if (rc != 0 || pfds[0].fd < 0)
			return rc != 0 ? rc : pfds[0].fd;
		pfds[0].events = POLLIN;
		more = nvme__ctrlr_event_fds(qp->ctrlr, &pfds[1]);
		slice = nvme__sleep_slice(timeout_ms, end, nvme__retry_wait_ms(qp));
		rc = nvme__sleep(pfds, 1, (uint32_t)more, slice);
		nvme__qpair_woken(qp, rc > 0 && pfds[0].revents != 0);
		if (rc > 0)
			return nvme_qpair_process_completions(qp, 0);
		if (rc < 0 || (timeout_ms >= 0 && nvme__real_ms() >= end))
			return rc == -EINTR ? 0 : rc;
	}
}

#else /* no eventfd */

static int nvme__ctrlr_init_interrupts(struct nvme_ctrlr *ctrlr)
{
	if (!ctrlr->opts.interrupts)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "interrupts need eventfd(), which Linux has: attach without interrupts in the options, and poll");
	return -ENOTSUP;
}

static void nvme__ctrlr_fini_interrupts(struct nvme_ctrlr *ctrlr)
{
	(void)ctrlr;
}

NVMEDEF int nvme_qpair_wait(struct nvme_qpair *qp, int timeout_ms)
{
	int rc = nvme_qpair_process_completions(qp, 0);

	(void)timeout_ms;
	return rc != 0 ? rc : -ENOTSUP;
}

#endif /* __linux__ */

/* IEN and IV for the completion queue of this queue pair; 0: it is polled. */
static uint32_t nvme__qpair_interrupt(const struct nvme_qpair *qp)
{
	if (nvme_qpair_get_fd(qp) < 0)
		return 0;
	return NVME_SET(1, NVME_CREATE_IO_CQ_IEN) | NVME_SET(qp->id, NVME_CREATE_IO_CQ_IV);
}

NVMEDEF int nvme_qpair_get_fd(const struct nvme_qpair *qp)
{
	if (qp->ctrlr->irq_fds == NULL)
		return -ENOTSUP;
	return qp->id < qp->ctrlr->num_irqs ? qp->ctrlr->irq_fds[qp->id] : -ENOSPC;
}

NVMEDEF int nvme_ctrlr_set_interrupt_coalescing(struct nvme_ctrlr *ctrlr, uint32_t completions,
                                                uint32_t delay_us, struct nvme_cpl *cpl)
{
	uint32_t cdw11;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if (completions < 1 || completions > 256 || delay_us > 25500) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "interrupts cannot be held back for %" PRIu32
		              " completions or %" PRIu32
		              " us: ask for 1 to 256, and at most 25500 us",
		              completions, delay_us);
		return -EINVAL;
	}
	cdw11 = NVME_SET(completions - 1, NVME_COALESCING_THR) |
	        NVME_SET((delay_us + 99) / 100, NVME_COALESCING_TIME);
	return nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_INTERRUPT_COALESCING, cdw11, 0, NULL, 0,
	                              cpl);
}

#ifndef NVME_NO_VFIO

/* How many MSI-X vectors the device has. */
static uint32_t nvme__vfio_count_vectors(struct nvme_dev *dev)
{
	struct vfio_irq_info info;

	memset(&info, 0, sizeof(info));
	info.argsz = sizeof(info);
	info.index = VFIO_PCI_MSIX_IRQ_INDEX;
	if (ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0 ||
	    (info.flags & VFIO_IRQ_INFO_EVENTFD) == 0)
		return 0;
	return info.count;
}

/* All vectors by one call, since some kernels cannot add one later. num 0: MSI-X is off. */
static int nvme__vfio_set_interrupts(struct nvme_dev *dev, const int *fds, unsigned int num)
{
	uint32_t count = nvme__vfio_count_vectors(dev), i;
	size_t size;
	struct vfio_irq_set *set;
	int rc;

	num = num < count ? num : count;
	if (fds != NULL && num == 0)
		return -ENOTSUP;
	size = sizeof(*set) + num * sizeof(int32_t);
	set = (struct vfio_irq_set *)NVME_CALLOC(1, size);
	if (set == NULL)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
	             (num > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = num;
	for (i = 0; i < num; i++)
		memcpy(set->data + i * sizeof(int32_t), &fds[i], sizeof(int32_t));
	rc = ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_SET_IRQS, set) == 0 ? (int)num : -errno;
	NVME_FREE(set);
	return rc;
}

#endif /* NVME_NO_VFIO */

/* ============================================================================================
 * >>shadow
 *
 * Doorbell Buffer Config [Base 2.1: Doorbell Buffer Config command] is for controllers that are
 * programs: to them the store to a doorbell is an exit of the virtual machine, many times as dear as
 * the command. Host and controller share two pages. In the one the host keeps the values of all
 * doorbells of I/O queues, at the places that they have among the registers; a controller that is
 * awake looks there. In the other the controller leaves an EventIdx for each: the register needs to
 * be written only when the value passes it.
 * ============================================================================================ */

/* The EventIdx page follows that of the shadow doorbells. */
static int nvme__ctrlr_init_shadow(struct nvme_ctrlr *ctrlr)
{
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;

	if (!ctrlr->opts.shadow_doorbells || ctrlr->num_io_queues == 0)
		return 0;
	if ((ctrlr->data.oacs & NVME_OACS_DBBUF) == 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the controller has no Doorbell Buffer Config command (OACS bit 8): attach without shadow_doorbells in the options");
		return -ENOTSUP;
	}
	if (ctrlr->shadow == NULL)
		ctrlr->shadow = (uint8_t *)nvme__ring_alloc(ctrlr, (size_t)2 * ctrlr->page_size);
	if (ctrlr->shadow == NULL)
		return -ENOMEM;
	nvme__cmd_init(&cmd, NVME_OPC_DOORBELL_BUFFER_CONFIG, 0);
	cmd.dptr.prp.prp1 = nvme__ring_iova(ctrlr, ctrlr->shadow);
	cmd.dptr.prp.prp2 = cmd.dptr.prp.prp1 + ctrlr->page_size;
	return nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
}

/* The admin queue has none, nor has a queue whose doorbells are beyond the page. */
static void nvme__qpair_init_shadow(struct nvme_qpair *qp)
{
	size_t page_size = qp->ctrlr->page_size;

	qp->sq_shadow = qp->sq_tdbl - NVME_REG_DOORBELLS;
	qp->cq_shadow = qp->cq_hdbl - NVME_REG_DOORBELLS;
	if (qp->id == 0 || qp->ctrlr->shadow == NULL || qp->cq_shadow + 4 > page_size)
		return;
	qp->unusual |= NVME__UNUSUAL_SHADOW;
	memset(qp->ctrlr->shadow + qp->sq_shadow, 0, 4);
	memset(qp->ctrlr->shadow + qp->cq_shadow, 0, 4);
	memset(qp->ctrlr->shadow + page_size + qp->sq_shadow, 0, 4);
	memset(qp->ctrlr->shadow + page_size + qp->cq_shadow, 0, 4);
}

/* Does a value that goes from old_value to new_value pass event? All of it modulo 2^16. */
static bool nvme__shadow_passes(uint16_t event, uint16_t old_value, uint16_t new_value)
{
	return (uint16_t)(new_value - event - 1) < (uint16_t)(new_value - old_value);
}

/*
 * Writes the shadow doorbell at an offset in its page; false: the register has to be written, too.
 * The SQEs must be there before the value is. And the value must be there before EventIdx is read:
 * the controller writes EventIdx and then looks at the value once more, so that one of both sees
 * what the other wrote. Only a full barrier orders a store before a load.
 */
static bool nvme__shadow_suffices(struct nvme_qpair *qp, size_t at, uint32_t old_value,
                                  uint32_t new_value)
{
	uint8_t *shadow = qp->ctrlr->shadow + at;
	uint8_t *event = shadow + qp->ctrlr->page_size;
	uint32_t event_idx;

	NVME_WMB();
	__atomic_store_n((nvme__u32_alias *)(void *)shadow, new_value, __ATOMIC_RELEASE);
	__sync_synchronize();
	event_idx = __atomic_load_n((nvme__u32_alias *)(void *)event, __ATOMIC_RELAXED);
	return !nvme__shadow_passes((uint16_t)event_idx, (uint16_t)old_value, (uint16_t)new_value);
}

/* ============================================================================================
 * >>cmb
 *
 * The controller memory buffer: memory in one of the controller's BARs, so that the host reaches it
 * like a register and the controller without the bus. The controller needs to know which addresses
 * of commands mean it, and not the host's memory:
 *
 *	since NVMe 1.4   CMBMSC.CBA, which the host chooses. CMBLOC and CMBSZ read as zero until
 *	                 CMBMSC.CRE is 1, and the memory is off until CMBMSC.CMSE is 1.
 *	before           those of the BAR on the bus, always. CMBSZ is there from the start.
 *
 * Such an address never leaves the controller: no IOMMU translates it, and none could stop it. So it
 * must not be one that the host's memory has. The address on the bus is none, once it is kept out of
 * what nvme__iova_alloc() gives away; it serves as CBA, too. A device that does not know it gets CBA
 * from there.
 *
 * A ring in this memory is a copy. Commands are built in a ring in the host's memory as always, so
 * that the path of a command knows nothing of it; before the doorbell those that are new are copied,
 * each in eight aligned stores. nvme__cmb_push() is the only place that touches this memory.
 * [Base 2.1: Controller Memory Buffer]
 * ============================================================================================ */

#define NVME__CMB_MAX_SZU 6u /* units of 64 GiB; more are reserved */

struct nvme__cmb {
	struct nvme_cmb_info info;
	uint8_t *vaddr;                            /* NULL: not mapped yet */
	bool on;                                   /* the controller knows its address */
	uint64_t data __attribute__((aligned(8))); /* from here on for data; size: nothing is */
};

/* ---- what there is ---- */

/*
 * Both registers, without which there is nothing to know. One from before NVMe 1.4 shows them at
 * once, and so do some that have CAP.CMBS. false: there is no such memory. [Base 2.1: Controller
 * Memory Buffer Memory Space Control]
 */
static bool nvme__cmb_read(struct nvme_ctrlr *ctrlr, struct nvme_cmb_info *info)
{
	bool has_cmbmsc = NVME_GET64(ctrlr->cap, NVME_CAP_CMBS) != 0;
	struct nvme_dev *dev = &ctrlr->dev;
	uint32_t cmbmsc = 0;

	if (!has_cmbmsc && ctrlr->vs >= NVME_VS_SET(1, 4, 0))
		return false;
	if (has_cmbmsc)
		cmbmsc = nvme_mmio_read_4(dev, NVME_REG_CMBMSC);
	if (cmbmsc == UINT32_MAX) /* it is gone: CSTS will tell */
		return false;
	info->cmbsz = nvme_mmio_read_4(dev, NVME_REG_CMBSZ);
	info->legacy =
		NVME_GET(cmbmsc, NVME_CMBMSC_CRE) == 0 && NVME_GET(info->cmbsz, NVME_CMBSZ_SZ) != 0;
	if (has_cmbmsc && !info->legacy) {
		/* CMSE is 0: what another driver has left on is off */
		nvme__reg_write_4(dev, NVME_REG_CMBMSC, NVME_SET(1, NVME_CMBMSC_CRE));
		info->cmbsz = nvme_mmio_read_4(dev, NVME_REG_CMBSZ);
	}
	if (NVME_GET(info->cmbsz, NVME_CMBSZ_SZ) == 0 || info->cmbsz == UINT32_MAX)
		return false;
	info->cmbloc = nvme_mmio_read_4(dev, NVME_REG_CMBLOC);
	return true;
}

/* Sizes and places in bytes. A field of 20 bits in units of 2^36 is less than 2^64. */
static void nvme__cmb_decode(struct nvme_cmb_info *info)
{
	uint32_t shift = 12 + 4 * NVME_GET(info->cmbsz, NVME_CMBSZ_SZU);

	info->bar = NVME_GET(info->cmbloc, NVME_CMBLOC_BIR);
	info->size = NVME_GET64(info->cmbsz, NVME_CMBSZ_SZ) << shift;
	info->offset = NVME_GET64(info->cmbloc, NVME_CMBLOC_OFST) << shift;
}

/* Where the registers end: those of a BAR 0 are not memory. */
static uint64_t nvme__cmb_registers_end(const struct nvme_ctrlr *ctrlr)
{
	uint64_t stride = UINT64_C(4) << NVME_GET(ctrlr->cap, NVME_CAP_DSTRD);

	return NVME_REG_DOORBELLS + 2 * (ctrlr->opts.num_io_queues + 1) * stride;
}

/* Nothing in the registers is believed. NULL: it can be used, and info has its address, if any. */
static const char *nvme__cmb_check(struct nvme_ctrlr *ctrlr, struct nvme_cmb_info *info)
{
	const struct nvme_dev_ops *ops = ctrlr->dev.ops;
	uint64_t bus_addr = 0, bar_size = 0;

	if (NVME_GET(info->cmbsz, NVME_CMBSZ_SZU) > NVME__CMB_MAX_SZU)
		return "CMBSZ.SZU is reserved";
	nvme__cmb_decode(info);
	if (info->bar == 1 || info->bar > 5)
		return "CMBLOC.BIR is reserved";
	if (ops->get_bar == NULL || ops->map_bar == NULL)
		return "this access to the device reaches its registers only";
	if (ops->get_bar(&ctrlr->dev, info->bar, &bus_addr, &bar_size) != 0)
		return "the device has no such BAR";
	if (info->offset > bar_size || info->size > bar_size - info->offset)
		return "it is not inside its BAR";
	if (info->bar == 0 && info->offset < nvme__cmb_registers_end(ctrlr))
		return "it lies across registers";
	if (info->size > SIZE_MAX / 2)
		return "it is too large for the addresses of this process";
	if (bus_addr % 4096 != 0 || bus_addr > UINT64_MAX - bar_size)
		return "the address of its BAR makes no sense";
	if (bus_addr == 0 && info->legacy)
		return "the address of its BAR on the bus is not known";
	info->iova = bus_addr != 0 ? bus_addr + info->offset : 0;
	return NULL;
}

/* A controller whose memory makes no sense works without it. */
static int nvme__cmb_find(struct nvme_ctrlr *ctrlr)
{
	struct nvme_cmb_info info;
	const char *why;

	memset(&info, 0, sizeof(info));
	if (!nvme__cmb_read(ctrlr, &info))
		return 0;
	why = nvme__cmb_check(ctrlr, &info);
	if (why != NULL) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "the controller memory buffer is left alone (%s; CMBLOC %08" PRIx32
		              "h, CMBSZ %08" PRIx32 "h): do without it, or update the firmware",
		              why, info.cmbloc, info.cmbsz);
		return 0;
	}
	ctrlr->cmb = (struct nvme__cmb *)NVME_CALLOC(1, sizeof(*ctrlr->cmb));
	if (ctrlr->cmb == NULL)
		return -ENOMEM;
	ctrlr->cmb->info = info;
	ctrlr->cmb->data = info.size;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
	              "controller memory buffer of %" PRIu64 " bytes at %" PRIu64 " of BAR %" PRIu32
	              ", CMBLOC %08" PRIx32 "h, CMBSZ %08" PRIx32 "h%s",
	              info.size, info.offset, info.bar, info.cmbloc, info.cmbsz,
	              info.legacy ? ", always on" : "");
	return 0;
}

/* Is there memory for what bits of CMBSZ say? 0, or -ENOTSUP and one sentence. */
static int nvme__cmb_require(const struct nvme_ctrlr *ctrlr, uint32_t any_of, const char *what)
{
	if (ctrlr->cmb != NULL && (ctrlr->cmb->info.cmbsz & any_of) != 0)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "CMB not available: the controller has no memory for %s%s", what,
	              ctrlr->cmb == NULL
	                      ? " that can be used (CAP.CMBS, CMBSZ): use the host's memory"
	                      : " (CMBSZ): use the host's memory");
	return -ENOTSUP;
}

/* Before any memory of the host's has an address: those of this one are taken. */
static int nvme__ctrlr_init_cmb(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__cmb_find(ctrlr);

	if (rc != 0 || !ctrlr->opts.use_cmb_sqs)
		return rc;
	return nvme__cmb_require(ctrlr, NVME_SET(1, NVME_CMBSZ_SQS),
	                         "submission queues, which use_cmb_sqs asks for");
}

/* The end of the controller's memory across [iova, iova + len), or 0. */
static uint64_t nvme__cmb_conflict(const struct nvme_ctrlr *ctrlr, uint64_t iova, uint64_t len)
{
	const struct nvme_cmb_info *info = ctrlr->cmb != NULL ? &ctrlr->cmb->info : NULL;

	if (info == NULL || info->iova == 0 || iova >= info->iova + info->size ||
	    info->iova >= iova + len)
		return 0;
	return info->iova + info->size;
}

/* ---- on and off ---- */

static int nvme__cmb_refuse_use(struct nvme_ctrlr *ctrlr, int rc, const char *why)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "the controller memory buffer cannot be used (%s%s%s): use the host's memory",
	              why, rc == -EIO ? "" : ": ", rc == -EIO ? "" : strerror(-rc));
	return rc;
}

/* For this process. Once: the mapping lasts until close(). */
static int nvme__cmb_map(struct nvme_ctrlr *ctrlr)
{
	struct nvme_cmb_info *info = &ctrlr->cmb->info;
	void *vaddr = NULL;
	int rc;

	if (ctrlr->cmb->vaddr != NULL)
		return 0;
	rc = ctrlr->dev.ops->map_bar(&ctrlr->dev, info->bar, info->offset, (size_t)info->size,
	                             &vaddr);
	if (rc != 0)
		return nvme__cmb_refuse_use(ctrlr, rc, "its BAR cannot be mapped");
	ctrlr->cmb->vaddr = (uint8_t *)vaddr;
	return 0;
}

/* For the controller: an address that no memory of the host's has, or will have. */
static int nvme__cmb_take_iova(struct nvme_ctrlr *ctrlr)
{
	struct nvme_cmb_info *info = &ctrlr->cmb->info;
	uint64_t iova = 0;
	int rc = 0;

	nvme__dma_lock(ctrlr);
	if (info->iova == 0)
		rc = nvme__iova_alloc(ctrlr, info->size, &iova);
	if (rc == 0 && info->iova == 0)
		info->iova = iova;
	nvme__dma_unlock(ctrlr);
	return rc == 0 ? 0 : nvme__cmb_refuse_use(ctrlr, rc, "there are no addresses for it");
}

/*
 * The upper half of CBA first: CMSE, in the lower one, is what makes it count. [Base 2.1: Controller
 * Memory Buffer Memory Space Control], [Base 2.1: Controller Memory Buffer Status]
 */
static int nvme__cmb_tell_address(struct nvme_ctrlr *ctrlr)
{
	const struct nvme_cmb_info *info = &ctrlr->cmb->info;
	uint32_t on = NVME_SET(1, NVME_CMBMSC_CRE) | NVME_SET(1, NVME_CMBMSC_CMSE), status;
	struct nvme_dev *dev = &ctrlr->dev;

	if (info->legacy)
		return 0;
	nvme__reg_write_4(dev, NVME_REG_CMBMSC + 4, (uint32_t)(info->iova >> 32));
	nvme__reg_write_4(dev, NVME_REG_CMBMSC, (uint32_t)info->iova | on);
	status = nvme_mmio_read_4(dev, NVME_REG_CMBSTS);
	if (status == UINT32_MAX)
		return nvme__ctrlr_set_gone(ctrlr);
	if (NVME_GET(status, NVME_CMBSTS_CBAI) != 0)
		return nvme__cmb_refuse_use(ctrlr, -EIO,
		                            "the controller finds its address invalid, CMBSTS.CBAI");
	return 0;
}

/* A reset may have taken the address away. */
static int nvme__ctrlr_resume_cmb(struct nvme_ctrlr *ctrlr)
{
	return ctrlr->cmb != NULL && ctrlr->cmb->on ? nvme__cmb_tell_address(ctrlr) : 0;
}

static int nvme__cmb_switch_on(struct nvme_ctrlr *ctrlr)
{
	const struct nvme_cmb_info *info = &ctrlr->cmb->info;
	int rc = nvme__cmb_tell_address(ctrlr);

	if (rc != 0)
		return rc;
	nvme__trace_dma(&ctrlr->dev, ctrlr->cmb->vaddr, info->iova, (size_t)info->size);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
	              "controller memory buffer is at IOVA %" PRIx64 "h", info->iova);
	ctrlr->cmb->on = true;
	return 0;
}

static int nvme__cmb_use(struct nvme_ctrlr *ctrlr)
{
	int rc;

	if (ctrlr->cmb->on)
		return 0;
	if (nvme__ctrlr_is_gone(ctrlr))
		return -ENODEV;
	rc = nvme__cmb_map(ctrlr);
	if (rc == 0)
		rc = nvme__cmb_take_iova(ctrlr);
	return rc != 0 ? rc : nvme__cmb_switch_on(ctrlr);
}

/* The controller is off: who comes next finds CMBMSC as it is after a reset. */
static void nvme__ctrlr_fini_cmb(struct nvme_ctrlr *ctrlr)
{
	struct nvme__cmb *cmb = ctrlr->cmb;

	if (cmb == NULL)
		return;
	if (!cmb->info.legacy && !nvme__ctrlr_is_gone(ctrlr))
		nvme__reg_write_4(&ctrlr->dev, NVME_REG_CMBMSC, 0);
	if (cmb->on)
		nvme__trace_dma(&ctrlr->dev, NULL, cmb->info.iova, (size_t)cmb->info.size);
	ctrlr->cmb = NULL;
	NVME_FREE(cmb);
}

/* ---- submission queues ---- */

/* Bytes of a ring: whole pages of the controller. */
static uint64_t nvme__cmb_ring_len(const struct nvme_qpair *qp)
{
	return nvme__round_up(qp->entries * sizeof(*qp->sq), qp->ctrlr->page_size);
}

/* The end of a ring of this list that is in [at, at + len), or 0. */
static uint64_t nvme__cmb_ring_across(const struct nvme_qpair *list, uint64_t at, uint64_t len)
{
	const struct nvme_qpair *qp;

	for (qp = list; qp != NULL; qp = qp->next) {
		uint64_t start, end;

		if (qp->cmb_sq == NULL)
			continue;
		start = (uint64_t)(qp->cmb_sq - qp->ctrlr->cmb->vaddr);
		end = start + nvme__cmb_ring_len(qp);
		if (at < end && start < at + len)
			return end;
	}
	return 0;
}

/*
 * The first place of len bytes that no ring has, at a page as the controller sees it: PC is 1
 * [Base 2.1 §5.2.2: Create I/O Submission Queue].
 */
static uint64_t nvme__cmb_room(const struct nvme_ctrlr *ctrlr, uint64_t len)
{
	uint64_t iova = ctrlr->cmb->info.iova;
	uint64_t at = nvme__round_up(iova, ctrlr->page_size) - iova, end;

	while ((end = nvme__cmb_ring_across(ctrlr->io_qpairs, at, len)) != 0 ||
	       (end = nvme__cmb_ring_across(ctrlr->zombies, at, len)) != 0)
		at = end;
	return at;
}

/* The ring that the queue pair was built with stays: it is what is copied. */
static int nvme__qpair_use_cmb(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	uint64_t len = nvme__cmb_ring_len(qp), at;
	int rc = nvme__cmb_require(ctrlr, NVME_SET(1, NVME_CMBSZ_SQS), "submission queues");

	if (rc == 0)
		rc = nvme__cmb_use(ctrlr);
	if (rc != 0)
		return rc;
	at = nvme__cmb_room(ctrlr, len);
	if (at > ctrlr->cmb->data || len > ctrlr->cmb->data - at) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the controller memory buffer has no %" PRIu64
		              " bytes left for a submission queue: ask for fewer entries, or create queue pairs before nvme_ctrlr_reserve_cmb()",
		              len);
		return -ENOSPC;
	}
	qp->cmb_sq = ctrlr->cmb->vaddr + at;
	qp->sq_iova = ctrlr->cmb->info.iova + at;
	qp->unusual |= NVME__UNUSUAL_CMB;
	return 0;
}

/*
 * The SQEs from one slot of the ring up to the tail. Eight bytes at a time and aligned, which every
 * processor can store to a device; and all of it is there before the doorbell is, also where the
 * mapping lets stores be combined, which NVME_WMB() does not end on x86.
 */
static void nvme__cmb_push(struct nvme_qpair *qp, uint32_t from)
{
	uint64_t sqe[sizeof(*qp->sq) / 8];
	volatile uint64_t *slot;
	size_t i;

	if (nvme__ctrlr_is_gone(qp->ctrlr))
		return;
	for (; from != qp->sq_tail; from = from + 1 == qp->entries ? 0 : from + 1) {
		memcpy(sqe, &qp->sq[from], sizeof(sqe));
		slot = (volatile uint64_t *)(void *)(qp->cmb_sq + from * sizeof(*qp->sq));
		for (i = 0; i < sizeof(sqe) / sizeof(sqe[0]); i++)
			slot[i] = sqe[i];
	}
	__sync_synchronize();
}

/* ---- data ---- */

/* Is any of these bytes in the controller's memory, as it is mapped here? */
static bool nvme__cmb_mapped_at(const struct nvme_ctrlr *ctrlr, const uint8_t *at, size_t len)
{
	const struct nvme__cmb *cmb = ctrlr->cmb;

	return cmb != NULL && cmb->vaddr != NULL && at < cmb->vaddr + cmb->info.size &&
	       cmb->vaddr < at + len;
}

/* Is this in the part for data? In any thread, since commands are submitted in any. */
static bool nvme__cmb_holds(const struct nvme_ctrlr *ctrlr, const void *vaddr)
{
	const struct nvme__cmb *cmb = ctrlr->cmb;
	uint64_t data, offset;

	if (cmb == NULL)
		return false;
	data = __atomic_load_n(&cmb->data, __ATOMIC_ACQUIRE);
	if (data == cmb->info.size) /* before it is anything else vaddr may be changing */
		return false;
	offset = (uintptr_t)vaddr - (uintptr_t)cmb->vaddr;
	return offset >= data && offset < cmb->info.size;
}

/* Which bit of CMBSZ or CMBLOC does not allow it; NULL: it is allowed. */
static const char *nvme__cmb_find_wrong(const struct nvme_ctrlr *ctrlr, uint8_t opc,
                                        const void *vaddr, size_t len, bool pieces)
{
	const struct nvme_cmb_info *info = &ctrlr->cmb->info;
	uint32_t direction = NVME_GET(opc, NVME_OPC_DATA);
	uint64_t in_page = ((uintptr_t)vaddr - (uintptr_t)ctrlr->cmb->vaddr + info->iova) &
	                   (ctrlr->page_size - 1);

	if ((direction & NVME_OPC_DATA_TO_HOST) != 0 && NVME_GET(info->cmbsz, NVME_CMBSZ_RDS) == 0)
		return "it holds no data of reads, CMBSZ.RDS";
	if ((direction & NVME_OPC_DATA_TO_CTRLR) != 0 && NVME_GET(info->cmbsz, NVME_CMBSZ_WDS) == 0)
		return "it holds no data of writes, CMBSZ.WDS";
	if (NVME_GET(info->cmbloc, NVME_CMBLOC_CDPMLS) != 0)
		return NULL;
	if (pieces)
		return "it mixes with no other memory, CMBLOC.CDPMLS";
	return in_page + len > 2 * (uint64_t)ctrlr->page_size
	               ? "the list of its pages would be in other memory, CMBLOC.CDPMLS"
	               : NULL;
}

static int nvme__cmb_say_refused(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                                 const char *why)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "%zu bytes at %p of the controller memory buffer cannot be transferred (%s): use memory of nvme_dma_alloc()",
	              len, vaddr, why);
	return -ENOTSUP;
}

/* May a command have this as its data, or with pieces as a piece of it? */
static int nvme__cmb_refuse(const struct nvme_ctrlr *ctrlr, uint8_t opc, const void *vaddr,
                            size_t len, bool pieces)
{
	const char *why = NULL;

	if (nvme__cmb_holds(ctrlr, vaddr))
		why = nvme__cmb_find_wrong(ctrlr, opc, vaddr, len, pieces);
	return why != NULL ? nvme__cmb_say_refused(ctrlr, vaddr, len, why) : 0;
}

/* May it have this as its metadata, with its data at buf? */
static int nvme__cmb_refuse_md(const struct nvme_ctrlr *ctrlr, uint8_t opc, const void *buf,
                               const void *md, size_t len)
{
	bool holds = nvme__cmb_holds(ctrlr, md);

	if (holds != nvme__cmb_holds(ctrlr, buf) &&
	    NVME_GET(ctrlr->cmb->info.cmbloc, NVME_CMBLOC_CDMMMS) == 0)
		return nvme__cmb_say_refused(ctrlr, holds ? md : buf, len,
		                             "data and metadata would be in different memory, CMBLOC.CDMMMS");
	return nvme__cmb_refuse(ctrlr, opc, md, len, false);
}

/* The address of data there, for a command with this opcode (0: for any). 0: it may not be there. */
static uint64_t nvme__cmb_iova(const struct nvme_ctrlr *ctrlr, const void *vaddr, size_t len,
                               uint8_t opc)
{
	uint64_t offset;

	if (!nvme__cmb_holds(ctrlr, vaddr))
		return 0;
	offset = (uintptr_t)vaddr - (uintptr_t)ctrlr->cmb->vaddr;
	if (len > ctrlr->cmb->info.size - offset)
		return 0;
	if (opc != 0 && nvme__cmb_refuse(ctrlr, opc, vaddr, len, false) != 0)
		return 0;
	return ctrlr->cmb->info.iova + offset;
}

/* Behind the last ring. */
static uint64_t nvme__cmb_rings_end(const struct nvme_ctrlr *ctrlr)
{
	uint64_t at = nvme__cmb_room(ctrlr, ctrlr->cmb->info.size);

	return at < ctrlr->cmb->info.size ? at : ctrlr->cmb->info.size;
}

NVMEDEF int nvme_ctrlr_reserve_cmb(struct nvme_ctrlr *ctrlr)
{
	uint32_t data = NVME_SET(1, NVME_CMBSZ_RDS) | NVME_SET(1, NVME_CMBSZ_WDS);
	uint64_t end;
	int rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_reserve_cmb()");

	if (rc == 0)
		rc = nvme__cmb_require(ctrlr, data, "data");
	if (rc == 0)
		rc = nvme__cmb_use(ctrlr);
	if (rc != 0 || ctrlr->cmb->data != ctrlr->cmb->info.size)
		return rc;
	end = nvme__cmb_rings_end(ctrlr);
	if (end == ctrlr->cmb->info.size) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "submission queues have all of the controller memory buffer: free some, or give them fewer entries");
		return -ENOSPC;
	}
	__atomic_store_n(&ctrlr->cmb->data, end, __ATOMIC_RELEASE);
	return 0;
}

NVMEDEF void *nvme_ctrlr_map_cmb(struct nvme_ctrlr *ctrlr, size_t *size)
{
	*size = 0;
	if (nvme_ctrlr_reserve_cmb(ctrlr) != 0)
		return NULL;
	*size = (size_t)(ctrlr->cmb->info.size - ctrlr->cmb->data);
	return ctrlr->cmb->vaddr + ctrlr->cmb->data;
}

NVMEDEF int nvme_ctrlr_unmap_cmb(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_unmap_cmb()");

	if (rc != 0)
		return rc;
	if (ctrlr->cmb == NULL || ctrlr->cmb->data == ctrlr->cmb->info.size) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "no controller memory was taken for data: call nvme_ctrlr_map_cmb() before nvme_ctrlr_unmap_cmb(), and each once");
		return -ENOENT;
	}
	__atomic_store_n(&ctrlr->cmb->data, ctrlr->cmb->info.size, __ATOMIC_RELEASE);
	return 0;
}

NVMEDEF int nvme_ctrlr_get_cmb(const struct nvme_ctrlr *ctrlr, struct nvme_cmb_info *info)
{
	memset(info, 0, sizeof(*info));
	if (ctrlr->cmb == NULL)
		return -ENOTSUP;
	*info = ctrlr->cmb->info;
	return 0;
}

#ifndef NVME_NO_VFIO

/* ---- BARs through VFIO ---- */

/* From configuration space, which has the addresses on the bus [PCIe 1.1 §3.8.1: PCI header]. */
static int nvme__vfio_get_bar(struct nvme_dev *dev, unsigned int bar, uint64_t *bus_addr,
                              uint64_t *size)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	off_t at = (off_t)v->config.offset + PCI_BASE_ADDRESS_0 + 4 * (off_t)bar;
	struct vfio_region_info region;
	uint32_t half[2] = {0, 0};

	if (bar > 5 || nvme__vfio_get_region(dev, VFIO_PCI_BAR0_REGION_INDEX + bar, &region) != 0 ||
	    region.size == 0)
		return -ENODEV;
	if (pread(v->device, half, sizeof(half), at) != (ssize_t)sizeof(half))
		return -ENODEV;
	if ((half[0] & PCI_BASE_ADDRESS_SPACE_IO) != 0)
		return -ENODEV;
	*bus_addr = half[0] & ~UINT32_C(15);
	if ((half[0] & PCI_BASE_ADDRESS_MEM_TYPE_64) != 0)
		*bus_addr |= (uint64_t)half[1] << 32;
	*size = region.size;
	return 0;
}

/*
 * Whole pages of the host; the BAR begins at one. A kernel that guards an MSI-X table in the same
 * BAR refuses what lies across it.
 */
static int nvme__vfio_map_bar(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
                              void **vaddr)
{
	struct nvme__vfio *v = nvme__vfio_of(dev);
	size_t mask = NVME__HOST_PAGE_SIZE - 1, in_page = (size_t)offset & mask;
	struct vfio_region_info region;
	void *map;
	int rc;

	rc = nvme__vfio_get_region(dev, VFIO_PCI_BAR0_REGION_INDEX + bar, &region);
	if (rc != 0)
		return rc;
	if ((region.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
		return -ENOTSUP;
	len = (in_page + len + mask) & ~mask;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, v->device,
	           (off_t)(region.offset + offset - in_page));
	if (map == MAP_FAILED)
		return -errno;
	v->cmb_map = map;
	v->cmb_map_len = len;
	*vaddr = (uint8_t *)map + in_page;
	return 0;
}

#endif /* NVME_NO_VFIO */

/* ============================================================================================
 * >>scatter
 *
 * Reads and writes of any size, to memory in pieces. A transfer is a parent; the commands that it is
 * cut into are its children:
 *
 *	pieces    the caller's memory as the controller sees it, copied; what lies together is one
 *	cursor    how far the children that were sent have come: in blocks, and in the pieces
 *	cut       the next child: as many blocks as one command can carry from there, and how
 *
 * All cuts are tried before the first child is sent, so that what cannot be described is refused at
 * once. Children that find no free CID wait with their parent in a list. It is never without a child
 * outstanding, its own or one of those before it, whose callback sends the next ones: a CID has
 * become free with it. A parent that is sent needs its pieces no more.
 *
 * Writes to a zoned namespace are sent one by one: a controller may execute commands in any order,
 * and a zone takes them in one only.
 * ============================================================================================ */

#define NVME__SCATTER_FLAGS (NVME__IO_FLAGS | NVME_IO_FLAGS_SGL)
#define NVME__PARENTS       1024u /* of a queue pair, at most */
#define NVME__STORES        16u   /* for pieces: so many parents can wait */

/* A piece of memory. iova 0: a hole. */
struct nvme__piece {
	uint64_t iova, len;
};

struct nvme__pieces {
	struct nvme__pieces *next; /* valid while it is free */
	uint32_t count;
	struct nvme__piece piece[NVME_MAX_PIECES];
};

struct nvme__cursor {
	uint64_t slba, nlb; /* blocks that are still to be sent */
	uint64_t offset;    /* in the piece with this number */
	uint32_t piece;
};

/* nlb blocks; 0: not one can be described. */
struct nvme__cut {
	uint32_t nlb;
	bool sgl;
};

struct nvme__parent {
	struct nvme__parent *next; /* in the list of those that are free, or that wait */
	struct nvme_qpair *qp;
	struct nvme_ns *ns;
	nvme_cmd_cb cb;
	void *cb_arg;
	struct nvme__pieces *pieces; /* NULL: all children were sent */
	struct nvme__cursor rest;
	uint64_t failed; /* LBA of the child that cpl is of; UINT64_MAX: none has failed */
	uint32_t outstanding;
	uint32_t block, max_nlb; /* bytes of a block; blocks of a child, at most */
	uint32_t io_flags;
	uint8_t opc;
	bool waiting;
	bool one_by_one; /* writes to a zone: the next begins where the one before has ended */
	bool ending;     /* the callback of a child is running */
	struct nvme_cpl cpl;
};

/* What a queue pair needs for its transfers. */
struct nvme__scatter {
	struct nvme__parent *free, *waiting;
	struct nvme__pieces *free_stores;
	uint32_t max_descs;       /* of an SGL, in the memory of a tracker's PRP list; 0: no SGLs */
	bool dword_only, buckets; /* what SGLS says */
	struct nvme__pieces store[NVME__STORES];
};

NVME__COLD void nvme__prp_list_print(const struct nvme_log *log, uint16_t qid, uint16_t cid,
                                     const struct nvme_prp *prp, const void *virt_addr,
                                     uint32_t len);
NVME__COLD void nvme__sgl_print(const struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                uint32_t len);

/* ---- the pool ---- */

/* SGLS: what the controller can do [Base 2.1 §5.1.13.2.1, Fig. 312: Identify Controller]. */
static void nvme__scatter_set_sgls(struct nvme__scatter *pool, const struct nvme_qpair *qp)
{
	uint32_t sgls = qp->ctrlr->data.sgls;

	if (NVME_GET(sgls, NVME_ID_SGLS) != 1 && NVME_GET(sgls, NVME_ID_SGLS) != 2)
		return;
	pool->max_descs =
		qp->list_pages * qp->list_entries / 2; /* each takes as much as two PRPs */
	pool->dword_only = NVME_GET(sgls, NVME_ID_SGLS) == 2;
	pool->buckets = NVME_GET(sgls, NVME_ID_SGLS_BIT_BUCKET) != 0;
}

/* The first transfer of a queue pair allocates for all of them. NULL: no memory. */
static struct nvme__scatter *nvme__scatter_pool(struct nvme_qpair *qp)
{
	size_t parents = qp->num_trackers < NVME__PARENTS ? qp->num_trackers : NVME__PARENTS, i;
	struct nvme__scatter *pool;
	struct nvme__parent *parent;

	if (qp->scatter != NULL)
		return qp->scatter;
	pool = (struct nvme__scatter *)NVME_CALLOC(1, sizeof(*pool) + parents * sizeof(*parent));
	if (pool == NULL)
		return NULL;
	parent = (struct nvme__parent *)(void *)(pool + 1);
	for (i = 0; i < parents; i++) {
		parent[i].next = pool->free;
		pool->free = &parent[i];
	}
	for (i = 0; i < NVME__STORES; i++) {
		pool->store[i].next = pool->free_stores;
		pool->free_stores = &pool->store[i];
	}
	nvme__scatter_set_sgls(pool, qp);
	qp->scatter = pool;
	return pool;
}

/* With a store for its pieces. NULL: there is none. */
static struct nvme__parent *nvme__parent_get(struct nvme__scatter *pool)
{
	struct nvme__parent *p = pool->free;

	if (p == NULL || pool->free_stores == NULL)
		return NULL;
	pool->free = p->next;
	memset(p, 0, sizeof(*p));
	p->pieces = pool->free_stores;
	pool->free_stores = p->pieces->next;
	p->pieces->count = 0;
	return p;
}

/* Nothing of it is sent any more. */
static void nvme__parent_close(struct nvme__parent *p)
{
	struct nvme__scatter *pool = p->qp->scatter;

	p->rest.nlb = 0;
	if (p->pieces == NULL)
		return;
	p->pieces->next = pool->free_stores;
	pool->free_stores = p->pieces;
	p->pieces = NULL;
}

static void nvme__parent_put(struct nvme__parent *p)
{
	struct nvme__scatter *pool = p->qp->scatter;

	nvme__parent_close(p);
	p->next = pool->free;
	pool->free = p;
}

/* ---- those that wait, first come, first served ---- */

static void nvme__parent_wait(struct nvme__parent *p)
{
	struct nvme__parent **link = &p->qp->scatter->waiting;

	while (*link != NULL)
		link = &(*link)->next;
	*link = p;
	p->next = NULL;
	p->waiting = true;
}

static void nvme__parent_stop_waiting(struct nvme__parent *p)
{
	struct nvme__parent **link = &p->qp->scatter->waiting;

	if (!p->waiting)
		return;
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	p->waiting = false;
}

/* ---- pieces ---- */

/* Behind what is there; one piece with it, if it is so for the controller, too. */
static int nvme__pieces_add(struct nvme__pieces *pieces, uint64_t iova, uint64_t len)
{
	struct nvme__piece *next = &pieces->piece[pieces->count];

	if (pieces->count != 0) {
		struct nvme__piece *last = next - 1;
		bool hole = last->iova == 0;

		if (hole ? iova == 0 : iova == last->iova + last->len) {
			last->len += len;
			return 0;
		}
	}
	if (pieces->count == NVME_MAX_PIECES)
		return -EMSGSIZE;
	next->iova = iova;
	next->len = len;
	pieces->count++;
	return 0;
}

static int nvme__refuse_iov(const struct nvme__parent *p, int i, const struct iovec *at, int rc)
{
	const char *why =
		rc == -EMSGSIZE ? "it is one piece too many: split the transfer"
		: rc == -EFAULT
			? "it is not DMA memory of one buffer: use nvme_dma_alloc() or nvme_dma_register()"
			: "it is a hole, and the controller has no bit buckets (SGLS): give it memory";

	NVME__DEV_LOG(&p->qp->ctrlr->dev, NVME_LOG_ERROR,
	              "a read or write is refused because of piece %d, %zu bytes at %p: %s", i,
	              at->iov_len, at->iov_base, why);
	return rc;
}

/* The caller's memory as the controller sees it. NULL is a hole in a read, and a mistake elsewhere. */
static int nvme__parent_take_iov(struct nvme__parent *p, const struct iovec *iov, int iovcnt)
{
	int i, rc = 0;

	for (i = 0; i < iovcnt && rc == 0; i++) {
		const struct iovec *at = &iov[i];
		uint64_t iova = 0;

		if (at->iov_len == 0)
			continue;
		if (at->iov_base != NULL || p->opc != NVME_OPC_READ)
			rc = nvme_dma_iova(p->qp->ctrlr, at->iov_base, at->iov_len, &iova);
		else if (!p->qp->scatter->buckets || p->qp->scatter->max_descs == 0)
			rc = -EOPNOTSUPP;
		if (rc == 0)
			rc = nvme__pieces_add(p->pieces, iova, at->iov_len);
		if (rc != 0)
			return nvme__refuse_iov(p, i, at, rc);
		rc = nvme__cmb_refuse(p->qp->ctrlr, p->opc, at->iov_base, at->iov_len, iovcnt > 1);
	}
	return rc;
}

/* The next bytes that lie together, at most so many. The cursor moves behind them. */
static struct nvme__piece nvme__pieces_next(const struct nvme__pieces *pieces,
                                            struct nvme__cursor *at, uint64_t most)
{
	const struct nvme__piece *from = &pieces->piece[at->piece];
	struct nvme__piece part;

	part.iova = from->iova != 0 ? from->iova + at->offset : 0;
	part.len = from->len - at->offset < most ? from->len - at->offset : most;
	at->offset += part.len;
	if (at->offset == from->len) {
		at->piece++;
		at->offset = 0;
	}
	return part;
}

/* ---- cuts ---- */

/*
 * Bytes that PRPs can describe, at most so many. Only the first entry may have an offset, and that
 * is dword aligned [Base 2.1 §4.3.1: PRP entry and list].
 */
static uint64_t nvme__prp_run(const struct nvme__parent *p, struct nvme__cursor at, uint64_t most)
{
	uint64_t mask = p->qp->ctrlr->page_size - 1, run = 0;

	while (run < most) {
		struct nvme__piece part = nvme__pieces_next(p->pieces, &at, most - run);

		if (part.iova == 0 || (part.iova & (run == 0 ? 3 : mask)) != 0)
			break;
		run += part.len;
		if (((part.iova + part.len) & mask) != 0)
			break;
	}
	return run;
}

/*
 * The same for an SGL. With SGLS 2 addresses and lengths are dwords, so that blocks have to be, too
 * [Base 2.1 §5.1.13.2.1, Fig. 312: Identify Controller data structure].
 */
static uint64_t nvme__sgl_run(const struct nvme__parent *p, struct nvme__cursor at, uint64_t most)
{
	const struct nvme__scatter *pool = p->qp->scatter;
	uint64_t mask = pool->dword_only ? 3 : 0, run = 0;
	uint32_t descs;

	if ((p->block & mask) != 0)
		return 0;
	for (descs = 0; descs < pool->max_descs && run < most; descs++) {
		struct nvme__piece part = nvme__pieces_next(p->pieces, &at, most - run);

		if (((part.iova | part.len) & mask) != 0)
			break;
		run += part.len;
	}
	return run;
}

/* The next child: PRPs, unless an SGL makes it longer or is asked for. */
static struct nvme__cut nvme__parent_cut(const struct nvme__parent *p,
                                         const struct nvme__cursor *at)
{
	uint64_t most = nvme_ns_next_piece(p->ns, p->max_nlb, at->slba, at->nlb), run = 0, sgl_run;
	struct nvme__cut cut = {0, false};

	most *= p->block;
	if ((p->io_flags & NVME_IO_FLAGS_SGL) == 0)
		run = nvme__prp_run(p, *at, most);
	if (run < most) {
		sgl_run = nvme__sgl_run(p, *at, most);
		cut.sgl = sgl_run > run;
		run = cut.sgl ? sgl_run : run;
	}
	cut.nlb = (uint32_t)(run / p->block);
	return cut;
}

static void nvme__cursor_move(struct nvme__cursor *at, const struct nvme__parent *p, uint32_t nlb)
{
	uint64_t left = (uint64_t)nlb * p->block;

	while (left != 0)
		left -= nvme__pieces_next(p->pieces, at, left).len;
	at->slba += nlb;
	at->nlb -= nlb;
}

/* A block that no command can describe. */
static int nvme__refuse_cut(const struct nvme__parent *p, const struct nvme__cursor *at)
{
	bool dword = (p->pieces->piece[at->piece].iova + at->offset) % 4 == 0;

	NVME__DEV_LOG(&p->ns->ctrlr->dev, NVME_LOG_ERROR,
	              "block %" PRIu64
	              " cannot be transferred, since neither PRPs nor an SGL of %" PRIu32
	              " descriptors can describe its memory: let pieces begin and end at %s",
	              at->slba, p->qp->scatter->max_descs,
	              dword ? "pages, or at blocks" : "multiples of 4 bytes");
	return dword ? -EOPNOTSUPP : -EFAULT;
}

/* Is there a command for each block? */
static int nvme__parent_try_cuts(const struct nvme__parent *p)
{
	struct nvme__cursor at = p->rest;

	while (at.nlb != 0) {
		struct nvme__cut cut = nvme__parent_cut(p, &at);

		if (cut.nlb == 0)
			return nvme__refuse_cut(p, &at);
		nvme__cursor_move(&at, p, cut.nlb);
	}
	return 0;
}

/* ---- the data pointer of a child ---- */

/* Several pieces as PRPs, which nvme__prp_run() has found possible. */
static int nvme__child_build_prps(const struct nvme__parent *p, struct nvme_tracker *tr,
                                  uint32_t len)
{
	struct nvme_qpair *qp = p->qp;
	struct nvme__cursor at = p->rest;
	struct nvme__piece part;
	struct nvme_prp prp;
	uint32_t left;
	int rc = 0;

	nvme__prp_init(&prp, qp->ctrlr->page_size, tr->prp_list, tr->prp_list_iova, qp->list_pages,
	               qp->ctrlr->page_size);
	for (left = len; left != 0 && rc == 0; left -= (uint32_t)part.len) {
		part = nvme__pieces_next(p->pieces, &at, left);
		rc = nvme_prp_list_append(&prp, part.iova, (uint32_t)part.len);
	}
	tr->cmd.dptr.prp.prp1 = prp.prp1;
	tr->cmd.dptr.prp.prp2 = prp.prp2;
	if (rc == 0 && (qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__prp_list_print(&qp->ctrlr->log, qp->id, tr->cid, &prp, NULL, len);
	return rc;
}

static struct nvme_sgl_desc nvme__sgl_desc(uint32_t type, uint64_t addr, uint32_t len)
{
	struct nvme_sgl_desc desc;

	memset(&desc, 0, sizeof(desc));
	desc.addr = addr;
	desc.len = len;
	desc.id = NVME_SGL_ID(type, NVME_SGL_SUBTYPE_ADDRESS);
	return desc;
}

/*
 * An SGL. One data block is in the command, more are in a segment: the memory of the tracker's PRP
 * list. MPTR would be a plain address: PSDT 1 [Base 2.1 §4.3.2: SGL descriptors].
 */
static void nvme__child_build_sgl(const struct nvme__parent *p, struct nvme_tracker *tr,
                                  uint32_t len)
{
	struct nvme_sgl_desc *list = (struct nvme_sgl_desc *)(void *)tr->prp_list;
	struct nvme__cursor at = p->rest;
	struct nvme__piece part;
	uint32_t left, descs = 0;

	for (left = len; left != 0; left -= (uint32_t)part.len) {
		part = nvme__pieces_next(p->pieces, &at, left);
		list[descs++] = nvme__sgl_desc(part.iova != 0 ? NVME_SGL_TYPE_DATA_BLOCK
		                                              : NVME_SGL_TYPE_BIT_BUCKET,
		                               part.iova, (uint32_t)part.len);
	}
	tr->cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	if (descs == 1 && part.iova != 0)
		tr->cmd.dptr.sgl = list[0];
	else
		tr->cmd.dptr.sgl = nvme__sgl_desc(NVME_SGL_TYPE_LAST_SEGMENT, tr->prp_list_iova,
		                                  descs * (uint32_t)sizeof(*list));
	if ((p->qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__sgl_print(p->qp, tr, len);
}

/* ---- sending ---- */

static void nvme__child_done(void *arg, const struct nvme_cpl *cpl);

/* The SQE: a read or write like any other [NVM 1.1 §3.3.4: Read, §3.3.6: Write, CDW12]. */
static int nvme__child_build(const struct nvme__parent *p, struct nvme_tracker *tr,
                             struct nvme__cut cut)
{
	struct nvme_cmd *cmd = &tr->cmd;

	nvme__cmd_init(cmd, p->opc, p->ns->id);
	cmd->cid = tr->cid;
	cmd->cdw10 = (uint32_t)p->rest.slba;
	cmd->cdw11 = (uint32_t)(p->rest.slba >> 32);
	cmd->cdw12 = (cut.nlb - 1) | (p->io_flags & NVME__IO_FLAGS);
	if (!cut.sgl)
		return nvme__child_build_prps(p, tr, cut.nlb * p->block);
	nvme__child_build_sgl(p, tr, cut.nlb * p->block);
	return 0;
}

/* What keeps every command of the transfer away. */
static int nvme__scatter_barred(const struct nvme_ns *ns, const struct nvme_qpair *qp)
{
	int rc = nvme__qpair_refusal(qp);

	if (rc != 0)
		return rc;
	rc = __atomic_load_n(&ns->refuse, __ATOMIC_ACQUIRE);
	return rc != -EAGAIN ? rc : 0; /* what was begun before I/O was held goes on */
}

/* The next child. -EAGAIN: no CID is free, or it is not its turn yet. */
static int nvme__parent_send_one(struct nvme__parent *p)
{
	struct nvme__cut cut = nvme__parent_cut(p, &p->rest);
	int rc = nvme__scatter_barred(p->ns, p->qp);
	struct nvme_tracker *tr;

	if (rc != 0 || cut.nlb == 0)
		return rc != 0 ? rc : -EOPNOTSUPP;
	if (p->one_by_one && p->outstanding != (p->ending ? 1u : 0u))
		return -EAGAIN;
	tr = nvme__tracker_get(p->qp, nvme__child_done, p);
	if (tr == NULL)
		return -EAGAIN;
	rc = nvme__child_build(p, tr, cut);
	if (rc != 0) {
		nvme__tracker_put(p->qp, tr);
		return rc;
	}
	nvme__cursor_move(&p->rest, p, cut.nlb);
	p->outstanding++;
	nvme_copy_command(&p->qp->sq[p->qp->sq_tail], &tr->cmd);
	nvme_qpair_submit_request(p->qp, tr, NULL, 0);
	return 0;
}

/* As many children as there are CIDs, with one doorbell. -EAGAIN: not all. */
static int nvme__parent_send(struct nvme__parent *p)
{
	uint32_t delay = p->qp->unusual & NVME__UNUSUAL_DELAY;
	int rc = 0;

	p->qp->unusual |= NVME__UNUSUAL_DELAY;
	while (p->rest.nlb != 0 && rc == 0)
		rc = nvme__parent_send_one(p);
	if (delay == 0) {
		p->qp->unusual &= ~NVME__UNUSUAL_DELAY;
		nvme_qpair_ring(p->qp);
	}
	if (p->rest.nlb == 0)
		nvme__parent_close(p); /* its pieces are of no use any more */
	return rc;
}

/* ---- the end ---- */

/* Of those that failed the one with the lowest LBA counts, else the last. */
static void nvme__parent_note(struct nvme__parent *p, uint64_t slba, const struct nvme_cpl *cpl)
{
	if (!nvme_cpl_is_error(cpl)) {
		if (p->failed == UINT64_MAX)
			p->cpl = *cpl;
		return;
	}
	if (slba < p->failed) {
		p->failed = slba;
		p->cpl = *cpl;
	}
	nvme__parent_stop_waiting(p);
	nvme__parent_close(p); /* what was not sent has higher LBAs, and would change nothing */
}

static void nvme__parent_end_if_done(struct nvme__parent *p)
{
	nvme_cmd_cb cb = p->cb;
	void *arg = p->cb_arg;
	struct nvme_cpl cpl;

	if (p->outstanding != 0 || p->rest.nlb != 0)
		return;
	cpl = p->cpl;
	nvme__parent_put(p); /* before the callback, which may begin another */
	cb(arg, &cpl);
}

/* The rest of it cannot be sent: the queue or the namespace has come to an end. */
static void nvme__parent_give_up(struct nvme__parent *p, int rc)
{
	struct nvme_cpl cpl;

	NVME__DEV_LOG(&p->ns->ctrlr->dev, NVME_LOG_ERROR,
	              "the last %" PRIu64 " blocks of a transfer, from %" PRIu64
	              " on, are not sent on queue %u (%s): begin them anew",
	              p->rest.nlb, p->rest.slba, p->qp->id, strerror(-rc));
	nvme__cpl_set_none(&cpl, p->qp->id);
	if (rc == -ESHUTDOWN)
		cpl.status = (uint16_t)(NVME_SC_ABORTED_SQ_DELETION << 1);
	nvme__parent_note(p, p->rest.slba, &cpl);
	nvme__parent_end_if_done(p);
}

/* A CID is free: whoever waits sends what it can. Who is passed over has a child outstanding. */
static void nvme__scatter_go_on(struct nvme__scatter *pool)
{
	struct nvme__parent *p = pool->waiting;
	int rc;

	while (p != NULL) {
		rc = nvme__parent_send(p);
		if (rc == -EAGAIN && p->qp->num_free == 0)
			return;
		if (rc == -EAGAIN) {
			p = p->next;
			continue;
		}
		if (rc != 0)
			nvme__parent_give_up(p, rc);
		else
			nvme__parent_stop_waiting(p);
		p = pool->waiting; /* callbacks may have changed the list */
	}
}

/*
 * The callback of every child. The tracker is free by now, but nobody has used it yet: its command
 * still says which blocks they were. The parent has this child outstanding until the others were
 * sent, so that it does not end meanwhile.
 */
static void nvme__child_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme__parent *p = (struct nvme__parent *)arg;
	const struct nvme_cmd *cmd = &p->qp->trackers[cpl->cid].cmd;

	nvme__parent_note(p, NVME_RW_SLBA(cmd->cdw10, cmd->cdw11), cpl);
	p->ending = true;
	nvme__scatter_go_on(p->qp->scatter);
	p->ending = false;
	p->outstanding--;
	nvme__parent_end_if_done(p);
}

/* ---- the calls ---- */

/* -EINVAL: the pieces are not so many blocks. */
static int nvme__check_iov(const struct nvme_ns *ns, const struct iovec *iov, int iovcnt,
                           uint64_t nlb)
{
	uint64_t total = 0;
	int i;

	for (i = 0; iov != NULL && i < iovcnt; i++) {
		if (iov[i].iov_len > UINT64_MAX - total)
			break;
		total += iov[i].iov_len;
	}
	if (i == iovcnt && total % ns->extended_sector_size == 0 &&
	    total / ns->extended_sector_size == nlb)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "a read or write of %" PRIu64 " blocks of %" PRIu32
	              " bytes is refused, since its pieces have %" PRIu64
	              " bytes: let iov name as much memory as there are blocks",
	              nlb, ns->extended_sector_size, total);
	return -EINVAL;
}

/* The checks of nvme_ns_cmd_read(), but for the size. */
static int nvme__check_scatter(const struct nvme_ns *ns, const struct nvme_qpair *qp, uint64_t slba,
                               uint64_t nlb, uint32_t io_flags, nvme_cmd_cb cb)
{
	int rc;

	if ((io_flags & ~NVME__SCATTER_FLAGS) != 0 || cb == NULL || qp->ctrlr != ns->ctrlr)
		return nvme__refuse_rw(ns, qp, slba, 1, io_flags & ~NVME_IO_FLAGS_SGL, cb);
	rc = nvme__qpair_refusal(qp);
	if (rc == 0)
		rc = nvme__refuse_blocks(ns, slba, nlb);
	if (rc != 0 || nvme_ns_get_max_nlb(ns, qp) != 0)
		return rc;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "queue pair %u cannot carry a block of %" PRIu32
	              " bytes: create it with a larger max_xfer_size",
	              qp->id, ns->extended_sector_size);
	return -EMSGSIZE;
}

/* All that can be refused is, before the first child is sent. */
static int nvme__parent_prepare(struct nvme__parent *p, const struct iovec *iov, int iovcnt)
{
	int rc;

	if ((p->io_flags & NVME_IO_FLAGS_SGL) != 0 && p->qp->scatter->max_descs == 0) {
		NVME__DEV_LOG(&p->ns->ctrlr->dev, NVME_LOG_ERROR,
		              "the controller takes no SGLs (SGLS of Identify Controller): leave NVME_IO_FLAGS_SGL out");
		return -EOPNOTSUPP;
	}
	rc = nvme__parent_take_iov(p, iov, iovcnt);
	return rc != 0 ? rc : nvme__parent_try_cuts(p);
}

/* Everything is checked, and sent as far as there are CIDs. */
static int nvme__parent_start(struct nvme__parent *p, const struct iovec *iov, int iovcnt)
{
	int rc = nvme__parent_prepare(p, iov, iovcnt);

	if (rc == 0)
		rc = nvme__parent_send(p);
	if (rc == 0)
		return 0;
	if (p->outstanding == 0)
		nvme__parent_put(p);
	else if (rc == -EAGAIN)
		nvme__parent_wait(p);
	else
		nvme__parent_give_up(p, rc);
	return p->outstanding == 0 ? rc : 0;
}

static int nvme__ns_cmd_rwv(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc,
                            const struct iovec *iov, int iovcnt, uint64_t slba, uint64_t nlb,
                            nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	struct nvme__scatter *pool;
	struct nvme__parent *p;
	int rc;

	rc = nvme__check_scatter(ns, qp, slba, nlb, io_flags, cb);
	if (rc == 0)
		rc = nvme__check_iov(ns, iov, iovcnt, nlb);
	if (rc != 0)
		return rc;
	if (qp->num_free == 0)
		return -EAGAIN;
	pool = nvme__scatter_pool(qp);
	if (pool == NULL)
		return -ENOMEM;
	p = nvme__parent_get(pool);
	if (p == NULL)
		return -EAGAIN;
	p->qp = qp;
	p->ns = ns;
	p->cb = cb;
	p->cb_arg = arg;
	p->rest.slba = slba;
	p->rest.nlb = nlb;
	p->failed = UINT64_MAX;
	p->block = ns->extended_sector_size;
	p->max_nlb = nvme_ns_get_max_nlb(ns, qp);
	p->io_flags = io_flags;
	p->opc = opc;
	p->one_by_one = opc == NVME_OPC_WRITE && ns->zone_size != 0;
	return nvme__parent_start(p, iov, iovcnt);
}

NVMEDEF int nvme_ns_cmd_readv(struct nvme_ns *ns, struct nvme_qpair *qp, const struct iovec *iov,
                              int iovcnt, uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                              uint32_t io_flags)
{
	return nvme__ns_cmd_rwv(ns, qp, NVME_OPC_READ, iov, iovcnt, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_cmd_writev(struct nvme_ns *ns, struct nvme_qpair *qp, const struct iovec *iov,
                               int iovcnt, uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                               uint32_t io_flags)
{
	return nvme__ns_cmd_rwv(ns, qp, NVME_OPC_WRITE, iov, iovcnt, slba, nlb, cb, arg, io_flags);
}

/* One piece of so many blocks; where they are more bytes than there are addresses, all of these. */
static int nvme__ns_cmd_rw_large(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc, void *buf,
                                 uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                                 uint32_t io_flags)
{
	struct iovec iov;
	int rc = nvme__check_scatter(ns, qp, slba, nlb, io_flags, cb);

	if (rc != 0)
		return rc;
	if (buf == NULL || nlb > SIZE_MAX / 2 / ns->extended_sector_size)
		return nvme__explain_buffer(qp, buf, UINT32_MAX, -EFAULT, NVME__HERE);
	iov.iov_base = buf;
	iov.iov_len = (size_t)nlb * ns->extended_sector_size;
	return nvme__ns_cmd_rwv(ns, qp, opc, &iov, 1, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_cmd_read_large(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                   uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                                   uint32_t io_flags)
{
	return nvme__ns_cmd_rw_large(ns, qp, NVME_OPC_READ, buf, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_cmd_write_large(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                    uint64_t slba, uint64_t nlb, nvme_cmd_cb cb, void *arg,
                                    uint32_t io_flags)
{
	return nvme__ns_cmd_rw_large(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
}

/* ============================================================================================
 * >>format
 *
 * Format NVM: erases, and with it changes the size of blocks [Base 2.1: Format NVM command].
 * ============================================================================================ */

#define NVME__FORMAT_MS 600000u

static void nvme__events_keep_alive(struct nvme_ctrlr *ctrlr);

/* Refuses what the controller would refuse, before anything is erased. */
static int nvme__ctrlr_check_format(struct nvme_ctrlr *ctrlr, uint32_t nsid,
                                    const struct nvme_format *format)
{
	const struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

	if ((ctrlr->data.oacs & NVME_OACS_FORMAT) == 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the controller has no Format NVM command (OACS bit 1): overwrite the blocks instead");
		return -ENOTSUP;
	}
	if (nsid == 0 || format->lbaf > 63 || format->mset > 1 || format->pi > 3 ||
	    format->pil > 1 || format->ses > 2 ||
	    (ns != NULL && format->lbaf > ns->data.nlbaf + ns->data.nulbaf)) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "a format of namespace %" PRIu32
		              " with lbaf %u, mset %u, pi %u, pil %u, ses %u was asked for: see nvme_ns_get_data()->lbaf for the formats, and struct nvme_format for the rest",
		              nsid, format->lbaf, format->mset, format->pi, format->pil,
		              format->ses);
		return -EINVAL;
	}
	return 0;
}

/* How far it is, from the one field of Identify Namespace that is for this. */
static void nvme__ctrlr_log_format_progress(struct nvme_ctrlr *ctrlr, uint32_t nsid)
{
	const struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);
	struct nvme_id_ns data;

	if (ns == NULL || NVME_GET(ns->data.fpi, NVME_FPI_SUPPORTED) == 0 ||
	    ctrlr->adminq->num_free == 0)
		return;
	if (nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_NS, nsid, 0, &data) == 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
		              "Format NVM of namespace %" PRIu32 ": %u %% remain", nsid,
		              NVME_GET(data.fpi, NVME_FPI_REMAINING));
}

/*
 * Waits as nvme_wait_for_completion() does, and says once a second how far the format is. The admin
 * queue is the caller's for one round of polls at a time: others may need it during these hours.
 */
static int nvme__ctrlr_wait_for_format(struct nvme_ctrlr *ctrlr, struct nvme__sync *sync,
                                       uint32_t nsid, uint32_t timeout_ms)
{
	uint64_t start = nvme__now_ms(ctrlr), next = start + 1000;
	int late = 0;

	while (!sync->done && late == 0) {
		nvme__ctrlr_unlock(ctrlr);
		sched_yield();
		nvme__ctrlr_lock(ctrlr);
		late = nvme__wait_a_little(ctrlr->adminq, start + timeout_ms);
		nvme__events_keep_alive(ctrlr);
		if (!sync->done && late == 0 && nvme__now_ms(ctrlr) >= next) {
			nvme__ctrlr_log_format_progress(ctrlr, nsid);
			next = nvme__now_ms(ctrlr) + 1000;
		}
	}
	if (sync->done)
		return nvme_cpl_is_error(&sync->cpl) ? -EIO : 0;
	nvme__sync_abandon(ctrlr->adminq, sync);
	return late < 0 ? late : nvme__explain_timeout(ctrlr->adminq, timeout_ms, NVME__HERE);
}

NVMEDEF int nvme_ctrlr_format(struct nvme_ctrlr *ctrlr, uint32_t nsid,
                              const struct nvme_format *format, struct nvme_cpl *cpl)
{
	uint32_t timeout = format->timeout_ms != 0 ? format->timeout_ms : NVME__FORMAT_MS;
	struct nvme__sync sync;
	struct nvme_cmd cmd;
	int rc, settled;

	memset(&sync, 0, sizeof(sync));
	nvme__cpl_set_none(&sync.cpl, 0);
	rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_format()");
	nvme__ctrlr_lock(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_check_format(ctrlr, nsid, format);
	if (rc == 0) {
		nvme__cmd_init(&cmd, NVME_OPC_FORMAT_NVM, nsid);
		cmd.cdw10 = NVME_SET(format->lbaf & 15u, NVME_FORMAT_LBAFL) |
		            NVME_SET(format->lbaf >> 4, NVME_FORMAT_LBAFU) |
		            NVME_SET(format->mset, NVME_FORMAT_MSET) |
		            NVME_SET(format->pi, NVME_FORMAT_PI) |
		            NVME_SET(format->pil, NVME_FORMAT_PIL) |
		            NVME_SET(format->ses, NVME_FORMAT_SES);
		nvme__ctrlr_expect_ns_change(ctrlr, &cmd);
		rc = nvme__submit_sync(ctrlr->adminq, &cmd, NULL, 0, &sync,
		                       nvme__now_ms(ctrlr) + timeout);
		if (rc != 0)
			nvme__ctrlr_forget_ns_change(ctrlr);
		else
			rc = nvme__ctrlr_wait_for_format(ctrlr, &sync, nsid, timeout);
	}
	if (cpl != NULL)
		*cpl = sync.cpl;
	settled = ctrlr->ns_changing ? nvme__ctrlr_settle_namespaces(ctrlr) : 0;
	nvme__ctrlr_unlock(ctrlr);
	return rc != 0 ? rc : settled;
}

/* ============================================================================================
 * >>metadata
 *
 * Metadata of blocks in a buffer of its own or behind each block, and protection information in it
 * [NVM 1.1: Metadata, End-to-end Data Protection].
 * ============================================================================================ */

#define NVME__IO_FLAGS_PRCHK \
	(NVME_IO_FLAGS_PRCHK_REFTAG | NVME_IO_FLAGS_PRCHK_APPTAG | NVME_IO_FLAGS_PRCHK_GUARD)
#define NVME__IO_FLAGS_PI (NVME__IO_FLAGS_PRCHK | NVME_IO_FLAGS_PRACT)

/* ---- reads and writes ---- */

/* What a read or write is to move, and with what tags. */
struct nvme__md_rw {
	uint8_t opc;
	uint32_t io_flags;
	uint16_t apptag_mask, apptag;
	uint32_t ms, pi;   /* bytes of metadata of a block, type of protection information */
	uint32_t in_buf;   /* bytes of a block in buf ... */
	uint32_t in_md;    /* ... and in md; 0: md is not used */
	bool md_must_be_0; /* the namespace has no use for md, whatever the flags */
};

/* PRACT, where the metadata is nothing else: then it does not leave the controller. */
static void nvme__md_measure(const struct nvme_ns *ns, struct nvme__md_rw *rw)
{
	const struct nvme_lbaf *lbaf = nvme__ns_find_lbaf(&ns->data);
	bool stays;

	rw->ms = lbaf != NULL ? lbaf->ms : 0;
	rw->pi = NVME_GET(ns->data.dps, NVME_DPS_PIT);
	stays = rw->pi != 0 && (rw->io_flags & NVME_IO_FLAGS_PRACT) != 0 &&
	        rw->ms == sizeof(struct nvme_pi);
	rw->in_buf = stays ? ns->sector_size : ns->extended_sector_size;
	rw->in_md = ns->separate_metadata && !stays ? rw->ms : 0;
	rw->md_must_be_0 = !ns->separate_metadata;
}

/* What is wrong with flags and md; NULL: nothing. */
static const char *nvme__md_find_wrong(const struct nvme__md_rw *rw, const void *md)
{
	if ((rw->io_flags & ~(NVME__IO_FLAGS | NVME__IO_FLAGS_PI)) != 0)
		return "a flag is unknown";
	if (rw->pi == 0 && (rw->io_flags & NVME__IO_FLAGS_PI) != 0)
		return "PRACT or PRCHK is set, but the namespace has no protection information: leave these flags out";
	if (rw->pi == 3 && (rw->io_flags & NVME_IO_FLAGS_PRCHK_REFTAG) != 0)
		return "PRCHK_REFTAG is set, but type 3 has no reference tag to check: leave it out";
	if (rw->in_md != 0 && md == NULL)
		return "md is NULL, but the metadata is separate from the data: give a buffer for it";
	if (rw->md_must_be_0 && md != NULL)
		return "md is given, but the namespace has no metadata apart from the data: give NULL";
	return NULL;
}

/* Refuses what must not reach the device. Afterwards rw says how much there is to move. */
static int nvme__md_check(const struct nvme_ns *ns, uint64_t slba, uint64_t nlb, const void *md,
                          struct nvme__md_rw *rw)
{
	const char *why;
	int rc = nvme__refuse_blocks_md(ns, slba, nlb, true);

	if (rc != 0)
		return rc;
	nvme__md_measure(ns, rw);
	if (rw->pi > 3 || (rw->pi != 0 && rw->ms < sizeof(struct nvme_pi))) {
		NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
		              "namespace %" PRIu32
		              " reports protection information of type %" PRIu32 " in %" PRIu32
		              " bytes of metadata, which does not exist: format it anew",
		              ns->id, rw->pi, rw->ms);
		return -ENOTSUP;
	}
	why = nvme__md_find_wrong(rw, md);
	if (why == NULL)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "a read or write with metadata of namespace %" PRIu32 " is refused (%s)",
	              ns->id, why);
	return -EINVAL;
}

/* Does one command carry so many blocks? */
static int nvme__md_check_size(const struct nvme_ns *ns, const struct nvme_qpair *qp, uint32_t nlb,
                               const struct nvme__md_rw *rw)
{
	uint32_t max = qp->max_xfer_size / rw->in_buf;

	max = max < 65536 ? max : 65536;
	if (nlb <= max)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "%" PRIu32
	              " blocks are too many for one command on queue pair %u: send at most %" PRIu32,
	              nlb, qp->id, max);
	return -EMSGSIZE;
}

/*
 * The command, without its pointers. The reference tag of the first block is that of its LBA; a
 * controller counts on from there [NVM 1.1: Read command, Write command, CDW12, CDW14, CDW15].
 */
static void nvme__md_fill(struct nvme_cmd *cmd, const struct nvme_ns *ns, uint64_t slba,
                          uint32_t nlb, const struct nvme__md_rw *rw)
{
	nvme__cmd_init(cmd, rw->opc, ns->id);
	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
	cmd->cdw12 = NVME_SET(nlb - 1, NVME_RW_NLB) | rw->io_flags;
	if (rw->pi == 0)
		return;
	cmd->cdw14 = rw->pi == 3 ? 0 : (uint32_t)slba;
	cmd->cdw15 = NVME_SET(rw->apptag_mask, NVME_RW_LBATM) | NVME_SET(rw->apptag, NVME_RW_LBAT);
}

/* MPTR: the address of one piece of memory, dword aligned [Base 2.1 §4.1.1, Fig. 92: Common
 * Command Format]. buf is where the data is. */
static int nvme__md_pointer(const struct nvme_qpair *qp, struct nvme_cmd *cmd, const void *buf,
                            const void *md, uint32_t len)
{
	if (len == 0)
		return 0;
	if (((uintptr_t)md & 3) != 0 || nvme_dma_iova(qp->ctrlr, md, len, &cmd->mptr) != 0)
		return nvme__explain_buffer(qp, md, len, -EFAULT, NVME__HERE);
	return nvme__cmb_refuse_md(qp->ctrlr, cmd->opc, buf, md, len);
}

/* All checks, then the same steps as any read or write. */
static int nvme__ns_cmd_rw_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                              uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                              struct nvme__md_rw *rw)
{
	struct nvme_cmd cmd;
	int rc;

	if (qp == NULL || qp->ctrlr != ns->ctrlr)
		return nvme__refuse_qpair(ns->ctrlr, qp);
	rc = nvme__qpair_refusal(qp);
	if (rc == 0)
		rc = nvme__md_check(ns, slba, nlb, md, rw);
	if (rc == 0)
		rc = nvme__md_check_size(ns, qp, nlb, rw);
	if (rc != 0)
		return rc;
	nvme__md_fill(&cmd, ns, slba, nlb, rw);
	rc = nvme__check_raw(qp, &cmd, buf, nlb * rw->in_buf, cb != NULL);
	if (rc == 0)
		rc = nvme__md_pointer(qp, &cmd, buf, md, nlb * rw->in_md);
	return rc != 0 ? rc : nvme__submit_raw(qp, &cmd, buf, nlb * rw->in_buf, cb, arg);
}

static struct nvme__md_rw nvme__md_rw_of(uint8_t opc, uint32_t io_flags, uint16_t apptag_mask,
                                         uint16_t apptag)
{
	struct nvme__md_rw rw;

	memset(&rw, 0, sizeof(rw));
	rw.opc = opc;
	rw.io_flags = io_flags;
	rw.apptag_mask = apptag_mask;
	rw.apptag = apptag;
	return rw;
}

NVMEDEF int nvme_ns_cmd_read_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                                     uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                                     uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag)
{
	struct nvme__md_rw rw = nvme__md_rw_of(NVME_OPC_READ, io_flags, apptag_mask, apptag);

	return nvme__ns_cmd_rw_md(ns, qp, buf, md, slba, nlb, cb, arg, &rw);
}

NVMEDEF int nvme_ns_cmd_write_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                      void *md, uint64_t slba, uint32_t nlb, nvme_cmd_cb cb,
                                      void *arg, uint32_t io_flags, uint16_t apptag_mask,
                                      uint16_t apptag)
{
	struct nvme__md_rw rw = nvme__md_rw_of(NVME_OPC_WRITE, io_flags, apptag_mask, apptag);

	return nvme__ns_cmd_rw_md(ns, qp, buf, md, slba, nlb, cb, arg, &rw);
}

/* ---- calls that wait ---- */

/* With metadata apart from the data: both go through one bounce buffer, the data first. */
static int nvme__md_bounce_and_wait(struct nvme_qpair *qp, struct nvme_cmd *cmd, void *buf,
                                    uint32_t len, void *md, uint32_t md_len, struct nvme_cpl *cpl)
{
	uint32_t at = (uint32_t)nvme__round_up(len, 4);
	struct nvme__bounce *bounce;
	bool write = cmd->opc == NVME_OPC_WRITE;
	int rc;

	bounce = nvme__bounce_get(qp, at + md_len, &rc);
	if (bounce == NULL)
		return rc;
	memset(bounce->buf, 0, at + md_len); /* of what the last call left nothing may come back */
	if (write) {
		memcpy(bounce->buf, buf, len);
		memcpy(bounce->buf + at, md, md_len);
	}
	rc = nvme__md_pointer(qp, cmd, bounce->buf, bounce->buf + at, md_len);
	if (rc == 0)
		rc = nvme__submit_and_wait(qp, cmd, bounce->buf, len, &bounce->lent, cpl);
	if (rc == 0 && !write) {
		memcpy(buf, bounce->buf, len);
		memcpy(md, bounce->buf + at, md_len);
	}
	return rc;
}

/* One piece. What begins in a DMA buffer and leaves it is refused: a copy would run over others. */
static int nvme__md_command_and_wait(struct nvme_qpair *qp, struct nvme_cmd *cmd, void *buf,
                                     uint32_t len, void *md, uint32_t md_len, struct nvme_cpl *cpl)
{
	int direct, md_direct, rc;

	if (md_len == 0)
		return nvme__command_and_wait(qp, cmd, buf, len, cpl);
	nvme__cpl_set_none(cpl, qp->id);
	if (qp->polling != 0)
		return nvme__explain_in_callback(qp, "a blocking function", NVME__HERE);
	rc = nvme__qpair_refusal(qp);
	if (rc == 0)
		rc = nvme__check_raw(qp, cmd, buf, len, true);
	if (rc != 0)
		return rc;
	direct = nvme__is_dma_memory(qp->ctrlr, buf, len);
	if (direct < 0)
		return nvme__explain_buffer(qp, buf, len, direct, NVME__HERE);
	md_direct = nvme__is_dma_memory(qp->ctrlr, md, md_len);
	if (md_direct < 0)
		return nvme__explain_buffer(qp, md, md_len, md_direct, NVME__HERE);
	if (!direct || !md_direct)
		return nvme__md_bounce_and_wait(qp, cmd, buf, len, md, md_len, cpl);
	rc = nvme__md_pointer(qp, cmd, buf, md, md_len);
	return rc != 0 ? rc : nvme__submit_and_wait(qp, cmd, buf, len, NULL, cpl);
}

/* Blocks of one piece: what is copied is at most twice max_xfer_size, or one block. */
static uint32_t nvme__md_piece(const struct nvme_qpair *qp, const struct nvme__md_rw *rw)
{
	uint32_t block = rw->in_md > rw->in_buf ? rw->in_md : rw->in_buf;
	uint32_t max = qp->max_xfer_size / block;

	return max == 0 ? 1 : max < 65536 ? max : 65536;
}

static int nvme__ns_rw_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                          uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl, struct nvme__md_rw *rw)
{
	uint8_t *at = (uint8_t *)buf, *md_at = (uint8_t *)md;
	struct nvme_cpl local;
	struct nvme_cmd cmd;
	uint32_t piece;
	int rc;

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	rc = nvme__md_check(ns, slba, nlb, md, rw);
	if (rc == 0)
		rc = nvme__ctrlr_sync_qpair(ns->ctrlr, &qp);
	if (rc == 0)
		rc = nvme__md_check_size(ns, qp, 1, rw);
	while (rc == 0 && nlb != 0) {
		piece = nvme_ns_next_piece(ns, nvme__md_piece(qp, rw), slba, nlb);
		nvme__md_fill(&cmd, ns, slba, piece, rw);
		rc = nvme__md_command_and_wait(qp, &cmd, at, piece * rw->in_buf, md_at,
		                               piece * rw->in_md, cpl);
		at += (size_t)piece * rw->in_buf;
		if (md_at != NULL)
			md_at += (size_t)piece * rw->in_md;
		slba += piece;
		nlb -= piece;
	}
	return rc;
}

NVMEDEF int nvme_ns_read_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, void *md,
                                 uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl,
                                 uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag)
{
	struct nvme__md_rw rw = nvme__md_rw_of(NVME_OPC_READ, io_flags, apptag_mask, apptag);

	return nvme__ns_rw_md(ns, qp, buf, md, slba, nlb, cpl, &rw);
}

NVMEDEF int nvme_ns_write_with_md(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                                  const void *md, uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl,
                                  uint32_t io_flags, uint16_t apptag_mask, uint16_t apptag)
{
	struct nvme__md_rw rw = nvme__md_rw_of(NVME_OPC_WRITE, io_flags, apptag_mask, apptag);

	return nvme__ns_rw_md(ns, qp, (void *)(uintptr_t)buf, (void *)(uintptr_t)md, slba, nlb, cpl,
	                      &rw);
}

/* ---- protection information ---- */

/* Half a byte at a time: entry n is what the polynomial 8BB7h makes of n in the highest bits. */
NVMEDEF uint16_t nvme_crc16_t10dif(uint16_t init, const void *buf, size_t len)
{
	static const uint16_t table[16] = {0x0000, 0x8bb7, 0x9cd9, 0x176e, 0xb205, 0x39b2,
	                                   0x2edc, 0xa56b, 0xefbd, 0x640a, 0x7364, 0xf8d3,
	                                   0x5db8, 0xd60f, 0xc161, 0x4ad6};
	const uint8_t *at = (const uint8_t *)buf;
	uint32_t crc = init;

	for (; len != 0; at++, len--) {
		crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ *at >> 4) & 15];
		crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ *at) & 15];
	}
	return (uint16_t)crc;
}

NVMEDEF int nvme_pi_ctx_init(struct nvme_pi_ctx *ctx, const struct nvme_ns *ns, uint64_t slba,
                             uint32_t flags, uint16_t app_tag_mask, uint16_t app_tag)
{
	const struct nvme_lbaf *lbaf = nvme__ns_find_lbaf(&ns->data);

	memset(ctx, 0, sizeof(*ctx));
	ctx->block_size = ns->sector_size;
	ctx->md_size = lbaf != NULL ? lbaf->ms : 0;
	ctx->extended = !ns->separate_metadata;
	ctx->first = NVME_GET(ns->data.dps, NVME_DPS_PIP) != 0;
	ctx->type = (uint8_t)NVME_GET(ns->data.dps, NVME_DPS_PIT);
	ctx->flags = flags & NVME__IO_FLAGS_PRCHK;
	ctx->app_tag = app_tag;
	ctx->app_tag_mask = app_tag_mask;
	ctx->ref_tag = ctx->type == 3 ? 0 : (uint32_t)slba;
	if (ctx->type >= 1 && ctx->type <= 3 && ctx->md_size >= sizeof(struct nvme_pi))
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "namespace %" PRIu32
	              " has no protection information: see pi of struct nvme_format",
	              ns->id);
	return -ENOTSUP;
}

static bool nvme__pi_ctx_ok(const struct nvme_pi_ctx *ctx, const void *buf, const void *md)
{
	return ctx->type >= 1 && ctx->type <= 3 && ctx->block_size != 0 &&
	       ctx->md_size >= sizeof(struct nvme_pi) && buf != NULL &&
	       ctx->extended == (md == NULL);
}

/* Where a block and its metadata are, and where in that its protection information. */
struct nvme__pi_block {
	size_t data, md; /* offsets in buf, and in buf or md */
	size_t pi;       /* offset in the metadata */
};

static struct nvme__pi_block nvme__pi_locate(const struct nvme_pi_ctx *ctx, uint32_t block)
{
	size_t stride = (size_t)ctx->block_size + (ctx->extended ? ctx->md_size : 0);
	struct nvme__pi_block b;

	b.data = block * stride;
	b.md = ctx->extended ? b.data + ctx->block_size : (size_t)block * ctx->md_size;
	b.pi = ctx->first ? 0 : ctx->md_size - sizeof(struct nvme_pi);
	return b;
}

/* Over the data, and over what there is of metadata before the protection information. */
static uint16_t nvme__pi_guard(const struct nvme_pi_ctx *ctx, const struct nvme__pi_block *b,
                               const uint8_t *data, const uint8_t *md)
{
	return nvme_crc16_t10dif(nvme_crc16_t10dif(0, data, ctx->block_size), md, b->pi);
}

static uint32_t nvme__pi_ref_tag(const struct nvme_pi_ctx *ctx, uint32_t block)
{
	return ctx->type == 3 ? ctx->ref_tag : ctx->ref_tag + block;
}

/* A number of 2 or 4 bytes, the highest first. */
static void nvme__pi_put(uint8_t *at, size_t size, uint32_t value)
{
	for (; size != 0; size--, value >>= 8)
		at[size - 1] = (uint8_t)value;
}

static uint32_t nvme__pi_get(const uint8_t *at, size_t size)
{
	uint32_t value = 0;

	for (; size != 0; size--)
		value = value << 8 | *at++;
	return value;
}

NVMEDEF int nvme_pi_generate(const struct nvme_pi_ctx *ctx, void *buf, void *md, uint32_t nlb)
{
	uint8_t *in = (uint8_t *)(ctx->extended ? buf : md);
	uint32_t i;

	if (!nvme__pi_ctx_ok(ctx, buf, md))
		return -EINVAL;
	for (i = 0; i < nlb; i++) {
		struct nvme__pi_block b = nvme__pi_locate(ctx, i);
		uint8_t *pi = in + b.md + b.pi;

		nvme__pi_put(pi + offsetof(struct nvme_pi, guard), 2,
		             nvme__pi_guard(ctx, &b, (uint8_t *)buf + b.data, in + b.md));
		nvme__pi_put(pi + offsetof(struct nvme_pi, app_tag), 2, ctx->app_tag);
		nvme__pi_put(pi + offsetof(struct nvme_pi, ref_tag), 4, nvme__pi_ref_tag(ctx, i));
	}
	return 0;
}

/* Compares one field, if it is to be. */
static int nvme__pi_compare(const struct nvme_pi_ctx *ctx, uint32_t flag, uint8_t sc,
                            uint32_t expected, uint32_t actual, struct nvme_pi_error *err)
{
	if ((ctx->flags & flag) == 0 || expected == actual)
		return 0;
	err->sc = sc;
	err->expected = expected;
	err->actual = actual;
	return -EILSEQ;
}

/* One block, in the order in which a controller reports: guard, application tag, reference tag. */
static int nvme__pi_verify_block(const struct nvme_pi_ctx *ctx, uint32_t block, const uint8_t *data,
                                 const uint8_t *in, struct nvme_pi_error *err)
{
	struct nvme__pi_block b = nvme__pi_locate(ctx, block);
	uint32_t app_tag, ref_tag;
	struct nvme_pi pi;
	int rc;

	memcpy(&pi, in + b.md + b.pi, sizeof(pi));
	app_tag = nvme__pi_get(pi.app_tag, 2);
	ref_tag = nvme__pi_get(pi.ref_tag, 4);
	if (app_tag == 0xffff && (ctx->type != 3 || ref_tag == 0xffffffff))
		return 0; /* "not checked": what a block has that was never written */
	err->block = block;
	rc = nvme__pi_compare(ctx, NVME_IO_FLAGS_PRCHK_GUARD, NVME_SC_GUARD_CHECK_ERROR,
	                      nvme__pi_guard(ctx, &b, data + b.data, in + b.md),
	                      nvme__pi_get(pi.guard, 2), err);
	if (rc == 0)
		rc = nvme__pi_compare(ctx, NVME_IO_FLAGS_PRCHK_APPTAG,
		                      NVME_SC_APPLICATION_TAG_CHECK_ERROR,
		                      (uint32_t)ctx->app_tag & ctx->app_tag_mask,
		                      app_tag & ctx->app_tag_mask, err);
	if (rc == 0 && ctx->type != 3)
		rc = nvme__pi_compare(ctx, NVME_IO_FLAGS_PRCHK_REFTAG,
		                      NVME_SC_REFERENCE_TAG_CHECK_ERROR,
		                      nvme__pi_ref_tag(ctx, block), ref_tag, err);
	return rc;
}

NVMEDEF int nvme_pi_verify(const struct nvme_pi_ctx *ctx, const void *buf, const void *md,
                           uint32_t nlb, struct nvme_pi_error *err)
{
	const uint8_t *in = (const uint8_t *)(ctx->extended ? buf : md);
	struct nvme_pi_error first;
	uint32_t i;
	int rc = 0;

	memset(&first, 0, sizeof(first));
	if (!nvme__pi_ctx_ok(ctx, buf, md))
		return -EINVAL;
	for (i = 0; i < nlb && rc == 0; i++)
		rc = nvme__pi_verify_block(ctx, i, (const uint8_t *)buf, in, &first);
	if (rc != 0 && err != NULL)
		*err = first;
	return rc;
}

/* ============================================================================================
 * >>commands
 *
 * The other commands of namespaces. Those of one SQE go the way of raw commands, after the checks of
 * a read; Compare is a read in all but its opcode. What takes more than one command, or data of the
 * driver's own, is an operation: struct nvme__op.
 * ============================================================================================ */

/*
 * A call that is more than a command. The queue pair keeps those that are not in use, with their DMA
 * memory, so that only the first of its operations allocate.
 *
 * Parts are sent one after the other. The next is submitted by the callback of the one before, when
 * there is a CID for certain: that one's. A fused pair is two commands at once instead.
 */
struct nvme__op {
	struct nvme__op *next; /* while it is not in use */
	struct nvme_qpair *qp;
	nvme_cmd_cb cb;
	void *arg;
	struct nvme_cmd cmd; /* the next part, but for what fill() puts into it */
	void (*fill)(struct nvme__op *op, uint32_t len);
	bool stop;           /* at the first error */
	uint8_t *at;         /* its data ... */
	uint32_t left, part; /* ... of so many bytes with all that follow; bytes of one part */
	uint64_t offset;     /* in a log page */
	uint8_t *data;       /* DMA memory of its own, of so many bytes */
	uint32_t room;
	struct nvme_cpl cpl;   /* the first error or, without any, the latest */
	struct nvme_cpl other; /* of a pair: what became of the write */
	uint32_t pending;      /* of a pair */
};

#define NVME__OP_KEEP 8192u /* bytes of DMA memory that an operation keeps for the next one */

static struct nvme__op *nvme__op_new(struct nvme_qpair *qp)
{
	struct nvme__op *op = qp->ops;

	if (op != NULL) {
		qp->ops = op->next;
		return op;
	}
	op = (struct nvme__op *)NVME_CALLOC(1, sizeof(*op));
	if (op != NULL)
		op->qp = qp;
	return op;
}

/* Not in use any more. Memory of a size that is rarely needed goes back. */
static void nvme__op_put(struct nvme__op *op)
{
	if (op->room > NVME__OP_KEEP) {
		nvme_dma_free(op->qp->ctrlr, op->data);
		op->data = NULL;
		op->room = 0;
	}
	op->next = op->qp->ops;
	op->qp->ops = op;
}

static void nvme__ops_free(struct nvme_qpair *qp)
{
	while (qp->ops != NULL) {
		struct nvme__op *op = qp->ops;

		qp->ops = op->next;
		nvme_dma_free(qp->ctrlr, op->data);
		NVME_FREE(op);
	}
}

/* An operation with so much DMA memory of its own. NULL: no memory, and the log says so. */
static struct nvme__op *nvme__op_get(struct nvme_qpair *qp, nvme_cmd_cb cb, void *arg,
                                     uint32_t room)
{
	struct nvme__op *op = nvme__op_new(qp);

	if (op == NULL)
		return NULL;
	if (op->room < room) {
		nvme_dma_free(qp->ctrlr, op->data);
		op->data = (uint8_t *)nvme_dma_alloc(qp->ctrlr, room);
		op->room = op->data != NULL ? room : 0;
	}
	if (op->room < room) {
		nvme__op_put(op);
		return NULL;
	}
	memset(&op->cpl, 0, sizeof(op->cpl));
	memset(&op->other, 0, sizeof(op->other));
	op->cb = cb;
	op->arg = arg;
	return op;
}

/* The caller's callback may start the next operation: this one is free before. */
static void nvme__op_end(struct nvme__op *op, const struct nvme_cpl *cpl)
{
	nvme_cmd_cb cb = op->cb;
	void *arg = op->arg;
	struct nvme_cpl copy = *cpl;

	nvme__op_put(op);
	cb(arg, &copy);
}

static void nvme__op_part_done(void *arg, const struct nvme_cpl *cpl);

/* Submits the next part. */
static int nvme__op_send(struct nvme__op *op)
{
	uint32_t len = op->left < op->part ? op->left : op->part;
	uint8_t *at = op->at;
	int rc;

	if (op->qp->ctrlr->closing)
		return -ESHUTDOWN;
	op->fill(op, len);
	rc = nvme__submit_raw(op->qp, &op->cmd, at, len, nvme__op_part_done, op);
	if (rc != 0)
		return rc;
	op->at += len;
	op->offset += len;
	op->left -= len;
	return 0;
}

static void nvme__op_part_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme__op *op = (struct nvme__op *)arg;
	bool failed;

	if (!nvme_cpl_is_error(&op->cpl))
		op->cpl = *cpl;
	failed = nvme_cpl_is_error(&op->cpl);
	if (op->left != 0 && !(failed && op->stop)) {
		if (nvme__op_send(op) == 0)
			return;
		if (!failed) /* the queue pair ends: nobody will complete the rest */
			nvme__cpl_set_none(&op->cpl, op->qp->id);
	}
	nvme__op_end(op, &op->cpl);
}

/* The first part; where it cannot be sent there was no operation. */
static int nvme__op_begin(struct nvme__op *op, void (*fill)(struct nvme__op *, uint32_t),
                          uint8_t *at, uint32_t len, uint32_t part)
{
	int rc;

	op->fill = fill;
	op->at = at;
	op->left = len;
	op->part = part;
	rc = nvme__op_send(op);
	if (rc != 0)
		nvme__op_put(op);
	return rc;
}

/* ---- checks ---- */

/* Why nothing of the kind can be sent on this queue pair, whatever the blocks. */
static int nvme__ns_check_qpair(const struct nvme_ns *ns, const struct nvme_qpair *qp,
                                nvme_cmd_cb cb)
{
	struct nvme_cmd none;
	int rc;

	if (qp == NULL || qp->ctrlr != ns->ctrlr)
		return nvme__refuse_qpair(ns->ctrlr, qp);
	rc = nvme__qpair_refusal(qp);
	if (rc != 0)
		return rc;
	nvme__cmd_init(&none, 0, 0);
	rc = nvme__qpair_refusal(qp);
	return rc != 0 ? rc : nvme__check_raw(qp, &none, NULL, 0, cb != NULL);
}

static int nvme__ns_check_oncs(const struct nvme_ns *ns, uint32_t bit, const char *what)
{
	if ((ns->ctrlr->data.oncs & bit) != 0)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "the controller has no %s command (ONCS bit %d): look with nvme_ns_get_flags() before you send it",
	              what, __builtin_ctz(bit));
	return -ENOTSUP;
}

/* Blocks of a command that has no data: metadata, wherever it is, does not matter. */
static int nvme__ns_check_range(const struct nvme_ns *ns, uint64_t slba, uint64_t nlb)
{
	int refuse = __atomic_load_n(&ns->refuse, __ATOMIC_ACQUIRE);

	if (refuse == 0 && nlb != 0 && slba < ns->nsze && nlb <= ns->nsze - slba)
		return 0;
	return nvme__refuse_blocks(ns, slba, nlb);
}

/* More than some limit of the controller's. */
static int nvme__ns_refuse_many(const struct nvme_ns *ns, uint64_t n, const char *of, uint64_t most,
                                const char *limit)
{
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "%" PRIu64 " %s are too many for one command: send at most %" PRIu64 " (%s)",
	              n, of, most, limit);
	return -EMSGSIZE;
}

static int nvme__ns_refuse_call(const struct nvme_ns *ns, const char *what, const char *why)
{
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR, "%s is refused (%s): see >>more in nvme.h",
	              what, why);
	return -EINVAL;
}

/* ---- commands with blocks but without data ---- */

static const struct nvme__no_data {
	uint8_t opc;
	uint32_t oncs, flags; /* support; flags of CDW12 that it takes */
	const char *name;
} nvme__no_data[] = {
	{NVME_OPC_WRITE_UNCORRECTABLE, NVME_ONCS_WRITE_UNC, 0, "Write Uncorrectable"},
	{NVME_OPC_WRITE_ZEROES, NVME_ONCS_WRITE_ZEROES, NVME__IO_FLAGS | NVME_IO_FLAGS_DEALLOCATE,
         "Write Zeroes"},
	{NVME_OPC_VERIFY, NVME_ONCS_VERIFY, NVME__IO_FLAGS, "Verify"},
};

static void nvme__fill_no_data(struct nvme_cmd *cmd, uint8_t opc, uint32_t nsid, uint64_t slba,
                               uint32_t nlb, uint32_t io_flags)
{
	nvme__cmd_init(cmd, opc, nsid);
	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
	cmd->cdw12 = (nlb - 1) | io_flags;
}

static int nvme__ns_check_no_data(const struct nvme_ns *ns, uint8_t opc, uint64_t slba,
                                  uint64_t nlb, uint32_t io_flags)
{
	const struct nvme__no_data *what = nvme__no_data;
	int rc;

	while (what->opc != opc)
		what++;
	rc = nvme__ns_check_oncs(ns, what->oncs, what->name);
	if (rc != 0)
		return rc;
	if ((io_flags & ~what->flags) != 0)
		return nvme__ns_refuse_call(ns, what->name, "a flag is unknown");
	return nvme__ns_check_range(ns, slba, nlb);
}

static int nvme__ns_cmd_no_data(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc,
                                uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                                uint32_t io_flags)
{
	struct nvme_cmd cmd;
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__ns_check_no_data(ns, opc, slba, nlb, io_flags);
	if (rc != 0)
		return rc;
	if (nlb > 65536)
		return nvme__ns_refuse_many(ns, nlb, "blocks", 65536, "NLB has 16 bits");
	nvme__fill_no_data(&cmd, opc, ns->id, slba, nlb, io_flags);
	return nvme__submit_io(ns->ctrlr, qp, &cmd, NULL, 0, cb, arg);
}

/* Pieces that a read could carry: a controller may have a lower limit than 65536 blocks. */
static int nvme__ns_no_data(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t opc, uint64_t slba,
                            uint64_t nlb, uint32_t io_flags, struct nvme_cpl *cpl)
{
	uint32_t most = nvme_ns_get_max_nlb(ns, NULL), piece;
	struct nvme_cmd cmd;
	int rc;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	rc = nvme__ns_check_no_data(ns, opc, slba, nlb, io_flags);
	while (rc == 0 && nlb != 0) {
		piece = (uint32_t)nvme__ns_in_zone(ns, slba, nlb < most ? nlb : most);
		nvme__fill_no_data(&cmd, opc, ns->id, slba, piece, io_flags);
		rc = nvme_ctrlr_io(ns->ctrlr, qp, &cmd, NULL, 0, cpl);
		slba += piece;
		nlb -= piece;
	}
	return rc;
}

NVMEDEF int nvme_ns_cmd_write_zeroes(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                     uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	return nvme__ns_cmd_no_data(ns, qp, NVME_OPC_WRITE_ZEROES, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_write_zeroes(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 uint64_t nlb, uint32_t io_flags, struct nvme_cpl *cpl)
{
	return nvme__ns_no_data(ns, qp, NVME_OPC_WRITE_ZEROES, slba, nlb, io_flags, cpl);
}

NVMEDEF int nvme_ns_cmd_write_uncorrectable(struct nvme_ns *ns, struct nvme_qpair *qp,
                                            uint64_t slba, uint32_t nlb, nvme_cmd_cb cb, void *arg)
{
	return nvme__ns_cmd_no_data(ns, qp, NVME_OPC_WRITE_UNCORRECTABLE, slba, nlb, cb, arg, 0);
}

NVMEDEF int nvme_ns_write_uncorrectable(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                        uint64_t nlb, struct nvme_cpl *cpl)
{
	return nvme__ns_no_data(ns, qp, NVME_OPC_WRITE_UNCORRECTABLE, slba, nlb, 0, cpl);
}

NVMEDEF int nvme_ns_cmd_verify(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	return nvme__ns_cmd_no_data(ns, qp, NVME_OPC_VERIFY, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_verify(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba, uint64_t nlb,
                           struct nvme_cpl *cpl)
{
	return nvme__ns_no_data(ns, qp, NVME_OPC_VERIFY, slba, nlb, 0, cpl);
}

/* ---- Compare ---- */

NVMEDEF int nvme_ns_cmd_compare(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint64_t slba,
                                uint32_t nlb, nvme_cmd_cb cb, void *arg, uint32_t io_flags)
{
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__ns_check_oncs(ns, NVME_ONCS_COMPARE, "Compare");
	if (rc != 0)
		return rc;
	return nvme__ns_cmd_rw(ns, qp, NVME_OPC_COMPARE, buf, slba, nlb, cb, arg, io_flags);
}

NVMEDEF int nvme_ns_compare(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                            uint64_t slba, uint64_t nlb, struct nvme_cpl *cpl)
{
	int rc = nvme__ns_check_oncs(ns, NVME_ONCS_COMPARE, "Compare");

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	if (rc != 0)
		return rc;
	return nvme__ns_rw(ns, qp, NVME_OPC_COMPARE, (void *)(uintptr_t)buf, slba, nlb, cpl);
}

/* ---- Dataset Management ---- */

#define NVME__DSM_RANGES     256u       /* of one command */
#define NVME__DSM_RANGE_MAX  (1u << 22) /* blocks that nvme_ns_deallocate() puts into one */
#define NVME__DSM_ATTRIBUTES (NVME_DSM_ATTR_READ | NVME_DSM_ATTR_WRITE | NVME_DSM_ATTR_DEALLOCATE)

static int nvme__ns_check_dsm(const struct nvme_ns *ns, uint32_t attributes,
                              const struct nvme_dsm_range *ranges, uint32_t num_ranges)
{
	int rc = nvme__ns_check_oncs(ns, NVME_ONCS_DSM, "Dataset Management");
	uint32_t i;

	if (rc != 0)
		return rc;
	if (ranges == NULL || num_ranges == 0)
		return nvme__ns_refuse_call(ns, "Dataset Management", "it has no ranges");
	if ((attributes & ~NVME__DSM_ATTRIBUTES) != 0)
		return nvme__ns_refuse_call(ns, "Dataset Management", "an attribute is unknown");
	if (num_ranges > UINT32_MAX / sizeof(*ranges))
		return nvme__ns_refuse_many(ns, num_ranges, "ranges", UINT32_MAX / sizeof(*ranges),
		                            "of one call");
	for (i = 0; i < num_ranges && rc == 0; i++)
		rc = nvme__ns_check_range(ns, ranges[i].slba, ranges[i].nlb);
	return rc;
}

/* NR is 0-based: 256 ranges are FFh. */
static void nvme__fill_dsm(struct nvme_cmd *cmd, uint32_t nsid, uint32_t attributes,
                           uint32_t num_ranges)
{
	nvme__cmd_init(cmd, NVME_OPC_DATASET_MANAGEMENT, nsid);
	cmd->cdw10 = NVME_SET(num_ranges - 1, NVME_DSM_NR);
	cmd->cdw11 = attributes;
}

static void nvme__op_fill_dsm(struct nvme__op *op, uint32_t len)
{
	uint32_t n = len / (uint32_t)sizeof(struct nvme_dsm_range);

	nvme__fill_dsm(&op->cmd, op->cmd.nsid, op->cmd.cdw11, n);
}

NVMEDEF int nvme_ns_cmd_dataset_management(struct nvme_ns *ns, struct nvme_qpair *qp,
                                           uint32_t attributes, const struct nvme_dsm_range *ranges,
                                           uint32_t num_ranges, nvme_cmd_cb cb, void *arg)
{
	uint32_t len = num_ranges * (uint32_t)sizeof(*ranges);
	int rc = nvme__ns_check_qpair(ns, qp, cb);
	struct nvme__op *op;

	if (rc == 0)
		rc = nvme__ns_check_dsm(ns, attributes, ranges, num_ranges);
	if (rc != 0)
		return rc;
	if (qp->num_free == 0)
		return -EAGAIN;
	op = nvme__op_get(qp, cb, arg, len);
	if (op == NULL)
		return -ENOMEM;
	memcpy(op->data, ranges, len);
	nvme__fill_dsm(&op->cmd, ns->id, attributes, 1);
	op->stop = false;
	return nvme__op_begin(op, nvme__op_fill_dsm, op->data, len,
	                      NVME__DSM_RANGES * (uint32_t)sizeof(*ranges));
}

NVMEDEF int nvme_ns_dataset_management(struct nvme_ns *ns, struct nvme_qpair *qp,
                                       uint32_t attributes, const struct nvme_dsm_range *ranges,
                                       uint32_t num_ranges, struct nvme_cpl *cpl)
{
	int rc = nvme__ns_check_dsm(ns, attributes, ranges, num_ranges);

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	while (rc == 0 && num_ranges != 0) {
		uint32_t n = num_ranges < NVME__DSM_RANGES ? num_ranges : NVME__DSM_RANGES;
		struct nvme_cmd cmd;

		nvme__fill_dsm(&cmd, ns->id, attributes, n);
		rc = nvme_ctrlr_io(ns->ctrlr, qp, &cmd, (void *)(uintptr_t)ranges,
		                   n * (uint32_t)sizeof(*ranges), cpl);
		ranges += n;
		num_ranges -= n;
	}
	return rc;
}

/* A range for each command: longer ones some controllers pass over without a word (DMRSL). */
NVMEDEF int nvme_ns_deallocate(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               uint64_t nlb, struct nvme_cpl *cpl)
{
	struct nvme_dsm_range range;
	int rc = nvme__ns_check_range(ns, slba, nlb);

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	memset(&range, 0, sizeof(range));
	while (rc == 0 && nlb != 0) {
		range.slba = slba;
		range.nlb = nlb < NVME__DSM_RANGE_MAX ? (uint32_t)nlb : NVME__DSM_RANGE_MAX;
		rc = nvme_ns_dataset_management(ns, qp, NVME_DSM_ATTR_DEALLOCATE, &range, 1, cpl);
		slba += range.nlb;
		nlb -= range.nlb;
	}
	return rc;
}

/* ---- Copy ---- */

/* Each range, and all of them: in the namespace, and within what it says it can copy at once. */
static int nvme__ns_check_copy_ranges(const struct nvme_ns *ns,
                                      const struct nvme_copy_range *ranges, uint32_t num_ranges,
                                      uint64_t dest_lba)
{
	uint64_t total = 0, nlb;
	uint32_t i;
	int rc = 0;

	for (i = 0; i < num_ranges && rc == 0; i++) {
		nlb = (uint64_t)ranges[i].nlb + 1;
		total += nlb;
		if (ns->data.mssrl != 0 && nlb > ns->data.mssrl)
			return nvme__ns_refuse_many(ns, nlb, "blocks of one range", ns->data.mssrl,
			                            "MSSRL");
		rc = nvme__ns_check_range(ns, ranges[i].slba, nlb);
	}
	if (rc == 0 && ns->data.mcl != 0 && total > ns->data.mcl)
		return nvme__ns_refuse_many(ns, total, "blocks", ns->data.mcl, "MCL");
	return rc != 0 ? rc : nvme__ns_check_range(ns, dest_lba, total);
}

static int nvme__ns_check_copy(const struct nvme_ns *ns, const struct nvme_copy_range *ranges,
                               uint32_t num_ranges, uint64_t dest_lba)
{
	int rc = nvme__ns_check_oncs(ns, NVME_ONCS_COPY, "Copy");

	if (rc != 0)
		return rc;
	if (ranges == NULL || num_ranges == 0)
		return nvme__ns_refuse_call(ns, "Copy", "it has no ranges");
	if (num_ranges > ns->data.msrc + 1u)
		return nvme__ns_refuse_many(ns, num_ranges, "ranges", ns->data.msrc + 1u, "MSRC");
	return nvme__ns_check_copy_ranges(ns, ranges, num_ranges, dest_lba);
}

/* NR is 0-based; the ranges are of format 0. */
static void nvme__fill_copy(struct nvme_cmd *cmd, uint32_t nsid, uint32_t num_ranges,
                            uint64_t dest_lba)
{
	nvme__cmd_init(cmd, NVME_OPC_COPY, nsid);
	cmd->cdw10 = (uint32_t)dest_lba;
	cmd->cdw11 = (uint32_t)(dest_lba >> 32);
	cmd->cdw12 = NVME_SET(num_ranges - 1, NVME_COPY_NR);
}

static void nvme__op_fill_nothing(struct nvme__op *op, uint32_t len)
{
	(void)op, (void)len; /* one part, and it is complete */
}

NVMEDEF int nvme_ns_cmd_copy(struct nvme_ns *ns, struct nvme_qpair *qp,
                             const struct nvme_copy_range *ranges, uint32_t num_ranges,
                             uint64_t dest_lba, nvme_cmd_cb cb, void *arg)
{
	uint32_t len = num_ranges * (uint32_t)sizeof(*ranges);
	int rc = nvme__ns_check_qpair(ns, qp, cb);
	struct nvme__op *op;

	if (rc == 0)
		rc = nvme__ns_check_copy(ns, ranges, num_ranges, dest_lba);
	if (rc != 0)
		return rc;
	if (qp->num_free == 0)
		return -EAGAIN;
	op = nvme__op_get(qp, cb, arg, len);
	if (op == NULL)
		return -ENOMEM;
	memcpy(op->data, ranges, len);
	nvme__fill_copy(&op->cmd, ns->id, num_ranges, dest_lba);
	return nvme__op_begin(op, nvme__op_fill_nothing, op->data, len, len);
}

NVMEDEF int nvme_ns_copy(struct nvme_ns *ns, struct nvme_qpair *qp,
                         const struct nvme_copy_range *ranges, uint32_t num_ranges,
                         uint64_t dest_lba, struct nvme_cpl *cpl)
{
	int rc = nvme__ns_check_copy(ns, ranges, num_ranges, dest_lba);
	struct nvme_cmd cmd;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	if (rc != 0)
		return rc;
	nvme__fill_copy(&cmd, ns->id, num_ranges, dest_lba);
	return nvme_ctrlr_io(ns->ctrlr, qp, &cmd, (void *)(uintptr_t)ranges,
	                     num_ranges * (uint32_t)sizeof(*ranges), cpl);
}

/* ---- Compare and Write, a fused pair [Base 2.1: Fused Operations] ---- */

/* Did it end because of the other half? */
static bool nvme__cpl_is_fused_abort(const struct nvme_cpl *cpl)
{
	uint32_t sc = NVME_GET(cpl->status, NVME_CPL_SC);

	return NVME_GET(cpl->status, NVME_CPL_SCT) == NVME_SCT_GENERIC &&
	       (sc == NVME_SC_ABORTED_FAILED_FUSED || sc == NVME_SC_ABORTED_MISSING_FUSED);
}

/* Both are complete: what matters is the error of its own that one of them has, or the write. */
static void nvme__fused_done(struct nvme__op *op)
{
	const struct nvme_cpl *compare = &op->cpl, *write = &op->other;
	bool own = nvme_cpl_is_error(compare) && !nvme__cpl_is_fused_abort(compare);

	if (--op->pending != 0)
		return;
	if (!own && !nvme_cpl_is_error(write) && nvme_cpl_is_error(compare))
		own = true; /* a write that was done although its compare was not */
	nvme__op_end(op, own ? compare : write);
}

static void nvme__fused_compare_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme__op *op = (struct nvme__op *)arg;

	op->cpl = *cpl;
	nvme__fused_done(op);
}

static void nvme__fused_write_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme__op *op = (struct nvme__op *)arg;

	op->other = *cpl;
	nvme__fused_done(op);
}

/* ACWU, or NACWU where the namespace has its own; both are 0-based. */
static uint32_t nvme__ns_atomic_compare(const struct nvme_ns *ns)
{
	if ((ns->data.nsfeat & NVME_NSFEAT_NATOMIC) != 0 && ns->data.nacwu != 0)
		return ns->data.nacwu + 1u;
	return ns->ctrlr->data.acwu + 1u;
}

static int nvme__ns_check_fused(const struct nvme_ns *ns, const struct nvme_qpair *qp,
                                uint64_t slba, uint32_t nlb, nvme_cmd_cb cb)
{
	uint64_t len;
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc != 0)
		return rc;
	if ((ns->ctrlr->data.fuses & NVME_FUSES_COMPARE_AND_WRITE) == 0) {
		NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
		              "the controller cannot fuse Compare and Write (FUSES bit 0): keep others from the blocks by other means");
		return -ENOTSUP;
	}
	if (qp->num_trackers < 2)
		return nvme__ns_refuse_call(ns, "Compare and Write",
		                            "the queue pair has room for one command only");
	if (!nvme__check_rw(ns, qp, slba, nlb, &len, 0, cb))
		return nvme__refuse_rw(ns, qp, slba, nlb, 0, cb);
	if (nlb > nvme__ns_atomic_compare(ns))
		return nvme__ns_refuse_many(ns, nlb, "blocks", nvme__ns_atomic_compare(ns),
		                            "ACWU or NACWU");
	return qp->num_free < 2 ? -EAGAIN : 0;
}

/* Half a pair: a tracker with its PRPs and its SQE, which is not in the ring yet. */
static int nvme__fused_half(struct nvme_tracker *tr, const struct nvme_ns *ns,
                            struct nvme_qpair *qp, uint8_t opc, const void *buf, uint64_t slba,
                            uint32_t nlb)
{
	uint32_t fuse = opc == NVME_OPC_COMPARE ? NVME_FUSE_FIRST : NVME_FUSE_SECOND;
	struct nvme_prp_pair prps;
	int rc = nvme__build_prps(qp, tr, opc, buf, nlb * ns->extended_sector_size, &prps);

	if (rc != 0)
		return rc;
	nvme__fill_rw(&tr->cmd, opc, tr->cid, ns->id, &prps, slba, nlb - 1);
	tr->cmd.flags = (uint8_t)NVME_SET(fuse, NVME_CMD_FUSE);
	return 0;
}

/*
 * Both into the ring, the second right behind the first, and the doorbell for both: the tail passes
 * the first one in silence, whatever delays doorbells.
 */
static void nvme__fused_submit(struct nvme_qpair *qp, struct nvme_tracker *first, const void *cmp,
                               struct nvme_tracker *second, const void *wr, uint32_t len)
{
	nvme_copy_command(&qp->sq[qp->sq_tail], &first->cmd);
	if (++qp->sq_tail == qp->entries)
		qp->sq_tail = 0;
	if (qp->unusual != 0)
		qp->delayed++;
	if ((qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme__print_submission(qp, first, cmp, len);
	nvme_copy_command(&qp->sq[qp->sq_tail], &second->cmd);
	nvme_qpair_submit_request(qp, second, wr, len);
}

NVMEDEF int nvme_ns_cmd_compare_and_write(struct nvme_ns *ns, struct nvme_qpair *qp, void *cmp_buf,
                                          void *wr_buf, uint64_t slba, uint32_t nlb, nvme_cmd_cb cb,
                                          void *arg)
{
	struct nvme_tracker *first, *second;
	struct nvme__op *op;
	int rc = nvme__ns_check_fused(ns, qp, slba, nlb, cb);

	if (rc != 0)
		return rc;
	op = nvme__op_get(qp, cb, arg, 0);
	if (op == NULL)
		return -ENOMEM;
	op->pending = 2;
	first = nvme__tracker_get(qp, nvme__fused_compare_done, op);
	second = nvme__tracker_get(qp, nvme__fused_write_done, op);
	rc = nvme__fused_half(first, ns, qp, NVME_OPC_COMPARE, cmp_buf, slba, nlb);
	if (rc == 0)
		rc = nvme__fused_half(second, ns, qp, NVME_OPC_WRITE, wr_buf, slba, nlb);
	if (rc != 0) {
		nvme__tracker_put(qp, second);
		nvme__tracker_put(qp, first);
		nvme__op_put(op);
		return rc;
	}
	nvme__fused_submit(qp, first, cmp_buf, second, wr_buf, nlb * ns->extended_sector_size);
	return 0;
}

/* ============================================================================================
 * >>zones
 *
 * Zoned namespaces: what Identify says of their zones, the commands that change, report and append,
 * and a report of all. The book of states is the controller's; what it says of it is not believed
 * without a look.
 * ============================================================================================ */

#define NVME__ZONE_REPORT \
	((uint32_t)1 << 16) /* bytes of a report of nvme_zns_get_zones(), at most */

/* ---- what Identify says ---- */

static struct nvme_zns_id_ns *nvme__ns_zns(const struct nvme_ns *ns)
{
	return &((struct nvme__ns_slot *)(uintptr_t)ns)->zns;
}

/* What goes with the LBA format in use. */
static const struct nvme_zns_lbafe *nvme__zns_lbafe(const struct nvme_ns *ns)
{
	return &nvme__ns_zns(ns)->lbafe[nvme_ns_get_format_index(&ns->data)];
}

/*
 * ZASL, the largest Zone Append: a power of two in pages of CAP.MPSMIN, 0 means that of MDTS [ZNS:
 * Identify Controller Data Structure]. Who does not tell it gets what MDTS allows.
 */
static int nvme__ctrlr_identify_append(struct nvme_ctrlr *ctrlr)
{
	struct nvme_zns_id_ctrlr data;
	int rc;

	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_CTRLR_IOCS, 0, NVME_CSI_ZNS, &data);
	if (rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0)
		data.zasl = 0;
	else if (rc != 0)
		return rc;
	ctrlr->max_append =
		nvme__max_xfer_from_mdts(data.zasl, NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN));
	return 0;
}

/* -ENOENT: a namespace whose zones make no sense is not used, for where would its commands end? */
static int nvme__ns_identify_zones(struct nvme_ns *ns)
{
	struct nvme_ctrlr *ctrlr = ns->ctrlr;
	struct nvme_zns_id_ns *zns = nvme__ns_zns(ns);
	uint64_t size = 0;
	int rc;

	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_NS_IOCS, ns->id, NVME_CSI_ZNS, zns);
	if (rc != 0 && (rc != -EIO || nvme__qpair_failed(ctrlr->adminq) != 0))
		return rc;
	if (rc == 0)
		size = nvme__zns_lbafe(ns)->zsze;
	if (size == 0 || size > ns->nsze) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "namespace %" PRIu32 " is left out: it is zoned, and %s", ns->id,
		              rc != 0     ? "the controller does not tell how (Identify CNS 05h)"
		              : size == 0 ? "its zones have no blocks (ZSZE)"
		                          : "one zone is larger than all of it (ZSZE)");
		return -ENOENT;
	}
	ns->zone_size = size;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_DEBUG,
	              "Namespace %" PRIu32 " has %" PRIu64 " zones of %" PRIu64 " blocks", ns->id,
	              ns->nsze / size, size);
	return ctrlr->max_append != 0 ? 0 : nvme__ctrlr_identify_append(ctrlr);
}

NVMEDEF uint8_t nvme_ns_get_csi(const struct nvme_ns *ns)
{
	return ns->csi;
}

NVMEDEF const struct nvme_zns_id_ns *nvme_zns_ns_get_data(const struct nvme_ns *ns)
{
	return ns->zone_size != 0 ? nvme__ns_zns(ns) : NULL;
}

NVMEDEF uint64_t nvme_zns_ns_get_zone_size_sectors(const struct nvme_ns *ns)
{
	return ns->zone_size;
}

NVMEDEF uint64_t nvme_zns_ns_get_zone_size(const struct nvme_ns *ns)
{
	return ns->zone_size * ns->sector_size;
}

NVMEDEF uint64_t nvme_zns_ns_get_num_zones(const struct nvme_ns *ns)
{
	return ns->zone_size != 0 ? ns->nsze / ns->zone_size : 0;
}

/* 0-based, and all ones for no limit: one more is 0. */
NVMEDEF uint32_t nvme_zns_ns_get_max_open_zones(const struct nvme_ns *ns)
{
	return ns->zone_size != 0 ? nvme__ns_zns(ns)->mor + 1 : 0;
}

NVMEDEF uint32_t nvme_zns_ns_get_max_active_zones(const struct nvme_ns *ns)
{
	return ns->zone_size != 0 ? nvme__ns_zns(ns)->mar + 1 : 0;
}

NVMEDEF uint32_t nvme_zns_ns_get_zone_desc_ext_size(const struct nvme_ns *ns)
{
	return ns->zone_size != 0 ? nvme__zns_lbafe(ns)->zdes * 64u : 0;
}

NVMEDEF uint32_t nvme_zns_ctrlr_get_max_zone_append_size(const struct nvme_ctrlr *ctrlr)
{
	return ctrlr->max_append < ctrlr->max_xfer_size ? ctrlr->max_append : ctrlr->max_xfer_size;
}

/* ---- checks ---- */

/* A block of a namespace with zones. */
static int nvme__zns_check_block(const struct nvme_ns *ns, uint64_t slba)
{
	int rc = nvme__ns_check_range(ns, slba, 1);

	if (rc != 0 || ns->zone_size != 0)
		return rc;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "namespace %" PRIu32
	              " has no zones: look with nvme_ns_get_csi() before you send it commands for them",
	              ns->id);
	return -ENOTSUP;
}

/* The first block of a zone. */
static int nvme__zns_check_start(const struct nvme_ns *ns, uint64_t slba)
{
	int rc = nvme__zns_check_block(ns, slba);

	if (rc != 0 || slba % ns->zone_size == 0)
		return rc;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "no zone begins at block %" PRIu64 " of namespace %" PRIu32
	              ": give a multiple of %" PRIu64 ", see nvme_zns_ns_get_zone_size_sectors()",
	              slba, ns->id, ns->zone_size);
	return -EINVAL;
}

/* An extension of no bytes is none. */
static int nvme__zns_check_ext(const struct nvme_ns *ns)
{
	if (nvme_zns_ns_get_zone_desc_ext_size(ns) != 0)
		return 0;
	NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
	              "the zones of namespace %" PRIu32
	              " have no descriptor extensions (ZDES): use nvme_zns_report_zones()",
	              ns->id);
	return -ENOTSUP;
}

static int nvme__zns_check_report(const struct nvme_ns *ns, uint32_t len, uint64_t slba,
                                  uint32_t opts, bool ext)
{
	int rc = nvme__zns_check_block(ns, slba);

	if (rc == 0 && ext)
		rc = nvme__zns_check_ext(ns);
	if (rc != 0)
		return rc;
	if (opts > NVME_ZRA_LIST_OFFLINE)
		return nvme__ns_refuse_call(ns, "a report of zones", "there are no such zones");
	if (len < sizeof(struct nvme_zns_report) || len % 4 != 0)
		return nvme__ns_refuse_call(ns, "a report of zones",
		                            "len is a multiple of 4, and at least 64");
	return 0;
}

/* As much as the controller takes, and a zone can hold. The rest is what any write is asked. */
static int nvme__zns_check_append(const struct nvme_ns *ns, uint64_t zslba, uint32_t nlb)
{
	int rc = nvme__zns_check_start(ns, zslba);
	uint32_t most;

	if (rc != 0)
		return rc;
	most = nvme__ns_max_nlb(ns, nvme_zns_ctrlr_get_max_zone_append_size(ns->ctrlr));
	if (nlb > most)
		return nvme__ns_refuse_many(ns, nlb, "blocks", most, "ZASL");
	if (nlb > ns->zone_size)
		return nvme__ns_refuse_many(ns, nlb, "blocks", ns->zone_size, "a zone has no more");
	return 0;
}

/* ---- what is done with a zone [ZNS: Zone Management Send command] ---- */

static void nvme__zns_fill_send(struct nvme_cmd *cmd, const struct nvme_ns *ns, uint64_t slba,
                                bool select_all, uint32_t action)
{
	nvme__cmd_init(cmd, NVME_OPC_ZONE_MANAGEMENT_SEND, ns->id);
	cmd->cdw10 = select_all ? 0 : (uint32_t)slba;
	cmd->cdw11 = select_all ? 0 : (uint32_t)(slba >> 32);
	cmd->cdw13 =
		NVME_SET(action, NVME_ZONE_SEND_ZSA) | NVME_SET(select_all, NVME_ZONE_SEND_SELALL);
}

static int nvme__zns_cmd_send(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                              bool select_all, uint32_t action, nvme_cmd_cb cb, void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__zns_check_start(ns, select_all ? 0 : slba);
	if (rc != 0)
		return rc;
	nvme__zns_fill_send(&cmd, ns, slba, select_all, action);
	return nvme__submit_io(ns->ctrlr, qp, &cmd, NULL, 0, cb, arg);
}

NVMEDEF int nvme_zns_open_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               bool select_all, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_send(ns, qp, slba, select_all, NVME_ZONE_OPEN, cb, arg);
}

NVMEDEF int nvme_zns_close_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                bool select_all, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_send(ns, qp, slba, select_all, NVME_ZONE_CLOSE, cb, arg);
}

NVMEDEF int nvme_zns_finish_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 bool select_all, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_send(ns, qp, slba, select_all, NVME_ZONE_FINISH, cb, arg);
}

NVMEDEF int nvme_zns_reset_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                bool select_all, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_send(ns, qp, slba, select_all, NVME_ZONE_RESET, cb, arg);
}

NVMEDEF int nvme_zns_offline_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                  bool select_all, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_send(ns, qp, slba, select_all, NVME_ZONE_OFFLINE, cb, arg);
}

NVMEDEF int nvme_zns_manage_zone(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                 bool select_all, enum nvme_zone_send_action action,
                                 struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;
	int rc = nvme__zns_check_start(ns, select_all ? 0 : slba);

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	if (rc == 0 && (action < NVME_ZONE_CLOSE || action > NVME_ZONE_OFFLINE))
		rc = nvme__ns_refuse_call(ns, "Zone Management Send",
		                          "it has data, or there is no such action");
	if (rc != 0)
		return rc;
	nvme__zns_fill_send(&cmd, ns, slba, select_all, action);
	return nvme_ctrlr_io(ns->ctrlr, qp, &cmd, NULL, 0, cpl);
}

NVMEDEF int nvme_zns_set_zone_desc_ext(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                                       void *buf, uint32_t len, nvme_cmd_cb cb, void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__zns_check_start(ns, slba);
	if (rc == 0)
		rc = nvme__zns_check_ext(ns);
	if (rc == 0 && len != nvme_zns_ns_get_zone_desc_ext_size(ns))
		rc = nvme__ns_refuse_call(ns, "a zone descriptor extension",
		                          "len is not nvme_zns_ns_get_zone_desc_ext_size()");
	if (rc != 0)
		return rc;
	nvme__zns_fill_send(&cmd, ns, slba, false, NVME_ZONE_SET_ZDE);
	return nvme__submit_io(ns->ctrlr, qp, &cmd, buf, len, cb, arg);
}

/* ---- reports [ZNS: Zone Management Receive command] ---- */

/* The length is a number of dwords, 0-based. */
static void nvme__zns_fill_report(struct nvme_cmd *cmd, const struct nvme_ns *ns, uint32_t len,
                                  uint64_t slba, uint32_t opts, bool partial, bool ext)
{
	nvme__cmd_init(cmd, NVME_OPC_ZONE_MANAGEMENT_RECEIVE, ns->id);
	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
	cmd->cdw12 = len / 4 - 1;
	cmd->cdw13 = NVME_SET(ext ? NVME_ZRA_EXT_REPORT : NVME_ZRA_REPORT, NVME_ZONE_RECEIVE_ZRA) |
	             NVME_SET(opts, NVME_ZONE_RECEIVE_ZRASF) |
	             NVME_SET(partial, NVME_ZONE_RECEIVE_PR);
}

static int nvme__zns_cmd_report(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf, uint32_t len,
                                uint64_t slba, uint32_t opts, bool partial, bool ext,
                                nvme_cmd_cb cb, void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__zns_check_report(ns, len, slba, opts, ext);
	if (rc != 0)
		return rc;
	nvme__zns_fill_report(&cmd, ns, len, slba, opts, partial, ext);
	return nvme__submit_io(ns->ctrlr, qp, &cmd, buf, len, cb, arg);
}

NVMEDEF int nvme_zns_report_zones(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                  uint32_t len, uint64_t slba, enum nvme_zone_report_opts opts,
                                  bool partial, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_report(ns, qp, buf, len, slba, opts, partial, false, cb, arg);
}

NVMEDEF int nvme_zns_ext_report_zones(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                      uint32_t len, uint64_t slba, enum nvme_zone_report_opts opts,
                                      bool partial, nvme_cmd_cb cb, void *arg)
{
	return nvme__zns_cmd_report(ns, qp, buf, len, slba, opts, partial, true, cb, arg);
}

/* Does the write pointer mean something in this state? */
static bool nvme__zone_has_wp(const struct nvme_zns_zone *zone)
{
	uint32_t state = NVME_GET(zone->zs, NVME_ZONE_STATE);

	return state >= NVME_ZONE_STATE_EMPTY && state <= NVME_ZONE_STATE_CLOSED;
}

/* Is it a zone of the namespace, at slba or behind it? */
static bool nvme__zone_is_sane(const struct nvme_ns *ns, const struct nvme_zns_zone *zone,
                               uint64_t slba)
{
	uint64_t start = zone->zslba;

	return ns->zone_size != 0 && start >= slba && start < ns->nsze &&
	       start % ns->zone_size == 0 && zone->zcap <= ns->zone_size &&
	       (!nvme__zone_has_wp(zone) || (zone->wp >= start && zone->wp - start <= zone->zcap));
}

/*
 * The zones of one report, no more than there is room for. *slba moves behind the last. Returns how
 * many, less than fit: there are no more; -EIO: something that is no report.
 */
static int nvme__zns_take_report(const struct nvme_ns *ns, const uint8_t *report, uint32_t room,
                                 uint64_t *slba, struct nvme_zns_zone *zones)
{
	struct nvme_zns_report head;
	uint32_t i;

	memcpy(&head, report, sizeof(head));
	for (i = 0; i < room && i < head.nr_zones; i++) {
		memcpy(&zones[i], report + sizeof(head) + i * sizeof(*zones), sizeof(*zones));
		if (!nvme__zone_is_sane(ns, &zones[i], *slba)) {
			NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
			              "a report of the zones of namespace %" PRIu32
			              " makes no sense from the zone at block %" PRIu64
			              " on: the device is not to be trusted",
			              ns->id, zones[i].zslba);
			return -EIO;
		}
		*slba = zones[i].zslba;
		*slba += nvme__ns_in_zone(ns, *slba, ns->nsze - *slba); /* cannot overflow */
	}
	return (int)i;
}

/* One report after the other, each from behind the last zone of the one before. */
static int nvme__zns_get_pages(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               uint32_t opts, struct nvme_zns_zone *zones, uint32_t max,
                               uint32_t *found, uint8_t *report, uint32_t size,
                               struct nvme_cpl *cpl)
{
	uint32_t fit = size / (uint32_t)sizeof(*zones) - 1, room;
	struct nvme_cmd cmd;
	int n;

	do {
		room = max - *found < fit ? max - *found : fit;
		nvme__zns_fill_report(&cmd, ns, (room + 1) * (uint32_t)sizeof(*zones), slba, opts,
		                      true, false);
		n = nvme_ctrlr_io(ns->ctrlr, qp, &cmd, report,
		                  (room + 1) * (uint32_t)sizeof(*zones), cpl);
		if (n == 0)
			n = nvme__zns_take_report(ns, report, room, &slba, &zones[*found]);
		if (n < 0)
			return n;
		*found += (uint32_t)n;
	} while ((uint32_t)n == room && *found < max && slba < ns->nsze);
	return 0;
}

NVMEDEF int nvme_zns_get_zones(struct nvme_ns *ns, struct nvme_qpair *qp, uint64_t slba,
                               enum nvme_zone_report_opts opts, struct nvme_zns_zone *zones,
                               uint32_t max, uint32_t *found, struct nvme_cpl *cpl)
{
	uint32_t size = NVME__ZONE_REPORT;
	uint8_t *report;
	int rc;

	*found = 0;
	if (cpl != NULL)
		nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	rc = nvme__zns_check_report(ns, size, slba, opts, false);
	if (rc == 0 && (zones == NULL || max == 0))
		rc = nvme__ns_refuse_call(ns, "a report of zones", "there is no room for a zone");
	if (rc == 0)
		rc = nvme__ctrlr_sync_qpair(ns->ctrlr, &qp);
	if (rc == 0) /* once more: in its polls the namespace may have become another one */
		rc = nvme__zns_check_block(ns, slba);
	if (rc != 0)
		return rc;
	if (size > qp->max_xfer_size)
		size = qp->max_xfer_size;
	if (size < 2 * sizeof(*zones)) /* which nvme__check_raw() will refuse, and say so */
		size = 2 * sizeof(*zones);
	report = (uint8_t *)NVME_CALLOC(1, size);
	if (report == NULL)
		return -ENOMEM;
	rc = nvme__zns_get_pages(ns, qp, slba - slba % ns->zone_size, opts, zones, max, found,
	                         report, size, cpl);
	NVME_FREE(report);
	return rc;
}

/* ---- appending [ZNS: Zone Append command] ---- */

NVMEDEF int nvme_zns_zone_append(struct nvme_ns *ns, struct nvme_qpair *qp, void *buf,
                                 uint64_t zslba, uint32_t nlb, nvme_cmd_cb cb, void *arg,
                                 uint32_t io_flags)
{
	int rc = nvme__ns_check_qpair(ns, qp, cb);

	if (rc == 0)
		rc = nvme__zns_check_append(ns, zslba, nlb);
	if (rc != 0)
		return rc;
	return nvme__ns_cmd_rw(ns, qp, NVME_OPC_ZONE_APPEND, buf, zslba, nlb, cb, arg, io_flags);
}

NVMEDEF uint64_t nvme_zns_append_lba(const struct nvme_cpl *cpl)
{
	return (uint64_t)cpl->cdw1 << 32 | cpl->cdw0;
}

NVMEDEF int nvme_zns_append(struct nvme_ns *ns, struct nvme_qpair *qp, const void *buf,
                            uint64_t zslba, uint32_t nlb, uint64_t *lba, struct nvme_cpl *cpl)
{
	struct nvme_cpl local;
	struct nvme_cmd cmd;
	uint64_t at, size = ns->zone_size; /* of the zone that it is sent to */
	int rc = nvme__zns_check_append(ns, zslba, nlb);

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, qp != NULL ? qp->id : 0);
	if (rc == 0)
		rc = nvme__refuse_blocks(ns, zslba, nlb);
	if (rc != 0)
		return rc;
	nvme__fill_no_data(&cmd, NVME_OPC_ZONE_APPEND, ns->id, zslba, nlb, 0);
	rc = nvme_ctrlr_io(ns->ctrlr, qp, &cmd, (void *)(uintptr_t)buf,
	                   nlb * ns->extended_sector_size, cpl);
	if (rc != 0)
		return rc;
	at = nvme_zns_append_lba(cpl);
	if (at < zslba || at - zslba > size - nlb) {
		NVME__DEV_LOG(&ns->ctrlr->dev, NVME_LOG_ERROR,
		              "%" PRIu32 " blocks were appended to the zone at block %" PRIu64
		              ", and the controller says at block %" PRIu64
		              ": it is not to be trusted",
		              nlb, zslba, at);
		return -EIO;
	}
	if (lba != NULL)
		*lba = at;
	return 0;
}

/* ============================================================================================
 * >>admin-commands
 *
 * Abort, features, log pages, self-test, sanitize and namespace management: what the controller
 * would refuse is refused before, where Identify says so.
 * ============================================================================================ */

#define NVME__PLAIN_LOG_MAX 16384u /* bytes without extended data: NUMD has 12 bits there */

/* ---- Abort ---- */

NVMEDEF int nvme_ctrlr_cmd_abort(struct nvme_ctrlr *ctrlr, const struct nvme_qpair *qp,
                                 uint16_t cid, nvme_cmd_cb cb, void *arg)
{
	const struct nvme_qpair *aq = ctrlr->adminq, *of = qp != NULL ? qp : aq;
	uint32_t i, aborts = 0;
	struct nvme_cmd cmd;
	int rc;

	if (of->ctrlr != ctrlr)
		return nvme__refuse_qpair(ctrlr, of);
	if (cid >= of->num_trackers) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "queue pair %u has no command %u to abort: its CIDs are 0 to %" PRIu32,
		              of->id, cid, of->num_trackers - 1);
		return -EINVAL;
	}
	nvme__cmd_init(&cmd, NVME_OPC_ABORT, 0);
	cmd.cdw10 = NVME_SET(of->id, NVME_ABORT_SQID) | NVME_SET(cid, NVME_ABORT_CID);
	nvme__ctrlr_lock(ctrlr);
	for (i = 0; i < aq->num_trackers; i++)
		aborts += aq->trackers[i].outstanding != 0 &&
		          aq->trackers[i].cmd.opc == NVME_OPC_ABORT;
	/* ACL is 0-based */
	rc = aborts > ctrlr->data.acl ? -EAGAIN
	                              : nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, cb, arg);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* ---- features ---- */

static int nvme__ctrlr_fill_feature(struct nvme_ctrlr *ctrlr, struct nvme_cmd *cmd, uint8_t opc,
                                    uint32_t fid, uint32_t cdw11, uint32_t cdw12, uint32_t len)
{
	nvme__cmd_init(cmd, opc, 0);
	cmd->cdw10 = fid;
	cmd->cdw11 = cdw11;
	cmd->cdw12 = cdw12;
	if (len % 4 == 0)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "feature %02" PRIx32 "h with %" PRIu32
	              " bytes is refused: the length is a multiple of 4",
	              NVME_GET(fid, NVME_FEATURES_FID), len);
	return -EINVAL;
}

NVMEDEF int nvme_ctrlr_cmd_get_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                       uint32_t cdw12, void *buf, uint32_t len, nvme_cmd_cb cb,
                                       void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ctrlr_fill_feature(ctrlr, &cmd, NVME_OPC_GET_FEATURES, fid, cdw11, cdw12,
	                                  len);

	return rc != 0 ? rc : nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, buf, len, cb, arg);
}

NVMEDEF int nvme_ctrlr_cmd_set_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                       uint32_t cdw12, void *buf, uint32_t len, nvme_cmd_cb cb,
                                       void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ctrlr_fill_feature(ctrlr, &cmd, NVME_OPC_SET_FEATURES, fid, cdw11, cdw12,
	                                  len);

	return rc != 0 ? rc : nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, buf, len, cb, arg);
}

NVMEDEF int nvme_ctrlr_get_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                   uint32_t cdw12, void *buf, uint32_t len, uint32_t *value,
                                   struct nvme_cpl *cpl)
{
	struct nvme_cpl local;
	struct nvme_cmd cmd;
	int rc;

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, 0);
	rc = nvme__ctrlr_fill_feature(ctrlr, &cmd, NVME_OPC_GET_FEATURES, fid, cdw11, cdw12, len);
	if (rc == 0)
		rc = nvme_ctrlr_admin(ctrlr, &cmd, buf, len, cpl);
	if (rc == 0 && value != NULL)
		*value = cpl->cdw0;
	return rc;
}

NVMEDEF int nvme_ctrlr_set_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t cdw11,
                                   uint32_t cdw12, const void *buf, uint32_t len,
                                   struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;
	int rc = nvme__ctrlr_fill_feature(ctrlr, &cmd, NVME_OPC_SET_FEATURES, fid, cdw11, cdw12,
	                                  len);

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if (rc != 0)
		return rc;
	return nvme_ctrlr_admin(ctrlr, &cmd, (void *)(uintptr_t)buf, len, cpl);
}

/* ---- log pages ---- */

/* Whole dwords, at least one, and an offset that the controller understands. */
static int nvme__ctrlr_check_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t len,
                                      uint64_t offset)
{
	bool extended = (ctrlr->data.lpa & NVME_LPA_EXTENDED) != 0;

	if (len == 0 || len % 4 != 0 || offset % 4 != 0 || offset > UINT64_MAX - len) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "%" PRIu32 " bytes of log page %02xh from byte %" PRIu64
		              " are refused: both are multiples of 4, and there is at least one dword",
		              len, lid, offset);
		return -EINVAL;
	}
	if (extended || (offset == 0 && len <= NVME__PLAIN_LOG_MAX && len <= ctrlr->max_xfer_size))
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "log page %02xh can only be read from its start and up to %" PRIu32
	              " bytes: the controller has no extended data (LPA bit 2)",
	              lid,
	              ctrlr->max_xfer_size < NVME__PLAIN_LOG_MAX ? ctrlr->max_xfer_size
	                                                         : NVME__PLAIN_LOG_MAX);
	return -ENOTSUP;
}

/* The length is a number of dwords, 0-based, in two halves; RAE while another part follows. */
static void nvme__fill_log_page(struct nvme_cmd *cmd, uint8_t lid, uint32_t nsid, uint32_t len,
                                uint64_t offset, bool more)
{
	uint32_t numd = len / 4 - 1;

	nvme__cmd_init(cmd, NVME_OPC_GET_LOG_PAGE, nsid);
	cmd->cdw10 = NVME_SET(lid, NVME_GET_LOG_PAGE_LID) | NVME_SET(more, NVME_GET_LOG_PAGE_RAE) |
	             NVME_SET(numd & 0xffffu, NVME_GET_LOG_PAGE_NUMDL);
	cmd->cdw11 = NVME_SET(numd >> 16, NVME_GET_LOG_PAGE_NUMDU);
	cmd->cdw12 = (uint32_t)offset;
	cmd->cdw13 = (uint32_t)(offset >> 32);
}

static void nvme__op_fill_log_page(struct nvme__op *op, uint32_t len)
{
	uint8_t lid = (uint8_t)NVME_GET(op->cmd.cdw10, NVME_GET_LOG_PAGE_LID);

	nvme__fill_log_page(&op->cmd, lid, op->cmd.nsid, len, op->offset, op->left > len);
}

/* The caller has the lock: operations belong to the admin queue, and others reap it, too. */
static int nvme__ctrlr_begin_log_page(struct nvme_ctrlr *ctrlr, const struct nvme_cmd *first,
                                      void *buf, uint32_t len, uint64_t offset, nvme_cmd_cb cb,
                                      void *arg)
{
	struct nvme_qpair *qp = ctrlr->adminq;
	struct nvme__op *op;
	int rc;

	rc = nvme__ctrlr_admin_check(ctrlr, first);
	if (rc == 0)
		rc = nvme__check_raw(qp, first, buf, 4, cb != NULL);
	if (rc != 0)
		return rc;
	if (qp->num_free == 0)
		return -EAGAIN;
	op = nvme__op_get(qp, cb, arg, 0);
	if (op == NULL)
		return -ENOMEM;
	op->cmd = *first;
	op->offset = offset;
	op->stop = true;
	return nvme__op_begin(op, nvme__op_fill_log_page, (uint8_t *)buf, len,
	                      qp->max_xfer_size & ~3u);
}

NVMEDEF int nvme_ctrlr_cmd_get_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t nsid,
                                        void *buf, uint32_t len, uint64_t offset, nvme_cmd_cb cb,
                                        void *arg)
{
	struct nvme_cmd cmd;
	int rc = nvme__ctrlr_check_log_page(ctrlr, lid, len, offset);

	if (rc != 0)
		return rc;
	nvme__fill_log_page(&cmd, lid, nsid, 4, offset, false);
	nvme__ctrlr_lock(ctrlr);
	rc = nvme__ctrlr_begin_log_page(ctrlr, &cmd, buf, len, offset, cb, arg);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

NVMEDEF int nvme_ctrlr_get_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t nsid, void *buf,
                                    uint32_t len, uint64_t offset, struct nvme_cpl *cpl)
{
	uint32_t most = ctrlr->adminq->max_xfer_size & ~3u;
	uint8_t *at = (uint8_t *)buf;
	int rc = nvme__ctrlr_check_log_page(ctrlr, lid, len, offset);

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	while (rc == 0 && len != 0) {
		uint32_t part = len < most ? len : most;
		struct nvme_cmd cmd;

		nvme__fill_log_page(&cmd, lid, nsid, part, offset, len > part);
		rc = nvme_ctrlr_admin(ctrlr, &cmd, at, part, cpl);
		at += part;
		offset += part;
		len -= part;
	}
	return rc;
}

/* ---- what is supported ---- */

/*
 * A code, and the bits of Identify Controller that tell of it: any of mask in size bytes at offset;
 * size 0: every controller has it.
 */
struct nvme__support {
	uint8_t code, size;
	uint16_t offset;
	uint32_t mask;
};

#define NVME__ID(field, mask) \
	sizeof(((struct nvme_id_ctrlr *)0)->field), offsetof(struct nvme_id_ctrlr, field), (mask)

static const struct nvme__support nvme__log_page_support[] = {
	{NVME_LOG_PAGE_ERROR, 0, 0, 0},
	{NVME_LOG_PAGE_SMART, 0, 0, 0},
	{NVME_LOG_PAGE_FIRMWARE_SLOT, 0, 0, 0},
	{NVME_LOG_PAGE_CHANGED_NS_LIST, NVME__ID(oaes, 1u << 8)},
	{NVME_LOG_PAGE_COMMAND_EFFECTS, NVME__ID(lpa, NVME_LPA_EFFECTS)},
	{NVME_LOG_PAGE_DEVICE_SELF_TEST, NVME__ID(oacs, NVME_OACS_SELF_TEST)},
	{NVME_LOG_PAGE_TELEMETRY_HOST, NVME__ID(lpa, NVME_LPA_TELEMETRY)},
	{NVME_LOG_PAGE_TELEMETRY_CTRLR, NVME__ID(lpa, NVME_LPA_TELEMETRY)},
	{NVME_LOG_PAGE_ENDURANCE_GROUP, NVME__ID(ctratt, 1u << 4)},
	{NVME_LOG_PAGE_PREDICTABLE_LATENCY, NVME__ID(ctratt, 1u << 5)},
	{NVME_LOG_PAGE_PREDICTABLE_LATENCY_AGG, NVME__ID(ctratt, 1u << 5)},
	{NVME_LOG_PAGE_ANA, NVME__ID(cmic, 1u << 3)},
	{NVME_LOG_PAGE_PERSISTENT_EVENT, NVME__ID(lpa, NVME_LPA_PERSISTENT)},
	{NVME_LOG_PAGE_LBA_STATUS, NVME__ID(oacs, NVME_OACS_LBA_STATUS)},
	{NVME_LOG_PAGE_RESERVATION, NVME__ID(oncs, NVME_ONCS_RESERVATIONS)},
	{NVME_LOG_PAGE_SANITIZE_STATUS,
         NVME__ID(sanicap, NVME_SANICAP_CRYPTO | NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE)},
};

static const struct nvme__support nvme__feature_support[] = {
	{NVME_FEAT_ARBITRATION, 0, 0, 0},
	{NVME_FEAT_POWER_MANAGEMENT, 0, 0, 0},
	{NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0, 0},
	{NVME_FEAT_ERROR_RECOVERY, 0, 0, 0},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, NVME__ID(vwc, 1u)},
	{NVME_FEAT_NUMBER_OF_QUEUES, 0, 0, 0},
	{NVME_FEAT_INTERRUPT_COALESCING, 0, 0, 0},
	{NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 0, 0},
	{NVME_FEAT_WRITE_ATOMICITY, 0, 0, 0},
	{NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0, 0},
	{NVME_FEAT_AUTO_POWER_STATE_TRANSITION, NVME__ID(apsta, 1u)},
	{NVME_FEAT_HOST_MEM_BUFFER, NVME__ID(hmpre, UINT32_MAX)},
	{NVME_FEAT_TIMESTAMP, NVME__ID(oncs, NVME_ONCS_TIMESTAMP)},
	{NVME_FEAT_KEEP_ALIVE_TIMER, NVME__ID(kas, 0xffffu)},
	{NVME_FEAT_HOST_THERMAL_MANAGEMENT, NVME__ID(hctma, 1u)},
	{NVME_FEAT_NON_OP_POWER_STATE_CONFIG, NVME__ID(ctratt, 1u << 1)},
	{NVME_FEAT_READ_RECOVERY_LEVEL, NVME__ID(ctratt, 1u << 3)},
	{NVME_FEAT_PREDICTABLE_LATENCY_CONFIG, NVME__ID(ctratt, 1u << 5)},
	{NVME_FEAT_PREDICTABLE_LATENCY_WINDOW, NVME__ID(ctratt, 1u << 5)},
	{NVME_FEAT_LBA_STATUS_INTERVAL, NVME__ID(oacs, NVME_OACS_LBA_STATUS)},
	{NVME_FEAT_SANITIZE_CONFIG,
         NVME__ID(sanicap, NVME_SANICAP_CRYPTO | NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE)},
	{NVME_FEAT_ENDURANCE_GROUP_EVENT, NVME__ID(ctratt, 1u << 4)},
	{NVME_FEAT_HOST_RESERVE_MASK, NVME__ID(oncs, NVME_ONCS_RESERVATIONS)},
	{NVME_FEAT_HOST_RESERVE_PERSIST, NVME__ID(oncs, NVME_ONCS_RESERVATIONS)},
	{NVME_FEAT_NS_WRITE_PROTECTION, NVME__ID(nwpc, 1u)},
};

static bool nvme__id_says(const struct nvme_id_ctrlr *id, const struct nvme__support *row, size_t n,
                          uint8_t code)
{
	uint32_t value = 0;

	while (n > 0 && row->code != code) {
		row++;
		n--;
	}
	if (n == 0 || row->size == 0)
		return n != 0;
	memcpy(&value, (const uint8_t *)id + row->offset, row->size);
	return (value & row->mask) != 0;
}

/* Bit 0 of dword code in a log page that has one for each. -1: it cannot be read. */
static int nvme__ctrlr_log_says(struct nvme_ctrlr *ctrlr, uint8_t lid, uint8_t code)
{
	uint32_t dwords[256];

	if (nvme_ctrlr_get_log_page(ctrlr, lid, 0, dwords, sizeof(dwords), 0, NULL) != 0)
		return -1;
	return (int)(dwords[code] & 1);
}

NVMEDEF bool nvme_ctrlr_is_log_page_supported(struct nvme_ctrlr *ctrlr, uint8_t lid)
{
	int says = -1;

	if ((ctrlr->data.lpa & NVME_LPA_SUPPORTED) != 0)
		says = nvme__ctrlr_log_says(ctrlr, NVME_LOG_PAGE_SUPPORTED, lid);
	if (says >= 0)
		return says != 0;
	return nvme__id_says(&ctrlr->data, nvme__log_page_support,
	                     sizeof(nvme__log_page_support) / sizeof(*nvme__log_page_support), lid);
}

NVMEDEF bool nvme_ctrlr_is_feature_supported(struct nvme_ctrlr *ctrlr, uint8_t fid)
{
	int says = -1;

	if ((ctrlr->data.lpa & NVME_LPA_SUPPORTED) != 0 &&
	    nvme_ctrlr_is_log_page_supported(ctrlr, NVME_LOG_PAGE_FEATURE_EFFECTS))
		says = nvme__ctrlr_log_says(ctrlr, NVME_LOG_PAGE_FEATURE_EFFECTS, fid);
	if (says >= 0)
		return says != 0;
	return nvme__id_says(&ctrlr->data, nvme__feature_support,
	                     sizeof(nvme__feature_support) / sizeof(*nvme__feature_support), fid);
}

/* ---- self-test, sanitize ---- */

/* What the controller lacks, and the bit that would say otherwise. */
static int nvme__ctrlr_refuse_lacking(struct nvme_ctrlr *ctrlr, const char *what, const char *bit)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "the controller cannot do this: %s (%s): see nvme_ctrlr_get_data()", what,
	              bit);
	return -ENOTSUP;
}

NVMEDEF int nvme_ctrlr_self_test(struct nvme_ctrlr *ctrlr, uint32_t nsid, uint32_t code,
                                 struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if ((ctrlr->data.oacs & NVME_OACS_SELF_TEST) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "Device Self-test", "OACS bit 4");
	if (code != NVME_SELF_TEST_SHORT && code != NVME_SELF_TEST_EXTENDED &&
	    code != NVME_SELF_TEST_VS && code != NVME_SELF_TEST_ABORT) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "a self-test with code %" PRIu32
		              " was asked for: see NVME_SELF_TEST_*",
		              code);
		return -EINVAL;
	}
	nvme__cmd_init(&cmd, NVME_OPC_DEVICE_SELF_TEST, nsid);
	cmd.cdw10 = NVME_SET(code, NVME_SELF_TEST_STC);
	return nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, cpl);
}

static int nvme__ctrlr_check_sanitize(struct nvme_ctrlr *ctrlr, const struct nvme_sanitize *what)
{
	uint32_t can = ctrlr->data.sanicap, any;
	bool overwrite = what->action == NVME_SANITIZE_OVERWRITE;

	any = can & (NVME_SANICAP_CRYPTO | NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE);
	if (what->action < NVME_SANITIZE_EXIT_FAILURE ||
	    what->action > NVME_SANITIZE_CRYPTO_ERASE ||
	    (overwrite && (what->passes < 1 || what->passes > 16))) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "a sanitize operation with action %u and %u passes was asked for: see struct nvme_sanitize",
		              what->action, what->passes);
		return -EINVAL;
	}
	if (any == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "Sanitize", "SANICAP bits 0 to 2");
	if (what->action == NVME_SANITIZE_BLOCK_ERASE && (can & NVME_SANICAP_BLOCK) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "a block erase", "SANICAP bit 1");
	if (what->action == NVME_SANITIZE_CRYPTO_ERASE && (can & NVME_SANICAP_CRYPTO) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "a crypto erase", "SANICAP bit 0");
	if (overwrite && (can & NVME_SANICAP_OVERWRITE) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "an overwrite", "SANICAP bit 2");
	return 0;
}

NVMEDEF int nvme_ctrlr_sanitize(struct nvme_ctrlr *ctrlr, const struct nvme_sanitize *what,
                                struct nvme_cpl *cpl)
{
	int rc = nvme__ctrlr_check_sanitize(ctrlr, what);
	struct nvme_cmd cmd;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if (rc != 0)
		return rc;
	nvme__cmd_init(&cmd, NVME_OPC_SANITIZE, 0);
	cmd.cdw10 = NVME_SET(what->action, NVME_SANITIZE_SANACT) |
	            NVME_SET(what->unrestricted, NVME_SANITIZE_AUSE) |
	            NVME_SET(what->no_deallocate, NVME_SANITIZE_NDAS);
	if (what->action == NVME_SANITIZE_OVERWRITE) {
		cmd.cdw10 |= NVME_SET(what->passes, NVME_SANITIZE_OWPASS) | /* 16 becomes 0 */
		             NVME_SET(what->invert, NVME_SANITIZE_OIPBP);
		cmd.cdw11 = what->pattern;
	}
	return nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, cpl);
}

/* ---- namespace management and attachment ---- */

#define NVME__CTRLR_LIST_MAX 2047u /* controllers in a list, which has 4096 bytes */

static int nvme__ctrlr_ns_admin(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t nsid, uint32_t sel,
                                void *buf, struct nvme_cpl *cpl)
{
	struct nvme_cmd cmd;

	nvme__cpl_set_none(cpl, 0);
	if ((ctrlr->data.oacs & NVME_OACS_NS_MGMT) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "namespace management", "OACS bit 3");
	nvme__cmd_init(&cmd, opc, nsid);
	cmd.cdw10 = NVME_SET(sel, NVME_NS_MANAGEMENT_SEL); /* which both commands have there */
	return nvme_ctrlr_admin(ctrlr, &cmd, buf, buf != NULL ? 4096 : 0, cpl);
}

NVMEDEF int nvme_ctrlr_create_ns(struct nvme_ctrlr *ctrlr, const struct nvme_id_ns *data,
                                 uint32_t *nsid, struct nvme_cpl *cpl)
{
	struct nvme_cpl local;
	int rc;

	if (cpl == NULL)
		cpl = &local;
	rc = nvme__ctrlr_ns_admin(ctrlr, NVME_OPC_NS_MANAGEMENT, 0, NVME_NS_MANAGEMENT_CREATE,
	                          (void *)(uintptr_t)data, cpl);
	if (rc == 0)
		*nsid = cpl->cdw0;
	return rc;
}

/* NSID 0 is none, and would be refused by the controller with less of an explanation. */
static int nvme__ctrlr_check_nsid(struct nvme_ctrlr *ctrlr, uint32_t nsid, const char *what)
{
	if (nsid != 0)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "%s of namespace 0 is refused: NSIDs begin with 1", what);
	return -EINVAL;
}

NVMEDEF int nvme_ctrlr_delete_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, struct nvme_cpl *cpl)
{
	struct nvme_cpl local;
	int rc = nvme__ctrlr_check_nsid(ctrlr, nsid, "deletion");

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, 0);
	if (rc != 0)
		return rc;
	return nvme__ctrlr_ns_admin(ctrlr, NVME_OPC_NS_MANAGEMENT, nsid, NVME_NS_MANAGEMENT_DELETE,
	                            NULL, cpl);
}

/* Attach or detach: the data is a list of controllers, their number first. */
static int nvme__ctrlr_attachment(struct nvme_ctrlr *ctrlr, uint32_t nsid, uint32_t sel,
                                  const uint16_t *cntlids, uint32_t num, struct nvme_cpl *cpl)
{
	int rc = nvme__ctrlr_check_nsid(ctrlr, nsid, "attachment");
	struct nvme_cpl local;
	uint16_t list[2048];

	if (cpl == NULL)
		cpl = &local;
	nvme__cpl_set_none(cpl, 0);
	if (rc == 0 && cntlids != NULL && (num == 0 || num > NVME__CTRLR_LIST_MAX)) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "a list of %" PRIu32 " controllers is refused: name 1 to %u", num,
		              NVME__CTRLR_LIST_MAX);
		rc = -EINVAL;
	}
	if (rc != 0)
		return rc;
	memset(list, 0, sizeof(list));
	list[0] = cntlids != NULL ? (uint16_t)num : 1;
	list[1] = ctrlr->data.cntlid;
	if (cntlids != NULL)
		memcpy(&list[1], cntlids, num * sizeof(*cntlids));
	return nvme__ctrlr_ns_admin(ctrlr, NVME_OPC_NS_ATTACHMENT, nsid, sel, list, cpl);
}

NVMEDEF int nvme_ctrlr_attach_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, const uint16_t *cntlids,
                                 uint32_t num, struct nvme_cpl *cpl)
{
	return nvme__ctrlr_attachment(ctrlr, nsid, NVME_NS_ATTACHMENT_ATTACH, cntlids, num, cpl);
}

NVMEDEF int nvme_ctrlr_detach_ns(struct nvme_ctrlr *ctrlr, uint32_t nsid, const uint16_t *cntlids,
                                 uint32_t num, struct nvme_cpl *cpl)
{
	return nvme__ctrlr_attachment(ctrlr, nsid, NVME_NS_ATTACHMENT_DETACH, cntlids, num, cpl);
}

/* ============================================================================================
 * >>events
 *
 * What a controller tells without being asked. It tells it with the completion of a command that was
 * sent for this and is outstanding all the time: an Asynchronous Event Request [Base 2.1:
 * Asynchronous Event Request command]. That completion may be reaped by any call that polls the
 * admin queue, so it is only noted there, and answered with the next request. The rest, a log page
 * to be read and a callback, is done step by step in nvme_ctrlr_process_admin_completions().
 *
 * Keep alive and the error log are here, too: they live on the same calls.
 * ============================================================================================ */

#define NVME__AERS       8u    /* requests at most */
#define NVME__EVENTS     16u   /* events that wait, with the requests that may bring more */
#define NVME__MORE       16u   /* completions with M that wait */
#define NVME__EVENT_PAGE 4096u /* bytes of a log page that are looked at */

/* A completion with M (more), and its command. */
struct nvme__more {
	struct nvme_cmd cmd;
	uint16_t qid, status;
};

/* How far the first of the events is. */
enum nvme__event_step { NVME__EVENT_NEW, NVME__EVENT_READING, NVME__EVENT_READ };

struct nvme__events {
	nvme_aer_cb cb;
	void *arg;
	bool armed;           /* requests are to be sent */
	bool complained;      /* of one that failed */
	uint32_t want;        /* so many requests, ... */
	uint32_t outstanding; /* ... of which these are with the controller */
	struct nvme_cpl queue[NVME__EVENTS];
	uint32_t first, count;
	enum nvme__event_step step;

	uint8_t *page; /* DMA memory for one log page at a time */
	bool reading;  /* which is with the controller */

	uint64_t pause_ends; /* ms of the clock, where new I/O is held */

	uint64_t keep_alive_next; /* ms of the clock */
	bool keep_alive_sent, keep_alive_failed;

	nvme__mutex lock; /* of what follows, which any queue pair's thread adds to */
	struct nvme__more more[NVME__MORE];
	uint32_t num_more, more_lost;
	uint32_t more_asked; /* these are looked up by the page that is being read */
};

/* The one of this controller. NULL: no memory. */
static struct nvme__events *nvme__ctrlr_get_events(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;

	if (ev != NULL)
		return ev;
	ev = (struct nvme__events *)NVME_CALLOC(1, sizeof(*ev));
	if (ev == NULL)
		return NULL;
	ev->page = (uint8_t *)nvme__dma_take(ctrlr, NVME__EVENT_PAGE, NVME__EXTENT_BUFFER);
	if (ev->page == NULL) {
		NVME_FREE(ev);
		return NULL;
	}
	nvme__mutex_init(&ev->lock);
	ctrlr->events = ev;
	return ev;
}

/* The page goes with the arena. */
static void nvme__ctrlr_fini_events(struct nvme_ctrlr *ctrlr)
{
	if (ctrlr->events == NULL)
		return;
	nvme__mutex_destroy(&ctrlr->events->lock);
	NVME_FREE(ctrlr->events);
	ctrlr->events = NULL;
}

/* Ended by the driver, because the controller was reset or is being detached: no news. */
static bool nvme__cpl_is_dropped(const struct nvme_ctrlr *ctrlr, const struct nvme_cpl *cpl)
{
	return ctrlr->closing ||
	       (NVME_GET(cpl->status, NVME_CPL_SCT) == NVME_SCT_GENERIC &&
	        NVME_GET(cpl->status, NVME_CPL_SC) == NVME_SC_ABORTED_SQ_DELETION);
}

/* ---- reading log pages ---- */

/* From the start, without waiting. -EAGAIN: the page or the queue is in use, try again later. */
static int nvme__events_read(struct nvme_ctrlr *ctrlr, uint8_t lid, uint32_t len, bool retain,
                             nvme_cmd_cb cb)
{
	struct nvme__events *ev = ctrlr->events;
	struct nvme_cmd cmd;
	int rc;

	if (ev->reading)
		return -EAGAIN;
	nvme__fill_log_page(&cmd, lid, NVME_NSID_ALL, len, 0, retain);
	memset(ev->page, 0, NVME__EVENT_PAGE);
	rc = nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, ev->page, len, cb, ctrlr);
	ev->reading = rc == 0;
	return rc;
}

static uint32_t nvme__ctrlr_error_log_len(const struct nvme_ctrlr *ctrlr)
{
	uint32_t len = (ctrlr->data.elpe + 1u) * (uint32_t)sizeof(struct nvme_error_log_entry);

	return len < NVME__EVENT_PAGE ? len : NVME__EVENT_PAGE;
}

/* ---- what the page of an event says ---- */

static void nvme__log_event(const struct nvme_ctrlr *ctrlr, const struct nvme_cpl *cpl);
static void nvme__log_error_entry(const struct nvme_ctrlr *ctrlr,
                                  const struct nvme_error_log_entry *newest);
static void nvme__log_more(const struct nvme_ctrlr *ctrlr, uint16_t qid, const struct nvme_cmd *cmd,
                           const struct nvme_error_log_entry *entry);

static void nvme__event_smart(struct nvme_ctrlr *ctrlr, const struct nvme_smart_log *smart)
{
	int kelvin = smart->temperature[0] | smart->temperature[1] << 8;
	uint32_t warning = smart->critical_warning;

	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
	              "SMART: critical warning %02" PRIx32
	              "h%s%s%s%s%s%s, %d C, %u %% spare, %u %% used",
	              warning, warning & NVME_SMART_SPARE ? " spare" : "",
	              warning & NVME_SMART_TEMPERATURE ? " temperature" : "",
	              warning & NVME_SMART_DEGRADED ? " reliability" : "",
	              warning & NVME_SMART_READ_ONLY ? " read-only" : "",
	              warning & NVME_SMART_BACKUP ? " backup" : "",
	              warning & NVME_SMART_PMR ? " persistent-memory" : "", kelvin - 273,
	              smart->avsp, smart->pused);
}

static void nvme__event_firmware(struct nvme_ctrlr *ctrlr, const struct nvme_fw_slot_log *log)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_NOTICE,
	              "firmware: slot %u is running, slot %u after the next reset", log->afi & 7,
	              log->afi >> 4 & 7);
}

static bool nvme__ns_list_has(const struct nvme_ns_list *list, uint32_t nsid)
{
	uint32_t i;

	for (i = 0; list != NULL && i < 1024 && list->nsid[i] != 0; i++) {
		if (list->nsid[i] == nsid)
			return true;
	}
	return false;
}

/*
 * Those in the list are to be identified again, which the next poll does, as after a command of the
 * caller's. FFFFFFFFh in it: more than the list can name. NULL: nobody knows, so all of them.
 */
static void nvme__event_namespaces(struct nvme_ctrlr *ctrlr, const struct nvme_ns_list *list)
{
	bool all = list == NULL || list->nsid[0] == NVME_NSID_ALL;
	uint32_t i;

	for (i = 0; i < ctrlr->num_ns; i++) {
		struct nvme_ns *ns = ctrlr->ns[i];

		if (nvme__ns_is_here(ns) && (all || nvme__ns_list_has(list, ns->id)))
			nvme__ns_set_refuse(ns, -EBUSY);
	}
	for (i = 0; list != NULL && !all && i < 1024 && list->nsid[i] != 0; i++)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO, "namespace %" PRIu32 " has changed",
		              list->nsid[i]);
	ctrlr->ns_changing = true;
}

/* Bytes of the page that the driver reads itself; 0: this one is left to the caller. */
static uint32_t nvme__event_page_len(const struct nvme_ctrlr *ctrlr, uint32_t lid)
{
	switch (lid) {
	case NVME_LOG_PAGE_ERROR:
		return nvme__ctrlr_error_log_len(ctrlr);
	case NVME_LOG_PAGE_SMART:
		return sizeof(struct nvme_smart_log);
	case NVME_LOG_PAGE_FIRMWARE_SLOT:
		return sizeof(struct nvme_fw_slot_log);
	case NVME_LOG_PAGE_CHANGED_NS_LIST:
		return sizeof(struct nvme_ns_list);
	default:
		return 0;
	}
}

static void nvme__event_page_says(struct nvme_ctrlr *ctrlr, uint32_t lid)
{
	const void *page = ctrlr->events->page;

	if (lid == NVME_LOG_PAGE_ERROR)
		nvme__log_error_entry(ctrlr, (const struct nvme_error_log_entry *)page);
	else if (lid == NVME_LOG_PAGE_SMART)
		nvme__event_smart(ctrlr, (const struct nvme_smart_log *)page);
	else if (lid == NVME_LOG_PAGE_FIRMWARE_SLOT)
		nvme__event_firmware(ctrlr, (const struct nvme_fw_slot_log *)page);
	else
		nvme__event_namespaces(ctrlr, (const struct nvme_ns_list *)page);
}

/* The controller keeps back events of a type until the page of the last one was read: hence a line. */
static void nvme__event_page_failed(struct nvme_ctrlr *ctrlr, uint32_t lid)
{
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "log page %02" PRIx32
	              "h of an event could not be read: there may be no more events of its type until nvme_ctrlr_get_log_page() reads it",
	              lid);
	if (lid == NVME_LOG_PAGE_CHANGED_NS_LIST)
		nvme__event_namespaces(ctrlr, NULL);
}

static void nvme__event_page_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;
	struct nvme__events *ev = ctrlr->events;
	uint32_t lid = NVME_GET(ev->queue[ev->first].cdw0, NVME_AER_LID);

	ev->reading = false;
	ev->step = NVME__EVENT_READ;
	if (nvme__cpl_is_dropped(ctrlr, cpl))
		return;
	if (nvme_cpl_is_error(cpl))
		nvme__event_page_failed(ctrlr, lid);
	else
		nvme__event_page_says(ctrlr, lid);
}

/* ---- firmware activation: new I/O is held ---- */

/* The controller says that it processes nothing for a while, at most so many ms (MTFA). */
static void nvme__ctrlr_pause(struct nvme_ctrlr *ctrlr)
{
	uint32_t ms =
		ctrlr->data.mtfa != 0 ? ctrlr->data.mtfa * 100u : ctrlr->opts.admin_timeout_ms;

	ctrlr->events->pause_ends = nvme__now_ms(ctrlr) + ms;
	__atomic_store_n(&ctrlr->paused, true, __ATOMIC_RELAXED);
}

/* Namespaces that were identified meanwhile are held, too. */
static void nvme__ctrlr_hold_io(struct nvme_ctrlr *ctrlr, bool hold)
{
	uint32_t i;

	for (i = 0; i < ctrlr->num_ns; i++) {
		if (ctrlr->ns[i]->refuse == (hold ? 0 : -EAGAIN))
			nvme__ns_set_refuse(ctrlr->ns[i], hold ? -EAGAIN : 0);
	}
}

/* Is it over? [Base 2.1 §3.1.4.6, Fig. 42: Controller Status, Processing Paused] */
static void nvme__ctrlr_watch_pause(struct nvme_ctrlr *ctrlr)
{
	bool late = nvme__now_ms(ctrlr) > ctrlr->events->pause_ends;
	uint32_t csts;
	int rc = nvme__ctrlr_check_csts(ctrlr, &csts);

	if (rc == 0 && NVME_GET(csts, NVME_CSTS_PP) != 0 && !late) {
		nvme__ctrlr_hold_io(ctrlr, true);
		return;
	}
	if (rc == 0 && NVME_GET(csts, NVME_CSTS_PP) != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "firmware is still being activated (CSTS.PP) after the time that the controller asked for (MTFA, %u00 ms): I/O goes on and may wait",
		              ctrlr->data.mtfa);
	__atomic_store_n(&ctrlr->paused, false, __ATOMIC_RELAXED);
	nvme__ctrlr_hold_io(ctrlr, false);
}

/* ---- events, one after the other ---- */

static bool nvme__event_is_firmware(const struct nvme_cpl *cpl)
{
	return NVME_GET(cpl->cdw0, NVME_AER_TYPE) == NVME_AER_TYPE_NOTICE &&
	       NVME_GET(cpl->cdw0, NVME_AER_INFO) == NVME_AER_NOTICE_FIRMWARE;
}

static int nvme__events_send(struct nvme_ctrlr *ctrlr);

/* A request is complete, in whatever call. Not sent again: one that failed, which it would again. */
static void nvme__event_told(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;
	struct nvme__events *ev = ctrlr->events;

	ev->outstanding--;
	if (nvme__cpl_is_dropped(ctrlr, cpl))
		return;
	if (nvme_cpl_is_error(cpl)) {
		ev->want--;
		if (!ev->complained)
			NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
			              "an Asynchronous Event Request failed and is not sent again: %" PRIu32
			              " are left, and with none there are no events until the controller is attached again",
			              ev->want);
		ev->complained = true;
		return;
	}
	nvme__log_event(ctrlr, cpl);
	ev->queue[(ev->first + ev->count++) % NVME__EVENTS] = *cpl;
	if (nvme__event_is_firmware(cpl)) {
		nvme__ctrlr_pause(ctrlr);
		nvme__ctrlr_hold_io(ctrlr, true);
	}
	(void)nvme__events_send(ctrlr); /* what does not go out now does with the next event */
}

/* As many as are wanted, as long as there is room for what they may tell. */
static int nvme__events_send(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;
	struct nvme_cmd cmd;
	int rc;

	nvme__cmd_init(&cmd, NVME_OPC_ASYNC_EVENT_REQUEST, 0);
	while (ev->outstanding < ev->want && ev->outstanding + ev->count < NVME__EVENTS) {
		rc = nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, nvme__event_told, ctrlr);
		if (rc != 0)
			return rc;
		ev->outstanding++;
	}
	return 0;
}

/* The callback runs as those of admin commands do, and so its blocking calls are refused. */
static void nvme__event_hand_out(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;
	struct nvme_cpl cpl = ev->queue[ev->first];

	ev->first = (ev->first + 1) % NVME__EVENTS;
	ev->count--;
	ev->step = NVME__EVENT_NEW;
	ctrlr->adminq->polling++;
	if (ev->cb != NULL)
		ev->cb(ev->arg, &cpl);
	ctrlr->adminq->polling--;
	(void)nvme__events_send(ctrlr);
}

/* Where nothing has to be read, or cannot be, the event is as good as read. */
static void nvme__event_begin(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;
	uint32_t lid = NVME_GET(ev->queue[ev->first].cdw0, NVME_AER_LID);
	uint32_t len = nvme__event_page_len(ctrlr, lid);
	int rc;

	if (len == 0) {
		ev->step = NVME__EVENT_READ;
		return;
	}
	rc = nvme__events_read(ctrlr, (uint8_t)lid, len, false, nvme__event_page_done);
	if (rc == 0)
		ev->step = NVME__EVENT_READING;
	else if (rc != -EAGAIN)
		ev->step = NVME__EVENT_READ;
}

/* The firmware's page waits until the controller works again; a callback until sizes are known. */
static void nvme__events_go_on(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;

	while (ev->count != 0) {
		const struct nvme_cpl *cpl = &ev->queue[ev->first];

		if (ev->step == NVME__EVENT_NEW && !(ctrlr->paused && nvme__event_is_firmware(cpl)))
			nvme__event_begin(ctrlr);
		if (ev->step != NVME__EVENT_READ || ctrlr->ns_changing)
			return;
		nvme__event_hand_out(ctrlr);
	}
}

/* ---- the error log ---- */

static void nvme__more_page_done(void *arg, const struct nvme_cpl *cpl);

/* A completion with M. Not those of the driver's own look at the log, which would go on for ever. */
NVME__COLD void nvme__events_note_more(struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                       const struct nvme_cpl *cpl)
{
	struct nvme__events *ev = qp->ctrlr->events;
	struct nvme__more *more;

	if (ev == NULL || tr->cb == nvme__more_page_done || tr->cb == nvme__event_page_done)
		return;
	nvme__mutex_lock(&ev->lock);
	if (ev->num_more < NVME__MORE) {
		more = &ev->more[ev->num_more++];
		more->cmd = tr->cmd;
		more->qid = qp->id;
		more->status = cpl->status;
	} else {
		ev->more_lost++;
	}
	nvme__mutex_unlock(&ev->lock);
}

/* The newest entry is the first, and a CID is used again and again: so the first that fits. */
static void nvme__more_look_up(struct nvme_ctrlr *ctrlr, const struct nvme__more *more)
{
	const struct nvme_error_log_entry *e =
		(const struct nvme_error_log_entry *)(const void *)ctrlr->events->page;
	const struct nvme_error_log_entry *found = NULL;
	uint32_t i, n = nvme__ctrlr_error_log_len(ctrlr) / (uint32_t)sizeof(*e);

	for (i = 0; i < n && e[i].ecnt != 0 && found == NULL; i++) {
		if (e[i].sqid == more->qid && e[i].cid == more->cmd.cid &&
		    ((e[i].sts ^ more->status) >> 1) == 0)
			found = &e[i];
	}
	nvme__log_more(ctrlr, more->qid, &more->cmd, found);
}

/* Those that were asked for are done with, whatever came. */
static void nvme__more_page_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;
	struct nvme__events *ev = ctrlr->events;
	uint32_t i, lost;

	ev->reading = false;
	if (nvme_cpl_is_error(cpl) && !ctrlr->closing)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the error log could not be read: what it says of %" PRIu32
		              " errors is not known",
		              ev->more_asked);
	for (i = 0; i < ev->more_asked && !nvme_cpl_is_error(cpl); i++)
		nvme__more_look_up(ctrlr, &ev->more[i]);
	nvme__mutex_lock(&ev->lock);
	ev->num_more -= ev->more_asked;
	memmove(ev->more, ev->more + ev->more_asked, ev->num_more * sizeof(*ev->more));
	lost = ev->more_lost;
	ev->more_lost = 0;
	nvme__mutex_unlock(&ev->lock);
	ev->more_asked = 0;
	if (lost != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_NOTICE,
		              "error log: %" PRIu32 " more completions with M were not looked up",
		              lost);
}

static void nvme__more_ask(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;
	uint32_t waiting;

	nvme__mutex_lock(&ev->lock);
	waiting = ev->num_more;
	nvme__mutex_unlock(&ev->lock);
	if (waiting == 0 || ev->more_asked != 0)
		return;
	if (nvme__events_read(ctrlr, NVME_LOG_PAGE_ERROR, nvme__ctrlr_error_log_len(ctrlr), true,
	                      nvme__more_page_done) == 0)
		ev->more_asked = waiting;
}

/* ---- keep alive ---- */

static void nvme__keep_alive_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;
	struct nvme__events *ev = ctrlr->events;

	ev->keep_alive_sent = false;
	if (!nvme_cpl_is_error(cpl) || nvme__cpl_is_dropped(ctrlr, cpl) || ev->keep_alive_failed)
		return;
	ev->keep_alive_failed = true;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "a Keep Alive failed: the controller may stop after %" PRIu32
	              " ms; attach it without keep_alive_timeout_ms in the options",
	              ctrlr->opts.keep_alive_timeout_ms);
}

/* Is it time for one? The one before must be back. */
static void nvme__events_keep_alive(struct nvme_ctrlr *ctrlr)
{
	struct nvme__events *ev = ctrlr->events;
	struct nvme_cmd cmd;
	uint64_t now;

	if (ev == NULL || ctrlr->opts.keep_alive_timeout_ms == 0 || ev->keep_alive_sent)
		return;
	now = nvme__now_ms(ctrlr);
	if (now < ev->keep_alive_next)
		return;
	nvme__cmd_init(&cmd, NVME_OPC_KEEP_ALIVE, 0);
	if (nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, nvme__keep_alive_done, ctrlr) != 0)
		return;
	ev->keep_alive_sent = true;
	ev->keep_alive_next = now + ctrlr->opts.keep_alive_timeout_ms / 2;
}

/* Rounded up to whole units of KAS, within 32 bits [Base 2.1: Keep Alive Timer feature]. */
static uint32_t nvme__keep_alive_round(uint32_t ms, uint32_t unit)
{
	uint64_t up = ((uint64_t)ms + unit - 1) / unit * unit;

	return (uint32_t)(up <= UINT32_MAX ? up : up - unit);
}

static int nvme__ctrlr_start_keep_alive(struct nvme_ctrlr *ctrlr)
{
	uint32_t *ms = &ctrlr->opts.keep_alive_timeout_ms, unit = ctrlr->data.kas * 100u;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc = -EIO;

	if (*ms == 0)
		return 0;
	if (unit != 0) {
		*ms = nvme__keep_alive_round(*ms, unit);
		nvme__cmd_init(&cmd, NVME_OPC_SET_FEATURES, 0);
		cmd.cdw10 = NVME_SET(NVME_FEAT_KEEP_ALIVE_TIMER, NVME_FEATURES_FID);
		cmd.cdw11 = *ms;
		ctrlr->events->keep_alive_next = nvme__now_ms(ctrlr) + *ms / 2;
		rc = nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
	}
	if (rc != -EIO || nvme__qpair_failed(ctrlr->adminq) != 0)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
	              "the controller %s: keep_alive_timeout_ms of the options is not used",
	              unit == 0 ? "has no keep alive (KAS is 0)" : "refuses the Keep Alive Timer");
	*ms = 0;
	return 0;
}

/* Is it one of the driver's own? Then its callback may run in any thread that has the lock. */
static bool nvme__is_events_cb(nvme_cmd_cb cb)
{
	return cb == nvme__event_told || cb == nvme__event_page_done ||
	       cb == nvme__more_page_done || cb == nvme__keep_alive_done;
}

/* ---- switching on ---- */

/* Requests of the caller's own count, for the controller takes only so many in all. */
static uint32_t nvme__ctrlr_count_aers(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme_qpair *qp = ctrlr->adminq;
	uint32_t i, most = ctrlr->data.aerl + 1u, taken = 0;

	for (i = 0; i < qp->num_trackers; i++)
		taken += qp->trackers[i].outstanding &&
		         qp->trackers[i].cmd.opc == NVME_OPC_ASYNC_EVENT_REQUEST;
	most = taken < most ? most - taken : 0;
	most = most < NVME__AERS ? most : NVME__AERS;
	return most < qp->num_trackers / 2 ? most : qp->num_trackers / 2;
}

/* A controller that does not let itself be configured tells what it tells by default. */
static int nvme__ctrlr_arm_aers(struct nvme_ctrlr *ctrlr)
{
	uint32_t smart = NVME_SMART_SPARE | NVME_SMART_TEMPERATURE | NVME_SMART_DEGRADED |
	                 NVME_SMART_READ_ONLY | NVME_SMART_BACKUP;
	struct nvme__events *ev = ctrlr->events;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	ev->want = nvme__ctrlr_count_aers(ctrlr);
	if (ev->want == 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "no Asynchronous Event Request can be sent: attach with a larger admin_queue_size, and send none of your own");
		return -ENOSPC;
	}
	if (NVME_GET64(ctrlr->cap, NVME_CAP_PMRS) != 0)
		smart |= NVME_SMART_PMR;
	nvme__cmd_init(&cmd, NVME_OPC_SET_FEATURES, 0);
	cmd.cdw10 = NVME_SET(NVME_FEAT_ASYNC_EVENT_CONFIG, NVME_FEATURES_FID);
	cmd.cdw11 = NVME_SET(smart, NVME_AEC_SMART) | (ctrlr->data.oaes & NVME_AEC_NOTICES);
	rc = nvme__ctrlr_admin(ctrlr, &cmd, NULL, 0, &cpl);
	if (rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "the controller refuses the configuration of events: it tells those that it chooses");
		rc = 0;
	}
	if (rc == 0)
		rc = nvme__events_send(ctrlr);
	return rc == -EAGAIN && ev->outstanding != 0 ? 0 : rc; /* the next event brings the rest */
}

/*
 * After the controller was brought up: what it forgot with the reset, or never knew. Nothing, where
 * neither options nor a callback ask for it.
 */
static int nvme__ctrlr_arm_events(struct nvme_ctrlr *ctrlr)
{
	int rc;

	if (ctrlr->events == NULL && ctrlr->opts.keep_alive_timeout_ms == 0 &&
	    !ctrlr->opts.read_error_log)
		return 0;
	if (nvme__ctrlr_get_events(ctrlr) == NULL)
		return -ENOMEM;
	rc = nvme__ctrlr_start_keep_alive(ctrlr);
	return rc != 0 || !ctrlr->events->armed ? rc : nvme__ctrlr_arm_aers(ctrlr);
}

/* All that is left to do for what came in. */
static void nvme__ctrlr_tend_events(struct nvme_ctrlr *ctrlr)
{
	nvme__events_keep_alive(ctrlr);
	if (ctrlr->paused)
		nvme__ctrlr_watch_pause(ctrlr);
	nvme__events_go_on(ctrlr);
	nvme__more_ask(ctrlr);
}

NVMEDEF int nvme_ctrlr_register_aer_callback(struct nvme_ctrlr *ctrlr, nvme_aer_cb cb, void *arg)
{
	struct nvme__events *ev = ctrlr->events;
	int rc = 0;

	if (cb != NULL && (ev == NULL || !ev->armed)) {
		rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_register_aer_callback()");
		if (rc != 0)
			return rc;
		ev = nvme__ctrlr_get_events(ctrlr);
		if (ev == NULL)
			return -ENOMEM;
		rc = nvme__ctrlr_arm_aers(ctrlr);
		ev->armed = rc == 0;
	}
	if (ev != NULL) {
		ev->cb = rc == 0 ? cb : NULL;
		ev->arg = arg;
	}
	return rc;
}

/* ============================================================================================
 * >>power
 *
 * Power states, and how much time there is when power goes.
 * ============================================================================================ */

NVMEDEF int nvme_ctrlr_set_power_state(struct nvme_ctrlr *ctrlr, uint32_t ps,
                                       uint32_t workload_hint, struct nvme_cpl *cpl)
{
	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if (ps > ctrlr->data.npss || ps >= NVME_APST_STATES || workload_hint > 7) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "power state %" PRIu32 " with workload hint %" PRIu32
		              " is refused: the controller has states 0 to %u (NPSS), and hints are 0 to 7",
		              ps, workload_hint, ctrlr->data.npss);
		return -EINVAL;
	}
	return nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_POWER_MANAGEMENT,
	                              NVME_SET(ps, NVME_POWER_PS) |
	                                      NVME_SET(workload_hint, NVME_POWER_WH),
	                              0, NULL, 0, cpl);
}

NVMEDEF int nvme_ctrlr_get_power_state(struct nvme_ctrlr *ctrlr, uint32_t *ps,
                                       uint32_t *workload_hint, struct nvme_cpl *cpl)
{
	uint32_t value = 0;
	int rc = nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_POWER_MANAGEMENT, 0, 0, NULL, 0, &value,
	                                cpl);

	if (ps != NULL && rc == 0)
		*ps = NVME_GET(value, NVME_POWER_PS);
	if (workload_hint != NULL && rc == 0)
		*workload_hint = NVME_GET(value, NVME_POWER_WH);
	return rc;
}

/* Why the controller cannot do what an entry says. NULL: it can. */
static const char *nvme__apst_wrong(const struct nvme_id_ctrlr *id, uint32_t state,
                                    const struct nvme_apst *entry)
{
	if (entry->idle_ms == 0)
		return entry->ps == 0 ? NULL : "without an idle time there is no state to go to";
	if (state > id->npss)
		return "there is no such state (NPSS)";
	if (entry->idle_ms > NVME_GET(UINT32_MAX, NVME_APST_ITPT))
		return "the idle time is at most 16777215 ms";
	if (entry->ps > id->npss || entry->ps >= NVME_APST_STATES)
		return "there is no such state to go to (NPSS)";
	return NVME_GET(id->psd[entry->ps].flags, NVME_PSD_NOPS) != 0
	               ? NULL
	               : "the state to go to is an operational one (NOPS)";
}

NVMEDEF int nvme_ctrlr_set_apst(struct nvme_ctrlr *ctrlr, bool enable,
                                const struct nvme_apst table[NVME_APST_STATES],
                                struct nvme_cpl *cpl)
{
	uint64_t data[NVME_APST_STATES];
	const char *wrong = NULL;
	uint32_t i, used = 0;

	if (cpl != NULL)
		nvme__cpl_set_none(cpl, 0);
	if ((ctrlr->data.apsta & NVME_APSTA_SUPPORTED) == 0)
		return nvme__ctrlr_refuse_lacking(ctrlr, "autonomous power state transitions",
		                                  "APSTA bit 0");
	memset(data, 0, sizeof(data));
	for (i = 0; i < NVME_APST_STATES && table != NULL && wrong == NULL; i++) {
		wrong = nvme__apst_wrong(&ctrlr->data, i, &table[i]);
		data[i] = NVME_SET64(table[i].ps, NVME_APST_ITPS) |
		          NVME_SET64(table[i].idle_ms, NVME_APST_ITPT);
		used += data[i] != 0;
	}
	if (wrong == NULL && enable && used == 0)
		wrong = "it is switched on without any transition";
	if (wrong != NULL) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the table of power state transitions is refused at state %" PRIu32
		              " (%s): see struct nvme_apst",
		              used == 0 ? 0 : i - 1, wrong);
		return -EINVAL;
	}
	return nvme_ctrlr_set_feature(ctrlr, NVME_FEAT_AUTO_POWER_STATE_TRANSITION,
	                              NVME_SET(enable, NVME_APST_ENABLE), 0, data, sizeof(data),
	                              cpl);
}

NVMEDEF int nvme_ctrlr_get_apst(struct nvme_ctrlr *ctrlr, bool *enable,
                                struct nvme_apst table[NVME_APST_STATES], struct nvme_cpl *cpl)
{
	uint64_t data[NVME_APST_STATES];
	uint32_t value = 0, i;
	int rc = nvme_ctrlr_get_feature(ctrlr, NVME_FEAT_AUTO_POWER_STATE_TRANSITION, 0, 0, data,
	                                sizeof(data), &value, cpl);

	if (enable != NULL && rc == 0)
		*enable = NVME_GET(value, NVME_APST_ENABLE) != 0;
	for (i = 0; i < NVME_APST_STATES && table != NULL && rc == 0; i++) {
		table[i].ps = (uint32_t)NVME_GET64(data[i], NVME_APST_ITPS);
		table[i].idle_ms = (uint32_t)NVME_GET64(data[i], NVME_APST_ITPT);
	}
	return rc;
}

NVMEDEF void nvme_ctrlr_set_abrupt_shutdown(struct nvme_ctrlr *ctrlr, bool abrupt)
{
	ctrlr->abrupt = abrupt;
}

/* ============================================================================================
 * >>connect
 *
 * A queue pair whose two sides come and go apart: rings of the caller's own, connecting and
 * disconnecting, statistics.
 * ============================================================================================ */

/* ---- rings of the caller's own ---- */

/* Do these bytes and the rings that the caller gave another queue pair have one in common? */
static bool nvme__qpair_overlaps(const struct nvme_qpair *qp, const uint8_t *at, size_t len)
{
	const uint8_t *sq = (const uint8_t *)qp->sq, *cq = (const uint8_t *)qp->cq;

	return (qp->own_sq && at < sq + qp->entries * sizeof(*qp->sq) && sq < at + len) ||
	       (qp->own_cq && at < cq + qp->entries * sizeof(*qp->cq) && cq < at + len);
}

static bool nvme__ctrlr_overlaps(const struct nvme_ctrlr *ctrlr, const uint8_t *at, size_t len)
{
	const struct nvme_qpair *qp;

	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next) {
		if (nvme__qpair_overlaps(qp, at, len))
			return true;
	}
	for (qp = ctrlr->zombies; qp != NULL; qp = qp->next) {
		if (nvme__qpair_overlaps(qp, at, len))
			return true;
	}
	return false;
}

/* Can a ring of size bytes be there? A ring begins at a page and is in one piece, since PC is 1. */
static int nvme__ctrlr_check_own_ring(struct nvme_ctrlr *ctrlr, const char *name,
                                      const struct nvme_queue_memory *mem, size_t size)
{
	const char *why = NULL;
	uint64_t iova = 0;

	if (mem->vaddr == NULL && mem->len == 0)
		return 0;
	if (mem->vaddr == NULL)
		why = "vaddr is NULL, but len is not 0: give both or none";
	else if (nvme__cmb_mapped_at(ctrlr, (const uint8_t *)mem->vaddr, 1))
		why = "it is the controller's memory: use sq_in_cmb instead";
	else if (mem->len < size)
		why = "it is too small for all entries: give more, or ask for fewer entries";
	else if (nvme_dma_iova(ctrlr, mem->vaddr, size, &iova) != 0)
		why = "it is not DMA memory of one buffer: use nvme_dma_alloc() or nvme_dma_register()";
	else if (((uintptr_t)mem->vaddr | iova) % ctrlr->page_size != 0)
		why = "it does not begin at a page: align it to the page size in CC.MPS";
	else if (nvme__ctrlr_overlaps(ctrlr, (const uint8_t *)mem->vaddr, size))
		why = "another queue pair has a ring there: give each ring memory of its own";
	if (why == NULL)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "a ring of %zu bytes cannot be in %s of the options, %zu bytes at %p (%s)",
	              size, name, mem->len, mem->vaddr, why);
	return -EINVAL;
}

/* The number of entries is known. */
static int nvme__ctrlr_check_own_rings(struct nvme_ctrlr *ctrlr,
                                       const struct nvme_io_qpair_opts *opts)
{
	size_t sq_size = opts->entries * sizeof(struct nvme_cmd);
	size_t cq_size = opts->entries * sizeof(struct nvme_cpl);
	const uint8_t *sq = (const uint8_t *)opts->sq.vaddr;
	const uint8_t *cq = (const uint8_t *)opts->cq.vaddr;
	int rc = nvme__ctrlr_check_own_ring(ctrlr, "sq", &opts->sq, sq_size);

	if (rc == 0)
		rc = nvme__ctrlr_check_own_ring(ctrlr, "cq", &opts->cq, cq_size);
	if (rc == 0 && sq != NULL && opts->sq_in_cmb) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "sq and sq_in_cmb of the options are two places for one ring: give one of them");
		return -EINVAL;
	}
	if (rc != 0 || sq == NULL || cq == NULL || sq >= cq + cq_size || cq >= sq + sq_size)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "sq and cq of the options overlap: give each ring memory of its own");
	return -EINVAL;
}

/* They replace those that the queue pair was built with. Their memory is checked. */
static void nvme__qpair_use_own_rings(struct nvme_qpair *qp, const struct nvme_io_qpair_opts *opts)
{
	if (opts->sq.vaddr != NULL) {
		nvme__dma_give_back(qp->ctrlr, qp->sq, NVME__EXTENT_RING);
		qp->sq = (struct nvme_cmd *)opts->sq.vaddr;
		qp->own_sq = true;
		(void)nvme_dma_iova(qp->ctrlr, qp->sq, qp->entries * sizeof(*qp->sq), &qp->sq_iova);
	}
	if (opts->cq.vaddr != NULL) {
		nvme__dma_give_back(qp->ctrlr, qp->cq, NVME__EXTENT_RING);
		qp->cq = (struct nvme_cpl *)opts->cq.vaddr;
		qp->own_cq = true;
		(void)nvme_dma_iova(qp->ctrlr, qp->cq, qp->entries * sizeof(*qp->cq), &qp->cq_iova);
	}
	if (qp->own_sq || qp->own_cq)
		nvme__qpair_reset(qp);
}

/* ---- options of a queue pair beyond those of Book 1 ---- */

/* It is built, and the controller does not know of it. */
static void nvme__qpair_set_disconnected(struct nvme_qpair *qp)
{
	qp->disconnected = true;
	nvme__qpair_set_failed(qp, -ENXIO);
}

static int nvme__qpair_set_more(struct nvme_qpair *qp, const struct nvme_io_qpair_opts *opts)
{
	int rc = opts->sq_in_cmb ? nvme__qpair_use_cmb(qp) : 0;

	if (rc != 0)
		return rc;
	nvme__qpair_use_own_rings(qp, opts);
	if (opts->create_only)
		nvme__qpair_set_disconnected(qp);
	qp->resubmit = opts->resubmit;
	qp->retry_in_order = opts->retry_in_order;
	if (opts->delay_cmd_submit)
		qp->unusual |= NVME__UNUSUAL_DELAY;
	if (!opts->stats)
		return 0;
	qp->counted = (struct nvme_qpair_stats *)NVME_CALLOC(1, sizeof(*qp->counted));
	if (qp->counted == NULL)
		return -ENOMEM;
	qp->unusual |= NVME__UNUSUAL_STATS;
	return 0;
}

/* Its memory is about to be given back: not that of the caller. */
static void nvme__qpair_drop_more(struct nvme_qpair *qp)
{
	if (qp->own_sq)
		qp->sq = NULL;
	if (qp->own_cq)
		qp->cq = NULL;
	NVME_FREE(qp->counted);
}

/* ---- connecting ---- */

/* Not in its callbacks, nor in those of admin commands, nor while all ends. */
static int nvme__qpair_refuse_call(struct nvme_qpair *qp, const char *what)
{
	if (qp->polling != 0)
		return nvme__explain_in_callback(qp, what, NVME__HERE);
	return nvme__ctrlr_refuse_call(qp->ctrlr, what);
}

/*
 * Empty rings first, then the controller. After an error that leaves open whether it knows of them
 * the queue pair has failed: what is freed then is buried.
 */
static int nvme__qpair_connect_rings(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	int rc;

	if (qp->max_xfer_size > ctrlr->max_xfer_size) /* a reset may have changed it */
		qp->max_xfer_size = ctrlr->max_xfer_size;
	nvme__qpair_reset_rings(qp);
	nvme__qpair_init_shadow(qp); /* the controller begins at 0 again, too */
	/* until it is connected, callbacks of admin commands run */
	nvme__qpair_set_disconnected(qp);
	qp->cqes_seen = 0;
	rc = nvme__ctrlr_connect_io_qpair(ctrlr, qp);
	if (rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0) { /* refused: not in use */
		nvme__qpair_set_disconnected(qp);
		return rc;
	}
	qp->disconnected = false;
	nvme__qpair_set_failed(qp, rc);
	return rc;
}

/* All CIDs are free, too. The lock is against a reset in the middle. */
static int nvme__qpair_connect(struct nvme_qpair *qp)
{
	int rc;

	nvme__ctrlr_lock(qp->ctrlr);
	nvme__qpair_reset(qp);
	rc = nvme__qpair_connect_rings(qp);
	nvme__ctrlr_unlock(qp->ctrlr);
	return rc;
}

NVMEDEF int nvme_ctrlr_connect_io_qpair(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	int rc;

	if (qp == NULL || qp->ctrlr != ctrlr)
		return nvme__refuse_qpair(ctrlr, qp);
	rc = nvme__qpair_refuse_call(qp, "nvme_ctrlr_connect_io_qpair()");
	if (rc != 0)
		return rc;
	if (qp->disconnected)
		return nvme__qpair_connect(qp);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "queue pair %u is connected already: connect each one once, or see nvme_ctrlr_reconnect_io_qpair()",
	              qp->id);
	return -EISCONN;
}

/* Callbacks run here; submissions in them are refused like those that come later. */
static int nvme__qpair_take_off(struct nvme_qpair *qp)
{
	int rc;

	nvme__qpair_set_refuse(qp, -ENXIO);
	qp->polling++;
	nvme__ctrlr_lock(qp->ctrlr);
	rc = nvme__qpair_disconnect(qp);
	if (rc == 0)
		nvme__qpair_set_disconnected(qp);
	else
		nvme__qpair_set_failed(qp, rc);
	nvme__ctrlr_unlock(qp->ctrlr);
	qp->polling--;
	return rc;
}

NVMEDEF int nvme_ctrlr_disconnect_io_qpair(struct nvme_qpair *qp)
{
	int rc = nvme__qpair_refuse_call(qp, "nvme_ctrlr_disconnect_io_qpair()");

	return rc != 0 ? rc : nvme__qpair_take_off(qp);
}

NVMEDEF int nvme_ctrlr_reconnect_io_qpair(struct nvme_qpair *qp)
{
	int rc = nvme__qpair_refuse_call(qp, "nvme_ctrlr_reconnect_io_qpair()");

	if (rc != 0 || nvme__qpair_failed(qp) == 0)
		return rc;
	rc = nvme__qpair_take_off(qp);
	return rc != 0 ? rc : nvme__qpair_connect(qp);
}

NVMEDEF bool nvme_qpair_is_connected(const struct nvme_qpair *qp)
{
	return !qp->disconnected;
}

NVMEDEF int nvme_qpair_get_stats(const struct nvme_qpair *qp, struct nvme_qpair_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	if (qp->counted == NULL) {
		NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
		              "queue pair %u has no statistics: create it with stats in its options",
		              qp->id);
		return -ENOTSUP;
	}
	*stats = *qp->counted;
	return 0;
}

/* ============================================================================================
 * >>groups
 *
 * A group is a list of queue pairs and the place that a poll has come to in it, which moves on when
 * the queue pair there leaves. New ones come to the front, where the poll has been: however
 * callbacks change the list, a poll ends.
 * ============================================================================================ */

struct nvme_poll_group {
	void *ctx;
	struct nvme_qpair *first;
	struct nvme_qpair *upcoming; /* during a poll: the one to be polled next, or NULL */
	bool polling;
	struct nvme_poll_group_stats stats;
};

NVMEDEF struct nvme_poll_group *nvme_poll_group_create(void *ctx)
{
	struct nvme_poll_group *group;

	group = (struct nvme_poll_group *)NVME_CALLOC(1, sizeof(*group));
	if (group != NULL)
		group->ctx = ctx;
	return group;
}

/* A sentence, in the log of one of its controllers if it has any. The negative errno comes back. */
static int nvme__group_refuse(const struct nvme_poll_group *group, const char *why, int rc)
{
	static struct nvme_dev nobody; /* without a log of its own */
	const struct nvme_log *log =
		nvme__log_of(group->first != NULL ? &group->first->ctrlr->dev : &nobody);

	if (log->level >= NVME_LOG_ERROR || NVME__TRACING(log))
		nvme__log_write(log, NVME_LOG_ERROR, "nvme.h", NVME__HERE, "poll group", "%s", why);
	return rc;
}

NVMEDEF int nvme_poll_group_destroy(struct nvme_poll_group *group)
{
	if (group == NULL)
		return 0;
	if (group->polling)
		return nvme__group_refuse(group,
		                          "it was to be destroyed in a callback of its poll: set a flag there and destroy it when the poll has returned",
		                          -EBUSY);
	if (group->first != NULL)
		return nvme__group_refuse(group,
		                          "it was to be destroyed with queue pairs in it: remove or free them first",
		                          -EBUSY);
	NVME_FREE(group);
	return 0;
}

NVMEDEF void *nvme_poll_group_get_ctx(const struct nvme_poll_group *group)
{
	return group->ctx;
}

NVMEDEF int nvme_poll_group_add(struct nvme_poll_group *group, struct nvme_qpair *qp)
{
	if (qp->group != NULL)
		return nvme__group_refuse(qp->group,
		                          "a queue pair of it was to be added to a group: remove it from this one first",
		                          -EBUSY);
	if (nvme__qpair_refusal(qp) == -ESHUTDOWN || qp->ctrlr->closing)
		return -ESHUTDOWN;
	qp->group = group;
	qp->group_next = group->first;
	group->first = qp;
	group->stats.num_qpairs++;
	return 0;
}

/* It is freed, or removed: a poll that was about to come to it goes on behind it. */
static void nvme__qpair_leave_group(struct nvme_qpair *qp)
{
	struct nvme_poll_group *group = qp->group;
	struct nvme_qpair **link;

	if (group == NULL)
		return;
	for (link = &group->first; *link != qp; link = &(*link)->group_next)
		;
	*link = qp->group_next;
	if (group->upcoming == qp)
		group->upcoming = qp->group_next;
	group->stats.num_qpairs--;
	qp->group = NULL;
	qp->group_next = NULL;
}

NVMEDEF int nvme_poll_group_remove(struct nvme_poll_group *group, struct nvme_qpair *qp)
{
	if (qp->group != group) {
		NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_ERROR,
		              "queue pair %u is not in the group that it was to be removed from: remove it from its own",
		              qp->id);
		return -ENOENT;
	}
	nvme__qpair_leave_group(qp);
	return 0;
}

/*
 * One queue pair. It lives until its poll is over, though its callbacks may have removed it; the
 * callback for one that has failed may free it.
 */
static int nvme__group_poll_one(struct nvme_poll_group *group, struct nvme_qpair *qp, uint32_t max,
                                nvme_disconnected_qpair_cb disconnected_cb)
{
	int rc;

	if (qp->disconnected && !qp->lost)
		return 0;
	rc = nvme_qpair_process_completions(qp, max);
	if (rc >= 0 || rc == -EBUSY)
		return rc;
	if (qp->group == group) {
		group->stats.failures++;
		disconnected_cb(qp, group->ctx);
	}
	return 0;
}

static int64_t nvme__group_poll_all(struct nvme_poll_group *group, uint32_t max,
                                    nvme_disconnected_qpair_cb disconnected_cb)
{
	struct nvme_qpair *qp;
	int64_t count = 0;
	int rc, error = 0;

	for (qp = group->first; qp != NULL; qp = group->upcoming) {
		group->upcoming = qp->group_next;
		rc = nvme__group_poll_one(group, qp, max, disconnected_cb);
		if (rc < 0)
			error = rc;
		else
			count += rc;
	}
	group->stats.polls++;
	group->stats.idle_polls += count == 0;
	group->stats.completions += (uint64_t)count;
	return error != 0 ? error : count;
}

NVMEDEF int64_t nvme_poll_group_process_completions(struct nvme_poll_group *group,
                                                    uint32_t completions_per_qpair,
                                                    nvme_disconnected_qpair_cb disconnected_cb)
{
	int64_t count;

	if (disconnected_cb == NULL)
		return nvme__group_refuse(group,
		                          "it was polled without a callback for queue pairs that fail: give disconnected_cb",
		                          -EINVAL);
	if (group->polling)
		return nvme__group_refuse(group,
		                          "it was polled in a callback of its own poll: set a flag there and poll it when that has returned",
		                          -EBUSY);
	group->polling = true;
	count = nvme__group_poll_all(group, completions_per_qpair, disconnected_cb);
	group->polling = false;
	return count;
}

#ifdef __linux__

/* The descriptors of those that are connected: how many, or a negative errno. */
static int nvme__group_fds(const struct nvme_poll_group *group, struct pollfd *pfds)
{
	const struct nvme_qpair *qp;
	int num = 0;

	for (qp = group->first; qp != NULL; qp = qp->group_next) {
		if (qp->disconnected)
			continue;
		pfds[num].fd = nvme_qpair_get_fd(qp);
		if (pfds[num].fd < 0)
			return pfds[num].fd;
		pfds[num++].events = POLLIN;
	}
	return num > 0 ? num : -ENXIO;
}

static int nvme__group_sleep(const struct nvme_poll_group *group, int timeout_ms, uint64_t end)
{
	uint32_t room = (group->stats.num_qpairs + 1) * (1 + NVME_DEV_EVENTS);
	uint32_t retry_ms = UINT32_MAX, ms;
	struct nvme_qpair *qp;
	struct pollfd *pfds;
	int rc, num, more = 0;

	pfds = (struct pollfd *)NVME_CALLOC(room, sizeof(*pfds));
	if (pfds == NULL)
		return -ENOMEM;
	rc = num = nvme__group_fds(group, pfds);
	for (qp = num > 0 ? group->first : NULL; qp != NULL; qp = qp->group_next) {
		ms = nvme__retry_wait_ms(qp);
		retry_ms = ms < retry_ms ? ms : retry_ms;
		more += nvme__ctrlr_event_fds(qp->ctrlr, pfds + num + more);
	}
	if (num > 0)
		rc = nvme__sleep(pfds, (uint32_t)num, (uint32_t)more,
		                 nvme__sleep_slice(timeout_ms, end, retry_ms));
	while (more > 0 && pfds[num + more - 1].revents == 0)
		more--; /* more than 0 after this: a device has woken us */
	NVME_FREE(pfds);
	for (qp = num > 0 ? group->first : NULL; qp != NULL; qp = qp->group_next)
		nvme__qpair_woken(qp, rc > 0 && more == 0);
	return rc;
}

#else /* no eventfd */

static int nvme__group_sleep(const struct nvme_poll_group *group, int timeout_ms, uint64_t end)
{
	(void)group;
	(void)timeout_ms;
	(void)end;
	return -ENOTSUP;
}

#endif /* __linux__ */

NVMEDEF int64_t nvme_poll_group_wait(struct nvme_poll_group *group, uint32_t completions_per_qpair,
                                     int timeout_ms, nvme_disconnected_qpair_cb disconnected_cb)
{
	uint64_t end = nvme__real_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
	uint64_t failures = group->stats.failures;
	int64_t count;
	int rc;

	for (;;) {
		count = nvme_poll_group_process_completions(group, completions_per_qpair,
		                                            disconnected_cb);
		if (count != 0 || group->stats.failures != failures)
			return count;
		rc = nvme__group_sleep(group, timeout_ms, end);
		if (rc > 0)
			return nvme_poll_group_process_completions(group, completions_per_qpair,
			                                           disconnected_cb);
		if (rc < 0 || (timeout_ms >= 0 && nvme__real_ms() >= end))
			return rc == -EINTR ? 0 : rc;
	}
}

NVMEDEF void nvme_poll_group_get_stats(const struct nvme_poll_group *group,
                                       struct nvme_poll_group_stats *stats)
{
	struct nvme_qpair_stats *sum = &stats->qpairs;
	const struct nvme_qpair *qp;

	*stats = group->stats;
	for (qp = group->first; qp != NULL; qp = qp->group_next) {
		if (qp->counted == NULL)
			continue;
		sum->polls += qp->counted->polls;
		sum->idle_polls += qp->counted->idle_polls;
		sum->completions += qp->counted->completions;
		sum->submitted_requests += qp->counted->submitted_requests;
		sum->sq_doorbell_updates += qp->counted->sq_doorbell_updates;
		sum->cq_doorbell_updates += qp->counted->cq_doorbell_updates;
	}
}

/* ============================================================================================
 * >>watch
 *
 * Polls cost nothing but a count down. Each time it comes to 0, about every 10 ms however fast the
 * caller polls, the watch looks up: what time is it, does the device still answer, which commands
 * are late?
 *
 * The word `outstanding` of a tracker is 1 when the command is sent, and costs nothing more. The
 * watch that sees it first notes the time there, and counts from then on; so a deadline is noticed
 * up to two looks late, and only by polls.
 * ============================================================================================ */

#define NVME__WATCH_MS   10u
#define NVME__WATCH_MAX  ((uint32_t)1 << 12) /* polls */
#define NVME__NOTE_LIMIT ((uint32_t)1 << 28) /* ms: the longest deadline that a note can hold */

/* Polls until the clock is read again: few, as the caller may poll less often. Is a look due now? */
static bool nvme__watch_pace(struct nvme_qpair *qp, uint64_t now)
{
	bool own_clock = qp->ctrlr->dev.ops->now_ns != NULL; /* which may stand still meanwhile */
	struct nvme__watch *w = &qp->watch;
	uint64_t passed = now - w->last_ms;

	if (w->every == 0)
		w->every = NVME__WATCH_FIRST;
	else if (passed > 2 * NVME__WATCH_MS)
		w->every = (uint32_t)(w->every * (uint64_t)NVME__WATCH_MS / passed) + 1;
	else if (passed < NVME__WATCH_MS / 2 && w->every < NVME__WATCH_MAX)
		w->every *= 2;
	w->last_ms = now;
	qp->watch_in = w->every;
	if (!own_clock && now - w->looked_ms < NVME__WATCH_MS)
		return false;
	w->looked_ms = now;
	return true;
}

/* What the watch notes in a tracker: 29 bits of the time, a rung of the ladder, and a 1. */
static uint32_t nvme__note(uint64_t now, uint32_t rung)
{
	return (uint32_t)now << 3 | rung << 1 | 1;
}

static uint32_t nvme__note_age(uint32_t note, uint64_t now)
{
	return ((uint32_t)now - (note >> 3)) & (2 * NVME__NOTE_LIMIT - 1);
}

static uint32_t nvme__note_rung(uint32_t note)
{
	return note >> 1 & 3;
}

/* How long a command of this queue may take, ms. 0: as long as it likes. */
static uint32_t nvme__qpair_limit_ms(const struct nvme_qpair *qp)
{
	const struct nvme__ladder *l = &qp->ctrlr->ladder;
	uint32_t ms = qp->id == 0 ? l->admin_ms : l->io_ms;

	return ms < NVME__NOTE_LIMIT ? ms : 0;
}

/*
 * An Asynchronous Event Request waits for something to happen, and a Format may take hours: they are
 * never late.
 */
static bool nvme__tracker_has_deadline(const struct nvme_qpair *qp, const struct nvme_tracker *tr)
{
	return tr->outstanding != 0 && !tr->waiting &&
	       (qp->id != 0 || (tr->cmd.opc != NVME_OPC_ASYNC_EVENT_REQUEST &&
	                        tr->cmd.opc != NVME_OPC_FORMAT_NVM));
}

static void nvme__ladder_climb(struct nvme_qpair *qp, struct nvme_tracker *tr, uint64_t now,
                               uint32_t limit);
static void nvme__ladder_fatal(struct nvme_qpair *qp);

/* Into the record, with the ms that are allowed, or until it is sent again. */
static void nvme__trace_late(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms);
static void nvme__trace_abort(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms);
static void nvme__trace_retry(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms);
static void nvme__trace_reset(const struct nvme_ctrlr *ctrlr);
static void nvme__trace_reset_end(const struct nvme_ctrlr *ctrlr);
static void nvme__trace_given_up(const struct nvme_ctrlr *ctrlr, int rc);

/* Notes those that are new, and has the ladder climbed for those that are late. */
static void nvme__watch_commands(struct nvme_qpair *qp, uint64_t now)
{
	uint32_t limit = nvme__qpair_limit_ms(qp), i;

	if (__atomic_load_n(&qp->ctrlr->paused, __ATOMIC_RELAXED)) /* by a firmware activation */
		return;
	for (i = 0; limit != 0 && i < qp->num_trackers; i++) {
		struct nvme_tracker *tr = &qp->trackers[i];

		if (!nvme__tracker_has_deadline(qp, tr))
			continue;
		if (tr->outstanding == 1)
			tr->outstanding = nvme__note(now, 0);
		else if (nvme__note_age(tr->outstanding, now) >= limit)
			nvme__ladder_climb(qp, tr, now, limit);
		if (nvme__qpair_failed(qp) != 0)
			return; /* it was reset */
	}
}

/* Has the bring-up come to its end, and is nobody taking all down? Else there is no ladder. */
static bool nvme__ladder_stands(const struct nvme_ctrlr *ctrlr)
{
	return __atomic_load_n(&ctrlr->ladder.stands, __ATOMIC_ACQUIRE) && !ctrlr->closing;
}

NVME__COLD int nvme__ctrlr_check_alive(struct nvme_ctrlr *ctrlr);

static bool nvme__ctrlr_bus_failed(const struct nvme_ctrlr *ctrlr)
{
	return (__atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED) & NVME__BUS_FAIL) != 0;
}

/* What the watch has found ends the queue pair, unless the ladder knows better. */
static void nvme__qpair_alarm(struct nvme_qpair *qp, int rc)
{
	if (rc == -ENODEV || nvme__ctrlr_bus_failed(qp->ctrlr) || !nvme__ladder_stands(qp->ctrlr))
		(void)nvme__qpair_fail(qp, rc);
	else
		nvme__ladder_fatal(qp);
}

/*
 * CSTS is read while something is outstanding only [Base 2.1 §3.1.4.6, Fig. 42: Controller Status].
 * Returns what the queue pair has failed with, or 0.
 */
NVME__COLD int nvme__qpair_watch(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	uint64_t now = nvme__now_ms(ctrlr);
	int rc;

	if (!nvme__watch_pace(qp, now) || qp->polling != 0 || nvme__qpair_failed(qp) != 0 ||
	    qp->num_free == qp->num_trackers)
		return nvme__qpair_failed(qp);
	rc = nvme__ctrlr_check_alive(ctrlr);
	if (rc != 0)
		nvme__qpair_alarm(qp, rc);
	else if (nvme__ladder_stands(ctrlr))
		nvme__watch_commands(qp, now);
	if (nvme__qpair_failed(qp) != 0) /* by a reset from here: its commands can end at once */
		(void)nvme__qpair_poll_failed(qp);
	return nvme__qpair_failed(qp);
}

/* ============================================================================================
 * >>ladder
 *
 * What is done for a command that does not come back, rung by rung: look once more, ask the
 * controller to abort it, reset the controller, give the controller up. Who has registered a
 * callback climbs alone.
 *
 * Any queue pair's thread may stand on it, and needs the admin queue for it, which therefore has a
 * lock. It is recursive, as callbacks of admin commands may send others, and never waited for here:
 * when somebody else has it, that may be a reset already, and the next look will tell.
 * ============================================================================================ */

#define NVME__LADDER_RESETS 3u /* in a row before the controller is given up */

/* Devices that are known to be different. */
static const struct nvme__quirk {
	uint16_t vendor, device;
	uint32_t quirks;
} nvme__quirk_table[] = {
	{0x1b36, 0x0010, NVME__QUIRK_NO_ABORT}, /* QEMU */
	{0x15ad, 0x07f0, NVME__QUIRK_NO_SHST},  /* VMware */
};

static uint32_t nvme__find_quirks(const struct nvme_dev *dev)
{
	size_t i;

	for (i = 0; i < sizeof(nvme__quirk_table) / sizeof(nvme__quirk_table[0]); i++) {
		if (nvme__quirk_table[i].vendor == dev->vendor_id &&
		    nvme__quirk_table[i].device == dev->device_id)
			return nvme__quirk_table[i].quirks;
	}
	return 0;
}

static void nvme__ctrlr_init_lock(struct nvme_ctrlr *ctrlr)
{
#ifdef NVME__THREADS
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&ctrlr->admin_lock, &attr);
	pthread_mutexattr_destroy(&attr);
#else
	nvme__mutex_init(&ctrlr->admin_lock);
#endif
}

static void nvme__ctrlr_lock(struct nvme_ctrlr *ctrlr)
{
	nvme__mutex_lock(&ctrlr->admin_lock);
}

static void nvme__ctrlr_unlock(struct nvme_ctrlr *ctrlr)
{
	nvme__mutex_unlock(&ctrlr->admin_lock);
}

static void nvme__ladder_set(struct nvme_ctrlr *ctrlr, bool stands)
{
	__atomic_store_n(&ctrlr->ladder.stands, stands, __ATOMIC_RELEASE);
}

/* The bring-up is done: from now on the ladder stands. */
static void nvme__ctrlr_init_ladder(struct nvme_ctrlr *ctrlr)
{
	struct nvme__ladder *l = &ctrlr->ladder;

	l->quirks = nvme__find_quirks(&ctrlr->dev);
	if (!ctrlr->opts.no_ladder && l->cb == NULL) {
		l->io_ms = ctrlr->opts.io_timeout_ms;
		l->admin_ms = ctrlr->opts.admin_timeout_ms;
	}
	nvme__ladder_set(ctrlr, true);
}

NVMEDEF int nvme_ctrlr_register_timeout_callback(struct nvme_ctrlr *ctrlr, uint64_t timeout_io_us,
                                                 uint64_t timeout_admin_us, nvme_timeout_cb cb,
                                                 void *arg)
{
	uint64_t io_ms = timeout_io_us / 1000 + (timeout_io_us % 1000 != 0);
	uint64_t admin_ms = timeout_admin_us / 1000 + (timeout_admin_us % 1000 != 0);

	if (cb == NULL || io_ms >= NVME__NOTE_LIMIT || admin_ms >= NVME__NOTE_LIMIT) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "no callback for late commands was registered (%s): see nvme_ctrlr_register_timeout_callback() in nvme.h",
		              cb == NULL ? "it is NULL" : "a time is above three days");
		return -EINVAL;
	}
	ctrlr->ladder.cb = cb;
	ctrlr->ladder.arg = arg;
	ctrlr->ladder.io_ms = (uint32_t)io_ms;
	ctrlr->ladder.admin_ms = (uint32_t)admin_ms;
	return 0;
}

NVMEDEF bool nvme_ctrlr_is_failed(struct nvme_ctrlr *ctrlr)
{
	return nvme__ctrlr_is_gone(ctrlr) ||
	       __atomic_load_n(&ctrlr->ladder.failed, __ATOMIC_RELAXED) != 0;
}

/* A line for each rung, with the command that is late. */
static void nvme__ladder_say(const struct nvme_qpair *qp, const struct nvme_tracker *tr,
                             const char *what)
{
	NVME__DEV_LOG(&qp->ctrlr->dev, NVME_LOG_WARNING,
	              "command %u of queue %u, opcode %02xh, is late: %s", tr->cid, qp->id,
	              tr->cmd.opc, what);
}

/* The caller's own way. It may reset the controller there, and send admin commands. */
static void nvme__ladder_tell(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	struct nvme__ladder *l = &qp->ctrlr->ladder;

	if (qp->id == 0)
		l->told_admin = true;
	qp->polling++; /* it may neither poll nor free this queue pair */
	l->cb(l->arg, qp->ctrlr, qp->id == 0 ? NULL : qp, tr->cid);
	qp->polling--;
	if (qp->id == 0)
		l->told_admin = false;
}

/* Nobody waits for what an Abort says: the command that it is for tells by its end. */
static void nvme__ladder_abort_done(void *arg, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = (struct nvme_ctrlr *)arg;

	if (nvme_cpl_is_error(cpl) || (cpl->cdw0 & 1) != 0)
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
		              "the controller did not abort the late command");
}

/* Is an admin command the caller's? Then its callback belongs to the controller's thread. */
static bool nvme__adminq_is_foreign(const struct nvme_qpair *aq)
{
	uint32_t i;

	for (i = 0; i < aq->num_trackers; i++) {
		if (aq->trackers[i].outstanding != 0 &&
		    aq->trackers[i].cb != nvme__ladder_abort_done &&
		    !nvme__is_events_cb(aq->trackers[i].cb))
			return true;
	}
	return false;
}

/*
 * Sends an Abort [Base 2.1: Abort command], within what ACL allows. What the last ones have said is
 * taken in first, unless others wait in the admin queue. -EAGAIN: not now.
 */
static int nvme__ladder_abort(struct nvme_qpair *qp, const struct nvme_tracker *tr)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	int rc;

	if (!nvme__mutex_trylock(&ctrlr->admin_lock))
		return -EAGAIN;
	if (ctrlr->adminq->polling == 0 && !nvme__adminq_is_foreign(ctrlr->adminq))
		(void)nvme_qpair_process_completions(ctrlr->adminq, 0);
	rc = nvme_ctrlr_cmd_abort(ctrlr, qp, tr->cid, nvme__ladder_abort_done, ctrlr);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

static void nvme__ladder_reset(struct nvme_qpair *qp);
static const char *nvme__removal_words(const struct nvme_ctrlr *ctrlr);

/*
 * One rung for one command. Those of the admin queue have no Abort: when it does not answer, there
 * is nobody to ask.
 */
static void nvme__ladder_climb(struct nvme_qpair *qp, struct nvme_tracker *tr, uint64_t now,
                               uint32_t limit)
{
	uint32_t note = tr->outstanding, rung = nvme__note_rung(note);
	bool can_abort = qp->id != 0 && (qp->ctrlr->ladder.quirks & NVME__QUIRK_NO_ABORT) == 0;
	int rc = -EAGAIN;

	if (rung == 0) { /* the completion may have come since the last poll */
		nvme__trace_late(qp, tr->cid, limit);
		tr->outstanding = note | 1u << 1;
		qp->watch_in = 1;
		return;
	}
	if (qp->ctrlr->ladder.cb != NULL) {
		if (rung == 1) {
			tr->outstanding = note | 3u << 1;
			nvme__ladder_tell(qp, tr);
		}
		return;
	}
	if (rung == 1 && can_abort && nvme__note_age(note, now) < 2 * limit)
		rc = nvme__ladder_abort(qp, tr);
	if (rc == 0) {
		nvme__trace_abort(qp, tr->cid, limit);
		nvme__ladder_say(qp, tr, "the controller is asked to abort it");
		tr->outstanding = nvme__note(now, 2);
	} else if (rc != -EAGAIN || rung == 2 || !can_abort ||
	           nvme__note_age(note, now) >= 2 * limit) {
		nvme__ladder_say(qp, tr, "the controller is reset");
		nvme__ladder_reset(qp);
	}
}

/* A fatal status: nothing completes any more, and only a reset clears it. */
static void nvme__ladder_fatal(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;

	if (ctrlr->ladder.cb != NULL || ctrlr->opts.no_ladder) {
		(void)nvme__qpair_fail(qp, -EIO);
		return;
	}
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING, "%s: it is reset", nvme__removal_words(ctrlr));
	nvme__ladder_reset(qp);
}

/* ============================================================================================
 * >>retry
 *
 * A status without DNR (do not retry) may pass. Some are known to, and for any the controller can
 * name a delay (CRD, an index into CRDT1 to CRDT3 of its Identify data). Such a command is sent
 * again, with the same CID and data pointer, and its callback hears of the last try only.
 *
 * It costs nothing while all goes well: a tracker's `retries` is 0 unless NVME__UNUSUAL_RETRY is
 * set, and with that every completion comes by here.
 * ============================================================================================ */

/* [Base 2.1 §4.2.3, Fig. 100: Status Field] */
static bool nvme__status_is_transient(const struct nvme_cpl *cpl)
{
	uint32_t sct = NVME_GET(cpl->status, NVME_CPL_SCT), sc = NVME_GET(cpl->status, NVME_CPL_SC);

	if (NVME_GET(cpl->status, NVME_CPL_DNR) != 0)
		return false;
	if (NVME_GET(cpl->status, NVME_CPL_CRD) != 0)
		return true;
	if (sct == NVME_SCT_GENERIC)
		return sc == NVME_SC_NAMESPACE_NOT_READY || sc == NVME_SC_FORMAT_IN_PROGRESS ||
		       sc == NVME_SC_COMMAND_INTERRUPTED || sc == NVME_SC_TRANSIENT_TRANSPORT_ERROR;
	return sct == NVME_SCT_PATH && sc == NVME_SC_INTERNAL_PATH_ERROR;
}

/* One half of a fused pair is no command; an event request that fails would fail for ever. */
static bool nvme__cmd_may_be_retried(const struct nvme_qpair *qp, const struct nvme_cmd *cmd)
{
	if (NVME_GET(cmd->flags, NVME_CMD_FUSE) != 0)
		return false;
	return qp->id != 0 ||
	       (cmd->opc != NVME_OPC_ASYNC_EVENT_REQUEST && cmd->opc != NVME_OPC_ABORT);
}

static bool nvme__tracker_may_try_again(const struct nvme_qpair *qp, const struct nvme_tracker *tr)
{
	uint32_t count = qp->ctrlr->opts.retry_count;

	return count != NVME_RETRY_NEVER && tr->retries < count;
}

/* ms; CRD 0 is none. The time is bounded by the field: 6554 s. */
static uint32_t nvme__retry_delay_ms(const struct nvme_ctrlr *ctrlr, const struct nvme_cpl *cpl)
{
	const struct nvme_id_ctrlr *id = &ctrlr->data;
	const uint16_t crdt[4] = {0, id->crdt1, id->crdt2, id->crdt3};

	return crdt[NVME_GET(cpl->status, NVME_CPL_CRD)] * (uint32_t)100;
}

/* The command as the tracker holds it, into the ring once more. Its deadline starts anew. */
static void nvme__tracker_send_again(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	tr->outstanding = 1;
	nvme_copy_command(&qp->sq[qp->sq_tail], &tr->cmd);
	nvme_qpair_submit_request(qp, tr, NULL, 0);
}

/* It counts as one more try. With retry_in_order nothing new goes in before it is through. */
static void nvme__retry_begin(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	int none = 0;

	if (tr->retries++ == 0)
		qp->num_retried++;
	qp->unusual |= NVME__UNUSUAL_RETRY;
	if (qp->retry_in_order)
		(void)__atomic_compare_exchange_n(&qp->refuse, &none, -EAGAIN, false,
		                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* It has ended, and is none of those that wait. */
static void nvme__retry_end(struct nvme_qpair *qp, struct nvme_tracker *tr)
{
	struct nvme_tracker **link;
	int again = -EAGAIN;

	for (link = &qp->retry_first; tr->waiting && *link != NULL; link = &(*link)->next_free) {
		if (*link != tr)
			continue;
		*link = tr->next_free;
		tr->waiting = false;
		break;
	}
	if (tr->retries != 0)
		qp->num_retried--;
	tr->retries = 0;
	if (qp->num_retried != 0)
		return;
	qp->unusual &= ~NVME__UNUSUAL_RETRY;
	(void)__atomic_compare_exchange_n(&qp->refuse, &again, 0, false, __ATOMIC_RELAXED,
	                                  __ATOMIC_RELAXED);
}

/* The command has failed. Is it sent again, now or later? */
static bool nvme__retry(struct nvme_qpair *qp, struct nvme_tracker *tr, const struct nvme_cpl *cpl)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	int refuse = nvme__qpair_refusal(qp);
	uint32_t delay;

	if (!nvme__status_is_transient(cpl) || !nvme__tracker_may_try_again(qp, tr) ||
	    (refuse != 0 && refuse != -EAGAIN) || !nvme__cmd_may_be_retried(qp, &tr->cmd))
		return false;
	nvme__retry_begin(qp, tr);
	delay = nvme__retry_delay_ms(ctrlr, cpl);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_NOTICE,
	              "command %u of queue %u is tried again in %" PRIu32 " ms (%u of %" PRIu32 ")",
	              tr->cid, qp->id, delay, tr->retries, ctrlr->opts.retry_count);
	nvme__trace_retry(qp, tr->cid, delay);
	if (delay == 0) {
		nvme__tracker_send_again(qp, tr);
		return true;
	}
	tr->due_ms = (uint32_t)nvme__now_ms(ctrlr) + delay;
	tr->waiting = true;
	tr->next_free = qp->retry_first;
	qp->retry_first = tr;
	return true;
}

/* Until the first of those that wait is due, ms. UINT32_MAX: none. Unused where nobody can sleep. */
static uint32_t __attribute__((unused)) nvme__retry_wait_ms(const struct nvme_qpair *qp)
{
	const struct nvme_tracker *tr;
	uint32_t now, least = UINT32_MAX;

	if (qp->retry_first == NULL)
		return UINT32_MAX;
	now = (uint32_t)nvme__now_ms(qp->ctrlr);
	for (tr = qp->retry_first; tr != NULL; tr = tr->next_free) {
		uint32_t left = (int32_t)(tr->due_ms - now) > 0 ? tr->due_ms - now : 0;

		least = left < least ? left : least;
	}
	return least;
}

/* Sends those whose time has come. */
static void nvme__retry_due(struct nvme_qpair *qp)
{
	struct nvme_tracker **link = &qp->retry_first, *tr;
	uint32_t now;

	if (qp->retry_first == NULL)
		return;
	now = (uint32_t)nvme__now_ms(qp->ctrlr);
	while ((tr = *link) != NULL) {
		if ((int32_t)(tr->due_ms - now) > 0) {
			link = &tr->next_free;
			continue;
		}
		*link = tr->next_free;
		tr->waiting = false;
		nvme__tracker_send_again(qp, tr);
	}
}

/*
 * CRD is only used by a controller that was told that the host knows it: ACRE of the Host Behavior
 * Support feature [Base 2.1: Host Behavior Support feature]. Where that fails there are no delays.
 */
static int nvme__ctrlr_init_retry(struct nvme_ctrlr *ctrlr)
{
	struct nvme_host_behavior *data;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	int rc;

	if ((ctrlr->data.crdt1 | ctrlr->data.crdt2 | ctrlr->data.crdt3) == 0)
		return 0;
	data = (struct nvme_host_behavior *)nvme__dma_take(ctrlr, sizeof(*data),
	                                                   NVME__EXTENT_BUFFER);
	if (data == NULL)
		return -ENOMEM;
	memset(data, 0, sizeof(*data));
	data->acre = 1;
	nvme__cmd_init(&cmd, NVME_OPC_SET_FEATURES, 0);
	cmd.cdw10 = NVME_SET(NVME_FEAT_HOST_BEHAVIOR, NVME_FEATURES_FID);
	rc = nvme__ctrlr_admin(ctrlr, &cmd, data, sizeof(*data), &cpl);
	if (rc == 0 || rc == -EIO) /* after another error the controller may still read it */
		nvme__dma_give_back(ctrlr, data, NVME__EXTENT_BUFFER);
	return rc == -EIO && nvme__qpair_failed(ctrlr->adminq) == 0 ? 0 : rc;
}

/* ---- after a reset ---- */

/* Done twice, does it do the same as once? */
static bool nvme__cmd_may_be_repeated(const struct nvme_cmd *cmd)
{
	switch (cmd->opc) {
	case NVME_OPC_FLUSH:
	case NVME_OPC_WRITE:
	case NVME_OPC_READ:
	case NVME_OPC_WRITE_UNCORRECTABLE:
	case NVME_OPC_COMPARE:
	case NVME_OPC_WRITE_ZEROES:
	case NVME_OPC_DATASET_MANAGEMENT:
	case NVME_OPC_VERIFY:
		return NVME_GET(cmd->flags, NVME_CMD_FUSE) == 0;
	default:
		return false;
	}
}

static void nvme__tracker_abort(struct nvme_qpair *qp, struct nvme_tracker *tr);

/* Ends those that cannot be sent again, and counts a try for the others. */
static void nvme__qpair_abort_unrepeatable(struct nvme_qpair *qp)
{
	uint32_t i;

	for (i = 0; i < qp->num_trackers; i++) {
		struct nvme_tracker *tr = &qp->trackers[i];

		if (tr->outstanding == 0 || tr->waiting)
			continue;
		if (!nvme__tracker_may_try_again(qp, tr) || !nvme__cmd_may_be_repeated(&tr->cmd) ||
		    tr->cb == nvme__sync_late)
			nvme__tracker_abort(qp, tr);
		else
			nvme__retry_begin(qp, tr);
	}
}

/*
 * With `resubmit` in the options, the owner's next poll after a reset: ends what has ended, connects
 * the queue pair, and sends the rest again. 0, or what polls get.
 */
static int nvme__qpair_resubmit(struct nvme_qpair *qp)
{
	uint32_t i;
	int rc;

	qp->delayed = 0;
	qp->polling++; /* callbacks run here */
	nvme__qpair_drain(qp);
	nvme__qpair_abort_unrepeatable(qp);
	rc = nvme__qpair_connect_rings(qp);
	if (rc != 0)
		nvme__qpair_abort_outstanding(qp, true);
	qp->polling--;
	for (i = 0; rc == 0 && i < qp->num_trackers; i++) {
		if (qp->trackers[i].outstanding != 0 && !qp->trackers[i].waiting)
			nvme__tracker_send_again(qp, &qp->trackers[i]);
	}
	return rc;
}

/* What the controller has to be told after each reset. */
static int nvme__ctrlr_tell_more(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_init_shadow(ctrlr);

	if (rc == 0)
		rc = nvme__ctrlr_init_retry(ctrlr);
	return rc != 0 ? rc : nvme__ctrlr_arm_events(ctrlr);
}

/* The last steps of the bring-up. */
static int nvme__ctrlr_init_more(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_tell_more(ctrlr);

	if (rc == 0)
		nvme__ctrlr_init_ladder(ctrlr);
	return rc;
}

/* ============================================================================================
 * >>reset
 *
 * A reset in four steps: nobody submits any more; CC.EN = 0 and CSTS.RDY = 0, after which the
 * controller touches no memory; each queue pair is given back to its owner, who ends its commands in
 * the next poll; the controller is brought up again, as in >>enable and >>identify.
 *
 * The thread that resets never touches the rings of other threads' queue pairs. It writes two words
 * in each, `refuse` at the start and `failed` when the controller is off.
 * ============================================================================================ */

/* 1. Submissions get -ENXIO. What is outstanding may still complete. */
static void nvme__ctrlr_hold_qpairs(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp;

	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next) {
		if (!qp->disconnected && !qp->lost)
			nvme__qpair_set_refuse(qp, -ENXIO);
	}
}

/* Wakes who sleeps until an interrupt comes. */
static void nvme__qpair_wake(const struct nvme_qpair *qp)
{
#ifdef __linux__
	uint64_t one = 1;
	int fd = nvme_qpair_get_fd(qp);

	if (fd >= 0 && write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		return; /* it is readable already */
#else
	(void)qp;
#endif
}

/* 3. The controller has forgotten them. Release: who sees `failed` sees a controller that is off. */
static void nvme__ctrlr_lose_qpairs(struct nvme_ctrlr *ctrlr, int rc)
{
	struct nvme_qpair *qp;

	ctrlr->ladder.total++;
	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next) {
		if (qp->disconnected || qp->lost)
			continue;
		qp->lost = true;
		nvme__qpair_set_failed(qp, rc);
		nvme__qpair_wake(qp);
	}
}

/*
 * It has gone meanwhile: who submits or polls next hears of that. What was outstanding ends with the
 * next poll, if the controller was off before, else when it is detached.
 */
static void nvme__ctrlr_tell_gone(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *qp;

	for (qp = ctrlr->io_qpairs; qp != NULL; qp = qp->next) {
		if (qp->disconnected && !qp->lost) /* its owner did that */
			continue;
		nvme__qpair_set_failed(qp, -ENODEV);
		nvme__qpair_wake(qp);
	}
	nvme__qpair_set_failed(ctrlr->adminq, -ENODEV);
}

/*
 * 2. Off, by CC.EN or, where that does not help, by a reset of the PCI function. When nothing helps
 * its memory is taken away. 0, or the negative errno that ends the life of the controller.
 */
static int nvme__ctrlr_force_off(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_turn_off(ctrlr);

	if (rc == 0 || rc == -ENODEV)
		return rc;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING,
	              "CSTS.RDY does not become 0: the PCI function is reset");
	if (ctrlr->dev.ops->reset != NULL && ctrlr->dev.ops->reset(&ctrlr->dev) == 0)
		rc = nvme__ctrlr_turn_off(ctrlr);
	if (rc == -ETIMEDOUT)
		nvme__dma_cut_off(ctrlr);
	return rc;
}

/* Ends the admin commands that were outstanding, in this thread, whose lock it is. */
static void nvme__adminq_end(struct nvme_ctrlr *ctrlr)
{
	struct nvme_qpair *aq = ctrlr->adminq;

	aq->polling++;
	nvme__qpair_set_refuse(aq, -ENXIO);
	nvme__qpair_drain(aq);
	nvme__qpair_abort_outstanding(aq, true);
	aq->polling--;
}

/* Is it still the same one? A firmware that was activated may have another revision, no more. */
static int nvme__ctrlr_check_identity(struct nvme_ctrlr *ctrlr, const struct nvme_id_ctrlr *now)
{
	if (memcmp(now->sn, ctrlr->data.sn, sizeof(now->sn)) == 0 &&
	    memcmp(now->mn, ctrlr->data.mn, sizeof(now->mn)) == 0)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "after the reset the controller has another serial number or model: detach it and attach it again");
	return -ENODEV;
}

/*
 * Asked again; what is the same is not written again, since other threads may look at it.
 */
static int nvme__ctrlr_identify_again(struct nvme_ctrlr *ctrlr)
{
	struct nvme_id_ctrlr now;
	int rc;

	nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY);
	rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_CTRLR, 0, 0, &now);
	if (rc == 0)
		rc = nvme__ctrlr_check_identity(ctrlr, &now);
	if (rc != 0 || memcmp(&now, &ctrlr->data, sizeof(now)) == 0)
		return rc;
	ctrlr->data = now;
	ctrlr->max_xfer_size =
		nvme__max_xfer_from_mdts(now.mdts, NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN));
	if (ctrlr->adminq->max_xfer_size > ctrlr->max_xfer_size)
		ctrlr->adminq->max_xfer_size = ctrlr->max_xfer_size;
	return ctrlr->max_append == 0 ? 0 : nvme__ctrlr_identify_append(ctrlr);
}

/* Namespaces that are not what they were are refused until they were identified as new ones. */
static int nvme__ctrlr_reidentify_ns(struct nvme_ctrlr *ctrlr)
{
	struct nvme_id_ns now;
	uint32_t i;
	int rc;

	for (i = 0; i < ctrlr->num_ns; i++) {
		struct nvme_ns *ns = ctrlr->ns[i];

		if (ns->refuse == -ENOENT)
			continue;
		nvme__ctrlr_set_admin_state(ctrlr, NVME_CTRLR_STATE_IDENTIFY_NS);
		rc = nvme_ctrlr_cmd_identify(ctrlr, NVME_ID_CNS_NS, ns->id, 0, &now);
		if (rc != 0 && rc != -EIO)
			return rc;
		if (rc != 0 || memcmp(&now, &ns->data, sizeof(now)) != 0)
			nvme__ns_set_refuse(ns, -EBUSY);
	}
	ctrlr->ns_changing = false;
	return nvme_ctrlr_identify_active_ns(ctrlr);
}

/* 4. Up again, and what was known of it is asked again. */
static int nvme__ctrlr_bring_back(struct nvme_ctrlr *ctrlr)
{
	int rc;

	rc = nvme_ctrlr_start(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_resume_cmb(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_identify_again(ctrlr);
	if (rc == 0)
		rc = nvme_ctrlr_set_num_queues(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_reidentify_ns(ctrlr);
	return rc != 0 ? rc : nvme__ctrlr_tell_more(ctrlr);
}

/* All is over: no command is taken any more, and the memory cannot be reached. */
static int nvme__ctrlr_give_up(struct nvme_ctrlr *ctrlr, int rc)
{
	__atomic_store_n(&ctrlr->ladder.failed, rc, __ATOMIC_RELAXED);
	nvme__trace_given_up(ctrlr, rc);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "in failed state (%s): reset it again, or detach it", strerror(-rc));
	if (nvme__ctrlr_turn_off(ctrlr) == -ETIMEDOUT)
		nvme__dma_cut_off(ctrlr);
	nvme__ctrlr_lose_qpairs(ctrlr, -EIO);
	nvme__adminq_end(ctrlr);
	nvme__qpair_set_failed(ctrlr->adminq, -EIO);
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_ERROR, NVME__NO_TIMEOUT);
	return rc;
}

static void nvme__removal_forget_reset(struct nvme_ctrlr *ctrlr);

/* The caller has the lock. */
static int nvme__ctrlr_reset(struct nvme_ctrlr *ctrlr)
{
	int rc;

	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_NOTICE, "resetting controller");
	nvme__trace_reset(ctrlr);
	nvme__ladder_set(ctrlr, false);
	nvme__ctrlr_hold_qpairs(ctrlr);
	rc = nvme__ctrlr_force_off(ctrlr);
	if (rc == 0) {
		nvme__ctrlr_lose_qpairs(ctrlr, -ENXIO);
		nvme__adminq_end(ctrlr);
		rc = nvme__ctrlr_bring_back(ctrlr);
	}
	if (rc != 0 && !nvme__ctrlr_is_gone(ctrlr))
		return nvme__ctrlr_give_up(ctrlr, rc);
	if (rc != 0) {
		nvme__ctrlr_tell_gone(ctrlr);
		return -ENODEV;
	}
	__atomic_store_n(&ctrlr->ladder.failed, 0, __ATOMIC_RELAXED);
	nvme__removal_forget_reset(ctrlr);
	nvme_ctrlr_set_state(ctrlr, NVME_CTRLR_STATE_READY, NVME__NO_TIMEOUT);
	nvme__trace_reset_end(ctrlr);
	nvme__ladder_set(ctrlr, true);
	return 0;
}

/* Not in callbacks of admin commands, and not when the memory was taken away for good. */
static int nvme__ctrlr_may_reset(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_refuse_call(ctrlr, "nvme_ctrlr_reset()");

	if (rc != 0)
		return rc;
	if (nvme__ctrlr_is_gone(ctrlr))
		return -ENODEV;
	if (!ctrlr->cut_off)
		return 0;
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
	              "the controller would not go off and its memory was taken away: detach it and attach it again");
	return -ENXIO;
}

/*
 * A late admin command's nvme_timeout_cb may reset: it runs between two polls of the admin queue, which
 * is marked only so that it is not polled there. That mark is taken off for the reset.
 */
static bool nvme__adminq_unmark(struct nvme_ctrlr *ctrlr)
{
	if (!ctrlr->ladder.told_admin || ctrlr->adminq->polling != 1)
		return false;
	ctrlr->ladder.told_admin = false; /* callbacks of admin commands may not */
	ctrlr->adminq->polling = 0;
	return true;
}

static void nvme__adminq_mark(struct nvme_ctrlr *ctrlr, bool unmarked)
{
	if (!unmarked)
		return;
	ctrlr->adminq->polling = 1;
	ctrlr->ladder.told_admin = true;
}

NVMEDEF int nvme_ctrlr_reset(struct nvme_ctrlr *ctrlr)
{
	bool unmarked;
	int rc;

	nvme__ctrlr_lock(ctrlr);
	unmarked = nvme__adminq_unmark(ctrlr);
	rc = nvme__ctrlr_may_reset(ctrlr);
	if (rc == 0)
		rc = nvme__ctrlr_reset(ctrlr);
	nvme__adminq_mark(ctrlr, unmarked);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* [Base 2.1: NVM Subsystem Reset], register NSSR. All controllers of the subsystem are reset. */
NVMEDEF int nvme_ctrlr_reset_subsystem(struct nvme_ctrlr *ctrlr)
{
	bool unmarked;
	int rc;

	if (NVME_GET(ctrlr->cap, NVME_CAP_NSSRS) == 0) {
		NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_ERROR,
		              "the controller cannot reset its NVM subsystem (CAP.NSSRS = 0): use nvme_ctrlr_reset()");
		return -ENOTSUP;
	}
	nvme__ctrlr_lock(ctrlr);
	unmarked = nvme__adminq_unmark(ctrlr);
	rc = nvme__ctrlr_may_reset(ctrlr);
	if (rc == 0) {
		nvme__ctrlr_hold_qpairs(ctrlr);
		nvme__reg_write_4(&ctrlr->dev, NVME_REG_NSSR, NVME_NSSR_NSSRC);
		rc = nvme__ctrlr_reset(ctrlr);
	}
	nvme__adminq_mark(ctrlr, unmarked);
	nvme__ctrlr_unlock(ctrlr);
	return rc;
}

/* The third rung, and after some of it in a row the last: the controller is given up. */
static void nvme__ladder_reset(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	struct nvme__ladder *l = &ctrlr->ladder;
	uint64_t now = nvme__now_ms(ctrlr);

	if (!nvme__mutex_trylock(&ctrlr->admin_lock))
		return;
	if (nvme__qpair_failed(qp) != 0 || ctrlr->adminq->polling != 0) {
		nvme__ctrlr_unlock(ctrlr); /* somebody was faster, or this is inside a callback */
		return;
	}
	if (now - l->last_reset_ms > 10 * (uint64_t)nvme__qpair_limit_ms(qp))
		l->resets = 0;
	if (++l->resets > NVME__LADDER_RESETS)
		(void)nvme__ctrlr_give_up(ctrlr, -EIO);
	else
		(void)nvme__ctrlr_reset(ctrlr);
	l->last_reset_ms = nvme__now_ms(ctrlr);
	nvme__ctrlr_unlock(ctrlr);
}

/* ---- the owner's part ---- */

/*
 * Ends the commands of a queue pair that a reset has made the controller forget: those that were
 * completed, then the others. false: no reset has.
 */
static bool nvme__qpair_end_lost(struct nvme_qpair *qp)
{
	if (!qp->lost || qp->disconnected)
		return qp->lost;
	qp->disconnected = true;
	qp->delayed = 0;
	qp->polling++;
	nvme__qpair_drain(qp);
	nvme__qpair_abort_outstanding(qp, true);
	qp->polling--;
	return true;
}

/* A poll of a queue pair that has failed. The lock is not waited for: a reset may have it. */
NVME__COLD int nvme__qpair_poll_failed(struct nvme_qpair *qp)
{
	struct nvme_ctrlr *ctrlr = qp->ctrlr;
	int failed = __atomic_load_n(&qp->failed, __ATOMIC_ACQUIRE);

	if (qp->id == 0 || !nvme__mutex_trylock(&ctrlr->admin_lock))
		return failed;
	if (qp->lost && !qp->disconnected) {
		if (qp->resubmit && failed == -ENXIO)
			failed = nvme__qpair_resubmit(qp);
		else
			(void)nvme__qpair_end_lost(qp);
	}
	nvme__ctrlr_unlock(ctrlr);
	return failed;
}

/* ============================================================================================
 * >>removal
 *
 * Devices that are asked for, or taken away. What is seen becomes a bit of ctrlr->gone, the word that
 * every submission tests already, so that it holds at once in all threads. VFIO signals an eventfd
 * when the kernel wants the device back and another for errors that PCIe reports; they are looked at
 * where a queue pair is watched, and never read: they stay signalled, so that any number of threads
 * may look.
 * ============================================================================================ */

struct nvme__removal {
	int fds[NVME_DEV_EVENTS]; /* eventfds, by enum nvme_dev_event */
	bool has_events;          /* and they are in use */
	bool told;                /* the callback has run */
	bool was_reset;           /* CSTS.RDY was 0 where it could not be */
	nvme_remove_cb cb;
	void *ctx;
	int slot; /* in nvme__attached, -1: in none */
};

/* ---- what is attached, and where its registers are ---- */

#ifdef __linux__

#define NVME__MAX_ATTACHED 256

/*
 * The controllers of this program, for a signal handler to read: no lock. version is 0 modulo 4 while
 * a slot is empty, 1 while it is being filled and 2 while it holds one, and changes each time.
 */
static struct nvme__attached {
	uint32_t version;
	uintptr_t at, len; /* where the registers are mapped, whole pages; 0: nowhere */
	uint64_t pci __attribute__((aligned(8))); /* its PCI address as a number; 0: none */
} nvme__attached[NVME__MAX_ATTACHED];

#ifndef NVME_NO_VFIO
/* Domain, bus, device and function as one number, not 0. 0: this is no address of PCI. */
static uint64_t nvme__pci_number(const char *addr)
{
	unsigned int domain, bus, dev, func;

	if (sscanf(addr, "%8x:%2x:%2x.%1x", &domain, &bus, &dev, &func) != 4)
		return 0;
	return UINT64_C(1) << 63 | (uint64_t)domain << 16 | bus << 8 | dev << 3 | func;
}
#endif

/* A copy of what a slot holds; false: nothing. */
static bool nvme__attached_get(struct nvme__attached *slot, struct nvme__attached *copy)
{
	copy->version = __atomic_load_n(&slot->version, __ATOMIC_ACQUIRE);
	copy->at = __atomic_load_n(&slot->at, __ATOMIC_ACQUIRE);
	copy->len = __atomic_load_n(&slot->len, __ATOMIC_ACQUIRE);
	copy->pci = __atomic_load_n(&slot->pci, __ATOMIC_ACQUIRE);
	return copy->version % 4 == 2 &&
	       __atomic_load_n(&slot->version, __ATOMIC_RELAXED) == copy->version;
}

/* Makes a slot that is empty ours. */
static bool nvme__attached_claim(struct nvme__attached *slot)
{
	uint32_t version = __atomic_load_n(&slot->version, __ATOMIC_RELAXED);

	return version % 4 == 0 &&
	       __atomic_compare_exchange_n(&slot->version, &version, version + 1, false,
	                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Registers that share a page with anything else are left out: what covers them would cover that. */
static int nvme__attached_add(const struct nvme_dev *dev)
{
	uintptr_t mask = (uintptr_t)NVME__HOST_PAGE_SIZE - 1, at = (uintptr_t)dev->bar0;
	bool whole = dev->bar0_mapped != 0 && (at & mask) == 0;
	struct nvme__attached *slot = nvme__attached;
	uint64_t pci = 0;

	while (slot < nvme__attached + NVME__MAX_ATTACHED && !nvme__attached_claim(slot))
		slot++;
	if (slot == nvme__attached + NVME__MAX_ATTACHED)
		return -1;
#ifndef NVME_NO_VFIO
	if (dev->ops == &nvme__vfio_ops)
		pci = nvme__pci_number(dev->name);
#endif
	/* release: who sees one of these sees that the slot was claimed */
	__atomic_store_n(&slot->at, whole ? at : 0, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->len, whole ? ((uintptr_t)dev->bar0_mapped + mask) & ~mask : 0,
	                 __ATOMIC_RELEASE);
	__atomic_store_n(&slot->pci, pci, __ATOMIC_RELEASE);
	__atomic_fetch_add(&slot->version, 1, __ATOMIC_RELEASE);
	return (int)(slot - nvme__attached);
}

static void nvme__attached_drop(int slot)
{
	if (slot >= 0)
		__atomic_fetch_add(&nvme__attached[slot].version, 2, __ATOMIC_RELEASE);
}

#ifndef NVME_NO_VFIO
/* By this program, through this copy of the driver. addr is in its full form. */
static bool nvme__is_attached(const char *addr)
{
	uint64_t pci = nvme__pci_number(addr);
	struct nvme__attached copy;
	int i;

	for (i = 0; i < NVME__MAX_ATTACHED; i++) {
		if (nvme__attached_get(&nvme__attached[i], &copy) && copy.pci == pci && pci != 0)
			return true;
	}
	return false;
}
#endif

/* ---- SIGBUS: only what a signal handler may call ---- */

static struct sigaction nvme__old_sigbus;

/*
 * Memory that reads as all ones, where the registers were, in one step: no other thread sees it half
 * done. False: there is none.
 */
static bool nvme__cover(uintptr_t at, uintptr_t len)
{
	enum { NVME__MAYMOVE = 1, NVME__FIXED = 2 }; /* of mremap(), which glibc hides */
	void *ones = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ones == MAP_FAILED)
		return false;
	memset(ones, 0xff, len);
	return (uintptr_t)syscall(SYS_mremap, ones, len, len, NVME__MAYMOVE | NVME__FIXED, at) ==
	       at;
}

/* Is a fault at this address one of ours, and mended? */
static bool nvme__mend(uintptr_t fault)
{
	struct nvme__attached copy;
	int i;

	for (i = 0; i < NVME__MAX_ATTACHED; i++) {
		if (nvme__attached_get(&nvme__attached[i], &copy) && fault - copy.at < copy.len)
			return nvme__cover(copy.at, copy.len);
	}
	return false;
}

/* The one that was there before, or, where it was the default, the end of the process. */
static void nvme__pass_on(int sig, siginfo_t *info, void *context)
{
	if ((nvme__old_sigbus.sa_flags & SA_SIGINFO) != 0) {
		nvme__old_sigbus.sa_sigaction(sig, info, context);
	} else if (nvme__old_sigbus.sa_handler != SIG_DFL &&
	           nvme__old_sigbus.sa_handler != SIG_IGN) {
		nvme__old_sigbus.sa_handler(sig);
	} else if (nvme__old_sigbus.sa_handler == SIG_DFL || info->si_code > 0) {
		(void)signal(sig, SIG_DFL); /* a fault comes again; what was sent is sent again */
		if (info->si_code <= 0)
			(void)raise(sig);
	}
}

static void nvme__on_sigbus(int sig, siginfo_t *info, void *context)
{
	int error = errno;

	if (info->si_code <= 0 || !nvme__mend((uintptr_t)info->si_addr))
		nvme__pass_on(sig, info, context);
	errno = error;
}

NVMEDEF int nvme_catch_sigbus(void)
{
	static int installed;
	struct sigaction action;

	if (__atomic_exchange_n(&installed, 1, __ATOMIC_ACQ_REL) != 0)
		return 0;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = nvme__on_sigbus;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	(void)sigemptyset(&action.sa_mask);
	/* read before it is replaced, so that the first signal finds it */
	if (sigaction(SIGBUS, NULL, &nvme__old_sigbus) == 0 &&
	    sigaction(SIGBUS, &action, NULL) == 0)
		return 0;
	__atomic_store_n(&installed, 0, __ATOMIC_RELEASE);
	return -errno;
}

/* ---- what the system says ---- */

NVME__COLD void nvme__explain_event(struct nvme_ctrlr *ctrlr, bool asked, int line,
                                    const char *func);

/* Those not seen yet: how many. */
static int nvme__ctrlr_event_fds(const struct nvme_ctrlr *ctrlr, struct pollfd *pfds)
{
	static const int seen[NVME_DEV_EVENTS] = {NVME__ASKED, NVME__BUS_FAIL};
	int gone = __atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED), num = 0, i;

	for (i = 0; i < NVME_DEV_EVENTS && ctrlr->removal != NULL && ctrlr->removal->has_events;
	     i++) {
		if ((gone & seen[i]) != 0)
			continue;
		pfds[num].fd = ctrlr->removal->fds[i];
		pfds[num].revents = 0;
		pfds[num++].events = POLLIN;
	}
	return num;
}

/* One of them is signalled: a bit for all threads, and one sentence. */
static void nvme__ctrlr_see_event(struct nvme_ctrlr *ctrlr, int fd)
{
	bool asked = fd == ctrlr->removal->fds[NVME_DEV_REQUEST];
	int bit = asked ? NVME__ASKED : NVME__BUS_FAIL;

	if ((__atomic_fetch_or(&ctrlr->gone, bit, __ATOMIC_RELAXED) & bit) == 0)
		nvme__explain_event(ctrlr, asked, NVME__HERE);
}

static int nvme__ctrlr_watch_events(struct nvme_ctrlr *ctrlr)
{
	struct pollfd pfds[NVME_DEV_EVENTS];
	int num = nvme__ctrlr_event_fds(ctrlr, pfds), i;

	if (num == 0 || poll(pfds, (nfds_t)num, 0) <= 0)
		return 0;
	for (i = 0; i < num; i++) {
		if (pfds[i].revents != 0)
			nvme__ctrlr_see_event(ctrlr, pfds[i].fd);
	}
	return 0;
}

/* A system that does not know them: what follows does without. */
static void nvme__ctrlr_init_signals(struct nvme_ctrlr *ctrlr)
{
	struct nvme__removal *r = ctrlr->removal;
	int rc = -ENOTSUP;

	if (ctrlr->dev.ops->set_events != NULL)
		rc = nvme__open_eventfds(r->fds, NVME_DEV_EVENTS);
	if (rc != 0)
		return;
	rc = ctrlr->dev.ops->set_events(&ctrlr->dev, r->fds);
	r->has_events = rc == 0;
	if (r->has_events)
		return;
	nvme__close_fds(r->fds, NVME_DEV_EVENTS);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_INFO,
	              "nobody will say when the device is to be removed (%s)", strerror(-rc));
}

static void nvme__ctrlr_fini_signals(struct nvme_ctrlr *ctrlr)
{
	if (!ctrlr->removal->has_events)
		return;
	(void)ctrlr->dev.ops->set_events(&ctrlr->dev, NULL);
	nvme__close_fds(ctrlr->removal->fds, NVME_DEV_EVENTS);
}

#else /* neither eventfd nor signals that say where */

static int nvme__attached_add(const struct nvme_dev *dev)
{
	(void)dev;
	return -1;
}

static void nvme__attached_drop(int slot)
{
	(void)slot;
}

NVMEDEF int nvme_catch_sigbus(void)
{
	return -ENOTSUP;
}

static int nvme__ctrlr_watch_events(struct nvme_ctrlr *ctrlr)
{
	(void)ctrlr;
	return 0;
}

static void nvme__ctrlr_init_signals(struct nvme_ctrlr *ctrlr)
{
	(void)ctrlr;
}

static void nvme__ctrlr_fini_signals(struct nvme_ctrlr *ctrlr)
{
	(void)ctrlr;
}

#endif /* __linux__ */

#ifndef NVME_NO_VFIO

/* One of VFIO's interrupts that are no interrupts of the device; fd -1: it is not to be used. */
static int nvme__vfio_set_event(struct nvme_dev *dev, uint32_t index, int32_t fd)
{
	uint64_t room[(sizeof(struct vfio_irq_set) + sizeof(fd) + 7) / 8];
	struct vfio_irq_set *set = (struct vfio_irq_set *)(void *)room;

	memset(room, 0, sizeof(room));
	set->argsz = (uint32_t)(sizeof(*set) + sizeof(fd));
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
	set->index = index;
	set->count = 1;
	memcpy(set->data, &fd, sizeof(fd));
	return ioctl(nvme__vfio_of(dev)->device, VFIO_DEVICE_SET_IRQS, set) == 0 ? 0 : -errno;
}

/* Errors are reported on PCI Express only. The request is what matters. */
static int nvme__vfio_set_events(struct nvme_dev *dev, const int *fds)
{
	(void)nvme__vfio_set_event(dev, VFIO_PCI_ERR_IRQ_INDEX,
	                           fds != NULL ? fds[NVME_DEV_ERROR] : -1);
	return nvme__vfio_set_event(dev, VFIO_PCI_REQ_IRQ_INDEX,
	                            fds != NULL ? fds[NVME_DEV_REQUEST] : -1);
}

#endif /* NVME_NO_VFIO */

/* ---- what that means ---- */

/* Before the first register is read: that alone may fault. */
static int nvme__ctrlr_init_removal(struct nvme_ctrlr *ctrlr)
{
	ctrlr->removal = (struct nvme__removal *)NVME_CALLOC(1, sizeof(*ctrlr->removal));
	if (ctrlr->removal == NULL)
		return -ENOMEM;
	ctrlr->removal->slot = nvme__attached_add(&ctrlr->dev);
	nvme__ctrlr_init_signals(ctrlr);
	return 0;
}

static void nvme__ctrlr_fini_removal(struct nvme_ctrlr *ctrlr)
{
	if (ctrlr->removal == NULL)
		return;
	nvme__ctrlr_fini_signals(ctrlr);
	nvme__attached_drop(ctrlr->removal->slot);
	NVME_FREE(ctrlr->removal);
	ctrlr->removal = NULL;
}

/*
 * Does the system want the device back, or has its bus failed? At the price of one system call, and
 * from any thread, several at a time. 0, -EIO: it counts as failed, -ENODEV: it was seen to be gone.
 * One that is merely asked for works on.
 */
static int nvme__ctrlr_watch_device(struct nvme_ctrlr *ctrlr)
{
	int gone;

	nvme__ctrlr_watch_events(ctrlr);
	gone = __atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED);
	return (gone & NVME__GONE) != 0 ? -ENODEV : (gone & NVME__BUS_FAIL) != 0 ? -EIO : 0;
}

/*
 * Queues are there, so CC.EN is 1, but CSTS.RDY is not. Where a device was taken away some bridges
 * answer with zeros, and 0 is no version [Base 2.1 §3.1.4.2, Fig. 37: Version]; a device that has one
 * was reset behind our back.
 */
static int nvme__ctrlr_lost_ready(struct nvme_ctrlr *ctrlr)
{
	uint32_t vs = nvme_mmio_read_4(&ctrlr->dev, NVME_REG_VS), csts;
	int rc = 0;

	if (vs == 0 || vs == UINT32_MAX)
		return nvme__ctrlr_set_gone(ctrlr);
	if (!nvme__mutex_trylock(&ctrlr->admin_lock))
		return 0; /* another thread of ours may be at a reset */
	if (nvme__ladder_stands(ctrlr))
		rc = nvme__ctrlr_check_csts(ctrlr, &csts);
	if (rc == 0 && nvme__ladder_stands(ctrlr) && NVME_GET(csts, NVME_CSTS_RDY) == 0)
		rc = -EIO;
	nvme__ctrlr_unlock(ctrlr);
	if (rc == -EIO)
		__atomic_store_n(&ctrlr->removal->was_reset, true, __ATOMIC_RELAXED);
	return rc;
}

/* The device, then CSTS [Base 2.1 §3.1.4.6, Fig. 42: Controller Status]. */
NVME__COLD int nvme__ctrlr_check_alive(struct nvme_ctrlr *ctrlr)
{
	int rc = nvme__ctrlr_watch_device(ctrlr);
	uint32_t csts;

	if (rc == 0)
		rc = nvme__ctrlr_check_csts(ctrlr, &csts);
	if (rc == 0 && NVME_GET(csts, NVME_CSTS_RDY) == 0)
		rc = nvme__ctrlr_lost_ready(ctrlr);
	return rc;
}

/*
 * The end of nvme_ctrlr_process_admin_completions(), which was to return *rc. true: the callback is to
 * run.
 */
static bool nvme__ctrlr_see_removal(struct nvme_ctrlr *ctrlr, int *rc)
{
	struct nvme__removal *r = ctrlr->removal;
	int seen;

	if (ctrlr->adminq->polling != 0 || ctrlr->closing) /* in a callback */
		return false;
	seen = r->cb != NULL ? nvme__ctrlr_check_alive(ctrlr) : nvme__ctrlr_watch_device(ctrlr);
	if (seen != 0) {
		nvme__qpair_alarm(ctrlr->adminq, seen);
		*rc = *rc > 0 ? *rc : nvme__qpair_failed(ctrlr->adminq);
	}
	if (r->cb == NULL || r->told || nvme_ctrlr_get_removal(ctrlr) == NVME_REMOVAL_NONE)
		return false;
	r->told = true;
	return true;
}

static void nvme__ctrlr_tell_removal(struct nvme_ctrlr *ctrlr)
{
	ctrlr->removal->cb(ctrlr->removal->ctx, ctrlr);
}

/* What somebody else has done to it is mended by a reset of ours. */
static void nvme__removal_forget_reset(struct nvme_ctrlr *ctrlr)
{
	__atomic_store_n(&ctrlr->removal->was_reset, false, __ATOMIC_RELAXED);
}

NVMEDEF enum nvme_removal nvme_ctrlr_get_removal(const struct nvme_ctrlr *ctrlr)
{
	int gone = __atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED);

	if ((gone & NVME__GONE) != 0)
		return NVME_REMOVAL_GONE;
	if ((gone & NVME__BUS_FAIL) != 0)
		return NVME_REMOVAL_FAILED;
	return (gone & NVME__ASKED) != 0 ? NVME_REMOVAL_REQUESTED : NVME_REMOVAL_NONE;
}

NVMEDEF void nvme_ctrlr_set_remove_cb(struct nvme_ctrlr *ctrlr, nvme_remove_cb remove_cb, void *ctx)
{
	ctrlr->removal->cb = remove_cb;
	ctrlr->removal->ctx = ctx;
}

/* ============================================================================================
 * >>getters
 *
 * What is known of a controller, a queue pair and a namespace.
 * ============================================================================================ */

NVMEDEF uint32_t nvme_ctrlr_get_reg_4(struct nvme_ctrlr *ctrlr, uint32_t offset)
{
	if (offset % 4 != 0 || offset > ctrlr->dev.bar0_size - 4)
		return UINT32_MAX;
	return nvme_mmio_read_4(&ctrlr->dev, offset);
}

NVMEDEF uint64_t nvme_ctrlr_get_reg_8(struct nvme_ctrlr *ctrlr, uint32_t offset)
{
	if (offset % 4 != 0 || offset > ctrlr->dev.bar0_size - 8)
		return UINT64_MAX;
	return nvme_mmio_read_8(&ctrlr->dev, offset);
}

NVMEDEF const struct nvme_dev *nvme_ctrlr_get_dev(const struct nvme_ctrlr *ctrlr)
{
	return &ctrlr->dev;
}

NVMEDEF const struct nvme_id_ctrlr *nvme_ctrlr_get_data(const struct nvme_ctrlr *ctrlr)
{
	return &ctrlr->data;
}

NVMEDEF uint32_t nvme_ctrlr_get_max_xfer_size(const struct nvme_ctrlr *ctrlr)
{
	return ctrlr->max_xfer_size;
}

NVMEDEF uint32_t nvme_ctrlr_get_num_io_queues(const struct nvme_ctrlr *ctrlr)
{
	return ctrlr->num_io_queues;
}

NVMEDEF uint32_t nvme_ctrlr_get_first_active_ns(const struct nvme_ctrlr *ctrlr)
{
	return nvme_ctrlr_get_next_active_ns(ctrlr, 0);
}

NVMEDEF uint32_t nvme_ctrlr_get_next_active_ns(const struct nvme_ctrlr *ctrlr, uint32_t nsid)
{
	uint32_t i;

	for (i = 0; i < ctrlr->num_ns; i++) { /* ascending */
		if (ctrlr->ns[i]->id > nsid && ctrlr->ns[i]->refuse != -ENOENT)
			return ctrlr->ns[i]->id;
	}
	return 0;
}

NVMEDEF struct nvme_ns *nvme_ctrlr_get_ns(const struct nvme_ctrlr *ctrlr, uint32_t nsid)
{
	uint32_t i;

	for (i = 0; i < ctrlr->num_ns; i++) {
		if (ctrlr->ns[i]->id == nsid && ctrlr->ns[i]->refuse != -ENOENT)
			return ctrlr->ns[i];
	}
	return NULL;
}

NVMEDEF struct nvme_ctrlr *nvme_qpair_get_ctrlr(const struct nvme_qpair *qp)
{
	return qp->ctrlr;
}

NVMEDEF uint16_t nvme_qpair_get_id(const struct nvme_qpair *qp)
{
	return qp->id;
}

NVMEDEF uint32_t nvme_qpair_get_entries(const struct nvme_qpair *qp)
{
	return qp->entries;
}

NVMEDEF uint32_t nvme_qpair_get_num_outstanding(const struct nvme_qpair *qp)
{
	return qp->num_trackers - qp->num_free;
}

NVMEDEF uint32_t nvme_ns_get_id(const struct nvme_ns *ns)
{
	return ns->id;
}

NVMEDEF struct nvme_ctrlr *nvme_ns_get_ctrlr(const struct nvme_ns *ns)
{
	return ns->ctrlr;
}

NVMEDEF uint64_t nvme_ns_get_num_sectors(const struct nvme_ns *ns)
{
	return ns->nsze;
}

NVMEDEF uint32_t nvme_ns_get_sector_size(const struct nvme_ns *ns)
{
	return ns->sector_size;
}

NVMEDEF uint32_t nvme_ns_get_extended_sector_size(const struct nvme_ns *ns)
{
	return ns->extended_sector_size;
}

NVMEDEF uint32_t nvme_ns_get_max_nlb(const struct nvme_ns *ns, const struct nvme_qpair *qp)
{
	return nvme__ns_max_nlb(ns, qp != NULL ? qp->max_xfer_size : ns->ctrlr->max_xfer_size);
}

NVMEDEF const struct nvme_id_ns *nvme_ns_get_data(const struct nvme_ns *ns)
{
	return &ns->data;
}

/* ---- what a namespace can do ---- */

/* The LBA format in use. Its index was checked when the namespace was identified. */
static const struct nvme_lbaf *nvme__ns_lbaf(const struct nvme_ns *ns)
{
	return &ns->data.lbaf[nvme_ns_get_format_index(&ns->data)];
}

NVMEDEF uint32_t nvme_ns_get_format_index(const struct nvme_id_ns *data)
{
	uint32_t upper = data->nlbaf + (uint32_t)data->nulbaf < 16 ? 0 : 0x30;

	return NVME_FLBAS_INDEX(data->flbas) & (upper | 15);
}

NVMEDEF uint64_t nvme_ns_get_size(const struct nvme_ns *ns)
{
	return ns->nsze * ns->sector_size;
}

NVMEDEF uint32_t nvme_ns_get_md_size(const struct nvme_ns *ns)
{
	return nvme__ns_lbaf(ns)->ms;
}

/* Without metadata there is no room for it, whatever DPS says. */
NVMEDEF uint32_t nvme_ns_get_pi_type(const struct nvme_ns *ns)
{
	return nvme_ns_get_md_size(ns) != 0 ? NVME_GET(ns->data.dps, NVME_DPS_PIT) : 0;
}

NVMEDEF bool nvme_ns_supports_extended_lba(const struct nvme_ns *ns)
{
	return nvme_ns_get_md_size(ns) != 0 && NVME_GET(ns->data.flbas, NVME_FLBAS_EXT) != 0;
}

NVMEDEF uint32_t nvme_ns_get_optimal_io_boundary(const struct nvme_ns *ns)
{
	return ns->noiob;
}

NVMEDEF uint32_t nvme_ns_get_max_io_xfer_size(const struct nvme_ns *ns)
{
	return ns->ctrlr->max_xfer_size;
}

NVMEDEF enum nvme_dealloc_read_value
nvme_ns_get_dealloc_logical_block_read_value(const struct nvme_ns *ns)
{
	uint32_t value = NVME_GET(ns->data.dlfeat, NVME_DLFEAT_READ);

	return value == 1   ? NVME_DEALLOC_READ_00
	       : value == 2 ? NVME_DEALLOC_READ_FF
	                    : NVME_DEALLOC_NOT_REPORTED;
}

NVMEDEF uint32_t nvme_ns_get_flags(const struct nvme_ns *ns)
{
	static const struct {
		uint32_t oncs, flag;
	} bits[] = {
		{NVME_ONCS_DSM, NVME_NS_DEALLOCATE_SUPPORTED},
		{NVME_ONCS_RESERVATIONS, NVME_NS_RESERVATION_SUPPORTED},
		{NVME_ONCS_WRITE_ZEROES, NVME_NS_WRITE_ZEROES_SUPPORTED},
		{NVME_ONCS_WRITE_UNC, NVME_NS_WRITE_UNCORRECTABLE_SUPPORTED},
		{NVME_ONCS_COMPARE, NVME_NS_COMPARE_SUPPORTED},
		{NVME_ONCS_VERIFY, NVME_NS_VERIFY_SUPPORTED},
		{NVME_ONCS_COPY, NVME_NS_COPY_SUPPORTED},
	};
	const struct nvme_id_ctrlr *id = &ns->ctrlr->data;
	uint32_t flags = 0;
	size_t i;

	for (i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		flags |= (id->oncs & bits[i].oncs) != 0 ? bits[i].flag : 0;
	if (NVME_GET(id->vwc, NVME_ID_VWC_PRESENT) != 0)
		flags |= NVME_NS_FLUSH_SUPPORTED;
	if (nvme_ns_get_pi_type(ns) != 0)
		flags |= NVME_NS_DPS_PI_SUPPORTED;
	if (nvme_ns_supports_extended_lba(ns))
		flags |= NVME_NS_EXTENDED_LBA_SUPPORTED;
	return flags;
}

/* NULL for a name that is all zeros, which means that there is none. */
static const uint8_t *nvme__name_or_null(const uint8_t *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (name[i] != 0)
			return name;
	}
	return NULL;
}

NVMEDEF const uint8_t *nvme_ns_get_eui64(const struct nvme_ns *ns)
{
	return nvme__name_or_null(ns->eui64, sizeof(ns->eui64));
}

NVMEDEF const uint8_t *nvme_ns_get_nguid(const struct nvme_ns *ns)
{
	return nvme__name_or_null(ns->nguid, sizeof(ns->nguid));
}

NVMEDEF const uint8_t *nvme_ns_get_uuid(const struct nvme_ns *ns)
{
	return nvme__name_or_null(ns->uuid, sizeof(ns->uuid));
}

#ifdef __cplusplus
}
#endif

#endif /* NVME__BOOK2 */

/* ############################################################################################
 * BOOK 3: REFERENCE AND PLUMBING
 *
 * A reader may skip it; tools live on it. With NVME_TEXT_ONLY only what needs no driver is there.
 *	>>text      names of codes; commands, completions and registers as text
 *	>>trace     the flight recorder: everything that happens, in a file
 *	   the implementation:
 *	>>names     the names of codes, a table for each list
 *	>>words     commands, completions and PRPs in the words of SPDK
 *	>>fields    the fields of registers and commands
 *	>>log       the debug log
 *	>>recorder  the file of the flight recorder, and writing to it
 *	>>records   what the path of a command leaves in record and log
 *	>>explain   why a step has failed, and what to do about it
 *	>>strerror  one text for any outcome
 *	>>platform  the host's memory
 * ############################################################################################ */

#ifndef NVME_H_REFERENCE
#define NVME_H_REFERENCE

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>text
 *
 * Names of codes, and the one formatter for commands, completions and registers, so that every log
 * and every tool says the same of the same thing. Everything here takes any input: codes come from
 * a device that may lie.
 * ============================================================================================ */

/*
 * Names are never NULL, whatever the code: an unknown one has the name of its list's last row,
 * such as "RESERVED". They are the words that SPDK prints, so that logs can be compared.
 */
NVMEDEF const char *nvme_opc_name(uint16_t qid, uint8_t opc); /* qid 0: admin, else I/O */
NVMEDEF const char *nvme_feat_name(uint8_t fid);
NVMEDEF const char *nvme_fabrics_name(uint8_t fctype); /* SQE byte 4 of opcode 7Fh */
NVMEDEF const char *nvme_sct_name(uint8_t sct);
NVMEDEF const char *nvme_status_name(uint8_t sct, uint8_t sc);
NVMEDEF const char *nvme_sgl_type_name(uint8_t type);
NVMEDEF const char *nvme_sgl_subtype_name(uint8_t subtype);
NVMEDEF const char *nvme_log_page_name(uint8_t lid);
NVMEDEF const char *nvme_cns_name(uint8_t cns);
NVMEDEF const char *nvme_csi_name(uint8_t csi);
NVMEDEF const char *nvme_zone_state_name(uint8_t state);   /* enum nvme_zone_state */
NVMEDEF const char *nvme_zone_action_name(uint8_t action); /* enum nvme_zone_send_action */
NVMEDEF const char *nvme_aer_type_name(uint8_t type);
NVMEDEF const char *nvme_aer_info_name(uint8_t type, uint8_t info);
/* SCT 1 as the answer to a fabrics command (opcode 7Fh). */
NVMEDEF const char *nvme_fabrics_status_name(uint8_t sc);

/*
 * The same where a log need not be compared: also the codes that SPDK has no word for, such as the
 * feature 16h, HOST BEHAVIOR SUPPORT; "VENDOR SPECIFIC" or "RESERVED" for the others. opc is that
 * of the command that the status answers, 0 if it is not known.
 */
NVMEDEF const char *nvme_opc_full_name(uint16_t qid, uint8_t opc);
NVMEDEF const char *nvme_feat_full_name(uint8_t fid);
NVMEDEF const char *nvme_fabrics_full_name(uint8_t fctype);
NVMEDEF const char *nvme_status_full_name(uint8_t sct, uint8_t sc, uint8_t opc);

/*
 * All nvme_format_* functions work like snprintf: at most size bytes are written, the text is
 * always terminated (if size is not 0), and the length of the whole text is returned, so that a
 * result >= size tells that it was cut. No prefix, no newline. NVME_TEXT_MAX bytes hold any line.
 */
#define NVME_TEXT_MAX 192
NVMEDEF int nvme_format_cmd(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd);
NVMEDEF int nvme_format_cpl(char *buf, size_t size, uint16_t qid, const struct nvme_cpl *cpl);
NVMEDEF int nvme_format_version(char *buf, size_t size, uint32_t vs); /* VS 00010400h: "1.4.0" */
/* An asynchronous event, from dword 0 of its completion. */
NVMEDEF int nvme_format_aer(char *buf, size_t size, uint32_t cdw0);
/* What an entry of the error log says, but for the command. */
NVMEDEF int nvme_format_error_entry(char *buf, size_t size,
                                    const struct nvme_error_log_entry *entry);

/*
 * Bit fields of a register, highest bit first, ended by a field with name NULL. Registers that
 * are not known have no fields (a list of length 0, not NULL). unit and codes are private: they
 * tell nvme_format_field_value() what a value means.
 */
struct nvme__name;
struct nvme_field {
	uint8_t hi;                     /* highest bit */
	uint8_t lo;                     /* lowest bit */
	uint8_t unit;                   /* private */
	const char *name;               /* "MQES" */
	const char *what;               /* "Maximum Queue Entries Supported" */
	const struct nvme__name *codes; /* private */
};

NVMEDEF const struct nvme_field *nvme_reg_fields(uint32_t offset);
NVMEDEF const char *nvme_reg_name(uint32_t offset); /* "CAP"; "RESERVED" if there is none */
NVMEDEF unsigned nvme_reg_size(uint32_t offset);    /* 4 or 8 bytes; 0 if there is none */

/* Name of any offset in BAR0: "CC", "ASQ+4" (upper half), "SQ1TDBL", "CQ1HDBL", "RESERVED". */
NVMEDEF int nvme_format_reg_name(char *buf, size_t size, uint32_t offset, unsigned dstrd);
/* What the value of a field (not of the register) means: "7500 ms"; empty if it is just a number.
 */
NVMEDEF int nvme_format_field_value(char *buf, size_t size, const struct nvme_field *field,
                                    uint64_t value);
/* One line, "[31:24] TO : 0xf 7500 ms", from the value of the whole register. */
NVMEDEF int nvme_format_field(char *buf, size_t size, const struct nvme_field *field, uint64_t reg);

/*
 * Fields of CDW10 to CDW15 of a command, dword by dword and highest bit first, ended by a field
 * with name NULL. qid 0: admin, else I/O. Commands without fields and opcodes that are not known
 * have a list of length 0, not NULL. Bits count from bit 0 of the dword; above 31 they are in the
 * dword behind it: SLBA is bits 63:0 of CDW10. What depends on the value of another field, as CDW11
 * of Set Features does, is one field with the name of its dword.
 */
struct nvme_cmd_field {
	uint8_t dword;    /* 10 to 15 */
	uint8_t hi;       /* highest bit */
	uint8_t lo;       /* lowest bit */
	const char *name; /* "SLBA", as in the specification */
	const char *what; /* "Starting LBA" */
};

NVMEDEF const struct nvme_cmd_field *nvme_cmd_fields(uint16_t qid, uint8_t opc);
/* The value of a field as it is stored: an NLB of 0 is one block. */
NVMEDEF uint64_t nvme_cmd_field_get(const struct nvme_cmd_field *field, const struct nvme_cmd *cmd);

/* ============================================================================================
 * >>trace
 *
 * The flight recorder keeps what the driver does in a file, in fixed slots of 128 bytes: each
 * command and completion, PRP lists, doorbells, register accesses, DMA mappings, states and log
 * lines. The file is memory that is mapped, so what was recorded is there when the program is
 * killed. When it is full the oldest slots are overwritten. NVME_TRACE=FILE in the environment
 * records every controller of the program, in 65536 slots or as many as NVME_TRACE_SLOTS says; %p
 * in FILE becomes the process id. A recorder of one's own goes into the options.
 * docs/trace-format.md describes the file, build/nvtrace prints it.
 *
 * Where the recorder cannot record, it says so once, and the program goes on without. All room is
 * taken at the start, and the file is locked against other recorders. What would need a signal
 * handler is not caught: when somebody cuts the file off while it is mapped, or its disk fails, or
 * a file system that writes to a new place each time is full, the next event raises SIGBUS.
 *
 * A child of fork() records on into the file of its parent, whatever %p is. When the parent had no
 * recorder yet, each child opens its own, and only with %p are these different files.
 * ============================================================================================ */
#define NVME_TRACE_MAGIC      "NVMEHTRC"
#define NVME_TRACE_VERSION    1u
#define NVME_TRACE_BYTE_ORDER 0x01020304u
#define NVME_TRACE_PAYLOAD    92

/* What happened, and what the payload holds. */
enum nvme_trace_kind {
	/* struct nvme_trace_attach */
	NVME_TRACE_ATTACH = 1,
	/* nothing */
	NVME_TRACE_DETACH = 2,
	/* struct nvme_trace_reg; only when it reads as another value */
	NVME_TRACE_REG_READ = 3,
	/* struct nvme_trace_reg */
	NVME_TRACE_REG_WRITE = 4,
	/* struct nvme_cmd, just before the doorbell */
	NVME_TRACE_SQE = 5,
	/* struct nvme_cmd, once more, before an error completion */
	NVME_TRACE_SQE_ERROR = 6,
	/* struct nvme_cpl */
	NVME_TRACE_CQE = 7,
	/* struct nvme_trace_doorbell */
	NVME_TRACE_DOORBELL = 8,
	/* struct nvme_trace_prp, before its SQE */
	NVME_TRACE_PRP = 9,
	/* struct nvme_trace_prp_list: a part of the list, after its PRP */
	NVME_TRACE_PRP_LIST = 10,
	/* struct nvme_trace_dma */
	NVME_TRACE_DMA_MAP = 11,
	/* struct nvme_trace_dma; vaddr is 0 */
	NVME_TRACE_DMA_UNMAP = 12,
	/* level (1 byte), file, 0, function, 0, text; goes on in LOG_MORE */
	NVME_TRACE_LOG = 13,
	/* more text of the same thread's LOG, until a part is not full */
	NVME_TRACE_LOG_MORE = 14,
	/* struct nvme_trace_sgl: a part of the segment that the SGL of a command names, before it */
	NVME_TRACE_SGL = 15,
	/* struct nvme_trace_mark: something goes wrong, and what the driver does about it */
	NVME_TRACE_MARK = 16,
	/* struct nvme_cmd: a software controller has fetched it */
	NVME_TRACE_DEV_FETCH = 32,
	/* struct nvme_trace_data: it has moved data */
	NVME_TRACE_DEV_DATA = 33,
	/* struct nvme_cpl: it has posted it */
	NVME_TRACE_DEV_CQE = 34,
};

struct nvme_trace_header {   /* the first slot */
	char magic[8];       /* NVME_TRACE_MAGIC */
	uint32_t version;    /* NVME_TRACE_VERSION */
	uint32_t byte_order; /* NVME_TRACE_BYTE_ORDER as the recording machine stores it */
	uint32_t slot_size;  /* 128 */
	uint32_t pid;
	uint64_t slots; /* behind the header */
	/* number of the next slot to be written, from 1: next - 1 were begun, and all but the
	 * last `slots` of them are overwritten; aligned, and atomic, on i386 too */
	uint64_t next __attribute__((aligned(8)));
	uint64_t start_ns; /* time of slot times: nanoseconds since 1970, UTC, advancing monotonically */
	uint32_t ctrlrs; /* controllers attached so far */
	uint32_t reserved;
	char program[64];
};

struct nvme_trace_slot {
	/* 1, 2, 3, ...: slot (seq - 1) % slots; 0: never written. Stored last */
	uint64_t seq __attribute__((aligned(8)));
	uint64_t time_ns; /* nanoseconds since 1970, UTC */
	uint32_t tid;     /* the thread, as the kernel numbers them */
	uint16_t kind;    /* enum nvme_trace_kind */
	uint16_t line;    /* of nvme.h */
	uint16_t qid;
	uint8_t ctrlr; /* which controller of this file, from 0 */
	uint8_t len;   /* bytes of the payload that are used */
	uint8_t payload[NVME_TRACE_PAYLOAD];
	uint64_t check; /* ~seq; another value: the slot is damaged or was being overwritten */
};

struct nvme_trace_attach {
	uint64_t cap;
	uint32_t vs;
	uint16_t vendor_id, device_id;
	char name[24], access[8]; /* "0000:01:00.0", "vfio" */
};

struct nvme_trace_reg {
	uint32_t offset, size; /* in BAR0; 4 or 8 bytes */
	uint64_t value;
};

struct nvme_trace_doorbell {
	uint32_t offset;
	uint16_t cq;        /* 0: SQ tail, 1: CQ head */
	uint16_t in_memory; /* 1: to a shadow doorbell alone, 0: to the register */
	uint32_t old_value, new_value;
};

struct nvme_trace_prp {
	uint64_t virt_addr, prp1, prp2;
	uint32_t len;  /* bytes */
	uint32_t nprp; /* entries: PRP1, PRP2 or those of the list */
	uint16_t cid, reserved[3];
};

struct nvme_trace_prp_list {
	uint16_t cid;
	uint16_t count; /* entries in this part */
	uint32_t first; /* index of the first of them: 0 is the second page of the buffer */
	uint64_t entry[10];
};

struct nvme_trace_sgl {
	uint64_t segment; /* where the controller finds the descriptors */
	uint32_t len;     /* bytes of the transfer */
	uint32_t descs;   /* in the segment */
	uint16_t cid;
	uint16_t count; /* descriptors in this part */
	uint32_t first; /* index of the first of them */
	struct nvme_sgl_desc desc[4];
};

struct nvme_trace_dma {
	uint64_t vaddr, iova, len;
};

struct nvme_trace_data {
	uint64_t iova;
	uint32_t len;
	uint16_t cid;
	uint16_t to_host; /* 1: the controller wrote to memory, 0: it read */
};

/* See >>ladder, >>retry, >>reset and >>removal. */
enum nvme_trace_what {
	NVME_TRACE_LATE = 1,      /* command CID is late; value: ms that are allowed */
	NVME_TRACE_ABORT = 2,     /* the controller is asked to abort it; value: as before */
	NVME_TRACE_RETRY = 3,     /* it has failed and is sent again; value: in so many ms */
	NVME_TRACE_RESET = 4,     /* the controller is reset */
	NVME_TRACE_RESET_END = 5, /* and works again */
	NVME_TRACE_GIVEN_UP = 6,  /* the controller is given up; value: the errno */
	NVME_TRACE_REMOVAL = 7,   /* value: enum nvme_removal */
};

struct nvme_trace_mark {
	uint32_t what;          /* enum nvme_trace_what */
	uint16_t cid, reserved; /* where a command is meant, whose queue is that of the slot */
	uint32_t value;
};

NVME__SIZE(struct nvme_trace_header, 120);
NVME__SIZE(struct nvme_trace_slot, 128);
NVME__AT(struct nvme_trace_slot, payload, 28);
NVME__SIZE(struct nvme_trace_sgl, 88);

#ifndef NVME_TEXT_ONLY

struct nvme_trace; /* a recorder; several controllers and threads may use it at once */

/*
 * Creates FILE, or empties it if it is a trace, for a recorder of so many slots (0: 65536) of 128
 * bytes. The name is taken as it is. -EINVAL too many slots, -EBUSY another recorder writes to
 * FILE, -EEXIST it is no trace, -EFBIG beyond RLIMIT_FSIZE, -ENOSPC no room for all slots,
 * otherwise what open(), flock(), posix_fallocate() or mmap() say; the reason goes to standard
 * error, and an older trace stays as it was.
 */
NVMEDEF int nvme_trace_open(const char *file, uint64_t slots, struct nvme_trace **trace);
/* All controllers that use it must be detached. NULL is allowed. */
NVMEDEF void nvme_trace_close(struct nvme_trace *trace);
/* Adds an event of one's own, for a device behind the access table. Nothing happens untraced. */
NVMEDEF void nvme_trace_event(const struct nvme_dev *dev, enum nvme_trace_kind kind, uint16_t qid,
                              const void *payload, size_t len);

#endif /* NVME_TEXT_ONLY */

#ifdef __cplusplus
}
#endif

#endif /* NVME_H_REFERENCE */

/* ############################################################################################
 * BOOK 3, THE IMPLEMENTATION.
 * ############################################################################################ */
#if defined(NVME_IMPLEMENTATION) && !defined(NVME__BOOK3) && \
	(defined(NVME__IMPLEMENTED) || defined(NVME_TEXT_ONLY))
#define NVME__BOOK3

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * >>names
 *
 * The names of codes. They are the words that SPDK prints; those that it has no word for follow.
 * ============================================================================================ */

/*
 * One table per list of codes. A row has the code NVME__ANY_OTHER and the name for all codes that
 * are not listed before it; a search stops there. Where SPDK does not know all codes the others
 * follow behind that row, up to NVME__END: only a search for the full name goes on there.
 */
struct nvme__name {
	uint32_t code;
	const char *text;
};

#define NVME__ANY_OTHER 0xffffffffu
#define NVME__END       0xfffffffeu

static const char *nvme__lookup(const struct nvme__name *table, uint32_t code)
{
	while (table->code != code && table->code != NVME__ANY_OTHER)
		table++;
	return table->text;
}

/* Codes from vendor on are left to the vendors, if no list says otherwise. */
static const char *nvme__lookup_full(const struct nvme__name *table, uint32_t code, uint32_t vendor)
{
	while (table->code != code && table->code != NVME__END)
		table++;
	if (table->code == code)
		return table->text;
	return code >= vendor ? "VENDOR SPECIFIC" : "RESERVED";
}

static const struct nvme__name nvme__admin_opc_names[] = {
	{NVME_OPC_DELETE_IO_SQ, "DELETE IO SQ"},
	{NVME_OPC_CREATE_IO_SQ, "CREATE IO SQ"},
	{NVME_OPC_GET_LOG_PAGE, "GET LOG PAGE"},
	{NVME_OPC_DELETE_IO_CQ, "DELETE IO CQ"},
	{NVME_OPC_CREATE_IO_CQ, "CREATE IO CQ"},
	{NVME_OPC_IDENTIFY, "IDENTIFY"},
	{NVME_OPC_ABORT, "ABORT"},
	{NVME_OPC_SET_FEATURES, "SET FEATURES"},
	{NVME_OPC_GET_FEATURES, "GET FEATURES"},
	{NVME_OPC_ASYNC_EVENT_REQUEST, "ASYNC EVENT REQUEST"},
	{NVME_OPC_NS_MANAGEMENT, "NAMESPACE MANAGEMENT"},
	{NVME_OPC_FIRMWARE_COMMIT, "FIRMWARE COMMIT"},
	{NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD, "FIRMWARE IMAGE DOWNLOAD"},
	{NVME_OPC_DEVICE_SELF_TEST, "DEVICE SELF-TEST"},
	{NVME_OPC_NS_ATTACHMENT, "NAMESPACE ATTACHMENT"},
	{NVME_OPC_KEEP_ALIVE, "KEEP ALIVE"},
	{NVME_OPC_DIRECTIVE_SEND, "DIRECTIVE SEND"},
	{NVME_OPC_DIRECTIVE_RECEIVE, "DIRECTIVE RECEIVE"},
	{NVME_OPC_VIRTUALIZATION_MANAGEMENT, "VIRTUALIZATION MANAGEMENT"},
	{NVME_OPC_NVME_MI_SEND, "NVME-MI SEND"},
	{NVME_OPC_NVME_MI_RECEIVE, "NVME-MI RECEIVE"},
	{NVME_OPC_DOORBELL_BUFFER_CONFIG, "DOORBELL BUFFER CONFIG"},
	{NVME_OPC_FABRIC, "FABRIC"},
	{NVME_OPC_FORMAT_NVM, "FORMAT NVM"},
	{NVME_OPC_SECURITY_SEND, "SECURITY SEND"},
	{NVME_OPC_SECURITY_RECEIVE, "SECURITY RECEIVE"},
	{NVME_OPC_SANITIZE, "SANITIZE"},
	{NVME_OPC_GET_LBA_STATUS, "GET LBA STATUS"},
	{NVME_OPC_OCSSD_GEOMETRY, "OCSSD / GEOMETRY"},
	{NVME__ANY_OTHER, "ADMIN COMMAND"},
	{NVME_OPC_CAPACITY_MANAGEMENT, "CAPACITY MANAGEMENT"},
	{NVME_OPC_DISCOVERY_INFO_MANAGEMENT, "DISCOVERY INFORMATION MANAGEMENT"},
	{NVME_OPC_FABRIC_ZONING_RECEIVE, "FABRIC ZONING RECEIVE"},
	{NVME_OPC_LOCKDOWN, "LOCKDOWN"},
	{NVME_OPC_FABRIC_ZONING_LOOKUP, "FABRIC ZONING LOOKUP"},
	{NVME_OPC_CLEAR_EXPORTED_CONFIG, "CLEAR EXPORTED NVM RESOURCE CONFIGURATION"},
	{NVME_OPC_FABRIC_ZONING_SEND, "FABRIC ZONING SEND"},
	{NVME_OPC_CREATE_EXPORTED_SUBSYSTEM, "CREATE EXPORTED NVM SUBSYSTEM"},
	{NVME_OPC_MANAGE_EXPORTED_SUBSYSTEM, "MANAGE EXPORTED NVM SUBSYSTEM"},
	{NVME_OPC_MANAGE_EXPORTED_NS, "MANAGE EXPORTED NAMESPACE"},
	{NVME_OPC_MANAGE_EXPORTED_PORT, "MANAGE EXPORTED PORT"},
	{NVME_OPC_SEND_DISCOVERY_LOG_PAGE, "SEND DISCOVERY LOG PAGE"},
	{NVME_OPC_TRACK_SEND, "TRACK SEND"},
	{NVME_OPC_TRACK_RECEIVE, "TRACK RECEIVE"},
	{NVME_OPC_MIGRATION_SEND, "MIGRATION SEND"},
	{NVME_OPC_MIGRATION_RECEIVE, "MIGRATION RECEIVE"},
	{NVME_OPC_CONTROLLER_DATA_QUEUE, "CONTROLLER DATA QUEUE"},
	{NVME_OPC_LOAD_PROGRAM, "LOAD PROGRAM"},
	{NVME_OPC_PROGRAM_ACTIVATION_MANAGEMENT, "PROGRAM ACTIVATION MANAGEMENT"},
	{NVME_OPC_MEMORY_RANGE_SET_MANAGEMENT, "MEMORY RANGE SET MANAGEMENT"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__io_opc_names[] = {
	{NVME_OPC_FLUSH, "FLUSH"},
	{NVME_OPC_WRITE, "WRITE"},
	{NVME_OPC_READ, "READ"},
	{NVME_OPC_WRITE_UNCORRECTABLE, "WRITE UNCORRECTABLE"},
	{NVME_OPC_COMPARE, "COMPARE"},
	{NVME_OPC_WRITE_ZEROES, "WRITE ZEROES"},
	{NVME_OPC_DATASET_MANAGEMENT, "DATASET MANAGEMENT"},
	{NVME_OPC_RESERVATION_REGISTER, "RESERVATION REGISTER"},
	{NVME_OPC_RESERVATION_REPORT, "RESERVATION REPORT"},
	{NVME_OPC_RESERVATION_ACQUIRE, "RESERVATION ACQUIRE"},
	{NVME_OPC_RESERVATION_RELEASE, "RESERVATION RELEASE"},
	{NVME_OPC_OCSSD_VECTOR_RESET, "OCSSD / VECTOR RESET"},
	{NVME_OPC_OCSSD_VECTOR_WRITE, "OCSSD / VECTOR WRITE"},
	{NVME_OPC_OCSSD_VECTOR_READ, "OCSSD / VECTOR READ"},
	{NVME_OPC_OCSSD_VECTOR_COPY, "OCSSD / VECTOR COPY"},
	{NVME__ANY_OTHER, "IO COMMAND"},
	{NVME_OPC_KV_LIST, "KV LIST"},
	{NVME_OPC_VERIFY, "VERIFY"},
	{NVME_OPC_KV_DELETE, "KV DELETE"},
	{NVME_OPC_IO_MANAGEMENT_RECEIVE, "IO MANAGEMENT RECEIVE"},
	{NVME_OPC_KV_EXIST, "KV EXIST"},
	{NVME_OPC_CANCEL, "CANCEL"},
	{NVME_OPC_COPY, "COPY"},
	{NVME_OPC_IO_MANAGEMENT_SEND, "IO MANAGEMENT SEND"},
	{NVME_OPC_ZONE_MANAGEMENT_SEND, "ZONE MANAGEMENT SEND"},
	{NVME_OPC_ZONE_MANAGEMENT_RECEIVE, "ZONE MANAGEMENT RECEIVE"},
	{NVME_OPC_ZONE_APPEND, "ZONE APPEND"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__fabrics_names[] = {
	{NVME_FABRICS_PROPERTY_SET, "PROPERTY SET"},
	{NVME_FABRICS_CONNECT, "CONNECT"},
	{NVME_FABRICS_PROPERTY_GET, "PROPERTY GET"},
	{NVME_FABRICS_AUTHENTICATION_SEND, "AUTHENTICATION SEND"},
	{NVME_FABRICS_AUTHENTICATION_RECEIVE, "AUTHENTICATION RECV"},
	{NVME__ANY_OTHER, "RESERVED / VENDOR SPECIFIC"},
	{NVME_FABRICS_DISCONNECT, "DISCONNECT"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__feat_names[] = {
	{NVME_FEAT_ARBITRATION, "ARBITRATION"},
	{NVME_FEAT_POWER_MANAGEMENT, "POWER MANAGEMENT"},
	{NVME_FEAT_LBA_RANGE_TYPE, "LBA RANGE TYPE"},
	{NVME_FEAT_TEMPERATURE_THRESHOLD, "TEMPERATURE THRESHOLD"},
	{NVME_FEAT_ERROR_RECOVERY, "ERROR_RECOVERY"},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, "VOLATILE WRITE CACHE"},
	{NVME_FEAT_NUMBER_OF_QUEUES, "NUMBER OF QUEUES"},
	{NVME_FEAT_INTERRUPT_COALESCING, "INTERRUPT COALESCING"},
	{NVME_FEAT_INTERRUPT_VECTOR_CONFIG, "INTERRUPT VECTOR CONFIGURATION"},
	{NVME_FEAT_WRITE_ATOMICITY, "WRITE ATOMICITY"},
	{NVME_FEAT_ASYNC_EVENT_CONFIG, "ASYNC EVENT CONFIGURATION"},
	{NVME_FEAT_AUTO_POWER_STATE_TRANSITION, "AUTONOMOUS POWER STATE TRANSITION"},
	{NVME_FEAT_HOST_MEM_BUFFER, "HOST MEM BUFFER"},
	{NVME_FEAT_TIMESTAMP, "TIMESTAMP"},
	{NVME_FEAT_KEEP_ALIVE_TIMER, "KEEP ALIVE TIMER"},
	{NVME_FEAT_HOST_THERMAL_MANAGEMENT, "HOST CONTROLLED THERMAL MANAGEMENT"},
	{NVME_FEAT_NON_OP_POWER_STATE_CONFIG, "NON OPERATIONAL POWER STATE CONFIG"},
	{NVME_FEAT_SOFTWARE_PROGRESS_MARKER, "SOFTWARE PROGRESS MARKER"},
	{NVME_FEAT_HOST_IDENTIFIER, "HOST IDENTIFIER"},
	{NVME_FEAT_HOST_RESERVE_MASK, "HOST RESERVE MASK"},
	{NVME_FEAT_HOST_RESERVE_PERSIST, "HOST RESERVE PERSIST"},
	{NVME__ANY_OTHER, "RESERVED"},
	{NVME_FEAT_READ_RECOVERY_LEVEL, "READ RECOVERY LEVEL CONFIG"},
	{NVME_FEAT_PREDICTABLE_LATENCY_CONFIG, "PREDICTABLE LATENCY MODE CONFIG"},
	{NVME_FEAT_PREDICTABLE_LATENCY_WINDOW, "PREDICTABLE LATENCY MODE WINDOW"},
	{NVME_FEAT_LBA_STATUS_INTERVAL, "LBA STATUS INFORMATION REPORT INTERVAL"},
	{NVME_FEAT_HOST_BEHAVIOR, "HOST BEHAVIOR SUPPORT"},
	{NVME_FEAT_SANITIZE_CONFIG, "SANITIZE CONFIG"},
	{NVME_FEAT_ENDURANCE_GROUP_EVENT, "ENDURANCE GROUP EVENT CONFIGURATION"},
	{NVME_FEAT_IO_COMMAND_SET_PROFILE, "IO COMMAND SET PROFILE"},
	{NVME_FEAT_SPINUP_CONTROL, "SPINUP CONTROL"},
	{NVME_FEAT_POWER_LOSS_SIGNALING, "POWER LOSS SIGNALING CONFIG"},
	{NVME_FEAT_PERFORMANCE_CHARACTERISTICS, "PERFORMANCE CHARACTERISTICS"},
	{NVME_FEAT_FDP, "FLEXIBLE DATA PLACEMENT"},
	{NVME_FEAT_FDP_EVENTS, "FLEXIBLE DATA PLACEMENT EVENTS"},
	{NVME_FEAT_NS_ADMIN_LABEL, "NAMESPACE ADMIN LABEL"},
	{NVME_FEAT_KEY_VALUE_CONFIG, "KEY VALUE CONFIGURATION"},
	{NVME_FEAT_CONTROLLER_DATA_QUEUE, "CONTROLLER DATA QUEUE"},
	{NVME_FEAT_EMBEDDED_MGMT_ADDRESS, "EMBEDDED MANAGEMENT CONTROLLER ADDRESS"},
	{NVME_FEAT_HOST_MGMT_AGENT_ADDRESS, "HOST MANAGEMENT AGENT ADDRESS"},
	{NVME_FEAT_ENHANCED_CTRLR_METADATA, "ENHANCED CONTROLLER METADATA"},
	{NVME_FEAT_CTRLR_METADATA, "CONTROLLER METADATA"},
	{NVME_FEAT_NS_METADATA, "NAMESPACE METADATA"},
	{NVME_FEAT_NS_WRITE_PROTECTION, "NAMESPACE WRITE PROTECTION CONFIG"},
	{NVME_FEAT_BOOT_PARTITION_WRITE_PROTECTION, "BOOT PARTITION WRITE PROTECTION CONFIG"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__sgl_type_names[] = {
	{NVME_SGL_TYPE_DATA_BLOCK, "DATA BLOCK"},
	{NVME_SGL_TYPE_BIT_BUCKET, "BIT BUCKET"},
	{NVME_SGL_TYPE_SEGMENT, "SEGMENT"},
	{NVME_SGL_TYPE_LAST_SEGMENT, "LAST SEGMENT"},
	{NVME_SGL_TYPE_KEYED_DATA_BLOCK, "KEYED DATA BLOCK"},
	{NVME_SGL_TYPE_TRANSPORT_DATA_BLOCK, "TRANSPORT DATA BLOCK"},
	{NVME_SGL_TYPE_VENDOR_SPECIFIC, "VENDOR SPECIFIC"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__sgl_subtype_names[] = {
	{NVME_SGL_SUBTYPE_ADDRESS, "ADDRESS"},
	{NVME_SGL_SUBTYPE_OFFSET, "OFFSET"},
	{NVME_SGL_SUBTYPE_TRANSPORT, "TRANSPORT"},
	{NVME_SGL_SUBTYPE_INVALIDATE_KEY, "INVALIDATE KEY"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__sct_names[] = {
	{NVME_SCT_GENERIC, "GENERIC"},
	{NVME_SCT_COMMAND_SPECIFIC, "COMMAND SPECIFIC"},
	{NVME_SCT_MEDIA_ERROR, "MEDIA ERROR"},
	{NVME_SCT_PATH, "PATH"},
	{NVME_SCT_VENDOR_SPECIFIC, "VENDOR SPECIFIC"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__generic_names[] = {
	{NVME_SC_SUCCESS, "SUCCESS"},
	{NVME_SC_INVALID_OPCODE, "INVALID OPCODE"},
	{NVME_SC_INVALID_FIELD, "INVALID FIELD"},
	{NVME_SC_COMMAND_ID_CONFLICT, "COMMAND ID CONFLICT"},
	{NVME_SC_DATA_TRANSFER_ERROR, "DATA TRANSFER ERROR"},
	{NVME_SC_ABORTED_POWER_LOSS, "ABORTED - POWER LOSS"},
	{NVME_SC_INTERNAL_DEVICE_ERROR, "INTERNAL DEVICE ERROR"},
	{NVME_SC_ABORTED_BY_REQUEST, "ABORTED - BY REQUEST"},
	{NVME_SC_ABORTED_SQ_DELETION, "ABORTED - SQ DELETION"},
	{NVME_SC_ABORTED_FAILED_FUSED, "ABORTED - FAILED FUSED"},
	{NVME_SC_ABORTED_MISSING_FUSED, "ABORTED - MISSING FUSED"},
	{NVME_SC_INVALID_NAMESPACE_OR_FORMAT, "INVALID NAMESPACE OR FORMAT"},
	{NVME_SC_COMMAND_SEQUENCE_ERROR, "COMMAND SEQUENCE ERROR"},
	{NVME_SC_INVALID_SGL_SEG_DESCRIPTOR, "INVALID SGL SEGMENT DESCRIPTOR"},
	{NVME_SC_INVALID_NUM_SGL_DESCRIPTORS, "INVALID NUMBER OF SGL DESCRIPTORS"},
	{NVME_SC_DATA_SGL_LENGTH_INVALID, "DATA SGL LENGTH INVALID"},
	{NVME_SC_METADATA_SGL_LENGTH_INVALID, "METADATA SGL LENGTH INVALID"},
	{NVME_SC_SGL_DESCRIPTOR_TYPE_INVALID, "SGL DESCRIPTOR TYPE INVALID"},
	{NVME_SC_INVALID_CONTROLLER_MEM_BUF, "INVALID CONTROLLER MEMORY BUFFER"},
	{NVME_SC_INVALID_PRP_OFFSET, "INVALID PRP OFFSET"},
	{NVME_SC_ATOMIC_WRITE_UNIT_EXCEEDED, "ATOMIC WRITE UNIT EXCEEDED"},
	{NVME_SC_OPERATION_DENIED, "OPERATION DENIED"},
	{NVME_SC_INVALID_SGL_OFFSET, "INVALID SGL OFFSET"},
	{NVME_SC_HOSTID_INCONSISTENT_FORMAT, "HOSTID INCONSISTENT FORMAT"},
	{NVME_SC_KEEP_ALIVE_EXPIRED, "KEEP ALIVE EXPIRED"},
	{NVME_SC_KEEP_ALIVE_INVALID, "KEEP ALIVE INVALID"},
	{NVME_SC_ABORTED_PREEMPT, "ABORTED - PREEMPT AND ABORT"},
	{NVME_SC_SANITIZE_FAILED, "SANITIZE FAILED"},
	{NVME_SC_SANITIZE_IN_PROGRESS, "SANITIZE IN PROGRESS"},
	{NVME_SC_SGL_DATA_BLOCK_GRANULARITY_INVALID, "DATA BLOCK GRANULARITY INVALID"},
	{NVME_SC_COMMAND_INVALID_IN_CMB, "COMMAND NOT SUPPORTED FOR QUEUE IN CMB"},
	{NVME_SC_NAMESPACE_IS_PROTECTED, "COMMAND NAMESPACE IS PROTECTED"},
	{NVME_SC_COMMAND_INTERRUPTED, "COMMAND INTERRUPTED"},
	{NVME_SC_TRANSIENT_TRANSPORT_ERROR, "COMMAND TRANSIENT TRANSPORT ERROR"},
	{NVME_SC_LBA_OUT_OF_RANGE, "LBA OUT OF RANGE"},
	{NVME_SC_CAPACITY_EXCEEDED, "CAPACITY EXCEEDED"},
	{NVME_SC_NAMESPACE_NOT_READY, "NAMESPACE NOT READY"},
	{NVME_SC_RESERVATION_CONFLICT, "RESERVATION CONFLICT"},
	{NVME_SC_FORMAT_IN_PROGRESS, "FORMAT IN PROGRESS"},
	{NVME_SC_INVALID_VALUE_SIZE, "INVALID VALUE SIZE"},
	{NVME_SC_INVALID_KEY_SIZE, "INVALID KEY SIZE"},
	{NVME_SC_KV_KEY_DOES_NOT_EXIST, "KV KEY DOES NOT EXIST"},
	{NVME_SC_UNRECOVERED_ERROR, "UNRECOVERED ERROR"},
	{NVME_SC_KEY_EXISTS, "KEY EXISTS"},
	{NVME__ANY_OTHER, "GENERIC"},
	{NVME_SC_PROHIBITED_BY_LOCKDOWN, "COMMAND PROHIBITED BY COMMAND AND FEATURE LOCKDOWN"},
	{NVME_SC_ADMIN_MEDIA_NOT_READY, "ADMIN COMMAND MEDIA NOT READY"},
	{NVME_SC_INVALID_KEY_TAG, "INVALID KEY TAG"},
	{NVME_SC_HOST_DISPERSED_NS_DISABLED, "HOST DISPERSED NAMESPACE SUPPORT NOT ENABLED"},
	{NVME_SC_HOST_ID_NOT_INITIALIZED, "HOST IDENTIFIER NOT INITIALIZED"},
	{NVME_SC_INCORRECT_KEY, "INCORRECT KEY"},
	{NVME_SC_FDP_DISABLED, "FLEXIBLE DATA PLACEMENT DISABLED"},
	{NVME_SC_INVALID_PLACEMENT_HANDLE_LIST, "INVALID PLACEMENT HANDLE LIST"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__command_specific_names[] = {
	{NVME_SC_COMPLETION_QUEUE_INVALID, "INVALID COMPLETION QUEUE"},
	{NVME_SC_INVALID_QUEUE_IDENTIFIER, "INVALID QUEUE IDENTIFIER"},
	{NVME_SC_INVALID_QUEUE_SIZE, "INVALID QUEUE SIZE"},
	{NVME_SC_ABORT_COMMAND_LIMIT_EXCEEDED, "ABORT CMD LIMIT EXCEEDED"},
	{NVME_SC_ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED, "ASYNC LIMIT EXCEEDED"},
	{NVME_SC_INVALID_FIRMWARE_SLOT, "INVALID FIRMWARE SLOT"},
	{NVME_SC_INVALID_FIRMWARE_IMAGE, "INVALID FIRMWARE IMAGE"},
	{NVME_SC_INVALID_INTERRUPT_VECTOR, "INVALID INTERRUPT VECTOR"},
	{NVME_SC_INVALID_LOG_PAGE, "INVALID LOG PAGE"},
	{NVME_SC_INVALID_FORMAT, "INVALID FORMAT"},
	{NVME_SC_FIRMWARE_REQ_CONVENTIONAL_RESET, "FIRMWARE REQUIRES CONVENTIONAL RESET"},
	{NVME_SC_INVALID_QUEUE_DELETION, "INVALID QUEUE DELETION"},
	{NVME_SC_FEATURE_ID_NOT_SAVEABLE, "FEATURE ID NOT SAVEABLE"},
	{NVME_SC_FEATURE_NOT_CHANGEABLE, "FEATURE NOT CHANGEABLE"},
	{NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC, "FEATURE NOT NAMESPACE SPECIFIC"},
	{NVME_SC_FIRMWARE_REQ_NVM_RESET, "FIRMWARE REQUIRES NVM RESET"},
	{NVME_SC_FIRMWARE_REQ_RESET, "FIRMWARE REQUIRES RESET"},
	{NVME_SC_FIRMWARE_REQ_MAX_TIME_VIOLATION, "FIRMWARE REQUIRES MAX TIME VIOLATION"},
	{NVME_SC_FIRMWARE_ACTIVATION_PROHIBITED, "FIRMWARE ACTIVATION PROHIBITED"},
	{NVME_SC_OVERLAPPING_RANGE, "OVERLAPPING RANGE"},
	{NVME_SC_NAMESPACE_INSUFFICIENT_CAPACITY, "NAMESPACE INSUFFICIENT CAPACITY"},
	{NVME_SC_NAMESPACE_ID_UNAVAILABLE, "NAMESPACE ID UNAVAILABLE"},
	{NVME_SC_NAMESPACE_ALREADY_ATTACHED, "NAMESPACE ALREADY ATTACHED"},
	{NVME_SC_NAMESPACE_IS_PRIVATE, "NAMESPACE IS PRIVATE"},
	{NVME_SC_NAMESPACE_NOT_ATTACHED, "NAMESPACE NOT ATTACHED"},
	{NVME_SC_THINPROVISIONING_NOT_SUPPORTED, "THINPROVISIONING NOT SUPPORTED"},
	{NVME_SC_CONTROLLER_LIST_INVALID, "CONTROLLER LIST INVALID"},
	{NVME_SC_DEVICE_SELF_TEST_IN_PROGRESS, "DEVICE SELF-TEST IN PROGRESS"},
	{NVME_SC_BOOT_PARTITION_WRITE_PROHIBITED, "BOOT PARTITION WRITE PROHIBITED"},
	{NVME_SC_INVALID_CTRLR_ID, "INVALID CONTROLLER ID"},
	{NVME_SC_INVALID_SECONDARY_CTRLR_STATE, "INVALID SECONDARY CONTROLLER STATE"},
	{NVME_SC_INVALID_NUM_CTRLR_RESOURCES, "INVALID NUMBER OF CONTROLLER RESOURCES"},
	{NVME_SC_INVALID_RESOURCE_ID, "INVALID RESOURCE IDENTIFIER"},
	{NVME_SC_SANITIZE_PROHIBITED, "SANITIZE PROHIBITED"},
	{NVME_SC_ANA_GROUP_IDENTIFIER_INVALID, "ANA GROUP IDENTIFIER INVALID"},
	{NVME_SC_ANA_ATTACH_FAILED, "ANA ATTACH FAILED"},
	{NVME_SC_INSUFFICIENT_CAPACITY, "INSUFFICIENT CAPACITY"},
	{NVME_SC_NAMESPACE_ATTACH_LIMIT_EXCEEDED, "NAMESPACE ATTACH LIMIT EXCEEDED"},
	{NVME_SC_PROHIBIT_COMMAND_EXEC_NOT_SUPPORTED, "PROHIBIT COMMAND EXEC NOT SUPPORTED"},
	{NVME_SC_IOCS_NOT_SUPPORTED, "IOCS NOT SUPPORTED"},
	{NVME_SC_IOCS_NOT_ENABLED, "IOCS NOT ENABLED"},
	{NVME_SC_IOCS_COMBINATION_REJECTED, "IOCS COMBINATION REJECTED"},
	{NVME_SC_INVALID_IOCS, "INVALID IOCS"},
	{NVME_SC_IDENTIFIER_UNAVAILABLE, "IDENTIFIER UNAVAILABLE"},
	{NVME_SC_STREAM_RESOURCE_ALLOCATION_FAILED, "STREAM RESOURCE ALLOCATION FAILED"},
	{NVME_SC_CONFLICTING_ATTRIBUTES, "CONFLICTING ATTRIBUTES"},
	{NVME_SC_INVALID_PROTECTION_INFO, "INVALID PROTECTION INFO"},
	{NVME_SC_ATTEMPTED_WRITE_TO_RO_RANGE, "WRITE TO RO RANGE"},
	{NVME_SC_CMD_SIZE_LIMIT_EXCEEDED, "CMD SIZE LIMIT SIZE EXCEEDED"},
	{NVME_SC_ZONED_BOUNDARY_ERROR, "ZONED BOUNDARY ERROR"},
	{NVME_SC_ZONE_IS_FULL, "ZONE IS FULL"},
	{NVME_SC_ZONE_IS_READ_ONLY, "ZONE IS READ ONLY"},
	{NVME_SC_ZONE_IS_OFFLINE, "ZONE IS OFFLINE"},
	{NVME_SC_ZONE_INVALID_WRITE, "ZONE INVALID WRITE"},
	{NVME_SC_TOO_MANY_ACTIVE_ZONES, "TOO MANY ACTIVE ZONES"},
	{NVME_SC_TOO_MANY_OPEN_ZONES, "TOO MANY OPEN ZONES"},
	{NVME_SC_INVALID_ZONE_STATE_TRANSITION, "INVALID ZONE STATE TRANSITION"},
	{NVME__ANY_OTHER, "COMMAND SPECIFIC"},
	{NVME_SC_NAMESPACE_IS_DISPERSED, "NAMESPACE IS DISPERSED"},
	{NVME_SC_INVALID_DISCOVERY_INFO, "INVALID DISCOVERY INFORMATION"},
	{NVME_SC_ZONING_DATA_LOCKED, "ZONING DATA STRUCTURE LOCKED"},
	{NVME_SC_ZONING_DATA_NOT_FOUND, "ZONING DATA STRUCTURE NOT FOUND"},
	{NVME_SC_INSUFFICIENT_DISCOVERY_RESOURCES, "INSUFFICIENT DISCOVERY RESOURCES"},
	{NVME_SC_REQUESTED_FUNCTION_DISABLED, "REQUESTED FUNCTION DISABLED"},
	{NVME_SC_ZONEGROUP_ORIGINATOR_INVALID, "ZONEGROUP ORIGINATOR INVALID"},
	{NVME_SC_INVALID_HOST, "INVALID HOST"},
	{NVME_SC_INVALID_NVM_SUBSYSTEM, "INVALID NVM SUBSYSTEM"},
	{NVME_SC_INVALID_CONTROLLER_DATA_QUEUE, "INVALID CONTROLLER DATA QUEUE"},
	{NVME_SC_NOT_ENOUGH_RESOURCES, "NOT ENOUGH RESOURCES"},
	{NVME_SC_CONTROLLER_SUSPENDED, "CONTROLLER SUSPENDED"},
	{NVME_SC_CONTROLLER_NOT_SUSPENDED, "CONTROLLER NOT SUSPENDED"},
	{NVME_SC_CONTROLLER_DATA_QUEUE_FULL, "CONTROLLER DATA QUEUE FULL"},
	{NVME_SC_INCOMPATIBLE_NAMESPACE_OR_FORMAT, "INCOMPATIBLE NAMESPACE OR FORMAT"},
	{NVME_SC_FAST_COPY_NOT_POSSIBLE, "FAST COPY NOT POSSIBLE"},
	{NVME_SC_OVERLAPPING_IO_RANGE, "OVERLAPPING IO RANGE"},
	{NVME_SC_INSUFFICIENT_RESOURCES, "INSUFFICIENT RESOURCES"},
	{NVME_SC_INVALID_ZONE_OPERATION, "INVALID ZONE OPERATION REQUEST"},
	{NVME_SC_ZRWA_RESOURCES_UNAVAILABLE, "ZRWA RESOURCES UNAVAILABLE"},
	{NVME__END, NULL},
};

/* In the words of SPDK from v26.05 on; older ones take the table above for these as well. */
static const struct nvme__name nvme__fabrics_status_names[] = {
	{NVME_SC_FABRICS_INCOMPATIBLE_FORMAT, "INCOMPATIBLE FORMAT"},
	{NVME_SC_FABRICS_CONTROLLER_BUSY, "CONTROLLER BUSY"},
	{NVME_SC_FABRICS_INVALID_PARAM, "INVALID PARAM"},
	{NVME_SC_FABRICS_RESTART_DISCOVERY, "RESTART DISCOVERY"},
	{NVME_SC_FABRICS_INVALID_HOST, "INVALID HOST"},
	{NVME_SC_FABRICS_LOG_RESTART_DISCOVERY, "LOG RESTART DISCOVERY"},
	{NVME_SC_FABRICS_AUTH_REQUIRED, "AUTH REQUIRED"},
	{NVME__ANY_OTHER, "FABRIC COMMAND SPECIFIC"},
	{NVME_SC_FABRICS_INVALID_QUEUE_TYPE, "INVALID QUEUE TYPE"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__media_names[] = {
	{NVME_SC_WRITE_FAULTS, "WRITE FAULTS"},
	{NVME_SC_UNRECOVERED_READ_ERROR, "UNRECOVERED READ ERROR"},
	{NVME_SC_GUARD_CHECK_ERROR, "GUARD CHECK ERROR"},
	{NVME_SC_APPLICATION_TAG_CHECK_ERROR, "APPLICATION TAG CHECK ERROR"},
	{NVME_SC_REFERENCE_TAG_CHECK_ERROR, "REFERENCE TAG CHECK ERROR"},
	{NVME_SC_COMPARE_FAILURE, "COMPARE FAILURE"},
	{NVME_SC_ACCESS_DENIED, "ACCESS DENIED"},
	{NVME_SC_DEALLOCATED_OR_UNWRITTEN_BLOCK, "DEALLOCATED OR UNWRITTEN BLOCK"},
	{NVME_SC_STORAGE_TAG_CHECK_ERROR, "END TO END STORAGE TAG CHECK ERROR"},
	{NVME_SC_OCSSD_OFFLINE_CHUNK, "RESET OFFLINE CHUNK"},
	{NVME_SC_OCSSD_INVALID_RESET, "INVALID RESET"},
	{NVME_SC_OCSSD_READ_HIGH_ECC, "READ HIGH ECC"},
	{NVME_SC_OCSSD_WRITE_FAIL_WRITE_NEXT_UNIT, "WRITE FAIL WRITE NEXT UNIT"},
	{NVME_SC_OCSSD_WRITE_FAIL_CHUNK_EARLY_CLOSE, "WRITE FAIL CHUNK EARLY CLOSE"},
	{NVME_SC_OCSSD_OUT_OF_ORDER_WRITE, "OUT OF ORDER WRITE"},
	{NVME__ANY_OTHER, "MEDIA ERROR"},
	{NVME__END, NULL},
};

static const struct nvme__name nvme__path_names[] = {
	{NVME_SC_INTERNAL_PATH_ERROR, "INTERNAL PATH ERROR"},
	{NVME_SC_ANA_PERSISTENT_LOSS, "ASYMMETRIC ACCESS PERSISTENT LOSS"},
	{NVME_SC_ANA_INACCESSIBLE, "ASYMMETRIC ACCESS INACCESSIBLE"},
	{NVME_SC_ANA_TRANSITION, "ASYMMETRIC ACCESS TRANSITION"},
	{NVME_SC_CONTROLLER_PATH_ERROR, "CONTROLLER PATH ERROR"},
	{NVME_SC_HOST_PATH_ERROR, "HOST PATH ERROR"},
	{NVME_SC_ABORTED_BY_HOST, "ABORTED BY HOST"},
	{NVME__ANY_OTHER, "PATH ERROR"},
	{NVME__END, NULL},
};

/* Log pages and Identify structures do not occur in SPDK's lines; these words are our own. */
static const struct nvme__name nvme__log_page_names[] = {
	{NVME_LOG_PAGE_SUPPORTED, "SUPPORTED LOG PAGES"},
	{NVME_LOG_PAGE_ERROR, "ERROR INFORMATION"},
	{NVME_LOG_PAGE_SMART, "SMART / HEALTH INFORMATION"},
	{NVME_LOG_PAGE_FIRMWARE_SLOT, "FIRMWARE SLOT INFORMATION"},
	{NVME_LOG_PAGE_CHANGED_NS_LIST, "CHANGED NAMESPACE LIST"},
	{NVME_LOG_PAGE_COMMAND_EFFECTS, "COMMANDS SUPPORTED AND EFFECTS"},
	{NVME_LOG_PAGE_DEVICE_SELF_TEST, "DEVICE SELF-TEST"},
	{NVME_LOG_PAGE_TELEMETRY_HOST, "TELEMETRY HOST-INITIATED"},
	{NVME_LOG_PAGE_TELEMETRY_CTRLR, "TELEMETRY CONTROLLER-INITIATED"},
	{NVME_LOG_PAGE_ENDURANCE_GROUP, "ENDURANCE GROUP INFORMATION"},
	{NVME_LOG_PAGE_PREDICTABLE_LATENCY, "PREDICTABLE LATENCY PER NVM SET"},
	{NVME_LOG_PAGE_PREDICTABLE_LATENCY_AGG, "PREDICTABLE LATENCY EVENT AGGREGATE"},
	{NVME_LOG_PAGE_ANA, "ASYMMETRIC NAMESPACE ACCESS"},
	{NVME_LOG_PAGE_PERSISTENT_EVENT, "PERSISTENT EVENT LOG"},
	{NVME_LOG_PAGE_LBA_STATUS, "LBA STATUS INFORMATION"},
	{NVME_LOG_PAGE_ENDURANCE_GROUP_EVENT, "ENDURANCE GROUP EVENT AGGREGATE"},
	{NVME_LOG_PAGE_MEDIA_UNIT_STATUS, "MEDIA UNIT STATUS"},
	{NVME_LOG_PAGE_CAPACITY_CONFIG_LIST, "SUPPORTED CAPACITY CONFIGURATION LIST"},
	{NVME_LOG_PAGE_FEATURE_EFFECTS, "FEATURE IDENTIFIERS SUPPORTED AND EFFECTS"},
	{NVME_LOG_PAGE_MI_COMMAND_EFFECTS, "NVME-MI COMMANDS SUPPORTED AND EFFECTS"},
	{NVME_LOG_PAGE_LOCKDOWN, "COMMAND AND FEATURE LOCKDOWN"},
	{NVME_LOG_PAGE_BOOT_PARTITION, "BOOT PARTITION"},
	{NVME_LOG_PAGE_ROTATIONAL_MEDIA, "ROTATIONAL MEDIA INFORMATION"},
	{NVME_LOG_PAGE_DISPERSED_NS, "DISPERSED NAMESPACE PARTICIPATING NVM SUBSYSTEMS"},
	{NVME_LOG_PAGE_MANAGEMENT_ADDRESS, "MANAGEMENT ADDRESS LIST"},
	{NVME_LOG_PAGE_PHY_RX_EOM, "PHYSICAL INTERFACE RECEIVER EYE OPENING MEASUREMENT"},
	{NVME_LOG_PAGE_REACHABILITY_GROUPS, "REACHABILITY GROUPS"},
	{NVME_LOG_PAGE_REACHABILITY_ASSOC, "REACHABILITY ASSOCIATIONS"},
	{NVME_LOG_PAGE_CHANGED_ALLOCATED_NS, "CHANGED ALLOCATED NAMESPACE LIST"},
	{NVME_LOG_PAGE_FDP_CONFIGS, "FDP CONFIGURATIONS"},
	{NVME_LOG_PAGE_FDP_RUH_USAGE, "RECLAIM UNIT HANDLE USAGE"},
	{NVME_LOG_PAGE_FDP_STATISTICS, "FDP STATISTICS"},
	{NVME_LOG_PAGE_FDP_EVENTS, "FDP EVENTS"},
	{NVME_LOG_PAGE_DISCOVERY, "DISCOVERY"},
	{NVME_LOG_PAGE_HOST_DISCOVERY, "HOST DISCOVERY"},
	{NVME_LOG_PAGE_AVE_DISCOVERY, "AVE DISCOVERY"},
	{NVME_LOG_PAGE_PULL_MODEL_DDC, "PULL MODEL DDC REQUEST"},
	{NVME_LOG_PAGE_RESERVATION, "RESERVATION NOTIFICATION"},
	{NVME_LOG_PAGE_SANITIZE_STATUS, "SANITIZE STATUS"},
	{NVME_LOG_PAGE_CHANGED_ZONES, "CHANGED ZONE LIST"},
	{NVME__ANY_OTHER, "RESERVED / VENDOR SPECIFIC"},
};

static const struct nvme__name nvme__cns_names[] = {
	{NVME_ID_CNS_NS, "NAMESPACE"},
	{NVME_ID_CNS_CTRLR, "CONTROLLER"},
	{NVME_ID_CNS_ACTIVE_NS_LIST, "ACTIVE NAMESPACE LIST"},
	{NVME_ID_CNS_NS_ID_DESC, "NAMESPACE IDENTIFICATION DESCRIPTORS"},
	{NVME_ID_CNS_NVM_SET_LIST, "NVM SET LIST"},
	{NVME_ID_CNS_NS_IOCS, "COMMAND SET SPECIFIC NAMESPACE"},
	{NVME_ID_CNS_CTRLR_IOCS, "COMMAND SET SPECIFIC CONTROLLER"},
	{NVME_ID_CNS_ACTIVE_NS_LIST_IOCS, "COMMAND SET SPECIFIC ACTIVE NAMESPACE LIST"},
	{NVME_ID_CNS_NS_INDEPENDENT, "COMMAND SET INDEPENDENT NAMESPACE"},
	{NVME_ID_CNS_NS_FORMAT, "NAMESPACE USER DATA FORMAT"},
	{NVME_ID_CNS_NS_FORMAT_IOCS, "COMMAND SET SPECIFIC USER DATA FORMAT"},
	{NVME_ID_CNS_ALLOCATED_NS_LIST, "ALLOCATED NAMESPACE LIST"},
	{NVME_ID_CNS_ALLOCATED_NS, "ALLOCATED NAMESPACE"},
	{NVME_ID_CNS_NS_ATTACHED_CTRLR_LIST, "CONTROLLERS ATTACHED TO NAMESPACE"},
	{NVME_ID_CNS_CTRLR_LIST, "CONTROLLER LIST"},
	{NVME_ID_CNS_PRIMARY_CTRLR_CAP, "PRIMARY CONTROLLER CAPABILITIES"},
	{NVME_ID_CNS_SECONDARY_CTRLR_LIST, "SECONDARY CONTROLLER LIST"},
	{NVME_ID_CNS_NS_GRANULARITY_LIST, "NAMESPACE GRANULARITY LIST"},
	{NVME_ID_CNS_UUID_LIST, "UUID LIST"},
	{NVME_ID_CNS_DOMAIN_LIST, "DOMAIN LIST"},
	{NVME_ID_CNS_ENDURANCE_GROUP_LIST, "ENDURANCE GROUP LIST"},
	{NVME_ID_CNS_ALLOCATED_NS_LIST_IOCS, "COMMAND SET SPECIFIC ALLOCATED NAMESPACE LIST"},
	{NVME_ID_CNS_ALLOCATED_NS_IOCS, "COMMAND SET SPECIFIC ALLOCATED NAMESPACE"},
	{NVME_ID_CNS_IOCS, "I/O COMMAND SETS"},
	{NVME_ID_CNS_UNDERLYING_NS_LIST, "UNDERLYING NAMESPACE LIST"},
	{NVME_ID_CNS_PORTS_LIST, "PORTS LIST"},
	{NVME_ID_CNS_ALLOCATED_NS_INDEPENDENT, "COMMAND SET INDEPENDENT ALLOCATED NAMESPACE"},
	{NVME_ID_CNS_CTRLR_STATE_FORMATS, "SUPPORTED CONTROLLER STATE FORMATS"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__csi_names[] = {
	{NVME_CSI_NVM, "NVM"},
	{NVME_CSI_KV, "KEY VALUE"},
	{NVME_CSI_ZNS, "ZONED NAMESPACE"},
	{NVME_CSI_SLM, "SUBSYSTEM LOCAL MEMORY"},
	{NVME_CSI_CP, "COMPUTATIONAL PROGRAMS"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__zone_state_names[] = {
	{NVME_ZONE_STATE_EMPTY, "EMPTY"},
	{NVME_ZONE_STATE_IOPEN, "IMPLICITLY OPENED"},
	{NVME_ZONE_STATE_EOPEN, "EXPLICITLY OPENED"},
	{NVME_ZONE_STATE_CLOSED, "CLOSED"},
	{NVME_ZONE_STATE_READ_ONLY, "READ ONLY"},
	{NVME_ZONE_STATE_FULL, "FULL"},
	{NVME_ZONE_STATE_OFFLINE, "OFFLINE"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__zone_action_names[] = {
	{NVME_ZONE_CLOSE, "CLOSE ZONE"},     {NVME_ZONE_FINISH, "FINISH ZONE"},
	{NVME_ZONE_OPEN, "OPEN ZONE"},       {NVME_ZONE_RESET, "RESET ZONE"},
	{NVME_ZONE_OFFLINE, "OFFLINE ZONE"}, {NVME_ZONE_SET_ZDE, "SET ZONE DESCRIPTOR EXTENSION"},
	{NVME__ANY_OTHER, "RESERVED"},
};

static const struct nvme__name nvme__aer_type_names[] = {
	{NVME_AER_TYPE_ERROR, "ERROR STATUS"}, {NVME_AER_TYPE_SMART, "SMART / HEALTH STATUS"},
	{NVME_AER_TYPE_NOTICE, "NOTICE"},      {NVME_AER_TYPE_IMMEDIATE, "IMMEDIATE"},
	{NVME_AER_TYPE_ONE_SHOT, "ONE-SHOT"},  {NVME_AER_TYPE_IO, "I/O COMMAND SET"},
	{NVME_AER_TYPE_VS, "VENDOR SPECIFIC"}, {NVME__ANY_OTHER, "RESERVED"},
};

#define NVME__AER(type, info) ((uint32_t)(type) << 8 | (info))

static const struct nvme__name nvme__aer_info_names[] = {
	{NVME__AER(NVME_AER_TYPE_ERROR, NVME_AER_ERROR_REGISTER), "INVALID DOORBELL REGISTER"},
	{NVME__AER(NVME_AER_TYPE_ERROR, NVME_AER_ERROR_VALUE), "INVALID DOORBELL VALUE"},
	{NVME__AER(NVME_AER_TYPE_ERROR, 0x02), "DIAGNOSTIC FAILURE"},
	{NVME__AER(NVME_AER_TYPE_ERROR, 0x03), "PERSISTENT INTERNAL ERROR"},
	{NVME__AER(NVME_AER_TYPE_ERROR, 0x04), "TRANSIENT INTERNAL ERROR"},
	{NVME__AER(NVME_AER_TYPE_ERROR, 0x05), "FIRMWARE IMAGE LOAD ERROR"},
	{NVME__AER(NVME_AER_TYPE_SMART, NVME_AER_SMART_RELIABILITY), "NVM SUBSYSTEM RELIABILITY"},
	{NVME__AER(NVME_AER_TYPE_SMART, NVME_AER_SMART_TEMPERATURE), "TEMPERATURE THRESHOLD"},
	{NVME__AER(NVME_AER_TYPE_SMART, NVME_AER_SMART_SPARE), "SPARE BELOW THRESHOLD"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, NVME_AER_NOTICE_NS), "NAMESPACE ATTRIBUTE CHANGED"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, NVME_AER_NOTICE_FIRMWARE), "FIRMWARE ACTIVATION STARTING"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0x02), "TELEMETRY LOG CHANGED"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0x03), "ASYMMETRIC NAMESPACE ACCESS CHANGE"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0x04), "PREDICTABLE LATENCY EVENT AGGREGATE LOG CHANGE"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0x05), "LBA STATUS INFORMATION ALERT"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0x06), "ENDURANCE GROUP EVENT AGGREGATE LOG CHANGE"},
	{NVME__AER(NVME_AER_TYPE_NOTICE, 0xf0), "DISCOVERY LOG CHANGE"},
	{NVME__AER(NVME_AER_TYPE_IMMEDIATE, 0x00), "NORMAL NVM SUBSYSTEM SHUTDOWN"},
	{NVME__AER(NVME_AER_TYPE_ONE_SHOT, 0x00), "CONTROLLER DATA QUEUE"},
	{NVME__AER(NVME_AER_TYPE_IO, 0x00), "RESERVATION LOG PAGE AVAILABLE"},
	{NVME__AER(NVME_AER_TYPE_IO, 0x01), "SANITIZE OPERATION COMPLETED"},
	{NVME__AER(NVME_AER_TYPE_IO, 0x02), "SANITIZE COMPLETED, UNEXPECTED DEALLOCATION"},
	{NVME__ANY_OTHER, "RESERVED / VENDOR SPECIFIC"},
};

/* Admin commands are those on queue 0, and fabrics commands (7Fh) wherever they are. */
static bool nvme__is_admin(uint16_t qid, uint8_t opc)
{
	return qid == 0 || opc == NVME_OPC_FABRIC;
}

NVMEDEF const char *nvme_opc_name(uint16_t qid, uint8_t opc)
{
	return nvme__lookup(nvme__is_admin(qid, opc) ? nvme__admin_opc_names : nvme__io_opc_names,
	                    opc);
}

NVMEDEF const char *nvme_feat_name(uint8_t fid)
{
	return nvme__lookup(nvme__feat_names, fid);
}

NVMEDEF const char *nvme_fabrics_name(uint8_t fctype)
{
	return nvme__lookup(nvme__fabrics_names, fctype);
}

NVMEDEF const char *nvme_sct_name(uint8_t sct)
{
	return nvme__lookup(nvme__sct_names, sct);
}

NVMEDEF const char *nvme_status_name(uint8_t sct, uint8_t sc)
{
	switch (sct) {
	case NVME_SCT_GENERIC:
		return nvme__lookup(nvme__generic_names, sc);
	case NVME_SCT_COMMAND_SPECIFIC:
		return nvme__lookup(nvme__command_specific_names, sc);
	case NVME_SCT_MEDIA_ERROR:
		return nvme__lookup(nvme__media_names, sc);
	case NVME_SCT_PATH:
		return nvme__lookup(nvme__path_names, sc);
	default: /* no list of codes, the name of the type has to do */
		return nvme_sct_name(sct);
	}
}

NVMEDEF const char *nvme_sgl_type_name(uint8_t type)
{
	return nvme__lookup(nvme__sgl_type_names, type);
}

NVMEDEF const char *nvme_sgl_subtype_name(uint8_t subtype)
{
	return nvme__lookup(nvme__sgl_subtype_names, subtype);
}

NVMEDEF const char *nvme_log_page_name(uint8_t lid)
{
	return nvme__lookup(nvme__log_page_names, lid);
}

NVMEDEF const char *nvme_cns_name(uint8_t cns)
{
	return nvme__lookup(nvme__cns_names, cns);
}

NVMEDEF const char *nvme_csi_name(uint8_t csi)
{
	return nvme__lookup(nvme__csi_names, csi);
}

NVMEDEF const char *nvme_zone_state_name(uint8_t state)
{
	return nvme__lookup(nvme__zone_state_names, state);
}

NVMEDEF const char *nvme_zone_action_name(uint8_t action)
{
	return nvme__lookup(nvme__zone_action_names, action);
}

NVMEDEF const char *nvme_aer_type_name(uint8_t type)
{
	return nvme__lookup(nvme__aer_type_names, type);
}

NVMEDEF const char *nvme_aer_info_name(uint8_t type, uint8_t info)
{
	return nvme__lookup(nvme__aer_info_names, NVME__AER(type, info));
}

NVMEDEF const char *nvme_fabrics_status_name(uint8_t sc)
{
	return nvme__lookup(nvme__fabrics_status_names, sc);
}

/* I/O opcodes are the vendor's from 80h on, everything else from C0h on. */
NVMEDEF const char *nvme_opc_full_name(uint16_t qid, uint8_t opc)
{
	if (nvme__is_admin(qid, opc))
		return nvme__lookup_full(nvme__admin_opc_names, opc, 0xc0);
	return nvme__lookup_full(nvme__io_opc_names, opc, 0x80);
}

NVMEDEF const char *nvme_feat_full_name(uint8_t fid)
{
	return nvme__lookup_full(nvme__feat_names, fid, 0xc0);
}

NVMEDEF const char *nvme_fabrics_full_name(uint8_t fctype)
{
	return nvme__lookup_full(nvme__fabrics_names, fctype, 0xc0);
}

NVMEDEF const char *nvme_status_full_name(uint8_t sct, uint8_t sc, uint8_t opc)
{
	switch (sct) {
	case NVME_SCT_GENERIC:
		return nvme__lookup_full(nvme__generic_names, sc, 0xc0);
	case NVME_SCT_COMMAND_SPECIFIC:
		return nvme__lookup_full(opc == NVME_OPC_FABRIC && sc >= 0x80
		                                 ? nvme__fabrics_status_names
		                                 : nvme__command_specific_names,
		                         sc, 0xc0);
	case NVME_SCT_MEDIA_ERROR:
		return nvme__lookup_full(nvme__media_names, sc, 0xc0);
	case NVME_SCT_PATH:
		return nvme__lookup_full(nvme__path_names, sc, 0xc0);
	default:
		return nvme_sct_name(sct);
	}
}

/* ---- commands and completions, in the words of SPDK v23.05 ---------------------------------- */

/* ============================================================================================
 * >>words
 *
 * Commands, completions and PRPs in the words of SPDK v23.05.
 * ============================================================================================ */

#define NVME__DPTR_TEXT 96 /* the longest, a keyed SGL, has 82 characters */

/*
 * The data pointer. Empty if the direction bits of the opcode say "no data", and for the value
 * of PSDT that is reserved. The blank in front of it is in the caller's format: SPDK prints that
 * one even if nothing follows, and so does this.
 */
static void nvme__format_dptr(char *buf, size_t size, const struct nvme_cmd *cmd)
{
	const struct nvme_sgl_desc *sgl = &cmd->dptr.sgl;
	uint8_t type = (uint8_t)NVME_GET(sgl->id, NVME_SGL_TYPE);
	uint32_t psdt = NVME_GET(cmd->flags, NVME_CMD_PSDT);
	char tail[40] = "";

	buf[0] = '\0';
	if (NVME_GET(cmd->opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE)
		return;
	if (psdt == NVME_PSDT_PRP) {
		snprintf(buf, size, "PRP1 0x%" PRIx64 " PRP2 0x%" PRIx64, cmd->dptr.prp.prp1,
		         cmd->dptr.prp.prp2);
		return;
	}
	if (psdt != NVME_PSDT_SGL && psdt != NVME_PSDT_SGL_MPTR)
		return;

	if (type == NVME_SGL_TYPE_DATA_BLOCK) {
		snprintf(tail, sizeof(tail), " len:0x%" PRIx32, sgl->len);
	} else if (type == NVME_SGL_TYPE_KEYED_DATA_BLOCK) {
		/* three bytes of length, then four bytes of key */
		uint32_t key = sgl->len >> 24 | (uint32_t)sgl->rsvd[0] << 8 |
		               (uint32_t)sgl->rsvd[1] << 16 | (uint32_t)sgl->rsvd[2] << 24;

		snprintf(tail, sizeof(tail), " len:0x%" PRIx32 " key:0x%" PRIx32,
		         sgl->len & 0xffffffu, key);
	}
	snprintf(buf, size, "SGL %s %s 0x%" PRIx64 "%s", nvme_sgl_type_name(type),
	         nvme_sgl_subtype_name((uint8_t)NVME_GET(sgl->id, NVME_SGL_SUBTYPE)), sgl->addr,
	         tail);
}

static int nvme__format_admin_cmd(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd)
{
	const char *name = nvme_opc_name(qid, cmd->opc);
	char dptr[NVME__DPTR_TEXT];

	nvme__format_dptr(dptr, sizeof(dptr), cmd);
	switch (cmd->opc) {
	case NVME_OPC_SET_FEATURES:
	case NVME_OPC_GET_FEATURES:
		return snprintf(buf, size, "%s %s cid:%u cdw10:%08" PRIx32 " %s", name,
		                nvme_feat_name((uint8_t)NVME_GET(cmd->cdw10, NVME_FEATURES_FID)),
		                (unsigned)cmd->cid, cmd->cdw10, dptr);
	case NVME_OPC_FABRIC:
		return snprintf(buf, size, "%s %s qid:%u cid:%u %s", name,
		                nvme_fabrics_name((uint8_t)nvme_bits(cmd->nsid, 7, 0)),
		                (unsigned)qid, (unsigned)cmd->cid, dptr);
	default:
		return snprintf(buf, size,
		                "%s (%02x) qid:%u cid:%u nsid:%" PRIx32 " cdw10:%08" PRIx32
		                " cdw11:%08" PRIx32 " %s",
		                name, (unsigned)cmd->opc, (unsigned)qid, (unsigned)cmd->cid,
		                cmd->nsid, cmd->cdw10, cmd->cdw11, dptr);
	}
}

/* Only the commands with an LBA show a data pointer. The NSID is decimal here, and signed. */
static int nvme__format_io_cmd(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd)
{
	const char *name = nvme_opc_name(qid, cmd->opc);
	char dptr[NVME__DPTR_TEXT];

	switch (cmd->opc) {
	case NVME_OPC_WRITE:
	case NVME_OPC_READ:
	case NVME_OPC_WRITE_UNCORRECTABLE:
	case NVME_OPC_COMPARE:
		nvme__format_dptr(dptr, sizeof(dptr), cmd);
		return snprintf(buf, size,
		                "%s sqid:%u cid:%u nsid:%" PRId32 " lba:%" PRIu64 " len:%" PRIu32
		                " %s",
		                name, (unsigned)qid, (unsigned)cmd->cid, (int32_t)cmd->nsid,
		                NVME_RW_SLBA(cmd->cdw10, cmd->cdw11),
		                NVME_GET(cmd->cdw12, NVME_RW_NLB) + 1, dptr);
	case NVME_OPC_FLUSH:
	case NVME_OPC_DATASET_MANAGEMENT:
		return snprintf(buf, size, "%s sqid:%u cid:%u nsid:%" PRId32, name, (unsigned)qid,
		                (unsigned)cmd->cid, (int32_t)cmd->nsid);
	default:
		return snprintf(buf, size, "%s (%02x) sqid:%u cid:%u nsid:%" PRId32, name,
		                (unsigned)cmd->opc, (unsigned)qid, (unsigned)cmd->cid,
		                (int32_t)cmd->nsid);
	}
}

NVMEDEF int nvme_format_cmd(char *buf, size_t size, uint16_t qid, const struct nvme_cmd *cmd)
{
	if (nvme__is_admin(qid, cmd->opc))
		return nvme__format_admin_cmd(buf, size, qid, cmd);
	return nvme__format_io_cmd(buf, size, qid, cmd);
}

NVMEDEF int nvme_format_cpl(char *buf, size_t size, uint16_t qid, const struct nvme_cpl *cpl)
{
	uint8_t sct = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT);
	uint8_t sc = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC);

	return snprintf(buf, size,
	                "%s (%02x/%02x) qid:%u cid:%u cdw0:%" PRIx32 " sqhd:%04x p:%" PRIx32
	                " m:%" PRIx32 " dnr:%" PRIx32,
	                nvme_status_name(sct, sc), (unsigned)sct, (unsigned)sc, (unsigned)qid,
	                (unsigned)cpl->cid, cpl->cdw0, (unsigned)cpl->sqhd,
	                NVME_GET(cpl->status, NVME_CPL_P), NVME_GET(cpl->status, NVME_CPL_M),
	                NVME_GET(cpl->status, NVME_CPL_DNR));
}

NVMEDEF int nvme_format_aer(char *buf, size_t size, uint32_t cdw0)
{
	uint8_t type = (uint8_t)NVME_GET(cdw0, NVME_AER_TYPE);
	uint8_t info = (uint8_t)NVME_GET(cdw0, NVME_AER_INFO);

	return snprintf(buf, size, "%s: %s (%x/%02x) log page:%02" PRIx32, nvme_aer_type_name(type),
	                nvme_aer_info_name(type, info), (unsigned)type, (unsigned)info,
	                NVME_GET(cdw0, NVME_AER_LID));
}

NVMEDEF int nvme_format_error_entry(char *buf, size_t size, const struct nvme_error_log_entry *e)
{
	uint8_t sct = (uint8_t)NVME_GET(e->sts, NVME_CPL_SCT);
	uint8_t sc = (uint8_t)NVME_GET(e->sts, NVME_CPL_SC);
	char where[48] = "";

	if (e->pel != UINT16_MAX)
		snprintf(where, sizeof(where), ", byte %u bit %u of the command",
		         (unsigned)(e->pel & 0xff), (unsigned)(e->pel >> 8 & 7));
	return snprintf(buf, size,
	                "error %" PRIu64 ", queue %u, %s (%02x/%02x), lba:%" PRIu64 " nsid:%" PRIu32
	                "%s",
	                e->ecnt, (unsigned)e->sqid, nvme_status_name(sct, sc), (unsigned)sct,
	                (unsigned)sc, e->lba, e->nsid, where);
}

NVMEDEF int nvme_format_version(char *buf, size_t size, uint32_t vs)
{
	return snprintf(buf, size, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, NVME_GET(vs, NVME_VS_MJR),
	                NVME_GET(vs, NVME_VS_MNR), NVME_GET(vs, NVME_VS_TER));
}

/* ---- registers ------------------------------------------------------------------------------ */

/* The line for entry i of nprp, in the words of SPDK's debug log; i == nprp: the one on PRP2. */
static __attribute__((unused)) int nvme__format_prp_line(char *buf, size_t size, uint32_t nprp,
                                                         uint32_t i, uint64_t prp)
{
	if (i == 0)
		return snprintf(buf, size, "prp1 = 0x%" PRIx64, prp);
	if (i == nprp)
		return snprintf(buf, size, "prp2 = 0x%" PRIx64 "%s", prp,
		                nprp > 2 ? " (PRP list)" : "");
	return snprintf(buf, size, "prp[%u] = 0x%" PRIx64, i - 1, prp);
}

/* The same for descriptor i of a segment. SPDK has no such line. */
static __attribute__((unused)) int nvme__format_sgl_line(char *buf, size_t size, uint32_t i,
                                                         const struct nvme_sgl_desc *desc)
{
	uint8_t type = (uint8_t)NVME_GET(desc->id, NVME_SGL_TYPE);
	uint8_t subtype = (uint8_t)NVME_GET(desc->id, NVME_SGL_SUBTYPE);

	return snprintf(buf, size, "sgl[%" PRIu32 "] = %s %s 0x%" PRIx64 " len:0x%" PRIx32, i,
	                nvme_sgl_type_name(type), nvme_sgl_subtype_name(subtype), desc->addr,
	                desc->len);
}

/* And the line in front of them. */
static __attribute__((unused)) int nvme__format_sgl_head(char *buf, size_t size, uint64_t segment,
                                                         uint32_t descs, uint32_t len)
{
	return snprintf(buf, size, "sgl segment:0x%" PRIx64 " descs:%" PRIu32 " len:%" PRIu32,
	                segment, descs, len);
}

/* ============================================================================================
 * >>fields
 *
 * The fields of registers, and those of commands.
 * ============================================================================================ */

/* How a number in a field turns into something a reader can use. */
enum nvme__unit {
	NVME__UNIT_NONE,       /* just a number */
	NVME__UNIT_CODES,      /* one of a list, see nvme_field.codes */
	NVME__UNIT_BITS,       /* a set of bits, codes has a name for each */
	NVME__UNIT_YES,        /* a capability: "yes", "no" */
	NVME__UNIT_ENTRIES,    /* queue entries, 0-based */
	NVME__UNIT_500MS,      /* time in units of 500 ms */
	NVME__UNIT_LOG2,       /* 2^n bytes */
	NVME__UNIT_LOG2_PAGE,  /* 2^(12 + n) bytes */
	NVME__UNIT_LOG2_DWORD, /* 2^(2 + n) bytes */
	NVME__UNIT_PAGE_ADDR,  /* address divided by 4096 */
};

static const struct nvme__name nvme__cap_css_bits[] = {
	{0x01, "NVM"},
	{0x40, "I/O command sets"},
	{0x80, "admin only"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cap_ams_bits[] = {
	{0x1, "weighted round robin with urgent"},
	{0x2, "vendor specific"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cap_crms_bits[] = {
	{0x1, "with media"},
	{0x2, "independent of media"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cap_cps_codes[] = {
	{0, "not reported"},  {1, "controller"},       {2, "domain"},
	{3, "NVM subsystem"}, {NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cc_en_codes[] = {
	{0, "disabled"},
	{1, "enabled"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cc_css_codes[] = {
	{NVME_CC_CSS_NVM, "NVM command set"},
	{NVME_CC_CSS_IOCS, "all supported I/O command sets"},
	{NVME_CC_CSS_ADMIN, "admin command set only"},
	{NVME__ANY_OTHER, "reserved"},
};
static const struct nvme__name nvme__cc_ams_codes[] = {
	{NVME_CC_AMS_RR, "round robin"},
	{NVME_CC_AMS_WRR, "weighted round robin with urgent"},
	{NVME_CC_AMS_VS, "vendor specific"},
	{NVME__ANY_OTHER, "reserved"},
};
static const struct nvme__name nvme__cc_shn_codes[] = {
	{NVME_CC_SHN_NONE, "no notification"},
	{NVME_CC_SHN_NORMAL, "normal shutdown notification"},
	{NVME_CC_SHN_ABRUPT, "abrupt shutdown notification"},
	{NVME__ANY_OTHER, "reserved"},
};
static const struct nvme__name nvme__csts_rdy_codes[] = {
	{0, "not ready"},
	{1, "ready"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__csts_cfs_codes[] = {
	{0, "no fatal error"},
	{1, "fatal error"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__csts_shst_codes[] = {
	{NVME_CSTS_SHST_NORMAL, "normal operation"},
	{NVME_CSTS_SHST_OCCURRING, "shutdown processing occurring"},
	{NVME_CSTS_SHST_COMPLETE, "shutdown processing complete"},
	{NVME__ANY_OTHER, "reserved"},
};
static const struct nvme__name nvme__csts_st_codes[] = {
	{0, "controller shutdown"},
	{1, "NVM subsystem shutdown"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__nssr_codes[] = {
	{NVME_NSSR_NSSRC, "reset the NVM subsystem"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__nssd_codes[] = {
	{NVME_NSSD_NORMAL, "normal shutdown of the NVM subsystem"},
	{NVME_NSSD_ABRUPT, "abrupt shutdown of the NVM subsystem"},
	{NVME__ANY_OTHER, NULL},
};
static const struct nvme__name nvme__cmbsz_szu_codes[] = {
	{0, "4 KiB"},   {1, "64 KiB"}, {2, "1 MiB"},  {3, "16 MiB"},
	{4, "256 MiB"}, {5, "4 GiB"},  {6, "64 GiB"}, {NVME__ANY_OTHER, "reserved"},
};

/* A list of fields ends with a row of zeroes; this list has no other row. */
#define NVME__FIELD_END                   \
	{                                 \
		0, 0, 0, NULL, NULL, NULL \
	}

static const struct nvme_field nvme__no_fields[] = {NVME__FIELD_END};

static const struct nvme_field nvme__cap_fields[] = {
	{NVME_CAP_NSSES, NVME__UNIT_YES, "NSSES", "NVM Subsystem Shutdown Enhancements Supported",
         NULL},
	{NVME_CAP_CRMS, NVME__UNIT_BITS, "CRMS", "Controller Ready Modes Supported",
         nvme__cap_crms_bits},
	{NVME_CAP_NSSS, NVME__UNIT_YES, "NSSS", "NVM Subsystem Shutdown Supported", NULL},
	{NVME_CAP_CMBS, NVME__UNIT_YES, "CMBS", "Controller Memory Buffer Supported", NULL},
	{NVME_CAP_PMRS, NVME__UNIT_YES, "PMRS", "Persistent Memory Region Supported", NULL},
	{NVME_CAP_MPSMAX, NVME__UNIT_LOG2_PAGE, "MPSMAX", "Memory Page Size Maximum", NULL},
	{NVME_CAP_MPSMIN, NVME__UNIT_LOG2_PAGE, "MPSMIN", "Memory Page Size Minimum", NULL},
	{NVME_CAP_CPS, NVME__UNIT_CODES, "CPS", "Controller Power Scope", nvme__cap_cps_codes},
	{NVME_CAP_BPS, NVME__UNIT_YES, "BPS", "Boot Partition Support", NULL},
	{NVME_CAP_CSS, NVME__UNIT_BITS, "CSS", "Command Sets Supported", nvme__cap_css_bits},
	{NVME_CAP_NSSRS, NVME__UNIT_YES, "NSSRS", "NVM Subsystem Reset Supported", NULL},
	{NVME_CAP_DSTRD, NVME__UNIT_LOG2_DWORD, "DSTRD", "Doorbell Stride", NULL},
	{NVME_CAP_TO, NVME__UNIT_500MS, "TO", "Timeout", NULL},
	{NVME_CAP_AMS, NVME__UNIT_BITS, "AMS", "Arbitration Mechanism Supported",
         nvme__cap_ams_bits},
	{NVME_CAP_CQR, NVME__UNIT_YES, "CQR", "Contiguous Queues Required", NULL},
	{NVME_CAP_MQES, NVME__UNIT_ENTRIES, "MQES", "Maximum Queue Entries Supported", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__vs_fields[] = {
	{NVME_VS_MJR, NVME__UNIT_NONE, "MJR", "Major Version Number", NULL},
	{NVME_VS_MNR, NVME__UNIT_NONE, "MNR", "Minor Version Number", NULL},
	{NVME_VS_TER, NVME__UNIT_NONE, "TER", "Tertiary Version Number", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__intms_fields[] = {
	{31, 0, NVME__UNIT_NONE, "IVMS", "Interrupt Vector Mask Set", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__intmc_fields[] = {
	{31, 0, NVME__UNIT_NONE, "IVMC", "Interrupt Vector Mask Clear", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__cc_fields[] = {
	{NVME_CC_CRIME, NVME__UNIT_YES, "CRIME", "Controller Ready Independent of Media Enable",
         NULL},
	{NVME_CC_IOCQES, NVME__UNIT_LOG2, "IOCQES", "I/O Completion Queue Entry Size", NULL},
	{NVME_CC_IOSQES, NVME__UNIT_LOG2, "IOSQES", "I/O Submission Queue Entry Size", NULL},
	{NVME_CC_SHN, NVME__UNIT_CODES, "SHN", "Shutdown Notification", nvme__cc_shn_codes},
	{NVME_CC_AMS, NVME__UNIT_CODES, "AMS", "Arbitration Mechanism Selected",
         nvme__cc_ams_codes},
	{NVME_CC_MPS, NVME__UNIT_LOG2_PAGE, "MPS", "Memory Page Size", NULL},
	{NVME_CC_CSS, NVME__UNIT_CODES, "CSS", "I/O Command Set Selected", nvme__cc_css_codes},
	{NVME_CC_EN, NVME__UNIT_CODES, "EN", "Enable", nvme__cc_en_codes},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__csts_fields[] = {
	{NVME_CSTS_ST, NVME__UNIT_CODES, "ST", "Shutdown Type", nvme__csts_st_codes},
	{NVME_CSTS_PP, NVME__UNIT_YES, "PP", "Processing Paused", NULL},
	{NVME_CSTS_NSSRO, NVME__UNIT_YES, "NSSRO", "NVM Subsystem Reset Occurred", NULL},
	{NVME_CSTS_SHST, NVME__UNIT_CODES, "SHST", "Shutdown Status", nvme__csts_shst_codes},
	{NVME_CSTS_CFS, NVME__UNIT_CODES, "CFS", "Controller Fatal Status", nvme__csts_cfs_codes},
	{NVME_CSTS_RDY, NVME__UNIT_CODES, "RDY", "Ready", nvme__csts_rdy_codes},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__nssr_fields[] = {
	{31, 0, NVME__UNIT_CODES, "NSSRC", "NVM Subsystem Reset Control", nvme__nssr_codes},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__aqa_fields[] = {
	{NVME_AQA_ACQS, NVME__UNIT_ENTRIES, "ACQS", "Admin Completion Queue Size", NULL},
	{NVME_AQA_ASQS, NVME__UNIT_ENTRIES, "ASQS", "Admin Submission Queue Size", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__asq_fields[] = {
	{NVME_ASQ_ASQB, NVME__UNIT_PAGE_ADDR, "ASQB", "Admin Submission Queue Base", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__acq_fields[] = {
	{NVME_ACQ_ACQB, NVME__UNIT_PAGE_ADDR, "ACQB", "Admin Completion Queue Base", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__cmbloc_fields[] = {
	{NVME_CMBLOC_OFST, NVME__UNIT_NONE, "OFST", "Offset, in units of CMBSZ.SZU", NULL},
	{NVME_CMBLOC_CQDA, NVME__UNIT_YES, "CQDA", "CMB Queue Dword Alignment", NULL},
	{NVME_CMBLOC_CDMMMS, NVME__UNIT_YES, "CDMMMS", "CMB Data Metadata Mixed Memory Support",
         NULL},
	{NVME_CMBLOC_CDPCILS, NVME__UNIT_YES, "CDPCILS",
         "CMB Data Pointer and Command Independent Locations", NULL},
	{NVME_CMBLOC_CDPMLS, NVME__UNIT_YES, "CDPMLS", "CMB Data Pointer Mixed Locations Support",
         NULL},
	{NVME_CMBLOC_CQPDS, NVME__UNIT_YES, "CQPDS", "CMB Queue Physically Discontiguous Support",
         NULL},
	{NVME_CMBLOC_CQMMS, NVME__UNIT_YES, "CQMMS", "CMB Queue Mixed Memory Support", NULL},
	{NVME_CMBLOC_BIR, NVME__UNIT_NONE, "BIR", "Base Indicator Register", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__cmbsz_fields[] = {
	{NVME_CMBSZ_SZ, NVME__UNIT_NONE, "SZ", "Size, in units of SZU", NULL},
	{NVME_CMBSZ_SZU, NVME__UNIT_CODES, "SZU", "Size Units", nvme__cmbsz_szu_codes},
	{NVME_CMBSZ_WDS, NVME__UNIT_YES, "WDS", "Write Data Support", NULL},
	{NVME_CMBSZ_RDS, NVME__UNIT_YES, "RDS", "Read Data Support", NULL},
	{NVME_CMBSZ_LISTS, NVME__UNIT_YES, "LISTS", "PRP SGL List Support", NULL},
	{NVME_CMBSZ_CQS, NVME__UNIT_YES, "CQS", "Completion Queue Support", NULL},
	{NVME_CMBSZ_SQS, NVME__UNIT_YES, "SQS", "Submission Queue Support", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__cmbmsc_fields[] = {
	{NVME_CMBMSC_CBA, NVME__UNIT_PAGE_ADDR, "CBA", "Controller Base Address", NULL},
	{NVME_CMBMSC_CMSE, NVME__UNIT_YES, "CMSE", "Controller Memory Space Enable", NULL},
	{NVME_CMBMSC_CRE, NVME__UNIT_YES, "CRE", "Capabilities Registers Enabled", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__cmbsts_fields[] = {
	{NVME_CMBSTS_CBAI, NVME__UNIT_YES, "CBAI", "Controller Base Address Invalid", NULL},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__nssd_fields[] = {
	{31, 0, NVME__UNIT_CODES, "NSSC", "NVM Subsystem Shutdown Control", nvme__nssd_codes},
	NVME__FIELD_END,
};

static const struct nvme_field nvme__crto_fields[] = {
	{NVME_CRTO_CRIMT, NVME__UNIT_500MS, "CRIMT",
         "Controller Ready Independent of Media Timeout", NULL},
	{NVME_CRTO_CRWMT, NVME__UNIT_500MS, "CRWMT", "Controller Ready With Media Timeout", NULL},
	NVME__FIELD_END,
};

struct nvme__reg {
	uint32_t offset;
	unsigned size;
	const char *name;
	const struct nvme_field *fields;
};

static const struct nvme__reg nvme__regs[] = {
	{NVME_REG_CAP, 8, "CAP", nvme__cap_fields},
	{NVME_REG_VS, 4, "VS", nvme__vs_fields},
	{NVME_REG_INTMS, 4, "INTMS", nvme__intms_fields},
	{NVME_REG_INTMC, 4, "INTMC", nvme__intmc_fields},
	{NVME_REG_CC, 4, "CC", nvme__cc_fields},
	{NVME_REG_CSTS, 4, "CSTS", nvme__csts_fields},
	{NVME_REG_NSSR, 4, "NSSR", nvme__nssr_fields},
	{NVME_REG_AQA, 4, "AQA", nvme__aqa_fields},
	{NVME_REG_ASQ, 8, "ASQ", nvme__asq_fields},
	{NVME_REG_ACQ, 8, "ACQ", nvme__acq_fields},
	{NVME_REG_CMBLOC, 4, "CMBLOC", nvme__cmbloc_fields},
	{NVME_REG_CMBSZ, 4, "CMBSZ", nvme__cmbsz_fields},
	{NVME_REG_BPINFO, 4, "BPINFO", nvme__no_fields},
	{NVME_REG_BPRSEL, 4, "BPRSEL", nvme__no_fields},
	{NVME_REG_BPMBL, 8, "BPMBL", nvme__no_fields},
	{NVME_REG_CMBMSC, 8, "CMBMSC", nvme__cmbmsc_fields},
	{NVME_REG_CMBSTS, 4, "CMBSTS", nvme__cmbsts_fields},
	{NVME_REG_CMBEBS, 4, "CMBEBS", nvme__no_fields},
	{NVME_REG_CMBSWTP, 4, "CMBSWTP", nvme__no_fields},
	{NVME_REG_NSSD, 4, "NSSD", nvme__nssd_fields},
	{NVME_REG_CRTO, 4, "CRTO", nvme__crto_fields},
	{NVME_REG_PMRCAP, 4, "PMRCAP", nvme__no_fields},
	{NVME_REG_PMRCTL, 4, "PMRCTL", nvme__no_fields},
	{NVME_REG_PMRSTS, 4, "PMRSTS", nvme__no_fields},
	{NVME_REG_PMREBS, 4, "PMREBS", nvme__no_fields},
	{NVME_REG_PMRSWTP, 4, "PMRSWTP", nvme__no_fields},
	{NVME_REG_PMRMSCL, 4, "PMRMSCL", nvme__no_fields},
	{NVME_REG_PMRMSCU, 4, "PMRMSCU", nvme__no_fields},
};

static const struct nvme__reg *nvme__find_reg(uint32_t offset)
{
	for (size_t i = 0; i < sizeof(nvme__regs) / sizeof(nvme__regs[0]); i++) {
		if (nvme__regs[i].offset == offset)
			return &nvme__regs[i];
	}
	return NULL;
}

NVMEDEF const struct nvme_field *nvme_reg_fields(uint32_t offset)
{
	const struct nvme__reg *reg = nvme__find_reg(offset);

	return reg ? reg->fields : nvme__no_fields;
}

NVMEDEF const char *nvme_reg_name(uint32_t offset)
{
	const struct nvme__reg *reg = nvme__find_reg(offset);

	return reg ? reg->name : "RESERVED";
}

NVMEDEF unsigned nvme_reg_size(uint32_t offset)
{
	const struct nvme__reg *reg = nvme__find_reg(offset);

	if (offset >= NVME_REG_DOORBELLS)
		return offset % 4 == 0 ? 4 : 0;
	return reg ? reg->size : 0;
}

/* Doorbells alternate, SQ0 CQ0 SQ1 CQ1 ..., at a distance of 4 << dstrd bytes. */
NVMEDEF int nvme_format_reg_name(char *buf, size_t size, uint32_t offset, unsigned dstrd)
{
	if (offset >= NVME_REG_DOORBELLS) {
		uint32_t stride = dstrd < 16 ? 4u << dstrd : 0;
		uint32_t index = stride ? (offset - NVME_REG_DOORBELLS) / stride : 0;

		if (stride == 0 || (offset - NVME_REG_DOORBELLS) % stride != 0 ||
		    index / 2 > 0xffff) {
			return snprintf(buf, size, "RESERVED");
		}
		return snprintf(buf, size, index % 2 ? "CQ%" PRIu32 "HDBL" : "SQ%" PRIu32 "TDBL",
		                index / 2);
	}
	if (offset >= 4 && nvme_reg_size(offset - 4) == 8)
		return snprintf(buf, size, "%s+4", nvme_reg_name(offset - 4));
	return snprintf(buf, size, "%s", nvme_reg_name(offset));
}

/* Names of all bits that are set, "NVM, admin only"; bits without a name are left out. */
static int nvme__format_bits(char *buf, size_t size, const struct nvme__name *bits, uint64_t value)
{
	char text[96] = "";
	size_t len = 0;

	if (value == 0)
		return snprintf(buf, size, "none");
	for (; bits->code != NVME__ANY_OTHER && len < sizeof(text); bits++) {
		if (value & bits->code) {
			int n = snprintf(text + len, sizeof(text) - len, "%s%s", len ? ", " : "",
			                 bits->text);

			len += n > 0 ? (size_t)n : 0;
		}
	}
	return snprintf(buf, size, "%s", text);
}

NVMEDEF int nvme_format_field_value(char *buf, size_t size, const struct nvme_field *field,
                                    uint64_t value)
{
	const char *text = NULL;
	unsigned shift = 0; /* of NVME__UNIT_LOG2_*: the exponent for the value 0 */

	/* A value wider than its field, which no register can hold, is only a number. */
	if (value != nvme_bits(value, (unsigned)field->hi - field->lo, 0))
		return snprintf(buf, size, "%s", "");
	switch (field->unit) {
	case NVME__UNIT_CODES:
		text = nvme__lookup(field->codes, (uint32_t)value);
		break;
	case NVME__UNIT_BITS:
		return nvme__format_bits(buf, size, field->codes, value);
	case NVME__UNIT_YES:
		text = value ? "yes" : "no";
		break;
	case NVME__UNIT_ENTRIES:
		return snprintf(buf, size, "%" PRIu64 " entries", value + 1);
	case NVME__UNIT_500MS:
		return snprintf(buf, size, "%" PRIu64 " ms", value * 500);
	case NVME__UNIT_LOG2_PAGE:
		shift = 12;
		break;
	case NVME__UNIT_LOG2_DWORD:
		shift = 2;
		break;
	case NVME__UNIT_PAGE_ADDR:
		return snprintf(buf, size, "0x%" PRIx64, value << 12);
	default:
		break;
	}
	if (field->unit == NVME__UNIT_LOG2 || shift > 0) {
		if (value < 64 - shift) {
			return snprintf(buf, size, "%" PRIu64 " bytes",
			                UINT64_C(1) << (shift + (unsigned)value));
		}
	}
	return snprintf(buf, size, "%s", text ? text : "");
}

NVMEDEF int nvme_format_field(char *buf, size_t size, const struct nvme_field *field, uint64_t reg)
{
	uint64_t value = nvme_bits(reg, field->hi, field->lo);
	char text[128];
	int len = nvme_format_field_value(text, sizeof(text), field, value);

	return snprintf(buf, size, "[%u:%u] %s : %s%" PRIx64 "%s%s", (unsigned)field->hi,
	                (unsigned)field->lo, field->name, value ? "0x" : "", value,
	                len > 0 ? " " : "", text);
}

/*
 * The fields of CDW10 to CDW15, command by command. Where >>spec has a name for the place of a
 * field the row is made of it.
 */
#define NVME__CMD_FIELD_END         \
	{                           \
		0, 0, 0, NULL, NULL \
	}

static const struct nvme_cmd_field nvme__no_cmd_fields[] = {NVME__CMD_FIELD_END};

static const struct nvme_cmd_field nvme__delete_queue_fields[] = {
	{10, NVME_DELETE_IO_Q_QID, "QID", "Queue Identifier"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__create_sq_fields[] = {
	{10, NVME_CREATE_IO_Q_QSIZE, "QSIZE", "Queue Size"},
	{10, NVME_CREATE_IO_Q_QID, "QID", "Queue Identifier"},
	{11, NVME_CREATE_IO_SQ_CQID, "CQID", "Completion Queue Identifier"},
	{11, NVME_CREATE_IO_SQ_QPRIO, "QPRIO", "Queue Priority"},
	{11, NVME_CREATE_IO_SQ_PC, "PC", "Physically Contiguous"},
	{12, 15, 0, "NVMSETID", "NVM Set Identifier"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__create_cq_fields[] = {
	{10, NVME_CREATE_IO_Q_QSIZE, "QSIZE", "Queue Size"},
	{10, NVME_CREATE_IO_Q_QID, "QID", "Queue Identifier"},
	{11, NVME_CREATE_IO_CQ_IV, "IV", "Interrupt Vector"},
	{11, NVME_CREATE_IO_CQ_IEN, "IEN", "Interrupts Enabled"},
	{11, NVME_CREATE_IO_CQ_PC, "PC", "Physically Contiguous"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__get_log_page_fields[] = {
	{10, NVME_GET_LOG_PAGE_NUMDL, "NUMDL", "Number of Dwords Lower"},
	{10, NVME_GET_LOG_PAGE_RAE, "RAE", "Retain Asynchronous Event"},
	{10, NVME_GET_LOG_PAGE_LSP, "LSP", "Log Specific Parameter"},
	{10, NVME_GET_LOG_PAGE_LID, "LID", "Log Page Identifier"},
	{11, NVME_GET_LOG_PAGE_LSI, "LSI", "Log Specific Identifier"},
	{11, NVME_GET_LOG_PAGE_NUMDU, "NUMDU", "Number of Dwords Upper"},
	{12, 63, 0, "LPO", "Log Page Offset"},
	{14, 31, 24, "CSI", "Command Set Identifier"},
	{14, 23, 23, "OT", "Offset Type"},
	{14, 6, 0, "UIDX", "UUID Index"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__identify_fields[] = {
	{10, NVME_IDENTIFY_CNTID, "CNTID", "Controller Identifier"},
	{10, NVME_IDENTIFY_CNS, "CNS", "Controller or Namespace Structure"},
	{11, NVME_IDENTIFY_CSI, "CSI", "Command Set Identifier"},
	{11, NVME_IDENTIFY_CNSSID, "CNSSID", "CNS Specific Identifier"},
	{14, 6, 0, "UIDX", "UUID Index"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__abort_fields[] = {
	{10, NVME_ABORT_CID, "CID", "Command Identifier"},
	{10, NVME_ABORT_SQID, "SQID", "Submission Queue Identifier"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__set_features_fields[] = {
	{10, NVME_SET_FEATURES_SV, "SV", "Save"},
	{10, NVME_FEATURES_FID, "FID", "Feature Identifier"},
	{11, 31, 0, "CDW11", "Feature Specific"},
	{14, 6, 0, "UIDX", "UUID Index"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__get_features_fields[] = {
	{10, NVME_GET_FEATURES_SEL, "SEL", "Select"},
	{10, NVME_FEATURES_FID, "FID", "Feature Identifier"},
	{11, 31, 0, "CDW11", "Feature Specific"},
	{14, 6, 0, "UIDX", "UUID Index"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__ns_management_fields[] = {
	{10, NVME_NS_MANAGEMENT_SEL, "SEL", "Select"},
	{11, NVME_NS_MANAGEMENT_CSI, "CSI", "Command Set Identifier"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__firmware_commit_fields[] = {
	{10, 31, 31, "BPID", "Boot Partition ID"},
	{10, 5, 3, "CA", "Commit Action"},
	{10, 2, 0, "FS", "Firmware Slot"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__firmware_download_fields[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 31, 0, "OFST", "Offset"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__self_test_fields[] = {
	{10, NVME_SELF_TEST_STC, "STC", "Self-test Code"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__ns_attachment_fields[] = {
	{10, NVME_NS_ATTACHMENT_SEL, "SEL", "Select"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__directive_fields[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 31, 16, "DSPEC", "Directive Specific"},
	{11, 15, 8, "DTYPE", "Directive Type"},
	{11, 7, 0, "DOPER", "Directive Operation"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__virtualization_fields[] = {
	{10, 31, 16, "CNTLID", "Controller Identifier"},
	{10, 10, 8, "RT", "Resource Type"},
	{10, 3, 0, "ACT", "Action"},
	{11, 15, 0, "NR", "Number of Controller Resources"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__format_nvm_fields[] = {
	{10, NVME_FORMAT_LBAFU, "LBAFU", "LBA Format Upper"},
	{10, NVME_FORMAT_SES, "SES", "Secure Erase Settings"},
	{10, NVME_FORMAT_PIL, "PIL", "Protection Information Location"},
	{10, NVME_FORMAT_PI, "PI", "Protection Information"},
	{10, NVME_FORMAT_MSET, "MSET", "Metadata Settings"},
	{10, NVME_FORMAT_LBAFL, "LBAFL", "LBA Format Lower"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__security_send_fields[] = {
	{10, 31, 24, "SECP", "Security Protocol"},
	{10, 23, 8, "SPSP", "SP Specific"},
	{10, 7, 0, "NSSF", "NVMe Security Specific Field"},
	{11, 31, 0, "TL", "Transfer Length"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__security_receive_fields[] = {
	{10, 31, 24, "SECP", "Security Protocol"},
	{10, 23, 8, "SPSP", "SP Specific"},
	{10, 7, 0, "NSSF", "NVMe Security Specific Field"},
	{11, 31, 0, "AL", "Allocation Length"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__sanitize_fields[] = {
	{10, 10, 10, "EMVS", "Enter Media Verification State"},
	{10, NVME_SANITIZE_NDAS, "NDAS", "No-Deallocate After Sanitize"},
	{10, NVME_SANITIZE_OIPBP, "OIPBP", "Overwrite Invert Pattern Between Passes"},
	{10, NVME_SANITIZE_OWPASS, "OWPASS", "Overwrite Pass Count"},
	{10, NVME_SANITIZE_AUSE, "AUSE", "Allow Unrestricted Sanitize Exit"},
	{10, NVME_SANITIZE_SANACT, "SANACT", "Sanitize Action"},
	{11, 31, 0, "OVRPAT", "Overwrite Pattern"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__get_lba_status_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 0, "MNDW", "Maximum Number of Dwords"},
	{13, 31, 24, "ATYPE", "Action Type"},
	{13, 15, 0, "RL", "Range Length"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__read_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, NVME_RW_PRINFO, "PRINFO", "Protection Information"},
	{12, NVME_RW_STC, "STC", "Storage Tag Check"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	{13, 7, 0, "DSM", "Dataset Management"},
	{14, 31, 0, "ELBTL", "Expected Logical Block Tags Lower"},
	{15, NVME_RW_LBATM, "ELBATM", "Expected Logical Block Application Tag Mask"},
	{15, NVME_RW_LBAT, "ELBAT", "Expected Logical Block Application Tag"},
	NVME__CMD_FIELD_END,
};

/* Compare and Verify: a read without hints for the cache. */
static const struct nvme_cmd_field nvme__compare_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, NVME_RW_PRINFO, "PRINFO", "Protection Information"},
	{12, NVME_RW_STC, "STC", "Storage Tag Check"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	{14, 31, 0, "ELBTL", "Expected Logical Block Tags Lower"},
	{15, NVME_RW_LBATM, "ELBATM", "Expected Logical Block Application Tag Mask"},
	{15, NVME_RW_LBAT, "ELBAT", "Expected Logical Block Application Tag"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__write_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, NVME_RW_PRINFO, "PRINFO", "Protection Information"},
	{12, NVME_RW_STC, "STC", "Storage Tag Check"},
	{12, NVME_RW_DTYPE, "DTYPE", "Directive Type"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	{13, 7, 0, "DSM", "Dataset Management"},
	{14, 31, 0, "LBTL", "Logical Block Tags Lower"},
	{15, NVME_RW_LBATM, "LBATM", "Logical Block Application Tag Mask"},
	{15, NVME_RW_LBAT, "LBAT", "Logical Block Application Tag"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__write_uncorrectable_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, NVME_RW_DTYPE, "DTYPE", "Directive Type"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__write_zeroes_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, NVME_RW_PRINFO, "PRINFO", "Protection Information"},
	{12, NVME_WRITE_ZEROES_DEAC, "DEAC", "Deallocate"},
	{12, NVME_RW_STC, "STC", "Storage Tag Check"},
	{12, NVME_RW_DTYPE, "DTYPE", "Directive Type"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	{14, 31, 0, "LBTL", "Logical Block Tags Lower"},
	{15, NVME_RW_LBATM, "LBATM", "Logical Block Application Tag Mask"},
	{15, NVME_RW_LBAT, "LBAT", "Logical Block Application Tag"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__dataset_management_fields[] = {
	{10, NVME_DSM_NR, "NR", "Number of Ranges"},
	{11, NVME_DSM_AD, "AD", "Attribute - Deallocate"},
	{11, NVME_DSM_IDW, "IDW", "Attribute - Integral Dataset for Write"},
	{11, NVME_DSM_IDR, "IDR", "Attribute - Integral Dataset for Read"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__copy_fields[] = {
	{10, 63, 0, "SDLBA", "Starting Destination LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, 29, 26, "PRINFOW", "Protection Information Write"},
	{12, 25, 25, "STCR", "Storage Tag Check Read"},
	{12, 24, 24, "STCW", "Storage Tag Check Write"},
	{12, NVME_RW_DTYPE, "DTYPE", "Directive Type"},
	{12, 19, 16, "CETYPE", "Command Extension Type"},
	{12, 15, 12, "PRINFOR", "Protection Information Read"},
	{12, NVME_COPY_DESFMT, "DESFMT", "Descriptor Format"},
	{12, NVME_COPY_NR, "NR", "Number of Ranges"},
	{13, 31, 16, "DSPEC", "Directive Specific"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__reservation_register_fields[] = {
	{10, 31, 30, "CPTPL", "Change Persist Through Power Loss State"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RREGA", "Reservation Register Action"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__reservation_report_fields[] = {
	{10, 31, 0, "NUMD", "Number of Dwords"},
	{11, 0, 0, "EDS", "Extended Data Structure"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__reservation_acquire_fields[] = {
	{10, 15, 8, "RTYPE", "Reservation Type"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RACQA", "Reservation Acquire Action"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__reservation_release_fields[] = {
	{10, 15, 8, "RTYPE", "Reservation Type"},
	{10, 3, 3, "IEKEY", "Ignore Existing Key"},
	{10, 2, 0, "RRELA", "Reservation Release Action"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__zone_send_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{13, 9, 9, "ZSASO", "Zone Send Action Specific Option"},
	{13, NVME_ZONE_SEND_SELALL, "SELALL", "Select All"},
	{13, NVME_ZONE_SEND_ZSA, "ZSA", "Zone Send Action"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__zone_receive_fields[] = {
	{10, 63, 0, "SLBA", "Starting LBA"},
	{12, 31, 0, "NUMD", "Number of Dwords"},
	{13, NVME_ZONE_RECEIVE_PR, "PR", "Partial Report"},
	{13, NVME_ZONE_RECEIVE_ZRASF, "ZRASF", "Zone Receive Action Specific Field"},
	{13, NVME_ZONE_RECEIVE_ZRA, "ZRA", "Zone Receive Action"},
	NVME__CMD_FIELD_END,
};

static const struct nvme_cmd_field nvme__zone_append_fields[] = {
	{10, 63, 0, "ZSLBA", "Zone Start LBA"},
	{12, NVME_RW_LR, "LR", "Limited Retry"},
	{12, NVME_RW_FUA, "FUA", "Force Unit Access"},
	{12, NVME_RW_PRINFO, "PRINFO", "Protection Information"},
	{12, 25, 25, "PIREMAP", "Protection Information Remap"},
	{12, NVME_RW_NLB, "NLB", "Number of Logical Blocks"},
	NVME__CMD_FIELD_END,
};

/* Which fields an opcode has; opcodes without any are in neither list. */
struct nvme__cmd_row {
	uint8_t opc;
	const struct nvme_cmd_field *fields;
};

static const struct nvme__cmd_row nvme__admin_cmd_rows[] = {
	{NVME_OPC_DELETE_IO_SQ, nvme__delete_queue_fields},
	{NVME_OPC_CREATE_IO_SQ, nvme__create_sq_fields},
	{NVME_OPC_GET_LOG_PAGE, nvme__get_log_page_fields},
	{NVME_OPC_DELETE_IO_CQ, nvme__delete_queue_fields},
	{NVME_OPC_CREATE_IO_CQ, nvme__create_cq_fields},
	{NVME_OPC_IDENTIFY, nvme__identify_fields},
	{NVME_OPC_ABORT, nvme__abort_fields},
	{NVME_OPC_SET_FEATURES, nvme__set_features_fields},
	{NVME_OPC_GET_FEATURES, nvme__get_features_fields},
	{NVME_OPC_NS_MANAGEMENT, nvme__ns_management_fields},
	{NVME_OPC_FIRMWARE_COMMIT, nvme__firmware_commit_fields},
	{NVME_OPC_FIRMWARE_IMAGE_DOWNLOAD, nvme__firmware_download_fields},
	{NVME_OPC_DEVICE_SELF_TEST, nvme__self_test_fields},
	{NVME_OPC_NS_ATTACHMENT, nvme__ns_attachment_fields},
	{NVME_OPC_DIRECTIVE_SEND, nvme__directive_fields},
	{NVME_OPC_DIRECTIVE_RECEIVE, nvme__directive_fields},
	{NVME_OPC_VIRTUALIZATION_MANAGEMENT, nvme__virtualization_fields},
	{NVME_OPC_FORMAT_NVM, nvme__format_nvm_fields},
	{NVME_OPC_SECURITY_SEND, nvme__security_send_fields},
	{NVME_OPC_SECURITY_RECEIVE, nvme__security_receive_fields},
	{NVME_OPC_SANITIZE, nvme__sanitize_fields},
	{NVME_OPC_GET_LBA_STATUS, nvme__get_lba_status_fields},
};

static const struct nvme__cmd_row nvme__io_cmd_rows[] = {
	{NVME_OPC_WRITE, nvme__write_fields},
	{NVME_OPC_READ, nvme__read_fields},
	{NVME_OPC_WRITE_UNCORRECTABLE, nvme__write_uncorrectable_fields},
	{NVME_OPC_COMPARE, nvme__compare_fields},
	{NVME_OPC_WRITE_ZEROES, nvme__write_zeroes_fields},
	{NVME_OPC_DATASET_MANAGEMENT, nvme__dataset_management_fields},
	{NVME_OPC_VERIFY, nvme__compare_fields},
	{NVME_OPC_RESERVATION_REGISTER, nvme__reservation_register_fields},
	{NVME_OPC_RESERVATION_REPORT, nvme__reservation_report_fields},
	{NVME_OPC_RESERVATION_ACQUIRE, nvme__reservation_acquire_fields},
	{NVME_OPC_RESERVATION_RELEASE, nvme__reservation_release_fields},
	{NVME_OPC_COPY, nvme__copy_fields},
	{NVME_OPC_ZONE_MANAGEMENT_SEND, nvme__zone_send_fields},
	{NVME_OPC_ZONE_MANAGEMENT_RECEIVE, nvme__zone_receive_fields},
	{NVME_OPC_ZONE_APPEND, nvme__zone_append_fields},
};

NVMEDEF const struct nvme_cmd_field *nvme_cmd_fields(uint16_t qid, uint8_t opc)
{
	const struct nvme__cmd_row *row = nvme__admin_cmd_rows;
	size_t n = sizeof(nvme__admin_cmd_rows) / sizeof(*row);

	if (qid != 0) {
		row = nvme__io_cmd_rows;
		n = sizeof(nvme__io_cmd_rows) / sizeof(*row);
	}
	for (; n > 0; row++, n--) {
		if (row->opc == opc)
			return row->fields;
	}
	return nvme__no_cmd_fields;
}

NVMEDEF uint64_t nvme_cmd_field_get(const struct nvme_cmd_field *field, const struct nvme_cmd *cmd)
{
	size_t at = (size_t)field->dword * 4;
	uint64_t dwords = 0; /* this one and, where there is one, the next */

	if (at < sizeof(*cmd))
		memcpy(&dwords, (const uint8_t *)cmd + at, at < sizeof(*cmd) - 4 ? 8 : 4);
	return nvme_bits(dwords, field->hi, field->lo);
}

/* ============================================================================================
 * >>log
 *
 * A line looks like SPDK's, so that what is written about those logs holds for these:
 *	[2026-01-31 12:00:00.123456] nvme.h:1234:nvme_ring_sq_doorbell: *DEBUG*: text
 * Lines about a controller begin their text with its address in brackets.
 * ============================================================================================ */

#define NVME__LOG_LINE_MAX 1024

/* Where a line comes from. */
struct nvme__log_place {
	const char *file;
	int line;
	const char *func;
};

/* The whole line, from what is known of it. The decoder of recorded lines calls this as well. */
static __attribute__((unused)) int nvme__format_log_line(char *buf, size_t size, uint64_t time_ns,
                                                         const struct nvme__log_place *place,
                                                         enum nvme_log_level level,
                                                         const char *text)
{
	static const char *const names[] = {"", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"};
	time_t seconds = (time_t)(time_ns / 1000000000u);
	struct tm tm;
	char date[64];

	localtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	return snprintf(buf, size, "[%s.%06" PRIu64 "] %.32s:%4d:%.63s: *%s*: %s", date,
	                time_ns / 1000 % 1000000, place->file, place->line, place->func,
	                names[level], text);
}

#ifndef NVME_TEXT_ONLY

#ifdef __cplusplus
}
#endif
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#ifndef __wasi__
#include <sys/file.h>
#include <sys/resource.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#endif
#ifndef NVME_NO_VFIO
#include <dirent.h>
#endif
#ifdef __cplusplus
extern "C" {
#endif

#ifndef NVME_LOG_LINE
#define NVME_LOG_LINE(level, line) ((void)(level), (void)fprintf(stderr, "%s\n", (line)))
#endif

static uint64_t nvme__log_now(const struct nvme_log *log);
static void nvme__trace_log(const struct nvme_log *log, uint64_t now,
                            const struct nvme__log_place *place, enum nvme_log_level level,
                            const char *text);

/* A device table can be used without this driver: then nobody has set dev->log. */
static const struct nvme_log *nvme__log_of(const struct nvme_dev *dev)
{
	static const struct nvme_log standard_error = {NVME_LOG_NOTICE, NULL, NULL, false, 0, NULL};

	return dev->log != NULL ? dev->log : &standard_error;
}

static enum nvme_log_level nvme__log_level_from_env(void)
{
	static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
	const char *env = getenv("NVME_LOG");
	int i;

	if (env == NULL || *env == '\0')
		return NVME_LOG_NOTICE;
	for (i = 0; i < 5; i++) {
		if (strcmp(env, names[i]) == 0)
			return (enum nvme_log_level)(i + 1);
	}
	fprintf(stderr,
	        "nvme.h: NVME_LOG=%.32s is not a log level: use error, warning, notice, info or debug\n",
	        env);
	return NVME_LOG_NOTICE;
}

static void nvme__log_print(const struct nvme_log *log, uint64_t time_ns,
                            const struct nvme__log_place *place, enum nvme_log_level level,
                            const char *text)
{
	char whole[NVME__LOG_LINE_MAX];

	nvme__format_log_line(whole, sizeof(whole), time_ns, place, level, text);
	if (log->fn != NULL)
		log->fn(log->arg, level, whole);
	else
		NVME_LOG_LINE(level, whole);
}

static void __attribute__((format(printf, 7, 0)))
nvme__log_vwrite(const struct nvme_log *log, enum nvme_log_level level, const char *file, int line,
                 const char *func, const char *ctx, const char *fmt, va_list ap)
{
	const struct nvme__log_place place = {file, line, func};
	uint64_t now = nvme__log_now(log);
	char text[NVME__LOG_LINE_MAX - 192]; /* so that the prefix fits before it */
	size_t n = 0;

	if (ctx != NULL)
		n = (size_t)snprintf(text, sizeof(text), "[%.32s] ", ctx);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	if (NVME__TRACING(log))
		nvme__trace_log(log, now, &place, level, text);
	if (log->level >= level)
		nvme__log_print(log, now, &place, level, text);
}

static void __attribute__((format(printf, 7, 8)))
nvme__log_write(const struct nvme_log *log, enum nvme_log_level level, const char *file, int line,
                const char *func, const char *ctx, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	nvme__log_vwrite(log, level, file, line, func, ctx, fmt, ap);
	va_end(ap);
}

/* In a function that speaks for another: the line and func that it was given. */
#define NVME__SAY(dev, lvl, ...)                                                           \
	do {                                                                               \
		const struct nvme_log *nvme__l = nvme__log_of(dev);                        \
		if (nvme__unlikely(nvme__l->level >= (lvl) || NVME__TRACING(nvme__l)))     \
			nvme__log_write(nvme__l, (lvl), "nvme.h", line, func, (dev)->name, \
			                __VA_ARGS__);                                      \
	} while (0)

/* ============================================================================================
 * >>recorder
 *
 * The flight recorder. A slot is reserved by counting up, filled, and made valid by storing its
 * number last, so that several threads write without a lock and a reader of the file knows which
 * slots are whole. Where nothing is recorded all of it costs a branch that is never taken.
 * ============================================================================================ */

#define NVME__TRACE_SLOTS 65536

/* 512 GiB, or with 32 bits 1 GiB: what can be mapped, and what an off_t can say. */
#define NVME__TRACE_MAX_SLOTS (UINT64_C(1) << (sizeof(size_t) > 4 ? 32 : 23))

static uint64_t nvme__clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct nvme_trace {
	struct nvme_trace_header *header;
	struct nvme_trace_slot *slot; /* slot[0 .. slots - 1] */
	uint64_t slots;
	size_t size;         /* bytes mapped */
	uint64_t clock_zero; /* what CLOCK_MONOTONIC lacks to the time since 1970 */
};

static __thread uint64_t nvme__looked_at; /* CLOCK_MONOTONIC when this thread looked last */

/* Recorded times never go back, so they come from the monotonic clock; the log shows the same. */
static uint64_t nvme__log_now(const struct nvme_log *log)
{
	if (!NVME__TRACING(log))
		return nvme__clock_ns(CLOCK_REALTIME);
	nvme__looked_at = nvme__clock_ns(CLOCK_MONOTONIC);
	return nvme__looked_at + log->trace->clock_zero;
}

/*
 * A look at the clock costs as much as recording two events does. What was there already at this
 * thread's last look, or happens in one go with it, shares that look: times still never go back.
 */
static uint64_t nvme__log_last_look(const struct nvme_log *log)
{
	return nvme__looked_at + log->trace->clock_zero;
}

static __thread uint32_t nvme__known_tid;

NVME__COLD uint32_t nvme__ask_tid(void)
{
#ifdef SYS_gettid
	return nvme__known_tid = (uint32_t)syscall(SYS_gettid);
#else /* a number of our own, from 1 */
	static uint32_t threads;

	return nvme__known_tid = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
#endif
}

NVME__HOT uint32_t nvme__tid(void)
{
	return nvme__likely(nvme__known_tid != 0) ? nvme__known_tid : nvme__ask_tid();
}

/* Numbers for so many events, one after the other: the first of them. */
NVME__HOT uint64_t nvme__trace_number(const struct nvme_log *log, uint32_t count)
{
	return __atomic_fetch_add(&log->trace->header->next, count, __ATOMIC_RELAXED);
}

/* Nearly always there is a power of two of slots, and nothing needs to be divided. */
NVME__HOT struct nvme_trace_slot *nvme__trace_slot(const struct nvme_trace *t, uint64_t seq)
{
	uint64_t mask = t->slots - 1;

	return &t->slot[nvme__likely((t->slots & mask) == 0) ? (seq - 1) & mask
	                                                     : (seq - 1) % t->slots];
}

/* Opens the slot of event seq, with everything in it but the payload of len bytes. */
NVME__HOT struct nvme_trace_slot *nvme__trace_begin(const struct nvme_log *log, uint64_t seq,
                                                    uint64_t now, uint16_t kind, int line,
                                                    uint16_t qid, size_t len)
{
	struct nvme_trace_slot *slot = nvme__trace_slot(log->trace, seq);

	__atomic_store_n(&slot->seq, 0, __ATOMIC_RELAXED); /* not whole from here on ... */
	slot->time_ns = now;
	slot->tid = nvme__tid();
	slot->kind = kind;
	slot->line = (uint16_t)line;
	slot->qid = qid;
	slot->ctrlr = log->ctrlr;
	slot->len = (uint8_t)len;
	return slot;
}

NVME__HOT void nvme__trace_end(struct nvme_trace_slot *slot, uint64_t seq)
{
	slot->check = ~seq;
	__atomic_store_n(&slot->seq, seq, __ATOMIC_RELEASE); /* ... to here */
}

/* Inlined, since where len is known the payload is a few stores instead of a call. */
NVME__HOT void nvme__trace_fill(const struct nvme_log *log, uint64_t seq, uint64_t now,
                                uint16_t kind, int line, uint16_t qid, const void *payload,
                                size_t len)
{
	struct nvme_trace_slot *slot = nvme__trace_begin(log, seq, now, kind, line, qid, len);

	memcpy(slot->payload, payload, len);
	nvme__trace_end(slot, seq);
}

NVME__HOT void nvme__trace_put(const struct nvme_log *log, uint64_t now, uint16_t kind, int line,
                               uint16_t qid, const void *payload, size_t len)
{
	nvme__trace_fill(log, nvme__trace_number(log, 1), now, kind, line, qid, payload, len);
}

/* A log line takes as many slots as its text needs. A part that is not full is the last. */
static void nvme__trace_log(const struct nvme_log *log, uint64_t now,
                            const struct nvme__log_place *place, enum nvme_log_level level,
                            const char *text)
{
	char all[NVME__LOG_LINE_MAX];
	size_t len, at, part;
	uint16_t kind = NVME_TRACE_LOG;

	all[0] = (char)level;
	len = 1 + (size_t)snprintf(all + 1, 33, "%.32s", place->file) + 1;
	len += (size_t)snprintf(all + len, 64, "%.63s", place->func) + 1;
	len += (size_t)snprintf(all + len, sizeof(all) - len, "%s", text);
	if (len >= sizeof(all))
		len = sizeof(all) - 1; /* cut */
	for (at = 0; at <= len; at += NVME_TRACE_PAYLOAD) {
		part = len - at < NVME_TRACE_PAYLOAD ? len - at : NVME_TRACE_PAYLOAD;
		nvme__trace_put(log, now, kind, place->line, 0, all + at, part);
		kind = NVME_TRACE_LOG_MORE;
	}
}

/* Payloads as they lie in a slot, for those that are put together there, once per I/O. */
#define NVME__IN_SLOT __attribute__((packed, aligned(4), may_alias))

struct NVME__IN_SLOT nvme__slot_prp {
	struct nvme_trace_prp prp;
};

struct NVME__IN_SLOT nvme__slot_prp_list {
	struct nvme_trace_prp_list part;
};

struct NVME__IN_SLOT nvme__slot_doorbell {
	struct nvme_trace_doorbell db;
};

#ifdef NVME_NO_TRACE

NVMEDEF int nvme_trace_open(const char *file, uint64_t slots, struct nvme_trace **trace)
{
	(void)file, (void)slots;
	*trace = NULL;
	fprintf(stderr,
	        "nvme.h: this program was compiled without the flight recorder: compile it without NVME_NO_TRACE\n");
	return -ENOTSUP;
}

NVMEDEF void nvme_trace_close(struct nvme_trace *trace)
{
	(void)trace;
}

static struct nvme_trace *nvme__trace_from_env(void)
{
	return NULL;
}

static uint8_t nvme__trace_next_ctrlr(struct nvme_trace *trace)
{
	(void)trace;
	return 0;
}

#else

/* A child of fork() records on into the same file, but not as the thread that it was before. */
static void nvme__tid_forget(void)
{
	nvme__known_tid = 0;
}

static void nvme__tid_watch_forks(void)
{
	static bool watched;

	if (!__atomic_exchange_n(&watched, true, __ATOMIC_RELAXED))
		(void)pthread_atfork(NULL, NULL, nvme__tid_forget);
}

/* Why nothing is recorded, and what to do about it: one sentence. */
static int __attribute__((format(printf, 3, 4)))
nvme__trace_fail(const char *file, int rc, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	fprintf(stderr, "nvme.h: cannot record to '%.256s' %s\n", file, why);
	return rc;
}

static void nvme__trace_program_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/self/comm", "r");

	if (file != NULL) {
		if (fgets(name, (int)size, file) != NULL)
			name[strcspn(name, "\n")] = '\0';
		fclose(file);
	}
}

static void nvme__trace_init(struct nvme_trace *t, void *base, uint64_t slots)
{
	struct nvme_trace_header *h = (struct nvme_trace_header *)base;

	t->header = h;
	t->slot = (struct nvme_trace_slot *)base + 1;
	t->slots = slots;
	t->clock_zero = nvme__clock_ns(CLOCK_REALTIME) - nvme__clock_ns(CLOCK_MONOTONIC);
	h->version = NVME_TRACE_VERSION;
	h->byte_order = NVME_TRACE_BYTE_ORDER;
	h->slot_size = sizeof(struct nvme_trace_slot);
	h->pid = (uint32_t)getpid();
	h->slots = slots;
	h->next = 1;
	h->start_ns = nvme__clock_ns(CLOCK_MONOTONIC) + t->clock_zero;
	nvme__trace_program_name(h->program, sizeof(h->program));
	memcpy(h->magic, NVME_TRACE_MAGIC, sizeof(h->magic)); /* last: now it is a trace */
}

/* An empty file or a trace: nothing else may be overwritten. */
static bool nvme__trace_may_replace(int fd)
{
	char magic[sizeof(NVME_TRACE_MAGIC) - 1];
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	return st.st_size == 0 || (pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	                           memcmp(magic, NVME_TRACE_MAGIC, sizeof(magic)) == 0);
}

/* For this recorder alone. */
static int nvme__trace_lock(const char *file, int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return nvme__trace_fail(file, -EBUSY,
		                        "(another recorder writes to it): give each program its own, as NVME_TRACE=trace.%%p.nvt does");
	return nvme__trace_fail(file, -errno, "(flock: %s): name a file on a local file system",
	                        strerror(errno));
}

/* Opens and locks the file, and refuses what is no trace. Returns its descriptor. */
static int nvme__trace_claim(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644), rc;

	if (fd < 0)
		return nvme__trace_fail(file, -errno,
		                        "(open: %s): name a file in a directory that you may write to",
		                        strerror(errno));
	rc = nvme__trace_lock(file, fd);
	if (rc == 0 && !nvme__trace_may_replace(fd))
		rc = nvme__trace_fail(file, -EEXIST,
		                      "(it is there and is no trace): name another file, or remove this one if nobody needs it");
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int nvme__trace_allocate(int fd, size_t size)
{
	int rc;

	do
		rc = posix_fallocate(fd, 0, (off_t)size);
	while (rc == EINTR);
	return -rc;
}

/*
 * The room for all slots, at once: a page of the mapping that finds no room later means SIGBUS, a
 * file beyond the limit SIGXFSZ. An old trace is emptied when it is known that a new one fits.
 */
static int nvme__trace_reserve(int fd, const char *file, size_t size)
{
	struct rlimit limit;
	struct stat st;
	int rc;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size)
		return nvme__trace_fail(file, -EFBIG,
		                        "(its %zu KiB are more than the limit of %zu KiB for a file): raise that with 'ulimit -f unlimited', or set NVME_TRACE_SLOTS to fewer slots of 128 bytes",
		                        (size + 1023) >> 10, (size_t)limit.rlim_cur >> 10);
	if (fstat(fd, &st) != 0)
		return nvme__trace_fail(file, -errno, "(fstat: %s): name another file",
		                        strerror(errno));
	rc = nvme__trace_allocate(fd, size);
	if (rc == 0 && st.st_size > 0) {
		rc = ftruncate(fd, 0) != 0 ? -errno : nvme__trace_allocate(fd, size);
		st.st_size = 0;
	}
	if (rc == 0)
		return 0;
	if (ftruncate(fd, st.st_size) != 0) /* what was taken is given back */
		rc = -errno;
	return nvme__trace_fail(file, rc,
	                        "(no room for its %zu KiB: %s): make room there, name a file on another file system, or set NVME_TRACE_SLOTS to fewer slots of 128 bytes",
	                        (size + 1023) >> 10, strerror(-rc));
}

/* The file is as large as it will ever be when the first slot is written. */
static int nvme__trace_map(struct nvme_trace *t, const char *file, int fd, uint64_t slots)
{
	void *base;
	int rc;

	t->size = (size_t)(slots + 1) * sizeof(struct nvme_trace_slot);
	base = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return nvme__trace_fail(file, -errno,
		                        "(mmap of %zu KiB: %s): set NVME_TRACE_SLOTS to fewer slots of 128 bytes, or name a file on another file system",
		                        (t->size + 1023) >> 10, strerror(errno));
	rc = nvme__trace_reserve(fd, file, t->size);
	if (rc != 0) {
		munmap(base, t->size);
		return rc;
	}
	/* a touched page is one page: reading ahead, 8 MiB on some disks, would hold up the writer */
	(void)madvise(base, t->size, MADV_RANDOM);
	nvme__trace_init(t, base, slots);
	return 0;
}

NVMEDEF int nvme_trace_open(const char *file, uint64_t slots, struct nvme_trace **trace)
{
	struct nvme_trace *t;
	int fd, rc;

	*trace = NULL;
	if (slots == 0)
		slots = NVME__TRACE_SLOTS;
	if (slots > NVME__TRACE_MAX_SLOTS)
		return nvme__trace_fail(file, -EINVAL,
		                        "(%" PRIu64 " slots are too many): use at most %" PRIu64,
		                        slots, NVME__TRACE_MAX_SLOTS);
	t = (struct nvme_trace *)NVME_CALLOC(1, sizeof(*t));
	if (t == NULL)
		return nvme__trace_fail(file, -ENOMEM, "(%s): end other programs",
		                        strerror(ENOMEM));
	fd = nvme__trace_claim(file);
	rc = fd < 0 ? fd : nvme__trace_map(t, file, fd, slots);
	if (fd >= 0)
		close(fd); /* the mapping keeps the file open, and with it the lock */
	if (rc != 0) {
		NVME_FREE(t);
		return rc;
	}
	nvme__tid_watch_forks();
	*trace = t;
	return 0;
}

NVMEDEF void nvme_trace_close(struct nvme_trace *trace)
{
	if (trace == NULL)
		return;
	munmap(trace->header, trace->size);
	NVME_FREE(trace);
}

/* NVME_TRACE with the process id for each %p. */
static int nvme__trace_name_from_env(const char *env, char *name, size_t size)
{
	const char *at = env;
	size_t len = 0;

	for (; *at != '\0' && len < size; at++) {
		if (at[0] == '%' && at[1] == 'p') {
			len += (size_t)snprintf(name + len, size - len, "%ld", (long)getpid());
			at++;
		} else {
			name[len++] = *at;
		}
	}
	if (len >= size)
		return nvme__trace_fail(env, -ENAMETOOLONG, "(%s): name a shorter one",
		                        strerror(ENAMETOOLONG));
	name[len] = '\0';
	return 0;
}

static int nvme__trace_slots_from_env(uint64_t *slots)
{
	const char *env = getenv("NVME_TRACE_SLOTS");
	char *end;

	*slots = 0;
	if (env == NULL || *env == '\0')
		return 0;
	errno = 0;
	*slots = strtoull(env, &end, 10);
	if (isdigit((unsigned char)*env) && *end == '\0' && errno == 0 && *slots > 0 &&
	    *slots <= NVME__TRACE_MAX_SLOTS)
		return 0;
	fprintf(stderr,
	        "nvme.h: nothing is recorded, because NVME_TRACE_SLOTS=%.32s is no number of slots: use 1 to %" PRIu64
	        ", or unset it for %d\n",
	        env, NVME__TRACE_MAX_SLOTS, NVME__TRACE_SLOTS);
	return -EINVAL;
}

static struct nvme_trace *nvme__trace_open_env(const char *env)
{
	struct nvme_trace *trace = NULL;
	char name[4096];
	uint64_t slots;

	if (nvme__trace_slots_from_env(&slots) == 0 &&
	    nvme__trace_name_from_env(env, name, sizeof(name)) == 0)
		(void)nvme_trace_open(name, slots, &trace);
	return trace;
}

/* The recorder that NVME_TRACE asks for: one for the program, opened once and never closed. */
static struct nvme_trace *nvme__trace_from_env(void)
{
	enum { NVME__UNTRIED, NVME__TRYING, NVME__TRIED };
	static struct nvme_trace *trace;
	static int state = NVME__UNTRIED;
	const char *env = getenv("NVME_TRACE");
	int expected = NVME__UNTRIED;

	if (env == NULL || *env == '\0')
		return NULL;
	if (__atomic_compare_exchange_n(&state, &expected, NVME__TRYING, false, __ATOMIC_ACQUIRE,
	                                __ATOMIC_RELAXED)) {
		trace = nvme__trace_open_env(env);
		__atomic_store_n(&state, NVME__TRIED, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != NVME__TRIED)
		sched_yield(); /* another thread is at it */
	return trace;
}

static uint8_t nvme__trace_next_ctrlr(struct nvme_trace *trace)
{
	return (uint8_t)__atomic_fetch_add(&trace->header->ctrlrs, 1, __ATOMIC_RELAXED);
}

#endif /* NVME_NO_TRACE */

NVMEDEF void nvme_trace_event(const struct nvme_dev *dev, enum nvme_trace_kind kind, uint16_t qid,
                              const void *payload, size_t len)
{
	if (dev->log != NULL && NVME__TRACING(dev->log) && len <= NVME_TRACE_PAYLOAD)
		nvme__trace_put(dev->log, nvme__log_now(dev->log), (uint16_t)kind, 0, qid, payload,
		                len);
}

/* ============================================================================================
 * >>records
 *
 * What the path of a command leaves in the record and, with the debug log on, in the log. Called
 * where Book 1 says so in one line.
 * ============================================================================================ */

/* ---- the controller ---- */

/* Into the record: which controller, by its two registers. */
static void nvme__trace_attach(const struct nvme_ctrlr *ctrlr)
{
	struct nvme_trace_attach a;

	memset(&a, 0, sizeof(a));
	a.cap = ctrlr->cap;
	a.vs = ctrlr->vs;
	a.vendor_id = ctrlr->dev.vendor_id;
	a.device_id = ctrlr->dev.device_id;
	snprintf(a.name, sizeof(a.name), "%.23s", ctrlr->dev.name);
	snprintf(a.access, sizeof(a.access), "%.7s", ctrlr->dev.ops->name);
	nvme_trace_event(&ctrlr->dev, NVME_TRACE_ATTACH, 0, &a, sizeof(a));
}

static void nvme__trace_detach(const struct nvme_ctrlr *ctrlr)
{
	nvme_trace_event(&ctrlr->dev, NVME_TRACE_DETACH, 0, "", 0);
}

static void nvme__trace_mark(const struct nvme_ctrlr *ctrlr, uint32_t what, uint16_t qid,
                             uint16_t cid, uint32_t value)
{
	struct nvme_trace_mark mark;

	memset(&mark, 0, sizeof(mark));
	mark.what = what;
	mark.cid = cid;
	mark.value = value;
	nvme_trace_event(&ctrlr->dev, NVME_TRACE_MARK, qid, &mark, sizeof(mark));
}

static void nvme__trace_late(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms)
{
	nvme__trace_mark(qp->ctrlr, NVME_TRACE_LATE, qp->id, cid, ms);
}

static void nvme__trace_abort(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms)
{
	nvme__trace_mark(qp->ctrlr, NVME_TRACE_ABORT, qp->id, cid, ms);
}

static void nvme__trace_retry(const struct nvme_qpair *qp, uint16_t cid, uint32_t ms)
{
	nvme__trace_mark(qp->ctrlr, NVME_TRACE_RETRY, qp->id, cid, ms);
}

static void nvme__trace_reset(const struct nvme_ctrlr *ctrlr)
{
	nvme__trace_mark(ctrlr, NVME_TRACE_RESET, 0, 0, 0);
}

static void nvme__trace_reset_end(const struct nvme_ctrlr *ctrlr)
{
	nvme__trace_mark(ctrlr, NVME_TRACE_RESET_END, 0, 0, 0);
}

static void nvme__trace_given_up(const struct nvme_ctrlr *ctrlr, int rc)
{
	nvme__trace_mark(ctrlr, NVME_TRACE_GIVEN_UP, 0, 0, (uint32_t)-rc);
}

static const char *nvme__ctrlr_state_name(enum nvme_ctrlr_state state)
{
	static const char *const names[] = {
		"delay init",
		"read vs",
		"read cap",
		"check en",
		"disable and wait for CSTS.RDY = 1",
		"set CC.EN = 0",
		"disable and wait for CSTS.RDY = 0",
		"controller is disabled",
		"connect adminq",
		"enable controller by writing CC.EN = 1",
		"wait for CSTS.RDY = 1",
		"reset admin queue",
		"identify controller",
		"wait for identify controller",
		"set number of queues",
		"wait for set number of queues",
		"identify active ns",
		"wait for identify active ns",
		"identify ns",
		"wait for identify ns",
		"identify namespace id descriptors",
		"wait for identify namespace id descriptors",
		"ready",
		"error",
	};

	return names[state];
}

static void nvme__log_state(struct nvme_ctrlr *ctrlr, uint64_t timeout_ms, int line,
                            const char *func)
{
	const char *name = nvme__ctrlr_state_name(ctrlr->state);

	if (timeout_ms == NVME__NO_TIMEOUT)
		NVME__SAY(&ctrlr->dev, NVME_LOG_DEBUG, "setting state to %s (no timeout)", name);
	else
		NVME__SAY(&ctrlr->dev, NVME_LOG_DEBUG,
		          "setting state to %s (timeout %" PRIu64 " ms)", name, timeout_ms);
}

/* Register accesses as events; doorbells have their own. What reads as before is no news. */
NVME__COLD void nvme__trace_reg(const struct nvme_dev *dev, bool write, uint32_t offset,
                                uint32_t val)
{
	const uint16_t kind = write ? NVME_TRACE_REG_WRITE : NVME_TRACE_REG_READ;
	static __thread const struct nvme_dev *last_dev;
	static __thread uint32_t last_offset, last_val;
	struct nvme_trace_reg reg;

	if (!NVME__TRACING(dev->log) || offset >= NVME_REG_DOORBELLS)
		return;
	if (!write && dev == last_dev && offset == last_offset && val == last_val)
		return;
	last_dev = dev;
	last_offset = offset;
	last_val = val;
	reg.offset = offset;
	reg.size = 4;
	reg.value = val;
	nvme__trace_put(dev->log, nvme__log_now(dev->log), kind, __LINE__, 0, &reg, sizeof(reg));
}

/* Into the record: what the device may reach from now on, or no longer (vaddr NULL). */
static void nvme__trace_dma(const struct nvme_dev *dev, const void *vaddr, uint64_t iova,
                            size_t len)
{
	struct nvme_trace_dma dma;

	dma.vaddr = (uint64_t)(uintptr_t)vaddr;
	dma.iova = iova;
	dma.len = len;
	nvme_trace_event(dev, vaddr != NULL ? NVME_TRACE_DMA_MAP : NVME_TRACE_DMA_UNMAP, 0, &dma,
	                 sizeof(dma));
}

/* The SQ doorbell follows its command at once: one look at the clock is enough for both. */
static void nvme__trace_doorbell(struct nvme_qpair *qp, uint16_t cq, uint32_t old_value,
                                 bool in_memory)
{
	const struct nvme_log *log = &qp->ctrlr->log;
	struct nvme_trace_slot *slot;
	struct nvme__slot_doorbell *in;
	uint64_t now, seq;

	if (!NVME__TRACING(log))
		return;
	if (cq)
		qp->cqes_seen = 0; /* what is still there may be taken much later */
	/* an SQ doorbell follows its SQE at once, unless it is delayed */
	now = cq || (qp->unusual & NVME__UNUSUAL_DELAY) != 0 ? nvme__log_now(log)
	                                                     : nvme__log_last_look(log);
	seq = nvme__trace_number(log, 1);
	slot = nvme__trace_begin(log, seq, now, NVME_TRACE_DOORBELL, __LINE__, qp->id,
	                         sizeof(in->db));
	in = (struct nvme__slot_doorbell *)(void *)slot->payload;
	in->db.offset = cq ? qp->cq_hdbl : qp->sq_tdbl;
	in->db.cq = cq;
	in->db.in_memory = in_memory;
	in->db.old_value = old_value;
	in->db.new_value = cq ? qp->cq_head : qp->sq_tail;
	nvme__trace_end(slot, seq);
}

/* ---- PRPs ---- */

/* A walk over the entries of a list, without the links between its pages. */
struct nvme__prp_walk {
	const uint64_t *entry; /* the next one ... */
	uint32_t room;         /* ... with so many in its page from there on ... */
	uint32_t page;         /* ... which is this one of the list pages, from 1 */
};

static void nvme__prp_walk_begin(struct nvme__prp_walk *walk, const struct nvme_prp *prp)
{
	walk->entry = prp->list_base;
	walk->room = (uint32_t)(prp->page_size - (prp->list_iova & (prp->page_size - 1))) / 8;
	walk->page = 1;
}

/* The next entries, at most max, as many of them as stand together. */
static const uint64_t *nvme__prp_walk_next(struct nvme__prp_walk *walk, const struct nvme_prp *prp,
                                           uint32_t max, uint32_t *count)
{
	bool more = walk->page < prp->list_used; /* the last entry of this page is a link */

	if (more && walk->room == 1) {
		size_t in_page = (size_t)(prp->list_iova & (prp->page_size - 1));

		walk->entry =
			(const uint64_t *)(const void *)((const uint8_t *)prp->list_base +
		                                         (walk->page * prp->list_stride - in_page));
		walk->room = prp->page_size / 8;
		more = ++walk->page < prp->list_used;
	}
	*count = walk->room - more < max ? walk->room - more : max;
	walk->room -= *count;
	walk->entry += *count;
	return walk->entry - *count;
}

#define NVME__PRP_PART 10u /* entries of a list in one event */

/*
 * When the PRPs of a command are recorded, its SQE is what this thread records next, after the same
 * look at the clock: so its number is reserved with theirs. Another look would make that void.
 */
static __thread uint64_t nvme__sqe_seq, nvme__sqe_look;

/* The number that was reserved for the SQE, or 0. */
static uint64_t nvme__trace_reserved_sqe(void)
{
	uint64_t seq = nvme__sqe_look == nvme__looked_at ? nvme__sqe_seq : 0;

	nvme__sqe_seq = 0;
	return seq;
}

static void nvme__prp_walk_fill(struct nvme__prp_walk *walk, const struct nvme_prp *prp,
                                struct nvme__slot_prp_list *in)
{
	const uint64_t *entry;
	uint32_t done, run, i;

	for (done = 0; done < in->part.count; done += run) {
		entry = nvme__prp_walk_next(walk, prp, in->part.count - done, &run);
		for (i = 0; i < run; i++)
			in->part.entry[done + i] = entry[i];
	}
}

/* The entries of a list, as many events as they need, next to each other from number seq on. */
static void nvme__trace_prp_list(const struct nvme_log *log, uint64_t seq, uint64_t now, int line,
                                 uint16_t qid, uint16_t cid, const struct nvme_prp *prp)
{
	uint32_t first, count, entries = prp->prp_index - 1;
	struct nvme__slot_prp_list *in;
	struct nvme_trace_slot *slot;
	struct nvme__prp_walk walk;

	nvme__prp_walk_begin(&walk, prp);
	for (first = 0; first < entries; first += count, seq++) {
		count = entries - first < NVME__PRP_PART ? entries - first : NVME__PRP_PART;
		slot = nvme__trace_begin(log, seq, now, NVME_TRACE_PRP_LIST, line, qid,
		                         8 + count * 8u);
		in = (struct nvme__slot_prp_list *)(void *)slot->payload;
		in->part.cid = cid;
		in->part.count = (uint16_t)count;
		in->part.first = first;
		nvme__prp_walk_fill(&walk, prp, in);
		nvme__trace_end(slot, seq);
	}
}

static void nvme__trace_prp(const struct nvme_log *log, uint64_t now, int line, uint16_t qid,
                            uint16_t cid, const struct nvme_prp *prp, const void *virt_addr,
                            uint32_t len)
{
	uint32_t parts = prp->prp_index > 2 ? (prp->prp_index - 2) / NVME__PRP_PART + 1 : 0;
	bool sqe_next = log->level < NVME_LOG_DEBUG; /* nothing is printed before it */
	uint64_t seq = nvme__trace_number(log, 1 + parts + sqe_next);
	struct nvme_trace_slot *slot;
	struct nvme__slot_prp *in;

	nvme__sqe_seq = sqe_next ? seq + 1 + parts : 0;
	nvme__sqe_look = nvme__looked_at;
	slot = nvme__trace_begin(log, seq, now, NVME_TRACE_PRP, line, qid, sizeof(in->prp));
	in = (struct nvme__slot_prp *)(void *)slot->payload;
	in->prp.virt_addr = (uint64_t)(uintptr_t)virt_addr;
	in->prp.prp1 = prp->prp1;
	in->prp.prp2 = prp->prp2;
	in->prp.len = len;
	in->prp.nprp = prp->prp_index;
	in->prp.cid = cid;
	in->prp.reserved[0] = in->prp.reserved[1] = in->prp.reserved[2] = 0;
	nvme__trace_end(slot, seq);
	if (parts != 0)
		nvme__trace_prp_list(log, seq + 1, now, line, qid, cid, prp);
}

/* PRP1, PRP2 and what stands in the list between them, a line each. */
NVME__COLD void nvme__log_prp(const struct nvme_log *log, uint64_t now,
                              const struct nvme__log_place *place, const struct nvme_prp *prp,
                              const void *virt_addr, uint32_t len)
{
	struct nvme__prp_walk walk;
	uint32_t i, one;
	uint64_t entry;
	char text[64];

	snprintf(text, sizeof(text), "prp_index:0 virt_addr:%p len:%u", virt_addr, len);
	nvme__log_print(log, now, place, NVME_LOG_DEBUG, text);
	nvme__prp_walk_begin(&walk, prp);
	for (i = 0; i < prp->prp_index + (prp->prp_index > 1); i++) {
		entry = i == 0 ? prp->prp1 : prp->prp2;
		if (i > 0 && i < prp->prp_index && prp->prp_index > 2)
			entry = *nvme__prp_walk_next(&walk, prp, 1, &one);
		nvme__format_prp_line(text, sizeof(text), prp->prp_index, i, entry);
		nvme__log_print(log, now, place, NVME_LOG_DEBUG, text);
	}
}

/* What was built: into the record, and with the debug log on also to be read at once. */
NVME__COLD void nvme__prp_list_print(const struct nvme_log *log, uint16_t qid, uint16_t cid,
                                     const struct nvme_prp *prp, const void *virt_addr,
                                     uint32_t len)
{
	static const struct nvme__log_place place = {"nvme.h", __LINE__, __func__};
	uint64_t now = nvme__log_now(log);

	if (NVME__TRACING(log))
		nvme__trace_prp(log, now, place.line, qid, cid, prp, virt_addr, len);
	if (nvme__unlikely(log->level >= NVME_LOG_DEBUG))
		nvme__log_prp(log, now, &place, prp, virt_addr, len);
}

/* ---- SGLs ---- */

#define NVME__SGL_PART 4u /* descriptors in one event */

/* As many events as the descriptors need; each says all of what it is a part of. */
static void nvme__trace_sgl(const struct nvme_qpair *qp, uint64_t now, int line,
                            const struct nvme_tracker *tr, uint32_t len)
{
	const struct nvme_sgl_desc *list = (const struct nvme_sgl_desc *)(void *)tr->prp_list;
	uint32_t descs = tr->cmd.dptr.sgl.len / (uint32_t)sizeof(*list), first, count;
	struct nvme_trace_sgl part;

	for (first = 0; first < descs; first += count) {
		count = descs - first < NVME__SGL_PART ? descs - first : NVME__SGL_PART;
		memset(&part, 0, sizeof(part));
		part.segment = tr->cmd.dptr.sgl.addr;
		part.len = len;
		part.descs = descs;
		part.cid = tr->cid;
		part.count = (uint16_t)count;
		part.first = first;
		memcpy(part.desc, list + first, count * sizeof(*list));
		nvme__trace_put(&qp->ctrlr->log, now, NVME_TRACE_SGL, line, qp->id, &part,
		                offsetof(struct nvme_trace_sgl, desc) + count * sizeof(*list));
	}
}

/* The segment that a command names, a line for each descriptor. */
NVME__COLD void nvme__log_sgl(const struct nvme_log *log, uint64_t now,
                              const struct nvme__log_place *place, const struct nvme_tracker *tr,
                              uint32_t len)
{
	const struct nvme_sgl_desc *list = (const struct nvme_sgl_desc *)(void *)tr->prp_list;
	uint32_t descs = tr->cmd.dptr.sgl.len / (uint32_t)sizeof(*list), i;
	char text[128];

	nvme__format_sgl_head(text, sizeof(text), tr->cmd.dptr.sgl.addr, descs, len);
	nvme__log_print(log, now, place, NVME_LOG_DEBUG, text);
	for (i = 0; i < descs; i++) {
		nvme__format_sgl_line(text, sizeof(text), i, &list[i]);
		nvme__log_print(log, now, place, NVME_LOG_DEBUG, text);
	}
}

/* The descriptors of an SGL that has a segment; of one that has none the command tells all. */
NVME__COLD void nvme__sgl_print(const struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                uint32_t len)
{
	static const struct nvme__log_place place = {"nvme.h", __LINE__, __func__};
	const struct nvme_log *log = &qp->ctrlr->log;
	uint64_t now = nvme__log_now(log);

	if (NVME_GET(tr->cmd.dptr.sgl.id, NVME_SGL_TYPE) != NVME_SGL_TYPE_LAST_SEGMENT)
		return;
	if (NVME__TRACING(log))
		nvme__trace_sgl(qp, now, place.line, tr, len);
	if (nvme__unlikely(log->level >= NVME_LOG_DEBUG))
		nvme__log_sgl(log, now, &place, tr, len);
}

/* ---- commands and completions ---- */

/* The lines of the log, apart from what is recorded, for that has no time for their buffers. */
NVME__COLD void nvme__log_command(const struct nvme_qpair *qp, uint64_t now,
                                  const struct nvme__log_place *place, const struct nvme_cmd *cmd)
{
	char text[NVME_TEXT_MAX];

	nvme_format_cmd(text, sizeof(text), qp->id, cmd);
	nvme__log_print(&qp->ctrlr->log, now, place, NVME_LOG_NOTICE, text);
}

NVME__COLD void nvme__log_completion(const struct nvme_qpair *qp, uint64_t now,
                                     const struct nvme__log_place *place,
                                     const struct nvme_cpl *cpl)
{
	char text[NVME_TEXT_MAX];

	nvme_format_cpl(text, sizeof(text), qp->id, cpl);
	nvme__log_print(&qp->ctrlr->log, now, place, NVME_LOG_NOTICE, text);
}

/*
 * A command goes into the record, and with the debug log on into the log, as it is submitted; and
 * once more, then at level notice, when it has ended with an error.
 */
NVME__COLD void nvme_qpair_print_command(struct nvme_qpair *qp, const struct nvme_cmd *cmd,
                                         bool error)
{
	static const struct nvme__log_place place = {"nvme.h", __LINE__, __func__};
	const struct nvme_log *log = &qp->ctrlr->log;
	uint64_t seq = NVME__TRACING(log) ? nvme__trace_reserved_sqe() : 0;
	uint64_t now = seq != 0 ? nvme__log_last_look(log) : nvme__log_now(log);

	if (NVME__TRACING(log))
		nvme__trace_fill(log, seq != 0 ? seq : nvme__trace_number(log, 1), now,
		                 error ? NVME_TRACE_SQE_ERROR : NVME_TRACE_SQE, place.line, qp->id,
		                 cmd, sizeof(*cmd));
	if (nvme__unlikely(log->level >= (error ? NVME_LOG_NOTICE : NVME_LOG_DEBUG)))
		nvme__log_command(qp, now, &place, cmd);
}

/* CQEs that are in the ring, and not yet taken. */
NVME__COLD uint32_t nvme__qpair_count_cqes(const struct nvme_qpair *qp)
{
	uint32_t at = qp->cq_head, count = 0;
	uint32_t phase = qp->phase;

	while (count < qp->entries &&
	       (__atomic_load_n(&qp->cq[at].status, __ATOMIC_RELAXED) & 1) == phase) {
		count++;
		if (++at == qp->entries) {
			at = 0;
			phase ^= 1;
		}
	}
	return count;
}

/*
 * When a CQE was seen, for the record: what stands behind it in the ring at a look at the clock
 * shares that look, up to the doorbell that ends the batch.
 */
NVME__HOT uint64_t nvme__qpair_cqe_time(struct nvme_qpair *qp)
{
	const struct nvme_log *log = &qp->ctrlr->log;

	if (NVME__TRACING(log) && qp->cqes_seen != 0) {
		qp->cqes_seen--;
		return nvme__log_last_look(log);
	}
	if (NVME__TRACING(log))
		qp->cqes_seen = nvme__qpair_count_cqes(qp);
	return nvme__log_now(log);
}

NVME__COLD void nvme_qpair_print_completion(struct nvme_qpair *qp, const struct nvme_cpl *cpl)
{
	static const struct nvme__log_place place = {"nvme.h", __LINE__, __func__};
	const struct nvme_log *log = &qp->ctrlr->log;
	uint64_t now;

	if (nvme__unlikely(cpl->sqid != qp->id && cpl->sqid != 0))
		NVME__LOG(log, NVME_LOG_ERROR, "sqid %u doesn't match qid", cpl->sqid);
	now = nvme__qpair_cqe_time(qp);
	if (NVME__TRACING(log))
		nvme__trace_put(log, now, NVME_TRACE_CQE, place.line, qp->id, cpl, sizeof(*cpl));
	if (nvme__unlikely(log->level >=
	                   (nvme_cpl_is_error(cpl) ? NVME_LOG_NOTICE : NVME_LOG_DEBUG)))
		nvme__log_completion(qp, now, &place, cpl);
}

/* What was built goes into the record and the log: for them the PRPs are built once more. */
static void nvme__print_prps(struct nvme_qpair *qp, struct nvme_tracker *tr, const void *buf,
                             uint32_t len)
{
	struct nvme_prp prp;

	if (nvme__build_prp_list(qp, tr, tr->cmd.dptr.prp.prp1, len, &prp) == 0)
		nvme__prp_list_print(&qp->ctrlr->log, qp->id, tr->cid, &prp, buf, len);
}

static void nvme__print_submission(struct nvme_qpair *qp, struct nvme_tracker *tr, const void *buf,
                                   uint32_t len)
{
	if (len != 0)
		nvme__print_prps(qp, tr, buf, len);
	nvme_qpair_print_command(qp, &tr->cmd, false);
}

/*
 * An error is worth a line at level notice, with the command; the rest goes to record and debug
 * log.
 */
NVME__COLD void nvme__print_end(struct nvme_qpair *qp, const struct nvme_tracker *tr,
                                const struct nvme_cpl *cpl)
{
	if (nvme_cpl_is_error(cpl))
		nvme_qpair_print_command(qp, &tr->cmd, true);
	if (nvme_cpl_is_error(cpl) || (qp->unusual & NVME__UNUSUAL_VERBOSE) != 0)
		nvme_qpair_print_completion(qp, cpl);
}

/* ---- events, the error log ---- */

static void nvme__log_event(const struct nvme_ctrlr *ctrlr, const struct nvme_cpl *cpl)
{
	uint32_t type = NVME_GET(cpl->cdw0, NVME_AER_TYPE);
	bool bad = type == NVME_AER_TYPE_ERROR || type == NVME_AER_TYPE_SMART;
	char text[NVME_TEXT_MAX];

	nvme_format_aer(text, sizeof(text), cpl->cdw0);
	NVME__DEV_LOG(&ctrlr->dev, bad ? NVME_LOG_WARNING : NVME_LOG_NOTICE,
	              "asynchronous event: %s", text);
}

/* The newest entry; an error count of 0 is none. */
static void nvme__log_error_entry(const struct nvme_ctrlr *ctrlr,
                                  const struct nvme_error_log_entry *newest)
{
	char text[NVME_TEXT_MAX];

	if (newest->ecnt == 0)
		return;
	nvme_format_error_entry(text, sizeof(text), newest);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_WARNING, "error log: %s", text);
}

/* The entry that belongs to a command, or NULL. */
static void nvme__log_more(const struct nvme_ctrlr *ctrlr, uint16_t qid, const struct nvme_cmd *cmd,
                           const struct nvme_error_log_entry *entry)
{
	char text[NVME_TEXT_MAX], more[NVME_TEXT_MAX] = "it has no entry of this";

	nvme_format_cmd(text, sizeof(text), qid, cmd);
	if (entry != NULL)
		nvme_format_error_entry(more, sizeof(more), entry);
	NVME__DEV_LOG(&ctrlr->dev, NVME_LOG_NOTICE, "error log: %s: %s", text, more);
}

/* ============================================================================================
 * >>explain
 *
 * Why a step has failed and what to do about it: one sentence each, for the one who runs the
 * program. line and func are those of the step. What comes back is the errno that the step returns.
 * ============================================================================================ */

/* ---- commands and queues ---- */

NVME__COLD int nvme__explain_buffer(const struct nvme_qpair *qp, const void *buf, uint32_t len,
                                    int rc, int line, const char *func)
{
	uint64_t iova;

	/* the controller's memory, with room for it: the reason was said */
	if (rc == -EFAULT && ((uintptr_t)buf & 3) == 0 && nvme__cmb_holds(qp->ctrlr, buf) &&
	    nvme_dma_iova(qp->ctrlr, buf, len, &iova) == 0)
		return -ENOTSUP;
	if (rc == -EMSGSIZE)
		NVME__SAY(&qp->ctrlr->dev, NVME_LOG_ERROR,
		          "%" PRIu32
		          " bytes at %p cannot be transferred (too long for one PRP list): use a larger max_xfer_size for the queue pair",
		          len, buf);
	else
		NVME__SAY(&qp->ctrlr->dev, NVME_LOG_ERROR,
		          "%" PRIu32
		          " bytes at %p cannot be transferred (not DMA memory of one buffer, or not dword aligned): use nvme_dma_alloc() or nvme_dma_register(), with room for all",
		          len, buf);
	return rc;
}

/* Why it counts as failed. */
static const char *nvme__removal_words(const struct nvme_ctrlr *ctrlr)
{
	if ((__atomic_load_n(&ctrlr->gone, __ATOMIC_RELAXED) & NVME__BUS_FAIL) != 0)
		return "its bus reported an error";
	if (ctrlr->removal != NULL && __atomic_load_n(&ctrlr->removal->was_reset, __ATOMIC_RELAXED))
		return "somebody else has reset or disabled the controller, CSTS.RDY is 0";
	return "the controller reports a fatal error, CSTS.CFS";
}

static int nvme__explain_failed(struct nvme_qpair *qp, int line, const char *func)
{
	int rc = nvme__qpair_failed(qp);

	NVME__SAY(&qp->ctrlr->dev, NVME_LOG_ERROR,
	          "queue pair %u has failed (%s): free it, or detach the controller and attach it again",
	          qp->id,
	          rc == -ENODEV ? "the device is gone"
	          : rc == -EIO  ? nvme__removal_words(qp->ctrlr)
	                        : "its completions make no sense");
	return rc;
}

static void nvme__explain_bad_cqe(struct nvme_qpair *qp, const struct nvme_cpl *cpl,
                                  const char *what, int line, const char *func)
{
	nvme__log_write(&qp->ctrlr->log, NVME_LOG_ERROR, "nvme.h", line, func, NULL, "%s", what);
	nvme_qpair_print_completion(qp, cpl);
}

/* A callback called what it must not: it would end in itself, or below the feet of its caller. */
NVME__COLD int nvme__explain_in_callback(const struct nvme_qpair *qp, const char *what, int line,
                                         const char *func)
{
	NVME__SAY(&qp->ctrlr->dev, NVME_LOG_ERROR,
	          "%s was called from a callback of queue pair %u: set a flag in the callback and call it from where the queue is polled",
	          what, qp->id);
	return -EBUSY;
}

NVME__COLD int nvme__explain_timeout(const struct nvme_qpair *qp, uint32_t timeout_ms, int line,
                                     const char *func)
{
	NVME__SAY(&qp->ctrlr->dev, NVME_LOG_ERROR,
	          "a command on queue %u did not complete within %" PRIu32
	          " ms: detach the controller, which resets it, and attach it again",
	          qp->id, timeout_ms);
	return -ETIMEDOUT;
}

static int nvme__explain_create(struct nvme_ctrlr *ctrlr, const char *what, int rc,
                                const struct nvme_cpl *cpl, int line, const char *func)
{
	const char *why = strerror(-rc), *remedy = "ask for fewer or smaller queues";

	if (rc == -EIO)
		why = nvme_status_name((uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT),
		                       (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC));
	if (rc == -EIO && NVME_GET(cpl->status, NVME_CPL_SCT) == NVME_SCT_GENERIC &&
	    NVME_GET(cpl->status, NVME_CPL_SC) == NVME_SC_ABORTED_SQ_DELETION)
		remedy = "it was reset meanwhile, create it again";
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR, "the controller did not create the %s (%s): %s",
	          what, why, remedy);
	return rc;
}

static int nvme__explain_create_reset(struct nvme_ctrlr *ctrlr, uint16_t qid, int line,
                                      const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller was reset while it created queue pair %u: create it again", qid);
	return -EIO;
}

static int nvme__explain_no_qpair(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "all %" PRIu32
	          " I/O queue pairs of the controller are in use: free one, or attach with a larger num_io_queues",
	          ctrlr->num_io_queues);
	return -ENOSPC;
}

static void nvme__explain_buried(struct nvme_qpair *qp, int rc, int line, const char *func)
{
	NVME__SAY(&qp->ctrlr->dev, NVME_LOG_WARNING,
	          "the controller did not let go of queue pair %u (%s): its memory and %" PRIu32
	          " callbacks are kept until nvme_detach()",
	          qp->id, strerror(-rc), nvme_qpair_get_num_outstanding(qp));
}

/* ---- memory ---- */

static void nvme__explain_reserve(struct nvme_ctrlr *ctrlr, size_t size, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "cannot reserve %zu bytes of address space (%s): raise 'ulimit -v' or set a smaller dma_window in the options",
	          size, strerror(errno));
}

static int nvme__explain_no_iova(struct nvme_ctrlr *ctrlr, size_t window, int rc, int line,
                                 const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the IOMMU has no %zu free bytes of addresses in one piece: set a smaller dma_window in the options",
	          window);
	return rc;
}

static int nvme__explain_window_full(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the DMA window of %zu bytes is used up: free buffers or set a larger dma_window in the options",
	          ctrlr->arena.window);
	return -ENOMEM;
}

static int nvme__explain_no_memory(struct nvme_ctrlr *ctrlr, size_t len, int rc, int line,
                                   const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the kernel gives no %zu bytes of memory for DMA (%s): end other programs, or raise 'ulimit -v'",
	          len, strerror(-rc));
	return rc;
}

/* ---- the controller ---- */

static int nvme__explain_gone(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	nvme__trace_mark(ctrlr, NVME_TRACE_REMOVAL, 0, 0, NVME_REMOVAL_GONE);
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the device is gone (its registers read FFFFFFFFh, or all 0): check that it is still there with 'lspci -s %s'",
	          ctrlr->dev.name);
	return -ENODEV;
}

#ifdef __linux__ /* where events come from */
NVME__COLD void nvme__explain_event(struct nvme_ctrlr *ctrlr, bool asked, int line,
                                    const char *func)
{
	nvme__trace_mark(ctrlr, NVME_TRACE_REMOVAL, 0, 0,
	                 asked ? NVME_REMOVAL_REQUESTED : NVME_REMOVAL_FAILED);
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR, "%s",
	          asked ? "the system wants the device back (it is to be removed, or bound to another driver): detach it with nvme_detach(), which is what the kernel waits for; I/O is refused until then"
	                : "the bus of the device has reported an error, so it counts as failed: detach it with nvme_detach(); 'dmesg' may know more");
}
#endif

static int nvme__explain_no_version(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller has no version (VS reads FFFFFFFFh): reset the device with 'echo 1 > /sys/bus/pci/devices/%s/reset' or switch its power off and on",
	          ctrlr->dev.name);
	return -EIO;
}

static int nvme__explain_page_size(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller's smallest memory page is %u KiB (CAP.MPSMIN): this driver goes up to %u KiB; use another controller",
	          4u << NVME_GET(ctrlr->cap, NVME_CAP_MPSMIN), NVME__MAX_PAGE_SIZE >> 10);
	return -ENOTSUP;
}

static int nvme__explain_cap(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "CAP = %016" PRIx64
	          "h makes no sense (CAP.MQES %u, CAP.DSTRD %u, BAR0 of %zu bytes): power-cycle the device",
	          ctrlr->cap, NVME_GET(ctrlr->cap, NVME_CAP_MQES),
	          NVME_GET(ctrlr->cap, NVME_CAP_DSTRD), ctrlr->dev.bar0_size);
	return -ENOTSUP;
}

static int nvme__explain_no_wrr(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller has no weighted round robin (CAP.AMS): leave arb_mechanism 0");
	return -ENOTSUP;
}

static int nvme__explain_ready(struct nvme_ctrlr *ctrlr, int rc, int line, const char *func)
{
	const char *state = nvme__ctrlr_state_name(ctrlr->state);
	uint32_t csts;

	(void)nvme__ctrlr_check_csts(ctrlr, &csts);
	if (rc == -ETIMEDOUT)
		NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
		          "Initialization timed out in state %d (%s): CSTS is %08" PRIx32
		          "h after %" PRIu32
		          " ms (CAP.TO, CRTO); reset the device with 'echo 1 > /sys/bus/pci/devices/%s/reset' or switch its power off and on",
		          (int)ctrlr->state, state, csts, ctrlr->ready_timeout, ctrlr->dev.name);
	else if (rc == -EIO)
		NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
		          "the controller reports a fatal error (CSTS.CFS, CSTS is %08" PRIx32
		          "h) in state %d (%s): reset the device with 'echo 1 > /sys/bus/pci/devices/%s/reset' or switch its power off and on",
		          csts, (int)ctrlr->state, state, ctrlr->dev.name);
	return rc;
}

static int nvme__explain_shutdown(struct nvme_ctrlr *ctrlr, uint64_t timeout, int line,
                                  const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller did not finish its shutdown within %" PRIu64
	          " ms: it is disabled anyway; check its health before you trust it",
	          timeout);
	return -ETIMEDOUT;
}

static int nvme__explain_no_identify(struct nvme_ctrlr *ctrlr, int rc, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller does not identify itself (%s): power-cycle the device",
	          strerror(-rc));
	return rc;
}

static int nvme__explain_entry_size(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_ERROR,
	          "the controller wants larger queue entries (SQES %02xh, CQES %02xh) than 64 and 16 bytes: use another controller",
	          ctrlr->data.sqes, ctrlr->data.cqes);
	return -ENOTSUP;
}

static int nvme__warn_no_io_queues(struct nvme_ctrlr *ctrlr, int line, const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_WARNING,
	          "the controller grants no I/O queues: only admin commands will work");
	return 0;
}

/* n: what is kept of the list. */
static int nvme__warn_ns_list(struct nvme_ctrlr *ctrlr, uint32_t n, uint32_t nsid, int line,
                              const char *func)
{
	NVME__SAY(&ctrlr->dev, NVME_LOG_WARNING,
	          "the list of active namespaces is cut after %" PRIu32 " entries: NSID %" PRIu32
	          " %s",
	          n, nsid,
	          n == NVME__MAX_NS ? "is one too many for this driver"
	                            : "is out of order or larger than NN");
	return (int)n;
}

static int nvme__warn_ns_format(const struct nvme_ns *ns, int line, const char *func)
{
	const struct nvme_id_ns *data = &ns->data;

	NVME__SAY(&ns->ctrlr->dev, NVME_LOG_WARNING,
	          "namespace %" PRIu32
	          " is left out: its format (FLBAS %02xh, NLBAF %u, NULBAF %u, LBADS %u) cannot be used",
	          ns->id, data->flbas, data->nlbaf, data->nulbaf,
	          data->lbaf[NVME_FLBAS_INDEX(data->flbas) & 63].lbads);
	return -ENOENT;
}

#ifndef NVME_NO_VFIO

/* ---- getting at a device ---- */

static int nvme__explain_no_group(struct nvme_dev *dev, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "the device is in no IOMMU group: switch on VT-d or AMD-Vi in the firmware and boot Linux with intel_iommu=on (Intel; AMD needs no option)");
	return -ENODEV;
}

/* Raising the soft limit takes no privilege, unless the hard limit is in the way. */
static int nvme__explain_files(struct nvme_dev *dev, int line, const char *func)
{
	struct rlimit limit;
	unsigned long now, enough;
	bool hard;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		limit.rlim_cur = limit.rlim_max = 0;
	now = (unsigned long)limit.rlim_cur;
	enough = now + 64; /* attaching takes a handful */
	hard = enough > limit.rlim_max;
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "all %lu files that this process may have open are in use: close some of them, or run '%s%lu%s' in the shell that starts the program",
	          now, hard ? "sudo prlimit --nofile=" : "ulimit -S -n ", enough,
	          hard ? " --pid $$" : "");
	return -EMFILE;
}

static int nvme__explain_driver(struct nvme_dev *dev, const char *driver, int line,
                                const char *func)
{
	if (driver[0] == '\0') {
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "no driver is bound to the device: run 'tools/nvme-bind bind %s' as root",
		          dev->name);
		return -ENODEV;
	}
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "the device is still bound to the kernel's %s driver: unmount what is on it, then run 'tools/nvme-bind bind %s' as root",
	          driver, dev->name);
	return -EBUSY;
}

static int nvme__explain_address(struct nvme_dev *dev, const char *addr, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "'%.64s' is not a PCI address: write it like 0000:01:00.0 (list the NVMe controllers with 'tools/nvme-bind status')",
	          addr);
	return -EINVAL;
}

static int nvme__explain_no_device(struct nvme_dev *dev, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "there is no PCI device at this address: list the NVMe controllers with 'tools/nvme-bind status'");
	return -ENODEV;
}

static int nvme__explain_class(struct nvme_dev *dev, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "the device is not an NVMe controller (its class is %06" PRIx32
	          "h, not 010802h): list the NVMe controllers with 'tools/nvme-bind status'",
	          dev->class_code);
	return -ENOTSUP;
}

static int nvme__explain_container(struct nvme_dev *dev, int rc, int line, const char *func)
{
	if (rc == -EMFILE)
		return nvme__explain_files(dev, line, func);
	NVME__SAY(dev, NVME_LOG_ERROR, "cannot open /dev/vfio/vfio (%s): run '%s' as root",
	          strerror(-rc),
	          rc == -EACCES ? "chmod 0666 /dev/vfio/vfio" : "modprobe vfio vfio_pci");
	return rc;
}

static int nvme__explain_vfio_version(struct nvme_dev *dev, int version, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "the kernel speaks another version of the VFIO interface: use a kernel that offers version %d",
	          version);
	return -ENOTSUP;
}

static int nvme__explain_no_type1(struct nvme_dev *dev, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "VFIO has no type1 IOMMU backend: run 'modprobe vfio_iommu_type1' as root");
	return -ENOTSUP;
}

/* The process that has path open, "" when /proc does not tell. */
static void nvme__find_opener(const char *path, char *out, size_t size)
{
	char dir[64], fd[384], target[128], comm[64];
	struct dirent *p, *f;
	DIR *proc, *fds;
	FILE *file;
	ssize_t n;

	out[0] = '\0';
	proc = opendir("/proc");
	while (proc != NULL && out[0] == '\0' && (p = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)p->d_name[0]))
			continue;
		snprintf(dir, sizeof(dir), "/proc/%.16s/fd", p->d_name);
		fds = opendir(dir);
		while (fds != NULL && out[0] == '\0' && (f = readdir(fds)) != NULL) {
			snprintf(fd, sizeof(fd), "%s/%s", dir, f->d_name);
			n = readlink(fd, target, sizeof(target) - 1);
			if (n <= 0 || (size_t)n != strlen(path) ||
			    memcmp(target, path, (size_t)n) != 0)
				continue;
			comm[0] = '\0';
			snprintf(fd, sizeof(fd), "/proc/%.16s/comm", p->d_name);
			file = fopen(fd, "r");
			if (file != NULL) {
				if (fscanf(file, "%63[^\n]", comm) != 1)
					comm[0] = '\0';
				fclose(file);
			}
			snprintf(out, size, "process %.16s (%s)", p->d_name, comm);
		}
		if (fds != NULL)
			closedir(fds);
	}
	if (proc != NULL)
		closedir(proc);
}

static int nvme__explain_group(struct nvme_dev *dev, int group_id, const char *path, int rc,
                               int line, const char *func)
{
	char opener[128];

	switch (rc) {
	case -EACCES:
	case -EPERM:
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "no permission to open %s: run as root, or run 'chown %u %s' as root",
		          path, (unsigned int)getuid(), path);
		break;
	case -EBUSY:
		nvme__find_opener(path, opener, sizeof(opener));
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "IOMMU group %d is in use by %s: end that program first ('fuser -v %s' as root names it)",
		          group_id, opener[0] != '\0' ? opener : "another process", path);
		break;
	case -EMFILE:
		return nvme__explain_files(dev, line, func);
	default:
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "cannot open %s (%s): run 'tools/nvme-bind reset %s' and then 'tools/nvme-bind bind %s' as root",
		          path, strerror(-rc), dev->name, dev->name);
		break;
	}
	return rc;
}

/*
 * Names the devices that keep a group from being ours: all but those of VFIO, bridges and idle
 * ones.
 */
static void nvme__vfio_list_group(int group_id, char *out, size_t size)
{
	char path[64], driver[32];
	struct dirent *d;
	size_t n = 0;
	DIR *dir;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", group_id);
	dir = opendir(path);
	while (dir != NULL && (d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		nvme__pci_link(d->d_name, "driver", driver, sizeof(driver));
		if (driver[0] == '\0' || strcmp(driver, "vfio-pci") == 0 ||
		    strcmp(driver, "pci-stub") == 0 || strcmp(driver, "pcieport") == 0)
			continue;
		if (n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%.20s (%s)", n > 0 ? ", " : "",
			                      d->d_name, driver);
	}
	if (dir != NULL)
		closedir(dir);
}

static int nvme__explain_not_viable(struct nvme_dev *dev, int group_id, int line, const char *func)
{
	char others[256];

	nvme__vfio_list_group(group_id, others, sizeof(others));
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "IOMMU group %d is not viable because of %s: bind every device of the group to vfio-pci ('tools/nvme-bind bind ADDRESS' for NVMe), or move the disk to another slot",
	          group_id, others[0] != '\0' ? others : "another device's driver");
	return -EBUSY;
}

static int nvme__explain_iommu(struct nvme_dev *dev, int rc, int line, const char *func)
{
	if (rc == -EPERM)
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "the IOMMU cannot remap interrupts: switch on interrupt remapping (x2APIC) in the firmware, or accept the risk with 'echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts'");
	else
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "the type1 IOMMU backend does not take the group (%s): run 'modprobe vfio_iommu_type1' as root",
		          strerror(-rc));
	return rc;
}

static int nvme__explain_device(struct nvme_dev *dev, int rc, int line, const char *func)
{
	if (rc == -EMFILE)
		return nvme__explain_files(dev, line, func);
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "VFIO does not hand out the device (%s): run 'tools/nvme-bind reset %s' and then 'tools/nvme-bind bind %s' as root",
	          strerror(-rc), dev->name, dev->name);
	return rc;
}

static int nvme__explain_region(struct nvme_dev *dev, uint32_t index, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "VFIO does not describe region %" PRIu32 " of the device (%s): update the kernel",
	          index, strerror(errno));
	return -EIO;
}

static int nvme__explain_bar0_size(struct nvme_dev *dev, uint64_t size, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "BAR0 is %" PRIu64
	          " bytes, which cannot hold NVMe registers: rescan the device with 'echo 1 > /sys/bus/pci/devices/%s/remove; echo 1 > /sys/bus/pci/rescan'",
	          size, dev->name);
	return -ENODEV;
}

/* error: of mmap(), or 0 where VFIO does not let it be mapped. It works all the same. */
static int nvme__warn_bar0_unmapped(struct nvme_dev *dev, int error, int line, const char *func)
{
	if (error != 0)
		NVME__SAY(dev, NVME_LOG_WARNING,
		          "cannot map BAR0 (%s): registers go through pread() and pwrite(), slowly",
		          strerror(error));
	else
		NVME__SAY(dev, NVME_LOG_WARNING,
		          "BAR0 of %zu bytes cannot be mapped with pages of %zu bytes%s: every doorbell is a system call; use a kernel with smaller pages for speed",
		          dev->bar0_size, NVME__HOST_PAGE_SIZE,
		          dev->bar0_size < NVME__HOST_PAGE_SIZE
		                  ? ", since something else may be on its page"
		                  : ", says VFIO");
	return 0;
}

static int nvme__explain_config(struct nvme_dev *dev, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "the device's PCI configuration space does not answer (%s): check that it is still there with 'lspci -s %s'",
	          strerror(errno), dev->name);
	return -ENODEV;
}

static void nvme__explain_write(struct nvme_dev *dev, uint32_t offset, int line, const char *func)
{
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "cannot write register %" PRIx32
	          "h (%s): check that the device is still there with 'lspci -s %s'",
	          offset, strerror(errno), dev->name);
}

/* KiB of this process that count against its limit of locked memory. */
static unsigned long nvme__locked_kib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *file;

	file = fopen("/proc/self/status", "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "VmLck: %lu", &kib) == 1)
			break;
	}
	if (file != NULL)
		fclose(file);
	return kib;
}

/*
 * False if the limit is not what keeps len bytes from being mapped. The limit that is asked for
 * holds all that nvme_dma_alloc() can come to need, so that nobody has to raise it step by step.
 */
static bool nvme__explain_memlock(struct nvme_dev *dev, size_t len, int line, const char *func)
{
	unsigned long locked_kib = nvme__locked_kib(), enough_kib;
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
	    ((uint64_t)locked_kib << 10) + len <= limit.rlim_cur)
		return false;
	enough_kib = locked_kib + (unsigned long)((len + dev->dma_window) >> 10);
	NVME__SAY(dev, NVME_LOG_ERROR,
	          "cannot lock %zu KiB of memory for DMA, for the limit is %lu KiB and %lu KiB are locked already: run 'sudo prlimit --memlock=%" PRIu64
	          " --pid $$' in the shell that starts the program, which is enough for the whole dma_window, or put the line '* - memlock %lu' into /etc/security/limits.conf and log in again",
	          len >> 10, (unsigned long)(limit.rlim_cur >> 10), locked_kib,
	          (uint64_t)enough_kib << 10, enough_kib);
	return true;
}

static int nvme__explain_dma_map(struct nvme_dev *dev, const void *vaddr, size_t len, int rc,
                                 int line, const char *func)
{
	if (rc != -ENOMEM || !nvme__explain_memlock(dev, len, line, func))
		NVME__SAY(dev, NVME_LOG_ERROR,
		          "cannot map %zu bytes at %p for DMA (%s): only ordinary memory of this process, in whole pages and mapped once, can be used",
		          len, vaddr, strerror(-rc));
	return rc;
}

#endif /* NVME_NO_VFIO */

/* ============================================================================================
 * >>strerror
 *
 * One text for any outcome. strerror() is not used: it may write to memory of its own.
 * ============================================================================================ */

static const struct nvme__errno {
	int rc;
	const char *text;
} nvme__errnos[] = {
	{-EINVAL, "an argument is wrong"},
	{-ERANGE, "past the end of the namespace"},
	{-EMSGSIZE, "more than one command can carry"},
	{-EFAULT, "the buffer is not DMA memory, not aligned or too small"},
	{-ENOTSUP, "the controller or this driver cannot do that"},
	{-EBUSY, "in use, being changed, or called from a callback"},
	{-ENOENT, "it is not there any more"},
	{-EAGAIN, "the queue is full"},
	{-ENXIO, "the queue has failed"},
	{-EIO, "input/output error"},
	{-ENODEV, "there is no such device, or it is gone"},
	{-ESHUTDOWN, "the queue or the controller is being closed"},
	{-ETIMEDOUT, "it was not complete in time"},
	{-ENOMEM, "no memory"},
	{-ENOSPC, "no room"},
	{-EACCES, "no permission"},
	{-EPERM, "the kernel does not allow it"},
	{-EMFILE, "too many open files"},
	{-EEXIST, "it is there already"},
};

static const char *nvme__errno_text(int rc)
{
	size_t i;

	for (i = 0; i < sizeof(nvme__errnos) / sizeof(*nvme__errnos); i++) {
		if (nvme__errnos[i].rc == rc)
			return nvme__errnos[i].text;
	}
	return rc < 0 ? "error" : "success";
}

/* A completion counts where it is the reason: one with an error, and not the driver's own. */
NVMEDEF const char *nvme_strerror(char *buf, size_t size, int rc, const struct nvme_cpl *cpl)
{
	bool refused = cpl != NULL && nvme_cpl_is_error(cpl) && cpl->cid != NVME_CID_NONE &&
	               (rc == -EIO || rc >= 0);

	if (refused) {
		uint8_t sct = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT);
		uint8_t sc = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC);

		snprintf(buf, size, "%s (%02x/%02x)%s", nvme_status_full_name(sct, sc, 0), sct, sc,
		         NVME_GET(cpl->status, NVME_CPL_DNR) != 0 ? ", do not retry" : "");
	} else if (rc >= 0) {
		snprintf(buf, size, "%s", nvme__errno_text(rc));
	} else {
		snprintf(buf, size, "%s (%d)", nvme__errno_text(rc), rc);
	}
	return buf;
}

/* ============================================================================================
 * >>platform
 *
 * The host's memory: addresses that are reserved, and memory that comes to them.
 * ============================================================================================ */

#ifndef __wasm__

/*
 * Whole pages of addresses without memory behind them. It comes, zeroed, when one of them is
 * touched: usable ones can be at once, others after nvme__back(). NULL: there are not so many.
 */
static void *nvme__reserve(size_t size, bool usable)
{
	void *at = mmap(NULL, size, usable ? PROT_READ | PROT_WRITE : PROT_NONE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at != MAP_FAILED ? at : NULL;
}

static void nvme__unreserve(void *at, size_t size)
{
	munmap(at, size);
}

/* Makes whole pages of them usable, or not so again. 0 or a negative errno. */
static int nvme__back(void *at, size_t size, bool usable)
{
	return mprotect(at, size, usable ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 ? 0 : -errno;
}

#else

/*
 * WebAssembly has one memory, all of it usable. What is added to its end is zero, and no memory of
 * the machine before it is touched: only what malloc() had already is cleared.
 */
static void *nvme__reserve(size_t size, bool usable)
{
	const size_t page = 65536;
	uint64_t end = (uint64_t)__builtin_wasm_memory_size(0) * page;
	void *at = NULL;

	(void)usable;
#ifdef _REENTRANT /* between now and then another thread may use and free what is added */
	end = UINT64_MAX;
#endif
	if (size <= SIZE_MAX - page)
		at = aligned_alloc(page, (size + page - 1) / page * page);
	else
		errno = ENOMEM;
	if (at != NULL && (uintptr_t)at < end)
		memset(at, 0, end - (uintptr_t)at < size ? (size_t)(end - (uintptr_t)at) : size);
	return at;
}

static void nvme__unreserve(void *at, size_t size)
{
	(void)size;
	free(at);
}

static int nvme__back(void *at, size_t size, bool usable)
{
	(void)at, (void)size, (void)usable;
	return 0;
}

#endif

#endif /* NVME_TEXT_ONLY */

#ifdef __cplusplus
}
#endif

#endif /* NVME__BOOK3 */

/* ============================================================================================
 * >>licence
 *
 * MIT License
 *
 * Copyright (c) 2026 The nvme.h authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software
 * and associated documentation files (the "Software"), to deal in the Software without
 * restriction, including without limitation the rights to use, copy, modify, merge, publish,
 * distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
 * BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 * ============================================================================================ */
