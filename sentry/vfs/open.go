package vfs

import (
	"golang.org/x/sys/unix"
)

// OpenHow are the parameters of open(2) and openat2(2).
type OpenHow struct {
	Flags   uint32 // O_*
	Mode    uint32 // for O_CREAT and O_TMPFILE, before the umask
	Resolve uint64 // RESOLVE_*
	Special any    // what the file system is told about a file that it makes (mq_open(2))
}

const (
	resolveCached = 0x20 // RESOLVE_CACHED
	tmpfileBit    = unix.O_TMPFILE &^ unix.O_DIRECTORY
	pathFlags     = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
	validResolve  = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | resolveCached
	validOpen = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND |
		unix.O_NONBLOCK | unix.O_SYNC | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | oLargefile |
		unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | tmpfileBit
)

// CheckOpenHow is what openat2(2) refuses and open(2) ignores
// (build_open_flags): flags are the call's 64 bits.
func CheckOpenHow(flags, mode, resolve uint64) error {
	if flags&^uint64(validOpen) != 0 || resolve&^uint64(validResolve) != 0 {
		return unix.EINVAL
	}
	const scoped = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	if resolve&scoped == scoped {
		return unix.EINVAL
	}
	if flags&(unix.O_CREAT|tmpfileBit) != 0 {
		if mode&^0o7777 != 0 {
			return unix.EINVAL
		}
	} else if mode != 0 {
		return unix.EINVAL
	}
	if flags&unix.O_PATH != 0 && flags&^uint64(pathFlags|unix.O_CLOEXEC) != 0 {
		return unix.EINVAL
	}
	if resolve&resolveCached != 0 {
		if flags&(unix.O_TRUNC|unix.O_CREAT|tmpfileBit) != 0 {
			return unix.EINVAL
		}
		return unix.EAGAIN // we never promise to answer from the cache alone
	}
	return nil
}

// Open opens path (open(2)). The caller gets the one reference. O_CLOEXEC is
// the descriptor table's business. A FIFO's open may have to be completed: see
// File.Connected.
func (c *Caller) Open(at *File, path string, how OpenHow) (*File, error) {
	how.Flags &= validOpen
	how.Mode &= 0o7777
	f := how.Flags
	switch {
	case f&unix.O_PATH != 0:
		how.Flags &= pathFlags
	case f&tmpfileBit != 0:
		if f&unix.O_DIRECTORY == 0 || f&unix.O_CREAT != 0 || f&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, unix.EINVAL
		}
	case f&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY:
		return nil, unix.EINVAL
	}
	if f&unix.O_SYNC&^unix.O_DSYNC != 0 {
		how.Flags |= unix.O_DSYNC
	}
	for range retries {
		file, err := c.openOnce(at, path, how)
		if err != errStale {
			return file, err
		}
	}
	return nil, unix.ENOENT
}

// openOnce is one try of Open.
func (c *Caller) openOnce(at *File, path string, how OpenHow) (*File, error) {
	switch {
	case how.Flags&unix.O_PATH != 0:
		flags := uint32(0)
		if how.Flags&unix.O_NOFOLLOW != 0 {
			flags = unix.AT_SYMLINK_NOFOLLOW
		}
		p, err := c.resolve(at, path, flags, how.Resolve)
		if err != nil {
			return nil, err
		}
		if how.Flags&unix.O_DIRECTORY != 0 && !p.Dentry.IsDir() {
			return nil, unix.ENOTDIR
		}
		return c.newFile(p, nil, how.Flags)
	case how.Flags&tmpfileBit != 0:
		return c.openTmpfile(at, path, how)
	case how.Flags&unix.O_CREAT != 0:
		return c.openCreate(at, path, how)
	}
	flags := uint32(0)
	if how.Flags&unix.O_NOFOLLOW != 0 {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	p, err := c.resolve(at, path, flags, how.Resolve)
	if err != nil {
		return nil, err
	}
	return c.openPath(p, how, false)
}

// newFile makes a File at p. ops may be nil (O_PATH).
func (c *Caller) newFile(p Path, ops FileOps, flags uint32) (*File, error) {
	f := &File{path: p, inode: p.Inode(), ops: ops}
	if !p.pin() {
		if ops != nil {
			ops.Release()
		}
		return nil, errStale
	}
	f.refs.Store(1)
	flags &^= unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_CLOEXEC
	if ops != nil {
		flags |= oLargefile
	} else if h, ok := f.inode.(Holder); ok {
		h.Hold()
		f.hold = h
	}
	f.flags.Store(flags)
	return f, nil
}

// accessOf returns what flags ask of the file's permissions.
func accessOf(flags uint32) uint32 {
	want := [4]uint32{MayRead, MayWrite, MayRead | MayWrite, MayRead | MayWrite}[flags&unix.O_ACCMODE]
	if flags&unix.O_TRUNC != 0 {
		want |= MayWrite
	}
	return want
}

// openPath opens what is at p (do_open and may_open in fs/namei.c). created:
// it was made just now, so its permissions do not matter.
func (c *Caller) openPath(p Path, how OpenHow, created bool) (*File, error) {
	flags, want := how.Flags, accessOf(how.Flags)
	kind := p.Dentry.kind
	if flags&unix.O_DIRECTORY != 0 && kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	switch kind {
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFDIR:
		if want&MayWrite != 0 || flags&unix.O_CREAT != 0 {
			return nil, unix.EISDIR
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if p.Mount.has(unix.MS_NODEV) {
			return nil, unix.EACCES
		}
		flags &^= unix.O_TRUNC
	case unix.S_IFIFO, unix.S_IFSOCK:
		flags &^= unix.O_TRUNC
	case unix.S_IFREG:
		if want&MayWrite != 0 && !created && p.Mount.has(unix.MS_RDONLY) {
			return nil, unix.EROFS
		}
	}
	inode := p.Inode()
	if !created {
		if err := c.permission(inode, want); err != nil {
			return nil, err
		}
	}
	if flags&unix.O_NOATIME != 0 {
		if _, uid, _, err := ownerOf(inode); err != nil || !c.Creds.owns(uid) {
			return nil, unix.EPERM
		}
	}
	ops, ref, err := c.openInode(p, flags&^(unix.O_CREAT|unix.O_EXCL|unix.O_TRUNC))
	if err != nil {
		return nil, err
	}
	f, err := c.newFile(p, ops, flags)
	if err != nil {
		if ref != nil {
			ref.drop()
		}
		return nil, err
	}
	f.fifo = ref
	if flags&unix.O_DIRECT != 0 && kind == unix.S_IFREG {
		if _, ok := ops.(FlagSetter); !ok {
			f.DecRef()
			return nil, unix.EINVAL
		}
	}
	if kind == unix.S_IFREG && want&MayWrite != 0 {
		if flags&unix.O_ACCMODE != unix.O_RDONLY {
			err = f.count(1)
		} else {
			err = mayWriteTo(inode)
		}
		if err != nil {
			f.DecRef()
			return nil, err
		}
	}
	f.opened()
	if flags&unix.O_TRUNC != 0 && !created && kind == unix.S_IFREG {
		if err := c.setSize(p.Dentry, 0); err != nil {
			f.DecRef()
			return nil, err
		}
	}
	return f, nil
}

// OpenPath opens what is at p without regard to its permissions (dentry_open).
func (c *Caller) OpenPath(p Path, flags uint32) (*File, error) {
	ops, ref, err := c.openInode(p, flags)
	if err != nil {
		return nil, err
	}
	f, err := c.newFile(p, ops, flags)
	if err != nil {
		if ref != nil {
			ref.drop()
		}
		return nil, err
	}
	f.fifo = ref
	f.opened()
	return f, nil
}

// openInode finds the operations: those of devices and FIFOs are not the file
// system's.
func (c *Caller) openInode(p Path, flags uint32) (FileOps, *fifoRef, error) {
	inode := p.Inode()
	if p.Mount == nil {
		ops, err := inode.Open(flags)
		return ops, nil, err
	}
	switch p.Dentry.kind {
	case unix.S_IFSOCK, unix.S_IFBLK:
		return nil, nil, unix.ENXIO
	case unix.S_IFCHR:
		st, err := inode.Stat()
		if err != nil {
			return nil, nil, err
		}
		if c.ns.cfg.OpenDevice == nil {
			return nil, nil, unix.ENXIO
		}
		ops, err := c.ns.cfg.OpenDevice(c, p, st.Rdev, flags)
		return ops, nil, err
	case unix.S_IFIFO:
		if c.ns.cfg.NewFIFO == nil {
			return nil, nil, unix.ENXIO
		}
		return p.Dentry.sb.fifos.open(inode, flags, c.ns.cfg.NewFIFO)
	}
	if o, ok := inode.(CallerOpener); ok {
		ops, err := o.OpenFor(c, flags)
		return ops, nil, err
	}
	ops, err := inode.Open(flags)
	return ops, nil, err
}

// openCreate opens with O_CREAT (open_last_lookups and lookup_open).
func (c *Caller) openCreate(at *File, path string, how OpenHow) (*File, error) {
	var w walk
	if err := c.start(&w, at, path, how.Resolve); err != nil {
		return nil, err
	}
	for {
		if err := w.toLast(); err != nil {
			return nil, err
		}
		if w.lastKind != lastNorm {
			p, err := w.step(w.last, w.lastKind)
			if err != nil {
				return nil, err
			}
			return c.openExisting(w.at, p, how)
		}
		if w.slash {
			return nil, unix.EISDIR
		}
		p, err := w.step(w.last, lastNorm)
		if err != nil {
			return nil, err
		}
		if !p.Ok() {
			f, err := c.create(w.at, w.last, how)
			if err != unix.EEXIST || how.Flags&unix.O_EXCL != 0 {
				return f, err
			}
			return nil, errStale // somebody else made it: look again
		}
		if p.Dentry.isSymlink() && how.Flags&(unix.O_NOFOLLOW|unix.O_EXCL) == 0 {
			if err := w.follow(p); err != nil {
				return nil, err
			}
			continue
		}
		return c.openExisting(w.at, p, how)
	}
}

// openExisting opens what O_CREAT found to be there.
func (c *Caller) openExisting(dir, p Path, how OpenHow) (*File, error) {
	if how.Flags&unix.O_EXCL != 0 {
		return nil, unix.EEXIST
	}
	if p.Dentry.IsDir() {
		return nil, unix.EISDIR
	}
	if err := c.mayCreateInSticky(dir.Inode(), p); err != nil {
		return nil, err
	}
	return c.openPath(p, how, false)
}

// mayCreateInSticky is may_create_in_sticky with fs.protected_regular and
// fs.protected_fifos off: O_CREAT does not open other sorts of files that
// somebody else put into a sticky directory.
func (c *Caller) mayCreateInSticky(dir Inode, p Path) error {
	if p.Dentry.kind == unix.S_IFREG || p.Dentry.kind == unix.S_IFIFO {
		return nil
	}
	mode, duid, _, err := ownerOf(dir)
	if err != nil || mode&unix.S_ISVTX == 0 {
		return err
	}
	_, uid, _, err := ownerOf(p.Inode())
	if err == nil && uid != duid && uid != c.Creds.UID && mode&0o002 != 0 {
		return unix.EACCES
	}
	return err
}

// create makes and opens the regular file called name in dir.
func (c *Caller) create(dir Path, name string, how OpenHow) (*File, error) {
	d := dir.Dentry
	if err := d.lockDir(); err != nil {
		return nil, err
	}
	defer d.unlockDir()
	child, err := c.makeLocked(dir, name, unix.S_IFREG|how.Mode, 0, unix.EACCES, func(m MutableDir, a CreateArgs) (Inode, error) {
		a.Special = how.Special
		return m.Create(name, a)
	})
	if err != nil {
		return nil, err
	}
	defer child.unpin()
	return c.openPath(Path{dir.Mount, child}, how, true)
}

// openTmpfile makes a file without a name (O_TMPFILE).
func (c *Caller) openTmpfile(at *File, path string, how OpenHow) (*File, error) {
	dir, err := c.resolve(at, path, 0, how.Resolve)
	if err != nil {
		return nil, err
	}
	if !dir.Dentry.IsDir() {
		return nil, unix.ENOTDIR
	}
	if err := c.mayWrite(dir.Mount); err != nil {
		return nil, err
	}
	if err := c.permission(dir.Inode(), MayWrite|MayExec); err != nil {
		return nil, err
	}
	t, ok := dir.Inode().(Tmpfiler)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	args, err := c.createArgs(dir.Inode(), unix.S_IFREG|how.Mode, 0)
	if err != nil {
		return nil, err
	}
	args.Nameless = how.Flags&unix.O_EXCL != 0
	inode, err := t.Tmpfile(args)
	if err != nil {
		return nil, err
	}
	st, err := inode.Stat()
	if err != nil {
		return nil, err
	}
	child, err := dir.Dentry.sb.newDentry(dir.Dentry, "#"+itoa(st.Ino), inode)
	if err != nil {
		return nil, err
	}
	child.gone.Store(true)
	how.Flags &^= unix.O_DIRECTORY | tmpfileBit
	f, err := c.openPath(Path{dir.Mount, child}, how, true)
	if err == nil {
		f.flags.Store(f.flags.Load() | unix.O_TMPFILE)
	}
	return f, err
}

func itoa(n uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// OpenExec opens a file for execve(2): EACCES unless it is a regular file that
// the caller may execute, on a mount that allows it; ETXTBSY if it is open for
// writing.
func (c *Caller) OpenExec(at *File, path string, flags uint32) (*File, error) {
	var f *File
	err := c.retry(func() error {
		p, err := c.Walk(at, path, flags)
		if err != nil {
			return err
		}
		if p.Dentry.isSymlink() {
			return unix.ELOOP
		}
		if p.Dentry.kind != unix.S_IFREG || p.Mount.has(unix.MS_NOEXEC) {
			return unix.EACCES
		}
		if err := c.permission(p.Inode(), MayExec); err != nil {
			return err
		}
		ops, _, err := c.openInode(p, unix.O_RDONLY)
		if err != nil {
			return err
		}
		if f, err = c.newFile(p, ops, unix.O_RDONLY); err != nil {
			return err
		}
		if w, ok := f.inode.(writeCounted); ok && w.writeCount().n.Load() > 0 {
			f.DecRef()
			return unix.ETXTBSY
		}
		f.opened()
		return nil
	})
	return f, err
}
