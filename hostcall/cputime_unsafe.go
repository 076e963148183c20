package hostcall

import (
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kinds of processor-time clocks (clock_getcpuclockid(3), Linux's CPUCLOCK_*).
const (
	cpuClockSched     = 2
	cpuClockPerThread = 4
)

// ProcessCPUTime returns the processor time that all threads of a process used,
// ended ones included. ESRCH: there is no such process.
func ProcessCPUTime(pid int) (time.Duration, error) {
	return cpuTime(^pid<<3 | cpuClockSched)
}

// ThreadCPUTime returns the processor time that a thread of the calling process
// used. ESRCH: there is no such thread.
func ThreadCPUTime(tid int) (time.Duration, error) {
	return cpuTime(^tid<<3 | cpuClockPerThread | cpuClockSched)
}

func cpuTime(id int) (time.Duration, error) {
	var ts unix.Timespec
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0, unix.ESRCH
	}
	return time.Duration(ts.Nano()), nil
}

// ThreadClock tells the processor time of a thread of another process. It reads a
// file of /proc: opening that costs far more than the other clocks.
type ThreadClock struct{ fd int }

// OpenThreadClock returns the clock of a thread. ESRCH: there is no such thread, or
// the host does not tell.
func OpenThreadClock(pid, tid int) (*ThreadClock, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/schedstat"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unix.ESRCH
	}
	return &ThreadClock{fd}, nil
}

// Read returns the processor time that the thread used: one that runs at this moment
// may have used a tick of the scheduler more. ESRCH: it has ended.
func (c *ThreadClock) Read() (time.Duration, error) {
	var b [96]byte
	n, _, e := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(c.fd), uintptr(unsafe.Pointer(&b)), uintptr(len(b)), 0, 0, 0)
	if e != 0 || n == 0 {
		return 0, unix.ESRCH
	}
	var ns time.Duration
	for _, d := range b[:n] {
		if d < '0' || d > '9' {
			break
		}
		ns = ns*10 + time.Duration(d-'0')
	}
	return ns, nil
}

// Close ends the clock's use.
func (c *ThreadClock) Close() { unix.Close(c.fd) }
