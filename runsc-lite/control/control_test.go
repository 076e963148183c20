package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runsc-lite/sentry/task"
)

// ownRuntime gives the test a directory of sockets of its own.
func ownRuntime(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root's directory is fixed: sandboxes of others would be in the way")
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
}

func serve(t *testing.T, id string) *Server {
	t.Helper()
	s, err := Serve(Sandbox{ID: id, Platform: "none", Started: time.Now(), Command: []string{"x"}}, func() []task.ProcessInfo {
		return []task.ProcessInfo{{PID: 1, Name: "init"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// id is one that no runner has.
func id() string { return fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()) }

func TestAsk(t *testing.T) {
	name := id()
	s := serve(t, name)
	r, err := Ask(name)
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != name || len(r.Processes) != 1 || r.Processes[0].Name != "init" {
		t.Errorf("%+v", r)
	}
	ids, err := List()
	if err != nil || !strings.Contains(strings.Join(ids, " "), name) {
		t.Errorf("listed: %v, %v", ids, err)
	}
	fi, err := os.Stat(Dir())
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", fi, err)
	}
	s.Close()
	if _, err := Ask(name); !errors.Is(err, ErrNone) {
		t.Errorf("after its end: %v", err)
	}
}

// TestLeftOver: a socket whose runner was killed is nobody, and goes.
func TestLeftOver(t *testing.T) {
	name := id()
	serve(t, name).listener.SetUnlinkOnClose(false)
	path := filepath.Join(Dir(), name+suffix)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + "2", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(name); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestBadRequests: they get an error, and the server lives on.
func TestBadRequests(t *testing.T) {
	name := id()
	serve(t, name)
	for _, text := range []string{"", "\n", "{}\n", "[1,2", `{"method":"kill"}` + "\n", strings.Repeat("x", 2*maxRequest), `{"method":7}` + "\n"} {
		c, err := net.Dial("unix", filepath.Join(Dir(), name+suffix))
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(text))
		c.(*net.UnixConn).CloseWrite()
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		if !strings.Contains(string(b[:n]), `"error"`) {
			t.Errorf("%.20q: %q", text, b[:n])
		}
		c.Close()
	}
	if _, err := Ask(name); err != nil {
		t.Error(err)
	}
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", "no-such", "\x00"} {
		if _, err := Ask(name); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestForeignDirectory: one that others can enter is not used.
func TestForeignDirectory(t *testing.T) {
	ownRuntime(t)
	if err := os.Mkdir(Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(Sandbox{ID: id()}, nil); err == nil || !strings.Contains(err.Error(), Dir()) {
		t.Errorf("%v", err)
	}
}
