package pipe

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// Of returns the pipe that f is an end of, nil if it is none.
func Of(f *vfs.File) *Pipe {
	if e, ok := f.Ops().(*end); ok {
		return e.Pipe
	}
	return nil
}

// Room is space in a pipe that nobody else can fill until Fill or Cancel, each of
// which ends it.
type Room struct {
	p     *Pipe
	pages []*page
}

// Pages is how many slots n bytes take.
func Pages(n int64) int64 { return (n + PageSize - 1) / PageSize }

// Reserve takes up to n slots, as many as are free. EAGAIN: the pipe is full.
// EPIPE: nobody reads it.
func (p *Pipe) Reserve(n int64) (*Room, error) {
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return nil, unix.EPIPE
	}
	if p.full() {
		p.mu.Unlock()
		return nil, unix.EAGAIN
	}
	count := uint32(min(n, int64(p.max-p.used-p.reserved)))
	p.reserved += count
	p.mu.Unlock()
	return &Room{p, make([]*page, count)}, nil
}

// Buffers returns the room as memory, for Fill.
func (r *Room) Buffers() [][]byte {
	bufs := make([][]byte, len(r.pages))
	for i := range r.pages {
		if r.pages[i] == nil {
			r.pages[i] = r.p.pool.getPage()
		}
		bufs[i] = r.pages[i][:]
	}
	return bufs
}

// Fill puts the first n bytes of the Buffers into the pipe.
func (r *Room) Fill(n int64) {
	var slots []slot
	for i, pg := range r.pages {
		if n <= 0 {
			break
		}
		k := min(n, PageSize)
		slots = append(slots, slot{page: pg, n: uint16(k), whole: true})
		r.pages[i] = nil
		n -= k
	}
	r.put(slots)
}

// Cancel gives the room back.
func (r *Room) Cancel() { r.put(nil) }

// put ends the reservation, and puts slots, not more than were reserved, into the
// pipe.
func (r *Room) put(slots []slot) {
	p := r.p
	for _, pg := range r.pages {
		if pg != nil {
			p.pool.putPage(pg)
		}
	}
	p.mu.Lock()
	wasFull := p.full()
	p.reserved -= uint32(len(r.pages))
	r.pages = nil
	if p.readers == 0 && p.writers == 0 {
		// It was closed for good meanwhile.
		for i := range slots {
			p.pool.putPage(slots[i].page)
		}
		slots = nil
	}
	for _, s := range slots {
		p.push(s)
	}
	room := wasFull && !p.full()
	p.mu.Unlock()
	if len(slots) > 0 {
		p.queue.Notify(waiter.ReadableEvents)
	}
	if room {
		p.queue.Notify(waiter.WritableEvents)
	}
}

// Loan is what was taken from the front of a pipe, to be written elsewhere. Until
// Return, the pipe looks empty to its readers.
type Loan struct {
	p     *Pipe
	slots []slot
}

// Take takes up to n bytes. nil without an error: nobody writes any more. EAGAIN:
// there is nothing yet, or somebody else has a Loan.
func (p *Pipe) Take(n int64) (*Loan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.readable(); err != nil || p.used == 0 {
		return nil, err
	}
	l := &Loan{p, p.take(n, int(p.used))}
	p.lent = true
	p.reserved += uint32(len(l.slots)) // for what comes back
	return l, nil
}

// readable says whether there is something to read: nil and p.used == 0 is the
// end. p.mu is held.
func (p *Pipe) readable() error {
	if p.lent || p.used == 0 && p.writers > 0 {
		return unix.EAGAIN
	}
	return nil
}

// take removes the first n bytes, in at most count slots. A slot of which only a
// part is taken is split. p.mu is held.
func (p *Pipe) take(n int64, count int) []slot {
	var slots []slot
	for n > 0 && p.used > 0 && len(slots) < count {
		s := p.at(0)
		if int64(s.n) > n {
			part := slot{page: p.pool.getPage(), n: uint16(n), packet: s.packet, whole: true}
			copy(part.page[:n], s.page[s.off:])
			s.off += uint16(n)
			s.n -= uint16(n)
			return append(slots, part)
		}
		n -= int64(s.n)
		slots = append(slots, *s)
		*s = slot{}
		p.first++
		p.used--
	}
	return slots
}

// Buffers returns what was taken.
func (l *Loan) Buffers() [][]byte {
	bufs := make([][]byte, len(l.slots))
	for i, s := range l.slots {
		bufs[i] = s.page[s.off : s.off+s.n]
	}
	return bufs
}

// Return ends the loan: the first n bytes were used, the rest goes back to where
// it was.
func (l *Loan) Return(n int64) {
	p := l.p
	p.mu.Lock()
	rest := l.slots
	for len(rest) > 0 && n >= int64(rest[0].n) {
		n -= int64(rest[0].n)
		p.pool.putPage(rest[0].page)
		rest = rest[1:]
	}
	if len(rest) > 0 {
		rest[0].off += uint16(n)
		rest[0].n -= uint16(n)
	}
	if p.readers == 0 && p.writers == 0 {
		for i := range rest {
			p.pool.putPage(rest[i].page)
		}
		rest = nil
	}
	p.reserved -= uint32(len(l.slots))
	p.pushFront(rest)
	p.lent = false
	readable, room := p.used > 0 || p.writers == 0, !p.full()
	p.mu.Unlock()
	if readable {
		p.queue.Notify(waiter.ReadableEvents | waiter.EventHUp)
	}
	if room {
		p.queue.Notify(waiter.WritableEvents)
	}
}

// pushFront puts slots before the oldest. p.mu is held.
func (p *Pipe) pushFront(slots []slot) {
	if need := p.used + uint32(len(slots)); need > uint32(len(p.ring)) {
		n := max(4, uint32(len(p.ring)))
		for n < need {
			n *= 2
		}
		p.resize(n)
	}
	p.first -= uint32(len(slots))
	p.used += uint32(len(slots))
	for i, s := range slots {
		*p.at(uint32(i)) = s
	}
}

// Move moves up to n bytes into room of another pipe, which it ends
// (splice_pipe_to_pipe). 0 without an error: nobody writes any more.
func (p *Pipe) Move(room *Room, n int64) (int64, error) {
	p.mu.Lock()
	err := p.readable()
	if err != nil {
		p.mu.Unlock()
		room.Cancel()
		return 0, err
	}
	wasFull := p.full()
	slots := p.take(n, len(room.pages))
	wake := wasFull && !p.full()
	p.mu.Unlock()
	if wake {
		p.queue.Notify(waiter.WritableEvents)
	}
	room.put(slots)
	return sum(slots), nil
}

// Copy is Move that leaves what it copies where it is (tee(2)).
func (p *Pipe) Copy(room *Room, n int64) (int64, error) {
	p.mu.Lock()
	err := p.readable()
	var slots []slot
	for i := uint32(0); err == nil && i < p.used && n > 0 && len(slots) < len(room.pages); i++ {
		s := p.at(i)
		k := min(n, int64(s.n))
		c := slot{page: p.pool.getPage(), n: uint16(k), packet: s.packet, whole: true}
		copy(c.page[:k], s.page[s.off:])
		slots = append(slots, c)
		n -= k
	}
	p.mu.Unlock()
	room.put(slots)
	return sum(slots), err
}

func sum(slots []slot) (n int64) {
	for _, s := range slots {
		n += int64(s.n)
	}
	return n
}

// Readable says whether there is something to read: EAGAIN if not yet.
func (p *Pipe) Readable() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readable()
}
