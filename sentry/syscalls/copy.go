package syscalls

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/eventfd"
	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/signalfd"
	"runsc-lite/sentry/fs/timerfd"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// Copies between files, through memory of the sentry's.

const copyChunk = 64 << 10

// countCopy counts what a copy moved.
func countCopy(t *task.Task, n uint64) {
	t.Thread().AccountRead(n)
	t.Thread().AccountWrite(n)
}

// spliceable says whether a file has a splice_read and a splice_write: what makes
// records has not.
func spliceable(f *vfs.File) bool {
	switch f.Ops().(type) {
	case *eventfd.FD, *timerfd.FD, *signalfd.FD, *inotify.FD, vfs.DirReader:
		return false
	}
	return true
}

// splicesIn says whether a file has a splice_write.
func splicesIn(f *vfs.File) bool {
	switch f.Ops().(type) {
	case vfs.WriterAt, vfs.Writer, vfs.Discarder:
		return spliceable(f)
	}
	return false
}

// seekable reports whether a file has positions (FMODE_PREAD).
func seekable(f *vfs.File) bool {
	_, r := f.Ops().(vfs.ReaderAt)
	_, w := f.Ops().(vfs.WriterAt)
	return r || w
}

// readOnce reads from in, at off or, if that is nil, where in is.
func readOnce(in *vfs.File, b [][]byte, off *int64) (int64, error) {
	if off != nil {
		return in.PRead(b, *off)
	}
	return in.Read(b)
}

// writeOnce writes likewise.
func writeOnce(t *task.Task, out *vfs.File, b [][]byte, off *int64) (int64, error) {
	if off != nil {
		return out.PWrite(t.Caller().Creds, b, *off, t.FileSizeLimit())
	}
	return out.Write(t.Caller().Creds, b, t.FileSizeLimit())
}

// failedWrite sends the signal that comes with the error of a write.
func failedWrite(t *task.Task, err error) {
	switch err {
	case unix.EPIPE:
		t.SendSelf(unix.SIGPIPE)
	case unix.EFBIG:
		t.SendSelf(unix.SIGXFSZ)
	}
}

func moved(off *int64, n int64) {
	if off != nil {
		*off += n
	}
}

// copyFile moves up to n bytes from one file to another. Offsets of nil mean
// the file's position. What is read is always written, or the position of the
// source is set back.
func copyFile(t *task.Task, in, out *vfs.File, inOff, outOff *int64, n uint64) (uint64, error) {
	if err := out.Admit(t, true); err != nil {
		return 0, task.Interrupted(err, task.RestartSys)
	}
	buf := make([]byte, min(n, copyChunk))
	total := uint64(0)
	for total < n {
		b := [][]byte{buf[:min(n-total, copyChunk)]}
		var got int64
		err := t.WaitFile(in, waiter.ReadableEvents, never, func() (err error) {
			got, err = readOnce(in, b, inOff)
			return err
		})
		if err != nil || got == 0 {
			return result(total, err)
		}
		put, err := writeAll(t, out, buf[:got], outOff)
		total += uint64(put)
		if inOff != nil {
			*inOff += put
		} else if put < got && !stream(in) {
			in.Lseek(put-got, unix.SEEK_CUR)
		}
		if err != nil || put < got {
			return result(total, err)
		}
		if t.Thread().Pending() {
			break
		}
	}
	return total, nil
}

func result(n uint64, err error) (uint64, error) {
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func writeAll(t *task.Task, out *vfs.File, b []byte, off *int64) (int64, error) {
	total := int64(0)
	for len(b) > 0 {
		var n int64
		err := t.WaitFile(out, waiter.WritableEvents, never, func() (err error) {
			n, err = writeOnce(t, out, [][]byte{b}, off)
			return err
		})
		if err != nil {
			if total == 0 || err == unix.EPIPE {
				failedWrite(t, err)
			}
			return total, err
		}
		b, total = b[n:], total+n
		moved(off, n)
	}
	return total, nil
}

// copyInOffset reads an optional offset argument: EINVAL below zero.
func copyInOffset(t *task.Task, addr hostarch.Addr) (*int64, error) {
	off, err := copyInAnyOffset(t, addr)
	if err == nil && off != nil && *off < 0 {
		err = unix.EINVAL
	}
	return off, err
}

func copyInAnyOffset(t *task.Task, addr hostarch.Addr) (*int64, error) {
	if addr == 0 {
		return nil, nil
	}
	var b [8]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return nil, err
	}
	off := int64(binary.LittleEndian.Uint64(b[:]))
	return &off, nil
}

func copyOutOffset(t *task.Task, addr hostarch.Addr, off *int64) error {
	if off == nil {
		return nil
	}
	return copyOutUint64(t, addr, uint64(*off))
}

// twoFiles gets the files of two descriptors.
func twoFiles(t *task.Task, fd1, fd2 int32, fn func(f1, f2 *vfs.File) (uint64, error)) (uint64, error) {
	f1, err := t.File(fd1)
	if err != nil {
		return 0, err
	}
	defer f1.DecRef()
	f2, err := t.File(fd2)
	if err != nil {
		return 0, err
	}
	defer f2.DecRef()
	return fn(f1, f2)
}

// sysSendfile is sendfile(2). The source must be a file with positions, but into a
// pipe it is splice(2).
func sysSendfile(t *task.Task, a *task.Args) (uint64, error) {
	return twoFiles(t, a.Int(1), a.Int(0), func(in, out *vfs.File) (uint64, error) {
		off, err := copyInOffset(t, a.Addr(2))
		if err != nil {
			return 0, err
		}
		if !in.Readable() || !out.Writable() {
			return 0, unix.EBADF
		}
		if off != nil && stream(in) {
			return 0, unix.ESPIPE
		}
		var n uint64
		count := min(a[3], maxRW)
		if p := pipe.Of(out); p != nil {
			if count == 0 {
				return 0, nil
			}
			n, err = spliceIn(t, in, off, out, p, int64(count), 0)
		} else {
			if _, ok := in.Ops().(vfs.ReaderAt); !ok || !spliceable(out) || out.Flags()&unix.O_APPEND != 0 {
				return 0, unix.EINVAL
			}
			n, err = copyFile(t, in, out, off, nil, count)
		}
		countCopy(t, n)
		if err != nil {
			return 0, err
		}
		return n, copyOutOffset(t, a.Addr(2), off)
	})
}

// sysCopyFileRange is copy_file_range(2): from and to regular files of one file
// system (generic_copy_file_checks).
func sysCopyFileRange(t *task.Task, a *task.Args) (uint64, error) {
	return twoFiles(t, a.Int(0), a.Int(2), func(in, out *vfs.File) (uint64, error) {
		inOff, err := copyInAnyOffset(t, a.Addr(1))
		if err != nil {
			return 0, err
		}
		outOff, err := copyInAnyOffset(t, a.Addr(3))
		if err != nil {
			return 0, err
		}
		if a.Uint(5) != 0 {
			return 0, unix.EINVAL
		}
		n, err := copyRange(t, in, out, inOff, outOff, min(a[4], maxRW))
		countCopy(t, n)
		if err != nil {
			return 0, err
		}
		if err := copyOutOffset(t, a.Addr(1), inOff); err != nil {
			return 0, err
		}
		return n, copyOutOffset(t, a.Addr(3), outOff)
	})
}

func copyRange(t *task.Task, in, out *vfs.File, inOff, outOff *int64, n uint64) (uint64, error) {
	if in.IsDir() || out.IsDir() {
		return 0, unix.EISDIR
	}
	st, err := in.Stat()
	if err != nil {
		return 0, err
	}
	to, err := out.Stat()
	switch {
	case err != nil:
		return 0, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG || to.Mode&unix.S_IFMT != unix.S_IFREG:
		return 0, unix.EINVAL
	case !in.Readable() || !out.Writable() || out.Flags()&unix.O_APPEND != 0:
		return 0, unix.EBADF
	case !vfs.SameFileSystem(in, out):
		return 0, unix.EXDEV
	}
	from, at := in.Position(), out.Position()
	if inOff != nil {
		from = *inOff
	}
	if outOff != nil {
		at = *outOff
	}
	if uint64(from)+n < n || uint64(at)+n < n {
		return 0, unix.EOVERFLOW
	}
	if from >= 0 {
		n = uint64(max(0, min(int64(n), st.Size-from)))
	}
	switch {
	case at == math.MaxInt64:
		return 0, unix.EFBIG
	case from < 0 || at < 0:
		return 0, unix.EINVAL
	}
	if in.Inode() == out.Inode() && at+int64(n) > from && at < from+int64(n) {
		return 0, unix.EINVAL
	}
	return copyFile(t, in, out, inOff, outOff, n)
}
