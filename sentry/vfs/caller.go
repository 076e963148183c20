package vfs

// What some objects answer depends on who asks (proc): the interfaces below are
// theirs, and take precedence over those of the same name without a caller. c is
// good for the length of the call only; c.Task, what it stands for, for longer.

// CallerOpener is an inode that is opened for somebody.
type CallerOpener interface {
	OpenFor(c *Caller, flags uint32) (FileOps, error)
}

// CallerSymlinker is a symbolic link with a text for each reader (/proc/self).
type CallerSymlinker interface {
	ReadlinkFor(c *Caller) (string, error)
}

// CallerGuard is an inode that decides itself who may access it (the permission
// method of Linux's struct inode_operations). want is a set of MayRead, MayWrite
// and MayExec; what the mode alone says is c.Creds.Permission.
type CallerGuard interface {
	PermissionFor(c *Caller, want uint32) error
}
