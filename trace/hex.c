// SPDX-License-Identifier: MIT
/*
 * --hex: queue entries that somebody wrote down as digits.
 */
#include "hex.h"

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at;

	if (c >= 'A' && c <= 'F')
		c = (char)(c - 'A' + 'a');
	at = c != '\0' ? strchr(digits, c) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

static bool parse_hex(const char *text, void *out, size_t bytes)
{
	uint8_t *to = out;
	size_t i;
	int hi, lo;

	for (i = 0; i < bytes; i++) {
		hi = hex_digit(text[2 * i]);
		lo = hi >= 0 ? hex_digit(text[2 * i + 1]) : -1;
		if (lo < 0)
			return false;
		to[i] = (uint8_t)(hi * 16 + lo);
	}
	return text[2 * bytes] == '\0';
}

/* What is wrong with the line, or NULL and the message in text. */
static const char *decode_hex_line(char *line, char *text, size_t size, struct rec *rec, int style)
{
	char *save = NULL, *what = strtok_r(line, " \t\r", &save);
	char *qid = strtok_r(NULL, " \t\r", &save), *hex = strtok_r(NULL, " \t\r", &save);
	bool sqe = what != NULL && strcmp(what, "sqe") == 0;
	unsigned long number;
	char *end;

	if (what == NULL || (!sqe && strcmp(what, "cqe") != 0))
		return "it does not begin with sqe or cqe";
	if (qid == NULL || *qid < '0' || *qid > '9')
		return "a queue number from 0 to 65535 must follow";
	number = strtoul(qid, &end, 0);
	if (*end != '\0' || number > 0xffff)
		return "a queue number from 0 to 65535 must follow";
	if (hex == NULL || !parse_hex(hex, sqe ? (void *)&rec->cmd : (void *)&rec->cpl,
	                              sqe ? sizeof(rec->cmd) : sizeof(rec->cpl)))
		return sqe ? "an SQE has 128 hexadecimal digits"
		           : "a CQE has 32 hexadecimal digits";
	if (strtok_r(NULL, " \t\r", &save) != NULL)
		return "something follows the digits";
	rec->qid = (uint16_t)number;
	rec->has = HAS_QID | HAS_OPC;
	if (sqe)
		style_format_cmd(text, size, style, rec->qid, &rec->cmd);
	else
		style_format_cpl(text, size, style, rec->qid, &rec->cpl, false);
	rec->kind = sqe ? REC_COMMAND : REC_COMPLETION;
	rec->cmd_have = sqe ? HAVE_SQE : 0;
	if (!sqe)
		rec->has = HAS_QID | HAS_PHASE | HAS_SQHD | HAS_SQID | HAS_DW0 | HAS_DW1 |
		           HAS_STATUS | HAS_FLAGS;
	return NULL;
}

int decode_hex(const struct options *options)
{
	struct reader rd = {.in = stdin, .name = "standard input"};
	char line[1024], text[NVME_TEXT_MAX];
	unsigned long number = 0;
	const char *wrong;
	struct rec rec;
	long len;
	int rc = DECODED;

	if (output_open(options) != 0)
		return NOT_DECODED;
	while ((len = reader_getline(&rd, line, sizeof(line))) >= 0) {
		number++;
		memset(&rec, 0, sizeof(rec));
		wrong = "it is too long";
		if ((size_t)len + 1 < sizeof(line))
			wrong = decode_hex_line(line, text, sizeof(text), &rec, options->style);
		else
			while (reader_getline(&rd, line, sizeof(line)) == sizeof(line) - 1)
				;
		if (wrong != NULL) {
			reader_complain(&rd, "line %lu: %s", number, wrong);
			rc = NOT_DECODED;
			continue;
		}
		printf("%s\n", text);
		if (options->bits)
			print_bits(stdout, &rec);
		if (options->explain)
			print_explanation(stdout, &rec);
	}
	return ferror(stdin) ? NOT_DECODED : rc;
}
