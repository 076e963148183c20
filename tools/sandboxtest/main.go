// Command sandboxtest is the executable of a Bazel sandbox_test: it runs a test
// binary in a sandbox of runsc-lite as Bazel's own test runner would run it
// natively. What it is to run stands in a file beside it, NAME.sandbox.json, that
// the rule wrote (tools/bazeldefs/sandbox_test.bzl).
//
// The test sees the execution root and the rest of the host's files, read-only
// under a layer in memory, and the environment that Bazel gave. The few files
// that Bazel wants to have of a test (test.xml, undeclared outputs, the mark that it
// knows of shards) are copied out when it has ended.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// config is what the rule says. Paths are relative to the runfiles of the workspace.
type config struct {
	Runner     string   `json:"runner"`
	Program    string   `json:"program"`
	Platform   string   `json:"platform"` // "native": no sandbox
	Env        []string `json:"env"`
	Memory     string   `json:"memory"`
	ExpectExit int      `json:"expect_exit"`
	Compare    bool     `json:"compare"` // with a native run
	Trace      bool     `json:"trace"`   // show what it called if it fails
}

// outputs are the variables that name files or directories that Bazel reads after
// a test.
var outputs = []string{
	"XML_OUTPUT_FILE", "TEST_UNDECLARED_OUTPUTS_DIR", "TEST_UNDECLARED_OUTPUTS_ANNOTATIONS_DIR",
	"TEST_SHARD_STATUS_FILE", "TEST_PREMATURE_EXIT_FILE", "TEST_WARNINGS_OUTPUT_FILE",
	"TEST_UNUSED_RUNFILES_LOG_FILE", "TEST_INFRASTRUCTURE_FAILURE_FILE",
}

// traceLines is how many system calls are shown of a test that failed.
const traceLines = 60

func main() {
	status, err := run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "sandbox_test: %v\n", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run() (int, error) {
	text, err := os.ReadFile(os.Args[0] + ".sandbox.json")
	if err != nil {
		return 1, err
	}
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return 1, fmt.Errorf("%s.sandbox.json: %w", os.Args[0], err)
	}
	t := &test{config: c, args: os.Args[1:]}
	if t.dir, err = scratch(); err != nil {
		return 1, err
	}
	defer os.RemoveAll(t.dir)
	return t.run()
}

// scratch makes a directory for what is only needed here.
func scratch() (string, error) {
	return os.MkdirTemp(os.Getenv("TEST_TMPDIR"), "sandbox")
}

// runfile finds a file that the rule named.
func runfile(path string) string {
	if dir := os.Getenv("TEST_SRCDIR"); dir != "" {
		return filepath.Join(dir, os.Getenv("TEST_WORKSPACE"), path)
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// test is a test and how it is run.
type test struct {
	config
	args []string
	dir  string
}

// run runs the test and judges it.
func (t *test) run() (int, error) {
	var want result
	var err error
	if t.Compare {
		if want, err = t.native(); err != nil {
			return 1, fmt.Errorf("the native run: %w", err)
		}
	}
	cmd := t.command()
	got, err := execute(cmd, t.Compare, os.Stdout, os.Stderr)
	if err != nil {
		return 1, err
	}
	if t.Compare {
		if diff := want.differs(got); diff != "" {
			t.explain()
			return 1, errors.New("it differs from the native run:\n" + diff)
		}
	}
	if got.status == t.ExpectExit {
		return 0, nil
	}
	t.explain()
	if t.ExpectExit != 0 {
		return 1, fmt.Errorf("it ended with exit status %d, not %d", got.status, t.ExpectExit)
	}
	if got.status > 128 {
		return got.status, fmt.Errorf("signal %d (%v) ended it", got.status-128, syscall.Signal(got.status-128))
	}
	return got.status, nil
}

// command is how the test is run in a sandbox, or natively if that is its platform.
func (t *test) command() *exec.Cmd {
	program := runfile(t.Program)
	var argv []string
	if t.Platform != "native" {
		argv = append(argv, runfile(t.Runner), "do", "--platform="+t.Platform)
		if t.Memory != "" {
			argv = append(argv, "--memory="+t.Memory)
		}
		if t.Trace {
			argv = append(argv, "--strace="+t.trace(), "--missed="+t.missed())
		}
		for _, name := range outputs {
			if path := os.Getenv(name); filepath.IsAbs(path) {
				argv = append(argv, "--export="+path)
			}
		}
		argv = append(argv, "--")
	}
	argv = append(append(argv, program), t.args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), t.Env...)
	return cmd
}

func (t *test) trace() string  { return filepath.Join(t.dir, "trace") }
func (t *test) missed() string { return filepath.Join(t.dir, "missed") }

// native runs the test outside, for what its output is to be compared with. Its
// files for Bazel go nowhere.
func (t *test) native() (result, error) {
	outside := *t
	outside.Platform = "native"
	cmd := outside.command()
	for _, name := range outputs {
		if os.Getenv(name) == "" {
			continue
		}
		path := filepath.Join(t.dir, name)
		if strings.HasSuffix(name, "_DIR") {
			if err := os.Mkdir(path, 0o755); err != nil {
				return result{}, err
			}
		}
		cmd.Env = append(cmd.Env, name+"="+path)
	}
	return execute(cmd, true, io.Discard, io.Discard)
}

// explain shows what a test that failed asked of the kernel.
func (t *test) explain() {
	if !t.Trace || t.Platform == "native" {
		return
	}
	if text, err := os.ReadFile(t.missed()); err == nil && len(text) > 0 {
		fmt.Fprintf(os.Stderr, "sandbox_test: system calls that it made and that are not supported:\n%s", text)
	}
	text, err := os.ReadFile(t.trace())
	if err != nil {
		return
	}
	lines := slices.Collect(strings.Lines(string(text)))
	if more := len(lines) - traceLines; more > 0 {
		fmt.Fprintf(os.Stderr, "sandbox_test: its last system calls, after %d others:\n", more)
		lines = lines[more:]
	} else {
		fmt.Fprintln(os.Stderr, "sandbox_test: its system calls:")
	}
	fmt.Fprint(os.Stderr, strings.Join(lines, ""))
}

// result of a run.
type result struct {
	out, err []byte
	status   int // 128+n if signal n ended it
}

// execute runs a command to its end. Its output goes to out and err, and is kept if
// keep is set. Bazel's signals are passed on.
func execute(cmd *exec.Cmd, keep bool, out, err io.Writer) (r result, failure error) {
	var outCopy, errCopy bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, err
	if keep {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(out, &outCopy), io.MultiWriter(err, &errCopy)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	failure = cmd.Wait()
	var exit *exec.ExitError
	if failure != nil && !errors.As(failure, &exit) {
		return r, failure
	}
	r = result{out: outCopy.Bytes(), err: errCopy.Bytes(), status: cmd.ProcessState.ExitCode()}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.status = 128 + int(ws.Signal())
	}
	return r, nil
}

// duration is how tests tell how long they took, which is never the same twice.
var duration = regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms|s)\b`)

// differs says how another run differs from r; it is empty if it does not.
func (r result) differs(other result) string {
	var b strings.Builder
	if r.status != other.status {
		fmt.Fprintf(&b, "exit status: natively %d, inside %d\n", r.status, other.status)
	}
	for _, x := range []struct {
		name    string
		mine, o []byte
	}{{"standard output", r.out, other.out}, {"standard error", r.err, other.err}} {
		a := strings.SplitAfter(string(duration.ReplaceAll(x.mine, []byte("…s"))), "\n")
		c := strings.SplitAfter(string(duration.ReplaceAll(x.o, []byte("…s"))), "\n")
		for i := range max(len(a), len(c)) {
			va, vc := line(a, i), line(c, i)
			if va != vc {
				fmt.Fprintf(&b, "%s, line %d: natively %s, inside %s\n", x.name, i+1, va, vc)
				break
			}
		}
	}
	return b.String()
}

// line spells line i of a text.
func line(lines []string, i int) string {
	if i >= len(lines) || i == len(lines)-1 && lines[i] == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.300q", lines[i])
}
