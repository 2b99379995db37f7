/* SPDX-License-Identifier: MIT
 *
 * What the fuzzers share: reading decisions from the bytes of an input, and a main() that makes
 * such inputs from seeds, so that a fuzzer is also a plain program:
 *
 *	fuzz_driver [INPUTS [SEED]]     input i is made from SEED + i
 *	fuzz_driver 1 SEED              one of them again
 *
 * With -DNVME_LIBFUZZER and -fsanitize=fuzzer (clang) libFuzzer makes the inputs instead.
 * Include it after nvme.h; a fuzzer defines fuzz_one() and fuzz_summary().
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define FUZZ_MAX_INPUT  4096
#define FUZZ_MAX_REPORT 20 /* failures that are printed; all are counted */
#define FUZZ_WATCHDOG   30 /* seconds of CPU time that one input may take */

/* ---- decisions: what is left of an input. An input at its end gives zeros. ---- */

struct fuzz {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint32_t fuzz_bytes(struct fuzz *in, unsigned int n)
{
	uint32_t value = 0;

	while (n-- > 0)
		value = value << 8 | fuzz_u8(in);
	return value;
}

static inline uint32_t fuzz_u32(struct fuzz *in)
{
	return fuzz_bytes(in, 4);
}

static inline uint64_t fuzz_u64(struct fuzz *in)
{
	uint64_t high = fuzz_u32(in);

	return high << 32 | fuzz_u32(in);
}

/* 0 to n - 1; takes no more bytes than n needs. */
static inline uint32_t fuzz_below(struct fuzz *in, uint32_t n)
{
	if (n <= 1)
		return 0;
	return fuzz_bytes(in, n <= 0x100 ? 1 : n <= 0x10000 ? 2 : 4) % n;
}

/* True for so many of 256 inputs, and never at the end of the input. */
static inline bool fuzz_chance(struct fuzz *in, unsigned int of_256)
{
	return of_256 != 0 && fuzz_u8(in) >= 256 - of_256;
}

/* Numbers at which code breaks: small ones, powers of two and their neighbours, all ones, any. */
static inline uint64_t fuzz_odd(struct fuzz *in)
{
	uint8_t kind = fuzz_u8(in);
	uint64_t power = UINT64_C(1) << fuzz_below(in, 64);

	switch (kind % 8) {
	case 0:
	case 1:
		return kind / 8;
	case 2:
		return power;
	case 3:
		return power - 1;
	case 4:
		return power + 1;
	case 5:
		return UINT64_MAX - kind / 8;
	case 6:
		return fuzz_u32(in);
	default:
		return fuzz_u64(in);
	}
}

/* Changes some bytes of data: noise all over, or a few bytes, bits and odd numbers. */
static inline void fuzz_mutate(struct fuzz *in, void *data, size_t len)
{
	uint8_t *bytes = (uint8_t *)data;
	uint32_t n = 1 + fuzz_below(in, 8), noise;
	uint64_t odd;
	size_t i, at;

	if (len == 0)
		return;
	if (fuzz_chance(in, 8)) { /* all of it, from few bytes of the input */
		noise = fuzz_u32(in) | 1;
		for (i = 0; i < len; i++) {
			noise = noise * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(noise >> 24);
		}
		return;
	}
	while (n-- > 0) {
		at = fuzz_below(in, (uint32_t)len);
		if (fuzz_chance(in, 128)) {
			bytes[at] = fuzz_u8(in);
		} else if (fuzz_chance(in, 128)) {
			bytes[at] ^= (uint8_t)(1u << fuzz_below(in, 8));
		} else {
			odd = fuzz_odd(in);
			memcpy(bytes + at, &odd, len - at < 8 ? len - at : 8);
		}
	}
}

/* ---- the run ---- */

struct fuzz_run {
	const char *name;
	uint64_t seed;   /* of the current input */
	uint64_t steps;  /* driver calls, register writes, completions */
	uint64_t failed; /* inputs that broke a rule */
	uint64_t reported;
	bool input_failed;
};

static struct fuzz_run fuzz_run;

static void fuzz_one(struct fuzz *in);
static void fuzz_summary(void);

/* A rule was broken. The plain program goes on, to find the next one as well. */
static inline void __attribute__((format(printf, 1, 2))) fuzz_fail(const char *fmt, ...)
{
	va_list ap;

	if (!fuzz_run.input_failed && fuzz_run.reported++ < FUZZ_MAX_REPORT) {
		fprintf(stderr, "%s: ", fuzz_run.name);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fprintf(stderr, "\nrerun with: %s 1 %" PRIu64 "\n", fuzz_run.name, fuzz_run.seed);
	}
	fuzz_run.input_failed = true;
#ifdef NVME_LIBFUZZER
	abort();
#endif
}

#define fuzz_check(cond, ...)                   \
	do {                                    \
		if (!(cond))                    \
			fuzz_fail(__VA_ARGS__); \
	} while (0)

#ifdef NVME_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};

	fuzz_run.name = "fuzzer";
	fuzz_one(&in);
	(void)fuzz_summary;
	return 0;
}

#else

/* There when the program is built with a sanitizer, NULL otherwise. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* UndefinedBehaviorSanitizer asks for its options here; SIGABRT it is, so that we are called. */
const char *__ubsan_default_options(void);

const char *__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}

/* The last words: which input it was. Called in a signal handler, so no stdio. */
static inline void fuzz_last_words(void)
{
	static volatile sig_atomic_t said;
	char digits[24];
	size_t at = sizeof(digits);
	uint64_t seed = fuzz_run.seed;
	ssize_t done;

	if (said)
		return;
	said = 1;
	digits[--at] = '\n';
	do {
		digits[--at] = (char)('0' + seed % 10);
		seed /= 10;
	} while (seed != 0);
	done = write(STDERR_FILENO, "rerun with: ", 12);
	done += write(STDERR_FILENO, fuzz_run.name, strlen(fuzz_run.name));
	done += write(STDERR_FILENO, " 1 ", 3);
	done += write(STDERR_FILENO, digits + at, sizeof(digits) - at);
	(void)done;
}

static inline void fuzz_on_signal(int sig)
{
	fuzz_last_words();
	signal(sig, SIG_DFL);
	raise(sig);
}

static inline void fuzz_on_timeout(int sig)
{
	static const char text[] = "one input takes too long: something hangs\n";
	ssize_t done = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)done;
	(void)sig;
	abort();
}

/* Sanitizers catch SIGSEGV and its like themselves and call us back; without one, we do. */
static inline void fuzz_catch_crashes(void)
{
	signal(SIGABRT, fuzz_on_signal);
	signal(SIGVTALRM, fuzz_on_timeout);
	if (__sanitizer_set_death_callback != NULL) {
		__sanitizer_set_death_callback(fuzz_last_words);
		return;
	}
	signal(SIGSEGV, fuzz_on_signal);
	signal(SIGBUS, fuzz_on_signal);
	signal(SIGFPE, fuzz_on_signal);
	signal(SIGILL, fuzz_on_signal);
}

static inline uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The input of a seed: 64 to FUZZ_MAX_INPUT random bytes, in exactly as much memory. */
static inline void fuzz_run_seed(uint64_t seed)
{
	static const struct itimerval limit = {{0, 0}, {FUZZ_WATCHDOG, 0}};
	uint64_t state = seed * 2 + 1, noise;
	size_t len = 64 + (size_t)(fuzz_random(&state) % (FUZZ_MAX_INPUT - 63)), i;
	uint8_t *data = (uint8_t *)malloc(len);
	struct fuzz in;

	if (data == NULL)
		abort();
	for (i = 0; i < len; i += 8) {
		noise = fuzz_random(&state);
		memcpy(data + i, &noise, len - i < 8 ? len - i : 8);
	}
	in.at = data;
	in.left = len;
	fuzz_run.seed = seed;
	fuzz_run.input_failed = false;
	setitimer(ITIMER_VIRTUAL, &limit, NULL);
	fuzz_one(&in);
	fuzz_run.failed += fuzz_run.input_failed;
	free(data);
}

/* Address space of this process in bytes, to notice mappings that are never given back. */
static inline uint64_t fuzz_vm_size(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	if (f != NULL) {
		if (fscanf(f, "%lu", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return (uint64_t)pages * 4096;
}

static inline int fuzz_main(int argc, char **argv, const char *name, uint64_t inputs)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, i, vm;

	if (argc > 1)
		inputs = strtoull(argv[1], NULL, 0);
	fuzz_run.name = name;
	fuzz_catch_crashes();
	vm = fuzz_vm_size();
	for (i = 0; i < inputs; i++)
		fuzz_run_seed(seed + i);
	fuzz_run.input_failed = false;
	fuzz_check(fuzz_vm_size() < vm + (UINT64_C(4) << 30), "mappings are left behind");
	fuzz_run.failed += fuzz_run.input_failed;
	printf("%s: seed %" PRIu64 ": %" PRIu64 " inputs, %" PRIu64 " steps, ", name, seed, inputs,
	       fuzz_run.steps);
	fuzz_summary();
	printf(", %" PRIu64 " failures\n", fuzz_run.failed);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n",
	       inputs - (fuzz_run.failed < inputs ? fuzz_run.failed : inputs), fuzz_run.failed);
	return fuzz_run.failed != 0;
}

#endif /* NVME_LIBFUZZER */

#endif /* FUZZ_H */
