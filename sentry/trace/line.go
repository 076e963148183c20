package trace

import (
	"encoding/binary"
	"strconv"

	"gvisor.dev/gvisor/pkg/hostarch"
)

// memory is what the decoders want of a guest's address space (mm.Space).
type memory interface {
	CopyIn(addr hostarch.Addr, dst []byte) (int, error)
}

// Bounds of what is shown, as strace's: a guest cannot make a line long by
// naming a long array.
const (
	maxString   = 32 // bytes of a buffer
	maxElements = 32 // of an array
	maxPath     = 4096
	// maxLine stops the decoders of nested arrays, in bytes.
	maxLine = 64 << 10
)

// line is the text of one call while it grows. The decoders append to it, and
// find there what they need to know of the call.
type line struct {
	buf  []byte
	mem  memory
	args [6]uint64
	name string // of the call
	i    int    // index of the argument being shown
	done bool   // the call has returned: ret and err are good
	ret  uint64 // its value
	err  error
	sp   uint64 // the guest's stack pointer, for rt_sigreturn
	keep uint64 // for a decoder from entry to return
	glue bool   // the next argument brings its own separator

	// last is the name of the call that restart_syscall goes on with.
	last string
}

var le = binary.LittleEndian

// arg returns argument i, 0 behind the last.
func (l *line) arg(i int) uint64 {
	if i < 0 || i >= len(l.args) {
		return 0
	}
	return l.args[i]
}

// failed reports whether the call returned with an error.
func (l *line) failed() bool { return l.done && l.err != nil }

func (l *line) s(s string)    { l.buf = append(l.buf, s...) }
func (l *line) c(c byte)      { l.buf = append(l.buf, c) }
func (l *line) int(v int64)   { l.buf = strconv.AppendInt(l.buf, v, 10) }
func (l *line) uint(v uint64) { l.buf = strconv.AppendUint(l.buf, v, 10) }

// hex shows v as C's %#x does: 0 without the prefix.
func (l *line) hex(v uint64) {
	if v != 0 {
		l.s("0x")
	}
	l.buf = strconv.AppendUint(l.buf, v, 16)
}

// oct shows v as C's %#o does.
func (l *line) oct(v uint64) {
	if v != 0 {
		l.c('0')
	}
	l.buf = strconv.AppendUint(l.buf, v, 8)
}

// oct3 shows permission bits as C's %#03o does: three digits at least, the first
// of them 0.
func (l *line) oct3(v uint64) {
	l.c('0')
	if v < 0o10 {
		l.c('0')
	}
	l.buf = strconv.AppendUint(l.buf, v, 8)
}

// addr shows a pointer that is not followed.
func (l *line) addr(v uint64) {
	if v == 0 {
		l.s("NULL")
		return
	}
	l.hex(v)
}

// fetch reads n bytes of guest memory. If that is not possible, or not sensible
// because the call that was to fill them failed, it shows the pointer and
// returns nil.
func (l *line) fetch(addr uint64, n int) []byte {
	if addr != 0 && !l.failed() {
		if b := l.peek(addr, n); b != nil {
			return b
		}
	}
	l.addr(addr)
	return nil
}

// peek is fetch without showing anything.
func (l *line) peek(addr uint64, n int) []byte {
	b := make([]byte, n)
	if got, err := l.mem.CopyIn(hostarch.Addr(addr), b); err != nil || got != n {
		return nil
	}
	return b
}

// elements shows an array of n things of size bytes at addr: the first 32, then
// "...". What cannot be read stops it.
func (l *line) elements(addr, n uint64, size int, show func(b []byte)) {
	if n == 0 {
		if addr == 0 {
			l.s("NULL")
		} else {
			l.s("[]")
		}
		return
	}
	if addr == 0 || l.failed() {
		l.addr(addr)
		return
	}
	for i := range n {
		if i == maxElements || len(l.buf) > maxLine {
			l.s(", ...")
			break
		}
		b := l.peek(addr+i*uint64(size), size)
		if b == nil {
			if i == 0 {
				l.addr(addr)
				return
			}
			l.s(", ... /* ")
			l.hex(addr + i*uint64(size))
			l.s(" */")
			break
		}
		if i == 0 {
			l.c('[')
		} else {
			l.s(", ")
		}
		show(b)
	}
	l.c(']')
}

// quote shows bytes as a C string literal.
func (l *line) quote(b []byte) {
	l.c('"')
	for i, c := range b {
		switch c {
		case '\n':
			l.s(`\n`)
		case '\t':
			l.s(`\t`)
		case '\r':
			l.s(`\r`)
		case '\v':
			l.s(`\v`)
		case '\f':
			l.s(`\f`)
		case '"', '\\':
			l.c('\\')
			l.c(c)
		default:
			if c >= ' ' && c < 0x7f {
				l.c(c)
				continue
			}
			l.c('\\')
			// Three digits where a digit follows, so that it does not join them.
			if next := i + 1; next < len(b) && b[next] >= '0' && b[next] <= '7' {
				l.c('0' + c>>6)
				l.c('0' + c>>3&7)
				l.c('0' + c&7)
			} else {
				l.buf = strconv.AppendUint(l.buf, uint64(c), 8)
			}
		}
	}
	l.c('"')
}

// quoteHex shows bytes, each in hexadecimal.
func (l *line) quoteHex(b []byte) {
	const digits = "0123456789abcdef"
	l.c('"')
	for _, c := range b {
		l.s(`\x`)
		l.c(digits[c>>4])
		l.c(digits[c&15])
	}
	l.c('"')
}

// buffer shows n bytes at addr, 32 at most.
func (l *line) buffer(addr, n uint64) {
	l.bytes(addr, n, (*line).quote)
}

func (l *line) bytes(addr, n uint64, quote func(*line, []byte)) {
	if addr == 0 {
		l.s("NULL")
		return
	}
	b := l.peek(addr, int(min(n, maxString)))
	if b == nil {
		l.hex(addr)
		return
	}
	quote(l, b)
	if n > maxString {
		l.s("...")
	}
}

// str shows the string at addr up to its NUL, max bytes at most.
func (l *line) str(addr uint64, max int) {
	if addr == 0 {
		l.s("NULL")
		return
	}
	b, whole := l.cstring(addr, max)
	if b == nil {
		l.hex(addr)
		return
	}
	l.quote(b)
	if !whole {
		l.s("...")
	}
}

// cstring reads up to max bytes of a string; whole says that its end is among
// them or right behind. nil: its end lies in memory that cannot be read.
func (l *line) cstring(addr uint64, max int) (b []byte, whole bool) {
	b = make([]byte, 0, 64)
	var piece [64]byte
	for len(b) <= max {
		// Not past a page: the next one may not be there.
		n := min(len(piece), hostarch.PageSize-int((addr+uint64(len(b)))%hostarch.PageSize))
		got, _ := l.mem.CopyIn(hostarch.Addr(addr+uint64(len(b))), piece[:n])
		for i, c := range piece[:got] {
			if c == 0 {
				b = append(b, piece[:i]...)
				return b[:min(len(b), max)], len(b) <= max
			}
		}
		b = append(b, piece[:got]...)
		if got < n {
			return nil, false
		}
	}
	return b[:max], false
}
