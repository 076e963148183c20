package hostcall

import (
	"golang.org/x/sys/unix"
)

// Yield lets other host threads run (sched_yield(2)).
func Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// LowCPUs reports whether the processors that this process may run on are numbered
// from 0 on, without gaps.
func LowCPUs() bool {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return false
	}
	n := set.Count()
	for cpu := range n {
		if !set.IsSet(cpu) {
			return false
		}
	}
	return n > 0
}

// MemoryBarrier makes every running host thread pass a memory barrier
// (membarrier(2)). It takes some milliseconds.
func MemoryBarrier() error {
	const global = 1
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); e != 0 {
		return e
	}
	return nil
}

// TotalMemory returns the host's memory in bytes.
func TotalMemory() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return uint64(si.Totalram) * uint64(si.Unit)
}
