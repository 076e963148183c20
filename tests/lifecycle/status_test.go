package lifecycle

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

func TestExitStatus(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		for _, tc := range []struct {
			script string
			want   int
		}{
			{"exit 0", 0}, {"exit 1", 1}, {"exit 42", 42}, {"exit 255", 255},
			{"kill -KILL $$", 137}, {"kill -TERM $$", 143}, {"kill -SEGV $$", 139},
			{"kill -ABRT $$", 134}, {"kill -INT $$", 130}, {"kill -PIPE $$", 141},
			{"exec /bin/busybox false", 1},
		} {
			r := run(t, target, harness.Spec{Args: []string{busybox, "sh", "-c", tc.script}})
			if r.Status != tc.want {
				t.Errorf("%s: want %d, got %d; stderr %q", tc.script, tc.want, r.Status, r.Stderr)
			}
		}
	})
}

// TestForwardedSignals sends signals to the runner: the program gets them.
func TestForwardedSignals(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		for _, tc := range []struct {
			sig    syscall.Signal
			script string
			out    string
			status int
		}{
			{syscall.SIGINT, `trap 'echo caught; exit 3' INT; echo ready; while :; do /bin/busybox usleep 10000; done`, "caught\n", 3},
			{syscall.SIGTERM, `trap 'echo caught; exit 4' TERM; echo ready; while :; do /bin/busybox usleep 10000; done`, "caught\n", 4},
			{syscall.SIGUSR1, `trap 'echo caught; exit 5' USR1; echo ready; while :; do /bin/busybox usleep 10000; done`, "caught\n", 5},
			{syscall.SIGINT, `echo ready; exec /bin/busybox sleep 1000`, "", 130},
			{syscall.SIGTERM, `echo ready; exec /bin/busybox sleep 1000`, "", 143},
			{syscall.SIGTERM, `echo ready; while :; do :; done`, "", 143},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			cmd := target.Command(ctx, harness.Spec{Args: []string{busybox, "sh", "-c", tc.script}})
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, len("ready\n"))
			if _, err := io.ReadFull(out, line); err != nil {
				t.Fatalf("%s: not ready: %v", tc.script, err)
			}
			if err := cmd.Process.Signal(tc.sig); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(out)
			_ = cmd.Wait() // its status is looked at below
			if string(rest) != tc.out || harness.Status(cmd.ProcessState) != tc.status {
				t.Errorf("%v to %q: want %q and %d, got %q and %d", tc.sig, tc.script, tc.out, tc.status, rest, harness.Status(cmd.ProcessState))
			}
			cancel()
		}
	})
}

// TestStartErrors: one clear line, that names the program, and a status as a
// shell gives it: 127 for what is not there, 126 for what cannot be run.
func TestStartErrors(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		dir := harness.Scratch(t)
		file := func(name string, data []byte, mode os.FileMode) string {
			p := filepath.Join(dir, name)
			if err := os.WriteFile(p, data, mode); err != nil {
				t.Fatal(err)
			}
			return p
		}
		foreign := make([]byte, 4096)
		self, err := os.ReadFile(busybox)
		if err != nil {
			t.Fatal(err)
		}
		copy(foreign, self)
		foreign[18] = 183 // e_machine: AArch64
		for _, tc := range []struct {
			name   string
			args   []string
			status int
			says   string
		}{
			{"missing", []string{"/no/such/program"}, 127, "/no/such/program"},
			{"missing in the path", []string{"no_such_program_at_all"}, 127, "no_such_program_at_all"},
			{"not an ELF", []string{file("text", []byte("only text"), 0o755)}, 126, "text"},
			{"empty", []string{file("empty", nil, 0o755)}, 126, "empty"},
			{"foreign", []string{file("foreign", foreign, 0o755)}, 126, "foreign"},
			{"not executable", []string{file("plain", self[:1000], 0o644)}, 126, "plain"},
			{"directory", []string{dir}, 126, filepath.Base(dir)},
			{"missing interpreter", []string{file("script", []byte("#!/no/such/interpreter\n"), 0o755)}, 127, "script"},
		} {
			r := run(t, target, harness.Spec{Args: tc.args})
			text := string(r.Stderr)
			if r.Status != tc.status || !strings.Contains(text, tc.says) || strings.Count(text, "\n") != 1 || len(r.Stdout) != 0 {
				t.Errorf("%s: want status %d and one line with %q, got %d, %q, stdout %q",
					tc.name, tc.status, tc.says, r.Status, text, r.Stdout)
			}
		}
	})
}

func TestBadFlags(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		runner := target.Argv(harness.Spec{})[0]
		for _, args := range [][]string{
			{"do", "--platform=none_such", "/bin/true"},
			{"do", "--root=/no/such/root", "/bin/true"},
			{"do", "--env", "no_equals_sign", "/bin/true"},
			{"do", "--no-such-flag", "/bin/true"},
			{"do", "--cwd=/no/such/directory", "/bin/true"},
			{"do"},
			{"no_such_verb"},
		} {
			cmd := exec.Command(runner, args...)
			out, err := cmd.CombinedOutput()
			if err == nil || len(out) == 0 || bytes.Contains(out, []byte("goroutine ")) {
				t.Errorf("%q: want an error that says why, got %v: %q", args, err, out)
			}
		}
	})
}
