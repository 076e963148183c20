// Package netns is a network namespace: all families of sockets together.
package netns

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
	local "runsc-lite/sentry/socket/unix"
)

// Namespace is a network namespace.
type Namespace struct {
	numbers socket.Numbers
	local   *local.Namespace

	messages sync.Pool // *socket.Message
}

// Message returns a message to be filled, and given back by PutMessage.
func (n *Namespace) Message() *socket.Message {
	if m, ok := n.messages.Get().(*socket.Message); ok {
		return m
	}
	return new(socket.Message)
}

// PutMessage takes a message back.
func (n *Namespace) PutMessage(m *socket.Message) {
	m.Reset()
	n.messages.Put(m)
}

// New makes a network namespace.
func New() *Namespace {
	n := &Namespace{}
	n.local = local.NewNamespace(&n.numbers)
	return n
}

// File is a file of /proc/net.
type File struct {
	Name  string
	Write func(b *bytes.Buffer)
}

// Files are the files of /proc/net.
func (n *Namespace) Files() []File {
	return []File{
		{"unix", n.local.Table},
	}
}

// Socket makes a socket (socket(2)): EAFNOSUPPORT for a family that is not there.
func (n *Namespace) Socket(c socket.Caller, family, typ, protocol int) (socket.Socket, error) {
	switch family {
	case unix.AF_UNIX:
		s, err := n.local.New(typ, protocol)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return nil, unix.EAFNOSUPPORT
}

// Pair makes two sockets that are connected (socketpair(2)): EOPNOTSUPP for a
// family that has none.
func (n *Namespace) Pair(c socket.Caller, family, typ, protocol int) (a, b socket.Socket, err error) {
	if family == unix.AF_UNIX {
		x, y, err := n.local.Pair(c, typ, protocol)
		if err != nil {
			return nil, nil, err
		}
		return x, y, nil
	}
	s, err := n.Socket(c, family, typ, protocol)
	if err != nil {
		return nil, nil, err
	}
	s.Release()
	return nil, nil, unix.EOPNOTSUPP
}
