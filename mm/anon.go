package mm

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/mm/memfile"
)

// anonPager is shared anonymous memory: one range, allocated whole, which
// costs what is touched of it.
type anonPager struct {
	file *memfile.File
	r    memfile.Range

	mu   sync.Mutex
	held uint64 // pages that are mapped, counted for each mapping; and holds
}

// newAnonPager makes an anonPager with one hold.
func newAnonPager(f *memfile.File, length uint64) (*anonPager, error) {
	r, err := f.Allocate(length, memfile.Options{Sparse: true})
	if err != nil {
		return nil, err
	}
	return &anonPager{file: f, r: r, held: 1}, nil
}

func (p *anonPager) hold() { p.add(1) }

func (p *anonPager) release() { p.drop(1) }

func (p *anonPager) add(n uint64) {
	p.mu.Lock()
	p.held += n
	p.mu.Unlock()
}

func (p *anonPager) drop(n uint64) {
	p.mu.Lock()
	p.held -= n
	last := p.held == 0
	p.mu.Unlock()
	if last {
		p.file.DecRef(p.r)
	}
}

// Page implements memfile.Pager.
func (p *anonPager) Page(off, max uint64, write bool) (memfile.Range, error) {
	if off >= p.r.Length() {
		return memfile.Range{}, unix.ENXIO
	}
	r := memfile.Range{Start: p.r.Start + off, End: p.r.Start + off + min(max, p.r.Length()-off)}
	p.file.IncRef(r)
	return r, nil
}

// AddMapping implements memfile.Pager.
func (p *anonPager) AddMapping(_ memfile.Invalidator, length uint64, _ bool) error {
	p.add(length / pageSize)
	return nil
}

// RemoveMapping implements memfile.Pager.
func (p *anonPager) RemoveMapping(_ memfile.Invalidator, length uint64, _ bool) {
	p.drop(length / pageSize)
}

// Punch implements Puncher. The caller has a mapping, or a hold.
func (p *anonPager) Punch(off, length uint64) error {
	if off < p.r.Length() {
		start := p.r.Start + off
		p.file.Zero(memfile.Range{Start: start, End: start + min(length, p.r.Length()-off)})
	}
	return nil
}
