// SPDX-License-Identifier: MIT
/*
 * nvtrace --lint: where commands have their data. PRPs and MPTR of each command as it is submitted;
 * whether the controller can reach what they name; and whether it kept to them.
 */
#include "lint.h"

#define MAX_PIECES  65536 /* of the mappings of a controller; with more nothing is sure */
#define TRANSFERS   8192  /* a power of two: data pointers that are kept */
#define MAX_ENTRIES (UINT32_C(4) << 20) /* of all lists that are kept: 32 MiB */

/* The data pointer of an outstanding command. */
struct transfer {
	uint64_t key;
	uint16_t cid;
	bool used;
	uint32_t page;
	uint64_t mptr;
	struct nvme_trace_prp prp;
	uint64_t *entry;
	uint32_t entries;
};

/* Where two commands need the same slot, the earlier one is forgotten: it is not judged. */
struct lint_transfers {
	struct transfer slot[TRANSFERS];
	uint32_t entries;
};

/* ---- what the controller may reach ---- */

void lint_maps_begin(struct lint_maps *m, bool whole)
{
	free(m->piece);
	*m = (struct lint_maps){.whole = whole};
}

/* The first piece that does not end before this address. */
static uint32_t piece_at(const struct lint_maps *m, uint64_t at)
{
	uint32_t low = 0, high = m->count, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (m->piece[mid].upto < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool maps_grow(struct lint_maps *m)
{
	uint32_t room = m->room * 2 + 16;
	struct lint_piece *piece;

	if (m->count < m->room)
		return true;
	piece = m->count < MAX_PIECES ? realloc(m->piece, room * sizeof(*piece)) : NULL;
	if (piece == NULL)
		return false;
	m->piece = piece;
	m->room = room;
	return true;
}

/* `count` pieces from index i on are replaced by none or one. */
static void replace(struct lint_maps *m, uint32_t i, uint32_t count, const struct lint_piece *by)
{
	uint32_t more = by != NULL, behind = m->count - i - count;

	if (more > count && !maps_grow(m)) {
		m->whole = false;
		return;
	}
	if (behind != 0)
		memmove(m->piece + i + more, m->piece + i + count, behind * sizeof(*m->piece));
	if (by != NULL)
		m->piece[i] = *by;
	m->count = m->count - count + more;
}

/* Pieces that it touches become one with it. */
static void add_piece(struct lint_maps *m, struct lint_piece p)
{
	uint32_t i = piece_at(m, p.from), n = 0;

	for (; i + n < m->count && m->piece[i + n].from <= p.upto; n++) {
		if (m->piece[i + n].from < p.from)
			p.from = m->piece[i + n].from;
		if (m->piece[i + n].upto > p.upto)
			p.upto = m->piece[i + n].upto;
	}
	replace(m, i, n, &p);
}

/* What stands out on either side stays. */
static void cut_piece(struct lint_maps *m, struct lint_piece p)
{
	uint32_t i = piece_at(m, p.from), n = 0;
	struct lint_piece before = {0, 0}, after = {0, 0};

	for (; i + n < m->count && m->piece[i + n].from < p.upto; n++) {
		if (m->piece[i + n].from < p.from)
			before = (struct lint_piece){m->piece[i + n].from, p.from};
		if (m->piece[i + n].upto > p.upto)
			after = (struct lint_piece){p.upto, m->piece[i + n].upto};
	}
	replace(m, i, n, NULL);
	if (before.from < before.upto)
		add_piece(m, before);
	if (after.from < after.upto)
		add_piece(m, after);
}

void lint_map(struct lint_maps *m, const struct rec *r)
{
	struct lint_piece p = {r->dma.iova, r->dma.iova + r->dma.len};

	if (!m->whole || r->dma.len == 0)
		return;
	if (p.upto < p.from)
		m->whole = false;
	else if (r->kind == REC_DMA_MAP)
		add_piece(m, p);
	else
		cut_piece(m, p);
	if (!m->whole)
		lint_maps_begin(m, false);
}

static bool reachable(const struct lint_maps *m, uint64_t at, uint32_t len)
{
	uint32_t i = piece_at(m, at + 1);

	return i < m->count && m->piece[i].from <= at && m->piece[i].upto - at >= len;
}

/* ---- the data pointer of a command ---- */

/* A copy of it: the next record may be of another thread, and the command comes after that. */
void lint_keep_prp(struct lint *l, struct rec *r)
{
	if (l->prp == NULL)
		l->prp = calloc(1, sizeof(*l->prp));
	if (l->prp == NULL)
		return;
	rec_free(l->prp);
	*l->prp = *r;
	l->prp->entry = NULL;
	l->prp->entries = 0;
	if (r->entries == 0)
		return;
	l->prp->entry = malloc(r->entries * sizeof(*r->entry));
	if (l->prp->entry == NULL)
		return;
	memcpy(l->prp->entry, r->entry, r->entries * sizeof(*r->entry));
	l->prp->entries = r->entries;
}

static bool prps_recorded(const struct lint *l, const struct rec *r)
{
	return l->prp != NULL && l->prp->kind == REC_PRP && queue_key(l->prp) == queue_key(r) &&
	       l->prp->prp.cid == r->cmd.cid && l->prp->prp.prp1 == r->cmd.dptr.prp.prp1;
}

static bool makes_queue(const struct rec *r)
{
	return r->qid == 0 &&
	       (r->cmd.opc == NVME_OPC_CREATE_IO_SQ || r->cmd.opc == NVME_OPC_CREATE_IO_CQ);
}

/* Entry i of all that the pointer names, 0 is PRP1; false: it is in no record. */
static bool entry_at(const struct nvme_trace_prp *prp, const uint64_t *entry, uint32_t entries,
                     uint32_t i, uint64_t *at)
{
	if (i == 0)
		*at = prp->prp1;
	else if (i == 1 && prp->nprp == 2)
		*at = prp->prp2;
	else if (prp->nprp > 2 && entry != NULL && i - 1 < entries)
		*at = entry[i - 1];
	else
		return false;
	return true;
}

/* How many bytes of the transfer are in this page of it, of which `done` bytes came before. */
static uint32_t bytes_in(uint32_t page, uint32_t len, uint64_t at, uint32_t done)
{
	uint32_t room = page - (uint32_t)(at % page);

	return room < len - done ? room : len - done;
}

static void check_list(struct output *o, const struct rec *r, uint32_t page)
{
	const struct lint *l = o->state;
	uint32_t i;

	for (i = 0; i < l->prp->entries; i++)
		if (l->prp->entry[i] % page != 0) {
			lint_finding(o, RULE_PRP, l->prp->number, r->qid,
			             "misaligned PRP: entry %" PRIu32
			             " of the list of cid:%u, 0x%" PRIx64
			             ", is not at the start of a page",
			             i, (unsigned)r->cmd.cid, l->prp->entry[i]);
			return;
		}
}

static void check_alignment(struct output *o, const struct rec *r, uint32_t page)
{
	const struct lint *l = o->state;
	uint64_t prp1 = r->cmd.dptr.prp.prp1, prp2 = r->cmd.dptr.prp.prp2;
	uint32_t unit = 8; /* PRP2 may be a list, which is only aligned to its entries */
	bool queue = makes_queue(r);

	if ((r->cmd_have & HAVE_DPTR1) == HAVE_DPTR1 && prp1 % (queue ? page : 4) != 0)
		lint_finding(o, RULE_PRP, r->number, r->qid,
		             "misaligned PRP: PRP1 0x%" PRIx64 " of cid:%u is not %s", prp1,
		             (unsigned)r->cmd.cid,
		             queue ? "at the start of a page" : "a multiple of 4");
	if (prps_recorded(l, r)) {
		unit = l->prp->prp.nprp == 2 ? page : 8;
		if (l->prp->prp.nprp > 2)
			check_list(o, r, page);
	}
	if (!queue && (r->cmd_have & HAVE_DPTR2) == HAVE_DPTR2 && prp2 % unit != 0)
		lint_finding(o, RULE_PRP, r->number, r->qid,
		             "misaligned PRP: PRP2 0x%" PRIx64 " of cid:%u is not %s", prp2,
		             (unsigned)r->cmd.cid,
		             unit == 8 ? "a multiple of 8" : "at the start of a page");
}

/*
 * So many bytes the command moves, at least: as the driver recorded it, or as the command says. A
 * block has 512 bytes or more. 0: not known.
 */
static uint64_t least_bytes(const struct lint *l, const struct rec *r)
{
	bool blocks = r->qid != 0 && (r->cmd.opc == NVME_OPC_READ || r->cmd.opc == NVME_OPC_WRITE ||
	                              r->cmd.opc == NVME_OPC_COMPARE);
	uint32_t nlb;

	if (prps_recorded(l, r))
		return l->prp->prp.len;
	if (r->qid == 0 && r->cmd.opc == NVME_OPC_IDENTIFY)
		return 4096;
	if (blocks && cmd_blocks(r->qid, &r->cmd, r->cmd_have, &nlb))
		return (uint64_t)nlb * 512;
	return 0;
}

static void check_prp2(struct output *o, const struct lintc *c, const struct rec *r)
{
	const uint32_t need = HAVE_DPTR1 | HAVE_DPTR2;
	uint64_t len = least_bytes(o->state, r), prp1 = r->cmd.dptr.prp.prp1;

	if ((r->cmd_have & need) != need || r->cmd.dptr.prp.prp2 != 0 || !c->page_known ||
	    prp1 % c->page + len <= c->page)
		return;
	lint_finding(o, RULE_PRP2, r->number, r->qid,
	             "no PRP2: cid:%u moves %" PRIu64 " bytes or more from 0x%" PRIx64
	             " on, which is more than its page of %" PRIu32 " bytes holds",
	             (unsigned)r->cmd.cid, len, prp1, c->page);
}

static void not_mapped(struct output *o, const struct rec *r, const char *what, uint64_t at)
{
	lint_finding(o, RULE_MAPPED, r->number, r->qid,
	             "PRP outside of the mappings: %s 0x%" PRIx64
	             " of cid:%u is not mapped for the controller",
	             what, at, (unsigned)r->cmd.cid);
}

/* Page by page, if the driver recorded what it built; the first page that is wrong is told. */
static void check_pages(struct output *o, const struct lintc *c, const struct rec *r)
{
	const struct lint *l = o->state;
	const struct nvme_trace_prp *prp = &l->prp->prp;
	uint32_t i, n, done = 0;
	uint64_t at;

	if (prp->nprp > 2 && !reachable(&c->maps, prp->prp2, 8)) {
		not_mapped(o, r, "PRP2 (PRP list)", prp->prp2);
		return;
	}
	for (i = 0; done < prp->len && entry_at(prp, l->prp->entry, l->prp->entries, i, &at); i++) {
		n = bytes_in(c->page, prp->len, at, done);
		if (!reachable(&c->maps, at, n)) {
			not_mapped(o, r,
			           i == 0                     ? "PRP1"
			           : i == 1 && prp->nprp == 2 ? "PRP2"
			                                      : "an entry of the list,",
			           at);
			return;
		}
		done += n;
	}
}

/* PRP1 of commands that move nothing is 0 in all drivers, and no command names the second page. */
static void check_mapped(struct output *o, const struct lintc *c, const struct rec *r)
{
	uint64_t prp1 = r->cmd.dptr.prp.prp1;

	if (c->maps.count == 0 || (r->cmd_have & HAVE_DPTR1) != HAVE_DPTR1)
		return;
	if (prps_recorded(o->state, r))
		check_pages(o, c, r);
	else if (prp1 != 0 && !reachable(&c->maps, prp1, 4))
		not_mapped(o, r, "PRP1", prp1);
}

/* Where MPTR is an address: SGLs may have metadata at any byte, if the controller says so (SGLS). */
static void check_mptr(struct output *o, const struct rec *r)
{
	const uint32_t need = HAVE_OPC | HAVE_FLAGS | HAVE_MPTR;

	if (r->qid == 0 || (r->cmd_have & need) != need ||
	    NVME_GET(r->cmd.opc, NVME_OPC_DATA) == NVME_OPC_DATA_NONE ||
	    NVME_GET(r->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP || r->cmd.mptr % 4 == 0)
		return;
	lint_finding(o, RULE_MPTR, r->number, r->qid,
	             "misaligned metadata: MPTR 0x%" PRIx64 " of cid:%u is not a multiple of 4",
	             r->cmd.mptr, (unsigned)r->cmd.cid);
}

static bool has_prps(const struct rec *r)
{
	return (r->cmd_have & HAVE_OPC) != 0 &&
	       NVME_GET(r->cmd.opc, NVME_OPC_DATA) != NVME_OPC_DATA_NONE &&
	       ((r->cmd_have & HAVE_FLAGS) == 0 ||
	        NVME_GET(r->cmd.flags, NVME_CMD_PSDT) == NVME_PSDT_PRP);
}

/* ---- what the controller moved ---- */

static struct transfer *transfer_of(struct lint *l, uint64_t key, uint16_t cid)
{
	uint64_t at = cid + key_qid(key) * UINT64_C(1021) + key_ctrlr(key) * UINT64_C(4099);

	return l->transfers == NULL ? NULL : &l->transfers->slot[at % TRANSFERS];
}

static void forget_transfer(struct lint *l, struct transfer *t)
{
	l->transfers->entries -= t->entries;
	free(t->entry);
	*t = (struct transfer){.used = false};
}

/* The command goes out, and what l->prp has becomes the record's of its CID. */
static void keep_transfer(struct lint *l, const struct lintc *c, const struct rec *r)
{
	bool recorded = prps_recorded(l, r);
	struct transfer *t;

	if (recorded && l->transfers == NULL)
		l->transfers = calloc(1, sizeof(*l->transfers));
	t = transfer_of(l, queue_key(r), r->cmd.cid);
	if (t == NULL)
		return;
	forget_transfer(l, t);
	if (!recorded || !c->page_known || l->transfers->entries + l->prp->entries > MAX_ENTRIES)
		return;
	*t = (struct transfer){.key = queue_key(r),
	                       .cid = r->cmd.cid,
	                       .used = true,
	                       .page = c->page,
	                       .mptr = r->cmd.mptr,
	                       .prp = l->prp->prp,
	                       .entry = l->prp->entry,
	                       .entries = l->prp->entries};
	l->transfers->entries += t->entries;
	l->prp->entry = NULL;
	l->prp->entries = 0;
}

void lint_transfer_ends(struct lint *l, const struct rec *r, uint16_t cid)
{
	struct transfer *t = transfer_of(l, queue_key(r), cid);

	if (t != NULL && t->used && t->key == queue_key(r) && t->cid == cid)
		forget_transfer(l, t);
}

void lint_transfers_none(struct lint *l)
{
	size_t i;

	for (i = 0; l->transfers != NULL && i < TRANSFERS; i++)
		if (l->transfers->slot[i].used)
			forget_transfer(l, &l->transfers->slot[i]);
}

/* How far the transfer goes on from this address on; 0: it is in none of the pages. */
static uint32_t goes_on(const struct transfer *t, uint64_t from)
{
	uint32_t i, n, done = 0;
	uint64_t at;

	for (i = 0; done < t->prp.len; i++) {
		if (!entry_at(&t->prp, t->entry, t->entries, i, &at))
			return UINT32_MAX; /* not all of it was recorded */
		n = bytes_in(t->page, t->prp.len, at, done);
		if (from >= at && from - at < n)
			return t->prp.len - done - (uint32_t)(from - at);
		done += n;
	}
	return 0;
}

/* The record has the start and a length, which goes on through the pages. Metadata are at MPTR. */
void lint_check_moved(struct output *o, const struct rec *r)
{
	const struct transfer *t = transfer_of(o->state, queue_key(r), r->data.cid);
	uint32_t room;

	if (t == NULL || !t->used || t->key != queue_key(r) || t->cid != r->data.cid ||
	    (t->mptr != 0 && r->data.iova == t->mptr))
		return;
	room = goes_on(t, r->data.iova);
	if (r->data.len <= room)
		return;
	lint_finding(o, RULE_DATA, r->number, r->qid,
	             "data outside of the PRPs: the controller %s %" PRIu32 " bytes %s 0x%" PRIx64
	             " for cid:%u, whose PRPs have %" PRIu32 " bytes from there on",
	             r->data.to_host != 0 ? "wrote" : "read", r->data.len,
	             r->data.to_host != 0 ? "to" : "from", r->data.iova, (unsigned)r->data.cid,
	             room);
}

/* ---- all of it ---- */

void lint_check_data(struct output *o, const struct lintc *c, const struct rec *r)
{
	if (has_prps(r))
		check_alignment(o, r, c != NULL ? c->page : PAGE_LEAST);
	if (c != NULL && has_prps(r) && !makes_queue(r))
		check_prp2(o, c, r);
	if (c != NULL && has_prps(r))
		check_mapped(o, c, r);
	if (c == NULL)
		return;
	check_mptr(o, r);
	keep_transfer(o->state, c, r);
}

void lint_data_free(struct lint *l)
{
	uint32_t i;

	for (i = 0; i < l->ctrlrs; i++)
		lint_maps_begin(&l->ctrlr[i].maps, false);
	lint_transfers_none(l);
	free(l->transfers);
	if (l->prp != NULL)
		rec_free(l->prp);
	free(l->prp);
}
