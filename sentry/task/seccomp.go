package task

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/seccomp"
)

// sysSeccomp is the si_code of a SIGSYS that a filter made (SYS_SECCOMP).
const sysSeccomp = 1

// seccompState is what a thread may call (struct seccomp). It does not change: a
// thread gets another one, under group.filters. nil stands for seccomp.ModeNone.
type seccompState struct {
	mode   int
	filter *seccomp.Filter // seccomp.ModeFilter
}

// Seccomp returns the mode that t is in, and how many filters it has. It is for any
// goroutine.
func (t *Task) Seccomp() (mode, filters int) {
	s := t.seccomp.Load()
	if s == nil {
		return seccomp.ModeNone, 0
	}
	return s.mode, s.filter.Count()
}

// SeccompFilter returns the program of t's filter number i, and whether it logs: see
// seccomp.Filter.At. EINVAL: t has no filters. It is for any goroutine.
func (t *Task) SeccompFilter(i uint64) (source []byte, logs bool, err error) {
	s := t.seccomp.Load()
	if s == nil || s.mode != seccomp.ModeFilter {
		return nil, false, unix.EINVAL
	}
	return s.filter.At(i)
}

// SetSeccompStrict leaves t with read, write, exit and rt_sigreturn
// (seccomp_set_mode_strict): EINVAL in another mode.
func (t *Task) SetSeccompStrict() error {
	t.group.filters.Lock()
	defer t.group.filters.Unlock()
	if s := t.seccomp.Load(); s != nil && s.mode != seccomp.ModeStrict {
		return unix.EINVAL
	}
	t.setSeccomp(&seccompState{mode: seccomp.ModeStrict})
	t.publish()
	return nil
}

// AddSeccompFilter puts a filter over t's calls (seccomp_set_mode_filter), with sync
// over those of all threads of its process. If one of them has other filters, it
// returns that thread's id, and nothing has changed. EINVAL in strict mode; ENOMEM:
// too many instructions.
func (t *Task) AddSeccompFilter(f *seccomp.Filter, sync bool) (differs int, err error) {
	t.group.filters.Lock()
	defer t.group.filters.Unlock()
	old := t.seccomp.Load()
	if old == nil {
		old = &seccompState{}
	} else if old.mode != seccomp.ModeFilter {
		return 0, unix.EINVAL
	}
	// New threads get theirs from their parent under the lock, too.
	var others []*Task
	if sync {
		for _, th := range t.Process().Threads() {
			if o := Of(th); o != nil && o != t && !th.Killed() {
				if s := o.seccomp.Load(); s != nil && (s.mode != seccomp.ModeFilter || !old.filter.Includes(s.filter)) {
					return th.IDIn(t.th.Namespace()), nil
				}
				others = append(others, o)
			}
		}
	}
	if f.Listener() != nil && old.filter.Listener() != nil {
		return 0, unix.EBUSY
	}
	if f, err = f.After(old.filter); err != nil {
		return 0, err
	}
	s := &seccompState{seccomp.ModeFilter, f}
	t.setSeccomp(s)
	t.publish()
	for _, o := range others {
		if t.th.Credentials().NoNewPrivs {
			o.th.SetNoNewPrivs()
		}
		o.setSeccomp(s)
		o.unpublished.Store(true)
		o.th.Interrupt()
	}
	return 0, nil
}

// setSeccomp puts t into a mode. All calls have to come to the sentry from now on,
// with the guest's own instruction pointer.
func (t *Task) setSeccomp(s *seccompState) {
	// A thread that ends at this moment counts for the new one, too, or for neither.
	if l := s.filter.Listener(); l != nil && l != t.listener() {
		l.Join()
	}
	t.seccomp.Store(s)
	t.mu.Lock()
	mem := t.mem
	t.mu.Unlock()
	if mem != nil {
		mem.Unpatch()
	}
}

// listener returns where t's filters ask user space, nil for nowhere.
func (t *Task) listener() *seccomp.Listener {
	if s := t.seccomp.Load(); s != nil {
		return s.filter.Listener()
	}
	return nil
}

// askListener asks user space about a call (seccomp_do_user_notification): it reports
// whether the call is to be made.
func (t *Task) askListener(l *seccomp.Listener, d *seccomp.Data, regs *platform.Registers) bool {
	if l == nil {
		regs.Rax = errnoValue(unix.ENOSYS)
		return false
	}
	ch := make(chan struct{}, 1)
	notifier := t.Notifier(ch)
	n, err := l.Ask(d, t, func() { notifier.NotifyEvent(waiter.EventIn) })
	if err != nil {
		regs.Rax = errnoValue(unix.ENOSYS)
		return false
	}
	for {
		a, done := n.Answered()
		switch {
		case done && a.Continue:
			return true
		case done && a.Error != 0:
			regs.Rax = uint64(int64(a.Error))
			return false
		case done:
			regs.Rax = uint64(a.Value)
			return false
		case n.Killable():
			err = t.th.BlockKillable(ch)
		default:
			err = t.Block(ch, noDeadline)
		}
		if err != nil && !n.Killable() && n.Withdraw() || err != nil && t.th.Killed() {
			n.Withdraw()
			t.restart = RestartSys
			regs.Rax = errnoValue(unix.EINTR)
			return false
		}
	}
}

// mayCall decides about the call that the registers describe
// (__secure_computing). If it is not to be made, RAX has been set, or t's end has
// begun.
func (t *Task) mayCall(s *seccompState, regs *platform.Registers) bool {
	if s.mode == seccomp.ModeStrict {
		switch t.sysno {
		case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT, unix.SYS_RT_SIGRETURN:
			return true
		}
		t.th.Exit(procmgr.SignalStatus(unix.SIGKILL))
		return false
	}
	if s.filter.Allows(t.sysno) {
		return true
	}
	traced := false
	for {
		d := seccomp.MakeData(uint32(t.sysno), regs.Rip, (*[6]uint64)(&t.args))
		action, data, listener := s.filter.Run(&d)
		switch action {
		case seccomp.Allow, seccomp.Log:
			return true
		case seccomp.Errno:
			regs.Rax = errnoValue(min(unix.Errno(data), 4095))
			return false
		case seccomp.Trap:
			regs.Rax = regs.Orig_rax // syscall_rollback
			t.th.ForceSignal(procmgr.SigInfo{
				Signo: int32(unix.SIGSYS), Errno: int32(data), Code: sysSeccomp,
				Addr: regs.Rip, Syscall: int32(t.sysno), Arch: seccomp.ArchX86_64,
			})
			return false
		case seccomp.Notify:
			return t.askListener(listener, &d, regs)
		case seccomp.Trace:
			// A call that its tracer has seen is not shown again (recheck_after_trace).
			if traced {
				return true
			}
			if !t.traceSeccomp(regs, data) {
				return false
			}
			traced = true
		case seccomp.KillThread:
			if t.Process().ThreadCount() > 1 {
				t.th.Exit(procmgr.SignalStatus(unix.SIGSYS))
				return false
			}
			fallthrough
		default:
			t.k.Log.Debug("a seccomp filter ends a process", "tid", t.th.ID(), "syscall", t.k.name(t.sysno))
			t.th.ExitGroup(procmgr.SignalStatus(unix.SIGSYS))
			return false
		}
	}
}
