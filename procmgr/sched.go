package procmgr

import (
	"golang.org/x/sys/unix"
)

// Scheduling policies (sched(7)).
const (
	SchedOther = 0
	SchedFIFO  = 1
	SchedRR    = 2
	SchedBatch = 3
	SchedIdle  = 5
)

// weights are what nice values from -20 to 19 weigh (sched_prio_to_weight): a step
// is a tenth of the processor more or less, next to somebody else.
var weights = [40]int64{
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
	9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
	1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
	110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
}

const (
	weightOf0  = 1024 // of nice value 0
	weightIdle = 3    // of SCHED_IDLE, whatever the nice value
)

// schedParam is a thread's policy.
type schedParam struct {
	policy      int
	priority    int  // 1 to 99 for SCHED_FIFO and SCHED_RR, 0 for the others
	resetOnFork bool // SCHED_RESET_ON_FORK
}

func (p schedParam) pack() uint32 {
	v := uint32(p.policy) | uint32(p.priority)<<8
	if p.resetOnFork {
		v |= 1 << 16
	}
	return v
}

func (t *Thread) schedParam() schedParam {
	v := t.policy.Load()
	return schedParam{int(v & 0xff), int(v >> 8 & 0xff), v>>16 != 0}
}

func (t *Thread) weight() int64 {
	if t.schedParam().policy == SchedIdle {
		return weightIdle
	}
	return weights[t.Nice()+20]
}

// Scheduler returns the scheduling policy, the real-time priority (0 for policies
// without) and whether children begin with SCHED_OTHER instead (sched(7)).
func (t *Thread) Scheduler() (policy, priority int, resetOnFork bool) {
	p := t.schedParam()
	return p.policy, p.priority, p.resetOnFork
}

// SetScheduler changes the policy of target (sched_setscheduler(2)): it acts where
// run slots are limited (Config.Slots). EINVAL: no such policy, or a priority that it
// does not have. EPERM: another user's thread, a real-time priority above RLIMIT_RTPRIO,
// SCHED_IDLE left behind without the right to a lower nice value, or
// SCHED_RESET_ON_FORK taken back, all without CAP_SYS_NICE. EPERM, too, for a real-time
// policy where nobody would heed it.
func (tb *Table) SetScheduler(caller, target *Thread, policy, priority int, resetOnFork bool) error {
	realtime := false
	switch policy {
	case SchedFIFO, SchedRR:
		realtime = true
		if priority < 1 || priority > 99 {
			return unix.EINVAL
		}
	case SchedOther, SchedBatch, SchedIdle:
		if priority != 0 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	next := schedParam{policy, priority, resetOnFork}
	if err := next.allowed(caller, target); err != nil {
		return err
	}
	if realtime && tb.sched == nil {
		return unix.EPERM
	}
	target.policy.Store(next.pack())
	if tb.sched != nil {
		tb.sched.changed(target)
	}
	return nil
}

// MaySchedule reports whether a thread may say where and how another runs
// (sched_setaffinity(2)): EPERM, if that is another user's.
func MaySchedule(caller, target *Thread) error {
	c, o := caller.Credentials(), target.Credentials()
	if c.EUID != o.EUID && c.EUID != o.RUID && !c.HasCapIn(o.UserNS, unix.CAP_SYS_NICE) {
		return unix.EPERM
	}
	return nil
}

// allowed is user_check_sched_setscheduler.
func (next schedParam) allowed(caller, target *Thread) error {
	if caller.Credentials().HasCap(unix.CAP_SYS_NICE) {
		return nil
	}
	old := target.schedParam()
	most := target.p.limits.Soft(rlimitRTPrio)
	switch {
	case next.priority > 0 && next.policy != old.policy && most == 0,
		next.priority > old.priority && uint64(next.priority) > most,
		old.policy == SchedIdle && next.policy != SchedIdle && !target.mayHaveNice(target.Nice()),
		MaySchedule(caller, target) != nil,
		old.resetOnFork && !next.resetOnFork:
		return unix.EPERM
	}
	return nil
}

// mayHaveNice reports whether RLIMIT_NICE allows a nice value.
func (t *Thread) mayHaveNice(nice int) bool { return uint64(20-nice) <= t.p.limits.Soft(rlimitNice) }

// inheritSched gives a new thread the policy and nice value of the one that forks it.
func (t *Thread) inheritSched(from *Thread) {
	p, nice := from.schedParam(), from.nice.Load()
	if p.resetOnFork {
		if p.priority > 0 {
			p.policy, p.priority, nice = SchedOther, 0, 0
		}
		nice = max(nice, 0)
		p.resetOnFork = false
	}
	t.policy.Store(p.pack())
	t.nice.Store(nice)
	t.turn.vruntime.Store(from.turn.vruntime.Load()) // forking is no way to more time
}

// Nice returns the thread's nice value, -20 to 19.
func (t *Thread) Nice() int { return int(t.nice.Load()) }

func (t *Thread) setNice(n int) { t.nice.Store(int32(max(-20, min(19, n)))) }

// Getpriority returns the lowest nice value among those that which and who mean
// (getpriority(2)): EINVAL, ESRCH.
func (tb *Table) Getpriority(t *Thread, which, who int) (int, error) {
	best, found := 19, false
	err := tb.prioTargets(t, which, who, func(o *Thread) {
		best, found = min(best, o.Nice()), true
	})
	if err == nil && !found {
		err = unix.ESRCH
	}
	return best, err
}

// Setpriority sets nice values (setpriority(2)): EINVAL, ESRCH, EPERM for
// another user's, EACCES for a lower one than RLIMIT_NICE allows.
func (tb *Table) Setpriority(t *Thread, which, who, nice int) error {
	nice = max(-20, min(19, nice))
	creds := t.Credentials()
	err := error(unix.ESRCH)
	fail := tb.prioTargets(t, which, who, func(o *Thread) {
		c := o.Credentials()
		privileged := creds.HasCap(unix.CAP_SYS_NICE)
		switch {
		case creds.EUID != c.EUID && creds.EUID != c.RUID && !creds.HasCapIn(c.UserNS, unix.CAP_SYS_NICE):
			err = unix.EPERM
		case nice < o.Nice() && !o.mayHaveNice(nice) && !privileged:
			err = unix.EACCES
		default:
			if err == unix.ESRCH {
				err = nil
			}
			o.setNice(nice)
		}
	})
	if fail != nil {
		return fail
	}
	return err
}

// prioTargets calls fn for the threads that getpriority's which and who mean.
func (tb *Table) prioTargets(t *Thread, which, who int, fn func(*Thread)) error {
	switch which {
	case unix.PRIO_PROCESS:
		o := t
		if who != 0 {
			o = t.Namespace().GetThread(who)
		}
		if o != nil {
			fn(o)
		}
	case unix.PRIO_PGRP:
		tb.mu.Lock()
		g := t.p.group
		if who != 0 {
			g = t.Namespace().group(who)
		}
		var all []*Process
		if g != nil {
			all = g.processes()
		}
		tb.mu.Unlock()
		for _, p := range all {
			for _, o := range p.Threads() {
				fn(o)
			}
		}
	case unix.PRIO_USER:
		uid := uint32(who)
		if who == 0 {
			uid = t.Credentials().RUID
		}
		t.Namespace().ForEach(func(p *Process) {
			for _, o := range p.Threads() {
				if o.Credentials().RUID == uid {
					fn(o)
				}
			}
		})
	default:
		return unix.EINVAL
	}
	return nil
}
