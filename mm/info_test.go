package mm

import (
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// noGuest is a Mapper without a guest side.
type noGuest struct{}

func (noGuest) Map(hostarch.Addr, uint64, uint64, hostarch.AccessType) {}
func (noGuest) Unmap(hostarch.Addr, uint64)                            {}
func (noGuest) Protect(hostarch.Addr, uint64, hostarch.AccessType)     {}
func (noGuest) AfterFlush(fn func())                                   { fn() }
func (noGuest) Release()                                               {}

func infoSpace(t *testing.T) *Space {
	f, err := memfile.New(memfile.Config{Size: 1 << 30, Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	s := NewSpace(Config{File: f, Mapper: noGuest{}, Min: 1 << 16, Max: 1 << 47})
	t.Cleanup(s.DecUsers)
	return s
}

func mapAt(t *testing.T, s *Space, at hostarch.Addr, pages uint64, o MmapOptions) {
	t.Helper()
	o.Addr, o.Length, o.Fixed = at, pages*pageSize, true
	if o.Prot == (hostarch.AccessType{}) {
		o.Prot = hostarch.ReadWrite
	}
	o.MaxProt = hostarch.AnyAccess
	if _, err := s.Mmap(o); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, s *Space, at hostarch.Addr, pages int) {
	t.Helper()
	for i := range pages {
		if _, err := s.CopyOut(at+hostarch.Addr(i*pageSize), []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAreasFrom(t *testing.T) {
	s := infoSpace(t)
	for i := range hostarch.Addr(5) {
		mapAt(t, s, 0x100000+i*0x10000, 2, MmapOptions{Shared: i == 3})
	}
	for _, tt := range []struct {
		addr  hostarch.Addr
		n     int
		first hostarch.Addr
		want  int
	}{
		{0, 9, 0x100000, 5},
		{0, 2, 0x100000, 2},
		{0x100000, 9, 0x100000, 5},
		{0x101fff, 9, 0x100000, 5}, // inside
		{0x102000, 9, 0x110000, 4}, // just behind
		{0x140000, 9, 0x140000, 1},
		{0x142000, 9, 0, 0},
	} {
		got := s.AreasFrom(tt.addr, tt.n)
		if len(got) != tt.want || len(got) > 0 && got[0].Start != tt.first {
			t.Errorf("AreasFrom(%#x, %d) = %v, want %d from %#x", tt.addr, tt.n, got, tt.want, tt.first)
		}
	}
	if !s.Areas()[3].Shared || s.Areas()[2].Shared {
		t.Error("the fourth area alone is shared")
	}
}

func privateDirty(pages uint64) Pages {
	n := pages * pageSize
	return Pages{Anonymous: n, PartAnonymous: n, PartDirty: n, PrivateDirty: n}
}

func TestPages(t *testing.T) {
	s := infoSpace(t)
	const at = 0x100000
	mapAt(t, s, at, 8, MmapOptions{})
	mapAt(t, s, 0x200000, 4, MmapOptions{Shared: true})
	if p := s.Pages(0, 1<<47); p != (Pages{}) {
		t.Errorf("nothing is touched, but %+v", p)
	}
	touch(t, s, at, 4)
	touch(t, s, 0x200000, 2)
	if p, want := s.Pages(at, at+8*pageSize), privateDirty(4); p != want {
		t.Errorf("private memory: %+v, want %+v", p, want)
	}
	if p, want := s.Pages(at+pageSize, at+3*pageSize), privateDirty(2); p != want {
		t.Errorf("the middle of it: %+v, want %+v", p, want)
	}
	if p, want := s.Pages(0x200000, 0x204000), (Pages{Shmem: 2 * pageSize, PartShmem: 2 * pageSize, PartDirty: 2 * pageSize, PrivateDirty: 2 * pageSize}); p != want {
		t.Errorf("shared memory: %+v, want %+v", p, want)
	}
	if n := s.Resident(); n != 6*pageSize {
		t.Errorf("%d bytes are resident, want 6 pages", n)
	}

	c, err := s.Fork(ForkOptions{Mapper: noGuest{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.DecUsers()
	p := s.Pages(at, at+8*pageSize)
	if p.Anonymous != 4*pageSize || p.SharedDirty+p.PrivateDirty != 4*pageSize || p.SharedDirty == 0 {
		t.Errorf("after fork: %+v, want shared pages", p)
	}
	if p.Part() != p.PrivateDirty+p.SharedDirty/2 {
		t.Errorf("after fork: a part of %d of %+v", p.Part(), p)
	}
}

func TestSizes(t *testing.T) {
	s := infoSpace(t)
	mapAt(t, s, 0x100000, 3, MmapOptions{})
	mapAt(t, s, 0x200000, 5, MmapOptions{Prot: hostarch.ReadExecute, Shared: true})
	mapAt(t, s, 0x800000, 7, MmapOptions{GrowsDown: true})
	want := Sizes{Virtual: 15 * pageSize, Peak: 15 * pageSize, Data: 3 * pageSize, Text: 5 * pageSize, Stack: 7 * pageSize}
	if z := s.Sizes(); z != want {
		t.Errorf("%+v, want %+v", z, want)
	}
	if err := s.Munmap(0x200000, 5*pageSize); err != nil {
		t.Fatal(err)
	}
	want.Virtual, want.Text = 10*pageSize, 0
	if z := s.Sizes(); z != want {
		t.Errorf("after munmap: %+v, want %+v", z, want)
	}
	mapAt(t, s, 0x400000, 6, MmapOptions{Locked: true})
	z := s.Sizes()
	if z.Locked != 6*pageSize || z.Peak != 16*pageSize {
		t.Errorf("%+v, want 6 pages locked and a peak of 16", z)
	}
}
