package syscalls

import (
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/ipc/mqueue"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/timers"
	"runsc-lite/sentry/vfs"
)

// mqAttrSize is sizeof(struct mq_attr): flags, the most messages, the longest one, how
// many there are, and four longs that mean nothing.
const mqAttrSize = 64

// copyInQueueName reads a queue's name, which the library has taken the slash off
// (lookup_noperm): EACCES for a path.
func copyInQueueName(t *task.Task, addr hostarch.Addr) (string, error) {
	name, err := copyInPath(t, addr, false)
	if err == nil && (strings.Contains(name, "/") || name == "." || name == "..") {
		err = unix.EACCES
	}
	return name, err
}

// sysMqOpen is mq_open(2). The descriptor is closed by execve(2), always.
func sysMqOpen(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(1)
	how := vfs.OpenHow{
		Flags: flags & (unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NONBLOCK),
		Mode:  a.Uint(2) & 0o7777,
	}
	if a[3] != 0 {
		var b [mqAttrSize]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(3), b[:]); err != nil {
			return 0, err
		}
		le := binary.LittleEndian
		how.Special = &mqueue.Attr{MaxCount: int64(le.Uint64(b[8:])), MaxSize: int64(le.Uint64(b[16:]))}
	}
	name, err := copyInQueueName(t, a.Addr(0))
	if err != nil {
		return 0, err
	}
	if flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return 0, unix.EINVAL
	}
	if err := t.MayInstall(); err != nil {
		return 0, err
	}
	var f *vfs.File
	err = t.InQueues(func(c *vfs.Caller, dir *vfs.File) (err error) {
		f, err = c.Open(dir, name, how)
		return err
	})
	if err != nil {
		return 0, err
	}
	return install(t, f, true)
}

// sysMqUnlink is mq_unlink(2).
func sysMqUnlink(t *task.Task, a *task.Args) (uint64, error) {
	name, err := copyInQueueName(t, a.Addr(0))
	if err != nil {
		return 0, err
	}
	return 0, t.InQueues(func(c *vfs.Caller, dir *vfs.File) error { return c.Unlink(dir, name) })
}

// queueOf returns the queue of a descriptor, and its file with a reference: EBADF.
func queueOf(t *task.Task, fd int32, may func(*vfs.File) bool) (*vfs.File, mqueue.Queue, error) {
	f, err := t.File(fd)
	if err != nil {
		return nil, mqueue.Queue{}, err
	}
	q, ok := mqueue.Of(f)
	if !ok || !may(f) {
		f.DecRef()
		return nil, mqueue.Queue{}, unix.EBADF
	}
	return f, q, nil
}

func anyMode(*vfs.File) bool { return true }

// mqDeadline reads the time of CLOCK_REALTIME until which a call waits.
func mqDeadline(t *task.Task, addr hostarch.Addr) (time.Time, error) {
	if addr == 0 {
		return never, nil
	}
	ts, ok, err := copyInTimespec(t, addr)
	if err != nil {
		return never, err
	}
	if !ok {
		return never, unix.EINVAL
	}
	now, err := t.Kernel().Clock.Read(unix.CLOCK_REALTIME)
	return after(duration(ts) - time.Duration(now)), err
}

// waitQueue makes a call that may have to wait: begin makes one try, or a Wait if wake
// is not nil. It is restarted (signal(7)).
func waitQueue(t *task.Task, f *vfs.File, deadline time.Time, begin func(wake func()) (*mqueue.Wait, error)) (*mqueue.Wait, error) {
	if f.Flags()&unix.O_NONBLOCK != 0 {
		return begin(nil)
	}
	ch := make(chan struct{}, 1)
	n := t.Notifier(ch)
	w, err := begin(func() { n.NotifyEvent(waiter.EventIn) })
	for w != nil && !w.Done() {
		if err := t.Block(ch, deadline); err != nil {
			if w.Cancel() {
				break
			}
			if err == unix.ETIMEDOUT {
				return nil, err
			}
			return nil, task.Interrupted(err, task.RestartSys)
		}
	}
	return w, err
}

// sysMqTimedsend is mq_timedsend(2). EMSGSIZE: longer than the queue allows.
func sysMqTimedsend(t *task.Task, a *task.Args) (uint64, error) {
	size, priority := a[2], a.Uint(3)
	deadline, err := mqDeadline(t, a.Addr(4))
	if err != nil {
		return 0, err
	}
	if priority >= mqueue.MaxPriority {
		return 0, unix.EINVAL
	}
	f, q, err := queueOf(t, a.Int(0), (*vfs.File).Writable)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if attr, _ := q.Attr(); size > uint64(attr.MaxSize) {
		return 0, unix.EMSGSIZE
	}
	m := mqueue.Message{Priority: priority, Text: make([]byte, size)}
	if _, err := t.Memory().Space.CopyIn(a.Addr(1), m.Text); err != nil {
		return 0, err
	}
	_, err = waitQueue(t, f, deadline, func(wake func()) (*mqueue.Wait, error) { return q.Send(m, t, wake) })
	return 0, err
}

// sysMqTimedreceive is mq_timedreceive(2). EMSGSIZE: there is no room for the longest
// that the queue allows.
func sysMqTimedreceive(t *task.Task, a *task.Args) (uint64, error) {
	size, priority := a[2], a.Addr(3)
	deadline, err := mqDeadline(t, a.Addr(4))
	if err != nil {
		return 0, err
	}
	f, q, err := queueOf(t, a.Int(0), (*vfs.File).Readable)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if attr, _ := q.Attr(); size < uint64(attr.MaxSize) {
		return 0, unix.EMSGSIZE
	}
	var m mqueue.Message
	w, err := waitQueue(t, f, deadline, func(wake func()) (w *mqueue.Wait, err error) {
		m, w, err = q.Receive(wake)
		return w, err
	})
	if err != nil {
		return 0, err
	}
	if w != nil {
		m = w.Message()
	}
	space := t.Memory().Space
	if priority != 0 {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], m.Priority)
		if _, err := space.CopyOut(priority, b[:]); err != nil {
			return 0, err
		}
	}
	if _, err := space.CopyOut(a.Addr(1), m.Text); err != nil {
		return 0, err
	}
	return uint64(len(m.Text)), nil
}

// sysMqGetsetattr is mq_getsetattr(2): of what there is only O_NONBLOCK can be set.
func sysMqGetsetattr(t *task.Task, a *task.Args) (uint64, error) {
	space, le := t.Memory().Space, binary.LittleEndian
	var b [mqAttrSize]byte
	var flags uint64
	if a[1] != 0 {
		if _, err := space.CopyIn(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
		if flags = le.Uint64(b[:]); flags&^unix.O_NONBLOCK != 0 {
			return 0, unix.EINVAL
		}
		clear(b[:])
	}
	f, q, err := queueOf(t, a.Int(0), anyMode)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	old := f.Flags()
	attr, count := q.Attr()
	if a[1] != 0 {
		if err := f.SetFlags(old&^unix.O_NONBLOCK | uint32(flags)); err != nil {
			return 0, err
		}
	}
	if a[2] == 0 {
		return 0, nil
	}
	for i, v := range [...]uint64{uint64(old & unix.O_NONBLOCK), uint64(attr.MaxCount), uint64(attr.MaxSize), uint64(count)} {
		le.PutUint64(b[8*i:], v)
	}
	_, err = space.CopyOut(a.Addr(2), b[:])
	return 0, err
}

const (
	cookieSize    = 32 // NOTIFY_COOKIE_LEN
	cookieArrived = 1  // NOTIFY_WOKENUP
	cookieRemoved = 2  // NOTIFY_REMOVED
)

// kernelLink is a socket that the kernel itself sends to: netlink's.
type kernelLink interface{ Deliver(msg []byte) }

// sysMqNotify is mq_notify(2). A thread is notified by a netlink socket, which gets a
// cookie back that the library gave with it.
func sysMqNotify(t *task.Task, a *task.Args) (uint64, error) {
	var n *mqueue.Notification
	release := func() {}
	if a[1] != 0 {
		var b [sigeventSize]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
		var err error
		if n, release, err = notification(t, &b); err != nil {
			return 0, err
		}
	}
	f, q, err := queueOf(t, a.Int(0), anyMode)
	if err == nil {
		err = q.Notify(t.FDs(), n)
		f.DecRef()
	}
	if err != nil {
		release()
	}
	return 0, err
}

// notification makes one of a struct sigevent. release is for when it is not used.
func notification(t *task.Task, b *[sigeventSize]byte) (n *mqueue.Notification, release func(), err error) {
	le := binary.LittleEndian
	value, signo := le.Uint64(b[0:]), int32(le.Uint32(b[8:]))
	p := t.Process()
	n = &mqueue.Notification{
		PID: int32(p.ID()), Kind: int32(le.Uint32(b[12:])), Signo: signo,
		Arrived: func(any) {}, Removed: func() {},
	}
	release = n.Removed
	switch n.Kind {
	case timers.SigevNone:
	case timers.SigevSignal:
		if signo < 0 || signo > procmgr.NumSignals {
			return nil, nil, unix.EINVAL
		}
		n.Arrived = func(from any) {
			by := from.(*task.Task).Thread()
			info := procmgr.SigInfo{Signo: signo, Code: procmgr.SIMesgQ, Value: value, UID: by.Credentials().RUID}
			info.PID = int32(by.Process().IDIn(p.Leader().Namespace()))
			if signo != 0 {
				p.SendSignal(info)
			}
		}
	case timers.SigevThread:
		cookie := make([]byte, cookieSize)
		if _, err := t.Memory().Space.CopyIn(hostarch.Addr(value), cookie); err != nil {
			return nil, nil, err
		}
		f, s, err := socketOf(t, signo)
		if err != nil {
			return nil, nil, err
		}
		link, ok := s.(kernelLink)
		if !ok {
			f.DecRef()
			return nil, nil, unix.EINVAL
		}
		tell := func(what byte) {
			cookie[cookieSize-1] = what
			link.Deliver(cookie)
			f.DecRef()
		}
		n.Arrived, n.Removed = func(any) { tell(cookieArrived) }, func() { tell(cookieRemoved) }
		release = f.DecRef
	default:
		return nil, nil, unix.EINVAL
	}
	return n, release, nil
}
