// Package lifecycle drives the runner from outside: what it leaves behind,
// how it ends, what it says when it cannot start.
package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

const busybox = "/bin/busybox"

// each runs fn for every platform.
func each(t *testing.T, fn func(t *testing.T, target harness.Target)) {
	t.Helper()
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	targets := harness.Platforms(t)
	if len(targets) == 0 {
		t.Skip("no platform to test")
	}
	for _, target := range targets {
		t.Run(target.Name, func(t *testing.T) {
			isolated(t, target)
			fn(t, target)
		})
	}
}

// isolated ends a test whose runner lets writes through to the host. The runner
// is what is under test here, so nothing may rely on it to protect the host:
// besides this check, no test names a host file that it did not make itself.
func isolated(t *testing.T, target harness.Target) {
	t.Helper()
	p := filepath.Join(harness.Scratch(t), "written")
	r := run(t, target, harness.Spec{Args: []string{busybox, "sh", "-c", `echo x >"$0"; cat "$0"`, p}})
	if _, err := os.Lstat(p); err == nil {
		t.Fatalf("the runner is not isolated from the host: %s was made there", p)
	}
	if r.Status != 0 || string(r.Stdout) != "x\n" {
		t.Fatalf("the runner does not run a shell: status %d, %q, %q", r.Status, r.Stdout, r.Stderr)
	}
}

func run(t *testing.T, target harness.Target, s harness.Spec) harness.Result {
	t.Helper()
	r, err := target.Run(s)
	if err != nil {
		t.Fatal(err)
	}
	if r.TimedOut {
		t.Fatalf("%q did not end; stdout %q, stderr %q", s.Args, r.Stdout, r.Stderr)
	}
	return r
}

// marker is an environment variable that all host processes of one run carry,
// the runner and whatever it starts, as long as they keep its environment.
//
// Whatever still carries it after the test is ended then, by its id: a runner
// that leaves processes behind must not leave them on the machine for good.
func marker(t *testing.T) string {
	mark := fmt.Sprintf("RUNSC_LITE_TEST=%s-%d-%d", strings.ReplaceAll(t.Name(), "/", "."), os.Getpid(), rand.Uint64())
	t.Cleanup(func() {
		for range 20 { // what is being ended may make new ones meanwhile
			left := marked(t, mark)
			for _, p := range left {
				if pid, err := strconv.Atoi(strings.Fields(p)[0]); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
				}
			}
			if len(left) == 0 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return mark
}

// marked lists the host's processes that carry the marker.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil || !bytes.Contains(env, []byte(mark)) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(d, "comm"))
		list = append(list, filepath.Base(d)+" "+strings.TrimSpace(string(comm)))
	}
	return list
}

// watch gives a runner the write end of a pipe on descriptor 3: as long as any
// process of the sandbox is alive that has not closed it, reading the other
// end does not come to its end. It is a second net, next to the marker.
type watch struct{ r, w *os.File }

func newWatch(t *testing.T, cmd *exec.Cmd) *watch {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	return &watch{r, w}
}

// started drops our own end.
func (w *watch) started() { w.w.Close() }

// gone waits for the end of all processes.
func (w *watch) gone(t *testing.T, limit time.Duration) {
	t.Helper()
	if err := w.r.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a process still holds the pipe after %v: %v", limit, err)
	}
}

// nothingLeft waits for all marked processes to be gone.
func nothingLeft(t *testing.T, mark string, limit time.Duration) {
	t.Helper()
	var list []string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if list = marked(t, mark); len(list) == 0 {
			return
		}
	}
	t.Errorf("left after %v: %v", limit, list)
}

// shm lists the files in the host's shared memory.
func shm() string {
	entries, _ := os.ReadDir("/dev/shm")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// usage is what the host's processes of one run hold.
type usage struct{ processes, threads, descriptors, kib int }

func measure(t *testing.T, mark string) usage {
	t.Helper()
	var u usage
	for _, p := range marked(t, mark) {
		dir := "/proc/" + strings.Fields(p)[0]
		u.processes++
		if e, err := os.ReadDir(dir + "/task"); err == nil {
			u.threads += len(e)
		}
		if e, err := os.ReadDir(dir + "/fd"); err == nil {
			u.descriptors += len(e)
		}
		text, _ := os.ReadFile(dir + "/smaps_rollup")
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.Atoi(strings.Fields(rest)[0])
				u.kib += kib
			}
		}
	}
	return u
}

func env(mark string) []string { return append(harness.BaseEnv(), mark) }

// TestManyForks makes and ends many processes in one sandbox. It stops in the
// middle and at the end, by reading from the test, and there the host side
// must hold the same as after the first hundred.
func TestManyForks(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		rounds := 400
		if harness.Slow() {
			rounds = 2000
		}
		if testing.Short() {
			rounds = 100
		}
		const warmUp = 100
		script := fmt.Sprintf(`
forks() { i=0; while [ $i -lt $1 ]; do /bin/busybox true || exit 1; i=$((i+1)); done; echo done $i; read line; }
forks %d; forks %d`, warmUp, rounds)
		mark := marker(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := target.Command(ctx, harness.Spec{Args: []string{busybox, "sh", "-c", script}, Env: env(mark)})
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		w := newWatch(t, cmd)
		before := shm()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.started()
		var at [2]usage
		for i, n := range []int{warmUp, rounds} {
			line := make([]byte, 64)
			k, err := out.Read(line)
			if want := fmt.Sprintf("done %d\n", n); err != nil || string(line[:k]) != want {
				t.Fatalf("want %q, got %q, %v; stderr %q", want, line[:k], err, errOut.String())
			}
			time.Sleep(100 * time.Millisecond) // let what ends later end
			at[i] = measure(t, mark)
			if _, err := io.WriteString(in, "go\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v; stderr %q", err, errOut.String())
		}
		t.Logf("after %d: %+v; after %d more: %+v", warmUp, at[0], rounds, at[1])
		if at[0].processes == 0 {
			t.Error("the marker was not found: nothing is measured")
		}
		if at[1].processes > at[0].processes+2 {
			t.Errorf("host processes: %d, then %d", at[0].processes, at[1].processes)
		}
		if at[1].threads > at[0].threads+8 {
			t.Errorf("host threads: %d, then %d", at[0].threads, at[1].threads)
		}
		if at[1].descriptors > at[0].descriptors+8 {
			t.Errorf("host descriptors: %d, then %d", at[0].descriptors, at[1].descriptors)
		}
		if limit := at[0].kib + at[0].kib/2 + 16<<10; at[1].kib > limit {
			t.Errorf("memory: %d KiB, then %d KiB", at[0].kib, at[1].kib)
		}
		w.gone(t, time.Second)
		nothingLeft(t, mark, time.Second)
		if after := shm(); after != before {
			t.Errorf("/dev/shm held %q, now %q", before, after)
		}
	})
}

// TestKilledRunner kills the runner at random moments of a busy program.
// Within a second nothing of the sandbox may be left on the host.
func TestKilledRunner(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		rounds := 6
		if harness.Slow() {
			rounds = 60
		}
		if testing.Short() {
			rounds = 3
		}
		const script = `while :; do
	( /bin/busybox sleep 1000 & ) ; /bin/busybox true | /bin/busybox cat; ( while :; do :; done ) & p=$!
	/bin/busybox usleep 3000; kill $p; wait $p
done`
		for round := range rounds {
			mark := marker(t)
			spec := harness.Spec{Args: []string{busybox, "sh", "-c", script}, Env: env(mark)}
			argv := target.Argv(spec)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env = spec.Env
			w := newWatch(t, cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.started()
			after := time.Duration(rand.IntN(120)) * time.Millisecond
			time.Sleep(after)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			_ = cmd.Wait() // killed, as asked
			if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("round %d: it ended by itself after %v: %v", round, after, cmd.ProcessState)
			}
			w.gone(t, time.Second)
			nothingLeft(t, mark, time.Second)
			if t.Failed() {
				t.Fatalf("round %d: killed after %v", round, after)
			}
		}
	})
}

// TestProgramLeavesChildren ends the program while children of it live on: as
// the first process goes, so does all of the sandbox.
func TestProgramLeavesChildren(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		mark := marker(t)
		r := run(t, target, harness.Spec{
			Args: []string{busybox, "sh", "-c",
				"/bin/busybox sleep 1000 >/dev/null 2>&1 & /bin/busybox setsid /bin/busybox sleep 1000 >/dev/null 2>&1 & exit 5"},
			Env: env(mark),
		})
		if r.Status != 5 {
			t.Errorf("status %d, stderr %q", r.Status, r.Stderr)
		}
		nothingLeft(t, mark, time.Second)
	})
}

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

func TestEnvironment(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{
			Args:  []string{busybox, "sh", "-c", `echo "$A|$B|$C"`},
			Env:   []string{"A=from caller", "B=also"},
			Flags: []string{"--env", "B=over", "--env", "C=with = and space"},
		})
		if want := "from caller|over|with = and space\n"; string(r.Stdout) != want {
			t.Errorf("want %q, got %q; stderr %q", want, r.Stdout, r.Stderr)
		}
	})
}

func TestWorkingDirectory(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{Args: []string{busybox, "pwd"}, Dir: "/proc"})
		if string(r.Stdout) != "/proc\n" {
			t.Errorf("got %q; stderr %q", r.Stdout, r.Stderr)
		}
	})
}

// TestRoot runs a program in a tree of its own, which it cannot leave and does
// not change. All that it touches is below a directory whose name exists only
// in that tree, so a runner that ignores --root finds no program to run.
func TestRoot(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		root := harness.Scratch(t)
		own := fmt.Sprintf("only-in-the-test-root-%d", rand.Uint64())
		if err := os.Mkdir(filepath.Join(root, own), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(busybox)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"tool": data, "gone": []byte("x"), "file": []byte("kept\n")} {
			if err := os.WriteFile(filepath.Join(root, own, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		r := run(t, target, harness.Spec{
			Flags: []string{"--root=" + root},
			Args: []string{"/" + own + "/tool", "sh", "-c", `cd "$0" || exit 9
cat file "/../..$0/file"; echo changed >file; echo new >new; cat file new
rm gone; ls gone 2>/dev/null || echo removed; ls /etc/passwd 2>/dev/null || echo alone`, "/" + own},
		})
		if want := "kept\nkept\nchanged\nnew\nremoved\nalone\n"; string(r.Stdout) != want {
			t.Errorf("want %q, got %q; stderr %q", want, r.Stdout, r.Stderr)
		}
		if b, err := os.ReadFile(filepath.Join(root, own, "file")); err != nil || string(b) != "kept\n" {
			t.Errorf("the host's file is now %q, %v", b, err)
		}
		for name, want := range map[string]bool{"new": false, "gone": true} {
			if _, err := os.Lstat(filepath.Join(root, own, name)); (err == nil) != want {
				t.Errorf("%s on the host: %v", name, err)
			}
		}
	})
}

func TestStrace(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{
			Args:  []string{busybox, "sh", "-c", "/bin/busybox cat /no/such/file; exit 3"},
			Flags: []string{"--strace"},
		})
		if r.Status != 3 {
			t.Errorf("status %d", r.Status)
		}
		for _, want := range []string{"execve(", "/bin/busybox", "\"/no/such/file\"", "ENOENT", "exit_group(3)", "wait4("} {
			if !bytes.Contains(r.Stderr, []byte(want)) {
				t.Errorf("no %q in the trace:\n%.2000s", want, r.Stderr)
			}
		}
	})
}

// TestStandardStreams: they are the caller's, whatever they are.
func TestStandardStreams(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
		r := run(t, target, harness.Spec{Args: []string{busybox, "cat"}, Stdin: big})
		if !bytes.Equal(r.Stdout, big) {
			t.Errorf("%d of %d bytes came through a pipe", len(r.Stdout), len(big))
		}
		dir := harness.Scratch(t)
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, big, 0o600); err != nil {
			t.Fatal(err)
		}
		argv := target.Argv(harness.Spec{Args: []string{busybox, "sh", "-c", "/bin/busybox head -c 16; /bin/busybox cat"}})
		sh := exec.Command("/bin/sh", append([]string{"-c", `in=$1 out=$2; shift 2; "$@" <"$in" >>"$out" 2>&-`, "sh", in, out}, argv...)...)
		sh.Env = harness.BaseEnv()
		if msg, err := sh.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, msg)
		}
		// The position in the file is shared by all processes, as natively.
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d of %d bytes came through files, %v", len(got), len(big), err)
		}
	})
}

// TestReaderGone: a program that writes into a pipe nobody reads ends by
// SIGPIPE, and the runner with it.
func TestReaderGone(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		cmd := target.Command(ctx, harness.Spec{Args: []string{busybox, "yes"}})
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		out.Close()
		_ = cmd.Wait() // its status is what counts
		if got := harness.Status(cmd.ProcessState); got != 128+int(syscall.SIGPIPE) || ctx.Err() != nil {
			t.Errorf("want status 141, got %d (%v)", got, ctx.Err())
		}
	})
}

// TestManySandboxes runs several at once.
func TestManySandboxes(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		const n = 8
		errs := make(chan error, n)
		for i := range n {
			go func() {
				r, err := target.Run(harness.Spec{Args: []string{busybox, "sh", "-c", fmt.Sprintf("echo %d; /bin/busybox true; exit %d", i, i)}})
				if err == nil && (r.Status != i || string(r.Stdout) != fmt.Sprintf("%d\n", i)) {
					err = fmt.Errorf("sandbox %d: status %d, %q, %q", i, r.Status, r.Stdout, r.Stderr)
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}
