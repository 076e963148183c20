package mm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// word calls fn on the guest's 32-bit word at addr: EINVAL unless addr is a
// multiple of 4, EFAULT. Guests work on it at the same time with the
// processor's atomic instructions, and so does fn.
func (s *Space) word(addr hostarch.Addr, write bool, fn func(*uint32)) error {
	if addr&3 != 0 {
		return unix.EINVAL
	}
	_, err := s.each(addr, 4, access{write: write}, func(b []byte) bool {
		fn((*uint32)(unsafe.Pointer(&b[0])))
		return false
	})
	return err
}

// LoadUint32 reads the word at addr.
func (s *Space) LoadUint32(addr hostarch.Addr) (v uint32, err error) {
	err = s.word(addr, false, func(p *uint32) { v = atomic.LoadUint32(p) })
	return v, err
}

// StoreUint32 writes the word at addr.
func (s *Space) StoreUint32(addr hostarch.Addr, v uint32) error {
	return s.word(addr, true, func(p *uint32) { atomic.StoreUint32(p, v) })
}

// SwapUint32 writes the word at addr and returns what it was.
func (s *Space) SwapUint32(addr hostarch.Addr, v uint32) (old uint32, err error) {
	err = s.word(addr, true, func(p *uint32) { old = atomic.SwapUint32(p, v) })
	return old, err
}

// CompareAndSwapUint32 writes v if the word is old, and returns what it was.
func (s *Space) CompareAndSwapUint32(addr hostarch.Addr, old, v uint32) (was uint32, err error) {
	err = s.word(addr, true, func(p *uint32) {
		for {
			if was = atomic.LoadUint32(p); was != old || atomic.CompareAndSwapUint32(p, old, v) {
				return
			}
		}
	})
	return was, err
}

// UpdateUint32 replaces the word by what fn makes of it, in one step, and
// returns what it was. fn may be called more than once.
func (s *Space) UpdateUint32(addr hostarch.Addr, fn func(uint32) uint32) (was uint32, err error) {
	err = s.word(addr, true, func(p *uint32) {
		for {
			was = atomic.LoadUint32(p)
			if atomic.CompareAndSwapUint32(p, was, fn(was)) {
				return
			}
		}
	})
	return was, err
}
