// Package extent keeps track of which parts of a file are where in the memory
// file, and of who maps them. tmpfs and the page cache of host files are built
// on it.
package extent

import (
	"slices"
	"sort"
	"sync"

	"runsc-lite/mm/memfile"
)

// Memory is what file systems need of the memory file.
type Memory interface {
	// Allocate returns zeroed memory with one reference on every page:
	// ENOMEM.
	Allocate(length uint64) (memfile.Range, error)
	IncRef(memfile.Range)
	DecRef(memfile.Range)
	// Bytes is a view of a range, good as long as the caller holds a
	// reference on it.
	Bytes(memfile.Range) []byte
}

// Map says where the parts of a file are. What it does not know is a hole.
// Offsets and lengths are multiples of the page size. It does no locking and
// holds no references: that is its owner's business.
type Map struct {
	segs []segment // by off; not overlapping; neighbours merged where they can be
}

type segment struct {
	off uint64
	r   memfile.Range
}

func (s segment) end() uint64 { return s.off + s.r.Length() }

// find returns the index of the first segment that ends after off.
func (m *Map) find(off uint64) int {
	return sort.Search(len(m.segs), func(i int) bool { return m.segs[i].end() > off })
}

// At looks at off. In data it returns the memory from there on, at most max
// bytes, and true; in a hole the hole's length from there on, at most max, and
// false.
func (m *Map) At(off, max uint64) (r memfile.Range, hole uint64, data bool) {
	i := m.find(off)
	if i == len(m.segs) {
		return memfile.Range{}, max, false
	}
	s := m.segs[i]
	if off < s.off {
		return memfile.Range{}, min(max, s.off-off), false
	}
	r = memfile.Range{Start: s.r.Start + (off - s.off), End: s.r.End}
	if r.Length() > max {
		r.End = r.Start + max
	}
	return r, 0, true
}

// Insert fills a hole.
func (m *Map) Insert(off uint64, r memfile.Range) {
	i := m.find(off)
	if i > 0 {
		if p := &m.segs[i-1]; p.end() == off && p.r.End == r.Start {
			p.r.End = r.End
			if i < len(m.segs) && m.segs[i].off == p.end() && m.segs[i].r.Start == p.r.End {
				p.r.End = m.segs[i].r.End
				m.segs = slices.Delete(m.segs, i, i+1)
			}
			return
		}
	}
	if i < len(m.segs) {
		if n := &m.segs[i]; n.off == off+r.Length() && n.r.Start == r.End {
			n.off, n.r.Start = off, r.Start
			return
		}
	}
	m.segs = slices.Insert(m.segs, i, segment{off, r})
}

// Cut makes [start, end) a hole and appends what was there to out.
func (m *Map) Cut(start, end uint64, out []memfile.Range) []memfile.Range {
	i := m.find(start)
	if i == len(m.segs) || m.segs[i].off >= end {
		return out
	}
	var keep [2]segment
	n := 0
	j := i
	for ; j < len(m.segs) && m.segs[j].off < end; j++ {
		s := m.segs[j]
		lo, hi := max(s.off, start), min(s.end(), end)
		out = append(out, memfile.Range{Start: s.r.Start + (lo - s.off), End: s.r.Start + (hi - s.off)})
		if s.off < lo {
			keep[n] = segment{s.off, memfile.Range{Start: s.r.Start, End: s.r.Start + (lo - s.off)}}
			n++
		}
		if s.end() > hi {
			keep[n] = segment{hi, memfile.Range{Start: s.r.Start + (hi - s.off), End: s.r.End}}
			n++
		}
	}
	m.segs = slices.Replace(m.segs, i, j, keep[:n]...)
	return out
}

// NextData returns the first offset from off on that is in data.
func (m *Map) NextData(off uint64) (uint64, bool) {
	i := m.find(off)
	if i == len(m.segs) {
		return 0, false
	}
	return max(off, m.segs[i].off), true
}

// NextHole returns the first offset from off on that is in a hole.
func (m *Map) NextHole(off uint64) uint64 {
	for i := m.find(off); i < len(m.segs) && m.segs[i].off <= off; i++ {
		off = m.segs[i].end()
	}
	return off
}

// Empty reports whether m knows of no data.
func (m *Map) Empty() bool { return len(m.segs) == 0 }

// Mappings remembers who maps a file, for memfile.Pager.
//
// Lock order: an address space calls Add and Remove under its own lock, so
// Invalidate calls it without Mappings.mu (and its caller without any lock that
// Pager.Page takes).
type Mappings struct {
	mu       sync.Mutex
	mapped   map[memfile.Invalidator]uint64 // how many bytes
	writable uint64                         // bytes of all of them
}

// Add is memfile.Pager's AddMapping.
func (l *Mappings) Add(space memfile.Invalidator, length uint64, writable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mapped == nil {
		l.mapped = make(map[memfile.Invalidator]uint64)
	}
	l.mapped[space] += length
	if writable {
		l.writable += length
	}
}

// Remove is memfile.Pager's RemoveMapping.
func (l *Mappings) Remove(space memfile.Invalidator, length uint64, writable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mapped[space] -= length; l.mapped[space] == 0 {
		delete(l.mapped, space)
	}
	if writable {
		l.writable -= length
	}
}

// Writable reports whether anybody maps the file shared and writable.
func (l *Mappings) Writable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writable > 0
}

// Invalidate takes [start, end) of the file p back from all who map it.
func (l *Mappings) Invalidate(p memfile.Pager, start, end uint64, private bool) {
	var done map[memfile.Invalidator]bool
	for {
		var next []memfile.Invalidator
		l.mu.Lock()
		for s := range l.mapped {
			if !done[s] {
				next = append(next, s)
			}
		}
		l.mu.Unlock()
		if len(next) == 0 {
			return
		}
		if done == nil {
			done = make(map[memfile.Invalidator]bool)
		}
		for _, s := range next {
			s.Invalidate(p, start, end-start, private)
			done[s] = true
		}
		// A space that was forked meanwhile may have got pages that its parent
		// had still.
	}
}
