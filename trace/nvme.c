// SPDX-License-Identifier: MIT
/*
 * The names and texts of nvme.h, and what of its formatting is private to its implementation.
 */
#define NVME_IMPLEMENTATION
#define NVME_TEXT_ONLY
#include "words.h"

int format_log_line(char *buf, size_t size, uint64_t time_ns, const char *file, uint32_t line,
                    const char *func, enum nvme_log_level level, const char *text)
{
	const struct nvme__log_place place = {file, (int)line, func};

	return nvme__format_log_line(buf, size, time_ns, &place, level, text);
}

int format_sgl_line(char *buf, size_t size, uint32_t i, const struct nvme_sgl_desc *desc)
{
	return nvme__format_sgl_line(buf, size, i, desc);
}

int format_sgl_head(char *buf, size_t size, uint64_t segment, uint32_t descs, uint32_t len)
{
	return nvme__format_sgl_head(buf, size, segment, descs, len);
}

int format_prp_line(char *buf, size_t size, uint32_t nprp, uint32_t i, uint64_t prp)
{
	return nvme__format_prp_line(buf, size, nprp, i, prp);
}

int format_dptr(char *buf, size_t size, const struct nvme_cmd *cmd)
{
	nvme__format_dptr(buf, size, cmd);
	return (int)strlen(buf);
}
