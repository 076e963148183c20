# Before each case of docker-*.txt.
docker() { "$DOCKER" "$@"; }
# run and create with the runtime under test; what a case leaves is removed by its label.
run() { docker run --pull never --runtime "$RUNTIME" --label "case=$NAME" "$@"; }
create() { docker create --runtime "$RUNTIME" --label "case=$NAME" "$@"; }
# start a container in the background that lives until it is stopped.
sleeper() { run -d --name "$NAME" "$@" "$IMAGE" sh -c 'trap "exit 0" TERM; echo ready; while :; do sleep 1000 & wait $!; done' >/dev/null && wait_log ready; }
# until the log of the container has a word.
wait_log() { until docker logs "$NAME" 2>&1 | grep -q "$1"; do [ "$(docker inspect -f '{{.State.Running}}' "$NAME")" = true ] || break; sleep 0.05; done; }
# of the container: a value as a Go template.
state() { docker inspect -f "$1" "$NAME"; }
