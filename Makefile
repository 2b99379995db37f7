# SPDX-License-Identifier: MIT
# Everything is built into build/. 'make help' lists the targets.

CC       ?= cc
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wundef
WARN_C   := $(WARN) -Wstrict-prototypes
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LIBS     := -lpci -pthread
INCLUDES := -I. -Itools -Iexamples
B        := build

EXAMPLES := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
GDBPROGS := $(patsubst docs/gdb/%.c,%,$(wildcard docs/gdb/*.c))
UNIT     := $(filter-out test_vm,$(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))

# Not again with sanitizers: the test that only drives gdb.
ASAN     := $(filter-out test_gdb,$(UNIT))

.PHONY: all debug help demo docs gdb vm check test asan tsan cross fuzz libfuzzer vmtest bench lint lint-header lint-format lint-cppcheck clean
.DELETE_ON_ERROR:

all: $(EXAMPLES:%=$(B)/%) $(B)/nvtrace ## build the examples and nvtrace into build/

debug: $(EXAMPLES:%=$(B)/debug/%) $(GDBPROGS:%=$(B)/debug/%) ## the examples without optimisation, for gdb, in build/debug/

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- building ----

$(B)/%: examples/%.c Makefile | $(B)
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror -MMD -MP $(INCLUDES) $< -o $@ $(LIBS)

TRACE := $(wildcard trace/*.c)

$(B)/nvtrace: $(TRACE) $(wildcard trace/*.h) nvme.h Makefile | $(B)
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror $(INCLUDES) -Itrace $(TRACE) -o $@ $(LIBS)

$(B)/asan/nvtrace: $(TRACE) $(wildcard trace/*.h) nvme.h Makefile | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror $(INCLUDES) -Itrace $(TRACE) -o $@ $(LIBS)

# gcc, because the walkthroughs show where its code goes line by line.
DEBUG_CC := gcc -std=c11 -O0 -g3 $(WARN_C) -Werror -MMD -MP $(INCLUDES)

$(B)/debug/%: examples/%.c Makefile | $(B)/debug
	$(DEBUG_CC) $< -o $@ $(LIBS)

$(B)/debug/%: docs/gdb/%.c Makefile | $(B)/debug
	$(DEBUG_CC) $< -o $@ $(LIBS)

$(B)/tests/%: tests/%.c Makefile | $(B)/tests
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror -MMD -MP $(INCLUDES) -Itests $< -o $@ -lcmocka $(LIBS)

$(B)/asan/%: tests/%.c Makefile | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror -MMD -MP $(INCLUDES) -Itests $< -o $@ -lcmocka $(LIBS)

$(B)/asan/%: examples/%.c Makefile | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror -MMD -MP $(INCLUDES) $< -o $@ $(LIBS)

$(B)/tsan/%: tests/%.c Makefile | $(B)/tsan
	$(CC) -std=c11 -O1 -g -fsanitize=thread $(WARN_C) -Werror -MMD -MP $(INCLUDES) -Itests $< -o $@ -lcmocka $(LIBS)

# nvme.h and libnvme define the same names: two sources.
COMPARE  := tests/test_compare.c tests/compare_libnvme.c
COMPARES := $(COMPARE) tests/compare.h tests/compare_list.h trace/fields.c trace/nvtrace.h nvme.h Makefile

$(B)/tests/test_compare: $(COMPARES) | $(B)/tests
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror $(INCLUDES) -Itests $(COMPARE) -o $@ -lcmocka -lnvme $(LIBS)

$(B)/asan/test_compare: $(COMPARES) | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror $(INCLUDES) -Itests $(COMPARE) -o $@ -lcmocka -lnvme $(LIBS)

# The tool that the README shows, built from the README.
$(B)/tests/readme_tool: README.md nvme.h Makefile | $(B)/tests
	awk '/^```c$$/ { code = 1; next } /^```/ { code = 0 } code' README.md >$@.c
	$(CC) -std=c11 -O2 $(WARN_C) -Werror -I. $@.c -o $@ $(LIBS)
	g++ -x c++ -std=c++17 -O2 $(WARN) -Werror -I. -c $@.c -o $@.o

# For processors with addresses of 32 bits. libpci's headers are the same for all and come last, for
# the sake of those of the C library beside them; its functions are missing there, and not called.
CROSS_CC := -std=c11 -O1 -static $(WARN_C) -Werror $(INCLUDES) -Itests -Itests/cross \
	-idirafter /usr/include/$(shell gcc -print-multiarch 2>/dev/null)
CROSS_LD := -Wl,--unresolved-symbols=ignore-all -pthread
CROSS_DEPS := nvme.h $(wildcard examples/*.h tools/*.h tests/*.h tests/cross/*.h) Makefile

$(B)/i386/%: tests/%.c $(CROSS_DEPS) | $(B)/i386
	i686-linux-gnu-gcc $(CROSS_CC) $< -o $@ $(CROSS_LD)

$(B)/i386/%: examples/%.c $(CROSS_DEPS) | $(B)/i386
	i686-linux-gnu-gcc $(CROSS_CC) $< -o $@ $(CROSS_LD)

$(B)/armhf/%: tests/%.c $(CROSS_DEPS) | $(B)/armhf
	arm-linux-gnueabihf-gcc $(CROSS_CC) $< -o $@ $(CROSS_LD)

$(B)/armhf/%: examples/%.c $(CROSS_DEPS) | $(B)/armhf
	arm-linux-gnueabihf-gcc $(CROSS_CC) $< -o $@ $(CROSS_LD)

$(B) $(B)/debug $(B)/tests $(B)/asan $(B)/tsan $(B)/i386 $(B)/armhf $(B)/lint:
	@mkdir -p $@

-include $(wildcard $(B)/*.d $(B)/debug/*.d $(B)/tests/*.d $(B)/asan/*.d $(B)/tsan/*.d)

# ---- running ----

demo: $(B)/hello_world ## hello_world with the debug log, on the software controller
	NVME_LOG=debug $(B)/hello_world soft

docs: all debug ## what the documents quote, printed anew: outputs, line numbers, the picture
	docs/renew

gdb: debug ## gdb at the first doorbell, with the ring drawn
	gdb -q -x docs/gdb/start.gdb

vm: all ## a shell in the VM lab, with the examples on its PATH
	tools/vm

# ---- testing ----

test: check asan tsan cross fuzz lint vmtest ## every test there is; takes a few minutes

check: all debug $(UNIT:%=$(B)/tests/%) $(B)/tests/run_io ## the quick tests, without a VM
	@set -e; for t in $(UNIT:%=$(B)/tests/%); do echo "== $$t"; $$t; done

asan: all debug $(ASAN:%=$(B)/asan/%) $(B)/asan/run_io $(B)/asan/nvtrace $(B)/asan/hello_world ## the same with AddressSanitizer and UndefinedBehaviorSanitizer
	@set -e; export RUN_IO=$(B)/asan/run_io NVTRACE=$(B)/asan/nvtrace HELLO_WORLD=$(B)/asan/hello_world; for t in $(ASAN:%=$(B)/asan/%); do echo "== $$t"; $$t; done

FUZZERS := driver soft trace

fuzz: $(FUZZERS:%=$(B)/asan/fuzz_%) ## a hostile device, a hostile driver, hostile traces: a fixed number of steps
	$(B)/asan/fuzz_driver
	$(B)/asan/fuzz_soft
	$(B)/asan/fuzz_trace

# nvtrace with another main().
FUZZ_TRACE := tests/fuzz_trace.c $(filter-out trace/nvtrace.c,$(TRACE))

$(B)/asan/fuzz_trace: $(FUZZ_TRACE) $(wildcard trace/*.[ch] tests/*.h) nvme.h Makefile | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror $(INCLUDES) -Itrace -Itests $(FUZZ_TRACE) -o $@ $(LIBS)

libfuzzer: | $(B)/asan ## the same fuzzers for clang's libFuzzer, in build/asan/
	for f in driver soft trace; do \
		case $$f in trace) more="$(filter-out trace/nvtrace.c,$(TRACE))" ;; *) more= ;; esac; \
		clang -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined -DNVME_LIBFUZZER $(INCLUDES) \
			-Itrace -Itests tests/fuzz_$$f.c $$more -o $(B)/asan/libfuzzer_$$f $(LIBS) || exit 1; \
	done

tsan: $(B)/tests/test_matrix $(B)/tsan/run_io ## the I/O tests with ThreadSanitizer
	RUN_IO=$(B)/tsan/run_io $(B)/tests/test_matrix

CROSS := test_prp test_dma test_queue test_spec hello_world

cross: $(CROSS:%=$(B)/i386/%) $(CROSS:%=$(B)/armhf/%) ## some tests with 32-bit addresses, in QEMU: i386 and armhf
	@set -e; for t in $(CROSS); do \
		echo "== $$t i386"; qemu-i386 $(B)/i386/$$t; \
		echo "== $$t armhf"; qemu-arm $(B)/armhf/$$t; \
	done

vmtest: all $(B)/tests/test_vm $(B)/tests/attach_steps $(B)/tests/run_io $(B)/tests/use_disk $(B)/tests/readme_tool ## the driver over VFIO, in the VM lab
	$(B)/tests/test_vm

bench: all $(B)/tests/bench $(B)/tests/run_io ## what a read costs and how fast nvtrace is, as ratios
	$(B)/tests/bench
	tests/bench_trace.sh
	@for kib in 4 128; do \
		for f in submit reap; do \
			valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="$$f*" \
				$(B)/tests/bench driver $$kib 2>&1 | \
			awk -v f=$$f -v k=$$kib '/Collected/ { printf "%s: %d instructions for a read of %d KiB\n", f, $$4 / 3200, k }'; \
		done; \
	done

# ---- linting ----

lint: lint-format lint-header lint-cppcheck ## clang-format, strict warnings, cppcheck

SOURCES := nvme.h $(wildcard examples/*.[ch] tests/*.[ch] tests/cross/*.h tools/*.[ch] trace/*.[ch] docs/gdb/*.c)

lint-format: ## does every file look as clang-format would have it?
	clang-format --dry-run --Werror $(SOURCES)

# The headers alone and with their implementation, static and not, in both languages; newer C++ and
# 32-bit processors; and static in a program that calls it, where gcc sees into more functions.
LINT_32 = -x c -std=c11 -Wstrict-prototypes -idirafter /usr/include/$(shell gcc -print-multiarch)

lint-header: | $(B)/lint ## the headers under gcc and clang, C11 and C++17, in every mode
	@set -e; for mode in "" "-DNVME_IMPLEMENTATION" "-DNVME_IMPLEMENTATION -DNVME_STATIC" \
		    "-include nvme_soft.h" "-DNVME_IMPLEMENTATION -DNVME_SOFT_IMPLEMENTATION" \
		    "-DNVME_IMPLEMENTATION -DNVME_SOFT_IMPLEMENTATION -DNVME_STATIC" \
		    "-DNVME_IMPLEMENTATION -DNVME_NO_TRACE"; do \
		case "$$mode" in *SOFT*) header=nvme_soft.h ;; *) header=nvme.h ;; esac; \
		for opt in -O0 -O2; do \
			for c in "gcc -x c -std=c11 -Wstrict-prototypes" "g++ -x c++ -std=c++17" \
				 "clang -x c -std=c11 -Wstrict-prototypes" "clang++ -x c++ -std=c++17"; do \
				echo "$$c $$opt $$mode $$header"; \
				echo "#include \"$$header\"" | \
				$$c $$opt $$mode $(WARN) -Werror $(INCLUDES) -c -o $(B)/lint/header.o -; \
			done; \
		done; \
	done
	@set -e; for c in "g++ -x c++ -std=c++20" "g++ -x c++ -std=c++23" "clang++ -x c++ -std=c++2b" \
		    "i686-linux-gnu-gcc $(LINT_32)" "clang --target=i686-linux-gnu $(LINT_32)" \
		    "arm-linux-gnueabihf-gcc $(LINT_32)" "clang --target=arm-linux-gnueabihf $(LINT_32)"; do \
		echo "$$c -O2"; echo '#include "nvme_soft.h"' | $$c -O2 -DNVME_IMPLEMENTATION \
			-DNVME_SOFT_IMPLEMENTATION $(WARN) -Werror $(INCLUDES) -c -o $(B)/lint/header.o -; \
	done
	@set -e; for c in gcc clang; do for opt in -O1 -O2 -O3 -Os; do \
		echo "$$c $$opt -DNVME_STATIC, the tool of the README"; \
		awk '/^```c$$/ { code = 1; next } /^```/ { code = 0 } code' README.md | \
		$$c -x c -std=c11 $$opt -DNVME_STATIC $(WARN_C) -Werror -I. -c -o $(B)/lint/header.o -; \
	done; done

lint-cppcheck: ## cppcheck finds nothing
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr $(INCLUDES) -Itrace \
		--enable=warning,performance,portability --suppress=missingIncludeSystem \
		-DNVME_IMPLEMENTATION -UNVME_STATIC -D__x86_64__ -DMAP_ANONYMOUS=32 -DCLOCK_MONOTONIC=1 \
		$(wildcard examples/*.c tests/*.c tools/*.c trace/*.c docs/gdb/*.c)

clean: ## remove what was built (the downloaded VM kernel stays in build/vm)
	find $(B) -mindepth 1 -maxdepth 1 ! -name vm -exec rm -rf {} +
