// SPDX-License-Identifier: MIT
/*
 * smart: how a controller is. Its health, the latest errors, its firmware slots, its self-tests.
 *
 *	smart [--json] [--self-test] [--stop] [DEVICE]	for example: smart 0000:01:00.0
 *
 * Without a device it asks the software controller. It only reads log pages; with --self-test it
 * starts a short self-test first, which goes on when smart has ended: a later smart shows how far it
 * is, and its result. With --stop it ends the one that is running.
 * Text and JSON have the same keys; counters of 128 bits are decimal numbers in both. What comes from
 * the device is not trusted: strings may hold anything.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

static bool json;
static bool first = true; /* nothing stands before this value in its object or array */

/* ---- one line, or one member ---- */

static void put_key(const char *key)
{
	if (json)
		printf(key != NULL ? "%s\"%s\": " : "%s", first ? "" : ", ", key);
	else
		printf(key != NULL ? "%s  %-20s " : "%s  ", first ? "" : "\n", key);
	first = false;
}

static void open_part(const char *key, char bracket, const char *headline)
{
	if (json) {
		put_key(key);
		putchar(bracket);
	} else if (headline != NULL) {
		printf("%s\n", headline);
	}
	first = true;
}

static void close_part(char bracket)
{
	printf("%s%c", !json && !first ? "\n" : "", json ? bracket : '\n');
	first = false;
}

/* A number of 128 bits, low half first, in decimal: it is divided by 10 until nothing is left. */
static void put_number(const char *key, uint64_t low, uint64_t high, const char *unit)
{
	uint32_t parts[4] = {(uint32_t)(high >> 32), (uint32_t)high, (uint32_t)(low >> 32),
	                     (uint32_t)low};
	char digits[41] = "", *at = digits + sizeof(digits) - 1;
	uint64_t rest;

	do {
		rest = 0;
		for (int i = 0; i < 4; i++) {
			rest = rest << 32 | parts[i];
			parts[i] = (uint32_t)(rest / 10);
			rest %= 10;
		}
		*--at = (char)('0' + rest);
	} while ((parts[0] | parts[1] | parts[2] | parts[3]) != 0);
	put_key(key);
	printf("%s%s%s", at, json || *unit == '\0' ? "" : " ", json ? "" : unit);
}

/*
 * Up to size characters of the device's, less the blanks that pad them: what is not printable, or
 * would end a string, is a dot.
 */
static void put_text(const char *key, const char *text, size_t size)
{
	while (size > 0 && text[size - 1] == ' ')
		size--;
	put_key(key);
	printf(json ? "\"" : "");
	for (; size > 0 && *text != '\0'; text++, size--)
		putchar(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '.' : *text);
	printf(json ? "\"" : "");
}

/* An array in which there was nothing. */
static void put_none(void)
{
	if (json || !first)
		return;
	put_key(NULL);
	printf("none");
}

/* ---- the pages ---- */

static void print_health(const struct nvme_smart_log *log)
{
	const struct {
		const char *key;
		const uint64_t *value;
		const char *unit;
	} counters[] = {
		{"data_units_read", log->data_units_read, "x 512000 bytes"},
		{"data_units_written", log->data_units_written, "x 512000 bytes"},
		{"host_reads", log->host_reads, "commands"},
		{"host_writes", log->host_writes, "commands"},
		{"busy_time", log->busy_time, "minutes"},
		{"power_cycles", log->power_cycles, ""},
		{"power_on_hours", log->power_on_hours, "hours"},
		{"unsafe_shutdowns", log->unsafe_shutdowns, ""},
		{"media_errors", log->media_errors, ""},
		{"error_log_entries", log->error_log_entries, ""},
	};

	open_part("health", '{', "Health");
	put_number("critical_warning", log->critical_warning, 0,
	           log->critical_warning == 0 ? "(none)" : "(see NVME_SMART_* in nvme.h)");
	put_number("temperature", log->temperature[0] | (uint64_t)log->temperature[1] << 8, 0,
	           "kelvin");
	put_number("available_spare", log->avsp, 0, "%");
	put_number("spare_threshold", log->avspt, 0, "%");
	put_number("percentage_used", log->pused, 0, "%");
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		put_number(counters[i].key, counters[i].value[0], counters[i].value[1],
		           counters[i].unit);
	close_part('}');
}

static void print_error(const struct nvme_error_log_entry *e)
{
	uint8_t sct = (uint8_t)NVME_GET(e->sts, NVME_CPL_SCT);
	const char *name = nvme_status_full_name(sct, (uint8_t)NVME_GET(e->sts, NVME_CPL_SC), 0);

	if (!json) {
		put_key(NULL);
		printf("error %" PRIu64 ": queue %u, command %u, namespace %" PRIu32
		       ", LBA %" PRIu64 ": %s",
		       e->ecnt, e->sqid, e->cid, e->nsid, e->lba, name);
		return;
	}
	open_part(NULL, '{', NULL);
	put_number("error", e->ecnt, 0, "");
	put_number("queue", e->sqid, 0, "");
	put_number("command", e->cid, 0, "");
	put_number("namespace", e->nsid, 0, "");
	put_number("lba", e->lba, 0, "");
	put_text("status", name, strlen(name));
	close_part('}');
}

static void print_errors(const struct nvme_error_log_entry *log, uint32_t n)
{
	open_part("errors", '[', "Errors, the latest first");
	for (uint32_t i = 0; i < n && log[i].ecnt != 0; i++) /* 0: the rest was never used */
		print_error(&log[i]);
	put_none();
	close_part(']');
}

static void print_firmware(const struct nvme_fw_slot_log *log)
{
	char slot[24];

	open_part("firmware", '{', "Firmware");
	put_number("running_slot", log->afi & 7u, 0, "");
	put_number("next_slot", log->afi >> 4 & 7u, 0,
	           (log->afi >> 4 & 7u) == 0 ? "(the same)" : "");
	for (int i = 0; i < 7; i++) {
		snprintf(slot, sizeof(slot), "slot_%d", i + 1);
		if (log->frs[i][0] != '\0')
			put_text(slot, log->frs[i], sizeof(log->frs[i]));
	}
	close_part('}');
}

/* The result of one test; codes are small, so they are shown as they are in the page. */
static void print_self_test(const struct nvme_self_test_result *r)
{
	uint64_t hours = 0;

	for (int i = 7; i >= 0; i--)
		hours = hours << 8 | r->poh[i];
	if (!json) {
		put_key(NULL);
		printf("test %u at %" PRIu64 " hours: result %u%s, segment %u", r->status >> 4u,
		       hours, r->status & 15u, (r->status & 15u) == 0 ? " (passed)" : "",
		       r->segment);
		return;
	}
	open_part(NULL, '{', NULL);
	put_number("test", r->status >> 4, 0, "");
	put_number("power_on_hours", hours, 0, "");
	put_number("result", r->status & 15u, 0, "");
	put_number("segment", r->segment, 0, "");
	close_part('}');
}

static void print_self_tests(const struct nvme_self_test_log *log)
{
	uint32_t running = log->current & 15u;

	open_part("self_test", '{', "Self-test");
	put_number("running", running, 0,
	           running == 0                         ? "(none)"
	           : running == NVME_SELF_TEST_SHORT    ? "(short)"
	           : running == NVME_SELF_TEST_EXTENDED ? "(extended)"
	                                                : "");
	put_number("completed", running != 0 ? log->completion & 127u : 0, 0, "%");
	close_part('}');
	open_part("self_tests", '[', "Self-tests, the latest first");
	for (int i = 0; i < 20 && (log->result[i].status & 15u) != 15; i++) /* 15: never used */
		print_self_test(&log->result[i]);
	put_none();
	close_part(']');
}

/* A page that cannot be read is the end: the text says why. */
static int read_page(struct nvme_ctrlr *ctrlr, uint8_t lid, void *page, uint32_t len)
{
	char text[NVME_ERROR_MAX];
	struct nvme_cpl cpl;
	int rc = nvme_ctrlr_get_log_page(ctrlr, lid, NVME_NSID_ALL, page, len, 0, &cpl);

	if (rc != 0)
		fprintf(stderr, "smart: log page %02xh cannot be read: %s\n", lid,
		        nvme_strerror(text, sizeof(text), rc, &cpl));
	return rc;
}

/* With a controller that has self-tests: how they went. */
static int self_tests(struct nvme_ctrlr *ctrlr)
{
	struct nvme_self_test_log log;
	int rc;

	if ((nvme_ctrlr_get_data(ctrlr)->oacs & NVME_OACS_SELF_TEST) == 0)
		return 0;
	rc = read_page(ctrlr, NVME_LOG_PAGE_DEVICE_SELF_TEST, &log, sizeof(log));
	if (rc == 0)
		print_self_tests(&log);
	return rc;
}

static int do_self_test(struct nvme_ctrlr *ctrlr, uint32_t code)
{
	char text[NVME_ERROR_MAX];
	struct nvme_cpl cpl;
	int rc = nvme_ctrlr_self_test(ctrlr, 0, code, &cpl);

	if (rc != 0)
		fprintf(stderr, "smart: no self-test was %s: %s\n",
		        code == NVME_SELF_TEST_ABORT ? "stopped" : "started",
		        nvme_strerror(text, sizeof(text), rc, &cpl));
	return rc;
}

static int smart(struct nvme_ctrlr *ctrlr)
{
	static struct nvme_error_log_entry errors[256]; /* ELPE has 8 bits, and is 0-based */
	uint32_t n = nvme_ctrlr_get_data(ctrlr)->elpe + 1u;
	struct nvme_fw_slot_log firmware;
	struct nvme_smart_log health;
	int rc;

	rc = read_page(ctrlr, NVME_LOG_PAGE_SMART, &health, sizeof(health));
	if (rc == 0)
		rc = read_page(ctrlr, NVME_LOG_PAGE_ERROR, errors, n * sizeof(errors[0]));
	if (rc == 0)
		rc = read_page(ctrlr, NVME_LOG_PAGE_FIRMWARE_SLOT, &firmware, sizeof(firmware));
	if (rc != 0)
		return rc;
	printf(json ? "{" : "");
	print_health(&health);
	print_errors(errors, n);
	print_firmware(&firmware);
	rc = self_tests(ctrlr);
	printf(json ? "}\n" : "");
	return fflush(stdout) != 0 ? -EIO : rc;
}

int main(int argc, char **argv)
{
	const char *device = "soft";
	struct nvme_ctrlr *ctrlr;
	bool start = false, stop = false;
	int status, rc = 0, i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--self-test") == 0)
			start = true;
		else if (strcmp(argv[i], "--stop") == 0)
			stop = true;
		else
			break;
	}
	if (argc > i && argv[i][0] != '-')
		device = argv[i++];
	if (argc > i)
		return wrong_use("smart", argv[i],
		                 "[--json] [--self-test] [--stop] [DEVICE]\n" DEVICE_USAGE);
	status = open_device(device, &ctrlr);
	if (status != 0)
		return status; /* the driver has said why */
	if (start)
		rc = do_self_test(ctrlr, NVME_SELF_TEST_SHORT);
	if (rc == 0 && stop)
		rc = do_self_test(ctrlr, NVME_SELF_TEST_ABORT);
	if (rc == 0)
		rc = smart(ctrlr);
	if (nvme_detach(ctrlr) != 0)
		rc = -EIO;
	return rc != 0;
}
