package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// maxMemfdName is MFD_NAME_MAX_LEN, without the NUL.
const maxMemfdName = unix.NAME_MAX - len("memfd:")

// sysMemfdCreate is memfd_create(2). There are no huge pages: MFD_HUGETLB is
// EINVAL.
func sysMemfdCreate(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(1)
	const known = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	name, err := t.Memory().Space.CopyInString(a.Addr(0), maxMemfdName+1)
	if err == unix.ENAMETOOLONG {
		return 0, unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	f, err := t.Kernel().Shmem.NewMemfd(name, flags, t.Caller().Creds)
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.MFD_CLOEXEC != 0)
}
