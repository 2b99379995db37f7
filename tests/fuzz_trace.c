/* SPDX-License-Identifier: MIT
 *
 * nvtrace against hostile traces: recordings, kernel traces and logs that are cut, spliced and
 * changed, and bytes that were never a trace, go through every reader, every output, the filter,
 * --diff, --with and --hex, by way of command lines as a user gives them. Checked is
 *
 *  - nothing crashes, leaks or takes long,
 *  - the output is not out of proportion, and well formed: JSON is JSON in ASCII, XML nests, each
 *    row of CSV has all columns, the blocks of pcapng chain,
 *  - neither text nor a message holds a control character that came from the trace,
 *  - a wrong filter is refused with a reason and a column.
 *
 * It is nvtrace's library with another main(). Run it at the top
 * of the source tree, where tests/fixtures/ is; without them those traces are missing. See fuzz.h.
 * FUZZ_SHOW=1 in the environment prints each command line with its output.
 */
#define NVME_IMPLEMENTATION
#define NVME_STATIC /* the library has names and texts of its own */
#include "trace/cli.h"
#include "trace/filter.h"

#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"
#include "fuzz.h"
#include <ctype.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define RUNS        4    /* command lines for each input */
#define PIECE       6144 /* bytes taken from a sample, mostly */
#define MAX_TRACE   (1 << 20)
#define MAX_WORDS   16        /* of a command line */
#define MAX_OUTPUT  400       /* bytes of output for each byte of input ... */
#define FREE_OUTPUT (4 << 20) /* ... and for none: the page around a drawing */
#define MAX_SECONDS 5         /* of CPU time for one command line */
#define NEST        64

static struct {
	uint64_t bytes, output, refused, filters;
} total;

struct bytes {
	uint8_t *at;
	size_t len, room;
};

static void add_bytes(struct bytes *b, const void *data, size_t len)
{
	size_t room = b->room;
	uint8_t *at;

	if (len > MAX_TRACE - b->len)
		len = MAX_TRACE - b->len;
	while (room < b->len + len + 1)
		room = room * 2 + 4096;
	if (room != b->room) {
		at = realloc(b->at, room);
		if (at == NULL)
			abort();
		b->at = at;
		b->room = room;
	}
	if (len > 0)
		memcpy(b->at + b->len, data, len);
	b->len += len;
	b->at[b->len] = 0;
}

static void add_text(struct bytes *b, const char *text)
{
	add_bytes(b, text, strlen(text));
}

/* Puts bytes in the place of others. */
static void replace(struct bytes *b, size_t at, size_t old_len, const void *data, size_t len)
{
	struct bytes tail = {NULL, 0, 0};

	add_bytes(&tail, b->at + at + old_len, b->len - at - old_len);
	b->len = at;
	add_bytes(b, data, len);
	add_bytes(b, tail.at, tail.len);
	free(tail.at);
}

/* ---- samples: what real traces look like ---- */

enum sample { S_RECORDED, S_FTRACE_INIT, S_FTRACE_IO, S_QEMU, S_SPDK, SAMPLES };

static const char *const sample_files[SAMPLES] = {
	NULL,
	"tests/fixtures/linux-6.1.176.init.ftrace.txt",
	"tests/fixtures/linux-6.1.176.io.ftrace.txt",
	"tests/fixtures/qemu-7.2.seabios.log",
	"tests/fixtures/spdk-v23.05-hello_world-qemu.log",
};

static struct bytes samples[SAMPLES];

static void load(struct bytes *b, const char *name)
{
	char part[4096];
	FILE *f = fopen(name, "rb");
	size_t n;

	if (f == NULL) {
		fprintf(stderr, "fuzz_trace: %s: %s\n", name, strerror(errno));
		return;
	}
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		add_bytes(b, part, n);
	fclose(f);
}

/* A file in memory, and a name to open it by. */
static int memory_file(char *name, size_t size)
{
	int fd = memfd_create("fuzz_trace", MFD_CLOEXEC);

	if (fd < 0) {
		perror("fuzz_trace: memfd_create");
		exit(1);
	}
	snprintf(name, size, "/proc/self/fd/%d", fd);
	return fd;
}

static void no_log(void *arg, enum nvme_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

/* The driver on the software controller, with reads that fail and PRP lists. */
static void record_driver(struct nvme_trace *trace)
{
	const char *device = "soft:size=1M";
	struct nvme_qpair *qp = NULL;
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	uint8_t *buf;
	uint32_t i;

	memset(&opts, 0, sizeof(opts));
	opts.dev_ops = nvme_soft_dev_ops(device);
	opts.log = no_log;
	opts.trace = trace;
	if (nvme_attach(device, &opts, &ctrlr) != 0)
		return;
	(void)nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
	ns = nvme_ctrlr_get_ns(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr));
	buf = nvme_dma_alloc(ctrlr, 65536);
	for (i = 0; i < 8 && qp != NULL && ns != NULL && buf != NULL; i++) {
		(void)nvme_ns_write(ns, qp, buf, i * 8, 8u << i % 4, NULL);
		(void)nvme_ns_read(ns, qp, buf, i % 4 == 3 ? 1 << 20 : i, 1u << i % 7, NULL);
	}
	if (buf != NULL)
		nvme_dma_free(ctrlr, buf);
	if (qp != NULL)
		(void)nvme_ctrlr_free_io_qpair(qp);
	(void)nvme_detach(ctrlr);
}

static void load_samples(void)
{
	struct nvme_trace *trace;
	char name[64];
	int fd = memory_file(name, sizeof(name)), i;

	if (nvme_trace_open(name, 1024, &trace) == 0) {
		record_driver(trace);
		trace->header->start_ns = trace->header->pid = 1;
		for (i = 0; i < 1024; i++) { /* every run of the fuzzer sees the same */
			trace->slot[i].time_ns = UINT64_C(1700000000000000000) + (uint64_t)i * 1500;
			trace->slot[i].tid = 77;
		}
		add_bytes(&samples[S_RECORDED], trace->header,
		          (size_t)(trace->header->next < 1024 ? trace->header->next : 1024) * 128);
		nvme_trace_close(trace);
	}
	close(fd);
	for (i = 0; i < SAMPLES; i++)
		if (sample_files[i] != NULL)
			load(&samples[i], sample_files[i]);
}

/* ---- traces that are made up ---- */

/* Fields mean something only if they are mostly small and often the same. */
static uint16_t small(struct fuzz *in)
{
	return (uint16_t)(fuzz_chance(in, 8) ? fuzz_odd(in) : fuzz_below(in, 4));
}

static void random_cmd(struct fuzz *in, struct nvme_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opc = (uint8_t)(fuzz_chance(in, 64) ? fuzz_u8(in) : fuzz_below(in, 16));
	cmd->cid = small(in);
	cmd->nsid = small(in);
	cmd->dptr.prp.prp1 = fuzz_odd(in);
	cmd->dptr.prp.prp2 = fuzz_odd(in);
	cmd->cdw10 = (uint32_t)fuzz_odd(in);
	cmd->cdw11 = (uint32_t)fuzz_odd(in);
	cmd->cdw12 = (uint32_t)fuzz_odd(in);
	if (fuzz_chance(in, 32))
		fuzz_mutate(in, cmd, sizeof(*cmd));
}

static void random_cpl(struct fuzz *in, struct nvme_cpl *cpl)
{
	memset(cpl, 0, sizeof(*cpl));
	cpl->cid = small(in);
	cpl->sqid = small(in);
	cpl->sqhd = small(in);
	if (fuzz_chance(in, 64))
		fuzz_mutate(in, cpl, sizeof(*cpl));
}

/* As long as the driver makes them at most. */
static void record_log(struct fuzz *in, const struct nvme_log *log)
{
	static const struct nvme__log_place place = {"file.c", 12, "function"};
	char text[NVME__LOG_LINE_MAX - 192];
	size_t len = fuzz_below(in, fuzz_chance(in, 32) ? sizeof(text) : 64), i;

	for (i = 0; i < len; i++)
		text[i] = (char)(fuzz_chance(in, 16) ? fuzz_u8(in) : 'a' + (int)(i % 26));
	text[i] = '\0';
	nvme__trace_log(log, 0, &place, (enum nvme_log_level)fuzz_below(in, 6), text);
}

union payload {
	uint8_t bytes[NVME_TRACE_PAYLOAD];
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
	struct nvme_trace_reg reg;
	struct nvme_trace_doorbell db;
	struct nvme_trace_prp prp;
	struct nvme_trace_prp_list list;
};

static size_t random_payload(struct fuzz *in, uint16_t kind, union payload *p)
{
	memset(p, 0, sizeof(*p));
	switch (kind) {
	case NVME_TRACE_SQE:
	case NVME_TRACE_SQE_ERROR:
	case NVME_TRACE_DEV_FETCH:
		random_cmd(in, &p->cmd);
		return sizeof(p->cmd);
	case NVME_TRACE_CQE:
	case NVME_TRACE_DEV_CQE:
		random_cpl(in, &p->cpl);
		return sizeof(p->cpl);
	case NVME_TRACE_REG_READ:
	case NVME_TRACE_REG_WRITE:
		p->reg.offset = fuzz_below(in, 0x60);
		p->reg.size = fuzz_chance(in, 16) ? fuzz_u8(in) : 4u << fuzz_below(in, 2);
		p->reg.value = fuzz_odd(in);
		return sizeof(p->reg);
	case NVME_TRACE_DOORBELL:
		p->db.offset = 0x1000 + 4u * small(in);
		p->db.cq = (uint16_t)fuzz_below(in, 2);
		p->db.old_value = small(in);
		p->db.new_value = small(in);
		return sizeof(p->db);
	case NVME_TRACE_PRP:
		p->prp.prp1 = fuzz_odd(in);
		p->prp.len = (uint32_t)fuzz_odd(in);
		p->prp.nprp = fuzz_chance(in, 16) ? (uint32_t)fuzz_odd(in) : fuzz_below(in, 24);
		p->prp.cid = small(in);
		return sizeof(p->prp);
	case NVME_TRACE_PRP_LIST:
		p->list.cid = small(in);
		p->list.count = fuzz_chance(in, 16) ? fuzz_u8(in) : 10;
		p->list.first = fuzz_chance(in, 16) ? (uint32_t)fuzz_odd(in) : 10u * small(in);
		return sizeof(p->list);
	default:
		fuzz_mutate(in, p->bytes, sizeof(p->bytes));
		return fuzz_below(in, NVME_TRACE_PAYLOAD + 1);
	}
}

/* The recorder itself writes events as they may come, and as they cannot. */
static void record_events(struct fuzz *in, struct bytes *b)
{
	static const uint16_t kinds[] = {
		NVME_TRACE_SQE,       NVME_TRACE_CQE,      NVME_TRACE_SQE,
		NVME_TRACE_CQE,       NVME_TRACE_SQE,      NVME_TRACE_CQE,
		NVME_TRACE_DOORBELL,  NVME_TRACE_PRP,      NVME_TRACE_PRP_LIST,
		NVME_TRACE_ATTACH,    NVME_TRACE_DETACH,   NVME_TRACE_REG_READ,
		NVME_TRACE_REG_WRITE, NVME_TRACE_DMA_MAP,  NVME_TRACE_DMA_UNMAP,
		NVME_TRACE_LOG,       NVME_TRACE_LOG_MORE, NVME_TRACE_DEV_DATA,
		NVME_TRACE_DEV_FETCH, NVME_TRACE_DEV_CQE,  NVME_TRACE_SQE_ERROR,
		NVME_TRACE_MARK,
	};
	uint32_t slots = 1 + fuzz_below(in, 64), n = fuzz_below(in, 80), i;
	struct nvme_log log = {.fn = no_log};
	uint64_t now = UINT64_C(1) << 60;
	union payload payload;
	struct nvme_trace *t;
	char name[64];
	int fd = memory_file(name, sizeof(name));
	uint16_t kind;
	size_t len;

	if (nvme_trace_open(name, slots, &t) != 0)
		abort();
	log.trace = t;
	while (n-- > 0 && in->left > 0) {
		log.ctrlr = (uint8_t)(fuzz_chance(in, 8) ? fuzz_u8(in) : 0);
		kind = kinds[fuzz_below(in, COUNT(kinds))];
		if (fuzz_chance(in, 16)) {
			record_log(in, &log);
			continue;
		}
		if (fuzz_chance(in, 4))
			kind = fuzz_u8(in);
		len = random_payload(in, kind, &payload);
		now = fuzz_chance(in, 8) ? fuzz_odd(in) : now + fuzz_below(in, 5000);
		nvme__trace_put(&log, now, kind, (int)fuzz_below(in, 9999), small(in), &payload,
		                len);
	}
	for (i = 0; i < slots; i++)
		t->slot[i].tid = fuzz_chance(in, 16) ? fuzz_u8(in) : 1;
	t->header->start_ns = t->header->pid = 1;
	add_bytes(b, t->header, t->size);
	nvme_trace_close(t);
	close(fd);
}

static void random_hex_lines(struct fuzz *in, struct bytes *b)
{
	uint32_t n = 1 + fuzz_below(in, 12);
	union payload p;
	char word[32];
	size_t len, i;
	bool sqe;

	while (n-- > 0) {
		sqe = fuzz_chance(in, 128);
		len = random_payload(in, sqe ? NVME_TRACE_SQE : NVME_TRACE_CQE, &p);
		snprintf(word, sizeof(word), "%s %u ", sqe ? "sqe" : "cqe", small(in));
		add_text(b, word);
		for (i = 0; i < len; i++) {
			snprintf(word, sizeof(word), "%02x", p.bytes[i]);
			add_text(b, word);
		}
		add_text(b, "\n");
	}
}

/* A part of a sample: whole lines, or the header and some slots. */
static void piece_of_sample(struct fuzz *in, struct bytes *b)
{
	uint32_t which = fuzz_below(in, SAMPLES);
	const struct bytes *s = &samples[which];
	size_t at, len = s->len;

	if (s->len == 0)
		return;
	if (fuzz_chance(in, 4)) {
		add_bytes(b, s->at, s->len);
		return;
	}
	if (len > PIECE)
		len = 256 + fuzz_below(in, PIECE - 256);
	at = fuzz_chance(in, 64) ? 0 : fuzz_below(in, (uint32_t)(s->len - len + 1));
	if (which == S_RECORDED) {
		add_bytes(b, s->at, 128);
		at -= at % 128;
		len -= len % 128;
	} else {
		while (at > 0 && s->at[at - 1] != '\n')
			at--;
	}
	add_bytes(b, s->at + at, len);
}

static void random_bytes(struct fuzz *in, struct bytes *b)
{
	uint32_t len = fuzz_below(in, 512);
	uint8_t byte;

	while (len-- > 0) {
		byte = fuzz_u8(in);
		add_bytes(b, &byte, 1);
	}
}

/* ---- changes ---- */

/* Somewhere in the text another number, word or byte. */
static void change_word(struct fuzz *in, struct bytes *b)
{
	static const char *const words[] = {
		"",     "0",    "-1",   "0x",       "99999999999999999999999",
		":",    "=",    "{",    "}",        "\n",
		"\r\n", "\t",   "\033", "\xff",     "\xc3\xa9",
		"<&>",  "\"",   "\\",   "%s%n",     "cmdid=",
		"qid:", "cid:", "PRP1", "nvme_sq:", "pci_nvme_",
		"###",  "( ",   ")",    "[",        "nvme99",
	};
	char number[32];
	const char *word = words[fuzz_below(in, COUNT(words))];
	size_t at = b->len > 0 ? fuzz_below(in, (uint32_t)b->len) : 0, len = 0;

	if (fuzz_chance(in, 160)) {
		snprintf(number, sizeof(number), fuzz_chance(in, 128) ? "%" PRIu64 : "%#" PRIx64,
		         fuzz_odd(in));
		word = number;
		while (at < b->len && !isdigit(b->at[at]))
			at++;
	}
	while (at + len < b->len && isalnum(b->at[at + len]) && !fuzz_chance(in, 16))
		len++;
	replace(b, at, len, word, strlen(word));
}

/* Lines twice, gone or in another place; very long ones. */
static void change_lines(struct fuzz *in, struct bytes *b)
{
	size_t at = b->len > 0 ? fuzz_below(in, (uint32_t)b->len) : 0, len = 0;
	uint32_t times = fuzz_chance(in, 8) ? fuzz_below(in, 400) : fuzz_below(in, 3);
	struct bytes line = {NULL, 0, 0};

	while (at > 0 && b->at[at - 1] != '\n')
		at--;
	while (at + len < b->len && b->at[at + len] != '\n')
		len++;
	len += at + len < b->len;
	while (times-- > 0)
		add_bytes(&line, b->at + at, len - (len > 0 && fuzz_chance(in, 8)));
	if (fuzz_chance(in, 2))
		while (line.len < 70000)
			add_text(&line, "a very long line 12345678 ");
	replace(b, at, len, line.at, line.len);
	free(line.at);
}

/* A field of a slot, so that the slot stays whole. */
static void change_slot(struct fuzz *in, struct bytes *b)
{
	struct nvme_trace_slot slot;
	size_t at;

	if (b->len < 256)
		return;
	at = 128 * (size_t)(1 + fuzz_below(in, (uint32_t)(b->len / 128 - 1)));
	memcpy(&slot, b->at + at, sizeof(slot));
	switch (fuzz_below(in, 8)) {
	case 0:
		slot.seq = fuzz_chance(in, 128) ? slot.seq + fuzz_below(in, 64) : fuzz_odd(in);
		slot.check = ~slot.seq;
		break;
	case 1:
		slot.time_ns = fuzz_odd(in);
		break;
	case 2:
		slot.kind = (uint16_t)fuzz_below(in, 40);
		break;
	case 3:
		slot.qid = (uint16_t)fuzz_odd(in);
		break;
	case 4:
		slot.ctrlr = fuzz_u8(in);
		break;
	case 5:
		slot.len = fuzz_u8(in);
		break;
	case 6:
		slot.tid = (uint32_t)fuzz_odd(in);
		break;
	default:
		fuzz_mutate(in, slot.payload, sizeof(slot.payload));
	}
	memcpy(b->at + at, &slot, sizeof(slot));
}

static bool is_recording(const struct bytes *b)
{
	return b->len >= 128 && memcmp(b->at, NVME_TRACE_MAGIC, 8) == 0;
}

static void make_trace(struct fuzz *in, struct bytes *b)
{
	uint32_t n, kind = fuzz_below(in, 32);

	add_bytes(b, "", 0);
	if (kind == 0)
		random_bytes(in, b);
	else if (kind < 3)
		random_hex_lines(in, b);
	else if (kind < 12)
		record_events(in, b);
	else
		piece_of_sample(in, b);
	if (fuzz_chance(in, 24))
		piece_of_sample(in, b);
	for (n = fuzz_below(in, 12); n > 0 && in->left > 0; n--) {
		if (fuzz_chance(in, 48) && b->len > 0)
			fuzz_mutate(in, b->at, b->len);
		else if (is_recording(b) && !fuzz_chance(in, 8))
			change_slot(in, b);
		else if (fuzz_chance(in, 48))
			change_lines(in, b);
		else
			change_word(in, b);
	}
	if (is_recording(b) && fuzz_chance(in, 8))
		fuzz_mutate(in, b->at, sizeof(struct nvme_trace_header));
	if (fuzz_chance(in, 24) && b->len > 0)
		b->len = fuzz_below(in, (uint32_t)b->len);
}

/* ---- command lines ---- */

struct command_line {
	char *word[MAX_WORDS + 1];
	int words;
	char text[4096];
	size_t used;
	bool two_files;
	char filter[2048];
};

static void make_filter(struct fuzz *in, char *text, size_t size)
{
	static const char *const whole[] = {
		"qid==1 && opc==read && lat>50us",
		"!(status!=0 || cid in 1..5)",
		"kind==cqe&&time in 0..5ms",
		"lba>=0x10 || nlb<8",
	};
	static const char *const words[] = {
		"qid",
		"cid",
		"nsid",
		"opc",
		"lba",
		"nlb",
		"len",
		"status",
		"sct",
		"sc",
		"lat",
		"prp1",
		"kind",
		"ctrlr",
		"time",
		"dnr",
		"sqhd",
		"==",
		"!=",
		"<",
		">=",
		"in",
		"..",
		"(",
		")",
		"!",
		"&&",
		"||",
		"0",
		"1",
		"0x10",
		"50us",
		"read",
		"sqe",
		"cqe",
		"5s",
		" ",
		"0/04",
		"=",
		"success",
		"phase",
		"identify",
		"99999999999999999999s",
	};
	uint32_t n = 1 + fuzz_below(in, 24);
	size_t len = 0;

	total.filters++;
	if (fuzz_chance(in, 4)) {
		memset(text, "(!"[fuzz_below(in, 2)], size - 1);
		text[size - 1] = '\0';
		return;
	}
	if (fuzz_chance(in, 160))
		len = (size_t)snprintf(text, size, "%s", whole[fuzz_below(in, COUNT(whole))]);
	else
		for (; n > 0; n--)
			len += (size_t)snprintf(text + len, size - len, "%s%s",
			                        words[fuzz_below(in, COUNT(words))],
			                        fuzz_chance(in, 128) ? " " : "");
	for (n = fuzz_chance(in, 64) ? 2 : 0; n > 0; n--)
		text[fuzz_below(in, (uint32_t)len)] = (char)(' ' + (char)fuzz_below(in, 95));
}

static void check_filter(const char *text)
{
	int column = 0, len = (int)strlen(text);
	struct filter *filter;
	char why[256] = "";

	filter = filter_new(text, why, sizeof(why), &column);
	fuzz_check(filter != NULL || (why[0] != '\0' && column >= 1 && column <= len + 1),
	           "the filter '%s' is wrong at column %d: '%s'", text, column, why);
	filter_free(filter);
}

static void add_word(struct command_line *c, const char *word)
{
	size_t len = strlen(word) + 1;

	if (c->words == MAX_WORDS || len > sizeof(c->text) - c->used)
		abort();
	c->word[c->words++] = memcpy(c->text + c->used, word, len);
	c->used += len;
}

static void make_command_line(struct fuzz *in, struct command_line *c, const char *a, const char *b)
{
	static const char *const flags[] = {"-v", "-H",        "--explain",   "-t",
	                                    "-d", "--latency", "--no-prefix", "--style=v26"};
	static const char *const inputs[] = {"nvt", "ftrace", "tracecmd", "qemu", "spdk"};
	static const char *const formats[] = {"-Ttext", "-Tjson", "-Tcsv", "-Tperfetto", "-Thtml",
	                                      "-Tsvg",  "-w-",    "-c",    "--lint"};
	uint32_t kind = fuzz_below(in, 16), i;

	memset(c, 0, sizeof(*c));
	add_word(c, "nvtrace");
	for (i = 0; i < COUNT(flags); i++)
		if (fuzz_chance(in, 80))
			add_word(c, flags[i]);
	if (kind == 0) {
		add_word(c, "--hex");
		return;
	}
	if (fuzz_chance(in, 40)) {
		add_word(c, "--input");
		add_word(c, inputs[fuzz_below(in, COUNT(inputs))]);
	}
	if (kind < 5) {
		c->two_files = true;
		add_word(c, a);
		add_word(c, kind < 3 ? "--diff" : "--with");
		add_word(c, b);
		return;
	}
	add_word(c, formats[fuzz_below(in, COUNT(formats))]);
	if (fuzz_chance(in, 64)) {
		make_filter(in, c->filter, sizeof(c->filter));
		add_word(c, "-f");
		add_word(c, c->filter);
	}
	add_word(c, fuzz_chance(in, 64) ? "-" : a);
}

/* ---- is JSON well formed? Each function returns what follows, or NULL ---- */

static const char *json_space(const char *s)
{
	return s + strspn(s, " \n\t\r");
}

static const char *json_string(const char *s)
{
	int i;

	if (*s++ != '"')
		return NULL;
	for (; *s != '"'; s++) {
		if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
			return NULL;
		if (*s != '\\')
			continue;
		s++;
		if (*s == '\0' || strchr("\"\\/bfnrtu", *s) == NULL)
			return NULL;
		for (i = *s == 'u' ? 4 : 0; i > 0; i--)
			if (!isxdigit((unsigned char)*++s))
				return NULL;
	}
	return s + 1;
}

/* nvtrace writes no exponents. */
static const char *json_number(const char *s)
{
	size_t n;

	s += *s == '-';
	n = strspn(s, "0123456789");
	if (n == 0 || (*s == '0' && n > 1))
		return NULL;
	s += n;
	if (*s != '.')
		return s;
	n = strspn(s + 1, "0123456789");
	return n > 0 ? s + 1 + n : NULL;
}

static const char *json_word(const char *s)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t i;

	for (i = 0; i < COUNT(words); i++)
		if (strncmp(s, words[i], strlen(words[i])) == 0)
			return s + strlen(words[i]);
	return NULL;
}

/* A value and the blanks around it. */
static const char *json_value(const char *s)
{
	char end[NEST + 1]; /* which bracket closes what is open; a stack instead of a recursion */
	int depth = 0;

	for (;;) {
		s = json_space(s);
		if (*s == '{' || *s == '[') {
			if (depth == NEST)
				return NULL;
			end[depth++] = *s == '{' ? '}' : ']';
			s = json_space(s + 1);
			if (*s != end[depth - 1]) {
				if (*s == '"' && end[depth - 1] == '}')
					goto name;
				if (end[depth - 1] == '}')
					return NULL;
				continue;
			}
		} else {
			s = *s == '"'                                 ? json_string(s)
			    : *s == '-' || isdigit((unsigned char)*s) ? json_number(s)
			                                              : json_word(s);
			if (s == NULL)
				return NULL;
			s = json_space(s);
		}
		while (depth > 0 && *s == end[depth - 1]) {
			depth--;
			s = json_space(s + 1);
		}
		if (depth == 0)
			return s;
		if (*s++ != ',')
			return NULL;
		if (end[depth - 1] == ']')
			continue;
		s = json_space(s);
name:
		s = json_string(s);
		s = s != NULL ? json_space(s) : NULL;
		if (s == NULL || *s++ != ':')
			return NULL;
	}
}

static void check_json(const char *text)
{
	const char *rest = json_value(text);

	fuzz_check(rest != NULL && *rest == '\0', "this is not JSON: %.400s", text);
}

/* One value in each line. */
static void check_json_lines(char *text)
{
	char *line, *end;

	for (line = text; *line != '\0'; line = end + 1) {
		end = strchr(line, '\n');
		fuzz_check(end != NULL, "the last line of JSON has no end");
		if (end == NULL)
			return;
		*end = '\0';
		check_json(line);
	}
}

/* ---- is other output well formed? ---- */

/* The end of a tag, whose attributes must be quoted. */
static const char *svg_tag(const char *s)
{
	for (; *s != '>'; s++) {
		if (*s == '\0' || *s == '<')
			return NULL;
		if (*s != '"')
			continue;
		s = strpbrk(s + 1, "\"<");
		if (s == NULL || *s == '<')
			return NULL;
	}
	return s;
}

/* Elements are closed in order, & begins an entity. */
static void check_svg(const char *text)
{
	const char *open[NEST], *name, *s;
	size_t len;
	int depth = 0;

	for (s = text; s != NULL && *s != '\0'; s++) {
		fuzz_check((unsigned char)*s >= 0x20 || *s == '\n', "SVG holds byte %02x", *s);
		if (*s == '&')
			fuzz_check(s[1 + strspn(s + 1, "#abcdefghijklmnopqrstuvwxyz0123456789")] ==
			                   ';',
			           "SVG holds a bare &: %.60s", s);
		if (*s != '<' || s[1] == '?' || s[1] == '!')
			continue;
		name = s + 1 + (s[1] == '/');
		len = strcspn(name, " />\n");
		if (name[-1] == '/') {
			if (depth-- == 0 || strncmp(open[depth], name, len) != 0 ||
			    open[depth][len] == '\0') {
				fuzz_fail("SVG closes what is not open: %.60s", name);
				return;
			}
		}
		s = svg_tag(name);
		if (s == NULL || depth == NEST) {
			fuzz_fail("SVG has a bad tag: %.60s", name);
			return;
		}
		if (name[-1] != '/' && s[-1] != '/')
			open[depth++] = name;
	}
	fuzz_check(depth == 0, "SVG leaves %d elements open", depth);
}

static void check_csv(const char *text)
{
	uint32_t columns = 0, n = 1;
	bool quoted = false;

	for (; *text != '\0'; text++) {
		if (*text == '"')
			quoted = !quoted;
		if (quoted)
			continue;
		n += *text == ',';
		if (*text != '\n')
			continue;
		if (columns == 0)
			columns = n;
		fuzz_check(n == columns, "a row of CSV has %u columns, not %u", n, columns);
		n = 1;
	}
	fuzz_check(!quoted && n == 1, "CSV ends within a row");
}

static void check_pcapng(const uint8_t *at, size_t len)
{
	uint32_t size, again;

	for (; len > 0; at += size, len -= size) {
		size = 0;
		if (len >= 12)
			memcpy(&size, at + 4, 4);
		if (size < 12 || size % 4 != 0 || size > len) {
			fuzz_fail("pcapng has a block of %u bytes where %zu are left", size, len);
			return;
		}
		memcpy(&again, at + size - 4, 4);
		fuzz_check(size == again, "pcapng has a block of %u bytes or of %u", size, again);
	}
}

/* What goes to a terminal does nothing to it. */
static void check_plain(const char *text, size_t len, const char *what)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (((uint8_t)text[i] < 0x20 && text[i] != '\n' && text[i] != '\t') ||
		    text[i] == 0x7f) {
			fuzz_fail("the %s holds control character %02x behind: %.*s", what,
			          (uint8_t)text[i], (int)(i < 120 ? i : 120),
			          text + (i < 120 ? 0 : i - 120));
			return;
		}
	}
}

static void check_output(const struct arguments *a, char *text, size_t len)
{
	if (a->output == &pcapng_output) {
		check_pcapng((const uint8_t *)text, len);
		return;
	}
	fuzz_check(strlen(text) == len, "the output holds a NUL");
	if (a->output == &json_output)
		check_json_lines(text);
	else if (a->output == &perfetto_output)
		check_json(text);
	else if (a->output == &svg_output)
		check_svg(text);
	else if (a->output == &csv_output)
		check_csv(text);
	else if (a->output == &html_output)
		fuzz_check(len > 16 && strstr(text + len - 16, "</html>") != NULL,
		           "HTML does not end with </html>");
	else
		check_plain(text, len, "output");
}

/* ---- one command line ---- */

/* Standard input is a pipe: it cannot seek, and gives as much as it likes. */
static ssize_t pipe_read(void *cookie, char *buf, size_t size)
{
	struct fuzz *in = cookie;

	if (size > in->left)
		size = in->left;
	if (size > 1000)
		size = 1000;
	memcpy(buf, in->at, size);
	in->at += size;
	in->left -= size;
	return (ssize_t)size;
}

/* What the program prints is caught; returns its exit status. */
static int run_nvtrace(struct command_line *c, struct arguments *a, const struct bytes *input,
                       char **text, size_t *len, char **messages, size_t *messages_len)
{
	static const cookie_io_functions_t pipe_functions = {.read = pipe_read};
	FILE *old_in = stdin, *old_out = stdout, *old_err = stderr;
	struct fuzz pipe_state = {input->at, input->len};
	int rc;

	stdin = fopencookie(&pipe_state, "r", pipe_functions);
	stdout = open_memstream(text, len);
	stderr = open_memstream(messages, messages_len);
	if (stdin == NULL || stdout == NULL || stderr == NULL)
		abort();
	optind = 0; /* getopt begins anew */
	rc = parse_arguments(a, c->words, c->word);
	if (rc == -1)
		rc = run(a);
	fclose(stdin);
	fclose(stdout);
	fclose(stderr);
	stdin = old_in;
	stdout = old_out;
	stderr = old_err;
	return rc;
}

static void run_line(struct command_line *c, const struct bytes *input, size_t bytes)
{
	struct arguments a = {.output = &text_output, .options.prefix = true};
	char *text = NULL, *messages = NULL;
	size_t len = 0, messages_len = 0;
	clock_t start = clock();
	double seconds;
	int rc = run_nvtrace(c, &a, input, &text, &len, &messages, &messages_len), i;

	seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
	total.bytes += bytes;
	total.output += len;
	total.refused += rc == 2;
	fuzz_run.steps++;
	if (getenv("FUZZ_SHOW") != NULL) {
		for (i = 0; i < c->words; i++)
			fprintf(stderr, "%s ", c->word[i]);
		fprintf(stderr, "\n%.3f s, %zu bytes to %zu, status %d\n%s%.*s\n", seconds, bytes,
		        len, rc, messages, (int)len, text);
	}
	fuzz_check(rc >= 0 && rc <= 3, "the exit status is %d", rc);
	fuzz_check(seconds <= MAX_SECONDS, "%zu bytes took %.1f s", bytes, seconds);
	fuzz_check(len <= FREE_OUTPUT + MAX_OUTPUT * bytes, "%zu bytes became %zu", bytes, len);
	check_plain(messages, messages_len, "message");
	if (len > 0)
		check_output(&a, text, len);
	free(text);
	free(messages);
}

/* ---- one input ---- */

/* There when the program is built with a sanitizer. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes != NULL
	               ? __sanitizer_get_current_allocated_bytes()
	               : 0;
}

#ifndef NVME_LIBFUZZER
/* A reader that believes a length of its input is stopped here. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "max_allocation_size_mb=512:hard_rss_limit_mb=3072";
}
#endif

static void put_file(int fd, const struct bytes *b)
{
	if (ftruncate(fd, 0) != 0 || pwrite(fd, b->at, b->len, 0) != (ssize_t)b->len)
		abort();
}

static void fuzz_one(struct fuzz *in)
{
	static struct command_line line;
	static char name[2][64];
	static int fd[2];
	struct bytes trace[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
	size_t before;
	int i;

	if (fd[0] == 0) {
		load_samples();
		for (i = 0; i < 2; i++)
			fd[i] = memory_file(name[i], sizeof(name[i]));
	}
	before = allocated();
	make_trace(in, &trace[0]);
	if (fuzz_chance(in, 64)) { /* another, or nearly the same */
		make_trace(in, &trace[1]);
	} else {
		add_bytes(&trace[1], trace[0].at, trace[0].len);
		change_word(in, &trace[1]);
		change_lines(in, &trace[1]);
	}
	for (i = 0; i < 2; i++)
		put_file(fd[i], &trace[i]);
	for (i = 0; i < RUNS; i++) {
		make_command_line(in, &line, name[0], name[1]);
		if (line.filter[0] != '\0')
			check_filter(line.filter);
		run_line(&line, &trace[0], trace[0].len + (line.two_files ? trace[1].len : 0));
	}
	for (i = 0; i < 2; i++)
		free(trace[i].at);
	fuzz_check(allocated() <= before + 65536, "%zu bytes of memory are left",
	           allocated() - before);
}

static void fuzz_summary(void)
{
	printf("%" PRIu64 " bytes decoded to %" PRIu64 ", %" PRIu64 " filters, %" PRIu64
	       " command lines refused",
	       total.bytes, total.output, total.filters, total.refused);
}

#ifndef NVME_LIBFUZZER
int main(int argc, char **argv)
{
	return fuzz_main(argc, argv, "fuzz_trace", 6000);
}
#endif
