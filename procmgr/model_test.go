package procmgr

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The model of this test says what Linux would do, process by process, in the
// simplest terms: a tree of records, and sets that are computed anew for each
// question. Random actions run on the model and on a Table, which must agree after
// each of them.
//
// Each process has an actor, a goroutine that does what its thread would do. The
// test tells one actor at a time to go on, and waits until it is done, or stopped, or
// blocked, as the model says: an actor that does not get there is a lost wake-up.

// handled is the signal that all processes of the test catch.
const handled = unix.SIGUSR1

type modelState int

const (
	alive modelState = iota
	zombie
	gone
)

type modelProc struct {
	pid            int
	group, session int
	leads          bool // its session
	parent         *modelProc
	children       []*modelProc // in the order in which they became that
	state          modelState
	status         uint32
	subreaper      bool
	hadExec        bool
	ignores        bool // SIGCHLD
	deathSig       unix.Signal

	pending map[unix.Signal]bool
	dying   bool // status is set
	stopped bool
	news    struct{ stopped, continued bool }

	th      *Thread
	actor   *actor
	wait    *WaitOptions // it is in Wait
	working bool         // it is in NextWork, stopped
}

type actor struct {
	do    chan func()
	reply chan struct{}
	work  Work
	got   WaitResult
	err   error
}

func newActor() *actor {
	a := &actor{do: make(chan func()), reply: make(chan struct{}, 1)}
	go func() {
		for fn := range a.do {
			fn()
			a.reply <- struct{}{}
		}
	}()
	return a
}

type sim struct {
	*rapid.T
	tb      *Table
	max     int
	last    int
	init    *modelProc
	procs   []*modelProc // not gone, in the order of creation
	resumed []*modelProc // have to be waited for
}

func newSim(t *rapid.T, maxPID int) *sim {
	s := &sim{T: t, tb: NewTable(Config{MaxPID: maxPID}), max: maxPID, last: 1}
	p, err := s.tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.init = s.enter(&modelProc{pid: 1, group: 1, session: 1, leads: true}, p.Leader())
	return s
}

func (s *sim) enter(m *modelProc, th *Thread) *modelProc {
	m.th, m.actor, m.pending = th, newActor(), map[unix.Signal]bool{}
	th.SetRunner(nobody{})
	s.procs = append(s.procs, m)
	return m
}

type nobody struct{}

func (nobody) Interrupt() {}

// close ends the actors, whatever they are doing.
func (s *sim) close() {
	s.tb.KillAll()
	for _, m := range s.procs {
		close(m.actor.do)
	}
}

// must waits until m's actor has answered, or m is in the wanted state.
func (s *sim) must(m *modelProc, want State) (answered bool) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		select {
		case <-m.actor.reply:
			return true
		default:
		}
		if want != Dead && m.th.State() == want {
			return false
		}
		if time.Now().After(deadline) {
			s.Fatalf("process %d: lost wake-up: is %v", m.pid, m.th.State())
		}
		time.Sleep(time.Microsecond)
	}
}

// Ids.

// nextPID returns the id that a new process gets, 0 if there is none.
func (s *sim) nextPID() int {
	used := map[int]bool{}
	for _, m := range s.procs {
		used[m.pid], used[m.group], used[m.session] = true, true, true
	}
	for n := s.last + 1; n < s.max; n++ {
		if !used[n] {
			return n
		}
	}
	for n := min(firstReuse, s.max/2); n < s.max; n++ {
		if !used[n] {
			return n
		}
	}
	return 0
}

// Hierarchy.

func (s *sim) remove(m *modelProc) {
	s.procs = slices.DeleteFunc(s.procs, func(o *modelProc) bool { return o == m })
	if m.parent != nil {
		m.parent.children = slices.DeleteFunc(m.parent.children, func(o *modelProc) bool { return o == m })
	}
	m.state = gone
	close(m.actor.do)
	m.actor = nil
}

func (s *sim) orphaned(group int, without *modelProc) bool {
	for _, m := range s.procs {
		if m.group != group || m == without || m.state != alive || m.parent == nil || m.parent == s.init {
			continue
		}
		if q := m.parent; q.state == alive && q.group != group && q.session == m.session {
			return false
		}
	}
	return true
}

// hangUp is what happens to the group of m if it is orphaned from now on.
func (s *sim) hangUp(m, parent, without *modelProc) {
	if parent == nil || parent.group == m.group || parent.session != m.session || !s.orphaned(m.group, without) {
		return
	}
	members := s.inGroup(m.group)
	if slices.ContainsFunc(members, func(o *modelProc) bool { return o.stopped }) {
		for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGCONT} {
			for _, o := range members {
				s.send(o, sig)
			}
		}
	}
}

func (s *sim) inGroup(group int) (out []*modelProc) {
	for _, m := range s.procs {
		if m.group == group {
			out = append(out, m)
		}
	}
	return out
}

// exit is the end of m.
func (s *sim) exit(m *modelProc) {
	m.state, m.stopped, m.leads = zombie, false, false
	to := s.init
	for a := m.parent; a != nil; a = a.parent {
		if a.subreaper && a.state == alive {
			to = a
			break
		}
	}
	for _, c := range slices.Clone(m.children) {
		c.parent = to
		to.children = append(to.children, c)
		if c.deathSig != 0 {
			s.send(c, c.deathSig)
		}
		if c.state == zombie {
			s.tellEnd(c)
		}
		if c.state != gone {
			s.hangUp(c, m, nil)
		}
	}
	m.children = nil
	s.hangUp(m, m.parent, m)
	s.tellEnd(m)
}

func (s *sim) tellEnd(m *modelProc) {
	m.news.stopped, m.news.continued = false, false
	if m.parent.ignores {
		s.remove(m)
	}
}

// send is a signal that arrives.
func (s *sim) send(m *modelProc, sig unix.Signal) {
	if m.state != alive || m.dying {
		return
	}
	switch {
	case sig == unix.SIGCONT:
		delete(m.pending, unix.SIGSTOP)
		delete(m.pending, unix.SIGTSTP)
		if m.stopped {
			m.stopped = false
			m.news.stopped, m.news.continued = false, true
			s.resumed = append(s.resumed, m)
		}
	case m == s.init && sig != handled: // it gets none that it does not want
	case sig == unix.SIGKILL, (sig == unix.SIGTERM || sig == unix.SIGHUP) && !m.stopped:
		m.dying, m.status = true, uint32(sig)
		if m.stopped {
			m.stopped = false
			m.news.stopped, m.news.continued = false, false
			s.resumed = append(s.resumed, m)
		}
	default:
		m.pending[sig] = true
	}
}

// hasWork reports whether m has something to do before it runs on.
func (m *modelProc) hasWork() bool {
	return m.state == alive && (m.dying || m.stopped || len(m.pending) > 0)
}

// expect works out what NextWork does: what it returns, or that it stops.
func (s *sim) expect(m *modelProc) (kind WorkKind, stops bool) {
	for {
		if m.dying {
			return WorkExit, false
		}
		if m.stopped {
			return 0, true
		}
		if len(m.pending) == 0 {
			return WorkNone, false
		}
		sigs := make([]int, 0, len(m.pending))
		for sig := range m.pending {
			sigs = append(sigs, int(sig))
		}
		sort.Ints(sigs)
		sig := unix.Signal(sigs[0])
		delete(m.pending, sig)
		switch sig {
		case handled:
			return WorkDeliver, false
		case unix.SIGTERM, unix.SIGHUP:
			m.dying, m.status = true, uint32(sig)
		case unix.SIGTSTP, unix.SIGSTOP:
			if sig == unix.SIGSTOP || !s.orphaned(m.group, nil) {
				m.stopped = true
				m.news.stopped, m.news.continued = true, false
			}
		}
	}
}

// work lets m's thread do what is due.
func (s *sim) work(m *modelProc) {
	if m.wait != nil {
		return // settle deals with it
	}
	if s.advance(m) {
		s.finish(m)
	}
}

// advance lets m's thread run up to its end, which it reports, or until it has no
// more to do, or stops.
func (s *sim) advance(m *modelProc) (exits bool) {
	if !m.working {
		m.actor.do <- func() { m.actor.work = m.th.NextWork() }
	}
	for {
		kind, stops := s.expect(m)
		if stops {
			m.working = true
			if s.must(m, Stopped) {
				s.Fatalf("process %d does not stop: %+v", m.pid, m.actor.work)
			}
			return false
		}
		s.must(m, Dead)
		m.working = false
		if got := m.actor.work.Kind; got != kind {
			s.Fatalf("process %d: work %v, want %v", m.pid, got, kind)
		}
		if kind != WorkDeliver {
			return kind == WorkExit
		}
		if sig := unix.Signal(m.actor.work.Info.Signo); sig != handled {
			s.Fatalf("process %d takes signal %d", m.pid, sig)
		}
		m.actor.do <- func() { m.actor.work = m.th.NextWork() }
	}
}

func (s *sim) finish(m *modelProc) {
	status, last := m.th.FinishExit()
	if !last || status != m.status {
		s.Fatalf("process %d ended with %#x, want %#x", m.pid, status, m.status)
	}
	s.exit(m)
}

// Wait.

func (m *modelProc) eligible(o *WaitOptions) (out []*modelProc) {
	for _, c := range m.children {
		switch o.Kind {
		case WaitPID:
			if c.pid != o.ID {
				continue
			}
		case WaitPGID:
			if c.group != o.ID {
				continue
			}
		}
		if c.state == alive || o.Options&unix.WEXITED != 0 {
			out = append(out, c)
		}
	}
	return out
}

// collect returns what a wait collects, nil if nothing.
func (m *modelProc) collect(o *WaitOptions) (c *modelProc, want WaitResult) {
	for _, c := range m.eligible(o) {
		switch {
		case c.state == zombie:
			return c, WaitResult{PID: c.pid, WaitStatus: c.status}
		case c.news.stopped && o.Options&unix.WSTOPPED != 0:
			return c, WaitResult{PID: c.pid, Code: CLDStopped}
		case c.news.continued && o.Options&unix.WCONTINUED != 0:
			return c, WaitResult{PID: c.pid, Code: CLDContinued}
		}
	}
	return nil, WaitResult{}
}

// returned checks what m's Wait returned, and does the same.
func (s *sim) returned(m *modelProc, o *WaitOptions) {
	got, err := m.actor.got, m.actor.err
	c, want := m.collect(o)
	if c == nil {
		switch {
		case len(m.eligible(o)) == 0:
			if err != unix.ECHILD {
				s.Fatalf("process %d: wait %+v: %+v, %v, want ECHILD", m.pid, *o, got, err)
			}
		case o.Options&unix.WNOHANG != 0:
			if err != nil || got.PID != 0 {
				s.Fatalf("process %d: wait %+v: %+v, %v, want nothing", m.pid, *o, got, err)
			}
		case err != ErrInterrupted || !m.hasWork():
			s.Fatalf("process %d: wait %+v ended: %+v, %v", m.pid, *o, got, err)
		}
		return
	}
	if err != nil || got.PID != want.PID || want.Code != 0 && got.Code != want.Code ||
		want.Code == 0 && got.WaitStatus != want.WaitStatus {
		s.Fatalf("process %d: wait %+v: %+v, %v, want %+v", m.pid, *o, got, err, want)
	}
	switch {
	case o.Options&unix.WNOWAIT != 0:
	case want.Code == CLDStopped:
		c.news.stopped = false
	case want.Code == CLDContinued:
		c.news.continued = false
	default:
		s.remove(c)
	}
}

// settle waits for those who go on by themselves: stopped ones that were continued or
// killed, and waits that have something to return.
func (s *sim) settle() {
	s.settleWaits()
	for len(s.resumed) > 0 {
		// All of them run at the same time: none of them may end, and change what the
		// others find, before they are where they are going.
		var ended []*modelProc
		for _, m := range s.resumed {
			if m.working && s.advance(m) {
				ended = append(ended, m)
			}
		}
		s.resumed = nil
		for _, m := range ended {
			s.finish(m)
			s.settleWaits()
		}
	}
}

func (s *sim) settleWaits() {
	for _, m := range slices.Clone(s.procs) {
		if m.wait == nil {
			continue
		}
		c, _ := m.collect(m.wait)
		if c == nil && !m.hasWork() && len(m.eligible(m.wait)) > 0 {
			continue
		}
		s.must(m, Dead)
		o := m.wait
		m.wait = nil
		s.returned(m, o)
	}
}

// check compares everything.
func (s *sim) check() {
	s.settle()
	if n := s.tb.ProcessCount(); n != len(s.procs) {
		s.Fatalf("%d processes, want %d", n, len(s.procs))
	}
	for _, m := range s.procs {
		p := s.tb.GetProcess(m.pid)
		if p == nil || p != m.th.p {
			s.Fatalf("process %d cannot be found", m.pid)
		}
		parent := 0
		if m.parent != nil {
			parent = m.parent.pid
		}
		got := fmt.Sprint(p.ParentID(), p.GroupID(), p.SessionID(), p.ChildSubreaper() && m.state == alive)
		want := fmt.Sprint(parent, m.group, m.session, m.subreaper && m.state == alive)
		if got != want {
			s.Fatalf("process %d: parent, group, session, subreaper: %s, want %s", m.pid, got, want)
		}
		s.checkState(m)
	}
	s.checkIDs()
}

func (s *sim) checkState(m *modelProc) {
	want := Running
	switch {
	case m.state == zombie:
		want = Zombie
	case m.stopped:
		want = Stopped
	case m.wait != nil:
		want = Blocked
	}
	// A waiter may have been woken for what it does not wait for, and look.
	for deadline := time.Now().Add(10 * time.Second); m.th.p.State() != want; {
		if time.Now().After(deadline) {
			s.Fatalf("process %d is %v, want %v", m.pid, m.th.p.State(), want)
		}
		time.Sleep(time.Microsecond)
	}
}

// checkIDs looks for ids, groups and sessions that outlive their use.
func (s *sim) checkIDs() {
	want := map[int]bool{}
	for _, m := range s.procs {
		want[m.pid], want[m.group], want[m.session] = true, true, true
	}
	if s.tb.root.ids.used != len(want) {
		s.Fatalf("%d ids are in use, want %d", s.tb.root.ids.used, len(want))
	}
	s.tb.root.ids.each(func(n *id) {
		if !want[n.nr] {
			s.Fatalf("id %d is in use", n.nr)
		}
		if n.group != nil && len(s.inGroup(n.nr)) != n.group.size {
			s.Fatalf("group %d has %d members", n.nr, n.group.size)
		}
	})
}
