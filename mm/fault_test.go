package mm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// limits are Limits by resource; what is not there has none.
type limits map[int]uint64

func (l limits) Soft(resource int) uint64 {
	if v, ok := l[resource]; ok {
		return v
	}
	return unix.RLIM_INFINITY
}

func (s *Space) areaCount() int { return s.areas.len() }

func mustStore(t *testing.T, g *guest, s *Space, addr hostarch.Addr, v uint64) {
	t.Helper()
	if err := g.store(s, addr, v); err != nil {
		t.Fatalf("store to %#x: %v", addr, err)
	}
}

func mustLoad(t *testing.T, g *guest, s *Space, addr hostarch.Addr, want uint64) {
	t.Helper()
	v, err := g.load(s, addr)
	if err != nil || v != want {
		t.Errorf("load from %#x: %d, %v; want %d", addr, v, err, want)
	}
}

const testAddr = 1 << 30

// TestFaultRace checks that a thread whose fault another one resolved just before
// tries again, and that one that faults without a reason is told.
func TestFaultRace(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 4, MmapOptions{Prot: hostarch.Read})
	mapAt(t, s, testAddr+4*pageSize, 4, MmapOptions{Prot: hostarch.ReadWrite})
	mapAt(t, s, testAddr+8*pageSize, 4, MmapOptions{Prot: hostarch.AnyAccess})
	for _, tt := range []struct {
		name   string
		addr   hostarch.Addr
		at     hostarch.AccessType
		before func() // what another thread does between the fault and its handling
		want   []error
	}{
		{"load that another thread did", testAddr, hostarch.NoAccess,
			func() { g.load(s, testAddr) }, []error{nil, errAcc}},
		{"the same again", testAddr, hostarch.NoAccess,
			func() { s.Madvise(testAddr, pageSize, unix.MADV_DONTNEED); g.load(s, testAddr) }, []error{nil, errAcc}},
		{"the sentry's load", testAddr, hostarch.NoAccess,
			func() { s.Madvise(testAddr, pageSize, unix.MADV_DONTNEED); s.Peek(testAddr, make([]byte, 1)) }, []error{nil, errAcc}},
		{"known load", testAddr, hostarch.Read,
			func() { s.Madvise(testAddr, pageSize, unix.MADV_DONTNEED); g.load(s, testAddr) }, []error{nil, errAcc}},
		{"known store", testAddr, hostarch.Write, func() {}, []error{errAcc, errAcc}},
		{"store that another thread did", testAddr + 4*pageSize, hostarch.NoAccess,
			func() { g.store(s, testAddr+4*pageSize, 1) }, []error{nil, errAcc}},
		{"known store that another thread did", testAddr + 5*pageSize, hostarch.Write,
			func() {
				s.Madvise(testAddr+4*pageSize, 4*pageSize, unix.MADV_DONTNEED)
				g.store(s, testAddr+5*pageSize, 1)
			}, []error{nil, errAcc}},
		{"execution of data", testAddr + 4*pageSize, hostarch.Execute, func() {}, []error{errAcc}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var st FaultState
			s.Fault(0, hostarch.Read, &st) // the thread has run here
			tt.before()
			for i, want := range tt.want {
				if err := s.Fault(tt.addr, tt.at, &st); !errors.Is(err, want) && err != want {
					t.Errorf("fault %d: %v, want %v", i, err, want)
				}
			}
		})
	}

	// A store to the instruction's own page looks like a jump there.
	at := hostarch.Addr(testAddr + 8*pageSize)
	mustStore(t, g, s, at, 1)
	c := newGuest(t, mem)
	child, err := s.Fork(ForkOptions{Mapper: c})
	if err != nil {
		t.Fatal(err)
	}
	defer child.DecUsers()
	g.flush()
	var st FaultState
	for range 2 {
		if err := s.Fault(at, hostarch.Execute, &st); err != nil {
			t.Fatalf("self-modifying code: %v", err)
		}
	}
	g.flush()
	if !g.reach(at, hostarch.Write, nil) {
		t.Error("self-modifying code makes no progress")
	}
	// What one space has done says nothing of another.
	if err := child.Fault(at, hostarch.Read, &st); err != nil {
		t.Errorf("the first fault in another space: %v", err)
	}
}

// TestFirstTouch checks how much one fault installs.
func TestFirstTouch(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	const big = 64 << 20
	mapAt(t, s, testAddr, big/pageSize, MmapOptions{})
	for _, tt := range []struct {
		touch, start hostarch.Addr
		length       uint64
	}{
		{testAddr + 5*pageSize, testAddr, anonChunk},
		{testAddr + 3*anonChunk - pageSize, testAddr + 2*anonChunk, anonChunk},
		{testAddr + big - 1, testAddr + big - anonChunk, anonChunk},
	} {
		calls, allocated := g.calls, mem.Allocated()
		if err := s.Fault(tt.touch, hostarch.Write, &g.faults); err != nil {
			t.Fatal(err)
		}
		if e := s.extentAt(tt.touch); e.start != tt.start || uint64(e.end-e.start) != tt.length {
			t.Errorf("a touch of %#x installs %#x-%#x, want %#x, %#x bytes", tt.touch, e.start, e.end, tt.start, tt.length)
		}
		if g.calls != calls+1 || mem.Allocated() != allocated+tt.length {
			t.Errorf("%d changes, %d bytes", g.calls-calls, mem.Allocated()-allocated)
		}
	}
	if n, _ := mem.Usage(); n != 0 {
		t.Errorf("%d bytes of the host's for what was never written to", n)
	}
	// Small areas and what is left between extents are filled whole.
	mapAt(t, s, testAddr+big, 40, MmapOptions{Prot: hostarch.ReadExecute})
	if err := s.Fault(testAddr+big+7*pageSize, hostarch.Read, &g.faults); err != nil {
		t.Fatal(err)
	}
	if e := s.extentAt(testAddr + big); e == nil || e.end != testAddr+big+40*pageSize {
		t.Errorf("a small area: %+v", e)
	}
	s.Madvise(testAddr+big+10*pageSize, 5*pageSize, unix.MADV_DONTNEED)
	s.Fault(testAddr+big+12*pageSize, hostarch.Read, &g.faults)
	if e := s.extentAt(testAddr + big + 12*pageSize); e.start != testAddr+big+10*pageSize || e.end != testAddr+big+15*pageSize {
		t.Errorf("between extents: %+v", e)
	}
	g.check(t, s)
}

// TestFilePages checks what a fault in a file's pages installs.
func TestFilePages(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 1024)
	defer f.close(t)
	defer s.Munmap(testAddr, 1024*pageSize)
	mapAt(t, s, testAddr, 1024, MmapOptions{Pager: f, File: f, Prot: hostarch.ReadWrite})
	// A platform that tells a load from a store. (One that does not gets a copy, if
	// it is small.)
	var st FaultState
	if err := s.Fault(testAddr+300*pageSize, hostarch.Read, &st); err != nil {
		t.Fatal(err)
	}
	if e := s.extentAt(testAddr + 300*pageSize); e.start != testAddr+256*pageSize || e.end < e.start+fileChunk || e.given.Write {
		t.Errorf("a load brings %#x-%#x, %v", e.start, e.end, e.given)
	}
	// A store copies the block around it, and leaves the file alone.
	mustStore(t, g, s, testAddr+301*pageSize, 5)
	if e := s.extentAt(testAddr + 301*pageSize); uint64(e.end-e.start) != copyBlock || e.start%copyBlock != 0 || !e.owned {
		t.Errorf("a store copies %#x-%#x", e.start, e.end)
	}
	if b := mem.Bytes(f.pages[301]); b[0] != 0 {
		t.Error("a private store reached the file")
	}
	// A pager that has little at a time is asked for what is needed.
	f.step = 3 * pageSize
	if err := s.Fault(testAddr+700*pageSize, hostarch.Read, &st); err != nil {
		t.Fatal(err)
	}
	if e := s.extentAt(testAddr + 700*pageSize); e.start != testAddr+700*pageSize || e.end != e.start+3*pageSize {
		t.Errorf("a load brings %#x-%#x", e.start, e.end)
	}
	f.step = 0
	g.check(t, s)
}

// TestSharedWrites checks that a shared file's pages become writable in large
// pieces.
func TestSharedWrites(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 256)
	defer f.close(t)
	defer s.Munmap(testAddr, 256*pageSize)
	mapAt(t, s, testAddr, 256, MmapOptions{Pager: f, Shared: true})
	mustLoad(t, g, s, testAddr, 0)
	mustStore(t, g, s, testAddr, 1)
	faults := s.Faults()
	for i := range hostarch.Addr(256) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	if n := s.Faults() - faults; n != 0 {
		t.Errorf("%d more faults", n)
	}
	if mem.Bytes(f.pages[77])[0] != 77 {
		t.Error("a shared store did not reach the file")
	}
	g.check(t, s)
}

// TestNoMemory checks that a full memory file is a signal, and that little memory
// is enough to go on.
func TestNoMemory(t *testing.T) {
	mem, err := memfile.New(memfile.Config{Size: 16 << 20, Limit: 40 * pageSize})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	g := newGuest(t, mem)
	s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax})
	mapAt(t, s, testAddr, 1024, MmapOptions{})
	for i := range hostarch.Addr(40) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	if err := g.store(s, testAddr+40*pageSize, 1); err != errBus {
		t.Errorf("a store without memory: %v", err)
	}
	if n, err := s.CopyOut(testAddr+39*pageSize, make([]byte, 2*pageSize)); n != pageSize || err != unix.EFAULT {
		t.Errorf("copying out without memory: %d, %v", n, err)
	}
	if _, err := s.Mmap(MmapOptions{Length: pageSize, Shared: true}); err != unix.ENOMEM {
		t.Errorf("shared memory without memory: %v", err)
	}
	c := newGuest(t, mem)
	child, err := s.Fork(ForkOptions{Mapper: c, Hint: testAddr + 5*pageSize})
	if err != nil {
		t.Fatalf("fork: %v", err)
	}
	if err := c.store(child, testAddr, 1); err != errBus {
		t.Errorf("copy on write without memory: %v", err)
	}
	mustLoad(t, c, child, testAddr+3*pageSize, 3)
	// Memory that comes back is enough.
	s.Madvise(testAddr+30*pageSize, 10*pageSize, unix.MADV_DONTNEED)
	g.flush()
	child.Madvise(testAddr+30*pageSize, 10*pageSize, unix.MADV_DONTNEED)
	c.flush()
	mustStore(t, c, child, testAddr, 1)
	mustLoad(t, g, s, testAddr, 0)
	child.DecUsers()
	s.DecUsers()
	if n := mem.Allocated(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestStackGrows checks growth, the guard gap and the limits.
func TestStackGrows(t *testing.T) {
	mem := newMemory(t)
	lim := limits{}
	g := newGuest(t, mem)
	s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax, Limits: lim})
	defer s.DecUsers()
	const top = testAddr
	stack := func() { mapAt(t, s, top-4*pageSize, 4, MmapOptions{GrowsDown: true}) }
	start := func() hostarch.Addr { return s.areas.floor(top - 1).start }
	at := func(pages int) hostarch.Addr { return top - hostarch.Addr(pages)*pageSize }
	reset := func() { s.Munmap(at(2000), 2000*pageSize); clear(lim) }

	stack()
	mustStore(t, g, s, at(5)+100, 1)
	if got := start(); got != at(5)&^(stackStep-1) {
		t.Errorf("grown to %#x", got)
	}
	mustStore(t, g, s, at(100), 2) // far below the last page
	mustLoad(t, g, s, at(100), 2)
	mustLoad(t, g, s, at(5)+100, 1)
	if n, err := s.CopyOut(at(200), make([]byte, 3*pageSize)); n != 3*pageSize || err != nil {
		t.Errorf("the sentry's own access: %d, %v", n, err)
	}
	g.check(t, s)

	reset()
	stack()
	lim[unix.RLIMIT_STACK] = 10 * pageSize
	mustStore(t, g, s, at(10), 1)
	if err := g.store(s, at(11), 1); err != errMap {
		t.Errorf("over RLIMIT_STACK: %v", err)
	}
	reset()
	stack()
	lim[unix.RLIMIT_AS] = 6 * pageSize
	mustStore(t, g, s, at(6), 1)
	if err := g.store(s, at(7), 1); err != errMap {
		t.Errorf("over RLIMIT_AS: %v", err)
	}
	reset()
	stack()
	if err := s.Mlock(at(4), pageSize, true); err != nil {
		t.Fatal(err)
	}
	lim[unix.RLIMIT_MEMLOCK] = 3 * pageSize
	mustStore(t, g, s, at(6), 1)
	if err := g.store(s, at(7), 1); err != errMap {
		t.Errorf("over RLIMIT_MEMLOCK: %v", err)
	}
	if z := s.Sizes(); z.Locked != 3*pageSize {
		t.Errorf("%d bytes are locked", z.Locked)
	}
	reset()
	if z := s.Sizes(); z.Locked != 0 || z.Virtual != 0 {
		t.Errorf("nothing is left, but %+v", z)
	}

	// The gap to what lies below, unless that is another stack or not accessible.
	for _, tt := range []struct {
		name  string
		below MmapOptions
		guard bool
	}{
		{"memory", MmapOptions{}, true},
		{"shared memory", MmapOptions{Shared: true, Prot: hostarch.Read}, true},
		{"nothing accessible", MmapOptions{Prot: hostarch.AccessType{}}, false},
		{"another stack", MmapOptions{GrowsDown: true}, false},
	} {
		reset()
		stack()
		o := tt.below
		o.Addr, o.Length, o.Fixed, o.MaxProt = at(700), pageSize, true, hostarch.AnyAccess
		if o.Prot == (hostarch.AccessType{}) && tt.name != "nothing accessible" {
			o.Prot = hostarch.ReadWrite
		}
		if _, err := s.Mmap(o); err != nil {
			t.Fatal(err)
		}
		lowest := 699
		if tt.guard {
			lowest = 699 - stackGuard/pageSize
			if err := g.store(s, at(lowest+1), 1); err != errMap {
				t.Errorf("%s: into the gap: %v", tt.name, err)
			}
		}
		mustStore(t, g, s, at(lowest), 1)
		g.check(t, s)
	}
	// Not below what may be mapped at all.
	mapAt(t, s, testMin+2*pageSize, 1, MmapOptions{GrowsDown: true})
	mustStore(t, g, s, testMin, 1)
	if err := g.store(s, testMin-pageSize, 1); err != errMap {
		t.Errorf("below all: %v", err)
	}
}

// TestNoSuchAddress faults where no guest can have anything.
func TestNoSuchAddress(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testMax-pageSize, 1, MmapOptions{})
	for _, addr := range []hostarch.Addr{0, 1, testMin - 1, testMax, testMax + 1, 1 << 47, 1 << 63, ^hostarch.Addr(0), ^hostarch.Addr(0) &^ pageMask} {
		for _, at := range []hostarch.AccessType{{}, hostarch.Read, hostarch.Write, hostarch.Execute} {
			if err := s.Fault(addr, at, &g.faults); err != errMap {
				t.Errorf("%v at %#x: %v", at, addr, err)
			}
		}
		for name, fn := range map[string]func() error{
			"CopyIn":     func() error { _, err := s.CopyIn(addr, make([]byte, 8)); return err },
			"CopyOut":    func() error { _, err := s.CopyOut(addr, make([]byte, 8)); return err },
			"Peek":       func() error { _, err := s.Peek(addr, make([]byte, 8)); return err },
			"ZeroOut":    func() error { _, err := s.ZeroOut(addr, 1<<63); return err },
			"string":     func() error { _, err := s.CopyInString(addr, 1<<20); return err },
			"Pin":        func() error { _, err := s.Pin(addr, ^uint64(0), false); return err },
			"LoadUint32": func() error { _, err := s.LoadUint32(addr &^ 3); return err },
		} {
			if err := fn(); err != unix.EFAULT {
				t.Errorf("%s at %#x: %v", name, addr, err)
			}
		}
	}
	// To the very end and not beyond.
	if n, err := s.ZeroOut(testMax-8, 100); n != 8 || err != unix.EFAULT {
		t.Errorf("over the end: %d, %v", n, err)
	}
	p, err := s.Pin(testMax-8, ^uint64(0), true)
	if err != nil || p.Length() != 8 {
		t.Errorf("pinned over the end: %v", err)
	} else {
		p.Unpin()
	}
}

// TestFileData loads from private writable mappings of files, by a platform that
// cannot tell loads from stores: small ones are copied at once, large ones are not.
func TestFileData(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 1024)
	defer f.close(t)
	defer s.Munmap(testAddr, 2048*pageSize)
	for i, pages := range []uint64{16, 1024} {
		at := testAddr + hostarch.Addr(i)*1024*pageSize
		mapAt(t, s, at, pages, MmapOptions{Pager: f, File: f})
		mustLoad(t, g, s, at, 0)
		if e := s.extentAt(at); e.owned != (i == 0) || e.given.Write != (i == 0) {
			t.Errorf("%d pages: %+v", pages, e)
		}
		mustStore(t, g, s, at, 1)
		mustLoad(t, g, s, at, 1)
	}
	if mem.Bytes(f.pages[0])[0] != 0 {
		t.Error("a private store reached the file")
	}
	g.check(t, s)
}
