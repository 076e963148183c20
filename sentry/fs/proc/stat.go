package proc

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// tick is what times are counted in (USER_HZ is 100).
const tick = 10 * time.Millisecond

// flags of a task that /proc/PID/stat shows (PF_*).
const (
	pfRandomize = 0x00400000
	pfKthread   = 0x00200000
)

// openStat is /proc/PID/stat, which tells some of it only to those who may look
// into the process.
func openStat(s *subject, c *vfs.Caller) (vfs.FileOps, error) {
	reader := readerOf(c)
	return s.text(func(s *subject, b *bytes.Buffer) error {
		s.stat(b, reader == nil || reader.MayTrace(s.thread(), 0) == nil)
		return nil
	}).Open(c, 0)
}

// stat is do_task_stat.
func (s *subject) stat(b *bytes.Buffer, permitted bool) {
	th, t := s.thread(), s.task()
	p := s.p
	var space *mm.Space
	var l mm.Layout
	if t != nil {
		if space = t.Space(); space != nil {
			l = t.Layout()
		}
	}
	used, children := th.Usage(), procmgr.Rusage{}
	if s.whole {
		used, children = p.Usage(), p.ChildrenUsage()
	}
	terminal, foreground := uint64(0), -1
	if term := s.fs.cfg.Procs.TerminalOf(p); term != nil {
		terminal, foreground = term.Number, s.fs.cfg.PIDs.Foreground(term)
	}
	flags := pfRandomize
	if t == nil {
		flags = pfKthread
	}
	ids := s.fs.cfg.PIDs
	fmt.Fprintf(b, "%d (%s) %c %d %d %d %d %d %d", th.IDIn(ids), th.Name(), th.State().Letter(),
		p.ParentIDIn(ids), p.GroupIDIn(ids), p.SessionIDIn(ids), encodeDev(terminal), foreground, flags)
	fmt.Fprintf(b, " %d %d %d %d %d %d %d %d", used.MinorFaults, children.MinorFaults, used.MajorFaults, children.MajorFaults,
		used.UserTime/tick, used.SystemTime/tick, children.UserTime/tick, children.SystemTime/tick)
	fmt.Fprintf(b, " %d %d %d 0 %d", 20+th.Nice(), th.Nice(), s.threadCount(), th.StartTime()/tick)

	var virtual, resident uint64
	if space != nil {
		virtual, resident = space.Sizes().Virtual, space.Resident()
		p.AccountRSS(resident)
	}
	fmt.Fprintf(b, " %d %d %d", virtual, resident/hostarch.PageSize, p.Limits().Soft(unix.RLIMIT_RSS))
	switch {
	case space == nil:
		b.WriteString(" 0 0 0")
	case permitted:
		fmt.Fprintf(b, " %d %d %d", l.StartCode, l.EndCode, l.StackStart)
	default:
		b.WriteString(" 1 1 0")
	}
	// Stack pointer and instruction pointer are not told of a running program; the
	// signals are those of the first 31, in a form that is kept for old programs.
	own, _ := th.PendingSets()
	ignored, caught := p.Actions()
	const old = 0x7fffffff
	fmt.Fprintf(b, " 0 0 %d %d %d %d %d 0 0", own&old, th.SignalMask()&old, ignored&old, caught&old,
		bit(th.State() == procmgr.Blocked && permitted))
	policy, cpu := uint32(0), 0
	if t != nil {
		policy = t.SchedPolicy()
		for n := s.fs.cfg.CPUs; cpu < n-1 && !synth.InSet(t.Affinity(), cpu); cpu++ {
		}
	}
	fmt.Fprintf(b, " %d %d 0 %d 0 0 0", p.ExitSignal(), cpu, policy)
	if space != nil && permitted {
		fmt.Fprintf(b, " %d %d %d %d %d %d %d", l.StartData, l.EndData, space.BrkRange().Start,
			l.Args.Start, l.Args.End, l.Env.Start, l.Env.End)
	} else {
		b.WriteString(" 0 0 0 0 0 0 0")
	}
	status, _ := p.ExitStatus()
	if !permitted {
		status = 0
	}
	fmt.Fprintf(b, " %d\n", status)
}

// encodeDev spells a device number as old interfaces have it (new_encode_dev).
func encodeDev(dev uint64) uint64 {
	major, minor := uint64(unix.Major(dev)), uint64(unix.Minor(dev))
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// statm is /proc/PID/statm (proc_pid_statm), in pages.
func (s *subject) statm(b *bytes.Buffer) error {
	t := s.task()
	var space *mm.Space
	if t != nil {
		space = t.Space()
	}
	if space == nil {
		b.WriteString("0 0 0 0 0 0 0\n")
		return nil
	}
	const page = hostarch.PageSize
	z, pages, l := space.Sizes(), space.Pages(0, everything), t.Layout()
	fmt.Fprintf(b, "%d %d %d %d 0 %d 0\n", z.Virtual/page, pages.Resident()/page, (pages.File+pages.Shmem)/page,
		textSize(&l, z.Text)/page, (z.Data+z.Stack)/page)
	return nil
}
