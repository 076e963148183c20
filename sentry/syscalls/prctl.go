package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// sysPrctl is prctl(2). Options that stand for a feature which is not here
// answer EINVAL, as a Linux without it.
func sysPrctl(t *task.Task, a *task.Args) (uint64, error) {
	th, p := t.Thread(), t.Process()
	switch a.Int(0) {
	case unix.PR_SET_PDEATHSIG:
		if a[1] > 64 {
			return 0, unix.EINVAL
		}
		th.SetParentDeathSignal(unix.Signal(a[1]))
		return 0, nil
	case unix.PR_GET_PDEATHSIG:
		return 0, t.Memory().Space.StoreUint32(a.Addr(1), uint32(th.ParentDeathSignal()))
	case unix.PR_SET_NAME:
		var b [16]byte
		s, err := t.Memory().Space.CopyInString(a.Addr(1), len(b))
		if err == unix.ENAMETOOLONG {
			_, err = t.Memory().Space.CopyIn(a.Addr(1), b[:15])
			s = string(b[:15])
		}
		if err != nil {
			return 0, err
		}
		th.SetName(s)
		return 0, nil
	case unix.PR_GET_NAME:
		var b [16]byte
		copy(b[:15], th.Name())
		_, err := t.Memory().Space.CopyOut(a.Addr(1), b[:])
		return 0, err
	case unix.PR_SET_DUMPABLE:
		if a[1] > 1 {
			return 0, unix.EINVAL
		}
		p.SetDumpable(int(a[1]))
		return 0, nil
	case unix.PR_GET_DUMPABLE:
		return uint64(p.Dumpable()), nil
	case unix.PR_SET_CHILD_SUBREAPER:
		p.SetChildSubreaper(a[1] != 0)
		return 0, nil
	case unix.PR_GET_CHILD_SUBREAPER:
		v := uint32(0)
		if p.ChildSubreaper() {
			v = 1
		}
		return 0, t.Memory().Space.StoreUint32(a.Addr(1), v)
	case unix.PR_SET_NO_NEW_PRIVS:
		if a[1] != 1 || a[2] != 0 || a[3] != 0 || a[4] != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetCredentials(th.Credentials().SetNoNewPrivs(), nil)
	case unix.PR_GET_NO_NEW_PRIVS:
		if a[1] != 0 || a[2] != 0 || a[3] != 0 || a[4] != 0 {
			return 0, unix.EINVAL
		}
		if th.Credentials().NoNewPrivs {
			return 1, nil
		}
		return 0, nil
	case unix.PR_SET_KEEPCAPS:
		if a[1] > 1 {
			return 0, unix.EINVAL
		}
		c, err := th.Credentials().SetKeepCaps(a[1] != 0)
		return 0, t.SetCredentials(c, err)
	case unix.PR_GET_KEEPCAPS:
		if th.Credentials().KeepCaps() {
			return 1, nil
		}
		return 0, nil
	case unix.PR_SET_SECUREBITS:
		c, err := th.Credentials().SetSecureBits(a[1])
		return 0, t.SetCredentials(c, err)
	case unix.PR_GET_SECUREBITS:
		return uint64(th.Credentials().SecureBits), nil
	case unix.PR_CAPBSET_READ:
		if a[1] > unix.CAP_LAST_CAP {
			return 0, unix.EINVAL
		}
		return uint64(th.Credentials().CapBounding) >> a[1] & 1, nil
	case unix.PR_CAPBSET_DROP:
		c, err := th.Credentials().DropBounding(int(min(a[1], 1<<16)))
		return 0, t.SetCredentials(c, err)
	case unix.PR_CAP_AMBIENT:
		return ambient(t, a)
	case unix.PR_SET_TIMERSLACK:
		t.SetTimerSlack(a[1])
		return 0, nil
	case unix.PR_GET_TIMERSLACK:
		return t.TimerSlack(), nil
	case unix.PR_GET_SECCOMP:
		mode, _ := t.Seccomp()
		return uint64(mode), nil
	case unix.PR_SET_SECCOMP:
		return prctlSeccomp(t, a[1], a.Addr(2))
	case unix.PR_GET_TSC:
		return 0, t.Memory().Space.StoreUint32(a.Addr(1), unix.PR_TSC_ENABLE)
	case unix.PR_SET_TSC:
		if a[1] == unix.PR_TSC_ENABLE {
			return 0, nil
		}
		return 0, unix.EINVAL
	case unix.PR_GET_TID_ADDRESS:
		return 0, copyOutUint64(t, a.Addr(1), uint64(t.ClearTID()))
	}
	return 0, unix.EINVAL
}

func ambient(t *task.Task, a *task.Args) (uint64, error) {
	c := t.Thread().Credentials()
	if a[3] != 0 || a[4] != 0 {
		return 0, unix.EINVAL
	}
	switch a.Int(1) {
	case unix.PR_CAP_AMBIENT_CLEAR_ALL:
		if a[2] != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetCredentials(c.ClearAmbient(), nil)
	case unix.PR_CAP_AMBIENT_IS_SET, unix.PR_CAP_AMBIENT_RAISE, unix.PR_CAP_AMBIENT_LOWER:
	default:
		return 0, unix.EINVAL
	}
	if a[2] > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	switch a.Int(1) {
	case unix.PR_CAP_AMBIENT_IS_SET:
		return uint64(c.CapAmbient) >> a[2] & 1, nil
	case unix.PR_CAP_AMBIENT_RAISE:
		n, err := c.RaiseAmbient(int(a[2]))
		return 0, t.SetCredentials(n, err)
	default:
		return 0, t.SetCredentials(c.LowerAmbient(int(a[2])), nil)
	}
}
