// SPDX-License-Identifier: MIT
/*
 * What the Makefile promises: what is built anew and with which flags, another build directory, from
 * elsewhere, what is installed, and how tests/stages runs the stages of a test. And the tool of the
 * README: the command there builds it, and it runs without a disk.
 */
#include "run.h"

static void write_text(const char *name, const char *text)
{
	FILE *file = fopen(image(name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
}

/* A shell command that must end with this status; returns what it printed in *r. */
#define EXPECT(r, want, ...)            \
	do {                            \
		run(r, __VA_ARGS__);    \
		expect_status(r, want); \
	} while (0)

/* A make that is not part of the one that runs this test. */
#define MAKE "env -u CC -u CFLAGS -u CPPFLAGS -u LDFLAGS -u LDLIBS -u WERROR make B=%s/b "

/* ---- building ---- */

static int count(const char *text, const char *what)
{
	int n = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

/* Of nvtrace only what has changed; its headers count. */
static void test_objects(void **state)
{
	struct result r;

	(void)state;
	EXPECT(&r, 0, MAKE "%s/b/nvtrace", dir, dir);
	done(&r);
	EXPECT(&r, 0, MAKE "-n -W trace/out/svg.c %s/b/nvtrace", dir, dir);
	assert_int_equal(count(r.out, " -c "), 1);
	expect_in(&r, expect_in(&r, r.out, "-c trace/out/svg.c"), "/b/nvtrace");
	done(&r);
	EXPECT(&r, 0, MAKE "-n -W trace/out/json.h %s/b/nvtrace", dir, dir);
	expect_in(&r, r.out, "-c trace/out/json.c");
	expect_in(&r, r.out, "-c trace/out/perfetto.c");
	assert_null(strstr(r.out, "-c trace/read/qemu.c"));
	done(&r);
}

/* 'make clean' takes what make has built, and nothing of anybody else's. */
static void test_clean(void **state)
{
	struct result r;

	(void)state;
	EXPECT(&r, 0, "mkdir -p %s/mine && : >%s/mine/thesis", dir, dir);
	done(&r);
	EXPECT(&r, 2, "env -u MAKEFLAGS make -s clean B=%s/mine && echo cleaned", dir);
	expect_in(&r, r.err, "nothing is removed");
	done(&r);
	EXPECT(&r, 2, "env -u MAKEFLAGS make -n clean B=");
	expect_in(&r, r.err, "B is empty");
	done(&r);
	/* the top itself, built into */
	EXPECT(&r, 2, "cd %s/mine && : >flags && : >Makefile && make -s -C $OLDPWD clean B=$PWD",
	       dir);
	expect_in(&r, r.err, "nothing is removed");
	done(&r);
	EXPECT(&r, 0,
	       "rm %s/mine/Makefile && : >%s/mine/vm && make -s clean B=%s/mine && ls %s/mine", dir,
	       dir, dir, dir);
	expect_in(&r, r.out, "vm\n");
	assert_null(strstr(r.out, "thesis"));
	done(&r);
	EXPECT(&r, 0, "make -s clean B=%s/none", dir);
	done(&r);
}

/* Another compiler or another flag is a reason to build, once. -Werror is for the tests, and what is
 * built with it is good without. */
static void test_flags(void **state)
{
	static const char *const changes[] = {"CC=clang",   "CPPFLAGS=-DX='1 2'",
	                                      "CFLAGS=-O1", "LDFLAGS=-L/",
	                                      "LDLIBS=-lm", "WERROR=-Werror"};
	struct result r;
	size_t i;

	(void)state;
	EXPECT(&r, 0, MAKE "%s/b/trace/words.o", dir, dir);
	assert_null(strstr(r.out, "-Werror"));
	done(&r);
	for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		EXPECT(&r, 0, MAKE "-q %s/b/trace/words.o", dir, dir);
		done(&r);
		EXPECT(&r, 1, MAKE "-q \"%s\" %s/b/trace/words.o", dir, changes[i], dir);
		done(&r);
		EXPECT(&r, 0, MAKE "\"%s\" %s/b/trace/words.o", dir, changes[i], dir);
		done(&r);
		EXPECT(&r, 0, MAKE "-q \"%s\" %s/b/trace/words.o", dir, changes[i], dir);
		done(&r);
		if (i == 5)
			break; /* -Werror is good without */
		EXPECT(&r, 0, MAKE "%s/b/trace/words.o", dir, dir);
		done(&r);
	}
	EXPECT(&r, 0, MAKE "-q %s/b/trace/words.o", dir, dir);
	done(&r);
	EXPECT(&r, 0,
	       MAKE "-n CC=mycc CPPFLAGS=-DMINE CFLAGS=-Omy LDFLAGS=-Lmy LDLIBS=-lmy %s/b/identify "
	            "%s/b/tests/test_prp | grep -c "
	            "'^mycc -std=.* -DMINE .* -Omy .* -o %s/b/.* -Lmy .* -lmy *$'",
	       dir, dir, dir, dir);
	assert_string_equal(r.out, "2\n");
	done(&r);
}

/* A warning stops no user, but the tests. */
static void test_warnings(void **state)
{
	struct result r;

	(void)state;
	EXPECT(&r, 0, MAKE "CPPFLAGS='-Wall -Wmissing-include-dirs -I/nonesuch' %s/b/trace/words.o",
	       dir, dir);
	expect_in(&r, r.err, "warning:");
	done(&r);
	run(&r, MAKE "CPPFLAGS='-Wall -Wmissing-include-dirs -I/nonesuch' -n check/test_prp", dir);
	assert_null(strstr(r.out, "-Werror"));
	done(&r);
	run(&r, MAKE "CPPFLAGS='-Wall -Wmissing-include-dirs -I/nonesuch' -n check", dir);
	expect_in(&r, r.out, "-Werror");
	done(&r);
}

static void test_from_elsewhere(void **state)
{
	struct result r;

	(void)state;
	EXPECT(&r, 0,
	       "top=$PWD; cd %s && env -u MAKEFLAGS make -f $top/Makefile B=%s/b "
	       "%s/b/trace/words.o "
	       "%s/b/trace/pair.o && test -s b/trace/words.o && test -s b/trace/pair.o",
	       dir, dir, dir, dir);
	done(&r);
	EXPECT(&r, 0, "top=$PWD; cd %s && make -s -f $top/Makefile help", dir);
	expect_in(&r, r.out, "make check");
	done(&r);
}

/* ---- installing ---- */

static const char program_text[] =
	"#define NVME_IMPLEMENTATION\n#include <nvme.h>\n"
	"#define NVME_SOFT_IMPLEMENTATION\n#include <nvme_soft.h>\n"
	"int main(void) {\n"
	"static struct nvme_ctrlr_opts opts; struct nvme_ctrlr *c;\n"
	"opts.dev_ops = nvme_soft_dev_ops(\"soft\");\n"
	"if (nvme_attach(\"soft\", &opts, &c) != 0) return 1;\n"
	"printf(\"%u\\n\", nvme_ns_get_sector_size(nvme_ctrlr_get_ns(c, 1)));\n"
	"nvme_detach(c); return 0; }\n";

#define PKG_CONFIG "PKG_CONFIG_SYSROOT_DIR=%s/root PKG_CONFIG_PATH=%s/root%s/share/pkgconfig "

/* Installed below DESTDIR, a program finds everything with pkg-config; uninstall leaves no file. */
static void check_install(const char *arg, const char *prefix)
{
	struct result r;

	EXPECT(&r, 0, MAKE "install DESTDIR=%s/root %s", dir, dir, arg);
	done(&r);
	EXPECT(&r, 0, "cd %s/root%s && find . -type f | sort", dir, prefix);
	assert_string_equal(r.out, "./bin/nvme-bind\n./bin/nvtrace\n./include/nvme.h\n"
	                           "./include/nvme_soft.h\n./include/nvme_soft_admin.h\n"
	                           "./include/nvme_soft_cmb.h\n"
	                           "./include/nvme_soft_md.h\n./include/nvme_soft_plan.h\n"
	                           "./include/nvme_soft_zns.h\n"
	                           "./share/bash-completion/completions/nvtrace\n"
	                           "./share/man/man1/nvtrace.1\n"
	                           "./share/pkgconfig/nvme-h.pc\n");
	done(&r);
	write_text("user.c", program_text);
	EXPECT(&r, 0,
	       "cd %s && " PKG_CONFIG "sh -c 'cc -O1 user.c -o user $(pkg-config --cflags --libs "
	       "nvme-h)' && ./user",
	       dir, dir, dir, prefix);
	assert_string_equal(r.out, "512\n");
	done(&r);
	EXPECT(&r, 0, PKG_CONFIG "pkg-config --modversion nvme-h", dir, dir, prefix);
	r.out[strcspn(r.out, "\n")] = '\0';
	{
		char *header = read_file("nvme.h", NULL), mark[64];

		snprintf(mark, sizeof(mark), " * nvme.h - v%.16s - ", r.out);
		assert_non_null(strstr(header, mark));
		free(header);
	}
	done(&r);
	EXPECT(&r, 0, "%s/root%s/bin/nvtrace --help && %s/root%s/bin/nvme-bind help >%s/help", dir,
	       prefix, dir, prefix, dir);
	done(&r);
	EXPECT(&r, 0, MAKE "uninstall DESTDIR=%s/root %s && find %s/root -type f", dir, dir, arg,
	       dir);
	assert_null(strstr(r.out, "/root/"));
	done(&r);
}

static void test_install(void **state)
{
	(void)state;
	check_install("-s", "/usr/local");
	check_install("-s prefix=/opt/x", "/opt/x");
}

/* ---- the tool of the README ---- */

#define BUILD_TOOL "cc -O2 tool.c -lpci"

static void test_readme_tool(void **state)
{
	char *readme = read_file("README.md", NULL);
	struct result r;

	(void)state;
	assert_non_null(strstr(readme, "`" BUILD_TOOL "`"));
	EXPECT(&r, 0,
	       "awk '/^```c$/ { code = 1; next } /^```/ { code = 0 } code' README.md >%s/tool.c && "
	       "cp nvme.h tools/nvme_soft*.h %s && cd %s && " BUILD_TOOL,
	       dir, dir, dir);
	assert_string_equal(r.err, "");
	done(&r);
	/* a disk with something on it */
	EXPECT(&r, 0,
	       "cd %s && yes block | head -c 1048576 >disk.img && ./a.out soft:file=disk.img >got "
	       "&& "
	       "head -c 512 disk.img | cmp - got && ./a.out soft | wc -c",
	       dir);
	assert_int_equal(atoi(r.out), 512);
	done(&r);
	/* no exit without a word */
	EXPECT(&r, 2, "%s/a.out", dir);
	expect_in(&r, r.err, "usage: ");
	done(&r);
	EXPECT(&r, 1, "%s/a.out soft:frob", dir);
	expect_in(&r, r.err, "frob");
	done(&r);
	free(readme);
}

/* ---- stages ---- */

/* A make with stages of its own, in a build directory of its own. */
#define STAGES "cd %s && BUILD=log env -u MAKEFLAGS make -s -j3 "

static void write_stages(void)
{
	char text[4096 + 512], top[4096];

	assert_non_null(getcwd(top, sizeof(top)));
	snprintf(text, sizeof(text),
	         "T := %s/tests/stages\n"
	         "well: ; +@$(T) all $(MAKE) slow good\n"
	         "ill: ; +@$(T) all $(MAKE) bad unbuilt good slow\n"
	         "good: ; @$(T) run $@ sh -c 'echo good one; echo good two'\n"
	         "slow: ; @$(T) run $@ sh -c 'echo slow one; sleep 2; echo slow two'\n"
	         "bad: ; @$(T) run $@ sh -c 'echo bad one; exit 3'\n"
	         "unbuilt: nothing ; @$(T) run $@ true\n"
	         "nothing: ; @false\n"
	         "long: ; +@$(T) all $(MAKE) asleep deaf\n"
	         "asleep: ; @$(T) run $@ timeout 1000 sleep 98765\n"
	         "deaf: ; @$(T) run $@ sh -c 'trap \"\" INT TERM; sleep 98765; sleep 98765'\n",
	         top);
	write_text("Makefile", text);
}

static void test_stages(void **state)
{
	struct result r;
	const char *at;

	(void)state;
	write_stages();
	EXPECT(&r, 0, STAGES "well 2>&1", dir);
	/* both begin before the end of one, and no output is torn */
	at = expect_in(&r, expect_in(&r, r.out, "begin   good\n"), "good one\ngood two\n");
	at = expect_in(&r, at, "passed  good, ");
	at = expect_in(&r, at, "slow one\nslow two\npassed  slow, ");
	expect_in(&r, at, "2 of 2 stages passed in ");
	at = expect_in(&r, r.out, "begin   slow\n");
	expect_in(&r, at, "good one\n");
	done(&r);

	/* one fails, one cannot be built: the others go on, and what failed is said again */
	EXPECT(&r, 2, STAGES "ill 2>&1", dir);
	at = expect_in(&r, r.out, "bad one\nFAILED  bad, 0 s, status 3: sh -c ");
	at = expect_in(&r, at, "passed  slow, ");
	at = expect_in(&r, at, "---- bad failed:\nbad one\n");
	at = expect_in(&r, at, "---- unbuilt was not run");
	expect_in(&r, at, "2 of 4 stages passed in ");
	done(&r);
}

/* The numbers of the processes that sleep for 98765 seconds. */
#define SLEEPERS                                                                                 \
	"sleepers() { for p in /proc/[0-9]*; do "                                                \
	"[ \"$(tr '\\0' ' ' 2>/dev/null <$p/cmdline)\" = 'sleep 98765 ' ] && echo ${p#/proc/}; " \
	"done 2>/dev/null; :; }; "

/* Started are two sleepers, in process groups of their own, one of them beside a shell that is deaf. */
static void check_end(const char *start, const char *signal, const char *whom)
{
	struct result r;

	/* a shell's background does not hear INT, which env can undo */
	EXPECT(&r, 0,
	       SLEEPERS
	       "export BUILD=%s/log; setsid env --default-signal=INT,HUP,TERM %s >%s/log.out 2>&1 & "
	       "until [ \"$(sleepers | wc -l)\" = 2 ]; do sleep 0.1; done; "
	       "kill -s %s -- %s; wait $! && echo status 0; "
	       "for i in $(seq 100); do [ -n \"$(sleepers)\" ] || break; sleep 0.1; done; "
	       "sleepers",
	       dir, start, dir, signal, whom);
	assert_string_equal(r.out, "");
	done(&r);
}

/* A signal ends what a stage has started: from the terminal, to the whole group, or to one. */
static void test_stages_end(void **state)
{
	char start[256];

	(void)state;
	write_stages();
	snprintf(start, sizeof(start), "make -s -j3 -C %s long", dir);
	check_end("tests/stages run x sh -c 'timeout 1000 sleep 98765 & trap \"\" TERM; sleep 98765; "
	          "sleep 98765'",
	          "INT", "$!");
	check_end(start, "INT", "-$!");
	check_end(start, "HUP", "-$!");
	check_end(start, "TERM", "$!");
}

int main(void)
{
	/* in this order, for nvtrace is built once for the first two */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects),     cmocka_unit_test(test_install),
		cmocka_unit_test(test_clean),       cmocka_unit_test(test_flags),
		cmocka_unit_test(test_warnings),    cmocka_unit_test(test_from_elsewhere),
		cmocka_unit_test(test_readme_tool), cmocka_unit_test(test_stages),
		cmocka_unit_test(test_stages_end),
	};

	unsetenv("MAKEFLAGS");
	unsetenv("MAKELEVEL");
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
