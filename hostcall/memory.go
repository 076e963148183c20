package hostcall

import (
	"golang.org/x/sys/unix"
)

// MemfdCreate makes an anonymous file in memory, closed on exec.
func MemfdCreate(name string) (int, error) { return unix.MemfdCreate(name, unix.MFD_CLOEXEC) }

// Ftruncate sets a file's size, in bytes.
func Ftruncate(fd int, size int64) error { return unix.Ftruncate(fd, size) }

// Close closes a descriptor.
func Close(fd int) { unix.Close(fd) }

// MapShared maps a file from its beginning, readable and writable, without
// reserving memory for it.
func MapShared(fd int, size uint64) ([]byte, error) {
	return unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
}

// Unmap removes what MapShared mapped.
func Unmap(b []byte) { unix.Munmap(b) }

// PunchHole frees a part of a file, which then reads as zeros.
func PunchHole(fd int, off, length int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
}

// PopulateRead makes the pages of a mapping present (MADV_POPULATE_READ): EINVAL
// if the host's kernel does not know it.
func PopulateRead(b []byte) error {
	for {
		if err := unix.Madvise(b, unix.MADV_POPULATE_READ); err != unix.EINTR {
			return err
		}
	}
}

// FileBlocks returns how many bytes of storage a file takes.
func FileBlocks(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return uint64(st.Blocks) * 512, nil
}
