package lifecycle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"runsc-lite/tests/harness"
)

func TestEnvironment(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{
			Args:  []string{busybox, "sh", "-c", `echo "$A|$B|$C"`},
			Env:   []string{"A=from caller", "B=also"},
			Flags: []string{"--env", "B=over", "--env", "C=with = and space"},
		})
		if want := "from caller|over|with = and space\n"; string(r.Stdout) != want {
			t.Errorf("want %q, got %q; stderr %q", want, r.Stdout, r.Stderr)
		}
	})
}

func TestWorkingDirectory(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{Args: []string{busybox, "pwd"}, Dir: "/proc"})
		if string(r.Stdout) != "/proc\n" {
			t.Errorf("got %q; stderr %q", r.Stdout, r.Stderr)
		}
	})
}

// TestRoot runs a program in a tree of its own, which it cannot leave and does
// not change. All that it touches is below a directory whose name exists only
// in that tree, so a runner that ignores --root finds no program to run.
func TestRoot(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		root := harness.Scratch(t)
		own := fmt.Sprintf("only-in-the-test-root-%d", rand.Uint64())
		if err := os.Mkdir(filepath.Join(root, own), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(busybox)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"busybox": data, "gone": []byte("x"), "file": []byte("kept\n")} {
			if err := os.WriteFile(filepath.Join(root, own, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		r := run(t, target, harness.Spec{
			Flags: []string{"--root=" + root},
			Args: []string{"/" + own + "/busybox", "sh", "-c", `cd "$0" || exit 9
cat file "/../..$0/file"; echo changed >file; echo new >new; cat file new
rm gone; ls gone 2>/dev/null || echo removed; ls /etc/passwd 2>/dev/null || echo alone`, "/" + own},
		})
		if want := "kept\nkept\nchanged\nnew\nremoved\nalone\n"; string(r.Stdout) != want {
			t.Errorf("want %q, got %q; stderr %q", want, r.Stdout, r.Stderr)
		}
		if b, err := os.ReadFile(filepath.Join(root, own, "file")); err != nil || string(b) != "kept\n" {
			t.Errorf("the host's file is now %q, %v", b, err)
		}
		for name, want := range map[string]bool{"new": false, "gone": true} {
			if _, err := os.Lstat(filepath.Join(root, own, name)); (err == nil) != want {
				t.Errorf("%s on the host: %v", name, err)
			}
		}
	})
}

func TestStrace(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{
			Args:  []string{busybox, "sh", "-c", "/bin/busybox cat /no/such/file; exit 3"},
			Flags: []string{"--strace"},
		})
		if r.Status != 3 {
			t.Errorf("status %d", r.Status)
		}
		for _, want := range []string{"execve(", "/bin/busybox", "\"/no/such/file\"", "ENOENT", "exit_group(3)", "wait4("} {
			if !bytes.Contains(r.Stderr, []byte(want)) {
				t.Errorf("no %q in the trace:\n%.2000s", want, r.Stderr)
			}
		}
	})
}
