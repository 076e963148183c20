package hostshare_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/hostshare"
	"runsc-lite/sentry/vfs"
)

// directory is one that everybody may write in. It is in memory: sizes of directories
// and blocks would differ otherwise.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hostshare")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDiffer compares a shared directory with the host's own beside it.
func TestDiffer(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ours, theirs := directory(t), directory(t)
			fd, err := hostcall.OpenTree(ours)
			if err != nil {
				t.Fatal(err)
			}
			fs, err := hostshare.New(fd, hostshare.Options{Memory: fstest.NewMemory(t, 64<<20, false)})
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			host := fstest.NewHost(t, theirs)
			defer host.Done()
			sentry := fstest.NewSentry(t, fs, vfs.Config{CacheSize: 12})
			defer sentry.Done()
			fstest.Differ(t, seed, fstest.Options{Steps: 600, DirMoves: true, Coherent: true, Links: true}, host, sentry)
		})
	}
}
