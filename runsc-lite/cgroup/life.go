package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // rules about devices: v1's files, v2's eBPF
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// Freeze stops everything in the groups until Thaw.
func (g *Group) Freeze() error { return g.freezer(cgroups.Frozen) }

// Thaw ends Freeze.
func (g *Group) Thaw() error { return g.freezer(cgroups.Thawed) }

func (g *Group) freezer(to cgroups.FreezerState) error {
	if g.isAbsent() {
		return errors.New("the container has no control groups, which pausing needs: they cannot be made without root, or a part of them delegated by systemd")
	}
	if err := g.manager.Freeze(to); err != nil {
		return fmt.Errorf("control group %s: becoming %s: %w", g.Dir(), to, err)
	}
	return nil
}

// Frozen says whether Freeze is in force.
func (g *Group) Frozen() (bool, error) {
	if g.isAbsent() {
		return false, nil
	}
	s, err := g.manager.GetFreezerState()
	return s == cgroups.Frozen, err
}

// Kill ends every process in the groups and waits until none is left, for as long as
// limit. Frozen ones are thawed, so that they can end.
func (g *Group) Kill(limit time.Duration) error {
	if g.isAbsent() || !g.manager.Exists() {
		return nil
	}
	end := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		pids, err := g.killOnce()
		if err != nil {
			return err
		}
		if pids == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("control group %s still holds %d processes %v after they were killed", g.Dir(), pids, limit)
		}
		time.Sleep(pause)
	}
}

// killOnce sends SIGKILL to all, and returns how many there were.
func (g *Group) killOnce() (int, error) {
	pids, err := g.manager.GetAllPids()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		return 0, fmt.Errorf("listing the processes of control group %s: %w", g.Dir(), err)
	}
	if len(pids) == 0 {
		return 0, nil
	}
	// Linux 5.14 kills the whole group at once, and who forks meanwhile, too.
	if cgroups.IsCgroup2UnifiedMode() {
		err := os.WriteFile(filepath.Join(g.manager.Path(""), "cgroup.kill"), []byte("1"), 0)
		if err == nil {
			return len(pids), nil
		}
	}
	for _, pid := range pids {
		if err := hostcall.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return 0, fmt.Errorf("killing process %d of control group %s: %w", pid, g.Dir(), err)
		}
	}
	// A frozen process ends only when it is thawed (v1).
	if err := g.manager.Freeze(cgroups.Thawed); err != nil && !g.config.Rootless {
		g.log.Warn("thawing a control group", "path", g.Dir(), "err", err)
	}
	return len(pids), nil
}
