package lifecycle

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

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
