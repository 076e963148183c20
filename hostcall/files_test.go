package hostcall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mustOpen(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseFD(fd) })
	return fd
}

// flagsOf returns the file status flags of a descriptor, and whether it is closed
// on exec.
func flagsOf(t *testing.T, fd int) (uint32, bool) {
	t.Helper()
	fl, err := FileFlags(fd)
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return fl, err == nil && own&unix.FD_CLOEXEC != 0
}

// TestTree opens, looks at and reads what is in a directory, and does not follow
// links out of it.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(filepath.Join(dir, "sub"), 0o700)
	os.Symlink("/etc/passwd", filepath.Join(dir, "link"))
	os.Symlink("sub", filepath.Join(dir, "dirlink"))
	unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	if _, err := OpenTree(filepath.Join(dir, "file")); err != unix.ENOTDIR {
		t.Errorf("a file as a tree: %v", err)
	}
	top, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseFD(top)
	for name, want := range map[string]error{"file": nil, "sub": nil, "link": unix.ELOOP, "dirlink": unix.ELOOP, "none": unix.ENOENT, "fifo": nil} {
		fd, err := OpenAt(top, name, unix.O_RDONLY) // of a FIFO too, without a writer
		if err != want {
			t.Errorf("opening %s: %v, want %v", name, err, want)
		}
		if err != nil {
			continue
		}
		if fl, cloexec := flagsOf(t, fd); fl&unix.O_NONBLOCK == 0 || !cloexec {
			t.Errorf("%s: flags %#x, closed on exec %v", name, fl, cloexec)
		}
		CloseFD(fd)
	}
	fd, err := OpenAt(top, "link", unix.O_PATH)
	if err != nil {
		t.Fatalf("a link itself: %v", err)
	}
	CloseFD(fd)
	for name, kind := range map[string]uint32{"": unix.S_IFDIR, "file": unix.S_IFREG, "link": unix.S_IFLNK, "fifo": unix.S_IFIFO} {
		if st, err := StatAt(top, name); err != nil || st.Mode&unix.S_IFMT != kind {
			t.Errorf("%q: mode %#o, %v", name, st.Mode, err)
		}
	}
	if _, err := StatAt(top, "none"); err != unix.ENOENT {
		t.Error(err)
	}
	if text, err := ReadlinkAt(top, "link"); text != "/etc/passwd" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadlinkAt(top, "file"); err != unix.EINVAL {
		t.Error(err)
	}
	if st, err := Statfs(top); err != nil || st.Bsize == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	file := mustOpen(t, filepath.Join(dir, "file"), unix.O_RDONLY)
	if st, err := Fstat(file); err != nil || st.Size != 7 || st.Mode&0o777 != 0o640 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, tt := range []struct {
		size int
		off  int64
		want string
	}{{7, 0, "content"}, {100, 0, "content"}, {3, 2, "nte"}, {5, 5, "nt"}, {5, 7, ""}, {5, 1 << 40, ""}, {0, 0, ""}} {
		b := make([]byte, tt.size)
		if n, err := ReadFull(file, b, tt.off); string(b[:n]) != tt.want || err != nil {
			t.Errorf("%d bytes at %d: %q, %v", tt.size, tt.off, b[:n], err)
		}
	}
	if _, err := ReadFull(file, make([]byte, 1), -1); err != unix.EINVAL {
		t.Error(err)
	}
}

// TestReadDir reads a directory that needs several calls, more than once.
func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	want := map[string]uint8{}
	for i := range 3000 {
		name := fmt.Sprintf("%s%d", strings.Repeat("n", i%200), i)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want[name] = unix.DT_REG
	}
	os.Mkdir(filepath.Join(dir, "sub"), 0o700)
	want["sub"] = unix.DT_DIR
	os.Symlink("x", filepath.Join(dir, "link"))
	want["link"] = unix.DT_LNK
	fd := mustOpen(t, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	for range 2 {
		entries, err := ReadDir(fd)
		if err != nil || len(entries) != len(want) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for _, e := range entries {
			if kind, ok := want[e.Name]; !ok || e.Type != kind || e.Ino == 0 {
				t.Errorf("%+v", e)
			}
		}
	}
	if _, err := ReadDir(mustOpen(t, "/dev/null", unix.O_RDONLY)); err != unix.ENOTDIR {
		t.Error(err)
	}
}

// FuzzDirents reads what is no directory.
func FuzzDirents(f *testing.F) {
	dirent := func(name string) []byte {
		b := make([]byte, 19, 64)
		b[0], b[18] = 7, unix.DT_REG
		b = append(append(b, name...), 0)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		binary.LittleEndian.PutUint16(b[16:], uint16(len(b)))
		return b
	}
	f.Add(append(dirent("one"), dirent("two")...))
	f.Add(append(dirent("."), dirent("..")...))
	f.Add(dirent("cut")[:20])
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range parseDirents(b, nil) {
			if e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsRune(e.Name, 0) {
				t.Errorf("%+v", e)
			}
		}
	})
	if got := parseDirents(append(dirent("one"), dirent("two")...), []DirEntry{{Name: "zero"}}); !slices.Equal(got,
		[]DirEntry{{Name: "zero"}, {"one", 7, unix.DT_REG}, {"two", 7, unix.DT_REG}}) {
		f.Errorf("%+v", got)
	}
}

// TestVectors reads and writes with more buffers than the host takes at once.
func TestVectors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	fd := mustOpen(t, path, unix.O_RDWR|unix.O_CREAT)
	many := make([][]byte, 2*iovMax)
	for i := range many {
		many[i] = []byte{byte(i), byte(i >> 8)}
	}
	for off := int64(0); off < int64(4*iovMax); {
		n, err := WriteVec(fd, many[off/2:], off)
		if err != nil || n <= 0 {
			t.Fatal(n, err)
		}
		off += int64(n)
	}
	back := make([][]byte, 2*iovMax)
	for i := range back {
		back[i] = make([]byte, 2)
	}
	n, err := ReadVec(fd, back, 0)
	if err != nil || n != 2*iovMax {
		t.Errorf("%d bytes, %v", n, err)
	}
	for i := range iovMax {
		if !bytes.Equal(back[i], many[i]) {
			t.Fatalf("buffer %d holds %v", i, back[i])
		}
	}
	// At the end, wherever the offset is; and at the file's own position.
	if n, err := WriteVecAppend(fd, [][]byte{[]byte("end")}, 0); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if at, err := Seek(fd, -3, unix.SEEK_END); at != 4*iovMax || err != nil {
		t.Errorf("%d, %v", at, err)
	}
	b := [][]byte{make([]byte, 1), make([]byte, 10)}
	if n, err := ReadStream(fd, b); n != 3 || err != nil || string(b[0])+string(b[1][:2]) != "end" {
		t.Errorf("%d, %v, %q", n, err, b)
	}
	Seek(fd, 0, unix.SEEK_SET)
	if n, err := WriteStream(fd, [][]byte{[]byte("be"), []byte("gin")}); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := AppendStream(fd, [][]byte{[]byte("!")}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if at, _ := Seek(fd, 0, unix.SEEK_CUR); at != 4*iovMax+4 {
		t.Errorf("after an append the position is %d", at)
	}
	for _, dataOnly := range []bool{true, false} {
		if err := FsyncFD(fd, dataOnly); err != nil {
			t.Error(err)
		}
	}
}

// TestNoWait reads and writes pipes that are empty and full.
func TestNoWait(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil { // they would wait
		t.Fatal(err)
	}
	defer CloseFD(ends[0])
	defer CloseFD(ends[1])
	if n, err := ReadNoWait(ends[0], [][]byte{make([]byte, 1)}); err != unix.EAGAIN {
		t.Errorf("an empty pipe: %d, %v", n, err)
	}
	if ev, err := Poll(ends[0], unix.POLLIN); ev != 0 || err != nil {
		t.Errorf("an empty pipe is ready for %#x, %v", ev, err)
	}
	total := 0
	for {
		n, err := WriteNoWait(ends[1], [][]byte{make([]byte, 4096)})
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if total += n; total > 1<<22 {
			t.Fatal("a pipe without an end")
		}
	}
	if ev, err := Poll(ends[0], unix.POLLIN|unix.POLLOUT); ev != unix.POLLIN || err != nil {
		t.Errorf("a full pipe is ready for %#x, %v", ev, err)
	}
	if n, err := ReadNoWait(ends[0], [][]byte{make([]byte, 100)}); n != 100 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	var b [4]byte
	if _, err := Ioctl(ends[0], unix.TIOCINQ, b[:]); err != nil || int(binary.LittleEndian.Uint32(b[:])) != total-100 {
		t.Errorf("%d bytes are left, %v", binary.LittleEndian.Uint32(b[:]), err)
	}
	if _, err := Ioctl(ends[0], unix.TCGETS, make([]byte, 64)); err != unix.ENOTTY {
		t.Error(err)
	}
	if _, err := IoctlInt(ends[0], 0xFFFF, 0); err != unix.ENOTTY {
		t.Error(err)
	}
}

// TestMemory makes a file in memory, maps it and takes a part out.
func TestMemory(t *testing.T) {
	const size = 1 << 20
	fd, err := MemfdCreate("test")
	if err != nil {
		t.Fatal(err)
	}
	defer Close(fd)
	if _, cloexec := flagsOf(t, fd); !cloexec {
		t.Error("it is not closed on exec")
	}
	if err := Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	b, err := MapShared(fd, size)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(b)
	if n, err := FileBlocks(fd); n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	copy(b[4096:], "text")
	vec := make([]byte, 4)
	if err := Mincore(b[:4*4096], vec); err != nil || vec[0]&1 != 0 || vec[1]&1 != 1 || vec[2]&1 != 0 {
		t.Errorf("%v, %v", vec, err)
	}
	if err := Mincore(nil, nil); err != nil {
		t.Error(err)
	}
	if err := PopulateRead(b[8192 : 8192+65536]); err != nil && err != unix.EINVAL {
		t.Error(err)
	}
	if n, _ := FileBlocks(fd); n < 4096 || n > 4096+65536 {
		t.Errorf("%d bytes", n)
	}
	if err := PunchHole(fd, 4096, 4096); err != nil || b[4096] != 0 {
		t.Errorf("%v, %q", err, b[4096])
	}
	if err := PunchHole(-1, 0, 4096); err != unix.EBADF {
		t.Error(err)
	}
	if TotalMemory() < 1<<26 {
		t.Errorf("the machine has %d bytes", TotalMemory())
	}
	if cpu := CPU(); cpu < 0 || cpu > 4096 {
		t.Errorf("on processor %d", cpu)
	}
}

func TestClocks(t *testing.T) {
	a, err := ClockGettime(unix.CLOCK_MONOTONIC)
	if err != nil {
		t.Fatal(err)
	}
	Yield()
	if b, err := ClockGettime(unix.CLOCK_MONOTONIC); b < a || err != nil {
		t.Errorf("%d after %d, %v", b, a, err)
	}
	if _, err := ClockGettime(99); err != unix.EINVAL {
		t.Error(err)
	}
	if s := ClockSource(); strings.ContainsAny(s, " \n\x00") {
		t.Errorf("%q", s)
	}
}
