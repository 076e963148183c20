package procmgr

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ExecFile is what the file of a program says about privileges.
type ExecFile struct {
	// SetUID and SetGID are the owner and the group of a file with those mode bits
	// (S_ISUID; S_ISGID and S_IXGRP), NoID without, or on a mount with MS_NOSUID.
	SetUID, SetGID uint32
	// Caps are the file's capabilities, nil without.
	Caps *FileCaps
	// Shared: other processes have the same working directory object, through
	// which they could influence the program (LSM_UNSAFE_SHARE).
	Shared bool
}

// FileCaps are the capabilities of a file (the security.capability attribute,
// struct vfs_ns_cap_data).
type FileCaps struct {
	Permitted, Inheritable CapSet
	Effective              bool
	RootID                 uint32 // whose user namespace they are for
}

// Magic numbers of the attribute, and their sizes in bytes.
const (
	fileCapsRevision  = 0xff000000
	fileCapsEffective = 1
	fileCapsV1        = 0x01000000
	fileCapsV2        = 0x02000000
	fileCapsV3        = 0x03000000
	fileCapsV1Size    = 12
	fileCapsV2Size    = 20
	fileCapsV3Size    = 24
)

// DecodeFileCaps reads the value of a security.capability attribute: EINVAL if it
// is none (get_vfs_caps_from_disk).
func DecodeFileCaps(b []byte) (*FileCaps, error) {
	if len(b) < 4 {
		return nil, unix.EINVAL
	}
	le := binary.LittleEndian
	magic := le.Uint32(b)
	want, words := 0, 2
	switch magic & fileCapsRevision {
	case fileCapsV1:
		want, words = fileCapsV1Size, 1
	case fileCapsV2:
		want = fileCapsV2Size
	case fileCapsV3:
		want = fileCapsV3Size
	}
	if len(b) != want {
		return nil, unix.EINVAL
	}
	c := &FileCaps{Effective: magic&fileCapsEffective != 0}
	for i := range words {
		c.Permitted |= CapSet(le.Uint32(b[4+8*i:])) << (32 * i)
		c.Inheritable |= CapSet(le.Uint32(b[8+8*i:])) << (32 * i)
	}
	c.Permitted &= AllCaps
	c.Inheritable &= AllCaps
	if want == fileCapsV3Size {
		c.RootID = le.Uint32(b[20:])
	}
	return c, nil
}

// ForExec returns the credentials after execve(2), and whether the program runs
// with more privilege than its caller (AT_SECURE); see capabilities(7),
// "Transformation of capabilities during execve()", and Linux's
// cap_bprm_creds_from_file. EPERM: the file asks for capabilities to be effective that
// it does not get.
func (c *Credentials) ForExec(f ExecFile) (n *Credentials, secure bool, err error) {
	n = c.copy()
	caps := f.Caps
	if c.NoNewPrivs || caps != nil && !c.UserNS.ownsRoot(caps.RootID) {
		caps = nil
	}
	// Ids that the user namespace has no number for are not taken (bprm_fill_uid).
	if !c.NoNewPrivs && !(f.SetUID != NoID && c.UserNS.uid(f.SetUID) == NoID) &&
		!(f.SetGID != NoID && c.UserNS.gid(f.SetGID) == NoID) {
		if f.SetUID != NoID {
			n.EUID = f.SetUID
		}
		if f.SetGID != NoID {
			n.EGID = f.SetGID
		}
	}
	n.CapPermitted = 0
	effective := false
	if caps != nil {
		n.CapPermitted = c.CapBounding&caps.Permitted | c.CapInheritable&caps.Inheritable
		effective = caps.Effective
		if effective && caps.Permitted&^n.CapPermitted != 0 {
			return nil, false, unix.EPERM
		}
	}
	// Root gets all that it can have (handle_privileged_root), but for a set-user-ID
	// program with capabilities of its own, which gets just those.
	rootE, rootR := c.isRoot(n.EUID), c.isRoot(n.RUID)
	if n.SecureBits&secNoRoot == 0 && !(caps != nil && rootE && !rootR) {
		if rootE || rootR {
			n.CapPermitted = c.CapBounding | c.CapInheritable
		}
		effective = effective || rootE
	}
	changed := n.EUID != c.EUID || !c.InGroup(n.EGID)
	gained := n.CapPermitted&^c.CapPermitted != 0
	if (changed || gained) && (c.NoNewPrivs || f.Shared) {
		// No more than the caller had.
		if c.NoNewPrivs || !c.hasOwnCap(unix.CAP_SETUID) {
			n.EUID, n.EGID = n.RUID, n.RGID
		}
		n.CapPermitted &= c.CapPermitted
	}
	n.SUID, n.FSUID, n.SGID, n.FSGID = n.EUID, n.EUID, n.EGID, n.EGID
	if caps != nil || changed {
		n.CapAmbient = 0
	}
	n.CapPermitted |= n.CapAmbient
	n.CapEffective = n.CapAmbient
	if effective {
		n.CapEffective = n.CapPermitted
	}
	n.SecureBits &^= secKeepCaps
	secure = changed || n.EUID != c.RUID || n.EGID != c.RGID ||
		!rootR && (effective || n.CapPermitted&^n.CapAmbient != 0)
	return n, secure, nil
}

// ownsRoot reports whether a user is root in the namespace or in one above
// (rootid_owns_currentns).
func (ns *UserNamespace) ownsRoot(uid uint32) bool {
	for ; ns != nil; ns = ns.parent {
		if ns.uid(uid) == 0 {
			return true
		}
	}
	return uid == 0
}
