package container

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// processStat returns the state letter and the start time of a process, in clock ticks
// after boot (proc_pid_stat(5)).
func processStat(pid int) (state byte, start uint64, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may have any byte in it.
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}

// SetProcess notes which process is the sandbox.
func (c *Container) SetProcess(pid int) error {
	_, start, err := processStat(pid)
	if err != nil {
		return fmt.Errorf("looking at the sandbox's process: %w", err)
	}
	c.Pid, c.PidStart = pid, start
	return nil
}

// Alive reports whether the sandbox runs. A zombie does not.
func (c *Container) Alive() bool {
	if c.Pid == 0 {
		return false
	}
	state, start, err := processStat(c.Pid)
	return err == nil && start == c.PidStart && state != 'Z' && state != 'X'
}

// Now returns where the container is: what the file says, unless the sandbox has died
// since.
func (c *Container) Now() Status {
	switch c.Status {
	case Stopped:
		return Stopped
	case Creating:
		if c.Pid != 0 && !c.Alive() {
			return Stopped
		}
		return Creating
	}
	if !c.Alive() {
		return Stopped
	}
	return c.Status
}

// KillSandbox ends the sandbox's process, and returns when it is gone. Its death takes
// all of its processes with it: it is the init of their pid namespace.
func (c *Container) KillSandbox() error {
	if !c.Alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		if err == unix.ESRCH {
			return nil
		}
		return fmt.Errorf("ending the sandbox: %w", err)
	}
	defer unix.Close(fd)
	if !c.Alive() { // the descriptor may be of a process that got the number
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("ending the sandbox: %w", err)
	}
	if c.Status == Paused {
		// What is frozen ends only once it is thawed (cgroups v1).
		g, err := c.Group(nil)
		if err == nil && g != nil {
			err = g.Thaw()
		}
		if err != nil {
			return fmt.Errorf("ending the sandbox: %w", err)
		}
	}
	return waitPidfd(fd, killTimeout)
}

// waitPidfd waits until a process has ended; whose child it is does not matter.
func waitPidfd(fd int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("the sandbox was sent SIGKILL, but it is still there after %v", timeout)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for the sandbox's end: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// WaitSandbox waits until the sandbox's process has ended.
func (c *Container) WaitSandbox() error {
	if !c.Alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for the sandbox: %w", err)
	}
	defer unix.Close(fd)
	if !c.Alive() {
		return nil
	}
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, -1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for the sandbox: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}
