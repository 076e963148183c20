package trace

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// Filter says which calls and signals are of interest, in the words of strace's
// -e: "trace=open,read", "trace=%file", "trace=!futex", "trace=/^sched_",
// "signal=none". Of several for the same the last one counts. It is a
// flag.Value; nil wants everything.
type Filter struct {
	text    []string
	calls   *[len(calls)]bool // nil: all, and unknown ones
	unknown bool              // calls without a row here
	signals *procmgr.SigSet   // nil: all
}

// String implements flag.Value.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return strings.Join(f.text, " ")
}

// Set implements flag.Value: it takes one expression.
func (f *Filter) Set(expr string) error {
	what, list, ok := strings.Cut(expr, "=")
	if !ok {
		what, list = "trace", expr
	}
	list, not := strings.CutPrefix(list, "!")
	var err error
	switch what {
	case "trace", "t":
		err = f.setCalls(list, not)
	case "signal", "signals", "s":
		err = f.setSignals(list, not)
	default:
		err = fmt.Errorf("%q: neither trace= nor signal=", expr)
	}
	if err == nil {
		f.text = append(f.text, expr)
	}
	return err
}

func (f *Filter) setCalls(list string, not bool) error {
	var some [len(calls)]bool
	all := false
	for name := range strings.SplitSeq(list, ",") {
		match, err := matcher(name)
		if err != nil {
			return err
		}
		found := name == "none"
		all = all || name == "all"
		for nr := range calls {
			if n := calls[nr].name; n != "" && match(n) {
				some[nr], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("no system call %q", name)
		}
	}
	if not {
		for nr := range some {
			some[nr] = !some[nr]
		}
	}
	f.calls, f.unknown = &some, all != not
	return nil
}

// matcher returns what tells whether a call is meant by name.
func matcher(name string) (func(string) bool, error) {
	switch {
	case name == "all":
		return func(string) bool { return true }, nil
	case name == "none":
		return func(string) bool { return false }, nil
	case strings.HasPrefix(name, "/"):
		re, err := regexp.Compile(name[1:])
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	case strings.HasPrefix(name, "%"):
		i := slices.IndexFunc(classes[:], func(c class) bool { return c.name == name[1:] || c.name == "network" && name == "%net" })
		if i < 0 {
			return nil, fmt.Errorf("no class of system calls %q", name)
		}
		members := strings.Fields(classes[i].calls)
		return func(n string) bool { return slices.Contains(members, n) }, nil
	}
	return func(n string) bool { return n == name }, nil
}

func (f *Filter) setSignals(list string, not bool) error {
	var some procmgr.SigSet
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "none":
		case "all":
			some = ^procmgr.SigSet(0)
		default:
			sig := signalNumber(name)
			if sig == 0 {
				return fmt.Errorf("no signal %q", name)
			}
			some |= procmgr.SetOf(sig)
		}
	}
	if not {
		some = ^some
	}
	f.signals = &some
	return nil
}

// signalNumber returns the signal of a name, with or without SIG; 0: none.
func signalNumber(name string) unix.Signal {
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for sig, n := range signalNames {
		if n == name && n != "" {
			return unix.Signal(sig)
		}
	}
	if name == "RTMIN" {
		return rtmin
	}
	var n int
	if _, err := fmt.Sscanf(name, "RT_%d", &n); err == nil && n > 0 && n <= 64-rtmin {
		return unix.Signal(rtmin + n)
	}
	return 0
}

func (f *Filter) wantsCall(nr uint64) bool {
	if f == nil || f.calls == nil {
		return true
	}
	if nr >= uint64(len(calls)) || calls[nr].name == "" {
		return f.unknown
	}
	return f.calls[nr]
}

func (f *Filter) wantsSignal(sig unix.Signal) bool {
	return f == nil || f.signals == nil || f.signals.Has(sig)
}

// class is a set of calls.
type class struct{ name, calls string }

// classes are strace's, by the names of their calls.
var classes = [...]class{
	{"file", `open stat lstat access execve truncate getcwd chdir rename mkdir rmdir creat link unlink symlink
		readlink chmod chown lchown utime mknod uselib statfs pivot_root chroot acct mount umount2 swapon swapoff
		quotactl setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr utimes
		inotify_add_watch openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
		readlinkat fchmodat faccessat utimensat fanotify_mark name_to_handle_at renameat2 execveat statx open_tree
		move_mount fspick openat2 faccessat2 mount_setattr fchmodat2 setxattrat getxattrat listxattrat
		removexattrat open_tree_attr file_getattr file_setattr`},
	{"desc", `read write open close fstat poll lseek mmap ioctl pread64 pwrite64 readv writev pipe select dup dup2
		sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername
		socketpair setsockopt getsockopt fcntl flock fsync fdatasync ftruncate getdents fchdir creat fchmod fchown
		fstatfs readahead fsetxattr fgetxattr flistxattr fremovexattr epoll_create getdents64 fadvise64 epoll_wait
		epoll_ctl mq_open mq_timedsend mq_timedreceive mq_notify mq_getsetattr inotify_init inotify_add_watch
		inotify_rm_watch openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
		readlinkat fchmodat faccessat pselect6 ppoll splice tee sync_file_range vmsplice utimensat epoll_pwait
		signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2
		epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev perf_event_open recvmmsg fanotify_init fanotify_mark
		name_to_handle_at open_by_handle_at syncfs sendmmsg setns finit_module renameat2 memfd_create
		kexec_file_load bpf execveat userfaultfd copy_file_range preadv2 pwritev2 statx pidfd_send_signal
		io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick
		pidfd_open openat2 close_range pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr
		quotactl_fd memfd_secret process_mrelease cachestat fchmodat2`},
	{"process", `clone fork vfork execve exit wait4 kill tkill exit_group tgkill waitid rt_sigqueueinfo
		rt_tgsigqueueinfo unshare execveat pidfd_send_signal pidfd_open clone3 process_mrelease`},
	{"signal", `rt_sigaction rt_sigprocmask rt_sigreturn pause kill rt_sigpending rt_sigtimedwait rt_sigqueueinfo
		rt_sigsuspend sigaltstack tkill tgkill signalfd signalfd4 rt_tgsigqueueinfo pidfd_send_signal`},
	{"network", `sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname
		getpeername socketpair setsockopt getsockopt getpmsg putpmsg accept4 recvmmsg sendmmsg`},
	{"ipc", `shmget shmat shmctl semget semop semctl shmdt msgget msgsnd msgrcv msgctl semtimedop`},
	{"memory", `mmap mprotect munmap brk mremap msync mincore madvise shmat shmdt mlock munlock mlockall munlockall
		remap_file_pages mbind set_mempolicy get_mempolicy migrate_pages move_pages mlock2 pkey_mprotect
		process_madvise set_mempolicy_home_node map_shadow_stack mseal`},
	{"creds", `getuid getgid setuid setgid geteuid getegid setreuid setregid getgroups setgroups setresuid
		getresuid setresgid getresgid setfsuid setfsgid capget capset prctl`},
	{"clock", `gettimeofday adjtimex settimeofday time clock_settime clock_gettime clock_getres clock_adjtime`},
	{"pure", `getpid getuid getgid geteuid getegid getppid getpgrp gettid`},
	{"stat", `stat`},
	{"lstat", `lstat`},
	{"fstat", `fstat newfstatat`},
	{"%stat", `stat fstat lstat newfstatat statx`},
	{"statfs", `statfs`},
	{"fstatfs", `fstatfs`},
	{"%statfs", `ustat statfs fstatfs`},
}
