// SPDX-License-Identifier: MIT
/*
 * What a source wrote must not play with the terminal: the one place that says which bytes may reach it.
 * A terminal obeys the control codes below space, DEL, and C1, which are 0x80 to 0x9f: as one byte, or
 * in UTF-8, where the same bytes also stand in the middle of letters.
 */
#ifndef NVTRACE_CLEAN_H
#define NVTRACE_CLEAN_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the letter at s, in UTF-8 of two bytes or more; 0: none, or written in too many. */
static inline size_t clean_letter(const char *s, size_t left)
{
	static const struct {
		unsigned char first, last, low, high, len; /* low to high: the second byte */
	} leads[] = {
		{0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0, n;

	while (i < sizeof(leads) / sizeof(leads[0]) && (*p < leads[i].first || *p > leads[i].last))
		i++;
	if (i == sizeof(leads) / sizeof(leads[0]) || left < leads[i].len || p[1] < leads[i].low ||
	    p[1] > leads[i].high)
		return 0;
	for (n = 2; n < leads[i].len; n++)
		if (p[n] < 0x80 || p[n] > 0xbf)
			return 0;
	return leads[i].len;
}

/* How many bytes at s, at least one of which is left, may reach a terminal; 0: not this one. */
static inline size_t clean_bytes(const char *s, size_t left)
{
	unsigned char c = (unsigned char)*s;
	size_t letter;

	if ((c >= 0x20 && c < 0x7f) || c == '\t')
		return 1;
	if (c < 0xa0)
		return 0;
	letter = clean_letter(s, left);
	return letter != 0 ? letter : 1;
}

/* What may not reach a terminal is shown as \xNN. */
static inline void clean_put(FILE *out, const char *s)
{
	const char *from = s;
	size_t left = strlen(s), n;

	for (; left > 0; s += n, left -= n) {
		n = clean_bytes(s, left);
		if (n != 0)
			continue;
		fwrite(from, 1, (size_t)(s - from), out);
		fprintf(out, "\\x%02x", (unsigned)(unsigned char)*s);
		n = 1;
		from = s + 1;
	}
	fwrite(from, 1, (size_t)(s - from), out);
}

#endif /* NVTRACE_CLEAN_H */
