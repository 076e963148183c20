package syscalls

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/signalfd"
	"runsc-lite/sentry/task"
)

// sysSignalfd is signalfd(2) as it was before it had flags.
func sysSignalfd(t *task.Task, a *task.Args) (uint64, error) {
	return makeSignalfd(t, a.Int(0), a.Addr(1), a[2], 0)
}

func sysSignalfd4(t *task.Task, a *task.Args) (uint64, error) {
	return makeSignalfd(t, a.Int(0), a.Addr(1), a[2], a.Uint(3))
}

// makeSignalfd is do_signalfd4: a descriptor of -1 makes a new file, another one
// gets a new mask.
func makeSignalfd(t *task.Task, fd int32, addr hostarch.Addr, size uint64, flags uint32) (uint64, error) {
	mask, err := copyInSigset(t, addr, size)
	if err != nil {
		return 0, err
	}
	if flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	if fd == -1 {
		f, err := signalfd.NewFile(mask, flags)
		if err != nil {
			return 0, err
		}
		return install(t, f, flags&unix.SFD_CLOEXEC != 0)
	}
	f, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	s, ok := f.Ops().(*signalfd.FD)
	if !ok {
		return 0, unix.EINVAL
	}
	s.SetMask(mask)
	t.Process().SignalQueue().Notify(waiter.EventIn)
	return uint64(fd), nil
}
