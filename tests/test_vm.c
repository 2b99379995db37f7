// SPDX-License-Identifier: MIT
/*
 * The driver and the tools against Linux's VFIO and QEMU's NVMe controller, in the VM lab.
 *
 * Each test boots one or more guests with tools/vm (about 2 s each), runs commands in them and
 * looks at what they printed and at what is in the disk image afterwards. Run it from the top of
 * the repository; 'test_vm PATTERN' runs the tests whose name matches.
 */
#include "run.h"
#include "io_list.h"
#include "md_block.h"

#define ADDR "0000:00:03.0"

/* ---- several commands in one guest ---- */

struct guest_case {
	const char *name;
	const char *command; /* for the guest's shell */
	int status;
	const char *expect[4]; /* must appear in what it prints, on either stream */
};

/* Runs all cases in one guest. Each prints to stderr between two marks. */
static void run_cases(const char *vm_args, const struct guest_case *cases, size_t n)
{
	char script[12288];
	struct result r;
	const char *at;
	size_t i, j, len = 0;

	for (i = 0; i < n; i++)
		len += (size_t)snprintf(script + len, sizeof(script) - len,
		                        "echo \"@@ %s\" >&2\n{ %s\n} >&2\necho \"@@ rc=$?\" >&2\n",
		                        cases[i].name, cases[i].command);
	assert_true(len < sizeof(script));
	run(&r, "tools/vm %s -- sh -c '%s'", vm_args, script);
	at = r.err;
	for (i = 0; i < n; i++) {
		const char *end;
		char *text, mark[128];

		snprintf(mark, sizeof(mark), "@@ %s\n", cases[i].name);
		at = expect_in(&r, at, mark);
		end = expect_in(&r, at, "@@ rc=");
		text = strndup(at, (size_t)(end - at) - strlen("@@ rc="));
		if (atoi(end) != cases[i].status)
			fprintf(stderr, "%s: status %d, not %d:\n%s\n", cases[i].name, atoi(end),
			        cases[i].status, text);
		assert_int_equal(atoi(end), cases[i].status);
		for (j = 0; j < 4 && cases[i].expect[j] != NULL; j++) {
			if (strstr(text, cases[i].expect[j]) == NULL) {
				fprintf(stderr, "%s: not found: %s\nin:\n%s\n", cases[i].name,
				        cases[i].expect[j], text);
				fail();
			}
		}
		free(text);
		at = end;
	}
	print_message("%zu cases in one guest\n", n);
	done(&r);
}

/* ---- the lab itself ---- */

static void test_lab(void **state)
{
	struct result r;

	(void)state;
	run(&r, "tools/vm -- sh -c 'printf out; printf err >&2; exit 7'");
	expect_status(&r, 7);
	assert_string_equal(r.out, "out");
	assert_string_equal(r.err, "err");
	done(&r);

	run(&r, "tools/vm --timeout 4 -- sleep 60");
	expect_status(&r, 124);
	expect_in(&r, r.err, "4 seconds");
	done(&r);

	run(&r, "tools/vm --disk %s/missing -- true", dir);
	expect_status(&r, 1);
	expect_in(&r, r.err, "missing");
	done(&r);

	run(&r, "tools/vm --nonsense");
	expect_status(&r, 2);
	expect_in(&r, r.err, "--nonsense");
	done(&r);
}

/* Whatever a file is called, it is for one option, and no log replaces an image. */
static void test_lab_files(void **state)
{
	static const struct {
		const char *args, *says;
	} cases[] = {
		{"--disk A --trace A", "--trace A and --disk A are the same file"},
		{"--trace ./A --disk A", "--trace ./A and --disk A are the same file"},
		{"--disk hard --console A", "--console A and --disk hard are the same file"},
		{"--disk A --ns sym", "--ns sym and --disk A are the same file"},
		{"--disk A --disk A", "--disk A is given twice"},
		{"--copy A --disk A", "--copy A and --disk A are the same file"},
		{"--copy A --trace sym", "--trace sym and --copy A are the same file"},
		{"--copy A --console A", "--console A and --copy A are the same file"},
		{"--size 1M --disk new --trace new", "--trace new and --disk new are the same"},
		{"--trace new --console ./new", "--console ./new and --trace new are the same"},
		{"--trace dangling --console new", "--console new and --trace dangling are"},
		{"--trace A", "--trace A holds binary data"},
		{"--console sym", "--console sym holds binary data"},
	};
	struct result r;
	size_t i;

	(void)state;
	run(&r,
	    "cd %s; truncate -s 1M A; ln A hard; ln -s A sym; ln -s new dangling; md5sum A >sum",
	    dir);
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i <= sizeof(cases) / sizeof(cases[0]); i++) {
		if (i < sizeof(cases) / sizeof(cases[0]))
			run(&r, "vm=$PWD/tools/vm; cd %s; $vm %s -- true", dir, cases[i].args);
		else
			run(&r, "vm=$PWD/tools/vm; cd %s; $vm --disk A -- echo >>A", dir);
		expect_status(&r, 2);
		expect_in(&r, r.err,
		          i < sizeof(cases) / sizeof(cases[0]) ? cases[i].says
		                                               : "Standard output is A");
		done(&r);
		run(&r, "cd %s; md5sum --quiet -c sum && test ! -e new", dir);
		expect_status(&r, 0);
		done(&r);
	}
	/* Different files, the logs of an earlier run, and /dev/null twice are fine. */
	for (i = 0; i < 2; i++) {
		run(&r,
		    "vm=$PWD/tools/vm; cd %s; $vm --disk A --trace log --console messages --copy "
		    "sum "
		    "--copy sum -- cat sum /proc/cmdline",
		    dir);
		expect_status(&r, 0);
		expect_in(&r, r.out, "no_timer_check");
		done(&r);
	}
	run(&r, "tools/vm --trace /dev/null --console /dev/null -- true");
	expect_status(&r, 0);
	done(&r);
}

/* ---- hello_world ---- */

/* Milestones of the log, in their order. */
static const char *const hello_log[] = {
	"[" ADDR "] setting state to delay init (no timeout)\n",
	"[" ADDR "] setting state to read vs (no timeout)\n",
	"[" ADDR "] setting state to read cap (no timeout)\n",
	"[" ADDR "] setting state to check en (no timeout)\n",
	"[" ADDR "] setting state to disable and wait for CSTS.RDY = 0 (timeout 7500 ms)\n",
	"[" ADDR "] CC.EN = 0 && CSTS.RDY = 0\n",
	"[" ADDR "] setting state to controller is disabled (timeout 7500 ms)\n",
	"[" ADDR "] setting state to enable controller by writing CC.EN = 1 (timeout 7500 ms)\n",
	"[" ADDR "] Setting CC.EN = 1\n",
	"[" ADDR "] setting state to wait for CSTS.RDY = 1 (timeout 7500 ms)\n",
	"[" ADDR "] CC.EN = 1 && CSTS.RDY = 1 - controller is ready\n",
	"[" ADDR "] setting state to identify controller (timeout 30000 ms)\n",
	"prp_index:0 virt_addr:0x",
	"prp1 = 0x",
	"IDENTIFY (06) qid:0 cid:0 nsid:0 cdw10:00000001 cdw11:00000000 PRP1 0x",
	"SUCCESS (00/00) qid:0 cid:0 cdw0:0 sqhd:0001 p:1 m:0 dnr:0\n",
	"[" ADDR "] MDTS max_xfer_size 524288\n",
	"[" ADDR "] setting state to set number of queues (timeout 30000 ms)\n",
	"SET FEATURES NUMBER OF QUEUES cid:0 cdw10:00000007 PRP1 0x0 PRP2 0x0\n",
	"SUCCESS (00/00) qid:0 cid:0 cdw0:3f003f sqhd:0002 p:1 m:0 dnr:0\n",
	"[" ADDR "] setting state to identify active ns (timeout 30000 ms)\n",
	"[" ADDR "] setting state to identify ns (timeout 30000 ms)\n",
	"[" ADDR "] Namespace 1 was added\n",
	"[" ADDR "] setting state to ready (no timeout)\n",
	"CREATE IO CQ (05) qid:0 cid:0 nsid:0 cdw10:00ff0001 cdw11:00000001 PRP1 0x",
	"SUCCESS (00/00) qid:0 cid:0 cdw0:0 sqhd:0006 p:1 m:0 dnr:0\n",
	"CREATE IO SQ (01) qid:0 cid:0 nsid:0 cdw10:00ff0001 cdw11:00010001 PRP1 0x",
	"SUCCESS (00/00) qid:0 cid:0 cdw0:0 sqhd:0007 p:1 m:0 dnr:0\n",
	"prp[0] = 0x",
	"prp[126] = 0x",
	" (PRP list)\n",
	"READ sqid:1 cid:0 nsid:1 lba:0 len:1024 PRP1 0x",
	"READ sqid:1 cid:0 nsid:1 lba:1024 len:1024 PRP1 0x",
	"SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0002 p:1 m:0 dnr:0\n",
	"hello_world: namespace 1 of " ADDR " holds only zeros where it was looked at: all of it\n",
	"WRITE sqid:1 cid:0 nsid:1 lba:0 len:1 PRP1 0x",
	"SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0003 p:1 m:0 dnr:0\n",
	"READ sqid:1 cid:0 nsid:1 lba:0 len:1 PRP1 0x",
	"SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0004 p:1 m:0 dnr:0\n",
	"DELETE IO SQ (00) qid:0 cid:0 nsid:0 cdw10:00000001 cdw11:00000000 \n",
	"DELETE IO CQ (04) qid:0 cid:0 nsid:0 cdw10:00000001 cdw11:00000000 \n",
	"[" ADDR "] Prepare to destruct SSD\n",
	"[" ADDR "] shutdown timeout = 10000 ms\n",
	"[" ADDR "] shutdown complete in ",
	"[" ADDR "] Setting CC.EN = 0\n",
};

/* Every line has the prefix of the debug logs, but for what the example itself says. */
static void expect_prefixes(const struct result *r)
{
	char *copy = strdup(r->err), *line, *save = NULL;
	regex_t prefix;
	int lines = 0;

	assert_int_equal(regcomp(&prefix,
	                         "^\\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}\\] "
	                         "nvme\\.h:[ 0-9]{4,5}:[a-z_0-9]+: \\*(DEBUG|INFO|NOTICE)\\*: .",
	                         REG_EXTENDED | REG_NOSUB),
	                 0);
	for (line = strtok_r(copy, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "hello_world: ", 13) != 0 &&
		    regexec(&prefix, line, 0, NULL, 0) != 0)
			fail_msg("no log prefix: %s", line);
		lines++;
	}
	assert_true(lines > 100);
	print_message("%d log lines\n", lines);
	regfree(&prefix);
	free(copy);
}

static void test_hello_world(void **state)
{
	const char *disk = new_image("hello.img", 1 << 20);
	struct result r;
	const char *at;
	size_t i, size;
	char *data;

	(void)state;
	run(&r, "NVME_LOG=debug tools/vm --disk %s --bind -- hello_world " ADDR, disk);
	expect_status(&r, 0);
	assert_string_equal(r.out, "Initializing NVMe Controllers\n"
	                           "Attaching to " ADDR "\n"
	                           "Attached to " ADDR "\n"
	                           "  Namespace ID: 1 size: 1MB\n"
	                           "Initialization complete.\n"
	                           "INFO: using host memory buffer for IO\n"
	                           "Hello world!\n");
	for (i = 0, at = r.err; i < sizeof(hello_log) / sizeof(hello_log[0]); i++)
		at = expect_in(&r, at, hello_log[i]);
	expect_prefixes(&r);
	data = read_file(disk, &size);
	assert_memory_equal(data, "Hello world!\n", 14);
	for (i = 14; i < size; i++)
		assert_int_equal(data[i], 0);
	free(data);
	done(&r);
}

/* The ten-line tool of the README. */
static void test_readme_tool(void **state)
{
	const char *disk = new_image("tool.img", 1 << 20);
	struct result r;
	uint8_t block[512];

	(void)state;
	pattern_fill(block, sizeof(block), 0, 5);
	write_at(disk, 0, (const char *)block, sizeof(block));
	run(&r,
	    "tools/vm --disk %s --bind -- readme_tool " ADDR " >%s/block && cmp -n 512 %s %s/block",
	    disk, dir, disk, dir);
	expect_status(&r, 0);
	done(&r);
}

/* A disk with something on it is refused and left alone; its own greeting is not something. */
static void test_hello_world_refuses(void **state)
{
	const char *gpt = new_image("gpt.img", 1 << 20), *data = new_image("data.img", 1 << 20);
	const char *hello = new_image("hello.img", 1 << 20);
	char args[512];
	char *content;
	const struct guest_case cases[] = {
		{"gpt", "hello_world 0000:00:03.0", 1, {"a GPT partition table", "--force"}},
		{"data", "hello_world 0000:00:04.0", 1, {"holds data", "--force"}},
		{"unchanged", "hello_world 0000:00:03.0", 1, {"a GPT partition table"}},
		{"own greeting", "hello_world 0000:00:05.0", 0, {"Hello world!"}},
		{"force", "hello_world --force 0000:00:04.0", 0, {"Hello world!"}},
		{"no argument", "hello_world", 0, {"Hello world!"}},
		{"bad option", "hello_world --frob 0000:00:03.0", 2, {"usage"}},
		{"two devices",
	         "hello_world 0000:00:03.0 0000:00:04.0",
	         1,
	         {"a GPT partition table", "block 136"}},
	};

	(void)state;
	write_at(gpt, 512, "EFI PART", 8);
	write_at(gpt, 510, "\x55\xaa", 2);
	write_at(data, 70000, "x", 1);
	write_at(hello, 0, "Hello world!\n", 13);
	snprintf(args, sizeof(args), "--disk %s --disk %s --disk %s --bind", gpt, data, hello);
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
	content = read_file(gpt, NULL);
	assert_int_equal(content[0], 0);
	assert_memory_equal(content + 512, "EFI PART", 8);
	free(content);
	content = read_file(data, NULL);
	assert_string_equal(content, "Hello world!\n");
	assert_int_equal(content[70000], 'x');
	free(content);
}

/* Disks that show only at their end, or in the middle, that something uses them. */
static void expect_refused_ends(const char *vm_args)
{
	static const struct {
		const char *name;
		long at; /* a negative place counts from the end */
		const char *magic;
		size_t len;
	} used[] = {{"md", -8192, "\xfc\x4e\x2b\xa9", 4},
	            {"zfs", -(256 << 10), "\x01\x01", 2},
	            {"gpt", -512, "EFI PART", 8},
	            {"imsm", -1024, "Intel Raid ISM Cfg Sig. ", 24},
	            {"sample", 33 << 20, "x", 1},
	            {"behind", 136 << 10, "x", 1}};
	enum { DISKS = sizeof(used) / sizeof(used[0]) };
	const long size = 64 << 20;
	struct guest_case cases[DISKS + 1];
	char commands[DISKS + 1][96], args[2048];
	size_t i;

	snprintf(args, sizeof(args), "%s", vm_args);
	memset(cases, 0, sizeof(cases));
	for (i = 0; i <= DISKS; i++) {
		bool in_use = i < DISKS;
		const char *name = in_use ? used[i].name : "free";
		const char *disk = new_image(name, size);

		if (in_use)
			write_at(disk, used[i].at < 0 ? size + used[i].at : used[i].at,
			         used[i].magic, used[i].len);
		snprintf(args + strlen(args), sizeof(args) - strlen(args), " --disk %s", disk);
		snprintf(commands[i], sizeof(commands[i]), "hello_world 0000:00:%02zx.0", i + 3);
		cases[i].name = name;
		cases[i].command = commands[i];
		cases[i].status = in_use;
		cases[i].expect[0] = in_use ? "holds data (block" : "holds only zeros";
		cases[i].expect[1] = "and 62 samples of 4096 bytes between them";
	}
	run_cases(args, cases, DISKS + 1);
	for (i = 0; i < DISKS; i++) {
		char *data = read_file(image(used[i].name), NULL);

		assert_int_equal(data[0], 0);
		free(data);
	}
}

/* With blocks of 512 bytes; and with 4096, in commands of 16 KiB at most. */
static void test_hello_world_refuses_ends(void **state)
{
	(void)state;
	expect_refused_ends("--bind");
	expect_refused_ends("--bind --nvme mdts=2,logical_block_size=4096");
}

/* ---- identify ---- */

/* What jq makes of the JSON that the last run() printed, without the newline. */
static char *jq(const char *filter)
{
	static char out[512];
	char line[1024];
	FILE *pipe;
	size_t n;

	snprintf(line, sizeof(line), "sed -n '/^{/,$p' %s/out | jq -r '%s'", dir, filter);
	pipe = popen(line, "r");
	assert_non_null(pipe);
	n = fread(out, 1, sizeof(out) - 1, pipe);
	assert_int_equal(pclose(pipe), 0);
	assert_true(n > 0);
	out[n - 1] = '\0';
	return out;
}

/* The n-th line of what a command printed, without trailing blanks. */
static char *nth_line(const char *text, int n)
{
	static char line[256];
	size_t len;

	for (; n > 0; n--) {
		text = strchr(text, '\n');
		assert_non_null(text);
		text++;
	}
	len = strcspn(text, "\n");
	assert_true(len < sizeof(line));
	memcpy(line, text, len);
	while (len > 0 && line[len - 1] == ' ')
		len--;
	line[len] = '\0';
	return line;
}

/* What the kernel's own driver says of the device, and then what ours says, must agree. */
static void test_identify(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "tools/vm --disk %s -- sh -c '"
	    "cat /sys/class/nvme/nvme0/model /sys/class/nvme/nvme0/serial "
	    "/sys/class/nvme/nvme0/firmware_rev /sys/block/nvme0n1/size "
	    "/sys/class/nvme/nvme0/cntlid;"
	    "cd /sys/bus/pci/devices/" ADDR ";"
	    "printf \"%%d \" $(cat vendor device subsystem_vendor subsystem_device class revision);"
	    "echo; cd - >/dev/null;"
	    "nvme-bind bind " ADDR " >&2 && identify --json " ADDR "'",
	    new_image("id.img", 48 << 20));
	expect_status(&r, 0);
	assert_string_equal(jq(".controller.mn"), nth_line(r.out, 0));
	assert_string_equal(jq(".controller.sn"), nth_line(r.out, 1));
	assert_string_equal(jq(".controller.fr"), nth_line(r.out, 2));
	assert_string_equal(nth_line(r.out, 3), "98304");
	assert_string_equal(jq(".namespaces[0].nsze"), nth_line(r.out, 3));
	assert_string_equal(jq(".controller.cntlid"), nth_line(r.out, 4));
	assert_string_equal(jq(".pci | [.vendor, .device, .subsystem_vendor, .subsystem_device, "
	                       ".class, .revision] | join(\" \")"),
	                    nth_line(r.out, 5));
	done(&r);

	run(&r, "tools/vm --bind -- identify " ADDR);
	expect_status(&r, 0);
	expect_in(&r, r.out, "QEMU NVMe Ctrl");
	expect_in(&r, r.out, "nvmeh-0");
	expect_in(&r, r.out, "MQES");
	done(&r);
}

static void test_identify_usage(void **state)
{
	const struct guest_case cases[] = {
		{"no argument", "identify", 0, {"== Registers =="}},
		{"bad option", "identify --frob " ADDR, 2, {"no option", "--frob"}},
		{"two devices",
	         "identify soft " ADDR,
	         1,
	         {"==== soft ====", ADDR "] the device is still bound"}},
		{"option behind the device", "identify soft --json", 0, {"\"vendor\": 28278,"}},
		{"PCI identity of soft",
	         "identify soft | grep -e ^vendor -e ^device -e ^class",
	         0,
	         {"vendor ", ": 0x6e76 ", ": 0x736f ", ": 0x010802 "}},
		{"no device", "identify 0000:00:1e.0", 1, {"no PCI device"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- perf ---- */

/*
 * Two queue pairs in a poll group: the I/Os that were asked for, no more of them in QEMU's log than
 * in the driver's record and none less, and statistics that fit both.
 */
static void test_perf(void **state)
{
	static const struct {
		const char *options, *holds;
	} rows[] = {
		{"-w randread", ".total.reads == 500 and .total.stats.sq_doorbell_updates == 500"},
		{"-w randread -D",
	         ".total.reads == 500 and .total.stats.sq_doorbell_updates < 500"},
		{"-w randrw --force -o 64K",
	         ".total.reads > 100 and .total.reads < 400 and .total.bytes == 32768000"},
	};
	struct result r;
	char filter[512];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r,
		    "tools/vm --disk %s --trace %s/qemu.log --bind -- sh -c '"
		    "NVME_TRACE=/tmp/t.nvt perf -n 500 -P 2 -q 16 --json --transport-stats %s "
		    "-r " ADDR " >/tmp/json && { echo; cat /tmp/json; } >&2 && "
		    "gzip -c /tmp/t.nvt | base64' | base64 -d | gunzip "
		    ">%s/host.nvt && $BUILD/nvtrace %s/host.nvt --with %s/qemu.log >/dev/null && "
		    "$BUILD/nvtrace --lint %s/host.nvt >/dev/null && "
		    "for q in 1 2; do $BUILD/nvtrace %s/host.nvt | grep -cE \"(READ|WRITE) "
		    "sqid:$q \"; done; sed -n '/^{/,/^],/p' %s/err | tr -d '\\r'",
		    new_image("perf.img", 16 << 20), dir, rows[i].options, dir, dir, dir, dir, dir,
		    dir);
		expect_status(&r, 0);
		/* half of them each: a queue pair has half of the I/Os that follow each other */
		assert_true(atoi(nth_line(r.out, 0)) > 100 && atoi(nth_line(r.out, 1)) > 100);
		assert_int_equal(atoi(nth_line(r.out, 0)) + atoi(nth_line(r.out, 1)), 500);
		snprintf(filter, sizeof(filter),
		         "%s and (.total | .ios == 500 and .seconds > 0 and .iops > 0 and "
		         ".latency_us.min > 0) and (.total.stats | .submitted_requests == 500 and "
		         ".completions == 500 and .cq_doorbell_updates >= 500 / 16 and "
		         ".cq_doorbell_updates <= 500 and .polls > .idle_polls)",
		         rows[i].holds);
		assert_string_equal(jq(filter), "true");
		done(&r);
	}
	run(&r, "tools/vm --bind -- perf -n 1 -w write -r " ADDR);
	expect_status(&r, 1);
	expect_in(&r, r.err, "--force");
	done(&r);
}

/* ---- reads and writes, checked from outside ---- */

/* The tests that hold on every controller. */
static void test_io_list(void **state)
{
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < IO_TESTS; i++) {
		const struct io_test *t = &io_tests[i];
		const char *disk = new_image("list.img", t->size << 20);

		run(&r, "tools/vm --disk %s %s --bind -- run_io %s " ADDR " %d", disk, t->qemu,
		    t->command, t->number);
		if (r.status != 0)
			fprintf(stderr, "%s:\n", t->name);
		expect_io(&r, t, disk);
		done(&r);
	}
	print_message("%zu I/O tests\n", i);
}

/* Four threads, blocking calls and DMA memory, for long enough to meet everywhere. */
static void test_soak(void **state)
{
	struct result r;

	(void)state;
	run(&r, "tools/vm --size 16M --timeout 600 --bind -- run_io soak " ADDR " 50");
	expect_status(&r, 0);
	expect_in(&r, r.out, "soak: 24000 checks passed");
	assert_string_equal(r.err, "");
	done(&r);
}

/* Commands of all kinds with resets in one thread, and without them in three. */
static void test_soak_resets(void **state)
{
	const struct guest_case cases[] = {
		{"one", "soak -s 1 -r 2 -n 4000 " ADDR, 0, {" 0 wrong"}},
		{"three", "soak -s 3 -r 2 -n 6000 -t 3 " ADDR, 0, {" 0 wrong"}},
	};

	(void)state;
	run_cases("--size 64M --timeout 300 --bind", cases, sizeof(cases) / sizeof(cases[0]));
}

/*
 * Memory in pieces, as PRPs and as SGLs: QEMU takes SGLs, but announces no bit buckets.
 */
static void test_scatter(void **state)
{
	static const struct {
		const char *args;
		long mib;
		uint32_t block;
		const char *prps;
	} rows[] = {{"", 16, 512, "(PRP list)"},
	            {"--nvme mdts=1", 16, 512, "prp2 = 0x"},
	            {"--nvme logical_block_size=4096", 80, 4096, "(PRP list)"}};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *disk = new_image("scatter.img", rows[i].mib << 20);

		run(&r,
		    "tools/vm --disk %s %s --bind -- sh -c 'NVME_TRACE=/tmp/t.nvt run_io scatter " ADDR
		    " 70 >&2 && gzip -c /tmp/t.nvt | base64' | base64 -d | gunzip >%s/t.nvt && "
		    "$BUILD/nvtrace %s/t.nvt && $BUILD/nvtrace --lint %s/t.nvt",
		    disk, rows[i].args, dir, dir, dir);
		expect_status(&r, 0);
		expect_in(&r, r.err, "SGLS 1\n");
		expect_in(&r, r.err, "checks passed");
		expect_in(&r, r.out, rows[i].prps);
		expect_in(&r, r.out, "sgl[2] = DATA BLOCK ADDRESS 0x");
		expect_in(&r, r.out, "SGL LAST SEGMENT ADDRESS 0x");
		expect_pattern(disk, rows[i].block, 71);
		done(&r);
	}
}

/* What the example does, on another controller than the software one. */
static void test_scatter_example(void **state)
{
	struct result r;

	(void)state;
	run(&r, "tools/vm --size 16M --bind -- scatter " ADDR);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "pages ok\nparts ok\nhole  not possible, the controller takes no SGLs for it\nlarge ok\n");
	done(&r);
}

/* The example in C++. */
static void test_extents(void **state)
{
	const char *disk = new_image("extents.img", 64 << 20);
	struct result r;

	(void)state;
	write_at(disk, (48 << 20) + 4711, "x", 1);
	run(&r, "tools/vm --disk %s --bind -- extents " ADDR, disk);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "blocks 98304 to 98431\n"
	                    "64 of 65536 KiB hold something, looked at in pieces of 64 KiB\n");
	done(&r);
	run(&r, "tools/vm --disk null:1M --bind -- extents " ADDR); /* and on none at all */
	expect_status(&r, 0);
	assert_string_equal(r.out, "0 of 1024 KiB hold something, looked at in pieces of 64 KiB\n");
	done(&r);
	run(&r, "tools/vm --disk null:1X -- true");
	expect_status(&r, 2);
	expect_in(&r, r.err, "--disk null:1X is not a size such as null:1G");
	done(&r);
}

/* A file onto the disk and back, and a disk that is in use. */
static void test_nvdd(void **state)
{
	const char *disk = new_image("dd.img", 16 << 20),
		   *used = new_image("dd-used.img", 16 << 20);
	char args[1024];
	const struct guest_case cases[] = {
		{"there", "nvdd write /lab/f " ADDR, 0, {"8389308 bytes were copied"}},
		{"back",
	         "nvdd read /tmp/g " ADDR " && cmp -n 8389308 /lab/f /tmp/g && du -k /tmp/g",
	         0,
	         {"16777216 bytes were copied"}},
		{"used", "nvdd write /lab/f 0000:00:04.0", 1, {"holds data (block 0, byte 7"}},
	};
	struct result r;

	(void)state;
	write_at(used, 7, "x", 1);
	run(&r,
	    "cd %s && rm -f f && truncate -s 8M f && head -c 3000000 /dev/urandom | "
	    "dd of=f bs=64k seek=20 conv=notrunc status=none && head -c 700 /dev/urandom >>f",
	    dir);
	expect_status(&r, 0);
	done(&r);
	snprintf(args, sizeof(args), "--bind --copy %s/f --disk %s --disk %s", dir, disk, used);
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
	run(&r, "cmp -n 8389308 %s/f %s", dir, disk);
	expect_status(&r, 0);
	done(&r);
}

/* One thread, two controllers: polling, and asleep until one of them raises an interrupt. */
static void test_groups(void **state)
{
	const struct guest_case cases[] = {
		{"polls",
	         "poll_groups 0000:00:03.0 0000:00:04.0",
	         0,
	         {"00:03.0: 1000 of 1000", "00:04.0: 1000 of 1000"}},
		{"waits",
	         "poll_groups --wait 0000:00:03.0 0000:00:04.0",
	         0,
	         {"00:03.0: 1000 of 1000", "00:04.0: 1000 of 1000"}},
	};
	const char *one = new_image("one.img", 16 << 20), *two = new_image("two.img", 16 << 20);
	char args[1024];

	(void)state;
	snprintf(args, sizeof(args), "--bind --disk %s --disk %s", one, two);
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

/* 4096-byte blocks and three namespaces of different sizes. */
static void test_pattern_4k_namespaces(void **state)
{
	const char *ns1 = new_image("ns1.img", 80 << 20), *ns2 = new_image("ns2.img", 8 << 20);
	const char *ns3 = new_image("ns3.img", 32 << 20);
	struct result r;

	(void)state;
	run(&r,
	    "tools/vm --disk %s --ns %s --ns %s --nvme logical_block_size=4096 --bind -- "
	    "run_io pattern " ADDR " 30",
	    ns1, ns2, ns3);
	expect_status(&r, 0);
	expect_in(&r, r.out, "namespace 1: 20480 blocks of 4096 bytes");
	expect_in(&r, r.out, "namespace 2: 2048 blocks of 4096 bytes");
	expect_in(&r, r.out, "namespace 3: 8192 blocks of 4096 bytes");
	expect_pattern(ns1, 4096, 31);
	expect_pattern(ns2, 4096, 32);
	expect_pattern(ns3, 4096, 33);
	done(&r);
}

/* ---- commands of >>commands, checked from outside ---- */

/* Blocks of the image that lie one behind the other; from -1: zeroes, else the pattern from there. */
static void expect_blocks(const uint8_t *image, long at, long n, long from, uint32_t seed)
{
	long i;

	for (i = 0; i < n * 512; i++) {
		uint8_t want = from < 0 ? 0 : pattern_byte((uint64_t)(from * 512 + i), seed);

		if (image[at * 512 + i] != want)
			fail_msg("block %ld, byte %ld is %02x, not %02x", at + i / 512, i % 512,
			         image[at * 512 + i], want);
	}
}

static void expect_commands(const char *disk, uint32_t seed, bool fused)
{
	size_t size;
	uint8_t *image = (uint8_t *)read_file(disk, &size);

	assert_int_equal(size, 16 << 20);
	expect_blocks(image, 0, 100, 0, seed);
	expect_blocks(image, 100, 200, -1, seed);
	expect_blocks(image, 300, 2048 - 300, 300, seed);
	expect_blocks(image, 2048, 2048, -1, seed);
	expect_blocks(image, 4096, 5000 - 4096, 4096, seed);
	expect_blocks(image, 5000, 10, 10, seed);
	expect_blocks(image, 5010, 10, 30, seed);
	expect_blocks(image, 5020, 980, 5020, seed);
	expect_blocks(image, 6000, 1, fused ? 6001 : 6000, seed);
	expect_blocks(image, 6001, 8192 - 6001, 6001, seed);
	expect_blocks(image, 8192, 32768 - 8192, -1, seed);
	free(image);
}

/* Compare, Write Zeroes, Dataset Management, Copy, Verify, features, log pages; and the record. */
static void test_commands(void **state)
{
	const char *disk = new_image("commands.img", 16 << 20);
	struct result r;

	(void)state;
	run(&r, "$BUILD/tests/run_io commands soft:file=%s 40", disk);
	expect_status(&r, 0);
	done(&r);
	expect_commands(disk, 40, true);
	disk = new_image("commands.img", 16 << 20);
	run(&r,
	    "tools/vm --disk %s --bind -- sh -c '"
	    "NVME_TRACE=/tmp/c.nvt run_io commands " ADDR " 41 && nvtrace --lint /tmp/c.nvt'",
	    disk);
	expect_status(&r, 0);
	expect_in(&r, r.out, "checks passed");
	expect_in(&r, r.err, "no mistakes found");
	expect_in(&r, r.err, "cannot fuse Compare and Write (FUSES bit 0)");
	done(&r);
	expect_commands(disk, 41, false);
}

/* What the driver asks of VFIO, one by one. */
static void test_vfio(void **state)
{
	const char *disk = new_image("vfio.img", 16 << 20);
	struct result r;

	(void)state;
	run(&r, "tools/vm --disk %s --bind -- run_io vfio " ADDR " 50", disk);
	expect_status(&r, 0);
	expect_in(&r, r.out, "IOVA ");
	expect_in(&r, r.out, "vfio: 18 checks passed");
	expect_pattern(disk, 512, 51);
	done(&r);
}

/*
 * The controller writes where it has no business: the IOMMU does not let it, and keeps a record. Nobody
 * tells the controller: QEMU's ends the command with success.
 */
static void test_stray_dma(void **state)
{
	const struct guest_case cases[] = {
		{"none yet", "dmesg | grep -i dmar.*fault", 1, {NULL}},
		{"stray",
	         "run_io stray " ADDR,
	         0,
	         {"status 0/00\n0: status 0/00\n", "stray: 2 checks passed"}},
		{"recorded", "dmesg | grep -i dmar.*fault", 0, {"[DMA Write"}},
		{"goes on", "hello_world " ADDR, 0, {"Hello world!"}},
	};

	(void)state;
	run_cases("--size 16M --bind", cases, sizeof(cases) / sizeof(cases[0]));
}

/*
 * ---- metadata and protection information ----
 *
 * What QEMU 7.2 does otherwise than the specification says, so that the tests stay clear of it: a
 * guard that is wrong in the block at LBA 0 is not noticed where a command begins there; MPTR may be
 * 0 or have any alignment; Write Zeroes without PRACT leaves the metadata as it was; whether a block
 * was ever written (and so is not checked) it takes from the holes in the image.
 */

/* The blocks that use_metadata leaves: in QEMU's image all metadata is behind all data. */
static void expect_md_image(const char *disk, const struct layout *l, uint64_t blocks,
                            uint32_t nsid)
{
	static const uint8_t zeros[4096];
	uint8_t block[4096 + 64];
	size_t size, i;
	char *image_data = read_file(disk, &size);

	assert_true(blocks * (l->lbs + l->ms) <= size);
	for (i = 0; i < MD_NLB; i++) {
		size_t lba = MD_LBA + i;

		make_block(l, block, (uint32_t)lba, nsid);
		assert_memory_equal(image_data + lba * l->lbs, block, l->lbs);
		assert_memory_equal(image_data + blocks * l->lbs + lba * l->ms, block + l->lbs,
		                    l->ms);
		/* what was refused is not there */
		assert_memory_equal(image_data + (lba + 50) * l->lbs, zeros, l->lbs);
		assert_memory_equal(image_data + blocks * l->lbs + (lba + 50) * l->ms, zeros,
		                    l->ms);
		if (l->pi == 0)
			continue;
		make_block(l, block, (uint32_t)lba + 100, nsid); /* the controller's, by PRACT */
		assert_memory_equal(image_data + (lba + 100) * l->lbs, block, l->lbs);
		assert_memory_equal(image_data + blocks * l->lbs + (lba + 100) * l->ms,
		                    block + l->lbs, l->ms);
	}
	free(image_data);
}

/* The line of a namespace; returns what is behind it. */
static const char *expect_md_line(const struct result *r, const char *at, const struct layout *l,
                                  uint32_t nsid, uint64_t *blocks)
{
	char line[128];

	snprintf(line, sizeof(line), "%u: %u+%u mset %u pi %u pil %u, blocks ", nsid, l->lbs, l->ms,
	         l->mset, l->pi, l->pil);
	at = expect_in(r, at, line);
	*blocks = strtoull(at, NULL, 10);
	at = expect_in(r, at, ": write 0/00 read 0/00 same");
	if (l->pi != 0)
		at = expect_in(r, at,
		               " other tag 2/83 PRACT 0/00 read 0/00 same unwritten 0/00"
		               " bad guard 2/82 bad app 2/83");
	if (l->pi != 0 && l->pi != 3)
		at = expect_in(r, at, " bad ref 2/84");
	assert_int_equal(*at, '\n');
	return at;
}

/* Namespaces in many formats, made by Format NVM; then one that QEMU has from the start. */
static void test_metadata(void **state)
{
	static const struct layout from_start = {512, 8, 1, 1, 0};
	char args[1024], name[16];
	const char *disk, *at;
	struct result r;
	uint64_t blocks;
	uint32_t i;
	int n = 0;

	(void)state;
	for (i = 0; i < VM_LAYOUTS; i++) {
		snprintf(name, sizeof(name), "md%u.img", i + 1);
		n += snprintf(args + n, sizeof(args) - (size_t)n, "%s %s ",
		              i == 0 ? "--disk" : "--ns", new_image(name, 1 << 20));
	}
	run(&r,
	    "tools/vm %s --bind -- sh -c 'NVME_TRACE=/tmp/t.nvt use_metadata " ADDR
	    " format && nvtrace --lint /tmp/t.nvt'",
	    args);
	expect_status(&r, 0);
	for (i = 0, at = r.out; i < VM_LAYOUTS; i++) {
		at = expect_md_line(&r, at, &vm_layouts[i], i + 1, &blocks);
		snprintf(name, sizeof(name), "md%u.img", i + 1);
		expect_md_image(image(name), &vm_layouts[i], blocks, i + 1);
	}
	done(&r);

	disk = new_image("md.img", 1 << 20);
	run(&r,
	    "tools/vm --disk %s --nvme ms=8,mset=1,pi=1,pil=0 --bind -- sh -c 'metadata --force " ADDR
	    " && use_metadata " ADDR "'",
	    disk);
	expect_status(&r, 0);
	expect_in(&r, r.out,
	          "8 bytes of metadata behind each block, protection information of "
	          "type 1 in the last 8\n");
	at = expect_in(&r, r.out, "guard a2ff, application tag cafe, reference tag 00000003\n");
	(void)expect_md_line(&r, at, &from_start, 1, &blocks);
	expect_md_image(disk, &from_start, blocks, 1);
	done(&r);
}

/*
 * ---- zones ----
 *
 * What QEMU 7.2 does otherwise than the software controller, and may: it closes a zone that was opened
 * implicitly before it finds out that there are too many active ones; a zone that was opened and not
 * written is empty after a shutdown; the data of a zone that was reset stays in the image. It has no
 * zones that are read only or offline.
 */

static void expect_zones_image(const char *disk, size_t zone, size_t block, bool large)
{
	size_t size, i, end = 2 * zone + 100 * block;
	char *image_data = read_file(disk, &size);
	uint32_t word;

	for (i = 0; large && i < end / 4; i++) {
		memcpy(&word, image_data + 4 * i, 4);
		assert_int_equal(word, (uint32_t)i * 2654435761u);
	}
	for (i = large ? end : 0; i < 3 * zone; i++)
		assert_int_equal(image_data[i], 0);
	for (i = 0; i < zone; i++) {
		assert_int_equal(image_data[3 * zone + i], i < 32 * block ? i / block : 0);
		assert_int_equal(image_data[4 * zone + i], i < 8 * block ? 0x5a : 0);
	}
	free(image_data);
}

/* The same of QEMU's controller and of the one in software, and the blocks where they belong. */
static void test_zones(void **state)
{
	static const struct {
		const char *props, *soft, *limits;
		size_t block;
		bool large;
	} rows[] = {
		{"zoned.descr_ext_size=128,zoned.zasl=5", "zns=2048,zdes=128,zasl=5",
	         "limits: 64 zones of 2048 blocks, 3 open, 5 active, 131072 bytes appended, 128 "
	         "bytes of extension, OZCS 0\nlarge: write 0/00 [FULL] [FULL] [IMPLICITLY OPENED "
	         "100]\nappends: ",
	         512, true},
		{"zoned.zone_capacity=768K,logical_block_size=4096", "zns=256,zcap=192,lbs=4096",
	         "limits: 64 zones of 256 blocks, 3 open, 5 active, 524288 bytes appended, 0 "
	         "bytes of extension, OZCS 0\nappends: ",
	         4096, false},
	};
	struct result soft, qemu;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *disk = new_image("zones.img", 64 << 20);

		run(&soft, "$BUILD/tests/use_zones soft:size=64M,mor=3,mar=5,%s", rows[i].soft);
		expect_status(&soft, 0);
		run(&qemu,
		    "tools/vm --disk %s --nvme zoned=true,zoned.zone_size=1M,zoned.max_open=3,"
		    "zoned.max_active=5,%s --bind -- sh -c 'NVME_TRACE=/tmp/t.nvt use_zones " ADDR
		    " && nvtrace --lint /tmp/t.nvt >&2'",
		    disk, rows[i].props);
		expect_status(&qemu, 0);
		expect_in(&qemu, qemu.err, "no mistakes found");
		assert_ptr_equal(expect_in(&qemu, qemu.out, rows[i].limits),
		                 qemu.out + strlen(rows[i].limits));
		assert_string_equal(qemu.out, soft.out);
		expect_zones_image(disk, 1 << 20, rows[i].block, rows[i].large);
		done(&soft);
		done(&qemu);
	}
}

/* The example; without leave it writes nothing. */
static void test_zns(void **state)
{
	const char *disk = new_image("zns.img", 4 << 20);
	const char *vm = "tools/vm --nvme zoned=true,zoned.zone_size=1M --bind --disk";
	char *image_data;
	struct result r;
	size_t size, i;

	(void)state;
	run(&r, "%s %s -- zns " ADDR, vm, disk);
	expect_status(&r, 0);
	expect_in(&r, r.out, "Namespace 1: 4 zones of 2048 blocks; limits (0: none): 0 open, 0");
	expect_in(&r, r.out,
	          "        6144       2048  EMPTY             6144\nNothing was written");
	done(&r);
	image_data = read_file(disk, &size);
	for (i = 0; i < size; i++)
		assert_int_equal(image_data[i], 0);
	free(image_data);
	run(&r, "%s %s -- zns --force " ADDR, vm, disk);
	expect_status(&r, 0);
	expect_in(&r, r.out,
	          "           0       2048  IMPLICITLY OPENED 4\n  read back: the same\n");
	expect_in(&r, r.out, "           0       2048  FULL              -\n");
	done(&r);
	run(&r, "tools/vm --disk %s --bind -- zns " ADDR, disk); /* the same file, without zones */
	expect_status(&r, 1);
	expect_in(&r, r.err, "zns: " ADDR " has no zoned namespace");
	done(&r);
}

/*
 * The driver's record of a run and QEMU's own log of the same run tell the same story: every
 * command is in both, with the same queue, CID, opcode, LBA and length.
 */
static void test_merge(void **state)
{
	static const char *const programs[] = {"hello_world " ADDR, "run_io limits " ADDR,
	                                       "run_io depth " ADDR " 64"};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		run(&r,
		    "tools/vm --trace %s/qemu.log --bind -- sh -c '"
		    "NVME_TRACE=/tmp/t.nvt %s >/dev/null 2>&1; gzip -c /tmp/t.nvt | base64' | "
		    "base64 -d | gunzip >%s/host.nvt && $BUILD/nvtrace %s/host.nvt --with "
		    "%s/qemu.log",
		    dir, programs[i], dir, dir, dir);
		expect_status(&r, 0);
		done(&r);
	}
	/* and a log that was tampered with is noticed */
	run(&r,
	    "sed 's/nlb 1 /nlb 2 /' %s/qemu.log >%s/bad.log && "
	    "$BUILD/nvtrace %s/host.nvt --with %s/bad.log",
	    dir, dir, dir, dir);
	expect_status(&r, 1);
	done(&r);
}

/* A real disk that is too full for the recorder: it takes nothing of it, and the program goes on. */
static void test_trace_on_full_disk(void **state)
{
	static const char refused[] = "(no room for its 8193 KiB: No space left on device)";
	const char *disk = new_image("small.img", 1 << 20);
	const struct guest_case cases[] = {
		{"mount",
	         "mount -t ext4 /dev/nvme0n1 /mnt && df /mnt | tail -n 1 >/tmp/df",
	         0,
	         {NULL}},
		{"new", "NVME_TRACE=/mnt/new.nvt hello_world", 0, {refused, "Hello world!"}},
		{"no more used", "df /mnt | tail -n 1 | cmp - /tmp/df", 0, {NULL}},
		{"fits",
	         "NVME_TRACE=/mnt/old.nvt NVME_TRACE_SLOTS=3000 hello_world && cp /mnt/old.nvt "
	         "/tmp",
	         0,
	         {"Hello world!"}},
		{"old", "NVME_TRACE=/mnt/old.nvt hello_world", 0, {refused, "Hello world!"}},
		{"old is there", "cmp /mnt/old.nvt /tmp/old.nvt", 0, {NULL}},
		{"few pages left",
	         "dd if=/dev/zero of=/mnt/fill bs=1k 2>/dev/null; rm /mnt/old.nvt; "
	         "dd if=/dev/zero of=/mnt/fill2 bs=1k count=366 2>/dev/null; "
	         "NVME_TRACE=/mnt/new.nvt hello_world",
	         0,
	         {refused, "Hello world!"}},
	};
	char args[256];
	struct result r;

	(void)state;
	run(&r, "/sbin/mke2fs -q -t ext4 %s 2>&1", disk);
	expect_status(&r, 0);
	done(&r);
	snprintf(args, sizeof(args), "--disk %s", disk);
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- --lint ---- */

/* A run that is recorded, in a file that holds it all or goes round, and lints without a word. */
#define LINT(what, slots)                                                                      \
	"NVME_TRACE=/tmp/t.nvt NVME_TRACE_SLOTS=" slots " run_io " what " >/tmp/log 2>&1 || {" \
	" tail /tmp/log; false; } && nvtrace --lint /tmp/t.nvt"
#define ADDR2 "0000:00:04.0"
#define CLEAN                       \
	{                           \
		"no mistakes found" \
	}

static void test_lint(void **state)
{
	const struct guest_case one[] = {
		{"pattern", LINT("pattern " ADDR " 10", "65536"), 0, CLEAN},
		{"pattern, round", LINT("pattern " ADDR " 10", "100"), 0, CLEAN},
		{"async", LINT("async " ADDR " 20", "65536"), 0, CLEAN},
		{"async, round", LINT("async " ADDR " 20", "100"), 0, CLEAN},
		{"threads", LINT("threads " ADDR " 30", "65536"), 0, CLEAN},
		{"threads, round", LINT("threads " ADDR " 30", "100"), 0, CLEAN},
		{"depth 2", LINT("depth " ADDR " 2", "65536"), 0, CLEAN},
		{"depth 16", LINT("depth " ADDR " 16", "65536"), 0, CLEAN},
		{"depth 16, round", LINT("depth " ADDR " 16", "100"), 0, CLEAN},
		{"limits", LINT("limits " ADDR, "65536"), 0, CLEAN},
		{"limits, round", LINT("limits " ADDR, "100"), 0, CLEAN},
		{"vfio", LINT("vfio " ADDR " 50", "65536"), 0, CLEAN},
		{"vfio, round", LINT("vfio " ADDR " 50", "100"), 0, CLEAN},
		{"format", LINT("format " ADDR " 60", "65536"), 0, CLEAN},
		{"soak, round", LINT("soak " ADDR " 70", "3000"), 0, CLEAN},
	};
	const struct guest_case two[] = {
		{"pattern", LINT("pattern " ADDR " 10 " ADDR2, "65536"), 0, CLEAN},
		{"pattern, round", LINT("pattern " ADDR " 10 " ADDR2, "100"), 0, CLEAN},
		{"async", LINT("async " ADDR " 20 " ADDR2, "65536"), 0, CLEAN},
		{"async, round", LINT("async " ADDR " 20 " ADDR2, "100"), 0, CLEAN},
		{"threads", LINT("threads " ADDR " 30 " ADDR2, "65536"), 0, CLEAN},
		{"threads, round", LINT("threads " ADDR " 30 " ADDR2, "100"), 0, CLEAN},
		{"depth 16", LINT("depth " ADDR " 16 " ADDR2, "65536"), 0, CLEAN},
		{"depth 16, round", LINT("depth " ADDR " 16 " ADDR2, "100"), 0, CLEAN},
		{"limits", LINT("limits " ADDR " 0 " ADDR2, "65536"), 0, CLEAN},
		{"limits, round", LINT("limits " ADDR " 0 " ADDR2, "100"), 0, CLEAN},
		{"vfio", LINT("vfio " ADDR " 50 " ADDR2, "65536"), 0, CLEAN},
	};
	char args[256];
	struct result r;

	(void)state;
	snprintf(args, sizeof(args), "--trace %s/qemu.log --disk %s --bind", dir,
	         new_image("a.img", 16 << 20));
	run_cases(args, one, sizeof(one) / sizeof(one[0]));
	/* QEMU's log of it is judged too, as far as it can only be of one controller */
	run(&r, "$BUILD/nvtrace --lint %s/qemu.log", dir);
	expect_status(&r, 0);
	done(&r);
	run(&r,
	    "sed -i '/doorbell_cq cqid 1 /d; /addr 0x100c data/d' %s/qemu.log && "
	    "$BUILD/nvtrace --lint %s/qemu.log",
	    dir, dir);
	expect_status(&r, 1);
	expect_in(&r, r.out, "queue 1: CQ head never rung: ");
	done(&r);
	snprintf(args, sizeof(args), "--trace %s/qemu.log --disk %s --disk %s --bind", dir,
	         new_image("a.img", 16 << 20), new_image("b.img", 16 << 20));
	run_cases(args, two, sizeof(two) / sizeof(two[0]));
	run(&r, "$BUILD/nvtrace --lint %s/qemu.log", dir);
	expect_status(&r, 3); /* of two it is read up to where the second begins */
	assert_string_equal(r.out, "");
	expect_in(&r, r.err, "here a second controller begins");
	done(&r);
}

static void test_enumerate(void **state)
{
	char args[256];
	const struct guest_case cases[] = {
		{"kernel",
	         "run_io list",
	         0,
	         {ADDR " 1b36:0010 010802 driver 'nvme' group 1 node -1\n",
	          "0000:00:04.0 1b36:0010 010802 driver 'nvme' group 2 node -1\n"}},
		{"vfio",
	         "nvme-bind bind " ADDR " && run_io list",
	         0,
	         {ADDR " 1b36:0010 010802 driver 'vfio-pci' group 1"}},
		{"none",
	         "echo 0000:00:04.0 >/sys/bus/pci/drivers/nvme/unbind; run_io list",
	         0,
	         {"0000:00:04.0 1b36:0010 010802 driver '' group 2"}},
	};

	(void)state;
	snprintf(args, sizeof(args), "--disk %s --disk %s", new_image("a.img", 1 << 20),
	         new_image("b.img", 1 << 20));
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

/* All that vfio-pci holds are attached, at once and in turn; what the kernel has it keeps. */
static void test_probe(void **state)
{
	char args[512];
	const struct guest_case cases[] = {
		{"nothing bound", "probe all", 1, {"no controller is bound to vfio-pci"}},
		{"two of three",
	         "nvme-bind bind " ADDR " 0000:00:05.0 && NVME_LOG=info probe all",
	         0,
	         {ADDR ": QEMU NVMe Ctrl, serial number nvmeh-0, 1 namespace, 1 MB",
	          "0000:00:05.0: QEMU NVMe Ctrl, serial number nvmeh-2, 1 namespace, 3 MB",
	          ADDR2 " is left alone: it is bound to nvme"}},
		{"and no third", "probe all | grep -c serial", 0, {"2\n"}},
		{"in turn",
	         "hello_world all",
	         0,
	         {"Attaching to " ADDR "\nAttaching to 0000:00:05.0\nAttached to " ADDR "\n",
	          "Attached to 0000:00:05.0\n",
	          "Hello world!\nhello_world: namespace 1 of 0000:00:05.0 ", "IO\nHello world!\n"}},
		{"one that the kernel has",
	         "probe " ADDR " " ADDR2 " " ADDR " 0000:00:05.0",
	         1,
	         {ADDR ": QEMU", ADDR2 ": failed: ", "0000:00:05.0: QEMU"}},
		{"of the kernel",
	         "readlink /sys/bus/pci/devices/" ADDR2 "/driver; wc -c </dev/nvme1n1",
	         0,
	         {"/nvme\n2097152\n"}},
	};

	(void)state;
	snprintf(args, sizeof(args), "--disk %s --disk %s --disk %s", new_image("a.img", 1 << 20),
	         new_image("b.img", 2 << 20), new_image("c.img", 3 << 20));
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- where attach spends its time ---- */

/* The commands of docs/performance.md say what the text says of them, but for the times. */
static void test_attach_steps(void **state)
{
	static const char *const calls[] = {
		"vfio_pci_core_enable",  "pcie_flr()", "msleep()",
		"vfio_pci_core_disable", "pcie_flr()", "msleep()",
	};
	const char *at;
	struct result r;
	size_t i;

	(void)state;
	run(&r, "unset MAKEFLAGS; awk '/^## /{here=/Where attach/} "
	        "/^```/{code=here&&/^```sh$/;next} code' "
	        "docs/performance.md | sh -e");
	expect_status(&r, 0);
	at = expect_in(&r, r.out, "the first attach: ");
	at = expect_in(&r, at, "detach: the rest");
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		at = expect_in(&r, at, calls[i]);
	at = expect_in(&r, at, "attach: open the function");
	at = expect_in(&r, at, "read one block");
	expect_in(&r, at, "detach: close the function");
	done(&r);
}

/* ---- taking over ---- */

static void test_killed_and_busy(void **state)
{
	const struct guest_case cases[] = {
		{"start",
	         "run_io hold " ADDR " >/tmp/log & "
	         "until grep -q holding /tmp/log; do sleep 0.1; done",
	         0,
	         {NULL}},
		{"busy", "hello_world " ADDR, 1, {"IOMMU group", "in use by process", "(run_io)"}},
		{"reset refused", "nvme-bind reset " ADDR, 1, {"(run_io)"}},
		{"kill", "kill -9 $!; wait; true", 0, {NULL}},
		{"taken over", "hello_world " ADDR, 0, {"Hello world!"}},
	};

	(void)state;
	run_cases("--bind", cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- nvme-bind ---- */

static void test_bind_round_trip(void **state)
{
	const char *disk = new_image("ext4.img", 32 << 20);
	const struct guest_case cases[] = {
		{"mount", "mount -t ext4 /dev/nvme0n1 /mnt && echo keep >/mnt/file", 0, {NULL}},
		{"status", "nvme-bind status", 0, {ADDR, "1b36:0010", "nvme0n1", "/mnt"}},
		{"refused",
	         "nvme-bind bind " ADDR,
	         1,
	         {"nvme0n1 is mounted on /mnt", "umount /mnt"}},
		{"nothing changed",
	         "cat /mnt/file; basename $(readlink /sys/bus/pci/devices/" ADDR "/driver)",
	         0,
	         {"keep\nnvme\n"}},
		{"umount", "umount /mnt", 0, {NULL}},
		{"bind", "nvme-bind bind " ADDR, 0, {"vfio-pci"}},
		{"again", "nvme-bind bind 00:03.0", 0, {"already"}},
		{"status vfio", "nvme-bind status", 0, {ADDR, "vfio-pci"}},
		{"hello_world refuses",
	         "hello_world " ADDR,
	         1,
	         {"an ext2, ext3 or ext4 file system"}},
		{"reset", "nvme-bind reset " ADDR, 0, {"nvme0n1"}},
		{"still there",
	         "mount -t ext4 /dev/nvme0n1 /mnt && cat /mnt/file && umount /mnt",
	         0,
	         {"keep"}},
	};
	char args[256];
	struct result r;

	(void)state;
	run(&r, "/sbin/mke2fs -q -t ext4 %s", disk);
	expect_status(&r, 0);
	done(&r);
	snprintf(args, sizeof(args), "--disk %s", disk);
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_bind_refuses(void **state)
{
	const struct guest_case cases[] = {
		{"swap",
	         "mkswap /dev/nvme0n1 >/dev/null && swapon /dev/nvme0n1 && "
	         "nvme-bind bind " ADDR,
	         1,
	         {"nvme0n1 is used as swap space", "swapoff"}},
		{"swap off", "swapoff /dev/nvme0n1", 0, {NULL}},
		{"holder",
	         "modprobe dm-mod; echo \"0 2048 linear /dev/nvme0n1 0\" | "
	         "dmsetup create --noudevsync vol; nvme-bind bind " ADDR,
	         1,
	         {"nvme0n1 is below dm-0", "dmsetup remove vol"}},
		{"holder gone", "dmsetup remove --noudevsync vol", 0, {NULL}},
		{"open",
	         "sleep 1000 </dev/nvme0n1 & nvme-bind bind " ADDR,
	         1,
	         {"has /dev/nvme0n1 open"}},
		{"closed", "kill $!; wait; true", 0, {NULL}},
		{"other namespace",
	         "unshare -m sh -c \"mkfs.ext4 -q /dev/nvme0n1 && "
	         "mount -t ext4 /dev/nvme0n1 /mnt && touch /tmp/up && sleep 1000\" & "
	         "until [ -e /tmp/up ]; do sleep 0.1; done; nvme-bind bind " ADDR,
	         1,
	         {"mounted on /mnt", "namespace of process"}},
		{"nothing changed",
	         "basename $(readlink /sys/bus/pci/devices/" ADDR "/driver)",
	         0,
	         {"nvme"}},
		{"no device", "nvme-bind bind 00:09.0", 1, {"no PCI device"}},
		{"not NVMe", "nvme-bind bind 00:1f.2", 1, {"no NVMe controller"}},
		{"not root", "su student -c \"nvme-bind bind " ADDR "\"", 1, {"sudo"}},
		{"bad address", "nvme-bind bind 3.0", 2, {"3.0"}},
		{"bad command", "nvme-bind frob", 2, {"frob"}},
		{"no command", "nvme-bind", 2, {"Usage"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

/* Uses that do not show as an open file called /dev/nvme0n1. "refused" ends the last user. */
static void test_bind_hidden_uses(void **state)
{
	const struct guest_case cases[] = {
		{"functions",
	         "use() { use_disk $1 $2 >/tmp/up & until [ -s /tmp/up ]; do sleep 0.1; done; "
	         "rm /tmp/up; }; "
	         "refused() { nvme-bind bind " ADDR "; rc=$?; kill -9 $!; wait; return $rc; }; "
	         "mknod /tmp/node b $(tr : \" \" </sys/block/nvme0n1/dev)",
	         0,
	         {NULL}},
		{"other node",
	         "use open /tmp/node; refused",
	         1,
	         {"(use_disk) has /dev/nvme0n1 open as /tmp/node; end it (\"kill "}},
		{"mapped",
	         "use map /dev/nvme0n1; refused",
	         1,
	         {"(use_disk) has /dev/nvme0n1 mapped;"}},
		{"mapped elsewhere",
	         "use map /tmp/node; refused",
	         1,
	         {"has /dev/nvme0n1 mapped as /tmp/node;"}},
		{"of a thread", "use thread /dev/nvme0n1; refused", 1, {"has /dev/nvme0n1 open;"}},
		{"exclusive",
	         "use claim /dev/nvme0n1; refused",
	         1,
	         {"(use_disk) has /dev/nvme0n1 open"}},
		{"deleted node",
	         "cp -a /tmp/node /tmp/gone; use open /tmp/gone; rm /tmp/gone; refused",
	         1,
	         {"has /dev/nvme0n1 open as /tmp/gone (deleted)"}},
		{"a /dev of its own",
	         "unshare -m sh -c \"mount -t tmpfs none /dev && cp -a /tmp/node /dev/disk && "
	         "exec use_disk open /dev/disk\" >/tmp/up & "
	         "until [ -s /tmp/up ]; do sleep 0.1; done; rm /tmp/up; refused",
	         1,
	         {"has /dev/nvme0n1 open as /dev/disk"}},
		{"controller", "use open /dev/nvme0; refused", 1, {"has /dev/nvme0 open;"}},
		{"generic", "use open /dev/ng0n1; refused", 1, {"has /dev/ng0n1 open;"}},
		{"partition",
	         "printf \"n\\np\\n1\\n\\n\\nw\\n\" | fdisk /dev/nvme0n1 >/dev/null; "
	         "mknod /tmp/part b $(tr : \" \" </sys/class/block/nvme0n1p1/dev); "
	         "use map /tmp/part; refused",
	         1,
	         {"has /dev/nvme0n1p1 mapped as /tmp/part"}},
		{"loop",
	         "modprobe loop; losetup /dev/loop0 /tmp/part && rm /tmp/part && "
	         "nvme-bind bind " ADDR,
	         1,
	         {"nvme0n1p1 is below the loop device loop0; run \"losetup -d /dev/loop0\""}},
		{"loop gone", "losetup -d /dev/loop0", 0, {NULL}},
		{"exported",
	         "modprobe nvmet && mount -t configfs none /sys/kernel/config; "
	         "ns=/sys/kernel/config/nvmet/subsystems/mine/namespaces/1; "
	         "mkdir ${ns%%/namespaces*} $ns && echo /tmp/node >$ns/device_path && "
	         "echo 1 >$ns/enable && nvme-bind bind " ADDR,
	         1,
	         {"nvme0n1 is exported by the NVMe target; run \"echo 0 "
	          ">/sys/kernel/config/nvmet/subsystems/mine/namespaces/1/enable\""}},
		{"exported under another name",
	         "mv /tmp/node /tmp/moved; nvme-bind bind " ADDR,
	         1,
	         {"exports /tmp/node, which may be this disk"}},
		{"no longer", "echo 0 >$ns/enable; mv /tmp/moved /tmp/node", 0, {NULL}},
		{"node missing",
	         "mv /dev/nvme0n1 /tmp/away; nvme-bind bind " ADDR,
	         1,
	         {"/dev/nvme0n1 cannot be opened (No such file", "run \"udevadm trigger\""}},
		{"node of another device",
	         "cp -a /dev/loop0 /dev/nvme0n1; nvme-bind bind " ADDR,
	         1,
	         {"/dev/nvme0n1 is not the node of the disk nvme0n1"}},
		{"node back", "rm /dev/nvme0n1; mv /tmp/away /dev/nvme0n1", 0, {NULL}},
		{"container",
	         "unshare -p -f --mount-proc nvme-bind bind " ADDR,
	         1,
	         {"outside of this container", "on the host"}},
		{"nothing changed",
	         "basename $(readlink /sys/bus/pci/devices/" ADDR "/driver); "
	         "cat /sys/bus/pci/devices/" ADDR "/driver_override",
	         0,
	         {"nvme\n(null)\n"}},
		{"free", "nvme-bind bind " ADDR, 0, {"is now bound to vfio-pci"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

/* Nothing of this concerns the first disk. */
static void test_bind_false_alarms(void **state)
{
	char args[256];
	const struct guest_case cases[] = {
		{"users of the other disk",
	         "mkfs.ext4 -q /dev/nvme1n1 && mount -t ext4 /dev/nvme1n1 /mnt && "
	         "mknod /mnt/node b $(tr : \" \" </sys/block/nvme1n1/dev) && "
	         "mknod /mnt/char c $(tr : \" \" </sys/block/nvme0n1/dev) && "
	         "dd if=/dev/zero of=/mnt/file bs=1M count=1 2>/dev/null; "
	         "use_disk open /dev/nvme1n1 & use_disk map /mnt/node & use_disk open /dev/nvme1 & "
	         "use_disk thread /dev/ng1n1 & use_disk map /bin/busybox & sleep 1",
	         0,
	         {"ready\nready\nready\nready\nready\n"}},
		{"loop and export",
	         "modprobe loop && losetup /dev/loop0 /mnt/node && losetup /dev/loop1 /mnt/file && "
	         "modprobe nvmet && mount -t configfs none /sys/kernel/config && "
	         "s=/sys/kernel/config/nvmet/subsystems/mine && mkdir $s && "
	         "for i in 1 2 3; do mkdir $s/namespaces/$i; done && "
	         "echo /mnt/file >$s/namespaces/1/device_path && "
	         "echo /mnt/node >$s/namespaces/2/device_path && "
	         "echo /dev/nvme0n1 >$s/namespaces/3/device_path && "
	         "echo 1 >$s/namespaces/1/enable && echo 1 >$s/namespaces/2/enable",
	         0,
	         {NULL}},
		{"status", "nvme-bind status | sed -n \"2,3p\"", 0, {"nvme0n1 64M\n0000:00:04.0"}},
		{"bind", "nvme-bind bind " ADDR, 0, {"is now bound to vfio-pci (before: nvme)"}},
		{"other", "nvme-bind bind 0000:00:04.0", 1, {"nvme1n1 is mounted on /mnt"}},
		{"reset", "nvme-bind reset " ADDR, 0, {"back with the kernel"}},
		{"again", "nvme-bind bind " ADDR, 0, {"is now bound to vfio-pci (before: nvme)"}},
	};

	(void)state;
	snprintf(args, sizeof(args), "--size 64M --disk %s --disk %s", image("first.img"),
	         image("second.img"));
	run_cases(args, cases, sizeof(cases) / sizeof(cases[0]));
}

/* Mounts that come between the first look at the disk and the unbinding. */
static void test_bind_races(void **state)
{
	const struct guest_case cases[] = {
		{"mounted after the first look",
	         "mkfs.ext4 -q /dev/nvme0n1; export PERL5OPT=\"-I/lab -MSlip\"; "
	         "SLIP=between nvme-bind bind " ADDR,
	         1,
	         {"is in use: nvme0n1 is claimed by something in the kernel"}},
		{"nothing changed",
	         "cat /tmp/slip; umount /mnt; "
	         "basename $(readlink /sys/bus/pci/devices/" ADDR "/driver); "
	         "cat /sys/bus/pci/devices/" ADDR "/driver_override",
	         0,
	         {"mounted\nnvme\n(null)\n"}},
		{"mounted during the last look",
	         "SLIP=within nvme-bind bind " ADDR " && cat /tmp/slip",
	         0,
	         {"is now bound to vfio-pci", "\nnot mounted\n"}},
	};

	(void)state;
	run_cases("--copy tests/fixtures/Slip.pm", cases, sizeof(cases) / sizeof(cases[0]));
}

/* A bad argument is refused before the disk leaves the kernel. */
static void test_bind_user(void **state)
{
	const struct guest_case cases[] = {
		{"option", "nvme-bind bind --user -n " ADDR, 2, {"\"-n\" is none"}},
		{"option in one", "nvme-bind bind --user=-n " ADDR, 2, {"\"-n\" is none"}},
		{"empty", "nvme-bind bind --user \"\" " ADDR, 2, {"\"\" is none"}},
		{"unknown", "nvme-bind bind --user nobody " ADDR, 1, {"no user \"nobody\""}},
		{"several", "nvme-bind bind --user \"root student\" " ADDR, 1, {"no user \"root"}},
		{"nothing changed",
	         "basename $(readlink /sys/bus/pci/devices/" ADDR "/driver)",
	         0,
	         {"nvme\n"}},
		{"no Perl",
	         "mv /usr/bin/perl /tmp; nvme-bind bind " ADDR "; rc=$?; mv /tmp/perl /usr/bin; "
	         "(exit $rc)",
	         1,
	         {"perl is missing", "perl-base"}},
		{"known", "nvme-bind bind --user student " ADDR, 0, {"which student may open"}},
		{"can use it", "su student -c \"hello_world " ADDR "\"", 0, {"Hello world!"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- what can go wrong with attach ---- */

static void test_attach_failures(void **state)
{
	const struct guest_case cases[] = {
		{"bad address", "hello_world nonsense", 1, {"is not a PCI address", "0000:01:00.0"}},
		{"no device", "hello_world 0000:00:1e.0", 1, {"no PCI device at this address"}},
		{"not NVMe", "hello_world 0000:00:1f.2", 1, {"not an NVMe controller", "010601h"}},
		{"kernel driver",
	         "hello_world " ADDR,
	         1,
	         {"still bound to the kernel's nvme driver", "tools/nvme-bind bind " ADDR}},
		{"unbind", "echo " ADDR " >/sys/bus/pci/drivers/nvme/unbind", 0, {NULL}},
		{"no driver",
	         "hello_world " ADDR,
	         1,
	         {"no driver is bound", "tools/nvme-bind bind"}},
		{"bind", "nvme-bind bind " ADDR, 0, {NULL}},
		{"no permission",
	         "su student -c \"hello_world " ADDR "\"",
	         1,
	         {"no permission to open /dev/vfio/", "chown 1000 /dev/vfio/"}},
		{"chown", "chown student /dev/vfio/[0-9]*", 0, {NULL}},
		{"as a user",
	         "su student -c \"ulimit -l 8192; hello_world " ADDR "\"",
	         0,
	         {"Hello world!"}},
		{"no container",
	         "mv /dev/vfio/vfio /dev/vfio/away; hello_world " ADDR,
	         1,
	         {"cannot open /dev/vfio/vfio", "modprobe vfio"}},
		{"container", "mv /dev/vfio/away /dev/vfio/vfio; hello_world " ADDR, 0, {"Hello"}},
		{"bad NVME_LOG", "NVME_LOG=loud hello_world " ADDR, 0, {"NVME_LOG=loud", "debug"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

/* Following the advice once is enough, and it is printed once. */
static void test_attach_limits(void **state)
{
	const struct guest_case cases[] = {
		{"bind", "nvme-bind bind --user student " ADDR, 0, {NULL}},
		{"memlock",
	         "su student -c \"ulimit -l 64; hello_world " ADDR
	         " >/dev/null\" 2>&1 | tee /tmp/log; "
	         "[ $(wc -l </tmp/log) = 1 ]",
	         0,
	         {"cannot lock 256 KiB", "the limit is 64 KiB", "--memlock=1074003968 --pid $$",
	          "- memlock 1048832"}},
		{"memlock raised",
	         "su student -c \"ulimit -l 64; echo \\$\\$ >/tmp/pid; until [ -e /tmp/go ]; do "
	         "sleep 0.1; done; hello_world " ADDR " && run_io pattern " ADDR
	         " 5 && run_io depth " ADDR " 64\" & "
	         "until [ -s /tmp/pid ]; do sleep 0.1; done; "
	         "$(grep -o \"prlimit --memlock=[0-9]* --pid\" /tmp/log) $(cat /tmp/pid) && "
	         "touch /tmp/go && wait $!",
	         0,
	         {"Hello world!"}},
		{"files",
	         "for n in 4 5 6 7 8; do "
	         "su student -c \"ulimit -S -n $n; hello_world --force " ADDR
	         "\" 2>/tmp/log >/dev/null || "
	         "{ grep \"ulimit -S -n $((n + 64))\" /tmp/log && [ $(wc -l </tmp/log) = 1 ]; } || "
	         "{ cat /tmp/log; false; } || exit; done",
	         0,
	         {"all 4 files that this process may have open are in use: close some of them, or "
	          "run 'ulimit -S -n 68' in the shell",
	          "all 5 files"}},
		{"files raised",
	         "su student -c \"ulimit -S -n 4; ulimit -S -n 68; hello_world --force " ADDR "\"",
	         0,
	         {"Hello world!"}},
		{"files, hard limit",
	         "su student -c \"ulimit -n 5; hello_world " ADDR "\"",
	         1,
	         {"run 'sudo prlimit --nofile=69 --pid $$' in the shell"}},
	};

	(void)state;
	run_cases("", cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_attach_no_type1(void **state)
{
	const struct guest_case cases[] = {
		{"bind", "nvme-bind bind " ADDR, 0, {NULL}},
		{"no type1",
	         "rmmod vfio_iommu_type1; mount --bind /tmp /lib/modules; "
	         "hello_world " ADDR,
	         1,
	         {"no type1 IOMMU backend", "modprobe"}},
	};

	(void)state;
	run_cases("--no-vfio", cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_attach_no_iommu(void **state)
{
	const struct guest_case cases[] = {
		{"driver",
	         "hello_world " ADDR,
	         1,
	         {"in no IOMMU group", "(Intel; AMD needs no option)"}},
		{"bind", "nvme-bind bind " ADDR, 1, {"no IOMMU group", "intel_iommu=on"}},
	};

	(void)state;
	run_cases("--no-iommu", cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_attach_group(void **state)
{
	const struct guest_case cases[] = {
		{"bind one", "nvme-bind bind " ADDR, 1, {"0000:00:03.1"}},
		{"not viable", "hello_world " ADDR, 1, {"not viable", "0000:00:03.1 (nvme)"}},
		{"bind other", "nvme-bind bind 0000:00:03.1", 0, {NULL}},
		{"viable", "hello_world " ADDR " && hello_world 0000:00:03.1", 0, {"Hello world!"}},
	};

	(void)state;
	run_cases("--group", cases, sizeof(cases) / sizeof(cases[0]));
}

/* Each wait of the example ends by an interrupt, or not at all; the device has 65 vectors, or 2. */
static void test_interrupts(void **state)
{
	const struct guest_case cases[] = {
		{"wakes",
	         "interrupts " ADDR,
	         0,
	         {"64 blocks were read, and every look found something"}},
		{"counted", "grep vfio-msix /proc/interrupts || echo none left", 0, {"none left"}},
		{"again", "interrupts " ADDR, 0, {"64 blocks were read"}},
	};

	(void)state;
	run_cases("--bind", cases, sizeof(cases) / sizeof(cases[0]));
	run_cases("--bind --nvme msix_qsize=2", cases, 1);
}

/* What QEMU's controller tells unasked, some of it because its monitor wants it so. */
static void test_events(void **state)
{
	static const char warn[] = "qom-set /machine/peripheral/nvme0 smart_critical_warning";
	struct result r;

	(void)state;
	run(&r,
	    "truncate -s 16M %s/one.img %s/two.img; tools/vm --multipath --disk %s/one.img --ns %s/two.img --bind "
	    "--on 'masked=%s 2' --on 'unmasked=%s 6' -- run_io events " ADDR,
	    dir, dir, dir, dir, warn, warn);
	expect_status(&r, 0);
	expect_in(&r, r.out, "checks passed");
	expect_in(&r, r.err, "ERROR STATUS: INVALID DOORBELL REGISTER (0/00) log page:01");
	expect_in(&r, r.err, "NOTICE: NAMESPACE ATTRIBUTE CHANGED (2/00) log page:04");
	expect_in(&r, r.err, "SMART: critical warning 06h temperature reliability");
	done(&r);
	/* each event once, the next request at once; no completion comes at the detach */
	run(&r,
	    "NVME_TRACE=/tmp/t tools/vm --size 16M --bind --on 'waiting for events=%s 4' --on "
	    "'event 1: SMART / HEALTH STATUS: NVM SUBSYSTEM RELIABILITY (1/00) log page:02=%s 6' "
	    "-- sh -c 'aer -t 4 " ADDR " && nvtrace --lint /tmp/t && nvtrace /tmp/t'",
	    warn, warn);
	expect_status(&r, 0);
	expect_in(&r, r.out, "event 2: SMART / HEALTH STATUS: TEMPERATURE THRESHOLD (1/01)");
	expect_in(&r, r.out, "\n2 events\n");
	expect_in(&r, r.out, "SMART: critical warning 06h");
	expect_in(&r, r.err, "aborting outstanding command");
	done(&r);
}

/* Resets over VFIO: by the caller, after a fatal status, and one that nobody announced. */
static void test_reset(void **state)
{
	const struct guest_case cases[] = {
		{"example", /* without build/ it would be busybox's */
	         "build/reset " ADDR,
	         0,
	         {"the controller was reset\n", "queue 2: works, 4 reads complete, 0 aborted"}},
		{"resubmit",
	         "build/reset --resubmit " ADDR,
	         0,
	         {"queue 1: works, 4 reads complete, 0 aborted\nqueue 2: works, 4 reads"}},
		{"subsystem", "build/reset --subsystem " ADDR, 1, {"CAP.NSSRS = 0"}},
	};
	bool crashed = true;
	struct result r;
	int tries;

	(void)state;
	run_cases("--size 16M --bind", cases, sizeof(cases) / sizeof(cases[0]));
	/* at times QEMU 7.2 ends in a segmentation fault when CC.EN becomes 0 with writes on their way */
	for (tries = 0; tries < 6 && crashed; tries++) {
		run(&r, "tools/vm --size 16M --bind -- run_io reset " ADDR " 11");
		crashed = strstr(r.err, "Segmentation fault") != NULL &&
		          strstr(r.err, "exit status 139") != NULL;
		if (!crashed) {
			expect_status(&r, 0);
			expect_in(&r, r.out, "322 checks passed");
		}
		done(&r);
	}
	print_message("QEMU crashed %d times\n", tries - 1);
	assert_false(crashed);
}

/* A disk so slow that reads are late. QEMU says of each Abort that it did nothing. */
static void test_timeouts(void **state)
{
	const struct guest_case cases[] = {
		{"callback",
	         "timeouts " ADDR,
	         0,
	         {"does not come back: it is to be aborted", "the controller has not aborted it",
	          "the queue pair was ended by a reset", "the controller works"}},
		{"ladder",
	         "timeouts --ladder " ADDR,
	         0,
	         {"is late: the controller is reset", "resetting controller",
	          "a read ends: ABORTED - SQ DELETION", "the controller works"}},
		{"no abort", "timeouts --ladder " ADDR " | grep -c asked", 1, {"0"}},
	};

	(void)state;
	run_cases("--size 16M --bind --drive throttling.iops-total=20", cases,
	          sizeof(cases) / sizeof(cases[0]));
}

/* Doorbells in memory: QEMU's controller sees them all. */
static void test_shadow(void **state)
{
	const struct guest_case cases[] = {
		{"async", "run_io shadow-async " ADDR, 0, {"checks passed"}},
		{"threads", "run_io shadow-threads " ADDR, 0, {"checks passed"}},
		{"soak", "run_io shadow-soak " ADDR " 50", 0, {"checks passed"}},
	};

	(void)state;
	run_cases("--size 16M --bind", cases, sizeof(cases) / sizeof(cases[0]));
}

/* The last address of a line of QEMU's log, such as "addr=0xfd000000,"; 0: there is no such line. */
static uint64_t logged_addr(const char *log, const char *event)
{
	const char *at = log, *last = NULL;

	while ((at = strstr(at, event)) != NULL) {
		last = at;
		at += strlen(event);
	}
	last = last != NULL ? strstr(last, "0x") : NULL;
	return last != NULL ? strtoull(last, NULL, 16) : 0;
}

/* What the example leaves: 8 blocks, and the same again; and that QEMU found both where it should. */
static void expect_cmb_copy(const char *disk, const char *log)
{
	size_t size, i;
	char *data = read_file(disk, &size), *qemu = read_file(log, NULL);
	uint64_t sq = logged_addr(qemu, "pci_nvme_create_sq "), addr;

	for (i = 0; i < 8 * 512; i++)
		assert_int_equal((uint8_t)data[i], (uint8_t)(i * 7 + i / 512));
	assert_memory_equal(data + 8 * 512, data, 8 * 512);
	for (i = 16 * 512; i < size; i++)
		assert_int_equal(data[i], 0);
	/* the submission queue and, a page behind it, the data of both commands are in the BAR */
	addr = logged_addr(qemu, "pci_nvme_map_addr_cmb ");
	assert_int_equal(addr, sq + 4096);
	assert_true(sq % (16 << 20) == 0 && sq != 0);
	free(data);
	free(qemu);
}

/*
 * The controller memory buffer in QEMU's BAR 2: as it is since NVMe 1.4 and as it was before, which
 * QEMU calls legacy; after the kernel's driver, which leaves CMBMSC switched on, and without that.
 */
static void test_cmb(void **state)
{
	static const struct {
		const char *args;
		bool legacy;
	} rows[] = {{"--nvme cmb_size_mb=16", false},
	            {"--nvme cmb_size_mb=16 --no-nvme", false},
	            {"--nvme cmb_size_mb=16,legacy-cmb=on", false},
	            {"--nvme cmb_size_mb=16,legacy-cmb=on --no-nvme", true}};
	char log[64];
	struct result r;
	size_t i;

	(void)state;
	snprintf(log, sizeof(log), "%s/cmb.log", dir);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *disk = new_image("cmb.img", 1 << 20);

		run(&r,
		    "tools/vm --disk %s --trace %s %s --bind -- sh -c 'NVME_TRACE=/tmp/c.nvt cmb "
		    "--force " ADDR
		    " && nvtrace --lint /tmp/c.nvt && dmesg | grep -ci dmar:.*fault'",
		    disk, log, rows[i].args);
		expect_in(&r,
		          expect_in(&r,
		                    expect_in(&r, r.out,
		                              "16384 KiB of controller memory at 0 KiB "
		                              "of BAR 2, for submission queues"),
		                    "The submission queue is in controller memory\n"),
		          "The copy is the same\n0\n");
		assert_true((strstr(r.out, "always on") != NULL) == rows[i].legacy);
		expect_in(&r, r.err, "no mistakes found");
		expect_cmb_copy(disk, log);
		done(&r);
	}
}

/* The same with much more of it, and what it does not have. */
static void test_cmb_io(void **state)
{
	const char *disk = new_image("cmb-io.img", 16 << 20);
	char args[256];
	const struct guest_case queues[] = {
		{"async", "run_io cmb-async " ADDR, 0, {"checks passed"}},
		{"threads", "run_io cmb-threads " ADDR, 0, {"checks passed"}},
		{"scatter", "run_io cmb-scatter " ADDR, 0, {"checks passed"}},
	};
	/* QEMU sets CDPMLS, and yet does not mix */
	const struct guest_case data[] = {
		{"data",
	         "run_io cmb " ADDR " 40",
	         0,
	         {"INVALID CONTROLLER MEMORY BUFFER (00/12)",
	          "host and controller memory in one command: an error", "checks passed"}},
	};
	const struct guest_case none[] = {
		{"none", "cmb --force " ADDR, 1, {"has no controller memory buffer"}},
		{"refused", "run_io cmb-async " ADDR, 1, {"CMB not available"}},
	};

	(void)state;
	run_cases("--size 16M --nvme cmb_size_mb=16 --bind", queues, 3);
	snprintf(args, sizeof(args), "--disk %s --nvme cmb_size_mb=16 --bind", disk);
	run_cases(args, data, 1);
	expect_pattern(disk, 512, 40);
	run_cases("--size 16M --bind", none, 2);
}

/* ---- controllers that come and go ---- */

#define PORT_ADDR "0000:01:00.0"

/* What the scripts below share: waiting, at most half a minute. */
static const char removal_sh[] =
	"try() { n=300; until eval \"$1\" || [ $n -eq 0 ]; do sleep 0.1; n=$((n-1)); done; test $n -gt 0; }\n"
	"says() { try \"grep -q \\\"$1\\\" /tmp/log\" && echo \"$1: yes\"; }\n"
	"dev=/sys/bus/pci/devices/" PORT_ADDR "\n"
	"watch() { hotplug -t 600 all >/tmp/log 2>/tmp/err & pid=$!; says \"is there\"; sleep 0.5; }\n";

static void write_script(const char *name, const char *script)
{
	FILE *file = fopen(image(name), "w");

	assert_non_null(file);
	assert_true(fprintf(file, "%s%s", removal_sh, script) > 0);
	assert_int_equal(fclose(file), 0);
}

/* Pulled out while it is read from, plugged in again, taken from vfio-pci, reset by another hand. */
static void test_removal(void **state)
{
	static const char script[] =
		"watch; echo pull\n"
		"says \"is asked for\"; says \"is detached\"; try \"test ! -e $dev\" && echo it left\n"
		"echo plug\n"
		"try \"test -e $dev/driver\"; nvme-bind bind " PORT_ADDR " >/dev/null\n"
		"try \"test \\$(grep -c there /tmp/log) = 2\" && echo it came back\n"
		"kill -0 $pid && echo alive; sleep 0.5\n"
		"echo " PORT_ADDR " >/sys/bus/pci/drivers/vfio-pci/unbind && echo unbound\n"
		"try \"test \\$(grep -c detached /tmp/log) = 2\"; kill $pid; wait; cat /tmp/log /tmp/err\n"
		"nvme-bind bind " PORT_ADDR " >/dev/null; hello_world " PORT_ADDR "\n"
		"dmesg | grep -c \"No device request channel\" || true\n"
		"watch; echo 1 >$dev/reset; says \"is detached\"; kill $pid; cat /tmp/err\n";
	struct result r;
	const char *at;

	(void)state;
	write_script("removal.sh", script);
	run(&r,
	    "tools/vm --hotplug --bind --on 'pull=device_del nvme0' "
	    "--on 'plug=drive_add 0 if=none,id=new,driver=null-co,read-zeroes=on,size=16M' "
	    "--on 'plug=device_add nvme,id=nvme9,drive=new,serial=again,bus=port0' "
	    "--copy %s -- sh /lab/removal.sh",
	    image("removal.sh"));
	expect_status(&r, 0);
	at = expect_in(&r, r.out, "is there: yes\npull\nis asked for: yes\nis detached: yes\n");
	at = expect_in(&r, at, "it left\nplug\nit came back\nalive\nunbound\n");
	at = expect_in(&r, at, PORT_ADDR " is there\n" PORT_ADDR " is asked for\n");
	at = expect_in(&r, at, PORT_ADDR " is detached after ");
	at = expect_in(&r, at, PORT_ADDR " is there\n" PORT_ADDR " is asked for\n");
	at = expect_in(&r, at, PORT_ADDR " is detached after ");
	at = expect_in(&r, at, "the system wants the device back");
	at = expect_in(&r, at, "Initialization complete.\n");
	at = expect_in(&r, at, "\n0\nis there: yes\nis detached: yes\n");
	expect_in(&r, at, "the device is gone ("); /* it does not decode its registers any more */
	done(&r);
}

/*
 * The power of its slot goes off under it: its registers read as zeros in this machine. The kernel
 * would wait a minute for the reset of a device that is not there, so it is told not to try.
 */
static void test_surprise_removal(void **state)
{
	static const char script[] =
		"port=/sys/bus/pci/devices/0000:00:03.0/config\n"
		"byte() { printf %d 0x$(dd if=$port bs=1 skip=$1 count=1 2>/dev/null | hexdump -v -e \"/1 \\\"%02x\\\"\"); }\n"
		/* Slot Control of the PCI Express capability: power indicator and power off */
		"at=$(byte 52); while [ $(byte $at) != 16 ]; do at=$(byte $((at+1))); done\n"
		"$1 >/tmp/log 2>/tmp/err & pid=$!\n"
		"try \"ls -l /proc/$pid/fd | grep -q vfio-device\"; sleep 2; echo >$dev/reset_method\n"
		"printf \"\\007\" | dd of=$port bs=1 seek=$((at+25)) conv=notrunc 2>/dev/null\n"
		"wait $pid; echo \"status $?\"; cat /tmp/log /tmp/err\n";
	struct result r;
	const char *at;

	(void)state;
	write_script("surprise.sh", script);
	run(&r, "tools/vm --hotplug --bind --copy %s -- sh /lab/surprise.sh 'hotplug all'",
	    image("surprise.sh"));
	expect_status(&r, 0);
	at = expect_in(&r, r.out, "status 0\n" PORT_ADDR " is there\n" PORT_ADDR " is gone\n");
	at = expect_in(&r, at, PORT_ADDR " is detached after ");
	expect_in(&r, at, "the device is gone (its registers read FFFFFFFFh, or all 0)");
	done(&r);

	run(&r,
	    "tools/vm --hotplug --bind --copy %s -- "
	    "sh /lab/surprise.sh 'perf -q 4 -t 60 -r " PORT_ADDR "'",
	    image("surprise.sh"));
	expect_status(&r, 0);
	at = expect_in(&r, r.out, "status 1\n");
	expect_in(&r, at, "a queue pair has failed");
	done(&r);
}

/* What --hotplug and --on refuse. */
static void test_lab_hotplug(void **state)
{
	static const struct {
		const char *args, *says;
	} rows[] = {
		{"--hotplug --group -- true", "--hotplug and --group exclude each other"},
		{"--on pull -- true", "--on pull is not of the form LINE=DO"},
		{"--on =quit -- true", "--on =quit is not of the form LINE=DO"},
		{"--on", "--on needs a value"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "tools/vm %s", rows[i].args);
		expect_status(&r, 2);
		expect_in(&r, r.err, rows[i].says);
		done(&r);
	}
	run(&r,
	    "tools/vm --hotplug --size 1M --disk %s --disk null:4M --on one=nonsense "
	    "--on two=nonsense -- sh -c 'echo one; echo \"no  change\"; echo twofold; "
	    "printf two >&2; nvme-bind status; printf end'",
	    image("hot.img"));
	expect_status(&r, 0);
	expect_in(&r, r.out, "one\nno  change\ntwofold\n");
	expect_in(&r, r.out, "0000:01:00.0");
	expect_in(&r, r.out, "0000:02:00.0");
	assert_string_equal(r.out + strlen(r.out) - 3, "end");
	assert_string_equal(r.err, "twounknown command: 'nonsense'\n");
	done(&r);
}

/* Fetches the guest's kernel, if this is the first time, so that no test sees that. */
static int first_boot(void **state)
{
	return make_dir(state) != 0 || system("tools/vm -- true") != 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lab),
		cmocka_unit_test(test_lab_files),
		cmocka_unit_test(test_lab_hotplug),
		cmocka_unit_test(test_hello_world),
		cmocka_unit_test(test_hello_world_refuses),
		cmocka_unit_test(test_hello_world_refuses_ends),
		cmocka_unit_test(test_readme_tool),
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_identify_usage),
		cmocka_unit_test(test_perf),
		cmocka_unit_test(test_io_list),
		cmocka_unit_test(test_soak),
		cmocka_unit_test(test_soak_resets),
		cmocka_unit_test(test_scatter),
		cmocka_unit_test(test_scatter_example),
		cmocka_unit_test(test_extents),
		cmocka_unit_test(test_nvdd),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_pattern_4k_namespaces),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_vfio),
		cmocka_unit_test(test_stray_dma),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_zones),
		cmocka_unit_test(test_zns),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_trace_on_full_disk),
		cmocka_unit_test(test_lint),
		cmocka_unit_test(test_enumerate),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_attach_steps),
		cmocka_unit_test(test_killed_and_busy),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_surprise_removal),
		cmocka_unit_test(test_bind_round_trip),
		cmocka_unit_test(test_bind_refuses),
		cmocka_unit_test(test_bind_hidden_uses),
		cmocka_unit_test(test_bind_false_alarms),
		cmocka_unit_test(test_bind_races),
		cmocka_unit_test(test_bind_user),
		cmocka_unit_test(test_attach_failures),
		cmocka_unit_test(test_attach_limits),
		cmocka_unit_test(test_attach_no_type1),
		cmocka_unit_test(test_attach_no_iommu),
		cmocka_unit_test(test_attach_group),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_cmb),
		cmocka_unit_test(test_cmb_io),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, first_boot, remove_dir);
}
