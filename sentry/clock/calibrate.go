package clock

import (
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

const (
	// Clocks is how many clock numbers there are.
	Clocks = 12
	// MultShift is how many of Line.Mult's bits are a fraction.
	MultShift = 48
	// CoarseTick is the resolution of the coarse clocks, in nanoseconds.
	CoarseTick = 4_000_000
)

// Params tell the time from the time stamp counter alone, until the next ones.
type Params struct {
	TSC   uint64 // from when on they hold
	Lines [Clocks]Line
}

// Line is one clock: its time is NS + ((tsc - Params.TSC) * Mult >> MultShift),
// rounded down to a multiple of Tick if that is not zero.
type Line struct {
	Valid bool
	Tick  uint32
	NS    int64
	Mult  uint64
}

// reading is a host clock's time, and the counter just before and just after it
// was asked for.
type reading struct {
	before, after uint64
	ns            int64
}

const (
	// readTries is how often a clock is read to find a tight reading.
	readTries = 5
	// maxWidth is how far apart before and after may be, in ns. Further, the
	// thread was interrupted.
	maxWidth = 5_000
	// stepLimit is how much a clock's distance from CLOCK_MONOTONIC may seem to
	// change before it is a step and not noise, in ns.
	stepLimit = 2_000
	// maxBad is how often in a row samples may be useless.
	maxBad = 20
	// wild is a deviation, in ns plus a thousandth of the time passed, that
	// only a counter has that is none.
	wild = 1_000_000
)

// rateLine is a clock that runs at a rate of its own.
type rateLine struct {
	id        int32
	last      reading
	rate      float64 // ns per tick; 0: not known yet
	published Line    // since Params.TSC
}

// offsetLine is a clock that runs as CLOCK_MONOTONIC does, at a distance.
type offsetLine struct {
	id     int32
	offset int64
	known  bool
}

// Calibrator finds Params for the host's clocks.
//
// A reading pairs the time with the counter before the call that told it. So
// what is published is ahead of the host's clock by the length of a system call,
// and a program that was woken at a time does not see an earlier one. Where it
// is ahead by more, it runs slower until the next sample; where it is behind, it
// is set at once. It never goes back, unless the host's CLOCK_REALTIME is set.
//
// It is for one goroutine at a time.
type Calibrator struct {
	mono, raw rateLine
	offsets   [3]offsetLine
	tsc       uint64 // of the last Commit; 0: none
	bad       int
}

// NewCalibrator returns a Calibrator for c, or nil if c's time cannot be told
// from the counter.
func NewCalibrator(c Clock) *Calibrator {
	if _, ok := c.(*Host); !ok || !invariantTSC() || !byCounter(hostcall.ClockSource()) {
		return nil
	}
	return &Calibrator{
		mono: rateLine{id: unix.CLOCK_MONOTONIC},
		raw:  rateLine{id: unix.CLOCK_MONOTONIC_RAW},
		offsets: [3]offsetLine{
			{id: unix.CLOCK_REALTIME}, {id: unix.CLOCK_BOOTTIME}, {id: unix.CLOCK_TAI},
		},
	}
}

// byCounter reports whether a clock source of the host's kernel goes by the
// counter. Where it could and does not, the kernel found the counter unstable.
func byCounter(source string) bool {
	switch source {
	case "", "tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen":
		return true
	}
	return false
}

// Sample reads the host's clocks. It reports whether Commit may follow: it takes
// two samples, some time apart. usable tells whether there is any hope.
func (c *Calibrator) Sample() (ready, usable bool) {
	var mono, raw reading
	var others [len(c.offsets)]reading
	ok := c.mono.read(&mono) && c.raw.read(&raw)
	for i := range others {
		ok = ok && read(c.offsets[i].id, c.mono.width(), &others[i])
	}
	if ok {
		ok = c.mono.add(mono) && c.raw.add(raw)
	}
	if !ok {
		c.bad++
		return false, c.bad < maxBad
	}
	c.bad = 0
	if c.mono.rate == 0 {
		return false, true
	}
	for i := range c.offsets {
		o := &c.offsets[i]
		at := c.mono.at(others[i].before)
		d := others[i].ns - at
		if diff := d - o.offset; !o.known || diff > stepLimit || diff < -stepLimit {
			o.offset, o.known = d, true
		}
	}
	return true, true
}

// Commit sets p to what holds from now on. next is when the following one is
// due. Nobody may tell the time by the old Params once Commit has begun.
func (c *Calibrator) Commit(p *Params, next time.Duration) {
	now := rdtsc()
	c.mono.publish(c.tsc, now, next)
	c.raw.publish(c.tsc, now, next)
	c.tsc = now
	p.TSC = now
	p.Lines = [Clocks]Line{}
	mono := c.mono.published
	p.Lines[unix.CLOCK_MONOTONIC] = mono
	p.Lines[unix.CLOCK_MONOTONIC_RAW] = c.raw.published
	for i := range c.offsets {
		l := mono
		l.NS += c.offsets[i].offset
		p.Lines[c.offsets[i].id] = l
	}
	p.Lines[unix.CLOCK_MONOTONIC_COARSE] = mono.coarse()
	p.Lines[unix.CLOCK_REALTIME_COARSE] = p.Lines[unix.CLOCK_REALTIME].coarse()
}

func (l Line) coarse() Line {
	l.Tick = CoarseTick
	return l
}

// Now returns the time that clock id shows now, in nanoseconds: false if it is
// not told from the counter.
func (p *Params) Now(id int32) (int64, bool) {
	if id < 0 || id >= Clocks || !p.Lines[id].Valid {
		return 0, false
	}
	l := &p.Lines[id]
	ns := l.At(p.TSC, rdtsc())
	if l.Tick != 0 {
		ns -= ns % int64(l.Tick)
	}
	return ns, true
}

// At returns the time that l shows, without the rounding.
func (l *Line) At(since, tsc uint64) int64 {
	if tsc < since {
		return l.NS
	}
	hi, lo := bits.Mul64(tsc-since, l.Mult)
	return l.NS + int64(hi<<(64-MultShift)|lo>>MultShift)
}

// width returns how long a reading may take, in ticks.
func (l *rateLine) width() uint64 {
	if l.rate == 0 {
		return 0
	}
	return uint64(maxWidth / l.rate)
}

func (l *rateLine) read(r *reading) bool { return read(l.id, l.width(), r) }

// read takes the tightest of some readings. width is the limit, 0 for none.
func read(id int32, width uint64, best *reading) bool {
	for i := range readTries {
		before := rdtsc()
		ns, err := hostcall.ClockGettime(id)
		after := rdtsc()
		if err != nil || after < before {
			return false
		}
		if i == 0 || after-before < best.after-best.before {
			*best = reading{before, after, ns}
		}
	}
	return width == 0 || best.after-best.before <= width
}

// add takes a reading in: false if no sense can be made of it.
func (l *rateLine) add(r reading) bool {
	old := l.last
	l.last = r
	if old.before == 0 {
		return true
	}
	ticks, ns := r.before-old.before, r.ns-old.ns
	if r.before <= old.before || ns <= 0 {
		return false
	}
	rate := float64(ns) / float64(ticks)
	if l.rate != 0 {
		if d := float64(ns) - float64(ticks)*l.rate; d > wild+float64(ns)/1000 || -d > wild+float64(ns)/1000 {
			l.rate = rate
			return false
		}
	}
	if rate >= 1<<(63-MultShift) || rate < 1.0/(1<<10) {
		return false
	}
	l.rate = rate
	return true
}

// at returns the host's time when the counter shows tsc.
func (l *rateLine) at(tsc uint64) int64 {
	return l.last.ns + int64(float64(int64(tsc-l.last.before))*l.rate)
}

// publish makes the line that holds from now on; the old one began at since.
func (l *rateLine) publish(since, now uint64, next time.Duration) {
	p := Line{Valid: true, NS: l.at(now), Mult: uint64(l.rate * (1 << MultShift))}
	if since != 0 {
		if shown := l.published.At(since, now); shown > p.NS {
			// Lose half of the lead until then, but never stand still.
			slow := min(float64(shown-p.NS)/float64(2*next), 0.5)
			p.NS, p.Mult = shown, uint64(l.rate*(1-slow)*(1<<MultShift))
		}
	}
	l.published = p
}
