// Package trace shows what guests do, as strace(1) does: a line for each system
// call with its arguments decoded, for each signal and for each end.
//
//	strace.go     threads, and how their lines are put in order
//	table.go      the calls, in number order, and how each argument is shown
//	call.go       a call: arguments at the entry and at the return, the value
//	kinds.go      plain kinds of arguments; file.go, time.go, … a subject each
//	names.go      flags and values by name; names_*.go hold the names
//	line.go       a line as it grows; reading guest memory
//	filter.go     which calls and signals are of interest
//	summary.go    how often and how long, as strace -c
//	events.go     the last events, in a ring; chrome.go writes them for Perfetto
//	join.go       several of these at once
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
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Strace prints system calls, signals and exits in the manner of strace -f. It
// is a task.Tracer. Each line is one Write. A call during which another thread
// prints, or that does not return soon, is split as strace splits it, into
// "<unfinished ...>" and "<... resumed>".
type Strace struct {
	// Filter says what is printed; nil for everything. It does not change once
	// threads are followed.
	Filter *Filter
	// File says that the output is a file of its own: each line begins with the
	// thread's id, as with strace -f -o, and nothing is said of new ones.
	File bool

	w     io.Writer
	names task.Table

	mu      sync.Mutex
	threads int
	// open is the thread whose call is entered and not printed yet.
	open *thread
	// late prints it when it takes long.
	late   *time.Timer
	closed bool
	err    error // the first of w's
}

// patience is how long a call may take before its beginning is printed.
const patience = 100 * time.Millisecond

// NewStrace makes a tracer that prints to w. Calls that this package does not
// know have their names from calls.
func NewStrace(w io.Writer, calls task.Table) *Strace {
	return &Strace{w: w, names: calls}
}

// Close prints what is unfinished, and nothing from then on. It returns the
// first error of the writer.
func (s *Strace) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unfinished()
	if s.late != nil {
		s.late.Stop()
	}
	s.closed = true
	return s.err
}

// print writes a line. The lock is held.
func (s *Strace) print(text string) {
	if s.closed {
		return
	}
	if _, err := io.WriteString(s.w, text); err != nil && s.err == nil {
		s.err = err
	}
}

// unfinished prints the open call, if there is one, without its end. The lock is
// held.
func (s *Strace) unfinished() {
	if t := s.open; t != nil {
		s.print(t.leader + t.begun + " <unfinished ...>\n")
		s.open = nil
	}
}

// begin makes t's call the open one. The lock is held.
func (s *Strace) begin(t *thread) {
	s.unfinished()
	s.open = t
	if s.late != nil {
		s.late.Reset(patience)
		return
	}
	s.late = time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unfinished()
	})
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

// Thread implements task.Tracer.
func (s *Strace) Thread(th *procmgr.Thread) task.ThreadTracer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.threads++
	if s.threads > 1 && !s.File {
		s.print(fmt.Sprintf("strace: Process %d attached\n", th.ID()))
	}
	return &thread{s: s, th: th}
}

// thread is one thread that is followed. Its line belongs to its own goroutine;
// what is of the output, to Strace.mu.
type thread struct {
	s     *Strace
	th    *procmgr.Thread
	line  line
	call  *call
	quiet bool // the call is of no interest

	leader string // what the open line begins with
	begun  string // its text so far
}

// prefix begins a line of t. The lock is held.
func (t *thread) prefix() string {
	if t.s.File {
		return fmt.Sprintf("%-5d ", t.th.ID())
	}
	if t.s.threads < 2 {
		return ""
	}
	return fmt.Sprintf("[pid %5d] ", t.th.ID())
}

// Enter implements task.ThreadTracer.
func (t *thread) Enter(c *task.Call) {
	t.quiet = !t.s.Filter.wantsCall(c.NR)
	l := &t.line
	var name string
	t.call, name = t.s.lookup(c.NR)
	*l = line{buf: l.buf[:0], mem: c.Mem, name: name, args: c.Args, sp: c.SP, last: l.last}
	if t.quiet {
		return
	}
	l.s(name)
	l.c('(')
	l.entry(t.call)
	text := string(l.buf)

	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.leader, t.begun = t.prefix(), text
	t.s.begin(t)
}

// column is where results stand, as with strace.
const column = 40

// Exit implements task.ThreadTracer.
func (t *thread) Exit(c *task.Call, ret uint64, err error) {
	l := &t.line
	if l.name != "restart_syscall" {
		l.last = l.name
	}
	if t.quiet {
		return
	}
	l.buf = l.buf[:0]
	l.done, l.ret, l.err = true, ret, err
	l.exit(t.call)
	l.s(") ")
	args := string(l.buf)
	l.buf = l.buf[:0]
	if t.th.Killed() {
		l.c('?') // the thread does not see it return
	} else {
		l.result(t.call)
	}

	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	var text string
	if t.s.open == t {
		t.s.open = nil
		text = t.leader + t.begun + args
	} else {
		t.s.unfinished()
		text = t.prefix() + "<... " + l.name + " resumed>" + args
	}
	if pad := column - len(text); pad > 0 {
		text += strings.Repeat(" ", pad)
	}
	t.s.print(text + "= " + string(l.buf) + "\n")
}

// Program implements task.ProgramTracer: the first program, as if a call had
// executed it.
func (t *thread) Program(a *task.ExecArgs, env uint64) {
	if !t.s.Filter.wantsCall(unix.SYS_EXECVE) {
		return
	}
	var l line
	l.s("execve(")
	l.quote([]byte(a.Path))
	l.s(", [")
	for i, arg := range a.Argv {
		if i > 0 {
			l.s(", ")
		}
		if i == maxElements {
			l.s("...")
			break
		}
		l.quote([]byte(arg[:min(len(arg), maxString)]))
		if len(arg) > maxString {
			l.s("...")
		}
	}
	l.s("], ")
	l.addr(env)
	l.vars(uint64(len(a.Env)))
	l.s(") ")
	for len(l.buf) < column {
		l.c(' ')
	}
	l.s("= 0\n")
	t.event(l.buf)
}

// Signal implements task.ThreadTracer.
func (t *thread) Signal(info *procmgr.SigInfo) {
	if !t.s.Filter.wantsSignal(unix.Signal(info.Signo)) {
		return
	}
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

// Waited implements procmgr.Follower: strace says nothing of it.
func (t *thread) Waited(procmgr.State, time.Time) {}

// End implements task.ThreadTracer.
func (t *thread) End(status uint32) {
	var l line
	l.s("+++ ")
	l.ended(status)
	l.s(" +++\n")
	t.event(l.buf)

	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.threads--
}

// event prints a line that belongs to no call.
func (t *thread) event(text []byte) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.unfinished()
	t.s.print(t.prefix() + string(text))
}
