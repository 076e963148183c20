package mm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Guests work on these words at the same time with the processor's atomic
// instructions, and so do the functions here. EINVAL unless addr is a multiple
// of 4, EFAULT.

// word returns the guest's 32-bit word at addr and a walk that keeps it there
// until its end.
func (s *Space) word(addr hostarch.Addr, write bool) (*uint32, walk, error) {
	w := s.walk(addr, 4, access{write: write})
	if addr&3 != 0 {
		return nil, w, unix.EINVAL
	}
	if !w.next() {
		_, err := w.end()
		return nil, w, err
	}
	return (*uint32)(unsafe.Pointer(&w.b[0])), w, nil
}

// LoadUint32 reads the word at addr.
func (s *Space) LoadUint32(addr hostarch.Addr) (uint32, error) {
	p, w, err := s.word(addr, false)
	if err != nil {
		return 0, err
	}
	v := atomic.LoadUint32(p)
	w.end()
	return v, nil
}

// StoreUint32 writes the word at addr.
func (s *Space) StoreUint32(addr hostarch.Addr, v uint32) error {
	_, err := s.SwapUint32(addr, v)
	return err
}

// SwapUint32 writes the word at addr and returns what it was.
func (s *Space) SwapUint32(addr hostarch.Addr, v uint32) (old uint32, err error) {
	p, w, err := s.word(addr, true)
	if err != nil {
		return 0, err
	}
	old = atomic.SwapUint32(p, v)
	w.end()
	return old, nil
}

// CompareAndSwapUint32 writes v if the word is old, and returns what it was.
func (s *Space) CompareAndSwapUint32(addr hostarch.Addr, old, v uint32) (was uint32, err error) {
	p, w, err := s.word(addr, true)
	if err != nil {
		return 0, err
	}
	for {
		if was = atomic.LoadUint32(p); was != old || atomic.CompareAndSwapUint32(p, old, v) {
			break
		}
	}
	w.end()
	return was, nil
}

// UpdateUint32 replaces the word by what fn makes of it, in one step, and
// returns what it was. fn may be called more than once, and must not call s.
func (s *Space) UpdateUint32(addr hostarch.Addr, fn func(uint32) uint32) (was uint32, err error) {
	p, w, err := s.word(addr, true)
	if err != nil {
		return 0, err
	}
	for {
		was = atomic.LoadUint32(p)
		if atomic.CompareAndSwapUint32(p, was, fn(was)) {
			break
		}
	}
	w.end()
	return was, nil
}
