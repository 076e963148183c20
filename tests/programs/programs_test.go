package programs

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

const shell = "/bin/bash"

func load(t *testing.T) []testCase {
	t.Helper()
	var cases []testCase
	for _, from := range harness.LoadCases(t, "testdata/*.txt") {
		c, err := newCase(from)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

func TestPrograms(t *testing.T) {
	if _, err := os.Stat(shell); err != nil {
		t.Skipf("%v: apt-get install bash", err)
	}
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	targets := harness.Platforms(t) // a runner that does not build fails here, once
	cases := load(t)
	for _, c := range cases {
		if c.slow && !harness.Slow() || testing.Short() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, p := range c.needs {
				if _, err := os.Stat(p); err != nil {
					t.Skipf("%v: apt-get install %s", err, strings.Join(c.packages, " "))
				}
			}
			run(t, gaps, targets, c)
		})
	}
	gaps.CheckNames(t, func(test string) bool {
		name, _, _ := strings.Cut(test, ":")
		return slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name })
	})
}

func run(t *testing.T, gaps *harness.Gaps, targets []harness.Target, c testCase) {
	once := func(t *testing.T, target harness.Target) harness.Result {
		t.Helper()
		dir := harness.Scratch(t)
		r, err := target.Run(harness.Spec{
			Args:  []string{shell, "-c", c.text},
			Dir:   dir,
			Env:   append(harness.BaseEnv(), "TMPDIR="+dir),
			Limit: c.limit,
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.compare == compareOut {
			r.Stderr = nil
		}
		t.Logf("%s: %.2fs", target.Name, r.Elapsed.Seconds())
		return r
	}
	want := once(t, harness.Native)
	// What says nothing looks the same everywhere.
	if want.TimedOut || want.Status == 126 || want.Status == 127 || len(want.Stdout) == 0 {
		t.Fatalf("natively it does not work: status %d, timed out %v\nstdout: %s\nstderr: %s",
			want.Status, want.TimedOut, want.Stdout, want.Stderr)
	}
	for _, target := range targets {
		if c.platforms != nil && !slices.Contains(c.platforms, target.Name) {
			continue
		}
		t.Run(target.Name, func(t *testing.T) {
			got := once(t, target)
			if c.compare == compareUnittest {
				compareTests(t, gaps, target.Name, c.name, want, got)
				return
			}
			gaps.Judge(t, target.Name, c.name, harness.Diff(want, got))
		})
	}
}

// compareTests compares the outcomes of unit tests. Each that differs is a gap
// of its own, named after the case and the test with a colon in between.
func compareTests(t *testing.T, gaps *harness.Gaps, platform, name string, want, got harness.Result) {
	wants, gots := outcomes(string(want.Stdout)+string(want.Stderr)), outcomes(string(got.Stdout)+string(got.Stderr))
	if len(wants) < 3 {
		t.Fatalf("only %d tests natively: %s", len(wants), want.Stdout)
	}
	if got.TimedOut {
		t.Errorf("did not end within the limit after %d of %d tests", len(gots), len(wants))
	}
	for _, test := range slices.Sorted(maps.Keys(wants)) {
		full := name + ":" + strings.ReplaceAll(test, " ", "_")
		diff := ""
		if wants[test] != gots[test] {
			diff = fmt.Sprintf("want %q, got %q", wants[test], gots[test])
		}
		if diff != "" || gaps.Listed(platform, full) {
			t.Run(test, func(t *testing.T) { gaps.Judge(t, platform, full, diff) })
		}
	}
	t.Logf("%d tests natively, %d on %s", len(wants), len(gots), platform)
	if t.Failed() {
		t.Logf("stdout: %s\nstderr: %s", got.Stdout, got.Stderr)
	}
}

func TestNewCase(t *testing.T) {
	get := func(words string) (testCase, error) {
		return newCase(harness.Case{Name: "g/a", Words: strings.Fields(words), Text: "x\n"})
	}
	c, err := get("")
	if err != nil || c.name != "g/a" || c.text != "x\n" || c.limit != defaultLimit || c.compare != compareAll || c.slow || c.needs != nil || c.platforms != nil {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = get("slow limit=2s needs=/x,/y package=z compare=out platforms=kvm")
	if err != nil || !c.slow || c.limit.Seconds() != 2 || !slices.Equal(c.needs, []string{"/x", "/y"}) || c.packages[0] != "z" || c.compare != compareOut || c.platforms[0] != "kvm" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"wrong=1", "compare=some", "limit=1", "needs=/x", "package=x"} {
		if c, err := get(bad); err == nil {
			t.Errorf("%q was accepted: %+v", bad, c)
		}
	}
}

func TestOutcomes(t *testing.T) {
	got := outcomes(`test_a (test.test_os.FileTests.test_a) ... ok
test_b (test.test_os.FileTests.test_b)
What it does. ... FAIL
test_c (test.test_os.FileTests.test_c) ... some words
of its own ok
test_d (test.test_os.FileTests.test_d) ... skipped 'a reason'
test_e (test.test_os.FileTests.test_e) ... ERROR
setUpClass (test.test_os.Other) ... skipped "it's not there"
Ran 5 tests ... in some time
`)
	want := map[string]string{
		"test.test_os.FileTests.test_a": "ok",
		"test.test_os.FileTests.test_b": "FAIL",
		"test.test_os.FileTests.test_c": "ok",
		"test.test_os.FileTests.test_d": "skipped",
		"test.test_os.FileTests.test_e": "ERROR",
		"test.test_os.Other":            "skipped",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
