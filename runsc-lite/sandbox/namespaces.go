package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespace returns a namespace of the configuration, nil if it is not in it.
func namespace(spec *specs.Spec, kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
	for i := range spec.Linux.Namespaces {
		if n := &spec.Linux.Namespaces[i]; n.Type == kind {
			return n
		}
	}
	return nil
}

// cloneFlags are those of the namespaces that the sandbox gets anew. It is in some of
// its own whatever the configuration says: what the container sees of its namespaces is
// the sentry's work, and the process has nothing to look for in the host's.
func cloneFlags(spec *specs.Spec) (uintptr, error) {
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if n := namespace(spec, specs.NetworkNamespace); n == nil || n.Path == "" {
		flags |= unix.CLONE_NEWNET
	}
	return flags, nil
}

// enterGiven puts the calling thread into the network namespace that the configuration
// names.
func enterGiven(spec *specs.Spec) error {
	n := namespace(spec, specs.NetworkNamespace)
	if n == nil || n.Path == "" {
		return nil
	}
	fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("entering the network namespace %s: %w", n.Path, err)
	}
	return nil
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
