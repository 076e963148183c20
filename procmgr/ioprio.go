package procmgr

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// I/O priorities (ioprio_set(2)): a class and a level in it. They are kept, inherited
// and told; there is no device whose queue would heed them.
const (
	ioClassShift = 13
	ioClassMask  = 7
	ioLevelMask  = 7

	ioClassNone     = 0
	ioClassRealtime = 1
	ioClassBest     = 2
	ioClassIdle     = 3
)

// What ioprio_set's which means.
const (
	ioWhoProcess = 1
	ioWhoGroup   = 2
	ioWhoUser    = 3
)

// ioPriority is a thread's I/O priority, which threads may share (CLONE_IO, struct
// io_context).
type ioPriority struct{ v atomic.Pointer[atomic.Int32] }

// get returns the priority, and whether one was ever set.
func (p *ioPriority) get() (int, bool) {
	if v := p.v.Load(); v != nil {
		return int(v.Load()), true
	}
	return 0, false
}

// own makes sure that there is a place for it.
func (p *ioPriority) own() *atomic.Int32 {
	if p.v.Load() == nil {
		p.v.CompareAndSwap(nil, new(atomic.Int32))
	}
	return p.v.Load()
}

// inherit is copy_io without CLONE_IO: a priority that was set is passed on.
func (p *ioPriority) inherit(from *ioPriority) {
	if v, _ := from.get(); v>>ioClassShift != ioClassNone {
		p.own().Store(int32(v))
	}
}

// share is copy_io with CLONE_IO.
func (p *ioPriority) share(from *ioPriority) { p.v.Store(from.own()) }

// effective is __get_task_ioprio: what has no class of its own goes by the scheduling
// policy and nice value.
func (t *Thread) effectiveIOPriority() int {
	v, set := t.ioprio.get()
	if !set || v>>ioClassShift&ioClassMask != ioClassNone {
		return v
	}
	class := ioClassBest
	switch policy := t.schedParam().policy; {
	case policy == SchedIdle:
		class = ioClassIdle
	case realtime(policy):
		class = ioClassRealtime
	}
	return class<<ioClassShift | (t.Nice()+20)/5
}

// SetIOPriority is ioprio_set(2). EINVAL: no such priority, or which. EPERM: another
// user's thread; the real-time class without CAP_SYS_NICE or CAP_SYS_ADMIN. ESRCH.
func (tb *Table) SetIOPriority(t *Thread, which, who, priority int) error {
	creds := t.Credentials()
	switch priority >> ioClassShift & ioClassMask {
	case ioClassRealtime:
		if !creds.HasCap(unix.CAP_SYS_ADMIN) && !creds.HasCap(unix.CAP_SYS_NICE) {
			return unix.EPERM
		}
	case ioClassBest, ioClassIdle:
	case ioClassNone:
		if priority&ioLevelMask != 0 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	found, failed := false, false
	err := tb.ioTargets(t, which, who, func(o *Thread) {
		found = true
		uid := o.Credentials().RUID
		if failed = failed || uid != creds.EUID && uid != creds.RUID && !creds.HasCap(unix.CAP_SYS_NICE); !failed {
			o.ioprio.own().Store(int32(priority))
		}
	})
	switch {
	case err != nil:
		return err
	case !found:
		return unix.ESRCH
	case failed:
		return unix.EPERM
	}
	return nil
}

// IOPriority is ioprio_get(2): the highest of those that which and who mean. EINVAL,
// ESRCH.
func (tb *Table) IOPriority(t *Thread, which, who int) (int, error) {
	best, found := 0, false
	err := tb.ioTargets(t, which, who, func(o *Thread) {
		v := o.effectiveIOPriority()
		if which == ioWhoProcess {
			v, _ = o.ioprio.get()
		}
		if !found || v < best {
			best, found = v, true
		}
	})
	if err == nil && !found {
		err = unix.ESRCH
	}
	return best, err
}

// ioTargets is prioTargets with the numbers of ioprio_set(2).
func (tb *Table) ioTargets(t *Thread, which, who int, fn func(*Thread)) error {
	switch which {
	case ioWhoProcess, ioWhoGroup:
	case ioWhoUser:
		// A number is one of the caller's user namespace here; 0 is user 0.
		uid := t.Credentials().UserNS.HostUID(uint32(who))
		if uid == NoID {
			return unix.ESRCH
		}
		tb.ofUser(t, uid, fn)
		return nil
	default:
		return unix.EINVAL
	}
	return tb.prioTargets(t, which-ioWhoProcess, who, fn)
}
