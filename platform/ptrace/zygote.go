package ptrace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// The zygote is the process that stub processes are forked from: it has the
// stub page, the two descriptors, and nothing else. It is always stopped,
// traced by one locked goroutine, which makes it fork ahead of demand.
//
// It buries stubs too: a dead one stays a zombie, and its pid taken, until bury
// is called. So a pid that is in our hands is never a stranger's.
//
// Its end is the stubs' end (PR_SET_PDEATHSIG), and the tracer's end is its own
// (PTRACE_O_EXITKILL).
type zygote struct {
	tracer
	pid  int
	fpu  []byte // floating-point state of a fresh process
	work chan struct{}
	done chan struct{}

	mu      sync.Mutex
	changed sync.Cond
	stock   []int // pids of stubs that wait to be seized
	dead    []int // to be buried
	// scarce: forking failed, with err, and the stock was not full since. What
	// was left in it is gone: the host's limits need slack for the sentry's
	// threads, the lack of which the Go runtime does not survive.
	scarce bool
	err    error
	quit   bool
}

// readyStubs is how many stub processes are kept in stock.
const readyStubs = 3

// startZygote makes the zygote and the goroutine that serves it.
// scratch is page 0 of the command file.
func startZygote(memFD, cmdFD int, scratch []byte, k *key) (*zygote, error) {
	z := &zygote{tracer: tracer{key: k}, work: make(chan struct{}, 1), done: make(chan struct{})}
	z.changed.L = &z.mu
	started := make(chan error)
	go onThread(func() {
		defer close(z.done)
		err := z.start(memFD, cmdFD)
		if err == nil {
			err = z.confine(scratch)
		}
		started <- err
		if err == nil {
			z.serve()
		} else if z.pid != 0 {
			z.kill()
		}
	})
	return z, <-started
}

// onThread runs fn on an OS thread of its own, which ends with it, and with it
// what it traces. The main thread would not end.
func onThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn()
		return
	}
	locked := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(locked)
		fn()
	}()
	<-locked
	runtime.UnlockOSThread()
}

func (z *zygote) start(memFD, cmdFD int) error {
	exe, err := unix.MemfdCreate("runsc-lite-stub", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		exe, err = unix.MemfdCreate("runsc-lite-stub", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("making the stub's file: %w", err)
	}
	f := os.NewFile(uintptr(exe), "stub")
	defer f.Close()
	if _, err := f.Write(image(stubText())); err != nil {
		return fmt.Errorf("writing the stub's file: %w", err)
	}
	// The one page could, once in some 65,536 times, collide with the stack that
	// the host places at random: then exec kills the child, and we try again.
	var last error
	for range 3 {
		pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", exe), []string{"runsc-lite-stub"}, &syscall.ProcAttr{
			Files: []uintptr{^uintptr(0), ^uintptr(0), ^uintptr(0), uintptr(memFD), uintptr(cmdFD)},
			Sys:   &syscall.SysProcAttr{Ptrace: true, Setsid: true, Pdeathsig: syscall.SIGKILL},
		})
		if err != nil {
			return traceError(err)
		}
		z.pid = pid
		ws, e := z.wait(pid)
		if e == 0 && ws.Stopped() && ws.StopSignal() == unix.SIGTRAP {
			return z.prepare()
		}
		if e == 0 && ws.Stopped() {
			z.kill()
		}
		z.pid = 0
		last = fmt.Errorf("the stub ended at once, wait status %#x", ws)
		if e != 0 {
			last = traceError(e)
		}
	}
	return last
}

// prepare leaves the stopped child with the stub page and nothing else.
func (z *zygote) prepare() error {
	if e := z.setOptions(); e != 0 {
		return traceError(e)
	}
	z.fpu = make([]byte, 16<<10)
	n, e := z.getXState(z.pid, z.fpu)
	if e != 0 {
		return fmt.Errorf("reading the stub's floating-point state: %w", e)
	}
	z.fpu = z.fpu[:n:n]
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", z.pid))
	if err != nil {
		return fmt.Errorf("reading the stub's mappings: %w", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		span, _, _ := strings.Cut(s.Text(), " ")
		lo, hi, _ := strings.Cut(span, "-")
		start, _ := strconv.ParseUint(lo, 16, 64)
		end, _ := strconv.ParseUint(hi, 16, 64)
		if start == stubBase || start >= 1<<47 { // ours; the vsyscall page
			continue
		}
		if err := z.prepareCall(unix.SYS_MUNMAP, start, end-start); err != nil {
			return err
		}
	}
	// Descriptors that we were started with, and nobody marked.
	if err := z.prepareCall(unix.SYS_CLOSE_RANGE, commandFD+1, 1<<32-1); err != nil && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// A stub that crashes must not leave guest memory on the host's disk.
	if err := unix.Prlimit(z.pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		return fmt.Errorf("setting the stub's limits: %w", err)
	}
	return z.prepareCall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
}

// confine installs the filter. It holds the key, and must not be left where guests
// can read it.
func (z *zygote) confine(scratch []byte) error {
	copy(scratch, program(stubFilter(z.key), commandPage))
	defer clear(scratch)
	err := z.prepareCall(unix.SYS_MMAP, commandPage, hostarch.PageSize, unix.PROT_READ, mapFlags, commandFD, 0)
	if err == nil {
		err = z.prepareCall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, commandPage)
	}
	if err == nil {
		err = z.prepareCall(unix.SYS_MUNMAP, commandPage, hostarch.PageSize)
	}
	return err
}

func (z *zygote) setOptions() unix.Errno {
	return z.request(unix.PTRACE_SETOPTIONS, z.pid, seizeOptions)
}

func (z *zygote) prepareCall(nr uint64, args ...uint64) error {
	if _, err := z.call(z.pid, entryCall, nr, args...); err != nil {
		return fmt.Errorf("preparing the stub: system call %d: %w", nr, err)
	}
	return nil
}

// kill ends and buries the zygote itself.
func (z *zygote) kill() {
	unix.Kill(z.pid, unix.SIGKILL)
	for {
		if ws, e := z.wait(z.pid); e != 0 || !ws.Stopped() {
			return
		}
	}
}

// take returns a stub process out of the stock. Errors are clone's.
func (z *zygote) take() (int, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(z.stock) == 0 || z.scarce {
		z.err = nil
		z.wake()
		for (len(z.stock) == 0 || z.scarce) && z.err == nil && !z.quit {
			z.changed.Wait()
		}
	}
	if z.quit {
		return 0, errGone
	}
	if z.err != nil {
		return 0, z.err
	}
	pid := z.stock[0]
	z.stock = z.stock[1:]
	z.wake()
	return pid, nil
}

// lost says whether there will be no more stubs.
func (z *zygote) lost() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.quit
}

// refuses says whether the host has no more processes for us, as far as is
// known: then it may have no threads either. A new attempt is under way.
func (z *zygote) refuses() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.scarce && z.err != nil {
		z.err = nil
		z.wake()
		return true
	}
	return false
}

// bury lets go of the pid of a stub that was killed.
func (z *zygote) bury(pid int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dead = append(z.dead, pid)
	z.wake()
}

// wake makes serve look.
func (z *zygote) wake() {
	select {
	case z.work <- struct{}{}:
	default:
	}
}

// serve fills the stock and buries the dead until stop is called.
func (z *zygote) serve() {
	for {
		z.mu.Lock()
		want := len(z.stock) < readyStubs && z.err == nil
		dead, quit := z.dead, z.quit
		z.dead = nil
		z.mu.Unlock()
		if quit {
			break
		}
		if want {
			z.fork()
		}
		var again <-chan time.Time
		if left := z.buryAll(dead); left > 0 {
			again = time.After(time.Millisecond)
		}
		if want {
			continue
		}
		select {
		case <-z.work:
		case <-again:
		}
	}
	for _, pid := range z.stock {
		unix.Kill(pid, unix.SIGKILL)
	}
	// Until there is none left. All are killed, and traced by nobody any more
	// or by threads that are about to end.
	for {
		if _, err := z.call(z.pid, entryCall, unix.SYS_WAIT4, ^uint64(0), 0, unix.WALL); err != nil {
			break
		}
	}
	z.kill()
}

// fork puts one more stub in stock.
func (z *zygote) fork() {
	pid, err := z.callRegs(z.pid, &platform.Registers{Rip: entryClone, Rax: unix.SYS_CLONE, Rdi: forkFlags, R12: uint64(z.pid)})
	z.mu.Lock()
	defer z.mu.Unlock()
	if err == nil {
		z.stock = append(z.stock, int(pid))
		z.scarce = z.scarce && len(z.stock) < readyStubs
	} else {
		var errno unix.Errno
		if !errors.As(err, &errno) {
			z.quit = true // killed from outside: no more stubs
		}
		z.err = fmt.Errorf("forking a stub process: %w", err)
		z.scarce = true
		for _, pid := range z.stock {
			unix.Kill(pid, unix.SIGKILL)
		}
		z.dead = append(z.dead, z.stock...)
		z.stock = nil
	}
	z.changed.Broadcast()
}

// buryAll buries those that are dead by now, puts the others back, and returns
// how many these are.
func (z *zygote) buryAll(pids []int) int {
	left := slices.DeleteFunc(pids, func(pid int) bool {
		ret, err := z.call(z.pid, entryCall, unix.SYS_WAIT4, uint64(pid), 0, unix.WNOHANG|unix.WALL)
		return err != nil || ret != 0
	})
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dead = append(z.dead, left...)
	return len(left)
}

// stop ends the zygote and all stubs, which the caller has killed but for those
// in stock, and returns once they are gone.
func (z *zygote) stop() {
	z.mu.Lock()
	z.quit = true
	z.changed.Broadcast()
	z.wake()
	z.mu.Unlock()
	<-z.done
}
