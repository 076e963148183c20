package channel

import (
	"sync/atomic"
	"unsafe"
)

// channelAddress returns where the machine code of channel_amd64.s lies in the
// sentry. It is copied from there, never called.
func channelAddress() unsafe.Pointer

// Code returns a copy of the guest side's machine code.
func Code() []byte {
	text := make([]byte, CodeLen)
	copy(text, unsafe.Slice((*byte)(channelAddress()), codeEnd))
	return text
}

func (s Slot) word(off int) *uint32 { return (*uint32)(unsafe.Pointer(&s[Base+off])) }

// State returns the state.
func (s Slot) State() uint32 { return atomic.LoadUint32(s.word(slotState)) }

// SetState sets the state.
func (s Slot) SetState(v uint32) { atomic.StoreUint32(s.word(slotState), v) }

// ChangeState sets the state if it is old.
func (s Slot) ChangeState(old, v uint32) bool {
	return atomic.CompareAndSwapUint32(s.word(slotState), old, v)
}

// SetSentry says whether the sentry polls. It is a full barrier.
func (s Slot) SetSentry(polls bool) {
	v := uint32(0)
	if polls {
		v = 1
	}
	atomic.SwapUint32(s.word(slotSentry), v)
}

// SetSpin says how often the code polls; at least once.
func (s Slot) SetSpin(n uint32) { atomic.StoreUint32(s.word(slotSpin), n) }
