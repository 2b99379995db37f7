// SPDX-License-Identifier: MIT
/*
 * extents: which parts of a disk hold anything, as ranges of blocks. A program in C++17.
 *
 *	extents [DEVICE [MIB]]		for example: extents 0000:01:00.0 1024
 *
 * Reads the first namespace, or its first MIB mebibytes, and prints where it is not zero. It writes
 * nothing. Each read is a lambda that knows what to do with its data; controller, queue pair and
 * what the lambdas live in are released by the order in which main() declares them.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

constexpr uint32_t DEPTH = 32;
constexpr uint64_t PIECE = 65536, MAX_IDLE_MS = 30000;

/* What nvme.h said with a number is an exception from here on, with the text of nvme_strerror(). */
void check(const char *what, int rc, const nvme_cpl *cpl = nullptr)
{
	char text[NVME_ERROR_MAX];

	if (rc != 0 || (cpl != nullptr && nvme_cpl_is_error(cpl)))
		throw std::runtime_error(std::string(what) + ": " +
		                         nvme_strerror(text, sizeof(text), rc, cpl));
}

struct detach {
	void operator()(nvme_ctrlr *ctrlr) const
	{
		(void)nvme_detach(ctrlr);
	}
};

struct free_qpair {
	void operator()(nvme_qpair *qp) const
	{
		(void)nvme_ctrlr_free_io_qpair(qp);
	}
};

using controller = std::unique_ptr<nvme_ctrlr, detach>;
using queue_pair = std::unique_ptr<nvme_qpair, free_qpair>;

/*
 * One command at a time: its buffer, which is the controller's, and what is to be done with its
 * completion.
 */
struct slot {
	const uint8_t *buf = nullptr;
	std::function<void(const nvme_cpl &)> done;

	/* C calls this, and C knows no exceptions: none may leave it. done gives the slot a new done. */
	static void complete(void *arg, const nvme_cpl *cpl) noexcept
	{
		const auto now = std::move(static_cast<slot *>(arg)->done);

		now(*cpl);
	}
};

class reader
{
      public:
	/* Outlives the controller, whose last callbacks may come as late as in nvme_detach(). */
	reader(nvme_ns *ns, uint64_t limit) : m_ns(ns), m_slots(DEPTH)
	{
		auto *ctrlr = nvme_ns_get_ctrlr(ns);

		m_block = nvme_ns_get_extended_sector_size(ns);
		m_nlb = std::min(uint64_t{nvme_ns_get_max_nlb(ns, nullptr)},
		                 std::max(PIECE / m_block, uint64_t{1}));
		m_end = std::min(nvme_ns_get_num_sectors(ns), limit / m_block);
		for (slot &s : m_slots) {
			s.buf = static_cast<uint8_t *>(
				nvme_dma_alloc(ctrlr, size_t(m_nlb * m_block)));
			if (s.buf == nullptr)
				throw std::bad_alloc();
		}
		m_used.resize(size_t((m_end + m_nlb - 1) / m_nlb));
	}

	void run()
	{
		nvme_qpair *created;

		check("queue pair",
		      nvme_ctrlr_alloc_io_qpair(nvme_ns_get_ctrlr(m_ns), nullptr, &created));
		const queue_pair qp(created);

		for (slot &s : m_slots)
			submit(qp.get(), s);
		while (m_outstanding > 0)
			poll(qp.get());
		check("read", m_rc, &m_cpl);
	}

	void print() const
	{
		uint64_t held = 0;

		for (size_t i = 0, first; i < m_used.size(); i++) {
			if (!m_used[i])
				continue;
			for (first = i; i < m_used.size() && m_used[i]; i++)
				;
			uint64_t end = std::min(i * m_nlb, m_end);
			printf("blocks %" PRIu64 " to %" PRIu64 "\n", first * m_nlb, end - 1);
			held += end - first * m_nlb;
		}
		printf("%" PRIu64 " of %" PRIu64
		       " KiB hold something, looked at in pieces of %" PRIu64 " KiB\n",
		       held * m_block / 1024, m_end * m_block / 1024, m_nlb * m_block / 1024);
	}

      private:
	/* The next piece. The lambda that looks at it sends the one after that, in the same slot. */
	void submit(nvme_qpair *qp, slot &s)
	{
		const uint64_t slba = m_next, nlb = std::min(m_nlb, m_end - m_next);

		if (slba >= m_end || m_rc != 0 || nvme_cpl_is_error(&m_cpl))
			return;
		s.done = [this, qp, &s, slba, nlb](const nvme_cpl &cpl) {
			m_outstanding--;
			if (nvme_cpl_is_error(&cpl))
				m_cpl = cpl;
			else
				m_used[size_t(slba / m_nlb)] =
					std::any_of(s.buf, s.buf + nlb * m_block,
				                    [](uint8_t byte) { return byte != 0; });
			submit(qp, s);
		};
		m_next += nlb;
		m_rc = nvme_ns_cmd_read(m_ns, qp, const_cast<uint8_t *>(s.buf), slba, uint32_t(nlb),
		                        slot::complete, &s, 0);
		m_outstanding += m_rc == 0;
	}

	void poll(nvme_qpair *qp)
	{
		auto *ctrlr = nvme_ns_get_ctrlr(m_ns);
		const uint64_t now = device_now_ms(ctrlr);
		const int rc = nvme_qpair_process_completions(qp, 0);

		check("poll", std::min(rc, 0));
		if (rc > 0 || m_deadline == 0)
			m_deadline = now + MAX_IDLE_MS;
		if (rc == 0 && now > m_deadline)
			check("read", -ETIMEDOUT);
	}

	nvme_ns *m_ns;
	std::vector<slot> m_slots;
	std::vector<bool> m_used;
	uint64_t m_block = 0, m_nlb = 0, m_end = 0, m_next = 0, m_deadline = 0;
	uint32_t m_outstanding = 0;
	int m_rc = 0;
	nvme_cpl m_cpl = {};
};

uint64_t limit_of(const char *text)
{
	char *end;
	const uint64_t mib = strtoull(text, &end, 10);

	return *end == '\0' && *text >= '1' && *text <= '9' && mib <= UINT64_MAX >> 20 ? mib << 20
	                                                                               : 0;
}

} // namespace

int main(int argc, char **argv)
{
	const char *device = argc > 1 ? argv[1] : "soft";
	const uint64_t limit = argc > 2 ? limit_of(argv[2]) : UINT64_MAX;
	nvme_ctrlr *attached;

	if (argc > 3 || limit == 0 || *device == '-') {
		return wrong_use("extents", argv[argc - 1], "[DEVICE [MIB]]\n" DEVICE_USAGE);
	}
	std::optional<reader> r; /* declared first, so released last */
	const int rc = open_device(device, &attached);
	if (rc != 0)
		return rc;
	const controller ctrlr(attached);

	try {
		nvme_ns *ns = nvme_ctrlr_get_ns(attached, nvme_ctrlr_get_first_active_ns(attached));

		if (ns == nullptr)
			throw std::runtime_error("the controller has no active namespace");
		r.emplace(ns, limit);
		r->run();
		r->print();
	} catch (const std::exception &e) {
		fprintf(stderr, "extents: %s: %s\n", device, e.what());
		return 1;
	}
	return 0;
}
