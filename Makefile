# SPDX-License-Identifier: MIT
# Everything is built into build/. 'make help' lists the targets.

CC       ?= cc
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wundef
WARN_C   := $(WARN) -Wstrict-prototypes
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
PCI_LIBS := -lpci
B        := build

EXAMPLES := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
UNIT     := $(filter-out test_vm,$(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))
GUEST    := $(patsubst tests/%.c,%,$(wildcard tests/guest_*.c))

.PHONY: all debug help demo vm check test asan vmtest lint lint-header lint-format lint-cppcheck clean
.DELETE_ON_ERROR:

all: $(EXAMPLES:%=$(B)/%) ## build the examples into build/

debug: $(EXAMPLES:%=$(B)/debug/%) ## the examples without optimisation, for gdb, in build/debug/

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- building ----

$(B)/%: examples/%.c Makefile | $(B)
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror -MMD -MP -I. $< -o $@ $(PCI_LIBS)

$(B)/debug/%: examples/%.c Makefile | $(B)/debug
	$(CC) -std=c11 -O0 -g3 $(WARN_C) -Werror -MMD -MP -I. $< -o $@ $(PCI_LIBS)

$(B)/tests/%: tests/%.c Makefile | $(B)/tests
	$(CC) -std=c11 $(CFLAGS) $(WARN_C) -Werror -MMD -MP -I. -Itests $< -o $@ -lcmocka $(PCI_LIBS)

$(B)/asan/%: tests/%.c Makefile | $(B)/asan
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN_C) -Werror -MMD -MP -I. -Itests $< -o $@ -lcmocka $(PCI_LIBS)

# The tool that the README shows, built from the README.
$(B)/tests/readme_tool: README.md nvme.h Makefile | $(B)/tests
	awk '/^```c$$/ { code = 1; next } /^```/ { code = 0 } code' README.md >$@.c
	$(CC) -std=c11 -O2 $(WARN_C) -Werror -I. $@.c -o $@ $(PCI_LIBS)
	g++ -x c++ -std=c++17 -O2 $(WARN) -Werror -I. -c $@.c -o $@.o

$(B) $(B)/debug $(B)/tests $(B)/asan $(B)/lint:
	@mkdir -p $@

-include $(wildcard $(B)/*.d $(B)/debug/*.d $(B)/tests/*.d $(B)/asan/*.d)

# ---- running ----

demo: $(B)/hello_world ## hello_world with the debug log, on a real controller in the VM lab
	NVME_LOG=debug tools/vm --bind -- hello_world 0000:00:03.0

vm: all ## a shell in the VM lab, with the examples on its PATH
	tools/vm

# ---- testing ----

test: check asan lint vmtest ## every test there is; needs about two minutes

check: debug $(UNIT:%=$(B)/tests/%) ## the quick tests, without a VM
	@set -e; for t in $(UNIT:%=$(B)/tests/%); do echo "== $$t"; $$t; done

asan: debug $(UNIT:%=$(B)/asan/%) ## the same with AddressSanitizer and UndefinedBehaviorSanitizer
	@set -e; for t in $(UNIT:%=$(B)/asan/%); do echo "== $$t"; $$t; done

vmtest: all $(B)/tests/test_vm $(GUEST:%=$(B)/tests/%) $(B)/tests/readme_tool ## the driver over VFIO, in the VM lab
	$(B)/tests/test_vm

# ---- linting ----

lint: lint-format lint-header lint-cppcheck ## clang-format, strict warnings, cppcheck

SOURCES := nvme.h $(wildcard examples/*.[ch] tests/*.[ch] tools/*.[ch] trace/*.[ch])

lint-format: ## does every file look as clang-format would have it?
	clang-format --dry-run --Werror $(SOURCES)

# The header alone and with its implementation, static and not, in both languages.
lint-header: | $(B)/lint ## nvme.h under gcc and clang, C11 and C++17, in every mode
	@set -e; for mode in "" "-DNVME_IMPLEMENTATION" "-DNVME_IMPLEMENTATION -DNVME_STATIC"; do \
		for opt in -O0 -O2; do \
			for c in "gcc -x c -std=c11 -Wstrict-prototypes" "g++ -x c++ -std=c++17" \
				 "clang -x c -std=c11 -Wstrict-prototypes" "clang++ -x c++ -std=c++17"; do \
				echo "$$c $$opt $$mode nvme.h"; \
				echo '#include "nvme.h"' | \
				$$c $$opt $$mode $(WARN) -Werror -I. -c -o $(B)/lint/header.o -; \
			done; \
		done; \
	done

lint-cppcheck: ## cppcheck finds nothing
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr -I. \
		--enable=warning,performance,portability --suppress=missingIncludeSystem \
		-DNVME_IMPLEMENTATION -UNVME_STATIC -D__x86_64__ -DMAP_ANONYMOUS=32 -DCLOCK_MONOTONIC=1 \
		$(wildcard examples/*.c tests/*.c tools/*.c trace/*.c)

clean: ## remove what was built (the downloaded VM kernel stays in build/vm)
	find $(B) -mindepth 1 -maxdepth 1 ! -name vm -exec rm -rf {} +
