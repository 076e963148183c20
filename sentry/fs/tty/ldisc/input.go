package ldisc

import (
	"golang.org/x/sys/unix"
)

// Receive takes what a keyboard sent and returns how much it took: less than all if
// there is no room before somebody reads (n_tty_receive_buf_common).
func (l *Line) Receive(src []byte) int {
	done := 0
	for done < len(src) {
		// A character may need three places (PARMRK), and one is kept for the
		// end of the line.
		room := bufSize - int(l.head-l.tail)
		if l.t.iflag(unix.PARMRK) {
			room = (room + 2) / 3
		}
		room--
		if room <= 0 {
			if !l.t.lflag(unix.ICANON) || l.canon != l.tail {
				break
			}
			// A line that is too long: its last character is replaced until the
			// end comes, so that this can come.
			if room < 0 {
				l.head--
			}
			room = 1
		}
		n := min(len(src)-done, room)
		l.receive(src[done : done+n])
		done += n
	}
	return done
}

// receive is __receive_buf.
func (l *Line) receive(src []byte) {
	t := &l.t
	before := l.head
	strip := t.iflag(unix.ISTRIP) || t.iflag(unix.IUCLC) && t.lflag(unix.IEXTEN)
	if l.raw || t.lflag(unix.EXTPROC) && !strip {
		for _, c := range src {
			l.put(c)
		}
	} else {
		for _, c := range src {
			l.receiveChar(c)
		}
		// flush_echoes. What waits since an earlier time waits on, for the next
		// output or ^Q.
		if l.echoed && t.lflag(unix.ECHO|unix.ECHONL) {
			l.flushEchoes()
		}
	}
	if !t.Canonical() && l.head != before {
		l.Events.Readable = true
	}
}

func (l *Line) receiveChar(c byte) {
	t := &l.t
	if t.iflag(unix.ISTRIP) {
		c &= 0x7f
	}
	if t.iflag(unix.IUCLC) && t.lflag(unix.IEXTEN) {
		c = lower(c)
	}
	switch {
	case l.lnext:
		l.lnext = false
		l.plain(c)
	case t.lflag(unix.EXTPROC):
		l.put(c)
	case l.special[c]:
		l.specialChar(c)
	default:
		l.plain(c)
	}
}

// restart lets any character end ^S (IXANY).
func (l *Line) restart() {
	if l.stopped && !l.tcoStopped && l.t.iflag(unix.IXON) && l.t.iflag(unix.IXANY) {
		l.start()
		l.flushEchoes()
	}
}

// plain takes in a character that means itself (n_tty_receive_char).
func (l *Line) plain(c byte) {
	l.restart()
	if l.t.lflag(unix.ECHO) {
		l.finishErasing()
		if l.canon == l.head {
			l.echoOp(echoSetColumn)
		}
		l.echoChar(c)
	}
	l.putMarked(c)
}

// putMarked doubles what would look like a mark (PARMRK).
func (l *Line) putMarked(c byte) {
	if c == 0xff && l.t.iflag(unix.PARMRK) {
		l.put(c)
	}
	l.put(c)
}

// specialChar is n_tty_receive_char_special.
func (l *Line) specialChar(c byte) {
	t := &l.t
	if t.iflag(unix.IXON) {
		switch c {
		case t.CC[unix.VSTART]:
			l.start()
			l.flushEchoes()
			return
		case t.CC[unix.VSTOP]:
			l.stop()
			return
		}
	}
	if t.lflag(unix.ISIG) {
		for i, index := range [...]int{unix.VINTR, unix.VQUIT, unix.VSUSP} {
			if c == t.CC[index] {
				l.signal(i, c)
				return
			}
		}
	}
	l.restart()
	switch {
	case c == '\r' && t.iflag(unix.IGNCR):
		return
	case c == '\r' && t.iflag(unix.ICRNL):
		c = '\n'
	case c == '\n' && t.iflag(unix.INLCR):
		c = '\r'
	}
	if t.lflag(unix.ICANON) && l.canonical(c) {
		return
	}
	if t.lflag(unix.ECHO) {
		l.finishErasing()
		if c == '\n' {
			l.echoRaw('\n')
		} else {
			if l.canon == l.head {
				l.echoOp(echoSetColumn)
			}
			l.echoChar(c)
		}
	}
	l.putMarked(c)
}

// signal is n_tty_receive_signal_char and isig.
func (l *Line) signal(i int, c byte) {
	l.Events.Signals[i] = true
	if !l.t.lflag(unix.NOFLSH) {
		l.echo.Reset()
		l.FlushOutput()
		l.FlushInput()
	}
	if l.t.iflag(unix.IXON) {
		l.start()
	}
	if l.t.lflag(unix.ECHO) {
		l.echoChar(c)
	} else {
		l.flushEchoes()
	}
}

// canonical does what a character means in a line (n_tty_receive_char_canon), and
// reports whether that was all.
func (l *Line) canonical(c byte) bool {
	t := &l.t
	extended, echo := t.lflag(unix.IEXTEN), t.lflag(unix.ECHO)
	switch {
	case c == t.CC[unix.VERASE], c == t.CC[unix.VKILL], c == t.CC[unix.VWERASE] && extended:
		l.erase(c)
		return true
	case c == t.CC[unix.VLNEXT] && extended:
		l.lnext = true
		if echo {
			l.finishErasing()
			if t.lflag(unix.ECHOCTL) {
				l.echoRaw('^')
				l.echoRaw('\b')
			}
		}
		return true
	case c == t.CC[unix.VREPRINT] && echo && extended:
		l.finishErasing()
		l.echoChar(c)
		l.echoRaw('\n')
		for pos := l.canon; pos != l.head; pos++ {
			l.echoChar(l.at(pos))
		}
		return true
	case c == '\n':
		if echo || t.lflag(unix.ECHONL) {
			l.echoRaw('\n')
		}
		l.endLine('\n')
		return true
	case c == t.CC[unix.VEOF]:
		l.endLine(disabled)
		return true
	case c == t.CC[unix.VEOL], c == t.CC[unix.VEOL2] && extended:
		if echo {
			if l.canon == l.head {
				l.echoOp(echoSetColumn)
			}
			l.echoChar(c)
		}
		if c == 0xff && t.iflag(unix.PARMRK) {
			l.put(c)
		}
		l.endLine(c)
		return true
	}
	return false
}

// endLine completes a line (n_tty_receive_handle_newline).
func (l *Line) endLine(c byte) {
	l.put(c)
	l.ends[(l.head-1)%bufSize] = true
	l.canon = l.head
	l.Events.Readable = true
}

// erase takes back a character, a word or the line (eraser).
func (l *Line) erase(c byte) {
	t := &l.t
	if l.head == l.canon {
		return
	}
	echo := t.lflag(unix.ECHO)
	one, word := c == t.CC[unix.VERASE], false
	switch {
	case one:
	case c == t.CC[unix.VWERASE]:
		word = true
	case !echo:
		l.head = l.canon
		return
	case !t.lflag(unix.ECHOK) || !t.lflag(unix.ECHOKE) || !t.lflag(unix.ECHOE):
		l.head = l.canon
		l.finishErasing()
		l.echoChar(t.CC[unix.VKILL])
		if t.lflag(unix.ECHOK) {
			l.echoRaw('\n')
		}
		return
	}
	letters := false
	for l.head != l.canon {
		// A character may be several bytes long.
		head := l.head - 1
		for l.continuation(l.at(head)) && head != l.canon {
			head--
		}
		c := l.at(head)
		if l.continuation(c) {
			break // the beginning is not in this line
		}
		if word {
			if isAlnum(c) || c == '_' {
				letters = true
			} else if letters {
				break
			}
		}
		end := l.head
		l.head = head
		if echo {
			l.echoErased(c, head, end, one)
		}
		if one {
			break
		}
	}
	if l.head == l.canon && echo {
		l.finishErasing()
	}
}

// echoErased shows that the character c at [head, end) is gone.
func (l *Line) echoErased(c byte, head, end uint32, one bool) {
	t := &l.t
	control := t.lflag(unix.ECHOCTL)
	switch {
	case t.lflag(unix.ECHOPRT):
		if !l.erasing {
			l.echoRaw('\\')
			l.erasing = true
		}
		l.echoChar(c)
		for pos := head + 1; pos != end; pos++ {
			l.echoRaw(l.at(pos))
			l.echoOp(echoMoveBack)
		}
	case one && !t.lflag(unix.ECHOE):
		l.echoChar(t.CC[unix.VERASE])
	case c == '\t':
		l.echoTab(head)
	default:
		if isControl(c) && control {
			l.echoBack()
		}
		if !isControl(c) || control {
			l.echoBack()
		}
	}
}

func (l *Line) echoBack() {
	for _, c := range [...]byte{'\b', ' ', '\b'} {
		l.echoRaw(c)
	}
}

// echoTab goes back over a tab that was at pos: to how many columns the characters
// before it took, since the tab before or since the line began.
func (l *Line) echoTab(pos uint32) {
	columns, afterTab := 0, false
	for pos != l.canon {
		pos--
		c := l.at(pos)
		if c == '\t' {
			afterTab = true
			break
		}
		if isControl(c) {
			if l.t.lflag(unix.ECHOCTL) {
				columns += 2
			}
		} else if !l.continuation(c) {
			columns++
		}
	}
	l.echoEraseTab(columns, afterTab)
}

func (l *Line) finishErasing() {
	if l.erasing {
		l.echoRaw('/')
		l.erasing = false
	}
}

// continuation reports whether c is an inner byte of a UTF-8 character.
func (l *Line) continuation(c byte) bool { return l.t.iflag(unix.IUTF8) && c&0xc0 == 0x80 }

// The classes of Linux's lib/ctype.c, which knows Latin-1.

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xde && c != 0xd7 }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= 0xdf && c != 0xf7 }

func isAlnum(c byte) bool { return isUpper(c) || isLower(c) || c >= '0' && c <= '9' }

func lower(c byte) byte {
	if isUpper(c) {
		return c + 0x20
	}
	return c
}

func upper(c byte) byte {
	if isLower(c) {
		return c - 0x20
	}
	return c
}
