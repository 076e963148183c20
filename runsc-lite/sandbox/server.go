package sandbox

import (
	"errors"
	"fmt"
	"net"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/sentry"
	"runsc-lite/sentry/task"
)

// request is what a verb asks of a sandbox.
type request struct {
	Method string `json:"method"` // start, signal, exec, wait, limit, processes

	Signal int   `json:"signal,omitempty"`
	All    bool  `json:"all,omitempty"`   // signal: all processes
	Tasks  int64 `json:"tasks,omitempty"` // limit

	Process *specs.Process `json:"process,omitempty"` // exec
	// Terminal says that the first descriptor that comes with an exec is the host's side
	// of the program's terminal; the others are the program's, from 0 on, or from 3.
	Terminal bool `json:"terminal,omitempty"`
}

// answer is what the sandbox answers. exec and wait have a second one.
type answer struct {
	Error     string             `json:"error,omitempty"`
	Pid       int                `json:"pid,omitempty"`
	Status    *int               `json:"status,omitempty"`
	Processes []task.ProcessInfo `json:"processes,omitempty"`
}

// follow is what the client of an exec sends while the program runs.
type follow struct {
	Signal int  `json:"signal,omitempty"`
	Resize bool `json:"resize,omitempty"` // the terminal has changed its size
}

// server answers on the control socket.
type server struct {
	box     *box
	started chan *sentry.Started

	mu      sync.Mutex
	first   *sentry.Started
	ending  bool           // no more requests
	clients sync.WaitGroup // requests that are being answered; added to under mu
}

// begin counts a request, unless the sandbox ends.
func (s *server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.clients.Add(1)
	}
	return !s.ending
}

// finish returns when all requests are answered: their clients hear of the end.
func (s *server) finish() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.clients.Wait()
}

func (s *server) run(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go s.serve(c)
	}
}

func (s *server) serve(c *net.UnixConn) {
	defer s.box.report()
	defer c.Close()
	var r request
	fds, err := receive(c, &r)
	if err != nil {
		return
	}
	if !s.begin() {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return
	}
	defer s.clients.Done()
	if r.Method == "exec" {
		s.exec(c, &r, fds)
		return
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	a := answer{}
	if err := s.do(c, &r, &a); err != nil {
		a.Error = err.Error()
	}
	_ = send(c, &a)
}

var errNotStarted = errors.New("the container is not started")

func (s *server) do(c *net.UnixConn, r *request, a *answer) error {
	switch r.Method {
	case "start":
		return s.start()
	case "signal":
		return s.signal(r)
	case "wait":
		first := s.job()
		if first == nil {
			return errNotStarted
		}
		<-first.Done()
		status := exitStatus(first.Status())
		a.Status = &status
		return nil
	case "limit":
		s.box.container.LimitTasks(r.Tasks)
		return nil
	case "processes":
		a.Processes = s.box.container.Census()
		return nil
	}
	return fmt.Errorf("the sandbox knows no request %q", r.Method)
}

func (s *server) job() *sentry.Started {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// start runs the container's program.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		return errors.New("it is started already")
	}
	if err := s.box.syncNetwork(); err != nil {
		return fmt.Errorf("taking the network over: %w", err)
	}
	first, err := s.box.container.Run(s.box.program)
	if err != nil {
		return err
	}
	s.first = first
	s.started <- first
	return nil
}

func (s *server) signal(r *request) error {
	sig := unix.Signal(r.Signal)
	first := s.job()
	if first == nil {
		return errNotStarted
	}
	if r.All {
		s.box.container.SignalAll(sig)
		return nil
	}
	return first.Signal(sig)
}

// exec runs one more program, and stays with it: if the client goes, the program is
// killed.
func (s *server) exec(c *net.UnixConn, r *request, fds []int) {
	fail := func(err error) {
		for _, fd := range fds {
			unix.Close(fd)
		}
		_ = send(c, &answer{Error: err.Error()})
	}
	if s.job() == nil {
		fail(errNotStarted)
		return
	}
	if r.Process == nil {
		fail(errors.New("an exec without a process"))
		return
	}
	checked, _, err := bundle.NewProcess(r.Process, "process")
	if err != nil {
		fail(err)
		return
	}
	p := program(checked, s.box.filter)
	if p.Terminal != r.Terminal || p.Terminal && len(fds) == 0 {
		fail(errors.New("a terminal is wanted, and none came, or the other way round"))
		return
	}
	terminal := -1
	if p.Terminal {
		terminal, fds = fds[0], append([]int{-1, -1, -1}, fds[1:]...)
	}
	p.Files = fds
	job, err := s.box.container.Run(p)
	if err != nil {
		fds = nil // Run has closed them
		if terminal >= 0 {
			unix.Close(terminal)
		}
		fail(err)
		return
	}
	var b *bridge
	if p.Terminal {
		b = newBridge(terminal, job.Terminal)
	}
	if send(c, &answer{Pid: job.PID()}) != nil {
		_ = job.Signal(unix.SIGKILL)
	}
	go s.follow(c, job, b)
	<-job.Done()
	if b != nil {
		b.finish()
	}
	status := exitStatus(job.Status())
	_ = send(c, &answer{Status: &status})
}

// follow does what the client of an exec wants of the program.
func (s *server) follow(c *net.UnixConn, job *sentry.Started, b *bridge) {
	for {
		var f follow
		if _, err := receive(c, &f); err != nil {
			_ = job.Signal(unix.SIGKILL)
			return
		}
		if f.Signal != 0 {
			_ = job.Signal(unix.Signal(f.Signal))
		}
		if f.Resize && b != nil {
			b.resize()
		}
	}
}
