// SPDX-License-Identifier: MIT
/*
 * What perf has measured: counting it, adding it up, and printing it as a table or as JSON.
 */
#ifndef PERF_REPORT_H
#define PERF_REPORT_H

#include "perf_options.h"
#include <inttypes.h>
#include <stdio.h>

/* Latencies are counted in buckets: 32 to each power of two, so that none is wrong by over 4 %. */
enum { SUB = 5, BUCKETS = (64 - SUB + 1) << SUB };

struct tally {
	uint64_t done, reads;   /* I/Os */
	uint64_t sum, min, max; /* of their latencies, ns */
	uint64_t elapsed;       /* from the start to the end of the last one, ns */
	double iops;            /* of several threads: the sum of theirs */
	uint32_t lines;         /* of the table, added up here */
	uint64_t buckets[BUCKETS];
	struct nvme_qpair_stats stats;
};

static const double percents[] = {1, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.99, 99.999};
enum { PERCENTS = sizeof(percents) / sizeof(percents[0]) };

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift = ns >> SUB == 0 ? 0 : 63 - (uint32_t)__builtin_clzll(ns) - SUB;

	return (shift << SUB) + (uint32_t)(ns >> shift);
}

/* The largest latency that a bucket counts, ns. */
static uint64_t bucket_end(uint32_t bucket)
{
	uint32_t shift = bucket < 2 << SUB ? 0 : (bucket >> SUB) - 1;

	return (((uint64_t)bucket - ((uint64_t)shift << SUB) + 1) << shift) - 1;
}

static void tally_add(struct tally *t, bool read, uint64_t took)
{
	/* another thread reads it, for the progress line */
	__atomic_store_n(&t->done, t->done + 1, __ATOMIC_RELAXED);
	t->reads += read;
	t->sum += took;
	t->min = t->done == 1 || took < t->min ? took : t->min;
	t->max = took > t->max ? took : t->max;
	t->buckets[bucket_of(took)]++;
}

static void tally_add_stats(struct tally *t, const struct nvme_qpair_stats *more)
{
	t->stats.polls += more->polls;
	t->stats.idle_polls += more->idle_polls;
	t->stats.completions += more->completions;
	t->stats.submitted_requests += more->submitted_requests;
	t->stats.sq_doorbell_updates += more->sq_doorbell_updates;
	t->stats.cq_doorbell_updates += more->cq_doorbell_updates;
}

static void tally_merge(struct tally *to, const struct tally *t)
{
	uint32_t i;

	if (t->done != 0) {
		to->min = to->done == 0 || t->min < to->min ? t->min : to->min;
		to->max = t->max > to->max ? t->max : to->max;
	}
	to->done += t->done;
	to->reads += t->reads;
	to->sum += t->sum;
	to->elapsed = t->elapsed > to->elapsed ? t->elapsed : to->elapsed;
	to->iops += t->iops;
	to->lines++;
	for (i = 0; i < BUCKETS; i++)
		to->buckets[i] += t->buckets[i];
	tally_add_stats(to, &t->stats);
}

static double average_us(const struct tally *t)
{
	return t->done != 0 ? (double)t->sum / (double)t->done / 1e3 : 0;
}

static double percentile_us(const struct tally *t, double percent)
{
	double wanted = (double)t->done * percent / 100, seen = 0;
	uint64_t end;
	uint32_t i;

	for (i = 0; i < BUCKETS - 1; i++) {
		seen += (double)t->buckets[i];
		if (seen >= wanted)
			break;
	}
	end = bucket_end(i);
	return (double)(end < t->max ? end : t->max) / 1e3;
}

/* ---- the table ---- */

static void print_rule(void)
{
	printf("========================================================\n");
}

static void print_heading(void)
{
	print_rule();
	printf("%86s\n%-40s: %10s %10s %10s %10s %10s\n", "Latency(us)", "Device Information",
	       "IOPS", "MiB/s", "Average", "min", "max");
}

static void print_line(const char *name, const struct tally *t)
{
	printf("%-40s: %10.2f %10.2f %10.2f %10.2f %10.2f\n", name, t->iops,
	       t->iops * size / (1 << 20), average_us(t), (double)t->min / 1e3,
	       (double)t->max / 1e3);
}

static void print_latency(const struct tally *t)
{
	int i;

	printf("\nSummary latency data:\n");
	for (i = 0; i < PERCENTS; i++)
		printf("%10.5f%% : %10.3fus\n", percents[i], percentile_us(t, percents[i]));
}

static void print_stats(const struct tally *t)
{
	const struct nvme_qpair_stats *s = &t->stats;

	printf("\nQueue pairs:\n");
	printf("  polls: %" PRIu64 ", idle: %" PRIu64 "\n", s->polls, s->idle_polls);
	printf("  submitted: %" PRIu64 ", completed: %" PRIu64 "\n", s->submitted_requests,
	       s->completions);
	printf("  doorbells: %" PRIu64 " of SQs, %" PRIu64 " of CQs\n", s->sq_doorbell_updates,
	       s->cq_doorbell_updates);
}

/* ---- JSON ---- */

static void print_json_text(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < ' ')
			printf("\\u%04x", *text);
		else
			printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	}
	putchar('"');
}

/* The members of an object, which the caller has begun and ends. */
static void print_json(const struct tally *t)
{
	const struct nvme_qpair_stats *s = &t->stats;
	int i;

	printf("\"ios\":%" PRIu64 ",\"reads\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.9f,",
	       t->done, t->reads, t->done * size, (double)t->elapsed / 1e9);
	printf("\"iops\":%.2f,\"mib_per_s\":%.2f,", t->iops, t->iops * size / (1 << 20));
	printf("\"latency_us\":{\"average\":%.3f,\"min\":%.3f,\"max\":%.3f}", average_us(t),
	       (double)t->min / 1e3, (double)t->max / 1e3);
	for (i = 0; i < PERCENTS && latency; i++)
		printf("%s\"%g\":%.3f%s", i == 0 ? ",\"percentiles_us\":{" : ",", percents[i],
		       percentile_us(t, percents[i]), i == PERCENTS - 1 ? "}" : "");
	if (stats)
		printf(",\"stats\":{\"polls\":%" PRIu64 ",\"idle_polls\":%" PRIu64
		       ",\"submitted_requests\":%" PRIu64 ",\"completions\":%" PRIu64
		       ",\"sq_doorbell_updates\":%" PRIu64 ",\"cq_doorbell_updates\":%" PRIu64 "}",
		       s->polls, s->idle_polls, s->submitted_requests, s->completions,
		       s->sq_doorbell_updates, s->cq_doorbell_updates);
}

/* ---- all of it, in this order: the beginning, the lines, the end ---- */

static struct tally total;

static void report_begin(void)
{
	if (json)
		printf("{\"workload\":\"%s\",\"depth\":%u,\"size\":%u,\"results\":[", workload,
		       depth, size);
	else
		print_heading();
}

static void report_line(const char *device, uint32_t nsid, int core, struct tally *t)
{
	char name[80];

	if (t->elapsed != 0)
		t->iops = (double)t->done * 1e9 / (double)t->elapsed;
	if (json) {
		printf("%s{\"device\":", total.lines == 0 ? "" : ",");
		print_json_text(device);
		printf(",\"nsid\":%u,\"core\":%d,", nsid, core);
		print_json(t);
		printf("}\n");
	} else {
		snprintf(name, sizeof(name), "%.48s NSID %u from core %2d", device, nsid, core);
		print_line(name, t);
	}
	tally_merge(&total, t);
}

static void report_end(void)
{
	if (json) {
		printf("],\"total\":{");
		print_json(&total);
		printf("}}\n");
		return;
	}
	print_rule();
	print_line("Total", &total);
	if (latency)
		print_latency(&total);
	if (stats)
		print_stats(&total);
}

#endif /* PERF_REPORT_H */
