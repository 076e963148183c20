package mm

import (
	"github.com/google/btree"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// set is an ordered set of disjoint ranges, by where they begin. Looking
// something up allocates nothing.
type set[T any] struct{ tree *btree.BTreeG[item[T]] }

type item[T any] struct {
	start hostarch.Addr
	v     *T
}

func newSet[T any]() set[T] {
	return set[T]{btree.NewG(16, func(a, b item[T]) bool { return a.start < b.start })}
}

func (s set[T]) len() int { return s.tree.Len() }

func (s set[T]) put(start hostarch.Addr, v *T) { s.tree.ReplaceOrInsert(item[T]{start, v}) }

func (s set[T]) remove(start hostarch.Addr) { s.tree.Delete(item[T]{start: start}) }

// floor returns the last one that begins at addr or before, nil without any.
func (s set[T]) floor(addr hostarch.Addr) (found *T) {
	s.tree.DescendLessOrEqual(item[T]{start: addr}, func(i item[T]) bool { found = i.v; return false })
	return found
}

// ceil returns the first one that begins at addr or after, nil without any.
func (s set[T]) ceil(addr hostarch.Addr) (found *T) {
	s.tree.AscendGreaterOrEqual(item[T]{start: addr}, func(i item[T]) bool { found = i.v; return false })
	return found
}

// from calls fn for those that begin in [start, end), in order, while fn agrees.
// fn must not change the set.
func (s set[T]) from(start, end hostarch.Addr, fn func(*T) bool) {
	s.tree.AscendRange(item[T]{start: start}, item[T]{start: end}, func(i item[T]) bool { return fn(i.v) })
}

// all calls fn for all, in order, while fn agrees.
func (s set[T]) all(fn func(*T) bool) {
	s.tree.Ascend(func(i item[T]) bool { return fn(i.v) })
}

// down calls fn for those that begin at addr or before, the last one first, while
// fn agrees.
func (s set[T]) down(addr hostarch.Addr, fn func(*T) bool) {
	s.tree.DescendLessOrEqual(item[T]{start: addr}, func(i item[T]) bool { return fn(i.v) })
}

func (s set[T]) clear() { s.tree.Clear(false) }
