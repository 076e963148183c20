package harness

import (
	"strings"
	"testing"
	"time"
)

// GuestTest is a test of a guest program.
type GuestTest struct {
	// Name is program/test.
	Name string
	// Program is the guest program's name.
	Program string
	// Index is the test's place in the program's list: the plainest come first.
	Index int
	Slow  bool

	args []string
}

// tests asks a program for its tests.
func (g Guest) tests(t *testing.T) []GuestTest {
	t.Helper()
	r, err := Native.Run(Spec{Args: []string{g.Path, "--list"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 {
		t.Fatalf("%s --list: status %d: %s", g.Name, r.Status, r.Stderr)
	}
	var tests []GuestTest
	for line := range strings.Lines(string(r.Stdout)) {
		name, mark, _ := strings.Cut(strings.TrimSpace(line), " ")
		tests = append(tests, GuestTest{g.Name + "/" + name, g.Name, len(tests), mark == "slow", []string{g.Path, name}})
	}
	if len(tests) == 0 {
		t.Fatalf("%s --list: no tests", g.Name)
	}
	return tests
}

// CompareGuests runs the tests of the guest programs that are chosen, natively and
// on each of the targets, as sub-tests guest/program/test.
func CompareGuests(t *testing.T, targets []Target, gaps *Gaps, choose func(GuestTest) bool) {
	names := make(map[string]bool)
	// The group ends when its parallel tests have; only then are the names of
	// all tests known to have been run.
	t.Run("guest", func(t *testing.T) {
		for _, g := range Guests(t) {
			for _, gt := range g.tests(t) {
				names[gt.Name] = true
				if gt.Slow && !Slow() || !choose(gt) {
					continue
				}
				t.Run(gt.Name, func(t *testing.T) {
					t.Parallel()
					spec := Spec{Args: gt.args}
					if gt.Slow {
						spec.Limit = 4 * time.Minute
					}
					compareOn(t, targets, gaps, gt.Name, spec, nil, func(t *testing.T, r Result) {
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
