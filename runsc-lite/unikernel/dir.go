package unikernel

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
	"runsc-lite/hostcall"
)

// lstat returns the attributes of a file of the host's.
func lstat(path string) (*syscall.Stat_t, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

// fromStat makes a node with the attributes of a file of the host's.
func fromStat(st *syscall.Stat_t) *archive.Node {
	n := &archive.Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.Children = map[string]*archive.Node{}
	case unix.S_IFCHR, unix.S_IFBLK:
		n.Rdev = st.Rdev
	case unix.S_IFREG:
		n.Size = st.Size
	}
	return n
}

// opener opens a file of the host's if it is still the one that was looked at.
func opener(path string, st *syscall.Stat_t) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil {
			now := info.Sys().(*syscall.Stat_t)
			if now.Dev != st.Dev || now.Ino != st.Ino || now.Size != st.Size || now.Mtim != st.Mtim {
				err = fmt.Errorf("%s changed while it was packed", path)
			}
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// hostFile is one regular file of the host's.
func hostFile(path string) (*archive.Node, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	st, err := lstat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	n := fromStat(st)
	n.Open = opener(path, st)
	return n, nil
}

// kernelWindows are file systems that show the running kernel: a tree that has
// them mounted is packed with empty directories there.
var kernelWindows = []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.DEBUGFS_MAGIC}

func isWindow(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := hostcall.Statfs(int(f.Fd()))
	return err == nil && slices.Contains(kernelWindows, st.Type)
}

// fromDir is the tree of a directory of the host's.
func fromDir(top string) (*archive.Node, error) {
	top, err := filepath.EvalSymlinks(top)
	if err != nil {
		return nil, err
	}
	type identity struct{ dev, ino uint64 }
	linked := map[identity]*archive.Node{}
	nodes := map[string]*archive.Node{}
	err = filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := lstat(name)
		if err != nil {
			return err
		}
		n := fromStat(st)
		parent := nodes[filepath.Dir(name)]
		id := identity{st.Dev, st.Ino}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			nodes[name] = n
			if name == top {
				return nil
			}
			if isWindow(name) {
				parent.Children[filepath.Base(name)] = n
				return fs.SkipDir
			}
		case unix.S_IFREG:
			n.Open = opener(name, st)
		case unix.S_IFLNK:
			if n.Target, err = os.Readlink(name); err != nil {
				return err
			}
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if linked[id] == nil {
				linked[id] = n
			}
			n = linked[id]
		}
		if parent == nil {
			return fmt.Errorf("%s is no directory", top)
		}
		parent.Children[filepath.Base(name)] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return nodes[top], nil
}
