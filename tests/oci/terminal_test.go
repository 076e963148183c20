package oci

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

	"runsc-lite/tests/harness"
)

// screen is a pseudo-terminal with a program at it, and what it shows.
type screen struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	unread bytes.Buffer
	ended  chan error
}

// atTerminal starts a program as the leader of a session at a new terminal.
func atTerminal(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("SKIPPED: no pseudo-terminals:", err)
	}
	t.Cleanup(func() { master.Close() })
	s := &screen{t: t, master: master, cmd: cmd, ended: make(chan error, 1)}
	n := 0
	s.control(func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	s.resize(24, 80)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	return s
}

func (s *screen) control(fn func(fd int) error) {
	s.t.Helper()
	raw, err := s.master.SyscallConn()
	if err == nil {
		var inner error
		err = errors.Join(raw.Control(func(fd uintptr) { inner = fn(int(fd)) }), inner)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) resize(rows, columns uint16) {
	s.t.Helper()
	s.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

func (s *screen) send(text string) {
	s.t.Helper()
	if _, err := s.master.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until the screen shows what matches, and takes all up to its end.
func (s *screen) expect(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	buf := make([]byte, 4096)
	end := time.Now().Add(patience)
	for {
		if loc := re.FindIndex(s.unread.Bytes()); loc != nil {
			return string(s.unread.Next(loc[1]))
		}
		s.master.SetReadDeadline(end)
		n, err := s.master.Read(buf)
		s.unread.Write(buf[:n])
		if err != nil && n == 0 {
			s.t.Fatalf("want %q on the screen, got %q: %v", pattern, s.unread.Bytes(), err)
		}
	}
}

// status waits for the program's end.
func (s *screen) status() int {
	s.t.Helper()
	go func() { // so that it never waits for a reader
		buf := make([]byte, 4096)
		for {
			if _, err := s.master.Read(buf); err != nil {
				return
			}
		}
	}()
	s.master.SetReadDeadline(time.Now().Add(patience))
	select {
	case <-s.ended:
		return harness.Status(s.cmd.ProcessState)
	case <-time.After(patience):
		s.t.Fatalf("it does not end; the screen shows %q", s.unread.Bytes())
	}
	return -1
}
