package bundle

import (
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Namespace says what to do about one kind of namespace.
type Namespace struct {
	// New is set for one of the container's own.
	New bool
	// Path is the file of the one to enter, absolute; empty for a new one, or for the
	// caller's.
	Path string
}

// Namespaces are those of a container. The zero value of each is the caller's: the
// host's network, say.
type Namespaces struct {
	PID, Network, Mount, IPC, UTS, User, Cgroup, Time Namespace
}

// NamespaceTypes are the kinds of namespace that are known.
var NamespaceTypes = []specs.LinuxNamespaceType{
	specs.CgroupNamespace, specs.IPCNamespace, specs.MountNamespace, specs.NetworkNamespace,
	specs.PIDNamespace, specs.TimeNamespace, specs.UserNamespace, specs.UTSNamespace,
}

// of returns the field of a kind, nil for an unknown one.
func (n *Namespaces) of(kind specs.LinuxNamespaceType) *Namespace {
	switch kind {
	case specs.PIDNamespace:
		return &n.PID
	case specs.NetworkNamespace:
		return &n.Network
	case specs.MountNamespace:
		return &n.Mount
	case specs.IPCNamespace:
		return &n.IPC
	case specs.UTSNamespace:
		return &n.UTS
	case specs.UserNamespace:
		return &n.User
	case specs.CgroupNamespace:
		return &n.Cgroup
	case specs.TimeNamespace:
		return &n.Time
	}
	return nil
}

func newNamespaces(c *checker, l *specs.Linux) (n Namespaces) {
	for i, s := range l.Namespaces {
		field := at("linux.namespaces", i)
		ns := n.of(s.Type)
		switch {
		case ns == nil:
			c.fail(field+".type", "there is no namespace %s; there are: %v", quote(string(s.Type)), NamespaceTypes)
			continue
		case *ns != Namespace{}:
			c.fail(field+".type", "%s is there twice", s.Type)
			continue
		case s.Path != "" && !filepath.IsAbs(s.Path):
			c.fail(field+".path", "%s is not absolute: it is a file like /proc/PID/ns/net", quote(s.Path))
		case s.Path != "":
			c.text(field+".path", s.Path)
		}
		*ns = Namespace{New: s.Path == "", Path: s.Path}
	}
	if len(l.TimeOffsets) > 0 {
		for clock, o := range l.TimeOffsets {
			if o.Secs != 0 || o.Nanosecs != 0 {
				c.fail("linux.timeOffsets", "the container's clock %s cannot be moved: leave the offset out", quote(clock))
			}
		}
	}
	return n
}

// maxMappings is how many lines Linux takes (UID_GID_MAP_MAX_EXTENTS).
const maxMappings = 340

// idMappings checks a mapping of users or groups: no id is there twice, inside or
// outside (user_namespaces(7)).
func idMappings(c *checker, field string, list []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	if len(list) > maxMappings {
		c.fail(field, "there are %d lines, and Linux takes at most %d", len(list), maxMappings)
		return list
	}
	overlap := func(a, b, aSize, bSize uint32) bool {
		return uint64(a) < uint64(b)+uint64(bSize) && uint64(b) < uint64(a)+uint64(aSize)
	}
	for i, m := range list {
		if m.Size == 0 {
			c.fail(at(field, i)+".size", "it is 0: it is how many ids are mapped")
			continue
		}
		if uint64(m.ContainerID)+uint64(m.Size) > uint64(noID) || uint64(m.HostID)+uint64(m.Size) > uint64(noID) {
			c.fail(at(field, i)+".size", "%d ids from %d, and from %d on the host, go beyond the largest, %d", m.Size, m.ContainerID, m.HostID, noID-1)
			continue
		}
		for j, o := range list[:i] {
			if overlap(m.ContainerID, o.ContainerID, m.Size, o.Size) || overlap(m.HostID, o.HostID, m.Size, o.Size) {
				c.fail(at(field, i), "it overlaps %s", at(field, j))
			}
		}
	}
	return list
}

// checkMappings checks that mappings and a user namespace go together.
func checkMappings(c *checker, b *Bundle) {
	user, mapped := b.Namespaces.User, len(b.UIDs) > 0 || len(b.GIDs) > 0
	switch {
	case mapped && user == Namespace{}:
		c.warn("linux.uidMappings", "without a user namespace mappings have no effect: add {\"type\": \"user\"} to linux.namespaces")
		b.UIDs, b.GIDs = nil, nil
	case user.New && (len(b.UIDs) == 0 || len(b.GIDs) == 0):
		c.fail("linux.namespaces", "a new user namespace needs both linux.uidMappings and linux.gidMappings")
	}
}
