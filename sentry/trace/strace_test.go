package trace

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// output collects what is written, each Write by itself.
type output struct {
	mu     sync.Mutex
	writes []string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, string(p))
	return len(p), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.writes, "")
}

// threads makes n processes of a table, pids 1 to n.
func threads(t *testing.T, n int) []*procmgr.Thread {
	t.Helper()
	tb := procmgr.NewTable(procmgr.Config{})
	p, err := tb.CreateProcess(nil, "one", 0)
	if err != nil {
		t.Fatal(err)
	}
	list := []*procmgr.Thread{p.Leader()}
	for len(list) < n {
		th, err := tb.Fork(p.Leader(), procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, th)
	}
	return list
}

func call0(nr uint64, args ...uint64) *task.Call {
	c := &task.Call{NR: nr}
	copy(c.Args[:], args)
	return c
}

func TestInterleaving(t *testing.T) {
	var out output
	s := NewStrace(&out, nil)
	th := threads(t, 2)
	one := s.Thread(th[0])
	getpid := call0(unix.SYS_GETPID)
	one.Enter(getpid)
	one.Exit(getpid, 1, nil)

	// Another one comes while a call is under way.
	fork := call0(unix.SYS_FORK)
	one.Enter(fork)
	two := s.Thread(th[1])
	two.Enter(getpid)
	two.Exit(getpid, 2, nil)
	one.Exit(fork, 2, nil)

	// Two calls cross.
	read, wait := call0(unix.SYS_READ, 3, 0, 10), call0(unix.SYS_WAIT4, ^uint64(0))
	one.Enter(wait)
	two.Enter(read)
	one.Exit(wait, 0, task.RestartSys)
	one.Signal(&procmgr.SigInfo{Signo: int32(unix.SIGUSR1), Code: procmgr.SIUser, PID: 2, UID: 5})
	two.Exit(read, 0, unix.EFAULT)
	exit := call0(unix.SYS_EXIT_GROUP, 3)
	two.Enter(exit)
	two.Exit(exit, 0, nil)
	two.End(procmgr.ExitStatus(3))

	// Alone again.
	one.Enter(getpid)
	one.Exit(getpid, 1, nil)
	one.Enter(read)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	one.End(procmgr.SignalStatus(unix.SIGKILL)) // after Close: nothing

	want := `getpid()                                = 1
strace: Process 2 attached
fork( <unfinished ...>
[pid     2] getpid()                    = 2
[pid     1] <... fork resumed>)         = 2
[pid     1] wait4(-1,  <unfinished ...>
[pid     2] read(3,  <unfinished ...>
[pid     1] <... wait4 resumed>NULL, 0, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
[pid     1] --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=2, si_uid=5} ---
[pid     2] <... read resumed>NULL, 10) = -1 EFAULT (Bad address)
[pid     2] exit_group(3)               = ?
[pid     2] +++ exited with 3 +++
getpid()                                = 1
read(3,  <unfinished ...>
`
	if diff := cmp.Diff(want, out.text()); diff != "" {
		t.Error(diff)
	}
	for _, w := range out.writes {
		if strings.Count(w, "\n") != 1 || !strings.HasSuffix(w, "\n") {
			t.Errorf("a write that is no line: %q", w)
		}
	}
}

// A call that takes long is shown before it returns.
func TestLate(t *testing.T) {
	var out output
	s := NewStrace(&out, nil)
	one := s.Thread(threads(t, 1)[0])
	pause := call0(unix.SYS_PAUSE)
	one.Enter(pause)
	if text := out.text(); text != "" {
		t.Errorf("at once: %q", text)
	}
	for begin := time.Now(); out.text() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatal("never shown")
		}
	}
	one.Exit(pause, 0, task.RestartNoHand)
	want := "pause( <unfinished ...>\n" +
		"<... pause resumed>)                    = ? ERESTARTNOHAND (To be restarted if no handler)\n"
	if diff := cmp.Diff(want, out.text()); diff != "" {
		t.Error(diff)
	}
	s.Close()
}

func TestRestartSyscall(t *testing.T) {
	var out output
	s := NewStrace(&out, nil)
	one := s.Thread(threads(t, 1)[0])
	for _, c := range []*task.Call{call0(unix.SYS_PAUSE), call0(unix.SYS_RESTART_SYSCALL)} {
		one.Enter(c)
		one.Exit(c, 0, task.RestartBlock)
	}
	const want = "restart_syscall(<... resuming interrupted pause ...>) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)\n"
	if !strings.HasSuffix(out.text(), want) {
		t.Error(out.text())
	}
}

func TestProgram(t *testing.T) {
	var out output
	one := NewStrace(&out, nil).Thread(threads(t, 1)[0])
	one.(task.ProgramTracer).Program(&task.ExecArgs{Path: "/bin/a b", Argv: []string{"a", strings.Repeat("x", 40)}, Env: []string{"A=1"}}, 0x7ff0)
	want := `execve("/bin/a b", ["a", "` + strings.Repeat("x", 32) + "\"...], 0x7ff0 /* 1 var */) = 0\n"
	if diff := cmp.Diff(want, out.text()); diff != "" {
		t.Error(diff)
	}
}

func TestSignals(t *testing.T) {
	tests := []struct {
		info procmgr.SigInfo
		want string
	}{
		{procmgr.SigInfo{Signo: 17, Code: procmgr.CLDExited, PID: 5, UID: 1000, Status: 7, UTime: 1},
			"{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=5, si_uid=1000, si_status=7, si_utime=1 /* 0.01 s */, si_stime=0}"},
		{procmgr.SigInfo{Signo: 17, Code: procmgr.CLDKilled, PID: 5, Status: 9},
			"{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=0, si_status=SIGKILL, si_utime=0, si_stime=0}"},
		{procmgr.SigInfo{Signo: 11, Code: 1, Addr: 16}, "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10}"},
		{procmgr.SigInfo{Signo: 14, Code: procmgr.SIKernel}, "{si_signo=SIGALRM, si_code=SI_KERNEL}"},
		{procmgr.SigInfo{Signo: 34, Code: procmgr.SIQueue, PID: 1, Value: 5},
			"{si_signo=SIGRT_2, si_code=SI_QUEUE, si_pid=1, si_uid=0, si_int=5, si_ptr=0x5}"},
		{procmgr.SigInfo{Signo: 31, Code: 1, Addr: 16, Syscall: 39, Arch: 0xc000003e},
			"{si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x10, si_syscall=39, si_arch=0xc000003e}"},
		{procmgr.SigInfo{Signo: 11, Code: 77}, "{si_signo=SIGSEGV, si_code=0x4d /* SEGV_??? */, si_addr=NULL}"},
	}
	for _, tt := range tests {
		var out output
		NewStrace(&out, nil).Thread(threads(t, 1)[0]).Signal(&tt.info)
		var l line
		l.signal(uint64(tt.info.Signo))
		if diff := cmp.Diff("--- "+string(l.buf)+" "+tt.want+" ---\n", out.text()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFilter(t *testing.T) {
	const beyond = 5000
	tests := []struct {
		exprs  []string
		want   []uint64
		wanted bool // a call beyond the table
		not    []uint64
	}{
		{nil, []uint64{unix.SYS_READ}, true, nil},
		{[]string{"trace=open,read"}, []uint64{unix.SYS_READ, unix.SYS_OPEN}, false, []uint64{unix.SYS_OPENAT, unix.SYS_WRITE}},
		{[]string{"read"}, []uint64{unix.SYS_READ}, false, []uint64{unix.SYS_OPENAT, unix.SYS_WRITE}},
		{[]string{"trace=!read"}, []uint64{unix.SYS_WRITE}, true, []uint64{unix.SYS_READ}},
		{[]string{"trace=%file"}, []uint64{unix.SYS_OPENAT, unix.SYS_EXECVE}, false, []uint64{unix.SYS_READ}},
		{[]string{"trace=/^sched_"}, []uint64{unix.SYS_SCHED_YIELD}, false, []uint64{unix.SYS_READ}},
		{[]string{"trace=none"}, nil, false, []uint64{unix.SYS_READ}},
		{[]string{"trace=read", "trace=all"}, []uint64{unix.SYS_WRITE}, true, nil},
		{[]string{"trace=%net,%%stat"}, []uint64{unix.SYS_STATX}, false, []uint64{unix.SYS_READ}},
	}
	for _, tt := range tests {
		var f Filter
		var failed error
		for _, e := range tt.exprs {
			failed = errors.Join(failed, f.Set(e))
		}
		if failed != nil {
			t.Errorf("%v: %v", tt.exprs, failed)
			continue
		}
		for _, nr := range tt.want {
			if !f.wantsCall(nr) {
				t.Errorf("%v: %s is not wanted", tt.exprs, calls[nr].name)
			}
		}
		for _, nr := range tt.not {
			if f.wantsCall(nr) {
				t.Errorf("%v: %s is wanted", tt.exprs, calls[nr].name)
			}
		}
		if got := f.wantsCall(beyond); got != tt.wanted {
			t.Errorf("%v: an unknown call: %v", tt.exprs, got)
		}
	}
	for _, bad := range []string{"trace=nothing", "trace=/(", "trace=%nothing", "abbrev=none", "signal=SIGNOTHING", "trace="} {
		if err := new(Filter).Set(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	var f Filter
	if err := f.Set("signal=!chld,SIGRT_3"); err != nil {
		t.Fatal(err)
	}
	for sig, want := range map[unix.Signal]bool{unix.SIGCHLD: false, 35: false, unix.SIGTERM: true} {
		if got := f.wantsSignal(sig); got != want {
			t.Errorf("signal %d: %v", sig, got)
		}
	}
}

// What is filtered out is not printed, split or not.
func TestFiltered(t *testing.T) {
	var out output
	s := NewStrace(&out, nil)
	s.Filter = &Filter{}
	if err := s.Filter.Set("trace=read"); err != nil {
		t.Fatal(err)
	}
	if err := s.Filter.Set("signal=none"); err != nil {
		t.Fatal(err)
	}
	one := s.Thread(threads(t, 1)[0])
	read, getpid := call0(unix.SYS_READ, 3, 0, 1), call0(unix.SYS_GETPID)
	for _, c := range []*task.Call{read, getpid} {
		one.Enter(c)
		one.Exit(c, 0, nil)
	}
	one.Signal(&procmgr.SigInfo{Signo: 10})
	if got, want := out.text(), "read(3, NULL, 1)                        = 0\n"; got != want {
		t.Errorf("%q", got)
	}
}

// Threads may print at the same time; lines stay whole.
func TestConcurrent(t *testing.T) {
	var out output
	s := NewStrace(&out, nil)
	var wg sync.WaitGroup
	const n, rounds = 8, 200
	for _, th := range threads(t, n) {
		wg.Go(func() {
			tr := s.Thread(th)
			c := call0(unix.SYS_READ, 3, 0, 1)
			for range rounds {
				tr.Enter(c)
				tr.Exit(c, 0, nil)
			}
			tr.End(0)
		})
	}
	wg.Wait()
	s.Close()
	resumed, whole, unfinished := 0, 0, 0
	for line := range strings.Lines(out.text()) {
		switch {
		case strings.Contains(line, "resumed>NULL, 1)"):
			resumed++
		case strings.Contains(line, "unfinished"):
			unfinished++
		case strings.Contains(line, "read(3, NULL, 1)"):
			whole++
		case strings.Contains(line, "attached"), strings.Contains(line, "+++ exited"):
		default:
			t.Errorf("line %q", line)
		}
	}
	if resumed != unfinished || resumed+whole != n*rounds {
		t.Errorf("%d whole, %d unfinished, %d resumed", whole, unfinished, resumed)
	}
}

// The first error of the output is what Close returns.
func TestOutputFails(t *testing.T) {
	s := NewStrace(failing{}, nil)
	one := s.Thread(threads(t, 1)[0])
	one.End(0)
	if err := s.Close(); err != unix.ENOSPC {
		t.Errorf("Close: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func BenchmarkCall(b *testing.B) {
	m := newMemory()
	buf := m.put(bytes.Repeat([]byte("abc\n"), 20))
	for b.Loop() {
		format(m, unix.SYS_WRITE, [6]uint64{1, buf, 80}, 80, nil)
	}
}
