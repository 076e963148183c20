// Package task runs guest threads.
//
// A Task is one guest thread: a goroutine that owns a platform.Context and
// runs one loop (run.go). It puts together what the lower packages keep
// apart: ids, signals and hierarchy from procmgr, the address space from mm,
// descriptors from fdtable, the file tree from vfs. The system calls
// themselves are handlers in a Table that the kernel is given.
//
// What is a Task's own is touched by its goroutine only; what other tasks
// read through /proc is under Task.mu.
//
// Lock order:
//
//	procmgr's locks
//	  Task.mu
//	    mm.Space's locks
//	    vfs's and fdtable's locks
package task

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"runsc-lite/loader"
	"runsc-lite/mm/memfile"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/fs/epoll"
	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/futex"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/socket/netns"
	"runsc-lite/sentry/vfs"
)

// Config is what a Kernel is made of. All fields but Tracer and Log are
// needed.
type Config struct {
	Platform platform.Platform
	Memory   *memfile.File
	Procs    *procmgr.Table
	Futexes  *futex.Manager
	Clock    clock.Clock
	VDSO     *loader.VDSO
	Syscalls Table
	Mounts   *vfs.Namespace
	Pipes    *pipe.Pool
	Shmem    *tmpfs.FS // holds what memfd_create(2) makes; mounted nowhere
	// FileSystem makes what mount(2) mounts, for a caller in pids and ipc, and spells its
	// options: ENODEV for types that there are not. nil: there are none.
	FileSystem func(kind, options string, pids *procmgr.PIDNamespace, ipc *namespaces.IPC) (vfs.FileSystem, string, error)
	Net        *netns.Namespace
	Tracer     Tracer // strace; nil for none
	Log        *slog.Logger
	CPUs       int // processors that the guest sees
	Hostname   string
	// TotalMemory is how much memory guests see, in bytes.
	TotalMemory uint64
}

// Kernel is what all tasks of a sandbox share.
type Kernel struct {
	Config

	// First are the first uts, ipc, net and cgroup namespaces.
	First *namespaces.Set
	// Epolls is what all epolls have in common.
	Epolls epoll.Pool
	// Inotify holds the limits of inotify(7).
	Inotify *inotify.Pool

	// missed counts the calls that no handler serves, by number.
	missed [512]atomic.Uint64

	fpForm  atomic.Pointer[fpForm]
	patcher platform.CallPatcher // nil: the platform has none
	tasks   sync.WaitGroup
}

// New makes a kernel.
func New(c Config) *Kernel {
	k := &Kernel{Config: c, Inotify: inotify.NewPool()}
	k.First = namespaces.New(namespaces.Config{Host: c.Hostname, Net: c.Net, NewIPC: k.ipcMaker()})
	k.patcher, _ = c.Platform.(platform.CallPatcher)
	return k
}

// Wait returns when no task is left.
func (k *Kernel) Wait() { k.tasks.Wait() }

// Missed calls fn for each system call that guests made and nobody serves.
func (k *Kernel) Missed(fn func(name string, count uint64)) {
	for nr := range k.missed {
		if n := k.missed[nr].Load(); n != 0 {
			name := fmt.Sprintf("syscall_%#x", nr)
			if nr < len(k.Syscalls) && k.Syscalls[nr].Name != "" {
				name = k.Syscalls[nr].Name
			}
			fn(name, n)
		}
	}
}
