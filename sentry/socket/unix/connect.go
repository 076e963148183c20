package unix

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
)

// appendName adds the address of s to b. The family alone stands for none.
func (s *Socket) appendName(b []byte) []byte {
	name := socket.UnixName("")
	if p := s.name.Load(); p != nil {
		name = *p
	}
	return name.Append(b)
}

// appendSender adds the address of who sent something: nothing stands for none
// (unix_copy_addr).
func (s *Socket) appendSender(b []byte) []byte {
	if s.name.Load() == nil {
		return b
	}
	return s.appendName(b)
}

// Name implements socket.Socket.
func (s *Socket) Name() ([]byte, error) { return s.appendName(nil), nil }

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	if p := s.peer.Load(); p != nil {
		return p.appendName(nil), nil
	}
	return nil, unix.ENOTCONN
}

// Bind implements socket.Socket (unix_bind).
func (s *Socket) Bind(c socket.Caller, addr []byte) error {
	if len(addr) == 2 && socket.Family(addr) == unix.AF_UNIX {
		return s.autobind(c)
	}
	name, err := socket.ParseUnix(addr)
	if err != nil {
		return err
	}
	n := s.ns
	if name.Abstract() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if s.name.Load() != nil {
			return unix.EINVAL
		}
		if n.abstract[abstract{s.typ, name}] != nil {
			return unix.EADDRINUSE
		}
		n.abstract[abstract{s.typ, name}] = s
		s.name.Store(&name)
		return nil
	}
	if s.name.Load() != nil {
		// The name must not be made, but what stands in its way is told.
		if _, err := c.FS().Stat(nil, string(name), unix.AT_SYMLINK_NOFOLLOW); err == nil {
			return unix.EADDRINUSE
		}
		return unix.EINVAL
	}
	f, err := c.FS().BindSocket(string(name), 0o777)
	if err != nil {
		return err
	}
	n.mu.Lock()
	if s.name.Load() != nil {
		n.mu.Unlock()
		c.FS().Unlink(nil, string(name))
		f.DecRef()
		return unix.EINVAL
	}
	n.paths[f.Inode()] = s
	s.bound = f
	s.name.Store(&name)
	n.mu.Unlock()
	return nil
}

// autobind gives s an abstract name of five digits, unless it has a name
// (unix_autobind).
func (s *Socket) autobind(socket.Caller) error {
	n := s.ns
	if s.name.Load() != nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.name.Load() != nil {
		return nil
	}
	for range 1 << 20 {
		n.next = (n.next + 1) & (1<<20 - 1)
		name := socket.UnixName(fmt.Sprintf("\x00%05x", n.next))
		if n.abstract[abstract{s.typ, name}] == nil {
			n.abstract[abstract{s.typ, name}] = s
			s.name.Store(&name)
			return nil
		}
	}
	return unix.ENOSPC
}

// find returns the socket of a name (unix_find_other): ECONNREFUSED if nobody is
// bound to it, EPROTOTYPE if one of another type is.
func (n *Namespace) find(c socket.Caller, name socket.UnixName, typ int) (*Socket, error) {
	var s *Socket
	if name == "" || name.Abstract() {
		n.mu.Lock()
		s = n.abstract[abstract{typ, name}]
		n.mu.Unlock()
	} else {
		inode, err := c.FS().ConnectSocket(string(name))
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		s = n.paths[inode]
		n.mu.Unlock()
	}
	switch {
	case s == nil:
		return nil, unix.ECONNREFUSED
	case s.typ != typ:
		return nil, unix.EPROTOTYPE
	}
	return s, nil
}

// Connect implements socket.Socket. EAGAIN: the backlog of who listens is full.
func (s *Socket) Connect(c socket.Caller, addr []byte) error {
	if s.typ == unix.SOCK_DGRAM {
		return s.connectDgram(c, addr)
	}
	name, err := socket.ParseUnix(addr)
	if err != nil {
		return err
	}
	if s.PassCred.Load() {
		if err := s.autobind(c); err != nil {
			return err
		}
	}
	other, err := s.ns.find(c, name, s.typ)
	if err != nil {
		return err
	}
	server := s.ns.make(s.typ)
	err = s.connectStream(c, other, server)
	if err != nil {
		server.release()
		return err
	}
	other.queue.Notify(waiter.ReadableEvents)
	s.queue.Notify(waiter.WritableEvents)
	return nil
}

// connectStream connects s to server, which waits in other to be accepted
// (unix_stream_connect).
func (s *Socket) connectStream(c socket.Caller, other, server *Socket) error {
	n := s.ns
	n.mu.Lock()
	defer n.mu.Unlock()
	s.mu.Lock()
	is := s.state
	s.mu.Unlock()
	other.mu.Lock()
	switch {
	case other.state != listening, other.shut.Load()&shutRead != 0:
		other.mu.Unlock()
		return unix.ECONNREFUSED
	case is == connected:
		other.mu.Unlock()
		return unix.EISCONN
	case is != unconnected:
		other.mu.Unlock()
		return unix.EINVAL
	case len(other.pending) > other.backlog:
		other.mu.Unlock()
		s.blockOn(other)
		return unix.EAGAIN
	}
	server.Generic.Inherit(&other.Generic)
	server.peerCred, s.peerCred = c.Cred(), other.peerCred
	server.state, server.embryo = connected, true
	server.name.Store(other.name.Load())
	server.peer.Store(s)
	other.pending = append(other.pending, server)
	other.mu.Unlock()
	s.mu.Lock()
	s.state = connected
	s.mu.Unlock()
	s.peer.Store(server)
	return nil
}

// connectDgram is unix_dgram_connect: AF_UNSPEC disconnects.
func (s *Socket) connectDgram(c socket.Caller, addr []byte) error {
	var to *Socket
	if len(addr) < 2 {
		return unix.EINVAL
	}
	if socket.Family(addr) != unix.AF_UNSPEC {
		name, err := socket.ParseUnix(addr)
		if err != nil {
			return err
		}
		if s.PassCred.Load() {
			if err := s.autobind(c); err != nil {
				return err
			}
		}
		if to, err = s.ns.find(c, name, s.typ); err != nil {
			return err
		}
		if back := to.peer.Load(); back != nil && back != s {
			return unix.EPERM
		}
	}
	n := s.ns
	n.mu.Lock()
	s.unblock()
	old := s.peer.Swap(to)
	var gone *segment
	if old != nil && old != to {
		// "If one link of bidirectional dgram pipe is disconnected, we signal
		// error. Messages are lost."
		s.mu.Lock()
		gone = s.takeAll()
		s.mu.Unlock()
		if gone != nil && old.peer.Load() == s {
			old.Fail(unix.ECONNRESET)
		} else {
			old = nil
		}
	} else {
		old = nil
	}
	n.mu.Unlock()
	n.drop(gone)
	if old != nil {
		old.queue.Notify(waiter.EventErr)
	}
	return nil
}

// Listen implements socket.Socket (unix_listen).
func (s *Socket) Listen(c socket.Caller, backlog int) error {
	if !s.ordered() {
		return unix.EOPNOTSUPP
	}
	s.ns.mu.Lock()
	s.mu.Lock()
	switch {
	case s.name.Load() == nil, s.state != unconnected && s.state != listening:
		s.mu.Unlock()
		s.ns.mu.Unlock()
		return unix.EINVAL
	}
	more := backlog > s.backlog
	s.backlog, s.state = backlog, listening
	s.peerCred = c.Cred()
	s.mu.Unlock()
	s.ns.mu.Unlock()
	if more {
		s.roomMade()
	}
	return nil
}

// Accept implements socket.Socket (unix_accept).
func (s *Socket) Accept(socket.Caller) (socket.Socket, []byte, error) {
	if !s.ordered() {
		return nil, nil, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	switch {
	case s.state != listening, len(s.pending) == 0 && s.shut.Load()&shutRead != 0:
		s.mu.Unlock()
		return nil, nil, unix.EINVAL
	case len(s.pending) == 0:
		s.mu.Unlock()
		return nil, nil, unix.EAGAIN
	}
	server := s.pending[0]
	s.pending = slices.Delete(s.pending, 0, 1)
	wake := len(s.blocked) > 0
	s.mu.Unlock()
	server.mu.Lock()
	server.embryo = false
	server.mu.Unlock()
	if wake {
		s.roomMade()
	}
	name := []byte{unix.AF_UNIX, 0}
	if p := server.peer.Load(); p != nil {
		name = p.appendName(nil)
	}
	return server, name, nil
}
