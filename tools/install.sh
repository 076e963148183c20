#!/bin/sh
# Installs Debian packages. It is called for what is missing only.
set -eu
sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "missing: $*. Install them as root: apt-get install $*" >&2; exit 1; }
	sudo=sudo
fi
command -v apt-get >/dev/null || { echo "missing: $*, and there is no apt-get here; install them by hand" >&2; exit 1; }
echo "installing $*"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# noninteractive: there may be no terminal to ask on.
if ! { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
