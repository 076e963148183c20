// Package busybox runs the applets and the shell of Debian's static busybox,
// and some dynamic programs of Debian, natively and on each platform: output
// and exit status have to be the same.
//
// The cases are data, in testdata/*.txt:
//
//	# text before the first case is a comment
//	=== name [slow]
//	shell text, run by `busybox sh -c` in an empty directory
//
// In dynamic.txt the text is run by the program after the name instead:
//
//	=== name /bin/bash -c
package busybox

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"runsc-lite/tests/harness"
)

const busybox = "/bin/busybox"

type testCase struct {
	name string
	slow bool
	argv []string // what runs the text, which is its last argument
	text string
}

func newCase(from harness.Case) testCase {
	c := testCase{name: from.Name, argv: []string{busybox, "sh", "-c"}, text: from.Text}
	f := from.Words
	if len(f) > 0 && f[0] == "slow" {
		c.slow, f = true, f[1:]
	}
	if len(f) > 0 {
		c.argv = f
	}
	return c
}

func TestCases(t *testing.T) {
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	harness.Platforms(t) // a runner that does not build fails here, once
	cases := harness.LoadCases(t, "testdata/*.txt")
	t.Run("case", func(t *testing.T) {
		for i, from := range cases {
			c := newCase(from)
			if c.slow && !harness.Slow() || testing.Short() && i%5 != 0 {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				if _, err := os.Stat(c.argv[0]); err != nil {
					t.Skip(err)
				}
				spec := harness.Spec{Args: append(append([]string{}, c.argv...), c.text), Env: env()}
				fresh := func(t *testing.T) string { return harness.Scratch(t) }
				harness.Compare(t, gaps, c.name, spec, fresh, func(t *testing.T, r harness.Result) {
					// A case that is not run at all looks the same
					// everywhere, so each has to say something.
					if len(r.Stdout) == 0 {
						t.Errorf("no output natively; status %d, stderr: %s", r.Status, r.Stderr)
					}
					if r.Status == 126 || r.Status == 127 || bytes.Contains(r.Stderr, []byte("applet not found")) || bytes.Contains(r.Stderr, []byte("Usage: ")) {
						t.Errorf("natively something is missing; status %d, stderr: %s", r.Status, r.Stderr)
					}
				})
			})
		}
	})
	gaps.CheckNames(t, func(test string) bool {
		return slices.ContainsFunc(cases, func(c harness.Case) bool { return c.Name == test })
	})
	if len(cases) < 200 {
		t.Errorf("only %d cases were found", len(cases))
	}
}

func env() []string { return append(harness.BaseEnv(), "PS1=$ ") }

func TestNewCase(t *testing.T) {
	if c := newCase(harness.Case{Name: "g/a", Words: []string{"slow"}}); !c.slow || c.name != "g/a" || c.argv[0] != busybox {
		t.Errorf("got %+v", c)
	}
	if c := newCase(harness.Case{Name: "g/b", Words: []string{"/bin/bash", "-c"}, Text: "x"}); c.slow || c.argv[0] != "/bin/bash" || c.text != "x" {
		t.Errorf("got %+v", c)
	}
}
