package mm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"pgregory.net/rapid"

	"runsc-lite/mm/memfile"
)

// The model knows two words of each page, the first and the last, and for each
// page of each process what it is a page of. It has no areas, no extents and no
// faults.

type words [2]uint64

// modelObject is what pages are shared in: a file, or shared anonymous memory.
type modelObject struct {
	pages []words
	file  *testFile // nil: anonymous
}

type modelPage struct {
	prot, maxProt        hostarch.AccessType
	shared, noFork, wipe bool
	locked               lockMode
	obj                  *modelObject // nil: private and anonymous
	index                int          // in obj
	own                  *words       // private content; nil: as in obj, or zeros
}

func (p *modelPage) beyond() bool { return p.obj != nil && p.own == nil && p.index >= len(p.obj.pages) }

func (p *modelPage) read() words {
	switch {
	case p.own != nil:
		return *p.own
	case p.obj != nil:
		return p.obj.pages[p.index]
	}
	return words{}
}

func (p *modelPage) write(w words) {
	if p.shared {
		p.obj.pages[p.index] = w
		return
	}
	p.own = &w
}

// joins reports whether q, which is the next page, is of one area with p.
func (p *modelPage) joins(q *modelPage) bool {
	return p.prot == q.prot && p.maxProt == q.maxProt && p.shared == q.shared && p.noFork == q.noFork &&
		p.wipe == q.wipe && p.locked == q.locked && p.obj == q.obj && (p.obj == nil || p.index+1 == q.index)
}

type modelProcess struct {
	s     *Space
	g     *guest
	pages map[hostarch.Addr]*modelPage
}

// world is the system under test and its model.
type world struct {
	t      *rapid.T
	mem    *memfile.File
	frozen *modelObject // a file that is not written to
	shared *modelObject // a file that is not mapped privately
	procs  []*modelProcess
}

const (
	// The window is where things happen. A chunk of anonymous memory ends in it.
	windowStart = 1<<30 - 40*pageSize
	windowPages = 96
)

func newWorld(t *rapid.T) *world {
	w := &world{t: t, mem: newMemory(t)}
	for i, obj := range []**modelObject{&w.frozen, &w.shared} {
		f := newTestFile(t, w.mem, 24)
		f.step = rapid.SampledFrom([]uint64{0, pageSize, 5 * pageSize}).Draw(t, "file step")
		*obj = &modelObject{file: f}
		for j, r := range f.pages {
			x := words{uint64(100*i + j), uint64(1000*i + j)}
			store(w.mem.Bytes(r), x)
			(*obj).pages = append((*obj).pages, x)
		}
	}
	g := newGuest(t, w.mem)
	g.knows = rapid.Bool().Draw(t, "knows")
	s := NewSpace(Config{File: w.mem, Mapper: g, Min: testMin, Max: testMax})
	w.procs = append(w.procs, &modelProcess{s, g, map[hostarch.Addr]*modelPage{}})
	return w
}

func store(b []byte, x words) {
	binary.LittleEndian.PutUint64(b, x[0])
	binary.LittleEndian.PutUint64(b[pageSize-8:], x[1])
}

func load(b []byte) words {
	return words{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[pageSize-8:])}
}

func (w *world) proc() *modelProcess {
	return w.procs[rapid.IntRange(0, len(w.procs)-1).Draw(w.t, "process")]
}

// span draws a range, mostly in the window.
func (w *world) span(p *modelProcess) (hostarch.Addr, int) {
	n := rapid.IntRange(1, 24).Draw(w.t, "pages")
	if at := rapid.IntRange(0, 15).Draw(w.t, "where"); at == 0 && len(p.pages) > 0 {
		all := make([]hostarch.Addr, 0, len(p.pages))
		for a := range p.pages {
			all = append(all, a)
		}
		slices.Sort(all)
		return rapid.SampledFrom(all).Draw(w.t, "page"), n
	}
	return windowStart + hostarch.Addr(rapid.IntRange(0, windowPages-1).Draw(w.t, "start"))*pageSize, n
}

func (w *world) prot() hostarch.AccessType {
	return rapid.SampledFrom([]hostarch.AccessType{
		hostarch.ReadWrite, hostarch.ReadWrite, hostarch.Read, hostarch.NoAccess, hostarch.ReadExecute, hostarch.AnyAccess,
	}).Draw(w.t, "prot")
}

// expect fails unless err is want, 0 for none.
func (w *world) expect(what string, err error, want unix.Errno) {
	w.t.Helper()
	if err == nil && want == 0 || err != nil && want != 0 && errors.Is(err, want) {
		return
	}
	w.t.Fatalf("%s: %v, want %v", what, err, want)
}

func (w *world) mmap(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	o := MmapOptions{Addr: at, Length: uint64(n) * pageSize, Prot: w.prot(), MaxProt: hostarch.AnyAccess}
	o.Populate = rapid.IntRange(0, 7).Draw(w.t, "populate") == 0
	o.FixedNoReplace = rapid.IntRange(0, 3).Draw(w.t, "noreplace") == 0
	o.Fixed = o.FixedNoReplace || rapid.IntRange(0, 7).Draw(w.t, "fixed") != 0
	var obj *modelObject
	index := 0
	switch rapid.IntRange(0, 5).Draw(w.t, "kind") {
	case 0, 1:
	case 2:
		o.Shared = true
		obj = &modelObject{pages: make([]words, n)}
	case 3:
		obj = w.frozen
	case 4:
		obj = w.frozen
		o.Shared, o.Prot.Write, o.MaxProt.Write = true, false, false
	case 5:
		obj = w.shared
		o.Shared = true
	}
	if obj != nil && obj.file != nil {
		index = rapid.IntRange(0, 30).Draw(w.t, "offset")
		o.Pager, o.File, o.Offset = obj.file, obj.file, uint64(index)*pageSize
	}
	free := true
	for i := range n {
		free = free && p.pages[at+hostarch.Addr(i)*pageSize] == nil
	}
	got, err := p.s.Mmap(o)
	if o.FixedNoReplace && !free {
		w.expect("mmap", err, unix.EEXIST)
		return
	}
	w.expect("mmap", err, 0)
	if got != at && (o.Fixed || free) {
		w.t.Fatalf("mmap at %#x, want %#x", got, at)
	}
	for i := range n {
		a := got + hostarch.Addr(i)*pageSize
		if !o.Fixed && p.pages[a] != nil {
			w.t.Fatalf("mmap at %#x, where something is", got)
		}
		p.pages[a] = &modelPage{prot: o.Prot, maxProt: o.MaxProt, shared: o.Shared, obj: obj, index: index + i}
	}
}

func (w *world) munmap(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	w.expect("munmap", p.s.Munmap(at, uint64(n)*pageSize), 0)
	p.unmap(at, n)
}

func (p *modelProcess) unmap(at hostarch.Addr, n int) {
	for i := range n {
		delete(p.pages, at+hostarch.Addr(i)*pageSize)
	}
}

func (w *world) mprotect(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	prot := w.prot()
	want := unix.Errno(0)
	for i := range n {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		if x == nil {
			want = unix.ENOMEM
			break
		}
		if !x.maxProt.SupersetOf(prot) {
			want = unix.EACCES
			break
		}
		x.prot = prot
	}
	w.expect("mprotect", p.s.Mprotect(at, uint64(n)*pageSize, prot, false), want)
}

func (w *world) madvise(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	what := rapid.SampledFrom([]int{
		unix.MADV_DONTNEED, unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_DONTFORK, unix.MADV_DOFORK,
		unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, unix.MADV_REMOVE, unix.MADV_WILLNEED, dontNeedLocked,
	}).Draw(w.t, "advice")
	want := unix.Errno(0)
	hole := false
	for i := range n {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		if x == nil {
			hole = true
			continue
		}
		if want = advise(x, what); want != 0 {
			break
		}
	}
	if want == 0 && hole {
		want = unix.ENOMEM
	}
	w.expect(fmt.Sprintf("madvise(%d)", what), p.s.Madvise(at, uint64(n)*pageSize, what), want)
}

func advise(x *modelPage, what int) unix.Errno {
	switch what {
	case unix.MADV_DONTNEED, dontNeedLocked:
		if x.locked != notLocked && what == unix.MADV_DONTNEED {
			return unix.EINVAL
		}
		x.own = nil
	case unix.MADV_FREE:
		if x.locked != notLocked || x.obj != nil {
			return unix.EINVAL
		}
		x.own = nil
	case unix.MADV_DONTFORK, unix.MADV_DOFORK:
		x.noFork = what == unix.MADV_DONTFORK
	case unix.MADV_WIPEONFORK:
		if x.obj != nil {
			return unix.EINVAL
		}
		x.wipe = true
	case unix.MADV_KEEPONFORK:
		x.wipe = false
	case unix.MADV_REMOVE:
		switch {
		case x.locked != notLocked || x.obj == nil:
			return unix.EINVAL
		case !x.shared || !x.maxProt.Write:
			return unix.EACCES
		case !x.beyond():
			x.obj.pages[x.index] = words{}
		}
	}
	return 0
}

func (w *world) populate(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	what := rapid.SampledFrom([]int{unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE}).Draw(w.t, "advice")
	want := unix.Errno(0)
	for i := 0; i < n && want == 0; i++ {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		switch {
		case x == nil:
			want = unix.ENOMEM
		case !x.prot.Any() || what == unix.MADV_POPULATE_WRITE && !x.prot.Write:
			want = unix.EINVAL
		case x.beyond():
			want = unix.EFAULT
		}
	}
	w.expect(fmt.Sprintf("madvise(%d)", what), p.s.Madvise(at, uint64(n)*pageSize, what), want)
}

func (w *world) mlock(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	mode := rapid.SampledFrom([]lockMode{notLocked, lockNow, lockOnFault}).Draw(w.t, "lock")
	want := unix.Errno(0)
	for i := range n {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		if x == nil {
			want = unix.ENOMEM
			break
		}
		x.locked = mode
		if mode == lockNow && (!x.prot.Any() || x.beyond()) {
			want = unix.ENOMEM // but the rest is locked
		}
	}
	if mode == notLocked {
		w.expect("munlock", p.s.Munlock(at, uint64(n)*pageSize), want)
		return
	}
	w.expect("mlock", p.s.Mlock(at, uint64(n)*pageSize, mode == lockOnFault), want)
}

// run returns how many pages from at on are of one area.
func (p *modelProcess) run(at hostarch.Addr) (n int) {
	for x := p.pages[at]; x != nil; {
		n++
		at += pageSize
		y := p.pages[at]
		if y == nil || !x.joins(y) {
			break
		}
		x = y
	}
	return n
}

func (w *world) mremap(*rapid.T) {
	p := w.proc()
	old, oldN := w.span(p)
	to, newN := w.span(p)
	if rapid.Bool().Draw(w.t, "fits") && p.pages[old] != nil {
		oldN = min(oldN, p.run(old))
	}
	flags := rapid.SampledFrom([]int{
		0, unix.MREMAP_MAYMOVE, unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, unix.MREMAP_MAYMOVE | unix.MREMAP_DONTUNMAP,
		unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP,
	}).Draw(w.t, "flags")
	fixed, keep := flags&unix.MREMAP_FIXED != 0, flags&unix.MREMAP_DONTUNMAP != 0
	if keep {
		newN = oldN
	} else if rapid.IntRange(0, 15).Draw(w.t, "again") == 0 {
		oldN = 0
	}
	bytes := func(n int) hostarch.Addr { return hostarch.Addr(n) * pageSize }
	got, err := p.s.Mremap(old, uint64(bytes(oldN)), uint64(bytes(newN)), flags, to)

	first := p.pages[old]
	switch {
	case (fixed || keep) && old < to+bytes(newN) && to < old+bytes(oldN):
		w.expect("mremap", err, unix.EINVAL)
		return
	case first == nil:
		w.expect("mremap", err, unix.EFAULT)
		return
	}
	if newN < oldN {
		p.unmap(old+bytes(newN), oldN-newN)
		oldN = newN
		if !fixed {
			w.expect("mremap", err, 0)
			return
		}
	}
	switch {
	case oldN == 0 && !first.shared:
		w.expect("mremap", err, unix.EINVAL)
		return
	case oldN > p.run(old):
		w.expect("mremap", err, unix.EFAULT)
		return
	case flags == 0 && newN > oldN && err != nil:
		room := oldN > 0
		for i := oldN; i < newN; i++ {
			room = room && p.pages[old+bytes(i)] == nil
		}
		if room {
			w.t.Fatalf("mremap does not grow where there is room: %v", err)
		}
		w.expect("mremap", err, unix.ENOMEM)
		return
	}
	w.expect("mremap", err, 0)
	if fixed && got != to {
		w.t.Fatalf("mremap to %#x, want %#x", got, to)
	}
	moved := make([]*modelPage, newN)
	for i := range moved {
		x := *first
		x.index, x.own = first.index+i, nil
		if i < oldN {
			x.own = p.pages[old+bytes(i)].own
		}
		moved[i] = &x
	}
	for i := range oldN {
		if x := p.pages[old+bytes(i)]; keep {
			x.own, x.locked = nil, notLocked
		} else {
			delete(p.pages, old+bytes(i))
		}
	}
	for i, x := range moved {
		if !fixed && p.pages[got+bytes(i)] != nil {
			w.t.Fatalf("mremap to %#x, where something is", got)
		}
		p.pages[got+bytes(i)] = x
	}
}

func (w *world) fork(*rapid.T) {
	if len(w.procs) < 4 {
		w.forked(w.proc())
	}
}

func (w *world) forked(p *modelProcess) {
	c := &modelProcess{g: newGuest(w.t, w.mem), pages: map[hostarch.Addr]*modelPage{}}
	c.g.knows = p.g.knows
	hint, _ := w.span(p)
	o := ForkOptions{Mapper: c.g, Hint: hint}
	if rapid.Bool().Draw(w.t, "flush") {
		o.Flush = p.g.flush
	}
	s, err := p.s.Fork(o)
	w.expect("fork", err, 0)
	c.s = s
	for at, x := range p.pages {
		if x.noFork {
			continue
		}
		n := *x
		n.locked = notLocked
		if n.own != nil {
			own := *n.own
			n.own = &own
		}
		if n.wipe {
			n.own = nil
		}
		c.pages[at] = &n
	}
	w.procs = append(w.procs, c)
}

func (w *world) exit(*rapid.T) {
	if len(w.procs) > 1 {
		i := rapid.IntRange(0, len(w.procs)-1).Draw(w.t, "process")
		w.procs[i].s.DecUsers()
		w.procs = slices.Delete(w.procs, i, i+1)
	}
}

// pinned writes to memory that was pinned before the process forked.
func (w *world) pinned(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	pin, err := p.s.Pin(at, uint64(n)*pageSize, true)
	count := p.writable(at, n, false)
	if count == 0 {
		w.expect("pin", err, unix.EFAULT)
		return
	}
	w.expect("pin", err, 0)
	if pin.Length() != uint64(count)*pageSize {
		w.t.Fatalf("%d bytes are pinned, want %d pages", pin.Length(), count)
	}
	if len(w.procs) < 4 {
		w.forked(p)
	}
	for _, b := range pin.Blocks {
		for ; len(b) > 0; b = b[pageSize:] {
			x := words{rapid.Uint64().Draw(w.t, "value"), 1}
			store(b, x)
			p.pages[at].write(x)
			at += pageSize
		}
	}
	ranges := slices.Clone(pin.ranges)
	if rapid.Bool().Draw(w.t, "unmap") {
		w.munmap(nil)
		for _, q := range w.procs {
			q.g.flush()
		}
	}
	for _, r := range ranges {
		if n, _ := w.mem.Refs(r); n == 0 {
			w.t.Fatalf("pinned memory was given back")
		}
	}
	pin.Unpin()
}

// writable counts the pages from at on that can be written to.
func (p *modelProcess) writable(at hostarch.Addr, n int, force bool) int {
	for i := range n {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		if x == nil || x.beyond() || !x.prot.Write && (!force || x.shared) {
			return i
		}
	}
	return n
}

func (p *modelProcess) readable(at hostarch.Addr, n int, force bool) int {
	for i := range n {
		x := p.pages[at+hostarch.Addr(i)*pageSize]
		if x == nil || x.beyond() || !force && !x.prot.Any() {
			return i
		}
	}
	return n
}

func (w *world) copyOut(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	force := rapid.IntRange(0, 3).Draw(w.t, "force") == 0
	buf := make([]byte, n*pageSize)
	count := p.writable(at, n, force)
	for i := range n {
		x := words{rapid.Uint64().Draw(w.t, "value"), uint64(i)}
		store(buf[i*pageSize:], x)
		if i < count {
			p.pages[at+hostarch.Addr(i)*pageSize].write(x)
		}
	}
	fn := p.s.CopyOut
	if force {
		fn = p.s.Poke
	}
	got, err := fn(at, buf)
	w.checkCopy("copying out", got, err, count, n)
}

func (w *world) checkCopy(what string, got int, err error, count, n int) {
	w.t.Helper()
	want := unix.Errno(0)
	if count < n {
		want = unix.EFAULT
	}
	w.expect(what, err, want)
	if got != count*pageSize {
		w.t.Fatalf("%s: %d bytes, want %d pages", what, got, count)
	}
}

func (w *world) copyIn(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	w.compare(p, at, n, rapid.Bool().Draw(w.t, "force"))
}

// compare reads pages and compares them with the model's.
func (w *world) compare(p *modelProcess, at hostarch.Addr, n int, force bool) {
	w.t.Helper()
	buf := make([]byte, n*pageSize)
	fn := p.s.CopyIn
	if force {
		fn = p.s.Peek
	}
	got, err := fn(at, buf)
	count := p.readable(at, n, force)
	w.checkCopy("copying in", got, err, count, n)
	for i := range count {
		if got, want := load(buf[i*pageSize:]), p.pages[at+hostarch.Addr(i)*pageSize].read(); got != want {
			w.t.Fatalf("%#x holds %v, want %v", at+hostarch.Addr(i)*pageSize, got, want)
		}
	}
}

func (w *world) guestAccess(*rapid.T) {
	p := w.proc()
	at, n := w.span(p)
	for i := range n {
		w.touch(p, at+hostarch.Addr(i)*pageSize, rapid.Bool().Draw(w.t, "write"))
	}
}

// touch loads or stores as a guest does.
func (w *world) touch(p *modelProcess, at hostarch.Addr, write bool) {
	w.t.Helper()
	var want error
	x := p.pages[at]
	switch {
	case x == nil:
		want = errMap
	case !x.prot.Any() || write && !x.prot.Write:
		want = errAcc
	case x.beyond():
		want = errBus
	}
	if want == errAcc && x.beyond() && x.prot.Any() && !p.g.knows {
		want = errBus // it could have been a load
	}
	if write {
		v := rapid.Uint64().Draw(w.t, "value")
		err := p.g.store(p.s, at, v)
		if err != want {
			w.t.Fatalf("store to %#x: %v, want %v", at, err, want)
		}
		if err == nil {
			c := x.read()
			c[0] = v
			x.write(c)
		}
		return
	}
	v, err := p.g.load(p.s, at)
	if err != want {
		w.t.Fatalf("load from %#x: %v, want %v", at, err, want)
	}
	if err == nil && v != x.read()[0] {
		w.t.Fatalf("load from %#x: %d, want %d", at, v, x.read()[0])
	}
}

func (w *world) truncate(*rapid.T) {
	obj := rapid.SampledFrom([]*modelObject{w.frozen, w.shared}).Draw(w.t, "file")
	n := rapid.IntRange(0, 24).Draw(w.t, "size")
	obj.file.resize(n)
	for len(obj.pages) < n {
		obj.pages = append(obj.pages, words{})
	}
	obj.pages = obj.pages[:n]
	for _, p := range w.procs {
		for _, x := range p.pages {
			if x.obj == obj && x.index >= n {
				x.own = nil
			}
		}
	}
}

// check looks at everything.
func (w *world) check(t *rapid.T) {
	for _, p := range w.procs {
		p.g.checkMemory(w.t)
	}
	if rapid.Bool().Draw(t, "flush") {
		for _, p := range w.procs {
			p.g.check(w.t, p.s)
			if p.s.virtual != uint64(len(p.pages))*pageSize {
				w.t.Fatalf("%d bytes are mapped, want %d pages", p.s.virtual, len(p.pages))
			}
		}
	}
}

func (w *world) close() {
	if w.t.Failed() {
		return
	}
	for _, p := range w.procs {
		for at, x := range p.pages {
			w.compare(p, at, 1, true)
			w.touch(p, at, false)
			if x.prot.Write && !x.beyond() && (x.obj == nil || x.obj.file == nil) {
				w.touch(p, at, true)
			}
		}
		p.g.check(w.t, p.s)
	}
	for _, p := range w.procs {
		p.s.DecUsers()
	}
	w.frozen.file.close(w.t)
	w.shared.file.close(w.t)
	if n := w.mem.Allocated(); n != 0 {
		w.t.Fatalf("%d bytes of memory are left", n)
	}
}

// TestModel does at random what guests can do with their memory, and compares all
// that can be seen with a simple model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"mmap": w.mmap, "mmap again": w.mmap, "munmap": w.munmap, "mprotect": w.mprotect, "mremap": w.mremap,
			"madvise": w.madvise, "populate": w.populate, "mlock": w.mlock, "fork": w.fork, "exit": w.exit,
			"copy in": w.copyIn, "copy out": w.copyOut, "guest": w.guestAccess, "pinned": w.pinned,
			"truncate": w.truncate, "": w.check,
		})
		w.close()
	})
}
