package tty

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/tty/ldisc"
	"runsc-lite/sentry/vfs"
)

// guest is a process that makes calls: the memory of its ioctls, and a
// vfs.Caller's Task. Its thread has no goroutine: what is sent to it stays pending.
type guest struct {
	p *procmgr.Process
	b [256]byte
}

func (g *guest) Thread() *procmgr.Thread { return g.p.Leader() }

func (g *guest) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	if addr > hostarch.Addr(len(g.b)) {
		return 0, unix.EFAULT
	}
	return copy(dst, g.b[addr:]), nil
}

func (g *guest) CopyOut(addr hostarch.Addr, src []byte) (int, error) {
	if addr > hostarch.Addr(len(g.b)) {
		return 0, unix.EFAULT
	}
	return copy(g.b[addr:], src), nil
}

func (g *guest) caller() *vfs.Caller { return &vfs.Caller{Creds: &vfs.Creds{}, Task: g} }

func (g *guest) pending(sig unix.Signal) bool { return g.p.Leader().PendingSet().Has(sig) }

// ioctl makes a request with an int argument and returns the int that is there then.
func (g *guest) ioctl(t *testing.T, f vfs.FileOps, request uint32, v uint32, want error) uint32 {
	t.Helper()
	binary.LittleEndian.PutUint32(g.b[:], v)
	if _, err := f.(vfs.Ioctler).Ioctl(g, request, 0); err != want {
		t.Fatalf("ioctl %#x: %v, want %v", request, err, want)
	}
	return binary.LittleEndian.Uint32(g.b[:])
}

// terminal is a session with a pseudo-terminal: a shell that leads it, a job in the
// foreground and one in the background.
type terminal struct {
	procs       *procmgr.Table
	pair        *Pair
	master      *Master
	shell       *guest
	front, back *guest
	file        *slave // the shell's
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	procs := procmgr.NewTable(procmgr.Config{})
	init, err := procs.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	make := func(parent *procmgr.Process) *guest {
		p, err := procs.CreateProcess(parent, "guest", 0)
		if err != nil {
			t.Fatal(err)
		}
		return &guest{p: p}
	}
	x := &terminal{procs: procs, shell: make(init)}
	if _, err := procs.Setsid(x.shell.p); err != nil {
		t.Fatal(err)
	}
	now := func() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }
	x.pair, x.master = NewPair(PairOptions{Procs: procs, Index: 3, Now: now, Release: func() {}}, unix.O_RDWR)
	if _, err := x.pair.Open(x.shell.caller(), unix.O_RDWR); err != unix.EIO {
		t.Fatalf("opening a locked slave: %v, want EIO", err)
	}
	x.shell.ioctl(t, x.master, unix.TIOCSPTLCK, 0, nil)
	x.file = x.open(t, x.shell)
	x.front, x.back = make(x.shell.p), make(x.shell.p)
	for _, g := range []*guest{x.front, x.back} {
		if err := procs.Setpgid(g.p, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	x.shell.ioctl(t, x.file, unix.TIOCSPGRP, uint32(x.front.p.ID()), nil)
	return x
}

func (x *terminal) open(t *testing.T, g *guest) *slave {
	t.Helper()
	ops, err := x.pair.Open(g.caller(), unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return ops.(*slave)
}

func (x *terminal) typed(t *testing.T, s string) {
	t.Helper()
	if n, err := x.master.Write([][]byte{[]byte(s)}); n != int64(len(s)) || err != nil {
		t.Fatalf("typing %q: %d, %v", s, n, err)
	}
}

func wantRead(t *testing.T, f vfs.Reader, want string, wantErr error) {
	t.Helper()
	b := make([]byte, 100)
	n, err := f.Read([][]byte{b[:1], b[1:]})
	if string(b[:n]) != want || err != wantErr {
		t.Errorf("read %q, %v; want %q, %v", b[:n], err, want, wantErr)
	}
}

func TestBothWays(t *testing.T) {
	x := newTerminal(t)
	wantRead(t, x.file, "", unix.EAGAIN)
	x.typed(t, "hello")
	wantRead(t, x.file, "", unix.EAGAIN)
	x.typed(t, "\r")
	if n := x.shell.ioctl(t, x.file, unix.TIOCINQ, 0, nil); n != 6 {
		t.Errorf("%d characters to be read, want 6", n)
	}
	wantRead(t, x.file, "hello\n", nil)
	wantRead(t, x.master, "hello\r\n", nil)
	wantRead(t, x.master, "", unix.EAGAIN)
	x.file.Write([][]byte{[]byte("a\n"), nil, []byte("b")})
	if n := x.shell.ioctl(t, x.master, unix.TIOCINQ, 0, nil); n != 4 {
		t.Errorf("%d characters on the screen, want 4", n)
	}
	wantRead(t, x.master, "a\r\nb", nil)
}

func TestSignals(t *testing.T) {
	for char, sig := range map[string]unix.Signal{"\x03": unix.SIGINT, "\x1c": unix.SIGQUIT, "\x1a": unix.SIGTSTP} {
		x := newTerminal(t)
		x.typed(t, char)
		if !x.front.pending(sig) || x.back.pending(sig) || x.shell.pending(sig) {
			t.Errorf("%q: %v went to others than the foreground group", char, sig)
		}
	}
	x := newTerminal(t)
	var w [winsizeSize]byte
	for i := range w {
		w[i] = byte(i)
	}
	copy(x.shell.b[8:], w[:])
	if _, err := x.file.Ioctl(x.shell, unix.TIOCSWINSZ, 8); err != nil {
		t.Fatal(err)
	}
	if _, err := x.master.Ioctl(x.shell, unix.TIOCGWINSZ, 100); err != nil || [winsizeSize]byte(x.shell.b[100:]) != w {
		t.Errorf("window size %v, %v; want %v", x.shell.b[100:108], err, w)
	}
	x.shell.ioctl(t, x.master, tiocsig, 0, unix.EINVAL)
	if _, err := x.master.Ioctl(x.shell, tiocsig, uint64(unix.SIGINT)); err != nil || !x.front.pending(unix.SIGINT) {
		t.Errorf("TIOCSIG: %v, and SIGINT did not come", err)
	}
}

func TestBackground(t *testing.T) {
	x := newTerminal(t)
	if err := x.file.Admit(x.front, false); err != nil {
		t.Errorf("reading in the foreground: %v", err)
	}
	if err := x.file.Admit(x.back, false); err != procmgr.ErrInterrupted || !x.back.pending(unix.SIGTTIN) {
		t.Errorf("reading in the background: %v", err)
	}
	if err := x.file.Admit(x.back, true); err != nil {
		t.Errorf("writing without TOSTOP: %v", err)
	}
	m := x.pair.line.Termios()
	m.Lflag |= unix.TOSTOP
	x.pair.line.SetTermios(m)
	if err := x.file.Admit(x.back, true); err != procmgr.ErrInterrupted || !x.back.pending(unix.SIGTTOU) {
		t.Errorf("writing with TOSTOP: %v", err)
	}
	for _, request := range []uint32{unix.TCSETS, unix.TCFLSH, unix.TCXONC, unix.TCSBRK, unix.TIOCSPGRP, unix.TIOCSETD} {
		if _, err := x.file.Ioctl(x.back, request, 0); err != procmgr.ErrInterrupted {
			t.Errorf("ioctl %#x from the background: %v", request, err)
		}
	}
	x.back.ioctl(t, x.file, unix.TIOCGPGRP, 0, nil)
}

func TestJobControlRequests(t *testing.T) {
	x := newTerminal(t)
	if got := x.back.ioctl(t, x.file, unix.TIOCGPGRP, 0, nil); got != uint32(x.front.p.ID()) {
		t.Errorf("foreground group %d, want %d", got, x.front.p.ID())
	}
	if got := x.back.ioctl(t, x.file, unix.TIOCGSID, 0, nil); got != uint32(x.shell.p.ID()) {
		t.Errorf("session %d, want %d", got, x.shell.p.ID())
	}
	// Somebody without this terminal asks at the slave's side, and at the master's.
	init := &guest{p: x.procs.Init()}
	init.ioctl(t, x.file, unix.TIOCGPGRP, 0, unix.ENOTTY)
	init.ioctl(t, x.file, unix.TIOCSPGRP, 1, unix.ENOTTY)
	if got := init.ioctl(t, x.master, unix.TIOCGPGRP, 0, nil); got != uint32(x.front.p.ID()) {
		t.Errorf("foreground group %d, want %d", got, x.front.p.ID())
	}
	init.ioctl(t, x.file, unix.TIOCSCTTY, 0, unix.EPERM)
	x.front.ioctl(t, x.file, unix.TIOCSPGRP, ^uint32(0), unix.EINVAL)
	x.front.ioctl(t, x.file, unix.TIOCSPGRP, 1, unix.EPERM)
	x.front.ioctl(t, x.file, unix.TIOCSPGRP, 30000, unix.ESRCH)
	if term, err := Controlling(x.procs, x.front); err != nil || term != x.pair {
		t.Errorf("/dev/tty: %v, %v", term, err)
	}
	x.shell.ioctl(t, x.file, unix.TIOCNOTTY, 0, nil)
	if _, err := Controlling(x.procs, x.front); err != unix.ENXIO {
		t.Errorf("/dev/tty after TIOCNOTTY: %v, want ENXIO", err)
	}
	x.shell.ioctl(t, x.file, unix.TIOCNOTTY, 0, unix.ENOTTY)
	// O_NOCTTY, and a file that cannot be read, do not make it the shell's again.
	for _, flags := range []uint32{unix.O_RDWR | unix.O_NOCTTY, unix.O_WRONLY} {
		if _, err := x.pair.Open(x.shell.caller(), flags); err != nil {
			t.Fatal(err)
		}
		if _, err := Controlling(x.procs, x.shell); err != unix.ENXIO {
			t.Errorf("opened with %#x it became the controlling terminal", flags)
		}
	}
	x.open(t, x.shell)
	if _, err := Controlling(x.procs, x.shell); err != nil {
		t.Errorf("opening it did not make it the controlling terminal: %v", err)
	}
}

func TestHangUp(t *testing.T) {
	x := newTerminal(t)
	var woken waiter.EventMask
	e, ch := waiter.NewChannelEntry(waiter.EventHUp | waiter.ReadableEvents)
	x.file.EventRegister(&e)
	x.typed(t, "unread\n")
	<-ch
	x.master.Release()
	select {
	case <-ch:
	default:
		t.Error("nobody was woken")
	}
	x.file.EventUnregister(&e)
	woken = x.file.Readiness(waiter.AllEvents)
	if want := waiter.ReadableEvents | waiter.WritableEvents | waiter.EventErr | waiter.EventHUp; woken&want != want {
		t.Errorf("readiness %#x, want %#x", woken, want)
	}
	wantRead(t, x.file, "", nil)
	if _, err := x.file.Write([][]byte{{'x'}}); err != unix.EIO {
		t.Errorf("write: %v, want EIO", err)
	}
	x.shell.ioctl(t, x.file, unix.TCGETS, 0, unix.EIO)
	x.shell.ioctl(t, x.file, unix.TIOCSPGRP, 0, unix.ENOTTY)
	if !x.shell.pending(unix.SIGHUP) || x.front.pending(unix.SIGHUP) {
		t.Error("SIGHUP did not go to the leader alone")
	}
	if _, err := x.pair.Open(x.shell.caller(), unix.O_RDWR); err != unix.EIO {
		t.Errorf("opening it: %v, want EIO", err)
	}
}

func TestSlaveLeaves(t *testing.T) {
	x := newTerminal(t)
	x.file.Write([][]byte{[]byte("last words")})
	x.file.Release()
	if got := x.master.Readiness(waiter.AllEvents); got&(waiter.EventHUp|waiter.EventIn) != waiter.EventHUp|waiter.EventIn {
		t.Errorf("readiness %#x", got)
	}
	wantRead(t, x.master, "last words", nil)
	wantRead(t, x.master, "", unix.EIO)
	f := x.open(t, x.shell)
	wantRead(t, x.master, "", unix.EAGAIN)
	x.typed(t, "again\n")
	wantRead(t, f, "again\n", nil)
}

func TestPacketMode(t *testing.T) {
	x := newTerminal(t)
	x.shell.ioctl(t, x.master, unix.TIOCPKT, 1, nil)
	if x.shell.ioctl(t, x.master, tiocgpkt, 0, nil) != 1 {
		t.Error("not in packet mode")
	}
	x.file.Write([][]byte{[]byte("data")})
	wantRead(t, x.master, "\x00data", nil)
	x.typed(t, "\x13")
	if got := x.master.Readiness(waiter.AllEvents); got&waiter.EventPri == 0 {
		t.Errorf("readiness %#x, want POLLPRI", got)
	}
	wantRead(t, x.master, string([]byte{unix.TIOCPKT_STOP}), nil)
	x.typed(t, "\x11\x13\x11")
	wantRead(t, x.master, string([]byte{unix.TIOCPKT_START}), nil)
	m := x.pair.line.Termios()
	m.Iflag &^= unix.IXON
	copy(x.shell.b[:], m.Append(nil, false))
	// The shell's own group is orphaned: its parent is in another session.
	if _, err := x.file.Ioctl(x.shell, unix.TCSETS, 0); err != unix.EIO {
		t.Errorf("TCSETS by the shell, which is in the background: %v", err)
	}
	copy(x.front.b[:], m.Append(nil, false))
	if _, err := x.file.Ioctl(x.front, unix.TCSETS, 0); err != nil {
		t.Fatal(err)
	}
	wantRead(t, x.master, string([]byte{unix.TIOCPKT_NOSTOP}), nil)
	if _, err := x.file.Ioctl(x.front, unix.TCFLSH, unix.TCIOFLUSH); err != nil {
		t.Fatal(err)
	}
	wantRead(t, x.master, string([]byte{unix.TIOCPKT_FLUSHREAD | unix.TIOCPKT_FLUSHWRITE}), nil)
	x.shell.ioctl(t, x.master, unix.TIOCPKT, 0, nil)
	x.file.Write([][]byte{[]byte("plain")})
	wantRead(t, x.master, "plain", nil)
}

// TestBounded: neither side takes more than fits while nobody reads, and readiness
// says so.
func TestBounded(t *testing.T) {
	x := newTerminal(t)
	m := x.pair.line.Termios()
	m.Lflag = 0
	x.pair.line.SetTermios(m)
	big := make([]byte, 100<<10)
	for i := range big {
		big[i] = 'x'
	}
	typed := int64(0)
	for x.master.Readiness(waiter.EventOut) != 0 {
		n, err := x.master.Write([][]byte{big})
		if typed += n; err != nil || typed > 32<<10 {
			t.Fatalf("typed %d, %v", typed, err)
		}
	}
	if n, err := x.master.Write([][]byte{big}); err != unix.EAGAIN {
		t.Errorf("typing more: %d, %v", n, err)
	}
	read := int64(0)
	for {
		n, err := x.file.Read([][]byte{make([]byte, 3000)})
		read += n
		if err != nil {
			break
		}
	}
	if read != typed || x.master.Readiness(waiter.EventOut) == 0 {
		t.Errorf("read %d of %d; readiness %#x", read, typed, x.master.Readiness(waiter.EventOut))
	}
	if wrote, err := x.file.Write([][]byte{big}); err != nil || wrote != ldisc.OutLimit {
		t.Errorf("wrote %d, %v", wrote, err)
	}
	if _, err := x.file.Write([][]byte{big}); err != unix.EAGAIN || x.file.Readiness(waiter.EventOut) != 0 {
		t.Errorf("writing more: %v, readiness %#x", err, x.file.Readiness(waiter.EventOut))
	}
	// Where a little room is left, but not for the next character, a writer must not
	// be told that there is.
	x.master.Read([][]byte{make([]byte, 1)})
	if n, err := x.file.Write([][]byte{{'\n'}}); n != 0 || err != unix.EAGAIN || x.file.Readiness(waiter.EventOut) != 0 {
		t.Errorf("a line end with room for one byte: %d, %v, readiness %#x", n, err, x.file.Readiness(waiter.EventOut))
	}
	x.master.Read([][]byte{big})
	if x.file.Readiness(waiter.EventOut) == 0 {
		t.Error("not writable, though all was read")
	}
}

// TestAnyRequest makes all requests of terminals there could be, with memory that is
// there and with memory that is not.
func TestAnyRequest(t *testing.T) {
	x := newTerminal(t)
	for request := range uint32(0x100) {
		for _, dir := range []uint32{0, 0x40040000, 0x80040000, 0x402c0000, 0x802c0000} {
			for _, arg := range []uint64{0, 1, 7, 1 << 20, 1 << 63} {
				for _, f := range []vfs.Ioctler{x.file, x.master} {
					if dir|0x5400|request == tiocvhangup {
						continue
					}
					if _, err := f.Ioctl(x.front, dir|0x5400|request, arg); err != nil {
						if _, ok := err.(unix.Errno); !ok && err != procmgr.ErrInterrupted {
							t.Errorf("ioctl %#x of %#x: %v", dir|0x5400|request, arg, err)
						}
					}
				}
			}
		}
	}
	// It works still: flow control and modes are undone.
	x.file.Ioctl(x.front, unix.TCXONC, unix.TCOON)
	x.master.Ioctl(x.front, unix.TCXONC, unix.TCOON)
	x.pair.mu.Lock()
	x.pair.line.SetTermios(ldisc.DefaultTermios())
	x.pair.unlock()
	x.shell.ioctl(t, x.master, unix.TIOCPKT, 0, nil)
	x.file.Ioctl(x.front, unix.TCFLSH, unix.TCIOFLUSH)
	x.master.Ioctl(x.front, unix.TCFLSH, unix.TCIOFLUSH)
	x.typed(t, "still\n")
	wantRead(t, x.file, "still\n", nil)
}

func TestDeadline(t *testing.T) {
	begin := time.Now()
	for _, tt := range []struct {
		min, time uint8
		have      int
		want      time.Time
	}{
		{0, 5, 0, begin.Add(500 * time.Millisecond)},
		{1, 0, 0, time.Time{}},
		{5, 3, 0, time.Time{}},
		{5, 3, 2, begin.Add(time.Second + 300*time.Millisecond)},
	} {
		m := ldisc.DefaultTermios()
		m.Lflag = 0
		m.CC[unix.VMIN], m.CC[unix.VTIME] = tt.min, tt.time
		if got := deadline(&m, tt.have, begin, begin.Add(time.Second)); !got.Equal(tt.want) {
			t.Errorf("%+v: %v", tt, got.Sub(begin))
		}
	}
}

// TestConcurrent lets everybody at it at once.
func TestConcurrent(t *testing.T) {
	x := newTerminal(t)
	var all sync.WaitGroup
	run := func(fn func()) {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 300 {
				fn()
			}
		}()
	}
	b := make([]byte, 1000)
	run(func() { x.master.Write([][]byte{[]byte("abc\ndef\x7f\x03\x13\x11\n")}) })
	run(func() { x.master.Read([][]byte{b}) })
	run(func() { x.file.Write([][]byte{[]byte("some output\n")}) })
	run(func() { x.file.Read([][]byte{make([]byte, 10)}) })
	run(func() { x.master.Readiness(waiter.AllEvents); x.file.Readiness(waiter.AllEvents) })
	front, back := &guest{p: x.front.p}, &guest{p: x.back.p}
	run(func() { x.file.Ioctl(front, unix.TCSETSF, 0) })
	run(func() { x.file.Admit(back, false) })
	run(func() {
		if ops, err := x.pair.Open(front.caller(), unix.O_RDWR); err == nil {
			ops.Release()
		}
	})
	all.Wait()
	x.master.Release()
	x.file.Release()
}
