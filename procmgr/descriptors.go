package procmgr

import "golang.org/x/sys/unix"

// Descriptors is a descriptor table as far as the process manager is concerned: what
// a thread's Data may be, for AllocateFD and CloseFD.
type Descriptors interface {
	// AllocateFD takes the lowest free number from least on. EMFILE: that would be
	// limit or more.
	AllocateFD(least int, limit uint64) (int, error)
	// CloseFD gives a number back. EBADF: it is not in use.
	CloseFD(fd int) error
}

// AllocateFD takes the lowest free descriptor of the thread, not below least. EMFILE:
// RLIMIT_NOFILE is reached. ENOSYS: the thread's Data is no Descriptors.
func (t *Thread) AllocateFD(least int) (int, error) {
	d, ok := t.Data().(Descriptors)
	if !ok {
		return -1, unix.ENOSYS
	}
	return d.AllocateFD(least, t.p.limits.Soft(unix.RLIMIT_NOFILE))
}

// CloseFD gives a descriptor of the thread back. EBADF: it is not in use. ENOSYS: the
// thread's Data is no Descriptors.
func (t *Thread) CloseFD(fd int) error {
	d, ok := t.Data().(Descriptors)
	if !ok {
		return unix.ENOSYS
	}
	return d.CloseFD(fd)
}
