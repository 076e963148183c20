// Package trace shows what guests do, as strace(1) does: a line for each system
// call with its arguments decoded, for each signal and for each end.
//
//	table.go      the calls, in number order, and how each argument is shown
//	kinds.go      the kinds of arguments
//	line.go       a line as it grows; reading guest memory
//
// Decoders look at guest memory while the guest may change it, and believe
// nothing: sizes are bounded, and what cannot be read is shown as the pointer.
// What is shown of an argument may differ from what the call itself saw.
package trace

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Strace prints system calls, signals and exits in the manner of strace -f. It
// is a task.Tracer. Each line is one Write. A call during which another thread
// prints is split as strace splits it, into "<unfinished ...>" and "<... resumed>".
type Strace struct {
	w     io.Writer
	names task.Table

	mu      sync.Mutex
	threads int
	// open is the thread whose call is entered and not printed yet.
	open *thread
}

// NewStrace makes a tracer that prints to w. Calls that this package does not
// know have their names from calls.
func NewStrace(w io.Writer, calls task.Table) *Strace {
	return &Strace{w: w, names: calls}
}

// thread is one thread that is followed. Its line belongs to its own goroutine;
// what is of the output, to Strace.mu.
type thread struct {
	s    *Strace
	th   *procmgr.Thread
	line line
	call *call
	name string

	leader string // what the line begins with
	begun  string // the text of the entry, while it is not printed
	split  bool   // the entry was printed as unfinished
}

// Thread implements task.Tracer.
func (s *Strace) Thread(th *procmgr.Thread) task.ThreadTracer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.threads++
	if s.threads > 1 {
		s.print(fmt.Sprintf("strace: Process %d attached\n", th.ID()))
	}
	return &thread{s: s, th: th}
}

func (s *Strace) print(text string) {
	io.WriteString(s.w, text)
}

// unfinished prints the open call, if there is one, without its end.
func (s *Strace) unfinished() {
	if t := s.open; t != nil {
		s.print(t.leader + t.begun + " <unfinished ...>\n")
		t.split, s.open = true, nil
	}
}

// prefix begins a line of t.
func (t *thread) prefix() string {
	if t.s.threads < 2 {
		return ""
	}
	return fmt.Sprintf("[pid %5d] ", t.th.ID())
}

// Enter implements task.ThreadTracer.
func (t *thread) Enter(c *task.Call) {
	t.call, t.name = t.s.lookup(c.NR)
	t.line = line{buf: t.line.buf[:0], mem: c.Mem, name: t.name, args: c.Args, sp: c.SP, last: t.line.last}
	t.line.s(t.name)
	t.line.c('(')
	t.line.entry(t.call)
	text := string(t.line.buf)

	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.unfinished()
	t.leader, t.begun, t.split = t.prefix(), text, false
	t.s.open = t
}

// Exit implements task.ThreadTracer.
func (t *thread) Exit(c *task.Call, ret uint64, err error) {
	l := &t.line
	l.buf = l.buf[:0]
	l.done, l.ret, l.err = true, ret, err
	killed := t.th.Killed()
	l.exit(t.call)
	l.s(") ")
	rest := string(l.buf)
	l.buf = l.buf[:0]
	if killed {
		l.c('?')
	} else {
		l.result(t.call)
	}
	if t.name != "restart_syscall" {
		l.last = t.name
	}

	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	var text string
	if t.s.open == t {
		t.s.open = nil
		text = t.leader + t.begun
	} else {
		t.s.unfinished()
		text = t.prefix() + "<... " + t.name + " resumed>"
	}
	text += rest
	if pad := column - len(text); pad > 0 {
		text += strings.Repeat(" ", pad)
	}
	t.s.print(text + "= " + string(l.buf) + "\n")
}

// column is where results stand, as with strace.
const column = 40

// Signal implements task.ThreadTracer.
func (t *thread) Signal(info *procmgr.SigInfo) {
	var l line
	l.s("--- ")
	l.signal(uint64(info.Signo))
	l.c(' ')
	var raw [128]byte
	info.Encode(raw[:])
	l.siginfo(raw[:])
	l.s(" ---\n")
	t.event(l.buf)
}

// End implements task.ThreadTracer.
func (t *thread) End(status uint32) {
	var l line
	ws := unix.WaitStatus(status)
	if ws.Signaled() {
		l.s("+++ killed by ")
		l.signal(uint64(ws.Signal()))
		if ws.CoreDump() {
			l.s(" (core dumped)")
		}
	} else {
		l.s("+++ exited with ")
		l.int(int64(ws.ExitStatus()))
	}
	l.s(" +++\n")
	t.event(l.buf)
	t.s.mu.Lock()
	t.s.threads--
	t.s.mu.Unlock()
}

// event prints a line that belongs to no call.
func (t *thread) event(text []byte) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.unfinished()
	t.s.print(t.prefix() + string(text))
}

// lookup returns how a call is shown.
func (s *Strace) lookup(nr uint64) (*call, string) {
	if nr < uint64(len(calls)) && calls[nr].name != "" {
		return &calls[nr], calls[nr].name
	}
	if nr < uint64(len(s.names)) && s.names[nr].Name != "" {
		return &unknownCall, s.names[nr].Name
	}
	return &unknownCall, "syscall_0x" + strconv.FormatUint(nr, 16)
}
