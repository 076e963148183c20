package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// TestExport: what --export names comes out when the program has ended, however it
// did; nothing else does, and links lead nowhere on the host.
func TestExport(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		dir := harness.Scratch(t)
		out := filepath.Join(dir, "out")
		secret := filepath.Join(dir, "outside")
		for _, d := range []string{out, secret} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// A link that is on the host already must not lead the copy away.
		if err := os.Symlink(secret, filepath.Join(out, "trap")); err != nil {
			t.Fatal(err)
		}
		r := run(t, target, harness.Spec{Dir: dir, Args: []string{busybox, "sh", "-c", `
cd out && rm trap && mkdir -p a/b trap && echo one >a/b/file && echo caught >trap/file
ln -s ../a/b/file a/link; ln -s .. a/up; ln -s nowhere dangling; mkfifo pipe
echo two >../single; echo three >../other
(sleep 1000; echo late >late) &
kill -9 $$`},
			Flags: []string{"--export=" + out, "--export=" + filepath.Join(dir, "single"), "--export=" + filepath.Join(dir, "never")}})
		if r.Status != 125 || !strings.Contains(string(r.Stderr), "trap") {
			t.Errorf("a link of the host's in the way: status %d, %s", r.Status, r.Stderr)
		}
		if entries, err := os.ReadDir(secret); err != nil || len(entries) > 0 {
			t.Errorf("outside there is %v, %v", entries, err)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		// What was there before, and the program does not touch, stays as it is.
		if err := os.WriteFile(filepath.Join(out, "before"), []byte("kept\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		r = run(t, target, harness.Spec{Dir: dir, Args: []string{busybox, "sh", "-c", `
cd out && mkdir -p a/b && echo one >a/b/file
ln -s b/file a/link; ln -s .. a/up; ln -s nowhere dangling; mkfifo pipe
echo two >../single; echo three >../other
(sleep 1000; echo late >late) &
kill -9 $$`},
			Flags: []string{"--export=" + out, "--export=" + filepath.Join(dir, "single"), "--export=" + filepath.Join(dir, "never")}})
		if r.Status != 137 || len(r.Stderr) > 0 {
			t.Errorf("status %d, %s", r.Status, r.Stderr)
		}
		want := map[string]string{"out/a/b/file": "one\n", "out/a/link": "one\n", "out/before": "kept\n", "single": "two\n"}
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if w, ok := want[name]; !ok || w != string(text) || !d.Type().IsRegular() {
				t.Errorf("%s came out: %q", name, text)
			}
			delete(want, name)
			return err
		})
		if err != nil || len(want) > 0 {
			t.Errorf("not there: %v, %v", want, err)
		}
	})
}

// TestMissed: --missed names the calls that nobody serves.
func TestMissed(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		file := filepath.Join(harness.Scratch(t), "missed")
		r := run(t, target, harness.Spec{Args: []string{busybox, "true"}, Flags: []string{"--missed=" + file}})
		if r.Status != 0 || len(r.Stderr) > 0 {
			t.Errorf("status %d, %s", r.Status, r.Stderr)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "not supported: ") {
				t.Errorf("it says %q", line)
			}
		}
	})
}
