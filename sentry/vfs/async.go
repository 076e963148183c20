package vfs

import (
	"gvisor.dev/gvisor/pkg/waiter"
)

// SetAsync makes l be told of every event of f (O_ASYNC), until the last reference
// to f is gone or SetAsync is called again; nil turns it off.
func (f *File) SetAsync(l waiter.EventListener) error {
	if old := f.async.Swap(nil); old != nil {
		f.EventUnregister(old)
	}
	if l == nil {
		return nil
	}
	e := &waiter.Entry{}
	e.Init(l, waiter.AllEvents)
	if err := f.EventRegister(e); err != nil {
		return err
	}
	if !f.async.CompareAndSwap(nil, e) {
		f.EventUnregister(e) // another call came in between
	}
	return nil
}
