package proc

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// descriptors returns the descriptor table, nil if it is gone.
func (s *subject) descriptors() *fdtable.Table {
	if t := s.task(); t != nil {
		return t.Descriptors()
	}
	return nil
}

// file returns the open file of a descriptor with a reference: ENOENT.
func (s *subject) file(fd int) (*vfs.File, error) {
	if fds := s.descriptors(); fds != nil {
		if f := fds.Get(fd); f != nil {
			return f, nil
		}
	}
	return nil, unix.ENOENT
}

// fdDir is /proc/PID/fd or fdinfo: a name for each descriptor.
type fdDir struct {
	synth.Node
	s      *subject
	ino    uint64 // of descriptor 0
	typ    uint8  // DT_*
	member func(fd int, mode uint32) vfs.Inode
	guard  func(c *vfs.Caller, want uint32) error
}

// newFDs is /proc/PID/fd. Who looks at the own descriptors may do so even if the
// process is not dumpable (proc_fd_permission).
func newFDs(s *subject, a synth.Attr) vfs.Inode {
	d := &fdDir{Node: s.fs.Node(a), s: s, ino: inoFD, typ: unix.DT_LNK}
	d.member = func(fd int, mode uint32) vfs.Inode { return s.fdLink(fd, mode) }
	d.guard = func(c *vfs.Caller, want uint32) error {
		err := c.Creds.Permission(d, want)
		if err != nil && s.isReader(c) {
			return nil
		}
		return err
	}
	return d
}

// newFDInfos is /proc/PID/fdinfo, for those who may look into the process
// (proc_fdinfo_permission).
func newFDInfos(s *subject, a synth.Attr) vfs.Inode {
	d := &fdDir{Node: s.fs.Node(a), s: s, ino: inoFDInfo, typ: unix.DT_REG}
	d.member = func(fd int, _ uint32) vfs.Inode { return s.fdInfo(fd) }
	d.guard = func(c *vfs.Caller, want uint32) error {
		if err := s.check(); err != nil {
			return err
		}
		if err := s.mayTrace(c, 0); err != nil {
			return err
		}
		return c.Creds.Permission(d, want)
	}
	return d
}

// PermissionFor implements vfs.CallerGuard.
func (d *fdDir) PermissionFor(c *vfs.Caller, want uint32) error { return d.guard(c, want) }

// Stat implements vfs.Inode: the size is the number of descriptors.
func (d *fdDir) Stat() (vfs.Stat, error) {
	st, err := d.Node.Stat()
	if fds := d.s.descriptors(); fds != nil {
		st.Size = int64(fds.Count())
	}
	return st, err
}

// linkMode is the mode of a descriptor's link: what the file is open for.
func linkMode(f *vfs.File) uint32 {
	mode := uint32(unix.S_IFLNK)
	if f.Readable() {
		mode |= 0o500
	}
	if f.Writable() {
		mode |= 0o300
	}
	if f.IsPath() {
		mode |= 0o100
	}
	return mode
}

// Lookup implements vfs.Dir.
func (d *fdDir) Lookup(name string) (vfs.Inode, error) {
	fd, ok := parseID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	f, err := d.s.file(fd)
	if err != nil {
		return nil, err
	}
	defer f.DecRef()
	return d.member(fd, linkMode(f)), nil
}

// Revalidate implements vfs.Revalidator: the descriptor is open, and for the same.
func (d *fdDir) Revalidate(name string, child vfs.Inode) bool {
	fd, ok := parseID(name)
	if !ok {
		return false
	}
	f, err := d.s.file(fd)
	if err != nil {
		return false
	}
	defer f.DecRef()
	l, ok := child.(*synth.Magic)
	return !ok || l.Attr().Mode == linkMode(f)
}

// Open implements vfs.Inode.
func (d *fdDir) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(d.list), nil }

func (d *fdDir) list(off int64, emit func(vfs.Entry) bool) error {
	if d.s.check() != nil {
		return unix.ENOENT
	}
	fds := d.s.descriptors()
	if fds == nil {
		return nil
	}
	id := d.s.thread().ID()
	for fd, ok := fds.Next(int(min(off, fdtable.MaxFDs))); ok; fd, ok = fds.Next(fd + 1) {
		if !emit(vfs.Entry{Name: strconv.Itoa(fd), Ino: inoOf(id, !d.s.whole, d.ino+uint64(fd)), Type: d.typ, Next: int64(fd) + 1}) {
			break
		}
	}
	return nil
}

// fdLink is /proc/PID/fd/N.
func (s *subject) fdLink(fd int, mode uint32) vfs.Inode {
	a := s.node(mode, inoFD+uint64(fd))
	a.Size = 64
	return s.magic(a, func() (place, error) {
		f, err := s.file(fd)
		if err != nil {
			return place{}, err
		}
		return place{f.Path(), f.DecRef}, nil
	})
}

// FDInfoer is a vfs.FileOps that adds lines to /proc/PID/fdinfo (show_fdinfo in
// struct file_operations).
type FDInfoer interface {
	FDInfo(b *bytes.Buffer)
}

// oCloexec is O_CLOEXEC, which is a property of the descriptor but shown with the
// file's flags.
const oCloexec = unix.O_CLOEXEC

// fdInfo is /proc/PID/fdinfo/N (seq_show in fs/proc/fd.c).
func (s *subject) fdInfo(fd int) vfs.Inode {
	return s.fs.File(s.node(unix.S_IFREG|0o444, inoFDInfo+uint64(fd)), s.text(func(s *subject, b *bytes.Buffer) error {
		f, err := s.file(fd)
		if err != nil {
			return err
		}
		defer f.DecRef()
		flags := f.Flags()
		if on, err := s.descriptors().Cloexec(fd); err == nil && on {
			flags |= oCloexec
		}
		mount := 0
		if m := f.Path().Mount; m != nil {
			mount = m.ID()
		}
		_, ino := f.DeviceInode()
		fmt.Fprintf(b, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", f.Position(), flags, mount, ino)
		if i, ok := f.Ops().(FDInfoer); ok {
			i.FDInfo(b)
		}
		return nil
	}).Open)
}
