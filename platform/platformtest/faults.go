package platformtest

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

var faultTests = []subtest{
	{"Kinds", testFaultKinds},
	{"Resolved", testFaultResolved},
	{"NonCanonical", testNonCanonical},
	{"BeyondFile", testBeyondFile},
	{"OwnInstruction", testOwnInstruction},
	{"Vsyscall", testVsyscall},
	{"PlatformsOwn", testPlatformsOwn},
}

var (
	none      = hostarch.NoAccess
	read      = hostarch.Read
	write     = hostarch.Write
	execute   = hostarch.Execute
	readWrite = hostarch.ReadWrite
	readExec  = hostarch.ReadExecute
)

// testFaultKinds: each way not to get at memory, with the right address.
func testFaultKinds(t *testing.T, e *Env) {
	const (
		readAt = codeAt + 16*iota
		writeAt
		jumpAt
	)
	pad := func(b []byte) []byte { return append(b, make([]byte, 16-len(b))...) }
	e.Guest(func(g *Guest) {
		s := g.Space
		end := uint64(g.P.MaxAddress())
		s.Map(freeAt, pageSize, g.Alloc(1), read)
		s.Map(freeAt+pageSize, pageSize, g.Alloc(1), none)
		s.Map(freeAt+2*pageSize, pageSize, g.Alloc(1), readWrite)
		text := g.Alloc(1)
		copy(g.Bytes(text+pageSize-2, 2), mov(rax, 0)) // an instruction that goes on in the next page
		s.Map(freeAt+4*pageSize, pageSize, text, readExec)
		for _, c := range []struct {
			rip, rdi, addr uint64
			access         hostarch.AccessType
		}{
			{readAt, 0, 0, read},
			{writeAt, 8, 8, write},
			{jumpAt, 0, 0, execute},
			{readAt, freeAt + pageSize + 5, freeAt + pageSize + 5, read},
			{writeAt, freeAt + 24, freeAt + 24, write},
			{writeAt, freeAt + pageSize, freeAt + pageSize, write},
			{writeAt, codeAt + 100, codeAt + 100, write},
			{jumpAt, freeAt + 2*pageSize, freeAt + 2*pageSize, execute},
			{jumpAt, freeAt + pageSize, freeAt + pageSize, execute},
			{jumpAt, dataAt + 1, dataAt + 1, execute},
			{readAt, freeAt + 3*pageSize - 4, freeAt + 3*pageSize, read},
			{writeAt, freeAt + 3*pageSize - 1, freeAt + 3*pageSize, write},
			{jumpAt, freeAt + 5*pageSize - 2, freeAt + 5*pageSize, execute},
			{readAt, freeAt + 3*pageSize, freeAt + 3*pageSize, read},
			{readAt, end - pageSize, end - pageSize, read},
			{writeAt, end - 8, end - 8, write},
			{readAt, 1<<47 - pageSize, 1<<47 - pageSize, read},
			{readAt, 0xffff800000000000, 0xffff800000000000, read},
			{writeAt, 0xffffffff81000000, 0xffffffff81000000, write},
			{readAt, 0xffffffffffffe000, 0xffffffffffffe000, read},
		} {
			r := g.Regs()
			r.Rip, r.Rdi, r.Rax, r.Rbx = c.rip, c.rdi, 77, 78
			g.Fault(c.addr, c.access)
			rip := c.rip
			if c.rip == jumpAt {
				rip = c.rdi
			}
			if r.Rip != rip || r.Rdi != c.rdi || r.Rax != 77 || r.Rbx != 78 {
				g.Fatalf("registers changed by the fault at %#x: RIP %#x, RDI %#x, RAX %d, RBX %d", c.addr, r.Rip, r.Rdi, r.Rax, r.Rbx)
			}
		}
	}, pad(readRDI), pad(writeRDI), pad(jumpRDI))
}

// testFaultResolved: after a mapping change the same instruction goes through.
func testFaultResolved(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for i := range uint64(100) {
			at := freeAt + 3*i*pageSize
			off := g.Alloc(1)
			g.Bytes(off, 1)[0] = byte(i)
			r := g.Regs()
			r.Rip, r.Rdi, r.Rbx = codeAt, at, 1234+i
			g.Fault(at, read)
			g.Space.Map(hostarch.Addr(at), pageSize, off, read)
			g.Fault(at, write)
			if r.Rax&0xff != i+1 {
				g.Fatalf("read %d, want %d", r.Rax-1, i)
			}
			g.Space.Protect(hostarch.Addr(at), pageSize, readWrite)
			g.Call()
			if got := g.Bytes(off, 1)[0]; got != byte(i+1) || r.Rbx != 1234+i {
				g.Fatalf("the file has %d, RBX is %d", got, r.Rbx)
			}
		}
	}, readRDI, incRAX, writeRDI, syscall_)
}

// testNonCanonical: addresses that are none are general protection faults,
// those by way of the stack pointer stack faults.
func testNonCanonical(t *testing.T, e *Env) {
	const (
		readAt = codeAt + 8*iota
		writeAt
		jumpAt
		pushAt
	)
	pad := func(b []byte) []byte { return append(b, make([]byte, 8-len(b))...) }
	e.Guest(func(g *Guest) {
		for _, bad := range []uint64{1 << 62, 0x8000_0000_0000_0000, 0xfffe_0000_0000_0000} {
			for _, rip := range []uint64{readAt, writeAt, jumpAt} {
				g.Regs().Rip, g.Regs().Rdi = rip, bad
				if x := g.Signal(unix.SIGSEGV, siKernel); x.Addr != 0 {
					g.Fatalf("address %#x of a general protection fault", uint64(x.Addr))
				}
			}
			g.Regs().Rip, g.Regs().Rsp = pushAt, bad
			x := g.Signal(unix.SIGBUS, siKernel)
			if x.Addr != 0 || g.Regs().Rip != pushAt {
				g.Fatalf("address %#x, RIP %#x of a stack fault", uint64(x.Addr), g.Regs().Rip)
			}
			// Where Linux refuses to set RIP, there is a fault as well.
			g.Regs().Rip = bad
			if x := g.Run(); x.Signo != int32(unix.SIGSEGV) {
				g.Fatalf("%s with RIP %#x", describe(x), bad)
			}
		}
	}, pad(readRDI), pad(writeRDI), pad(jumpRDI), []byte{0x50})
}

// testBeyondFile: a mapping that reaches beyond the memory file is SIGBUS there.
func testBeyondFile(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Space.Map(freeAt, 2*pageSize, fileSize-pageSize, readWrite)
		g.Regs().Rdi = freeAt + pageSize - 8
		g.Call()
		g.Regs().Rip, g.Regs().Rdi = codeAt, freeAt+pageSize
		if x := g.Fault(freeAt+pageSize, write); x.Signo != int32(unix.SIGBUS) {
			g.Fatalf("%s beyond the file", describe(x))
		}
	}, writeRDI, syscall_)
}

// testOwnInstruction: an instruction that writes to itself cannot be told from
// a fetch where the access is not known; it must not be called one for ever.
func testOwnInstruction(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Regs().Rdi = codeAt
		for try := 0; ; try++ {
			x := g.Run()
			if x.Kind != platform.ExitFault || x.Addr != codeAt || g.Regs().Rip != codeAt {
				g.Fatalf("%s at %#x", describe(x), g.Regs().Rip)
			}
			if !x.Access.Execute {
				break
			}
			if try == 3 {
				g.Fatalf("a write to its own instruction is said to be a fetch")
			}
		}
	}, writeRDI)
}

// testVsyscall: the host's vsyscall page does not answer guests. What comes out
// is a fetch that the kernel can answer.
func testVsyscall(t *testing.T, e *Env) {
	const page = 0xffffffffff600000
	e.Guest(func(g *Guest) {
		r := g.Regs()
		for _, nr := range []uint64{0, 1, 2} { // gettimeofday, time, getcpu
			r.Rip, r.Rsp = codeAt, dataAt+512
			r.Rdi, r.Rsi, r.Rax = page+nr*0x400, 0, 99
			x := g.Run()
			if x.Kind != platform.ExitFault || x.Signo != int32(unix.SIGSEGV) || uint64(x.Addr) != page+nr*0x400 {
				g.Fatalf("%s from vsyscall %d", describe(x), nr)
			}
			if r.Rip != page+nr*0x400 || r.Rsp != dataAt+504 {
				g.Fatalf("RIP %#x, RSP %#x in vsyscall %d", r.Rip, r.Rsp, nr)
			}
			// As the kernel would: return to the caller.
			r.Rip, r.Rsp, r.Rax = codeAt+2, dataAt+512, 1000+nr
			if got := g.Call(); got != 1000+nr {
				g.Fatalf("vsyscall %d returned %d", nr, got)
			}
		}
	}, []byte{0xff, 0xd7}, syscall_)
}

// testPlatformsOwn: whatever a platform keeps near the guest, above MaxAddress
// or wherever, a guest that jumps there cannot make the host do anything: each
// jump ends in a fault, a signal, or a call that comes to us; and nothing there
// can be written but what the platform says it shares with guests.
func testPlatformsOwn(t *testing.T, e *Env) {
	var jump, store = uint64(codeAt), uint64(codeAt + 8)
	e.Guest(func(g *Guest) {
		r := g.Regs()
		end := uint64(g.P.MaxAddress())
		limit := min(end+64*pageSize, 1<<47-pageSize)
		for at := end; at < limit; at += pageSize {
			r.Rip, r.Rdi = store, at
			shares, _ := g.P.(interface{ Shares(hostarch.Addr) bool })
			if x := g.Run(); x.Kind == platform.ExitSyscall && (shares == nil || !shares.Shares(hostarch.Addr(at))) {
				g.Fatalf("a guest can write at %#x", at)
			}
		}
		want := g.Space.Data[8]
		for at := end; at < min(end+pageSize, limit); at += 4 {
			*r = platform.Registers{Rip: jump, Rdi: at, Rsp: dataAt + 1024, Cs: r.Cs, Ss: r.Ss, Rax: 1 << 40, R15: dataAt, Rsi: pageSize}
			for range 3 {
				// SysFault, a trap, a call: all are the guest's own business.
				// A loop is interrupted.
				stop := interruptLater(g)
				x, err := g.C.Run(g.Space.AddressSpace)
				stop()
				if err != nil {
					g.Fatalf("a jump to %#x ended the guest: %v", at, err)
				}
				if x.Kind != platform.ExitSyscall {
					break
				}
			}
		}
		*r = platform.Registers{Rip: store, Rdi: dataAt + 8, Rsp: dataAt + 1024, Cs: r.Cs, Ss: r.Ss, Rax: uint64(want)}
		g.Call()
	}, jumpRDI, make([]byte, 8-2), writeRDI, syscall_)
}
