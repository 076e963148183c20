package task

import (
	"bytes"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// CloneArgs are clone3(2)'s, checked for plausibility by procmgr and Clone.
type CloneArgs struct {
	Flags      uint64 // CLONE_*, without the signal
	ExitSignal unix.Signal
	Stack      hostarch.Addr // new stack pointer; 0: the parent's
	TLS        uint64
	ParentTID  hostarch.Addr
	ChildTID   hostarch.Addr
	PIDFD      hostarch.Addr
	SetTID     []int
	// NewPIDFD installs a pidfd for the child in the parent's table.
	NewPIDFD func(*procmgr.Process) (int32, error)
}

// newNamespaces are the flags that need privilege over the user namespace.
const newNamespaces = namespaces.Flags | unix.CLONE_NEWNS

// Clone is clone(2), fork(2) and vfork(2): it makes a thread like t, in t's
// process or in a new one, and returns its id. Step by step, so that a
// failure undoes the steps before it:
//
//	ids       procmgr.Fork reserves them, and checks flags and limits
//	memory    shared, or copied on write
//	files     descriptor table and fs context, shared or copied
//	registers copied, RAX = 0
//	start     the platform runs the child
func (t *Task) Clone(o CloneArgs) (uint64, error) {
	if err := t.mayCloneNamespaces(o.Flags); err != nil {
		return 0, err
	}
	th, err := t.k.Procs.Fork(t.th, procmgr.CloneOptions{Flags: o.Flags, ExitSignal: o.ExitSignal, SetTID: o.SetTID})
	if err != nil {
		return 0, Interrupted(err, RestartNoIntr)
	}
	child := t.newChild(th, o.Flags)
	undo := func(err error) (uint64, error) {
		child.dropResources()
		th.Abort()
		return 0, err
	}
	if child.mem, err = t.cloneMemory(o.Flags, memoryLimits{th}); err != nil {
		return undo(err)
	}
	child.fds = t.cloneFiles(o.Flags)
	if o.Flags&unix.CLONE_SYSVSEM != 0 {
		child.semUndo.Store(t.SemUndo().Share())
	}
	if child.fs, err = t.cloneFS(o.Flags, th); err != nil {
		return undo(err)
	}
	if err := t.cloneNamespaces(child, o.Flags); err != nil {
		return undo(err)
	}
	if err := t.cloneRegisters(child, &o); err != nil {
		return undo(err)
	}
	if o.Flags&(unix.CLONE_VM|unix.CLONE_VFORK) != unix.CLONE_VM {
		child.sigStack = t.sigStack
	}
	if o.Flags&unix.CLONE_CHILD_CLEARTID != 0 {
		child.clearTID = o.ChildTID
	}
	if o.Flags&unix.CLONE_CHILD_SETTID != 0 {
		child.init.setTID = o.ChildTID
	}
	tid := th.IDIn(t.th.Namespace())
	if o.Flags&unix.CLONE_PARENT_SETTID != 0 {
		t.mem.Space.StoreUint32(o.ParentTID, uint32(tid)) // Linux ignores a fault here
	}
	if o.Flags&unix.CLONE_PIDFD != 0 {
		fd, err := o.NewPIDFD(th.Process())
		if err != nil {
			return undo(err)
		}
		if err := t.mem.Space.StoreUint32(o.PIDFD, uint32(fd)); err != nil {
			t.fds.Close(int(fd))
			return undo(unix.EFAULT)
		}
	}
	t.group.filters.Lock()
	if s := t.seccomp.Load(); s != nil {
		child.seccomp.Store(s)
		if l := s.filter.Listener(); l != nil {
			l.Join()
		}
	}
	th.SetData(child) // from now on a change for all threads reaches it
	t.group.filters.Unlock()
	t.k.tasks.Add(1)
	if err := t.k.Platform.Spawn(t.ctx, child.mem.Guest, child.run); err != nil {
		t.k.tasks.Done()
		t.k.Log.Warn("cannot start a guest thread", "err", err)
		return undo(unix.EAGAIN)
	}
	th.Start()
	t.th.TraceClone(th, o.Flags, o.ExitSignal)
	if o.Flags&unix.CLONE_VFORK != 0 {
		t.th.WaitVfork(th)
		t.th.TraceVforkDone(th)
	}
	return uint64(tid), nil
}

// newChild makes the Task of a cloned thread, without resources yet.
func (t *Task) newChild(th *procmgr.Thread, flags uint64) *Task {
	child := &Task{k: t.k, th: th, frames: t.frames}
	child.slack.Store(t.slack.Load())
	child.slack0.Store(t.slack.Load())
	child.persona.Store(t.persona.Load())
	child.memPolicy = t.memPolicy
	child.affinity.Store(t.Affinity())
	if flags&unix.CLONE_THREAD == 0 {
		child.group = t.k.newGroup(th.Process())
	} else {
		child.group = t.group.join()
	}
	return child
}

func (t *Task) cloneFiles(flags uint64) *fdtable.Table {
	if flags&unix.CLONE_FILES != 0 {
		t.fds.IncRef()
		return t.fds
	}
	return t.fds.Copy()
}

func (t *Task) cloneFS(flags uint64, child *procmgr.Thread) (*vfs.FSContext, error) {
	switch {
	case flags&unix.CLONE_FS != 0:
		return t.fs.Share(), nil
	case flags&unix.CLONE_NEWNS != 0:
		return t.fs.CopyNamespace(mountOwner(child))
	}
	return t.fs.Copy(), nil
}

// mayCloneNamespaces checks flags about namespaces: EINVAL for what does not go
// together, or is not here; EPERM.
func (t *Task) mayCloneNamespaces(flags uint64) error {
	if flags&(unix.CLONE_INTO_CGROUP|cloneNewTime) != 0 || flags&unix.CLONE_NEWNS != 0 && flags&unix.CLONE_FS != 0 {
		return unix.EINVAL
	}
	// In a new user namespace, who makes it may make others.
	c := t.th.Credentials()
	if flags&newNamespaces != 0 && flags&unix.CLONE_NEWUSER == 0 && !c.HasCapIn(c.UserNS, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	// Adjustments to semaphores are of one namespace.
	if flags&unix.CLONE_NEWIPC != 0 && flags&unix.CLONE_SYSVSEM != 0 {
		return unix.EINVAL
	}
	return nil
}

const cloneNewTime = 0x80 // shares a bit with CSIGNAL, hence clone3 only

// cloneNamespaces is copy_namespaces: the child's belong to its own user namespace.
func (t *Task) cloneNamespaces(child *Task, flags uint64) error {
	if flags&namespaces.Flags == 0 {
		child.namespaces.Store(t.Namespaces().Share())
		return nil
	}
	s, err := t.Namespaces().Unshare(flags, child.th.Credentials().UserNS)
	if err == nil {
		child.namespaces.Store(s)
	}
	return err
}

func (t *Task) cloneRegisters(child *Task, o *CloneArgs) error {
	regs := *t.ctx.Registers()
	regs.Rax = 0
	if o.Stack != 0 {
		regs.Rsp = uint64(o.Stack)
	}
	if o.Flags&unix.CLONE_SETTLS != 0 {
		if o.TLS >= uint64(t.k.Platform.MaxAddress()) {
			return unix.EPERM
		}
		regs.Fs_base = o.TLS
	}
	fp, err := t.ctx.FPState()
	if err != nil {
		return unix.EAGAIN
	}
	child.init = startState{regs: regs, fp: bytes.Clone(fp), setTID: child.init.setTID}
	return nil
}
