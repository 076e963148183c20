package kvm

import (
	"encoding/binary"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// On hosts that run guests on copies of our page tables (shadows), an entry that
// we change is one that they do not look at again; and tables that become others
// are known to them with what was in them before. On the others, it is the
// processor that has old entries. These tests change what was used.

var (
	readCall = []byte{0x48, 0x8b, 0x07, 0x0f, 0x05} // mov rax, [rdi]; syscall
	pollLoop = []byte{0x48, 0x8b, 0x07, 0x48, 0x39, 0xd8, 0x74, 0xf8, 0x0f, 0x05}
	// L: mov rax, [rdi]; cmp rax, rbx; je L; syscall
)

// TestStaleEntries: each kind of change of an entry that was used is seen at the
// next access.
func TestStaleEntries(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	e.Guest(func(g *platformtest.Guest) {
		const n = 64
		off := g.Alloc(n)
		for i := range uint64(n) {
			binary.LittleEndian.PutUint64(g.Bytes(off+i*pageSize, 8), i)
		}
		read := func(at uint64) uint64 {
			g.Regs().Rip, g.Regs().Rdi = g.Text(), at
			return g.Call()
		}
		for round := range uint64(200) {
			i := round * 7 % n
			g.Space.Map(freeAt, pageSize, off+i*pageSize, hostarch.Read)
			if v := read(freeAt); v != i {
				t.Fatalf("round %d: remapped to page %d, reads %d", round, i, v)
			}
			switch round % 4 {
			case 0:
				g.Space.Unmap(freeAt, pageSize)
			case 1:
				g.Space.Protect(freeAt, pageSize, hostarch.NoAccess)
			case 2:
				g.Space.Unmap(0x10000, 1<<40) // the tables too, but for code and data
				g.Space.Map(hostarch.Addr(g.Text()), pageSize, g.Space.CodeOff, hostarch.ReadExecute)
			default:
				continue
			}
			g.Regs().Rip = g.Text()
			if x := g.Run(); x.Kind != platform.ExitFault || x.Addr != freeAt {
				t.Fatalf("round %d: %+v where nothing is mapped any more", round, x)
			}
		}
	}, readCall)
}

// TestTablesBecomeOthers: far more spaces come and go than there are tables to be
// freed before they are used again, each with other memory in the same places.
func TestTablesBecomeOthers(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	p := e.P.(*KVM)
	const spaces, spots = 700, 6
	off := e.Alloc(spaces)
	for i := range uint64(spaces) {
		binary.LittleEndian.PutUint64(e.Bytes(off+i*pageSize, 8), i)
	}
	code := e.Space(readCall)
	for i := range uint64(spaces) {
		s := e.Sibling(code)
		// Each spot takes a table of each level of its own.
		for k := range uint64(spots) {
			if i%spots != k {
				s.Map(hostarch.Addr(freeAt+k<<39), pageSize, off+i*pageSize, hostarch.Read)
			}
		}
		e.Start(nil, s, func(g *platformtest.Guest) {
			for k := range uint64(spots) {
				at := freeAt + k<<39
				g.Regs().Rip, g.Regs().Rdi = g.Text(), at
				if i%spots == k {
					if x := g.Run(); x.Kind != platform.ExitFault || uint64(x.Addr) != at {
						g.Fatalf("space %d has something at %#x: %+v", i, at, x)
					}
				} else if v := g.Call(); v != i {
					g.Fatalf("space %d reads %d at %#x", i, v, at)
				}
			}
		})()
		s.Release()
	}
	code.Release()
	if p.m.shadows && p.counts.shadowDrops.Load() == 0 {
		t.Error("the host was never made to forget tables")
	}
	if n := p.m.sysNext / pageSize; n > sysBase/pageSize+3*maxTainted {
		t.Errorf("%d pages for tables of spaces that came and went", n-sysBase/pageSize)
	}
}

// TestRemapWhileRunning: threads on all vCPUs that poll a page see what takes its
// place, each time, and nothing of the old one after AfterFlush.
func TestRemapWhileRunning(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	const threads, rounds = 2, 100
	s := e.Space(pollLoop)
	off := e.Alloc(rounds + 1)
	for i := range uint64(rounds + 1) {
		binary.LittleEndian.PutUint64(e.Bytes(off+i*pageSize, 8), i)
	}
	s.Map(freeAt, pageSize, off, hostarch.Read)
	e.Start(nil, s, func(g *platformtest.Guest) {
		for i := range uint64(rounds) {
			var wg sync.WaitGroup
			for range threads {
				wg.Add(1)
				g.Start(g, s, func(o *platformtest.Guest) {
					defer wg.Done()
					o.Regs().Rdi, o.Regs().Rbx = freeAt, i
					if v := o.Call(); v != i+1 {
						o.Fatalf("%d takes the place of %d", v, i)
					}
				})
			}
			s.Map(freeAt, pageSize, off+(i+1)*pageSize, hostarch.Read)
			flushed := false
			s.AfterFlush(func() {
				flushed = true
				// Who still reads the old page would see this.
				binary.LittleEndian.PutUint64(g.Bytes(off+i*pageSize, 8), 1<<60)
			})
			if err := g.C.Flush(s.AddressSpace); err != nil || !flushed {
				g.Fatalf("Flush: %v, done: %v", err, flushed)
			}
			wg.Wait()
		}
	})()
	s.Release()
}
