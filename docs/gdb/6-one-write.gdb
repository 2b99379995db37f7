# SPDX-License-Identifier: MIT
#
# 6. One write, in seven steps
# ============================
#
# Goal: follow a single command all the way, through host and controller, in one debugger session.
#
# Read: Base 2.1 §4.1.1 (submission queue entry), §4.2.1 and §4.2.4 (completion queue entry, phase
# tag); NVM 1.1 §3.3.6 (Write). In nvme.h: >>io, >>submit and >>complete. In tools/nvme_soft.h,
# which is the same story from the other side: >>soft-queue and >>soft-execute.
#
# The seven steps, as textbooks count them:
#
#	1 host	      puts the command into the submission queue
#	2 host	      rings the doorbell with the new tail
#	3 controller  fetches the command
#	4 controller  carries it out and moves the data
#	5 controller  puts a completion into the completion queue
#	6 controller  notifies the host
#	7 host	      takes the completion and rings the doorbell with the new head
#
# With a real SSD a debugger sees steps 1, 2 and 7 only; the others are traffic on the bus. The soft
# controller runs in this process and does its part inside the doorbell write, so all seven are in
# reach.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft

# hello_world writes "Hello world!" to block 0. Go there:

tbreak nvme_ns_cmd_write
#> Temporary breakpoint 1 at 0x10801: file ./nvme.h, line 4227.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Attached to soft
#>   Namespace ID: 1 size: 1GB
#> Initialization complete.
#> INFO: using host memory buffer for IO
#> Temporary breakpoint 1, nvme_ns_cmd_write (ns=0x5555555dcee0, qp=0x5555555c3320, buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4227
#> 4227		return nvme__ns_cmd_rw(ns, qp, NVME_OPC_WRITE, buf, slba, nlb, cb, arg, io_flags);
print (char *)buf
#> $1 = 0x7fff77c8a000 "Hello world!\n"

# ---- Step 1: the host puts the command into the queue ----------------------------------------

tbreak nvme__fill_rw
#> Temporary breakpoint 2 at 0x555555564557: file ./nvme.h, line 4171.
continue
#> Temporary breakpoint 2, nvme__fill_rw (sqe=0x7fff77c05000, opc=1 '\001', cid=0, nsid=1, prps=0x7fffffffdf70, slba=0, cdw12=0) at ./nvme.h:4171
#> 4171		memset(sqe, 0, sizeof(*sqe));
nvme ring
#> Queue pair 1 of 'soft': 1 command outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 0, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   HT  0         empty
#>       1-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1-255     p:0 empty

# The PRPs are built and the command is about to be written to sqe, which is slot 0 at the tail: it is
# still empty. Let it be written, and then a second time, to the driver's own record of the command.
# (Published sessions stop at nvme_copy_command() here, which copies the command from the request. This
# driver copies commands that a caller wrote. Those of reads and writes it writes twice, which costs
# less.)

finish
#> 0x000055555556472b in nvme__ns_cmd_rw (ns=0x5555555dcee0, qp=0x5555555c3320, opc=1 '\001', buf=0x7fff77c8a000, slba=0, nlb=1, cb=0x55555559d85a <io_complete>, arg=0x5555555c15a9 <disks+9>, io_flags=0) at ./nvme.h:4210
#> 4210		nvme__fill_rw(&qp->sq[qp->sq_tail], opc, cid, nsid, &prps, slba, (nlb - 1) | io_flags);
next
#> 4211		nvme__fill_rw(&tr->cmd, opc, cid, nsid, &prps, slba, (nlb - 1) | io_flags);
next
#> 4212		nvme_qpair_submit_request(qp, tr, buf, (uint32_t)len);
nvme ring
#> Queue pair 1 of 'soft': 1 command outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 0, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 0
#>   HT  0         WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28a000 PRP2:0x0  <- the tail has not moved yet
#>       1-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:0 empty
#>       1-255     p:0 empty

# 64 bytes of memory have changed: the SQE is in its slot. Not even the tail has moved yet.

# ---- Step 2: the host rings the doorbell -----------------------------------------------------

tbreak nvme_mmio_write_4
#> Temporary breakpoint 3 at 0x55555555e814: file ./nvme.h, line 1824.
continue
#> Temporary breakpoint 3, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=4104, val=1) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 1008h  SQ1TDBL  <- 1: the new tail of queue 1 is slot 1

# On a real machine this store leaves the processor as a memory write on the PCIe bus. Until step
# 7 it is all that the controller hears from the host.

# ---- Step 3: the controller fetches the command ----------------------------------------------
#
# From here on we are the controller.

tbreak nvme_soft_fetch_command
#> Temporary breakpoint 4 at 0x55555559a1fd: file tools/nvme_soft.h, line 1677.
continue
#> Temporary breakpoint 4, nvme_soft_fetch_command (s=0x5555555c7340, sq=0x5555555cc488) at tools/nvme_soft.h:1677
#> 1677		uint64_t n = s->stats.admin_cmds + s->stats.io_cmds;
backtrace 7
#> #0  nvme_soft_fetch_command (s=0x5555555c7340, sq=0x5555555cc488) at tools/nvme_soft.h:1677
#> #1  0x000055555559a5ed in nvme_soft_process_sq (s=0x5555555c7340, sq=0x5555555cc488) at tools/nvme_soft.h:1715
#> #2  0x000055555559ba5f in nvme_soft_ring_sq (s=0x5555555c7340, sq=0x5555555cc488, index=2, value=1) at tools/nvme_soft.h:2073
#> #3  0x000055555559bec4 in nvme_soft_ring (s=0x5555555c7340, index=2, value=1) at tools/nvme_soft.h:2126
#> #4  0x000055555559c0f0 in nvme_soft_write_4 (dev=0x5555555c37c0, offset=4104, value=1) at tools/nvme_soft.h:2167
#> #5  0x000055555555e85f in nvme_mmio_write_4 (dev=0x5555555c37c0, offset=4104, val=1) at ./nvme.h:1827
#> #6  0x000055555555e946 in nvme__doorbell_unmapped (dev=0x5555555c37c0, offset=4104, val=1) at ./nvme.h:1854

# One stack, two worlds: frames 0 to 3 are the controller, from frame 4 on it is the host. What the
# controller knows of this queue it was told when the queue was created, and by the doorbell:

print *sq
#> $2 = {ring = 0x7fff77c05000, base = 2117632, entries = 256, head = 0, tail = 1, id = 1, cqid = 1, rings = 1}
print sq->ring[sq->head]
#> $3 = SQE WRITE = {opc = 01h, cid = 0, nsid = 1, PRP1 = 0x28a000, PRP2 = 0x0, SLBA = 0, NLB = 1 block}

# On the bus this is a memory read of 64 bytes, from the address ASQ or Create I/O Submission Queue
# gave, plus 64 times the head. Afterwards the controller's head has moved:

tbreak nvme_soft_dispatch
#> Temporary breakpoint 5 at 0x5555555999f4: file tools/nvme_soft.h, line 1599.
continue
#> Temporary breakpoint 5, nvme_soft_dispatch (s=0x5555555c7340, job=0x7fffffffdcd0) at tools/nvme_soft.h:1599
#> 1599		const struct nvme_soft__fault *f = &job->fault;
up
#> #1  0x000055555559a4f9 in nvme_soft_fetch_command (s=0x5555555c7340, sq=0x5555555cc488) at tools/nvme_soft.h:1698
#> 1698		nvme_soft_dispatch(s, &job);
print sq->head
#> $4 = 1
print sq->tail
#> $5 = 1

# Head and tail are equal: the controller has fetched everything. The host does not know that yet.

# ---- Step 4: the controller carries it out ---------------------------------------------------

tbreak nvme_soft_transfer
#> Temporary breakpoint 6 at 0x55555558d657: file tools/nvme_soft.h, line 807.
continue
#> Temporary breakpoint 6, nvme_soft_transfer (s=0x5555555c7340, job=0x7fffffffdcd0, mem=0x7fffb7c00000, len=512, to_host=false) at tools/nvme_soft.h:807
#> 807		uint16_t status = nvme_soft_walk_dptr(s, job, len, to_host);
print len
#> $6 = 512
print to_host
#> $7 = false
x/s mem
#> 0x7fffb7c00000:	""

# 'mem' is the controller's own memory, where block 0 of the disk lives: empty so far. The data is
# in the host's buffer, and the command says where, in PRP1. The controller reads it from there:

finish
#> nvme_soft_write (s=0x5555555c7340, job=0x7fffffffdcd0) at tools/nvme_soft.h:1272
#> 1272		uint16_t status = job->ns->ms != 0 ? nvme_soft__md_write(s, job)
#> Value returned is $8 = 0
frame function nvme_soft_fetch_command
#> #3  0x000055555559a4f9 in nvme_soft_fetch_command (s=0x5555555c7340, sq=0x5555555cc488) at tools/nvme_soft.h:1698
#> 1698		nvme_soft_dispatch(s, &job);
x/s s->ns[1].mem
#> 0x7fffb7c00000:	"Hello world!\n"

# A write moves data from the host to the controller: the controller reads. (With a read command it
# would be the other way round.) But whichever way, it is the controller that does the moving; the
# processor of the host has nothing to do in the meantime.

# ---- Step 5: the controller writes the completion --------------------------------------------

tbreak nvme_soft_post_completion
#> Temporary breakpoint 7 at 0x55555558ddd7: file tools/nvme_soft.h, line 964.
continue
#> Temporary breakpoint 7, nvme_soft_post_completion (s=0x5555555c7340, job=0x7fffffffdcd0, status=0) at tools/nvme_soft.h:964
#> 964		const struct nvme_soft__fault *f = &job->fault;
print s->cq[1].tail
#> $9 = 0
print s->cq[1].phase
#> $10 = 1
finish
#> nvme_soft_complete (s=0x5555555c7340, job=0x7fffffffdcd0, status=0) at tools/nvme_soft.h:1539
#> 1539		if (job->fault.set & NVME_SOFT__AER)
nvme ring 1
#> Queue pair 1 of 'soft': 1 command outstanding, room for 255
#> SQ 1: 256 entries at IOVA 0x205000, tail 1, head 0 (SQHD of the last completion taken)
#>       the controller itself is at head 1
#>   H   0         WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28a000 PRP2:0x0  <- outstanding
#>    T  1         empty
#>       2-255     empty
#> CQ 1: 256 entries at IOVA 0x209000, head 0, a new entry has phase 1
#>   H   0         p:1 SUCCESS (00/00) cid:0 sqid:1 sqhd:1 cdw0:0  <- new
#>       1-255     p:0 empty

# The CQE in slot 0 is there, with phase 1 and the CID of the command. It also brings the host the
# news about the submission queue: sqhd is 1, so slot 0 has been fetched.

# ---- Step 6: the controller notifies the host ------------------------------------------------
#
# Here this would be an interrupt, an MSI-X message: one more memory write on the bus. But the queue
# was created with IEN = 0. The phase bit in the CQE is all the notification there is, and the host
# has to look for it: it polls.

tbreak nvme__qpair_read_cqe
#> Temporary breakpoint 8 at 0x5555555608c5: file ./nvme.h, line 2766.
continue
#> Temporary breakpoint 8, nvme__qpair_read_cqe (qp=0x5555555c3320, cpl=0x7fffffffdf70) at ./nvme.h:2766
#> 2766		const struct nvme_cpl *slot = &qp->cq[qp->cq_head];
backtrace 3
#> #0  nvme__qpair_read_cqe (qp=0x5555555c3320, cpl=0x7fffffffdf70) at ./nvme.h:2766
#> #1  0x0000555555560a59 in nvme__qpair_reap (qp=0x5555555c3320, max=256) at ./nvme.h:2804
#> #2  0x0000555555560bd6 in nvme_qpair_process_completions (qp=0x5555555c3320, max=0) at ./nvme.h:2846
print qp->phase
#> $11 = 1
print qp->cq[qp->cq_head]
#> $12 = CQE SUCCESS = {cdw0 = 0, sqhd = 1, sqid = 1, cid = 0, P = 1, SC = 0, SCT = 0, CRD = 0, M = 0, DNR = 0}

# The doorbell write has returned, host code is running again. The driver expects phase 1, and
# P is 1 in the slot at its head: a new completion.

# ---- Step 7: the host takes it and moves the head --------------------------------------------

tbreak io_complete
#> Temporary breakpoint 9 at 0x55555559d86a: file examples/hello_world.c, line 37.
continue
#> Temporary breakpoint 9, io_complete (arg=0x5555555c15a9 <disks+9>, cpl=0x7fffffffdf70) at examples/hello_world.c:37
#> 37		struct io *io = arg;
print *cpl
#> $13 = CQE SUCCESS = {cdw0 = 0, sqhd = 1, sqid = 1, cid = 0, P = 1, SC = 0, SCT = 0, CRD = 0, M = 0, DNR = 0}

# The callback, first. Then the doorbell, which gives the slot back:

tbreak nvme_mmio_write_4
#> Temporary breakpoint 10 at 0x55555555e814: file ./nvme.h, line 1824.
continue
#> Temporary breakpoint 10, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=4108, val=1) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme write
#> 100Ch  CQ1HDBL  <- 1: the new head of queue 1 is slot 1

# And a last time to the controller, which takes note:

tbreak nvme_soft_ring_cq
#> Temporary breakpoint 11 at 0x55555559b783: file tools/nvme_soft.h, line 2014.
continue
#> Temporary breakpoint 11, nvme_soft_ring_cq (s=0x5555555c7340, cq=0x5555555cd8c8, index=3, value=1) at tools/nvme_soft.h:2014
#> 2014		uint32_t taken = (value + cq->entries - cq->head) % cq->entries;
print cq->head
#> $14 = 0
print cq->tail
#> $15 = 1
finish
#> 0x000055555559be4a in nvme_soft_ring (s=0x5555555c7340, index=3, value=1) at tools/nvme_soft.h:2123
#> 2123			nvme_soft_ring_cq(s, &s->cq[qid], index, value);
print s->cq[1].head
#> $16 = 1

# Its head and tail are equal again: no completion waits to be taken.

# ---- All of it once more ---------------------------------------------------------------------
#
# The read that follows takes the same way. Let it run:

delete
continue
#> Hello world!
#> [Inferior 1 (process 18480) exited normally]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Which of the seven steps cost the processor a write to a register, and which a read of one?
# b) Between which steps may the host reuse slot 0 of the submission queue? The CID? The buffer?
# c) What would be different with a second command in flight?
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
# a) Steps 2 and 7, one write each. There is no read at all: what the host must know comes to it in
#    memory. That is the idea of the whole interface.
# b) The slot: once a completion says with its SQHD that the controller has fetched it (any
#    completion of that queue, not only this one). The CID and the buffer: when this command's
#    completion was taken, step 7.
# c) Nothing in the steps. But the completions may come in any order: only the CID tells which is
#    which.
