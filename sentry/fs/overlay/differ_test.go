package overlay_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/hostdir"
	"runsc-lite/sentry/fs/overlay"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// tree makes a small random tree under dir, the same for the same seed.
func tree(t *testing.T, dir string, seed uint64) {
	if err := unix.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 2))
	names := []string{"a", "b", "c", "d", "dir", "e"}
	dirs := []string{dir}
	for i := range 14 {
		p := filepath.Join(dirs[r.IntN(len(dirs))], names[r.IntN(len(names))])
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		var err error
		switch r.IntN(4) {
		case 0, 1:
			err = os.Mkdir(p, 0o755)
			dirs = append(dirs, p)
		case 2:
			data := make([]byte, r.IntN(12000))
			for j := range data {
				data[j] = byte('A' + i)
			}
			err = os.WriteFile(p, data, 0o644)
		case 3:
			err = os.Symlink(names[r.IntN(len(names))], p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			if err := os.Lchown(p, 1000, 1000); err != nil {
				t.Skip(err)
			}
		}
	}
}

func temp(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "overlay")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestAgainstHost makes the same calls on a plain directory and on an overlay
// whose lower layer begins with the same content.
func TestAgainstHost(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			plain, lower := temp(t), temp(t)
			tree(t, plain, seed)
			tree(t, lower, seed)
			mem := fstest.NewMemory(t, 64<<20, false)
			down, err := hostdir.New(lower, hostdir.Options{Memory: mem, Handles: 3})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(down.Close)
			fs, err := overlay.New(down, tmpfs.New(tmpfs.Options{Memory: mem}), 77)
			if err != nil {
				t.Fatal(err)
			}
			host := fstest.NewHost(t, plain)
			defer host.Done()
			sentry := fstest.NewSentry(t, fs, vfs.Config{CacheSize: 12})
			defer sentry.Done()
			fstest.Differ(t, seed, fstest.Options{Steps: 500, Holes: true, Users: true, Links: true}, host, sentry)
		})
	}
}
