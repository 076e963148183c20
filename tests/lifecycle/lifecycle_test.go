// Package lifecycle drives the runner from outside: what it leaves behind,
// how it ends, what it says when it cannot start.
package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// descendants lists the host's processes below one, as /proc has them; zombies
// are left out.
func descendants(t *testing.T, root int) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	children := make(map[int][]int)
	zombie := make(map[int]bool)
	for _, d := range dirs {
		stat, err := os.ReadFile(filepath.Join(d, "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		// The name, in parentheses, may hold anything.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err1 := strconv.Atoi(filepath.Base(d))
		parent, err2 := strconv.Atoi(f[1])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", d, err1, err2)
		}
		children[parent] = append(children[parent], pid)
		zombie[pid] = f[0] == "Z" || f[0] == "X"
	}
	var list []int
	for queue := children[root]; len(queue) > 0; queue = queue[1:] {
		queue = append(queue, children[queue[0]]...)
		if !zombie[queue[0]] {
			list = append(list, queue[0])
		}
	}
	return list
}

// adopt makes this process the parent of what the runner leaves behind, so that
// leftovers are found however they hide: with a session, an environment and
// descriptors of their own.
//
// Whatever is left after the test is ended then, by its id: a runner that
// leaves processes behind must not leave them on the machine for good.
func adopt(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 20 { // what is being ended may make new ones meanwhile
			left := descendants(t, os.Getpid())
			for _, pid := range left {
				_ = unix.Kill(pid, unix.SIGKILL) // it may be gone by now
			}
			for {
				if pid, _ := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); pid <= 0 {
					break
				}
			}
			if len(left) == 0 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// watch gives a runner the write end of a pipe on descriptor 3: as long as any
// process of the sandbox is alive that has not closed it, reading the other
// end does not come to its end. It is a second net, next to adopt.
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

// nothingLeft waits until nothing of the sandbox is left. The runner was
// waited for.
func nothingLeft(t *testing.T, limit time.Duration) {
	t.Helper()
	var left []string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		left = nil
		for _, pid := range descendants(t, os.Getpid()) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			left = append(left, fmt.Sprintf("%d %s", pid, bytes.TrimSpace(comm)))
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left after %v: %v", limit, left)
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

// measure sums over a runner and what is below it.
func measure(t *testing.T, runner int) usage {
	t.Helper()
	var u usage
	for _, pid := range append(descendants(t, runner), runner) {
		dir := fmt.Sprintf("/proc/%d", pid)
		u.processes++
		if e, err := os.ReadDir(dir + "/task"); err == nil {
			u.threads += len(e)
		}
		if e, err := os.ReadDir(dir + "/fd"); err == nil {
			u.descriptors += len(e)
		}
		text, _ := os.ReadFile(dir + "/smaps_rollup") // gone: holds nothing
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.Atoi(strings.Fields(rest)[0])
				u.kib += kib
			}
		}
	}
	return u
}
