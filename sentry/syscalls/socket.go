package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// sockCaller is a task as sockets of its own network namespace see it.
type sockCaller struct{ *task.Task }

// foreignCaller is a task as sockets of another namespace see it.
type foreignCaller struct {
	sockCaller
	net *namespaces.Net
}

// callerOf returns t as the socket of f sees it. It allocates nothing for a socket of
// t's own namespace.
func callerOf(t *task.Task, f *vfs.File) socket.Caller {
	net, ok := socket.SpaceOf(f).(*namespaces.Net)
	if !ok || net == t.Namespaces().Net {
		return sockCaller{t}
	}
	return foreignCaller{sockCaller{t}, net}
}

// netOf returns the network namespace of a socket.
func netOf(t *task.Task, f *vfs.File) *namespaces.Net {
	if net, ok := socket.SpaceOf(f).(*namespaces.Net); ok {
		return net
	}
	return t.Namespaces().Net
}

// Space implements socket.Caller.
func (c sockCaller) Space() any { return c.Namespaces().Net }

// Space implements socket.Caller.
func (c foreignCaller) Space() any { return c.net }

// FS implements socket.Caller.
func (c sockCaller) FS() *vfs.Caller { return c.Task.Caller() }

// Cred implements socket.Caller.
func (c sockCaller) Cred() socket.Cred {
	who := c.Thread().Credentials()
	return socket.Cred{PID: int32(c.Process().ID()), UID: who.EUID, GID: who.EGID}
}

// RealCred implements socket.Caller.
func (c sockCaller) RealCred() socket.Cred {
	who := c.Thread().Credentials()
	return socket.Cred{PID: int32(c.Process().ID()), UID: who.RUID, GID: who.RGID}
}

// MayClaim implements socket.Caller (scm_check_creds).
func (c sockCaller) MayClaim(as socket.Cred) error {
	if as.UID == ^uint32(0) || as.GID == ^uint32(0) {
		return unix.EINVAL
	}
	who := c.Thread().Credentials()
	if as.PID != int32(c.Process().ID()) {
		if !who.HasCapIn(c.Thread().Namespace().Owner(), unix.CAP_SYS_ADMIN) {
			return unix.EPERM
		}
		if as.PID != 0 && c.Kernel().Procs.GetThread(int(as.PID)) == nil {
			return unix.ESRCH
		}
	}
	uidOK := as.UID == who.RUID || as.UID == who.EUID || as.UID == who.SUID || who.HasCapIn(who.UserNS, unix.CAP_SETUID)
	gidOK := as.GID == who.RGID || as.GID == who.EGID || as.GID == who.SGID || who.HasCapIn(who.UserNS, unix.CAP_SETGID)
	if !uidOK || !gidOK {
		return unix.EPERM
	}
	return nil
}

// Capable implements socket.Caller.
func (c sockCaller) Capable(capability uint) bool {
	return c.Thread().Credentials().HasCapIn(c.Namespaces().Net.Owner(), int(capability))
}

// Capable implements socket.Caller.
func (c foreignCaller) Capable(capability uint) bool {
	return c.Thread().Credentials().HasCapIn(c.net.Owner(), int(capability))
}

// MaxFiles implements socket.Caller.
func (c sockCaller) MaxFiles() uint64 { return c.MaxFDs() }

// socketOf returns the socket of a descriptor, and its file with a reference:
// ENOTSOCK.
func socketOf(t *task.Task, fd int32) (*vfs.File, socket.Socket, error) {
	f, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	s, ok := f.Ops().(socket.Socket)
	if !ok {
		f.DecRef()
		return nil, nil, unix.ENOTSOCK
	}
	return f, s, nil
}

const (
	sockTypeMask = 0xf // SOCK_TYPE_MASK
	maxSockType  = 11  // SOCK_MAX
	maxFamily    = 46  // AF_MAX
)

// splitType takes the flags out of a type argument.
func splitType(arg int32) (typ int, flags uint32, err error) {
	flags = uint32(arg) &^ sockTypeMask
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, 0, unix.EINVAL
	}
	return int(arg & sockTypeMask), flags, nil
}

// checkKind is what __sock_create checks before it asks a family.
func checkKind(family int32, typ int) error {
	if family < 0 || family >= maxFamily {
		return unix.EAFNOSUPPORT
	}
	if typ >= maxSockType {
		return unix.EINVAL
	}
	return nil
}

// sysSocket is socket(2).
func sysSocket(t *task.Task, a *task.Args) (uint64, error) {
	typ, flags, err := splitType(a.Int(1))
	if err != nil {
		return 0, err
	}
	if err := checkKind(a.Int(0), typ); err != nil {
		return 0, err
	}
	c := sockCaller{t}
	s, err := t.Namespaces().Net.Sockets.Socket(c, int(a.Int(0)), typ, int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	return install(t, socket.NewFile(s, c, flags), flags&unix.SOCK_CLOEXEC != 0)
}

// sysSocketpair is socketpair(2).
func sysSocketpair(t *task.Task, a *task.Args) (uint64, error) {
	typ, flags, err := splitType(a.Int(1))
	if err != nil {
		return 0, err
	}
	if err := checkKind(a.Int(0), typ); err != nil {
		return 0, err
	}
	c := sockCaller{t}
	x, y, err := t.Namespaces().Net.Sockets.Pair(c, int(a.Int(0)), typ, int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	fx, fy := socket.NewFile(x, c, flags), socket.NewFile(y, c, flags)
	fds, err := t.FDs().InstallPair(fx, fy, t.MaxFDs(), flags&unix.SOCK_CLOEXEC != 0)
	if err != nil {
		fx.DecRef()
		fy.DecRef()
		return 0, err
	}
	var b [8]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(fds[0]))
	binary.LittleEndian.PutUint32(b[4:], uint32(fds[1]))
	if _, err := t.Memory().Space.CopyOut(a.Addr(3), b[:]); err != nil {
		t.FDs().Close(fds[0])
		t.FDs().Close(fds[1])
		return 0, err
	}
	return 0, nil
}

// copyInAddr reads a socket address (move_addr_to_kernel): EINVAL for a length
// that no address has.
func copyInAddr(t *task.Task, addr hostarch.Addr, n int32, into []byte) ([]byte, error) {
	if n < 0 || n > socket.MaxAddr {
		return nil, unix.EINVAL
	}
	into = append(into, make([]byte, n)...)
	if n == 0 {
		return into, nil
	}
	_, err := t.Memory().Space.CopyIn(addr, into)
	return into, err
}

// copyOutAddr stores a socket address as far as there is room, and its whole
// length (move_addr_to_user). A null address wants none.
func copyOutAddr(t *task.Task, sa []byte, addr, lenAddr hostarch.Addr) error {
	var b [4]byte
	space := t.Memory().Space
	if _, err := space.CopyIn(lenAddr, b[:]); err != nil {
		return err
	}
	room := int32(binary.LittleEndian.Uint32(b[:]))
	if room < 0 {
		return unix.EINVAL
	}
	if n := min(int(room), len(sa)); n > 0 {
		if _, err := space.CopyOut(addr, sa[:n]); err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(b[:], uint32(len(sa)))
	_, err := space.CopyOut(lenAddr, b[:])
	return err
}

// sysBind is bind(2).
func sysBind(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	sa, err := copyInAddr(t, a.Addr(1), a.Int(2), nil)
	if err != nil {
		return 0, err
	}
	return 0, s.Bind(callerOf(t, f), sa)
}

// sysListen is listen(2).
func sysListen(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return 0, s.Listen(callerOf(t, f), int(min(a.Uint(1), socket.MaxBacklog)))
}

// patience is how long a blocking call on s waits: never is for ever. limited says
// that a signal ends it with EINTR, even if its handler has SA_RESTART
// (signal(7)).
func patience(s socket.Socket, write bool) (deadline time.Time, limited bool) {
	if d := s.Limit(write); d != 0 {
		return after(d), true
	}
	return never, false
}

// waitSocket calls try until it answers something other than EAGAIN, and waits for
// mask in between (sock_intr_errno has what an interruption answers). late is the
// answer when the socket's time limit is past.
func waitSocket(t *task.Task, f *vfs.File, s socket.Socket, mask waiter.EventMask, write bool, late error, try func() error) error {
	ch, err := t.Subscribe(f, mask|waiter.EventHUp|waiter.EventErr)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(f)
	deadline, limited := patience(s, write)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(ch, deadline); err != nil {
			return waitError(err, limited, late)
		}
	}
}

func waitError(err error, limited bool, late error) error {
	if err == unix.ETIMEDOUT {
		return late
	}
	if limited {
		return task.Interrupted(err, task.NotRestarted)
	}
	return task.Interrupted(err, task.RestartSys)
}

// sysConnect is connect(2).
func sysConnect(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	sa, err := copyInAddr(t, a.Addr(1), a.Int(2), nil)
	if err != nil {
		return 0, err
	}
	c := callerOf(t, f)
	err = s.Connect(c, sa)
	if f.Flags()&unix.O_NONBLOCK != 0 {
		return 0, err
	}
	switch err {
	case unix.EAGAIN:
		return 0, waitSocket(t, f, s, waiter.WritableEvents, true, unix.EAGAIN, func() error { return s.Connect(c, sa) })
	case unix.EINPROGRESS, unix.EALREADY:
		if p, ok := s.(socket.Connecting); ok {
			return 0, waitSocket(t, f, s, waiter.WritableEvents|waiter.ReadableEvents, true, err, p.Connected)
		}
	}
	return 0, err
}

// sysAccept is accept(2).
func sysAccept(t *task.Task, a *task.Args) (uint64, error) { return accept(t, a, 0) }

// sysAccept4 is accept4(2).
func sysAccept4(t *task.Task, a *task.Args) (uint64, error) { return accept(t, a, a.Uint(3)) }

func accept(t *task.Task, a *task.Args, flags uint32) (uint64, error) {
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if uint64(t.FDs().Count()) >= t.MaxFDs() {
		return 0, unix.EMFILE // and the connection goes on waiting
	}
	c := callerOf(t, f)
	var peer socket.Socket
	var sa []byte
	try := func() (err error) {
		peer, sa, err = s.Accept(c)
		return err
	}
	err = try()
	if err == unix.EAGAIN && f.Flags()&unix.O_NONBLOCK == 0 {
		err = waitSocket(t, f, s, waiter.ReadableEvents, false, unix.EAGAIN, try)
	}
	if err != nil {
		return 0, err
	}
	got := socket.NewFile(peer, c, flags)
	if addr := a.Addr(1); addr != 0 {
		if err := copyOutAddr(t, sa, addr, a.Addr(2)); err != nil {
			got.DecRef()
			return 0, err
		}
	}
	return install(t, got, flags&unix.SOCK_CLOEXEC != 0)
}

// sysShutdown is shutdown(2).
func sysShutdown(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return 0, s.Shutdown(int(a.Int(1)))
}

// sysGetsockname is getsockname(2).
func sysGetsockname(t *task.Task, a *task.Args) (uint64, error) {
	return name(t, a, socket.Socket.Name)
}

// sysGetpeername is getpeername(2).
func sysGetpeername(t *task.Task, a *task.Args) (uint64, error) {
	return name(t, a, socket.Socket.PeerName)
}

func name(t *task.Task, a *task.Args, of func(socket.Socket) ([]byte, error)) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	sa, err := of(s)
	if err != nil {
		return 0, err
	}
	return 0, copyOutAddr(t, sa, a.Addr(1), a.Addr(2))
}

// sysSetsockopt is setsockopt(2).
func sysSetsockopt(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	n := a.Int(4)
	if n < 0 {
		return 0, unix.EINVAL
	}
	value := make([]byte, min(n, socket.MaxOption))
	if _, err := t.Memory().Space.CopyIn(a.Addr(3), value); err != nil {
		return 0, err
	}
	return 0, s.SetOption(callerOf(t, f), int(a.Int(1)), int(a.Int(2)), value)
}

// sysGetsockopt is getsockopt(2).
func sysGetsockopt(t *task.Task, a *task.Args) (uint64, error) {
	f, s, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	var b [4]byte
	space := t.Memory().Space
	if _, err := space.CopyIn(a.Addr(4), b[:]); err != nil {
		return 0, err
	}
	room := int32(binary.LittleEndian.Uint32(b[:]))
	if room < 0 {
		return 0, unix.EINVAL
	}
	value, err := s.GetOption(callerOf(t, f), int(a.Int(1)), int(a.Int(2)), int(min(room, socket.MaxOption)))
	if err != nil {
		return 0, err
	}
	if _, err := space.CopyOut(a.Addr(3), value); err != nil {
		return 0, err
	}
	binary.LittleEndian.PutUint32(b[:], uint32(len(value)))
	_, err = space.CopyOut(a.Addr(4), b[:])
	return 0, err
}
