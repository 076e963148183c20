package sentry

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/mm/memfile"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/fs/dev"
	"runsc-lite/sentry/fs/hostdir"
	"runsc-lite/sentry/fs/image"
	"runsc-lite/sentry/fs/overlay"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// Device numbers of the file systems, all of major 0 as on Linux.
var (
	devRoot  = unix.Mkdev(0, 40)
	devUpper = unix.Mkdev(0, 41)
	devDev   = unix.Mkdev(0, 42)
	devShm   = unix.Mkdev(0, 43)
	devMemfd = unix.Mkdev(0, 44)
	devPts   = unix.Mkdev(0, 45)
	devProc  = unix.Mkdev(0, 46)
	devSys   = unix.Mkdev(0, 47)
	devLower = unix.Mkdev(0, 48)
)

// newTree makes the file tree: a host's directory or an image under a writable
// layer in memory, and the kernel's own file systems in it. total is how much
// memory there is.
func (s *Sandbox) newTree(spec *Spec, total uint64, procs *procmgr.Table, pipes *pipe.Pool, clk clock.Clock) (*vfs.Namespace, error) {
	mem := fileMemory{s.memory}
	lower, err := s.lowerTree(spec, mem)
	if err != nil {
		return nil, fmt.Errorf("the root file system: %w", err)
	}
	// Programs look at how much is free before they write. All of this is
	// memory in the end; /dev/shm may hold half of it, as on Linux.
	upper := tmpfs.New(tmpfs.Options{Memory: mem, Dev: devUpper, Size: total})
	root, err := overlay.New(lower, upper, devRoot)
	if err != nil {
		return nil, fmt.Errorf("laying a writable layer over the root file system: %w", err)
	}
	devices, err := dev.New(dev.Config{Memory: mem, Procs: procs, Dev: devDev, ShmDev: devShm, ShmSize: total / 2, PtsDev: devPts})
	if err != nil {
		return nil, fmt.Errorf("making /dev: %w", err)
	}
	ns, err := vfs.NewNamespace(vfs.Config{
		NewFIFO:    pipes.FIFO,
		OpenDevice: devices.Open,
	}, root, vfs.MountOptions{Source: "overlay"})
	if err != nil {
		return nil, err
	}
	where := vfs.NewFSContext(ns)
	defer where.Release()
	who := caller(where, procmgr.RootCredentials())
	if err := who.Mkdir(nil, "/dev", 0o755); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("making /dev: %w", err)
	}
	if err := devices.Mount(who, "/dev"); err != nil {
		return nil, fmt.Errorf("mounting /dev: %w", err)
	}
	if err := s.addTerminals(spec, procs, devices); err != nil {
		return nil, fmt.Errorf("taking over the terminal: %w", err)
	}
	if err := s.mountKernel(who, procs, clk); err != nil {
		return nil, err
	}
	return ns, nil
}

// lowerTree is what lies under the writable layer.
func (s *Sandbox) lowerTree(spec *Spec, mem fileMemory) (vfs.FileSystem, error) {
	if spec.Image == nil {
		fs, err := hostdir.New(spec.Root, hostdir.Options{Memory: mem})
		if err != nil {
			return nil, err
		}
		s.onClose(fs.Close)
		return fs, nil
	}
	fs, err := image.New(spec.Image, image.Options{Memory: mem, Dev: devLower, Report: func(err error) {
		spec.Log.Error("the image cannot be read", "err", err)
	}})
	if err != nil {
		return nil, err
	}
	s.onClose(fs.Close)
	return fs, nil
}

// fileMemory is the memory file as file systems use it.
type fileMemory struct{ *memfile.File }

// Allocate implements extent.Memory.
func (m fileMemory) Allocate(length uint64) (memfile.Range, error) {
	return m.File.Allocate(length, memfile.Options{})
}
