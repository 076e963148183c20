package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Reader reads an archive. All methods are safe from any goroutine. Errors that
// the archive is to blame for are ErrDamaged; the others are the file's.
type Reader struct {
	file   io.ReaderAt
	start  int64 // of the archive in the file
	header header
	digest [sha256.Size]byte
	length uint64

	dirents, pieces, blocks, names, end uint64 // of the index's sections

	pages   []atomic.Pointer[[]byte]
	kept    keptPages
	decoder func() *zstd.Decoder
	buffers sync.Pool // of *[BlockSize]byte, for what is stored
	recent  blockCache
}

// Open finds the archive at the end of a file of the given size: ErrNone if there
// is none. It reads a fixed part of it, however large it is.
func Open(file io.ReaderAt, size int64) (*Reader, error) {
	if size < trailerSize {
		return nil, ErrNone
	}
	var end [trailerSize]byte
	if err := readFull(file, end[:], size-trailerSize); err != nil {
		return nil, err
	}
	var t trailer
	if err := t.decode(end[:], size); err != nil {
		return nil, err
	}
	r := &Reader{file: file, start: size - trailerSize - int64(t.length), digest: t.sum, length: t.length}
	b := make([]byte, t.header)
	if err := readFull(file, b, size-trailerSize-int64(t.header)); err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != t.sum {
		return nil, damaged("the checksum of its header is wrong")
	}
	if err := r.header.decode(b, t.length-uint64(t.header)); err != nil {
		return nil, err
	}
	r.dirents, r.pieces, r.blocks, r.names, r.end = r.header.sections()
	r.pages = make([]atomic.Pointer[[]byte], len(r.header.pages))
	r.buffers.New = func() any { return new([BlockSize]byte) }
	r.decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(1<<20),
			zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("archive: " + err.Error()) // the options are wrong
		}
		return d
	})
	return r, nil
}

func readFull(file io.ReaderAt, b []byte, off int64) error {
	n, err := file.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return damaged("it ends within %d bytes that should be at %d", len(b), off)
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(b), off, err)
}

// Config is the configuration that the archive was made with.
func (r *Reader) Config() []byte { return r.header.config }

// Digest names the content: equal archives have equal ones, others do not.
func (r *Reader) Digest() string { return "sha256:" + hex.EncodeToString(r.digest[:]) }

// Sizes are the bytes of the archive, of all files in it, and how many inodes
// there are.
func (r *Reader) Sizes() (archive, files uint64, inodes int) {
	return r.length + trailerSize, r.header.contents, int(r.header.inodes)
}

// Start is where the archive begins in the file.
func (r *Reader) Start() int64 { return r.start }

// load reads what is stored at off and decompresses it into dst, which it fills.
func (r *Reader) load(dst []byte, off uint64, stored uint32, want [sumSize]byte) error {
	buf := r.buffers.Get().(*[BlockSize]byte)
	defer r.buffers.Put(buf)
	b := buf[:stored]
	if err := readFull(r.file, b, r.start+int64(off)); err != nil {
		return err
	}
	if sum(b) != want {
		return damaged("wrong checksum")
	}
	if int(stored) == len(dst) {
		copy(dst, b)
		return nil
	}
	out, err := r.decoder().DecodeAll(b, dst[:0:len(dst)])
	if err != nil {
		return damaged("%v", err)
	}
	if len(out) != len(dst) {
		return damaged("%d bytes instead of %d", len(out), len(dst))
	}
	return nil
}

// page returns page i of the index.
func (r *Reader) page(i uint64) ([]byte, error) {
	if p := r.pages[i].Load(); p != nil {
		return *p, nil
	}
	b := make([]byte, min(pageSize, r.end-i*pageSize))
	p := &r.header.pages[i]
	if err := r.load(b, p.at, p.stored, p.sum); err != nil {
		return nil, fmt.Errorf("page %d of the index: %w", i, err)
	}
	r.pages[i].Store(&b)
	if old, ok := r.kept.add(i); ok {
		r.pages[old].Store(nil)
	}
	return b, nil
}

// record returns size bytes of the index, which lie in one page. off is below the
// end of its section.
func (r *Reader) record(off, size uint64) ([]byte, error) {
	p, err := r.page(off / pageSize)
	if err != nil {
		return nil, err
	}
	return p[off%pageSize:][:size], nil
}

// text returns n bytes of the names from off on.
func (r *Reader) text(off uint64, n int) (string, error) {
	if off > r.header.names || uint64(n) > r.header.names-off {
		return "", damaged("a name of %d bytes at %d", n, off)
	}
	b := make([]byte, 0, n)
	for at := r.names + off; len(b) < n; {
		p, err := r.page(at / pageSize)
		if err != nil {
			return "", err
		}
		part := p[at%pageSize:]
		part = part[:min(len(part), n-len(b))]
		b = append(b, part...)
		at += uint64(len(part))
	}
	return string(b), nil
}

// Inode returns an inode; the root is 0.
func (r *Reader) Inode(number uint32) (*Inode, error) {
	if number >= r.header.inodes {
		return nil, damaged("inode %d of %d", number, r.header.inodes)
	}
	b, err := r.record(uint64(number)*inodeSize, inodeSize)
	if err != nil {
		return nil, err
	}
	n := &Inode{Number: number}
	n.decode(b)
	ok := false
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		ok = n.first <= uint64(r.header.dirents) && uint64(n.entries) <= uint64(r.header.dirents)-n.first
	case unix.S_IFREG:
		ok = n.Size >= 0 && n.Size <= maxFile && n.first <= uint64(r.header.pieces) && piecesOf(n.Size) <= uint64(r.header.pieces)-n.first
	case unix.S_IFLNK:
		ok = n.Size > 0 && n.Size <= maxTarget
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		ok = n.Size == 0
	}
	if !ok || n.Mode&^(unix.S_IFMT|0o7777) != 0 || n.Nsec >= 1e9 {
		return nil, damaged("inode %d is not possible (mode %#o, size %d)", number, n.Mode, n.Size)
	}
	if number == 0 && n.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, damaged("its root is no directory")
	}
	return n, nil
}

// Entries returns how many names a directory has.
func (r *Reader) Entries(dir *Inode) int { return int(dir.entries) }

// Entry returns entry i of a directory, of Entries; they are sorted by name.
func (r *Reader) Entry(dir *Inode, i int) (e Entry, err error) {
	if dir.Mode&unix.S_IFMT != unix.S_IFDIR || i < 0 || i >= int(dir.entries) {
		return e, damaged("entry %d of inode %d", i, dir.Number)
	}
	b, err := r.record(r.dirents+(dir.first+uint64(i))*direntSize, direntSize)
	if err != nil {
		return e, err
	}
	le := binary.LittleEndian
	if e.Name, err = r.text(le.Uint64(b), int(b[12])); err != nil {
		return e, err
	}
	e.Inode, e.Type = le.Uint32(b[8:]), b[13]
	switch {
	case !ValidName(e.Name):
		return e, damaged("a file's name is %q", e.Name)
	case e.Inode >= r.header.inodes, e.Type == unix.DT_DIR && e.Inode <= dir.Number:
		// Directories come before what is in them, so that there are no circles.
		return e, damaged("%q of inode %d is inode %d", e.Name, dir.Number, e.Inode)
	}
	return e, nil
}

// Child returns the inode that an entry of a directory leads to.
func (r *Reader) Child(e Entry) (*Inode, error) {
	n, err := r.Inode(e.Inode)
	if err != nil {
		return nil, err
	}
	if uint8(n.Mode&unix.S_IFMT>>12) != e.Type {
		return nil, damaged("%q is not of the type that its directory says", e.Name)
	}
	return n, nil
}

// Lookup finds a name in a directory: nil if it is not there.
func (r *Reader) Lookup(dir *Inode, name string) (*Inode, error) {
	lo, hi := 0, int(dir.entries)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		e, err := r.Entry(dir, mid)
		switch {
		case err != nil:
			return nil, err
		case e.Name == name:
			return r.Child(e)
		case e.Name < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil, nil
}

// Readlink returns the text of a symbolic link.
func (r *Reader) Readlink(n *Inode) (string, error) {
	if n.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", damaged("inode %d is no link", n.Number)
	}
	return r.text(n.first, int(n.Size))
}

// ReadAt fills dst with a regular file's bytes from off on; there are as many.
func (r *Reader) ReadAt(n *Inode, dst []byte, off int64) error {
	if n.Mode&unix.S_IFMT != unix.S_IFREG || off < 0 || off > n.Size || int64(len(dst)) > n.Size-off {
		return fmt.Errorf("reading %d bytes at %d of inode %d, which has %d", len(dst), off, n.Number, n.Size)
	}
	for len(dst) > 0 {
		piece := off / BlockSize
		within := int(off % BlockSize)
		length := int(min(BlockSize, n.Size-piece*BlockSize))
		part := dst[:min(len(dst), length-within)]
		if err := r.readPiece(n.first+uint64(piece), length, within, part); err != nil {
			return fmt.Errorf("inode %d at %d: %w", n.Number, off, err)
		}
		dst = dst[len(part):]
		off += int64(len(part))
	}
	return nil
}

// readPiece reads from a piece of the given length.
func (r *Reader) readPiece(piece uint64, length, within int, dst []byte) error {
	b, err := r.record(r.pieces+piece*pieceSize, pieceSize)
	if err != nil {
		return err
	}
	number, at := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
	if number == hole {
		clear(dst)
		return nil
	}
	ref, err := r.block(number)
	if err != nil {
		return err
	}
	if at > ref.size || length > ref.size-at {
		return damaged("%d bytes at %d of block %d, which has %d", length, at, number, ref.size)
	}
	if len(dst) == ref.size { // all of it: past the cache
		err = r.load(dst, ref.at, ref.stored, ref.sum)
	} else {
		var data []byte
		if data, err = r.recent.get(number, func() ([]byte, error) {
			data := make([]byte, ref.size)
			return data, r.load(data, ref.at, ref.stored, ref.sum)
		}); err == nil {
			copy(dst, data[at+within:])
		}
	}
	if err != nil {
		return fmt.Errorf("block %d: %w", number, err)
	}
	return nil
}

// blockRef is a block as it is stored.
type blockRef struct {
	at     uint64 // in the archive
	stored uint32
	size   int
	sum    [sumSize]byte
}

func (r *Reader) block(number uint32) (ref blockRef, err error) {
	if number >= r.header.blocks {
		return ref, damaged("block %d of %d", number, r.header.blocks)
	}
	b, err := r.record(r.blocks+uint64(number)*blockEntry, blockEntry)
	if err != nil {
		return ref, err
	}
	le := binary.LittleEndian
	ref.at, ref.stored, ref.size = le.Uint64(b), le.Uint32(b[8:]), int(le.Uint32(b[12:]))
	copy(ref.sum[:], b[16:])
	if ref.stored > BlockSize || ref.size > BlockSize || ref.at > r.header.index || uint64(ref.stored) > r.header.index-ref.at {
		return ref, damaged("block %d is not possible (%d bytes, %d stored at %d)", number, ref.size, ref.stored, ref.at)
	}
	return ref, nil
}

// Verify reads everything and compares all checksums.
func (r *Reader) Verify() error {
	for i := range r.pages {
		if _, err := r.page(uint64(i)); err != nil {
			return err
		}
	}
	data := make([]byte, BlockSize)
	for i := range r.header.blocks {
		ref, err := r.block(i)
		if err == nil {
			err = r.load(data[:ref.size], ref.at, ref.stored, ref.sum)
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// Walk calls fn for each name of the tree, a directory before what is in it, the
// root with no name. path is slash-separated.
func (r *Reader) Walk(fn func(path string, n *Inode) error) error {
	root, err := r.Inode(0)
	if err != nil {
		return err
	}
	// A directory that had two names could make a tree without end of a small
	// archive.
	seen := make(map[uint32]bool)
	var walk func(path string, n *Inode) error
	walk = func(path string, n *Inode) error {
		if err := fn(path, n); err != nil || n.Mode&unix.S_IFMT != unix.S_IFDIR {
			return err
		}
		if seen[n.Number] {
			return damaged("a directory has two names, one of them %s", path)
		}
		seen[n.Number] = true
		if len(path) > 4096*4 {
			return damaged("a path of %d bytes", len(path))
		}
		last := ""
		for i := range int(n.entries) {
			e, err := r.Entry(n, i)
			if err != nil {
				return err
			}
			if e.Name <= last {
				return damaged("%q comes after %q", e.Name, last)
			}
			last = e.Name
			c, err := r.Child(e)
			if err != nil {
				return err
			}
			below := e.Name
			if path != "" {
				below = path + "/" + e.Name
			}
			if err := walk(below, c); err != nil {
				return err
			}
		}
		return nil
	}
	return walk("", root)
}
