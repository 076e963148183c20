// Package terminal plays a user who sits at a terminal: it types at programs that run
// natively and on each platform, and compares what the screen shows.
package terminal

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

// patience bounds how long something may take to show on the screen.
const patience = 20 * time.Second

// terminal is a pseudo-terminal of the host's with a program at it.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File // keeps it from hanging up before and after the program
	cmd    *exec.Cmd
	screen bytes.Buffer // what was not looked at yet
	ended  chan error
}

// start starts a program as the leader of a session at a new terminal.
func start(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo-terminals:", err)
	}
	x := &terminal{t: t, master: master, cmd: cmd, ended: make(chan error, 1)}
	t.Cleanup(func() { master.Close() })
	n := 0
	x.control(func(fd int) error {
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
	x.resize(24, 80)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { x.ended <- cmd.Wait() }()
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return x
}

// control calls fn with the master's descriptor.
func (x *terminal) control(fn func(fd int) error) {
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

func (x *terminal) resize(rows, columns uint16) {
	x.t.Helper()
	x.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

func (x *terminal) modes() unix.Termios {
	x.t.Helper()
	var m unix.Termios
	x.control(func(fd int) error {
		p, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			m = *p
		}
		return err
	})
	return m
}

func (x *terminal) keys(s string) {
	x.t.Helper()
	if _, err := x.master.WriteString(s); err != nil {
		x.t.Fatalf("typing %q: %v", s, err)
	}
}

// until reads the screen until what matches comes, and returns everything up to its
// end.
func (x *terminal) until(pattern string) string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.Now().Add(patience)
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

// rest lets d pass and returns what shows until then.
func (x *terminal) rest(d time.Duration) string {
	x.master.SetReadDeadline(time.Now().Add(d))
	x.screen.ReadFrom(x.master)
	return string(x.screen.Next(x.screen.Len()))
}

// status waits for the program's end and returns its exit status.
func (x *terminal) status() int {
	x.t.Helper()
	select {
	case <-x.ended:
		return harness.Status(x.cmd.ProcessState)
	case <-time.After(patience):
		x.t.Fatalf("it did not end; the screen shows %q", x.rest(0))
		return -1
	}
}

// plain replaces what is different in each run: process ids and the names of
// terminals.
func plain(s string) string {
	for _, r := range [...]struct {
		from *regexp.Regexp
		to   string
	}{
		{regexp.MustCompile(`(\[\d+\][-+]?) +\d+`), "$1 PID"},
		{regexp.MustCompile(`/dev/pts/\d+`), "/dev/pts/N"},
	} {
		s = r.from.ReplaceAllString(s, r.to)
	}
	return s
}
