package trace

import (
	"golang.org/x/sys/unix"
)

// Kinds of the calls that wait for descriptors.

func epollFlags(l *line, v uint64)     { l.bits(uint64(uint32(v)), &epollCreateBits) }
func epollOperation(l *line, v uint64) { l.one(uint64(uint32(v)), &epollOperations) }
func eventfdFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &eventfdBits) }
func signalfdFlags(l *line, v uint64)  { l.bits(uint64(uint32(v)), &signalfdBits) }

// Limits of what is read of arrays that are looked through.
const maxPollFDs = 4096

// pollFDs is struct pollfd[], the number of which is the next argument.
func pollFDs(l *line, v uint64) {
	n := uint64(uint32(l.arg(1)))
	l.elements(v, min(n, maxPollFDs), 8, func(b []byte) {
		l.s("{fd=")
		fdNum := int32(le.Uint32(b))
		l.int(int64(fdNum))
		if fdNum >= 0 {
			l.s(", events=")
			l.bits(uint64(le.Uint16(b[4:])), &pollBits)
		}
		l.c('}')
	})
}

// retPoll is how many descriptors are ready, and which.
func retPoll(l *line) {
	l.int(int64(l.ret))
	if l.ret == 0 {
		l.s(" (Timeout)")
		return
	}
	b := l.peek(l.arg(0), 8*int(min(uint64(uint32(l.arg(1))), maxPollFDs)))
	if b == nil {
		return
	}
	shown := 0
	for ; len(b) >= 8; b = b[8:] {
		fdNum, revents := int32(le.Uint32(b)), le.Uint16(b[6:])
		if fdNum < 0 || revents == 0 {
			continue
		}
		if shown == 0 {
			l.s(" ([")
		} else {
			l.s(", ")
		}
		if shown == maxElements {
			l.s("...")
			break
		}
		shown++
		l.s("{fd=")
		l.int(int64(fdNum))
		l.s(", revents=")
		l.bits(uint64(revents), &pollBits)
		l.c('}')
	}
	l.s("]")
	l.timeLeft()
	l.c(')')
}

// timeLeft shows what ppoll(2) and select(2) left of the timeout.
func (l *line) timeLeft() {
	var b []byte
	switch l.name {
	case "ppoll":
		b = l.peek(l.arg(2), 16)
	case "select", "pselect6":
		b = l.peek(l.arg(4), 16)
	default:
		return
	}
	if b == nil {
		return
	}
	l.s(", left ")
	if l.name == "select" {
		l.val(b)
	} else {
		l.spec(b)
	}
}

// maxSelect bounds the descriptors that are looked at.
const maxSelect = 1024

// fdSet is an fd_set, of as many descriptors as the first argument says.
func fdSet(l *line, v uint64) {
	n := int(int32(l.arg(0)))
	if n <= 0 || v == 0 {
		l.addr(v)
		return
	}
	n = min(n, maxSelect)
	if b := l.fetch(v, 8*((n+63)/64)); b != nil {
		l.fdSet(b, n)
	}
}

func (l *line) fdSet(b []byte, n int) {
	l.c('[')
	first := true
	for i := range n {
		if b[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if !first {
			l.c(' ')
		}
		first = false
		l.int(int64(i))
	}
	l.c(']')
}

// retSelect is how many descriptors are ready, and which.
func retSelect(l *line) {
	l.int(int64(l.ret))
	if l.ret == 0 {
		l.s(" (Timeout)")
		return
	}
	n := min(int(int32(l.arg(0))), maxSelect)
	shown := false
	for i, name := range [...]string{"in ", "out ", "except "} {
		addr := l.arg(i + 1)
		if n <= 0 || addr == 0 {
			continue
		}
		b := l.peek(addr, 8*((n+63)/64))
		if b == nil || empty(b, n) {
			continue
		}
		if shown {
			l.s(", ")
		} else {
			l.s(" (")
		}
		shown = true
		l.s(name)
		l.fdSet(b, n)
	}
	if shown {
		l.timeLeft()
		l.c(')')
	}
}

func empty(b []byte, n int) bool {
	for i := range n {
		if b[i/8]>>(i%8)&1 != 0 {
			return false
		}
	}
	return true
}

// epollEvent is struct epoll_event; epoll_ctl(2) looks at it unless it deletes.
func epollEvent(l *line, v uint64) {
	if l.arg(1) == unix.EPOLL_CTL_DEL {
		l.addr(v)
		return
	}
	if b := l.fetch(v, 12); b != nil {
		l.epollEvent(b)
	}
}

func (l *line) epollEvent(b []byte) {
	l.s("{events=")
	l.bits(uint64(le.Uint32(b)), &epollBits)
	l.s(", data={u32=")
	l.uint(uint64(le.Uint32(b[4:])))
	l.s(", u64=")
	l.uint(le.Uint64(b[4:]))
	l.s("}}")
}

// epollEvents are as many as the call returned.
func epollEvents(l *line, v uint64) {
	if l.failed() {
		l.addr(v)
		return
	}
	l.elements(v, min(l.ret, maxPollFDs), 12, l.epollEvent)
}
