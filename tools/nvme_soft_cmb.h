/* SPDX-License-Identifier: MIT */
/*
 * nvme_soft_cmb.h - the part of nvme_soft.h, which includes this file, for the controller memory
 * buffer (search for >>soft-cmb). [Base 2.1: Controller Memory Buffer]
 *
 * It is memory in a BAR of this controller. The host maps the BAR and says in CMBMSC under which
 * addresses its commands will mean this memory. With cmblegacy=1 it is as it was before NVMe 1.4:
 * always there, under the addresses that the BAR has on the bus. That is at 1 GiB here, where a
 * driver that does not look would put memory of the host's.
 */
#ifndef NVME_SOFT_CMB_H
#define NVME_SOFT_CMB_H

/* ============================================================================================
 * >>soft-cmb
 * ============================================================================================ */

#define NVME_SOFT__CMB_BUS_ADDR UINT64_C(0x40000000)

static void nvme_soft__find_rings(struct nvme_soft *s);

/* Bytes of the BAR. */
static uint64_t nvme_soft__cmb_bar_size(const struct nvme_soft *s)
{
	return (uint64_t)s->cfg.cmb << 20;
}

/* What CMBSZ says when it may say something: all of the BAR, and CQS is not supported. */
static uint32_t nvme_soft__cmb_size_register(const struct nvme_soft *s)
{
	if (s->cfg.cmbsz != UINT32_MAX)
		return s->cfg.cmbsz;
	return NVME_SET(s->cfg.cmb, NVME_CMBSZ_SZ) | NVME_SET(2, NVME_CMBSZ_SZU) |
	       NVME_SET(1, NVME_CMBSZ_SQS) | NVME_SET(1, NVME_CMBSZ_LISTS) |
	       NVME_SET(1, NVME_CMBSZ_RDS) | NVME_SET(1, NVME_CMBSZ_WDS);
}

/* Bytes, and where they begin in the BAR: what is beyond it, if the registers lie, is not there. */
static uint64_t nvme_soft__cmb_window(const struct nvme_soft *s, uint64_t *offset)
{
	uint32_t sz = nvme_soft__cmb_size_register(s);
	uint32_t shift = 12 + 4 * NVME_GET(sz, NVME_CMBSZ_SZU);
	uint64_t bar = nvme_soft__cmb_bar_size(s), len;

	len = shift < 40 ? NVME_GET64(sz, NVME_CMBSZ_SZ) << shift : UINT64_MAX;
	*offset = shift < 40 ? NVME_GET64(s->cfg.cmbloc, NVME_CMBLOC_OFST) << shift : bar;
	*offset = *offset < bar ? *offset : bar;
	return len < bar - *offset ? len : bar - *offset;
}

/* What follows from CMBMSC: which registers can be read, and whether the memory has addresses. */
static void nvme_soft__cmb_update(struct nvme_soft *s)
{
	struct nvme_soft__cmb *cmb = &s->cmb;
	bool shown = s->cfg.cmb != 0 &&
	             (s->cfg.cmblegacy != 0 || NVME_GET(cmb->msc, NVME_CMBMSC_CRE) != 0);
	uint64_t offset, last = (UINT64_C(1) << s->cfg.iova) - 1;

	cmb->loc = shown ? s->cfg.cmbloc : 0;
	cmb->sz = shown ? nvme_soft__cmb_size_register(s) : 0;
	cmb->len = nvme_soft__cmb_window(s, &offset);
	cmb->at = cmb->mem + offset;
	cmb->sts = 0;
	cmb->base = NVME_SOFT__CMB_BUS_ADDR + offset;
	cmb->on = shown && s->cfg.cmblegacy != 0;
	if (shown && s->cfg.cmblegacy == 0 && NVME_GET(cmb->msc, NVME_CMBMSC_CMSE) != 0) {
		cmb->base = cmb->msc & ~UINT64_C(4095);
		cmb->on = cmb->base <= last && cmb->len <= last - cmb->base + 1;
		cmb->sts = NVME_SET(!cmb->on, NVME_CMBSTS_CBAI);
	}
	nvme_soft__find_rings(s);
}

/* One half of CMBMSC, if there is one. */
static void nvme_soft__cmb_write(struct nvme_soft *s, uint32_t offset, uint32_t value)
{
	uint32_t shift = offset == NVME_REG_CMBMSC ? 0 : 32;
	uint32_t keep = shift != 0 ? UINT32_MAX : UINT32_MAX & ~NVME_SET(0x3ff, 11, 2);

	if (s->cfg.cmb == 0 || s->cfg.cmblegacy != 0)
		return;
	s->cmb.msc &= ~((uint64_t)UINT32_MAX << shift);
	s->cmb.msc |= (uint64_t)(value & keep) << shift;
	nvme_soft__cmb_update(s);
}

/* ---- addresses ---- */

static bool nvme_soft__cmb_has(const struct nvme_soft *s, uint64_t iova)
{
	return s->cmb.on && iova - s->cmb.base < s->cmb.len;
}

/* Are any of these its addresses? */
static bool nvme_soft__cmb_across(const struct nvme_soft *s, uint64_t iova, uint64_t len)
{
	return s->cmb.on && iova < s->cmb.base + s->cmb.len && s->cmb.base < iova + len;
}

/* As nvme_soft__reach(): at most *len bytes in one piece. NULL: that is not here. */
static uint8_t *nvme_soft__cmb_reach(const struct nvme_soft *s, uint64_t iova, size_t *len)
{
	uint64_t offset = iova - s->cmb.base;

	if (!nvme_soft__cmb_has(s, iova))
		return NULL;
	if (*len > s->cmb.len - offset)
		*len = (size_t)(s->cmb.len - offset);
	return s->cmb.at + offset;
}

/* ---- what may be here [Base 2.1: Controller Memory Buffer Size, ... Location] ---- */

/* A queue or a list, for which CMBSZ has a bit. */
static uint16_t nvme_soft__cmb_check(const struct nvme_soft *s, uint64_t iova, uint32_t bit)
{
	return nvme_soft__cmb_has(s, iova) && (s->cmb.sz & bit) == 0
	               ? NVME_SOFT__GENERIC(NVME_SC_INVALID_CONTROLLER_MEM_BUF)
	               : 0;
}

/* Data pointers of a command begin: nothing was seen of them. */
static void nvme_soft__cmb_begin(struct nvme_soft *s)
{
	s->cmb.seen = 0;
}

/* A list or data in one memory: without CDPMLS all of a command's are in the same. */
static uint16_t nvme_soft__cmb_check_mixed(struct nvme_soft *s, uint64_t iova)
{
	s->cmb.seen |= nvme_soft__cmb_has(s, iova) ? 1u : 2u;
	return s->cmb.seen == 3 && NVME_GET(s->cmb.loc, NVME_CMBLOC_CDPMLS) == 0 && s->cmb.on
	               ? NVME_SOFT__GENERIC(NVME_SC_INVALID_CONTROLLER_MEM_BUF)
	               : 0;
}

static uint16_t nvme_soft__cmb_check_list(struct nvme_soft *s, uint64_t iova)
{
	uint16_t status = nvme_soft__cmb_check(s, iova, NVME_SET(1, NVME_CMBSZ_LISTS));

	return status != 0 ? status : nvme_soft__cmb_check_mixed(s, iova);
}

static uint16_t nvme_soft__cmb_check_data(struct nvme_soft *s, uint64_t iova, bool to_host)
{
	uint16_t status = nvme_soft__cmb_check(s, iova,
	                                       to_host ? NVME_SET(1, NVME_CMBSZ_RDS)
	                                               : NVME_SET(1, NVME_CMBSZ_WDS));

	return status != 0 ? status : nvme_soft__cmb_check_mixed(s, iova);
}

/* Metadata, apart from its data, which has been transferred: without CDMMMS both are in the same. */
static uint16_t nvme_soft__cmb_check_md(struct nvme_soft *s, uint64_t mptr)
{
	uint32_t other = nvme_soft__cmb_has(s, mptr) ? 2u : 1u, seen = s->cmb.seen;

	nvme_soft__cmb_begin(s);
	return (seen & other) != 0 && NVME_GET(s->cmb.loc, NVME_CMBLOC_CDMMMS) == 0 && s->cmb.on
	               ? NVME_SOFT__GENERIC(NVME_SC_INVALID_CONTROLLER_MEM_BUF)
	               : 0;
}

/* ---- the BAR ---- */

static int nvme_soft__cmb_open(struct nvme_soft *s)
{
	if (s->cfg.cmb == 0)
		return 0;
	s->cmb.mem = (uint8_t *)nvme__reserve((size_t)nvme_soft__cmb_bar_size(s), true);
	return s->cmb.mem != NULL ? 0 : -ENOMEM;
}

static void nvme_soft__cmb_close(struct nvme_soft *s)
{
	if (s->cmb.mem != NULL)
		nvme__unreserve(s->cmb.mem, (size_t)nvme_soft__cmb_bar_size(s));
}

/* Only a controller from before NVMe 1.4 needs an address on the bus: others are told one. */
static int nvme_soft__get_bar(struct nvme_dev *dev, unsigned int bar, uint64_t *bus_addr,
                              uint64_t *size)
{
	const struct nvme_soft *s = nvme_soft__of(dev);

	if (s->cfg.cmb == 0 || bar != NVME_GET(s->cfg.cmbloc, NVME_CMBLOC_BIR))
		return -ENODEV;
	*bus_addr = s->cfg.cmblegacy != 0 ? NVME_SOFT__CMB_BUS_ADDR : 0;
	*size = nvme_soft__cmb_bar_size(s);
	return 0;
}

static int nvme_soft__map_bar(struct nvme_dev *dev, unsigned int bar, uint64_t offset, size_t len,
                              void **vaddr)
{
	const struct nvme_soft *s = nvme_soft__of(dev);
	uint64_t bus_addr, size;

	if (nvme_soft__get_bar(dev, bar, &bus_addr, &size) != 0 || offset > size ||
	    len > size - offset)
		return -EINVAL;
	*vaddr = s->cmb.mem + offset;
	return 0;
}

#endif /* NVME_SOFT_CMB_H */
