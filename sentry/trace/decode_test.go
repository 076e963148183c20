package trace

import (
	"encoding/binary"
	"math/rand"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
)

// fakeMemory is one range of guest memory from base on.
type fakeMemory struct {
	base  uint64
	bytes []byte
}

func (m *fakeMemory) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	off := uint64(addr) - m.base
	if uint64(addr) < m.base || off >= uint64(len(m.bytes)) {
		return 0, unix.EFAULT
	}
	n := copy(dst, m.bytes[off:])
	if n < len(dst) {
		return n, unix.EFAULT
	}
	return n, nil
}

// put appends data and returns its address.
func (m *fakeMemory) put(data []byte) uint64 {
	addr := m.base + uint64(len(m.bytes))
	m.bytes = append(m.bytes, data...)
	for len(m.bytes)%8 != 0 {
		m.bytes = append(m.bytes, 0)
	}
	return addr
}

func (m *fakeMemory) str(s string) uint64 { return m.put([]byte(s + "\x00")) }

// words makes 64-bit words.
func (m *fakeMemory) words(ws ...uint64) uint64 {
	var b []byte
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return m.put(b)
}

func newMemory() *fakeMemory { return &fakeMemory{base: 0x10000} }

// format shows a whole call on one line, without alignment.
func format(mem memory, nr uint64, args [6]uint64, ret uint64, err error) string {
	s := NewStrace(nil, nil)
	c, name := s.lookup(nr)
	l := line{mem: mem, name: name, args: args}
	l.s(name + "(")
	l.entry(c)
	l.done, l.ret, l.err = true, ret, err
	l.exit(c)
	l.s(") = ")
	l.result(c)
	return string(l.buf)
}

func TestDecode(t *testing.T) {
	m := newMemory()
	le := binary.LittleEndian
	stat := make([]byte, 144)
	le.PutUint32(stat[24:], unix.S_IFREG|0o644)
	le.PutUint64(stat[48:], 1234)
	device := make([]byte, 144)
	le.PutUint32(device[24:], unix.S_IFCHR|0o20|unix.S_ISVTX)
	le.PutUint64(device[40:], unix.Mkdev(1, 3))
	unixAddr := append([]byte{unix.AF_UNIX, 0}, "/tmp/s\x00\x00"...)
	abstract := append([]byte{unix.AF_UNIX, 0, 0}, "name"...)
	inet6 := make([]byte, 28)
	inet6[0], inet6[2], inet6[3], inet6[23] = unix.AF_INET6, 0x1f, 0x90, 1

	hello := m.str("hello\n\x00\x01\x012 world, this is more than is shown")
	name := m.str("/some/name")
	tests := []struct {
		nr   uint64
		args [6]uint64
		ret  uint64
		err  error
		want string
	}{
		{unix.SYS_READ, [6]uint64{3, hello, 100}, 3, nil, `read(3, "hel", 100) = 3`},
		{unix.SYS_READ, [6]uint64{3, hello, 100}, 0, unix.EISDIR, `read(3, BUFFER, 100) = -1 EISDIR (Is a directory)`},
		{unix.SYS_WRITE, [6]uint64{1, hello, 40}, 40, nil, `write(1, "hello\n\0\1\0012 world, this is more t"..., 40) = 40`},
		{unix.SYS_WRITE, [6]uint64{1, 0x99, 4}, 0, unix.EFAULT, `write(1, 0x99, 4) = -1 EFAULT (Bad address)`},
		{unix.SYS_WRITE, [6]uint64{1, 0, 4}, 0, unix.EFAULT, `write(1, NULL, 4) = -1 EFAULT (Bad address)`},
		{unix.SYS_WRITE, [6]uint64{1, hello, 5}, 0, task.RestartSys, `write(1, "hello", 5) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)`},
		{unix.SYS_WRITE, [6]uint64{1, hello, 5}, 0, task.NotRestarted, `write(1, "hello", 5) = -1 EINTR (Interrupted system call)`},
		{unix.SYS_OPEN, [6]uint64{name, unix.O_RDONLY, 0o644}, 3, nil, `open("/some/name", O_RDONLY) = 3`},
		{unix.SYS_OPENAT, [6]uint64{^uint64(99), name, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, 0o4}, 3, nil, `openat(AT_FDCWD, "/some/name", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 004) = 3`},
		{unix.SYS_OPENAT, [6]uint64{5, name, unix.O_TMPFILE | unix.O_WRONLY, 0o600}, 3, nil, `openat(5, "/some/name", O_WRONLY|O_TMPFILE, 0600) = 3`},
		{unix.SYS_STAT, [6]uint64{name, m.put(stat)}, 0, nil, `stat("/some/name", {st_mode=S_IFREG|0644, st_size=1234, ...}) = 0`},
		{unix.SYS_FSTAT, [6]uint64{0, m.put(device)}, 0, nil, `fstat(0, {st_mode=S_IFCHR|S_ISVTX|020, st_rdev=makedev(0x1, 0x3), ...}) = 0`},
		{unix.SYS_FSTAT, [6]uint64{0, 0x7000}, 0, unix.EFAULT, `fstat(0, 0x7000) = -1 EFAULT (Bad address)`},
		{unix.SYS_UMASK, [6]uint64{0o22}, 0o2, nil, `umask(022) = 002`},
		{unix.SYS_MMAP, [6]uint64{0, 4096, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0}, 0x7f0000000000, nil, `mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000`},
		{unix.SYS_MREMAP, [6]uint64{0x1000, 1, 2, unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, 0x5000}, 0x5000, nil, `mremap(0x1000, 1, 2, MREMAP_MAYMOVE|MREMAP_FIXED, 0x5000) = 0x5000`},
		{unix.SYS_BRK, [6]uint64{0}, 0x55, nil, `brk(NULL) = 0x55`},
		{unix.SYS_FCNTL, [6]uint64{3, unix.F_GETFL}, 0x8002, nil, `fcntl(3, F_GETFL) = 0x8002 (flags O_RDWR|O_LARGEFILE)`},
		{unix.SYS_FCNTL, [6]uint64{3, unix.F_GETFD}, 1, nil, `fcntl(3, F_GETFD) = 0x1 (flags FD_CLOEXEC)`},
		{unix.SYS_FCNTL, [6]uint64{3, unix.F_DUPFD, 10}, 10, nil, `fcntl(3, F_DUPFD, 10) = 10`},
		{unix.SYS_FCNTL, [6]uint64{3, 999, 10}, 0, unix.EINVAL, `fcntl(3, 0x3e7 /* F_??? */, 0xa) = -1 EINVAL (Invalid argument)`},
		{unix.SYS_RT_SIGPROCMASK, [6]uint64{0, m.words(1<<9 | 1<<34), 0, 8}, 0, nil, `rt_sigprocmask(SIG_BLOCK, [USR1 RT_3], NULL, 8) = 0`},
		{unix.SYS_RT_SIGPROCMASK, [6]uint64{2, m.words(^uint64(1 << 8)), 0, 8}, 0, nil, `rt_sigprocmask(SIG_SETMASK, ~[KILL], NULL, 8) = 0`},
		{unix.SYS_RT_SIGACTION, [6]uint64{17, m.words(0x4000, 0x14000000, 0x5000, 2), 0, 8}, 0, nil, `rt_sigaction(SIGCHLD, {sa_handler=0x4000, sa_mask=[INT], sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x5000}, NULL, 8) = 0`},
		{unix.SYS_RT_SIGACTION, [6]uint64{40, m.words(1, 0, 0, 0), 0, 8}, 0, nil, `rt_sigaction(SIGRT_8, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=0}, NULL, 8) = 0`},
		{unix.SYS_WAIT4, [6]uint64{^uint64(0), m.words(9), 0, 0}, 7, nil, `wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], 0, NULL) = 7`},
		{unix.SYS_WAIT4, [6]uint64{5, m.words(0x137f), unix.WUNTRACED, 0}, 5, nil, `wait4(5, [{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WSTOPPED, NULL) = 5`},
		{unix.SYS_WAIT4, [6]uint64{5, 0x10000, unix.WNOHANG, 0}, 0, nil, `wait4(5, 0x10000, WNOHANG, NULL) = 0`},
		{unix.SYS_EXECVE, [6]uint64{name, m.words(name, hello, 0), m.words(1, 2, 3, 0)}, 0, nil, `execve("/some/name", ["/some/name", "hello\n"], ENVP /* 3 vars */) = 0`},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_CHILD_SETTID | uint64(unix.SIGCHLD), 0, 0, 0x77, 0}, 4, nil, `clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x77) = 4`},
		{unix.SYS_EXIT_GROUP, [6]uint64{7}, 0, nil, `exit_group(7) = ?`},
		{unix.SYS_FUTEX, [6]uint64{0x5000, 128, 2, m.words(1, 500)}, 0, unix.ETIMEDOUT, `futex(0x5000, FUTEX_WAIT_PRIVATE, 2, {tv_sec=1, tv_nsec=500}) = -1 ETIMEDOUT (Connection timed out)`},
		{unix.SYS_FUTEX, [6]uint64{0x5000, 9 | 128 | 256, 2, 0, 0, 0xffffffff}, 0, nil, `futex(0x5000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 2, NULL, FUTEX_BITSET_MATCH_ANY) = 0`},
		{unix.SYS_POLL, [6]uint64{m.words(0x0000_0001_0000_0004, 0x0004_0001_0000_0005), 2, 100}, 1, nil, `poll([{fd=4, events=POLLIN}, {fd=5, events=POLLIN}], 2, 100) = 1 ([{fd=5, revents=POLLOUT}])`},
		{unix.SYS_POLL, [6]uint64{0, 0, 100}, 0, nil, `poll(NULL, 0, 100) = 0 (Timeout)`},
		{unix.SYS_SELECT, [6]uint64{70, m.words(1<<3, 1<<5), 0, 0, m.words(5, 6)}, 2, nil, `select(70, [3 69], NULL, NULL, {tv_sec=5, tv_usec=6}) = 2 (in [3 69], left {tv_sec=5, tv_usec=6})`},
		{unix.SYS_SENDFILE, [6]uint64{1, 3, 0, 100}, 100, nil, `sendfile(1, 3, NULL, 100) = 100`},
		{unix.SYS_CONNECT, [6]uint64{3, m.put(unixAddr), uint64(len(unixAddr))}, 0, nil, `connect(3, {sa_family=AF_UNIX, sun_path="/tmp/s"}, 10) = 0`},
		{unix.SYS_CONNECT, [6]uint64{3, m.put(abstract), uint64(len(abstract))}, 0, nil, `connect(3, {sa_family=AF_UNIX, sun_path=@"name"}, 7) = 0`},
		{unix.SYS_BIND, [6]uint64{3, m.put(inet6), 28}, 0, nil, `bind(3, {sa_family=AF_INET6, sin6_port=htons(8080), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0`},
		{unix.SYS_READV, [6]uint64{3, m.words(hello, 3, hello, 10), 2}, 5, nil, `readv(3, [{iov_base="hel", iov_len=3}, {iov_base="he", iov_len=10}], 2) = 5`},
		{unix.SYS_PREADV2, [6]uint64{3, m.words(hello, 3), 1, 10, 0, unix.RWF_NOWAIT}, 3, nil, `preadv2(3, [{iov_base="hel", iov_len=3}], 1, 10, RWF_NOWAIT) = 3`},
		{unix.SYS_GETGROUPS, [6]uint64{10, m.words(1 | 2<<32)}, 2, nil, `getgroups(10, [1, 2]) = 2`},
		{unix.SYS_CHOWN, [6]uint64{name, 0xffffffff, 5}, 0, nil, `chown("/some/name", -1, 5) = 0`},
		{unix.SYS_PRCTL, [6]uint64{unix.PR_SET_NAME, name}, 0, nil, `prctl(PR_SET_NAME, "/some/name") = 0`},
		{unix.SYS_PRCTL, [6]uint64{unix.PR_SET_NO_NEW_PRIVS, 1}, 0, nil, `prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0`},
		{unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_STACK, 0, m.words(8<<20, ^uint64(0))}, 0, nil, `prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0`},
		{unix.SYS_CAPGET, [6]uint64{m.words(unix.LINUX_CAPABILITY_VERSION_3), m.words(1|1<<32, 0, 1<<8)}, 0, nil, `capget({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=1<<CAP_CHOWN, permitted=1<<CAP_CHOWN|1<<CAP_CHECKPOINT_RESTORE, inheritable=0}) = 0`},
		{unix.SYS_RESTART_SYSCALL, [6]uint64{}, 0, nil, `restart_syscall(<... resuming interrupted system call ...>) = 0`},
		{unix.SYS_RT_SIGTIMEDWAIT, [6]uint64{m.words(1 << 9), 0, 0, 8}, 10, nil, `rt_sigtimedwait([USR1], NULL, NULL, 8) = 10 (SIGUSR1)`},
		{unix.SYS_SENDMSG, [6]uint64{8, m.words(0, 0, m.words(m.str("data"), 4), 1, m.words(24, unix.SOL_SOCKET|unix.SCM_RIGHTS<<32, 0|1<<32), 24, 0), 0}, 4, nil, `sendmsg(8, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="data", iov_len=4}], msg_iovlen=1, msg_control=[{cmsg_len=24, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[0, 1]}], msg_controllen=24, msg_flags=0}, 0) = 4`},
		{unix.SYS_RECVMSG, [6]uint64{8, m.words(0, 128, 0, 0, 0, 0, 0), unix.MSG_DONTWAIT}, 0, unix.EAGAIN, `recvmsg(8, {msg_namelen=128}, MSG_DONTWAIT) = -1 EAGAIN (Resource temporarily unavailable)`},
		{unix.SYS_SENDMMSG, [6]uint64{8, m.words(0, 0, 0, 0, 0, 0, 0, 3), 1, 0}, 1, nil, `sendmmsg(8, [{msg_hdr={msg_name=NULL, msg_namelen=0, msg_iov=NULL, msg_iovlen=0, msg_controllen=0, msg_flags=0}, msg_len=3}], 1, 0) = 1`},
		{unix.SYS_SETSOCKOPT, [6]uint64{4, 99, 1, m.words(1), 4}, 0, unix.ENOPROTOOPT, `setsockopt(4, 0x63 /* SOL_?? */, 1, [1], 4) = -1 ENOPROTOOPT (Protocol not available)`},
		{unix.SYS_SETSOCKOPT, [6]uint64{4, unix.SOL_SOCKET, unix.SO_LINGER, m.words(1 | 2<<32), 8}, 0, nil, `setsockopt(4, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=2}, 8) = 0`},
		{unix.SYS_SETSOCKOPT, [6]uint64{4, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, m.str("lo"), 3}, 0, nil, `setsockopt(4, SOL_SOCKET, SO_BINDTODEVICE, "lo\0", 3) = 0`},
		{unix.SYS_GETSOCKOPT, [6]uint64{4, unix.SOL_SOCKET, unix.SO_ERROR, m.words(uint64(unix.ECONNREFUSED)), m.words(4)}, 0, nil, `getsockopt(4, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0`},
		{unix.SYS_SOCKET, [6]uint64{99, 77, 5}, 0, unix.EINVAL, `socket(0x63 /* AF_??? */, 0xd /* SOCK_??? */|0x40, 5) = -1 EINVAL (Invalid argument)`},
		{unix.SYS_BIND, [6]uint64{13, m.words(unix.AF_NETLINK, 5), 12}, 0, nil, `bind(13, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=0x000005}, 12) = 0`},
		{unix.SYS_BIND, [6]uint64{6, m.words(unix.AF_UNIX), 2}, 0, nil, `bind(6, {sa_family=AF_UNIX}, 2) = 0`},
		{unix.SYS_ACCEPT, [6]uint64{3, 0, 0}, 0, unix.EAGAIN, `accept(3, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)`},
		{unix.SYS_IOCTL, [6]uint64{16, unix.TCGETS, m.words(0x500|5<<32, 0xbf|0x8a3b<<32, 0, 0, 0)}, 0, nil, `ioctl(16, TCGETS, {c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR, c_cflag=B38400|CS8|CREAD, c_lflag=ISIG|ICANON|ECHO|ECHOE|ECHOK|IEXTEN|ECHOCTL|ECHOKE, ...}) = 0`},
		{unix.SYS_IOCTL, [6]uint64{16, unix.TIOCGWINSZ, m.words(24 | 80<<16)}, 0, nil, `ioctl(16, TIOCGWINSZ, {ws_row=24, ws_col=80, ws_xpixel=0, ws_ypixel=0}) = 0`},
		{unix.SYS_IOCTL, [6]uint64{16, unix.TIOCNOTTY, 5}, 0, unix.ENOTTY, `ioctl(16, TIOCNOTTY) = -1 ENOTTY (Inappropriate ioctl for device)`},
		{unix.SYS_IOCTL, [6]uint64{16, unix.TCXONC, 0}, 0, nil, `ioctl(16, TCXONC, TCOOFF) = 0`},
		{unix.SYS_FUTEX, [6]uint64{0x5000, 5, 1, 2, 0x6000, 0x40000001}, 0, nil, `futex(0x5000, FUTEX_WAKE_OP, 1, 2, 0x6000, FUTEX_OP_XOR<<28|0<<12|FUTEX_OP_CMP_EQ<<24|0x1) = 0`},
		{unix.SYS_FUTEX, [6]uint64{0x5000, 0x4d, 1, 2, 3, 4}, 0, unix.ENOSYS, `futex(0x5000, 0x4d /* FUTEX_??? */, 1, 0x2, 0x3, 0x4) = -1 ENOSYS (Function not implemented)`},
		{unix.SYS_SEMTIMEDOP, [6]uint64{99, m.words(0xffff0000 | 0x800<<32), 1, 0}, 0, unix.EINVAL, `semtimedop(99, [{sem_num=0, sem_op=-1, sem_flg=IPC_NOWAIT}], 1, NULL) = -1 EINVAL (Invalid argument)`},
		{unix.SYS_TIMER_CREATE, [6]uint64{0, m.words(5, 10, 0, 0, 0, 0, 0, 0), m.words(0)}, 0, nil, `timer_create(CLOCK_REALTIME, {sigev_value={sival_int=5, sival_ptr=0x5}, sigev_signo=SIGUSR1, sigev_notify=SIGEV_SIGNAL}, [0]) = 0`},
		{unix.SYS_RT_SIGTIMEDWAIT, [6]uint64{0x10000, 0, 0, 4}, 0, unix.EINVAL, `rt_sigtimedwait(0x10000, NULL, NULL, 4) = -1 EINVAL (Invalid argument)`},
		{unix.SYS_PROCESS_VM_READV, [6]uint64{1, m.words(0x77, 4), 1, m.words(0x88, 5), 1, 0}, 0, unix.EPERM, `process_vm_readv(1, [{iov_base=0x77, iov_len=4}], 1, [{iov_base=0x88, iov_len=5}], 1, 0) = -1 EPERM (Operation not permitted)`},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_PARENT_SETTID | unix.CLONE_SETTLS, 0x99, m.words(7), 0, 0x88}, 7, nil, `clone(child_stack=0x99, flags=CLONE_VM|CLONE_SETTLS|CLONE_PARENT_SETTID, parent_tid=[7], tls=0x88) = 7`},
		{unix.SYS_SCHED_SETATTR, [6]uint64{0, m.words(56|0x4d<<32, 0, 0, 1400000, 0, 0, 0), 0}, 0, unix.EINVAL, `sched_setattr(0, {size=56, sched_policy=0x4d /* SCHED_??? */, sched_flags=0, sched_nice=0, sched_priority=0, sched_runtime=1400000, sched_deadline=0, sched_period=0, sched_util_min=0, sched_util_max=0}, 0) = -1 EINVAL (Invalid argument)`},
		{unix.SYS_UTIMENSAT, [6]uint64{^uint64(99), name, m.words(1, 2, 0, unix.UTIME_NOW), 0}, 0, nil, `utimensat(AT_FDCWD, "/some/name", [{tv_sec=1, tv_nsec=2} /* 1970-01-01T00:00:01.000000002+0000 */, UTIME_NOW], 0) = 0`},
		{unix.SYS_SYSLOG, [6]uint64{3, m.words(0), 1}, 0, nil, `syslog(3 /* SYSLOG_ACTION_READ_ALL */, "", 1) = 0`},
		{999, [6]uint64{1, 2, 0xabc, 0, 0, 6}, 0, unix.ENOSYS, `syscall_0x3e7(0x1, 0x2, 0xabc, 0, 0, 0x6) = -1 ENOSYS (Function not implemented)`},
	}
	for _, tt := range tests {
		want := strings.ReplaceAll(tt.want, "BUFFER", hex16(hello))
		want = strings.ReplaceAll(want, "ENVP", hex16(tt.args[2]))
		if got := format(m, tt.nr, tt.args, tt.ret, tt.err); got != want {
			t.Errorf("%s", cmp.Diff(want, got))
		}
	}
}

func hex16(v uint64) string {
	var l line
	l.hex(v)
	return string(l.buf)
}

// The rows are those of the kernel's table, and the classes name calls.
func TestTable(t *testing.T) {
	table := syscalls.Table()
	for nr := range max(len(calls), len(table)) {
		var here, there string
		if nr < len(calls) {
			here = calls[nr].name
		}
		if nr < len(table) {
			there = table[nr].Name
		}
		if here != there {
			t.Errorf("call %d is %q here and %q in the kernel", nr, here, there)
		}
	}
	for _, c := range classes {
		for name := range strings.FieldsSeq(c.calls) {
			found := false
			for nr := range calls {
				found = found || calls[nr].name == name
			}
			if !found {
				t.Errorf("class %q has %q, which is no call", c.name, name)
			}
		}
	}
}

// Arrays and strings that a guest makes long are cut.
func TestBounds(t *testing.T) {
	m := newMemory()
	long := m.str(strings.Repeat("x", 10_000))
	var iov []uint64
	for range 2000 {
		iov = append(iov, long, 10_000)
	}
	vec := m.words(iov...)
	tests := []struct {
		name string
		nr   uint64
		args [6]uint64
		max  int
	}{
		{"path", unix.SYS_CHDIR, [6]uint64{long}, maxPath + 100},
		{"iovec", unix.SYS_WRITEV, [6]uint64{1, vec, 1 << 62}, 4000},
		{"argv", unix.SYS_EXECVE, [6]uint64{long, vec, vec}, maxPath + 4000},
		{"groups", unix.SYS_SETGROUPS, [6]uint64{1 << 31, vec}, 1000},
		{"poll", unix.SYS_POLL, [6]uint64{vec, 1 << 31, 0}, 6000},
	}
	for _, tt := range tests {
		got := format(m, tt.nr, tt.args, 1, nil)
		if len(got) > tt.max || !strings.Contains(got, "...") {
			t.Errorf("%s: %d bytes: %.200s", tt.name, len(got), got)
		}
	}
}

// FuzzDecode shows any call with any arguments over any memory.
func FuzzDecode(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(0), []byte("abc"))
	f.Add(uint64(unix.SYS_RECVMSG), uint64(1), uint64(5), make([]byte, 200))
	f.Fuzz(func(t *testing.T, nr, seed, ret uint64, data []byte) {
		checkAny(t, nr, seed, ret, data)
	})
}

// checkAny shows a call with arguments that mostly point into data.
func checkAny(t *testing.T, nr, seed, ret uint64, data []byte) {
	t.Helper()
	r := rand.New(rand.NewSource(int64(seed)))
	m := &fakeMemory{base: 0x10000, bytes: data}
	var args [6]uint64
	for i := range args {
		switch r.Intn(6) {
		case 0:
			args[i] = r.Uint64()
		case 1:
			args[i] = uint64(r.Intn(64))
		case 2:
			args[i] = ^uint64(0) - uint64(r.Intn(64))
		default:
			args[i] = m.base + uint64(r.Intn(len(data)+16))
		}
	}
	errs := []error{nil, nil, unix.EINVAL, unix.Errno(4000), task.RestartBlock, task.NotRestarted}
	got := format(m, nr, args, ret, errs[r.Intn(len(errs))])
	if len(got) > 4*maxLine {
		t.Errorf("call %d: a line of %d bytes", nr, len(got))
	}
	if i := strings.IndexFunc(got, func(c rune) bool { return c < ' ' || c > '~' || c == utf8.RuneError }); i >= 0 {
		t.Errorf("call %d: not plain text: %q", nr, got)
	}
	if strings.Contains(got, ", )") || strings.Contains(got, "(, ") || strings.Contains(got, ", , ") {
		t.Errorf("call %d: commas: %s", nr, got)
	}
}

// Every call, with arguments and memory of all kinds.
func TestDecodeAny(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	data := make([]byte, 600)
	for nr := range uint64(len(calls) + 2) {
		for range 20 {
			for i := range data {
				data[i] = byte(r.Intn(4) * r.Intn(256))
			}
			// Some pointers into it.
			for range 10 {
				binary.LittleEndian.PutUint64(data[8*r.Intn(len(data)/8):], 0x10000+uint64(r.Intn(len(data))))
			}
			checkAny(t, nr, r.Uint64(), uint64(r.Intn(50)), data)
		}
	}
}
