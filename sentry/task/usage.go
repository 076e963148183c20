package task

import (
	"time"

	"runsc-lite/procmgr"
)

// The peak of a process's memory (ru_maxrss) is taken where it matters: when somebody
// asks, and when the process gives its memory up. How much is in memory is for the host
// to tell, page by page: a process that was there for a moment only is not charged the
// time for that, and has used at most what was ever mapped for it.

const (
	// shareOfLife is what part of a process's life counting may take.
	shareOfLife = 20
	// restOfCount is how many times as long as it took counting is not repeated.
	restOfCount = 10
)

// measureMemory counts t's memory as its process's.
func (t *Task) measureMemory() {
	begin := time.Now()
	if t.mem == nil || begin.Before(t.nextCount) {
		return
	}
	t.Process().AccountRSS(t.mem.Space.Resident())
	end := time.Now()
	t.nextCount = end.Add(restOfCount * end.Sub(begin))
}

// giveUpMemory counts memory that t is about to leave, as the last one.
func (t *Task) giveUpMemory(m *Memory) {
	n, _ := m.Space.ResidentWithin(t.Process().Age() / shareOfLife)
	t.Process().AccountRSS(n)
}

// Usage returns what t's process used so far, its memory's peak included.
func (t *Task) Usage() procmgr.Rusage {
	t.measureMemory()
	return t.Process().Usage()
}

// ThreadUsage is Usage of t alone; memory is the process's.
func (t *Task) ThreadUsage() procmgr.Rusage {
	t.measureMemory()
	u := t.th.Usage()
	u.MaxRSS = t.Process().PeakRSS()
	return u
}
