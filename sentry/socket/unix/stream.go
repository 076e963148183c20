package unix

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
)

// Send implements socket.Socket.
func (s *Socket) Send(c socket.Caller, m *socket.Message, flags int) (int64, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	who := socket.NobodyCred
	if c != nil {
		if m.Control.HasCred {
			if err := c.MayClaim(m.Control.Cred); err != nil {
				return 0, err
			}
		}
		who = s.credFor(c, m)
	}
	if s.typ == unix.SOCK_STREAM {
		return s.sendStream(c, m, who)
	}
	return s.sendMessage(c, m, who)
}

// credFor returns the credentials that go with a message: they are there if one
// side wants them, or the sender gave some (maybe_add_creds).
func (s *Socket) credFor(c socket.Caller, m *socket.Message) socket.Cred {
	if m.Control.HasCred {
		return m.Control.Cred
	}
	if !s.PassCred.Load() && len(m.Addr) == 0 {
		p := s.peer.Load()
		if p == nil || !p.PassCred.Load() && !p.isEmbryo() {
			return socket.NobodyCred
		}
	}
	return c.RealCred()
}

func (s *Socket) isEmbryo() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.embryo
}

// sendStream is unix_stream_sendmsg without the waiting: a short count means that
// there is no room.
func (s *Socket) sendStream(c socket.Caller, m *socket.Message, who socket.Cred) (int64, error) {
	peer := s.peer.Load()
	if len(m.Addr) > 0 {
		if peer != nil {
			return 0, unix.EISCONN
		}
		return 0, unix.EOPNOTSUPP
	}
	if s.shut.Load()&shutWrite != 0 {
		return 0, unix.EPIPE
	}
	if peer == nil {
		return 0, unix.ENOTCONN
	}
	want, done := m.Len(), int64(0)
	for done < want {
		if err := s.TakeError(); err != nil {
			return done, err
		}
		n := int(min(want-done, int64(s.SndBuf.Load())/2-64, maxStream))
		g, err := s.newSegment(m.Bufs, done, n, who)
		if err == nil {
			err = s.deliver(c, peer, g, m, nil)
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		done += int64(n)
	}
	return done, nil
}

// deliver puts g, with the files of m, into the queue of to. check, if there is
// one, is asked first, with to.mu held. EPIPE: to does not read any more.
func (s *Socket) deliver(c socket.Caller, to *Socket, g *segment, m *socket.Message, check func() error) error {
	n := s.ns
	files := len(m.Control.Rights) > 0
	if files {
		if err := n.mayLaunch(c, len(m.Control.Rights)); err != nil {
			n.free(g)
			return err
		}
		n.garbage.mu.Lock()
	}
	to.mu.Lock()
	err := error(nil)
	switch {
	case check != nil:
		err = check()
	case to.state == closed || to.shut.Load()&shutRead != 0:
		err = unix.EPIPE
	}
	if err == nil {
		if files {
			g.rights, m.Control.Rights = m.Control.Rights, nil
			n.launch(g)
		}
		to.push(g)
	}
	to.mu.Unlock()
	if files {
		n.garbage.mu.Unlock()
	}
	if err != nil {
		n.free(g)
		return err
	}
	to.queue.Notify(waiter.ReadableEvents)
	return nil
}

// Recv implements socket.Socket.
func (s *Socket) Recv(_ socket.Caller, m *socket.Message, flags int) (int64, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if flags&unix.MSG_ERRQUEUE != 0 {
		return 0, unix.EAGAIN
	}
	if s.typ == unix.SOCK_STREAM {
		return s.recvStream(m, flags)
	}
	return s.recvMessage(m, flags)
}

// recvStream is unix_stream_read_generic without the waiting.
func (s *Socket) recvStream(m *socket.Message, flags int) (int64, error) {
	if s.peer.Load() == nil {
		return 0, unix.EINVAL
	}
	peek := flags&unix.MSG_PEEK != 0
	want, done := m.Len(), int64(0)
	var freed *segment
	locked := s.lockQueue()
	first := s.first
	if first == nil {
		s.unlockQueue(locked)
		if err := s.TakeError(); err != nil {
			return 0, err
		}
		if s.shut.Load()&shutRead != 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	creds := s.PassCred.Load()
	if creds && !m.Control.HasCred {
		m.Control.Cred, m.Control.HasCred = first.cred, true
	}
	if m.WantAddr {
		m.Addr = first.from.appendSender(m.AddrSpace())
	}
	for g := first; g != nil && done < want; {
		// "Never glue messages from different writers."
		if creds && g.cred != m.Control.Cred {
			break
		}
		n := scatter(m.Bufs, done, g.data)
		done += int64(n)
		next, rights := g.next, g.rights != nil
		if peek {
			if rights {
				for _, f := range g.rights {
					f.IncRef()
				}
				m.Control.Rights = append(m.Control.Rights, g.rights...)
			}
		} else {
			if rights {
				s.ns.land(g)
				m.Control.Rights = append(m.Control.Rights, g.rights...)
				g.rights = nil
				s.rights--
			}
			if n < len(g.data) {
				g.data = g.data[n:]
				s.bytes -= int64(n)
				break
			}
			s.pop()
			g.next, freed = freed, g
		}
		if rights {
			break
		}
		g = next
	}
	s.unlockQueue(locked)
	for freed != nil {
		g := freed
		freed = g.next
		s.ns.free(g)
	}
	return done, nil
}

// Read implements vfs.Reader.
func (s *Socket) Read(dst [][]byte) (int64, error) {
	m := s.ns.messages.Get().(*socket.Message)
	m.Bufs = dst
	n, err := s.Recv(nil, m, 0)
	s.ns.close(m.Control.Rights)
	m.Reset()
	s.ns.messages.Put(m)
	return n, err
}

// Write implements vfs.Writer.
func (s *Socket) Write(src [][]byte) (int64, error) {
	m := s.ns.messages.Get().(*socket.Message)
	m.Bufs = src
	n, err := s.Send(nil, m, 0)
	m.Reset()
	s.ns.messages.Put(m)
	return n, err
}
