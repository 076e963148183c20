package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ringer is a timer that counts what happens to its signal.
type ringer struct {
	taken, dropped int
	void           bool
}

func (r *ringer) Taken(info *SigInfo) bool {
	r.taken++
	info.Overrun = 7
	return !r.void
}

func (r *ringer) Dropped() { r.dropped++ }

func ring(sig unix.Signal, value uint64) SigInfo {
	return SigInfo{Signo: int32(sig), Code: SITimer, Value: value}
}

func TestTimerSignals(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGALRM, firstRT + 3} {
		_, init := newTable(t)
		p := fork(t, init)
		p.SetSignalMask(SetOf(sig))
		kill(t, init, p.ID(), sig)
		timers := make([]ringer, 3)
		for i := range timers {
			if !p.p.SendTimer(ring(sig, uint64(i)), nil, &timers[i]) {
				t.Fatalf("signal %d of timer %d is ignored", sig, i)
			}
		}
		timers[1].void = true
		var got []uint64
		for {
			info, err := p.Sigtimedwait(SetOf(sig), time.Now())
			if err != nil {
				break
			}
			if info.Code != SITimer {
				continue
			}
			if info.Overrun != 7 {
				t.Errorf("overrun %d, want what the timer says", info.Overrun)
			}
			got = append(got, info.Value)
		}
		if len(got) != 2 || got[0] != 0 || got[1] != 2 {
			t.Errorf("signal %d: of the timers %v were delivered, want 0 and 2", sig, got)
		}
		for i := range timers {
			if timers[i].taken != 1 || timers[i].dropped != 0 {
				t.Errorf("timer %d: taken %d times, dropped %d", i, timers[i].taken, timers[i].dropped)
			}
		}
		if p.PendingSet() != 0 {
			t.Errorf("%#x is pending still", p.PendingSet())
		}
	}
}

// TestTimerSignalsThrownAway: the timer hears of it whatever the reason.
func TestTimerSignalsThrownAway(t *testing.T) {
	for name, end := range map[string]func(*Thread){
		"exec": func(p *Thread) { p.FlushTimers() },
		"SIG_IGN": func(p *Thread) {
			p.p.SetAction(unix.SIGUSR1, &SigAction{Handler: SigIgn})
			p.p.SetAction(firstRT, &SigAction{Handler: SigIgn})
		},
		"exit": func(p *Thread) {
			p.ExitGroup(0)
			p.NextWork()
			p.FinishExit()
		},
	} {
		_, init := newTable(t)
		p := fork(t, init)
		p.SetSignalMask(SetOf(unix.SIGUSR1, firstRT, unix.SIGUSR2))
		timers := make([]ringer, 4)
		p.p.SendTimer(ring(unix.SIGUSR1, 0), nil, &timers[0])
		p.p.SendTimer(ring(unix.SIGUSR1, 0), p, &timers[1])
		p.p.SendTimer(ring(firstRT, 0), nil, &timers[2])
		p.p.SendTimer(ring(firstRT, 0), p, &timers[3])
		kill(t, init, p.ID(), unix.SIGUSR2)
		end(p)
		for i := range timers {
			if timers[i].dropped != 1 || timers[i].taken != 0 {
				t.Errorf("%s: timer %d: dropped %d times, taken %d", name, i, timers[i].dropped, timers[i].taken)
			}
		}
		if name != "exit" && p.PendingSet() != SetOf(unix.SIGUSR2) {
			t.Errorf("%s: pending %#x, want what kill sent", name, p.PendingSet())
		}
	}
}

func TestTimerSignalsWithoutEffect(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	var r ringer
	p.p.SetAction(unix.SIGUSR1, &SigAction{Handler: SigIgn})
	if p.p.SendTimer(ring(unix.SIGUSR1, 0), nil, &r) {
		t.Error("an ignored signal was queued")
	}
	if p.p.SendTimer(ring(unix.SIGKILL, 0), nil, &r) || !p.Killed() {
		t.Error("SIGKILL of a timer")
	}
	p.NextWork()
	p.FinishExit()
	if p.p.SendTimer(ring(unix.SIGUSR2, 0), nil, &r) {
		t.Error("a signal for a zombie was queued")
	}
	if r != (ringer{}) {
		t.Errorf("taken %d times, dropped %d", r.taken, r.dropped)
	}
}

// TestTimerCharge: timers count as pending signals of their user.
func TestTimerCharge(t *testing.T) {
	tb, init := newTable(t)
	limits := DefaultLimits()
	limits[rlimitSigPending] = Limit{2, 2}
	init.p.limits.limits.Store(&limits)
	uid := init.Credentials().RUID
	a, err := init.ChargeTimer()
	if err != nil {
		t.Fatal(err)
	}
	b, err := init.ChargeTimer()
	if err != nil || tb.PendingSignals(uid) != 2 {
		t.Fatalf("%d charged, error %v", tb.PendingSignals(uid), err)
	}
	if _, err := init.ChargeTimer(); err != unix.EAGAIN {
		t.Errorf("one too many: %v", err)
	}
	a()
	b()
	if n := tb.PendingSignals(uid); n != 0 {
		t.Errorf("%d charged at the end", n)
	}
}

// TestOnAlarm: the interval timer hears of each SIGALRM of the process that is taken.
func TestOnAlarm(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	n := 0
	p.p.OnAlarm(func() { n++; p.p.Usage() }) // no lock is held
	p.SetSignalMask(SetOf(unix.SIGALRM, unix.SIGUSR1))
	for range 2 {
		kill(t, init, p.ID(), unix.SIGALRM)
		kill(t, init, p.ID(), unix.SIGUSR1)
		p.Sigtimedwait(SetOf(unix.SIGALRM), time.Now())
		p.Sigtimedwait(SetOf(unix.SIGUSR1), time.Now())
	}
	p.SendSignal(SigInfo{Signo: int32(unix.SIGALRM)}) // to the thread: not the timer's affair
	p.Sigtimedwait(SetOf(unix.SIGALRM), time.Now())
	if n != 2 {
		t.Errorf("called %d times, want 2", n)
	}
}
