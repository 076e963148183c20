package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Node is a file, directory or other object that is to be put into an archive. A
// Node that stands in directories several times is a file with several names.
type Node struct {
	Mode     uint32 // type and permissions
	UID, GID uint32
	Sec      int64 // the time of the last change
	Nsec     uint32
	Rdev     uint64
	Size     int64                         // of a regular file
	Open     func() (io.ReadCloser, error) // a regular file's content, Size bytes
	Target   string                        // of a symbolic link
	Children map[string]*Node              // of a directory
}

// IsDir says whether n is a directory.
func (n *Node) IsDir() bool { return n.Mode&unix.S_IFMT == unix.S_IFDIR }

// Write writes an archive of the tree. The same tree gives the same bytes. config
// is kept beside it, for Reader.Config. It returns the archive's length.
func Write(w io.Writer, root *Node, config []byte) (length uint64, err error) {
	if len(config) > maxConfig {
		return 0, fmt.Errorf("a configuration of %d bytes; at most %d", len(config), maxConfig)
	}
	b := &builder{numbers: map[*Node]uint32{}}
	if err := b.number(root); err != nil {
		return 0, err
	}
	out := newPacker(w)
	defer out.stop()
	err = b.contents(out)
	if err := errors.Join(err, out.flush()); err != nil {
		return 0, err
	}
	return b.finish(out, config)
}

// builder collects the tables of the index.
type builder struct {
	nodes   []*Node // by their numbers
	numbers map[*Node]uint32
	inodes  []Inode
	dirents []byte
	pieces  []byte
	names   []byte
	bytes   uint64
}

// number gives the nodes their numbers, those of a directory's children greater
// than its own, and writes the directories.
func (b *builder) number(root *Node) error {
	if !root.IsDir() {
		return errors.New("the root is no directory")
	}
	add := func(n *Node) uint32 {
		i := uint32(len(b.nodes))
		b.nodes = append(b.nodes, n)
		b.numbers[n] = i
		b.inodes = append(b.inodes, Inode{Number: i, Mode: n.Mode, UID: n.UID, GID: n.GID, Sec: n.Sec, Nsec: n.Nsec, Rdev: n.Rdev})
		return i
	}
	var visit func(path string, n *Node, i uint32) error
	visit = func(path string, n *Node, i uint32) error {
		names := slices.Sorted(maps.Keys(n.Children))
		first, links := uint64(len(b.dirents)/direntSize), uint32(2)
		var dirs []string
		for _, name := range names {
			c, where := n.Children[name], path+"/"+name
			if !ValidName(name) {
				return fmt.Errorf("%q: not a name that a file can have", where)
			}
			number, known := b.numbers[c]
			if !known {
				number = add(c)
			}
			if c.IsDir() {
				if known {
					return fmt.Errorf("%s: a directory with two names", where)
				}
				dirs = append(dirs, name)
				links++
			} else {
				b.inodes[number].Nlink++
			}
			if !known {
				if err := b.describe(c, &b.inodes[number]); err != nil {
					return fmt.Errorf("%s: %w", where, err)
				}
			}
			b.dirents = binary.LittleEndian.AppendUint64(b.dirents, uint64(len(b.names)))
			b.dirents = binary.LittleEndian.AppendUint32(b.dirents, number)
			b.dirents = append(b.dirents, byte(len(name)), byte(c.Mode&unix.S_IFMT>>12), 0, 0)
			b.names = append(b.names, name...)
		}
		d := &b.inodes[i]
		d.first, d.entries, d.Nlink = first, uint32(len(names)), links
		for _, name := range dirs {
			c := n.Children[name]
			if err := visit(path+"/"+name, c, b.numbers[c]); err != nil {
				return err
			}
		}
		return nil
	}
	return visit("", root, add(root))
}

// describe fills in what is of one type of inode only.
func (b *builder) describe(n *Node, i *Inode) error {
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if n.Size < 0 || n.Size > maxFile {
			return fmt.Errorf("a file of %d bytes", n.Size)
		}
		i.Size = n.Size
	case unix.S_IFLNK:
		if n.Target == "" || len(n.Target) > maxTarget {
			return fmt.Errorf("a symbolic link of %d bytes", len(n.Target))
		}
		i.Size, i.first = int64(len(n.Target)), uint64(len(b.names))
		b.names = append(b.names, n.Target...)
	case unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("a file of type %#o", n.Mode&unix.S_IFMT)
	}
	return nil
}

// contents writes the blocks of all files, in the order of their numbers.
func (b *builder) contents(out *packer) error {
	buf := make([]byte, BlockSize)
	for i, n := range b.nodes {
		if n.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		b.inodes[i].first = uint64(len(b.pieces) / pieceSize)
		if n.Size == 0 {
			continue
		}
		if err := b.file(out, n, buf); err != nil {
			return err
		}
		b.bytes += uint64(n.Size)
	}
	return nil
}

func (b *builder) file(out *packer, n *Node, buf []byte) error {
	f, err := n.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	for left := n.Size; left > 0; {
		part := buf[:min(left, BlockSize)]
		if _, err := io.ReadFull(f, part); err != nil {
			return fmt.Errorf("%d bytes before its end: %w", left, err)
		}
		block, at := out.add(part)
		b.pieces = binary.LittleEndian.AppendUint32(b.pieces, block)
		b.pieces = binary.LittleEndian.AppendUint32(b.pieces, at)
		left -= int64(len(part))
	}
	return nil
}

// finish writes the index, the header and the trailer.
func (b *builder) finish(out *packer, config []byte) (uint64, error) {
	if max(len(b.inodes), len(b.dirents)/direntSize, len(b.pieces)/pieceSize, len(out.blocks)) >= int(hole) {
		return 0, errors.New("too many files")
	}
	h := header{
		inodes: uint32(len(b.inodes)), dirents: uint32(len(b.dirents) / direntSize),
		pieces: uint32(len(b.pieces) / pieceSize), blocks: uint32(len(out.blocks)),
		names: uint64(len(b.names)), contents: b.bytes, index: out.at, config: config,
	}
	dirents, pieces, blocks, names, end := h.sections()
	index := make([]byte, 0, end)
	for i := range b.inodes {
		index = b.inodes[i].encode(index)
	}
	for _, s := range []struct {
		at    uint64
		bytes []byte
	}{{dirents, b.dirents}, {pieces, b.pieces}, {blocks, out.table()}, {names, b.names}} {
		index = append(index, make([]byte, s.at-uint64(len(index)))...)
		index = append(index, s.bytes...)
	}
	for page := range slices.Chunk(index, pageSize) {
		stored := out.compress(page)
		h.pages = append(h.pages, pageRef{stored: uint32(len(stored)), sum: sum(stored)})
		if err := out.write(stored); err != nil {
			return 0, err
		}
	}
	head := h.encode()
	if len(head) > maxHeader {
		return 0, errors.New("too many files")
	}
	if err := out.write(head); err != nil {
		return 0, err
	}
	t := trailer{header: uint32(len(head)), length: out.at, sum: sha256.Sum256(head)}
	err := out.write(t.encode())
	return out.at, err
}
