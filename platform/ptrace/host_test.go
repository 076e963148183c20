package ptrace

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/platform/platformtest"
)

// Hosts that are not as we would like them are made by a child process, which
// runs TestChild.
const childEnv = "PTRACE_TEST_CHILD"

var children = map[string]func(*testing.T){
	"forbidden": childForbidden,
	"limited":   childLimited,
}

func TestChild(t *testing.T) {
	if fn := children[os.Getenv(childEnv)]; fn != nil {
		fn(t)
	}
}

// runChild runs a test of this program again, as nobody if wanted.
func runChild(t *testing.T, test, child string, nobody bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run="+test, "-test.v")
	// Nothing else: Bazel's variables would have it go to a directory that nobody
	// may see.
	cmd.Env = []string{childEnv + "=" + child}
	cmd.Dir = "/"
	if nobody {
		if os.Getuid() != 0 {
			t.Skip("needs root, to become somebody else")
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nPASS") && !strings.HasPrefix(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnprivileged: nobody can do without any privilege.
func TestUnprivileged(t *testing.T) {
	runChild(t, "^TestPlatform$/^(Calls|Mappings|Spaces|Host)$/^(Registers|Batch|Storm|CloseWhileRunning|NothingLeaks)$", "", true)
}

// TestForbidden: where ptrace is forbidden, New says so, and what to do.
func TestForbidden(t *testing.T) { runChild(t, "^TestChild$", "forbidden", false) }

func childForbidden(t *testing.T) {
	if err := forbidPtrace(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{MemoryFD: fd})
	if err == nil {
		p.Close()
		t.Fatal("New succeeds")
	}
	for _, word := range []string{"ptrace", "seccomp", "CAP_SYS_PTRACE", "yama"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not mention %s", err, word)
		}
	}
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("%v is not EPERM", err)
	}
	if _, err := os.ReadDir("/proc/self/task"); err != nil {
		t.Error(err)
	}
	var ws unix.WaitStatus
	if pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child %d is left, %v", pid, err)
	}
}

// TestLimited: where the host gives no more processes, Spawn or the first Run
// says so; the others go on, and with room everything works again.
func TestLimited(t *testing.T) { runChild(t, "^TestChild$", "limited", true) }

func childLimited(t *testing.T) {
	const limit = spareThreads + 24 // threads and processes of nobody
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	e := platformtest.NewEnv(t, newPlatform)
	z := e.P.(*Ptrace).zygote
	e.Guest(func(g *platformtest.Guest) {
		g.Call()
		// guests starts up to n more, and returns how many run.
		guests := func(n int) (ran int, err error) {
			hold := make(chan struct{})
			results := make(chan error, n)
			var waits []func()
			for range n {
				s := g.Sibling(g.Space)
				wait, err := g.TryStart(g, s, func(g *platformtest.Guest) {
					_, err := g.C.Run(s.AddressSpace)
					results <- err
					<-hold
					s.Release()
				})
				if err != nil {
					results <- err
					s.Release()
					continue
				}
				waits = append(waits, wait)
			}
			for range n {
				if e := <-results; e == nil {
					ran++
				} else if err = e; !errors.Is(e, unix.EAGAIN) {
					t.Errorf("%v is not EAGAIN", e)
				}
			}
			g.Call() // goes on
			close(hold)
			for _, w := range waits {
				w()
			}
			return ran, err
		}
		for range 3 {
			// As many as we take by ourselves: (88-64)/2, and this one.
			if ran, err := guests(20); ran != 11 || err == nil {
				t.Errorf("%d guests run, then: %v; want 11", ran, err)
			}
		}
		// The host refuses to fork.
		if err := unix.Prlimit(z.pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: limit}, nil); err != nil {
			g.Fatalf("prlimit: %v", err)
		}
		took := 0
		take := func() error {
			pid, err := z.take()
			if err == nil {
				took++
				unix.Kill(pid, unix.SIGKILL)
				z.bury(pid)
			}
			return err
		}
		var err error
		for range readyStubs + 1 {
			if err = take(); err != nil {
				break
			}
		}
		if !errors.Is(err, unix.EAGAIN) || took > readyStubs {
			t.Errorf("%d stubs although forking fails, then: %v", took, err)
		}
		if z.mu.Lock(); !z.scarce || len(z.stock) != 0 {
			t.Errorf("a stock of %d is kept when the host has no room", len(z.stock))
		}
		z.mu.Unlock()
		guests(10) // with the stubs that idle workers have
		if err := unix.Prlimit(z.pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			g.Fatalf("prlimit: %v", err)
		}
		if err := take(); err != nil {
			t.Errorf("no stub although forking works again: %v", err)
		}
		if ran, err := guests(10); ran != 10 {
			t.Errorf("%d guests run, then: %v; want 10", ran, err)
		}
	}, callLoop)
}
