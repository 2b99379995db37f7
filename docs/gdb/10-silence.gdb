# SPDX-License-Identifier: MIT
#
# 10. A command that never comes back
# ===================================
#
# Goal: follow one command from the look that finds it to the end that a reset makes of it, in the word
# that the driver keeps of each.
#
# Read: Base 2.1, "Abort command"; §3.1.4.5 (CC.EN). In nvme.h, Book 2: nvme__qpair_watch() in >>watch,
# nvme__ladder_climb() in >>ladder, nvme_ctrlr_reset() in >>reset. From outside: docs/ladder.md.
#
# The example timeouts reads sixteen blocks, with half a second for each. The software controller never
# completes the read of block 8, and refuses the Abort.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/timeouts
source docs/gdb/nvme.py
set args --ladder 'soft:plan=on read lba 8 drop; on abort dw0 1'

# ---- The look that finds it ------------------------------------------------------------------
#
# A poll takes what is there and counts down watch_in. At 0 it calls the watch, which looks at the
# clock, at CSTS and at what is outstanding.

tbreak nvme__qpair_watch if qp->id == 1
#> Temporary breakpoint 1 at 0x28652: file ./nvme.h, line 14727.
run
#> Temporary breakpoint 1, nvme__qpair_watch (qp=0x5555555dca60) at ./nvme.h:14727
#> 14727		struct nvme_ctrlr *ctrlr = qp->ctrlr;
backtrace 2
#> #0  nvme__qpair_watch (qp=0x5555555dca60) at ./nvme.h:14727
#> #1  0x0000555555560add in nvme__qpair_reap (qp=0x5555555dca60, max=256) at ./nvme.h:2819
print qp->trackers[8].cmd
#> $1 = SQE READ = {opc = 02h, cid = 8, nsid = 1, PRP1 = 0x206000, PRP2 = 0x0, SLBA = 8, NLB = 1 block}

# 1: on its way, and no look has seen it yet. All the path of a command has done is to write the 1.

print qp->trackers[8].outstanding
#> $2 = 1
print qp->trackers[7].outstanding
#> $3 = 0
finish
#> 0x0000555555560add in nvme__qpair_reap (qp=0x5555555dca60, max=256) at ./nvme.h:2819
#> 2819		if (nvme__unlikely(--qp->watch_in == 0) && nvme__qpair_watch(qp) != 0)
#> Value returned is $4 = 0
print watcher.qp->trackers[8].outstanding & 1
#> $5 = 1
print watcher.qp->trackers[8].outstanding >> 1 & 3
#> $6 = 0
print watcher.qp->watch_in
#> $7 = 1024

# What to notice:
#  - Tracker 7 is free, its word is 0: that command has come back.
#  - The watch wrote the time into the word of tracker 8, with a rung of the ladder in bits 2:1 and a
#    1 in bit 0. From now on the command has an age.
#  - watch_in says how many polls the next look is away.

# ---- The first rung: look once more ----------------------------------------------------------

tbreak nvme__ladder_climb
#> Temporary breakpoint 2 at 0x55555557ce99: file ./nvme.h, line 14922.
continue
#> Temporary breakpoint 2, nvme__ladder_climb (qp=0x5555555dca60, tr=0x5555555dcff0, now=530, limit=500) at ./nvme.h:14922
#> 14922		uint32_t note = tr->outstanding, rung = nvme__note_rung(note);
print limit
#> $8 = 500
print nvme__note_rung(tr->outstanding)
#> $9 = 0
print nvme__note_age(tr->outstanding, now) >= limit
#> $10 = 1
finish
#> nvme__watch_commands (qp=0x5555555dca60, now=530) at ./nvme.h:14694
#> 14694			if (nvme__qpair_failed(qp) != 0)
print watcher.qp->watch_in
#> $11 = 1

# The age is above the limit, 500 ms. Nothing was sent: the next poll is to look again, watch_in is 1.

# ---- The second: Abort -----------------------------------------------------------------------

tbreak nvme_ctrlr_cmd_abort
#> Temporary breakpoint 3 at 0x555555576c1f: file ./nvme.h, line 12809.
continue
#> Temporary breakpoint 3, nvme_ctrlr_cmd_abort (ctrlr=0x5555555c12a0, qp=0x5555555dca60, cid=8, cb=0x55555557cc7c <nvme__ladder_abort_done>, arg=0x5555555c12a0) at ./nvme.h:12809
#> 12809		const struct nvme_qpair *aq = ctrlr->adminq, *of = qp != NULL ? qp : aq;
backtrace 4
#> #0  nvme_ctrlr_cmd_abort (ctrlr=0x5555555c12a0, qp=0x5555555dca60, cid=8, cb=0x55555557cc7c <nvme__ladder_abort_done>, arg=0x5555555c12a0) at ./nvme.h:12809
#> #1  0x000055555557ce6e in nvme__ladder_abort (qp=0x5555555dca60, tr=0x5555555dcff0) at ./nvme.h:14907
#> #2  0x000055555557cfb1 in nvme__ladder_climb (qp=0x5555555dca60, tr=0x5555555dcff0, now=540, limit=500) at ./nvme.h:14940
#> #3  0x000055555557c54e in nvme__watch_commands (qp=0x5555555dca60, now=540) at ./nvme.h:14693
print cid
#> $12 = 8
finish
#> 0x000055555557ce6e in nvme__ladder_abort (qp=0x5555555dca60, tr=0x5555555dcff0) at ./nvme.h:14907
#> 14907		rc = nvme_ctrlr_cmd_abort(ctrlr, qp, tr->cid, nvme__ladder_abort_done, ctrlr);
#> Value returned is $13 = 0

# The command that goes out is on the admin queue, and names the victim by queue and CID. The controller
# says in dword 0 of its completion that it has not aborted it. Nobody waits for that: the note starts
# anew, with rung 2 in it.

tbreak nvme__ladder_reset
#> Temporary breakpoint 4 at 0x55555557e935: file ./nvme.h, line 15533.
continue
#> Temporary breakpoint 4, nvme__ladder_reset (qp=0x5555555dca60) at ./nvme.h:15533
#> 15533		struct nvme_ctrlr *ctrlr = qp->ctrlr;
print nvme__note_rung(qp->trackers[8].outstanding)
#> $14 = 2

# ---- The third: a reset ----------------------------------------------------------------------

tbreak nvme__ctrlr_force_off
#> Temporary breakpoint 5 at 0x55555557ddf0: file ./nvme.h, line 15309.
continue
#> Temporary breakpoint 5, nvme__ctrlr_force_off (ctrlr=0x5555555c12a0) at ./nvme.h:15309
#> 15309		int rc = nvme__ctrlr_turn_off(ctrlr);
print watcher.qp->refuse
#> $15 = -6
print watcher.qp->failed
#> $16 = 0
tbreak nvme__ctrlr_bring_back
#> Temporary breakpoint 6 at 0x55555557e2cc: file ./nvme.h, line 15395.
continue
#> Temporary breakpoint 6, nvme__ctrlr_bring_back (ctrlr=0x5555555c12a0) at ./nvme.h:15395
#> 15395		rc = nvme_ctrlr_start(ctrlr);
print watcher.qp->failed
#> $17 = -6
print watcher.qp->trackers[8].outstanding != 0
#> $18 = 1

# First submissions are refused, -ENXIO. Then CC.EN is 0, the controller touches no memory any more, and
# polls get -ENXIO, too. The command is still there: to end it is its owner's part.

tbreak read_ended if cpl->status != 0
#> Temporary breakpoint 7 at 0x55555559d4d3: file examples/timeouts.c, line 104.
continue
#> [2026-11-22 01:27:37.420121] nvme.h:8654:nvme__tracker_abort: *ERROR*: aborting outstanding command
#> Temporary breakpoint 7, read_ended (arg=0x0, cpl=0x7fffffffe240) at examples/timeouts.c:104
#> 104		const uint8_t sct = (uint8_t)NVME_GET(cpl->status, NVME_CPL_SCT);
backtrace 4
#> #0  read_ended (arg=0x0, cpl=0x7fffffffe240) at examples/timeouts.c:104
#> #1  0x00005555555607b4 in nvme_complete_request (qp=0x5555555dca60, tr=0x5555555dcff0, cpl=0x7fffffffe240) at ./nvme.h:2734
#> #2  0x000055555556a429 in nvme__tracker_abort (qp=0x5555555dca60, tr=0x5555555dcff0) at ./nvme.h:8655
#> #3  0x000055555556a4ad in nvme__qpair_abort_outstanding (qp=0x5555555dca60, with_data=true) at ./nvme.h:8669
print *cpl
#> $19 = CQE ABORTED - SQ DELETION = {cdw0 = 0, sqhd = 0, sqid = 1, cid = 8, P = 0, SC = 8, SCT = 0, CRD = 0, M = 0, DNR = 0}
print watcher.qp->trackers[8].outstanding
#> $20 = 0

# 0 before the callback runs: from there the CID and the buffer can be used again.

delete
continue
#>   0.5 s  [soft] command 8 of queue 1, opcode 02h, is late: the controller is asked to abort it
#>   1.0 s  [soft] command 8 of queue 1, opcode 02h, is late: the controller is reset
#>   1.0 s  [soft] resetting controller
#>   1.1 s  [soft] the controller did not abort the late command
#>   1.1 s  READ sqid:1 cid:8 nsid:1 lba:8 len:1 PRP1 0x206000 PRP2 0x0
#>   1.1 s  ABORTED - SQ DELETION (00/08) qid:1 cid:8 cdw0:0 sqhd:0000 p:0 m:0 dnr:0
#>   1.1 s  a read ends: ABORTED - SQ DELETION
#>   1.1 s  the queue pair was ended by a reset: it is connected again
#>   1.1 s  15 reads complete, 1 aborted, 0 failed; the controller works
#> [Inferior 1 (process 18227) exited normally]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Why is there no time in the word when the command is sent?
# b) A queue pair is polled once a second. When is the read of block 8 noticed?
# c) Which rungs has a late Identify?
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
# a) To read the clock costs more than all else that a submission does. A 1 costs one store.
# b) By the third look at the earliest: one notes it, one finds it late, one acts. The first look comes
#    after 1024 polls.
# c) Two: look once more, and the reset. An Abort would go through the same queue, which does not
#    answer.
