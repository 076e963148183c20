package kvm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// start makes the platform on an empty memory file.
func start(tb testing.TB, c Config) *KVM {
	tb.Helper()
	fd, err := unix.MemfdCreate("kvm-test", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 1<<30); err != nil {
		tb.Fatal(err)
	}
	c.MemoryFD = fd
	p, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// TestReport: the probe comes to the same each time.
func TestReport(t *testing.T) {
	first := start(t, Config{}).Report()
	t.Logf("%+v", first)
	if first.RoundTrip <= 0 || first.CR4&cr4Needed != cr4Needed {
		t.Errorf("%+v", first)
	}
	for range 3 {
		r := start(t, Config{}).Report()
		r.RoundTrip = first.RoundTrip
		if r != first {
			t.Errorf("the probe says %+v, and %+v before", r, first)
		}
	}
}
