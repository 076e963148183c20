package namespaces

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/socket/netns"
)

// Members are namespaces, one of each kind.
type Members struct {
	UTS    *UTS
	IPC    *IPC
	Net    *Net
	Cgroup *Cgroup
}

func (s *Members) all() [4]*Namespace {
	return [...]*Namespace{&s.UTS.Namespace, &s.IPC.Namespace, &s.Net.Namespace, &s.Cgroup.Namespace}
}

// Set are the namespaces that a thread is in, with a reference to each. It does not
// change; threads share it.
type Set struct {
	Members

	m    *manager
	refs atomic.Int64
}

// Share adds a reference to the whole.
func (s *Set) Share() *Set {
	s.refs.Add(1)
	return s
}

// Release drops one.
func (s *Set) Release() {
	if s.refs.Add(-1) != 0 {
		return
	}
	for _, n := range s.all() {
		n.Release()
	}
}

// copy is a Set like s, whose references are still to be taken.
func (s *Set) copy() *Set {
	n := &Set{Members: s.Members, m: s.m}
	n.refs.Store(1)
	return n
}

// Unshare returns a Set with new namespaces for flags, CLONE_NEW*, which belong to
// owner, and those of s for the others (create_new_namespaces). ENOSPC: too many.
func (s *Set) Unshare(flags uint64, owner *procmgr.UserNamespace) (*Set, error) {
	n, m := s.copy(), s.m
	var made []*Namespace
	begin := func(k *kind, ns *Namespace, end func()) error {
		if err := k.begin(ns, owner, end); err != nil {
			return err
		}
		made = append(made, ns)
		return nil
	}
	var err error
	if flags&unix.CLONE_NEWUTS != 0 {
		n.UTS = &UTS{}
		n.UTS.host, n.UTS.domain = s.UTS.Names()
		err = begin(&m.uts, &n.UTS.Namespace, nil)
	}
	if flags&unix.CLONE_NEWIPC != 0 && err == nil {
		n.IPC = &IPC{Objects: m.newIPC()}
		err = begin(&m.ipc, &n.IPC.Namespace, n.IPC.close)
	}
	if flags&unix.CLONE_NEWNET != 0 && err == nil {
		n.Net = &Net{Sockets: netns.New()}
		err = begin(&m.net, &n.Net.Namespace, n.Net.Sockets.Close)
	}
	if flags&unix.CLONE_NEWCGROUP != 0 && err == nil {
		n.Cgroup = &Cgroup{}
		err = begin(&m.cgroup, &n.Cgroup.Namespace, nil)
	}
	if err != nil {
		for _, ns := range made {
			ns.Release()
		}
		return nil, err
	}
	n.holdFrom(s)
	return n, nil
}

// holdFrom takes references for what n has of s, which holds them.
func (n *Set) holdFrom(s *Set) {
	theirs := s.all()
	for i, ns := range n.all() {
		if ns == theirs[i] {
			ns.refs.Add(1)
		}
	}
}

// Enter returns a Set with those of o that are not nil, to which the caller has
// references, and those of s for the others (setns(2)).
func (s *Set) Enter(o Members) *Set {
	n := s.copy()
	if o.UTS != nil {
		n.UTS = o.UTS
	}
	if o.IPC != nil {
		n.IPC = o.IPC
	}
	if o.Net != nil {
		n.Net = o.Net
	}
	if o.Cgroup != nil {
		n.Cgroup = o.Cgroup
	}
	for _, ns := range n.all() {
		ns.refs.Add(1)
	}
	return n
}
