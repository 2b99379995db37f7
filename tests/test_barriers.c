// SPDX-License-Identifier: MIT
/*
 * Memory barriers, which no test can see by running: a missing one goes wrong once in a billion
 * commands, on another machine. So the driver is compiled for each architecture, and every path
 * through the generated code is walked: is the barrier there, between the right accesses?
 *
 *	submit: SQE and whatever else is stored, barrier, the doorbell, nothing more
 *	reap:   the phase is loaded; if it is the old one, no barrier and no store; else a barrier, and
 *	        only after it the rest of the CQE is loaded
 *
 * On x86-64 there is no instruction to look for and the order of the accesses is all there is. What
 * lies on the stack does not count. The last tests break the driver and expect to be told so.
 */
#include "run.h"

struct arch {
	const char *name, *triple;
	const char *wmb, *rmb; /* barrier instructions that are strong enough; NULL: none needed */
	const char *store, *load, *stack; /* mnemonics; operands that mean the stack */
	const char *call, *icall, *ret;   /* icall: to an address in a register */
};

/*
 * What a barrier must be: x86 keeps the order of stores, and of loads. aarch64 and armv7: for the
 * outer shareable domain or the whole system. riscv: w before o, r before r. ppc64: see NVME_WMB().
 */
static const struct arch archs[] = {
	{"x86-64", "x86_64-linux-gnu", NULL, NULL, "^(mov|set)[^,]*[ ,].*\\)$",
         "^(mov|add|cmp|movz|movs)[^,]* .*\\(.*\\),%|^cmp.*\\(", "\\(%rsp", "^call [0-9a-f]",
         "^(call|jmp) \\*", "^ret"},
	{"aarch64", "aarch64-linux-gnu", "^d[ms]b (oshst|osh|st|sy)$", "^d[ms]b (oshld|osh|ld|sy)$",
         "^st", "^ld", "\\[sp", "^bl [0-9a-f]", "^(blr|br) x", "^ret"},
	{"armhf", "arm-linux-gnueabihf", "^dsb (st|sy)$", "^d[ms]b (osh|sy)$", "^(st|push)",
         "^(ld|pop)", "\\[sp|^(st|ld)m[^ ]* sp|^push|^pop", "^blx? [0-9a-f]",
         "^blx r|^bx [^l]|^bx lr.+", "^bx lr$|^(pop|ldr|ldm)[^ ]* .*pc"},
	{"riscv64", "riscv64-linux-gnu", "^fence [ior]*w[ior]*,i?or?w?$|^fence$",
         "^fence [io]*r[w]*,[io]*rw?$|^fence$", "^s[bhwd] ", "^l[bhwd]u? ", "\\(sp\\)",
         "^jal [0-9a-f]|^direct", "^(jalr|jr) ", "^ret"},
	{"ppc64el", "powerpc64le-linux-gnu", "^(hw)?sync$", "^(lw|hw)?sync$", "^st",
         "^l(b|h|w[az]|d|x)", "\\(r1\\)", "^bl [0-9a-f]", "^bctr", "^blr"},
};

#define NUM_ARCHS (sizeof(archs) / sizeof(archs[0]))

/* ---- from objdump's text to a list of instructions ---- */

enum what { OTHER, STORE, LOAD, BARRIER, ICALL, BRANCH, JUMP, RET };

struct insn {
	unsigned long addr, target;
	enum what what;
	char cond[3]; /* armhf: executed only if; "" always */
	bool flags;   /* armhf: changes what conditions look at */
	char text[96];
};

#define MAX_INSNS 400
static struct insn code[MAX_INSNS];
static int num_insns;

static bool matches(const char *text, const char *pattern)
{
	regex_t re;
	int rc;

	if (pattern == NULL)
		return false;
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	rc = regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	return rc == 0;
}

/* "bne.n 6b2 <submit+0x8a>": the address in front of the last "<submit" */
static bool find_target(struct insn *i, const char *func)
{
	char mark[32], *at;

	snprintf(mark, sizeof(mark), " <%s", func);
	at = strstr(i->text, mark);
	if (at == NULL)
		at = strstr(i->text, " <.L"); /* riscv: labels of the assembler */
	if (at == NULL)
		return false;
	while (at > i->text && strchr("0123456789abcdef", at[-1]) != NULL)
		at--;
	i->target = strtoul(at, NULL, 16);
	return true;
}

/* armhf executes single instructions on a condition: strhi, pophi, moveq */
static void find_condition(struct insn *i)
{
	static const char *const conds[] = {"eq", "ne", "cs", "cc", "hi", "ls", "mi", "pl"};
	size_t n = strcspn(i->text, " ."), k;

	i->flags = matches(i->text, "^(cmp|tst|cmn|subs|adds|ands|movs|lsls|lsrs)");
	for (k = 0; k < sizeof(conds) / sizeof(conds[0]); k++)
		if (n > 3 && strncmp(i->text + n - 2, conds[k], 2) == 0 &&
		    matches(i->text, "^(str|ldr|pop|stm|ldm|bx)"))
			memcpy(i->cond, conds[k], 3);
}

static void classify(const struct arch *a, const char *func, bool write, struct insn *i)
{
	const char *t = i->text;

	if (strcmp(a->name, "armhf") == 0)
		find_condition(i);
	if (matches(t, write ? a->wmb : a->rmb))
		i->what = BARRIER;
	else if (matches(t, a->ret))
		i->what = RET;
	else if (matches(t, a->call))
		i->what = OTHER;
	else if (matches(t, a->icall))
		i->what = ICALL;
	else if (matches(t, "^(b|j)[a-z.]* |^[ct]bn?z ") && find_target(i, func) &&
	         i->target != i->addr) /* to itself: not linked yet */
		i->what = matches(t, "^(b|b.n|b.w|j|jmp) ") ? JUMP : BRANCH;
	else if (matches(t, "^(b|j|jmp|b.n|b.w) "))
		i->what = RET; /* another function takes over */
	else if (matches(t, a->store))
		i->what = matches(t, a->stack) ? OTHER : STORE;
	else if (matches(t, a->load))
		i->what = matches(t, a->stack) ? OTHER : LOAD;
}

/* One blank instead of objdump's tabs, no comments, no blanks at the end. */
static void tidy(char *out, size_t size, const char *line)
{
	size_t n = 0;

	for (; *line != '\0' && strchr("@;", *line) == NULL && n + 1 < size; line++) {
		if (strncmp(line, "//", 2) == 0 || strncmp(line, "# ", 2) == 0) /* not #16 */
			break;
		if (*line != ' ' && *line != '\t')
			out[n++] = *line;
		else if (n > 0 && out[n - 1] != ' ')
			out[n++] = ' ';
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void parse(const struct arch *a, const char *func, bool write, char *text)
{
	char *line, *save = NULL, mark[32], *colon;
	bool inside = false, direct = false;

	snprintf(mark, sizeof(mark), " <%s>:", func);
	num_insns = 0;
	for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		struct insn *i = &code[num_insns];

		if (strstr(line, ">:") != NULL) {
			inside = strstr(line, mark) != NULL ||
			         (inside && strstr(line, "<.L") != NULL);
			continue;
		}
		colon = strstr(line, ":\t");
		if (!inside || colon == NULL)
			continue;
		assert_true(num_insns < MAX_INSNS);
		memset(i, 0, sizeof(*i));
		i->addr = strtoul(line, NULL, 16);
		tidy(i->text, sizeof(i->text), colon + 2);
		if (direct && matches(i->text, "^(jalr|jr) ")) /* riscv: far, but to a function */
			memcpy(i->text, i->text[1] == 'r' ? "ret   " : "direct", 6);
		direct = strncmp(i->text, "auipc", 5) == 0;
		classify(a, func, write, i);
		num_insns++;
	}
	assert_true(num_insns > 5);
}

/* ---- all paths ---- */

struct path {
	int before, after, icalls; /* stores before the barrier and after it; calls of write_4() */
	int loads;                 /* after the barrier */
	int first_loads;           /* before it */
	bool barrier, branched, doorbell;
	char cond[3];
	bool holds;
};

struct seen {
	int paths;
	bool doorbell, call, full, empty;
	char why[160]; /* the first thing wrong */
};

static void wrong(struct seen *seen, const char *why)
{
	if (seen->why[0] == '\0')
		snprintf(seen->why, sizeof(seen->why), "%s", why);
}

/* x86-64: the doorbell is the one store of 4 bytes to the address in a register. */
static bool is_doorbell(const struct insn *i)
{
	return matches(i->text, "^movl? %(e..|r[0-9]+d),\\(");
}

static void end_submit(const struct arch *a, const struct path *p, struct seen *seen)
{
	seen->doorbell = seen->doorbell || p->doorbell || (p->barrier && p->after == 1);
	seen->call = seen->call || (p->icalls == 1 && (p->barrier || a->wmb == NULL));
	if (p->icalls > 0 && !p->barrier && a->wmb != NULL)
		wrong(seen, "write_4() is called without a barrier before it");
	if (p->barrier && p->after + p->icalls > 1)
		wrong(seen, "more than the doorbell is stored after the barrier");
	if ((p->barrier || a->wmb == NULL) && p->before == 0)
		wrong(seen, "nothing is stored before the barrier");
}

static void end_reap(const struct arch *a, const struct path *p, struct seen *seen)
{
	bool full = p->before + p->after > 0;

	seen->full = seen->full || full;
	seen->empty = seen->empty || !full;
	if (p->first_loads == 0)
		wrong(seen, "the phase is not loaded before the barrier");
	if (full && a->rmb != NULL && !p->barrier)
		wrong(seen, "the CQE is copied without a barrier");
	if (full && (p->before > 0 || p->loads == 0))
		wrong(seen, "the CQE is copied before the barrier");
	if (!full && p->barrier && a->rmb != NULL)
		wrong(seen, "looking at the phase costs a barrier although nothing is new");
}

static void step(const struct arch *a, bool write, const struct insn *i, struct path *p,
                 struct seen *seen)
{
	if (i->flags)
		p->cond[0] = '\0';
	if (i->what == BARRIER) {
		p->barrier = true;
		p->before += p->after;
		p->after = p->loads = 0;
	} else if (i->what == STORE) {
		p->barrier ? p->after++ : p->before++;
		if (a->wmb == NULL && write && p->doorbell)
			wrong(seen, "something is stored after the doorbell");
		if (a->wmb == NULL && write && is_doorbell(i))
			p->doorbell = true;
	} else if (i->what == LOAD) {
		p->barrier ? p->loads++ : p->first_loads++;
	} else if (i->what == ICALL) {
		p->icalls++;
	} else if (i->what == BRANCH && a->rmb == NULL && !write) {
		p->barrier = true; /* x86-64: the test of the phase takes its place */
	}
}

static int at_address(unsigned long addr)
{
	int n;

	for (n = 0; n < num_insns; n++)
		if (code[n].addr == addr)
			return n;
	return num_insns; /* outside: the end */
}

static bool opposite(const char *a, const char *b)
{
	static const char *const pairs[] = {"eqne", "csccc", "hils", "mipl"};
	size_t k;

	for (k = 0; k < sizeof(pairs) / sizeof(pairs[0]); k++)
		if ((strncmp(pairs[k], a, 2) == 0 && strncmp(pairs[k] + 2, b, 2) == 0) ||
		    (strncmp(pairs[k], b, 2) == 0 && strncmp(pairs[k] + 2, a, 2) == 0))
			return true;
	return false;
}

static void walk(const struct arch *a, bool write, int n, struct path p, struct seen *seen,
                 int left)
{
	for (; n < num_insns; n++) {
		const struct insn *i = &code[n];

		if (left-- == 0) {
			wrong(seen, "a loop");
			break;
		}
		if (i->cond[0] != '\0') {
			if (p.cond[0] == '\0') { /* both ways */
				struct path other = p;

				memcpy(p.cond, i->cond, 3);
				p.holds = true;
				memcpy(other.cond, i->cond, 3);
				other.holds = false;
				walk(a, write, n + 1, other, seen, left);
			} else if (strcmp(p.cond, i->cond) == 0
			                   ? !p.holds
			                   : opposite(p.cond, i->cond) && p.holds) {
				continue;
			}
		}
		step(a, write, i, &p, seen);
		if (i->what == BRANCH)
			walk(a, write, at_address(i->target), p, seen, left);
		if (i->what == JUMP)
			n = at_address(i->target) - 1;
		if (i->what == RET ||
		    (i->what == ICALL && matches(i->text, "^(jmp|br|bx|jr|bctr$)")))
			break;
	}
	seen->paths++;
	write ? end_submit(a, &p, seen) : end_reap(a, &p, seen);
}

/* ---- compiling ---- */

/* NULL, or what is wrong with the code that compiler makes of the nvme.h in directory include. */
static const char *judge(const struct arch *a, const char *compiler, const char *include,
                         const char *func)
{
	static struct seen seen;
	struct path start;
	bool write = strcmp(func, "submit") == 0;
	struct result r;

	memset(&start, 0, sizeof(start));
	memset(&seen, 0, sizeof(seen));
	/* libpci's headers are the same everywhere; the machine's own come last for their sake */
	run(&r,
	    "%s -std=c11 -O2 -w -I%s -idirafter /usr/include/$(gcc -print-multiarch) -c "
	    "tests/barriers.c -o %s/barriers.o && %s-objdump -d --no-show-raw-insn %s/barriers.o",
	    compiler, include, dir, a->triple, dir);
	if (r.status == 127)
		fail_msg("no compiler for %s: run 'tools/deps.sh'", a->name);
	expect_status(&r, 0);
	parse(a, func, write, r.out);
	done(&r);
	walk(a, write, 0, start, &seen, 2000);
	if (write && !(seen.doorbell && seen.call))
		wrong(&seen, "no path has a barrier and the doorbell after it");
	if (!write && !(seen.full && seen.empty))
		wrong(&seen, "the phase is not tested");
	return seen.why[0] != '\0' ? seen.why : NULL;
}

static const char *compiler_for(const struct arch *a, bool clang)
{
	static char line[64];

	snprintf(line, sizeof(line), clang ? "clang --target=%s" : "%s-gcc", a->triple);
	return line;
}

static void check(const char *func)
{
	size_t i, clang;
	int n, bad = 0;

	for (i = 0; i < NUM_ARCHS; i++) {
		for (clang = 0; clang < 2; clang++) {
			const char *why =
				judge(&archs[i], compiler_for(&archs[i], clang), ".", func);

			if (why == NULL)
				continue;
			fprintf(stderr, "%s, %s, %s(): %s\n", archs[i].name,
			        clang ? "clang" : "gcc", func, why);
			for (n = 0; n < num_insns; n++)
				fprintf(stderr, "%d\t%lx: %s\n", (int)code[n].what, code[n].addr,
				        code[n].text);
			bad++;
		}
	}
	assert_int_equal(bad, 0);
}

static void test_submit(void **state)
{
	(void)state;
	check("submit");
}

static void test_reap(void **state)
{
	(void)state;
	check("reap");
}

/* ---- can it fail? ---- */

/* Edits a copy of nvme.h with sed; the guard must find that out with gcc for these architectures. */
static void expect_caught(const char *sed, const char *func, const char *names)
{
	struct result r;
	size_t i;
	int n = 0;

	run(&r, "mkdir -p %s/h && sed -E '%s' nvme.h >%s/h/nvme.h && ! cmp -s nvme.h %s/h/nvme.h",
	    dir, sed, dir, dir);
	if (r.status != 0)
		fail_msg("this mutation changes nothing any more: %s", sed);
	done(&r);
	for (i = 0; i < NUM_ARCHS; i++) {
		char include[64];

		if (strstr(names, archs[i].name) == NULL)
			continue;
		snprintf(include, sizeof(include), "%s/h", dir);
		if (judge(&archs[i], compiler_for(&archs[i], false), include, func) == NULL)
			fail_msg("not noticed on %s: %s", archs[i].name, sed);
		n++;
	}
	assert_true(n > 0);
}

#define WEAK "aarch64 armhf riscv64 ppc64el"

static void test_removed(void **state)
{
	(void)state;
	expect_caught("s/^\tNVME_WMB\\(\\);//", "submit", WEAK);
	expect_caught("s/^\tNVME_RMB\\(\\);//", "reap", WEAK);
}

static void test_weakened(void **state)
{
	(void)state;
	expect_caught("s/\"(dmb oshst|dsb st|fence ow, ow|sync)\"/\"\"/", "submit", WEAK);
	expect_caught("s/\"(dmb oshld|dmb osh|fence r, rw|lwsync)\"/\"\"/", "reap", WEAK);
	expect_caught("s/\"fence ow, ow\"/\"fence rw, rw\"/; s/\"sync\"/\"lwsync\"/; "
	              "s/\"dmb oshst\"/\"dmb ishst\"/; s/\"dsb st\"/\"dmb ishst\"/",
	              "submit", WEAK);
	expect_caught("s/\"fence r, rw\"/\"fence w, w\"/; s/\"lwsync\"/\"eieio\"/; "
	              "s/\"dmb oshld\"/\"dmb oshst\"/; s/\"dmb osh\"/\"dmb ish\"/",
	              "reap", WEAK);
}

static void test_moved(void **state)
{
	(void)state;
	/* the doorbell before an SQE; the barrier after the doorbell */
	expect_caught("/^NVME__HOT void nvme_qpair_submit_request/,/^}/"
	              "s/^\t\tnvme_ring_sq_doorbell\\(qp\\);/\t{\\n&\\n"
	              "\t\tnvme_copy_command(\\&qp->sq[qp->sq_tail], \\&tr->cmd);\\n\t}/",
	              "submit", "x86-64 " WEAK);
	expect_caught("/^NVME__HOT void nvme_ring_sq_doorbell/,/^}/{s/^\tNVME_WMB\\(\\);//; "
	              "s/^}/\tNVME_WMB();\\n}/}",
	              "submit", WEAK);
	/* the CQE before the phase; the barrier before the phase */
	expect_caught("/^NVME__HOT bool nvme__qpair_read_cqe/,/^}/{s/^\t\\*cpl = \\*slot;//; "
	              "s/^(\tuint32_t dw3)/\t*cpl = *slot;\\n\\1/}",
	              "reap", "x86-64 " WEAK);
	expect_caught("/^NVME__HOT bool nvme__qpair_read_cqe/,/^}/{s/^\tNVME_RMB\\(\\);//; "
	              "s/^(\tuint32_t dw3)/\tNVME_RMB();\\n\\1/}",
	              "reap", WEAK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_submit),  cmocka_unit_test(test_reap),
		cmocka_unit_test(test_removed), cmocka_unit_test(test_weakened),
		cmocka_unit_test(test_moved),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
