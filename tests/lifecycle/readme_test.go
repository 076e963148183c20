package lifecycle

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// root is where the README is: in the module, or, under Bazel, in the
// directory of what the test was given.
func root(t *testing.T) string {
	t.Helper()
	dir, err := harness.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// shell runs a line with a terminal's worth of nothing to read, where
// bin/runsc-lite is the runner of the target.
func shell(t *testing.T, target harness.Target, line string) (string, error) {
	t.Helper()
	dir := harness.Scratch(t)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	runner, err := os.ReadFile(target.Argv(harness.Spec{})[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "runsc-lite"), runner, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = dir, harness.BaseEnv()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReadmeCommands: each command that the README shows works.
func TestReadmeCommands(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		lines := regexp.MustCompile(`(?m)^    (bin/runsc-lite .*)$`).FindAllStringSubmatch(string(text), -1)
		if len(lines) < 3 {
			t.Fatalf("only %d commands were found", len(lines))
		}
		for _, m := range lines {
			if out, err := shell(t, target, m[1]); err != nil {
				t.Errorf("%s: %v\n%s", m[1], err, out)
			}
		}
	})
}

// TestDemo runs what `make run` shows.
func TestDemo(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		out, err := shell(t, target, "exec /bin/sh "+filepath.Join(root(t), "tools", "demo.sh")+" bin/runsc-lite")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"\nLinux ", " [init]\n", "\n271\n", "\nkept in memory\n", "\nsleep ended with status 143\n", "exit_group(0)"} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not show %q:\n%s", want, out)
			}
		}
	})
}
