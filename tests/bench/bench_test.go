// Package bench compares the speed of operations natively, on each platform of
// runsc-lite, and on gVisor's runsc:
//
//	go test -bench . ./tests/bench
//	go test -bench 'Fork|Startup' -count 6 ./tests/bench | benchstat -col /platform -
//
// The time of an operation is measured inside the guest by the probe program;
// what is measured from outside says so. One run measures all platforms of an
// operation right after each other, and repeats that, so that a slow moment of
// the machine hits all of them; only ratios within one run mean anything. A
// table of them closes the run.
//
// gVisor's runsc is found by the RUNSC variable, in the path, or in ~/go/bin;
// install it with
//
//	CGO_ENABLED=0 go install gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237
package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
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
	// spec is set for native and our own platforms.
	target *harness.Target
}

func (w way) command(args ...string) *exec.Cmd {
	argv := append(append([]string{}, w.argv...), args...)
	if w.target != nil {
		argv = w.target.Argv(harness.Spec{Args: args})
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = harness.BaseEnv()
	return cmd
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

func ways(b *testing.B) []way {
	b.Helper()
	list := []way{{name: "native", target: &harness.Native}}
	for _, t := range harness.Platforms(b) {
		list = append(list, way{name: t.Name, target: &t})
	}
	if p := runscPath(); p != "" {
		for _, platform := range []string{"systrap", "ptrace"} {
			list = append(list, way{
				name: "gvisor-" + platform,
				argv: []string{p, "--rootless=false", "--network=none", "--platform=" + platform, "do"},
			})
		}
	} else {
		b.Log("no runsc to compare with: see the package comment")
	}
	return list
}

func probe(b *testing.B) string {
	b.Helper()
	root, err := harness.ModuleRoot()
	if err != nil {
		b.Fatal(err)
	}
	return harness.BuildC(b, filepath.Join(root, "tests", "bench", "probe", "probe.c"))
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

// rounds is how often all ways are measured in turn. The reported figure is
// the median.
const rounds = 3

var results table.Table

func runProbe(w way, path, name string, n int) (float64, error) {
	cmd := w.command(path, name, strconv.Itoa(n))
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %s %d: %w: %s", w.name, name, n, err, strings.TrimSpace(errOut.String()))
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// benchProbe measures an operation of the probe on all ways in turn, and then
// reports each as a sub-benchmark.
func benchProbe(b *testing.B, name string) {
	path := probe(b)
	all := ways(b)
	count := make([]int, len(all))
	figures := make([][]float64, len(all))
	failed := make([]error, len(all))
	for round := range rounds {
		for i, w := range all {
			if failed[i] != nil {
				continue
			}
			if round == 0 {
				first, err := runProbe(w, path, name, 3)
				if err != nil {
					failed[i] = err
					continue
				}
				count[i] = ops(max(first/2, 20)) // the first few are slower
			}
			ns, err := runProbe(w, path, name, count[i])
			if err != nil {
				failed[i] = err
				continue
			}
			figures[i] = append(figures[i], ns)
		}
	}
	for i, w := range all {
		report(b, name, w, "ns/op", figures[i], failed[i])
	}
}

func report(b *testing.B, name string, w way, unit string, figures []float64, failed error) {
	b.Run(w.name, func(b *testing.B) {
		if failed != nil {
			results.Add(name, w.name, unit, 0)
			b.Skip(failed)
		}
		m := median(figures)
		results.Add(name, w.name, unit, m)
		// The work is done: the figure comes from inside the guest, and what
		// the testing package makes of this empty function is replaced by it.
		if unit != "ns/op" {
			b.ReportMetric(0, "ns/op") // leaves it out
		}
		b.ReportMetric(m, unit)
	})
}

func median(v []float64) float64 {
	s := append([]float64{}, v...)
	sort.Float64s(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func BenchmarkNullSyscall(b *testing.B)      { benchProbe(b, "NullSyscall") }
func BenchmarkClockRead(b *testing.B)        { benchProbe(b, "ClockRead") }
func BenchmarkReadNull(b *testing.B)         { benchProbe(b, "ReadNull") }
func BenchmarkWriteNull(b *testing.B)        { benchProbe(b, "WriteNull") }
func BenchmarkOpenClose(b *testing.B)        { benchProbe(b, "OpenClose") }
func BenchmarkCreateUnlink(b *testing.B)     { benchProbe(b, "CreateUnlink") }
func BenchmarkStat(b *testing.B)             { benchProbe(b, "Stat") }
func BenchmarkPread4K(b *testing.B)          { benchProbe(b, "Pread4K") }
func BenchmarkPageFault(b *testing.B)        { benchProbe(b, "PageFault") }
func BenchmarkMmapMunmap(b *testing.B)       { benchProbe(b, "MmapMunmap") }
func BenchmarkMprotectTouch(b *testing.B)    { benchProbe(b, "MprotectTouch") }
func BenchmarkForkExitWait(b *testing.B)     { benchProbe(b, "ForkExitWait") }
func BenchmarkForkExecWait(b *testing.B)     { benchProbe(b, "ForkExecWait") }
func BenchmarkVforkExecWait(b *testing.B)    { benchProbe(b, "VforkExecWait") }
func BenchmarkFork64M(b *testing.B)          { benchProbe(b, "Fork64M") }
func BenchmarkPipePingPong(b *testing.B)     { benchProbe(b, "PipePingPong") }
func BenchmarkPipe64K(b *testing.B)          { benchProbe(b, "Pipe64K") }
func BenchmarkSignalSelf(b *testing.B)       { benchProbe(b, "SignalSelf") }
func BenchmarkSegvHandler(b *testing.B)      { benchProbe(b, "SegvHandler") }
func BenchmarkThreadCreateJoin(b *testing.B) { benchProbe(b, "ThreadCreateJoin") }
func BenchmarkFutexPingPong(b *testing.B)    { benchProbe(b, "FutexPingPong") }

// BenchmarkStartup is the time from starting the runner to its end, for a
// program that does nothing, seen from outside.
func BenchmarkStartup(b *testing.B) {
	path := probe(b)
	all := ways(b)
	figures := make([][]float64, len(all))
	failed := make([]error, len(all))
	for range 7 {
		for i, w := range all {
			if failed[i] != nil {
				continue
			}
			start := time.Now()
			if out, err := w.command(path, "noop").CombinedOutput(); err != nil {
				failed[i] = fmt.Errorf("%s: %w: %s", w.name, err, out)
				continue
			}
			figures[i] = append(figures[i], float64(time.Since(start).Nanoseconds()))
		}
	}
	for i, w := range all {
		report(b, "Startup", w, "ns/op", figures[i], failed[i])
	}
}

// BenchmarkResident is the memory of a sandbox whose program sleeps: the sum
// of Pss (a page shared by n processes counts 1/n for each) over the runner
// and all its descendants.
func BenchmarkResident(b *testing.B) {
	path := probe(b)
	for _, w := range ways(b) {
		kib, err := resident(w, path)
		report(b, "Resident", w, "KiB", []float64{kib}, err)
	}
}

func resident(w way, path string) (kib float64, err error) {
	cmd := w.command(path, "pause")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		kill(family(cmd.Process.Pid))
		_ = cmd.Wait() // killed: its status says nothing
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return 0, fmt.Errorf("%s: the program did not start: %q, %v", w.name, line, err)
	}
	for _, pid := range family(cmd.Process.Pid) {
		kib += pss(pid)
	}
	return kib, nil
}

func kill(pids []int) {
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill() // it may be gone already
		}
	}
}

// family is a process and all its descendants.
func family(root int) []int {
	parents := make(map[int]int)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) > 1 {
			parents[pid], _ = strconv.Atoi(f[1])
		}
	}
	list := []int{root}
	for i := 0; i < len(list); i++ {
		for pid, parent := range parents {
			if parent == list[i] {
				list = append(list, pid)
			}
		}
	}
	return list
}

func pss(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// TestProbes runs every operation once on every platform, so that the
// benchmarks are known to work.
func TestProbes(t *testing.T) {
	root, err := harness.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := harness.BuildC(t, filepath.Join(root, "tests", "bench", "probe", "probe.c"))
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range append([]harness.Target{harness.Native}, harness.Platforms(t)...) {
		for _, name := range strings.Fields(string(out)) {
			t.Run(name+"/"+target.Name, func(t *testing.T) {
				r, err := target.Run(harness.Spec{Args: []string{path, name, "3"}})
				if err != nil {
					t.Fatal(err)
				}
				if v, err := strconv.ParseFloat(strings.TrimSpace(string(r.Stdout)), 64); err != nil || v <= 0 || r.Status != 0 {
					t.Errorf("status %d, %q: %s", r.Status, r.Stdout, r.Stderr)
				}
			})
		}
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if results.Len() > 0 {
		fmt.Println()
		results.Write(os.Stdout)
	}
	os.Exit(code)
}
