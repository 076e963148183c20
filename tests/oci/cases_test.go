package oci

import (
	"fmt"
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

func newCase(c harness.Case) (shCase, error) {
	if len(c.Words) > 1 || len(c.Words) == 1 && c.Words[0] != "slow" {
		return shCase{}, fmt.Errorf("%s %v is not of the form \"name [slow]\"", c.Name, c.Words)
	}
	return shCase{name: c.Name, slow: len(c.Words) == 1, text: c.Text}, nil
}

// load reads the cases of the files whose names begin with prefix.
func load(t *testing.T, prefix string) []shCase {
	t.Helper()
	var all []shCase
	for _, c := range harness.LoadCases(t, "testdata/"+prefix+"*.txt") {
		x, err := newCase(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
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

func TestNewCase(t *testing.T) {
	if c, err := newCase(harness.Case{Name: "g/a", Words: []string{"slow"}, Text: "x\n"}); err != nil || c != (shCase{"g/a", true, "x\n"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, words := range [][]string{{"b"}, {"slow", "slow"}} {
		if c, err := newCase(harness.Case{Name: "g/a", Words: words, Text: "x\n"}); err == nil {
			t.Errorf("%q were accepted: %+v", words, c)
		}
	}
}
