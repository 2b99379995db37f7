/* SPDX-License-Identifier: MIT
 *
 * The software controller of tools/nvme_soft.h: by itself, through its registers, and under the
 * driver.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "../tools/nvme_soft.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GEN(sc)  ((uint32_t)(sc))
#define SPEC(sc) (0x100u | (uint32_t)(sc))
#define MED(sc)  (0x200u | (uint32_t)(sc))

static char log_text[65536];
static size_t log_len;

static void capture(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	if (log_len + strlen(line) + 2 < sizeof(log_text))
		log_len += (size_t)snprintf(log_text + log_len, sizeof(log_text) - log_len, "%s\n",
		                            line);
}

static void discard(void *arg, enum nvme_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void assert_log(const char *part)
{
	if (strstr(log_text, part) == NULL)
		fail_msg("'%s' is not in the log:\n%s", part, log_text);
}

/* ---- a controller with its driver ---- */

static struct nvme_soft_stats last; /* of the controller that was closed last */
static struct nvme_dev_ops ops;

static void close_and_look(struct nvme_dev *dev)
{
	nvme_soft_get_stats(dev, &last);
	nvme_soft_dev_ops("soft")->close(dev);
}

static struct nvme_ctrlr_opts options(void)
{
	struct nvme_ctrlr_opts opts;

	memset(&opts, 0, sizeof(opts));
	memset(&last, 0, sizeof(last));
	ops = *nvme_soft_dev_ops("soft");
	ops.close = close_and_look;
	opts.dev_ops = &ops;
	opts.log = capture;
	opts.no_ladder = true; /* what the device does, not what is done about it */
	log_len = 0;
	log_text[0] = '\0';
	return opts;
}

static int try_attach(const char *device, struct nvme_ctrlr **ctrlr)
{
	struct nvme_ctrlr_opts opts = options();

	return nvme_attach(device, &opts, ctrlr);
}

static struct nvme_ctrlr *attach(const char *device)
{
	struct nvme_ctrlr *ctrlr;
	int rc = try_attach(device, &ctrlr);

	if (rc != 0)
		fail_msg("%s: %d\n%s", device, rc, log_text);
	return ctrlr;
}

static void detach(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_int_equal(last.bytes_mapped, 0);
}

static const struct nvme_dev *dev_of(struct nvme_ctrlr *ctrlr)
{
	return nvme_ctrlr_get_dev(ctrlr);
}

static struct nvme_soft_stats stats_of(struct nvme_ctrlr *ctrlr)
{
	struct nvme_soft_stats stats;

	nvme_soft_get_stats(dev_of(ctrlr), &stats);
	return stats;
}

static struct nvme_cpl cpl; /* the last completion of the helpers below */

/* SCT and SC of a status, the way GEN(), SPEC() and MED() write them. */
static uint32_t code(const struct nvme_cpl *c)
{
	return NVME_GET(c->status, NVME_CPL_SCT) << 8 | NVME_GET(c->status, NVME_CPL_SC);
}

static struct nvme_cmd command(uint8_t opc, uint32_t nsid)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.nsid = nsid;
	return cmd;
}

static uint32_t run(struct nvme_ctrlr *ctrlr, bool admin, const struct nvme_cmd *cmd, void *buf,
                    uint32_t len)
{
	int rc = admin ? nvme_ctrlr_admin(ctrlr, cmd, buf, len, &cpl)
	               : nvme_ctrlr_io(ctrlr, NULL, cmd, buf, len, &cpl);

	if (rc != 0 && rc != -EIO)
		fail_msg("opcode %02xh: %d\n%s", cmd->opc, rc, log_text);
	return code(&cpl);
}

static uint32_t admin(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t nsid, uint32_t cdw10,
                      uint32_t cdw11, void *buf, uint32_t len)
{
	struct nvme_cmd cmd = command(opc, nsid);

	cmd.cdw10 = cdw10;
	cmd.cdw11 = cdw11;
	return run(ctrlr, true, &cmd, buf, len);
}

static uint32_t io(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t nsid, uint64_t slba,
                   uint32_t cdw12, void *buf, uint32_t len)
{
	struct nvme_cmd cmd = command(opc, nsid);

	cmd.cdw10 = (uint32_t)slba;
	cmd.cdw11 = (uint32_t)(slba >> 32);
	cmd.cdw12 = cdw12;
	return run(ctrlr, false, &cmd, buf, len);
}

/* ---- asynchronous commands ---- */

struct done {
	int count;
	struct nvme_cpl cpl;
	int order;
};

static int order;

static void on_done(void *arg, const struct nvme_cpl *c)
{
	struct done *d = (struct done *)arg;

	d->count++;
	d->cpl = *c;
	d->order = ++order;
}

static int poll_until(struct nvme_qpair *qp, const struct done *d)
{
	int i, rc = 0;

	for (i = 0; i < 3000000 && d->count == 0 && rc >= 0; i++)
		rc = nvme_qpair_process_completions(qp, 0);
	return rc < 0 ? rc : d->count > 0 ? 0 : -ETIMEDOUT;
}

/* ---- the text of a device ---- */

static void test_device_text(void **state)
{
	static const struct {
		const char *device, *part;
	} bad[] = {
		{"soft:size=0", "size=0 is wrong"},
		{"soft:size=", "size= is wrong"},
		{"soft:size=12Q", "size=12Q is wrong"},
		{"soft:size=1000", "multiple of lbs=512"},
		{"soft:size=99999999999999999999", "is wrong"},
		{"soft:size=9999999T", "is wrong"},
		{"soft:lbs=1000", "a power of two from 512 to 65536"},
		{"soft:lbs=256", "lbs=256 is wrong"},
		{"soft:ns=0", "a number from 1 to 64"},
		{"soft:ns=65", "ns=65"},
		{"soft:mdts=256", "mdts=256"},
		{"soft:mqes=0", "mqes=0"},
		{"soft:mqes=x", "mqes=x"},
		{"soft:queues=129", "from 1 to 128"},
		{"soft:dstrd=16", "dstrd=16"},
		{"soft:to=256", "to=256"},
		{"soft:to=1x", "to=1x"},
		{"soft:crwmt=65536", "crwmt=65536"},
		{"soft:mpsmin=16", "mpsmin=16"},
		{"soft:mpsmin=3,mpsmax=2", "mpsmax=2 is less than mpsmin=3"},
		{"soft:css=0x100", "css=0x100"},
		{"soft:iova=20", "iova=20"},
		{"soft:mode=turbo", "use sync or thread"},
		{"soft:file=", "file= needs"},
		{"soft:colour=red", "there is no option 'colour'"},
		{"soft:sizes", "'sizes' is not an option"},
		{"soft:=3", "no option ''"},
		{"soft:ns=2,,lbs=512", "'' is not an option"},
		{"software", "no soft device"},
		{"soft:plan=on reed drop", "'reed'"},
	};
	static const char *const good[] = {
		"soft",           "soft:",
		"soft:size=64M",  "soft:size=0x100000,lbs=4096,ns=2,mdts=5,mqes=63,dstrd=0,to=1",
		"soft:mode=sync", "soft:mode=thread,seed=7,plan=on read drop; nslist 3,2,2",
		"soft:size=1T",   "soft:size=4k",
	};
	struct nvme_ctrlr *ctrlr;
	char why[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(nvme_soft_check(bad[i].device, why, sizeof(why)), -EINVAL);
		if (strstr(why, bad[i].part) == NULL)
			fail_msg("%s: %s", bad[i].device, why);
		if (i + 1 == sizeof(bad) / sizeof(bad[0]) ||
		    strncmp(bad[i].device, "soft:", 5) != 0)
			continue;
		assert_int_equal(try_attach(bad[i].device, &ctrlr), -EINVAL);
		assert_log(bad[i].part);
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (nvme_soft_check(good[i], why, sizeof(why)) != 0)
			fail_msg("%s: %s", good[i], why);
		assert_non_null(nvme_soft_dev_ops(good[i]));
	}
	assert_null(nvme_soft_dev_ops("0000:01:00.0"));
	assert_null(nvme_soft_dev_ops("software"));
	assert_null(nvme_soft_dev_ops(NULL));
	assert_int_equal(nvme_soft_check("soft:size=0", NULL, 0), -EINVAL);
}

/* Every option has its effect. */
static void test_device_options(void **state)
{
	struct nvme_ctrlr *ctrlr =
		attach("soft:size=4M,lbs=4096,ns=3,mdts=5,mqes=63,queues=4,dstrd=3,"
	               "to=7,crwmt=500,mpsmin=1,mpsmax=2,seed=9");
	uint64_t cap = nvme_ctrlr_get_reg_8(ctrlr, NVME_REG_CAP);
	const struct nvme_dev *dev = dev_of(ctrlr);
	size_t size = 0;

	(void)state;
	assert_string_equal(dev->name, "soft");
	assert_int_equal(dev->vendor_id, NVME_SOFT_VENDOR_ID);
	assert_int_equal(dev->device_id, NVME_SOFT_DEVICE_ID);
	assert_null(dev->bar0);
	assert_int_equal(NVME_GET(cap, NVME_CAP_MQES), 63);
	assert_int_equal(NVME_GET(cap, NVME_CAP_DSTRD), 3);
	assert_int_equal(NVME_GET(cap, NVME_CAP_TO), 7);
	assert_int_equal(NVME_GET(cap, NVME_CAP_CRMS), NVME_CAP_CRMS_CRWMS);
	assert_int_equal(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CRTO), 500);
	assert_int_equal(NVME_GET(cap, NVME_CAP_MPSMIN), 1);
	assert_int_equal(NVME_GET(cap, NVME_CAP_MPSMAX), 2);
	assert_int_equal(nvme_ctrlr_get_max_xfer_size(ctrlr), 8192u << 5);
	assert_int_equal(nvme_ctrlr_get_num_io_queues(ctrlr), 4); /* asked for 8 */
	assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 1);
	assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 2), 3);
	assert_int_equal(nvme_ns_get_num_sectors(nvme_ctrlr_get_ns(ctrlr, 3)), 1024);
	assert_int_equal(nvme_ns_get_sector_size(nvme_ctrlr_get_ns(ctrlr, 3)), 4096);
	assert_non_null(nvme_soft_get_ns_memory(dev, 3, &size));
	assert_int_equal(size, 4 << 20);
	assert_null(nvme_soft_get_ns_memory(dev, 4, NULL));
	assert_memory_equal(nvme_ctrlr_get_data(ctrlr)->sn, "SOFT00000009", 12);
	detach(ctrlr);
}

static void write_and_read(struct nvme_ctrlr *ctrlr, uint32_t nsid, struct nvme_qpair *qp)
{
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, nsid);
	uint32_t size = nvme_ns_get_sector_size(ns), i;
	uint8_t *out = (uint8_t *)malloc(8 * (size_t)size),
		*in = (uint8_t *)malloc(8 * (size_t)size);

	for (i = 0; i < 8 * size; i++)
		out[i] = (uint8_t)(i * 7 + nsid);
	assert_int_equal(nvme_ns_write(ns, qp, out, 5, 8, NULL), 0);
	assert_int_equal(nvme_ns_read(ns, qp, in, 5, 8, NULL), 0);
	assert_memory_equal(in, out, 8 * (size_t)size);
	assert_memory_equal((uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), nsid, NULL) +
	                            5 * (size_t)size,
	                    out, 8 * (size_t)size);
	free(out);
	free(in);
}

/* Shapes of controllers: pages, doorbells, queues and addresses. */
static void test_shapes(void **state)
{
	static const char *const devices[] = {
		"soft",
		"soft:mpsmin=4",          /* pages of 64 KiB */
		"soft:dstrd=3",           /* 32 bytes apart */
		"soft:dstrd=15,queues=1", /* the largest stride */
		"soft:mqes=1",            /* one command in flight */
		"soft:mqes=63",
		"soft:queues=4", /* fewer than are asked for */
		"soft:iova=39",  /* addresses of 39 bits */
		"soft:iova=31",
		"soft:ns=4,lbs=65536,size=16M",
		"soft:mdts=0",
		"soft:mdts=1,lbs=512,size=1M",
		"soft:css=0x40",
		"soft:mode=thread",
	};
	struct nvme_ctrlr *ctrlr;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		ctrlr = attach(devices[i]);
		write_and_read(ctrlr, nvme_ctrlr_get_first_active_ns(ctrlr), NULL);
		detach(ctrlr);
		assert_int_equal(last.strays + last.bad_doorbells, 0);
	}
	ctrlr = attach("soft:css=0x80"); /* only the admin command set */
	assert_int_equal(nvme_ctrlr_get_num_io_queues(ctrlr), 0);
	assert_int_equal(NVME_GET(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CC), NVME_CC_CSS),
	                 NVME_CC_CSS_ADMIN);
	detach(ctrlr);
}

/* A file keeps its content, gives the size, and is not cut or grown. */
static void test_file(void **state)
{
	static char path[] = "/tmp/nvme-test-XXXXXX";
	char device[128], block[512] = "kept", back[512];
	struct nvme_ctrlr *ctrlr;
	struct stat st;

	(void)state;
	close(mkstemp(path));
	unlink(path);
	snprintf(device, sizeof(device), "soft:size=1M,ns=2,file=%s", path);
	ctrlr = attach(device);
	assert_int_equal(nvme_ns_write(nvme_ctrlr_get_ns(ctrlr, 2), NULL, block, 3, 1, NULL), 0);
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 2), NULL, NULL), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE_ZEROES, 1, 0, 15, NULL, 0), 0);
	detach(ctrlr);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2 << 20);

	snprintf(device, sizeof(device), "soft:ns=2,file=%s", path);
	ctrlr = attach(device);
	assert_int_equal(nvme_ns_get_num_sectors(nvme_ctrlr_get_ns(ctrlr, 1)), 2048);
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 2), NULL, back, 3, 1, NULL), 0);
	assert_memory_equal(back, block, 512);
	detach(ctrlr);

	snprintf(device, sizeof(device), "soft:size=2M,ns=2,file=%s", path);
	assert_int_equal(try_attach(device, &ctrlr), -EINVAL);
	assert_log("which is not the size of 4194304");
	snprintf(device, sizeof(device), "soft:ns=3,file=%s", path);
	assert_int_equal(try_attach(device, &ctrlr), -EINVAL);
	assert_log("which is not a multiple of 1536");
	assert_int_equal(try_attach("soft:file=/no/such/place", &ctrlr), -ENOENT);
	assert_log("cannot open /no/such/place");
	unlink(path);
}

/* ---- the text of a plan ---- */

static void test_plan_text(void **state)
{
	static const struct {
		const char *plan, *part;
	} bad[] = {
		{"explode", "'explode' is wrong: expected on, ready"},
		{"on", "'on' ends too early"},
		{"on reed drop", "'reed' is wrong: expected cmd, admin"},
		{"on read", "ends too early: expected status"},
		{"on read #x drop", "'#x' is wrong: expected a number such as #3"},
		{"on read #0 drop", "'#0' is wrong"},
		{"on read lba drop", "'drop' is wrong: expected a block"},
		{"on read lba 9..3 drop", "'9..3'"},
		{"on read lba 1.. drop", "'1..'"},
		{"on read qid x drop", "'x' is wrong: expected a queue number"},
		{"on read nsid x drop", "expected a namespace number"},
		{"on opc 256 drop", "'256' is wrong: expected an opcode"},
		{"on read status", "ends too early: expected a status"},
		{"on read status 2", "'2' is wrong: expected a status"},
		{"on read status 2/", "'2/'"},
		{"on read status 8/1", "'8/1'"},
		{"on read status 2/100", "'2/100'"},
		{"on read status 2/81 crd 4", "'4' is wrong: expected a retry delay"},
		{"on read status 2/81 dnr maybe", "'maybe' is wrong: expected status"},
		{"on read delay 5", "'5' is wrong: expected a time"},
		{"on read delay 5min", "'5min'"},
		{"on read delay 5ms..1ms", "'5ms..1ms'"},
		{"on read cid 65536", "'65536'"},
		{"on read dw0 x", "expected a dword"},
		{"on read times x", "expected how many times"},
		{"ready", "ends too early: expected never"},
		{"ready soon", "'soon' is wrong: expected never"},
		{"ready after", "expected a time"},
		{"shutdown after x", "'x' is wrong: expected a time"},
		{"cfs", "expected at or on"},
		{"cfs at dawn", "'dawn' is wrong: expected enable"},
		{"cfs at enable twice", "'twice' is wrong: expected the end"},
		{"gone at enable", "'enable' is wrong: expected attach"},
		{"gone on", "expected cmd, admin"},
		{"start rdy=1", "'rdy=1' is wrong: expected en=0"},
		{"start en=2 rdy=1", "'en=2'"},
		{"start en=1 rdy=x", "'rdy=x'"},
		{"map", "expected fail"},
		{"map fail 3", "'3' is wrong: expected a number such as #3"},
		{"aer", "expected smart"},
		{"aer smoke", "'smoke' is wrong: expected smart"},
		{"aer smart after", "expected cmd, admin"},
		{"identify mdts", "'mdts' is wrong: expected a number that fits"},
		{"identify colour=1", "'colour=1'"},
		{"identify mdts=256", "'mdts=256' is wrong: expected a number that fits"},
		{"identify lbads=x", "'lbads=x'"},
		{"nn=4294967296", "'nn=4294967296'"},
		{"nslist", "expected at most 32 numbers"},
		{"nslist 1,,2", "'1,,2'"},
		{"vs=1.0", "'vs=1.0' is wrong: expected a version"},
		{"vs=1.0.300", "'vs=1.0.300'"},
		{"dma on read", "'on' is wrong: expected stray"},
		{"dma stray read", "'read' is wrong: expected on"},
		{"flood", "expected on"},
		{"torn pages", "'pages' is wrong: expected the end"},
		{"on read drop; on write dorp", "in 'on write dorp' the word 'dorp'"},
	};
	static const char *const good =
		" on read #3 status 2/81 dnr; on write lba 100..200 delay 50ms\n"
		"on cmd #7 drop;;on cmd #2 cid 4095; on cmd #2 duplicate;on cmd #5 sqhd 65535\n\n"
		"on cmd #2 sqid 9; on cmd #9 phase-stuck; on admin #4 status 0/6 more crd 3;"
		"on identify drop; on opc 0x7f drop times 2; on any lba 3 qid 1 nsid 1 dw0 7;"
		"ready after 300ms; shutdown never; cfs at enable once; cfs on cmd #4;"
		"gone on cmd #6; identify lbads=255; identify mdts=255; nn=4294967295;"
		"nslist 3,2,2; vs=1.0.0; start en=1 rdy=1; aer smart; aer smart after cmd #5;"
		"map fail #3; flood on cmd; torn; dma stray on cmd #3; on write-zeroes drop;"
		"on get-log-page drop; on verify drop; on dataset-management delay 0us..9us;"
		"on async-event-request status 1/05; identify strings; gone at attach; ready never;"
		"cfs at enable; identify ms=8; on write cfs; on write gone; on write stray; on "
		"write flood";
	char device[2048], why[300], many[3000] = "";
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(device, sizeof(device), "soft:plan=%s", bad[i].plan);
		if (nvme_soft_check(device, why, sizeof(why)) != -EINVAL ||
		    strstr(why, bad[i].part) == NULL)
			fail_msg("%s: %s", bad[i].plan, why);
	}
	snprintf(device, sizeof(device), "soft:plan=%s", good);
	if (nvme_soft_check(device, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	strcpy(many, "soft:plan=");
	for (i = 0; i < 65; i++)
		strcat(many, "on read drop;");
	assert_int_equal(nvme_soft_check(many, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "is too much"));
	snprintf(many, sizeof(many), "soft:plan=on %300s drop", "read");
	assert_int_equal(nvme_soft_check(many, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "is too much"));

	setenv("NVME_FAULTS", "on reed drop", 1);
	assert_int_equal(nvme_soft_check("soft", why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "'reed'"));
	setenv("NVME_FAULTS", "identify mdts=3", 1);
	struct nvme_ctrlr *ctrlr = attach("soft:plan=identify cntlid=77");
	assert_int_equal(nvme_ctrlr_get_data(ctrlr)->mdts, 3);
	assert_int_equal(nvme_ctrlr_get_data(ctrlr)->cntlid, 77);
	unsetenv("NVME_FAULTS");
	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), "on reed drop"), -EINVAL);
	assert_log("'reed' is wrong");
	detach(ctrlr);
}

/* ---- registers, without a driver ---- */

struct bare {
	struct nvme_dev dev;
	struct nvme_log log;
	uint8_t *mem; /* 64 KiB, mapped at 10000h */
	uint32_t admin_cmds;
};

#define BARE_IOVA 0x10000u

static void bare_open(struct bare *b, const char *device)
{
	memset(b, 0, sizeof(*b));
	b->log.level = NVME_LOG_WARNING;
	b->log.fn = capture;
	b->dev.log = &b->log;
	b->dev.ops = nvme_soft_dev_ops(device);
	log_len = 0;
	log_text[0] = '\0';
	assert_int_equal(b->dev.ops->open(&b->dev, device), 0);
	b->mem = (uint8_t *)aligned_alloc(4096, 65536);
	memset(b->mem, 0, 65536);
	assert_int_equal(b->dev.ops->dma_map(&b->dev, b->mem, 65536, BARE_IOVA), 0);
}

static void bare_close(struct bare *b)
{
	assert_int_equal(b->dev.ops->dma_unmap(&b->dev, BARE_IOVA, 65536), 0);
	b->dev.ops->close(&b->dev);
	free(b->mem);
}

static void wr(struct bare *b, uint32_t offset, uint32_t value)
{
	b->dev.ops->write_4(&b->dev, offset, value);
}

static uint32_t rd(struct bare *b, uint32_t offset)
{
	return b->dev.ops->read_4(&b->dev, offset);
}

#define CC_GOOD 0x00460000u /* IOSQES 6, IOCQES 4 */

static void bare_enable(struct bare *b, uint32_t cc)
{
	wr(b, NVME_REG_AQA, NVME_SET(3, NVME_AQA_ASQS) | NVME_SET(3, NVME_AQA_ACQS));
	wr(b, NVME_REG_ASQ, BARE_IOVA);
	wr(b, NVME_REG_ASQ + 4, 0);
	wr(b, NVME_REG_ACQ, BARE_IOVA + 4096);
	wr(b, NVME_REG_ACQ + 4, 0);
	wr(b, NVME_REG_CC, cc | NVME_SET(1, NVME_CC_EN));
}

/* Looks at the clock until CSTS is as wanted, at most 2 s of virtual time. */
static bool bare_wait(struct bare *b, uint32_t csts)
{
	uint64_t end = b->dev.ops->now_ns(&b->dev) + 2000 * NVME_SOFT__MS;

	while (b->dev.ops->now_ns(&b->dev) < end) {
		if (rd(b, NVME_REG_CSTS) == csts)
			return true;
	}
	return false;
}

static void test_registers(void **state)
{
	struct bare b;
	uint32_t cap;

	(void)state;
	bare_open(&b, "soft");
	cap = rd(&b, NVME_REG_CAP);
	wr(&b, NVME_REG_CAP, 0);
	wr(&b, NVME_REG_CAP + 4, 0);
	wr(&b, NVME_REG_VS, 0);
	wr(&b, NVME_REG_CSTS, 0xffffffff);
	wr(&b, NVME_REG_NSSR, NVME_NSSR_NSSRC);
	wr(&b, NVME_REG_CMBSZ, 1);
	assert_int_equal(rd(&b, NVME_REG_CAP), cap);
	assert_int_not_equal(rd(&b, NVME_REG_CAP + 4), 0);
	assert_int_equal(rd(&b, NVME_REG_VS), NVME_VS_SET(2, 0, 0));
	assert_int_equal(rd(&b, NVME_REG_CSTS), 0);
	assert_int_equal(rd(&b, NVME_REG_CMBSZ), 0);
	assert_int_equal(rd(&b, 2), 0);

	wr(&b, NVME_REG_INTMS, 0x0f); /* write 1 to set, write 1 to clear */
	wr(&b, NVME_REG_INTMS, 0x10);
	wr(&b, NVME_REG_INTMC, 0x03);
	assert_int_equal(rd(&b, NVME_REG_INTMS), 0x1c);
	assert_int_equal(rd(&b, NVME_REG_INTMC), 0x1c);

	wr(&b, NVME_REG_AQA, 0xffffffff); /* reserved bits stay 0 */
	assert_int_equal(rd(&b, NVME_REG_AQA), 0x0fff0fff);
	wr(&b, NVME_REG_ASQ, 0x11111000); /* halves of 64-bit registers are independent */
	wr(&b, NVME_REG_ASQ + 4, 0x22222222);
	wr(&b, NVME_REG_ACQ + 4, 0x33333333);
	wr(&b, NVME_REG_ACQ, 0x44444000);
	assert_int_equal(rd(&b, NVME_REG_ASQ), 0x11111000);
	assert_int_equal(rd(&b, NVME_REG_ASQ + 4), 0x22222222);
	assert_int_equal(rd(&b, NVME_REG_ACQ), 0x44444000);
	assert_int_equal(rd(&b, NVME_REG_ACQ + 4), 0x33333333);

	bare_enable(&b, CC_GOOD);
	assert_int_equal(rd(&b, NVME_REG_CSTS), 0); /* not at once */
	assert_true(bare_wait(&b, 1));
	wr(&b, NVME_REG_CC,
	   CC_GOOD | NVME_SET(1, NVME_CC_EN) | NVME_SET(3, NVME_CC_MPS)); /* fixed now */
	assert_int_equal(NVME_GET(rd(&b, NVME_REG_CC), NVME_CC_MPS), 0);
	wr(&b, NVME_REG_CC,
	   CC_GOOD | NVME_SET(1, NVME_CC_EN) | NVME_SET(1, NVME_CC_SHN)); /* normal */
	assert_int_equal(NVME_GET(rd(&b, NVME_REG_CSTS), NVME_CSTS_SHST), NVME_CSTS_SHST_OCCURRING);
	assert_true(bare_wait(&b, 0x9));
	wr(&b, NVME_REG_CC, CC_GOOD);
	assert_int_equal(rd(&b, NVME_REG_CSTS), 0);
	assert_int_equal(rd(&b, NVME_REG_INTMS), 0);
	assert_int_equal(rd(&b, NVME_REG_ACQ), BARE_IOVA + 4096); /* survives a controller reset */

	bare_enable(&b, CC_GOOD);
	assert_true(bare_wait(&b, 1));
	wr(&b, NVME_REG_CC,
	   CC_GOOD | NVME_SET(1, NVME_CC_EN) | NVME_SET(2, NVME_CC_SHN)); /* abrupt */
	assert_true(bare_wait(&b, 0x9));
	assert_int_equal(b.dev.ops->reset(&b.dev), 0); /* function reset */
	assert_int_equal(rd(&b, NVME_REG_CC), 0);
	assert_int_equal(rd(&b, NVME_REG_AQA), 0);
	assert_int_equal(rd(&b, NVME_REG_ACQ), 0);
	bare_close(&b);
}

/* What CC.EN = 1 does not accept. CSTS is 2 at once, and 0 after EN = 0. */
static void test_refuses_to_enable(void **state)
{
	static const struct {
		uint32_t aqa, asq, acq, cc;
	} bad[] = {
		{0, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD},
		{0x00030000, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD},
		{0x00000003, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD},
		{0x00030003, BARE_IOVA + 8, BARE_IOVA + 4096, CC_GOOD},
		{0x00030003, BARE_IOVA, BARE_IOVA + 2048, CC_GOOD},
		{0x00030003, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD | 15u << 7},
		{0x00030003, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD | 1u << 4},
		{0x00030003, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD | 7u << 4},
		{0x00030003, BARE_IOVA, BARE_IOVA + 4096, CC_GOOD | 1u << 11},
	};
	struct bare b;
	size_t i;

	(void)state;
	bare_open(&b, "soft");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		wr(&b, NVME_REG_AQA, bad[i].aqa);
		wr(&b, NVME_REG_ASQ, bad[i].asq);
		wr(&b, NVME_REG_ACQ, bad[i].acq);
		wr(&b, NVME_REG_CC, bad[i].cc | NVME_SET(1, NVME_CC_EN));
		assert_int_equal(rd(&b, NVME_REG_CSTS), 2);
		assert_false(bare_wait(&b, 1));
		wr(&b, NVME_REG_CC, 0);
		assert_int_equal(rd(&b, NVME_REG_CSTS), 0);
	}
	bare_enable(&b, CC_GOOD); /* and then all is well */
	assert_true(bare_wait(&b, 1));
	wr(&b, NVME_REG_CC, 0);

	/* admin queues where no memory is; the first doorbell tells */
	wr(&b, NVME_REG_ASQ, 0x40000000);
	wr(&b, NVME_REG_CC, CC_GOOD | NVME_SET(1, NVME_CC_EN));
	assert_true(bare_wait(&b, 1));
	wr(&b, NVME_REG_DOORBELLS, 1);
	assert_int_equal(rd(&b, NVME_REG_CSTS), 3);
	assert_log("fetching from a submission queue");
	wr(&b, NVME_REG_CC, 0);
	wr(&b, NVME_REG_ASQ, BARE_IOVA);
	wr(&b, NVME_REG_ACQ, 0x40000000);
	wr(&b, NVME_REG_CC, CC_GOOD | NVME_SET(1, NVME_CC_EN));
	assert_true(bare_wait(&b, 1));
	wr(&b, NVME_REG_DOORBELLS, 1);
	assert_int_equal(rd(&b, NVME_REG_CSTS), 3);
	assert_log("writing to a completion queue");
	bare_close(&b);
}

/* One admin command in the rings of bare_enable(). Returns SCT and SC. */
static uint32_t bare_admin(struct bare *b, const struct nvme_cmd *cmd)
{
	struct nvme_cmd *sq = (struct nvme_cmd *)(void *)b->mem;
	struct nvme_cpl *cq = (struct nvme_cpl *)(void *)(b->mem + 4096);
	uint32_t slot = b->admin_cmds % 4, lap = b->admin_cmds / 4;
	struct nvme_cpl got;

	sq[slot] = *cmd;
	b->admin_cmds++;
	wr(b, NVME_SQ_TDBL(0, 0), b->admin_cmds % 4);
	got = cq[slot];
	assert_int_equal(NVME_GET(got.status, NVME_CPL_P), lap % 2 == 0);
	wr(b, NVME_CQ_HDBL(0, 0), b->admin_cmds % 4);
	return code(&got);
}

static uint32_t bare_create(struct bare *b, uint8_t opc, uint32_t cdw11)
{
	struct nvme_cmd cmd = command(opc, 0);

	cmd.cdw10 = NVME_SET(1, NVME_CREATE_IO_Q_QID) | NVME_SET(3, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = cdw11;
	cmd.dptr.prp.prp1 = BARE_IOVA + (opc == NVME_OPC_CREATE_IO_CQ ? 8192 : 12288);
	return bare_admin(b, &cmd);
}

/*
 * A host may set CC.IOSQES and CC.IOCQES when Identify has told it the sizes, with EN = 1. Without
 * them it gets no I/O queue, and with I/O queues it cannot change them.
 */
static void test_late_entry_sizes(void **state)
{
	const uint32_t sqes = NVME_SET(6, NVME_CC_IOSQES), cqes = NVME_SET(4, NVME_CC_IOCQES);
	const uint32_t en = NVME_SET(1, NVME_CC_EN), pc = 1, on1 = 1 | 1u << 16;
	const struct nvme_id_ctrlr *id;
	struct nvme_cmd cmd = command(NVME_OPC_IDENTIFY, 0);
	struct bare b;

	(void)state;
	bare_open(&b, "soft");
	bare_enable(&b, 0);
	assert_true(bare_wait(&b, 1));
	cmd.cdw10 = NVME_SET(NVME_ID_CNS_CTRLR, NVME_IDENTIFY_CNS);
	cmd.dptr.prp.prp1 = BARE_IOVA + 16384;
	assert_int_equal(bare_admin(&b, &cmd), 0);
	id = (const struct nvme_id_ctrlr *)(void *)(b.mem + 16384);
	assert_int_equal(NVME_GET(id->sqes, NVME_ID_QES_MIN), 6);
	assert_int_equal(NVME_GET(id->cqes, NVME_ID_QES_MIN), 4);

	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_CQ, pc), SPEC(0x02));
	wr(&b, NVME_REG_CC, en | NVME_SET(6, NVME_CC_IOCQES));
	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_CQ, pc), SPEC(0x02));
	wr(&b, NVME_REG_CC, en | sqes | cqes | NVME_SET(1, NVME_CC_MPS)); /* MPS is fixed now */
	assert_int_equal(rd(&b, NVME_REG_CC), en | sqes | cqes);
	wr(&b, NVME_REG_CC, en | cqes);
	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_CQ, pc), 0);
	assert_int_equal(log_len, 0);
	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_SQ, on1), SPEC(0x02));
	wr(&b, NVME_REG_CC, en | sqes | cqes); /* too late: a queue is there */
	assert_int_equal(rd(&b, NVME_REG_CC), en | cqes);
	assert_log(
		"a bug of the driver: CC.IOSQES or CC.IOCQES changes while there are I/O queues");

	cmd = command(NVME_OPC_DELETE_IO_CQ, 0);
	cmd.cdw10 = 1;
	assert_int_equal(bare_admin(&b, &cmd), 0);
	wr(&b, NVME_REG_CC, en | sqes | cqes);
	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_CQ, pc), 0);
	assert_int_equal(bare_create(&b, NVME_OPC_CREATE_IO_SQ, on1), 0);
	assert_int_equal(rd(&b, NVME_REG_CSTS), 1);
	bare_close(&b);
}

/* Maps: whole pages, inside the ranges, once; cutting; failures in between. */
static void test_maps(void **state)
{
	struct nvme_soft_stats stats;
	struct bare b;

	(void)state;
	bare_open(&b, "soft:iova=39,plan=map fail #6");
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem + 8, 4096, 0x100000), -EINVAL);
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem, 4096, 0xfee00000), -EINVAL);
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem, 4096, UINT64_C(1) << 39), -EINVAL);
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem, 4096, BARE_IOVA + 4096), -EEXIST);
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem, 4096, 0x100000), -ENOMEM);
	assert_log("fails, as planned");
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem, 4096, 0x100000), 0);
	assert_int_equal(b.dev.ops->dma_unmap(&b.dev, BARE_IOVA + 4096, 4096), 0); /* a hole */
	assert_int_equal(b.dev.ops->dma_unmap(&b.dev, BARE_IOVA + 4096, 4096), -ENOENT);
	assert_int_equal(b.dev.ops->dma_map(&b.dev, b.mem + 4096, 4096, BARE_IOVA + 4096), 0);
	nvme_soft_get_stats(&b.dev, &stats);
	assert_int_equal(stats.bytes_mapped, 65536 + 4096);
	assert_int_equal(b.dev.ops->dma_unmap(&b.dev, 0x100000, 4096), 0);
	bare_close(&b);
}

/* ---- bringing up ---- */

static void test_start_states(void **state)
{
	static const char *const good[] = {
		"soft:plan=start en=1 rdy=1",
		"soft:plan=start en=1 rdy=0",
		"soft:plan=start en=0 rdy=1",
		"soft:plan=start en=0 rdy=0",
		"soft:to=1,plan=ready after 499ms", /* CAP.TO is kept */
		"soft:to=0,plan=ready after 499ms", /* as if CAP.TO were 1 */
		"soft:to=255,crwmt=400,plan=ready after 199s",
		"soft:to=4,crwmt=1,plan=ready after 1999ms", /* says less than CAP.TO */
		"soft:plan=cfs at enable once",              /* the second attempt works */
		"soft:plan=vs=1.0.0",
		"soft:plan=vs=1.2.1",
		"soft:plan=on identify #2 status 0/2", /* no list */
		"soft:ns=3,plan=nslist 1,2,2",         /* one twice */
		"soft:ns=3,plan=nslist 1,9",
		"soft:plan=nn=4294967295",
		"soft:plan=identify strings", /* control characters */
		"soft:plan=identify mdts=255",
		"soft:plan=shutdown after 300ms",
		"soft:plan=on set-features #1 status 0/0 delay 20ms",
	};
	static const struct {
		const char *device;
		int rc;
		const char *part;
	} bad[] = {
		{"soft:to=1,plan=ready never", -ETIMEDOUT, "timed out"},
		{"soft:plan=ready never", -ETIMEDOUT, "after 10000 ms"},
		{"soft:to=1,plan=ready after 502ms", -ETIMEDOUT, "after 500 ms"},
		{"soft:to=0,plan=ready after 502ms", -ETIMEDOUT, "after 500 ms"},
		{"soft:to=255,crwmt=400,plan=ready after 201s", -ETIMEDOUT, "after 200000 ms"},
		{"soft:crwmt=65535,plan=ready never", -ETIMEDOUT, "after 32767500 ms"},
		{"soft:plan=start en=0 rdy=1; ready never", -ETIMEDOUT, "RDY = 0"},
		{"soft:plan=cfs at enable", -EIO, "CSTS.CFS"},
		{"soft:plan=cfs on admin #1", -EIO, "CSTS.CFS"},
		{"soft:plan=gone at attach", -ENODEV, "is gone"},
		{"soft:plan=gone on identify #2", -ENODEV, "is gone"},
		{"soft:plan=on identify #1 drop", -ETIMEDOUT, "30000 ms"},
		{"soft:plan=identify sqes=0x77", -ENOTSUP, "larger queue entries"},
		{"soft:mpsmin=15", -ENOTSUP, "CAP.MPSMIN"},
		{"soft:plan=map fail #1", -ENOMEM, "as planned"},
	};
	struct nvme_ctrlr *ctrlr;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ctrlr = attach(good[i]);
		write_and_read(ctrlr, 1, NULL);
		detach(ctrlr);
		assert_int_equal(last.strays + last.bad_doorbells, 0);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc = try_attach(bad[i].device, &ctrlr);

		if (rc != bad[i].rc)
			fail_msg("%s: %d instead of %d\n%s", bad[i].device, rc, bad[i].rc,
			         log_text);
		assert_log(bad[i].part);
		assert_null(ctrlr);
		assert_int_equal(last.bytes_mapped, 0); /* nothing leaked */
		assert_int_equal(last.writes_after_gone, 0);
	}
	ctrlr = attach("soft:plan=shutdown never");
	assert_int_equal(nvme_detach(ctrlr), -ETIMEDOUT);
	assert_int_equal(last.bytes_mapped, 0);
}

/* Namespaces that cannot be used are left out, the rest works. */
static void test_hostile_namespaces(void **state)
{
	static const char *const devices[] = {
		"soft:plan=identify lbads=255", "soft:plan=identify lbads=0",
		"soft:plan=identify flbas=15",  "soft:plan=nslist 0",
		"soft:plan=identify nsze=0",
	};
	struct nvme_ctrlr *ctrlr;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		ctrlr = attach(devices[i]);
		assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 0);
		detach(ctrlr);
	}
	ctrlr = attach("soft:ns=3,plan=nslist 3,2,2"); /* not ascending */
	assert_int_equal(nvme_ctrlr_get_first_active_ns(ctrlr), 3);
	assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 3), 0);
	assert_log("out of order");
	detach(ctrlr);
}

/* One dma_map() after the other fails. */
static void test_map_fails(void **state)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	void *mem;

	(void)state;
	ctrlr = attach("soft");
	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), "map fail #1"), 0);
	mem = nvme_dma_alloc(ctrlr, 8 << 20);
	assert_null(mem);
	mem = nvme_dma_alloc(ctrlr, 8 << 20);
	assert_non_null(mem);
	nvme_dma_free(ctrlr, mem);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	detach(ctrlr);
}

/* ---- queues ---- */

static uint32_t create_cq(struct nvme_ctrlr *ctrlr, uint32_t qid, uint32_t size, uint64_t addr,
                          uint32_t cdw11)
{
	struct nvme_cmd cmd = command(NVME_OPC_CREATE_IO_CQ, 0);

	cmd.dptr.prp.prp1 = addr;
	cmd.cdw10 = NVME_SET(qid, NVME_CREATE_IO_Q_QID) | NVME_SET(size, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = cdw11;
	return run(ctrlr, true, &cmd, NULL, 0);
}

static uint32_t create_sq(struct nvme_ctrlr *ctrlr, uint32_t qid, uint32_t size, uint64_t addr,
                          uint32_t cdw11)
{
	struct nvme_cmd cmd = command(NVME_OPC_CREATE_IO_SQ, 0);

	cmd.dptr.prp.prp1 = addr;
	cmd.cdw10 = NVME_SET(qid, NVME_CREATE_IO_Q_QID) | NVME_SET(size, NVME_CREATE_IO_Q_QSIZE);
	cmd.cdw11 = cdw11;
	return run(ctrlr, true, &cmd, NULL, 0);
}

static uint32_t delete_q(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t qid)
{
	return admin(ctrlr, opc, 0, qid, 0, NULL, 0);
}

static void test_queue_commands(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mqes=255,queues=8");
	uint8_t *mem = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
	const uint32_t pc = 1, on1 = 1 | 1u << 16;
	uint64_t a;

	(void)state;
	assert_int_equal(nvme_dma_iova(ctrlr, mem, 65536, &a), 0);
	assert_int_equal(create_sq(ctrlr, 1, 3, a, on1), SPEC(0x00)); /* no such CQ */
	assert_int_equal(create_sq(ctrlr, 1, 3, a, 1), SPEC(0x01));
	assert_int_equal(create_sq(ctrlr, 1, 3, a, 1 | 99u << 16), SPEC(0x01));
	assert_int_equal(create_cq(ctrlr, 0, 3, a, pc), SPEC(0x01)); /* no such id */
	assert_int_equal(create_cq(ctrlr, 9, 3, a, pc), SPEC(0x01));
	assert_int_equal(create_cq(ctrlr, 1, 0, a, pc), SPEC(0x02)); /* size */
	assert_int_equal(create_cq(ctrlr, 1, 256, a, pc), SPEC(0x02));
	assert_int_equal(create_cq(ctrlr, 1, 3, a + 8, pc), GEN(0x13));             /* alignment */
	assert_int_equal(create_cq(ctrlr, 1, 3, a, 0), GEN(0x02));                  /* PC = 0 */
	assert_int_equal(create_cq(ctrlr, 1, 3, a, pc | 2 | 9u << 16), SPEC(0x08)); /* vector */
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_DNR), 1);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_M), 1);
	assert_int_equal(create_cq(ctrlr, 1, 3, a, pc), 0);
	assert_int_equal(create_cq(ctrlr, 1, 3, a, pc), SPEC(0x01));
	assert_int_equal(create_sq(ctrlr, 0, 3, a + 4096, on1), SPEC(0x01));
	assert_int_equal(create_sq(ctrlr, 1, 0, a + 4096, on1), SPEC(0x02));
	assert_int_equal(create_sq(ctrlr, 1, 256, a + 4096, on1), SPEC(0x02));
	assert_int_equal(create_sq(ctrlr, 1, 3, a + 4100, on1), GEN(0x13));
	assert_int_equal(create_sq(ctrlr, 1, 3, a + 4096, 1u << 16), GEN(0x02));
	assert_int_equal(create_sq(ctrlr, 1, 3, a + 4096, on1), 0);
	assert_int_equal(create_sq(ctrlr, 1, 3, a + 4096, on1), SPEC(0x01));
	assert_int_equal(create_sq(ctrlr, 2, 3, a + 8192, on1), 0);              /* two on one CQ */
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_CQ, 1), SPEC(0x0c)); /* SQs use it */
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 2), 0);
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_CQ, 1), SPEC(0x0c));
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 2), SPEC(0x01)); /* it is gone */
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 0), SPEC(0x01));
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 999), SPEC(0x01));
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_CQ, 0), SPEC(0x01));
	assert_int_equal(admin(ctrlr, NVME_OPC_SET_FEATURES, 0, NVME_FEAT_NUMBER_OF_QUEUES, 0, NULL,
	                       0),
	                 GEN(0x0c)); /* too late: there are queues */
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 1), 0);
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_CQ, 1), 0);
	assert_int_equal(admin(ctrlr, NVME_OPC_SET_FEATURES, 0, NVME_FEAT_NUMBER_OF_QUEUES,
	                       0x00030063, NULL, 0),
	                 0);
	assert_int_equal(cpl.cdw0, 0x00030007); /* fewer than asked for */
	assert_int_equal(admin(ctrlr, NVME_OPC_SET_FEATURES, 0, NVME_FEAT_NUMBER_OF_QUEUES, 0xffff,
	                       NULL, 0),
	                 GEN(0x02));
	nvme_dma_free(ctrlr, mem);
	detach(ctrlr);
}

/* Rings of our own on queues that the driver does not know. */
struct ring {
	struct nvme_ctrlr *ctrlr;
	struct nvme_cmd *sq;
	struct nvme_cpl *cq;
	uint32_t qid, entries, tail;
};

static void ring_write(struct nvme_ctrlr *ctrlr, uint32_t offset, uint32_t value)
{
	struct nvme_dev *dev = (struct nvme_dev *)(uintptr_t)dev_of(ctrlr);

	dev->ops->write_4(dev, offset, value);
}

static void put(struct ring *r, uint8_t opc, uint16_t cid, uint8_t flags)
{
	r->sq[r->tail] = command(opc, 1);
	r->sq[r->tail].cid = cid;
	r->sq[r->tail].flags = flags;
	r->tail = (r->tail + 1) % r->entries;
}

static void ring_tail(struct ring *r)
{
	ring_write(r->ctrlr, NVME_SQ_TDBL(r->qid, 0), r->tail);
}

/* The device stops when the CQ is full, and goes on when its head moves. Bad doorbells. */
static void test_rings(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	uint8_t *mem = (uint8_t *)nvme_dma_alloc(ctrlr, 3 * 4096);
	struct ring a, b;
	struct nvme_cpl *cq = (struct nvme_cpl *)(void *)mem;
	uint64_t iova, before;
	uint16_t i;

	(void)state;
	assert_int_equal(nvme_dma_iova(ctrlr, mem, 3 * 4096, &iova), 0);
	assert_int_equal(create_cq(ctrlr, 20, 3, iova, 1), 0); /* 4 entries */
	assert_int_equal(create_sq(ctrlr, 20, 15, iova + 4096, 1 | 20u << 16), 0);
	assert_int_equal(create_sq(ctrlr, 21, 15, iova + 8192, 1 | 20u << 16), 0);
	a.ctrlr = b.ctrlr = ctrlr;
	a.entries = b.entries = 16;
	a.tail = b.tail = 0;
	a.qid = 20;
	b.qid = 21;
	a.sq = (struct nvme_cmd *)(void *)(mem + 4096);
	b.sq = (struct nvme_cmd *)(void *)(mem + 8192);
	before = stats_of(ctrlr).io_cmds;
	for (i = 0; i < 4; i++) {
		put(&a, NVME_OPC_FLUSH, i, 0);
		put(&b, NVME_OPC_FLUSH, (uint16_t)(100 + i), 0);
	}
	ring_tail(&a);
	ring_tail(&b);
	assert_int_equal(stats_of(ctrlr).io_cmds - before, 3);
	assert_int_equal(cq[2].cid, 2);
	assert_int_equal(cq[2].sqid, 20);
	assert_int_equal(cq[2].sqhd, 3);
	assert_int_equal(NVME_GET(cq[2].status, NVME_CPL_P), 1);
	assert_int_equal(cq[3].status, 0);
	ring_write(ctrlr, NVME_CQ_HDBL(20, 0), 2);
	assert_int_equal(stats_of(ctrlr).io_cmds - before, 5);
	assert_int_equal(cq[3].cid, 3);
	assert_int_equal(cq[0].cid, 100);
	assert_int_equal(cq[0].sqid, 21);
	assert_int_equal(NVME_GET(cq[0].status, NVME_CPL_P), 0); /* the phase of the second lap */
	ring_write(ctrlr, NVME_CQ_HDBL(20, 0), 1);
	assert_int_equal(stats_of(ctrlr).io_cmds - before, 8);
	assert_int_equal(nvme_soft_get_doorbells(dev_of(ctrlr), 20, true), 2);
	assert_int_equal(nvme_soft_get_doorbells(dev_of(ctrlr), 21, false), 1);

	assert_int_equal(stats_of(ctrlr).bad_doorbells, 0);
	ring_write(ctrlr, NVME_SQ_TDBL(20, 0), 16);
	ring_write(ctrlr, NVME_SQ_TDBL(20, 0), a.tail); /* the same as before */
	ring_write(ctrlr, NVME_CQ_HDBL(20, 0), 4);
	ring_write(ctrlr, NVME_CQ_HDBL(20, 0), 1);
	ring_write(ctrlr, NVME_SQ_TDBL(50, 0), 1);
	ring_write(ctrlr, NVME_SQ_TDBL(500, 0), 1);
	assert_int_equal(stats_of(ctrlr).bad_doorbells, 6);
	assert_log("doorbell SQ20TDBL = 16: no value");
	assert_log("doorbell SQ50TDBL = 1: there is no such queue");
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 20), 0);
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_SQ, 21), 0);
	assert_int_equal(delete_q(ctrlr, NVME_OPC_DELETE_IO_CQ, 20), 0);
	nvme_dma_free(ctrlr, mem);
	detach(ctrlr);
}

/* Phase wrap, queue full, one head doorbell for several completions. */
static void test_driver_queues(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	struct done done[8];
	uint64_t rings;
	int i, lap;

	(void)state;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 8;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	for (lap = 0; lap < 50; lap++) {
		memset(done, 0, sizeof(done));
		for (i = 0; i < 7; i++)
			assert_int_equal(nvme_ns_cmd_flush(ns, qp, on_done, &done[i]), 0);
		assert_int_equal(nvme_ns_cmd_flush(ns, qp, on_done, &done[7]), -EAGAIN);
		rings = nvme_soft_get_doorbells(dev_of(ctrlr), nvme_qpair_get_id(qp), true);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 7);
		rings = nvme_soft_get_doorbells(dev_of(ctrlr), nvme_qpair_get_id(qp), true) - rings;
		assert_true(rings <= 2);
		for (i = 0; i < 7; i++)
			assert_int_equal(done[i].count, 1);
	}
	detach(ctrlr);
}

/* A queue is deleted with commands in flight; abort on the way. */
static void test_delete_in_flight(void **state)
{
	struct nvme_ctrlr *ctrlr =
		attach("soft:plan=on read drop; on read #2 status 2/81 delay 1s");
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	void *buf = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_qpair *qp;
	struct done done[6];
	int i;

	(void)state;
	memset(done, 0, sizeof(done));
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	for (i = 0; i < 6; i++)
		assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, on_done, &done[i], 0), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	for (i = 0; i < 6; i++) {
		assert_int_equal(done[i].count, 1);
		assert_int_equal(code(&done[i].cpl), GEN(0x08));
	}
	assert_int_equal(stats_of(ctrlr).errors, 6); /* the controller ended them, not the driver */
	nvme_dma_free(ctrlr, buf);
	detach(ctrlr);
}

/* ---- Identify ---- */

static uint32_t identify(struct nvme_ctrlr *ctrlr, uint32_t cns, uint32_t nsid, uint32_t csi,
                         void *data)
{
	return admin(ctrlr, NVME_OPC_IDENTIFY, nsid, cns, NVME_SET(csi, NVME_IDENTIFY_CSI), data,
	             4096);
}

static void test_identify(void **state)
{
	static uint8_t data[4096];
	struct nvme_ctrlr *ctrlr = attach("soft:ns=3,seed=1");
	const struct nvme_id_ctrlr *id = nvme_ctrlr_get_data(ctrlr);
	struct nvme_ns_list *list = (struct nvme_ns_list *)(void *)data;

	(void)state;
	assert_int_equal(id->vid, NVME_SOFT_VENDOR_ID);
	assert_memory_equal(id->mn, "nvme.h software controller    ", 30);
	assert_int_equal(id->nn, 3);
	assert_int_equal(id->fuses, 1);
	assert_int_equal(NVME_GET(id->sgls, NVME_ID_SGLS), 1);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST, 1, 0, data), 0);
	assert_int_equal(list->nsid[0], 2);
	assert_int_equal(list->nsid[1], 3);
	assert_int_equal(list->nsid[2], 0);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST, NVME_NSID_ALL, 0, data),
	                 GEN(0x0b));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS, 0, 0, data), GEN(0x0b));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS, 4, 0, data), GEN(0x0b));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS, NVME_NSID_ALL, 0, data), GEN(0x0b));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS_ID_DESC, 2, 0, data), 0);
	assert_int_equal(data[0], NVME_NIDT_EUI64);
	assert_int_equal(data[1], 8);
	assert_int_equal(data[52], NVME_NIDT_CSI);
	assert_non_null(nvme_ns_get_eui64(nvme_ctrlr_get_ns(ctrlr, 2)));
	assert_non_null(nvme_ns_get_nguid(nvme_ctrlr_get_ns(ctrlr, 2)));
	assert_non_null(nvme_ns_get_uuid(nvme_ctrlr_get_ns(ctrlr, 2)));
	assert_memory_not_equal(nvme_ns_get_uuid(nvme_ctrlr_get_ns(ctrlr, 1)),
	                        nvme_ns_get_uuid(nvme_ctrlr_get_ns(ctrlr, 2)), 16);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS_IOCS, 1, NVME_CSI_NVM, data), 0);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS_IOCS, 1, NVME_CSI_ZNS, data), GEN(0x02));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_CTRLR_IOCS, 0, NVME_CSI_NVM, data), 0);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST_IOCS, 0, NVME_CSI_NVM, data),
	                 0);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS_INDEPENDENT, 1, 0, data), 0);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_IOCS, 0, 0, data), 0);
	assert_int_equal(data[0], 1);
	assert_int_equal(identify(ctrlr, 0x55, 0, 0, data), GEN(0x02));
	detach(ctrlr);
	ctrlr = attach("soft:plan=vs=1.0.0");
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_ACTIVE_NS_LIST, 0, 0, data), GEN(0x02));
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS_ID_DESC, 1, 0, data), GEN(0x02));
	detach(ctrlr);
}

/* ---- features ---- */

static uint32_t set_feature(struct nvme_ctrlr *ctrlr, uint32_t cdw10, uint32_t nsid, uint32_t value)
{
	return admin(ctrlr, NVME_OPC_SET_FEATURES, nsid, cdw10, value, NULL, 0);
}

static uint32_t get_feature(struct nvme_ctrlr *ctrlr, uint32_t fid, uint32_t sel, uint32_t cdw11)
{
	return admin(ctrlr, NVME_OPC_GET_FEATURES, 0, fid | NVME_SET(sel, NVME_GET_FEATURES_SEL),
	             cdw11, NULL, 0);
}

static void test_features(void **state)
{
	static const struct {
		uint32_t fid, value;
	} plain[] = {
		{NVME_FEAT_ARBITRATION, 0x01020303},    {NVME_FEAT_POWER_MANAGEMENT, 0x20},
		{NVME_FEAT_VOLATILE_WRITE_CACHE, 0},    {NVME_FEAT_INTERRUPT_COALESCING, 0x0205},
		{NVME_FEAT_WRITE_ATOMICITY, 1},         {NVME_FEAT_ASYNC_EVENT_CONFIG, 0x102},
		{NVME_FEAT_TEMPERATURE_THRESHOLD, 350},
	};
	struct nvme_ctrlr *ctrlr = attach("soft");
	uint8_t data[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, back[16];
	uint64_t stamp = 5000;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		assert_int_equal(set_feature(ctrlr, plain[i].fid, 0, plain[i].value), 0);
		assert_int_equal(get_feature(ctrlr, plain[i].fid, 0, 0), 0);
		assert_int_equal(cpl.cdw0, plain[i].value);
	}
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_VOLATILE_WRITE_CACHE, 1, 0), 0); /* default */
	assert_int_equal(cpl.cdw0, 1);
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_ARBITRATION, 3, 0), 0);
	assert_int_equal(cpl.cdw0, 4); /* changeable */
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_ARBITRATION, 4, 0), GEN(0x02));
	assert_int_equal(get_feature(ctrlr, 0x33, 0, 0), GEN(0x02));
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_NUMBER_OF_QUEUES, 0, 0), 0);
	assert_int_equal(cpl.cdw0, 0x00070007);
	assert_int_equal(set_feature(ctrlr, 0x33, 0, 0), GEN(0x02));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ARBITRATION | 1u << 31, 0, 0), SPEC(0x0d));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ARBITRATION, 1, 0), SPEC(0x0f));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ERROR_RECOVERY, 1, 5), 0);
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ERROR_RECOVERY, 9, 5), GEN(0x0b));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_POWER_MANAGEMENT, 0, 1), GEN(0x02));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0x100000 | 270), 0);
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0x100000), 0);
	assert_int_equal(cpl.cdw0, 270);
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_TEMPERATURE_THRESHOLD, 0, 0x300000),
	                 GEN(0x02));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 0x10002), 0);
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 2), 0);
	assert_int_equal(cpl.cdw0, 0x10002);
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 3), 0);
	assert_int_equal(cpl.cdw0, 3);
	assert_int_equal(get_feature(ctrlr, NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 999), GEN(0x02));
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_INTERRUPT_VECTOR_CONFIG, 0, 999), GEN(0x02));
	assert_int_equal(admin(ctrlr, NVME_OPC_SET_FEATURES, 0, NVME_FEAT_HOST_IDENTIFIER, 1, data,
	                       16),
	                 0);
	assert_int_equal(admin(ctrlr, NVME_OPC_GET_FEATURES, 0, NVME_FEAT_HOST_IDENTIFIER, 1, back,
	                       16),
	                 0);
	assert_memory_equal(back, data, 16);
	assert_int_equal(admin(ctrlr, NVME_OPC_SET_FEATURES, 0, NVME_FEAT_TIMESTAMP, 0, &stamp, 8),
	                 0);
	stamp = 0;
	assert_int_equal(admin(ctrlr, NVME_OPC_GET_FEATURES, 0, NVME_FEAT_TIMESTAMP, 0, &stamp, 8),
	                 0);
	assert_true(nvme_bits(stamp, 47, 0) >= 5000 && nvme_bits(stamp, 47, 0) < 6000);
	detach(ctrlr);
}

/* ---- log pages ---- */

static uint32_t get_log(struct nvme_ctrlr *ctrlr, uint32_t lid, uint32_t nsid, uint32_t offset,
                        void *buf, uint32_t len, bool rae)
{
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, nsid);

	cmd.cdw10 = lid | NVME_SET(rae, NVME_GET_LOG_PAGE_RAE) |
	            NVME_SET(len / 4 - 1, NVME_GET_LOG_PAGE_NUMDL);
	cmd.cdw11 = NVME_SET((len / 4 - 1) >> 16, NVME_GET_LOG_PAGE_NUMDU);
	cmd.cdw12 = offset;
	return run(ctrlr, true, &cmd, buf, len);
}

static void test_logs(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mdts=1");
	static struct nvme_error_log_entry errors[64];
	static uint32_t words[2048];
	struct nvme_smart_log smart;
	uint8_t block[512] = {0};

	(void)state;
	assert_int_equal(nvme_ns_write(nvme_ctrlr_get_ns(ctrlr, 1), NULL, block, 0, 1, NULL), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, UINT64_C(1) << 40, 0, block, 512), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 7, 0, 0, block, 512), GEN(0x0b));
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_ERROR, 0, 0, errors, sizeof(errors), false),
	                 0);
	assert_int_equal(errors[0].ecnt, 2); /* the latest first */
	assert_int_equal(errors[0].pel, 4);
	assert_int_equal(errors[0].nsid, 7);
	assert_int_equal(errors[0].lpver, 1); /* without it OPC is not valid */
	assert_int_equal(errors[0].opc, NVME_OPC_READ);
	assert_int_equal(errors[0].csi, NVME_CSI_NVM);
	assert_int_equal(errors[1].ecnt, 1);
	assert_int_equal(errors[1].lba, UINT64_C(1) << 40);
	assert_int_equal(NVME_GET(errors[1].sts, NVME_CPL_SC), 0x80);
	assert_int_equal(errors[2].ecnt, 0);
	memset(&smart, 0xff, sizeof(smart));
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, NVME_NSID_ALL, 0, &smart, 512, false),
	                 0);
	assert_int_equal(smart.critical_warning, 0);
	assert_int_equal(smart.host_writes[0], 1);
	assert_int_equal(smart.data_units_written[0], 1);
	assert_int_equal(smart.error_log_entries[0], 2);
	assert_int_equal(smart.temperature[0] | smart.temperature[1] << 8, 310);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 1, 0, &smart, 512, false), GEN(0x02));
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_FIRMWARE_SLOT, 0, 0, words, 512, false), 0);
	assert_int_equal(words[0], 1);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_CHANGED_NS_LIST, 0, 0, words, 4096, false),
	                 0);
	assert_int_equal(words[0], 0);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, 0, words, 4096, false),
	                 0);
	assert_int_equal(words[NVME_OPC_IDENTIFY], 1);
	assert_int_equal(words[256 + NVME_OPC_WRITE], 3);
	assert_int_equal(words[256 + 0x7a], 0);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_COMMAND_EFFECTS, 0, 1024, words, 64, false),
	                 0);
	assert_int_equal(words[NVME_OPC_WRITE], 3); /* from an offset */
	uint32_t *dma = (uint32_t *)nvme_dma_alloc(ctrlr, 4096);
	dma[1] = 99;
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 0, 508, dma, 8, false), 0);
	assert_int_equal(dma[1], 0); /* past the end there is nothing */
	nvme_dma_free(ctrlr, dma);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 0, 516, words, 8, false), GEN(0x02));
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 0, 2, words, 8, false), GEN(0x02));
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SUPPORTED, 0, 0, words, 1024, false), 0);
	assert_int_equal(words[NVME_LOG_PAGE_SMART], 1);
	assert_int_equal(words[NVME_LOG_PAGE_TELEMETRY_HOST], 0);
	assert_int_equal(get_log(ctrlr, 0x7e, 0, 0, words, 64, false), SPEC(0x09));
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, 0); /* longer than MDTS */
	cmd.cdw10 = NVME_LOG_PAGE_ERROR | NVME_SET(2048, NVME_GET_LOG_PAGE_NUMDL);
	assert_int_equal(run(ctrlr, true, &cmd, words, 8192), GEN(0x02));
	detach(ctrlr);
}

/* ---- AER, Abort, Format, the rest of the admin commands ---- */

static void submit_admin(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t cdw10, struct done *d)
{
	struct nvme_cmd cmd = command(opc, 0);

	memset(d, 0, sizeof(*d));
	cmd.cdw10 = cdw10;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, on_done, d), 0);
}

static void test_events(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft");
	const struct nvme_dev *dev = dev_of(ctrlr);
	struct done d[5];
	uint8_t page[512];
	int i;

	(void)state;
	for (i = 0; i < 5; i++)
		submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &d[i]);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(code(&d[4].cpl), SPEC(0x05)); /* AERL + 1 are outstanding */
	assert_int_equal(nvme_soft_set_plan(dev, "aer smart"), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[3].count, 1);
	assert_int_equal(d[3].cpl.cdw0, 0x00020101); /* the temperature */
	nvme_soft_inject_aer(dev, NVME_AER_TYPE_SMART, 0, NVME_LOG_PAGE_SMART);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0); /* the type is masked */
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 0, 0, page, 512, true), 0); /* RAE */
	nvme_soft_inject_aer(dev, NVME_AER_TYPE_SMART, 2, NVME_LOG_PAGE_SMART); /* still masked */
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_SMART, 0, 0, page, 512, false), 0);
	assert_int_equal(page[0], NVME_SMART_TEMPERATURE);
	nvme_soft_inject_aer(dev, NVME_AER_TYPE_SMART, 0, NVME_LOG_PAGE_SMART);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[2].cpl.cdw0, 0x00020001);
	ring_write(ctrlr, NVME_SQ_TDBL(50, 0), 1); /* no such queue; no such value */
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[1].cpl.cdw0, 0x00010000);
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_ERROR, 0, 0, page, 64, false), 0);
	ring_write(ctrlr, NVME_CQ_HDBL(0, 0), 4095);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[0].cpl.cdw0, 0x00010100);

	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0), 0);
	submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &d[0]);
	assert_int_equal(nvme_soft_set_plan(dev, "aer namespace; aer firmware; aer smart"), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(set_feature(ctrlr, NVME_FEAT_ASYNC_EVENT_CONFIG, 0, 0x31f), 0);
	nvme_soft_inject_aer(dev, NVME_AER_TYPE_NOTICE, 0, NVME_LOG_PAGE_CHANGED_NS_LIST);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[0].cpl.cdw0, 0x00040002); /* a namespace has changed */
	assert_int_equal(get_log(ctrlr, NVME_LOG_PAGE_CHANGED_NS_LIST, 0, 0, page, 512, false), 0);
	assert_int_equal(page[0], 1);
	submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &d[0]); /* drops at detach */
	detach(ctrlr);
	assert_int_equal(d[0].count, 1);

	ctrlr = attach("soft:plan=aer smart after cmd #2;aer firmware");
	submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &d[0]);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[0].cpl.cdw0, 0x00030102); /* from the start */
	submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &d[0]);
	write_and_read(ctrlr, 1, NULL);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(d[0].cpl.cdw0, 0x00020101);
	detach(ctrlr);
}

static void test_abort(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:plan=on read drop");
	void *buf = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_qpair *qp;
	struct done d, a, aborts[5];
	struct nvme_soft_cmd sent;
	uint16_t cid;
	int i;

	(void)state;
	memset(&d, 0, sizeof(d));
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0, 1, on_done, &d,
	                                  0),
	                 0);
	memset(&sent, 0, sizeof(sent));
	assert_int_equal(nvme_soft_get_last_cmds(dev_of(ctrlr), &sent, 1), 1);
	assert_int_equal(sent.cmd.opc, NVME_OPC_READ);
	assert_int_equal(sent.qid, nvme_qpair_get_id(qp));
	cid = sent.cmd.cid;
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 0);
	assert_int_equal(admin(ctrlr, NVME_OPC_ABORT, 0,
	                       NVME_SET(sent.qid, NVME_ABORT_SQID) |
	                               NVME_SET(cid + 1, NVME_ABORT_CID),
	                       0, NULL, 0),
	                 0);
	assert_int_equal(cpl.cdw0, 1); /* no such command */
	assert_int_equal(admin(ctrlr, NVME_OPC_ABORT, 0,
	                       NVME_SET(sent.qid, NVME_ABORT_SQID) | NVME_SET(cid, NVME_ABORT_CID),
	                       0, NULL, 0),
	                 0);
	assert_int_equal(cpl.cdw0, 0); /* aborted */
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(code(&d.cpl), GEN(0x07));

	submit_admin(ctrlr, NVME_OPC_ASYNC_EVENT_REQUEST, 0, &a);
	assert_int_equal(nvme_soft_get_last_cmds(dev_of(ctrlr), &sent, 1), 1);
	assert_int_equal(admin(ctrlr, NVME_OPC_ABORT, 0, NVME_SET(sent.cmd.cid, NVME_ABORT_CID), 0,
	                       NULL, 0),
	                 0);
	assert_int_equal(cpl.cdw0, 0);
	assert_int_equal(code(&a.cpl), GEN(0x07));

	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), "on abort dw0 1 times 1"), 0);
	assert_int_equal(admin(ctrlr, NVME_OPC_ABORT, 0, 0, 0, NULL, 0), 0);
	assert_int_equal(cpl.cdw0, 1);
	/* four aborts that do not end; the fifth is one too many */
	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), "on abort drop times 4"), 0);
	for (i = 0; i < 5; i++)
		submit_admin(ctrlr, NVME_OPC_ABORT, 0, &aborts[i]);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(code(&aborts[4].cpl), SPEC(0x03));
	nvme_dma_free(ctrlr, buf);
	detach(ctrlr);
}

static void test_format_and_rest(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:size=1M,ns=2");
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 1, NULL);
	uint8_t *mem2 = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 2, NULL);
	static struct nvme_id_ns id;

	(void)state;
	mem[5000] = mem2[1] = 7;
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, 1, 3, 0, NULL, 0), 0); /* 4096 */
	assert_int_equal(mem[5000], 0);
	assert_int_equal(mem2[1], 7);
	assert_int_equal(identify(ctrlr, NVME_ID_CNS_NS, 1, 0, &id), 0);
	assert_int_equal(id.nsze, 256);
	assert_int_equal(id.lbaf[NVME_FLBAS_INDEX(id.flbas)].lbads, 12);
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, NVME_NSID_ALL, 0x200, 0, NULL, 0), 0);
	assert_int_equal(mem2[1], 0);
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, 1, 8, 0, NULL, 0), SPEC(0x0a));
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, 1, 0x20, 0, NULL, 0), SPEC(0x0a));
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, 1, 0x400, 0, NULL, 0), GEN(0x02));
	assert_int_equal(admin(ctrlr, NVME_OPC_FORMAT_NVM, 3, 0, 0, NULL, 0), GEN(0x0b));
	assert_int_equal(admin(ctrlr, 0x7e, 0, 0, 0, NULL, 0), GEN(0x01)); /* opcode */
	struct nvme_cmd cmd = command(NVME_OPC_IDENTIFY, 0); /* admin commands have no SGLs */
	cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	assert_int_equal(run(ctrlr, true, &cmd, NULL, 0), GEN(0x02));
	detach(ctrlr);
}

/* ---- the NVM command set ---- */

static void test_nvm_commands(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:size=1M,mdts=1");
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 1, NULL);
	static uint8_t buf[8192], back[8192];
	struct nvme_dsm_range ranges[2];

	(void)state;
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 10, 15, buf, 8192), 0);
	assert_int_equal(mem[10 * 512], 0x5a);
	assert_int_equal(mem[26 * 512 - 1], 0x5a);
	assert_int_equal(mem[26 * 512], 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 10, 15, back, 8192), 0);
	assert_memory_equal(back, buf, 8192);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 16, back, 8192), GEN(0x02));  /* MDTS */
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 2048, 0, back, 512), GEN(0x80)); /* the end */
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 2047, 1, back, 1024), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, UINT64_MAX, 1, back, 1024), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, UINT64_MAX, 0, back, 512), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 0, 0, 0, back, 512), GEN(0x0b)); /* nsid */
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 2, 0, 0, back, 512), GEN(0x0b));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, NVME_NSID_ALL, 0, 0, back, 512), GEN(0x0b));
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, NVME_SET(7, NVME_RW_PRINFO), back, 512),
	                 SPEC(0x81));
	assert_int_equal(io(ctrlr, 0x7f - 1, 1, 0, 0, NULL, 0), GEN(0x01)); /* opcode */
	assert_int_equal(io(ctrlr, NVME_OPC_FLUSH, 1, 0, 0, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_FLUSH, NVME_NSID_ALL, 0, 0, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_FLUSH, 9, 0, 0, NULL, 0), GEN(0x0b));

	assert_int_equal(io(ctrlr, NVME_OPC_COMPARE, 1, 10, 15, buf, 8192), 0);
	buf[8191] = 0;
	assert_int_equal(io(ctrlr, NVME_OPC_COMPARE, 1, 10, 15, buf, 8192), MED(0x85));

	assert_int_equal(io(ctrlr, NVME_OPC_WRITE_UNCORRECTABLE, 1, 12, 1, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 10, 2, back, 1536), MED(0x81));
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 10, 1, back, 1024), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_VERIFY, 1, 13, 0, NULL, 0), MED(0x81));
	assert_int_equal(io(ctrlr, NVME_OPC_VERIFY, 1, 14, 0, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_COMPARE, 1, 13, 0, buf, 512), MED(0x81));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 12, 0, buf, 512), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 12, 0, back, 512), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE_ZEROES, 1, 13, 0, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 13, 0, back, 512), 0);
	assert_int_equal(back[0], 0);
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE_ZEROES, 1, 2047, 1, NULL, 0), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE_UNCORRECTABLE, 1, 2047, 1, NULL, 0), GEN(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_VERIFY, 1, 2048, 0, NULL, 0), GEN(0x80));

	memset(mem, 1, 1 << 20);
	memset(ranges, 0, sizeof(ranges));
	ranges[0].slba = 3;
	ranges[0].nlb = 40; /* with whole pages in it */
	ranges[1].slba = 2040;
	ranges[1].nlb = 9;
	struct nvme_cmd cmd = command(NVME_OPC_DATASET_MANAGEMENT, 1);
	cmd.cdw10 = 1;
	cmd.cdw11 = NVME_SET(1, NVME_DSM_AD);
	assert_int_equal(run(ctrlr, false, &cmd, ranges, sizeof(ranges)), GEN(0x80));
	assert_int_equal(mem[3 * 512], 1); /* nothing was done */
	ranges[1].nlb = 8;
	assert_int_equal(run(ctrlr, false, &cmd, ranges, sizeof(ranges)), 0);
	assert_int_equal(mem[3 * 512 - 1], 1);
	assert_int_equal(mem[3 * 512], 0);
	assert_int_equal(mem[43 * 512 - 1], 0);
	assert_int_equal(mem[43 * 512], 1);
	assert_int_equal(mem[(1 << 20) - 1], 0);
	cmd.cdw11 = 0; /* not deallocate: only advice */
	mem[3 * 512] = 1;
	assert_int_equal(run(ctrlr, false, &cmd, ranges, sizeof(ranges)), 0);
	assert_int_equal(mem[3 * 512], 1);
	cmd.nsid = 2;
	assert_int_equal(run(ctrlr, false, &cmd, ranges, sizeof(ranges)), GEN(0x0b));
	assert_int_equal(stats_of(ctrlr).strays, 0);
	detach(ctrlr);
}

/* ---- data pointers ---- */

static uint32_t raw_read(struct nvme_ctrlr *ctrlr, uint8_t flags, uint32_t nlb, uint64_t d0,
                         uint64_t d1)
{
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1);

	cmd.flags = flags;
	cmd.cdw12 = nlb - 1;
	cmd.dptr.prp.prp1 = d0;
	cmd.dptr.prp.prp2 = d1;
	return run(ctrlr, false, &cmd, NULL, 0);
}

static void test_prps(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:mdts=0,size=64M");
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 1, NULL), *buf;
	uint64_t iova, *list, lists;
	size_t i, len = 32 << 20;

	(void)state;
	for (i = 0; i < len; i++)
		mem[i] = (uint8_t)(i / 4096 * 13 + i);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 1 << 20);
	assert_int_equal(nvme_dma_iova(ctrlr, buf, 1 << 20, &iova), 0);
	list = (uint64_t *)(void *)(buf + (512 << 10));
	assert_int_equal(raw_read(ctrlr, 0, 1, iova + 4, 0), 0); /* one page, dword aligned */
	assert_memory_equal(buf + 4, mem, 512);
	assert_int_equal(raw_read(ctrlr, 0, 1, iova + 2, 0), GEN(0x13));
	assert_int_equal(raw_read(ctrlr, 0, 8, iova + 4096 - 512, iova + 16384), 0); /* two */
	assert_memory_equal(buf + 4096 - 512, mem, 512);
	assert_memory_equal(buf + 16384, mem + 512, 4096 - 512);
	assert_int_equal(raw_read(ctrlr, 0, 8, iova + 512, iova + 8200), GEN(0x13));
	for (i = 0; i < 32; i++)
		list[i] = iova + (31 - i) * 8192; /* backwards, with holes */
	assert_int_equal(raw_read(ctrlr, 0, 32, iova + (300 << 10), iova + (512 << 10)), 0);
	assert_memory_equal(buf + 30 * 8192, mem + 8192, 4096);
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, iova + (512 << 10) + 4), GEN(0x13));
	list[1] |= 8;
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, iova + (512 << 10)), GEN(0x13));
	list[1] &= ~UINT64_C(8);

	/* chained: the list begins at the last two entries of its page, the second is a link */
	list[510] = iova + 4096;
	list[511] = iova + (516 << 10);
	list[512] = iova + 8192;
	list[513] = iova + 16384;
	lists = stats_of(ctrlr).list_reads;
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, iova + (512 << 10) + 510 * 8), 0);
	assert_int_equal(stats_of(ctrlr).list_reads - lists, 2);
	assert_memory_equal(buf + 8192, mem + 8192, 4096);
	assert_memory_equal(buf + 16384, mem + 12288, 4096);
	list[511] += 8; /* a link is page aligned */
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, iova + (512 << 10) + 510 * 8), GEN(0x13));

	/* where nothing is mapped */
	assert_int_equal(stats_of(ctrlr).strays, 0);
	assert_int_equal(raw_read(ctrlr, 0, 1, UINT64_C(1) << 40, 0), GEN(0x04));
	assert_log("a bug of the driver: writing data, 512 bytes at IOVA 0000010000000000h");
	assert_log("READ sqid:1 cid:0 nsid:1 lba:0 len:1 PRP1 0x10000000000 PRP2 0x0");
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, UINT64_C(1) << 40), GEN(0x04));
	assert_log("fetching a PRP list");
	list[0] = UINT64_C(1) << 41;
	assert_int_equal(raw_read(ctrlr, 0, 32, iova, iova + (512 << 10)), GEN(0x04));
	assert_int_equal(stats_of(ctrlr).strays, 3);
	nvme_dma_free(ctrlr, buf);

	/* the driver's own lists, with several pages of them */
	buf = (uint8_t *)malloc(len);
	lists = stats_of(ctrlr).list_reads;
	struct nvme_io_qpair_opts opts;
	struct nvme_qpair *qp;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 2;
	opts.max_xfer_size = 32 << 20;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 1, 65535, NULL), 0);
	assert_memory_equal(buf, mem + 512, 65535 * 512);
	assert_true(stats_of(ctrlr).list_reads - lists >= 16);
	assert_int_equal(stats_of(ctrlr).strays, 3);
	free(buf);
	detach(ctrlr);
}

static struct nvme_sgl_desc sgl(uint32_t type, uint64_t addr, uint32_t len)
{
	struct nvme_sgl_desc d;

	memset(&d, 0, sizeof(d));
	d.addr = addr;
	d.len = len;
	d.id = NVME_SGL_ID(type, 0);
	return d;
}

static uint32_t sgl_command(struct nvme_ctrlr *ctrlr, uint8_t opc, uint32_t nlb,
                            struct nvme_sgl_desc d)
{
	struct nvme_cmd cmd = command(opc, 1);

	cmd.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	cmd.cdw12 = nlb - 1;
	cmd.dptr.sgl = d;
	return run(ctrlr, false, &cmd, NULL, 0);
}

static void test_sgls(void **state)
{
	enum { DATA = 0, BUCKET = 1, SEG = 2, LAST = 3, KEYED = 4 };
	struct nvme_ctrlr *ctrlr = attach("soft:size=1M");
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 1, NULL);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 65536);
	struct nvme_sgl_desc *list = (struct nvme_sgl_desc *)(void *)(buf + 32768), d;
	uint64_t a, l;
	size_t i;

	(void)state;
	assert_int_equal(nvme_dma_iova(ctrlr, buf, 65536, &a), 0);
	l = a + 32768;
	for (i = 0; i < 4096; i++)
		mem[i] = (uint8_t)(i * 31 / 7);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(DATA, a + 1, 1024)), 0);
	assert_memory_equal(buf + 1, mem, 1024); /* any alignment */
	/* wrong lengths and types */
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(DATA, a, 1023)), GEN(0x0f));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(DATA, a, 1025)), GEN(0x0f));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(KEYED, a, 1024)), GEN(0x11));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(0xf, a, 1024)), GEN(0x11));
	d = sgl(DATA, a, 1024);
	d.id = NVME_SGL_ID(DATA, NVME_SGL_SUBTYPE_OFFSET);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, d), GEN(0x11));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, l, 0)), GEN(0x0d));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, l, 17)), GEN(0x0d));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, l + 4, 16)), GEN(0x0d));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(DATA, UINT64_C(1) << 40, 1024)),
	                 GEN(0x04));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, UINT64_C(1) << 40, 16)),
	                 GEN(0x04));
	assert_int_equal(stats_of(ctrlr).strays, 2);

	list[0] = sgl(DATA, a + 8192, 100); /* a last segment, with a hole for the host */
	list[1] = sgl(BUCKET, 0, 412);
	list[2] = sgl(DATA, a, 0);
	list[3] = sgl(DATA, a + 100, 512);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, l, 64)), 0);
	assert_memory_equal(buf + 8192, mem, 100);
	assert_memory_equal(buf + 100, mem + 512, 512);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(SEG, l, 64)), GEN(0x0d));
	list[3] = sgl(LAST, l + 256, 16); /* three segments in a row */
	list[16] = sgl(DATA, a + 100, 512);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(SEG, l, 64)), 0);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(LAST, l, 64)), GEN(0x0d));
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(SEG, l, 80)), GEN(0x0e));
	list[0] = sgl(SEG, l, 16); /* round and round */
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_READ, 2, sgl(SEG, l, 16)), GEN(0x0e));

	list[0] = sgl(DATA, a, 512); /* a write takes no data from a bucket */
	list[1] = sgl(BUCKET, 0, 4096);
	list[2] = sgl(DATA, a + 512, 512);
	memset(buf, 0x77, 1024);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_WRITE, 2, sgl(LAST, l, 48)), 0);
	assert_int_equal(mem[0], 0x77);
	assert_int_equal(mem[1023], 0x77);
	assert_int_equal(sgl_command(ctrlr, NVME_OPC_COMPARE, 2, sgl(LAST, l, 48)), 0);
	assert_int_equal(raw_read(ctrlr, 0xc0, 2, a, 0), GEN(0x02)); /* PSDT 3 */
	nvme_dma_free(ctrlr, buf);
	detach(ctrlr);
}

/* ---- fused Compare and Write ---- */

static void test_fused(void **state)
{
	struct nvme_ctrlr *ctrlr = attach("soft:size=1M");
	uint8_t *mem = (uint8_t *)nvme_soft_get_ns_memory(dev_of(ctrlr), 1, NULL);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 8192);
	struct nvme_cmd first = command(NVME_OPC_COMPARE, 1), second = command(NVME_OPC_WRITE, 1);
	struct nvme_qpair *qp;
	struct done a, b;
	int i;

	(void)state;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	first.flags = (uint8_t)NVME_SET(NVME_FUSE_FIRST, NVME_CMD_FUSE);
	second.flags = (uint8_t)NVME_SET(NVME_FUSE_SECOND, NVME_CMD_FUSE);
	for (i = 0; i < 4; i++) {
		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		memset(buf, i == 1 ? 0xee : mem[0], 512); /* what is expected there */
		memset(buf + 4096, 0x10 + i, 512);
		second.cdw10 = i == 2; /* another block than the first half */
		if (i == 3)
			second.flags = 0;
		assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &first, buf, 512, on_done, &a),
		                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0),
		                 0); /* waits for the other */
		assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &second, buf + 4096, 512, on_done,
		                                       &b),
		                 0);
		assert_int_equal(nvme_qpair_process_completions(qp, 0), 2);
		assert_true(a.order < b.order);
		assert_int_equal(code(&a.cpl), i == 0   ? 0
		                               : i == 1 ? MED(0x85)
		                               : i == 2 ? GEN(0x02)
		                                        : GEN(0x0a));
		assert_int_equal(code(&b.cpl), i == 0 || i == 3 ? 0
		                               : i == 1         ? GEN(0x09)
		                                                : GEN(0x02));
		assert_int_equal(mem[0], i == 3 ? 0x13 : 0x10);
	}
	second.flags = (uint8_t)NVME_SET(NVME_FUSE_SECOND, NVME_CMD_FUSE);
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &second, buf, 512, &cpl), -EIO);
	assert_int_equal(code(&cpl), GEN(0x0a)); /* no first half */
	second.flags = 3;
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &second, buf, 512, &cpl), -EIO);
	assert_int_equal(code(&cpl), GEN(0x02));
	nvme_dma_free(ctrlr, buf);
	detach(ctrlr);
}

/* ---- planned faults on commands ---- */

static void test_status_faults(void **state)
{
	struct nvme_ctrlr *ctrlr = attach(
		"soft:size=1M,ns=2,plan=on read #3 status 2/81 dnr; on write lba 100..200 "
		"status 2/80 more crd 2; on flush status 2/80 times 1; on opc 0x0c status 0/82;"
		"on compare nsid 2 status 2/85; on compare qid 9 drop");
	const struct nvme_dev *dev = dev_of(ctrlr);
	uint8_t block[1024] = {0};
	int i;

	(void)state;
	for (i = 1; i <= 5; i++) { /* the third read fails */
		assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 0, block, 512),
		                 i == 3 ? MED(0x81) : 0);
		assert_int_equal(NVME_GET(cpl.status, NVME_CPL_DNR), i == 3);
		assert_int_equal(NVME_GET(cpl.status, NVME_CPL_M), 0);
	}
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 98, 1, block, 1024), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 99, 1, block, 1024), MED(0x80));
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_M), 1);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_CRD), 2);
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 200, 0, block, 512), MED(0x80));
	assert_int_equal(io(ctrlr, NVME_OPC_WRITE, 1, 201, 0, block, 512), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_FLUSH, 1, 0, 0, NULL, 0), MED(0x80)); /* once */
	assert_int_equal(io(ctrlr, NVME_OPC_FLUSH, 1, 0, 0, NULL, 0), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_VERIFY, 1, 0, 0, NULL, 0), GEN(0x82));
	assert_int_equal(io(ctrlr, NVME_OPC_COMPARE, 1, 0, 0, block, 512), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_COMPARE, 2, 0, 0, block, 512), MED(0x85));
	assert_int_equal(nvme_soft_set_plan(dev, "on cmd #2 dw0 0x55; dma stray on cmd #3"), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 0, block, 512), 0);
	assert_int_equal(cpl.cdw0, 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 0, block, 512), 0);
	assert_int_equal(cpl.cdw0, 0x55);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 0, block, 512), GEN(0x04));
	assert_int_equal(stats_of(ctrlr).strays, 1);
	assert_int_equal(nvme_soft_set_plan(dev, NULL), 0);
	assert_int_equal(io(ctrlr, NVME_OPC_READ, 1, 0, 0, block, 512), 0);
	detach(ctrlr);
}

/* Out of order; delays in virtual time; a command that never completes. */
static void test_delay_and_drop(void **state)
{
	struct nvme_ctrlr *ctrlr =
		attach("soft:plan=on write lba 0 delay 50ms; on write lba 1 delay 10ms; "
	               "on read lba 9 drop");
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096), block[512];
	struct nvme_qpair *qp;
	struct done d[3];
	uint64_t start;
	int i;

	(void)state;
	memset(d, 0, sizeof(d));
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	start = stats_of(ctrlr).now_ns;
	for (i = 0; i < 3; i++)
		assert_int_equal(nvme_ns_cmd_write(ns, qp, buf, (uint64_t)i, 1, on_done, &d[i], 0),
		                 0);
	assert_int_equal(poll_until(qp, &d[0]), 0);
	assert_true(d[2].order < d[1].order && d[1].order < d[0].order);
	assert_true(stats_of(ctrlr).now_ns - start >= 50 * NVME_SOFT__MS);
	assert_true(stats_of(ctrlr).now_ns - start < 60 * NVME_SOFT__MS);

	start = stats_of(ctrlr).now_ns; /* the same while the driver waits with a clock */
	assert_int_equal(nvme_ns_write(ns, qp, buf, 0, 1, NULL), 0);
	assert_true(stats_of(ctrlr).now_ns - start >= 50 * NVME_SOFT__MS);
	assert_true(stats_of(ctrlr).now_ns - start < 60 * NVME_SOFT__MS);

	start = stats_of(ctrlr).now_ns;
	assert_int_equal(nvme_ns_read(ns, qp, block, 9, 1, NULL), -ETIMEDOUT);
	assert_true(stats_of(ctrlr).now_ns - start >= 30000 * NVME_SOFT__MS);
	assert_true(stats_of(ctrlr).now_ns - start < 31000 * NVME_SOFT__MS);
	assert_int_equal(nvme_ns_read(ns, qp, block, 8, 1, NULL), 0); /* the queue still works */
	assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), "on write delay 0us..900us"), 0);
	for (i = 0; i < 20; i++)
		assert_int_equal(nvme_ns_write(ns, qp, buf, 0, 1, NULL), 0);
	nvme_dma_free(ctrlr, buf);
	detach(ctrlr);
}

/* Completions that make no sense. The caller sees each command end at most once. */
static void test_hostile_completions(void **state)
{
	static const struct {
		const char *plan, *part;
		bool completes; /* the command itself */
	} cases[] = {
		{"on cmd cid 4095 times 1", "does not map to outstanding", false},
		{"on cmd cid 200 times 1", "does not map to outstanding", false},
		{"on cmd duplicate times 1", "does not map to outstanding", true},
		{"on cmd sqid 9 times 1", "sqid 9", false},
		{"on cmd sqhd 65535 times 1", "SQHD is not a slot", true},
		{"on cmd phase-stuck times 1", "", false},
	};
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct done d;
	size_t i;
	int k;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ctrlr = attach("soft");
		memset(&d, 0, sizeof(d));
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
		assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), cases[i].plan), 0);
		assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, on_done, &d),
		                 0);
		for (k = 0; k < 10; k++)
			assert_true(nvme_qpair_process_completions(qp, 0) >= 0);
		assert_int_equal(d.count, cases[i].completes);
		assert_log(cases[i].part);
		assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		assert_int_equal(d.count, 1);
		detach(ctrlr);
	}
	ctrlr = attach("soft:plan=flood on cmd #2"); /* the same without end */
	struct nvme_io_qpair_opts opts;
	memset(&opts, 0, sizeof(opts));
	opts.entries = 32;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &opts, &qp), 0);
	assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, NULL), 0);
	memset(&d, 0, sizeof(d));
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, on_done, &d), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), -ENXIO); /* comes back, fails */
	assert_int_equal(d.count, 1);
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, on_done, &d), -ENXIO);
	detach(ctrlr);
}

/* A fatal error, and a device that disappears, with four commands in flight. */
static void test_end_at_run_time(void **state)
{
	static const struct {
		const char *plan;
		int rc;
	} cases[] = {
		{"on read drop; cfs on cmd #4", -EIO},
		{"on read drop; gone on cmd #4", -ENODEV},
	};
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	struct done d[4], after;
	void *buf;
	size_t i;
	int k, n;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ctrlr = attach("soft");
		memset(&after, 0, sizeof(after));
		memset(d, 0, sizeof(d));
		buf = nvme_dma_alloc(ctrlr, 4096);
		assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
		assert_int_equal(nvme_soft_set_plan(dev_of(ctrlr), cases[i].plan), 0);
		for (k = 0; k < 4; k++)
			assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, buf, 0,
			                                  1, on_done, &d[k], 0),
			                 0);
		(void)nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, on_done, &after);
		assert_int_equal(stats_of(ctrlr).io_cmds, 4); /* nobody fetches that one */
		assert_int_equal(poll_until(qp, &d[0]), cases[i].rc);
		n = nvme_detach(ctrlr);
		assert_int_equal(n, cases[i].rc == -ENODEV ? -ENODEV : n);
		for (k = 0; k < 4; k++)
			assert_int_equal(d[k].count, 1);
		assert_int_equal(last.bytes_mapped, 0);
	}
}

/* ---- mode=thread ---- */

struct worker {
	struct nvme_ctrlr *ctrlr;
	struct nvme_qpair *qp;
	uint8_t *buf;
	uint64_t slba;
	int failures;
};

static void *work(void *arg)
{
	struct worker *w = (struct worker *)arg;
	struct nvme_ns *ns = nvme_ctrlr_get_ns(w->ctrlr, 1);
	uint32_t i, k;

	for (i = 0; i < 300; i++) {
		for (k = 0; k < 4096; k++)
			w->buf[k] = (uint8_t)(i + k + w->slba);
		w->failures += nvme_ns_write(ns, w->qp, w->buf, w->slba + i * 8, 8, NULL) != 0;
		memset(w->buf, 0, 4096);
		w->failures += nvme_ns_read(ns, w->qp, w->buf, w->slba + i * 8, 8, NULL) != 0;
		for (k = 0; k < 4096; k++)
			w->failures += w->buf[k] != (uint8_t)(i + k + w->slba);
	}
	return NULL;
}

static void test_threads(void **state)
{
	static const char *const devices[] = {
		"soft:mode=thread,size=16M",
		"soft",
		"soft:mode=thread,size=16M,plan=torn", /* the CQE is written in pieces */
		"soft:mode=thread,size=16M,plan=on write delay 0us..50us",
	};
	struct nvme_ctrlr_opts opts;
	struct worker w[2];
	pthread_t threads[2];
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		memset(w, 0, sizeof(w));
		opts = options();
		opts.log = discard; /* lines of the controller come from its own thread */
		assert_int_equal(nvme_attach(devices[i], &opts, &w[0].ctrlr), 0);
		for (k = 0; k < 2; k++) {
			w[k].ctrlr = w[0].ctrlr;
			w[k].slba = k * 8192;
			w[k].failures = 0;
			w[k].buf = (uint8_t *)nvme_dma_alloc(w[0].ctrlr, 4096);
			assert_int_equal(nvme_ctrlr_alloc_io_qpair(w[0].ctrlr, NULL, &w[k].qp), 0);
		}
		for (k = 0; k < 2; k++)
			assert_int_equal(pthread_create(&threads[k], NULL, work, &w[k]), 0);
		for (k = 0; k < 2; k++)
			assert_int_equal(pthread_join(threads[k], NULL), 0);
		assert_int_equal(w[0].failures + w[1].failures, 0);
		for (k = 0; k < 200; k++) { /* the head doorbell comes before the deletion */
			struct nvme_qpair *qp;

			assert_int_equal(nvme_ctrlr_alloc_io_qpair(w[0].ctrlr, NULL, &qp), 0);
			assert_int_equal(nvme_ns_flush(nvme_ctrlr_get_ns(w[0].ctrlr, 1), qp, NULL),
			                 0);
			assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
		}
		detach(w[0].ctrlr);
		assert_int_equal(last.strays + last.bad_doorbells, 0);
	}
}

static void test_thread_faults(void **state)
{
	struct nvme_ctrlr *ctrlr;
	struct nvme_ctrlr_opts opts = options();
	uint8_t block[512];

	(void)state;
	opts.log = discard;
	opts.io_timeout_ms = 200;
	assert_int_equal(nvme_attach("soft:mode=thread,plan=on read #1 delay 20ms; on read #2 "
	                             "status 2/81; on read #3 drop; on read #4 gone",
	                             &opts, &ctrlr),
	                 0);
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	assert_int_equal(nvme_ns_read(ns, NULL, block, 0, 1, NULL), 0);
	assert_int_equal(nvme_ns_read(ns, NULL, block, 0, 1, &cpl), -EIO);
	assert_int_equal(code(&cpl), MED(0x81));
	struct nvme_qpair *qp;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), 0);
	assert_int_equal(nvme_ns_read(ns, qp, block, 0, 1, NULL), -ETIMEDOUT);
	opts.io_timeout_ms = 0;
	assert_int_equal(nvme_ns_flush(ns, qp, NULL), 0);
	assert_true(nvme_ns_read(ns, qp, block, 0, 1, NULL) < 0);
	assert_int_equal(nvme_ctrlr_get_reg_4(ctrlr, NVME_REG_CSTS), UINT32_MAX);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
}

/* ---- anything at all ---- */

static uint64_t next_random = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
	next_random ^= next_random << 13;
	next_random ^= next_random >> 7;
	next_random ^= next_random << 17;
	return (uint32_t)(next_random >> 11) % n;
}

static uint64_t odd_address(void)
{
	static const uint64_t bases[] = {BARE_IOVA, BARE_IOVA,         BARE_IOVA,
	                                 0,         UINT64_MAX - 4095, 1 << 30};

	return bases[rnd(6)] + (rnd(3) != 0 ? rnd(16) * 4096 : rnd(70000));
}

static uint32_t odd_dword(void)
{
	static const uint32_t values[] = {0,      1,      2,          3,         0x10001,  0x30001,
	                                  0xffff, 0x7000, UINT32_MAX, 0x1ff0002, 0x4000000};

	return rnd(3) == 0 ? rnd(UINT32_MAX) : rnd(2) != 0 ? values[rnd(11)] : rnd(300);
}

static void odd_command(struct nvme_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opc = (uint8_t)(rnd(8) == 0 ? 0x80 : rnd(16));
	cmd->flags = (uint8_t)(rnd(3) == 0 ? rnd(256) : 0);
	cmd->cid = (uint16_t)rnd(20);
	cmd->nsid = rnd(8) == 0 ? UINT32_MAX : rnd(4);
	cmd->dptr.prp.prp1 = odd_address();
	cmd->dptr.prp.prp2 = odd_address();
	if (NVME_GET(cmd->flags, NVME_CMD_PSDT) != 0)
		cmd->dptr.sgl = sgl(rnd(6), odd_address(), rnd(2) ? 4096 : 16 * rnd(40));
	cmd->cdw10 = odd_dword();
	cmd->cdw11 = odd_dword() & (rnd(2) ? UINT32_MAX : 1u);
	cmd->cdw12 = odd_dword();
	cmd->cdw13 = rnd(4) == 0 ? odd_dword() : 0;
}

static void odd_step(struct bare *b)
{
	static const uint32_t regs[] = {NVME_REG_CC,    NVME_REG_AQA,
	                                NVME_REG_ASQ,   NVME_REG_ACQ,
	                                NVME_REG_INTMS, NVME_REG_ACQ + 4,
	                                NVME_REG_CSTS,  0x2};
	uint32_t qid = rnd(6), i;

	switch (rnd(8)) {
	case 0:
		if (rnd(20) == 0)
			wr(b, regs[rnd(8)], odd_dword());
		break;
	case 1:
		(void)b->dev.ops->now_ns(&b->dev);
		(void)rd(b, NVME_REG_CSTS);
		break;
	case 2:
		wr(b, NVME_CQ_HDBL(qid, 0), rnd(6));
		break;
	case 3:
		wr(b, NVME_REG_DOORBELLS + rnd(100), odd_dword());
		break;
	case 4: /* start again */
		if (rnd(30) != 0)
			break;
		wr(b, NVME_REG_CC, 0);
		bare_enable(b, CC_GOOD);
		(void)bare_wait(b, 1);
		break;
	default:
		for (i = 0; i < 64; i++)
			odd_command((struct nvme_cmd *)(void *)(b->mem + 8192 * rnd(3) + 64 * i));
		wr(b, NVME_SQ_TDBL(qid, 0), rnd(4));
		break;
	}
}

/* Whatever a host does, the controller stays in its memory and in the host's that was mapped. */
static void test_anything(void **state)
{
	static const char *const plans[] = {
		"",
		"on any delay 0us..900us; on any #40 drop; on cmd duplicate",
		"on cmd #9 flood; on any phase-stuck times 3; aer smart; aer error after any",
		"on any drop; on abort times 0 dw0 0; on delete-io-sq delay 1ms",
	};
	struct nvme_soft_stats stats;
	uint64_t commands = 0;
	struct bare b;
	size_t i;
	int k;

	(void)state;
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		bare_open(&b, "soft:size=64K,ns=2,queues=4,mqes=7");
		b.log.fn = discard;
		assert_int_equal(nvme_soft_set_plan(&b.dev, plans[i]), 0);
		bare_enable(&b, CC_GOOD);
		assert_true(bare_wait(&b, 1));
		for (k = 0; k < 20000; k++)
			odd_step(&b);
		nvme_soft_get_stats(&b.dev, &stats);
		commands += stats.admin_cmds + stats.io_cmds;
		bare_close(&b);
	}
	assert_true(commands > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_text),
		cmocka_unit_test(test_device_options),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_plan_text),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_refuses_to_enable),
		cmocka_unit_test(test_late_entry_sizes),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_start_states),
		cmocka_unit_test(test_hostile_namespaces),
		cmocka_unit_test(test_map_fails),
		cmocka_unit_test(test_queue_commands),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_driver_queues),
		cmocka_unit_test(test_delete_in_flight),
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_format_and_rest),
		cmocka_unit_test(test_nvm_commands),
		cmocka_unit_test(test_prps),
		cmocka_unit_test(test_sgls),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_status_faults),
		cmocka_unit_test(test_delay_and_drop),
		cmocka_unit_test(test_hostile_completions),
		cmocka_unit_test(test_end_at_run_time),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_thread_faults),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
