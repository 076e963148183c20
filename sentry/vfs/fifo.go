package vfs

import (
	"sync"
	"sync/atomic"
)

// fifoTable finds the pipe behind a FIFO's inode while somebody has it open.
type fifoTable struct {
	mu sync.Mutex
	m  map[Inode]*openFIFO
}

type openFIFO struct {
	fifo  FIFO
	files int // under fifoTable.mu
}

// open opens the pipe behind i.
func (t *fifoTable) open(i Inode, flags uint32, make func() FIFO) (FileOps, *fifoRef, error) {
	t.mu.Lock()
	f := t.m[i]
	if f == nil {
		f = &openFIFO{fifo: make()}
		if t.m == nil {
			t.m = map[Inode]*openFIFO{}
		}
		t.m[i] = f
	}
	f.files++
	t.mu.Unlock()
	ref := &fifoRef{t: t, i: i, f: f}
	ops, err := f.fifo.Open(flags)
	if err != nil {
		ref.drop()
		return nil, nil, err
	}
	return ops, ref, nil
}

// fifoRef is one File's share of an openFIFO.
type fifoRef struct {
	t       *fifoTable
	i       Inode
	f       *openFIFO
	dropped atomic.Bool
}

func (r *fifoRef) drop() {
	if r.dropped.Swap(true) {
		return
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.f.files--
	if r.f.files == 0 && r.t.m[r.i] == r.f {
		delete(r.t.m, r.i)
	}
}
