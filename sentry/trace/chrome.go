package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// Report writes the events as a JSON object in Chrome's trace event format, which
// Perfetto (ui.perfetto.dev) and chrome://tracing open: a row for each thread, with
// calls, waits and faults as slices ("X"), signals, beginnings and ends as instants
// ("i"), and an arrow ("s", "f") from each fork or clone to the new thread.
func (e *Events) Report(w io.Writer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := chromeWriter{w: bufio.NewWriter(w), forks: make(map[int]bool)}
	fmt.Fprintf(out.w, `{"displayTimeUnit":"ns","otherData":{"lost":"%d"},"traceEvents":[`, e.lost)
	for _, tid := range slices.Sorted(maps.Keys(e.threads)) {
		t := e.threads[tid]
		name := map[string]any{"name": t.name}
		if tid == t.pid {
			out.event(chromeEvent{Phase: "M", Name: "process_name", PID: t.pid, TID: tid, Args: name})
		}
		out.event(chromeEvent{Phase: "M", Name: "thread_name", PID: t.pid, TID: tid, Args: name})
	}
	for i := range e.ring {
		if ev := &e.ring[i]; ev.forked() {
			out.forks[int(ev.ret)] = true
		}
	}
	for i := range e.ring {
		e.report(&out, &e.ring[(e.next+i)%len(e.ring)])
	}
	out.w.WriteString("\n]}\n")
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// chromeEvent is an event as the format has it. Times are in microseconds.
type chromeEvent struct {
	Phase    string         `json:"ph"`
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	PID      int            `json:"pid"`
	TID      int            `json:"tid"`
	Time     json.Number    `json:"ts,omitempty"`
	Duration json.Number    `json:"dur,omitempty"`
	Scope    string         `json:"s,omitempty"`
	ID       int            `json:"id,omitempty"`
	Args     map[string]any `json:"args,omitempty"`
}

type chromeWriter struct {
	w    *bufio.Writer
	some bool
	err  error
	// forks are the threads of which the call that made them is known.
	forks map[int]bool
}

func (c *chromeWriter) event(ev chromeEvent) {
	b, err := json.Marshal(ev)
	if err != nil {
		c.err = err
		return
	}
	if c.some {
		c.w.WriteByte(',')
	}
	c.some = true
	c.w.WriteByte('\n')
	c.w.Write(b)
}

// micros is a number of nanoseconds in microseconds.
func micros(ns int64) json.Number {
	return json.Number(fmt.Sprintf("%d.%03d", ns/1000, ns%1000))
}

// report writes one event.
func (e *Events) report(out *chromeWriter, ev *event) {
	c := chromeEvent{PID: int(ev.pid), TID: int(ev.tid), Time: micros(ev.begin)}
	slice := func(category, name string, args map[string]any) {
		c.Phase, c.Category, c.Name, c.Args, c.Duration = "X", category, name, args, micros(ev.duration)
		out.event(c)
	}
	instant := func(category, name string, args map[string]any) {
		c.Phase, c.Category, c.Name, c.Args, c.Scope = "i", category, name, args, "t"
		out.event(c)
	}
	switch ev.kind {
	case callEvent:
		_, name := e.names.lookup(uint64(ev.nr))
		slice("syscall", name, ev.callArgs())
		if ev.forked() {
			out.event(chromeEvent{Phase: "s", Category: "fork", Name: "fork", ID: int(ev.ret), PID: c.PID, TID: c.TID, Time: c.Time})
		}
	case waitEvent:
		name := "blocked"
		if procmgr.State(ev.nr) == procmgr.Stopped {
			name = "stopped"
		}
		slice("wait", name, nil)
	case faultEvent:
		args := map[string]any{
			"addr":   fmt.Sprintf("%#x", ev.args[0]),
			"access": [...]string{faultRead: "read", faultWrite: "write", faultExecute: "execute"}[ev.nr],
		}
		if ev.failed {
			args["result"] = "signal"
		}
		slice("fault", "page fault", args)
	case signalEvent:
		var l line
		l.signal(uint64(ev.nr))
		instant("signal", string(l.buf), map[string]any{"si_code": ev.ret})
	case startEvent:
		instant("life", "start", nil)
		if !out.forks[c.TID] {
			break
		}
		out.event(chromeEvent{Phase: "f", Category: "fork", Name: "fork", ID: c.TID, PID: c.PID, TID: c.TID, Time: c.Time})
	case endEvent:
		var l line
		l.ended(ev.nr)
		instant("life", string(l.buf), nil)
	}
}

// callArgs are the arguments and the result of a call.
func (ev *event) callArgs() map[string]any {
	text := ev.text
	if text == "" {
		text = fmt.Sprintf("%#x, %#x, %#x", ev.args[0], ev.args[1], ev.args[2])
	}
	result := fmt.Sprint(ev.ret)
	if ev.failed {
		result = errnoName(unix.Errno(ev.ret))
	}
	return map[string]any{"args": text, "result": result}
}

// forked reports whether the event is a call that returned the id of a new thread.
func (ev *event) forked() bool {
	if ev.kind != callEvent || ev.failed || ev.ret <= 0 {
		return false
	}
	switch ev.nr {
	case unix.SYS_CLONE, unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_CLONE3:
		return true
	}
	return false
}
