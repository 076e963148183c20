package sandbox

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/runsc-lite/cgroup"
	"runsc-lite/sentry"
	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/socket/hostnet"
)

// exitBroken is the status of a sandbox that ended before its program did.
const exitBroken = 125

// Boot is the life of a sandbox's process. It returns its exit status.
func Boot(newPlatform func(name string, log *slog.Logger) (func(memFD int) (platform.Platform, error), error)) int {
	conn, err := unixConn(syncFD)
	if err != nil {
		return exitBroken // started by hand
	}
	var args bootArgs
	if _, err := receive(conn, &args); err != nil {
		return exitBroken // who launched it is gone
	}
	b := &box{args: &args, log: newLog(&args)}
	defer b.report()
	if err := b.make(conn, newPlatform); err != nil {
		b.log.Error("making the container", "err", err)
		if send(conn, bootAnswer{Error: err.Error()}) == nil {
			// Hooks may be looking at this process: it is there until they are done.
			for _, err := receive(conn, &hooksDone{}); err == nil; _, err = receive(conn, &hooksDone{}) {
			}
		}
		return exitBroken
	}
	if err := send(conn, bootAnswer{}); err != nil {
		return exitBroken
	}
	conn.Close()
	return b.serve()
}

// box is a container in its sandbox.
type box struct {
	args      *bootArgs
	log       *slog.Logger
	container *sentry.Container
	program   *sentry.Program
	filter    *seccomp.Filter // over all programs' calls; nil: none
	listener  *net.UnixListener
	exit      *os.File
	sizes     chan os.Signal // the size of the terminal has changed
	bridge    *bridge
	network   *hostnet.Net // nil: lo alone
	server    server
}

func newLog(a *bootArgs) *slog.Logger {
	level := slog.LevelWarn
	if a.Debug {
		level = slog.LevelDebug
	}
	var w io.Writer = io.Discard
	if a.Log >= 0 {
		w = os.NewFile(uintptr(a.Log), "log")
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})).With("container", a.ID)
}

// report puts a panic into the log. It ends this container only.
func (b *box) report() {
	if p := recover(); p != nil {
		b.log.Error("the sandbox broke", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		os.Exit(exitBroken)
	}
}

// make makes the container.
func (b *box) make(conn *net.UnixConn, newPlatform func(string, *slog.Logger) (func(int) (platform.Platform, error), error)) (err error) {
	// Until Go's own close-on-exec takes over: the platform executes its stubs.
	for _, fd := range b.inherited() {
		unix.CloseOnExec(fd)
	}
	if b.listener, err = listenerOf(b.args.Listener); err != nil {
		return fmt.Errorf("the control socket: %w", err)
	}
	b.exit = os.NewFile(uintptr(b.args.Exit), "exit")
	unix.Umask(0) // what programs make has the mode that the sentry says
	if err := ownProc(); err != nil {
		return err
	}
	bun, err := bundle.New(b.args.Spec, b.args.Dir)
	if err != nil {
		return err
	}
	if b.filter, err = filterOf(bun); err != nil {
		return err
	}
	spec := containerSpec(bun, b.args.Root, b.args.Mounts, b.args.Hostname)
	b.program = program(bun.Process, b.filter)
	if b.program.Files, err = takeStdio(b.args.Log); err != nil {
		return err
	}
	b.program.Files = append(b.program.Files, b.args.Extra...)
	if b.program.Terminal {
		if b.sizes, err = lead(b.args.Terminal); err != nil {
			return fmt.Errorf("taking over the terminal: %w", err)
		}
	}
	if err := b.openNetwork(bun, &spec); err != nil {
		return err
	}
	spec.Log = b.log
	if err := restrict(); err != nil {
		return err
	}
	if spec.NewPlatform, err = newPlatform(b.args.Platform, b.log); err != nil {
		return err
	}
	if b.container, err = sentry.NewContainer(spec); err != nil {
		return err
	}
	if linux := bun.Spec.Linux; linux != nil {
		if limit, limited := cgroup.Tasks(linux.Resources); limited {
			b.container.LimitTasks(limit)
		}
	}
	if err := b.container.Prepare(b.program); err != nil {
		return err
	}
	var done hooksDone
	if _, err := receive(conn, &done); err != nil {
		return fmt.Errorf("waiting for the hooks: %w", err)
	}
	return lockDown()
}

// takeStdio moves standard input, output and error out of the way: they are the
// program's, and no message of this process is to get there. What Go has to say when it
// breaks goes to the log.
func takeStdio(log int) ([]int, error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/null: %w", err)
	}
	defer unix.Close(null)
	fds := make([]int, 3)
	for i := range fds {
		if fds[i], err = unix.FcntlInt(uintptr(i), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			fds[i] = -1 // it is closed, and is for the program
		}
		to := null
		if i == 2 && log >= 0 {
			to = log
		}
		if err := unix.Dup3(to, i, 0); err != nil {
			return nil, fmt.Errorf("replacing descriptor %d: %w", i, err)
		}
	}
	return fds, nil
}

// inherited are the descriptors that came from who launched the sandbox.
func (b *box) inherited() []int {
	list := append([]int{syncFD, b.args.Listener, b.args.Exit, b.args.Root}, b.args.Extra...)
	if b.args.Log >= 0 {
		list = append(list, b.args.Log)
	}
	if b.args.Terminal >= 0 {
		list = append(list, b.args.Terminal)
	}
	for _, fd := range b.args.Mounts {
		list = append(list, fd)
	}
	return list
}

func listenerOf(fd int) (*net.UnixListener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("descriptor %d is no unix socket", fd)
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

// ownProc mounts the process file system of this pid namespace: the platform finds its
// stubs there.
func ownProc() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping the sandbox's mounts to itself: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting the sandbox's own /proc: %w", err)
	}
	return nil
}

// serve answers requests until the container's first program has ended.
func (b *box) serve() int {
	b.server.box = b
	b.server.started = make(chan *sentry.Started, 1)
	go b.server.run(b.listener)
	first := <-b.server.started
	if first.Terminal != nil {
		b.terminal(first)
	}
	<-first.Done()
	status := exitStatus(first.Status())
	if b.bridge != nil {
		b.bridge.finish()
	}
	b.server.finish()
	if _, err := b.exit.WriteString(strconv.Itoa(status) + "\n"); err != nil {
		b.log.Warn("leaving the exit status", "err", err)
	}
	return status
}

// terminal connects the program's terminal with the host's.
func (b *box) terminal(first *sentry.Started) {
	b.bridge = newBridge(b.args.Terminal, first.Terminal)
	go func() {
		for range b.sizes {
			b.bridge.resize()
		}
	}()
}

// exitStatus is the status of the process that stands for a program: as a shell has it.
func exitStatus(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
