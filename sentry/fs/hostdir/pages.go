package hostdir

import (
	"container/list"
	"math"
	"sync"

	"golang.org/x/sys/unix"
	"runsc-lite/hostcall"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/vfs"
)

const (
	pageSize = 4096
	// wholeFile: smaller files are read whole when they are first touched.
	wholeFile = 2 << 20
	// chunk is how much of larger ones is read at a time.
	chunk = 512 << 10
)

func roundUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// pageCache holds the contents of files, by what file of the host they are.
type pageCache struct {
	mem   extent.Memory
	limit uint64

	mu     sync.Mutex
	files  map[identity]*cachedFile
	idle   list.List // of *cachedFile without users, the oldest in front
	unused uint64    // bytes in idle
}

// version tells whether a file is still what was cached.
type version struct {
	size         int64
	mtime, ctime unix.Timespec
}

func versionOf(st *unix.Stat_t) version { return version{st.Size, st.Mtim, st.Ctim} }

// cachedFile is the page cache of one file, and its memfile.Pager.
type cachedFile struct {
	c       *pageCache
	id      identity
	version version
	size    uint64

	// Under pageCache.mu:
	users int
	at    *list.Element
	gone  bool // replaced by a newer version

	mu   sync.RWMutex
	fd   int // -1 without users
	data extent.Map
	held uint64 // bytes in data
}

// open returns the cache of the file behind fd, which it takes over.
func (c *pageCache) open(fd int, st *unix.Stat_t) *cachedFile {
	id, v := identityOf(st), versionOf(st)
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[id]
	if f != nil && f.version != v {
		c.discard(f)
		f = nil
	}
	if f == nil {
		f = &cachedFile{c: c, id: id, version: v, size: uint64(st.Size), fd: -1}
		c.files[id] = f
	}
	if f.at != nil {
		c.idle.Remove(f.at)
		f.at = nil
		c.unused -= f.held
	}
	f.users++
	if f.users > 1 {
		hostcall.CloseFD(fd)
		return f
	}
	f.mu.Lock()
	f.fd = fd
	f.mu.Unlock()
	return f
}

// discard takes f out of the cache. c.mu is held.
func (c *pageCache) discard(f *cachedFile) {
	if c.files[f.id] == f {
		delete(c.files, f.id)
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
func (f *cachedFile) empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.data.Cut(0, math.MaxUint64&^(pageSize-1), nil) {
		f.c.mem.DecRef(r)
	}
	f.held = 0
}

// release ends one use of f. With the last one the descriptor goes; the pages
// stay while there is room.
func (c *pageCache) release(f *cachedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	f.mu.Lock()
	hostcall.CloseFD(f.fd)
	f.fd = -1
	held := f.held
	f.mu.Unlock()
	if f.gone {
		f.empty()
		return
	}
	f.at = c.idle.PushBack(f)
	c.unused += held
	for c.unused > c.limit {
		c.discard(c.idle.Front().Value.(*cachedFile))
	}
}

func (c *pageCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.idle.Len() > 0 {
		c.discard(c.idle.Front().Value.(*cachedFile))
	}
}

// fill reads the part of the file around off. f.mu is held.
func (f *cachedFile) fill(off uint64) error {
	start, end := uint64(0), roundUp(f.size)
	if f.size > wholeFile {
		start = off &^ (chunk - 1)
		end = min(start+chunk, end)
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
	r, err := f.c.mem.Allocate(end - start)
	if err != nil {
		return err
	}
	if f.fd < 0 {
		f.c.mem.DecRef(r)
		return unix.EIO
	}
	if _, err := hostcall.ReadFull(f.fd, f.c.mem.Bytes(r), int64(start)); err != nil {
		f.c.mem.DecRef(r)
		return err
	}
	f.data.Insert(start, r)
	f.held += r.Length()
	return nil
}

// Page implements memfile.Pager.
func (f *cachedFile) Page(off, length uint64, write bool) (memfile.Range, error) {
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
		f.c.mem.IncRef(r)
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
	f.c.mem.IncRef(r)
	return r, nil
}

// AddMapping implements memfile.Pager. Nothing ever has to be taken back from
// those who map the file: it does not change.
func (f *cachedFile) AddMapping(memfile.Invalidator, uint64, bool) error {
	return nil
}

// RemoveMapping implements memfile.Pager.
func (f *cachedFile) RemoveMapping(memfile.Invalidator, uint64, bool) {}

// readAt copies what is cached, and small files through the cache; the rest of
// large ones goes straight from the host to where it is wanted.
func (f *cachedFile) readAt(dst [][]byte, off int64) (done int64, err error) {
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
func (f *cachedFile) copyPages(b []byte, off uint64) (int, error) {
	page := off &^ (pageSize - 1)
	f.mu.RLock()
	r, _, data := f.data.At(page, roundUp(off-page+uint64(len(b))))
	if data {
		n := copy(b, f.c.mem.Bytes(r)[off-page:])
		f.mu.RUnlock()
		return n, nil
	}
	f.mu.RUnlock()
	if f.size > wholeFile {
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
	return copy(b, f.c.mem.Bytes(r)[off-page:]), nil
}

func (f *cachedFile) readThrough(b []byte, more [][]byte, off int64) (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	bufs := append(make([][]byte, 0, 1+len(more)), b)
	bufs = append(bufs, more...)
	n, err := hostcall.ReadVec(f.fd, bufs, off)
	return int64(max(n, 0)), err
}

// fileNode is a regular file.
type fileNode struct{ node }

// Open implements vfs.Inode: EROFS for writing.
func (n *fileNode) Open(flags uint32) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EROFS
	}
	fd, err := n.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	st, err := hostcall.StatAt(fd, "")
	if err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	return &openFile{n.fs.pages.open(fd, &st)}, nil
}

// openFile is an open regular file.
type openFile struct{ f *cachedFile }

// Release implements vfs.FileOps.
func (o *openFile) Release() { o.f.c.release(o.f) }

// ReadAt implements vfs.ReaderAt.
func (o *openFile) ReadAt(dst [][]byte, off int64) (int64, error) { return o.f.readAt(dst, off) }

// Pager implements vfs.Mappable.
func (o *openFile) Pager() memfile.Pager { return o.f }

// openDir is an open directory. The listing is read at once, when it begins, so
// that positions are simple numbers.
type openDir struct {
	d       *dirNode
	fd      int
	mu      sync.Mutex
	read    bool
	entries []hostcall.DirEntry
}

// Release implements vfs.FileOps.
func (o *openDir) Release() {
	if o.d != nil {
		hostcall.CloseFD(o.fd)
	}
}

// ReadDir implements vfs.DirReader.
func (o *openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	o.mu.Lock()
	if o.d != nil && (!o.read || off == 0) {
		entries, err := hostcall.ReadDir(o.fd)
		if err != nil {
			o.mu.Unlock()
			return err
		}
		o.entries, o.read = entries, true
	}
	entries := o.entries
	o.mu.Unlock()
	for ; off >= 0 && off < int64(len(entries)); off++ {
		e := entries[off]
		if !emit(vfs.Entry{Name: e.Name, Ino: e.Ino, Type: e.Type, Next: off + 1}) {
			return nil
		}
	}
	return nil
}
