// SPDX-License-Identifier: MIT
/*
 * Reads the flight recorder's file: a header and fixed slots, see docs/trace-format.md.
 *
 * Slot i holds the events i + 1, i + 1 + slots, i + 1 + 2 * slots, ...: of a file that has not
 * wrapped the slots are read as they come, of one that has the newest event is looked for first.
 * That needs two passes, so a pipe is then copied to a temporary file. What spans several slots
 * (long log lines, PRP lists) is put together by thread, as threads write at the same time.
 *
 * A program may go on writing while its file is read. Then the header's count moves, and slots
 * change between one look and the next: they hold a later event than expected, or one that is not
 * finished. That is counted, and no damage; so it is in a copy that was made meanwhile, which has
 * events that its header does not know of. A wrapped file that moves, or is small, is copied first,
 * so that it does not run away from a reader who stops to think.
 */
#include "../reader.h"
#include "../words.h"
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK       128   /* slots that are read at once */
#define SMALL       65536 /* slots that are copied at once: 8 MiB */
#define PAUSES      10    /* for threads that are in the middle of something */
#define PENDING     64    /* threads that can be in the middle of something at once */
#define MAX_ENTRIES 65536 /* of one PRP list; 8192 are 32 MiB */
#define LOG_BYTES   1024
#define MAX_SEQ     (UINT64_C(1) << 62) /* no program lives to record so many events */

/* What a thread has begun: a log line or a PRP list. */
struct pending {
	bool used;
	uint64_t seq; /* of its first slot */
	size_t len;
	char log[LOG_BYTES];
	struct rec rec;
	uint32_t room; /* for entries of a PRP list */
};

struct nvt {
	struct nvme_trace_header header;
	int input;          /* where to seek in the input; -1: it is a pipe */
	off_t base;         /* where the header is in it */
	FILE *copy;         /* of the slots, with room for a header; NULL: none */
	bool moving;        /* the header's count has moved while this was read */
	uint64_t now;       /* that count: number of the next event */
	uint64_t present;   /* slots that are in the file, as far as is known */
	uint64_t first;     /* event that comes first */
	uint64_t next;      /* event expected in the next slot */
	uint64_t last;      /* event that comes last; 0: read until nothing more is there */
	bool have_slot;     /* slot was read but is not yet looked at */
	bool waiting;       /* slot is good and waits until what was pending is out */
	bool end;           /* no more slots */
	uint64_t torn_from; /* first of a run of unfinished slots; 0: none */
	uint64_t bad_from;  /* first of a run of damaged slots; 0: none */
	uint64_t looked;    /* events up to here were looked at twice */
	int pauses, error;  /* waited so often; why the file cannot be read */
	char bad_why[80];
	struct nvme_trace_slot slot;
	uint64_t block_at, block_len; /* the block holds slots from here, so many */
	struct nvme_trace_slot block[BLOCK];
	struct pending pending[PENDING];
};

/* ---- opening ---- */

static int nvt_probe(const uint8_t *head, size_t len)
{
	size_t n = strlen(NVME_TRACE_MAGIC);

	return len >= n && memcmp(head, NVME_TRACE_MAGIC, n) == 0 ? 100 : 0;
}

static bool slot_whole(const struct nvt *t, const struct nvme_trace_slot *slot, uint64_t index)
{
	return slot->seq != 0 && slot->seq <= MAX_SEQ && slot->check == ~slot->seq &&
	       slot->len <= NVME_TRACE_PAYLOAD && (slot->seq - 1) % t->header.slots == index;
}

static int check_header(struct reader *rd, struct nvme_trace_header *h)
{
	if (memcmp(h->magic, NVME_TRACE_MAGIC, sizeof(h->magic)) != 0) {
		reader_complain(rd, "it does not begin with %s: this is no trace of NVME_TRACE",
		                NVME_TRACE_MAGIC);
		return -EINVAL;
	}
	if (h->byte_order == __builtin_bswap32(NVME_TRACE_BYTE_ORDER)) {
		reader_complain(rd, "it was recorded on a machine of the other byte order: decode "
		                    "it on such a machine");
		return -EINVAL;
	}
	if (h->byte_order != NVME_TRACE_BYTE_ORDER) {
		reader_complain(rd, "its header is damaged: %08" PRIx32 " is no byte order",
		                h->byte_order);
		return -EINVAL;
	}
	if (h->version != NVME_TRACE_VERSION) {
		reader_complain(rd,
		                "it has version %" PRIu32 " of the format, this nvtrace reads "
		                "version %u: use the nvtrace of the nvme.h that recorded it",
		                h->version, NVME_TRACE_VERSION);
		return -EINVAL;
	}
	if (h->slot_size != sizeof(struct nvme_trace_slot) || h->slots == 0 ||
	    h->slots > (UINT64_C(1) << 32)) {
		reader_complain(rd, "its header is damaged: %" PRIu64 " slots of %" PRIu32 " bytes",
		                h->slots, h->slot_size);
		return -EINVAL;
	}
	return 0;
}

/* The header fills a whole slot, of which only its own 120 bytes are used. */
static int read_header(struct reader *rd, struct nvt *t)
{
	uint8_t raw[sizeof(struct nvme_trace_slot)];
	size_t n = reader_read(rd, raw, sizeof(raw));

	if (n < sizeof(raw)) {
		reader_complain(rd, n == 0 ? "it is empty"
		                           : "it ends within the header: nothing can be decoded");
		return -EINVAL;
	}
	memcpy(&t->header, raw, sizeof(t->header));
	return check_header(rd, &t->header);
}

/* ---- a file that can be read twice ---- */

/* Does a program write to the input at this moment? */
static void look_at_header(struct nvt *t)
{
	const off_t at = t->base + (off_t)offsetof(struct nvme_trace_header, next);
	uint64_t now;

	if (t->input < 0 || pread(t->input, &now, sizeof(now), at) != sizeof(now))
		return;
	t->moving |= now != t->now;
	t->now = now;
}

/* What may have been overwritten while it was read counts as empty. */
static void drop_overwritten(struct nvt *t)
{
	struct nvme_trace_slot *s;

	look_at_header(t);
	for (s = t->block; t->moving && s < t->block + t->block_len; s++)
		if (s->seq < t->now && t->now - s->seq > t->header.slots)
			s->seq = 0;
}

/* Reads the block of slots in which slot `index` is; false: it is not in the file. */
static bool load_block(struct nvt *t, uint64_t index)
{
	const uint64_t at = index - index % BLOCK, most = t->header.slots - at;
	const size_t size = sizeof(t->slot), want = (size_t)(most < BLOCK ? most : BLOCK) * size;
	const off_t from = (t->copy != NULL ? 0 : t->base) + (off_t)((at + 1) * size);
	const int fd = t->copy != NULL ? fileno(t->copy) : t->input;
	size_t have = 0;
	ssize_t n = 1;

	while (have < want && n > 0) {
		n = pread(fd, (char *)t->block + have, want - have, from + (off_t)have);
		have += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		t->error = errno;
	t->block_at = at;
	t->block_len = have / size;
	if (t->copy == NULL)
		drop_overwritten(t);
	return index - at < t->block_len;
}

static const struct nvme_trace_slot *slot_at(struct nvt *t, uint64_t index)
{
	if ((index < t->block_at || index - t->block_at >= t->block_len) && !load_block(t, index))
		return NULL;
	return &t->block[index - t->block_at];
}

/* A pipe cannot be read twice. Its first slot was read already. */
static int copy_pipe(struct reader *rd, struct nvt *t)
{
	struct nvme_trace_slot slot = t->slot;
	uint64_t i = 1;

	t->copy = tmpfile();
	if (t->copy == NULL) {
		reader_complain(rd,
		                "no temporary file for a trace that has wrapped (%s): give the "
		                "file itself, not a pipe",
		                strerror(errno));
		return -EIO;
	}
	fseeko(t->copy, (off_t)sizeof(slot), SEEK_SET);
	do {
		if (fwrite(&slot, sizeof(slot), 1, t->copy) != 1)
			break;
	} while (i++ < t->header.slots && reader_read(rd, &slot, sizeof(slot)) == sizeof(slot));
	if (fflush(t->copy) != 0 || ferror(t->copy)) {
		reader_complain(rd, "the temporary file cannot be written: %s", strerror(errno));
		return -EIO;
	}
	return 0;
}

/* What is in the file now, before it is overwritten. Without a copy more may be missed. */
static void copy_file(struct nvt *t)
{
	const struct nvme_trace_slot *slot;
	FILE *copy = tmpfile();
	uint64_t i;

	if (copy == NULL)
		return;
	fseeko(copy, (off_t)sizeof(*slot), SEEK_SET);
	t->block_len = 0;
	for (i = 0; i < t->header.slots && (slot = slot_at(t, i)) != NULL; i++)
		if (fwrite(slot, sizeof(*slot), 1, copy) != 1)
			break;
	t->block_len = 0;
	if (fflush(copy) != 0 || ferror(copy)) {
		fclose(copy);
		return;
	}
	t->copy = copy;
}

static uint64_t newest_event(struct nvt *t)
{
	const struct nvme_trace_slot *slot;
	uint64_t i, newest = 0;

	for (i = 0; i < t->header.slots && (slot = slot_at(t, i)) != NULL; i++)
		if (slot_whole(t, slot, i) && slot->seq > newest)
			newest = slot->seq;
	t->present = i;
	return newest;
}

/* Which is the newest event? The header's word alone is not enough: it may be damaged. */
static int find_newest(struct reader *rd, struct nvt *t)
{
	uint64_t newest;
	int rc = t->input < 0 ? copy_pipe(rd, t) : 0;

	if (rc != 0)
		return rc;
	if (t->copy == NULL && t->header.slots <= SMALL)
		copy_file(t);
	newest = newest_event(t);
	if (t->copy == NULL && t->moving) {
		copy_file(t);
		newest = newest_event(t);
	}
	if (newest >= t->header.next)
		t->moving = true; /* it was, for there are events that the header does not know */
	t->last = newest;
	t->first = newest > t->header.slots ? newest - t->header.slots + 1 : 1;
	t->next = t->first;
	rd->dropped = t->first - 1;
	if (newest == 0)
		t->end = true;
	return 0;
}

/* Can the input be read anywhere? Then it is, and what stands in the buffers is not needed. */
static void find_base(struct reader *rd, struct nvt *t)
{
	int fd = fileno(rd->in);
	struct stat st;
	off_t at;

	t->input = -1;
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	at = ftello(rd->in);
	if (at < 0)
		return;
	t->base = at - (off_t)(rd->head_len - rd->head_at);
	t->input = fd;
}

static int nvt_open(struct reader *rd)
{
	struct nvt *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return -ENOMEM;
	rd->state = t;
	find_base(rd, t);
	rc = read_header(rd, t);
	if (rc != 0)
		return rc;
	t->now = t->header.next;
	t->present = t->header.slots;
	t->first = t->next = 1;
	if (reader_read(rd, &t->slot, sizeof(t->slot)) < sizeof(t->slot)) {
		t->present = 0;
		return 0;
	}
	if (t->header.next - 1 <= t->header.slots &&
	    (t->slot.seq == 1 || (t->slot.seq == 0 && t->header.next <= 1))) {
		t->have_slot = true; /* not wrapped: one pass will do */
		return 0;
	}
	rc = find_newest(rd, t);
	if (rc == 0 && rd->dropped > 0 && !rd->again)
		reader_complain(rd,
		                "the oldest %" PRIu64 " of %" PRIu64 " events were overwritten: "
		                "record with a larger NVME_TRACE_SLOTS than %" PRIu64
		                " to keep them",
		                rd->dropped, t->last, t->header.slots);
	return rc;
}

static void nvt_close(struct reader *rd)
{
	struct nvt *t = rd->state;
	int i;

	if (t == NULL)
		return;
	for (i = 0; i < PENDING; i++)
		rec_free(&t->pending[i].rec);
	if (t->copy != NULL)
		fclose(t->copy);
	free(t);
	rd->state = NULL;
}

/* ---- slots in order ---- */

/* The slot of event t->next. False: the file ends here. */
static bool read_slot(struct reader *rd, struct nvt *t)
{
	uint64_t index = (t->next - 1) % t->header.slots;
	const struct nvme_trace_slot *slot;

	if (index >= t->present)
		return false;
	if (t->input >= 0 || t->copy != NULL) {
		slot = slot_at(t, index);
		if (slot != NULL)
			t->slot = *slot;
		return slot != NULL;
	}
	if (reader_read(rd, &t->slot, sizeof(t->slot)) == sizeof(t->slot))
		return true;
	t->present = index;
	return false;
}

static int __attribute__((format(printf, 4, 5)))
damage(struct reader *rd, struct rec *rec, uint64_t number, const char *fmt, ...)
{
	va_list ap;

	memset(rec, 0, sizeof(*rec));
	rec->kind = REC_DAMAGE;
	rec->number = number;
	va_start(ap, fmt);
	vsnprintf(rec->text, sizeof(rec->text), fmt, ap);
	va_end(ap);
	rd->damaged++;
	return 1;
}

static bool past_the_end(const struct nvt *t)
{
	if (t->last != 0)
		return t->next > t->last;
	return t->next > t->header.slots;
}

/*
 * Slots that are missing: cut off the file. Nothing is lost if no event was in them. A file that
 * has wrapped goes on behind them with its first slot.
 */
static int cut_off(struct reader *rd, struct nvt *t, struct rec *rec)
{
	uint64_t from = t->next, upto = t->last != 0 ? t->last : t->header.next - 1;
	uint64_t lap_end = from + (t->header.slots - 1 - (from - 1) % t->header.slots);

	if (t->last != 0 && upto > lap_end)
		upto = lap_end;
	t->next = upto >= from ? upto + 1 : from;
	if (t->last == 0 || t->next > t->last)
		t->end = true;
	if (upto < from)
		return 0;
	if (upto == from)
		return damage(rd, rec, from, "the file is cut: event %" PRIu64 " is missing", from);
	return damage(rd, rec, from,
	              "the file is cut: the events %" PRIu64 " to %" PRIu64 " are missing", from,
	              upto);
}

/* Does a copy of a file that has not wrapped hold an event that its header does not know of? */
static void look_behind(struct nvt *t)
{
	uint64_t index = t->header.next - 1;
	const struct nvme_trace_slot *slot = NULL;

	if (t->input >= 0 && t->last == 0 && t->header.next > 0 && index < t->header.slots)
		slot = slot_at(t, index);
	t->moving |= slot != NULL && slot_whole(t, slot, index);
}

/*
 * Slots that were not finished may be so by now: true, look again. Where nothing moves their threads
 * are given a little time, for a busy machine may have put them to sleep.
 */
static bool look_again(struct nvt *t)
{
	const struct timespec pause = {0, 20 * 1000 * 1000};
	uint64_t last = t->next - 1;

	if (t->input < 0 || t->bad_from != 0 || t->looked >= last)
		return false;
	look_at_header(t);
	for (; !t->moving && t->pauses < PAUSES; t->pauses++) {
		nanosleep(&pause, NULL);
		look_at_header(t);
	}
	if (t->copy != NULL && t->moving)
		return false; /* the copy is all there is left of them */
	if (t->copy != NULL)
		fclose(t->copy);
	t->copy = NULL;
	t->looked = last;
	t->next = t->torn_from;
	t->torn_from = 0;
	t->block_len = 0;
	t->have_slot = false;
	return true;
}

/*
 * A slot whose event had to give way to one that is not finished either: the newest events of a
 * program that was killed, or goes on, stand where the oldest were.
 */
static bool gave_way(const struct nvt *t, uint64_t seq)
{
	uint64_t next = t->now > t->last && t->now <= t->last + PENDING ? t->now : t->last + 1;

	return t->last != 0 && seq + t->header.slots < next;
}

/* 1: *rec says what is lost; 0: nothing to say about this run, or it is to be looked at again. */
static int end_of_run(struct reader *rd, struct nvt *t, struct rec *rec)
{
	uint64_t from = t->bad_from != 0 ? t->bad_from : t->torn_from, last = t->next - 1;
	const char *why = t->bad_from != 0 ? t->bad_why : "was not written to its end";

	if (look_again(t))
		return 0;
	look_behind(t);
	if (t->bad_from == 0 && t->moving) {
		rd->moved += last - from + 1;
		t->torn_from = 0;
		return 0;
	}
	t->bad_from = t->torn_from = 0;
	if (last > from)
		return damage(rd, rec, from,
		              "the events %" PRIu64 " to %" PRIu64 " are lost: their slots are "
		              "damaged (the first %s)",
		              from, last, why);
	return damage(rd, rec, from, "event %" PRIu64 " is lost: its slot %s", from, why);
}

/*
 * Is the slot empty, or are its number and its check word those of other events that belong here?
 * Then a writer was killed, or was at work when it was read, or was so slow that the others went
 * round and met it.
 */
static bool slot_unfinished(const struct nvt *t)
{
	const uint64_t slots = t->header.slots, index = (t->next - 1) % slots;

	return t->slot.seq == 0 ||
	       ((t->slot.seq - 1) % slots == index && (~t->slot.check - 1) % slots == index &&
	        t->slot.seq <= MAX_SEQ && ~t->slot.check <= MAX_SEQ);
}

/* Which run of slots that cannot be used does this one belong to? False: it is a good one. */
static bool slot_bad(struct reader *rd, struct nvt *t)
{
	const struct nvme_trace_slot *s = &t->slot;
	uint64_t seq = t->next;

	if (s->seq == seq && slot_whole(t, s, (seq - 1) % t->header.slots))
		return false;
	if (s->seq > seq && slot_whole(t, s, (seq - 1) % t->header.slots)) {
		/* overwritten since the newest event was looked for */
		rd->moved += t->torn_from == 0 && t->bad_from == 0;
		return true;
	}
	if (slot_unfinished(t)) {
		if (t->torn_from == 0 && t->bad_from == 0 && gave_way(t, seq))
			rd->dropped++;
		else if (t->torn_from == 0 && t->bad_from == 0)
			t->torn_from = seq;
		return true;
	}
	if (t->bad_from == 0) {
		t->bad_from = t->torn_from != 0 ? t->torn_from : seq;
		t->torn_from = 0;
		if (s->seq != seq)
			snprintf(t->bad_why, sizeof(t->bad_why), "holds the number %" PRIu64,
			         s->seq);
		else
			snprintf(t->bad_why, sizeof(t->bad_why), "has a wrong check word");
	}
	return true;
}

/*
 * Unfinished slots at the end, behind which no whole one stands, are what a program leaves that
 * is still running or was killed there: no damage, unless there are more than threads could have
 * been at work on.
 */
static int finish_slots(struct reader *rd, struct nvt *t, struct rec *rec)
{
	uint64_t from = t->last != 0 ? t->last + 1 : t->torn_from;

	if (t->bad_from != 0)
		return end_of_run(rd, t, rec);
	t->end = true;
	if (t->moving && t->torn_from != 0) {
		rd->moved += t->next - t->torn_from;
		return 0;
	}
	t->torn_from = 0;
	if (from == 0 || t->header.next <= from + PENDING)
		return 0;
	return damage(rd, rec, from,
	              "the events %" PRIu64 " to %" PRIu64 ", which the header counts, are not "
	              "there",
	              from, t->header.next - 1);
}

/* 1: t->slot is the next good slot; 2: *rec is a damage record; 0: the end. */
static int next_slot(struct reader *rd, struct nvt *t, struct rec *rec)
{
	while (!t->end) {
		if (past_the_end(t))
			return finish_slots(rd, t, rec) ? 2 : 0;
		if (!t->have_slot && !read_slot(rd, t)) {
			if (t->bad_from != 0)
				return end_of_run(rd, t, rec) ? 2 : 0;
			t->torn_from = 0;
			if (cut_off(rd, t, rec))
				return 2;
			continue;
		}
		t->have_slot = true;
		if (!slot_bad(rd, t)) {
			if (t->bad_from != 0 || t->torn_from != 0) {
				if (end_of_run(rd, t, rec))
					return 2;
				continue;
			}
			t->have_slot = false;
			t->next++;
			return 1;
		}
		t->have_slot = false;
		t->next++;
		/* An empty slot behind the last event that the header knows of is the end. */
		if (t->last == 0 && t->slot.seq == 0 && t->next > t->header.next &&
		    t->bad_from == 0)
			t->end = true;
	}
	return 0;
}

/* ---- what spans several slots ---- */

static struct pending *find_pending(struct nvt *t, uint32_t tid)
{
	int i;

	for (i = 0; i < PENDING; i++)
		if (t->pending[i].used && t->pending[i].rec.tid == tid)
			return &t->pending[i];
	return NULL;
}

static struct pending *oldest_pending(struct nvt *t)
{
	struct pending *oldest = NULL;
	int i;

	for (i = 0; i < PENDING; i++)
		if (t->pending[i].used && (oldest == NULL || t->pending[i].seq < oldest->seq))
			oldest = &t->pending[i];
	return oldest;
}

static struct pending *free_pending(struct nvt *t)
{
	int i;

	for (i = 0; i < PENDING; i++)
		if (!t->pending[i].used)
			return &t->pending[i];
	return NULL;
}

static int give_up(struct reader *rd, struct pending *p, struct rec *rec)
{
	const struct nvt *t = rd->state;

	p->used = false;
	rec_free(&p->rec);
	if (t->moving) {
		rd->moved++; /* the rest is among what was overwritten or is still to come */
		return 0;
	}
	return damage(rd, rec, p->seq, "event %" PRIu64 " is lost: the rest of %s is missing",
	              p->seq, p->rec.kind == REC_LOG ? "the log line" : "the PRP list");
}

/* level (1 byte), file, 0, function, 0, text. */
static bool parse_log(struct pending *p)
{
	char *log = p->log, *file = log + 1, *func, *text;
	uint8_t level = p->len > 0 ? (uint8_t)log[0] : 0;

	log[p->len] = '\0';
	if (level < NVME_LOG_ERROR || level > NVME_LOG_DEBUG)
		return false;
	func = memchr(file, 0, p->len - 1);
	if (func == NULL)
		return false;
	func++;
	text = memchr(func, 0, (size_t)(log + p->len - func));
	if (text == NULL || text - func > 63 || func - file > 33)
		return false;
	text++;
	p->rec.level = (enum nvme_log_level)level;
	snprintf(p->rec.file, sizeof(p->rec.file), "%s", file);
	snprintf(p->rec.func, sizeof(p->rec.func), "%s", func);
	snprintf(p->rec.text, sizeof(p->rec.text), "%s", text);
	return true;
}

static int finish_pending(struct reader *rd, struct pending *p, struct rec *rec)
{
	p->used = false;
	if (p->rec.kind == REC_LOG && !parse_log(p))
		return damage(rd, rec, p->seq, "event %" PRIu64 " is lost: no log line is in it",
		              p->seq);
	*rec = p->rec;
	p->rec.entry = NULL; /* now *rec has it */
	return 1;
}

/* 1: *rec is a record; 0: more to come. */
static int add_log_part(struct reader *rd, struct pending *p, const struct nvme_trace_slot *s,
                        struct rec *rec)
{
	if (p->len + s->len >= sizeof(p->log))
		return give_up(rd, p, rec);
	memcpy(p->log + p->len, s->payload, s->len);
	p->len += s->len;
	return s->len < NVME_TRACE_PAYLOAD ? finish_pending(rd, p, rec) : 0;
}

/* Room for more entries: for as many as have arrived, as a start may claim any number. */
static bool grow_list(struct pending *p, uint32_t count)
{
	uint32_t size = p->room < 64 ? 64 : 2 * p->room;
	uint64_t *entry;

	if (p->rec.entries + count <= p->room)
		return true;
	entry = realloc(p->rec.entry, size * sizeof(*entry));
	if (entry == NULL)
		return false;
	p->rec.entry = entry;
	p->room = size;
	return true;
}

static int add_list_part(struct reader *rd, struct pending *p, const struct nvme_trace_slot *s,
                         struct rec *rec)
{
	struct nvme_trace_prp_list part;

	memset(&part, 0, sizeof(part));
	memcpy(&part, s->payload, s->len < sizeof(part) ? s->len : sizeof(part));
	if (part.count == 0 || part.count > 10 || s->len < 8 + part.count * 8u ||
	    part.first != p->rec.entries || part.count > p->rec.prp.nprp - 1 - part.first ||
	    !grow_list(p, part.count))
		return give_up(rd, p, rec);
	memcpy(p->rec.entry + part.first, part.entry, part.count * sizeof(part.entry[0]));
	p->rec.entries += part.count;
	return p->rec.entries == p->rec.prp.nprp - 1 ? finish_pending(rd, p, rec) : 0;
}

static void common_fields(const struct nvme_trace_slot *s, struct rec *rec)
{
	memset(rec, 0, sizeof(*rec));
	rec->has = HAS_TIME | HAS_CTRLR;
	rec->number = s->seq;
	rec->time_ns = s->time_ns;
	rec->tid = s->tid;
	rec->ctrlr = s->ctrlr;
	rec->qid = s->qid;
	rec->line = s->line;
}

/* The driver prints such an event itself, from this function. */
static void set_place(struct rec *rec, enum nvme_log_level level, const char *func)
{
	rec->has |= HAS_PLACE;
	rec->level = level;
	snprintf(rec->file, sizeof(rec->file), "nvme.h");
	snprintf(rec->func, sizeof(rec->func), "%s", func);
}

static int begin_log(struct reader *rd, struct nvt *t, struct rec *rec)
{
	struct pending *p = free_pending(t);

	p->used = true;
	p->seq = t->slot.seq;
	p->len = 0;
	common_fields(&t->slot, &p->rec);
	p->rec.kind = REC_LOG;
	p->rec.has |= HAS_PLACE;
	return add_log_part(rd, p, &t->slot, rec);
}

static int begin_prp(struct reader *rd, struct nvt *t, struct rec *rec)
{
	struct pending *p = free_pending(t);
	const struct nvme_trace_slot *s = &t->slot;

	if (s->len < sizeof(p->rec.prp))
		return damage(rd, rec, s->seq, "event %" PRIu64 " is lost: its slot is too short",
		              s->seq);
	p->used = true;
	p->seq = s->seq;
	common_fields(s, &p->rec);
	p->rec.kind = REC_PRP;
	p->rec.has |= HAS_QID;
	set_place(&p->rec, NVME_LOG_DEBUG, "nvme__prp_list_print");
	memcpy(&p->rec.prp, s->payload, sizeof(p->rec.prp));
	if (p->rec.prp.nprp <= 2)
		return finish_pending(rd, p, rec);
	p->room = 0;
	return p->rec.prp.nprp - 1 > MAX_ENTRIES ? give_up(rd, p, rec) : 0;
}

/* A later part. At the start of a wrapped file the first part may be overwritten: no damage. */
static int add_part(struct reader *rd, struct nvt *t, struct rec *rec)
{
	const struct nvme_trace_slot *s = &t->slot;
	struct pending *p = find_pending(t, s->tid);
	bool log = s->kind == NVME_TRACE_LOG_MORE;

	if (p == NULL) {
		if (rd->dropped > 0 && s->seq - t->first < t->header.slots / 2 + 16)
			return 0;
		if (t->moving) {
			rd->moved++;
			return 0;
		}
		return damage(rd, rec, s->seq,
		              "event %" PRIu64 " is lost: the begin of %s is "
		              "missing",
		              s->seq, log ? "the log line" : "the PRP list");
	}
	return log ? add_log_part(rd, p, s, rec) : add_list_part(rd, p, s, rec);
}

/* ---- events that fit in a slot ---- */

/* What each kind becomes, and how many bytes it must have. */
static const struct {
	uint16_t kind, len;
	enum rec_kind rec;
	uint32_t has;
} simple_kinds[] = {
	{NVME_TRACE_ATTACH, sizeof(struct nvme_trace_attach), REC_ATTACH, 0},
	{NVME_TRACE_DETACH, 0, REC_DETACH, 0},
	{NVME_TRACE_REG_READ, sizeof(struct nvme_trace_reg), REC_REG_READ, 0},
	{NVME_TRACE_REG_WRITE, sizeof(struct nvme_trace_reg), REC_REG_WRITE, 0},
	{NVME_TRACE_SQE, sizeof(struct nvme_cmd), REC_COMMAND, HAS_QID | HAS_OPC},
	{NVME_TRACE_SQE_ERROR, sizeof(struct nvme_cmd), REC_CMD_AGAIN, HAS_QID | HAS_OPC},
	{NVME_TRACE_CQE, sizeof(struct nvme_cpl), REC_COMPLETION, HAS_QID},
	{NVME_TRACE_DOORBELL, sizeof(struct nvme_trace_doorbell), REC_DOORBELL, HAS_QID | HAS_OLD},
	{NVME_TRACE_SGL, offsetof(struct nvme_trace_sgl, desc), REC_SGL, HAS_QID},
	{NVME_TRACE_DMA_MAP, sizeof(struct nvme_trace_dma), REC_DMA_MAP, 0},
	{NVME_TRACE_DMA_UNMAP, sizeof(struct nvme_trace_dma), REC_DMA_UNMAP, 0},
	{NVME_TRACE_MARK, sizeof(struct nvme_trace_mark), REC_MARK, HAS_QID},
	{NVME_TRACE_DEV_FETCH, sizeof(struct nvme_cmd), REC_DEV_FETCH, HAS_QID | HAS_OPC},
	{NVME_TRACE_DEV_DATA, sizeof(struct nvme_trace_data), REC_DEV_DATA, HAS_QID},
	{NVME_TRACE_DEV_CQE, sizeof(struct nvme_cpl), REC_DEV_CQE, HAS_QID},
};

static void take_payload(const struct nvme_trace_slot *s, struct rec *rec)
{
	const uint8_t *from = s->payload;

	switch (rec->kind) {
	case REC_ATTACH:
		memcpy(&rec->attach, from, sizeof(rec->attach));
		rec->attach.name[sizeof(rec->attach.name) - 1] = '\0';
		rec->attach.access[sizeof(rec->attach.access) - 1] = '\0';
		snprintf(rec->text, sizeof(rec->text), "%s", rec->attach.name);
		break;
	case REC_REG_READ:
	case REC_REG_WRITE:
		memcpy(&rec->reg, from, sizeof(rec->reg));
		break;
	case REC_COMMAND:
	case REC_CMD_AGAIN:
	case REC_DEV_FETCH:
		memcpy(&rec->cmd, from, sizeof(rec->cmd));
		rec->cmd_have = HAVE_SQE;
		if (rec->kind != REC_DEV_FETCH)
			set_place(rec, NVME_LOG_NOTICE, "nvme_qpair_print_command");
		break;
	case REC_COMPLETION:
	case REC_DEV_CQE:
		memcpy(&rec->cpl, from, sizeof(rec->cpl));
		rec->has |= HAS_PHASE | HAS_SQHD | HAS_SQID | HAS_DW0 | HAS_DW1 | HAS_STATUS |
		            HAS_FLAGS;
		if (rec->kind == REC_COMPLETION)
			set_place(rec, NVME_LOG_NOTICE, "nvme_qpair_print_completion");
		break;
	case REC_DOORBELL:
		memcpy(&rec->doorbell, from, sizeof(rec->doorbell));
		break;
	case REC_SGL:
		memcpy(&rec->sgl, from, s->len < sizeof(rec->sgl) ? s->len : sizeof(rec->sgl));
		set_place(rec, NVME_LOG_DEBUG, "nvme__sgl_print");
		break;
	case REC_DMA_MAP:
	case REC_DMA_UNMAP:
		memcpy(&rec->dma, from, sizeof(rec->dma));
		break;
	case REC_DEV_DATA:
		memcpy(&rec->data, from, sizeof(rec->data));
		break;
	case REC_MARK:
		memcpy(&rec->mark, from, sizeof(rec->mark));
		format_mark(rec->text, sizeof(rec->text), rec->qid, &rec->mark);
		break;
	default:
		break;
	}
}

/* So many descriptors as it says, and none of them behind the end of the segment. */
static bool sgl_whole(const struct nvme_trace_sgl *sgl, size_t len)
{
	size_t most = sizeof(sgl->desc) / sizeof(sgl->desc[0]);

	return sgl->count > 0 && sgl->count <= most && sgl->first < sgl->descs &&
	       sgl->count <= sgl->descs - sgl->first &&
	       len >= offsetof(struct nvme_trace_sgl, desc) + sgl->count * sizeof(sgl->desc[0]);
}

static int simple_event(struct reader *rd, const struct nvme_trace_slot *s, struct rec *rec)
{
	size_t i;

	for (i = 0; i < sizeof(simple_kinds) / sizeof(simple_kinds[0]); i++) {
		if (simple_kinds[i].kind != s->kind)
			continue;
		if (s->len < simple_kinds[i].len)
			return damage(rd, rec, s->seq,
			              "event %" PRIu64 " is lost: its slot is too short", s->seq);
		common_fields(s, rec);
		rec->kind = simple_kinds[i].rec;
		rec->has |= simple_kinds[i].has;
		take_payload(s, rec);
		if (rec->kind == REC_SGL && !sgl_whole(&rec->sgl, s->len))
			return damage(rd, rec, s->seq,
			              "event %" PRIu64 " is lost: no part of an SGL is in it",
			              s->seq);
		return 1;
	}
	return 0; /* known_kind() has let it through */
}

static bool is_part(uint16_t kind)
{
	return kind == NVME_TRACE_LOG_MORE || kind == NVME_TRACE_PRP_LIST;
}

static bool begins(uint16_t kind)
{
	return kind == NVME_TRACE_LOG || kind == NVME_TRACE_PRP;
}

static bool known_kind(uint16_t kind)
{
	size_t i;

	for (i = 0; i < sizeof(simple_kinds) / sizeof(simple_kinds[0]); i++)
		if (simple_kinds[i].kind == kind)
			return true;
	return is_part(kind) || begins(kind);
}

/* Later versions of the recorder may have more kinds, but none has 0. */
static int skip_unknown(struct reader *rd, const struct nvme_trace_slot *s, struct rec *rec)
{
	if (s->kind == 0)
		return damage(rd, rec, s->seq, "event %" PRIu64 " is lost: it is of no kind",
		              s->seq);
	if (rd->unknown++ == 0)
		snprintf(rd->unknown_what, sizeof(rd->unknown_what),
		         "the first is event %" PRIu64 ", of kind %u", s->seq, (unsigned)s->kind);
	return 0;
}

/* 1: *rec is a record; 0: none yet. A slot may have to wait while the pending one goes out. */
static int decode_slot(struct reader *rd, struct nvt *t, struct rec *rec)
{
	struct pending *p = find_pending(t, t->slot.tid);
	uint16_t kind = t->slot.kind;

	if (!known_kind(kind))
		return skip_unknown(rd, &t->slot, rec);
	/* A thread that does something else will not finish what it has begun. */
	t->waiting = true;
	if (p != NULL &&
	    (!is_part(kind) || (kind == NVME_TRACE_LOG_MORE) != (p->rec.kind == REC_LOG)))
		return give_up(rd, p, rec);
	if (begins(kind) && free_pending(t) == NULL)
		return give_up(rd, oldest_pending(t), rec);
	t->waiting = false;
	if (kind == NVME_TRACE_LOG)
		return begin_log(rd, t, rec);
	if (kind == NVME_TRACE_PRP)
		return begin_prp(rd, t, rec);
	return is_part(kind) ? add_part(rd, t, rec) : simple_event(rd, &t->slot, rec);
}

static int nvt_next(struct reader *rd, struct rec *rec)
{
	struct nvt *t = rd->state;
	struct pending *p;
	int rc;

	for (;;) {
		if (!t->waiting) {
			rc = next_slot(rd, t, rec);
			if (t->error != 0)
				return -t->error;
			if (rc == 2)
				return 1;
			if (rc == 0)
				break;
		}
		if (decode_slot(rd, t, rec))
			return 1;
	}
	/* The end: a thread was in the middle of something. That is no wonder where the program is
	 * still running or was killed there: as in finish_slots() few slots may be missing. */
	while ((p = oldest_pending(t)) != NULL) {
		if (t->header.next > t->next + PENDING && !t->moving)
			return give_up(rd, p, rec);
		p->used = false;
		rec_free(&p->rec);
	}
	return 0;
}

const struct reader_ops nvt_reader = {INPUT_NVT, "nvt", nvt_probe, nvt_open, nvt_next, nvt_close};
