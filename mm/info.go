package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Area is what /proc/PID/maps and smaps say of a mapping.
type Area struct {
	Start, End hostarch.Addr
	Prot       hostarch.AccessType
	Shared     bool
	Offset     uint64 // in the file
	Dev, Ino   uint64 // 0: no file
	Name       string
	Resident   uint64 // bytes in memory
	Owned      uint64 // bytes of them that are this Space's own copies
	Locked     bool
	GrowsDown  bool
}

// Areas returns all mappings by address.
func (s *Space) Areas() []Area {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Area, 0, s.areas.Len())
	s.areas.Ascend(func(a *area) bool {
		x := Area{Start: a.start, End: a.end, Prot: a.prot, Shared: a.shared, Name: a.name, Locked: a.locked, GrowsDown: a.growsDown}
		if a.file != nil {
			x.Offset = a.off
			x.Dev, x.Ino = a.file.DeviceInode()
			x.Name = a.file.MappedName()
		}
		s.ascendExtents(a.start, a.end, func(e *extent) {
			lo, hi := max(e.start, a.start), min(e.end, a.end)
			n := s.cfg.File.Resident(e.rangeOf(lo, hi), nil)
			x.Resident += n
			if e.owned {
				x.Owned += n
			}
		})
		out = append(out, x)
		return true
	})
	return out
}

// Stats are sums over a Space, in bytes.
type Stats struct {
	Virtual  uint64 // all areas
	Data     uint64 // private and writable, without the stack
	Stack    uint64
	Text     uint64 // executable
	Resident uint64
	Shared   uint64 // resident pages of files and shared memory
	Locked   uint64
	Faults   uint64 // page faults so far
}

// Stats returns the sums.
func (s *Space) Stats() Stats {
	st := Stats{Faults: s.faults.Load()}
	for _, a := range s.Areas() {
		n := uint64(a.End - a.Start)
		st.Virtual += n
		switch {
		case a.GrowsDown:
			st.Stack += n
		case a.Prot.Write && !a.Shared:
			st.Data += n
		case a.Prot.Execute:
			st.Text += n
		}
		st.Resident += a.Resident
		st.Shared += a.Resident - a.Owned
		if a.Locked {
			st.Locked += n
		}
	}
	return st
}

// Resident returns how many bytes of the Space's own are in memory.
func (s *Space) Resident() (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.extents.Ascend(func(e *extent) bool {
		n += s.cfg.File.Resident(e.rangeOf(e.start, e.end), nil)
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
