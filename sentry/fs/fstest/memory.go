// Package fstest is for testing file systems: memory to keep their contents in,
// and a comparison of what the sentry's path calls answer with what the host's
// kernel does for the same random sequence of calls.
package fstest

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/mm/memfile"
)

const pageSize = 4096

// Memory is an extent.Memory that counts references on every page and panics
// where they are wrong.
type Memory struct {
	mu    sync.Mutex
	bytes []byte
	refs  []int32
	next  uint64
}

// NewMemory makes memory of so many bytes, and fails the test in the end if
// references are left and check is set.
func NewMemory(tb testing.TB, size uint64, check bool) *Memory {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		tb.Fatal(err)
	}
	m := &Memory{bytes: b, refs: make([]int32, size/pageSize)}
	tb.Cleanup(func() {
		if n := m.InUse(); check && n != 0 {
			tb.Errorf("%d pages are still referenced", n)
		}
		_ = unix.Munmap(b)
	})
	return m
}

// InUse returns how many pages are referenced.
func (m *Memory) InUse() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.refs {
		if r != 0 {
			n++
		}
	}
	return n
}

// Allocate implements extent.Memory. The first fit after the last place.
func (m *Memory) Allocate(length uint64) (memfile.Range, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := length / pageSize
	if length%pageSize != 0 || n == 0 {
		panic("fstest: Allocate: not pages")
	}
	total := uint64(len(m.refs))
	for _, start := range [2]uint64{m.next, 0} {
		run := uint64(0)
		for p := start; p < total; p++ {
			if m.refs[p] != 0 {
				run = 0
				continue
			}
			if run++; run == n {
				first := p + 1 - n
				for i := first; i <= p; i++ {
					m.refs[i] = 1
				}
				m.next = p + 1
				r := memfile.Range{Start: first * pageSize, End: (p + 1) * pageSize}
				clear(m.bytes[r.Start:r.End])
				return r, nil
			}
		}
	}
	return memfile.Range{}, unix.ENOMEM
}

func (m *Memory) add(r memfile.Range, by int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := r.Start / pageSize; p < r.End/pageSize; p++ {
		if m.refs[p] <= 0 {
			panic("fstest: reference to a free page")
		}
		m.refs[p] += by
	}
}

// IncRef implements extent.Memory.
func (m *Memory) IncRef(r memfile.Range) { m.add(r, 1) }

// DecRef implements extent.Memory.
func (m *Memory) DecRef(r memfile.Range) { m.add(r, -1) }

// Bytes implements extent.Memory.
func (m *Memory) Bytes(r memfile.Range) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs[r.Start/pageSize] <= 0 {
		panic("fstest: Bytes of a free page")
	}
	return m.bytes[r.Start:r.End]
}
