package task

import (
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// attrCapability holds the capabilities of a program's file (capabilities(7)).
const attrCapability = "security.capability"

// execCreds works out the credentials of the new program: set-user-ID, file
// capabilities and so on.
func (t *Task) execCreds(exe *vfs.File) (next procmgr.NewProgram, err error) {
	f, err := t.privileges(exe)
	if err != nil {
		return next, err
	}
	next.Credentials, next.Secure, err = t.th.Credentials().ForExec(f)
	if err != nil {
		return next, err
	}
	// would_dump: what one may not read as a file, one may not read as memory.
	next.Unreadable = t.Caller().Access(exe, "", vfs.MayRead, unix.AT_EMPTY_PATH|unix.AT_EACCESS) != nil
	return next, nil
}

// privileges reads what a program's file gives to who executes it: nothing on a mount
// with MS_NOSUID.
func (t *Task) privileges(exe *vfs.File) (procmgr.ExecFile, error) {
	f := procmgr.ExecFile{SetUID: procmgr.NoID, SetGID: procmgr.NoID, Shared: t.sharesFS() || t.th.TracedUnprivileged()}
	if m := exe.Path().Mount; m != nil && m.Flags()&unix.MS_NOSUID != 0 {
		return f, nil
	}
	st, err := exe.Stat()
	if err != nil {
		return f, err
	}
	if st.Mode&unix.S_ISUID != 0 {
		f.SetUID = st.UID
	}
	if st.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
		f.SetGID = st.GID
	}
	if x, ok := exe.Inode().(vfs.Xattrer); ok {
		// An attribute that is none is as good as a file that cannot be executed.
		if b, err := x.Getxattr(attrCapability); err == nil {
			if f.Caps, err = procmgr.DecodeFileCaps(b); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// sharesFS reports whether another process has the same root and working directory
// as t (check_unsafe_exec).
func (t *Task) sharesFS() bool {
	users := t.fs.Users()
	for _, th := range t.Process().Threads() {
		if o := Of(th); o != nil && o.Place() == t.fs {
			users--
		}
	}
	return users > 0
}
