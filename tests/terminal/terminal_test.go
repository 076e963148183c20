// Package terminal plays a user who sits at a terminal: it types at programs that run
// natively and on each platform, and compares what the screen shows.
package terminal

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/tests/harness"
)

const (
	busybox = "/bin/busybox"
	bash    = "/bin/bash"
	prompt  = "@@ "
	// shown is the prompt as it shows; ash asks the terminal where its cursor is.
	shown = prompt + `(\x1b\[6n)?$`
)

var env = append(harness.BaseEnv(), "PS1="+prompt, "TERM=dumb", "INPUTRC=/dev/null", "HISTFILE=/dev/null")

// shells are those that are there.
func shells(t *testing.T) map[string][]string {
	all := map[string][]string{
		"ash":  {busybox, "ash", "-i"},
		"bash": {bash, "--norc", "--noprofile", "-i"},
	}
	for name, argv := range all {
		if _, err := os.Stat(argv[0]); err != nil {
			t.Logf("%s is missing: apt-get install busybox-static bash", argv[0])
			delete(all, name)
		}
	}
	return all
}

// command prepares a program on a target.
func command(t *testing.T, target harness.Target, argv ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return target.Command(ctx, harness.Spec{Args: argv, Env: env})
}

// step is what the user does, and what they wait for.
type step struct {
	name  string
	keys  string
	until string
	do    func(x *harness.Terminal)
	// loose: what shows is a matter of time, and need only match until.
	loose bool
}

// play makes the steps and returns what the screen showed at each.
func play(x *harness.Terminal, steps []step) (shown []string) {
	for _, s := range steps {
		if s.do != nil {
			s.do(x)
		}
		if s.keys != "" {
			x.Keys(s.keys)
		}
		if s.until != "" {
			text := plain(x.Until(s.until))
			if s.loose {
				text = ""
			}
			shown = append(shown, text)
		}
	}
	return shown
}

// compare plays natively and on each platform.
func compare(t *testing.T, steps []step, begin func(t *testing.T, target harness.Target) *harness.Terminal) {
	t.Helper()
	run := func(t *testing.T, target harness.Target) ([]string, int) {
		x := begin(t, target)
		shown := play(x, steps)
		return shown, x.Status()
	}
	want, wantStatus := run(t, harness.Native)
	for _, target := range harness.Platforms(t) {
		t.Run(target.Name, func(t *testing.T) {
			got, status := run(t, target)
			i := 0
			for _, s := range steps {
				if s.until == "" {
					continue
				}
				if got[i] != want[i] {
					t.Errorf("%s: the screen shows\n%q\nnatively\n%q", s.name, got[i], want[i])
				}
				i++
			}
			if status != wantStatus {
				t.Errorf("exit status %d, natively %d", status, wantStatus)
			}
		})
	}
}

// pause lets something happen that does not show.
func pause(d time.Duration) func(*harness.Terminal) { return func(*harness.Terminal) { time.Sleep(d) } }

// up is how the programs below say that they run, and upAt what the screen shows then.
// They are not yet what they are going to be: signals come after a pause.
const (
	up   = "echo up; exec "
	upAt = "\nup\r\n$"
)

// TestShell is an interactive shell in the sandbox.
func TestShell(t *testing.T) {
	const (
		end    = "\n" + shown
		sleep  = "sh -c '" + up + "sleep 100'"
		cat    = "sh -c '" + up + "cat'"
		winch  = `sh -c 'trap "echo winch; stty size" WINCH; echo up; while :; do sleep 0.1; done'`
		secret = "sh -c 'stty -echo; echo up; read x; stty echo; echo got $x'"
	)
	steps := []step{
		{name: "prompt", until: shown},
		{name: "echo", keys: "echo hello\n", until: end},
		{name: "tty", keys: "tty\n", until: end},
		{name: "tty of others", keys: "tty < /dev/tty; tty < /dev/null; tty <&2\n", until: end},
		{name: "size", keys: "stty size\n", until: end},
		{name: "modes", keys: "stty -a < /dev/tty\n", until: end},
		{name: "erase", keys: "echo wrogn\x7f\x7fng\n", until: end},
		{name: "pipe", keys: "echo one | cat | tr o 0\n", until: end},
		{name: "start in the background", keys: "sleep 100 &\n", until: end},
		{name: "jobs", keys: "jobs\n", until: end},
		{name: "kill", keys: "kill %1; wait %1; echo status $?\n", until: "(?s)status 143\r\n.*" + shown, loose: true},
		{name: "start", keys: sleep + "\n", until: upAt},
		{name: "suspend", do: pause(300 * time.Millisecond), keys: "\x1a", until: end},
		{name: "stopped", keys: "jobs\n", until: end},
		{name: "background", keys: "bg\n", until: end},
		{name: "running", keys: "jobs\n", until: end},
		{name: "foreground", keys: "fg\n", until: "100['\"]\r\n$"},
		{name: "interrupt", do: pause(300 * time.Millisecond), keys: "\x03", until: shown},
		{name: "status", keys: "echo $?\n", until: end},
		{name: "start another", keys: sleep + "\n", until: upAt},
		{name: "quit", do: pause(300 * time.Millisecond), keys: "\x1c", until: shown},
		{name: "line to be interrupted", keys: "echo nothing", until: "nothing$"},
		{name: "interrupted line", do: pause(300 * time.Millisecond), keys: "\x03", until: shown},
		{name: "cat", keys: cat + "\n", until: upAt},
		{name: "a line", keys: "line\n", until: "line\r\nline\r\n"},
		{name: "end of file", keys: "\x04", until: shown},
		{name: "background read", keys: "cat &\n", until: shown, loose: true},
		{name: "background read stops", do: pause(time.Second), keys: "\n", until: shown, loose: true},
		{name: "is stopped", keys: "jobs\n", until: end},
		{name: "goes on", keys: "fg\n", until: "cat\r\n$"},
		{name: "reads", do: pause(300 * time.Millisecond), keys: "mine\n", until: "mine\r\nmine\r\n"},
		{name: "read to the end", keys: "\x04", until: shown},
		{name: "no echo", keys: secret + "\n", until: upAt},
		{name: "secret", keys: "secret\n", until: "got secret\r\n" + shown},
		{name: "resized", do: func(x *harness.Terminal) { x.Resize(33, 99); pause(300 * time.Millisecond)(x) }, keys: "stty size\n", until: "33 99\r\n" + shown, loose: true},
		{name: "trap", keys: winch + "\n", until: upAt},
		{name: "resized while a program runs", do: func(x *harness.Terminal) { x.Resize(44, 88) }, until: "winch\r\n44 88\r\n"},
		{name: "its end", do: pause(300 * time.Millisecond), keys: "\x03", until: shown},
		{name: "many lines", keys: "seq 1 2000 | tail -n 3\n", until: end},
		{name: "stopped output", keys: "seq 1 3\x13\n", until: "$"},
		{name: "output again", do: pause(300 * time.Millisecond), keys: "\x11", until: "1\r\n2\r\n3\r\n" + shown},
		{name: "exit", keys: "exit 7\n"},
	}
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, steps, func(t *testing.T, target harness.Target) *harness.Terminal {
				return harness.StartTerminal(t, command(t, target, argv...))
			})
		})
	}
}

// TestJob is a program in a sandbox as a job of the user's shell. $R is what the
// sandbox is called with; natively it is empty.
func TestJob(t *testing.T) {
	const (
		end  = "\n" + shown
		sh   = "$R " + busybox + " sh -c "
		cat  = sh + "'" + up + "cat'"
		loop = "for i in 1 2 3; do " + sh + "'" + up + "sleep 100'; done"
		trap = sh + `'trap "echo caught; exit 4" INT; echo up; while :; do sleep 0.1; done'`
	)
	steps := []step{
		{name: "prompt", until: shown},
		{name: "run", keys: "$R " + busybox + " echo hello\n", until: end},
		{name: "cat", keys: cat + "\n", until: upAt},
		{name: "a line", keys: "line\n", until: "line\r\nline\r\n"},
		{name: "suspend", do: pause(300 * time.Millisecond), keys: "\x1a", until: shown},
		{name: "stopped", keys: "jobs\n", until: end},
		{name: "the shell again", keys: "echo here\n", until: end},
		{name: "foreground", keys: "fg\n", until: "cat['\"]\r\n$"},
		{name: "another line", do: pause(300 * time.Millisecond), keys: "more\n", until: "more\r\nmore\r\n"},
		{name: "end of file", keys: "\x04", until: shown},
		{name: "background", keys: "$R " + busybox + " cat &\n", until: shown, loose: true},
		{name: "stops", do: pause(3 * time.Second), keys: "\n", until: shown, loose: true},
		{name: "is stopped", keys: "jobs\n", until: end},
		{name: "steals nothing", keys: "echo mine\n", until: "\nmine\r\n" + shown},
		{name: "goes on", keys: "fg\n", until: "cat\r\n$"},
		{name: "reads", do: pause(300 * time.Millisecond), keys: "yours\n", until: "yours\r\nyours\r\n"},
		{name: "interrupt", do: pause(300 * time.Millisecond), keys: "\x03", until: shown},
		{name: "status", keys: "echo status $?\n", until: "status 130\r\n" + shown},
		{name: "a loop", keys: loop + "\n", until: upAt},
		{name: "its end", do: pause(300 * time.Millisecond), keys: "\x03", until: shown},
		{name: "a program that stops itself", keys: sh + "'kill -STOP $$; echo back'\n", until: end},
		{name: "and is continued", keys: "fg\n", until: "back\r\n" + shown},
		{name: "a handler", keys: trap + "\n", until: upAt},
		{name: "handles", do: pause(300 * time.Millisecond), keys: "\x03", until: "caught\r\n" + shown},
		{name: "exited", keys: "echo status $?\n", until: "status 4\r\n" + shown},
		{name: "typed ahead", keys: sh + "'" + up + "sleep 2'\n", until: upAt},
		{name: "is not lost", keys: "echo ahead\n", until: "(?s)ahead.*\nahead\r\n" + shown},
		{name: "exit", keys: "exit 7\n"},
	}
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, steps, func(t *testing.T, target harness.Target) *harness.Terminal {
				cmd := command(t, harness.Native, argv...)
				run := ""
				if !target.IsNative() {
					argv := target.Argv(harness.Spec{Args: []string{"X"}, Env: []string{"PATH=/bin"}})
					run = strings.TrimSuffix(strings.Join(argv, " "), " X")
				}
				cmd.Env = append(cmd.Env, "R="+run)
				return harness.StartTerminal(t, cmd)
			})
		})
	}
}

// platforms runs fn on each platform.
func platforms(t *testing.T, fn func(t *testing.T, target harness.Target)) {
	for _, target := range harness.Platforms(t) {
		t.Run(target.Name, func(t *testing.T) { fn(t, target) })
	}
}

// TestModesComeBack: whatever a program does to the terminal, and however it ends, the
// terminal is as before in the end.
func TestModesComeBack(t *testing.T) {
	t.Parallel()
	platforms(t, func(t *testing.T, target harness.Target) {
		for name, script := range map[string]string{
			"exit":       "stty raw -echo; exit 3",
			"killed":     "stty raw -echo; kill -9 $$",
			"terminated": "stty raw -echo; echo ready; read x",
		} {
			t.Run(name, func(t *testing.T) {
				cmd := command(t, target, busybox, "sh", "-c", script)
				x := harness.StartTerminal(t, cmd)
				before := x.Modes()
				want := map[string]int{"exit": 3, "killed": 137, "terminated": 143}[name]
				if name == "terminated" {
					x.Until("ready")
					if during := x.Modes(); during.Lflag&unix.ICANON != 0 {
						t.Error("the program's settings did not reach the terminal")
					}
					cmd.Process.Signal(syscall.SIGTERM)
				}
				if got := x.Status(); got != want {
					t.Errorf("exit status %d, want %d", got, want)
				}
				if after := x.Modes(); after != before {
					t.Errorf("settings %+v, before %+v", after, before)
				}
			})
		}
	})
}

// TestHangUp: the sandbox ends with the terminal's connection.
func TestHangUp(t *testing.T) {
	t.Parallel()
	platforms(t, func(t *testing.T, target harness.Target) {
		x := harness.StartTerminal(t, command(t, target, busybox, "sh", "-c", "echo ready; "+busybox+" sleep 1000"))
		x.Until("ready")
		x.HangUp()
		if got := x.Status(); got != 128+int(syscall.SIGHUP) {
			t.Errorf("exit status %d, want that of SIGHUP", got)
		}
	})
}

// TestNobodyToContinue: where no shell could continue the runner, ^Z does nothing, as
// it does natively.
func TestNobodyToContinue(t *testing.T) {
	t.Parallel()
	compare(t, []step{
		{name: "up", until: "up\r\n"},
		{name: "a line", keys: "one\n", until: "one\r\none\r\n"},
		{name: "no stop", do: pause(300 * time.Millisecond), keys: "\x1a", until: "\\^Z"},
		{name: "another", do: pause(300 * time.Millisecond), keys: "two\n", until: "two\r\ntwo\r\n"},
		{name: "end", keys: "\x04"},
	}, func(t *testing.T, target harness.Target) *harness.Terminal {
		return harness.StartTerminal(t, command(t, target, busybox, "sh", "-c", up+"cat"))
	})
}

// TestRedirected: a program whose standard files are not the terminal still has it.
func TestRedirected(t *testing.T) {
	t.Parallel()
	compare(t, []step{
		{name: "asks", until: "name\\? $"},
		{name: "answers", keys: "me\n", until: "hello me\r\n"},
	}, func(t *testing.T, target harness.Target) *harness.Terminal {
		cmd := command(t, target, busybox, "sh", "-c",
			`tty; printf 'name? ' > /dev/tty; read x < /dev/tty; echo hello $x > /dev/tty`)
		return harness.StartTerminal(t, cmd)
	})
}

// TestNames: the terminal has one name inside, by which programs find it, and is the
// console.
func TestNames(t *testing.T) {
	t.Parallel()
	platforms(t, func(t *testing.T, target harness.Target) {
		x := harness.StartTerminal(t, command(t, target, busybox, "sh", "-c",
			`tty; readlink /proc/self/fd/1; stat -c '%t:%T %u' $(tty) /dev/console; tty < /dev/console; echo done > /dev/console`))
		uid := strconv.Itoa(os.Getuid())
		want := "/dev/pts/0\r\n/dev/pts/0\r\n88:0 " + uid + "\r\n5:1 " + uid + "\r\n/dev/console\r\ndone\r\n"
		if got := x.Until("done\r\n"); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
		if got := x.Status(); got != 0 {
			t.Errorf("exit status %d", got)
		}
	})
}

// plain replaces what is different in each run: process ids and the names of
// terminals.
func plain(s string) string {
	for _, r := range [...]struct {
		from *regexp.Regexp
		to   string
	}{
		{regexp.MustCompile(`(\[\d+\][-+]?) +\d+`), "$1 PID"},
		{regexp.MustCompile(`/dev/pts/\d+`), "/dev/pts/N"},
	} {
		s = r.from.ReplaceAllString(s, r.to)
	}
	return s
}
