#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench_vm.sh - our perf beside fio on the kernel's driver, in one boot of the VM lab, on one disk
# that keeps nothing. Prints a line for each block size and queue depth: reads a second of the kernel
# (the better of io_uring and libaio), and of ours, as a multiple of that. Timings depend on the
# machine; the ratios less so.
#
#	tests/bench_vm.sh [SECONDS]	of each measurement (2)
set -eu
seconds=${1:-2}
case $seconds in
*[!0-9]* | 0) echo "bench_vm.sh: '$seconds' is no number of seconds: say 1 or more" >&2 && exit 2 ;;
esac
fio=$(command -v fio) || {
	echo "bench_vm.sh: fio is not installed: run 'sudo apt-get install fio'" >&2
	exit 1
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# In the guest: "SIZE DEPTH WHO IOPS" for each measurement.
cat >"$tmp/measure" <<'GUEST'
fio() { # ENGINE SIZE DEPTH
	/lab/fio --name=x --filename=/dev/nvme0n1 --thread --direct=1 --rw=randread --ioengine="$1" \
		--bs="$2" --iodepth="$3" --time_based --runtime="$SECONDS_EACH" --output-format=terse \
		--terse-version=3 --disk_util=0 2>&1 | awk -F';' -v what="$2 $3 $1" '
		NF > 8 && $5 == 0 { print what, $8; ok = 1 } !ok { last = $0 }
		END { if (!ok) { print "fio: " last; exit 1 } }' || exit 1
}
ours() { # NAME SIZE DEPTH OPTION...
	name=$1 size=$2 depth=$3
	shift 3
	perf -r 0000:00:03.0 -w randread -o "$size" -q "$depth" -t "$SECONDS_EACH" "$@" 2>/dev/null |
		awk -v what="$size $depth $name" '$1 == "Total" { print what, $3; ok = 1 } END { exit !ok }' || exit 1
}
for size in 512 4096 131072; do
	for depth in 1 32 128; do
		fio io_uring $size $depth
		fio libaio $size $depth
	done
done
nvme-bind bind 0000:00:03.0 >/dev/null || exit 1
for size in 512 4096 131072; do
	for depth in 1 32 128; do
		ours polling $size $depth
		ours delayed $size $depth -D
		ours interrupts $size $depth --interrupts
	done
done
GUEST

tools/vm --disk null:4G --mem 1G --timeout 900 --copy "$fio" --copy "$tmp/measure" \
	--env "SECONDS_EACH=$seconds" -- sh /lab/measure >"$tmp/out" || {
	cat "$tmp/out" >&2
	exit 1
}
tr -d '\r' <"$tmp/out" | awk '
	function ratio(name) { return sprintf("%8.1f x", iops[key, name] / kernel) }
	{ key = $1 " " $2; if (!(key in seen)) { seen[key] = 1; keys[++n] = key } iops[key, $3] = $4 }
	END {
		print "   bytes  depth   io_uring     libaio    polling    delayed  interrupts"
		for (i = 1; i <= n; i++) {
			key = keys[i]
			split(key, part)
			kernel = iops[key, "io_uring"]
			if (iops[key, "libaio"] > kernel)
				kernel = iops[key, "libaio"]
			printf "%8d %6d %10d %10d %s %s  %s\n", part[1], part[2], iops[key, "io_uring"],
				iops[key, "libaio"], ratio("polling"), ratio("delayed"), ratio("interrupts")
		}
	}'
