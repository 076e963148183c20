package procmgr

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuPoll is how often a process that may be at its limit is looked at, at most.
const cpuPoll = 2 * time.Millisecond

// watchCPU enforces RLIMIT_CPU, if there is such a limit: it looks again when the
// threads could have used what is left. Process.mu is held.
func (p *Process) watchCPU() {
	l := p.limits.Get(unix.RLIMIT_CPU)
	least := min(l.Cur, l.Max)
	if least == Infinity || len(p.threads) == 0 {
		if p.cpuTimer != nil {
			p.cpuTimer.Stop()
		}
		return
	}
	const most = uint64(1<<63-1) / uint64(time.Second)
	u := p.usageLocked()
	left := time.Duration(min(least, most))*time.Second - u.CPUTime()
	d := max(left/time.Duration(len(p.threads)), cpuPoll)
	if p.cpuTimer == nil {
		p.cpuTimer = time.AfterFunc(d, p.checkCPU)
	} else {
		p.cpuTimer.Reset(d)
	}
}

// checkCPU sends SIGKILL at the hard limit, and SIGXCPU at the soft one and each
// second from there on (check_process_timers).
func (p *Process) checkCPU() {
	used := uint64(p.CPUTime() / time.Second)
	l := p.limits.Get(unix.RLIMIT_CPU)
	switch {
	case used >= l.Max:
		p.SendSignal(SigInfo{Signo: int32(unix.SIGKILL), Code: SIKernel})
		return
	case used >= l.Cur:
		p.SendSignal(SigInfo{Signo: int32(unix.SIGXCPU), Code: SIKernel})
		p.limits.raiseSoft(unix.RLIMIT_CPU, l, used+1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchCPU()
}
