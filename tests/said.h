// SPDX-License-Identifier: MIT
/*
 * The errors that the driver has logged, in one text: listen() goes into the options of an attach.
 */
#ifndef SAID_H
#define SAID_H

static char said[4096];

static inline void listen(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	if (level == NVME_LOG_ERROR)
		snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", line);
}

#endif /* SAID_H */
