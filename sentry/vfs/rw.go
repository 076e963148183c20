package vfs

import (
	"math"

	"golang.org/x/sys/unix"
)

// total returns the length of bufs.
func total(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// head returns the first n bytes of bufs.
func head(bufs [][]byte, n int64) [][]byte {
	out := make([][]byte, 0, len(bufs))
	for _, b := range bufs {
		if n <= 0 {
			break
		}
		if int64(len(b)) > n {
			b = b[:n]
		}
		n -= int64(len(b))
		out = append(out, b)
	}
	return out
}

// Admit is Admitter's: nil for files without it.
func (f *File) Admit(task any, write bool) error {
	if a, ok := f.ops.(Admitter); ok {
		return a.Admit(task, write)
	}
	return nil
}

// ReadRest is Collector's.
func (f *File) ReadRest(dst [][]byte) (int64, error) {
	if c, ok := f.ops.(Collector); ok && f.Readable() {
		return c.ReadRest(dst)
	}
	return 0, unix.EBADF
}

// Read reads at the file position, or from the stream (readv(2)).
func (f *File) Read(dst [][]byte) (int64, error) {
	if !f.Readable() {
		return 0, unix.EBADF
	}
	switch o := f.ops.(type) {
	case Reader:
		return f.accessed(o.Read(dst))
	case ReaderAt:
		f.posMu.Lock()
		defer f.posMu.Unlock()
		n, err := o.ReadAt(dst, f.pos.Load())
		if n > 0 {
			f.pos.Add(n)
			err = nil
		}
		return f.accessed(n, err)
	}
	return 0, f.unreadable()
}

// accessed and modified pass on what a read or write did, and tell those who want
// to know.
func (f *File) accessed(n int64, err error) (int64, error) {
	if n > 0 {
		f.path.Dentry.notify(unix.IN_ACCESS)
	}
	return n, err
}

func (f *File) modified(n int64, err error) (int64, error) {
	if n > 0 {
		f.path.Dentry.notify(unix.IN_MODIFY)
	}
	return n, err
}

func (f *File) unreadable() error {
	if f.IsDir() {
		return unix.EISDIR
	}
	return unix.EINVAL
}

// PRead reads at off and leaves the position alone (preadv(2)).
func (f *File) PRead(dst [][]byte, off int64) (int64, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	if !f.Readable() {
		return 0, unix.EBADF
	}
	if o, ok := f.ops.(ReaderAt); ok {
		n, err := o.ReadAt(dst, off)
		if n > 0 {
			err = nil
		}
		return f.accessed(n, err)
	}
	if _, ok := f.ops.(Reader); ok {
		return 0, unix.ESPIPE
	}
	return 0, f.unreadable()
}

// Write writes at the file position, at the end if the file is O_APPEND, or to
// the stream (writev(2)). limit is RLIMIT_FSIZE in bytes, negative for none:
// EFBIG beyond (the caller raises SIGXFSZ). creds, nil for nobody's, decide
// whether the file keeps its set-id bits.
func (f *File) Write(creds *Creds, src [][]byte, limit int64) (int64, error) {
	if !f.Writable() {
		return 0, unix.EBADF
	}
	return f.write(creds, src, limit, f.Flags()&unix.O_APPEND != 0)
}

// WriteFlags is Write, or with an offset PWrite, that appends or does not as it is told
// (pwritev2's RWF_APPEND and RWF_NOAPPEND).
func (f *File) WriteFlags(creds *Creds, src [][]byte, off, limit int64, appending bool) (int64, error) {
	if off >= 0 {
		return f.pwrite(creds, src, off, limit, appending)
	}
	if !f.Writable() {
		return 0, unix.EBADF
	}
	return f.write(creds, src, limit, appending)
}

func (f *File) write(creds *Creds, src [][]byte, limit int64, appending bool) (int64, error) {
	switch o := f.ops.(type) {
	case Writer:
		return f.modified(o.Write(src))
	case WriterAt:
		f.posMu.Lock()
		defer f.posMu.Unlock()
		n, off, err := f.writeAt(creds, o, src, f.pos.Load(), limit, appending)
		if n > 0 {
			f.pos.Store(off)
			err = nil
		}
		return f.modified(n, err)
	}
	return 0, unix.EINVAL
}

// PWrite writes at off and leaves the position alone (pwritev(2)). As on
// Linux, an O_APPEND file is written at its end all the same.
func (f *File) PWrite(creds *Creds, src [][]byte, off, limit int64) (int64, error) {
	return f.pwrite(creds, src, off, limit, f.Flags()&unix.O_APPEND != 0)
}

func (f *File) pwrite(creds *Creds, src [][]byte, off, limit int64, appending bool) (int64, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	if !f.Writable() {
		return 0, unix.EBADF
	}
	if o, ok := f.ops.(WriterAt); ok {
		n, _, err := f.writeAt(creds, o, src, off, limit, appending)
		if n > 0 {
			err = nil
		}
		return f.modified(n, err)
	}
	if _, ok := f.ops.(Writer); ok {
		return 0, unix.ESPIPE
	}
	return 0, unix.EINVAL
}

func (f *File) writeAt(creds *Creds, o WriterAt, src [][]byte, off, limit int64, appending bool) (int64, int64, error) {
	n := total(src)
	if n == 0 {
		return 0, off, nil
	}
	if f.path.Dentry.kind == unix.S_IFREG {
		if limit < 0 {
			limit = math.MaxInt64
		}
		from := off
		if appending && limit != math.MaxInt64 {
			st, err := f.inode.Stat()
			if err != nil {
				return 0, off, err
			}
			from = st.Size
		}
		if !appending || limit != math.MaxInt64 {
			if from >= limit {
				return 0, off, unix.EFBIG
			}
			if n > limit-from {
				src = head(src, limit-from)
			}
		}
		if err := f.dropPrivileges(creds); err != nil {
			return 0, off, err
		}
	}
	return o.WriteAt(src, off, appending)
}

// dropPrivileges removes the set-id bits of a file that is written to
// (file_remove_privs).
func (f *File) dropPrivileges(creds *Creds) error {
	mode, _, _, err := ownerOf(f.inode)
	if err != nil || mode&(unix.S_ISUID|unix.S_ISGID) == 0 {
		return err
	}
	if creds != nil && creds.Has(unix.CAP_FSETID) {
		return nil
	}
	kept := withoutSetID(mode)
	if kept == mode {
		return nil
	}
	if s, ok := f.inode.(StatSetter); ok {
		return s.SetStat(SetStat{Mask: SetMode, Mode: kept & 0o7777})
	}
	return nil
}

// withoutSetID is what is left of mode when the file changes hands or content
// (setattr_should_drop_suidgid).
func withoutSetID(mode uint32) uint32 {
	mode &^= unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	return mode
}

// Lseek moves the position (lseek(2)). ESPIPE: streams.
func (f *File) Lseek(off int64, whence int32) (int64, error) {
	if f.ops == nil {
		return 0, unix.EBADF
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	if s, ok := f.ops.(Seeker); ok {
		if _, dir := f.ops.(DirReader); !dir {
			pos, err := s.Lseek(f.pos.Load(), off, whence)
			if err == nil {
				f.pos.Store(pos)
			}
			return pos, err
		}
	}
	_, ra := f.ops.(ReaderAt)
	_, wa := f.ops.(WriterAt)
	_, dir := f.ops.(DirReader)
	if !ra && !wa && !dir {
		return 0, unix.ESPIPE
	}
	pos := off
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		pos = f.pos.Load() + off
		if off > 0 && pos < 0 {
			return 0, unix.EOVERFLOW
		}
	case unix.SEEK_END:
		if dir {
			return 0, unix.EINVAL
		}
		st, err := f.Stat()
		if err != nil {
			return 0, err
		}
		pos = st.Size + off
		if off > 0 && pos < 0 {
			return 0, unix.EOVERFLOW
		}
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		// "the simplest implementation: the whole file is data, and there is
		// an implicit hole at its end".
		st, err := f.Stat()
		if err != nil {
			return 0, err
		}
		if dir || off < 0 || off >= st.Size {
			if dir {
				return 0, unix.EINVAL
			}
			return 0, unix.ENXIO
		}
		if whence == unix.SEEK_HOLE {
			pos = st.Size
		}
	default:
		return 0, unix.EINVAL
	}
	if pos < 0 {
		return 0, unix.EINVAL
	}
	f.pos.Store(pos)
	return pos, nil
}

// ReadDir lists a directory from the position on: emit returns false when it
// has no room for the entry, which then comes first the next time. ENOTDIR:
// not a directory; ENOENT: it was removed. Entry.Next is d_off.
func (f *File) ReadDir(c *Caller, emit func(Entry) bool) error {
	if f.ops == nil {
		return unix.EBADF
	}
	d, ok := f.ops.(DirReader)
	if !ok {
		return unix.ENOTDIR
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	if f.path.Dentry.gone.Load() {
		return unix.ENOENT
	}
	if f.pos.Load() == 0 {
		st, err := f.inode.Stat()
		if err != nil {
			return err
		}
		if !emit(Entry{Name: ".", Ino: st.Ino, Type: unix.DT_DIR, Next: 1}) {
			return nil
		}
		f.pos.Store(1)
	}
	if f.pos.Load() == 1 {
		up := f.path
		if c == nil || up != c.Root() {
			up = up.up()
		}
		st, err := up.Inode().Stat()
		if err != nil {
			return err
		}
		if !emit(Entry{Name: "..", Ino: st.Ino, Type: unix.DT_DIR, Next: 2}) {
			return nil
		}
		f.pos.Store(2)
	}
	defer f.path.Dentry.notify(unix.IN_ACCESS)
	return d.ReadDir(f.pos.Load()-2, func(e Entry) bool {
		e.Next += 2
		if !emit(e) {
			return false
		}
		f.pos.Store(e.Next)
		return true
	})
}
