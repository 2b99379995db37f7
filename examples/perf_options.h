// SPDX-License-Identifier: MIT
/*
 * What perf was asked for. The letters are those of SPDK's tool.
 */
#ifndef PERF_OPTIONS_H
#define PERF_OPTIONS_H

#include "device.h"
#include <getopt.h>

#define USAGE                                                                       \
	"usage: perf [OPTIONS]\n"                                                   \
	"  -q DEPTH     commands in flight, on each device from each thread (32)\n" \
	"  -o BYTES     of one I/O, also as in 128K (4096)\n"                       \
	"  -w WORKLOAD  read, write, rw, randread, randwrite, randrw (randread)\n"  \
	"  -M PERCENT   reads among the I/Os of rw and randrw (50)\n"               \
	"  -t SECONDS   how long (3)\n"                                             \
	"  -n COUNT     so many I/Os in all, instead of a time\n"                   \
	"  -c THREADS   each on a core of its own, where there are enough (1)\n"    \
	"  -P COUNT     queue pairs of each device in each thread (1)\n"            \
	"  -D           one doorbell for many commands\n"                           \
	"  --interrupts  sleep instead of polling where nothing is there\n"         \
	"  -L           percentiles of the latency\n"                               \
	"  -r DEVICE    may be given several times (soft)\n"                        \
	"  --transport-stats  polls and doorbells\n"                                \
	"  --json       results as JSON\n"                                          \
	"  --force      write to a device that keeps its data: IT IS LOST\n"

enum { MAX_THREADS = 256, MAX_QPAIRS = 64, NONE = UINT16_MAX };

static uint32_t depth = 32, size = 4096, threads = 1, qpairs = 1;
static uint32_t seconds, num_ios; /* one of them is 0 */
static uint32_t read_percent = NONE;
static bool is_random;
static int delay, interrupts, latency, stats, json, force;
static const char *workload = "randread", *devices[MAX_DEVICES];
static uint32_t num_devices;

/* Options with a number. */
static const struct {
	int letter;
	uint32_t *value, min, max;
} numbers[] = {
	{'q', &depth, 1, 65535},        {'o', &size, 512, 1 << 30},
	{'M', &read_percent, 0, 100},   {'t', &seconds, 1, 1000000},
	{'n', &num_ios, 1, UINT32_MAX}, {'c', &threads, 1, MAX_THREADS},
	{'P', &qpairs, 1, MAX_QPAIRS},
};

static void wrong(const char *what, const char *text)
{
	fprintf(stderr, "perf: %s%s\n" USAGE DEVICE_USAGE, what, text);
	exit(2);
}

/* K stands for 1024. */
static void set_number(int letter, const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);
	size_t i = 0;

	while (numbers[i].letter != letter)
		i++;
	if (*end == 'k' || *end == 'K') {
		n = n <= UINT32_MAX ? n << 10 : UINT64_MAX;
		end++;
	}
	*numbers[i].value = (uint32_t)n;
	if (*text >= '0' && *text <= '9' && *end == '\0' && n >= numbers[i].min &&
	    n <= numbers[i].max)
		return;
	fprintf(stderr, "perf: '-%c %s' makes no sense: give a number from %u to %u\n", letter,
	        text, numbers[i].min, numbers[i].max);
	exit(2);
}

static void check_workload(void)
{
	const char *kind = strncmp(workload, "rand", 4) == 0 ? workload + 4 : workload;
	bool mixed = strcmp(kind, "rw") == 0;

	is_random = kind != workload;
	if (!mixed && strcmp(kind, "read") != 0 && strcmp(kind, "write") != 0)
		wrong("there is no workload ", workload);
	if (!mixed && read_percent != NONE)
		wrong("-M means nothing without -w rw or -w randrw", "");
	if (!mixed)
		read_percent = kind[0] == 'r' ? 100 : 0;
	else if (read_percent == NONE)
		read_percent = 50;
}

/* Ends the program, with a sentence, if it makes no sense. */
static void parse_options(int argc, char **argv)
{
	static const struct option words[] = {
		{"interrupts", no_argument, &interrupts, 1},
		{"json", no_argument, &json, 1},
		{"force", no_argument, &force, 1},
		{"transport-stats", no_argument, &stats, 1},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "q:o:w:M:t:n:c:P:DLr:", words, NULL)) != -1) {
		if (c == '?')
			wrong("see what can be asked for", "");
		if (c == 'h' && printf(USAGE DEVICE_USAGE) > 0)
			exit(0);
		if (c == 'r' && num_devices == MAX_DEVICES)
			wrong("too many devices: ", optarg);
		if (c == 'D')
			delay = 1;
		else if (c == 'L')
			latency = 1;
		else if (c == 'w')
			workload = optarg;
		else if (c == 'r')
			devices[num_devices++] = optarg;
		else if (c != 0)
			set_number(c, optarg);
	}
	if (optind < argc)
		wrong("name devices with -r, not just so: ", argv[optind]);
	if (seconds != 0 && num_ios != 0)
		wrong("-t and -n exclude each other", "");
	if (qpairs > depth)
		wrong("-P is more than -q: some queue pairs would have nothing to do", "");
	check_workload();
	if (seconds == 0 && num_ios == 0)
		seconds = 3;
	if (num_devices == 0)
		devices[num_devices++] = "soft";
}

#endif /* PERF_OPTIONS_H */
