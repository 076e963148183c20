package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestDiffers: what differs is found, and how long something took does not.
func TestDiffers(t *testing.T) {
	base := result{out: []byte("--- PASS: TestA (0.01s)\nok\n"), err: []byte("e\n")}
	for name, x := range map[string]struct {
		other result
		want  string
	}{
		"the same":       {result{out: []byte("--- PASS: TestA (1.23s)\nok\n"), err: []byte("e\n")}, ""},
		"another status": {result{out: base.out, err: base.err, status: 139}, "natively 0, inside 139"},
		"another line":   {result{out: []byte("--- PASS: TestA (0.01s)\nno\n"), err: base.err}, `line 2: natively "ok\n", inside "no\n"`},
		"a line less":    {result{out: []byte("--- PASS: TestA (0.01s)\n"), err: base.err}, `line 2: natively "ok\n", inside nothing`},
		"other errors":   {result{out: base.out}, "standard error, line 1"},
	} {
		if got := base.differs(x.other); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestExecute(t *testing.T) {
	var out, errOut bytes.Buffer
	r, err := execute(exec.Command("/bin/sh", "-c", "echo out; echo err >&2; exit 7"), true, &out, &errOut)
	if err != nil || r.status != 7 || string(r.out) != "out\n" || string(r.err) != "err\n" || out.String() != "out\n" || errOut.String() != "err\n" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := execute(exec.Command("/bin/sh", "-c", "kill -9 $$"), false, &out, &errOut); err != nil || r.status != 137 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := execute(exec.Command("/none"), false, &out, &errOut); err == nil {
		t.Error("what is not there runs")
	}
}

// TestCommand: the files that Bazel reads are named to the runner, and natively
// there is no runner.
func TestCommand(t *testing.T) {
	t.Setenv("TEST_SRCDIR", "/runfiles")
	t.Setenv("TEST_WORKSPACE", "ws")
	t.Setenv("XML_OUTPUT_FILE", "/logs/test.xml")
	for _, name := range outputs[1:] {
		t.Setenv(name, "")
	}
	x := &test{config: config{Runner: "../runsc_lite/runsc-lite", Program: "a/a_test", Platform: "ptrace", Memory: "1G", Env: []string{"A=1"}}, args: []string{"-v"}}
	cmd := x.command()
	want := "/runfiles/runsc_lite/runsc-lite do --platform=ptrace --memory=1G --export=/logs/test.xml -- /runfiles/ws/a/a_test -v"
	if got := strings.Join(cmd.Args, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if cmd.Env[len(cmd.Env)-1] != "A=1" {
		t.Error("the environment is not the last word")
	}
	x.Platform = "native"
	if got := strings.Join(x.command().Args, " "); got != "/runfiles/ws/a/a_test -v" {
		t.Error(got)
	}
}
