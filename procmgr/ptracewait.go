package procmgr

import (
	"golang.org/x/sys/unix"
)

// traces reports whether a wait of t's is for its tracee o (ptrace_do_wait). That it
// is a clone does not matter. Table.mu is held.
func (t *Thread) traces(o *Thread, q *query) bool {
	switch {
	case o.trace.tracer != t && (o.trace.tracer.p != t.p || q.has(unix.WNOTHREAD)),
		q.kind == WaitProcess && o.id.Load() != q.one,
		q.kind == WaitPGID && (o.p.group == nil || o.p.group.id != q.id):
		return false
	}
	return true
}

// hasTracee reports whether there is a tracee that the wait could ever return.
func (t *Thread) hasTracee(q *query) bool {
	for o := t.p.tracees.first; o != nil; o = o.trace.links.next {
		if t.traces(o, q) && (o.State() != Zombie || q.has(unix.WEXITED)) {
			return true
		}
	}
	return false
}

// takeTracee reports a stop or the end of a tracee that the wait is for.
func (t *Thread) takeTracee(q *query) (r WaitResult, ok bool) {
	for o := t.p.tracees.first; o != nil; o = o.trace.links.next {
		if !t.traces(o, q) {
			continue
		}
		tr := o.trace
		r = WaitResult{PID: o.IDIn(t.Namespace()), UID: o.Credentials().RUID}
		switch {
		case tr.stopped && !tr.listening && tr.stop.code != 0:
			r.Code, r.Status = CLDTrapped, int32(tr.stop.code)
			r.WaitStatus = tr.stop.code<<8 | 0x7f
			if !q.has(unix.WNOWAIT) {
				tr.stop.code = 0
			}
		case !q.has(unix.WEXITED) || !o.endedForTracer():
			continue
		default:
			r.WaitStatus = o.ExitStatus()
			if o == o.p.leader {
				r.WaitStatus = o.p.exitStatus
			}
			r.Code, r.Status = exitCode(r.WaitStatus)
		}
		r.Rusage = o.p.Usage()
		below := o.p.ChildrenUsage()
		r.Rusage.Add(&below)
		if r.Code != CLDTrapped && !q.has(unix.WNOWAIT) {
			t.p.table.letGo(o)
		}
		return r, true
	}
	return WaitResult{}, false
}

// endedForTracer reports whether o's tracer is to hear that it has ended, and not, as
// its parent, that its process has. Of a process the first thread comes last
// (delay_group_leader).
func (o *Thread) endedForTracer() bool {
	if o != o.p.leader {
		return o.State() == Zombie
	}
	return o.p.hidden() && len(o.p.corpses) == 0
}
