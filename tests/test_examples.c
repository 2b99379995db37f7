// SPDX-License-Identifier: MIT
/*
 * The examples on the software controller: what they print, which disks hello_world refuses, and
 * that it stands a controller that fails half-way. (test_vm has the same over VFIO.)
 *
 * HELLO_WORLD names another build of it, EXTENTS one of extents. Run it from the top of the repository;
 * 'test_examples PATTERN' runs the tests whose name matches.
 */
#include "run.h"

#define SEVEN_LINES                               \
	"Initializing NVMe Controllers\n"         \
	"Attaching to soft\n"                     \
	"Attached to soft\n"                      \
	"  Namespace ID: 1 size: 1GB\n"           \
	"Initialization complete.\n"              \
	"INFO: using host memory buffer for IO\n" \
	"Hello world!\n"

#define MIB ((long)1 << 20)

static const char *hello_world = "$BUILD/hello_world", *extents = "$BUILD/extents";

/* A wrong use is named, and then how it is right. */
static void test_wrong_use(void **state)
{
	struct result r;

	(void)state;
	run(&r, "%s --bogus", hello_world);
	expect_status(&r, 2);
	expect_in(&r, expect_in(&r, r.err, "there is no option '--bogus'"), "usage: hello_world");
	done(&r);
	run(&r, "%s soft soft:bogus=1", hello_world);
	expect_status(&r, 2);
	expect_in(&r, r.err, "there is no option 'bogus'");
	assert_string_equal(r.out, ""); /* nothing was begun */
	done(&r);
	run(&r, "%s --force all", hello_world);
	expect_status(&r, 2);
	expect_in(&r, r.err, "not 'all'");
	done(&r);
}

/* ---- what hello_world prints ---- */

static void test_output(void **state)
{
	char *readme = read_file("README.md", NULL);
	struct result r;

	(void)state;
	run(&r, "%s", hello_world);
	expect_status(&r, 0);
	assert_string_equal(r.out, SEVEN_LINES);
	assert_string_equal(r.err, "");
	assert_non_null(strstr(readme, "\n```console\n" SEVEN_LINES "```\n"));
	done(&r);
	free(readme);
}

/* Each namespace has its line, and small ones have a size too. */
static void test_sizes(void **state)
{
	struct result r;

	(void)state;
	run(&r, "%s soft:ns=2,size=10G,lbs=4096", hello_world);
	expect_status(&r, 0);
	expect_in(&r, r.out, "  Namespace ID: 1 size: 10GB\n  Namespace ID: 2 size: 10GB\nInit");
	done(&r);
	run(&r, "%s soft:size=1M", hello_world);
	expect_status(&r, 0);
	expect_in(&r, r.out, "  Namespace ID: 1 size: 1MB\n");
	done(&r);
}

/* Its lines stand in their places among those of the log, and nothing but two commands is sent. */
static void test_output_in_log(void **state)
{
	static const char *const lines[] = {
		"Initializing NVMe Controllers\n",
		"Attaching to soft\n",
		"setting state to delay init",
		"setting state to ready",
		"Attached to soft\n",
		"Initialization complete.\n",
		"CREATE IO SQ (01)",
		"INFO: using host memory buffer for IO\n",
		"WRITE sqid:1 cid:0 nsid:1 lba:0 len:1 ",
		"SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0001 p:1",
		"READ sqid:1 cid:0 nsid:1 lba:0 len:1 ",
		"SUCCESS (00/00) qid:1 cid:0 cdw0:0 sqhd:0002 p:1",
		"Hello world!\n",
		"DELETE IO SQ (00)",
	};
	struct result r;
	const char *at;
	size_t i;

	(void)state;
	run(&r, "NVME_LOG=debug %s 2>&1", hello_world);
	expect_status(&r, 0);
	for (i = 0, at = r.out; i < sizeof(lines) / sizeof(lines[0]); i++)
		at = expect_in(&r, at, lines[i]);
	at = expect_in(&r, r.out, "sqid:1");
	at = expect_in(&r, at, "sqid:1");
	assert_null(strstr(at, "sqid:1"));
	done(&r);
}

/* ---- several devices ---- */

/* All are attached, then each has its turn; one that fails is no matter to the others. */
static void test_several(void **state)
{
	const char *disk = new_image("several.img", 2 * MIB);
	struct result r;

	(void)state;
	write_at(disk, MIB, "x", 1);
	run(&r, "%s soft:ns=2,size=1M soft:size=2M", hello_world);
	expect_status(&r, 0);
	assert_string_equal(r.out, "Initializing NVMe Controllers\n"
	                           "Attaching to soft:ns=2,size=1M\n"
	                           "Attaching to soft:size=2M\n"
	                           "Attached to soft\n"
	                           "  Namespace ID: 1 size: 1MB\n"
	                           "  Namespace ID: 2 size: 1MB\n"
	                           "Attached to soft\n"
	                           "  Namespace ID: 1 size: 2MB\n"
	                           "Initialization complete.\n"
	                           "INFO: using host memory buffer for IO\n"
	                           "Hello world!\n"
	                           "INFO: using host memory buffer for IO\n"
	                           "Hello world!\n");
	done(&r);
	run(&r, "%s 'soft:plan=ready never' soft:file=%s 'soft:plan=nslist 0' soft", hello_world,
	    disk);
	expect_status(&r, 1);
	expect_in(&r, r.err, "Initialization timed out");
	expect_in(&r, r.err, "no namespace");
	expect_in(&r, r.err, "is 78h"); /* a disk in use */
	expect_in(&r, expect_in(&r, r.out, "Initialization complete.\n"), "Hello world!\n");
	done(&r);
	run(&r, "%s 'soft:plan=shutdown never' soft", hello_world);
	expect_status(&r, 1);
	done(&r);
	run(&r, "%s 'soft:plan=nslist 0'", hello_world);
	expect_status(&r, 1);
	assert_null(strstr(r.out, "Initialization complete."));
	done(&r);
}

/* A line for each, whoever is ready first, and what it records has no mistake in it. */
static void test_probe(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "NVME_TRACE=%s/probe.nvt $BUILD/probe soft:seed=1,size=2M,ns=2 soft:seed=2,size=1M "
	    "'soft:plan=ready never' soft:seed=3,mode=thread,size=3M 2>/dev/null | sort",
	    dir);
	assert_string_equal(r.out,
	                    "soft:plan=ready never: failed: Connection timed out\n"
	                    "soft:seed=1,size=2M,ns=2: nvme.h software controller, serial number SOFT00000001, "
	                    "2 namespaces, 4 MB\n"
	                    "soft:seed=2,size=1M: nvme.h software controller, serial number SOFT00000002, 1 "
	                    "namespace, 1 MB\n"
	                    "soft:seed=3,mode=thread,size=3M: nvme.h software controller, serial number "
	                    "SOFT00000003, 1 namespace, 3 MB\n");
	done(&r);
	run(&r, "$BUILD/nvtrace --lint %s/probe.nvt", dir);
	expect_status(&r, 0);
	expect_in(&r, r.err, "no mistakes found");
	done(&r);
	run(&r, "$BUILD/probe 'soft:plan=ready never' soft");
	expect_status(&r, 1);
	done(&r);
	run(&r, "$BUILD/probe 'soft:plan=shutdown never' soft");
	expect_status(&r, 1);
	done(&r);
	run(&r, "$BUILD/probe");
	expect_status(&r, 0);
	expect_in(&r, r.out, "soft: nvme.h software controller");
	done(&r);
	run(&r, "$BUILD/probe --all");
	expect_status(&r, 2);
	expect_in(&r, r.err, "usage: probe");
	done(&r);
}

/* ---- disks in use ---- */

static char *device_on(const char *disk, const char *opts)
{
	static char device[160];

	snprintf(device, sizeof(device), "soft:file=%s%s", disk, opts);
	return device;
}

static const struct used_disk {
	const char *name, *opts; /* of the device */
	long size, at;           /* in bytes; a negative place counts from the end */
	const char *magic;
	size_t len;
	const char *says;
} used_disks[] = {
	{"gpt", "", 64 * MIB, 512, "EFI PART", 8, "a GPT partition table (block 1, byte 0 is 45h)"},
	{"gpt, 4096", ",lbs=4096", 64 * MIB, 4096, "EFI PART", 8, "a GPT partition table (block 1"},
	{"gpt, second", "", 64 * MIB, -512, "EFI PART", 8, "data (block 131071, byte 0 is 45h)"},
	{"md 1.0", "", 64 * MIB, -8192, "\xfc\x4e\x2b\xa9", 4, "data (block 131056, byte 0"},
	{"md 0.90", "", 64 * MIB, -65536, "\xfc\x4e\x2b\xa9", 4, "data (block 130944"},
	{"imsm", "", 64 * MIB, -1024, "Intel Raid ISM Cfg Sig. ", 24, "data (block 131070"},
	{"ddf", "", 64 * MIB, -512, "\xde\x11\xde\x11", 4, "data (block 131071"},
	{"drbd", "", 64 * MIB, -4032, "\x83\x74\x02\x6b", 4, "data (block 131064, byte 64"},
	{"zfs l2", "", 64 * MIB, -(512 << 10) + (16 << 10), "\x01\x01", 2, "data (block 130080"},
	{"zfs l3", "", 64 * MIB, -(256 << 10) + (16 << 10), "\x01\x01", 2, "data (block 130592"},
	{"behind 132 KiB", "", 64 * MIB, 135168, "x", 1, "data (block 264, byte 0 is 78h)"},
	{"end of first", "", 64 * MIB, MIB - 1, "x", 1, "data (block 2047, byte 511"},
	{"start of last", "", 64 * MIB, -MIB, "x", 1, "data (block 129024, byte 0"},
	{"last byte", ",lbs=4096", 64 * MIB, -1, "x", 1, "data (block 16383, byte 4095 is 78h)"},
	{"first partition", "", 64 * MIB, MIB + 1080, "\x53\xef", 2, "data (block 2050, byte 56"},
	{"end of a sample", "", 64 * MIB, 33 * MIB + 4095, "x", 1, "data (block 67591, byte 511"},
	{"last sample", "", 300 * MIB, 294 * MIB, "x", 1, "data (block 602112, byte 0"},
	{"odd size", "", 10 * MIB + 1536, -1, "x", 1, "data (block 20482, byte 511"},
	{"small", "", 3 * MIB - 512, MIB + 70000, "x", 1, "looked at: all of it"},
	{"two blocks", ",lbs=4096", 8192, 8191, "x", 1, "data (block 1, byte 4095"},
	{"large blocks", ",lbs=65536", 64 * MIB, 2 * MIB + 65535, "x", 1,
         "data (block 32, byte 65"},
	{"mdts 1", ",mdts=1", 64 * MIB, MIB - 1, "x", 1, "data (block 2047, byte 511"},
};

/* Refused, whatever it is and wherever, and not a byte of it is changed. With --force it goes. */
static void test_refuses(void **state)
{
	const char *disk = image("used.img"), *copy = image("copy.img"), *device;
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(used_disks) / sizeof(used_disks[0]); i++) {
		const struct used_disk *d = &used_disks[i];

		new_image("used.img", d->size);
		write_at(disk, d->at < 0 ? d->size + d->at : d->at, d->magic, d->len);
		device = device_on(disk, d->opts);
		run(&r, "cp --sparse=always %s %s; %s %s", disk, copy, hello_world, device);
		if (r.status != 1)
			fprintf(stderr, "%s:\n", d->name);
		expect_status(&r, 1);
		expect_in(&r, r.err, d->says);
		expect_in(&r, r.err, "--force");
		expect_in(&r, r.err, "looked at: ");
		done(&r);
		run(&r, "cmp %s %s && %s --force %s", disk, copy, hello_world, device);
		expect_status(&r, 0);
		expect_in(&r, r.out, "Hello world!\n");
		done(&r);
	}
}

/* It says where it looked. What lies elsewhere it does not see, and its own greeting is nothing. */
static void test_accepts(void **state)
{
	const char *disk = new_image("free.img", 64 * MIB);
	struct result r;
	int i;

	(void)state;
	write_at(disk, MIB + 4096, "x", 1); /* behind the first sample */
	for (i = 0; i < 2; i++) {           /* the second time the greeting is there */
		run(&r, "%s %s", hello_world, device_on(disk, ""));
		expect_status(&r, 0);
		expect_in(&r, r.out, "Hello world!\n");
		expect_in(&r, r.err,
		          "namespace 1 of soft holds only zeros where it was looked at: "
		          "the first and the last MiB and 62 samples of 4096 bytes");
		done(&r);
	}
	write_at(disk, 13, "x", 1); /* a text that begins like the greeting */
	run(&r, "%s %s", hello_world, device_on(disk, ""));
	expect_status(&r, 1);
	expect_in(&r, r.err, "data (block 0, byte 13 is 78h)");
	done(&r);
	run(&r, "%s %s", hello_world, device_on(new_image("large.img", 300 * MIB), ",lbs=4096"));
	expect_status(&r, 0);
	expect_in(&r, r.err, "and 64 samples of 4096 bytes between them");
	done(&r);
}

/* ---- controllers that fail ---- */

/*
 * The callback of a command that was never completed runs when its queue goes, and what it writes
 * to must still be there. The build with AddressSanitizer sees it.
 */
static void test_failing_controller(void **state)
{
	static const struct {
		const char *plan, *says;
		bool disk; /* one that is looked at first, with four reads */
	} plans[] = {
		{"on write cfs", "the transfer failed", false},
		{"on write gone", "the transfer failed", false},
		{"on write drop", "the transfer failed: Connection timed out", false},
		{"on read cid 4095", "the transfer failed: Connection timed out", false},
		{"on write #1 status 2/80 dnr", "the transfer failed", false},
		{"on read cfs", "the transfer failed", false},
		{"on read gone", "the transfer failed", false},
		{"on read #2 cfs", "cannot be read", true},
		{"on read #2 gone", "cannot be read", true},
		{"on read #5 cfs", "the transfer failed", true},
		{"on read #5 gone", "the transfer failed", true},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		const char *disk = new_image("fails.img", 2 * MIB);

		run(&r, "NVME_FAULTS='%s' ASAN_OPTIONS=detect_stack_use_after_return=1 %s %s",
		    plans[i].plan, hello_world, plans[i].disk ? device_on(disk, "") : "soft");
		if (r.status != 1 || strstr(r.err, plans[i].says) == NULL)
			fprintf(stderr, "%s:\n", plans[i].plan);
		expect_status(&r, 1);
		expect_in(&r, r.err, plans[i].says);
		assert_null(strstr(r.err, "Sanitizer"));
		assert_null(strstr(r.out, "Hello world!"));
		done(&r);
	}
}

/* ---- identify ---- */

/* The PCI section says what the driver's log says, for a device that is on no bus too. */
static void test_identify_pci(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_LOG=info $BUILD/identify soft");
	expect_status(&r, 0);
	expect_in(&r, r.err, "attaching through soft: 6e76:736f");
	expect_in(&r, r.out, "\nvendor             : 0x6e76 ");
	expect_in(&r, r.out, "\ndevice             : 0x736f ");
	expect_in(&r, r.out, "\nclass              : 0x010802 ");
	done(&r);
	run(&r, "$BUILD/identify --json | jq -c '[.pci.vendor, .pci.subsystem_vendor] == "
	        "[.controller.vid, .controller.ssvid], .pci.vendor != 0'");
	expect_status(&r, 0);
	assert_string_equal(r.out, "true\ntrue\n");
	done(&r);
}

/* A device that calls itself names no terminal should be sent: they are printed, but not as they are. */
static void test_odd_strings(void **state)
{
	struct result r;
	const char *c;

	(void)state;
	run(&r, "$BUILD/identify 'soft:plan=identify strings'");
	expect_status(&r, 0);
	c = expect_in(&r, r.out, "\nsn        : \\x1b\\x1b");
	expect_in(&r, expect_in(&r, c, "\nmn        : \\xff\\xff"), "\nfr        : \\x0a\\x0a");
	for (c = r.out; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c < 0x7f));
	for (c = r.err; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c < 0x7f));
	done(&r);
	run(&r, "$BUILD/identify --json 'soft:plan=identify strings' | jq -c '.controller.fr'");
	expect_status(&r, 0);
	assert_string_equal(r.out, "\"\\n\\n\\n\\n\\n\\n\\n\\n\"\n");
	done(&r);
}

/* Options may stand on either side of the device, and only what is wrong is blamed. */
static void test_identify_arguments(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/identify soft --json | jq -r .controller.mn");
	expect_status(&r, 0);
	assert_true(strlen(r.out) > 4);
	done(&r);
	run(&r, "$BUILD/identify soft --frob");
	expect_status(&r, 2);
	expect_in(&r, r.err, "there is no option '--frob'");
	done(&r);
	run(&r, "$BUILD/identify soft soft2");
	expect_status(&r, 1);
	expect_in(&r, r.err, "'soft2' is not a PCI address");
	expect_in(&r, r.out, "==== soft ====\n");
	done(&r);
}

/* One after the other: headlines in text, objects in JSON. For one alone neither changes. */
static void test_identify_several(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/identify soft:seed=3 soft:seed=4 --json | jq -c .controller.sn");
	expect_status(&r, 0);
	assert_string_equal(r.out, "\"SOFT00000003\"\n\"SOFT00000004\"\n");
	done(&r);
	run(&r, "$BUILD/identify soft:seed=3 soft:seed=4 | grep -E '====|^sn  '");
	assert_non_null(strstr(r.out, "==== soft:seed=3 ====\nsn "));
	assert_non_null(strstr(r.out, "==== soft:seed=4 ====\nsn "));
	done(&r);
	run(&r, "$BUILD/identify soft:seed=3 | grep -c ====");
	assert_string_equal(r.out, "0\n");
	done(&r);
	run(&r,
	    "$BUILD/identify 'soft:plan=ready never' soft | grep -c '== Namespace\\|==== soft'");
	assert_string_equal(r.out, "1\n");
	done(&r);
	run(&r, "$BUILD/identify 'soft:plan=shutdown never' >/dev/null");
	expect_status(&r, 1);
	done(&r);
}

/* It sleeps until it is woken, and its record is in order. */
static void test_interrupts(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=%s/i.nvt $BUILD/interrupts", dir);
	expect_status(&r, 0);
	assert_string_equal(r.out, "64 blocks were read, and every look found something\n");
	assert_string_equal(r.err, "");
	done(&r);
	run(&r, "$BUILD/nvtrace --lint %s/i.nvt", dir);
	expect_status(&r, 0);
	done(&r);
	run(&r, "$BUILD/interrupts --bogus");
	expect_status(&r, 2);
	expect_in(&r, r.err, "usage: interrupts");
	done(&r);
}

/* ---- aer ---- */

/* One event of each kind; their requests and pages are in the record, which is in order. */
static void test_aer(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=%s/aer.nvt $BUILD/aer", dir);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "waiting for events\n"
	                    "event 1: ERROR STATUS: PERSISTENT INTERNAL ERROR (0/03) log page:01\n"
	                    "event 2: SMART / HEALTH STATUS: TEMPERATURE THRESHOLD (1/01) log "
	                    "page:02\n"
	                    "event 3: NOTICE: NAMESPACE ATTRIBUTE CHANGED (2/00) log page:04\n"
	                    "  namespace 1: 2097152 blocks of 512 bytes\n"
	                    "event 4: NOTICE: FIRMWARE ACTIVATION STARTING (2/01) log page:03\n"
	                    "4 events\n");
	expect_in(&r, r.err, "SMART: critical warning 02h temperature");
	expect_in(&r, r.err, "firmware: slot 1 is running");
	done(&r);
	run(&r, "$BUILD/nvtrace --lint %s/aer.nvt", dir);
	expect_status(&r, 0);
	done(&r);
	run(&r, "$BUILD/nvtrace -v %s/aer.nvt", dir);
	expect_in(&r, r.out, "ASYNC EVENT REQUEST (0c)");
	expect_in(&r, r.out, "asynchronous event: SMART / HEALTH STATUS: TEMPERATURE THRESHOLD");
	done(&r);
}

/* The limits on events and seconds, and the keep alive timer. */
static void test_aer_options(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/aer -n 1 -t 60 'soft:plan=aer smart; aer error'");
	expect_status(&r, 0);
	expect_in(&r, r.out, "\n1 events\n");
	done(&r);
	run(&r, "$BUILD/aer -t 20 -k 2000 soft:kas=5"); /* virtual seconds */
	expect_status(&r, 0);
	assert_string_equal(r.out, "waiting for events\n0 events\n");
	done(&r);
	run(&r, "$BUILD/aer -t 1 -k 2000 soft");
	expect_status(&r, 0);
	expect_in(&r, r.err, "the controller has no keep alive (KAS is 0)");
	done(&r);
	run(&r, "$BUILD/aer -t 1 'soft:plan=gone on set-features #2'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "aer: no more events: No such device");
	done(&r);
	run(&r, "{ $BUILD/aer soft:mode=thread & p=$!; sleep 0.3; kill -INT $p; wait $p; }");
	expect_status(&r, 0);
	expect_in(&r, r.out, "0 events\n");
	done(&r);
	run(&r, "$BUILD/aer -n");
	expect_status(&r, 2);
	expect_in(&r, r.err, "aer: something is missing\nusage: aer");
	done(&r);
	run(&r, "$BUILD/aer -n 1x");
	expect_status(&r, 2);
	expect_in(&r, r.err, "aer: '1x' is not understood");
	done(&r);
	run(&r, "$BUILD/aer soft soft:seed=2");
	expect_status(&r, 2);
	expect_in(&r, r.err, "aer: 'soft:seed=2' is not understood");
	done(&r);
}

/* ---- metadata ---- */

#define METADATA_REST(ref)                                                            \
	"Writing blocks whose protection information the host has made\n"             \
	"  SUCCESS\n"                                                                 \
	"The same with a bit that has changed on the way\n"                           \
	"  GUARD CHECK ERROR\n"                                                       \
	"  block 1: GUARD CHECK ERROR, a477 instead of 1029\n"                        \
	"Reading them, and checking them once more in the host\n"                     \
	"  SUCCESS\n"                                                                 \
	"  the last block: guard a477, application tag cafe, reference tag " ref "\n" \
	"Reading them as somebody who expects another application tag\n"              \
	"  APPLICATION TAG CHECK ERROR\n"                                             \
	"Leaving it to the controller: PRACT\n"                                       \
	"  SUCCESS\n"                                                                 \
	"  SUCCESS\n"                                                                 \
	"  the last block: guard a2ff, application tag cafe, reference tag " ref "\n"

/* What it prints; what nvtrace makes of it, with nothing to find fault with. */
static void test_metadata(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=%s/md.nvt $BUILD/metadata", dir);
	expect_status(&r, 0);
	assert_string_equal(r.out, "Namespace 1: blocks of 512 bytes, 8 bytes of metadata in a "
	                           "buffer of its own, protection information of type 1 in the "
	                           "last 8\n" METADATA_REST("00000003"));
	done(&r);
	run(&r, "$BUILD/nvtrace --lint %s/md.nvt && $BUILD/nvtrace -H %s/md.nvt", dir, dir);
	expect_status(&r, 0);
	expect_in(&r, r.err, "no mistakes found");
	expect_in(&r,
	          expect_in(&r,
	                    expect_in(&r, expect_in(&r, r.out, "\n    MPTR 0000"),
	                              "[29:26] PRINFO : 0x7 check guard, check app tag, check ref "
	                              "tag\n"),
	                    "[15:0] LBAT : 0xcafe\n"),
	          "[29:26] PRINFO : 0x8 PRACT\n");
	done(&r);
	run(&r, "$BUILD/nvtrace --explain %s/md.nvt", dir);
	expect_in(&r, r.out, "The metadata of the blocks is in a buffer of its own, at MPTR 0x");
	done(&r);
	run(&r, "$BUILD/nvtrace -T json %s/md.nvt | jq -r 'select(.mptr).mptr' | sort | uniq -c",
	    dir);
	expect_in(&r, r.out, "0x");
	done(&r);
	run(&r, "$BUILD/metadata soft:ms=8,mset=1,pi=3,pil=1");
	expect_status(&r, 0);
	expect_in(&r, r.out,
	          "8 bytes of metadata behind each block, protection information of "
	          "type 3 in the first 8\n" METADATA_REST("00000000"));
	done(&r);
	run(&r, "$BUILD/metadata soft:lbs=4096,ms=64,pi=2");
	expect_status(&r, 0);
	done(&r);
}

/* Zones as a table, appends, the write pointer, and the zone is as it was. */
static void test_zns(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=%s/zns.nvt $BUILD/zns", dir);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "Namespace 1: 8 zones of 2048 blocks; limits (0: none): 4 open, 8 active, 524288 "
	                    "bytes in an append\n"
	                    "       start   capacity  state             write pointer\n"
	                    "           0       1536  EMPTY             0\n"
	                    "        2048       1536  EMPTY             2048\n"
	                    "        4096       1536  EMPTY             4096\n"
	                    "        6144       1536  EMPTY             6144\n"
	                    "        8192       1536  EMPTY             8192\n"
	                    "       10240       1536  EMPTY             10240\n"
	                    "       12288       1536  EMPTY             12288\n"
	                    "       14336       1536  EMPTY             14336\n"
	                    "Appending 4 blocks at once to the zone at block 0\n"
	                    "  block 'a' is at 0\n"
	                    "  block 'b' is at 1\n"
	                    "  block 'c' is at 2\n"
	                    "  block 'd' is at 3\n"
	                    "           0       1536  IMPLICITLY OPENED 4\n"
	                    "  read back: the same\n"
	                    "Finishing it: as good as full\n"
	                    "           0       1536  FULL              -\n"
	                    "Resetting it: its blocks are free again\n"
	                    "           0       1536  EMPTY             0\n");
	done(&r);
	run(&r, "$BUILD/nvtrace -H %s/zns.nvt && $BUILD/nvtrace --lint %s/zns.nvt", dir, dir);
	expect_status(&r, 0);
	expect_in(&r, r.out, "[31:24] CSI : 0x2 ZONED NAMESPACE\n");
	expect_in(&r, r.out, "[15:8] ZRASF : 0x1 empty\n");
	expect_in(&r, r.out, "[63:0] ALBA : 0x3 the first block that was written\n");
	expect_in(&r, r.out, "[7:0] ZSA : 0x2 FINISH ZONE\n");
	expect_in(&r, r.out, "[7:0] ZSA : 0x4 RESET ZONE\n");
	done(&r);
	/* wherever the write pointer is when they arrive, they are found again */
	run(&r, "$BUILD/zns 'soft:size=8M,zns=64,lbs=4096,plan=on zone-append delay 0us..900us'");
	expect_status(&r, 0);
	expect_in(&r, r.out, "  read back: the same\n");
	done(&r);
}

static void test_zns_refuses(void **state)
{
	static const struct {
		const char *args;
		int status;
		const char *says;
	} rows[] = {
		{"soft", 1, "zns: soft has no zoned namespace: use soft:zns=4096"},
		{"soft soft", 2, "usage: zns [--force] [DEVICE]"},
		{"--append", 2, "zns: '--append' is not understood"},
		{"'soft:zns=64,size=1M,plan=on zone-append #2 status 1/b8'", 1,
	         "zns: an append failed: ZONED BOUNDARY ERROR (01/b8)"},
		{"'soft:zns=64,size=1M,plan=on zone-management-send #1 status 1/bf'", 1,
	         "zns: FINISH ZONE: INVALID ZONE STATE TRANSITION (01/bf)"},
		{"'soft:zns=64,size=1M,plan=on zone-management-receive #1 status 0/6'", 1,
	         "zns: a report of zones: INTERNAL DEVICE ERROR (00/06)"},
		{"'soft:zns=64,size=1M,plan=on zone-append #3 dw0 5'", 1, ""},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "$BUILD/zns %s", rows[i].args);
		expect_status(&r, rows[i].status);
		expect_in(&r, r.err, rows[i].says);
		if (*rows[i].says == '\0')
			expect_in(&r, r.out, "  read back: not the same\n");
		done(&r);
	}
}

static void test_metadata_refuses(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/metadata soft");
	expect_status(&r, 1);
	expect_in(&r, r.err, "no namespace with protection information");
	done(&r);
	run(&r, "$BUILD/metadata 0000:01:00.0");
	expect_status(&r, 1);
	expect_in(&r, r.err, "--force");
	done(&r);
	run(&r, "$BUILD/metadata soft soft");
	expect_status(&r, 2);
	expect_in(&r, r.err, "usage: metadata");
	done(&r);
	/* a controller that passes over what is wrong */
	run(&r, "NVME_FAULTS='on write #2 status 0/0' $BUILD/metadata");
	expect_status(&r, 1);
	done(&r);
}

/* ---- cmb ---- */

#define CMB_COPIED                                                    \
	"LBA 0 to 7 to LBA 8 to 15 through controller memory: done\n" \
	"The copy is the same\n"

/* What it does on each kind of controller; in the record the data is where the buffer is. */
static void test_cmb(void **state)
{
	struct result r;

	(void)state;
	run(&r, "NVME_TRACE=%s/cmb.nvt $BUILD/cmb", dir);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "1024 KiB of controller memory at 0 KiB of BAR 2, for submission "
	                    "queues, lists, data of reads, data of writes\n"
	                    "The submission queue is in controller memory\n"
	                    "1020 KiB are left for data\n" CMB_COPIED);
	done(&r);
	run(&r, "$BUILD/nvtrace --lint %s/cmb.nvt && $BUILD/nvtrace -v %s/cmb.nvt", dir, dir);
	expect_status(&r, 0);
	expect_in(&r, r.err, "no mistakes found");
	/* the arena is at 2 MiB, a GiB long: behind it the queue, and the data a page later */
	expect_in(&r,
	          expect_in(&r,
	                    expect_in(&r,
	                              expect_in(&r,
	                                        expect_in(&r,
	                                                  expect_in(&r, r.out, "map 1048576 bytes "),
	                                                  "as 0x40200000\n"),
	                                        "CREATE IO SQ (01) "),
	                              " PRP1 0x40200000 "),
	                    "READ sqid:1 cid:0 nsid:1 lba:0 len:8 PRP1 0x40201000 "),
	          "WRITE sqid:1 cid:0 nsid:1 lba:8 len:8 PRP1 0x40201000 ");
	expect_in(&r, r.out, "unmap 1048576 bytes of 0x40200000\n");
	done(&r);
	run(&r, "$BUILD/cmb soft:cmb=2,cmblegacy=1,cmbloc=0x1063,cmbsz=0x1218");
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "1024 KiB of controller memory at 1024 KiB of BAR 3, for data of reads, "
	                    "data of writes; as before NVMe 1.4, always on\n"
	                    "The submission queue is in the host's memory\n"
	                    "1024 KiB are left for data\n" CMB_COPIED);
	done(&r);
	run(&r, "$BUILD/cmb soft:cmb=1,lbs=4096,mode=thread");
	expect_status(&r, 0);
	expect_in(&r, r.out, CMB_COPIED);
	done(&r);
}

static void test_cmb_refuses(void **state)
{
	static const struct {
		const char *args;
		int status;
		const char *says;
	} rows[] = {
		{"soft", 1, "soft has no controller memory buffer: use another one, or soft:cmb=1"},
		{"soft:cmb=1,css=0x80", 1, "has no namespace"},
		{"0000:01:00.0", 1, "say so with --force"},
		{"soft:cmb=1,file=x", 1, "the first 16 blocks of soft:cmb=1,file=x would be"},
		{"soft soft", 2, "usage: cmb [--force] [DEVICE]"},
		{"soft:cmb=5000", 2, "cmb=5000 is wrong: give a number from 0 to 4096"},
		{"soft:cmb=1,cmbsz=0x101d", 1, "submission queues have all of the controller"},
		{"soft:cmb=1,cmbsz=0x201d,lbs=4096", 1, ""}, /* 8 blocks do not fit */
		{"soft:cmb=1,cmbsz=0x120d", 1, "CMBSZ.WDS"},
		{"'soft:cmb=1,plan=on read #2 status 2/81'", 1, "UNRECOVERED READ ERROR"},
		{"'soft:cmb=1,plan=on write #2 status 0/0'", 1, ""}, /* passes over the copy */
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "cd %s && $OLDPWD/$BUILD/cmb %s", dir, rows[i].args);
		expect_status(&r, rows[i].status);
		expect_in(&r, r.err, rows[i].says);
		done(&r);
	}
	run(&r, "$BUILD/cmb 'soft:cmb=1,plan=on write #2 status 0/0'");
	expect_in(&r, r.out, "The copy is NOT the same\n");
	done(&r);
	run(&r,
	    "$BUILD/cmb --force soft:size=1M,cmb=1,file=%s/cmb.img && cmp -n 4096 %s/cmb.img "
	    "%s/cmb.img 0 4096",
	    dir, dir, dir);
	expect_status(&r, 0);
	done(&r);
}

/* ---- scatter ---- */

/* What it does on each kind of controller, and that the record tells what the log does. */
static void test_scatter(void **state)
{
	static const char impossible[] = "not possible, the controller takes no SGLs for it";
	static const struct {
		const char *device;
		bool parts, hole;
	} rows[] = {{"soft", true, true},
	            {"soft:sgls=0", false, false},
	            {"soft:sgls=2", true, false},
	            {"soft:sgls=0x10002,lbs=4096", true, true},
	            {"soft:mdts=1,noiob=7,mode=thread", true, true}};
	char want[256];
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(want, sizeof(want), "pages ok\nparts %s\nhole  %s\nlarge ok\n",
		         rows[i].parts ? "ok" : impossible, rows[i].hole ? "ok" : impossible);
		run(&r,
		    "rm -f %s/s.nvt; NVME_TRACE=%s/s.nvt NVME_LOG=debug $BUILD/scatter %s 2>%s/log && "
		    "$BUILD/nvtrace %s/s.nvt >%s/text && $BUILD/nvtrace --lint %s/s.nvt >/dev/null && "
		    "grep -e sgl -e prp -e SGL %s/log >%s/1 && grep -e sgl -e prp -e SGL %s/text >%s/2 && "
		    "cmp %s/1 %s/2 >&2",
		    dir, dir, rows[i].device, dir, dir, dir, dir, dir, dir, dir, dir, dir, dir);
		expect_status(&r, 0);
		assert_string_equal(r.out, want);
		done(&r);
	}
	run(&r, "grep -c -e 'sgl.1. = BIT BUCKET' -e 'sgl segment:0x[0-9a-f]* descs:3' %s/text",
	    dir);
	assert_true(atoi(r.out) >= 2);
	done(&r);
	run(&r,
	    "$BUILD/nvtrace -T json %s/s.nvt | jq -c 'select(.event == \"sgl\") | "
	    "[.descs == (.entries | length), .entries[0].type]' | sort -u",
	    dir);
	expect_status(&r, 0);
	expect_in(&r, r.out, "[true,\"BIT BUCKET\"]\n[true,\"DATA BLOCK\"]\n");
	done(&r);
	run(&r, "NVME_FAULTS='on read #2 status 2/81' $BUILD/scatter");
	expect_status(&r, 1);
	expect_in(&r, r.err, "scatter: parts failed: Input/output error");
	done(&r);
	run(&r, "NVME_FAULTS='on write drop' $BUILD/scatter");
	expect_status(&r, 1);
	done(&r);
	run(&r, "$BUILD/scatter --bogus");
	expect_status(&r, 2);
	done(&r);
}

/* ---- smart ---- */

/* Errors, counters of 128 bits and a string that must not reach a terminal, as text and as JSON. */
static void test_smart(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/smart");
	expect_status(&r, 0);
	assert_string_equal(r.err, "");
	expect_in(&r, r.out, "Health\n  critical_warning     0 (none)\n");
	expect_in(&r, r.out, "\n  temperature          310 kelvin\n");
	expect_in(&r, r.out, "\nErrors, the latest first\n  none\n");
	expect_in(&r, r.out, "\n  slot_1               0.1\n");
	expect_in(&r, r.out, "\n\nSelf-test\n  running              0 (none)\n");
	expect_in(&r, r.out, "\n\nSelf-tests, the latest first\n  none\n");
	done(&r);
	run(&r, "$BUILD/smart --self-test --json | jq -c '[.self_test, .self_tests]'");
	expect_status(&r, 0);
	assert_string_equal(r.out, "[{\"running\":1,\"completed\":0},[]]\n");
	done(&r);
	run(&r, "$BUILD/smart --self-test --stop");
	expect_in(&r, r.out, "\nSelf-test\n  running              0 (none)\n");
	expect_in(&r, r.out, "latest first\n  test 1 at 0 hours: result 1, segment 0\n");
	done(&r);
	run(&r, "$BUILD/smart --self-test --stop --json | jq -c .self_tests");
	assert_string_equal(r.out, "[{\"test\":1,\"power_on_hours\":0,\"result\":1,"
	                           "\"segment\":0}]\n");
	done(&r);
	run(&r, "$BUILD/smart --self-test 'soft:plan=on device-self-test status 1/1d'");
	expect_status(&r, 1);
	expect_in(&r, r.err,
	          "smart: no self-test was started: DEVICE SELF-TEST IN PROGRESS (01/1d)");
	done(&r);
	run(&r, "$BUILD/smart --json | jq -c '[.health.temperature, .health.power_cycles, "
	        "(.health | length), .errors, .firmware]'");
	expect_status(&r, 0);
	assert_string_equal(r.out, "[310,1,15,[],{\"running_slot\":1,\"next_slot\":0,"
	                           "\"slot_1\":\"0.1\"}]\n");
	done(&r);
	/* an error of the attach itself is in the log: the command was refused */
	run(&r, "NVME_LOG=error $BUILD/smart --json 'soft:plan=on identify #3 status 0/06' | "
	        "jq -c '.errors[0]'");
	expect_status(&r, 0);
	expect_in(&r, r.out, "\"error\":1,\"queue\":0,");
	expect_in(&r, r.out, "\"status\":\"INTERNAL DEVICE ERROR\"");
	done(&r);
	run(&r, "NVME_LOG=error $BUILD/smart 'soft:plan=on identify #3 status 0/06'");
	expect_in(&r, r.out, "\n  error 1: queue 0, command ");
	done(&r);
	run(&r, "$BUILD/smart 'soft:plan=on get-log-page #2 status 1/09'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "smart: log page 01h cannot be read: INVALID LOG PAGE (01/09)");
	done(&r);
	run(&r, "$BUILD/smart --frob");
	expect_status(&r, 2);
	expect_in(&r, expect_in(&r, r.err, "'--frob'"), "usage: smart");
	done(&r);
}

/* Where a disk holds something: at its start, in two pieces that touch, and in its last block. */
static void test_extents(void **state)
{
	const char *disk = new_image("extents.img", (8 << 20) + 512);
	struct result r;

	(void)state;
	write_at(disk, 0, "x", 1);
	write_at(disk, (3 << 20) - 1, "xx", 2);
	write_at(disk, 8 << 20, "x", 1);
	run(&r, "NVME_TRACE=%s/e.nvt %s soft:file=%s && $BUILD/nvtrace --lint %s/e.nvt >&2", dir,
	    extents, disk, dir);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "blocks 0 to 127\nblocks 6016 to 6271\nblocks 16384 to 16384\n"
	                    "192 of 8192 KiB hold something, looked at in pieces of 64 KiB\n");
	done(&r);
	run(&r, "%s soft:file=%s 3", extents, disk);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "blocks 0 to 127\nblocks 6016 to 6143\n"
	                    "128 of 3072 KiB hold something, looked at in pieces of 64 KiB\n");
	done(&r);
}

/* Commands that fail while others are under way: one sentence, and nothing is left behind. */
static void test_extents_fail(void **state)
{
	static const struct {
		const char *arguments;
		int status;
		const char *says;
	} rows[] = {
		{"'soft:plan=on read #40 status 2/81'", 1, "UNRECOVERED READ ERROR (02/81)"},
		{"'soft:plan=on read #40 drop; on delete-io-sq status 0/06'", 1,
	         "not complete in time"},
		{"'soft:plan=on create-io-cq status 0/06'", 1, "extents: soft:plan="},
		{"soft 0", 2, "usage: extents"},
		{"soft 1x", 2, "usage: extents"},
		{"soft:frob", 2, "frob"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "NVME_LOG=error %s %s", extents, rows[i].arguments);
		expect_status(&r, rows[i].status);
		expect_in(&r, r.err, rows[i].says);
		assert_string_equal(r.out, "");
		done(&r);
	}
}

/* ---- those that write ---- */

/* Each refuses a disk that holds something, changes no byte of it, and goes on with --force. */
static void test_writers_refuse(void **state)
{
	static const char *const programs[] = {"format --lbaf 3", "deallocate", "fused"};
	const char *disk = image("writers.img"), *copy = image("writers_copy.img");
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const char *device = device_on(disk, "");
		char *name = strdup(programs[i]), *rest = strchr(name, ' ');

		if (rest != NULL)
			*rest++ = '\0';
		new_image("writers.img", 4 * MIB);
		write_at(disk, 512, "EFI PART", 8);
		run(&r, "cp %s %s; $BUILD/%s %s %s", disk, copy, name, rest ? rest : "", device);
		expect_status(&r, 1);
		expect_in(&r, r.err, "a GPT partition table");
		expect_in(&r, r.err, "--force");
		done(&r);
		run(&r, "cmp %s %s && $BUILD/%s --force %s %s", disk, copy, name, rest ? rest : "",
		    device);
		expect_status(&r, 0);
		done(&r);
		run(&r, "cmp %s %s", disk, copy);
		expect_status(&r, 1);
		done(&r);
		run(&r, "$BUILD/%s --frob", name);
		expect_status(&r, 2);
		expect_in(&r, expect_in(&r, r.err, "'--frob'"), "usage: ");
		done(&r);
		free(name);
	}
}

static void test_format(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/format");
	expect_status(&r, 0);
	expect_in(&r, r.out, "  format  0*    512 bytes");
	expect_in(&r, r.out, "  format  3    4096 bytes");
	assert_null(strstr(r.out, "Formatted"));
	done(&r);
	run(&r, "$BUILD/format --lbaf 3 --ses 1");
	expect_status(&r, 0);
	expect_in(&r, expect_in(&r, r.out, "Formatted.\n"), "262144 blocks of 4096 bytes\n");
	done(&r);
	run(&r, "$BUILD/format --lbaf 3 --ses 2");
	expect_status(&r, 1);
	expect_in(&r, r.err, "format: it failed: INVALID FIELD (00/02), do not retry");
	done(&r);
	run(&r, "$BUILD/format --lbaf 64");
	expect_status(&r, 2);
	expect_in(&r, r.err, "'64'");
	done(&r);
}

static void test_deallocate(void **state)
{
	struct result r;

	(void)state;
	run(&r, "$BUILD/deallocate");
	expect_status(&r, 0);
	assert_string_equal(r.out, "Deallocated blocks read as zeroes.\n"
	                           "#0#0#0#0#0#0#0#0#0#0#0#0#0#0#0#0\n");
	assert_string_equal(r.err, "");
	done(&r);
	run(&r, "$BUILD/deallocate 'soft:plan=identify oncs=0'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "no Dataset Management command (ONCS bit 2)");
	done(&r);
}

/* No addition is lost, whoever is faster; and what it puts on the wire is right. */
static void test_fused(void **state)
{
	static const char *const devices[] = {"soft", "soft:mode=thread", "soft:lbs=4096"};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		run(&r, "NVME_TRACE=%s $BUILD/fused %s && $BUILD/nvtrace --lint %s",
		    image("fused.nvt"), devices[i], image("fused.nvt"));
		expect_status(&r, 0);
		expect_in(&r, r.out, "writer 1: 100 additions, ");
		expect_in(&r, r.out, "writer 2: 100 additions, ");
		expect_in(&r, r.out, "the number is 200\n");
		expect_in(&r, r.err, "no mistakes found");
		done(&r);
	}
	/* in the record a doorbell says where the last one was: each pair moves the tail by 2 */
	run(&r,
	    "$BUILD/nvtrace -T json %s | jq -s '[.[] | select(.doorbell == \"sq_tail\" and "
	    ".qid == 2)] | [range(1; length) as $i | .[$i].old == .[$i - 1].new] | "
	    "length > 100 and all'",
	    image("fused.nvt"));
	expect_status(&r, 0);
	assert_string_equal(r.out, "true\n");
	done(&r);
	run(&r, "$BUILD/fused 'soft:plan=on write #8 status 2/80'");
	expect_status(&r, 1);
	expect_in(&r, r.err, "WRITE FAULTS (02/80)");
	done(&r);
}

/* ---- perf ---- */

/* What jq makes of the output, without the newline. */
static const char *jq(const struct result *r, const char *filter)
{
	static char line[2048];
	const char *file = image("perf.json");
	FILE *pipe, *f = fopen(file, "w");

	assert_non_null(f);
	fputs(r->out, f);
	fclose(f);
	snprintf(line, sizeof(line), "jq -cj '%s' %s", filter, file);
	pipe = popen(line, "r");
	assert_non_null(pipe);
	line[fread(line, 1, sizeof(line) - 1, pipe)] = '\0';
	assert_int_equal(pclose(pipe), 0);
	return line;
}

static void expect_true(const struct result *r, const char *filter)
{
	if (strcmp(jq(r, filter), "true") != 0) {
		fprintf(stderr, "not true: %s\n", filter);
		show(r);
		fail();
	}
}

/* So many I/Os as were asked for: in the results, in the statistics, and in the record. */
static void test_perf_adds_up(void **state)
{
	static const struct {
		const char *options;
		int count;
		const char *holds;
	} rows[] = {
		{"-w read", 1000, ".total.reads == 1000 and .total.bytes == 4096000"},
		{"-w write -o 512", 1000, ".total.reads == 0 and .total.bytes == 512000"},
		{"-w rw", 1000, ".total.reads > 300 and .total.reads < 700"},
		{"-w randread -o 128K", 100, ".total.reads == 100 and .total.bytes == 13107200"},
		{"-w randwrite -q 1", 100, ".total.reads == 0 and .depth == 1"},
		{"-w randrw -M 90", 1000, ".total.reads > 800 and .total.reads < 1000"},
		{"-w rw -M 0", 100, ".total.reads == 0"},
		{"-w randrw -M 100", 100, ".total.reads == 100"},
		{"-c 3 -P 2 -q 7", 1000, "[.results[].ios] == [334, 333, 333]"},
		{"-r soft -r soft:ns=2,lbs=4096 -c 2", 1001,
	         "[.results[].ios] == [251, 250, 250, 250] and "
	         "[.results[].device] == [\"soft\", \"soft:ns=2,lbs=4096\", \"soft\", "
	         "\"soft:ns=2,lbs=4096\"]"},
		{"-D", 1000, ".total.stats.sq_doorbell_updates < 500"},
		{"-q 100", 5, ".total.stats.sq_doorbell_updates == 5"},
		{"-r soft:mode=thread -c 2", 500, ".total.reads == 500"},
	};
	static const char add_up[] =
		".total.bytes == .total.ios * .size and "
		".total.stats.submitted_requests == .total.ios and "
		".total.stats.completions == .total.ios and "
		"([.results[].ios] | add) == .total.ios and "
		"([.results[].bytes] | add) == .total.bytes and "
		"([.results[].latency_us.max] | max) == .total.latency_us.max and "
		"([.results[].latency_us.min] | min) == .total.latency_us.min and "
		"(.total.latency_us | .min <= .average and .average <= .max) and "
		"([.total.percentiles_us[]] | . == sort) and "
		".total.percentiles_us.\"99.999\" <= .total.latency_us.max";
	struct result r;
	char filter[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r,
		    "NVME_TRACE=%s/perf.nvt $BUILD/perf -n %d --json -L --transport-stats %s && "
		    "$BUILD/nvtrace --lint %s/perf.nvt >&2 && "
		    "$BUILD/nvtrace %s/perf.nvt | grep -cE '(READ|WRITE) sqid:' >&2",
		    dir, rows[i].count, rows[i].options, dir, dir);
		expect_status(&r, 0);
		snprintf(filter, sizeof(filter), "\n%d\n", rows[i].count);
		expect_in(&r, r.err, filter);
		snprintf(filter, sizeof(filter), ".total.ios == %d and %s", rows[i].count,
		         rows[i].holds);
		expect_true(&r, filter);
		expect_true(&r, add_up);
		done(&r);
	}
}

/* The table for people, and no progress line where there is no terminal. */
static void test_perf_table(void **state)
{
	struct result r;
	const char *at;

	(void)state;
	run(&r, "$BUILD/perf -n 100 -c 2 -L --transport-stats");
	expect_status(&r, 0);
	assert_string_equal(r.err, "");
	at = expect_in(&r, r.out, "Latency(us)\n");
	at = expect_in(&r, at, "IOPS      MiB/s    Average        min        max\n");
	at = expect_in(&r, at, "soft NSID 1 from core ");
	at = expect_in(&r, at, "\nsoft NSID 1 from core ");
	at = expect_in(&r, at, "\nTotal ");
	at = expect_in(&r, at, "\n  50.00000% : ");
	expect_in(&r, at, "submitted: 100, completed: 100\n");
	done(&r);
	run(&r, "$BUILD/perf -t 1 -q 4 && $BUILD/perf --help");
	expect_status(&r, 0);
	expect_in(&r, r.out, "usage: perf");
	assert_string_equal(r.err, "");
	done(&r);
}

static void test_perf_wrong_use(void **state)
{
	static const struct {
		const char *options, *says;
	} rows[] = {
		{"-q 0", "'-q 0' makes no sense: give a number from 1 to 65535"},
		{"-q x", "'-q x' makes no sense"},
		{"-q -1", "'-q -1' makes no sense"},
		{"-q ''", "'-q ' makes no sense"},
		{"-q 2000", "-q 2000 is too much for 1 queue pairs of soft: say -q 1023"},
		{"-o 4Kx", "'-o 4Kx' makes no sense"},
		{"-o 513", "-o 513 is no I/O of soft: say 1 to 1024 blocks of 512 bytes"},
		{"-o 1024K", "-o 1048576 is no I/O of soft"},
		{"-o 99999999999999999999K", "makes no sense"},
		{"-o 64K -r soft:size=32K", "-o 65536 is no I/O of soft:size=32K"},
		{"-w randfoo", "there is no workload randfoo"},
		{"-w rand", "there is no workload rand"},
		{"-M 50", "-M means nothing without"},
		{"-w rw -M 101", "give a number from 0 to 100"},
		{"-n 1 -t 1", "-t and -n exclude each other"},
		{"-c 0", "'-c 0' makes no sense"},
		{"-P 3 -q 2", "-P is more than -q"},
		{"soft", "name devices with -r, not just so: soft"},
		{"--frob", "usage: perf"},
		{"-r soft:x=1", "there is no option 'x'"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "$BUILD/perf %s", rows[i].options);
		expect_status(&r, 2);
		expect_in(&r, r.err, rows[i].says);
		assert_string_equal(r.out, "");
		done(&r);
	}
}

/* What keeps its data is not written to without --force, be it empty or not; reading is free. */
static void test_perf_refuses(void **state)
{
	static const char *const writing[] = {"write", "randwrite", "rw", "randrw"};
	const char *disk, *copy = image("copy.img");
	struct result r;
	size_t i;
	int used;

	(void)state;
	for (i = 0; i < 2 * sizeof(writing) / sizeof(writing[0]); i++) {
		used = i % 2 == 1;
		disk = new_image("used.img", 2 * MIB);
		if (used)
			write_at(disk, 512, "EFI PART", 8);
		run(&r, "cp %s %s; $BUILD/perf -n 100 -w %s -r %s", disk, copy, writing[i / 2],
		    device_on(disk, ""));
		expect_status(&r, 1);
		expect_in(&r, r.err, used ? "a GPT partition table" : "holds only zeros");
		expect_in(&r, r.err, "--force");
		assert_string_equal(r.out, "");
		done(&r);
		run(&r, "cmp %s %s && $BUILD/perf -n 100 -r %s && cmp %s %s", disk, copy,
		    device_on(disk, ""), disk, copy);
		expect_status(&r, 0);
		done(&r);
		run(&r, "$BUILD/perf -n 100 -w %s --force -r %s", writing[i / 2],
		    device_on(disk, ""));
		expect_status(&r, 0);
		expect_in(&r, r.out, "\nTotal ");
		done(&r);
	}
}

/* It ends, says why, and blames no one else; also with several threads and devices. */
static void test_perf_failing_controller(void **state)
{
	static const struct {
		const char *plan, *says;
	} plans[] = {
		{"on read #100 gone", "a queue pair has failed"},
		{"on read #100 cfs", "a queue pair has failed"},
		{"on read #100 drop", "nothing was completed in 30 seconds"},
		{"on read #100 status 2/81 dnr", "a command has failed"},
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < 2 * sizeof(plans) / sizeof(plans[0]); i++) {
		run(&r, "NVME_FAULTS='%s' $BUILD/perf -n 1000 %s", plans[i / 2].plan,
		    i % 2 == 0 ? "" : "-c 2 -P 2 -r soft -r soft:seed=2");
		expect_status(&r, 1);
		expect_in(&r, r.err, plans[i / 2].says);
		expect_in(&r, r.err, "the run ends here");
		expect_in(&r, r.out, "\nTotal ");
		done(&r);
	}
	run(&r,
	    "NVME_FAULTS='on read #100 gone' $BUILD/perf -n 1000 --interrupts -r soft:mode=thread");
	expect_status(&r, 1);
	expect_in(&r, r.err, "a queue pair has failed");
	done(&r);
	run(&r,
	    "$BUILD/perf -n 1000 --interrupts --json -c 2 -P 2 -r soft:mode=thread -r soft:seed=2");
	expect_status(&r, 0);
	expect_true(&r, ".total.ios == 1000");
	done(&r);
	run(&r, "NVME_FAULTS='on read #100 delay 50ms' $BUILD/perf -n 1000 --json");
	expect_status(&r, 0);
	expect_true(&r, ".total.ios == 1000");
	done(&r);
}

/* ---- nvdd ---- */

/* A file with holes, zeros and an end inside a block: onto a disk, back, and what is left out. */
static void test_nvdd(void **state)
{
	static const char *const devices[] = {"size=16M", "size=16M,lbs=4096,mdts=2,mqes=7"};
	struct result r;
	size_t i;

	(void)state;
	run(&r,
	    "cd %s && truncate -s 8M f && head -c 3000000 /dev/urandom | "
	    "dd of=f bs=64k seek=20 conv=notrunc status=none && head -c 700 /dev/urandom >>f",
	    dir);
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		run(&r,
		    "cd %s && rm -f back disk dd.nvt && b=$OLDPWD/$BUILD && "
		    "NVME_TRACE=dd.nvt $b/nvdd write f soft:file=disk,%s && "
		    "$b/nvtrace --lint dd.nvt >&2 && $b/nvtrace dd.nvt | grep -c 'WRITE ZEROES' >&2 && "
		    "$b/nvdd read back soft:file=disk,%s && "
		    "cmp -n 8389308 f back && cmp -n 8389308 f disk && "
		    "tail -c +8389309 back | tr -d '\\0' | wc -c && stat -c '%%s' back && "
		    "[ $(du -k back | cut -f1) -lt 4000 ]",
		    dir, devices[i], devices[i]);
		expect_status(&r, 0);
		assert_string_equal(r.out, "8389308 bytes were copied\n16777216 bytes were copied\n"
		                           "0\n16777216\n");
		done(&r);
	}
}

/* Nothing is lost without --force, and what fails is said. */
static void test_nvdd_refuses(void **state)
{
	static const struct {
		const char *arguments;
		int status;
		const char *says;
	} rows[] = {
		{"write f soft:file=used", 1, "an MBR partition table"},
		{"read f soft", 1, "f: is there already"},
		{"write missing soft", 1, "missing: No such file"},
		{"write / soft", 1, "/: is no regular file"},
		{"write f soft:size=1M", 1, "f: is larger than the namespace"},
		{"write f soft:ms=8,mset=1", 1, "metadata"},
		{"write f 'soft:plan=on write #20 status 2/80'", 1,
	         "not all was copied: WRITE FAULTS (02/80)"},
		{"write f 'soft:plan=on write #20 drop'", 1, "not complete in time"},
		{"read new 'soft:plan=on read #20 gone'", 1, "not all was copied: "},
		{"write f 'soft:plan=on flush status 0/06'", 1, "INTERNAL DEVICE ERROR (00/06)"},
		{"--force read /dev/null soft", 1, "/dev/null: is no regular file"},
		{"copy f soft", 2, "usage: nvdd"},
		{"write f", 2, "usage: nvdd"},
	};
	struct result r;
	size_t i;

	(void)state;
	write_at(new_image("used", 8 * MIB), 510, "\x55\xaa", 2);
	run(&r, "cd %s && rm -f f && yes | head -c 4M >f && cp used was && cp f copy", dir);
	expect_status(&r, 0);
	done(&r);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run(&r, "b=$PWD/$BUILD; cd %s && NVME_LOG=error $b/nvdd %s", dir,
		    rows[i].arguments);
		expect_status(&r, rows[i].status);
		expect_in(&r, r.err, rows[i].says);
		assert_string_equal(r.out, "");
		done(&r);
		run(&r, "cd %s && cmp used was && cmp f copy", dir);
		expect_status(&r, 0);
		done(&r);
	}
	run(&r,
	    "b=$PWD/$BUILD; cd %s && $b/nvdd --force write f soft:file=used && cmp -n 4194304 f used",
	    dir);
	expect_status(&r, 0);
	done(&r);
}

/* Each example names what it did not understand. */
static void test_names_what_is_wrong(void **state)
{
	static const char *const examples[] = {"scatter",    "probe",   "metadata",    "interrupts",
	                                       "nvdd x y",   "extents", "poll_groups", "smart",
	                                       "deallocate", "fused",   "format",      "zns",
	                                       "cmb",        "aer",     "hotplug",     "reset",
	                                       "timeouts"};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		run(&r, "$BUILD/%s --frob", examples[i]);
		expect_status(&r, 2);
		expect_in(&r, r.err, strchr(examples[i], ' ') ? "'x' is not" : "'--frob' is not");
		expect_in(&r, r.err, "\nusage: ");
		assert_string_equal(r.out, "");
		done(&r);
	}
	run(&r, "$BUILD/nvdd write");
	expect_status(&r, 2);
	expect_in(&r, r.err, "nvdd: something is missing\nusage: nvdd ");
	done(&r);
}

/* ---- when something goes wrong ---- */

/* The example, and that its record is in order. */
static void run_recorded(struct result *r, const char *command)
{
	run(r, "NVME_TRACE=%s/wrong.nvt $BUILD/%s", dir, command);
	expect_status(r, 0);
}

static void expect_record_in_order(void)
{
	struct result r;

	run(&r, "$BUILD/nvtrace --lint %s/wrong.nvt", dir);
	expect_status(&r, 0);
	done(&r);
}

#define SLOW_READS "soft:nssr=1,plan=on read lba 2..5 drop times 4"

/* Each read ends once; with --resubmit nobody hears of the reset. */
static void test_reset(void **state)
{
	struct result r;

	(void)state;
	run_recorded(&r, "reset");
	assert_string_equal(r.out, "the controller was reset\n"
	                           "queue 1: the reset ends it, 2 reads complete, 2 aborted\n"
	                           "queue 1: works, 4 reads complete, 0 aborted\n"
	                           "queue 2: the reset ends it, 2 reads complete, 2 aborted\n"
	                           "queue 2: works, 4 reads complete, 0 aborted\n");
	done(&r);
	expect_record_in_order();
	run_recorded(&r, "reset --resubmit --subsystem '" SLOW_READS "'");
	assert_string_equal(r.out, "the NVM subsystem was reset\n"
	                           "queue 1: works, 4 reads complete, 0 aborted\n"
	                           "queue 2: works, 4 reads complete, 0 aborted\n");
	done(&r);
	expect_record_in_order();
	run_recorded(&r, "reset 'soft:mode=thread,plan=on read delay 20ms'");
	done(&r);
	expect_record_in_order();
	run(&r, "$BUILD/reset --subsystem soft");
	expect_status(&r, 1);
	expect_in(&r, expect_in(&r, r.err, "CAP.NSSRS = 0"), "reset: failed: Operation not supp");
	done(&r);
}

#define SILENT "'soft:plan=on read lba 8 drop"

/* Each rung once, climbed by the callback and by the driver. */
static void test_timeouts(void **state)
{
	static const struct {
		const char *command, *says[4];
	} cases[] = {
		{"timeouts",
	         {"  0.5 s  command 8 does not come back: it is to be aborted",
	          "  0.5 s  the controller says that it has aborted it",
	          "  0.5 s  a read ends: ABORTED - BY REQUEST", "15 reads complete, 1 aborted, 0"}},
		{"timeouts " SILENT "; on abort dw0 1'",
	         {"  0.5 s  the controller has not aborted it", "  0.5 s  the controller is reset",
	          "a read ends: ABORTED - SQ DELETION", "15 reads complete, 1 aborted, 0"}},
		{"timeouts " SILENT "; on abort drop'",
	         {"  1.0 s  nor does the Abort come back", "  1.0 s  the controller is reset",
	          "the queue pair was ended by a reset", "15 reads complete, 1 aborted, 0"}},
		{"timeouts --ladder",
	         {"  0.5 s  [soft] command 8 of queue 1, opcode 02h, is late: the controller is asked",
	          "ABORTED - BY REQUEST (00/07)", "a read ends: ABORTED - BY REQUEST",
	          "15 reads complete, 1 aborted, 0"}},
		{"timeouts --ladder " SILENT "; on abort dw0 1'",
	         {"is asked to abort it",
	          "  1.0 s  [soft] command 8 of queue 1, opcode 02h, is late: "
	          "the controller is reset",
	          "resetting controller", "15 reads complete, 1 aborted"}},
		{"timeouts --ladder 'soft:plan=on read lba 8 cfs times 1'",
	         {"reports a fatal error, CSTS.CFS: it is reset", "resetting controller",
	          "ended by a reset: it is connected again", "8 reads complete, 8 aborted"}},
	};
	struct result r;
	const char *at;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_recorded(&r, cases[i].command);
		for (k = 0, at = r.out; k < 4; k++)
			at = expect_in(&r, at, cases[i].says[k]);
		done(&r);
		expect_record_in_order();
	}
	run(&r, "$BUILD/timeouts --ladder 'soft:plan=on read lba 8 gone'");
	expect_status(&r, 1);
	expect_in(&r, r.out, "it is given up: No such device");
	done(&r);
}

/* ---- groups ---- */

/* A disk that fails keeps none of the others from being read. */
static void test_groups(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "NVME_TRACE=%s/groups.nvt $BUILD/poll_groups && $BUILD/nvtrace --lint %s/groups.nvt >&2",
	    dir, dir);
	expect_status(&r, 0);
	assert_string_equal(r.out, "soft: 1000 of 1000 blocks read\n"
	                           "soft:seed=2: 1000 of 1000 blocks read\n");
	done(&r);
	run(&r,
	    "$BUILD/poll_groups --wait soft:mode=thread 'soft:mode=thread,plan=on read #10 gone'");
	expect_status(&r, 1);
	expect_in(&r, r.out, "gone leaves the group\nsoft:mode=thread: 1000 of 1000 blocks read\n");
	done(&r);
	run(&r, "$BUILD/poll_groups soft 'soft:plan=on read #10 gone' soft:size=1M,lbs=4096");
	expect_status(&r, 1);
	assert_string_equal(r.out, "soft:plan=on read #10 gone leaves the group\n"
	                           "soft: 1000 of 1000 blocks read\n"
	                           "soft:plan=on read #10 gone: 9 of 1000 blocks read\n"
	                           "soft:size=1M,lbs=4096: 256 of 256 blocks read\n");
	done(&r);
	run(&r, "$BUILD/poll_groups 'soft:plan=on read #10 drop' soft");
	expect_status(&r, 1);
	expect_in(&r, r.out, ": 999 of 1000 blocks read\nsoft: 1000 of 1000");
	done(&r);
	run(&r, "$BUILD/poll_groups --frob");
	expect_status(&r, 2);
	expect_in(&r, r.err, "usage: poll_groups");
	done(&r);
	run(&r, "$BUILD/poll_groups soft soft:x=1");
	expect_status(&r, 2);
	assert_string_equal(r.out, "");
	done(&r);
}

/* Those that are asked for or gone are detached, and the others read on. */
static void test_hotplug(void **state)
{
	struct result r;

	(void)state;
	run(&r,
	    "NVME_TRACE=%s/hotplug.nvt $BUILD/hotplug && $BUILD/nvtrace --lint %s/hotplug.nvt >&2 && "
	    "$BUILD/nvtrace %s/hotplug.nvt >&2",
	    dir, dir, dir);
	expect_status(&r, 0);
	assert_string_equal(r.out,
	                    "soft:plan=on read #100 remove is there\n"
	                    "soft:seed=2,plan=on read #300 gone is there\n"
	                    "soft:plan=on read #100 remove is asked for\n"
	                    "soft:plan=on read #100 remove is detached after 100 blocks\n"
	                    "soft:seed=2,plan=on read #300 gone is gone\n"
	                    "soft:seed=2,plan=on read #300 gone is detached after 299 blocks\n");
	/* in the log, and in the record once more */
	expect_in(&r, expect_in(&r, r.err, "the system wants the device back"),
	          "the system wants the device back");
	done(&r);
	run(&r, "$BUILD/nvtrace -v --no-prefix -f kind==mark %s/hotplug.nvt", dir);
	assert_string_equal(r.out, "removal: the system wants the device back\n"
	                           "removal: the device is gone\n");
	done(&r);
	run(&r,
	    "$BUILD/hotplug 'soft:plan=on read #5 bus-error' 'soft:plan=on read #7 status 2/81'");
	expect_status(&r, 1);
	expect_in(&r, r.out,
	          "bus-error has failed\nsoft:plan=on read #5 bus-error is detached after ");
	expect_in(&r, r.out, "status 2/81 is detached after 6 blocks\n");
	done(&r);
	run(&r, "$BUILD/hotplug -t 1 soft 'soft:mode=thread,plan=remove after 20ms'");
	expect_status(&r, 0);
	expect_in(&r, expect_in(&r, r.out, "remove after 20ms is detached after "),
	          "soft is detached after ");
	done(&r);
	run(&r, "$BUILD/hotplug 'soft:plan=ready never' 'soft:plan=on read #3 remove'");
	expect_status(&r, 1);
	expect_in(&r, r.out, "remove is detached after 3 blocks\n");
	done(&r);
	run(&r,
	    "$BUILD/hotplug -t; $BUILD/hotplug -t 0; $BUILD/hotplug -t 1s soft; $BUILD/hotplug -x");
	expect_status(&r, 2);
	expect_in(&r, r.err, "hotplug: something is missing\nusage: hotplug ");
	expect_in(&r, r.err, "hotplug: '0' is not understood\n");
	expect_in(&r, r.err, "hotplug: '1s' is not understood\n");
	expect_in(&r, r.err, "hotplug: '-x' is not understood\n");
	assert_string_equal(r.out, "");
	done(&r);
	run(&r, "$BUILD/hotplug soft:x=1");
	expect_status(&r, 2);
	assert_string_equal(r.out, "");
	done(&r);
}

static int setup(void **state)
{
	hello_world = getenv("HELLO_WORLD") != NULL ? getenv("HELLO_WORLD") : hello_world;
	extents = getenv("EXTENTS") != NULL ? getenv("EXTENTS") : extents;
	return make_dir(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_use),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_output_in_log),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_accepts),
		cmocka_unit_test(test_failing_controller),
		cmocka_unit_test(test_identify_pci),
		cmocka_unit_test(test_identify_arguments),
		cmocka_unit_test(test_odd_strings),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_aer),
		cmocka_unit_test(test_aer_options),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_identify_several),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_cmb),
		cmocka_unit_test(test_cmb_refuses),
		cmocka_unit_test(test_metadata_refuses),
		cmocka_unit_test(test_zns),
		cmocka_unit_test(test_zns_refuses),
		cmocka_unit_test(test_scatter),
		cmocka_unit_test(test_smart),
		cmocka_unit_test(test_extents),
		cmocka_unit_test(test_extents_fail),
		cmocka_unit_test(test_writers_refuse),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_deallocate),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_perf_adds_up),
		cmocka_unit_test(test_perf_table),
		cmocka_unit_test(test_perf_wrong_use),
		cmocka_unit_test(test_perf_refuses),
		cmocka_unit_test(test_perf_failing_controller),
		cmocka_unit_test(test_names_what_is_wrong),
		cmocka_unit_test(test_nvdd),
		cmocka_unit_test(test_nvdd_refuses),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_hotplug),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, remove_dir);
}
