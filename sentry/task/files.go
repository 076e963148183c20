package task

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/signalfd"
	"runsc-lite/sentry/vfs"
)

// File returns the open file of a descriptor, with a reference: EBADF if there
// is none, or only a place in the file tree (O_PATH).
func (t *Task) File(fd int32) (*vfs.File, error) {
	f, err := t.AnyFile(fd)
	if err != nil {
		return nil, err
	}
	if f.IsPath() {
		f.DecRef()
		return nil, unix.EBADF
	}
	return f, nil
}

// AnyFile is File, O_PATH descriptors included.
func (t *Task) AnyFile(fd int32) (*vfs.File, error) {
	if f := t.fds.Get(int(fd)); f != nil {
		return f, nil
	}
	return nil, unix.EBADF
}

// Waitable returns the readiness of f for t: a signalfd is another one for each
// thread. Files without readiness are always ready.
func (t *Task) Waitable(f *vfs.File) waiter.Waitable {
	if s, ok := f.Ops().(*signalfd.FD); ok {
		return s.For(t.th)
	}
	return f
}

// MaxFDs returns RLIMIT_NOFILE.
func (t *Task) MaxFDs() uint64 { return t.Process().Limits().Soft(unix.RLIMIT_NOFILE) }

// MayInstall answers EMFILE if no descriptor is free: for calls that would leave
// something behind if Install failed.
func (t *Task) MayInstall() error {
	if t.fds.Full(t.MaxFDs()) {
		return unix.EMFILE
	}
	return nil
}

// Install gives f, whose reference it takes over, the lowest free descriptor.
// EMFILE drops f.
func (t *Task) Install(f *vfs.File, cloexec bool) (int32, error) {
	return t.InstallFrom(0, f, cloexec)
}

// InstallFrom is Install for the lowest free descriptor from min on.
func (t *Task) InstallFrom(min int, f *vfs.File, cloexec bool) (int32, error) {
	fd, err := t.fds.Install(f, min, t.MaxFDs(), cloexec)
	if err != nil {
		f.DecRef()
	}
	return int32(fd), err
}

// UnshareFiles gives t a descriptor table of its own (unshare(CLONE_FILES)).
func (t *Task) UnshareFiles() {
	if t.fds.Users() == 1 {
		return
	}
	own := t.fds.Copy()
	t.mu.Lock()
	old := t.fds
	t.fds = own
	t.mu.Unlock()
	old.DecRef()
}

// UnshareFS gives t a root and working directory of its own (unshare(CLONE_FS)).
func (t *Task) UnshareFS() {
	if t.fs.Users() == 1 {
		return
	}
	own := t.fs.Copy()
	t.mu.Lock()
	old := t.fs
	t.fs = own
	t.mu.Unlock()
	old.Release()
}

// UnshareMounts gives t a mount namespace of its own, a copy of what it was in
// (unshare(CLONE_NEWNS)).
func (t *Task) UnshareMounts() error {
	own, err := t.fs.CopyNamespace(mountOwner(t.th))
	if err != nil {
		return err
	}
	t.mu.Lock()
	old := t.fs
	t.fs = own
	t.mu.Unlock()
	old.Release()
	return nil
}

// MayLeaveFS says whether t may go to another mount or user namespace (setns(2)):
// EINVAL while others share its root and working directory.
func (t *Task) MayLeaveFS() error {
	if t.fs.Users() != 1 {
		return unix.EINVAL
	}
	return nil
}

// EnterMounts puts t at the top of a mount namespace, to which the caller has a
// reference (mntns_install).
func (t *Task) EnterMounts(ns *vfs.Namespace) {
	own := vfs.NewFSContext(ns)
	own.SetUmask(t.fs.Umask())
	t.mu.Lock()
	old := t.fs
	t.fs = own
	t.mu.Unlock()
	old.Release()
}

// mountOwner is whose a mount namespace is that a thread makes.
func mountOwner(th *procmgr.Thread) any {
	if ns := th.Credentials().UserNS; ns != nil {
		return ns
	}
	return nil
}

// MayMount reports whether t may change the mounts of its namespace (may_mount).
func (t *Task) MayMount() bool {
	owner, _ := t.fs.Namespace().Owner().(*procmgr.UserNamespace)
	return t.th.Credentials().HasCapIn(owner, unix.CAP_SYS_ADMIN)
}

// FollowRoot moves all threads that are at the old root to the new one
// (pivot_root(2)).
func (k *Kernel) FollowRoot(old, now vfs.Path) {
	k.Procs.ForEach(func(p *procmgr.Process) {
		for _, th := range p.Threads() {
			t := Of(th)
			if t == nil {
				continue
			}
			t.mu.Lock()
			fs := t.fs
			t.mu.Unlock()
			if fs != nil {
				fs.Follow(old, now)
			}
		}
	})
}

// Caller returns t as the one who makes a file system call.
func (t *Task) Caller() *vfs.Caller {
	c := t.th.Credentials()
	if t.caller.FSContext != t.fs || t.callerCreds != c {
		t.callerCreds = c
		t.caller = vfs.Caller{FSContext: t.fs, Task: t, Creds: fileCreds(c, c.FSUID, c.FSGID, c.CapEffective)}
	}
	return &t.caller
}

// RealCreds returns who t really is, for access(2): the real ids, and root's
// capabilities only if it is root.
func (t *Task) RealCreds() *vfs.Creds {
	c := t.th.Credentials()
	return fileCreds(c, c.RUID, c.RGID, c.RealCaps())
}

// fileCreds are credentials as file systems see them: files belong to users of the
// root, and capabilities of another user namespace count for those that it knows.
func fileCreds(c *procmgr.Credentials, uid, gid uint32, caps procmgr.CapSet) *vfs.Creds {
	n := &vfs.Creds{UID: uid, GID: gid, Groups: c.Groups}
	if c.UserNS != nil {
		n.In, n.InCaps = c.UserNS, uint64(caps)
	} else {
		n.Caps = uint64(caps)
	}
	return n
}

// SetCredentials replaces t's credentials unless err says that they are not
// allowed.
func (t *Task) SetCredentials(c *procmgr.Credentials, err error) error {
	if err != nil {
		return err
	}
	if c != t.th.Credentials() {
		t.th.SetCredentials(c)
		t.publish()
	}
	return nil
}

// OpenFile opens path for open(2), and waits for the other side of a FIFO.
func (t *Task) OpenFile(dir *vfs.File, path string, how vfs.OpenHow) (*vfs.File, error) {
	f, err := t.Caller().Open(dir, path, how)
	if err != nil {
		return nil, err
	}
	const any = waiter.ReadableEvents | waiter.WritableEvents
	if err := t.WaitFile(f, any, noDeadline, f.Connected); err != nil {
		f.DecRef()
		return nil, err
	}
	return f, nil
}

// FileSizeLimit returns RLIMIT_FSIZE in bytes, -1 for none.
func (t *Task) FileSizeLimit() int64 {
	if l := t.Process().Limits().Soft(unix.RLIMIT_FSIZE); l <= 1<<63-1 {
		return int64(l)
	}
	return -1
}

// CheckFileSize refuses a file to become larger than RLIMIT_FSIZE: EFBIG, and
// SIGXFSZ.
func (t *Task) CheckFileSize(size int64) error {
	if l := t.FileSizeLimit(); l >= 0 && size > l {
		t.SendSelf(unix.SIGXFSZ)
		return unix.EFBIG
	}
	return nil
}

// SendSelf sends a signal to the calling thread, as if from itself.
func (t *Task) SendSelf(sig unix.Signal) {
	t.th.SendSignal(procmgr.SigInfo{
		Signo: int32(sig), Code: procmgr.SIUser, PID: int32(t.PID()), UID: t.realUID(),
	})
}

// realUID returns the user that t is, as it knows it itself.
func (t *Task) realUID() uint32 {
	c := t.th.Credentials()
	return c.UserNS.UID(c.RUID)
}

// IoctlMemory returns t's memory for ioctl arguments.
func (t *Task) IoctlMemory() vfs.Memory { return ioctlMemory{t} }

// ioctlMemory is a task's memory, and the task itself for terminals, which ask
// whose ioctl it is.
type ioctlMemory struct{ *Task }

func (m ioctlMemory) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	return m.mem.Space.CopyIn(addr, dst)
}

func (m ioctlMemory) CopyOut(addr hostarch.Addr, src []byte) (int, error) {
	return m.mem.Space.CopyOut(addr, src)
}
