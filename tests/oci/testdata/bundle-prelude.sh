# Before each case of bundle-*.txt: the working directory is a bundle of the image.
rt() { "$RT" --root "$STATE" "$@"; }
# change config.json: KEY.KEY=JSON; a number is a place in a list, null removes.
config() { "$CONFIG" "$@"; }
# the status of a container.
status() { rt state "${1:-c}" 2>/dev/null | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
until_status() { until [ "$(status)" = "$1" ]; do sleep 0.02; done; }
# of what a command says on standard error only whether it has words.
says() { if grep -qi "$1" err; then echo "says: $1"; else cat err; fi; }
