// SPDX-License-Identifier: MIT
/*
 * The trace event format of Chrome, which Perfetto reads too: a process for each controller, a
 * thread for each queue, an asynchronous slice for each command (commands overlap, which the slices
 * of a thread must not), a counter of the commands outstanding, and instants for doorbells and the
 * rest. Times count from the first one, because microseconds since 1970 do not fit a double.
 */
#include "output.h"
#include "json_rec.h"
#include "opens.h"

#define NO_QUEUE 65536u /* thread of what belongs to no queue that is known */
#define NAMED    65536u /* so many controllers and queues get names */

struct state {
	struct json json;
	struct opens opens;
	struct map named; /* controllers and queues whose names are written; bool */
	bool timed;       /* there was a record with a time */
	uint64_t start_ns;
	int64_t now_ns;
};

static uint32_t ctrlr_of(const struct rec *r)
{
	return r->has & HAS_CTRLR ? r->ctrlr : 0;
}

static uint32_t thread_of(const struct rec *r)
{
	return r->has & HAS_QID ? r->qid : NO_QUEUE;
}

/* Sources without times get a microsecond for each record, so that their order can be seen. */
static int64_t time_of(struct state *s, const struct rec *r)
{
	if (r->has & HAS_TIME) {
		if (!s->timed)
			s->start_ns = r->time_ns;
		s->timed = true;
		s->now_ns = (int64_t)(r->time_ns - s->start_ns);
	} else if (!s->timed) {
		s->now_ns = (int64_t)(r->number % INT32_MAX * 1000);
	}
	return s->now_ns;
}

/* Opens an event; the caller adds to it and closes it. Process 0 is not for use. */
static void open_event(struct state *s, const char *name, size_t max, char phase, uint32_t ctrlr,
                       uint32_t thread, int64_t ns)
{
	struct json *j = &s->json;

	json_object(j, NULL);
	json_strn(j, "name", name, max);
	json_strf(j, "ph", "%c", phase);
	json_us(j, "ts", ns);
	json_uint(j, "pid", (uint64_t)ctrlr + 1);
	json_uint(j, "tid", thread);
}

static void close_event(struct state *s)
{
	json_close(&s->json);
	json_newline(&s->json);
}

/* ---- names ---- */

static void put_name(struct state *s, const char *what, uint32_t ctrlr, uint32_t thread,
                     const char *name)
{
	open_event(s, what, strlen(what), 'M', ctrlr, thread, 0);
	json_object(&s->json, "args");
	json_strn(&s->json, "name", name, REC_TEXT);
	json_close(&s->json);
	close_event(s);
}

/* False the first time, and only then. */
static bool was_named(struct state *s, uint64_t key)
{
	bool *named = map_get(&s->named, key);

	if (named != NULL || s->named.count >= NAMED)
		return true;
	named = map_put(&s->named, key);
	if (named != NULL)
		*named = true;
	return false;
}

static void put_names(struct state *s, const struct rec *r)
{
	uint32_t ctrlr = ctrlr_of(r);
	char name[40];

	snprintf(name, sizeof(name), "nvme%" PRIu32, ctrlr);
	if (!was_named(s, map_key(ctrlr, 0, 1)) && r->kind != REC_ATTACH)
		put_name(s, "process_name", ctrlr, 0, name);
	if (r->kind == REC_ATTACH)
		put_name(s, "process_name", ctrlr, 0, r->text);
	if (!(r->has & HAS_QID)) {
		if (!was_named(s, map_key(ctrlr, 0, 2)))
			put_name(s, "thread_name", ctrlr, NO_QUEUE, "controller");
		return;
	}
	if (was_named(s, map_key(ctrlr, r->qid, 0)))
		return;
	snprintf(name, sizeof(name), r->qid ? "queue %u" : "queue %u (admin)", (unsigned)r->qid);
	put_name(s, "thread_name", ctrlr, r->qid, name);
}

/* ---- commands ---- */

/* One end of a command's slice. Its ID must be like no other's as long as the trace. */
static void open_end(struct state *s, char phase, const struct rec *r, const struct nvme_cmd *cmd,
                     uint32_t have, uint64_t number, int64_t ns)
{
	bool named = (have & HAVE_OPC) && ((r->has & HAS_QID) || cmd->opc == NVME_OPC_FABRIC);
	const char *name = named ? nvme_opc_name(r->qid, cmd->opc) : "command";

	open_event(s, name, strlen(name), phase, ctrlr_of(r), thread_of(r), ns);
	json_str(&s->json, "cat", "nvme");
	json_strf(&s->json, "id", "%" PRIu32 ":%" PRIu32 ":%u:%" PRIu64, ctrlr_of(r), thread_of(r),
	          (unsigned)cmd->cid, number);
	json_object(&s->json, "args");
}

static void close_end(struct state *s, const char *problem)
{
	if (problem != NULL)
		json_str(&s->json, "problem", problem);
	json_close(&s->json);
	close_event(s);
}

static void put_begin(struct state *s, const struct rec *r, int64_t ns)
{
	open_end(s, 'b', r, &r->cmd, r->cmd_have, r->number, ns);
	json_command(&s->json, r);
	close_end(s, r->problem);
}

/* A slice must end for the viewers to show it well: it ends where the trace does. */
static void put_unfinished(struct state *s, const struct open_cmd *c)
{
	struct rec r = {.has = c->has, .ctrlr = c->ctrlr, .qid = c->qid};

	open_end(s, 'e', &r, &c->cmd, c->cmd_have, c->number, s->now_ns);
	json_bool(&s->json, "completed", false);
	close_end(s, c->problem);
}

/* The queue of a command may be another than that of its completion. */
static void put_end(struct state *s, const struct rec *r, const struct open_cmd *c, int64_t ns)
{
	struct rec of = {.has = c->has, .ctrlr = c->ctrlr, .qid = c->qid};

	open_end(s, 'e', &of, &c->cmd, c->cmd_have, c->number, ns);
	json_completion(&s->json, r);
	close_end(s, r->problem);
}

static void put_depth(struct state *s, const struct rec *r, int64_t ns)
{
	char name[40];

	if (!(r->has & HAS_DEPTH) || !(r->has & HAS_QID))
		return;
	snprintf(name, sizeof(name), "outstanding on queue %u", (unsigned)r->qid);
	open_event(s, name, sizeof(name), 'C', ctrlr_of(r), r->qid, ns);
	json_object(&s->json, "args");
	json_uint(&s->json, "commands", r->outstanding);
	json_close(&s->json);
	close_event(s);
}

static void put_command(struct state *s, const struct rec *r, int64_t ns)
{
	struct open_cmd old;

	if (opens_forget(&s->opens, &old))
		put_unfinished(s, &old);
	if (opens_add(&s->opens, r, &old))
		put_unfinished(s, &old);
	put_begin(s, r, ns);
	put_depth(s, r, ns);
}

/* A completion whose command was filtered out still shows all of it. */
static void put_both(struct state *s, const struct rec *r, int64_t ns)
{
	struct rec cmd = {.kind = REC_COMMAND, .has = r->has, .ctrlr = r->ctrlr, .qid = r->qid};
	struct open_cmd c;

	cmd.number = r->cmd_number;
	cmd.cmd = r->of;
	cmd.cmd_have = r->of_have;
	put_begin(s, &cmd, (int64_t)((uint64_t)ns - r->latency_ns));
	opens_put(&s->opens, &cmd);
	if (opens_take(&s->opens, r, &c))
		put_end(s, r, &c, ns);
}

static void put_orphan(struct state *s, const struct rec *r, int64_t ns)
{
	static const char name[] = "completion without command";

	open_event(s, name, sizeof(name), 'i', ctrlr_of(r), thread_of(r), ns);
	json_str(&s->json, "s", "t");
	json_object(&s->json, "args");
	json_completion(&s->json, r);
	close_end(s, r->problem);
}

static void put_completion(struct state *s, const struct rec *r, int64_t ns)
{
	struct open_cmd c;

	if (opens_take(&s->opens, r, &c))
		put_end(s, r, &c, ns);
	else if (r->cmd_number != 0 && (r->has & HAS_LATENCY) && r->latency_ns < INT64_MAX / 2)
		put_both(s, r, ns);
	else
		put_orphan(s, r, ns);
	put_depth(s, r, ns);
}

/* ---- instants ---- */

/* Their names; false: the record is none. */
static bool instant_name(char *name, size_t size, const struct rec *r)
{
	char reg[32];

	switch (r->kind) {
	case REC_DOORBELL:
		snprintf(name, size, "%s doorbell %" PRIu32, r->doorbell.cq ? "CQ head" : "SQ tail",
		         r->doorbell.new_value);
		return true;
	case REC_REG_WRITE:
		nvme_format_reg_name(reg, sizeof(reg), r->reg.offset, 0);
		snprintf(name, size, "write %s 0x%" PRIx64, reg, r->reg.value);
		return true;
	case REC_IRQ:
		snprintf(name, size, "interrupt %u", (unsigned)r->vector);
		return true;
	case REC_ASYNC_EVENT:
		snprintf(name, size, "asynchronous event 0x%" PRIx32, r->cpl.cdw0);
		return true;
	case REC_DEV_FETCH:
		snprintf(name, size, "controller fetched cid %u", (unsigned)r->cmd.cid);
		return true;
	case REC_DEV_CQE:
		snprintf(name, size, "controller posted cid %u", (unsigned)r->cpl.cid);
		return true;
	case REC_LOG:
	case REC_MARK:
	case REC_NOTE:
	case REC_DAMAGE:
		snprintf(name, size, "%s%s", r->kind == REC_DAMAGE ? "damage: " : "", r->text);
		return true;
	default:
		return false;
	}
}

static void put_instant(struct state *s, const struct rec *r, int64_t ns)
{
	char name[REC_TEXT + 16];

	if (!instant_name(name, sizeof(name), r))
		return;
	open_event(s, name, sizeof(name), 'i', ctrlr_of(r), thread_of(r), ns);
	json_str(&s->json, "s", r->has & HAS_QID ? "t" : "p");
	if (r->kind == REC_DOORBELL && (r->has & HAS_OLD)) {
		json_object(&s->json, "args");
		json_uint(&s->json, "old", r->doorbell.old_value);
		json_uint(&s->json, "new", r->doorbell.new_value);
		json_close(&s->json);
	}
	close_event(s);
}

/* ---- the document ---- */

static int begin(struct output *o)
{
	struct state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	json_init(&s->json, o->out);
	opens_init(&s->opens);
	map_init(&s->named, sizeof(bool));
	o->state = s;
	json_object(&s->json, NULL);
	json_str(&s->json, "displayTimeUnit", "ns");
	json_array(&s->json, "traceEvents");
	json_newline(&s->json);
	return 0;
}

static int record(struct output *o, struct rec *rec)
{
	struct state *s = o->state;
	int64_t ns = time_of(s, rec);

	rec->text[sizeof(rec->text) - 1] = '\0';
	put_names(s, rec);
	if (rec_is_command(rec))
		put_command(s, rec, ns);
	else if (rec->kind == REC_COMPLETION)
		put_completion(s, rec, ns);
	else
		put_instant(s, rec, ns);
	return ferror(o->out) ? -EIO : 0;
}

static int end(struct output *o, struct pairing *p)
{
	struct state *s = o->state;
	struct open_cmd *all;
	size_t count, i;

	(void)p;
	if (s == NULL)
		return -ENOMEM; /* there was no begin */
	all = opens_sorted(&s->opens, &count);
	for (i = 0; i < count; i++)
		put_unfinished(s, &all[i]);
	free(all);
	json_close(&s->json);
	json_object(&s->json, "otherData");
	json_str(&s->json, "producer", "nvtrace");
	json_str(&s->json, "time", s->timed ? "of the source" : "none: one microsecond per record");
	if (s->timed)
		json_strf(&s->json, "start_ns", "%" PRIu64, s->start_ns);
	json_close(&s->json);
	json_close(&s->json);
	json_newline(&s->json);
	opens_report(&s->opens, "end in the timeline where the others began");
	opens_free(&s->opens);
	map_free(&s->named);
	free(s);
	o->state = NULL;
	return ferror(o->out) ? -EIO : 0;
}

const struct output_ops perfetto_output = {.name = "perfetto",
                                           .begin = begin,
                                           .record = record,
                                           .end = end};
