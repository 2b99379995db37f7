# SPDX-License-Identifier: MIT
#
# 5. PRPs: how a buffer is described
# ==================================
#
# Goal: step through the function that turns a buffer into PRP1, PRP2 and, if need be, a PRP list:
# for 512 bytes, for 8 KiB, for 8 KiB that do not start at a page, for 1 MiB, and for 4 MiB, whose
# list takes more than one page.
#
# Read: Base 2.1 §4.3.1 (PRP entry and list). In nvme.h: >>prp, from the table at its start.
#
# The program is a small one, docs/gdb/prp_steps.c. It describes five buffers and sends nothing.

# How to use this file: see docs/gdb/README.md, or the start of 1-bring-up.gdb.

source docs/gdb/setup.gdb
file build/debug/prp_steps
source docs/gdb/nvme.py
set args soft
set print pretty on

# ---- 512 bytes: PRP1 alone -------------------------------------------------------------------

tbreak describe
#> Temporary breakpoint 1 at 0x49029: file docs/gdb/prp_steps.c, line 22.
run
#> Temporary breakpoint 1, describe (qp=0x5555555dba30, list=0x7fff77c8a000, buf=0x7fff77c8d000 "", len=512) at docs/gdb/prp_steps.c:22
#> 22		struct nvme_ns *ns = nvme_ctrlr_get_ns(qp->ctrlr, 1);
break nvme_prp_list_append
#> Breakpoint 2 at 0x55555555ff8d: file ./nvme.h, line 2530.
continue
#> Breakpoint 2, nvme_prp_list_append (prp=0x7fffffffe430, iova=2674688, len=512) at ./nvme.h:2530
#> 2530		uint64_t page_size = prp->page_size, mask = page_size - 1;
print len
#> $1 = 512
print/x iova
#> $2 = 0x28d000

# The function gets an IOVA: the program's address has been translated already (a subtraction, see
# nvme__dma_iova). First it computes how many pages the bytes touch. Go on line by line, until PRP1
# is written; the loop types 'next' for you:

while prp->prp_index == 0
next
end
#> 2531		uint64_t pages = ((iova & mask) + len + mask) >> __builtin_ctzll(page_size);
#> 2534		rc = nvme__prp_check(prp, iova, len);
#> 2535		if (nvme__unlikely(rc != 0))
#> 2537		prp->last_end = (uint32_t)((iova + len) & mask);
#> 2538		if (prp->prp_index == 0) { /* PRP1: the only entry that may point inside its page */
#> 2539			prp->prp1 = iova;
#> 2540			prp->prp_index = 1;
#> 2541			iova = (iova & ~mask) + page_size;
print pages
#> $3 = 1

# One page. 'mask' is FFFh; the formula rounds up the end and counts from the start of the first
# page, so a buffer that starts inside a page is counted rightly too. And until the page is done:

while pages != 0
next
end
#> 2542			pages--;
#> 2544		if (pages != 0 && prp->prp_index == 1) { /* PRP2, if this is the last page */
print *prp
#> $4 = PRPs for 1 page, PRP1 only = {
#>   prp1 = 0x28d000
#> }

# The first entry went to PRP1, and 'pages' is 0 now, so nothing is left to do. This is what the
# command says in the end:

break look
#> Breakpoint 3 at 0x55555559d000: file docs/gdb/prp_steps.c, line 17.
continue
#> Breakpoint 3, look (qp=0x5555555dba30, cmd=0x7fffffffe480) at docs/gdb/prp_steps.c:17
#> 17	}
nvme prp cmd
#> WRITE cid:0 nsid:1 SLBA:0 NLB:1 block PRP1:0x28d000 PRP2:0x0
#> 512 bytes, pages of 4096 bytes: 1 page
#> PRP1     0x28d000     512   bytes, seen by the program at 0x7fff77c8d000
#> PRP2     0x0          not used: one page is enough

# ---- 8 KiB from the start of a page: PRP1 and PRP2 -------------------------------------------

continue
#> Breakpoint 2, nvme_prp_list_append (prp=0x7fffffffe430, iova=2674688, len=8192) at ./nvme.h:2530
#> 2530		uint64_t page_size = prp->page_size, mask = page_size - 1;
continue
#> Breakpoint 3, look (qp=0x5555555dba30, cmd=0x7fffffffe480) at docs/gdb/prp_steps.c:17
#> 17	}
nvme prp cmd
#> WRITE cid:0 nsid:1 SLBA:0 NLB:16 blocks PRP1:0x28d000 PRP2:0x28e000
#> 8192 bytes, pages of 4096 bytes: 2 pages
#> PRP1     0x28d000     4096  bytes, seen by the program at 0x7fff77c8d000
#> PRP2     0x28e000     4096  bytes, seen by the program at 0x7fff77c8e000

# Two pages. PRP2 is the address of the second page. Here it follows the first one directly, since
# the buffer is one piece of the controller's address space, but nothing demands that: each entry
# can point to a page anywhere.

# ---- 8 KiB from the middle of a page: a list already -----------------------------------------

continue
#> Breakpoint 2, nvme_prp_list_append (prp=0x7fffffffe430, iova=2676736, len=8192) at ./nvme.h:2530
#> 2530		uint64_t page_size = prp->page_size, mask = page_size - 1;
print/x iova
#> $5 = 0x28d800
continue
#> Breakpoint 3, look (qp=0x5555555dba30, cmd=0x7fffffffe480) at docs/gdb/prp_steps.c:17
#> 17	}
nvme prp cmd
#> WRITE cid:0 nsid:1 SLBA:0 NLB:16 blocks PRP1:0x28d800 PRP2:0x28a000
#> 8192 bytes, pages of 4096 bytes: 3 pages
#> PRP1     0x28d800     2048  bytes, seen by the program at 0x7fff77c8d800
#> PRP2     0x28a000     a list of 2 entries:
#>   prp[0]    0x28e000     4096  bytes
#>   prp[1]    0x28f000     2048  bytes

# The same 8 KiB, but three pages: 2048 bytes, 4096, and 2048. Three do not fit into PRP1 and PRP2,
# so now PRP2 means something else: the address of a list, in which the second page is entry 0. Only
# PRP1 may point inside a page. All the others have zeros in their low bits.
#
# How does the controller know which meaning PRP2 has? It is not written anywhere: it follows from
# the length of the transfer and the offset in PRP1.

# ---- 1 MiB: a list of 255 entries ------------------------------------------------------------

continue
#> Breakpoint 2, nvme_prp_list_append (prp=0x7fffffffe430, iova=2674688, len=1048576) at ./nvme.h:2530
#> 2530		uint64_t page_size = prp->page_size, mask = page_size - 1;
tbreak nvme__prp_begin_list
#> Temporary breakpoint 4 at 0x55555555fafb: file ./nvme.h, line 2427.
continue
#> Temporary breakpoint 4, nvme__prp_begin_list (prp=0x7fffffffe430) at ./nvme.h:2427
#> 2427		uint64_t in_page = prp->list_iova & (prp->page_size - 1);
backtrace 3
#> #0  nvme__prp_begin_list (prp=0x7fffffffe430) at ./nvme.h:2427
#> #1  0x000055555555fdcc in nvme__prp_append_to_list (prp=0x7fffffffe430, addr=2682880, count=254) at ./nvme.h:2493
#> #2  0x00005555555600ae in nvme_prp_list_append (prp=0x7fffffffe430, iova=2682880, len=1048576) at ./nvme.h:2550
print *prp
#> $6 = PRPs for 2 pages, PRP1 and PRP2 = {
#>   prp1 = 0x28d000,
#>   prp2 = 0x28e000
#> }

# This is the moment when PRP2 turns from a page into a list: the driver had put the second page
# into PRP2, and now a third is coming.

finish
#> 0x000055555555fdcc in nvme__prp_append_to_list (prp=0x7fffffffe430, addr=2682880, count=254) at ./nvme.h:2493
#> 2493			if (prp->prp_index == 2 && (rc = nvme__prp_begin_list(prp)) != 0)
#> Value returned is $7 = 0
print *prp
#> $8 = PRPs for 2 pages, PRP1 and a list of 1 entry = {
#>   prp1 = 0x28d000,
#>   prp2 = 0x28a000 (the list),
#>   list_pages = 1 of 3,
#>   prp[0] = 0x28e000
#> }
continue
#> Breakpoint 3, look (qp=0x5555555dba30, cmd=0x7fffffffe480) at docs/gdb/prp_steps.c:17
#> 17	}
nvme prp cmd
#> WRITE cid:0 nsid:1 SLBA:0 NLB:2048 blocks PRP1:0x28d000 PRP2:0x28a000
#> 1048576 bytes, pages of 4096 bytes: 256 pages
#> PRP1     0x28d000     4096  bytes, seen by the program at 0x7fff77c8d000
#> PRP2     0x28a000     a list of 255 entries:
#>   prp[0]    0x28e000     4096  bytes
#>   prp[1]    0x28f000     4096  bytes
#>   prp[2]    0x290000     4096  bytes
#>   ... 250 entries, each one page after the last
#>   prp[253]  0x38b000     4096  bytes
#>   prp[254]  0x38c000     4096  bytes

# 256 pages: one in PRP1, 255 in the list. The list takes 255 * 8 = 2040 bytes, half a page.

# ---- 4 MiB: a list that goes on in another page ----------------------------------------------

continue
#> Breakpoint 2, nvme_prp_list_append (prp=0x7fffffffe430, iova=2674688, len=4194304) at ./nvme.h:2530
#> 2530		uint64_t page_size = prp->page_size, mask = page_size - 1;
tbreak nvme__prp_next_list_page
#> Temporary breakpoint 5 at 0x55555555fba7: file ./nvme.h, line 2445.
continue
#> Temporary breakpoint 5, nvme__prp_next_list_page (prp=0x7fffffffe430) at ./nvme.h:2445
#> 2445		uint64_t in_page = prp->list_iova & (prp->page_size - 1);
print *prp
#> $9 = PRPs for 513 pages, PRP1 and a list of 512 entries = {
#>   prp1 = 0x28d000,
#>   prp2 = 0x28a000 (the list),
#>   list_pages = 1 of 3,
#>   prp[0] = 0x28e000,
#>   prp[1] = 0x28f000,
#>   prp[2] = 0x290000,
#>   prp[511] = 0x48d000
#> }

# A page of 4096 bytes holds 512 entries. Entry 512 would be past the end, so the last slot becomes
# a link to the next list page, and the entry that stood there moves.

continue
#> Breakpoint 3, look (qp=0x5555555dba30, cmd=0x7fffffffe480) at docs/gdb/prp_steps.c:17
#> 17	}
nvme prp cmd
#> WRITE cid:0 nsid:1 SLBA:0 NLB:8192 blocks PRP1:0x28d000 PRP2:0x28a000
#> 4194304 bytes, pages of 4096 bytes: 1024 pages
#> PRP1     0x28d000     4096  bytes, seen by the program at 0x7fff77c8d000
#> PRP2     0x28a000     a list of 1023 entries:
#>   prp[0]    0x28e000     4096  bytes
#>   prp[1]    0x28f000     4096  bytes
#>   prp[2]    0x290000     4096  bytes
#>   ... 506 entries, each one page after the last
#>   prp[509]  0x48b000     4096  bytes
#>   prp[510]  0x48c000     4096  bytes
#>   link    0x28b000     the list goes on in this page:
#>   prp[511]  0x48d000     4096  bytes
#>   prp[512]  0x48e000     4096  bytes
#>   prp[513]  0x48f000     4096  bytes
#>   ... 507 entries, each one page after the last
#>   prp[1021] 0x68b000     4096  bytes
#>   prp[1022] 0x68c000     4096  bytes

# The controller knows that the last entry of a full list page is a link when more pages are to
# come. Nothing marks it.

# ---- With a real command ---------------------------------------------------------------------
#
# Before hello_world writes to a disk it reads the first MiB, among other places, to see if the disk
# is in use. (The software controller counts as a disk where it keeps its blocks in a file.) One
# command of this controller moves 512 KiB at most. That is a transfer with a list, on its way:

kill
#> [Inferior 1 (process 18428) killed]
delete
file build/debug/hello_world
set args soft:file=build/debug/disk.img,size=64M
break nvme_ring_sq_doorbell if qp->id == 1
#> Breakpoint 6 at 0xb141: file ./nvme.h, line 2128.
run
#> Initializing NVMe Controllers
#> Attaching to soft:file=build/debug/disk.img,size=64M
#> Attached to soft
#>   Namespace ID: 1 size: 67MB
#> Initialization complete.
#> Breakpoint 6, nvme_ring_sq_doorbell (qp=0x5555555c3320) at ./nvme.h:2128
#> 2128		nvme__doorbell_write(&qp->ctrlr->dev, qp->sq_doorbell, qp->sq_tdbl, qp->sq_tail);
up
#> #1  0x00005555555604ea in nvme_qpair_submit_request (qp=0x5555555c3320, tr=0x5555555def50, buf=0x7fffb3c8a000, len=524288) at ./nvme.h:2647
#> 2647			nvme_ring_sq_doorbell(qp);
nvme prp tr
#> READ cid:0 nsid:1 SLBA:0 NLB:1024 blocks PRP1:0x28a000 PRP2:0x20a000
#> 524288 bytes, pages of 4096 bytes: 128 pages
#> PRP1     0x28a000     4096  bytes, seen by the program at 0x7fffb3c8a000
#> PRP2     0x20a000     a list of 127 entries:
#>   prp[0]    0x28b000     4096  bytes
#>   prp[1]    0x28c000     4096  bytes
#>   prp[2]    0x28d000     4096  bytes
#>   ... 122 entries, each one page after the last
#>   prp[125]  0x308000     4096  bytes
#>   prp[126]  0x309000     4096  bytes

# The entries are those that nvme_prp_list_append() would have made. But a command has one piece of
# memory, so that nvme__build_prps() can do it with less: one or two pages take no list, and a list
# that fits into its page is filled by nvme__prp_fill(), four entries a turn.
#
# The list is the tracker's own: it was allocated with the queue pair, so that nothing has to be
# allocated on the way of a command. The data comes into a bounce buffer of the queue pair, since
# hello_world looks at the disk with memory from malloc(), which the controller cannot reach.

kill
#> [Inferior 1 (process 18431) killed]

# ---- Questions -------------------------------------------------------------------------------
#
# a) What do PRP1 and PRP2 look like for 4096 bytes that start at offset 512 of a page?
# b) How many bytes can a command move at most with one page of PRP list, if it starts at a page?
# c) Two buffers of 512 bytes at different places: can one command with PRPs fetch from both?
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
# a) PRP1 is the address with its offset, for 3584 bytes; PRP2 is the next page, for 512. Two pages,
#    no list.
# b) PRP1 gives 4096 bytes and 512 entries give 2 MiB: 2 MiB + 4 KiB.
# c) No: all entries but the first start at a page, all but the last go to the end of one. That is
#    what SGLs are for.
