// Gostress is a guest program in Go: its runtime uses threads, futexes,
// signals (for preemption), epoll and timers in ways that C programs do not.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

var tests = []struct {
	name string
	fn   func() error
}{
	{"hello", hello},
	{"goroutines", goroutines},
	{"channels", channels},
	{"collect", collect},
	{"preempt", preempt},
	{"timers", timers},
	{"pipes", pipes},
	{"files", files},
	{"threads", threads},
	{"panics", panics},
	{"stacks", stacks},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Println("usage: gostress --list | TEST")
		os.Exit(2)
	}
	for _, t := range tests {
		if os.Args[1] == "--list" {
			fmt.Println(t.name)
			continue
		}
		if t.name != os.Args[1] {
			continue
		}
		if err := t.fn(); err != nil {
			fmt.Println(t.name+":", err)
			os.Exit(1)
		}
		fmt.Println(t.name + ": ok")
		return
	}
	if os.Args[1] != "--list" {
		os.Exit(2)
	}
}

func hello() error {
	fmt.Println("hello from", runtime.GOOS, runtime.GOARCH)
	return nil
}

func goroutines() error {
	var wg sync.WaitGroup
	var n atomic.Int64
	for i := range 10_000 {
		wg.Go(func() { n.Add(int64(i)) })
	}
	wg.Wait()
	if got := n.Load(); got != 10_000*9_999/2 {
		return fmt.Errorf("sum is %d", got)
	}
	return nil
}

func channels() error {
	in := make(chan int)
	out := in
	for range 100 { // a chain, each adds one
		next := make(chan int)
		go func(from, to chan int) {
			for v := range from {
				to <- v + 1
			}
			close(to)
		}(out, next)
		out = next
	}
	go func() {
		for i := range 100 {
			in <- i
		}
		close(in)
	}()
	want := 100
	for v := range out {
		if v != want {
			return fmt.Errorf("want %d, got %d", want, v)
		}
		want++
	}
	return nil
}

type node struct {
	left, right *node
	data        [4]int
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1), data: [4]int{depth}}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func collect() error {
	debug.SetGCPercent(20)
	keep := tree(12)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if n := tree(10).count(); n != 1<<11-1 {
					panic(n)
				}
			}
		})
	}
	wg.Wait()
	runtime.GC()
	debug.FreeOSMemory()
	if n := keep.count(); n != 1<<13-1 {
		return fmt.Errorf("%d nodes are left", n)
	}
	return nil
}

// A loop without calls is preempted by a signal.
func preempt() error {
	runtime.GOMAXPROCS(1)
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		n := 0
		for !stop.Load() {
			n++
		}
		done <- n
	}()
	time.Sleep(20 * time.Millisecond)
	stop.Store(true)
	if <-done == 0 {
		return fmt.Errorf("the loop did not run")
	}
	return nil
}

func timers() error {
	start := time.Now()
	var at [5]time.Duration
	var wg sync.WaitGroup
	for i := range at {
		wg.Add(1)
		time.AfterFunc(time.Duration(i+1)*20*time.Millisecond, func() {
			defer wg.Done()
			at[i] = time.Since(start)
		})
	}
	wg.Wait()
	// Late they may be, as far as anybody knows how busy the machine is.
	for i, d := range at {
		if d < time.Duration(i+1)*20*time.Millisecond {
			return fmt.Errorf("timer %d after %v", i, d)
		}
	}
	return nil
}

func pipes() error {
	r, w, err := os.Pipe() // served by the runtime's poller
	if err != nil {
		return err
	}
	go func() {
		defer w.Close()
		for i := range 1000 {
			fmt.Fprintf(w, "%06d\n", i)
		}
	}()
	b, err := io.ReadAll(r)
	if err != nil || len(b) != 7000 || string(b[6993:]) != "000999\n" {
		return fmt.Errorf("%d bytes, %w", len(b), err)
	}
	r, w, err = os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := r.Read(b); !os.IsTimeout(err) {
		return fmt.Errorf("want a time-out, got %w", err)
	}
	return nil
}

func files() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var wg sync.WaitGroup
	errs := make(chan error, 50)
	for i := range 50 {
		wg.Go(func() {
			p := filepath.Join(dir, fmt.Sprint(i))
			if err := os.WriteFile(p, []byte(p), 0o600); err != nil {
				errs <- err
				return
			}
			if b, err := os.ReadFile(p); err != nil || string(b) != p {
				errs <- fmt.Errorf("read %q, %w", b, err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 50 {
		return fmt.Errorf("%d entries, %w", len(list), err)
	}
	return nil
}

func threads() error {
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with it
			time.Sleep(time.Millisecond)
		})
	}
	wg.Wait()
	return nil
}

func panics() (err error) {
	defer func() {
		if r := recover(); r == nil {
			err = fmt.Errorf("a nil pointer was followed")
		}
	}()
	var n *node
	_ = n.left.right // SIGSEGV, turned into a panic
	return nil
}

func stacks() error {
	var f func(n int) int
	f = func(n int) int {
		var pad [128]byte
		pad[n%128] = 1
		if n == 0 {
			return int(pad[0]) - 1
		}
		return f(n-1) + int(pad[n%128])
	}
	if got := f(100_000); got != 100_000 {
		return fmt.Errorf("depth %d", got)
	}
	return nil
}
