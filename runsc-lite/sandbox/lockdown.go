package sandbox

import (
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/seccomp"
)

// Shutting the sandbox off from the host happens in two steps, for the platform has to
// start its stubs in between, which are to have none of what the sentry keeps:
//
//	restrict   before the platform: what it executes gains no capabilities
//	lockDown   before guest code: an empty root, few capabilities, nobody may look into
//	           the process, a filter over its calls

// restrict is the first step.
func restrict() error {
	// Programs that are executed gain nothing by being root's.
	if err := onAllThreads("dropping root's privileges of programs", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0); err != nil {
		return err
	}
	return onAllThreads("forbidding new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

// secureBits: NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each locked
// (capabilities(7)).
const secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<6 | 1<<7

// lockDown is the second step.
func lockDown() error {
	if err := emptyRoot(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	// Nobody without privileges over this process reads its memory, its descriptors or
	// its program, and it leaves no core. Stubs are other programs, and not concerned.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding the sandbox's memory: %w", err)
	}
	filter := seccomp.Program{RuleSets: filterRules(), Options: seccomp.ProgramOptions{
		DefaultAction: seccomp.ReturnError.Code(uint16(unix.EPERM)), BadArchAction: seccomp.KillProcess, SkipOptimizations: true,
	}}
	program, _, err := filter.Build()
	if err != nil {
		return fmt.Errorf("making the filter over the sandbox's calls: %w", err)
	}
	if err := seccomp.SetFilter(program); err != nil {
		return fmt.Errorf("putting the filter over the sandbox's calls: %w", err)
	}
	return nil
}

// emptyRoot makes an empty directory the root, in which there is but the process file
// system of this pid namespace: the platform reads its stubs' times there. The rest of
// the host's file tree is gone from the mount namespace.
func emptyRoot() error {
	const at = "/proc" // there is one everywhere
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"mounting an empty root", func() error {
			return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=0,nr_inodes=4,mode=555")
		}},
		{"making its /proc", func() error { return unix.Mkdir(at+"/proc", 0o555) }},
		{"mounting its /proc", func() error {
			const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
			err := unix.Mount("proc", at+"/proc", "proc", flags, "subset=pid")
			if err == unix.EINVAL { // before Linux 5.8
				err = unix.Mount("proc", at+"/proc", "proc", flags, "")
			}
			return err
		}},
		{"entering it", func() error { return unix.Chdir(at) }},
		{"making it the root", func() error { return unix.PivotRoot(".", ".") }},
		{"taking the old root off", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"entering it", func() error { return unix.Chdir("/") }},
		{"closing it", func() error {
			return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("making the sandbox's root: %s: %w", step.what, err)
		}
	}
	return nil
}

// kept are the capabilities, in the sandbox's own user namespace, by which the sentry
// does to the container's files what its programs may do: it checks their rights itself.
const kept = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_FSETID | 1<<unix.CAP_SETFCAP

func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: kept & (1<<32 - 1), Permitted: kept & (1<<32 - 1)}}
	if err := onAllThreads("dropping capabilities", unix.SYS_CAPSET, pointer(&header), pointer(&data), 0); err != nil {
		return err
	}
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&data)
	return nil
}

// onAllThreads makes a system call on each thread of this process.
func onAllThreads(what string, nr, a, b, c uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(nr, a, b, c); errno != 0 {
		if errno == syscall.ENOTSUP {
			return fmt.Errorf("%s: this program was built with cgo, and cannot lock itself down: build it with CGO_ENABLED=0", what)
		}
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
