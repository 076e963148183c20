package hostdir

import (
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/hosttree"
	"runsc-lite/sentry/fs/pagecache"
	"runsc-lite/sentry/vfs"
)

const (
	// wholeFile: smaller files are read whole when they are first touched.
	wholeFile = 2 << 20
	// chunk is how much of larger ones is read at a time.
	chunk = 512 << 10
)

// hostFile is an open file of the host's, a pagecache.Source.
type hostFile int

// Fill implements pagecache.Source.
func (fd hostFile) Fill(dst []byte, off int64) error {
	_, err := hostcall.ReadFull(int(fd), dst, off)
	return err
}

// ReadAt implements pagecache.Source.
func (fd hostFile) ReadAt(dst [][]byte, off int64) (int64, error) {
	n, err := hostcall.ReadVec(int(fd), dst, off)
	return int64(max(n, 0)), err
}

// Close implements pagecache.Source.
func (fd hostFile) Close() { hostcall.CloseFD(int(fd)) }

// fileNode is a regular file.
type fileNode struct{ node }

// Open implements vfs.Inode: EROFS for writing.
func (n *fileNode) Open(flags uint32) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EROFS
	}
	fd, err := n.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	st, err := hostcall.StatAt(fd, "")
	if err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	return &openFile{n.fs.pages.Open(
		pagecache.Key(identityOf(&st)),
		pagecache.Version{Size: st.Size, Mtime: st.Mtim, Ctime: st.Ctim},
		hostFile(fd),
	)}, nil
}

// openFile is an open regular file.
type openFile struct{ *pagecache.File }

// Pager implements vfs.Mappable.
func (o *openFile) Pager() memfile.Pager { return o.File }

// openDir is an open directory.
type openDir struct{ hosttree.Listing }

// Release implements vfs.FileOps.
func (o *openDir) Release() { o.Close() }
