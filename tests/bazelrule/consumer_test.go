// Package bazelrule runs tests/bazel_consumer, a workspace that uses the Bazel rule
// from outside, with the Bazel of this machine.
package bazelrule

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// source is where the project is.
func source(t *testing.T) string {
	t.Helper()
	if os.Getenv("TEST_SRCDIR") != "" {
		t.Skip("not in Bazel: it runs Bazel itself")
	}
	root, err := harness.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestDocument: the pieces of BUILD and WORKSPACE files that docs/bazel.md shows
// are those of the consumer's.
func TestDocument(t *testing.T) {
	root := source(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "bazel.md"))
	if err != nil {
		t.Fatal(err)
	}
	var files strings.Builder
	err = filepath.WalkDir(filepath.Join(root, "tests", "bazel_consumer"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, block := range strings.Split(string(text), "```python\n")[1:] {
		block, _, ok := strings.Cut(block, "```\n")
		if !ok || !strings.Contains(files.String(), block) {
			t.Errorf("tests/bazel_consumer has no\n%s", block)
		}
		found++
	}
	if found < 4 {
		t.Errorf("only %d pieces were found", found)
	}
}

// workspace is the consumer's, with a Bazel server of its own.
type workspace struct {
	t    *testing.T
	dir  string
	base string // --output_base
}

// run runs Bazel and returns its exit status: 3 is a test that failed.
func (w *workspace) run(args ...string) (int, string) {
	w.t.Helper()
	cmd := exec.Command("bazel", append([]string{"--output_base=" + w.base}, args...)...)
	cmd.Dir = w.dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("bazel %q: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// test runs tests.
func (w *workspace) test(want int, args ...string) string {
	w.t.Helper()
	began := time.Now()
	status, out := w.run(append([]string{"test", "--color=no", "--curses=no", "--noshow_progress", "--jobs=2"}, args...)...)
	w.t.Logf("bazel test %s: status %d, %.1f s", strings.Join(args, " "), status, time.Since(began).Seconds())
	if status != want {
		w.t.Errorf("bazel test %q: status %d, want %d\n%s", args, status, want, out)
	}
	return out
}

// logs is the directory of what a test left.
func (w *workspace) logs(target string) string {
	return filepath.Join(w.base, "execroot", "consumer", "bazel-out", "k8-fastbuild", "testlogs", filepath.FromSlash(target))
}

// cases are the Go tests that a test.xml lists as run and not skipped.
func (w *workspace) cases(path string) (names []string) {
	w.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Error(err)
		return nil
	}
	var x struct {
		Suites []struct {
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &x); err != nil {
		w.t.Errorf("%s: %v\n%s", path, err, text)
	}
	for _, s := range x.Suites {
		for _, c := range s.Cases {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestConsumer(t *testing.T) {
	root := source(t)
	if !harness.Slow() {
		t.Skip("slow: it builds everything with Bazel; RUNSC_LITE_SLOW=1 runs it")
	}
	if _, err := exec.LookPath("bazel"); err != nil {
		t.Skip("no bazel: apt-get install bazel-bootstrap bazel-skylib")
	}
	base, err := os.MkdirTemp("", "consumer")
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{t, filepath.Join(root, "tests", "bazel_consumer"), base}
	t.Cleanup(func() {
		w.run("shutdown")
		if out, err := exec.Command("sh", "-c", `chmod -R u+w "$0" && rm -rf "$0"`, base).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	// All that is not meant to fail passes.
	w.test(0, "//...")

	all := []string{"TestData", "TestFive", "TestOutputs", "TestSandbox", "TestSix", "TestTemporary"}
	t.Run("outputs", func(t *testing.T) {
		w := *w
		w.t = t
		logs := w.logs("gosuite/gosuite_sandbox_test")
		if got := w.cases(filepath.Join(logs, "test.xml")); !slices.Equal(slices.Sorted(slices.Values(got)), all) {
			t.Errorf("test.xml lists %q", got)
		}
		zipped, err := os.ReadFile(filepath.Join(logs, "test.outputs", "outputs.zip"))
		if err != nil {
			t.Error(err)
		} else if !bytes.Contains(zipped, []byte("report.txt")) {
			t.Error("report.txt is not among the undeclared outputs")
		}
	})
	t.Run("shards", func(t *testing.T) {
		w := *w
		w.t = t
		shards, err := filepath.Glob(filepath.Join(w.logs("gosuite/gosuite_sharded_test"), "shard_*_of_3", "test.xml"))
		if err != nil || len(shards) != 3 {
			t.Fatalf("%d shards, %v", len(shards), err)
		}
		var ran []string
		for _, s := range shards {
			names := w.cases(s)
			if len(names) == 0 || len(names) == len(all) {
				t.Errorf("%s ran %q", s, names)
			}
			ran = append(ran, names...)
		}
		if slices.Sort(ran); !slices.Equal(ran, all) {
			t.Errorf("together they ran %q", ran)
		}
	})
	t.Run("filter", func(t *testing.T) {
		w := *w
		w.t = t
		w.test(0, "--test_filter=TestTemp", "//gosuite:gosuite_sandbox_test")
		if got := w.cases(filepath.Join(w.logs("gosuite/gosuite_sandbox_test"), "test.xml")); !slices.Equal(got, []string{"TestTemporary"}) {
			t.Errorf("it ran %q", got)
		}
	})
	for _, x := range []struct {
		target string
		log    []string
	}{
		{"failing_sandbox_test", []string{"the sum is 2, want 3", "not supported", "syscall_0x1fe (1)", "its last system calls", "+++ exited with 1 +++"}},
		{"crashing_sandbox_test", []string{"about to crash", "signal 11 (segmentation fault) ended it"}},
		{"differing_sandbox_test", []string{"it differs from the native run", "standard output, line 1"}},
		{"lasting_sandbox_test --test_timeout=3", []string{"it lasts", "TIMEOUT"}},
	} {
		target, flag, _ := strings.Cut(x.target, " ")
		t.Run(target, func(t *testing.T) {
			w := *w
			w.t = t
			args := []string{"//failing:" + target}
			if flag != "" {
				args = append(args, flag)
			}
			out := w.test(3, args...)
			for _, text := range x.log {
				if !strings.Contains(out, text) {
					t.Errorf("the log does not show %q:\n%s", text, out)
				}
			}
		})
	}
	t.Run("cost", func(t *testing.T) {
		w := *w
		w.t = t
		w.cost("gosuite/gosuite_test", "gosuite/gosuite_sandbox_test")
	})
	t.Run("document", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(root, "docs", "bazel.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range harness.Examples(string(text)) {
			line := strings.TrimSpace(e.Text)
			args, ok := strings.CutPrefix(line, "bazel ")
			if !ok || strings.Contains(line, "\n") {
				t.Errorf("docs/bazel.md:%d: %q is no call of Bazel", e.Line, line)
				continue
			}
			w := *w
			w.t = t
			if status, out := w.run(strings.Fields(args)...); status != 0 {
				t.Errorf("docs/bazel.md:%d: %s: status %d\n%s", e.Line, line, status, out)
			}
		}
	})
}

// cost compares a test that runs inside with the same natively, in turns: the
// fastest of each.
func (w *workspace) cost(native, inside string) {
	w.t.Helper()
	bin := filepath.Join(w.base, "execroot", "consumer", "bazel-out", "k8-fastbuild", "bin")
	once := func(target string) time.Duration {
		runfiles := filepath.Join(bin, target+".runfiles")
		if _, err := os.Stat(runfiles); err != nil { // a go_test has a directory of its own
			runfiles = filepath.Join(bin, filepath.Dir(target), filepath.Base(target)+"_", filepath.Base(target)+".runfiles")
		}
		cmd := exec.Command(filepath.Join(runfiles, "consumer", target), "-test.run=TestFive")
		if _, err := os.Stat(cmd.Path); err != nil {
			cmd.Path = strings.TrimSuffix(runfiles, ".runfiles")
		}
		cmd.Dir = filepath.Join(runfiles, "consumer")
		cmd.Env = append(harness.BaseEnv(), "TEST_SRCDIR="+runfiles, "TEST_WORKSPACE=consumer", "TEST_TMPDIR="+w.t.TempDir())
		began := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(began)
		if err != nil {
			w.t.Fatalf("%s: %v\n%s", target, err, out)
		}
		return took
	}
	var a, b []time.Duration
	var more time.Duration
	for range 8 {
		for range 6 {
			a, b = append(a, once(native)), append(b, once(inside))
		}
		if more = slices.Min(b) - slices.Min(a); more <= 30*time.Millisecond {
			w.t.Logf("%v more than %v", more, slices.Min(a))
			return
		}
	}
	w.t.Errorf("it takes %v more than %v natively", more, slices.Min(a))
}
