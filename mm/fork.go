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

// ForkOptions say how a Space is forked.
type ForkOptions struct {
	Mapper Mapper // the child's guest side
	Limits Limits // the new process's
	// Hint is the forking thread's stack pointer.
	Hint hostarch.Addr
	// Flush brings what was changed on the parent's guest side in force. It is
	// called if not nil, and must be given if other threads may run in the
	// parent. It must not call the Space.
	Flush func() error
}

// Fork makes a Space with the same content, copied on write (dup_mmap).
//
// What the parent and its other threads may write until now becomes read-only
// on the guest side. That must be in force before a page is copied, or else a
// thread could write to the old one still: so Flush is called with the Space
// locked.
//
// Some pages are copied here and now, because they are surely written to right
// after the fork, and a fault costs more than the copy: those around the
// parent's stack pointer, and the blocks that were copied on write lately (a
// shell that forks again and again writes to the same ones every time). And
// those must be copied that are pinned to be written to, so that they stay the
// parent's.
//
// ENOMEM: no memory for that, or a file refuses another mapping. The Mapper is
// released then.
func (s *Space) Fork(o ForkOptions) (*Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Space{cfg: s.cfg, areas: newSet[area](), extents: newSet[extent]()}
	c.cfg.Mapper, c.cfg.Limits = o.Mapper, o.Limits
	c.users.Store(1)
	c.holes.setBase(s.holes.base)
	c.brkStart, c.brkEnd, c.hot, c.changes = s.brkStart, s.brkEnd, s.hot, s.changes
	s.last.Store(nil)

	f := forker{parent: s, child: c, eager: s.eager(o.Hint), pinned: s.pins.written(nil)}
	for _, r := range f.eager {
		s.splitOwned(r.Start)
		s.splitOwned(r.End)
	}
	f.areas = make([]area, 0, s.areas.len())
	f.extents = make([]extent, 0, s.extents.len())
	// Pagers know the child from here on, and may take pages back.
	c.mu.Lock()
	var err error
	s.areas.all(func(a *area) bool {
		if !a.noFork {
			err = f.area(a)
		}
		return err == nil
	})
	f.flush()
	if s.locked > 0 {
		c.mergeAreas(c.cfg.Min, c.cfg.Max) // locks are not inherited
	}
	c.peak = c.virtual
	c.mu.Unlock()
	if err == nil && o.Flush != nil {
		err = o.Flush()
	}
	if err != nil {
		c.users.Store(0)
		c.release()
		return nil, err
	}
	return c, nil
}

// eager returns the ranges to copy at once, in order, disjoint.
func (s *Space) eager(hint hostarch.Addr) []hostarch.AddrRange {
	out := make([]hostarch.AddrRange, 0, maxHot+1)
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
	return out[:n]
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
	pinned        []memfile.Range

	areas   []area   // room for the child's
	extents []extent // likewise

	refs      memfile.Range      // to be referenced once more
	protected hostarch.AddrRange // to lose write access in the parent
	at        hostarch.AccessType
	mapped    extent // to be mapped in the child
}

func (f *forker) area(a *area) error {
	f.areas = append(f.areas, *a)
	n := &f.areas[len(f.areas)-1]
	n.locked = notLocked
	if n.pager != nil {
		if err := n.pager.AddMapping(f.child, n.length(), n.shared && n.maxProt.Write); err != nil {
			return err
		}
	}
	if n.file != nil {
		n.file.IncRef()
	}
	f.child.areas.put(n.start, n)
	f.child.account(n, n.length())
	if a.wipeOnFork {
		return nil
	}
	var err error
	f.parent.extents.from(a.start, a.end, func(e *extent) bool {
		err = f.extent(a, e)
		return err == nil
	})
	return err
}

func (f *forker) extent(a *area, e *extent) error {
	f.extents = append(f.extents, *e)
	n := &f.extents[len(f.extents)-1]
	if !a.shared && e.owned {
		pinned := f.isPinned(e)
		if pinned || f.isEager(e) {
			r, err := f.child.cfg.File.Allocate(uint64(e.end-e.start), memfile.Options{Overwrite: true})
			if err == nil {
				copy(f.child.cfg.File.Bytes(r), f.child.cfg.File.Bytes(e.all()))
				n.off = r.Start
				f.put(n)
				return nil
			}
			if pinned {
				return err
			}
		}
	}
	if !a.shared {
		if e.given.Write {
			f.parent.changes++
			e.given.Write, e.change = false, f.parent.changes
			f.protect(e)
		}
		n.given.Write = false
	}
	f.reference(e.all())
	f.put(n)
	return nil
}

// isPinned reports whether some of e is pinned to be written to. It is the
// parent's alone then.
func (f *forker) isPinned(e *extent) bool {
	r := e.all()
	return slices.ContainsFunc(f.pinned, func(p memfile.Range) bool { return p.Start < r.End && r.Start < p.End })
}

// isEager reports whether e is all inside one of the eager ranges, and the
// parent's alone. It is asked in order.
func (f *forker) isEager(e *extent) bool {
	if !e.given.Write {
		return false
	}
	for len(f.eager) > 0 && f.eager[0].End <= e.start {
		f.eager = f.eager[1:]
	}
	return len(f.eager) > 0 && f.eager[0].Start <= e.start && e.end <= f.eager[0].End
}

func (f *forker) put(n *extent) {
	f.child.extents.put(n.start, n)
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
		f.child.cfg.Mapper.Map(m.start, uint64(m.end-m.start), m.off, m.given)
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
		f.parent.cfg.Mapper.Protect(p.Start, uint64(p.Length()), f.at)
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
