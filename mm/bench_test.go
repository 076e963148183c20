package mm

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// quietSpace makes a Space without a guest side, with areas of two pages with a
// hole between them, all touched.
func quietSpace(tb testing.TB, areas int) *Space {
	tb.Helper()
	mem := newMemory(tb)
	s := NewSpace(Config{File: mem, Mapper: noGuest{}, Min: testMin, Max: testMax})
	tb.Cleanup(s.DecUsers)
	for i := range areas {
		o := MmapOptions{
			Addr: s.holes.base - hostarch.Addr(3*(i+1))*pageSize, Fixed: true, Length: 2 * pageSize,
			Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess,
		}
		addr, err := s.Mmap(o)
		if err != nil {
			tb.Fatal(err)
		}
		s.CopyOut(addr, make([]byte, 2*pageSize))
	}
	return s
}

// mapQuiet maps memory at testAddr.
func mapQuiet(tb testing.TB, s *Space, pages uint64) {
	tb.Helper()
	o := MmapOptions{Addr: testAddr, Fixed: true, Length: pages * pageSize, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess}
	if _, err := s.Mmap(o); err != nil {
		tb.Fatal(err)
	}
}

// forkQuiet forks: the pages of both are to be copied on write.
func forkQuiet(tb testing.TB, s *Space) *Space {
	c, err := s.Fork(ForkOptions{Mapper: noGuest{}})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestAllocations counts what is allocated by the paths that every system call
// and every fault goes.
func TestAllocations(t *testing.T) {
	s := quietSpace(t, 10)
	mapQuiet(t, s, 1024)
	buf := make([]byte, 64)
	// Neighbouring pages that are not one extent.
	s.CopyOut(testAddr, buf)
	s.Mprotect(testAddr+pageSize, pageSize, hostarch.Read, false)
	s.Mprotect(testAddr+pageSize, pageSize, hostarch.ReadWrite, false)
	across := hostarch.Addr(testAddr + pageSize - 32)
	s.CopyOut(testAddr+4*pageSize, []byte("a string\x00"))
	vec := []Iovec{{testAddr, 64}, {across, 64}, {testAddr + 5*pageSize, 64}}
	var st FaultState
	for name, tt := range map[string]struct {
		most float64
		fn   func()
	}{
		"CopyIn":          {0, func() { s.CopyIn(testAddr, buf) }},
		"CopyIn, across":  {0, func() { s.CopyIn(across, buf) }},
		"CopyOut":         {0, func() { s.CopyOut(testAddr, buf) }},
		"CopyOut, across": {0, func() { s.CopyOut(across, buf) }},
		"CopyIn, EFAULT":  {0, func() { s.CopyIn(1<<20, buf) }},
		"ZeroOut":         {0, func() { s.ZeroOut(across, 64) }},
		"CopyInString":    {1, func() { s.CopyInString(testAddr+4*pageSize, 4096) }}, // the string
		"LoadUint32":      {0, func() { s.LoadUint32(testAddr) }},
		"StoreUint32":     {0, func() { s.StoreUint32(testAddr, 1) }},
		"CompareAndSwap":  {0, func() { s.CompareAndSwapUint32(testAddr, 1, 2) }},
		"FutexKey":        {0, func() { s.FutexKey(testAddr, true) }},
		"Pin": {0, func() {
			p, _ := s.Pin(testAddr, 64, true)
			p.Unpin()
		}},
		"PinVec": {0, func() {
			p, _ := s.PinVec(vec, true)
			p.Unpin()
		}},
		"fault, there already": {0, func() { s.Fault(testAddr, hostarch.Write, &FaultState{}) }},
		"fault, no such area":  {0, func() { s.Fault(1<<20, hostarch.Write, &st) }},
		// The extent, and what is to be given back.
		"first touch": {2, func() {
			s.Fault(testAddr+600*pageSize, hostarch.Write, &st)
			s.Madvise(testAddr+512*pageSize, 512*pageSize, unix.MADV_DONTNEED)
		}},
		"mprotect": {0, func() {
			s.Mprotect(testAddr, 1024*pageSize, hostarch.Read, false)
			s.Mprotect(testAddr, 1024*pageSize, hostarch.ReadWrite, false)
		}},
		// The area.
		"mmap and munmap": {1, func() {
			addr, _ := s.Mmap(MmapOptions{Length: pageSize, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess, NoReserve: true})
			s.Munmap(addr, pageSize)
		}},
	} {
		if n := testing.AllocsPerRun(100, tt.fn); n > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, tt.most)
		}
	}
	// Copy on write: the new extent, two for splitting the old one, and what is
	// to be given back.
	c := forkQuiet(t, s)
	defer c.DecUsers()
	at := hostarch.Addr(testAddr + 8*pageSize)
	if n := testing.AllocsPerRun(50, func() { s.Fault(at, hostarch.Write, &st); at += 2 * copyBlock }); n > 5 {
		t.Errorf("copy on write: %v allocations", n)
	}
}

var areaCounts = []int{10, 100, 1000, 10_000}

// perAreas runs a benchmark in spaces with few and many areas.
func perAreas(b *testing.B, fn func(b *testing.B, s *Space)) {
	for _, n := range areaCounts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := quietSpace(b, n)
			b.ReportAllocs()
			fn(b, s)
		})
	}
}

// BenchmarkFault touches a page that nobody touched before, and takes it away.
func BenchmarkFault(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		mapQuiet(b, s, 4)
		var st FaultState
		for b.Loop() {
			s.Fault(testAddr, hostarch.Write, &st)
			s.Madvise(testAddr, 4*pageSize, unix.MADV_DONTNEED)
		}
	})
}

// BenchmarkFaultCopy copies a block on write. What it costs to fork is not
// counted.
func BenchmarkFaultCopy(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		const pages = 4096
		mapQuiet(b, s, pages)
		buf := make([]byte, pages*pageSize)
		s.CopyOut(testAddr, buf)
		var st FaultState
		var c *Space
		at := hostarch.Addr(testAddr + pages*pageSize)
		for b.Loop() {
			if at == testAddr+pages*pageSize {
				b.StopTimer()
				if c != nil {
					c.DecUsers()
				}
				s.Madvise(testAddr, pages*pageSize, unix.MADV_DONTNEED)
				s.CopyOut(testAddr, buf)
				c = forkQuiet(b, s)
				at = testAddr
				b.StartTimer()
			}
			s.Fault(at, hostarch.Write, &st)
			at += copyBlock
		}
		c.DecUsers()
	})
}

// BenchmarkMmap maps and unmaps a page.
func BenchmarkMmap(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		o := MmapOptions{Length: pageSize, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess}
		for b.Loop() {
			addr, err := s.Mmap(o)
			if err != nil {
				b.Fatal(err)
			}
			s.Munmap(addr, pageSize)
		}
	})
}

// BenchmarkMmapMany maps areas one by one, and unmaps all of them then.
func BenchmarkMmapMany(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		o := MmapOptions{Length: 5 * pageSize, MaxProt: hostarch.AnyAccess}
		n := 0
		low := s.holes.base
		for b.Loop() {
			o.NoReserve = !o.NoReserve // or they were joined
			addr, err := s.Mmap(o)
			if err != nil {
				b.Fatal(err)
			}
			low = min(low, addr)
			if n++; n == 10_000 {
				s.Munmap(low, 10_000*5*pageSize)
				n, low = 0, s.holes.base
			}
		}
	})
}

// BenchmarkMprotect changes a page in the middle of an area and back.
func BenchmarkMprotect(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		mapQuiet(b, s, 3)
		s.CopyOut(testAddr, make([]byte, 3*pageSize))
		for b.Loop() {
			s.Mprotect(testAddr+pageSize, pageSize, hostarch.Read, false)
			s.Mprotect(testAddr+pageSize, pageSize, hostarch.ReadWrite, false)
		}
	})
}

// BenchmarkCopyIn reads 64 bytes, in turns from different extents.
func BenchmarkCopyIn(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		var buf [64]byte
		at, next := s.holes.base-3*pageSize, s.holes.base-6*pageSize
		for b.Loop() {
			if _, err := s.CopyIn(at, buf[:]); err != nil {
				b.Fatal(err)
			}
			at, next = next, at
		}
	})
}

// BenchmarkPin pins 4 KiB.
func BenchmarkPin(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		at := s.holes.base - 3*pageSize
		for b.Loop() {
			p, err := s.Pin(at, pageSize, true)
			if err != nil {
				b.Fatal(err)
			}
			p.Unpin()
		}
	})
}

// BenchmarkFork forks and ends the child. It grows with the areas.
func BenchmarkFork(b *testing.B) {
	perAreas(b, func(b *testing.B, s *Space) {
		for b.Loop() {
			forkQuiet(b, s).DecUsers()
		}
	})
}
