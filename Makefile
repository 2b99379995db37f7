# SPDX-License-Identifier: MIT
# Everything is built into build/. 'make help' lists the targets and what can be set.

# From elsewhere (make -f DIR/Makefile) as from the directory of this file.
TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
ifneq ($(TOP),$(CURDIR))

.PHONY: there
$(or $(MAKECMDGOALS),all): there ;
there:
	@$(MAKE) -C $(TOP) $(MAKECMDGOALS)

else

B        := build#		the directory to build into
ifeq ($(strip $(B)),)
$(error B is empty: name the directory to build into, as in B=build)
endif
CC       ?= cc#			the compiler
CXX      ?= c++#			and that of C++
CFLAGS   ?= -O2 -g#		options for it
CPPFLAGS ?=#			more of them
LDFLAGS  ?=#			options for the linker
LDLIBS   ?=#			more libraries
WERROR   ?=#			-Werror makes warnings errors; the tests set it
CROSS    :=#			for check: the prefix of a compiler, as in aarch64-linux-gnu-
RUN      :=#			for check: what runs the programs, as in qemu-aarch64
DESTDIR  ?=#			for install: a directory to put before the prefix
prefix   ?= /usr/local#		for install

WARN     := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wundef
WARN_C   := $(WARN) -Wstrict-prototypes
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LIBS      = -lpci -pthread $(LDLIBS)
INCLUDES := -I. -Itools -Iexamples -Itrace -Itests
DEPS      = -MMD -MP -MF $@.d -MT $@
BUILD_C   = -std=c11 $(WARN_C) $(WERROR) $(INCLUDES) $(CPPFLAGS) $(DEPS)
BUILD_CXX = -std=c++17 $(WARN) $(WERROR) $(INCLUDES) $(CPPFLAGS) $(DEPS)

EXAMPLES := $(basename $(notdir $(wildcard examples/*.c examples/*.cc)))
GDBPROGS := $(patsubst docs/gdb/%.c,%,$(wildcard docs/gdb/*.c))
# nvtrace is main() and a library, which the tests use as well.
TRACE    := $(patsubst trace/%.c,%,$(filter-out trace/main.c,$(wildcard trace/*.c trace/*/*.c)))
# Those that take longest come first.
SLOW     := test_gdb test_make test_nvtrace test_lint test_barriers test_docs test_outputs
UNIT     := $(SLOW) $(filter-out test_vm $(SLOW),$(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))

# Where the tests, and the scripts that they run, find the programs.
export BUILD := $(B)

.PHONY: all debug help demo docs gdb vm install uninstall libfuzzer bench bench-vm clean
.DELETE_ON_ERROR:

all: $(EXAMPLES:%=$(B)/%) $(B)/nvtrace ## build the examples and nvtrace into build/

debug: $(EXAMPLES:%=$(B)/debug/%) $(GDBPROGS:%=$(B)/debug/%) ## the examples without optimisation, for gdb, in build/debug/

help: ## this list, with what can be set, as in 'make CC=clang'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile
	@awk -F ' *[:?]=.*#\t+' 'NF == 2 { printf "%-19s %s\n", $$1 "=", $$2 }' Makefile

# ---- building ----

# Everything depends on the command line. What was built with -Werror is good without it, too.
FLAGS := $(strip $(CC) $(CXX) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(LDLIBS))
BUILT := $(strip $(file <$(B)/flags))
ifneq ($(BUILT),$(strip $(FLAGS) $(WERROR)))
ifneq ($(BUILT),$(FLAGS) -Werror)
.PHONY: $(B)/flags
endif
endif
$(B)/flags: | $(B)
	@printf '%s\n' '$(subst ','\'',$(FLAGS) $(WERROR))' >$@

RECIPE := Makefile $(B)/flags

$(B)/%: examples/%.c $(RECIPE) | $(B)
	$(CC) $(BUILD_C) $(CFLAGS) $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/%: examples/%.cc $(RECIPE) | $(B)
	$(CXX) $(BUILD_CXX) $(CFLAGS) $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/trace/%.o: trace/%.c $(RECIPE) | $(B)/trace/read $(B)/trace/out
	$(CC) $(BUILD_C) $(CFLAGS) -c $< -o $@

$(B)/libnvtrace.a: $(TRACE:%=$(B)/trace/%.o)
	rm -f $@ && $(AR) rcs $@ $^

# Of nvme.h it takes names and texts only: no libpci. It unpacks traces.
UNPACK := -lz -llzma

$(B)/nvtrace: $(B)/trace/main.o $(B)/libnvtrace.a
	$(CC) $(CFLAGS) $^ -o $@ $(LDFLAGS) $(UNPACK) $(LDLIBS)

# gcc, because the walkthroughs show where its code goes line by line.
$(B)/debug/%: examples/%.c $(RECIPE) | $(B)/debug
	gcc $(BUILD_C) -O0 -g3 $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/debug/%: examples/%.cc $(RECIPE) | $(B)/debug
	g++ $(BUILD_CXX) -O0 -g3 $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/debug/%: docs/gdb/%.c $(RECIPE) | $(B)/debug
	gcc $(BUILD_C) -O0 -g3 $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/tests/%.o: tests/%.c $(RECIPE) | $(B)/tests
	$(CC) $(BUILD_C) $(CFLAGS) -c $< -o $@

$(B)/tests/%: tests/%.c $(RECIPE) | $(B)/tests
	$(CC) $(BUILD_C) $(CFLAGS) $< $(filter %.o %.a,$^) -o $@ $(LDFLAGS) -lcmocka $(LIBS)

$(B)/asan/trace/%.o: trace/%.c $(RECIPE) | $(B)/asan/trace/read $(B)/asan/trace/out
	$(CC) $(BUILD_C) -O1 -g $(SAN) -c $< -o $@

$(B)/asan/libnvtrace.a: $(TRACE:%=$(B)/asan/trace/%.o)
	rm -f $@ && $(AR) rcs $@ $^

$(B)/asan/%.o: tests/%.c $(RECIPE) | $(B)/asan
	$(CC) $(BUILD_C) -O1 -g $(SAN) -c $< -o $@

$(B)/asan/%: tests/%.c $(RECIPE) | $(B)/asan
	$(CC) $(BUILD_C) -O1 -g $(SAN) $< $(filter %.o %.a,$^) -o $@ $(LDFLAGS) -lcmocka $(LIBS)

$(B)/asan/%: examples/%.c $(RECIPE) | $(B)/asan
	$(CC) $(BUILD_C) -O1 -g $(SAN) $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/asan/%: examples/%.cc $(RECIPE) | $(B)/asan
	$(CXX) $(BUILD_CXX) -O1 -g $(SAN) $< -o $@ $(LDFLAGS) $(LIBS)

$(B)/asan/nvtrace: $(B)/asan/trace/main.o $(B)/asan/libnvtrace.a
	$(CC) $(SAN) $^ -o $@ $(LDFLAGS) $(UNPACK) $(LDLIBS)

$(B)/tsan/%: tests/%.c $(RECIPE) | $(B)/tsan
	$(CC) $(BUILD_C) -O1 -g -fsanitize=thread $< -o $@ $(LDFLAGS) -lcmocka $(LIBS)

# They use what nvtrace is made of.
$(B)/tests/test_readers $(B)/tests/test_nvtrace $(B)/tests/test_compare: $(B)/libnvtrace.a
$(B)/asan/test_readers $(B)/asan/test_nvtrace $(B)/asan/test_compare $(B)/asan/fuzz_trace: $(B)/asan/libnvtrace.a
$(addprefix $(B)/,tests/test_readers tests/test_nvtrace asan/test_readers asan/test_nvtrace asan/fuzz_trace): LDLIBS += $(UNPACK)

# nvme.h and libnvme define the same names: two sources.
$(B)/tests/test_compare: $(B)/tests/compare_libnvme.o
$(B)/asan/test_compare: $(B)/asan/compare_libnvme.o
$(B)/tests/test_compare $(B)/asan/test_compare: LIBS += -lnvme

# The tool that the README shows, built from the README.
README_TOOL := awk '/^```c$$/ { code = 1; next } /^```/ { code = 0 } code' README.md

$(B)/tests/readme_tool: README.md $(RECIPE) | $(B)/tests
	$(README_TOOL) >$@.c
	$(CC) $(BUILD_C) -O2 $@.c -o $@ $(LDFLAGS) $(LIBS)
	g++ -x c++ -std=c++17 -O2 $(WARN) $(WERROR) $(INCLUDES) -c $@.c -o $@.o

# For other processors: those with a prefix of their compiler here, and CROSS. libpci's headers are
# the same for all and come last, for the sake of those of the C library beside them; its functions
# are missing there, and not called.
FOREIGN := i686-linux-gnu- arm-linux-gnueabihf- aarch64-linux-gnu- riscv64-linux-gnu-
RUN_i686-linux-gnu-      := qemu-i386
RUN_arm-linux-gnueabihf- := qemu-arm
RUN_aarch64-linux-gnu-   := qemu-aarch64
RUN_riscv64-linux-gnu-   := qemu-riscv64
ifneq ($(CROSS),)
RUN_$(CROSS) := $(RUN)
endif

CROSSES  := $(sort $(FOREIGN) $(CROSS))
HEADERS   = -idirafter /usr/include/$(shell gcc -print-multiarch 2>/dev/null)
CROSS_C   = $(BUILD_C) -O1 -static -Itests/cross $(HEADERS)
CROSS_LD := -Wl,--unresolved-symbols=ignore-all -pthread

define CROSS_RULES
$$(B)/cross/$(1)/%: tests/%.c $$(RECIPE) | $$(B)/cross/$(1)
	$(1)gcc $$(CROSS_C) $$< -o $$@ $$(CROSS_LD)

$$(B)/cross/$(1)/%: examples/%.c $$(RECIPE) | $$(B)/cross/$(1)
	$(1)gcc $$(CROSS_C) $$< -o $$@ $$(CROSS_LD)
endef
$(foreach c,$(CROSSES),$(eval $(call CROSS_RULES,$(c))))

# Without VFIO: for another C library, where neither libpci nor a header of Linux's is in reach, and
# for WebAssembly.
MUSL_C := -O1 -static -Itests/cross -DNVME_NO_VFIO
WASM_C := --target=wasm32-wasi -O1 -DNVME_NO_VFIO -DNVME_NO_TRACE

$(B)/musl/%: tests/%.c $(RECIPE) | $(B)/musl
	musl-gcc $(BUILD_C) $(MUSL_C) $< -o $@

$(B)/musl/%: examples/%.c $(RECIPE) | $(B)/musl
	musl-gcc $(BUILD_C) $(MUSL_C) $< -o $@

$(B)/wasm/%: examples/%.c $(RECIPE) | $(B)/wasm
	clang $(BUILD_C) $(WASM_C) $< -o $@

$(B) $(addprefix $(B)/,trace/read trace/out debug tests asan asan/trace/read asan/trace/out tsan musl wasm lint $(CROSSES:%=cross/%)):
	@mkdir -p $@

-include $(wildcard $(B)/*.d $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)

# ---- running ----

demo: $(B)/hello_world ## hello_world with the debug log, on the software controller
	NVME_LOG=debug $(B)/hello_world soft

docs: all debug ## what the documents quote, printed anew: outputs, line numbers, the picture
	docs/renew

gdb: debug ## gdb at the first doorbell, with the ring drawn
	sed 's|^file build/|file $(B)/|' docs/gdb/start.gdb >$(B)/start.gdb
	gdb -q -x $(B)/start.gdb

vm: all ## a shell in the VM lab, with the examples on its PATH
	tools/vm

# ---- installing ----

INSTALL_H   := nvme.h $(wildcard tools/nvme_soft*.h)
INSTALL_BIN := $(B)/nvtrace tools/nvme-bind
VERSION      = $(shell sed -n 's/.*nvme\.h - v\([0-9.]*\).*/\1/p;4q' nvme.h)

install: $(B)/nvtrace ## the headers, nvtrace, nvme-bind and nvme-h.pc, into DESTDIR and prefix (/usr/local)
	install -d $(addprefix $(DESTDIR)$(prefix)/,include bin share/pkgconfig share/man/man1 \
		share/bash-completion/completions)
	install -m 644 docs/nvtrace.1 $(DESTDIR)$(prefix)/share/man/man1
	install -m 644 tools/nvtrace.bash $(DESTDIR)$(prefix)/share/bash-completion/completions/nvtrace
	install -m 644 $(INSTALL_H) $(DESTDIR)$(prefix)/include
	install $(INSTALL_BIN) $(DESTDIR)$(prefix)/bin
	printf '%s\n' 'prefix=$(prefix)' 'Name: nvme.h' 'Description: An NVMe driver in one header' \
		'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -lpci -pthread' \
		>$(DESTDIR)$(prefix)/share/pkgconfig/nvme-h.pc

uninstall: ## remove what 'make install' with the same DESTDIR and prefix put there
	rm -f $(addprefix $(DESTDIR)$(prefix)/include/,$(notdir $(INSTALL_H))) \
		$(addprefix $(DESTDIR)$(prefix)/bin/,$(notdir $(INSTALL_BIN))) \
		$(addprefix $(DESTDIR)$(prefix)/share/,pkgconfig/nvme-h.pc man/man1/nvtrace.1 \
		bash-completion/completions/nvtrace)

# ---- testing ----

# A test is a list of stages, which tests/stages runs side by side. The stages that take longest come
# first. Here a warning is an error.
STAGES := +@tests/stages all $(MAKE)
STAGE   = @tests/stages run $@

PROGRAMS := all debug $(B)/tests/run_io

VM_STAGES    := vm/test_vm
VM_NEEDS     := $(PROGRAMS) $(addprefix $(B)/tests/,test_vm use_disk use_metadata use_zones readme_tool attach_steps soak $(UNIT))
FUZZ_STAGES  := fuzz/fuzz_trace fuzz/fuzz_soft fuzz/fuzz_driver fuzz/soak
# The tests that are compiled with it; test_matrix runs a program that is.
TSAN_TESTS   := tsan/test_probe tsan/test_ladder tsan/test_events tsan/test_removal tsan/soak
TSAN_STAGES  := tsan/test_matrix $(TSAN_TESTS)
CHECK_STAGES := $(UNIT:%=check/%)
# With sanitizers only what is compiled with them, or runs programs that are.
ASAN_STAGES  := $(patsubst %,asan/%,$(filter-out test_barriers test_docs test_gdb test_make test_platform,$(UNIT)))
# What needs no program beside it, no libpci and no more of cmocka than tests/cross/cmocka.h.
CROSS_TESTS  := test_dma test_prp test_promises test_queue test_spec hello_world
CROSS_STAGES := $(foreach c,$(CROSSES),$(CROSS_TESTS:%=cross/$(c)/%))
MUSL_STAGES  := $(CROSS_TESTS:%=other/musl/%)
WASM_STAGES  := other/wasm/hello_world
OTHER_STAGES := $(MUSL_STAGES) $(WASM_STAGES)
LINT_HEADER  := lint/others lint/gcc lint/g++ lint/clang lint/clang++
LINT_STAGES  := lint/cppcheck $(LINT_HEADER) lint/format lint/order

.PHONY: test check asan tsan cross other fuzz vmtest lint lint-header
.PHONY: $(VM_STAGES) $(FUZZ_STAGES) $(TSAN_STAGES) $(CHECK_STAGES) $(ASAN_STAGES) $(CROSS_STAGES) $(OTHER_STAGES) $(LINT_STAGES)

test: ## every test there is, on all cores; takes some minutes
	+@FIRST="$(VM_NEEDS)" tests/stages all $(MAKE) $(VM_STAGES) $(LINT_STAGES) $(FUZZ_STAGES) $(ASAN_STAGES) $(TSAN_STAGES) $(CHECK_STAGES) $(CROSS_STAGES) $(OTHER_STAGES)

check: ## the quick tests, without a VM; with CROSS and RUN those that another processor can run
	$(STAGES) $(if $(CROSS),$(CROSS_TESTS:%=cross/$(CROSS)/%),$(CHECK_STAGES))

asan: ## the same with AddressSanitizer and UndefinedBehaviorSanitizer
	$(STAGES) $(ASAN_STAGES)

tsan: ## the I/O tests, those of probing, events, removals and resets, and the soak, with ThreadSanitizer
	$(STAGES) $(TSAN_STAGES)

cross: ## some tests for other processors, in QEMU: i386, armhf, aarch64, riscv64
	$(STAGES) $(CROSS_STAGES)

other: ## without VFIO: some tests with musl, hello_world as WebAssembly in node
	$(STAGES) $(OTHER_STAGES)

fuzz: ## a hostile device, a hostile driver, hostile traces, the soak: a fixed number of steps
	$(STAGES) $(FUZZ_STAGES)

vmtest: ## the driver over VFIO, in the VM lab
	$(STAGES) $(VM_STAGES)

lint: ## clang-format, strict warnings, cppcheck
	$(STAGES) $(LINT_STAGES)

lint-header: ## the headers under gcc and clang, C11 and C++17, in every mode
	$(STAGES) $(LINT_HEADER)

# All programs first, for what is built while VMs are started has to be packed for each of them.
$(VM_STAGES): vm/%: $(VM_NEEDS)
	$(STAGE) $(B)/tests/$*

$(CHECK_STAGES): check/%: $(B)/tests/% $(PROGRAMS) $(B)/tests/readme_tool
	$(STAGE) $(RUN) $(B)/tests/$*

$(ASAN_STAGES): export RUN_IO := $(B)/asan/run_io
$(ASAN_STAGES): export NVTRACE := $(B)/asan/nvtrace
$(ASAN_STAGES): export HELLO_WORLD := $(B)/asan/hello_world
$(ASAN_STAGES): export EXTENTS := $(B)/asan/extents
$(ASAN_STAGES): asan/%: $(B)/asan/% $(PROGRAMS) $(addprefix $(B)/asan/,run_io nvtrace hello_world extents)
	$(STAGE) $(B)/asan/$*

$(TSAN_STAGES): export RUN_IO := $(B)/tsan/run_io
$(filter-out $(TSAN_TESTS),$(TSAN_STAGES)): tsan/%: $(B)/tests/% $(B)/tsan/run_io
	$(STAGE) $(B)/tests/$*

$(TSAN_TESTS): tsan/%: $(B)/tsan/%
	$(STAGE) $(B)/tsan/$*

$(FUZZ_STAGES): fuzz/%: $(B)/asan/%
	$(STAGE) $(B)/asan/$*

define CROSS_STAGE
$$(CROSS_TESTS:%=cross/$(1)/%): cross/$(1)/%: $$(B)/cross/$(1)/%
	$$(STAGE) $$(RUN_$(1)) $$<
endef
$(foreach c,$(CROSSES),$(eval $(call CROSS_STAGE,$(c))))

$(MUSL_STAGES): other/musl/%: $(B)/musl/%
	$(STAGE) $<

# It prints what the same program prints here.
$(WASM_STAGES): other/wasm/%: $(B)/wasm/% $(B)/%
	$(STAGE) sh -c '$(B)/$* soft >$<.native && \
		node --no-warnings tests/wasm.mjs $< soft >$<.out && diff $<.native $<.out'

$(LINT_HEADER): lint/%: | $(B)/lint
	$(STAGE) tests/lint_header $* $(WARN) $(INCLUDES)

SOURCES := nvme.h $(wildcard examples/*.[ch] examples/*.cc tests/*.[ch] tests/cross/*.h tools/*.[ch] trace/*.[ch] trace/*/*.[ch] docs/gdb/*.c)

lint/format:
	$(STAGE) clang-format --dry-run --Werror $(SOURCES)

lint/order:
	$(STAGE) sh -c 'tests/order --test && tests/order nvme.h'

# The implementation once, with the software controller; then all that includes it, without.
CPPCHECK := cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr $(INCLUDES) \
	--enable=warning,performance,portability --suppress=missingIncludeSystem \
	-DNVME_IMPLEMENTATION -UNVME_STATIC -D__x86_64__ -DMAP_ANONYMOUS=32 -DCLOCK_MONOTONIC=1
WHOLE    := examples/hello_world.c trace/nvme.c

lint/cppcheck:
	$(STAGE) sh -c '$(CPPCHECK) $(WHOLE) && $(CPPCHECK) -DNVME__IMPLEMENTED -DNVME__BOOK3 \
		-DNVME_SOFT__IMPLEMENTED $(filter-out $(WHOLE),$(filter %.c,$(SOURCES)))'

libfuzzer: | $(B)/asan ## the fuzzers for clang's libFuzzer, in build/asan/
	for f in driver soft trace; do \
		case $$f in trace) more="$(TRACE:%=trace/%.c)" ;; *) more= ;; esac; \
		clang -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined -DNVME_LIBFUZZER $(INCLUDES) \
			tests/fuzz_$$f.c $$more -o $(B)/asan/libfuzzer_$$f $(LIBS) || exit 1; \
	done

bench: all $(B)/tests/bench $(B)/tests/run_io ## what a read costs and how fast nvtrace is, as ratios
	$(B)/tests/bench
	tests/bench_trace.sh
	tests/where.sh $(B)/tests/bench 4
	tests/where.sh $(B)/tests/bench 128

bench-vm: all ## perf beside fio on the kernel's driver, in the VM lab, as ratios; needs fio
	tests/bench_vm.sh

clean: ## remove what was built (the downloaded VM kernel stays in build/vm)
	@if [ -d "$(B)" ] && { [ -e "$(B)/Makefile" ] || [ ! -f "$(B)/flags" ]; }; then \
		echo "make: nothing is removed, for $(B) is not a directory that only 'make' writes to" >&2; \
		exit 1; \
	fi
	[ ! -d "$(B)" ] || find "$(B)" -mindepth 1 -maxdepth 1 ! -name vm -exec rm -rf {} +

endif
