// SPDX-License-Identifier: MIT
/*
 * Records in the words of the log, as SPDK prints them, and of nvme.h's own formatting what is private
 * to its implementation.
 */
#ifndef NVTRACE_WORDS_H
#define NVTRACE_WORDS_H

#include <stdarg.h>
#include "rec.h"

enum { STYLE_V2305, STYLE_V26 };

/* The message of a command or completion in a style, like nvme_format_cmd(). */
int style_format_cmd(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cmd *cmd);
int style_format_cpl(char *buf, size_t size, int style, uint16_t qid, const struct nvme_cpl *cpl,
                     bool fabrics);

/*
 * The same for a record of which only a part may be known: what is absent is left out. A record
 * that is whole gives exactly the text of the two functions above.
 */
int style_format_rec(char *buf, size_t size, int style, const struct rec *rec);

/* "command", "completion", ...: in JSON and in filters. */
const char *rec_kind_name(enum rec_kind kind);

/* "late", "reset", ...: what a mark is called, in JSON and CSV too. NULL: another one. */
const char *mark_name(uint32_t what);
/* "late: qid:1 cid:8, 500 ms are allowed", into the text of a mark. */
int format_mark(char *buf, size_t size, uint16_t qid, const struct nvme_trace_mark *mark);

/* What of nvme.h's own formatting is private to its implementation. (nvme.c) */
int format_log_line(char *buf, size_t size, uint64_t time_ns, const char *file, uint32_t line,
                    const char *func, enum nvme_log_level level, const char *text);
int format_sgl_line(char *buf, size_t size, uint32_t i, const struct nvme_sgl_desc *desc);
int format_sgl_head(char *buf, size_t size, uint64_t segment, uint32_t descs, uint32_t len);
int format_prp_line(char *buf, size_t size, uint32_t nprp, uint32_t i, uint64_t prp);
int format_dptr(char *buf, size_t size, const struct nvme_cmd *cmd);

/* Appends to a buffer and says nothing when it is full. */
static inline void __attribute__((format(printf, 3, 4)))
text_add(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

/* "830 ns", "12.3 us", "4.56 ms", "1.23 s" */
static inline void format_ns(char *buf, size_t size, uint64_t ns)
{
	double v = (double)ns;

	if (ns < 1000)
		snprintf(buf, size, "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		snprintf(buf, size, "%.*f us", ns < 100000 ? 2 : 1, v / 1e3);
	else if (ns < UINT64_C(1000000000))
		snprintf(buf, size, "%.*f ms", ns < 100000000 ? 2 : 1, v / 1e6);
	else
		snprintf(buf, size, "%.3f s", v / 1e9);
}

#endif /* NVTRACE_WORDS_H */
