package hostcall

import (
	"golang.org/x/sys/unix"
)

// Umask returns the file mode creation mask of the sentry's own process. It sets
// it for a moment: call it before there are other threads that make files.
func Umask() uint32 {
	m := unix.Umask(0o077)
	unix.Umask(m)
	return uint32(m)
}

// Rlimit returns a resource limit of the sentry's own process.
func Rlimit(resource int) (soft, hard uint64, err error) {
	var l unix.Rlimit
	err = unix.Getrlimit(resource, &l)
	return l.Cur, l.Max, err
}
