package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/mm"
	"runsc-lite/sentry/fs/signalfd"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

const (
	// rwfNoAppend is RWF_NOAPPEND.
	rwfNoAppend = 0x20
	// maxRW is MAX_RW_COUNT: no call moves more.
	maxRW = 0x7ffff000
	// pinChunk bounds how much guest memory one step of a long transfer pins.
	pinChunk = 1 << 20
	// maxIovecs is UIO_MAXIOV.
	maxIovecs = 1024
)

// transfer is one read or write: where in memory, and at which offset of the
// file (-1: at the file's own position).
type transfer struct {
	f     *vfs.File
	vec   []mm.Iovec
	off   int64
	write bool
	rest  bool  // what there is will do (vfs.Collector)
	flags int32 // RWF_*
}

// run moves the bytes, and counts them.
func (x *transfer) run(t *task.Task) (uint64, error) {
	n, err := x.move(t)
	if x.write {
		t.Thread().AccountWrite(n)
	} else {
		t.Thread().AccountRead(n)
	}
	return n, err
}

// move follows vfs_read and vfs_write: a short count stands when something moved
// before an error, and a stream is waited for.
func (x *transfer) move(t *task.Task) (uint64, error) {
	f := x.f
	if x.write && !f.Writable() || !x.write && !f.Readable() {
		return 0, unix.EBADF
	}
	if s, ok := f.Ops().(socket.Socket); ok {
		return x.socketRW(t, s)
	}
	if err := f.Admit(t, x.write); err != nil {
		return 0, task.Interrupted(err, task.RestartSys)
	}
	if d, ok := f.Ops().(vfs.Discarder); ok && x.write {
		n, err := d.Discard(x.length())
		return uint64(n), err
	}
	mask := waiter.EventMask(waiter.ReadableEvents)
	if x.write {
		mask = waiter.WritableEvents
	}
	total := uint64(0)
	for {
		n, err := x.step(t)
		if err == unix.EAGAIN && (total == 0 || x.write) && x.blocking() {
			n, err = x.await(t, mask)
		}
		total += uint64(n)
		x.advance(n)
		if err != nil {
			if total > 0 {
				return total, nil
			}
			if x.write {
				switch err {
				case unix.EPIPE:
					t.SendSelf(unix.SIGPIPE)
				case unix.EFBIG:
					t.SendSelf(unix.SIGXFSZ)
				}
			}
			return 0, err
		}
		// A read is done when it got something from a stream, or came short;
		// a write goes on until all is written.
		if len(x.vec) == 0 || n == 0 || !x.write && stream(f) {
			return total, nil
		}
		if t.Thread().Pending() {
			return total, nil
		}
	}
}

func (x *transfer) length() (n int64) {
	for _, v := range x.vec {
		n += int64(v.Len)
	}
	return n
}

// stream reports whether f is read as data come, not from a position.
func stream(f *vfs.File) bool {
	switch f.Ops().(type) {
	case vfs.Reader, *signalfd.FD:
		return true
	}
	return false
}

func (x *transfer) blocking() bool {
	return x.f.Flags()&unix.O_NONBLOCK == 0 && x.flags&unix.RWF_NOWAIT == 0
}

// await is step that waits until the file can do it. Readiness decides nothing:
// an eventfd may be writable, and yet have no room for the number at hand.
func (x *transfer) await(t *task.Task, mask waiter.EventMask) (int64, error) {
	w := t.Waitable(x.f)
	ch, err := t.Subscribe(w, mask|waiter.EventHUp|waiter.EventErr)
	if err != nil {
		return 0, err
	}
	defer t.Unsubscribe(w)
	collector, collects := x.f.Ops().(vfs.Collector)
	collects = collects && !x.write
	begin, deadline := time.Time{}, never
	if collects {
		begin = time.Now()
	}
	for {
		n, err := x.step(t)
		if err != unix.EAGAIN {
			return n, err
		}
		if collects {
			deadline = collector.Deadline(begin)
		}
		if err = t.Block(ch, deadline); err == nil {
			continue
		}
		if collects {
			x.rest = true
			if n, err := x.step(t); err != unix.EAGAIN {
				return n, err
			}
			if err == unix.ETIMEDOUT {
				return 0, nil
			}
		}
		return 0, task.Interrupted(err, task.RestartSys)
	}
}

// step pins a piece of the memory and hands it to the file.
func (x *transfer) step(t *task.Task) (int64, error) {
	if len(x.vec) == 0 {
		return x.call(t, nil)
	}
	vec, want := head(x.vec, pinChunk)
	pin, err := t.Memory().Space.PinVec(vec, !x.write)
	if err != nil {
		return 0, err
	}
	defer pin.Unpin()
	n, err := x.call(t, pin.Blocks)
	if err == nil && n == int64(pin.Length()) && pin.Length() < want {
		// The memory ended early; the next step will say EFAULT.
		return n, nil
	}
	return n, err
}

func (x *transfer) call(t *task.Task, blocks [][]byte) (int64, error) {
	switch {
	case x.write && x.flags&(unix.RWF_APPEND|rwfNoAppend) != 0:
		return x.f.WriteFlags(t.Caller().Creds, blocks, x.off, t.FileSizeLimit(), x.flags&unix.RWF_APPEND != 0)
	case x.write && x.off >= 0:
		return x.f.PWrite(t.Caller().Creds, blocks, x.off, t.FileSizeLimit())
	case x.write:
		return x.f.Write(t.Caller().Creds, blocks, t.FileSizeLimit())
	case x.off >= 0:
		return x.f.PRead(blocks, x.off)
	case x.rest:
		return x.f.ReadRest(blocks)
	}
	if s, ok := x.f.Ops().(*signalfd.FD); ok {
		return s.For(t.Thread()).Read(blocks)
	}
	return x.f.Read(blocks)
}

func (x *transfer) advance(n int64) {
	if x.off >= 0 {
		x.off += n
	}
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
	for len(x.vec) > 0 && x.vec[0].Len == 0 {
		x.vec = x.vec[1:]
	}
}

// head returns the first max bytes of vec and how many they are.
func head(vec []mm.Iovec, max uint64) ([]mm.Iovec, uint64) {
	if vec[0].Len >= max {
		return []mm.Iovec{{Addr: vec[0].Addr, Len: max}}, max
	}
	sum := uint64(0)
	for i, v := range vec {
		if sum+v.Len > max {
			return vec[:i], sum
		}
		sum += v.Len
	}
	return vec, sum
}

// copyInIovecs reads an array of struct iovec and checks it (import_iovec).
func copyInIovecs(t *task.Task, addr hostarch.Addr, count int64) ([]mm.Iovec, error) {
	if count < 0 || count > maxIovecs {
		return nil, unix.EINVAL
	}
	raw := make([]byte, 16*count)
	if _, err := t.Memory().Space.CopyIn(addr, raw); err != nil {
		return nil, err
	}
	vec := make([]mm.Iovec, 0, count)
	left := uint64(maxRW)
	limit := uint64(t.Kernel().Platform.MaxAddress())
	for ; len(raw) > 0; raw = raw[16:] {
		base, n := binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])
		if int64(n) < 0 {
			return nil, unix.EINVAL
		}
		if base > limit || n > limit-base {
			return nil, unix.EFAULT
		}
		if n = min(n, left); n > 0 {
			vec = append(vec, mm.Iovec{Addr: hostarch.Addr(base), Len: n})
			left -= n
		}
	}
	return vec, nil
}

func readWrite(t *task.Task, fd int32, addr hostarch.Addr, n uint64, off int64, write bool) (uint64, error) {
	f, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if off >= 0 && !positioned(f) {
		return 0, unix.ESPIPE
	}
	limit := uint64(t.Kernel().Platform.MaxAddress())
	if uint64(addr) > limit || n > limit-uint64(addr) {
		return 0, unix.EFAULT
	}
	x := transfer{f: f, off: off, write: write}
	var one [1]mm.Iovec
	if n = min(n, maxRW); n > 0 {
		one[0] = mm.Iovec{Addr: addr, Len: n}
		x.vec = one[:]
	}
	return x.run(t)
}

// positioned reports whether pread(2) and its kind are for f at all (FMODE_PREAD), which
// comes before what f is open for.
func positioned(f *vfs.File) bool { return f.IsPath() || f.IsDir() || seekable(f) }

func readWriteVec(t *task.Task, fd int32, addr hostarch.Addr, count int64, off int64, write bool, flags int32) (uint64, error) {
	f, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if off >= 0 && !positioned(f) {
		return 0, unix.ESPIPE
	}
	vec, err := copyInIovecs(t, addr, count)
	if err != nil {
		return 0, err
	}
	x := transfer{f: f, vec: vec, off: off, write: write, flags: flags}
	return x.run(t)
}

func sysRead(t *task.Task, a *task.Args) (uint64, error) {
	return readWrite(t, a.Int(0), a.Addr(1), a[2], -1, false)
}

func sysWrite(t *task.Task, a *task.Args) (uint64, error) {
	return readWrite(t, a.Int(0), a.Addr(1), a[2], -1, true)
}

func sysPread64(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return readWrite(t, a.Int(0), a.Addr(1), a[2], a.Int64(3), false)
}

func sysPwrite64(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return readWrite(t, a.Int(0), a.Addr(1), a[2], a.Int64(3), true)
}

func sysReadv(t *task.Task, a *task.Args) (uint64, error) {
	return readWriteVec(t, a.Int(0), a.Addr(1), a.Int64(2), -1, false, 0)
}

func sysWritev(t *task.Task, a *task.Args) (uint64, error) {
	return readWriteVec(t, a.Int(0), a.Addr(1), a.Int64(2), -1, true, 0)
}

func sysPreadv(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return readWriteVec(t, a.Int(0), a.Addr(1), a.Int64(2), a.Int64(3), false, 0)
}

func sysPwritev(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return readWriteVec(t, a.Int(0), a.Addr(1), a.Int64(2), a.Int64(3), true, 0)
}

// sysPreadv2 is preadv2(2): an offset of -1 means the file's position.
func sysPreadv2(t *task.Task, a *task.Args) (uint64, error) {
	return rw2(t, a, false)
}

func sysPwritev2(t *task.Task, a *task.Args) (uint64, error) {
	return rw2(t, a, true)
}

func rw2(t *task.Task, a *task.Args, write bool) (uint64, error) {
	off, flags := a.Int64(3), a.Int(5)
	if off < -1 {
		return 0, unix.EINVAL
	}
	const known = unix.RWF_HIPRI | unix.RWF_DSYNC | unix.RWF_SYNC | unix.RWF_NOWAIT | unix.RWF_APPEND | rwfNoAppend
	if flags&^known != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if flags&(unix.RWF_APPEND|rwfNoAppend) == unix.RWF_APPEND|rwfNoAppend {
		return 0, unix.EINVAL
	}
	return readWriteVec(t, a.Int(0), a.Addr(1), a.Int64(2), off, write, flags)
}
