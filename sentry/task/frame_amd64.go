package task

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/procmgr"
)

// The signal frame, as arch/x86/kernel/signal_64.c lays it out:
//
//	sp →  pretcode    8  the restorer, which calls rt_sigreturn
//	      ucontext  304  flags, link, stack, sigcontext, mask
//	      siginfo   128
//	      …              (alignment)
//	      fpstate        XSAVE area, 64-aligned, with a trailer
const (
	ucontextSize = 304
	siginfoSize  = 128
	frameSize    = 8 + ucontextSize + siginfoSize

	ucStack   = 16
	ucContext = 40
	ucMask    = ucContext + 256

	ucFPXState         = 1
	ucSigcontextSS     = 2
	ucStrictRestoreSS  = 4
	fpMagic1           = 0x46505853
	fpMagic2           = 0x46505845
	fpSwReserved       = 464
	fpLegacySize       = 512
	redZone            = 128
	maxFPState         = 16 << 10
	ssOnStack          = 1
	ssDisable          = 2
	ssAutodisarm       = 1 << 31
	minSigStack        = 2048
	eflagsTF           = 1 << 8
	eflagsDF           = 1 << 10
	eflagsRF           = 1 << 16
	eflagsFixed        = 2 | 1<<9
	eflagsUserSettable = 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | eflagsTF | eflagsDF | 1<<11 | eflagsRF | 1<<18 // CF PF AF ZF SF TF DF OF RF AC
	userCS             = 0x33
	userSS             = 0x2b
)

// SigStack is the alternate signal stack (sigaltstack(2)).
type SigStack struct {
	Addr  hostarch.Addr
	Flags uint32
	Size  uint64
}

// contains reports whether sp lies on the stack (Linux's __on_sig_stack).
func (s *SigStack) contains(sp hostarch.Addr) bool {
	return s.Flags&ssAutodisarm == 0 && s.covers(sp)
}

func (s *SigStack) covers(sp hostarch.Addr) bool {
	return s.Size != 0 && sp > s.Addr && uint64(sp-s.Addr) <= s.Size
}

// guestFlags returns the ss_flags that the guest sees.
func (s *SigStack) guestFlags(sp hostarch.Addr) uint32 {
	switch {
	case s.Size == 0:
		return ssDisable
	case s.contains(sp):
		return ssOnStack | s.Flags&ssAutodisarm
	}
	return s.Flags & ssAutodisarm
}

func (s *SigStack) encode(b []byte, sp hostarch.Addr) {
	binary.LittleEndian.PutUint64(b[0:], uint64(s.Addr))
	binary.LittleEndian.PutUint32(b[8:], s.guestFlags(sp))
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint64(b[16:], s.Size)
}

// SetSigStack is sigaltstack(2)'s do_sigaltstack: EPERM on the stack in use,
// EINVAL for unknown flags, ENOMEM for one too small.
func (t *Task) SetSigStack(n SigStack, sp hostarch.Addr) error {
	if t.sigStack.contains(sp) {
		return unix.EPERM
	}
	switch mode := n.Flags &^ ssAutodisarm; mode {
	case ssDisable:
		t.sigStack = SigStack{}
		return nil
	case 0, ssOnStack:
	default:
		return unix.EINVAL
	}
	if n.Size < minSigStack {
		return unix.ENOMEM
	}
	n.Flags &= ssAutodisarm
	t.sigStack = n
	return nil
}

// EncodeSigStack writes the current alternate stack as struct stack_t (24
// bytes) for a thread whose stack pointer is sp.
func (t *Task) EncodeSigStack(b []byte, sp hostarch.Addr) { t.sigStack.encode(b, sp) }

// pushFrame sets the thread up to run act's handler for info: it builds the
// signal frame on the guest's stack and points the registers at the handler
// (setup_rt_frame). An error means that the stack cannot be written.
func (t *Task) pushFrame(info *procmgr.SigInfo, act *procmgr.SigAction, mask uint64) error {
	regs := t.ctx.Registers()
	if act.Restorer == 0 || act.Flags&saRestorer == 0 {
		return unix.EFAULT // x86-64 has no default restorer
	}
	fp, err := t.ctx.FPState()
	if err != nil {
		return err
	}
	sp := hostarch.Addr(regs.Rsp)
	onAlt := act.Flags&saOnStack != 0 && t.sigStack.Size != 0 && !t.sigStack.contains(sp)
	nested := t.sigStack.contains(sp)
	if onAlt {
		sp = t.sigStack.Addr + hostarch.Addr(t.sigStack.Size)
	} else {
		sp -= redZone
	}
	fpAddr := (sp - hostarch.Addr(len(fp)+4)) &^ 63
	frame := (fpAddr-frameSize)&^15 - 8
	if frame > sp { // wrapped around
		return unix.EFAULT
	}
	if (onAlt || nested) && !t.sigStack.covers(frame) {
		return unix.EFAULT // overflow of the alternate stack
	}

	// The FP state, marked as an extended one for sigreturn.
	le := binary.LittleEndian
	buf := slices.Grow(t.frame[:0], int(sp-frame))[:sp-frame]
	t.frame = buf
	clear(buf)
	area := buf[fpAddr-frame:][: len(fp)+4 : len(fp)+4]
	copy(area, fp)
	sw := area[fpSwReserved:fpLegacySize]
	features := le.Uint64(sw) // the kernel's regset holds XCR0 here
	clear(sw)
	le.PutUint32(sw[0:], fpMagic1)
	le.PutUint32(sw[4:], uint32(len(fp)+4))
	le.PutUint64(sw[8:], features)
	le.PutUint32(sw[16:], uint32(len(fp)))
	le.PutUint32(area[len(fp):], fpMagic2)
	if len(fp) > fpLegacySize {
		// As Linux does: what a handler writes to the x87 and SSE registers
		// counts, though they were in their initial state.
		area[fpLegacySize] |= 3
	}

	le.PutUint64(buf[0:], act.Restorer)
	uc := buf[8:]
	le.PutUint64(uc[0:], ucFPXState|ucSigcontextSS|ucStrictRestoreSS)
	t.sigStack.encode(uc[ucStack:], hostarch.Addr(regs.Rsp))
	encodeSigcontext(uc[ucContext:], regs, t.fault, uint64(fpAddr), mask)
	le.PutUint64(uc[ucMask:], mask)
	info.Encode(buf[8+ucontextSize : 8+ucontextSize+siginfoSize])
	if _, err := t.mem.Space.CopyOut(frame, buf); err != nil {
		return err
	}
	if t.sigStack.Flags&ssAutodisarm != 0 {
		t.sigStack = SigStack{}
	}
	// A handler begins with a fresh state (fpu__clear_user_states).
	if err := t.ctx.SetFPState(nil); err != nil {
		return err
	}

	regs.Rdi = uint64(info.Signo)
	regs.Rsi = uint64(frame) + 8 + ucontextSize
	regs.Rdx = uint64(frame) + 8
	regs.Rax = 0
	regs.Rsp = uint64(frame)
	regs.Rip = act.Handler
	regs.Eflags &^= eflagsDF | eflagsRF | eflagsTF
	regs.Orig_rax = ^uint64(0)
	return nil
}

// faultInfo is what the last memory fault leaves in a sigcontext.
type faultInfo struct {
	err, trapno, cr2 uint64
}

func encodeSigcontext(b []byte, r *platform.Registers, f faultInfo, fp, mask uint64) {
	le := binary.LittleEndian
	for i, v := range [...]uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
		r.Rdi, r.Rsi, r.Rbp, r.Rbx, r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
	} {
		le.PutUint64(b[8*i:], v)
	}
	le.PutUint16(b[144:], userCS) // then gs, fs: 0
	le.PutUint16(b[150:], userSS)
	le.PutUint64(b[152:], f.err)
	le.PutUint64(b[160:], f.trapno)
	le.PutUint64(b[168:], mask)
	le.PutUint64(b[176:], f.cr2)
	le.PutUint64(b[184:], fp)
}

func decodeSigcontext(b []byte, r *platform.Registers) {
	le := binary.LittleEndian
	for i, p := range [...]*uint64{
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15,
		&r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx, &r.Rdx, &r.Rax, &r.Rcx, &r.Rsp, &r.Rip,
	} {
		*p = le.Uint64(b[8*i:])
	}
	r.Eflags = r.Eflags&^eflagsUserSettable | le.Uint64(b[8*17:])&eflagsUserSettable | eflagsFixed
	r.Cs, r.Ss = userCS, userSS
	r.Orig_rax = ^uint64(0)
}

// SigReturn is rt_sigreturn(2): it restores what pushFrame saved. An error
// means a frame that cannot be used; the caller sends SIGSEGV.
func (t *Task) SigReturn() error {
	regs := t.ctx.Registers()
	var uc [ucontextSize]byte
	frame := hostarch.Addr(regs.Rsp) - 8
	if _, err := t.mem.Space.CopyIn(frame+8, uc[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	fp, err := t.readFPState(hostarch.Addr(le.Uint64(uc[ucContext+184:])))
	if err != nil {
		return err
	}
	if err := t.ctx.SetFPState(fp); err != nil {
		return err
	}
	decodeSigcontext(uc[ucContext:], regs)
	regs.Rip = t.mem.patchedReturn(regs.Rip)
	t.frames = max(0, t.frames-1)
	t.th.SetSignalMask(procmgr.SigSet(le.Uint64(uc[ucMask:])))
	// restore_altstack: errors other than a fault are ignored, as Linux does.
	t.SetSigStack(SigStack{
		Addr:  hostarch.Addr(le.Uint64(uc[ucStack:])),
		Flags: le.Uint32(uc[ucStack+8:]),
		Size:  le.Uint64(uc[ucStack+16:]),
	}, hostarch.Addr(regs.Rsp))
	return nil
}

// readFPState fetches the floating-point state that a frame points to. A nil
// result asks for the initial state, as a null pointer does.
func (t *Task) readFPState(addr hostarch.Addr) ([]byte, error) {
	if addr == 0 {
		return nil, nil
	}
	var legacy [fpLegacySize]byte
	if _, err := t.mem.Space.CopyIn(addr, legacy[:]); err != nil {
		return nil, err
	}
	form, err := t.fpForm()
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	size := le.Uint32(legacy[fpSwReserved+16:])
	extended := le.Uint32(legacy[fpSwReserved:]) == fpMagic1 &&
		size == uint32(form.size) && size <= maxFPState &&
		le.Uint32(legacy[fpSwReserved+4:]) >= size
	fp := slices.Grow(t.frame[:0], form.size)[:form.size]
	t.frame = fp
	if extended {
		if _, err := t.mem.Space.CopyIn(addr, fp); err != nil {
			return nil, err
		}
		var magic [4]byte
		if _, err := t.mem.Space.CopyIn(addr+hostarch.Addr(size), magic[:]); err != nil {
			return nil, err
		}
		extended = le.Uint32(magic[:]) == fpMagic2
	}
	if !extended {
		// FXSAVE only: x87 and SSE from the frame, the rest initial.
		clear(fp)
		copy(fp, legacy[:])
		le.PutUint64(fp[fpLegacySize:], 3)
	}
	copy(fp[fpSwReserved:], form.software[:])
	return fp, nil
}

// fpForm is what all floating-point states on this host have in common: their size
// in bytes, and the bytes in which Linux describes them.
type fpForm struct {
	size     int
	software [fpLegacySize - fpSwReserved]byte
}

// fpForm returns the form. Asking the context for a whole state is dear.
func (t *Task) fpForm() (*fpForm, error) {
	if f := t.k.fpForm.Load(); f != nil {
		return f, nil
	}
	fp, err := t.ctx.FPState()
	if err != nil {
		return nil, err
	}
	f := &fpForm{size: len(fp)}
	copy(f.software[:], fp[fpSwReserved:])
	t.k.fpForm.Store(f)
	return f, nil
}
