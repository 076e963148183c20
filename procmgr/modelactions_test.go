package procmgr

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// some draws a process for which ok holds; rapid tries something else if there is
// none.
func (s *sim) some(what string, ok func(*modelProc) bool) *modelProc {
	if len(s.procs) == 0 {
		s.Skip("no processes")
	}
	first := rapid.IntRange(0, len(s.procs)-1).Draw(s.T, what)
	for i := range s.procs {
		if m := s.procs[(first+i)%len(s.procs)]; ok(m) {
			return m
		}
	}
	s.Skip("no process fits")
	return nil
}

// active reports whether the process can make a call.
func (m *modelProc) active() bool { return m.state == alive && m.wait == nil && !m.working }

func (s *sim) fork(m *modelProc) {
	th, err := s.tb.Fork(m.th, CloneOptions{ExitSignal: unix.SIGCHLD})
	pid := s.nextPID()
	switch {
	case m.hasWork():
		if err != ErrInterrupted {
			s.Fatalf("fork with work to do: %v", err)
		}
		return
	case pid == 0:
		if err != unix.EAGAIN {
			s.Fatalf("fork without ids: %v", err)
		}
		return
	case err != nil:
		s.Fatalf("process %d: fork: %v", m.pid, err)
	}
	s.last = pid
	if th.ID() != pid {
		s.Fatalf("the child has id %d, want %d", th.ID(), pid)
	}
	if rapid.IntRange(0, 15).Draw(s.T, "abort") == 0 {
		th.Abort()
		return
	}
	th.Start()
	c := s.enter(&modelProc{
		pid: pid, group: m.group, session: m.session, parent: m, ignores: m.ignores,
	}, th)
	m.children = append(m.children, c)
}

func (s *sim) setpgid(m *modelProc) {
	p := m
	if len(m.children) > 0 && rapid.Bool().Draw(s.T, "child") {
		p = m.children[rapid.IntRange(0, len(m.children)-1).Draw(s.T, "which")]
	}
	group := p.pid
	if rapid.Bool().Draw(s.T, "join") {
		group = s.some("group", func(*modelProc) bool { return true }).group
	}
	err := s.tb.Setpgid(m.th.p, p.pid, group)
	var want error
	members := s.inGroup(group)
	switch {
	case p != m && p.session != m.session:
		want = unix.EPERM
	case p != m && p.hadExec:
		want = unix.EACCES
	case p.leads && p.state == alive:
		want = unix.EPERM
	case group != p.pid && (len(members) == 0 || members[0].session != m.session):
		want = unix.EPERM
	}
	if err != want {
		s.Fatalf("process %d: setpgid(%d, %d): %v, want %v", m.pid, p.pid, group, err, want)
	}
	if err == nil {
		p.group = group
	}
}

func (s *sim) setsid(m *modelProc) {
	sid, err := s.tb.Setsid(m.th.p)
	if len(s.inGroup(m.pid)) > 0 || m.leads {
		if err != unix.EPERM {
			s.Fatalf("process %d: setsid: %v, want EPERM", m.pid, err)
		}
		return
	}
	if err != nil || sid != m.pid {
		s.Fatalf("process %d: setsid: %d, %v", m.pid, sid, err)
	}
	m.group, m.session, m.leads = m.pid, m.pid, true
}

var waitOptions = rapid.SampledFrom([]int{
	unix.WEXITED, unix.WEXITED | unix.WSTOPPED, unix.WEXITED | unix.WCONTINUED, unix.WSTOPPED,
	unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED, unix.WEXITED | unix.WNOWAIT, unix.WEXITED | unix.WALL,
})

func (s *sim) waitFor(m *modelProc, block bool) {
	o := &WaitOptions{Options: waitOptions.Draw(s.T, "options")}
	// A blocked wait for a group would have to hear of children that leave it, which
	// Linux's does not.
	kinds := []WaitKind{WaitAny, WaitPID, WaitPGID}
	if block {
		kinds = kinds[:2]
	} else {
		o.Options |= unix.WNOHANG
	}
	switch o.Kind = rapid.SampledFrom(kinds).Draw(s.T, "kind"); o.Kind {
	case WaitPID:
		o.ID = s.some("child", func(*modelProc) bool { return true }).pid
		if len(m.children) > 0 && rapid.IntRange(0, 3).Draw(s.T, "own") > 0 {
			o.ID = m.children[rapid.IntRange(0, len(m.children)-1).Draw(s.T, "which")].pid
		}
	case WaitPGID:
		o.ID = s.some("group", func(*modelProc) bool { return true }).group
	}
	m.actor.do <- func() { m.actor.got, m.actor.err = m.th.Wait(*o) }
	c, _ := m.collect(o)
	if c != nil || !block || len(m.eligible(o)) == 0 || m.hasWork() {
		s.must(m, Dead)
		s.returned(m, o)
		return
	}
	if s.must(m, Blocked) {
		s.Fatalf("process %d: wait %+v: %+v, %v, but should wait", m.pid, *o, m.actor.got, m.actor.err)
	}
	m.wait = o
}

var signals = rapid.SampledFrom([]unix.Signal{
	unix.SIGKILL, unix.SIGTERM, unix.SIGSTOP, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTSTP, unix.SIGCONT, unix.SIGCONT, handled,
})

// drain lets some of those work who have to.
func (s *sim) drain(all bool) {
	for round := 0; ; round++ {
		var due []*modelProc
		for _, m := range s.procs {
			if m.hasWork() && !m.stopped && m.wait == nil {
				due = append(due, m)
			}
		}
		if len(due) == 0 || !all && round > 0 {
			return
		}
		first := rapid.IntRange(0, len(due)-1).Draw(s.T, "first")
		for i := range due {
			if m := due[(first+i)%len(due)]; m.hasWork() && m.state == alive {
				s.work(m)
				s.settle()
				if !all {
					return
				}
			}
		}
	}
}

func (s *sim) actions() map[string]func(*rapid.T) {
	call := func(fn func(*modelProc)) func(*rapid.T) {
		return func(*rapid.T) { fn(s.some("caller", (*modelProc).active)) }
	}
	return map[string]func(*rapid.T){
		"":     func(*rapid.T) { s.check() },
		"fork": call(s.fork),
		"more": call(func(m *modelProc) {
			for range rapid.IntRange(2, 20).Draw(s.T, "how many") {
				if m.active() {
					s.fork(m)
				}
			}
		}),
		"exec": call(func(m *modelProc) {
			if m.dying {
				return
			}
			if err := m.th.BeginExec(); err != nil {
				s.Fatal(err)
			}
			m.th.CompleteExec(NewProgram{Name: "program"})
			m.hadExec = true
			m.th.p.SetAction(handled, &SigAction{Handler: 1 << 20})
		}),
		"exit": call(func(m *modelProc) {
			if m == s.init {
				return
			}
			code := rapid.IntRange(0, 255).Draw(s.T, "code")
			m.th.Exit(ExitStatus(code))
			if !m.dying {
				m.dying, m.status = true, ExitStatus(code)
			}
		}),
		"wait":    call(func(m *modelProc) { s.waitFor(m, false) }),
		"reap":    call(func(m *modelProc) { s.waitFor(m, true) }),
		"setpgid": call(s.setpgid),
		"setsid":  call(s.setsid),
		"subreaper": call(func(m *modelProc) {
			m.subreaper = !m.subreaper
			m.th.p.SetChildSubreaper(m.subreaper)
		}),
		"death signal": call(func(m *modelProc) {
			m.deathSig = rapid.SampledFrom([]unix.Signal{0, unix.SIGKILL, unix.SIGTERM, handled}).Draw(s.T, "signal")
			m.th.SetParentDeathSignal(m.deathSig)
		}),
		"ignore SIGCHLD": call(func(m *modelProc) {
			m.ignores = rapid.IntRange(0, 3).Draw(s.T, "on") == 0
			act := SigAction{}
			if m.ignores {
				act.Handler = SigIgn
			}
			m.th.p.SetAction(unix.SIGCHLD, &act)
		}),
		"kill": func(*rapid.T) {
			m := s.some("target", func(*modelProc) bool { return true })
			sig := signals.Draw(s.T, "signal")
			if err := s.tb.Kill(s.init.th, m.pid, sig); err != nil {
				s.Fatalf("kill(%d, %d): %v", m.pid, sig, err)
			}
			s.send(m, sig)
		},
		"kill group": func(*rapid.T) {
			m := s.some("target", func(m *modelProc) bool { return m.group != 1 })
			sig := signals.Draw(s.T, "signal")
			if err := s.tb.Kill(s.init.th, -m.group, sig); err != nil {
				s.Fatalf("kill(%d, %d): %v", -m.group, sig, err)
			}
			for _, o := range slices.Clone(s.inGroup(m.group)) {
				s.send(o, sig)
			}
		},
		"some work": func(*rapid.T) { s.drain(false) },
		"all work":  func(*rapid.T) { s.drain(true) },
	}
}

// TestModel runs random sequences of calls against the model: many with few
// processes and ids, which soon are used again, some with thousands.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxPID, first := 64, 0
		if rapid.IntRange(0, 24).Draw(t, "many") == 24 {
			maxPID, first = 5000, 2000
		}
		s := newSim(t, maxPID)
		defer s.close()
		s.init.th.p.SetAction(handled, &SigAction{Handler: 1 << 20})
		for range first {
			s.fork(s.some("parent", (*modelProc).active))
		}
		for range 3 {
			t.Repeat(s.actions())
		}
		s.settle()
		s.drain(true)
		s.check()
	})
}
