package loader

import (
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
)

func hostAddr(v uint64) hostarch.Addr { return hostarch.Addr(v) }

// FuzzScript compares the parser of #! lines with Linux's.
func FuzzScript(f *testing.F) {
	for _, s := range scriptLines("/bin/sh") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var head [headSize]byte
		copy(head[2:], b)
		if len(b) > 2 && b[0] == '#' && b[1] == '!' {
			copy(head[:], b)
		}
		head[0], head[1] = '#', '!'
		want, wantErr := linuxScript(head)
		got, err := parseScript(&head)
		if !slices.Equal(got, want) || err != wantErr {
			t.Errorf("%q: %q, %v; Linux %q, %v", head, got, err, want, wantErr)
		}
	})
}

// errnos are what Load may fail with, whatever the files hold.
var errnos = []unix.Errno{
	unix.ENOEXEC, unix.EINVAL, unix.ENOMEM, unix.ELIBBAD, unix.EIO, unix.EFAULT, unix.ELOOP, unix.EACCES, unix.ENOENT,
	unix.EOVERFLOW, unix.E2BIG, unix.EEXIST, unix.EPERM,
}

// FuzzELF loads files of any content, as a program and as its interpreter. Load
// must fail with one of Linux's errors, or leave a space that a program could
// start in; and nothing may stay behind.
func FuzzELF(f *testing.F) {
	p := newProgram()
	f.Add(p.bytes(), []byte{}, uint16(0))
	p.segment(elf.PF_R|elf.PF_W, 0x900, 0x500900, 0x100, 0x5000)
	p.segment(elf.PF_R|elf.PF_W|elf.PF_X, 0, 0, 0, 0).Type = uint32(elf.PT_GNU_STACK)
	f.Add(p.bytes(), []byte{}, uint16(3))
	dyn := newProgram()
	dyn.header.Type, dyn.progs[0].Vaddr, dyn.header.Entry = uint16(elf.ET_DYN), 0, codeAt
	f.Add(dyn.bytes(), []byte{}, uint16(0))
	p.interp("/interp")
	f.Add(p.bytes(), dyn.bytes(), uint16(0))
	f.Add([]byte("#!/interp argument\n"), p.bytes(), uint16(0))
	f.Add([]byte("#!/prog\n"), []byte{}, uint16(0))
	for _, change := range []func(p *program){
		func(p *program) { p.progs[0].Vaddr = 1<<47 - 2*pageSize },
		func(p *program) { p.progs[0].Memsz = 1 << 46 },
		func(p *program) { p.progs[0].Filesz = ^uint64(0) },
		func(p *program) { p.segment(elf.PF_R, 0, progBase-pageSize, 0x1000, 0x3000) },
		func(p *program) { p.headers(100) },
		func(p *program) { p.header.Phoff = 1 << 62 },
		func(p *program) { p.header.Entry = ^uint64(0) },
	} {
		p := newProgram()
		change(p)
		f.Add(p.bytes(), []byte{}, uint16(1))
	}

	mem, err := memfile.New(memfile.Config{Limit: 1 << 30})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(mem.Close)
	f.Fuzz(func(t *testing.T, prog, interp []byte, extra uint16) {
		if len(prog) > 1<<20 || len(interp) > 1<<20 {
			return
		}
		w := &world{t, mem, map[string]*testFile{}}
		w.add("/prog", prog)
		w.add("/interp", interp)
		s := mm.NewSpace(mm.Config{File: mem, Mapper: noGuest{}, Min: 0x10000, Max: 0x7ffffff00000, MaxReserve: 8 << 30})
		r := Request{
			Space: s, File: w.files["/prog"], Path: "/prog", Argv: []string{"prog", strings.Repeat("x", int(extra))},
			Env: []string{"A=1"}, Open: w.open, StackLimit: 8 << 20,
		}
		img, err := Load(r)
		if err == nil {
			checkImage(t, s, img, int(extra))
			img.Exe.DecRef()
		} else if !slices.ContainsFunc(errnos, func(e unix.Errno) bool { return errors.Is(err, e) }) {
			t.Errorf("Load: %v", err)
		}
		s.DecUsers()
		for path, f := range w.files {
			if n := f.refs.Load(); n != 1 {
				t.Errorf("%s has %d references", path, n)
			}
			mem.DecRef(f.r)
		}
		if n := mem.Allocated(); n != 0 {
			t.Errorf("%d bytes of memory are left", n)
		}
	})
}

// checkImage checks what a program can rely upon.
func checkImage(t *testing.T, s *mm.Space, img *Image, extra int) {
	got := readStack(t, s, img)
	if len(got.argv) < 2 || len(got.argv[len(got.argv)-1]) != extra || len(got.env) != 1 {
		t.Errorf("%d arguments, %d variables", len(got.argv), len(got.env))
	}
	if img.Entry >= taskSize || got.aux[atPhent] != phdrSize || got.aux[atRandom] == 0 {
		t.Errorf("entry %#x, %v", img.Entry, got.aux)
	}
	var last hostarch.Addr
	for _, a := range s.Areas() {
		if a.Start < last || a.End <= a.Start || a.End > 0x7ffffff00000 {
			t.Errorf("area %#x-%#x after %#x", a.Start, a.End, last)
		}
		last = a.End
	}
	b := s.BrkRange()
	if b.Start != b.End || b.Start%pageSize != 0 {
		t.Errorf("the heap is %v", b)
	}
	s.Brk(b.Start + 3*pageSize)
}

// FuzzArguments puts strings on the stack and reads them again.
func FuzzArguments(f *testing.F) {
	f.Add("one\x00two\x00", "A=1\x00", uint64(8<<20))
	f.Add("", "", uint64(0))
	f.Add("\x00\x00", strings.Repeat("x", 200_000), uint64(1<<62))
	mem, err := memfile.New(memfile.Config{Limit: 1 << 30})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(mem.Close)
	prog := newProgram().bytes()
	f.Fuzz(func(t *testing.T, argv, env string, limit uint64) {
		w := &world{t, mem, map[string]*testFile{}}
		w.add("/prog", prog)
		s := mm.NewSpace(mm.Config{File: mem, Mapper: noGuest{}, Min: 0x10000, Max: 0x7ffffff00000, MaxReserve: 8 << 30})
		r := Request{
			Space: s, File: w.files["/prog"], Path: "/prog", Argv: strings.Split(argv, "\x00"), Env: strings.Split(env, "\x00"),
			Open: w.open, StackLimit: limit,
		}
		img, err := Load(r)
		if err == nil {
			got := readStack(t, s, img)
			if !slices.Equal(got.argv, r.Argv) || !slices.Equal(got.env, r.Env) {
				t.Errorf("%q, %q", got.argv, got.env)
			}
			img.Exe.DecRef()
		} else if err != unix.E2BIG {
			t.Error(err)
		}
		s.DecUsers()
		mem.DecRef(w.files["/prog"].r)
		if n := mem.Allocated(); n != 0 {
			t.Errorf("%d bytes of memory are left", n)
		}
	})
}
