package mm

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// anonPager is shared anonymous memory: one range, allocated whole, which
// costs what is touched of it.
type anonPager struct {
	file *memfile.File

	mu   sync.Mutex
	refs int
	r    memfile.Range
}

func newAnonPager(f *memfile.File, length uint64) (*anonPager, error) {
	r, err := f.Allocate(length, memfile.Options{})
	if err != nil {
		return nil, err
	}
	return &anonPager{file: f, refs: 1, r: r}, nil
}

func (p *anonPager) decRef() {
	p.mu.Lock()
	p.refs--
	last := p.refs == 0
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
func (p *anonPager) AddMapping(memfile.Invalidator, hostarch.Addr, uint64, uint64, bool) error {
	p.mu.Lock()
	p.refs++
	p.mu.Unlock()
	return nil
}

// RemoveMapping implements memfile.Pager.
func (p *anonPager) RemoveMapping(memfile.Invalidator, hostarch.Addr, uint64, uint64, bool) {
	p.decRef()
}
