// Package gosuite is a test suite of somebody's.
package gosuite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestData(t *testing.T) {
	text, err := os.ReadFile("data.txt")
	if err != nil || string(text) != "some data\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTemporary(t *testing.T) {
	path := filepath.Join(os.Getenv("TEST_TMPDIR"), "file")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Error(err)
	}
}

func TestSandbox(t *testing.T) {
	if os.Getenv("SANDBOX") == "" {
		t.Skip("not said to be in one")
	}
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "init" {
		t.Errorf("pid 1 is %q, %v", comm, err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil || !strings.Contains(string(release), "runsc-lite") {
		t.Errorf("the kernel is %q, %v", release, err)
	}
}

func TestOutputs(t *testing.T) {
	dir := os.Getenv("TEST_UNDECLARED_OUTPUTS_DIR")
	if dir == "" {
		t.Skip("no directory for outputs")
	}
	if err := os.WriteFile(filepath.Join(dir, "report.txt"), []byte("a report\n"), 0o644); err != nil {
		t.Error(err)
	}
}

func TestFive(t *testing.T) {}

func TestSix(t *testing.T) {}
