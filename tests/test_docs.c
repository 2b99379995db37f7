// SPDX-License-Identifier: MIT
/*
 * What the documents say is so: commands and paths exist, what is quoted is what is printed today,
 * line numbers included, and CI runs what the README says. (The README's program is run in test_vm,
 * the walkthroughs for gdb in test_gdb.)
 */
#include "run.h"

#define TEST_COMMAND "tools/deps.sh && make test"

static void test_ci_runs_the_readme(void **state)
{
	char *readme = read_file("README.md", NULL), *ci = read_file(".ci/run", NULL);

	(void)state;
	assert_non_null(strstr(readme, "```sh\n" TEST_COMMAND "\n```"));
	assert_non_null(strstr(readme, "```sh\ntools/deps.sh --build && make demo\n```"));
	assert_non_null(strstr(ci, "\n" TEST_COMMAND "\n"));
	free(readme);
	free(ci);
}

/* Every `make TARGET` of a document is a target, and 'make help' explains it. */
static void check_make_targets(const char *name, const char *help)
{
	char *text = read_file(name, NULL), *at = text, target[64], line[80];
	int n = 0;

	while ((at = strstr(at, "make ")) != NULL) {
		at += strlen("make ");
		if (sscanf(at, "%63[a-z-]", target) != 1 || (at[-6] != '`' && at[-6] != ' '))
			continue;
		if (at[-6] == ' ' && strncmp(at - 8, "&& ", 3) != 0)
			continue; /* an English sentence */
		snprintf(line, sizeof(line), "make %s ", target);
		if (strstr(help, line) == NULL)
			fail_msg("%s names 'make %s', which 'make help' does not list", name,
			         target);
		n++;
	}
	assert_true(n > 0);
	free(text);
}

static void test_make_targets(void **state)
{
	static char help[16384];
	FILE *pipe = popen("make -s help", "r");

	(void)state;
	assert_non_null(pipe);
	assert_true(fread(help, 1, sizeof(help) - 1, pipe) > 0);
	assert_int_equal(pclose(pipe), 0);
	check_make_targets("README.md", help);
}

/* The first column of the table of files. */
static void test_paths(void **state)
{
	char *readme = read_file("README.md", NULL), *at = readme, path[128];
	int n = 0;

	(void)state;
	while ((at = strstr(at, "\n| `")) != NULL) {
		at += strlen("\n| `");
		assert_int_equal(sscanf(at, "%127[^`]", path), 1);
		if (access(path, F_OK) != 0)
			fail_msg("README.md names %s, which does not exist", path);
		n++;
	}
	assert_true(n >= 7);
	free(readme);
}

/* Every tag of the header's front page has a section of its own, in the same order. */
static void test_header_contents(void **state)
{
	char *header = read_file("nvme.h", NULL), *toc = strstr(header, "THREE BOOKS"), *end, *line,
	     *save = NULL, *at, tag[32], mark[64];
	const char *section = header;
	int n = 0;

	(void)state;
	assert_non_null(toc);
	end = strstr(toc, "How the comments cite");
	assert_non_null(end);
	section = end + 1;
	*end = '\0';
	for (line = strtok_r(toc, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, " *\t>>", 5) != 0)
			continue;
		for (at = strstr(line, ">>"); at != NULL; at = strstr(at + 1, ">>")) {
			assert_int_equal(sscanf(at, ">>%31[-a-z]", tag), 1);
			snprintf(mark, sizeof(mark), "\n * >>%s\n", tag);
			section = strstr(section, mark);
			if (section == NULL)
				fail_msg("nvme.h: section >>%s is missing or out of order", tag);
			assert_null(strstr(section + 1, mark));
			n++;
			at++;
		}
	}
	assert_true(n > 30);
	free(header);
}

/* Every function that docs/map.md says is here is here. Those of SPDK begin otherwise. */
static void test_map(void **state)
{
	char *map = read_file("docs/map.md", NULL), *header = read_file("nvme.h", NULL);
	char *at = map, name[64];
	int n = 0;

	(void)state;
	while ((at = strstr(at, "`nvme_")) != NULL) {
		if (sscanf(++at, "%62[a-z0-9_]", name) != 1 || strncmp(name, "nvme_pcie_", 10) == 0)
			continue;
		strcat(name, "(");
		if (strstr(header, name) == NULL)
			fail_msg("docs/map.md names %s), which nvme.h does not have", name);
		n++;
	}
	assert_true(n > 80);
	free(map);
	free(header);
}

/* What the README says of the commands that break things. */
static void test_readme_faults(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_FAULTS='on write #1 status 2/80 dnr' $BUILD/hello_world");
	expect_status(&r, 1);
	expect_in(&r, r.err, "WRITE FAULTS (02/80)");
	done(&r);
	run(&r, "$BUILD/identify 'soft:ns=3,lbs=4096,mdts=1'");
	expect_status(&r, 0);
	done(&r);
	run(&r, "$BUILD/hello_world 'soft:plan=ready never'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "Initialization timed out");
	expect_in(&r, r.err, "after 10000 ms");
	done(&r);
	run(&r, "$BUILD/hello_world 'soft:plan=cfs on write'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "CSTS.CFS");
	done(&r);
}

/* Every nvtrace command of the README works on the trace that the first of them records. */
static void test_readme_nvtrace(void **state)
{
	char *readme = read_file("README.md", NULL), *line, *save = NULL;
	struct result r;
	int n = 0;

	(void)state;
	line = strstr(readme, "NVME_TRACE=h.nvt");
	assert_non_null(line);
	*strstr(line, "```") = '\0';
	for (line = strtok_r(line, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		run(&r,
		    "build=$(realpath $BUILD); cd %s && mkdir -p build && ln -sf "
		    "$build/hello_world $build/nvtrace build/ && %s",
		    dir, line);
		expect_status(&r, 0);
		done(&r);
		n++;
	}
	assert_int_equal(n, 9);
	run(&r, "cd %s && test -s h.pcapng && test -s h.html && test -s h.svg", dir);
	expect_status(&r, 0);
	done(&r);
	free(readme);
}

/* ---- quotes ---- */

/* What the documents quote, pictures included, is printed today. */
static void test_quotes_are_fresh(void **state)
{
	struct result r;

	(void)state;
	run(&r, "docs/renew --check README.md docs/*.md docs/*/*.md");
	expect_status(&r, 0);
	done(&r);
}

/* A copy of the documents beside the programs, to spoil it. */
static void copy_documents(void)
{
	struct result r;

	run(&r,
	    "rm -rf %s/copy && mkdir %s/copy && cp -r README.md docs %s/copy && "
	    "for f in Makefile nvme.h examples tools trace; do ln -s $PWD/$f %s/copy; done && "
	    "ln -s $(realpath $BUILD) %s/copy/build",
	    dir, dir, dir, dir, dir);
	expect_status(&r, 0);
	done(&r);
}

/* docs/renew sees what is spoilt, mends it, and has nothing to do the second time. */
static void test_renewal(void **state)
{
	static const struct {
		const char *file, *spoil; /* with sed */
	} spoilt[] = {
		{"README.md", "s/nvme.h:[0-9]*:nvme_ctrlr_shutdown/nvme.h:1:nvme_ctrlr_shutdown/"},
		{"README.md", "s/:nvme_qpair_print_command:/:nvme_detach:/"},
		{"README.md", "/CREATE IO SQ/d"},
		{"docs/pictures/hello_world.svg", "s/>WRITE cid:0/>WRITE cid:1/"},
		{"docs/nvtrace.md", "s/^    SUCCESS (00.00) qid:1/    SUCCESS (00\\/00) qid:2/"},
		{"docs/gdb/README.md", "s/CNS:01h CONTROLLER/CNS:02h CONTROLLER/"},
	};
	struct result r;
	size_t i;

	(void)state;
	copy_documents();
	for (i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		run(&r, "cd %s/copy && sed -i '%s' %s && ! cmp -s %s $OLDPWD/%s", dir,
		    spoilt[i].spoil, spoilt[i].file, spoilt[i].file, spoilt[i].file);
		expect_status(&r, 0);
		done(&r);
		run(&r,
		    "cd %s/copy && BUILD=build docs/renew --check README.md docs/*.md docs/*/*.md",
		    dir);
		expect_status(&r, 1);
		expect_in(&r, r.out, "prints something else now");
		expect_in(&r, r.out, "make docs");
		done(&r);
		run(&r, "cd %s/copy && BUILD=build docs/renew README.md docs/*.md docs/*/*.md",
		    dir);
		expect_status(&r, 0);
		expect_in(&r, expect_in(&r, r.out, "updated "), spoilt[i].file);
		done(&r);
		run(&r,
		    "cd %s/copy && cp -r README.md docs .. && BUILD=build docs/renew README.md "
		    "docs/*.md docs/*/*.md && cmp README.md ../README.md && diff -r docs ../docs",
		    dir);
		expect_status(&r, 0);
		assert_null(strstr(r.out, "updated "));
		done(&r);
	}
}

/* A quote that cannot be printed is not replaced by nothing. */
static void test_renewal_that_fails(void **state)
{
	static const struct {
		const char *spoil, *says;
	} bad[] = {
		{"s/shows: .*hello_world .* -->/shows: build\\/nonesuch -->/", "nonesuch"},
		{"s/shows: .*hello_world .* -->/shows: true -->/", "prints:"},
		{"/^<!-- shows: .*hello_world/a\\\\n", "must follow"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		copy_documents();
		run(&r,
		    "cd %s/copy && sed -i '%s' README.md && cp README.md spoilt && "
		    "BUILD=build docs/renew README.md 2>&1; r=$?; cmp README.md spoilt && exit $r",
		    dir, bad[i].spoil);
		expect_status(&r, 1);
		expect_in(&r, r.out, bad[i].says);
		done(&r);
	}
	run(&r, "docs/renew --frob");
	expect_status(&r, 2);
	done(&r);
	run(&r, "docs/renew docs/nonesuch.md");
	expect_status(&r, 2);
	done(&r);
}

/* Is the line in the function, in a source that clang-format has been over? */
static bool line_is_in(const char *source, long line, const char *function)
{
	char *text = read_file(source, NULL), *save = text, *at, call[80];
	bool is_header = false, inside = false, found = false;
	long n;

	snprintf(call, sizeof(call), "%s(", function);
	for (n = 1; !found && (at = strsep(&save, "\n")) != NULL; n++) {
		if (strcmp(at, "}") == 0) {
			found = inside && n == line;
			is_header = inside = false;
		} else if (strcmp(at, "{") == 0) {
			inside = is_header;
		} else if (*at != '\t' && *at != ' ' && *at != '\0' && *at != '#' && !inside) {
			char *name = strstr(at, call);

			is_header = name != NULL && (name == at || strchr(" *", name[-1]) != NULL);
		}
		found = found || (inside && n == line);
	}
	free(text);
	return found;
}

#define SOURCE "([a-z_0-9./]+\\.[ch])"

/* If the regular expression matches, its first three subexpressions go to part. */
static bool parts(const char *expression, const char *text, char part[4][128])
{
	regmatch_t at[4] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	regex_t regex;
	bool found;
	int i;

	assert_int_equal(regcomp(&regex, expression, REG_EXTENDED), 0);
	found = regexec(&regex, text, 4, at, 0) == 0;
	for (i = 0; found && i < 4; i++)
		snprintf(part[i], 128, "%.*s", (int)(at[i].rm_eo - at[i].rm_so),
		         text + at[i].rm_so);
	regfree(&regex);
	return found;
}

/* Does the text quote a line of a source? Then function is what it names beside the line: in a log,
 * in gdb's description of a place, or in the command that sets a breakpoint. */
static bool quoted_line(const char *text, const char *command, char *source, long *line,
                        char *function)
{
	char part[4][128], at[4][128];

	if (!parts(SOURCE "(:|, line )([0-9]+)", text, part))
		return false;
	memcpy(source, part[1], sizeof(part[1]));
	*line = strtol(part[3], NULL, 10);
	*function = '\0';
	if (parts(SOURCE ":([0-9]+):([a-z_0-9]+): ", text, at))
		memcpy(function, at[3], sizeof(at[3]));
	else if (parts("([a-z_0-9]+) (\\(.*\\) )?at " SOURCE, text, at))
		memcpy(function, at[1], sizeof(at[1]));
	else if (parts("reakpoint [0-9]+ at 0x[0-9a-f]+: file ", text, at) &&
	         parts("break ([a-z_0-9]+)", command, at))
		memcpy(function, at[1], sizeof(at[1]));
	return true;
}

/* Every line of a source that a document quotes is in the function that is named with it: another
 * look at the same numbers, without gdb. Returns how many there are. */
static int check_quoted_lines(const char *document)
{
	char *text = read_file(document, NULL), *save = text, *at;
	char command[128] = "", source[128], function[128];
	int count = 0, n;
	long line;

	for (n = 1; (at = strsep(&save, "\n")) != NULL; n++) {
		if (strncmp(at, "#>", 2) != 0)
			snprintf(command, sizeof(command), "%.127s", at);
		if (!quoted_line(at, command, source, &line, function))
			continue;
		if (*function == '\0')
			fail_msg("%s:%d names line %ld of %s, which nothing will renew: name the "
			         "function instead",
			         document, n, line, source);
		if (!line_is_in(source, line, function))
			fail_msg("%s:%d: line %ld of %s is not in %s(): run 'make docs'", document,
			         n, line, source, function);
		count++;
	}
	free(text);
	return count;
}

static void test_quoted_lines(void **state)
{
	struct result r;
	char *name, *save = NULL;
	int count = 0;

	(void)state;
	run(&r, "ls README.md docs/*.md docs/*/*.md docs/gdb/*.gdb");
	expect_status(&r, 0);
	for (name = strtok_r(r.out, "\n", &save); name != NULL; name = strtok_r(NULL, "\n", &save))
		count += check_quoted_lines(name);
	done(&r);
	assert_true(count > 100);
}

/* And that look can tell right from wrong; its own source is the example. */
static void test_quoted_lines_can_fail(void **state)
{
	char source[128], function[128];
	long line = 0;

	(void)state;
	assert_true(line_is_in("tests/test_docs.c", __LINE__, __func__));
	assert_false(line_is_in("tests/test_docs.c", __LINE__, "test_quoted_lines"));
	assert_false(line_is_in("tests/test_docs.c", 1, __func__));
	assert_true(quoted_line("see nvme.h:4868 for that", "", source, &line, function));
	assert_string_equal(source, "nvme.h");
	assert_int_equal(line, 4868);
	assert_string_equal(function, "");
	assert_true(quoted_line("#> Breakpoint 5 at 0xc: file ./nvme.h, line 9.", "break a_b if c",
	                        source, &line, function));
	assert_string_equal(function, "a_b");
	assert_true(quoted_line("#> #1  0x0c in f_2 (s=0x1 \"(\", i=2) at tools/a.h:3", "", source,
	                        &line, function));
	assert_string_equal(function, "f_2");
	assert_true(quoted_line("[x] nvme.h:5:g: *DEBUG*: y", "", source, &line, function));
	assert_string_equal(function, "g");
	assert_int_equal(line, 5);
	assert_false(quoted_line("#include \"nvme.h\"", "", source, &line, function));
}

/* ---- the table of faults ---- */

/* Is this a test of that file, which main() there runs? */
static bool test_runs(const char *file, const char *test)
{
	char path[160], expression[160], part[4][128], *text;
	bool is, listed;

	snprintf(path, sizeof(path), "tests/%s", file);
	if (access(path, F_OK) != 0)
		return false;
	text = read_file(path, NULL);
	snprintf(expression, sizeof(expression), "(^|\n)static void %s\\(void", test);
	is = parts(expression, text, part);
	snprintf(expression, sizeof(expression),
	         "\n[\t ]+(cmocka_unit_test[a-z_]*\\([a-z_0-9, ]*\\),[\t ]*)*"
	         "cmocka_unit_test[a-z_]*\\(%s[,)]",
	         test);
	listed = parts(expression, text, part);
	free(text);
	return is && listed;
}

/* The tests that a row names, each `file: test`. Returns how many there are. */
static int check_row(const char *row, int line)
{
	char file[64], test[64], end;
	const char *at = row;
	int n = 0;

	while ((at = strstr(at, "`test_")) != NULL) {
		if (sscanf(++at, "%63[a-z_.]: %63[a-z_0-9]%c", file, test, &end) != 3 || end != '`')
			fail_msg("docs/faults.md:%d: '%.40s' is not a file and a test", line, at);
		if (!test_runs(file, test))
			fail_msg("docs/faults.md:%d names %s in tests/%s, which is no test there",
			         line, test, file);
		n++;
		at = strchr(at, '`') + 1;
	}
	return n;
}

/* Each row of docs/faults.md has three columns, and in the last one tests that exist and run. */
static void test_faults(void **state)
{
	char *text = read_file("docs/faults.md", NULL), *save = text, *line;
	int n, rows = 0, bars;
	const char *at;

	(void)state;
	for (n = 1; (line = strsep(&save, "\n")) != NULL; n++) {
		if (*line != '|' || strncmp(line, "|---", 4) == 0 ||
		    strcmp(line, "| what goes wrong | what the driver does | shown by |") == 0)
			continue;
		for (at = line, bars = 0; *at != '\0'; at++)
			bars += *at == '|';
		if (bars != 4)
			fail_msg("docs/faults.md:%d has %d columns, not 3", n, bars - 1);
		at = strrchr(line, '|');
		while (at[-1] != '|')
			at--;
		if (check_row(at, n) == 0)
			fail_msg("docs/faults.md:%d names no test", n);
		assert_int_equal(check_row(line, n), check_row(at, n)); /* none elsewhere */
		rows++;
	}
	print_message("%d faults\n", rows);
	assert_true(rows > 90);
	free(text);
}

/* And that check can tell: a function that is no test, half a name, another file, no file. */
static void test_faults_can_fail(void **state)
{
	(void)state;
	assert_true(test_runs("test_docs.c", __func__));
	assert_true(test_runs("test_pci.c", "test_enumerate"));
	assert_true(test_runs("test_barriers.c", "test_reap")); /* the second of its line */
	assert_false(test_runs("test_docs.c", "copy_documents"));
	assert_false(test_runs("test_docs.c", "test_fault"));
	assert_false(test_runs("test_queue.c", __func__));
	assert_false(test_runs("test_nonesuch.c", "test_faults"));
}

/* How many instructions where.sh counts for a function, or -1. */
static double counted(const char *out, const char *function)
{
	char ending[80];
	const char *at;
	double n;

	snprintf(ending, sizeof(ending), "  %s\n", function);
	at = strstr(out, ending);
	if (at == NULL)
		return -1;
	while (at > out && at[-1] != '\n')
		at--;
	return sscanf(at, "%lf", &n) == 1 ? n : -1;
}

/*
 * The lesson on the instructions of a read names the functions that they are made from, and says how
 * many there are of each with the compiler that it names. Others count otherwise.
 */
static void test_performance(void **state)
{
	char *text = read_file("docs/performance.md", NULL), *save = text, *line, name[64];
	bool exact =
		__GNUC__ == 12 && strcmp(getenv("CC") != NULL ? getenv("CC") : "cc", "cc") == 0;
	double submit, reap, off;
	const char *total;
	struct result r;
	int n = 0, sum = 0, told, told_submit, told_reap;

	(void)state;
	run(&r, "make -s B=$BUILD $BUILD/tests/bench && tests/where.sh $BUILD/tests/bench 4");
	expect_status(&r, 0);
	total = strstr(text, "costs the driver ");
	assert_non_null(total);
	assert_int_equal(sscanf(total, "costs the driver %d instructions", &told), 1);
	total = strstr(text, "off). ");
	assert_non_null(total);
	assert_int_equal(sscanf(total, "off). %d of them submit it, %d take", &told_submit,
	                        &told_reap),
	                 2);
	assert_int_equal(told, told_submit + told_reap);
	submit = strtod(expect_in(&r, r.out, "nvme_ns_cmd_read: "), NULL);
	reap = strtod(expect_in(&r, r.out, "nvme_qpair_process_completions: "), NULL);
	if (exact) {
		assert_true(submit > told_submit - 0.5 && submit < told_submit + 0.5);
		assert_true(reap > told_reap - 0.5 && reap < told_reap + 0.5);
	}
	while ((line = strsep(&save, "\n")) != NULL) {
		if (sscanf(line, "| `%63[a-z_0-9]` | %d |", name, &told) != 2)
			continue;
		off = counted(r.out, name) - told;
		assert_true(counted(r.out, name) >= 0);
		if (exact && (off > 0.5 || off < -0.5))
			fail_msg("docs/performance.md says %d for %s, where.sh %.1f", told, name,
			         counted(r.out, name));
		sum += told;
		n++;
	}
	assert_true(n >= 15);
	assert_in_range(sum, told_submit + told_reap - 4,
	                told_submit + told_reap + 4); /* what is rounded, and what is small */
	done(&r);
	free(text);
}

/* Nobody is sent to a list that is not here: no case goes by a number, such as the C of "C" 42. */
static void test_no_case_numbers(void **state)
{
	struct result r;

	(void)state;
	run(&r, "grep -nwE 'C[0-9]{2,3}' README.md CHANGELOG.md docs/*.md docs/gdb/* tests/*.[ch] "
	        "tools/* trace/* examples/* nvme.h | grep -vwE 'C11|C17|C20|C23'");
	assert_string_equal(r.out, "");
	expect_status(&r, 1);
	done(&r);
}

/* Bits and fields that only some devices set: each by its name, in text and in JSON. */
static void test_identify_shows(void **state)
{
	static const struct {
		const char *edit, *json, *value;
	} cases[] = {
		{"plsi=3", ".controller.decoded.plsi.\"forced quiescence\"", "true"},
		{"plsi=1", ".controller.decoded.plsi.\"emergency power fail\"", "true"},
		{"crcap=1", ".controller.decoded.crcap.\"reachability reporting\"", "true"},
		{"crcap=2", ".controller.decoded.crcap.\"changeable group id\"", "true"},
		{"kpioc=3", ".controller.decoded.kpioc.scope", "all namespaces"},
		{"sanicap=8", ".controller.decoded.sanicap.verification", "true"},
		{"sanicap=4", ".controller.decoded.sanicap.verification", "false"},
		{"nsfeat=0", ".namespaces[0].decoded.nsfeat.\"preferred write fields\"",
	         "not valid"},
		{"nsfeat=0x10", ".namespaces[0].decoded.nsfeat.\"preferred write fields\"",
	         "valid with NPDG"},
		{"nsfeat=0x20", ".namespaces[0].decoded.nsfeat.\"preferred write fields\"",
	         "valid with NPDGL"},
		{"nsfeat=0x40", ".namespaces[0].decoded.nsfeat.\"multiple atomicity mode\"",
	         "true"},
		{"nsfeat=0x80", ".namespaces[0].decoded.nsfeat.\"preferred read fields are valid\"",
	         "true"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&r, "$BUILD/identify --json 'soft:plan=identify %s' | jq -r '%s'",
		    cases[i].edit, cases[i].json);
		expect_status(&r, 0);
		r.out[strcspn(r.out, "\n")] = '\0';
		assert_string_equal(r.out, cases[i].value);
		done(&r);
	}
	run(&r,
	    "$BUILD/identify 'soft:plan=identify nulbaf=1; identify flbas=8; identify lbads=12'");
	expect_status(&r, 0);
	expect_in(&r, r.out,
	          "lbafs 8: data 4096 bytes (4 KiB), metadata 0, performance rank 0 (in use)");
	done(&r);
}

/* A device text or a fault plan that is wrong: the part is named, and the status is 2. */
static void test_bad_device(void **state)
{
	static const struct {
		const char *device, *names;
	} bad[] = {
		{"soft:size=0", "size=0"},           {"soft:frob=1", "frob"},
		{"soft:lbs=1000", "lbs=1000"},       {"soft:ns=x", "ns=x"},
		{"soft:plan=on read", "on read"},    {"soft:plan=ready sometimes", "sometimes"},
		{"soft:plan=on tea #1 drop", "tea"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		run(&r, "$BUILD/hello_world '%s'", bad[i].device);
		expect_status(&r, 2);
		expect_in(&r, r.err, bad[i].names);
		done(&r);
		run(&r, "$BUILD/identify --json '%s'", bad[i].device);
		expect_status(&r, 2);
		done(&r);
	}
	run(&r, "NVME_FAULTS='on read #0 drop' $BUILD/identify");
	expect_status(&r, 2);
	done(&r);
}

/* The functions that the documents tell learners to stop at are there to stop at. */
static void test_breakpoints(void **state)
{
	static const char *const names[] = {
		"nvme_qpair_construct",
		"nvme_ctrlr_cmd_create_io_cq",
		"nvme_ctrlr_cmd_create_io_sq",
		"nvme_prp_list_append",
		"nvme_qpair_submit_request",
		"nvme_copy_command",
		"nvme_ring_sq_doorbell",
		"nvme_ring_cq_doorbell",
		"nvme_qpair_process_completions",
		"nvme_complete_request",
		"nvme_mmio_write_4",
	};
	static char symbols[1 << 18];
	FILE *pipe = popen("nm ${BUILD:-build}/debug/hello_world", "r");
	char line[80];
	size_t i;

	(void)state;
	assert_non_null(pipe);
	assert_true(fread(symbols, 1, sizeof(symbols) - 1, pipe) > 0);
	assert_int_equal(pclose(pipe), 0);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(line, sizeof(line), " %s\n", names[i]);
		if (strstr(symbols, line) == NULL)
			fail_msg("the debug build has no function %s", names[i]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ci_runs_the_readme),
		cmocka_unit_test(test_make_targets),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_header_contents),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_breakpoints),
		cmocka_unit_test(test_readme_faults),
		cmocka_unit_test(test_bad_device),
		cmocka_unit_test(test_identify_shows),
		cmocka_unit_test(test_readme_nvtrace),
		cmocka_unit_test(test_performance),
		cmocka_unit_test(test_no_case_numbers),
		cmocka_unit_test(test_quotes_are_fresh),
		cmocka_unit_test(test_renewal),
		cmocka_unit_test(test_renewal_that_fails),
		cmocka_unit_test(test_quoted_lines),
		cmocka_unit_test(test_quoted_lines_can_fail),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_can_fail),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
