# SPDX-License-Identifier: MIT
#
# volatile.sed - what differs between any two runs, although nothing has changed
#
# For 'sed -E -f'. Outputs that are equal after this say the same. Keep it narrow: line numbers and
# names of functions must differ when they differ.

# Addresses in the program. (Those that the controller sees are shorter, and always the same.)
s/0x[0-9a-f]{9,16}/0xADDRESS/g
# The same, of a program that has not been loaded yet.
s/(reakpoint [0-9]+ at) 0x[0-9a-f]+/\1 0xADDRESS/
s/\(process [0-9]+\)/(process PID)/g
s/\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\]/[TIME]/g
