// SPDX-License-Identifier: MIT
/*
 * What tests need that run programs: their output, disk images, and a directory for both.
 */
#ifndef RUN_H
#define RUN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "pattern.h"

static char dir[] = "/tmp/nvme-test-XXXXXX";

/* ---- running things ---- */

struct result {
	int status;
	char *out, *err;
};

static inline char *read_file(const char *name, size_t *size)
{
	FILE *file = fopen(name, "rb");
	struct stat st;
	char *data;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	data = malloc((size_t)st.st_size + 1);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, (size_t)st.st_size, file), st.st_size);
	data[st.st_size] = '\0';
	fclose(file);
	if (size != NULL)
		*size = (size_t)st.st_size;
	return data;
}

static inline void done(struct result *r)
{
	free(r->out);
	free(r->err);
	memset(r, 0, sizeof(*r));
}

/* Where the programs are: make sets BUILD where it is not build. */
static inline const char *build_dir(void)
{
	setenv("BUILD", "build", 0);
	return getenv("BUILD");
}

/* The program that the environment names, or that of the build directory. For one at a time. */
static inline const char *program(const char *env, const char *name)
{
	static char path[4096];

	if (getenv(env) != NULL)
		return getenv(env);
	snprintf(path, sizeof(path), "%s/%s", build_dir(), name);
	return path;
}

/* Runs a shell command line, with $BUILD set; stdout, stderr and exit status go to *r. */
static inline void __attribute__((format(printf, 2, 3))) run(struct result *r, const char *fmt, ...)
{
	char line[16384], name[64];
	int n = snprintf(line, sizeof(line), "{ ");
	va_list ap;

	(void)build_dir();
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	n += snprintf(line + n, sizeof(line) - (size_t)n, "\n} >%s/out 2>%s/err </dev/null", dir,
	              dir);
	assert_true((size_t)n < sizeof(line));
	r->status = WEXITSTATUS(system(line));
	snprintf(name, sizeof(name), "%s/out", dir);
	r->out = read_file(name, NULL);
	snprintf(name, sizeof(name), "%s/err", dir);
	r->err = read_file(name, NULL);
}

static inline void show(const struct result *r)
{
	fprintf(stderr, "--- status %d, stdout:\n%s--- stderr:\n%s---\n", r->status, r->out,
	        r->err);
}

static inline void expect_status(const struct result *r, int status)
{
	if (r->status != status)
		show(r);
	assert_int_equal(r->status, status);
}

/* text must contain what; returns the place behind it. */
static inline const char *expect_in(const struct result *r, const char *text, const char *what)
{
	const char *at = strstr(text, what);

	if (at == NULL) {
		fprintf(stderr, "not found: %s\n", what);
		show(r);
		fail();
	}
	return at + strlen(what);
}

/* ---- disk images ---- */

static inline const char *image(const char *name)
{
	static char path[4][96];
	static int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static inline const char *new_image(const char *name, long size)
{
	const char *path = image(name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), size), 0);
	fclose(file);
	return path;
}

static inline void write_at(const char *path, long at, const char *data, size_t len)
{
	FILE *file = fopen(path, "r+b");

	assert_non_null(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	assert_int_equal(fwrite(data, 1, len, file), len);
	fclose(file);
}

/* The extents of pattern.h hold the pattern, and everything between them is still zero. */
static inline void expect_pattern(const char *path, uint32_t block, uint32_t seed)
{
	size_t size, i, at = 0;
	uint8_t *data = (uint8_t *)read_file(path, &size);

	for (i = 0; i <= PATTERN_EXTENTS; i++) {
		size_t start =
			i < PATTERN_EXTENTS ? (size_t)pattern_extents[i].block * block : size;
		size_t len = i < PATTERN_EXTENTS ? (size_t)pattern_extents[i].nlb * block : 0;

		if (start + len > size)
			continue;
		for (; at < start; at++)
			assert_int_equal(data[at], 0);
		assert_int_equal(pattern_check(data + start, len, start, seed), -1);
		at = start + len;
	}
	free(data);
}

static inline int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) == NULL;
}

static inline int remove_dir(void **state)
{
	char line[64];

	(void)state;
	snprintf(line, sizeof(line), "rm -rf %s", dir);
	return system(line);
}

#endif /* RUN_H */
