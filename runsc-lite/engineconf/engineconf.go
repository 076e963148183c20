// Package engineconf puts a runtime into the configuration of container engines, and
// takes it out again. All else in a file stays as it is, and in its order.
//
// The functions work on the text of a file. An empty text is that of a file that is not
// there.
package engineconf

import (
	"fmt"
	"path/filepath"
	"regexp"
	"sync"
)

// Runtime is what an engine is to know of.
type Runtime struct {
	Name string
	Path string // of the program, absolute
	Args []string
}

// Engine is an engine that has a configuration file.
type Engine struct {
	Name string
	// File is the configuration file that the engine reads by itself.
	File string
	// Program is the engine's, by whose presence it is found.
	Program string
	// Reload says how the engine comes to know of a change.
	Reload string
	// Add puts a runtime in, in place of one of the same name that Add put there.
	Add func(text string, r Runtime) (string, error)
	// Remove takes a runtime out; a text without it stays as it is.
	Remove func(text, name string) (string, error)
}

// Engines are those that are known.
func Engines() []Engine {
	return []Engine{
		{
			Name: "docker", File: "/etc/docker/daemon.json", Program: "dockerd",
			Reload: "systemctl reload docker, or send dockerd SIGHUP", Add: addDocker, Remove: removeDocker,
		},
		{
			Name: "containerd", File: "/etc/containerd/config.toml", Program: "containerd",
			Reload: "systemctl restart containerd", Add: addContainerd, Remove: removeContainerd,
		},
		{
			// A file of its own beside containers.conf, which Podman merges.
			Name: "podman", File: "/etc/containers/containers.conf.d/runsc-lite.conf", Program: "podman",
			Reload: "nothing: Podman reads its configuration each time", Add: addPodman, Remove: removePodman,
		},
	}
}

var runtimeName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)
})

// check refuses what an engine would not take, or not understand as it is meant.
func (r Runtime) check() error {
	if !runtimeName().MatchString(r.Name) {
		return fmt.Errorf("%q is no name of a runtime: letters, digits and any of _.- are", r.Name)
	}
	if !filepath.IsAbs(r.Path) {
		return fmt.Errorf("the runtime's path %q is not absolute", r.Path)
	}
	return nil
}
