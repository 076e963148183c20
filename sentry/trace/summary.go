package trace

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Summary counts system calls, errors and the time in them, as strace -c -w does:
// time is what passed from entry to return, waiting included. It is a task.Tracer.
type Summary struct {
	// Filter says what is counted; nil for everything. It does not change once
	// threads are followed.
	Filter *Filter

	names *Strace // for looking up names
	calls [512]tally
}

// tally is what is known of one call.
type tally struct {
	calls, errors, nanos atomic.Int64
}

// NewSummary makes a summary. Calls that this package does not know have their
// names from calls.
func NewSummary(calls task.Table) *Summary {
	return &Summary{names: NewStrace(io.Discard, calls)}
}

// Thread implements task.Tracer.
func (s *Summary) Thread(*procmgr.Thread) task.ThreadTracer { return &summaryThread{s: s} }

type summaryThread struct {
	s     *Summary
	begin time.Time
}

// Enter implements task.ThreadTracer.
func (t *summaryThread) Enter(*task.Call) { t.begin = time.Now() }

// Exit implements task.ThreadTracer.
func (t *summaryThread) Exit(c *task.Call, _ uint64, err error) {
	if !t.s.Filter.wantsCall(c.NR) {
		return
	}
	// Numbers beyond the table are one.
	n := &t.s.calls[min(c.NR, uint64(len(t.s.calls)-1))]
	n.calls.Add(1)
	n.nanos.Add(int64(time.Since(t.begin)))
	if err != nil {
		n.errors.Add(1)
	}
}

// Signal implements procmgr.Follower.
func (*summaryThread) Signal(*procmgr.SigInfo) {}

// Waited implements procmgr.Follower.
func (*summaryThread) Waited(procmgr.State, time.Time) {}

// End implements task.ThreadTracer.
func (*summaryThread) End(uint32) {}

// Report prints the table, the calls that took longest first.
func (s *Summary) Report(w io.Writer) error {
	type row struct {
		name                 string
		calls, errors, nanos int64
	}
	var rows []row
	var total row
	for nr := range s.calls {
		n := &s.calls[nr]
		r := row{calls: n.calls.Load(), errors: n.errors.Load(), nanos: n.nanos.Load()}
		if r.calls == 0 {
			continue
		}
		_, r.name = s.names.lookup(uint64(nr))
		if nr == len(s.calls)-1 {
			r.name = "(unknown)"
		}
		rows = append(rows, r)
		total.calls += r.calls
		total.errors += r.errors
		total.nanos += r.nanos
	}
	slices.SortStableFunc(rows, func(a, b row) int { return int(min(1, max(-1, b.nanos-a.nanos))) })
	total.name = "total"

	var out bytes.Buffer
	print := func(r row) {
		percent, failed := 0.0, ""
		if total.nanos > 0 {
			percent = 100 * float64(r.nanos) / float64(total.nanos)
		}
		if r.errors > 0 {
			failed = fmt.Sprint(r.errors)
		}
		fmt.Fprintf(&out, "%6.2f %11.6f %11d %9d %9s %s\n",
			percent, float64(r.nanos)/1e9, r.nanos/1000/max(1, r.calls), r.calls, failed, r.name)
	}
	const rule = "------ ----------- ----------- --------- --------- ----------------\n"
	out.WriteString("% time     seconds  usecs/call     calls    errors syscall\n" + rule)
	for _, r := range rows {
		print(r)
	}
	out.WriteString(rule)
	print(total)
	_, err := w.Write(out.Bytes())
	return err
}
