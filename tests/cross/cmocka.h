// SPDX-License-Identifier: MIT
/*
 * The part of cmocka that the tests use, for other processors: Debian's cmocka for them would need
 * a second architecture in dpkg. The first failure ends the program.
 */
#ifndef CROSS_CMOCKA_H
#define CROSS_CMOCKA_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*test)(void **state);
	int (*setup)(void **state);
	int (*teardown)(void **state);
};

#define cmocka_unit_test(f)       \
	{                         \
#f, f, NULL, NULL \
	}
#define cmocka_unit_test_setup_teardown(f, up, down) \
	{                                            \
#f, f, up, down                      \
	}
#define cmocka_run_group_tests(tests, up, down) \
	cross_run(tests, sizeof(tests) / sizeof((tests)[0]), up, down)

#define fail_msg(...)                                                                          \
	(fprintf(stderr, "%s:%d: failed: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), \
	 fputc('\n', stderr), exit(1))
#define fail()                 fail_msg("here")
#define print_message(...)     ((void)fprintf(stderr, __VA_ARGS__))
#define assert_true(x)         ((x) ? (void)0 : (void)fail_msg("%s", #x))
#define assert_false(x)        assert_true(!(x))
#define assert_null(p)         assert_true((p) == NULL)
#define assert_non_null(p)     assert_true((p) != NULL)
#define assert_ptr_equal(a, b) assert_true((const void *)(a) == (const void *)(b))
#define assert_int_equal(a, b) \
	cross_equal((uintmax_t)(a), (uintmax_t)(b), 1, #a, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) \
	cross_equal((uintmax_t)(a), (uintmax_t)(b), 0, #a, __FILE__, __LINE__)
#define assert_string_equal(a, b)        assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n)     assert_true(memcmp(a, b, n) == 0)
#define assert_memory_not_equal(a, b, n) assert_true(memcmp(a, b, n) != 0)
#define assert_in_range(x, low, high)    assert_true((x) >= (low) && (x) <= (high))

static inline void cross_equal(uintmax_t a, uintmax_t b, int equal, const char *what,
                               const char *file, int line)
{
	if ((a == b) == equal)
		return;
	fprintf(stderr, "%s:%d: failed: %s is %jx, compared with %jx\n", file, line, what, a, b);
	exit(1);
}

static inline int cross_run(const struct CMUnitTest *tests, size_t n, int (*up)(void **),
                            int (*down)(void **))
{
	void *group = NULL;
	size_t i;

	if (up != NULL && up(&group) != 0)
		fail_msg("the setup");
	for (i = 0; i < n; i++) {
		void *state = group;

		fprintf(stderr, "%s\n", tests[i].name);
		if (tests[i].setup != NULL && tests[i].setup(&state) != 0)
			fail_msg("the setup of %s", tests[i].name);
		tests[i].test(&state);
		if (tests[i].teardown != NULL)
			tests[i].teardown(&state);
	}
	if (down != NULL)
		down(&group);
	printf("%zu passed\n", n);
	return 0;
}

#endif /* CROSS_CMOCKA_H */
