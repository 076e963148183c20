// Package inside is an example of a Go test that Bazel runs natively and in a
// sandbox: see BUILD.bazel.
package inside

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestRunfile(t *testing.T) {
	text, err := os.ReadFile("greeting.txt")
	if err != nil || string(text) != "hello\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestWriteAndRun(t *testing.T) {
	script := t.TempDir() + "/script"
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho ran $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(script, "it").CombinedOutput()
	if err != nil || string(out) != "ran it\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestKernel: inside, pid 1 is the sandbox's own.
func TestKernel(t *testing.T) {
	if os.Getenv("INSIDE") == "" {
		t.Skip("natively there is nothing to see")
	}
	out, err := exec.Command("/bin/cat", "/proc/1/comm").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "init" {
		t.Errorf("pid 1 is %q, %v", out, err)
	}
}
