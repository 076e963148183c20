package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// sysUnshare is unshare(2). What can be unshared is the descriptor table, the
// place in the file tree, the mounts, and the pid namespace of children; other
// namespaces are EINVAL, as in a kernel without them. There are no System V semaphores whose undo
// lists could be shared.
func sysUnshare(t *task.Task, a *task.Args) (uint64, error) {
	flags := a[0]
	const known = unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM |
		unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM | unix.CLONE_NEWPID | unix.CLONE_NEWNS
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	// unshare(2): CLONE_VM implies CLONE_SIGHAND, and that implies
	// CLONE_THREAD. "Not implemented, but pretend it works if there is
	// nothing to unshare" (check_unshare_flags).
	if flags&(unix.CLONE_THREAD|unix.CLONE_SIGHAND|unix.CLONE_VM) != 0 && len(t.Process().Threads()) > 1 {
		return 0, unix.EINVAL
	}
	if flags&(unix.CLONE_SIGHAND|unix.CLONE_VM) != 0 && t.Process().ActionsShared() {
		return 0, unix.EINVAL
	}
	if flags&unix.CLONE_VM != 0 && t.Memory().Users() > 1 {
		return 0, unix.EINVAL
	}
	if flags&unix.CLONE_NEWNS != 0 && !t.Thread().Credentials().HasCap(unix.CAP_SYS_ADMIN) {
		return 0, unix.EPERM
	}
	if flags&unix.CLONE_NEWPID != 0 {
		if err := t.Thread().UnshareNamespace(); err != nil {
			return 0, err
		}
	}
	switch {
	case flags&unix.CLONE_NEWNS != 0: // and so CLONE_FS
		if err := t.UnshareMounts(); err != nil {
			return 0, err
		}
	case flags&unix.CLONE_FS != 0:
		t.UnshareFS()
	}
	if flags&unix.CLONE_FILES != 0 {
		t.UnshareFiles()
	}
	return 0, nil
}
