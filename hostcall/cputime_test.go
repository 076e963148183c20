package hostcall

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCPUTimes: the clocks of this thread and its process advance while it computes,
// and agree with what /proc tells of it.
func TestCPUTimes(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := unix.Getpid(), unix.Gettid()
	file, err := OpenThreadClock(pid, tid)
	if err != nil {
		t.Skip("the host does not tell")
	}
	defer file.Close()
	read := func() (process, thread, other time.Duration) {
		t.Helper()
		var errs [3]error
		other, errs[0] = file.Read()
		thread, errs[1] = ThreadCPUTime(tid)
		process, errs[2] = ProcessCPUTime(pid)
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		return process, thread, other
	}
	p0, t0, o0 := read()
	for {
		p, th, o := read()
		if th < t0 || p < p0 || o < o0 || o > th || th > p {
			t.Fatalf("process %v, thread %v, /proc %v; and before %v, %v, %v", p, th, o, p0, t0, o0)
		}
		if o > o0+20*time.Millisecond && p > p0+20*time.Millisecond {
			break
		}
	}
}

func TestCPUTimesOfNobody(t *testing.T) {
	const nobody = 1<<22 + 1
	if _, err := ProcessCPUTime(nobody); err != unix.ESRCH {
		t.Errorf("a process that is not there: %v", err)
	}
	if _, err := ThreadCPUTime(1); err != unix.ESRCH {
		t.Errorf("a thread of another process: %v", err)
	}
	if _, err := OpenThreadClock(nobody, nobody); err != unix.ESRCH {
		t.Errorf("a thread that is not there: %v", err)
	}
}
