# SPDX-License-Identifier: MIT
#
# 7. The phase bit, and what happens at the end of the ring
# =========================================================
#
# Goal: see how the host tells a new completion from an old one without asking the controller.
#
# Read: Base 2.1 §4.2.4 (phase tag). In nvme.h: nvme__qpair_read_cqe() and nvme__qpair_reap() in
# >>complete.
#
# A ring of 256 entries takes long to come round. The program docs/gdb/wrap.c makes one of four and
# sends six reads, one after the other.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/wrap
source docs/gdb/nvme.py
set args soft

# ---- Before the first command ----------------------------------------------------------------

break read_once
#> Breakpoint 1 at 0x49022: file docs/gdb/wrap.c, line 18.
run
#> Breakpoint 1, read_once (ns=0x5555555d99c0, qp=0x5555555dba60, buf=0x7fff77c05000, lba=0) at docs/gdb/wrap.c:18
#> 18		bool done = false;
nvme ring 1
#> Queue pair 1 of 'soft': 0 commands outstanding, room for 3
#> SQ 1: 4 entries at IOVA 0x206000, tail 0, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   HT  0         empty
#>       1         empty
#>       2         empty
#>       3         empty
#> CQ 1: 4 entries at IOVA 0x207000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1         p:0 empty
#>       2         p:0 empty
#>       3         p:0 empty

# Memory that was never written has phase 0, and the driver waits for phase 1. Both sides have
# agreed on that: the host clears the memory, the controller starts with 1.

# ---- The first lap ---------------------------------------------------------------------------
#
# Stop in the function that looks at the entry, when something is there to be seen:

break nvme__qpair_read_cqe if qp->id == 1 && (qp->cq[qp->cq_head].status & 1) == qp->phase
#> Breakpoint 2 at 0x555555560865: file ./nvme.h, line 2766.
continue
#> Breakpoint 2, nvme__qpair_read_cqe (qp=0x5555555dba60, cpl=0x7fffffffe3e0) at ./nvme.h:2766
#> 2766		const struct nvme_cpl *slot = &qp->cq[qp->cq_head];
nvme ring
#> Queue pair 1 of 'soft': 1 command outstanding, room for 3
#> SQ 1: 4 entries at IOVA 0x206000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>   H   0         READ cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x205000 PRP2:0x0  <- outstanding
#>    T  1         empty
#>       2         empty
#>       3         empty
#> CQ 1: 4 entries at IOVA 0x207000, head 0, a new entry has phase 1
#>   H   0         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0  <- new
#>       1         p:0 empty
#>       2         p:0 empty
#>       3         p:0 empty

# The entry at H is new. That is all that the driver looks at: one bit in memory, no register. To
# read a register over a bus takes about a microsecond; memory that was not written to costs
# nothing, it is in the cache.
#
# Three more commands, without looking:

delete
break read_once if lba == 4
#> Breakpoint 3 at 0x55555559d022: file docs/gdb/wrap.c, line 18.
continue
#> Breakpoint 3, read_once (ns=0x5555555d99c0, qp=0x5555555dba60, buf=0x7fff77c05000, lba=4) at docs/gdb/wrap.c:18
#> 18		bool done = false;
nvme ring 1
#> Queue pair 1 of 'soft': 0 commands outstanding, room for 3
#> SQ 1: 4 entries at IOVA 0x206000, tail 0, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   HT  0         READ cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#>       1         READ cid:0 nsid:1 SLBA:1 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#>       2         READ cid:0 nsid:1 SLBA:2 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#>       3         READ cid:0 nsid:1 SLBA:3 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#> CQ 1: 4 entries at IOVA 0x207000, head 0, a new entry has phase 0
#>   H   0         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0  (taken)
#>       1         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:2 cdw0:0  (taken)
#>       2         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:3 cdw0:0  (taken)
#>       3         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:0 cdw0:0  (taken)

# All four slots were used once. The head is at slot 0 again, and something else has changed: a new
# entry has phase 0 now. Look at slot 0: its phase is 1. It is a completion, it is complete, its CID
# is even the right one; but it is old. Without the phase bit the driver would take it once more.

# ---- Where it flips --------------------------------------------------------------------------
#
# The driver flips the bit that it expects in the moment when its head comes round. Look at the
# fourth command of a new run. (The first line keeps gdb from using a debug register of the
# processor, which not every virtual machine has.)

set can-use-hw-watchpoints 0
delete
break read_once if lba == 3
#> Breakpoint 4 at 0x55555559d022: file docs/gdb/wrap.c, line 18.
run
#> Breakpoint 4, read_once (ns=0x5555555d99c0, qp=0x5555555dba60, buf=0x7fff77c05000, lba=3) at docs/gdb/wrap.c:18
#> 18		bool done = false;
watch -location qp->phase
#> Watchpoint 5: -location qp->phase
continue
#> Watchpoint 5: -location qp->phase
#> Old value = 1
#> New value = 0
#> nvme__qpair_next_slot (qp=0x5555555dba60) at ./nvme.h:2788
#> 2788	}
backtrace 2
#> #0  nvme__qpair_next_slot (qp=0x5555555dba60) at ./nvme.h:2788
#> #1  0x00005555555609c5 in nvme__qpair_reap (qp=0x5555555dba60, max=4) at ./nvme.h:2810

# ---- The second lap --------------------------------------------------------------------------

delete
break nvme__qpair_read_cqe if qp->id == 1 && qp->cq_head == 0 && qp->phase == 0 && !(qp->cq[0].status & 1)
#> Breakpoint 6 at 0x555555560865: file ./nvme.h, line 2766.
continue
#> Breakpoint 6, nvme__qpair_read_cqe (qp=0x5555555dba60, cpl=0x7fffffffe3e0) at ./nvme.h:2766
#> 2766		const struct nvme_cpl *slot = &qp->cq[qp->cq_head];
nvme ring
#> Queue pair 1 of 'soft': 1 command outstanding, room for 3
#> SQ 1: 4 entries at IOVA 0x206000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>   H   0         READ cid:0 nsid:1 SLBA:4 NLB:1 block PRP1:0x205000 PRP2:0x0  <- outstanding
#>    T  1         READ cid:0 nsid:1 SLBA:1 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#>       2         READ cid:0 nsid:1 SLBA:2 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#>       3         READ cid:0 nsid:1 SLBA:3 NLB:1 block PRP1:0x205000 PRP2:0x0  (done)
#> CQ 1: 4 entries at IOVA 0x207000, head 0, a new entry has phase 0
#>   H   0         p:0 SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0  <- new
#>       1         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:2 cdw0:0  (taken)
#>       2         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:3 cdw0:0  (taken)
#>       3         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:0 cdw0:0  (taken)

# The controller has written slot 0 again, with phase 0. New and old differ by one bit again:
# now 0 is new and 1 is old.

# What to notice:
#  - The submission queue has no phase bit. There the host is the producer, and it announces its
#    tail with a doorbell.
#  - 'sqhd' in the completions goes 1, 2, 3, 0, 1, ...: it wraps too, but it is a number.
#  - The ring of four has room for three commands.

kill
#> [Inferior 1 (process 18565) killed]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Why must the memory of a completion queue be cleared before it is created?
# b) Which part of the entry must the driver read first, and why?
# c) The phase bit shares a 16-bit word with the status. What goes wrong if a driver compares the
#    whole word with 0 to find out if the command succeeded?
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
# a) A 1 that is left in a phase bit would look like a completion.
# b) The one with the phase bit. If it read the rest before, the rest could still be from the last
#    lap, although the phase bit is new a moment later. A read barrier keeps the order.
# c) Every second lap all is well, and in the laps between, every success looks like an error.
