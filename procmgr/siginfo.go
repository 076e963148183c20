package procmgr

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// NumSignals is the highest signal number (_NSIG).
const NumSignals = 64

// SigSet is a set of signals: bit n-1 for signal n.
type SigSet uint64

// SetOf returns the set of the given signals.
func SetOf(sigs ...unix.Signal) (s SigSet) {
	for _, sig := range sigs {
		s |= 1 << (sig - 1)
	}
	return s
}

// Has reports whether sig is in s.
func (s SigSet) Has(sig unix.Signal) bool { return s&(1<<(sig-1)) != 0 }

// si_code values (sigaction(2)).
const (
	SIUser   = 0
	SIKernel = 0x80
	SIQueue  = -1
	SITimer  = -2
	SIMesgQ  = -3
	SITkill  = -6

	CLDExited    = 1
	CLDKilled    = 2
	CLDDumped    = 3
	CLDTrapped   = 4
	CLDStopped   = 5
	CLDContinued = 6
)

const siginfoSize = 128

// SigInfo says where a signal comes from (siginfo_t). Which fields mean
// something depends on Signo and Code.
type SigInfo struct {
	Signo, Errno, Code int32

	PID          int32  // SI_USER, SI_QUEUE, SIGCHLD
	UID          uint32 // the same
	Status       int32  // SIGCHLD
	UTime, STime uint64 // SIGCHLD, in clock ticks
	Value        uint64 // SI_QUEUE, SI_TIMER, SI_MESGQ
	Timer        int32  // SI_TIMER: id
	Overrun      int32  // SI_TIMER
	Addr         uint64 // faults; SIGSYS: address of the call
	Band         int64  // SIGIO
	FD           int32  // SIGIO
	Syscall      int32  // SIGSYS
	Arch         uint32 // SIGSYS

	raw   *[siginfoSize]byte // as a sender wrote it, with codes of its own
	timer TimerSignal        // nil: no timer's
}

// DecodeSigInfo reads what rt_sigqueueinfo(2) was given; b has 128 bytes. All of
// it is kept, whatever it may mean.
func DecodeSigInfo(b []byte) SigInfo {
	le := binary.LittleEndian
	raw := [siginfoSize]byte(b)
	return SigInfo{
		Signo: int32(le.Uint32(b[0:])), Errno: int32(le.Uint32(b[4:])), Code: int32(le.Uint32(b[8:])),
		PID: int32(le.Uint32(b[16:])), UID: le.Uint32(b[20:]), Value: le.Uint64(b[24:]),
		raw: &raw,
	}
}

// hidePID makes the sender unknown.
func (i *SigInfo) hidePID() {
	raw := *i.raw
	binary.LittleEndian.PutUint32(raw[16:], 0)
	i.PID, i.raw = 0, &raw
}

// mapUID turns the sender's user id, which is one of the root's, or of its own user
// namespace if it wrote it there itself, into one of the receiver's.
func (i *SigInfo) mapUID(own, its *UserNamespace) {
	if i.raw == nil {
		i.UID = its.UID(i.UID)
		return
	}
	if own == its {
		return
	}
	raw := *i.raw
	i.UID = its.UID(own.HostUID(i.UID))
	binary.LittleEndian.PutUint32(raw[20:], i.UID)
	i.raw = &raw
}

// Encode writes siginfo_t into b, which has 128 bytes.
func (i *SigInfo) Encode(b []byte) {
	b = b[:siginfoSize]
	clear(b)
	le := binary.LittleEndian
	if i.raw != nil {
		copy(b, i.raw[:])
	}
	le.PutUint32(b[0:], uint32(i.Signo))
	le.PutUint32(b[4:], uint32(i.Errno))
	le.PutUint32(b[8:], uint32(i.Code))
	if i.raw != nil {
		return
	}
	sender := func() {
		le.PutUint32(b[16:], uint32(i.PID))
		le.PutUint32(b[20:], i.UID)
	}
	switch {
	case i.Code == SITimer:
		le.PutUint32(b[16:], uint32(i.Timer))
		le.PutUint32(b[20:], uint32(i.Overrun))
		le.PutUint64(b[24:], i.Value)
	case i.Code == SIQueue, i.Code == SIMesgQ:
		sender()
		le.PutUint64(b[24:], i.Value)
	case i.Code <= 0:
		sender()
	default:
		switch unix.Signal(i.Signo) {
		default: // SIGCHLD, or what a child sends instead of it
			sender()
			le.PutUint32(b[24:], uint32(i.Status))
			le.PutUint64(b[32:], i.UTime)
			le.PutUint64(b[40:], i.STime)
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP:
			le.PutUint64(b[16:], i.Addr)
		case unix.SIGIO:
			le.PutUint64(b[16:], uint64(i.Band))
			le.PutUint32(b[24:], uint32(i.FD))
		case unix.SIGSYS:
			le.PutUint64(b[16:], i.Addr)
			le.PutUint32(b[24:], uint32(i.Syscall))
			le.PutUint32(b[28:], i.Arch)
		}
	}
}

// EncodeSignalFD writes struct signalfd_siginfo into b, which has 128 bytes.
func (i *SigInfo) EncodeSignalFD(b []byte) {
	b = b[:siginfoSize]
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(i.Signo))
	le.PutUint32(b[4:], uint32(i.Errno))
	le.PutUint32(b[8:], uint32(i.Code))
	le.PutUint32(b[12:], uint32(i.PID))
	le.PutUint32(b[16:], i.UID)
	le.PutUint32(b[20:], uint32(i.FD))
	le.PutUint32(b[24:], uint32(i.Timer))
	le.PutUint32(b[28:], uint32(i.Band))
	le.PutUint32(b[32:], uint32(i.Overrun))
	le.PutUint32(b[40:], uint32(i.Status))
	le.PutUint32(b[44:], uint32(i.Value))
	le.PutUint64(b[48:], i.Value)
	le.PutUint64(b[56:], i.UTime)
	le.PutUint64(b[64:], i.STime)
	le.PutUint64(b[72:], i.Addr)
}

// ExitStatus is the wait status of a process that ended by exit(code).
func ExitStatus(code int) uint32 { return uint32(code&0xff) << 8 }

// SignalStatus is the wait status of a process that sig ended.
func SignalStatus(sig unix.Signal) uint32 { return uint32(sig) & 0x7f }

// stopStatus is the wait status of a stopped process; contStatus of one that
// goes on.
func stopStatus(sig unix.Signal) uint32 { return uint32(sig)<<8 | 0x7f }

const contStatus = 0xffff
