package unix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

// Readiness implements waiter.Waitable (unix_poll, unix_dgram_poll).
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	ready := waiter.EventMask(0)
	shut := s.shut.Load()
	s.mu.Lock()
	is := s.state
	if s.first != nil || len(s.pending) > 0 {
		ready |= waiter.ReadableEvents
	}
	s.mu.Unlock()
	if s.Failed() {
		ready |= waiter.EventErr
	}
	if shut == shutRead|shutWrite {
		ready |= waiter.EventHUp
	}
	if shut&shutRead != 0 {
		ready |= waiter.ReadableEvents | waiter.EventRdHUp
	}
	if s.ordered() && is == unconnected {
		ready |= waiter.EventHUp
	}
	if is != listening && s.wmem.Load()<<2 <= int64(s.SndBuf.Load()) && mask&waiter.WritableEvents != 0 && s.roomAtPeer() {
		ready |= waiter.WritableEvents
	}
	return ready & (mask | waiter.EventHUp | waiter.EventErr)
}

// roomAtPeer reports whether a datagram socket may send to the one that it is
// connected to. If not, it is notified when that changes.
func (s *Socket) roomAtPeer() bool {
	to := s.peer.Load()
	if s.typ != unix.SOCK_DGRAM || to == nil || to == s || to.peer.Load() == s || !to.full() {
		return true
	}
	s.ns.mu.Lock()
	s.blockOn(to)
	s.ns.mu.Unlock()
	return !to.full()
}

// EventRegister implements waiter.Waitable.
func (s *Socket) EventRegister(e *waiter.Entry) error {
	s.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (s *Socket) EventUnregister(e *waiter.Entry) { s.queue.EventUnregister(e) }

// SetOption implements socket.Socket: there is no level but SOL_SOCKET.
func (s *Socket) SetOption(c socket.Caller, level, name int, value []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.EOPNOTSUPP
	}
	err := s.Generic.Set(c, name, value)
	if err == nil && name == unix.SO_SNDBUF {
		s.queue.Notify(waiter.WritableEvents)
	}
	return err
}

// GetOption implements socket.Socket.
func (s *Socket) GetOption(c socket.Caller, level, name, max int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.EOPNOTSUPP
	}
	switch name {
	case unix.SO_PEERCRED:
		s.ns.mu.Lock()
		cred := s.peerCred
		s.ns.mu.Unlock()
		if cred == (socket.Cred{}) {
			cred = socket.Cred{PID: 0, UID: ^uint32(0), GID: ^uint32(0)}
		}
		return socket.Cut(socket.AppendCred(nil, cred), max), nil
	case unix.SO_ACCEPTCONN:
		s.mu.Lock()
		is := s.state
		s.mu.Unlock()
		return socket.Bool(is == listening, max), nil
	}
	return s.Generic.Get(s, name, max)
}

// Ioctl implements vfs.Ioctler (unix_ioctl).
func (s *Socket) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	n := int64(0)
	switch request {
	case unix.SIOCOUTQ:
		n = s.wmem.Load()
	case unix.SIOCINQ:
		s.mu.Lock()
		is := s.state
		switch {
		case s.typ != unix.SOCK_DGRAM:
			n = s.bytes
		case s.first != nil:
			n = int64(len(s.first.data))
		}
		s.mu.Unlock()
		if is == listening {
			return 0, unix.EINVAL
		}
	default:
		return 0, unix.ENOTTY
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
	return 0, err
}

// Count returns how many sockets there are.
func (n *Namespace) Count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.all)
}

// Table writes what /proc/net/unix shows.
func (n *Namespace) Table(b *bytes.Buffer) {
	b.WriteString("Num       RefCount Protocol Flags    Type St Inode Path\n")
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*Socket, 0, len(n.all))
	for s := range n.all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y *Socket) int { return int(int64(x.ino) - int64(y.ino)) })
	for _, s := range list {
		s.mu.Lock()
		is, flags := s.state, 0
		s.mu.Unlock()
		st := 1 // SS_UNCONNECTED
		switch {
		case is == listening:
			flags = 0x10000 // __SO_ACCEPTCON
		case s.peer.Load() != nil:
			st = 3 // SS_CONNECTED
		}
		fmt.Fprintf(b, "%016x: %08X %08X %08X %04X %02X %5d", 0, 2, 0, flags, s.typ, st, s.ino)
		if name := s.name.Load(); name != nil {
			b.WriteByte(' ')
			b.WriteString(strings.ReplaceAll(string(*name), "\x00", "@"))
		}
		b.WriteByte('\n')
	}
}
