package epoll

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// maxNests is how many edges a chain of epolls may have (EP_MAX_NESTS).
	maxNests = 4
	// maxItems bounds the items of a sandbox (fs.epoll.max_user_watches).
	maxItems = 1 << 19
)

// maxPaths bounds how many ways of a length lead from an epoll up to those that
// are in no other (path_limits): a notification takes all of them.
var maxPaths = [maxNests + 1]int{1, 500, 100, 50, 10}

// Pool is what the epolls of a sandbox have in common. The zero Pool is ready.
type Pool struct {
	items atomic.Int64

	// mu guards Epoll.above and below of all. It is a leaf.
	mu sync.Mutex
}

// charge counts an item; false: there are too many.
func (p *Pool) charge() bool {
	if p.items.Add(1) > maxItems {
		p.items.Add(-1)
		return false
	}
	return true
}

func (p *Pool) discharge() { p.items.Add(-1) }

// mayNest reports whether inner may be in outer. ELOOP: outer is in inner, by
// whatever way, or the chain would be too long. EINVAL: too many ways.
func (p *Pool) mayNest(outer, inner *Epoll) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.check(outer, inner)
}

func (p *Pool) check(outer, inner *Epoll) error {
	down, ok := depth(inner, outer, 0, map[*Epoll]int{})
	if !ok || down+1+height(outer) > maxNests {
		return unix.ELOOP
	}
	return nil
}

// nest notes that inner is in outer; the errors are mayNest's.
func (p *Pool) nest(outer, inner *Epoll) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(outer, inner); err != nil {
		return err
	}
	p.link(outer, inner)
	seen := map[*Epoll]bool{}
	if !fewPaths(inner, seen) {
		p.unlink(outer, inner)
		return unix.EINVAL
	}
	return nil
}

// unnest undoes one nest.
func (p *Pool) unnest(outer, inner *Epoll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unlink(outer, inner)
}

func (p *Pool) link(outer, inner *Epoll) {
	if outer.below == nil {
		outer.below = map[*Epoll]int{}
	}
	if inner.above == nil {
		inner.above = map[*Epoll]int{}
	}
	outer.below[inner]++
	inner.above[outer]++
}

func (p *Pool) unlink(outer, inner *Epoll) {
	if outer.below[inner]--; outer.below[inner] == 0 {
		delete(outer.below, inner)
	}
	if inner.above[outer]--; inner.above[outer] == 0 {
		delete(inner.above, outer)
	}
}

// depth returns the length of the longest chain from e down; false if outer is in
// it, or it is longer than any may be (ep_loop_check_proc).
func depth(e, outer *Epoll, so int, known map[*Epoll]int) (int, bool) {
	if e == outer || so > maxNests {
		return 0, false
	}
	if d, ok := known[e]; ok {
		return d, true
	}
	most := 0
	for b := range e.below {
		d, ok := depth(b, outer, so+1, known)
		if !ok {
			return 0, false
		}
		most = max(most, d+1)
	}
	known[e] = most
	return most, true
}

// height returns the length of the longest chain from e up, which is bounded.
func height(e *Epoll) int {
	most := 0
	for a := range e.above {
		most = max(most, height(a)+1)
	}
	return most
}

// fewPaths checks maxPaths for e and all that is in it (reverse_path_check).
func fewPaths(e *Epoll, seen map[*Epoll]bool) bool {
	if seen[e] {
		return true
	}
	seen[e] = true
	var count [maxNests + 1]int
	if !countPaths(e, 0, 1, &count) {
		return false
	}
	for b := range e.below {
		if !fewPaths(b, seen) {
			return false
		}
	}
	return true
}

func countPaths(e *Epoll, length, ways int, count *[maxNests + 1]int) bool {
	if len(e.above) == 0 {
		count[length] += ways
		return count[length] <= maxPaths[length]
	}
	for a, n := range e.above {
		if !countPaths(a, length+1, ways*n, count) {
			return false
		}
	}
	return true
}
