package lifecycle

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"runsc-lite/tests/harness"
)

// TestInitCost: package initialisation of the runner stays under 2 ms. What the
// runtime prints with inittrace is summed; the best of several runs is the one
// that nothing else took the processor from.
func TestInitCost(t *testing.T) {
	targets := harness.Platforms(t)
	if len(targets) == 0 {
		t.Skip("no platform to test")
	}
	runner := targets[0].Argv(harness.Spec{})[0]
	line := regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock`)
	var sums []float64
	var last string
	for range 7 {
		cmd := exec.Command(runner, "version")
		cmd.Env = append(harness.BaseEnv(), "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sum := 0.0
		for _, m := range line.FindAllSubmatch(out, -1) {
			ms, err := strconv.ParseFloat(string(m[2]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += ms
		}
		sums, last = append(sums, sum), string(out)
	}
	if best := slices.Min(sums); best == 0 || best > 2 {
		t.Errorf("package initialisation takes %.2f ms at best:\n%s", best, last)
	}
}
