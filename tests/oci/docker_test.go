package oci

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// TestDocker runs each case with runc, then with the runtimes under test.
func TestDocker(t *testing.T) {
	e := startedEngine(t)
	prelude, err := os.ReadFile("testdata/prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	list := runtimes(t)
	if !harness.Slow() {
		// The platforms differ below what Docker sees.
		list = list[:min(1, len(list))]
	}
	cases := load(t, "docker-")
	t.Run("case", func(t *testing.T) {
		for i, c := range cases {
			if c.slow && !harness.Slow() || testing.Short() && i%5 != 0 {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				once := func(t *testing.T, name string) harness.Result {
					unique := fmt.Sprintf("%s-%s", strings.ReplaceAll(c.name, "/", "-"), name)
					defer e.removeCase(t, unique)
					return runSh(t, string(prelude)+c.text, harness.Scratch(t), append(e.env(), "RUNTIME="+name, "NAME="+unique))
				}
				want := once(t, "runc")
				reference(t, want)
				for _, r := range list {
					t.Run(r.name, func(t *testing.T) {
						gaps.Judge(t, r.name, c.name, diff(want, once(t, r.name), r.name))
					})
				}
			})
		}
	})
	checkGapNames(t, gaps)
}

// diff compares, but for the names of containers.
func diff(want, got harness.Result, name string) string {
	got.Stdout = []byte(strings.ReplaceAll(string(got.Stdout), "-"+name, "-runc"))
	got.Stderr = []byte(strings.ReplaceAll(string(got.Stderr), "-"+name, "-runc"))
	return harness.Diff(want, got)
}

// removeCase removes what a case left.
func (e *engine) removeCase(t *testing.T, name string) {
	t.Helper()
	out, err := e.command("ps", "-aq", "--filter", "label=case="+name).Output()
	if err != nil {
		t.Errorf("docker ps: %v", err)
	}
	ids := strings.Fields(string(out))
	if len(ids) == 0 {
		return
	}
	if out, err := e.command(append([]string{"rm", "-fv"}, ids...)...).CombinedOutput(); err != nil {
		t.Errorf("docker rm: %v: %s", err, out)
	}
}

// checkGapNames reports gaps of tests that do not exist.
func checkGapNames(t *testing.T, gaps *harness.Gaps) {
	t.Helper()
	names := map[string]bool{}
	for _, prefix := range []string{"docker-", "bundle-"} {
		for _, c := range load(t, prefix) {
			names[c.name] = true
		}
	}
	gaps.CheckNames(t, func(test string) bool { return names[test] })
}
