package sentry

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/dev"
	"runsc-lite/sentry/fs/devpts"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// ContainerSpec says what a container is made of. What runs in it is said later, a
// Program at a time.
type ContainerSpec struct {
	// NewPlatform makes the platform, over the descriptor of the memory file.
	NewPlatform func(memFD int) (platform.Platform, error)
	// Root is a descriptor of the host's directory that is the root; the container
	// takes it over.
	Root         int
	RootReadonly bool
	// Mounts are made in this order, then the devices.
	Mounts  []Mount
	Devices []Device
	// MaskedPaths are hidden and ReadonlyPaths not writable, those that there are.
	MaskedPaths, ReadonlyPaths []string
	Sysctls                    []Sysctl
	Hostname                   string
	Domainname                 string
	TotalMemory                uint64 // what guests are told that there is, in bytes; 0: the host's
	Limits                     *[procmgr.NumLimits]procmgr.Limit
	Tracer                     task.Tracer // nil for none
	Log                        *slog.Logger
	NetSpec
}

// Container is a sandbox whose first program is pid 1 of a pid namespace, and that more
// programs can enter from outside.
//
//	NewContainer   everything but a program
//	Prepare        finds out whether a program can be started
//	Run            starts one; the first is pid 1, and its end that of all others
//	Close          ends all and gives everything back to the host
type Container struct {
	*Sandbox
	spec    *ContainerSpec
	keeper  *keeper
	first   *procmgr.Thread // pid 1, not started yet; nil once it is
	pids    *procmgr.PIDNamespace
	devices *dev.Devices
	pts     *devpts.FS // where terminals are made; nil: nowhere
	ptsAt   string     // where that is mounted
	console string     // the terminal that is /dev/console
}

// NewContainer makes a container without a program.
func NewContainer(spec ContainerSpec) (_ *Container, err error) {
	// What the container may hold is for its control group to say.
	o := settings{
		newPlatform: spec.NewPlatform, network: &spec.NetSpec, memory: hostcall.TotalMemory(), told: hostcall.TotalMemory(),
		limits: spec.Limits, hostname: spec.Hostname, tracer: spec.Tracer, log: spec.Log,
	}
	if spec.TotalMemory != 0 {
		o.told = min(o.told, spec.TotalMemory)
	}
	s, procs, err := boot(&o)
	if err != nil {
		return nil, err
	}
	c := &Container{Sandbox: s, spec: &spec}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.keeper, err = startKeeper(procs); err != nil {
		return nil, err
	}
	if c.first, err = procs.Fork(c.keeper.process.Leader(), procmgr.CloneOptions{
		Flags: unix.CLONE_NEWPID, ExitSignal: unix.SIGCHLD,
	}); err != nil {
		return nil, fmt.Errorf("making the pid namespace: %w", err)
	}
	c.pids = c.first.Namespace()
	c.keeper.process.Leader().SetChildNamespace(c.pids)
	pipes := pipe.NewPool(nil)
	tree, err := c.newRoot(procs, pipes)
	if err != nil {
		return nil, err
	}
	s.makeKernel(&o, procs, pipes, tree)
	if spec.Domainname != "" {
		s.kernel.First.UTS.SetDomain(spec.Domainname)
	}
	return c, c.fillTree(tree, procs)
}

// who is the sentry itself as somebody who walks the file tree.
func (c *Container) who(tree *vfs.Namespace) (*vfs.Caller, func()) {
	where := vfs.NewFSContext(tree)
	where.SetUmask(0)
	return caller(where, procmgr.RootCredentials()), where.Release
}

// LimitTasks bounds how many threads the container's programs may have; 0: as many as
// there are ids.
func (c *Container) LimitTasks(n int64) {
	if n > 0 {
		n++ // the keeper
	}
	c.kernel.Procs.LimitTasks(n)
}

// Close ends all processes and gives everything back to the host.
func (c *Container) Close() {
	if c.first != nil && c.first.State() == procmgr.New {
		c.first.Abort()
		c.first = nil
	}
	if c.keeper != nil && c.kernel == nil {
		c.keeper.process.Table().KillAll()
	}
	c.Sandbox.Close()
}
