package bench

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// TestProbes runs every operation on every platform, so that the benchmarks
// are known to work.
func TestProbes(t *testing.T) {
	path := probe(t)
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	for _, target := range append([]harness.Target{harness.Native}, harness.Platforms(t)...) {
		for _, name := range probes(t) {
			t.Run(name+"/"+target.Name, func(t *testing.T) {
				if strings.HasSuffix(name, "=1000") && !harness.Slow() && !target.IsNative() {
					t.Skip("slow")
				}
				r, err := target.Run(harness.Spec{Args: []string{path, name, "3"}})
				if err != nil {
					t.Fatal(err)
				}
				v, err := strconv.ParseFloat(strings.TrimSpace(string(r.Stdout)), 64)
				wrong := ""
				if err != nil || v <= 0 || r.Status != 0 {
					wrong = fmt.Sprintf("status %d, %q: %s", r.Status, r.Stdout, r.Stderr)
				}
				gaps.Judge(t, target.Name, name, wrong)
			})
		}
	}
	gaps.CheckNames(t, func(test string) bool { return slices.Contains(probes(t), test) })
}

// TestEveryProbeIsABenchmark: `probe --list` is the list, and each operation of
// it has a function that -bench can choose.
func TestEveryProbeIsABenchmark(t *testing.T) {
	text, err := os.ReadFile("bench_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range probes(t) {
		head, _, _ := strings.Cut(name, "/")
		if !strings.Contains(string(text), fmt.Sprintf("func Benchmark%s(b *testing.B)", head)) {
			t.Errorf("no Benchmark%s", head)
		}
	}
}
