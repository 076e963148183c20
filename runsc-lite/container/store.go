// Package container keeps what is known of containers: a directory for each below the
// root directory of the runtime, with its state in a file.
//
//	ROOT/ID/state.json    the State; replaced as a whole, never written in place
//	ROOT/ID/config.json   the bundle's configuration as it was at create
//	ROOT/ID/control.sock  where the sandbox listens
//	ROOT/ID/exit          the exit status, once there is one
//
// Who changes a container has its directory locked (flock(2)), and looks whether it is
// still the one by that name once it has the lock: delete removes it under the lock.
// Reading the state takes no lock.
//
// The state machine of the OCI runtime specification, with what makes it go on:
//
//	           create                start                 the program ends
//	(nothing) ────────▶ creating ──▶ created ────▶ running ─────────────────▶ stopped
//	                                    │        pause │ ▲ resume                │
//	                                    │              ▼ │                       │
//	                                    │             paused                     │
//	                                    └──────────── kill ─────────────────────▶│
//	                                                                    delete   ▼
//	                                                                         (nothing)
//
// The file has what verbs made of a container; that its sandbox has died is seen when
// somebody looks, by the process being gone.
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What verbs answer; engines know them by their words, which are runc's.
var (
	ErrExist      = errors.New("container with given ID already exists")
	ErrNotExist   = errors.New("container does not exist")
	ErrNotRunning = errors.New("container not running")
	ErrNotPaused  = errors.New("container not paused")
	ErrNotStopped = errors.New("container is not stopped")
)

const (
	stateFile  = "state.json"
	configFile = "config.json"
	exitFile   = "exit"
	// ControlSocket is the name of the control socket in a container's directory.
	ControlSocket = "control.sock"
	// maxState bounds a state file, in bytes.
	maxState = 1 << 20
)

// Status is where a container is in its life.
type Status string

// The states.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// State is what is kept of a container.
type State struct {
	Version string    `json:"ociVersion"`
	ID      string    `json:"id"`
	Status  Status    `json:"status"` // as the last verb left it: see Container.Status
	Bundle  string    `json:"bundle"`
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	// Pid is the sandbox's process; 0: there is none yet. PidStart tells it from
	// another one that got its number, in clock ticks after boot.
	Pid         int               `json:"pid"`
	PidStart    uint64            `json:"pidStart"`
	Owner       int               `json:"owner"` // the user who made it
	Platform    string            `json:"platform"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Cgroup is a cgroup.State: what finds the container's cgroup again.
	Cgroup json.RawMessage `json:"cgroup,omitempty"`
}

// Store is the containers below a root directory.
type Store struct{ root string }

// Open returns the containers below the directory root, which need not be there.
func Open(root string) *Store { return &Store{root} }

var validID = regexp.MustCompile(`^[\w+.-]+$`)

// maxID is how long an id may be: a file name.
const maxID = 255

func (s *Store) dir(id string) (string, error) {
	if id == "" || len(id) > maxID || !validID.MatchString(id) || id == "." || id == ".." {
		return "", fmt.Errorf("%q: invalid ID format: letters, digits and _+-. are allowed", id)
	}
	return filepath.Join(s.root, id), nil
}

// Container is a container's directory. Lock it to change it.
type Container struct {
	State
	store *Store
	dir   string
	lock  *os.File // nil: not locked
}

// Create makes a container, locked, with no state but its being made.
func (s *Store) Create(state State) (*Container, error) {
	dir, err := s.dir(state.ID)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return nil, fmt.Errorf("making the runtime's directory: %w", err)
	}
	// It gets its name when the state is in it, and it is locked.
	tmp, err := os.MkdirTemp(s.root, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("making the container's directory: %w", err)
	}
	c := &Container{State: state, store: s, dir: tmp}
	c.Status = Creating
	err = c.acquire(unix.LOCK_EX)
	if err == nil {
		err = c.Save()
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
			err = ErrExist
		}
	}
	if err != nil {
		_ = os.RemoveAll(tmp)
		c.Unlock()
		return nil, err
	}
	c.dir = dir
	return c, nil
}

// newPrefix begins the names of directories that are being made; no id does.
const newPrefix = "~new-"

// Get reads a container's state, without a lock. ErrNotExist.
func (s *Store) Get(id string) (*Container, error) {
	dir, err := s.dir(id)
	if err != nil {
		return nil, err
	}
	c := &Container{store: s, dir: dir}
	return c, c.Load()
}

// Lock is Get of a container that nobody else changes until Unlock.
func (s *Store) Lock(id string) (*Container, error) {
	dir, err := s.dir(id)
	if err != nil {
		return nil, err
	}
	for {
		c := &Container{store: s, dir: dir}
		if err := c.acquire(unix.LOCK_EX); err != nil {
			return nil, err
		}
		// Whoever had the lock may have removed the container.
		var have, now unix.Stat_t
		err := unix.Fstat(int(c.lock.Fd()), &have)
		if err == nil {
			err = unix.Stat(dir, &now)
		}
		if err == nil && (have.Dev != now.Dev || have.Ino != now.Ino) {
			c.Unlock()
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotExist
		}
		if err == nil {
			err = c.Load()
		}
		if err != nil {
			c.Unlock()
			return nil, err
		}
		return c, nil
	}
}

func (c *Container) acquire(how int) error {
	f, err := os.Open(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("locking the container: %w", err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("locking the container: %w", err)
	}
	c.lock = f
	return nil
}

// Unlock lets others change the container.
func (c *Container) Unlock() {
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

// Load reads the state anew.
func (c *Container) Load() error {
	b, err := readBounded(filepath.Join(c.dir, stateFile), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("reading the container's state: %w", err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("the container's state file %s is broken: %w", filepath.Join(c.dir, stateFile), err)
	}
	c.State = s
	return nil
}

// Save replaces the state file. The container is locked.
func (c *Container) Save() error {
	b, err := json.Marshal(&c.State)
	if err == nil {
		err = c.replace(stateFile, b)
	}
	if err != nil {
		return fmt.Errorf("saving the container's state: %w", err)
	}
	return nil
}

// replace writes a file that is there as a whole or not at all.
func (c *Container) replace(name string, b []byte) error {
	path := filepath.Join(c.dir, name)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Dir returns the container's directory.
func (c *Container) Dir() string { return c.dir }

// SaveConfig keeps the configuration.
func (c *Container) SaveConfig(b []byte) error { return c.replace(configFile, b) }

// Config reads what SaveConfig kept.
func (c *Container) Config() ([]byte, error) {
	return os.ReadFile(filepath.Join(c.dir, configFile))
}

// ExitFile opens the file in which the sandbox leaves its exit status.
func (c *Container) ExitFile() (*os.File, error) {
	return os.OpenFile(filepath.Join(c.dir, exitFile), os.O_WRONLY|os.O_CREATE, 0o600)
}

// ExitStatus returns what the sandbox left there; ok is false if it died without that.
func (c *Container) ExitStatus() (status int, ok bool) {
	b, err := readBounded(filepath.Join(c.dir, exitFile), 16)
	if err != nil || len(b) == 0 {
		return 0, false
	}
	_, err = fmt.Sscanf(string(b), "%d", &status)
	return status, err == nil
}

// Remove removes the container, which is locked, and unlocks it.
func (c *Container) Remove() error {
	defer c.Unlock()
	// The state goes last: until then another delete finds the container.
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("removing the container's directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == stateFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
			return fmt.Errorf("removing the container's directory: %w", err)
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the container's directory: %w", err)
	}
	return nil
}

// List returns the containers by their ids. Those that are being made or removed may be
// missing.
func (s *Store) List() ([]*Container, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the runtime's directory: %w", err)
	}
	var all []*Container
	for _, e := range entries {
		if !e.IsDir() || !validID.MatchString(e.Name()) {
			continue
		}
		if c, err := s.Get(e.Name()); err == nil {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Container) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EFBIG}
	}
	return os.ReadFile(path)
}
