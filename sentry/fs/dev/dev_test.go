package dev_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/dev"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// tree is a file tree with /dev mounted, seen by root.
func tree(t *testing.T) *vfs.Caller {
	t.Helper()
	mem := fstest.NewMemory(t, 16<<20, false)
	d, err := dev.New(dev.Config{Memory: mem, Procs: procmgr.NewTable(procmgr.Config{}), PtsDev: unix.Mkdev(0, 7), Dev: unix.Mkdev(0, 5), ShmDev: unix.Mkdev(0, 6)})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := vfs.NewNamespace(vfs.Config{OpenDevice: d.Open}, tmpfs.New(tmpfs.Options{Memory: mem, Dev: 1}), vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &vfs.Caller{FSContext: vfs.NewFSContext(ns), Creds: &vfs.Creds{Caps: ^uint64(0)}}
	if err := c.Mkdir(nil, "/dev", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Mount(c, "/dev"); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, c *vfs.Caller, path string, flags uint32) *vfs.File {
	t.Helper()
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: flags})
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(f.DecRef)
	return f
}

// TestNodes compares the nodes with the host's, which has them as devtmpfs makes
// them.
func TestNodes(t *testing.T) {
	c := tree(t)
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		var host unix.Stat_t
		if err := unix.Stat("/dev/"+name, &host); err != nil {
			t.Logf("the host has no /dev/%s", name)
			continue
		}
		p, err := c.Walk(nil, "/dev/"+name, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		st, _ := p.Inode().Stat()
		if st.Rdev != host.Rdev || st.Mode != host.Mode {
			t.Errorf("%s: device %#x mode %o; the host's: %#x, %o", name, st.Rdev, st.Mode, host.Rdev, host.Mode)
		}
	}
	for name, want := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if got, err := c.Readlink(nil, "/dev/"+name); got != want || err != nil {
			t.Errorf("%s leads to %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := c.Open(nil, "/dev/tty", vfs.OpenHow{}); err != unix.ENXIO {
		t.Errorf("/dev/tty without a controlling terminal: %v, want ENXIO", err)
	}
	if _, err := c.Open(nil, "/dev/kmsg", vfs.OpenHow{}); err != unix.ENOENT {
		t.Errorf("/dev/kmsg: %v, want ENOENT", err)
	}
	f, err := c.Open(nil, "/dev/shm/x", vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o600})
	if err != nil {
		t.Fatalf("making a file in /dev/shm: %v", err)
	}
	f.DecRef()
}

func TestMemoryDevices(t *testing.T) {
	for _, tt := range []struct {
		name     string
		read     int64 // of 100 bytes
		zeros    bool
		write    int64
		writeErr error
	}{
		{"null", 0, false, 5, nil},
		{"zero", 100, true, 5, nil},
		{"full", 100, true, 0, unix.ENOSPC},
		{"random", 100, false, 5, nil},
		{"urandom", 100, false, 5, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, tree(t), "/dev/"+tt.name, unix.O_RDWR)
			buf := bytes.Repeat([]byte{0xaa}, 100)
			if n, err := f.Read([][]byte{buf[:30], buf[30:]}); n != tt.read || err != nil {
				t.Errorf("read: %d, %v; want %d", n, err, tt.read)
			}
			switch {
			case tt.read == 0:
			case tt.zeros && !bytes.Equal(buf, make([]byte, 100)):
				t.Errorf("not zeros: %x", buf)
			case !tt.zeros && (bytes.Count(buf, []byte{0xaa}) > 20 || bytes.Count(buf, []byte{0}) > 20):
				t.Errorf("not random: %x", buf)
			}
			if n, err := f.Write(nil, [][]byte{[]byte("hello")}, -1); n != tt.write || err != tt.writeErr {
				t.Errorf("write: %d, %v; want %d, %v", n, err, tt.write, tt.writeErr)
			}
			if n, err := f.PRead([][]byte{buf}, 1<<40); n != tt.read || err != nil {
				t.Errorf("pread: %d, %v; want %d", n, err, tt.read)
			}
			for _, whence := range []int32{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END} {
				if pos, err := f.Lseek(77, whence); pos != 0 || err != nil {
					t.Errorf("lseek(77, %d): %d, %v; want 0", whence, pos, err)
				}
			}
			if _, err := f.Ioctl(nil, unix.TCGETS, 0); err == nil {
				t.Error("it is a terminal")
			}
			pager, err := f.Pager()
			if want := error(unix.ENODEV); tt.name == "zero" && (pager != nil || err != nil) || tt.name != "zero" && err != want {
				t.Errorf("mmap: %v, %v", pager, err)
			}
		})
	}
}

// TestMknod checks that the number makes the device, not the name.
func TestMknod(t *testing.T) {
	c := tree(t)
	for path, rdev := range map[string]uint64{"/zero": unix.Mkdev(1, 5), "/dev/shm/nothing": unix.Mkdev(1, 3), "/mem": unix.Mkdev(1, 1), "/kmsg": unix.Mkdev(1, 11)} {
		if err := c.Mknod(nil, path, unix.S_IFCHR|0o666, rdev); err != nil {
			t.Fatalf("mknod %s: %v", path, err)
		}
	}
	buf := []byte{1, 2, 3}
	if n, err := open(t, c, "/zero", unix.O_RDONLY).Read([][]byte{buf}); n != 3 || err != nil || !bytes.Equal(buf, make([]byte, 3)) {
		t.Errorf("reading a zero device elsewhere: %d, %v, %v", n, err, buf)
	}
	if _, err := c.Open(nil, "/dev/shm/nothing", vfs.OpenHow{}); err != unix.EACCES {
		t.Errorf("a device on a nodev mount: %v, want EACCES", err)
	}
	for _, path := range []string{"/mem", "/kmsg"} {
		if _, err := c.Open(nil, path, vfs.OpenHow{}); err != unix.ENXIO {
			t.Errorf("%s: %v, want ENXIO", path, err)
		}
	}
}
