package loader

import (
	"debug/elf"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
)

const (
	// taskSize ends user addresses (TASK_SIZE_MAX).
	taskSize = 1<<47 - pageSize
	// dynBase is where position-independent programs begin, before the random
	// offset (ELF_ET_DYN_BASE).
	dynBase = taskSize / 3 * 2
	// mmapRandom is how many pages that offset may be (mmap_rnd_bits, 28).
	mmapRandom = 1 << 28
	// brkRandom is how far the heap may lie behind the program
	// (arch_randomize_brk).
	brkRandom = 1 << 30
)

// layout is where a program came to lie.
type layout struct {
	bias               uint64 // added to the file's addresses
	startCode, endCode uint64
	startData, endData uint64
	end                uint64 // of the last segment
	phdr               uint64
	entry              uint64
}

// placement says where the first segment of an object may go.
type placement uint8

const (
	exact  placement = iota // at its own address, biased
	choose                  // anywhere: the bias follows
)

// mapper maps the segments of one object.
type mapper struct {
	space *mm.Space
	o     *object
	pager memfile.Pager
}

// mapAll maps all segments. With choose, bias is ignored.
func (m *mapper) mapAll(how placement, bias uint64) (layout, error) {
	l := layout{bias: bias, startCode: ^uint64(0)}
	total := uint64(0)
	if how == choose {
		if total = m.o.extent(); total == 0 {
			return l, unix.EINVAL
		}
	}
	for i := range m.o.segments {
		s := &m.o.segments[i]
		if s.kind != uint32(elf.PT_LOAD) {
			continue
		}
		at := l.bias + s.vaddr
		if s.fileSize > s.memorySize || s.memorySize > taskSize || how == exact && at > taskSize-s.memorySize {
			return l, unix.EINVAL
		}
		got, err := m.mapOne(s, how, hostarch.Addr(at), total)
		if err != nil {
			return l, err
		}
		if how == choose {
			l.bias = uint64(got) - s.vaddr&^pageMask
			how, total = exact, 0
		}
		if s.off <= m.o.phoff && m.o.phoff < s.off+s.fileSize {
			l.phdr = m.o.phoff - s.off + s.vaddr
		}
		if elf.ProgFlag(s.flags)&elf.PF_X != 0 {
			l.startCode = min(l.startCode, s.vaddr)
			l.endCode = max(l.endCode, s.vaddr+s.fileSize)
		}
		l.startData = max(l.startData, s.vaddr)
		l.endData = max(l.endData, s.vaddr+s.fileSize)
		l.end = max(l.end, s.vaddr+s.memorySize)
	}
	if l.startCode == ^uint64(0) {
		l.startCode = 0
	}
	m.prefault(l.bias)
	l.phdr += l.bias
	l.startCode += l.bias
	l.endCode += l.bias
	l.startData += l.bias
	l.endData += l.bias
	l.end += l.bias
	l.entry = l.bias + m.o.entry
	return l, nil
}

// prefaultData is how much of a writable segment is made ready.
const prefaultData = 64 << 10

// prefault makes what every program uses ready: the beginning of each segment, and
// as much around it as a fault gives. A program's data are copied for it.
func (m *mapper) prefault(bias uint64) {
	for i := range m.o.segments {
		s := &m.o.segments[i]
		if s.kind != uint32(elf.PT_LOAD) || s.memorySize == 0 {
			continue
		}
		at, length := hostarch.Addr(bias+s.vaddr)&^pageMask, uint64(pageSize)
		write := s.prot().Write
		if write {
			length = min(pageUp(s.vaddr&pageMask+s.memorySize), prefaultData)
		}
		m.space.Prefault(at, length, write)
	}
}

// mapOne maps one segment at addr, or where there is room for total bytes, and
// returns its first page's address (elf_load).
func (m *mapper) mapOne(s *segment, how placement, addr hostarch.Addr, total uint64) (hostarch.Addr, error) {
	inPage := s.vaddr & pageMask
	page := addr &^ pageMask
	if s.fileSize == 0 && how == choose {
		return 0, unix.EINVAL // no file that could be mapped to find room
	}
	if s.fileSize != 0 {
		size := s.fileSize + inPage
		if s.off&pageMask != inPage {
			return 0, unix.EINVAL
		}
		length := pageUp(size)
		o := mm.MmapOptions{
			Addr: page, Fixed: how == exact, Length: max(length, pageUp(total)),
			Prot: s.prot(), MaxProt: hostarch.AnyAccess,
			Pager: m.pager, Offset: s.off - inPage, File: m.o.file,
		}
		if how == choose {
			o.Addr = 0
		}
		if o.Offset+o.Length < o.Offset {
			return 0, unix.EINVAL
		}
		found, err := m.space.Mmap(o)
		if err != nil {
			return 0, err
		}
		page = found
		if o.Length > length {
			// What lies between the segments is nobody's.
			if err := m.space.Munmap(page+hostarch.Addr(length), o.Length-length); err != nil {
				return 0, err
			}
		}
	}
	if s.memorySize <= s.fileSize {
		return page, nil
	}
	// The rest is zeros: to the end of the file's last page, then in pages of
	// their own.
	zero := page + hostarch.Addr(inPage+s.fileSize)
	end := hostarch.Addr(pageUp(uint64(page) + inPage + s.memorySize))
	if s.fileSize != 0 {
		if tail := pageUp(uint64(zero)) - uint64(zero); tail != 0 && s.prot().Write {
			if _, err := m.space.ZeroOut(zero, tail); err != nil {
				return 0, unix.EFAULT
			}
		}
		zero = hostarch.Addr(pageUp(uint64(zero)))
	} else {
		zero = page
	}
	if end <= zero {
		return page, nil
	}
	_, err := m.space.Mmap(mm.MmapOptions{
		Addr: zero, Fixed: true, Length: uint64(end - zero), MaxProt: hostarch.AnyAccess,
		Prot: hostarch.AccessType{Read: true, Write: true, Execute: s.prot().Execute},
	})
	return page, err
}

func pageUp(n uint64) uint64 { return (n + pageMask) &^ pageMask }

// loadELF loads an ELF program, whose first bytes are in head. With success it
// takes over the reference on exe.
func loadELF(r *Request, exe File, head *[headSize]byte, args *arguments) (*Image, error) {
	prog, err := parseELF(exe, head[:])
	if err != nil {
		return nil, err
	}
	if prog.kind != elf.ET_EXEC && prog.kind != elf.ET_DYN {
		return nil, unix.ENOEXEC
	}
	pager, err := prog.pager(unix.ENOEXEC)
	if err != nil {
		return nil, err
	}
	interp, err := openInterpreter(r, prog)
	if err != nil {
		return nil, err
	}
	if interp != nil {
		defer interp.file.DecRef()
	}

	m := mapper{r.Space, prog, pager}
	how, bias := exact, uint64(0)
	switch {
	case prog.kind == elf.ET_EXEC || prog.find(elf.PT_LOAD) == nil:
	case interp == nil && prog.alignment() == pageSize:
		how = choose
	default:
		bias = randomBias(r, prog)
	}
	l, err := m.mapAll(how, bias)
	if err != nil {
		return nil, err
	}
	entry, base := l.entry, uint64(0)
	if interp != nil {
		if pager, err = interp.pager(unix.ELIBBAD); err != nil {
			return nil, err
		}
		m := mapper{r.Space, interp, pager}
		how := choose
		if interp.kind == elf.ET_EXEC {
			how = exact
			if interp.find(elf.PT_LOAD) == nil {
				return nil, unix.EINVAL
			}
		}
		il, err := m.mapAll(how, 0)
		if err != nil {
			return nil, err
		}
		entry, base = il.entry, il.bias
	}
	if entry >= taskSize {
		return nil, unix.EINVAL
	}

	// The heap of a program that lies among the libraries is moved out of there.
	brk := pageUp(l.end)
	if how == choose {
		brk = pageUp(dynBase)
	}
	r.Space.SetBrkStart(hostarch.Addr(brk + r.random(brkRandom/pageSize)*pageSize))

	img, err := makeStack(r, args, prog.executableStack(), auxInfo{
		phdr: l.phdr, phnum: uint64(len(prog.segments)), base: base, entry: l.entry,
	})
	if err != nil {
		return nil, err
	}
	img.Entry, img.Exe = hostarch.Addr(entry), exe
	img.StartCode, img.EndCode = hostarch.Addr(l.startCode), hostarch.Addr(l.endCode)
	img.StartData, img.EndData = hostarch.Addr(l.startData), hostarch.Addr(l.endData)
	return img, nil
}

// randomBias chooses where a position-independent program goes, aligned as it
// asks for.
func randomBias(r *Request, o *object) uint64 {
	bias := dynBase + r.random(mmapRandom)*pageSize
	bias &^= o.alignment() - 1
	return (bias - o.find(elf.PT_LOAD).vaddr) &^ pageMask
}
