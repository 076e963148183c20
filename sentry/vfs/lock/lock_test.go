package lock

import (
	"testing"

	"golang.org/x/sys/unix"
)

func at(owner any, pid int32, kind Kind, start, end int64) Range {
	return Range{Owner: owner, PID: pid, Kind: kind, Start: start, End: end}
}

// TestDeadlock has three owners wait for each other on two files.
func TestDeadlock(t *testing.T) {
	var tb Table
	var w [3]Waiter
	for i, key := range []string{"f", "g", "f"} {
		if err := tb.Set(key, at(i, int32(i), Exclusive, int64(i), int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tb.SetWait("g", at(0, 0, Shared, 0, End), &w[0]); err != unix.EAGAIN {
		t.Fatalf("0 waits for 1: %v", err)
	}
	if err := tb.SetWait("f", at(1, 1, Exclusive, 2, 2), &w[1]); err != unix.EAGAIN {
		t.Fatalf("1 waits for 2: %v", err)
	}
	if err := tb.SetWait("f", at(2, 2, Exclusive, 0, 0), &w[2]); err != unix.EDEADLK {
		t.Fatalf("2 waits for 0: %v, want EDEADLK", err)
	}
	if n := len(tb.waiters); n != 2 {
		t.Errorf("%d wait", n)
	}
	tb.EndWait(&w[1])
	if err := tb.SetWait("f", at(2, 2, Exclusive, 0, 0), &w[2]); err != unix.EAGAIN {
		t.Errorf("2 waits for 0, which waits for 1, which runs: %v", err)
	}
	for i := range w {
		tb.EndWait(&w[i])
		tb.EndWait(&w[i])
	}
	for i := range 3 {
		tb.Release("f", i)
		tb.Release("g", i)
	}
	if len(tb.waiters) != 0 || len(tb.m) != 0 {
		t.Errorf("left over: %v, %v", tb.waiters, tb.m)
	}
}

// TestOpenFilesDoNotDeadlock holds that locks of open files are not followed.
func TestOpenFilesDoNotDeadlock(t *testing.T) {
	var tb Table
	var a, b Waiter
	tb.Set("f", at("x", -1, Exclusive, 0, 0))
	tb.Set("f", at("y", -1, Exclusive, 1, 1))
	if err := tb.SetWait("f", at("x", -1, Exclusive, 1, 1), &a); err != unix.EAGAIN {
		t.Fatal(err)
	}
	if err := tb.SetWait("f", at("y", -1, Exclusive, 0, 0), &b); err != unix.EAGAIN {
		t.Fatal(err)
	}
}

// TestLongChain holds that a chain that is too long is given up.
func TestLongChain(t *testing.T) {
	var tb Table
	const n = 2 * maxDeadlock
	var w [n]Waiter
	for i := range n {
		tb.Set("f", at(i, int32(i), Exclusive, int64(i), int64(i)))
	}
	for i := range n - 1 {
		if err := tb.SetWait("f", at(i, int32(i), Exclusive, int64(i+1), int64(i+1)), &w[i]); err != unix.EAGAIN {
			t.Fatal(i, err)
		}
	}
	if err := tb.SetWait("f", at(n-1, n-1, Exclusive, 0, 0), &w[n-1]); err != unix.EAGAIN {
		t.Errorf("a circle of %d: %v", n, err)
	}
}

func TestList(t *testing.T) {
	var tb Table
	if l := tb.List(10); l != nil {
		t.Errorf("nothing is locked: %v", l)
	}
	var w Waiter
	tb.Set("f", at("x", 1, Exclusive, 0, 9))
	tb.SetWait("f", at("y", 2, Shared, 5, 6), &w)
	tb.Flock("f", "z", Shared, 3)
	l := tb.List(10)
	if len(l) != 3 {
		t.Fatalf("%d locks: %v", len(l), l)
	}
	var flocks, waits int
	for i, h := range l {
		switch {
		case h.Flock && h.PID == 3 && h.Kind == Shared && h.End == End:
			flocks++
		case h.Waiting && h.PID == 2 && l[i-1].PID == 1:
			waits++
		}
	}
	if flocks != 1 || waits != 1 {
		t.Errorf("%+v", l)
	}
	if len(tb.List(1)) != 1 {
		t.Error("more than asked for")
	}
	tb.EndWait(&w)
}
