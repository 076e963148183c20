package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestExec(t *testing.T) {
	b := newBundle(t, "sleep", "1000")
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}}
	if out, status := b.runtime("exec", b.id, "true"); status != 255 || !strings.Contains(out, "does not exist") {
		t.Errorf("before there is a container: %d, %s", status, out)
	}
	b.started()
	for _, c := range []struct {
		args   []string
		out    string
		status int
	}{
		{[]string{b.id, "sh", "-c", "echo out; echo err >&2; exit 9"}, "out\nerr\n", 9},
		{[]string{"--user", "7:8", "-g", "9", "--cwd", "/tmp", "-e", "A=b c", b.id, "sh", "-c", "id; pwd; echo $A"}, "uid=7 gid=8 groups=9\n/tmp\nb c\n", 0},
		{[]string{b.id, "grep", "CapEff", "/proc/self/status"}, "CapEff:\t0000000000000020\n", 0},
		{[]string{"--cap", "net_raw", b.id, "grep", "CapEff", "/proc/self/status"}, "CapEff:\t0000000000002020\n", 0},
		{[]string{b.id, "sh", "-c", "kill -9 $$"}, "", 137},
	} {
		if out, status := b.runtime(append([]string{"exec"}, c.args...)...); out != c.out || status != c.status {
			t.Errorf("exec %q: %d, %q; want %d, %q", c.args, status, out, c.status, c.out)
		}
	}
	if out, status := b.runtime("exec", b.id, "nothing"); status != 255 || !strings.Contains(out, "executable file not found in $PATH") {
		t.Errorf("exec of nothing: %d, %s", status, out)
	}
	process := filepath.Join(b.dir, "process.json")
	if err := os.WriteFile(process, []byte(`{"args":["sh","-c","echo $V; cat"],"cwd":"/","env":["PATH=/bin","V=w"],"user":{"uid":0,"gid":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := b.command("exec", "--process", process, b.id)
	cmd.Stdin = strings.NewReader("typed\n")
	if out, err := cmd.Output(); err != nil || string(out) != "w\ntyped\n" {
		t.Errorf("exec --process: %q, %v", out, err)
	}
}

// TestExecDetached: the process that stands for the program on the host ends as it does,
// and passes signals on.
func TestExecDetached(t *testing.T) {
	b := newBundle(t, "sleep", "1000")
	b.started()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	pidFile := filepath.Join(b.dir, "exec.pid")
	ready := filepath.Join(b.dir, "rootfs/tmp/ready")
	// Without the test's output, which the program would keep open.
	cmd := b.command("exec", "--detach", "--pid-file", pidFile, b.id, "sh", "-c", "trap 'exit 6' USR1; touch /tmp/ready; while :; do sleep 0.1; done")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the program is ready", func() bool { _, err := os.Stat(ready); return err == nil })
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || ws.ExitStatus() != 6 {
		t.Errorf("it ended with %v, %v; want 6", ws, err)
	}
}

// TestTerminal runs a shell on a terminal, whose master comes by a console socket.
func TestTerminal(t *testing.T) {
	b := newBundle(t, "sh", "-c", "tty; stty size; read line; echo got $line; sleep 1000; exit 1")
	b.spec.Process.Terminal = true
	b.spec.Process.ConsoleSize = &specs.Box{Height: 17, Width: 71}
	socket := filepath.Join(b.dir, "console")
	masters := consoleSocket(t, socket)
	b.must("create", "--bundle", b.dir, "--console-socket", socket, b.id)
	master := <-masters
	defer master.Close()
	var said strings.Builder
	expect := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		for !strings.Contains(said.String(), want) {
			n, err := master.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				t.Fatalf("waiting for %q: %v, after %q", want, err, said.String())
			}
		}
	}
	b.must("start", b.id)
	expect("/dev/pts/0\r\n17 71\r\n")
	if _, err := io.WriteString(master, "some words\r"); err != nil {
		t.Fatal(err)
	}
	expect("got some words\r\n")
	if _, err := io.WriteString(master, "\x03"); err != nil {
		t.Fatal(err)
	}
	if got := b.must("wait", b.id); !strings.Contains(got, "130") {
		t.Errorf("after ^C: %s", got)
	}
}

// TestRootIsWritten: what a container writes is on the host, and belongs to whom it says.
func TestRootIsWritten(t *testing.T) {
	b := newBundle(t, "sh", "-c", "umask 027; echo text > /tmp/f; mkdir /tmp/d; chown 5:6 /tmp/f; mv /tmp/f /tmp/d/g; echo more >> /vol/v; echo no > /ro/x || echo refused; exit 0")
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}}
	vol, ro := t.TempDir(), t.TempDir()
	b.spec.Mounts = append(b.spec.Mounts,
		specs.Mount{Destination: "/vol", Source: vol, Options: []string{"rbind"}},
		specs.Mount{Destination: "/ro", Source: ro, Options: []string{"bind", "ro"}})
	if err := os.WriteFile(filepath.Join(vol, "v"), []byte("some "), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status := b.run()
	if status != 0 || !strings.Contains(out, "refused") {
		t.Errorf("%d: %s", status, out)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(b.dir, "rootfs/tmp/d/g"), &st); err != nil || st.Uid != 5 || st.Gid != 6 || st.Mode&0o777 != 0o640 {
		t.Errorf("the file on the host: %+v, %v", st, err)
	}
	if text, err := os.ReadFile(filepath.Join(vol, "v")); err != nil || string(text) != "some more\n" {
		t.Errorf("the volume: %q, %v", text, err)
	}
	if left, err := os.ReadDir(ro); err != nil || len(left) != 0 {
		t.Errorf("what is read-only was written: %v, %v", left, err)
	}
}

// consoleSocket listens, and delivers the master that comes.
func consoleSocket(t *testing.T, path string) <-chan *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	masters := make(chan *os.File, 1)
	go func() {
		defer close(masters)
		conn, _, err := unix.Accept(fd)
		if err != nil {
			return
		}
		defer unix.Close(conn)
		buf, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(conn, buf, oob, 0)
		if err != nil {
			return
		}
		list, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(list) == 0 {
			return
		}
		if fds, err := unix.ParseUnixRights(&list[0]); err == nil {
			masters <- os.NewFile(uintptr(fds[0]), "master")
		}
	}()
	return masters
}
