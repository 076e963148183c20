package overlay

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// copyChunk is how much is copied at a time.
const copyChunk = 256 << 10

// copyUp returns n's inode in the upper file system, copied if need be.
func (n *node) copyUp() (vfs.Inode, error) {
	if up := n.upper(); up != nil {
		return up, nil
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.copyUpLocked()
}

// copyUpLocked is copyUp for who holds FS.mu. The directories above are copied
// up, too.
func (n *node) copyUpLocked() (vfs.Inode, error) {
	if up := n.upper(); up != nil {
		return up, nil
	}
	if n.gone.Load() {
		return nil, unix.ESTALE
	}
	// From the top down, without recursion: the tree may be deep.
	var way []*node
	for at := n; at.upper() == nil; at = at.parent.node {
		way = append(way, at)
	}
	for i := len(way) - 1; i >= 0; i-- {
		if err := way[i].copyOne(); err != nil {
			return nil, err
		}
	}
	return n.upper(), nil
}

// copyOne copies n into its directory, which is in the upper already.
func (n *node) copyOne() error {
	dir := n.parent.upper().(mutable)
	dst, err := dir.Stat()
	if err != nil {
		return err
	}
	st, err := n.lower.Stat()
	if err != nil {
		return err
	}
	up, err := n.copyTo(dir, st)
	if err != nil {
		return err
	}
	// Making the copy is no change of its directory that anybody should see.
	if s, ok := vfs.Inode(dir).(vfs.StatSetter); ok {
		_ = s.SetStat(vfs.SetStat{Mask: vfs.SetAtime | vfs.SetMtime, Atime: dst.Atime, Mtime: dst.Mtime})
	}
	if h, ok := up.(vfs.Holder); ok {
		for range n.holds {
			h.Hold()
		}
	}
	n.up.Store(&up)
	return nil
}

func (n *node) copyTo(dir mutable, st vfs.Stat) (vfs.Inode, error) {
	args := vfs.CreateArgs{Mode: st.Mode, UID: st.UID, GID: st.GID, Rdev: st.Rdev}
	switch n.kind {
	case unix.S_IFREG:
		return n.copyFile(dir, st, args)
	case unix.S_IFLNK:
		target, err := n.lower.(vfs.Symlinker).Readlink()
		if err != nil {
			return nil, err
		}
		up, err := dir.Symlink(n.name, target, args)
		if err != nil {
			return nil, err
		}
		if err := n.copyAttributes(up, st); err != nil {
			_ = dir.Unlink(n.name)
			return nil, err
		}
		return up, nil
	}
	up, err := dir.Create(n.name, args)
	if err != nil {
		return nil, err
	}
	if err := n.copyAttributes(up, st); err != nil {
		if n.kind == unix.S_IFDIR {
			_ = dir.Rmdir(n.name)
		} else {
			_ = dir.Unlink(n.name)
		}
		return nil, err
	}
	return up, nil
}

// copyFile makes the copy without a name, and gives it one when it is complete.
func (n *node) copyFile(dir mutable, st vfs.Stat, args vfs.CreateArgs) (vfs.Inode, error) {
	up, err := dir.Tmpfile(args)
	if err != nil {
		return nil, err
	}
	to, err := up.Open(unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	defer to.Release() // without a name, this drops it
	from, err := n.lower.Open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer from.Release()
	if err := copyData(to, from, st.Size); err != nil {
		return nil, err
	}
	if err := n.copyAttributes(up, st); err != nil {
		return nil, err
	}
	return up, dir.Link(n.name, up)
}

func copyData(to, from vfs.FileOps, size int64) error {
	if size == 0 {
		return nil
	}
	r, ok := from.(vfs.ReaderAt)
	w, wok := to.(vfs.WriterAt)
	if !ok || !wok {
		return unix.EIO
	}
	buf := make([]byte, min(size, copyChunk))
	for off := int64(0); ; {
		n, err := r.ReadAt([][]byte{buf}, off)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			done, _, err := w.WriteAt([][]byte{b}, off, false)
			if err != nil {
				return err
			}
			off += done
			b = b[done:]
		}
	}
}

// copyAttributes gives the copy the attributes and the inode number of n.
func (n *node) copyAttributes(up vfs.Inode, st vfs.Stat) error {
	if to, ok := up.(vfs.Xattrer); ok {
		if from, ok := n.lower.(vfs.Xattrer); ok {
			names, err := from.Listxattr()
			if err != nil {
				return err
			}
			for _, name := range names {
				v, err := from.Getxattr(name)
				if err != nil || hidden(name) {
					continue
				}
				if err := to.Setxattr(name, v, 0); err != nil {
					return err
				}
			}
		}
		origin := binary.LittleEndian.AppendUint64(nil, n.ino)
		if err := to.Setxattr(xattrOrigin, origin, 0); err != nil {
			return err
		}
	}
	if s, ok := up.(vfs.StatSetter); ok {
		return s.SetStat(attributes(st))
	}
	return nil
}
