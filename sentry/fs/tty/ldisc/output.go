package ldisc

import (
	"golang.org/x/sys/unix"
)

// Echoes are queued, because output may be stopped or full. In the queue stand
// characters to be put out, and after echoMark operations: the codes below, the mark
// itself, or a control character to be shown as ^X.
const (
	echoMark      = 0xff
	echoMoveBack  = 0x80
	echoSetColumn = 0x81
	echoEraseTab  = 0x82
)

const (
	echoLimit = 4096
	// echoKeep is how much of the queue may be full: older echoes are dropped.
	echoKeep = echoLimit - 512
)

// echoRaw echoes a character as it is (echo_char_raw).
func (l *Line) echoRaw(c byte) {
	if c == echoMark {
		l.echo.Put([]byte{echoMark, echoMark})
	} else {
		l.echo.Put([]byte{c})
	}
	l.settleEchoes()
}

// echoChar echoes a character, control characters as ^X with ECHOCTL (echo_char).
func (l *Line) echoChar(c byte) {
	if c != echoMark && c != '\t' && isControl(c) && l.t.lflag(unix.ECHOCTL) {
		l.echo.Put([]byte{echoMark, c})
		l.settleEchoes()
		return
	}
	l.echoRaw(c)
}

func (l *Line) echoOp(op byte) {
	l.echo.Put([]byte{echoMark, op})
	l.settleEchoes()
}

// echoEraseTab: the count is of columns, modulo 8, with the high bit set if they
// follow a tab (echo_erase_tab).
func (l *Line) echoEraseTab(columns int, afterTab bool) {
	n := byte(columns & 7)
	if afterTab {
		n |= 0x80
	}
	l.echo.Put([]byte{echoMark, echoEraseTab, n})
	l.settleEchoes()
}

// settleEchoes keeps the queue from overflowing.
func (l *Line) settleEchoes() {
	l.echoed = true
	if l.echo.Len() < 256 {
		return
	}
	l.flushEchoes()
	for l.echo.Len() > echoKeep {
		l.echo.Skip(l.echoLength())
	}
}

// echoLength returns how long the first entry of the queue is.
func (l *Line) echoLength() int {
	var b [2]byte
	switch n := l.echo.Peek(b[:]); {
	case n < 2 || b[0] != echoMark:
		return 1
	case b[1] == echoEraseTab:
		return 3
	}
	return 2
}

// flushEchoes puts out what was echoed, as far as there is room (__process_echoes).
func (l *Line) flushEchoes() {
	l.echoed = false
	for l.echo.Len() > 0 {
		var b [3]byte
		n := l.echoLength()
		l.echo.Peek(b[:n])
		if n == 1 {
			if !l.outputChar(b[0]) {
				return
			}
		} else if !l.echoOperation(b[1], b[2]) {
			return
		}
		l.echo.Skip(n)
	}
}

// echoOperation is n_tty_process_echo_ops; false: there is no room.
func (l *Line) echoOperation(op, arg byte) bool {
	switch op {
	case echoEraseTab:
		columns := uint32(arg)
		if columns&0x80 == 0 {
			columns += l.canonColumn
		}
		back := 8 - columns&7
		if l.room() < int(back) {
			return false
		}
		for range back {
			l.emit('\b')
			l.column -= min(l.column, 1)
		}
	case echoSetColumn:
		l.canonColumn = l.column
	case echoMoveBack:
		l.column -= min(l.column, 1)
	case echoMark:
		if l.room() < 1 {
			return false
		}
		l.emit(echoMark)
		l.column++
	default:
		if l.room() < 2 {
			return false
		}
		l.emit('^', op^0x40)
		l.column += 2
	}
	return true
}

// room returns how much may be put out (tty_write_room).
func (l *Line) room() int {
	if l.stopped {
		return 0
	}
	return l.Out.Room()
}

// Room returns how much output fits: it is 0 while output is stopped.
func (l *Line) Room() int { return l.room() }

func (l *Line) emit(b ...byte) {
	l.Out.Put(b)
	l.Events.Output = true
}

// outputChar puts out a character as the output modes have it; false: there is no
// room (do_output_char).
func (l *Line) outputChar(c byte) bool {
	room := l.room()
	if room < 1 {
		return false
	}
	t := &l.t
	if !t.oflag(unix.OPOST) {
		l.emit(c)
		return true
	}
	switch c {
	case '\n':
		if t.oflag(unix.ONLRET) {
			l.column = 0
		}
		if t.oflag(unix.ONLCR) {
			if room < 2 {
				return false
			}
			l.canonColumn, l.column = 0, 0
			l.emit('\r', '\n')
			return true
		}
		l.canonColumn = l.column
	case '\r':
		if t.oflag(unix.ONOCR) && l.column == 0 {
			return true
		}
		if t.oflag(unix.OCRNL) {
			c = '\n'
			if t.oflag(unix.ONLRET) {
				l.canonColumn, l.column = 0, 0
			}
			break
		}
		l.canonColumn, l.column = 0, 0
	case '\t':
		spaces := 8 - l.column&7
		if t.Oflag&unix.TABDLY == xtabs {
			if room < int(spaces) {
				return false
			}
			l.column += spaces
			l.emit([]byte("        ")[:spaces]...)
			return true
		}
		l.column += spaces
	case '\b':
		l.column -= min(l.column, 1)
	default:
		if !isControl(c) {
			if t.oflag(unix.OLCUC) {
				c = upper(c)
			}
			if !l.continuation(c) {
				l.column++
			}
		}
	}
	l.emit(c)
	return true
}

// Write puts out what a program writes and returns how much: less than all when there
// is no room (n_tty_write).
func (l *Line) Write(src []byte) int {
	l.flushEchoes()
	if !l.t.oflag(unix.OPOST) {
		n := l.Out.Put(src[:min(len(src), l.room())])
		l.Events.Output = l.Events.Output || n > 0
		return n
	}
	done := 0
	for done < len(src) {
		// Most of it means itself.
		n := 0
		for most := min(len(src)-done, l.room()); n < most; n++ {
			c := src[done+n]
			if isControl(c) || l.t.oflag(unix.OLCUC) {
				break
			}
			if !l.continuation(c) {
				l.column++
			}
		}
		if n > 0 {
			l.emit(src[done : done+n]...)
			done += n
			continue
		}
		if !l.outputChar(src[done]) {
			break
		}
		done++
	}
	return done
}
