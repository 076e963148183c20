package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
	"runsc-lite/sentry/vfs/lock"
)

// withFile runs fn on the open file of the first argument. O_PATH descriptors
// are EBADF.
func withFile(t *task.Task, a *task.Args, fn func(f *vfs.File) (uint64, error)) (uint64, error) {
	f, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return fn(f)
}

func sysClose(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.FDs().Close(int(a.Int(0)))
}

const (
	closeRangeUnshare = 1 << 1
	closeRangeCloexec = 1 << 2
)

// sysCloseRange is close_range(2).
func sysCloseRange(t *task.Task, a *task.Args) (uint64, error) {
	first, last, flags := a.Uint(0), a.Uint(1), a.Uint(2)
	if flags&^(closeRangeUnshare|closeRangeCloexec) != 0 || first > last {
		return 0, unix.EINVAL
	}
	if flags&closeRangeUnshare != 0 {
		t.UnshareFiles()
	}
	t.FDs().CloseRange(first, last, flags&closeRangeCloexec != 0)
	return 0, nil
}

func sysDup(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.AnyFile(a.Int(0))
	if err != nil {
		return 0, err
	}
	return install(t, f, false)
}

func sysDup2(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int(0) == a.Int(1) {
		f, err := t.AnyFile(a.Int(0))
		if err != nil {
			return 0, err
		}
		f.DecRef()
		return uint64(a.Int(1)), nil
	}
	return dupTo(t, a.Int(0), a.Int(1), false)
}

func sysDup3(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(2)&^unix.O_CLOEXEC != 0 || a.Int(0) == a.Int(1) {
		return 0, unix.EINVAL
	}
	return dupTo(t, a.Int(0), a.Int(1), a.Uint(2) != 0)
}

func dupTo(t *task.Task, from, to int32, cloexec bool) (uint64, error) {
	if to < 0 || uint64(to) >= t.MaxFDs() {
		return 0, unix.EBADF
	}
	return uint64(to), t.FDs().Dup3(int(from), int(to), t.MaxFDs(), cloexec)
}

func sysLseek(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		pos, err := f.Lseek(a.Int64(1), a.Int(2))
		return uint64(pos), err
	})
}

// fcntl(2) commands that x/sys/unix lacks.
const (
	fDupfdQuery = 1027
	fGetSig     = 11
	fSetSig     = 10
	fGetOwnEx   = 16
	fSetOwnEx   = 15
	flockSize   = 32
)

// sysFcntl is fcntl(2).
func sysFcntl(t *task.Task, a *task.Args) (uint64, error) {
	fd, cmd := a.Int(0), a.Int(1)
	f, err := t.AnyFile(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		least := a.Int(2)
		if least < 0 || uint64(least) >= t.MaxFDs() {
			return 0, unix.EINVAL
		}
		f.IncRef()
		n, err := t.InstallFrom(int(least), f, cmd == unix.F_DUPFD_CLOEXEC)
		return uint64(n), err
	case unix.F_GETFD:
		on, err := t.FDs().Cloexec(int(fd))
		if on {
			return unix.FD_CLOEXEC, err
		}
		return 0, err
	case unix.F_SETFD:
		return 0, t.FDs().SetCloexec(int(fd), a[2]&unix.FD_CLOEXEC != 0)
	case unix.F_GETFL:
		return uint64(f.Flags()), nil
	case fDupfdQuery:
		o, err := t.AnyFile(a.Int(2))
		if err != nil {
			return 0, err
		}
		defer o.DecRef()
		if o == f {
			return 1, nil
		}
		return 0, nil
	}
	if f.IsPath() {
		return 0, unix.EBADF
	}
	switch cmd {
	case unix.F_SETFL:
		return 0, setFlags(t, f, a.Uint(2))
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return 0, fcntlLock(t, f, cmd, a.Addr(2))
	case unix.F_SETPIPE_SZ, unix.F_GETPIPE_SZ:
		p, ok := f.Ops().(pipeSizer)
		if !ok {
			return 0, unix.EBADF
		}
		if cmd == unix.F_GETPIPE_SZ {
			return uint64(p.Capacity()), nil
		}
		n, err := p.SetCapacity(int64(a.Uint(2)), t.Thread().Credentials().HasCap(unix.CAP_SYS_RESOURCE))
		return uint64(n), err
	case unix.F_GETOWN:
		o := f.Owner()
		if o == nil {
			return 0, nil
		}
		id := t.Thread().Namespace().IDOf(int(o.ID))
		if o.Type == ownerGroup {
			id = -id
		}
		return uint64(id), nil
	case unix.F_SETOWN:
		id, typ := a.Int(2), int32(ownerProcess)
		if id == -1<<31 {
			return 0, unix.EINVAL
		}
		if id < 0 {
			id, typ = -id, ownerGroup
		}
		return 0, setOwner(t, f, typ, id)
	case fGetOwnEx, fSetOwnEx:
		return 0, ownerEx(t, f, cmd == fSetOwnEx, a.Addr(2))
	case fSetSig:
		return 0, setSignal(f, a[2])
	case fGetSig:
		if o := f.Owner(); o != nil {
			return uint64(o.Signal), nil
		}
		return 0, nil
	case unix.F_GET_SEALS, unix.F_ADD_SEALS:
		s, ok := f.Ops().(sealer)
		if !ok {
			return 0, unix.EINVAL
		}
		if cmd == unix.F_GET_SEALS {
			seals, err := s.Seals()
			return uint64(seals), err
		}
		if !f.Writable() {
			return 0, unix.EPERM
		}
		return 0, s.AddSeals(a.Uint(2))
	}
	return 0, unix.EINVAL
}

const (
	ownerProcess = 1
	ownerGroup   = 2
)

type pipeSizer interface {
	Capacity() int64
	SetCapacity(n int64, privileged bool) (int64, error)
}

type sealer interface {
	Seals() (uint32, error)
	AddSeals(uint32) error
}

// fcntlLock handles record locks, of the process or of the open file
// description.
func fcntlLock(t *task.Task, f *vfs.File, cmd int32, addr hostarch.Addr) error {
	var b [flockSize]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	typ, whence := int16(le.Uint16(b[0:])), int16(le.Uint16(b[2:]))
	start, length, pid := int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:])), int32(le.Uint32(b[24:]))
	r, err := lockRange(f, typ, whence, start, length)
	if err != nil {
		return err
	}
	ofd := cmd == unix.F_OFD_GETLK || cmd == unix.F_OFD_SETLK || cmd == unix.F_OFD_SETLKW
	if ofd {
		if pid != 0 {
			return unix.EINVAL
		}
		r.Owner, r.PID = f, -1
	} else {
		r.Owner, r.PID = t.FDs(), int32(t.PID())
	}
	switch cmd {
	case unix.F_GETLK, unix.F_OFD_GETLK:
		if r.Kind == lock.None {
			return unix.EINVAL
		}
		found, ok := f.GetLock(r)
		if !ok {
			le.PutUint16(b[0:], unix.F_UNLCK)
			_, err := t.Memory().Space.CopyOut(addr, b[:2])
			return err
		}
		kind := uint16(unix.F_RDLCK)
		if found.Kind == lock.Exclusive {
			kind = unix.F_WRLCK
		}
		le.PutUint16(b[0:], kind)
		le.PutUint16(b[2:], unix.SEEK_SET)
		le.PutUint64(b[8:], uint64(found.Start))
		n := uint64(0)
		if found.End != lock.End {
			n = uint64(found.End - found.Start + 1)
		}
		le.PutUint64(b[16:], n)
		le.PutUint32(b[24:], uint32(found.PID))
		_, err := t.Memory().Space.CopyOut(addr, b[:])
		return err
	}
	if r.Kind == lock.Shared && !f.Readable() || r.Kind == lock.Exclusive && !f.Writable() {
		return unix.EBADF
	}
	if cmd != unix.F_SETLKW && cmd != unix.F_OFD_SETLKW {
		return f.SetLock(r)
	}
	var w lock.Waiter
	defer f.EndWait(&w)
	return waitLock(t, f, true, func() error { return f.WaitLock(r, &w) })
}

// lockRange turns struct flock's fields into an inclusive range.
func lockRange(f *vfs.File, typ, whence int16, start, length int64) (lock.Range, error) {
	var r lock.Range
	switch typ {
	case unix.F_RDLCK:
		r.Kind = lock.Shared
	case unix.F_WRLCK:
		r.Kind = lock.Exclusive
	case unix.F_UNLCK:
		r.Kind = lock.None
	default:
		return r, unix.EINVAL
	}
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		pos, err := f.Lseek(0, unix.SEEK_CUR)
		if err != nil {
			return r, err
		}
		start += pos
	case unix.SEEK_END:
		st, err := f.Stat()
		if err != nil {
			return r, err
		}
		start += st.Size
	default:
		return r, unix.EINVAL
	}
	switch {
	case length > 0:
		if start > lock.End-length+1 {
			return r, unix.EOVERFLOW
		}
		r.Start, r.End = start, start+length-1
	case length < 0:
		r.Start, r.End = start+length, start-1
	default:
		r.Start, r.End = start, lock.End
	}
	if r.Start < 0 {
		return r, unix.EINVAL
	}
	return r, nil
}

// waitLock tries a lock, and waits for it if asked to.
func waitLock(t *task.Task, f *vfs.File, wait bool, try func() error) error {
	err := try()
	if err != unix.EAGAIN || !wait {
		return err
	}
	w := f.LockWaitable()
	ch, err := t.Subscribe(w, waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(w)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(ch, never); err != nil {
			return task.Interrupted(err, task.RestartSys)
		}
	}
}

// sysFlock is flock(2).
func sysFlock(t *task.Task, a *task.Args) (uint64, error) {
	var kind lock.Kind
	switch a.Int(1) &^ unix.LOCK_NB {
	case unix.LOCK_SH:
		kind = lock.Shared
	case unix.LOCK_EX:
		kind = lock.Exclusive
	case unix.LOCK_UN:
		kind = lock.None
	default:
		return 0, unix.EINVAL
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		return 0, waitLock(t, f, a.Int(1)&unix.LOCK_NB == 0, func() error { return f.Flock(kind, int32(t.Process().ID())) })
	})
}

// Directories.

func sysGetdents64(t *task.Task, a *task.Args) (uint64, error) {
	return getdents(t, a, 19, func(b []byte, e *vfs.Entry, reclen int) {
		b[18] = e.Type
		copy(b[19:], e.Name)
	})
}

// sysGetdents is the old getdents(2): the type stands in the last byte.
func sysGetdents(t *task.Task, a *task.Args) (uint64, error) {
	return getdents(t, a, 18, func(b []byte, e *vfs.Entry, reclen int) {
		copy(b[18:], e.Name)
		b[reclen-1] = e.Type
	})
}

// getdents fills the buffer with records of a fixed part of the given size,
// the name, a NUL and (in the old form) the type, each aligned to 8 bytes.
func getdents(t *task.Task, a *task.Args, fixed int, put func(b []byte, e *vfs.Entry, reclen int)) (uint64, error) {
	const most = 1 << 20 // a longer buffer is not filled any further
	size := int(min(a.Uint(2), most))
	extra := 1
	if fixed == 18 {
		extra = 2
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		var buf []byte
		full, begin := false, f.Position()
		err := f.ReadDir(t.Caller(), func(e vfs.Entry) bool {
			reclen := (fixed + len(e.Name) + extra + 7) &^ 7
			if len(buf)+reclen > size {
				full = true
				return false
			}
			at := len(buf)
			buf = append(buf, make([]byte, reclen)...)
			b := buf[at:]
			binary.LittleEndian.PutUint64(b[0:], e.Ino)
			binary.LittleEndian.PutUint64(b[8:], uint64(e.Next))
			binary.LittleEndian.PutUint16(b[16:], uint16(reclen))
			put(b, &e, reclen)
			return true
		})
		if err != nil && len(buf) == 0 {
			return 0, err
		}
		if len(buf) == 0 && full {
			return 0, unix.EINVAL
		}
		n, err := t.Memory().Space.CopyOut(a.Addr(1), buf)
		if err == nil {
			return uint64(n), nil
		}
		// The entries that did not get there come again.
		done := 0
		for done < len(buf) {
			next := done + int(binary.LittleEndian.Uint16(buf[done+16:]))
			if next > n {
				break
			}
			begin, done = int64(binary.LittleEndian.Uint64(buf[done+8:])), next
		}
		if _, seek := f.Lseek(begin, unix.SEEK_SET); seek != nil || done == 0 {
			return 0, err
		}
		return uint64(done), nil
	})
}

// Content.

func sysFtruncate(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(1) < 0 {
		return 0, unix.EINVAL
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		if err := t.CheckFileSize(a.Int64(1)); err != nil {
			return 0, err
		}
		return 0, t.Caller().Ftruncate(f, a.Int64(1))
	})
}

func sysFallocate(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		if off, n := a.Int64(2), a.Int64(3); off >= 0 && n > 0 && off <= 1<<62 && n <= 1<<62 {
			if err := t.CheckFileSize(off + n); err != nil {
				return 0, err
			}
		}
		return 0, f.Fallocate(t.Caller().Creds, a.Uint(1), a.Int64(2), a.Int64(3))
	})
}

func sysFsync(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) { return 0, f.Sync(false) })
}

func sysFdatasync(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) { return 0, f.Sync(true) })
}

// sysSync is sync(2). Nothing in memory is dirty with respect to the host.
func sysSync(t *task.Task, a *task.Args) (uint64, error) { return 0, nil }

func sysSyncfs(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) { return 0, nil })
}

func sysSyncFileRange(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(1) < 0 || a.Int64(2) < 0 || a.Int64(1)+a.Int64(2) < 0 || a.Uint(3)&^7 != 0 {
		return 0, unix.EINVAL
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		switch st, err := f.Stat(); {
		case err != nil:
			return 0, err
		case st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return 0, unix.ESPIPE
		}
		return 0, nil
	})
}

func sysReadahead(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		if !f.Readable() {
			return 0, unix.EBADF
		}
		if _, ok := f.Ops().(vfs.Mappable); !ok {
			return 0, unix.EINVAL
		}
		return 0, nil
	})
}

func sysFadvise64(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		if stream(f) {
			return 0, unix.ESPIPE
		}
		if a.Int64(2) < 0 || a.Int(3) < 0 || a.Int(3) > unix.FADV_NOREUSE {
			return 0, unix.EINVAL
		}
		return 0, nil
	})
}

// sysIoctl is ioctl(2): what all descriptors have, then the file's own.
func sysIoctl(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.AnyFile(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if f.IsPath() {
		return 0, unix.EBADF
	}
	switch a.Uint(1) {
	case linux.FIOCLEX, linux.FIONCLEX:
		return 0, t.FDs().SetCloexec(int(a.Int(0)), a.Uint(1) == linux.FIOCLEX)
	case linux.FIONBIO:
		return 0, ioctlFlag(t, f, a, unix.O_NONBLOCK)
	case linux.FIOASYNC:
		if !f.Pollable() {
			return 0, unix.ENOTTY
		}
		return 0, ioctlFlag(t, f, a, unix.O_ASYNC)
	}
	if l, ok := f.Ops().(listenerFile); ok {
		return ioctlListener(t, f, l.Listener, a)
	}
	// EAGAIN: output has to leave a terminal first.
	var n uint64
	err = t.WaitFile(f, waiter.WritableEvents, never, func() (err error) {
		n, err = f.Ioctl(t.IoctlMemory(), a.Uint(1), a[2])
		if _, ok := f.Ops().(socket.Socket); ok && err == unix.ENOTTY {
			n, err = netOf(t, f).Sockets.Ioctl(t.IoctlMemory(), a.Uint(1), a[2])
		}
		return err
	})
	return n, task.Interrupted(err, task.RestartSys)
}
