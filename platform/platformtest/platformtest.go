// Package platformtest is the suite that every platform passes.
//
// It drives a platform directly with small pieces of machine code, written into
// a memory file of its own, without a kernel: what comes out of Run is compared
// with what the processor's manuals and Linux say. A platform's test calls Run
// and adds what only it has.
package platformtest

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// New makes the platform under test on a memory file. The suite closes it.
type New func(tb testing.TB, memoryFD int) platform.Platform

// Run runs the suite.
func Run(t *testing.T, n New) {
	if os.Getenv(victimEnv) != "" {
		victim(t, n)
		return
	}
	for _, g := range []struct {
		name  string
		tests []subtest
	}{
		{"Calls", callTests},
		{"Flags", flagTests},
		{"Faults", faultTests},
		{"Exceptions", exceptionTests},
		{"FloatingPoint", fpuTests},
		{"Interrupt", interruptTests},
		{"Mappings", mappingTests},
		{"Threads", threadTests},
		{"Spaces", spaceTests},
		{"PatchedCalls", patchTests},
		{"CPUTimes", meterTests},
		{"Host", hostTests},
	} {
		t.Run(g.name, func(t *testing.T) {
			for _, st := range g.tests {
				t.Run(st.name, func(t *testing.T) { st.fn(t, newEnv(t, n)) })
			}
		})
	}
}

type subtest struct {
	name string
	fn   func(*testing.T, *Env)
}

const (
	pageSize = hostarch.PageSize
	fileSize = 256 << 20

	// Where guests have their code and data, a page each unless a test maps
	// more. What lies between is free.
	codeAt = 0x400000
	dataAt = 0x600000
	freeAt = 0x10000000
)

// Env is a platform on a memory file.
type Env struct {
	tb  testing.TB
	new New
	P   platform.Platform
	// File is the memory file's contents.
	File []byte

	fd   int
	mu   sync.Mutex
	next uint64
}

func newEnv(tb testing.TB, n New) *Env {
	fd, err := unix.MemfdCreate("platformtest", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Ftruncate(fd, fileSize); err != nil {
		tb.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		tb.Fatal(err)
	}
	e := &Env{tb: tb, new: n, File: b, fd: fd, P: n(tb, fd)}
	tb.Cleanup(func() {
		within(tb, "Close", func() { e.P.Close() })
		unix.Munmap(b)
		unix.Close(fd)
	})
	return e
}

// NewEnv is an environment for a platform's own tests and benchmarks.
func NewEnv(tb testing.TB, n New) *Env { return newEnv(tb, n) }

// Alloc returns the offset of pages of the memory file, which read as zeros.
func (e *Env) Alloc(pages int) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	off := e.next
	e.next += uint64(pages) * pageSize
	if e.next > fileSize {
		panic("platformtest: the memory file is full")
	}
	return off
}

// Bytes is what the memory file has at off.
func (e *Env) Bytes(off uint64, n int) []byte { return e.File[off : off+uint64(n)] }

// Space is an address space with a page of code at codeAt and one of data at
// dataAt.
type Space struct {
	platform.AddressSpace
	Code, Data       []byte
	CodeOff, DataOff uint64
}

// Space makes an address space with this code.
func (e *Env) Space(text ...[]byte) *Space {
	as, err := e.P.NewAddressSpace()
	if err != nil {
		e.tb.Fatal(err)
	}
	s := &Space{AddressSpace: as, CodeOff: e.Alloc(1), DataOff: e.Alloc(1)}
	s.Code, s.Data = e.Bytes(s.CodeOff, pageSize), e.Bytes(s.DataOff, pageSize)
	copy(s.Code, code(text...))
	as.Map(codeAt, pageSize, s.CodeOff, hostarch.ReadExecute)
	as.Map(dataAt, pageSize, s.DataOff, hostarch.ReadWrite)
	return s
}

// Sibling makes an address space that maps the pages of another.
func (e *Env) Sibling(o *Space) *Space {
	as, err := e.P.NewAddressSpace()
	if err != nil {
		e.tb.Fatal(err)
	}
	s := *o
	s.AddressSpace = as
	as.Map(codeAt, pageSize, s.CodeOff, hostarch.ReadExecute)
	as.Map(dataAt, pageSize, s.DataOff, hostarch.ReadWrite)
	return &s
}

// firstFree is above the numbers that Linux gives to system calls. Below it, a host
// may have some that it lets nobody intercept (uprobe(2), 335 and 336, which seccomp
// passes since Linux 6.14; they do nothing but end a program that does not expect it).
const firstFree = 1024

// Guest is a guest thread, on the goroutine that owns it.
type Guest struct {
	*Env
	C platform.Context
	// Space is where Run runs.
	Space *Space
}

// abort ends a guest's function; the failure is reported already.
type abort struct{}

// Fatalf fails the test and ends the guest's function.
func (g *Guest) Fatalf(format string, args ...any) {
	g.tb.Helper()
	g.tb.Errorf(format, args...)
	panic(abort{})
}

// Start starts a guest thread in s, at its code, and returns a function that
// waits for it. near may be nil.
func (e *Env) Start(near *Guest, s *Space, fn func(*Guest)) (wait func()) {
	e.tb.Helper()
	wait, err := e.TryStart(near, s, fn)
	if err != nil {
		e.tb.Errorf("Spawn: %v", err)
		return func() {}
	}
	return wait
}

// TryStart is Start, and returns the error of Spawn.
func (e *Env) TryStart(near *Guest, s *Space, fn func(*Guest)) (wait func(), err error) {
	var c platform.Context
	if near != nil {
		c = near.C
	}
	done := make(chan struct{})
	err = e.P.Spawn(c, s.AddressSpace, func(c platform.Context) {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(abort); !ok {
					e.tb.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}
		}()
		c.Registers().Rip = codeAt
		fn(&Guest{Env: e, C: c, Space: s})
	})
	return func() { e.tb.Helper(); within(e.tb, "a guest thread", func() { <-done }) }, err
}

// Guest runs fn as a guest thread in a new space with this code, and releases
// the space.
func (e *Env) Guest(fn func(*Guest), text ...[]byte) {
	e.tb.Helper()
	s := e.Space(text...)
	e.Start(nil, s, fn)()
	s.Release()
}

// patience is how long anything may take on a busy machine.
const patience = 60 * time.Second

// within fails the test, with all stacks, when fn takes too long.
func within(tb testing.TB, what string, fn func()) {
	tb.Helper()
	timer := time.AfterFunc(patience, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("%s: %s hangs", tb.Name(), what))
	})
	defer timer.Stop()
	fn()
}

// Regs are the guest's registers.
func (g *Guest) Regs() *platform.Registers { return g.C.Registers() }

// Text is the address of the code.
func (g *Guest) Text() uint64 { return codeAt }

// Run runs the guest; spurious interruptions are skipped.
func (g *Guest) Run() platform.Exit {
	g.tb.Helper()
	for {
		x, err := g.C.Run(g.Space.AddressSpace)
		if err != nil {
			g.Fatalf("Run: %v", err)
		}
		if x.Kind != platform.ExitInterrupted {
			return x
		}
	}
}

// Call runs the guest up to its next system call and returns the number.
func (g *Guest) Call() uint64 {
	g.tb.Helper()
	if x := g.Run(); x.Kind != platform.ExitSyscall {
		g.Fatalf("%s at %#x, want a system call", describe(x), g.Regs().Rip)
	}
	return g.Regs().Orig_rax
}

// Fault runs the guest up to its next fault, which must be at addr.
func (g *Guest) Fault(addr uint64, want hostarch.AccessType) platform.Exit {
	g.tb.Helper()
	x := g.Run()
	g.checkFault(x, addr, want)
	return x
}

func (g *Guest) checkFault(x platform.Exit, addr uint64, want hostarch.AccessType) {
	g.tb.Helper()
	if x.Kind != platform.ExitFault || uint64(x.Addr) != addr {
		g.Fatalf("%s at %#x, want a fault at %#x", describe(x), g.Regs().Rip, addr)
	}
	if x.Access.Any() && x.Access != want {
		g.Fatalf("a fault at %#x with access %v, want %v", addr, x.Access, want)
	}
}

// Signal runs the guest up to its next exception.
func (g *Guest) Signal(sig unix.Signal, code int32) platform.Exit {
	g.tb.Helper()
	x := g.Run()
	if x.Kind != platform.ExitSignal || x.Signo != int32(sig) || x.Code != code {
		g.Fatalf("%s at %#x, want %v with code %#x", describe(x), g.Regs().Rip, sig, code)
	}
	return x
}

func describe(x platform.Exit) string {
	switch x.Kind {
	case platform.ExitSyscall:
		return "a system call"
	case platform.ExitInterrupted:
		return "an interruption"
	case platform.ExitFault:
		return fmt.Sprintf("a fault (%v, code %#x, address %#x, access %v)", unix.Signal(x.Signo), x.Code, uint64(x.Addr), x.Access)
	}
	return fmt.Sprintf("%v (code %#x, address %#x)", unix.Signal(x.Signo), x.Code, uint64(x.Addr))
}
