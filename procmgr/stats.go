package procmgr

import (
	"sync"
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

// CPUTime returns user and system time together.
func (r *Rusage) CPUTime() time.Duration { return r.UserTime + r.SystemTime }

// CPUMeter is a Runner that knows how much processor time its thread used so far:
// in guest code, and on its behalf. Neither figure shrinks. It is asked by any
// goroutine, does not block and does not call this package: locks are held.
type CPUMeter interface {
	CPUTimes() (user, system time.Duration)
}

// counters are a thread's, in nanoseconds and events.
type counters struct {
	voluntary, involuntary atomic.Uint64
	minor, major           atomic.Uint64
	in, out                atomic.Uint64

	// What a thread of ours does takes no more processor time than time, and none
	// while it waits: see metered.
	waited  atomic.Int64 // in all
	waiting atomic.Int64 // since when it waits, ns after born; 0: it does not

	mu                   sync.Mutex
	user, system         time.Duration // that was accounted for
	meter                CPUMeter      // and this comes on top; nil: nothing
	born                 time.Time     // when meter was set
	seenUser, seenSystem time.Duration // of meter, at the last look
	rawUser, rawSystem   time.Duration
}

// AccountUser adds time spent in guest code.
func (t *Thread) AccountUser(d time.Duration) {
	t.usage.mu.Lock()
	t.usage.user += d
	t.usage.mu.Unlock()
}

// AccountSystem adds time spent on behalf of the thread.
func (t *Thread) AccountSystem(d time.Duration) {
	t.usage.mu.Lock()
	t.usage.system += d
	t.usage.mu.Unlock()
}

// AccountFault counts a page fault.
func (t *Thread) AccountFault() { t.usage.minor.Add(1) }

// measure begins to ask the runner for times, if it knows.
func (u *counters) measure(r Runner) {
	if m, ok := r.(CPUMeter); ok {
		u.mu.Lock()
		u.meter, u.born = m, time.Now()
		u.mu.Unlock()
	}
}

// settle ends that, and keeps what the runner said last.
func (u *counters) settle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.meter != nil {
		u.look()
		u.user += u.seenUser
		u.system += u.seenSystem
		u.meter = nil
	}
}

// waits notes that the thread waits from begin on, or (the zero Time) not any more.
func (u *counters) waits(begin, end time.Time) {
	if !end.IsZero() {
		u.waiting.Store(0)
		u.waited.Add(int64(end.Sub(begin)))
		return
	}
	u.waiting.Store(max(1, int64(begin.Sub(u.born))))
}

// look asks the meter. A platform may keep two processors busy for one guest thread,
// for the sake of speed. That is not the guest's: more than the time that has passed
// is cut down to it, in the proportion of the two (cputime_adjust). u.mu is held.
func (u *counters) look() {
	user, system := u.meter.CPUTimes()
	lived := time.Since(u.born)
	if since := u.waiting.Load(); since != 0 {
		lived = time.Duration(since)
	}
	d, e := max(0, user-u.rawUser), max(0, system-u.rawSystem)
	u.rawUser, u.rawSystem = user, system
	room := lived - time.Duration(u.waited.Load()) - u.seenUser - u.seenSystem
	if sum := d + e; sum > room {
		room = max(0, room)
		d = time.Duration(float64(room) * float64(d) / float64(sum))
		e = room - d
	}
	u.seenUser += d
	u.seenSystem += e
}

// times returns user and system time.
func (u *counters) times() (user, system time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.meter == nil {
		return u.user, u.system
	}
	u.look()
	return u.user + u.seenUser, u.system + u.seenSystem
}

// Usage returns what the thread used so far.
func (t *Thread) Usage() Rusage {
	u := &t.usage
	user, system := u.times()
	return Rusage{
		UserTime:            user,
		SystemTime:          system,
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
	user, system := t.usage.times()
	return user + system
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

// Age returns how long ago the process was made.
func (p *Process) Age() time.Duration { return p.table.now() - p.startTime }

// PeakRSS returns the most that AccountRSS was told of.
func (p *Process) PeakRSS() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone.MaxRSS
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
	return u.CPUTime()
}
