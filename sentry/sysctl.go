package sentry

import (
	"bytes"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/task"
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
		s.sysvLimits("shmmax", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.Max} }),
		s.sysvLimits("shmall", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.All} }),
		s.sysvLimits("shmmni", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Shm.Limits.IDs} }),
		s.sysvLimits("sem", func(i *task.IPC) []*atomic.Int64 {
			l := &i.Sem.Limits
			return []*atomic.Int64{&l.PerSet, &l.All, &l.Ops, &l.Sets}
		}),
		s.sysvLimits("msgmax", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.Message} }),
		s.sysvLimits("msgmnb", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.Queue} }),
		s.sysvLimits("msgmni", func(i *task.IPC) []*atomic.Int64 { return []*atomic.Int64{&i.Msg.Limits.IDs} }),
	}
}

// sysvLimits is a file in /proc/sys/kernel of limits of System V's objects.
func (s *Sandbox) sysvLimits(name string, of func(*task.IPC) []*atomic.Int64) synth.Leaf {
	return synth.Numbers("kernel/"+name, func() (n []int64) {
		for _, l := range of(&s.kernel.IPC) {
			n = append(n, l.Load())
		}
		return n
	}, func(n []int64) error {
		limits := of(&s.kernel.IPC)
		for i := range n {
			if n[i] < 0 || n[i] > math.MaxInt32 && name != "shmmax" && name != "shmall" {
				return unix.EINVAL
			}
		}
		for i := range n {
			limits[i].Store(n[i])
		}
		return nil
	})
}

// sysvFiles are those in /proc/sysvipc.
func (s *Sandbox) sysvFiles() []synth.Leaf {
	leaf := func(name string, text func(b *bytes.Buffer) error) synth.Leaf {
		return synth.Leaf{Path: "sysvipc/" + name, Open: synth.Text(text).Open}
	}
	return []synth.Leaf{
		leaf("msg", func(b *bytes.Buffer) error { return s.kernel.IPC.Msg.Proc(b) }),
		leaf("sem", func(b *bytes.Buffer) error { return s.kernel.IPC.Sem.Proc(b) }),
		leaf("shm", func(b *bytes.Buffer) error { return s.kernel.IPC.Shm.Proc(b) }),
	}
}
