package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// TestManyForks makes and ends many processes in one sandbox. It stops in the
// middle and at the end, by reading from the test, and there the host side
// must hold the same as after the first few.
func TestManyForks(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		rounds := 2000
		if testing.Short() {
			rounds = 200
		}
		const warmUp = 1000 // until the sentry's heap has its size
		script := fmt.Sprintf(`
forks() { i=0; while [ $i -lt $1 ]; do /bin/busybox true || exit 1; i=$((i+1)); done; echo done $i; read line; }
forks %d; forks %d`, warmUp, rounds)
		adopt(t)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		cmd := target.Command(ctx, harness.Spec{Args: []string{busybox, "sh", "-c", script}})
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
			at[i] = measure(t, cmd.Process.Pid)
			if _, err := io.WriteString(in, "go\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v; stderr %q", err, errOut.String())
		}
		t.Logf("after %d: %+v; after %d more: %+v", warmUp, at[0], rounds, at[1])
		if at[0].kib < 1<<10 {
			t.Error("nothing was measured")
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
		// 4 KiB for each process of the full run would show.
		if limit := at[0].kib + 8<<10; at[1].kib > limit {
			t.Errorf("memory: %d KiB, then %d KiB", at[0].kib, at[1].kib)
		}
		w.gone(t, time.Second)
		nothingLeft(t, time.Second)
		if after := shm(); after != before {
			t.Errorf("/dev/shm held %q, now %q", before, after)
		}
	})
}

// TestKilledRunner kills the runner at random moments of a busy program.
// Within a second nothing of the sandbox may be left on the host.
func TestKilledRunner(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		rounds := 25
		if harness.Slow() {
			rounds = 250
		}
		if testing.Short() {
			rounds = 3
		}
		const script = `while :; do
	( /bin/busybox sleep 1000 & ) ; /bin/busybox true | /bin/busybox cat; ( while :; do :; done ) & p=$!
	/bin/busybox usleep 3000; kill $p; wait $p
done`
		adopt(t)
		spec := harness.Spec{Args: []string{busybox, "sh", "-c", script}}
		for round := range rounds {
			argv := target.Argv(spec)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env = harness.BaseEnv()
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
			nothingLeft(t, time.Second)
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
		adopt(t)
		r := run(t, target, harness.Spec{
			Args: []string{busybox, "sh", "-c",
				"/bin/busybox sleep 1000 >/dev/null 2>&1 & /bin/busybox setsid /bin/busybox sleep 1000 >/dev/null 2>&1 & exit 5"},
		})
		if r.Status != 5 {
			t.Errorf("status %d, stderr %q", r.Status, r.Stderr)
		}
		nothingLeft(t, time.Second)
	})
}

// TestManySandboxes runs several at once.
func TestManySandboxes(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		const n = 8
		adopt(t)
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
