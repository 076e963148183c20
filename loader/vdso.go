package loader

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/clock"
)

// The vvar page is what the vDSO's functions read; guests cannot write it:
//
//	0   u32  sequence, odd while the rest is written
//	4   u32  how to find the processor's number: 0 system call, 1 LSL, 2 RDPID
//	8   u64  the time stamp counter that the lines begin at
//	64  for each clock number a line of 32 bytes:
//	    0   u64  nanoseconds per tick, with 48 fraction bits
//	    8   u64  nanoseconds at the beginning, less than a second
//	    16  i64  seconds at the beginning
//	    24  u32  whether the line is valid; if not, a system call
//	    28  u32  the resolution in nanoseconds, 0 for one
const (
	vvarSequence = 0
	vvarGetCPU   = 4
	vvarTSC      = 8
	vvarLines    = 64
	lineSize     = 32

	getcpuSegment = 1
	getcpuRDPID   = 2

	second = 1_000_000_000
)

// When the vvar page is refreshed: often at first, while the rate of the counter
// is known from a short time only.
const (
	firstRefresh = time.Millisecond
	lastRefresh  = time.Second
	// minSample is how long after the first sample the second one is taken.
	minSample = 40 * time.Microsecond
)

// VDSO is the shared object that the kernel maps into every program (vdso(7)),
// and the page of data before it. Its functions tell the time without a system
// call.
//
// It is memory of the memory file, shared by all programs. And it is a
// clock.Clock, for the system calls that tell the time: a program that asks now
// this way and now that must not find that time goes back.
type VDSO struct {
	file  *memfile.File
	clock clock.Clock
	r     memfile.Range // the vvar page, then the object
	vvar  []byte

	mu     sync.Mutex // over all below
	cal    *clock.Calibrator
	params clock.Params
	timer  clock.Timer
	next   time.Duration
	closed bool
}

// NewVDSO makes the shared object, and keeps its clocks equal to c's, which it
// watches by a timer until Close. If the processor's counter cannot be relied
// upon, or c is not the host's clock, the object's functions make system calls.
func NewVDSO(f *memfile.File, c clock.Clock) (*VDSO, error) {
	v := &VDSO{file: f, clock: c, cal: clock.NewCalibrator(c), next: firstRefresh}
	start := time.Now()
	if v.cal != nil {
		v.cal.Sample()
	}
	object, err := buildVDSO(-pageSize)
	if err != nil {
		return nil, err
	}
	if v.r, err = f.Allocate(pageSize+pageUp(uint64(len(object))), memfile.Options{}); err != nil {
		return nil, fmt.Errorf("memory for the vDSO: %w", err)
	}
	b := f.Bytes(v.r)
	v.vvar = b[:pageSize]
	copy(b[pageSize:], object)
	if hostcall.LowCPUs() {
		how := uint32(getcpuSegment)
		if hasRDPID() {
			how = getcpuRDPID
		}
		binary.LittleEndian.PutUint32(v.vvar[vvarGetCPU:], how)
	}
	if v.cal == nil {
		return v, nil
	}
	if d := minSample - time.Since(start); d > 0 {
		time.Sleep(d)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refresh()
	v.timer = c.AfterFunc(v.next, v.tick)
	return v, nil
}

// Close stops the refreshing and gives the memory back. Programs that have the
// vDSO mapped keep it, with clocks that are not looked after.
func (v *VDSO) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	if v.timer != nil {
		v.timer.Stop()
	}
	v.file.DecRef(v.r)
}

// AskForCPU makes getcpu a system call from now on: the processor does not tell
// what guests are to hear. So it is when a guest thread may run on some of the
// processors only, or when the processor is not the host's.
func (v *VDSO) AskForCPU() { atomic.StoreUint32(word(v.vvar[vvarGetCPU:]), 0) }

// Read implements clock.Clock.
func (v *VDSO) Read(id int32) (int64, error) {
	v.mu.Lock()
	ns, ok := v.params.Now(id)
	v.mu.Unlock()
	if ok {
		return ns, nil
	}
	return v.clock.Read(id)
}

// AfterFunc implements clock.Clock.
func (v *VDSO) AfterFunc(d time.Duration, f func()) clock.Timer { return v.clock.AfterFunc(d, f) }

// tick is called by the timer.
func (v *VDSO) tick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || !v.refresh() {
		return
	}
	v.timer.Reset(v.next)
}

// refresh writes the vvar page anew: false if that is over.
func (v *VDSO) refresh() bool {
	ready, usable := v.cal.Sample()
	if ready {
		v.next = min(2*v.next, lastRefresh)
	}
	if usable && !ready {
		return true
	}
	seq := word(v.vvar[vvarSequence:])
	atomic.AddUint32(seq, 1)
	if usable {
		v.cal.Commit(&v.params, v.next)
	} else {
		v.params = clock.Params{}
	}
	le := binary.LittleEndian
	le.PutUint64(v.vvar[vvarTSC:], v.params.TSC)
	for id := range v.params.Lines {
		l := &v.params.Lines[id]
		b := v.vvar[vvarLines+id*lineSize:][:lineSize]
		sec, ns := l.NS/second, l.NS%second
		if ns < 0 {
			sec, ns = sec-1, ns+second
		}
		le.PutUint64(b[0:], l.Mult)
		le.PutUint64(b[8:], uint64(ns))
		le.PutUint64(b[16:], uint64(sec))
		valid := uint32(0)
		if l.Valid {
			valid = 1
		}
		le.PutUint32(b[24:], valid)
		le.PutUint32(b[28:], l.Tick)
	}
	atomic.AddUint32(seq, 1)
	return usable
}

// length is what the vDSO takes in an address space, in bytes.
func (v *VDSO) length() uint64 { return v.r.Length() }

// mapInto maps the vDSO at an address and returns that of the shared object.
func (v *VDSO) mapInto(s *mm.Space, at hostarch.Addr) (hostarch.Addr, error) {
	object := at + pageSize
	if _, err := s.Mmap(mm.MmapOptions{
		Addr: at, Fixed: true, Length: pageSize, Prot: hostarch.Read, MaxProt: hostarch.Read,
		Pager: v, Name: "[vvar]",
	}); err != nil {
		return 0, err
	}
	_, err := s.Mmap(mm.MmapOptions{
		Addr: object, Fixed: true, Length: v.length() - pageSize,
		Prot: hostarch.ReadExecute, MaxProt: hostarch.AnyAccess,
		Pager: v, Offset: pageSize, Name: "[vdso]",
	})
	if err == nil {
		s.Prefault(at, v.length(), false)
	}
	return object, err
}

// Page implements memfile.Pager.
func (v *VDSO) Page(off, max uint64, write bool) (memfile.Range, error) {
	if off >= v.r.Length() {
		return memfile.Range{}, unix.ENXIO
	}
	if write {
		return memfile.Range{}, unix.EIO // it is mapped privately
	}
	// The vvar page and the object are not given out as one: a debugger's
	// breakpoint copies what is around it.
	end := v.r.Length()
	if off < pageSize {
		end = pageSize
	}
	r := memfile.Range{Start: v.r.Start + off, End: v.r.Start + min(end, off+max)}
	v.file.IncRef(r)
	return r, nil
}

// AddMapping implements memfile.Pager: the vDSO never changes its size.
func (v *VDSO) AddMapping(memfile.Invalidator, uint64, bool) error {
	return nil
}

// RemoveMapping implements memfile.Pager.
func (v *VDSO) RemoveMapping(memfile.Invalidator, uint64, bool) {}
