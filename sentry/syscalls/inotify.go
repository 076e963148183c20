package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/inotify"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

func sysInotifyInit(t *task.Task, _ *task.Args) (uint64, error) { return makeInotify(t, 0) }

func sysInotifyInit1(t *task.Task, a *task.Args) (uint64, error) { return makeInotify(t, a.Uint(0)) }

func makeInotify(t *task.Task, flags uint32) (uint64, error) {
	f, err := t.Kernel().Inotify.NewFile(t.Thread().Credentials().EUID, flags)
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.IN_CLOEXEC != 0)
}

// sysInotifyAddWatch is inotify_add_watch(2).
func sysInotifyAddWatch(t *task.Task, a *task.Args) (uint64, error) {
	mask := a.Uint(2)
	if err := inotify.CheckMask(mask); err != nil {
		return 0, err
	}
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		fd, ok := f.Ops().(*inotify.FD)
		if !ok {
			return 0, unix.EINVAL
		}
		path, err := copyInPath(t, a.Addr(1), false)
		if err != nil {
			return 0, err
		}
		flags := uint32(0)
		if mask&unix.IN_DONT_FOLLOW != 0 {
			flags = unix.AT_SYMLINK_NOFOLLOW
		}
		p, err := t.Caller().Watchable(path, flags, mask&unix.IN_ONLYDIR != 0)
		if err != nil {
			return 0, err
		}
		wd, err := fd.Watch(p, mask)
		return uint64(wd), err
	})
}

// sysInotifyRmWatch is inotify_rm_watch(2).
func sysInotifyRmWatch(t *task.Task, a *task.Args) (uint64, error) {
	return withFile(t, a, func(f *vfs.File) (uint64, error) {
		fd, ok := f.Ops().(*inotify.FD)
		if !ok {
			return 0, unix.EINVAL
		}
		return 0, fd.Unwatch(a.Int(1))
	})
}
