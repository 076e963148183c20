// Package archive keeps a read-only file tree in one piece of a file: an index,
// and the contents in blocks that are compressed, deduplicated and read when
// they are wanted. What follows it in the file is nothing, what goes before it is
// none of its business: a one-file image is a program with an archive behind it.
//
//	block 0 … block n      contents, 128 KiB each before compression
//	page 0 … page m        the index, 32 KiB each before compression
//	header                 how much there is of everything, the sums of the
//	                       pages, the configuration
//	trailer                64 bytes: magic, lengths, the header's SHA-256
//
// A file's whole blocks are blocks of the archive, and equal ones are one. Its
// rest shares a block with the rests of other files, so that many small files
// compress together. Blocks of zeros are not there at all.
//
// The index is one run of bytes, cut into pages: the tables of inodes, directory
// entries, pieces (where the parts of files are) and blocks, records of fixed
// size, and the names. Opening an archive reads the trailer and the header only,
// so that it takes the same time for any size; a page of the index and a block
// are read when they are first needed.
//
// # Trust
//
// Each block and page has a checksum (SHA-256, cut to 16 bytes) of what is
// stored, compared before it is decompressed. The header holds the sums of the
// pages and these the sums of the blocks, so that the header's SHA-256, the
// archive's digest, names everything in it. That finds damage; it does not make
// the maker of an archive honest: every number in it is checked when it is used,
// and no memory is taken because an archive says so beyond fixed bounds.
package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	// BlockSize is how many bytes of a file a block holds, at most.
	BlockSize = 128 << 10
	pageSize  = 32 << 10

	magic       = "runsc-lite image"
	version     = 1
	trailerSize = 64
	fixedHeader = 48
	pageEntry   = 4 + sumSize
	sumSize     = 16

	inodeSize  = 64
	direntSize = 16
	pieceSize  = 8
	blockEntry = 32

	// hole is the block number of a piece of zeros.
	hole = ^uint32(0)

	// Bounds of what a reader takes memory for.
	maxHeader = 64 << 20
	maxConfig = 1 << 20
	maxName   = 255
	maxTarget = 4095
	// maxFile is the largest size of a file.
	maxFile = 1 << 47
)

// ErrNone says that a file has no archive at its end.
var ErrNone = errors.New("there is no archive in it")

// ErrDamaged is what all errors are that an archive's content is to blame for.
var ErrDamaged = errors.New("the archive is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// sum is the checksum of stored bytes.
func sum(stored []byte) (s [sumSize]byte) {
	full := sha256.Sum256(stored)
	copy(s[:], full[:])
	return s
}

// trailer is the end of an archive.
type trailer struct {
	header uint32 // length of the header
	length uint64 // of the archive, without the trailer
	sum    [sha256.Size]byte
}

func (t *trailer) encode() []byte {
	b := make([]byte, 0, trailerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, t.header)
	b = binary.LittleEndian.AppendUint64(b, t.length)
	return append(b, t.sum[:]...)
}

// decode reads a trailer: ErrNone if it is not one. file is how long the file is.
func (t *trailer) decode(b []byte, file int64) error {
	if string(b[:16]) != magic {
		return ErrNone
	}
	if v := binary.LittleEndian.Uint32(b[16:]); v != version {
		return fmt.Errorf("the archive is of format %d; this version reads format %d", v, version)
	}
	t.header = binary.LittleEndian.Uint32(b[20:])
	t.length = binary.LittleEndian.Uint64(b[24:])
	copy(t.sum[:], b[32:])
	if t.header < fixedHeader || t.header > maxHeader || uint64(t.header) > t.length || t.length > uint64(file-trailerSize) {
		return damaged("its lengths, %d bytes with a header of %d, do not fit a file of %d", t.length, t.header, file)
	}
	return nil
}

// header says what there is.
type header struct {
	inodes, dirents, pieces, blocks uint32
	names                           uint64 // bytes
	contents                        uint64 // bytes of all files, deduplicated or not
	index                           uint64 // where the pages begin in the archive
	pages                           []pageRef
	config                          []byte
}

// pageRef is a page of the index as it is stored.
type pageRef struct {
	at     uint64 // in the archive
	stored uint32
	sum    [sumSize]byte
}

// sections are where the tables begin in the index.
func (h *header) sections() (dirents, pieces, blocks, names, end uint64) {
	dirents = uint64(h.inodes) * inodeSize
	pieces = roundUp(dirents + uint64(h.dirents)*direntSize)
	blocks = roundUp(pieces + uint64(h.pieces)*pieceSize)
	names = roundUp(blocks + uint64(h.blocks)*blockEntry)
	return dirents, pieces, blocks, names, names + h.names
}

// roundUp aligns sections, so that no record lies in two pages.
func roundUp(n uint64) uint64 { return (n + inodeSize - 1) &^ (inodeSize - 1) }

func pagesOf(index uint64) uint64 { return (index + pageSize - 1) / pageSize }

func (h *header) encode() []byte {
	b := make([]byte, 0, fixedHeader+len(h.pages)*pageEntry+len(h.config))
	for _, n := range []uint32{h.inodes, h.dirents, h.pieces, h.blocks} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	for _, n := range []uint64{h.names, h.contents, h.index} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.pages)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.config)))
	for _, p := range h.pages {
		b = binary.LittleEndian.AppendUint32(b, p.stored)
		b = append(b, p.sum[:]...)
	}
	return append(b, h.config...)
}

// decode reads a header. end is where it begins in the archive.
func (h *header) decode(b []byte, end uint64) error {
	le := binary.LittleEndian
	h.inodes, h.dirents, h.pieces, h.blocks = le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	h.names, h.contents, h.index = le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	pages, config := le.Uint32(b[40:]), le.Uint32(b[44:])
	if config > maxConfig || uint64(fixedHeader)+uint64(pages)*pageEntry+uint64(config) != uint64(len(b)) {
		return damaged("its header of %d bytes does not hold %d pages and %d bytes of configuration", len(b), pages, config)
	}
	if h.names > 1<<40 {
		return damaged("%d bytes of names", h.names)
	}
	_, _, _, _, index := h.sections()
	if h.inodes == 0 || pagesOf(index) != uint64(pages) {
		return damaged("%d inodes, and %d pages for an index of %d bytes", h.inodes, pages, index)
	}
	h.pages = make([]pageRef, pages)
	at := h.index
	for i := range h.pages {
		p := &h.pages[i]
		e := b[fixedHeader+i*pageEntry:]
		p.at, p.stored = at, le.Uint32(e)
		copy(p.sum[:], e[4:])
		if p.stored > pageSize {
			return damaged("page %d of the index is stored in %d bytes", i, p.stored)
		}
		at += uint64(p.stored)
	}
	if at != end || h.index > end {
		return damaged("its index ends at %d, the header begins at %d", at, end)
	}
	h.config = b[uint32(len(b))-config:]
	return nil
}

// Inode is a file, directory or other object of an archive.
type Inode struct {
	Number   uint32
	Mode     uint32 // type and permissions
	UID, GID uint32
	Nlink    uint32
	Size     int64 // bytes; of a symbolic link its text's
	Sec      int64 // the time of the last change
	Nsec     uint32
	Rdev     uint64

	entries uint32 // of a directory
	first   uint64 // of its entries, a file's pieces, a link's text
}

func (n *Inode) encode(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint32{n.Mode, n.UID, n.GID, n.Nlink} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, uint64(n.Size))
	b = le.AppendUint64(b, uint64(n.Sec))
	b = le.AppendUint32(b, n.Nsec)
	b = le.AppendUint32(b, n.entries)
	b = le.AppendUint64(b, n.Rdev)
	b = le.AppendUint64(b, n.first)
	return le.AppendUint64(b, 0)
}

func (n *Inode) decode(b []byte) {
	le := binary.LittleEndian
	n.Mode, n.UID, n.GID, n.Nlink = le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	n.Size, n.Sec = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	n.Nsec, n.entries = le.Uint32(b[32:]), le.Uint32(b[36:])
	n.Rdev, n.first = le.Uint64(b[40:]), le.Uint64(b[48:])
}

// Entry is a name in a directory.
type Entry struct {
	Name  string
	Inode uint32
	Type  uint8 // DT_*
}

// piecesOf is in how many pieces a file of so many bytes is.
func piecesOf(size int64) uint64 { return (uint64(size) + BlockSize - 1) / BlockSize }

// ValidName says whether a name may stand in a directory: one component of a
// path, that leads nowhere else.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxName && !strings.ContainsAny(name, "/\x00")
}
