package trace

import (
	"golang.org/x/sys/unix"
)

// Kinds of plain arguments: numbers, descriptors, strings, buffers.

func num(l *line, v uint64)  { l.int(int64(int32(v))) }
func unum(l *line, v uint64) { l.uint(uint64(uint32(v))) }
func long(l *line, v uint64) { l.int(int64(v)) }
func size(l *line, v uint64) { l.uint(v) }
func hex(l *line, v uint64)  { l.hex(v) }
func ptr(l *line, v uint64)  { l.addr(v) }

// skip is an argument that is not shown.
func skip(l *line, v uint64) {}

// mode is permission bits.
func mode(l *line, v uint64) { l.oct3(v & 0xffff) }

// id is a user or group; -1 stays as it is.
func id(l *line, v uint64) {
	if uint32(v) == ^uint32(0) {
		l.s("-1")
		return
	}
	unum(l, v)
}

func fd(l *line, v uint64) { num(l, v) }

func dirfd(l *line, v uint64) {
	if int32(v) == unix.AT_FDCWD {
		l.s("AT_FDCWD")
		return
	}
	num(l, v)
}

func path(l *line, v uint64) { l.str(v, maxPath) }
func cstr(l *line, v uint64) { l.str(v, maxString) }

// bufIn is a buffer whose length is the next argument.
func bufIn(l *line, v uint64) { l.buffer(v, l.arg(l.i+1)) }

// bufOut is a buffer of which the call filled as much as it returned.
func bufOut(l *line, v uint64) {
	if l.failed() {
		l.addr(v)
		return
	}
	l.buffer(v, l.ret)
}

// randomOut is bufOut for bytes without meaning.
func randomOut(l *line, v uint64) {
	if l.failed() {
		l.addr(v)
		return
	}
	l.bytes(v, l.ret, (*line).quoteHex)
}

// cwdOut is a path that the call filled; it returned its size with the NUL.
func cwdOut(l *line, v uint64) {
	if l.failed() {
		l.addr(v)
		return
	}
	l.str(v, maxPath)
}

// xattrOut is an attribute's value, or names; a size of 0 asks for the length.
func xattrOut(l *line, v uint64) {
	if l.failed() || l.arg(l.i+1) == 0 {
		l.addr(v)
		return
	}
	l.buffer(v, l.ret)
}

// word shows a pointer to a number of n bytes as "[number]".
func (l *line) word(addr uint64, n int, show func(*line, uint64)) {
	b := l.fetch(addr, n)
	if b == nil {
		return
	}
	l.c('[')
	if n == 4 {
		show(l, uint64(le.Uint32(b)))
	} else {
		show(l, le.Uint64(b))
	}
	l.c(']')
}

func intPtr(l *line, v uint64)  { l.word(v, 4, num) }
func idOut(l *line, v uint64)   { l.word(v, 4, id) }
func wordPtr(l *line, v uint64) { l.word(v, 8, hex) }
func ptrPtr(l *line, v uint64)  { l.word(v, 8, ptr) }
func sizePtr(l *line, v uint64) { l.word(v, 8, size) }

// fdPair is what pipe(2) and socketpair(2) fill.
func fdPair(l *line, v uint64) {
	if b := l.fetch(v, 8); b != nil {
		l.c('[')
		num(l, uint64(le.Uint32(b)))
		l.s(", ")
		num(l, uint64(le.Uint32(b[4:])))
		l.c(']')
	}
}

// offset is a file offset that the call may change: offsetAfter shows that.
func offset(l *line, v uint64) {
	l.keep = 0
	if b := l.fetch(v, 8); b != nil {
		l.keep = le.Uint64(b)
		l.c('[')
		long(l, l.keep)
		l.c(']')
	}
	l.glue = true
}

// offsetAfter follows offset, which is one argument before it.
func offsetAfter(l *line, _ uint64) {
	l.i--
	v := l.arg(l.i)
	if b := l.peek(v, 8); v != 0 && b != nil && !l.failed() && le.Uint64(b) != l.keep {
		l.s(" => [")
		long(l, le.Uint64(b))
		l.c(']')
	}
	l.s(", ")
	l.glue = true
}

// offset64 is a file offset that is only shown as it was.
func offset64(l *line, v uint64) { l.word(v, 8, long) }

func groupsIn(l *line, v uint64)  { l.groups(v, uint64(uint32(l.arg(l.i-1)))) }
func groupsOut(l *line, v uint64) { l.groups(v, l.ret) }

func (l *line) groups(addr, n uint64) {
	l.elements(addr, min(n, 1<<16), 4, func(b []byte) { id(l, uint64(le.Uint32(b))) })
}

// argv is a list of strings that ends with a null pointer.
func argv(l *line, v uint64) {
	if v == 0 {
		l.s("NULL")
		return
	}
	for i := uint64(0); ; i++ {
		b := l.peek(v+8*i, 8)
		if b == nil {
			if i == 0 {
				l.hex(v)
				return
			}
			l.s(", ")
			l.hex(v + 8*i)
			break
		}
		p := le.Uint64(b)
		if i == 0 {
			l.c('[')
		}
		if p == 0 {
			break
		}
		if i > 0 {
			l.s(", ")
		}
		if i == maxElements {
			l.s("...")
			break
		}
		l.str(p, maxString)
	}
	l.c(']')
}

// maxVars bounds the count of environment variables.
const maxVars = 1 << 16

// envp is a list of which only the length is of interest.
func envp(l *line, v uint64) {
	l.addr(v)
	if v == 0 {
		return
	}
	for n := uint64(0); n < maxVars; n++ {
		b := l.peek(v+8*n, 8)
		if b == nil {
			if n == 0 {
				return
			}
			l.s(" /* ")
			l.uint(n)
			l.s(" vars, unterminated */")
			return
		}
		if le.Uint64(b) == 0 {
			l.vars(n)
			return
		}
	}
}

// vars says how many variables there are.
func (l *line) vars(n uint64) {
	l.s(" /* ")
	l.uint(n)
	if n == 1 {
		l.s(" var */")
	} else {
		l.s(" vars */")
	}
}

// resuming names the call that restart_syscall(2) goes on with.
func resuming(l *line, v uint64) {
	l.s("<... resuming interrupted ")
	if l.last == "" {
		l.s("system call")
	} else {
		l.s(l.last)
	}
	l.s(" ...>")
	l.i--
}
