package sentry

import (
	"bytes"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/fs/proc"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/ipc/mqueue"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// sysctls are the files of /proc/sys that belong to objects of the kernel.
func (s *Sandbox) sysctls() []synth.Leaf {
	limit := func(path string, of func(*inotify.Limits) *atomic.Int64) synth.Leaf {
		at := func() *atomic.Int64 { return of(&s.kernel.Inotify.Limits) }
		return synth.Numbers("fs/inotify/"+path, func() []int64 { return []int64{at().Load()} },
			synth.Limit(func(n int64) { at().Store(n) }))
	}
	return []synth.Leaf{
		limit("max_queued_events", func(l *inotify.Limits) *atomic.Int64 { return &l.MaxQueued }),
		limit("max_user_instances", func(l *inotify.Limits) *atomic.Int64 { return &l.MaxInstances }),
		limit("max_user_watches", func(l *inotify.Limits) *atomic.Int64 { return &l.MaxWatches }),
		s.sysvLimits("shmmax", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.Max} }),
		s.sysvLimits("shmall", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.All} }),
		s.sysvLimits("shmmni", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.IDs} }),
		s.sysvLimits("sem", func(i *namespaces.IPC) []*atomic.Int64 {
			l := &i.Sem.Limits
			return []*atomic.Int64{&l.PerSet, &l.All, &l.Ops, &l.Sets}
		}),
		s.sysvLimits("msgmax", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.Message} }),
		s.sysvLimits("msgmnb", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.Queue} }),
		s.sysvLimits("msgmni", func(i *namespaces.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.IDs} }),
		s.queueLimit("queues_max", 0, math.MaxInt32, func(l *mqueue.Limits) *atomic.Int64 { return &l.Queues }),
		s.queueLimit("msg_max", 1, 65536, func(l *mqueue.Limits) *atomic.Int64 { return &l.MaxCount }),
		s.queueLimit("msgsize_max", 128, 16<<20, func(l *mqueue.Limits) *atomic.Int64 { return &l.MaxSize }),
		s.queueLimit("msg_default", 1, 65536, func(l *mqueue.Limits) *atomic.Int64 { return &l.DefaultCount }),
		s.queueLimit("msgsize_default", 128, 16<<20, func(l *mqueue.Limits) *atomic.Int64 { return &l.DefaultSize }),
	}
}

// ipcOf returns the ipc namespace of who opens a file.
func (s *Sandbox) ipcOf(c *vfs.Caller) *namespaces.IPC {
	if ns := proc.NamespacesOf(c); ns != nil {
		return ns.IPC
	}
	return s.kernel.First.IPC
}

// queueLimit is a file in /proc/sys/fs/mqueue (mq_overview(7)).
func (s *Sandbox) queueLimit(name string, least, most int64, of func(*mqueue.Limits) *atomic.Int64) synth.Leaf {
	return synth.Leaf{Path: "fs/mqueue/" + name, Mode: 0o644, Open: func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
		limit := of(&s.ipcOf(c).Queues.Limits)
		return synth.Numbers("", func() []int64 { return []int64{limit.Load()} }, func(n []int64) error {
			if n[0] < least || n[0] > most {
				return unix.EINVAL
			}
			limit.Store(n[0])
			return nil
		}).Open(c, flags)
	}}
}

// sysvLimits is a file in /proc/sys/kernel of limits of System V's objects.
func (s *Sandbox) sysvLimits(name string, of func(*namespaces.IPC) []*atomic.Int64) synth.Leaf {
	numbers := func(limits []*atomic.Int64) synth.Opener {
		return synth.Numbers("", func() (n []int64) {
			for _, l := range limits {
				n = append(n, l.Load())
			}
			return n
		}, func(n []int64) error {
			for i := range n {
				if n[i] < 0 || n[i] > math.MaxInt32 && name != "shmmax" && name != "shmall" {
					return unix.EINVAL
				}
			}
			for i := range n {
				limits[i].Store(n[i])
			}
			return nil
		}).Open
	}
	return synth.Leaf{Path: "kernel/" + name, Mode: 0o644, Open: func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
		return numbers(of(s.ipcOf(c)))(c, flags)
	}}
}

// sysvFiles are those in /proc/sysvipc.
func (s *Sandbox) sysvFiles() []synth.Leaf {
	leaf := func(name string, text func(*namespaces.IPC, *bytes.Buffer) error) synth.Leaf {
		return synth.Leaf{Path: "sysvipc/" + name, Open: func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
			ipc := s.ipcOf(c)
			return synth.Text(func(b *bytes.Buffer) error { return text(ipc, b) }).Open(c, flags)
		}}
	}
	return []synth.Leaf{
		leaf("msg", func(i *namespaces.IPC, b *bytes.Buffer) error { return i.Msg.Proc(b) }),
		leaf("sem", func(i *namespaces.IPC, b *bytes.Buffer) error { return i.Sem.Proc(b) }),
		leaf("shm", func(i *namespaces.IPC, b *bytes.Buffer) error { return i.Shm.Proc(b) }),
	}
}
