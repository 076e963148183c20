package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stub writes a stand-in for the runner: it drops the runner's own flags and
// executes the program natively after some shell commands.
func stub(t *testing.T, before string) Target {
	t.Helper()
	p := filepath.Join(t.TempDir(), "runner")
	script := `#!/bin/sh
shift
while :; do
	case $1 in
	--env) shift 2 ;;
	--*) shift ;;
	*) break ;;
	esac
done
` + before + `
exec "$@"
`
	if err := os.WriteFile(p, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return NewTarget(p, "stub")
}

func TestRunNative(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		stdin        string
		status       int
		stdout       string
		stderr       string
	}{
		{name: "output", script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "status", script: "exit 7", status: 7},
		{name: "signal", script: "kill -TERM $$", status: 128 + 15},
		{name: "stdin", script: "cat", stdin: "text", stdout: "text"},
		{name: "environment", script: "echo $HOME $TZ", stdout: "/ UTC\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Native.Run(Spec{Args: []string{"/bin/sh", "-c", tc.script}, Stdin: []byte(tc.stdin)})
			if err != nil {
				t.Fatal(err)
			}
			want := Result{Stdout: []byte(tc.stdout), Stderr: []byte(tc.stderr), Status: tc.status}
			if d := Diff(want, r); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDifferencesAreSeen(t *testing.T) {
	spec := Spec{Args: []string{"/bin/sh", "-c", "echo same"}}
	want, err := Native.Run(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, before, see string }{
		{"same", "", ""},
		{"stdout", "echo more", "stdout:"},
		{"stderr", "echo more >&2", "stderr:"},
		{"status", "\"$@\"; exit 3", "want 0, got 3"},
		{"signal", "\"$@\"; kill -SEGV $$", "want 0, got 139"},
		{"missing output", "exit 0", "stdout:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := stub(t, tc.before).Run(spec)
			if err != nil {
				t.Fatal(err)
			}
			diff := Diff(want, got)
			if tc.see == "" && diff != "" || !strings.Contains(diff, tc.see) {
				t.Errorf("want %q in the difference, got %q", tc.see, diff)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	start := time.Now()
	r, err := stub(t, "sleep 60 & sleep 60").Run(Spec{Args: []string{"/bin/true"}, Limit: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !r.TimedOut || !strings.Contains(Diff(Result{}, r), "did not end") {
		t.Errorf("a run past its limit was not seen: %+v", r)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("ending it took %v", d)
	}
}

func TestStartError(t *testing.T) {
	if _, err := Native.Run(Spec{Args: []string{"/does/not/exist"}}); err == nil {
		t.Error("no error for a program that does not exist")
	}
}

func TestArgv(t *testing.T) {
	got := strings.Join(NewTarget("/r", "ptrace").Argv(Spec{
		Args: []string{"/p", "a"}, Dir: "/d", Env: []string{"K=V"}, Flags: []string{"--strace"},
	}), " ")
	if want := "/r do --platform=ptrace --cwd=/d --env K=V --strace /p a"; got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestGaps(t *testing.T) {
	g, err := parseGaps(strings.NewReader("# comment\n\nptrace a/b because of c\n* a/d it is everybody's\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		platform, test, diff string
		want                 verdict
	}{
		{"ptrace", "a/b", "x", gap},
		{"ptrace", "a/b", "", outdated},
		{"systrap", "a/b", "x", fail},
		{"systrap", "a/b", "", pass},
		{"ptrace", "a/c", "x", fail},
		{"ptrace", "a/d", "x", gap},
		{"kvm", "a/d", "x", gap},
		{"kvm", "a/d", "", outdated},
		{"ptrace", "a/c", "", pass},
	} {
		if got, _ := g.verdict(tc.platform, tc.test, tc.diff); got != tc.want {
			t.Errorf("%s %s %q: want verdict %d, got %d", tc.platform, tc.test, tc.diff, tc.want, got)
		}
	}
	for _, bad := range []string{"ptrace a/b", "ptrace", "p t r\np t q"} {
		if _, err := parseGaps(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
