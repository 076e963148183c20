package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

// jobs is a shell that leads a session and two jobs of it, each a group of its own.
type jobs struct {
	tb              *Table
	term            Terminal
	shell, one, two *Process
}

func newJobs(t *testing.T) *jobs {
	t.Helper()
	j := &jobs{tb: NewTable(Config{})}
	init, err := j.tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	make := func(parent *Process) *Process {
		p, err := j.tb.CreateProcess(parent, "job", 0)
		if err != nil {
			t.Fatal(err)
		}
		// What is ignored by default is queued all the same while it is blocked, and
		// what is fatal does not end the process.
		p.Leader().SetSignalMask(SetOf(unix.SIGCONT, unix.SIGHUP))
		return p
	}
	j.shell = make(init)
	if _, err := j.tb.Setsid(j.shell); err != nil {
		t.Fatal(err)
	}
	if err := j.tb.SetTerminal(j.shell, &j.term, false); err != nil {
		t.Fatal(err)
	}
	j.one, j.two = make(j.shell), make(j.shell)
	for _, p := range []*Process{j.one, j.two} {
		if err := j.tb.Setpgid(p, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// end ends a process's only thread.
func end(p *Process) {
	th := p.Leader()
	th.Exit(0)
	th.NextWork()
	th.FinishExit()
}

func pending(p *Process) SigSet { return p.Leader().PendingSet() }

func wantPending(t *testing.T, what string, p *Process, want ...unix.Signal) {
	t.Helper()
	if got := pending(p); got != SetOf(want...) {
		t.Errorf("%s: pending %#x, want %#x", what, got, SetOf(want...))
	}
}

func TestForeground(t *testing.T) {
	j := newJobs(t)
	if got := j.tb.Foreground(&j.term); got != j.shell.ID() {
		t.Fatalf("foreground %d, want the shell %d", got, j.shell.ID())
	}
	for _, tt := range []struct {
		pgid int
		want error
	}{{-1, unix.EINVAL}, {29999, unix.ESRCH}, {1, unix.EPERM}, {j.one.ID(), nil}} {
		if err := j.tb.SetForeground(j.shell, &j.term, tt.pgid); err != tt.want {
			t.Errorf("SetForeground(%d): %v, want %v", tt.pgid, err, tt.want)
		}
	}
	if err := j.tb.SetForeground(j.shell, new(Terminal), j.one.ID()); err != unix.ENOTTY {
		t.Errorf("another terminal: %v, want ENOTTY", err)
	}
	j.tb.SignalForeground(&j.term, unix.SIGINT)
	wantPending(t, "foreground", j.one, unix.SIGINT)
	wantPending(t, "background", j.two)
	wantPending(t, "shell", j.shell)

	// The number stays when the group is gone, and is nobody else's.
	pid := j.one.ID()
	end(j.one)
	if _, err := j.shell.Leader().Wait(WaitOptions{Options: unix.WEXITED}); err != nil {
		t.Fatal(err)
	}
	if got := j.tb.Foreground(&j.term); got != pid {
		t.Errorf("foreground after the group ended: %d, want %d", got, pid)
	}
	if j.tb.root.ids.get(pid) == nil {
		t.Error("the number is free")
	}
	j.tb.SignalForeground(&j.term, unix.SIGINT)
	if err := j.tb.SetForeground(j.shell, &j.term, j.shell.ID()); err != nil {
		t.Fatal(err)
	}
	if j.tb.root.ids.get(pid) != nil {
		t.Error("the number is not free")
	}
}

func TestCheckTerminal(t *testing.T) {
	j := newJobs(t)
	th := j.one.Leader()
	check := func(sig unix.Signal) error { return j.tb.CheckTerminal(th, &j.term, sig) }
	if err := check(unix.SIGTTIN); err != ErrInterrupted {
		t.Errorf("background: %v, want ErrInterrupted", err)
	}
	wantPending(t, "reader", j.one, unix.SIGTTIN)
	wantPending(t, "other job", j.two)

	th.SetSignalMask(SetOf(unix.SIGTTOU))
	if err := check(unix.SIGTTOU); err != nil {
		t.Errorf("blocked SIGTTOU: %v", err)
	}
	th.SetSignalMask(SetOf(unix.SIGTTIN))
	if err := check(unix.SIGTTIN); err != unix.EIO {
		t.Errorf("blocked SIGTTIN: %v, want EIO", err)
	}
	th.SetSignalMask(0)
	if err := j.tb.CheckTerminal(th, new(Terminal), unix.SIGTTIN); err != nil {
		t.Errorf("a terminal that is not the controlling one: %v", err)
	}
	j.tb.SetForeground(j.shell, &j.term, j.one.ID())
	if err := check(unix.SIGTTIN); err != nil {
		t.Errorf("foreground: %v", err)
	}
	// Without its parent in the session, the other job is orphaned.
	j.tb.SetForeground(j.shell, &j.term, j.shell.ID())
	j.tb.disown(j.two)
	j.tb.adopt(j.two, j.tb.Init().Leader())
	if err := j.tb.CheckTerminal(j.two.Leader(), &j.term, unix.SIGTTOU); err != unix.EIO {
		t.Errorf("orphaned: %v, want EIO", err)
	}
}

func TestLoseTerminal(t *testing.T) {
	t.Run("hang-up", func(t *testing.T) {
		j := newJobs(t)
		j.tb.SetForeground(j.shell, &j.term, j.one.ID())
		j.tb.HangUp(&j.term)
		wantPending(t, "leader", j.shell, unix.SIGHUP, unix.SIGCONT)
		wantPending(t, "foreground", j.one)
		for _, p := range []*Process{j.shell, j.one, j.two} {
			if j.tb.TerminalOf(p) != nil {
				t.Errorf("process %d still has the terminal", p.ID())
			}
		}
		end(j.shell)
		wantPending(t, "foreground after the leader", j.one, unix.SIGHUP, unix.SIGCONT)
		wantPending(t, "background after the leader", j.two)
	})
	t.Run("leader ends", func(t *testing.T) {
		j := newJobs(t)
		j.tb.SetForeground(j.shell, &j.term, j.one.ID())
		end(j.shell)
		wantPending(t, "foreground", j.one, unix.SIGHUP)
		wantPending(t, "background", j.two)
		if j.tb.TerminalOf(j.two) != nil || j.tb.Foreground(&j.term) != 0 || j.tb.TerminalSession(&j.term) != 0 {
			t.Error("the terminal still has a session")
		}
	})
	t.Run("given up", func(t *testing.T) {
		j := newJobs(t)
		j.tb.SetForeground(j.shell, &j.term, j.one.ID())
		if err := j.tb.LeaveTerminal(j.two, &j.term); err != nil {
			t.Fatal(err)
		}
		if j.tb.TerminalOf(j.two) != nil || j.tb.TerminalOf(j.one) != &j.term {
			t.Error("one job gave it up, but not for itself alone")
		}
		if err := j.tb.LeaveTerminal(j.two, &j.term); err != unix.ENOTTY {
			t.Errorf("again: %v, want ENOTTY", err)
		}
		if err := j.tb.LeaveTerminal(j.shell, &j.term); err != nil {
			t.Fatal(err)
		}
		wantPending(t, "foreground", j.one, unix.SIGHUP, unix.SIGCONT)
		// The leader gets it back; what inherited it before does not.
		j.tb.OfferTerminal(j.shell, &j.term)
		if j.tb.TerminalOf(j.shell) != &j.term || j.tb.TerminalOf(j.one) != nil {
			t.Error("after the leader opened it again")
		}
	})
	t.Run("stolen", func(t *testing.T) {
		j := newJobs(t)
		if _, err := j.tb.Setsid(j.two); err != unix.EPERM {
			t.Errorf("setsid of a group leader: %v, want EPERM", err)
		}
		other, _ := j.tb.CreateProcess(j.shell, "other", 0)
		if _, err := j.tb.Setsid(other); err != nil {
			t.Fatal(err)
		}
		if j.tb.TerminalOf(other) != nil {
			t.Error("a new session has a terminal")
		}
		j.tb.OfferTerminal(other, &j.term)
		if err := j.tb.SetTerminal(other, &j.term, false); err != unix.EPERM {
			t.Errorf("another session's: %v, want EPERM", err)
		}
		if err := j.tb.SetTerminal(other, &j.term, true); err != nil {
			t.Fatal(err)
		}
		if j.tb.TerminalOf(j.shell) != nil || j.tb.TerminalSession(&j.term) != other.ID() {
			t.Error("not stolen")
		}
		if err := j.tb.SetTerminal(j.one, new(Terminal), false); err != unix.EPERM {
			t.Errorf("not a leader: %v, want EPERM", err)
		}
	})
}
