package hostcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of sockets with addresses, options and control data as bytes: whoever
// makes them has checked what is in there. None waits: the sockets are nonblocking.

// OpenSocket is socket(2).
func OpenSocket(family, typ, protocol int) (int, error) {
	return unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
}

func socketCall(nr uintptr, fd int, a, b, c, d uintptr) (uintptr, error) {
	for {
		r, _, e := unix.Syscall6(nr, uintptr(fd), a, b, c, d, 0)
		if e == 0 {
			return r, nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// BindSocket is bind(2).
func BindSocket(fd int, addr []byte) error {
	_, err := socketCall(unix.SYS_BIND, fd, uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)), 0, 0)
	return err
}

// ConnectSocket is connect(2).
func ConnectSocket(fd int, addr []byte) error {
	_, err := socketCall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)), 0, 0)
	return err
}

// ListenSocket is listen(2).
func ListenSocket(fd, backlog int) error { return unix.Listen(fd, backlog) }

// ShutdownSocket is shutdown(2).
func ShutdownSocket(fd, how int) error { return unix.Shutdown(fd, how) }

// AcceptSocket is accept4(2): the new socket, and the peer's address in addr.
func AcceptSocket(fd int, addr []byte) (int, []byte, error) {
	n := uint32(len(addr))
	r, err := socketCall(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(unsafe.Pointer(&n)), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	return int(r), addr[:min(int(n), len(addr))], nil
}

// SocketName is getsockname(2), or getpeername(2).
func SocketName(fd int, peer bool, addr []byte) ([]byte, error) {
	nr := uintptr(unix.SYS_GETSOCKNAME)
	if peer {
		nr = unix.SYS_GETPEERNAME
	}
	n := uint32(len(addr))
	if _, err := socketCall(nr, fd, uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(unsafe.Pointer(&n)), 0, 0); err != nil {
		return nil, err
	}
	return addr[:min(int(n), len(addr))], nil
}

// SetSocketOption is setsockopt(2).
func SetSocketOption(fd, level, name int, value []byte) error {
	_, err := socketCall(unix.SYS_SETSOCKOPT, fd, uintptr(level), uintptr(name), uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)))
	return err
}

// SocketOption is getsockopt(2): the value is at most as long as buf, where it is.
func SocketOption(fd, level, name int, buf []byte) ([]byte, error) {
	n := uint32(len(buf))
	if _, err := socketCall(unix.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	return buf[:min(int(n), len(buf))], nil
}

// SocketMessage is a struct msghdr.
type SocketMessage struct {
	Bufs    [][]byte
	Addr    []byte // to send to; room for who sent, cut by a receive
	Control []byte // to send; room, cut by a receive
	Flags   int32  // msg_flags of a receive

	iov []unix.Iovec
	hdr unix.Msghdr
}

func (m *SocketMessage) lay() {
	m.iov = m.iov[:0]
	for _, b := range m.Bufs {
		if len(b) > 0 && len(m.iov) < 1024 { // UIO_MAXIOV
			m.iov = append(m.iov, Iovec(b))
		}
	}
	m.hdr = unix.Msghdr{
		Name: unsafe.SliceData(m.Addr), Namelen: uint32(len(m.Addr)),
		Iov: unsafe.SliceData(m.iov), Iovlen: uint64(len(m.iov)),
		Control: unsafe.SliceData(m.Control), Controllen: uint64(len(m.Control)),
	}
}

// SendSocket is sendmsg(2).
func SendSocket(fd int, m *SocketMessage, flags int) (int, error) {
	m.lay()
	n, err := socketCall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), 0, 0)
	return int(n), err
}

// RecvSocket is recvmsg(2).
func RecvSocket(fd int, m *SocketMessage, flags int) (int, error) {
	m.lay()
	n, err := socketCall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	if err != nil {
		return 0, err
	}
	m.Addr = m.Addr[:min(int(m.hdr.Namelen), len(m.Addr))]
	m.Control = m.Control[:min(int(m.hdr.Controllen), len(m.Control))]
	m.Flags = m.hdr.Flags
	return int(n), nil
}

// DiscardSocket is recv(2) with MSG_TRUNC of a stream: what is read is dropped.
func DiscardSocket(fd int, n int64, flags int) (int, error) {
	k, err := socketCall(unix.SYS_RECVFROM, fd, 0, uintptr(min(n, 1<<30)), uintptr(flags|unix.MSG_DONTWAIT), 0)
	return int(k), err
}

// InterfaceAddresses is SIOCGIFCONF: structs ifreq in buf.
func InterfaceAddresses(fd int, buf []byte) ([]byte, error) {
	c := struct {
		n   int32
		buf *byte
	}{int32(len(buf)), unsafe.SliceData(buf)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFCONF, uintptr(unsafe.Pointer(&c))); e != 0 {
		return nil, e
	}
	return buf[:min(int(c.n), len(buf))], nil
}
