package hostcall

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// InetSocket is an internet socket of the host that is connected again and again,
// and never made anew. Waiting in it takes no thread.
type InetSocket struct {
	file *os.File
}

// NewInetSocket makes a socket of IPv4, TCP or UDP, in the network namespace of the
// calling thread.
func NewInetSocket(tcp bool) (*InetSocket, error) {
	typ := unix.SOCK_DGRAM
	if tcp {
		typ = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &InetSocket{file: os.NewFile(uintptr(fd), "inet")}, nil
}

// control runs fn with the descriptor.
func (s *InetSocket) control(fn func(fd int)) error {
	c, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	return c.Control(func(fd uintptr) { fn(int(fd)) })
}

// Connect ends the present connection and makes another.
func (s *InetSocket) Connect(to netip.AddrPort, timeout time.Duration) (err error) {
	s.Disconnect()
	if err := s.file.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if cerr := s.control(func(fd int) { err = unix.Connect(fd, sa) }); cerr != nil {
		return cerr
	}
	if err != unix.EINPROGRESS {
		return err
	}
	c, cerr := s.file.SyscallConn()
	if cerr != nil {
		return cerr
	}
	cerr = c.Write(func(fd uintptr) bool {
		if events, e := Poll(int(fd), unix.POLLOUT); e == nil && events == 0 {
			return false // wait until it is writable
		}
		n, e := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err = e; e == nil && n != 0 {
			err = unix.Errno(n)
		}
		return true
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// Disconnect ends the connection: reads and writes fail until the next one.
func (s *InetSocket) Disconnect() {
	_ = s.control(func(fd int) { _ = disconnect(fd) })
}

// CloseWrite says that no more will be written.
func (s *InetSocket) CloseWrite() error {
	var err error
	if cerr := s.control(func(fd int) { err = unix.Shutdown(fd, unix.SHUT_WR) }); cerr != nil {
		return cerr
	}
	return err
}

// Read, Write, SetDeadline and Close are os.File's.
func (s *InetSocket) Read(p []byte) (int, error) { return s.file.Read(p) }

// Write writes all of p, or fails.
func (s *InetSocket) Write(p []byte) (int, error) { return s.file.Write(p) }

// SetDeadline ends what is waiting, and all that is begun later, at this time.
func (s *InetSocket) SetDeadline(t time.Time) error { return s.file.SetDeadline(t) }

// SetReadDeadline is SetDeadline for reading.
func (s *InetSocket) SetReadDeadline(t time.Time) error { return s.file.SetReadDeadline(t) }

// Close closes the socket.
func (s *InetSocket) Close() { _ = s.file.Close() }
