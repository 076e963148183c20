// Package harness runs one program in several ways and compares what came out.
//
// The first way is always native: the host's own Linux is the reference. The
// others are the platforms of runsc-lite. A test that does not pass natively
// is a broken test; a test that passes natively and differs on a platform is a
// bug of the platform or of the sentry.
//
// The environment steers it:
//
//	RUNSC_LITE            the runner to test; default: built from this module
//	RUNSC_LITE_PLATFORMS  comma-separated platforms; default "systrap,ptrace"; "none"
//	                      runs natively only
//	RUNSC_LITE_KVM=1      a host without KVM is a failure; otherwise what needs it is
//	                      left out, and said to be not tested
//	RUNSC_LITE_GUESTS     a directory with guest programs already built
//	RUNSC_LITE_PROBE      the program of tests/bench already built
//	RUNSC_LITE_SLOW=1     also run what is marked slow
//	RUNSC_LITE_CACHE      where built programs are kept; default: a directory
//	                      in the user's cache
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultLimit bounds one run of a program. It is generous: it exists to end
// hangs, not to measure.
const DefaultLimit = 30 * time.Second

// Target is one way to run a program.
type Target struct {
	// Name is "native" or the name of a platform.
	Name string
	// runner is the path of runsc-lite; empty means native.
	runner string
}

// Native is the host itself.
var Native = Target{Name: "native"}

// IsNative says whether programs run on the host itself.
func (t Target) IsNative() bool { return t.runner == "" }

// NewTarget makes a target of a runner and the platform it is to use.
func NewTarget(runner, platform string) Target { return Target{Name: platform, runner: runner} }

// Spec says what to run.
type Spec struct {
	// Args is the program (an absolute path) and its arguments.
	Args []string
	// Dir is the working directory; "/" if empty.
	Dir string
	// Env is the whole environment, K=V. Nil means BaseEnv.
	Env []string
	// Stdin is what the program reads; nil means an empty input.
	Stdin []byte
	// Flags are added to the runner's own; ignored natively.
	Flags []string
	// Limit bounds the run; DefaultLimit if zero.
	Limit time.Duration
}

// BaseEnv is the environment of every run that does not say otherwise: small,
// and the same on every machine.
func BaseEnv() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/", "LANG=C", "TZ=UTC"}
}

// Result is what came out.
type Result struct {
	Stdout, Stderr []byte
	// Status is the exit status, or 128+n if signal n ended the program.
	Status int
	// TimedOut says that the limit passed and the program was killed.
	TimedOut bool
	// Elapsed is the wall-clock time from start to end.
	Elapsed time.Duration
}

// Argv returns the host's command line for a spec.
func (t Target) Argv(s Spec) []string {
	if t.IsNative() {
		return s.Args
	}
	argv := []string{t.runner, "do", "--platform=" + t.Name, "--cwd=" + s.dir()}
	for _, kv := range s.env() {
		argv = append(argv, "--env", kv)
	}
	argv = append(argv, s.Flags...)
	return append(argv, s.Args...)
}

func (s Spec) dir() string {
	if s.Dir == "" {
		return "/"
	}
	return s.Dir
}

func (s Spec) env() []string {
	if s.Env == nil {
		return BaseEnv()
	}
	return s.Env
}

// Command returns the prepared command, in a process group of its own.
func (t Target) Command(ctx context.Context, s Spec) *exec.Cmd {
	onlyStandardStreams()
	argv := t.Argv(s)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir()
	cmd.Env = s.env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A stray descendant that keeps the output open must not hang the test.
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// onlyStandardStreams keeps from programs the descriptors that this process has
// been given itself: natively a program would see them.
var onlyStandardStreams = sync.OnceFunc(func() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // Linux before 5.11: they stay
})

// Run runs a program to its end. The error is about starting it, never about
// what it did.
func (t Target) Run(s Spec) (Result, error) {
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := t.Command(ctx, s)
	var out, errOut bytes.Buffer
	cmd.Stdin = bytes.NewReader(s.Stdin)
	if s.Stdin == nil {
		cmd.Stdin = nil // the null device, with no copying goroutine
	}
	cmd.Stdout, cmd.Stderr = &out, &errOut
	start := time.Now()
	err := cmd.Run()
	r := Result{Stdout: out.Bytes(), Stderr: errOut.Bytes(), Elapsed: time.Since(start)}
	r.TimedOut = ctx.Err() != nil
	var exit *exec.ExitError
	switch {
	case err == nil, errors.As(err, &exit), r.TimedOut:
	case errors.Is(err, exec.ErrWaitDelay):
		r.Stderr = append(r.Stderr, "harness: a descendant kept the output open\n"...)
		r.TimedOut = true
	default:
		return r, fmt.Errorf("run %q: %w", t.Argv(s), err)
	}
	r.Status = Status(cmd.ProcessState)
	return r, nil
}

// Status is the exit status as a shell would show it: 128+n for signal n.
func Status(ps *os.ProcessState) int {
	if ps == nil {
		return -1
	}
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}

// Diff says how got differs from want; it is empty if they agree.
func Diff(want, got Result) string {
	var b strings.Builder
	if got.TimedOut {
		fmt.Fprintf(&b, "did not end within the limit (%.1fs)\n", got.Elapsed.Seconds())
	}
	if want.Status != got.Status {
		fmt.Fprintf(&b, "exit status: want %d, got %d\n", want.Status, got.Status)
	}
	diffText(&b, "stdout", want.Stdout, got.Stdout)
	diffText(&b, "stderr", want.Stderr, got.Stderr)
	return b.String()
}

func diffText(b *strings.Builder, what string, want, got []byte) {
	if bytes.Equal(want, got) {
		return
	}
	fmt.Fprintf(b, "%s: want %s\n%s: got  %s\n", what, clip(want), what, clip(got))
}

func clip(p []byte) string {
	const most = 1500
	if len(p) > most {
		return fmt.Sprintf("%q … (%d bytes)", p[:most], len(p))
	}
	return fmt.Sprintf("%q", p)
}

// Compare runs s natively, checks the outcome with native (which may be nil),
// and then on each platform as sub-tests named after it, where the outcome has
// to be the same. name is how the known gaps call this test. If fresh is not
// nil it is called before each run and returns the working directory.
func Compare(t *testing.T, gaps *Gaps, name string, s Spec, fresh func(t *testing.T) string, native func(t *testing.T, r Result)) {
	t.Helper()
	compareOn(t, Platforms(t), gaps, name, s, fresh, native)
}

// compareOn is Compare on given platforms.
func compareOn(t *testing.T, targets []Target, gaps *Gaps, name string, s Spec, fresh func(t *testing.T) string, native func(t *testing.T, r Result)) {
	t.Helper()
	run := func(t *testing.T, target Target) Result {
		t.Helper()
		s := s
		if fresh != nil {
			s.Dir = fresh(t)
		}
		r, err := target.Run(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := run(t, Native)
	if want.TimedOut {
		t.Fatalf("native run did not end within the limit\nstdout: %s\nstderr: %s", clip(want.Stdout), clip(want.Stderr))
	}
	if native != nil {
		native(t, want)
	}
	for _, target := range targets {
		t.Run(target.Name, func(t *testing.T) {
			diff := Diff(want, run(t, target))
			gaps.Judge(t, target.Name, name, diff)
		})
	}
}
