#!/bin/sh
# SPDX-License-Identifier: MIT
#
# where.sh BENCH KIB - where the instructions of a read of KIB KiB go, function by function.
#
# Counts with callgrind what nvme_ns_cmd_read() and nvme_qpair_process_completions() execute for each
# of 3,200 reads, 32 at a time, and adds it up by the function of nvme.h in which the line stands that
# an instruction was made from. In an optimised build nearly all of them are parts of the two.
bench=${1:?usage: where.sh BENCH KIB}
kib=${2:?usage: where.sh BENCH KIB}
header=$(dirname "$0")/../nvme.h
counts=$(mktemp) || exit
trap 'rm -f "$counts"' EXIT

for part in nvme_ns_cmd_read nvme_qpair_process_completions; do
	valgrind --quiet --tool=callgrind --callgrind-out-file="$counts" --compress-pos=no \
		--compress-strings=no --toggle-collect=$part "$bench" driver "$kib" >/dev/null 2>&1 || {
		echo "where.sh: valgrind could not run $bench: install valgrind, and build it with 'make bench'." >&2
		exit 1
	}
	awk -v part=$part '
		FNR == NR { # the header: which line is in which function?
			if ($0 ~ /^[A-Za-z].*[a-z_0-9]\(/ && $0 !~ /;$/) {
				name = $0
				sub(/\(.*/, "", name)
				sub(/.*[ *]/, "", name)
			}
			if ($0 ~ /^[{]/)
				inside = 1
			if (inside)
				of[FNR] = name
			if ($0 ~ /^[}]/)
				inside = 0
			next
		}
		/^(fl|fi|fe)=/ { ours = /nvme\.h$/ }
		/^calls=/ { getline; next } # what a call costs is counted where it is spent
		/^[0-9]+ [0-9]+$/ {
			where = ours && $1 in of ? of[$1] : "outside of nvme.h"
			sum[where] += $2
			all += $2
		}
		END {
			printf "%s: %.1f\n", part, all / 3200
			for (where in sum)
				printf "\t%6.1f  %s\n", sum[where] / 3200, where | "sort -rn"
		}' "$header" "$counts"
done
