package bundle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Bundle is a container as its configuration asks for it, checked and translated.
type Bundle struct {
	// Dir is the bundle's directory, absolute.
	Dir string
	// Spec is what was read. Hooks, resources and annotations are used from there.
	Spec *specs.Spec

	// Root is the directory of the root file system on the host, absolute.
	Root         string
	RootReadonly bool
	// RootPropagation is how mounts below the root are propagated, as flags of
	// mount(2) (MS_SLAVE|MS_REC and the like); 0 if nothing was said.
	RootPropagation uintptr

	Process *Process

	// Hostname and Domainname are empty if nothing was said.
	Hostname, Domainname string

	// Mounts are in the order of the configuration.
	Mounts                     []Mount
	MaskedPaths, ReadonlyPaths []string // clean and absolute
	Devices                    []Device

	Namespaces Namespaces
	// UIDs and GIDs are the mappings of the user namespace; none if there is none.
	UIDs, GIDs []specs.LinuxIDMapping

	// Sysctls are in the order of their names.
	Sysctls []Sysctl

	// Seccomp is the filter over the container's system calls; nil for none.
	Seccomp *Seccomp

	// Warnings are what was accepted without effect, a line each.
	Warnings []string
}

// New checks and translates a configuration of the bundle in dir, an absolute path. It
// does not look at the host: see [Bundle.CheckHost].
func New(spec *specs.Spec, dir string) (*Bundle, error) {
	c := &checker{file: ConfigFile}
	b := &Bundle{Dir: filepath.Clean(dir), Spec: spec}
	if err := checkVersion(spec.Version); err != nil {
		c.fail("ociVersion", "%v", err)
	}
	b.root(c)
	b.names(c)
	if spec.Process == nil {
		c.fail("process", "it is missing: it says what to run")
	} else {
		b.Process = newProcess(c, "process", spec.Process)
	}
	b.Mounts = newMounts(c, spec.Mounts, b.Dir)
	checkHooks(c, spec.Hooks)
	b.platforms(c)
	if spec.Linux != nil {
		b.linux(c, spec.Linux)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	b.Warnings = c.warnings
	return b, nil
}

func (b *Bundle) root(c *checker) {
	r := b.Spec.Root
	if r == nil {
		c.fail("root", "it is missing: its path is the directory of the root file system")
		return
	}
	switch {
	case r.Path == "":
		c.fail("root.path", "it is empty: it is the directory of the root file system")
		return
	case !c.text("root.path", r.Path):
		return
	}
	b.Root, b.RootReadonly = r.Path, r.Readonly
	if !filepath.IsAbs(b.Root) {
		b.Root = filepath.Join(b.Dir, b.Root)
	}
	b.Root = filepath.Clean(b.Root)
}

// names checks the host and domain name (sethostname(2)).
func (b *Bundle) names(c *checker) {
	const longest = 64 // __NEW_UTS_LEN
	for _, n := range []struct {
		field, name string
		to          *string
	}{
		{"hostname", b.Spec.Hostname, &b.Hostname},
		{"domainname", b.Spec.Domainname, &b.Domainname},
	} {
		if len(n.name) > longest {
			c.fail(n.field, "it has %d bytes, and a name has at most %d", len(n.name), longest)
		} else if c.text(n.field, n.name) {
			*n.to = n.name
		}
	}
}

// platforms says that sections for other systems have no effect.
func (b *Bundle) platforms(c *checker) {
	for _, p := range []struct {
		name string
		set  bool
	}{
		{"solaris", b.Spec.Solaris != nil}, {"windows", b.Spec.Windows != nil}, {"zos", b.Spec.ZOS != nil},
		{"freebsd", b.Spec.FreeBSD != nil},
	} {
		if p.set {
			c.warn(p.name, "containers are Linux's: the section has no effect")
		}
	}
	if b.Spec.VM != nil {
		c.warn("vm", "the container runs in no virtual machine that could be configured: the section has no effect")
	}
}

func (b *Bundle) linux(c *checker, l *specs.Linux) {
	b.Namespaces = newNamespaces(c, l)
	b.UIDs = idMappings(c, "linux.uidMappings", l.UIDMappings)
	b.GIDs = idMappings(c, "linux.gidMappings", l.GIDMappings)
	checkMappings(c, b)
	b.MaskedPaths = paths(c, "linux.maskedPaths", l.MaskedPaths)
	b.ReadonlyPaths = paths(c, "linux.readonlyPaths", l.ReadonlyPaths)
	b.Devices = newDevices(c, l.Devices)
	b.Sysctls = newSysctls(c, l.Sysctl)
	if l.RootfsPropagation != "" {
		flags, ok := propagations[l.RootfsPropagation]
		if !ok {
			c.fail("linux.rootfsPropagation", "there is no propagation %s; there are: %s",
				quote(l.RootfsPropagation), strings.Join(slices.Sorted(maps.Keys(propagations)), ", "))
		}
		b.RootPropagation = flags
		warnPropagation(c, "linux.rootfsPropagation", flags)
	}
	if l.Seccomp != nil {
		b.Seccomp = newSeccomp(c, l.Seccomp)
	}
	c.text("linux.cgroupsPath", l.CgroupsPath)
	checkResources(c, l.Resources)
	if l.MountLabel != "" {
		c.warn("linux.mountLabel", "SELinux does not act inside the container: the label has no effect")
	}
	if l.IntelRdt != nil {
		c.fail("linux.intelRdt", "classes of cache and memory bandwidth are not supported: leave the section out")
	}
	if l.MemoryPolicy != nil {
		c.warn("linux.memoryPolicy", "the container sees one memory node: the policy has no effect")
	}
	if len(l.NetDevices) > 0 {
		c.fail("linux.netDevices", "network devices cannot be moved into the container: give it a network namespace that holds them")
	}
	if p := l.Personality; p != nil && (p.Domain != specs.PerLinux || len(p.Flags) > 0) {
		c.fail("linux.personality", "the domain %s with flags %v is not supported: the container is x86-64 Linux (%s)", quote(string(p.Domain)), p.Flags, specs.PerLinux)
	}
}

// CheckHost looks whether the root file system is there.
func (b *Bundle) CheckHost() error {
	info, err := os.Stat(b.Root)
	if err != nil {
		return fmt.Errorf("%s: root.path: %w; it has to hold the container's root file system", ConfigFile, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: root.path: %s is no directory", ConfigFile, b.Root)
	}
	return nil
}

// paths checks paths in the container.
func paths(c *checker, field string, list []string) []string {
	var clean []string
	for i, p := range list {
		if !c.text(at(field, i), p) {
			continue
		}
		if !filepath.IsAbs(p) {
			c.fail(at(field, i), "%s is not absolute: it has to begin with /", quote(p))
			continue
		}
		clean = append(clean, filepath.Clean(p))
	}
	return clean
}

// checkHooks checks the programs that run beside a container.
func checkHooks(c *checker, h *specs.Hooks) {
	if h == nil {
		return
	}
	for _, kind := range []struct {
		name  string
		hooks []specs.Hook
	}{
		//lint:ignore SA1019 it is deprecated, and in use
		{"prestart", h.Prestart},
		{"createRuntime", h.CreateRuntime},
		{"createContainer", h.CreateContainer},
		{"startContainer", h.StartContainer},
		{"poststart", h.Poststart},
		{"poststop", h.Poststop},
	} {
		if kind.name == "startContainer" && len(kind.hooks) > 0 {
			c.fail("hooks.startContainer", "hooks inside the container are not supported: make them createContainer hooks, or part of the program")
		}
		for i, hook := range kind.hooks {
			field := at("hooks."+kind.name, i)
			if !filepath.IsAbs(hook.Path) {
				c.fail(field+".path", "%s is not absolute: hooks are programs of the host, by their full path", quote(hook.Path))
			}
			c.text(field+".path", hook.Path)
			for j, a := range hook.Args {
				c.text(at(field+".args", j), a)
			}
			environment(c, field+".env", hook.Env)
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				c.fail(field+".timeout", "%d is no time: it is in seconds, above 0", *hook.Timeout)
			}
		}
	}
}
