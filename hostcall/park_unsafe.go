package hostcall

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Parker suspends a goroutine that is locked to its OS thread, by a futex of the
// host's. The Go scheduler would go through a second thread, often on another
// processor, for each switch between such goroutines; with a Parker the host
// switches from the one thread to the other. It holds at most one token.
type Parker struct {
	word atomic.Uint32
}

const (
	parkerEmpty = iota
	parkerToken
	parkerSleeping
)

// Unpark gives the token: Park in progress, or the next one, returns. Safe from
// any goroutine.
func (p *Parker) Unpark() {
	if p.word.Swap(parkerToken) == parkerSleeping {
		unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.word)), futexWakePrivate, 1, 0, 0, 0)
	}
}

// Park waits for the token and takes it, or reports false after the timeout;
// a negative one is none. Only one goroutine may call it, always the same.
func (p *Parker) Park(timeout time.Duration) bool {
	var until time.Time
	if timeout >= 0 {
		until = time.Now().Add(timeout)
	}
	for {
		if p.word.CompareAndSwap(parkerToken, parkerEmpty) {
			return true
		}
		var ts unix.Timespec
		var limit *unix.Timespec
		if timeout >= 0 {
			left := time.Until(until)
			if left <= 0 {
				// Asleep no more; unless a token came just now.
				return !p.word.CompareAndSwap(parkerSleeping, parkerEmpty) && p.word.CompareAndSwap(parkerToken, parkerEmpty)
			}
			ts = unix.NsecToTimespec(int64(left))
			limit = &ts
		}
		p.word.CompareAndSwap(parkerEmpty, parkerSleeping)
		// EAGAIN: the token came. EINTR, ETIMEDOUT: look again.
		syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.word)), futexWaitPrivate, parkerSleeping, uintptr(unsafe.Pointer(limit)), 0, 0)
	}
}

const (
	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)
