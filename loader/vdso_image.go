package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// vdsoFunctions are the functions in vdso_amd64.s, by the number of their mark,
// from 1 on.
var vdsoFunctions = [...]string{"clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"}

const (
	vdsoName    = "linux-vdso.so.1"
	vdsoVersion = "LINUX_2.6"

	// markSize is what a mark takes. The low byte of its second word is its
	// number.
	markSize  = 8
	markWord0 = 0x4B52414D
	markWord1 = 0x7E5A3C00
	// placeholder stands for the displacement of the vvar page.
	placeholder = 0x56415256
	// maxText bounds the search for the last mark.
	maxText = 2048
)

// function is one function in the text: where it is, and how long.
type function struct{ start, size uint64 }

// copyText copies the functions' text, without a displacement for the vvar page
// yet.
func copyText() (text []byte, fns [len(vdsoFunctions)]function, err error) {
	le := binary.LittleEndian
	magic := le.AppendUint32(nil, markWord0)
	last := -1
	for at, n := 0, 64; n <= maxText; {
		code := vdsoText(n)
		i := bytes.Index(code[at:], magic)
		if i < 0 || at+i+markSize > n {
			n += 64
			continue
		}
		at += i
		mark := le.Uint32(code[at+4:])
		at += markSize
		if mark&^0xFF != markWord1 {
			continue
		}
		if last >= 0 {
			fns[last].size = uint64(at-markSize) - fns[last].start
		}
		last = int(mark&0xFF) - 1
		if last < 0 {
			return bytes.Clone(code[:at-markSize]), fns, nil
		}
		if last >= len(fns) || fns[last].start != 0 {
			break
		}
		fns[last].start = uint64(at)
	}
	return nil, fns, fmt.Errorf("vDSO: the marks in its text are not as expected")
}

// image is a shared object under construction: what is in the file at an offset
// is in memory at the same address.
type image struct {
	b        []byte
	sections []elf.Section64
	names    []byte // .shstrtab
}

func (m *image) align(n int) {
	for len(m.b)%n != 0 {
		m.b = append(m.b, 0)
	}
}

// add appends a section and returns its address.
func (m *image) add(name string, align int, content []byte, s elf.Section64) uint64 {
	m.align(align)
	at := uint64(len(m.b))
	m.b = append(m.b, content...)
	s.Name = uint32(len(m.names))
	m.names = append(append(m.names, name...), 0)
	s.Off, s.Size, s.Addralign = at, uint64(len(content)), uint64(align)
	if s.Flags&uint64(elf.SHF_ALLOC) != 0 {
		s.Addr = at
	}
	m.sections = append(m.sections, s)
	return at
}

// le encodes fixed-size values.
func le(v ...any) []byte {
	var b []byte
	for _, x := range v {
		b, _ = binary.Append(b, binary.LittleEndian, x)
	}
	return b
}

// stringTable collects strings.
type stringTable []byte

func (t *stringTable) add(s string) uint32 {
	at := len(*t)
	*t = append(append(*t, s...), 0)
	return uint32(at)
}

// elfHash is the hash function of DT_HASH and of versions.
func elfHash(s string) (h uint32) {
	for i := range len(s) {
		h = h<<4 + uint32(s[i])
		h ^= h >> 24 & 0xF0
	}
	return h & 0x0FFFFFFF
}

// buildVDSO makes the shared object. vvar is where the data page lies, as seen
// from its beginning.
func buildVDSO(vvar int64) ([]byte, error) {
	text, fns, err := copyText()
	if err != nil {
		return nil, err
	}
	const (
		headers = 4
		alloc   = uint64(elf.SHF_ALLOC)
		// Numbers of sections that others refer to.
		secDynsym, secDynstr, secText = 2, 3, 9
	)
	m := &image{names: []byte{0}, sections: make([]elf.Section64, 1)}
	m.b = make([]byte, ehdrSize+headers*phdrSize)

	// All names are known first, then the addresses.
	strs := stringTable{0}
	syms := make([]elf.Sym64, 1)
	names := []string{""}
	for i, name := range vdsoFunctions {
		for j, n := range [...]string{"__vdso_" + name, name} {
			bind := [...]elf.SymBind{elf.STB_GLOBAL, elf.STB_WEAK}[j]
			syms = append(syms, elf.Sym64{
				Name: strs.add(n), Info: elf.ST_INFO(bind, elf.STT_FUNC), Shndx: secText,
				Value: fns[i].start, Size: fns[i].size,
			})
			names = append(names, n)
		}
	}
	soname, version := strs.add(vdsoName), strs.add(vdsoVersion)

	hash := m.add(".hash", 8, hashTable(names), elf.Section64{Type: uint32(elf.SHT_HASH), Flags: alloc, Link: secDynsym, Entsize: 4})
	dynsym := m.add(".dynsym", 8, le(syms), elf.Section64{Type: uint32(elf.SHT_DYNSYM), Flags: alloc, Link: secDynstr, Info: 1, Entsize: elf.Sym64Size})
	dynstr := m.add(".dynstr", 1, strs, elf.Section64{Type: uint32(elf.SHT_STRTAB), Flags: alloc})
	versions := make([]uint16, len(syms))
	for i := range versions[1:] {
		versions[i+1] = 2
	}
	versym := m.add(".gnu.version", 2, le(versions), elf.Section64{Type: uint32(elf.SHT_GNU_VERSYM), Flags: alloc, Link: secDynsym, Entsize: 2})
	verdef := m.add(".gnu.version_d", 8, le(
		// version of the structure, flags (1: of the file itself), index,
		// names, hash, offset of the first name, offset of the next version
		[]uint16{1, 1, 1, 1}, []uint32{elfHash(vdsoName), 20, 28}, []uint32{soname, 0},
		[]uint16{1, 0, 2, 1}, []uint32{elfHash(vdsoVersion), 20, 0}, []uint32{version, 0},
	), elf.Section64{Type: uint32(elf.SHT_GNU_VERDEF), Flags: alloc, Link: secDynstr, Info: 2})
	dyn := []elf.Dyn64{
		{Tag: int64(elf.DT_SONAME), Val: uint64(soname)},
		{Tag: int64(elf.DT_HASH), Val: hash},
		{Tag: int64(elf.DT_STRTAB), Val: dynstr},
		{Tag: int64(elf.DT_SYMTAB), Val: dynsym},
		{Tag: int64(elf.DT_STRSZ), Val: uint64(len(strs))},
		{Tag: int64(elf.DT_SYMENT), Val: elf.Sym64Size},
		{Tag: int64(elf.DT_VERSYM), Val: versym},
		{Tag: int64(elf.DT_VERDEF), Val: verdef},
		{Tag: int64(elf.DT_VERDEFNUM), Val: 2},
		{Tag: int64(elf.DT_NULL)},
	}
	dynamic := m.add(".dynamic", 8, le(dyn), elf.Section64{Type: uint32(elf.SHT_DYNAMIC), Flags: alloc, Link: secDynstr, Entsize: 16})
	dynLen := uint64(len(m.b)) - dynamic

	// The unwinder's tables lie before the text, whose place follows from
	// their sizes.
	m.align(8)
	hdrAt := len(m.b)
	frameAt := hdrAt + unwindHeaderSize
	textAt := (frameAt + unwindFramesSize + 63) &^ 63
	hdr, frames := unwindTables(hdrAt, frameAt, textAt, len(text))
	m.add(".eh_frame_hdr", 4, hdr, elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: alloc})
	m.add(".eh_frame", 4, frames, elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: alloc})
	if at := m.add(".text", 64, text, elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: alloc | uint64(elf.SHF_EXECINSTR)}); at != uint64(textAt) || len(m.sections)-1 != secText {
		return nil, fmt.Errorf("vDSO: text at %#x in section %d, not at %#x", at, len(m.sections)-1, textAt)
	}
	m.relocate(textAt, len(text), vvar)
	for i := range syms[1:] {
		syms[i+1].Value += uint64(textAt)
	}
	copy(m.b[dynsym:], le(syms))
	loadLen := uint64(len(m.b))

	// The section headers are for debuggers.
	m.add(".shstrtab", 1, nil, elf.Section64{Type: uint32(elf.SHT_STRTAB)})
	m.sections[len(m.sections)-1].Size = uint64(len(m.names))
	m.b = append(m.b, m.names...)
	m.align(8)
	shoff := uint64(len(m.b))
	m.b = append(m.b, le(m.sections)...)

	ehdr := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Entry: uint64(textAt), Phoff: ehdrSize, Shoff: shoff, Ehsize: ehdrSize,
		Phentsize: phdrSize, Phnum: headers, Shentsize: 64,
		Shnum: uint16(len(m.sections)), Shstrndx: uint16(len(m.sections) - 1),
	}
	copy(ehdr.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	prog := func(kind elf.ProgType, flags elf.ProgFlag, at, size, align uint64) elf.Prog64 {
		return elf.Prog64{Type: uint32(kind), Flags: uint32(flags), Off: at, Vaddr: at, Paddr: at, Filesz: size, Memsz: size, Align: align}
	}
	copy(m.b, le(ehdr, [headers]elf.Prog64{
		prog(elf.PT_LOAD, elf.PF_R|elf.PF_X, 0, loadLen, pageSize),
		prog(elf.PT_DYNAMIC, elf.PF_R, dynamic, dynLen, 8),
		prog(elf.PT_GNU_EH_FRAME, elf.PF_R, uint64(hdrAt), unwindHeaderSize, 4),
		prog(elf.PT_GNU_STACK, elf.PF_R|elf.PF_W, 0, 0, 16),
	}))
	return m.b, nil
}

// relocate fills in where the vvar page is, in all instructions that ask.
func (m *image) relocate(at, size int, vvar int64) {
	want := binary.LittleEndian.AppendUint32(nil, placeholder)
	for end := at + size; ; {
		i := bytes.Index(m.b[at:end], want)
		if i < 0 {
			return
		}
		at += i
		// Displacements count from the end of the instruction.
		binary.LittleEndian.PutUint32(m.b[at:], uint32(vvar-int64(at+4)))
		at += 4
	}
}

// hashTable makes a DT_HASH table for symbols by index.
func hashTable(names []string) []byte {
	buckets := make([]uint32, 7)
	chain := make([]uint32, len(names))
	for i := 1; i < len(names); i++ {
		b := &buckets[elfHash(names[i])%uint32(len(buckets))]
		chain[i], *b = *b, uint32(i)
	}
	return le(uint32(len(buckets)), uint32(len(chain)), buckets, chain)
}

const (
	unwindHeaderSize = 20
	unwindFramesSize = 52
)

// unwindTables makes .eh_frame_hdr and .eh_frame: nowhere in the text is
// anything on the stack but the return address.
func unwindTables(hdrAt, frameAt, textAt, textLen int) (hdr, frames []byte) {
	const (
		relative = 0x1B // DW_EH_PE_pcrel | DW_EH_PE_sdata4
		toHeader = 0x3B // DW_EH_PE_datarel | DW_EH_PE_sdata4
		count    = 0x03 // DW_EH_PE_udata4
		cieSize  = 24   // with its length
		fdeSize  = 24
	)
	hdr = le([]uint8{1, relative, count, toHeader}, int32(frameAt-(hdrAt+4)), uint32(1),
		int32(textAt-hdrAt), int32(frameAt+cieSize-hdrAt))
	frames = le(
		uint32(cieSize-4), uint32(0), uint8(1), []byte("zR\x00"),
		// code and data alignment 1 and -8, return address in register 16
		[]uint8{1, 0x78, 16}, []uint8{1, relative},
		// DW_CFA_def_cfa RSP+8; DW_CFA_offset 16 at CFA-8; padding
		[]uint8{0x0C, 7, 8, 0x90, 1, 0, 0},
		uint32(fdeSize-4), uint32(cieSize+4), int32(textAt-(frameAt+cieSize+8)), uint32(textLen),
		uint8(0), []uint8{0, 0, 0, 0, 0, 0, 0},
		uint32(0),
	)
	return hdr, frames
}
