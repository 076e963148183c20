package procmgr

import (
	"sync/atomic"
	"time"
)

// Rusage is what a thread or process used (getrusage(2)). MaxRSS is in bytes,
// InBlocks and OutBlocks in units of 512 bytes.
type Rusage struct {
	UserTime, SystemTime                   time.Duration
	MaxRSS                                 uint64
	MinorFaults, MajorFaults               uint64
	InBlocks, OutBlocks                    uint64
	VoluntarySwitches, InvoluntarySwitches uint64
}

// Add adds o's figures, but for MaxRSS, which is the larger one.
func (r *Rusage) Add(o *Rusage) {
	r.UserTime += o.UserTime
	r.SystemTime += o.SystemTime
	r.MaxRSS = max(r.MaxRSS, o.MaxRSS)
	r.MinorFaults += o.MinorFaults
	r.MajorFaults += o.MajorFaults
	r.InBlocks += o.InBlocks
	r.OutBlocks += o.OutBlocks
	r.VoluntarySwitches += o.VoluntarySwitches
	r.InvoluntarySwitches += o.InvoluntarySwitches
}

// counters are a thread's, in nanoseconds and events.
type counters struct {
	user, system, blocked  atomic.Int64
	voluntary, involuntary atomic.Uint64
	minor, major           atomic.Uint64
	in, out                atomic.Uint64
}

// AccountUser adds time spent in guest code.
func (t *Thread) AccountUser(d time.Duration) { t.usage.user.Add(int64(d)) }

// AccountSystem adds time spent on behalf of the thread, blocked or not: what it
// was blocked is known, and subtracted.
func (t *Thread) AccountSystem(d time.Duration) {
	if b := t.usage.blocked.Swap(0); b != 0 {
		d -= time.Duration(b)
	}
	if d > 0 {
		t.usage.system.Add(int64(d))
	}
}

// AccountFault counts a page fault.
func (t *Thread) AccountFault() { t.usage.minor.Add(1) }

// Usage returns what the thread used so far.
func (t *Thread) Usage() Rusage {
	u := &t.usage
	return Rusage{
		UserTime:            time.Duration(u.user.Load()),
		SystemTime:          time.Duration(u.system.Load()),
		MinorFaults:         u.minor.Load(),
		MajorFaults:         u.major.Load(),
		InBlocks:            u.in.Load(),
		OutBlocks:           u.out.Load(),
		VoluntarySwitches:   u.voluntary.Load(),
		InvoluntarySwitches: u.involuntary.Load(),
	}
}

// CPUTime returns user and system time together.
func (t *Thread) CPUTime() time.Duration {
	return time.Duration(t.usage.user.Load() + t.usage.system.Load())
}

// Usage returns what the process used so far, ended threads included.
func (p *Process) Usage() Rusage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usageLocked()
}

func (p *Process) usageLocked() Rusage {
	r := p.gone
	for _, t := range p.threads {
		u := t.Usage()
		r.Add(&u)
	}
	return r
}

// AccountRSS records how much memory the process holds, in bytes; the largest
// counts.
func (p *Process) AccountRSS(bytes uint64) {
	p.mu.Lock()
	p.gone.MaxRSS = max(p.gone.MaxRSS, bytes)
	p.mu.Unlock()
}

// ChildrenUsage returns what children used that were waited for, and theirs.
func (p *Process) ChildrenUsage() Rusage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.childUsage
}

// CPUTime returns user and system time of the process together.
func (p *Process) CPUTime() time.Duration {
	u := p.Usage()
	return u.UserTime + u.SystemTime
}
