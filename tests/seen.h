// SPDX-License-Identifier: MIT
/* What a callback has seen. */
#ifndef SEEN_H
#define SEEN_H

struct seen {
	unsigned int calls;
	struct nvme_cpl cpl;
};

static inline void count(void *arg, const struct nvme_cpl *cpl)
{
	struct seen *seen = (struct seen *)arg;

	seen->calls++;
	seen->cpl = *cpl;
}

#endif /* SEEN_H */
