# SPDX-License-Identifier: MIT
#
# 3. Who rings the completion queue doorbell?
# ===========================================
#
# Goal: see that the doorbell of a completion queue is rung by the host as well, from one function,
# which is reached from several places: bring-up, creation of a queue, and a program that polls.
#
# Read: PCIe 1.1 §3.1.2.2 (CQyHDBL), Base 2.1, Memory-based Transport Queue Model, §4.2.1 (the
# completion queue entry). In nvme.h: nvme_ring_cq_doorbell() in >>queue, then >>complete.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft

# The submission doorbell says "there is work for you". The completion doorbell says "I have read
# these entries, you may write over them". Both are written by the host and by nobody else.

# ---- First place: bring-up -------------------------------------------------------------------

break nvme_ring_cq_doorbell
#> Breakpoint 1 at 0xa0c4: file ./nvme.h, line 2002.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> 2002		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> #1  0x000055555555f8c5 in nvme__qpair_reap (qp=0x5555555acc30, max=32) at ./nvme.h:2645
#> #2  0x000055555555fa12 in nvme_qpair_process_completions (qp=0x5555555acc30, max=0) at ./nvme.h:2675
#> #3  0x000055555555fc38 in nvme__wait_a_little (qp=0x5555555acc30, deadline=30020) at ./nvme.h:2750
#> #4  0x000055555555fc9f in nvme_wait_for_completion (qp=0x5555555acc30, sync=0x7fffffffe150, deadline=30020) at ./nvme.h:2767
#> #5  0x000055555555fe89 in nvme__submit_and_wait (qp=0x5555555acc30, cmd=0x7fffffffe210, buf=0x7fff77c04000, len=4096, lent=0x0, cpl=0x7fffffffe200) at ./nvme.h:2807
#> #6  0x000055555555ff44 in nvme__ctrlr_admin (ctrlr=0x5555555962b0, cmd=0x7fffffffe210, buf=0x7fff77c04000, len=4096, cpl=0x7fffffffe200) at ./nvme.h:2823
#> #7  0x00005555555612d0 in nvme_ctrlr_cmd_identify (ctrlr=0x5555555962b0, cns=1, nsid=0, data=0x5555555964c8) at ./nvme.h:3223
#> #8  0x00005555555613a6 in nvme_ctrlr_identify (ctrlr=0x5555555962b0) at ./nvme.h:3253
#> #9  0x0000555555561f92 in nvme__ctrlr_bring_up (ctrlr=0x5555555962b0) at ./nvme.h:3496
#> #10 0x0000555555562012 in nvme_ctrlr_process_init (ctrlr=0x5555555962b0) at ./nvme.h:3513
#> #11 0x0000555555562cd4 in nvme_attach (addr=0x7fffffffe979 "soft", opts=0x7fffffffe480, out=0x7fffffffe4f0) at ./nvme.h:3851
#> #12 0x000055555557f056 in open_device (device=0x7fffffffe979 "soft", ctrlr=0x7fffffffe4f0) at examples/device.h:53
#> #13 0x000055555557fcaf in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:148

# A blocking admin command waits in nvme_wait_for_completion(), which polls until the completion is
# there. Polling is where completions are taken, by nvme__qpair_reap(), and so where this doorbell
# is rung.

nvme last
#> last command on queue 0, slot 0:
#>   IDENTIFY cid:0 CNS:01h CONTROLLER PRP1:0x204000 PRP2:0x0
#> last completion on queue 0, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:1 cdw0:0 p:1
nvme ring
#> Queue pair 0 of 'soft': 0 commands outstanding, room for 31
#> SQ 0: 32 entries at IOVA 0x200000, tail 1, head 1 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>       0         IDENTIFY cid:0 CNS:01h CONTROLLER PRP1:0x204000 PRP2:0x0  (done)
#>   HT  1         empty
#>       2-31      empty
#> CQ 0: 32 entries at IOVA 0x201000, head 1, a new entry has phase 1
#>       0         p:1 SUCCESS (00/00) cid:0 sqid:0 sqhd:1 cdw0:0  (taken)
#>   H   1         p:0 empty
#>       2-31      p:0 empty

# The completion in slot 0 has been taken: the head H stands behind it. But the controller does not
# know that until the doorbell is rung.

tbreak nvme_mmio_write_4
#> Temporary breakpoint 2 at 0x55555555d774: file ./nvme.h, line 1689.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x5555555962b0, offset=4100, val=1) at ./nvme.h:1689
#> 1689		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 1004h  CQ0HDBL  <- 1: the new head of queue 0 is slot 1

# ---- Second place: creation of a queue pair --------------------------------------------------

disable 1
tbreak nvme_ctrlr_cmd_create_io_cq
#> Temporary breakpoint 3 at 0x555555562056: file ./nvme.h, line 3537.
continue
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> Temporary breakpoint 3, nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555962b0, qp=0x5555555af250, cpl=0x7fffffffe3d0) at ./nvme.h:3537
#> 3537		nvme__cmd_init(&cmd, NVME_OPC_CREATE_IO_CQ, 0);
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> 2002		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> #1  0x000055555555f8c5 in nvme__qpair_reap (qp=0x5555555acc30, max=32) at ./nvme.h:2645
#> #2  0x000055555555fa12 in nvme_qpair_process_completions (qp=0x5555555acc30, max=0) at ./nvme.h:2675
#> #3  0x000055555555fc38 in nvme__wait_a_little (qp=0x5555555acc30, deadline=30020) at ./nvme.h:2750
#> #4  0x000055555555fc9f in nvme_wait_for_completion (qp=0x5555555acc30, sync=0x7fffffffe2b0, deadline=30020) at ./nvme.h:2767
#> #5  0x000055555555fe89 in nvme__submit_and_wait (qp=0x5555555acc30, cmd=0x7fffffffe360, buf=0x0, len=0, lent=0x0, cpl=0x7fffffffe3d0) at ./nvme.h:2807
#> #6  0x000055555555ff44 in nvme__ctrlr_admin (ctrlr=0x5555555962b0, cmd=0x7fffffffe360, buf=0x0, len=0, cpl=0x7fffffffe3d0) at ./nvme.h:2823
#> #7  0x0000555555562105 in nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555962b0, qp=0x5555555af250, cpl=0x7fffffffe3d0) at ./nvme.h:3542
#> #8  0x0000555555562443 in nvme__ctrlr_connect_io_qpair (ctrlr=0x5555555962b0, qp=0x5555555af250) at ./nvme.h:3640
#> #9  0x0000555555562576 in nvme__ctrlr_create_io_qpair (ctrlr=0x5555555962b0, qid=1, opts=0x7fffffffe460, out=0x7fffffffe4b0) at ./nvme.h:3665
#> #10 0x000055555556271e in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555962b0, user_opts=0x0, out=0x7fffffffe4b0) at ./nvme.h:3702
#> #11 0x000055555557fa5a in hello_world (ctrlr=0x5555555962b0, look_first=false, io=0x7fffffffe4fa) at examples/hello_world.c:112
#> #12 0x000055555557fd29 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:152

# Frames 0 to 6 are the same functions as before. Create I/O Completion Queue is an admin command
# like any other, so this is the doorbell of queue 0 once more:

nvme last
#> last command on queue 0, slot 5:
#>   CREATE IO CQ cid:0 QID:1 QSIZE:256 entries PC:1 IEN:0 IV:0 PRP1:0x209000 PRP2:0x0
#> last completion on queue 0, slot 5, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:6 cdw0:0 p:1

# ---- Third place: the program polls ----------------------------------------------------------

disable 1
tbreak nvme_ns_cmd_write
#> Temporary breakpoint 4 at 0x555555563324: file ./nvme.h, line 3995.
continue
#> INFO: using host memory buffer for IO
#> Temporary breakpoint 4, nvme_ns_cmd_write (ns=0x5555555ae1f0, qp=0x5555555af250, buf=0x7fff77c4a000, slba=0, nlb=1, cb=0x55555557f693 <io_complete>, arg=0x7fffffffe4fa, io_flags=0) at ./nvme.h:3995
#> 3995		return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555af250, count=1) at ./nvme.h:2002
#> 2002		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555af250, count=1) at ./nvme.h:2002
#> #1  0x000055555555f8c5 in nvme__qpair_reap (qp=0x5555555af250, max=256) at ./nvme.h:2645
#> #2  0x000055555555fa12 in nvme_qpair_process_completions (qp=0x5555555af250, max=0) at ./nvme.h:2675
#> #3  0x000055555557f71b in wait_for (ctrlr=0x5555555962b0, qp=0x5555555af250, io=0x7fffffffe4fa) at examples/hello_world.c:48
#> #4  0x000055555557f805 in write_and_read (ns=0x5555555ae1f0, qp=0x5555555af250, buf=0x7fff77c4a000 "Hello world!\n", io=0x7fffffffe4fa) at examples/hello_world.c:68
#> #5  0x000055555557faf4 in hello_world (ctrlr=0x5555555962b0, look_first=false, io=0x7fffffffe4fa) at examples/hello_world.c:121
#> #6  0x000055555557fd29 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:152

# Here the example itself calls nvme_qpair_process_completions(), in its loop wait_for(), and this
# time it is the doorbell of queue 1.

nvme last
#> last command on queue 1, slot 0:
#>   WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x24a000 PRP2:0x0
#> last completion on queue 1, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0 p:1
print/x qp->cq_hdbl
#> $1 = 0x100c

# By now the callback has run, although the doorbell has not been rung yet:

frame function wait_for
#> #3  0x000055555557f71b in wait_for (ctrlr=0x5555555962b0, qp=0x5555555af250, io=0x7fffffffe4fa) at examples/hello_world.c:48
#> 48			int rc = nvme_qpair_process_completions(qp, 0);
print *io
#> $2 = {done = true, failed = false}

# That is the order on purpose: the entry was copied out of the ring before the callback, so nothing
# is lost, and one doorbell at the end serves a whole batch of completions.

# ---- And a fourth ----------------------------------------------------------------------------

disable 1
tbreak nvme_ctrlr_free_io_qpair
#> Temporary breakpoint 5 at 0x55555556289e: file ./nvme.h, line 3752.
continue
#> Hello world!
#> Temporary breakpoint 5, nvme_ctrlr_free_io_qpair (qp=0x5555555af250) at ./nvme.h:3752
#> 3752		if (qp == NULL)
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> 2002		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace 12
#> #0  nvme_ring_cq_doorbell (qp=0x5555555acc30, count=1) at ./nvme.h:2002
#> #1  0x000055555555f8c5 in nvme__qpair_reap (qp=0x5555555acc30, max=32) at ./nvme.h:2645
#> #2  0x000055555555fa12 in nvme_qpair_process_completions (qp=0x5555555acc30, max=0) at ./nvme.h:2675
#> #3  0x000055555555fc38 in nvme__wait_a_little (qp=0x5555555acc30, deadline=30040) at ./nvme.h:2750
#> #4  0x000055555555fc9f in nvme_wait_for_completion (qp=0x5555555acc30, sync=0x7fffffffe310, deadline=30040) at ./nvme.h:2767
#> #5  0x000055555555fe89 in nvme__submit_and_wait (qp=0x5555555acc30, cmd=0x7fffffffe3c0, buf=0x0, len=0, lent=0x0, cpl=0x7fffffffe3b0) at ./nvme.h:2807
#> #6  0x000055555555ff44 in nvme__ctrlr_admin (ctrlr=0x5555555962b0, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe3b0) at ./nvme.h:2823
#> #7  0x0000555555562270 in nvme__ctrlr_cmd_delete_queue (ctrlr=0x5555555962b0, opc=0 '\000', qid=1) at ./nvme.h:3572
#> #8  0x00005555555622cc in nvme_ctrlr_cmd_delete_io_sq (ctrlr=0x5555555962b0, qp=0x5555555af250) at ./nvme.h:3582
#> #9  0x00005555555627fb in nvme__qpair_delete (qp=0x5555555af250) at ./nvme.h:3732
#> #10 0x000055555556290d in nvme_ctrlr_free_io_qpair (qp=0x5555555af250) at ./nvme.h:3757
#> #11 0x000055555557fb36 in hello_world (ctrlr=0x5555555962b0, look_first=false, io=0x7fffffffe4fa) at examples/hello_world.c:125

# Deleting a queue takes admin commands too: frames 0 to 6 once more.

kill
#> [Inferior 1 (process 16996) killed]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Ten completions are taken in one call. How often is the doorbell rung?
# b) What happens when a driver never rings it?
# c) The controller tells its submission queue head in every completion (SQHD). Why does it not have
#    to tell where its completion queue tail is?
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
# a) Once, with the head after the tenth. (In a batch that is longer than half a ring this driver
#    rings in between, so that the controller does not run out of slots.)
# b) All goes well until the ring is full. Then the controller may not post any further completion,
#    and every command seems to hang: a classic mistake.
# c) The phase bit of each entry tells whether it is new: walkthrough 7.
