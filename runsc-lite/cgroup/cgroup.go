package cgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/cgroups/systemd"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Config says which groups a container has, and how they are limited.
type Config struct {
	// ID is the container's. Without a Path it is the name of the groups, below those
	// that the caller is in.
	ID string
	// Path is linux.cgroupsPath: a path below the mount points of the controllers or,
	// with systemd, "slice:prefix:name".
	Path string
	// Systemd has systemd make the groups, as a scope.
	Systemd bool
	// Rootless accepts that the groups cannot be made, if nothing needs them: that is
	// a warning then.
	Rootless bool
	// Resources are the limits; nil for none.
	Resources *specs.LinuxResources
	// Devices are devices of the host that the sandbox itself uses (/dev/kvm), beside
	// those in Resources.
	Devices []specs.LinuxDeviceCgroup
	// Annotations are the container's: with systemd, org.systemd.property.* are
	// properties of its scope.
	Annotations map[string]string
	Log         *slog.Logger
}

// State is what has to be kept of groups to find them again.
type State struct {
	// Paths are the directories by controller; "" is the unified hierarchy.
	Paths    map[string]string `json:"paths"`
	Name     string            `json:"name,omitempty"` // of the container, for systemd
	Parent   string            `json:"parent,omitempty"`
	Prefix   string            `json:"prefix,omitempty"`
	Path     string            `json:"path,omitempty"`
	Systemd  bool              `json:"systemd,omitempty"`
	Rootless bool              `json:"rootless,omitempty"`
}

// Group is the control groups of one container. Its methods may be called from any
// goroutine.
type Group struct {
	log     *slog.Logger
	mu      sync.Mutex
	manager cgroups.Manager
	config  *cgroups.Cgroup
	// absent is set if nothing could be made, and that was accepted.
	absent bool
}

// defaultPrefix is the scope's with systemd, if the path names none: runsc-lite-ID.scope.
const defaultPrefix = "runsc-lite"

// New describes groups. It makes nothing yet. An error says that the host, or the
// path, does not allow what c asks for.
func New(c Config) (*Group, error) {
	resources, err := translate(c.Resources, c.Devices)
	if err != nil {
		return nil, err
	}
	cg := &cgroups.Cgroup{Resources: resources, Systemd: c.Systemd, Rootless: c.Rootless}
	switch {
	case c.Systemd:
		if !systemd.IsRunningSystemd() {
			return nil, errors.New("--systemd-cgroup: this host does not run systemd (there is no /run/systemd/system); leave the flag out, and with Docker set \"native.cgroupdriver=cgroupfs\" in exec-opts")
		}
		if err := systemdNames(cg, &c); err != nil {
			return nil, err
		}
	case c.Path == "":
		cg.Name = c.ID
	default:
		cg.Path = c.Path
	}
	return open(cg, nil, c.Log)
}

// systemdNames reads "slice:prefix:name" (runc's form), with defaults for what is empty.
func systemdNames(cg *cgroups.Cgroup, c *Config) error {
	cg.Parent, cg.ScopePrefix, cg.Name = "system.slice", defaultPrefix, c.ID
	if c.Rootless {
		cg.Parent = "user.slice"
	}
	if c.Path != "" {
		parts := strings.Split(c.Path, ":")
		if len(parts) != 3 || parts[2] == "" {
			return fmt.Errorf("linux.cgroupsPath is %q: with --systemd-cgroup it has the form SLICE:PREFIX:NAME, system.slice:docker:abc for one", c.Path)
		}
		if parts[0] != "" {
			cg.Parent = parts[0]
		}
		cg.ScopePrefix, cg.Name = parts[1], parts[2]
	}
	props, err := systemdProperties(c.Annotations)
	cg.SystemdProps = props
	return err
}

// Open finds groups that were made, by their State.
func Open(s State, log *slog.Logger) (*Group, error) {
	cg := &cgroups.Cgroup{
		Name: s.Name, Parent: s.Parent, ScopePrefix: s.Prefix, Path: s.Path,
		Systemd: s.Systemd, Rootless: s.Rootless, Resources: &cgroups.Resources{SkipDevices: true},
	}
	g, err := open(cg, s.Paths, log)
	if err == nil {
		g.absent = len(s.Paths) == 0
	}
	return g, err
}

func open(cg *cgroups.Cgroup, paths map[string]string, log *slog.Logger) (*Group, error) {
	m, err := manager.NewWithPaths(cg, paths)
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	if log == nil {
		log = slog.Default()
	}
	return &Group{log: log, manager: m, config: cg}, nil
}

// State returns what finds the groups again. It is complete after Join.
func (g *Group) State() State {
	s := State{
		Name: g.config.Name, Parent: g.config.Parent, Prefix: g.config.ScopePrefix, Path: g.config.Path,
		Systemd: g.config.Systemd, Rootless: g.config.Rootless,
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.absent {
		s.Paths = g.manager.GetPaths()
	}
	return s
}

// Join makes the groups, with their limits, and puts process pid into them; what it
// starts from then on is in them, too. Groups that hold somebody else are an error: two
// containers would share their limits, and be killed together. After an error the
// process may be in some of the groups: the caller ends it, and calls Destroy.
func (g *Group) Join(pid int) error {
	if pids, err := g.manager.GetAllPids(); err == nil && len(pids) > 0 {
		return fmt.Errorf("control group %s is in use: it holds %d processes; another container has it, or one was not deleted", g.Dir(), len(pids))
	}
	if f, err := g.manager.GetFreezerState(); err == nil && f == cgroups.Frozen {
		return fmt.Errorf("control group %s is frozen, so that nothing would run in it; remove it", g.Dir())
	}
	switch err := g.manager.Apply(pid); {
	case errors.Is(err, cgroups.ErrRootless):
		g.log.Warn("no control groups for this container: they cannot be made without root, or a part of them delegated by systemd")
		g.mu.Lock()
		g.absent = true
		g.mu.Unlock()
	case err != nil:
		return fmt.Errorf("making and joining control group %s: %w", g.Dir(), err)
	}
	if err := g.manager.Set(g.config.Resources); err != nil {
		return fmt.Errorf("limiting control group %s: %w", g.Dir(), err)
	}
	return nil
}

// Add puts one more process of the host into the groups: one that works for the
// container, outside of its sandbox.
func (g *Group) Add(pid int) error {
	if g.isAbsent() {
		return nil
	}
	if err := g.manager.AddPid("", pid); err != nil && !errors.Is(err, cgroups.ErrRootless) {
		return fmt.Errorf("putting process %d into control group %s: %w", pid, g.Dir(), err)
	}
	return nil
}

// Update changes limits. What r does not name stays as it is, and device rules do in
// any case.
func (g *Group) Update(r *specs.LinuxResources) error {
	resources, err := translate(r, nil)
	if err != nil {
		return err
	}
	resources.Devices, resources.SkipDevices = nil, true
	if err := g.manager.Set(resources); err != nil {
		return fmt.Errorf("changing the limits of control group %s: %w", g.Dir(), err)
	}
	return nil
}

// Destroy removes the groups. Those that hold processes cannot be: see Kill. Removing
// what is gone is no error.
func (g *Group) Destroy() error {
	if g.isAbsent() {
		return nil
	}
	if err := g.manager.Destroy(); err != nil {
		return fmt.Errorf("removing control group %s: %w", g.Dir(), err)
	}
	return nil
}

// Exists says whether the groups are there.
func (g *Group) Exists() bool { return !g.isAbsent() && g.manager.Exists() }

// Pids are the host's processes in the groups and those below.
func (g *Group) Pids() ([]int, error) {
	if g.isAbsent() {
		return nil, nil
	}
	return g.manager.GetAllPids()
}

// Dir is a directory of the groups, for people: of the memory controller's, or the
// only one.
func (g *Group) Dir() string {
	if d := g.manager.Path("memory"); d != "" {
		return d
	}
	return g.manager.Path("devices")
}

func (g *Group) isAbsent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.absent
}
