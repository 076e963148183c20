// Package differential runs every guest program natively and on each platform:
// the output and the exit status have to be the same.
//
// A guest program lists its tests with --list, one a line, and runs the one
// that its argument names. A test prints what differs and exits with 1 if it
// fails; it prints no pid, no address, no time.
package differential

import (
	"strings"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// shortTests is how many tests of each program `go test -short` runs. Programs
// list the plainest ones first.
const shortTests = 2

type guestTest struct {
	name string
	slow bool
}

// list asks a program for its tests.
func list(t *testing.T, g harness.Guest) []guestTest {
	t.Helper()
	r, err := harness.Native.Run(harness.Spec{Args: []string{g.Path, "--list"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 {
		t.Fatalf("%s --list: status %d: %s", g.Name, r.Status, r.Stderr)
	}
	var tests []guestTest
	for line := range strings.Lines(string(r.Stdout)) {
		name, mark, _ := strings.Cut(strings.TrimSpace(line), " ")
		tests = append(tests, guestTest{name, mark == "slow"})
	}
	if len(tests) == 0 {
		t.Fatalf("%s --list: no tests", g.Name)
	}
	return tests
}

func TestGuests(t *testing.T) {
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	harness.Platforms(t) // a runner that does not build fails here, once
	names := make(map[string]bool)
	// The group ends when its parallel tests have; only then are the names of
	// all tests known to have been run.
	t.Run("guest", func(t *testing.T) {
		for _, g := range harness.Guests(t) {
			tests := list(t, g)
			for i, gt := range tests {
				name := g.Name + "/" + gt.name
				names[name] = true
				if testing.Short() && i >= shortTests || gt.slow && !harness.Slow() {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					spec := harness.Spec{Args: []string{g.Path, gt.name}}
					if gt.slow {
						spec.Limit = 4 * time.Minute
					}
					harness.Compare(t, gaps, name, spec, nil, func(t *testing.T, r harness.Result) {
						if r.Status != 0 {
							t.Fatalf("native: exit status %d\nstdout: %s\nstderr: %s", r.Status, r.Stdout, r.Stderr)
						}
					})
				})
			}
		}
	})
	gaps.CheckNames(t, func(test string) bool { return names[test] })
}
