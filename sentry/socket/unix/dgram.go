package unix

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
)

// sendMessage is unix_dgram_sendmsg and unix_seqpacket_sendmsg without the
// waiting.
func (s *Socket) sendMessage(c socket.Caller, m *socket.Message, who socket.Cred) (int64, error) {
	addr := m.Addr
	if s.typ == unix.SOCK_SEQPACKET {
		addr = nil
		if s.peer.Load() == nil && s.shut.Load() == 0 {
			return 0, unix.ENOTCONN
		}
	}
	var name socket.UnixName
	if len(addr) > 0 {
		var err error
		if name, err = socket.ParseUnix(addr); err != nil {
			return 0, err
		}
	} else if s.typ == unix.SOCK_DGRAM && s.peer.Load() == nil {
		return 0, unix.ENOTCONN
	}
	if s.PassCred.Load() && c != nil {
		if err := s.autobind(c); err != nil {
			return 0, err
		}
	}
	n := m.Len()
	if n > int64(s.SndBuf.Load())-32 {
		return 0, unix.EMSGSIZE
	}
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	if s.shut.Load()&shutWrite != 0 {
		return 0, unix.EPIPE
	}
	g, err := s.newSegment(m.Bufs, 0, int(n), who)
	if err != nil {
		return 0, err
	}
	to := s.peer.Load()
	if len(addr) > 0 {
		if c == nil {
			to, err = nil, unix.EINVAL
		} else {
			to, err = s.ns.find(c, name, s.typ)
		}
	} else if to == nil {
		err = unix.EPIPE
	}
	if err != nil {
		s.ns.free(g)
		return 0, err
	}
	back := to.peer.Load()
	if back != nil && back != s {
		s.ns.free(g)
		return 0, unix.EPERM // unix_may_send
	}
	full := false
	err = s.deliver(c, to, g, m, func() error {
		switch {
		case to.state == closed:
			return unix.ECONNREFUSED
		case to.shut.Load()&shutRead != 0:
			return unix.EPIPE
		case to != s && back != s && to.segs > maxDgramQueue:
			full = true
			return unix.EAGAIN
		}
		return nil
	})
	switch {
	case full:
		s.ns.mu.Lock()
		s.blockOn(to)
		s.ns.mu.Unlock()
		if !to.full() {
			s.ns.mu.Lock()
			s.unblock()
			s.ns.mu.Unlock()
			return s.sendMessage(c, m, who)
		}
	case err == unix.ECONNREFUSED && s.typ == unix.SOCK_SEQPACKET:
		err = unix.EPIPE
	case err == unix.ECONNREFUSED && len(addr) == 0:
		s.peer.CompareAndSwap(to, nil)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// full reports whether senders that are not its peer have to wait
// (unix_recvq_full).
func (s *Socket) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segs > maxDgramQueue && s.state != closed
}

// recvMessage is unix_dgram_recvmsg and unix_seqpacket_recvmsg without the
// waiting.
func (s *Socket) recvMessage(m *socket.Message, flags int) (int64, error) {
	if s.ordered() && s.shut.Load() == 0 && s.peer.Load() == nil {
		return 0, unix.ENOTCONN
	}
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	locked := s.lockQueue()
	g := s.first
	if g == nil {
		s.unlockQueue(locked)
		// A datagram socket tells only those of the end who would wait.
		if s.shut.Load()&shutRead != 0 && (s.ordered() || flags&unix.MSG_DONTWAIT == 0) {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if s.PassCred.Load() {
		m.Control.Cred, m.Control.HasCred = g.cred, true
	}
	if m.WantAddr {
		m.Addr = g.from.appendSender(m.AddrSpace())
	}
	done := int64(scatter(m.Bufs, 0, g.data))
	if done < int64(len(g.data)) {
		m.Flags |= unix.MSG_TRUNC
		if flags&unix.MSG_TRUNC != 0 {
			done = int64(len(g.data))
		}
	}
	if flags&unix.MSG_PEEK != 0 {
		for _, f := range g.rights {
			f.IncRef()
		}
		m.Control.Rights = append(m.Control.Rights, g.rights...)
		s.unlockQueue(locked)
		return done, nil
	}
	if g.rights != nil {
		s.ns.land(g)
		m.Control.Rights = append(m.Control.Rights, g.rights...)
		g.rights = nil
		s.rights--
	}
	s.pop()
	wake := s.segs <= maxDgramQueue && len(s.blocked) > 0
	s.unlockQueue(locked)
	s.ns.free(g)
	if wake {
		s.roomMade()
	}
	return done, nil
}
