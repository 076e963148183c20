// Package bench compares the speed of operations natively, on each platform of
// runsc-lite, and on gVisor's runsc:
//
//	go test -bench . -benchtime 1x -timeout 90m ./tests/bench
//	go test -bench 'Fork|Startup' -count 6 -benchtime 1x ./tests/bench | benchstat -col /platform -
//
// The time of an operation is measured inside the guest by the probe program;
// what is measured from outside says so. One run measures all platforms of an
// operation right after each other, and repeats that, so that a slow moment of
// the machine hits all of them; only ratios within one run mean anything. A
// table of them closes the run. tools/plot draws the output.
//
// gVisor's runsc is found by the RUNSC variable, in the path, or in ~/go/bin;
// install it with
//
//	CGO_ENABLED=0 go install gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237
package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/bench/table"
	"runsc-lite/tests/harness"
)

// A way is one of the things compared.
type way struct {
	name string
	// argv is what runs a program, given as the last arguments.
	argv []string
	// target is set for native and our own platforms.
	target *harness.Target
}

// limit bounds one run of one way, to end what hangs.
const limit = 60 * time.Second

// command is what runs a program; its output is kept.
func (w way) command(ctx context.Context, args ...string) (cmd *exec.Cmd, out, errOut *bytes.Buffer) {
	argv := append(append([]string{}, w.argv...), args...)
	if w.target != nil {
		argv = w.target.Argv(harness.Spec{Args: args})
	}
	cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = harness.BaseEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
	out, errOut = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, errOut
	return cmd, out, errOut
}

// run runs a program to its end and returns its output and how long it took.
func (w way) run(args ...string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd, out, errOut := w.command(ctx, args...)
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("did not end within %v", limit)
		}
		return "", took, fmt.Errorf("%s: %.80q: %w: %s", w.name, args, err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), took, nil
}

func runscPath() string {
	if p := os.Getenv("RUNSC"); p != "" {
		return p
	}
	if p, err := exec.LookPath("runsc"); err == nil {
		return p
	}
	if home, err := os.UserHomeDir(); err == nil {
		p := filepath.Join(home, "go", "bin", "runsc")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

func ways(tb testing.TB) []way {
	tb.Helper()
	list := []way{{name: "native", target: &harness.Native}}
	for _, t := range harness.Platforms(tb) {
		list = append(list, way{name: t.Name, target: &t})
	}
	p := runscPath()
	if p == "" {
		tb.Log("no runsc to compare with: see the package comment")
		return list
	}
	rootless := strconv.FormatBool(os.Geteuid() != 0)
	for _, platform := range []string{"systrap", "ptrace"} {
		list = append(list, way{
			name: "gvisor-" + platform,
			argv: []string{p, "--rootless=" + rootless, "--network=none", "--ignore-cgroups", "--platform=" + platform, "do"},
		})
	}
	return list
}

func probe(tb testing.TB) string {
	tb.Helper()
	return harness.Program(tb, "RUNSC_LITE_PROBE", "tests/bench/probe/probe.c")
}

// probes are the names of the operations.
func probes(tb testing.TB) []string {
	tb.Helper()
	out, err := exec.Command(probe(tb), "--list").Output()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Fields(string(out))
}

// budget bounds what one measurement of one way may take; the number of
// operations is chosen to stay near a third of it.
const budget = 600 * time.Millisecond

// ops is how often an operation is done for one figure, from what a single
// short run took.
func ops(perOp float64) int {
	n := int(float64(budget.Nanoseconds()) / 3 / perOp)
	return min(max(n, 3), 200_000)
}

// runProbe does an operation n times and returns the nanoseconds of one.
func runProbe(w way, path, name string, n int) (float64, error) {
	out, _, err := w.run(path, name, strconv.Itoa(n))
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out), 64)
}

// benchProbe measures the operation of the name, and those that are the same
// with a parameter (name/key=value).
func benchProbe(b *testing.B, name string) {
	path := probe(b)
	for _, p := range probes(b) {
		head, parameter, _ := strings.Cut(p, "/")
		if head != name {
			continue
		}
		measure := func(b *testing.B) {
			count := make(map[string]int)
			compare(b, p, "ns/op", 3, func(w way) (float64, error) {
				if count[w.name] == 0 {
					first, err := runProbe(w, path, p, 3)
					if err != nil {
						return 0, err
					}
					count[w.name] = ops(max(first/2, 20)) // the first few are slower
				}
				return runProbe(w, path, p, count[w.name])
			})
		}
		if parameter == "" {
			measure(b)
		} else {
			b.Run(parameter, measure)
		}
	}
}

var results table.Table

// repetitions is what -count asks for: how often a sub-benchmark is reported. The
// testing package repeats those, and not what calls them.
func repetitions() int {
	if f := flag.Lookup("test.count"); f != nil {
		if n, err := strconv.Atoi(f.Value.String()); err == nil {
			return max(n, 1)
		}
	}
	return 1
}

// compare measures all ways in turn, rounds times, and then reports the median
// of each as a sub-benchmark; with -count, one of so many rounds for each repetition.
// A way that fails once is left out.
func compare(b *testing.B, name, unit string, rounds int, one func(w way) (float64, error)) {
	all := ways(b)
	figures := make([][]float64, len(all))
	failed := make([]error, len(all))
	reps := repetitions()
	for range reps * rounds {
		for i, w := range all {
			if failed[i] != nil {
				continue
			}
			v, err := one(w)
			if failed[i] = err; err == nil {
				figures[i] = append(figures[i], v)
			}
		}
	}
	for i, w := range all {
		rep := 0
		b.Run("platform="+w.name, func(b *testing.B) {
			if failed[i] != nil {
				results.Add(name, w.name, unit, 0)
				b.Skip(failed[i])
			}
			m := median(figures[i][rep*rounds : (rep+1)*rounds])
			rep = (rep + 1) % reps
			results.Add(name, w.name, unit, median(figures[i]))
			// The work is done: what the testing package makes of this empty
			// function is replaced by the figure, or left out.
			if unit != "ns/op" {
				b.ReportMetric(0, "ns/op")
			}
			b.ReportMetric(m, unit)
		})
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func BenchmarkNullSyscall(b *testing.B)      { benchProbe(b, "NullSyscall") }
func BenchmarkGetpid(b *testing.B)           { benchProbe(b, "Getpid") }
func BenchmarkClockRead(b *testing.B)        { benchProbe(b, "ClockRead") }
func BenchmarkReadNull(b *testing.B)         { benchProbe(b, "ReadNull") }
func BenchmarkWriteNull(b *testing.B)        { benchProbe(b, "WriteNull") }
func BenchmarkOpenClose(b *testing.B)        { benchProbe(b, "OpenClose") }
func BenchmarkCreateUnlink(b *testing.B)     { benchProbe(b, "CreateUnlink") }
func BenchmarkStat(b *testing.B)             { benchProbe(b, "Stat") }
func BenchmarkPread4K(b *testing.B)          { benchProbe(b, "Pread4K") }
func BenchmarkEpollReady(b *testing.B)       { benchProbe(b, "EpollReady") }
func BenchmarkPageFault(b *testing.B)        { benchProbe(b, "PageFault") }
func BenchmarkMmapMunmap(b *testing.B)       { benchProbe(b, "MmapMunmap") }
func BenchmarkMprotectTouch(b *testing.B)    { benchProbe(b, "MprotectTouch") }
func BenchmarkSegvHandler(b *testing.B)      { benchProbe(b, "SegvHandler") }
func BenchmarkForkExitWait(b *testing.B)     { benchProbe(b, "ForkExitWait") }
func BenchmarkForkExecWait(b *testing.B)     { benchProbe(b, "ForkExecWait") }
func BenchmarkVforkExecWait(b *testing.B)    { benchProbe(b, "VforkExecWait") }
func BenchmarkShellExit(b *testing.B)        { benchProbe(b, "ShellExit") }
func BenchmarkFork64M(b *testing.B)          { benchProbe(b, "Fork64M") }
func BenchmarkThreadCreateJoin(b *testing.B) { benchProbe(b, "ThreadCreateJoin") }
func BenchmarkSignalSelf(b *testing.B)       { benchProbe(b, "SignalSelf") }
func BenchmarkPipePingPong(b *testing.B)     { benchProbe(b, "PipePingPong") }
func BenchmarkPipe64K(b *testing.B)          { benchProbe(b, "Pipe64K") }
func BenchmarkUnixPingPong(b *testing.B)     { benchProbe(b, "UnixPingPong") }
func BenchmarkTCPPingPong(b *testing.B)      { benchProbe(b, "TCPPingPong") }
func BenchmarkFutexPingPong(b *testing.B)    { benchProbe(b, "FutexPingPong") }

func TestMain(m *testing.M) {
	code := m.Run()
	if results.Len() > 0 {
		fmt.Println()
		results.Write(os.Stdout)
	}
	os.Exit(code)
}
