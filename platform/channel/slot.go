// Package channel is how a system call of patched guest code reaches the sentry
// without a trap: through a page of memory that both share.
//
//	call site     jmp trampoline             site.go
//	trampoline    RCX = return address; jmp  (in guest memory, one per site)
//	channel code  saves the registers in the slot, posts the call, and waits:
//	              a while by polling, then by a SYSCALL that stops its thread
//	sentry        takes the call from the slot, answers there
//
// Nothing of it is trusted. The channel code and the slot lie in reach of the
// guest; it can jump anywhere in the code and write anything to the slot. What
// the sentry takes from a slot are the values of registers and the word that
// says whether there is a call; a guest could as well have made that call.
//
// This package is plain bytes and offsets: it calls no host, and package ptrace
// does the rest.
package channel

import (
	"encoding/binary"

	"runsc-lite/platform"
)

// Offsets in a slot, from its base, which lies at the beginning of a cache line
// in the middle of a page: the channel code uses it as its stack pointer. The two
// lines around the base carry the registers of a call; the one with State goes
// back and forth between the polling sides, and nothing else lies in it.
const (
	slotR8     = -64
	slotR10    = -56
	slotRDX    = -48
	slotRSI    = -40
	slotRDI    = -32
	slotRAX    = -24 // the number
	slotRSP    = -16
	slotRFLAGS = -8 // where PUSHFQ puts it
	slotR9     = 0
	slotRCX    = 8 // the return address
	slotRBX    = 16
	slotRBP    = 24
	slotR12    = 32
	slotR13    = 40
	slotR14    = 48
	slotR15    = 56

	slotSelf = 80 // u64: the base's own address, by which the code finds it

	slotState  = 128 // u32: see below
	slotSentry = 132 // u32: 1 while a thread of the sentry polls the state
	slotSpin   = 136 // u32, at least 1: how often the code polls before it stops
	slotFP     = 140 // u32: Load takes floating-point state along
	slotResult = 144 // u64

	// What else a thread needs to be set going with all registers.
	slotR11   = 192
	slotFrame = 200 // as IRETQ takes it: RIP, CS, RFLAGS, RSP, SS

	// Calls that the code answers itself: for each number below 256 a byte, the
	// index of a value plus one.
	slotFacts  = 256
	slotValues = 512
	maxFacts   = 32

	// Base is where the base lies in the slot.
	Base = 2048
	// slotXSave is a page for an XSAVE area.
	slotXSave = 4096 - Base
	maxXSave  = 4096

	// Size is the size of a slot: two pages.
	Size = 8192
)

// Values of the state.
const (
	Guest   = 0 // guest code runs, or the answer is there
	Call    = 1 // a call waits for its answer, the code polls
	Stopped = 2 // likewise, but the code stops, or has stopped, by a SYSCALL
	Stop    = 3 // set by the sentry: stop polling, as if time were up
	Load    = 4 // likewise: load all registers, and go on with them
	Save    = 5 // likewise: save floating-point state, and wait on (Call)
)

// Slot is a slot as the sentry sees it: Size bytes. The guest may change it at any
// time.
type Slot []byte

func (s Slot) get(off int) uint64    { return binary.LittleEndian.Uint64(s[Base+off:]) }
func (s Slot) put(off int, v uint64) { binary.LittleEndian.PutUint64(s[Base+off:], v) }

// Init prepares a slot whose base the guest side has at self. spin is how often
// the code polls.
func (s Slot) Init(self uint64, spin uint32) {
	clear(s[:4096])
	s.put(slotSelf, self)
	s.put(slotSpin, uint64(spin))
}

// Load reads the registers of a call, as they are when SYSCALL has trapped. What
// is not in the slot stays: segments and their bases.
func (s Slot) Load(r *platform.Registers) {
	r.Orig_rax = s.get(slotRAX)
	r.Rax = ^uint64(enosys - 1)
	r.Rbx = s.get(slotRBX)
	r.Rcx = s.get(slotRCX)
	r.Rip = r.Rcx
	r.Rdx = s.get(slotRDX)
	r.Rsi = s.get(slotRSI)
	r.Rdi = s.get(slotRDI)
	r.Rbp = s.get(slotRBP)
	r.R8 = s.get(slotR8)
	r.R9 = s.get(slotR9)
	r.R10 = s.get(slotR10)
	r.R12 = s.get(slotR12)
	r.R13 = s.get(slotR13)
	r.R14 = s.get(slotR14)
	r.R15 = s.get(slotR15)
	r.Rsp = s.get(slotRSP)
	r.Eflags = s.get(slotRFLAGS)
	r.R11 = r.Eflags
}

// Store puts registers where the stub's code loads them from.
func (s Slot) Store(r *platform.Registers) {
	s.put(slotRAX, r.Rax)
	s.put(slotRBX, r.Rbx)
	s.put(slotRCX, r.Rcx)
	s.put(slotRDX, r.Rdx)
	s.put(slotRSI, r.Rsi)
	s.put(slotRDI, r.Rdi)
	s.put(slotRBP, r.Rbp)
	s.put(slotR8, r.R8)
	s.put(slotR9, r.R9)
	s.put(slotR10, r.R10)
	s.put(slotR11, r.R11)
	s.put(slotR12, r.R12)
	s.put(slotR13, r.R13)
	s.put(slotR14, r.R14)
	s.put(slotR15, r.R15)
	for i, v := range [...]uint64{r.Rip, r.Cs, r.Eflags, r.Rsp, r.Ss} {
		s.put(slotFrame+8*i, v)
	}
}

const enosys = 38

// Answer stores a result. The caller then changes the state.
func (s Slot) Answer(rax uint64) { s.put(slotResult, rax) }

// SetFact makes the code answer a call by itself, or with ok false not any more.
// index is below 32, a different one for each call.
func (s Slot) SetFact(nr, index int, v uint64, ok bool) {
	if nr < 0 || nr >= 256 || index < 0 || index >= maxFacts {
		return
	}
	if !ok {
		s[Base+slotFacts+nr] = 0
		return
	}
	s.put(slotValues+8*index, v)
	s[Base+slotFacts+nr] = byte(index + 1)
}

// Stored reads what Store put, less CS and SS.
func (s Slot) Stored(r *platform.Registers) {
	r.Rax, r.Rbx, r.Rcx, r.Rdx = s.get(slotRAX), s.get(slotRBX), s.get(slotRCX), s.get(slotRDX)
	r.Rsi, r.Rdi, r.Rbp = s.get(slotRSI), s.get(slotRDI), s.get(slotRBP)
	r.R8, r.R9, r.R10, r.R11 = s.get(slotR8), s.get(slotR9), s.get(slotR10), s.get(slotR11)
	r.R12, r.R13, r.R14, r.R15 = s.get(slotR12), s.get(slotR13), s.get(slotR14), s.get(slotR15)
	r.Rip, r.Eflags, r.Rsp = s.get(slotFrame), s.get(slotFrame+16), s.get(slotFrame+24)
}

// StoreFP says what floating-point state Load takes along: an XSAVE area in
// standard format, or none. It reports false if that is too large.
func (s Slot) StoreFP(xsave []byte) bool {
	flag := uint32(0)
	if xsave != nil {
		flag = 1
		if copy(s[Base+slotXSave:], xsave) < len(xsave) {
			return false
		}
	}
	binary.LittleEndian.PutUint32(s[Base+slotFP:], flag)
	return true
}

// XSave returns the area that Save saved to, or that Load loads from. What the
// processor does not write there is the guest's.
func (s Slot) XSave() []byte { return s[Base+slotXSave:] }

// Offsets in the code, held by a test.
const (
	CodeLen = 512

	atSelf     = 0x09  // RSP is in the slot
	atPushf    = 0x12  // the stack pointer is the base
	atPushed   = 0x13  // the flags are in the slot
	atFact     = 0x36  // RAX is the result
	atCall     = 0x3b  // the registers are being saved
	atPosted   = 0x8b  // the state is Call
	atLoad     = 0x123 // the registers are being loaded
	atXRstor   = 0x142 // the floating-point state comes
	atAnswered = 0x1a2 // the result comes
	atReturn   = 0x1af // RAX and RCX are the guest's
	atPopped   = 0x1b9 // so are the flags
	atRestored = 0x1c2 // so is the stack pointer
	codeEnd    = 0x1c4
)

// Unwind makes r, the registers of a thread that was stopped in the channel code
// while no call was posted, those of the guest: as if the call had not begun, or
// had returned. off is how far into the code RIP is; ok is false if that is nowhere
// in it. With fp, the floating-point state is still the one in XSave.
func (s Slot) Unwind(r *platform.Registers, off uint64) (fp, ok bool) {
	if off >= codeEnd {
		return false, false
	}
	if state := s.State(); state == Load || off >= atLoad && off < atAnswered {
		s.Stored(r)
		r.Orig_rax = ^uint64(0)
		flag := binary.LittleEndian.Uint32(s[Base+slotFP:])
		return flag != 0 && (state == Load || off <= atXRstor), true
	}
	if off >= atPushed && off < atPopped {
		r.Eflags = s.get(slotRFLAGS)
	}
	if off >= atPushf && off < atRestored {
		r.Rsp = s.get(slotRSP)
	}
	switch {
	case off < atFact, off >= atCall && off < atPosted:
		// Not begun: back to the SYSCALL before the return address.
		r.Rip = r.Rcx - syscallLen
	case off >= atPosted && off < atReturn:
		r.Rax, r.Rcx = s.get(slotResult), s.get(slotRCX)
		r.Rip, r.R11 = r.Rcx, r.Eflags
	default:
		r.Rip, r.R11 = r.Rcx, r.Eflags
	}
	r.Orig_rax = ^uint64(0)
	return false, true
}
