#!/bin/sh
# SPDX-License-Identifier: MIT
#
# How fast nvtrace is: records and megabytes per second, and how many times as long it takes as
# cat (or grep -c, for text) takes for the same file. Times of one run compare with each other; the
# ratios are what can be compared between machines, roughly.
#
#	tests/bench_trace.sh [SLOTS]		run at the top of the source tree, after make
#
# BUILD names another build directory than build/; NVTRACE and RUN_IO name other programs than its
# nvtrace and tests/run_io.
set -eu

slots=${1:-1000000}
nvtrace=${NVTRACE:-${BUILD:-build}/nvtrace}
run_io=${RUN_IO:-${BUILD:-build}/tests/run_io}
fixture=tests/fixtures/linux-6.1.176.io.ftrace.txt
runs=3
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

for program in "$nvtrace" "$run_io"; do
	if [ ! -x "$program" ]; then
		echo "bench_trace.sh: there is no $program: run make $program first" >&2
		exit 1
	fi
done

# The shortest of some runs of a command, in nanoseconds. Its output goes through a pipe, because
# cat and grep know shortcuts for /dev/null.
measure() {
	best=
	for _ in $(seq "$runs"); do
		begin=$(date +%s%N)
		"$@" 2>/dev/null | cat >/dev/null
		took=$(($(date +%s%N) - begin))
		if [ -z "$best" ] || [ "$took" -lt "$best" ]; then
			best=$took
		fi
	done
	echo "$best"
}

# row WHAT NANOSECONDS BYTES RECORDS OF_NANOSECONDS OF
row() {
	awk -v what="$1" -v ns="$2" -v bytes="$3" -v n="$4" -v ref="$5" -v of="$6" 'BEGIN {
		printf "  %-16s %7.3f s %9.2f million/s %9.1f MB/s %8.1f times %s\n",
			what, ns / 1e9, n / ns * 1e3, bytes / ns * 1e3, ns / ref, of
	}'
}

# table FILE RECORDS UNIT REFERENCE...: what decoding costs beside a program that only reads it
table() {
	file=$1 records=$2 unit=$3
	shift 3
	bytes=$(wc -c <"$file")
	echo "$records $unit, $((bytes / 1000000)) MB:"
	ref=$(measure "$@" "$file")
	row "$1" "$ref" "$bytes" "$records" "$ref" "$1"
	for options in "-T text" "-T json" "-T csv" "-c"; do
		# shellcheck disable=SC2086 # an option and its value
		row "nvtrace $options" "$(measure "$nvtrace" $options "$file")" "$bytes" "$records" \
			"$ref" "$1"
	done
}

# The header's number of the next slot, 32 bytes into the file: so many events were recorded.
events() {
	if [ -s "$dir/run.nvt" ]; then
		od -A n -t u8 -j 32 -N 8 "$dir/run.nvt" | tr -d ' '
	else
		echo 0
	fi
}

NVME_TRACE="$dir/run.nvt" NVME_TRACE_SLOTS="$slots" "$run_io" hold soft >/dev/null &
pid=$!
while [ "$(events)" -le "$slots" ]; do
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "bench_trace.sh: $run_io has ended too early" >&2
		exit 1
	fi
	sleep 0.1
done
kill "$pid"
wait "$pid" 2>/dev/null || :
pid=
table "$dir/run.nvt" "$slots" "slots of the flight recorder" cat

lines=$(wc -l <"$fixture")
i=0
while [ "$i" -lt $((slots / 2 / lines + 1)) ]; do
	cat "$fixture"
	i=$((i + 1))
done >"$dir/run.ftrace"
table "$dir/run.ftrace" "$(wc -l <"$dir/run.ftrace")" "lines of ftrace" grep -c nvme_setup_cmd
