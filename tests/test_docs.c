// SPDX-License-Identifier: MIT
/*
 * What the documents say is so: commands and paths exist, the log in the README is printed, CI runs
 * what the README says. (The README's program is run in test_vm.)
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

/* Every tag of the header's table of contents is there exactly once more, in the same order. */
static void test_header_contents(void **state)
{
	char *header = read_file("nvme.h", NULL), *toc = strstr(header, "CONTENTS"), tag[32],
	     mark[64];
	const char *section;
	int n = 0;

	(void)state;
	assert_non_null(toc);
	section = header;
	while ((toc = strstr(toc, " *\t>>")) != NULL) {
		toc += 3;
		assert_int_equal(sscanf(toc, "%31[>a-z]", tag), 1);
		snprintf(mark, sizeof(mark), "\n * %s", tag);
		section = strstr(section, mark);
		if (section == NULL)
			fail_msg("nvme.h: section %s is missing or out of order", tag);
		n++;
	}
	assert_true(n > 10);
	free(header);
}

/* The log in the README, and what it says of the commands that break things. */
static void test_readme_shows(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_LOG=debug build/debug/hello_world");
	expect_status(&r, 0);
	assert_string_equal(r.out, "Hello world!\n");
	expect_readme_log(&r);
	done(&r);

	run(&r, "NVME_FAULTS='on write #1 status 2/80 dnr' build/hello_world");
	expect_status(&r, 1);
	expect_in(&r, r.err, "WRITE FAULTS (02/80)");
	done(&r);
	run(&r, "build/identify 'soft:ns=3,lbs=4096,mdts=1'");
	expect_status(&r, 0);
	done(&r);
	run(&r, "build/hello_world 'soft:plan=ready never'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "Initialization timed out");
	expect_in(&r, r.err, "after 10000 ms");
	done(&r);
	run(&r, "build/hello_world 'soft:plan=cfs on write'");
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
		    "top=$PWD; cd %s && mkdir -p build && ln -sf $top/build/hello_world "
		    "$top/build/nvtrace build/ && %s",
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

/* The picture in the repository is what is drawn today, but for the times in it. */
static void test_picture_is_fresh(void **state)
{
	static const char mask[] = "sed -E 's/[0-9.]+ (ns|us|ms|s)/T/g'";
	struct result r;

	(void)state;
	run(&r,
	    "cd %s && %s h.svg >new && %s $OLDPWD/docs/pictures/hello_world.svg >old && "
	    "diff old new",
	    dir, mask, mask);
	if (r.status != 0)
		fprintf(stderr, "run 'make pictures' and commit the result\n");
	expect_status(&r, 0);
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
		run(&r, "build/hello_world '%s'", bad[i].device);
		expect_status(&r, 2);
		expect_in(&r, r.err, bad[i].names);
		done(&r);
		run(&r, "build/identify --json '%s'", bad[i].device);
		expect_status(&r, 2);
		done(&r);
	}
	run(&r, "NVME_FAULTS='on read #0 drop' build/identify");
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
	FILE *pipe = popen("nm build/debug/hello_world", "r");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ci_runs_the_readme),
		cmocka_unit_test(test_make_targets),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_header_contents),
		cmocka_unit_test(test_breakpoints),
		cmocka_unit_test(test_readme_shows),
		cmocka_unit_test(test_bad_device),
		cmocka_unit_test(test_readme_nvtrace),
		cmocka_unit_test(test_picture_is_fresh),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
