// SPDX-License-Identifier: MIT
/*
 * nvtrace prints NVMe traces: its options, see docs/nvtrace.md.
 *
 * Exit status: 0 nothing to report, 1 mistakes or differences were found, 2 wrong usage, 3 not
 * everything could be decoded; 3 outweighs 1.
 */
#include "cli.h"
#include "decode.h"
#include "hex.h"
#include "merge.h"
#include <getopt.h>
#include <stdarg.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

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
	"  --errors       only what has failed\n"
	"  --since TIME, --until TIME  from the start of the trace, such as 1.5s\n"
	"  -o FILE        write to FILE; never to the input, or over another trace\n"
	"as text (the default):\n"
	"  -v             also registers, doorbells, mappings, the controller's side, marks, problems\n"
	"  -H             each field of commands, completions and registers\n"
	"  --explain      the same in sentences, with the place in the specification\n"
	"  -n             the number of each record\n"
	"  -A N, -B N     N records behind and before each that was chosen\n"
	"  -t, -d         times since the start, since the previous line\n"
	"  --latency      latency of completions, commands outstanding\n"
	"  --no-prefix    messages only\n"
	"  --color[=WHEN] auto (the default: on a terminal, without NO_COLOR), always, never\n"
	"  --style STYLE  wording of SPDK v23.05 (the default) or v26\n"
	"otherwise:\n"
	"  -T FORMAT      text, json, csv, perfetto, html, svg\n"
	"  -w FILE        pcapng for Wireshark\n"
	"  -c             a summary: counts, rates, latencies, queue depths\n"
	"  --top N        with the N slowest commands\n"
	"  --lint         mistakes in the use of the protocol\n"
	"  --with FILE    joins a second trace of the same run, and says where they disagree\n"
	"  --diff         compares two runs\n"
	"  --input A,B    KIND of the first and the second file\n"
	"  --hex          decodes lines 'sqe QID HEX' and 'cqe QID HEX' of standard input\n"
	"  --help, --version\n"
	"Exit status: 0 nothing to report, 1 mistakes (--lint) or differences (--diff, --with), "
	"2 wrong\n"
	"usage, 3 not everything could be read, decoded or written.\n";

/* ---- options ---- */

int usage_error(const char *fmt, ...)
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
	const struct reader_ops *reader = reader_named(name, len);

	*input = reader != NULL ? reader->input : INPUT_AUTO;
	return reader != NULL || (len == strlen("auto") && memcmp(name, "auto", len) == 0);
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
	OPT_COLOR,
	OPT_SINCE,
	OPT_UNTIL,
	OPT_ERRORS,
	OPT_TOP,
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
	{"color", optional_argument, NULL, OPT_COLOR},
	{"since", required_argument, NULL, OPT_SINCE},
	{"until", required_argument, NULL, OPT_UNTIL},
	{"errors", no_argument, NULL, OPT_ERRORS},
	{"top", required_argument, NULL, OPT_TOP},
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
	case 'n':
		a->options.numbers = true;
		return 0;
	default:
		fputs("nvtrace: 'nvtrace --help' shows all options\n", stderr);
		return WRONG_USAGE; /* getopt has said what is wrong */
	}
}

/* --color is --color=always. */
static int set_color(struct arguments *a, const char *when)
{
	if (when != NULL && strcmp(when, "always") != 0 && strcmp(when, "never") != 0 &&
	    strcmp(when, "auto") != 0)
		return usage_error("--color=%s: auto, always or never is meant", when);
	a->color = when == NULL || strcmp(when, "always") == 0 ? COLOR_ALWAYS
	           : strcmp(when, "never") == 0                ? COLOR_NEVER
	                                                       : COLOR_AUTO;
	return 0;
}

/* On a terminal, unless its user does not want colours (no-color.org), or it has none. */
static bool wants_color(const struct arguments *a)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (a->color != COLOR_AUTO)
		return a->color == COLOR_ALWAYS;
	return a->options.out_file == NULL && isatty(STDOUT_FILENO) &&
	       (no == NULL || *no == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

static int set_number(unsigned *to, const char *value, const char *option, unsigned most)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end != '\0' || n > most)
		return usage_error("%s %s: a number up to %u is meant", option, value, most);
	*to = (unsigned)n;
	return 0;
}

static int take_selection(struct arguments *a, int c, const char *value)
{
	switch (c) {
	case OPT_COLOR:
		return set_color(a, value);
	case OPT_SINCE:
		return set_file(&a->since, value, "--since");
	case OPT_UNTIL:
		return set_file(&a->until, value, "--until");
	case OPT_ERRORS:
		a->errors = true;
		return 0;
	case 'A':
		return set_number(&a->after, value, "-A", MAX_CONTEXT);
	case 'B':
		return set_number(&a->before, value, "-B", MAX_CONTEXT);
	case OPT_TOP:
		return set_number(&a->options.top, value, "--top", 100000);
	default:
		return take_text_option(a, c);
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
		return take_selection(a, c, value);
	}
}

bool is_stdin(const char *name)
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

/* Which option chooses records; NULL: none does. */
static const char *selecting(const struct arguments *a)
{
	return a->filter != NULL  ? "-f"
	       : a->since != NULL ? "--since"
	       : a->until != NULL ? "--until"
	       : a->errors        ? "--errors"
	                          : NULL;
}

static int check_selection(const struct arguments *a)
{
	const char *by = selecting(a);

	if (by != NULL && a->output == &lint_output)
		return usage_error("%s does not go with --lint, which needs the whole trace", by);
	if (by != NULL && (a->hex || a->diff || a->with != NULL))
		return usage_error("%s does not go with %s", by,
		                   a->hex    ? "--hex"
		                   : a->diff ? "--diff"
		                             : "--with");
	if (a->before + a->after != 0 && (by == NULL || a->output != &text_output))
		return usage_error("-A and -B are for the text of what -f, --errors, --since or "
		                   "--until choose");
	if (a->options.top != 0 && a->output != &summary_output)
		return usage_error("--top is for -c");
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
	return check_selection(a) != 0 ? WRONG_USAGE : check_input_option(a);
}

int parse_arguments(struct arguments *a, int argc, char **argv)
{
	int c, rc;

	while ((c = getopt_long(argc, argv, "T:co:w:f:A:B:nvHtd", long_options, NULL)) != -1) {
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
	a->options.color = wants_color(a);
	rc = check_arguments(a);
	return rc != 0 ? rc : -1;
}

/* ---- doing it ---- */

static bool compile_filter(struct filter **filter, const char *text)
{
	char why[256];
	int column = 1;

	if (text == NULL)
		return true;
	*filter = filter_new(text, why, sizeof(why), &column);
	if (*filter == NULL)
		fprintf(stderr, "nvtrace: -f: %s\n  %s\n  %*s\n", why, text, column, "^");
	return *filter != NULL;
}

/* --since and --until are filters, too. */
static bool compile_time(struct filter **filter, const char *option, const char *how,
                         const char *text)
{
	char all[128], why[256] = "this is no time";
	int column;

	if (text == NULL)
		return true;
	snprintf(all, sizeof(all), "time%s%.100s", how, text);
	if (strspn(text, "0123456789.nmus") == strlen(text) && strlen(text) <= 100)
		*filter = filter_new(all, why, sizeof(why), &column);
	if (*filter == NULL)
		(void)usage_error("%s %s: %s; 1.5s is meant, from the start of the trace", option,
		                  text, why);
	return *filter != NULL;
}

int run(const struct arguments *a)
{
	const char *const file[2] = {a->file[0], a->diff ? a->file[1] : a->with};
	struct output out = {a->output, stdout, &a->options, NULL};
	struct selection s = {.errors = a->errors, .before = a->before, .after = a->after};
	int rc = WRONG_USAGE;

	if (a->hex)
		return decode_hex(&a->options);
	if (a->diff)
		return nvtrace_diff(file, a->input, &a->options);
	if (a->with != NULL)
		return nvtrace_merge(file, a->input, &a->options);
	if (compile_filter(&s.filter, a->filter) &&
	    compile_time(&s.since, "--since", ">=", a->since) &&
	    compile_time(&s.until, "--until", "<=", a->until))
		rc = decode(a->files > 0 ? a->file[0] : "-", a->input[0], &s, &out);
	filter_free(s.filter);
	filter_free(s.since);
	filter_free(s.until);
	return rc;
}
