package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// caseLimit ends what hangs.
const caseLimit = 2 * time.Minute

// shCase is a case of testdata/*.txt.
type shCase struct {
	name string // with its group
	slow bool
	text string
}

func parse(group, text string) ([]shCase, error) {
	var cases []shCase
	for line := range strings.Lines(text) {
		head, ok := strings.CutPrefix(line, "=== ")
		if !ok {
			if n := len(cases); n > 0 {
				cases[n-1].text += line
			}
			continue
		}
		f := strings.Fields(head)
		if len(f) == 0 || len(f) > 2 || len(f) == 2 && f[1] != "slow" {
			return nil, fmt.Errorf("%q is not of the form \"=== name [slow]\"", strings.TrimSpace(line))
		}
		cases = append(cases, shCase{name: group + "/" + f[0], slow: len(f) == 2})
	}
	for _, c := range cases {
		if strings.TrimSpace(c.text) == "" {
			return nil, fmt.Errorf("case %s is empty", c.name)
		}
	}
	return cases, nil
}

// load reads the cases of the files whose names begin with prefix.
func load(t *testing.T, prefix string) []shCase {
	t.Helper()
	files, err := filepath.Glob("testdata/" + prefix + "*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases of %s: %v", prefix, err)
	}
	var all []shCase
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := parse(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range cases {
			if names[c.name] {
				t.Errorf("%s: there are two of them", c.name)
			}
			names[c.name] = true
		}
		all = append(all, cases...)
	}
	return all
}

// runSh runs shell text on the host.
func runSh(t *testing.T, text, dir string, env []string) harness.Result {
	t.Helper()
	r, err := harness.Native.Run(harness.Spec{Args: []string{"/bin/sh", "-c", text}, Dir: dir, Env: env, Limit: caseLimit})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reference checks what runc did: a case that says nothing looks the same everywhere.
func reference(t *testing.T, r harness.Result) {
	t.Helper()
	if r.TimedOut || len(r.Stdout) == 0 {
		t.Fatalf("with runc it does not work: status %d, timed out %v\nstdout: %s\nstderr: %s", r.Status, r.TimedOut, r.Stdout, r.Stderr)
	}
}

func TestParse(t *testing.T) {
	got, err := parse("g", "# comment\n=== a\none\ntwo\n=== b slow\nx\n")
	if err != nil || len(got) != 2 || got[0] != (shCase{"g/a", false, "one\ntwo\n"}) || !got[1].slow {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"=== a b\nx\n", "=== \nx\n", "=== a\n"} {
		if got, err := parse("g", bad); err == nil {
			t.Errorf("%q was accepted: %+v", bad, got)
		}
	}
}
