package ldisc

import (
	"golang.org/x/sys/unix"
)

// Available returns how much a read could get now, and whether it need not wait
// (input_available_p): a line, or VMIN characters if there is no VTIME.
func (l *Line) Available() (n int, ready bool) {
	if l.t.Canonical() {
		return int(l.canon - l.tail), l.canon != l.tail
	}
	n = int(l.head - l.tail)
	least := 1
	if l.t.CC[unix.VTIME] == 0 {
		least = max(1, int(l.t.CC[unix.VMIN]))
	}
	return n, n >= least
}

// Queued returns how many characters there are to be read, of complete lines only in
// canonical mode (TIOCINQ).
func (l *Line) Queued() int {
	if !l.t.Canonical() {
		return int(l.head - l.tail)
	}
	n := int(l.canon - l.tail)
	for pos := l.tail; pos != l.canon; pos++ {
		if l.isEOF(pos) {
			n--
		}
	}
	return n
}

// isEOF reports whether the character at pos stands for an end of file.
func (l *Line) isEOF(pos uint32) bool { return l.ends[pos%bufSize] && l.at(pos) == disabled }

// Read fills dst, and returns how much. In canonical mode that is at most a line:
// 0 is an end of file. ok is false if a read has to wait: for a line; otherwise for
// VMIN characters, or as many as dst takes. With rest set it takes what there is, and
// ok is false only if that is nothing.
func (l *Line) Read(dst [][]byte, rest bool) (n int64, ok bool) {
	want := int64(0)
	for _, b := range dst {
		want += int64(len(b))
	}
	if want == 0 {
		return 0, true
	}
	if l.t.Canonical() {
		if l.canon == l.tail {
			return 0, false
		}
		return l.readLine(dst, want), true
	}
	have := int64(l.head - l.tail)
	least := min(int64(l.t.CC[unix.VMIN]), want)
	switch {
	case have == 0 && (least > 0 || l.t.CC[unix.VTIME] > 0):
		return 0, false // with neither VMIN nor VTIME a read never waits
	case have < least && !rest:
		return 0, false
	}
	have = min(have, want)
	l.copyOut(dst, have)
	return have, true
}

// readLine is canon_copy_from_read_buf, for as much of a line as dst takes.
func (l *Line) readLine(dst [][]byte, want int64) int64 {
	n, end := int64(0), false
	for pos := l.tail; pos != l.canon && n < want; pos++ {
		n++
		if l.ends[pos%bufSize] {
			end = true
			break
		}
	}
	if end && l.isEOF(l.tail+uint32(n)-1) {
		n--
		l.copyOut(dst, n)
		l.ends[l.tail%bufSize] = false
		l.tail++
		return n
	}
	last := (l.tail + uint32(n) - 1) % bufSize
	l.copyOut(dst, n)
	l.ends[last] = false
	// canon_skip_eof: an end of file right behind what filled dst is part of it.
	if !end && l.tail != l.canon && l.isEOF(l.tail) {
		l.ends[l.tail%bufSize] = false
		l.tail++
	}
	return n
}

// copyOut takes n characters, which are there, and for which dst has room.
func (l *Line) copyOut(dst [][]byte, n int64) {
	for _, b := range dst {
		b = b[:min(int64(len(b)), n)]
		n -= int64(len(b))
		for len(b) > 0 {
			from := l.tail % bufSize
			k := copy(b, l.buf[from:])
			b = b[k:]
			l.tail += uint32(k)
		}
	}
	if l.canon-l.tail > bufSize { // canon stays behind in raw mode
		l.canon = l.tail
	}
}
