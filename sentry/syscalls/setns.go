package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/nsfs"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// nsset is what a setns(2) is going to change (struct nsset): everything is checked
// before anything is done.
type nsset struct {
	t     *task.Task
	creds *procmgr.Credentials
	user  bool
	pids  *procmgr.PIDNamespace // nil: as it is
	mnt   *vfs.Namespace        // likewise
	other namespaces.Members
}

// setnsFlags are the flags that setns(2) takes with a pidfd (check_setns_flags).
const setnsFlags = namespaces.Flags | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER

// sysSetns is setns(2), of a file that stands for a namespace, or of a pidfd.
func sysSetns(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	flags := uint64(a.Uint(1))
	s := nsset{t: t, creds: t.Thread().Credentials()}
	if p, ok := f.Ops().(*pidfd); ok {
		if flags == 0 || flags&^setnsFlags != 0 {
			return 0, unix.EINVAL
		}
		drop, err := s.enterProcess(p.p, flags)
		defer drop()
		if err != nil {
			return 0, err
		}
	} else {
		ns, err := nsfs.FromFile(f)
		if err != nil {
			return 0, err
		}
		if flags != 0 && flags != ns.Flag() {
			return 0, unix.EINVAL
		}
		if err := s.add(ns.Object()); err != nil {
			return 0, err
		}
	}
	return 0, s.commit()
}

// enterProcess adds those namespaces of a process that flags name (validate_nsset).
// ESRCH: it has ended. drop gives up what keeps them alive meanwhile.
func (s *nsset) enterProcess(p *procmgr.Process, flags uint64) (drop func(), err error) {
	var held []interface{ Release() }
	drop = func() {
		for _, h := range held {
			h.Release()
		}
	}
	leader := p.Leader()
	if s.t.Thread().MayTrace(leader, procmgr.TraceRealCreds) != nil {
		return drop, unix.EPERM
	}
	o := task.Of(leader)
	if o == nil || o.Namespaces() == nil || o.Place() == nil {
		return drop, unix.ESRCH
	}
	theirs, place := o.Namespaces(), o.Place()
	for _, ns := range [...]any{ // in Linux's order
		leader.Credentials().UserNS, place.Namespace(), theirs.UTS, theirs.IPC, leader.Namespace(), theirs.Cgroup, theirs.Net,
	} {
		if flags&nsfs.Of(ns).Flag() == 0 {
			continue
		}
		if c, ok := ns.(interface {
			TryHold() bool
			Release()
		}); ok {
			if !c.TryHold() {
				return drop, unix.ESRCH
			}
			held = append(held, c)
		}
		if err := s.add(ns); err != nil {
			return drop, err
		}
	}
	return drop, nil
}

// add checks whether the thread may go into a namespace (the install functions of
// struct proc_ns_operations): EPERM, EINVAL.
func (s *nsset) add(ns any) error {
	th, admin := s.t.Thread(), func(owner *procmgr.UserNamespace) bool {
		c := s.t.Thread().Credentials()
		return c.HasCapIn(owner, unix.CAP_SYS_ADMIN) && c.HasCapIn(s.creds.UserNS, unix.CAP_SYS_ADMIN)
	}
	switch ns := ns.(type) {
	case *procmgr.UserNamespace:
		if th.Credentials().UserNS != ns && len(th.Process().Threads()) > 1 {
			return unix.EINVAL
		}
		if th.Credentials().UserNS != ns {
			if err := s.t.MayLeaveFS(); err != nil {
				return err
			}
		}
		next, err := th.Credentials().EnterUserNamespace(ns)
		if err != nil {
			return err
		}
		s.creds, s.user = next, true
		return nil
	case *procmgr.PIDNamespace:
		s.pids = ns
		return th.MaySetChildNamespace(ns, s.creds)
	case *vfs.Namespace:
		owner, _ := ns.Owner().(*procmgr.UserNamespace)
		if !admin(owner) || !th.Credentials().HasCapIn(s.creds.UserNS, unix.CAP_SYS_CHROOT) {
			return unix.EPERM
		}
		s.mnt = ns
		return s.t.MayLeaveFS()
	case *namespaces.UTS:
		s.other.UTS = ns
	case *namespaces.IPC:
		s.other.IPC = ns
	case *namespaces.Net:
		s.other.Net = ns
	case *namespaces.Cgroup:
		s.other.Cgroup = ns
	}
	if !admin(ns.(interface {
		Owner() *procmgr.UserNamespace
	}).Owner()) {
		return unix.EPERM
	}
	return nil
}

// commit makes the changes (commit_nsset).
func (s *nsset) commit() error {
	if s.user {
		if err := s.t.SetCredentials(s.creds, nil); err != nil {
			return err
		}
	}
	if s.mnt != nil {
		s.t.EnterMounts(s.mnt)
	}
	if s.pids != nil {
		s.t.Thread().SetChildNamespace(s.pids)
	}
	if s.other != (namespaces.Members{}) {
		if s.other.IPC != nil {
			s.t.ReleaseSemUndo()
		}
		s.t.SetNamespaces(s.t.Namespaces().Enter(s.other))
	}
	return nil
}
