package trace

import (
	"golang.org/x/sys/unix"
)

// Kinds of the file calls: flags, stat and its kin, directories, vectors.

// openMask is the access mode among open flags.
const openMask = 3

func (l *line) openFlags(v uint64) {
	l.s([...]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[v&openMask])
	if rest := v &^ openMask; rest != 0 {
		l.c('|')
		l.someBits(rest, &openBits)
	}
}

// openFlags are flags, and the mode where there is one.
func openFlags(l *line, v uint64) {
	l.openFlags(uint64(uint32(v)))
	if v&unix.O_CREAT != 0 || v&unix.O_TMPFILE == unix.O_TMPFILE {
		l.s(", ")
		l.i++
		mode(l, l.arg(l.i))
	}
}

// openFlagsOnly are flags of a call that knows few of them.
func openFlagsOnly(l *line, v uint64) { l.bits(uint64(uint32(v)), &openBits) }

// openHow is struct open_how.
func openHow(l *line, v uint64) {
	b := l.fetch(v, 24)
	if b == nil {
		return
	}
	l.s("{flags=")
	flags := le.Uint64(b)
	l.openFlags(flags)
	if m := le.Uint64(b[8:]); m != 0 || flags&unix.O_CREAT != 0 {
		l.s(", mode=")
		l.oct3(m)
	}
	l.s(", resolve=")
	l.bits(le.Uint64(b[16:]), &resolveBits)
	l.c('}')
}

func atFlags(l *line, v uint64)      { l.bits(uint64(uint32(v)), &atBits) }
func unlinkFlags(l *line, v uint64)  { atFlags(l, v) }
func accessMode(l *line, v uint64)   { l.bits(uint64(uint32(v)), &accessModes) }
func accessFlags(l *line, v uint64)  { l.bits(uint64(uint32(v)), &accessBits) }
func whence(l *line, v uint64)       { l.one(uint64(uint32(v)), &whences) }
func xattrFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &xattrBits) }
func mountFlags(l *line, v uint64)   { l.bits(v, &mountBits) }
func umountFlags(l *line, v uint64)  { l.bits(v, &umountBits) }
func inotifyMask(l *line, v uint64)  { l.bits(uint64(uint32(v)), &inotifyBits) }
func inotifyFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &inotifyInitBits) }
func fadvice(l *line, v uint64)      { l.one(uint64(uint32(v)), &fadvices) }
func renameFlags(l *line, v uint64)  { l.bits(uint64(uint32(v)), &renameBits) }
func rwfFlags(l *line, v uint64)     { l.bits(uint64(uint32(v)), &rwfBits) }
func spliceFlags(l *line, v uint64)  { l.bits(uint64(uint32(v)), &spliceBits) }
func memfdFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &memfdBits) }

func flockOperation(l *line, v uint64)  { l.bits(uint64(uint32(v)), &flockOperations) }
func fallocateMode(l *line, v uint64)   { l.bits(uint64(uint32(v)), &fallocateModes) }
func syncRangeFlags(l *line, v uint64)  { l.bits(uint64(uint32(v)), &syncRangeBits) }
func closeRangeFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &closeRangeBits) }

// fileMode shows st_mode.
func (l *line) fileMode(v uint64) {
	if name := fileTypes.find(v & unix.S_IFMT); name != "" {
		l.s(name)
	} else {
		l.oct(v & unix.S_IFMT)
	}
	for _, f := range modeBits.flags {
		if v&f.v != 0 {
			l.c('|')
			l.s(f.name)
		}
	}
	l.c('|')
	l.oct3(v & 0o777)
}

// mknodMode is the mode, and the device number of a device.
func mknodMode(l *line, v uint64) {
	if v&unix.S_IFMT == 0 {
		mode(l, v)
	} else {
		l.fileMode(v & 0xffff)
	}
	if t := v & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
		l.s(", ")
		l.i++
		dev(l, l.arg(l.i))
	}
}

// dev is a device number.
func dev(l *line, v uint64) {
	l.s("makedev(")
	l.hex(uint64(unix.Major(v)))
	l.s(", ")
	l.hex(uint64(unix.Minor(v)))
	l.c(')')
}

// stat is struct stat.
func stat(l *line, v uint64) {
	b := l.fetch(v, 144)
	if b == nil {
		return
	}
	m := uint64(le.Uint32(b[24:]))
	l.s("{st_mode=")
	l.fileMode(m)
	if isDevice(m) {
		l.s(", st_rdev=")
		dev(l, le.Uint64(b[40:]))
	} else {
		l.s(", st_size=")
		l.int(int64(le.Uint64(b[48:])))
	}
	l.s(", ...}")
}

func isDevice(m uint64) bool {
	return m&unix.S_IFMT == unix.S_IFCHR || m&unix.S_IFMT == unix.S_IFBLK
}

// statxSyncMask is AT_STATX_SYNC_TYPE.
const statxSyncMask = 0x6000

// statxFlags are AT_* flags, and how to synchronise.
func statxFlags(l *line, v uint64) {
	v = uint64(uint32(v))
	l.one(v&statxSyncMask, &statxSync)
	if v &^= statxSyncMask; v != 0 {
		l.c('|')
		l.someBits(v, &atBits)
	}
}

func statxMask(l *line, v uint64) { l.bits(uint64(uint32(v)), &statxBits) }

// statx is struct statx.
func statx(l *line, v uint64) {
	b := l.fetch(v, 256)
	if b == nil {
		return
	}
	l.s("{stx_mask=")
	l.bits(uint64(le.Uint32(b)), &statxBits)
	l.s(", stx_attributes=")
	l.bits(le.Uint64(b[8:]), &statxAttributes)
	m := uint64(le.Uint16(b[28:]))
	l.s(", stx_mode=")
	l.fileMode(m)
	if isDevice(m) {
		l.s(", stx_rdev=makedev(")
		l.hex(uint64(le.Uint32(b[128:])))
		l.s(", ")
		l.hex(uint64(le.Uint32(b[132:])))
		l.c(')')
	}
	l.s(", stx_size=")
	l.uint(le.Uint64(b[40:]))
	l.s(", ...}")
}

// statfs is struct statfs.
func statfs(l *line, v uint64) {
	b := l.fetch(v, 120)
	if b == nil {
		return
	}
	u := func(name string, off int) {
		l.s(name)
		l.uint(le.Uint64(b[off:]))
	}
	l.s("{f_type=")
	if magic := le.Uint64(b); fsMagics.find(magic) != "" {
		l.s(fsMagics.find(magic))
	} else {
		l.hex(magic)
	}
	u(", f_bsize=", 8)
	u(", f_blocks=", 16)
	u(", f_bfree=", 24)
	u(", f_bavail=", 32)
	u(", f_files=", 40)
	u(", f_ffree=", 48)
	l.s(", f_fsid={val=[")
	l.hex(uint64(le.Uint32(b[56:])))
	l.s(", ")
	l.hex(uint64(le.Uint32(b[60:])))
	l.s("]}")
	u(", f_namelen=", 64)
	u(", f_frsize=", 72)
	l.s(", f_flags=")
	l.bits(le.Uint64(b[80:]), &fsFlags)
	l.c('}')
}

// dirents counts the entries that the call returned. Both layouts have the
// length of an entry at offset 16.
func dirents(l *line, v uint64) {
	l.addr(v)
	if l.failed() {
		return
	}
	b := l.peek(v, int(min(l.ret, 1<<20)))
	if b == nil {
		return
	}
	n := uint64(0)
	for len(b) >= 19 {
		size := int(le.Uint16(b[16:]))
		if size < 19 || size > len(b) {
			break
		}
		b = b[size:]
		n++
	}
	l.s(" /* ")
	l.uint(n)
	if n == 1 {
		l.s(" entry */")
	} else {
		l.s(" entries */")
	}
}

// iovIn is struct iovec[], the number of which is the next argument.
func iovIn(l *line, v uint64) { l.iovecs(v, l.arg(l.i+1), ^uint64(0), true) }

// iovOut is iovIn after the call filled as many bytes as it returned.
func iovOut(l *line, v uint64) {
	if l.failed() {
		iovAddrs(l, v)
		return
	}
	l.iovecs(v, l.arg(l.i+1), l.ret, true)
}

// iovAddrs is struct iovec[] of which only the addresses are shown, whether the
// call failed or not.
func iovAddrs(l *line, v uint64) {
	l.given(v, func(l *line, v uint64) { l.iovecs(v, l.arg(l.i+1), 0, false) })
}

// maxIov is Linux's UIO_MAXIOV: more makes the call fail.
const maxIov = 1024

// iovecs shows n iovecs and, with data, the first bytes of each.
func (l *line) iovecs(addr, n, bytes uint64, data bool) {
	l.elements(addr, min(n, maxIov), 16, func(b []byte) {
		base, size := le.Uint64(b), le.Uint64(b[8:])
		l.s("{iov_base=")
		if data {
			got := min(size, bytes)
			l.buffer(base, got)
			bytes -= got
		} else {
			l.addr(base)
		}
		l.s(", iov_len=")
		l.uint(size)
		l.c('}')
	})
}

// fcntlCommand is the command and, unless the call fills it, its argument.
func fcntlCommand(l *line, v uint64) {
	cmd := int(int32(v))
	l.one(uint64(uint32(v)), &fcntlCommands)
	l.glue = true
	arg := l.arg(2)
	switch cmd {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETSIG, unix.F_GETLEASE,
		unix.F_GETPIPE_SZ, unix.F_GET_SEALS, unix.F_GETLK, unix.F_OFD_GETLK, unix.F_GETOWN_EX:
		return
	}
	l.s(", ")
	switch cmd {
	case unix.F_SETFD:
		l.bits(arg, &fdBits)
	case unix.F_SETFL:
		l.openFlags(arg)
	case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		l.flock(arg, false)
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETOWN, unix.F_SETPIPE_SZ:
		num(l, arg)
	case unix.F_SETSIG:
		sig(l, arg)
	case unix.F_SETLEASE:
		l.one(uint64(uint32(arg)), &lockTypes)
	case unix.F_ADD_SEALS:
		l.bits(uint64(uint32(arg)), &seals)
	default:
		l.hex(arg)
	}
}

// fcntlAfter is what the call filled.
func fcntlAfter(l *line, v uint64) {
	switch int(int32(l.arg(1))) {
	case unix.F_GETLK, unix.F_OFD_GETLK:
		l.s(", ")
		l.flock(l.arg(2), true)
	case unix.F_GETOWN_EX:
		l.s(", ")
		l.addr(l.arg(2))
	}
}

// flock shows struct flock.
func (l *line) flock(addr uint64, owner bool) {
	b := l.fetch(addr, 32)
	if b == nil {
		return
	}
	l.s("{l_type=")
	l.one(uint64(le.Uint16(b)), &lockTypes)
	l.s(", l_whence=")
	l.one(uint64(le.Uint16(b[2:])), &whences)
	l.s(", l_start=")
	l.int(int64(le.Uint64(b[8:])))
	l.s(", l_len=")
	l.int(int64(le.Uint64(b[16:])))
	if owner {
		l.s(", l_pid=")
		l.int(int64(int32(le.Uint32(b[24:]))))
	}
	l.c('}')
}

func retFcntl(l *line) {
	switch int(int32(l.arg(1))) {
	case unix.F_GETFD:
		l.hexBits(l.ret, &fdBits)
	case unix.F_GETFL:
		l.hex(l.ret)
		l.s(" (flags ")
		l.openFlags(l.ret)
		l.c(')')
	case unix.F_GET_SEALS:
		l.hexSeals()
	case unix.F_GETLEASE:
		l.hex(l.ret)
		if name := lockTypes.find(l.ret); name != "" {
			l.s(" (" + name + ")")
		}
	default:
		l.int(int64(l.ret))
	}
}

// hexBits shows a value and what its bits are called.
func (l *line) hexBits(v uint64, s *set) {
	l.hex(v)
	if v != 0 {
		l.s(" (flags ")
		l.bits(v, s)
		l.c(')')
	}
}

func (l *line) hexSeals() {
	l.hex(l.ret)
	if l.ret != 0 {
		l.s(" (seals ")
		l.bits(l.ret, &seals)
		l.c(')')
	}
}
