// Package network runs real programs in a network namespace of the host, natively
// and on each platform, and compares what they see and reach.
package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/tests/harness"
)

// run runs a command of the host's.
func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// world makes two namespaces with a veth pair between them, and servers in far.
func world(t *testing.T) (far, near string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: making network namespaces needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NOT TESTED: there is no ip (Debian: iproute2)")
	}
	far, near = fmt.Sprintf("rlfar%d", os.Getpid()), fmt.Sprintf("rlnear%d", os.Getpid())
	for _, ns := range []string{far, near} {
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	run(t, "ip", "-n", far, "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", near)
	for i, x := range []struct{ ns, link string }{{far, "v0"}, {near, "eth0"}} {
		run(t, "ip", "-n", x.ns, "addr", "add", fmt.Sprintf("10.66.0.%d/24", i+1), "dev", x.link)
		run(t, "ip", "-n", x.ns, "addr", "add", fmt.Sprintf("fd66::%d/64", i+1), "dev", x.link, "nodad")
		run(t, "ip", "-n", x.ns, "link", "set", x.link, "up")
	}
	run(t, "ip", "-n", near, "route", "add", "default", "via", "10.66.0.1")
	within(t, far, func() {
		for _, addr := range []string{"10.66.0.1:7", "[fd66::1]:7"} {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go echo(l)
		}
	})
	return far, near
}

// within runs fn on a thread in a namespace; what it opens stays there.
func within(t *testing.T, ns string, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// scripts print the same in the namespace itself and in a sandbox that has it.
var scripts = map[string]string{
	"addresses":  `ip -o -4 addr show dev eth0 | sed 's/ valid_lft.*//'; ip -o -6 addr show dev eth0 scope global | sed 's/ nodad//; s/ valid_lft.*//'`,
	"link":       `ip -o link show eth0 | grep -o 'mtu [0-9]*'; ip -o link show eth0 | grep -o 'link/ether [0-9a-f:]*'; cat /proc/net/dev | grep -c eth0`,
	"routes":     `ip route | sed 's/ *$//' | sort; ip route get 10.66.0.1 | head -1 | sed 's/ uid.*//; s/ *$//'; cat /proc/net/route | sort | sed 's/[ \t]*$//'`,
	"ping":       `ping -n -c 2 -i 0.2 -W 20 10.66.0.1 | grep -c 'bytes from 10.66.0.1'; ping -n -c 2 -i 0.2 -W 20 fd66::1 | grep -c 'bytes from fd66::1'`,
	"neighbours": `ping -n -c 1 -W 20 10.66.0.1 >/dev/null; ip neigh show 10.66.0.1 | grep -o '10.66.0.1 dev eth0 lladdr [0-9a-f:]*'; grep -c 10.66.0.1 /proc/net/arp`,
	"tcp":        `for a in 10.66.0.1 fd66::1; do exec 3<>/dev/tcp/$a/7; echo over $a >&3; read -r line <&3; echo "$line"; exec 3>&-; done`,
	"refused":    `exec 3<>/dev/tcp/10.66.0.1/8 || echo refused`,
	"own":        `ping -n -c 1 -W 20 10.66.0.2 | grep -c 'bytes from'; ping -n -c 1 -W 20 fd66::2 | grep -c 'bytes from'`,
}

func TestPrograms(t *testing.T) {
	_, near := world(t)
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			args := []string{"/bin/bash", "-c", script}
			native := harness.NewTarget("", "native")
			want, err := native.Run(harness.Spec{Args: append([]string{"/usr/bin/env", "ip", "netns", "exec", near}, args...), Limit: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if len(want.Stdout) == 0 {
				t.Fatalf("natively nothing is printed: %s", want.Stderr)
			}
			for _, target := range harness.Platforms(t) {
				got, err := target.Run(harness.Spec{Args: args, Flags: []string{"--network=/run/netns/" + near}, Limit: 3 * time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				want.Stderr, got.Stderr = nil, nil // bash tells its line differently
				if diff := harness.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", target.Name, diff)
				}
			}
		})
	}
}

// TestServer: a server in the sandbox is reached from outside, and the host's stack
// keeps out of it.
func TestServer(t *testing.T) {
	far, near := world(t)
	for _, target := range harness.Platforms(t) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		cmd := target.Command(ctx, harness.Spec{
			Args:  []string{"/usr/bin/python3", "-c", server},
			Flags: []string{"--network=/run/netns/" + near},
		})
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		ready := make([]byte, 6)
		if _, err := io.ReadFull(out, ready); err != nil {
			t.Fatalf("%s: the server: %v", target.Name, err)
		}
		within(t, far, func() {
			for _, addr := range []string{"10.66.0.2:80", "[fd66::2]:80"} {
				c, err := net.DialTimeout("tcp", addr, time.Minute)
				if err != nil {
					t.Errorf("%s: %v", target.Name, err)
					continue
				}
				_, _ = fmt.Fprint(c, "hello")
				_ = c.(*net.TCPConn).CloseWrite()
				b, err := io.ReadAll(c)
				if err != nil || string(b) != "olleh" {
					t.Errorf("%s: %s answered %q, %v", target.Name, addr, b, err)
				}
				c.Close()
			}
		})
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: the server ended with %v", target.Name, err)
		}
		cancel()
	}
}

const server = `
import socket
s = socket.create_server(('', 80), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
for i in range(2):
    c, a = s.accept()
    b = b''
    while d := c.recv(100): b += d
    c.sendall(b[::-1])
    c.close()
`

// TestHostSockets: the guest programs about sockets, on sockets of the host.
func TestHostSockets(t *testing.T) {
	for _, name := range []string{"inet", "inetstate", "sockopt", "poll", "epoll"} {
		i := slices.IndexFunc(harness.Guests(t), func(g harness.Guest) bool { return g.Name == name })
		if i < 0 {
			t.Errorf("there is no guest program %s", name)
			continue
		}
		g := harness.Guests(t)[i]
		native := harness.NewTarget("", "native")
		list, err := native.Run(harness.Spec{Args: []string{g.Path, "--list"}})
		if err != nil || list.Status != 0 {
			t.Fatalf("%s --list: status %d, %v", name, list.Status, err)
		}
		for test := range strings.Lines(string(list.Stdout)) {
			if test = strings.TrimSpace(test); strings.HasSuffix(test, " slow") {
				continue
			}
			t.Run(name+"/"+test, func(t *testing.T) {
				spec := harness.Spec{Args: []string{g.Path, test}, Flags: []string{"--network=host"}, Limit: time.Minute}
				want, err := native.Run(spec)
				if err != nil {
					t.Fatal(err)
				}
				for _, target := range harness.Platforms(t) {
					got, err := target.Run(spec)
					if err != nil {
						t.Fatal(err)
					}
					diff := harness.Diff(want, got)
					switch why := hostGaps[name+"/"+test]; {
					case why == "" && diff != "":
						t.Errorf("%s: %s", target.Name, diff)
					case why != "" && diff == "":
						t.Errorf("%s: is as on Linux; take it from hostGaps (%s)", target.Name, why)
					}
				}
			})
		}
	}
}

// hostGaps are the tests that differ on sockets of the host, and why.
var hostGaps = map[string]string{
	"inet/proc_net": "the tables of /proc/net show sockets of the sandbox's own stack only",
}

// TestEgress: what the rules leave out is not reached, by whatever call, on sockets
// of both kinds.
func TestEgress(t *testing.T) {
	_, near := world(t)
	for _, target := range harness.Platforms(t) {
		for _, network := range []string{"/run/netns/" + near, "host"} {
			r, err := target.Run(harness.Spec{
				Args:  []string{"/usr/bin/python3", "-c", egress},
				Flags: []string{"--network=" + network, "--egress=127.0.0.0/8,10.66.0.0/30,fd66::1"},
				Limit: 3 * time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Stdout) != "done\n" {
				t.Errorf("%s, %s: %s%s", target.Name, network, r.Stdout, r.Stderr)
			}
		}
	}
}

const egress = `
import errno, socket
inet, inet6, stream, dgram = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
def refused(what, fn):
    try:
        fn()
    except PermissionError:
        return
    except OSError as e:
        print(what, e)
        return
    print(what, 'was allowed')
for family, kind, to in ((inet, stream, '10.66.0.5'), (inet, dgram, '192.0.2.1'), (inet6, stream, 'fd66::2'),
                         (inet6, dgram, '2001:db8::1'), (inet6, stream, '::ffff:192.0.2.1'), (inet6, dgram, '::ffff:192.0.2.1')):
    s = socket.socket(family, kind)
    s.setblocking(False)
    refused('connect ' + to, lambda: s.connect((to, 9)))
    if kind == dgram:
        refused('sendto ' + to, lambda: s.sendto(b'x', (to, 9)))
        refused('sendmsg ' + to, lambda: s.sendmsg([b'x'], [], 0, (to, 9)))
u = socket.socket(inet, dgram)
u.sendto(b'x', ('127.0.0.1', 9))
l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname())
print('done')
`

func TestMessages(t *testing.T) {
	for _, target := range harness.Platforms(t) {
		for flag, want := range map[string]string{
			"nowhere":          "--network=nowhere: want loopback, host, or the path of a network namespace",
			"/run/netns/no-ns": "--network=/run/netns/no-ns: no such file or directory",
			"/etc/passwd":      "--network=/etc/passwd: this is no network namespace",
		} {
			r, err := target.Run(harness.Spec{Args: []string{"/bin/true"}, Flags: []string{"--network=" + flag}})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status == 0 || !strings.Contains(string(r.Stderr), want) {
				t.Errorf("%s: status %d, %q; want %q", target.Name, r.Status, r.Stderr, want)
			}
		}
	}
}
