package tmpfs

import (
	"math"

	"golang.org/x/sys/unix"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/vfs"
)

// maxFile is the largest size of a file (MAX_LFS_FILESIZE, page aligned).
const maxFile = math.MaxInt64 &^ (pageSize - 1)

// maxChunk is the most that a page fault fills of a hole: the memory file is
// empty until it is touched, so this costs nothing.
const maxChunk = 2 << 20

// file is a regular file, and its own memfile.Pager.
type file struct {
	node
	vfs.WriteCount
	maps extent.Mappings

	// Under node.mu:
	size     int64
	data     extent.Map
	pages    uint64 // in data
	linkable bool   // made by O_TMPFILE
	seals    uint32 // unix.F_SEAL_*; F_SEAL_SEAL for what is no memfd
	sealable bool   // a memfd with MFD_ALLOW_SEALING
}

func roundUp(n uint64) uint64   { return (n + pageSize - 1) &^ (pageSize - 1) }
func roundDown(n uint64) uint64 { return n &^ (pageSize - 1) }

// Stat implements vfs.Inode.
func (f *file) Stat() (vfs.Stat, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	st := f.statLocked()
	st.Size = f.size
	st.Blocks = int64(f.pages * (pageSize / 512))
	return st, nil
}

// Open implements vfs.Inode.
func (f *file) Open(flags uint32) (vfs.FileOps, error) {
	if err := f.hold(); err != nil {
		return nil, err
	}
	return &openFile{f: f, noatime: flags&unix.O_NOATIME != 0}, nil
}

// Hold implements vfs.Holder.
func (f *file) Hold() {
	f.mu.Lock()
	f.users++
	f.mu.Unlock()
}

// Unhold implements vfs.Holder.
func (f *file) Unhold() { release(f, 1) }

// dropped gives the contents back.
func (f *file) dropped() {
	f.mu.Lock()
	out := f.cutLocked(0, math.MaxUint64&^(pageSize-1))
	f.mu.Unlock()
	f.free(out)
}

// cutLocked makes a hole and returns what was there, for free.
func (f *file) cutLocked(start, end uint64) []memfile.Range {
	out := f.data.Cut(start, end, nil)
	for _, r := range out {
		n := r.Length() / pageSize
		f.pages -= n
		f.fs.uncharge(n)
	}
	return out
}

func (f *file) free(rs []memfile.Range) {
	for _, r := range rs {
		f.fs.mem.DecRef(r)
	}
}

// fillLocked puts memory into the hole at off, up to length long.
func (f *file) fillLocked(off, length uint64) (memfile.Range, error) {
	if err := f.fs.charge(length / pageSize); err != nil {
		return memfile.Range{}, err
	}
	r, err := f.fs.mem.Allocate(length)
	if err != nil {
		f.fs.uncharge(length / pageSize)
		return memfile.Range{}, err
	}
	f.data.Insert(off, r)
	f.pages += length / pageSize
	return r, nil
}

// zeroLocked clears [start, end) where there is data, inside one page or more.
func (f *file) zeroLocked(start, end uint64) {
	for at := roundDown(start); at < end; {
		r, hole, data := f.data.At(at, roundUp(end)-at)
		if !data {
			at += hole
			continue
		}
		b := f.fs.mem.Bytes(r)
		lo, hi := max(start, at)-at, min(end-at, r.Length())
		clear(b[lo:hi])
		at += r.Length()
	}
}

// SetStat implements vfs.StatSetter.
func (f *file) SetStat(s vfs.SetStat) error {
	f.mu.Lock()
	if s.Mask&vfs.SetMode != 0 && f.seals&unix.F_SEAL_EXEC != 0 && (s.Mode^f.mode)&0o111 != 0 {
		f.mu.Unlock()
		return unix.EPERM
	}
	if s.Mask&vfs.SetSize == 0 {
		f.setLocked(s)
		f.mu.Unlock()
		return nil
	}
	old := f.size
	switch {
	case s.Size < 0:
		f.mu.Unlock()
		return unix.EINVAL
	case s.Size > maxFile:
		f.mu.Unlock()
		return unix.EFBIG
	case s.Size < old && f.seals&unix.F_SEAL_SHRINK != 0, s.Size > old && f.seals&unix.F_SEAL_GROW != 0:
		f.mu.Unlock()
		return unix.EPERM
	}
	f.size = s.Size
	var out []memfile.Range
	start := roundUp(uint64(s.Size))
	if s.Size < old {
		out = f.cutLocked(start, math.MaxUint64&^(pageSize-1))
		f.zeroLocked(uint64(s.Size), start)
	}
	s.Mask &^= vfs.SetSize
	f.setLocked(s)
	if s.Mask&vfs.SetMtime == 0 {
		f.mtime = f.ctime
	}
	f.mu.Unlock()
	if s.Size < old {
		f.maps.Invalidate(f, start, math.MaxUint64&^(pageSize-1), true)
		f.free(out)
	}
	return nil
}

// Fallocate implements vfs.Fallocater.
func (f *file) Fallocate(mode uint32, off, length int64) error {
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if mode&^known != 0 {
		return unix.EOPNOTSUPP
	}
	end := off + length
	if end > maxFile {
		return unix.EFBIG
	}
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		if mode != unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE {
			return unix.EOPNOTSUPP
		}
		return f.punch(uint64(off), uint64(end))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seals&unix.F_SEAL_GROW != 0 && end > f.size && mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		return unix.EPERM
	}
	if mode&unix.FALLOC_FL_ZERO_RANGE != 0 {
		if f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			return unix.EPERM
		}
		f.zeroLocked(uint64(off), uint64(end))
	}
	start, stop := roundDown(uint64(off)), roundUp(uint64(end))
	type filled struct{ off, end uint64 }
	var done []filled
	for at := start; at < stop; {
		r, hole, data := f.data.At(at, stop-at)
		if data {
			at += r.Length()
			continue
		}
		if _, err := f.fillLocked(at, hole); err != nil {
			for _, d := range done {
				f.free(f.cutLocked(d.off, d.end)) // never seen by a fault: the lock is held
			}
			return err
		}
		done = append(done, filled{at, at + hole})
		at += hole
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 && end > f.size {
		f.size = end
	}
	f.ctime = f.fs.now()
	f.mtime = f.ctime
	return nil
}

// punch frees whole pages and clears the rest.
func (f *file) punch(off, end uint64) error {
	first, last := roundUp(off), roundDown(end)
	f.mu.Lock()
	if f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		f.mu.Unlock()
		return unix.EPERM
	}
	var out []memfile.Range
	if first < last {
		out = f.cutLocked(first, last)
	}
	f.zeroLocked(off, min(first, end))
	if last >= first {
		f.zeroLocked(last, end)
	}
	f.ctime = f.fs.now()
	f.mtime = f.ctime
	f.mu.Unlock()
	if first < last {
		f.maps.Invalidate(f, first, last, false)
		f.free(out)
	}
	return nil
}

// Punch implements mm.Puncher, for madvise(MADV_REMOVE).
func (f *file) Punch(off, length uint64) error { return f.punch(off, off+length) }

// Page implements memfile.Pager.
func (f *file) Page(off, length uint64, write bool) (memfile.Range, error) {
	f.mu.RLock()
	r, ok := f.pageLocked(off, length)
	f.mu.RUnlock()
	if ok {
		return r, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.pageLocked(off, length); ok {
		return r, nil
	}
	if off >= roundUp(uint64(f.size)) {
		return memfile.Range{}, unix.ENXIO
	}
	_, hole, _ := f.data.At(off, min(length, roundUp(uint64(f.size))-off))
	chunk := min(hole, maxChunk-off%maxChunk)
	r, err := f.fillLocked(off, chunk)
	if err != nil && chunk > pageSize {
		r, err = f.fillLocked(off, pageSize)
	}
	if err != nil {
		// A fault that finds the file system full is SIGBUS.
		return memfile.Range{}, unix.ENXIO
	}
	f.fs.mem.IncRef(r)
	return r, nil
}

// pageLocked finds what is there already.
func (f *file) pageLocked(off, length uint64) (memfile.Range, bool) {
	end := roundUp(uint64(f.size))
	if off >= end {
		return memfile.Range{}, false
	}
	r, _, data := f.data.At(off, min(length, end-off))
	if data {
		f.fs.mem.IncRef(r)
	}
	return r, data
}

// AddMapping implements memfile.Pager. EPERM: a seal forbids it.
func (f *file) AddMapping(m memfile.Invalidator, length uint64, writable bool) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if writable && f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return unix.EPERM
	}
	f.maps.Add(m, length, writable)
	return nil
}

// RemoveMapping implements memfile.Pager.
func (f *file) RemoveMapping(m memfile.Invalidator, length uint64, writable bool) {
	f.maps.Remove(m, length, writable)
}
