package mm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"pgregory.net/rapid"
)

// highest finds the place for a mapping the slow way: page by page.
func highest(s *Space, length uint64) (hostarch.Addr, bool) {
	for _, top := range []hostarch.Addr{s.holes.base, s.cfg.Max} {
		for at := top - hostarch.Addr(length); at >= s.cfg.Min; at -= pageSize {
			if s.free(at, at+hostarch.Addr(length)) {
				return at, true
			}
		}
	}
	return 0, false
}

// TestHoles maps and unmaps at random in a small address space: mmap always takes
// the highest place below the base.
func TestHoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := newMemory(t)
		const low, high = 16 * pageSize, 1400 * pageSize
		s := NewSpace(Config{File: mem, Mapper: newGuest(t, mem), Min: low, Max: high})
		defer s.DecUsers()
		s.holes.setBase(1200 * pageSize)
		pages := rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 300))
		t.Repeat(map[string]func(*rapid.T){
			"mmap": func(t *rapid.T) {
				n := uint64(pages.Draw(t, "pages")) * pageSize
				o := MmapOptions{Length: n, Prot: hostarch.Read, MaxProt: hostarch.AnyAccess}
				// Neighbours are not joined then.
				o.NoReserve = rapid.Bool().Draw(t, "noreserve")
				want, ok := highest(s, n)
				got, err := s.Mmap(o)
				if !ok && errors.Is(err, unix.ENOMEM) {
					return
				}
				if err != nil || got != want {
					t.Fatalf("mmap of %d pages at %#x, %v; want %#x", n/pageSize, got, err, want)
				}
			},
			"fixed": func(t *rapid.T) {
				at := low + hostarch.Addr(rapid.IntRange(0, 1380).Draw(t, "at"))*pageSize
				n := uint64(rapid.IntRange(1, 4).Draw(t, "pages")) * pageSize
				o := MmapOptions{Addr: at, Length: n, Fixed: true, Prot: hostarch.Read, MaxProt: hostarch.AnyAccess}
				o.GrowsDown = rapid.IntRange(0, 7).Draw(t, "grows") == 0
				if _, err := s.Mmap(o); err != nil {
					t.Fatal(err)
				}
			},
			"munmap": func(t *rapid.T) {
				at := low + hostarch.Addr(rapid.IntRange(0, 1380).Draw(t, "at"))*pageSize
				n := uint64(pages.Draw(t, "pages")) * pageSize
				if err := s.Munmap(at, min(n, uint64(high-at))); err != nil {
					t.Fatal(err)
				}
			},
			"remap": func(t *rapid.T) {
				if a := s.areas.ceil(low + hostarch.Addr(rapid.IntRange(0, 1380).Draw(t, "at"))*pageSize); a != nil {
					n := uint64(pages.Draw(t, "pages")) * pageSize
					if _, err := s.Mremap(a.start, a.length(), n, unix.MREMAP_MAYMOVE, 0); err != nil && !errors.Is(err, unix.ENOMEM) {
						t.Fatal(err)
					}
				}
			},
			"": func(t *rapid.T) { checkHoles(t, s) },
		})
	})
}

func TestMmapBase(t *testing.T) {
	const top = 1 << 47
	const spread = stackSpread + stackGuard
	for _, tt := range []struct {
		limit, random uint64
		want          hostarch.Addr
	}{
		{8 << 20, 0, top - minStackRoom - stackSpread},
		{1 << 30, 0, top - 1<<30 - spread},
		{unix.RLIM_INFINITY, 0, (top - top/6*5) &^ pageMask},
		{1 << 30, 5, top - 1<<30 - spread - 5*pageSize},
		{1 << 30, baseRandom + 5, top - 1<<30 - spread - 5*pageSize},
	} {
		got := mmapBase(top, tt.limit, tt.random)
		if d := int64(got) - int64(tt.want); d < -pageSize || d > pageSize {
			t.Errorf("mmapBase(%#x, %#x): %#x, want %#x", tt.limit, tt.random, got, tt.want)
		}
	}
	if a := mmapBase(1<<20, 8<<20, 1<<60-1); a == 0 || a >= 1<<20 {
		t.Errorf("a small space's base is %#x", a)
	}
}

// TestHint checks where hints lead.
func TestHint(t *testing.T) {
	mem := newMemory(t)
	s, _ := newTestSpace(t, mem)
	mapAt(t, s, 0x40000000, 4, MmapOptions{})
	mapAt(t, s, 0x50000000, 4, MmapOptions{GrowsDown: true})
	for _, tt := range []struct{ hint, want hostarch.Addr }{
		{0x30000000, 0x30000000},
		{0x30000fff, 0x30000000},     // rounded down
		{1, 0},                       // none
		{pageSize, testMin},          // too low
		{0x3fffe000, 0x3fffe000},     // just before
		{0x3ffff000, 0},              // into it
		{0x40004000, 0x40004000},     // just behind
		{0x50000000 - stackGuard, 0}, // where the stack may grow
		{0x50000000 - stackGuard - 2*pageSize, 0x50000000 - stackGuard - 2*pageSize},
		{testMax - 2*pageSize, testMax - 2*pageSize},
		{testMax - pageSize, 0},
		{testMax, 0},
		{^hostarch.Addr(0), 0},
	} {
		o := MmapOptions{Addr: tt.hint, Length: 2 * pageSize, Prot: hostarch.Read, MaxProt: hostarch.AnyAccess}
		got, err := s.Mmap(o)
		if err != nil {
			t.Fatal(err)
		}
		if tt.want != 0 && got != tt.want || tt.want == 0 && (got < s.holes.base-1<<20 || got >= s.holes.base) {
			t.Errorf("hint %#x: %#x, want %#x", tt.hint, got, tt.want)
		}
		if err := s.Munmap(got, 2*pageSize); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLow maps below 2 GiB until that is full.
func TestLow(t *testing.T) {
	mem := newMemory(t)
	s, _ := newTestSpace(t, mem)
	low := func(hint hostarch.Addr, length uint64) (hostarch.Addr, error) {
		return s.Mmap(MmapOptions{Addr: hint, Length: length, Low: true, MaxProt: hostarch.AnyAccess})
	}
	const half = 1 << 29
	mapAt(t, s, lowStart+half, 1, MmapOptions{GrowsDown: true})
	for _, tt := range []struct {
		hint   hostarch.Addr
		length uint64
		want   hostarch.Addr // 0: ENOMEM
	}{
		{0, pageSize, lowStart},
		{0, pageSize, lowStart + pageSize},
		{1 << 40, pageSize, lowStart + 2*pageSize},
		{lowStart, pageSize, lowStart + 3*pageSize},
		{0x20000000, pageSize, 0x20000000},
		{lowEnd - pageSize, 2 * pageSize, lowStart + 4*pageSize},
		{0, half - stackGuard - 6*pageSize, lowStart + 6*pageSize}, // up to the stack's gap
		{0, pageSize, lowStart + half + pageSize},
		{0, half, 0},
		{0, half - 2*pageSize, lowStart + half + 2*pageSize},
		{0, pageSize, 0},
		{0, 1 << 32, 0},
		{0, 1 << 45, 0},
	} {
		got, err := low(tt.hint, tt.length)
		if got != tt.want || (err == unix.ENOMEM) != (tt.want == 0) {
			t.Errorf("%d pages, hint %#x: %#x, %v; want %#x", tt.length/pageSize, tt.hint, got, err, tt.want)
		}
	}
}
