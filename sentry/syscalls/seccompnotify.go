package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// listenerFile is the descriptor by which user space decides on calls
// (seccomp_unotify(2)).
type listenerFile struct{ *seccomp.Listener }

// Release implements vfs.FileOps.
func (l listenerFile) Release() { l.Close() }

func installListener(t *task.Task, l *seccomp.Listener) (int32, error) {
	return t.Install(vfs.NewFile(listenerFile{l}, &vfs.AnonInode{}, unix.O_RDWR, "anon_inode:seccomp notify"), true)
}

// Requests, and sizes of their structs: seccomp_notif, seccomp_notif_resp and
// seccomp_notif_addfd.
const (
	notifRecv         = 0xc0502100
	notifSend         = 0xc0182101
	notifIDValid      = 0x40082102
	notifIDValidWrong = 0x80082102 // as it was defined at first
	notifAddFD        = 0x40182103
	notifSetFlags     = 0x40082104

	sizeofNotif = 80
	sizeofResp  = 24
	sizeofAddFD = 24

	respContinue = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	addFDSet     = 1 // SECCOMP_ADDFD_FLAG_SETFD
	addFDSend    = 2 // SECCOMP_ADDFD_FLAG_SEND
	syncWakeUp   = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, which changes nothing here
)

// ioctlListener is seccomp_notify_ioctl.
func ioctlListener(t *task.Task, f *vfs.File, l *seccomp.Listener, a *task.Args) (uint64, error) {
	mem, addr, le := t.Memory().Space, a.Addr(2), binary.LittleEndian
	switch a.Uint(1) {
	case notifRecv:
		return 0, receiveCall(t, f, l, a)
	case notifSend:
		var b [sizeofResp]byte
		if _, err := mem.CopyIn(addr, b[:]); err != nil {
			return 0, err
		}
		id, flags := le.Uint64(b[0:]), le.Uint32(b[20:])
		ans := seccomp.Answer{Value: int64(le.Uint64(b[8:])), Error: int32(le.Uint32(b[16:])), Continue: flags == respContinue}
		if flags&^respContinue != 0 || ans.Continue && (ans.Value != 0 || ans.Error != 0) {
			return 0, unix.EINVAL
		}
		return 0, l.Answer(id, ans)
	case notifIDValid, notifIDValidWrong:
		var b [8]byte
		if _, err := mem.CopyIn(addr, b[:]); err != nil {
			return 0, err
		}
		return 0, l.Valid(le.Uint64(b[:]))
	case notifAddFD:
		var b [sizeofAddFD]byte
		if _, err := mem.CopyIn(addr, b[:]); err != nil {
			return 0, err
		}
		fd, err := addFD(t, l, b[:])
		return uint64(fd), err
	case notifSetFlags:
		if a[2]&^syncWakeUp != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	return 0, unix.EINVAL
}

// receiveCall is seccomp_notify_recv. It waits even if the descriptor is not to.
func receiveCall(t *task.Task, f *vfs.File, l *seccomp.Listener, a *task.Args) error {
	var b [sizeofNotif]byte
	if _, err := t.Memory().Space.CopyIn(a.Addr(2), b[:]); err != nil {
		return err
	}
	if b != [sizeofNotif]byte{} {
		return unix.EINVAL
	}
	ch, err := t.Subscribe(f, waiter.ReadableEvents|waiter.EventHUp)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(f)
	n, err := l.Receive()
	for err == unix.EAGAIN {
		if err := t.Block(ch, never); err != nil {
			return task.Interrupted(err, task.RestartSys)
		}
		n, err = l.Receive()
	}
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	le.PutUint64(b[0:], n.ID)
	le.PutUint32(b[8:], uint32(n.Caller.(*task.Task).Thread().IDIn(t.Thread().Namespace())))
	n.Data.Encode(b[16:])
	if _, err := t.Memory().Space.CopyOut(a.Addr(2), b[:]); err != nil {
		l.Return(n)
		return err
	}
	return nil
}

// addFD is seccomp_notify_addfd: a descriptor for the thread that made the call.
func addFD(t *task.Task, l *seccomp.Listener, b []byte) (int32, error) {
	le := binary.LittleEndian
	id, flags, src := le.Uint64(b[0:]), le.Uint32(b[8:]), int32(le.Uint32(b[12:]))
	at, fdFlags := le.Uint32(b[16:]), le.Uint32(b[20:])
	if fdFlags&^unix.O_CLOEXEC != 0 || flags&^(addFDSet|addFDSend) != 0 || at != 0 && flags&addFDSet == 0 {
		return 0, unix.EINVAL
	}
	f, err := t.AnyFile(src)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	var fds *fdtable.Table
	var limit uint64
	err = l.With(id, func(caller any) {
		o := caller.(*task.Task)
		fds, limit = o.Descriptors(), o.MaxFDs() // it waits, and so they are there
		fds.IncRef()
	})
	if err != nil {
		return 0, err
	}
	// Not under the listener's lock: what is closed for it may be the listener.
	defer fds.DecRef()
	f.IncRef()
	fd := int(at)
	switch {
	case flags&addFDSet == 0:
		fd, err = fds.Install(f, 0, limit, fdFlags != 0)
	case uint64(at) < limit:
		err = fds.InstallAt(fd, f, fdFlags != 0)
	default:
		err = unix.EBADF
	}
	if err != nil {
		f.DecRef()
		return 0, err
	}
	if flags&addFDSend != 0 {
		err = l.Answer(id, seccomp.Answer{Value: int64(fd)})
	}
	return int32(fd), err
}

// seccompSizes is SECCOMP_GET_NOTIF_SIZES.
func seccompSizes(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(1) != 0 {
		return 0, unix.EINVAL
	}
	b := binary.LittleEndian.AppendUint16(nil, sizeofNotif)
	b = binary.LittleEndian.AppendUint16(b, sizeofResp)
	b = binary.LittleEndian.AppendUint16(b, seccomp.SizeofData)
	_, err := t.Memory().Space.CopyOut(a.Addr(2), b)
	return 0, err
}

// ptraceFilter is PTRACE_SECCOMP_GET_FILTER and PTRACE_SECCOMP_GET_METADATA
// (seccomp_get_filter): for who could take a sandbox apart anyhow.
func ptraceFilter(t *task.Task, x *tracee, a *task.Args) (uint64, error) {
	if mode, _ := t.Seccomp(); !t.Thread().Credentials().HasCap(unix.CAP_SYS_ADMIN) || mode != seccomp.ModeNone {
		return 0, unix.EACCES
	}
	i, mem, data := a[2], t.Memory().Space, a.Addr(3)
	if a[0] == unix.PTRACE_SECCOMP_GET_METADATA {
		if a[2] < 8 {
			return 0, unix.EINVAL
		}
		var b [8]byte
		if _, err := mem.CopyIn(data, b[:]); err != nil {
			return 0, err
		}
		i = binary.LittleEndian.Uint64(b[:])
	}
	source, logs, err := x.task.SeccompFilter(i)
	if err != nil {
		return 0, err
	}
	if a[0] == unix.PTRACE_SECCOMP_GET_METADATA {
		b := make([]byte, 16)
		binary.LittleEndian.PutUint64(b, i)
		if logs {
			binary.LittleEndian.PutUint64(b[8:], seccompLog)
		}
		size := min(uint64(len(b)), a[2])
		_, err := mem.CopyOut(data, b[:size])
		return size, err
	}
	if data != 0 {
		if _, err := mem.CopyOut(data, source); err != nil {
			return 0, err
		}
	}
	return uint64(len(source) / seccomp.InstructionSize), nil
}
