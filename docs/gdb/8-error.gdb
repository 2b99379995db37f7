# SPDX-License-Identifier: MIT
#
# 8. A command that fails
# =======================
#
# Goal: read the status field of a completion, and see why one of its numbers is not enough.
#
# Read: Base 2.1 §4.2.3 (status field), §4.2.1 (completion queue entry). In nvme.h: NVME_CPL_SC and
# its neighbours in >>spec, nvme_complete_request() in >>complete.
#
# The program docs/gdb/fault.c sends three commands that no controller can carry out: a read past
# the end of the disk, an opcode that does not exist, and the deletion of a queue that is not there.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/fault
source docs/gdb/nvme.py
set args soft

# ---- A read past the end ---------------------------------------------------------------------
#
# The driver's own functions refuse such a read with -ERANGE before anything moves. So the program
# sends it as a raw command, which nobody looks at but the controller.

break nvme_complete_request if (cpl->status >> 1) != 0
#> Breakpoint 1 at 0xc6d2: file ./nvme.h, line 2723.
run
#> Breakpoint 1, nvme_complete_request (qp=0x5555555dba60, tr=0x5555555dbbf0, cpl=0x7fffffffe250) at ./nvme.h:2723
#> 2723		nvme_cmd_cb cb = tr->cb;
print tr->cmd
#> $1 = SQE READ = {opc = 02h, cid = 0, nsid = 1, PRP1 = 0x205000, PRP2 = 0x0, SLBA = 2097152, NLB = 1 block}
print *cpl
#> $2 = CQE LBA OUT OF RANGE = {cdw0 = 0, sqhd = 1, sqid = 1, cid = 0, P = 1, SC = 80h, SCT = 0, CRD = 0, M = 1, DNR = 1}
nvme decode STATUS cpl->status
#> status word = C101h: LBA OUT OF RANGE (00/80)
#>   15     DNR     1      it would fail again  Do Not Retry
#>   14     M       1                           More: details are in the error log
#>   13:12  CRD     0                           Command Retry Delay
#>   11:9   SCT     0      GENERIC              Status Code Type
#>   8:1    SC      80h    LBA OUT OF RANGE     Status Code
#>   0      P       1                           Phase Tag, not part of the status

# What to notice:
#  - SCT and SC belong together. SCT 0 is "generic", and 80h of that list is LBA OUT OF RANGE.
#  - P, the phase bit, is the lowest bit of the word but no part of the status.
#  - The entry also says which command it is about: CID and SQID. There is nothing else: whoever
#    wants to know what was asked must remember the command, as the tracker does.
#  - DNR tells if it is any use to try again. Here it is not: the disk will not grow.

# The driver prints command and completion at the level "notice", so failures are seen without any
# option. Go on to the next one:

continue
#> [2026-11-22 01:27:43.762842] nvme.h:19314:nvme_qpair_print_command: *NOTICE*: READ sqid:1 cid:0 nsid:1 lba:2097152 len:1 PRP1 0x205000 PRP2 0x0
#> [2026-11-22 01:27:43.762922] nvme.h:19363:nvme_qpair_print_completion: *NOTICE*: LBA OUT OF RANGE (00/80) qid:1 cid:0 cdw0:0 sqhd:0001 p:1 m:1 dnr:1
#> Breakpoint 1, nvme_complete_request (qp=0x5555555dba60, tr=0x5555555dbbf0, cpl=0x7fffffffe270) at ./nvme.h:2723
#> 2723		nvme_cmd_cb cb = tr->cb;

# ---- An opcode that does not exist -----------------------------------------------------------

nvme decode STATUS cpl->status
#> status word = C003h: INVALID OPCODE (00/01)
#>   15     DNR     1      it would fail again  Do Not Retry
#>   14     M       1                           More: details are in the error log
#>   13:12  CRD     0                           Command Retry Delay
#>   11:9   SCT     0      GENERIC              Status Code Type
#>   8:1    SC      1      INVALID OPCODE       Status Code
#>   0      P       1                           Phase Tag, not part of the status

# SC 01h of the generic list: INVALID OPCODE.

# ---- A queue that is not there ---------------------------------------------------------------

continue
#> [2026-11-22 01:27:43.764454] nvme.h:19314:nvme_qpair_print_command: *NOTICE*: IO COMMAND (7c) sqid:1 cid:0 nsid:1
#> [2026-11-22 01:27:43.764467] nvme.h:19363:nvme_qpair_print_completion: *NOTICE*: INVALID OPCODE (00/01) qid:1 cid:0 cdw0:0 sqhd:0000 p:1 m:1 dnr:1
#> Breakpoint 1, nvme_complete_request (qp=0x5555555d83a0, tr=0x5555555d8530, cpl=0x7fffffffe270) at ./nvme.h:2723
#> 2723		nvme_cmd_cb cb = tr->cb;
nvme decode STATUS cpl->status
#> status word = C203h: INVALID QUEUE IDENTIFIER (01/01)
#>   15     DNR     1      it would fail again       Do Not Retry
#>   14     M       1                                More: details are in the error log
#>   13:12  CRD     0                                Command Retry Delay
#>   11:9   SCT     1      COMMAND SPECIFIC          Status Code Type
#>   8:1    SC      1      INVALID QUEUE IDENTIFIER  Status Code
#>   0      P       1                                Phase Tag, not part of the status

# Again SC 01h, and a different meaning: SCT is 1, "command specific". For Delete I/O Submission
# Queue, 01h of that list is INVALID QUEUE IDENTIFIER. A driver that keeps SC and drops SCT would
# report a wrong opcode, and send its user looking in the wrong place.

# ---- What the caller gets --------------------------------------------------------------------

finish
#> [2026-11-22 01:27:43.766757] nvme.h:19314:nvme_qpair_print_command: *NOTICE*: DELETE IO SQ (00) qid:0 cid:0 nsid:0 cdw10:00000007 cdw11:00000000
#> [2026-11-22 01:27:43.766783] nvme.h:19363:nvme_qpair_print_completion: *NOTICE*: INVALID QUEUE IDENTIFIER (01/01) qid:0 cid:0 cdw0:0 sqhd:0008 p:1 m:1 dnr:1
#> nvme__qpair_take_cqe (qp=0x5555555d83a0, cpl=0x7fffffffe270) at ./nvme.h:2753
#> 2753	}
tbreak nvme_detach
#> Temporary breakpoint 2 at 0x55555556431c: file ./nvme.h, line 4126.
continue
#> Temporary breakpoint 2, nvme_detach (ctrlr=0x5555555c02a0) at ./nvme.h:4126
#> 4126		int rc = ctrlr != NULL ? nvme_ctrlr_destruct_async(ctrlr) : 0;

# The blocking functions returned -EIO and handed out the completion. An error status is an answer,
# not an accident: the queue goes on working, and so does the program.

delete
continue
#> [Inferior 1 (process 18640) exited normally]

# ---- Questions -------------------------------------------------------------------------------
#
# a) Decode the status word 0x4004 by hand, then with 'nvme decode STATUS 0x4004'.
# b) SPDK's log shows (00/80) after the name. Which number is which?
# c) What does it mean if the status is 0 but the CID is of a command that was never sent?
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
# a) 4004h = 0100 0000 0000 0100b: M is 1 (bit 14), SCT is 0, SC is bits 8:1 = 02h, P is 0. INVALID
#    FIELD, and the error log page knows more.
# b) First SCT, then SC, both in hexadecimal.
# c) The controller is broken, or memory was overwritten. The driver must not look up anything with
#    such a CID; this one logs the entry, and gives up the queue if that happens again and again.
