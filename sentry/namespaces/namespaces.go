// Package namespaces is the namespaces that threads are in besides those of pids,
// users and mounts (namespaces(7)): uts, ipc, net and cgroup namespaces.
//
//	Set    those that a thread is in (Linux's struct nsproxy)
//	UTS …  one of a kind
//
// A namespace lives while somebody refers to it: the threads in it, by their Set, and
// files that stand for it (sentry/fs/nsfs). With the last reference it ends and gives
// back what it holds; what mappings and sockets still use of it stays until they are
// gone. There is no time namespace: CLONE_NEWTIME is EINVAL, as in a Linux without
// them. There are no control groups either, so that a cgroup namespace shows the same
// empty hierarchy as any other.
//
// Locks: UTS has one of its own, under which nothing is taken.
package namespaces

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/socket/netns"
)

// Flags are the clone(2) flags of the kinds that are here.
const Flags = unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// maxEach is how many namespaces of a kind there can be at a time besides the first
// (user.max_uts_namespaces and its like, which count for each user): ENOSPC.
const maxEach = 1024

// Namespace is what all kinds have in common.
type Namespace struct {
	owner  *procmgr.UserNamespace
	serial uint64
	refs   atomic.Int64
	kind   *kind
	end    func()
}

// kind counts the namespaces of one kind.
type kind struct {
	last   atomic.Uint64
	living atomic.Int64
}

// begin makes n one more namespace of a kind, with one reference: ENOSPC. end is
// called after the last.
func (k *kind) begin(n *Namespace, owner *procmgr.UserNamespace, end func()) error {
	if k.living.Add(1) > maxEach {
		k.living.Add(-1)
		return unix.ENOSPC
	}
	n.owner, n.kind, n.serial, n.end = owner, k, k.last.Add(1), end
	n.refs.Store(1)
	return nil
}

// Owner returns the user namespace whose capabilities count: in which n was made.
func (n *Namespace) Owner() *procmgr.UserNamespace { return n.owner }

// Serial tells n from others of its kind: 0 is the first.
func (n *Namespace) Serial() uint64 { return n.serial }

// TryHold adds a reference, unless n has ended.
func (n *Namespace) TryHold() bool {
	for {
		refs := n.refs.Load()
		if refs == 0 {
			return false
		}
		if n.refs.CompareAndSwap(refs, refs+1) {
			return true
		}
	}
}

// Release drops a reference.
func (n *Namespace) Release() {
	if n.refs.Add(-1) != 0 {
		return
	}
	if n.end != nil {
		n.end()
	}
	n.kind.living.Add(-1)
}

// Cgroup is a cgroup namespace.
type Cgroup struct{ Namespace }

// Net is a network namespace: whose it is, and what it is.
type Net struct {
	Namespace
	Sockets *netns.Namespace
}

// manager makes namespaces, and bounds how many there are.
type manager struct {
	newIPC                func() Objects
	uts, ipc, net, cgroup kind
}

// Config is what the first namespaces are.
type Config struct {
	// Host is the host name.
	Host string
	// Net is the first network namespace, which its maker closes.
	Net *netns.Namespace
	// NewIPC makes the objects of an ipc namespace.
	NewIPC func() Objects
}

// New makes the first namespaces. They do not end before the Set is released.
func New(c Config) *Set {
	m := &manager{newIPC: c.NewIPC}
	first := &Set{m: m, Members: Members{
		UTS: &UTS{host: c.Host, domain: "(none)"}, IPC: &IPC{Objects: c.NewIPC()},
		Net: &Net{Sockets: c.Net}, Cgroup: &Cgroup{},
	}}
	first.refs.Store(1)
	for n, k := range map[*Namespace]*kind{
		&first.UTS.Namespace: &m.uts, &first.IPC.Namespace: &m.ipc, &first.Net.Namespace: &m.net, &first.Cgroup.Namespace: &m.cgroup,
	} {
		n.kind = k
		n.refs.Store(1)
	}
	return first
}
