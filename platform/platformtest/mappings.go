package platformtest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

var mappingTests = []subtest{
	{"Bounds", testBounds},
	{"Batch", testBatch},
	{"QueuedByOthers", testQueuedByOthers},
	{"Flush", testFlush},
	{"AfterFlush", testAfterFlush},
	{"AfterFlushRelease", testAfterFlushRelease},
	{"TakenAway", testTakenAway},
	{"Model", testModel},
	{"Aliases", testAliases},
	{"Large", testLarge},
}

// testBounds: the first and the last page that a guest may have work.
func testBounds(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for _, at := range []hostarch.Addr{g.P.MinAddress(), g.P.MaxAddress() - pageSize} {
			off := g.Alloc(1)
			g.Space.Map(at, pageSize, off, readWrite)
			g.Regs().Rip, g.Regs().Rdi, g.Regs().Rax = codeAt, uint64(at), 55
			g.Call()
			if g.Bytes(off, 1)[0] != 55 {
				g.Fatalf("a write at %#x did not arrive", uint64(at))
			}
		}
		if g.P.MinAddress() > 0x10000 || g.P.MaxAddress() < 0x7fff_0000_0000 {
			g.Fatalf("guests have [%#x, %#x) only", uint64(g.P.MinAddress()), uint64(g.P.MaxAddress()))
		}
	}, writeRDI, syscall_)
}

// testBatch: thousands of changes that cannot be merged, in one Run.
func testBatch(t *testing.T, e *Env) {
	const n = 2000
	e.Guest(func(g *Guest) {
		off := g.Alloc(n)
		for i := range uint64(n) {
			binary.LittleEndian.PutUint64(g.Bytes(off+i*pageSize, 8), i)
			g.Space.Map(hostarch.Addr(freeAt+2*i*pageSize), pageSize, off+(n-1-i)*pageSize, read)
		}
		for i := uint64(0); i < n; i += 97 {
			g.Regs().Rip, g.Regs().Rdi = codeAt, freeAt+2*i*pageSize
			g.Call()
			if got := g.Regs().Orig_rax; got != n-1-i {
				g.Fatalf("page %d holds %d, want %d", i, got, n-1-i)
			}
		}
		for i := range uint64(n) {
			g.Space.Unmap(hostarch.Addr(freeAt+2*i*pageSize), pageSize)
		}
		for i := uint64(0); i < n; i += 97 {
			g.Regs().Rip, g.Regs().Rdi = codeAt, freeAt+2*i*pageSize
			g.Fault(freeAt+2*i*pageSize, read)
		}
	}, readRDI, syscall_)
}

// testQueuedByOthers: any goroutine may queue changes, while a guest runs.
func testQueuedByOthers(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		const goroutines, each = 4, 300
		off := g.Alloc(goroutines * each)
		var left atomic.Int32
		left.Store(goroutines)
		for k := range uint64(goroutines) {
			go func() {
				defer left.Add(-1)
				for i := range uint64(each) {
					n := k*each + i
					binary.LittleEndian.PutUint64(g.File[off+n*pageSize:], firstFree+n)
					g.Space.Map(hostarch.Addr(freeAt+2*n*pageSize), pageSize, off+n*pageSize, read)
				}
			}()
		}
		for left.Load() > 0 {
			g.Regs().Rip, g.Regs().Rdi = codeAt, dataAt
			g.Call()
		}
		for n := range uint64(goroutines * each) {
			g.Regs().Rip, g.Regs().Rdi = codeAt, freeAt+2*n*pageSize
			g.Call()
			if got := g.Regs().Orig_rax; got != firstFree+n {
				g.Fatalf("page %d holds %d", n, got)
			}
		}
	}, readRDI, syscall_)
}

// testFlush: changes come into force without guest code, and leave registers
// and floating-point state alone.
func testFlush(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		flushed := false
		g.Regs().Rbx, g.Regs().Rdi = 17, freeAt
		g.Space.Map(freeAt, pageSize, g.Alloc(1), read)
		if err := g.C.Flush(g.Space.AddressSpace); err != nil { // before the first Run
			g.Fatalf("Flush: %v", err)
		}
		g.Space.AfterFlush(func() { flushed = true })
		if !flushed {
			g.Fatalf("changes are pending after Flush")
		}
		g.Call()
		g.Space.Unmap(freeAt, pageSize)
		flushed = false
		g.Space.AfterFlush(func() { flushed = true })
		if flushed {
			g.Fatalf("called before the change was made")
		}
		if err := g.C.Flush(g.Space.AddressSpace); err != nil {
			g.Fatalf("Flush: %v", err)
		}
		if !flushed {
			g.Fatalf("not called by Flush")
		}
		for range 3 {
			if err := g.C.Flush(g.Space.AddressSpace); err != nil {
				g.Fatalf("Flush: %v", err)
			}
		}
		g.Regs().Rip = codeAt
		g.Fault(freeAt, read)
		if g.Regs().Rbx != 17 || g.Regs().Rip != codeAt {
			g.Fatalf("RBX %d, RIP %#x after Flush", g.Regs().Rbx, g.Regs().Rip)
		}
	}, readRDI, syscall_)
}

// testAfterFlush: functions are called in order, once, and not before the
// changes ahead of them are in force.
func testAfterFlush(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Call()
		for round := range 50 {
			var calls []int
			for i := range 5 {
				g.Space.Map(hostarch.Addr(freeAt+i*2*pageSize), pageSize, 0, read)
				g.Space.AfterFlush(func() { calls = append(calls, i) })
			}
			if len(calls) != 0 {
				g.Fatalf("round %d: %v called before Run", round, calls)
			}
			g.Regs().Rip = codeAt
			g.Call()
			if !slices.Equal(calls, []int{0, 1, 2, 3, 4}) {
				g.Fatalf("round %d: called %v", round, calls)
			}
			g.Space.AfterFlush(func() { calls = append(calls, 9) })
			if len(calls) != 6 {
				g.Fatalf("round %d: with nothing pending, not called at once", round)
			}
		}
	}, syscall_)
}

func testAfterFlushRelease(t *testing.T, e *Env) {
	s := e.Space(syscall_)
	called := 0
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		s.Unmap(dataAt, pageSize)
		s.AfterFlush(func() { called++ })
		if called != 0 {
			g.Fatalf("called before")
		}
	})()
	s.Release()
	if called != 1 {
		t.Errorf("called %d times by Release", called)
	}
	s.AfterFlush(func() { called++ })
	if called != 2 {
		t.Errorf("not called after Release")
	}
	// A space in which nobody ever ran.
	s = e.Space()
	s.AfterFlush(func() { called++ })
	s.Release()
	if called != 3 {
		t.Errorf("called %d times", called-2)
	}
}

// testTakenAway: what AfterFlush says has gone is gone for threads that run
// guest code all the time, on other processors.
func testTakenAway(t *testing.T, e *Env) {
	// inc qword [rdi]; jmp back
	count := back([]byte{0x48, 0xff, 0x07})
	s := e.Space(count)
	copy(s.Code[64:], code(syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rip = codeAt + 64
		g.Call()
		type result struct {
			x   platform.Exit
			err error
		}
		for range 30 {
			off := g.Alloc(1)
			s.Map(freeAt, pageSize, off, readWrite)
			done := make(chan result, 1)
			wait := g.Start(g, s, func(o *Guest) {
				o.Regs().Rdi = freeAt
				for {
					x, err := o.C.Run(s.AddressSpace)
					if err != nil || x.Kind != platform.ExitInterrupted {
						done <- result{x, err}
						return
					}
				}
			})
			word := g.Bytes(off, 8)
			for binary.LittleEndian.Uint64(word) == 0 {
				time.Sleep(50 * time.Microsecond)
			}
			var at uint64
			s.Unmap(freeAt, pageSize)
			s.AfterFlush(func() { at = binary.LittleEndian.Uint64(word) })
			if err := g.C.Flush(s.AddressSpace); err != nil {
				g.Fatalf("Flush: %v", err)
			}
			r := <-done
			wait()
			if r.err != nil || r.x.Kind != platform.ExitFault || r.x.Addr != freeAt {
				g.Fatalf("%s, error %v", describe(r.x), r.err)
			}
			if now := binary.LittleEndian.Uint64(word); now != at {
				g.Fatalf("%d writes after the memory was taken away", now-at)
			}
		}
	})()
	s.Release()
}

// testModel: random changes are compared with a model, page by page.
func testModel(t *testing.T, e *Env) {
	const pages, rounds = 24, 150
	type page struct {
		file   uint64
		at     hostarch.AccessType
		mapped bool
	}
	const (
		readCode  = codeAt
		writeCode = codeAt + 32
		jumpCode  = codeAt + 64
	)
	pad := func(b []byte) []byte { return append(b, make([]byte, 32-len(b))...) }
	e.Guest(func(g *Guest) {
		rnd := rand.New(rand.NewPCG(7, 8))
		off := g.Alloc(pages)
		for i := range uint64(pages) {
			copy(g.Bytes(off+i*pageSize, 16), code(syscall_))
			g.Bytes(off+i*pageSize, 16)[8] = byte(i)
		}
		model := make([]page, pages)
		kinds := []hostarch.AccessType{none, read, readWrite, readExec}
		for range rounds {
			for range 1 + rnd.IntN(12) {
				lo := rnd.IntN(pages)
				n := 1 + rnd.IntN(min(8, pages-lo))
				at := kinds[rnd.IntN(len(kinds))]
				addr, length := hostarch.Addr(freeAt+lo*pageSize), uint64(n*pageSize)
				switch rnd.IntN(3) {
				case 0:
					from := rnd.IntN(pages - n + 1)
					g.Space.Map(addr, length, off+uint64(from)*pageSize, at)
					for i := range n {
						model[lo+i] = page{uint64(from + i), at, true}
					}
				case 1:
					g.Space.Unmap(addr, length)
					clear(model[lo : lo+n])
				case 2:
					if slices.ContainsFunc(model[lo:lo+n], func(p page) bool { return !p.mapped }) {
						continue // must be mapped throughout
					}
					g.Space.Protect(addr, length, at)
					for i := range n {
						model[lo+i].at = at
					}
				}
			}
			for i, p := range model {
				at := uint64(freeAt + i*pageSize)
				r := g.Regs()
				r.Rip, r.Rdi = readCode, at+8
				if p.at.Read {
					if got := g.Call(); got != p.file {
						g.Fatalf("page %d holds %d, want %d", i, got, p.file)
					}
				} else {
					g.Fault(at+8, read)
				}
				r.Rip, r.Rdi, r.Rax = writeCode, at+16, p.file
				if p.at.Write {
					g.Call()
				} else {
					g.Fault(at+16, write)
				}
				r.Rip, r.Rdi, r.Rax = jumpCode, at, 123
				if p.at.Execute {
					g.Call()
				} else {
					g.Fault(at, execute)
				}
			}
		}
	}, pad(code(readRDI, syscall_)), pad(code(writeRDI, syscall_)), jumpRDI)
}

// testAliases: the same page twice, in one space and in two.
func testAliases(t *testing.T, e *Env) {
	off := e.Alloc(1)
	s, o := e.Space(writeRDI, syscall_), e.Space(readRDI, syscall_)
	s.Map(freeAt, pageSize, off, readWrite)
	s.Map(freeAt+pageSize, pageSize, off, read)
	o.Map(freeAt, pageSize, off, read)
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rdi, g.Regs().Rax = freeAt+8, 4711
		g.Call()
		g.Start(g, o, func(g *Guest) {
			g.Regs().Rdi = freeAt + 8
			if got := g.Call(); got != 4711 {
				g.Fatalf("the other space reads %d", got)
			}
		})()
		g.Regs().Rip, g.Regs().Rdi = codeAt, freeAt+pageSize
		if x := g.Run(); x.Kind != platform.ExitFault || x.Signo != int32(unix.SIGSEGV) {
			g.Fatalf("%s by a write through a mapping to read", describe(x))
		}
	})()
	s.Release()
	o.Release()
}

// testLarge: a mapping of the whole file costs no more than what is touched.
func testLarge(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		const at = 1 << 40
		g.Space.Map(at, fileSize, 0, readWrite)
		g.Regs().Rdi, g.Regs().Rax = at+fileSize-8, 99
		g.Call()
		if got := g.File[fileSize-8]; got != 99 {
			g.Fatalf("the file's end holds %d", got)
		}
		for i := range uint64(100) {
			g.Space.Protect(hostarch.Addr(at+i*2*pageSize), pageSize, read)
		}
		g.Regs().Rip, g.Regs().Rdi = codeAt, at+64*pageSize
		g.Fault(at+64*pageSize, write)
		g.Space.Unmap(at, fileSize)
		g.Fault(at+64*pageSize, write)
	}, writeRDI, syscall_)
}
