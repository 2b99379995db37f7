// SPDX-License-Identifier: MIT
/*
 * timeouts: a device that goes silent, seen from outside.
 *
 * Reads sixteen blocks with half a second for each. What happens when one does not come back is printed
 * with the time. A timeout callback climbs the ladder here: it asks the controller to abort the
 * command, and when that does not help either, or is not answered, resets the controller.
 *
 *	timeouts [--ladder] [DEVICE]	for example: timeouts 0000:01:00.0
 *
 * --ladder registers no callback and leaves it to the driver, of which the log is printed.
 * Without a device it works on the software controller, which never completes the read of block 8.
 * Other ways of being silent are fault plans: timeouts 'soft:plan=on read lba 8 drop; on abort dw0 1'
 * refuses the Abort, 'on abort drop' does not answer it. It only reads.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

#define READS    16
#define LIMIT_MS 500

/* All that callbacks need. It lives longer than the controller. */
struct watcher {
	struct nvme_ctrlr *ctrlr; /* NULL: not yet attached, or being detached */
	struct nvme_qpair *qp;
	uint8_t *buf;
	uint64_t start; /* ms */
	bool aborting, give_up;
	unsigned int complete, aborted, failed;
	char said[4096]; /* lines of the log that were not printed yet */
};

static struct watcher watcher;

/* A line with the time, in tenths of a second. */
static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	uint64_t ms = watcher.ctrlr != NULL ? device_now_ms(watcher.ctrlr) - watcher.start : 0;
	va_list ap;

	printf("%3" PRIu64 ".%" PRIu64 " s  ", ms / 1000, ms / 100 % 10);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/*
 * With --ladder: what the driver says of it, without date and place. It must not call the driver, or
 * ask the device for the time: the line waits until the poll is over.
 */
static void driver_says(void *arg, enum nvme_log_level level, const char *line)
{
	const char *text = strstr(line, "*: ");
	size_t used = strlen(watcher.said);

	(void)arg;
	if (watcher.ctrlr == NULL || level < NVME_LOG_WARNING)
		fprintf(stderr, "%s\n", line);
	else
		snprintf(watcher.said + used, sizeof(watcher.said) - used, "%s\n",
		         text != NULL ? text + 3 : line);
}

static void print_said(void)
{
	char *line, *save = NULL;

	for (line = strtok_r(watcher.said, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		say("%s", line);
	watcher.said[0] = '\0';
}

static void abort_done(void *arg, const struct nvme_cpl *cpl)
{
	(void)arg;
	if (!nvme_cpl_is_error(cpl) && (cpl->cdw0 & 1) == 0) {
		say("the controller says that it has aborted it");
		return;
	}
	say("the controller has not aborted it");
	watcher.give_up = true;
}

/* First rung: Abort. It is an admin command, so the controller's thread polls the admin queue. */
static void on_timeout(void *arg, struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp, uint16_t cid)
{
	(void)arg;
	if (qp == NULL) {
		say("nor does the Abort come back");
		watcher.give_up = true;
		return;
	}
	say("command %u does not come back: it is to be aborted", cid);
	watcher.aborting = true;
	if (nvme_ctrlr_cmd_abort(ctrlr, qp, cid, abort_done, NULL) != 0)
		watcher.give_up = true;
}

static void read_ended(void *arg, const struct nvme_cpl *cpl)
{
	const uint8_t sct = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT);
	const uint8_t sc = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SC);

	(void)arg;
	if (!nvme_cpl_is_error(cpl))
		watcher.complete++;
	else if (sct == NVME_SCT_GENERIC &&
	         (sc == NVME_SC_ABORTED_BY_REQUEST || sc == NVME_SC_ABORTED_SQ_DELETION))
		watcher.aborted++;
	else
		watcher.failed++;
	if (nvme_cpl_is_error(cpl)) {
		print_said();
		say("a read ends: %s", nvme_status_name(sct, sc));
	}
}

/* Second rung: the reset. After it the queue pair is connected again. */
static int poll_once(struct watcher *w)
{
	int rc = nvme_qpair_process_completions(w->qp, 0);

	print_said();
	if (rc >= 0 && w->aborting)
		(void)nvme_ctrlr_process_admin_completions(w->ctrlr);
	if (rc >= 0 && w->give_up) {
		say("the controller is reset");
		rc = nvme_ctrlr_reset(w->ctrlr);
		w->give_up = false; /* an Abort that was on its way has ended in there */
		if (rc == 0)
			rc = nvme_qpair_process_completions(w->qp, 0);
	}
	if (rc == -ENXIO) {
		say("the queue pair was ended by a reset: it is connected again");
		rc = nvme_ctrlr_reconnect_io_qpair(w->qp);
	}
	return rc;
}

static int read_blocks(struct watcher *w, struct nvme_ns *ns)
{
	uint32_t size = nvme_ns_get_extended_sector_size(ns);
	unsigned int i;
	int rc = 0;

	for (i = 0; i < READS && rc == 0; i++)
		rc = nvme_ns_cmd_read(ns, w->qp, w->buf + i * size, i % nvme_ns_get_num_sectors(ns),
		                      1, read_ended, NULL, 0);
	while (rc >= 0 && w->complete + w->aborted + w->failed < READS)
		rc = poll_once(w); /* the ladder has an end, so this has one, too */
	if (rc >= 0)
		rc = nvme_ns_read(ns, w->qp, w->buf, 0, 1, NULL); /* it answers again */
	if (rc >= 0)
		say("%u reads complete, %u aborted, %u failed; the controller works", w->complete,
		    w->aborted, w->failed);
	return rc < 0 ? rc : 0;
}

static int run(struct watcher *w, bool ladder)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(w->ctrlr, nvme_ctrlr_get_first_active_ns(w->ctrlr));
	int rc = 0;

	if (ns == NULL) {
		fprintf(stderr, "timeouts: no namespace: create one with 'nvme create-ns'\n");
		return -ENODEV;
	}
	w->buf = nvme_dma_alloc(w->ctrlr, READS * (size_t)nvme_ns_get_extended_sector_size(ns));
	if (w->buf == NULL)
		return -ENOMEM;
	if (!ladder)
		rc = nvme_ctrlr_register_timeout_callback(w->ctrlr, LIMIT_MS * 1000,
		                                          LIMIT_MS * 1000, on_timeout, NULL);
	if (rc == 0)
		rc = nvme_ctrlr_alloc_io_qpair(w->ctrlr, NULL, &w->qp);
	if (rc == 0)
		rc = read_blocks(w, ns);
	if (rc != 0)
		say("it is given up: %s", strerror(-rc));
	return rc;
}

int main(int argc, char **argv)
{
	bool ladder = argc > 1 && strcmp(argv[1], "--ladder") == 0;
	const char *device = "soft:plan=on read lba 8 drop";
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	int status, rc;

	if (argc > (ladder ? 2 : 1))
		device = argv[argc - 1];
	if (argc > (ladder ? 3 : 2) || device[0] == '-') {
		return wrong_use("timeouts", device, "[--ladder] [DEVICE]\n" DEVICE_USAGE);
	}
	memset(&opts, 0, sizeof(opts));
	opts.io_timeout_ms = LIMIT_MS;
	opts.admin_timeout_ms = LIMIT_MS;
	opts.log = ladder ? driver_says : NULL;
	opts.log_level = ladder ? NVME_LOG_NOTICE : NVME_LOG_ERROR;
	status = open_device_with(device, &opts, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	watcher.ctrlr = ctrlr;
	watcher.start = device_now_ms(ctrlr);
	rc = run(&watcher, ladder);
	watcher.ctrlr = NULL;
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
