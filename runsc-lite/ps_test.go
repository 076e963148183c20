package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"runsc-lite/runsc-lite/control"
	"runsc-lite/sentry/task"
)

func TestTree(t *testing.T) {
	rows := tree([]task.ProcessInfo{
		{PID: 1}, {PID: 2, Parent: 1}, {PID: 3, Parent: 2}, {PID: 4, Parent: 2}, {PID: 5, Parent: 3}, {PID: 6, Parent: 1},
		{PID: 7, Parent: 99}, // its parent ended while the list was made
		{PID: 8, Parent: 8},
	})
	var got strings.Builder
	for _, r := range rows {
		got.WriteString(r.tree)
		got.WriteByte(byte('0' + r.PID))
		got.WriteByte('\n')
	}
	want := "1\n├─ 2\n│  ├─ 3\n│  │  └─ 5\n│  └─ 4\n└─ 6\n7\n8\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestRates(t *testing.T) {
	at := time.Now()
	before := &control.Report{Time: at, Processes: []task.ProcessInfo{
		{PID: 2, Start: 5, User: time.Second, Calls: 100, Faults: 10},
		{PID: 3, Start: 6, Calls: 1000},
	}}
	now := &control.Report{Time: at.Add(2 * time.Second), Processes: []task.ProcessInfo{
		{PID: 2, Start: 5, User: 1500 * time.Millisecond, System: 500 * time.Millisecond, Calls: 300, Faults: 14},
		{PID: 3, Start: 9, Calls: 50}, // the id is another process's by now
	}}
	per := ratesSince(before, now)
	if got, want := per[2], (rates{cpu: 0.5, calls: 100, faults: 2}); got != want {
		t.Errorf("process 2: %+v, want %+v", got, want)
	}
	if got, want := per[3], (rates{calls: 25}); got != want {
		t.Errorf("process 3: %+v, want %+v", got, want)
	}
	if n := len(ratesSince(nil, now)); n != 0 {
		t.Errorf("%d rates without a beginning", n)
	}
}

// TestClean: what a guest calls itself does nothing to the terminal.
func TestClean(t *testing.T) {
	var b bytes.Buffer
	printTree(&b, &control.Report{Processes: []task.ProcessInfo{{PID: 1, Command: []string{"a\x1b[2Jb\n", "c\xff"}}}}, nil)
	if s := b.String(); strings.Contains(s, "\x1b") || strings.Count(s, "\n") != 3 || !strings.Contains(s, "a?[2Jb? c") {
		t.Errorf("%q", s)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1.0K", 1536: "1.5K", 200 << 10: "200K", 3 << 30: "3.0G"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
