// Package strace compares what --strace prints with what the host's strace prints
// of the same program, and looks at the runner's other ways to trace.
package strace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runsc-lite/tests/harness"
)

func calls(t *testing.T) string {
	return harness.Program(t, "RUNSC_LITE_STRACE_CALLS", "tests/strace/calls/calls.c")
}

// each runs fn for every platform.
func each(t *testing.T, fn func(t *testing.T, target harness.Target)) {
	t.Helper()
	targets := harness.Platforms(t)
	if len(targets) == 0 {
		t.Skip("no platform to test")
	}
	for _, target := range targets {
		t.Run(target.Name, func(t *testing.T) { fn(t, target) })
	}
}

func run(t *testing.T, target harness.Target, s harness.Spec) harness.Result {
	t.Helper()
	r, err := target.Run(s)
	if err != nil {
		t.Fatal(err)
	}
	if r.TimedOut {
		t.Fatalf("%q did not end; stdout %q, stderr %q", s.Args, r.Stdout, r.Stderr)
	}
	return r
}

// TestCompare runs programs under both.
func TestCompare(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("%v: apt-get install strace", err)
	}
	// Another version words some things otherwise; see TestDecode in sentry/trace.
	if v, err := exec.Command(strace, "-V").Output(); err != nil || !bytes.Contains(v, []byte("version 6.1\n")) {
		t.Skipf("strace is not version 6.1: %.40q, %v", v, err)
	}
	calls := calls(t)
	tests := map[string][]string{
		"files":       {calls, "files"},
		"descriptors": {calls, "descriptors"},
		"memory":      {calls, "memory"},
		"signals":     {calls, "signals"},
		"processes":   {calls, "processes"},
		"threads":     {calls, "threads"},
		"times":       {calls, "times"},
		"unknown":     {calls, "unknown"},
		"dynamic":     {"/bin/echo", "hello", "a\tb"},
		"script":      {"/bin/sh", "-c", "x=$(echo a); exec true $x"},
	}
	for name, argv := range tests {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(harness.Scratch(t), "log")
			native := harness.Spec{Args: append([]string{strace, "-f", "-o", log}, argv...), Dir: harness.Scratch(t)}
			nr := run(t, harness.Native, native)
			want := parse(t, log)
			each(t, func(t *testing.T, target harness.Target) {
				log := filepath.Join(harness.Scratch(t), "log")
				s := harness.Spec{Args: argv, Dir: native.Dir, Flags: []string{"--strace=" + log}}
				if name == "files" {
					s.Dir = harness.Scratch(t) // what the program makes is there natively
				}
				r := run(t, target, s)
				if diff := harness.Diff(nr, r); diff != "" {
					t.Errorf("traced: %s", diff)
				}
				compare(t, want, parse(t, log))
			})
		})
	}
}

// threadLog is what one thread did. Signals come when they come: they are apart.
type threadLog struct {
	Calls   []string
	Signals []string
}

// parse reads the output of strace -f -o: each line begins with the thread's id.
// Threads come in the order in which they are first seen.
func parse(t *testing.T, path string) []threadLog {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var threads []threadLog
	index := map[string]int{}
	begun := map[string]string{}
	for line := range strings.Lines(string(text)) {
		tid, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			t.Fatalf("line without an id: %q", line)
		}
		rest = strings.TrimLeft(rest, " ")
		i, known := index[tid]
		if !known {
			i = len(threads)
			index[tid] = i
			threads = append(threads, threadLog{})
		}
		if first, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			begun[tid] = first
			continue
		}
		if _, end, ok := strings.Cut(rest, " resumed>"); ok && strings.HasPrefix(rest, "<... ") {
			rest = begun[tid] + end
			delete(begun, tid)
		}
		rest = normal(rest)
		switch {
		case ignored.MatchString(rest):
		case strings.HasPrefix(rest, "---"), strings.HasPrefix(rest, "rt_sigreturn"):
			threads[i].Signals = append(threads[i].Signals, rest)
		default:
			threads[i].Calls = append(threads[i].Calls, rest)
		}
	}
	for tid, text := range begun {
		t.Errorf("thread %s: %s is never resumed", tid, text)
	}
	return threads
}

// ignored are the lines that may differ.
var ignored = regexp.MustCompile(`^(rseq\(` + // a Linux without it is a Linux
	`|futex\(.*FUTEX_WAIT_BITSET\|FUTEX_CLOCK_REALTIME` + // pthread_join, or it is too late to wait
	`|wait4\(-1, .*WNOHANG` + // what a shell does if SIGCHLD comes then
	`)`)

// normal replaces what differs from run to run.
func normal(line string) string {
	for _, n := range normalisations {
		line = n.find.ReplaceAllString(line, n.by)
	}
	return line
}

var normalisations = []struct {
	find *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\) +=`), ") ="},
	{regexp.MustCompile(`0x[0-9a-f]{5,}`), "PTR"},
	// Ids.
	{regexp.MustCompile(`^((?:tg|t)?kill|rt_(?:tg)?sigqueueinfo|wait4|waitid)\((P_PID, )?\d\d*(, \d+)?`), "$1($2 ID"},
	{regexp.MustCompile(`(si_pid=)\d+`), "${1}ID"},
	{regexp.MustCompile(`(parent_tid=)\[\d+\]`), "$1[ID]"},
	{regexp.MustCompile(`^((?:clone3?|v?fork|wait4|getpid|gettid|getppid|getpgrp|set_tid_address|rt_sigreturn)\(.*= )\d+$`), "${1}ID"},
	// Times and random bytes.
	{regexp.MustCompile(`(left |ru_utime=|ru_stime=|it_value=)\{tv_sec=\d+, tv_([un])sec=\d+\}`), "$1{TIME $2}"},
	{regexp.MustCompile(`(getrandom\()".*"`), "${1}RANDOM"},
	// What the file system's own is.
	{regexp.MustCompile(`(S_IFDIR\|\d+, st_size=)\d+`), "${1}SIZE"},
}

func compare(t *testing.T, want, got []threadLog) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d threads natively, %d inside", len(want), len(got))
	}
	for i := range min(len(want), len(got)) {
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("thread %d:\n%s", i, diff)
		}
	}
	n := 0
	for _, th := range got {
		n += len(th.Calls)
	}
	if n < 10 {
		t.Errorf("only %d calls", n)
	}
}

// To standard error, with what the program writes itself; filtered.
func TestStandardError(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		r := run(t, target, harness.Spec{
			Args:  []string{"/bin/sh", "-c", "echo err >&2; exit 3"},
			Flags: []string{"--strace", "--strace-filter=trace=exit_group,write", "--strace-filter=signal=none"},
		})
		const want = "err\n" +
			"write(1, \"err\\n\", 4)                    = 4\n" +
			"exit_group(3)                           = ?\n" +
			"+++ exited with 3 +++\n"
		if diff := cmp.Diff(want, string(r.Stderr)); diff != "" || r.Status != 3 {
			t.Errorf("status %d\n%s", r.Status, diff)
		}
	})
}

func TestSummary(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		file := filepath.Join(harness.Scratch(t), "summary")
		r := run(t, target, harness.Spec{
			Args:  []string{calls(t), "processes"},
			Flags: []string{"--strace-summary=" + file},
		})
		if len(r.Stderr) != 0 {
			t.Errorf("standard error: %s", r.Stderr)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`(?m)^ *[\d.]+ +\d+\.\d{6} +\d+ +4 +clone$`, `(?m)^ *[\d.]+ +[\d.]+ +\d+ +\d+ +\d+ prctl$`, `(?m)^100\.00 .* total$`} {
			if !regexp.MustCompile(want).Match(text) {
				t.Errorf("nothing like %s in\n%s", want, text)
			}
		}
	})
}

// A Chrome trace of several processes and threads.
func TestChromeTrace(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		file := filepath.Join(harness.Scratch(t), "trace.json")
		run(t, target, harness.Spec{
			Args:  []string{"/bin/sh", "-c", calls(t) + " threads; " + calls(t) + " processes"},
			Dir:   harness.Scratch(t),
			Flags: []string{"--trace=" + file},
		})
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var trace struct {
			TraceEvents []struct {
				Ph, Name, Cat string
				PID, TID, ID  int
				TS, Dur       float64
				Args          map[string]any
			}
		}
		if err := json.Unmarshal(text, &trace); err != nil {
			t.Fatal(err)
		}
		found := map[string]int{}
		type slice struct{ begin, end float64 }
		slices := map[int][]slice{}
		for _, e := range trace.TraceEvents {
			found[e.Ph+" "+e.Cat]++
			found[e.Name]++
			if e.Name == "thread_name" && e.PID != e.TID {
				found["thread"]++
			}
			if e.Ph == "M" {
				found[fmt.Sprint(e.Name, " ", e.Args["name"])]++
			}
			if e.Ph == "X" {
				slices[e.TID] = append(slices[e.TID], slice{e.TS, e.TS + e.Dur})
			}
		}
		for _, want := range []string{
			"X syscall", "X wait", "X fault", "i signal", "i life", "s fork", "f fork",
			"process_name sh", "process_name " + filepath.Base(calls(t)), "thread", "execve", "clone3", "blocked",
			"page fault", "SIGCHLD", "exited with 7", "killed by SIGKILL",
		} {
			if found[want] == 0 {
				t.Errorf("no %q", want)
			}
		}
		// Slices of a thread are nested or apart.
		for tid, list := range slices {
			for i, a := range list {
				for _, b := range list[:i] {
					if a.begin < b.begin && b.begin < a.end && a.end < b.end ||
						b.begin < a.begin && a.begin < b.end && b.end < a.end {
						t.Errorf("thread %d: %v crosses %v", tid, a, b)
					}
				}
			}
		}
	})
}

// Mistakes in the flags end the runner before the program runs.
func TestBadFlags(t *testing.T) {
	each(t, func(t *testing.T, target harness.Target) {
		for _, flags := range [][]string{
			{"--strace=/nonexistent/dir/file"},
			{"--trace=/nonexistent/dir/file"},
			{"--strace-filter=trace=read"}, // of what?
			{"--strace", "--strace-filter=trace=nothing"},
			{"--strace="},
		} {
			r := run(t, target, harness.Spec{Args: []string{"/bin/echo", "ran"}, Flags: flags})
			if r.Status == 0 || len(r.Stdout) != 0 || len(r.Stderr) == 0 {
				t.Errorf("%q: status %d, %q, %q", flags, r.Status, r.Stdout, r.Stderr)
			}
		}
	})
}
