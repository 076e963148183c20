package procmgr_test

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// guest runs a thread, as a kernel would do it around guest code: program is called
// whenever there is nothing else to do, until the thread has to exit. What it handles
// signals with comes from the caller.
func guest(t *procmgr.Thread, program func(*procmgr.Thread), handler func(procmgr.SigInfo)) <-chan struct{} {
	done := make(chan struct{})
	t.Start()
	go func() {
		defer close(done)
		t.SetRunner(goroutine{})
		for {
			switch w := t.NextWork(); w.Kind {
			case procmgr.WorkExit:
				t.FinishExit()
				return
			case procmgr.WorkDeliver:
				handler(w.Info)
			default:
				program(t)
			}
		}
	}()
	return done
}

// goroutine is the Runner of threads that are nothing but goroutines.
type goroutine struct{}

func (goroutine) Interrupt() {}

// newInit makes a table with an init.
func newInit() (*procmgr.Table, *procmgr.Thread) {
	table := procmgr.NewTable(procmgr.Config{})
	p, err := table.CreateProcess(nil, "init", 0)
	if err != nil {
		panic(err)
	}
	init := p.Leader()
	init.SetRunner(goroutine{})
	return table, init
}

// The life of a process: it is forked, executes a program, ends, and is waited for.
func Example() {
	table, init := newInit()

	child, err := table.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		panic(err)
	}
	guest(child, func(t *procmgr.Thread) {
		if err := t.Exec(procmgr.NewProgram{Name: "true"}); err != nil {
			panic(err)
		}
		fmt.Println("process", table.Getpid(t), "of", table.Getppid(t), "runs", t.Name())
		t.ExitGroup(procmgr.ExitStatus(3))
	}, nil)

	r, err := init.Waitpid(child.ID(), 0)
	fmt.Println("process", r.PID, "ended with", r.Status, err)
	_, err = init.Waitpid(-1, 0)
	fmt.Println("there are", table.ProcessCount(), "processes:", err)
	// Output:
	// process 2 of 1 runs true
	// process 2 ended with 3 <nil>
	// there are 1 processes: no child processes
}

func ExampleTable_CreateProcess() {
	table := procmgr.NewTable(procmgr.Config{MaxPID: 1000})
	init, err := table.CreateProcess(nil, "init", 0)
	if err != nil {
		panic(err)
	}
	child, err := table.CreateProcess(init, "a child with a long name", 10)
	if err != nil {
		panic(err)
	}
	t := child.Leader()
	fmt.Println(child.ID(), t.Name(), t.Nice(), child.State(), child.Parent() == init)
	_, err = table.CreateProcess(nil, "another init", 0)
	fmt.Println(err)
	// Output:
	// 2 a child with a  10 ready true
	// file exists
}

func ExampleTable_Fork() {
	table, init := newInit()
	// A process of its own.
	child, _ := table.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	fmt.Println("new:", table.GetProcess(child.ID()) == nil)
	child.Start()
	fmt.Println("started:", table.GetProcess(child.ID()).ID())

	// One more thread of it.
	thread, _ := table.Fork(child, procmgr.CloneOptions{
		Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM,
	})
	thread.Start()
	fmt.Println("thread", thread.ID(), "of process", thread.Process().ID())

	// Flags that do not go together.
	_, err := table.Fork(child, procmgr.CloneOptions{Flags: unix.CLONE_THREAD})
	fmt.Println(err == unix.EINVAL)
	// Output:
	// new: true
	// started: 2
	// thread 3 of process 2
	// true
}

// What fork copies besides the process manager's entry may fail: then there never was
// a child.
func ExampleThread_Abort() {
	table, init := newInit()
	child, _ := table.Fork(init, procmgr.CloneOptions{})
	child.Abort()
	fmt.Println(table.ProcessCount(), child.State())
	// Output: 1 dead
}

func ExampleThread_Exec() {
	table, init := newInit()
	child, _ := table.CreateProcess(init.Process(), "sh", 0)
	t := child.Leader()
	// What a program catches, the next one does not know of; what it ignores stays so.
	child.SetAction(unix.SIGINT, &procmgr.SigAction{Handler: 0x401000})
	child.SetAction(unix.SIGHUP, &procmgr.SigAction{Handler: procmgr.SigIgn})

	// passwd(1) belongs to root and has the set-user-ID bit; a user runs it.
	user := &procmgr.Credentials{RUID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000, CapBounding: procmgr.AllCaps}
	t.SetCredentials(user)
	creds, secure, err := t.Credentials().ForExec(procmgr.ExecFile{SetUID: 0, SetGID: procmgr.NoID})
	if err != nil {
		panic(err)
	}
	err = t.Exec(procmgr.NewProgram{Name: "passwd", Credentials: creds, Secure: secure})

	ignored, caught := child.Actions()
	fmt.Println(err, ignored == procmgr.SetOf(unix.SIGHUP), caught == 0)
	fmt.Println(t.Credentials().RUID, t.Credentials().EUID, t.Credentials().HasCap(unix.CAP_CHOWN), secure, child.Dumpable())
	// Output:
	// <nil> true true
	// 1000 0 true true 0
}

// One thread waits while others end, stop and go on.
func ExampleThread_Wait() {
	table, init := newInit()
	child, _ := table.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	guest(child, func(t *procmgr.Thread) { t.Block(nil, time.Time{}) }, nil)

	events := unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGTERM} {
		table.Kill(init, child.ID(), sig)
		r, err := init.Wait(procmgr.WaitOptions{Kind: procmgr.WaitPID, ID: child.ID(), Options: events})
		ws := unix.WaitStatus(r.WaitStatus)
		fmt.Println(ws.Stopped(), ws.Continued(), ws.Signaled(), err)
	}
	_, err := init.Wait(procmgr.WaitOptions{Options: events | unix.WNOHANG})
	fmt.Println(err)
	// Output:
	// true false false <nil>
	// false true false <nil>
	// false false true <nil>
	// no child processes
}

func ExampleThread_Waitpid() {
	table, init := newInit()
	child, _ := table.CreateProcess(init.Process(), "child", 0)
	r, err := init.Waitpid(-1, unix.WNOHANG)
	fmt.Println(r.PID, err) // it runs

	child.Leader().ExitGroup(procmgr.ExitStatus(1))
	child.Leader().FinishExit()
	r, err = init.Waitpid(-1, 0)
	fmt.Println(r.PID, r.Status, err)
	// Output:
	// 0 <nil>
	// 2 1 <nil>
}

// The threads of a process exit one by one, or all together. The last one leaves a
// zombie.
func ExampleThread_Exit() {
	table, init := newInit()
	first, _ := table.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	wait := func(t *procmgr.Thread) { t.Block(nil, time.Time{}) }
	guest(first, wait, nil)
	second, _ := table.Fork(first, procmgr.CloneOptions{
		Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM,
	})
	done := guest(second, func(t *procmgr.Thread) { t.Exit(procmgr.ExitStatus(0)) }, nil)
	<-done
	fmt.Println(second.State(), first.Process().ThreadCount(), first.Process().Ended())

	third, _ := table.Fork(first, procmgr.CloneOptions{
		Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM,
	})
	guest(third, func(t *procmgr.Thread) { t.ExitGroup(procmgr.ExitStatus(7)) }, nil)
	r, _ := init.Wait(procmgr.WaitOptions{Options: unix.WEXITED | unix.WNOWAIT})
	fmt.Println(first.Process().State(), r.Status)
	init.Waitpid(-1, 0)
	fmt.Println(first.Process().State(), table.ThreadCount())
	// Output:
	// dead 1 false
	// zombie 7
	// dead 1
}

// Ids are as a thread sees them: in its pid namespace.
func ExampleTable_Getpid() {
	table, init := newInit()
	outer, _ := table.CreateProcess(init.Process(), "outer", 0)
	inner, _ := table.Fork(outer.Leader(), procmgr.CloneOptions{Flags: unix.CLONE_NEWPID})
	inner.Start()
	fmt.Println(table.Getpid(inner), table.Getppid(inner), "is", inner.ID(), "outside:", inner.Process().IDs())
	// Output: 1 0 is 3 outside: [3 1]
}

func ExampleTable_Getppid() {
	table, init := newInit()
	parent, _ := table.CreateProcess(init.Process(), "parent", 0)
	child, _ := table.CreateProcess(parent, "child", 0)
	fmt.Println(table.Getppid(child.Leader()))
	parent.Leader().ExitGroup(0)
	parent.Leader().FinishExit()
	fmt.Println(table.Getppid(child.Leader())) // init adopted it
	// Output:
	// 2
	// 1
}

func ExampleTable_GetProcess() {
	table, init := newInit()
	p, _ := table.CreateProcess(init.Process(), "p", 0)
	fmt.Println(table.GetProcess(2) == p, table.GetProcess(3) == nil)
	// Output: true true
}

func ExampleTable_ListProcesses() {
	table, init := newInit()
	shell, _ := table.CreateProcess(init.Process(), "sh", 0)
	table.Setsid(shell)
	job, _ := table.CreateProcess(shell, "make", 5)
	table.Setpgid(shell, job.ID(), 0)
	fmt.Println("PID PPID PGID SID NI STATE NAME")
	for _, p := range table.ListProcesses() {
		fmt.Printf("%3d %4d %4d %3d %2d %v %v\n", p.PID, p.Parent, p.Group, p.Session, p.Priority, p.State, p.Name)
	}
	fmt.Println(table.ProcessCount(), "processes")
	// Output:
	// PID PPID PGID SID NI STATE NAME
	//   1    0    1   1  0 running init
	//   2    1    2   2  0 ready sh
	//   3    2    3   2  5 ready make
	// 3 processes
}

// table is a small descriptor table.
type table map[int]bool

func (d table) AllocateFD(least int, limit uint64) (int, error) {
	for fd := least; uint64(fd) < limit; fd++ {
		if !d[fd] {
			d[fd] = true
			return fd, nil
		}
	}
	return -1, unix.EMFILE
}

func (d table) CloseFD(fd int) error {
	if !d[fd] {
		return unix.EBADF
	}
	delete(d, fd)
	return nil
}

func ExampleThread_AllocateFD() {
	procs, t := newInit()
	t.SetData(table{})
	procs.Prlimit(t, 0, unix.RLIMIT_NOFILE, &procmgr.Limit{Cur: 3, Max: 3})
	for range 4 {
		fmt.Println(t.AllocateFD(0))
	}
	fmt.Println(t.CloseFD(1), t.CloseFD(1))
	fmt.Println(t.AllocateFD(0))
	// Output:
	// 0 <nil>
	// 1 <nil>
	// 2 <nil>
	// -1 too many open files
	// <nil> bad file descriptor
	// 1 <nil>
}

// A signal is sent, and its handler runs. Another one, which nobody handles, ends the
// process.
func ExampleTable_Kill() {
	procs, init := newInit()
	child, _ := procs.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	child.Process().SetAction(unix.SIGUSR1, &procmgr.SigAction{Handler: 0x401000})
	handled := make(chan procmgr.SigInfo)
	guest(child, func(t *procmgr.Thread) { t.Block(nil, time.Time{}) }, func(i procmgr.SigInfo) { handled <- i })

	procs.Kill(init, child.ID(), unix.SIGUSR1)
	i := <-handled
	fmt.Println("signal", i.Signo, "from process", i.PID)
	procs.Kill(init, child.ID(), unix.SIGINT)
	r, _ := init.Waitpid(-1, 0)
	fmt.Println("ended by signal", r.Status)
	fmt.Println(procs.Kill(init, child.ID(), 0))
	// Output:
	// signal 10 from process 1
	// ended by signal 2
	// no such process
}

func ExampleThread_Sigtimedwait() {
	procs, init := newInit()
	set := procmgr.SetOf(unix.SIGUSR1, 40)
	init.SetSignalMask(set)
	procs.Sigqueue(init, 1, 0, procmgr.SigInfo{Signo: 40, Code: procmgr.SIQueue, Value: 1})
	procs.Sigqueue(init, 1, 0, procmgr.SigInfo{Signo: 40, Code: procmgr.SIQueue, Value: 2})
	for range 3 {
		i, err := init.Sigtimedwait(set, time.Now())
		fmt.Println(i.Signo, i.Value, err)
	}
	// Output:
	// 40 1 <nil>
	// 40 2 <nil>
	// 0 0 resource temporarily unavailable
}

// A shell makes a job and puts it into the foreground of its terminal.
func ExampleTable_SetForeground() {
	procs, init := newInit()
	shell, _ := procs.CreateProcess(init.Process(), "sh", 0)
	procs.Setsid(shell)
	var terminal procmgr.Terminal
	procs.SetTerminal(shell, &terminal, false)
	job, _ := procs.CreateProcess(shell, "vi", 0)
	procs.Setpgid(shell, job.ID(), job.ID())
	fmt.Println(procs.Foreground(&terminal))
	fmt.Println(procs.SetForeground(shell, &terminal, job.ID()), procs.Foreground(&terminal))
	// A shell that writes from the background is stopped.
	fmt.Println(procs.CheckTerminal(shell.Leader(), &terminal, unix.SIGTTIN))
	// Output:
	// 2
	// <nil> 3
	// input/output error
}

func ExampleTable_Prlimit() {
	procs, init := newInit()
	p, _ := procs.CreateProcess(init.Process(), "p", 0)
	old, err := procs.Prlimit(init, p.ID(), unix.RLIMIT_CORE, &procmgr.Limit{Cur: 1 << 20, Max: 1 << 20})
	fmt.Println(old.Cur, old.Max == procmgr.Infinity, err)
	fmt.Println(p.Limits().Get(unix.RLIMIT_CORE))
	// Output:
	// 0 true <nil>
	// {1048576 1048576}
}

func ExampleTable_Setpriority() {
	procs, init := newInit()
	p, _ := procs.CreateProcess(init.Process(), "p", 0)
	fmt.Println(procs.Setpriority(init, unix.PRIO_PROCESS, p.ID(), 5), p.Leader().Nice())
	p.Leader().SetCredentials(&procmgr.Credentials{RUID: 1000, EUID: 1000, SUID: 1000})
	fmt.Println(procs.Setpriority(p.Leader(), unix.PRIO_PROCESS, 0, 0))
	// Output:
	// <nil> 5
	// permission denied
}

// With one run slot, the thread of the higher priority runs.
func ExampleTable_SetScheduler() {
	procs := procmgr.NewTable(procmgr.Config{Slots: 1})
	p, _ := procs.CreateProcess(nil, "init", 0)
	init := p.Leader()
	init.SetRunner(goroutine{})
	started := make(chan struct{}, 1)
	child, _ := procs.Fork(init, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	fmt.Println(procs.SetScheduler(init, child, procmgr.SchedFIFO, 50, false))
	guest(child, func(t *procmgr.Thread) {
		fmt.Println("it runs, and init is", init.State())
		started <- struct{}{}
		t.ExitGroup(0)
	}, nil)
	for !init.Pending() { // until init has to make room
		time.Sleep(time.Millisecond)
	}
	init.NextWork()
	<-started
	// Output:
	// <nil>
	// it runs, and init is ready
}

func ExampleProcess_SetChildSubreaper() {
	procs, init := newInit()
	manager, _ := procs.CreateProcess(init.Process(), "manager", 0)
	manager.SetChildSubreaper(true)
	service, _ := procs.CreateProcess(manager, "service", 0)
	daemon, _ := procs.CreateProcess(service, "daemon", 0)
	service.Leader().ExitGroup(0)
	service.Leader().FinishExit()
	fmt.Println(daemon.Parent() == manager)
	// Output: true
}

func ExampleCredentials_Setresuid() {
	root := procmgr.RootCredentials()
	user, err := root.Setresuid(1000, 1000, 1000)
	fmt.Println(user.EUID, user.HasCap(unix.CAP_CHOWN), err)
	_, err = user.Setresuid(0, 0, 0)
	fmt.Println(err)
	// Output:
	// 1000 false <nil>
	// operation not permitted
}

func ExampleThread_UnshareNamespace() {
	procs, init := newInit()
	p, _ := procs.CreateProcess(init.Process(), "unshare", 0)
	fmt.Println(p.Leader().UnshareNamespace())
	sh, _ := procs.CreateProcess(p, "sh", 0)
	ls, _ := procs.CreateProcess(sh, "ls", 0)
	ns := sh.Namespace()
	ns.ForEach(func(p *procmgr.Process) { fmt.Println(p.IDIn(ns), p.Leader().Name(), p.ID()) })
	fmt.Println(procs.Kill(ls.Leader(), 3, unix.SIGKILL)) // there is no 3 in there
	// Output:
	// <nil>
	// 1 sh 3
	// 2 ls 4
	// no such process
}
