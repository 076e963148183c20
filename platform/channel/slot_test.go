package channel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"runsc-lite/platform"
)

// TestCode holds the offsets in slot.go to the code.
func TestCode(t *testing.T) {
	code := Code()
	for _, tc := range []struct {
		name string
		at   int
		want []byte
	}{
		{"the entry: MOVQ SP, slotRSP(GS)", 0, []byte{0x65, 0x48, 0x89, 0x24, 0x25, 0xf0}},
		{"atSelf: MOVQ slotSelf(GS), SP", atSelf, []byte{0x65, 0x48, 0x8b, 0x24, 0x25, slotSelf}},
		{"atPushf: PUSHFQ", atPushf, []byte{0x9c}},
		{"atPushed: LEAQ 8(SP), SP", atPushed, []byte{0x48, 0x8d, 0x64, 0x24, 8}},
		{"atFact: JMP return", atFact, []byte{0xe9}},
		{"atCall: MOVQ AX, slotRAX(SP)", atCall, []byte{0x48, 0x89, 0x44, 0x24, 0xe8}},
		{"before atPosted: MOVL $Call, slotState(SP)", atPosted - 11, []byte{0xc7, 0x84, 0x24, slotState, 0, 0, 0, Call}},
		{"atLoad: MOVL $0, slotState(SP)", atLoad, []byte{0xc7, 0x84, 0x24, slotState, 0, 0, 0, 0, 0, 0, 0}},
		{"atXRstor: XRSTOR64 slotXSave(SP)", atXRstor, []byte{0x48, 0x0f, 0xae, 0xac, 0x24, 0, 8, 0, 0}},
		{"before atAnswered: IRETQ", atAnswered - 2, []byte{0x48, 0xcf}},
		{"before atReturn: MOVQ slotRCX(SP), CX", atReturn - 5, []byte{0x48, 0x8b, 0x4c, 0x24, slotRCX}},
		{"before atPopped: POPFQ", atPopped - 1, []byte{0x9d}},
		{"before atRestored: MOVQ slotRSP(GS), SP", atRestored - 9, []byte{0x65, 0x48, 0x8b, 0x24, 0x25, 0xf0}},
		{"atRestored: JMP CX", atRestored, []byte{0xff, 0xe1}},
	} {
		if got := code[tc.at : tc.at+len(tc.want)]; !bytes.Equal(got, tc.want) {
			t.Errorf("%s: % x at %#x", tc.name, got, tc.at)
		}
	}
	if to := atFact + 5 + int(int32(binary.LittleEndian.Uint32(code[atFact+1:]))); to != atReturn {
		t.Errorf("a fact goes on at %#x", to)
	}
	if !bytes.Equal(code[codeEnd:], make([]byte, CodeLen-codeEnd)) {
		t.Error("something follows the code")
	}
}

func TestUnwind(t *testing.T) {
	s := make(Slot, Size)
	s.Init(0x7000, 1)
	s.put(slotRSP, 0x1111)
	s.put(slotRFLAGS, 0x2222)
	s.put(slotResult, 0x3333)
	s.put(slotRCX, 0x4444)
	now := platform.Registers{Rsp: 0x5555, Eflags: 0x6666, Rax: 0x77, Rcx: 0x8888, Rip: 1}
	for _, tc := range []struct {
		name                 string
		off                  uint64
		rip, rax, rsp, flags uint64
	}{
		{"entry", 0, 0x8886, 0x77, 0x5555, 0x6666},
		{"before the switch", atSelf, 0x8886, 0x77, 0x5555, 0x6666},
		{"before the push", atPushf, 0x8886, 0x77, 0x1111, 0x6666},
		{"pushed", atPushed, 0x8886, 0x77, 0x1111, 0x2222},
		{"a fact is there", atFact, 0x8888, 0x77, 0x1111, 0x2222},
		{"call", atCall, 0x8886, 0x77, 0x1111, 0x2222},
		{"answered", atPosted, 0x4444, 0x3333, 0x1111, 0x2222},
		{"returning", atReturn, 0x8888, 0x77, 0x1111, 0x2222},
		{"popped", atPopped, 0x8888, 0x77, 0x1111, 0x6666},
		{"restored", atRestored, 0x8888, 0x77, 0x5555, 0x6666},
	} {
		r := now
		if fp, ok := s.Unwind(&r, tc.off); fp || !ok || r.Rip != tc.rip || r.Rax != tc.rax || r.Rsp != tc.rsp || r.Eflags != tc.flags {
			t.Errorf("%s: %+v", tc.name, r)
		}
	}
	if _, ok := s.Unwind(&now, codeEnd); ok {
		t.Error("unwound from behind the code")
	}
	stored := platform.Registers{Rip: 9, Rsp: 8, Eflags: 7, Rax: 6, R11: 5, R15: 4, Orig_rax: ^uint64(0)}
	s.Store(&stored)
	s.StoreFP(make([]byte, 100))
	for _, tc := range []struct {
		off   uint64
		state uint32
		fp    bool
	}{{atPosted, Load, true}, {atLoad, Load, true}, {atXRstor, Guest, true}, {atXRstor + 9, Guest, false}, {atAnswered - 2, Guest, false}} {
		s.SetState(tc.state)
		r := now
		if fp, ok := s.Unwind(&r, tc.off); !ok || fp != tc.fp || r != stored {
			t.Errorf("loading, at %#x: %v, %+v", tc.off, fp, r)
		}
	}
}

func TestFacts(t *testing.T) {
	s := make(Slot, Size)
	s.Init(0x7000, 1)
	s.SetFact(39, 0, 1234, true)
	if i := s[Base+slotFacts+39]; i != 1 || s.get(504+8*int(i)) != 1234 {
		t.Errorf("fact %d: %d", i, s.get(504+8*int(i)))
	}
	s.SetFact(39, 0, 0, false)
	s.SetFact(-1, 0, 1, true)
	s.SetFact(256, 0, 1, true)
	s.SetFact(1, maxFacts, 1, true)
	for _, b := range s[Base+slotFacts : Base+slotFacts+256] {
		if b != 0 {
			t.Fatal("a fact is left")
		}
	}
}
