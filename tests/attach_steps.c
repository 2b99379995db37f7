// SPDX-License-Identifier: MIT
/*
 * Where the time goes from nvme_attach() to the first block that is read, and in nvme_detach().
 *
 *	attach_steps ADDRESS [ROUNDS]	of a controller that vfio-pci holds; default 5 rounds
 *
 * A table between the driver and VFIO takes the time of what is the kernel's work: to open the
 * function, to map memory for it, to close it. Of each step the smallest time of all rounds counts,
 * for whatever disturbs only adds. The first attach of the process stands apart: what it touches is
 * touched for the first time. docs/performance.md reads the table.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include <math.h>

enum step { ATTACH_OPEN, ATTACH_MAP, ATTACH, QPAIR_MAP, QPAIR, READ, DETACH_CLOSE, DETACH, STEPS };

static const char *const names[STEPS] = {
	"attach: open the function",  "attach: map memory for it", "attach: the rest",
	"queue pair: map memory",     "queue pair: the rest",      "read one block",
	"detach: close the function", "detach: the rest",
};

static double least[STEPS]; /* ms */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the table between driver and VFIO ---- */

static const struct nvme_dev_ops *vfio;
static double open_ms, map_ms, close_ms; /* since reset_kernel() */

static int timed_open(struct nvme_dev *dev, const char *addr)
{
	double start = now_ms();
	int rc = vfio->open(dev, addr);

	open_ms += now_ms() - start;
	return rc;
}

static int timed_map(struct nvme_dev *dev, void *vaddr, size_t len, uint64_t iova)
{
	double start = now_ms();
	int rc = vfio->dma_map(dev, vaddr, len, iova);

	map_ms += now_ms() - start;
	return rc;
}

static void timed_close(struct nvme_dev *dev)
{
	double start = now_ms();

	vfio->close(dev);
	close_ms += now_ms() - start;
}

static double start_step(void)
{
	open_ms = map_ms = close_ms = 0;
	return now_ms();
}

static void keep(enum step step, double ms)
{
	least[step] = ms < least[step] ? ms : least[step];
}

/* ---- rounds ---- */

static int read_block(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	void *buf = nvme_dma_alloc(ctrlr, 4096);

	return ns != NULL && buf != NULL ? nvme_ns_read(ns, qp, buf, 0, 1, NULL) : -EINVAL;
}

static int one_round(const char *addr, const struct nvme_ctrlr_opts *opts)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	double start = start_step();
	int rc;

	rc = nvme_attach(addr, opts, &ctrlr);
	if (rc != 0)
		return rc;
	keep(ATTACH, now_ms() - start - open_ms - map_ms);
	keep(ATTACH_OPEN, open_ms);
	keep(ATTACH_MAP, map_ms);

	start = start_step();
	rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	keep(QPAIR, now_ms() - start - map_ms);
	keep(QPAIR_MAP, map_ms);

	start = start_step();
	if (rc == 0)
		rc = read_block(ctrlr, qp);
	keep(READ, now_ms() - start);

	start = start_step();
	nvme_detach(ctrlr);
	keep(DETACH, now_ms() - start - close_ms);
	keep(DETACH_CLOSE, close_ms);
	return rc;
}

/* The first attach, through VFIO's own table, which the rounds then need. */
static int attach_first(const char *addr, struct nvme_dev_ops *timed)
{
	double start = now_ms();
	struct nvme_ctrlr *ctrlr;
	int rc = nvme_attach(addr, NULL, &ctrlr);

	if (rc != 0)
		return rc;
	printf("the first attach: %.1f ms\n", now_ms() - start);
	vfio = nvme_ctrlr_get_dev(ctrlr)->ops;
	*timed = *vfio;
	timed->open = timed_open;
	timed->dma_map = timed_map;
	timed->close = timed_close;
	nvme_detach(ctrlr);
	return 0;
}

static void print_table(int rounds)
{
	double sum = 0;
	int i;

	for (i = 0; i < STEPS; i++)
		sum += least[i];
	printf("the least of %d rounds:\n", rounds);
	for (i = 0; i < STEPS; i++)
		printf("  %-28s %8.2f ms %6.1f %%\n", names[i], least[i], 100 * least[i] / sum);
}

int main(int argc, char **argv)
{
	int i, rounds = argc > 2 ? atoi(argv[2]) : 5;
	struct nvme_ctrlr_opts opts;
	struct nvme_dev_ops timed;

	if (argc < 2 || argc > 3 || rounds < 1) {
		fprintf(stderr, "Usage: attach_steps ADDRESS [ROUNDS]\n");
		return 2;
	}
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = &timed;
	for (i = 0; i < STEPS; i++)
		least[i] = HUGE_VAL;
	if (attach_first(argv[1], &timed) != 0)
		return 1;
	for (i = 0; i < rounds; i++) {
		if (one_round(argv[1], &opts) != 0)
			return 1;
	}
	print_table(rounds);
	return 0;
}
