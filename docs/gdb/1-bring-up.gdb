# SPDX-License-Identifier: MIT
#
# 1. Bring-up: every register write, in order
# ===========================================
#
# Goal: see that a controller is brought to life with a handful of register writes, and learn to
# read such a write field by field.
#
# Read before or after: Base 2.1 §3.5.1 (Memory-based controller initialization), §3.1.4.5 (CC),
# §3.1.4.6 (CSTS), §3.1.4.8 (AQA), §3.1.4.9 and §3.1.4.10 (ASQ, ACQ). In nvme.h:
# nvme__ctrlr_bring_up() at the end of >>identify, which has all steps in their order, and of >>enable
# nvme_ctrlr_disable() and nvme_ctrlr_enable().
#
# How to use this file: start gdb at the top of the repository and type the lines that do not begin
# with '#'. Lines that begin with '#>' are what gdb prints; addresses may differ on your machine. Or
# let it run by itself: gdb -batch -x docs/gdb/1-bring-up.gdb

source docs/gdb/setup.gdb
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft

# ---- Two bits --------------------------------------------------------------------------------
#
# A bring-up is about two bits. CC.EN is the host's: a write that changes it from 0 to 1 enables the
# controller, and one that changes it from 1 to 0 resets it. CSTS.RDY is the controller's. It
# follows EN: on the way up when commands can come, on the way down when the controller has stopped.
# EN may change only when RDY has followed.
#
# So the order is: clear EN if it is set, wait until RDY is 0, write into registers where the admin
# queues are, set EN, wait until RDY is 1.

# ---- A number that somebody else wrote -------------------------------------------------------
#
# Debugger sessions of NVMe drivers are full of lines such as
#
#	#0  spdk_mmio_write_4 (val=4604000, addr=0x201000800014)
#	#0  spdk_mmio_write_4 (val=2031647, addr=0x201000800024)
#
# The end of the address is the offset of the register: 14h is CC, 24h is AQA. The value is decimal
# and says nothing until it is cut into fields. By hand, first in hexadecimal:

p/x 4604000
#> $1 = 0x464060

# Now bit by bit from the right: 460000h is the two entry sizes, 4000h is bit 14, 60h is bits 5 and
# 6. Or let the command do it (it needs no running program):

nvme decode CC 4604000
#> CC = 00464060h (decimal 4604000)
#>   24     CRIME   0      no                              Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes                        I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes                        I/O Submission Queue Entry Size
#>   15:14  SHN     1      normal shutdown notification    Shutdown Notification
#>   13:11  AMS     0      round robin                     Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes                      Memory Page Size
#>   6:4    CSS     6      all supported I/O command sets  I/O Command Set Selected
#>   0      EN      0      disabled                        Enable

# EN is 0, so this write switches a controller off that was on: the first step. But why is SHN 1 and
# CSS 6? They are what the last owner had left in CC when it shut the controller down; the driver
# read CC, cleared EN and wrote the rest back. The write to AQA:

nvme decode AQA 2031647
#> AQA = 001F001Fh (decimal 2031647)
#>   27:16  ACQS    1Fh    32 entries  Admin Completion Queue Size
#>   11:0   ASQS    1Fh    32 entries  Admin Submission Queue Size

# Both halves are 1Fh = 31 and mean 32: sizes are 0-based, since a queue of 0 entries makes no
# sense.

# ---- The whole list --------------------------------------------------------------------------
#
# Every register write of the driver goes through one function. (Only doorbells need not: walkthrough
# 2.) This breakpoint tells what is being written and goes on by itself. The second one stops before
# the first command is sent.

break nvme_mmio_write_4
#> Breakpoint 1 at 0xa814: file ./nvme.h, line 1824.
commands
silent
nvme write
continue
end
tbreak nvme_ring_sq_doorbell
#> Temporary breakpoint 2 at 0xb141: file ./nvme.h, line 2128.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> 0028h  ASQ      <- 200000h
#>        the lower half of ASQ, an address as the controller sees it
#> 002Ch  ASQ+4    <- 0
#>        the upper half of ASQ; the lower half came first
#> 0030h  ACQ      <- 201000h
#>        the lower half of ACQ, an address as the controller sees it
#> 0034h  ACQ+4    <- 0
#>        the upper half of ACQ; the lower half came first
#> 0024h  AQA      <- 1F001Fh
#>   27:16  ACQS    1Fh    32 entries  Admin Completion Queue Size
#>   11:0   ASQS    1Fh    32 entries  Admin Submission Queue Size
#> 0014h  CC       <- 460061h
#>   24     CRIME   0      no                              Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes                        I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes                        I/O Submission Queue Entry Size
#>   15:14  SHN     0      no notification                 Shutdown Notification
#>   13:11  AMS     0      round robin                     Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes                      Memory Page Size
#>   6:4    CSS     6      all supported I/O command sets  I/O Command Set Selected
#>   0      EN      1      enabled                         Enable
#> Temporary breakpoint 2, nvme_ring_sq_doorbell (qp=0x5555555db8c0) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);

# That is all. Six writes, four of them for two 64-bit addresses.
#
# What to notice:
#  - ASQ and ACQ are IOVAs, addresses as the controller sees them. They are small because this
#    driver lays out the controller's address space itself, from 2 MiB upwards.
#  - There was no write that clears EN: this controller came up disabled, so the driver only had to
#    check that CSTS.RDY is 0. The one in the old backtrace was on, and so is the one at the end of
#    this walkthrough.
#  - CC is written last and once. Page size, command set and arbitration must be right when EN
#    becomes 1, the entry sizes at the latest when the first I/O queue is created.
#  - IOSQES is 6 and IOCQES is 4: the entries are 2^6 = 64 and 2^4 = 16 bytes. They are easily
#    swapped, and then nothing works and nothing says why.

# ---- Who wrote it? ---------------------------------------------------------------------------
#
# The call chain of the write to CC, from a second run of the program:

delete
break nvme_mmio_write_4 if offset == 0x14
#> Breakpoint 3 at 0x55555555e814: file ./nvme.h, line 1824.
run
#> Initializing NVMe Controllers
#> Attaching to soft
#> Breakpoint 3, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=20, val=4587617) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
backtrace
#> #0  nvme_mmio_write_4 (dev=0x5555555c37c0, offset=20, val=4587617) at ./nvme.h:1824
#> #1  0x000055555555e9e1 in nvme__reg_write_4 (dev=0x5555555c37c0, offset=20, val=4587617) at ./nvme.h:1875
#> #2  0x0000555555561d67 in nvme_ctrlr_enable (ctrlr=0x5555555c37c0) at ./nvme.h:3255
#> #3  0x0000555555561f34 in nvme__ctrlr_try_start (ctrlr=0x5555555c37c0) at ./nvme.h:3291
#> #4  0x0000555555561f54 in nvme_ctrlr_start (ctrlr=0x5555555c37c0) at ./nvme.h:3301
#> #5  0x000055555556322d in nvme__ctrlr_bring_up (ctrlr=0x5555555c37c0) at ./nvme.h:3685
#> #6  0x00005555555632c7 in nvme_ctrlr_process_init (ctrlr=0x5555555c37c0) at ./nvme.h:3706
#> #7  0x000055555556416e in nvme_attach (addr=0x5555555c3344 "soft", opts=0x5555555c3748, out=0x5555555c3338) at ./nvme.h:4076
#> #8  0x00005555555675ec in nvme__probe_work (job=0x5555555c3320) at ./nvme.h:7673
#> #9  0x00005555555673c3 in nvme__job_run (job=0x5555555c3320) at ./nvme.h:7583
#> #10 0x0000555555567536 in nvme__job_poll (list=0x5555555c32b0) at ./nvme.h:7635
#> #11 0x0000555555568433 in nvme_probe_poll_async (ctx=0x5555555c32b0) at ./nvme.h:7933
#> #12 0x00005555555684e9 in nvme_probe (trid=0x0, ctx=0x5555555c15a0 <disks>, probe_cb=0x55555559db88 <probe_cb>, attach_cb=0x55555559dbc2 <attach_cb>, opts=0x7fffffffe0d0) at ./nvme.h:7954
#> #13 0x000055555559e070 in main (argc=2, argv=0x7fffffffe628) at examples/hello_world.c:202

# Read it from below: attach, initialize, bring up, start, enable. The old backtraces have other frames
# in between, but the same stations: process_init, then enable, then the write.

# ---- What the controller makes of it ---------------------------------------------------------
#
# CSTS before the write, and everything after it. 'finish' lets the write happen.

nvme regs CSTS
#> CSTS = 00000000h (decimal 0)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     0      not ready            Ready
finish
#> nvme__reg_write_4 (dev=0x5555555c37c0, offset=20, val=4587617) at ./nvme.h:1876
#> 1876	}
nvme regs
#> Controller 'soft' (found as 'dev' of frame 0, nvme__reg_write_4())
#> Registers: read in the memory of the soft controller, without a call
#> 0000h  CAP = 00400820140103FFh (decimal 18023332377068543)
#>   61     NSSES   0      no                     NVM Subsystem Shutdown Enhancements Supported
#>   60:59  CRMS    0      none                   Controller Ready Modes Supported
#>   58     NSSS    0      no                     NVM Subsystem Shutdown Supported
#>   57     CMBS    0      no                     Controller Memory Buffer Supported
#>   56     PMRS    0      no                     Persistent Memory Region Supported
#>   55:52  MPSMAX  4      65536 bytes            Memory Page Size Maximum
#>   51:48  MPSMIN  0      4096 bytes             Memory Page Size Minimum
#>   47:46  CPS     0      not reported           Controller Power Scope
#>   45     BPS     0      no                     Boot Partition Support
#>   44:37  CSS     41h    NVM, I/O command sets  Command Sets Supported
#>   36     NSSRS   0      no                     NVM Subsystem Reset Supported
#>   35:32  DSTRD   0      4 bytes                Doorbell Stride
#>   31:24  TO      14h    10000 ms               Timeout
#>   18:17  AMS     0      none                   Arbitration Mechanism Supported
#>   16     CQR     1      yes                    Contiguous Queues Required
#>   15:0   MQES    3FFh   1024 entries           Maximum Queue Entries Supported
#> 0008h  VS = 00020000h (decimal 131072), NVMe 2.0.0
#>   31:16  MJR     2        Major Version Number
#>   15:8   MNR     0        Minor Version Number
#>   7:0    TER     0        Tertiary Version Number
#> 0014h  CC = 00460061h (decimal 4587617)
#>   24     CRIME   0      no                              Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes                        I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes                        I/O Submission Queue Entry Size
#>   15:14  SHN     0      no notification                 Shutdown Notification
#>   13:11  AMS     0      round robin                     Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes                      Memory Page Size
#>   6:4    CSS     6      all supported I/O command sets  I/O Command Set Selected
#>   0      EN      1      enabled                         Enable
#> 001Ch  CSTS = 00000000h (decimal 0)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     0      not ready            Ready
#> 0024h  AQA = 001F001Fh (decimal 2031647)
#>   27:16  ACQS    1Fh    32 entries  Admin Completion Queue Size
#>   11:0   ASQS    1Fh    32 entries  Admin Submission Queue Size
#> 0028h  ASQ = 0000000000200000h (decimal 2097152)
#>   63:12  ASQB    200h   0x200000  Admin Submission Queue Base
#> 0030h  ACQ = 0000000000201000h (decimal 2101248)
#>   63:12  ACQB    201h   0x201000  Admin Completion Queue Base
#> 0:     INTMS INTMC NSSR CMBLOC CMBSZ BPINFO BPRSEL BPMBL CMBMSC CMBSTS CMBEBS CMBSWTP NSSD CRTO PMRCAP PMRCTL PMRSTS PMREBS PMRSWTP PMRMSCL PMRMSCU

# Everything is in place, but CSTS.RDY is still 0: the controller needs its time. A real one takes
# milliseconds to seconds, and CAP.TO (or CRTO, if the controller has it) is how long the driver
# waits at most before it gives up. The field counts half seconds, which is easily forgotten: 14h =
# 20 means 10 seconds.

tbreak nvme_ctrlr_identify
#> Temporary breakpoint 4 at 0x5555555625ad: file ./nvme.h, line 3435.
continue
#> Temporary breakpoint 4, nvme_ctrlr_identify (ctrlr=0x5555555c37c0) at ./nvme.h:3435
#> 3435		struct nvme_dev *dev = &ctrlr->dev;
nvme regs CSTS
#> CSTS = 00000001h (decimal 1)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     1      ready                Ready

# RDY has followed EN. Only now are commands possible. Everything that the driver still wants to
# know (who are you, how many queues, which namespaces) it asks with commands on the admin queue:
# walkthrough 2.

kill
#> [Inferior 1 (process 18173) killed]

# ---- When the last owner left it on ----------------------------------------------------------
#
# A controller need not be off when the driver comes. The firmware may have booted from it, or a
# program has crashed. A fault plan lets the software controller start like that:

delete
set args 'soft:plan=start en=1 rdy=1'
break nvme_mmio_write_4 if offset == 0x14
#> Breakpoint 5 at 0x55555555e814: file ./nvme.h, line 1824.
run
#> Initializing NVMe Controllers
#> Attaching to soft:plan=start en=1 rdy=1
#> Breakpoint 5, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=20, val=4587520) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
nvme regs ASQ CSTS
#> ASQ = 00000000DEAD0000h (decimal 3735879680)
#>   63:12  ASQB    DEAD0h 0xdead0000  Admin Submission Queue Base
#> CSTS = 00000001h (decimal 1)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     1      ready                Ready
nvme write
#> 0014h  CC       <- 460000h
#>   24     CRIME   0      no               Controller Ready Independent of Media Enable
#>   23:20  IOCQES  4      16 bytes         I/O Completion Queue Entry Size
#>   19:16  IOSQES  6      64 bytes         I/O Submission Queue Entry Size
#>   15:14  SHN     0      no notification  Shutdown Notification
#>   13:11  AMS     0      round robin      Arbitration Mechanism Selected
#>   10:7   MPS     0      4096 bytes       Memory Page Size
#>   6:4    CSS     0      NVM command set  I/O Command Set Selected
#>   0      EN      0      disabled         Enable
backtrace 4
#> #0  nvme_mmio_write_4 (dev=0x5555555c37c0, offset=20, val=4587520) at ./nvme.h:1824
#> #1  0x000055555555e9e1 in nvme__reg_write_4 (dev=0x5555555c37c0, offset=20, val=4587520) at ./nvme.h:1875
#> #2  0x00005555555617b0 in nvme__ctrlr_clear_en (ctrlr=0x5555555c37c0, cc=4587521) at ./nvme.h:3153
#> #3  0x0000555555561944 in nvme_ctrlr_disable (ctrlr=0x5555555c37c0) at ./nvme.h:3181

# The controller is ready, but for somebody else: ASQ is where the last owner had its ring, in
# memory that may hold anything by now. So the first write is another one than above. The driver has
# read 460001h from CC, and clears EN in it. nvme_ctrlr_disable() has a way for each of the four
# combinations of EN and RDY that it can meet.

finish
#> nvme__reg_write_4 (dev=0x5555555c37c0, offset=20, val=4587520) at ./nvme.h:1876
#> 1876	}
nvme regs CSTS
#> CSTS = 00000000h (decimal 0)
#>   6      ST      0      controller shutdown  Shutdown Type
#>   5      PP      0      no                   Processing Paused
#>   4      NSSRO   0      no                   NVM Subsystem Reset Occurred
#>   3:2    SHST    0      normal operation     Shutdown Status
#>   1      CFS     0      no fatal error       Controller Fatal Status
#>   0      RDY     0      not ready            Ready

# RDY has followed, and the queues are forgotten. The soft controller does that at once. A real one
# takes its time, and the driver waits for it. From here on all is as above: ASQ, ACQ, AQA, and then
# CC with EN set:

continue
#> Breakpoint 5, nvme_mmio_write_4 (dev=0x5555555c37c0, offset=20, val=4587617) at ./nvme.h:1824
#> 1824		if (nvme__likely(offset < dev->bar0_mapped))
print/x val
#> $2 = 0x460061

kill
#> [Inferior 1 (process 18179) killed]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Why does the place of the admin queues go into registers, while I/O queues are created with
#    commands?
# b) The driver writes ASQ in two halves. Would a controller ever see half an address?
# c) What would a driver read from CSTS after the device was pulled out, and why does it matter?
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
# a) A command needs a queue to be sent on. The first queue cannot be created by a command, so it
#    is described in registers. All others can, and there may be thousands of them.
# b) It sees the halves one after the other, but it looks at ASQ only when EN goes from 0 to 1, and
#    that write comes later.
# c) All ones, FFFFFFFFh, which is how the bus answers for a device that is not there. RDY would be
#    1 then, and CFS too: who only looks at RDY believes that all is well.
