// SPDX-License-Identifier: MIT
/*
 * A JSON writer: objects and arrays nested as they are opened, commas put where they belong, and
 * text escaped. What is written is always ASCII, whatever bytes the text holds: valid UTF-8 becomes
 * \uXXXX, any other byte U+FFFD. Integers beyond 2^53 do not survive in every program that reads
 * JSON: 64-bit values are written as hex strings, json_hex().
 */
#ifndef NVTRACE_JSON_H
#define NVTRACE_JSON_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define JSON_DEPTH 16

struct json {
	FILE *out;
	unsigned depth;
	bool more[JSON_DEPTH + 1]; /* something precedes at this depth: a comma is due */
	char bracket[JSON_DEPTH + 1];
	bool html; /* escape < > & too: for JSON inside a <script> element */
};

static inline void json_init(struct json *j, FILE *out)
{
	memset(j, 0, sizeof(*j));
	j->out = out;
}

/* ---- text ---- */

/*
 * The next character of text; *used says how many bytes it takes (0: none are left). Bytes that are
 * no UTF-8 (stray, cut, overlong, a surrogate) are U+FFFD one by one.
 */
static inline uint32_t json_utf8(const unsigned char *text, size_t len, size_t *used)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c;
	size_t n, i;

	*used = len > 0;
	if (len == 0 || text[0] < 0x80)
		return len > 0 ? text[0] : 0;
	n = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	if (text[0] < 0xc2 || text[0] > 0xf4 || n > len)
		return 0xfffd;
	c = text[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0xfffd;
		c = c << 6 | (text[i] & 0x3fu);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0xfffd;
	*used = n;
	return c;
}

/* Characters that stand for themselves. */
static inline bool json_plain(const struct json *j, uint32_t c)
{
	if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
		return false;
	return !j->html || (c != '<' && c != '>' && c != '&');
}

static inline void json_escape(struct json *j, uint32_t c)
{
	static const char special[] = "\b\t\n\f\r\"\\", letter[] = "btnfr\"\\";
	const char *at = c != 0 && c < 0x80 ? strchr(special, (int)c) : NULL;

	if (at != NULL)
		fprintf(j->out, "\\%c", letter[at - special]);
	else if (c < 0x10000)
		fprintf(j->out, "\\u%04" PRIx32, c);
	else
		fprintf(j->out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + ((c - 0x10000) >> 10),
		        0xdc00 + (c & 0x3ff));
}

/* A string with its quotes, and nothing around it. */
static inline void json_quote(struct json *j, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t used;

	putc('"', j->out);
	while (len > 0) {
		for (used = 0; used < len && json_plain(j, p[used]);)
			used++;
		if (used > 0)
			fwrite(p, 1, used, j->out);
		else
			json_escape(j, json_utf8(p, len, &used));
		p += used;
		len -= used;
	}
	putc('"', j->out);
}

/* ---- structure ---- */

/* What comes before any value: a comma where one is due, the key in an object. key NULL: none. */
static inline void json_key(struct json *j, const char *key)
{
	if (j->more[j->depth])
		putc(',', j->out);
	j->more[j->depth] = true;
	if (key != NULL) {
		json_quote(j, key, strlen(key));
		putc(':', j->out);
	}
}

static inline void json_open(struct json *j, const char *key, char open, char close)
{
	json_key(j, key);
	putc(open, j->out);
	if (j->depth < JSON_DEPTH)
		j->depth++;
	j->more[j->depth] = false;
	j->bracket[j->depth] = close;
}

static inline void json_object(struct json *j, const char *key)
{
	json_open(j, key, '{', '}');
}

static inline void json_array(struct json *j, const char *key)
{
	json_open(j, key, '[', ']');
}

/* Closes the object or array opened last. */
static inline void json_close(struct json *j)
{
	if (j->depth > 0)
		putc(j->bracket[j->depth--], j->out);
}

/* A line end between values; behind the outermost value it starts a new document. */
static inline void json_newline(struct json *j)
{
	putc('\n', j->out);
	if (j->depth == 0)
		j->more[0] = false;
}

/* ---- values ---- */

/* At most max bytes of text, which need not be terminated then. */
static inline void json_strn(struct json *j, const char *key, const char *text, size_t max)
{
	const char *end = (const char *)memchr(text, '\0', max);

	json_key(j, key);
	json_quote(j, text, end != NULL ? (size_t)(end - text) : max);
}

static inline void json_str(struct json *j, const char *key, const char *text)
{
	json_strn(j, key, text, strlen(text) + 1);
}

static inline void __attribute__((format(printf, 3, 4)))
json_strf(struct json *j, const char *key, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_strn(j, key, text, sizeof(text));
}

/* Without printf(), which takes most of the time of a long trace. */
static inline void json_digits(struct json *j, uint64_t value, unsigned base)
{
	char text[20], *p = text + sizeof(text);

	do {
		*--p = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0);
	fwrite(p, 1, (size_t)(text + sizeof(text) - p), j->out);
}

/* A number. */
static inline void json_uint(struct json *j, const char *key, uint64_t value)
{
	json_key(j, key);
	json_digits(j, value, 10);
}

/* A 64-bit value: "0x1000". */
static inline void json_hex(struct json *j, const char *key, uint64_t value)
{
	json_key(j, key);
	fwrite("\"0x", 1, 3, j->out);
	json_digits(j, value, 16);
	putc('"', j->out);
}

static inline void json_bool(struct json *j, const char *key, bool value)
{
	json_key(j, key);
	fputs(value ? "true" : "false", j->out);
}

/* Nanoseconds as a number of microseconds: 1234 is 1.234. */
static inline void json_us(struct json *j, const char *key, int64_t ns)
{
	uint64_t abs = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;

	json_key(j, key);
	fprintf(j->out, "%s%" PRIu64 ".%03u", ns < 0 ? "-" : "", abs / 1000,
	        (unsigned)(abs % 1000));
}

#endif /* NVTRACE_JSON_H */
