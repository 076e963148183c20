// Package ldisc is the terminal line discipline N_TTY (Linux's drivers/tty/n_tty.c):
// what makes of the bytes that a keyboard sends the lines and signals that programs
// read, and of what programs write what a screen shows.
//
//	             Receive          Read
//	keyboard  ─────────────▶ buf ─────────▶ program
//	                │ echo
//	screen    ◀──── Out ◀────────────────── program
//	                             Write
//
// A Line is plain data: it does no locking, never waits and calls nobody. What it has
// to tell (signals to be sent, readers to be woken) it collects in Events.
//
// It differs from Linux in what cannot be seen on a pseudo-terminal: there are no
// breaks, parity errors and delays, and echoes are put out at once.
package ldisc

import (
	"golang.org/x/sys/unix"
)

// bufSize is N_TTY_BUF_SIZE: the longest line, with its end, in bytes.
const bufSize = 4096

// OutLimit is how much output a Line holds until it is taken, in bytes: what a
// pseudo-terminal of Linux has in its flip buffer and in the master's N_TTY.
const OutLimit = 12 << 10

// Events are what happened to a Line.
type Events struct {
	Signals  [3]bool // SIGINT, SIGQUIT, SIGTSTP, for the foreground group
	Readable bool    // input, or the settings, changed
	Writable bool    // there may be room for output again
	Output   bool    // Out was added to
	Packet   uint8   // TIOCPKT_*: what a master in packet mode is told
}

// Signal returns the signal with an index in Events.Signals.
func Signal(i int) unix.Signal {
	return [...]unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP}[i]
}

// Line is the state of a line discipline (struct n_tty_data). Make it with New.
type Line struct {
	Events Events
	// Out is the output that nobody took yet.
	Out Fifo

	t       Termios
	special [256]bool // char_map: characters that are not just taken in
	raw     bool      // there are none, and no echo

	// Input. Positions count on; buf is a ring. tail ≤ canon ≤ head ≤ tail+bufSize.
	buf     [bufSize]byte
	ends    [bufSize]bool // of a line; read_flags
	head    uint32        // where the next character goes
	canon   uint32        // end of the last complete line
	tail    uint32        // the next to be read
	lnext   bool          // the next character is taken as it is
	erasing bool          // inside \…/ of ECHOPRT

	column, canonColumn uint32
	echo                Fifo
	echoed              bool // something was echoed since flushEchoes

	stopped    bool // no output: ^S, or TCOOFF
	tcoStopped bool // TCOOFF
}

// New makes a Line with the default settings.
func New() *Line {
	l := &Line{}
	l.Out.Limit, l.echo.Limit = OutLimit, echoLimit
	l.t = DefaultTermios()
	l.adopt(nil)
	return l
}

// Termios returns the settings.
func (l *Line) Termios() Termios { return l.t }

// at returns the character at a position.
func (l *Line) at(pos uint32) byte { return l.buf[pos%bufSize] }

// put takes a character in (put_tty_queue). Where that is one too many, it replaces
// the one before.
func (l *Line) put(c byte) {
	if l.head-l.tail >= bufSize {
		l.head--
	}
	l.buf[l.head%bufSize] = c
	l.ends[l.head%bufSize] = false
	l.head++
}

// SetTermios changes the settings (n_tty_set_termios).
func (l *Line) SetTermios(t Termios) {
	old := l.t
	l.t = t
	l.adopt(&old)
}

func (l *Line) adopt(old *Termios) {
	t := &l.t
	if old == nil || (old.Lflag^t.Lflag)&(unix.ICANON|unix.EXTPROC) != 0 {
		clear(l.ends[:])
		if !t.lflag(unix.ICANON) || l.head == l.tail {
			l.canon = l.tail
		} else {
			// What came before is a line of its own.
			l.ends[(l.head-1)%bufSize] = true
			l.canon = l.head
		}
		l.erasing, l.lnext = false, false
	}
	l.mapSpecials()
	if !t.iflag(unix.IXON) && old != nil && old.iflag(unix.IXON) && !l.tcoStopped {
		l.start()
		l.flushEchoes()
	}
	l.Events.Readable, l.Events.Writable = true, true
}

func (l *Line) mapSpecials() {
	t := &l.t
	l.special = [256]bool{}
	l.raw = !t.iflag(unix.ISTRIP|unix.IUCLC|unix.IGNCR|unix.ICRNL|unix.INLCR|unix.IXON|unix.PARMRK) &&
		!t.lflag(unix.ICANON|unix.ISIG|unix.ECHO)
	if l.raw {
		return
	}
	mark := func(on bool, indices ...int) {
		for _, i := range indices {
			l.special[t.CC[i]] = l.special[t.CC[i]] || on
		}
	}
	canonical, extended := t.lflag(unix.ICANON), t.lflag(unix.IEXTEN)
	mark(canonical, unix.VERASE, unix.VKILL, unix.VEOF, unix.VEOL)
	mark(canonical && extended, unix.VWERASE, unix.VLNEXT, unix.VEOL2)
	mark(canonical && extended && t.lflag(unix.ECHO), unix.VREPRINT)
	mark(t.iflag(unix.IXON), unix.VSTART, unix.VSTOP)
	mark(t.lflag(unix.ISIG), unix.VINTR, unix.VQUIT, unix.VSUSP)
	l.special[disabled] = false
	l.special['\r'] = l.special['\r'] || t.iflag(unix.IGNCR|unix.ICRNL)
	l.special['\n'] = l.special['\n'] || canonical || t.iflag(unix.INLCR)
}

// start lets output go on (__start_tty).
func (l *Line) start() {
	if !l.stopped || l.tcoStopped {
		return
	}
	l.stopped = false
	l.Events.Packet = l.Events.Packet&^unix.TIOCPKT_STOP | unix.TIOCPKT_START
	l.Events.Writable = true
}

// stop holds output back (__stop_tty).
func (l *Line) stop() {
	if l.stopped {
		return
	}
	l.stopped = true
	l.Events.Packet = l.Events.Packet&^unix.TIOCPKT_START | unix.TIOCPKT_STOP
}

// Suspend is TCOOFF.
func (l *Line) Suspend() {
	if !l.tcoStopped {
		l.tcoStopped = true
		l.stop()
	}
}

// Resume is TCOON. Echoes wait for the next input or output, as on Linux.
func (l *Line) Resume() {
	if l.tcoStopped {
		l.tcoStopped = false
		l.start()
	}
}

// SendChar puts out one of the special characters at once, for TCIOFF (VSTOP) and
// TCION (VSTART), through ^S but not through TCOOFF: tty_send_xchar.
func (l *Line) SendChar(index int) {
	if c := l.t.CC[index]; c != disabled && !l.tcoStopped {
		l.Out.Put([]byte{c})
		l.Events.Output = true
	}
}

// FlushInput throws away what was not read (n_tty_flush_buffer).
func (l *Line) FlushInput() {
	l.head, l.canon, l.tail = 0, 0, 0
	clear(l.ends[:])
	l.erasing = false
	l.Events.Packet |= unix.TIOCPKT_FLUSHREAD
}

// FlushOutput throws away what nobody took (pty_flush_buffer).
func (l *Line) FlushOutput() {
	l.Out.Reset()
	l.Events.Packet |= unix.TIOCPKT_FLUSHWRITE
	l.Events.Writable = true
}
