package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/task"
)

// sysUnshare is unshare(2). CLONE_NEWTIME is EINVAL, as in a kernel without time
// namespaces.
func sysUnshare(t *task.Task, a *task.Args) (uint64, error) {
	flags := a[0]
	const known = unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM |
		unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
		unix.CLONE_NEWUSER | namespaces.Flags
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		flags |= unix.CLONE_THREAD | unix.CLONE_FS
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
	old := t.Thread().Credentials()
	if flags&unix.CLONE_NEWUSER != 0 {
		// The other namespaces are the new one's.
		if err := t.SetCredentials(t.Kernel().Procs.NewUserNamespace(old)); err != nil {
			return 0, err
		}
	}
	if err := unshareNamespaces(t, flags); err != nil {
		t.SetCredentials(old, nil)
		return 0, err
	}
	if flags&(unix.CLONE_FS|unix.CLONE_NEWNS) == unix.CLONE_FS {
		t.UnshareFS()
	}
	if flags&unix.CLONE_FILES != 0 {
		t.UnshareFiles()
	}
	if flags&unix.CLONE_SYSVSEM != 0 {
		t.ReleaseSemUndo()
	}
	return 0, nil
}

// unshareNamespaces is unshare(2)'s part for namespaces that a user namespace owns.
func unshareNamespaces(t *task.Task, flags uint64) error {
	c := t.Thread().Credentials()
	if flags&(unix.CLONE_NEWNS|namespaces.Flags) != 0 && !c.HasCapIn(c.UserNS, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	var own *namespaces.Set
	if flags&namespaces.Flags != 0 {
		var err error
		if own, err = t.Namespaces().Unshare(flags, c.UserNS); err != nil {
			return err
		}
	}
	err := error(nil)
	if flags&unix.CLONE_NEWPID != 0 {
		err = t.Thread().UnshareNamespace()
	}
	if err == nil && flags&unix.CLONE_NEWNS != 0 { // and so CLONE_FS
		err = t.UnshareMounts()
	}
	switch {
	case own == nil:
	case err != nil:
		own.Release()
	default:
		if flags&unix.CLONE_NEWIPC != 0 {
			t.ReleaseSemUndo() // they are the old namespace's
		}
		t.SetNamespaces(own)
	}
	return err
}
