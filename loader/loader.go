// Package loader sets a program up in an empty address space: ELF files and #!
// scripts, the first stack with arguments, environment and auxiliary vector, and
// the vDSO. It follows Linux's fs/exec.c and fs/binfmt_{elf,script}.c.
//
// Load reads the headers, then maps: the program's segments, its interpreter's,
// the vDSO, the stack. Nothing is copied that is not changed; segments are the
// file's own pages. A failure leaves the space in any state: the caller throws
// it away, and the program that called execve lives on (Linux kills it in the
// cases that it notices too late).
package loader

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
)

const (
	pageSize = hostarch.PageSize
	pageMask = pageSize - 1

	// headSize is how much of a file its format is told from (BINPRM_BUF_SIZE).
	headSize = 256
	// maxScripts is how many scripts may name each other as interpreters.
	maxScripts = 5
)

// File is an open file that can be executed.
type File interface {
	mm.MappedFile
	// ReadAt reads as io.ReaderAt does; it may also return less without an
	// error.
	ReadAt(p []byte, off int64) (int, error)
	// Size is the file's, in bytes.
	Size() uint64
	// Pager returns the file's page cache. An error means that the file cannot
	// be mapped.
	Pager() (memfile.Pager, error)
}

// Request says what to load.
type Request struct {
	// Space is the address space, fresh and empty.
	Space *mm.Space
	// File is the program. The caller has checked the permission to execute it
	// and keeps its reference.
	File File
	// Path is the program's name: AT_EXECFN, and what a script's interpreter
	// is told to read.
	Path string
	// Argv and Env are the arguments and the environment, without NUL bytes.
	Argv, Env []string
	// Open opens an interpreter for execution. The file carries a reference,
	// which Load takes over.
	Open func(path string) (File, error)
	// VDSO may be nil.
	VDSO *VDSO
	// StackLimit is RLIMIT_STACK, in bytes.
	StackLimit uint64
	// UID and so on go into the auxiliary vector.
	UID, EUID, GID, EGID uint32
	// Secure is AT_SECURE: the program has privileges that its caller has not.
	Secure bool
	// NoFSGSBase hides that programs can set the bases of FS and GS by
	// instructions (HWCAP2_FSGSBASE): the platform uses GS.
	NoFSGSBase bool
	// Predictable says that the program, its heap and its stack are always at the same
	// places (ADDR_NO_RANDOMIZE).
	Predictable bool
	// Prepare, if it is not nil, is told of the program itself, after all scripts,
	// and may change who runs it (UID to Secure): what a script's own file says
	// about that does not count.
	Prepare func(r *Request, exe File) error
}

// random returns a number below n.
func (r *Request) random(n uint64) uint64 {
	if r.Predictable {
		return 0
	}
	return rand.Uint64N(n)
}

// Image is a loaded program.
type Image struct {
	// Entry and Stack are the first RIP and RSP. All other registers are zero.
	Entry, Stack hostarch.Addr
	mm.Layout
	// Exe is the program itself, after all scripts. The caller owns its
	// reference.
	Exe File
	// Argv is what the program gets, after all scripts.
	Argv []string
}

// Load loads a program (execve(2)). Errors:
//
//	E2BIG    the arguments and the environment are too large
//	ENOEXEC  neither ELF for this machine nor a script
//	ELIBBAD  the ELF interpreter is not such a file
//	ELOOP    too many scripts
//	EINVAL, ENOMEM, EFAULT, EIO  the segments cannot be mapped or read
//
// and those of Request.Open.
func Load(r Request) (*Image, error) {
	args, err := newArguments(&r)
	if err != nil {
		return nil, err
	}
	exe := r.File
	exe.IncRef()
	// name is what the file is called by who comes before it in the chain.
	name := r.Path
	for depth := 0; ; depth++ {
		head := new([headSize]byte)
		if _, err := readFull(exe, head[:], 0); err != nil {
			exe.DecRef()
			return nil, err
		}
		if head[0] != '#' || head[1] != '!' {
			if r.Prepare != nil {
				if err := r.Prepare(&r, exe); err != nil {
					exe.DecRef()
					return nil, err
				}
			}
			if r.Predictable {
				r.Space.FixBase()
			}
			img, err := loadELF(&r, exe, head, args)
			if err != nil {
				exe.DecRef()
				return nil, err
			}
			return img, nil
		}
		exe.DecRef()
		words, err := parseScript(head)
		if err != nil {
			return nil, err
		}
		if err := args.script(words, name); err != nil {
			return nil, err
		}
		name = words[0]
		if name == "" {
			return nil, unix.EACCES // it names the working directory
		}
		if exe, err = r.Open(name); err != nil {
			return nil, err
		}
		if depth == maxScripts {
			exe.DecRef()
			return nil, unix.ELOOP
		}
	}
}

// readFull reads until p is full or the file ends, and returns how much it is.
func readFull(f File, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := f.ReadAt(p[n:], off+int64(n))
		n += m
		if errors.Is(err, io.EOF) || err == nil && m == 0 {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readExact is readFull for what must be there: EIO if it is not, EINVAL if it
// cannot be.
func readExact(f File, p []byte, off uint64) error {
	if off > math.MaxInt64 {
		return unix.EINVAL
	}
	n, err := readFull(f, p, int64(off))
	if err == nil && n < len(p) {
		err = unix.EIO
	}
	return err
}
