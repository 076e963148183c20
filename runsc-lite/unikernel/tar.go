package unikernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
	"runsc-lite/archive"
)

// decompress finds out by its first bytes how a stream is compressed: with gzip,
// zstd, or not.
func decompress(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// spool keeps the contents of files of tar archives until they are packed, in a
// file without a name.
type spool struct {
	file *os.File
	end  int64
}

// newSpool makes one in the directory dir.
func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, ".runsc-lite-pack-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return &spool{file: f}, nil
}

func (s *spool) Close() error { return s.file.Close() }

// add keeps size bytes of r and returns how to read them.
func (s *spool) add(r io.Reader, size int64) (func() (io.ReadCloser, error), error) {
	start := s.end
	n, err := io.Copy(io.NewOffsetWriter(s.file, start), io.LimitReader(r, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	s.end += n
	return func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(s.file, start, size)), nil
	}, nil
}

// layers puts tar archives over one another.
type layers struct {
	root      *archive.Node
	spool     *spool
	whiteouts bool // files called .wh.NAME remove NAME (OCI image layers)

	layer   int
	from    map[*archive.Node]int // the layer that a node is of
	entries int
}

// maxEntries bounds how many entries are read.
const maxEntries = 10_000_000

func newLayers(s *spool, whiteouts bool) *layers {
	return &layers{root: newDir(), spool: s, whiteouts: whiteouts, from: map[*archive.Node]int{}}
}

// add reads one archive, compressed or not.
func (l *layers) add(r io.Reader) error {
	l.layer++
	z, done, err := decompress(r)
	if err != nil {
		return err
	}
	defer done()
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if l.entries++; l.entries > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		if err := l.entry(h, t); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

var errClimbs = errors.New("the path leads out of the archive")

// split cleans a path of an archive: a leading slash goes, as with tar(1).
func split(name string) (dir, base string, err error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", "", errClimbs
		}
	}
	if len(name) > 4096 {
		return "", "", unix.ENAMETOOLONG
	}
	dir, base = path.Split(strings.TrimPrefix(path.Clean("/"+name), "/"))
	if base != "" && !archive.ValidName(base) {
		return "", "", errors.New("not a name that a file can have")
	}
	return dir, base, nil
}

// parent returns the directory that an entry is to be put into.
func (l *layers) parent(dir string) (*archive.Node, error) {
	n, err := find(l.root, dir, func() *archive.Node {
		n := newDir()
		l.from[n] = l.layer
		return n
	})
	if err == nil && !n.IsDir() {
		err = unix.ENOTDIR
	}
	return n, err
}

func (l *layers) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	dir, base, err := split(h.Name)
	if err != nil {
		return err
	}
	parent, err := l.parent(dir)
	if err != nil {
		return err
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok && l.whiteouts {
		switch {
		case hidden == ".wh..opq":
			l.prune(parent)
		case archive.ValidName(hidden):
			l.remove(parent, hidden)
		default:
			return errors.New("not a name that can be removed")
		}
		return nil
	}
	n := &archive.Node{Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())}
	switch h.Typeflag {
	case tar.TypeDir:
		n.Mode |= unix.S_IFDIR
		n.Children = map[string]*archive.Node{}
		old := parent.Children[base]
		if base == "" {
			old = l.root
		}
		if old != nil && old.IsDir() {
			n.Children = old.Children
			*old = *n
			n = old
		}
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		n.Mode |= unix.S_IFREG
		n.Size = h.Size
		if n.Open, err = l.spool.add(content, h.Size); err != nil {
			return err
		}
	case tar.TypeSymlink:
		n.Mode, n.Target = unix.S_IFLNK|0o777, h.Linkname
		if n.Target == "" || len(n.Target) > 4095 || strings.Contains(n.Target, "\x00") {
			return fmt.Errorf("a symbolic link to %q", n.Target)
		}
	case tar.TypeLink:
		todir, tobase, err := split(h.Linkname)
		if err != nil {
			return err
		}
		at, err := find(l.root, todir, nil)
		if err != nil {
			return err
		}
		if n = at.Children[tobase]; n == nil || n.IsDir() {
			return fmt.Errorf("a hard link to %q, which is not there", h.Linkname)
		}
	case tar.TypeChar, tar.TypeBlock:
		n.Mode |= unix.S_IFCHR
		if h.Typeflag == tar.TypeBlock {
			n.Mode ^= unix.S_IFCHR ^ unix.S_IFBLK
		}
		n.Rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeFifo:
		n.Mode |= unix.S_IFIFO
	default:
		return fmt.Errorf("an entry of type %q", h.Typeflag)
	}
	l.from[n] = l.layer
	switch {
	case base != "":
		parent.Children[base] = n
	case n != l.root:
		return errors.New("the root is no directory")
	}
	return nil
}

// remove takes away what a lower layer has under a name.
func (l *layers) remove(parent *archive.Node, name string) {
	n := parent.Children[name]
	switch {
	case n == nil:
	case l.from[n] < l.layer && !l.has(n):
		delete(parent.Children, name)
	case n.IsDir():
		l.prune(n)
	}
}

// has says whether this layer put something into a directory.
func (l *layers) has(n *archive.Node) bool {
	for _, c := range n.Children {
		if l.from[c] == l.layer || l.has(c) {
			return true
		}
	}
	return false
}

// prune takes away all that lower layers have in a directory.
func (l *layers) prune(dir *archive.Node) {
	for name := range dir.Children {
		l.remove(dir, name)
	}
}

// fromTar is the tree of a tar archive.
func fromTar(path string, s *spool) (*archive.Node, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l := newLayers(s, false)
	if err := l.add(f); err != nil {
		return nil, fmt.Errorf("%s as a tar archive: %w", path, err)
	}
	return l.root, nil
}
