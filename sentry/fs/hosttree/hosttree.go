// Package hosttree is what file systems over directories of the host have in common:
// which of those they may not show, and how one is listed.
package hosttree

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/vfs"
)

// windows are file systems through which the host's kernel would be seen.
var windows = [...]int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.SECURITYFS_MAGIC,
	unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.SELINUX_MAGIC, unix.BINFMTFS_MAGIC,
}

// IsWindow reports whether what a descriptor of the host is open on would show the
// host's kernel, or cannot be asked: it has to appear empty.
func IsWindow(fd int) bool {
	st, err := hostcall.Statfs(fd)
	return err != nil || slices.Contains(windows[:], int64(st.Type))
}

// Listing lists an open directory. It is read at once, when a listing begins, so that
// positions are simple numbers.
type Listing struct {
	FD int // of the host; -1 shows nothing

	mu      sync.Mutex
	read    bool
	entries []hostcall.DirEntry
}

// ReadDir implements vfs.DirReader.
func (l *Listing) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	l.mu.Lock()
	if l.FD >= 0 && (!l.read || off == 0) {
		entries, err := hostcall.ReadDir(l.FD)
		if err != nil {
			l.mu.Unlock()
			return err
		}
		l.entries, l.read = entries, true
	}
	entries := l.entries
	l.mu.Unlock()
	for ; off >= 0 && off < int64(len(entries)); off++ {
		e := entries[off]
		if !emit(vfs.Entry{Name: e.Name, Ino: e.Ino, Type: e.Type, Next: off + 1}) {
			return nil
		}
	}
	return nil
}

// Close ends it.
func (l *Listing) Close() {
	if l.FD >= 0 {
		hostcall.CloseFD(l.FD)
	}
}
