# SPDX-License-Identifier: MIT
# How the walkthroughs want gdb's screen: no questions, no pages, no line breaks of gdb's own, no
# colours, no downloads. A breakpoint at a function that does not exist is an error.
set pagination off
set confirm off
set width 0
set height 0
set style enabled off
set print thread-events off
set debuginfod enabled off
set breakpoint pending off
