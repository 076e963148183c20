package proc

import (
	"bytes"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// memory is an open file that shows guest memory as it is at the moment.
type memory struct {
	s *subject
	// window returns which memory there is to read now; byte 0 of the file is its
	// start. A nil Space: nothing.
	window func() (*mm.Space, hostarch.AddrRange)
}

// Release implements vfs.FileOps.
func (*memory) Release() {}

// Lseek implements vfs.Seeker.
func (*memory) Lseek(cur, off int64, whence int32) (int64, error) {
	return synth.Lseek(cur, off, whence)
}

// ReadAt implements vfs.ReaderAt.
func (m *memory) ReadAt(dst [][]byte, off int64) (done int64, err error) {
	space, w := m.window()
	if space == nil || space.Users() <= 0 {
		return 0, nil
	}
	for _, b := range dst {
		if uint64(off) >= uint64(w.Length()) {
			break
		}
		b = b[:min(uint64(len(b)), uint64(w.Length())-uint64(off))]
		n, err := space.Peek(w.Start+hostarch.Addr(off), b)
		done += int64(n)
		off += int64(n)
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, unix.EIO
		}
	}
	return done, nil
}

// openEnviron is /proc/PID/environ (environ_read): the memory where the program
// found its environment when it began.
func openEnviron(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	t := s.task()
	var space *mm.Space
	var l mm.Layout
	if t != nil {
		if space = t.Space(); space != nil {
			l = t.Layout()
		}
	}
	return &memory{s: s, window: func() (*mm.Space, hostarch.AddrRange) { return space, l.Env }}, nil
}

// openCmdline is /proc/PID/cmdline (get_mm_cmdline): the memory where the arguments
// lie, which programs write over to change how they show up.
func openCmdline(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	return &memory{s: s, window: func() (*mm.Space, hostarch.AddrRange) {
		t := s.task()
		if t == nil {
			return nil, hostarch.AddrRange{}
		}
		space := t.Space()
		if space == nil {
			return nil, hostarch.AddrRange{}
		}
		l := t.Layout()
		return space, argumentsNow(space, &l)
	}}, nil
}

// argumentsNow returns what counts as the arguments. If their last byte is not the
// NUL any more that execve(2) put there, a single string goes on from their start,
// into the environment (get_mm_proctitle).
func argumentsNow(space *mm.Space, l *mm.Layout) hostarch.AddrRange {
	w := l.Args
	if w.Length() == 0 {
		return w
	}
	var last [1]byte
	if _, err := space.Peek(w.End-1, last[:]); err != nil || last[0] == 0 {
		return w
	}
	buf := make([]byte, min(hostarch.PageSize, l.Env.End-w.Start))
	n, _ := space.Peek(w.Start, buf)
	if i := bytes.IndexByte(buf[:n], 0); i >= 0 {
		n = i + 1
	}
	return hostarch.AddrRange{Start: w.Start, End: w.Start + hostarch.Addr(n)}
}

// openAuxv is /proc/PID/auxv.
func openAuxv(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	var aux []byte
	if t := s.task(); t != nil && t.Space() != nil {
		aux = t.Layout().Auxv
	}
	return synth.Const(string(aux)).Open(nil, 0)
}

// openMem is /proc/PID/mem (mem_open).
func openMem(s *subject, c *vfs.Caller) (vfs.FileOps, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.mayTrace(c, procmgr.TraceAttach); err != nil {
		return nil, err
	}
	space := s.space()
	const all = hostarch.Addr(1) << 63
	return &writableMemory{memory{s: s, window: func() (*mm.Space, hostarch.AddrRange) {
		return space, hostarch.AddrRange{Start: 0, End: all}
	}}}, nil
}

// writableMemory is an open /proc/PID/mem.
type writableMemory struct{ memory }

// WriteAt implements vfs.WriterAt (mem_rw): past the protection of the memory, as
// debuggers do.
func (m *writableMemory) WriteAt(src [][]byte, off int64, _ bool) (done, newOff int64, err error) {
	space, _ := m.window()
	if space == nil || space.Users() <= 0 {
		return 0, off, nil
	}
	for _, b := range src {
		n, err := space.Poke(hostarch.Addr(off), b)
		done += int64(n)
		off += int64(n)
		if err != nil {
			if done > 0 {
				break
			}
			return 0, off, unix.EIO
		}
	}
	return done, off, nil
}
