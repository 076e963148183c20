package sentry

import (
	"encoding/binary"
	"errors"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// Master is the other side of a program's terminal. Read and Write wait; each is for
// one goroutine at a time.
type Master struct {
	file  *vfs.File
	once  sync.Once
	ended chan struct{}
}

var errNoPts = errors.New("the container has no devpts mounted")

// opener is a thread without guest code that opens a terminal.
type opener struct{ th *procmgr.Thread }

// Thread makes package tty take it for a guest thread.
func (o opener) Thread() *procmgr.Thread { return o.th }

// newTerminal makes a pseudo-terminal in the container's devpts, and its slave the
// controlling terminal of th's session.
func (c *Container) newTerminal(who *vfs.Caller, th *procmgr.Thread) (_ *Master, slave *vfs.File, err error) {
	if c.pts == nil {
		return nil, nil, errNoPts
	}
	// By the file system, wherever it is mounted, and as the program: it is to own the
	// slave.
	root, done := c.who(c.kernel.Mounts)
	defer done()
	root.Creds = &vfs.Creds{UID: who.Creds.UID, GID: who.Creds.GID, Caps: uint64(procmgr.AllCaps)}
	f, err := root.Open(nil, c.ptsAt+"/ptmx", vfs.OpenHow{Flags: unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK})
	if err != nil {
		return nil, nil, err
	}
	m := &Master{file: f, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	var b ioctlMemory
	if _, err := f.Ioctl(&b, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	if _, err := f.Ioctl(&b, unix.TIOCGPTN, 0); err != nil {
		return nil, nil, err
	}
	name := c.ptsAt + "/" + strconv.Itoa(int(binary.LittleEndian.Uint32(b[:])))
	root.Task = opener{th}
	if slave, err = root.Open(nil, name, vfs.OpenHow{Flags: unix.O_RDWR}); err != nil {
		return nil, nil, err
	}
	if c.console == "" {
		c.console = name
		if err := bindConsole(root, name); err != nil {
			slave.DecRef()
			return nil, nil, err
		}
	}
	return m, slave, nil
}

// bindConsole mounts the first terminal as /dev/console, as runc does.
func bindConsole(root *vfs.Caller, name string) error {
	err := root.Mknod(nil, "/dev/console", unix.S_IFREG|0o666, 0)
	if err == nil || err == unix.EEXIST {
		err = root.BindMount(name, "/dev/console", false)
	}
	return err
}

// Resize sets the size of the terminal; the foreground group is told.
func (m *Master) Resize(rows, columns, width, height uint16) error {
	var b ioctlMemory
	for i, v := range [...]uint16{rows, columns, width, height} {
		binary.LittleEndian.PutUint16(b[2*i:], v)
	}
	_, err := m.file.Ioctl(&b, unix.TIOCSWINSZ, 0)
	return err
}

// Read waits for what the programs write. EIO: nobody has the terminal any more. EBADF:
// the master is closed.
func (m *Master) Read(p []byte) (n int, err error) {
	err = m.wait(waiter.ReadableEvents|waiter.EventHUp, func() error {
		k, err := m.file.Read([][]byte{p})
		n = int(k)
		return err
	})
	return n, err
}

// Write types p.
func (m *Master) Write(p []byte) (n int, err error) {
	for n < len(p) {
		err = m.wait(waiter.WritableEvents|waiter.EventHUp, func() error {
			k, err := m.file.Write(vfs.RootCreds(), [][]byte{p[n:]}, 1<<62)
			n += int(k)
			return err
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// wait calls try until it does not answer EAGAIN.
func (m *Master) wait(mask waiter.EventMask, try func() error) error {
	if err := try(); err != unix.EAGAIN {
		return err
	}
	e, ch := waiter.NewChannelEntry(mask)
	if err := m.file.EventRegister(&e); err != nil {
		return err
	}
	defer m.file.EventUnregister(&e)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		select {
		case <-ch:
		case <-m.ended:
			return unix.EBADF
		}
	}
}

// Close hangs the terminal up. Read and Write may be under way.
func (m *Master) Close() {
	m.once.Do(func() {
		close(m.ended)
		m.file.DecRef()
	})
}

// ioctlMemory stands for a guest's memory in an ioctl: whatever the address.
type ioctlMemory [8]byte

// CopyIn implements vfs.Memory.
func (b *ioctlMemory) CopyIn(_ hostarch.Addr, dst []byte) (int, error) { return copy(dst, b[:]), nil }

// CopyOut implements vfs.Memory.
func (b *ioctlMemory) CopyOut(_ hostarch.Addr, src []byte) (int, error) { return copy(b[:], src), nil }
