package procmgr

// heap is a binary heap whose elements know where they are in it.
type heap[T any, O order[T]] struct {
	items []*T // the first is the least
}

// order says how the elements of a heap are ordered, and where they keep their place.
// It is a type without content.
type order[T any] interface {
	less(a, b *T) bool
	index(*T) *int
}

// first returns the least element, nil if there is none.
func (h *heap[T, O]) first() *T {
	if len(h.items) == 0 {
		return nil
	}
	return h.items[0]
}

func (h *heap[T, O]) add(e *T) {
	h.items = append(h.items, e)
	h.up(len(h.items)-1, e)
}

func (h *heap[T, O]) remove(e *T) {
	var o O
	i, n := *o.index(e), len(h.items)-1
	moved := h.items[n]
	h.items[n] = nil
	h.items = h.items[:n]
	if n == 0 && cap(h.items) > 64 {
		h.items = nil // what once was long does not keep the memory
	}
	if i < n {
		h.down(h.up(i, moved), moved)
	}
}

// up moves e, which belongs at i or nearer to the front, to its place.
func (h *heap[T, O]) up(i int, e *T) int {
	var o O
	for i > 0 {
		above := (i - 1) / 2
		if !o.less(e, h.items[above]) {
			break
		}
		h.set(i, h.items[above])
		i = above
	}
	h.set(i, e)
	return i
}

func (h *heap[T, O]) down(i int, e *T) {
	var o O
	for {
		below := 2*i + 1
		if below >= len(h.items) {
			break
		}
		if below+1 < len(h.items) && o.less(h.items[below+1], h.items[below]) {
			below++
		}
		if !o.less(h.items[below], e) {
			break
		}
		h.set(i, h.items[below])
		i = below
	}
	h.set(i, e)
}

func (h *heap[T, O]) set(i int, e *T) {
	var o O
	h.items[i] = e
	*o.index(e) = i
}
