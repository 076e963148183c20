// Package mm is guest memory: address spaces made of areas, filled by faults,
// shared and copied on write, and the sentry's own access to them.
//
// A Space (Linux's mm_struct) has two ordered sets:
//
//	areas    what the guest mapped: range, protection, what is behind it
//	         (vm_area_struct). They say what may be accessed.
//	extents  what is there: address → range of the memory file, with the
//	         access that the guest side was given. They are made by faults,
//	         and each lies inside one area.
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
//	    pinner.mu
//	      memfile.File's lock
//
// Pagers take pages back (Space.Invalidate) with no lock of theirs held.
package mm

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

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
// bytes. Who may lock memory without a limit (CAP_IPC_LOCK) has none.
type Limits interface {
	Soft(resource int) uint64
}

// Config is what a Space is made of. Limits may be nil: no limits.
type Config struct {
	File     *memfile.File
	Mapper   Mapper
	Min, Max hostarch.Addr
	Limits   Limits
	// MaxReserve bounds, in bytes, a single mapping that memory is promised to:
	// Linux refuses what is larger than all of the machine's
	// (vm.overcommit_memory 0). 0: no bound.
	MaxReserve uint64
}

// Space is a guest address space. Its methods are safe from any goroutine.
type Space struct {
	cfg    Config
	users  atomic.Int32
	faults atomic.Uint64
	pins   pinner

	mu       sync.RWMutex
	areas    set[area]
	extents  set[extent]
	holes    holes
	brkStart hostarch.Addr
	brkEnd   hostarch.Addr
	virtual  uint64 // bytes in areas
	peak     uint64 // the most that virtual was when it last shrank
	data     uint64 // bytes of areas that are private and writable (data_vm)
	locked   uint64 // bytes of areas that are locked
	lockAll  lockMode
	released bool
	changes  uint64 // counts what the guest side was told; see extent.change

	// last is the extent of the last translation, nil after any change.
	last atomic.Pointer[extent]

	// hot are blocks that were copied on write lately; see Fork.
	hot [maxHot]hostarch.Addr
	cow copying
}

// area is a mapping of the guest's (vm_area_struct).
type area struct {
	start, end hostarch.Addr
	off        uint64        // in the pager, of start
	pager      memfile.Pager // nil: anonymous and private
	file       MappedFile
	traits
}

// traits are what areas must have in common to become one.
type traits struct {
	prot       hostarch.AccessType
	maxProt    hostarch.AccessType
	shared     bool
	growsDown  bool
	noFork     bool
	wipeOnFork bool
	noReserve  bool
	locked     lockMode
	name       string
}

func (a *area) length() uint64 { return uint64(a.end - a.start) }

// offsetOf returns the pager's offset for addr.
func (a *area) offsetOf(addr hostarch.Addr) uint64 {
	if a.pager == nil {
		return 0
	}
	return a.off + uint64(addr-a.start)
}

// joins reports whether b can be one area with a, which ends where b begins.
func (a *area) joins(b *area) bool {
	return a.end == b.start && a.traits == b.traits && a.pager == b.pager && a.file == b.file &&
		a.offsetOf(a.end) == b.off
}

// isData reports whether a counts against RLIMIT_DATA.
func (t *traits) isData() bool { return t.prot.Write && !t.shared && !t.growsDown }

// reserves reports whether memory is promised to a (VM_ACCOUNT).
func (a *area) reserves() bool {
	return !a.noReserve && (a.prot.Write && !a.shared || a.anonymousShared())
}

func (a *area) anonymousShared() bool {
	_, ok := a.pager.(*anonPager)
	return ok
}

// extent is memory that is there.
type extent struct {
	start, end hostarch.Addr
	off        uint64              // in the memory file
	change     uint64              // Space.changes when the guest side was told last
	given      hostarch.AccessType // to the guest side (guestAccess); none: not installed
	owned      bool                // private memory, not a pager's page
}

func (e *extent) rangeOf(start, end hostarch.Addr) memfile.Range {
	o := e.off + uint64(start-e.start)
	return memfile.Range{Start: o, End: o + uint64(end-start)}
}

// all returns e's memory.
func (e *extent) all() memfile.Range { return e.rangeOf(e.start, e.end) }

// NewSpace makes an empty address space with one user.
func NewSpace(c Config) *Space {
	s := &Space{cfg: c, areas: newSet[area](), extents: newSet[extent]()}
	s.users.Store(1)
	s.holes.setBase(mmapBase(c.Max, s.limit(unix.RLIMIT_STACK), rand.Uint64()))
	return s
}

// MaxAddress is the end of what can be mapped.
func (s *Space) MaxAddress() hostarch.Addr { return s.cfg.Max }

// FixBase makes mappings go where no chance has a part in it (ADDR_NO_RANDOMIZE). There
// are none yet.
func (s *Space) FixBase() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holes.setBase(mmapBase(s.cfg.Max, s.limit(unix.RLIMIT_STACK), 0))
}

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
	s.extents.all(func(e *extent) bool {
		r := e.all()
		if n := len(ranges); n > 0 && ranges[n-1].End == r.Start {
			ranges[n-1].End = r.End
		} else {
			ranges = append(ranges, r)
		}
		return true
	})
	areas := make([]*area, 0, s.areas.len())
	s.areas.all(func(a *area) bool { areas = append(areas, a); return true })
	s.extents.clear()
	s.areas.clear()
	s.virtual, s.data, s.locked = 0, 0, 0
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
		a.pager.RemoveMapping(s, a.length(), a.shared && a.maxProt.Write)
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
	if s.pins.holdsBack(r) {
		return
	}
	s.cfg.File.DecRef(r)
}

// find returns the area that holds addr.
func (s *Space) find(addr hostarch.Addr) *area {
	if a := s.areas.floor(addr); a != nil && addr < a.end {
		return a
	}
	return nil
}

// next returns the first area that ends after addr.
func (s *Space) next(addr hostarch.Addr) *area {
	if a := s.find(addr); a != nil {
		return a
	}
	return s.areas.ceil(addr)
}

// eachArea calls fn for the areas that touch [start, end), in order, while fn
// agrees. fn must not add or remove areas.
func (s *Space) eachArea(start, end hostarch.Addr, fn func(*area) bool) {
	if start >= end {
		return
	}
	if a := s.find(start); a != nil && a.start < start && !fn(a) {
		return
	}
	s.areas.from(start, end, fn)
}

// within appends the areas that touch [start, end) to out.
func (s *Space) within(start, end hostarch.Addr, out []*area) []*area {
	s.eachArea(start, end, func(a *area) bool { out = append(out, a); return true })
	return out
}

// overlap returns how many bytes of [start, end) are mapped.
func (s *Space) overlap(start, end hostarch.Addr) (n uint64) {
	s.eachArea(start, end, func(a *area) bool {
		n += uint64(min(a.end, end) - max(a.start, start))
		return true
	})
	return n
}

// extentAt returns the extent that holds addr.
func (s *Space) extentAt(addr hostarch.Addr) *extent {
	if e := s.extents.floor(addr); e != nil && addr < e.end {
		return e
	}
	return nil
}

// eachExtent calls fn for the extents that touch [start, end), in order.
func (s *Space) eachExtent(start, end hostarch.Addr, fn func(*extent)) {
	if e := s.extentAt(start); e != nil && e.start < start {
		fn(e)
	}
	s.extents.from(start, end, func(e *extent) bool { fn(e); return true })
}

// extentsIn appends the extents of [start, end) to out. Those that stick out are
// split, so that what is returned can be changed or removed.
func (s *Space) extentsIn(start, end hostarch.Addr, out []*extent) []*extent {
	s.splitExtent(start)
	s.splitExtent(end)
	s.extents.from(start, end, func(e *extent) bool { out = append(out, e); return true })
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
	s.extents.put(addr, &tail)
}

// splitArea makes an area boundary at addr.
func (s *Space) splitArea(addr hostarch.Addr) {
	a := s.find(addr)
	if a == nil || a.start == addr {
		return
	}
	s.splitExtent(addr)
	tail := *a
	tail.start, tail.off = addr, a.offsetOf(addr)
	a.end = addr
	if tail.file != nil {
		tail.file.IncRef()
	}
	s.areas.put(addr, &tail)
}

// mergeAreas joins equal areas from start's left neighbour to end's right one.
func (s *Space) mergeAreas(start, end hostarch.Addr) {
	var prev *area
	if start > 0 {
		prev = s.find(start - 1)
	}
	var buf [8]*area
	for _, a := range s.within(start, end+1, buf[:0]) {
		if prev != nil && prev != a && prev.joins(a) {
			s.areas.remove(a.start)
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
	var buf [8]*extent
	exts := s.extentsIn(start, end, buf[:0])
	if len(exts) == 0 {
		return
	}
	s.last.Store(nil)
	s.cfg.Mapper.Unmap(exts[0].start, uint64(exts[len(exts)-1].end-exts[0].start))
	// Neighbours in the memory file are given back together.
	var r memfile.Range
	for _, e := range exts {
		s.extents.remove(e.start)
		if x := e.all(); x.Start == r.End {
			r.End = x.End
		} else {
			if r.End != 0 {
				s.drop(r)
			}
			r = x
		}
	}
	s.drop(r)
}

// Invalidate implements memfile.Invalidator.
func (s *Space) Invalidate(p memfile.Pager, off, length uint64, private bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.areas.all(func(a *area) bool {
		if a.pager != p || a.off >= off+length || a.off+a.length() <= off {
			return true
		}
		start := a.start + hostarch.Addr(max(off, a.off)-a.off)
		end := a.start + hostarch.Addr(min(off+length, a.off+a.length())-a.off)
		if private {
			s.discard(start, end)
			return true
		}
		for _, e := range s.extentsIn(start, end, nil) {
			if !e.owned {
				s.discard(e.start, e.end)
			}
		}
		return true
	})
}

// install gives the guest side access to e.
func (s *Space) install(e *extent, at hostarch.AccessType) {
	s.changes++
	e.given, e.change = guestAccess(at), s.changes
	s.cfg.Mapper.Map(e.start, uint64(e.end-e.start), e.off, e.given)
}

// regive changes the access to e that the guest side was given.
func (s *Space) regive(e *extent, at hostarch.AccessType) {
	s.changes++
	e.given, e.change = guestAccess(at), s.changes
	s.cfg.Mapper.Protect(e.start, uint64(e.end-e.start), e.given)
}

// guestAccess is what the processor can express: no write or execute without
// read.
func guestAccess(at hostarch.AccessType) hostarch.AccessType {
	if at.Write || at.Execute {
		at.Read = true
	}
	return at
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
