package tmpfs_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// TestAgainstHost makes the same calls on a host's tmpfs and on ours.
func TestAgainstHost(t *testing.T) {
	for seed := range uint64(60) {
		t.Run("", func(t *testing.T) {
			dir, err := os.MkdirTemp("/dev/shm", "tmpfs")
			if err != nil {
				t.Skip(err)
			}
			if err := unix.Chmod(dir, 0o1777); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			fs := tmpfs.New(tmpfs.Options{Memory: fstest.NewMemory(t, 64<<20, false)})
			host := fstest.NewHost(t, dir)
			defer host.Done()
			sentry := fstest.NewSentry(t, fs, vfs.Config{CacheSize: 12})
			defer sentry.Done()
			fstest.Differ(t, seed, fstest.Options{Steps: 600, Allocate: seed%2 == 0, Holes: seed%2 == 1, DirMoves: true, Coherent: true, Users: true, Links: true}, host, sentry)
		})
	}
}
