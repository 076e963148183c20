package fstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Options are what Differ may do.
type Options struct {
	Steps int
	// Only a file system that is complete can be compared in these.
	Allocate bool // fallocate
	Holes    bool // SEEK_DATA, SEEK_HOLE, fallocate for holes only: what is allocated counts as data here
	DirMoves bool // renames of directories
	Coherent bool // a file that is open for reading only shows what others write
	Users    bool // several users
	Links    bool // hard links
}

var names = [...]string{"a", "b", "c", "d", "dir", "e"}

// path makes up a path: short, so that calls meet.
func path(r *rand.Rand) string {
	p := ""
	if r.IntN(3) == 0 {
		p = "/"
	}
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			p += "/"
			if r.IntN(16) == 0 {
				p += "/"
			}
		}
		switch r.IntN(24) {
		case 0:
			p += ".."
		case 1:
			p += "."
		default:
			p += names[r.IntN(len(names))]
		}
	}
	if r.IntN(16) == 0 {
		p += "/"
	}
	return p
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// step makes up a call and returns its text and how to make it.
func step(r *rand.Rand, o Options) (string, func(Kernel) string) {
	p, q, slot := path(r), path(r), r.IntN(Slots)
	off := pick(r, -1, 0, 1, 100, 4095, 4096, 10000, 70000)
	switch r.IntN(28) {
	case 0, 1, 2, 3:
		flags := uint32(pick(r, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR)) | unix.O_NONBLOCK
		if !o.Coherent {
			flags |= unix.O_RDWR
		}
		for _, f := range []uint32{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_PATH} {
			if r.IntN(3) == 0 {
				flags |= f
			}
			if f == unix.O_EXCL && flags&unix.O_CREAT == 0 {
				flags &^= unix.O_EXCL
			}
			if f == unix.O_PATH && r.IntN(4) != 0 {
				flags &^= unix.O_PATH
			}
			if f == unix.O_DIRECTORY && r.IntN(3) != 0 {
				flags &^= unix.O_DIRECTORY
			}
		}
		mode := pick[uint32](r, 0o644, 0o600, 0o777, 0o444, 0o4755, 0o2755, 0)
		return fmt.Sprintf("open(%d, %q, %#x, %#o)", slot, p, flags, mode),
			func(k Kernel) string { return k.Open(slot, p, flags, mode) }
	case 4, 5:
		n := pick(r, 1, 10, 5000, 20000)
		return fmt.Sprintf("read(%d, %d, %d)", slot, n, off), func(k Kernel) string { return k.Read(slot, n, int64(off)) }
	case 6, 7, 8:
		data := make([]byte, pick(r, 0, 1, 10, 100, 5000, 9000))
		for i := range data {
			data[i] = byte('a' + r.IntN(26))
			if i > 16 {
				data[i] = data[i-16]
			}
		}
		return fmt.Sprintf("write(%d, %d bytes, %d)", slot, len(data), off), func(k Kernel) string { return k.Write(slot, data, int64(off)) }
	case 9:
		whence := pick[int32](r, unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END, 77)
		if o.Holes {
			whence = pick(r, whence, unix.SEEK_DATA, unix.SEEK_HOLE)
		}
		return fmt.Sprintf("lseek(%d, %d, %d)", slot, off, whence), func(k Kernel) string { return k.Seek(slot, int64(off), whence) }
	case 10:
		return fmt.Sprintf("ftruncate(%d, %d)", slot, off), func(k Kernel) string { return k.Ftruncate(slot, int64(off)) }
	case 11:
		if !o.Allocate && !o.Holes {
			break
		}
		mode := pick[uint32](r, 0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE)
		if o.Holes {
			mode |= unix.FALLOC_FL_PUNCH_HOLE
		}
		n := pick[int64](r, 0, 1, 4096, 9000)
		return fmt.Sprintf("fallocate(%d, %d, %d, %d)", slot, mode, off, n), func(k Kernel) string { return k.Fallocate(slot, mode, int64(off), n) }
	case 12:
		return fmt.Sprintf("fstat(%d)", slot), func(k Kernel) string { return k.Fstat(slot) }
	case 13:
		flags := pick[uint32](r, 0, unix.AT_SYMLINK_NOFOLLOW)
		return fmt.Sprintf("stat(%q, %#x)", p, flags), func(k Kernel) string { return k.Stat(p, flags) }
	case 14:
		mode := uint32(r.IntN(8))
		return fmt.Sprintf("access(%q, %d)", p, mode), func(k Kernel) string { return k.Access(p, mode) }
	case 15, 16:
		mode := pick[uint32](r, 0o755, 0o700, 0o777, 0o1777, 0o2775, 0o555)
		return fmt.Sprintf("mkdir(%q, %#o)", p, mode), func(k Kernel) string { return k.Mkdir(p, mode) }
	case 17:
		mode := pick[uint32](r, unix.S_IFREG|0o666, 0o600, unix.S_IFSOCK|0o777, unix.S_IFDIR|0o777, unix.S_IFLNK)
		return fmt.Sprintf("mknod(%q, %#o)", p, mode), func(k Kernel) string { return k.Mknod(p, mode) }
	case 18:
		return fmt.Sprintf("rmdir(%q)", p), func(k Kernel) string { return k.Rmdir(p) }
	case 19:
		return fmt.Sprintf("unlink(%q)", p), func(k Kernel) string { return k.Unlink(p) }
	case 20:
		flags := pick[uint32](r, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE)
		return fmt.Sprintf("rename(%q, %q, %d)", p, q, flags), func(k Kernel) string {
			if !o.DirMoves && (isDir(k, p) || isDir(k, q)) {
				return ""
			}
			return k.Rename(p, q, flags)
		}
	case 21:
		if !o.Links {
			break
		}
		flags := pick[uint32](r, 0, unix.AT_SYMLINK_FOLLOW)
		return fmt.Sprintf("link(%q, %q, %#x)", p, q, flags), func(k Kernel) string { return k.Link(p, q, flags) }
	case 22:
		return fmt.Sprintf("symlink(%q, %q)", q, p), func(k Kernel) string { return k.Symlink(q, p) }
	case 23:
		return fmt.Sprintf("readlink(%q)", p), func(k Kernel) string { return k.Readlink(p) }
	case 24:
		mode := pick[uint32](r, 0o755, 0o000, 0o777, 0o1777, 0o2770, 0o6755)
		return fmt.Sprintf("chmod(%q, %#o)", p, mode), func(k Kernel) string { return k.Chmod(p, mode) }
	case 25:
		if !o.Users {
			break
		}
		uid, gid := pick[uint32](r, 0, 1000, 1001, ^uint32(0)), pick[uint32](r, 0, 1000, 1001, ^uint32(0))
		return fmt.Sprintf("chown(%q, %d, %d)", p, int32(uid), int32(gid)), func(k Kernel) string { return k.Chown(p, uid, gid) }
	case 26:
		if r.IntN(4) == 0 && o.Users {
			id := pick(r, 0, 0, 1000, 1001)
			return fmt.Sprintf("as(%d)", id), func(k Kernel) string { k.As(id); return "" }
		}
		if r.IntN(2) == 0 {
			return fmt.Sprintf("chdir(%q)", p), func(k Kernel) string { return k.Chdir(p) }
		}
		return fmt.Sprintf("truncate(%q, %d)", p, off), func(k Kernel) string { return k.Truncate(p, int64(off)) }
	}
	return fmt.Sprintf("readdir(%q)", p), func(k Kernel) string { return k.ReadDir(p) }
}

func isDir(k Kernel, path string) bool {
	return strings.HasPrefix(k.Stat(path, unix.AT_SYMLINK_NOFOLLOW), "4")
}

// Differ makes the same random calls of both and fails where they differ.
func Differ(tb testing.TB, seed uint64, o Options, host, sentry Kernel) {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var log []string
	for range o.Steps {
		text, do := step(r, o)
		want, got := do(host), do(sentry)
		log = append(log, fmt.Sprintf("%s = %.200s", text, got))
		if want != got {
			host.As(0)
			for _, l := range log[max(0, len(log)-40):] {
				tb.Log(l)
			}
			tb.Fatalf("seed %d: %s:\n host   %.400s\n sentry %.400s", seed, text, want, got)
		}
	}
	host.As(0)
}
