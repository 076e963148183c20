package channel

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Patterns of code around a SYSCALL instruction that can be patched.
//
//	A    mov $nr, %eax            jmp trampoline
//	     syscall            →     syscall
//
// Only the MOV is replaced. The SYSCALL stays where it is, so that every address
// that a program or a debugger can see means what it meant: the call returns
// behind it, a restart goes back onto it, and a jump straight to it traps as
// before.
//
//	B    syscall                  jmp trampoline
//	     cmp $imm32, %rax   →     (rest of the CMP, never reached)
//
// The CMP is done in the trampoline, behind a SYSCALL of its own for restarts. A
// jump to the CMP must not exist; see jumpsInto. Calls that were made before
// return to the CMP: the kernel has to take them into the trampoline.
const (
	syscallLen = 2
	movLen     = 5
	longMovLen = 7
	cmpLen     = 6
	jmpLen     = 5
)

// trampolineLen is what Patch uses of a trampoline slot, at most.
const trampolineLen = 40

// PatchCall makes the change of a call site, for channel code that is mapped at
// entry. See platform.CallPatcher.
func PatchCall(c platform.CallSite, entry uint64) (platform.CallPatch, bool) {
	after := c.After
	if after < syscallLen || after > len(c.Code) || c.Code[after-2] != 0x0f || c.Code[after-1] != 0x05 {
		return platform.CallPatch{}, false
	}
	if p, ok := patchMov(c, entry); ok {
		return p, true
	}
	return patchCmp(c, entry)
}

// addr returns the guest address of a byte of c.Code.
func addrOf(c *platform.CallSite, i int) uint64 { return uint64(c.Addr) + uint64(i) }

// patchMov is pattern A. With RAX instead of EAX the MOV has two bytes more; the
// jump takes its first five.
func patchMov(c platform.CallSite, entry uint64) (platform.CallPatch, bool) {
	if at := c.After - syscallLen - longMovLen; at >= 0 && c.Code[at] == 0x48 && c.Code[at+1] == 0xc7 && c.Code[at+2] == 0xc0 &&
		uint64(int32(binary.LittleEndian.Uint32(c.Code[at+3:]))) == c.Number {
		return finishMov(c, entry, at, longMovLen)
	}
	at := c.After - syscallLen - movLen
	// A byte before that could be the prefix of a longer instruction, which b8
	// belongs to, leaves the site alone.
	if at < 1 || c.Code[at] != 0xb8 || c.Code[at-1]&0xf0 == 0x40 || c.Code[at-1] == 0x66 ||
		uint64(binary.LittleEndian.Uint32(c.Code[at+1:])) != c.Number {
		return platform.CallPatch{}, false
	}
	return finishMov(c, entry, at, movLen)
}

func finishMov(c platform.CallSite, entry uint64, at, length int) (platform.CallPatch, bool) {
	t := trampoline{at: uint64(c.Trampoline), entry: entry}
	t.bytes(c.Code[at : at+length]...)
	t.leaRCX(addrOf(&c, c.After))
	t.enter()
	return t.finish(addrOf(&c, at), addrOf(&c, c.After))
}

// patchCmp is pattern B.
func patchCmp(c platform.CallSite, entry uint64) (platform.CallPatch, bool) {
	at := c.After - syscallLen
	end := c.After + cmpLen
	if !c.Alone || end > len(c.Code) || c.Code[c.After] != 0x48 || c.Code[c.After+1] != 0x3d {
		return platform.CallPatch{}, false
	}
	if jumpsInto(c.Code, c.After, end) {
		return platform.CallPatch{}, false
	}
	t := trampoline{at: uint64(c.Trampoline), entry: entry}
	const head = 7 + 13 // leaRCX and enter
	back := t.at + head + syscallLen
	t.leaRCX(back)
	t.enter()
	t.bytes(0x0f, 0x05)
	t.bytes(c.Code[c.After:end]...)
	t.jmp(addrOf(&c, end))
	return t.finish(addrOf(&c, at), back)
}

// jumpsInto reports whether any bytes of code could be a jump or call to
// [lo, hi). They are looked at from every offset, whether an instruction begins
// there or not, so that nothing is missed.
func jumpsInto(code []byte, lo, hi int) bool {
	hits := func(target int) bool { return target >= lo && target < hi }
	near := func(i int) bool { // rel32 at i
		return i+4 <= len(code) && hits(i+4+int(int32(binary.LittleEndian.Uint32(code[i:]))))
	}
	for i, b := range code {
		switch {
		case b == 0xe8 || b == 0xe9:
			if near(i + 1) {
				return true
			}
		case b == 0x0f && i+1 < len(code) && code[i+1]&0xf0 == 0x80:
			if near(i + 2) {
				return true
			}
		case (b == 0xeb || b&0xf0 == 0x70 || b&0xfc == 0xe0) && i+1 < len(code):
			if hits(i + 2 + int(int8(code[i+1]))) {
				return true
			}
		}
	}
	return false
}

// trampoline is code that is put together for the address at.
type trampoline struct {
	at     uint64
	entry  uint64 // of the channel code
	buf    [trampolineLen]byte
	n      int
	failed bool // something is out of reach
}

func (t *trampoline) bytes(b ...byte) { t.n += copy(t.buf[t.n:], b) }

// rel32 appends the distance from behind itself to target.
func (t *trampoline) rel32(target uint64) {
	d := int64(target - (t.at + uint64(t.n) + 4))
	if d != int64(int32(d)) {
		t.failed = true
	}
	binary.LittleEndian.PutUint32(t.buf[t.n:], uint32(d))
	t.n += 4
}

// leaRCX is LEA target(%rip), %rcx: what SYSCALL leaves in RCX.
func (t *trampoline) leaRCX(target uint64) {
	t.bytes(0x48, 0x8d, 0x0d)
	t.rel32(target)
}

// enter goes to the stub's entry by R11, which SYSCALL overwrites as well.
func (t *trampoline) enter() {
	t.bytes(0x49, 0xbb)
	binary.LittleEndian.PutUint64(t.buf[t.n:], t.entry)
	t.n += 8
	t.bytes(0x41, 0xff, 0xe3)
}

func (t *trampoline) jmp(target uint64) {
	t.bytes(0xe9)
	t.rel32(target)
}

// finish makes the patch: a jump to the trampoline at site. The call that is in
// progress returns to back.
func (t *trampoline) finish(site, back uint64) (platform.CallPatch, bool) {
	d := int64(t.at - (site + jmpLen))
	if t.failed || d != int64(int32(d)) {
		return platform.CallPatch{}, false
	}
	p := platform.CallPatch{
		Addr: hostarch.Addr(site), Trampoline: append([]byte(nil), t.buf[:t.n]...), Return: hostarch.Addr(back),
	}
	p.Code[0] = 0xe9
	binary.LittleEndian.PutUint32(p.Code[1:], uint32(d))
	return p, true
}
