/* SPDX-License-Identifier: MIT
 *
 * The software controller against a hostile driver. Register accesses, doorbells, queues anywhere,
 * commands and data pointers of every kind, fault plans and device texts come from the input. What
 * must hold whatever the driver does:
 *
 *  - nothing hangs: loops in PRP lists and SGLs come to an end,
 *  - only memory that is mapped for DMA is touched: all other pages of the pool are PROT_NONE,
 *  - read-only registers and bits keep their values,
 *  - without a fault plan there are no more completions than commands.
 *
 * See fuzz.h for how to run it.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"
#include "fuzz.h"

#define PAGE      4096u
#define POOL      64  /* pages of host memory */
#define MAX_MAPS  12  /* runs of them that are mapped */
#define MAX_QID   4   /* queues that this driver knows of */
#define MAX_TEXT  400 /* of a plan or a device */
#define MAX_STEPS 200 /* of one input */

static struct {
	uint64_t opened, refused, commands, completed, plans;
} total;

/* Host memory. A page can be touched only while it is mapped for DMA. */
static uint8_t *pool;

struct run {
	uint64_t iova;
	uint32_t first, pages;
};

struct ring {
	uint64_t base;
	uint32_t entries, index;
	uint16_t phase;
};

struct host {
	struct fuzz *in;
	struct nvme_dev dev;
	struct nvme_log log;
	struct run run[MAX_MAPS];
	uint32_t num_runs;
	bool used[POOL];
	struct ring sq[MAX_QID], cq[MAX_QID];
	uint32_t dstrd;
	uint64_t cap;
	uint32_t vs;
	uint16_t cid;
	bool planned; /* there is, or was, a fault plan */
};

static void host_log(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	fuzz_check(level >= NVME_LOG_ERROR && level <= NVME_LOG_DEBUG, "log level %d", level);
	fuzz_check(strlen(line) < NVME__LOG_LINE_MAX, "a log line of %zu characters", strlen(line));
}

/* ---- texts ---- */

static const char *const plan_words[] = {
	"on",         "cmd",       "admin",       "any",          "read",     "write",
	"flush",      "identify",  "opc",         "0x7f",         "#3",       "#1",
	"lba",        "100..200",  "0..10",       "qid",          "1",        "nsid",
	"2",          "status",    "2/81",        "0/4",          "dnr",      "more",
	"crd",        "dw0",       "delay",       "50ms",         "0us..9us", "1s",
	"drop",       "duplicate", "cid",         "4095",         "sqid",     "9",
	"sqhd",       "65535",     "phase-stuck", "stray",        "flood",    "cfs",
	"gone",       "times",     "ready",       "never",        "after",    "300ms",
	"shutdown",   "at",        "enable",      "once",         "attach",   "start",
	"en=1",       "rdy=1",     "map",         "fail",         "aer",      "smart",
	"error",      "namespace", "firmware",    "mdts=2",       "nn=4",     "nsze=1",
	"lbads=9",    "strings",   "nslist",      "3,2,2",        "vs=1.0.0", "torn",
	"dma",        ";",         "\n",          "nn=",          "identify", "nlbaf=5",
	"0xffffffff", "cqes=255",  "oncs=0",      "write-zeroes", "flbas=3",  "dps=1",
	"remove",     "bus-error", "back",        "20us",
};

/* Statements that are right, so that the controller meets the faults too. */
static const char *const plans[] = {
	"on cmd #2 status 2/81 dnr",
	"on read delay 5ms; on write drop times 1",
	"on any #4 duplicate",
	"on cmd drop",
	"on any delay 20ms",
	"on cmd #5 status 0/7 dnr more crd 2; on admin dw0 5",
	"on opc 0x7f qid 1 nsid 1 delay 3us",
	"identify strings",
	"on cmd cid 77",
	"on any #3 phase-stuck",
	"on cmd stray",
	"on admin #3 flood",
	"on any #9 cfs",
	"on any #9 gone",
	"cfs at enable once",
	"ready never",
	"shutdown after 2s",
	"start en=1 rdy=1",
	"aer smart after cmd #1; aer error",
	"identify nn=4294967295; nslist 3,2,2; identify strings",
	"identify nsze=18446744073709551615; identify lbads=30; identify mdts=255",
	"on cmd delay 0us..90us",
	"on any lba 0..10 status 0/4; on write lba 5 drop",
	"map fail #2",
	"gone at attach",
	"remove at attach; bus-error after 90us",
	"on any #7 gone; back after 20us",
	"on cmd #2 remove; on any #20 bus-error",
};

static const char *const device_words[] = {
	"size=1M",   "size=2M",    "lbs=4096", "lbs=512",     "lbs=65536",   "ns=2",
	"ns=64",     "mdts=5",     "mdts=0",   "mqes=63",     "mqes=1",      "queues=4",
	"queues=1",  "queues=128", "dstrd=0",  "dstrd=3",     "dstrd=15",    "to=1",
	"mpsmin=4",  "mpsmax=4",   "css=0x80", "iova=39",     "iova=30",     "iova=62",
	"seed=7",    "size=",      "lbs=0",    "mode=sync",   "size=99999T", "mode=thread",
	"plan=torn", "mpsmin=15",  "crwmt=1",  "crwmt=65535", "zns=64",      "zns=0",
	"zcap=48",   "mor=2",      "mar=3",    "zasl=1",      "zdes=64",
};

/* Words from a list, or noise, in exactly as much memory as the text needs. Free it. */
static char *make_text(struct fuzz *in, const char *head, const char *const *words, uint32_t n,
                       char between)
{
	char text[MAX_TEXT + 128];
	uint32_t count = n != 0 ? fuzz_below(in, 10) : 0;
	size_t len = strlen(head);
	char *copy;

	memcpy(text, head, len);
	while (count-- > 0 && len < MAX_TEXT) {
		len += (size_t)snprintf(text + len, 100, "%.99s", words[fuzz_below(in, n)]);
		if (count > 0)
			text[len++] = fuzz_chance(in, 4) ? ' ' : between;
	}
	if (fuzz_chance(in, 96) && len > 0)
		fuzz_mutate(in, text, len);
	text[len] = '\0';
	copy = (char *)malloc(strlen(text) + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, text, strlen(text) + 1);
	return copy;
}

static char *make_plan(struct fuzz *in)
{
	const uint32_t n = sizeof(plans) / sizeof(plans[0]);
	const uint32_t words = sizeof(plan_words) / sizeof(plan_words[0]);

	if (fuzz_chance(in, 160))
		return make_text(in, plans[fuzz_below(in, n)], plans, fuzz_chance(in, 128) ? n : 0,
		                 ';');
	return make_text(in, "", plan_words, words, ' ');
}

static char *make_device(struct fuzz *in)
{
	return make_text(in, fuzz_chance(in, 250) ? "soft:" : "", device_words,
	                 sizeof(device_words) / sizeof(device_words[0]), ',');
}

/* The answer of the parser comes with a sentence. */
static void check_text(const char *device)
{
	char why[512] = "";
	int rc = nvme_soft_check(device, why, sizeof(why));

	fuzz_run.steps++;
	fuzz_check(rc == 0 || (rc == -EINVAL && why[0] != '\0'),
	           "the check of a text returns %d, '%s'", rc, why);
	(void)nvme_soft_check(device, why, fuzz_run.steps % 7);
	(void)nvme_soft_check(device, NULL, 0);
}

/* ---- memory ---- */

/* What the host sees at an address of the device's, if len bytes are mapped there in one run. */
static uint8_t *host_at(const struct host *h, uint64_t iova, size_t len)
{
	uint32_t i;

	for (i = 0; i < h->num_runs; i++) {
		uint64_t offset = iova - h->run[i].iova, size = (uint64_t)h->run[i].pages * PAGE;

		if (offset < size && len <= size - offset)
			return pool + (size_t)h->run[i].first * PAGE + offset;
	}
	return NULL;
}

static void protect(const struct run *run, int prot)
{
	if (mprotect(pool + (size_t)run->first * PAGE, (size_t)run->pages * PAGE, prot) != 0)
		abort();
}

/* Maps some pages that are not in use, at a fresh address or right behind another run. */
static void map_pages(struct host *h)
{
	struct run *run = &h->run[h->num_runs];
	uint32_t i;

	fuzz_run.steps++;
	if (h->num_runs == MAX_MAPS)
		return;
	run->first = fuzz_below(h->in, POOL);
	run->pages = 1 + fuzz_below(h->in, 8);
	for (i = 0; i < run->pages; i++) {
		if (run->first + i >= POOL || h->used[run->first + i])
			break;
	}
	run->pages = i;
	run->iova = (uint64_t)PAGE * 16 * (1 + fuzz_below(h->in, 64));
	if (h->num_runs > 0 && fuzz_chance(h->in, 96)) {
		const struct run *other = &h->run[fuzz_below(h->in, h->num_runs)];

		run->iova = other->iova + (uint64_t)other->pages * PAGE;
	} else if (fuzz_chance(h->in, 8)) {
		run->iova = fuzz_odd(h->in) & ~(uint64_t)(PAGE - 1);
	}
	if (run->pages == 0)
		return;
	if (h->dev.ops->dma_map(&h->dev, pool + (size_t)run->first * PAGE,
	                        (size_t)run->pages * PAGE, run->iova) != 0)
		return;
	protect(run, PROT_READ | PROT_WRITE);
	memset(&h->used[run->first], 1, run->pages);
	h->num_runs++;
}

static void unmap_pages(struct host *h, uint32_t i)
{
	struct run run = h->run[i];
	int rc;

	fuzz_run.steps++;
	rc = h->dev.ops->dma_unmap(&h->dev, run.iova, (size_t)run.pages * PAGE);
	fuzz_check(rc == 0, "dma_unmap() of what was mapped returns %d", rc);
	protect(&run, PROT_NONE);
	memset(&h->used[run.first], 0, run.pages);
	h->run[i] = h->run[--h->num_runs];
}

/* An address for the device: mostly inside mapped memory, sometimes at its edge or anywhere. */
static uint64_t pick_iova(struct host *h, uint64_t align)
{
	const struct run *run = &h->run[fuzz_below(h->in, h->num_runs)];
	uint64_t iova;

	if (h->num_runs == 0 || fuzz_chance(h->in, 6))
		return fuzz_odd(h->in);
	iova = run->iova + fuzz_below(h->in, run->pages * PAGE);
	if (fuzz_chance(h->in, 8))
		iova = run->iova + (uint64_t)run->pages * PAGE - fuzz_below(h->in, 64);
	return fuzz_chance(h->in, 4) ? iova : iova & ~(align - 1);
}

/* ---- data pointers ---- */

/* Fills the memory at iova with addresses of pages: of data, of lists, of this list. */
static void fill_prp_list(struct host *h, uint64_t iova)
{
	uint32_t n = 1 + fuzz_below(h->in, 16), i;
	uint64_t *list, page = pick_iova(h, PAGE);
	size_t slots = (PAGE - (iova & (PAGE - 1))) / 8;

	list = (uint64_t *)(void *)host_at(h, iova, slots * 8);
	if (list == NULL || (iova & 7) != 0)
		return;
	for (i = 0; i < slots; i++) /* the same page over and over, and the last is a link */
		list[i] = page;
	for (i = 0; i < n; i++)
		list[fuzz_below(h->in, (uint32_t)slots)] = pick_iova(h, PAGE);
	if (fuzz_chance(h->in, 128))
		list[slots - 1] = iova & ~(uint64_t)(PAGE - 1);
}

static void make_sgl_desc(struct host *h, struct nvme_sgl_desc *d, uint64_t self, uint32_t len)
{
	static const uint8_t types[] = {0x00, 0x00, 0x00, 0x10, 0x20, 0x20, 0x30, 0x30, 0x40, 0x01};

	memset(d, 0, sizeof(*d));
	d->id = fuzz_chance(h->in, 4) ? fuzz_u8(h->in) : types[fuzz_below(h->in, sizeof(types))];
	d->addr = fuzz_chance(h->in, 64) ? self : pick_iova(h, 16);
	d->len = fuzz_chance(h->in, 128) ? len : 16 * fuzz_below(h->in, 300);
	if (fuzz_chance(h->in, 16))
		d->len = (uint32_t)fuzz_odd(h->in);
}

static void fill_sgl(struct host *h, uint64_t iova)
{
	uint32_t n = 1 + fuzz_below(h->in, 256), i, len = 512u * fuzz_below(h->in, 4);
	struct nvme_sgl_desc *list, one;

	list = (struct nvme_sgl_desc *)(void *)host_at(h, iova, n * sizeof(*list));
	if (list == NULL || (iova & 7) != 0)
		return;
	make_sgl_desc(h, &one, iova, len);
	for (i = 0; i < n; i++)
		list[i] = one;
	for (i = 0; i < n && i < 8; i++)
		make_sgl_desc(h, &list[fuzz_below(h->in, n)], iova, len);
	if (fuzz_chance(h->in, 128)) /* the end: go on with this segment, or the next one */
		make_sgl_desc(h, &list[n - 1], iova, n * 16);
}

static void make_dptr(struct host *h, struct nvme_cmd *cmd)
{
	uint64_t list = pick_iova(h, fuzz_chance(h->in, 128) ? PAGE : 8);

	if (fuzz_chance(h->in, 64)) {
		cmd->flags |= (uint8_t)NVME_SET(1, NVME_CMD_PSDT);
		fill_sgl(h, list);
		make_sgl_desc(h, &cmd->dptr.sgl, list, 512);
		if (fuzz_chance(h->in, 128)) {
			cmd->dptr.sgl.addr = list;
			cmd->dptr.sgl.len = 16 * (1 + fuzz_below(h->in, 256));
		}
		return;
	}
	cmd->dptr.prp.prp1 = pick_iova(h, fuzz_chance(h->in, 128) ? PAGE : 4);
	cmd->dptr.prp.prp2 = list;
	if (fuzz_chance(h->in, 128))
		fill_prp_list(h, list);
}

/* ---- commands ---- */

static uint32_t doorbell(const struct host *h, uint32_t qid, bool cq)
{
	return NVME_REG_DOORBELLS + (2 * qid + cq) * (4u << h->dstrd);
}

static void write_reg(struct host *h, uint32_t offset, uint32_t value)
{
	fuzz_run.steps++;
	h->dev.ops->write_4(&h->dev, offset, value);
}

static uint32_t read_reg(struct host *h, uint32_t offset)
{
	fuzz_run.steps++;
	return h->dev.ops->read_4(&h->dev, offset);
}

/* Puts a command into the ring and rings the doorbell. */
static void submit(struct host *h, uint32_t qid, struct nvme_cmd *cmd)
{
	struct ring *sq = &h->sq[qid];
	uint8_t *slot = host_at(h, sq->base + sq->index * sizeof(*cmd), sizeof(*cmd));

	if (sq->entries == 0 || slot == NULL)
		return;
	cmd->cid = h->cid++;
	memcpy(slot, cmd, sizeof(*cmd));
	sq->index = (sq->index + 1) % sq->entries;
	total.commands++;
	write_reg(h, doorbell(h, qid, false), sq->index);
}

/* Takes what is in a completion queue, as a driver would. */
static void reap(struct host *h, uint32_t qid)
{
	struct ring *cq = &h->cq[qid];
	uint32_t n = 0;

	for (; n < cq->entries; n++) {
		struct nvme_cpl cpl;
		const uint8_t *slot = host_at(h, cq->base + cq->index * sizeof(cpl), sizeof(cpl));

		if (slot == NULL)
			return;
		memcpy(&cpl, slot, sizeof(cpl));
		if (NVME_GET(cpl.status, NVME_CPL_P) != cq->phase)
			break;
		if (++cq->index == cq->entries) {
			cq->index = 0;
			cq->phase ^= 1;
		}
	}
	total.completed += n;
	if (n != 0)
		write_reg(h, doorbell(h, qid, true), cq->index);
}

static void fill_admin_command(struct host *h, struct nvme_cmd *cmd)
{
	static const uint8_t cns[] = {0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x1c, 0xff};
	uint32_t qid = fuzz_below(h->in, MAX_QID + 1);

	cmd->opc = nvme_soft__admin_cmds[fuzz_below(h->in, NVME_SOFT__COUNT(nvme_soft__admin_cmds))]
	                   .opc;
	cmd->nsid = fuzz_below(h->in, 4);
	switch (cmd->opc) {
	case NVME_OPC_IDENTIFY:
		cmd->cdw10 = cns[fuzz_below(h->in, sizeof(cns))];
		break;
	case NVME_OPC_GET_LOG_PAGE:
		cmd->cdw10 = fuzz_below(h->in, 8) | fuzz_below(h->in, 1100) << 16;
		break;
	case NVME_OPC_ABORT: /* one of the last commands */
		cmd->cdw10 = qid | (uint32_t)(uint16_t)(h->cid - fuzz_below(h->in, 48)) << 16;
		break;
	case NVME_OPC_DELETE_IO_SQ:
	case NVME_OPC_DELETE_IO_CQ:
		cmd->cdw10 = qid;
		break;
	case NVME_OPC_SET_FEATURES:
	case NVME_OPC_GET_FEATURES:
		cmd->cdw10 = fuzz_below(h->in, 0x20) | fuzz_below(h->in, 8) << 8;
		break;
	default:
		cmd->cdw10 = fuzz_u8(h->in);
	}
	cmd->cdw11 = fuzz_chance(h->in, 64) ? (uint32_t)fuzz_odd(h->in) : fuzz_u8(h->in);
}

static void step_admin_command(struct host *h)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	fill_admin_command(h, &cmd);
	make_dptr(h, &cmd);
	if (!fuzz_chance(h->in, 8))
		cmd.flags = 0;
	if (fuzz_chance(h->in, 32))
		fuzz_mutate(h->in, &cmd, sizeof(cmd));
	submit(h, 0, &cmd);
}

static void step_io_command(struct host *h)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = nvme_soft__nvm_cmds[fuzz_below(h->in, NVME_SOFT__COUNT(nvme_soft__nvm_cmds))].opc;
	cmd.nsid = 1 + fuzz_below(h->in, 2);
	cmd.cdw10 = fuzz_chance(h->in, 16) ? (uint32_t)fuzz_odd(h->in) : fuzz_below(h->in, 64);
	cmd.cdw12 = fuzz_below(h->in, fuzz_chance(h->in, 32) ? 0x10000 : 64);
	cmd.cdw13 = fuzz_below(h->in, 0x12) | fuzz_below(h->in, 512) << 8; /* of zones */
	if (fuzz_chance(h->in, 32)) /* fused pairs, broken in all ways */
		cmd.flags |= (uint8_t)fuzz_below(h->in, 4);
	make_dptr(h, &cmd);
	if (fuzz_chance(h->in, 48))
		fuzz_mutate(h->in, &cmd, sizeof(cmd));
	submit(h, 1 + fuzz_below(h->in, MAX_QID - 1), &cmd);
}

/* Compare and Write, as one: the second is to follow in the same queue. */
static void step_fused(struct host *h)
{
	uint32_t qid = 1 + fuzz_below(h->in, MAX_QID - 1);
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_COMPARE;
	cmd.nsid = 1;
	cmd.flags = (uint8_t)NVME_SET(NVME_FUSE_FIRST, NVME_CMD_FUSE);
	cmd.cdw10 = fuzz_below(h->in, 16);
	make_dptr(h, &cmd);
	submit(h, qid, &cmd);
	cmd.opc = NVME_OPC_WRITE;
	cmd.flags ^= 3;
	if (fuzz_chance(h->in, 64))
		fuzz_mutate(h->in, &cmd, sizeof(cmd));
	submit(h, qid, &cmd);
}

static void create_queue(struct host *h, uint32_t qid, bool is_cq)
{
	uint32_t entries = 2 + fuzz_below(h->in, fuzz_chance(h->in, 128) ? 40 : 5), cqid = qid;
	struct ring *ring = is_cq ? &h->cq[qid] : &h->sq[qid];
	struct nvme_cmd cmd;

	if (fuzz_chance(h->in, 16))
		cqid = 1 + fuzz_below(h->in, MAX_QID - 1);
	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = is_cq ? NVME_OPC_CREATE_IO_CQ : NVME_OPC_CREATE_IO_SQ;
	cmd.dptr.prp.prp1 = pick_iova(h, PAGE);
	cmd.cdw10 =
		NVME_SET(qid, NVME_CREATE_IO_Q_QID) | NVME_SET(entries - 1, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = 1 | (is_cq ? 0 : NVME_SET(cqid, NVME_CREATE_IO_SQ_CQID));
	if (fuzz_chance(h->in, 8))
		fuzz_mutate(h->in, &cmd, sizeof(cmd));
	if (ring->entries == 0 || fuzz_chance(h->in, 16)) {
		ring->base = cmd.dptr.prp.prp1;
		ring->entries = entries;
		ring->index = 0;
		ring->phase = 1;
	}
	submit(h, 0, &cmd);
	reap(h, 0);
}

static void step_create_queue(struct host *h)
{
	create_queue(h, 1 + fuzz_below(h->in, MAX_QID - 1), fuzz_chance(h->in, 128));
}

/* ---- steps ---- */

/* Admin queues at two addresses, EN = 1, wait for RDY. */
static void step_enable(struct host *h)
{
	uint64_t asq = pick_iova(h, PAGE), acq = pick_iova(h, PAGE);
	uint32_t entries = 2 + fuzz_below(h->in, 30), i, mps = NVME_GET(h->cap, NVME_CAP_MPSMIN);
	uint32_t cc, sizes = NVME_SET(6, NVME_CC_IOSQES) | NVME_SET(4, NVME_CC_IOCQES);
	bool late = fuzz_chance(h->in, 32);

	memset(h->sq, 0, sizeof(h->sq));
	memset(h->cq, 0, sizeof(h->cq));
	write_reg(h, NVME_REG_CC, 0);
	write_reg(h, NVME_REG_AQA, (entries - 1) | (entries - 1) << 16);
	write_reg(h, NVME_REG_ASQ, (uint32_t)asq);
	write_reg(h, NVME_REG_ASQ + 4, (uint32_t)(asq >> 32));
	write_reg(h, NVME_REG_ACQ, (uint32_t)acq);
	write_reg(h, NVME_REG_ACQ + 4, (uint32_t)(acq >> 32));
	if (fuzz_chance(h->in, 16))
		mps = fuzz_below(h->in, 16);
	cc = NVME_SET(mps, NVME_CC_MPS) | NVME_SET(1, NVME_CC_EN);
	if (fuzz_chance(h->in, 128))
		cc |= NVME_SET(NVME_CC_CSS_IOCS, NVME_CC_CSS);
	write_reg(h, NVME_REG_CC, cc | (late ? 0 : sizes));
	for (i = 0; i < 8 && NVME_GET(read_reg(h, NVME_REG_CSTS), NVME_CSTS_RDY) == 0; i++)
		(void)h->dev.ops->now_ns(&h->dev);
	if (late) /* the sizes of entries, right or wrong */
		write_reg(h, NVME_REG_CC, cc | (fuzz_chance(h->in, 64) ? fuzz_u32(h->in) : sizes));
	h->sq[0].base = asq;
	h->cq[0].base = acq;
	h->sq[0].entries = h->cq[0].entries = entries;
	h->cq[0].phase = 1;
	if (fuzz_chance(h->in, 32))
		return;
	for (i = 1; i < MAX_QID; i++) {
		create_queue(h, i, true);
		create_queue(h, i, false);
	}
}

static uint32_t pick_offset(struct host *h)
{
	switch (fuzz_below(h->in, 4)) {
	case 0:
		return 4 * fuzz_below(h->in, 0x20);
	case 1:
		return doorbell(h, fuzz_below(h->in, MAX_QID + 1), fuzz_chance(h->in, 128));
	case 2:
		return NVME_REG_DOORBELLS + fuzz_bytes(h->in, 2);
	default:
		return (uint32_t)fuzz_odd(h->in);
	}
}

/* Any register, any value: what is read only must not care. */
static void step_registers(struct host *h)
{
	uint32_t offset = pick_offset(h), csts, vs;
	uint64_t cap;

	if (fuzz_chance(h->in, 64))
		(void)read_reg(h, offset);
	else
		write_reg(h, offset, (uint32_t)fuzz_odd(h->in));
	cap = read_reg(h, NVME_REG_CAP) | (uint64_t)read_reg(h, NVME_REG_CAP + 4) << 32;
	vs = read_reg(h, NVME_REG_VS);
	csts = read_reg(h, NVME_REG_CSTS);
	if (csts == UINT32_MAX || vs == UINT32_MAX || (uint32_t)cap == UINT32_MAX ||
	    cap >> 32 == UINT32_MAX)
		return; /* gone, as planned, or just back, between two of these even */
	if (h->vs == UINT32_MAX)
		h->vs = vs; /* it was gone when it was asked */
	fuzz_check((csts & ~0x7fu) == 0, "CSTS is %08xh", csts);
	fuzz_check(cap == h->cap, "CAP has changed");
	fuzz_check(vs == h->vs, "VS has changed");
	fuzz_check((read_reg(h, NVME_REG_AQA) & 0xf000f000u) == 0, "AQA has reserved bits");
	fuzz_check(read_reg(h, NVME_REG_NSSR) == 0 && read_reg(h, NVME_REG_CMBSZ) == 0,
	           "a register that is not there has a value");
}

static void step_doorbell(struct host *h)
{
	uint32_t qid = fuzz_below(h->in, MAX_QID);
	bool cq = fuzz_chance(h->in, 128);

	write_reg(h, doorbell(h, qid, cq), fuzz_below(h->in, 44));
}

static void step_scribble(struct host *h)
{
	size_t len = 64;
	uint8_t *at = host_at(h, pick_iova(h, 16), len);

	fuzz_run.steps++;
	if (at != NULL)
		fuzz_mutate(h->in, at, len);
}

static void step_plan(struct host *h)
{
	char *text = make_plan(h->in);

	fuzz_run.steps++;
	total.plans += nvme_soft_set_plan(&h->dev, text) == 0;
	h->planned = true;
	free(text);
	h->vs = read_reg(h, NVME_REG_VS); /* vs=: a plan may change it */
}

static void step_queries(struct host *h)
{
	struct nvme_soft_cmd list[NVME_SOFT_LAST_CMDS];
	struct nvme_soft_stats stats;
	size_t size;

	fuzz_run.steps++;
	nvme_soft_get_stats(&h->dev, &stats);
	fuzz_check(h->planned || stats.completions <= stats.admin_cmds + stats.io_cmds,
	           "%" PRIu64 " completions of %" PRIu64 " commands", stats.completions,
	           stats.admin_cmds + stats.io_cmds);
	(void)nvme_soft_get_doorbells(&h->dev, (uint16_t)fuzz_odd(h->in), fuzz_chance(h->in, 128));
	(void)nvme_soft_get_ns_memory(&h->dev, (uint32_t)fuzz_odd(h->in), &size);
	(void)nvme_soft_get_last_cmds(&h->dev, list, fuzz_below(h->in, NVME_SOFT_LAST_CMDS + 1));
	if (fuzz_chance(h->in, 64))
		nvme_soft_inject_aer(&h->dev, fuzz_u8(h->in), fuzz_u8(h->in), fuzz_u8(h->in));
}

static void step_memory(struct host *h)
{
	if (h->num_runs > 3 && fuzz_chance(h->in, 128))
		unmap_pages(h, fuzz_below(h->in, h->num_runs));
	else
		map_pages(h);
}

static void step_time(struct host *h)
{
	uint32_t n = 1 + fuzz_below(h->in, 8), qid;

	for (; n > 0; n--) {
		fuzz_run.steps++;
		(void)h->dev.ops->now_ns(&h->dev);
	}
	for (qid = 0; qid < MAX_QID; qid++) {
		if (fuzz_chance(h->in, 128)) /* a full completion queue must be waited for */
			reap(h, qid);
	}
}

static void step_reset(struct host *h)
{
	fuzz_run.steps++;
	if (fuzz_chance(h->in, 64))
		(void)h->dev.ops->reset(&h->dev);
	else
		write_reg(h, NVME_REG_CC, (uint32_t)fuzz_odd(h->in));
}

static void use_controller(struct host *h)
{
	static void (*const steps[])(struct host *) = {
		step_admin_command, step_admin_command, step_io_command, step_io_command,
		step_io_command,    step_io_command,    step_io_command, step_create_queue,
		step_create_queue,  step_time,          step_time,       step_registers,
		step_fused,         step_fused,         step_doorbell,   step_scribble,
		step_queries,       step_memory,
	};
	uint32_t n = fuzz_below(h->in, MAX_STEPS), i;

	for (i = 0; i < 6; i++)
		map_pages(h);
	if (fuzz_chance(h->in, 64))
		step_plan(h);
	step_enable(h);
	for (; n > 0 && h->in->left != 0; n--) {
		if (fuzz_chance(h->in, 6))
			step_plan(h);
		else if (fuzz_chance(h->in, 6))
			step_enable(h);
		else if (fuzz_chance(h->in, 2))
			step_reset(h);
		else
			steps[fuzz_below(h->in, sizeof(steps) / sizeof(steps[0]))](h);
	}
}

/* ---- one input ---- */

/* The device with a fault plan of its own. */
static char *add_plan(struct fuzz *in, char *device)
{
	char *plan = make_plan(in), *both = (char *)malloc(strlen(device) + strlen(plan) + 7);

	if (both == NULL)
		abort();
	memcpy(both, device, strlen(device));
	memcpy(both + strlen(device), ",plan=", 6);
	memcpy(both + strlen(device) + 6, plan, strlen(plan) + 1);
	free(plan);
	free(device);
	return both;
}

/* A device that is small, and neither a file nor a thread. */
static char *choose_device(struct fuzz *in)
{
	static const char *const simple[] = {
		"soft:size=1M,mdts=0",
		"soft:size=1M,ns=2,queues=4,mdts=5",
		"soft:size=1M,lbs=4096,ns=2,mqes=40",
		"soft:size=1M,dstrd=2,mpsmin=1,mdts=0",
		"soft:size=1M,lbs=65536,iova=30,to=1",
		"soft:size=1M,ms=8,pi=1,mset=1",
		"soft:size=1M,ms=17,pi=3,pil=1,mdts=0",
		"soft:size=1M,zns=16,zcap=12,mor=2,mar=3,zdes=64,zasl=1",
		"soft:size=1M,zns=100,ns=2,mdts=0",
	};
	char *text = make_device(in);

	check_text(text);
	if (strncmp(text, "soft:", 5) != 0 || strstr(text, "thread") != NULL ||
	    strstr(text, "file") != NULL || strstr(text, "size=1M") == NULL ||
	    strstr(text, "size=9") != NULL) {
		free(text);
		text = make_text(in, simple[fuzz_below(in, 9)], device_words, 0, ',');
		if (strstr(text, "size=1M,") == NULL || strncmp(text, "soft:", 5) != 0) {
			free(text);
			text = NULL;
		}
	}
	if (text != NULL && fuzz_chance(in, 64))
		text = add_plan(in, text);
	return text;
}

static void make_pool(void)
{
	void *mem;

	if (pool != NULL)
		return;
	mem = mmap(NULL, (size_t)(POOL + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		abort();
	pool = (uint8_t *)mem + PAGE;
}

static void open_and_use(struct host *h, const char *device)
{
	const struct nvme_dev_ops *ops = nvme_soft_dev_ops(device);

	if (ops == NULL)
		return;
	h->log.level = fuzz_chance(h->in, 8) ? NVME_LOG_DEBUG : NVME_LOG_ERROR;
	h->log.fn = host_log;
	h->dev.log = &h->log;
	h->dev.ops = ops;
	fuzz_run.steps++;
	if (ops->open(&h->dev, device) != 0) {
		total.refused++;
		return;
	}
	total.opened++;
	h->planned = strstr(device, "plan") != NULL;
	h->cap = read_reg(h, NVME_REG_CAP);
	h->cap |= (uint64_t)read_reg(h, NVME_REG_CAP + 4) << 32;
	h->vs = read_reg(h, NVME_REG_VS);
	h->dstrd = NVME_GET(h->cap, NVME_CAP_DSTRD);
	use_controller(h);
	while (h->num_runs > 0)
		unmap_pages(h, 0);
	ops->close(&h->dev);
}

static void fuzz_one(struct fuzz *in)
{
	struct host *h = (struct host *)calloc(1, sizeof(*h));
	char *device, *plan;

	if (h == NULL)
		return;
	make_pool();
	h->in = in;
	plan = make_plan(in);
	device = (char *)malloc(strlen(plan) + 12);
	if (device != NULL) {
		memcpy(device, "soft:plan=", 10);
		memcpy(device + 10, plan, strlen(plan) + 1);
		check_text(device);
	}
	free(device);
	free(plan);
	device = choose_device(in);
	if (device != NULL)
		open_and_use(h, device);
	free(device);
	free(h);
}

static void fuzz_summary(void)
{
	printf("%" PRIu64 " devices opened, %" PRIu64 " were refused, %" PRIu64
	       " commands submitted, %" PRIu64 " completed, %" PRIu64 " plans accepted",
	       total.opened, total.refused, total.commands, total.completed, total.plans);
}

#ifndef NVME_LIBFUZZER
int main(int argc, char **argv)
{
	return fuzz_main(argc, argv, "fuzz_soft", 120000);
}
#endif
