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
#> Breakpoint 1 at 0xf0ec: file ./nvme.h, line 5752.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> 5752		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> #1  0x0000555555565793 in nvme__qpair_reap (qp=0x5555555a49d0, max=32) at ./nvme.h:6525
#> #2  0x000055555556585f in nvme_qpair_process_completions (qp=0x5555555a49d0, max=0) at ./nvme.h:6538
#> #3  0x0000555555565d41 in nvme__wait_a_little (qp=0x5555555a49d0, deadline=30020) at ./nvme.h:6669
#> #4  0x0000555555565e53 in nvme_wait_for_completion (qp=0x5555555a49d0, sync=0x7fffffffe160, deadline=30020) at ./nvme.h:6694
#> #5  0x0000555555566020 in nvme__submit_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe280, buf=0x7fff77c06000, len=4096, bounce=0x5555555a4ab8, cpl=0x7fffffffe1f0) at ./nvme.h:6730
#> #6  0x0000555555566491 in nvme__command_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe280, buf=0x55555558e4b8, len=4096, cpl=0x7fffffffe1f0) at ./nvme.h:6810
#> #7  0x00005555555665ea in nvme__ctrlr_admin (ctrlr=0x55555558e2b0, cmd=0x7fffffffe280, buf=0x55555558e4b8, len=4096, cpl=0x0) at ./nvme.h:6835
#> #8  0x0000555555567a85 in nvme_ctrlr_cmd_identify (ctrlr=0x55555558e2b0, cns=1, nsid=0, data=0x55555558e4b8) at ./nvme.h:7196
#> #9  0x0000555555567b42 in nvme_ctrlr_identify (ctrlr=0x55555558e2b0) at ./nvme.h:7219
#> #10 0x00005555555697fa in nvme_ctrlr_process_init (ctrlr=0x55555558e2b0) at ./nvme.h:7643
#> #11 0x000055555556b027 in nvme_attach (addr=0x7fffffffe99a "soft", opts=0x7fffffffe4c0, out=0x7fffffffe530) at ./nvme.h:8099
#> #12 0x0000555555579986 in open_device (device=0x7fffffffe99a "soft", ctrlr=0x7fffffffe530) at examples/device.h:53
#> #13 0x000055555557a5a9 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:144

# A blocking admin command waits in nvme_wait_for_completion(), which polls until the completion is
# there. Polling is where completions are taken, by nvme__qpair_reap(), and so where this doorbell
# is rung.

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
#> Temporary breakpoint 2 at 0x555555562ba0: file ./nvme.h, line 5618.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x55555558e2b0, offset=4100, val=1) at ./nvme.h:5618
#> 5618		if (nvme__unlikely(dev->log->verbose))
nvme write
#> 1004h  CQ0HDBL  <- 1: the new head of queue 0 is slot 1

# ---- Second place: creation of a queue pair --------------------------------------------------

disable 1
tbreak nvme_ctrlr_cmd_create_io_cq
#> Temporary breakpoint 3 at 0x555555569879: file ./nvme.h, line 7665.
continue
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> Temporary breakpoint 3, nvme_ctrlr_cmd_create_io_cq (ctrlr=0x55555558e2b0, qp=0x5555555a7020, cpl=0x7fffffffe430) at ./nvme.h:7665
#> 7665		memset(&cmd, 0, sizeof(cmd));
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> 5752		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> #1  0x0000555555565793 in nvme__qpair_reap (qp=0x5555555a49d0, max=32) at ./nvme.h:6525
#> #2  0x000055555556585f in nvme_qpair_process_completions (qp=0x5555555a49d0, max=0) at ./nvme.h:6538
#> #3  0x0000555555565d41 in nvme__wait_a_little (qp=0x5555555a49d0, deadline=30020) at ./nvme.h:6669
#> #4  0x0000555555565e53 in nvme_wait_for_completion (qp=0x5555555a49d0, sync=0x7fffffffe2a0, deadline=30020) at ./nvme.h:6694
#> #5  0x0000555555566020 in nvme__submit_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe3c0, buf=0x0, len=0, bounce=0x0, cpl=0x7fffffffe430) at ./nvme.h:6730
#> #6  0x00005555555663f9 in nvme__command_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe430) at ./nvme.h:6802
#> #7  0x00005555555665ea in nvme__ctrlr_admin (ctrlr=0x55555558e2b0, cmd=0x7fffffffe3c0, buf=0x0, len=0, cpl=0x7fffffffe430) at ./nvme.h:6835
#> #8  0x000055555556991c in nvme_ctrlr_cmd_create_io_cq (ctrlr=0x55555558e2b0, qp=0x5555555a7020, cpl=0x7fffffffe430) at ./nvme.h:7670
#> #9  0x0000555555569ff9 in nvme__ctrlr_connect_io_qpair (ctrlr=0x55555558e2b0, qp=0x5555555a7020) at ./nvme.h:7789
#> #10 0x000055555556a257 in nvme_ctrlr_alloc_io_qpair (ctrlr=0x55555558e2b0, user_opts=0x0, out=0x7fffffffe4f0) at ./nvme.h:7831
#> #11 0x000055555557a38a in hello_world (ctrlr=0x55555558e2b0, look_first=false, io=0x7fffffffe53a) at examples/hello_world.c:112
#> #12 0x000055555557a623 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:148

# Frames 0 to 7 are the same functions as before. Create I/O Completion Queue is an admin command
# like any other, so this is the doorbell of queue 0 once more:

nvme last
#> last command on queue 0, slot 5:
#>   CREATE IO CQ cid:0 QID:1 QSIZE:256 entries PC:1 IEN:0 IV:0 PRP1:0x20b000 PRP2:0x0
#> last completion on queue 0, slot 5, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:0 sqhd:6 cdw0:0 p:1

# ---- Third place: the program polls ----------------------------------------------------------

disable 1
tbreak nvme_ns_cmd_write
#> Temporary breakpoint 4 at 0x55555556b8dd: file ./nvme.h, line 8257.
continue
#> INFO: using host memory buffer for IO
#> Temporary breakpoint 4, nvme_ns_cmd_write (ns=0x5555555a5fc0, qp=0x5555555a7020, buf=0x7fff77c8c000, slba=0, nlb=1, cb=0x555555579fc3 <io_complete>, arg=0x7fffffffe53a, io_flags=0) at ./nvme.h:8257
#> 8257		return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555a7020) at ./nvme.h:5752
#> 5752		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555a7020) at ./nvme.h:5752
#> #1  0x0000555555565793 in nvme__qpair_reap (qp=0x5555555a7020, max=256) at ./nvme.h:6525
#> #2  0x000055555556585f in nvme_qpair_process_completions (qp=0x5555555a7020, max=0) at ./nvme.h:6538
#> #3  0x000055555557a04b in wait_for (ctrlr=0x55555558e2b0, qp=0x5555555a7020, io=0x7fffffffe53a) at examples/hello_world.c:48
#> #4  0x000055555557a135 in write_and_read (ns=0x5555555a5fc0, qp=0x5555555a7020, buf=0x7fff77c8c000 "Hello world!\n", io=0x7fffffffe53a) at examples/hello_world.c:68
#> #5  0x000055555557a424 in hello_world (ctrlr=0x55555558e2b0, look_first=false, io=0x7fffffffe53a) at examples/hello_world.c:121
#> #6  0x000055555557a623 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:148

# Here the example itself calls nvme_qpair_process_completions(), in its loop wait_for(), and this
# time it is the doorbell of queue 1.

nvme last
#> last command on queue 1, slot 0:
#>   WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28c000 PRP2:0x0
#> last completion on queue 1, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0 p:1
print/x qp->cq_hdbl
#> $1 = 0x100c

# By now the callback has run, although the doorbell has not been rung yet:

frame function wait_for
#> #3  0x000055555557a04b in wait_for (ctrlr=0x55555558e2b0, qp=0x5555555a7020, io=0x7fffffffe53a) at examples/hello_world.c:48
#> 48			int rc = nvme_qpair_process_completions(qp, 0);
print *io
#> $2 = {done = true, failed = false}

# That is the order on purpose: the entry was copied out of the ring before the callback, so nothing
# is lost, and one doorbell at the end serves a whole batch of completions.

# ---- And a fourth ----------------------------------------------------------------------------

disable 1
tbreak nvme_ctrlr_free_io_qpair
#> Temporary breakpoint 5 at 0x55555556a40d: file ./nvme.h, line 7882.
continue
#> Hello world!
#> Temporary breakpoint 5, nvme_ctrlr_free_io_qpair (qp=0x5555555a7020) at ./nvme.h:7882
#> 7882		if (qp == NULL)
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> 5752		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace 12
#> #0  nvme_ring_cq_doorbell (qp=0x5555555a49d0) at ./nvme.h:5752
#> #1  0x0000555555565793 in nvme__qpair_reap (qp=0x5555555a49d0, max=32) at ./nvme.h:6525
#> #2  0x000055555556585f in nvme_qpair_process_completions (qp=0x5555555a49d0, max=0) at ./nvme.h:6538
#> #3  0x0000555555565d41 in nvme__wait_a_little (qp=0x5555555a49d0, deadline=30040) at ./nvme.h:6669
#> #4  0x0000555555565e53 in nvme_wait_for_completion (qp=0x5555555a49d0, sync=0x7fffffffe2e0, deadline=30040) at ./nvme.h:6694
#> #5  0x0000555555566020 in nvme__submit_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe3f0, buf=0x0, len=0, bounce=0x0, cpl=0x7fffffffe370) at ./nvme.h:6730
#> #6  0x00005555555663f9 in nvme__command_and_wait (qp=0x5555555a49d0, cmd=0x7fffffffe3f0, buf=0x0, len=0, cpl=0x7fffffffe370) at ./nvme.h:6802
#> #7  0x00005555555665ea in nvme__ctrlr_admin (ctrlr=0x55555558e2b0, cmd=0x7fffffffe3f0, buf=0x0, len=0, cpl=0x0) at ./nvme.h:6835
#> #8  0x0000555555569a90 in nvme__ctrlr_cmd_delete_queue (ctrlr=0x55555558e2b0, opc=0 '\000', qid=1) at ./nvme.h:7695
#> #9  0x0000555555569aec in nvme_ctrlr_cmd_delete_io_sq (ctrlr=0x55555558e2b0, qp=0x5555555a7020) at ./nvme.h:7705
#> #10 0x000055555556a31e in nvme__qpair_delete (qp=0x5555555a7020) at ./nvme.h:7859
#> #11 0x000055555556a46d in nvme_ctrlr_free_io_qpair (qp=0x5555555a7020) at ./nvme.h:7887

# Deleting a queue takes admin commands too: frames 0 to 7 once more.

kill
#> [Inferior 1 (process 25958) killed]

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
