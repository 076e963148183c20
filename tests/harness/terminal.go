package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience bounds how long something may take to show on the screen.
const Patience = time.Minute

// Terminal is a pseudo-terminal of the host's with a program at it.
type Terminal struct {
	t      testing.TB
	master *os.File
	slave  *os.File // keeps it from hanging up before and after the program
	cmd    *exec.Cmd
	screen bytes.Buffer // what was not looked at yet
	ended  chan error
}

// StartTerminal starts a program as the leader of a session at a new terminal.
func StartTerminal(t testing.TB, cmd *exec.Cmd) *Terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo-terminals:", err)
	}
	x := &Terminal{t: t, master: master, cmd: cmd, ended: make(chan error, 1)}
	t.Cleanup(func() { master.Close() })
	n := 0
	x.Control(func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if x.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.slave.Close() })
	x.Resize(24, 80)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { x.ended <- cmd.Wait() }()
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return x
}

// Control calls fn with the master's descriptor.
func (x *Terminal) Control(fn func(fd int) error) {
	x.t.Helper()
	c, err := x.master.SyscallConn()
	if err == nil {
		var inner error
		err = errors.Join(c.Control(func(fd uintptr) { inner = fn(int(fd)) }), inner)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// Resize sets the size of the screen.
func (x *Terminal) Resize(rows, columns uint16) {
	x.t.Helper()
	x.Control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

// Modes returns the terminal's modes.
func (x *Terminal) Modes() unix.Termios {
	x.t.Helper()
	var m unix.Termios
	x.Control(func(fd int) error {
		p, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			m = *p
		}
		return err
	})
	return m
}

// Keys types.
func (x *Terminal) Keys(s string) {
	x.t.Helper()
	if _, err := x.master.WriteString(s); err != nil {
		x.t.Fatalf("typing %q: %v", s, err)
	}
}

// Until reads the screen until what matches comes, and returns everything up to its
// end.
func (x *Terminal) Until(pattern string) string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.Now().Add(Patience)
	buf := make([]byte, 4096)
	for {
		if at := re.FindIndex(x.screen.Bytes()); at != nil {
			return string(x.screen.Next(at[1]))
		}
		x.master.SetReadDeadline(limit)
		n, err := x.master.Read(buf)
		x.screen.Write(buf[:n])
		if err != nil {
			x.t.Fatalf("waiting for %q: %v; the screen shows %q", pattern, err, x.screen.String())
		}
	}
}

// Rest lets d pass and returns what shows until then.
func (x *Terminal) Rest(d time.Duration) string {
	x.master.SetReadDeadline(time.Now().Add(d))
	x.screen.ReadFrom(x.master)
	return string(x.screen.Next(x.screen.Len()))
}

// HangUp ends the terminal's connection.
func (x *Terminal) HangUp() {
	x.slave.Close()
	x.master.Close()
}

// Status waits for the program's end and returns its exit status. The screen takes what
// the program writes meanwhile.
func (x *Terminal) Status() int {
	x.t.Helper()
	buf := make([]byte, 4096)
	var n int
	var err error
	for limit := time.Now().Add(Patience); time.Now().Before(limit); {
		wait := time.Duration(0)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			wait = time.Until(limit) // there is nothing to read any more
		}
		select {
		case <-x.ended:
			return Status(x.cmd.ProcessState)
		case <-time.After(wait):
		}
		x.master.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, err = x.master.Read(buf)
		x.screen.Write(buf[:n])
	}
	x.t.Fatalf("it did not end; the screen shows %q", x.screen.String())
	return -1
}
