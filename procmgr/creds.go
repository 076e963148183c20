package procmgr

import (
	"slices"

	"golang.org/x/sys/unix"
)

// NoID as an id means "leave it" in setreuid(2) and its kind.
const NoID = ^uint32(0)

// Bits of SecureBits (capabilities(7)).
const (
	secNoRoot         = 1 << 0
	secNoSetuidFixup  = 1 << 2
	secKeepCaps       = 1 << 4
	secKeepCapsLocked = 1 << 5
	secNoAmbientRaise = 1 << 6
	secAllBits        = 0x55
	secAllLocks       = 0xaa
)

// Credentials are a thread's ids and capabilities (credentials(7)). They are not
// changed once made: the methods return changed copies. Ids in it are those of the
// root user namespace; the methods take and return those of UserNS, where NoID stands
// for "leave it" and an id without a meaning is EINVAL.
type Credentials struct {
	UserNS *UserNamespace // nil: the root

	RUID, EUID, SUID, FSUID uint32
	RGID, EGID, SGID, FSGID uint32
	Groups                  []uint32 // in order

	CapPermitted, CapEffective, CapInheritable, CapBounding, CapAmbient CapSet

	SecureBits uint32
	NoNewPrivs bool
}

// RootCredentials returns root's, with all capabilities.
func RootCredentials() *Credentials {
	return &Credentials{CapPermitted: AllCaps, CapEffective: AllCaps, CapBounding: AllCaps}
}

func (c *Credentials) copy() *Credentials { n := *c; return &n }

// UIDs returns the user ids as the calls of getresuid(2) and setfsuid(2) do.
func (c *Credentials) UIDs() (real, effective, saved, fs uint32) {
	ns := c.UserNS
	return ns.UID(c.RUID), ns.UID(c.EUID), ns.UID(c.SUID), ns.UID(c.FSUID)
}

// GIDs is UIDs for groups.
func (c *Credentials) GIDs() (real, effective, saved, fs uint32) {
	ns := c.UserNS
	return ns.GID(c.RGID), ns.GID(c.EGID), ns.GID(c.SGID), ns.GID(c.FSGID)
}

// GroupIDs returns the supplementary groups (getgroups(2)).
func (c *Credentials) GroupIDs() []uint32 {
	out := make([]uint32, len(c.Groups))
	for i, g := range c.Groups {
		out[i] = c.UserNS.GID(g)
	}
	return out
}

// RealCaps returns the capabilities that access(2) goes by: those that are permitted,
// if the real user is root in c's user namespace (access_override_creds).
func (c *Credentials) RealCaps() CapSet {
	switch {
	case c.SecureBits&secNoSetuidFixup != 0:
		return c.CapEffective
	case c.isRoot(c.RUID):
		return c.CapPermitted
	}
	return 0
}

// InGroup reports whether gid is the file system group or a supplementary one.
func (c *Credentials) InGroup(gid uint32) bool {
	if gid == c.FSGID {
		return true
	}
	_, ok := slices.BinarySearch(c.Groups, gid)
	return ok
}

// fixup adjusts the capabilities to a change of user ids (cap_emulate_setxuid).
func (c *Credentials) fixup(old *Credentials) {
	if old.SecureBits&secNoSetuidFixup == 0 {
		root := c.isRoot
		hadRoot := root(old.RUID) || root(old.EUID) || root(old.SUID)
		if hadRoot && !root(c.RUID) && !root(c.EUID) && !root(c.SUID) {
			if c.SecureBits&secKeepCaps == 0 {
				c.CapPermitted, c.CapEffective = 0, 0
			}
			c.CapAmbient = 0
		}
		if root(old.EUID) && !root(c.EUID) {
			c.CapEffective = 0
		}
		if !root(old.EUID) && root(c.EUID) {
			c.CapEffective = c.CapPermitted
		}
	}
}

// Setuid is setuid(2): EPERM, EINVAL.
func (c *Credentials) Setuid(uid uint32) (*Credentials, error) {
	if uid = c.UserNS.HostUID(uid); uid == NoID {
		return nil, unix.EINVAL
	}
	n := c.copy()
	switch {
	case c.hasOwnCap(unix.CAP_SETUID):
		n.RUID, n.SUID = uid, uid
	case uid != c.RUID && uid != c.SUID:
		return nil, unix.EPERM
	}
	n.EUID, n.FSUID = uid, uid
	n.fixup(c)
	return n, nil
}

// Setreuid is setreuid(2): EPERM.
func (c *Credentials) Setreuid(r, e uint32) (*Credentials, error) {
	if err := mapIDs(c.UserNS.HostUID, &r, &e); err != nil {
		return nil, err
	}
	n := c.copy()
	privileged := c.hasOwnCap(unix.CAP_SETUID)
	if r != NoID {
		if r != c.RUID && r != c.EUID && !privileged {
			return nil, unix.EPERM
		}
		n.RUID = r
	}
	if e != NoID {
		if e != c.RUID && e != c.EUID && e != c.SUID && !privileged {
			return nil, unix.EPERM
		}
		n.EUID = e
	}
	if r != NoID || e != NoID && e != c.RUID {
		n.SUID = n.EUID
	}
	n.FSUID = n.EUID
	n.fixup(c)
	return n, nil
}

// Setresuid is setresuid(2): EPERM.
func (c *Credentials) Setresuid(r, e, s uint32) (*Credentials, error) {
	if err := mapIDs(c.UserNS.HostUID, &r, &e, &s); err != nil {
		return nil, err
	}
	if (r == NoID || r == c.RUID) && (e == NoID || e == c.EUID && e == c.FSUID) && (s == NoID || s == c.SUID) {
		return c, nil // the file system id stays what it is, too
	}
	n := c.copy()
	for _, x := range []struct {
		v uint32
		p *uint32
	}{{r, &n.RUID}, {e, &n.EUID}, {s, &n.SUID}} {
		if x.v == NoID {
			continue
		}
		if x.v != c.RUID && x.v != c.EUID && x.v != c.SUID && !c.hasOwnCap(unix.CAP_SETUID) {
			return nil, unix.EPERM
		}
		*x.p = x.v
	}
	n.FSUID = n.EUID
	n.fixup(c)
	return n, nil
}

// Setfsuid is setfsuid(2), which does nothing if it is not allowed.
func (c *Credentials) Setfsuid(uid uint32) *Credentials {
	if uid = c.UserNS.HostUID(uid); uid == NoID || uid == c.FSUID {
		return c
	}
	if uid != c.RUID && uid != c.EUID && uid != c.SUID && !c.hasOwnCap(unix.CAP_SETUID) {
		return c
	}
	n := c.copy()
	n.FSUID = uid
	if c.SecureBits&secNoSetuidFixup == 0 {
		if c.isRoot(c.FSUID) && !c.isRoot(uid) {
			n.CapEffective &^= fsCaps
		}
		if !c.isRoot(c.FSUID) && c.isRoot(uid) {
			n.CapEffective |= c.CapPermitted & fsCaps
		}
	}
	return n
}

// Setgid is setgid(2): EPERM, EINVAL.
func (c *Credentials) Setgid(gid uint32) (*Credentials, error) {
	if gid = c.UserNS.HostGID(gid); gid == NoID {
		return nil, unix.EINVAL
	}
	n := c.copy()
	switch {
	case c.hasOwnCap(unix.CAP_SETGID):
		n.RGID, n.SGID = gid, gid
	case gid != c.RGID && gid != c.SGID:
		return nil, unix.EPERM
	}
	n.EGID, n.FSGID = gid, gid
	return n, nil
}

// Setregid is setregid(2): EPERM.
func (c *Credentials) Setregid(r, e uint32) (*Credentials, error) {
	if err := mapIDs(c.UserNS.HostGID, &r, &e); err != nil {
		return nil, err
	}
	n := c.copy()
	privileged := c.hasOwnCap(unix.CAP_SETGID)
	if r != NoID {
		if r != c.RGID && r != c.EGID && !privileged {
			return nil, unix.EPERM
		}
		n.RGID = r
	}
	if e != NoID {
		if e != c.RGID && e != c.EGID && e != c.SGID && !privileged {
			return nil, unix.EPERM
		}
		n.EGID = e
	}
	if r != NoID || e != NoID && e != c.RGID {
		n.SGID = n.EGID
	}
	n.FSGID = n.EGID
	return n, nil
}

// Setresgid is setresgid(2): EPERM.
func (c *Credentials) Setresgid(r, e, s uint32) (*Credentials, error) {
	if err := mapIDs(c.UserNS.HostGID, &r, &e, &s); err != nil {
		return nil, err
	}
	if (r == NoID || r == c.RGID) && (e == NoID || e == c.EGID && e == c.FSGID) && (s == NoID || s == c.SGID) {
		return c, nil
	}
	n := c.copy()
	for _, x := range []struct {
		v uint32
		p *uint32
	}{{r, &n.RGID}, {e, &n.EGID}, {s, &n.SGID}} {
		if x.v == NoID {
			continue
		}
		if x.v != c.RGID && x.v != c.EGID && x.v != c.SGID && !c.hasOwnCap(unix.CAP_SETGID) {
			return nil, unix.EPERM
		}
		*x.p = x.v
	}
	n.FSGID = n.EGID
	return n, nil
}

// Setfsgid is setfsgid(2), which does nothing if it is not allowed.
func (c *Credentials) Setfsgid(gid uint32) *Credentials {
	if gid = c.UserNS.HostGID(gid); gid == NoID || gid == c.FSGID {
		return c
	}
	if gid != c.RGID && gid != c.EGID && gid != c.SGID && !c.hasOwnCap(unix.CAP_SETGID) {
		return c
	}
	n := c.copy()
	n.FSGID = gid
	return n
}

// MaySetgroups reports whether setgroups(2) is allowed: EPERM.
func (c *Credentials) MaySetgroups() error {
	if !c.hasOwnCap(unix.CAP_SETGID) || !c.UserNS.maySetgroups() {
		return unix.EPERM
	}
	return nil
}

// Setgroups is setgroups(2). EPERM, EINVAL.
func (c *Credentials) Setgroups(groups []uint32) (*Credentials, error) {
	if err := c.MaySetgroups(); err != nil {
		return nil, err
	}
	n := c.copy()
	n.Groups = make([]uint32, len(groups))
	for i, g := range groups {
		if n.Groups[i] = c.UserNS.HostGID(g); n.Groups[i] == NoID {
			return nil, unix.EINVAL
		}
	}
	slices.Sort(n.Groups)
	return n, nil
}

// mapIDs replaces ids by what they are in the root: EINVAL for those that are
// nothing there.
func mapIDs(host func(uint32) uint32, ids ...*uint32) error {
	for _, id := range ids {
		if *id == NoID {
			continue
		}
		if *id = host(*id); *id == NoID {
			return unix.EINVAL
		}
	}
	return nil
}

// SetNoNewPrivs is PR_SET_NO_NEW_PRIVS.
func (c *Credentials) SetNoNewPrivs() *Credentials {
	n := c.copy()
	n.NoNewPrivs = true
	return n
}

// Credentials returns the thread's credentials, which do not change.
func (t *Thread) Credentials() *Credentials { return t.creds.Load() }

// SetCredentials replaces them (commit_creds). Only the thread's own goroutine calls
// it, or whoever makes the thread before it runs.
func (t *Thread) SetCredentials(c *Credentials) {
	p, tb := t.p, t.p.table
	old := t.creds.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.NoNewPrivs && t.creds.Load().NoNewPrivs {
		c = c.SetNoNewPrivs() // which another thread set since
	}
	if old.RUID != c.RUID {
		u, n := tb.chargeUser(c.RUID)
		tb.chargeThread(t.user, -1)
		t.user = u
		// flag_nproc_exceeded: that is no error before the next execve(2), and this
		// thread itself does not count yet.
		t.overNproc = n-1 > p.limits.Soft(unix.RLIMIT_NPROC) && c.RUID != 0
	}
	t.creds.Store(c)
	if old.EUID != c.EUID || old.EGID != c.EGID || old.FSUID != c.FSUID || old.FSGID != c.FSGID ||
		!old.covers(c) {
		// Memory that may hold somebody else's secrets now is for nobody to read,
		// and the parent has no say any more.
		p.SetDumpable(0)
		t.deathSig = 0
	}
}

// covers reports whether c has all the capabilities that n has (cred_cap_issubset):
// who makes a user namespace has them all in there.
func (c *Credentials) covers(n *Credentials) bool {
	if c.UserNS == n.UserNS {
		return n.CapPermitted&^c.CapPermitted == 0
	}
	for ns := n.UserNS; ns != nil; ns = ns.parent {
		if ns.parent == c.UserNS && ns.owner == c.EUID {
			return true
		}
	}
	return false
}

// SetNoNewPrivs sets the flag that keeps execve(2) from giving privileges, for any
// thread's goroutine (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
func (t *Thread) SetNoNewPrivs() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if c := t.creds.Load(); !c.NoNewPrivs {
		t.creds.Store(c.SetNoNewPrivs())
	}
}
