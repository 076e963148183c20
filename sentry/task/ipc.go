package task

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/ipc/mqueue"
	"runsc-lite/sentry/ipc/msg"
	"runsc-lite/sentry/ipc/sem"
	"runsc-lite/sentry/ipc/shm"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// queuesDev is the device number of the file system of message queues.
var queuesDev = unix.Mkdev(0, 48)

// shmDev is the device number that maps of shared memory show.
const shmDev = 1

// ipcMaker returns what makes the objects of an ipc namespace.
func (k *Kernel) ipcMaker() func() namespaces.Objects {
	now := func() int64 {
		ns, _ := k.Clock.Read(unix.CLOCK_REALTIME)
		return ns / 1e9
	}
	segments, sets, queues := ipc.NewBudget(shm.Budget), ipc.NewBudget(sem.Budget), ipc.NewBudget(msg.Budget)
	messages := ipc.NewBudget(mqueue.Budget)
	return func() namespaces.Objects {
		return namespaces.Objects{
			Shm: shm.New(shm.Config{
				NewFile: k.newSharedMemory, Now: now, Dev: shmDev, MaxSize: k.TotalMemory, Budget: segments,
			}),
			Sem: sem.New(now, sets),
			Msg: msg.New(now, queues),
			Queues: mqueue.New(mqueue.Options{
				Dev: queuesDev, Budget: messages,
				Now: func() unix.Timespec {
					ns, _ := k.Clock.Read(unix.CLOCK_REALTIME)
					return unix.NsecToTimespec(ns)
				},
				Quota: func(who any) uint64 { return who.(*Task).Process().Limits().Soft(unix.RLIMIT_MSGQUEUE) },
			}),
		}
	}
}

// InQueues calls fn with the directory of all message queues, which is mounted
// nowhere.
func (t *Task) InQueues(fn func(c *vfs.Caller, dir *vfs.File) error) error {
	c := t.Caller()
	m, err := c.Namespace().Detached(t.Namespaces().IPC.Queues, vfs.MountOptions{})
	if err != nil {
		return err
	}
	defer m.Release() // what is opened in it keeps it
	dir, err := c.OpenPath(m.Root(), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.DecRef()
	return fn(c, dir)
}

// newSharedMemory makes a file without a name, of size bytes.
func (k *Kernel) newSharedMemory(size uint64) (*vfs.File, error) {
	f, err := k.Shmem.NewMemfd("SYSV", 0, vfs.RootCreds())
	if err != nil {
		return nil, err
	}
	if err := f.Inode().(vfs.StatSetter).SetStat(vfs.SetStat{Mask: vfs.SetSize, Size: int64(size)}); err != nil {
		f.DecRef()
		return nil, err
	}
	return f, nil
}

// IPCCaller returns t as who makes a call of System V's.
func (t *Task) IPCCaller() *ipc.Caller {
	c, owner := t.th.Credentials(), t.Namespaces().IPC.Owner()
	return &ipc.Caller{
		PID: int32(t.Process().ID()), UID: c.EUID, GID: c.EGID, Groups: c.Groups,
		Owner: c.HasCapIn(owner, unix.CAP_IPC_OWNER), Admin: c.HasCapIn(owner, unix.CAP_SYS_ADMIN),
	}
}

// SemUndo returns what is undone to semaphores when t ends.
func (t *Task) SemUndo() *sem.List {
	if t.semUndo.Load() == nil {
		t.semUndo.Store(t.Namespaces().IPC.Sem.NewList())
	}
	return t.semUndo.Load()
}

// ReleaseSemUndo ends t's part in that: with the last of those who share it, it is
// done (exit_sem).
func (t *Task) ReleaseSemUndo() {
	if l := t.semUndo.Swap(nil); l != nil {
		l.Release(int32(t.Process().ID()))
	}
}
