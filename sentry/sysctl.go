package sentry

import (
	"sync/atomic"

	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/fs/synth"
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
	}
}
