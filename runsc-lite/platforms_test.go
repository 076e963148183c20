package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"runsc-lite/platform/kvm"
)

// TestTryPlatform: a platform either makes system calls, and says how long they
// take, or says why it does not.
func TestTryPlatform(t *testing.T) {
	works := 0
	for _, name := range []string{"systrap", "systrap:nopatch", "kvm", "ptrace", "auto"} {
		r, err := tryPlatform(name)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		works++
		if r.call <= 0 || r.call > time.Second {
			t.Errorf("%s: a system call takes %v", name, r.call)
		}
	}
	if works == 0 {
		t.Error("no platform works")
	}
}

// TestAuto: it says which platform it is, and why.
func TestAuto(t *testing.T) {
	if s := auto(); !strings.HasPrefix(s, "auto takes ") || !strings.Contains(s, "(") {
		t.Error(s)
	}
}

func TestUnknownPlatform(t *testing.T) {
	_, err := newPlatform("xen", slog.Default())
	if err == nil || !strings.Contains(err.Error(), "kvm") {
		t.Errorf("%v: says nothing of those that there are", err)
	}
}

// TestUnlikelyIsCheap: asking costs a start nothing.
func TestUnlikelyIsCheap(t *testing.T) {
	best := time.Hour
	for range 10 {
		began := time.Now()
		kvm.Unlikely()
		best = min(best, time.Since(began))
	}
	if best > time.Millisecond/2 {
		t.Errorf("it takes %v", best)
	}
}
