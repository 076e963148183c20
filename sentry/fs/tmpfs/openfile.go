package tmpfs

import (
	"math"

	"golang.org/x/sys/unix"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/vfs"
)

// openFile is an open regular file.
type openFile struct {
	f       *file
	noatime bool
}

// Release implements vfs.FileOps.
func (o *openFile) Release() { release(o.f, 1) }

// Pager implements vfs.Mappable.
func (o *openFile) Pager() memfile.Pager { return o.f }

// Sync implements vfs.Syncer: memory is all there is.
func (o *openFile) Sync(bool) error { return nil }

// SetFlags implements vfs.FlagSetter; O_DIRECT is accepted and means nothing,
// as in shmem since Linux 6.6.
func (o *openFile) SetFlags(uint32) error { return nil }

// ReadAt implements vfs.ReaderAt.
func (o *openFile) ReadAt(dst [][]byte, off int64) (int64, error) {
	f := o.f
	f.mu.RLock()
	done := f.readLocked(dst, off)
	stale := !o.noatime && done > 0 && atimeStale(&f.node)
	f.mu.RUnlock()
	if stale {
		f.mu.Lock()
		f.atime = f.fs.now()
		f.mu.Unlock()
	}
	return done, nil
}

// atimeStale is relatime's rule: the access time is kept current enough to tell
// whether the file was read since it last changed.
func atimeStale(n *node) bool {
	return !after(n.atime, n.mtime) || !after(n.atime, n.ctime)
}

func after(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

func (f *file) readLocked(dst [][]byte, off int64) (done int64) {
	if off >= f.size {
		return 0
	}
	left := uint64(f.size - off)
	at := uint64(off)
	for _, b := range dst {
		if uint64(len(b)) > left {
			b = b[:left]
		}
		left -= uint64(len(b))
		for len(b) > 0 {
			page := roundDown(at)
			skip := at - page
			r, hole, data := f.data.At(page, roundUp(skip+uint64(len(b))))
			var n int
			if data {
				n = copy(b, f.fs.mem.Bytes(r)[skip:])
			} else {
				n = int(min(uint64(len(b)), hole-skip))
				clear(b[:n])
			}
			b = b[n:]
			at += uint64(n)
			done += int64(n)
		}
		if left == 0 {
			break
		}
	}
	return done
}

// WriteAt implements vfs.WriterAt.
func (o *openFile) WriteAt(src [][]byte, off int64, appending bool) (int64, int64, error) {
	f := o.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if appending {
		off = f.size
	}
	if f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return 0, off, unix.EPERM
	}
	n, err := f.writeLocked(src, off)
	if n > 0 {
		now := f.fs.now()
		f.mtime, f.ctime = now, now
		err = nil
	}
	return n, off + n, err
}

func (f *file) writeLocked(src [][]byte, off int64) (done int64, err error) {
	var total uint64
	for _, b := range src {
		total += uint64(len(b))
	}
	if total == 0 {
		return 0, nil
	}
	if off >= maxFile {
		return 0, unix.EFBIG
	}
	left := min(total, uint64(maxFile-off))
	if f.seals&unix.F_SEAL_GROW != 0 {
		if off >= f.size {
			return 0, unix.EPERM
		}
		left = min(left, uint64(f.size-off))
	}
	at := uint64(off)
	for _, b := range src {
		if uint64(len(b)) > left {
			b = b[:left]
		}
		for len(b) > 0 {
			page := roundDown(at)
			skip := at - page
			// All that this call writes from here on is asked for at once, so
			// that it lies together.
			r, hole, data := f.data.At(page, roundUp(skip+left))
			if !data {
				if r, err = f.fillLocked(page, hole); err != nil && hole > pageSize {
					r, err = f.fillLocked(page, pageSize)
				}
				if err != nil {
					return done, err
				}
			}
			n := copy(f.fs.mem.Bytes(r)[skip:], b)
			b = b[n:]
			at += uint64(n)
			left -= uint64(n)
			done += int64(n)
			if int64(at) > f.size {
				f.size = int64(at)
			}
		}
		if left == 0 {
			break
		}
	}
	return done, nil
}

// Lseek implements vfs.Seeker: SEEK_DATA and SEEK_HOLE know the holes.
func (o *openFile) Lseek(cur, off int64, whence int32) (int64, error) {
	f := o.f
	f.mu.RLock()
	defer f.mu.RUnlock()
	base := int64(0)
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = cur
	case unix.SEEK_END:
		base = f.size
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if off < 0 || off >= f.size {
			return 0, unix.ENXIO
		}
		if whence == unix.SEEK_HOLE {
			return f.holeLocked(off), nil
		}
		page := roundDown(uint64(off))
		next, ok := f.data.NextData(page)
		if next == page && ok {
			return off, nil
		}
		if !ok || int64(next) >= f.size {
			return 0, unix.ENXIO
		}
		return int64(next), nil
	default:
		return 0, unix.EINVAL
	}
	if off > 0 && base > math.MaxInt64-off {
		return 0, unix.EOVERFLOW
	}
	if base+off < 0 {
		return 0, unix.EINVAL
	}
	return base + off, nil
}

func (f *file) holeLocked(off int64) int64 {
	page := roundDown(uint64(off))
	next := f.data.NextHole(page)
	if next == page {
		return off
	}
	return min(int64(next), f.size)
}

// Seals returns the seals of the file (fcntl(F_GET_SEALS)).
func (o *openFile) Seals() (uint32, error) {
	o.f.mu.RLock()
	defer o.f.mu.RUnlock()
	if !o.f.sealable {
		return unix.F_SEAL_SEAL, nil
	}
	return o.f.seals, nil
}

// AddSeals adds seals (fcntl(F_ADD_SEALS)) to a file that the caller has open
// for writing. EINVAL: an unknown seal. EPERM: F_SEAL_SEAL is there. EBUSY:
// F_SEAL_WRITE while somebody maps it shared and writable.
func (o *openFile) AddSeals(seals uint32) error {
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE |
		unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC
	if seals&^all != 0 {
		return unix.EINVAL
	}
	n := o.f
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.sealable || n.seals&unix.F_SEAL_SEAL != 0 {
		return unix.EPERM
	}
	if seals&unix.F_SEAL_WRITE != 0 && n.seals&unix.F_SEAL_WRITE == 0 && n.maps.Writable() {
		return unix.EBUSY
	}
	if seals&unix.F_SEAL_EXEC != 0 && n.mode&0o111 != 0 {
		seals |= unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	}
	n.seals |= seals
	return nil
}

// NewMemfd makes the file of memfd_create(2), open for reading and writing.
// flags are MFD_*; name is at most 249 bytes (EINVAL).
func (fs *FS) NewMemfd(name string, flags uint32, creds *vfs.Creds) (*vfs.File, error) {
	const known = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	const both = unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	if flags&^known != 0 || flags&both == both || len(name) > unix.NAME_MAX-len("memfd:") {
		return nil, unix.EINVAL
	}
	a := vfs.CreateArgs{Mode: unix.S_IFREG | 0o777, UID: creds.UID, GID: creds.GID}
	if flags&unix.MFD_NOEXEC_SEAL != 0 {
		a.Mode = unix.S_IFREG | 0o666
	}
	m, err := fs.newNode(a)
	if err != nil {
		return nil, err
	}
	f := m.(*file)
	f.nlink = 0
	f.sealable = flags&(unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL) != 0
	if flags&unix.MFD_NOEXEC_SEAL != 0 {
		f.seals |= unix.F_SEAL_EXEC
	}
	ops, err := f.Open(unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return vfs.NewFile(ops, f, unix.O_RDWR|0o100000, "/memfd:"+name+" (deleted)"), nil
}
