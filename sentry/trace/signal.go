package trace

import (
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"
)

// Kinds of the signal calls.

// signal shows a signal by name.
func (l *line) signal(v uint64) {
	switch v = uint64(uint32(v)); {
	case v > 0 && v < uint64(len(signalNames)):
		l.s("SIG")
		l.s(signalNames[v])
	case v >= rtmin && v <= 64:
		l.s("SIG")
		l.realtime(v)
	default:
		l.int(int64(int32(v)))
	}
}

// rtmin is the first real-time signal.
const rtmin = 32

func (l *line) realtime(v uint64) {
	if v == rtmin {
		l.s("RTMIN")
		return
	}
	l.s("RT_")
	l.uint(v - rtmin)
}

func sig(l *line, v uint64)    { l.signal(v) }
func sigHow(l *line, v uint64) { l.one(uint64(uint32(v)), &sigHows) }

// mask shows a signal set: what is in it or, if it is nearly full, what is not.
func (l *line) mask(m uint64) {
	if bits.OnesCount64(m) >= 64*2/3 {
		m = ^m
		l.c('~')
	}
	l.c('[')
	first := true
	for s := uint64(1); s <= 64; s++ {
		if m>>(s-1)&1 == 0 {
			continue
		}
		if !first {
			l.c(' ')
		}
		first = false
		if s < uint64(len(signalNames)) {
			l.s(signalNames[s])
		} else {
			l.realtime(s)
		}
	}
	l.c(']')
}

// sigset is a signal set, whose size is another argument.
func sigset(l *line, v uint64) {
	at := 5
	switch l.name {
	case "rt_sigpending", "rt_sigsuspend":
		at = 1
	case "signalfd", "signalfd4":
		at = 2
	case "rt_sigprocmask", "rt_sigtimedwait":
		at = 3
	case "ppoll":
		at = 4
	}
	l.sigset(v, l.arg(at))
}

func (l *line) sigset(v, size uint64) {
	if size != 8 {
		l.addr(v)
		return
	}
	if b := l.fetch(v, 8); b != nil {
		l.mask(le.Uint64(b))
	}
}

// sigsetPack is pselect6(2)'s last argument: a set and its size.
func sigsetPack(l *line, v uint64) {
	b := l.fetch(v, 16)
	if b == nil {
		return
	}
	l.s("{sigmask=")
	l.sigset(le.Uint64(b), le.Uint64(b[8:]))
	l.s(", sigsetsize=")
	l.uint(le.Uint64(b[8:]))
	l.c('}')
}

// sigaction is the kernel's struct sigaction.
func sigaction(l *line, v uint64) {
	b := l.fetch(v, 32)
	if b == nil {
		return
	}
	l.s("{sa_handler=")
	switch h := le.Uint64(b); h {
	case 0:
		l.s("SIG_DFL")
	case 1:
		l.s("SIG_IGN")
	case ^uint64(0):
		l.s("SIG_ERR")
	default:
		l.hex(h)
	}
	flags := le.Uint64(b[8:])
	l.s(", sa_mask=")
	l.mask(le.Uint64(b[24:]))
	l.s(", sa_flags=")
	l.bits(flags, &saBits)
	if flags&0x04000000 != 0 {
		l.s(", sa_restorer=")
		l.addr(le.Uint64(b[16:]))
	}
	l.c('}')
}

// Layout of a signal frame, seen from rt_sigreturn(2): the stack pointer is at
// struct ucontext, and uc_sigmask in that.
const ucSigmask = 296

// sigframe is what rt_sigreturn(2) finds on the stack.
func sigframe(l *line, v uint64) {
	b := l.peek(l.sp+ucSigmask, 8)
	if b == nil {
		l.hex(l.sp)
		return
	}
	l.s("{mask=")
	l.mask(le.Uint64(b))
	l.c('}')
}

// stack is stack_t.
func stack(l *line, v uint64) {
	b := l.fetch(v, 24)
	if b == nil {
		return
	}
	l.s("{ss_sp=")
	l.addr(le.Uint64(b))
	l.s(", ss_flags=")
	l.bits(uint64(le.Uint32(b[8:])), &stackBits)
	l.s(", ss_size=")
	l.uint(le.Uint64(b[16:]))
	l.c('}')
}

func siginfoIn(l *line, v uint64) {
	if b := l.fetch(v, 128); b != nil {
		l.siginfo(b)
	}
}

// siginfoOut is filled by waitid(2) and sigtimedwait(2).
func siginfoOut(l *line, v uint64) { siginfoIn(l, v) }

// siginfo shows the 128 bytes of a siginfo_t.
func (l *line) siginfo(b []byte) {
	signo, code := le.Uint32(b), int32(le.Uint32(b[8:]))
	if signo == 0 {
		l.s("{}") // waitid(2) that found nothing
		return
	}
	word := func(name string, off int) {
		l.s(name)
		l.int(int64(int32(le.Uint32(b[off:]))))
	}
	l.s("{si_signo=")
	l.signal(uint64(signo))
	l.s(", si_code=")
	own := codesOf(unix.Signal(signo))
	if name := siCodes.find(uint64(int64(code))); name != "" {
		l.s(name)
	} else if own != nil && own.find(uint64(uint32(code))) != "" {
		l.s(own.find(uint64(uint32(code))))
	} else {
		l.hex(uint64(uint32(code)))
		if own == nil {
			own = &siCodes
		}
		l.s(" /* " + own.unknown + " */")
	}
	if e := le.Uint32(b[4:]); e != 0 {
		l.s(", si_errno=")
		l.s(errnoName(unix.Errno(e)))
	}
	sender := func() {
		word(", si_pid=", 16)
		l.s(", si_uid=")
		id(l, uint64(le.Uint32(b[20:])))
	}
	value := func() {
		v := le.Uint64(b[24:])
		if v == 0 {
			return
		}
		word(", si_int=", 24)
		l.s(", si_ptr=")
		l.addr(v)
	}
	switch {
	case code == siKernel:
	case code == siTimer:
		l.s(", si_timerid=")
		l.hex(uint64(le.Uint32(b[16:])))
		word(", si_overrun=", 20)
		if v := le.Uint64(b[24:]); v != 0 {
			word(", si_int=", 24)
			l.s(", si_ptr=")
			l.addr(v)
		}
	case code <= 0:
		sender()
		value()
	default:
		switch unix.Signal(signo) {
		case unix.SIGCHLD:
			sender()
			l.s(", si_status=")
			if code == cldExited {
				l.int(int64(int32(le.Uint32(b[24:]))))
			} else {
				l.signal(uint64(le.Uint32(b[24:])))
			}
			l.s(", si_utime=")
			l.ticks(le.Uint64(b[32:]))
			l.s(", si_stime=")
			l.ticks(le.Uint64(b[40:]))
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP:
			l.s(", si_addr=")
			l.addr(le.Uint64(b[16:]))
		case unix.SIGIO:
			l.s(", si_band=")
			l.bits(le.Uint64(b[16:]), &pollBits)
			word(", si_fd=", 24)
		case unix.SIGSYS:
			l.s(", si_call_addr=")
			l.addr(le.Uint64(b[16:]))
			word(", si_syscall=", 24)
			l.s(", si_arch=")
			l.hex(uint64(le.Uint32(b[28:])))
		default:
			sender()
		}
	}
	l.c('}')
}

// ticks shows processor time in hundredths of a second.
func (l *line) ticks(v uint64) {
	l.uint(v)
	if v != 0 {
		fmt.Fprintf(l, " /* %d.%02d s */", v/100, v%100)
	}
}

// Codes of siginfo_t that the layout depends on.
const (
	siKernel  = 0x80
	siTimer   = -2
	cldExited = 1
)

func retSignal(l *line) {
	l.int(int64(l.ret))
	l.s(" (")
	l.signal(l.ret)
	l.c(')')
}

// sigevent is struct sigevent.
func sigevent(l *line, v uint64) {
	b := l.fetch(v, 64)
	if b == nil {
		return
	}
	l.s("{")
	if p := le.Uint64(b); p != 0 {
		l.s("sigev_value={sival_int=")
		l.int(int64(int32(p)))
		l.s(", sival_ptr=")
		l.addr(p)
		l.s("}, ")
	}
	l.s("sigev_signo=")
	l.signal(uint64(le.Uint32(b[8:])))
	l.s(", sigev_notify=")
	notify := le.Uint32(b[12:])
	l.one(uint64(notify), &sigevNotify)
	if notify == sigevThreadID {
		l.s(", sigev_notify_thread_id=")
		l.int(int64(int32(le.Uint32(b[16:]))))
	}
	l.c('}')
}

const sigevThreadID = 4

var sigevNotify = set{"SIGEV_???", []flag{
	{0, "SIGEV_SIGNAL"},
	{1, "SIGEV_NONE"},
	{2, "SIGEV_THREAD"},
	{sigevThreadID, "SIGEV_THREAD_ID"},
}}
