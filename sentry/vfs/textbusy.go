package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// WriteCount is how many open files may write to an inode, or, below zero, how
// many programs run from it (i_writecount): never both. Inodes of regular files
// that can be executed embed one; others are not guarded.
type WriteCount struct{ n atomic.Int32 }

func (w *WriteCount) writeCount() *WriteCount { return w }

type writeCounted interface{ writeCount() *WriteCount }

// add moves the count away from zero: ETXTBSY if it is on the other side.
func (w *WriteCount) add(by int32) error {
	for {
		n := w.n.Load()
		if n < 0 != (by < 0) && n != 0 {
			return unix.ETXTBSY
		}
		if w.n.CompareAndSwap(n, n+by) {
			return nil
		}
	}
}

// mayWriteTo says whether an inode can be written to now.
func mayWriteTo(i Inode) error {
	if c, ok := i.(writeCounted); ok && c.writeCount().n.Load() < 0 {
		return unix.ETXTBSY
	}
	return nil
}

// count takes part in the inode's WriteCount until f is closed.
func (f *File) count(by int32) error {
	c, ok := f.inode.(writeCounted)
	if !ok {
		return nil
	}
	if err := c.writeCount().add(by); err != nil {
		return err
	}
	f.counted = by
	return nil
}

// DenyWrite keeps everybody from writing to f until f is closed
// (deny_write_access): it is the program of a process. ETXTBSY: somebody has it
// open for writing.
func (f *File) DenyWrite() error { return f.count(-1) }
