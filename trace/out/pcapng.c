// SPDX-License-Identifier: MIT
/*
 * A capture file as Wireshark reads it, pcapng, that shows each queue as a connection of NVMe/TCP:
 * its analyser then decodes commands, pairs them with their completions and filters them. A
 * connection begins with what makes Wireshark understand it, made up here: the TCP handshake,
 * ICReq and ICResp, Connect with the queue's number. Then come the queue entries as they were:
 *
 *	command		10.A.B.1 port 50000 + QID  ->  10.A.B.2 port 4420	CapsuleCmd
 *	completion	the other way						CapsuleResp
 *
 * A.B is the controller's number. Data is not in the trace and so not in the capture. What a source
 * leaves out of an entry is zero there, and named in the packet's comment. Packets of records
 * without a time have none.
 */
#include "output.h"
#include <stdarg.h>
#include "opens.h"

#define CONNS     65536 /* queues, at most; a damaged source may name any number of them */
#define PORT      4420  /* assigned to NVMe/TCP */
#define PORT_HOST 50000
#define QID_PORTS 15000 /* more queues get another address */

#define TCP_SYN 0x02
#define TCP_PSH 0x08
#define TCP_ACK 0x10

#define PDU_ICREQ   0x00
#define PDU_ICRESP  0x01
#define PDU_CMD     0x04
#define PDU_RSP     0x05
#define CONNECT_LEN 1024 /* bytes of data that go with a Connect command */

enum side { HOST, CTRLR };

struct conn {
	uint8_t addr[2][4];
	uint16_t port[2];
	uint32_t seq[2];
	uint16_t ip_id[2];
};

struct state {
	FILE *out;
	struct opens opens; /* whose connections completions go to */
	struct map conns;   /* struct conn */
	struct map ctrlrs;  /* uint32_t: their numbers here, from 1 */
	char comment[256];
};

/* Where and when a packet goes. */
struct packet {
	struct conn *conn;
	enum side from;
	uint8_t flags;
	bool timed;
	uint64_t time_ns;
};

/* ---- bytes ---- */

static uint8_t *le16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	return p + 2;
}

static uint8_t *le32(uint8_t *p, uint32_t v)
{
	return le16(le16(p, v & 0xffff), v >> 16);
}

static uint8_t *be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *be32(uint8_t *p, uint32_t v)
{
	return be16(be16(p, v >> 16), v & 0xffff);
}

/* ---- pcapng ---- */

#define BLOCK_SHB 0x0a0d0d0au /* section header */
#define BLOCK_IDB 1u          /* interface description */
#define BLOCK_SPB 3u          /* simple packet: no time */
#define BLOCK_EPB 6u          /* enhanced packet */

#define OPT_END     0u
#define OPT_COMMENT 1u
#define SHB_APPL    4u
#define IF_NAME     2u
#define IF_TSRESOL  9u

#define LINKTYPE_RAW 101u /* IP without anything before it */
#define SNAPLEN      65535u

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static uint8_t *option(uint8_t *p, uint32_t code, const void *value, size_t len)
{
	p = le16(le16(p, code), (uint32_t)len);
	memset(p, 0, padded(len));
	if (len > 0)
		memcpy(p, value, len);
	return p + padded(len);
}

/* A block has its length at both ends, so that it can be read backwards. */
static void put_block(FILE *out, uint32_t type, const uint8_t *body, size_t len)
{
	uint8_t head[8], tail[4];
	uint32_t total = (uint32_t)(len + sizeof(head) + sizeof(tail));

	le32(le32(head, type), total);
	le32(tail, total);
	fwrite(head, 1, sizeof(head), out);
	fwrite(body, 1, len, out);
	fwrite(tail, 1, sizeof(tail), out);
}

static void put_headers(FILE *out)
{
	static const char program[] = "nvtrace", name[] = "NVMe queues";
	static const uint8_t nanoseconds = 9; /* 10^-9 */
	uint8_t body[64], *p;

	p = le32(body, 0x1a2b3c4d);
	p = le16(le16(p, 1), 0);
	p = le32(le32(p, 0xffffffff), 0xffffffff); /* length of the section: not known */
	p = option(p, SHB_APPL, program, sizeof(program) - 1);
	p = option(p, OPT_END, NULL, 0);
	put_block(out, BLOCK_SHB, body, (size_t)(p - body));

	p = le32(le16(le16(body, LINKTYPE_RAW), 0), SNAPLEN);
	p = option(p, IF_NAME, name, sizeof(name) - 1);
	p = option(p, IF_TSRESOL, &nanoseconds, 1);
	p = option(p, OPT_END, NULL, 0);
	put_block(out, BLOCK_IDB, body, (size_t)(p - body));
}

/* The comment is used up. Only an enhanced block has one, or a time. */
static void put_packet(struct state *s, const struct packet *packet, const uint8_t *ip, size_t len)
{
	uint8_t body[2048] = {0}, *p = body;

	if (packet->timed) {
		p = le32(p, 0); /* interface */
		p = le32(p, (uint32_t)(packet->time_ns >> 32));
		p = le32(p, (uint32_t)packet->time_ns);
		p = le32(p, (uint32_t)len);
	}
	p = le32(p, (uint32_t)len);
	memcpy(p, ip, len);
	p += padded(len);
	if (packet->timed && s->comment[0] != '\0') {
		p = option(p, OPT_COMMENT, s->comment, strlen(s->comment));
		p = option(p, OPT_END, NULL, 0);
	}
	s->comment[0] = '\0';
	put_block(s->out, packet->timed ? BLOCK_EPB : BLOCK_SPB, body, (size_t)(p - body));
}

/* ---- IP and TCP ---- */

/* One's complement sum of 16-bit words; an odd byte counts as the upper half of one. */
static uint32_t sum_words(uint32_t sum, const uint8_t *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	return sum + (len > 0 ? (uint32_t)p[0] << 8 : 0);
}

static uint32_t checksum(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void fill_ip(uint8_t *ip, const struct packet *packet, size_t len)
{
	struct conn *c = packet->conn;
	uint8_t *p = ip;

	p = be16(be16(p, 0x4500), (uint32_t)len); /* version 4, 5 dwords */
	p = be16(be16(p, c->ip_id[packet->from]++), 0x4000 /* do not fragment */);
	p = be16(be16(p, 0x4006), 0); /* 64 hops, TCP */
	memcpy(p, c->addr[packet->from], 4);
	memcpy(p + 4, c->addr[!packet->from], 4);
	be16(ip + 10, checksum(sum_words(0, ip, 20)));
}

/* The checksum of TCP covers addresses, protocol and length as well. */
static void fill_tcp(uint8_t *tcp, const struct packet *packet, size_t head, size_t len)
{
	struct conn *c = packet->conn;
	uint8_t *p = tcp;
	uint32_t sum;

	p = be16(be16(p, c->port[packet->from]), c->port[!packet->from]);
	p = be32(p, c->seq[packet->from]);
	p = be32(p, packet->flags & TCP_ACK ? c->seq[!packet->from] : 0);
	p = be16(p, (uint32_t)(head / 4) << 12 | packet->flags);
	be32(be16(p, 0xffff), 0); /* window; checksum and urgent pointer */
	sum = sum_words(6 + (uint32_t)len, c->addr[HOST], 4);
	sum = sum_words(sum, c->addr[CTRLR], 4);
	be16(tcp + 16, checksum(sum_words(sum, tcp, len)));
}

static void put_segment(struct state *s, const struct packet *packet, const uint8_t *data,
                        size_t len)
{
	/* segments of 1460 bytes; windows in units of 2^8: a deep queue never fills 16 MiB */
	static const uint8_t syn_options[] = {2, 4, 0x05, 0xb4, 1, 3, 3, 8};
	bool syn = packet->flags & TCP_SYN;
	size_t head = 20 + (syn ? sizeof(syn_options) : 0);
	uint8_t ip[20 + 28 + 72 + CONNECT_LEN];

	if (syn)
		memcpy(ip + 40, syn_options, sizeof(syn_options));
	if (len > 0)
		memcpy(ip + 20 + head, data, len);
	fill_ip(ip, packet, 20 + head + len);
	fill_tcp(ip + 20, packet, head, head + len);
	packet->conn->seq[packet->from] += (uint32_t)len + syn;
	put_packet(s, packet, ip, 20 + head + len);
}

/* ---- NVMe/TCP ---- */

/* The common header of all PDUs [TCP Transport 1.1: PDU Common Header]. */
static void put_pdu(struct state *s, struct packet *packet, uint8_t type, size_t head, uint8_t *pdu,
                    size_t len)
{
	pdu[0] = type;
	pdu[1] = 0; /* no digests */
	pdu[2] = (uint8_t)head;
	pdu[3] = len > head ? (uint8_t)head : 0; /* where the data begins */
	le32(pdu + 4, (uint32_t)len);
	packet->flags = TCP_PSH | TCP_ACK;
	put_segment(s, packet, pdu, len);
}

static void put_handshake(struct state *s, struct packet *packet)
{
	packet->from = HOST;
	packet->flags = TCP_SYN;
	put_segment(s, packet, NULL, 0);
	packet->from = CTRLR;
	packet->flags = TCP_SYN | TCP_ACK;
	put_segment(s, packet, NULL, 0);
	packet->from = HOST;
	packet->flags = TCP_ACK;
	put_segment(s, packet, NULL, 0);
}

static void put_initialize(struct state *s, struct packet *packet)
{
	uint8_t pdu[128];

	memset(pdu, 0, sizeof(pdu));
	packet->from = HOST;
	put_pdu(s, packet, PDU_ICREQ, sizeof(pdu), pdu, sizeof(pdu));
	memset(pdu, 0, sizeof(pdu));
	le32(pdu + 12, 0x20000); /* MAXH2CDATA: bytes of data in one PDU */
	packet->from = CTRLR;
	put_pdu(s, packet, PDU_ICRESP, sizeof(pdu), pdu, sizeof(pdu));
}

/* Connect tells Wireshark the queue's number. [Base 2.1, Connect command] */
static void put_connect(struct state *s, struct packet *packet, uint32_t ctrlr, uint16_t qid)
{
	uint8_t pdu[72 + CONNECT_LEN] = {0}, rsp[24] = {0}, *sqe = pdu + 8, *data = pdu + 72;

	sqe[0] = NVME_OPC_FABRIC;
	sqe[1] = (uint8_t)NVME_SET(NVME_PSDT_SGL, NVME_CMD_PSDT);
	le16(sqe + 2, NVME_CID_NONE); /* no command of the queue has it */
	sqe[4] = 0x01;                /* FCTYPE: Connect */
	le32(sqe + 32, CONNECT_LEN);
	sqe[39] = NVME_SGL_ID(NVME_SGL_TYPE_DATA_BLOCK, NVME_SGL_SUBTYPE_OFFSET);
	le16(sqe + 42, qid);
	le16(sqe + 44, 0xffff); /* SQSIZE: as the trace begins behind it, not known */
	le16(data + 16, qid == 0 ? 0xffff : ctrlr & 0xffff);
	snprintf((char *)data + 256, 256, "nqn.2014-08.org.nvmexpress:nvtrace:ctrlr%" PRIu32,
	         ctrlr);
	snprintf((char *)data + 512, 256, "nqn.2014-08.org.nvmexpress:nvtrace:host");
	snprintf(s->comment, sizeof(s->comment),
	         "made up by nvtrace: queue %u of controller %" PRIu32, (unsigned)qid, ctrlr);
	packet->from = HOST;
	put_pdu(s, packet, PDU_CMD, 72, pdu, sizeof(pdu));
	le16(rsp + 8 + 12, NVME_CID_NONE);
	packet->from = CTRLR;
	put_pdu(s, packet, PDU_RSP, 24, rsp, sizeof(rsp));
}

/* ---- connections ---- */

static void set_addresses(struct conn *c, uint32_t ctrlr, uint16_t qid)
{
	unsigned more = qid / QID_PORTS;
	enum side side;

	for (side = HOST; side <= CTRLR; side++) {
		c->addr[side][0] = 10;
		c->addr[side][1] = (uint8_t)(ctrlr >> 8);
		c->addr[side][2] = (uint8_t)ctrlr;
		c->addr[side][3] = (uint8_t)(1 + side + (side == HOST ? 10 * more : 0));
	}
	c->port[HOST] = (uint16_t)(PORT_HOST + qid % QID_PORTS);
	c->port[CTRLR] = PORT;
}

/* Controllers are numbered here again: two that differ in any bit must not share an address. */
static bool number_ctrlr(struct state *s, uint32_t ctrlr, uint32_t *number)
{
	uint32_t *at = map_get(&s->ctrlrs, ctrlr);

	if (at == NULL && s->ctrlrs.count <= 0xffff) {
		at = map_put(&s->ctrlrs, ctrlr);
		if (at != NULL)
			*at = (uint32_t)s->ctrlrs.count;
	}
	if (at == NULL)
		return false;
	*number = ctrlr <= 0xff ? ctrlr : *at + 0xff;
	return *number <= 0xffff;
}

/* The connection of a queue, begun if it is new; NULL: none, or too many. */
static struct conn *connection(struct state *s, uint32_t ctrlr, uint16_t qid, struct packet *packet)
{
	uint64_t key = map_key(ctrlr, qid, 0);
	uint32_t number;
	struct conn *c = map_get(&s->conns, key);
	char comment[sizeof(s->comment)];

	packet->conn = c;
	if (c != NULL)
		return c;
	if (s->conns.count >= CONNS || !number_ctrlr(s, ctrlr, &number))
		return NULL;
	c = map_put(&s->conns, key);
	if (c == NULL)
		return NULL;
	packet->conn = c;
	set_addresses(c, number, qid);
	memcpy(comment, s->comment, sizeof(comment)); /* is for the packet to come */
	s->comment[0] = '\0';
	put_handshake(s, packet);
	put_initialize(s, packet);
	put_connect(s, packet, ctrlr, qid);
	memcpy(s->comment, comment, sizeof(comment));
	return c;
}

/* ---- records ---- */

static void __attribute__((format(printf, 2, 3))) add_comment(struct state *s, const char *fmt, ...)
{
	size_t len = strlen(s->comment), i;
	va_list ap;

	if (len > 0 && len + 2 < sizeof(s->comment))
		len += (size_t)snprintf(s->comment + len, sizeof(s->comment) - len, "; ");
	va_start(ap, fmt);
	vsnprintf(s->comment + len, sizeof(s->comment) - len, fmt, ap);
	va_end(ap);
	for (i = len; s->comment[i] != '\0'; i++) {
		if (s->comment[i] < 0x20 || s->comment[i] > 0x7e)
			s->comment[i] = '?'; /* comments are UTF-8; messages may be anything */
	}
}

struct part {
	uint32_t bits;
	const char *name;
};

static void comment_missing(struct state *s, const struct part *part, uint32_t have)
{
	char names[128] = "";
	size_t len = 0;

	for (; part->name != NULL && len < sizeof(names); part++) {
		if ((have & part->bits) == part->bits)
			continue;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "",
		                        part->name);
	}
	if (len > 0)
		add_comment(s, "not in the source: %s", names);
}

/* What the source does not carry must not be made of what is in memory. */
static void mask_command(struct nvme_cmd *to, const struct rec *r)
{
	uint32_t dw[16], nlb = r->cmd.cdw12 & 0xffff;
	unsigned i;

	memcpy(dw, &r->cmd, sizeof(dw));
	for (i = 0; i < 16; i++) {
		if (!(r->cmd_have & HAVE_DW(i)))
			dw[i] = 0;
	}
	memcpy(to, dw, sizeof(dw));
	if (!(r->cmd_have & HAVE_FLAGS))
		to->flags = 0;
	if (r->cmd_have & HAVE_NLB)
		to->cdw12 |= nlb;
}

static void put_command(struct state *s, const struct rec *r, struct packet *packet)
{
	static const struct part parts[] = {
		{HAVE_OPC, "OPC and CID"}, {HAVE_FLAGS, "FUSE and PSDT"}, {HAVE_NSID, "NSID"},
		{HAVE_DW(2), "CDW2"},      {HAVE_DW(3), "CDW3"},          {HAVE_MPTR, "MPTR"},
		{HAVE_DPTR1, "PRP1"},      {HAVE_DPTR2, "PRP2"},          {HAVE_DW(10), "CDW10"},
		{HAVE_DW(11), "CDW11"},    {HAVE_DW(12), "CDW12"},        {HAVE_DW(13), "CDW13"},
		{HAVE_DW(14), "CDW14"},    {HAVE_DW(15), "CDW15"},        {0, NULL},
	};
	uint8_t pdu[72] = {0};
	struct nvme_cmd cmd;

	mask_command(&cmd, r);
	memcpy(pdu + 8, &cmd, sizeof(cmd));
	comment_missing(s, parts, r->cmd_have);
	if (r->problem != NULL)
		add_comment(s, "%s", r->problem);
	packet->from = HOST;
	put_pdu(s, packet, PDU_CMD, sizeof(pdu), pdu, sizeof(pdu));
}

static void mask_completion(struct nvme_cpl *to, const struct rec *r)
{
	uint16_t status = 0;

	if (r->has & HAS_PHASE)
		status |= (uint16_t)NVME_SET(1, NVME_CPL_P);
	if (r->has & HAS_STATUS)
		status |=
			(uint16_t)NVME_SET(0xff, NVME_CPL_SC) | (uint16_t)NVME_SET(7, NVME_CPL_SCT);
	if (r->has & HAS_FLAGS)
		status |= (uint16_t)NVME_SET(3, NVME_CPL_CRD) | (uint16_t)NVME_SET(1, NVME_CPL_M) |
		          (uint16_t)NVME_SET(1, NVME_CPL_DNR);
	*to = r->cpl;
	to->status &= status;
	to->cdw0 = r->has & HAS_DW0 ? to->cdw0 : 0;
	to->cdw1 = r->has & HAS_DW1 ? to->cdw1 : 0;
	to->sqhd = r->has & HAS_SQHD ? to->sqhd : 0;
	to->sqid = r->has & HAS_SQID ? to->sqid : 0;
}

static void put_completion(struct state *s, const struct rec *r, uint16_t cid,
                           struct packet *packet)
{
	static const struct part parts[] = {
		{HAS_DW0, "CDW0"},
		{HAS_DW1, "CDW1"},
		{HAS_SQHD, "SQHD"},
		{HAS_SQID, "SQID"},
		{HAS_PHASE, "P"},
		{HAS_STATUS, "SC and SCT"},
		{HAS_FLAGS, "CRD, M and DNR"},
		{0, NULL},
	};
	uint8_t pdu[24] = {0};
	struct nvme_cpl cpl;

	mask_completion(&cpl, r);
	if (cid != cpl.cid)
		add_comment(s, "CID %u in the source", (unsigned)cpl.cid);
	cpl.cid = cid;
	memcpy(pdu + 8, &cpl, sizeof(cpl));
	comment_missing(s, parts, r->has);
	if (r->problem != NULL)
		add_comment(s, "%s", r->problem);
	packet->from = CTRLR;
	put_pdu(s, packet, PDU_RSP, sizeof(pdu), pdu, sizeof(pdu));
}

static void command(struct state *s, const struct rec *r, struct packet *packet)
{
	struct open_cmd old;

	opens_forget(&s->opens, &old);
	opens_add(&s->opens, r, &old);
	if (connection(s, r->has & HAS_CTRLR ? r->ctrlr : 0, r->qid, packet) != NULL)
		put_command(s, r, packet);
}

/*
 * Goes to the connection of its command, which may be of another queue than the one that the source
 * names, and has its CID: an old kernel cuts that of completions.
 */
static void completion(struct state *s, const struct rec *r, struct packet *packet)
{
	struct open_cmd c = {.has = r->has, .ctrlr = r->ctrlr, .qid = r->qid};
	uint16_t cid = r->of_have & HAVE_OPC ? r->of.cid : r->cpl.cid;

	opens_take(&s->opens, r, &c);
	if (connection(s, c.has & HAS_CTRLR ? c.ctrlr : 0, c.qid, packet) != NULL)
		put_completion(s, r, cid, packet);
}

static int begin(struct output *o)
{
	struct state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->out = o->out;
	opens_init(&s->opens);
	map_init(&s->conns, sizeof(struct conn));
	map_init(&s->ctrlrs, sizeof(uint32_t));
	o->state = s;
	put_headers(o->out);
	return 0;
}

static int record(struct output *o, struct rec *rec)
{
	struct state *s = o->state;
	struct packet packet = {.timed = rec->has & HAS_TIME, .time_ns = rec->time_ns};

	if (rec->kind == REC_DAMAGE)
		add_comment(s, "the source is damaged before this: %.100s", rec->text);
	if (!(rec->has & HAS_QID))
		return 0; /* no connection to show it on */
	if (rec_is_command(rec))
		command(s, rec, &packet);
	else if (rec->kind == REC_COMPLETION)
		completion(s, rec, &packet);
	return ferror(o->out) ? -EIO : 0;
}

static int end(struct output *o, struct pairing *p)
{
	struct state *s = o->state;

	(void)p;
	if (s == NULL)
		return -ENOMEM; /* there was no begin */
	opens_report(&s->opens, "are no longer known to later completions");
	opens_free(&s->opens);
	map_free(&s->conns);
	map_free(&s->ctrlrs);
	free(s);
	o->state = NULL;
	return ferror(o->out) ? -EIO : 0;
}

const struct output_ops pcapng_output = {.name = "pcapng",
                                         .begin = begin,
                                         .record = record,
                                         .end = end};
