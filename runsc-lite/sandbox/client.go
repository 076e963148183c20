package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/task"
)

// Client is a connection to a sandbox. It serves one request.
type Client struct{ conn *net.UnixConn }

// ErrGone says that the sandbox does not answer: it has ended.
var ErrGone = errors.New("the sandbox has ended")

// Dial connects to the sandbox whose control socket is name in dir.
func Dial(dir, name string) (*Client, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("connecting to the sandbox: %w", err)
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connecting to the sandbox: %w", err)
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("connecting to the sandbox: %w", err)
	}
	conn, err := unixConn(fd)
	if err != nil {
		return nil, fmt.Errorf("connecting to the sandbox: %w", err)
	}
	return &Client{conn}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.conn.Close() }

func (c *Client) ask(r *request, files ...*os.File) (*answer, error) {
	if err := send(c.conn, r, files...); err != nil {
		return nil, gone(err)
	}
	return c.hear()
}

func (c *Client) hear() (*answer, error) {
	var a answer
	if _, err := receive(c.conn, &a); err != nil {
		return nil, gone(err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return &a, nil
}

func gone(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.EPIPE && errno != syscall.ECONNRESET {
		return fmt.Errorf("talking to the sandbox: %w", err)
	}
	return ErrGone
}

// Start runs the container's program.
func (c *Client) Start() error {
	_, err := c.ask(&request{Method: "start"})
	return err
}

// Signal sends a signal to the container's first process, or to all.
func (c *Client) Signal(sig unix.Signal, all bool) error {
	_, err := c.ask(&request{Method: "signal", Signal: int(sig), All: all})
	return err
}

// Wait returns the container's exit status once there is one.
func (c *Client) Wait() (int, error) {
	a, err := c.ask(&request{Method: "wait"})
	if err != nil {
		return 0, err
	}
	if a.Status == nil {
		return 0, ErrGone
	}
	return *a.Status, nil
}

// LimitTasks bounds how many tasks the container may have; 0: as many as there can be.
func (c *Client) LimitTasks(limit int64) error {
	_, err := c.ask(&request{Method: "limit", Tasks: limit})
	return err
}

// Processes returns the container's processes.
func (c *Client) Processes() ([]task.ProcessInfo, error) {
	a, err := c.ask(&request{Method: "processes"})
	if err != nil {
		return nil, err
	}
	return a.Processes, nil
}

// Exec runs one more program and returns its pid in the container. It ends with the
// connection. files are its descriptors: from 0 on, or from 3 on if it gets a terminal,
// the slave of a pseudo-terminal of the host.
func (c *Client) Exec(p *specs.Process, terminal *os.File, files []*os.File) (pid int, err error) {
	r := &request{Method: "exec", Process: p, Terminal: terminal != nil}
	if terminal != nil {
		files = append([]*os.File{terminal}, files...)
	}
	a, err := c.ask(r, files...)
	if err != nil {
		return 0, err
	}
	return a.Pid, nil
}

// ExecStatus returns how the program of Exec ended, once it has.
func (c *Client) ExecStatus() (int, error) {
	a, err := c.hear()
	if err != nil {
		return 0, err
	}
	if a.Status == nil {
		return 0, ErrGone
	}
	return *a.Status, nil
}

// ExecSignal sends a signal to the program of Exec.
func (c *Client) ExecSignal(sig unix.Signal) error {
	return send(c.conn, follow{Signal: int(sig)})
}

// ExecResized says that the program's terminal has changed its size on the host.
func (c *Client) ExecResized() error { return send(c.conn, follow{Resize: true}) }

// File returns a descriptor of the connection, for another process to go on with.
func (c *Client) File() (*os.File, error) { return c.conn.File() }

// Inherited is the connection that File made, in the other process.
func Inherited(fd int) (*Client, error) {
	conn, err := unixConn(fd)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}
