package proc

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
	"runsc-lite/sentry/vfs/lock"
)

// locks is the Opener of /proc/locks (lock_get_status in fs/locks.c): the locks of
// the reader's file systems.
func locks(c *vfs.Caller, _ uint32) (vfs.FileOps, error) {
	if c == nil {
		return synth.Const("").Open(nil, 0)
	}
	ns := c.Namespace()
	return synth.Text(func(b *bytes.Buffer) error {
		n := 0
		for _, l := range ns.Locks() {
			if !l.Waiting {
				n++
			}
			writeLock(b, n, &l)
		}
		return nil
	}).Open(c, 0)
}

func writeLock(b *bytes.Buffer, n int, l *vfs.LockInfo) {
	sort, access, end := "POSIX ", "READ", "EOF"
	switch {
	case l.Flock:
		sort = "FLOCK "
	case l.PID < 0:
		sort = "OFDLCK"
	}
	if l.Kind == lock.Exclusive {
		access = "WRITE"
	}
	if l.End != lock.End {
		end = fmt.Sprint(l.End)
	}
	wait := ""
	if l.Waiting {
		wait = "-> "
	}
	fmt.Fprintf(b, "%d: %s%s ADVISORY  %s %d %02x:%02x:%d %d %s\n", n, wait, sort, access, l.PID,
		unix.Major(l.Dev), unix.Minor(l.Dev), l.Ino, l.Start, end)
}
