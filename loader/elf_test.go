package loader

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
)

// code exits with status 0: XORL DI, DI; MOVL $60, AX; SYSCALL.
var code = []byte{0x31, 0xFF, 0xB8, 60, 0, 0, 0, 0x0F, 0x05}

// program is an ELF file to be.
type program struct {
	header elf.Header64
	progs  []elf.Prog64
	data   map[int]string // by offset
	size   int            // of the file, at least
	cut    int            // where it ends; 0: not cut
}

const (
	progBase = 0x400000
	codeAt   = 0x800
)

// newProgram makes a program of one segment that exits with status 0.
func newProgram() *program {
	p := &program{
		header: elf.Header64{
			Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
			Entry: progBase + codeAt, Phoff: ehdrSize, Ehsize: ehdrSize, Phentsize: phdrSize,
		},
		data: map[int]string{codeAt: string(code)},
		size: pageSize,
	}
	copy(p.header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	p.segment(elf.PF_R|elf.PF_X, 0, progBase, pageSize, pageSize)
	return p
}

func (p *program) segment(flags elf.ProgFlag, off, vaddr, fileSize, memSize uint64) *elf.Prog64 {
	p.progs = append(p.progs, elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(flags), Off: off, Vaddr: vaddr, Paddr: vaddr,
		Filesz: fileSize, Memsz: memSize, Align: pageSize,
	})
	p.header.Phnum = uint16(len(p.progs))
	return &p.progs[len(p.progs)-1]
}

func (p *program) interp(path string) {
	p.data[0xC00] = path + "\x00"
	n := uint64(len(path) + 1)
	p.segment(elf.PF_R, 0xC00, progBase+0xC00, n, n).Type = uint32(elf.PT_INTERP)
}

// headers makes n program headers, and moves the code behind them.
func (p *program) headers(n int) {
	for len(p.progs) < n {
		p.segment(0, 0, 0, 0, 0).Type = uint32(elf.PT_NULL)
	}
	const at = 0x11000
	delete(p.data, codeAt)
	p.data[at], p.header.Entry, p.size = string(code), progBase+at, at+0x1000
	p.progs[0].Filesz, p.progs[0].Memsz = at+0x1000, at+0x1000
}

func (p *program) bytes() []byte {
	b := append(le(p.header), le(p.progs)...)
	b = append(b, make([]byte, max(0, p.size-len(b)))...)
	for off, s := range p.data {
		if off+len(s) <= len(b) {
			copy(b[off:], s)
		}
	}
	if p.cut != 0 {
		b = b[:p.cut]
	}
	return b
}

// runHost executes a file on the host: the error of execve, or nil and how it
// ended.
func runHost(t *testing.T, path string, env ...string) (syscall.WaitStatus, []byte, error) {
	t.Helper()
	cmd := exec.Command(path, "one", "two words")
	cmd.Env = env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, nil, err
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus), out, nil
}

// TestELFLikeHost executes programs with odd headers on the host and loads them:
// the outcomes must be the same. Where the host finds out after it has thrown
// the old program away and kills it, Load may fail in any way.
func TestELFLikeHost(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	bad, short, good := filepath.Join(dir, "bad"), filepath.Join(dir, "short"), filepath.Join(dir, "good")
	object := newProgram()
	object.header.Type = uint16(elf.ET_REL)
	noLoad := newProgram()
	noLoad.header.Type = uint16(elf.ET_DYN)
	noLoad.progs[0].Type = uint32(elf.PT_NOTE)
	dynamic := newProgram()
	dynamic.header.Type = uint16(elf.ET_DYN)
	dynamic.progs[0].Vaddr, dynamic.header.Entry = 0, codeAt
	others := map[string][]byte{
		bad: []byte("this is a text that is long enough to hold a header, and then some more of it, to be sure"), short: []byte("x"),
		good: dynamic.bytes(), filepath.Join(dir, "object"): object.bytes(), filepath.Join(dir, "noload"): noLoad.bytes(),
	}
	for path, b := range others {
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	type edit = func(p *program)
	for name, change := range map[string]edit{
		"as it is":                  func(p *program) {},
		"class ignored":             func(p *program) { p.header.Ident[4] = 1 },
		"byte order ignored":        func(p *program) { p.header.Ident[5] = 2 },
		"versions ignored":          func(p *program) { p.header.Ident[6], p.header.Version = 9, 9 },
		"empty":                     func(p *program) { p.size, p.cut = 0, -1 },
		"magic only":                func(p *program) { p.cut = 4 },
		"header only":               func(p *program) { p.cut = ehdrSize },
		"half the program headers":  func(p *program) { p.cut = ehdrSize + 20 },
		"wrong magic":               func(p *program) { p.header.Ident[0] = 0x7e },
		"other machine":             func(p *program) { p.header.Machine = uint16(elf.EM_AARCH64) },
		"object file":               func(p *program) { p.header.Type = uint16(elf.ET_REL) },
		"no type":                   func(p *program) { p.header.Type = 0 },
		"no program headers":        func(p *program) { p.header.Phnum = 0 },
		"1170 program headers":      func(p *program) { p.headers(1170) },
		"1171 program headers":      func(p *program) { p.headers(1171) },
		"small program headers":     func(p *program) { p.header.Phentsize = 32 },
		"program headers far away":  func(p *program) { p.header.Phoff = 1 << 40 },
		"program headers at -1":     func(p *program) { p.header.Phoff = ^uint64(0) },
		"program headers negative":  func(p *program) { p.header.Phoff = 1 << 63 },
		"nothing to load":           func(p *program) { p.progs[0].Type = uint32(elf.PT_NOTE) },
		"file size over memory":     func(p *program) { p.progs[0].Memsz = 10 },
		"unaligned offset":          func(p *program) { p.progs[0].Off = 8 },
		"kernel address":            func(p *program) { p.progs[0].Vaddr = 1 << 63 },
		"address wraps":             func(p *program) { p.progs[0].Vaddr = ^uint64(0) &^ pageMask },
		"at the end of user space":  func(p *program) { p.progs[0].Vaddr = taskSize - pageSize },
		"huge memory size":          func(p *program) { p.progs[0].Memsz = 1 << 46 },
		"enormous memory size":      func(p *program) { p.progs[0].Memsz = ^uint64(0) },
		"kernel entry":              func(p *program) { p.header.Entry = 1 << 63 },
		"alignment not a power":     func(p *program) { p.progs[0].Align = 3 },
		"no alignment":              func(p *program) { p.progs[0].Align = 0 },
		"writable with zeros":       func(p *program) { p.segment(elf.PF_R|elf.PF_W, 0x900, 0x500900, 0x100, 0x5000) },
		"only zeros":                func(p *program) { p.segment(elf.PF_R|elf.PF_W, 0, 0x500000, 0, 0x5000) },
		"zeros that are read-only":  func(p *program) { p.segment(elf.PF_R, 0x900, 0x500900, 0x100, 0x5000) },
		"segments out of order":     func(p *program) { p.segment(elf.PF_R, 0, 0x300000, 0x100, 0x100) },
		"segments overlap":          func(p *program) { p.segment(elf.PF_R|elf.PF_X, 0, progBase, 0x1000, 0x1000) },
		"segment beyond the file":   func(p *program) { p.segment(elf.PF_R, 1<<30, 0x500000, 0x1000, 0x1000) },
		"offset near the end":       func(p *program) { p.segment(elf.PF_R, ^uint64(0)&^pageMask, 0x500000, 0x2000, 0x2000) },
		"position-independent":      func(p *program) { *p = *clone(dynamic) },
		"position-independent, 2 M": func(p *program) { *p = *clone(dynamic); p.progs[0].Align = 2 << 20 },
		"position-independent, huge": func(p *program) {
			*p = *clone(dynamic)
			p.segment(elf.PF_R, 0, 1<<46+1<<45, 0x100, 0x100)
		},
		"thread-local storage": func(p *program) { p.segment(elf.PF_R, 0x900, 0x400900, 0x10, 0x100).Type = uint32(elf.PT_TLS) },
		"thread-local storage, alignment": func(p *program) {
			s := p.segment(elf.PF_R, 0x900, 0x400900, 0x10, 0x100)
			s.Type, s.Align = uint32(elf.PT_TLS), 3
		},
		"thread-local storage, huge": func(p *program) {
			s := p.segment(elf.PF_R, 1<<50, 1<<63, 1<<60, 1<<62)
			s.Type, s.Align = uint32(elf.PT_TLS), 1<<62
		},
		"notes and others out of range": func(p *program) {
			for _, kind := range []elf.ProgType{elf.PT_NOTE, elf.PT_DYNAMIC, elf.PT_PHDR, elf.PT_GNU_RELRO, elf.PT_GNU_EH_FRAME, 0x12345678} {
				p.segment(elf.PF_R, 1<<50, 1<<63, 1<<60, 1<<62).Type = uint32(kind)
			}
		},
		"property out of range":      func(p *program) { p.segment(elf.PF_R, 1<<50, 1<<63, 1<<10, 1<<10).Type = uint32(elf.PT_GNU_PROPERTY) },
		"interpreter missing":        func(p *program) { p.interp(missing) },
		"interpreter is text":        func(p *program) { p.interp(bad) },
		"interpreter is short":       func(p *program) { p.interp(short) },
		"interpreter is an object":   func(p *program) { p.interp(filepath.Join(dir, "object")) },
		"interpreter has no segment": func(p *program) { p.interp(filepath.Join(dir, "noload")) },
		"interpreter":                func(p *program) { p.interp(good) },
		"position-independent with interpreter": func(p *program) {
			*p = *clone(dynamic)
			p.interp(good)
			p.progs[1].Vaddr -= progBase
		},
		"interpreter's name empty":      func(p *program) { p.interp("") },
		"interpreter's name is a NUL":   func(p *program) { p.interp("\x00") },
		"interpreter's name not ended":  func(p *program) { p.interp(good); p.progs[1].Filesz-- },
		"interpreter's name too long":   func(p *program) { p.interp(good); p.progs[1].Filesz = 4097 },
		"interpreter's name not there":  func(p *program) { p.interp(good); p.progs[1].Off = 1 << 20 },
		"interpreter's name negative":   func(p *program) { p.interp(good); p.progs[1].Off = 1 << 63 },
		"two interpreters, first wins":  func(p *program) { p.interp(good); p.interp2(missing) },
		"interpreter of a foreign type": func(p *program) { p.interp(good); p.header.Type = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram()
			change(p)
			if p.cut < 0 {
				p.cut, p.header.Ident = 0, [16]byte{}
			}
			b := p.bytes()
			if name == "empty" {
				b = nil
			}
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, b, 0o755); err != nil {
				t.Fatal(err)
			}
			status, _, hostErr := runHost(t, path)

			w := newWorld(t)
			w.add(path, b)
			for p, b := range others {
				w.add(p, b)
			}
			_, err := w.load(w.request(path, path))
			t.Logf("host: %v, status %#x; Load: %v", hostErr, status, err)
			switch {
			case hostErr != nil:
				if !errors.Is(hostErr, err) || err == nil {
					t.Errorf("the host says %v, Load %v", hostErr, err)
				}
			case status.Exited() && err != nil:
				t.Errorf("the host runs it, Load says %v", err)
			}
		})
	}
}

func clone(p *program) *program {
	c := *p
	c.progs = append([]elf.Prog64(nil), p.progs...)
	c.data = map[int]string{}
	for k, v := range p.data {
		c.data[k] = v
	}
	return &c
}

// interp2 adds a second PT_INTERP.
func (p *program) interp2(path string) {
	p.data[0xE00] = path + "\x00"
	n := uint64(len(path) + 1)
	p.segment(elf.PF_R, 0xE00, progBase+0xE00, n, n).Type = uint32(elf.PT_INTERP)
}

// TestSegments checks what is mapped where, and the zeros behind the data.
func TestSegments(t *testing.T) {
	w := newWorld(t)
	p := newProgram()
	p.size = 3 * pageSize
	for i := 0x1000; i < 0x3000; i++ {
		p.data[i] = "x"
	}
	p.segment(elf.PF_R|elf.PF_W, 0x1F00, 0x601F00, 0x200, 0x2800)
	p.segment(elf.PF_R|elf.PF_X, 0, 0x700010, 0, 0x20)
	p.segment(elf.PF_X, 0, 0, 0, 0).Type = uint32(elf.PT_GNU_STACK)
	w.add("/prog", p.bytes())
	r := w.request("/prog", "prog")
	img, err := w.load(r)
	if err != nil {
		t.Fatal(err)
	}
	want := []mm.Area{
		{Start: 0x400000, End: 0x401000, Prot: hostarch.ReadExecute, Name: "/prog"},
		{Start: 0x601000, End: 0x603000, Prot: hostarch.ReadWrite, Name: "/prog", Offset: 0x1000},
		{Start: 0x603000, End: 0x605000, Prot: hostarch.ReadWrite},
		{Start: 0x700000, End: 0x701000, Prot: hostarch.AnyAccess},
		{Start: img.Stack.RoundDown(), End: img.Stack, Prot: hostarch.AnyAccess, Name: "[stack]"},
	}
	areas := r.Space.Areas()
	for i, a := range areas {
		t.Logf("%#x-%#x %v +%#x %s", a.Start, a.End, a.Prot, a.Offset, a.Name)
		if i >= len(want) {
			continue
		}
		x := want[i]
		if a.Name == "[stack]" {
			if a.Start > x.Start || a.End <= x.End || !a.GrowsDown {
				t.Errorf("the stack does not hold RSP %#x", img.Stack)
			}
		} else if a.Start != x.Start || a.End != x.End || a.Offset != x.Offset {
			t.Errorf("area %d: want %#x-%#x +%#x", i, x.Start, x.End, x.Offset)
		}
		if a.Prot != x.Prot || a.Name != x.Name || a.Shared {
			t.Errorf("area %d: want %v %s", i, x.Prot, x.Name)
		}
	}
	if len(areas) != len(want) {
		t.Errorf("%d areas, want %d", len(areas), len(want))
	}
	data := make([]byte, 0x605000-0x601000)
	if _, err := r.Space.CopyIn(0x601000, data); err != nil {
		t.Fatal(err)
	}
	for i, b := range data {
		want := byte('x')
		if i >= 0x1100 {
			want = 0
		}
		if b != want {
			t.Fatalf("%#x holds %#x, want %#x", 0x601000+i, b, want)
		}
	}
	// The file is as it was.
	if f := w.files["/prog"]; f.mem.Bytes(f.r)[0x2200] != 'x' {
		t.Error("zeros were written to the file")
	}
	if img.Entry != progBase+codeAt || img.StartCode != progBase {
		t.Errorf("entry %#x, code at %#x", img.Entry, img.StartCode)
	}
	heap := r.Space.BrkRange()
	if heap.Start < 0x701000 || heap.Start > 0x701000+brkRandom || heap.Start%pageSize != 0 {
		t.Errorf("the heap is at %#x", heap.Start)
	}
}

// TestPrograms loads programs of this machine.
func TestPrograms(t *testing.T) {
	for _, path := range []string{"/bin/busybox", "/bin/true", "/proc/self/exe"} {
		t.Run(path, func(t *testing.T) {
			b := host(t, path)
			w := newWorld(t)
			w.add(path, b)
			v, err := NewVDSO(w.mem, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			const ld = "/lib64/ld-linux-x86-64.so.2"
			w.add(ld, host(t, ld))
			r := w.request(path, "prog", "argument")
			r.VDSO = v
			img, err := w.load(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []hostarch.Addr{img.Entry, img.StartCode} {
				if !executable(r.Space, at) {
					t.Errorf("%#x is not code", at)
				}
			}
			aux := readStack(t, r.Space, img).aux
			var elfs [2]hostarch.Addr
			elfs[0] = hostarch.Addr(aux[atSysinfoEhdr])
			elfs[1] = hostarch.Addr(aux[atPhdr] - ehdrSize)
			for _, at := range elfs {
				var magic [4]byte
				if _, err := r.Space.CopyIn(at, magic[:]); err != nil || string(magic[:]) != elf.ELFMAG {
					t.Errorf("no ELF header at %#x: %q, %v", at, magic, err)
				}
			}
			if !executable(r.Space, elfs[0]) {
				t.Error("the vDSO is not code")
			}
			// The program's own headers, as the file has them.
			head := make([]byte, aux[atPhnum]*phdrSize)
			if _, err := r.Space.CopyIn(hostarch.Addr(aux[atPhdr]), head); err != nil || !bytes.Equal(head, b[ehdrSize:][:len(head)]) {
				t.Errorf("the program headers are not at %#x: %v", aux[atPhdr], err)
			}
			parsed, err := elf.NewFile(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			interp := slices.ContainsFunc(parsed.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
			if got := nameAt(r.Space, hostarch.Addr(aux[atEntry])); got != path {
				t.Errorf("AT_ENTRY %#x is in %s", aux[atEntry], got)
			}
			if !interp {
				if aux[atBase] != 0 || uint64(img.Entry) != aux[atEntry] {
					t.Errorf("a static program with AT_BASE %#x, entry %#x", aux[atBase], img.Entry)
				}
				return
			}
			if got := nameAt(r.Space, img.Entry); got != ld {
				t.Errorf("the entry %#x is in %s", img.Entry, got)
			}
			var magic [4]byte
			if _, err := r.Space.CopyIn(hostarch.Addr(aux[atBase]), magic[:]); err != nil || string(magic[:]) != elf.ELFMAG || nameAt(r.Space, hostarch.Addr(aux[atBase])) != ld {
				t.Errorf("AT_BASE %#x: %q, %v", aux[atBase], magic, err)
			}
			if err := r.Space.Mprotect(elfs[0]-pageSize, pageSize, hostarch.ReadWrite, false); err != unix.EACCES {
				t.Errorf("the vvar page could be made writable: %v", err)
			}
		})
	}
}

// nameAt returns the name of the mapping that holds an address.
func nameAt(s *mm.Space, at hostarch.Addr) string {
	for _, a := range s.Areas() {
		if a.Start <= at && at < a.End {
			return a.Name
		}
	}
	return "nothing"
}

// TestPlacement checks where position-independent programs go, and their heaps.
func TestPlacement(t *testing.T) {
	const high = hostarch.Addr(dynBase)
	for name, tt := range map[string]struct {
		change       func(p *program)
		low, aligned hostarch.Addr // the program's first page is at or above, a multiple of
		heap         hostarch.Addr // at or above
	}{
		"static":          {func(p *program) {}, 1 << 40, pageSize, high},
		"static, aligned": {func(p *program) { p.progs[0].Align = 2 << 20 }, high, 2 << 20, 0},
		"dynamic":         {func(p *program) { p.interp("/interp"); p.progs[1].Vaddr = 0xC00 }, high, pageSize, 0},
		"not from 0": {func(p *program) {
			p.progs[0].Vaddr, p.header.Entry = 0x5000, 0x5000+codeAt
		}, 1 << 40, pageSize, high},
	} {
		p := newProgram()
		p.header.Type, p.progs[0].Vaddr, p.header.Entry = uint16(elf.ET_DYN), 0, codeAt
		w := newWorld(t)
		w.add("/interp", p.bytes())
		tt.change(p)
		w.add("/prog", p.bytes())
		r := w.request("/prog", "prog")
		img, err := w.load(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		start := hostarch.Addr(readStack(t, r.Space, img).aux[atEntry]) - codeAt
		if start < tt.low || start%tt.aligned != 0 || nameAt(r.Space, start) != "/prog" {
			t.Errorf("%s: the program is at %#x, in %s", name, start, nameAt(r.Space, start))
		}
		heap := r.Space.BrkRange().Start
		if low := max(tt.heap, start+pageSize); tt.heap == 0 && (heap < low || heap > low+brkRandom) ||
			tt.heap != 0 && (heap < tt.heap || heap > tt.heap+brkRandom) {
			t.Errorf("%s: the program is at %#x, its heap at %#x", name, start, heap)
		}
		if r.Space.Brk(heap+10*pageSize) != heap+10*pageSize {
			t.Errorf("%s: the heap at %#x does not grow", name, heap)
		}
	}
}

func executable(s *mm.Space, at hostarch.Addr) bool {
	for _, a := range s.Areas() {
		if a.Start <= at && at < a.End {
			return a.Prot.Execute
		}
	}
	return false
}

// TestRandom checks that addresses differ from load to load.
func TestRandom(t *testing.T) {
	w := newWorld(t)
	p := newProgram()
	p.header.Type = uint16(elf.ET_DYN)
	w.add("/prog", p.bytes())
	p.interp("/prog")
	w.add("/dyn", p.bytes())
	for _, path := range []string{"/prog", "/dyn"} {
		seen := map[hostarch.Addr]bool{}
		for range 8 {
			r := w.request(path, "prog")
			img, err := w.load(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []hostarch.Addr{img.Entry, img.Stack, r.Space.BrkRange().Start, img.StartCode &^ 1} {
				seen[a] = true
			}
		}
		if len(seen) < 24 {
			t.Errorf("%s: only %d different addresses", path, len(seen))
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	w := newWorld(b)
	w.add("/bin/busybox", host(b, "/bin/busybox"))
	v, err := NewVDSO(w.mem, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	b.ReportAllocs()
	for b.Loop() {
		r := w.request("/bin/busybox", "busybox", "true")
		r.VDSO = v
		img, err := Load(r)
		if err != nil {
			b.Fatal(err)
		}
		img.Exe.DecRef()
		r.Space.DecUsers()
	}
}
