// Package control is how a running sandbox is looked into from outside: a unix
// socket for each sandbox, in a directory that only its owner can enter. The
// sandbox's name is the host pid of its runner.
//
// A request is a line of JSON, and so is the answer; then the connection is closed.
// Requests change nothing in the sandbox.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"runsc-lite/sentry/task"
)

const (
	suffix = ".sock"
	// timeout bounds a conversation: neither side waits for one that is stuck.
	timeout = 5 * time.Second
	// maxRequest and maxAnswer bound what is read, in bytes.
	maxRequest = 4 << 10
	maxAnswer  = 64 << 20
)

// Sandbox says which sandbox it is.
type Sandbox struct {
	ID       string    `json:"id"`
	Platform string    `json:"platform"`
	Started  time.Time `json:"started"`
	Command  []string  `json:"command"`
}

// Report is what a sandbox tells of itself.
type Report struct {
	Sandbox
	Time      time.Time          `json:"time"`
	Processes []task.ProcessInfo `json:"processes"`
}

type request struct {
	Method string `json:"method"`
}

type answer struct {
	Error  string  `json:"error,omitempty"`
	Report *Report `json:"report,omitempty"`
}

// Dir is where the sockets of the user's sandboxes are.
func Dir() string {
	if os.Getuid() == 0 {
		return "/run/runsc-lite"
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "runsc-lite")
	}
	return filepath.Join(os.TempDir(), "runsc-lite-"+strconv.Itoa(os.Getuid()))
}

// ownDir makes the directory, or checks that it is ours alone: in /tmp somebody
// else could have made it.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() || fi.Mode().Perm()&0o077 != 0 || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a directory of this user's alone", dir)
	}
	return nil
}

// Server answers for one sandbox.
type Server struct {
	listener *net.UnixListener
	about    Sandbox
	census   func() []task.ProcessInfo
}

// Serve begins to answer for a sandbox of this process. census is called for each
// request, from any goroutine.
func Serve(about Sandbox, census func() []task.ProcessInfo) (*Server, error) {
	dir := Dir()
	if err := ownDir(dir); err != nil {
		return nil, fmt.Errorf("the directory of control sockets: %w", err)
	}
	path := filepath.Join(dir, about.ID+suffix)
	// A runner that was killed leaves its socket, and its pid may be ours now.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a control socket that was left: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	s := &Server{listener: l, about: about, census: census}
	go s.run()
	return s, nil
}

// Close removes the socket.
func (s *Server) Close() { s.listener.Close() }

func (s *Server) run() {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		go s.serve(c)
	}
}

func (s *Server) serve(c net.Conn) {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return
	}
	var r request
	var a answer
	switch err := json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&r); {
	case err != nil:
		a.Error = "not a request: " + err.Error()
	case r.Method == "report":
		a.Report = &Report{Sandbox: s.about, Time: time.Now(), Processes: s.census()}
	default:
		a.Error = fmt.Sprintf("no method %q", r.Method)
	}
	_ = json.NewEncoder(c).Encode(&a) // who does not read it does not want it
}

// ErrNone says that a sandbox is not there.
var ErrNone = errors.New("no such sandbox of this user's is running")

// Ask returns a sandbox's report. ErrNone: it is not there (any more).
func Ask(id string) (*Report, error) {
	if id == "" || strings.ContainsAny(id, "/\x00") {
		return nil, fmt.Errorf("%q: %w", id, ErrNone)
	}
	path := filepath.Join(Dir(), id+suffix)
	c, err := net.DialTimeout("unix", path, timeout)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", id, ErrNone)
	case errors.Is(err, syscall.ECONNREFUSED):
		_ = os.Remove(path) // its runner was killed
		return nil, fmt.Errorf("%s: %w", id, ErrNone)
	case err != nil:
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(c).Encode(request{Method: "report"}); err != nil {
		return nil, fmt.Errorf("asking sandbox %s: %w", id, err)
	}
	var a answer
	if err := json.NewDecoder(io.LimitReader(c, maxAnswer)).Decode(&a); err != nil {
		return nil, fmt.Errorf("the answer of sandbox %s: %w", id, err)
	}
	if a.Error != "" || a.Report == nil {
		return nil, fmt.Errorf("sandbox %s: %s", id, a.Error)
	}
	return a.Report, nil
}

// List returns the ids of the user's sandboxes, oldest name first. Some may have
// ended meanwhile.
func List() ([]string, error) {
	entries, err := os.ReadDir(Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok {
			ids = append(ids, id)
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		if len(ids[i]) != len(ids[j]) {
			return len(ids[i]) < len(ids[j])
		}
		return ids[i] < ids[j]
	})
	return ids, nil
}

// All asks all sandboxes of the user's.
func All() ([]*Report, error) {
	ids, err := List()
	if err != nil {
		return nil, err
	}
	var all []*Report
	for _, id := range ids {
		r, err := Ask(id)
		if errors.Is(err, ErrNone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}
