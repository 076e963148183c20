package mm

import (
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// TestStrings reads strings of all lengths around what is read at once, up to a
// bound and up to the end of the memory.
func TestStrings(t *testing.T) {
	mem := newMemory(t)
	s, _ := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 2, MmapOptions{})
	end := hostarch.Addr(testAddr + 2*pageSize)
	for _, n := range []int{0, 1, 2, 255, 256, 257, 511, 512, 513, 4095, 4096, 4097, 8190} {
		want := strings.Repeat("x", n)
		at := end - hostarch.Addr(n) - 1
		if _, err := s.CopyOut(at, append([]byte(want), 0)); err != nil {
			t.Fatal(err)
		}
		for _, max := range []int{n + 1, n + 2, 1 << 20} {
			if got, err := s.CopyInString(at, max); err != nil || got != want {
				t.Errorf("%d bytes of %d: %d, %v", n, max, len(got), err)
			}
		}
		if _, err := s.CopyInString(at, n); err != unix.ENAMETOOLONG {
			t.Errorf("%d bytes of %d: %v", n, n, err)
		}
		if n > 0 {
			s.CopyOut(end-1, []byte{'y'})
			if _, err := s.CopyInString(at, n+2); err != unix.EFAULT {
				t.Errorf("%d bytes without an end: %v", n, err)
			}
		}
	}
}

// TestStringChanges reads a string that another thread changes all the time: it
// never has a NUL in it.
func TestStringChanges(t *testing.T) {
	mem := newMemory(t)
	s, _ := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1, MmapOptions{})
	s.CopyOut(testAddr, []byte("0123456\x00"))
	var stop atomic.Bool
	done := make(chan bool)
	go func() {
		for !stop.Load() {
			s.StoreUint32(testAddr+4, 0x00363534)
			s.StoreUint32(testAddr+4, 0x34003434)
		}
		close(done)
	}()
	for range 5000 {
		str, err := s.CopyInString(testAddr, 8)
		if err != nil || strings.ContainsRune(str, 0) {
			t.Errorf("%q, %v", str, err)
			break
		}
	}
	stop.Store(true)
	<-done
}

// TestWords checks the atomic operations, from two spaces that share memory.
func TestWords(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1, MmapOptions{Shared: true})
	child, _ := fork(t, s, g, ForkOptions{})
	if err := s.StoreUint32(testAddr, 5); err != nil {
		t.Fatal(err)
	}
	if v, err := child.LoadUint32(testAddr); v != 5 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	if was, err := child.SwapUint32(testAddr, 6); was != 5 || err != nil {
		t.Errorf("%d, %v", was, err)
	}
	for _, tt := range []struct{ old, v, was, now uint32 }{{5, 9, 6, 6}, {6, 7, 6, 7}} {
		if was, err := s.CompareAndSwapUint32(testAddr, tt.old, tt.v); was != tt.was || err != nil {
			t.Errorf("%d, %v", was, err)
		}
		if v, _ := s.LoadUint32(testAddr); v != tt.now {
			t.Errorf("%d, want %d", v, tt.now)
		}
	}
	s.StoreUint32(testAddr, 0)
	done := make(chan bool)
	for _, x := range []*Space{s, child} {
		go func() {
			for range 10_000 {
				x.UpdateUint32(testAddr, func(v uint32) uint32 { return v + 1 })
			}
			done <- true
		}()
	}
	<-done
	<-done
	if v, _ := s.LoadUint32(testAddr); v != 20_000 {
		t.Errorf("%d", v)
	}
	ka, oa, err := s.FutexKey(testAddr+8, false)
	kb, ob, err2 := child.FutexKey(testAddr+8, false)
	if ka != kb || oa != ob || oa != 8 || err != nil || err2 != nil {
		t.Errorf("keys of a shared word: %v+%d, %v+%d", ka, oa, kb, ob)
	}
	ka, _, _ = s.FutexKey(testAddr+8, true)
	kb, _, _ = child.FutexKey(testAddr+8, true)
	if ka == kb {
		t.Error("keys of private words are the same in two spaces")
	}
}

// TestForce checks what a debugger may do.
func TestForce(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 2)
	defer f.close(t)
	defer s.Munmap(testAddr, 64*pageSize)
	for i, o := range []MmapOptions{
		{Prot: hostarch.AccessType{Execute: true}, Pager: f, File: f},
		{Prot: hostarch.Read},
		{Prot: hostarch.Read, Pager: f, Shared: true},
	} {
		mapAt(t, s, testAddr+hostarch.Addr(i)*2*pageSize, 2, o)
	}
	s.Mprotect(testAddr+2*pageSize, 2*pageSize, hostarch.NoAccess, false)
	for i, want := range []error{nil, nil, unix.EFAULT} {
		at := testAddr + hostarch.Addr(i)*2*pageSize
		if _, err := s.CopyOut(at, []byte{1}); err != unix.EFAULT {
			t.Errorf("area %d is written to without force: %v", i, err)
		}
		if _, err := s.Poke(at, []byte{7}); err != want {
			t.Errorf("area %d: %v, want %v", i, err, want)
		}
		var b [1]byte
		if _, err := s.Peek(at, b[:]); err != nil || want == nil && b[0] != 7 {
			t.Errorf("area %d: %v, %v", i, b, err)
		}
	}
	if mem.Bytes(f.pages[0])[0] != 0 {
		t.Error("a breakpoint went to the file")
	}
	g.check(t, s)
	// Forced copies follow the protection afterwards, and are copied on fork.
	child, c := fork(t, s, g, ForkOptions{})
	s.Poke(testAddr, []byte{8})
	var b [1]byte
	if _, err := child.Peek(testAddr, b[:]); err != nil || b[0] != 7 {
		t.Errorf("in the child: %v, %v", b, err)
	}
	s.Mprotect(testAddr, pageSize, hostarch.ReadWrite, false)
	mustLoad(t, g, s, testAddr, 8)
	mustStore(t, g, s, testAddr, 9)
	g.check(t, s)
	c.check(t, child)
	child.Munmap(testAddr, 64*pageSize)
	c.flush()
}

// TestInvalidate truncates a file whose mappings move, split and change meanwhile.
func TestInvalidate(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 8)
	defer f.close(t)
	defer s.Munmap(testAddr, 256*pageSize)
	mapAt(t, s, testAddr, 8, MmapOptions{Pager: f, File: f, Shared: true})
	mapAt(t, s, testAddr+16*pageSize, 8, MmapOptions{Pager: f, File: f})
	for i := range hostarch.Addr(8) {
		mustStore(t, g, s, testAddr+i*pageSize, 1+uint64(i))
		mustStore(t, g, s, testAddr+(16+i)*pageSize, 100)
	}
	child, c := fork(t, s, g, ForkOptions{})
	defer child.Munmap(testAddr, 256*pageSize)
	// The parent moves half, and puts something else in its place.
	if _, err := s.Mremap(testAddr+4*pageSize, 4*pageSize, 4*pageSize, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, testAddr+64*pageSize); err != nil {
		t.Fatal(err)
	}
	mapAt(t, s, testAddr+4*pageSize, 4, MmapOptions{})
	mustStore(t, g, s, testAddr+4*pageSize, 77)
	f.resize(3)
	for i := range hostarch.Addr(8) {
		want := error(errBus)
		if i < 3 {
			want = nil
		}
		if _, err := c.load(child, testAddr+i*pageSize); err != want {
			t.Errorf("page %d in the child: %v, want %v", i, err, want)
		}
		if _, err := g.load(s, testAddr+(16+i)*pageSize); err != want {
			t.Errorf("page %d, private: %v, want %v", i, err, want)
		}
		if i >= 4 {
			if _, err := g.load(s, testAddr+(60+i)*pageSize); err != want {
				t.Errorf("page %d, moved: %v, want %v", i, err, want)
			}
		}
	}
	mustLoad(t, g, s, testAddr+4*pageSize, 77)
	// What is not private stays when pages are only changed.
	mustStore(t, g, s, testAddr+16*pageSize, 5)
	s.Invalidate(f, 0, 1<<40, false)
	mustLoad(t, g, s, testAddr+16*pageSize, 5)
	mustLoad(t, g, s, testAddr, 1)
	s.Invalidate(f, 0, 1<<40, true)
	mustLoad(t, g, s, testAddr+16*pageSize, 1)
	g.check(t, s)
	c.check(t, child)
}

// TestResident checks mincore(2) and what makes pages present.
func TestResident(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1000, MmapOptions{})
	mustStore(t, g, s, testAddr+10*pageSize, 1)
	count := func(at hostarch.Addr, pages int) (n int) {
		t.Helper()
		out := make([]byte, pages)
		for i := range out {
			out[i] = 0xFF
		}
		if err := s.Mincore(at, out); err != nil {
			t.Fatal(err)
		}
		for _, x := range out {
			n += int(x)
		}
		return n
	}
	if n := count(testAddr, 1000); n != 1 {
		t.Errorf("%d pages are there after one store", n)
	}
	if n := count(testAddr+10*pageSize, 1); n != 1 {
		t.Error("the page itself is not")
	}
	for i, fn := range []func(at hostarch.Addr) error{
		func(at hostarch.Addr) error { return s.Mlock(at, 10*pageSize, false) },
		func(at hostarch.Addr) error { return s.Madvise(at, 10*pageSize, unix.MADV_POPULATE_READ) },
		func(at hostarch.Addr) error { return s.Madvise(at, 10*pageSize, unix.MADV_POPULATE_WRITE) },
		func(at hostarch.Addr) error {
			mapAt(t, s, at, 10, MmapOptions{Populate: true})
			return nil
		},
		func(at hostarch.Addr) error {
			mapAt(t, s, at, 10, MmapOptions{Locked: true})
			return nil
		},
		func(at hostarch.Addr) error {
			mapAt(t, s, at, 2, MmapOptions{Locked: true})
			s.Munmap(at+2*pageSize, 8*pageSize)
			_, err := s.Mremap(at, 2*pageSize, 10*pageSize, 0, 0)
			return err
		},
	} {
		at := testAddr + hostarch.Addr(100+20*i)*pageSize
		if err := fn(at); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if n, around := count(at, 10), count(at-5*pageSize, 20); n != 10 || around != 10 {
			t.Errorf("%d: %d pages are there, %d around them", i, n, around)
		}
	}
	s.Munlockall()
	s.Mlockall(unix.MCL_FUTURE | unix.MCL_ONFAULT)
	mapAt(t, s, testAddr+900*pageSize, 10, MmapOptions{})
	if n := count(testAddr+900*pageSize, 10); n != 0 {
		t.Errorf("locked on fault: %d pages are there", n)
	}
	s.Mlockall(unix.MCL_FUTURE)
	mapAt(t, s, testAddr+900*pageSize, 10, MmapOptions{})
	if n := count(testAddr+900*pageSize, 10); n != 10 {
		t.Errorf("locked: %d pages are there", n)
	}
	s.SetBrkStart(testAddr + 4000*pageSize)
	s.Brk(testAddr + 4003*pageSize - 5)
	if n := count(testAddr+4000*pageSize, 3); n != 3 {
		t.Errorf("locked heap: %d pages are there", n)
	}
	s.Mlockall(unix.MCL_CURRENT)
	if n := count(testAddr, 1000); n != 1000 {
		t.Errorf("all locked: %d pages are there", n)
	}
	if z := s.Sizes(); z.Locked != 1003*pageSize {
		t.Errorf("%d bytes are locked", z.Locked)
	}
	s.Munlockall()
	s.Madvise(testAddr, 1000*pageSize, unix.MADV_DONTNEED)
	g.flush()
	if n := count(testAddr, 1000); n != 0 {
		t.Errorf("%d pages are there", n)
	}
	g.check(t, s)
}

// TestRemapFilePages shows a file's pages in another order.
func TestRemapFilePages(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 4)
	defer f.close(t)
	defer s.Munmap(testAddr, 4*pageSize)
	mapAt(t, s, testAddr, 4, MmapOptions{Pager: f, File: f, Shared: true})
	for i := range hostarch.Addr(4) {
		mustStore(t, g, s, testAddr+i*pageSize, 100+uint64(i))
	}
	for i, page := range []uint64{3, 2, 1, 0} {
		if err := s.RemapFilePages(testAddr+hostarch.Addr(i)*pageSize, pageSize, page); err != nil {
			t.Fatal(err)
		}
	}
	for i := range hostarch.Addr(4) {
		mustLoad(t, g, s, testAddr+i*pageSize, 103-uint64(i))
	}
	if err := s.RemapFilePages(testAddr, 4*pageSize, 0); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, g, s, testAddr, 100)
	if n := s.areaCount(); n != 1 {
		t.Errorf("%d areas", n)
	}
	g.check(t, s)
}
