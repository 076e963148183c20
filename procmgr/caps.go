package procmgr

import (
	"golang.org/x/sys/unix"
)

// CapSet is a set of capabilities: bit n for CAP number n.
type CapSet uint64

// AllCaps are all capabilities that there are.
const AllCaps = CapSet(1<<(unix.CAP_LAST_CAP+1) - 1)

// fsCaps are those that setfsuid(2) switches (CAP_FS_SET).
const fsCaps = CapSet(1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MAC_OVERRIDE)

// Has reports whether the capability is in s.
func (s CapSet) Has(capability int) bool { return s>>capability&1 != 0 }

// Capset is capset(2): EPERM.
func (c *Credentials) Capset(effective, permitted, inheritable uint64) (*Credentials, error) {
	e, p, i := CapSet(effective)&AllCaps, CapSet(permitted)&AllCaps, CapSet(inheritable)&AllCaps
	switch {
	case !c.hasOwnCap(unix.CAP_SETPCAP) && i&^(c.CapInheritable|c.CapPermitted) != 0,
		i&^(c.CapInheritable|c.CapBounding) != 0,
		p&^c.CapPermitted != 0,
		e&^p != 0:
		return nil, unix.EPERM
	}
	n := c.copy()
	n.CapEffective, n.CapPermitted, n.CapInheritable = e, p, i
	n.CapAmbient &= p & i
	return n, nil
}

// DropBounding is PR_CAPBSET_DROP: EPERM, EINVAL.
func (c *Credentials) DropBounding(capability int) (*Credentials, error) {
	if !c.hasOwnCap(unix.CAP_SETPCAP) {
		return nil, unix.EPERM
	}
	if capability < 0 || capability > unix.CAP_LAST_CAP {
		return nil, unix.EINVAL
	}
	n := c.copy()
	n.CapBounding &^= 1 << capability
	return n, nil
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE: EPERM.
func (c *Credentials) RaiseAmbient(capability int) (*Credentials, error) {
	if !c.CapPermitted.Has(capability) || !c.CapInheritable.Has(capability) || c.SecureBits&secNoAmbientRaise != 0 {
		return nil, unix.EPERM
	}
	n := c.copy()
	n.CapAmbient |= 1 << capability
	return n, nil
}

// LowerAmbient is PR_CAP_AMBIENT_LOWER.
func (c *Credentials) LowerAmbient(capability int) *Credentials {
	n := c.copy()
	n.CapAmbient &^= 1 << capability
	return n
}

// ClearAmbient is PR_CAP_AMBIENT_CLEAR_ALL.
func (c *Credentials) ClearAmbient() *Credentials {
	n := c.copy()
	n.CapAmbient = 0
	return n
}

// KeepCaps is PR_GET_KEEPCAPS.
func (c *Credentials) KeepCaps() bool { return c.SecureBits&secKeepCaps != 0 }

// SetKeepCaps is PR_SET_KEEPCAPS: EPERM when it is locked.
func (c *Credentials) SetKeepCaps(on bool) (*Credentials, error) {
	if c.SecureBits&secKeepCapsLocked != 0 {
		return nil, unix.EPERM
	}
	n := c.copy()
	n.SecureBits &^= secKeepCaps
	if on {
		n.SecureBits |= secKeepCaps
	}
	return n, nil
}

// SetSecureBits is PR_SET_SECUREBITS: EPERM.
func (c *Credentials) SetSecureBits(bits uint64) (*Credentials, error) {
	locks := c.SecureBits & secAllLocks
	v := uint32(bits)
	switch {
	case bits&^(secAllBits|secAllLocks) != 0,
		locks>>1&(c.SecureBits^v) != 0, // a locked bit changes
		locks&^v != 0,                  // a lock goes
		!c.hasOwnCap(unix.CAP_SETPCAP):
		return nil, unix.EPERM
	}
	n := c.copy()
	n.SecureBits = v
	return n, nil
}
