// SPDX-License-Identifier: MIT
/*
 * The I/O tests of io_list.h against the software controller, in both of its modes. (test_vm runs
 * the same list over VFIO.) RUN_IO in the environment names another build of run_io.
 */
#include "io_list.h"

static const char *run_io;

static void run_list(const char *mode)
{
	const char *disk = image("soft.img");
	struct result r;
	size_t i;

	for (i = 0; i < IO_TESTS; i++) {
		const struct io_test *t = &io_tests[i];

		unlink(disk);
		run(&r, "%s %s soft:size=%ldM,file=%s,mode=%s%s%s %d", run_io, t->command, t->size,
		    disk, mode, t->soft[0] != '\0' ? "," : "", t->soft, t->number);
		if (r.status != 0)
			fprintf(stderr, "%s, mode %s:\n", t->name, mode);
		expect_io(&r, t, disk);
		done(&r);
	}
	print_message("%zu I/O tests, mode %s\n", i, mode);
}

static void test_sync(void **state)
{
	(void)state;
	run_list("sync");
}

/* Long enough for threads to meet everywhere; with a sanitizer it would take minutes. */
static void test_soak(void **state)
{
	struct result r;

	(void)state;
	if (getenv("RUN_IO") != NULL)
		return;
	run(&r, "%s soak soft:size=16M 50", run_io);
	expect_status(&r, 0);
	expect_in(&r, r.out, "soak: 24000 checks passed");
	assert_string_equal(r.err, "");
	done(&r);
}

static void test_thread(void **state)
{
	(void)state;
	run_list("thread");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sync),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_soak),
	};

	run_io = getenv("RUN_IO") != NULL ? getenv("RUN_IO") : "$BUILD/tests/run_io";
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
