package procmgr

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// populated makes a table with n processes: init, children of init, and children of
// those, 1000 for each.
func populated(b *testing.B, n int) (*Table, *Thread) {
	b.Helper()
	limits := DefaultLimits()
	limits[unix.RLIMIT_NPROC] = Limit{Infinity, Infinity}
	tb := NewTable(Config{MaxPID: MaxPID, Limits: &limits})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		b.Fatal(err)
	}
	parent := init.Leader()
	for i := 1; i < n; i++ {
		if i%1000 == 1 {
			parent = init.Leader()
		}
		th, err := tb.Fork(parent, CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			b.Fatal(err)
		}
		th.Start()
		if i%1000 == 1 {
			parent = th
		}
	}
	return tb, init.Leader()
}

var sizes = []int{1, 1000, 1_000_000}

func eachSize(b *testing.B, fn func(b *testing.B, tb *Table, t *Thread, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			if n > 1000 && testing.Short() {
				b.Skip("a million processes")
			}
			tb, t := populated(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			fn(b, tb, t, n)
		})
	}
}

func BenchmarkGetProcess(b *testing.B) {
	eachSize(b, func(b *testing.B, tb *Table, _ *Thread, n int) {
		pid := 0
		for b.Loop() {
			if pid = (pid + 7919) % n; tb.GetProcess(pid+1) == nil {
				b.Fatal(pid)
			}
		}
	})
}

// BenchmarkForkAbort is allocation of ids and the insert into the table. What is dearer
// among a million processes is not the table: with GOGC=off a profile shows the first
// touch of fresh memory (newThread), and otherwise the collector, which marks the
// million. The ids themselves (newID) take some 0.05 µs for one process and 0.3 µs among
// a million, which is what the processor's caches miss.
func BenchmarkForkAbort(b *testing.B) {
	eachSize(b, func(b *testing.B, tb *Table, t *Thread, n int) {
		for b.Loop() {
			th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
			if err != nil {
				b.Fatal(err)
			}
			th.Abort()
		}
	})
}

func BenchmarkForkExitWait(b *testing.B) {
	eachSize(b, func(b *testing.B, tb *Table, t *Thread, n int) {
		for b.Loop() {
			th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
			if err != nil {
				b.Fatal(err)
			}
			th.Start()
			th.ExitGroup(0)
			th.FinishExit()
			if _, err := t.Waitpid(-1, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWaitAmong waits for one child among many.
func BenchmarkWaitAmong(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("children=%d", n), func(b *testing.B) {
			tb, t := populated(b, 1)
			for range n {
				th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
				if err != nil {
					b.Fatal(err)
				}
				th.Start()
			}
			for _, kind := range []string{"any", "pid"} {
				b.Run(kind, func(b *testing.B) {
					for b.Loop() {
						th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
						if err != nil {
							b.Fatal(err)
						}
						th.Start()
						th.ExitGroup(0)
						th.FinishExit()
						pid := -1
						if kind == "pid" {
							pid = th.ID()
						}
						if r, err := t.Waitpid(pid, 0); err != nil || r.PID == 0 {
							b.Fatal(r, err)
						}
						// Now there is nothing, which should not cost more.
						if r, err := t.Waitpid(-1, unix.WNOHANG); err != nil || r.PID != 0 {
							b.Fatal(r, err)
						}
					}
				})
			}
		})
	}
}

func BenchmarkForEach(b *testing.B) {
	eachSize(b, func(b *testing.B, tb *Table, _ *Thread, n int) {
		for b.Loop() {
			count := 0
			tb.ForEach(func(*Process) { count++ })
			if count != n {
				b.Fatal(count)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/process")
	})
}

func BenchmarkListProcesses(b *testing.B) {
	eachSize(b, func(b *testing.B, tb *Table, _ *Thread, n int) {
		for b.Loop() {
			if l := tb.ListProcesses(); len(l) != n {
				b.Fatal(len(l))
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/process")
	})
}

// BenchmarkFullTable takes the only free id of a table, which Linux's default size
// has 32,000 of in use.
func BenchmarkFullTable(b *testing.B) {
	limits := DefaultLimits()
	tb := NewTable(Config{Limits: &limits})
	init, _ := tb.CreateProcess(nil, "init", 0)
	t := init.Leader()
	for {
		th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			break
		}
		th.Start()
	}
	last := tb.GetThread(tb.LastPID())
	last.ExitGroup(0)
	last.FinishExit()
	t.Waitpid(-1, 0)
	b.ResetTimer()
	for b.Loop() {
		th, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			b.Fatal(err)
		}
		th.Abort()
	}
}

func BenchmarkSignalSelf(b *testing.B) {
	tb, _ := populated(b, 2)
	t := tb.GetThread(2)
	t.SetRunner(nobody{})
	t.Process().SetAction(unix.SIGUSR1, &SigAction{Handler: 1 << 20})
	b.ReportAllocs()
	for b.Loop() {
		tb.Tgkill(t, 2, 2, unix.SIGUSR1)
		if t.NextWork().Kind != WorkDeliver {
			b.Fatal("no signal")
		}
	}
}

func BenchmarkPending(b *testing.B) {
	_, t := populated(b, 1)
	for b.Loop() {
		if t.Pending() {
			b.Fatal("work")
		}
	}
}

// BenchmarkMemory tells how much a process takes.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	b.ReportAllocs()
	for b.Loop() {
		populated(b, n)
	}
}
