/* SPDX-License-Identifier: MIT
 *
 * What the sections >>api and >>more of nvme.h promise about buffers, callbacks, namespaces and time,
 * tried with a controller that does not help: it refuses deletions, answers late or not at all,
 * changes block sizes, and disappears.
 */
/* What happens between the look at the phase and the rest of a completion. */
static void between_reads(void);
#define NVME_RMB() between_reads()

#define NVME_IMPLEMENTATION
#include "nvme.h"
#define NVME_SOFT_IMPLEMENTATION
#include "nvme_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ctrlr.h"

static struct fake fake;

/* What a callback has seen, of the completion and of the controller at that moment. */
struct seen {
	unsigned int calls;
	struct nvme_cpl cpl;
	bool enabled;      /* CC.EN was 1 */
	unsigned int maps; /* ranges of memory that it could reach */
};

static void note(void *arg, const struct nvme_cpl *cpl)
{
	struct seen *seen = (struct seen *)arg;

	seen->calls++;
	seen->cpl = *cpl;
	seen->enabled = NVME_GET(fake.cc, NVME_CC_EN) != 0;
	seen->maps = fake.num_maps;
}

static struct nvme_ctrlr *start(void)
{
	fake_init(&fake);
	return fake_attach(&fake);
}

static void stop(struct nvme_ctrlr *ctrlr)
{
	assert_int_equal(nvme_detach(ctrlr), 0);
	assert_false(fake.open);
}

static struct nvme_cmd command(uint8_t opc, uint32_t nsid)
{
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = opc;
	cmd.nsid = nsid;
	return cmd;
}

static size_t dma_in_use(const struct nvme_ctrlr *ctrlr)
{
	const struct nvme__extent *e;
	size_t used = 0;

	for (e = ctrlr->arena.extents; e != NULL; e = e->next)
		used += e->use != NVME__EXTENT_FREE ? e->len : 0;
	return used;
}

/* The synthetic completion: it must not read as success. */
static void expect_no_completion(const struct nvme_cpl *cpl)
{
	assert_true(nvme_cpl_is_error(cpl));
	assert_int_equal(NVME_GET(cpl->status, NVME_CPL_SCT), NVME_SCT_PATH);
	assert_int_equal(NVME_GET(cpl->status, NVME_CPL_SC), NVME_SC_ABORTED_BY_HOST);
	assert_int_equal(cpl->cid, 0xffff);
}

/* ---- hooks: what the controller does with commands ---- */

static uint8_t hook_opc;     /* the opcode that the hooks below are about, ... */
static bool hook_admin;      /* ... on the admin queue, or on another */
static uint16_t hook_status; /* SCT and SC */

static bool hooked(uint16_t qid, const struct nvme_cmd *cmd)
{
	return (qid == 0) == hook_admin && cmd->opc == hook_opc;
}

static enum fake_verdict hold(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                              struct nvme_cpl *cpl)
{
	(void)f, (void)cpl;
	return hooked(qid, cmd) ? FAKE_HOLD : FAKE_EXEC;
}

static enum fake_verdict drop(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                              struct nvme_cpl *cpl)
{
	(void)f, (void)cpl;
	return hooked(qid, cmd) ? FAKE_DROP : FAKE_EXEC;
}

static enum fake_verdict refuse(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                struct nvme_cpl *cpl)
{
	(void)f;
	if (!hooked(qid, cmd))
		return FAKE_EXEC;
	cpl->status = (uint16_t)(hook_status << 1);
	return FAKE_ANSWER;
}

static void on(enum fake_verdict (*hook)(struct fake *, uint16_t, const struct nvme_cmd *,
                                         struct nvme_cpl *),
               bool admin, uint8_t opc)
{
	fake.hook = hook;
	hook_admin = admin;
	hook_opc = opc;
}

/* Holds all I/O, and does something else to one admin command. */
static enum fake_verdict (*other_hook)(struct fake *, uint16_t, const struct nvme_cmd *,
                                       struct nvme_cpl *);

static enum fake_verdict hold_io_and(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	return qid != 0 ? FAKE_HOLD : other_hook(f, qid, cmd, cpl);
}

/* ---- one completion is read once ---- */

static struct nvme_cpl *changing; /* a slot that the device writes to while it is read, or NULL */

static void between_reads(void)
{
	__asm__ volatile("" ::: "memory");
	if (changing == NULL)
		return;
	changing->cdw0 = 0x1234; /* in order: what a device wrote before it wrote the phase */
	changing->cid = 5;       /* out of order: what must not be believed any more */
	changing->status ^= 0xfffe;
}

static void test_cqe_read_once(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 16);
	struct seen seen[8];
	int i;

	(void)state;
	memset(seen, 0, sizeof(seen));
	fake.hook = hold;
	hook_admin = false;
	hook_opc = NVME_OPC_FLUSH;
	for (i = 0; i < 8; i++)
		assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, note, &seen[i]),
		                 0);
	fake_release(&fake, 2);
	changing = &qp->cq[0];
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	changing = NULL;
	assert_int_equal(seen[2].calls, 1);
	assert_int_equal(seen[5].calls, 0);
	assert_int_equal(seen[2].cpl.cid, 2);
	assert_int_equal(seen[2].cpl.status & 0xfffe, 0);
	assert_int_equal(seen[2].cpl.cdw0, 0x1234);
	stop(ctrlr);
}

/* ---- a buffer belongs to the controller until the callback has run ---- */

/* An admin command with data: its callback must wait until the controller is off. */
static void test_detach_admin_data(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, NVME_NSID_ALL);
	void *buf = nvme_dma_alloc(ctrlr, 4096);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	on(hold, true, NVME_OPC_GET_LOG_PAGE);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, buf, 512, note, &seen), 0);
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SC), NVME_SC_ABORTED_SQ_DELETION);
	assert_false(seen.enabled);
	assert_int_equal(seen.maps, 0);
}

/* One without data ends before the shutdown, where published logs show it. */
static void test_detach_admin_no_data(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_cmd cmd = command(NVME_OPC_ASYNC_EVENT_REQUEST, 0);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	on(hold, true, NVME_OPC_ASYNC_EVENT_REQUEST);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, note, &seen), 0);
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
	assert_true(seen.enabled);
}

/* The controller stays ready when it is disabled: then its memory is taken away from it first. */
static void test_detach_never_off(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, NVME_NSID_ALL);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	on(hold, true, NVME_OPC_GET_LOG_PAGE);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, nvme_dma_alloc(ctrlr, 4096), 512,
	                                          note, &seen),
	                 0);
	fake.down_ms = FAKE_NEVER;
	assert_int_equal(nvme_detach(ctrlr), -ETIMEDOUT);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.maps, 0);
}

/* A read is with the controller and the queue cannot be deleted, for this reason or that. */
static void undeletable(enum fake_verdict (*hook)(struct fake *, uint16_t, const struct nvme_cmd *,
                                                  struct nvme_cpl *),
                        uint8_t opc, int want, bool late_completion)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8), *other;
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct seen seen;

	memset(&seen, 0, sizeof(seen));
	memset(fake.disk, 0x5a, 512);
	hook_status = 0x00c;
	on(hook, true, opc);
	other_hook = hook;
	fake.hook = hold_io_and;
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, &seen, 0), 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), want);
	assert_int_equal(seen.calls, 0);
	assert_int_equal(fake_logged(&fake, "did not let go of queue pair 1"), 1);
	fake.hook = NULL;

	/* the controller goes on with it, and the buffer is still the one of the read */
	if (late_completion)
		fake_release(&fake, 0);
	assert_int_equal(buf[0], late_completion ? 0x5a : 0);
	assert_int_equal(seen.calls, 0);

	/* its number stays taken, and the rest goes on */
	other = fake_qpair(ctrlr, 8);
	assert_int_equal(nvme_qpair_get_id(other), 2);
	assert_int_equal(nvme_ns_read(ns, other, buf, 0, 1, NULL), 0);
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
	assert_false(seen.enabled);
	assert_int_equal(seen.maps, 0);
	assert_int_equal(NVME_GET(seen.cpl.status, NVME_CPL_SC),
	                 late_completion ? NVME_SC_SUCCESS : NVME_SC_ABORTED_SQ_DELETION);
}

static void test_delete_refused(void **state)
{
	(void)state;
	undeletable(refuse, NVME_OPC_DELETE_IO_SQ, -EIO, false);
	undeletable(refuse, NVME_OPC_DELETE_IO_SQ, -EIO, true);
}

static void test_delete_times_out(void **state)
{
	(void)state;
	undeletable(drop, NVME_OPC_DELETE_IO_SQ, -ETIMEDOUT, false);
	undeletable(drop, NVME_OPC_DELETE_IO_SQ, -ETIMEDOUT, true);
}

/* The submission queue is gone, so the data is the caller's; only the ring stays. */
static void test_delete_cq_refused(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	size_t used = dma_in_use(ctrlr);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	hook_status = 0x10c;
	on(refuse, true, NVME_OPC_DELETE_IO_CQ);
	other_hook = refuse;
	fake.hook = hold_io_and;
	assert_int_equal(nvme_ns_cmd_read(nvme_ctrlr_get_ns(ctrlr, 1), qp,
	                                  nvme_dma_alloc(ctrlr, 4096), 0, 1, note, &seen, 0),
	                 0);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), -EIO);
	assert_int_equal(seen.calls, 1);
	assert_true(dma_in_use(ctrlr) >= used); /* the controller may still write to the ring */
	fake.hook = NULL;
	stop(ctrlr);
	assert_int_equal(seen.calls, 1);
}

/* What attach began and the controller did not confirm is kept, too. */
static void test_create_times_out(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	size_t used = dma_in_use(ctrlr);
	struct nvme_qpair *qp;

	(void)state;
	on(drop, true, NVME_OPC_CREATE_IO_SQ);
	other_hook = drop;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp), -ETIMEDOUT);
	fake.hook = NULL;
	/* only the CQ could be deleted again: nobody knows about the SQ */
	assert_true(dma_in_use(ctrlr) > used);
	assert_int_equal(nvme_qpair_get_id(fake_qpair(ctrlr, 4)), 2);
	stop(ctrlr);
}

/* ---- a transfer stays inside the allocation it starts in ---- */

static void refused_read(struct nvme_ns *ns, struct nvme_qpair *qp, uint8_t *buf, uint32_t nlb)
{
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1);
	uint64_t before = fake.cmds;
	uint32_t len = nlb * nvme_ns_get_sector_size(ns);
	struct seen seen;

	memset(&seen, 0, sizeof(seen));
	cmd.cdw12 = nlb - 1;
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 0, nlb, note, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ns->ctrlr, qp, &cmd, buf, len, note, &seen),
	                 -EFAULT);
	assert_int_equal(nvme_ns_read(ns, qp, buf, 0, nlb, NULL), -EFAULT);
	assert_int_equal(nvme_ctrlr_io(ns->ctrlr, qp, &cmd, buf, len, NULL), -EFAULT);
	assert_int_equal(fake.cmds, before);
	assert_int_equal(seen.calls, 0);
	assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
}

static void test_stays_inside(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t *small = (uint8_t *)nvme_dma_alloc(ctrlr, 512);
	uint8_t *large = (uint8_t *)nvme_dma_alloc(ctrlr, 64 * 1024);
	uint8_t *neighbour = (uint8_t *)nvme_dma_alloc(ctrlr, 4096), *freed;

	(void)state;
	memset(fake.disk, 0xee, sizeof(fake.disk));
	refused_read(ns, qp, small, 256);
	refused_read(ns, qp, small, 9); /* a page holds eight blocks */
	refused_read(ns, qp, small + 4, 8);
	refused_read(ns, qp, large, 129);
	refused_read(ns, qp, large + 60 * 1024, 9);
	refused_read(ns, qp, (uint8_t *)qp->sq, 1);
	refused_read(ns, qp, (uint8_t *)qp->cq, 1);
	refused_read(ns, qp, qp->lists, 1);
	refused_read(ns, qp, (uint8_t *)ctrlr->adminq->cq, 1);
	freed = (uint8_t *)nvme_dma_alloc(ctrlr, 8192);
	nvme_dma_free(ctrlr, freed);
	refused_read(ns, qp, freed, 1);
	refused_read(ns, qp, freed + 4096, 1);
	assert_int_equal(neighbour[0], 0);
	assert_true(fake_logged(&fake, "not DMA memory of one buffer") >= 11);

	/* all of a buffer, from any place in it */
	assert_int_equal(nvme_ns_read(ns, qp, small, 0, 8, NULL), 0);
	assert_int_equal(nvme_ns_read(ns, qp, large, 0, 128, NULL), 0);
	assert_int_equal(nvme_ns_read(ns, qp, large + 60 * 1024 + 512, 0, 7, NULL), 0);
	assert_int_equal(neighbour[0], 0);
	stop(ctrlr);
}

/* Memory of the caller's own: a region ends where it was registered to end. */
static void test_stays_inside_region(void **state)
{
	static uint8_t own[4 * 4096] __attribute__((aligned(4096)));
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen;
	uint64_t iova;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_dma_register(ctrlr, own, 2 * 4096), 0);
	assert_int_equal(nvme_dma_register(ctrlr, own + 2 * 4096, 2 * 4096), 0);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, own, 0, 17, note, &seen, 0), -EFAULT);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, own + 4096, 0, 9, note, &seen, 0), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, own, 2 * 4096 + 1, &iova), -EFAULT);
	assert_int_equal(nvme_ns_read(ns, qp, own, 0, 32, NULL), 0); /* as a copy, as any memory */
	assert_int_equal(nvme_dma_unregister(ctrlr, own), 0);
	assert_int_equal(nvme_dma_iova(ctrlr, own, 1, &iova), -EFAULT);
	assert_int_equal(nvme_dma_iova(ctrlr, own + 2 * 4096, 2 * 4096, &iova), 0);
	/* the slot is used again, the others have not moved */
	assert_int_equal(nvme_dma_register(ctrlr, own, 4096), 0);
	assert_int_equal(ctrlr->num_regions, 2);
	assert_true(ctrlr->regions[0].vaddr == own && ctrlr->regions[1].vaddr == own + 2 * 4096);
	stop(ctrlr);
}

/* ---- namespaces tell the truth ---- */

/* Formats to 4096-byte blocks, or back to 512. */
static enum fake_verdict do_format(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                   struct nvme_cpl *cpl)
{
	(void)cpl;
	if (qid != 0 || cmd->opc != NVME_OPC_FORMAT_NVM)
		return FAKE_EXEC;
	f->block = (cmd->cdw10 & 15) == 1 ? 4096 : 512;
	f->nsze = f->block == 4096 ? 256 : 2048;
	return FAKE_ANSWER;
}

static void can_format(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_CTRLR)
		((struct nvme_id_ctrlr *)data)->oacs = NVME_OACS_FORMAT | NVME_OACS_NS_MGMT;
	if (cns == NVME_ID_CNS_NS)
		((struct nvme_id_ns *)data)->fpi = 0x80 | 37;
}

static struct nvme_ctrlr *start_format(void)
{
	fake_init(&fake);
	fake.edit = can_format;
	fake.hook = do_format;
	return fake_attach(&fake);
}

/* Everything that is said of a namespace, and a read of one block that fits its buffer exactly. */
static void expect_blocks(struct nvme_ns *ns, uint32_t size, uint64_t count)
{
	uint8_t *page = (uint8_t *)nvme_dma_alloc(ns->ctrlr, 4096);
	uint8_t *behind = (uint8_t *)nvme_dma_alloc(ns->ctrlr, 4096);

	assert_int_equal(nvme_ns_get_sector_size(ns), size);
	assert_int_equal(nvme_ns_get_extended_sector_size(ns), size);
	assert_int_equal(nvme_ns_get_num_sectors(ns), count);
	assert_int_equal(nvme_ns_get_max_nlb(ns, NULL), 128 * 1024 / size);
	memset(fake.disk, 0x42, sizeof(fake.disk));
	assert_int_equal(nvme_ns_read(ns, NULL, page, count - 1, 1, NULL), 0);
	assert_int_equal(page[size - 1], 0x42);
	assert_int_equal(size < 4096 ? page[size] : 0, 0);
	assert_int_equal(behind[0], 0);
	assert_int_equal(nvme_ns_read(ns, NULL, page, count, 1, NULL), -ERANGE);
	nvme_dma_free(ns->ctrlr, page);
	nvme_dma_free(ns->ctrlr, behind);
}

static void test_format(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_format format;
	struct nvme_cpl cpl;

	(void)state;
	expect_blocks(ns, 512, 2048);
	memset(&format, 0, sizeof(format));
	format.lbaf = 1;
	assert_int_equal(nvme_ctrlr_format(ctrlr, NVME_NSID_ALL, &format, &cpl), 0);
	assert_false(nvme_cpl_is_error(&cpl));
	assert_true(nvme_ctrlr_get_ns(ctrlr, 1) == ns);
	expect_blocks(ns, 4096, 256);
	expect_blocks(nvme_ctrlr_get_ns(ctrlr, 2), 4096, 256);
	format.lbaf = 0;
	assert_int_equal(nvme_ctrlr_format(ctrlr, NVME_NSID_ALL, &format, NULL), 0);
	expect_blocks(ns, 512, 2048);
	stop(ctrlr);
}

/* The fields of CDW10, each from its own option [Base 2.1: Format NVM command]. */
static void test_format_fields(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_format format;

	(void)state;
	hook_status = 0x10a;
	on(refuse, true, NVME_OPC_FORMAT_NVM);
	memset(&format, 0, sizeof(format));
	format.lbaf = 1;
	format.mset = 1;
	format.pi = 2;
	format.pil = 1;
	format.ses = 2;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 2, &format, NULL), -EIO);
	{
		uint64_t i = fake.cmds;

		while (fake.log[--i % FAKE_RING].cmd.opc != NVME_OPC_FORMAT_NVM)
			;
		assert_int_equal(fake.log[i % FAKE_RING].cmd.nsid, 2);
		assert_int_equal(fake.log[i % FAKE_RING].cmd.cdw10,
		                 1 | 1 << 4 | 2 << 5 | 1 << 8 | 2 << 9);
	}
	/* an index above 15 has its upper bits elsewhere; only a namespace that is not known takes it */
	memset(&format, 0, sizeof(format));
	format.lbaf = 0x23;
	assert_int_equal(nvme_ctrlr_format(ctrlr, NVME_NSID_ALL, &format, NULL), -EIO);
	{
		uint64_t i = fake.cmds;

		while (fake.log[--i % FAKE_RING].cmd.opc != NVME_OPC_FORMAT_NVM)
			;
		assert_int_equal(fake.log[i % FAKE_RING].cmd.cdw10, 3 | 2 << 12);
	}
	stop(ctrlr);
}

static void test_format_refused(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_format format;
	struct nvme_cpl cpl;
	uint64_t before = fake.cmds;

	(void)state;
	memset(&format, 0, sizeof(format));
	format.lbaf = 2; /* there are 0 and 1 */
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, &cpl), -EINVAL);
	expect_no_completion(&cpl);
	format.lbaf = 0;
	format.pi = 4;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), -EINVAL);
	format.pi = 0;
	format.ses = 3;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), -EINVAL);
	format.ses = 0;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 0, &format, NULL), -EINVAL);
	assert_int_equal(fake.cmds, before);
	expect_blocks(ns, 512, 2048);

	/* refused by the controller: nothing has changed, and that was looked at */
	hook_status = 0x10a;
	on(refuse, true, NVME_OPC_FORMAT_NVM);
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, &cpl), -EIO);
	assert_int_equal(NVME_GET(cpl.status, NVME_CPL_SC), 0x0a);
	expect_blocks(ns, 512, 2048);
	stop(ctrlr);

	/* a controller that has no such command */
	fake_init(&fake);
	ctrlr = fake_attach(&fake);
	before = fake.cmds;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), -ENOTSUP);
	assert_int_equal(fake.cmds, before);
	stop(ctrlr);
}

/* It may take longer than other admin commands, and says how far it is. */
static void test_format_takes_long(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 4);
	uint8_t *page = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	struct nvme_format format;
	struct nvme_cpl cpl;
	struct seen seen;
	uint64_t from;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&format, 0, sizeof(format));
	format.lbaf = 1;
	format.timeout_ms = 5000; /* admin_timeout_ms is 1000 */
	on(hold, true, NVME_OPC_FORMAT_NVM);
	from = fake.now;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, &cpl), -ETIMEDOUT);
	assert_true(fake.now - from >= 5000 * FAKE_MS && fake.now - from < 6000 * FAKE_MS);
	expect_no_completion(&cpl);
	assert_int_equal(fake_logged(&fake, "37 % remain"), 4);
	assert_int_equal(fake_logged(&fake, "did not complete within 5000 ms"), 1);

	/* it goes on: nothing may go by the old block size, nor by the new one */
	assert_int_equal(nvme_ns_cmd_read(ns, qp, page, 0, 1, note, &seen, 0), -EBUSY);
	assert_int_equal(nvme_ns_read(ns, qp, page, 0, 1, NULL), -EBUSY);
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 2), qp, page, 0, 1, NULL), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 0);
	assert_int_equal(nvme_ns_read(ns, qp, page, 0, 1, NULL), -EBUSY);
	assert_true(fake_logged(&fake, "being formatted") >= 3);

	/* the end of it is seen by whoever polls the admin queue */
	fake.block = 4096;
	fake.nsze = 256;
	fake.num_held = 0;
	{
		struct nvme_cpl end;

		memset(&end, 0, sizeof(end));
		end.cid = fake.held[0].cmd.cid;
		fake_post(&fake, 0, &end);
	}
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	expect_blocks(ns, 4096, 256);
	stop(ctrlr);
}

/* A format that takes a minute on the software controller, which tells how far it is. */
static void test_format_progress(void **state)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_format format;
	struct nvme_ctrlr *ctrlr;
	unsigned int percent, last = 101, n = 0;
	const char *at;

	(void)state;
	fake_init(&fake); /* its log is used, nothing else */
	opts = fake_opts(&fake);
	opts.dev_ops = nvme_soft_dev_ops("soft");
	assert_int_equal(nvme_attach("soft:size=1M,plan=on format-nvm delay 60s", &opts, &ctrlr),
	                 0);
	memset(&format, 0, sizeof(format));
	format.lbaf = 3;
	assert_int_equal(nvme_ctrlr_format(ctrlr, 1, &format, NULL), 0);
	assert_int_equal(nvme_ns_get_sector_size(nvme_ctrlr_get_ns(ctrlr, 1)), 4096);
	for (at = fake.text; (at = strstr(at, "Format NVM of namespace 1: ")) != NULL; n++) {
		at += strlen("Format NVM of namespace 1: ");
		percent = (unsigned int)strtoul(at, NULL, 10);
		assert_true(percent < last);
		last = percent;
	}
	assert_true(n > 30 && last < 10);
	assert_int_equal(nvme_detach(ctrlr), 0);
}

static uint8_t fna;

static void set_fna(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	can_format(f, cns, nsid, data);
	if (cns == NVME_ID_CNS_CTRLR)
		((struct nvme_id_ctrlr *)data)->fna = fna;
}

/* Who formats one namespace may format all, says FNA. */
static void test_format_of_all(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, 1);
	struct nvme_ctrlr *ctrlr;
	uint8_t block[512];
	struct seen seen;

	(void)state;
	for (fna = 0; fna < 4; fna++) {
		memset(&seen, 0, sizeof(seen));
		fake_init(&fake);
		fake.edit = set_fna;
		ctrlr = fake_attach(&fake);
		on(hold, true, NVME_OPC_FORMAT_NVM);
		assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, note, &seen), 0);
		assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), NULL, block, 0, 1, NULL),
		                 -EBUSY);
		assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 2), NULL, block, 0, 1, NULL),
		                 fna == 0 ? 0 : -EBUSY);
		fake.hook = NULL;
		stop(ctrlr);
	}
}

/* The raw command, blocking: the driver sees what it sends. */
static void test_format_raw(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, NVME_NSID_ALL);

	(void)state;
	cmd.cdw10 = 1;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL), 0);
	expect_blocks(ns, 4096, 256);
	stop(ctrlr);
}

struct format_cb {
	struct nvme_ns *ns;
	struct nvme_qpair *qp;
	uint8_t *buf;
	int rc;
	unsigned int calls;
};

static void read_at_once(void *arg, const struct nvme_cpl *cpl)
{
	static struct seen seen;
	struct format_cb *cb = (struct format_cb *)arg;

	(void)cpl;
	cb->calls++;
	cb->rc = nvme_ns_cmd_read(cb->ns, cb->qp, cb->buf, 0, 1, note, &seen, 0);
}

/* The raw command, asynchronous: closed from the submission to the poll that sees the end. */
static void test_format_raw_async(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, NVME_NSID_ALL);
	struct format_cb cb;

	(void)state;
	memset(&cb, 0, sizeof(cb));
	cb.ns = ns;
	cb.qp = fake_qpair(ctrlr, 4);
	cb.buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	cmd.cdw10 = 1;

	/* not submitted: nothing changes */
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, NULL, NULL), -EINVAL);
	expect_blocks(ns, 512, 2048);

	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, read_at_once, &cb), 0);
	assert_int_equal(nvme_ns_read(ns, cb.qp, cb.buf, 0, 1, NULL), -EBUSY);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(cb.calls, 1);
	assert_int_equal(cb.rc, -EBUSY); /* the callback comes before the namespaces are known */
	expect_blocks(ns, 4096, 256);
	stop(ctrlr);
}

/* A second command is on its way when the first is complete: not before both are. */
static void test_format_twice(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, 1);
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	cmd.cdw10 = 1;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, note, &seen), 0);
	on(hold, true, NVME_OPC_FORMAT_NVM);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, note, &seen), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	assert_int_equal(nvme_ns_read(ns, NULL, &seen, 0, 1, NULL), -EBUSY);
	fake.hook = NULL;
	fake_release(&fake, 0); /* which this controller answers with an error: no matter */
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 1);
	expect_blocks(ns, 4096, 256);
	stop(ctrlr);
}

/* The namespace cannot be identified after the format: then nothing is read from it. */
static void test_format_then_silence(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = command(NVME_OPC_FORMAT_NVM, 1);
	uint8_t block[512];

	(void)state;
	hook_status = 0x10a;
	on(drop, true, NVME_OPC_IDENTIFY);
	(void)nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL);
	assert_int_equal(fake_logged(&fake, "could not be identified again"), 1);
	assert_int_equal(nvme_ns_read(ns, NULL, block, 0, 1, NULL), -EBUSY);
	fake.hook = NULL;
	stop(ctrlr);
}

/* Detaches the last namespace, or attaches it again. */
static enum fake_verdict do_attachment(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                       struct nvme_cpl *cpl)
{
	(void)cpl;
	if (qid != 0 || cmd->opc != NVME_OPC_NS_ATTACHMENT)
		return FAKE_EXEC;
	f->nn = (cmd->cdw10 & 15) == 1 ? cmd->nsid - 1 : cmd->nsid;
	return FAKE_ANSWER;
}

static void nn_is_four(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	can_format(f, cns, nsid, data);
	if (cns == NVME_ID_CNS_CTRLR)
		((struct nvme_id_ctrlr *)data)->nn = 4;
}

static void test_namespaces_come_and_go(void **state)
{
	struct nvme_cmd cmd = command(NVME_OPC_NS_ATTACHMENT, 2);
	static uint8_t list[4096];
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *first, *second;
	uint8_t block[512];

	(void)state;
	fake_init(&fake);
	fake.edit = nn_is_four;
	fake.hook = do_attachment;
	ctrlr = fake_attach(&fake);
	first = nvme_ctrlr_get_ns(ctrlr, 1);
	second = nvme_ctrlr_get_ns(ctrlr, 2);
	assert_non_null(second);
	cmd.cdw10 = 1; /* detach */
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, list, sizeof(list), NULL), 0);
	assert_null(nvme_ctrlr_get_ns(ctrlr, 2));
	assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 1), 0);
	assert_int_equal(nvme_ns_read(second, NULL, block, 0, 1, NULL), -ENOENT);
	assert_int_equal(fake_logged(&fake, "it is not there any more"), 1);
	assert_int_equal(nvme_ns_read(first, NULL, block, 0, 1, NULL), 0);
	cmd.cdw10 = 0; /* attach */
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, list, sizeof(list), NULL), 0);
	assert_true(nvme_ctrlr_get_ns(ctrlr, 2) == second);
	assert_int_equal(nvme_ns_read(second, NULL, block, 0, 1, NULL), 0);
	cmd.nsid = 3; /* one that was not there before */
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, list, sizeof(list), NULL), 0);
	assert_int_equal(nvme_ctrlr_get_next_active_ns(ctrlr, 2), 3);
	assert_true(nvme_ctrlr_get_ns(ctrlr, 2) == second && nvme_ctrlr_get_ns(ctrlr, 1) == first);
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 3), NULL, block, 0, 1, NULL), 0);
	stop(ctrlr);
}

/* ---- blocking calls and time ---- */

static void test_no_completion(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t block[512];
	struct nvme_cpl cpl;

	(void)state;
	memset(&cpl, 0, sizeof(cpl));
	on(drop, false, NVME_OPC_READ);
	assert_int_equal(nvme_ns_read(ns, qp, block, 0, 1, &cpl), -ETIMEDOUT);
	expect_no_completion(&cpl);
	assert_int_equal(cpl.sqid, 1);
	memset(&cpl, 0, sizeof(cpl));
	assert_int_equal(nvme_ctrlr_io(ctrlr, qp, &cmd, block, 512, &cpl), -ETIMEDOUT);
	expect_no_completion(&cpl);
	memset(&cpl, 0, sizeof(cpl));
	assert_int_equal(nvme_ns_read(ns, qp, block, 1u << 30, 1, &cpl), -ERANGE);
	expect_no_completion(&cpl);
	memset(&cpl, 0, sizeof(cpl));
	assert_int_equal(nvme_ns_read(ns, qp, NULL, 0, 1, &cpl), -EINVAL);
	expect_no_completion(&cpl);
	memset(&cpl, 0, sizeof(cpl));
	assert_int_equal(nvme_ctrlr_admin(ctrlr, NULL, NULL, 0, &cpl), -EINVAL);
	expect_no_completion(&cpl);
	/* and one that came is handed out as it is */
	fake.hook = NULL;
	assert_int_equal(nvme_ns_read(ns, qp, block, 0, 1, &cpl), 0);
	assert_false(nvme_cpl_is_error(&cpl));
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	stop(ctrlr);
}

static enum fake_verdict drop_second(struct fake *f, uint16_t qid, const struct nvme_cmd *cmd,
                                     struct nvme_cpl *cpl)
{
	(void)f, (void)cpl;
	return qid != 0 && cmd->cdw10 != 0 ? FAKE_DROP : FAKE_EXEC;
}

/* The second of two pieces gets no completion: that of the first is not handed out for it. */
static void test_no_second_completion(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	static uint8_t data[512 * 512];
	struct nvme_cpl cpl;

	(void)state;
	fake.hook = drop_second;
	assert_int_equal(nvme_ns_read(ns, NULL, data, 0, 512, &cpl), -ETIMEDOUT);
	expect_no_completion(&cpl);
	stop(ctrlr);
}

static uint64_t release_at;

static uint64_t clock_that_releases(struct nvme_dev *dev)
{
	uint64_t now = fake_now_ns(dev);

	if (now >= release_at && fake.num_held > 0)
		fake_release(&fake, 0);
	return now;
}

/* The waiter was held up: the deadline has passed, but the completion is there. */
static void test_completion_beats_deadline(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t block[512];

	(void)state;
	on(hold, false, NVME_OPC_READ);
	fake.ops.now_ns = clock_that_releases;
	fake.tick = 10000 * FAKE_MS; /* between two looks at the clock; a read has 1000 ms */
	release_at = fake.now + 2 * fake.tick;
	assert_int_equal(nvme_ns_read(nvme_ctrlr_get_ns(ctrlr, 1), qp, block, 0, 1, NULL), 0);
	assert_int_equal(fake_logged(&fake, "did not complete"), 0);
	fake.tick = FAKE_MS;
	stop(ctrlr);
}

/* Each read times out, then comes late: no more memory than for one. */
static void test_bounce_after_timeouts(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 64);
	static uint8_t data[64 * 1024];
	size_t used = 0;
	int i;

	(void)state;
	on(hold, false, NVME_OPC_READ);
	for (i = 0; i < 200; i++) {
		assert_int_equal(nvme_ns_read(ns, qp, data, 0, 128, NULL), -ETIMEDOUT);
		fake_release(&fake, 0);
		(void)nvme_qpair_process_completions(qp, 0);
		assert_int_equal(nvme_qpair_get_num_outstanding(qp), 0);
		if (i == 0)
			used = dma_in_use(ctrlr);
	}
	assert_int_equal(dma_in_use(ctrlr), used);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	assert_true(dma_in_use(ctrlr) < used);
	stop(ctrlr);
}

/* What has not come back is not lent out again, and there is an end to lending. */
static void test_bounce_lent(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 64);
	uint64_t where[NVME__BOUNCES];
	uint8_t data[512], *dma = (uint8_t *)nvme_dma_alloc(ctrlr, 512);
	int i, k;

	(void)state;
	on(hold, false, NVME_OPC_READ);
	for (i = 0; i < NVME__BOUNCES; i++) {
		assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), -ETIMEDOUT);
		where[i] = fake.held[i].cmd.dptr.prp.prp1;
		for (k = 0; k < i; k++)
			assert_true(where[k] != where[i]);
	}
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), -EBUSY);
	assert_int_equal(fake.num_held, NVME__BOUNCES);
	assert_int_equal(fake_logged(&fake, "may still use its bounce buffers"), 1);
	fake.hook = NULL;
	assert_int_equal(nvme_ns_read(ns, qp, dma, 0, 1, NULL), 0); /* needs none */
	memset(fake.disk, 0x31, 512);
	fake_release(&fake, 2);
	(void)nvme_qpair_process_completions(qp, 0);
	memset(fake.disk, 0x32, 512);
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), 0);
	assert_int_equal(data[0], 0x32);
	assert_true(fake.log[(fake.cmds - 1) % FAKE_RING].cmd.dptr.prp.prp1 == where[2]);
	assert_int_equal(nvme_ctrlr_free_io_qpair(qp), 0);
	stop(ctrlr);
}

/* A queue that has failed refuses everything, for ever the same way, and for no memory. */
static void test_bounce_refused(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	static uint8_t data[4096];
	size_t used;
	int i;

	(void)state;
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 8, NULL), 0);
	used = dma_in_use(ctrlr);
	(void)nvme__qpair_fail(qp, -ENXIO);
	for (i = 0; i < 20000; i++)
		assert_int_equal(nvme_ns_read(ns, qp, data, 0, 8, NULL), -ENXIO);
	assert_int_equal(dma_in_use(ctrlr), used);
	stop(ctrlr);
}

/* A bounce buffer grows with what is asked for, and the largest is kept. */
static void test_bounce_grows(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	size_t before = dma_in_use(ctrlr), used;
	static uint8_t data[1 << 20];
	uint32_t nlb;

	(void)state;
	for (nlb = 1; nlb <= 2048; nlb *= 2)
		assert_int_equal(nvme_ns_read(ns, qp, data, 0, nlb, NULL), 0);
	used = dma_in_use(ctrlr);
	assert_int_equal(used, before + nvme_ctrlr_get_max_xfer_size(ctrlr));
	assert_int_equal(nvme_ns_read(ns, qp, data, 0, 1, NULL), 0);
	assert_int_equal(dma_in_use(ctrlr), used);
	stop(ctrlr);
}

static void rtd3e_is_71_minutes(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_CTRLR)
		((struct nvme_id_ctrlr *)data)->rtd3e = UINT32_MAX;
}

static void test_shutdown_is_bounded(void **state)
{
	struct nvme_ctrlr *ctrlr;
	uint64_t from;

	(void)state;
	fake_init(&fake);
	fake.edit = rtd3e_is_71_minutes;
	ctrlr = fake_attach(&fake);
	fake.shst_ms = FAKE_NEVER;
	fake.gone_at_csts = fake.csts_reads + 1000000; /* or this test would take its time */
	from = fake.now;
	assert_int_equal(nvme_detach(ctrlr), -ETIMEDOUT);
	assert_true(fake.now - from >= 60000 * FAKE_MS && fake.now - from < 61000 * FAKE_MS);
	assert_false(fake.open);
}

/* ---- what a callback may do ---- */

enum attempt {
	POLL,
	READ,
	FREE,
	FREE_OTHER,
	ALLOC,
	ADMIN,
	FORMAT,
	DETACH,
	SUBMIT,
	DMA,
	REGISTER,
	ATTEMPTS
};

struct tries {
	struct nvme_ctrlr *ctrlr;
	struct nvme_ns *ns;
	struct nvme_qpair *qp, *other;
	unsigned int calls, depth, deepest;
	int rc[ATTEMPTS];
};

static void try_all(void *arg, const struct nvme_cpl *cpl)
{
	static uint8_t own[4096] __attribute__((aligned(4096)));
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, NVME_NSID_ALL);
	struct nvme_format format;
	static struct seen seen;
	struct tries *t = (struct tries *)arg;
	struct nvme_qpair *made;
	uint8_t data[512];
	void *dma;

	(void)cpl;
	memset(&format, 0, sizeof(format));
	t->calls++;
	if (++t->depth > t->deepest)
		t->deepest = t->depth;
	t->rc[POLL] = t->qp->id == 0 ? nvme_ctrlr_process_admin_completions(t->ctrlr)
	                             : nvme_qpair_process_completions(t->qp, 0);
	t->rc[REGISTER] = nvme_dma_register(t->ctrlr, own, sizeof(own));
	if (t->rc[REGISTER] == 0)
		assert_int_equal(nvme_dma_unregister(t->ctrlr, own), 0);
	t->rc[READ] = nvme_ns_read(t->ns, t->qp, data, 0, 1, NULL);
	t->rc[FREE] = t->qp->id == 0 ? -EBUSY : nvme_ctrlr_free_io_qpair(t->qp);
	t->rc[FREE_OTHER] = nvme_ctrlr_free_io_qpair(t->other);
	if (t->rc[FREE_OTHER] == 0)
		t->other = NULL;
	t->rc[ALLOC] = nvme_ctrlr_alloc_io_qpair(t->ctrlr, NULL, &made);
	if (t->rc[ALLOC] == 0)
		t->other = made;
	t->rc[ADMIN] = nvme_ctrlr_admin(t->ctrlr, &cmd, NULL, 0, NULL);
	t->rc[FORMAT] = nvme_ctrlr_format(t->ctrlr, 1, &format, NULL);
	t->rc[DETACH] = nvme_detach(t->ctrlr);
	t->rc[SUBMIT] = t->qp->id == 0
	                        ? nvme_ctrlr_cmd_admin_raw(t->ctrlr, &cmd, NULL, 0, note, &seen)
	                        : nvme_ns_cmd_flush(t->ns, t->qp, note, &seen);
	dma = nvme_dma_alloc(t->ctrlr, 4096);
	t->rc[DMA] = dma != NULL ? 0 : -ENOMEM;
	nvme_dma_free(t->ctrlr, dma);
	t->depth--;
}

static struct tries tries_of(struct nvme_ctrlr *ctrlr, struct nvme_qpair *qp,
                             struct nvme_qpair *other)
{
	struct tries t;

	memset(&t, 0, sizeof(t));
	t.ctrlr = ctrlr;
	t.ns = nvme_ctrlr_get_ns(ctrlr, 1);
	t.qp = qp;
	t.other = other;
	return t;
}

static void test_callback_of_io(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct tries t = tries_of(ctrlr, qp, fake_qpair(ctrlr, 8));

	(void)state;
	assert_int_equal(nvme_ns_cmd_flush(t.ns, qp, try_all, &t), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 2); /* SUBMIT came, too */
	assert_int_equal(t.calls, 1);
	assert_int_equal(t.rc[POLL], -EBUSY);
	assert_int_equal(t.rc[READ], -EBUSY);
	assert_int_equal(t.rc[FREE], -EBUSY);
	assert_int_equal(t.rc[FREE_OTHER], 0);
	assert_int_equal(t.rc[ALLOC], 0);
	assert_int_equal(t.rc[ADMIN], -EIO); /* sent; the fake has no log pages */
	assert_int_equal(t.rc[FORMAT], 0);
	assert_int_equal(t.rc[DETACH], -EBUSY);
	assert_int_equal(t.rc[SUBMIT], 0);
	assert_int_equal(t.rc[DMA], 0);
	assert_int_equal(fake_logged(&fake, "was called from a callback of queue pair 1"), 4);
	stop(ctrlr);
}

static void test_callback_of_admin(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_cmd cmd = command(NVME_OPC_GET_LOG_PAGE, NVME_NSID_ALL);
	struct tries t = tries_of(ctrlr, ctrlr->adminq, fake_qpair(ctrlr, 8));

	(void)state;
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, try_all, &t), 0);
	assert_int_equal(nvme_ctrlr_process_admin_completions(ctrlr), 2);
	assert_int_equal(t.calls, 1);
	assert_int_equal(t.rc[POLL], -EBUSY);
	assert_int_equal(t.rc[FREE_OTHER], -EBUSY);
	assert_int_equal(t.rc[ALLOC], -EBUSY);
	assert_int_equal(t.rc[ADMIN], -EBUSY);
	assert_int_equal(t.rc[FORMAT], -EBUSY);
	assert_int_equal(t.rc[DETACH], -EBUSY);
	assert_int_equal(t.rc[SUBMIT], 0);
	assert_int_equal(t.rc[DMA], 0);
	stop(ctrlr);
}

/* In a callback that nvme_detach() runs nothing new can begin, so that it ends. */
static void test_callback_of_detach(void **state)
{
	struct nvme_ctrlr *ctrlr = start_format();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8), *other = fake_qpair(ctrlr, 8);
	struct tries t = tries_of(ctrlr, qp, other), u = tries_of(ctrlr, other, qp);
	struct tries *both[] = {&t, &u};
	int i;

	(void)state;
	on(hold, false, NVME_OPC_FLUSH);
	assert_int_equal(nvme_ns_cmd_flush(t.ns, qp, try_all, &t), 0);
	assert_int_equal(nvme_ns_cmd_flush(t.ns, other, try_all, &u), 0);
	stop(ctrlr);
	for (i = 0; i < 2; i++) {
		assert_int_equal(both[i]->calls, 1);
		assert_int_equal(both[i]->deepest, 1);
		assert_int_equal(both[i]->rc[POLL], -EBUSY);
		assert_int_equal(both[i]->rc[READ], -EBUSY);
		assert_int_equal(both[i]->rc[FREE], -EBUSY);
		assert_int_equal(both[i]->rc[FREE_OTHER], -EBUSY);
		assert_int_equal(both[i]->rc[ALLOC], -EBUSY);
		assert_int_equal(both[i]->rc[ADMIN], -ESHUTDOWN);
		assert_int_equal(both[i]->rc[FORMAT], -EBUSY);
		assert_int_equal(both[i]->rc[DETACH], -EBUSY);
		assert_int_equal(both[i]->rc[SUBMIT], -ESHUTDOWN);
		assert_int_equal(both[i]->rc[DMA], 0);
	}
}

/* The same where the queue could not be deleted and its callbacks come last. */
static void test_callback_of_zombie(void **state)
{
	static uint8_t own[4096] __attribute__((aligned(4096)));
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct tries t = tries_of(ctrlr, qp, NULL);

	(void)state;
	assert_int_equal(nvme_dma_register(ctrlr, own, sizeof(own)), 0);
	other_hook = refuse;
	hook_admin = true;
	hook_opc = NVME_OPC_DELETE_IO_SQ;
	fake.hook = hold_io_and;
	assert_int_equal(nvme_ns_cmd_flush(t.ns, qp, try_all, &t), 0);
	stop(ctrlr);
	assert_int_equal(t.calls, 1);
	assert_int_equal(t.rc[POLL], -EBUSY);
	assert_int_equal(t.rc[READ], -EBUSY);
	assert_int_equal(t.rc[FREE], -EBUSY);
	assert_int_equal(t.rc[ALLOC], -EBUSY);
	assert_int_equal(t.rc[DETACH], -EBUSY);
	assert_int_equal(t.rc[SUBMIT], -ESHUTDOWN);
	assert_int_equal(t.rc[REGISTER], -ESHUTDOWN);
	assert_int_equal(fake_logged(&fake, "cannot register memory"), 1);
}

static void read_again(void *arg, const struct nvme_cpl *cpl)
{
	struct tries *t = (struct tries *)arg;
	uint8_t data[512];

	(void)cpl;
	t->calls++;
	if (++t->depth > t->deepest)
		t->deepest = t->depth;
	t->rc[READ] = nvme_ns_read(t->ns, t->qp, data, 0, 1, NULL);
	t->depth--;
}

/* Many completions at once, each callback with a blocking read: one after the other, not nested. */
static void test_no_recursion(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 1024);
	struct tries t = tries_of(ctrlr, qp, NULL);
	int i;

	(void)state;
	for (i = 0; i < 1023; i++)
		assert_int_equal(nvme_ns_cmd_flush(t.ns, qp, read_again, &t), 0);
	while (nvme_qpair_get_num_outstanding(qp) != 0)
		(void)nvme_qpair_process_completions(qp, 0);
	assert_int_equal(t.calls, 1023);
	assert_int_equal(t.deepest, 1);
	assert_int_equal(t.rc[READ], -EBUSY);
	stop(ctrlr);
}

/* ---- a device that goes, or that is strange ---- */

static uint32_t (*real_read_4)(struct nvme_dev *dev, uint32_t offset);
static uint32_t last_good; /* the register after whose first reading the device is gone */

static uint32_t read_then_gone(struct nvme_dev *dev, uint32_t offset)
{
	uint32_t value = real_read_4(dev, offset);

	if (offset == last_good)
		fake.gone = true;
	return value;
}

static void test_gone_while_attaching(void **state)
{
	static const uint32_t registers[] = {NVME_REG_VS, NVME_REG_CAP, NVME_REG_CAP + 4,
	                                     NVME_REG_CC, NVME_REG_CSTS};
	struct nvme_ctrlr *ctrlr;
	size_t i;

	(void)state;
	for (i = 0; i < 5; i++) {
		struct nvme_ctrlr_opts opts;

		fake_init(&fake);
		real_read_4 = fake.ops.read_4;
		fake.ops.read_4 = read_then_gone;
		last_good = registers[i];
		opts = fake_opts(&fake);
		assert_int_equal(nvme_attach("fake", &opts, &ctrlr), -ENODEV);
		assert_null(ctrlr);
		assert_false(fake.open);
		assert_int_equal(fake_logged(&fake, "the device is gone"), 1);
	}
}

static int open_fails(struct nvme_dev *dev, const char *addr)
{
	(void)dev, (void)addr;
	return -EPERM;
}

static unsigned int closes;

static void count_close(struct nvme_dev *dev)
{
	(void)dev;
	closes++;
}

/* What open() says comes out of attach, and close() belongs to an open() that worked. */
static void test_open_fails(void **state)
{
	struct nvme_ctrlr_opts opts;
	struct nvme_ctrlr *ctrlr;

	(void)state;
	fake_init(&fake);
	fake.ops.open = open_fails;
	fake.ops.close = count_close;
	closes = 0;
	opts = fake_opts(&fake);
	assert_int_equal(nvme_attach("fake", &opts, &ctrlr), -EPERM);
	assert_int_equal(closes, 0);
}

/* Completions wait in the ring, and another queue's thread has seen that the device is gone. */
static void test_gone_no_doorbell(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct seen seen;
	uint64_t writes;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(nvme_ns_cmd_flush(nvme_ctrlr_get_ns(ctrlr, 1), qp, note, &seen), 0);
	fake.gone = true;
	(void)nvme__ctrlr_set_gone(ctrlr);
	writes = fake.writes;
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(fake.writes, writes);
	assert_int_equal(nvme_detach(ctrlr), -ENODEV);
	assert_int_equal(fake.writes, writes);
}

/* What the last command in a tracker left must not be in the next one. */
static void test_sqe_is_clean(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 2); /* one tracker */
	void *buf = nvme_dma_alloc(ctrlr, 4096);
	struct nvme_cmd cmd, want;
	const struct nvme_cmd *sent;
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&cmd, 0xff, sizeof(cmd));
	cmd.opc = NVME_OPC_FLUSH;
	assert_int_equal(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &cmd, NULL, 0, note, &seen), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	assert_int_equal(nvme_ns_cmd_read(ns, qp, buf, 3, 2, note, &seen, 0), 0);
	assert_int_equal(nvme_qpair_process_completions(qp, 0), 1);
	sent = &fake.log[(fake.cmds - 1) % FAKE_RING].cmd;
	memset(&want, 0, sizeof(want));
	want.opc = NVME_OPC_READ;
	want.nsid = 1;
	want.cid = sent->cid;
	want.dptr.prp.prp1 = sent->dptr.prp.prp1;
	want.cdw10 = 3;
	want.cdw12 = 1;
	assert_memory_equal(sent, &want, sizeof(want));
	stop(ctrlr);
}

/* SHN is a field, not a bit: what was in it must not stay when it is set. */
static void test_shn_is_replaced(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	uint64_t i, found = 0;

	(void)state;
	fake.cc |= NVME_SET(NVME_CC_SHN_ABRUPT, NVME_CC_SHN);
	fake.shst_at = 0;
	assert_int_equal(nvme_detach(ctrlr), 0);
	for (i = 0; i < 64 && i < fake.writes; i++) {
		if (fake.reg[i].offset != NVME_REG_CC ||
		    NVME_GET(fake.reg[i].value, NVME_CC_SHN) == 0)
			continue;
		assert_int_equal(NVME_GET(fake.reg[i].value, NVME_CC_SHN), NVME_CC_SHN_NORMAL);
		found++;
	}
	assert_true(found >= 1);
}

/* A queue of the driver's is not for raw commands to delete; one that it does not know is. */
static void test_raw_delete(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	struct nvme_cmd cmd = command(NVME_OPC_DELETE_IO_SQ, 0);
	uint64_t before = fake.cmds;
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	cmd.cdw10 = qp->id;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL), -EINVAL);
	assert_int_equal(nvme_ctrlr_cmd_admin_raw(ctrlr, &cmd, NULL, 0, note, &seen), -EINVAL);
	cmd.opc = NVME_OPC_DELETE_IO_CQ;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL), -EINVAL);
	assert_int_equal(fake.cmds, before);
	assert_int_equal(fake_logged(&fake, "belongs to a queue pair of this driver"), 3);
	cmd.cdw10 = 7;
	assert_int_equal(nvme_ctrlr_admin(ctrlr, &cmd, NULL, 0, NULL), -EIO);
	stop(ctrlr);
}

/* ---- the log of the tool author ---- */

static void separate_metadata(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_NS)
		((struct nvme_id_ns *)data)->lbaf[0].ms = 8;
}

static void blocks_of_8192(struct fake *f, uint32_t cns, uint32_t nsid, void *data)
{
	(void)f, (void)nsid;
	if (cns == NVME_ID_CNS_NS)
		((struct nvme_id_ns *)data)->lbaf[0].lbads = 13;
}

static void test_refusals_are_explained(void **state)
{
	struct nvme_ctrlr *ctrlr = start();
	struct nvme_ns *ns = nvme_ctrlr_get_ns(ctrlr, 1);
	struct nvme_qpair *qp = fake_qpair(ctrlr, 8);
	uint8_t *buf = (uint8_t *)nvme_dma_alloc(ctrlr, 1 << 20);
	struct nvme_cmd cmd = command(NVME_OPC_READ, 1), sgl = cmd;
	struct nvme_ctrlr_opts opts = fake_opts(&fake);
	struct nvme_io_qpair_opts small = {0};
	struct nvme_ctrlr *other;
	struct nvme_qpair *theirs;
	static uint8_t block[8192];
	struct seen seen;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	sgl.flags = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	opts.dev_ops = nvme_soft_dev_ops("soft");
#define EXPECT(call, want, what)                                \
	do {                                                    \
		fake.text_len = 0;                              \
		fake.text[0] = '\0';                            \
		assert_int_equal(call, want);                   \
		assert_int_equal(fake_logged(&fake, what), 1);  \
		assert_int_equal(fake_logged(&fake, "\n"), 1u); \
	} while (0)
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 0, note, &seen, 0), -EINVAL, "no blocks");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 2048, 1, note, &seen, 0), -ERANGE, "ends before");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 257, note, &seen, 0), -EMSGSIZE, "at most 256");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, &seen, 1), -EINVAL, "flag is unknown");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 1, NULL, &seen, 0), -EINVAL, "no callback");
	EXPECT(nvme_ns_cmd_read(ns, qp, buf + 1, 0, 1, note, &seen, 0), -EFAULT, "dword aligned");
	EXPECT(nvme_ns_read(ns, qp, buf, 2047, 2, NULL), -ERANGE, "ends before");
	EXPECT(nvme_ns_read(ns, qp, NULL, 0, 1, NULL), -EINVAL, "buf is NULL");
	EXPECT(nvme_ns_cmd_flush(ns, NULL, note, &seen), -EINVAL, "no queue pair");
	EXPECT(nvme_ns_cmd_flush(ns, qp, NULL, &seen), -EINVAL, "no callback");
	EXPECT(nvme_ctrlr_io(ctrlr, qp, NULL, NULL, 0, NULL), -EINVAL, "cmd is NULL");
	EXPECT(nvme_ctrlr_io(ctrlr, qp, &cmd, NULL, 512, NULL), -EINVAL, "buf is NULL");
	EXPECT(nvme_ctrlr_io(ctrlr, qp, &cmd, buf, 1 << 20, NULL), -EMSGSIZE, "at most 131072");
	EXPECT(nvme_ctrlr_cmd_io_raw(ctrlr, qp, &sgl, buf, 512, note, &seen), -EINVAL, "PSDT");
	EXPECT(nvme_ctrlr_admin(ctrlr, NULL, NULL, 0, NULL), -EINVAL, "cmd is NULL");
	EXPECT(nvme_ctrlr_cmd_admin_raw(ctrlr, NULL, NULL, 0, note, &seen), -EINVAL, "cmd is NULL");
	/* two controllers: neither takes the other's queue pair */
	assert_int_equal(nvme_attach("soft", &opts, &other), 0);
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(other, NULL, &theirs), 0);
	EXPECT(nvme_ns_flush(ns, theirs, NULL), -EINVAL, "another controller's");
	EXPECT(nvme_ns_cmd_flush(ns, theirs, note, &seen), -EINVAL, "another controller's");
	assert_int_equal(nvme_detach(other), 0);
	opts.dev_ops = NULL;
#ifdef NVME_NO_VFIO
	EXPECT(nvme_attach(NULL, &opts, &other), -ENOTSUP, "compiled without VFIO");
#else
	EXPECT(nvme_attach(NULL, &opts, &other), -EINVAL, "PCI address");
#endif
	assert_null(other);
	stop(ctrlr);

	fake_init(&fake);
	fake.edit = blocks_of_8192;
	ctrlr = fake_attach(&fake);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	small.max_xfer_size = 4096;
	assert_int_equal(nvme_ctrlr_alloc_io_qpair(ctrlr, &small, &qp), 0);
	EXPECT(nvme_ns_read(ns, qp, block, 0, 1, NULL), -EMSGSIZE, "a block of 8192");
	stop(ctrlr);

	fake_init(&fake);
	fake.edit = separate_metadata;
	ctrlr = fake_attach(&fake);
	ns = nvme_ctrlr_get_ns(ctrlr, 1);
	qp = fake_qpair(ctrlr, 8);
	buf = (uint8_t *)nvme_dma_alloc(ctrlr, 4096);
	EXPECT(nvme_ns_cmd_read(ns, qp, buf, 0, 1, note, &seen, 0), -ENOTSUP,
	       "metadata is separate");
	EXPECT(nvme_ns_read(ns, qp, buf, 0, 1, NULL), -ENOTSUP, "metadata is separate");
#undef EXPECT
	stop(ctrlr);
}

/* The table of the software controller without this driver: nobody has set a log. */
static void test_table_without_log(void **state)
{
	const struct nvme_dev_ops *ops = nvme_soft_dev_ops("soft");
	struct nvme_dev dev;
	uint8_t *page = (uint8_t *)aligned_alloc(4096, 4096);

	(void)state;
	assert_non_null(page);
	memset(&dev, 0, sizeof(dev));
	dev.ops = ops;
	assert_int_equal(ops->open(&dev, "soft:size=banana"), -EINVAL);
	memset(&dev, 0, sizeof(dev));
	dev.ops = ops;
	assert_int_equal(ops->open(&dev, "soft"), 0);
	assert_true(ops->dma_map(&dev, page + 1, 4096, 4096) != 0); /* explains a mistake */
	assert_int_equal(ops->dma_map(&dev, page, 4096, 0x200000), 0);
	ops->write_4(&dev, NVME_REG_DOORBELLS, 77); /* and another */
	assert_true(NVME_GET(ops->read_4(&dev, NVME_REG_VS), NVME_VS_MJR) >= 1);
	nvme_trace_event(&dev, NVME_TRACE_DETACH, 0, "", 0);
	ops->close(&dev); /* with memory still mapped: a third */
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cqe_read_once),
		cmocka_unit_test(test_detach_admin_data),
		cmocka_unit_test(test_detach_admin_no_data),
		cmocka_unit_test(test_detach_never_off),
		cmocka_unit_test(test_delete_refused),
		cmocka_unit_test(test_delete_times_out),
		cmocka_unit_test(test_delete_cq_refused),
		cmocka_unit_test(test_create_times_out),
		cmocka_unit_test(test_stays_inside),
		cmocka_unit_test(test_stays_inside_region),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_format_fields),
		cmocka_unit_test(test_format_refused),
		cmocka_unit_test(test_format_takes_long),
		cmocka_unit_test(test_format_progress),
		cmocka_unit_test(test_format_of_all),
		cmocka_unit_test(test_format_raw),
		cmocka_unit_test(test_format_raw_async),
		cmocka_unit_test(test_format_twice),
		cmocka_unit_test(test_format_then_silence),
		cmocka_unit_test(test_namespaces_come_and_go),
		cmocka_unit_test(test_no_completion),
		cmocka_unit_test(test_no_second_completion),
		cmocka_unit_test(test_completion_beats_deadline),
		cmocka_unit_test(test_bounce_after_timeouts),
		cmocka_unit_test(test_bounce_lent),
		cmocka_unit_test(test_bounce_refused),
		cmocka_unit_test(test_bounce_grows),
		cmocka_unit_test(test_shutdown_is_bounded),
		cmocka_unit_test(test_callback_of_io),
		cmocka_unit_test(test_callback_of_admin),
		cmocka_unit_test(test_callback_of_detach),
		cmocka_unit_test(test_callback_of_zombie),
		cmocka_unit_test(test_no_recursion),
		cmocka_unit_test(test_gone_while_attaching),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_gone_no_doorbell),
		cmocka_unit_test(test_sqe_is_clean),
		cmocka_unit_test(test_shn_is_replaced),
		cmocka_unit_test(test_raw_delete),
		cmocka_unit_test(test_refusals_are_explained),
		cmocka_unit_test(test_table_without_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
