package procmgr

import (
	"golang.org/x/sys/unix"
)

// maxLevel is how deep pid namespaces may be nested (MAX_PID_NS_LEVEL).
const maxLevel = 32

// PIDNamespace is a pid namespace (pid_namespaces(7)): ids of its own for the
// threads, groups and sessions in it, and an init. What is in it has ids in the
// namespaces above as well.
type PIDNamespace struct {
	table  *Table
	parent *PIDNamespace
	level  int            // 0: the root
	owner  *UserNamespace // whose capabilities count
	serial uint64
	ids    idTable

	// Under Table.mu.

	init    *Process
	threads int           // that have an id here
	dying   bool          // init ends: no more ids, and its children are not kept
	fewer   chan struct{} // told when a thread is gone, while dying; nil: the root
}

// Parent returns the namespace above, nil for the root.
func (ns *PIDNamespace) Parent() *PIDNamespace { return ns.parent }

// Level returns how deep the namespace is: 0 is the root.
func (ns *PIDNamespace) Level() int { return ns.level }

// Owner returns the user namespace whose capabilities count.
func (ns *PIDNamespace) Owner() *UserNamespace { return ns.owner }

// Serial tells the namespace from all others of the table: 0 is the root.
func (ns *PIDNamespace) Serial() uint64 { return ns.serial }

// MaxID returns the highest id that there can be (kernel.pid_max, less one).
func (ns *PIDNamespace) MaxID() int { return ns.ids.max - 1 }

// Init returns the first process, nil before there is one. It adopts the orphans
// of the namespace, and its end ends all of them.
func (ns *PIDNamespace) Init() *Process {
	ns.table.mu.Lock()
	defer ns.table.mu.Unlock()
	return ns.init
}

// GetThread returns the thread with an id in the namespace, nil if there is none
// (or if it is not started yet).
func (ns *PIDNamespace) GetThread(tid int) *Thread {
	n := ns.ids.get(tid)
	if n == nil {
		return nil
	}
	th := n.thread.Load()
	if th == nil || th.State() == New {
		return nil
	}
	return th
}

// GetProcess returns the process with an id in the namespace, zombies included; nil
// if there is none.
func (ns *PIDNamespace) GetProcess(pid int) *Process {
	n := ns.ids.get(pid)
	if n == nil {
		return nil
	}
	return n.process.Load()
}

// RootID returns what the id of a thread, process, group or session of the namespace is
// in the root namespace, 0 if nobody has it.
func (ns *PIDNamespace) RootID(nr int) int {
	if n := ns.ids.get(nr); n != nil {
		return n.nr
	}
	return 0
}

// IDOf is the opposite: 0 if nobody has it, or it is not visible in the namespace.
func (ns *PIDNamespace) IDOf(root int) int {
	if n := ns.table.root.ids.get(root); n != nil {
		return n.in(ns)
	}
	return 0
}

// ForEach calls fn for all processes by id, zombies included, without a lock held:
// some may have ended meanwhile.
func (ns *PIDNamespace) ForEach(fn func(*Process)) {
	ns.ids.each(func(n *id) {
		if p := n.process.Load(); p != nil {
			fn(p)
		}
	})
}

// Includes reports whether what is in other is visible in ns.
func (ns *PIDNamespace) Includes(other *PIDNamespace) bool {
	for other.level > ns.level {
		other = other.parent
	}
	return other == ns
}

// newID takes numbers in ns and all namespaces above: the wanted ones, innermost
// first, and the next free ones where none is wanted (alloc_pid). EAGAIN, EEXIST,
// EINVAL as idTable.take; ENOMEM: the namespace's init has ended.
func (ns *PIDNamespace) newID(want []int) (*id, error) {
	if ns.dying {
		return nil, unix.ENOMEM
	}
	n := &id{ns: ns}
	if ns.level > 0 {
		n.inner = make([]int, ns.level)
	}
	for at := ns; at != nil; at = at.parent {
		w := 0
		if i := ns.level - at.level; i < len(want) {
			w = want[i]
		}
		// Also fail if a number other than 1 is wanted and there is no init yet.
		nr, err := 0, error(unix.EINVAL)
		if w <= 1 || at.init != nil {
			nr, err = at.ids.take(w)
		}
		if err != nil {
			for done := ns; done != at; done = done.parent {
				done.ids.remove(n.in(done))
			}
			return nil, err
		}
		if at.level == 0 {
			n.nr = nr
		} else {
			n.inner[at.level-1] = nr
		}
	}
	for at := ns; at != nil; at = at.parent {
		at.ids.put(n.in(at), n)
	}
	return n, nil
}

// attach makes the id a thread's. Table.mu is held.
func (n *id) attach(t *Thread) {
	n.thread.Store(t)
	for ns := n.ns; ns != nil; ns = ns.parent {
		ns.threads++
	}
}

// detach is the end of that: the id is free, unless it is used otherwise.
func (n *id) detach() {
	n.thread.Store(nil)
	n.process.Store(nil)
	for ns := n.ns; ns != nil; ns = ns.parent {
		ns.threads--
		if ns.dying && ns.fewer != nil {
			notify(ns.fewer)
		}
	}
	n.release()
}

// newNamespace makes a namespace below parent: EPERM, EINVAL, ENOSPC. Table.mu is held.
func (tb *Table) newNamespace(parent *PIDNamespace, creds *Credentials) (*PIDNamespace, error) {
	if !creds.hasOwnCap(unix.CAP_SYS_ADMIN) {
		return nil, unix.EPERM
	}
	// Who is in a user namespace beside that of the pid namespace has no say in it.
	if !creds.UserNS.Within(parent.owner) {
		return nil, unix.EINVAL
	}
	if parent.level >= maxLevel {
		return nil, unix.ENOSPC
	}
	tb.namespaces++
	ns := &PIDNamespace{
		table: tb, parent: parent, level: parent.level + 1, owner: creds.UserNS, serial: tb.namespaces,
		fewer: make(chan struct{}, 1),
	}
	ns.ids.init(parent.ids.max)
	return ns, nil
}

// childNamespace returns the pid namespace that processes forked by t are in
// (nsproxy.pid_ns_for_children).
func (t *Thread) childNamespace() *PIDNamespace {
	if ns := t.childPIDNS.Load(); ns != nil {
		return ns
	}
	return t.Namespace()
}

// ChildNamespace returns the pid namespace that processes forked by t are in: t's
// own, unless unshare(2) or setns(2) chose another.
func (t *Thread) ChildNamespace() *PIDNamespace { return t.childNamespace() }

// UnshareNamespace makes a new pid namespace for the processes that t forks from now
// on (unshare(CLONE_NEWPID)); the next one is its init. EINVAL: t has chosen another
// namespace already. EPERM, ENOSPC: see Fork.
func (t *Thread) UnshareNamespace() error {
	tb := t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if t.childNamespace() != t.Namespace() {
		return unix.EINVAL
	}
	ns, err := tb.newNamespace(t.Namespace(), t.Credentials())
	if err != nil {
		return err
	}
	t.childPIDNS.Store(ns)
	return nil
}

// MaySetChildNamespace says whether SetChildNamespace may be called, by who will have
// the credentials next. EPERM; EINVAL: ns is not t's, nor below it (pidns_install).
func (t *Thread) MaySetChildNamespace(ns *PIDNamespace, next *Credentials) error {
	if !t.Credentials().HasCapIn(ns.owner, unix.CAP_SYS_ADMIN) || !t.Credentials().HasCapIn(next.UserNS, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if !t.Namespace().Includes(ns) {
		return unix.EINVAL
	}
	return nil
}

// SetChildNamespace puts the processes that t forks from now on into a pid namespace
// (setns(2)).
func (t *Thread) SetChildNamespace(ns *PIDNamespace) { t.childPIDNS.Store(ns) }
