package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/mm"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// message is one transfer of a socket: what is moved, and the guest memory that is
// still to be moved.
type message struct {
	*socket.Message
	f     *vfs.File
	s     socket.Socket
	vec   []mm.Iovec
	flags int
	write bool
}

func newMessage(t *task.Task, f *vfs.File, s socket.Socket, flags int32, write bool) message {
	x := message{Message: t.Kernel().Net.Message(), f: f, s: s, flags: int(flags), write: write}
	if f.Flags()&unix.O_NONBLOCK != 0 || flags&unix.MSG_ERRQUEUE != 0 && !write {
		x.flags |= unix.MSG_DONTWAIT
	}
	return x
}

// discarder is a stream of which MSG_TRUNC drops data.
type discarder interface {
	Discard(n int64, flags int) (int64, error)
}

// release gives the message back, and what came with it.
func (x *message) release(t *task.Task) {
	x.Control.Release()
	t.Kernel().Net.PutMessage(x.Message)
}

// step moves what can be moved at once. whole: there are boundaries, and the
// memory must be there from end to end.
func (x *message) step(t *task.Task, whole bool) (int64, error) {
	if len(x.vec) == 0 {
		return x.call(t, nil)
	}
	vec, want := head(x.vec, pinChunk)
	if !x.write && !whole && x.flags&unix.MSG_TRUNC != 0 {
		if d, ok := x.s.(discarder); ok {
			return d.Discard(int64(want), x.flags)
		}
	}
	pin, err := t.Memory().Space.PinVec(vec, !x.write)
	if err != nil {
		if !x.write {
			// What else is wrong comes first.
			peek := socket.Message{}
			_, other := x.s.Recv(callerOf(t, x.f), &peek, x.flags|unix.MSG_PEEK)
			peek.Control.Release()
			if other != nil {
				return 0, other
			}
		}
		return 0, err
	}
	defer pin.Unpin()
	short := pin.Length() < want
	if short && whole && x.write {
		return 0, unix.EFAULT
	}
	n, err := x.call(t, pin.Blocks)
	if short && whole && err == nil && x.Flags&unix.MSG_TRUNC != 0 {
		return 0, unix.EFAULT
	}
	return n, err
}

func (x *message) call(t *task.Task, blocks [][]byte) (n int64, err error) {
	x.Bufs = blocks
	if x.write {
		n, err = x.s.Send(callerOf(t, x.f), x.Message, x.flags)
	} else {
		n, err = x.s.Recv(callerOf(t, x.f), x.Message, x.flags)
	}
	x.Bufs = nil
	return n, err
}

// run moves the message, and waits as long as it has to. A stream is written to
// the end, and read until there is something, or all with MSG_WAITALL.
func (x *message) run(t *task.Task) (uint64, error) {
	n, err := x.move(t)
	if x.write {
		t.Thread().AccountWrite(n)
	} else {
		t.Thread().AccountRead(n)
	}
	return n, err
}

func (x *message) move(t *task.Task) (total uint64, err error) {
	_, typ, _ := x.s.Kind()
	streaming := socket.Streaming(typ)
	want := uint64(0)
	for _, v := range x.vec {
		want += v.Len
	}
	if x.write && !streaming && want > pinChunk {
		return 0, unix.EMSGSIZE
	}
	target := uint64(1)
	switch {
	case x.write:
		target = want
	case x.flags&unix.MSG_WAITALL != 0 && x.flags&unix.MSG_PEEK == 0 && streaming:
		target = want
	case streaming:
		if l, ok := x.s.(interface{ Least() int }); ok {
			target = min(uint64(l.Least()), max(want, 1))
		}
	}
	var ch <-chan struct{}
	var deadline time.Time
	var limited bool
	for {
		n, err := x.step(t, !streaming)
		if err == nil {
			total += uint64(n)
			x.advance(n)
			if !streaming || n == 0 || total >= target || len(x.vec) == 0 {
				break
			}
			if !x.write && len(x.Control.Rights) > 0 {
				break
			}
			continue
		}
		if err == unix.EAGAIN && x.flags&unix.MSG_DONTWAIT == 0 {
			if ch == nil {
				mask := waiter.EventMask(waiter.ReadableEvents | waiter.EventRdHUp)
				if x.write {
					mask = waiter.WritableEvents
				}
				if ch, err = t.Subscribe(x.f, mask|waiter.EventHUp|waiter.EventErr); err != nil {
					return total, err
				}
				defer t.Unsubscribe(x.f)
				deadline, limited = patience(x.s, x.write)
				continue // it may have changed meanwhile
			}
			if err = t.Block(ch, deadline); err == nil {
				continue
			}
			err = waitError(err, limited, unix.EAGAIN)
		}
		if total > 0 {
			return total, nil
		}
		if err == unix.EPIPE && x.write && streaming && x.flags&unix.MSG_NOSIGNAL == 0 {
			t.SendSelf(unix.SIGPIPE)
		}
		return 0, err
	}
	return total, nil
}

// advance is transfer.advance.
func (x *message) advance(n int64) {
	for n > 0 && len(x.vec) > 0 {
		v := &x.vec[0]
		k := min(uint64(n), v.Len)
		v.Addr += hostarch.Addr(k)
		v.Len -= k
		n -= int64(k)
		if v.Len == 0 {
			x.vec = x.vec[1:]
		}
	}
}

// socketRW is read(2) and write(2) of a socket.
func (x *transfer) socketRW(t *task.Task, s socket.Socket) (uint64, error) {
	if x.off >= 0 {
		return 0, unix.ESPIPE
	}
	if len(x.vec) == 0 && !x.write {
		return 0, nil // "Match SYS5 behaviour"
	}
	m := newMessage(t, x.f, s, 0, x.write)
	m.vec = x.vec
	if x.flags&unix.RWF_NOWAIT != 0 {
		m.flags |= unix.MSG_DONTWAIT
	}
	n, err := m.move(t)
	m.release(t)
	return n, err
}

// oneRange makes the vector of a call with one buffer.
func oneRange(t *task.Task, addr hostarch.Addr, n uint64, into *[1]mm.Iovec) ([]mm.Iovec, error) {
	limit := uint64(t.Kernel().Platform.MaxAddress())
	if uint64(addr) > limit || n > limit-uint64(addr) {
		return nil, unix.EFAULT
	}
	if n = min(n, maxRW); n == 0 {
		return nil, nil
	}
	into[0] = mm.Iovec{Addr: addr, Len: n}
	return into[:], nil
}

// sysSendto is sendto(2).
func sysSendto(t *task.Task, a *task.Args) (uint64, error) {
	var one [1]mm.Iovec
	vec, err := oneRange(t, a.Addr(1), a[2], &one)
	if err != nil {
		return 0, err
	}
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	x := newMessage(t, f, s, a.Int(3), true)
	defer x.release(t)
	x.vec = vec
	if addr := a.Addr(4); addr != 0 {
		if x.Addr, err = copyInAddr(t, addr, a.Int(5), x.AddrSpace()); err != nil {
			return 0, err
		}
	}
	return x.run(t)
}

// sysRecvfrom is recvfrom(2).
func sysRecvfrom(t *task.Task, a *task.Args) (uint64, error) {
	var one [1]mm.Iovec
	vec, err := oneRange(t, a.Addr(1), a[2], &one)
	if err != nil {
		return 0, err
	}
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	x := newMessage(t, f, s, a.Int(3), false)
	defer x.release(t)
	x.vec, x.WantAddr = vec, a[4] != 0
	n, err := x.run(t)
	if err == nil && x.WantAddr {
		err = copyOutAddr(t, x.Addr, a.Addr(4), a.Addr(5))
	}
	return n, err
}

// msghdr is struct msghdr, 56 bytes.
type msghdr struct {
	name       hostarch.Addr
	nameLen    int32
	iov        hostarch.Addr
	iovLen     uint64
	control    hostarch.Addr
	controlLen uint64
}

const (
	msghdrSize       = 56
	msghdrNameLen    = 8
	msghdrControlLen = 40
	msghdrFlags      = 48
	mmsghdrSize      = 64
	maxMessages      = 1024 // UIO_MAXIOV
)

// copyInMsghdr reads a struct msghdr and its vector (copy_msghdr_from_user).
func copyInMsghdr(t *task.Task, addr hostarch.Addr) (h msghdr, vec []mm.Iovec, err error) {
	var b [msghdrSize]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return h, nil, err
	}
	le := binary.LittleEndian
	h.name = hostarch.Addr(le.Uint64(b[0:]))
	h.nameLen = int32(le.Uint32(b[8:]))
	h.iov = hostarch.Addr(le.Uint64(b[16:]))
	h.iovLen = le.Uint64(b[24:])
	h.control = hostarch.Addr(le.Uint64(b[32:]))
	h.controlLen = le.Uint64(b[40:])
	if h.name == 0 {
		h.nameLen = 0
	}
	if h.nameLen < 0 {
		return h, nil, unix.EINVAL
	}
	h.nameLen = min(h.nameLen, socket.MaxAddr)
	if h.iovLen > maxIovecs {
		return h, nil, unix.EMSGSIZE
	}
	vec, err = copyInIovecs(t, h.iov, int64(h.iovLen))
	return h, vec, err
}

// sysSendmsg is sendmsg(2).
func sysSendmsg(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return sendmsg(t, f, s, a.Addr(1), a.Int(2))
}

// sendmsg is ___sys_sendmsg.
func sendmsg(t *task.Task, f *vfs.File, s socket.Socket, addr hostarch.Addr, flags int32) (uint64, error) {
	h, vec, err := copyInMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	x := newMessage(t, f, s, flags, true)
	defer x.release(t)
	x.vec = vec
	if h.nameLen > 0 {
		if x.Addr, err = copyInAddr(t, h.name, h.nameLen, x.AddrSpace()); err != nil {
			return 0, err
		}
	}
	if h.controlLen > socket.MaxControl {
		return 0, unix.ENOBUFS
	}
	if h.controlLen > 0 {
		b := make([]byte, h.controlLen)
		if _, err := t.Memory().Space.CopyIn(h.control, b); err != nil {
			return 0, err
		}
		family, _, _ := s.Kind()
		x.Control, err = socket.ParseControl(b, family == unix.AF_UNIX, t.AnyFile)
		if err != nil {
			return 0, err
		}
	}
	return x.run(t)
}

// sysRecvmsg is recvmsg(2).
func sysRecvmsg(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return recvmsg(t, f, s, a.Addr(1), a.Int(2))
}

// recvmsg is ___sys_recvmsg.
func recvmsg(t *task.Task, f *vfs.File, s socket.Socket, addr hostarch.Addr, flags int32) (uint64, error) {
	h, vec, err := copyInMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	x := newMessage(t, f, s, flags&^unix.MSG_CMSG_CLOEXEC, false)
	defer x.release(t)
	x.vec, x.WantAddr = vec, h.name != 0
	n, err := x.run(t)
	if err != nil {
		return 0, err
	}
	space, le := t.Memory().Space, binary.LittleEndian
	var b [8]byte
	if h.name != 0 {
		if k := min(int(h.nameLen), len(x.Addr)); k > 0 {
			if _, err := space.CopyOut(h.name, x.Addr[:k]); err != nil {
				return 0, err
			}
		}
		le.PutUint32(b[:], uint32(len(x.Addr)))
		if _, err := space.CopyOut(addr+msghdrNameLen, b[:4]); err != nil {
			return 0, err
		}
	}
	used, cut := copyOutControl(t, &x.Control, h, flags&unix.MSG_CMSG_CLOEXEC != 0)
	out := x.Flags | flags&unix.MSG_CMSG_CLOEXEC
	if cut {
		out |= unix.MSG_CTRUNC
	}
	le.PutUint32(b[:], uint32(out))
	if _, err := space.CopyOut(addr+msghdrFlags, b[:4]); err != nil {
		return 0, err
	}
	le.PutUint64(b[:], uint64(used))
	if _, err := space.CopyOut(addr+msghdrControlLen, b[:]); err != nil {
		return 0, err
	}
	return n, nil
}

// copyOutControl stores control messages, and installs the files among them
// (scm_recv). used is how much of the guest's buffer they take; cut: not all fit.
func copyOutControl(t *task.Task, c *socket.Control, h msghdr, cloexec bool) (used int, cut bool) {
	if !c.HasCred && len(c.Rights) == 0 && len(c.Items) == 0 {
		return 0, false
	}
	w := socket.ControlWriter{Max: int(min(h.controlLen, socket.MaxControl))}
	if h.control == 0 {
		w.Max = 0
	}
	for _, i := range c.Items {
		w.Put(i.Level, i.Type, i.Data)
	}
	if c.HasCred {
		w.Put(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, socket.AppendCred(nil, c.Cred))
	}
	var fds []byte
	if len(c.Rights) > 0 {
		// scm_detach_fds: as many as there is room for, and descriptors.
		n := 0
		for n < len(c.Rights) && w.Room() >= 4*(n+1) {
			f := c.Rights[n]
			f.IncRef()
			fd, err := t.Install(f, cloexec)
			if err != nil {
				break
			}
			fds = binary.LittleEndian.AppendUint32(fds, uint32(fd))
			n++
		}
		if n < len(c.Rights) {
			w.Truncated = true
		}
		if n > 0 {
			w.Put(unix.SOL_SOCKET, unix.SCM_RIGHTS, fds)
		}
		c.Release()
	}
	if len(w.Buf) == 0 {
		return 0, w.Truncated
	}
	if _, err := t.Memory().Space.CopyOut(h.control, w.Buf); err != nil {
		for ; len(fds) > 0; fds = fds[4:] {
			t.FDs().Close(int(int32(binary.LittleEndian.Uint32(fds))))
		}
		return 0, true
	}
	return len(w.Buf), w.Truncated
}

// sysSendmmsg is sendmmsg(2).
func sysSendmmsg(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	addr, count := a.Addr(1), uint64(min(a.Uint(2), maxMessages))
	done := uint64(0)
	for ; done < count; done++ {
		n, err := sendmsg(t, f, s, addr, a.Int(3))
		if err == nil {
			err = t.Memory().Space.StoreUint32(addr+msghdrSize, uint32(n))
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		addr += mmsghdrSize
		if t.Thread().Pending() {
			done++
			break
		}
	}
	return done, nil
}

// sysRecvmmsg is recvmmsg(2). As there, the timeout is looked at after each
// message only.
func sysRecvmmsg(t *task.Task, a *task.Args) (uint64, error) {
	deadline := never
	if at := a.Addr(4); at != 0 {
		ts, ok, err := copyInTimespec(t, at)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, unix.EINVAL
		}
		deadline = after(duration(ts))
		defer func() { copyOutTimespec(t, at, max(0, int64(time.Until(deadline)))) }()
	}
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	addr, count, flags := a.Addr(1), uint64(min(a.Uint(2), maxMessages)), a.Int(3)
	done := uint64(0)
	for done < count {
		n, err := recvmsg(t, f, s, addr, flags&^unix.MSG_WAITFORONE)
		if err == nil {
			err = t.Memory().Space.StoreUint32(addr+msghdrSize, uint32(n))
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		addr += mmsghdrSize
		done++
		if flags&unix.MSG_WAITFORONE != 0 {
			flags |= unix.MSG_DONTWAIT
		}
		if a[4] != 0 && time.Until(deadline) <= 0 || t.Thread().Pending() {
			break
		}
	}
	return done, nil
}
