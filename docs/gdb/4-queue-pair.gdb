# SPDX-License-Identifier: MIT
#
# 4. How a queue pair comes to be
# ===============================
#
# Goal: see the two halves of creating a queue pair. First the host builds rings in its own memory,
# then it tells the controller about them, with two admin commands.
#
# Read: Base 2.1 §5.2.1 (Create I/O Completion Queue), §5.2.2 (Create I/O Submission Queue),
# §3.3.3.1 and §3.3.3.2 (queue size and identifiers). In nvme.h: nvme_qpair_construct() in >>queue,
# nvme_ctrlr_alloc_io_qpair() in >>qpair.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft
set print pretty on

# ---- The host's half -------------------------------------------------------------------------
#
# The function is called for queue 0 in bring-up. We want the one for queue 1.

break nvme_qpair_construct if id == 1
#> Breakpoint 1 at 0xb8c4: file ./nvme.h, line 2340.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> Breakpoint 1, nvme_qpair_construct (ctrlr=0x5555555c37c0, id=1, entries=256, max_xfer_size=524288, out=0x7fffffffdfc0) at ./nvme.h:2340
#> 2340		struct nvme_qpair *qp = (struct nvme_qpair *)NVME_CALLOC(1, sizeof(*qp));
backtrace
#> #0  nvme_qpair_construct (ctrlr=0x5555555c37c0, id=1, entries=256, max_xfer_size=524288, out=0x7fffffffdfc0) at ./nvme.h:2340
#> #1  0x0000555555563826 in nvme__ctrlr_create_io_qpair (ctrlr=0x5555555c37c0, qid=1, opts=0x7fffffffe000, out=0x7fffffffe088) at ./nvme.h:3855
#> #2  0x0000555555563a84 in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555c37c0, user_opts=0x0, out=0x7fffffffe088) at ./nvme.h:3904
#> #3  0x000055555559dd50 in hello_world (disk=0x5555555c15a0 <disks>) at examples/hello_world.c:154
#> #4  0x000055555559e0e8 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:208

# Wait until it is done, and look at what it built:

tbreak nvme__ctrlr_connect_io_qpair
#> Temporary breakpoint 2 at 0x5555555636e7: file ./nvme.h, line 3830.
continue
#> Temporary breakpoint 2, nvme__ctrlr_connect_io_qpair (ctrlr=0x5555555c37c0, qp=0x5555555c3320) at ./nvme.h:3830
#> 3830		uint32_t resets = ctrlr->ladder.total; /* the ladder may reset in any of the polls here */
print *qp
#> $1 = queue pair 1, 256 entries, 0 outstanding = {
#>   sq = 0x7fff77c05000 (IOVA 0x205000),
#>   sq_tail = 0,
#>   sq_head = 0 (from SQHD),
#>   sq_tdbl = 1008h SQ1TDBL,
#>   cq = 0x7fff77c09000 (IOVA 0x209000),
#>   cq_head = 0,
#>   phase = 1,
#>   cq_hdbl = 100Ch CQ1HDBL,
#>   num_free = 255 of 255 CIDs,
#>   max_xfer_size = 524288
#> }

# What to notice:
#  - Two addresses for each ring: one for the program, and the IOVA for the controller.
#  - 256 entries, but 255 CIDs: one slot stays empty.
#  - The phase is 1: the ring is all zeros, so a 1 in the phase bit will mean "new".
#  - The doorbells are at 1000h + (2 * 1) * 4 and 1000h + (2 * 1 + 1) * 4. The same, computed by gdb
#    with the macros of the header:

print/x NVME_SQ_TDBL(1, 0)
#> $2 = 0x1008
print/x NVME_CQ_HDBL(1, 0)
#> $3 = 0x100c

# Nobody has told the controller yet. As far as it is concerned there is only the admin queue.

# ---- The controller's half: the completion queue first ---------------------------------------

break nvme_ring_sq_doorbell
#> Breakpoint 3 at 0x55555555f141: file ./nvme.h, line 2128.
continue
#> Breakpoint 3, nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
nvme last 0
#> last command on queue 0, slot 5:
#>   CREATE IO CQ cid:0 QID:1 QSIZE:256 entries PC:1 IEN:0 IV:0 PRP1:0x209000 PRP2:0x0
#> last completion on queue 0, slot 4, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:5 cdw0:0 p:1
up
#> #1  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555db8c0, tr=0x5555555dba50, buf=0x0, len=0) at ./nvme.h:2647
#> 2647			nvme_ring_sq_doorbell(qp);
nvme prp tr->cmd
#> CREATE IO CQ cid:0 QID:1 QSIZE:256 entries PC:1 IEN:0 IV:0 PRP1:0x209000 PRP2:0x0
#> PRP1     0x209000 is the ring itself, one contiguous piece (PC 1), seen by the program at 0x7fff77c09000

# PRP1 of this command is not a piece of data. It is the address of the ring, the CQ's IOVA from
# above. In hexadecimal, as a log would show it, CDW10 and CDW11 are

print/x tr->cmd.cdw10
#> $4 = 0xff0001
print/x tr->cmd.cdw11
#> $5 = 0x1

# The upper half of CDW10 is QSIZE: FFh = 255, and it means 256, 0-based like all sizes. The lower
# half is the queue id. CDW11 says PC = 1: the ring is one contiguous piece of the controller's
# address space. IEN = 0: no interrupts, this driver polls.

# ---- Then the submission queue ---------------------------------------------------------------

continue
#> Breakpoint 3, nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
nvme last 0
#> last command on queue 0, slot 6:
#>   CREATE IO SQ cid:0 QID:1 QSIZE:256 entries PC:1 QPRIO:0 CQID:1 PRP1:0x205000 PRP2:0x0
#> last completion on queue 0, slot 5, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:6 cdw0:0 p:1
up
#> #1  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555db8c0, tr=0x5555555dba50, buf=0x0, len=0) at ./nvme.h:2647
#> 2647			nvme_ring_sq_doorbell(qp);
print/x tr->cmd.cdw11
#> $6 = 0x10001

# What to notice:
#  - The completion of the first command stands before the second was sent. The driver waits for
#    it: the two commands must not overtake each other.
#  - CDW11 of this one has CQID = 1 in its upper half: where completions of this queue go. Several
#    submission queues may share a completion queue; this driver always makes pairs.
#  - The queue ids of the two are the same number, but they are two numbers: SQ 1 and CQ 1.

# ---- Ready -----------------------------------------------------------------------------------

delete
frame function nvme_ctrlr_alloc_io_qpair
#> #9  0x0000555555563a84 in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555c37c0, user_opts=0x0, out=0x7fffffffe088) at ./nvme.h:3904
#> 3904		rc = nvme__ctrlr_create_io_qpair(ctrlr, qid, &opts, out);
finish
#> 0x000055555559dd50 in hello_world (disk=0x5555555c15a0 <disks>) at examples/hello_world.c:154
#> 154		rc = nvme_ctrlr_alloc_io_qpair(ctrlr, NULL, &qp);
#> Value returned is $7 = 0
nvme ring 1
#> Queue pair 1 of 'soft': 0 commands outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 0, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   HT  0         empty
#>       1-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1-255     p:0 empty

# An empty pair of rings. The first read or write on it starts at slot 0.

kill
#> [Inferior 1 (process 18381) killed]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Why the completion queue first? And what is the order when they are deleted?
# b) Who decides how many queues a program may create?
# c) What happens when the host rings the doorbell of a queue that it has not created?
#
#
#
#
#
#
#
#
#                                 (answers below)
#
#
#
#
#
#
#
#
# a) Create I/O Submission Queue names its completion queue, which must exist. Deletion goes the
#    other way round: first the submission queue, then the completion queue nobody uses any more.
# b) The controller: bring-up asks for a number with Set Features, Number of Queues, and the answer
#    is in dword 0 of its completion.
# c) Nothing useful: there is no ring to fetch from. The controller can report the mistake with an
#    asynchronous event, if the host has left it an Asynchronous Event Request to answer.
