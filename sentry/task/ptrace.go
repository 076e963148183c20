package task

import (
	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/seccomp"
)

// What ptrace(2) is to a traced thread. In a stop its tracer sees its registers as
// Linux shows them: the number of the call that it is in, or -1, in orig_rax, and in
// rax -ENOSYS before the call, or what asks for a restart when it was interrupted.
// What they are when the stop ends decides, as on Linux.

// restartCodes are Linux's ERESTART* numbers.
var restartCodes = [...]uint64{RestartSys: 512, RestartNoIntr: 513, RestartNoHand: 514, RestartBlock: 516}

// BeginStop implements procmgr.TraceWatcher.
func (t *Task) BeginStop() {
	if t.ctx == nil {
		return
	}
	t.rewatch()
	regs := t.ctx.Registers()
	if t.restart > NotRestarted {
		regs.Rax = -restartCodes[t.restart]
	}
	regs.Rip = t.mem.unpatched(regs.Rip)
}

// EndStop implements procmgr.TraceWatcher.
func (t *Task) EndStop() {
	if t.ctx == nil {
		return
	}
	t.rewatch()
	regs := t.ctx.Registers()
	t.restart = noRestart
	if int64(regs.Orig_rax) >= 0 {
		for how, code := range restartCodes {
			if code != 0 && regs.Rax == -code {
				t.restart, t.sysno = Restart(how), regs.Orig_rax
			}
		}
	}
}

// rewatch brings up to date what depends on how t is traced.
func (t *Task) rewatch() {
	mode := t.th.TraceMode()
	if step := mode&procmgr.TracedStep != 0; step != t.stepping {
		t.stepping = step
		t.ctx.SetSingleStep(step)
	}
	if watched := mode != 0; watched != t.watched {
		t.watched = watched
		t.publish()
	}
}

// ShowCalls makes all calls come to the sentry as the program makes them, for a tracer
// of t. It is for any goroutine.
func (t *Task) ShowCalls() {
	t.mu.Lock()
	mem := t.mem
	t.mu.Unlock()
	if mem != nil {
		mem.Unpatch()
	}
}

// tracedCall is syscall for a thread that is traced.
func (t *Task) tracedCall(regs *platform.Registers) {
	mode := t.th.TraceMode()
	t.restart = noRestart
	regs.Rax = errnoValue(unix.ENOSYS)
	regs.Rip = t.mem.unpatched(regs.Rip)
	skip := false
	if mode&(procmgr.TracedCalls|procmgr.TracedEmulated) != 0 {
		t.th.TraceCall(false)
		if t.th.Killed() {
			return
		}
		skip = mode&procmgr.TracedEmulated != 0
	}
	if !skip {
		t.reload(regs)
		if s := t.seccomp.Load(); (s == nil || t.mayCall(s, regs)) && int32(t.sysno) != -1 {
			t.restart = noRestart
			t.serve(regs, &t.args)
		}
	}
	if t.th.Killed() {
		return
	}
	if t.restart > NotRestarted {
		regs.Rax = -restartCodes[t.restart]
	}
	switch mode := t.th.TraceMode(); {
	case skip:
	case mode&procmgr.TracedCalls != 0:
		t.th.TraceCall(true)
	case mode&procmgr.TracedStep != 0:
		t.fault = faultInfo{trapno: trapDebug}
		t.th.ForceSignal(procmgr.SigInfo{Signo: int32(unix.SIGTRAP), Code: trapBrkpt, Addr: regs.Rip})
	}
	if t.restart != noRestart && !t.th.Pending() {
		t.settleRestart(nil)
	}
}

// reload takes the call from the registers, which a tracer may have changed.
func (t *Task) reload(regs *platform.Registers) {
	t.sysno = regs.Orig_rax
	t.args = Args{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
}

// traceSeccomp lets a tracer look at a call because a filter says so. It reports
// whether the call is to be made.
func (t *Task) traceSeccomp(regs *platform.Registers, data uint16) bool {
	regs.Rax = errnoValue(unix.ENOSYS)
	if !t.th.TraceSeccomp(data) || t.th.Killed() {
		return false // there is no tracer that wants to know
	}
	t.reload(regs)
	return int32(t.sysno) >= 0
}

// steppedIntoHandler stops t at the first instruction of a signal handler
// (signal_setup_done).
func (t *Task) steppedIntoHandler() {
	if t.stepping {
		t.th.TraceNotify()
	}
}

// Registers are a thread's, as struct user_regs_struct has them.
type Registers = platform.Registers

// Regs returns the registers of a thread that is in a stop, as a tracer sees them.
func (t *Task) Regs() Registers {
	r := *t.ctx.Registers()
	r.Cs, r.Ss, r.Ds, r.Es, r.Fs, r.Gs = userCS, userSS, 0, 0, 0, 0
	return r
}

// SetRegs changes them. They have been checked.
func (t *Task) SetRegs(r *Registers) { *t.ctx.Registers() = *r }

const (
	fpFeatures = fpLegacySize // where an XSAVE area says which components it has
	fpBoth     = 3            // x87 and SSE
)

// FPState returns t's floating-point state, by t's own goroutine: all of it, or what
// FXSAVE stores.
func (t *Task) FPState(all bool) ([]byte, error) {
	fp, err := t.ctx.FPState()
	if err != nil {
		return nil, unix.EIO
	}
	fp = append([]byte(nil), fp...)
	if !all {
		fp = fp[:fpLegacySize]
		clear(fp[fpSwReserved:])
	}
	return fp, nil
}

// SetFPState replaces it: EFAULT for a wrong size, EINVAL for what the processor would
// not take.
func (t *Task) SetFPState(b []byte, all bool) error {
	fp, err := t.ctx.FPState()
	if err != nil {
		return unix.EIO
	}
	next := append([]byte(nil), fp...)
	if all {
		if len(b) != len(next) {
			return unix.EFAULT
		}
		copy(next[:fpSwReserved], b)
		copy(next[fpLegacySize:], b[fpLegacySize:])
	} else {
		copy(next[:fpSwReserved], b)
		if len(next) > fpFeatures {
			next[fpFeatures] |= fpBoth
		}
	}
	if err := t.ctx.SetFPState(next); err != nil {
		return unix.EINVAL
	}
	return nil
}

// CallOf describes the call that a stopped thread is in, for PTRACE_GET_SYSCALL_INFO.
func (t *Task) CallOf() (nr uint64, args Args) {
	r := t.ctx.Registers()
	return r.Orig_rax, Args{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
}

// Arch is what audit calls the guest's architecture.
const Arch = seccomp.ArchX86_64
