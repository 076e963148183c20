#!/bin/sh
set -eu
cd "$TEST_SRCDIR/$TEST_WORKSPACE/shsuite"
sort words.txt | head -n 1
test "$(wc -l <words.txt)" -eq 3
echo written >"$TEST_TMPDIR/file"
cat "$TEST_TMPDIR/file"
