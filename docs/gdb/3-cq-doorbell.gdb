# SPDX-License-Identifier: MIT
#
# 3. Who rings the completion queue doorbell?
# ===========================================
#
# Goal: see that the doorbell of a completion queue is rung by the host as well, from one function,
# which is reached from several places: bring-up, creation of a queue, and a program that polls.
#
# Read: PCIe 1.1 §3.1.2.2 (CQyHDBL), Base 2.1, Memory-based Transport Queue Model, §4.2.1 (the
# completion queue entry). In nvme.h: >>complete.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft

# The submission doorbell says "there is work for you". The completion doorbell says "I have read
# these entries, you may write over them". Both are written by the host and by nobody else.

# ---- First place: bring-up -------------------------------------------------------------------

break nvme_ring_cq_doorbell
#> Breakpoint 1 at 0xce01: file ./nvme.h, line 4885.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> 4885		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> #1  0x0000555555562f4e in nvme_qpair_process_completions (qp=0x55555559b380, max=32) at ./nvme.h:5520
#> #2  0x000055555556329b in nvme__wait_a_little (qp=0x55555559b380, deadline=30020) at ./nvme.h:5613
#> #3  0x00005555555633d1 in nvme_wait_for_completion (qp=0x55555559b380, sync=0x7fffffffe180, deadline=30020) at ./nvme.h:5641
#> #4  0x00005555555634f3 in nvme__submit_and_wait (qp=0x55555559b380, cmd=0x7fffffffe2a0, buf=0x7fff77c06000, len=4096, cpl=0x7fffffffe210) at ./nvme.h:5663
#> #5  0x000055555556364a in nvme__command_and_wait (qp=0x55555559b380, cmd=0x7fffffffe2a0, buf=0x5555555874b0, len=4096, cpl=0x7fffffffe210) at ./nvme.h:5695
#> #6  0x0000555555567d7d in nvme_ctrlr_admin (ctrlr=0x5555555872b0, cmd=0x7fffffffe2a0, buf=0x5555555874b0, len=4096, cpl=0x0) at ./nvme.h:6922
#> #7  0x0000555555564ac7 in nvme_ctrlr_cmd_identify (ctrlr=0x5555555872b0, cns=1, nsid=0, data=0x5555555874b0) at ./nvme.h:6041
#> #8  0x0000555555564b84 in nvme_ctrlr_identify (ctrlr=0x5555555872b0) at ./nvme.h:6064
#> #9  0x0000555555565d09 in nvme_ctrlr_process_init (ctrlr=0x5555555872b0) at ./nvme.h:6304
#> #10 0x00005555555672c7 in nvme_attach (addr=0x7fffffffe98e "soft", opts=0x7fffffffe4b0, out=0x7fffffffe520) at ./nvme.h:6711
#> #11 0x00005555555755bf in open_device (device=0x7fffffffe98e "soft", ctrlr=0x7fffffffe520) at examples/device.h:53
#> #12 0x00005555555761e2 in main (argc=2, argv=0x7fffffffe658) at examples/hello_world.c:144

# A blocking admin command waits in nvme_wait_for_completion(), which polls until the completion is
# there. Polling is where completions are taken, and so where this doorbell is rung.

nvme last
#> last command on queue 0, slot 0:
#>   IDENTIFY cid:0 CNS:01h CONTROLLER PRP1:0x206000 PRP2:0x0
#> last completion on queue 0, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:1 cdw0:0 p:1
nvme ring
#> Queue pair 0 of 'soft': 0 commands outstanding, room for 31
#> SQ 0: 32 entries at IOVA 0x200000, tail 1, head 1 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>       0         IDENTIFY cid:0 CNS:01h CONTROLLER PRP1:0x206000 PRP2:0x0  (done)
#>   HT  1         empty
#>       2-31      empty
#> CQ 0: 32 entries at IOVA 0x201000, head 1, a new entry has phase 1
#>       1 taken since the doorbell was rung
#>       0         p:1 SUCCESS (00/00) cid:0 sqid:0 sqhd:1 cdw0:0  (taken)
#>   H   1         p:0 empty
#>       2-31      p:0 empty

# The completion in slot 0 has been taken: the head H stands behind it. But the controller does not
# know that until the doorbell is rung.

tbreak nvme_mmio_write_4
#> Temporary breakpoint 2 at 0x5555555608b0: file ./nvme.h, line 4751.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x5555555872b0, offset=4100, val=1) at ./nvme.h:4751
#> 4751		if (nvme__unlikely(dev->log->verbose))
nvme write
#> 1004h  CQ0HDBL  <- 1: the new head of queue 0 is slot 1

# ---- Second place: creation of a queue pair --------------------------------------------------

disable 1
tbreak nvme_ctrlr_cmd_create_io_cq
#> Temporary breakpoint 3 at 0x555555565d88: file ./nvme.h, line 6326.
continue
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> Temporary breakpoint 3, nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555872b0, qp=0x55555559da00, cpl=0x7fffffffe430) at ./nvme.h:6326
#> 6326		memset(&cmd, 0, sizeof(cmd));
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> 4885		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> #1  0x0000555555562f4e in nvme_qpair_process_completions (qp=0x55555559b380, max=32) at ./nvme.h:5520
#> #2  0x000055555556329b in nvme__wait_a_little (qp=0x55555559b380, deadline=30070) at ./nvme.h:5613
#> #3  0x00005555555633d1 in nvme_wait_for_completion (qp=0x55555559b380, sync=0x7fffffffe2a0, deadline=30070) at ./nvme.h:5641
#> #4  0x00005555555634f3 in nvme__submit_and_wait (qp=0x55555559b380, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe430) at ./nvme.h:5663
#> #5  0x00005555555635d5 in nvme__command_and_wait (qp=0x55555559b380, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe430) at ./nvme.h:5689
#> #6  0x0000555555567d7d in nvme_ctrlr_admin (ctrlr=0x5555555872b0, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe430) at ./nvme.h:6922
#> #7  0x0000555555565e2b in nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555872b0, qp=0x55555559da00, cpl=0x7fffffffe430) at ./nvme.h:6331
#> #8  0x0000555555566438 in nvme__ctrlr_connect_io_qpair (ctrlr=0x5555555872b0, qp=0x55555559da00) at ./nvme.h:6437
#> #9  0x000055555556667c in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555872b0, user_opts=0x0, out=0x7fffffffe4e0) at ./nvme.h:6477
#> #10 0x0000555555575fc3 in hello_world (ctrlr=0x5555555872b0, look_first=false, io=0x7fffffffe52a) at examples/hello_world.c:112
#> #11 0x000055555557625c in main (argc=2, argv=0x7fffffffe658) at examples/hello_world.c:148

# Frames 0 to 5 are the same as before. Create I/O Completion Queue is an admin command like any
# other, so this is the doorbell of queue 0 once more:

nvme last
#> last command on queue 0, slot 5:
#>   CREATE IO CQ cid:0 QID:1 QSIZE:256 entries PC:1 IEN:0 IV:0 PRP1:0x20a000 PRP2:0x0
#> last completion on queue 0, slot 5, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:6 cdw0:0 p:1

# ---- Third place: the program polls ----------------------------------------------------------

disable 1
tbreak nvme_ns_cmd_write
continue
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x55555559da00) at ./nvme.h:4885
#> 4885		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x55555559da00) at ./nvme.h:4885
#> #1  0x0000555555562f4e in nvme_qpair_process_completions (qp=0x55555559da00, max=256) at ./nvme.h:5520
#> #2  0x0000555555575c84 in wait_for (ctrlr=0x5555555872b0, qp=0x55555559da00, io=0x7fffffffe52a) at examples/hello_world.c:48
#> #3  0x0000555555575d6e in write_and_read (ns=0x55555559c940, qp=0x55555559da00, buf=0x7fff77c8b000 "Hello world!\n", io=0x7fffffffe52a) at examples/hello_world.c:68
#> #4  0x000055555557605d in hello_world (ctrlr=0x5555555872b0, look_first=false, io=0x7fffffffe52a) at examples/hello_world.c:121
#> #5  0x000055555557625c in main (argc=2, argv=0x7fffffffe658) at examples/hello_world.c:148

# Here the example itself calls nvme_qpair_process_completions(), in its loop wait_for(), and this
# time it is the doorbell of queue 1.

nvme last
#> last command on queue 1, slot 0:
#>   WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28b000 PRP2:0x0
#> last completion on queue 1, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0 p:1
print/x qp->cq_hdbl
#> $1 = 0x100c

# By now the callback has run, although the doorbell has not been rung yet:

frame function wait_for
#> #2  0x0000555555575c84 in wait_for (ctrlr=0x5555555872b0, qp=0x55555559da00, io=0x7fffffffe52a) at examples/hello_world.c:48
#> 48			int rc = nvme_qpair_process_completions(qp, 0);
print *io
#> $2 = {done = true, failed = false}

# That is the order on purpose: the entry was copied out of the ring before the callback, so nothing
# is lost, and one doorbell at the end serves a whole batch of completions.

# ---- And a fourth ----------------------------------------------------------------------------

disable 1
tbreak nvme_ctrlr_free_io_qpair
#> Temporary breakpoint 5 at 0x5555555666fe: file ./nvme.h, line 6501.
continue
#> Hello world!
#> Temporary breakpoint 5, nvme_ctrlr_free_io_qpair (qp=0x55555559da00) at ./nvme.h:6501
#> 6501		if (qp == NULL)
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> 4885		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace 7
#> #0  nvme_ring_cq_doorbell (qp=0x55555559b380) at ./nvme.h:4885
#> #1  0x0000555555562f4e in nvme_qpair_process_completions (qp=0x55555559b380, max=32) at ./nvme.h:5520
#> #2  0x000055555556329b in nvme__wait_a_little (qp=0x55555559b380, deadline=30100) at ./nvme.h:5613
#> #3  0x00005555555633d1 in nvme_wait_for_completion (qp=0x55555559b380, sync=0x7fffffffe300, deadline=30100) at ./nvme.h:5641
#> #4  0x00005555555634f3 in nvme__submit_and_wait (qp=0x55555559b380, cmd=0x7fffffffe410, buf=0x0, len=0, cpl=0x7fffffffe390) at ./nvme.h:5663
#> #5  0x00005555555635d5 in nvme__command_and_wait (qp=0x55555559b380, cmd=0x7fffffffe410, buf=0x0, len=0, cpl=0x7fffffffe390) at ./nvme.h:5689
#> #6  0x0000555555567d7d in nvme_ctrlr_admin (ctrlr=0x5555555872b0, cmd=0x7fffffffe410, buf=0x0, len=0, cpl=0x0) at ./nvme.h:6922

# Deleting a queue takes admin commands too.

kill
#> [Inferior 1 (process 15318) killed]

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
