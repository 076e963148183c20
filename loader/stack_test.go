package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/sentry/clock"
)

// TestStack checks all that a program finds on its stack.
func TestStack(t *testing.T) {
	w := newWorld(t)
	w.add("/prog", newProgram().bytes())
	v, err := NewVDSO(w.mem, clock.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, tt := range []struct {
		argv, env []string
		secure    bool
	}{
		{[]string{"prog"}, nil, false},
		{[]string{"prog", "", "a b", strings.Repeat("x", 5000)}, []string{"", "A=1", "A=2", "no equals sign"}, true},
		{slices.Repeat([]string{"y"}, 2000), slices.Repeat([]string{"LONG=" + strings.Repeat("z", 100)}, 3000), false},
	} {
		r := w.request("/prog", tt.argv...)
		r.Env, r.Secure, r.VDSO = tt.env, tt.secure, v
		img, err := w.load(r)
		if err != nil {
			t.Fatal(err)
		}
		got := readStack(t, r.Space, img)
		if !slices.Equal(got.argv, tt.argv) || !slices.Equal(got.env, tt.env) || !slices.Equal(img.Argv, tt.argv) {
			t.Errorf("argv %q, env %q", got.argv, got.env)
		}
		secure := uint64(0)
		if tt.secure {
			secure = 1
		}
		for tag, want := range map[uint64]uint64{
			atPageSz: 4096, atClkTck: 100, atPhdr: progBase + ehdrSize, atPhent: phdrSize, atPhnum: 1, atBase: 0,
			atFlags: 0, atEntry: progBase + codeAt, atUID: 1, atEUID: 2, atGID: 3, atEGID: 4, atSecure: secure,
		} {
			if v, ok := got.aux[tag]; !ok || v != want {
				t.Errorf("auxiliary value %d is %#x, want %#x", tag, v, want)
			}
		}
		for tag, want := range map[uint64]string{atExecFn: "/prog", atPlatform: "x86_64"} {
			if s, err := r.Space.CopyInString(hostarch.Addr(got.aux[tag]), 100); s != want || err != nil {
				t.Errorf("auxiliary string %d is %q, %v", tag, s, err)
			}
		}
		var magic [4]byte
		if r.Space.CopyIn(hostarch.Addr(got.aux[atSysinfoEhdr]), magic[:]); string(magic[:]) != elf.ELFMAG {
			t.Errorf("the vDSO begins with %q", magic)
		}
		// The stack ends with the path, and then 8 zero bytes.
		top := img.Stack
		for _, a := range r.Space.Areas() {
			if a.Name == "[stack]" {
				top = a.End
				if a.Prot != hostarch.ReadWrite || !a.GrowsDown {
					t.Errorf("%+v", a)
				}
				if spare := img.Stack - a.Start; spare < stackSpare-stackJitter || spare > stackSpare+stackJitter {
					t.Errorf("%d bytes below the stack pointer", spare)
				}
			}
		}
		end := make([]byte, len("/prog")+1+8)
		if _, err := r.Space.CopyIn(top-hostarch.Addr(len(end)), end); err != nil || string(end) != "/prog\x00"+string(make([]byte, 8)) {
			t.Errorf("the stack ends with %q, %v", end, err)
		}
		// What /proc shows.
		if len(img.Auxv)%16 != 0 || !bytes.HasSuffix(img.Auxv, make([]byte, 16)) || bytes.Count(img.Auxv, nil) < 20*16 {
			t.Errorf("auxv of %d bytes", len(img.Auxv))
		}
		for name, x := range map[string]struct {
			at   hostarch.AddrRange
			want []string
		}{"arguments": {img.Args, tt.argv}, "environment": {img.Env, tt.env}} {
			b := make([]byte, x.at.Length())
			if _, err := r.Space.CopyIn(x.at.Start, b); err != nil {
				t.Fatal(err)
			}
			want := ""
			for _, s := range x.want {
				want += s + "\x00"
			}
			if string(b) != want {
				t.Errorf("the %s lie at %v: %q", name, x.at, b)
			}
		}
	}
}

// TestAuxv compares which values there are, and those that are the processor's,
// with what the host's kernel gives.
func TestAuxv(t *testing.T) {
	w := newWorld(t)
	w.add("/prog", newProgram().bytes())
	v, err := NewVDSO(w.mem, clock.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r := w.request("/prog", "prog")
	r.VDSO = v
	img, err := w.load(r)
	if err != nil {
		t.Fatal(err)
	}
	host, err := unix.Auxv()
	if err != nil {
		t.Skip(err)
	}
	at := img.Auxv
	for _, x := range host {
		tag := uint64(x[0])
		if tag == 27 || tag == 28 {
			continue // of rseq(2), which there is not
		}
		if len(at) < 16 {
			t.Fatalf("the host has the value %d too", tag)
		}
		got, value := binary.LittleEndian.Uint64(at), binary.LittleEndian.Uint64(at[8:])
		at = at[16:]
		if got != tag {
			t.Fatalf("the value %d is where the host has %d", got, tag)
		}
		switch tag {
		case atHWCap, atHWCap2, atPageSz, atClkTck, atFlags, atMinSigStkSz, atPhent:
			if value != uint64(x[1]) {
				t.Errorf("the value %d is %#x, and the host's %#x", tag, value, x[1])
			}
		}
	}
	if binary.LittleEndian.Uint64(at) != atNull || len(at) != 16 {
		t.Errorf("%d more bytes than the host has", len(at)-16)
	}
}

// TestRandomBytes checks AT_RANDOM, which must differ from program to program.
func TestRandomBytes(t *testing.T) {
	w := newWorld(t)
	w.add("/prog", newProgram().bytes())
	seen := map[[16]byte]bool{}
	for range 4 {
		r := w.request("/prog", "prog")
		img, err := w.load(r)
		if err != nil {
			t.Fatal(err)
		}
		var b [16]byte
		if _, err := r.Space.CopyIn(hostarch.Addr(readStack(t, r.Space, img).aux[atRandom]), b[:]); err != nil || b == [16]byte{} {
			t.Errorf("%x, %v", b, err)
		}
		seen[b] = true
	}
	if len(seen) != 4 {
		t.Errorf("only %d of 4 are different", len(seen))
	}
}

// TestExecutableStack checks PT_GNU_STACK.
func TestExecutableStack(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(p *program)
		want   bool
	}{
		"without":    {func(p *program) {}, false},
		"executable": {func(p *program) { p.segment(elf.PF_R|elf.PF_W|elf.PF_X, 0, 0, 0, 0).Type = uint32(elf.PT_GNU_STACK) }, true},
		"not":        {func(p *program) { p.segment(elf.PF_R|elf.PF_W, 0, 0, 0, 0).Type = uint32(elf.PT_GNU_STACK) }, false},
	} {
		w := newWorld(t)
		p := newProgram()
		change(p, tt.change)
		w.add("/prog", p.bytes())
		r := w.request("/prog", "prog")
		img, err := w.load(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := executable(r.Space, img.Stack); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func change(p *program, fn func(*program)) { fn(p) }

// withStackLimit sets RLIMIT_STACK for what this process executes.
func withStackLimit(t *testing.T, limit uint64, fn func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_STACK, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Skipf("no stack limit of %d here: %v", limit, err)
	}
	defer unix.Setrlimit(unix.RLIMIT_STACK, &old)
	fn()
}

// TestArgumentLimits finds by trying how much the host takes, to the byte, and
// checks that it is as much here.
func TestArgumentLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, newProgram().bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.add(path, newProgram().bytes())
	for name, tt := range map[string]struct {
		limit uint64
		make  func(n int) (argv, env []string)
		most  int
	}{
		"one argument": {8 << 20, func(n int) (argv, env []string) {
			return []string{path, strings.Repeat("x", n)}, nil
		}, 200_000},
		"one variable": {8 << 20, func(n int) (argv, env []string) {
			return []string{path}, []string{"A=" + strings.Repeat("x", n)}
		}, 200_000},
		"bytes": {8 << 20, func(n int) (argv, env []string) {
			argv, env = []string{path}, []string{"B=" + strings.Repeat("x", n%1000)}
			for range n / 1000 {
				argv = append(argv, strings.Repeat("y", 1000))
			}
			return argv, env
		}, 3_000_000},
		"pointers": {8 << 20, func(n int) (argv, env []string) {
			return append([]string{path}, make([]string, n)...), nil
		}, 400_000},
		"bytes, small stack": {256 << 10, func(n int) (argv, env []string) {
			return []string{path, strings.Repeat("x", n/2), strings.Repeat("x", n-n/2)}, nil
		}, 300_000},
		"bytes, middle stack": {1 << 20, func(n int) (argv, env []string) {
			argv = []string{path}
			for ; n > 100_000; n -= 100_000 {
				argv = append(argv, strings.Repeat("y", 100_000))
			}
			return append(argv, strings.Repeat("y", n)), nil
		}, 400_000},
		"bytes, large stack": {1 << 30, func(n int) (argv, env []string) {
			argv = []string{path}
			for ; n > 100_000; n -= 100_000 {
				argv = append(argv, strings.Repeat("y", 100_000))
			}
			return append(argv, strings.Repeat("y", n)), nil
		}, 8_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			withStackLimit(t, tt.limit, func() {
				// search finds the largest n that works.
				search := func(try func(argv, env []string) error) int {
					lo, hi := 0, tt.most
					for lo+1 < hi {
						mid := (lo + hi) / 2
						switch err := try(tt.make(mid)); err {
						case nil:
							lo = mid
						case unix.E2BIG:
							hi = mid
						default:
							t.Fatal(err)
						}
					}
					return lo
				}
				host := search(func(argv, env []string) error {
					cmd := exec.Cmd{Path: path, Args: argv, Env: append([]string{}, env...)}
					err := cmd.Run()
					if e, ok := err.(*os.PathError); ok {
						return e.Err.(syscall.Errno)
					}
					return err
				})
				ours := search(func(argv, env []string) error {
					r := w.request(path, argv...)
					r.Env, r.StackLimit = env, tt.limit
					img, err := Load(r)
					if err == nil {
						img.Exe.DecRef()
					}
					r.Space.DecUsers()
					return err
				})
				if host != ours {
					t.Errorf("the host takes %d, Load %d", host, ours)
				}
			})
		})
	}
}

// TestSmallStack loads programs with stack limits that are smaller than what is
// on the stack.
func TestSmallStack(t *testing.T) {
	w := newWorld(t)
	w.add("/prog", newProgram().bytes())
	for _, limit := range []uint64{0, 1, 4096, 64 << 10, 136 << 10, ^uint64(0)} {
		r := w.request("/prog", "prog", strings.Repeat("x", 100_000))
		r.StackLimit = limit
		img, err := w.load(r)
		if err != nil {
			t.Errorf("a stack of %d bytes: %v", limit, err)
			continue
		}
		if got := readStack(t, r.Space, img); len(got.argv) != 2 || len(got.argv[1]) != 100_000 {
			t.Errorf("a stack of %d bytes: %d arguments", limit, len(got.argv))
		}
	}
}

// TestStackBelowEnd: whatever a platform leaves of the address space, the stack and the
// vDSO are below its end, in every place that chance gives them.
func TestStackBelowEnd(t *testing.T) {
	w := newWorld(t)
	w.add("/prog", newProgram().bytes())
	v, err := NewVDSO(w.mem, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, end := range []hostarch.Addr{1<<47 - 4096, 0x7ffffff00000, 1<<47 - 17<<20, 1<<47 - 64<<20, 1 << 46} {
		for i := range 64 {
			r := w.request("/prog", "prog")
			r.Space = mm.NewSpace(mm.Config{File: w.mem, Mapper: noGuest{}, Min: 0x10000, Max: end})
			r.VDSO, r.Predictable = v, i == 0 // nothing is higher than where chance has no part
			_, err := w.load(r)
			if err != nil {
				t.Fatalf("end %#x: %v", end, err)
			}
			for _, a := range r.Space.Areas() {
				if i == 0 && a.Name == "[stack]" && a.End+vdsoRoom != end&^4095 {
					t.Errorf("end %#x: the stack ends at %#x", end, a.End)
				}
			}
			r.Space.DecUsers()
		}
	}
}
