package procmgr

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// maxUserLevel is how deep user namespaces may be nested (create_user_ns).
	maxUserLevel = 33
	// maxExtents is how many lines a map may have (UID_GID_MAP_MAX_EXTENTS).
	maxExtents = 340
	// OverflowID is what an id is seen as that a user namespace has no number for
	// (/proc/sys/kernel/overflowuid).
	OverflowID = 65534
)

// UserNamespace is a user namespace (user_namespaces(7)): ids of its own for users and
// groups, which stand for ids of the namespace above, and capabilities that count
// only inside. The root is nil, whose ids are those that credentials hold and files
// belong to. The zero value is of no use.
type UserNamespace struct {
	parent       *UserNamespace
	level        int
	owner, group uint32 // who made it
	serial       uint64

	mu      sync.Mutex // of who changes the rest
	uids    atomic.Pointer[idMap]
	gids    atomic.Pointer[idMap]
	denied  bool // setgroups(2), by /proc/PID/setgroups
	mayFCap bool // its maker had CAP_SETFCAP
}

// IDExtent maps a range of ids, as a line of /proc/PID/uid_map does: Count ids from
// First on stand for those from Lower on in the namespace above.
type IDExtent struct{ First, Lower, Count uint32 }

// idMap is a map of ids. It does not change.
type idMap struct {
	extents []IDExtent
	host    []uint32 // what Lower is in the root
}

// Level returns how deep the namespace is: 0 is the root.
func (ns *UserNamespace) Level() int {
	if ns == nil {
		return 0
	}
	return ns.level
}

// Parent returns the namespace above; the root's is the root.
func (ns *UserNamespace) Parent() *UserNamespace {
	if ns == nil {
		return nil
	}
	return ns.parent
}

// Within reports whether the namespace is another, or below it (in_userns).
func (ns *UserNamespace) Within(other *UserNamespace) bool {
	for ns.Level() > other.Level() {
		ns = ns.parent
	}
	return ns == other
}

// Maker returns the user who made the namespace, as the root has it.
func (ns *UserNamespace) Maker() uint32 {
	if ns == nil {
		return 0
	}
	return ns.owner
}

// Serial tells namespaces apart: 0 is the root.
func (ns *UserNamespace) Serial() uint64 {
	if ns == nil {
		return 0
	}
	return ns.serial
}

func (m *idMap) toHost(id uint32) uint32 {
	if m == nil {
		return NoID
	}
	for i, e := range m.extents {
		if id-e.First < e.Count {
			return m.host[i] + (id - e.First)
		}
	}
	return NoID
}

func (m *idMap) fromHost(id uint32) uint32 {
	if m == nil {
		return NoID
	}
	for i, e := range m.extents {
		if id-m.host[i] < e.Count {
			return e.First + (id - m.host[i])
		}
	}
	return NoID
}

// HostUID returns what a user id of the namespace is in the root, NoID if it is
// nothing (make_kuid).
func (ns *UserNamespace) HostUID(uid uint32) uint32 {
	if ns == nil || uid == NoID {
		return uid
	}
	return ns.uids.Load().toHost(uid)
}

// HostGID is HostUID for groups.
func (ns *UserNamespace) HostGID(gid uint32) uint32 {
	if ns == nil || gid == NoID {
		return gid
	}
	return ns.gids.Load().toHost(gid)
}

// HasUID reports whether the namespace has a number for a user of the root
// (kuid_has_mapping).
func (ns *UserNamespace) HasUID(host uint32) bool { return ns.uid(host) != NoID }

// HasGID is HasUID for groups.
func (ns *UserNamespace) HasGID(host uint32) bool { return ns.gid(host) != NoID }

// UID returns what the namespace calls a user of the root, OverflowID if it has no
// number for it (from_kuid_munged).
func (ns *UserNamespace) UID(host uint32) uint32 {
	if uid := ns.uid(host); uid != NoID {
		return uid
	}
	return OverflowID
}

// GID is UID for groups.
func (ns *UserNamespace) GID(host uint32) uint32 {
	if gid := ns.gid(host); gid != NoID {
		return gid
	}
	return OverflowID
}

// uid is UID, with NoID for what has no number (from_kuid).
func (ns *UserNamespace) uid(host uint32) uint32 {
	if ns == nil {
		return host
	}
	return ns.uids.Load().fromHost(host)
}

func (ns *UserNamespace) gid(host uint32) uint32 {
	if ns == nil {
		return host
	}
	return ns.gids.Load().fromHost(host)
}

// NewUserNamespace returns the credentials of the first process of a new user
// namespace below c's: it has all capabilities in there, and none outside
// (create_user_ns). ENOSPC: nested too deep. EPERM: c's user or group has no number in
// its namespace.
func (tb *Table) NewUserNamespace(c *Credentials) (*Credentials, error) {
	if c.UserNS.Level() >= maxUserLevel {
		return nil, unix.ENOSPC
	}
	if c.UserNS.uid(c.EUID) == NoID || c.UserNS.gid(c.EGID) == NoID {
		return nil, unix.EPERM
	}
	ns := &UserNamespace{
		parent: c.UserNS, level: c.UserNS.Level() + 1, owner: c.EUID, group: c.EGID,
		serial: tb.userNamespaces.Add(1), mayFCap: c.hasOwnCap(unix.CAP_SETFCAP),
	}
	ns.denied = c.UserNS != nil && c.UserNS.setgroupsDenied()
	return c.in(ns), nil
}

// in returns c's ids with all capabilities in a user namespace (set_cred_user_ns).
func (c *Credentials) in(ns *UserNamespace) *Credentials {
	n := c.copy()
	n.UserNS = ns
	n.SecureBits = 0
	n.CapPermitted, n.CapEffective, n.CapBounding = AllCaps, AllCaps, AllCaps
	n.CapInheritable, n.CapAmbient = 0, 0
	return n
}

// EnterUserNamespace returns c's credentials in another user namespace (setns(2)).
// EINVAL: c is in there. EPERM: c may not administer it (userns_install).
func (c *Credentials) EnterUserNamespace(ns *UserNamespace) (*Credentials, error) {
	if c.UserNS == ns {
		return nil, unix.EINVAL
	}
	if !c.HasCapIn(ns, unix.CAP_SYS_ADMIN) {
		return nil, unix.EPERM
	}
	return c.in(ns), nil
}

// HasCap reports whether a capability is effective in the root user namespace: what
// it allows may concern everybody (capable).
func (c *Credentials) HasCap(capability int) bool {
	return c.UserNS == nil && c.CapEffective.Has(capability)
}

// hasOwnCap is HasCap in c's own user namespace.
func (c *Credentials) hasOwnCap(capability int) bool { return c.CapEffective.Has(capability) }

// HasCapIn reports whether a capability is effective in a user namespace, for what
// concerns only those in it (ns_capable): it is c's own, or one below; who made a
// namespace has all capabilities in it.
func (c *Credentials) HasCapIn(ns *UserNamespace, capability int) bool {
	for {
		if ns == c.UserNS {
			return c.hasOwnCap(capability)
		}
		if ns.Level() <= c.UserNS.Level() {
			return false
		}
		if ns.parent == c.UserNS && ns.owner == c.EUID {
			return true
		}
		ns = ns.parent
	}
}

// isRoot reports whether a user of the root namespace is user 0 of c's.
func (c *Credentials) isRoot(uid uint32) bool { return uid != NoID && uid == c.UserNS.HostUID(0) }

// UIDMap returns the map of user ids as somebody in viewer sees it, whose numbers Lower
// is in; nil if none is set (/proc/PID/uid_map).
func (ns *UserNamespace) UIDMap(viewer *UserNamespace) []IDExtent {
	if ns == nil {
		return []IDExtent{{0, 0, NoID}}
	}
	return ns.uids.Load().seenFrom(ns, viewer, viewer.uid, ns.parent.uid)
}

// GIDMap is UIDMap for groups.
func (ns *UserNamespace) GIDMap(viewer *UserNamespace) []IDExtent {
	if ns == nil {
		return []IDExtent{{0, 0, NoID}}
	}
	return ns.gids.Load().seenFrom(ns, viewer, viewer.gid, ns.parent.gid)
}

// seenFrom translates a map of ns: for who is in ns itself, Lower is of the namespace
// above (uid_m_show).
func (m *idMap) seenFrom(ns, viewer *UserNamespace, own, above func(uint32) uint32) []IDExtent {
	if m == nil {
		return nil
	}
	out := make([]IDExtent, len(m.extents))
	for i, e := range m.extents {
		lower := above
		if viewer != ns {
			lower = own
		}
		out[i] = IDExtent{e.First, lower(m.host[i]), e.Count}
	}
	return out
}

// SetUIDMap is a write to /proc/PID/uid_map, which opener had opened. EINVAL: no map.
// EPERM: it is set already, or the writer may not set it (map_write).
func (ns *UserNamespace) SetUIDMap(writer, opener *Credentials, text []byte) error {
	if ns == nil {
		return unix.EPERM
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m, err := ns.newMap(writer, opener, text, &ns.uids, ns.parent.HostUID, unix.CAP_SETUID)
	if err != nil {
		return err
	}
	ns.uids.Store(m)
	return nil
}

// SetGIDMap is SetUIDMap for /proc/PID/gid_map. Who has no privilege above has to deny
// setgroups(2) first.
func (ns *UserNamespace) SetGIDMap(writer, opener *Credentials, text []byte) error {
	if ns == nil {
		return unix.EPERM
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m, err := ns.newMap(writer, opener, text, &ns.gids, ns.parent.HostGID, unix.CAP_SETGID)
	if err != nil {
		return err
	}
	ns.gids.Store(m)
	return nil
}

func (ns *UserNamespace) newMap(writer, opener *Credentials, text []byte, old *atomic.Pointer[idMap],
	host func(uint32) uint32, need int) (*idMap, error) {
	switch {
	case opener.UserNS != ns && opener.UserNS != ns.parent,
		old.Load() != nil,
		!opener.HasCapIn(ns, unix.CAP_SYS_ADMIN):
		return nil, unix.EPERM
	}
	extents, err := parseIDMap(text)
	if err != nil {
		return nil, err
	}
	if !ns.mayMap(writer, opener, extents, host, need) {
		return nil, unix.EPERM
	}
	m := &idMap{extents: extents, host: make([]uint32, len(extents))}
	for i, e := range extents {
		m.host[i] = host(e.Lower)
		// The whole range has to be one range above, too.
		if m.host[i] == NoID || host(e.Lower+e.Count-1) != m.host[i]+e.Count-1 {
			return nil, unix.EPERM
		}
	}
	return m, nil
}

// mayMap is new_idmap_permitted.
func (ns *UserNamespace) mayMap(writer, opener *Credentials, m []IDExtent, host func(uint32) uint32, need int) bool {
	if need == unix.CAP_SETUID {
		// verify_root_map: root above is for who may set file capabilities for it.
		for _, e := range m {
			if e.Lower == 0 {
				if opener.UserNS == ns && !ns.mayFCap || opener.UserNS != ns && !opener.HasCapIn(ns.parent, unix.CAP_SETFCAP) {
					return false
				}
			}
		}
	}
	if len(m) == 1 && m[0].Count == 1 && ns.owner == writer.EUID {
		id := host(m[0].Lower)
		if need == unix.CAP_SETUID && id == writer.EUID || need == unix.CAP_SETGID && ns.denied && id == writer.EGID {
			return true
		}
	}
	return writer.HasCapIn(ns.parent, need) && opener.HasCapIn(ns.parent, need)
}

// parseIDMap reads the lines of a map: EINVAL.
func parseIDMap(text []byte) ([]IDExtent, error) {
	var out []IDExtent
	for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		words := bytes.Fields(line)
		if len(words) != 3 || len(out) == maxExtents {
			return nil, unix.EINVAL
		}
		var v [3]uint32
		for i, w := range words {
			n, err := strconv.ParseUint(string(w), 10, 32)
			if err != nil || uint32(n) == NoID && i < 2 {
				return nil, unix.EINVAL
			}
			v[i] = uint32(n)
		}
		e := IDExtent{v[0], v[1], v[2]}
		// Neither range is empty, nor goes beyond the last id.
		if e.Count == 0 || e.First+e.Count < e.First || e.Lower+e.Count < e.Lower {
			return nil, unix.EINVAL
		}
		for _, o := range out {
			if overlap(e.First, o.First, e.Count, o.Count) || overlap(e.Lower, o.Lower, e.Count, o.Count) {
				return nil, unix.EINVAL
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func overlap(a, b, m, n uint32) bool { return a <= b+(n-1) && b <= a+(m-1) }

// SetgroupsDenied reports whether setgroups(2) is denied for good
// (/proc/PID/setgroups).
func (ns *UserNamespace) SetgroupsDenied() bool { return ns != nil && ns.setgroupsDenied() }

func (ns *UserNamespace) setgroupsDenied() bool {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.denied
}

// SetSetgroups is a write to /proc/PID/setgroups, which opener had opened. EPERM: what
// is denied stays so; nothing can be denied once there is a map of groups; or opener
// may not say (proc_setgroups_write).
func (ns *UserNamespace) SetSetgroups(opener *Credentials, allow bool) error {
	if !opener.HasCapIn(ns, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if ns == nil {
		if allow {
			return nil
		}
		return unix.EPERM
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	switch {
	case allow && ns.denied, !allow && ns.gids.Load() != nil:
		return unix.EPERM
	case !allow:
		ns.denied = true
	}
	return nil
}

// maySetgroups is userns_may_setgroups.
func (ns *UserNamespace) maySetgroups() bool {
	return ns == nil || ns.gids.Load() != nil && !ns.setgroupsDenied()
}
