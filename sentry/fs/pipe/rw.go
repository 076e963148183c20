package pipe

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// cursor walks over buffers.
type cursor struct {
	bufs [][]byte
	done int // bytes of bufs[0] that are behind
}

// next returns what is left of the current buffer: empty at the end.
func (c *cursor) next() []byte {
	for len(c.bufs) > 0 {
		if b := c.bufs[0][c.done:]; len(b) > 0 {
			return b
		}
		c.bufs, c.done = c.bufs[1:], 0
	}
	return nil
}

// gather fills dst from the buffers as far as they go.
func (c *cursor) gather(dst []byte) (n int) {
	for len(dst) > 0 {
		b := c.next()
		if len(b) == 0 {
			break
		}
		k := copy(dst, b)
		dst, c.done, n = dst[k:], c.done+k, n+k
	}
	return n
}

// scatter stores src into the buffers as far as there is room.
func (c *cursor) scatter(src []byte) (n int) {
	for len(src) > 0 {
		b := c.next()
		if len(b) == 0 {
			break
		}
		k := copy(b, src)
		src, c.done, n = src[k:], c.done+k, n+k
	}
	return n
}

func length(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// write is pipe_write without the waiting: a short count, or EAGAIN, means that
// the pipe is full.
func (p *Pipe) write(src [][]byte, packet bool) (int64, error) {
	want := length(src)
	if want == 0 {
		return 0, nil // "Null write succeeds."
	}
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return 0, unix.EPIPE
	}
	done, from := int64(0), cursor{bufs: src}
	// "If it wasn't empty, we try to merge new data into the last buffer":
	// the odd bytes, if they all fit.
	if odd := int(want % PageSize); odd != 0 && p.used > 0 {
		if s := p.at(p.used - 1); !s.packet && !s.whole && int(s.off)+int(s.n)+odd <= PageSize {
			at := int(s.off) + int(s.n)
			n := from.gather(s.page[at : at+odd])
			s.n += uint16(n)
			done += int64(n)
		}
	}
	for done < want && !p.full() {
		pg := p.pool.getPage()
		n := from.gather(pg[:])
		p.push(slot{page: pg, n: uint16(n), packet: packet})
		done += int64(n)
	}
	p.mu.Unlock()
	if done == 0 {
		return 0, unix.EAGAIN
	}
	p.queue.Notify(waiter.ReadableEvents)
	return done, nil
}

// read is pipe_read without the waiting. 0 without an error: nobody writes any
// more.
func (p *Pipe) read(dst [][]byte) (int64, error) {
	want := length(dst)
	if want == 0 {
		return 0, nil
	}
	p.mu.Lock()
	if err := p.readable(); err != nil || p.used == 0 {
		p.mu.Unlock()
		return 0, err
	}
	wasFull := p.full()
	done, to := int64(0), cursor{bufs: dst}
	for done < want && p.used > 0 {
		s := p.at(0)
		n := to.scatter(s.page[s.off : s.off+s.n])
		done += int64(n)
		// pipe(2): "If a read(2) specifies a buffer size that is smaller than
		// the next packet, then the requested number of bytes are read, and
		// the excess bytes in the packet are discarded."
		packet := s.packet
		s.off += uint16(n)
		s.n -= uint16(n)
		if packet || s.n == 0 {
			p.pop()
		}
		if packet {
			break
		}
	}
	wake := wasFull && !p.full()
	p.mu.Unlock()
	if wake {
		p.queue.Notify(waiter.WritableEvents)
	}
	return done, nil
}
