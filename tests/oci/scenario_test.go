package oci

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// scenarios are what a shell text cannot say. Each returns what was seen, which has to
// be the same with each runtime.
var scenarios = []struct {
	name string
	slow bool
	run  func(s scene) string
}{
	{"tty-shell", false, ttyShell},
	{"tty-resize", true, ttyResize},
	{"tty-interrupt", true, ttyInterrupt},
	{"tty-detach", false, ttyDetach},
	{"tty-exec", false, ttyExec},
	{"fifty-at-once", true, fiftyAtOnce},
	{"two-hundred", true, twoHundred},
}

// scene is where a scenario takes place.
type scene struct {
	*testing.T
	e       *engine
	runtime string
	name    string // of its container
}

func TestScenarios(t *testing.T) {
	e := startedEngine(t)
	list := runtimes(t)
	if !harness.Slow() {
		list = list[:min(1, len(list))]
	}
	for _, s := range scenarios {
		if s.slow && !harness.Slow() || testing.Short() {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			once := func(t *testing.T, runtime string) string {
				x := scene{t, e, runtime, s.name + "-" + runtime}
				defer e.removeCase(t, x.name)
				return s.run(x)
			}
			want := once(t, "runc")
			for _, r := range list {
				t.Run(r.name, func(t *testing.T) {
					if got := once(t, r.name); got != want {
						t.Errorf("want %q\ngot  %q", want, got)
					}
				})
			}
		})
	}
}

// docker returns a command with the runtime, the label and the name put in.
func (s scene) docker(args ...string) *exec.Cmd {
	if args[0] == "run" {
		args = append([]string{"run", "--runtime", s.runtime, "--label", "case=" + s.name}, args[1:]...)
	}
	return s.e.command(args...)
}

// output runs a command that has to succeed.
func (s scene) output(args ...string) string {
	s.Helper()
	var errOut bytes.Buffer
	cmd := s.docker(args...)
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("docker %v: %v: %s", args, err, errOut.Bytes())
	}
	return strings.TrimSpace(string(out))
}

func ttyShell(s scene) string {
	x := harness.StartTerminal(s.T, s.docker("run", "--rm", "-it", "--hostname", "h", image, "sh"))
	x.Until(`[#$] `)
	x.Keys("tty; stty size; echo $TERM\n")
	seen := x.Until(`(?s)/dev/[^\n]*\n24 80\r\nxterm\r\n`)
	x.Keys("exit 3\n")
	return fmt.Sprint(seen[strings.Index(seen, "\n")+1:], x.Status())
}

func ttyResize(s scene) string {
	x := harness.StartTerminal(s.T, s.docker("run", "--rm", "-it", image, "sh", "-c",
		// The engine sets the first size at some time after the start.
		`trap '[ "$(stty size)" != "33 111" ] || { stty size; exit; }' WINCH; echo ready; while :; do sleep 0.1; done`))
	x.Until("ready")
	x.Resize(33, 111)
	x.Until(`33 111`)
	return fmt.Sprint(x.Status())
}

func ttyInterrupt(s scene) string {
	x := harness.StartTerminal(s.T, s.docker("run", "--rm", "-it", image, "sh", "-c", "sh -c 'echo ready; sleep 1000'; echo after"))
	x.Until("ready")
	x.Keys("\x03")
	return fmt.Sprint(x.Status())
}

func ttyDetach(s scene) string {
	x := harness.StartTerminal(s.T, s.docker("run", "-it", "--name", s.name, image, "sh"))
	x.Until(`[#$] `)
	x.Keys("A=kept\n")
	x.Until(`[#$] `)
	x.Keys("\x10\x11")
	seen := fmt.Sprint(x.Status(), s.output("inspect", "-f", "{{.State.Running}}", s.name))
	y := harness.StartTerminal(s.T, s.docker("attach", s.name))
	y.Keys("echo =$A=\n")
	y.Until(`=kept=`)
	y.Keys("exit 9\n")
	return fmt.Sprint(seen, y.Status())
}

func ttyExec(s scene) string {
	s.output("run", "-d", "--name", s.name, image, "sleep", "1000")
	x := harness.StartTerminal(s.T, s.docker("exec", "-it", s.name, "sh"))
	x.Until(`[#$] `)
	x.Keys("tty; ps -o comm | grep -c sleep\n")
	seen := x.Until(`(?s)/dev/[^\n]*\n1\r\n`)
	x.Keys("sleep 1000\n")
	x.Until(`sleep 1000`)
	time.Sleep(200 * time.Millisecond) // likely in it by now; the shell takes ^C, too
	x.Keys("\x03")
	x.Until(`[#$] `)
	x.Keys("exit 6\n")
	return fmt.Sprint(seen[strings.Index(seen, "\n")+1:], x.Status())
}

func fiftyAtOnce(s scene) string {
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	slots := make(chan struct{}, 50)
	for i := range 50 {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out, err := s.docker("run", "--rm", image, "echo", fmt.Sprint("number ", i)).CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err == nil && string(out) == fmt.Sprintf("number %d\n", i) {
				good++
			} else {
				s.Logf("%d: %v: %s", i, err, out)
			}
		})
	}
	wg.Wait()
	return fmt.Sprint(good)
}

// twoHundred runs containers one after the other, and looks whether the host holds more
// afterwards than after the first few.
func twoHundred(s scene) string {
	run := func(n int) {
		for i := range n {
			if got := s.output("run", "--rm", image, "echo", fmt.Sprint(i)); got != fmt.Sprint(i) {
				s.Fatalf("run %d: %q", i, got)
			}
		}
	}
	run(20)
	before := s.e.held(s.T)
	run(180)
	var after map[string]int
	// What ends in the background may need a moment.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if after = s.e.held(s.T); fmt.Sprint(after) == fmt.Sprint(before) {
			return "nothing left"
		}
	}
	return fmt.Sprintf("before %v, after %v", before, after)
}

// held counts what the engine's world holds on the host: processes, mounts, control
// groups, files of runtimes.
func (e *engine) held(t *testing.T) map[string]int {
	t.Helper()
	held := map[string]int{}
	init := fmt.Sprint(e.init.Process.Pid)
	ns, err := os.Readlink("/proc/" + init + "/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		// The engine's own processes come and go a little (containerd's shims do with
		// the containers); what counts are processes of containers and runtimes.
		if root, err := os.Readlink(d + "/ns/mnt"); err == nil && root != ns {
			if text, err := os.ReadFile(d + "/cgroup"); err == nil && strings.Contains(string(text), e.cgroup) {
				held["processes of containers"]++
			}
		}
		if comm, err := os.ReadFile(d + "/comm"); err == nil && strings.HasPrefix(string(comm), "containerd-shim") {
			held["shims"]++
		}
	}
	if text, err := os.ReadFile("/proc/" + init + "/mounts"); err == nil {
		held["mounts"] = strings.Count(string(text), "\n")
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + e.cgroup + "/*/cgroup.procs")
	held["control groups"] = len(groups)
	for _, dir := range []string{"exec/runtime-runc", "exec/runtime-runsc-lite", "run/docker", "run/runsc-lite"} {
		n := 0
		filepath.WalkDir(filepath.Join("/proc", init, "root", strings.TrimPrefix(e.dir, "/"), dir), func(string, os.DirEntry, error) error {
			n++
			return nil
		})
		held["files of "+dir] = n
	}
	return held
}
