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
	"path/filepath"
	"strings"
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

// parse reads a file of cases.
func parse(text string) []testCase {
	var cases []testCase
	for line := range strings.Lines(text) {
		head, ok := strings.CutPrefix(line, "=== ")
		if !ok {
			if n := len(cases); n > 0 {
				cases[n-1].text += line
			}
			continue
		}
		f := strings.Fields(head)
		c := testCase{name: f[0], argv: []string{busybox, "sh", "-c"}}
		f = f[1:]
		if len(f) > 0 && f[0] == "slow" {
			c.slow, f = true, f[1:]
		}
		if len(f) > 0 {
			c.argv = f
		}
		cases = append(cases, c)
	}
	return cases
}

func load(t *testing.T, file string) []testCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	cases := parse(string(text))
	if len(cases) == 0 {
		t.Fatalf("%s holds no cases", file)
	}
	return cases
}

func TestCases(t *testing.T) {
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	harness.Platforms(t) // a runner that does not build fails here, once
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	names := make(map[string]bool)
	t.Run("case", func(t *testing.T) {
		for _, file := range files {
			group := strings.TrimSuffix(filepath.Base(file), ".txt")
			for i, c := range load(t, filepath.Base(file)) {
				name := group + "/" + c.name
				if names[name] {
					t.Errorf("%s: there are two of them", name)
				}
				names[name] = true
				if c.slow && !harness.Slow() || testing.Short() && i%5 != 0 {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if _, err := os.Stat(c.argv[0]); err != nil {
						t.Skip(err)
					}
					spec := harness.Spec{Args: append(append([]string{}, c.argv...), c.text), Env: env()}
					fresh := func(t *testing.T) string { return harness.Scratch(t) }
					harness.Compare(t, gaps, name, spec, fresh, func(t *testing.T, r harness.Result) {
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
		}
	})
	gaps.CheckNames(t, func(test string) bool { return names[test] })
	if len(names) < 200 {
		t.Errorf("only %d cases were found", len(names))
	}
}

func env() []string { return append(harness.BaseEnv(), "PS1=$ ") }

func TestParse(t *testing.T) {
	got := parse("# comment\n=== a\none\ntwo\n=== b slow\n=== c /bin/bash -c\nx\n")
	if len(got) != 3 || got[0].text != "one\ntwo\n" || got[0].argv[0] != busybox ||
		!got[1].slow || got[1].text != "" || got[2].argv[0] != "/bin/bash" || got[2].slow {
		t.Errorf("got %+v", got)
	}
}
