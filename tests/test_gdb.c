// SPDX-License-Identifier: MIT
/*
 * The walkthroughs in docs/gdb show what gdb prints, and nvme.py explains its errors in a sentence.
 *
 * Run it from the top of the repository; 'test_gdb PATTERN' runs the tests whose name matches.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PROGRAM "'\"$BUILD\"'/debug/hello_world" /* between single quotes */

static char copy[] = "/tmp/nvme-gdb-XXXXXX";

static char output[1 << 18];

/* Runs a shell command line; its output, stderr included, goes to output. Returns its status. */
static int __attribute__((format(printf, 1, 2))) run(const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	FILE *pipe;
	size_t n;
	int rc;

	setenv("BUILD", "build", 0);
	va_start(ap, fmt);
	rc = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	assert_true(rc > 0 && (size_t)rc < sizeof(line));
	pipe = popen(line, "r");
	assert_non_null(pipe);
	n = fread(output, 1, sizeof(output) - 1, pipe);
	output[n] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static int setup(void **state)
{
	(void)state;
	if (run("command -v gdb 2>&1") != 0) {
		fprintf(stderr, "test_gdb: gdb is not installed: run tools/deps.sh\n");
		return -1;
	}
	if (run("p=$BUILD/debug/hello_world; test -x $p || echo $p") != 0 || output[0] != '\0') {
		fprintf(stderr,
		        "test_gdb: there is no program %stest_gdb: run 'make debug' first, and the "
		        "test from the top of the repository\n",
		        output);
		return -1;
	}
	return mkdtemp(copy) == NULL;
}

static int teardown(void **state)
{
	(void)state;
	return run("rm -rf %s", copy);
}

/* ---- walkthroughs ---- */

static void walk(const char *name)
{
	if (run("docs/gdb/run %s 2>&1", name) != 0)
		fail_msg("docs/gdb/%s.gdb does not show what gdb prints:\n%s"
		         "If that is as it should be, run 'make docs' and read what 'git diff' "
		         "shows.",
		         name, output);
	if (strncmp(output, "pass ", 5) != 0 || strstr(output, name) == NULL)
		fail_msg("docs/gdb/run %s says: %s", name, output);
}

#define WALKTHROUGH(test, name)        \
	static void test(void **state) \
	{                              \
		(void)state;           \
		walk(name);            \
	}

WALKTHROUGH(test_bring_up, "1-bring-up")
WALKTHROUGH(test_sq_doorbell, "2-sq-doorbell")
WALKTHROUGH(test_cq_doorbell, "3-cq-doorbell")
WALKTHROUGH(test_queue_pair, "4-queue-pair")
WALKTHROUGH(test_prp, "5-prp")
WALKTHROUGH(test_one_write, "6-one-write")
WALKTHROUGH(test_phase, "7-phase")
WALKTHROUGH(test_error, "8-error")
WALKTHROUGH(test_shutdown, "9-shutdown")
WALKTHROUGH(test_silence, "10-silence")

/* In the copy the build directory is called build. */
static void copy_walkthroughs(void)
{
	const char *dir = copy;

	assert_int_equal(run("rm -rf %s && mkdir -p %s/docs && "
	                     "cp -rp docs/gdb docs/volatile.sed %s/docs && "
	                     "ln -s \"$(realpath $BUILD)\" %s/build && "
	                     "ln -s \"$PWD/Makefile\" \"$PWD/nvme.h\" \"$PWD/examples\" "
	                     "\"$PWD/tools\" %s 2>&1",
	                     dir, dir, dir, dir, dir),
	                 0);
}

/* A stale line number or name of a function is seen and mended; what differs between any two runs
 * is not a difference, and stays as it is written. */
static void test_checker_sees_lines(void **state)
{
	static const struct {
		const char *walkthrough, *spoil; /* with sed */
		bool stale;
	} spoilt[] = {
		{"1-bring-up", "s/(at \\.\\/nvme\\.h:)[0-9]+$/\\11/", true},
		{"1-bring-up", "s/(file \\.\\/nvme\\.h, line )[0-9]+/\\11/", true},
		{"1-bring-up", "s/^#> [0-9]+\t/#> 1\t/", true},
		{"1-bring-up", "s/in nvme_ctrlr_enable/in nvme_ctrlr_disable/", true},
		{"6-one-write", "s/(nvme_soft\\.h:)[0-9]+$/\\11/", true},
		{"2-sq-doorbell", "s/(hello_world\\.c:)[0-9]+$/\\11/", true},
		{"8-error", "s/nvme\\.h:[0-9]+:nvme/nvme.h:1:nvme/", true},
		{"9-shutdown", "s/0x[0-9a-f]{12}/0x7fffffffffff/", false},
		{"9-shutdown", "s/process [0-9]+/process 1/", false},
		{"9-shutdown", "s/^#> .[0-9-]+ [0-9:.]+]/#> [2001-01-01 00:00:00.000000]/", false},
	};
	const char *dir = copy;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		const char *name = spoilt[i].walkthrough;

		copy_walkthroughs();
		assert_int_equal(run("cd %s && sed -Ei '/^#>/{%s}' docs/gdb/%s.gdb && "
		                     "cp docs/gdb/%s.gdb spoilt && "
		                     "! cmp -s spoilt $OLDPWD/docs/gdb/%s.gdb",
		                     dir, spoilt[i].spoil, name, name, name),
		                 0);
		if (run("cd %s && BUILD=build docs/gdb/run %s 2>&1", dir, name) != spoilt[i].stale)
			fail_msg("%s after %s: %s", name, spoilt[i].spoil, output);
		assert_int_equal(run("cd %s && BUILD=build docs/gdb/run --update %s 2>&1", dir,
		                     name),
		                 0);
		assert_int_equal(strncmp(output, "updated", 7) == 0, spoilt[i].stale);
		assert_int_equal(run("cd %s && cmp -s spoilt docs/gdb/%s.gdb", dir, name),
		                 spoilt[i].stale);
		assert_int_equal(run("cd %s && BUILD=build docs/gdb/run %s 2>&1", dir, name), 0);
	}
}

/* The checker must see a difference, or all of the above says nothing. */
static void test_checker_sees_differences(void **state)
{
	const char *dir = copy;

	(void)state;
	copy_walkthroughs();
	assert_int_equal(run("cd %s && sed -i 's/^#> CC = 00464060h/#> CC = 00464061h/' "
	                     "docs/gdb/1-bring-up.gdb && BUILD=build docs/gdb/run 1 2>&1",
	                     dir),
	                 1);
	assert_non_null(strstr(output, "FAIL 1-bring-up"));
	assert_non_null(strstr(output, "-#> CC = 00464061h"));
	assert_non_null(strstr(output, "+#> CC = 00464060h"));
	/* and it mends the file */
	assert_int_equal(run("cd %s && BUILD=build docs/gdb/run --update 1 && BUILD=build "
	                     "docs/gdb/run 1 2>&1",
	                     dir),
	                 0);
	assert_string_equal(output, "updated 1-bring-up\npass 1-bring-up\n");
	/* a script that gdb cannot finish is a failure too */
	assert_int_equal(run("cd %s && sed -i 's/^nvme regs CSTS/nvme regs CSTX/' "
	                     "docs/gdb/1-bring-up.gdb && BUILD=build docs/gdb/run 1 2>&1",
	                     dir),
	                 1);
	assert_non_null(strstr(output, "at line "));
	assert_non_null(strstr(output, ": nvme regs CSTX\n"));
	assert_non_null(strstr(output, "There is no register 'CSTX'"));
	/* and one that stops at a function that is gone, which must not be written down */
	assert_int_equal(run("cd %s && sed -i 's/^tbreak nvme_ring_sq_doorbell/tbreak nonesuch/' "
	                     "docs/gdb/1-bring-up.gdb && "
	                     "BUILD=build docs/gdb/run --update 1 2>&1",
	                     dir),
	                 1);
	assert_non_null(strstr(output, "Function \"nonesuch\" not defined"));
	assert_int_equal(run("cd %s && BUILD=build docs/gdb/run nonesuch 2>&1", dir), 2);
}

/* The README lists every walkthrough and every command, and no others. */
static void test_readme(void **state)
{
	(void)state;
	assert_int_equal(run("for f in docs/gdb/[0-9]*.gdb; do "
	                     "grep -q \"^| .$(basename $f).\" docs/gdb/README.md || echo $f; done; "
	                     "ls docs/gdb/[0-9]*.gdb | wc -l; "
	                     "grep -c '^| .[0-9]' docs/gdb/README.md"),
	                 0);
	assert_string_equal(output, "10\n10\n");
	assert_int_equal(run("gdb -nx -batch -ex 'source docs/gdb/nvme.py' -ex 'nvme help' "
	                     "| sed -n 's/^\\(nvme [^ ]*\\).*/\\1/p' | while read -r c; do "
	                     "grep -q \"^| .$c\" docs/gdb/README.md || echo \"$c\"; done"),
	                 0);
	assert_string_equal(output, "");
}

/* ---- errors of nvme.py ---- */

/* Runs an nvme command at some point of the program and expects a sentence. */
static void expect(const char *where, const char *command, const char *sentence)
{
	(void)run("NVME_LOG= NVME_FAULTS= gdb -nx -batch -x docs/gdb/setup.gdb -ex 'source "
	          "docs/gdb/nvme.py' %s "
	          "-ex '%s' 2>&1",
	          where, command);
	if (strstr(output, "Traceback") != NULL || strstr(output, "Python Exception") != NULL ||
	    strstr(output, "Error while executing") != NULL)
		fail_msg("'%s' shows the inside of Python:\n%s", command, output);
	if (strstr(output, sentence) == NULL)
		fail_msg("'%s' should say '%s', but says:\n%s", command, sentence, output);
}

#define NOTHING     ""
#define NOT_RUNNING "-ex 'file " PROGRAM "'"
#define AT_MAIN     NOT_RUNNING " -ex 'set args soft' -ex 'break main' -ex run"
#define AT_DOORBELL \
	NOT_RUNNING " -ex 'set args soft:crwmt=400' -ex 'break nvme_ring_sq_doorbell' -ex run"
#define AT_END AT_DOORBELL " -ex delete -ex continue"

static void test_errors_without_program(void **state)
{
	(void)state;
	expect(NOTHING, "nvme decode CC 1", "No program is loaded");
	expect(NOTHING, "nvme ring", "The program is not running");
	expect("-ex 'file /bin/true'", "nvme decode CC 1", "load one that contains nvme.h");
	expect(NOT_RUNNING, "nvme regs", "'break nvme_ring_sq_doorbell', and type 'run'.");
	expect(NOT_RUNNING, "nvme last", "The program is not running");
	expect(NOT_RUNNING, "nvme write", "type 'break nvme_mmio_write_4' and 'run'.");
	expect(NOT_RUNNING, "nvme prp qp", "'qp' means nothing here");
	expect(AT_END, "nvme regs", "The program is not running");
}

static void test_errors_in_arguments(void **state)
{
	(void)state;
	expect(NOT_RUNNING, "nvme frobnicate", "'nvme help' lists them.");
	expect(NOT_RUNNING, "nvme decode", "for example 'nvme decode CC 0x464060'.");
	expect(NOT_RUNNING, "nvme decode FOO 1", "There is no register 'FOO'");
	expect(NOT_RUNNING, "nvme decode CC x", "'x' is not a value");
	expect(NOT_RUNNING, "nvme decode CC 0x123456789", "which has 32 bits: check the value.");
	expect(NOT_RUNNING, "nvme decode STATUS 65536", "wider than the 16 bits");
	expect(NOT_RUNNING, "nvme regs FOO", "There is no register 'FOO'");
	expect(NOT_RUNNING, "nvme prp", "'nvme prp' needs a command");
}

static void test_errors_in_the_driver(void **state)
{
	(void)state;
	expect(AT_MAIN, "nvme ring", "No controller is in sight");
	expect(AT_MAIN, "nvme write", "not at a register write, but in main()");
	expect(AT_DOORBELL, "nvme ring 7", "There is no queue 7, only 0");
	expect(AT_DOORBELL, "nvme ring x", "'x' is not a queue id");
	expect(AT_DOORBELL, "nvme last 65536", "There is no queue 65536");
	expect(AT_DOORBELL, "nvme prp qp", "neither a command nor a tracker");
	expect(AT_DOORBELL, "nvme prp nothing", "'up' goes to its caller.");
	expect(AT_DOORBELL, "nvme prp qp->sq[0] 0", "0 bytes are no transfer");
	expect(AT_DOORBELL, "nvme prp *(struct nvme_cmd *)8", "This memory cannot be read");
	expect(AT_DOORBELL, "nvme write", "not at a register write");
}

/* What is read without a call must be what the program itself reads. */
static void test_registers_are_true(void **state)
{
	static const char *const regs[] = {"CAP", "VS", "CC", "CSTS", "AQA", "ASQ", "ACQ", "CRTO"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		unsigned long long shown, read;
		char command[128];
		const char *at;

		snprintf(command, sizeof(command),
		         "printf \"\\nreads %%llu\\n\", (unsigned long long)"
		         "nvme_mmio_read_%d(&qp->ctrlr->dev, NVME_REG_%s)",
		         strcmp(regs[i], "CAP") == 0 || regs[i][2] == 'Q' ? 8 : 4, regs[i]);
		if (strcmp(regs[i], "AQA") == 0)
			memcpy(strstr(command, "read_") + 5, "4", 1);
		(void)run("gdb -nx -batch -x docs/gdb/setup.gdb -ex 'source docs/gdb/nvme.py' %s "
		          "-ex 'nvme regs %s' -ex '%s' 2>&1",
		          AT_DOORBELL, regs[i], command);
		at = strstr(output, "(decimal ");
		if (at == NULL || sscanf(at, "(decimal %llu)", &shown) != 1)
			fail_msg("nvme regs %s says:\n%s", regs[i], output);
		at = strstr(output, "\nreads ");
		if (at == NULL || sscanf(at, "\nreads %llu", &read) != 1)
			fail_msg("%s was not read:\n%s", command, output);
		assert_true(shown == read);
	}
}

/* 'make gdb' stops where it says it does. */
static void test_start(void **state)
{
	(void)state;
	assert_int_equal(run("sed \"s|^file build/|file $BUILD/|\" docs/gdb/start.gdb >%s.start && "
	                     "gdb -nx -batch -x %s.start 2>&1 && rm %s.start",
	                     copy, copy, copy),
	                 0);
	assert_non_null(strstr(output, "Temporary breakpoint 1, nvme_ring_sq_doorbell"));
	assert_non_null(strstr(output, "IDENTIFY cid:0 CNS:01h CONTROLLER"));
	assert_null(strstr(output, "Error in sourced"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bring_up),
		cmocka_unit_test(test_sq_doorbell),
		cmocka_unit_test(test_cq_doorbell),
		cmocka_unit_test(test_queue_pair),
		cmocka_unit_test(test_prp),
		cmocka_unit_test(test_one_write),
		cmocka_unit_test(test_phase),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_checker_sees_lines),
		cmocka_unit_test(test_checker_sees_differences),
		cmocka_unit_test(test_readme),
		cmocka_unit_test(test_errors_without_program),
		cmocka_unit_test(test_errors_in_arguments),
		cmocka_unit_test(test_errors_in_the_driver),
		cmocka_unit_test(test_registers_are_true),
		cmocka_unit_test(test_start),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
