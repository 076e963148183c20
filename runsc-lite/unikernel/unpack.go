package unikernel

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
	"runsc-lite/hostcall"
)

// content reads a file of an archive.
func content(a *archive.Reader, n *archive.Inode) io.Reader {
	return io.NewSectionReader(readerAt{a, n}, 0, n.Size)
}

type readerAt struct {
	a *archive.Reader
	n *archive.Inode
}

// ReadAt implements io.ReaderAt.
func (r readerAt) ReadAt(b []byte, off int64) (int, error) {
	short := off+int64(len(b)) > r.n.Size
	if short {
		b = b[:max(0, r.n.Size-off)]
	}
	if err := r.a.ReadAt(r.n, b, off); err != nil {
		return 0, err
	}
	if short {
		return len(b), io.EOF
	}
	return len(b), nil
}

// WriteTar writes the files of an archive as a tar archive.
func WriteTar(w io.Writer, a *archive.Reader) error {
	t := tar.NewWriter(w)
	named := map[uint32]string{}
	err := a.Walk(func(name string, n *archive.Inode) error {
		h := &tar.Header{
			Name: "./" + name, Mode: int64(n.Mode & 0o7777), Uid: int(n.UID), Gid: int(n.GID),
			ModTime: time.Unix(n.Sec, int64(n.Nsec)), Format: tar.FormatPAX,
		}
		if first, ok := named[n.Number]; ok && n.Mode&unix.S_IFMT != unix.S_IFDIR {
			h.Typeflag, h.Linkname = tar.TypeLink, "./"+first
			return t.WriteHeader(h)
		}
		named[n.Number] = name
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			h.Typeflag = tar.TypeDir
			if name != "" {
				h.Name += "/"
			}
		case unix.S_IFREG:
			h.Typeflag, h.Size = tar.TypeReg, n.Size
		case unix.S_IFLNK:
			h.Typeflag = tar.TypeSymlink
			var err error
			if h.Linkname, err = a.Readlink(n); err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			h.Typeflag = tar.TypeChar
			if n.Mode&unix.S_IFMT == unix.S_IFBLK {
				h.Typeflag = tar.TypeBlock
			}
			h.Devmajor, h.Devminor = int64(unix.Major(n.Rdev)), int64(unix.Minor(n.Rdev))
		case unix.S_IFIFO:
			h.Typeflag = tar.TypeFifo
		default:
			return nil // tar(1) leaves sockets out, too
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			_, err := io.Copy(t, content(a, n))
			return err
		}
		return nil
	})
	return errors.Join(err, t.Close())
}

// Unpack writes the files of an archive into the directory dir, which it makes, or
// which is empty. Owners are kept if the caller is the superuser; for anybody else
// devices are an error. Nothing is written elsewhere, whatever the archive says.
func Unpack(a *archive.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{a: a, root: root, dir: dir, named: map[uint32]string{}, super: os.Geteuid() == 0}
	if err := a.Walk(u.file); err != nil {
		return err
	}
	// A directory gets its attributes when nothing is put into it any more.
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.attributes(u.dirs[i].name, u.dirs[i].inode); err != nil {
			return err
		}
	}
	return nil
}

type unpacker struct {
	a     *archive.Reader
	root  *os.Root
	dir   string
	named map[uint32]string
	dirs  []unpackedDir
	super bool
}

type unpackedDir struct {
	name  string
	inode *archive.Inode
}

func (u *unpacker) file(name string, n *archive.Inode) error {
	if name == "" {
		u.dirs = append(u.dirs, unpackedDir{".", n})
		return nil
	}
	if first, ok := u.named[n.Number]; ok && n.Mode&unix.S_IFMT != unix.S_IFDIR {
		return u.root.Link(first, name)
	}
	u.named[n.Number] = name
	var err error
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		u.dirs = append(u.dirs, unpackedDir{name, n})
		return u.root.Mkdir(name, 0o700)
	case unix.S_IFREG:
		err = u.regular(name, n)
	case unix.S_IFLNK:
		var to string
		if to, err = u.a.Readlink(n); err == nil {
			err = u.root.Symlink(to, name)
		}
	default:
		err = u.special(name, n)
	}
	if err != nil {
		return err
	}
	return u.attributes(name, n)
}

func (u *unpacker) regular(name string, n *archive.Inode) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content(u.a, n))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// special makes a device, a FIFO or a socket, in a directory that was made before.
func (u *unpacker) special(name string, n *archive.Inode) error {
	parent, err := u.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := hostcall.MknodAt(int(parent.Fd()), path.Base(name), n.Mode&unix.S_IFMT|0o600, n.Rdev); err != nil {
		return fmt.Errorf("making the device %s: %w", filepath.Join(u.dir, name), err)
	}
	return nil
}

func (u *unpacker) attributes(name string, n *archive.Inode) error {
	if u.super {
		if err := u.root.Lchown(name, int(n.UID), int(n.GID)); err != nil {
			return err
		}
	}
	if n.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil // neither mode nor time can be set by way of a Root
	}
	mode := os.FileMode(n.Mode & 0o777)
	for _, bit := range []struct {
		unix uint32
		mode os.FileMode
	}{{unix.S_ISUID, os.ModeSetuid}, {unix.S_ISGID, os.ModeSetgid}, {unix.S_ISVTX, os.ModeSticky}} {
		if n.Mode&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	if err := u.root.Chmod(name, mode); err != nil {
		return err
	}
	at := time.Unix(n.Sec, int64(n.Nsec))
	return u.root.Chtimes(name, at, at)
}
