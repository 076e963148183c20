package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc-lite/runsc-lite/cgroup"
	"runsc-lite/runsc-lite/sandbox"
	"runsc-lite/sentry/task"
)

// join puts the sandbox's process into the container's cgroup, before it starts others.
func (m *Made) join(o *Options, pid int) error {
	spec := o.Bundle.Spec
	config := cgroup.Config{
		ID: o.ID, Systemd: o.SystemdCgroup, Rootless: o.Rootless, Annotations: spec.Annotations, Log: o.Warn,
	}
	if spec.Linux != nil {
		config.Path, config.Resources = spec.Linux.CgroupsPath, spec.Linux.Resources
	}
	if o.Platform == "kvm" || o.Platform == "auto" {
		const kvmMajor, kvmMinor = 10, 232
		major, minor := int64(kvmMajor), int64(kvmMinor)
		config.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rw"}}
	}
	g, err := cgroup.New(config)
	if err != nil {
		return err
	}
	m.group = g
	if err := g.Join(pid); err != nil {
		return err
	}
	state, err := json.Marshal(g.State())
	if err != nil {
		return err
	}
	m.Cgroup = state
	if adj := o.Bundle.Process.OOMScoreAdj; adj != nil {
		// The kernel is to choose among sandboxes as it would among their programs.
		err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(*adj)), 0)
		if err != nil && !o.Rootless {
			return fmt.Errorf("setting process.oomScoreAdj: %w", err)
		}
	}
	return nil
}

// Group returns the container's cgroup; nil: it has none.
func (c *Container) Group(log *slog.Logger) (*cgroup.Group, error) {
	if len(c.Cgroup) == 0 {
		return nil, nil
	}
	var s cgroup.State
	if err := json.Unmarshal(c.Cgroup, &s); err != nil {
		return nil, fmt.Errorf("the container's state is broken: cgroup: %w", err)
	}
	return cgroup.Open(s, log)
}

// dropGroup ends what is left in the container's cgroup, and removes it.
func (c *Container) dropGroup(log *slog.Logger) error {
	g, err := c.Group(log)
	if err != nil || g == nil {
		return err
	}
	if err := g.Kill(killTimeout); err != nil {
		return fmt.Errorf("ending what is left in the cgroup: %w", err)
	}
	return g.Destroy()
}

var errNoGroup = errors.New("the container has no cgroup")

// Pause stops everything in a container until Resume.
func (s *Store) Pause(id string, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	switch c.Now() {
	case Running:
	case Created:
		return fmt.Errorf("%w: it is created, and not started", ErrNotRunning)
	default:
		return ErrNotRunning
	}
	g, err := c.Group(log)
	if err == nil && g == nil {
		err = errNoGroup
	}
	if err != nil {
		return err
	}
	if err := g.Freeze(); err != nil {
		return err
	}
	c.Status = Paused
	return c.Save()
}

// Resume ends Pause.
func (s *Store) Resume(id string, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	if c.Now() != Paused {
		return ErrNotPaused
	}
	return c.thaw(log)
}

func (c *Container) thaw(log *slog.Logger) error {
	g, err := c.Group(log)
	if err == nil && g == nil {
		err = errNoGroup
	}
	if err != nil {
		return err
	}
	if err := g.Thaw(); err != nil {
		return err
	}
	c.Status = Running
	return c.Save()
}

// Update changes the limits of a container.
func (s *Store) Update(id string, r *specs.LinuxResources, log *slog.Logger) error {
	c, err := s.Lock(id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	now := c.Now()
	if now == Stopped {
		return ErrNotRunning
	}
	g, err := c.Group(log)
	if err == nil && g == nil {
		err = errNoGroup
	}
	if err != nil {
		return err
	}
	if err := g.Update(r); err != nil {
		return err
	}
	limit, limited := cgroup.Tasks(r)
	if r.Pids == nil || now == Paused {
		return nil
	}
	if !limited {
		limit = 0
	}
	client, err := c.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	return client.LimitTasks(limit)
}

// Stats reads the counters of a container's cgroup.
func (c *Container) Stats(log *slog.Logger) (*cgroup.Stats, error) {
	g, err := c.Group(log)
	if err == nil && g == nil {
		err = errNoGroup
	}
	if err != nil {
		return nil, err
	}
	return g.Stats()
}

// Processes returns what runs in a container.
func (s *Store) Processes(id string) ([]task.ProcessInfo, error) {
	c, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	switch c.Now() {
	case Running:
	case Paused:
		return nil, errors.New("the container is paused: it cannot tell")
	default:
		return nil, ErrNotRunning
	}
	client, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	list, err := client.Processes()
	if errors.Is(err, sandbox.ErrGone) {
		return nil, ErrNotRunning
	}
	return list, err
}

// killTimeout is how long the kernel may take to end a sandbox. What is longer hangs in
// the kernel.
const killTimeout = 60 * time.Second
