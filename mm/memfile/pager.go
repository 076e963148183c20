package memfile

// Pager supplies the memory behind a file mapping. Files that can be mapped
// (tmpfs files, cached host files, shared anonymous memory) implement it on
// their inode: two mappings of one Pager at one offset are the same memory.
type Pager interface {
	// Page returns memory-file ranges that hold the file's bytes from off
	// (page-aligned) on, at least the first page of it and at most max bytes:
	// as much as is cheap. The caller gets a reference on the range
	// (File.DecRef gives it back). write says that the caller will store
	// through a shared mapping.
	//
	// unix.ENXIO: off is at or beyond the end of the file, rounded up to a
	// page (the guest gets SIGBUS). unix.EIO and unix.ENOMEM likewise.
	Page(off, max uint64, write bool) (Range, error)

	// AddMapping and RemoveMapping announce that m maps length bytes of the
	// file more or less, so that truncation can take pages back. writable says
	// whether m may ever store through them. Mappings are split and joined
	// without a word: only the sums agree.
	AddMapping(m Invalidator, length uint64, writable bool) error
	RemoveMapping(m Invalidator, length uint64, writable bool)
}

// Invalidator is an address space as a Pager sees it.
type Invalidator interface {
	// Invalidate takes back what it maps of [off, off+length) of p, so that the
	// next access asks p again. Private copies are dropped too when private is
	// set (truncation), and kept otherwise. p calls it without a lock that it
	// takes in its methods.
	Invalidate(p Pager, off, length uint64, private bool)
}
