// Package mm is guest memory: address spaces made of areas, filled by faults,
// shared and copied on write, and the sentry's own access to them.
//
// A Space (Linux's mm_struct) has two ordered sets:
//
//	areas    what the guest mapped: range, protection, what is behind it
//	         (vm_area_struct). They say what may be accessed.
//	extents  what is there: address → range of the memory file, with the
//	         access that the guest side was given. They are made by faults.
//
// An extent of a private area is either owned (only this Space has its pages)
// or shared copy-on-write with other Spaces, or with a file's pages; the memory
// file's reference counts tell. Guests get write access to owned ones only.
//
// The guest side is a Mapper, which queues changes and applies them before
// guest code runs on. Memory that is taken away is given back to the memory
// file only after that (drop), since other threads of the process may reach it
// until then.
//
// Lock order:
//
//	Space.mu (of a parent before its child's, in Fork)
//	  Pager's locks
//	  the Mapper's locks
//	    Space.pinMu
//	      memfile.File's lock
package mm

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

const (
	pageSize = hostarch.PageSize
	pageMask = pageSize - 1

	// maxAreas is Linux's default vm.max_map_count.
	maxAreas = 65530

	// anonChunk is how much anonymous memory one fault installs, if the area
	// is as large. It costs nothing until it is touched.
	anonChunk = 2 << 20
	// fileChunk is how much of a file one fault asks for.
	fileChunk = 1 << 20
	// copyBlock is how much a copy-on-write fault copies.
	copyBlock = 16 << 10

	// stackGuard is the distance that a growing stack keeps (stack_guard_gap).
	stackGuard = 256 * pageSize
)

// Mapper is the guest side of a Space. platform.AddressSpace has its methods,
// and says what they mean.
type Mapper interface {
	Map(addr hostarch.Addr, length uint64, off uint64, at hostarch.AccessType)
	Unmap(addr hostarch.Addr, length uint64)
	Protect(addr hostarch.Addr, length uint64, at hostarch.AccessType)
	AfterFlush(fn func())
	Contexts() int
	Release()
}

// MappedFile is an open file that an area holds on to.
type MappedFile interface {
	IncRef()
	DecRef()
	MappedName() string
	DeviceInode() (dev, ino uint64)
}

// Limits are the resource limits that Space asks for, by RLIMIT_* number, in
// bytes.
type Limits interface {
	Soft(resource int) uint64
}

// Config is what a Space is made of. Limits may be nil: no limits.
type Config struct {
	File     *memfile.File
	Mapper   Mapper
	Min, Max hostarch.Addr
	Limits   Limits
}

// Space is a guest address space. Its methods are safe from any goroutine.
type Space struct {
	cfg    Config
	users  atomic.Int32
	faults atomic.Uint64

	mu       sync.RWMutex
	areas    *btree.BTreeG[*area]
	extents  *btree.BTreeG[*extent]
	base     hostarch.Addr // where mmap searches down from
	brkStart hostarch.Addr
	brkEnd   hostarch.Addr
	virtual  uint64 // bytes in areas
	peak     uint64 // the most that virtual was when it last shrank
	locked   uint64 // bytes of areas that are locked
	lockAll  bool   // mlockall(MCL_FUTURE)
	released bool

	// last is the extent of the last translation, nil after any change.
	last atomic.Pointer[extent]

	// lastFault tells a repeated fault from a race; see Fault.
	lastFault hostarch.Addr
	// hot are blocks that were copied on write lately; see Fork.
	hot [maxHot]hostarch.Addr

	pinMu    sync.Mutex
	pins     int
	deferred []memfile.Range
}

// area is a mapping of the guest's (vm_area_struct).
type area struct {
	start, end hostarch.Addr
	prot       hostarch.AccessType
	maxProt    hostarch.AccessType
	shared     bool
	growsDown  bool
	noFork     bool
	wipeOnFork bool
	locked     bool
	pager      memfile.Pager // nil: anonymous and private
	off        uint64        // in the pager, of start
	file       MappedFile
	name       string
}

func (a *area) length() uint64 { return uint64(a.end - a.start) }

// offsetOf returns the pager's offset for addr.
func (a *area) offsetOf(addr hostarch.Addr) uint64 { return a.off + uint64(addr-a.start) }

// joins reports whether b can be one area with a, which ends where b begins.
func (a *area) joins(b *area) bool {
	return a.end == b.start && a.prot == b.prot && a.maxProt == b.maxProt && a.shared == b.shared &&
		a.growsDown == b.growsDown && a.noFork == b.noFork && a.wipeOnFork == b.wipeOnFork &&
		a.locked == b.locked && a.pager == b.pager && a.file == b.file && a.name == b.name &&
		(a.pager == nil || a.offsetOf(a.end) == b.off)
}

// extent is memory that is there.
type extent struct {
	start, end hostarch.Addr
	off        uint64              // in the memory file
	given      hostarch.AccessType // to the guest side; none: not installed
	owned      bool                // private memory, not a pager's page
}

func (e *extent) rangeOf(start, end hostarch.Addr) memfile.Range {
	o := e.off + uint64(start-e.start)
	return memfile.Range{Start: o, End: o + uint64(end-start)}
}

// NewSpace makes an empty address space with one user.
func NewSpace(c Config) *Space {
	s := &Space{
		cfg:     c,
		areas:   btree.NewG(16, func(a, b *area) bool { return a.start < b.start }),
		extents: btree.NewG(16, func(a, b *extent) bool { return a.start < b.start }),
	}
	s.users.Store(1)
	// Linux leaves room for the stack (1/6 of the space at most) and a random
	// gap of up to 2^28 pages under it.
	gap := uint64(stackRoom) + rand.Uint64N(1<<28)*pageSize
	s.base = (c.Max - hostarch.Addr(gap)) &^ pageMask
	return s
}

// stackRoom is what is left above the mmap base for the stack.
const stackRoom = 128 << 20

// IncUsers adds a user of the Space (CLONE_VM).
func (s *Space) IncUsers() { s.users.Add(1) }

// Users returns how many there are.
func (s *Space) Users() int { return int(s.users.Load()) }

// DecUsers ends one user's use. With the last one the Space is released, both
// sides of it.
func (s *Space) DecUsers() {
	if s.users.Add(-1) == 0 {
		s.release()
	}
}

func (s *Space) release() {
	s.mu.Lock()
	s.released = true
	var ranges []memfile.Range
	s.extents.Ascend(func(e *extent) bool {
		r := e.rangeOf(e.start, e.end)
		if n := len(ranges); n > 0 && ranges[n-1].End == r.Start {
			ranges[n-1].End = r.End
		} else {
			ranges = append(ranges, r)
		}
		return true
	})
	var areas []*area
	s.areas.Ascend(func(a *area) bool { areas = append(areas, a); return true })
	s.extents.Clear(false)
	s.areas.Clear(false)
	s.last.Store(nil)
	s.mu.Unlock()

	s.cfg.Mapper.Release()
	for _, r := range ranges {
		s.giveBack(r)
	}
	for _, a := range areas {
		s.unref(a)
	}
}

// unref ends an area's hold on what is behind it.
func (s *Space) unref(a *area) {
	if a.pager != nil {
		a.pager.RemoveMapping(s, a.start, a.length(), a.off, a.shared && a.maxProt.Write)
	}
	if a.file != nil {
		a.file.DecRef()
	}
}

// drop gives a range's reference back once the guest side cannot reach it.
func (s *Space) drop(r memfile.Range) {
	s.cfg.Mapper.AfterFlush(func() { s.giveBack(r) })
}

// giveBack drops a reference, but not under a pin.
func (s *Space) giveBack(r memfile.Range) {
	s.pinMu.Lock()
	if s.pins > 0 {
		s.deferred = append(s.deferred, r)
		s.pinMu.Unlock()
		return
	}
	s.pinMu.Unlock()
	s.cfg.File.DecRef(r)
}

func (s *Space) limit(resource int) uint64 {
	if s.cfg.Limits == nil {
		return unix.RLIM_INFINITY
	}
	return s.cfg.Limits.Soft(resource)
}

// find returns the area that holds addr.
func (s *Space) find(addr hostarch.Addr) *area {
	var found *area
	s.areas.DescendLessOrEqual(&area{start: addr}, func(a *area) bool {
		if addr < a.end {
			found = a
		}
		return false
	})
	return found
}

// next returns the first area that ends after addr.
func (s *Space) next(addr hostarch.Addr) *area {
	if a := s.find(addr); a != nil {
		return a
	}
	var found *area
	s.areas.AscendGreaterOrEqual(&area{start: addr}, func(a *area) bool { found = a; return false })
	return found
}

// within collects the areas that touch [start, end).
func (s *Space) within(start, end hostarch.Addr) []*area {
	var out []*area
	if a := s.find(start); a != nil && a.start < start {
		out = append(out, a)
	}
	s.areas.AscendRange(&area{start: start}, &area{start: end}, func(a *area) bool {
		out = append(out, a)
		return true
	})
	return out
}

// extentAt returns the extent that holds addr.
func (s *Space) extentAt(addr hostarch.Addr) *extent {
	var found *extent
	s.extents.DescendLessOrEqual(&extent{start: addr}, func(e *extent) bool {
		if addr < e.end {
			found = e
		}
		return false
	})
	return found
}

// extentsIn collects the extents that touch [start, end), cut to it: those that
// stick out are split, so that what is returned can be changed or removed.
func (s *Space) extentsIn(start, end hostarch.Addr) []*extent {
	s.splitExtent(start)
	s.splitExtent(end)
	var out []*extent
	s.extents.AscendRange(&extent{start: start}, &extent{start: end}, func(e *extent) bool {
		out = append(out, e)
		return true
	})
	return out
}

func (s *Space) splitExtent(addr hostarch.Addr) {
	e := s.extentAt(addr)
	if e == nil || e.start == addr {
		return
	}
	s.last.Store(nil)
	tail := *e
	tail.start, tail.off = addr, e.off+uint64(addr-e.start)
	e.end = addr
	s.extents.ReplaceOrInsert(&tail)
}

// splitArea makes an area boundary at addr.
func (s *Space) splitArea(addr hostarch.Addr) {
	a := s.find(addr)
	if a == nil || a.start == addr {
		return
	}
	tail := *a
	tail.start = addr
	if a.pager != nil {
		tail.off = a.offsetOf(addr)
	}
	a.end = addr
	if tail.file != nil {
		tail.file.IncRef()
	}
	s.areas.ReplaceOrInsert(&tail)
}

// mergeAreas joins equal areas from start's left neighbour to end's right one.
func (s *Space) mergeAreas(start, end hostarch.Addr) {
	var prev *area
	if start > 0 {
		prev = s.find(start - 1)
	}
	for _, a := range s.within(start, end+1) {
		if prev != nil && prev != a && prev.joins(a) {
			s.areas.Delete(a)
			prev.end = a.end
			if a.file != nil {
				a.file.DecRef()
			}
			continue
		}
		prev = a
	}
}

// discard removes the extents of a range, on both sides.
func (s *Space) discard(start, end hostarch.Addr) {
	exts := s.extentsIn(start, end)
	if len(exts) == 0 {
		return
	}
	s.last.Store(nil)
	s.cfg.Mapper.Unmap(exts[0].start, uint64(exts[len(exts)-1].end-exts[0].start))
	for _, e := range exts {
		s.extents.Delete(e)
		s.drop(e.rangeOf(e.start, e.end))
	}
}

// Invalidate implements memfile.Invalidator.
func (s *Space) Invalidate(addr hostarch.Addr, length uint64, private bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := addr + hostarch.Addr(length)
	if private {
		s.discard(addr, end)
		return
	}
	for _, e := range s.extentsIn(addr, end) {
		if !e.owned {
			s.discard(e.start, e.end)
		}
	}
}

// FaultError is a fault that the guest must hear of, as a signal.
type FaultError struct {
	Signal unix.Signal
	Code   int32
}

func (e *FaultError) Error() string { return fmt.Sprintf("%v, code %d", e.Signal, e.Code) }

// si_code values.
const (
	segvMapErr = 1
	segvAccErr = 2
	busAdrErr  = 2
)

var (
	errMap = &FaultError{unix.SIGSEGV, segvMapErr}
	errAcc = &FaultError{unix.SIGSEGV, segvAccErr}
	errBus = &FaultError{unix.SIGBUS, busAdrErr}
)
