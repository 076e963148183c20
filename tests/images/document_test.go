package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"runsc-lite/tests/harness"
)

// TestDocument runs the examples of docs/images.md as they stand there.
func TestDocument(t *testing.T) {
	root, err := harness.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "images.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyFile(t, runner(t), filepath.Join(dir, "bin", "runsc-lite"))
	ran := 0
	for _, e := range harness.Examples(string(text)) {
		missing := ""
		for _, p := range e.Needs {
			if _, err := os.Stat(p); err != nil {
				missing = p
			}
		}
		if missing != "" {
			t.Logf("line %d: not run without %s", e.Line, missing)
			continue
		}
		cmd := exec.Command("/bin/sh", "-euc", e.Text)
		cmd.Dir, cmd.Env = dir, harness.BaseEnv()
		out, err := cmd.CombinedOutput()
		if err == nil {
			err = e.Prints(string(out))
		}
		if err != nil {
			t.Errorf("docs/images.md:%d: %v\n%s\n%s", e.Line, err, e.Text, out)
		}
		ran++
	}
	if ran < 3 {
		t.Errorf("only %d examples ran", ran)
	}
}
