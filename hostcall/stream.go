package hostcall

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// iovMax is how many buffers the host takes at once (UIO_MAXIOV).
const iovMax = 1024

// Fstat returns the attributes of an open file.
func Fstat(fd int) (st unix.Stat_t, err error) {
	_, err = retryEINTR(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	return st, err
}

// FileFlags returns the status flags of an open file (fcntl(F_GETFL)).
func FileFlags(fd int) (uint32, error) {
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return uint32(fl), err
}

// SetNonblock makes an open file O_NONBLOCK.
func SetNonblock(fd int) error { return unix.SetNonblock(fd, true) }

// Poll returns what fd is ready for now (poll(2) without waiting).
func Poll(fd int, events int16) (int16, error) {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p[:], 0); err != unix.EINTR {
			return p[0].Revents, err
		}
	}
}

// Seek is lseek(2).
func Seek(fd int, off int64, whence int) (int64, error) { return unix.Seek(fd, off, whence) }

// ReadStream reads at the file's own position (readv(2)).
func ReadStream(fd int, dst [][]byte) (int, error) {
	for {
		if n, err := unix.Readv(fd, dst[:min(len(dst), iovMax)]); err != unix.EINTR {
			return n, err
		}
	}
}

// WriteStream writes at the file's own position (writev(2)).
func WriteStream(fd int, src [][]byte) (int, error) {
	for {
		if n, err := unix.Writev(fd, src[:min(len(src), iovMax)]); err != unix.EINTR {
			return n, err
		}
	}
}

// AppendStream is WriteStream at the end of the file, which is its position then.
func AppendStream(fd int, src [][]byte) (int, error) {
	for {
		n, err := unix.Pwritev2(fd, src[:min(len(src), iovMax)], -1, unix.RWF_APPEND)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// ReadNoWait is ReadStream that answers EAGAIN instead of waiting, whether or not
// the file is O_NONBLOCK. EOPNOTSUPP: the file cannot do that.
func ReadNoWait(fd int, dst [][]byte) (int, error) {
	for {
		n, err := unix.Preadv2(fd, dst[:min(len(dst), iovMax)], -1, unix.RWF_NOWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// WriteNoWait is WriteStream in the same manner.
func WriteNoWait(fd int, src [][]byte) (int, error) {
	for {
		n, err := unix.Pwritev2(fd, src[:min(len(src), iovMax)], -1, unix.RWF_NOWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// WriteVec is pwritev(2), for at most as many buffers as the host takes at once.
func WriteVec(fd int, src [][]byte, off int64) (int, error) {
	for {
		if n, err := unix.Pwritev(fd, src[:min(len(src), iovMax)], off); err != unix.EINTR {
			return n, err
		}
	}
}

// FsyncFD is fsync(2), or fdatasync(2).
func FsyncFD(fd int, dataOnly bool) error {
	for {
		err := error(nil)
		if dataOnly {
			err = unix.Fdatasync(fd)
		} else {
			err = unix.Fsync(fd)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// ReopenTerminal opens the terminal behind fd once more, so that O_NONBLOCK can
// be set without the host's other users of fd noticing.
func ReopenTerminal(fd int, access int) (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), access|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
}

// WriteVecAppend is WriteVec at the end of the file.
func WriteVecAppend(fd int, src [][]byte, off int64) (int, error) {
	for {
		n, err := unix.Pwritev2(fd, src[:min(len(src), iovMax)], off, unix.RWF_APPEND)
		if err != unix.EINTR {
			return n, err
		}
	}
}
