package kvm

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/hostarch"
)

// table is a page of a page table.
type table [512]uint64

func (t *table) load(i int) uint64     { return atomic.LoadUint64(&t[i]) }
func (t *table) store(i int, v uint64) { atomic.StoreUint64(&t[i], v) }

// Bits of an entry. Accessed and dirty are set from the start: nobody asks for
// them, and so the processor never writes to a table.
const (
	pteP     = 1 << 0
	pteW     = 1 << 1
	pteU     = 1 << 2
	pteA     = 1 << 5
	pteD     = 1 << 6
	pteLarge = 1 << 7
	pteNX    = 1 << 63

	// Ours: something is mapped, with access or without. The address of an
	// entry that is not present is inverted, so that no processor reads there
	// ahead of the fault (L1TF).
	pteMapped = 1 << 9
	// Ours: it lies beyond the end of the memory file.
	pteBeyond = 1 << 10

	pteAddr = 0x000ffffffffff000

	pteTable = pteP | pteW | pteU | pteA

	rootLevel = 3
)

// span is how much memory an entry of a table of a level covers, in bytes.
func span(level int) uint64 { return pageSize << (9 * level) }

// pages are the page tables of a space. The space's lock guards them.
type pages struct {
	m    *machine
	root atomic.Uint64 // guest-physical; 0: none yet
}

// change is what an edit has to be followed by.
type change struct {
	// revoked: access was taken away that a processor may have cached.
	revoked bool
	// gained: access was given where there was some before. A processor that
	// does not know yet faults once too often.
	gained bool
	// tables are page tables that are in use no more, root the one above them.
	tables []uint64
	root   uint64
	// backing are the ranges of the memory file that revoked entries mapped.
	// They are kept for hosts with shadows only.
	backing []extent
}

// extent is a range of the memory file.
type extent struct{ off, length uint64 }

// edit is one change of a range. Exactly one of its kinds is set.
type edit struct {
	kind editKind
	at   hostarch.AccessType
	off  uint64 // of what is mapped at the range's beginning
}

type editKind uint8

const (
	editMap editKind = iota
	editUnmap
	editProtect
)

// start makes the root.
func (p *pages) start() error {
	root, err := p.m.newRoot()
	if err != nil {
		return err
	}
	p.root.Store(root)
	return nil
}

// apply edits the range [lo, hi).
func (p *pages) apply(lo, hi uint64, e edit, c *change) error {
	if e.kind == editMap {
		if n := min(e.off+hi-lo, p.m.fileSize); e.off < n {
			if err := p.m.ensure(e.off, n-e.off); err != nil {
				return err
			}
		}
	}
	return p.walk(p.m.table(p.root.Load()), rootLevel, lo, hi, e, c)
}

// walk edits what lies below a table, whose entries cover span(level) each.
func (p *pages) walk(t *table, level int, lo, hi uint64, e edit, c *change) error {
	size := span(level)
	for at := lo; at < hi; {
		i := int(at / size % 512)
		end := min(hi, (at/size+1)*size)
		if err := p.entry(t, i, level, at, end, e, c); err != nil {
			return err
		}
		e.off += end - at
		at = end
	}
	return nil
}

// entry edits the part [lo, hi) of what an entry covers.
func (p *pages) entry(t *table, i, level int, lo, hi uint64, e edit, c *change) error {
	old := t.load(i)
	if level == 0 {
		p.leaf(t, i, 0, old, e, c)
		return nil
	}
	whole := hi-lo == span(level)
	leaf := old&pteMapped != 0 // a large page
	switch {
	case old == 0 && e.kind != editMap:
		return nil
	case whole && leaf && (e.kind != editMap || p.large(level, e)), whole && old == 0 && p.large(level, e):
		p.leaf(t, i, level, old, e, c)
		return nil
	case whole && (e.kind == editUnmap || e.kind == editMap && p.large(level, e)):
		// The table below goes.
		t.store(i, 0)
		p.drop(old&pteAddr, level-1, c)
		c.revoked = true
		if e.kind == editMap {
			p.leaf(t, i, level, 0, e, c)
		}
		return nil
	case leaf:
		below, err := p.split(old, level)
		if err != nil {
			return err
		}
		t.store(i, below|pteTable)
		old = below
	case old == 0:
		below, err := p.m.newPage()
		if err != nil {
			return err
		}
		t.store(i, below|pteTable)
		old = below
	}
	return p.walk(p.m.table(old&pteAddr), level-1, lo, hi, e, c)
}

// large says whether an edit's range, which is all that an entry covers, can be
// one large page. Hosts with shadows have copies of these that cannot be split.
func (p *pages) large(level int, e edit) bool {
	return level == 1 && !p.m.shadows && e.kind == editMap && e.off%span(1) == 0 && e.off+span(1) <= p.m.fileSize
}

// split returns a table that maps what a large page does.
func (p *pages) split(old uint64, level int) (uint64, error) {
	below, err := p.m.newPage()
	if err != nil {
		return 0, err
	}
	t := p.m.table(below)
	off, flags := target(old), old&^(pteAddr|pteLarge)
	for i := range t {
		t.store(i, encode(off+uint64(i)*span(level-1), flags))
	}
	return below, nil
}

// drop takes a table and all below it out of use.
func (p *pages) drop(at uint64, level int, c *change) {
	t := p.m.table(at)
	for i := range t {
		switch old := t.load(i); {
		case old == 0:
		case old&pteMapped != 0:
			p.revoke(old, level, c)
		default:
			p.drop(old&pteAddr, level-1, c)
		}
	}
	c.tables = append(c.tables, at)
}

// leaf edits an entry that maps memory, or maps none yet.
func (p *pages) leaf(t *table, i, level int, old uint64, e edit, c *change) {
	var v uint64
	switch {
	case e.kind == editMap:
		f := flags(e.at)
		if e.off >= p.m.fileSize {
			f |= pteBeyond
		}
		v = encode(fileBase+e.off, f)
	case e.kind == editProtect && old&pteMapped != 0:
		v = encode(target(old), old&pteBeyond|flags(e.at))
	}
	if level > 0 && v != 0 {
		v |= pteLarge
	}
	if v == old {
		return
	}
	t.store(i, v)
	if old&pteP == 0 {
		return
	}
	if v&pteP == 0 || target(v) != target(old) || old&pteW > v&pteW || v&pteNX > old&pteNX {
		p.revoke(old, level, c)
	} else {
		c.gained = true
	}
}

// revoke notes that an entry was taken away.
func (p *pages) revoke(old uint64, level int, c *change) {
	if old&pteP == 0 {
		return
	}
	c.revoked = true
	if !p.m.shadows {
		return
	}
	off, length := target(old)-fileBase, span(level)
	if n := len(c.backing); n > 0 && c.backing[n-1].off+c.backing[n-1].length == off {
		c.backing[n-1].length += length
		return
	}
	c.backing = append(c.backing, extent{off, length})
}

// flags are the bits of an entry for an access.
func flags(at hostarch.AccessType) uint64 {
	f := uint64(pteMapped)
	if at.Any() {
		f |= pteP | pteU | pteA | pteD
	}
	if at.Write {
		f |= pteW
	}
	if !at.Execute {
		f |= pteNX
	}
	return f
}

// encode makes an entry of a guest-physical address and bits.
func encode(at, flags uint64) uint64 {
	if flags&pteP == 0 || flags&pteBeyond != 0 {
		return ^at&pteAddr | flags&^pteP
	}
	return at | flags
}

// target is the guest-physical address of a mapped entry.
func target(v uint64) uint64 {
	if v&pteP == 0 {
		return ^v & pteAddr
	}
	return v & pteAddr
}

// release drops everything.
func (p *pages) release(c *change) {
	if p.root.Load() == 0 {
		return
	}
	t := p.m.table(p.root.Load())
	for i := range 256 {
		if old := t.load(i); old != 0 {
			t.store(i, 0)
			p.drop(old&pteAddr, rootLevel-1, c)
		}
	}
	c.root = p.root.Load()
	p.root.Store(0)
}

// find returns the entry that maps an address, 0 if nothing does, and the offset
// of the address in what it maps.
func (p *pages) find(addr uint64) (entry, rest uint64) {
	if p.root.Load() == 0 || addr >= 1<<47 {
		return 0, 0
	}
	t := p.m.table(p.root.Load())
	for level := rootLevel; ; level-- {
		e := t.load(int(addr / span(level) % 512))
		if e == 0 || e&pteMapped != 0 {
			return e, addr % span(level)
		}
		if level == 0 {
			return 0, 0
		}
		t = p.m.table(e & pteAddr)
	}
}

// read copies what the guest can read at an address; less, where it can no more.
func (p *pages) read(b []byte, addr uint64) (n int) {
	for n < len(b) {
		e, rest := p.find(addr + uint64(n))
		if e&pteP == 0 {
			break
		}
		k := min(len(b)-n, int(pageSize-rest%pageSize))
		n += copy(b[n:n+k], fileBytes(p.m.view+uintptr(target(e)-fileBase+rest), k))
	}
	return n
}

// settle brings edits into force on hosts with shadows: what the host made of
// the memory's mapping goes, and with it what it made of our entries.
func (m *machine) settle(c *change) error {
	if !m.shadows || len(c.backing) == 0 {
		return nil
	}
	if len(c.backing) > maxDrops {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.forgetShadowsLocked()
	}
	for _, x := range c.backing {
		if err := dropFile(m.view+uintptr(x.off), x.length); err != nil {
			return err
		}
	}
	m.counts.drops.Add(uint64(len(c.backing)))
	return nil
}

// maxDrops is how many ranges are dropped one by one.
const maxDrops = 64
