package hostcall

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct sigaction.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// StopSelf stops this process by sig, whose default action does that, and returns when
// it is continued. It leaves alone how the process handles sig otherwise:
// os/signal.Reset would not bring the default action back.
func StopSelf(sig unix.Signal) {
	// Sent to this thread, the signal has had its effect when tgkill(2) returns.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var byDefault, old sigaction
	if sig != unix.SIGSTOP && !swapAction(sig, &byDefault, &old) {
		return
	}
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	if sig != unix.SIGSTOP {
		swapAction(sig, &old, nil)
	}
}

// EndBy ends this process by sig, whose default action does that.
func EndBy(sig unix.Signal) {
	runtime.LockOSThread()
	var byDefault sigaction
	swapAction(sig, &byDefault, nil)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
}

func swapAction(sig unix.Signal, next, old *sigaction) bool {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(next)),
		uintptr(unsafe.Pointer(old)), unsafe.Sizeof(next.mask), 0, 0)
	return e == 0
}
