package unix

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

// maxInFlight bounds the files in flight of a sandbox, whatever the sender's
// limits are.
const maxInFlight = 1 << 16

// garbage knows the files in flight (net/unix/garbage.c).
//
// A socket of which all references are in flight can only be received through
// another socket's queue. Collect finds those that no queue leads to that
// anybody could still read, and empties theirs, which ends them.
//
// Files get into queues and out of them under mu alone, so that the references
// of a socket that are in flight are counted exactly; and one that has no others
// cannot get any, but by being received.
type garbage struct {
	mu       sync.Mutex
	inFlight map[*vfs.File]int // AF_UNIX sockets only
	sockets  atomic.Int64      // sum of inFlight
	files    atomic.Int64      // all files in flight
	closes   int64             // since the last collection

	dyingMu sync.Mutex
	dying   []*vfs.File
	closing bool
}

// launch notes that g's files are in flight. mu is held.
func (n *Namespace) launch(g *segment) {
	for _, f := range g.rights {
		if _, ok := f.Ops().(*Socket); ok {
			n.garbage.inFlight[f]++
			n.garbage.sockets.Add(1)
		}
	}
	n.garbage.files.Add(int64(len(g.rights)))
}

// land is the opposite of launch. mu is held.
func (n *Namespace) land(g *segment) {
	for _, f := range g.rights {
		if _, ok := f.Ops().(*Socket); ok {
			if n.garbage.inFlight[f]--; n.garbage.inFlight[f] == 0 {
				delete(n.garbage.inFlight, f)
			}
			n.garbage.sockets.Add(-1)
		}
	}
	n.garbage.files.Add(-int64(len(g.rights)))
}

// landed is land for who has no lock.
func (n *Namespace) landed(g *segment) {
	n.garbage.mu.Lock()
	n.land(g)
	n.garbage.mu.Unlock()
}

// mayLaunch checks that count more files may be in flight: ETOOMANYREFS
// (too_many_unix_fds).
func (n *Namespace) mayLaunch(c socket.Caller, count int) error {
	total := n.garbage.files.Load() + int64(count)
	privileged := c.Capable(unix.CAP_SYS_RESOURCE) || c.Capable(unix.CAP_SYS_ADMIN)
	if total > maxInFlight || !privileged && uint64(total) > c.MaxFiles() {
		return unix.ETOOMANYREFS
	}
	return nil
}

// close drops references to files. Closing a socket may drop more of them: one
// goroutine does them all in turn, so that a chain of sockets in each other's
// queues is no deep recursion.
func (n *Namespace) close(files []*vfs.File) {
	if len(files) == 0 {
		return
	}
	g := &n.garbage
	g.dyingMu.Lock()
	defer g.dyingMu.Unlock()
	g.dying = append(g.dying, files...)
	if g.closing {
		return
	}
	g.closing = true
	for len(g.dying) > 0 {
		last := len(g.dying) - 1
		f := g.dying[last]
		g.dying[last] = nil
		g.dying = g.dying[:last]
		g.dyingMu.Unlock()
		f.DecRef()
		g.dyingMu.Lock()
	}
	g.dying, g.closing = nil, false
}

// collect ends sockets that nobody can reach any more. What it costs grows with
// the sockets in flight: it is done when as many were closed as a part of these,
// or at once if now is set.
func (n *Namespace) collect(now bool) {
	g := &n.garbage
	if g.sockets.Load() == 0 {
		return
	}
	g.mu.Lock()
	g.closes++
	if !now && g.closes*8 < int64(len(g.inFlight)) {
		g.mu.Unlock()
		return
	}
	g.closes = 0
	found := n.unreachable()
	var gone *segment
	for _, f := range found {
		s := f.Ops().(*Socket)
		for _, q := range s.queues() {
			q.mu.Lock()
			list := q.takeAll()
			q.mu.Unlock()
			for list != nil {
				next := list.next
				list.next, gone = gone, list
				list = next
			}
		}
	}
	g.mu.Unlock()
	n.drop(gone)
}

// queues returns s, and the connections that wait in it to be accepted. s.mu is
// not held.
func (s *Socket) queues() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Socket{s}, s.pending...)
}

// children calls fn for each socket in flight to s.
func (s *Socket) children(fn func(f *vfs.File)) {
	for _, q := range s.queues() {
		q.mu.Lock()
		if q.rights > 0 {
			for g := q.first; g != nil; g = g.next {
				for _, f := range g.rights {
					if _, ok := f.Ops().(*Socket); ok {
						fn(f)
					}
				}
			}
		}
		q.mu.Unlock()
	}
}

// unreachable returns the sockets that only unreachable queues hold. garbage.mu is
// held.
func (n *Namespace) unreachable() []*vfs.File {
	// Candidates have no reference that is not in flight.
	outside := map[*vfs.File]int{}
	for f, count := range n.garbage.inFlight {
		if f.Refs() == int64(count) {
			outside[f] = count
		}
	}
	if len(outside) == 0 {
		return nil
	}
	// How many are in flight to sockets that are no candidates?
	for f := range outside {
		f.Ops().(*Socket).children(func(child *vfs.File) {
			if _, ok := outside[child]; ok {
				outside[child]--
			}
		})
	}
	// Those are reachable, and what is in flight to them.
	var reached []*vfs.File
	for f, count := range outside {
		if count > 0 {
			reached = append(reached, f)
		}
	}
	for _, f := range reached {
		delete(outside, f)
	}
	for len(reached) > 0 {
		f := reached[len(reached)-1]
		reached = reached[:len(reached)-1]
		f.Ops().(*Socket).children(func(child *vfs.File) {
			if _, ok := outside[child]; ok {
				delete(outside, child)
				reached = append(reached, child)
			}
		})
	}
	found := make([]*vfs.File, 0, len(outside))
	for f := range outside {
		found = append(found, f)
	}
	return found
}
