# SPDX-License-Identifier: MIT
# What 'make gdb' does: hello_world up to its first doorbell, with the ring drawn.
set pagination off
set debuginfod enabled off
set confirm off
set print pretty on
python gdb.execute("skip -gfi */sysdeps/*", to_string=True)
file build/debug/hello_world
source docs/gdb/nvme.py
set args soft
echo \nhello_world runs to the doorbell of its first command:\n\n
tbreak nvme_ring_sq_doorbell
run
echo \n
nvme ring
echo \nThe command is in the ring, and the controller does not know it yet. Go on with:\n
echo \ \ up              and 'print *tr': the command and who waits for it\n
echo \ \ nvme regs       the controller's registers\n
echo \ \ step            again and again: through the doorbell into the controller\n
echo \ \ nvme help       all commands; walkthroughs are in docs/gdb/README.md\n\n
