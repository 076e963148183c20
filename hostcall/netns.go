package hostcall

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetNS runs fn on a thread that is in a network namespace, which ns is a
// descriptor of, and waits for it. What fn opens belongs to that namespace, from
// whatever thread it is used later.
func InNetNS(ns int, fn func() error) error {
	result := make(chan error, 1)
	go func() { result <- inNetNS(ns, fn) }()
	return <-result
}

func inNetNS(ns int, fn func() error) error {
	// A thread that cannot be brought back stays locked, and ends with its
	// goroutine.
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the network namespace that this process is in: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	err = fn()
	if unix.Setns(own, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// OpenNetNS opens a network namespace by the path of it, as /run/netns/NAME or
// /proc/PID/ns/net: EINVAL if it is something else.
func OpenNetNS(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		_ = unix.Close(fd)
		return -1, unix.EINVAL
	}
	return fd, nil
}

// SetSysctl writes a file of /proc/sys, of the network namespace that the calling
// thread is in if it is below net.
func SetSysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}
