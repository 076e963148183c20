package mm

import (
	"math"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// Area is what /proc/PID/maps and smaps say of a mapping, but for its pages.
type Area struct {
	Start, End    hostarch.Addr
	Prot, MaxProt hostarch.AccessType
	Shared        bool
	GrowsDown     bool
	Locked        bool
	NoFork        bool
	WipeOnFork    bool
	Offset        uint64 // in the file
	Dev, Ino      uint64 // 0: no file
	Name          string
}

// Areas returns all mappings by address.
func (s *Space) Areas() []Area { return s.AreasFrom(0, math.MaxInt) }

// AreasFrom returns mappings by address, at most n of them: those that end above
// addr.
func (s *Space) AreasFrom(addr hostarch.Addr, n int) []Area {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Area, 0, min(n, s.areas.len()))
	if a := s.next(addr); a != nil {
		s.areas.from(a.start, s.cfg.Max, func(a *area) bool {
			out = append(out, a.describe())
			return len(out) < n
		})
	}
	return out
}

func (a *area) describe() Area {
	x := Area{
		Start: a.start, End: a.end, Prot: a.prot, MaxProt: a.maxProt, Shared: a.shared, GrowsDown: a.growsDown,
		Locked: a.locked != notLocked, NoFork: a.noFork, WipeOnFork: a.wipeOnFork, Name: a.name,
	}
	if a.file != nil {
		x.Offset = a.off
		x.Dev, x.Ino = a.file.DeviceInode()
		x.Name = a.file.MappedName()
	}
	return x
}

// Pages counts what is in memory of a range, in bytes. Shared means that somebody
// else maps the page as well. Dirty is what could not be had again from a file.
type Pages struct {
	Anonymous uint64 // private copies and anonymous memory
	File      uint64 // pages of files
	Shmem     uint64 // pages of shared anonymous memory

	SharedClean, SharedDirty   uint64
	PrivateClean, PrivateDirty uint64

	// The same, each page divided by how often it is mapped (Linux's pss).
	PartAnonymous, PartFile, PartShmem, PartDirty uint64
}

// Resident is all of it.
func (p *Pages) Resident() uint64 { return p.Anonymous + p.File + p.Shmem }

// Part is the process's share of it.
func (p *Pages) Part() uint64 { return p.PartAnonymous + p.PartFile + p.PartShmem }

// Add adds o's figures.
func (p *Pages) Add(o *Pages) {
	p.Anonymous += o.Anonymous
	p.File += o.File
	p.Shmem += o.Shmem
	p.SharedClean += o.SharedClean
	p.SharedDirty += o.SharedDirty
	p.PrivateClean += o.PrivateClean
	p.PrivateDirty += o.PrivateDirty
	p.PartAnonymous += o.PartAnonymous
	p.PartFile += o.PartFile
	p.PartShmem += o.PartShmem
	p.PartDirty += o.PartDirty
}

// Pages counts the pages of [start, end). It asks the host about each extent.
func (s *Space) Pages(start, end hostarch.Addr) (p Pages) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.eachArea(start, end, func(a *area) bool {
		s.eachExtent(max(a.start, start), min(a.end, end), func(e *extent) {
			s.count(&p, a, e, e.rangeOf(max(e.start, start), min(e.end, end)))
		})
		return true
	})
	return p
}

// count adds the pages of r, a part of e.
func (s *Space) count(p *Pages, a *area, e *extent, r memfile.Range) {
	for r.Start < r.End {
		n, refs := s.cfg.File.Refs(r)
		if n == 0 {
			return
		}
		in := s.cfg.File.Resident(memfile.Range{Start: r.Start, End: r.Start + n}, nil)
		r.Start += n
		dirty := true
		kind, part := &p.Anonymous, &p.PartAnonymous
		if !e.owned && a.pager != nil {
			refs-- // the pager's own
			kind, part = &p.Shmem, &p.PartShmem
			if a.file != nil {
				kind, part = &p.File, &p.PartFile
				dirty = a.shared && e.given.Write
			}
		}
		share := in / uint64(max(refs, 1))
		*kind += in
		*part += share
		if dirty {
			p.PartDirty += share
		}
		switch {
		case refs > 1 && dirty:
			p.SharedDirty += in
		case refs > 1:
			p.SharedClean += in
		case dirty:
			p.PrivateDirty += in
		default:
			p.PrivateClean += in
		}
	}
}

// Layout is where a program lies in a Space: what Linux's mm_struct keeps of it for
// /proc. Code and data are those of the program itself, not of its libraries.
type Layout struct {
	StartCode, EndCode hostarch.Addr
	StartData, EndData hostarch.Addr
	StackStart         hostarch.Addr      // the first stack pointer
	Args, Env          hostarch.AddrRange // the strings
	Auxv               []byte             // the auxiliary vector
}

// Sizes are sums over a Space's areas, in bytes.
type Sizes struct {
	Virtual uint64 // all areas
	Peak    uint64 // the most that Virtual was
	Data    uint64 // private and writable, without the stack (Linux's data_vm)
	Stack   uint64 // stack_vm
	Text    uint64 // executable and not writable (exec_vm)
	Locked  uint64
}

// Sizes returns the sums.
func (s *Space) Sizes() Sizes {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z := Sizes{Virtual: s.virtual, Peak: max(s.peak, s.virtual), Locked: s.locked}
	s.areas.all(func(a *area) bool {
		switch {
		case a.growsDown:
			z.Stack += a.length()
		case a.prot.Write && !a.shared:
			z.Data += a.length()
		case a.prot.Execute && !a.prot.Write:
			z.Text += a.length()
		}
		return true
	})
	return z
}

// Resident returns how many bytes of the Space are in memory.
func (s *Space) Resident() (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.extents.all(func(e *extent) bool {
		n += s.cfg.File.Resident(e.all(), nil)
		return true
	})
	return n
}

// Faults returns how many page faults were taken.
func (s *Space) Faults() uint64 { return s.faults.Load() }

// BrkRange returns the heap.
func (s *Space) BrkRange() hostarch.AddrRange {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return hostarch.AddrRange{Start: s.brkStart, End: s.brkEnd}
}

// FutexKey names the word at addr for futexes: threads that use the same word
// get the same key (get_futex_key). private says that only this Space uses it
// (FUTEX_PRIVATE_FLAG). object is comparable. EINVAL unless addr is a multiple of
// 4; EFAULT if nothing is there.
func (s *Space) FutexKey(addr hostarch.Addr, private bool) (object any, offset uint64, err error) {
	if addr&3 != 0 {
		return nil, 0, unix.EINVAL
	}
	if private {
		if addr >= s.cfg.Max {
			return nil, 0, unix.EFAULT
		}
		return s, uint64(addr), nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.find(addr)
	if a == nil || !a.prot.Any() {
		return nil, 0, unix.EFAULT
	}
	if a.shared {
		return a.pager, a.offsetOf(addr), nil
	}
	return s, uint64(addr), nil
}
