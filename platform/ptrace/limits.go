package ptrace

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

const (
	// maxStubs bounds how many stub processes there can be: pages of the
	// command file.
	maxStubs = 1 << 15
	// maxWorkers bounds how many guest threads there can be. It lies below the
	// 10,000 threads that the Go runtime allows itself.
	maxWorkers = 8192
	// spareThreads are left of what the host allows, for the sentry itself.
	spareThreads = 64
)

// workerLimit works out how many guest threads the host has room for. A guest
// thread takes two host threads: a tracer and a tracee. The Go runtime ends the
// program when it cannot make a thread, so we stay away from that, whatever a
// guest does.
func workerLimit() int {
	limit := maxWorkers
	lower := func(max, used uint64) {
		if used+spareThreads >= max {
			limit = min(limit, 1)
		} else if n := (max - used - spareThreads) / 2; n < uint64(limit) {
			limit = int(n)
		}
	}
	var rl unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &rl) == nil && rl.Cur != unix.RLIM_INFINITY && unix.Getuid() != 0 {
		lower(rl.Cur, 0)
	}
	for _, name := range []string{"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"} {
		if n, ok := readNumber(name); ok {
			lower(n, n/4) // which others may need
		}
	}
	for _, dir := range pidsGroups() {
		max, ok := readNumber(dir + "/pids.max")
		used, ok2 := readNumber(dir + "/pids.current")
		if ok && ok2 {
			lower(max, used)
		}
	}
	return max(limit, 1)
}

// minAddress is the lowest address that the host lets us map: vm.mmap_min_addr,
// and no less than its default.
func minAddress() hostarch.Addr {
	n, _ := readNumber("/proc/sys/vm/mmap_min_addr")
	return max(0x10000, hostarch.Addr(n)).MustRoundUp()
}

// pidsGroups returns the directories of the control groups, ours and those
// above it, that limit threads (cgroups(7)).
func pidsGroups() []string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	var dirs []string
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		root := "/sys/fs/cgroup"
		switch f[1] {
		case "":
		case "pids":
			root += "/pids"
		default:
			continue
		}
		for path := f[2]; ; {
			dirs = append(dirs, root+path)
			i := strings.LastIndexByte(path, '/')
			if i < 0 || path == "/" {
				break
			}
			path = path[:max(i, 1)]
		}
	}
	return dirs
}

// readNumber reads a file that holds a decimal number; "max" is none.
func readNumber(name string) (uint64, bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
