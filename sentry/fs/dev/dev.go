// Package dev is /dev: the tree, and what is behind its device numbers.
//
// The tree is a tmpfs with the nodes that a container has. What a node is when it
// is opened depends on its number only, wherever it lies: vfs asks Devices.Open for
// every character device, and mknod(2) of a number makes another way to the same
// device.
//
// /dev/kmsg, /dev/mem and block devices do not exist: their numbers answer ENXIO.
package dev

import (
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/devpts"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/fs/tty"
	"runsc-lite/sentry/vfs"
)

// Config is what a Devices needs.
type Config struct {
	// Memory is where /dev and /dev/shm keep their files. It must be set.
	Memory extent.Memory
	// Procs knows who has which controlling terminal. It must be set.
	Procs *procmgr.Table
	// Dev, ShmDev and PtsDev are the device numbers of the three file systems.
	Dev, ShmDev, PtsDev uint64
	// ShmSize bounds /dev/shm in bytes; 0: only by Memory.
	ShmSize uint64
	// Now is the clock of timestamps; nil for the host's.
	Now func() unix.Timespec
}

// Devices are the devices of a sandbox.
type Devices struct {
	cfg  Config
	tree *tmpfs.FS
	shm  *tmpfs.FS
	pts  *devpts.FS

	console tty.Terminal // nil: there is none
}

// node is a name in /dev.
type node struct {
	name   string
	major  uint32 // 0: a directory, or a link
	minor  uint32
	mode   uint32
	target string // of a link
}

// nodes are what /dev has, as in a container (the OCI runtime specification,
// "Default Devices", and what runc links).
var nodes = [...]node{
	{name: "null", major: 1, minor: 3, mode: 0o666},
	{name: "zero", major: 1, minor: 5, mode: 0o666},
	{name: "full", major: 1, minor: 7, mode: 0o666},
	{name: "random", major: 1, minor: 8, mode: 0o666},
	{name: "urandom", major: 1, minor: 9, mode: 0o666},
	{name: "tty", major: 5, minor: 0, mode: 0o666},
	{name: "ptmx", major: 5, minor: 2, mode: 0o666},
	{name: "pts", mode: 0o755},
	{name: "shm", mode: 0o1777},
	{name: "mqueue", mode: 0o755},
	{name: "fd", target: "/proc/self/fd"},
	{name: "stdin", target: "/proc/self/fd/0"},
	{name: "stdout", target: "/proc/self/fd/1"},
	{name: "stderr", target: "/proc/self/fd/2"},
}

// ttyGroup is the group of terminals, as everywhere.
const ttyGroup = 5

// New makes the devices and the tree.
func New(cfg Config) (*Devices, error) {
	d := &Devices{
		cfg:  cfg,
		tree: tmpfs.New(tmpfs.Options{Memory: cfg.Memory, Dev: cfg.Dev, Mode: 0o755, Now: cfg.Now}),
		shm:  tmpfs.New(tmpfs.Options{Memory: cfg.Memory, Dev: cfg.ShmDev, Mode: 0o1777, Size: cfg.ShmSize, Now: cfg.Now}),
		pts: devpts.New(devpts.Options{
			Procs: cfg.Procs, Dev: cfg.PtsDev, UID: -1, GID: ttyGroup, Mode: 0o620, PtmxMode: 0o666, Now: cfg.Now,
		}),
	}
	root := d.tree.Root().(vfs.MutableDir)
	for _, n := range nodes {
		var err error
		switch {
		case n.target != "":
			_, err = root.Symlink(n.name, n.target, vfs.CreateArgs{})
		case n.major == 0:
			_, err = root.Create(n.name, vfs.CreateArgs{Mode: unix.S_IFDIR | n.mode})
		default:
			_, err = root.Create(n.name, vfs.CreateArgs{Mode: unix.S_IFCHR | n.mode, Rdev: unix.Mkdev(n.major, n.minor)})
		}
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// AddTerminal puts a terminal of the user's into /dev/pts, owned by uid, and returns
// its name there. The first one is /dev/console, too. Not to be called once guests
// run.
func (d *Devices) AddTerminal(uid uint32, make func(number uint64) (tty.Terminal, error)) (name string, err error) {
	index, t, err := d.pts.AddTerminal(uid, ttyGroup, func(index int) (tty.Terminal, error) {
		return make(tty.SlaveNumber(index))
	})
	if err != nil || d.console != nil {
		return strconv.Itoa(index), err
	}
	d.console = t
	_, err = d.tree.Root().(vfs.MutableDir).Create("console", vfs.CreateArgs{
		Mode: unix.S_IFCHR | 0o620, UID: uid, GID: ttyGroup, Rdev: unix.Mkdev(5, 1),
	})
	return strconv.Itoa(index), err
}

// Mount mounts /dev at path, and below it what belongs there. c must be root.
func (d *Devices) Mount(c *vfs.Caller, path string) error {
	for _, m := range [...]struct {
		path string
		fs   vfs.FileSystem
		o    vfs.MountOptions
	}{
		{path, d.tree, vfs.MountOptions{Flags: unix.MS_NOSUID, Source: "tmpfs", Options: "mode=755"}},
		{path + "/shm", d.shm, vfs.MountOptions{Flags: unix.MS_NOSUID | unix.MS_NODEV, Source: "shm"}},
		{path + "/pts", d.pts, vfs.MountOptions{
			Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Source: "devpts", Options: "gid=5,mode=620,ptmxmode=666",
		}},
	} {
		at, err := c.Walk(nil, m.path, 0)
		if err != nil {
			return err
		}
		if _, err := c.Namespace().Mount(at, m.fs, m.o); err != nil {
			return err
		}
	}
	return nil
}

// Open opens the character device with number rdev: vfs.Config.OpenDevice.
// ENXIO: there is none.
func (d *Devices) Open(c *vfs.Caller, at vfs.Path, rdev uint64, flags uint32) (vfs.FileOps, error) {
	switch unix.Major(rdev) {
	case 1:
		switch unix.Minor(rdev) {
		case 3:
			return null{}, nil
		case 5:
			return zero{}, nil
		case 7:
			return full{}, nil
		case 8, 9:
			return random{}, nil
		}
	case 5:
		switch unix.Minor(rdev) {
		case 0:
			t, err := tty.Controlling(d.cfg.Procs, c.Task)
			if err != nil {
				return nil, err
			}
			return t.Open(c, flags)
		case 1:
			if d.console != nil {
				return d.console.Open(c, flags|unix.O_NOCTTY)
			}
		case 2:
			return devpts.Open(c, at, rdev, flags)
		}
	case 136, 137, 138, 139, 140, 141, 142, 143:
		return devpts.Open(c, at, rdev, flags)
	}
	return nil, unix.ENXIO
}
