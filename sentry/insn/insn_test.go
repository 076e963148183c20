package insn

import (
	"encoding/hex"
	"testing"
)

const (
	rsp  = 0x7000
	rdi  = 0x5000
	some = 0x1234 // an address that no implied operand has
)

func TestWrites(t *testing.T) {
	for _, c := range []struct {
		text, code string
		addr       uint64
		want       bool
	}{
		{"mov [rax], ecx", "8908", some, true},
		{"mov ecx, [rax]", "8b08", some, false},
		{"mov byte [rax], 1", "c60001", some, true},
		{"mov r9, [r10]", "4d8b0a", some, false},
		{"mov [r10], r9", "4d890a", some, true},
		{"mov [moffs], al", "a23412000000000000", some, true},
		{"mov al, [moffs]", "a03412000000000000", some, false},
		{"add [rax], ecx", "0108", some, true},
		{"add ecx, [rax]", "0308", some, false},
		{"cmp [rax], ecx", "3908", some, false},
		{"xor [rax], cl", "3008", some, true},
		{"cmp dword [rax], 1", "833801", some, false},
		{"and dword [rax], 1", "832001", some, true},
		{"lock add [rax], ecx", "f00108", some, true},
		{"test byte [rax], 1", "f60001", some, false},
		{"not dword [rax]", "f710", some, true},
		{"neg dword [rax]", "f718", some, true},
		{"div dword [rax]", "f730", some, false},
		{"inc dword [rax]", "ff00", some, true},
		{"dec byte [rax]", "fe08", some, true},
		{"shl dword [rax], 1", "d120", some, true},
		{"xchg [rax], ecx", "8708", some, true},
		{"lea", "8d08", some, false},
		{"push rax", "50", rsp - 8, true},
		{"push [rax], the operand", "ff30", some, false},
		{"push [rax], the stack", "ff30", rsp - 8, true},
		{"call [rax], the operand", "ff10", some, false},
		{"call [rax], the stack", "ff10", rsp - 1, true},
		{"call rax", "ffd0", rsp - 8, true},
		{"call", "e800000000", rsp - 8, true},
		{"jmp [rax]", "ff20", some, false},
		{"ret", "c3", rsp, false},
		{"pop rax", "58", rsp, false},
		{"pop [rax], the operand", "8f00", some, true},
		{"pop [rax], the stack", "8f00", rsp + 7, false},
		{"rep movsb, from", "f3a4", some, false},
		{"rep movsb, to", "f3a4", rdi, true},
		{"rep movsq, to", "f348a5", rdi + 7, true},
		{"rep stosb", "f3aa", rdi, true},
		{"repne scasb", "f2ae", rdi, false},
		{"lodsb", "ac", some, false},
		{"movups [rax], xmm0", "0f1100", some, true},
		{"movups xmm0, [rax]", "0f1000", some, false},
		{"movsd [rax], xmm0", "f20f1100", some, true},
		{"movdqa [rax], xmm0", "660f7f00", some, true},
		{"movdqa xmm0, [rax]", "660f6f00", some, false},
		{"movd [rax], xmm0", "660f7e00", some, true},
		{"movq xmm0, [rax]", "f30f7e00", some, false},
		{"movq [rax], xmm0", "660fd600", some, true},
		{"movntdq [rax], xmm0", "660fe700", some, true},
		{"maskmovdqu", "660ff7c1", rdi, true},
		{"sete [rax]", "0f9400", some, true},
		{"cmovz ecx, [rax]", "0f4408", some, false},
		{"bts [rax], ecx", "0fab08", some, true},
		{"bt [rax], ecx", "0fa308", some, false},
		{"bt dword [rax], 1", "0fba2001", some, false},
		{"btr dword [rax], 1", "0fba3001", some, true},
		{"lock cmpxchg [rax], ecx", "f00fb108", some, true},
		{"lock cmpxchg16b [rax]", "f0480fc708", some, true},
		{"lock xadd [rax], ecx", "f00fc108", some, true},
		{"movnti [rax], ecx", "0fc308", some, true},
		{"movzx ecx, byte [rax]", "0fb608", some, false},
		{"fxsave [rax]", "0fae00", some, true},
		{"fxrstor [rax]", "0fae08", some, false},
		{"ldmxcsr [rax]", "0fae10", some, false},
		{"stmxcsr [rax]", "0fae18", some, true},
		{"xsave [rax]", "0fae20", some, true},
		{"xrstor [rax]", "0fae28", some, false},
		{"clflush [rax]", "0fae38", some, false},
		{"xsavec [rax]", "0fc720", some, true},
		{"fld dword [rax]", "d900", some, false},
		{"fstp dword [rax]", "d918", some, true},
		{"fnstcw [rax]", "d938", some, true},
		{"fldcw [rax]", "d928", some, false},
		{"fstp tbyte [rax]", "db38", some, true},
		{"fld tbyte [rax]", "db28", some, false},
		{"fistp qword [rax]", "df38", some, true},
		{"fild qword [rax]", "df28", some, false},
		{"movbe [rax], ecx", "0f38f108", some, true},
		{"movbe ecx, [rax]", "0f38f008", some, false},
		{"crc32 ecx, dword [rax]", "f20f38f108", some, false},
		{"pextrd [rax], xmm0, 1", "660f3a160001", some, true},
		{"vmovdqu [rax], ymm0", "c5fe7f00", some, true},
		{"vmovdqu ymm0, [rax]", "c5fe6f00", some, false},
		{"vmovaps [r8], xmm0", "c4c1782900", some, true},
		{"vpmaskmovd [rax], ymm0, ymm1", "c4e27d8e08", some, true},
		{"vpmaskmovd ymm1, ymm0, [rax]", "c4e27d8c08", some, false},
		{"vextracti128 [rax], ymm0, 1", "c4e37d390001", some, true},
		{"vmovdqu64 [rax], zmm0", "62f1fe487f00", some, true},
		{"vmovdqu64 zmm0, [rax]", "62f1fe486f00", some, false},
		{"vpmovqd [rax], zmm0", "62f27e483500", some, true},
		{"mov ecx, ecx", "89c9", some, false},
		{"only prefixes", "666666", some, false},
		{"more prefixes than an instruction has", "666666666666666666666666666666668908", some, false},
		{"cut off", "0f", some, false},
		{"nothing", "", some, false},
	} {
		code, err := hex.DecodeString(c.code)
		if err != nil {
			t.Fatal(err)
		}
		if got := Writes(code, Regs{RSP: rsp, RDI: rdi}, c.addr); got != c.want {
			t.Errorf("%s: writes: %v", c.text, got)
		}
	}
}

func TestIsX87(t *testing.T) {
	for code, want := range map[string]bool{"9b": true, "d8c1": true, "dec9": true, "f20f5ec1": false, "c5fb5ec1": false, "66d9c0": true, "": false} {
		b, _ := hex.DecodeString(code)
		if got := IsX87(b); got != want {
			t.Errorf("%s: %v", code, got)
		}
	}
}

// FuzzWrites holds that no text breaks it, and that what follows the longest
// instruction has no influence.
func FuzzWrites(f *testing.F) {
	f.Add([]byte{0xc4, 0xe2, 0x7d, 0x8e, 0x08}, uint64(some))
	f.Add([]byte{0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x00}, uint64(rdi))
	f.Fuzz(func(t *testing.T, code []byte, addr uint64) {
		r := Regs{RSP: rsp, RDI: rdi}
		got := Writes(code, r, addr)
		IsX87(code)
		if len(code) >= Max && got != Writes(code[:Max], r, addr) {
			t.Error("what comes behind the instruction changes it")
		}
	})
}
