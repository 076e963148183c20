package kvm

import (
	"errors"
	"os"
	"strings"
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
	p := newKVM(tb, c)
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

// TestNoDevice: errors say what to do.
func TestNoDevice(t *testing.T) {
	dir := t.TempDir()
	if _, err := openKVM(dir + "/kvm"); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "choose another platform") {
		t.Errorf("without the device: %v", err)
	}
	if err := os.WriteFile(dir+"/kvm", nil, 0); err != nil {
		t.Fatal(err)
	}
	if fd, err := openKVM(dir + "/kvm"); err == nil {
		unix.Close(fd)
		if os.Getuid() != 0 {
			t.Error("a device without permissions was opened")
		}
	} else if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "group") {
		t.Errorf("without permission: %v", err)
	}
	if _, err := ioctl(-1, ioGetAPIVersion, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
}

// TestReportInWords: a host that is as the manuals have it has no quirks, and each
// departure is said.
func TestReportInWords(t *testing.T) {
	good := Report{Ring0: true, Stub: true, SysRet: true, Answers: true, CR4: cr4Wanted, XCR0: xcr0Wanted}
	if q := good.Quirks(); len(q) != 0 {
		t.Errorf("quirks of a good host: %q", q)
	}
	features := strings.Join(good.Features(), ", ")
	for _, f := range []string{"nested page tables", "answers some calls", "SMAP", "SYSRET", "AVX-512"} {
		if !strings.Contains(features, f) {
			t.Errorf("%q says nothing of %s", features, f)
		}
	}
	for what, change := range map[string]func(*Report){
		"ring 0 is emulated": func(r *Report) { r.Ring0, r.Stub, r.SysRet = false, false, false },
		"segment bases":      func(r *Report) { r.Stub = false },
		"SYSRET":             func(r *Report) { r.SysRet = false },
		"stale":              func(r *Report) { r.Shadows = true },
		"INT":                func(r *Report) { r.INTInvalid = true },
		"CR4 has no bits":    func(r *Report) { r.CR4 &^= cr4UMIP },
		"thread":             func(r *Report) { r.SlowThreads = true },
		"slots":              func(r *Report) { r.FewSlots = true },
	} {
		r := good
		change(&r)
		if q := r.Quirks(); len(q) != 1 || !strings.Contains(q[0], what) {
			t.Errorf("%s: the quirks are %q", what, q)
		}
	}
}
