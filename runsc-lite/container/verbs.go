package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/sandbox"
)

// OCI returns the state as the OCI runtime specification has it.
func (c *Container) OCI() *specs.State {
	st := &specs.State{
		Version: c.Version, ID: c.ID, Status: specs.ContainerState(c.Now()), Bundle: c.Bundle, Annotations: c.Annotations,
	}
	if st.Status != specs.StateStopped {
		st.Pid = c.Pid
	}
	return st
}

// Spec returns the configuration that the container was made with.
func (c *Container) Spec() (*specs.Spec, error) {
	b, err := c.Config()
	if err != nil {
		return nil, fmt.Errorf("reading the container's configuration: %w", err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading the container's configuration: %w", err)
	}
	return &s, nil
}

// dial connects to the container's sandbox.
func (c *Container) dial() (*sandbox.Client, error) {
	client, err := sandbox.Dial(c.dir, ControlSocket)
	if errors.Is(err, sandbox.ErrGone) {
		return nil, ErrNotRunning
	}
	return client, err
}

// Start runs the program of a container that is created.
func (s *Store) Start(id string, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	switch c.Now() {
	case Created:
	case Stopped:
		return errors.New("cannot start a container that has stopped")
	case Running, Paused:
		return errors.New("cannot start an already running container")
	default:
		return fmt.Errorf("cannot start a container in the %s state", c.Now())
	}
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	client, err := c.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Start(); err != nil {
		return err
	}
	c.Status = Running
	if err := c.Save(); err != nil {
		return err
	}
	if spec.Hooks != nil {
		if err := runHooks("poststart", spec.Hooks.Poststart, c.OCI(), nil); err != nil {
			// The specification: log a warning, and go on as if it had succeeded.
			log.Warn(err.Error())
		}
	}
	return nil
}

// Kill sends a signal to the container's first process, or to all of them.
func (s *Store) Kill(id string, sig unix.Signal, all bool, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	switch now := c.Now(); now {
	case Created:
		// There is no program yet that could do anything with it: it ends.
		if sig == 0 {
			return nil
		}
		return c.KillSandbox()
	case Running:
		if sig == unix.SIGKILL && !all {
			// However broken the sandbox is.
			return c.killFirst()
		}
	case Paused:
		// It hears of nothing until it is resumed, but death.
		if sig != unix.SIGKILL {
			return errors.New("the container is paused: it gets signals again once it is resumed, and SIGKILL at once")
		}
		if err := c.KillSandbox(); err != nil {
			return err
		}
		return nil
	default:
		if all {
			return nil
		}
		return ErrNotRunning
	}
	client, err := c.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Signal(sig, all); errors.Is(err, sandbox.ErrGone) {
		return ErrNotRunning
	} else if err != nil {
		return err
	}
	return nil
}

// killFirst ends the container by the sandbox if that answers, and with it otherwise.
func (c *Container) killFirst() error {
	client, err := c.dial()
	if err == nil {
		defer client.Close()
		if err = client.Signal(unix.SIGKILL, false); err == nil {
			return nil
		}
	}
	return c.KillSandbox()
}

// Delete removes a container that is stopped; force ends it first.
func (s *Store) Delete(id string, force bool, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		if force && errors.Is(err, ErrNotExist) {
			return nil
		}
		return err
	}
	defer c.Unlock()
	if now := c.Now(); now != Stopped {
		// What is created has no program; runc deletes it, too.
		if !force && now != Created {
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", id, now)
		}
		if err := c.KillSandbox(); err != nil {
			return err
		}
	}
	if err := c.dropGroup(log); err != nil {
		return err
	}
	c.Status = Stopped
	spec, specErr := c.Spec()
	st := c.OCI()
	if err := c.Remove(); err != nil {
		return err
	}
	if specErr == nil && spec.Hooks != nil {
		if err := runHooks("poststop", spec.Hooks.Poststop, st, nil); err != nil {
			log.Warn(err.Error())
		}
	}
	return nil
}

// Wait returns the container's exit status once it has ended.
func (s *Store) Wait(id string) (int, error) {
	c, err := s.Get(id)
	if err != nil {
		return 0, err
	}
	if client, err := c.dial(); err == nil {
		status, err := client.Wait()
		client.Close()
		if err == nil {
			return status, nil
		}
	}
	if err := c.WaitSandbox(); err != nil {
		return 0, err
	}
	if status, ok := c.ExitStatus(); ok {
		return status, nil
	}
	return 0, errors.New("the sandbox ended without saying how its program did")
}
