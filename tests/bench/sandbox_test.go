package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStartup is the time from starting the runner to its end, seen from
// outside, for programs that do nothing.
func BenchmarkStartup(b *testing.B) {
	for _, program := range []struct {
		name string
		args []string
	}{
		{"static", []string{probe(b), "noop"}},
		{"dynamic", []string{"/bin/true"}},
	} {
		b.Run("program="+program.name, func(b *testing.B) {
			compare(b, "Startup/program="+program.name, "ns/op", 15, func(w way) (float64, error) {
				_, took, err := w.run(program.args...)
				return float64(took.Nanoseconds()), err
			})
		})
	}
}

// BenchmarkResident is the memory of a sandbox whose program sleeps, over the
// runner and all its descendants: the sum of what is resident (Rss, which
// counts a page that n processes map n times), and the sum of shares (Pss,
// which counts it once).
func BenchmarkResident(b *testing.B) {
	path := probe(b)
	for _, what := range []string{"Rss", "Pss"} {
		b.Run("sum="+what, func(b *testing.B) {
			compare(b, "Resident/sum="+what, "KiB", 3, func(w way) (float64, error) { return resident(w, path, what) })
		})
	}
}

// resident starts a program that sleeps and sums a line of smaps_rollup over
// the processes of the sandbox.
func resident(w way, path, what string) (kib float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd, _, errOut := w.command(ctx, path, "pause")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		for _, pid := range family(cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
		}
		_ = cmd.Wait() // killed: its status says nothing
	}()
	line := make([]byte, len("ready\n"))
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		return 0, fmt.Errorf("%s: the program did not start: %q, %v: %s", w.name, line, err, errOut)
	}
	time.Sleep(100 * time.Millisecond) // what starts beside the program
	for _, pid := range family(cmd.Process.Pid) {
		kib += rollup(pid, what)
	}
	return kib, nil
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

// rollup is a figure of a process in KiB, 0 if the process is gone.
func rollup(pid int, what string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// TestResident: a program is seen, and counts less by its shares than by what
// is resident.
func TestResident(t *testing.T) {
	path := probe(t)
	for _, w := range ways(t) {
		if w.target == nil {
			continue // not what is tested here
		}
		t.Run(w.name, func(t *testing.T) {
			var kib [2]float64
			for i, what := range []string{"Rss", "Pss"} {
				var err error
				if kib[i], err = resident(w, path, what); err != nil {
					t.Fatal(err)
				}
			}
			if kib[1] < 50 || kib[0] < kib[1] {
				t.Errorf("Rss %.0f KiB, Pss %.0f KiB", kib[0], kib[1])
			}
		})
	}
}
