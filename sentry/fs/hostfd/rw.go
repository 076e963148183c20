package hostfd

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// pipeBuf is what a file that poll(2) calls writable takes without waiting.
const pipeBuf = 4096

// stream is an open file on a host.
type stream struct {
	*host
	append atomic.Bool // O_APPEND
}

// SetFlags implements vfs.FlagSetter.
func (s *stream) SetFlags(flags uint32) error {
	if flags&unix.O_DIRECT != 0 {
		return unix.EINVAL
	}
	s.append.Store(flags&unix.O_APPEND != 0)
	return nil
}

// Read implements vfs.Reader.
func (s *stream) Read(dst [][]byte) (int64, error) {
	if s.never() || s.nonblock {
		return result(hostcall.ReadStream(s.fd, dst))
	}
	if s.noWait.Load() {
		n, err := hostcall.ReadNoWait(s.fd, dst)
		if !s.unsupported(err) {
			return result(n, err)
		}
	}
	got, err := hostcall.Poll(s.fd, unix.POLLIN)
	if err != nil {
		return 0, err
	}
	if got == 0 {
		return 0, unix.EAGAIN
	}
	return result(hostcall.ReadStream(s.fd, dst))
}

// Write implements vfs.Writer. A pipe that nobody reads answers EPIPE.
func (s *stream) Write(src [][]byte) (int64, error) {
	if s.never() {
		if s.append.Load() && s.flags&unix.O_APPEND == 0 {
			return result(hostcall.AppendStream(s.fd, src))
		}
		return result(hostcall.WriteStream(s.fd, src))
	}
	if s.nonblock {
		return result(hostcall.WriteStream(s.fd, src))
	}
	if s.noWait.Load() {
		n, err := hostcall.WriteNoWait(s.fd, src)
		if !s.unsupported(err) {
			return result(n, err)
		}
	}
	got, err := hostcall.Poll(s.fd, unix.POLLOUT)
	if err != nil {
		return 0, err
	}
	if got == 0 {
		return 0, unix.EAGAIN
	}
	if s.kind != unix.S_IFCHR || s.terminal {
		src = first(src, pipeBuf)
	}
	return result(hostcall.WriteStream(s.fd, src))
}

// unsupported remembers that the file has no RWF_NOWAIT.
func (h *host) unsupported(err error) bool {
	if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return false
	}
	h.noWait.Store(false)
	return true
}

func result(n int, err error) (int64, error) { return int64(max(n, 0)), err }

// first returns at most n bytes of bufs: whole buffers, or a part of the first
// that is not empty.
func first(bufs [][]byte, n int) [][]byte {
	for i, b := range bufs {
		if len(b) <= n {
			n -= len(b)
			continue
		}
		for len(bufs[0]) == 0 {
			bufs, i = bufs[1:], i-1
		}
		if i == 0 {
			return [][]byte{b[:n]}
		}
		return bufs[:i]
	}
	return bufs
}

// Sync implements vfs.Syncer.
func (h *host) Sync(dataOnly bool) error { return hostcall.FsyncFD(h.fd, dataOnly) }

// seekable is an open file that has positions.
type seekable struct{ *stream }

// ReadAt implements vfs.ReaderAt.
func (s *seekable) ReadAt(dst [][]byte, off int64) (int64, error) {
	return result(hostcall.ReadVec(s.fd, dst, off))
}

// WriteAt implements vfs.WriterAt.
func (s *seekable) WriteAt(src [][]byte, off int64, appending bool) (int64, int64, error) {
	if appending && s.never() {
		n, err := result(hostcall.WriteVecAppend(s.fd, src, off))
		return n, off + n, err
	}
	n, err := result(hostcall.WriteVec(s.fd, src, off))
	return n, off + n, err
}

// Lseek implements vfs.Seeker with the host's position.
func (s *seekable) Lseek(_, off int64, whence int32) (int64, error) {
	return hostcall.Seek(s.fd, off, int(whence))
}
