package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"runsc-lite/runsc-lite/bundle"
)

// specCommand writes a configuration to begin with.
type specCommand struct {
	bundle   string
	rootless bool
}

func (*specCommand) Name() string     { return "spec" }
func (*specCommand) Synopsis() string { return "write a config.json to begin with" }
func (*specCommand) Usage() string {
	return `spec [flags]

Writes a file config.json that runs a shell in the directory rootfs beside it.
One that is there is not overwritten.

`
}

func (s *specCommand) SetFlags(f *flag.FlagSet) {
	for _, name := range []string{"bundle", "b"} {
		f.StringVar(&s.bundle, name, ".", "directory to write it to")
	}
	f.BoolVar(&s.rootless, "rootless", false, "one that the caller may run without being root")
}

func (s *specCommand) do(_ *globals, _ *slog.Logger, args []string) (int, error) {
	if len(args) != 0 {
		return 0, fmt.Errorf("%w: spec takes none", errUsage)
	}
	config := bundle.Example()
	if s.rootless {
		bundle.MakeRootless(config, uint32(os.Geteuid()), uint32(os.Getegid()))
	}
	text, err := json.MarshalIndent(config, "", "\t")
	if err != nil {
		return 0, err
	}
	path := filepath.Join(s.bundle, bundle.ConfigFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return 0, fmt.Errorf("file %s exists: remove it first, or name another directory with --bundle", path)
	}
	if err != nil {
		return 0, err
	}
	_, err = f.Write(append(text, '\n'))
	return 0, errors.Join(err, f.Close())
}

// featuresCommand tells what the runtime can do, for engines (runtime-spec,
// features.md).
type featuresCommand struct{}

func (featuresCommand) Name() string           { return "features" }
func (featuresCommand) Synopsis() string       { return "tell what the runtime can do, as JSON" }
func (featuresCommand) Usage() string          { return "features\n" }
func (featuresCommand) SetFlags(*flag.FlagSet) {}

func (featuresCommand) do(_ *globals, _ *slog.Logger, args []string) (int, error) {
	if len(args) != 0 {
		return 0, fmt.Errorf("%w: features takes none", errUsage)
	}
	return 0, printJSON(runtimeFeatures())
}

func runtimeFeatures() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  bundle.MountOptions(),
		Linux: &features.Linux{
			Namespaces:   texts(bundle.NamespaceTypes),
			Capabilities: bundle.CapabilityNames(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &yes, Actions: texts(bundle.SeccompActions), Operators: texts(bundle.SeccompOperators),
				Archs: texts(bundle.SeccompArches), KnownFlags: texts(bundle.SeccompFlags), SupportedFlags: texts(bundle.SeccompFlags),
			},
			Apparmor:        &features.Apparmor{Enabled: &no},
			Selinux:         &features.Selinux{Enabled: &no},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
			NetDevices:      &features.NetDevices{Enabled: &no},
		},
		Annotations: map[string]string{"runsc-lite.version": version},
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	return out
}
