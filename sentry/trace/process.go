package trace

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kinds of the calls that make, end and describe processes.

func priorityWhich(l *line, v uint64)  { l.one(uint64(uint32(v)), &priorityWhiches) }
func rusageWho(l *line, v uint64)      { l.one(uint64(uint32(v)), &rusageWhos) }
func resource(l *line, v uint64)       { l.one(uint64(uint32(v)), &resources) }
func waitWhich(l *line, v uint64)      { l.one(uint64(uint32(v)), &waitWhiches) }
func waitOptions(l *line, v uint64)    { l.bits(uint64(uint32(v)), &waitBits) }
func unshareFlags(l *line, v uint64)   { l.bits(v, &cloneBits) }
func getrandomFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &getrandomBits) }
func pidfdFlags(l *line, v uint64)     { l.bits(uint64(uint32(v)), &pidfdBits) }

func seccompOperation(l *line, v uint64) { l.one(uint64(uint32(v)), &seccompOperations) }

// cloneFlags shows clone's flags with the signal in the lowest byte.
func (l *line) cloneFlags(flags, exitSignal uint64) {
	if flags != 0 {
		l.bits(flags, &cloneBits)
		if exitSignal != 0 {
			l.c('|')
		}
	}
	if exitSignal != 0 {
		l.signal(exitSignal)
	} else if flags == 0 {
		l.c('0')
	}
}

// cloneArgs are the stack and the flags of clone(2).
func cloneArgs(l *line, v uint64) {
	flags := v &^ unix.CSIGNAL
	l.s("child_stack=")
	l.addr(l.arg(1))
	l.s(", flags=")
	l.cloneFlags(flags, v&unix.CSIGNAL)
	l.glue = true
}

// cloneAfter are the other arguments of clone(2), and what the call stored.
func cloneAfter(l *line, v uint64) {
	flags := l.arg(0)
	if flags&(unix.CLONE_PIDFD|unix.CLONE_PARENT_SETTID) != 0 {
		l.s(", parent_tid=")
		l.word(l.arg(2), 4, num)
	}
	if flags&unix.CLONE_SETTLS != 0 {
		l.s(", tls=")
		l.addr(l.arg(4))
	}
	if flags&(unix.CLONE_CHILD_SETTID|unix.CLONE_CHILD_CLEARTID) != 0 {
		l.s(", child_tidptr=")
		l.addr(l.arg(3))
	}
}

// clone3Args is struct clone_args.
func clone3Args(l *line, v uint64) {
	const ver0, ver2 = 64, 88
	n := l.arg(1)
	l.keep = 0
	l.glue = true
	if n < ver0 {
		l.addr(v)
		return
	}
	b := l.fetch(v, int(min(n, ver2)))
	if b == nil {
		return
	}
	b = append(b, make([]byte, ver2-len(b))...)
	f := func(i int) uint64 { return le.Uint64(b[8*i:]) }
	flags := f(0)
	l.keep = flags
	l.s("{flags=")
	l.bits(flags, &cloneBits)
	field := func(name string, v uint64) {
		l.s(name)
		l.addr(v)
	}
	if flags&unix.CLONE_PIDFD != 0 {
		field(", pidfd=", f(1))
	}
	if flags&(unix.CLONE_CHILD_SETTID|unix.CLONE_CHILD_CLEARTID) != 0 {
		field(", child_tid=", f(2))
	}
	if flags&unix.CLONE_PARENT_SETTID != 0 {
		field(", parent_tid=", f(3))
	}
	l.s(", exit_signal=")
	l.signal(f(4))
	field(", stack=", f(5))
	l.s(", stack_size=")
	l.hex(f(6))
	if flags&unix.CLONE_SETTLS != 0 {
		field(", tls=", f(7))
	}
	if tids, count := f(8), f(9); tids != 0 || count != 0 {
		l.s(", set_tid=")
		l.elements(tids, min(count, 32), 4, func(b []byte) { num(l, uint64(le.Uint32(b))) })
		l.s(", set_tid_size=")
		l.uint(count)
	}
	if flags&unix.CLONE_INTO_CGROUP != 0 {
		l.s(", cgroup=")
		l.uint(f(10))
	}
	l.c('}')
}

// clone3After is what the call stored where struct clone_args said.
func clone3After(l *line, _ uint64) {
	l.i--
	v := l.arg(0)
	if b := l.peek(v, 64); b != nil && !l.failed() {
		names := [...]struct {
			flag uint64
			name string
			off  int
		}{{unix.CLONE_PIDFD, "pidfd", 8}, {unix.CLONE_PARENT_SETTID, "parent_tid", 24}}
		open := false
		for _, f := range names {
			if l.keep&f.flag == 0 {
				continue
			}
			word := l.peek(le.Uint64(b[f.off:]), 4)
			if word == nil {
				continue
			}
			l.s([...]string{" => {", ", "}[bit(open)])
			open = true
			fmt.Fprintf(l, "%s=[%d]", f.name, int32(le.Uint32(word)))
		}
		if open {
			l.c('}')
		}
	}
	l.s(", ")
	l.glue = true
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// waitStatus is where wait4(2) stored how a child changed. It stores nothing if
// none did.
func waitStatus(l *line, v uint64) {
	if l.ret == 0 {
		l.addr(v)
		return
	}
	if b := l.fetch(v, 4); b != nil {
		l.c('[')
		l.waitStatus(le.Uint32(b))
		l.c(']')
	}
}

func (l *line) waitStatus(v uint32) {
	ws := unix.WaitStatus(v)
	switch {
	case ws.Exited():
		fmt.Fprintf(l, "{WIFEXITED(s) && WEXITSTATUS(s) == %d}", ws.ExitStatus())
	case ws.Stopped():
		l.s("{WIFSTOPPED(s) && WSTOPSIG(s) == ")
		l.signal(uint64(v >> 8 & 0xff))
		l.c('}')
	case ws.Continued():
		l.s("{WIFCONTINUED(s)}")
	case ws.Signaled():
		l.s("{WIFSIGNALED(s) && WTERMSIG(s) == ")
		l.signal(uint64(v & 0x7f))
		if ws.CoreDump() {
			l.s(" && WCOREDUMP(s)")
		}
		l.c('}')
	default:
		l.hex(uint64(v))
	}
}

// ended shows how a thread ended.
func (l *line) ended(status uint32) {
	ws := unix.WaitStatus(status)
	if !ws.Signaled() {
		l.s("exited with ")
		l.int(int64(ws.ExitStatus()))
		return
	}
	l.s("killed by ")
	l.signal(uint64(ws.Signal()))
	if ws.CoreDump() {
		l.s(" (core dumped)")
	}
}

// rusage is struct rusage, of which only the times are shown.
func rusage(l *line, v uint64) {
	b := l.fetch(v, 144)
	if b == nil {
		return
	}
	l.s("{ru_utime=")
	l.val(b)
	l.s(", ru_stime=")
	l.val(b[16:])
	l.s(", ...}")
}

// waitUsage is filled if wait4(2) found a child.
func waitUsage(l *line, v uint64) {
	if l.ret == 0 {
		l.addr(v)
		return
	}
	rusage(l, v)
}

// rlimit is struct rlimit.
func rlimit(l *line, v uint64) {
	b := l.fetch(v, 16)
	if b == nil {
		return
	}
	for i, name := range [...]string{"{rlim_cur=", ", rlim_max="} {
		l.s(name)
		switch v := le.Uint64(b[8*i:]); {
		case v == unix.RLIM_INFINITY:
			l.s("RLIM64_INFINITY")
		case v > 1024 && v%1024 == 0:
			l.uint(v / 1024)
			l.s("*1024")
		default:
			l.uint(v)
		}
	}
	l.c('}')
}

// utsname is struct utsname, of which the first two names are shown.
func utsname(l *line, v uint64) {
	b := l.fetch(v, 6*65)
	if b == nil {
		return
	}
	field := func(i int) []byte {
		f := b[65*i : 65*(i+1)]
		if n := bytes.IndexByte(f, 0); n >= 0 {
			f = f[:n]
		}
		return f
	}
	l.s("{sysname=")
	l.quote(field(0))
	l.s(", nodename=")
	l.quote(field(1))
	l.s(", ...}")
}

// sysinfo is struct sysinfo.
func sysinfo(l *line, v uint64) {
	b := l.fetch(v, 112)
	if b == nil {
		return
	}
	u := func(off int) uint64 { return le.Uint64(b[off:]) }
	fmt.Fprintf(l, "{uptime=%d, loads=[%d, %d, %d], totalram=%d, freeram=%d, sharedram=%d, bufferram=%d, "+
		"totalswap=%d, freeswap=%d, procs=%d, totalhigh=%d, freehigh=%d, mem_unit=%d}",
		int64(u(0)), u(8), u(16), u(24), u(32), u(40), u(48), u(56),
		u(64), u(72), le.Uint16(b[80:]), u(88), u(96), le.Uint32(b[104:]))
}

// schedPolicy is a policy, and perhaps SCHED_RESET_ON_FORK.
func schedPolicy(l *line, v uint64) {
	const resetOnFork = 0x40000000
	l.one(uint64(uint32(v))&^resetOnFork, &schedPolicies)
	if v&resetOnFork != 0 {
		l.s("|SCHED_RESET_ON_FORK")
	}
}

func retSchedPolicy(l *line) {
	l.hex(l.ret)
	l.s(" (")
	schedPolicy(l, l.ret)
	l.c(')')
}

// schedAttr is struct sched_attr.
func schedAttr(l *line, v uint64) {
	b := l.fetch(v, 48)
	if b == nil {
		return
	}
	policy := uint64(le.Uint32(b[4:]))
	fmt.Fprintf(l, "{size=%d, sched_policy=", le.Uint32(b))
	l.one(policy, &schedPolicies)
	l.s(", sched_flags=")
	l.bits(le.Uint64(b[8:]), &schedBits)
	fmt.Fprintf(l, ", sched_nice=%d, sched_priority=%d, sched_runtime=%d, sched_deadline=%d, sched_period=%d",
		int32(le.Uint32(b[16:])), le.Uint32(b[20:]), le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:]))
	if size := le.Uint32(b); size >= 56 {
		if b := l.peek(v+48, 8); b != nil {
			fmt.Fprintf(l, ", sched_util_min=%d, sched_util_max=%d", le.Uint32(b), le.Uint32(b[4:]))
		}
	}
	l.c('}')
}

// cpuSetIn is a mask of processors whose size is the argument before it.
func cpuSetIn(l *line, v uint64) { l.cpuSet(v, uint64(uint32(l.arg(1)))) }

// cpuSetOut is filled with as many bytes as the call returned.
func cpuSetOut(l *line, v uint64) { l.cpuSet(v, l.ret) }

func (l *line) cpuSet(addr, n uint64) {
	b := l.fetch(addr, int(min(n, 1024)))
	if b == nil {
		return
	}
	l.c('[')
	first := true
	for i := range 8 * len(b) {
		if b[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if !first {
			l.c(' ')
		}
		first = false
		l.int(int64(i))
	}
	l.c(']')
}

// persona is personality(2)'s argument, all ones to ask.
func persona(l *line, v uint64) {
	if uint32(v) == ^uint32(0) {
		l.s("0xffffffff")
		return
	}
	l.persona(v)
}

func (l *line) persona(v uint64) {
	v = uint64(uint32(v))
	l.one(v&0xff, &personas)
	if v &^= 0xff; v != 0 {
		l.c('|')
		l.someBits(v, &personaBits)
	}
}

func retPersona(l *line) {
	l.hex(l.ret)
	l.s(" (")
	l.persona(l.ret)
	l.c(')')
}

func archPrctl(l *line, v uint64) {
	l.one(uint64(uint32(v)), &archPrctls)
	l.glue = true
	switch uint32(v) {
	case archGetFS, archGetGS, archGetCPUID:
	case archSetFS, archSetGS:
		l.s(", ")
		l.addr(l.arg(1))
	default:
		l.s(", ")
		l.hex(l.arg(1))
	}
}

const (
	archSetGS    = 0x1001
	archSetFS    = 0x1002
	archGetFS    = 0x1003
	archGetGS    = 0x1004
	archGetCPUID = 0x1011
)

func archPrctlAfter(l *line, v uint64) {
	switch uint32(l.arg(0)) {
	case archGetFS, archGetGS:
		l.s(", ")
		l.word(l.arg(1), 8, ptr)
	}
}

// syslogAction is syslog(2)'s first argument.
func syslogAction(l *line, v uint64) {
	num(l, v)
	if name := syslogActions.find(uint64(uint32(v))); name != "" {
		l.s(" /* " + name + " */")
	}
}
