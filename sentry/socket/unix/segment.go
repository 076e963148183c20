package unix

import (
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

// segment is something that was sent (struct sk_buff).
type segment struct {
	next   *segment
	from   *Socket // is charged
	cost   int64
	data   []byte // what is left of it
	size   int    // of the whole
	page   *[]byte
	cred   socket.Cred
	rights []*vfs.File
	inline [smallest]byte
}

const (
	smallest = 256
	// maxHead is SKB_MAX_ALLOC: what goes into a buffer without pages of their own.
	maxHead = 16384 - 320
	// maxStream is the most that one segment of a stream has: maxHead, and
	// UNIX_SKB_FRAGS_SZ.
	maxStream = maxHead + 32768

	skbSize    = 256 // sizeof(struct sk_buff), aligned
	sharedInfo = 320 // sizeof(struct skb_shared_info), aligned
)

// costOf returns what a segment of n bytes counts against SO_SNDBUF
// (skb->truesize).
func costOf(n int) int64 {
	pages := 0
	if n > maxHead {
		pages = (n - maxHead + 4095) &^ 4095
	}
	head := max(n-pages, 0)
	room := (head+63)&^63 + sharedInfo
	return int64(skbSize + 1<<bits.Len(uint(room-1)) + pages)
}

// classes are the sizes of buffers that are kept for reuse.
var classes = [...]int{2048, 8192, 16384, 65536}

// pool keeps segments and their buffers for reuse.
type pool struct {
	segments sync.Pool // *segment
	pages    [len(classes)]sync.Pool
}

// get makes a segment with room for n bytes.
func (p *pool) get(n int) *segment {
	g, _ := p.segments.Get().(*segment)
	if g == nil {
		g = new(segment)
	}
	g.size = n
	if n <= smallest {
		g.data = g.inline[:n]
		return g
	}
	for i, size := range classes {
		if n <= size {
			page, _ := p.pages[i].Get().(*[]byte)
			if page == nil {
				b := make([]byte, size)
				page = &b
			}
			g.page, g.data = page, (*page)[:n]
			return g
		}
	}
	g.data = make([]byte, n)
	return g
}

// put takes a segment back. Its files are gone already.
func (p *pool) put(g *segment) {
	if g.page != nil {
		for i, size := range classes {
			if len(*g.page) == size {
				p.pages[i].Put(g.page)
			}
		}
	}
	g.next, g.from, g.data, g.page, g.rights = nil, nil, nil, nil, nil
	p.segments.Put(g)
}

// gather fills dst from bufs, from byte off on.
func gather(dst []byte, bufs [][]byte, off int64) {
	for _, b := range bufs {
		if off >= int64(len(b)) {
			off -= int64(len(b))
			continue
		}
		n := copy(dst, b[off:])
		dst, off = dst[n:], 0
		if len(dst) == 0 {
			return
		}
	}
}

// scatter stores src into bufs from byte off on, as far as there is room.
func scatter(bufs [][]byte, off int64, src []byte) (n int) {
	for _, b := range bufs {
		if off >= int64(len(b)) {
			off -= int64(len(b))
			continue
		}
		k := copy(b[off:], src)
		src, off, n = src[k:], 0, n+k
		if len(src) == 0 {
			break
		}
	}
	return n
}

// newSegment makes a segment of s, of n bytes from byte off of bufs on. EAGAIN:
// s has no room for it; ENOBUFS: the sandbox has none.
func (s *Socket) newSegment(bufs [][]byte, off int64, n int, who socket.Cred) (*segment, error) {
	if s.wmem.Load() >= int64(s.SndBuf.Load()) {
		return nil, unix.EAGAIN
	}
	cost := costOf(n)
	if s.ns.used.Add(cost) > s.ns.limit {
		s.ns.used.Add(-cost)
		return nil, unix.ENOBUFS
	}
	g := s.ns.segments.get(n)
	g.from, g.cost, g.cred = s, cost, who
	gather(g.data, bufs, off)
	s.wmem.Add(cost)
	return g, nil
}

// free gives a segment back that is in no queue, and wakes its sender if that can
// write again (sock_wfree). No lock is held.
func (n *Namespace) free(g *segment) {
	from, cost := g.from, g.cost
	n.segments.put(g)
	n.used.Add(-cost)
	limit := int64(from.SndBuf.Load())
	now := from.wmem.Add(-cost)
	if now<<2 <= limit && (now+cost)<<2 > limit {
		from.queue.Notify(waiter.WritableEvents)
	}
}

// drop frees a list of segments and closes the files in them.
func (n *Namespace) drop(g *segment) {
	for g != nil {
		next := g.next
		if g.rights != nil {
			n.landed(g)
			n.close(g.rights)
			g.rights = nil
		}
		n.free(g)
		g = next
	}
}

// push adds a segment to the queue of s, whose mu is held.
func (s *Socket) push(g *segment) {
	if s.last == nil {
		s.first = g
	} else {
		s.last.next = g
	}
	s.last = g
	s.segs++
	s.bytes += int64(len(g.data))
	if g.rights != nil {
		s.rights++
	}
}

// pop takes the oldest segment out. s.mu is held.
func (s *Socket) pop() *segment {
	g := s.first
	if s.first = g.next; s.first == nil {
		s.last = nil
	}
	g.next = nil
	s.segs--
	s.bytes -= int64(len(g.data))
	return g
}

// takeAll empties the queue. s.mu is held.
func (s *Socket) takeAll() *segment {
	g := s.first
	s.first, s.last, s.segs, s.bytes, s.rights = nil, nil, 0, 0, 0
	return g
}

// lockQueue locks s.mu, and what moving files out of the queue takes, if there are
// any: the result is for unlockQueue.
func (s *Socket) lockQueue() (rights bool) {
	s.mu.Lock()
	if s.rights == 0 {
		return false
	}
	s.mu.Unlock()
	s.ns.garbage.mu.Lock()
	s.mu.Lock()
	return true
}

func (s *Socket) unlockQueue(rights bool) {
	s.mu.Unlock()
	if rights {
		s.ns.garbage.mu.Unlock()
	}
}
