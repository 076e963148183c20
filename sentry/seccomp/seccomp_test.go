package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func stmt(code uint16, k uint32) instruction { return instruction{code: code, k: k} }

func encode(p ...instruction) (b []byte) {
	for _, in := range p {
		b = binary.LittleEndian.AppendUint16(b, in.code)
		b = append(b, in.jt, in.jf)
		b = binary.LittleEndian.AppendUint32(b, in.k)
	}
	return b
}

func mustCompile(t *testing.T, p ...instruction) *Filter {
	t.Helper()
	f, err := Compile(encode(p...))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCompileRefuses(t *testing.T) {
	ret := stmt(retK, Allow)
	for _, c := range []struct {
		name string
		prog []byte
	}{
		{"nothing", nil},
		{"half an instruction", encode(ret)[:4]},
		{"too long", make([]byte, (MaxInstructions+1)*InstructionSize)},
		{"no return", encode(stmt(ldImm, 1))},
		{"load of a half word", encode(stmt(0x28, 0), ret)},
		{"load of a byte", encode(stmt(0x30, 0), ret)},
		{"indirect load", encode(stmt(0x40, 0), ret)},
		{"load of the header length", encode(stmt(0xb1, 0), ret)},
		{"unaligned load", encode(stmt(ldAbs, 2), ret)},
		{"load behind the data", encode(stmt(ldAbs, dataSize), ret)},
		{"modulo", encode(stmt(0x94, 3), ret)},
		{"division by zero", encode(stmt(aluDiv, 0), ret)},
		{"shift by 32", encode(stmt(aluLsh, 32), ret)},
		{"memory out of bounds", encode(stmt(st, memWords), ret)},
		{"load of memory that nobody wrote", encode(stmt(ldMem, 1), ret)},
		{"load of memory that one branch wrote", encode(
			instruction{jeq, 0, 1, 7}, stmt(st, 1), stmt(ldMem, 1), ret)},
		{"jump out", encode(stmt(ja, 1), ret)},
		{"conditional jump out", encode(instruction{jeq, 0, 1, 0}, ret)},
		{"negation of X", encode(stmt(aluNeg|srcX, 0), ret)},
		{"return of X", encode(stmt(0x0e, 0))},
	} {
		if _, err := Compile(c.prog); err != unix.EINVAL {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestRun has a program for each operation, which leaves its result in A.
func TestRun(t *testing.T) {
	d := MakeData(39, 0x1122334455667788, &[6]uint64{0xaaaaaaaabbbbbbbb, 1, 2, 3, 4, 0x0102030405060708})
	for _, c := range []struct {
		name string
		prog []instruction
		want uint32
	}{
		{"nr", []instruction{stmt(ldAbs, 0)}, 39},
		{"arch", []instruction{stmt(ldAbs, 4)}, ArchX86_64},
		{"ip low", []instruction{stmt(ldAbs, 8)}, 0x55667788},
		{"ip high", []instruction{stmt(ldAbs, 12)}, 0x11223344},
		{"arg 0 high", []instruction{stmt(ldAbs, 20)}, 0xaaaaaaaa},
		{"arg 5 low", []instruction{stmt(ldAbs, 56)}, 0x05060708},
		{"length", []instruction{stmt(ldLen, 0)}, 64},
		{"length to X", []instruction{stmt(ldxLen, 9), stmt(txa, 0)}, 64},
		{"memory", []instruction{stmt(ldImm, 7), stmt(st, 15), stmt(ldImm, 0), stmt(ldMem, 15)}, 7},
		{"memory of X", []instruction{stmt(ldxImm, 8), stmt(stx, 0), stmt(ldxImm, 0), stmt(ldxMem, 0), stmt(txa, 0)}, 8},
		{"tax", []instruction{stmt(ldImm, 5), stmt(tax, 0), stmt(ldImm, 1), stmt(aluAdd|srcX, 0)}, 6},
		{"sub", []instruction{stmt(ldImm, 1), stmt(aluSub, 2)}, ^uint32(0)},
		{"mul", []instruction{stmt(ldImm, 1<<31), stmt(aluMul, 3)}, 1 << 31},
		{"div", []instruction{stmt(ldImm, 7), stmt(aluDiv, 2)}, 3},
		{"or, and, xor", []instruction{stmt(ldImm, 12), stmt(aluOr, 3), stmt(aluAnd, 6), stmt(aluXor, 1)}, 7},
		{"shifts", []instruction{stmt(ldImm, 3), stmt(aluLsh, 31), stmt(aluRsh, 30)}, 2},
		{"shift by X counts five bits", []instruction{stmt(ldImm, 3), stmt(ldxImm, 33), stmt(aluLsh|srcX, 0)}, 6},
		{"neg", []instruction{stmt(ldImm, 1), stmt(aluNeg, 0)}, ^uint32(0)},
		{"division by X of 0 returns 0", []instruction{stmt(ldImm, 1), stmt(ldxImm, 0), stmt(aluDiv|srcX, 0), stmt(ldImm, 9)}, 0},
		{"ja", []instruction{stmt(ldImm, 1), stmt(ja, 1), stmt(ldImm, 2)}, 1},
		{"jeq", []instruction{stmt(ldImm, 1), {jeq, 0, 1, 1}, stmt(aluAdd, 10), stmt(aluAdd, 100)}, 111},
		{"jgt is unsigned", []instruction{stmt(ldImm, 0xffffffff), {jgt, 1, 0, 1}, stmt(aluAdd, 10)}, 0xffffffff},
		{"jge", []instruction{stmt(ldImm, 1), {jge, 1, 0, 1}, stmt(aluAdd, 10)}, 1},
		{"jset", []instruction{stmt(ldImm, 5), {jset, 1, 0, 2}, stmt(aluAdd, 10)}, 15},
		{"jump by X", []instruction{stmt(ldImm, 5), stmt(ldxImm, 5), {jeq | srcX, 1, 0, 0}, stmt(aluAdd, 10)}, 5},
	} {
		f := mustCompile(t, append(c.prog, stmt(retA, 0))...)
		if got, ok := f.prog.run(&d, knownAll); got != c.want || !ok {
			t.Errorf("%s: got %#x, want %#x", c.name, got, c.want)
		}
	}
}

func TestChain(t *testing.T) {
	only := func(nr, action uint32) *Filter {
		return mustCompile(t, stmt(ldAbs, 0), instruction{jeq, 0, 1, nr}, stmt(retK, action), stmt(retK, Allow))
	}
	first := only(1, Errno|5)
	second, err := only(1, Errno|6).After(first)
	if err != nil {
		t.Fatal(err)
	}
	third, err := only(2, KillProcess|1).After(second)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		nr, action uint32
		data       uint16
	}{
		{1, Errno, 6}, // of two that are the same, the newer
		{2, KillProcess, 1},
		{3, Allow, 0},
	} {
		d := MakeData(c.nr, 0, &[6]uint64{})
		if action, data, _ := third.Run(&d); action != c.action || data != c.data {
			t.Errorf("call %d: %#x, %d", c.nr, action, data)
		}
		if third.Allows(uint64(c.nr)) != (c.action == Allow) {
			t.Errorf("call %d: allowed always is wrong", c.nr)
		}
	}
	if third.Allows(cachedCalls) || third.Allows(1<<32|3) {
		t.Error("a number that there is not is allowed always")
	}
	if third.Count() != 3 || (*Filter)(nil).Count() != 0 {
		t.Error("count")
	}
	if !third.Includes(first) || first.Includes(third) || !first.Includes(nil) || third.Includes(only(1, Trap)) {
		t.Error("includes")
	}
	args := mustCompile(t, stmt(ldAbs, 16), stmt(retK, Allow))
	if args.Allows(5) {
		t.Error("a filter that reads arguments is taken for one that does not")
	}
}

func TestPathLimit(t *testing.T) {
	long := make([]instruction, MaxInstructions)
	for i := range long {
		long[i] = stmt(retK, Allow)
	}
	var top *Filter
	for i := range 3 {
		f, err := mustCompile(t, long...).After(top)
		if err != nil {
			t.Fatalf("filter %d: %v", i, err)
		}
		top = f
	}
	if _, err := mustCompile(t, long...).After(top); err != unix.ENOMEM {
		t.Errorf("%v", err)
	}
	// 3 × (2 × 4096 + 3 + 4) are there.
	if _, err := mustCompile(t, long[:4085]...).After(top); err != unix.ENOMEM {
		t.Errorf("%v", err)
	}
	if _, err := mustCompile(t, long[:4084]...).After(top); err != nil {
		t.Errorf("%v", err)
	}
}

// FuzzCompile runs whatever is taken: it ends, inside the data.
func FuzzCompile(f *testing.F) {
	f.Add(encode(stmt(ldAbs, 0), instruction{jeq, 0, 1, 39}, stmt(retK, Errno|1), stmt(retA, 0)))
	f.Add(encode(stmt(ldImm, 7), stmt(st, 3), stmt(ldMem, 3), stmt(aluDiv|srcX, 0), stmt(retA, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		filter, err := Compile(b)
		if err != nil {
			return
		}
		for nr := range uint32(3) {
			d := MakeData(nr, uint64(nr), &[6]uint64{1, 2, 3})
			action, _, _ := filter.Run(&d)
			if action&^actionMask != 0 {
				t.Errorf("action %#x", action)
			}
			if filter.Allows(uint64(nr)) && action != Allow {
				t.Errorf("call %d is allowed always, and %#x", nr, action)
			}
		}
	})
}

func BenchmarkRun(b *testing.B) {
	prog := []instruction{stmt(ldAbs, 4), {jeq, 1, 0, ArchX86_64}, stmt(retK, KillProcess), stmt(ldAbs, 0)}
	for nr := range uint32(100) {
		prog = append(prog, instruction{jeq, 0, 1, 1000 + nr}, stmt(retK, Allow))
	}
	f, err := Compile(encode(append(prog, stmt(retK, Errno|1))...))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		d := MakeData(1, 0, &[6]uint64{})
		f.Run(&d)
	}
}
