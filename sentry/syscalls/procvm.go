package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// sysProcessVMReadv is process_vm_readv(2).
func sysProcessVMReadv(t *task.Task, a *task.Args) (uint64, error) { return processVM(t, a, false) }

// sysProcessVMWritev is process_vm_writev(2).
func sysProcessVMWritev(t *task.Task, a *task.Args) (uint64, error) { return processVM(t, a, true) }

// processVM copies between t's memory and another process's (process_vm_rw).
func processVM(t *task.Task, a *task.Args, write bool) (uint64, error) {
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	local, err := copyInIovecs(t, a.Addr(1), a.Int64(2))
	if err != nil || len(local) == 0 {
		return 0, err
	}
	remote, err := copyInRemoteIovecs(t, a.Addr(3), a.Int64(4))
	if err != nil || len(remote) == 0 {
		return 0, err
	}
	th := t.Thread().Namespace().GetThread(int(a.Int(0)))
	if th == nil {
		return 0, unix.ESRCH
	}
	if err := t.Thread().MayTrace(th, procmgr.TraceAttach|procmgr.TraceRealCreds); err != nil {
		return 0, err
	}
	other := task.Of(th)
	if other == nil || other.Space() == nil {
		return 0, unix.ESRCH
	}
	c := vmCopy{own: t.Memory().Space, other: other.Space(), local: local, write: write}
	for _, v := range remote {
		if err = c.copy(v); err != nil || len(c.local) == 0 {
			break
		}
	}
	if c.done > 0 {
		return c.done, nil
	}
	return 0, err
}

// vmCopy is a copy between two address spaces that is under way.
type vmCopy struct {
	own, other *mm.Space
	local      []mm.Iovec // what is left of it
	write      bool       // to other
	done       uint64     // bytes
}

// copy copies all of a range of the other process: EFAULT.
func (c *vmCopy) copy(v mm.Iovec) error {
	for v.Len > 0 && len(c.local) > 0 {
		n := min(v.Len, pinChunk)
		pin, err := c.other.Pin(v.Addr, n, c.write)
		if err != nil {
			return err
		}
		for _, b := range pin.Blocks {
			if err = c.copyBlock(b); err != nil {
				break
			}
		}
		got := pin.Length()
		pin.Unpin()
		if err != nil {
			return err
		}
		v.Addr += hostarch.Addr(got)
		v.Len -= got
	}
	return nil
}

// copyBlock copies between b and t's own memory.
func (c *vmCopy) copyBlock(b []byte) error {
	for len(b) > 0 && len(c.local) > 0 {
		v := &c.local[0]
		n := min(uint64(len(b)), v.Len)
		move := c.own.CopyOut
		if c.write {
			move = c.own.CopyIn
		}
		got, err := move(v.Addr, b[:n])
		c.done += uint64(got)
		if err != nil {
			return err
		}
		b = b[n:]
		v.Addr += hostarch.Addr(n)
		if v.Len -= n; v.Len == 0 {
			c.local = c.local[1:]
		}
	}
	return nil
}

// copyInRemoteIovecs reads an array of struct iovec whose addresses are another
// process's, which is not asked yet (iovec_from_user): EINVAL, EFAULT.
func copyInRemoteIovecs(t *task.Task, addr hostarch.Addr, count int64) ([]mm.Iovec, error) {
	if count < 0 || count > maxIovecs {
		return nil, unix.EINVAL
	}
	raw := make([]byte, 16*count)
	if _, err := t.Memory().Space.CopyIn(addr, raw); err != nil {
		return nil, err
	}
	vec := make([]mm.Iovec, 0, count)
	for ; len(raw) > 0; raw = raw[16:] {
		base, n := binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])
		if int64(n) < 0 {
			return nil, unix.EINVAL
		}
		if n > 0 {
			vec = append(vec, mm.Iovec{Addr: hostarch.Addr(base), Len: n})
		}
	}
	return vec, nil
}
