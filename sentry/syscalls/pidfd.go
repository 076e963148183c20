package syscalls

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// pidfd is the file behind pidfd_open(2) and CLONE_PIDFD: it stands for a
// process, and becomes readable when that ends.
type pidfd struct{ p *procmgr.Process }

// Release implements vfs.FileOps.
func (*pidfd) Release() {}

// Readiness implements waiter.Waitable.
func (f *pidfd) Readiness(mask waiter.EventMask) waiter.EventMask {
	if f.p.Ended() {
		return mask & (waiter.EventIn | waiter.EventRdNorm)
	}
	return 0
}

// EventRegister implements waiter.Waitable.
func (f *pidfd) EventRegister(e *waiter.Entry) error {
	f.p.EndedQueue().EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (f *pidfd) EventUnregister(e *waiter.Entry) { f.p.EndedQueue().EventUnregister(e) }

// FDInfo implements proc.FDInfoer (pidfd_show_fdinfo).
func (f *pidfd) FDInfo(b *bytes.Buffer) {
	if f.p.Leader().State() == procmgr.Dead {
		b.WriteString("Pid:\t-1\nNSpid:\t-1\n")
		return
	}
	fmt.Fprintf(b, "Pid:\t%d\nNSpid:", f.p.ID())
	for _, id := range f.p.IDs() {
		fmt.Fprintf(b, "\t%d", id)
	}
	b.WriteByte('\n')
}

func installPIDFD(t *task.Task, p *procmgr.Process, flags uint32) (int32, error) {
	return t.Install(vfs.NewFile(&pidfd{p}, &vfs.AnonInode{}, flags|unix.O_RDWR, "anon_inode:[pidfd]"), true)
}

// pidfdProcess returns the process that a pidfd stands for.
func pidfdProcess(t *task.Task, fd int32) (*procmgr.Process, bool, error) {
	f, err := t.File(fd)
	if err != nil {
		return nil, false, err
	}
	defer f.DecRef()
	p, ok := f.Ops().(*pidfd)
	if !ok {
		return nil, false, unix.EBADF
	}
	return p.p, f.Flags()&unix.O_NONBLOCK != 0, nil
}

// sysPidfdOpen is pidfd_open(2): ESRCH, and EINVAL for a thread that is not its
// process's first.
func sysPidfdOpen(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(1)&^unix.PIDFD_NONBLOCK != 0 || a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	p := t.Thread().Namespace().GetProcess(int(a.Int(0)))
	if p == nil {
		if t.Lookup(int(a.Int(0))) != nil {
			return 0, unix.EINVAL
		}
		return 0, unix.ESRCH
	}
	fd, err := installPIDFD(t, p, a.Uint(1))
	return uint64(fd), err
}

// sysPidfdGetfd is pidfd_getfd(2): a descriptor of another process.
func sysPidfdGetfd(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	p, _, err := pidfdProcess(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	leader := p.Leader()
	if leader.State() == procmgr.Dead {
		return 0, unix.ESRCH
	}
	if err := t.Thread().MayTrace(leader, procmgr.TraceAttach|procmgr.TraceRealCreds); err != nil {
		return 0, err
	}
	var f *vfs.File
	if o := task.Of(leader); o != nil {
		if fds := o.Descriptors(); fds != nil {
			f = fds.Get(int(a.Int(1)))
		}
	}
	if f == nil {
		return 0, unix.EBADF
	}
	fd, err := t.Install(f, true)
	return uint64(fd), err
}

// signalTarget returns the process that pidfd_send_signal(2) means: a pidfd's, or
// that of a directory /proc/PID (tgid_pidfd_to_pid).
func signalTarget(t *task.Task, fd int32) (*procmgr.Process, error) {
	f, err := t.File(fd)
	if err != nil {
		return nil, err
	}
	defer f.DecRef()
	if d, ok := f.Inode().(interface{ DirectoryOf() *procmgr.Process }); ok {
		if p := d.DirectoryOf(); p != nil {
			return p, nil
		}
	}
	p, _, err := pidfdProcess(t, fd)
	return p, err
}

// sysPidfdSendSignal is pidfd_send_signal(2).
func sysPidfdSendSignal(t *task.Task, a *task.Args) (uint64, error) {
	fd, sig, infoAddr := a.Int(0), a.Int(1), hostarch.Addr(a[2])
	if a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	p, err := signalTarget(t, fd)
	if err != nil {
		return 0, err
	}
	if p.IDIn(t.Thread().Namespace()) == 0 {
		return 0, unix.EINVAL // in a pid namespace that the caller does not see
	}
	if infoAddr == 0 {
		return 0, t.Kernel().Procs.KillProcess(t.Thread(), p, unix.Signal(sig))
	}
	info, err := copyInSiginfo(t, infoAddr, sig, p == t.Process(), true)
	if err != nil {
		return 0, err
	}
	return 0, t.Kernel().Procs.SigqueueProcess(t.Thread(), p, info)
}
