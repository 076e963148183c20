package mm

import (
	"slices"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

const (
	// maxHot is how many recently copied blocks a Space remembers.
	maxHot = 4
	// Pages around the stack pointer that a fork copies at once.
	stackBelow, stackAbove = pageSize, 3 * pageSize
)

// Fork makes a Space with the same content for m, copied on write (dup_mmap).
// limits are the new process's.
// What the parent and its other threads may write until now becomes read-only
// on the guest side: with more than one Context the caller flushes the parent
// before the child runs.
//
// Some pages are copied here and now, because they are surely written to right
// after the fork, and a fault costs more than the copy: those around hint, the
// parent's stack pointer, and the blocks that were copied on write lately (a
// shell that forks again and again writes to the same ones every time).
//
// ENOMEM: no memory for that, or a file refuses another mapping.
func (s *Space) Fork(m Mapper, hint hostarch.Addr, limits Limits) (*Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := NewSpace(Config{File: s.cfg.File, Mapper: m, Min: s.cfg.Min, Max: s.cfg.Max, Limits: limits})
	c.base, c.brkStart, c.brkEnd = s.base, s.brkStart, s.brkEnd
	c.hot = s.hot
	s.last.Store(nil)

	for _, b := range s.eager(hint) {
		s.splitOwned(b.Start)
		s.splitOwned(b.End)
	}
	f := forker{parent: s, child: c, eager: s.eager(hint)}
	var failed error
	s.areas.Ascend(func(a *area) bool {
		if a.noFork {
			return true
		}
		failed = f.area(a)
		return failed == nil
	})
	f.flush()
	if failed != nil {
		c.users.Store(0)
		c.release()
		return nil, failed
	}
	c.virtual, c.peak = s.virtual, s.virtual
	return c, nil
}

// eager returns the ranges to copy at once, in order, disjoint.
func (s *Space) eager(hint hostarch.Addr) []hostarch.AddrRange {
	var buf [maxHot + 1]hostarch.AddrRange
	out := buf[:0]
	if page := hint &^ pageMask; page > s.cfg.Min+stackBelow && page < s.cfg.Max-stackAbove {
		out = append(out, hostarch.AddrRange{Start: page - stackBelow, End: page + stackAbove})
	}
	for _, b := range s.hot {
		if b != 0 {
			out = append(out, hostarch.AddrRange{Start: b, End: b + copyBlock})
		}
	}
	slices.SortFunc(out, func(a, b hostarch.AddrRange) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	n := 0
	for _, r := range out {
		if n > 0 && r.Start < out[n-1].End {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out[n] = r
		n++
	}
	return slices.Clone(out[:n])
}

// heat remembers a block that was copied on write.
func (s *Space) heat(block hostarch.Addr) {
	if slices.Contains(s.hot[:], block) {
		return
	}
	copy(s.hot[1:], s.hot[:])
	s.hot[0] = block
}

// splitOwned makes an extent boundary at addr if that is in private memory.
func (s *Space) splitOwned(addr hostarch.Addr) {
	if e := s.extentAt(addr); e != nil && e.owned && e.given.Write {
		s.splitExtent(addr)
	}
}

// forker carries neighbouring extents over in few steps.
type forker struct {
	parent, child *Space
	eager         []hostarch.AddrRange

	refs      memfile.Range      // to be referenced once more
	protected hostarch.AddrRange // to lose write access in the parent
	at        hostarch.AccessType
	mapped    extent // to be mapped in the child
}

func (f *forker) area(a *area) error {
	n := *a
	n.locked = false
	if n.pager != nil {
		if err := n.pager.AddMapping(f.child, n.start, n.length(), n.off, n.shared && n.maxProt.Write); err != nil {
			return err
		}
	}
	if n.file != nil {
		n.file.IncRef()
	}
	f.child.areas.ReplaceOrInsert(&n)
	if a.wipeOnFork {
		return nil
	}
	var failed error
	f.parent.extents.AscendRange(&extent{start: a.start}, &extent{start: a.end}, func(e *extent) bool {
		failed = f.extent(a, e)
		return failed == nil
	})
	return failed
}

func (f *forker) extent(a *area, e *extent) error {
	n := *e
	switch {
	case a.shared:
	case f.copies(e):
		r, err := f.child.cfg.File.Allocate(uint64(e.end-e.start), memfile.Options{Overwrite: true})
		if err != nil {
			return err
		}
		copy(f.child.cfg.File.Bytes(r), f.child.cfg.File.Bytes(e.rangeOf(e.start, e.end)))
		n.off = r.Start
		f.put(&n)
		return nil
	default:
		if e.given.Write {
			e.given.Write = false
			f.protect(e)
		}
		n.given.Write = false
	}
	f.reference(e.rangeOf(e.start, e.end))
	f.put(&n)
	return nil
}

// copies reports whether e is to be copied now: it is all inside one of the
// eager ranges, and the parent's alone.
func (f *forker) copies(e *extent) bool {
	if !e.owned || !e.given.Write {
		return false
	}
	for len(f.eager) > 0 && f.eager[0].End <= e.start {
		f.eager = f.eager[1:]
	}
	return len(f.eager) > 0 && f.eager[0].Start <= e.start && e.end <= f.eager[0].End
}

func (f *forker) put(n *extent) {
	f.child.extents.ReplaceOrInsert(n)
	if !n.given.Any() {
		return
	}
	if m := &f.mapped; m.end == n.start && m.off+uint64(m.end-m.start) == n.off && m.given == n.given {
		m.end = n.end
		return
	}
	f.flushMap()
	f.mapped = *n
}

func (f *forker) flushMap() {
	if m := f.mapped; m.end > m.start {
		f.child.cfg.Mapper.Map(m.start, uint64(m.end-m.start), m.off, guestAccess(m.given))
	}
	f.mapped = extent{}
}

func (f *forker) protect(e *extent) {
	if f.protected.End != e.start || f.at != e.given {
		f.flushProtect()
		f.protected, f.at = hostarch.AddrRange{Start: e.start, End: e.start}, e.given
	}
	f.protected.End = e.end
}

func (f *forker) flushProtect() {
	if p := f.protected; p.End > p.Start {
		f.parent.cfg.Mapper.Protect(p.Start, uint64(p.Length()), guestAccess(f.at))
	}
	f.protected = hostarch.AddrRange{}
}

func (f *forker) reference(r memfile.Range) {
	if f.refs.End != r.Start {
		f.flushRefs()
		f.refs.Start = r.Start
	}
	f.refs.End = r.End
}

func (f *forker) flushRefs() {
	f.child.cfg.File.IncRef(f.refs)
	f.refs = memfile.Range{}
}

func (f *forker) flush() {
	f.flushRefs()
	f.flushProtect()
	f.flushMap()
}
