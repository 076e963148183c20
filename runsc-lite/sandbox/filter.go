package sandbox

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/seccomp"
)

// allowed are the calls of the sandbox once it is locked down, and why it makes them.
// What is not here is answered EPERM, so that one that was forgotten is an error and not
// the end; nothing is done by it either way: no program is executed, no process but threads is made,
// no socket but for names, no namespace or mount; files are reached by descriptors that were open before.
var allowed = map[string][]uintptr{
	"Go: memory": {unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MINCORE},
	"Go: scheduling": {
		unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ,
		unix.SYS_GETCPU, unix.SYS_RESTART_SYSCALL, unix.SYS_GETRANDOM,
	},
	"Go: signals": {
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	},
	"Go: readiness of descriptors": {
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD2,
	},
	"clocks": {unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_ADJTIMEX},
	"control socket, and the terminal's and the programs' files": {
		unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
		unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_SHUTDOWN,
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_POLL, unix.SYS_PPOLL,
		unix.SYS_CLOSE, unix.SYS_FCNTL, unix.SYS_DUP3,
	},
	"the container's files": {
		unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
		unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_READLINKAT, unix.SYS_GETDENTS64,
		unix.SYS_FSTATFS, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE,
		unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_RENAMEAT2,
		unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
		unix.SYS_FGETXATTR, unix.SYS_FSETXATTR, unix.SYS_FLISTXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_FLOCK,
	},
	"the memory file, and its figures": {unix.SYS_MEMFD_CREATE, unix.SYS_MSYNC, unix.SYS_MEMBARRIER},
	"platforms: stubs are traced, and kept on the sentry's processor": {
		unix.SYS_PTRACE, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_SCHED_SETAFFINITY, unix.SYS_KILL, unix.SYS_TGKILL,
		unix.SYS_IOCTL, unix.SYS_GETRUSAGE, unix.SYS_PROCESS_VM_READV,
	},
	"limits and figures of the host": {unix.SYS_PRLIMIT64, unix.SYS_SYSINFO, unix.SYS_UNAME, unix.SYS_GETPPID, unix.SYS_GETPGID, unix.SYS_GETSID},
}

// filterRules are those, and the calls that are bound to some arguments.
func filterRules() []seccomp.RuleSet {
	rules := seccomp.NewSyscallRules()
	for _, list := range allowed {
		for _, nr := range list {
			rules.Set(nr, seccomp.MatchAll{})
		}
	}
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS
	rules.Set(unix.SYS_CLONE, seccomp.PerArg{seccomp.EqualTo(thread)}) // threads of Go's, never a process
	// Memory that can be written and executed, or executed at all, is not made.
	rules.Set(unix.SYS_MMAP, seccomp.PerArg{seccomp.AnyValue{}, seccomp.AnyValue{}, seccomp.MaskedEqual(unix.PROT_EXEC, 0)})
	rules.Set(unix.SYS_MPROTECT, seccomp.PerArg{seccomp.AnyValue{}, seccomp.AnyValue{}, seccomp.MaskedEqual(unix.PROT_EXEC, 0)})
	rules.Set(unix.SYS_PRCTL, seccomp.PerArg{seccomp.EqualTo(prSetVMA)}) // names of Go's memory
	rules.Set(unix.SYS_OPENAT, seccomp.MatchAll{})
	// The engine's resolver, which is reached by a socket of the container's own network
	// namespace alone.
	rules.Set(unix.SYS_SOCKET, seccomp.PerArg{seccomp.EqualTo(unix.AF_INET)})
	rules.Set(unix.SYS_CONNECT, seccomp.MatchAll{})
	return []seccomp.RuleSet{{Rules: rules, Action: seccomp.Allow}}
}

const prSetVMA = 0x53564d41
