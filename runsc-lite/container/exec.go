package container

import (
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc-lite/runsc-lite/sandbox"
)

// ExecOptions say how the program of an exec differs from the container's first one.
type ExecOptions struct {
	Process *specs.Process // all of it; nil: as follows

	Args, Env    []string
	Cwd          string // "": the container's
	User         *specs.User
	Groups       []uint32
	Capabilities []string // in addition
	NoNewPrivs   bool
	Terminal     bool

	IgnorePaused bool
}

// process makes the whole.
func (o *ExecOptions) process(c *Container) (*specs.Process, error) {
	if o.Process != nil {
		return o.Process, nil
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	p := *spec.Process
	p.Args, p.Terminal = o.Args, o.Terminal
	p.ConsoleSize = nil
	p.Env = append(slices.Clone(p.Env), o.Env...)
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	if o.User != nil {
		p.User = *o.User
	}
	p.User.AdditionalGids = append(slices.Clone(p.User.AdditionalGids), o.Groups...)
	p.NoNewPrivileges = p.NoNewPrivileges || o.NoNewPrivs
	if len(o.Capabilities) > 0 {
		caps := specs.LinuxCapabilities{}
		if p.Capabilities != nil {
			caps = *p.Capabilities
		}
		for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
			*set = append(slices.Clone(*set), o.Capabilities...)
		}
		p.Capabilities = &caps
	}
	return &p, nil
}

// Exec connects to a container that runs, and returns the program that is to be run in
// it: see sandbox.Client.Exec.
func (s *Store) Exec(id string, o ExecOptions) (*sandbox.Client, *specs.Process, error) {
	c, err := s.Get(id)
	if err != nil {
		return nil, nil, err
	}
	switch now := c.Now(); {
	case now == Stopped:
		return nil, nil, errors.New("cannot exec in a stopped container")
	case now == Paused && !o.IgnorePaused:
		return nil, nil, errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	case now == Creating || now == Created:
		return nil, nil, fmt.Errorf("cannot exec in a container in the %s state: start it first", now)
	}
	p, err := o.process(c)
	if err != nil {
		return nil, nil, err
	}
	client, err := c.dial()
	return client, p, err
}
