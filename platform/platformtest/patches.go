package platformtest

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Guests whose call sites were changed, for platforms that are a CallPatcher. On
// others they pass trivially: the sites stay as they are.
var patchTests = []subtest{
	{"Registers", testPatchRegisters},
	{"FloatingPoint", testPatchFP},
	{"Mappings", testPatchMappings},
	{"Handlers", testPatchHandlers},
	{"InterruptStorm", testPatchStorm},
	{"InterruptFacts", testPatchStormFacts},
	{"SingleStep", testPatchSingleStep},
	{"Threads", testPatchThreads},
	{"Spaces", testPatchSpaces},
	{"Answers", testAnswers},
	{"OwnGS", testPatchOwnGS},
}

// trampAt is where trampolines are.
const trampAt = codeAt - 16*pageSize

// callNumber is the number of the calls of sites, which no host has.
const callNumber = firstFree + 500

// site is a pattern of code that makes a call: the SYSCALL ends at after.
type site struct {
	name  string
	text  []byte
	after int
}

func movEAX(nr uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{0xb8}, nr) }

// sites are the patterns for a call. All leave RAX as the result and go on behind.
func sites(nr uint32) []site {
	long := binary.LittleEndian.AppendUint32([]byte{0x48, 0xc7, 0xc0}, nr)
	cmp := []byte{0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff} // cmp rax, -4095
	return []site{
		{"mov eax", code(nop, movEAX(nr), syscall_), 8},
		{"mov rax", code(nop, long, syscall_), 10},
		{"cmp", code(movEAX(nr), nop, syscall_, cmp), 8},
	}
}

// patcher is a guest's patched code.
type patcher struct {
	*Guest
	by    platform.CallPatcher // nil: there is none
	tramp []byte
	used  int
}

func newPatcher(g *Guest) *patcher {
	p := &patcher{Guest: g}
	p.by, _ = g.P.(platform.CallPatcher)
	off := g.Alloc(1)
	p.tramp = g.Bytes(off, pageSize)
	g.Space.Map(trampAt, pageSize, off, readExec)
	return p
}

// patch changes the site whose SYSCALL ends at after in the code page, and returns
// where its calls return to.
func (p *patcher) patch(after int, nr uint64) uint64 {
	p.tb.Helper()
	if p.by == nil {
		return codeAt + uint64(after)
	}
	c, ok := p.by.PatchCall(platform.CallSite{
		Addr: codeAt, Code: bytes.Clone(p.Space.Code), After: after, Number: nr,
		Trampoline: hostarch.Addr(trampAt + p.used), Alone: true,
	})
	if !ok {
		p.Fatalf("the site is not patched: % x", p.Space.Code[:after+8])
	}
	copy(p.tramp[p.used:], c.Trampoline)
	p.used += platform.TrampolineSize
	copy(p.Space.Code[c.Addr-codeAt:], c.Code[:])
	return uint64(c.Return)
}

// inGuest reports whether RIP is somewhere that the guest has code.
func (g *Guest) inGuest() bool {
	rip := g.Regs().Rip
	return rip >= codeAt && rip < codeAt+pageSize || rip >= trampAt && rip < trampAt+pageSize
}

// eachSite runs fn in a guest of each pattern:
//
//	L: the site; mov rbx, rcx; mov rbp, r11; mov rsi, rax; inc r12; jmp L
//
// The first call has been made.
func eachSite(t *testing.T, e *Env, fn func(p *patcher, back uint64)) {
	for _, s := range sites(callNumber) {
		t.Run(s.name, func(t *testing.T) {
			sub := &Env{tb: t, new: e.new, P: e.P, File: e.File, fd: e.fd, next: e.Alloc(256)}
			sub.Guest(func(g *Guest) {
				p := newPatcher(g)
				ret := p.patch(s.after, callNumber)
				g.Regs().Rsp = dataAt + 2048
				g.Call()
				fn(p, ret)
			}, patchLoop(s))
		})
	}
}

func patchLoop(s site) []byte {
	return back(s.text,
		[]byte{0x48, 0x89, 0xcb}, []byte{0x4c, 0x89, 0xdd}, []byte{0x48, 0x89, 0xc6}, []byte{0x49, 0xff, 0xc4})
}

// kept are the registers that neither a call nor patchLoop changes.
func kept(r *platform.Registers) []*uint64 {
	return []*uint64{&r.R15, &r.R14, &r.R13, &r.R10, &r.R9, &r.R8, &r.Rdx, &r.Rdi, &r.Rsp}
}

// randomise gives all of those new values, and returns them.
func randomise(rnd *rand.Rand, r *platform.Registers) (want []uint64) {
	for _, p := range kept(r) {
		*p = rnd.Uint64()
		want = append(want, *p)
	}
	return want
}

func (g *Guest) checkKept(what string, want []uint64) {
	g.tb.Helper()
	for i, p := range kept(g.Regs()) {
		if *p != want[i] {
			g.Fatalf("%s: register %d is %#x, want %#x", what, i, *p, want[i])
		}
	}
}

// flagsOfGuests are those that a program can set and SYSCALL leaves alone.
const flagsOfGuests = 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | flagDF | flagOF | flagAC

// testPatchRegisters: a call of a patched site is as one of any other: number,
// registers, flags, the red zone, and what SYSCALL leaves in RCX and R11.
func testPatchRegisters(t *testing.T, e *Env) {
	eachSite(t, e, func(p *patcher, ret uint64) {
		g, r := p.Guest, p.Regs()
		rnd := rand.New(rand.NewPCG(5, 6))
		for i := range g.Space.Data {
			g.Space.Data[i] = byte(i * 11)
		}
		var want []uint64
		var flags, result uint64
		for i := range uint64(4000) {
			result = rnd.Uint64()
			if i%7 == 0 {
				result = -uint64(rnd.IntN(600))
			}
			count := r.R12
			if i%16 == 0 {
				want = randomise(rnd, r)
				if i%32 == 0 {
					r.Rsp = dataAt + 2048
					want[len(want)-1] = r.Rsp
				}
				flags = rnd.Uint64() & flagsOfGuests
				// INC leaves CF alone, and changes the others as it should.
				r.Eflags = flags
			}
			r.Rax = result
			if nr := g.Call(); nr != callNumber {
				g.Fatalf("call %d has number %d", i, nr)
			}
			if r.Rip != ret || r.Rcx != ret || r.R11 != r.Eflags {
				g.Fatalf("call %d: RIP %#x, RCX %#x, want %#x; R11 %#x, flags %#x", i, r.Rip, r.Rcx, ret, r.R11, r.Eflags)
			}
			g.checkKept("at a call", want)
			if r.Rsi != result || r.R12 != count+1 {
				g.Fatalf("call %d: result %#x arrived as %#x, %d rounds", i, result, r.Rsi, r.R12-count)
			}
			const byInc = 1<<2 | 1<<4 | 1<<6 | 1<<7 | flagOF
			const byCmp = byInc | flagCF
			if got := r.Eflags &^ (byCmp | flagIF | 2); got != flags&^byCmp {
				g.Fatalf("call %d: flags %#x, want %#x", i, r.Eflags, flags)
			}
			if i%16 != 0 {
				if r.Rbx != ret || r.Rbp&^(byCmp|flagIF|2) != flags&^byCmp {
					g.Fatalf("call %d left RCX %#x, want %#x; R11 %#x, want %#x", i, r.Rbx, ret, r.Rbp, flags)
				}
			}
		}
		for i, b := range g.Space.Data {
			if b != byte(i*11) {
				g.Fatalf("byte %d around the stack pointer changed", i)
			}
		}
	})
	// Flags right behind the call: PUSHFQ; POP RBX.
	s := sites(callNumber)[0]
	e.Guest(func(g *Guest) {
		p := newPatcher(g)
		p.patch(s.after, callNumber)
		g.Regs().Rsp = dataAt + 2048
		g.Call()
		rnd := rand.New(rand.NewPCG(7, 7))
		for i := range 500 {
			flags := rnd.Uint64() & flagsOfGuests
			g.Regs().Eflags = flags
			for range 4 {
				g.Regs().Rax = uint64(i)
				g.Call()
				if got := g.Regs().Rbx &^ (flagIF | 2); got != flags {
					g.Fatalf("flags %#x behind a call, want %#x", got, flags)
				}
			}
		}
	}, back(s.text, []byte{0x9c, 0x5b}))
}

// testPatchFP: floating-point state is kept over thousands of calls, whoever looks
// at it meanwhile.
func testPatchFP(t *testing.T, e *Env) {
	s := sites(callNumber)[0]
	head := code(mov(rax, math.MaxUint64), mov(rdx, math.MaxUint64), xrstor)
	// L: the site; dec r12; jnz L; then XSAVE and a call, and again.
	body := code(s.text, []byte{0x49, 0xff, 0xcc, 0x75, byte(-len(s.text) - 5)},
		mov(rax, math.MaxUint64), mov(rdx, math.MaxUint64), xsave, syscall_)
	e.Guest(func(g *Guest) {
		x := layout(g)
		p := newPatcher(g)
		load, saved := fpGuest(g)
		p.patch(len(head)+s.after, callNumber)
		sum := 1.5
		for seed := range uint64(4) {
			want := x.random(seed)
			copy(load, want)
			g.Regs().Rip, g.Regs().Rdi, g.Regs().Rsi = codeAt, dataAt+16<<10, saveAt
			for range 3 {
				const rounds = 1000
				g.Regs().R12 = rounds
				for i := range rounds {
					if nr := g.Call(); nr != callNumber {
						g.Fatalf("call %#x", nr)
					}
					sum = math.Sqrt(sum*float64(i) + 3)
					switch {
					case i%97 == 5:
						got, err := g.C.FPState()
						if err != nil {
							g.Fatalf("FPState: %v", err)
						}
						x.equal(g, "FPState", got, want)
					case i%97 == 50:
						want = x.random(seed + uint64(i))
						if err := g.C.SetFPState(want); err != nil {
							g.Fatalf("SetFPState: %v", err)
						}
					case i%211 == 7:
						g.Space.Map(freeAt, pageSize, 0, read)
					}
				}
				clear(saved)
				if nr := g.Call(); nr != math.MaxUint64 {
					g.Fatalf("call %#x, want the last one", nr)
				}
				x.equal(g, "in the guest", saved, want)
				g.Regs().Rip = codeAt + uint64(len(head))
			}
		}
		if sum == 0 {
			g.Fatalf("never")
		}
	}, head, body)
}

// testPatchMappings: calls whose answers come with mapping changes, and faults in
// between. The guest reads [rdi] behind each call.
func testPatchMappings(t *testing.T, e *Env) {
	s := sites(callNumber)[0]
	const pages = 16
	e.Guest(func(g *Guest) {
		p := newPatcher(g)
		p.patch(s.after, callNumber)
		g.Regs().Rdi = dataAt
		g.Call()
		off := g.Alloc(pages)
		for i := range uint64(pages) {
			binary.LittleEndian.PutUint64(g.Bytes(off+i*pageSize, 8), 1000+i)
		}
		rnd := rand.New(rand.NewPCG(9, 1))
		var model [pages]uint64 // 0: nothing; else what is read there
		queued, done := 0, 0
		for i := range 3000 {
			n := uint64(rnd.IntN(pages))
			at := hostarch.Addr(freeAt + n*pageSize)
			switch rnd.IntN(5) {
			case 0, 1:
				from := uint64(rnd.IntN(pages))
				g.Space.Map(at, pageSize, off+from*pageSize, readWrite)
				model[n] = 1000 + from
			case 2:
				g.Space.Unmap(at, pageSize)
				model[n] = 0
			case 3:
				g.Space.AfterFlush(func() { done++ })
				queued++
			}
			if rnd.IntN(9) == 0 {
				if err := g.C.Flush(g.Space.AddressSpace); err != nil {
					g.Fatalf("Flush: %v", err)
				}
				if done != queued {
					g.Fatalf("%d of %d called by Flush", done, queued)
				}
			}
			m := uint64(rnd.IntN(pages))
			g.Regs().Rdi, g.Regs().Rax = freeAt+m*pageSize, uint64(i)
			if model[m] == 0 {
				g.Fault(freeAt+m*pageSize, read)
				if g.Regs().Rax != uint64(i) {
					g.Fatalf("result %d arrived as %d at the fault", i, g.Regs().Rax)
				}
				g.Space.Map(hostarch.Addr(freeAt+m*pageSize), pageSize, off+m*pageSize, read)
				model[m] = 1000 + m
			}
			if nr := g.Call(); nr != callNumber || g.Regs().Rsi != uint64(i) || g.Regs().Rbx != model[m] {
				g.Fatalf("call %d after result %d, want %d; page %d reads %d, want %d", nr, g.Regs().Rsi, i, m, g.Regs().Rbx, model[m])
			}
		}
		g.Call()
		if done != queued {
			g.Fatalf("%d of %d called", done, queued)
		}
	}, back(s.text, []byte{0x48, 0x89, 0xc6}, []byte{0x48, 0x8b, 0x1f}))
}

// testPatchHandlers: answers that change everything, as those of signals do, with
// and without floating-point state, and back.
func testPatchHandlers(t *testing.T, e *Env) {
	eachSite(t, e, func(p *patcher, ret uint64) {
		g, r := p.Guest, p.Regs()
		handler := sites(callNumber + 1)[0]
		copy(g.Space.Code[1024:], back(handler.text, []byte{0x49, 0xff, 0xc4}))
		p.patch(1024+handler.after, callNumber+1)
		x := layout(g)
		rnd := rand.New(rand.NewPCG(3, 8))
		r.Rip = ret
		main := randomise(rnd, r)
		g.Call()
		fp := x.random(1)
		if err := g.C.SetFPState(fp); err != nil {
			g.Fatalf("SetFPState: %v", err)
		}
		for i := range uint64(600) {
			r.Rax = i
			saved := *r
			withFP := i%3 == 0
			if withFP {
				got, err := g.C.FPState()
				if err != nil {
					g.Fatalf("FPState: %v", err)
				}
				x.equal(g, "before", got, fp)
				if err := g.C.SetFPState(x.random(i + 100)); err != nil {
					g.Fatalf("SetFPState: %v", err)
				}
			}
			inside := randomise(rnd, r)
			r.Rip, r.Eflags = codeAt+1024, flagDF
			if i%5 == 1 {
				g.C.Interrupt()
			}
			for range i % 4 {
				if nr := g.Call(); nr != callNumber+1 {
					g.Fatalf("call %d in the handler", nr)
				}
				g.checkKept("in the handler", inside)
			}
			if withFP {
				got, err := g.C.FPState()
				if err != nil {
					g.Fatalf("FPState: %v", err)
				}
				x.equal(g, "in the handler", got, x.random(i+100))
				if err := g.C.SetFPState(fp); err != nil {
					g.Fatalf("SetFPState: %v", err)
				}
			}
			*r = saved
			if nr := g.Call(); nr != callNumber {
				g.Fatalf("call %d behind the handler", nr)
			}
			g.checkKept("behind the handler", main)
			if r.Rsi != i || r.R12 != saved.R12+1 {
				g.Fatalf("result %d arrived as %d", i, r.Rsi)
			}
		}
		got, err := g.C.FPState()
		if err != nil {
			g.Fatalf("FPState: %v", err)
		}
		x.equal(g, "in the end", got, fp)
	})
}

// rounds is how often a storm blows: slow where tests that are marked slow are run.
func rounds(quick, slow int) int {
	if os.Getenv("RUNSC_LITE_SLOW") != "" {
		return slow
	}
	return quick
}

// storm interrupts the guest at random moments until stop is called.
func (g *Guest) storm(seed uint64) (stop func() int) {
	var end atomic.Bool
	done := make(chan int)
	go func() {
		rnd := rand.New(rand.NewPCG(seed, 4))
		n := 0
		for ; !end.Load(); n++ {
			g.C.Interrupt()
			for range rnd.IntN(3000) {
				_ = end.Load()
			}
			if n%16 == 0 {
				time.Sleep(time.Duration(rnd.IntN(50)) * time.Microsecond)
			}
			runtime.Gosched()
		}
		done <- n
	}()
	return func() int { end.Store(true); return <-done }
}

// testPatchStorm: interruptions at any moment lose no call and make none twice, and
// change no register; RIP is the guest's at each.
func testPatchStorm(t *testing.T, e *Env) {
	eachSite(t, e, func(p *patcher, ret uint64) {
		g, r := p.Guest, p.Regs()
		stop := g.storm(uint64(ret))
		defer func() { stop() }()
		rnd := rand.New(rand.NewPCG(8, 3))
		want := randomise(rnd, r)
		result := r.Rax
		interrupted := 0
		for i := uint64(0); interrupted < rounds(1000, 10000); i++ {
			count := r.R12
			for {
				x, err := g.C.Run(g.Space.AddressSpace)
				if err != nil {
					g.Fatalf("Run: %v", err)
				}
				g.checkKept("in a storm", want)
				if !g.inGuest() {
					g.Fatalf("RIP %#x is not the guest's", r.Rip)
				}
				if x.Kind == platform.ExitSyscall {
					break
				}
				if x.Kind != platform.ExitInterrupted {
					g.Fatalf("%s at %#x", describe(x), r.Rip)
				}
				interrupted++
				if i%8 == 3 {
					want = randomise(rnd, r) // and the same registers everywhere
				}
			}
			if r.Orig_rax != callNumber || r.Rip != ret || r.R12 != count+1 || r.Rsi != result {
				g.Fatalf("call %d: number %d, RIP %#x, %d rounds, result %#x, want %#x", i, r.Orig_rax, r.Rip, r.R12-count, r.Rsi, result)
			}
			result = rnd.Uint64()
			r.Rax = result
			switch i % 16 {
			case 3:
				want = randomise(rnd, r)
			case 9:
				g.Space.Map(freeAt, pageSize, 0, read)
			}
		}
	})
}

// testPatchStormFacts: the same while the guest side answers by itself, so that
// interruptions find it anywhere in that code.
func testPatchStormFacts(t *testing.T, e *Env) {
	const fact = 39
	// L: the site; add r13, rax; inc r12; jmp L
	s := sites(fact)[0]
	e.Guest(func(g *Guest) {
		p := newPatcher(g)
		p.patch(s.after, fact)
		answers, _ := g.C.(platform.CallAnswerer)
		if answers == nil || p.by == nil {
			return
		}
		answers.SetAnswer(fact, 3, true)
		r := g.Regs()
		stop := g.storm(17)
		defer func() { stop() }()
		rnd := rand.New(rand.NewPCG(8, 3))
		set := func() (want []uint64) {
			for _, p := range []*uint64{&r.R15, &r.R14, &r.R10, &r.R9, &r.R8, &r.Rdx, &r.Rdi, &r.Rsi, &r.Rsp, &r.Rbx, &r.Rbp} {
				*p = rnd.Uint64()
				want = append(want, *p)
			}
			return want
		}
		want := set()
		behind := 0
		for i := range rounds(2000, 10000) {
			x, err := g.C.Run(g.Space.AddressSpace)
			if err != nil {
				g.Fatalf("Run: %v", err)
			}
			if !g.inGuest() {
				g.Fatalf("RIP %#x is not the guest's", r.Rip)
			}
			for k, p := range []*uint64{&r.R15, &r.R14, &r.R10, &r.R9, &r.R8, &r.Rdx, &r.Rdi, &r.Rsi, &r.Rsp, &r.Rbx, &r.Rbp} {
				if *p != want[k] {
					g.Fatalf("round %d: register %d is %#x, want %#x; RIP %#x", i, k, *p, want[k], r.Rip)
				}
			}
			switch x.Kind {
			case platform.ExitSyscall: // a call that had been begun
				if r.Orig_rax != fact {
					g.Fatalf("call %d", r.Orig_rax)
				}
				r.Rax = 3
				behind++
			case platform.ExitInterrupted:
			default:
				g.Fatalf("%s at %#x", describe(x), r.Rip)
			}
			// Between ADD and INC one of them is behind.
			if d := r.R13 - 3*r.R12; d != 0 && d != 3 {
				g.Fatalf("round %d: %d calls, their results are %d together", i, r.R12, r.R13)
			}
			if i%64 == 0 {
				want = set()
			}
		}
		if r.R12 == 0 {
			g.Fatalf("no call was answered")
		}
		t.Logf("%d calls answered by the guest side, %d by us", r.R12, behind)
	}, back(s.text, []byte{0x49, 0x01, 0xc5}, []byte{0x49, 0xff, 0xc4}))
}

// testPatchSingleStep: steps across a patched site are in guest code, and the call
// is made once.
func testPatchSingleStep(t *testing.T, e *Env) {
	eachSite(t, e, func(p *patcher, ret uint64) {
		g, r := p.Guest, p.Regs()
		want := randomise(rand.New(rand.NewPCG(1, 9)), r)
		for i := range uint64(20) {
			g.C.SetSingleStep(true)
			count := r.R12
			r.Rax = i
			for steps := 0; ; steps++ {
				x := g.Run()
				if !g.inGuest() || steps > 200 {
					g.Fatalf("step %d: %s at %#x", steps, describe(x), r.Rip)
				}
				g.checkKept("in a step", want)
				if x.Kind == platform.ExitSyscall {
					break
				}
				if x.Signo != int32(unix.SIGTRAP) {
					g.Fatalf("%s at %#x", describe(x), r.Rip)
				}
				if r.Eflags&flagTF != 0 {
					g.Fatalf("the guest sees TF")
				}
			}
			if r.Orig_rax != callNumber || r.Rip != ret || r.R12 != count+1 || r.Rsi != i {
				g.Fatalf("call %d at %#x, %d rounds, result %d, want %d", r.Orig_rax, r.Rip, r.R12-count, r.Rsi, i)
			}
			g.C.SetSingleStep(false)
			r.Rax = i + 100
			if g.Call(); r.Rsi != i+100 || r.R12 != count+2 || r.Eflags&flagTF != 0 {
				g.Fatalf("result %d, want %d; flags %#x", r.Rsi, i+100, r.Eflags)
			}
		}
	})
}

// testPatchThreads: each thread has its own calls, more threads than processors.
func testPatchThreads(t *testing.T, e *Env) {
	const threads = 8
	eachSite(t, e, func(p *patcher, ret uint64) {
		g := p.Guest
		work := func(g *Guest, n uint64) {
			r := g.Regs()
			rnd := rand.New(rand.NewPCG(n, 2))
			want := randomise(rnd, r)
			r.R12 = n << 32
			for i := range uint64(300) {
				result := n<<32 | i
				r.Rax = result
				count := r.R12
				if i == 0 {
					r.Rsi = result
					count--
				}
				g.Call()
				g.checkKept("of a thread", want)
				if r.Orig_rax != callNumber || r.Rcx != ret || r.R12 != count+1 || i > 0 && r.Rsi != result {
					g.Fatalf("thread %d: call %d, result %#x, want %#x", n, r.Orig_rax, r.Rsi, result)
				}
				switch i % 64 {
				case 7:
					at := hostarch.Addr(freeAt + n*pageSize)
					g.Space.Map(at, pageSize, 0, read)
				case 31:
					want = randomise(rnd, r)
				}
			}
		}
		for range 3 {
			var waits []func()
			for n := range uint64(threads) {
				waits = append(waits, g.Start(g, g.Space, func(g *Guest) { work(g, n+1) }))
			}
			for _, w := range waits {
				w()
			}
		}
		g.Regs().Rip = ret
		g.Call()
	})
}

// testPatchSpaces: spaces one after another use what others had before, and find
// nothing of it.
func testPatchSpaces(t *testing.T, e *Env) {
	const fact = 39
	s, f := sites(callNumber)[0], sites(fact)[0]
	e.Guest(func(g *Guest) {
		g.Call()
		for i := range uint64(60) {
			n := g.Env.Space(back(s.text, f.text, []byte{0x48, 0x89, 0xc6}))
			g.Start(g, n, func(g *Guest) {
				p := newPatcher(g)
				p.patch(s.after, callNumber)
				p.patch(len(s.text)+f.after, fact)
				answers, _ := g.C.(platform.CallAnswerer)
				for k := range uint64(20) {
					if nr := g.Call(); nr != callNumber {
						g.Fatalf("space %d: call %d", i, nr)
					}
					if i%2 == 1 && answers != nil {
						answers.SetAnswer(fact, i, true)
					}
					g.Regs().Rax = k
					x := g.Run()
					if g.Regs().Orig_rax == callNumber && i%2 == 1 {
						if g.Regs().Rsi != i {
							g.Fatalf("space %d has the answer %d", i, g.Regs().Rsi)
						}
						continue
					}
					if x.Kind != platform.ExitSyscall || g.Regs().Orig_rax != fact {
						g.Fatalf("space %d: %s, number %d, answer %d", i, describe(x), g.Regs().Orig_rax, g.Regs().Rsi)
					}
					g.Regs().Rax = 77
				}
			})()
			n.Release()
		}
	}, syscall_)
}

// testAnswers: what the guest side answers by itself is what was said last.
func testAnswers(t *testing.T, e *Env) {
	const a, b = 39, 186
	sa, sb, last := sites(a)[0], sites(b)[1], sites(callNumber)[0]
	// A; mov rsi, rax; B; mov rdi, rax; a call.
	text := code(sa.text, []byte{0x48, 0x89, 0xc6}, sb.text, []byte{0x48, 0x89, 0xc7}, last.text)
	e.Guest(func(g *Guest) {
		answers, ok := g.C.(platform.CallAnswerer)
		if !ok {
			return
		}
		p := newPatcher(g)
		p.patch(sa.after, a)
		p.patch(len(sa.text)+3+sb.after, b)
		// round runs up to the last call; we answer 1000 plus the number.
		round := func() (byUs []uint64, ra, rb uint64) {
			r := g.Regs()
			r.Rip = codeAt
			for {
				nr := g.Call()
				if nr == callNumber {
					return byUs, r.Rsi, r.Rdi
				}
				byUs = append(byUs, nr)
				r.Rax = 1000 + nr
			}
		}
		expect := func(what string, wantA, wantB uint64) {
			g.tb.Helper()
			byUs, ra, rb := round()
			if ra != wantA && (ra != 1000+a || len(byUs) == 0) || rb != wantB && (rb != 1000+b || len(byUs) == 0) {
				g.Fatalf("%s: answers %d and %d, want %d and %d; by us %v", what, ra, rb, wantA, wantB, byUs)
			}
			if p.by != nil && (wantA != 1000+a && ra != wantA || wantB != 1000+b && rb != wantB) {
				g.Fatalf("%s: a known answer was asked for: %v", what, byUs)
			}
			if wantA == 1000+a && ra != wantA || wantB == 1000+b && rb != wantB {
				g.Fatalf("%s: answers %d and %d, want %d and %d", what, ra, rb, wantA, wantB)
			}
		}
		expect("none", 1000+a, 1000+b)
		answers.SetAnswer(a, 5, true)
		expect("one", 5, 1000+b)
		answers.SetAnswer(b, ^uint64(0), true)
		expect("two", 5, ^uint64(0))
		for i := range uint64(300) {
			answers.SetAnswer(a, i, true)
			expect("changed", i, ^uint64(0))
		}
		answers.SetAnswer(a, 0, false)
		expect("one withdrawn", 1000+a, ^uint64(0))
		answers.SetAnswer(a, 0, false)
		answers.SetAnswer(a, 6, true)
		expect("said again", 6, ^uint64(0))
		answers.SetAnswer(b, 0, false)
		answers.SetAnswer(a, 0, false)
		expect("both withdrawn", 1000+a, 1000+b)
		answers.SetAnswer(a, 7, true)
		g.Regs().Gs_base = 0
		g.Space.Map(freeAt, pageSize, 0, read)
		expect("after a mapping change", 7, 1000+b)
		// Numbers that nobody can know an answer to.
		answers.SetAnswer(-1, 1, true)
		answers.SetAnswer(1<<40, 1, true)
		expect("with others", 7, 1000+b)
	}, text)
}

// testPatchOwnGS: a guest with a GS base of its own keeps it; calls of patched sites
// may reach us or fault there, and no more.
func testPatchOwnGS(t *testing.T, e *Env) {
	eachSite(t, e, func(p *patcher, ret uint64) {
		g, r := p.Guest, p.Regs()
		copy(g.Space.Code[2048:], back([]byte{0x65, 0x48, 0x8b, 0x34, 0x25, 0, 0, 0, 0}, syscall_)) // mov rsi, gs:[0]
		binary.LittleEndian.PutUint64(g.Space.Data[64:], 4711)
		for i := range 50 {
			r.Rip, r.Gs_base = codeAt+2048, dataAt+64
			for range 3 {
				if g.Call(); r.Rsi != 4711 || r.Gs_base != dataAt+64 {
					g.Fatalf("read %d by GS, base %#x", r.Rsi, r.Gs_base)
				}
			}
			// Nothing is mapped there: the call itself.
			r.Rip, r.Gs_base = ret, freeAt+1<<20
			count := r.R12
			r.Rax = uint64(i)
			if nr := g.Call(); nr != callNumber || r.Rip != ret || r.R12 != count+1 || r.Gs_base != freeAt+1<<20 || r.Rsi != uint64(i) {
				g.Fatalf("call %d at %#x, base %#x", nr, r.Rip, r.Gs_base)
			}
			r.Gs_base = 0
			r.Rax = uint64(i)
			if nr := g.Call(); nr != callNumber || r.R12 != count+2 || r.Gs_base != 0 {
				g.Fatalf("call %d, base %#x", nr, r.Gs_base)
			}
		}
	})
}
