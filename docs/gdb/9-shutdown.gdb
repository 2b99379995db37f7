# SPDX-License-Identifier: MIT
#
# 9. Shutdown, and what becomes of outstanding commands
# =====================================================
#
# Goal: see the way down: queues, notification, CC.EN; and what the callbacks of commands are told
# that nobody will complete any more.
#
# Read: Base 2.1 §3.1.4.5 (CC.SHN), §3.1.4.6 (CSTS.SHST). In nvme.h: nvme_detach() in >>attach,
# nvme__qpair_delete() in >>qpair, nvme_ctrlr_shutdown() in >>enable, and in Book 2
# nvme__qpair_abort_outstanding() in >>unusual.
#
# The program docs/gdb/leave.c sends two commands and detaches without waiting: a read, and an
# Asynchronous Event Request. The latter is meant to stay: a controller keeps it until it has
# something to tell.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/leave
source docs/gdb/nvme.py
set args soft

# ---- Two commands are on their way -----------------------------------------------------------

break nvme_detach
#> Breakpoint 1 at 0x1033c: file ./nvme.h, line 4126.
run
#> Breakpoint 1, nvme_detach (ctrlr=0x5555555c02a0) at ./nvme.h:4126
#> 4126		int rc = ctrlr != NULL ? nvme_ctrlr_destruct_async(ctrlr) : 0;
nvme ring 0
#> Queue pair 0 of 'soft': 1 command outstanding, room for 31
#> SQ 0: 32 entries at IOVA 0x200000, tail 8, head 7 (SQHD of the last completion taken)
#>       the controller itself is at head 8
#>       0-5       done before
#>       6         CREATE IO SQ cid:0 QID:1 QSIZE:256 entries PC:1 QPRIO:0 CQID:1 PRP1:0x205000 PRP2:0x0  (done)
#>   H   7         ASYNC EVENT REQUEST cid:0  <- outstanding
#>    T  8         empty
#>       9-31      empty
#> CQ 0: 32 entries at IOVA 0x201000, head 7, a new entry has phase 1
#>       0-5       p:1 taken before
#>       6         p:1 SUCCESS (00/00) cid:0 sqid:0 sqhd:7 cdw0:0  (taken)
#>   H   7         p:0 empty
#>       8-31      p:0 empty
nvme ring 1
#> Queue pair 1 of 'soft': 1 command outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>   H   0         READ cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28a000 PRP2:0x0  <- outstanding
#>    T  1         empty
#>       2-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0  <- new
#>       1-255     p:0 empty

# The read is complete as far as the controller is concerned: its CQE is there and new. But nobody
# has looked, so for the host it is still outstanding. The event request has no completion.

# ---- First the I/O queue goes ----------------------------------------------------------------

tbreak nvme_ctrlr_cmd_delete_io_sq
#> Temporary breakpoint 2 at 0x555555563525: file ./nvme.h, line 3775.
continue
#> Temporary breakpoint 2, nvme_ctrlr_cmd_delete_io_sq (ctrlr=0x5555555c02a0, qp=0x5555555dba30) at ./nvme.h:3775
#> 3775		return nvme__ctrlr_cmd_delete_queue(ctrlr, NVME_OPC_DELETE_IO_SQ, qp->id);
backtrace
#> #0  nvme_ctrlr_cmd_delete_io_sq (ctrlr=0x5555555c02a0, qp=0x5555555dba30) at ./nvme.h:3775
#> #1  0x0000555555563b4c in nvme__qpair_disconnect (qp=0x5555555dba30) at ./nvme.h:3936
#> #2  0x0000555555563c31 in nvme__qpair_delete (qp=0x5555555dba30) at ./nvme.h:3955
#> #3  0x000055555556426f in nvme_ctrlr_destruct_async (ctrlr=0x5555555c02a0) at ./nvme.h:4116
#> #4  0x000055555556434f in nvme_detach (ctrlr=0x5555555c02a0) at ./nvme.h:4126
#> #5  0x000055555559d227 in main (argc=2, argv=0x7fffffffe638) at docs/gdb/leave.c:41
break ended
#> Breakpoint 3 at 0x55555559d025: file docs/gdb/leave.c, line 14.
continue
#> Breakpoint 3, ended (arg=0x7fffffffe4b7, cpl=0x7fffffffe380) at docs/gdb/leave.c:14
#> 14		const char *what = arg;

# Who called back, and why now?

backtrace 5
#> #0  ended (arg=0x7fffffffe4b7, cpl=0x7fffffffe380) at docs/gdb/leave.c:14
#> #1  0x0000555555560774 in nvme_complete_request (qp=0x5555555dba30, tr=0x5555555dbbc0, cpl=0x7fffffffe380) at ./nvme.h:2734
#> #2  0x0000555555560877 in nvme__qpair_take_cqe (qp=0x5555555dba30, cpl=0x7fffffffe380) at ./nvme.h:2752
#> #3  0x00005555555609fc in nvme__qpair_reap (qp=0x5555555dba30, max=256) at ./nvme.h:2812
#> #4  0x0000555555563b92 in nvme__qpair_disconnect (qp=0x5555555dba30) at ./nvme.h:3940
print *cpl
#> $1 = CQE SUCCESS = {cdw0 = 0, sqhd = 1, sqid = 1, cid = 0, P = 1, SC = 0, SCT = 0, CRD = 0, M = 0, DNR = 0}

# When the controller has deleted the submission queue, it is done with its commands and their data.
# So now the driver polls the completion queue once more: what was completed before is told as it
# was. The order matters: polling rings the doorbell of the completion queue, which must still exist
# for that.

# ---- Then what is left -----------------------------------------------------------------------

continue
#> the read ended with SUCCESS
#> [2026-11-22 01:27:44.594484] nvme.h:8654:nvme__tracker_abort: *ERROR*: aborting outstanding command
#> [2026-11-22 01:27:44.594534] nvme.h:19314:nvme_qpair_print_command: *NOTICE*: ASYNC EVENT REQUEST (0c) qid:0 cid:0 nsid:0 cdw10:00000000 cdw11:00000000
#> [2026-11-22 01:27:44.594541] nvme.h:19363:nvme_qpair_print_completion: *NOTICE*: ABORTED - SQ DELETION (00/08) qid:0 cid:0 cdw0:0 sqhd:0000 p:0 m:0 dnr:0
#> Breakpoint 3, ended (arg=0x7fffffffe4a0, cpl=0x7fffffffe3c0) at docs/gdb/leave.c:14
#> 14		const char *what = arg;
backtrace 4
#> #0  ended (arg=0x7fffffffe4a0, cpl=0x7fffffffe3c0) at docs/gdb/leave.c:14
#> #1  0x0000555555560774 in nvme_complete_request (qp=0x5555555d83a0, tr=0x5555555d8530, cpl=0x7fffffffe3c0) at ./nvme.h:2734
#> #2  0x000055555556a3e9 in nvme__tracker_abort (qp=0x5555555d83a0, tr=0x5555555d8530) at ./nvme.h:8655
#> #3  0x000055555556a46d in nvme__qpair_abort_outstanding (qp=0x5555555d83a0, with_data=false) at ./nvme.h:8669
print *cpl
#> $2 = CQE ABORTED - SQ DELETION = {cdw0 = 0, sqhd = 0, sqid = 0, cid = 0, P = 0, SC = 8, SCT = 0, CRD = 0, M = 0, DNR = 0}

# This completion was not written by the controller. The driver made it up, in
# nvme__qpair_abort_outstanding(), so that every command gets exactly one callback: the one who sent
# it may have memory to release. 'ABORTED - SQ DELETION' is what a controller itself would say of
# commands in a queue that is deleted.
#
# An event request has no data, so it can end before the shutdown. That is what 'with_data=false' in
# frame 2 means. The end of an admin command with data is told later, when the controller is off and
# can reach the data no more.

# ---- The notification ------------------------------------------------------------------------

delete
break nvme_mmio_write_4
#> Breakpoint 4 at 0x55555555e7d4: file ./nvme.h, line 1824.
continue
#> the event request ended with ABORTED - SQ DELETION
#> Breakpoint 4, nvme_mmio_write_4 (dev=0x5555555c02a0, offset=20, val=4604001) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 0014h  CC       <- 464061h
#>   24     CRIME   0      no                              Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes                        I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes                        I/O Submission Queue Entry Size
#>   15:14  SHN     1      normal shutdown notification    Shutdown Notification
#>   13:11  AMS     0      round robin                     Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes                      Memory Page Size
#>   6:4    CSS     6      all supported I/O command sets  I/O Command Set Selected
#>   0      EN      1      enabled                         Enable

# SHN = 1, normal shutdown: "power goes off soon, bring home what you have in your caches". EN is
# still 1. The controller answers in CSTS.SHST, and the driver waits until it says "complete":

finish
#> nvme__reg_write_4 (dev=0x5555555c02a0, offset=20, val=4604001) at ./nvme.h:1876
#> 1876	}
nvme regs CSTS
#> CSTS = 00000005h (decimal 5)
#>   6      ST      0      controller shutdown            Shutdown Type
#>   5      PP      0      no                             Processing Paused
#>   4      NSSRO   0      no                             NVM Subsystem Reset Occurred
#>   3:2    SHST    1      shutdown processing occurring  Shutdown Status
#>   1      CFS     0      no fatal error                 Controller Fatal Status
#>   0      RDY     1      ready                          Ready
tbreak nvme__ctrlr_turn_off
#> Temporary breakpoint 5 at 0x555555561e38: file ./nvme.h, line 3276.
continue
#> Temporary breakpoint 5, nvme__ctrlr_turn_off (ctrlr=0x5555555c02a0) at ./nvme.h:3276
#> 3276		if (nvme__ctrlr_check_csts(ctrlr, &csts) == -ENODEV || nvme__ctrlr_read_cc(ctrlr, &cc) != 0)
nvme regs CSTS
#> CSTS = 00000009h (decimal 9)
#>   6      ST      0      controller shutdown           Shutdown Type
#>   5      PP      0      no                            Processing Paused
#>   4      NSSRO   0      no                            NVM Subsystem Reset Occurred
#>   3:2    SHST    2      shutdown processing complete  Shutdown Status
#>   1      CFS     0      no fatal error                Controller Fatal Status
#>   0      RDY     1      ready                         Ready

# Only after that EN is cleared:

continue
#> Breakpoint 4, nvme_mmio_write_4 (dev=0x5555555c02a0, offset=20, val=4604000) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 0014h  CC       <- 464060h
#>   24     CRIME   0      no                              Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes                        I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes                        I/O Submission Queue Entry Size
#>   15:14  SHN     1      normal shutdown notification    Shutdown Notification
#>   13:11  AMS     0      round robin                     Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes                      Memory Page Size
#>   6:4    CSS     6      all supported I/O command sets  I/O Command Set Selected
#>   0      EN      0      disabled                        Enable

# The last write of the program. SHN keeps its 1. The strange value at the start of walkthrough 1 is
# the same with another command set selected: there the last owner had notified the controller but
# left EN at 1, and the next one had to clear it.

finish
#> nvme__reg_write_4 (dev=0x5555555c02a0, offset=20, val=4604000) at ./nvme.h:1876
#> 1876	}
nvme regs CSTS
#> CSTS = 00000000h (decimal 0)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     0      not ready            Ready
delete
continue
#> [Inferior 1 (process 18881) exited normally]

# ---- Questions -------------------------------------------------------------------------------
#
# a) What would be lost without the notification, and when?
# b) Why may the driver not release the memory of the rings as its first step?
# c) Which memory is still mapped for the controller when EN has gone to 0, and why is that
#    harmless?
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
# a) What is in a volatile write cache, if the power fails afterwards. The disk also counts an
#    unsafe shutdown, and may take longer to start the next time.
# b) The controller would go on writing there: into memory that may hold something else by then.
# c) All of it. Once CSTS.RDY is 0 the controller does not start any access of its own any more. And
#    unmapping is what the driver does next (nvme__dma_cut_off), before the last callbacks run and
#    before any memory is released.
