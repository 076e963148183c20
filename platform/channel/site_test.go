package channel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

var (
	syscallInsn = []byte{0x0f, 0x05}
	cmpInsn     = []byte{0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff} // cmp $-4095, %rax
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// rel returns the target of a rel32 that ends at end.
func rel(b []byte, end uint64) uint64 {
	return end + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
}

const (
	entryCall = 0x7ffffff00800
	textAt    = 0x401000
	trampAt   = 0x3f0000
)

func site(code []byte, after int, nr uint64) platform.CallSite {
	return platform.CallSite{Addr: textAt, Code: code, After: after, Number: nr, Trampoline: trampAt, Alone: true}
}

// TestPatchMov: pattern A keeps the SYSCALL and returns behind it.
func TestPatchMov(t *testing.T) {
	code := join([]byte{0x90}, []byte{0xb8, 0x27, 0, 0, 0}, syscallInsn, []byte{0xc3})
	p, ok := PatchCall(site(code, 8, 0x27), entryCall)
	if !ok {
		t.Fatal("not patched")
	}
	if p.Return != textAt+8 || p.Addr != textAt+1 || p.Code[0] != 0xe9 || rel(p.Code[1:], textAt+1+5) != trampAt {
		t.Errorf("patch %#x % x", p.Addr, p.Code)
	}
	tr := p.Trampoline
	if !bytes.Equal(tr[:5], code[1:6]) {
		t.Errorf("the MOV is not done: % x", tr)
	}
	if !bytes.Equal(tr[5:8], []byte{0x48, 0x8d, 0x0d}) || rel(tr[8:], trampAt+12) != textAt+8 {
		t.Errorf("RCX is not the return address: % x", tr)
	}
	if binary.LittleEndian.Uint64(tr[14:]) != entryCall || len(tr) != 25 {
		t.Errorf("does not go to the entry: % x", tr)
	}
}

// TestPatchLongMov: so does the MOV to RAX.
func TestPatchLongMov(t *testing.T) {
	code := join([]byte{0x48, 0xc7, 0xc0, 15, 0, 0, 0}, syscallInsn)
	p, ok := PatchCall(site(code, 9, 15), entryCall)
	if !ok || p.Addr != textAt || rel(p.Code[1:], textAt+5) != trampAt || p.Return != textAt+9 || !bytes.Equal(p.Trampoline[:7], code[:7]) {
		t.Errorf("%v, %+v", ok, p)
	}
}

// TestPatchCmp: pattern B does the CMP itself, behind a SYSCALL.
func TestPatchCmp(t *testing.T) {
	code := join([]byte{0x31, 0xc0}, syscallInsn, cmpInsn, []byte{0x77, 0x10, 0xc3})
	p, ok := PatchCall(site(code, 4, 0), entryCall)
	if !ok {
		t.Fatal("not patched")
	}
	if p.Addr != textAt+2 || rel(p.Code[1:], textAt+2+5) != trampAt {
		t.Errorf("patch %#x % x", p.Addr, p.Code)
	}
	busy := site(code, 4, 0)
	busy.Alone = false
	if _, ok := PatchCall(busy, entryCall); ok {
		t.Error("patched under others")
	}
	tr := p.Trampoline
	ret := rel(tr[3:], trampAt+7) - trampAt
	if !bytes.Equal(tr[ret-2:ret], syscallInsn) || !bytes.Equal(tr[ret:ret+6], cmpInsn) {
		t.Errorf("RCX does not point between SYSCALL and CMP: % x", tr)
	}
	if p.Return != hostarch.Addr(trampAt+ret) {
		t.Errorf("the call returns to %#x", p.Return)
	}
	if tr[ret+6] != 0xe9 || rel(tr[ret+7:], trampAt+ret+11) != textAt+10 {
		t.Errorf("does not go on behind the CMP: % x", tr)
	}
}

// TestRefused: what could be something else is left alone.
func TestRefused(t *testing.T) {
	mov := []byte{0xb8, 0x27, 0, 0, 0}
	for _, tc := range []struct {
		name  string
		code  []byte
		after int
		nr    uint64
	}{
		{"no syscall", join([]byte{0x90}, mov, []byte{0x90, 0x90}), 8, 0x27},
		{"another number", join([]byte{0x90}, mov, syscallInsn, []byte{0xc3}), 8, 0x28},
		{"a longer MOV", join([]byte{0x41}, mov, syscallInsn, []byte{0xc3}), 8, 0x27},
		{"at the beginning", join(mov, syscallInsn, []byte{0xc3}), 7, 0x27},
		{"cut off", join(syscallInsn, cmpInsn[:4]), 2, 0},
		{"nothing known", join([]byte{0x90, 0x90, 0x90}, syscallInsn, []byte{0xc3, 0x90, 0x90, 0x90, 0x90, 0x90}), 5, 0},
		{"a short jump to the CMP", join([]byte{0xeb, 0x02}, syscallInsn, cmpInsn), 4, 0},
		{"a conditional jump back to the CMP", join(syscallInsn, cmpInsn, []byte{0x74, 0xf8}), 2, 0},
		{"a near jump to the CMP", join([]byte{0xe9, 2, 0, 0, 0}, syscallInsn, cmpInsn), 7, 0},
		{"a near conditional jump to the CMP", join([]byte{0x0f, 0x84, 2, 0, 0, 0}, syscallInsn, cmpInsn), 8, 0},
		{"a jump into the CMP", join(syscallInsn, cmpInsn, []byte{0xeb, 0xf9}), 2, 0},
		{"outside", []byte{0x0f}, 2, 0},
		{"negative", []byte{0x0f, 0x05}, -1, 0},
	} {
		if p, ok := PatchCall(site(tc.code, tc.after, tc.nr), entryCall); ok {
			t.Errorf("%s: patched as %+v", tc.name, p)
		}
	}
	far := site(join([]byte{0x90}, mov, syscallInsn), 8, 0x27)
	far.Trampoline = textAt + 3<<30
	if _, ok := PatchCall(far, entryCall); ok {
		t.Error("patched with a trampoline out of reach")
	}
}

// FuzzPatchCall: whatever the code is, a patch stays inside of it.
func FuzzPatchCall(f *testing.F) {
	f.Add(join([]byte{0x90, 0xb8, 1, 0, 0, 0}, syscallInsn), 8, uint64(1), uint64(trampAt))
	f.Add(join(syscallInsn, cmpInsn, []byte{0x77, 3}), 2, uint64(0), uint64(trampAt))
	f.Fuzz(func(t *testing.T, code []byte, after int, nr, tramp uint64) {
		c := site(code, after, nr)
		c.Trampoline = hostarch.Addr(tramp)
		p, ok := PatchCall(c, entryCall)
		if !ok {
			return
		}
		if p.Addr < textAt || uint64(p.Addr)+uint64(len(p.Code)) > textAt+uint64(len(code)) {
			t.Fatalf("a patch outside of the code: %#x", p.Addr)
		}
		if len(p.Trampoline) > platform.TrampolineSize || p.Code[0] != 0xe9 ||
			rel(p.Code[1:], uint64(p.Addr)+5) != tramp {
			t.Fatalf("%+v", p)
		}
	})
}
