package ptrace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// The zygote is the process that stub processes are forked from: it has the
// stub page, the two descriptors, and nothing else. It is always stopped,
// traced by one locked goroutine, which makes it fork on request. Its end is
// the stubs' end (PR_SET_PDEATHSIG), and the tracer's end is its end
// (PTRACE_O_EXITKILL).
type zygote struct {
	pid   int
	fpu   []byte   // floating-point state of a fresh process
	stubs chan int // pids of forked stubs, waiting to be seized
	quit  chan struct{}
	done  chan struct{}
}

// readyStubs is how many stub processes are kept in stock.
const readyStubs = 3

// startZygote makes the zygote and the goroutine that serves it.
func startZygote(memFD, cmdFD int) (*zygote, error) {
	z := &zygote{
		stubs: make(chan int, readyStubs-1),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with z
		defer close(z.done)
		err := z.start(memFD, cmdFD)
		started <- err
		if err == nil {
			z.serve()
		}
	}()
	return z, <-started
}

func (z *zygote) start(memFD, cmdFD int) error {
	exe, err := unix.MemfdCreate("runsc-lite-stub", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making the stub's file: %w", err)
	}
	f := os.NewFile(uintptr(exe), "stub")
	defer f.Close()
	if _, err := f.Write(image(stubText())); err != nil {
		return fmt.Errorf("writing the stub's file: %w", err)
	}
	// The one page could, once in 65,536 times, collide with the stack that
	// the host places at random: then exec kills the child, and we try again.
	for range 3 {
		z.pid, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", exe), []string{"runsc-lite-stub"}, &syscall.ProcAttr{
			Files: []uintptr{^uintptr(0), ^uintptr(0), ^uintptr(0), uintptr(memFD), uintptr(cmdFD)},
			Sys:   &syscall.SysProcAttr{Ptrace: true, Setsid: true, Pdeathsig: syscall.SIGKILL},
		})
		if err != nil {
			return traceError(err)
		}
		var ws unix.WaitStatus
		if ws, e := wait(z.pid); e == 0 && ws.Stopped() && ws.StopSignal() == unix.SIGTRAP {
			return z.prepare()
		}
		err = fmt.Errorf("the stub ended at once, status %#x", ws)
	}
	return err
}

// traceError explains why tracing may be refused.
func traceError(err error) error {
	hint := ""
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		hint = ": the host forbids ptrace or running a memfd here (in a container, allow the ptrace system call or add CAP_SYS_PTRACE; see also kernel.yama.ptrace_scope and vm.memfd_noexec)"
	}
	return fmt.Errorf("tracing a process of our own: %w%s", err, hint)
}

// prepare leaves the stopped child with the stub page and nothing else.
func (z *zygote) prepare() error {
	if e := request(unix.PTRACE_SETOPTIONS, z.pid, 0, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD); e != 0 {
		return traceError(e)
	}
	z.fpu = make([]byte, 16<<10)
	n, e := getXState(z.pid, z.fpu)
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
		if err := z.call(unix.SYS_MUNMAP, start, end-start); err != nil {
			return err
		}
	}
	for _, c := range [][]uint64{
		{unix.SYS_RT_SIGACTION, uint64(unix.SIGCHLD), stubData + dataSigaction, 0, 8},
		{unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1},
		{unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, stubData + dataProg},
	} {
		if err := z.call(c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// call makes the zygote execute one system call.
func (z *zygote) call(nr uint64, args ...uint64) error {
	ret, err := inject(z.pid, entrySyscall, nr, args...)
	if err != nil {
		return err
	}
	if e := failure(ret); e != 0 {
		return fmt.Errorf("preparing the stub: system call %d: %w", nr, e)
	}
	return nil
}

// fork makes a stub process and returns its pid.
func (z *zygote) fork() (int, error) {
	ret, err := injectRegs(z.pid, &platform.Registers{
		Rip: entryClone, Rax: unix.SYS_CLONE, Rdi: uint64(unix.SIGCHLD), R12: uint64(z.pid),
	})
	if err != nil {
		return 0, err
	}
	if e := failure(ret); e != 0 {
		return 0, fmt.Errorf("forking a stub process: %w", e)
	}
	return int(ret), nil
}

// serve keeps stubs in stock until quit.
func (z *zygote) serve() {
	defer func() {
		unix.Kill(z.pid, unix.SIGKILL)
		wait(z.pid)
	}()
	defer close(z.stubs)
	for {
		pid, err := z.fork()
		if err != nil {
			return
		}
		select {
		case z.stubs <- pid:
		case <-z.quit:
			unix.Kill(pid, unix.SIGKILL)
			return
		}
	}
}

// stop ends the zygote and the stubs in stock.
func (z *zygote) stop() {
	close(z.quit)
	<-z.done
	for pid := range z.stubs {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// inject makes a stopped tracee execute one system call at an entry point.
func inject(tid int, entry, nr uint64, args ...uint64) (uint64, error) {
	var a [6]uint64
	copy(a[:], args)
	return injectRegs(tid, &platform.Registers{
		Rip: entry, Rax: nr, Rdi: a[0], Rsi: a[1], Rdx: a[2], R10: a[3], R8: a[4], R9: a[5],
	})
}

// injectRegs runs a stopped tracee from r until the stub's INT3 and returns
// RAX. Signals that come in between are dropped: the only one is the kick of
// Interrupt, which has left its mark already.
func injectRegs(tid int, r *platform.Registers) (uint64, error) {
	r.Cs, r.Ss, r.Eflags, r.Orig_rax = userCS, userSS, 0x202, ^uint64(0)
	if e := setRegs(tid, r); e != 0 {
		return 0, lostError(e)
	}
	for {
		if e := request(unix.PTRACE_CONT, tid, 0, 0); e != 0 {
			return 0, lostError(e)
		}
		ws, e := wait(tid)
		if e != 0 {
			return 0, lostError(e)
		}
		if !ws.Stopped() {
			return 0, errGone
		}
		if ws.StopSignal() == unix.SIGTRAP && ws>>16 == 0 {
			break
		}
		if s := ws.StopSignal(); s == unix.SIGSEGV || s == unix.SIGSYS || s == unix.SIGBUS {
			return 0, fmt.Errorf("a stub process got %v in its own code", s)
		}
	}
	if e := getRegs(tid, r); e != 0 {
		return 0, lostError(e)
	}
	return r.Rax, nil
}

// failure decodes the result of a system call.
func failure(ret uint64) unix.Errno {
	if ret > ^uint64(4095) {
		return unix.Errno(-ret)
	}
	return 0
}

var errGone = errors.New("the guest's host process is gone")

func lostError(e unix.Errno) error {
	if e == unix.ESRCH || e == unix.ECHILD {
		return errGone
	}
	return fmt.Errorf("controlling the guest's host process: %w", e)
}
