package memfile

import "github.com/google/btree"

// freeSet is a set of disjoint ranges, found by place and by length.
type freeSet struct {
	byStart *btree.BTreeG[Range]
	byLen   *btree.BTreeG[Range]
}

func (s *freeSet) init() {
	s.byStart = btree.NewG(32, func(a, b Range) bool { return a.Start < b.Start })
	s.byLen = btree.NewG(32, func(a, b Range) bool {
		if a.Length() != b.Length() {
			return a.Length() < b.Length()
		}
		return a.Start < b.Start
	})
}

func (s *freeSet) insert(r Range) {
	s.byStart.ReplaceOrInsert(r)
	s.byLen.ReplaceOrInsert(r)
}

func (s *freeSet) remove(r Range) {
	s.byStart.Delete(r)
	s.byLen.Delete(r)
}

// add puts r in, joined with its neighbours.
func (s *freeSet) add(r Range) {
	s.byStart.DescendLessOrEqual(r, func(x Range) bool {
		if x.End == r.Start {
			s.remove(x)
			r.Start = x.Start
		}
		return false
	})
	if x, ok := s.byStart.Get(Range{Start: r.End}); ok {
		s.remove(x)
		r.End = x.End
	}
	s.insert(r)
}

// take cuts a range of the length out of the shortest that fits. Long ones
// begin at a multiple of 2 MiB where the fit allows it.
func (s *freeSet) take(length uint64) (Range, bool) {
	var found Range
	ok := false
	s.byLen.AscendGreaterOrEqual(Range{0, length}, func(x Range) bool {
		found, ok = x, true
		return false
	})
	if !ok {
		return Range{}, false
	}
	s.remove(found)
	start := found.Start
	if length >= hugeSize {
		if up := (start + hugeSize - 1) &^ (hugeSize - 1); up+length <= found.End {
			start = up
		}
	}
	r := Range{start, start + length}
	if found.Start < r.Start {
		s.insert(Range{found.Start, r.Start})
	}
	if r.End < found.End {
		s.insert(Range{r.End, found.End})
	}
	return r, true
}
