package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
)

// BootVerb is the command line argument by which this program becomes a sandbox.
const BootVerb = "sandbox-boot"

// syncFD is the descriptor by which the sandbox talks to who launches it.
const syncFD = 3

// Config says what sandbox is to be launched.
type Config struct {
	ID, Platform string
	Debug        bool
	Bundle       *bundle.Bundle
	// Dir is where the control socket is made: ControlSocket in it.
	Dir, ControlSocket string
	Exit               *os.File // where the exit status goes
	Log                *os.File // nil: nowhere
	// Stdio are the program's standard input, output and error; with a terminal, they
	// are Terminal, the slave of a pseudo-terminal of the host.
	Stdio    [3]*os.File
	Terminal *os.File
	Extra    []*os.File // the program's descriptors from 3 on
	Hostname string
	// Started is called with the process before it does anything.
	Started func(pid int) error
}

// Launched is a sandbox that was launched and is not ready yet.
type Launched struct {
	Pid     int
	process *os.Process
	sync    *net.UnixConn
}

// files collects descriptors for the sandbox.
type files struct {
	list  []*os.File
	owned []*os.File
}

// add gives the sandbox a file and returns its number there.
func (f *files) add(file *os.File) int {
	f.list = append(f.list, file)
	return len(f.list) - 1
}

// own is add of a file that is closed here once the sandbox has it.
func (f *files) own(file *os.File) int {
	f.owned = append(f.owned, file)
	return f.add(file)
}

func (f *files) close() {
	for _, file := range f.owned {
		file.Close()
	}
}

// Launch starts the sandbox's process.
func Launch(c Config) (_ *Launched, err error) {
	warnings, err := checkNamespaces(&c.Bundle.Namespaces)
	if err != nil {
		return nil, err
	}
	c.Bundle.Warnings = append(c.Bundle.Warnings, warnings...)
	var fs files
	defer fs.close()
	for i := range c.Stdio {
		fs.add(c.Stdio[i])
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket for the sandbox: %w", err)
	}
	fs.own(os.NewFile(uintptr(pair[1]), "sync")) // syncFD
	conn, err := unixConn(pair[0])
	if err != nil {
		return nil, fmt.Errorf("making a socket for the sandbox: %w", err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	args := bootArgs{
		ID: c.ID, Dir: c.Bundle.Dir, Platform: c.Platform, Debug: c.Debug, Spec: c.Bundle.Spec, Hostname: c.Hostname,
		Log: -1, Terminal: -1, Mounts: map[int]int{},
	}
	listener, err := listen(c.Dir, c.ControlSocket)
	if err != nil {
		return nil, err
	}
	args.Listener = fs.own(listener)
	args.Exit = fs.add(c.Exit)
	if c.Log != nil {
		args.Log = fs.add(c.Log)
	}
	if c.Terminal != nil {
		args.Terminal = fs.add(c.Terminal)
	}
	for _, f := range c.Extra {
		args.Extra = append(args.Extra, fs.add(f))
	}
	root, err := cloneTree(c.Bundle.Root, false)
	if err != nil {
		return nil, fmt.Errorf("opening the root file system %s: %w", c.Bundle.Root, err)
	}
	args.Root = fs.own(root)
	for i := range c.Bundle.Mounts {
		m := &c.Bundle.Mounts[i]
		if m.Type != "bind" {
			continue
		}
		f, err := openSource(m)
		if err != nil {
			return nil, fmt.Errorf("opening %s, which is to be mounted at %s: %w", m.Source, m.Destination, err)
		}
		args.Mounts[i] = fs.own(f)
	}
	l, err := start(&c, &fs)
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox: %w", err)
	}
	l.sync = conn
	if c.Started != nil {
		if err := c.Started(l.Pid); err != nil {
			l.Abandon()
			return nil, err
		}
	}
	if err := send(conn, &args); err != nil {
		l.Abandon()
		return nil, fmt.Errorf("telling the sandbox what to do: %w", err)
	}
	return l, nil
}

// start clones the process into its namespaces, and executes this program.
func start(c *Config, fs *files) (*Launched, error) {
	flags := cloneFlags(&c.Bundle.Namespaces)
	exe, err := openSelf()
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=" + os.Getenv("GOMAXPROCS")},
		Files: fs.list,
		Sys: &syscall.SysProcAttr{
			Cloneflags: flags,
			Setsid:     true,
		},
	}
	if os.Getenv("GOMAXPROCS") == "" {
		attr.Env = []string{}
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		if attr.Sys.UidMappings, err = idMappings(c.Bundle.UIDs, "/proc/self/uid_map"); err != nil {
			return nil, err
		}
		if attr.Sys.GidMappings, err = idMappings(c.Bundle.GIDs, "/proc/self/gid_map"); err != nil {
			return nil, err
		}
		attr.Sys.GidMappingsEnableSetgroups = os.Geteuid() == 0
		attr.Sys.Credential = &syscall.Credential{NoSetGroups: os.Geteuid() != 0}
	}
	type result struct {
		p   *os.Process
		err error
	}
	done := make(chan result)
	go func() {
		// The thread enters the namespaces that are given, and goes away with the
		// goroutine.
		runtime.LockOSThread()
		if err := enterGiven(&c.Bundle.Namespaces); err != nil {
			done <- result{nil, err}
			return
		}
		p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", exe.Fd()), []string{"runsc-lite-sandbox", BootVerb, c.ID}, attr)
		done <- result{p, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	return &Launched{Pid: r.p.Pid, process: r.p}, nil
}

// Proceed lets the sandbox go on once the hooks have run, and returns when it is ready
// to be started.
func (l *Launched) Proceed() error {
	defer l.sync.Close()
	err := send(l.sync, hooksDone{})
	var a bootAnswer
	if _, rerr := receive(l.sync, &a); rerr != nil {
		// It may have said why before it was told to go on; if it has not, it died.
		if err == nil {
			err = rerr
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
			return errors.New("the sandbox ended while it was being made; its log says why")
		}
		return fmt.Errorf("talking to the sandbox: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// Abandon ends a sandbox that is not to be.
func (l *Launched) Abandon() {
	if l.sync != nil {
		l.sync.Close()
	}
	_ = l.process.Kill()
	_, _ = l.process.Wait()
}

// Wait waits for the sandbox's end, and returns its exit status.
func (l *Launched) Wait() (int, error) {
	s, err := l.process.Wait()
	if err != nil {
		return 0, fmt.Errorf("waiting for the sandbox: %w", err)
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return s.ExitCode(), nil
}

// listen makes the control socket. The directory may have a longer name than fits
// into a socket's address, so that it is named by its descriptor.
func listen(dir, name string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)})
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err == nil {
		err = os.Chmod(filepath.Join(dir, name), 0o600)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	return f, nil
}
