package platformtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

var fpuTests = []subtest{
	{"AcrossExits", testFPAcrossExits},
	{"Threads", testFPThreads},
	{"Set", testFPSet},
	{"Refused", testFPRefused},
	{"Fresh", testFPFresh},
	{"AcrossSpaces", testFPAcrossSpaces},
}

var (
	xrstor = []byte{0x48, 0x0f, 0xae, 0x2f} // xrstor64 [rdi]
	xsave  = []byte{0x48, 0x0f, 0xae, 0x26} // xsave64 [rsi]
)

const (
	saveAt = dataAt + 64<<10 // where guests save their state
	xsvHdr = 512
	// What is compared: x87, SSE, AVX, AVX-512.
	features = 1<<0 | 1<<1 | 1<<2 | 7<<5
)

// xstate is the processor's floating-point state, as CPUID describes it.
type xstate struct {
	size     int
	features uint64
	offset   [8]int // of component i
	length   [8]int
}

// layout asks the guest's CPUID.
func layout(g *Guest) *xstate {
	text := g.Alloc(1)
	copy(g.Bytes(text, pageSize), code(cpuid, syscall_))
	const at = codeAt + 16*pageSize
	g.Space.Map(at, pageSize, text, readExec)
	ask := func(sub uint64) (a, b uint64) {
		g.Regs().Rip, g.Regs().Rax, g.Regs().Rcx = at, 0xd, sub
		g.Call()
		// RCX is the system call's by now.
		return g.Regs().Orig_rax & math.MaxUint32, g.Regs().Rbx & math.MaxUint32
	}
	fp, err := g.C.FPState()
	if err != nil {
		g.Fatalf("FPState: %v", err)
	}
	x := &xstate{size: len(fp)}
	mask, _ := ask(0)
	x.features = mask & features
	for i := 2; i < 8; i++ {
		if x.features&(1<<i) != 0 {
			n, off := ask(uint64(i))
			x.offset[i], x.length[i] = int(off), int(n)
		}
	}
	return x
}

// random makes a valid area with every register different.
func (x *xstate) random(seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 99))
	a := make([]byte, x.size)
	le := binary.LittleEndian
	le.PutUint16(a[0:], 0x37f)       // control word
	le.PutUint16(a[2:], 0x4100)      // condition codes
	le.PutUint32(a[24:], 0x1f80|0x3) // MXCSR, with sticky flags
	a[4] = 0xff                      // all of the x87 stack is in use
	for i := range 8 {
		le.PutUint64(a[32+16*i:], rnd.Uint64()|1<<63) // a normal number
		le.PutUint16(a[40+16*i:], 0x3fff)
	}
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	fill(a[160:416])
	for i := 2; i < 8; i++ {
		fill(a[x.offset[i] : x.offset[i]+x.length[i]])
	}
	le.PutUint64(a[xsvHdr:], x.features)
	return a
}

// equal compares areas, but for what is not kept by definition (instruction and
// data pointers, what software put in).
func (x *xstate) equal(g *Guest, what string, got, want []byte) {
	g.tb.Helper()
	part := func(name string, lo, hi int) {
		if !bytes.Equal(got[lo:hi], want[lo:hi]) {
			g.Fatalf("%s: %s differs:\n%x\n%x", what, name, got[lo:hi], want[lo:hi])
		}
	}
	part("x87 control and status", 0, 5)
	part("MXCSR", 24, 28)
	for i := range 8 {
		part("x87 register", 32+16*i, 42+16*i)
	}
	part("SSE", 160, 416)
	for i := 2; i < 8; i++ {
		part("vector state", x.offset[i], x.offset[i]+x.length[i])
	}
}

// fpGuest maps memory for areas: one at dataAt+16 KiB to load, one at saveAt.
func fpGuest(g *Guest) (load, saved []byte) {
	off := g.Alloc(8)
	g.Space.Map(dataAt+16<<10, 4*pageSize, off, readWrite)
	g.Space.Map(saveAt, 4*pageSize, off+4*pageSize, readWrite)
	return g.Bytes(off, 4*pageSize), g.Bytes(off+4*pageSize, 4*pageSize)
}

// fpText loads the state, makes system calls, and saves it at each:
//
//	rax = rdx = -1; xrstor [rdi]; syscall; L: rax = rdx = -1; xsave [rsi]; syscall; jmp L
var fpText = code(
	mov(rax, math.MaxUint64), mov(rdx, math.MaxUint64), xrstor, syscall_,
	back(mov(rax, math.MaxUint64), mov(rdx, math.MaxUint64), xsave, syscall_))

// testFPAcrossExits: state is kept across calls, faults, interrupts and changes,
// whatever the sentry computes meanwhile.
func testFPAcrossExits(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		x := layout(g)
		load, saved := fpGuest(g)
		want := x.random(1)
		copy(load, want)
		g.Regs().Rip, g.Regs().Rdi, g.Regs().Rsi = codeAt, dataAt+16<<10, saveAt
		g.Call()
		sum := 1.5
		for i := range 50 {
			for j := range 100 {
				sum = math.Sqrt(sum*float64(j) + 3)
			}
			switch i % 5 {
			case 1:
				g.C.Interrupt()
			case 2:
				g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
			case 3:
				g.Space.Unmap(saveAt, 4*pageSize)
				if f := g.Run(); f.Addr < saveAt || f.Addr >= saveAt+4*pageSize {
					g.Fatalf("%s, want a fault at %#x", describe(f), saveAt)
				}
				g.Space.Map(saveAt, 4*pageSize, g.offset(saved), readWrite)
			case 4:
				got, err := g.C.FPState()
				if err != nil {
					g.Fatalf("FPState: %v", err)
				}
				x.equal(g, "FPState", got, want)
				if err := g.C.SetFPState(got); err != nil {
					g.Fatalf("SetFPState of what FPState returned: %v", err)
				}
			}
			clear(saved)
			g.Call()
			x.equal(g, "in the guest", saved, want)
		}
		if sum == 0 {
			g.Fatalf("never")
		}
	}, fpText)
}

// offset is where in the memory file something lies that Bytes returned.
func (e *Env) offset(b []byte) uint64 { return uint64(cap(e.File) - cap(b)) }

// testFPThreads: each thread has its own, though they take turns.
func testFPThreads(t *testing.T, e *Env) {
	s := e.Space(fpText)
	e.Start(nil, s, func(g *Guest) {
		x := layout(g)
		work := func(g *Guest, seed uint64) {
			off := g.Alloc(8)
			at := freeAt + seed*16*pageSize
			g.Space.Map(hostarch.Addr(at), 8*pageSize, off, readWrite)
			want := x.random(seed)
			copy(g.Bytes(off, x.size), want)
			g.Regs().Rip, g.Regs().Rdi, g.Regs().Rsi = codeAt, at, at+4*pageSize
			g.Call()
			for range 100 {
				g.Call()
				x.equal(g, "in a thread", g.Bytes(off+4*pageSize, x.size), want)
			}
		}
		var waits []func()
		for i := range 4 {
			waits = append(waits, g.Start(g, s, func(g *Guest) { work(g, uint64(i+2)) }))
		}
		work(g, 1)
		for _, w := range waits {
			w()
		}
	})()
	s.Release()
}

// testFPSet: what is set before the first Run and later arrives.
func testFPSet(t *testing.T, e *Env) {
	s := e.Space(fpText)
	e.Start(nil, s, func(g *Guest) {
		x := layout(g)
		g.Start(g, s, func(g *Guest) {
			_, saved := fpGuest(g)
			first := codeAt + uint64(len(code(mov(rax, 0), mov(rdx, 0), xrstor, syscall_)))
			g.Regs().Rip, g.Regs().Rsi = first, saveAt
			for seed := range uint64(20) {
				want := x.random(seed)
				if err := g.C.SetFPState(want); err != nil {
					g.Fatalf("SetFPState: %v", err)
				}
				if got, err := g.C.FPState(); err != nil {
					g.Fatalf("FPState: %v", err)
				} else {
					x.equal(g, "FPState after SetFPState", got, want)
				}
				keep := bytes.Clone(want)
				if seed%2 == 0 {
					clear(want) // it was copied
				}
				g.Call()
				x.equal(g, "in the guest", saved, keep)
			}
		})()
	})()
	s.Release()
}

// testFPRefused: areas that the processor would refuse change nothing.
func testFPRefused(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		x := layout(g)
		_, saved := fpGuest(g)
		first := codeAt + uint64(len(code(mov(rax, 0), mov(rdx, 0), xrstor, syscall_)))
		g.Regs().Rip, g.Regs().Rsi = first, saveAt
		want := x.random(5)
		if err := g.C.SetFPState(want); err != nil {
			g.Fatalf("SetFPState: %v", err)
		}
		le := binary.LittleEndian
		refuse := map[string]func([]byte) []byte{
			"empty":            func([]byte) []byte { return []byte{} },
			"short":            func(a []byte) []byte { return a[:len(a)-1] },
			"legacy":           func(a []byte) []byte { return a[:512] },
			"long":             func(a []byte) []byte { return append(a, make([]byte, 64)...) },
			"feature 63":       func(a []byte) []byte { le.PutUint64(a[xsvHdr:], 1<<63); return a },
			"feature 40":       func(a []byte) []byte { le.PutUint64(a[xsvHdr:], 1<<40|3); return a },
			"supervisor state": func(a []byte) []byte { le.PutUint64(a[xsvHdr:], 1<<8|3); return a },
			"tiles":            func(a []byte) []byte { le.PutUint64(a[xsvHdr:], 1<<18|3); return a },
			"compacted":        func(a []byte) []byte { le.PutUint64(a[xsvHdr+8:], 1<<63|3); return a },
			"reserved":         func(a []byte) []byte { a[xsvHdr+16] = 1; return a },
			"reserved, end":    func(a []byte) []byte { a[xsvHdr+63] = 1; return a },
			"MXCSR":            func(a []byte) []byte { le.PutUint32(a[24:], 0xffff0000); return a },
		}
		for name, spoil := range refuse {
			for _, run := range []bool{true, false} {
				if err := g.C.SetFPState(spoil(bytes.Clone(want))); !errors.Is(err, unix.EINVAL) {
					g.Fatalf("%s: %v, want EINVAL", name, err)
				}
				if run {
					g.Call()
					x.equal(g, "after a refused area", saved, want)
				}
			}
		}
	}, fpText)
}

// testFPFresh: a new thread, and nil, are the state after FNINIT.
func testFPFresh(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		x := layout(g)
		load, saved := fpGuest(g)
		fresh := func() {
			g.tb.Helper()
			first := codeAt + uint64(len(code(mov(rax, 0), mov(rdx, 0), xrstor, syscall_)))
			g.Regs().Rip, g.Regs().Rsi = first, saveAt
			for i := range saved {
				saved[i] = 0
			}
			g.Call()
			want := make([]byte, x.size)
			binary.LittleEndian.PutUint16(want, 0x37f)
			binary.LittleEndian.PutUint32(want[24:], 0x1f80)
			x.equal(g, "fresh state", saved, want)
		}
		fresh()
		copy(load, x.random(3))
		g.Regs().Rip, g.Regs().Rdi = codeAt, dataAt+16<<10
		g.Call()
		if err := g.C.SetFPState(nil); err != nil {
			g.Fatalf("SetFPState: %v", err)
		}
		fresh()
	}, fpText)
}

// testFPAcrossSpaces: a thread that changes its address space keeps its state,
// and one that begins has none of those before it.
func testFPAcrossSpaces(t *testing.T, e *Env) {
	s := e.Space(fpText)
	e.Start(nil, s, func(g *Guest) {
		x := layout(g)
		load, _ := fpGuest(g)
		want := x.random(8)
		copy(load, want)
		g.Regs().Rip, g.Regs().Rdi, g.Regs().Rsi = codeAt, dataAt+16<<10, saveAt
		g.Call()
		for range 5 {
			old := g.Space
			g.Space = g.Env.Space(fpText)
			_, saved := fpGuest(g)
			g.Call()
			x.equal(g, "in the next space", saved, want)
			old.Release()
		}
		n := g.Env.Space(fpText)
		g.Start(g, n, func(g *Guest) {
			got, err := g.C.FPState()
			if err != nil {
				g.Fatalf("FPState: %v", err)
			}
			if binary.LittleEndian.Uint64(got[xsvHdr:])&^3 != 0 || !bytes.Equal(got[160:416], make([]byte, 256)) {
				g.Fatalf("a new thread begins with somebody's state")
			}
		})()
		n.Release()
		g.Space.Release()
	})()
}
