package tty

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/tty/ldisc"
)

// hostTerminal is a terminal of the host's, at whose keyboard the test sits.
type hostTerminal struct {
	keyboard *os.File
	name     string
	h        *Host
	init     *guest
	file     *hostEnd
}

func newHostTerminal(t *testing.T) *hostTerminal {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("the host has no pseudo-terminals:", err)
	}
	t.Cleanup(func() { m.Close() })
	if err := unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	x := &hostTerminal{keyboard: m, name: fmt.Sprintf("/dev/pts/%d", n)}
	fd, err := unix.Open(x.name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	procs := procmgr.NewTable(procmgr.Config{})
	init, err := procs.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	x.init = &guest{p: init}
	notifier := hostcall.NewNotifier()
	t.Cleanup(notifier.Close)
	if x.h, err = NewHost(fd, HostOptions{Procs: procs, Notifier: notifier, Number: SlaveNumber(0)}); err != nil {
		t.Fatal(err)
	}
	if err := x.h.Attach(init); err != nil {
		t.Fatal(err)
	}
	ops, err := x.h.Open(x.init.caller(), unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	x.file = ops.(*hostEnd)
	return x
}

// settings are the host's own view.
func (x *hostTerminal) settings(t *testing.T) ldisc.Termios {
	t.Helper()
	b := make([]byte, ldisc.TermiosSize)
	if _, err := hostcall.Ioctl(int(x.keyboard.Fd()), unix.TCGETS, b); err != nil {
		t.Fatal(err)
	}
	return ldisc.Termios{}.WithTermios(b)
}

// set changes the settings from inside.
func (x *hostTerminal) set(t *testing.T, change func(*ldisc.Termios)) {
	t.Helper()
	m := x.settings(t)
	change(&m)
	copy(x.init.b[:], m.Append(nil, false))
	if _, err := x.file.Ioctl(x.init, unix.TCSETSW, 0); err != nil {
		t.Fatal(err)
	}
}

// read waits for something to be read, or for the read to be over.
func (x *hostTerminal) read(t *testing.T, n int, limit time.Duration) string {
	t.Helper()
	e, ch := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp)
	if err := x.file.EventRegister(&e); err != nil {
		t.Fatal(err)
	}
	defer x.file.EventUnregister(&e)
	b := make([]byte, n)
	over := time.After(limit)
	for {
		k, err := x.file.Read([][]byte{b})
		if err == nil {
			return string(b[:k])
		}
		if err != unix.EAGAIN {
			t.Fatal(err)
		}
		select {
		case <-ch:
		case <-over:
			return "nothing"
		}
	}
}

func TestHostReadsAndWrites(t *testing.T) {
	x := newHostTerminal(t)
	defer x.h.Close()
	defer x.file.Release()
	if got := x.read(t, 10, 0); got != "nothing" {
		t.Errorf("read %q before anything was typed", got)
	}
	fmt.Fprint(x.keyboard, "wo\x7ford\n")
	if got := x.read(t, 10, time.Second); got != "word\n" {
		t.Errorf("read %q", got)
	}
	if n, err := x.file.Write([][]byte{[]byte("out\n")}); n != 4 || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	want := "wo\b \bord\r\nout\r\n"
	b := make([]byte, len(want))
	if n, err := io.ReadFull(x.keyboard, b); string(b[:n]) != want {
		t.Errorf("the screen shows %q, %v; want %q", b[:n], err, want)
	}
}

func TestHostSettings(t *testing.T) {
	x := newHostTerminal(t)
	before := x.settings(t)
	x.set(t, func(m *ldisc.Termios) { m.Lflag &^= unix.ICANON | unix.ECHO; m.CC[unix.VMIN] = 3 })
	if after := x.settings(t); after.Lflag&unix.ICANON != 0 || after.CC[unix.VMIN] != 3 {
		t.Errorf("the host has %+v", after)
	}
	fmt.Fprint(x.keyboard, "ab")
	if got := x.read(t, 10, 50*time.Millisecond); got != "nothing" {
		t.Errorf("read %q with VMIN 3", got)
	}
	fmt.Fprint(x.keyboard, "c")
	if got := x.read(t, 10, time.Second); got != "abc" {
		t.Errorf("read %q, want what VMIN asks for", got)
	}
	fmt.Fprint(x.keyboard, "d")
	if got := x.read(t, 1, time.Second); got != "d" {
		t.Errorf("read %q, want the one character that there was room for", got)
	}
	x.set(t, func(m *ldisc.Termios) { m.CC[unix.VTIME] = 2 })
	begin := time.Now()
	if got := x.file.Deadline(begin); !got.IsZero() {
		t.Errorf("a deadline in %v, though nothing was typed", got.Sub(begin))
	}
	fmt.Fprint(x.keyboard, "e")
	for until := time.Now().Add(time.Second); x.file.Deadline(begin).IsZero() && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	if got := x.file.Deadline(begin).Sub(begin); got < 100*time.Millisecond || got > 2*time.Second {
		t.Errorf("a deadline in %v, want some 200 ms", got)
	}
	b := make([]byte, 10)
	if n, err := x.file.ReadRest([][]byte{b}); n != 1 || b[0] != 'e' || err != nil {
		t.Errorf("the rest: %q, %v", b[:n], err)
	}
	var w [winsizeSize]byte
	w[0], w[2] = 33, 77
	copy(x.init.b[:], w[:])
	if _, err := x.file.Ioctl(x.init, unix.TIOCSWINSZ, 0); err != nil {
		t.Fatal(err)
	}
	if ws, err := unix.IoctlGetWinsize(int(x.keyboard.Fd()), unix.TIOCGWINSZ); err != nil || ws.Row != 33 || ws.Col != 77 {
		t.Errorf("window size %+v, %v", ws, err)
	}
	for _, request := range []uint32{unix.TIOCSTI, unix.TIOCCONS, unix.TIOCEXCL, unix.TIOCSETD, unix.TIOCGPTN} {
		if _, err := x.file.Ioctl(x.init, request, 0); err == nil {
			t.Errorf("ioctl %#x reached the host", request)
		}
	}
	x.file.Release()
	x.h.Close()
	if after := x.settings(t); after != before {
		t.Errorf("left behind: %+v\nwant %+v", after, before)
	}
}

func TestHostUnchanged(t *testing.T) {
	x := newHostTerminal(t)
	// Somebody else changes it while the sandbox runs, which did nothing to it.
	m := x.settings(t)
	m.Lflag &^= unix.ECHO
	b := m.Append(nil, false)
	if _, err := hostcall.Ioctl(int(x.keyboard.Fd()), unix.TCSETS, b); err != nil {
		t.Fatal(err)
	}
	x.file.Release()
	x.h.Close()
	if after := x.settings(t); after != m {
		t.Errorf("settings of others were changed: %+v\nwant %+v", after, m)
	}
}

func TestHostSignals(t *testing.T) {
	x := newHostTerminal(t)
	defer x.h.Close()
	defer x.file.Release()
	procs := x.init.p.Table()
	make := func() *guest {
		p, err := procs.CreateProcess(x.init.p, "job", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := procs.Setpgid(p, 0, 0); err != nil {
			t.Fatal(err)
		}
		return &guest{p: p}
	}
	front, back := make(), make()
	if err := x.h.Front(x.init.p, front.p); err != nil {
		t.Fatal(err)
	}
	x.h.Signal(unix.SIGINT)
	if !front.pending(unix.SIGINT) || back.pending(unix.SIGINT) {
		t.Error("SIGINT went to others than the foreground group")
	}
	if got := front.ioctl(t, x.file, unix.TIOCGPGRP, 0, nil); got != uint32(front.p.ID()) {
		t.Errorf("foreground group %d, want %d", got, front.p.ID())
	}
	// Without a shell the groups of init's children are orphaned.
	if err := x.file.Admit(back, false); err != unix.EIO {
		t.Errorf("reading in the background of nobody: %v, want EIO", err)
	}
	procs.ActAsShell(x.init.p, true)
	if err := x.file.Admit(back, false); err != procmgr.ErrInterrupted || !back.pending(unix.SIGTTIN) {
		t.Errorf("reading in the background: %v", err)
	}
	if x.h.HungUp() {
		t.Error("hung up")
	}
	front = make() // SIGINT ended the other one
	if err := x.h.Front(x.init.p, front.p); err != nil {
		t.Fatal(err)
	}
	x.keyboard.Close()
	if !x.h.HungUp() || !front.pending(unix.SIGHUP) || back.pending(unix.SIGHUP) {
		t.Error("SIGHUP did not go to the foreground group alone")
	}
	if _, err := Controlling(procs, front); err != unix.ENXIO {
		t.Errorf("/dev/tty after that: %v, want ENXIO", err)
	}
	if n, err := x.file.Read([][]byte{make8()}); n != 0 || err == unix.EAGAIN {
		t.Errorf("read after that: %d, %v", n, err)
	}
}

func make8() []byte { return make([]byte, 8) }
