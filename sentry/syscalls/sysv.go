package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/mm"
	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/ipc/msg"
	"runsc-lite/sentry/ipc/sem"
	"runsc-lite/sentry/ipc/shm"
	"runsc-lite/sentry/task"
)

// ipcCommand takes IPC_64 off, which x86-64 ignores.
func ipcCommand(cmd int32) int32 { return cmd &^ 0x100 }

// ipcStat answers the commands that write a struct of size bytes.
func ipcStat(t *task.Task, addr hostarch.Addr, size int, stat func(b []byte) (int32, error)) (uint64, error) {
	b := make([]byte, size)
	id, err := stat(b)
	if err != nil {
		return 0, err
	}
	_, err = t.Memory().Space.CopyOut(addr, b)
	return uint64(id), err
}

// ipcInfo answers those about all objects.
func ipcInfo(t *task.Task, addr hostarch.Addr, b []byte, highest int32) (uint64, error) {
	_, err := t.Memory().Space.CopyOut(addr, b)
	return uint64(highest), err
}

// copyInIPC reads the struct of IPC_SET.
func copyInIPC(t *task.Task, addr hostarch.Addr, size int) ([]byte, error) {
	b := make([]byte, size)
	_, err := t.Memory().Space.CopyIn(addr, b)
	return b, err
}

// Shared memory.

func sysShmget(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Namespaces().IPC.Shm.Get(t.IPCCaller(), a.Int(0), a[1], a.Uint(2))
	return uint64(id), err
}

// sysShmat is shmat(2) (do_shmat).
func sysShmat(t *task.Task, a *task.Args) (uint64, error) {
	id, addr, flags := a.Int(0), a.Addr(1), a.Uint(2)
	if id < 0 {
		return 0, unix.EINVAL
	}
	opts := mm.MmapOptions{Shared: true, MaxProt: hostarch.AnyAccess}
	if addr != 0 {
		if addr&pageOffset != 0 {
			if flags&shm.Round == 0 {
				return 0, unix.EINVAL
			}
			if addr &^= pageOffset; addr == 0 && flags&shm.Remap != 0 {
				return 0, unix.EINVAL
			}
		}
		opts.Addr, opts.Fixed, opts.FixedNoReplace = addr, true, flags&shm.Remap == 0
	} else if flags&shm.Remap != 0 {
		return 0, unix.EINVAL
	}
	opts.Prot = hostarch.AccessType{Read: true, Write: flags&shm.ReadOnly == 0, Execute: flags&shm.Execute != 0}
	opts.MaxProt.Write = opts.Prot.Write
	at, err := t.Namespaces().IPC.Shm.Attach(t.IPCCaller(), id, flags)
	if err != nil {
		return 0, err
	}
	defer at.DecRef() // the mapping has its own
	if opts.Pager, err = at.Pager(); err != nil {
		return 0, err
	}
	opts.Length, opts.File = at.Size(), at
	addr, err = t.Memory().Space.Mmap(opts)
	if err == unix.EEXIST {
		err = unix.EINVAL
	}
	return uint64(addr), err
}

func sysShmdt(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.MunmapFile(a.Addr(0), func(f mm.MappedFile) bool {
		at := shm.Of(f)
		if at != nil {
			at.Detached(t.IPCCaller())
		}
		return at != nil
	})
}

func sysShmctl(t *task.Task, a *task.Args) (uint64, error) {
	id, cmd, addr := a.Int(0), ipcCommand(a.Int(1)), a.Addr(2)
	m, c := t.Namespaces().IPC.Shm, t.IPCCaller()
	if id < 0 || cmd < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case ipc.Info, shm.InfoAll:
		b, highest := m.Info(cmd)
		return ipcInfo(t, addr, b, highest)
	case ipc.Stat, shm.StatIdx, shm.StatAny:
		return ipcStat(t, addr, shm.SizeofStat, func(b []byte) (int32, error) { return m.Stat(c, id, cmd, b) })
	case ipc.Set:
		b, err := copyInIPC(t, addr, shm.SizeofStat)
		if err != nil {
			return 0, err
		}
		return 0, m.Change(c, id, ipc.DecodeChange(b))
	case ipc.RmID:
		return 0, m.Remove(c, id)
	case shm.Lock, shm.Unlock:
		limit := t.Process().Limits().Soft(unix.RLIMIT_MEMLOCK)
		return 0, m.SetLocked(c, id, cmd == shm.Lock, t.Thread().Credentials().HasCap(unix.CAP_IPC_LOCK), limit != 0)
	}
	return 0, unix.EINVAL
}

// Semaphores.

func sysSemget(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Namespaces().IPC.Sem.Get(t.IPCCaller(), a.Int(0), a.Int(1), a.Uint(2))
	return uint64(id), err
}

func sysSemop(t *task.Task, a *task.Args) (uint64, error) { return semop(t, a, never) }

func sysSemtimedop(t *task.Task, a *task.Args) (uint64, error) {
	if a[3] == 0 {
		return semop(t, a, never)
	}
	ts, valid, err := copyInTimespec(t, a.Addr(3))
	if err != nil {
		return 0, err
	}
	if !valid {
		return 0, unix.EINVAL
	}
	return semop(t, a, time.Now().Add(time.Duration(ts.Nano())))
}

// semop waits until all operations can be made at once. It is never restarted
// (signal(7)).
func semop(t *task.Task, a *task.Args, deadline time.Time) (uint64, error) {
	m, n := t.Namespaces().IPC.Sem, a.Uint(2)
	if n < 1 || a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	if int64(n) > m.Limits.Ops.Load() {
		return 0, unix.E2BIG
	}
	raw := make([]byte, sem.SizeofOp*n)
	if _, err := t.Memory().Space.CopyIn(a.Addr(1), raw); err != nil {
		return 0, err
	}
	ch := make(chan struct{}, 1)
	wake := t.Notifier(ch)
	w, err := m.Op(t.IPCCaller(), a.Int(0), sem.DecodeOps(raw), t.SemUndo, func() { wake.NotifyEvent(waiter.EventIn) })
	if w == nil {
		return 0, err
	}
	for {
		err := t.Block(ch, deadline)
		if err != nil {
			if result, done := w.Cancel(); done {
				return 0, result
			}
			if err == unix.ETIMEDOUT {
				return 0, unix.EAGAIN
			}
			return 0, task.Interrupted(err, task.NotRestarted)
		}
		if result, done := w.Done(); done {
			return 0, result
		}
	}
}

func sysSemctl(t *task.Task, a *task.Args) (uint64, error) {
	id, num, cmd, addr := a.Int(0), a.Int(1), ipcCommand(a.Int(2)), a.Addr(3)
	m, c := t.Namespaces().IPC.Sem, t.IPCCaller()
	if id < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case ipc.Info, sem.InfoAll:
		b, highest := m.Info(cmd)
		return ipcInfo(t, addr, b, highest)
	case ipc.Stat, sem.StatIdx, sem.StatAny:
		return ipcStat(t, addr, sem.SizeofStat, func(b []byte) (int32, error) { return m.Stat(c, id, cmd, b) })
	case ipc.Set:
		b, err := copyInIPC(t, addr, sem.SizeofStat)
		if err != nil {
			return 0, err
		}
		return 0, m.Change(c, id, ipc.DecodeChange(b))
	case ipc.RmID:
		return 0, m.Remove(c, id)
	case sem.GetVal, sem.GetPID, sem.GetNCnt, sem.GetZCnt:
		v, err := m.Value(c, id, num, cmd)
		return uint64(v), err
	case sem.SetVal:
		return 0, m.SetValue(c, id, num, int32(a[3]))
	case sem.GetAll:
		b, err := m.Values(c, id)
		if err != nil {
			return 0, err
		}
		_, err = t.Memory().Space.CopyOut(addr, b)
		return 0, err
	case sem.SetAll:
		n, err := m.Count(c, id)
		if err != nil {
			return 0, err
		}
		b, err := copyInIPC(t, addr, 2*n)
		if err != nil {
			return 0, err
		}
		return 0, m.SetValues(c, id, b)
	}
	return 0, unix.EINVAL
}

// Message queues.

func sysMsgget(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Namespaces().IPC.Msg.Get(t.IPCCaller(), a.Int(0), a.Uint(1))
	return uint64(id), err
}

// waitMessage calls try until it answers something other than EAGAIN, and waits on
// call in between unless flags have IPC_NOWAIT. It is never restarted (signal(7)).
func waitMessage(t *task.Task, call *msg.Call, flags uint32, try func() error) error {
	err := try()
	if err != unix.EAGAIN || flags&ipc.NoWait != 0 {
		return err
	}
	ch, err := t.Subscribe(call, waiter.ReadableEvents|waiter.WritableEvents)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(call)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(ch, never); err != nil {
			return task.Interrupted(err, task.NotRestarted)
		}
	}
}

// sysMsgsnd is msgsnd(2): a long, the type, and the text behind it.
func sysMsgsnd(t *task.Task, a *task.Args) (uint64, error) {
	id, addr, size, flags := a.Int(0), a.Addr(1), a[2], a.Uint(3)
	m := t.Namespaces().IPC.Msg
	var kind [8]byte
	if _, err := t.Memory().Space.CopyIn(addr, kind[:]); err != nil {
		return 0, err
	}
	if size > uint64(m.Limits.Message.Load()) || id < 0 || int64(binary.LittleEndian.Uint64(kind[:])) < 1 {
		return 0, unix.EINVAL
	}
	text := make([]byte, size)
	if _, err := t.Memory().Space.CopyIn(addr+8, text); err != nil {
		return 0, err
	}
	call := m.NewCall()
	return 0, waitMessage(t, call, flags, func() error {
		return call.Send(t.IPCCaller(), id, int64(binary.LittleEndian.Uint64(kind[:])), text)
	})
}

// sysMsgrcv is msgrcv(2).
func sysMsgrcv(t *task.Task, a *task.Args) (uint64, error) {
	id, addr, size, want, flags := a.Int(0), a.Addr(1), a[2], a.Int64(3), a.Uint(4)
	if id < 0 || int64(size) < 0 {
		return 0, unix.EINVAL
	}
	if flags&msg.Copy != 0 {
		if flags&msg.Except != 0 || flags&ipc.NoWait == 0 {
			return 0, unix.EINVAL
		}
	}
	call := t.Namespaces().IPC.Msg.NewCall()
	var kind int64
	var text []byte
	err := waitMessage(t, call, flags, func() (err error) {
		kind, text, err = call.Receive(t.IPCCaller(), id, want, size, flags)
		return err
	})
	if err == unix.EAGAIN {
		err = unix.ENOMSG
	}
	if err != nil {
		return 0, err
	}
	b := make([]byte, 8, 8+len(text))
	binary.LittleEndian.PutUint64(b, uint64(kind))
	if _, err := t.Memory().Space.CopyOut(addr, append(b, text...)); err != nil {
		return 0, err
	}
	return uint64(len(text)), nil
}

func sysMsgctl(t *task.Task, a *task.Args) (uint64, error) {
	id, cmd, addr := a.Int(0), ipcCommand(a.Int(1)), a.Addr(2)
	m, c := t.Namespaces().IPC.Msg, t.IPCCaller()
	if id < 0 || cmd < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case ipc.Info, msg.InfoAll:
		b, highest := m.Info(cmd)
		return ipcInfo(t, addr, b, highest)
	case ipc.Stat, msg.StatIdx, msg.StatAny:
		return ipcStat(t, addr, msg.SizeofStat, func(b []byte) (int32, error) { return m.Stat(c, id, cmd, b) })
	case ipc.Set:
		b, err := copyInIPC(t, addr, msg.SizeofStat)
		if err != nil {
			return 0, err
		}
		most := binary.LittleEndian.Uint64(b[88:])
		return 0, m.Change(c, id, ipc.DecodeChange(b), most, t.Thread().Credentials().HasCapIn(t.Namespaces().IPC.Owner(), unix.CAP_SYS_RESOURCE))
	case ipc.RmID:
		return 0, m.Remove(c, id)
	}
	return 0, unix.EINVAL
}
