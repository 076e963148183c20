// Package pagecache keeps the contents of files that do not change while they are
// open, in the sandbox's memory: small ones as they are read, of large ones what
// is mapped. What nobody has open stays while there is room.
//
// Lock order:
//
//	Cache.mu
//	  File.mu
package pagecache

import (
	"container/list"
	"math"
	"sync"

	"golang.org/x/sys/unix"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/extent"
)

const pageSize = 4096

func roundUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// Source is where the content of a file comes from. Its methods are called from
// any goroutine.
type Source interface {
	// Fill reads from off on, until dst is full or the file ends.
	Fill(dst []byte, off int64) error
	// ReadAt reads from off on what one call brings: 0 is the end.
	ReadAt(dst [][]byte, off int64) (int64, error)
	// Close is called when nobody has the file open any more.
	Close()
}

// Options are how much is kept, and in what portions. All are bytes.
type Options struct {
	Memory extent.Memory
	// Idle is how much of files that nobody has open stays; 0: 64 MiB.
	Idle uint64
	// Whole is up to which size a file is filled at once; of larger ones, Chunk
	// (a power of two) at a time.
	Whole, Chunk uint64
	// Through is up to which size a file that is read is kept. Larger ones are
	// read from the source, past the cache, where they are not mapped.
	Through uint64
}

// Cache holds the contents of files, by what file they are.
type Cache struct {
	Options

	mu     sync.Mutex
	files  map[Key]*File
	idle   list.List // of *File without users, the oldest in front
	unused uint64    // bytes in idle
}

// Key says which file it is.
type Key struct{ Dev, Ino uint64 }

// Version tells whether a file is still what was cached.
type Version struct {
	Size         int64 // bytes
	Mtime, Ctime unix.Timespec
}

// New makes a cache.
func New(o Options) *Cache {
	if o.Idle == 0 {
		o.Idle = 64 << 20
	}
	return &Cache{Options: o, files: make(map[Key]*File)}
}

// File is the page cache of one file, and its memfile.Pager.
type File struct {
	c       *Cache
	key     Key
	version Version
	size    uint64

	// Under Cache.mu:
	users int
	at    *list.Element
	gone  bool // replaced by a newer version

	mu     sync.RWMutex
	source Source // nil without users
	data   extent.Map
	held   uint64 // bytes in data
}

// Open returns the cache of a file, which takes over the source. Release ends
// that use of it.
func (c *Cache) Open(key Key, v Version, source Source) *File {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[key]
	if f != nil && f.version != v {
		c.discard(f)
		f = nil
	}
	if f == nil {
		f = &File{c: c, key: key, version: v, size: uint64(v.Size)}
		c.files[key] = f
	}
	if f.at != nil {
		c.idle.Remove(f.at)
		f.at = nil
		c.unused -= f.held
	}
	f.users++
	if f.users > 1 {
		source.Close()
		return f
	}
	f.mu.Lock()
	f.source = source
	f.mu.Unlock()
	return f
}

// discard takes f out of the cache. c.mu is held.
func (c *Cache) discard(f *File) {
	if c.files[f.key] == f {
		delete(c.files, f.key)
	}
	f.gone = true
	if f.at != nil {
		c.idle.Remove(f.at)
		f.at = nil
		c.unused -= f.held
		f.empty()
	}
}

// empty gives the pages back; f has no users.
func (f *File) empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.data.Cut(0, math.MaxUint64&^(pageSize-1), nil) {
		f.c.Memory.DecRef(r)
	}
	f.held = 0
}

// Release ends one use of f. With the last one the source goes; the pages stay
// while there is room.
func (f *File) Release() {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	f.mu.Lock()
	f.source.Close()
	f.source = nil
	held := f.held
	f.mu.Unlock()
	if f.gone {
		f.empty()
		return
	}
	f.at = c.idle.PushBack(f)
	c.unused += held
	for c.unused > c.Idle {
		c.discard(c.idle.Front().Value.(*File))
	}
}

// Close gives the pages of files that nobody has open back.
func (c *Cache) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.idle.Len() > 0 {
		c.discard(c.idle.Front().Value.(*File))
	}
}

// fill reads the part of the file around off. f.mu is held.
func (f *File) fill(off uint64) error {
	start, end := uint64(0), roundUp(f.size)
	if f.size > f.c.Whole {
		start = off &^ (f.c.Chunk - 1)
		end = min(start+f.c.Chunk, end)
	}
	// Not over what is there already.
	_, hole, data := f.data.At(off, end-off)
	if data {
		return nil
	}
	end = off + hole
	if next, ok := f.data.NextData(start); ok && next < off {
		start = f.data.NextHole(next)
		for {
			next, ok = f.data.NextData(start)
			if !ok || next >= off {
				break
			}
			start = f.data.NextHole(next)
		}
	}
	r, err := f.c.Memory.Allocate(end - start)
	if err != nil {
		return err
	}
	if f.source == nil {
		f.c.Memory.DecRef(r)
		return unix.EIO
	}
	if err := f.source.Fill(f.c.Memory.Bytes(r), int64(start)); err != nil {
		f.c.Memory.DecRef(r)
		return err
	}
	f.data.Insert(start, r)
	f.held += r.Length()
	return nil
}

// Page implements memfile.Pager.
func (f *File) Page(off, length uint64, write bool) (memfile.Range, error) {
	if write {
		return memfile.Range{}, unix.EIO // nothing maps it writable and shared
	}
	end := roundUp(f.size)
	if off >= end {
		return memfile.Range{}, unix.ENXIO
	}
	length = min(length, end-off)
	f.mu.RLock()
	r, _, data := f.data.At(off, length)
	if data {
		f.c.Memory.IncRef(r)
	}
	f.mu.RUnlock()
	if data {
		return r, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fill(off); err != nil {
		return memfile.Range{}, err
	}
	r, _, data = f.data.At(off, length)
	if !data {
		return memfile.Range{}, unix.EIO
	}
	f.c.Memory.IncRef(r)
	return r, nil
}

// AddMapping implements memfile.Pager. Nothing ever has to be taken back from
// those who map the file: it does not change.
func (f *File) AddMapping(memfile.Invalidator, uint64, bool) error {
	return nil
}

// RemoveMapping implements memfile.Pager.
func (f *File) RemoveMapping(memfile.Invalidator, uint64, bool) {}

// ReadAt implements vfs.ReaderAt. It copies what is cached, and small files
// through the cache; the rest of large ones goes straight from the source to
// where it is wanted.
func (f *File) ReadAt(dst [][]byte, off int64) (done int64, err error) {
	if off < 0 || uint64(off) >= f.size {
		return 0, nil
	}
	for i, b := range dst {
		b = b[:min(uint64(len(b)), f.size-uint64(off))]
		for len(b) > 0 {
			n, err := f.copyPages(b, uint64(off))
			if err != nil {
				return done, err
			}
			if n == 0 {
				n, err := f.readThrough(b, dst[i+1:], off)
				return done + n, err
			}
			b = b[n:]
			off += int64(n)
			done += int64(n)
		}
		if uint64(off) >= f.size {
			break
		}
	}
	return done, nil
}

// copyPages copies from the cache; 0 means that it is not there, and that the
// file is too large to put it there.
func (f *File) copyPages(b []byte, off uint64) (int, error) {
	page := off &^ (pageSize - 1)
	f.mu.RLock()
	r, _, data := f.data.At(page, roundUp(off-page+uint64(len(b))))
	if data {
		n := copy(b, f.c.Memory.Bytes(r)[off-page:])
		f.mu.RUnlock()
		return n, nil
	}
	f.mu.RUnlock()
	if f.size > f.c.Through {
		return 0, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fill(page); err != nil {
		return 0, err
	}
	r, _, data = f.data.At(page, roundUp(off-page+uint64(len(b))))
	if !data {
		return 0, unix.EIO
	}
	return copy(b, f.c.Memory.Bytes(r)[off-page:]), nil
}

func (f *File) readThrough(b []byte, more [][]byte, off int64) (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	bufs := append(make([][]byte, 0, 1+len(more)), b)
	bufs = append(bufs, more...)
	return f.source.ReadAt(bufs, off)
}
