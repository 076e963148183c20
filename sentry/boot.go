package sentry

import (
	"log/slog"

	"runsc-lite/hostcall"
	"runsc-lite/loader"
	"runsc-lite/mm/memfile"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/futex"
	"runsc-lite/sentry/socket/netns"
	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// settings are what Spec and ContainerSpec have in common.
type settings struct {
	newPlatform func(memFD int) (platform.Platform, error)
	network     *NetSpec
	memory      uint64 // what the sandbox may hold, in bytes
	told        uint64 // what guests are told that there is
	limits      *[procmgr.NumLimits]procmgr.Limit
	hostname    string
	tracer      task.Tracer
	log         *slog.Logger
}

// boot makes what there is before a file tree: network, memory, platform, clocks and
// the process table. If it fails nothing is left.
func boot(o *settings) (s *Sandbox, procs *procmgr.Table, err error) {
	s = &Sandbox{notifier: hostcall.NewNotifier(), net: netns.New()}
	s.onClose(s.notifier.Close)
	s.onClose(s.net.Close)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.attachNetwork(o.network); err != nil {
		return nil, nil, err
	}
	if s.memory, err = memfile.New(memfile.Config{Limit: o.memory}); err != nil {
		return nil, nil, err
	}
	s.onClose(s.memory.Close)
	if s.platform, err = o.newPlatform(s.memory.FD()); err != nil {
		return nil, nil, err
	}
	s.onClose(s.platform.Close)
	if s.vdso, err = loader.NewVDSO(s.memory, clock.NewHost()); err != nil {
		return nil, nil, err
	}
	s.onClose(s.vdso.Close)
	slots := 0
	if l, ok := s.platform.(platform.SlotLimiter); ok {
		slots = l.RunSlots()
	}
	return s, procmgr.NewTable(procmgr.Config{Limits: o.limits, Slots: slots, Now: sinceBoot(s.vdso)}), nil
}

// makeKernel makes the kernel, over a file tree.
func (s *Sandbox) makeKernel(o *settings, procs *procmgr.Table, pipes *pipe.Pool, tree *vfs.Namespace) {
	s.kernel = task.New(task.Config{
		Platform:    s.platform,
		Memory:      s.memory,
		Procs:       procs,
		Futexes:     futex.NewManager(),
		Clock:       s.vdso,
		VDSO:        s.vdso,
		Syscalls:    syscalls.Table(),
		Mounts:      tree,
		Pipes:       pipes,
		Shmem:       tmpfs.New(tmpfs.Options{Memory: fileMemory{s.memory}, Dev: devMemfd}),
		Net:         s.net,
		FileSystem:  s.mountable,
		Tracer:      o.tracer,
		Log:         o.log,
		CPUs:        processors(),
		Hostname:    o.hostname,
		TotalMemory: o.told,
	})
}
