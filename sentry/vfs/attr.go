package vfs

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// Stat returns the attributes of path (fstatat(2), statx(2)). flags:
// AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (c *Caller) Stat(at *File, path string, flags uint32) (Stat, error) {
	st, _, err := c.StatPath(at, path, flags)
	return st, err
}

// StatPath is Stat that also returns what path leads to.
func (c *Caller) StatPath(at *File, path string, flags uint32) (Stat, Path, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 && at != nil {
		st, err := at.Stat()
		return st, at.path, err
	}
	p, err := c.Walk(at, path, flags)
	if err != nil {
		return Stat{}, p, err
	}
	st, err := p.Inode().Stat()
	return st, p, err
}

// Access checks permissions (faccessat2(2)). want is a set of MayRead, MayWrite
// and MayExec; 0 asks whether the file is there. The caller puts the real ids
// into c.Creds unless flags have AT_EACCESS.
func (c *Caller) Access(at *File, path string, want uint32, flags uint32) error {
	if want&^7 != 0 || flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	p, err := c.Walk(at, path, flags)
	if err != nil || want == 0 {
		return err
	}
	if want&MayExec != 0 && p.Dentry.kind == unix.S_IFREG && p.Mount.has(unix.MS_NOEXEC) {
		return unix.EACCES
	}
	if err := c.permission(p.Inode(), want); err != nil {
		return err
	}
	if want&MayWrite != 0 && p.Mount.has(unix.MS_RDONLY) {
		switch p.Dentry.kind {
		case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
			return unix.EROFS
		}
	}
	return nil
}

// setStat finds path and has its attributes changed as fn says.
func (c *Caller) setStat(at *File, path string, flags uint32, fn func(Inode, Stat) (SetStat, error)) error {
	p, err := c.Walk(at, path, flags)
	if err != nil {
		return err
	}
	if err := c.mayWrite(p.Mount); err != nil {
		return err
	}
	st, err := p.Inode().Stat()
	if err != nil {
		return err
	}
	s, err := fn(p.Inode(), st)
	if err != nil || s.Mask == 0 {
		return err
	}
	setter, ok := p.Inode().(StatSetter)
	if !ok {
		return unix.EPERM
	}
	if err := setter.SetStat(s); err != nil {
		return err
	}
	p.Dentry.notify(changed(s.Mask))
	return nil
}

// changed is which event tells of a change of attributes (fsnotify_change).
func changed(m SetMask) (mask uint32) {
	if m&(SetMode|SetUID|SetGID) != 0 {
		mask |= unix.IN_ATTRIB
	}
	if m&SetSize != 0 {
		mask |= unix.IN_MODIFY
	}
	switch m & (SetAtime | SetMtime) {
	case SetAtime | SetMtime:
		mask |= unix.IN_ATTRIB // utime(2)
	case SetAtime:
		mask |= unix.IN_ACCESS
	case SetMtime:
		mask |= unix.IN_MODIFY
	}
	return mask
}

// Chmod changes permissions (fchmodat2(2)). EOPNOTSUPP: symbolic links have
// none.
func (c *Caller) Chmod(at *File, path string, mode uint32, flags uint32) error {
	return c.setStat(at, path, flags, func(_ Inode, st Stat) (SetStat, error) {
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return SetStat{}, unix.EOPNOTSUPP
		}
		if !c.Creds.owns(st.UID) {
			return SetStat{}, unix.EPERM
		}
		mode &= 0o7777
		if !c.Creds.mayKeepSetGID(st.UID, st.GID) {
			mode &^= unix.S_ISGID
		}
		return SetStat{Mask: SetMode, Mode: mode}, nil
	})
}

// KeepID leaves an id as it is in Chown: (uid_t) -1.
const KeepID = ^uint32(0)

// Chown changes owner and group (fchownat(2)).
func (c *Caller) Chown(at *File, path string, uid, gid uint32, flags uint32) error {
	return c.setStat(at, path, flags, func(_ Inode, st Stat) (SetStat, error) {
		var s SetStat
		chown := c.Creds.HasOver(st.UID, st.GID, unix.CAP_CHOWN)
		if uid != KeepID {
			if !chown && (c.Creds.UID != st.UID || uid != st.UID) {
				return s, unix.EPERM
			}
			s.Mask, s.UID = s.Mask|SetUID, uid
		}
		if gid != KeepID {
			if !chown && (c.Creds.UID != st.UID || gid != st.GID && !c.Creds.InGroup(gid)) {
				return s, unix.EPERM
			}
			s.Mask, s.GID = s.Mask|SetGID, gid
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFLNK {
			if kept := withoutSetID(st.Mode); kept != st.Mode {
				if !c.Creds.owns(st.UID) {
					return s, unix.EPERM
				}
				s.Mask, s.Mode = s.Mask|SetMode, kept&0o7777
			}
		}
		return s, nil
	})
}

// Utimens sets the times of last access and change (utimensat(2)). Nsec may be
// unix.UTIME_NOW or unix.UTIME_OMIT.
func (c *Caller) Utimens(at *File, path string, atime, mtime unix.Timespec, flags uint32) error {
	for _, t := range [2]unix.Timespec{atime, mtime} {
		if t.Nsec != unix.UTIME_NOW && t.Nsec != unix.UTIME_OMIT && (t.Nsec < 0 || t.Nsec > 999_999_999) {
			return unix.EINVAL
		}
	}
	return c.setStat(at, path, flags, func(i Inode, st Stat) (SetStat, error) {
		var s SetStat
		if atime.Nsec != unix.UTIME_OMIT {
			s.Mask, s.Atime = s.Mask|SetAtime, atime
		}
		if mtime.Nsec != unix.UTIME_OMIT {
			s.Mask, s.Mtime = s.Mask|SetMtime, mtime
		}
		if s.Mask == 0 || c.Creds.owns(st.UID) {
			return s, nil
		}
		if atime.Nsec == unix.UTIME_NOW && mtime.Nsec == unix.UTIME_NOW {
			return s, c.permission(i, MayWrite)
		}
		return s, unix.EPERM
	})
}

// setSize is do_truncate: set-id bits go, too.
func (c *Caller) setSize(d *Dentry, size int64) error {
	i := d.inode
	setter, ok := i.(StatSetter)
	if !ok {
		return unix.EINVAL
	}
	s := SetStat{Mask: SetSize, Size: size}
	mode, _, _, err := ownerOf(i)
	if err != nil {
		return err
	}
	if kept := withoutSetID(mode); kept != mode && !c.Creds.Has(unix.CAP_FSETID) {
		s.Mask, s.Mode = s.Mask|SetMode, kept&0o7777
	}
	if err := setter.SetStat(s); err != nil {
		return err
	}
	d.notify(changed(SetSize))
	return nil
}

// Truncate sets the length of the file at path (truncate(2)). EFBIG and
// SIGXFSZ for RLIMIT_FSIZE are the caller's business.
func (c *Caller) Truncate(path string, size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	p, err := c.Walk(nil, path, 0)
	if err != nil {
		return err
	}
	switch p.Dentry.kind {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.EINVAL
	}
	if err := c.mayWrite(p.Mount); err != nil {
		return err
	}
	if err := c.permission(p.Inode(), MayWrite); err != nil {
		return err
	}
	if err := mayWriteTo(p.Inode()); err != nil {
		return err
	}
	return c.setSize(p.Dentry, size)
}

// Ftruncate sets the length of an open file (ftruncate(2)).
func (c *Caller) Ftruncate(f *File, size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	if f.IsPath() {
		return unix.EBADF
	}
	if f.path.Dentry.kind != unix.S_IFREG || !f.Writable() {
		return unix.EINVAL
	}
	return c.setSize(f.path.Dentry, size)
}

// Statfs describes the file system of path (statfs(2); fstatfs(2) with
// AT_EMPTY_PATH).
func (c *Caller) Statfs(at *File, path string, flags uint32) (unix.Statfs_t, error) {
	p, err := c.Walk(at, path, flags)
	if err != nil {
		return unix.Statfs_t{}, err
	}
	if p.Mount == nil {
		return unix.Statfs_t{Type: unix.ANON_INODE_FS_MAGIC, Bsize: 4096, Frsize: 4096, Namelen: 255}, nil
	}
	s, err := p.Mount.sb.fs.Statfs()
	if err != nil {
		return s, err
	}
	const stValid = 0x20
	s.Flags = stValid
	for _, f := range [...]struct {
		ms uint32
		st int64
	}{{unix.MS_RDONLY, unix.ST_RDONLY}, {unix.MS_NOSUID, unix.ST_NOSUID}, {unix.MS_NODEV, unix.ST_NODEV},
		{unix.MS_NOEXEC, unix.ST_NOEXEC}, {unix.MS_NOATIME, unix.ST_NOATIME},
		{unix.MS_NODIRATIME, unix.ST_NODIRATIME}, {unix.MS_RELATIME, unix.ST_RELATIME}} {
		if p.Mount.has(f.ms) {
			s.Flags |= f.st
		}
	}
	return s, nil
}

// xattr finds path and checks that the caller may do access (MayRead, MayWrite)
// to the attribute (xattr_permission).
func (c *Caller) xattr(at *File, path string, flags uint32, name string, access uint32) (Xattrer, error) {
	p, err := c.Walk(at, path, flags)
	if err != nil {
		return nil, err
	}
	return c.xattrOf(p, name, access)
}

func (c *Caller) xattrOf(p Path, name string, access uint32) (Xattrer, error) {
	if access == MayWrite {
		if err := c.mayWrite(p.Mount); err != nil {
			return nil, err
		}
	}
	x, ok := p.Inode().(Xattrer)
	if name == "" && access == 0 {
		if !ok {
			return nil, unix.EOPNOTSUPP
		}
		return x, nil
	}
	denied := unix.ENODATA
	if access == MayWrite {
		denied = unix.EPERM
	}
	space, _, found := strings.Cut(name, ".")
	if !found || len(name) == len(space)+1 {
		if found {
			return nil, unix.EINVAL
		}
		return nil, unix.EOPNOTSUPP
	}
	switch space {
	case "security":
		need := uint(unix.CAP_SYS_ADMIN)
		if name == attrCapability {
			need = unix.CAP_SETFCAP
		}
		if access == MayWrite && !c.Creds.Has(need) {
			return nil, unix.EPERM
		}
	case "trusted":
		if !c.Creds.Has(unix.CAP_SYS_ADMIN) {
			return nil, denied
		}
	case "user":
		mode, uid, _, err := ownerOf(p.Inode())
		if err != nil {
			return nil, err
		}
		switch mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFDIR:
		default:
			return nil, denied
		}
		if mode&unix.S_IFMT == unix.S_IFDIR && mode&unix.S_ISVTX != 0 && access == MayWrite && !c.Creds.owns(uid) {
			return nil, unix.EPERM
		}
		if err := c.permission(p.Inode(), access); err != nil {
			return nil, err
		}
	default:
		return nil, unix.EOPNOTSUPP
	}
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	return x, nil
}

// Limits of extended attributes (linux/limits.h).
const (
	XattrNameMax = 255
	XattrSizeMax = 65536
	XattrListMax = 65536
)

// Getxattr returns an extended attribute (getxattr(2)): ENODATA if absent.
func (c *Caller) Getxattr(at *File, path string, flags uint32, name string) ([]byte, error) {
	if name == "" || len(name) > XattrNameMax {
		return nil, unix.ERANGE
	}
	x, err := c.xattr(at, path, flags, name, MayRead)
	if err != nil {
		return nil, err
	}
	return x.Getxattr(name)
}

// Setxattr sets an extended attribute (setxattr(2)). how: XATTR_CREATE,
// XATTR_REPLACE.
func (c *Caller) Setxattr(at *File, path string, flags uint32, name string, value []byte, how uint32) error {
	if how&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	if name == "" || len(name) > XattrNameMax {
		return unix.ERANGE
	}
	if len(value) > XattrSizeMax {
		return unix.E2BIG
	}
	return c.changeXattr(at, path, flags, name, func(x Xattrer) error {
		if name == attrCapability && !validCapability(value) {
			return unix.EINVAL
		}
		return x.Setxattr(name, value, how)
	})
}

// attrCapability holds what a program may do (capabilities(7), "File capabilities").
const attrCapability = "security.capability"

// validCapability reports whether an attribute is one of version 2 or 3
// (cap_convert_nscap).
func validCapability(b []byte) bool {
	const effective = 1
	if len(b) < 4 {
		return false
	}
	switch binary.LittleEndian.Uint32(b) &^ effective {
	case 0x02000000:
		return len(b) == 20
	case 0x03000000:
		return len(b) == 24
	}
	return false
}

// Listxattr returns the names of the extended attributes that the caller may
// see (listxattr(2)).
func (c *Caller) Listxattr(at *File, path string, flags uint32) ([]string, error) {
	x, err := c.xattr(at, path, flags, "", 0)
	if err != nil {
		if err == unix.EOPNOTSUPP {
			return nil, nil
		}
		return nil, err
	}
	names, err := x.Listxattr()
	if err != nil || c.Creds.Has(unix.CAP_SYS_ADMIN) {
		return names, err
	}
	seen := names[:0:0]
	for _, n := range names {
		if !strings.HasPrefix(n, "trusted.") {
			seen = append(seen, n)
		}
	}
	return seen, nil
}

// Removexattr removes an extended attribute (removexattr(2)).
func (c *Caller) Removexattr(at *File, path string, flags uint32, name string) error {
	if name == "" || len(name) > XattrNameMax {
		return unix.ERANGE
	}
	return c.changeXattr(at, path, flags, name, func(x Xattrer) error { return x.Removexattr(name) })
}

func (c *Caller) changeXattr(at *File, path string, flags uint32, name string, fn func(Xattrer) error) error {
	p, err := c.Walk(at, path, flags)
	if err != nil {
		return err
	}
	x, err := c.xattrOf(p, name, MayWrite)
	if err != nil {
		return err
	}
	if err := fn(x); err != nil {
		return err
	}
	p.Dentry.notify(unix.IN_ATTRIB)
	return nil
}
