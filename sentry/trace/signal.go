package trace

import (
	"golang.org/x/sys/unix"
)

// signal shows a signal by name.
func (l *line) signal(v uint64) {
	if name := unix.SignalName(unix.Signal(v)); name != "" && v < 32 {
		l.s(name)
	} else if v >= 32 && v <= 64 {
		l.s("SIGRT_")
		l.uint(v - 32)
	} else {
		l.int(int64(v))
	}
}

func (l *line) siginfo(b []byte) {
	l.s("{si_signo=")
	l.signal(uint64(le.Uint32(b)))
	l.s("}")
}
