package trace

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// kind shows one argument, v; some show several that belong together.
type kind func(l *line, v uint64)

// kinds are arguments in order.
type kinds []kind

// call is how a system call is shown.
type call struct {
	name string
	in   kinds         // arguments that are known before the call
	out  kinds         // those that are shown when it returned
	ret  func(l *line) // its value; nil for a decimal number
}

// entry shows what is known before the call, and the separator to what is shown
// when it returned.
func (l *line) entry(c *call) {
	l.i, l.glue = 0, false
	l.show(c.in)
	if len(c.in) > 0 && len(c.out) > 0 && !l.glue {
		l.s(", ")
	}
}

// exit shows the arguments that the call filled, and those behind them. It goes
// on where entry stopped.
func (l *line) exit(c *call) {
	l.glue = false
	l.show(c.out)
}

// show shows arguments, separated by commas, but for those that show nothing.
func (l *line) show(ks kinds) {
	first := true
	for _, k := range ks {
		start := len(l.buf)
		if !first && !l.glue {
			l.s(", ")
		}
		l.glue = false
		from := len(l.buf)
		k(l, l.arg(l.i))
		l.i++
		if len(l.buf) == from {
			l.buf = l.buf[:start]
		} else {
			first = false
		}
	}
}

// given shows an argument that the call was given: its failure says nothing about
// that.
func (l *line) given(v uint64, k kind) {
	err := l.err
	l.err = nil
	k(l, v)
	l.err = err
}

// result shows what the call returned.
func (l *line) result(c *call) {
	var restart task.Restart
	switch {
	case l.err == nil && c.ret != nil:
		c.ret(l)
	case l.err == nil:
		l.int(int64(l.ret))
	case errors.As(l.err, &restart) && restart != task.NotRestarted:
		fmt.Fprintf(l, "? %s (%s)", restart.Name(), restarts[restart])
	default:
		l.errno(errnoOf(l.err))
	}
}

// errnoOf is the error that the guest sees, unless the call is restarted.
func errnoOf(err error) unix.Errno {
	var restart task.Restart
	var errno unix.Errno
	switch {
	case errors.As(err, &restart):
		return unix.EINTR
	case errors.As(err, &errno):
		return errno
	}
	return unix.EIO
}

// Write implements io.Writer, for package fmt.
func (l *line) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	return len(p), nil
}

// restarts explain the codes, in strace's words.
var restarts = [...]string{
	task.RestartSys:    "To be restarted if SA_RESTART is set",
	task.RestartNoIntr: "To be restarted",
	task.RestartNoHand: "To be restarted if no handler",
	task.RestartBlock:  "Interrupted by signal",
}

func (l *line) errno(e unix.Errno) {
	text := e.Error()
	fmt.Fprintf(l, "-1 %s (%s%s)", errnoName(e), strings.ToUpper(text[:1]), text[1:])
}

func errnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP {
		return "EOPNOTSUPP" // not ENOTSUP
	}
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return fmt.Sprintf("E%d", uint(e))
}

// Values that are not plain numbers.

func retHex(l *line)  { l.hex(l.ret) }
func retOct(l *line)  { l.oct3(l.ret) }
func retNone(l *line) { l.c('?') }

// unknownCall shows a call of which nothing is known.
var unknownCall = call{in: kinds{hex, hex, hex, hex, hex, hex}}
