package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
)

func sysGetuid(t *task.Task, a *task.Args) (uint64, error) {
	r, _, _, _ := t.Thread().Credentials().UIDs()
	return uint64(r), nil
}

func sysGeteuid(t *task.Task, a *task.Args) (uint64, error) {
	_, e, _, _ := t.Thread().Credentials().UIDs()
	return uint64(e), nil
}

func sysGetgid(t *task.Task, a *task.Args) (uint64, error) {
	r, _, _, _ := t.Thread().Credentials().GIDs()
	return uint64(r), nil
}

func sysGetegid(t *task.Task, a *task.Args) (uint64, error) {
	_, e, _, _ := t.Thread().Credentials().GIDs()
	return uint64(e), nil
}

func storeIDs(t *task.Task, a *task.Args, ids ...uint32) (uint64, error) {
	for i, id := range ids {
		if err := t.Memory().Space.StoreUint32(a.Addr(i), id); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetresuid(t *task.Task, a *task.Args) (uint64, error) {
	r, e, s, _ := t.Thread().Credentials().UIDs()
	return storeIDs(t, a, r, e, s)
}

func sysGetresgid(t *task.Task, a *task.Args) (uint64, error) {
	r, e, s, _ := t.Thread().Credentials().GIDs()
	return storeIDs(t, a, r, e, s)
}

func sysSetuid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setuid(a.Uint(0))
	return 0, t.SetCredentials(c, err)
}

func sysSetgid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setgid(a.Uint(0))
	return 0, t.SetCredentials(c, err)
}

func sysSetreuid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setreuid(a.Uint(0), a.Uint(1))
	return 0, t.SetCredentials(c, err)
}

func sysSetregid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setregid(a.Uint(0), a.Uint(1))
	return 0, t.SetCredentials(c, err)
}

func sysSetresuid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setresuid(a.Uint(0), a.Uint(1), a.Uint(2))
	return 0, t.SetCredentials(c, err)
}

func sysSetresgid(t *task.Task, a *task.Args) (uint64, error) {
	c, err := t.Thread().Credentials().Setresgid(a.Uint(0), a.Uint(1), a.Uint(2))
	return 0, t.SetCredentials(c, err)
}

// sysSetfsuid is setfsuid(2): it returns the old id and never fails.
func sysSetfsuid(t *task.Task, a *task.Args) (uint64, error) {
	_, _, _, old := t.Thread().Credentials().UIDs()
	c := t.Thread().Credentials().Setfsuid(a.Uint(0))
	return uint64(old), t.SetCredentials(c, nil)
}

// sysSetfsgid is setfsgid(2).
func sysSetfsgid(t *task.Task, a *task.Args) (uint64, error) {
	_, _, _, old := t.Thread().Credentials().GIDs()
	c := t.Thread().Credentials().Setfsgid(a.Uint(0))
	return uint64(old), t.SetCredentials(c, nil)
}

// maxGroups is Linux's NGROUPS_MAX.
const maxGroups = 65536

func sysGetgroups(t *task.Task, a *task.Args) (uint64, error) {
	n, groups := a.Int(0), t.Thread().Credentials().GroupIDs()
	if n < 0 {
		return 0, unix.EINVAL
	}
	if n == 0 {
		return uint64(len(groups)), nil
	}
	if int(n) < len(groups) {
		return 0, unix.EINVAL
	}
	b := make([]byte, 0, 4*len(groups))
	for _, g := range groups {
		b = binary.LittleEndian.AppendUint32(b, g)
	}
	_, err := t.Memory().Space.CopyOut(a.Addr(1), b)
	return uint64(len(groups)), err
}

func sysSetgroups(t *task.Task, a *task.Args) (uint64, error) {
	if err := t.Thread().Credentials().MaySetgroups(); err != nil {
		return 0, err
	}
	n := a.Uint(0)
	if n > maxGroups {
		return 0, unix.EINVAL
	}
	b := make([]byte, 4*n)
	if _, err := t.Memory().Space.CopyIn(a.Addr(1), b); err != nil {
		return 0, err
	}
	groups := make([]uint32, 0, n)
	for ; len(b) > 0; b = b[4:] {
		groups = append(groups, binary.LittleEndian.Uint32(b))
	}
	c, err := t.Thread().Credentials().Setgroups(groups)
	return 0, t.SetCredentials(c, err)
}

// Versions of the capability structures (capget(2)).
const (
	capV1 = 0x19980330
	capV2 = 0x20071026
	capV3 = 0x20080522
)

// capHeader reads cap_user_header_t. For an unknown version it stores the
// preferred one and returns EINVAL.
func capHeader(t *task.Task, addr hostarch.Addr) (words int, pid int32, err error) {
	var h [8]byte
	if _, err := t.Memory().Space.CopyIn(addr, h[:]); err != nil {
		return 0, 0, err
	}
	pid = int32(binary.LittleEndian.Uint32(h[4:]))
	switch binary.LittleEndian.Uint32(h[:]) {
	case capV1:
		return 1, pid, nil
	case capV2, capV3:
		return 2, pid, nil
	}
	if err := t.Memory().Space.StoreUint32(addr, capV3); err != nil {
		return 0, 0, err
	}
	return 0, pid, unix.EINVAL
}

// sysCapget is capget(2).
func sysCapget(t *task.Task, a *task.Args) (uint64, error) {
	words, pid, err := capHeader(t, a.Addr(0))
	if err == unix.EINVAL && a[1] == 0 {
		return 0, nil // only asks for the version
	}
	if err != nil {
		return 0, err
	}
	if pid < 0 {
		return 0, unix.EINVAL
	}
	c := t.Thread().Credentials()
	if pid != 0 {
		th := t.Lookup(int(pid))
		if th == nil {
			return 0, unix.ESRCH
		}
		c = th.Credentials()
	}
	if a[1] == 0 {
		return 0, nil
	}
	var b [24]byte
	for i := range words {
		for j, set := range [...]uint64{uint64(c.CapEffective), uint64(c.CapPermitted), uint64(c.CapInheritable)} {
			binary.LittleEndian.PutUint32(b[12*i+4*j:], uint32(set>>(32*i)))
		}
	}
	_, err = t.Memory().Space.CopyOut(a.Addr(1), b[:12*words])
	return 0, err
}

// sysCapset is capset(2), which only acts on the caller.
func sysCapset(t *task.Task, a *task.Args) (uint64, error) {
	words, pid, err := capHeader(t, a.Addr(0))
	if err != nil {
		return 0, err
	}
	if pid != 0 && int(pid) != t.TID() {
		return 0, unix.EPERM
	}
	var b [24]byte
	if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:12*words]); err != nil {
		return 0, err
	}
	var set [3]uint64
	for i := range words {
		for j := range set {
			set[j] |= uint64(binary.LittleEndian.Uint32(b[12*i+4*j:])) << (32 * i)
		}
	}
	c, err := t.Thread().Credentials().Capset(set[0], set[1], set[2])
	return 0, t.SetCredentials(c, err)
}
