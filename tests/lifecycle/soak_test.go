package lifecycle

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// TestSoak runs a program that makes random and hostile calls, seeded by
// RUNSC_LITE_SOAK_SEED (1). It stops twice, with nothing but its first process left,
// where the host side has to hold the second time what it held the first.
//
// For a long run under the race detector: RUNSC_LITE is a runner that was built with
// -race, and RUNSC_LITE_SOAK_SECONDS how long each half takes.
func TestSoak(t *testing.T) {
	seconds := 4
	if harness.Slow() {
		seconds = 30
	}
	if testing.Short() {
		seconds = 1
	}
	if s := os.Getenv("RUNSC_LITE_SOAK_SECONDS"); s != "" {
		var err error
		if seconds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := os.Getenv("RUNSC_LITE_SOAK_SEED")
	if seed == "" {
		seed = "1"
	}
	program := harness.Program(t, "RUNSC_LITE_SOAK", "tests/lifecycle/soak/soak.c")
	each(t, func(t *testing.T, target harness.Target) {
		adopt(t)
		// What is measured is sound however long it takes: the limit is for hangs.
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*4*time.Second+3*time.Minute)
		defer cancel()
		cmd := target.Command(ctx, harness.Spec{Args: []string{program, seed, fmt.Sprint(seconds)}})
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(pipe)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		w := newWatch(t, cmd)
		before := shm()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.started()
		var at [2]usage
		for i := range at {
			line, err := out.ReadString('\n')
			count, ok := strings.CutPrefix(strings.TrimSpace(line), "calls ")
			calls, bad := strconv.Atoi(count)
			if err != nil || !ok || bad != nil {
				t.Fatalf("seed %s: got %q, %v; stderr:\n%.4000s", seed, line, err, errOut.String())
			}
			if calls < 1000 {
				t.Errorf("only %d calls were made", calls)
			}
			time.Sleep(500 * time.Millisecond) // let what ends later end
			at[i] = measure(t, cmd.Process.Pid)
			t.Logf("%d calls; the host side holds %+v", calls, at[i])
			if _, err := io.WriteString(in, "go\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("seed %s: %v; stderr:\n%.4000s", seed, err, errOut.String())
		}
		if s := errOut.String(); s != "" {
			t.Errorf("seed %s: the sentry complains:\n%.8000s", seed, s)
		}
		// Platforms keep what they need for the next guest: up to rested processes, each
		// with a thread of its own, one that traces it, and a descriptor or two. Whether
		// the first half needed as many as the second is chance.
		const rested = 20
		if at[1].processes > at[0].processes+rested {
			t.Errorf("host processes: %d, then %d", at[0].processes, at[1].processes)
		}
		if at[1].threads > at[0].threads+2*rested {
			t.Errorf("host threads: %d, then %d", at[0].threads, at[1].threads)
		}
		if at[1].descriptors > at[0].descriptors+2*rested {
			t.Errorf("host descriptors: %d, then %d", at[0].descriptors, at[1].descriptors)
		}
		// What random calls leave in the sandbox's own file tree is memory, too.
		if limit := at[0].kib + 96<<10; at[1].kib > limit {
			t.Errorf("memory: %d KiB, then %d KiB", at[0].kib, at[1].kib)
		}
		w.gone(t, 5*time.Second)
		nothingLeft(t, 5*time.Second)
		if after := shm(); after != before {
			t.Errorf("/dev/shm held %q, now %q", before, after)
		}
	})
}
