package sentry

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/proc"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/fs/sys"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// processors is how many processors guests see.
func processors() int { return runtime.NumCPU() }

// sinceBoot is the clock of start times, which /proc/uptime shows as well.
func sinceBoot(clk clock.Clock) func() time.Duration {
	return func() time.Duration {
		ns, _ := clk.Read(unix.CLOCK_BOOTTIME)
		return time.Duration(ns)
	}
}

// mountKernel mounts /proc and /sys.
func (s *Sandbox) mountKernel(who *vfs.Caller, procs *procmgr.Table, clk clock.Clock) error {
	s.procConfig = s.newProcConfig(who.Namespace(), procs, clk)
	s.proc = proc.New(s.procConfig)
	s.sys = sys.New(sys.Config{Dev: devSys, CPUs: processors(), Memory: s.memoryTotal})
	for _, m := range []struct {
		path, source string
		fs           vfs.FileSystem
	}{
		{"/proc", "proc", s.proc},
		{"/sys", "sysfs", s.sys},
	} {
		if err := who.Mkdir(nil, m.path, 0o555); err != nil && err != unix.EEXIST {
			return fmt.Errorf("making %s: %w", m.path, err)
		}
		at, err := who.Walk(nil, m.path, 0)
		if err == nil {
			_, err = who.Namespace().Mount(at, m.fs, vfs.MountOptions{
				Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME, Source: m.source,
			})
		}
		if err != nil {
			return fmt.Errorf("mounting %s: %w", m.path, err)
		}
	}
	return nil
}

var _ proc.Task = (*task.Task)(nil)

// newProcConfig says what the proc file system shows. The kernel is there once
// somebody reads it.
func (s *Sandbox) newProcConfig(ns *vfs.Namespace, procs *procmgr.Table, clk clock.Clock) proc.Config {
	return proc.Config{
		Dev:         devProc,
		Procs:       procs,
		Clock:       clk,
		First:       func() *namespaces.Members { return &s.kernel.First.Members },
		Place:       vfs.NewFSContext(ns),
		Memory:      s.memoryTotal,
		CPUs:        processors(),
		Sysname:     syscalls.Sysname,
		Release:     syscalls.Release,
		Version:     syscalls.Version,
		CommandLine: "runsc-lite",
		FileSystems: append(slices.Clone(fileSystems), "devpts", "overlay"),
		CharDevices: map[int][]string{1: {"mem"}, 5: {"/dev/tty", "/dev/ptmx"}, 128: {"ptm"}, 136: {"pts"}},
		Files:       append(s.sysvFiles(), synth.Leaf{Path: "tty/drivers", Open: synth.Const(terminalDrivers).Open}),
		Net:         func(n *namespaces.Net) []synth.Leaf { return leaves(n.Sockets.Files()) },
		Sysctl:      append(leaves(s.net.Sysctls()), s.sysctls()...),
		MinAddress:  s.platform.MinAddress(),
		PipeMaxSize: pipe.MaxSize,
	}
}

// terminalDrivers is /proc/tty/drivers: the terminals of sentry/fs/dev and devpts.
const terminalDrivers = `/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
`

// memoryTotal tells of the kernel's memory.
func (s *Sandbox) memoryTotal() (total, free uint64) { return s.kernel.MemoryTotal() }
