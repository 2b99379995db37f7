// SPDX-License-Identifier: MIT
/*
 * aer: wait for what the controller tells without being asked.
 *
 * Registers for asynchronous events and prints each as it comes, with the namespaces when one of
 * them has changed. The driver itself reads the log page that belongs to an event and tells in the
 * log (standard error) what it says.
 *
 *	aer [-n EVENTS] [-t SECONDS] [-k MS] [DEVICE]		for example: aer 0000:01:00.0
 *
 * It ends after so many events or seconds, or with Ctrl-C. -k is a keep alive timer: a controller
 * that hears nothing for MS milliseconds gives up. Without a device it is the software controller,
 * which has one event of each kind. It writes nothing.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#include <signal.h>

#define ONE_OF_EACH "soft:plan=aer error; aer smart; aer namespace; aer firmware; activation 20ms"
#define POLL_NS     1000000 /* events are rare: a look every millisecond is often enough */

#define USAGE                                                                     \
	"[-n EVENTS] [-t SECONDS] [-k MS] [DEVICE]\n"                             \
	"prints asynchronous events until so many came, so many seconds passed, " \
	"or Ctrl-C\n" DEVICE_USAGE

struct wait {
	struct nvme_ctrlr *ctrlr;
	uint32_t events, seconds, keep_alive_ms; /* 0: no limit, no timer */
	uint32_t seen;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void print_namespaces(const struct nvme_ctrlr *ctrlr)
{
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);

	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid)) {
		const struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);

		printf("  namespace %" PRIu32 ": %" PRIu64 " blocks of %" PRIu32 " bytes\n", nsid,
		       nvme_ns_get_num_sectors(ns), nvme_ns_get_sector_size(ns));
	}
}

/*
 * Runs inside nvme_ctrlr_process_admin_completions(), when the driver has read the log page and
 * knows the namespaces again. It may send commands, but not wait for them.
 */
static void on_event(void *arg, const struct nvme_cpl *cpl)
{
	struct wait *w = arg;
	char text[NVME_TEXT_MAX];

	w->seen++;
	nvme_format_aer(text, sizeof(text), cpl->cdw0);
	printf("event %" PRIu32 ": %s\n", w->seen, text);
	if (NVME_GET(cpl->cdw0, NVME_AER_LID) == NVME_LOG_PAGE_CHANGED_NS_LIST)
		print_namespaces(w->ctrlr);
	fflush(stdout);
}

/* Somebody has to look: the driver has no thread of its own. Keep alive lives on this, too. */
static int wait_for_events(struct wait *w)
{
	uint64_t end = device_now_ms(w->ctrlr) + (uint64_t)w->seconds * 1000;
	const struct timespec pause = {0, POLL_NS};
	int rc = 0;

	printf("waiting for events\n");
	fflush(stdout);
	while (rc >= 0 && !interrupted && (w->events == 0 || w->seen < w->events)) {
		rc = nvme_ctrlr_process_admin_completions(w->ctrlr);
		if (rc == 0 && w->seconds != 0 && device_now_ms(w->ctrlr) > end)
			break;
		if (rc == 0)
			nanosleep(&pause, NULL);
	}
	return rc < 0 ? rc : 0;
}

static int run(struct wait *w)
{
	int rc = nvme_ctrlr_register_aer_callback(w->ctrlr, on_event, w);

	if (rc == 0)
		rc = wait_for_events(w);
	if (rc != 0)
		fprintf(stderr, "aer: no more events: %s\n", strerror(-rc));
	else
		printf("%" PRIu32 " events\n", w->seen);
	return rc;
}

/* Where the number after an option goes to. NULL: there is no such option. */
static uint32_t *find_option(struct wait *w, const char *name)
{
	if (strcmp(name, "-n") == 0)
		return &w->events;
	if (strcmp(name, "-t") == 0)
		return &w->seconds;
	return strcmp(name, "-k") == 0 ? &w->keep_alive_ms : NULL;
}

/* The device, or NULL for a command line that is wrong; that was said. */
static const char *parse(struct wait *w, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i += 2) {
		uint32_t *number = find_option(w, argv[i]);
		const char *text = number != NULL ? argv[i + 1] : argv[i];
		char *end = NULL;
		unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;

		if (number == NULL || text == NULL || !isdigit((unsigned char)*text) ||
		    *end != '\0' || value > 1000000000) {
			wrong_use("aer", text, USAGE);
			return NULL;
		}
		*number = (uint32_t)value;
	}
	if (argc - i > 1) {
		wrong_use("aer", argv[argc - 1], USAGE);
		return NULL;
	}
	if (i == argc && w->events == 0)
		w->events = 4;
	return i < argc ? argv[i] : ONE_OF_EACH;
}

int main(int argc, char **argv)
{
	struct nvme_ctrlr_opts opts;
	struct wait w;
	const char *device;
	int rc;

	memset(&w, 0, sizeof(w));
	device = parse(&w, argc, argv);
	if (device == NULL)
		return 2;
	memset(&opts, 0, sizeof(opts));
	opts.keep_alive_timeout_ms = w.keep_alive_ms;
	opts.read_error_log = true;
	rc = open_device_with(device, &opts, &w.ctrlr);
	if (rc != 0)
		return rc;
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	rc = run(&w);
	if (nvme_detach(w.ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
