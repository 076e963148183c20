package trace

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// parsed is a trace as a viewer reads it.
type parsed struct {
	Unit   string                `json:"displayTimeUnit"`
	Other  struct{ Lost string } `json:"otherData"`
	Events []struct {
		Ph, Name, Cat, S string
		PID, TID, ID     int
		TS, Dur          float64
		Args             map[string]any
	} `json:"traceEvents"`
}

func report(t *testing.T, e *Events) parsed {
	t.Helper()
	var b bytes.Buffer
	if err := e.Report(&b); err != nil {
		t.Fatal(err)
	}
	var p parsed
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	return p
}

func TestEvents(t *testing.T) {
	e := NewEvents(100, nil)
	th := threads(t, 2)
	th[0].SetName(`a "name"`)
	one := e.Thread(th[0])
	fork := call0(unix.SYS_FORK)
	one.Enter(fork)
	two := e.Thread(th[1])
	one.Exit(fork, uint64(th[1].ID()), nil)

	wait := call0(unix.SYS_WAIT4, 2)
	one.Enter(wait)
	begin := time.Now()
	time.Sleep(2 * time.Millisecond)
	one.Waited(procmgr.Blocked, begin)
	one.Exit(wait, 0, task.RestartSys)
	one.Signal(&procmgr.SigInfo{Signo: int32(unix.SIGCHLD), Code: procmgr.CLDExited})

	two.(task.FaultTracer).Fault(0x1000, hostarch.Write, time.Now(), nil)
	two.(task.FaultTracer).Fault(0x2000, hostarch.Execute, time.Now(), unix.EFAULT)
	two.Waited(procmgr.Stopped, time.Now())
	two.End(procmgr.SignalStatus(unix.SIGKILL))

	p := report(t, e)
	if p.Unit != "ns" || p.Other.Lost != "0" {
		t.Errorf("unit %q, lost %q", p.Unit, p.Other.Lost)
	}
	var got []string
	for _, ev := range p.Events {
		args, _ := json.Marshal(ev.Args)
		got = append(got, strings.Join([]string{ev.Ph, ev.Cat, ev.Name, string("0123456789"[ev.TID]), string(args)}, " "))
		switch {
		case ev.PID != ev.TID:
			t.Errorf("%s: pid %d, tid %d", ev.Name, ev.PID, ev.TID)
		case ev.TS < 0 || ev.Dur < 0:
			t.Errorf("%s: ts %v, dur %v", ev.Name, ev.TS, ev.Dur)
		case ev.Name == "blocked" && ev.Dur < 2000:
			t.Errorf("blocked for %v µs", ev.Dur)
		}
	}
	want := []string{
		`M  process_name 1 {"name":"a \"name\""}`,
		`M  thread_name 1 {"name":"a \"name\""}`,
		`M  process_name 2 {"name":"one"}`,
		`M  thread_name 2 {"name":"one"}`,
		`i life start 1 null`,
		`i life start 2 null`,
		`f fork fork 2 null`,
		`X syscall fork 1 {"args":"0x0, 0x0, 0x0","result":"2"}`,
		`s fork fork 1 null`,
		`X wait blocked 1 null`,
		`X syscall wait4 1 {"args":"0x2, 0x0, 0x0","result":"EINTR"}`,
		`i signal SIGCHLD 1 {"si_code":1}`,
		`X fault page fault 2 {"access":"write","addr":"0x1000"}`,
		`X fault page fault 2 {"access":"execute","addr":"0x2000","result":"signal"}`,
		`X wait stopped 2 null`,
		`i life killed by SIGKILL 2 null`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A wait lies within its call.
	var call, blocked [2]float64
	for _, ev := range p.Events {
		switch ev.Name {
		case "wait4":
			call = [2]float64{ev.TS, ev.TS + ev.Dur}
		case "blocked":
			blocked = [2]float64{ev.TS, ev.TS + ev.Dur}
		}
	}
	if blocked[0] < call[0] || blocked[1] > call[1] {
		t.Errorf("blocked %v in a call %v", blocked, call)
	}
}

// The ring keeps the last events.
func TestEventsBounded(t *testing.T) {
	const max = 10
	e := NewEvents(max, nil)
	one := e.Thread(threads(t, 1)[0])
	c := call0(unix.SYS_GETPID)
	for i := range uint64(25) {
		one.Enter(c)
		one.Exit(c, i, nil)
	}
	p := report(t, e)
	if p.Other.Lost != "16" { // with the start
		t.Errorf("lost %s", p.Other.Lost)
	}
	var results []string
	last := 0.0
	for _, ev := range p.Events {
		if ev.Ph != "X" {
			continue
		}
		results = append(results, ev.Args["result"].(string))
		if ev.TS < last {
			t.Errorf("time goes back: %v after %v", ev.TS, last)
		}
		last = ev.TS
	}
	if diff := cmp.Diff(strings.Fields("15 16 17 18 19 20 21 22 23 24"), results); diff != "" {
		t.Error(diff)
	}
}

// Paths are kept, and are no memory of the guest's any more.
func TestEventsPaths(t *testing.T) {
	e := NewEvents(10, nil)
	tr := e.Thread(threads(t, 1)[0]).(*eventThread)
	m := newMemory()
	c := call0(unix.SYS_OPENAT, ^uint64(99), m.str("/etc/"+strings.Repeat("long", 100)), unix.O_RDONLY)
	tr.enter(c.NR, c.Args, m)
	tr.Exit(c, 3, nil)
	p := report(t, e)
	text := p.Events[len(p.Events)-1].Args["args"].(string)
	if want := `AT_FDCWD, "/etc/longlong`; !strings.HasPrefix(text, want) || len(text) != maxText {
		t.Errorf("%q (%d bytes)", text, len(text))
	}
}

func TestEventsConcurrent(t *testing.T) {
	e := NewEvents(50, nil)
	var wg sync.WaitGroup
	for _, th := range threads(t, 4) {
		wg.Go(func() {
			tr := e.Thread(th)
			c := call0(unix.SYS_GETPID)
			for range 100 {
				tr.Enter(c)
				tr.Exit(c, 1, nil)
			}
			tr.End(0)
		})
	}
	for range 5 {
		report(t, e)
	}
	wg.Wait()
	if n := len(report(t, e).Events); n < 50 {
		t.Errorf("%d events", n)
	}
}

// An event without a path takes no memory but its place in the ring.
func TestEventsAllocate(t *testing.T) {
	e := NewEvents(10, nil)
	one := e.Thread(threads(t, 1)[0])
	c := call0(unix.SYS_GETPID)
	fill := func() {
		one.Enter(c)
		one.Exit(c, 1, nil)
		one.Waited(procmgr.Blocked, time.Now())
	}
	for range 10 {
		fill()
	}
	if n := testing.AllocsPerRun(100, fill); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSummary(t *testing.T) {
	s := NewSummary(task.Table{1: {Name: "other"}})
	one := s.Thread(threads(t, 1)[0])
	for i := range 5 {
		c := call0(unix.SYS_READ)
		one.Enter(c)
		var err error
		if i < 2 {
			err = unix.EAGAIN
		}
		one.Exit(c, 0, err)
	}
	slow := call0(unix.SYS_PAUSE)
	one.Enter(slow)
	time.Sleep(5 * time.Millisecond)
	one.Exit(slow, 0, task.RestartNoHand)
	for _, nr := range []uint64{5000, 6000, ^uint64(0)} {
		one.Enter(call0(nr))
		one.Exit(call0(nr), 0, unix.ENOSYS)
	}
	var b bytes.Buffer
	if err := s.Report(&b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		if len(f) > 3 && f[0] != "%" && f[0][0] != '-' {
			got = append(got, strings.Join(f[3:], " "))
		}
	}
	if len(got) != 4 || got[0] != "1 1 pause" || got[3] != "9 6 total" {
		t.Errorf("%q in\n%s", got, b.String())
	}
	for _, want := range []string{"5 2 read", "3 3 (unknown)"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// All of several tracers hear of everything that they can.
func TestJoin(t *testing.T) {
	var out output
	s, e := NewStrace(&out, nil), NewEvents(10, nil)
	if Join() != nil || Join(s) != task.Tracer(s) {
		t.Error("of none, or of one")
	}
	one := Join(s, e).Thread(threads(t, 1)[0])
	one.(task.ProgramTracer).Program(&task.ExecArgs{Path: "/x"}, 0)
	c := call0(unix.SYS_GETPID)
	one.Enter(c)
	one.Exit(c, 1, nil)
	one.Waited(procmgr.Blocked, time.Now())
	one.(task.FaultTracer).Fault(0, hostarch.Read, time.Now(), nil)
	one.Signal(&procmgr.SigInfo{Signo: 1})
	one.End(0)
	for _, want := range []string{"execve", "getpid", "SIGHUP", "exited"} {
		if !strings.Contains(out.text(), want) {
			t.Errorf("strace has no %s: %s", want, out.text())
		}
	}
	kinds := map[eventKind]bool{}
	for _, ev := range e.ring {
		kinds[ev.kind] = true
	}
	if len(kinds) != 6 {
		t.Errorf("events: %v", kinds)
	}
}

func BenchmarkEvents(b *testing.B) {
	e := NewEvents(1<<16, nil)
	tb := procmgr.NewTable(procmgr.Config{})
	p, err := tb.CreateProcess(nil, "one", 0)
	if err != nil {
		b.Fatal(err)
	}
	one := e.Thread(p.Leader())
	c := call0(unix.SYS_GETPID)
	b.ReportAllocs()
	for b.Loop() {
		one.Enter(c)
		one.Exit(c, 1, nil)
	}
}
