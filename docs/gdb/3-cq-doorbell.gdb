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
#> Breakpoint 1 at 0xb17f: file ./nvme.h, line 2138.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> 2138		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> #1  0x0000555555560aac in nvme__qpair_reap (qp=0x5555555db8c0, max=32) at ./nvme.h:2818
#> #2  0x0000555555560bd6 in nvme_qpair_process_completions (qp=0x5555555db8c0, max=0) at ./nvme.h:2846
#> #3  0x0000555555560e0e in nvme__wait_a_little (qp=0x5555555db8c0, deadline=30020) at ./nvme.h:2926
#> #4  0x0000555555560e75 in nvme_wait_for_completion (qp=0x5555555db8c0, sync=0x7fffffffdda0, deadline=30020) at ./nvme.h:2943
#> #5  0x000055555556105f in nvme__submit_and_wait (qp=0x5555555db8c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, lent=0x0, cpl=0x7fffffffde60) at ./nvme.h:2983
#> #6  0x0000555555561129 in nvme__ctrlr_admin (ctrlr=0x5555555c37c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, cpl=0x7fffffffde60) at ./nvme.h:3003
#> #7  0x000055555556251b in nvme_ctrlr_cmd_identify (ctrlr=0x5555555c37c0, cns=1, nsid=0, csi=0, data=0x5555555c39f0) at ./nvme.h:3410
#> #8  0x00005555555625f6 in nvme_ctrlr_identify (ctrlr=0x5555555c37c0) at ./nvme.h:3440
#> #9  0x0000555555563247 in nvme__ctrlr_bring_up (ctrlr=0x5555555c37c0) at ./nvme.h:3689
#> #10 0x00005555555632c7 in nvme_ctrlr_process_init (ctrlr=0x5555555c37c0) at ./nvme.h:3706
#> #11 0x000055555556416e in nvme_attach (addr=0x5555555c3344 "soft", opts=0x5555555c3748, out=0x5555555c3338) at ./nvme.h:4076
#> #12 0x00005555555675ec in nvme__probe_work (job=0x5555555c3320) at ./nvme.h:7673
#> #13 0x00005555555673c3 in nvme__job_run (job=0x5555555c3320) at ./nvme.h:7583
#> #14 0x0000555555567536 in nvme__job_poll (list=0x5555555c32b0) at ./nvme.h:7635
#> #15 0x0000555555568433 in nvme_probe_poll_async (ctx=0x5555555c32b0) at ./nvme.h:7933
#> #16 0x00005555555684e9 in nvme_probe (trid=0x0, ctx=0x5555555c15a0 <disks>, probe_cb=0x55555559db88 <probe_cb>, attach_cb=0x55555559dbc2 <attach_cb>, opts=0x7fffffffe0d0) at ./nvme.h:7954
#> #17 0x000055555559e070 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:202

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
#> Temporary breakpoint 2 at 0x55555555e814: file ./nvme.h, line 1824.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=4100, val=1) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 1004h  CQ0HDBL  <- 1: the new head of queue 0 is slot 1

# ---- Second place: creation of a queue pair --------------------------------------------------

disable 1
tbreak nvme_ctrlr_cmd_create_io_cq
#> Temporary breakpoint 3 at 0x55555556330b: file ./nvme.h, line 3730.
continue
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> Temporary breakpoint 3, nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555c37c0, qp=0x5555555c3320, cpl=0x7fffffffdf70) at ./nvme.h:3730
#> 3730		nvme__cmd_init(&cmd, NVME_OPC_CREATE_IO_CQ, 0);
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> 2138		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> #1  0x0000555555560aac in nvme__qpair_reap (qp=0x5555555db8c0, max=32) at ./nvme.h:2818
#> #2  0x0000555555560bd6 in nvme_qpair_process_completions (qp=0x5555555db8c0, max=0) at ./nvme.h:2846
#> #3  0x0000555555560e0e in nvme__wait_a_little (qp=0x5555555db8c0, deadline=30020) at ./nvme.h:2926
#> #4  0x0000555555560e75 in nvme_wait_for_completion (qp=0x5555555db8c0, sync=0x7fffffffde40, deadline=30020) at ./nvme.h:2943
#> #5  0x000055555556105f in nvme__submit_and_wait (qp=0x5555555db8c0, cmd=0x7fffffffdf00, buf=0x0, len=0, lent=0x0, cpl=0x7fffffffdf70) at ./nvme.h:2983
#> #6  0x0000555555561129 in nvme__ctrlr_admin (ctrlr=0x5555555c37c0, cmd=0x7fffffffdf00, buf=0x0, len=0, cpl=0x7fffffffdf70) at ./nvme.h:3003
#> #7  0x00005555555633ba in nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555c37c0, qp=0x5555555c3320, cpl=0x7fffffffdf70) at ./nvme.h:3735
#> #8  0x000055555556370b in nvme__ctrlr_connect_io_qpair (ctrlr=0x5555555c37c0, qp=0x5555555c3320) at ./nvme.h:3834
#> #9  0x000055555556389a in nvme__ctrlr_create_io_qpair (ctrlr=0x5555555c37c0, qid=1, opts=0x7fffffffe000, out=0x7fffffffe088) at ./nvme.h:3865
#> #10 0x0000555555563a84 in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555c37c0, user_opts=0x0, out=0x7fffffffe088) at ./nvme.h:3904
#> #11 0x000055555559dd50 in hello_world (disk=0x5555555c15a0 <disks>) at examples/hello_world.c:154
#> #12 0x000055555559e0e8 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:208

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
#> Temporary breakpoint 4 at 0x555555564801: file ./nvme.h, line 4227.
continue
#> INFO: using host memory buffer for IO
#> Temporary breakpoint 4, nvme_ns_cmd_write (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4227
#> 4227		return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555c3320, count=1) at ./nvme.h:2138
#> 2138		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x5555555c3320, count=1) at ./nvme.h:2138
#> #1  0x0000555555560aac in nvme__qpair_reap (qp=0x5555555c3320, max=256) at ./nvme.h:2818
#> #2  0x0000555555560bd6 in nvme_qpair_process_completions (qp=0x5555555c3320, max=0) at ./nvme.h:2846
#> #3  0x000055555559d8e2 in wait_for (ctrlr=0x5555555c37c0, qp=0x5555555c3320, io=0x5555555c15a9 <disks+9>) at examples/hello_world.c:49
#> #4  0x000055555559d9cc in write_and_read (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000 "Hello world!\n", io=0x5555555c15a9 <disks+9>) at examples/hello_world.c:69
#> #5  0x000055555559ddf4 in hello_world (disk=0x5555555c15a0 <disks>) at examples/hello_world.c:163
#> #6  0x000055555559e0e8 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:208

# Here the example itself calls nvme_qpair_process_completions(), in its loop wait_for(), and this
# time it is the doorbell of queue 1.

nvme last
#> last command on queue 1, slot 0:
#>   WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28a000 PRP2:0x0
#> last completion on queue 1, slot 0, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0 p:1
print/x qp->cq_hdbl
#> $1 = 0x100c

# By now the callback has run, although the doorbell has not been rung yet:

frame function wait_for
#> #3  0x000055555559d8e2 in wait_for (ctrlr=0x5555555c37c0, qp=0x5555555c3320, io=0x5555555c15a9 <disks+9>) at examples/hello_world.c:49
#> 49			int rc = nvme_qpair_process_completions(qp, 0);
print *io
#> $2 = {done = true, failed = false}

# That is the order on purpose: the entry was copied out of the ring before the callback, so nothing
# is lost, and one doorbell at the end serves a whole batch of completions.

# ---- And a fourth ----------------------------------------------------------------------------

disable 1
tbreak nvme_ctrlr_free_io_qpair
#> Temporary breakpoint 5 at 0x555555563cd4: file ./nvme.h, line 3970.
continue
#> Hello world!
#> Temporary breakpoint 5, nvme_ctrlr_free_io_qpair (qp=0x5555555c3320) at ./nvme.h:3970
#> 3970		if (qp == NULL)
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> 2138		if (nvme__unlikely(qp->unusual != 0) && nvme__cq_doorbell_unusual(qp, count))
backtrace 12
#> #0  nvme_ring_cq_doorbell (qp=0x5555555db8c0, count=1) at ./nvme.h:2138
#> #1  0x0000555555560aac in nvme__qpair_reap (qp=0x5555555db8c0, max=32) at ./nvme.h:2818
#> #2  0x0000555555560bd6 in nvme_qpair_process_completions (qp=0x5555555db8c0, max=0) at ./nvme.h:2846
#> #3  0x0000555555560e0e in nvme__wait_a_little (qp=0x5555555db8c0, deadline=30040) at ./nvme.h:2926
#> #4  0x0000555555560e75 in nvme_wait_for_completion (qp=0x5555555db8c0, sync=0x7fffffffdeb0, deadline=30040) at ./nvme.h:2943
#> #5  0x000055555556105f in nvme__submit_and_wait (qp=0x5555555db8c0, cmd=0x7fffffffdf70, buf=0x0, len=0, lent=0x0, cpl=0x7fffffffdf60) at ./nvme.h:2983
#> #6  0x0000555555561129 in nvme__ctrlr_admin (ctrlr=0x5555555c37c0, cmd=0x7fffffffdf70, buf=0x0, len=0, cpl=0x7fffffffdf60) at ./nvme.h:3003
#> #7  0x0000555555563525 in nvme__ctrlr_cmd_delete_queue (ctrlr=0x5555555c37c0, opc=0 '\000', qid=1) at ./nvme.h:3765
#> #8  0x0000555555563581 in nvme_ctrlr_cmd_delete_io_sq (ctrlr=0x5555555c37c0, qp=0x5555555c3320) at ./nvme.h:3775
#> #9  0x0000555555563b8c in nvme__qpair_disconnect (qp=0x5555555c3320) at ./nvme.h:3936
#> #10 0x0000555555563c71 in nvme__qpair_delete (qp=0x5555555c3320) at ./nvme.h:3955
#> #11 0x0000555555563d43 in nvme_ctrlr_free_io_qpair (qp=0x5555555c3320) at ./nvme.h:3975

# Deleting a queue takes admin commands too: frames 0 to 6 once more.

kill
#> [Inferior 1 (process 18335) killed]

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
