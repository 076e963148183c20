package tty

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/tty/ldisc"
	"runsc-lite/sentry/vfs"
)

const (
	// typedLimit is how much the master's side may write before the line
	// discipline takes it, in bytes (pty.c's tty_buffer_set_limit).
	typedLimit = 8192
	// writable is how much room calls the slave's side writable: a tab may need
	// it.
	writable = 8
)

const winsizeSize = 8

// Pair is a pseudo-terminal (Linux's drivers/tty/pty.c): the slave's side is a
// terminal, with a line discipline, the master's side is its keyboard and screen.
//
//	master ─▶ typed ─▶ line ─▶ slave
//	       ◀── line.Out ◀──────
type Pair struct {
	Control
	index   int
	release func() // called once, when the master is closed

	masters, slaves waiter.Queue // who waits on either side

	// Times of the last read and write of the slave's side, nanoseconds.
	Accessed, Modified atomic.Int64
	now                func() unix.Timespec

	mu        sync.Mutex
	line      *ldisc.Line
	typed     ldisc.Fifo
	winsize   [winsizeSize]byte
	packet    bool  // TIOCPKT
	status    uint8 // TIOCPKT_* that the master was not told yet
	locked    bool  // TIOCSPTLCK
	exclusive bool  // TIOCEXCL
	held      bool  // TCOOFF on the master's side
	open      int   // files on the slave's side
	left      bool  // there were some, and all are closed
	closed    bool  // the master is
	hangups   int   // files opened before the last one are hung up

	arrived time.Time // when there was input last, kept while VTIME is set
}

// PairOptions are how a Pair is made.
type PairOptions struct {
	Procs *procmgr.Table
	Index int // in its devpts
	Now   func() unix.Timespec
	// Release is called when the master is closed.
	Release func()
}

// ptsMajor is UNIX98_PTY_SLAVE_MAJOR.
const ptsMajor = 136

// SlaveNumber is the device number of the slave with an index.
func SlaveNumber(index int) uint64 { return unix.Mkdev(ptsMajor, uint32(index)) }

// NewPair makes a pseudo-terminal, locked, and opens its master.
func NewPair(o PairOptions, flags uint32) (*Pair, *Master) {
	p := &Pair{index: o.Index, release: o.Release, now: o.Now, line: ldisc.New(), locked: true}
	p.typed.Limit = typedLimit
	p.Control.init(o.Procs, p, SlaveNumber(o.Index))
	p.touch(&p.Accessed)
	p.touch(&p.Modified)
	m := &Master{Pair: p}
	m.nonblock.Store(flags&unix.O_NONBLOCK != 0)
	return p, m
}

// touch sets a time as coarsely as Linux does, so that it does not tell how long the
// words are that somebody types (tty_update_time).
func (p *Pair) touch(t *atomic.Int64) {
	now := p.now()
	t.Store((now.Sec &^ 7) * 1e9)
}

// Open implements Terminal: it opens the slave's side.
func (p *Pair) Open(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
	p.mu.Lock()
	if p.closed || p.locked {
		p.mu.Unlock()
		return nil, unix.EIO
	}
	if p.exclusive && !capable(c.Task, unix.CAP_SYS_ADMIN) {
		p.mu.Unlock()
		return nil, unix.EBUSY
	}
	p.open++
	p.left = false
	s := &slave{Pair: p, hangup: p.hangups, readable: flags&unix.O_ACCMODE != unix.O_WRONLY}
	p.mu.Unlock()
	s.nonblock.Store(flags&unix.O_NONBLOCK != 0)
	p.offer(c.Task, flags)
	return s, nil
}

// unlock passes on what happened while p.mu was held, and releases it.
func (p *Pair) unlock() {
	wasFull := p.typed.Room() == 0
	for p.typed.Len() > 0 {
		n := p.line.Receive(p.typed.Head())
		if n == 0 {
			break
		}
		p.typed.Skip(n)
	}
	ev := p.line.Events
	p.line.Events = ldisc.Events{}
	var master, slave waiter.EventMask
	if ev.Packet != 0 && p.packet {
		p.addStatus(ev.Packet)
		master |= waiter.ReadableEvents | waiter.EventPri
	}
	if ev.Output {
		master |= waiter.ReadableEvents
	}
	if wasFull && p.typed.Room() > 0 {
		master |= waiter.WritableEvents
	}
	if ev.Readable {
		slave |= waiter.ReadableEvents
		if t := p.line.Termios(); t.CC[unix.VTIME] != 0 {
			p.arrived = time.Now()
		}
	}
	if ev.Writable && p.line.Room() >= writable {
		slave |= waiter.WritableEvents
	}
	if p.closed && p.open == 0 {
		p.line = nil // nobody gets at it again, though the inode may be in a cache
	}
	p.mu.Unlock()
	for i, due := range ev.Signals {
		if due {
			p.signal(ldisc.Signal(i))
		}
	}
	if master != 0 {
		p.masters.Notify(master)
	}
	if slave != 0 {
		p.slaves.Notify(slave)
	}
}

// addStatus adds to what the master is told in packet mode, where the later of two
// contrary things counts.
func (p *Pair) addStatus(s uint8) {
	for _, pair := range [...][2]uint8{
		{unix.TIOCPKT_STOP, unix.TIOCPKT_START}, {unix.TIOCPKT_DOSTOP, unix.TIOCPKT_NOSTOP},
	} {
		if s&(pair[0]|pair[1]) != 0 {
			p.status &^= pair[0] | pair[1]
		}
	}
	p.status |= s
}

// hangUp is the end of the connection for all files on the slave's side
// (__tty_hangup). p.mu is held; it is released.
func (p *Pair) hangUp() {
	p.hangups++
	p.line.FlushInput()
	p.typed.Reset()
	p.line.SetTermios(ldisc.DefaultTermios())
	p.unlock()
	p.procs.HangUp(&p.term)
	p.slaves.Notify(waiter.ReadableEvents | waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
}

// setTermios changes the settings of the slave's side (tty_set_termios and
// pty_set_termios). p.mu is held.
func (p *Pair) setTermios(t ldisc.Termios) {
	old := p.line.Termios()
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD
	p.line.SetTermios(t)
	if !p.packet {
		return
	}
	status := uint8(0)
	if was, is := old.FlowByXON(), t.FlowByXON(); was != is {
		status = unix.TIOCPKT_NOSTOP
		if is {
			status = unix.TIOCPKT_DOSTOP
		}
	}
	if (old.Lflag|t.Lflag)&unix.EXTPROC != 0 {
		status |= unix.TIOCPKT_IOCTL
	}
	p.line.Events.Packet |= status
}

// setWinsize changes the window size and tells the foreground group, if it is another
// one (tty_do_resize).
func (p *Pair) setWinsize(w [winsizeSize]byte) {
	p.mu.Lock()
	same := p.winsize == w
	p.winsize = w
	p.mu.Unlock()
	if !same {
		p.signal(unix.SIGWINCH)
	}
}
