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
#> Breakpoint 1 at 0xcce9: file ./nvme.h, line 4864.
run
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> 4864		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> #1  0x0000555555562e45 in nvme_qpair_process_completions (qp=0x555555599360, max=32) at ./nvme.h:5499
#> #2  0x0000555555563192 in nvme__wait_a_little (qp=0x555555599360, deadline=30020) at ./nvme.h:5592
#> #3  0x00005555555632c8 in nvme_wait_for_completion (qp=0x555555599360, sync=0x7fffffffe190, deadline=30020) at ./nvme.h:5620
#> #4  0x00005555555633ea in nvme__submit_and_wait (qp=0x555555599360, cmd=0x7fffffffe2b0, buf=0x7fff77c06000, len=4096, cpl=0x7fffffffe220) at ./nvme.h:5642
#> #5  0x0000555555563541 in nvme__command_and_wait (qp=0x555555599360, cmd=0x7fffffffe2b0, buf=0x555555585498, len=4096, cpl=0x7fffffffe220) at ./nvme.h:5674
#> #6  0x0000555555567c70 in nvme_ctrlr_admin (ctrlr=0x5555555852a0, cmd=0x7fffffffe2b0, buf=0x555555585498, len=4096, cpl=0x0) at ./nvme.h:6901
#> #7  0x00005555555649be in nvme_ctrlr_cmd_identify (ctrlr=0x5555555852a0, cns=1, nsid=0, data=0x555555585498) at ./nvme.h:6020
#> #8  0x0000555555564a7b in nvme_ctrlr_identify (ctrlr=0x5555555852a0) at ./nvme.h:6043
#> #9  0x0000555555565c00 in nvme_ctrlr_process_init (ctrlr=0x5555555852a0) at ./nvme.h:6283
#> #10 0x00005555555671ba in nvme_attach (addr=0x7fffffffe99a "soft", opts=0x7fffffffe4c0, out=0x7fffffffe530) at ./nvme.h:6690
#> #11 0x00005555555753ab in open_device (device=0x7fffffffe99a "soft", ctrlr=0x7fffffffe530) at examples/device.h:35
#> #12 0x0000555555575ab2 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:129

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
#> Temporary breakpoint 2 at 0x5555555607b2: file ./nvme.h, line 4731.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x5555555852a0, offset=4100, val=1) at ./nvme.h:4731
#> 4731		if (nvme__unlikely(dev->log->verbose))
nvme write
#> 1004h  CQ0HDBL  <- 1: the new head of queue 0 is slot 1

# ---- Second place: creation of a queue pair --------------------------------------------------

disable 1
tbreak nvme_ctrlr_cmd_create_io_cq
#> Temporary breakpoint 3 at 0x555555565c7f: file ./nvme.h, line 6305.
continue
#> Temporary breakpoint 3, nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555852a0, qp=0x55555559b9e0, cpl=0x7fffffffe450) at ./nvme.h:6305
#> 6305		memset(&cmd, 0, sizeof(cmd));
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> 4864		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> #1  0x0000555555562e45 in nvme_qpair_process_completions (qp=0x555555599360, max=32) at ./nvme.h:5499
#> #2  0x0000555555563192 in nvme__wait_a_little (qp=0x555555599360, deadline=30070) at ./nvme.h:5592
#> #3  0x00005555555632c8 in nvme_wait_for_completion (qp=0x555555599360, sync=0x7fffffffe2c0, deadline=30070) at ./nvme.h:5620
#> #4  0x00005555555633ea in nvme__submit_and_wait (qp=0x555555599360, cmd=0x7fffffffe3e0, buf=0x0, len=0, cpl=0x7fffffffe450) at ./nvme.h:5642
#> #5  0x00005555555634cc in nvme__command_and_wait (qp=0x555555599360, cmd=0x7fffffffe3e0, buf=0x0, len=0, cpl=0x7fffffffe450) at ./nvme.h:5668
#> #6  0x0000555555567c70 in nvme_ctrlr_admin (ctrlr=0x5555555852a0, cmd=0x7fffffffe3e0, buf=0x0, len=0, cpl=0x7fffffffe450) at ./nvme.h:6901
#> #7  0x0000555555565d22 in nvme_ctrlr_cmd_create_io_cq (ctrlr=0x5555555852a0, qp=0x55555559b9e0, cpl=0x7fffffffe450) at ./nvme.h:6310
#> #8  0x000055555556632f in nvme__ctrlr_connect_io_qpair (ctrlr=0x5555555852a0, qp=0x55555559b9e0) at ./nvme.h:6416
#> #9  0x0000555555566573 in nvme_ctrlr_alloc_io_qpair (ctrlr=0x5555555852a0, user_opts=0x0, out=0x7fffffffe4f0) at ./nvme.h:6456
#> #10 0x00005555555758f1 in hello_world (ctrlr=0x5555555852a0, force=false) at examples/hello_world.c:106
#> #11 0x0000555555575ad2 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:132

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
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x55555559b9e0) at ./nvme.h:4864
#> 4864		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace
#> #0  nvme_ring_cq_doorbell (qp=0x55555559b9e0) at ./nvme.h:4864
#> #1  0x0000555555562e45 in nvme_qpair_process_completions (qp=0x55555559b9e0, max=256) at ./nvme.h:5499
#> #2  0x00005555555755ff in wait_for (qp=0x55555559b9e0, io=0x7fffffffe4c6) at examples/hello_world.c:38
#> #3  0x00005555555756c8 in write_and_read (ns=0x55555559a920, qp=0x55555559b9e0, buf=0x7fff77c8b000 "Hello world!\n") at examples/hello_world.c:56
#> #4  0x000055555557596e in hello_world (ctrlr=0x5555555852a0, force=false) at examples/hello_world.c:111
#> #5  0x0000555555575ad2 in main (argc=2, argv=0x7fffffffe668) at examples/hello_world.c:132

# Here the example itself calls nvme_qpair_process_completions(), in its loop wait_for(), and this
# time it is the doorbell of queue 1.

nvme last
#> last command on queue 1, slot 1:
#>   WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28b000 PRP2:0x0
#> last completion on queue 1, slot 1, taken by the driver:
#>   SUCCESS (00/00) cid:0 sqid:1 sqhd:2 cdw0:0 p:1
print/x qp->cq_hdbl
#> $1 = 0x100c

# By now the callback has run, although the doorbell has not been rung yet:

frame function wait_for
#> #2  0x00005555555755ff in wait_for (qp=0x55555559b9e0, io=0x7fffffffe4c6) at examples/hello_world.c:38
#> 38			int rc = nvme_qpair_process_completions(qp, 0);
print *io
#> $2 = {done = true, failed = false}

# That is the order on purpose: the entry was copied out of the ring before the callback, so nothing
# is lost, and one doorbell at the end serves a whole batch of completions.

# ---- And a fourth ----------------------------------------------------------------------------

disable 1
tbreak nvme_ctrlr_free_io_qpair
#> Temporary breakpoint 5 at 0x5555555665f5: file ./nvme.h, line 6480.
continue
#> Hello world!
#> Temporary breakpoint 5, nvme_ctrlr_free_io_qpair (qp=0x55555559b9e0) at ./nvme.h:6480
#> 6480		if (qp == NULL)
enable 1
continue
#> Breakpoint 1, nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> 4864		if (nvme__unlikely(qp->ctrlr->log.verbose))
backtrace 7
#> #0  nvme_ring_cq_doorbell (qp=0x555555599360) at ./nvme.h:4864
#> #1  0x0000555555562e45 in nvme_qpair_process_completions (qp=0x555555599360, max=32) at ./nvme.h:5499
#> #2  0x0000555555563192 in nvme__wait_a_little (qp=0x555555599360, deadline=30090) at ./nvme.h:5592
#> #3  0x00005555555632c8 in nvme_wait_for_completion (qp=0x555555599360, sync=0x7fffffffe320, deadline=30090) at ./nvme.h:5620
#> #4  0x00005555555633ea in nvme__submit_and_wait (qp=0x555555599360, cmd=0x7fffffffe430, buf=0x0, len=0, cpl=0x7fffffffe3b0) at ./nvme.h:5642
#> #5  0x00005555555634cc in nvme__command_and_wait (qp=0x555555599360, cmd=0x7fffffffe430, buf=0x0, len=0, cpl=0x7fffffffe3b0) at ./nvme.h:5668
#> #6  0x0000555555567c70 in nvme_ctrlr_admin (ctrlr=0x5555555852a0, cmd=0x7fffffffe430, buf=0x0, len=0, cpl=0x0) at ./nvme.h:6901

# Deleting a queue takes admin commands too.

kill
#> [Inferior 1 (process 761) killed]

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
