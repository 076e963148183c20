package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
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

// isBind reports whether a mount is one of something of the host.
func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// openSource opens what a bind mount mounts.
func openSource(m *specs.Mount, bundle string) (*os.File, error) {
	path := m.Source
	if !filepath.IsAbs(path) {
		path = filepath.Join(bundle, path)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	readonly := mountFlags(m.Options)&unix.MS_RDONLY != 0
	switch {
	case fi.IsDir():
		return cloneTree(path, true)
	case fi.Mode().IsRegular():
		if !readonly {
			f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
			if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ETXTBSY) && !errors.Is(err, unix.ELOOP) {
				return f, err
			}
		}
		return os.Open(path)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
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

// flagOptions are the options of mount(8) that are flags.
var flagOptions = map[string]struct {
	flag  uint32
	clear bool
}{
	"ro": {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "diratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, false}, "norelatime": {unix.MS_RELATIME, true},
	"nosymfollow": {unix.MS_NOSYMFOLLOW, false}, "symfollow": {unix.MS_NOSYMFOLLOW, true},
	"rro": {unix.MS_RDONLY, false}, "rrw": {unix.MS_RDONLY, true},
	"rnosuid": {unix.MS_NOSUID, false}, "rnodev": {unix.MS_NODEV, false}, "rnoexec": {unix.MS_NOEXEC, false},
	"defaults": {}, "bind": {}, "rbind": {}, "strictatime": {}, "nostrictatime": {}, "async": {}, "sync": {}, "dirsync": {},
	"mand": {}, "nomand": {}, "iversion": {}, "noiversion": {}, "silent": {}, "loud": {}, "acl": {}, "noacl": {}, "lazytime": {},
	"private": {}, "rprivate": {}, "slave": {}, "rslave": {}, "shared": {}, "rshared": {}, "unbindable": {}, "runbindable": {},
	"tmpcopyup": {}, "remount": {},
}

// mountFlags returns the flags among a mount's options.
func mountFlags(options []string) (flags uint32) {
	for _, o := range options {
		if f := flagOptions[o]; f.clear {
			flags &^= f.flag
		} else {
			flags |= f.flag
		}
	}
	return flags
}

// mountData returns the options that are the file system's own.
func mountData(options []string) string {
	var data []string
	for _, o := range options {
		if _, ok := flagOptions[o]; !ok {
			data = append(data, o)
		}
	}
	return strings.Join(data, ",")
}
