// SPDX-License-Identifier: MIT
/*
 * Probing: several controllers at once, on the software controller and on a PCI bus that this file
 * makes up; who is asked, what is called in which order and in which thread; that bring-ups and
 * shutdowns overlap; transport ids. It runs with ThreadSanitizer, too. (The bus of a virtual
 * machine: test_vm.)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What nvme.h is to see in the place of libpci, sysfs and the limit on threads. */
static int may_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                      void *arg);
static ssize_t driver_link(const char *path, char *out, size_t size);
static void *limited_calloc(size_t n, size_t size);
static char last_line[2048]; /* of the log that belongs to no controller */

#define pthread_create             may_create
#define readlink                   driver_link
#define pci_alloc                  fake_pci_alloc
#define pci_init                   fake_pci_init
#define pci_scan_bus               fake_pci_scan_bus
#define pci_cleanup                fake_pci_cleanup
#define pci_fill_info              fake_pci_fill_info
#define pci_read_byte              fake_pci_read_byte
#define pci_read_word              fake_pci_read_word
#define NVME_LOG_LINE(level, line) ((void)(level), (void)snprintf(last_line, 2048, "%s", (line)))
#define NVME_CALLOC(n, size)       limited_calloc((n), (size))
#define NVME_FREE(p)               free(p)
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"
#undef pthread_create

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PATIENCE_S   60 /* for what must happen; it is waited for only if it does not */

/* ---- the process's limits ---- */

static bool no_threads;
static unsigned int threads_begun;

static int may_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                      void *arg)
{
	if (no_threads)
		return EAGAIN;
	__atomic_add_fetch(&threads_begun, 1, __ATOMIC_RELAXED); /* soft starts one, too */
	return pthread_create(thread, attr, start, arg);
}

static unsigned int allocations; /* this one fails, and all behind it; 0: none does */

static void *limited_calloc(size_t n, size_t size)
{
	if (allocations == 1)
		return NULL;
	if (allocations > 1)
		allocations--; /* only in tests that start no thread */
	return calloc(n, size);
}

/* ---- a bus: two functions that vfio-pci holds, one of the kernel's, one without a driver ---- */

static struct pci_access bus;
static struct pci_dev functions[5];
static bool no_bus;

static ssize_t driver_link(const char *path, char *out, size_t size)
{
	const char *target = strstr(path, ":01:00.0/driver") != NULL   ? "drivers/vfio-pci"
	                     : strstr(path, ":03:00.1/driver") != NULL ? "drivers/nvme"
	                     : strstr(path, ":05:00.0/driver") != NULL ? "drivers/vfio-pci"
	                                                               : NULL;

	if (target == NULL)
		return -1;
	return snprintf(out, size, "%s", target);
}

static void put(unsigned int i, uint8_t number, uint8_t function, uint16_t device_class)
{
	functions[i].domain = 0x7ace;
	functions[i].bus = number;
	functions[i].func = function;
	functions[i].device_class = device_class;
	functions[i].next = i < COUNT(functions) - 1 ? &functions[i + 1] : NULL;
}

struct pci_access *pci_alloc(void)
{
	return &bus;
}

void pci_init(struct pci_access *access)
{
	access->devices = NULL;
	if (no_bus)
		access->error("no bus");
}

void pci_scan_bus(struct pci_access *access)
{
	put(0, 5, 0, 0x0108); /* libpci has the last first */
	put(1, 4, 0, 0x0108);
	put(2, 3, 1, 0x0108);
	put(3, 2, 0, 0x0300); /* a graphics card */
	put(4, 1, 0, 0x0108);
	access->devices = &functions[0];
}

void pci_cleanup(struct pci_access *access)
{
	(void)access;
}

int pci_fill_info(struct pci_dev *dev, int flags)
{
	(void)dev;
	return flags;
}

u8 pci_read_byte(struct pci_dev *dev, int at)
{
	(void)dev;
	return at == PCI_CLASS_PROG ? 2 : 0;
}

u16 pci_read_word(struct pci_dev *dev, int at)
{
	(void)dev, (void)at;
	return 0;
}

/* ---- where threads meet ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Nobody passes before all have come. want 0: everybody passes. */
struct meeting {
	unsigned int want, came;
	bool failed;
};

static struct meeting up, down, opening;

static void meet(struct meeting *m)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&mutex);
	m->came++;
	pthread_cond_broadcast(&changed);
	while (m->came < m->want && !m->failed)
		m->failed = pthread_cond_timedwait(&changed, &mutex, &until) == ETIMEDOUT;
	pthread_mutex_unlock(&mutex);
}

/* ---- the software controller, seen from outside ---- */

static struct nvme_dev_ops watched_ops;
static const struct nvme_dev_ops *soft;
static pthread_t tester;
static unsigned int opened, opened_elsewhere, closed_elsewhere; /* not in the tester's thread */
static int open_rc;

/* What is no device of nvme_soft.h, as an address on the bus, is a plain one. */
static int watched_open(struct nvme_dev *dev, const char *addr)
{
	pthread_mutex_lock(&mutex);
	opened++;
	opened_elsewhere += !pthread_equal(pthread_self(), tester);
	pthread_mutex_unlock(&mutex);
	if (strstr(addr, "seed=99") != NULL) /* the one that comes late */
		meet(&opening);
	if (open_rc != 0)
		return open_rc;
	return soft->open(dev, nvme_soft_dev_ops(addr) != NULL ? addr : "soft");
}

static void watched_close(struct nvme_dev *dev)
{
	closed_elsewhere += !pthread_equal(pthread_self(), tester);
	soft->close(dev);
}

static void watched_write_4(struct nvme_dev *dev, uint32_t offset, uint32_t value)
{
	if (offset == NVME_REG_CC && NVME_GET(value, NVME_CC_EN) != 0)
		meet(NVME_GET(value, NVME_CC_SHN) != 0 ? &down : &up);
	soft->write_4(dev, offset, value);
}

/* ---- what was called ---- */

struct event {
	char what; /* 'p'robe, 'a'ttach, 'f'ail */
	struct nvme_transport_id trid;
	struct nvme_ctrlr *ctrlr;
	struct nvme_ctrlr_opts opts;
	int rc;
};

static struct event events[64];
static unsigned int num_events;
static uint32_t num_attached;
static char order[65]; /* their letters */
static unsigned int error_lines;
static void (*in_attach_cb)(const struct event *e);
static const char *unwanted;
static struct nvme_trace *trace;

static void count_errors(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg, (void)line;
	if (level == NVME_LOG_ERROR)
		__atomic_add_fetch(&error_lines, 1, __ATOMIC_RELAXED);
}

static struct event *add_event(char what, const struct nvme_transport_id *trid)
{
	struct event *e = &events[num_events];

	assert_true(num_events < COUNT(events) - 1);
	assert_true(pthread_equal(pthread_self(), tester)); /* all callbacks, always */
	order[num_events++] = what;
	memset(e, 0, sizeof(*e));
	e->what = what;
	e->trid = *trid;
	return e;
}

static bool on_probe(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr_opts *opts)
{
	assert_ptr_equal(ctx, &num_events);
	add_event('p', trid)->opts = *opts;
	opts->log = count_errors;
	opts->dev_ops = &watched_ops;
	opts->trace = trace;
	return unwanted == NULL || strcmp(trid->traddr, unwanted) != 0;
}

static void on_attach(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	struct event *e = add_event('a', trid);

	assert_ptr_equal(ctx, &num_events);
	assert_ptr_equal(opts, nvme_ctrlr_get_opts(ctrlr));
	e->ctrlr = ctrlr;
	e->opts = *opts;
	if (in_attach_cb != NULL)
		in_attach_cb(e);
}

static void on_fail(void *ctx, const struct nvme_transport_id *trid, int rc)
{
	assert_ptr_equal(ctx, &num_events);
	add_event('f', trid)->rc = rc;
}

/* The nth event of this kind, from 0. */
static struct event *nth(char what, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < num_events; i++) {
		if (events[i].what == what && n-- == 0)
			return &events[i];
	}
	fail_msg("there are not so many '%c' in %s", what, order);
	return NULL;
}

static void detach_all(void)
{
	unsigned int i;

	for (i = 0; i < num_events; i++) {
		if (events[i].ctrlr != NULL)
			assert_int_equal(nvme_detach(events[i].ctrlr), 0);
	}
}

static int begin(void **state)
{
	(void)state;
	soft = nvme_soft_dev_ops("soft");
	watched_ops = *soft;
	watched_ops.open = watched_open;
	watched_ops.close = watched_close;
	watched_ops.write_4 = watched_write_4;
	tester = pthread_self();
	memset(&up, 0, sizeof(up));
	memset(&down, 0, sizeof(down));
	memset(&opening, 0, sizeof(opening));
	memset(order, 0, sizeof(order));
	opened = opened_elsewhere = closed_elsewhere = num_events = error_lines = threads_begun = 0;
	num_attached = 99;
	no_threads = no_bus = false;
	allocations = 0;
	trace = NULL;
	in_attach_cb = NULL;
	unwanted = NULL;
	open_rc = 0;
	last_line[0] = '\0';
	return 0;
}

static struct nvme_probe_opts options(const struct nvme_named_dev *devs, uint32_t num_devs)
{
	struct nvme_probe_opts opts;

	memset(&opts, 0, sizeof(opts));
	opts.devs = devs;
	opts.num_devs = num_devs;
	opts.num_attached = &num_attached;
	opts.attach_fail_cb = on_fail;
	return opts;
}

static struct nvme_transport_id trid_of(const char *text)
{
	struct nvme_transport_id trid;

	assert_int_equal(nvme_transport_id_parse(&trid, text), 0);
	return trid;
}

/* Those that are named, and none on the bus. */
static int probe(const struct nvme_named_dev *devs, uint32_t num_devs)
{
	struct nvme_probe_opts opts = options(devs, num_devs);
	struct nvme_transport_id trid = trid_of("trtype:CUSTOM");

	return nvme_probe(&trid, &num_events, on_probe, on_attach, &opts);
}

static struct nvme_probe_ctx *probe_async(const struct nvme_named_dev *devs, uint32_t num_devs)
{
	struct nvme_probe_opts opts = options(devs, num_devs);
	struct nvme_transport_id trid = trid_of("trtype:CUSTOM");
	struct nvme_probe_ctx *ctx =
		nvme_probe_async(&trid, &num_events, on_probe, on_attach, &opts);

	assert_non_null(ctx);
	return ctx;
}

static int poll_to_the_end(struct nvme_probe_ctx *ctx)
{
	int rc;

	do
		rc = nvme_probe_poll_async(ctx);
	while (rc == -EAGAIN);
	return rc;
}

/* ---- one after the other ---- */

static const struct nvme_named_dev four[] = {
	{"soft:seed=1", &watched_ops},
	{"soft:seed=2,plan=ready never", &watched_ops},
	{"soft:seed=3", &watched_ops},
	{"soft:seed=4,ns=2", &watched_ops},
};

/* Asked in order, attached in order; one that is refused and one that fails hinder nobody. */
static void test_probe(void **state)
{
	struct nvme_ctrlr *ctrlr;

	(void)state;
	unwanted = "soft:seed=3";
	assert_int_equal(probe(four, 4), -ETIMEDOUT);
	assert_string_equal(order, "ppppafa");
	assert_int_equal(num_attached, 2);
	assert_int_equal(opened, 3);
	assert_int_equal(opened_elsewhere, 0);
	assert_int_equal(threads_begun, 0);
	assert_int_equal(nth('f', 0)->rc, -ETIMEDOUT);
	assert_string_equal(nth('f', 0)->trid.traddr, four[1].addr);
	assert_int_equal(error_lines, 1); /* why it failed */
	assert_string_equal(nth('p', 2)->trid.traddr, "soft:seed=3");
	assert_int_equal(nth('p', 0)->trid.trtype, NVME_TRANSPORT_CUSTOM);
	assert_string_equal(nth('a', 1)->trid.traddr, four[3].addr);
	ctrlr = nth('a', 1)->ctrlr;
	assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 1), 2); /* it is that one */
	detach_all();
}

/* The first error is the one that is returned. */
static void test_first_error(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:plan=gone at attach", &watched_ops},
		{"soft:plan=ready never", &watched_ops},
	};

	(void)state;
	assert_int_equal(probe(devs, 2), -ENODEV);
	assert_string_equal(order, "ppff");
	assert_int_equal(num_attached, 0);
	assert_int_equal(nth('f', 1)->rc, -ETIMEDOUT);
}

/* Two of the same name are two; without callbacks that may be missing, too. */
static void test_optional(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft", &watched_ops},
		{"soft", &watched_ops},
		{"soft:plan=ready never", &watched_ops},
	};
	const struct nvme_transport_id custom = trid_of("trtype:CUSTOM");
	struct nvme_probe_opts opts;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.devs = devs;
	opts.num_devs = 3;
	assert_int_equal(nvme_probe(&custom, &num_events, NULL, on_attach, &opts), -ETIMEDOUT);
	assert_string_equal(order, "aa");
	assert_true(nth('a', 0)->ctrlr != nth('a', 1)->ctrlr);
	detach_all();
	assert_int_equal(nvme_probe(&custom, &num_events, on_probe, on_attach, NULL), 0);
	assert_int_equal(num_events, 2); /* nothing has a name, nothing is there */
}

/* ---- options ---- */

static bool on_probe_change(void *ctx, const struct nvme_transport_id *trid,
                            struct nvme_ctrlr_opts *opts)
{
	(void)on_probe(ctx, trid, opts);
	opts->admin_queue_size = 64;
	opts->num_io_queues = 3;
	opts->io_timeout_ms = 1234;
	opts->dma_window = (size_t)8 << 20;
	opts->log_level = NVME_LOG_WARNING;
	return true;
}

/* probe_cb sees the defaults, attach_cb what was used, and it was used. */
static void test_options(void **state)
{
	struct nvme_transport_id custom = trid_of("trtype=custom");
	struct nvme_probe_opts opts = options(four, 1);
	const struct nvme_ctrlr_opts *o;
	struct nvme_ctrlr_opts defaults;

	(void)state;
	nvme_ctrlr_get_default_opts(&defaults);
	assert_int_equal(nvme_probe(&custom, &num_events, on_probe_change, on_attach, &opts), 0);
	o = &nth('p', 0)->opts;
	assert_ptr_equal(o->dev_ops, &watched_ops);
	assert_int_equal(o->admin_queue_size, 32);
	assert_int_equal(o->num_io_queues, 8);
	assert_int_equal(o->admin_timeout_ms, 30000);
	assert_int_equal(o->io_timeout_ms, 30000);
	assert_int_equal(o->arb_mechanism, NVME_CC_AMS_RR);
	assert_true(o->dma_window > (size_t)8 << 20);
	assert_int_equal(o->dma_window, defaults.dma_window);
	assert_int_equal(defaults.admin_queue_size, 32);
	assert_ptr_equal(defaults.dev_ops, &nvme__vfio_ops);
	o = &nth('a', 0)->opts;
	assert_int_equal(o->admin_queue_size, 64);
	assert_int_equal(o->num_io_queues, 3);
	assert_int_equal(o->admin_timeout_ms, 30000); /* left alone */
	assert_int_equal(o->io_timeout_ms, 1234);
	assert_int_equal(o->dma_window, 8 << 20);
	assert_int_equal(o->log_level, NVME_LOG_WARNING);
	assert_ptr_equal(o->log, count_errors);
	assert_int_equal(nth('a', 0)->ctrlr->adminq->entries, 64);
	assert_int_equal(nvme_ctrlr_get_num_io_queues(nth('a', 0)->ctrlr), 3);
	detach_all();
}

/* nvme_attach() fills in what was left open, and that can be asked for. */
static void test_options_used(void **state)
{
	struct nvme_ctrlr_opts opts;
	const struct nvme_ctrlr_opts *used;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = soft;
	setenv("NVME_LOG", "error", 1);
	assert_int_equal(nvme_attach("soft", &opts, &ctrlr), 0);
	unsetenv("NVME_LOG");
	used = nvme_ctrlr_get_opts(ctrlr);
	assert_int_equal(used->admin_queue_size, 32);
	assert_int_equal(used->num_io_queues, 8);
	assert_int_equal(used->io_timeout_ms, 30000);
	assert_int_equal(used->log_level, NVME_LOG_ERROR);
	assert_ptr_equal(used->dev_ops, soft);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static void test_qpair_options(void **state)
{
	struct nvme_io_qpair_opts defaults, opts, used;
	struct nvme_ctrlr_opts ctrlr_opts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;

	(void)state;
	memset(&ctrlr_opts, 0, sizeof(ctrlr_opts));
	ctrlr_opts.dev_ops = soft;
	assert_int_equal(nvme_attach("soft:mqes=99,mdts=5", &ctrlr_opts, &ctrlr), 0);
	nvme_ctrlr_get_default_io_qpair_opts(ctrlr, &defaults);
	assert_int_equal(defaults.entries, 100); /* not 256: CAP.MQES */
	assert_int_equal(defaults.max_xfer_size, 128 << 10);
	assert_int_equal(defaults.qprio, 0);
	assert_false(defaults.delay_cmd_submit);

	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	memset(&used, 0xff, sizeof(used));
	nvme_qpair_get_opts(qp, &used);
	assert_int_equal(used.entries, 100);
	assert_int_equal(used.max_xfer_size, 128 << 10);
	assert_int_equal(used.qprio, 0);
	assert_false(used.delay_cmd_submit);

	opts = defaults;
	opts.entries = 16;
	opts.max_xfer_size = 8192;
	opts.delay_cmd_submit = true;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	nvme_qpair_get_opts(qp, &used);
	assert_int_equal(used.entries, 16);
	assert_int_equal(used.max_xfer_size, 8192);
	assert_true(used.delay_cmd_submit);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- which ones ---- */

/* What vfio-pci holds, and no other; those that are named come first, and nobody comes twice. */
static void test_bus(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", &watched_ops},
		{"7ACE:05:0.0", NULL},
	};
	const struct nvme_transport_id pcie = trid_of("trtype:PCIe");
	struct nvme_probe_opts opts = options(devs, 2);

	(void)state;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "pppaaa");
	assert_string_equal(nth('a', 0)->trid.traddr, "soft:seed=1");
	assert_string_equal(nth('a', 1)->trid.traddr, "7ace:05:00.0");
	assert_string_equal(nth('a', 2)->trid.traddr, "7ace:01:00.0");
	assert_int_equal(nth('a', 1)->trid.trtype, NVME_TRANSPORT_PCIE);
	assert_int_equal(nth('a', 2)->trid.trtype, NVME_TRANSPORT_PCIE);
	assert_ptr_equal(nth('p', 2)->opts.dev_ops, &nvme__vfio_ops);
	detach_all();

	begin(state);
	assert_int_equal(nvme_probe(&pcie, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "ppaa");
	assert_string_equal(nth('a', 0)->trid.traddr, "7ace:05:00.0");
	detach_all();

	begin(state);
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, NULL), 0);
	assert_string_equal(order, "ppaa");
	assert_string_equal(nth('p', 0)->trid.traddr, "7ace:01:00.0");
	assert_string_equal(nth('a', 0)->trid.traddr, "7ace:01:00.0");
	assert_string_equal(nth('a', 1)->trid.traddr, "7ace:05:00.0");
	assert_int_equal(num_attached, 99); /* nobody asked */
	detach_all();

	begin(state);
	opts.devs_only = true;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "ppaa");
	assert_string_equal(nth('a', 0)->trid.traddr, "soft:seed=1");
	assert_string_equal(nth('a', 1)->trid.traddr, "7ace:05:00.0");
	detach_all();
}

/* What is attached already is passed over on the bus, but not where the caller names it. */
static void test_bus_again(void **state)
{
	const struct nvme_named_dev devs[] = {{"7ace:01:00.0", NULL}};
	struct nvme_probe_opts opts = options(devs, 1);
	struct nvme_dev dev;
	int slot;

	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.ops = &nvme__vfio_ops;
	snprintf(dev.name, sizeof(dev.name), "7ace:01:00.0");
	slot = nvme__attached_add(&dev);
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, NULL), 0);
	assert_string_equal(order, "pa");
	assert_string_equal(nth('p', 0)->trid.traddr, "7ace:05:00.0");
	detach_all();

	begin(state);
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "ppaa");
	assert_string_equal(nth('p', 0)->trid.traddr, "7ace:01:00.0");
	detach_all();

	begin(state);
	nvme__attached_drop(slot);
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, NULL), 0);
	assert_string_equal(order, "ppaa");
	detach_all();
}

/* No bus at all is a bus with nothing on it. */
static void test_no_bus(void **state)
{
	(void)state;
	no_bus = true;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, NULL), 0);
	assert_int_equal(num_events, 0);
}

/* With an address only that one; on the bus whoever holds it, for nvme_attach() to say so. */
static void test_by_address(void **state)
{
	struct nvme_transport_id trid = trid_of("trtype:PCIe traddr:7ace:3:0.1");
	struct nvme_probe_opts opts = options(four, 4);

	(void)state;
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "pa");
	assert_string_equal(nth('a', 0)->trid.traddr, "7ace:03:00.1");
	detach_all();

	begin(state);
	trid = trid_of("trtype:CUSTOM traddr:soft:seed=4,ns=2");
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, &opts), 0);
	assert_string_equal(order, "pa");
	assert_string_equal(nth('a', 0)->trid.traddr, four[3].addr);
	detach_all();

	begin(state);
	trid = trid_of("trtype:CUSTOM traddr:hard");
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, &opts), -ENODEV);
	assert_int_equal(num_events, 0);
	assert_non_null(strstr(last_line, "no device is called 'hard'"));
	trid = trid_of("traddr:7ace:01:00.0");
	opts.devs_only = true; /* on the bus, but that is not asked */
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, &opts), -ENODEV);
	assert_int_equal(num_events, 0);
	opts.devs_only = false;

	/* the way to VFIO: not bound to vfio-pci */
	trid = trid_of("traddr:7ace:03:00.1");
	assert_true(nvme_probe(&trid, &num_events, NULL, on_attach, &opts) < 0);
	assert_string_equal(order, "f");
	assert_non_null(strstr(last_line, "[7ace:03:00.1]"));
}

/* What is refused at once, before anybody is asked. */
static void test_refused(void **state)
{
	static char longest[NVME_TRADDR_SIZE + 1];
	const struct nvme_named_dev nameless = {NULL, &watched_ops}, too_long = {longest, NULL};
	struct nvme_probe_opts opts = options(&nameless, 1);
	struct nvme_transport_id trid;

	(void)state;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), -EINVAL);
	assert_non_null(strstr(last_line, "device 0 has no address"));
	memset(longest, 'x', NVME_TRADDR_SIZE);
	opts.devs = &too_long;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), -EINVAL);
	assert_null(nvme_probe_async(NULL, &num_events, on_probe, on_attach, &opts));
	opts.devs = NULL;
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts), -EINVAL);
	assert_non_null(strstr(last_line, "devs is NULL"));
	assert_int_equal(nvme_probe(NULL, &num_events, on_probe, NULL, NULL), -EINVAL);
	assert_non_null(strstr(last_line, "attach_cb"));
	memset(&trid, 0, sizeof(trid));
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, NULL), -EINVAL);
	assert_non_null(strstr(last_line, "no transport id"));
	trid.trtype = NVME_TRANSPORT_CUSTOM;
	memset(trid.traddr, 'x', sizeof(trid.traddr));
	assert_int_equal(nvme_probe(&trid, &num_events, on_probe, on_attach, NULL), -EINVAL);
	assert_int_equal(num_events, 0);
}

/* nvme_attach() takes the text of a transport id for an address. */
static void test_attach_by_trid(void **state)
{
	static const struct {
		const char *addr, *line;
	} rows[] = {
		{"trtype:PCIe traddr:7ace:03:00.1", "[7ace:03:00.1]"},
		{"TRADDR=7ACE:3:0.1", "[7ace:03:00.1]"},
		{"7ace:3:0.1", "[7ace:03:00.1]"},
	};
	static const char *const wrong[] = {"trtype:PCIe", "trtype:CUSTOM traddr:7ace:03:00.1",
	                                    "traddr:soft", "x"};
	struct nvme_ctrlr *ctrlr;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		assert_true(nvme_attach(rows[i].addr, NULL, &ctrlr) < 0);
		assert_non_null(strstr(last_line, rows[i].line));
	}
	for (i = 0; i < COUNT(wrong); i++)
		assert_int_equal(nvme_attach(wrong[i], NULL, &ctrlr), -EINVAL);
}

/* ---- at once ---- */

/* All of them are at CC.EN = 1 before one gets further: a driver that takes turns stands here. */
static void test_bring_ups_overlap(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", &watched_ops},
		{"soft:seed=2,mode=thread", &watched_ops},
		{"soft:seed=3", &watched_ops},
	};

	(void)state;
	up.want = 3;
	assert_int_equal(poll_to_the_end(probe_async(devs, 3)), 0);
	assert_false(up.failed);
	assert_int_equal(strspn(order, "p"), 3); /* all are asked before one is attached */
	assert_int_equal(num_events, 6);
	assert_int_equal(num_attached, 3);
	assert_int_equal(opened_elsewhere, 3);
	detach_all();
	assert_int_equal(closed_elsewhere, 0);
}

/* The same with one that fails and one that nobody wants. */
static void test_async(void **state)
{
	(void)state;
	unwanted = "soft:seed=3";
	assert_int_equal(poll_to_the_end(probe_async(four, 4)), -ETIMEDOUT);
	assert_int_equal(num_attached, 2);
	assert_int_equal(num_events, 7);
	assert_string_equal(nth('f', 0)->trid.traddr, four[1].addr);
	assert_int_equal(nth('f', 0)->rc, -ETIMEDOUT);
	assert_int_equal(error_lines, 1);
	detach_all();
}

static void open_the_door(const struct event *e)
{
	if (strcmp(e->trid.traddr, "soft:seed=5") == 0)
		meet(&opening); /* now the other may open */
}

/* Who is ready first is handed over first. */
static void test_ready_first(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=99", &watched_ops},
		{"soft:seed=5", &watched_ops},
	};

	(void)state;
	opening.want = 2;
	in_attach_cb = open_the_door;
	assert_int_equal(poll_to_the_end(probe_async(devs, 2)), 0);
	assert_false(opening.failed);
	assert_string_equal(order, "ppaa");
	assert_string_equal(nth('a', 0)->trid.traddr, "soft:seed=5");
	detach_all();
}

/* Where there are no threads each poll attaches to one. */
static void test_without_threads(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", &watched_ops},
		{"soft:plan=ready never", &watched_ops},
		{"soft:seed=2", &watched_ops},
	};
	struct nvme_probe_ctx *ctx;

	(void)state;
	no_threads = true;
	ctx = probe_async(devs, 3);
	assert_int_equal(opened, 0);
	assert_int_equal(nvme_probe_poll_async(ctx), -EAGAIN);
	assert_string_equal(order, "pppa");
	assert_int_equal(nvme_probe_poll_async(ctx), -EAGAIN);
	assert_string_equal(order, "pppaf");
	assert_int_equal(opened, 2);
	assert_int_equal(nvme_probe_poll_async(ctx), -ETIMEDOUT);
	assert_string_equal(order, "pppafa");
	assert_int_equal(opened_elsewhere, 0);
	detach_all();
}

/* Nothing to do is done at the first poll. An open() cannot make a poll say "go on". */
static void test_edges(void **state)
{
	(void)state;
	assert_int_equal(nvme_probe_poll_async(probe_async(NULL, 0)), 0);
	open_rc = -EAGAIN;
	assert_int_equal(poll_to_the_end(probe_async(four, 1)), -EBUSY);
	assert_int_equal(nth('f', 0)->rc, -EAGAIN);
	assert_int_equal(probe(four, 1), -EBUSY);
}

static struct nvme_probe_ctx *reentered;
static int reentered_rc;

static void poll_again(const struct event *e)
{
	(void)e;
	reentered_rc = nvme_probe_poll_async(reentered);
}

static void detach_it(const struct event *e)
{
	assert_int_equal(nvme_detach(e->ctrlr), 0);
	events[e - events].ctrlr = NULL;
}

/* A callback may detach; it must not poll. */
static void test_in_callbacks(void **state)
{
	(void)state;
	in_attach_cb = poll_again;
	reentered = probe_async(four, 1);
	assert_int_equal(poll_to_the_end(reentered), 0);
	assert_int_equal(reentered_rc, -EBUSY);
	assert_non_null(strstr(last_line, "in a callback of its own"));
	detach_all();

	begin(state);
	in_attach_cb = detach_it;
	assert_int_equal(poll_to_the_end(probe_async(four, 1)), 0);
	assert_string_equal(order, "pa");
	assert_null(nth('a', 0)->ctrlr);
}

/* ---- detaching ---- */

static int detach_to_the_end(struct nvme_detach_ctx *ctx)
{
	int rc;

	do
		rc = nvme_detach_poll_async(ctx);
	while (rc == -EAGAIN);
	return rc;
}

static struct nvme_detach_ctx *detach_begin(void)
{
	struct nvme_detach_ctx *ctx = NULL;
	unsigned int i;

	for (i = 0; i < num_events; i++)
		assert_int_equal(nvme_detach_async(events[i].ctrlr, &ctx), 0);
	return ctx;
}

/* Each has been told of the shutdown before one gets further; they are closed by the poller. */
static void test_shutdowns_overlap(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", &watched_ops},
		{"soft:seed=2,mode=thread", &watched_ops},
		{"soft:seed=3", &watched_ops},
	};

	(void)state;
	assert_int_equal(probe(devs, 3), 0);
	down.want = 3;
	assert_int_equal(detach_to_the_end(detach_begin()), 0);
	assert_false(down.failed);
	assert_int_equal(down.came, 3);
	assert_int_equal(closed_elsewhere, 0);
}

/* One that never says that it is done: the others are not kept from it, and the error comes out. */
static void test_detach_errors(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1,plan=shutdown never", &watched_ops},
		{"soft:seed=2", &watched_ops},
	};
	struct nvme_detach_ctx *ctx = NULL;

	(void)state;
	assert_int_equal(nvme_detach_async(NULL, &ctx), 0);
	assert_null(ctx);
	assert_int_equal(nvme_detach_poll_async(ctx), 0);
	assert_int_equal(probe(devs, 2), 0);
	assert_int_equal(detach_to_the_end(detach_begin()), -ETIMEDOUT);

	begin(state);
	assert_int_equal(probe(devs, 2), 0);
	no_threads = true;
	ctx = detach_begin();
	assert_int_equal(nvme_detach_poll_async(ctx), -EAGAIN);
	assert_int_equal(nvme_detach_poll_async(ctx), -ETIMEDOUT);
}

static struct nvme_detach_ctx *ending;
static unsigned int ends;
static int detach_rc, poll_rc;

static void at_end(void *arg, const struct nvme_cpl *cpl)
{
	(void)cpl;
	assert_true(pthread_equal(pthread_self(), tester));
	ends++;
	detach_rc = nvme_detach_async((struct nvme_ctrlr *)arg, &ending);
	if (ending != NULL)
		poll_rc = nvme_detach_poll_async(ending);
}

/*
 * Callbacks of commands run in the caller's thread: those of a queue at once, those of one that the
 * controller does not delete in a poll. In none of them anything can be detached or polled.
 */
static void test_callbacks_of_commands(void **state)
{
	static const struct nvme_named_dev devs[] = {
		{"soft:plan=on read drop", &watched_ops},
		{"soft:plan=on read drop; on delete-io-sq status 0/6", &watched_ops},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(devs); i++) {
		struct nvme_ctrlr *ctrlr;
		struct nvme_qpair *qp;
		void *buf;

		begin(state);
		ends = 0;
		ending = NULL;
		detach_rc = poll_rc = 0;
		assert_int_equal(probe(&devs[i], 1), 0);
		ctrlr = nth('a', 0)->ctrlr;
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
		buf = nvme_dma_alloc(ctrlr, 4096);
		assert_non_null(buf);
		assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1,
		                                  at_end, ctrlr, 0),
		                 0);
		assert_int_equal(nvme_detach_async(ctrlr, &ending), 0);
		assert_int_equal(ends, i == 0);
		assert_int_equal(detach_to_the_end(ending), 0);
		assert_int_equal(ends, 1);
		assert_int_equal(detach_rc, -EBUSY);
		assert_int_equal(poll_rc, i == 0 ? 0 : -EBUSY); /* in the first nothing was begun */
	}
}

/* All that record at once do so into the same file. */
static void test_recorded(void **state)
{
	const struct nvme_named_dev devs[] = {
		{"soft:seed=1", &watched_ops},
		{"soft:seed=2,mode=thread", &watched_ops},
		{"soft:seed=3", &watched_ops},
	};
	char name[] = "/tmp/nvme-test-XXXXXX";
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(nvme_trace_open(name, 10000, &trace), 0);
	up.want = down.want = 3;
	assert_int_equal(poll_to_the_end(probe_async(devs, 3)), 0);
	assert_ptr_equal(nth('a', 0)->opts.trace, trace);
	assert_int_equal(detach_to_the_end(detach_begin()), 0);
	assert_int_equal(trace->header->ctrlrs, 3);
	nvme_trace_close(trace);
	unlink(name);
}

/* ---- without memory ---- */

/* Each allocation fails once: nothing is attached, and nothing is lost. */
static void test_no_memory(void **state)
{
	struct nvme_probe_opts opts = options(NULL, 0);
	unsigned int n;

	(void)state;
	for (n = 1; n < 1000; n++) {
		begin(state);
		allocations = n;
		if (probe(four, 1) == 0)
			break;
		allocations = 0;
		assert_int_equal(num_attached == 99 ? 0 : num_attached, 0);
		assert_string_equal(order, n < 3 ? "" : "pf");
		if (n < 3)
			assert_non_null(strstr(last_line, "free some memory"));
		else
			assert_int_equal(nth('f', 0)->rc, -ENOMEM);
	}
	assert_in_range(n, 6, 999); /* among others: context, job, controller, arena, admin queue */
	allocations = 0;
	detach_all();

	for (n = 1; n < 4; n++) { /* context, list, the first that is found */
		begin(state);
		allocations = n;
		assert_int_equal(nvme_probe(NULL, &num_events, on_probe, on_attach, &opts),
		                 -ENOMEM);
		assert_null(nvme_probe_async(NULL, &num_events, on_probe, on_attach, &opts));
		assert_int_equal(num_events, 0);
		assert_non_null(strstr(last_line, "free some memory"));
	}
}

/* Then the controller is still attached, and nvme_detach() needs none. */
static void test_no_memory_to_detach(void **state)
{
	struct nvme_detach_ctx *ctx = NULL;
	struct nvme_ctrlr *ctrlr;
	unsigned int n;

	(void)state;
	assert_int_equal(probe(four, 1), 0);
	ctrlr = nth('a', 0)->ctrlr;
	for (n = 1; n < 3; n++) { /* job, context */
		allocations = n;
		assert_int_equal(nvme_detach_async(ctrlr, &ctx), -ENOMEM);
		assert_null(ctx);
		assert_int_equal(error_lines, n);
	}
	assert_int_equal(nvme_detach(ctrlr), 0);
}

/* ---- transport ids ---- */

static void test_trid_good(void **state)
{
	static const struct {
		const char *text;
		enum nvme_transport_type trtype;
		const char *traddr, *again; /* formatted */
	} rows[] = {
		{"trtype:PCIe traddr:0000:04:00.0", NVME_TRANSPORT_PCIE, "0000:04:00.0",
	         "trtype:PCIe traddr:0000:04:00.0"},
		{"trtype=PCIe traddr=0000:04:00.0", NVME_TRANSPORT_PCIE, "0000:04:00.0",
	         "trtype:PCIe traddr:0000:04:00.0"},
		{"traddr:04:00.0 trtype:PCIE", NVME_TRANSPORT_PCIE, "0000:04:00.0",
	         "trtype:PCIe traddr:0000:04:00.0"},
		{" \tTrType:pcie\n TRADDR=AB:1f.7\r\n", NVME_TRANSPORT_PCIE, "0000:ab:1f.7",
	         "trtype:PCIe traddr:0000:ab:1f.7"},
		{"traddr:10000:1:2.3", NVME_TRANSPORT_PCIE, "10000:01:02.3",
	         "trtype:PCIe traddr:10000:01:02.3"},
		{"trtype:PCIe", NVME_TRANSPORT_PCIE, "", "trtype:PCIe"},
		{"trtype:custom", NVME_TRANSPORT_CUSTOM, "", "trtype:CUSTOM"},
		{"trtype:CUSTOM traddr:soft:size=1M", NVME_TRANSPORT_CUSTOM, "soft:size=1M",
	         "trtype:CUSTOM traddr:soft:size=1M"},
		{"traddr:soft:size=1M trtype:CUSTOM", NVME_TRANSPORT_CUSTOM, "soft:size=1M",
	         "trtype:CUSTOM traddr:soft:size=1M"},
		{"trtype:CUSTOM traddr:soft:plan=on read #1 drop", NVME_TRANSPORT_CUSTOM,
	         "soft:plan=on read #1 drop", "trtype:CUSTOM traddr:soft:plan=on read #1 drop"},
	};
	struct nvme_transport_id trid, again;
	char text[128];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		memset(&trid, 0xff, sizeof(trid));
		assert_int_equal(nvme_transport_id_parse(&trid, rows[i].text), 0);
		assert_int_equal(trid.trtype, rows[i].trtype);
		assert_string_equal(trid.traddr, rows[i].traddr);
		assert_int_equal(nvme_transport_id_format(text, sizeof(text), &trid),
		                 strlen(rows[i].again));
		assert_string_equal(text, rows[i].again);
		assert_int_equal(nvme_transport_id_parse(&again, text), 0);
		assert_memory_equal(&again, &trid, sizeof(trid));
		assert_int_equal(nvme_transport_id_compare(&again, &trid), 0);
	}
	assert_string_equal(last_line, "");
}

static void test_trid_bad(void **state)
{
	static char longest[NVME_TRADDR_SIZE + 32] = "trtype:CUSTOM traddr:";
	static const struct nvme_transport_id zero;
	static const struct {
		const char *text;
		int rc;
		const char *line;
	} rows[] = {
		{NULL, -EINVAL, "empty"},
		{"", -EINVAL, "empty"},
		{" \t\n", -EINVAL, "empty"},
		{"trtype", -EINVAL, "no value"},
		{"trtype:", -EINVAL, "no value"},
		{"trtype: PCIe", -EINVAL, "no value"},
		{"trtype PCIe", -EINVAL, "no value"},
		{"trtype:PCIe traddr=", -EINVAL, "no value"},
		{"0000:04:00.0", -EINVAL, "keys trtype and traddr only"},
		{":PCIe", -EINVAL, "keys trtype and traddr only"},
		{"trtype:PCIe traddr:04:00.0 ns:1", -EINVAL, "keys trtype and traddr only"},
		{"trtyp:PCIe", -EINVAL, "keys trtype and traddr only"},
		{"trtypes:PCIe", -EINVAL, "keys trtype and traddr only"},
		{"trtype:PCIe trtype:PCIe", -EINVAL, "twice"},
		{"traddr:04:00.0 traddr:04:00.0", -EINVAL, "twice"},
		{"trtype:PCI", -EINVAL, "not PCIe or CUSTOM"},
		{"trtype:PCIe2", -EINVAL, "not PCIe or CUSTOM"},
		{"trtype:RDMA traddr:192.0.2.1", -ENOTSUP, "not PCIe or CUSTOM"},
		{"trtype:tcp", -ENOTSUP, "not PCIe or CUSTOM"},
		{"trtype:FC", -ENOTSUP, "not PCIe or CUSTOM"},
		{"traddr:soft", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:soft", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:04:00", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:0000:04:20.0", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:0000:04:00.8", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:0000:04:00.0x", -EINVAL, "not one of PCI"},
		{"trtype:PCIe traddr:0x0:04:00.0", -EINVAL, "not one of PCI"},
		{longest, -EINVAL, "1023 characters"},
	};
	struct nvme_transport_id trid;
	char text[16];
	size_t i;

	(void)state;
	memset(longest + strlen(longest), 'x', NVME_TRADDR_SIZE);
	for (i = 0; i < COUNT(rows); i++) {
		memset(&trid, 0xff, sizeof(trid));
		last_line[0] = '\0';
		assert_int_equal(nvme_transport_id_parse(&trid, rows[i].text), rows[i].rc);
		if (strstr(last_line, rows[i].line) == NULL)
			fail_msg("'%s': %s", rows[i].text, last_line);
		assert_memory_equal(&trid, &zero, sizeof(trid));
	}
	longest[strlen(longest) - 1] = '\0'; /* one less fits */
	assert_int_equal(nvme_transport_id_parse(&trid, longest), 0);
	assert_int_equal(nvme_transport_id_format(text, sizeof(text), &trid), strlen(longest));
	assert_string_equal(text, "trtype:CUSTOM t"); /* cut, as snprintf() does */
	memset(&trid, 0, sizeof(trid));
	assert_int_equal(nvme_transport_id_format(text, sizeof(text), &trid), -EINVAL);
}

static void test_trid_compare(void **state)
{
	struct nvme_transport_id a = trid_of("traddr:0000:04:00.0"), b = a;

	(void)state;
	strcpy(b.traddr, "4:0.0"); /* as a program may write it */
	assert_int_equal(nvme_transport_id_compare(&a, &b), 0);
	strcpy(b.traddr, "0000:04:00.1");
	assert_true(nvme_transport_id_compare(&a, &b) < 0);
	assert_true(nvme_transport_id_compare(&b, &a) > 0);
	b = trid_of("trtype:CUSTOM traddr:0000:04:00.0");
	assert_true(nvme_transport_id_compare(&a, &b) < 0);
	assert_true(nvme_transport_id_compare(&b, &a) > 0);
	a = trid_of("trtype:CUSTOM traddr:4:0.0"); /* means what its device table makes of it */
	assert_int_not_equal(nvme_transport_id_compare(&a, &b), 0);
	assert_string_equal(nvme_transport_id_trtype_str(NVME_TRANSPORT_PCIE), "PCIe");
	assert_null(nvme_transport_id_trtype_str((enum nvme_transport_type)0));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_probe, begin),
		cmocka_unit_test_setup(test_first_error, begin),
		cmocka_unit_test_setup(test_optional, begin),
		cmocka_unit_test_setup(test_options, begin),
		cmocka_unit_test_setup(test_options_used, begin),
		cmocka_unit_test_setup(test_qpair_options, begin),
		cmocka_unit_test_setup(test_bus, begin),
		cmocka_unit_test_setup(test_bus_again, begin),
		cmocka_unit_test_setup(test_no_bus, begin),
		cmocka_unit_test_setup(test_by_address, begin),
		cmocka_unit_test_setup(test_refused, begin),
		cmocka_unit_test_setup(test_attach_by_trid, begin),
		cmocka_unit_test_setup(test_bring_ups_overlap, begin),
		cmocka_unit_test_setup(test_async, begin),
		cmocka_unit_test_setup(test_ready_first, begin),
		cmocka_unit_test_setup(test_without_threads, begin),
		cmocka_unit_test_setup(test_edges, begin),
		cmocka_unit_test_setup(test_in_callbacks, begin),
		cmocka_unit_test_setup(test_shutdowns_overlap, begin),
		cmocka_unit_test_setup(test_detach_errors, begin),
		cmocka_unit_test_setup(test_callbacks_of_commands, begin),
		cmocka_unit_test_setup(test_recorded, begin),
		cmocka_unit_test_setup(test_no_memory, begin),
		cmocka_unit_test_setup(test_no_memory_to_detach, begin),
		cmocka_unit_test_setup(test_trid_good, begin),
		cmocka_unit_test_setup(test_trid_bad, begin),
		cmocka_unit_test_setup(test_trid_compare, begin),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
