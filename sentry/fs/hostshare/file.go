package hostshare

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/vfs"
)

// file is a regular file.
type file struct {
	*inode
	maps  extent.Mappings
	paged atomic.Bool // there are pages, or may be

	mu     sync.RWMutex
	fd     int // for filling pages and writing them back; -1: not open
	writes bool
	count  int // bytes that are mapped, in all
	pages  extent.Map
	dirty  map[uint64]struct{} // pages that guests store to
}

func newFile(i *inode) *file { return &file{inode: i, fd: -1, dirty: map[uint64]struct{}{}} }

// Open implements vfs.Inode.
func (f *file) Open(flags uint32) (vfs.FileOps, error) {
	o := &openFile{f: f}
	err := f.with(func(path int) (err error) {
		o.fd, err = f.fs.self.Reopen(path, int(flags&unix.O_ACCMODE)|int(flags&unix.O_DIRECT))
		if err == unix.EINVAL || err == unix.EBADF {
			// A file that was opened by the runtime: the descriptor serves.
			o.fd, err = hostcall.DupFD(path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	f.Hold()
	return o, nil
}

// SetStat implements vfs.StatSetter.
func (f *file) SetStat(s vfs.SetStat) error {
	if s.Mask&vfs.SetSize != 0 {
		if err := f.truncate(s.Size); err != nil {
			return err
		}
	}
	if s.Mask&^vfs.SetSize == 0 {
		return nil
	}
	return f.inode.SetStat(s)
}

func (f *file) truncate(size int64) error {
	err := f.with(func(path int) error {
		fd, err := f.fs.self.Reopen(path, unix.O_WRONLY)
		if err != nil {
			return err
		}
		defer hostcall.CloseFD(fd)
		return hostcall.Ftruncate(fd, size)
	})
	if err != nil || !f.paged.Load() {
		return err
	}
	// What is beyond the end goes, and is zero in the page that the end is in.
	start := roundUp(uint64(size))
	f.mu.Lock()
	if in := uint64(size) &^ (pageSize - 1); in != start {
		if r, _, ok := f.pages.At(in, pageSize); ok {
			clear(f.fs.o.Memory.Bytes(r)[uint64(size)-in:])
		}
	}
	gone := f.pages.Cut(start, everything, nil)
	for off := range f.dirty {
		if off >= start {
			delete(f.dirty, off)
		}
	}
	f.mu.Unlock()
	f.maps.Invalidate(f, start, everything, true)
	f.free(gone)
	return nil
}

// everything is the end of the largest file.
const everything = math.MaxUint64 &^ (pageSize - 1)

func (f *file) free(list []memfile.Range) {
	for _, r := range list {
		f.fs.o.Memory.DecRef(r)
	}
}

// Fallocate implements vfs.Fallocater.
func (f *file) Fallocate(mode uint32, off, length int64) error {
	err := f.with(func(path int) error {
		fd, err := f.fs.self.Reopen(path, unix.O_RDWR)
		if err != nil {
			return err
		}
		defer hostcall.CloseFD(fd)
		return hostcall.Fallocate(fd, mode, off, length)
	})
	if err == nil && f.paged.Load() && mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		f.forget(uint64(off), uint64(off+length))
	}
	return err
}

// forget drops the pages of a stretch, which the host has changed.
func (f *file) forget(start, end uint64) {
	start, end = start&^(pageSize-1), roundUp(end)
	f.mu.Lock()
	gone := f.pages.Cut(start, end, nil)
	for off := start; off < end && len(f.dirty) > 0; off += pageSize {
		delete(f.dirty, off)
	}
	f.mu.Unlock()
	f.maps.Invalidate(f, start, end, false)
	f.free(gone)
}

// openFile is an open regular file.
type openFile struct {
	f  *file
	fd int
}

// Release implements vfs.FileOps.
func (o *openFile) Release() {
	if o.f.paged.Load() {
		_ = o.f.flush(0, everything)
	}
	hostcall.CloseFD(o.fd)
	o.f.Unhold()
}

// ReadAt implements vfs.ReaderAt.
func (o *openFile) ReadAt(dst [][]byte, off int64) (int64, error) {
	if o.f.paged.Load() {
		if err := o.f.flush(0, everything); err != nil {
			return 0, err
		}
	}
	n, err := hostcall.ReadVec(o.fd, dst, off)
	return int64(max(n, 0)), err
}

// WriteAt implements vfs.WriterAt.
func (o *openFile) WriteAt(src [][]byte, off int64, appending bool) (n, newOff int64, err error) {
	var k int
	if appending {
		if k, err = hostcall.WriteVecAppend(o.fd, src, 0); err == nil {
			st, serr := o.f.stat()
			if serr != nil {
				return 0, 0, serr
			}
			off = st.Size - int64(k)
		}
	} else {
		k, err = hostcall.WriteVec(o.fd, src, off)
	}
	if err != nil {
		return 0, off, err
	}
	if o.f.paged.Load() {
		o.f.update(src, uint64(off), uint64(k))
	}
	return int64(k), off + int64(k), nil
}

// Sync implements vfs.Syncer.
func (o *openFile) Sync(dataOnly bool) error {
	if o.f.paged.Load() {
		if err := o.f.flush(0, everything); err != nil {
			return err
		}
	}
	return hostcall.FsyncFD(o.fd, dataOnly)
}

// Pager implements vfs.Mappable.
func (o *openFile) Pager() memfile.Pager { return o.f }
