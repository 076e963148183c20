package syscalls

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
)

// What uname(2) and /proc/version say. The release is that of the Linux whose
// interface the sentry follows; the version names the project.
const (
	Sysname = "Linux"
	Release = "6.12.0-runsc-lite"
	Version = "#1 SMP PREEMPT_DYNAMIC runsc-lite"
	Machine = "x86_64"
)

// sysUname is uname(2): six fields of 65 bytes.
func sysUname(t *task.Task, a *task.Args) (uint64, error) {
	const field = 65
	host, domain := t.Namespaces().UTS.Names()
	var b [6 * field]byte
	release, machine := Release, Machine
	if t.HasPersona(task.PersonaUname26) {
		release = release26()
	}
	if t.Personality()&0xff == task.PersonaLinux32 {
		machine = "i686"
	}
	for i, s := range [...]string{Sysname, host, release, Version, machine, domain} {
		copy(b[i*field:(i+1)*field-1], s)
	}
	_, err := t.Memory().Space.CopyOut(a.Addr(0), b[:])
	return 0, err
}

// release26 is the release for programs that know no major version but 2
// (override_release).
func release26() string {
	var major, minor int
	rest := strings.TrimLeft(Release, "0123456789.")
	fmt.Sscanf(Release, "%d.%d", &major, &minor) // ours
	return fmt.Sprintf("2.6.%d%s", minor+60, rest)
}

func copyInName(t *task.Task, a *task.Args) (string, error) {
	if !t.Thread().Credentials().HasCapIn(t.Namespaces().UTS.Owner(), unix.CAP_SYS_ADMIN) {
		return "", unix.EPERM
	}
	n := a.Int(1)
	if n < 0 || n > 64 {
		return "", unix.EINVAL
	}
	b := make([]byte, n)
	if _, err := t.Memory().Space.CopyIn(a.Addr(0), b); err != nil {
		return "", err
	}
	return string(b), nil
}

func sysSethostname(t *task.Task, a *task.Args) (uint64, error) {
	s, err := copyInName(t, a)
	if err == nil {
		t.Namespaces().UTS.SetHost(s)
	}
	return 0, err
}

func sysSetdomainname(t *task.Task, a *task.Args) (uint64, error) {
	s, err := copyInName(t, a)
	if err == nil {
		t.Namespaces().UTS.SetDomain(s)
	}
	return 0, err
}

// sysSysinfo is sysinfo(2), with memory in bytes.
func sysSysinfo(t *task.Task, a *task.Args) (uint64, error) {
	k := t.Kernel()
	up, err := k.Clock.Read(unix.CLOCK_BOOTTIME)
	if err != nil {
		return 0, err
	}
	total, free := k.MemoryTotal()
	var b [112]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64((up+nanosPerSecond-1)/nanosPerSecond))
	for i, avg := range k.Procs.LoadAverage() {
		le.PutUint64(b[8+8*i:], uint64(avg*(1<<16)))
	}
	le.PutUint64(b[32:], total)
	le.PutUint64(b[40:], free)
	le.PutUint16(b[80:], uint16(min(k.Procs.ProcessCount(), 0xffff)))
	le.PutUint32(b[104:], 1) // mem_unit
	_, err = t.Memory().Space.CopyOut(a.Addr(0), b[:])
	return 0, err
}

// sysGetrandom is getrandom(2). The pool is always ready.
func sysGetrandom(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(2)
	const insecureRandom = unix.GRND_INSECURE | unix.GRND_RANDOM
	if flags&^(unix.GRND_NONBLOCK|insecureRandom) != 0 || flags&insecureRandom == insecureRandom {
		return 0, unix.EINVAL
	}
	var buf [256]byte
	left, addr := min(a[1], 1<<31-1), a.Addr(0)
	done := uint64(0)
	for left > 0 {
		b := buf[:min(left, uint64(len(buf)))]
		rand.Read(b)
		n, err := t.Memory().Space.CopyOut(addr, b)
		done += uint64(n)
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		addr += hostarch.Addr(n)
		left -= uint64(n)
		if t.Thread().Pending() && done >= 256 {
			break
		}
	}
	return done, nil
}

// arch_prctl(2) codes.
const (
	archSetGS    = 0x1001
	archSetFS    = 0x1002
	archGetFS    = 0x1003
	archGetGS    = 0x1004
	archGetCPUID = 0x1011
	archSetCPUID = 0x1012
)

func sysArchPrctl(t *task.Task, a *task.Args) (uint64, error) {
	regs := t.Context().Registers()
	switch a.Int(0) {
	case archSetFS, archSetGS:
		if a[1] >= uint64(t.Kernel().Platform.MaxAddress()) {
			return 0, unix.EPERM
		}
		if a.Int(0) == archSetFS {
			regs.Fs_base = a[1]
		} else {
			regs.Gs_base = a[1]
			if a[1] != 0 {
				t.Memory().Unpatch() // trampolines need the segment
			}
		}
		return 0, nil
	case archGetFS:
		return 0, copyOutUint64(t, a.Addr(1), regs.Fs_base)
	case archGetGS:
		return 0, copyOutUint64(t, a.Addr(1), regs.Gs_base)
	case archGetCPUID:
		return 1, nil
	case archSetCPUID:
		return 0, unix.ENODEV
	}
	return 0, unix.EINVAL
}

// sysPersonality is personality(2): 0xffffffff only asks.
func sysPersonality(t *task.Task, a *task.Args) (uint64, error) {
	old := t.Personality()
	if p := a.Uint(0); p != 0xffffffff {
		t.SetPersonality(p)
	}
	return uint64(old), nil
}

func sysRestartSyscall(t *task.Task, a *task.Args) (uint64, error) { return t.RestartSyscall(a) }

// robustListHeadSize is sizeof(struct robust_list_head).
const robustListHeadSize = 24

func sysSetRobustList(t *task.Task, a *task.Args) (uint64, error) {
	if a[1] != robustListHeadSize {
		return 0, unix.EINVAL
	}
	t.SetRobustList(a.Addr(0))
	return 0, nil
}

func sysGetRobustList(t *task.Task, a *task.Args) (uint64, error) {
	o := t
	if tid := a.Int(0); tid != 0 {
		if o = task.Of(t.Lookup(int(tid))); o == nil {
			return 0, unix.ESRCH
		}
		if o.Process() != t.Process() && !t.Thread().Credentials().HasCap(unix.CAP_SYS_PTRACE) {
			return 0, unix.EPERM
		}
	}
	if err := copyOutUint64(t, a.Addr(2), robustListHeadSize); err != nil {
		return 0, err
	}
	return 0, copyOutUint64(t, a.Addr(1), uint64(o.RobustList()))
}
