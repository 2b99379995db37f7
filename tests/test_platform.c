// SPDX-License-Identifier: MIT
/*
 * The header in other people's programs: the order of includes, in a shared library, beside libnvme,
 * without VFIO. ('make lint-header' is about warnings and newer C++, test_barriers and 'make cross'
 * are about processors, test_pages about large pages.)
 */
#include "run.h"

static void write_text(const char *name, const char *text)
{
	FILE *file = fopen(image(name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
}

static int count(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what)) != NULL) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Too late for _DEFAULT_SOURCE: one error, the one that says what to do. */
static void test_include_order(void **state)
{
	static const char *const programs[] = {
		"#include <stdio.h>\n#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n"
		"int main(void) { struct nvme_ctrlr *c; return nvme_attach(\"soft\", NULL, &c); "
		"}\n",
		"#include <stdio.h>\n#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n"
		"#define NVME_SOFT_IMPLEMENTATION\n#include \"nvme_soft.h\"\n"
		"int main(void) { return nvme_soft_dev_ops(\"soft\") == NULL; }\n",
	};
	static const char *const compilers[] = {"gcc", "clang"};
	struct result r;
	size_t i, c;

	(void)state;
	for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		write_text("late.c", programs[i]);
		for (c = 0; c < 2; c++) {
			run(&r, "%s -std=c11 -Wall -Wextra -I. -Itools -c %s/late.c -o %s/late.o",
			    compilers[c], dir, dir);
			assert_int_not_equal(r.status, 0);
			expect_in(&r, r.err,
			          "nvme.h: include nvme.h before any other header where "
			          "NVME_IMPLEMENTATION is defined, or compile with -D_GNU_SOURCE");
			if (count(r.err, " error: ") != 1 || count(r.err, "warning: ") != 0)
				show(&r);
			assert_int_equal(count(r.err, " error: "), 1);
			assert_int_equal(count(r.err, "warning: "), 0);
			done(&r);
			/* and what it says helps */
			run(&r,
			    "%s -std=c11 -Wall -Wextra -D_GNU_SOURCE -I. -Itools -c %s/late.c -o "
			    "%s/late.o",
			    compilers[c], dir, dir);
			expect_status(&r, 0);
			done(&r);
		}
	}
	/* the software controller alone is another mistake, with its own sentence */
	write_text("alone.c", "#define NVME_SOFT_IMPLEMENTATION\n#include \"nvme_soft.h\"\n");
	run(&r, "gcc -std=c11 -I. -Itools -c %s/alone.c -o %s/alone.o", dir, dir);
	assert_int_not_equal(r.status, 0);
	expect_in(&r, r.err, "its implementation needs that of nvme.h");
	assert_int_equal(count(r.err, " error: "), 1);
	done(&r);
}

/* Where off_t has 32 bits the driver asks for 64, or says what to do when it is too late. */
static void test_file_offsets(void **state)
{
	struct result r;

	(void)state;
	write_text("late.c",
	           "#include <stdio.h>\n#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n");
	run(&r,
	    "i686-linux-gnu-gcc -std=gnu11 -I. -idirafter /usr/include/$(gcc -print-multiarch) -c "
	    "%s/late.c -o %s/late.o",
	    dir, dir);
	assert_int_not_equal(r.status, 0);
	expect_in(&r, r.err, "nvme.h: compile with -D_FILE_OFFSET_BITS=64");
	assert_int_equal(count(r.err, " error: "), 1);
	done(&r);
}

/* The functions that a file offers to others, one in a line. */
static void exported(struct result *r, const char *file)
{
	run(r, "nm -D --defined-only %s/%s | sed -n 's/.* T //p' | sort", dir, file);
	expect_status(r, 0);
}

#define VISIBLE "-D'NVMEDEF=extern __attribute__((visibility(\"default\")))'"

/* A shared library with hidden visibility exports the driver with the NVMEDEF of >>options. */
static void test_shared_library(void **state)
{
	char *header = read_file("nvme.h", NULL);
	struct result r;

	(void)state;
	write_text("lib.c", "#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n");
	write_text("user.c", "#include \"nvme.h\"\n#include <stdio.h>\nint main(void) {\n"
	                     "printf(\"%s\\n\", nvme_opc_name(1, 2)); return 0; }\n");
	run(&r,
	    "gcc -std=c11 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden " VISIBLE
	    " -I. %s/lib.c -o %s/libtool.so -lpci && gcc -std=c11 -I. %s/user.c -o %s/user "
	    "-L%s -ltool -lpci -Wl,-rpath,%s && %s/user",
	    dir, dir, dir, dir, dir, dir, dir);
	expect_status(&r, 0);
	assert_string_equal(r.out, "READ\n");
	done(&r);
	exported(&r, "libtool.so");
	expect_in(&r, r.out, "nvme_attach\n");
	expect_in(&r, r.out, "nvme_ns_read\n");
	assert_int_equal(count(r.out, "nvme__"), 0);
	done(&r);
	assert_non_null(strstr(header, VISIBLE));
	free(header);

	run(&r,
	    "gcc -std=c11 -fPIC -shared -fvisibility=hidden -I. %s/lib.c -o %s/libhidden.so -lpci",
	    dir, dir);
	expect_status(&r, 0);
	done(&r);
	exported(&r, "libhidden.so");
	assert_string_equal(r.out, "");
	done(&r);
}

/*
 * Beside libnvme, as >>options says: the driver static in one file, <libnvme.h> in another. Both are
 * used, each file sees its own nvme_ns_read(), and the program puts itself before nothing of the
 * library's.
 */
static void test_libnvme(void **state)
{
	struct result r;

	(void)state;
	write_text("ours.c",
	           "#define NVME_IMPLEMENTATION\n#define NVME_STATIC\n#include \"nvme.h\"\n"
	           "#define NVME_SOFT_IMPLEMENTATION\n#include \"nvme_soft.h\"\n"
	           "void theirs(void **read_function);\n"
	           "int main(void) {\n"
	           "struct nvme_ctrlr_opts opts; struct nvme_ctrlr *c; void *lib; uint8_t b[512];\n"
	           "memset(&opts, 0, sizeof(opts)); opts.dev_ops = nvme_soft_dev_ops(\"soft\");\n"
	           "if (nvme_attach(\"soft\", &opts, &c) != 0) return 1;\n"
	           "if (nvme_ns_read(nvme_ctrlr_get_ns(c, 1), NULL, b, 0, 1, NULL) != 0) return 2;\n"
	           "nvme_detach(c);\n"
	           "theirs(&lib);\n"
	           "return lib == NULL || lib == (void *)(uintptr_t)nvme_ns_read ? 3 : 0; }\n");
	write_text("theirs.c",
	           "#include <libnvme.h>\n#include <stdio.h>\nvoid theirs(void **read_function);\n"
	           "void theirs(void **read_function) {\n"
	           "nvme_root_t root = nvme_create_root(stderr, 3);\n"
	           "printf(\"%s\\n\", nvme_status_to_string(2, 0)); nvme_free_tree(root);\n"
	           "*read_function = (void *)nvme_ns_read; }\n");
	run(&r,
	    "gcc -std=c11 -Wall -Wextra -Werror -I. -Itools -c %s/ours.c -o %s/ours.o && "
	    "gcc -c %s/theirs.c -o %s/theirs.o && "
	    "gcc -rdynamic %s/ours.o %s/theirs.o -o %s/both -lpci -lnvme -pthread && %s/both",
	    dir, dir, dir, dir, dir, dir, dir, dir);
	expect_status(&r, 0);
	expect_in(&r, r.out, "Invalid Field in Command");
	done(&r);
	exported(&r, "both");
	assert_int_equal(count(r.out, "nvme_"), 0);
	done(&r);

	/* and why the header says so: without NVME_STATIC the other file gets this driver's */
	run(&r,
	    "sed -i /NVME_STATIC/d %s/ours.c && gcc -std=c11 -I. -Itools -c %s/ours.c -o %s/ours.o "
	    "&& "
	    "gcc %s/ours.o %s/theirs.o -o %s/both -lpci -lnvme -pthread && %s/both",
	    dir, dir, dir, dir, dir, dir, dir);
	expect_status(&r, 3);
	done(&r);
}

/* NVME_NO_VFIO: nothing of libpci, neither its headers nor its functions, and nothing of VFIO's. */
static void test_no_vfio(void **state)
{
	static const char *const compilers[] = {"gcc -std=c11", "clang -std=c11",
	                                        "g++ -std=c++17 -x c++"};
	struct result r;
	size_t i;

	(void)state;
	write_text("bare.c", "#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n"
	                     "#define NVME_SOFT_IMPLEMENTATION\n#include \"nvme_soft.h\"\n"
	                     "int main(int argc, char **argv) {\n"
	                     "struct nvme_ctrlr_opts opts; struct nvme_ctrlr *c;\n"
	                     "memset(&opts, 0, sizeof(opts)); opts.dev_ops = "
	                     "nvme_soft_dev_ops(argv[argc - 1]);\n"
	                     "if (nvme_attach(argv[argc - 1], &opts, &c) != 0) return 1;\n"
	                     "nvme_detach(c); return 0; }\n");
	for (i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		run(&r,
		    "%s -Wall -Wextra -Werror -DNVME_NO_VFIO -I. -Itools -MD -MF %s/bare.d -c "
		    "%s/bare.c -o %s/bare.o && cat %s/bare.d && "
		    "gcc %s/bare.o -o %s/bare -pthread && %s/bare soft",
		    compilers[i], dir, dir, dir, dir, dir, dir, dir);
		expect_status(&r, 0);
		expect_in(&r, r.out, "nvme_soft.h");
		assert_null(strstr(r.out, "/pci/"));
		assert_null(strstr(r.out, "linux/vfio.h"));
		done(&r);
		run(&r, "nm -u %s/bare.o", dir);
		expect_in(&r, r.out, "memset");
		assert_null(strstr(r.out, "pci_"));
		assert_null(strstr(r.out, "ioctl"));
		done(&r);
		run(&r, "%s/bare 0000:01:00.0", dir);
		expect_status(&r, 1);
		expect_in(&r, r.err,
		          "*ERROR*: [0000:01:00.0] this program was compiled without "
		          "VFIO: compile it without NVME_NO_VFIO");
		assert_int_equal(count(r.err, "\n"), 1);
		done(&r);
	}
	/* the C library's own are the only headers of Linux's, and musl has none */
	run(&r, "musl-gcc -std=c11 -DNVME_NO_VFIO -I. -Itools -M %s/bare.c", dir);
	expect_status(&r, 0);
	expect_in(&r, r.out, "nvme_soft.h");
	assert_null(strstr(r.out, "/linux/"));
	done(&r);
	/* listing controllers is libpci's: not there, and the compiler says so */
	write_text("list.c", "#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n"
	                     "int main(void) { return nvme_pci_enumerate(NULL, 0); }\n");
	run(&r, "gcc -std=c11 -Werror -DNVME_NO_VFIO -I. -c %s/list.c -o %s/list.o", dir, dir);
	assert_int_not_equal(r.status, 0);
	expect_in(&r, r.err, "nvme_pci_enumerate");
	done(&r);
}

#define WASM "clang --target=wasm32-wasi -std=c11 -I. -Itools -Iexamples -DNVME_NO_VFIO "
#define NODE "node --no-warnings tests/wasm.mjs "

/*
 * WebAssembly: what it lacks is said, when a program is compiled or when it runs. What is released
 * can be reserved again, is zero then, and runs out at no number of attaches.
 */
static void test_wasm(void **state)
{
	static const struct {
		const char *device, *text;
		int status;
	} rows[] = {
		{"soft", "Hello world!", 0},
		{"soft:file=disk.img", "maps no files: leave file= out", 1},
		{"soft:mode=thread", "no threads here: use mode=sync", 1},
		{"soft:size=4294966784", "no room for 4294966784 bytes", 1}, /* not 0 */
		{"soft:size=5G", "no room for 5368709120 bytes: give a smaller size=", 1},
		{"0000:01:00.0", "compiled without VFIO", 1},
	};
	struct result r;
	size_t i;

	(void)state;
	run(&r, WASM "-c examples/hello_world.c -o %s/hello.o", dir);
	assert_int_not_equal(r.status, 0);
	expect_in(&r, r.err,
	          "nvme.h: WASI has neither PCI nor files to map: compile with "
	          "-DNVME_NO_VFIO -DNVME_NO_TRACE");
	done(&r);
	run(&r, WASM "-DNVME_NO_TRACE -O1 examples/hello_world.c -o %s/hello.wasm", dir);
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, NODE "%s/hello.wasm %s 2>&1", dir, rows[i].device);
		expect_status(&r, rows[i].status);
		expect_in(&r, r.out, rows[i].text);
		done(&r);
	}
	write_text("again.c",
	           "#define NVME_IMPLEMENTATION\n#include \"nvme.h\"\n#include \"device.h\"\n"
	           "int main(void) {\n"
	           "static uint8_t b[512]; struct nvme_ctrlr *c; struct nvme_ns *ns; int i, j;\n"
	           "for (i = 0; i < 80; i++) {\n"
	           "if (open_device(\"soft:size=48M\", &c) != 0) return 1;\n"
	           "ns = nvme_ctrlr_get_ns(c, 1);\n"
	           "for (j = 0; j < 4; j++) {\n"
	           "if (nvme_ns_read(ns, NULL, b, (uint64_t)j * 32767, 1, NULL) != 0) return 2;\n"
	           "if (b[0] != 0 || b[511] != 0) return 3;\n"
	           "memset(b, 7, sizeof(b));\n"
	           "if (nvme_ns_write(ns, NULL, b, (uint64_t)j * 32767, 1, NULL) != 0) return 4; }\n"
	           "if (nvme_detach(c) != 0) return 5; }\n"
	           "return 0; }\n");
	run(&r, WASM "-DNVME_NO_TRACE -O1 %s/again.c -o %s/again.wasm && " NODE "%s/again.wasm",
	    dir, dir, dir);
	expect_status(&r, 0);
	done(&r);
}

/* Names and texts alone: any C, no library, and that is all that nvtrace takes of nvme.h. */
static void test_text_only(void **state)
{
	static const char *const compilers[] = {"gcc -std=c11", "clang -std=c11",
	                                        "g++ -std=c++17 -x c++",
	                                        "musl-gcc -std=c11 -static"};
	struct result r;
	size_t i;

	(void)state;
	write_text("text.c", "#define NVME_IMPLEMENTATION\n#define NVME_TEXT_ONLY\n"
	                     "#include \"nvme.h\"\n"
	                     "int main(void) { puts(nvme_status_name(0, 2)); return 0; }\n");
	for (i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		run(&r,
		    "%s -Wall -Wextra -Werror -I. -MD -MF %s/text.d %s/text.c -o %s/text && "
		    "cat %s/text.d && %s/text && nm %s/text",
		    compilers[i], dir, dir, dir, dir, dir, dir);
		expect_status(&r, 0);
		expect_in(&r, r.out, "nvme.h");
		expect_in(&r, r.out, "INVALID FIELD\n");
		assert_null(strstr(r.out, "linux/vfio.h"));
		assert_null(strstr(r.out, "pthread.h"));
		assert_null(strstr(r.out, "nvme_attach"));
		done(&r);
	}
	run(&r, "nm -D $BUILD/nvtrace");
	expect_status(&r, 0);
	expect_in(&r, r.out, "fopen");
	assert_null(strstr(r.out, "pci_"));
	done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_include_order),  cmocka_unit_test(test_file_offsets),
		cmocka_unit_test(test_shared_library), cmocka_unit_test(test_libnvme),
		cmocka_unit_test(test_no_vfio),        cmocka_unit_test(test_wasm),
		cmocka_unit_test(test_text_only),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
