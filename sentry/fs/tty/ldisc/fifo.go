package ldisc

// keepFifo is how much memory an empty queue keeps.
const keepFifo = 1024

// Fifo is a bounded queue of bytes. It takes memory as it fills.
type Fifo struct {
	Limit int // in bytes
	buf   []byte
	first int
	n     int
}

// Len returns how many bytes are in the queue.
func (q *Fifo) Len() int { return q.n }

// Room returns how many more it takes.
func (q *Fifo) Room() int { return q.Limit - q.n }

// Reset empties it.
func (q *Fifo) Reset() { q.buf, q.first, q.n = nil, 0, 0 }

// Put adds what there is room for, and returns how much that was.
func (q *Fifo) Put(b []byte) int {
	b = b[:min(len(b), q.Room())]
	if need := q.n + len(b); need > len(q.buf) {
		q.grow(need)
	}
	at := (q.first + q.n) % max(len(q.buf), 1)
	k := copy(q.buf[min(at, len(q.buf)):], b)
	copy(q.buf, b[k:])
	q.n += len(b)
	return len(b)
}

func (q *Fifo) grow(need int) {
	size := max(256, len(q.buf))
	for size < need {
		size *= 2
	}
	buf := make([]byte, min(size, q.Limit))
	q.Peek(buf)
	q.buf, q.first = buf, 0
}

// Peek copies from the beginning and takes nothing out.
func (q *Fifo) Peek(dst []byte) int {
	dst = dst[:min(len(dst), q.n)]
	k := copy(dst, q.buf[q.first:])
	copy(dst[k:], q.buf)
	return len(dst)
}

// Head returns the first bytes that lie together.
func (q *Fifo) Head() []byte { return q.buf[q.first:min(q.first+q.n, len(q.buf))] }

// Skip takes n bytes out, of which there are as many at least.
func (q *Fifo) Skip(n int) {
	q.n -= n
	if q.n == 0 {
		q.first = 0
		if len(q.buf) > keepFifo {
			q.buf = nil
		}
		return
	}
	q.first = (q.first + n) % len(q.buf)
}
