package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

const (
	ehdrSize = 64
	phdrSize = 56
	// maxPhdrs is how many program headers Linux accepts: 64 KiB of them.
	maxPhdrs = (64 << 10) / phdrSize
	pathMax  = 4096
)

// segment is a program header.
type segment struct {
	kind, flags          uint32
	off, vaddr           uint64
	fileSize, memorySize uint64
	align                uint64
}

func (s *segment) prot() hostarch.AccessType {
	f := elf.ProgFlag(s.flags)
	return hostarch.AccessType{Read: f&elf.PF_R != 0, Write: f&elf.PF_W != 0, Execute: f&elf.PF_X != 0}
}

// object is an ELF file whose headers have been read.
type object struct {
	file     File
	kind     elf.Type
	entry    uint64
	phoff    uint64
	segments []segment
}

// parseHeader reads the file header: ENOEXEC. Linux looks neither at the class
// nor at the byte order; a file of another class fails for the size of its
// program headers.
func parseHeader(f File, head []byte) (*object, uint16, error) {
	le := binary.LittleEndian
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) || elf.Machine(le.Uint16(head[18:])) != elf.EM_X86_64 {
		return nil, 0, unix.ENOEXEC
	}
	phnum := le.Uint16(head[56:])
	if le.Uint16(head[54:]) != phdrSize || phnum == 0 || phnum > maxPhdrs {
		return nil, 0, unix.ENOEXEC
	}
	return &object{
		file:  f,
		kind:  elf.Type(le.Uint16(head[16:])),
		entry: le.Uint64(head[24:]),
		phoff: le.Uint64(head[32:]),
	}, phnum, nil
}

// parseELF reads the file header and the program headers: ENOEXEC. head is the
// beginning of the file.
func parseELF(f File, head []byte) (*object, error) {
	o, phnum, err := parseHeader(f, head)
	if err != nil {
		return nil, err
	}
	size := uint64(phnum) * phdrSize
	var table []byte
	if o.phoff <= uint64(len(head)) && o.phoff+size <= min(uint64(len(head)), f.Size()) {
		table = head[o.phoff : o.phoff+size]
	} else {
		table = make([]byte, size)
		if readExact(f, table, o.phoff) != nil {
			return nil, unix.ENOEXEC
		}
	}
	o.segments = make([]segment, phnum)
	le := binary.LittleEndian
	for i := range o.segments {
		b := table[i*phdrSize : (i+1)*phdrSize]
		o.segments[i] = segment{
			kind: le.Uint32(b), flags: le.Uint32(b[4:]),
			off: le.Uint64(b[8:]), vaddr: le.Uint64(b[16:]),
			fileSize: le.Uint64(b[32:]), memorySize: le.Uint64(b[40:]),
			align: le.Uint64(b[48:]),
		}
	}
	return o, nil
}

// find returns the first segment of a kind, or nil.
func (o *object) find(kind elf.ProgType) *segment {
	for i := range o.segments {
		if s := &o.segments[i]; s.kind == uint32(kind) {
			return s
		}
	}
	return nil
}

// extent returns what the segments span from the first one's page on, in bytes:
// 0 without any (total_mapping_size).
func (o *object) extent() uint64 {
	lo, hi := uint64(math.MaxUint64), uint64(0)
	for i := range o.segments {
		if s := &o.segments[i]; s.kind == uint32(elf.PT_LOAD) {
			lo = min(lo, s.vaddr&^pageMask)
			hi = max(hi, s.vaddr+s.memorySize)
		}
	}
	if hi <= lo {
		return 0
	}
	return hi - lo
}

// alignment returns the largest alignment that a segment asks for, at least a
// page (maximum_alignment).
func (o *object) alignment() uint64 {
	align := uint64(pageSize)
	for i := range o.segments {
		s := &o.segments[i]
		if s.kind == uint32(elf.PT_LOAD) && bits.OnesCount64(s.align) == 1 {
			align = max(align, s.align)
		}
	}
	return align
}

// executableStack reports whether PT_GNU_STACK asks for one. On x86-64 the stack
// is not executable without being asked for.
func (o *object) executableStack() bool {
	exec := false
	for i := range o.segments {
		if s := &o.segments[i]; s.kind == uint32(elf.PT_GNU_STACK) {
			exec = elf.ProgFlag(s.flags)&elf.PF_X != 0
		}
	}
	return exec
}

// interpreter returns the path in PT_INTERP, "" without one: ENOEXEC, or the
// error of reading it.
func (o *object) interpreter() (string, error) {
	s := o.find(elf.PT_INTERP)
	if s == nil {
		return "", nil
	}
	if s.fileSize < 2 || s.fileSize > pathMax {
		return "", unix.ENOEXEC
	}
	path := make([]byte, s.fileSize)
	if err := readExact(o.file, path, s.off); err != nil {
		return "", err
	}
	if path[len(path)-1] != 0 {
		return "", unix.ENOEXEC
	}
	path = path[:bytes.IndexByte(path, 0)]
	if len(path) == 0 {
		return "", unix.EACCES // it names the working directory
	}
	return string(path), nil
}

// openInterpreter opens and reads the ELF interpreter, nil without one.
func openInterpreter(r *Request, o *object) (*object, error) {
	path, err := o.interpreter()
	if err != nil || path == "" {
		return nil, err
	}
	f, err := r.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headSize)
	n, err := readFull(f, head, 0)
	if err == nil && n < ehdrSize {
		err = unix.EIO
	}
	var interp *object
	if err == nil {
		interp, err = parseELF(f, head)
		if err == unix.ENOEXEC || err == nil && interp.kind != elf.ET_EXEC && interp.kind != elf.ET_DYN {
			err = unix.ELIBBAD
		}
	}
	if err != nil {
		f.DecRef()
		return nil, err
	}
	return interp, nil
}

// pager returns the file's page cache, or denied.
func (o *object) pager(denied unix.Errno) (memfile.Pager, error) {
	p, err := o.file.Pager()
	if err == unix.ENODEV || err == nil && p == nil {
		return nil, denied
	}
	return p, err
}
