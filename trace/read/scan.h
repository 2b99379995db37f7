// SPDX-License-Identifier: MIT
/*
 * Lines of text and the numbers in them: what the readers of text share. Nothing here trusts its
 * input, and nothing looks at a line more than a fixed number of times.
 */
#ifndef SCAN_H
#define SCAN_H

#include <stdarg.h>
#include "../reader.h"
#include "../clean.h"

#define SCAN_LINE 65536

struct scan_line {
	char text[SCAN_LINE];
	uint64_t number; /* from 1 */
	bool more;       /* the line was longer than this: its rest comes next and is skipped */
};

/* Digits, letters and the underscore: what a name or a number is made of. */
static inline bool scan_is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_';
}

static inline bool scan_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The next line, without its end and without NUL bytes: 1, 0 at the end, -EIO. */
static inline int scan_line(struct reader *rd, struct scan_line *line)
{
	bool rest;
	char *nul;
	long len;

	do {
		rest = line->more;
		len = reader_getline(rd, line->text, sizeof(line->text));
		if (len < 0)
			return rd->in != NULL && ferror(rd->in) ? -EIO : 0;
		line->more = len >= SCAN_LINE - 1;
	} while (rest);
	line->number++;
	while ((nul = memchr(line->text, '\0', (size_t)len)) != NULL)
		*nul = '\1';
	while (len > 0 && line->text[len - 1] == '\r')
		len--;
	line->text[len] = '\0';
	return 1;
}

static inline bool scan_literal(const char **at, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

static inline int scan_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/*
 * An unsigned number of at most max that ends where a word ends. Base 10, 16 (with or without 0x),
 * or 0: what the number says itself, which is decimal unless it begins with 0x.
 */
static inline bool scan_number(const char **at, unsigned base, uint64_t max, uint64_t *value)
{
	const char *p = *at;
	uint64_t v = 0;
	unsigned d;

	if (base != 10 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		p += 2;
		base = 16;
	} else if (base == 0) {
		base = 10;
	}
	if ((unsigned)scan_digit(*p) >= base)
		return false;
	for (; (d = (unsigned)scan_digit(*p)) < base; p++) {
		if (d > max || v > (max - d) / base)
			return false;
		v = v * base + d;
	}
	if (scan_is_word(*p))
		return false;
	*at = p;
	*value = v;
	return true;
}

/* Behind the first place where key begins a word; key brings its own end, as in "cid:". */
static inline const char *scan_key(const char *text, const char *key)
{
	const char *p = text;

	while ((p = strstr(p, key)) != NULL) {
		if (p == text || !scan_is_word(p[-1]))
			return p + strlen(key);
		p++;
	}
	return NULL;
}

static inline bool scan_field(const char *text, const char *key, unsigned base, uint64_t max,
                              uint64_t *value)
{
	const char *p = scan_key(text, key);

	return p != NULL && scan_number(&p, base, max, value);
}

/* Seconds with one to nine decimals. */
static inline bool scan_seconds(const char **at, uint64_t *ns)
{
	uint64_t seconds, fraction = 0, unit = 1000000000;
	const char *p = *at;

	for (seconds = 0; scan_is_digit(*p); p++) {
		if (seconds > 18000000000u / 10) /* more would not fit into nanoseconds */
			return false;
		seconds = seconds * 10 + (uint64_t)(*p - '0');
	}
	if (p == *at || *p != '.' || !scan_is_digit(p[1]))
		return false;
	for (p++; scan_is_digit(*p); p++) {
		unit /= 10;
		fraction += (uint64_t)(*p - '0') * unit;
	}
	*ns = seconds * 1000000000u + fraction;
	*at = p;
	return true;
}

/* A text copied as far as it fits, and nothing in it that a terminal might take for a command. */
static inline void scan_copy(char *to, size_t size, const char *from, size_t len)
{
	size_t i, n;

	for (i = 0; i < len && i + 1 < size; i += n) {
		n = clean_bytes(from + i, len - i);
		if (n == 0 || i + n >= size) { /* a letter that no longer fits */
			n = 1;
			to[i] = '?';
		} else {
			memcpy(to + i, from + i, n);
		}
	}
	to[i] = '\0';
}

static inline void scan_begin(struct rec *rec, enum rec_kind kind, uint64_t number)
{
	memset(rec, 0, sizeof(*rec));
	rec->kind = kind;
	rec->number = number;
}

/* A line that should have been understood. */
static inline int scan_damage(struct reader *rd, struct rec *rec, const struct scan_line *line,
                              const char *why)
{
	int n;

	scan_begin(rec, REC_DAMAGE, line->number);
	n = snprintf(rec->text, sizeof(rec->text), "%s: ", why);
	scan_copy(rec->text + n, 200, line->text, strlen(line->text));
	rd->damaged++;
	return 1;
}

/* The dword of a command, 10 to 15. */
static inline uint32_t *scan_cdw(struct nvme_cmd *cmd, unsigned dw)
{
	uint32_t *const dws[] = {&cmd->cdw10, &cmd->cdw11, &cmd->cdw12,
	                         &cmd->cdw13, &cmd->cdw14, &cmd->cdw15};

	return dws[dw - 10];
}

/* Is this text at all? A few odd bytes are allowed: logs hold names that others chose. */
static inline bool scan_is_text(const uint8_t *head, size_t len)
{
	size_t i, odd = 0;

	for (i = 0; i < len; i++)
		odd += head[i] < ' ' && (head[i] < '\t' || head[i] > '\r') && head[i] != 27;
	return odd <= len / 64;
}

/*
 * Calls fn for the lines of head and returns the best of its answers. The last line counts even if
 * it may be cut.
 */
static inline int scan_probe(const uint8_t *head, size_t len, int (*fn)(const char *line))
{
	char line[1024];
	size_t at, end, n;
	int best = 0, sure;

	if (!scan_is_text(head, len))
		return 0;
	for (at = 0; at < len; at = end + 1) {
		for (end = at; end < len && head[end] != '\n'; end++)
			;
		n = end - at < sizeof(line) ? end - at : sizeof(line) - 1;
		memcpy(line, head + at, n);
		line[n] = '\0';
		sure = fn(line);
		if (sure > best)
			best = sure;
	}
	return best;
}

#endif /* SCAN_H */
