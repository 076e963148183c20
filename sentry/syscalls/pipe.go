package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/fs/eventfd"
	"runsc-lite/sentry/task"
)

// sysPipe is pipe(2).
func sysPipe(t *task.Task, a *task.Args) (uint64, error) { return makePipe(t, a.Addr(0), 0) }

// sysPipe2 is pipe2(2). O_NOTIFICATION_PIPE is EINVAL.
func sysPipe2(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(1)&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return 0, unix.EINVAL
	}
	return makePipe(t, a.Addr(0), a.Uint(1))
}

func makePipe(t *task.Task, addr hostarch.Addr, flags uint32) (uint64, error) {
	c := t.Caller().Creds
	r, w := t.Kernel().Pipes.Create(flags, c.UID, c.GID)
	fds, err := t.FDs().InstallPair(r, w, t.MaxFDs(), flags&unix.O_CLOEXEC != 0)
	if err != nil {
		r.DecRef()
		w.DecRef()
		return 0, err
	}
	var b [8]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(fds[0]))
	binary.LittleEndian.PutUint32(b[4:], uint32(fds[1]))
	if _, err := t.Memory().Space.CopyOut(addr, b[:]); err != nil {
		t.FDs().Close(fds[0])
		t.FDs().Close(fds[1])
		return 0, err
	}
	return 0, nil
}

// sysEventfd is eventfd(2) as it was before it had flags.
func sysEventfd(t *task.Task, a *task.Args) (uint64, error) { return makeEventfd(t, a.Uint(0), 0) }

func sysEventfd2(t *task.Task, a *task.Args) (uint64, error) {
	return makeEventfd(t, a.Uint(0), a.Uint(1))
}

func makeEventfd(t *task.Task, initial, flags uint32) (uint64, error) {
	f, err := eventfd.NewFile(initial, flags)
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.EFD_CLOEXEC != 0)
}
