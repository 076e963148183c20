package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// packer makes blocks and writes them, several at a time, in their order.
type packer struct {
	w      io.Writer
	at     uint64        // bytes written
	quick  *zstd.Encoder // finds out what is worth the work of
	best   *zstd.Encoder
	blocks []*blockRef
	known  map[[sha256.Size]byte]place // where content is already

	rest   []byte // the block that small pieces share
	number uint32 // its number

	queue chan *job // to the writer, in order
	done  chan error
	ended bool
}

// place is a piece of a block.
type place struct{ block, at uint32 }

// job is a block on its way.
type job struct {
	ref    *blockRef
	stored chan []byte
}

func newPacker(w io.Writer) *packer {
	p := &packer{w: w, quick: newEncoder(zstd.SpeedFastest), best: newEncoder(zstd.SpeedBestCompression), known: map[[sha256.Size]byte]place{}, queue: make(chan *job, 2*runtime.GOMAXPROCS(0)), done: make(chan error, 1)}
	go func() { p.done <- p.writeAll() }()
	return p
}

func newEncoder(level zstd.EncoderLevel) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		panic("archive: " + err.Error()) // the options are wrong
	}
	return e
}

// writeAll writes the blocks as they come.
func (p *packer) writeAll() (err error) {
	for j := range p.queue {
		stored := <-j.stored
		if err != nil {
			continue // let those who wait go on
		}
		j.ref.at, j.ref.stored, j.ref.sum = p.at, uint32(len(stored)), sum(stored)
		err = p.write(stored)
	}
	return err
}

func (p *packer) write(b []byte) error {
	n, err := p.w.Write(b)
	p.at += uint64(n)
	return err
}

// compress returns what is to be stored for data: data itself, if compression
// brings next to nothing, so that it need not be undone.
func (p *packer) compress(data []byte) []byte {
	worth := len(data) - len(data)/50
	c := p.quick.EncodeAll(data, make([]byte, 0, len(data)))
	if len(data) > 4096 && len(c) >= worth {
		return data
	}
	if c = p.best.EncodeAll(data, c[:0]); len(c) < worth {
		return c
	}
	return data
}

// add puts a piece of a file somewhere and says where that is.
func (p *packer) add(piece []byte) (block, at uint32) {
	if zeros(piece) {
		return hole, 0
	}
	key := sha256.Sum256(piece)
	if at, ok := p.known[key]; ok {
		return at.block, at.at
	}
	var where place
	if len(piece) == BlockSize {
		where = place{block: p.reserve()}
		p.send(slices.Clone(piece), where.block)
	} else {
		if len(p.rest)+len(piece) > BlockSize {
			p.sendRest()
		}
		if p.rest == nil {
			p.rest, p.number = make([]byte, 0, BlockSize), p.reserve()
		}
		where = place{p.number, uint32(len(p.rest))}
		p.rest = append(p.rest, piece...)
	}
	p.known[key] = where
	return where.block, where.at
}

// zeros says whether b holds nothing else.
func zeros(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

func (p *packer) reserve() uint32 {
	p.blocks = append(p.blocks, &blockRef{})
	return uint32(len(p.blocks) - 1)
}

func (p *packer) sendRest() {
	if p.rest != nil {
		p.send(p.rest, p.number)
		p.rest = nil
	}
}

// send has a block compressed and written.
func (p *packer) send(data []byte, number uint32) {
	j := &job{ref: p.blocks[number], stored: make(chan []byte, 1)}
	j.ref.size = len(data)
	p.queue <- j
	go func() { j.stored <- p.compress(data) }()
}

// flush waits until all is written.
func (p *packer) flush() error {
	p.sendRest()
	p.ended = true
	close(p.queue)
	return <-p.done
}

// stop ends what flush has not.
func (p *packer) stop() {
	if !p.ended {
		p.flush()
	}
	p.quick.Close()
	p.best.Close()
}

// table is the index's table of blocks.
func (p *packer) table() []byte {
	b := make([]byte, 0, len(p.blocks)*blockEntry)
	for _, ref := range p.blocks {
		b = binary.LittleEndian.AppendUint64(b, ref.at)
		b = binary.LittleEndian.AppendUint32(b, ref.stored)
		b = binary.LittleEndian.AppendUint32(b, uint32(ref.size))
		b = append(b, ref.sum[:]...)
	}
	return b
}
