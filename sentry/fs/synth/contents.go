package synth

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// Text makes the content of a small file.
type Text func(b *bytes.Buffer) error

// Const is a Text that is always the same.
func Const(s string) Text {
	return func(b *bytes.Buffer) error {
		b.WriteString(s)
		return nil
	}
}

// Open is the Opener of files with this content.
func (t Text) Open(*vfs.Caller, uint32) (vfs.FileOps, error) {
	return &contents{make: func(_ uint64, b *bytes.Buffer) (uint64, error) { return End, t(b) }}, nil
}

// Records makes the content of a large file: it appends whole records to b, from
// the one at pos on, until b has PieceSize bytes or more, and returns the position
// of the next: End after the last. The file begins with position 0.
type Records func(pos uint64, b *bytes.Buffer) (next uint64, err error)

// End is the position after the last record.
const End = math.MaxUint64

// PieceSize is about how much Records makes at once, in bytes.
const PieceSize = 4096

// Open is the Opener of files with this content.
func (r Records) Open(*vfs.Caller, uint32) (vfs.FileOps, error) { return &contents{make: r}, nil }

// contents is an open file whose content is made.
type contents struct {
	make Records

	held *atomic.Int64 // bytes in the buffers of all files; nil: they are not counted

	mu    sync.Mutex
	buf   bytes.Buffer // what is made and not read
	at    int64        // where buf begins in the file
	next  uint64       // the record after it
	taken int64        // of held
}

// maxHeld bounds what the buffers of all open files of a file system hold between
// calls, in bytes: beyond, content is thrown away and made anew for the next read.
const maxHeld = 16 << 20

// counted makes ops count what it holds.
func counted(ops vfs.FileOps, held *atomic.Int64) {
	switch c := ops.(type) {
	case *contents:
		c.held = held
	case *writable:
		c.held = held
	}
}

// settle counts what c holds, and lets go of it if that is too much.
func (c *contents) settle() {
	if c.held == nil {
		return
	}
	size := int64(c.buf.Cap())
	if c.held.Add(size-c.taken) > maxHeld && size > 0 {
		c.held.Add(-size)
		c.buf, c.at, c.next = bytes.Buffer{}, 0, 0
		size = 0
	}
	c.taken = size
}

// Release implements vfs.FileOps.
func (c *contents) Release() {
	if c.held != nil {
		c.held.Add(-c.taken)
	}
}

// ReadAt implements vfs.ReaderAt (seq_read_iter, traverse).
func (c *contents) ReadAt(dst [][]byte, off int64) (done int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.settle()
	if off == 0 || off < c.at {
		c.buf.Reset()
		c.at, c.next = 0, 0
	}
	for off > c.at {
		if err := c.fill(); err != nil {
			return 0, err
		}
		n := len(c.buf.Next(int(min(off-c.at, int64(c.buf.Len())))))
		if n == 0 {
			return 0, nil // off is behind the end
		}
		c.at += int64(n)
	}
	for _, b := range dst {
		for len(b) > 0 {
			if err := c.fill(); err != nil {
				return done, err
			}
			n, _ := c.buf.Read(b)
			if n == 0 {
				return done, nil
			}
			b = b[n:]
			c.at += int64(n)
			done += int64(n)
		}
	}
	return done, nil
}

// fill makes the next piece if nothing is left; the end leaves buf empty.
func (c *contents) fill() error {
	for c.buf.Len() == 0 && c.next != End {
		if c.buf.Cap() > 4*PieceSize {
			c.buf = bytes.Buffer{}
		}
		c.buf.Reset()
		next, err := c.make(c.next, &c.buf)
		if err != nil {
			c.buf.Reset()
			return err
		}
		c.next = next
	}
	if c.buf.Len() == 0 {
		c.buf = bytes.Buffer{} // whoever leaves it open holds no memory
	}
	return nil
}

// Lseek implements vfs.Seeker: there is no end to seek from (seq_lseek).
func (c *contents) Lseek(cur, off int64, whence int32) (int64, error) { return Lseek(cur, off, whence) }

// Lseek is lseek(2) for files that do not know their size: EINVAL for all but
// SEEK_SET and SEEK_CUR.
func Lseek(cur, off int64, whence int32) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		if off > 0 && cur > math.MaxInt64-off {
			return 0, unix.EOVERFLOW
		}
		off += cur
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	return off, nil
}

// WriteFunc takes what was written to a file in one call, for who opened it. It
// may keep p.
type WriteFunc func(p []byte) error

// Writable makes an Opener's files writable. What one call writes is handed to
// write whole; EINVAL: it is more than limit bytes. The position does not matter.
func Writable(read Opener, limit int, write func(c *vfs.Caller) WriteFunc) Opener {
	return func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
		ops, err := read(c, flags)
		if err != nil {
			return nil, err
		}
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return ops, nil
		}
		return &writable{ops.(*contents), limit, write(c)}, nil
	}
}

type writable struct {
	*contents
	limit int
	write WriteFunc
}

// WriteAt implements vfs.WriterAt.
func (w *writable) WriteAt(src [][]byte, off int64, _ bool) (int64, int64, error) {
	p, err := Gather(src, w.limit)
	if err != nil {
		return 0, off, err
	}
	if err := w.write(p); err != nil {
		return 0, off, err
	}
	return int64(len(p)), off + int64(len(p)), nil
}

// Gather copies what is in src: EINVAL if it is more than limit bytes.
func Gather(src [][]byte, limit int) ([]byte, error) {
	n := 0
	for _, b := range src {
		if n += len(b); n > limit {
			return nil, unix.EINVAL
		}
	}
	p := make([]byte, 0, n)
	for _, b := range src {
		p = append(p, b...)
	}
	return p, nil
}
