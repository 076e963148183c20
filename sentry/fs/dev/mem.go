package dev

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/vfs"
)

// The memory devices of drivers/char/mem.c. None of them moves the file's
// position, and lseek(2) on them answers 0, whatever it is asked (null_lseek).

func length(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// device is what all of them have.
type device struct{}

// Release implements vfs.FileOps.
func (device) Release() {}

// WriteAt implements vfs.WriterAt: what is written goes nowhere.
func (device) WriteAt(src [][]byte, off int64, _ bool) (int64, int64, error) {
	return length(src), off, nil
}

// Lseek implements vfs.Seeker.
func (device) Lseek(int64, int64, int32) (int64, error) { return 0, nil }

// null is /dev/null.
type null struct{ device }

// ReadAt implements vfs.ReaderAt.
func (null) ReadAt([][]byte, int64) (int64, error) { return 0, nil }

// Discard implements vfs.Discarder.
func (null) Discard(n int64) (int64, error) { return n, nil }

// zero is /dev/zero.
type zero struct{ null }

// ReadAt implements vfs.ReaderAt.
func (zero) ReadAt(dst [][]byte, _ int64) (int64, error) {
	for _, b := range dst {
		clear(b)
	}
	return length(dst), nil
}

// MapsZeroes implements vfs.Zeroes.
func (zero) MapsZeroes() {}

// full is /dev/full.
type full struct{ device }

// ReadAt implements vfs.ReaderAt.
func (full) ReadAt(dst [][]byte, off int64) (int64, error) { return zero{}.ReadAt(dst, off) }

// WriteAt implements vfs.WriterAt.
func (full) WriteAt(src [][]byte, off int64, _ bool) (int64, int64, error) {
	return 0, off, unix.ENOSPC
}

// Discard implements vfs.Discarder.
func (full) Discard(int64) (int64, error) { return 0, unix.ENOSPC }

// random is /dev/random and /dev/urandom, which have been the same since the pool
// is ready (drivers/char/random.c). What is written to it is thrown away: the host's
// pool needs nothing from a guest.
type random struct{ device }

// ReadAt implements vfs.ReaderAt.
func (random) ReadAt(dst [][]byte, _ int64) (int64, error) {
	// The guest's memory may change under a cipher that works in place.
	var buf [4096]byte
	n := int64(0)
	for _, b := range dst {
		for len(b) > 0 {
			c := min(len(b), len(buf))
			rand.Read(buf[:c])
			copy(b, buf[:c])
			b = b[c:]
			n += int64(c)
		}
	}
	return n, nil
}

// The ioctls of random(4).
const (
	rndGetEntCnt   = 0x80045200
	rndAddToEntCnt = 0x40045201
	rndAddEntropy  = 0x40085203
	rndZapEntCnt   = 0x5204
	rndClearPool   = 0x5206
	rndReseedCRNG  = 0x5207
)

// poolBits is the size of Linux's entropy pool.
const poolBits = 256

// Ioctl implements vfs.Ioctler. The pool is full and not the guest's: EPERM for
// who wants to change it, root or not.
func (random) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	switch request {
	case rndGetEntCnt:
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], poolBits)
		_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
		return 0, err
	case rndAddToEntCnt, rndAddEntropy, rndZapEntCnt, rndClearPool, rndReseedCRNG:
		return 0, unix.EPERM
	}
	return 0, unix.EINVAL
}
