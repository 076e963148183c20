package sentry

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/proc"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// firstDev is the minor number of the first file system that a guest mounts.
const firstDev = 64

// kernelFS are file systems that show the kernel, and what guests mounted.
type kernelFS struct {
	proc       *proc.FS
	procConfig proc.Config // what it was made with
	sys        *synth.FS
	mounted    atomic.Uint32 // how many got a device number
}

// mountQueues mounts the POSIX message queues where Debian has them.
func (s *Sandbox) mountQueues() error {
	where := vfs.NewFSContext(s.kernel.Mounts)
	defer where.Release()
	who := caller(where, procmgr.RootCredentials())
	at, err := who.Walk(nil, "/dev/mqueue", 0)
	if err == nil {
		_, err = s.kernel.Mounts.Mount(at, s.kernel.First.IPC.Queues, vfs.MountOptions{
			Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME, Source: "mqueue",
		})
	}
	if err != nil {
		return fmt.Errorf("mounting /dev/mqueue: %w", err)
	}
	return nil
}

// fileSystems are the types that mount(2) knows.
var fileSystems = []string{"sysfs", "tmpfs", "proc", "ramfs", "mqueue"}

// mountable makes a file system for mount(2): tmpfs anew each time, proc one for
// each pid namespace, sysfs the one that there is.
func (s *Sandbox) mountable(kind, options string, pids *procmgr.PIDNamespace, ipc *namespaces.IPC) (vfs.FileSystem, string, error) {
	switch kind {
	case "tmpfs", "ramfs":
		total, _ := s.memoryTotal()
		o := tmpfs.Options{Memory: fileMemory{s.memory}, Dev: unix.Mkdev(0, firstDev+s.mounted.Add(1)-1), Type: kind}
		if err := tmpfs.ParseOptions(&o, options, total); err != nil {
			return nil, "", err
		}
		spelt := o.String()
		if o.Size == 0 {
			o.Size = total / 2
		}
		return tmpfs.New(o), spelt, nil
	case "proc":
		if options != "" {
			return nil, "", unix.EINVAL
		}
		c := s.procConfig
		if pids == c.Procs.Root() {
			return s.proc, "", nil
		}
		c.PIDs, c.Dev = pids, unix.Mkdev(0, firstDev+s.mounted.Add(1)-1)
		return proc.New(c), "", nil
	case "sysfs":
		return s.sys, "", nil
	case "mqueue":
		return ipc.Queues, "", nil
	}
	return nil, "", unix.ENODEV
}
