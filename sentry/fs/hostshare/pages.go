package hostshare

import (
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/mm/memfile"
)

const (
	pageSize = 4096
	// chunk is how much is read around a page that is touched, in bytes.
	chunk = 512 << 10
)

func roundUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// open opens the file for its pages. f.mu is held.
func (f *file) openPages() error {
	if f.fd >= 0 {
		return nil
	}
	return f.with(func(path int) error {
		fd, err := f.fs.self.Reopen(path, unix.O_RDWR)
		f.writes = err == nil
		if err != nil {
			fd, err = f.fs.self.Reopen(path, unix.O_RDONLY)
		}
		if err == nil {
			f.fd = fd
		}
		return err
	})
}

// Page implements memfile.Pager.
func (f *file) Page(off, length uint64, write bool) (memfile.Range, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, _, ok := f.pages.At(off, length)
	if !ok {
		if err := f.fill(off); err != nil {
			return memfile.Range{}, err
		}
		if r, _, ok = f.pages.At(off, length); !ok {
			return memfile.Range{}, unix.EIO
		}
	}
	if write {
		if !f.writes {
			return memfile.Range{}, unix.EIO
		}
		for at := off; at < off+r.Length(); at += pageSize {
			f.dirty[at] = struct{}{}
		}
	}
	f.fs.o.Memory.IncRef(r)
	return r, nil
}

// fill reads the part of the file around off. f.mu is held.
func (f *file) fill(off uint64) error {
	if err := f.openPages(); err != nil {
		return err
	}
	st, err := hostcall.Fstat(f.fd)
	if err != nil {
		return err
	}
	size := roundUp(uint64(st.Size))
	if off >= size {
		return unix.ENXIO
	}
	start, end := off&^(chunk-1), min(off&^(chunk-1)+chunk, size)
	// Not over what is there already.
	_, hole, _ := f.pages.At(off, end-off)
	end = off + hole
	for next, ok := f.pages.NextData(start); ok && next < off; next, ok = f.pages.NextData(start) {
		start = f.pages.NextHole(next)
	}
	r, err := f.fs.o.Memory.Allocate(end - start)
	if err != nil {
		return err
	}
	if _, err := hostcall.ReadFull(f.fd, f.fs.o.Memory.Bytes(r), int64(start)); err != nil {
		f.fs.o.Memory.DecRef(r)
		return err
	}
	f.pages.Insert(start, r)
	return nil
}

// update stores what was written in the pages that there are.
func (f *file) update(src [][]byte, off, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range src {
		b = b[:min(uint64(len(b)), n)]
		n -= uint64(len(b))
		for len(b) > 0 {
			page := off &^ (pageSize - 1)
			part := min(uint64(len(b)), page+pageSize-off)
			if r, _, ok := f.pages.At(page, pageSize); ok {
				copy(f.fs.o.Memory.Bytes(r)[off-page:], b[:part])
			}
			b, off = b[part:], off+part
		}
	}
}

// flush writes back what guests may have stored in a stretch. They may go on: the pages
// stay dirty while they are mapped to be written.
func (f *file) flush(start, end uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushLocked(start, end)
}

func (f *file) flushLocked(start, end uint64) error {
	if len(f.dirty) == 0 || f.fd < 0 {
		return nil
	}
	st, err := hostcall.Fstat(f.fd)
	if err != nil {
		return err
	}
	for off := range f.dirty {
		if off < start || off >= end || off >= uint64(st.Size) {
			continue
		}
		r, _, ok := f.pages.At(off, pageSize)
		if !ok {
			continue
		}
		// Not beyond the end, which it would move.
		b := f.fs.o.Memory.Bytes(r)[:min(pageSize, uint64(st.Size)-off)]
		if err := hostcall.WriteFull(f.fd, b, int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// AddMapping implements memfile.Pager. EACCES: the host does not let it be written.
func (f *file) AddMapping(m memfile.Invalidator, length uint64, writable bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.openPages(); err != nil {
		return err
	}
	if writable && !f.writes {
		return unix.EACCES
	}
	f.fs.track(f, true)
	f.paged.Store(true)
	f.count += int(length)
	f.maps.Add(m, length, writable)
	return nil
}

// RemoveMapping implements memfile.Pager. With the last one the pages go.
func (f *file) RemoveMapping(m memfile.Invalidator, length uint64, writable bool) {
	f.maps.Remove(m, length, writable)
	f.mu.Lock()
	f.count -= int(length)
	last := f.count == 0
	if writable {
		_ = f.flushLocked(0, everything) // there is nobody to tell
		if !f.maps.Writable() {
			clear(f.dirty)
		}
	}
	f.mu.Unlock()
	if last {
		f.end()
	}
}

// end writes back and drops all pages, unless the file is mapped again.
func (f *file) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.flushLocked(0, everything)
	if f.count > 0 {
		return
	}
	f.free(f.pages.Cut(0, everything, nil))
	clear(f.dirty)
	if f.fd >= 0 {
		hostcall.CloseFD(f.fd)
		f.fd = -1
	}
	f.paged.Store(false)
	f.fs.track(f, false)
}

// track keeps a file while it has pages.
func (fs *FS) track(f *file, on bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if on {
		fs.mapped[f] = struct{}{}
	} else {
		delete(fs.mapped, f)
	}
}
