package mm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

func fork(t testing.TB, s *Space, g *guest, o ForkOptions) (*Space, *guest) {
	t.Helper()
	c := newGuest(t, g.mem)
	o.Mapper = c
	child, err := s.Fork(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(child.DecUsers)
	return child, c
}

// TestForkAdvice forks areas of which parts are not to be inherited, in the
// middle of what one fault brought.
func TestForkAdvice(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 12, MmapOptions{})
	for i := range hostarch.Addr(12) {
		mustStore(t, g, s, testAddr+i*pageSize, 100+uint64(i))
	}
	for at, advice := range map[hostarch.Addr]int{2: unix.MADV_DONTFORK, 6: unix.MADV_WIPEONFORK} {
		if err := s.Madvise(testAddr+at*pageSize, 2*pageSize, advice); err != nil {
			t.Fatal(err)
		}
	}
	child, c := fork(t, s, g, ForkOptions{})
	for i := range hostarch.Addr(12) {
		at := testAddr + i*pageSize
		mustLoad(t, g, s, at, 100+uint64(i))
		switch i {
		case 2, 3:
			if _, err := c.load(child, at); err != errMap {
				t.Errorf("page %d in the child: %v", i, err)
			}
		case 6, 7:
			mustLoad(t, c, child, at, 0)
		default:
			mustLoad(t, c, child, at, 100+uint64(i))
		}
	}
	if z := child.Sizes(); z.Virtual != 10*pageSize || z.Peak != 10*pageSize {
		t.Errorf("the child's sizes: %+v", z)
	}
	// The flags are inherited, and what is mapped there is fresh.
	mapAt(t, child, testAddr+2*pageSize, 2, MmapOptions{})
	mustLoad(t, c, child, testAddr+2*pageSize, 0)
	mustStore(t, c, child, testAddr+6*pageSize, 5)
	grandchild, gc := fork(t, child, c, ForkOptions{})
	mustLoad(t, gc, grandchild, testAddr+6*pageSize, 0)
	for _, x := range []struct {
		g *guest
		s *Space
	}{{g, s}, {c, child}, {gc, grandchild}} {
		x.g.check(t, x.s)
	}
	// And taken back.
	s.Madvise(testAddr, 12*pageSize, unix.MADV_DOFORK)
	s.Madvise(testAddr, 12*pageSize, unix.MADV_KEEPONFORK)
	again, ag := fork(t, s, g, ForkOptions{})
	for i := range hostarch.Addr(12) {
		mustLoad(t, ag, again, testAddr+i*pageSize, 100+uint64(i))
	}
}

// TestForkGenerations writes in all of a line of processes: each writes to all
// pages and forks; later, older ones write to a page each.
func TestForkGenerations(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	const pages, generations = 32, 5
	mapAt(t, s, testAddr, pages, MmapOptions{})
	mapAt(t, s, testAddr+pages*pageSize, 1, MmapOptions{Shared: true})
	line := []*Space{s}
	guests := []*guest{g}
	for n := range generations {
		last := len(line) - 1
		for i := range hostarch.Addr(pages) {
			mustStore(t, guests[last], line[last], testAddr+i*pageSize, uint64(n*1000)+uint64(i))
		}
		c, cg := fork(t, line[last], guests[last], ForkOptions{})
		line, guests = append(line, c), append(guests, cg)
		mustStore(t, guests[n/2], line[n/2], testAddr+hostarch.Addr(n)*pageSize, uint64(7777+n))
	}
	for n := range line {
		for i := range hostarch.Addr(pages) {
			want := uint64(min(n, generations-1)*1000) + uint64(i)
			for m := range generations {
				if m/2 == n && int(i) == m {
					want = uint64(7777 + m)
				}
			}
			mustLoad(t, guests[n], line[n], testAddr+i*pageSize, want)
		}
		mustStore(t, guests[n], line[n], testAddr+pages*pageSize, uint64(n))
		guests[n].check(t, line[n])
	}
	for n := range line {
		mustLoad(t, guests[n], line[n], testAddr+pages*pageSize, uint64(len(line)-1))
	}
}

// TestForkFlush has another thread of the parent that still writes by the old page
// table while the fork goes on: nothing of it is lost.
func TestForkFlush(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1, MmapOptions{})
	mustStore(t, g, s, testAddr, 1)
	flushed := false
	child, c := fork(t, s, g, ForkOptions{Flush: func() error {
		// Nobody can copy the page now.
		if s.mu.TryRLock() {
			t.Error("the parent is not locked")
		}
		if !g.reach(testAddr, hostarch.Write, func(page []byte) { page[0] = 2 }) {
			t.Error("the page table is ahead of the flush")
		}
		flushed = true
		return g.flush()
	}})
	if !flushed {
		t.Fatal("Flush was not called")
	}
	if g.reach(testAddr, hostarch.Write, nil) {
		t.Error("the parent may still write after the flush")
	}
	mustLoad(t, g, s, testAddr, 2)
	mustLoad(t, c, child, testAddr, 2)

	// A flush that fails is a fork that fails, and leaves nothing behind.
	bad := errors.New("flush")
	o := ForkOptions{Mapper: newGuest(t, mem), Flush: func() error { g.flush(); return bad }}
	before := mem.Allocated()
	if _, err := s.Fork(o); err != bad {
		t.Errorf("%v", err)
	}
	if !o.Mapper.(*guest).released || mem.Allocated() != before {
		t.Error("a failed fork left something behind")
	}
	mustStore(t, g, s, testAddr, 3)
	mustLoad(t, c, child, testAddr, 2)
}

// refusing is a Pager that takes no more mappings.
type refusing struct {
	*testFile
	after int
}

func (r *refusing) AddMapping(m memfile.Invalidator, length uint64, writable bool) error {
	if r.after--; r.after < 0 {
		return unix.EPERM
	}
	return r.testFile.AddMapping(m, length, writable)
}

// TestForkFails undoes a fork in the middle.
func TestForkFails(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := &refusing{newTestFile(t, mem, 8), 2}
	defer f.close(t)
	defer s.Munmap(testAddr, 100*pageSize)
	mapAt(t, s, testAddr, 8, MmapOptions{})
	mapAt(t, s, testAddr+10*pageSize, 4, MmapOptions{Pager: f, Shared: true, File: f})
	mapAt(t, s, testAddr+20*pageSize, 4, MmapOptions{Pager: f, Shared: true})
	if _, err := s.Mmap(MmapOptions{Length: pageSize, Pager: f, File: f}); err != unix.EPERM {
		t.Errorf("a mapping that the file refuses: %v", err)
	}
	for i := range hostarch.Addr(8) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	mustStore(t, g, s, testAddr+10*pageSize, 10)
	before, refs := mem.Allocated(), f.refs
	f.after = 1
	if _, err := s.Fork(ForkOptions{Mapper: newGuest(t, mem), Hint: testAddr + 2*pageSize}); err != unix.EPERM {
		t.Errorf("fork: %v", err)
	}
	if mem.Allocated() != before || len(f.users) != 1 || f.refs != refs {
		t.Errorf("%d bytes, %d users, %d references are left", mem.Allocated()-before, len(f.users), f.refs)
	}
	for i := range hostarch.Addr(8) {
		mustLoad(t, g, s, testAddr+i*pageSize, uint64(i))
		mustStore(t, g, s, testAddr+i*pageSize, 9)
	}
	g.check(t, s)
}

// TestForkEager checks that what is surely written to soon is copied at once, and
// nothing else.
func TestForkEager(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 512, MmapOptions{})
	for i := range hostarch.Addr(512) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	sp := hostarch.Addr(testAddr + 100*pageSize + 123)
	child, c := fork(t, s, g, ForkOptions{Hint: sp})
	c.flush()
	g.flush()
	for i := range hostarch.Addr(512) {
		at := testAddr + i*pageSize
		want := at >= sp.RoundDown()-stackBelow && at < sp.RoundDown()+stackAbove
		for name, x := range map[string]*guest{"parent": g, "child": c} {
			if ok := x.reach(at, hostarch.Write, nil); ok != want {
				t.Fatalf("page %d of the %s: writable %v", i, name, ok)
			}
			if !x.reach(at, hostarch.Read, nil) {
				t.Fatalf("page %d of the %s is not readable", i, name)
			}
		}
	}
	if c.calls > 6 || g.calls > 10 {
		t.Errorf("%d changes in the child, %d in the parent", c.calls, g.calls)
	}
	// A block that is copied on write again and again is copied by the fork.
	block := hostarch.Addr(testAddr + 300*pageSize)
	mustStore(t, g, s, block, 1)
	faults := s.Faults()
	for range 5 {
		fork(t, s, g, ForkOptions{Hint: sp})
		mustStore(t, g, s, block, 2)
		mustStore(t, g, s, sp&^7, 2)
	}
	if n := s.Faults() - faults; n != 0 {
		t.Errorf("%d faults for what is written after each fork", n)
	}
	mustLoad(t, c, child, block, 300)
	g.check(t, s)
	c.check(t, child)
}

// TestForkLonely checks that a parent whose child is gone need not copy.
func TestForkLonely(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 512, MmapOptions{})
	mustStore(t, g, s, testAddr, 1)
	allocated := mem.Allocated()
	c := newGuest(t, mem)
	child, err := s.Fork(ForkOptions{Mapper: c})
	if err != nil {
		t.Fatal(err)
	}
	mustStore(t, c, child, testAddr+100*pageSize, 1)
	child.DecUsers()
	faults := s.Faults()
	for i := range hostarch.Addr(512) {
		mustStore(t, g, s, testAddr+i*pageSize, 2)
	}
	if n := s.Faults() - faults; n != 1 || mem.Allocated() != allocated {
		t.Errorf("%d faults, %d bytes more", n, mem.Allocated()-allocated)
	}
	g.check(t, s)
}

// TestSharedParts unmaps shared anonymous memory in pieces, in parent and child.
func TestSharedParts(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 6, MmapOptions{Shared: true})
	mustStore(t, g, s, testAddr+2*pageSize, 2)
	s.Munmap(testAddr+pageSize, pageSize)
	mustStore(t, g, s, testAddr, 1) // a page that nobody touched before
	child, c := fork(t, s, g, ForkOptions{})
	for _, n := range []hostarch.Addr{3, 0, 5} {
		s.Munmap(testAddr+n*pageSize, pageSize)
	}
	s.Mprotect(testAddr+4*pageSize, pageSize, hostarch.Read, false)
	s.Munmap(testAddr, 6*pageSize)
	g.flush()
	mustLoad(t, c, child, testAddr, 1)
	mustLoad(t, c, child, testAddr+2*pageSize, 2)
	mustStore(t, c, child, testAddr+5*pageSize, 5)
	child.Munmap(testAddr, 6*pageSize)
	c.flush()
	if n := mem.Allocated(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestForkExtents checks that what is copied piece by piece becomes one again: the
// next fork has little to do.
func TestForkExtents(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1024, MmapOptions{})
	for i := range hostarch.Addr(1024) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	child, c := fork(t, s, g, ForkOptions{})
	for i := range hostarch.Addr(1024) {
		mustStore(t, c, child, testAddr+i*pageSize, uint64(i)+5000)
	}
	if n := child.extents.len(); n > 8 {
		t.Errorf("%d extents", n)
	}
	c.check(t, child)
	for i := range hostarch.Addr(1024) {
		mustLoad(t, g, s, testAddr+i*pageSize, uint64(i))
		mustLoad(t, c, child, testAddr+i*pageSize, uint64(i)+5000)
	}
}
