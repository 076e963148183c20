package procmgr

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NumLimits is how many resource limits there are (RLIM_NLIMITS).
const NumLimits = 16

// Infinity is RLIM_INFINITY.
const Infinity = ^uint64(0)

// Limit is a resource limit (struct rlimit).
type Limit struct{ Cur, Max uint64 }

// LimitSet is the limits of a process, by RLIMIT_* number. Reading takes no lock.
type LimitSet struct {
	mu sync.Mutex // of who changes them
	// The limits themselves do not change, and children begin with the same.
	limits atomic.Pointer[[NumLimits]Limit]
}

// Get returns a limit. resource is valid.
func (l *LimitSet) Get(resource int) Limit { return l.limits.Load()[resource] }

// Soft returns the limit that is in force.
func (l *LimitSet) Soft(resource int) uint64 { return l.Get(resource).Cur }

// Raise moves a soft limit on by step, if it is still soft: Linux moves those on
// processor time by a second each time that a process reaches one.
func (l *LimitSet) Raise(resource int, soft, step uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.All()
	if c := &all[resource]; c.Cur == soft && soft < Infinity-step {
		c.Cur += step
		l.limits.Store(&all)
	}
}

// All returns all limits.
func (l *LimitSet) All() [NumLimits]Limit { return *l.limits.Load() }

// Set changes a limit, as the kernel does: EINVAL: no such resource, or the soft limit
// is above the hard one. EPERM: more files than any process may have.
func (l *LimitSet) Set(resource int, next Limit) error {
	if resource < 0 || resource >= NumLimits || next.Cur > next.Max {
		return unix.EINVAL
	}
	if resource == unix.RLIMIT_NOFILE && next.Max > maxNoFile {
		return unix.EPERM
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.All()
	all[resource] = next
	l.limits.Store(&all)
	return nil
}

// RLIMIT_SIGPENDING to RLIMIT_RTTIME, which package unix lacks.
const (
	rlimitSigPending = 11
	rlimitMsgQueue   = 12
	rlimitNice       = 13
	rlimitRTPrio     = 14

	// LimitRTTime is RLIMIT_RTTIME, in microseconds.
	LimitRTTime = 15
)

// DefaultLimits returns what Linux gives init on a machine of medium size.
func DefaultLimits() [NumLimits]Limit {
	all := Limit{Infinity, Infinity}
	var l [NumLimits]Limit
	for i := range l {
		l[i] = all
	}
	l[unix.RLIMIT_STACK] = Limit{8 << 20, Infinity}
	l[unix.RLIMIT_CORE] = Limit{0, Infinity}
	l[unix.RLIMIT_NPROC] = Limit{31000, 31000}
	l[unix.RLIMIT_NOFILE] = Limit{1024, 1 << 20}
	l[unix.RLIMIT_MEMLOCK] = Limit{8 << 20, 8 << 20}
	l[rlimitSigPending] = Limit{31000, 31000}
	l[rlimitMsgQueue] = Limit{819200, 819200}
	l[rlimitNice] = Limit{}
	l[rlimitRTPrio] = Limit{}
	return l
}

// maxNoFile is fs.nr_open.
const maxNoFile = 1 << 20

// Prlimit reads, and with next sets, a limit of a process (0: the caller's) and
// returns what it was (prlimit(2)). EINVAL: no such resource, or the soft limit is
// above the hard one. EPERM: the hard limit rises without CAP_SYS_RESOURCE, or the
// process is another user's. ESRCH.
func (tb *Table) Prlimit(t *Thread, pid, resource int, next *Limit) (Limit, error) {
	p := t.p
	creds := t.Credentials()
	if pid != 0 {
		th := t.Namespace().GetThread(pid)
		if th == nil {
			return Limit{}, unix.ESRCH
		}
		p = th.p
		c := th.Credentials()
		same := creds.RUID == c.EUID && creds.RUID == c.SUID && creds.RUID == c.RUID &&
			creds.RGID == c.EGID && creds.RGID == c.SGID && creds.RGID == c.RGID
		if p != t.p && !same && !creds.HasCapIn(c.UserNS, unix.CAP_SYS_RESOURCE) {
			return Limit{}, unix.EPERM
		}
	}
	if resource < 0 || resource >= NumLimits || next != nil && next.Cur > next.Max {
		return Limit{}, unix.EINVAL
	}
	if resource == unix.RLIMIT_NOFILE && next != nil && next.Max > maxNoFile {
		return Limit{}, unix.EPERM
	}
	l := &p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.All()
	old := all[resource]
	if next == nil {
		return old, nil
	}
	if next.Max > old.Max && !creds.HasCap(unix.CAP_SYS_RESOURCE) {
		return Limit{}, unix.EPERM
	}
	all[resource] = *next
	l.limits.Store(&all)
	return old, nil
}
