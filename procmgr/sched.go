package procmgr

import (
	"time"

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

// SetScheduler changes the policy of target (sched_setscheduler(2)). Where run slots
// are limited (Config.Slots) it acts to the letter; elsewhere the host schedules
// threads, which is told of nice values and SCHED_IDLE (Nicer), but of no real-time
// policy: what a guest asks for is no reason to put it before others of the host.
//
// EINVAL: no such policy, or a priority that it does not have. EPERM: another user's
// thread, a real-time priority above RLIMIT_RTPRIO, SCHED_IDLE left behind without the
// right to a lower nice value, or SCHED_RESET_ON_FORK taken back, all without
// CAP_SYS_NICE.
func (tb *Table) SetScheduler(caller, target *Thread, policy, priority int, resetOnFork bool) error {
	return tb.SetSchedAttr(caller, target, SchedAttr{
		Policy: policy, Priority: priority, Nice: target.Nice(), ResetOnFork: resetOnFork,
	})
}

// SchedAttr is what sched_setattr(2) sets.
type SchedAttr struct {
	Policy      int
	Priority    int // 1 to 99 for SCHED_FIFO and SCHED_RR, 0 for the others
	Nice        int // for SCHED_OTHER and SCHED_BATCH
	ResetOnFork bool
	// Keep leaves all but ResetOnFork as it is, once it was found to be allowed
	// (SCHED_FLAG_KEEP_PARAMS).
	Keep bool
}

// SetSchedAttr is SetScheduler, with a nice value for policies that have one.
func (tb *Table) SetSchedAttr(caller, target *Thread, a SchedAttr) error {
	if a.Policy < SchedOther || a.Policy > SchedIdle || a.Policy == SchedBatch+1 || a.Priority < 0 || a.Priority > 99 ||
		realtime(a.Policy) != (a.Priority != 0) {
		return unix.EINVAL
	}
	nice := max(-20, min(19, a.Nice))
	next := schedParam{a.Policy, a.Priority, a.ResetOnFork}
	if err := next.allowed(caller, target, nice); err != nil {
		return err
	}
	if a.Keep {
		next = target.schedParam()
		next.resetOnFork, nice = a.ResetOnFork, target.Nice()
	}
	target.restartRealtime()
	target.policy.Store(next.pack())
	if a.Policy == SchedOther || a.Policy == SchedBatch {
		target.nice.Store(int32(nice))
	}
	if tb.sched != nil {
		tb.sched.changed(target)
	}
	target.tellNice()
	return nil
}

func realtime(policy int) bool { return policy == SchedFIFO || policy == SchedRR }

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
func (next schedParam) allowed(caller, target *Thread, nice int) error {
	if caller.Credentials().HasCap(unix.CAP_SYS_NICE) {
		return nil
	}
	old := target.schedParam()
	most := target.p.limits.Soft(rlimitRTPrio)
	fair := next.policy == SchedOther || next.policy == SchedBatch
	switch {
	case fair && nice < target.Nice() && !target.mayHaveNice(nice),
		next.priority > 0 && next.policy != old.policy && most == 0,
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
	t.ioprio.inherit(&from.ioprio)
	t.turn.vruntime.Store(from.turn.vruntime.Load()) // forking is no way to more time
}

// Nice returns the thread's nice value, -20 to 19.
func (t *Thread) Nice() int { return int(t.nice.Load()) }

func (t *Thread) setNice(n int) {
	t.nice.Store(int32(max(-20, min(19, n))))
	t.tellNice()
}

// Nicer is a Runner whose thread the host schedules. SetNice makes it n steps, 0 to 19,
// more yielding than others of its kind. It does not block, nor call this package.
type Nicer interface{ SetNice(n int) }

// tellNice tells the Runner how the thread stands to others. What a guest asks for is
// no reason to put it before others of the host: who has a nice value below 0, or a
// real-time policy, is as good as one of 0.
func (t *Thread) tellNice() {
	r := t.runner.Load()
	if r == nil {
		return
	}
	n, ok := (*r).(Nicer)
	if !ok {
		return
	}
	switch policy := t.schedParam().policy; {
	case policy == SchedIdle:
		n.SetNice(19)
	case realtime(policy):
		n.SetNice(0)
	default:
		n.SetNice(max(t.Nice(), 0))
	}
}

// RealtimeUsed returns the processor time that a thread with a real-time policy has used
// since it waited last, which RLIMIT_RTTIME bounds; false for other policies.
func (t *Thread) RealtimeUsed() (time.Duration, bool) {
	if !realtime(t.schedParam().policy) {
		return 0, false
	}
	return max(0, t.CPUTime()-time.Duration(t.realtimeFrom.Load())), true
}

// restartRealtime begins that anew.
func (t *Thread) restartRealtime() { t.realtimeFrom.Store(int64(t.CPUTime())) }

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
		uid := t.Credentials().RUID
		if who != 0 {
			if uid = t.Credentials().UserNS.HostUID(uint32(who)); uid == NoID {
				return unix.ESRCH
			}
		}
		tb.ofUser(t, uid, fn)
	default:
		return unix.EINVAL
	}
	return nil
}

// ofUser calls fn for the threads of a user that t sees.
func (tb *Table) ofUser(t *Thread, uid uint32, fn func(*Thread)) {
	t.Namespace().ForEach(func(p *Process) {
		for _, o := range p.Threads() {
			if o.Credentials().RUID == uid {
				fn(o)
			}
		}
	})
}
