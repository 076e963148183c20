package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Creds are who makes a file system call: the file system ids, as
// setfsuid(2) calls them, supplementary groups and effective capabilities
// (bit n is capability n). They are never changed once in use.
type Creds struct {
	UID    uint32
	GID    uint32
	Groups []uint32
	Caps   uint64 // over everything

	// In is the user namespace that the caller is in, and InCaps its capabilities
	// there, which count for inodes whose owner and group In has numbers for
	// (capable_wrt_inode_uidgid). nil: there is but one, and Caps count.
	In     UserNamespace
	InCaps uint64
}

// UserNamespace is a user namespace as far as files are concerned.
type UserNamespace interface {
	HasUID(uid uint32) bool
	HasGID(gid uint32) bool
}

// RootCreds returns user 0 with all capabilities.
func RootCreds() *Creds { return &Creds{Caps: 1<<(unix.CAP_LAST_CAP+1) - 1} }

// Has reports whether c has the capability (unix.CAP_*).
func (c *Creds) Has(capability uint) bool { return c.Caps>>capability&1 != 0 }

// HasIn is Has for what concerns only the caller's own user namespace (ns_capable).
func (c *Creds) HasIn(capability uint) bool {
	if c.In == nil {
		return c.Has(capability)
	}
	return c.InCaps>>capability&1 != 0
}

// HasOver is Has over an inode (capable_wrt_inode_uidgid).
func (c *Creds) HasOver(uid, gid uint32, capability uint) bool {
	return c.HasIn(capability) && (c.In == nil || c.In.HasUID(uid) && c.In.HasGID(gid))
}

// InGroup reports whether gid is one of c's groups.
func (c *Creds) InGroup(gid uint32) bool { return c.GID == gid || slices.Contains(c.Groups, gid) }

// Access that permission checks ask for, as in access(2).
const (
	MayExec  = 1
	MayWrite = 2
	MayRead  = 4
)

// Owned is an inode that can tell type, permissions and owner without the
// rest of Stat. Inodes that are walked through often have it.
type Owned interface {
	Owner() (mode, uid, gid uint32)
}

func ownerOf(i Inode) (mode, uid, gid uint32, err error) {
	if o, ok := i.(Owned); ok {
		mode, uid, gid = o.Owner()
		return mode, uid, gid, nil
	}
	st, err := i.Stat()
	return st.Mode, st.UID, st.GID, err
}

// Permission checks access to i (generic_permission in fs/namei.c): EACCES.
func (c *Creds) Permission(i Inode, want uint32) error {
	mode, uid, gid, err := ownerOf(i)
	if err != nil {
		return err
	}
	return c.permits(mode, uid, gid, want)
}

func (c *Creds) permits(mode, uid, gid, want uint32) error {
	perm := mode
	switch {
	case c.UID == uid:
		perm >>= 6
	case c.InGroup(gid):
		perm >>= 3
	}
	if want&^perm&7 == 0 {
		return nil
	}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		if want&MayWrite == 0 && c.HasOver(uid, gid, unix.CAP_DAC_READ_SEARCH) || c.HasOver(uid, gid, unix.CAP_DAC_OVERRIDE) {
			return nil
		}
		return unix.EACCES
	}
	if want == MayRead && c.HasOver(uid, gid, unix.CAP_DAC_READ_SEARCH) {
		return nil
	}
	// "Executable DACs are overridable when there is at least one exec bit".
	if (want&MayExec == 0 || mode&0o111 != 0) && c.HasOver(uid, gid, unix.CAP_DAC_OVERRIDE) {
		return nil
	}
	return unix.EACCES
}

// owns is inode_owner_or_capable.
func (c *Creds) owns(uid uint32) bool {
	return c.UID == uid || c.HasIn(unix.CAP_FOWNER) && (c.In == nil || c.In.HasUID(uid))
}

// mayKeepSetGID is in_group_or_capable.
func (c *Creds) mayKeepSetGID(uid, gid uint32) bool {
	return c.InGroup(gid) || c.HasOver(uid, gid, unix.CAP_FSETID)
}

// permission checks access to i: by its mode, or as the inode itself has it.
func (c *Caller) permission(i Inode, want uint32) error {
	if g, ok := i.(CallerGuard); ok {
		return g.PermissionFor(c, want)
	}
	return c.Creds.Permission(i, want)
}

// search checks that names may be looked up in a directory.
func (c *Caller) search(d *Dentry) error {
	if d.guard != nil {
		return d.guard.PermissionFor(c, MayExec)
	}
	if c.Creds.Caps&(1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_DAC_READ_SEARCH) != 0 {
		return nil
	}
	return c.Creds.Permission(d.inode, MayExec)
}
