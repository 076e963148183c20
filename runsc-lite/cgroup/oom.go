package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"

	"runsc-lite/hostcall"
)

// OOMKills returns how often the host's kernel killed a process in the groups because
// there was no memory left within their limit.
func (g *Group) OOMKills() (uint64, error) {
	if g.isAbsent() {
		return 0, nil
	}
	n, err := g.manager.OOMKillCount()
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // no memory controller here
	}
	return n, err
}

// WatchOOM calls notify each time that memory ran out in the groups, until ctx ends, or
// nothing is left in them. It returns at once if the host cannot tell.
func (g *Group) WatchOOM(ctx context.Context, notify func()) error {
	if g.isAbsent() {
		return errors.New("the container has no control groups that would tell of memory")
	}
	var watch *os.File
	var err error
	dir := g.manager.Path("memory")
	if dir == "" {
		return errors.New("the host has no memory controller that would tell")
	}
	unified := cgroups.IsCgroup2UnifiedMode()
	if unified {
		// cgroup.events tells when the last process is gone.
		watch, err = hostcall.WatchFiles(filepath.Join(dir, "memory.events"), filepath.Join(dir, "cgroup.events"))
	} else {
		watch, err = hostcall.WatchControl(dir, "memory.oom_control")
	}
	if err != nil {
		return fmt.Errorf("watching the memory of control group %s: %w", dir, err)
	}
	defer watch.Close()
	// Reads end when the file is closed.
	stop := context.AfterFunc(ctx, func() { watch.Close() })
	defer stop()
	kills, _ := g.OOMKills()
	buf := make([]byte, 4096)
	for {
		if _, err := watch.Read(buf); err != nil {
			return ctx.Err()
		}
		if _, err := os.Stat(dir); err != nil {
			return nil // removed
		}
		if !unified {
			notify()
			continue
		}
		// The files tell of other events, too.
		if now, err := g.OOMKills(); err == nil && now > kills {
			kills = now
			notify()
		}
		if text, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err != nil || bytes.Contains(text, []byte("populated 0")) {
			return nil // nobody is left whose memory could run out
		}
	}
}
