package mm

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// failer is a *testing.T, *testing.B or *rapid.T.
type failer interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
	Failed() bool
	Cleanup(func())
}

// pte is what a guest's page table says of a page.
type pte struct {
	off uint64
	at  hostarch.AccessType
}

// guest is a Mapper with the page table of a guest that does not exist. As on
// platforms, changes are in force only after a flush.
type guest struct {
	tb  failer
	mem *memfile.File

	mu       sync.Mutex
	queue    []func()
	after    []func()
	pages    map[hostarch.Addr]pte
	released bool
	calls    int // Map, Unmap and Protect

	// knows says that the guest's processor tells what an access was.
	knows  bool
	faults FaultState
}

func newGuest(tb failer, mem *memfile.File) *guest {
	return &guest{tb: tb, mem: mem, pages: map[hostarch.Addr]pte{}}
}

func (g *guest) enqueue(addr hostarch.Addr, length uint64, fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if g.released {
		g.tb.Errorf("a released guest is changed")
	}
	if length == 0 || length&pageMask != 0 || addr&pageMask != 0 {
		g.tb.Errorf("a change of %#x, %#x bytes", addr, length)
	}
	g.queue = append(g.queue, fn)
}

func (g *guest) Map(addr hostarch.Addr, length uint64, off uint64, at hostarch.AccessType) {
	g.enqueue(addr, length, func() {
		for i := uint64(0); i < length; i += pageSize {
			g.pages[addr+hostarch.Addr(i)] = pte{off + i, at}
		}
	})
}

func (g *guest) Unmap(addr hostarch.Addr, length uint64) {
	g.enqueue(addr, length, func() {
		for i := uint64(0); i < length; i += pageSize {
			delete(g.pages, addr+hostarch.Addr(i))
		}
	})
}

func (g *guest) Protect(addr hostarch.Addr, length uint64, at hostarch.AccessType) {
	g.enqueue(addr, length, func() {
		for i := uint64(0); i < length; i += pageSize {
			p, ok := g.pages[addr+hostarch.Addr(i)]
			if !ok {
				g.tb.Errorf("the access to %#x is changed, where nothing is mapped", addr+hostarch.Addr(i))
			}
			p.at = at
			g.pages[addr+hostarch.Addr(i)] = p
		}
	})
}

func (g *guest) AfterFlush(fn func()) {
	g.mu.Lock()
	if len(g.queue) > 0 {
		g.after = append(g.after, fn)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	fn()
}

func (g *guest) Release() {
	g.mu.Lock()
	g.released = true
	after := g.after
	g.queue, g.after, g.pages = nil, nil, nil
	g.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

func (g *guest) flush() error {
	g.mu.Lock()
	for _, fn := range g.queue {
		fn()
	}
	after := g.after
	g.queue, g.after = nil, nil
	g.mu.Unlock()
	for _, fn := range after {
		fn()
	}
	return nil
}

// reach lets fn have the page that an access gets to, if the page table allows
// it. No flush comes between.
func (g *guest) reach(addr hostarch.Addr, at hostarch.AccessType, fn func(page []byte)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.pages[addr&^pageMask]
	if !ok || !p.at.SupersetOf(at) {
		return false
	}
	if fn != nil {
		fn(g.mem.Bytes(memfile.Range{Start: p.off, End: p.off + pageSize}))
	}
	return true
}

// access is what a guest thread does that touches addr: nil, or the signal that
// it gets.
func (g *guest) access(s *Space, addr hostarch.Addr, at hostarch.AccessType, st *FaultState, fn func(page []byte)) error {
	for range 10 {
		g.flush()
		if g.reach(addr, at, fn) {
			return nil
		}
		told := at
		if !g.knows {
			told = hostarch.NoAccess
		}
		if err := s.Fault(addr, told, st); err != nil {
			return err
		}
	}
	return fmt.Errorf("an access to %#x never succeeds", addr)
}

// load and store are accesses of 8 bytes.
func (g *guest) load(s *Space, addr hostarch.Addr) (v uint64, err error) {
	err = g.access(s, addr, hostarch.Read, &g.faults, func(b []byte) { v = binary.LittleEndian.Uint64(b[addr&pageMask:]) })
	return v, err
}

func (g *guest) store(s *Space, addr hostarch.Addr, v uint64) error {
	return g.access(s, addr, hostarch.Write, &g.faults, func(b []byte) { binary.LittleEndian.PutUint64(b[addr&pageMask:], v) })
}

// checkMemory fails if a page that is in the guest's reach was given back.
func (g *guest) checkMemory(t failer) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for addr, p := range g.pages {
		if n, _ := g.mem.Refs(memfile.Range{Start: p.off, End: p.off + pageSize}); n == 0 {
			t.Fatalf("%#x is mapped to memory that was given back", addr)
		}
	}
}

// check fails if the page table is not what s says, or s is not as it should be.
func (g *guest) check(t failer, s *Space) {
	t.Helper()
	g.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	var virtual, data, locked uint64
	var last *area
	s.areas.all(func(a *area) bool {
		virtual += a.length()
		if a.isData() {
			data += a.length()
		}
		if a.locked != notLocked {
			locked += a.length()
		}
		if a.start >= a.end || a.start&pageMask != 0 || a.end&pageMask != 0 || last != nil && last.end > a.start {
			t.Fatalf("area %#x-%#x after %+v", a.start, a.end, last)
		}
		if last != nil && last.joins(a) {
			t.Fatalf("areas %#x-%#x and %#x-%#x should be one", last.start, last.end, a.start, a.end)
		}
		last = a
		return true
	})
	if virtual != s.virtual || data != s.data || locked != s.locked {
		t.Fatalf("sums %d, %d, %d; want %d, %d, %d", s.virtual, s.data, s.locked, virtual, data, locked)
	}
	n := 0
	var end hostarch.Addr
	s.extents.all(func(e *extent) bool {
		a := s.find(e.start)
		if a == nil || e.end > a.end || e.start < end || e.start >= e.end {
			t.Fatalf("extent %#x-%#x in area %+v", e.start, e.end, a)
		}
		end = e.end
		if refs, _ := g.mem.Refs(e.all()); refs == 0 {
			t.Fatalf("extent %#x-%#x has memory that was given back", e.start, e.end)
		}
		if e.given.Write {
			if length, shared := g.mem.Shared(e.all()); !a.shared && (shared || !e.owned || length != uint64(e.end-e.start)) {
				t.Fatalf("the guest may write to %#x-%#x, which is not its own", e.start, e.end)
			}
		}
		if want := guestAccess(a.prot); !want.SupersetOf(e.given) {
			t.Fatalf("extent %#x-%#x is given as %v in an area of %v", e.start, e.end, e.given, a.prot)
		}
		for at := e.start; at < e.end; at += pageSize {
			p, ok := g.pages[at]
			if !e.given.Any() {
				if ok && p.at.Any() {
					t.Fatalf("%#x is in the guest's reach", at)
				}
				if ok {
					n++
				}
				continue
			}
			n++
			if want := (pte{e.rangeOf(at, at+1).Start, guestAccess(e.given)}); !ok || p != want {
				t.Fatalf("%#x: page table %+v, want %+v", at, p, want)
			}
		}
		return true
	})
	if n != len(g.pages) {
		t.Fatalf("%d pages in the page table, want %d", len(g.pages), n)
	}
	checkHoles(t, s)
}

// checkHoles fails if a hole is larger than s.holes says.
func checkHoles(t failer, s *Space) {
	t.Helper()
	h := &s.holes
	hi := h.base
	if a := s.next(h.base - 1); a != nil {
		hi = min(hi, guarded(a))
	}
	s.areas.down(h.base-1, func(a *area) bool {
		lo := max(a.end, h.top)
		if lo < hi && uint64(hi-lo) > h.largest {
			t.Fatalf("a hole %#x-%#x, but nothing above %#x should be larger than %#x", lo, hi, h.top, h.largest)
		}
		hi = guarded(a)
		return a.start > h.top
	})
}

// testFile is a Pager with a size that can change.
type testFile struct {
	mem *memfile.File

	mu    sync.Mutex
	pages []memfile.Range // nothing: a hole
	users map[memfile.Invalidator]uint64
	write uint64 // bytes mapped writable
	refs  int
	step  uint64 // Page gives so many bytes at most; 0: all it can
}

func newTestFile(tb failer, mem *memfile.File, pages int) *testFile {
	f := &testFile{mem: mem, pages: make([]memfile.Range, pages), users: map[memfile.Invalidator]uint64{}}
	r, err := mem.Allocate(uint64(pages)*pageSize, memfile.Options{})
	if err != nil {
		tb.Fatalf("%v", err)
	}
	for i := range f.pages {
		f.pages[i] = memfile.Range{Start: r.Start + uint64(i)*pageSize, End: r.Start + uint64(i+1)*pageSize}
	}
	return f
}

func (f *testFile) IncRef()                        { f.mu.Lock(); f.refs++; f.mu.Unlock() }
func (f *testFile) DecRef()                        { f.mu.Lock(); f.refs--; f.mu.Unlock() }
func (f *testFile) MappedName() string             { return "/file" }
func (f *testFile) DeviceInode() (dev, ino uint64) { return 1, 2 }

func (f *testFile) Page(off, max uint64, write bool) (memfile.Range, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := off / pageSize
	if i >= uint64(len(f.pages)) {
		return memfile.Range{}, unix.ENXIO
	}
	if f.step != 0 {
		max = min(max, f.step)
	}
	if f.pages[i].Length() == 0 {
		r, err := f.mem.Allocate(pageSize, memfile.Options{})
		if err != nil {
			return memfile.Range{}, err
		}
		f.pages[i] = r
	}
	r := f.pages[i]
	for j := i + 1; j < uint64(len(f.pages)) && (j-i+1)*pageSize <= max && f.pages[j].Start == r.End && f.pages[j].Length() > 0; j++ {
		r.End += pageSize
	}
	f.mem.IncRef(r)
	return r, nil
}

func (f *testFile) AddMapping(m memfile.Invalidator, length uint64, writable bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[m] += length
	if writable {
		f.write += length
	}
	return nil
}

func (f *testFile) RemoveMapping(m memfile.Invalidator, length uint64, writable bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users[m] -= length; f.users[m] == 0 {
		delete(f.users, m)
	}
	if writable {
		f.write -= length
	}
}

// resize truncates the file or makes it longer.
func (f *testFile) resize(pages int) {
	f.mu.Lock()
	var gone []memfile.Range
	for len(f.pages) > pages {
		last := len(f.pages) - 1
		if f.pages[last].Length() > 0 {
			gone = append(gone, f.pages[last])
		}
		f.pages = f.pages[:last]
	}
	for len(f.pages) < pages {
		f.pages = append(f.pages, memfile.Range{})
	}
	done := map[memfile.Invalidator]bool{}
	for again := true; again; {
		again = false
		for m := range f.users {
			if !done[m] {
				done[m], again = true, true
				f.mu.Unlock()
				m.Invalidate(f, uint64(pages)*pageSize, 1<<40, true)
				f.mu.Lock()
				break
			}
		}
	}
	f.mu.Unlock()
	for _, r := range gone {
		f.mem.DecRef(r)
	}
}

// Punch implements Puncher.
func (f *testFile) Punch(off, length uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := off / pageSize; i < min((off+length)/pageSize, uint64(len(f.pages))); i++ {
		if f.pages[i].Length() > 0 {
			f.mem.Zero(f.pages[i])
		}
	}
	return nil
}

// close gives the pages back, and fails if somebody maps the file still.
func (f *testFile) close(tb failer) {
	f.resize(0)
	if len(f.users) != 0 || f.write != 0 || f.refs != 0 {
		tb.Errorf("a file is mapped still: %v, %d writable, %d references", f.users, f.write, f.refs)
	}
}

func newMemory(tb failer) *memfile.File {
	tb.Helper()
	mem, err := memfile.New(memfile.Config{Size: 64 << 30})
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if n := mem.Allocated(); n != 0 && !tb.Failed() {
			tb.Errorf("%d bytes of memory are left", n)
		}
		mem.Close()
	})
	return mem
}

const (
	testMin = 0x10000
	testMax = 1 << 46
)

// newTestSpace makes a Space with a guest, released at the end.
func newTestSpace(tb failer, mem *memfile.File) (*Space, *guest) {
	tb.Helper()
	g := newGuest(tb, mem)
	s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax})
	tb.Cleanup(s.DecUsers)
	return s, g
}
