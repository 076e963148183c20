package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkForkExitWait(b *testing.B) {
	tb := NewTable(Config{})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		b.Fatal(err)
	}
	t := p.Leader()
	b.ReportAllocs()
	for b.Loop() {
		c, err := tb.Fork(t, CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			b.Fatal(err)
		}
		c.Start()
		c.ExitGroup(0)
		c.FinishExit()
		if _, err := t.Waitpid(-1, 0); err != nil {
			b.Fatal(err)
		}
	}
}
