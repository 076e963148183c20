// Package socket is what the families of sockets have in common: the Socket that
// the system calls work with, addresses and control messages as guests write
// them, and the options of level SOL_SOCKET.
//
// The families themselves are the packages below: unix, netstack (internet, on
// gVisor's tcpip) and netlink. Package netns puts them together.
//
// Nothing in them waits. Where a call would have to, it answers EAGAIN, and the
// caller waits on the socket's readiness and calls again; Limit says for how
// long.
package socket

import (
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// Limits of what a guest may hand over in one call.
const (
	// MaxAddr is the size of struct sockaddr_storage.
	MaxAddr = 128
	// MaxControl is net.core.optmem_max: more control data than this is ENOBUFS.
	MaxControl = 128 << 10
	// MaxOption is the most that is read of an option's value.
	MaxOption = 4096
	// MaxBacklog is net.core.somaxconn.
	MaxBacklog = 4096
)

// Cred is who did something, as SCM_CREDENTIALS and SO_PEERCRED show it (struct
// ucred).
type Cred struct {
	PID      int32
	UID, GID uint32
}

// NobodyCred is what is shown of a sender who is not known.
var NobodyCred = Cred{UID: 65534, GID: 65534}

// Caller is the thread that makes a call.
type Caller interface {
	// FS is the caller of the file system.
	FS() *vfs.Caller
	// Cred is the process, with its effective ids.
	Cred() Cred
	// RealCred is the process, with its real ids.
	RealCred() Cred
	// MayClaim reports whether the caller may pass c off as its credentials
	// (scm_check_creds): EPERM.
	MayClaim(c Cred) error
	// Space is the network namespace that the call is about: the socket's, or that
	// in which one is made. Package socket only passes it on.
	Space() any
	// Capable reports whether the caller has a capability in effect over that
	// namespace.
	Capable(capability uint) bool
	// MaxFiles is RLIMIT_NOFILE.
	MaxFiles() uint64
}

// Message is what one call of sendmsg(2) or recvmsg(2) moves.
type Message struct {
	// Bufs are the guest's own memory: see vfs.FileOps.
	Bufs [][]byte
	// Addr is where to send to, nil for the connected peer; and who sent.
	Addr []byte
	// Control is what goes with the data.
	Control Control
	// Flags are msg_flags: what Recv has to say of the message (MSG_TRUNC,
	// MSG_EOR, MSG_OOB, MSG_ERRQUEUE).
	Flags int32
	// WantAddr says that Recv is asked for Addr.
	WantAddr bool

	store [MaxAddr]byte
}

// Reset makes m ready for the next use.
func (m *Message) Reset() { *m = Message{} }

// AddrSpace returns an empty slice with room for any address.
func (m *Message) AddrSpace() []byte { return m.store[:0] }

// Len returns how many bytes Bufs have.
func (m *Message) Len() (n int64) {
	for _, b := range m.Bufs {
		n += int64(len(b))
	}
	return n
}

// Socket is an open socket. Addresses are raw struct sockaddr bytes, with the
// family first; they are the guest's, and not checked.
type Socket interface {
	vfs.FileOps
	vfs.Reader
	vfs.Writer
	vfs.Ioctler
	vfs.Waitable

	// Ino is the number of the socket's inode.
	Ino() uint64
	// Kind returns family, type and protocol.
	Kind() (family, typ, protocol int)
	Bind(c Caller, addr []byte) error
	// Connect answers EAGAIN, or EINPROGRESS, if the connection is not made yet.
	// A blocking caller waits for the socket to be writable, and asks again: see
	// Connecting.
	Connect(c Caller, addr []byte) error
	Listen(c Caller, backlog int) error
	// Accept takes a connection, with the address of who made it.
	Accept(c Caller) (Socket, []byte, error)
	Shutdown(how int) error
	Name() ([]byte, error)
	PeerName() ([]byte, error)
	// SetOption and GetOption are setsockopt(2) and getsockopt(2). The value is
	// at most max bytes long.
	SetOption(c Caller, level, name int, value []byte) error
	GetOption(c Caller, level, name, max int) ([]byte, error)
	// Send and Recv move one message, or part of a stream. flags are MSG_*; both
	// leave MSG_DONTWAIT, MSG_NOSIGNAL and MSG_WAITALL to their caller. Recv
	// returns the whole length of a message if flags have MSG_TRUNC.
	Send(c Caller, m *Message, flags int) (int64, error)
	Recv(c Caller, m *Message, flags int) (int64, error)
	// Limit returns how long a blocking call waits (SO_RCVTIMEO, SO_SNDTIMEO): 0
	// for ever.
	Limit(write bool) time.Duration
}

// Connecting is a Socket whose Connect goes on in the background.
type Connecting interface {
	// Connected answers EAGAIN until the connection is made, or the error that it
	// failed with.
	Connected() error
}

// Streaming reports whether a type of socket has no message boundaries.
func Streaming(typ int) bool { return typ == unix.SOCK_STREAM }

// devSockfs is the device of all sockets.
var devSockfs = unix.Mkdev(0, 8)

// inode is a socket's in sockfs.
type inode struct {
	ino      uint64
	uid, gid uint32
	space    any
}

// Stat implements vfs.Inode.
func (i *inode) Stat() (vfs.Stat, error) {
	return vfs.Stat{
		Dev: devSockfs, Ino: i.ino, Mode: unix.S_IFSOCK | 0o777, Nlink: 1,
		UID: i.uid, GID: i.gid, Blksize: 4096,
	}, nil
}

// Open implements vfs.Inode: a socket cannot be opened anew (sock_no_open).
func (i *inode) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// NewFile makes the file of s. flags may have O_NONBLOCK. The caller gets the one
// reference.
func NewFile(s Socket, c Caller, flags uint32) *vfs.File {
	who := c.FS().Creds
	ino := s.Ino()
	i := &inode{ino: ino, uid: who.UID, gid: who.GID, space: c.Space()}
	return vfs.NewFile(s, i, unix.O_RDWR|flags&unix.O_NONBLOCK, "socket:["+strconv.FormatUint(ino, 10)+"]")
}

// SpaceOf returns the network namespace of a socket's file: what its maker's Caller
// called so.
func SpaceOf(f *vfs.File) any {
	if i, ok := f.Inode().(*inode); ok {
		return i.space
	}
	return nil
}

// Numbers gives sockets their inode numbers.
type Numbers struct{ last atomic.Uint64 }

// Next returns a number that no socket has.
func (n *Numbers) Next() uint64 { return n.last.Add(1) }
