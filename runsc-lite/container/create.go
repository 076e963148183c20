package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/runsc-lite/cgroup"
	"runsc-lite/runsc-lite/sandbox"
)

// Options say how a container is made.
type Options struct {
	ID, Platform            string
	Bundle                  *bundle.Bundle
	PidFile                 string // "": none
	SystemdCgroup, Rootless bool
	Stdio                   [3]*os.File
	Terminal                *os.File   // the slave of the host's pseudo-terminal, if Spec asks for one
	Extra                   []*os.File // the program's descriptors from 3 on
	Log                     *os.File   // the sandbox's; nil: none
	Debug                   bool
	Warn                    *slog.Logger
}

// Made is a container that Make has made, and that is unlocked.
type Made struct {
	*Container
	sandbox *sandbox.Launched
	group   *cgroup.Group // nil: it is not there
}

// Wait waits for the end of the container, whose sandbox is this process's child.
func (m *Made) Wait() (int, error) { return m.sandbox.Wait() }

// Make makes a container up to the state "created". If it fails, nothing is left.
func (s *Store) Make(o Options) (_ *Made, err error) {
	if err := o.Bundle.CheckHost(); err != nil {
		return nil, err
	}
	spec := o.Bundle.Spec
	c, err := s.Create(State{
		Version: spec.Version, ID: o.ID, Bundle: o.Bundle.Dir, Rootfs: o.Bundle.Root, Created: time.Now().UTC(),
		Owner: os.Getuid(), Platform: o.Platform, Annotations: spec.Annotations,
	})
	if err != nil {
		return nil, err
	}
	defer c.Unlock()
	m := &Made{Container: c}
	defer func() {
		if err == nil {
			return
		}
		if m.sandbox != nil {
			m.sandbox.Abandon()
		}
		if m.group != nil {
			err = errors.Join(err, m.group.Destroy())
		}
		err = errors.Join(err, c.Remove())
		if o.PidFile != "" {
			_ = os.Remove(o.PidFile)
		}
	}()
	config, err := json.Marshal(spec)
	if err == nil {
		err = c.SaveConfig(config)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the configuration: %w", err)
	}
	exit, err := c.ExitFile()
	if err != nil {
		return nil, err
	}
	defer exit.Close()
	hostname, err := hostnameOf(o.Bundle)
	if err != nil {
		return nil, err
	}
	if m.sandbox, err = sandbox.Launch(sandbox.Config{
		ID: o.ID, Bundle: o.Bundle, Platform: o.Platform, Debug: o.Debug,
		Dir: c.Dir(), ControlSocket: ControlSocket, Exit: exit, Log: o.Log,
		Stdio: o.Stdio, Terminal: o.Terminal, Extra: o.Extra, Hostname: hostname,
		Started: func(pid int) error { return m.join(&o, pid) },
	}); err != nil {
		return nil, err
	}
	for _, w := range o.Bundle.Warnings {
		o.Warn.Warn(w)
	}
	if err := c.SetProcess(m.sandbox.Pid); err != nil {
		return nil, err
	}
	if err := c.Save(); err != nil {
		return nil, err
	}
	if err := m.hooksOfCreate(&o); err != nil {
		return nil, err
	}
	if err := m.sandbox.Proceed(); err != nil {
		return nil, fmt.Errorf("unable to start container process: %w", err)
	}
	c.State.Status = Created
	if err := c.Save(); err != nil {
		return nil, err
	}
	if o.PidFile != "" {
		if err := WritePidFile(o.PidFile, m.sandbox.Pid); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// hooksOfCreate runs the hooks that belong between the making of the namespaces and
// that of the root.
func (m *Made) hooksOfCreate(o *Options) error {
	h := o.Bundle.Spec.Hooks
	if h == nil {
		return nil
	}
	st := m.OCI()
	st.Status = specs.StateCreating
	//lint:ignore SA1019 engines still use prestart hooks
	if err := runHooks("prestart", h.Prestart, st, nil); err != nil {
		return err
	}
	if err := runHooks("createRuntime", h.CreateRuntime, st, nil); err != nil {
		return err
	}
	enter, err := enterNamespaces(m.Pid)
	if err != nil {
		return err
	}
	return runHooks("createContainer", h.CreateContainer, st, enter)
}

// hostnameOf is what the container's host name shall be: the configured one, that of
// the uts namespace it joins, or the host's.
func hostnameOf(b *bundle.Bundle) (string, error) {
	path := b.Namespaces.UTS.Path
	switch {
	case b.Hostname != "":
		return b.Hostname, nil
	case path == "":
		return os.Hostname()
	}
	name := ""
	err := inNamespace(path, unix.CLONE_NEWUTS, func() (err error) {
		name, err = utsName()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking the uts namespace %s for its host name: %w", path, err)
	}
	return name, nil
}

func utsName() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Nodename[:]), nil
}

// WritePidFile leaves a pid in a file, which is there as a whole or not at all.
func WritePidFile(path string, pid int) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)), 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	return nil
}
