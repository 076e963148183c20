package main

import (
	"strings"
	"testing"
)

// TestPausedEnds: a paused container is killed, and deleted by force, as one that runs.
func TestPausedEnds(t *testing.T) {
	for _, kills := range []bool{true, false} {
		b := newBundle(t, "sleep", "1000")
		verb := []string{"delete", "--force", b.id}
		if kills {
			verb = []string{"kill", b.id, "KILL"}
		}
		// The container has what it is given as standard output, until it ends.
		if err := b.command("create", "--bundle", b.dir, b.id).Run(); err != nil {
			t.Fatal(err)
		}
		b.must("start", b.id)
		if out, status := b.runtime("pause", b.id); status != 0 {
			t.Skipf("containers cannot be paused here: %s", out)
		}
		if s := b.status(); s != "paused" {
			t.Errorf("it is %s", s)
		}
		b.must(verb...)
		if out, _ := b.runtime("state", b.id); kills && !strings.Contains(out, "stopped") || !kills && !strings.Contains(out, "does not exist") {
			t.Errorf("%v: %s", verb, out)
		}
	}
}
