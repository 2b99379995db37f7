// SPDX-License-Identifier: MIT
/*
 * One JSON object per line and record. Fields have their names of the specification in lower case
 * and their values as in the queue entry (NLB is 0-based), 64-bit ones as hex strings. What the
 * source does not carry is not there.
 */
#include "output.h"
#include "json_rec.h"
#include "opens.h"

struct state {
	struct json json;
	unsigned dstrd; /* of the controller attached last, for the names of doorbells */
};

/* ---- everything else ---- */

static void put_async_event(struct json *j, const struct rec *r)
{
	json_uint(j, "type", r->cpl.cdw0 & 7);
	json_uint(j, "info", r->cpl.cdw0 >> 8 & 0xff);
	json_uint(j, "lid", r->cpl.cdw0 >> 16 & 0xff);
	json_uint(j, "cdw0", r->cpl.cdw0);
}

static void put_mark(struct json *j, const struct rec *r)
{
	const char *name = mark_name(r->mark.what);

	if (name != NULL)
		json_str(j, "what", name);
	if (r->mark.what <= NVME_TRACE_RETRY)
		json_uint(j, "cid", r->mark.cid);
	json_uint(j, "value", r->mark.value);
	json_strn(j, "text", r->text, sizeof(r->text));
}

static void put_attach(struct json *j, struct state *s, const struct rec *r)
{
	const struct nvme_trace_attach *a = &r->attach;
	char version[32];

	s->dstrd = NVME_GET(a->cap, NVME_CAP_DSTRD);
	nvme_format_version(version, sizeof(version), a->vs);
	json_strn(j, "name", r->text, sizeof(r->text));
	json_strn(j, "access", a->access, sizeof(a->access));
	json_uint(j, "vendor_id", a->vendor_id);
	json_uint(j, "device_id", a->device_id);
	json_hex(j, "cap", a->cap);
	json_uint(j, "vs", a->vs);
	json_str(j, "version", version);
}

static void put_reg(struct json *j, const struct state *s, const struct nvme_trace_reg *reg)
{
	const struct nvme_field *f = nvme_reg_fields(reg->offset);
	char name[32];

	nvme_format_reg_name(name, sizeof(name), reg->offset, s->dstrd);
	json_str(j, "reg", name);
	json_uint(j, "offset", reg->offset);
	json_uint(j, "size", reg->size);
	json_hex(j, "value", reg->value);
	if (f->name == NULL)
		return;
	json_object(j, "fields");
	for (; f->name != NULL; f++) {
		if (reg->size < 8 && f->hi > 31)
			continue; /* half of a register */
		json_lower(name, sizeof(name), f->name);
		if (f->hi - f->lo > 31)
			json_hex(j, name, nvme_bits(reg->value, f->hi, f->lo));
		else
			json_uint(j, name, nvme_bits(reg->value, f->hi, f->lo));
	}
	json_close(j);
}

static void put_doorbell(struct json *j, const struct rec *r)
{
	json_str(j, "doorbell", r->doorbell.cq ? "cq_head" : "sq_tail");
	if (r->doorbell.offset != 0)
		json_uint(j, "offset", r->doorbell.offset);
	if (r->has & HAS_OLD)
		json_uint(j, "old", r->doorbell.old_value);
	json_uint(j, "new", r->doorbell.new_value);
	if (r->doorbell.in_memory)
		json_bool(j, "in_memory", true);
}

static void put_prp(struct json *j, const struct rec *r)
{
	uint32_t i;

	json_uint(j, "cid", r->prp.cid);
	if (r->prp.virt_addr != 0)
		json_hex(j, "virt_addr", r->prp.virt_addr);
	json_uint(j, "len", r->prp.len);
	json_hex(j, "prp1", r->prp.prp1);
	json_hex(j, "prp2", r->prp.prp2);
	json_uint(j, "nprp", r->prp.nprp);
	json_array(j, "entries");
	for (i = 0; r->entry != NULL && i < r->entries; i++)
		json_hex(j, NULL, r->entry[i]);
	json_close(j);
}

static void put_sgl(struct json *j, const struct rec *r)
{
	uint32_t i;

	json_uint(j, "cid", r->sgl.cid);
	json_hex(j, "segment", r->sgl.segment);
	json_uint(j, "len", r->sgl.len);
	json_uint(j, "descs", r->sgl.descs);
	json_uint(j, "first", r->sgl.first);
	json_array(j, "entries");
	for (i = 0; i < r->sgl.count; i++) {
		const struct nvme_sgl_desc *d = &r->sgl.desc[i];

		json_object(j, NULL);
		json_str(j, "type", nvme_sgl_type_name((uint8_t)NVME_GET(d->id, NVME_SGL_TYPE)));
		json_hex(j, "addr", d->addr);
		json_uint(j, "len", d->len);
		json_close(j);
	}
	json_close(j);
}

static void put_dma(struct json *j, const struct rec *r)
{
	if (r->kind == REC_DMA_MAP)
		json_hex(j, "vaddr", r->dma.vaddr);
	json_hex(j, "iova", r->dma.iova);
	json_hex(j, "len", r->dma.len);
}

static void put_data(struct json *j, const struct rec *r)
{
	json_uint(j, "cid", r->data.cid);
	json_str(j, "direction", r->data.to_host ? "to_host" : "to_controller");
	json_hex(j, "iova", r->data.iova);
	json_uint(j, "len", r->data.len);
}

/* What the log says about states: "[0000:01:00.0] setting state to NAME (timeout 500 ms)". */
static const char *state_of(const struct rec *r, size_t *len)
{
	static const char words[] = "setting state to ";
	const char *at = r->text, *end, *next;

	if (r->kind != REC_LOG)
		return NULL;
	if (at[0] == '[' && (end = strstr(at, "] ")) != NULL)
		at = end + 2;
	if (strncmp(at, words, sizeof(words) - 1) != 0)
		return NULL;
	at += sizeof(words) - 1;
	end = at + strlen(at);
	for (next = at; (next = strstr(next, " (")) != NULL; next++)
		end = next;
	*len = (size_t)(end - at);
	return at;
}

static void put_log(struct json *j, const struct rec *r)
{
	static const char *const names[] = {"default", "error", "warning",
	                                    "notice",  "info",  "debug"};
	const char *state;
	size_t len;

	state = state_of(r, &len);
	if (state != NULL)
		json_strn(j, "state", state, len);
	if ((unsigned)r->level > 0 && (unsigned)r->level < sizeof(names) / sizeof(names[0]))
		json_str(j, "level", names[r->level]);
	json_strn(j, "text", r->text, sizeof(r->text));
}

static void put_queue(struct json *j, const struct rec *r)
{
	json_uint(j, "sq_head", r->sq_head);
	json_uint(j, "sq_tail", r->sq_tail);
}

/* ---- the line ---- */

static void put_head(struct json *j, const struct rec *r)
{
	const char *event = rec_kind_name(rec_is_command(r) ? REC_COMMAND : r->kind);
	size_t len;

	json_str(j, "event", state_of(r, &len) != NULL ? "state" : event);
	json_uint(j, "number", r->number);
	if (r->has & HAS_TIME)
		json_uint(j, "time_ns", r->time_ns);
	if (r->has & HAS_CTRLR)
		json_uint(j, "ctrlr", r->ctrlr);
	if (r->has & HAS_PLACE) {
		if (r->tid != 0)
			json_uint(j, "tid", r->tid);
		if (r->file[0] != '\0')
			json_strn(j, "file", r->file, sizeof(r->file));
		if (r->func[0] != '\0')
			json_strn(j, "func", r->func, sizeof(r->func));
		if (r->line != 0)
			json_uint(j, "line", r->line);
	}
	if (r->has & HAS_QID)
		json_uint(j, "qid", r->qid);
}

static void put_body(struct json *j, struct state *s, const struct rec *r)
{
	switch (r->kind) {
	case REC_ATTACH:
		put_attach(j, s, r);
		break;
	case REC_REG_READ:
	case REC_REG_WRITE:
		put_reg(j, s, &r->reg);
		break;
	case REC_COMMAND:
	case REC_CMD_AGAIN:
	case REC_DEV_FETCH:
		json_command(j, r);
		break;
	case REC_COMPLETION:
	case REC_DEV_CQE:
		json_completion(j, r);
		break;
	case REC_DOORBELL:
		put_doorbell(j, r);
		break;
	case REC_PRP:
		put_prp(j, r);
		break;
	case REC_SGL:
		put_sgl(j, r);
		break;
	case REC_DMA_MAP:
	case REC_DMA_UNMAP:
		put_dma(j, r);
		break;
	case REC_LOG:
		put_log(j, r);
		break;
	case REC_ASYNC_EVENT:
		put_async_event(j, r);
		break;
	case REC_QUEUE:
		put_queue(j, r);
		break;
	case REC_IRQ:
		json_uint(j, "vector", r->vector);
		break;
	case REC_DEV_DATA:
		put_data(j, r);
		break;
	case REC_MARK:
		put_mark(j, r);
		break;
	case REC_DETACH:
	case REC_DAMAGE:
	case REC_NOTE:
	default:
		if (r->text[0] != '\0')
			json_strn(j, "text", r->text, sizeof(r->text));
		break;
	}
}

static int begin(struct output *o)
{
	struct state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	json_init(&s->json, o->out);
	o->state = s;
	return 0;
}

static int record(struct output *o, struct rec *rec)
{
	struct state *s = o->state;
	struct json *j = &s->json;

	rec->text[sizeof(rec->text) - 1] = '\0';
	json_object(j, NULL);
	put_head(j, rec);
	put_body(j, s, rec);
	if (rec->has & HAS_DEPTH)
		json_uint(j, "outstanding", rec->outstanding);
	if (rec->problem != NULL)
		json_str(j, "problem", rec->problem);
	json_close(j);
	json_newline(j);
	return ferror(o->out) ? -EIO : 0;
}

static int end(struct output *o, struct pairing *p)
{
	(void)p;
	free(o->state);
	o->state = NULL;
	return ferror(o->out) ? -EIO : 0;
}

const struct output_ops json_output = {.name = "json", .begin = begin, .record = record, .end = end};
