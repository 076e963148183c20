package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// console is a pseudo-terminal of the host between a container's terminal and its user.
// Its slave is the sandbox's: raw, for the line discipline is in the sandbox.
type console struct {
	master, slave *os.File
	sent          bool // the master is somebody else's
	restore       *unix.Termios
	copied        chan struct{}
}

// newConsole makes a console if the program wants a terminal: for who listens on
// socket, or for the user of this process, if that stays.
func newConsole(terminal bool, socket string, foreground bool) (_ *console, err error) {
	switch {
	case !terminal && socket == "":
		return nil, nil
	case !terminal:
		return nil, errors.New("a console socket is of no use: the process has no terminal")
	case socket == "" && !foreground:
		return nil, errors.New("cannot allocate tty if runsc-lite will detach without setting console socket")
	case socket != "" && foreground:
		// runc has it so for run without --detach.
		return nil, errors.New("cannot use console socket if runsc-lite will not detach or allocate tty")
	}
	c := &console{}
	if c.master, c.slave, err = openPty(); err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	defer func() {
		if err != nil {
			c.close()
			c.slave.Close()
		}
	}()
	if err := makeRaw(int(c.slave.Fd()), nil); err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	if socket == "" {
		c.follow()
		return c, nil
	}
	if err := sendMaster(socket, c.master); err != nil {
		return nil, fmt.Errorf("sending the terminal to the console socket %s: %w", socket, err)
	}
	c.sent = true
	return c, nil
}

func openPty() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening /dev/ptmx: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	master = os.NewFile(uintptr(fd), name)
	if err == nil {
		// By the master, whatever is mounted on /dev/pts.
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			err = fmt.Errorf("opening %s: %w", name, errno)
		} else {
			slave = os.NewFile(peer, name)
		}
	}
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

// sendMaster sends a terminal's master as engines expect it: its name, and the
// descriptor.
func sendMaster(socket string, master *os.File) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("it is no unix socket")
	}
	_, _, err = u.WriteMsgUnix([]byte(master.Name()), unix.UnixRights(int(master.Fd())), nil)
	return err
}

// makeRaw makes a terminal pass bytes as they are (cfmakeraw(3)), and keeps how it was.
func makeRaw(fd int, was *unix.Termios) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	if was != nil {
		*was = *t
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

func (c *console) resize(rows, columns uint16) {
	if c != nil {
		_ = unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
}

// attach lets the user of this process type into the console, and see what comes out.
func (c *console) attach() {
	if c == nil || c.sent {
		return
	}
	var was unix.Termios
	if makeRaw(0, &was) == nil {
		c.restore = &was
	}
	go io.Copy(c.master, os.Stdin) //nolint:errcheck // ends with this process
	c.copied = make(chan struct{})
	go func() {
		defer close(c.copied)
		_, _ = io.Copy(os.Stdout, c.master) // EIO once the sandbox has closed it
	}()
}

// follow takes over the size of the user's terminal.
func (c *console) follow() {
	if c == nil || c.sent {
		return
	}
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// drain returns when everything was shown, once the sandbox has ended.
func (c *console) drain() {
	if c != nil && c.copied != nil {
		<-c.copied
	}
}

func (c *console) close() {
	if c == nil {
		return
	}
	if c.restore != nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, c.restore)
	}
	c.master.Close()
}

// forwarder passes signals on.
type forwarder struct{ signals chan os.Signal }

// forwardSignals passes the signals that this process gets on to a program.
func forwardSignals(to func(unix.Signal), resized func(), off bool) *forwarder {
	f := &forwarder{}
	if off {
		return f
	}
	f.signals = make(chan os.Signal, 128)
	signal.Notify(f.signals)
	go func() {
		for s := range f.signals {
			switch sig := s.(syscall.Signal); sig {
			case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE: // Go's own, and our children's
			case syscall.SIGWINCH:
				if resized != nil {
					resized()
				}
			default:
				to(sig)
			}
		}
	}()
	return f
}

func (f *forwarder) stop() {
	if f.signals != nil {
		signal.Stop(f.signals)
		close(f.signals)
	}
}
