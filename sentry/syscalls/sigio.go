package syscalls

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// sigio sends a file's owner a signal at each event (fcntl(2), "Managing
// signals"). It does so from a goroutine: an event may be told under locks that
// sending a signal takes. Events that come before it has run are one, as pending
// signals of the same number are.
type sigio struct {
	f    *vfs.File
	k    *task.Kernel
	by   *procmgr.Credentials // who turned it on
	busy atomic.Bool
}

// NotifyEvent implements waiter.EventListener.
func (s *sigio) NotifyEvent(waiter.EventMask) {
	if o := s.f.Owner(); o != nil && o.ID != 0 && !s.busy.Swap(true) {
		go s.send()
	}
}

func (s *sigio) send() {
	s.busy.Store(false)
	o := s.f.Owner()
	if o == nil || o.ID == 0 {
		return
	}
	info := procmgr.SigInfo{Signo: o.Signal, Code: procmgr.SIKernel}
	if info.Signo == 0 {
		info.Signo = int32(unix.SIGIO)
	}
	switch o.Type {
	case ownerGroup:
		if s.by.EUID == 0 {
			s.k.Procs.SignalGroup(int(o.ID), info)
		}
	default:
		th := s.k.Procs.GetThread(int(o.ID))
		if th == nil || !s.may(th.Credentials()) {
			return
		}
		if o.Type == ownerProcess {
			th.Process().SendSignal(info)
		} else {
			th.SendSignal(info)
		}
	}
}

// may is sigio_perm.
func (s *sigio) may(to *procmgr.Credentials) bool {
	b := s.by
	return b.EUID == 0 || b.EUID == to.SUID || b.EUID == to.RUID || b.RUID == to.SUID || b.RUID == to.RUID
}

// ownerEx is F_SETOWN_EX and F_GETOWN_EX: struct f_owner_ex is type and id.
func ownerEx(t *task.Task, f *vfs.File, set bool, addr hostarch.Addr) error {
	var b [8]byte
	le := binary.LittleEndian
	space := t.Memory().Space
	if !set {
		o := f.Owner()
		if o == nil {
			o = &vfs.Owner{}
		}
		le.PutUint32(b[0:], uint32(o.Type))
		le.PutUint32(b[4:], uint32(t.Thread().Namespace().IDOf(int(o.ID))))
		_, err := space.CopyOut(addr, b[:])
		return err
	}
	if _, err := space.CopyIn(addr, b[:]); err != nil {
		return err
	}
	typ, id := int32(le.Uint32(b[0:])), int32(le.Uint32(b[4:]))
	if typ < ownerThread || typ > ownerGroup || id < 0 {
		return unix.EINVAL
	}
	return setOwner(t, f, typ, id)
}

// ownerThread is F_OWNER_TID.
const ownerThread = 0

// setOwner keeps the signal that was chosen. The id is one of the caller's pid namespace
// (ESRCH): it means the same to whoever uses the file later. 0 is nobody.
func setOwner(t *task.Task, f *vfs.File, typ, id int32) error {
	o := vfs.Owner{Type: typ}
	if id != 0 {
		if o.ID = int32(t.Thread().Namespace().RootID(int(id))); o.ID == 0 {
			return unix.ESRCH
		}
	}
	if old := f.Owner(); old != nil {
		o.Signal = old.Signal
	}
	f.SetOwner(&o)
	return nil
}

// setSignal is F_SETSIG.
func setSignal(f *vfs.File, sig uint64) error {
	if sig > procmgr.NumSignals {
		return unix.EINVAL
	}
	o := vfs.Owner{Type: ownerProcess}
	if old := f.Owner(); old != nil {
		o = *old
	}
	o.Signal = int32(sig)
	f.SetOwner(&o)
	return nil
}

// setFlags is F_SETFL and the ioctls that change one flag: O_ASYNC turns
// signal-driven input and output on and off (setfl).
func setFlags(t *task.Task, f *vfs.File, flags uint32) error {
	old := f.Flags()
	if err := f.SetFlags(flags); err != nil {
		return err
	}
	switch on := flags & unix.O_ASYNC; {
	case on == old&unix.O_ASYNC, !f.Pollable():
		return nil
	case on == 0:
		return f.SetAsync(nil)
	}
	return f.SetAsync(&sigio{f: f, k: t.Kernel(), by: t.Thread().Credentials()})
}

// ioctlFlag is FIONBIO and FIOASYNC: arg points to what the flag is to be.
func ioctlFlag(t *task.Task, f *vfs.File, a *task.Args, flag uint32) error {
	on, err := t.Memory().Space.LoadUint32(a.Addr(2))
	if err != nil {
		return err
	}
	flags := f.Flags() &^ flag
	if on != 0 {
		flags |= flag
	}
	return setFlags(t, f, flags)
}
