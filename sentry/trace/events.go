package trace

import (
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Events keeps the last things that guest threads did: system calls, waits, page
// faults, signals, beginnings and ends, each with its time. It is a task.Tracer. An
// event costs some 100 ns and no allocation, but for calls with a path, which is
// kept.
type Events struct {
	begin time.Time
	names *Strace // for looking up names and showing arguments
	paths Filter  // calls whose arguments are kept as text

	mu   sync.Mutex
	max  int
	ring []event // grows up to max; then next is the oldest
	next int
	lost uint64 // events that were overwritten
	// threads are those that ever were, by id, for their names.
	threads map[int]threadName
}

// Bounds of what is kept.
const (
	maxNames = 1 << 16
	maxText  = 160 // bytes of a call's arguments
)

type threadName struct {
	pid  int
	name string
}

type eventKind uint8

const (
	callEvent   eventKind = iota // nr, args, ret, failed
	waitEvent                    // nr: procmgr.State
	faultEvent                   // nr: access; args[0]: address; failed
	signalEvent                  // nr: signal; ret: si_code
	startEvent
	endEvent // nr: wait status
)

// event is one thing that happened. Times are in nanoseconds since Events.begin.
type event struct {
	kind     eventKind
	failed   bool // ret is an errno
	nr       uint32
	pid, tid int32
	begin    int64
	duration int64
	args     [3]uint64
	ret      int64
	text     string
}

// NewEvents makes a recorder of the last max events. Calls that this package does
// not know have their names from calls.
func NewEvents(max int, calls task.Table) *Events {
	e := &Events{
		begin:   time.Now(),
		names:   NewStrace(io.Discard, calls),
		max:     max,
		threads: make(map[int]threadName),
	}
	if err := e.paths.Set("trace=%file"); err != nil {
		panic(err) // the class is in this package
	}
	return e
}

// add keeps an event.
func (e *Events) add(ev event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) < e.max {
		e.ring = append(e.ring, ev)
		return
	}
	e.ring[e.next] = ev
	e.next = (e.next + 1) % e.max
	e.lost++
}

// since is a time as events have it.
func (e *Events) since(t time.Time) int64 { return int64(t.Sub(e.begin)) }

// Thread implements task.Tracer.
func (e *Events) Thread(th *procmgr.Thread) task.ThreadTracer {
	t := &eventThread{e: e, th: th}
	t.named()
	t.add(event{kind: startEvent, begin: e.since(time.Now())})
	return t
}

// eventThread is one thread. All but e belongs to its goroutine.
type eventThread struct {
	e        *Events
	th       *procmgr.Thread
	pid, tid int

	entered time.Time
	text    string
	line    line
}

// named notes what the thread is called now.
func (t *eventThread) named() {
	t.pid, t.tid = t.th.Process().ID(), t.th.ID()
	name := threadName{t.pid, t.th.Name()}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if _, known := t.e.threads[t.tid]; known || len(t.e.threads) < maxNames {
		t.e.threads[t.tid] = name
	}
}

func (t *eventThread) add(ev event) {
	ev.pid, ev.tid = int32(t.pid), int32(t.tid)
	t.e.add(ev)
}

// slice adds what began at begin and is over now.
func (t *eventThread) slice(ev event, begin time.Time) {
	ev.begin, ev.duration = t.e.since(begin), int64(time.Since(begin))
	t.add(ev)
}

// Enter implements task.ThreadTracer.
func (t *eventThread) Enter(c *task.Call) { t.enter(c.NR, c.Args, c.Mem) }

func (t *eventThread) enter(nr uint64, args task.Args, mem memory) {
	t.text = ""
	if t.e.paths.wantsCall(nr) {
		l := &t.line
		how, name := t.e.names.lookup(nr)
		*l = line{buf: l.buf[:0], mem: mem, name: name, args: args}
		l.entry(how)
		t.text = string(l.buf[:min(len(l.buf), maxText)])
	}
	t.entered = time.Now()
}

// Exit implements task.ThreadTracer.
func (t *eventThread) Exit(c *task.Call, ret uint64, err error) {
	ev := event{kind: callEvent, nr: uint32(min(c.NR, 1<<31)), args: [3]uint64(c.Args[:]), ret: int64(ret), text: t.text}
	if err != nil {
		ev.failed, ev.ret = true, int64(errnoOf(err))
	}
	t.slice(ev, t.entered)
	switch c.NR {
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PRCTL:
		t.named()
	}
}

// Waited implements procmgr.Follower.
func (t *eventThread) Waited(in procmgr.State, begin time.Time) {
	t.slice(event{kind: waitEvent, nr: uint32(in)}, begin)
}

// Fault implements task.FaultTracer.
func (t *eventThread) Fault(addr hostarch.Addr, at hostarch.AccessType, begin time.Time, err error) {
	ev := event{kind: faultEvent, args: [3]uint64{uint64(addr)}, failed: err != nil}
	switch {
	case at.Execute:
		ev.nr = faultExecute
	case at.Write:
		ev.nr = faultWrite
	}
	t.slice(ev, begin)
}

// What a faultEvent's nr says.
const (
	faultRead = iota
	faultWrite
	faultExecute
)

// Signal implements procmgr.Follower.
func (t *eventThread) Signal(info *procmgr.SigInfo) {
	t.add(event{kind: signalEvent, nr: uint32(info.Signo), ret: int64(info.Code), begin: t.e.since(time.Now())})
}

// End implements task.ThreadTracer.
func (t *eventThread) End(status uint32) {
	t.named()
	t.add(event{kind: endEvent, nr: status, begin: t.e.since(time.Now())})
}
