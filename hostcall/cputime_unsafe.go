package hostcall

import (
	"strconv"
	"strings"
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

// OtherThreadCPUTime returns the processor time that a thread of another process
// used: a thread that runs at this moment may have used a tick of the scheduler more.
// It reads a file of /proc, and costs far more than the other two. ESRCH: there is no
// such thread, or the host does not tell.
func OtherThreadCPUTime(pid, tid int) (time.Duration, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/schedstat"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, unix.ESRCH
	}
	defer unix.Close(fd)
	var b [96]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return 0, unix.ESRCH
	}
	first, _, _ := strings.Cut(string(b[:n]), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, unix.ESRCH
	}
	return time.Duration(ns), nil
}
