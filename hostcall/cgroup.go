package hostcall

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kill sends a signal to a process of the host.
func Kill(pid int, sig unix.Signal) error { return unix.Kill(pid, sig) }

// WatchFiles returns an inotify instance that tells of changes of files (inotify(7)).
// Its reads end when it is closed.
func WatchFiles(paths ...string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("making an inotify instance: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	for _, p := range paths {
		if _, err := unix.InotifyAddWatch(fd, p, unix.IN_MODIFY); err != nil {
			return nil, errors.Join(&os.PathError{Op: "watching", Path: p, Err: err}, f.Close())
		}
	}
	return f, nil
}

// WatchControl returns an eventfd that is signalled each time that something happens
// which file of the control group in dir tells of, and when the group is removed
// (cgroups v1, cgroup.event_control).
func WatchControl(dir, file string) (*os.File, error) {
	control, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "eventfd")
	line := fmt.Appendf(nil, "%d %d", fd, control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), line, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
