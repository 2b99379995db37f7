# SPDX-License-Identifier: MIT
# Completion of nvtrace in bash. 'make install' puts it where bash looks for it.

_nvtrace() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=

	# --color=auto comes as three words
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD - 2]}=
	case $prev in
	-T) words='text json csv perfetto html svg' ;;
	--input) words='auto nvt ftrace tracecmd qemu spdk' ;;
	--style) words='v23.05 v26' ;;
	--color=) words='auto always never' ;;
	-f | --since | --until | -A | -B | --top) return ;;
	*)
		case $cur in
		-*)
			words='-f -o -v -H -n -A -B -t -d -T -w -c --input --errors --since --until
				--explain --latency --no-prefix --color --style --top --lint --with
				--diff --hex --help --version'
			;;
		esac
		;;
	esac
	if [ -n "$words" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -o filenames -F _nvtrace nvtrace
