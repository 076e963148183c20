#!/bin/sh
# Shows runsc-lite at work: real programs, on a kernel of their own.
set -eu
runner=$1

title() { printf '\n\033[1m%s\033[0m\n' "$1"; }
# show runs a command line in the sandbox, having said which.
show() {
	printf '$ %s do /bin/busybox sh -c '\''%s'\''\n' "$runner" "$1"
	"$runner" do /bin/busybox sh -c "$1"
}

title "The host's kernel:"
uname -srm

title "A static busybox asks the sandbox for its kernel, and who runs there:"
show 'busybox uname -srm; busybox ps'

title "A shell with a pipeline, three processes:"
show 'busybox seq 1 1000 | busybox grep 7 | busybox wc -l'

title "What it writes stays in the sandbox:"
note=$(cd "$(dirname "$runner")" && pwd)/note
show "echo kept in memory >$note && busybox cat $note"
printf '$ ls %s      # on the host\n' "$note"
if ls "$note"; then
	echo "the host's file tree was written to" >&2
	exit 1
fi

title "Background jobs, signals, exit status:"
show 'busybox sleep 60 & kill -TERM $!; wait $!; echo "sleep ended with status $?"'

title "The system calls of a program, all of them answered by the sentry:"
printf '$ %s do --strace /bin/busybox true\n' "$runner"
"$runner" do --strace /bin/busybox true 2>&1 | tail -n 8
