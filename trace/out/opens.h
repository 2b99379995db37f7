// SPDX-License-Identifier: MIT
/*
 * The commands that an output has seen and that have not completed yet. The pairing knows them as
 * well, but not which of them passed the filter, and it forgets one whose CID is used again. There are
 * at most PAIRING_MAX_OPEN, as there: the oldest have to go when there are more.
 */
#ifndef NVTRACE_OPENS_H
#define NVTRACE_OPENS_H

#include "output.h"
#include "../map.h"

struct open_cmd {
	uint64_t number; /* of its record */
	uint64_t older,
		newer; /* the numbers of its neighbours in the order of the source; 0: none */
	uint64_t time_ns;
	uint32_t has, cmd_have, ctrlr;
	uint16_t qid;
	struct nvme_cmd cmd;
	const char *problem;
};

struct opens {
	struct map cmds;   /* struct open_cmd, by the number of its record */
	struct map latest; /* uint64_t, that number, by controller, queue and CID */
	uint64_t oldest, newest;
	uint64_t forgotten; /* that opens_forget() has given out */
};

/* A log that shows commands only when they failed shows them once: that is the command then. */
static inline bool rec_is_command(const struct rec *r)
{
	return r->kind == REC_COMMAND || (r->kind == REC_CMD_AGAIN && r->cmd_number == 0);
}

static inline void opens_init(struct opens *o)
{
	memset(o, 0, sizeof(*o));
	map_init(&o->cmds, sizeof(struct open_cmd));
	map_init(&o->latest, sizeof(uint64_t));
}

static inline void opens_free(struct opens *o)
{
	map_free(&o->cmds);
	map_free(&o->latest);
}

static inline uint64_t opens_key(uint32_t has, uint32_t ctrlr, uint16_t qid, uint16_t cid)
{
	return map_key(has & HAS_CTRLR ? ctrlr : 0, has & HAS_QID ? qid : 0, cid);
}

static inline void opens_unlink(struct opens *o, const struct open_cmd *cmd)
{
	struct open_cmd *older = (struct open_cmd *)map_get(&o->cmds, cmd->older);
	struct open_cmd *newer = (struct open_cmd *)map_get(&o->cmds, cmd->newer);

	*(older != NULL ? &older->newer : &o->oldest) = cmd->newer;
	*(newer != NULL ? &newer->older : &o->newest) = cmd->older;
}

/* Forgets the command of that number. True: it was there, and is now in *cmd. */
static inline bool opens_remove(struct opens *o, uint64_t number, struct open_cmd *cmd)
{
	const struct open_cmd *found = (const struct open_cmd *)map_get(&o->cmds, number);
	const uint64_t *latest;
	uint64_t key;

	if (found == NULL)
		return false;
	*cmd = *found;
	map_remove(&o->cmds, number);
	opens_unlink(o, cmd);
	key = opens_key(cmd->has, cmd->ctrlr, cmd->qid, cmd->cmd.cid);
	latest = (const uint64_t *)map_get(&o->latest, key);
	if (latest != NULL && *latest == number)
		map_remove(&o->latest, key);
	return true;
}

static inline void opens_put(struct opens *o, const struct rec *r)
{
	uint64_t key = opens_key(r->has, r->ctrlr, r->qid, r->cmd.cid), *latest;
	struct open_cmd *cmd, *newest, old;

	opens_remove(o, r->number, &old); /* a number that comes twice counts once */
	cmd = (struct open_cmd *)map_put(&o->cmds, r->number);
	if (cmd == NULL)
		return;
	newest = (struct open_cmd *)map_get(&o->cmds, o->newest);
	cmd->older = o->newest;
	*(newest != NULL ? &newest->newer : &o->oldest) = r->number;
	o->newest = r->number;
	cmd->number = r->number;
	cmd->time_ns = r->time_ns;
	cmd->has = r->kind == REC_COMMAND ? r->has : r->has & ~(uint32_t)HAS_TIME;
	cmd->cmd_have = r->cmd_have;
	cmd->ctrlr = r->ctrlr;
	cmd->qid = r->qid;
	cmd->cmd = r->cmd;
	cmd->problem = r->problem;
	latest = (uint64_t *)map_put(&o->latest, key);
	if (latest != NULL)
		*latest = r->number;
}

/* Remembers a command. An older one with its CID goes to *old: true, that one never completed. */
static inline bool opens_add(struct opens *o, const struct rec *r, struct open_cmd *old)
{
	uint64_t key = opens_key(r->has, r->ctrlr, r->qid, r->cmd.cid);
	const uint64_t *latest = (const uint64_t *)map_get(&o->latest, key);
	bool found = latest != NULL && opens_remove(o, *latest, old);

	opens_put(o, r);
	return found;
}

/* Before another is remembered: the oldest if there are too many, in *cmd. False: there are not. */
static inline bool opens_forget(struct opens *o, struct open_cmd *cmd)
{
	if (o->cmds.count < PAIRING_MAX_OPEN || !opens_remove(o, o->oldest, cmd))
		return false;
	o->forgotten++;
	return true;
}

/* At the end: says that there were too many. */
static inline void opens_report(const struct opens *o, const char *what)
{
	if (o->forgotten != 0)
		fprintf(stderr,
		        "nvtrace: more than %u commands were without a completion at once: the "
		        "oldest %" PRIu64 " %s\n",
		        PAIRING_MAX_OPEN, o->forgotten, what);
}

/* Forgets the command of a completion. True: it was there, and is now in *cmd. */
static inline bool opens_take(struct opens *o, const struct rec *r, struct open_cmd *cmd)
{
	return r->cmd_number != 0 && opens_remove(o, r->cmd_number, cmd);
}

static inline int opens_compare(const void *a, const void *b)
{
	const struct open_cmd *x = (const struct open_cmd *)a, *y = (const struct open_cmd *)b;

	return (x->number > y->number) - (x->number < y->number);
}

/* All of them in the order of the source, for the caller to free; NULL: none, or no memory. */
static inline struct open_cmd *opens_sorted(const struct opens *o, size_t *count)
{
	const struct map *opens = &o->cmds;
	struct open_cmd *all;
	size_t i;

	*count = 0;
	if (opens->count == 0)
		return NULL;
	all = (struct open_cmd *)calloc(opens->count, sizeof(*all));
	if (all == NULL)
		return NULL;
	for (i = 0; i < opens->size; i++) {
		if (opens->used[i])
			memcpy(&all[(*count)++], map_at(opens, i), sizeof(*all));
	}
	qsort(all, *count, sizeof(*all), opens_compare);
	return all;
}

#endif /* NVTRACE_OPENS_H */
