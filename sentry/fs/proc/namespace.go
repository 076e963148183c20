package proc

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/nsfs"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// namespaceLinks are the names in /proc/PID/ns, and what they lead to: nil if the
// thread has given it back.
var namespaceLinks = [...]struct {
	name string
	find func(s *subject) any
}{
	{"cgroup", func(s *subject) any {
		if ns := s.members(); ns != nil {
			return ns.Cgroup
		}
		return nil
	}},
	{"ipc", func(s *subject) any {
		if ns := s.members(); ns != nil {
			return ns.IPC
		}
		return nil
	}},
	{"mnt", func(s *subject) any {
		if at, err := s.context(); err == nil {
			return at.Namespace()
		}
		return nil
	}},
	{"net", func(s *subject) any {
		if ns := s.members(); ns != nil {
			return ns.Net
		}
		return nil
	}},
	{"pid", func(s *subject) any { return s.thread().Namespace() }},
	{"pid_for_children", func(s *subject) any { return s.thread().ChildNamespace() }},
	{"user", func(s *subject) any { return s.userNS() }},
	{"uts", func(s *subject) any {
		if ns := s.members(); ns != nil {
			return ns.UTS
		}
		return nil
	}},
}

// members returns the namespaces of the thread, nil if it has given them back.
func (s *subject) members() *namespaces.Members {
	t := s.task()
	if t == nil {
		return s.fs.cfg.First()
	}
	if set := t.Namespaces(); set != nil {
		return &set.Members
	}
	return nil
}

// namespaceDir is /proc/PID/ns.
type namespaceDir struct {
	synth.Node
	s *subject
}

func newNamespaces(s *subject, a synth.Attr) vfs.Inode { return &namespaceDir{s.fs.Node(a), s} }

// Lookup implements vfs.Dir.
func (d *namespaceDir) Lookup(name string) (vfs.Inode, error) {
	for i := range namespaceLinks {
		if l := &namespaceLinks[i]; l.name == name {
			return d.s.magic(d.s.node(unix.S_IFLNK|0o777, inoNS+uint64(i)), func() (place, error) {
				ns := nsfs.Of(l.find(d.s))
				if ns == (nsfs.Namespace{}) {
					return place{}, unix.ENOENT
				}
				return place{path: ns.Place()}, nil
			}), nil
		}
	}
	return nil, unix.ENOENT
}

// Revalidate implements vfs.Revalidator.
func (d *namespaceDir) Revalidate(string, vfs.Inode) bool { return d.s.check() == nil }

// Open implements vfs.Inode.
func (d *namespaceDir) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(d.list), nil }

func (d *namespaceDir) list(off int64, emit func(vfs.Entry) bool) error {
	if d.s.check() != nil {
		return unix.ENOENT
	}
	id := d.s.thread().ID()
	for i := max(off, 0); i < int64(len(namespaceLinks)); i++ {
		e := vfs.Entry{Name: namespaceLinks[i].name, Ino: inoOf(id, !d.s.whole, inoNS+uint64(i)), Type: unix.DT_LNK, Next: i + 1}
		if !emit(e) {
			break
		}
	}
	return nil
}
