# SPDX-License-Identifier: MIT
#
# 2. Who rings the submission queue doorbell?
# ===========================================
#
# Goal: find the one place where a command leaves the host, for an admin command and for a write,
# and see what is in memory at that moment.
#
# Read: PCIe 1.1 §3.1.2.1 (SQyTDBL), Base 2.1, Memory-based Transport Queue Model (when a queue is
# empty and when it is full), §4.1.1 (the submission queue entry). In nvme.h: >>queue and >>submit.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft

# ---- The first command of all ----------------------------------------------------------------

break nvme_ring_sq_doorbell
#> Breakpoint 1 at 0xb141: file ./nvme.h, line 2128.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 1, nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
backtrace
#> #0  nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> #1  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555db8c0, tr=0x5555555dba50, buf=0x7fff77c04000, len=4096) at ./nvme.h:2647
#> #2  0x0000555555560646 in nvme__submit_raw (qp=0x5555555db8c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, cb=0x555555560be1 <nvme__sync_done>, arg=0x7fffffffdda0) at ./nvme.h:2673
#> #3  0x0000555555560f4b in nvme__submit_sync (qp=0x5555555db8c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, sync=0x7fffffffdda0, deadline=30020) at ./nvme.h:2959
#> #4  0x000055555556103f in nvme__submit_and_wait (qp=0x5555555db8c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, lent=0x0, cpl=0x7fffffffde60) at ./nvme.h:2981
#> #5  0x0000555555561129 in nvme__ctrlr_admin (ctrlr=0x5555555c37c0, cmd=0x7fffffffde70, buf=0x7fff77c04000, len=4096, cpl=0x7fffffffde60) at ./nvme.h:3003
#> #6  0x000055555556251b in nvme_ctrlr_cmd_identify (ctrlr=0x5555555c37c0, cns=1, nsid=0, csi=0, data=0x5555555c39f0) at ./nvme.h:3410
#> #7  0x00005555555625f6 in nvme_ctrlr_identify (ctrlr=0x5555555c37c0) at ./nvme.h:3440
#> #8  0x0000555555563247 in nvme__ctrlr_bring_up (ctrlr=0x5555555c37c0) at ./nvme.h:3689
#> #9  0x00005555555632c7 in nvme_ctrlr_process_init (ctrlr=0x5555555c37c0) at ./nvme.h:3706
#> #10 0x000055555556416e in nvme_attach (addr=0x5555555c3344 "soft", opts=0x5555555c3748, out=0x5555555c3338) at ./nvme.h:4076
#> #11 0x00005555555675ec in nvme__probe_work (job=0x5555555c3320) at ./nvme.h:7673
#> #12 0x00005555555673c3 in nvme__job_run (job=0x5555555c3320) at ./nvme.h:7583
#> #13 0x0000555555567536 in nvme__job_poll (list=0x5555555c32b0) at ./nvme.h:7635
#> #14 0x0000555555568433 in nvme_probe_poll_async (ctx=0x5555555c32b0) at ./nvme.h:7933
#> #15 0x00005555555684e9 in nvme_probe (trid=0x0, ctx=0x5555555c15a0 <disks>, probe_cb=0x55555559db88 <probe_cb>, attach_cb=0x55555559dbc2 <attach_cb>, opts=0x7fffffffe0d0) at ./nvme.h:7954
#> #16 0x000055555559e070 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:202

# Bring-up wants to know who the controller is, so nvme_ctrlr_identify() sends an Identify command.
# Frames 5 to 2 are the way of admin commands that the driver waits for. Look at 'data' in frame 6 and
# 'buf' in frame 5: the answer is wanted in memory that is not DMA memory, so the controller cannot
# reach it. It will come into a page of DMA memory that the driver keeps for Identify, and be copied
# from there.
#
# The command is in the ring already:

nvme ring
#> Queue pair 0 of 'soft': 1 command outstanding, room for 31
#> SQ 0: 32 entries at IOVA 0x200000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   H   0         IDENTIFY cid:0 CNS:01h CONTROLLER PRP1:0x204000 PRP2:0x0  <- outstanding
#>    T  1         empty
#>       2-31      empty
#> CQ 0: 32 entries at IOVA 0x201000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1-31      p:0 empty

# H marks the head, T the tail. From H to the slot before T are the commands that the controller has
# not reported as fetched: here one, in slot 0. The tail is the next free slot.
#
# Nothing has happened yet. The controller does not watch the memory; it has to be told:

tbreak nvme_mmio_write_4
#> Temporary breakpoint 2 at 0x55555555e814: file ./nvme.h, line 1824.
continue
#> Temporary breakpoint 2, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=4096, val=1) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 1000h  SQ0TDBL  <- 1: the new tail of queue 0 is slot 1

# This is the doorbell. What is written is the new tail, an index into the ring: not a number of
# commands, and not an address. Where it is written follows from the queue id and CAP.DSTRD:
#
#	SQ y tail: 1000h + (2 * y)     * (4 << DSTRD)
#	CQ y head: 1000h + (2 * y + 1) * (4 << DSTRD)
#
# The driver works that out once, when it builds the queue pair. Where registers are mapped into the
# program, it also keeps the address there and stores to it; the software controller has none, so that
# the value went through nvme__doorbell_unmapped(). Both begin here:

frame function nvme_ring_sq_doorbell
#> #3  0x000055555555f16d in nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
print qp->sq_doorbell
#> $1 = (volatile uint32_t *) 0x0
print/x qp->sq_tdbl
#> $2 = 0x1000
print qp->sq_tail
#> $3 = 1

# ---- The order matters -----------------------------------------------------------------------
#
# Look at the source of this function. Its callers have copied the command into the ring and moved the
# tail. Between that and the doorbell there is a write barrier, NVME_WMB(). Without it, compiler or
# processor may let the doorbell overtake the command, and the controller fetches whatever the slot
# held before. What a barrier is depends on the processor, see >>regs. On x86 it stops the compiler only
# and is no instruction, so that the breakpoint is at the line below it.

list nvme_ring_sq_doorbell
#> 2121	/*
#> 2122	 * Puts the tail on the wire: the index of the slot after the last command, not a count of commands
#> 2123	 * [PCIe 1.1 §3.1.2.1: SQyTDBL]. The SQE must be in memory before the controller hears of it.
#> 2124	 */
#> 2125	NVME__HOT void nvme_ring_sq_doorbell(struct nvme_qpair *qp)
#> 2126	{
#> 2127		NVME_WMB();
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
#> 2129	}
#> 2130
frame function nvme_qpair_submit_request
#> #4  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555db8c0, tr=0x5555555dba50, buf=0x7fff77c04000, len=4096) at ./nvme.h:2647
#> 2647			nvme_ring_sq_doorbell(qp);
print *tr
#> $4 = tracker of CID 0, outstanding = {cmd = SQE IDENTIFY = {opc = 06h, cid = 0, nsid = 0, PRP1 = 0x204000, PRP2 = 0x0, CNS = 01h CONTROLLER}, cb = 0x555555560be1 <nvme__sync_done>, prp_list = 0x7fff77c02000 (IOVA 0x202000)}

# ---- The same for a write --------------------------------------------------------------------
#
# The temporary breakpoint takes us to the example's write of one block, and the first breakpoint
# stops where its doorbell is rung.

disable 1
tbreak nvme_ns_cmd_write
#> Temporary breakpoint 3 at 0x555555564801: file ./nvme.h, line 4227.
continue
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> INFO: using host memory buffer for IO
#> Temporary breakpoint 3, nvme_ns_cmd_write (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4227
#> 4227		return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
enable 1
continue
#> Breakpoint 1, nvme_ring_sq_doorbell (qp=0x5555555c3320) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
backtrace
#> #0  nvme_ring_sq_doorbell (qp=0x5555555c3320) at ./nvme.h:2128
#> #1  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555c3320, tr=0x5555555def50, buf=0x7fff77c8a000, len=512) at ./nvme.h:2647
#> #2  0x000055555556477c in nvme__ns_cmd_rw (ns=0x5555555dcee0, qp=0x5555555c3320, opc=1 '\001', buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4212
#> #3  0x0000555555564839 in nvme_ns_cmd_write (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4227
#> #4  0x000055555559d9a8 in write_and_read (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000 "Hello world!\n", io=0x5555555c15a9 <disks+9>) at examples/hello_world.c:67
#> #5  0x000055555559ddf4 in hello_world (disk=0x5555555c15a0 <disks>) at examples/hello_world.c:163
#> #6  0x000055555559e0e8 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:208

# From nvme_qpair_submit_request() on it is the same way: there is no second way out of the host.
# In published backtraces of drivers with several transports there are a few more functions in
# between, and two jumps through tables of function pointers; most names are much like those here.

nvme ring
#> Queue pair 1 of 'soft': 1 command outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   H   0         WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28a000 PRP2:0x0  <- outstanding
#>    T  1         empty
#>       2-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1-255     p:0 empty

# This is queue 1, with its own ring, its own tail and its own doorbell.

print/x qp->sq_tdbl
#> $5 = 0x1008

# ---- How often? ------------------------------------------------------------------------------
#
# Count instead of stopping: 'ignore' lets a breakpoint pass so many times. This is a new run.

delete
break nvme_ring_sq_doorbell if qp->id == 0
#> Breakpoint 4 at 0x55555555f141: file ./nvme.h, line 2128.
break nvme_ring_sq_doorbell if qp->id == 1
#> Breakpoint 5 at 0x55555555f141: file ./nvme.h, line 2128.
ignore 4 1000
ignore 5 1000
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> INFO: using host memory buffer for IO
#> Hello world!
#> [Inferior 1 (process 18291) exited normally]
info breakpoints
#> Num     Type           Disp Enb Address            What
#> 4       breakpoint     keep y   0x000055555555f141 in nvme_ring_sq_doorbell at ./nvme.h:2128
#> 	stop only if qp->id == 0
#> 	breakpoint already hit 9 times
#> 	ignore next 991 hits
#> 5       breakpoint     keep y   0x000055555555f141 in nvme_ring_sq_doorbell at ./nvme.h:2128
#> 	stop only if qp->id == 1
#> 	breakpoint already hit 2 times
#> 	ignore next 998 hits

# Nine admin commands: five in bring-up (identify the controller, ask for queues, list the
# namespaces, and two for the one that is there), two to create the queue pair and two to delete it.
# Two I/O commands: the write and the read.

# ---- Questions -------------------------------------------------------------------------------
#
# a) The ring has 32 slots. How many commands can be in it at the same time, and why not 32?
# b) Could the driver put three commands into the ring and ring once?
# c) Could it read the doorbell to find out where the tail is?
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
# a) 31. With 32 the tail would be equal to the head again, and that means empty.
# b) Yes. The doorbell says how far the ring is filled, and the controller fetches all commands up
#    to there. It is how a driver saves register writes, which are slow on a real bus.
# c) No. Doorbells are for writing; what a read returns is not defined. The driver has to remember.
