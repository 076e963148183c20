package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
)

// Sizes and places in struct user (sys/user.h), and notes of core dumps.
const (
	regsSize      = 27 * 8
	fxsaveSize    = 512
	userSize      = 928
	userDebugRegs = 848
	debugRegs     = 8

	ntPRStatus  = 1
	ntPRFPReg   = 2
	ntX86XState = 0x202

	flagsSettable = 0x54dd5 | 1<<14 // FLAG_MASK
	taskSizeMax   = 1<<47 - hostarch.PageSize
)

// regPointers returns the registers in the order of struct user_regs_struct.
func regPointers(r *task.Registers) [27]*uint64 {
	return [...]*uint64{
		&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R11, &r.R10, &r.R9, &r.R8, &r.Rax, &r.Rcx, &r.Rdx,
		&r.Rsi, &r.Rdi, &r.Orig_rax, &r.Rip, &r.Cs, &r.Eflags, &r.Rsp, &r.Ss, &r.Fs_base, &r.Gs_base,
		&r.Ds, &r.Es, &r.Fs, &r.Gs,
	}
}

func encodeRegs(o *task.Task) []byte {
	r := o.Regs()
	b := make([]byte, 0, regsSize)
	for _, p := range regPointers(&r) {
		b = binary.LittleEndian.AppendUint64(b, *p)
	}
	return b
}

// setReg sets register i (putreg): EIO for values that no user's register has.
// Segments stay what they are.
func setReg(r *task.Registers, i int, v uint64) error {
	p := regPointers(r)[i]
	switch p {
	case &r.Cs, &r.Ss, &r.Ds, &r.Es, &r.Fs, &r.Gs:
		null := uint16(v) == 0
		if !null && v&3 != 3 || null && (p == &r.Cs || p == &r.Ss) {
			return unix.EIO
		}
		return nil
	case &r.Fs_base, &r.Gs_base:
		if v >= taskSizeMax {
			return unix.EIO
		}
	case &r.Eflags:
		v = *p&^flagsSettable | v&flagsSettable
	}
	*p = v
	return nil
}

// ptraceSetRegs sets the first n bytes of the registers. An error leaves those before
// it set, as on Linux.
func ptraceSetRegs(t *task.Task, x *tracee, data hostarch.Addr, n int) error {
	b := make([]byte, n)
	if _, err := t.Memory().Space.CopyIn(data, b); err != nil {
		return err
	}
	r := x.task.Regs()
	defer func() { x.task.SetRegs(&r) }()
	for i := range n / 8 {
		if err := setReg(&r, i, binary.LittleEndian.Uint64(b[8*i:])); err != nil {
			return err
		}
	}
	return nil
}

// ptracePeekUser is PTRACE_PEEKUSER: EIO outside of struct user. There are registers
// in it, debug registers too, and otherwise nothing.
func ptracePeekUser(t *task.Task, x *tracee, off uint64, data hostarch.Addr) (uint64, error) {
	if off%8 != 0 || off >= userSize {
		return 0, unix.EIO
	}
	v := uint64(0)
	switch {
	case off < regsSize:
		r := x.task.Regs()
		v = *regPointers(&r)[off/8]
	case off >= userDebugRegs && off < userDebugRegs+8*debugRegs:
		v = x.task.DebugRegister(int(off-userDebugRegs) / 8)
	}
	return 0, copyOutUint64(t, data, v)
}

// ptracePokeUser is PTRACE_POKEUSER.
func ptracePokeUser(x *tracee, off, v uint64) (err error) {
	switch {
	case off%8 != 0 || off >= userSize:
		return unix.EIO
	case off < regsSize:
		r := x.task.Regs()
		err := setReg(&r, int(off/8), v)
		x.task.SetRegs(&r)
		return err
	case off >= userDebugRegs && off < userDebugRegs+8*debugRegs:
		x.Do(func() { err = x.task.SetDebugRegister(int(off-userDebugRegs)/8, v) })
		return err
	}
	return unix.EIO
}

// fpState returns the thread's floating-point state; see task.Task.FPState.
func (x *tracee) fpState(all bool) (b []byte, err error) {
	x.Do(func() { b, err = x.task.FPState(all) })
	return b, err
}

func ptraceSetFP(t *task.Task, x *tracee, data hostarch.Addr, n int, all bool) (err error) {
	b := make([]byte, n)
	if _, err := t.Memory().Space.CopyIn(data, b); err != nil {
		return err
	}
	x.Do(func() { err = x.task.SetFPState(b, all) })
	return err
}

// ptraceRegset is PTRACE_GETREGSET and PTRACE_SETREGSET (ptrace_regset): EINVAL for a
// set that is not here, or a size that is not of whole registers.
func ptraceRegset(t *task.Task, x *tracee, set bool, note uint64, data hostarch.Addr) error {
	var iov [16]byte
	if _, err := t.Memory().Space.CopyIn(data, iov[:]); err != nil {
		return err
	}
	base := hostarch.Addr(binary.LittleEndian.Uint64(iov[:]))
	size := binary.LittleEndian.Uint64(iov[8:])
	var all []byte
	var err error
	switch {
	case size%8 != 0:
		return unix.EINVAL
	case note == ntPRStatus:
		all = encodeRegs(x.task)
	case note == ntPRFPReg:
		all, err = x.fpState(false)
	case note == ntX86XState:
		all, err = x.fpState(true)
	default:
		return unix.EINVAL
	}
	if err != nil {
		return err
	}
	n := int(min(size, uint64(len(all))))
	switch {
	case !set:
		_, err = t.Memory().Space.CopyOut(base, all[:n])
	case note == ntPRStatus:
		err = ptraceSetRegs(t, x, base, n)
	case note == ntPRFPReg && n != fxsaveSize:
		return unix.EINVAL
	default:
		err = ptraceSetFP(t, x, base, n, note == ntX86XState)
	}
	if err != nil {
		return err
	}
	return copyOutUint64(t, data+8, uint64(n))
}
