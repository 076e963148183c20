package procmgr

import (
	"math"
	"sync"
	"time"
)

// loadAverage is how many processors were busy on average in the last 1, 5 and 15
// minutes. It is brought up to date when somebody asks, from the processor time that
// was used meanwhile; Linux, which looks every five seconds, also counts the threads
// that waited for a processor.
type loadAverage struct {
	mu   sync.Mutex
	at   time.Duration // on the table's clock; 0: not known yet
	used time.Duration // processor time of all threads
	avg  [3]float64
}

func (l *loadAverage) update(now, used time.Duration) [3]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := now - l.at
	if passed <= 0 {
		return l.avg
	}
	busy := float64(used-l.used) / float64(passed)
	for i, window := range [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
		keep := math.Exp(-float64(passed) / float64(window))
		l.avg[i] = l.avg[i]*keep + busy*(1-keep)
	}
	l.at, l.used = now, used
	return l.avg
}

// LoadAverage returns how many processors were busy on average in the last 1, 5 and 15
// minutes (/proc/loadavg, sysinfo(2)), counted from the first process's beginning.
func (tb *Table) LoadAverage() [3]float64 {
	u := tb.Usage()
	tb.load.mu.Lock()
	if tb.load.at == 0 {
		if init := tb.Init(); init != nil {
			tb.load.at = init.startTime
		}
	}
	tb.load.mu.Unlock()
	return tb.load.update(tb.now(), u.CPUTime())
}
