package trace

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// Kinds of the calls about time.

func timerFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &timerBits) }
func itimerWhich(l *line, v uint64)  { l.one(uint64(uint32(v)), &itimers) }
func timerfdFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &timerfdBits) }

func timerfdSettimeFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &timerfdSetBits) }

// clockID is a clock: one of the system's, or the processor time of a process
// or thread.
func clockID(l *line, v uint64) {
	id := int32(v)
	if id >= 0 {
		l.one(uint64(id), &clocks)
		return
	}
	what := [...]string{"CPUCLOCK_PROF", "CPUCLOCK_VIRT", "CPUCLOCK_SCHED", ""}[id&3]
	switch {
	case id&7 == 3:
		fmt.Fprintf(l, "FD_TO_CLOCKID(%d)", ^(id >> 3))
	case what == "":
		fmt.Fprintf(l, "%#x", uint32(id))
	case id&4 != 0:
		fmt.Fprintf(l, "MAKE_THREAD_CPUCLOCK(%d, %s)", ^(id >> 3), what)
	default:
		fmt.Fprintf(l, "MAKE_PROCESS_CPUCLOCK(%d, %s)", ^(id >> 3), what)
	}
}

// spec shows the 16 bytes of a struct timespec.
func (l *line) spec(b []byte) {
	l.s("{tv_sec=")
	l.int(int64(le.Uint64(b)))
	l.s(", tv_nsec=")
	l.int(int64(le.Uint64(b[8:])))
	l.c('}')
}

// val shows the 16 bytes of a struct timeval.
func (l *line) val(b []byte) {
	l.s("{tv_sec=")
	l.int(int64(le.Uint64(b)))
	l.s(", tv_usec=")
	l.int(int64(le.Uint64(b[8:])))
	l.c('}')
}

func timespec(l *line, v uint64) {
	if b := l.fetch(v, 16); b != nil {
		l.spec(b)
	}
}

// timespecAlways is a timespec that the call was given, shown at the return,
// even of a call that failed.
func timespecAlways(l *line, v uint64) {
	if b := l.peek(v, 16); v != 0 && b != nil {
		l.spec(b)
		return
	}
	l.addr(v)
}

func timeval(l *line, v uint64) {
	if b := l.fetch(v, 16); b != nil {
		l.val(b)
	}
}

func timezone(l *line, v uint64) {
	if b := l.fetch(v, 8); b != nil {
		fmt.Fprintf(l, "{tz_minuteswest=%d, tz_dsttime=%d}", int32(le.Uint32(b)), int32(le.Uint32(b[4:])))
	}
}

// remaining is the rest of a sleep, which only an interrupted one has.
func remaining(l *line, v uint64) {
	var r task.Restart
	if v != 0 && errors.As(l.err, &r) {
		timespecAlways(l, v)
		return
	}
	l.addr(v)
}

func itimerval(l *line, v uint64) {
	if b := l.fetch(v, 32); b != nil {
		l.s("{it_interval=")
		l.val(b)
		l.s(", it_value=")
		l.val(b[16:])
		l.c('}')
	}
}

func itimerspec(l *line, v uint64) {
	if b := l.fetch(v, 32); b != nil {
		l.s("{it_interval=")
		l.spec(b)
		l.s(", it_value=")
		l.spec(b[16:])
		l.c('}')
	}
}

func timerIDOut(l *line, v uint64) { l.word(v, 4, num) }

// date says which moment a time is. Those that no calendar has are left out.
func (l *line) date(sec int64, nsec int64, digits int) {
	if sec < -1<<40 || sec > 1<<40 || nsec < 0 || nsec >= 1e9 {
		return
	}
	layout := "2006-01-02T15:04:05"
	if nsec != 0 {
		layout += ".000000000"[:digits+1]
	}
	l.s(time.Unix(sec, nsec).UTC().Format(layout + "-0700"))
}

// utimeSpec shows one of utimensat(2)'s two times.
func (l *line) utimeSpec(b []byte) {
	switch sec, nsec := int64(le.Uint64(b)), int64(le.Uint64(b[8:])); nsec {
	case unix.UTIME_NOW:
		l.s("UTIME_NOW")
	case unix.UTIME_OMIT:
		l.s("UTIME_OMIT")
	default:
		l.spec(b)
		l.s(" /* ")
		l.date(sec, nsec, 9)
		l.s(" */")
	}
}

func timespecPair(l *line, v uint64) {
	if b := l.fetch(v, 32); b != nil {
		l.c('[')
		l.utimeSpec(b)
		l.s(", ")
		l.utimeSpec(b[16:])
		l.c(']')
	}
}

func timevalPair(l *line, v uint64) {
	b := l.fetch(v, 32)
	if b == nil {
		return
	}
	for i := range 2 {
		l.s([...]string{"[", ", "}[i])
		tv := b[16*i:]
		l.val(tv)
		l.s(" /* ")
		l.date(int64(le.Uint64(tv)), 1000*int64(le.Uint64(tv[8:])), 6)
		l.s(" */")
	}
	l.c(']')
}

func utimbuf(l *line, v uint64) {
	b := l.fetch(v, 16)
	if b == nil {
		return
	}
	for i, name := range [...]string{"{actime=", ", modtime="} {
		sec := int64(le.Uint64(b[8*i:]))
		l.s(name)
		l.int(sec)
		l.s(" /* ")
		l.date(sec, 0, 0)
		l.s(" */")
	}
	l.c('}')
}

// timeOut is where time(2) stores what it returns.
func timeOut(l *line, v uint64) {
	b := l.fetch(v, 8)
	if b == nil {
		return
	}
	l.c('[')
	sec := int64(le.Uint64(b))
	l.int(sec)
	l.s(" /* ")
	l.date(sec, 0, 0)
	l.s(" */]")
}

func retTime(l *line) {
	l.int(int64(l.ret))
	l.s(" (")
	l.date(int64(l.ret), 0, 0)
	l.c(')')
}

func tms(l *line, v uint64) {
	b := l.fetch(v, 32)
	if b == nil {
		return
	}
	for i, name := range [...]string{"{tms_utime=", ", tms_stime=", ", tms_cutime=", ", tms_cstime="} {
		l.s(name)
		l.int(int64(le.Uint64(b[8*i:])))
	}
	l.c('}')
}
