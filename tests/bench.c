// SPDX-License-Identifier: MIT
/*
 * What a read costs: the driver alone, with the flight recorder on, and with the software controller
 * behind it.
 *
 *	bench			both, with ratios
 *	bench driver KIB	the driver alone, 100 times 32 reads of KIB KiB, for callgrind
 *
 * The driver alone runs against rings whose completions this program writes itself, so that no
 * device is in the figure. Everything is put beside a memcpy() of the same size in the same run;
 * figures of different machines do not compare, the ratios do. 'make bench' counts instructions, too:
 * those of nvme_ns_cmd_read() and nvme_qpair_process_completions() under callgrind.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define DEPTH 32

static unsigned long completed;

/* Two instructions, so that it does not count for much. */
static void count(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg, (void)cpl;
	completed++;
}

/* ---- a device that is only memory ---- */

static uint8_t registers[16384] __attribute__((aligned(4096)));

static int null_open(struct nvme_dev *dev, const char *addr)
{
	(void)addr;
	dev->bar0 = registers;
	dev->bar0_mapped = dev->bar0_size = sizeof(registers);
	dev->page_size = 4096;
	dev->iova[0].last = ((uint64_t)1 << 39) - 1;
	dev->num_iova = 1;
	return 0;
}

static void null_close(struct nvme_dev *dev)
{
	(void)dev;
}

static int null_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	(void)dev, (void)vaddr, (void)len, (void)iova;
	return 0;
}

static int null_unmap(struct nvme_dev *dev, uint64_t iova, size_t len)
{
	(void)dev, (void)iova, (void)len;
	return 0;
}

static const struct nvme_dev_ops null_ops = {
	"null", null_open, null_close, null_map, null_unmap, NULL, NULL,
	NULL,   NULL,      NULL,       NULL,     NULL,       NULL,
};

/* A controller, as far as reads need one, that was never brought up. */
static struct nvme_ctrlr *null_ctrlr(struct nvme_ns *ns, struct nvme_trace *trace)
{
	struct nvme_ctrlr *ctrlr = calloc(1, sizeof(*ctrlr));
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = &null_ops;
	opts.trace = trace;
	if (ctrlr == NULL || nvme__ctrlr_set_opts(ctrlr, &opts) != 0)
		abort();
	null_open(&ctrlr->dev, "null");
	ctrlr->page_size = 4096;
	ctrlr->page_shift = 12;
	ctrlr->max_xfer_size = NVME__IO_MAX_XFER_SIZE;
	if (nvme__arena_init(ctrlr) != 0)
		abort();
	memset(ns, 0, sizeof(*ns));
	ns->ctrlr = ctrlr;
	ns->id = 1;
	ns->nsze = 1 << 20;
	ns->sector_size = ns->extended_sector_size = 512;
	ns->max_nlb = 4096;
	return ctrlr;
}

/* The completions of the DEPTH commands from slot first on. */
static void __attribute__((noinline)) complete(struct nvme_qpair *qp, uint32_t first)
{
	uint32_t tail = qp->cq_head, i; /* all before it were taken */
	uint16_t phase = (uint16_t)qp->phase;

	for (i = 0; i < DEPTH; i++) {
		struct nvme_cpl *cpl = &qp->cq[tail];

		cpl->cid = qp->sq[(first + i) % qp->entries].cid;
		cpl->sqid = qp->id;
		cpl->sqhd = (uint16_t)((first + i + 1) % qp->entries);
		cpl->status = phase;
		if (++tail == qp->entries) {
			tail = 0;
			phase ^= 1;
		}
	}
}

/* ---- the reads ---- */

static void __attribute__((noinline))
submit(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *buf, uint32_t nlb)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		if (nvme_ns_cmd_read(ns, qp, buf, (uint64_t)i * nlb, nlb, count, NULL, 0) != 0)
			abort();
	}
}

static void __attribute__((noinline)) reap(struct nvme_qpair *qp)
{
	int rc, left;

	for (left = DEPTH; left > 0; left -= rc) {
		if ((rc = nvme_qpair_process_completions(qp, 0)) < 0)
			abort();
	}
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Nanoseconds of one read; own: its completions are written here. */
static double measure(struct nvme_ns *ns, struct nvme_qpair *qp, uint32_t nlb, int rounds, bool own)
{
	uint8_t *buf = nvme_dma_alloc(ns->ctrlr, (size_t)nlb * 512);
	double start;
	int i;

	if (buf == NULL)
		abort();
	start = now_ns();
	for (i = 0; i < rounds; i++) {
		uint32_t first = qp->sq_tail;

		submit(ns, qp, buf, nlb);
		if (own)
			complete(qp, first);
		reap(qp);
	}
	start = (now_ns() - start) / (double)rounds / DEPTH;
	nvme_dma_free(ns->ctrlr, buf);
	return start;
}

static double measure_memcpy(size_t size, int rounds)
{
	static uint8_t from[128 << 10], to[128 << 10];
	double start = now_ns();
	int i;

	memset(from, 1, sizeof(from));
	for (i = 0; i < rounds * DEPTH; i++) {
		memcpy(to, from, size);
		__asm__ volatile("" ::"r"(to) : "memory");
	}
	return (now_ns() - start) / (double)rounds / DEPTH;
}

static int bench_driver(struct nvme_ns *ns, struct nvme_qpair *qp, uint32_t kib)
{
	if (kib == 0 || kib > 2048)
		return 2;
	measure(ns, qp, kib * 2, 100, true);
	return 0;
}

/* A queue pair of a controller that is only memory. */
static struct nvme_qpair *null_qpair(struct nvme_ns *ns, struct nvme_trace *trace)
{
	struct nvme_qpair *qp;

	if (nvme_qpair_construct(null_ctrlr(ns, trace), 1, 256, NVME__IO_MAX_XFER_SIZE, &qp) != 0)
		abort();
	return qp;
}

static struct nvme_trace *scratch_trace(void)
{
	char name[] = "/tmp/nvme-bench-XXXXXX";
	struct nvme_trace *trace;
	int fd = mkstemp(name);

	if (fd < 0 || nvme_trace_open(name, 0, &trace) != 0)
		abort();
	close(fd);
	unlink(name);
	return trace;
}

int main(int argc, char **argv)
{
	struct nvme_qpair *null_qp, *traced_qp, *soft_qp;
	struct nvme_ns ns, traced_ns;
	const int rounds = 2000;
	struct nvme_ctrlr *ctrlr;
	uint32_t kib;

	null_qp = null_qpair(&ns, NULL);
	if (argc == 3 && strcmp(argv[1], "driver") == 0)
		return bench_driver(&ns, null_qp, (uint32_t)atoi(argv[2]));
	traced_qp = null_qpair(&traced_ns, scratch_trace());
	measure(&traced_ns, traced_qp, 8, rounds, true); /* the file's pages are there now */
	if (open_device("soft", &ctrlr) != 0 ||
	    nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &soft_qp) != 0)
		return 1;
	for (kib = 4; kib <= 128; kib *= 32) {
		double copy = measure_memcpy((size_t)kib << 10, rounds);
		double driver = measure(&ns, null_qp, kib * 2, rounds, true);
		double traced = measure(&traced_ns, traced_qp, kib * 2, rounds, true);
		double both = measure(nvme_ctrlr_get_ns(ctrlr, 1), soft_qp, kib * 2, rounds, false);

		printf("%3u KiB read, %d at a time, in units of a memcpy() of %u KiB (%.0f ns):\n",
		       kib, DEPTH, kib, copy);
		printf("    driver alone %.2f; the recorder adds %.2f; the software controller "
		       "%.2f\n",
		       driver / copy, (traced - driver) / copy, (both - driver) / copy);
	}
	printf("%lu reads\n", completed);
	return nvme_detach(ctrlr) != 0;
}
