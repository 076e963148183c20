package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/sentry"
	"runsc-lite/sentry/seccomp"
)

// containerSpec translates a bundle for the sentry. roots are the descriptors of what
// bind mounts mount, by the places of the mounts.
func containerSpec(b *bundle.Bundle, root int, roots map[int]int, hostname string) sentry.ContainerSpec {
	s := sentry.ContainerSpec{
		Root: root, RootReadonly: b.RootReadonly, Hostname: hostname, Domainname: b.Domainname,
		MaskedPaths: b.MaskedPaths, ReadonlyPaths: b.ReadonlyPaths,
	}
	for i := range b.Mounts {
		m := &b.Mounts[i]
		mount := sentry.Mount{
			Target: m.Destination, Type: m.Type, Source: m.Source, Options: m.Data, Host: -1,
			Flags: uint32(m.Flags | m.RecursiveSet), CopyUp: m.CopyUp,
		}
		if fd, ok := roots[i]; ok {
			mount.Type, mount.Host = "", fd
		}
		s.Mounts = append(s.Mounts, mount)
	}
	for _, d := range b.Devices {
		s.Devices = append(s.Devices, sentry.Device{
			Path: d.Path, Mode: d.Kind | d.Mode, Rdev: unix.Mkdev(d.Major, d.Minor), UID: d.UID, GID: d.GID,
		})
	}
	for _, c := range b.Sysctls {
		s.Sysctls = append(s.Sysctls, sentry.Sysctl{Name: c.Name, Path: c.Path, Value: c.Value})
	}
	return s
}

// program translates a process for the sentry.
func program(p *bundle.Process, filter *seccomp.Filter) *sentry.Program {
	g := &sentry.Program{
		Argv: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: p.UID, GID: p.GID, Groups: p.Groups, Umask: p.Umask,
		Bounding: p.Capabilities.Bounding, Effective: p.Capabilities.Effective, Permitted: p.Capabilities.Permitted,
		Inheritable: p.Capabilities.Inheritable, Ambient: p.Capabilities.Ambient,
		NoNewPrivs: p.NoNewPrivileges, Terminal: p.Terminal, Seccomp: filter,
	}
	if p.OOMScoreAdj != nil {
		g.OOMScoreAdj = *p.OOMScoreAdj
	}
	for _, l := range p.Limits {
		if g.Limits == nil {
			g.Limits = map[int]procmgr.Limit{}
		}
		g.Limits[l.Resource] = l.Limit
	}
	return g
}

// filterOf compiles a bundle's seccomp profile: nil for none.
func filterOf(b *bundle.Bundle) (*seccomp.Filter, error) {
	if b.Seccomp == nil {
		return nil, nil
	}
	f, err := seccomp.Compile(b.Seccomp.Program)
	if err != nil {
		return nil, fmt.Errorf("compiling the seccomp profile: %w", err)
	}
	return f, nil
}
