package platformtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// What the platform does to its host, and what the host can do to it. Processes
// are looked for in /proc; a platform without any passes trivially.
var hostTests = []subtest{
	{"CloseWhileRunning", testCloseWhileRunning},
	{"CloseTwice", testCloseTwice},
	{"Killed", testKilled},
	{"Stopped", testStopped},
	{"Signalled", testSignalled},
	{"ParentKilled", testParentKilled},
	{"NothingLeaks", testNothingLeaks},
}

// process is a line of /proc/PID/stat.
type process struct {
	pid, ppid int
	state     string
}

func processes() []process {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		panic(err)
	}
	var all []process
	for _, d := range dir {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if p, ok := stat(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

func stat(pid int) (process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	ppid, _ := strconv.Atoi(f[1])
	return process{pid, ppid, f[0]}, true
}

// descendants returns the processes below this one.
func descendants() []process {
	below := map[int]bool{os.Getpid(): true}
	all := processes()
	var found []process
	for again := true; again; {
		again = false
		for _, p := range all {
			if below[p.ppid] && !below[p.pid] {
				below[p.pid] = true
				found = append(found, p)
				again = true
			}
		}
	}
	return found
}

func descriptors(tb testing.TB) map[string]string {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]string{}
	for _, d := range dir {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:[event") {
			m[d.Name()] = to
		}
	}
	return m
}

// busy starts guests that compute, some of them threads of others; each writes
// what its Run ends with. It returns when they run.
func busy(e *Env, n int) (errs chan error, waits []func()) {
	errs = make(chan error, 2*n)
	var running sync.WaitGroup
	run := func(g *Guest) {
		running.Done()
		for {
			x, err := g.C.Run(g.Space.AddressSpace)
			if err != nil {
				errs <- err
				return
			}
			if x.Kind != platform.ExitInterrupted {
				errs <- fmt.Errorf("%s", describe(x))
				return
			}
		}
	}
	for range n {
		s := e.Space(loop)
		copy(s.Code[64:], syscall_)
		running.Add(2)
		waits = append(waits, e.Start(nil, s, func(g *Guest) {
			defer s.Release()
			g.Regs().Rip = codeAt + 64
			if x, err := g.C.Run(s.AddressSpace); err != nil || x.Kind != platform.ExitSyscall {
				running.Done()
				running.Done()
				errs <- err
				errs <- err
				return
			}
			g.Regs().Rip = codeAt
			w := g.Start(g, s, run)
			run(g)
			w()
		}))
	}
	running.Wait()
	time.Sleep(5 * time.Millisecond)
	return errs, waits
}

func testCloseWhileRunning(t *testing.T, e *Env) {
	files := descriptors(t)
	for range 3 {
		o := &Env{tb: t, new: e.new, File: e.File, fd: e.fd, next: e.next, P: e.new(t, e.fd)}
		errs, waits := busy(o, 3)
		within(t, "Close", o.P.Close)
		for range cap(errs) {
			if err := <-errs; err == nil {
				t.Errorf("Run went on after Close")
			}
		}
		for _, w := range waits {
			w()
		}
		if _, err := o.TryStart(nil, o.Space(), func(*Guest) {}); err == nil {
			t.Errorf("Spawn works after Close")
		}
	}
	e.P.Close()
	if left := descendants(); len(left) != 0 {
		t.Errorf("host processes are left after Close: %v", left)
	}
	for fd, to := range descriptors(t) {
		if files[fd] == "" {
			t.Errorf("descriptor %s → %s is left after Close", fd, to)
		}
	}
}

func testCloseTwice(t *testing.T, e *Env) {
	e.P.Close()
	e.P.Close()
}

// testKilled: any process of the platform is killed; then Run fails, in all
// guests, in those of a space, or in none; nothing hangs, and Close works.
func testKilled(t *testing.T, e *Env) {
	e.P.Close()
	for nth := 0; ; nth++ {
		o := &Env{tb: t, new: e.new, File: e.File, fd: e.fd, next: e.next, P: e.new(t, e.fd)}
		errs, waits := busy(o, 3)
		all := descendants()
		if nth >= len(all) {
			o.P.Close()
			break
		}
		if err := unix.Kill(all[nth].pid, unix.SIGKILL); err != nil {
			t.Errorf("kill: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
		failed := 0
		within(t, "the other thread of a space", func() {
			for failed%2 != 0 || len(errs) > 0 {
				if err := <-errs; err == nil {
					t.Errorf("no error")
				}
				failed++
			}
		})
		// The platform goes on, for the others and for new ones; or it ends for
		// all of them.
		var born error
		s := o.Space(syscall_)
		o.Start(nil, s, func(g *Guest) { _, born = g.C.Run(s.AddressSpace) })()
		s.Release()
		if born != nil {
			within(t, "the end of guests of a platform that takes no new ones", func() {
				for range cap(errs) - failed {
					<-errs
				}
			})
		}
		within(t, "Close", o.P.Close)
		for _, w := range waits {
			w()
		}
		if left := descendants(); len(left) != 0 {
			t.Fatalf("process %d of %d killed: left after Close: %v", nth, len(all), left)
		}
	}
}

// testStopped: job control from outside does no harm to guests, to threads that
// begin or wait, or to new spaces.
func testStopped(t *testing.T, e *Env) {
	s := e.Space(back(incRAX, syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		g.Start(g, s, func(g *Guest) { g.Call() })() // a thread that waits for another
		quit := make(chan struct{})
		go func() {
			defer close(quit)
			for range 30 {
				for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGCHLD, unix.SIGSTOP, unix.SIGURG, unix.SIGCONT} {
					for _, p := range descendants() {
						unix.Kill(p.pid, sig)
					}
				}
			}
		}()
		for n, over := uint64(0), false; !over; n++ {
			select {
			case <-quit:
				over = true
			default:
			}
			g.numbered(n)
			if n%64 == 0 {
				g.Start(g, s, func(g *Guest) { g.Call() })()
				o := g.Env.Space(syscall_)
				g.mu.Lock()
				g.next -= 2 * pageSize
				g.mu.Unlock()
				g.Start(g, o, func(g *Guest) { g.Call(); o.Release() })()
			}
		}
	})()
	s.Release()
}

// numbered makes the guest of incRAX, syscall go on with a result, now and then
// with mapping changes.
func (g *Guest) numbered(n uint64) {
	g.tb.Helper()
	n += firstFree
	g.Regs().Rax = n
	if got := g.Call(); got != n+1 {
		g.Fatalf("call %d has number %d", n+1, got)
	}
	if n%16 == 0 {
		g.Space.Map(freeAt, pageSize, 0, read)
		g.Space.Map(freeAt+2*pageSize, pageSize, 0, read)
	}
}

// testSignalled: neither do other signals to what is traced.
func testSignalled(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Call()
		var pids []int
		for _, p := range descendants() {
			if traced(p.pid) {
				pids = append(pids, p.pid)
			}
		}
		quit := make(chan struct{})
		go func() {
			defer close(quit)
			for range 50 {
				for sig := unix.Signal(1); sig < 65; sig++ {
					for _, pid := range pids {
						if sig != unix.SIGKILL {
							unix.Kill(pid, sig)
						}
					}
				}
			}
		}()
		for n, over := uint64(0), false; !over; n++ {
			select {
			case <-quit:
				over = true
			default:
			}
			g.numbered(n)
		}
	}, back(incRAX, syscall_))
}

// traced says whether all threads of a process are traced.
func traced(pid int) bool {
	dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false
	}
	for _, d := range dir {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, d.Name()))
		if err != nil || strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

const victimEnv = "PLATFORMTEST_VICTIM"

// victim is the child of testParentKilled: it says which processes it has, with
// guests running and waiting, and waits to be killed.
func victim(t *testing.T, n New) {
	e := newEnv(t, n)
	busy(e, 3)
	s := e.Space(syscall_)
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		g.Start(g, s, func(g *Guest) { g.Call() })()
	})() // not released: its thread waits
	time.Sleep(20 * time.Millisecond)
	for _, p := range descendants() {
		fmt.Printf("process %d\n", p.pid)
	}
	fmt.Println("ready")
	time.Sleep(10 * patience)
}

// testParentKilled: a sandbox that is killed leaves no process.
func testParentKilled(t *testing.T, e *Env) {
	top, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+top+"$", "-test.v")
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	within(t, "a child", func() {
		for s := bufio.NewScanner(out); s.Scan() && s.Text() != "ready"; {
			var pid int
			if n, _ := fmt.Sscanf(s.Text(), "process %d", &pid); n == 1 {
				pids = append(pids, pid)
			}
		}
	})
	cmd.Process.Kill()
	cmd.Wait()
	t.Logf("%d processes", len(pids))
	deadline := time.Now().Add(patience / 4)
	for _, pid := range pids {
		for {
			p, ok := stat(pid)
			if !ok || p.state == "Z" || p.state == "X" {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("process %d (state %s) outlives its sandbox", pid, p.state)
				unix.Kill(pid, unix.SIGKILL)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// testNothingLeaks: a platform that was used leaves no goroutine, process,
// descriptor or mapping.
func testNothingLeaks(t *testing.T, e *Env) {
	e.P.Close()
	ignore := goleak.IgnoreCurrent()
	files := descriptors(t)
	for range 3 {
		o := &Env{tb: t, new: e.new, File: e.File, fd: e.fd, P: e.new(t, e.fd)}
		s := o.Space(back(syscall_))
		o.Start(nil, s, func(g *Guest) {
			g.Call()
			for range 5 {
				n := g.Env.Space(syscall_)
				g.Start(g, n, func(g *Guest) { g.Call(); n.Release() })()
				g.Start(g, s, func(g *Guest) { g.Call() })()
			}
		})()
		s.Release()
		unreleased := o.Space(syscall_)
		o.Start(nil, unreleased, func(g *Guest) { g.Call() })()
		o.P.Close()
	}
	if left := descendants(); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	for fd, to := range descriptors(t) {
		if files[fd] == "" {
			t.Errorf("descriptor %s → %s is left", fd, to)
		}
	}
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), "memfd:runsc-lite") {
		t.Errorf("mappings are left")
	}
}
