package unikernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"runsc-lite/archive"
)

// Self opens the archive behind the running executable: nil if it is a runner and
// nothing else. An executable that is longer than a runner, without an archive at
// its end, is an image that is not whole: an error.
func Self() (*Image, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, nil // nobody could pack an image so that it ends here
	}
	i, err := open(f)
	if err == nil {
		return i, nil
	}
	defer f.Close()
	if !errors.Is(err, archive.ErrNone) {
		return nil, fmt.Errorf("the image cannot be read: %w", err)
	}
	if more, err := beyondELF(f); err == nil && more > 0 {
		return nil, fmt.Errorf("the image is damaged: it has %d bytes of an archive, but not its end", more)
	}
	return nil, nil
}

// beyondELF returns how many bytes a file has after the last that belongs to it as
// an ELF file. debug/elf would read much more of it, each time that the runner
// starts.
func beyondELF(f *os.File) (int64, error) {
	const (
		headerSize  = 64
		sectionSize = 64
		noBits      = 8
	)
	le := binary.LittleEndian
	var head [headerSize]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, err
	}
	if string(head[:5]) != "\x7fELF\x02" || le.Uint16(head[58:]) != sectionSize {
		return 0, errors.New("no ELF file of 64 bits")
	}
	at, n := int64(le.Uint64(head[40:])), int64(le.Uint16(head[60:]))
	table := make([]byte, n*sectionSize)
	if _, err := f.ReadAt(table, at); err != nil {
		return 0, err
	}
	end := at + int64(len(table))
	for ; len(table) > 0; table = table[sectionSize:] {
		if le.Uint32(table[4:]) != noBits {
			end = max(end, int64(le.Uint64(table[24:])+le.Uint64(table[32:])))
		}
	}
	size, err := f.Seek(0, io.SeekEnd)
	return size - end, err
}
