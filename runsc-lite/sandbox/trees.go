package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
)

// cloneTree returns a descriptor of a directory with all that is mounted in it, as a
// mount of its own that hangs nowhere: nothing that is mounted or unmounted on the host
// later changes it, and devices, set-id bits and programs in it have no effect on the
// host, whatever becomes of the sandbox.
func cloneTree(path string, readonly bool) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
			return nil, err
		}
		// Not allowed to mount: the directory as it is.
		if fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	f := os.NewFile(uintptr(fd), path)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	if readonly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		f.Close()
		return nil, fmt.Errorf("restricting what is mounted there: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		f.Close()
		return nil, unix.ENOTDIR
	}
	return f, nil
}

// openSource opens what a bind mount mounts.
func openSource(m *bundle.Mount) (*os.File, error) {
	fi, err := os.Stat(m.Source)
	if err != nil {
		return nil, err
	}
	switch {
	case fi.IsDir():
		return cloneTree(m.Source, (m.Flags|m.RecursiveSet)&unix.MS_RDONLY != 0)
	case fi.Mode().IsRegular():
		if (m.Flags|m.RecursiveSet)&unix.MS_RDONLY == 0 {
			f, err := os.OpenFile(m.Source, os.O_RDWR, 0)
			if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ETXTBSY) {
				return f, err
			}
		}
		return os.Open(m.Source)
	}
	fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), m.Source), nil
}

// openSelf opens this program so that it cannot be written through the sandbox's
// /proc/self/exe: by a mount of its own that is read-only.
func openSelf() (*os.File, error) {
	const self = "/proc/self/exe"
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("opening this program: %w", err)
		}
		f, err := os.Open(self)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return outOfTheWay(int(f.Fd()))
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil && !errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("making this program read-only: %w", err)
	}
	return outOfTheWay(fd)
}

// outOfTheWay makes a descriptor with a number that the child's descriptors do not get
// while they are put into their places: it is executed by its number after that.
func outOfTheWay(fd int) (*os.File, error) {
	const high = 900
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, high)
	if err != nil {
		return nil, fmt.Errorf("keeping this program open: %w", err)
	}
	return os.NewFile(uintptr(n), "self"), nil
}
