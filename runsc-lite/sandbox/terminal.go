package sandbox

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry"
)

// bridge carries bytes between a program's terminal in the sentry and the slave of a
// pseudo-terminal of the host, which is raw: the line discipline is the sentry's, and
// whoever has the master reads and types.
type bridge struct {
	host   *os.File
	guest  *sentry.Master
	shown  chan struct{} // everything that the programs wrote is
	closed sync.Once
}

// drainTime is how long what a program wrote last may take to be read, without any of
// it being read.
const drainTime = 10 * time.Second

// newBridge begins to carry. It takes the descriptor over.
func newBridge(fd int, guest *sentry.Master) *bridge {
	// Non-blocking, so that closing it ends a read.
	_ = unix.SetNonblock(fd, true)
	b := &bridge{host: os.NewFile(uintptr(fd), "terminal"), guest: guest, shown: make(chan struct{})}
	b.resize()
	go b.show()
	go b.typed()
	return b
}

func (b *bridge) show() {
	defer close(b.shown)
	buf := make([]byte, 32<<10)
	for {
		n, err := b.guest.Read(buf)
		if n > 0 {
			if _, err := b.host.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil || n == 0 {
			return
		}
	}
}

func (b *bridge) typed() {
	buf := make([]byte, 4<<10)
	for {
		n, err := b.host.Read(buf)
		if n > 0 {
			if _, err := b.guest.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil { // io.EOF of a terminal that was hung up, too
			// Whoever had the master is gone.
			b.guest.Close()
			return
		}
	}
}

// resize takes over the size of the host's terminal.
func (b *bridge) resize() {
	var size *unix.Winsize
	err := onFile(b.host, func(fd int) (err error) {
		size, err = unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		return err
	})
	if err == nil && (size.Row != 0 || size.Col != 0) {
		_ = b.guest.Resize(size.Row, size.Col, size.Xpixel, size.Ypixel)
	}
}

// finish returns when everything was shown, once the program has ended.
func (b *bridge) finish() {
	_ = b.host.SetWriteDeadline(time.Now().Add(drainTime))
	select {
	case <-b.shown:
	case <-time.After(drainTime):
	}
	b.close()
}

func (b *bridge) close() {
	b.closed.Do(func() {
		b.guest.Close()
		b.host.Close()
	})
}

func onFile(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	ctl := c.Control(func(fd uintptr) { err = fn(int(fd)) })
	if ctl != nil {
		return ctl
	}
	return err
}

// lead makes the terminal the controlling one of this process, which leads a session:
// its changes of size are told by a signal.
func lead(fd int) (sizes chan os.Signal, err error) {
	sizes = make(chan os.Signal, 1)
	signal.Notify(sizes, syscall.SIGWINCH)
	signal.Ignore(syscall.SIGHUP)
	return sizes, unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0)
}
