// SPDX-License-Identifier: MIT
/*
 * nvtrace prints NVMe traces: see docs/nvtrace.md, and nvtrace.h for how its parts fit together.
 *
 * Exit status: 0 nothing to report, 1 mistakes or differences were found, 2 wrong usage, 3 not
 * everything could be decoded; 3 outweighs 1.
 */
#define NVME_IMPLEMENTATION
#define NVME_TEXT_ONLY
#include "nvtrace.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct reader_ops *const readers[] = {
	&nvt_reader, &ftrace_reader, &tracecmd_reader, &qemu_reader, &spdk_reader,
};

static const struct output_ops *const outputs[] = {
	&text_output, &json_output, &csv_output, &perfetto_output, &html_output, &svg_output,
};

static const char usage_text[] =
	"usage: nvtrace [options] [FILE]\n"
	"       nvtrace [options] FILE --with FILE\n"
	"       nvtrace --diff FILE FILE\n"
	"       nvtrace --hex\n"
	"Prints a trace of NVMe commands and completions. FILE is what NVME_TRACE=FILE recorded, "
	"a\n"
	"Linux trace (ftrace, trace-cmd report), a QEMU log (pci_nvme_*) or an SPDK log; - or no "
	"FILE\n"
	"is standard input.\n"
	"  --input KIND   auto, nvt, ftrace, tracecmd, qemu, spdk (default: auto)\n"
	"  -f FILTER      only what matches, such as 'qid==1 && opc==read && lat>50us'\n"
	"  -o FILE        write to FILE; never to the input, or over another trace\n"
	"as text (the default):\n"
	"  -v             also registers, doorbells, mappings, the controller's side, problems\n"
	"  -H             each field of commands, completions and registers\n"
	"  --explain      the same in sentences, with the place in the specification\n"
	"  -t, -d         times since the start, since the previous line\n"
	"  --latency      latency of completions, commands outstanding\n"
	"  --no-prefix    messages only\n"
	"  --style STYLE  wording of SPDK v23.05 (the default) or v26\n"
	"otherwise:\n"
	"  -T FORMAT      text, json, csv, perfetto, html, svg\n"
	"  -w FILE        pcapng for Wireshark\n"
	"  -c             a summary: counts, latencies, queue depths\n"
	"  --lint         mistakes in the use of the protocol\n"
	"  --with FILE    joins a second trace of the same run, and says where they disagree\n"
	"  --diff         compares two runs\n"
	"  --input A,B    KIND of the first and the second file\n"
	"  --hex          decodes lines 'sqe QID HEX' and 'cqe QID HEX' of standard input\n"
	"  --help, --version\n"
	"Exit status: 0 nothing to report, 1 mistakes (--lint) or differences (--diff, --with), "
	"2 wrong\n"
	"usage, 3 not everything could be read, decoded or written.\n";

/* ---- what nvme.h keeps to itself ---- */

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

/* ---- input ---- */

void reader_complain(const struct reader *rd, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout); /* so that messages stand where they belong */
	fprintf(stderr, "nvtrace: %s: ", rd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

size_t reader_read(struct reader *rd, void *buf, size_t len)
{
	size_t n = rd->head_len - rd->head_at;

	if (n > len)
		n = len;
	memcpy(buf, rd->head + rd->head_at, n);
	rd->head_at += n;
	if (n < len)
		n += fread((uint8_t *)buf + n, 1, len - n, rd->in);
	return n;
}

long reader_getline(struct reader *rd, char *buf, size_t size)
{
	size_t len = 0;
	int c = EOF;

	while (len + 1 < size) {
		c = rd->head_at < rd->head_len ? rd->head[rd->head_at++] : getc_unlocked(rd->in);
		if (c == EOF || c == '\n')
			break;
		buf[len++] = (char)c;
	}
	buf[len] = '\0';
	return c == EOF && len == 0 ? -1 : (long)len;
}

static const struct reader_ops *probe_input(const struct reader *rd)
{
	const struct reader_ops *best = NULL;
	int most = 0, sure;
	size_t i;

	for (i = 0; i < COUNT(readers); i++) {
		sure = readers[i]->probe(rd->head, rd->head_len);
		if (sure > most) {
			most = sure;
			best = readers[i];
		}
	}
	return best;
}

static const struct reader_ops *choose_reader(struct reader *rd, enum input input)
{
	const struct reader_ops *best;
	size_t i;

	for (i = 0; i < COUNT(readers); i++)
		if (readers[i]->input == input)
			return readers[i];
	rd->head_len = fread(rd->head, 1, sizeof(rd->head), rd->in);
	if (ferror(rd->in)) {
		reader_complain(rd, "%s", strerror(errno));
		return NULL;
	}
	if (rd->head_len == 0) {
		reader_complain(rd, "it is empty");
		return NULL;
	}
	best = probe_input(rd);
	if (best == NULL)
		reader_complain(rd, "this is no trace that nvtrace knows; say what it is with "
		                    "--input");
	return best;
}

int reader_start(struct reader *rd, const char *name, enum input input, bool again)
{
	int rc;

	memset(rd, 0, sizeof(*rd));
	rd->again = again;
	rd->name = strcmp(name, "-") == 0 ? "standard input" : name;
	rd->in = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
	if (rd->in == NULL) {
		rc = -errno;
		reader_complain(rd, "%s: name a trace that is there and that you may read",
		                strerror(-rc));
		return rc;
	}
	rd->ops = choose_reader(rd, input);
	rc = rd->ops != NULL ? rd->ops->open(rd) : -EINVAL;
	if (rc != 0)
		reader_end(rd);
	return rc;
}

void reader_end(struct reader *rd)
{
	if (rd->ops != NULL)
		rd->ops->close(rd);
	if (rd->in != NULL && rd->in != stdin)
		fclose(rd->in);
	rd->ops = NULL;
	rd->in = NULL;
}

/* What was left out, though nothing is damaged. */
static void report_left_out(const struct reader *rd)
{
	if (rd->unknown > 0)
		reader_complain(rd,
		                "%" PRIu64
		                " events are of kinds that this nvtrace does not know and "
		                "were skipped (%s): a newer nvtrace may know them",
		                rd->unknown, rd->unknown_what);
	if (rd->moved > 0)
		reader_complain(rd,
		                "%" PRIu64 " events were overwritten or not yet finished when this "
		                "was read: a larger NVME_TRACE_SLOTS keeps more",
		                rd->moved);
}

int reader_next(struct reader *rd, struct pairing *pairing, struct rec *rec)
{
	int rc;

	rec_free(rec);
	if (rd->ended)
		return 0;
	rc = rd->ops->next(rd, rec);
	rd->ended = rc <= 0;
	if (rc < 0) {
		rd->failed = true;
		reader_complain(rd, "decoding stopped: %s", strerror(-rc));
	} else if (rc == 0 && ferror(rd->in)) {
		reader_complain(rd, "it cannot be read to its end: %s", strerror(errno));
	}
	if (rc <= 0 && !rd->again)
		report_left_out(rd);
	if (rc <= 0)
		return rc;
	if (rec->kind == REC_DAMAGE && !rd->again)
		reader_complain(rd, "%s", rec->text);
	pairing_record(pairing, rec);
	return 1;
}

int reader_status(const struct reader *rd)
{
	return rd->failed || rd->damaged > 0 || ferror(rd->in) ? NOT_DECODED : DECODED;
}

/* ---- from the reader to the output ---- */

struct problems {
	uint64_t orphans, others, lost;
};

static void count_problem(struct problems *n, const struct rec *rec)
{
	if (rec->problem == NULL)
		return;
	if (rec->kind == REC_COMPLETION && (rec->has & HAS_OPC) == 0)
		n->orphans++;
	else
		n->others++;
}

static void report_problems(const struct reader *rd, const struct problems *n)
{
	if (n->orphans + n->others + n->lost > 0)
		reader_complain(rd,
		                "completions without a command: %" PRIu64
		                ", commands without a completion: %" PRIu64
		                ", other oddities: %" PRIu64 " (-v shows where)",
		                n->orphans, n->lost, n->others);
}

/* 0 or the negative errno of the output; how the input was is in the reader. */
static int stream(struct reader *rd, struct output *out, struct pairing *pairs,
                  const struct filter *filter, struct problems *problems)
{
	struct rec rec;
	int rc = 0;

	memset(&rec, 0, sizeof(rec));
	while (rc >= 0 && reader_next(rd, pairs, &rec) > 0) {
		count_problem(problems, &rec);
		if (filter == NULL || filter_match(filter, &rec))
			rc = out->ops->record(out, &rec);
	}
	rec_free(&rec);
	return rc;
}

/* Commands that never completed: counted, and with -v shown behind everything else. */
static uint64_t report_open(struct output *out, struct pairing *pairs, const struct filter *filter)
{
	struct rec rec;
	uint64_t n = 0;

	while (pairing_next_open(pairs, &rec)) {
		n++;
		if (out->options->verbose && (filter == NULL || filter_match(filter, &rec)))
			out->ops->record(out, &rec);
	}
	return n;
}

/* What of an open reader goes to the output; the exit status. */
static int decode_all(struct reader *rd, struct pairing *pairs, const struct filter *filter,
                      struct output *out)
{
	struct problems problems = {0, 0, 0};
	bool text = out->ops == &text_output;
	int rc, end;

	rc = stream(rd, out, pairs, filter, &problems);
	if (text)
		problems.lost = report_open(out, pairs, filter);
	end = out->ops->end(out, pairs);
	if (rc >= 0 && end < 0)
		rc = end;
	if (text)
		report_problems(rd, &problems);
	if (rc < 0)
		reader_complain(rd, "decoding stopped: %s", strerror(-rc));
	if (rc < 0 || reader_status(rd) != DECODED)
		return NOT_DECODED;
	return end > 0 ? FOUND : DECODED;
}

static int decode(const char *name, enum input input, const struct filter *filter,
                  struct output *out)
{
	int rc, status = NOT_DECODED;
	struct pairing *pairs;
	struct reader rd;

	if (reader_start(&rd, name, input, false) != 0)
		return NOT_DECODED;
	pairs = pairing_new();
	rc = pairs != NULL ? output_open(out->options) : -ENOMEM;
	if (pairs == NULL || (rc == 0 && (rc = out->ops->begin(out)) < 0))
		reader_complain(&rd, "%s", strerror(-rc));
	else if (rc >= 0)
		status = decode_all(&rd, pairs, filter, out);
	reader_end(&rd);
	pairing_free(pairs);
	return status;
}

/* ---- --hex ---- */

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

static int decode_hex(const struct options *options)
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

/* ---- options ---- */

struct arguments {
	struct options options;
	enum input input[2]; /* of the first and the second file */
	const char *input_option;
	const struct output_ops *output;
	const char *output_option; /* which option chose it */
	const char *filter, *with;
	const char *file[2];
	int files;
	bool hex, diff;
};

static int __attribute__((format(printf, 1, 2))) usage_error(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nvtrace: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; nvtrace --help shows all options\n");
	return WRONG_USAGE;
}

static int set_output(struct arguments *a, const struct output_ops *ops, const char *option)
{
	if (a->output_option != NULL)
		return usage_error("%s does not go with %s", option, a->output_option);
	a->output = ops;
	a->output_option = option;
	return 0;
}

static int set_format(struct arguments *a, const char *name)
{
	size_t i;

	for (i = 0; i < COUNT(outputs); i++)
		if (strcmp(outputs[i]->name, name) == 0)
			return set_output(a, outputs[i], "-T");
	return usage_error("-T %s: no such format: text, json, csv, perfetto, html or svg", name);
}

static bool find_input(const char *name, size_t len, enum input *input)
{
	size_t i;

	*input = INPUT_AUTO;
	for (i = 0; i < COUNT(readers); i++) {
		if (strlen(readers[i]->name) == len && memcmp(readers[i]->name, name, len) == 0) {
			*input = readers[i]->input;
			return true;
		}
	}
	return len == strlen("auto") && memcmp(name, "auto", len) == 0;
}

static int set_input(struct arguments *a, const char *names)
{
	size_t first = strcspn(names, ",");
	const char *second = names[first] == ',' ? names + first + 1 : names;

	a->input_option = names;
	if (find_input(names, first, &a->input[0]) &&
	    find_input(second, strlen(second), &a->input[1]))
		return 0;
	return usage_error("--input %s: no such input: auto, nvt, ftrace, tracecmd, qemu or spdk",
	                   names);
}

static int set_style(struct arguments *a, const char *name)
{
	if (strcmp(name, "v23.05") != 0 && strcmp(name, "v26") != 0)
		return usage_error("--style %s: no such style: v23.05 or v26", name);
	a->options.style = strcmp(name, "v26") == 0 ? STYLE_V26 : STYLE_V2305;
	return 0;
}

static int set_file(const char **to, const char *value, const char *option)
{
	if (*to != NULL)
		return usage_error("%s is given twice", option);
	*to = value;
	return 0;
}

enum {
	OPT_INPUT = 256,
	OPT_HEX,
	OPT_STYLE,
	OPT_NO_PREFIX,
	OPT_EXPLAIN,
	OPT_LATENCY,
	OPT_LINT,
	OPT_WITH,
	OPT_DIFF,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{"input", required_argument, NULL, OPT_INPUT},
	{"hex", no_argument, NULL, OPT_HEX},
	{"style", required_argument, NULL, OPT_STYLE},
	{"no-prefix", no_argument, NULL, OPT_NO_PREFIX},
	{"explain", no_argument, NULL, OPT_EXPLAIN},
	{"latency", no_argument, NULL, OPT_LATENCY},
	{"lint", no_argument, NULL, OPT_LINT},
	{"with", required_argument, NULL, OPT_WITH},
	{"diff", no_argument, NULL, OPT_DIFF},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int take_text_option(struct arguments *a, int c)
{
	switch (c) {
	case 'v':
		a->options.verbose = true;
		return 0;
	case 'H':
		a->options.bits = true;
		return 0;
	case 't':
	case 'd':
		a->options.times = c == 't' ? 1 : 2;
		return 0;
	case OPT_EXPLAIN:
		a->options.explain = true;
		return 0;
	case OPT_LATENCY:
		a->options.show_latency = true;
		return 0;
	case OPT_NO_PREFIX:
		a->options.prefix = false;
		return 0;
	default:
		fputs("nvtrace: 'nvtrace --help' shows all options\n", stderr);
		return WRONG_USAGE; /* getopt has said what is wrong */
	}
}

static int take_option(struct arguments *a, int c, const char *value)
{
	switch (c) {
	case 'T':
		return set_format(a, value);
	case 'c':
		return set_output(a, &summary_output, "-c");
	case OPT_LINT:
		return set_output(a, &lint_output, "--lint");
	case 'w':
		return set_output(a, &pcapng_output, "-w") ||
		                       set_file(&a->options.out_file, value, "-w (or -o)")
		               ? WRONG_USAGE
		               : 0;
	case 'o':
		return set_file(&a->options.out_file, value, "-o (or -w)");
	case 'f':
		return set_file(&a->filter, value, "-f");
	case OPT_WITH:
		return set_file(&a->with, value, "--with");
	case OPT_INPUT:
		return set_input(a, value);
	case OPT_STYLE:
		return set_style(a, value);
	case OPT_HEX:
		a->hex = true;
		return 0;
	case OPT_DIFF:
		a->diff = true;
		return 0;
	default:
		return take_text_option(a, c);
	}
}

static bool is_stdin(const char *name)
{
	return strcmp(name, "-") == 0;
}

static int check_input_option(const struct arguments *a)
{
	if (a->input_option == NULL)
		return 0;
	if (a->hex)
		return usage_error("--input does not go with --hex");
	if (strchr(a->input_option, ',') != NULL && !a->diff && a->with == NULL)
		return usage_error("--input %s is for two files", a->input_option);
	return 0;
}

static int check_arguments(const struct arguments *a)
{
	int want = a->diff ? 2 : 1;

	if (a->hex + a->diff + (a->with != NULL) > 1)
		return usage_error("--hex, --diff and --with exclude each other");
	if (a->diff && a->files < 2)
		return usage_error("--diff needs two files");
	if (a->diff && is_stdin(a->file[0]) && is_stdin(a->file[1]))
		return usage_error("--diff can read only one of its files from standard input");
	if (a->with != NULL && a->files < 1)
		return usage_error("--with needs a file to join with: FILE --with FILE");
	if (a->files > want || (a->hex && a->files > 0))
		return usage_error("'%s' is one file too many", a->file[a->hex         ? 0
		                                                        : a->files > 1 ? 1
		                                                                       : 0]);
	if ((a->hex || a->diff || a->with != NULL) && a->output_option != NULL)
		return usage_error("%s does not go with %s", a->output_option,
		                   a->hex    ? "--hex"
		                   : a->diff ? "--diff"
		                             : "--with");
	if (a->output == &lint_output && a->filter != NULL)
		return usage_error("-f does not go with --lint, which needs the whole trace");
	if ((a->hex || a->diff || a->with != NULL) && a->filter != NULL)
		return usage_error("-f does not go with %s", a->hex    ? "--hex"
		                                             : a->diff ? "--diff"
		                                                       : "--with");
	return check_input_option(a);
}

/* -1: go on; else the exit status. */
static int parse_arguments(struct arguments *a, int argc, char **argv)
{
	int c, rc;

	while ((c = getopt_long(argc, argv, "T:co:w:f:vHtd", long_options, NULL)) != -1) {
		if (c == OPT_HELP) {
			fputs(usage_text, stdout);
			return 0;
		}
		if (c == OPT_VERSION) {
			printf("nvtrace %d.%d.%d\n", NVME_VERSION_MAJOR, NVME_VERSION_MINOR,
			       NVME_VERSION_PATCH);
			return 0;
		}
		rc = take_option(a, c, optarg);
		if (rc != 0)
			return rc;
	}
	for (; optind < argc; optind++) {
		if (a->files == 2)
			return usage_error("'%s' is one file too many", argv[optind]);
		a->file[a->files++] = argv[optind];
	}
	rc = check_arguments(a);
	return rc != 0 ? rc : -1;
}

/* ---- what may be written to ---- */

/* Whatever the two are called. Terminals and pipes may be both: nothing is in them to lose. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return S_ISREG(a->st_mode) && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_input(const char *name, const struct stat *file)
{
	struct stat st;

	return (is_stdin(name) ? fstat(STDIN_FILENO, &st) : stat(name, &st)) == 0 &&
	       same_file(&st, file);
}

/* The input that this file is; NULL: none. */
static const char *which_input(const struct arguments *a, const struct stat *file)
{
	int i;

	for (i = 0; i < a->files; i++)
		if (is_input(a->file[i], file))
			return a->file[i];
	if (a->with != NULL && is_input(a->with, file))
		return a->with;
	return a->files == 0 && is_input("-", file) ? "standard input" : NULL;
}

/* Is this a trace, and not our text, where -v quotes a line of one now and then? */
static bool mostly(const struct reader_ops *is, const struct reader *rd)
{
	const uint8_t *line = rd->head, *end = rd->head + rd->head_len, *next;
	size_t lines = 0, its = 0;

	if (memchr(line, 0, rd->head_len) != NULL)
		return true;
	for (; line < end; line = next + 1, lines++) {
		next = memchr(line, '\n', (size_t)(end - line));
		next = next != NULL ? next : end;
		its += is->probe(line, (size_t)(next - line)) > 0;
	}
	return its * 2 >= lines;
}

/*
 * Would writing to this file lose something that nvtrace did not write? NULL: no. Its own text looks
 * like SPDK's, so logs of SPDK are not protected.
 */
static const char *what_is_lost(const char *name)
{
	static const uint8_t pcapng[] = {0x0a, 0x0d, 0x0d, 0x0a};
	const struct reader_ops *is;
	FILE *file = fopen(name, "rb");
	struct reader rd;

	if (file == NULL)
		return NULL;
	memset(&rd, 0, sizeof(rd));
	rd.head_len = fread(rd.head, 1, sizeof(rd.head), file);
	fclose(file);
	is = probe_input(&rd);
	if (is != NULL && is != &spdk_reader && mostly(is, &rd))
		return "is a trace itself";
	if (rd.head_len >= sizeof(pcapng) && memcmp(rd.head, pcapng, sizeof(pcapng)) == 0)
		return NULL;
	return memchr(rd.head, 0, rd.head_len) != NULL ? "holds what nvtrace has not written"
	                                               : NULL;
}

static int check_out_file(const struct arguments *a)
{
	const char *name = a->options.out_file, *input, *lost;
	struct stat st;

	if (stat(name, &st) != 0)
		return 0;
	input = which_input(a, &st);
	if (input != NULL)
		return usage_error("the output %s is the input %s: give it another name", name,
		                   input);
	if (S_ISBLK(st.st_mode))
		return usage_error("the output %s is a disk: give the name of a file", name);
	lost = S_ISREG(st.st_mode) ? what_is_lost(name) : NULL;
	if (lost != NULL)
		return usage_error("the output %s %s: give it another name, or delete the file "
		                   "first",
		                   name, lost);
	return 0;
}

/* What the shell has opened: with >> the output would become input, without end. */
static int check_stdout(const struct arguments *a)
{
	const char *input;
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) != 0)
		return 0;
	input = which_input(a, &st);
	if (input == NULL)
		return 0;
	return usage_error("standard output is the input %s: write to another file%s", input,
	                   st.st_size == 0 ? " (with > the shell has emptied this one before "
	                                     "nvtrace could say so)"
	                                   : "");
}

/* 0, or WRONG_USAGE: an output is one of the inputs, or what is in it would be lost. */
static int check_targets(const struct arguments *a)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0 && which_input(a, &st) != NULL)
		return WRONG_USAGE; /* saying so would already change it */
	return a->options.out_file != NULL && !is_stdin(a->options.out_file) ? check_out_file(a)
	                                                                     : check_stdout(a);
}

int output_open(const struct options *options)
{
	int fd, rc = 0;

	if (options->out_file == NULL || is_stdin(options->out_file))
		return 0;
	fd = open(options->out_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0) {
		rc = -errno;
		fprintf(stderr,
		        "nvtrace: cannot write %s (%s): name a file in a directory that you may "
		        "write to\n",
		        options->out_file, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- main ---- */

static struct filter *compile_filter(const char *text)
{
	char why[256];
	int column = 1;
	struct filter *filter = filter_new(text, why, sizeof(why), &column);

	if (filter == NULL)
		fprintf(stderr, "nvtrace: -f: %s\n  %s\n  %*s\n", why, text, column, "^");
	return filter;
}

static int run(const struct arguments *a)
{
	const char *const file[2] = {a->file[0], a->diff ? a->file[1] : a->with};
	struct output out = {a->output, stdout, &a->options, NULL};
	struct filter *filter = NULL;
	int rc;

	if (a->hex)
		return decode_hex(&a->options);
	if (a->diff)
		return nvtrace_diff(file, a->input, &a->options);
	if (a->with != NULL)
		return nvtrace_merge(file, a->input, &a->options);
	if (a->filter != NULL) {
		filter = compile_filter(a->filter);
		if (filter == NULL)
			return WRONG_USAGE;
	}
	rc = decode(a->files > 0 ? a->file[0] : "-", a->input[0], filter, &out);
	filter_free(filter);
	return rc;
}

/* No file of ours shall become standard output because the shell has closed that. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct arguments a = {.output = &text_output, .options.prefix = true};
	int rc;

	open_standard_files();
	rc = parse_arguments(&a, argc, argv);
	if (rc >= 0)
		return rc;
	rc = check_targets(&a);
	if (rc == 0)
		rc = run(&a);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "nvtrace: the output cannot be written: %s\n", strerror(errno));
		return NOT_DECODED;
	}
	return rc;
}
