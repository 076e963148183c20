package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// membarrier(2) commands.
const (
	membarrierQuery             = 0
	membarrierGlobal            = 1 << 0
	membarrierGlobalExpedited   = 1 << 1
	membarrierRegisterGlobal    = 1 << 2
	membarrierPrivateExpedited  = 1 << 3
	membarrierRegisterPrivate   = 1 << 4
	membarrierGetRegistrations  = 1 << 9
	membarrierSupportedCommands = membarrierGlobal | membarrierGlobalExpedited | membarrierRegisterGlobal |
		membarrierPrivateExpedited | membarrierRegisterPrivate | membarrierGetRegistrations
)

// sysMembarrier is membarrier(2). The host's own barrier reaches all guest threads.
// Commands for instruction streams and restartable sequences are absent.
func sysMembarrier(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(1) != 0 {
		return 0, unix.EINVAL
	}
	switch cmd := a.Uint(0); cmd {
	case membarrierQuery:
		return membarrierSupportedCommands, nil
	case membarrierRegisterGlobal, membarrierRegisterPrivate:
		t.Memory().RegisterMembarrier(cmd)
		return 0, nil
	case membarrierGetRegistrations:
		return uint64(t.Memory().Membarriers()), nil
	case membarrierPrivateExpedited:
		if t.Memory().Membarriers()&membarrierRegisterPrivate == 0 {
			return 0, unix.EPERM
		}
		return 0, t.Kernel().Barrier()
	case membarrierGlobal, membarrierGlobalExpedited:
		return 0, t.Kernel().Barrier()
	}
	return 0, unix.EINVAL
}
