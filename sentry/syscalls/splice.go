package syscalls

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/mm"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// spliceFlags are SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE and
// SPLICE_F_GIFT: only the second makes a difference here.
const (
	spliceFlags    = 0xf
	spliceNonblock = 2
)

// nonblocking reports whether one of the files, or the call, asks not to wait.
func nonblocking(flags uint32, files ...*vfs.File) bool {
	for _, f := range files {
		if f.Flags()&unix.O_NONBLOCK != 0 {
			return true
		}
	}
	return flags&spliceNonblock != 0
}

// await is WaitFile for calls that decide themselves whether they wait.
func await(t *task.Task, f *vfs.File, mask waiter.EventMask, nonblock bool, try func() error) error {
	err := try()
	if err != unix.EAGAIN || nonblock {
		return err
	}
	ch, err := t.Subscribe(f, mask|waiter.EventHUp|waiter.EventErr)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(f)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(ch, never); err != nil {
			return task.Interrupted(err, task.RestartSys)
		}
	}
}

// reserve waits for room in the pipe behind f (wait_for_space): up to n slots.
func reserve(t *task.Task, f *vfs.File, p *pipe.Pipe, n int64, nonblock bool) (room *pipe.Room, err error) {
	err = await(t, f, waiter.WritableEvents, nonblock, func() (err error) {
		room, err = p.Reserve(n)
		return err
	})
	if err != nil {
		failedWrite(t, err)
	}
	return room, err
}

// sysSplice is splice(2): at least one of the files is a pipe.
func sysSplice(t *task.Task, a *task.Args) (uint64, error) {
	flags, n := a.Uint(5), int64(min(a[4], maxRW))
	if n == 0 {
		return 0, nil
	}
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	return twoFiles(t, a.Int(0), a.Int(2), func(in, out *vfs.File) (uint64, error) {
		from, to := pipe.Of(in), pipe.Of(out)
		if from != nil && a[1] != 0 || to != nil && a[3] != 0 {
			return 0, unix.ESPIPE
		}
		inOff, err := copyInOffset(t, a.Addr(1))
		if err != nil {
			return 0, err
		}
		outOff, err := copyInOffset(t, a.Addr(3))
		if err != nil {
			return 0, err
		}
		if !in.Readable() || !out.Writable() {
			return 0, unix.EBADF
		}
		var moved uint64
		switch {
		case from != nil && to != nil:
			moved, err = splicePipes(t, in, from, out, to, n, flags, (*pipe.Pipe).Move)
		case from != nil:
			moved, err = spliceOut(t, in, from, out, outOff, n, flags)
		case to != nil:
			moved, err = spliceIn(t, in, inOff, out, to, n, flags)
		default:
			return 0, unix.EINVAL
		}
		countCopy(t, moved)
		if err != nil {
			return 0, err
		}
		if err := copyOutOffset(t, a.Addr(1), inOff); err != nil {
			return 0, err
		}
		return moved, copyOutOffset(t, a.Addr(3), outOff)
	})
}

// sysTee is tee(2).
func sysTee(t *task.Task, a *task.Args) (uint64, error) {
	flags, n := a.Uint(3), int64(min(a[2], maxRW))
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	return twoFiles(t, a.Int(0), a.Int(1), func(in, out *vfs.File) (uint64, error) {
		if !in.Readable() || !out.Writable() {
			return 0, unix.EBADF
		}
		from, to := pipe.Of(in), pipe.Of(out)
		if from == nil || to == nil {
			return 0, unix.EINVAL
		}
		n, err := splicePipes(t, in, from, out, to, n, flags, (*pipe.Pipe).Copy)
		countCopy(t, n)
		return n, err
	})
}

// splicePipes moves or copies from one pipe to another.
func splicePipes(t *task.Task, in *vfs.File, from *pipe.Pipe, out *vfs.File, to *pipe.Pipe, n int64, flags uint32,
	move func(*pipe.Pipe, *pipe.Room, int64) (int64, error)) (uint64, error) {
	if from == to {
		return 0, unix.EINVAL
	}
	nonblock := nonblocking(flags, in, out)
	for {
		// Something to read, then room for it; both may be gone by the time that
		// the other is there.
		err := await(t, in, waiter.ReadableEvents, nonblock, from.Readable)
		if err != nil {
			return 0, err
		}
		room, err := reserve(t, out, to, pipe.MaxSize, nonblock)
		if err != nil {
			return 0, err
		}
		got, err := move(from, room, n)
		if err != unix.EAGAIN || nonblock {
			return uint64(got), err
		}
	}
}

// spliceIn reads from a file into a pipe, once (splice_file_to_pipe).
func spliceIn(t *task.Task, in *vfs.File, off *int64, out *vfs.File, to *pipe.Pipe, n int64, flags uint32) (uint64, error) {
	_, nulls := in.Ops().(vfs.Discarder)
	_, zeroes := in.Ops().(vfs.Zeroes)
	if nulls && !zeroes || !spliceable(in) || pipe.Of(in) != nil || off != nil && !seekable(in) {
		return 0, unix.EINVAL
	}
	nonblock := nonblocking(flags, out)
	for {
		room, err := reserve(t, out, to, pipe.Pages(n), nonblock)
		if err != nil {
			return 0, err
		}
		bufs := headOf(room.Buffers(), n)
		got, err := readOnce(in, bufs, off)
		if err != nil {
			got = 0
		}
		room.Fill(got)
		moved(off, got)
		if err != unix.EAGAIN || nonblocking(flags, in) {
			return uint64(got), err
		}
		// The room is given back while the source is waited for.
		err = await(t, in, waiter.ReadableEvents, false, func() error {
			if in.Readiness(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) == 0 {
				return unix.EAGAIN
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
}

// spliceOut writes what is in a pipe to a file (iter_file_splice_write): it waits
// for the first bytes only.
func spliceOut(t *task.Task, in *vfs.File, from *pipe.Pipe, out *vfs.File, off *int64, n int64, flags uint32) (uint64, error) {
	if !splicesIn(out) || out.Flags()&unix.O_APPEND != 0 || off != nil && !seekable(out) {
		return 0, unix.EINVAL
	}
	if err := out.Admit(t, true); err != nil {
		return 0, task.Interrupted(err, task.RestartSys)
	}
	nonblock := nonblocking(flags, in)
	total := int64(0)
	for total < n {
		var loan *pipe.Loan
		err := await(t, in, waiter.ReadableEvents, nonblock || total > 0, func() (err error) {
			loan, err = from.Take(n - total)
			return err
		})
		if err != nil || loan == nil {
			return result(uint64(total), err)
		}
		put, err := writeOnce(t, out, loan.Buffers(), off)
		if err != nil {
			put = 0
		}
		loan.Return(put)
		moved(off, put)
		total += put
		switch {
		case err == nil && put > 0:
		case err == unix.EAGAIN && !nonblocking(flags, out):
			err = await(t, out, waiter.WritableEvents, false, func() error {
				if out.Readiness(waiter.WritableEvents|waiter.EventHUp|waiter.EventErr) == 0 {
					return unix.EAGAIN
				}
				return nil
			})
			if err != nil {
				return result(uint64(total), err)
			}
		default:
			if total == 0 && err != nil {
				failedWrite(t, err)
			}
			return result(uint64(total), err)
		}
	}
	return uint64(total), nil
}

// headOf returns the first n bytes of bufs.
func headOf(bufs [][]byte, n int64) [][]byte {
	for i, b := range bufs {
		if n <= int64(len(b)) {
			bufs[i] = b[:n]
			return bufs[:i+1]
		}
		n -= int64(len(b))
	}
	return bufs
}

// sysVmsplice is vmsplice(2). Pages are copied, so that what becomes of the
// memory later does not show.
func sysVmsplice(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(3)
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		p := pipe.Of(f)
		write := f.Writable()
		if p == nil || !write && !f.Readable() {
			return 0, unix.EBADF
		}
		vec, err := copyInIovecs(t, a.Addr(1), a.Int64(2))
		if err != nil || len(vec) == 0 {
			return 0, err
		}
		var n uint64
		if write {
			n, err = gift(t, f, p, vec, flags&spliceNonblock != 0)
			t.Thread().AccountWrite(n)
		} else {
			n, err = drain(t, f, vec, flags&spliceNonblock != 0)
			t.Thread().AccountRead(n)
		}
		return n, err
	})
}

// gift puts memory into a pipe, as much as there is room for (vmsplice_to_pipe).
// O_NONBLOCK of the pipe does not matter.
func gift(t *task.Task, f *vfs.File, p *pipe.Pipe, vec []mm.Iovec, nonblock bool) (uint64, error) {
	x := transfer{vec: vec}
	room, err := reserve(t, f, p, pipe.Pages(x.length()), nonblock)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, b := range room.Buffers() {
		for len(b) > 0 && len(x.vec) > 0 {
			n, fault := t.Memory().Space.CopyIn(x.vec[0].Addr, b[:min(uint64(len(b)), x.vec[0].Len)])
			b, total = b[n:], total+int64(n)
			x.advance(int64(n))
			if fault != nil {
				room.Fill(total)
				return result(uint64(total), fault)
			}
		}
	}
	room.Fill(total)
	return uint64(total), nil
}

// drain reads a pipe into memory; it waits for the first bytes only
// (vmsplice_to_user).
func drain(t *task.Task, f *vfs.File, vec []mm.Iovec, nonblock bool) (uint64, error) {
	x := transfer{f: f, vec: vec, off: -1}
	total := uint64(0)
	for len(x.vec) > 0 {
		var n int64
		err := await(t, f, waiter.ReadableEvents, nonblock || total > 0, func() (err error) {
			n, err = x.step(t)
			return err
		})
		if err != nil || n == 0 {
			return result(total, err)
		}
		total += uint64(n)
		x.advance(n)
	}
	return total, nil
}
