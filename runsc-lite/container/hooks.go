package container

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runHooks runs hooks one after the other, each with the container's state as its
// input. enter, if it is not nil, takes the thread that they are started from where they
// are to run.
func runHooks(phase string, hooks []specs.Hook, state *specs.State, enter func() error) error {
	if len(hooks) == 0 {
		return nil
	}
	input, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i := range hooks {
		if err := runHook(&hooks[i], input, enter); err != nil {
			return fmt.Errorf("running %s hook #%d: %w", phase, i, err)
		}
	}
	return nil
}

func runHook(h *specs.Hook, input []byte, enter func() error) error {
	ctx := context.Background()
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = &said, &said
	// What the hook leaves behind may keep the pipe open.
	cmd.WaitDelay = 5 * time.Second
	err := onThread(enter, cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err == nil || err == exec.ErrWaitDelay {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s took longer than its timeout of %d s", h.Path, *h.Timeout)
	}
	return fmt.Errorf("%s: %w, stdout+stderr: %s", h.Path, err, strings.TrimSpace(said.String()))
}

// onThread calls fn on a thread that enter has been called on, and that ends with it.
func onThread(enter, fn func() error) error {
	if enter == nil {
		return fn()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread is of no other use
		err := enter()
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// inNamespace calls fn on a thread that is in another namespace.
func inNamespace(path string, kind int, fn func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Setns(fd, kind)
	}, fn)
}

// enterNamespaces returns what takes a thread into the namespaces of a sandbox, as far
// as a hook is to see them.
func enterNamespaces(pid int) (func() error, error) {
	kinds := []struct {
		name string
		flag int
	}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"cgroup", unix.CLONE_NEWCGROUP}, {"mnt", unix.CLONE_NEWNS}}
	return func() error {
		// A mount namespace is entered by who shares its root with nobody.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		fds := make([]*os.File, 0, len(kinds))
		for _, k := range kinds {
			f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, k.name))
			if err != nil {
				return err
			}
			defer f.Close()
			fds = append(fds, f)
		}
		for i, k := range kinds {
			if err := unix.Setns(int(fds[i].Fd()), k.flag); err != nil {
				return fmt.Errorf("entering the sandbox's %s namespace: %w", k.name, err)
			}
		}
		return nil
	}, nil
}
