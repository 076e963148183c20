// Package memfile is the sandbox's one memory file.
//
// All guest memory (anonymous memory, page cache, tmpfs contents) lives in one
// memfd, which the sentry maps once, whole, and which platforms map piecewise
// into guests. A Range of it is an extent; every page of it has a reference
// count, and goes back to the host when the count falls to zero.
//
// The file is demand-zero itself: a range that nobody touched costs nothing, so
// that a large one can be handed out at once. What is freed is kept dirty for a
// while: small allocations reuse it, cleared by hand, without any host call.
package memfile

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/google/btree"
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

const (
	pageSize = 4096
	hugeSize = 2 << 20

	// smallSize is the largest allocation that is served from dirty memory.
	smallSize = 64 << 10
	// maxDirty is how much freed memory is kept before it goes back.
	maxDirty = 16 << 20
)

// Range is [Start, End) in the memory file, in bytes, page-aligned.
type Range struct{ Start, End uint64 }

// Length returns the number of bytes in r.
func (r Range) Length() uint64 { return r.End - r.Start }

// Config sets limits.
type Config struct {
	// Size is how far the file can reach, in bytes, holes and all. 0: 1 TiB.
	Size uint64
	// Limit is how much the host may hold for the file. What is allocated and
	// not touched may be more. 0: Size.
	Limit uint64
}

// Options are how Allocate allocates.
type Options struct {
	// Overwrite says that the caller will store into every byte before anyone
	// reads: the content need not be zero.
	Overwrite bool
	// Sparse says that most of it may never be touched: it counts for nothing.
	Sparse bool
}

// File is the memory file. All methods are safe from any goroutine.
type File struct {
	fd    int
	view  []byte
	limit uint64

	mu        sync.Mutex
	runs      *btree.BTreeG[run] // pages in use, in runs of equal count
	clean     freeSet            // zero, not held by the host
	dirty     [classes][]Range   // small freed ranges by size class (pages, log2)
	dirtyLen  uint64             // bytes in dirty
	allocated uint64
}

// classes is how many size classes there are up to smallSize.
const classes = 5

// run is a stretch of pages with one reference count.
type run struct {
	start, end uint64
	refs       uint32
}

// New makes the memory file.
func New(c Config) (*File, error) {
	if c.Size == 0 {
		c.Size = 1 << 40
	}
	if c.Limit == 0 {
		c.Limit = c.Size
	}
	fd, err := hostcall.MemfdCreate("runsc-lite-memory")
	if err != nil {
		return nil, fmt.Errorf("making the memory file: %w", err)
	}
	if err := hostcall.Ftruncate(fd, int64(c.Size)); err != nil {
		hostcall.Close(fd)
		return nil, fmt.Errorf("sizing the memory file to %d bytes: %w", c.Size, err)
	}
	view, err := hostcall.MapShared(fd, c.Size)
	if err != nil {
		hostcall.Close(fd)
		return nil, fmt.Errorf("mapping %d bytes of the memory file: %w", c.Size, err)
	}
	f := &File{
		fd:    fd,
		view:  view,
		limit: c.Limit,
		runs:  btree.NewG(32, func(a, b run) bool { return a.start < b.start }),
	}
	f.clean.init()
	f.clean.add(Range{0, c.Size})
	return f, nil
}

// FD returns the descriptor, for platforms to map.
func (f *File) FD() int { return f.fd }

// Close gives everything back to the host. Nobody uses the memory any more.
func (f *File) Close() {
	hostcall.Unmap(f.view)
	hostcall.Close(f.fd)
}

// Bytes returns r as the sentry sees it. The caller holds a reference on r.
// Guests may change the content at any time.
func (f *File) Bytes(r Range) []byte { return f.view[r.Start:r.End:r.End] }

// Allocate returns a range of the given length (a multiple of the page size),
// each page with one reference, full of zeros unless Overwrite is set. ENOMEM:
// the limit is reached.
func (f *File) Allocate(length uint64, o Options) (Range, error) {
	if length == 0 || length%pageSize != 0 {
		return Range{}, unix.EINVAL
	}
	f.mu.Lock()
	if !f.fits(length, o) {
		gone := f.emptyDirty()
		f.mu.Unlock()
		f.reclaim(gone)
		f.mu.Lock()
		if !f.fits(length, o) {
			f.mu.Unlock()
			return Range{}, unix.ENOMEM
		}
	}
	r, wasDirty := f.takeDirty(length)
	if !wasDirty {
		var ok bool
		if r, ok = f.clean.take(length); !ok {
			gone := f.emptyDirty()
			f.mu.Unlock()
			f.reclaim(gone)
			f.mu.Lock()
			if r, ok = f.clean.take(length); !ok {
				f.mu.Unlock()
				return Range{}, unix.ENOMEM
			}
		}
	}
	f.allocated += length
	f.runs.ReplaceOrInsert(run{r.Start, r.End, 1})
	f.merge(r)
	f.mu.Unlock()
	if wasDirty && !o.Overwrite {
		clear(f.Bytes(r))
	}
	return r, nil
}

// fits reports whether the limit allows length bytes more. The host is asked only
// when it could not if all that is allocated were touched. The caller holds f.mu.
func (f *File) fits(length uint64, o Options) bool {
	if f.allocated+length <= f.limit {
		return true
	}
	used, err := f.Usage()
	if o.Sparse {
		length = pageSize
	}
	return err == nil && used+length <= f.limit
}

// class is the size class of a small length: floor(log2(pages)).
func class(length uint64) int { return bits.Len64(length/pageSize) - 1 }

func (f *File) takeDirty(length uint64) (Range, bool) {
	if length > smallSize {
		return Range{}, false
	}
	// A class holds lengths from 2^c pages on: look at the own one for a fit at
	// its end, then at the larger ones.
	for c := class(length); c < len(f.dirty); c++ {
		l := f.dirty[c]
		if n := len(l); n > 0 && l[n-1].Length() >= length {
			r := l[n-1]
			f.dirty[c] = l[:n-1]
			f.dirtyLen -= length
			if r.Length() > length {
				rest := Range{r.Start + length, r.End}
				f.dirty[class(rest.Length())] = append(f.dirty[class(rest.Length())], rest)
				r.End = r.Start + length
			}
			return r, true
		}
	}
	return Range{}, false
}

// IncRef adds a reference to every page of r; the caller holds one.
func (f *File) IncRef(r Range) { f.adjust(r, 1) }

// DecRef drops a reference from every page of r.
func (f *File) DecRef(r Range) { f.adjust(r, -1) }

// adjust changes the counts of r's pages and frees those that fall to zero.
func (f *File) adjust(r Range, delta int) {
	if r.Length() == 0 {
		return
	}
	var buf [4]Range
	f.mu.Lock()
	gone := f.count(r, delta, buf[:0])
	f.mu.Unlock()
	f.reclaim(gone)
}

// count changes the counts of r's pages, and appends to gone what is to be
// reclaimed. The caller holds f.mu.
func (f *File) count(r Range, delta int, gone []Range) []Range {
	f.splitAt(r.Start)
	f.splitAt(r.End)
	var small [8]run
	touched := small[:0]
	f.runs.AscendRange(run{start: r.Start}, run{start: r.End}, func(x run) bool {
		touched = append(touched, x)
		return true
	})
	at := r.Start
	for _, x := range touched {
		if x.start != at {
			break
		}
		at = x.end
		x.refs = uint32(int(x.refs) + delta)
		if x.refs != 0 {
			f.runs.ReplaceOrInsert(x)
			continue
		}
		f.runs.Delete(x)
		gone = f.free(Range{x.start, x.end}, gone)
	}
	if at != r.End {
		panic(fmt.Sprintf("memfile: count of a page changed that is not allocated: %#x", at))
	}
	f.merge(r)
	return gone
}

// splitAt makes a run boundary at off.
func (f *File) splitAt(off uint64) {
	f.runs.DescendLessOrEqual(run{start: off}, func(x run) bool {
		if x.start < off && off < x.end {
			f.runs.ReplaceOrInsert(run{x.start, off, x.refs})
			f.runs.ReplaceOrInsert(run{off, x.end, x.refs})
		}
		return false
	})
}

// merge joins runs of equal count around the boundaries of r.
func (f *File) merge(r Range) {
	for _, off := range [...]uint64{r.End, r.Start} {
		b, ok := f.runs.Get(run{start: off})
		if !ok {
			continue
		}
		var a run
		f.runs.DescendLessOrEqual(run{start: off - 1}, func(x run) bool { a = x; return false })
		if off > 0 && a.end == off && a.refs == b.refs && a.start < off {
			f.runs.Delete(b)
			f.runs.ReplaceOrInsert(run{a.start, b.end, a.refs})
		}
	}
}

// free takes unused pages back, and appends what is to be reclaimed. The caller
// holds f.mu.
func (f *File) free(r Range, gone []Range) []Range {
	f.allocated -= r.Length()
	if r.Length() > smallSize {
		return append(gone, r)
	}
	c := class(r.Length())
	f.dirty[c] = append(f.dirty[c], r)
	if f.dirtyLen += r.Length(); f.dirtyLen > maxDirty {
		gone = append(gone, f.emptyDirty()...)
	}
	return gone
}

// emptyDirty returns all dirty memory, to be reclaimed: in order, neighbours
// joined. The caller holds f.mu.
func (f *File) emptyDirty() []Range {
	var all []Range
	for c, l := range f.dirty {
		all = append(all, l...)
		f.dirty[c] = nil
	}
	f.dirtyLen = 0
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	n := 0
	for _, r := range all {
		if n > 0 && all[n-1].End == r.Start {
			all[n-1].End = r.End
			continue
		}
		all[n] = r
		n++
	}
	return all[:n]
}

// reclaim gives memory that nobody refers to back to the host. It takes time,
// so that f.mu is not held.
func (f *File) reclaim(rs []Range) {
	for _, r := range rs {
		f.Zero(r)
		f.mu.Lock()
		f.clean.add(r)
		f.mu.Unlock()
	}
}

// Zero makes r zeros, and gives its memory back to the host, for everybody who
// has it mapped. The caller has a reference on it.
func (f *File) Zero(r Range) {
	// It cannot fail but for memory, and then only costs memory.
	if err := hostcall.PunchHole(f.fd, int64(r.Start), int64(r.Length())); err != nil {
		clear(f.Bytes(r))
	}
}

// Populate makes the host find memory for r. The caller has a reference on it.
func (f *File) Populate(r Range) {
	b := f.Bytes(r)
	if hostcall.PopulateRead(b) != unix.EINVAL {
		return
	}
	for i := 0; i < len(b); i += pageSize {
		touch(&b[i])
	}
}

// touch reads a byte.
//
//go:noinline
func touch(p *byte) byte { return *p }

// Trim returns memory that is kept for reuse to the host.
func (f *File) Trim() {
	f.mu.Lock()
	gone := f.emptyDirty()
	f.mu.Unlock()
	f.reclaim(gone)
}

// Shared splits r's head by whether it is shared: it returns how many bytes
// from r.Start on have the same answer, at most r's length.
func (f *File) Shared(r Range) (length uint64, shared bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := r.Start
	first := true
	for end < r.End {
		var x run
		f.runs.DescendLessOrEqual(run{start: end}, func(y run) bool { x = y; return false })
		if x.end <= end || !first && (x.refs > 1) != shared {
			break
		}
		shared = x.refs > 1
		first = false
		end = min(x.end, r.End)
	}
	return end - r.Start, shared
}

// Allocated returns how many bytes are allocated, touched or not.
func (f *File) Allocated() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.allocated
}

// Usage returns how many bytes the host holds for the file.
func (f *File) Usage() (uint64, error) { return hostcall.FileBlocks(f.fd) }

// Resident returns how many bytes of r the host holds in memory, and marks the
// pages in out, if that is not nil: 1 for each that is (mincore(2)).
func (f *File) Resident(r Range, out []byte) (n uint64) {
	var vec [512]byte
	for at := r.Start; at < r.End; {
		end := min(r.End, at+uint64(len(vec))*pageSize)
		v := vec[:(end-at)/pageSize]
		if err := hostcall.Mincore(f.view[at:end], v); err != nil {
			return n
		}
		for i, x := range v {
			if x&1 == 0 {
				continue
			}
			n += pageSize
			if out != nil {
				out[(at-r.Start)/pageSize+uint64(i)] = 1
			}
		}
		at = end
	}
	return n
}
