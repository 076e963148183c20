package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
)

// cloneFlags are those of the namespaces that the sandbox gets anew. It is in some of
// its own whatever the configuration says: what the container sees of its namespaces is
// the sentry's work, and the process has nothing to look for in the host's.
func cloneFlags(n *bundle.Namespaces) uintptr {
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if n.Network.Path == "" {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// enterGiven puts the calling thread into the network namespace that the configuration
// names.
func enterGiven(n *bundle.Namespaces) error {
	path := n.Network.Path
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("entering the network namespace %s: %w", path, err)
	}
	return nil
}

// checkNamespaces says what the sandbox cannot do: its processes are those of a kernel
// of its own.
func checkNamespaces(n *bundle.Namespaces) (warnings []string, err error) {
	switch {
	case n.PID.Path != "":
		return nil, fmt.Errorf("the pid namespace %s cannot be joined: the container's processes are those of a kernel of its own; leave the path (--pid=container:…) out", n.PID.Path)
	case !n.PID.New:
		return nil, errors.New("the host's pid namespace cannot be shared: the container's processes are those of a kernel of its own; add a pid namespace (leave --pid=host out)")
	case n.User.Path != "":
		return nil, fmt.Errorf("the user namespace %s cannot be joined: give the mappings instead", n.User.Path)
	case n.Mount.Path != "":
		return nil, fmt.Errorf("the mount namespace %s cannot be joined: the container's mounts are those of a kernel of its own", n.Mount.Path)
	}
	if n.IPC.Path != "" {
		warnings = append(warnings, fmt.Sprintf("System V's objects are not shared with the ipc namespace %s: the container has its own", n.IPC.Path))
	} else if !n.IPC.New {
		warnings = append(warnings, "System V's objects are not shared with the host: the container has its own")
	}
	return warnings, nil
}

// idMappings returns how ids of the sandbox's user namespace are those of this
// process's: as the configuration says, or all as they are, which own lists.
func idMappings(want []specs.LinuxIDMapping, own string) ([]syscall.SysProcIDMap, error) {
	var list []syscall.SysProcIDMap
	for _, m := range want {
		list = append(list, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	if list != nil {
		return list, nil
	}
	f, err := os.Open(own)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var inside, outside, n int
		if _, err := fmt.Sscan(s.Text(), &inside, &outside, &n); err != nil {
			return nil, fmt.Errorf("reading %s: %w", own, err)
		}
		list = append(list, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: n})
	}
	return list, nil
}
