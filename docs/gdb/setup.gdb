# SPDX-License-Identifier: MIT
# How the walkthroughs want gdb's screen: no questions, no pages, no line breaks of gdb's own, no
# colours, no downloads. A breakpoint at a function that does not exist is an error. And 'step' does
# not enter what the C library has in assembler, such as memset().
set pagination off
set confirm off
set width 0
set height 0
set style enabled off
set print thread-events off
set debuginfod enabled off
set breakpoint pending off
python gdb.execute("skip -gfi */sysdeps/*", to_string=True)
