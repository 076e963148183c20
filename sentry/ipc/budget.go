package ipc

import "sync/atomic"

// Budget bounds what the objects of a sort take of the sentry's own memory, in all
// ipc namespaces together: the limits of Linux are each namespace's own.
type Budget struct{ left atomic.Int64 }

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := new(Budget)
	b.left.Store(bytes)
	return b
}

// Take uses up n bytes, if there are so many left.
func (b *Budget) Take(n int) bool {
	if b.left.Add(-int64(n)) < 0 {
		b.left.Add(int64(n))
		return false
	}
	return true
}

// Give gives n bytes back.
func (b *Budget) Give(n int) { b.left.Add(int64(n)) }
