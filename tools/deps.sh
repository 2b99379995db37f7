#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deps.sh - install what is missing to build, run and test this project on
# Debian and its descendants (Ubuntu, ...). Does nothing when nothing is missing.
#
#	deps.sh --build		only what 'make' and 'make demo' need
#	deps.sh			everything, with what the tests and the VM lab need

# To build nvtrace and the examples, and run them on the software controller.
build="gcc g++ make libc6-dev libpci-dev zlib1g-dev liblzma-dev"
# To compile with other compilers, to check and to find bugs.
packages="$build clang libcmocka-dev clang-format cppcheck shellcheck gdb valgrind git jq tshark chromium pkgconf"
# To see what compilers make of the driver for other processors, and to run it with 32-bit addresses.
packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
packages="$packages gcc-i686-linux-gnu libc6-dev-i386-cross gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross"
packages="$packages gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user"
# To compile it without VFIO: for another C library, and for WebAssembly, which node runs.
packages="$packages musl-tools wasi-libc libclang-rt-dev-wasm32 lld nodejs"
# What nvme.h says of the specification is compared with what these headers say, and it is tried
# beside the library that shares names with it.
packages="$packages libnvme-dev linux-libc-dev"
# For tools/vm: the machine (with its firmware) and what goes into the guest.
# The guest's kernel is no package to install: tools/vm fetches and unpacks it.
packages="$packages qemu-system-x86 qemu-system-data seabios ipxe-qemu"
packages="$packages busybox-static cpio kmod dmsetup e2fsprogs xz-utils util-linux"

case "$#${1-}" in
0) ;;
1--build) packages=$build ;;
*)
	echo "deps.sh: There is no argument \"${1-}\": run \"$0\", or \"$0 --build\" for what the examples need only." >&2
	exit 2
	;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: There is no apt here: install, under the names that your distribution has for them, $packages." >&2
	exit 1
fi

missing=
# One call for all packages; it fails if it does not know one, which is fine.
# shellcheck disable=SC2016,SC2086 # ${...} is for dpkg-query; a list
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null)
for package in $packages; do
	case "
$installed
" in
	*"
$package installed
"*) ;;
	*) missing="$missing $package" ;;
	esac
done
if [ -z "$missing" ]; then
	echo "Nothing is missing."
	exit 0
fi

if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null; then
	sudo=sudo
else
	echo "deps.sh: Only root can install packages and there is no sudo: run \"su -c 'apt-get update && apt-get install --no-install-recommends$missing'\"." >&2
	exit 1
fi

echo "Installing$missing"
# env, because sudo clears the environment.
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update ||
	echo "deps.sh: The package lists could not be updated; trying with the old ones." >&2
# shellcheck disable=SC2086 # a list
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing || {
	echo "deps.sh: apt-get could not install the packages for the reason above: repair that and run \"$0\" again." >&2
	exit 1
}
