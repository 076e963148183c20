package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// maxWrite is the most that one write to a file of proc may have.
const maxWrite = 4096

// comm is /proc/PID/comm, which the process itself may write to (comm_write).
type comm struct {
	*synth.File
	s *subject
}

func newComm(s *subject, a synth.Attr) vfs.Inode {
	read := s.text(func(s *subject, b *bytes.Buffer) error {
		b.WriteString(s.thread().Name() + "\n")
		return nil
	})
	return &comm{s: s, File: s.fs.File(a, synth.Writable(read.Open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
		own := s.isReader(c)
		return func(p []byte) error {
			if err := s.check(); err != nil {
				return err
			}
			if !own {
				return unix.EINVAL
			}
			p = p[:min(len(p), 15)]
			if i := bytes.IndexByte(p, 0); i >= 0 {
				p = p[:i]
			}
			s.thread().SetName(string(p))
			return nil
		}
	}))}
}

// PermissionFor implements vfs.CallerGuard: threads name each other, whoever they
// are (proc_tid_comm_permission).
func (f *comm) PermissionFor(c *vfs.Caller, want uint32) error {
	if !f.s.whole && want&vfs.MayExec == 0 && f.s.isReader(c) {
		return nil
	}
	return c.Creds.Permission(f.File, want)
}

// parseInt reads what somebody wrote into a file: a number in any base, with white
// space around it (kstrtoint): EINVAL, ERANGE.
func parseInt(p []byte, bits int) (int64, error) {
	s := strings.TrimSuffix(string(p), "\n")
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || strings.ContainsAny(digits, "_") || strings.HasPrefix(digits, "0b") || strings.HasPrefix(digits, "0o") {
		return 0, unix.EINVAL
	}
	n, err := strconv.ParseInt(s, 0, bits)
	switch {
	case err == nil:
		return n, nil
	case strings.HasSuffix(err.Error(), strconv.ErrRange.Error()):
		return 0, unix.ERANGE
	}
	return 0, unix.EINVAL
}

// newOOMScoreAdj is /proc/PID/oom_score_adj (oom_score_adj_write).
func newOOMScoreAdj(s *subject, a synth.Attr) vfs.Inode {
	read := s.text(func(s *subject, b *bytes.Buffer) error {
		fmt.Fprintf(b, "%d\n", s.p.OOMScoreAdj())
		return nil
	})
	return s.fs.File(a, synth.Writable(read.Open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
		reader := readerOf(c)
		return func(p []byte) error {
			n, err := parseInt(bytes.TrimSpace(p[:min(len(p), 12)]), 32)
			if err != nil {
				return err
			}
			if n < procmgr.OOMScoreAdjMin || n > procmgr.OOMScoreAdjMax {
				return unix.EINVAL
			}
			if err := s.check(); err != nil {
				return err
			}
			return s.p.SetOOMScoreAdj(int(n), reader == nil || reader.Credentials().HasCap(unix.CAP_SYS_RESOURCE))
		}
	}))
}

// oomScore is /proc/PID/oom_score (proc_oom_score): what part of all memory the
// process has, and its adjustment, in thousandths, scaled to 0 to 2000.
func (s *subject) oomScore(b *bytes.Buffer) error {
	score := int64(0)
	adj := int64(s.p.OOMScoreAdj())
	if space := s.space(); space != nil && adj != procmgr.OOMScoreAdjMin {
		total, _ := s.fs.cfg.Memory()
		points := adj
		if total > 0 {
			points += int64(space.Resident() / max(total/1000, 1))
		}
		score = max((1000+points)*2/3, 0)
	}
	fmt.Fprintf(b, "%d\n", score)
	return nil
}

// newTimerSlack is /proc/PID/timerslack_ns (timerslack_ns_write): of a thread of
// the own process, or of others with CAP_SYS_NICE.
func newTimerSlack(s *subject, a synth.Attr) vfs.Inode {
	allowed := func(reader *procmgr.Thread) error {
		if reader != nil && reader != s.thread() && !reader.Credentials().HasCap(unix.CAP_SYS_NICE) {
			return unix.EPERM
		}
		return s.check()
	}
	open := func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
		reader := readerOf(c)
		return synth.Text(func(b *bytes.Buffer) error {
			if err := allowed(reader); err != nil {
				return err
			}
			slack := uint64(0)
			if t := s.task(); t != nil {
				slack = t.TimerSlack()
			}
			fmt.Fprintf(b, "%d\n", slack)
			return nil
		}).Open(c, flags)
	}
	return s.fs.File(a, synth.Writable(open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
		reader := readerOf(c)
		return func(p []byte) error {
			n, err := parseInt(p, 64)
			if err != nil {
				return err
			}
			if n < 0 {
				return unix.EINVAL
			}
			if err := allowed(reader); err != nil {
				return err
			}
			t := s.task()
			if t == nil {
				return unix.ESRCH
			}
			t.SetTimerSlack(uint64(n))
			return nil
		}
	}))
}

// personality is /proc/PID/personality.
func (s *subject) personality(b *bytes.Buffer) error {
	p := uint32(0)
	if t := s.task(); t != nil {
		p = t.Personality()
	}
	fmt.Fprintf(b, "%08x\n", p)
	return nil
}

// wchan is /proc/PID/wchan. There are no kernel symbols that it could tell, as on
// a Linux where the reader may not know them.
func (s *subject) wchan(b *bytes.Buffer) error {
	b.WriteByte('0')
	return nil
}

// schedstat is /proc/PID/schedstat: time on a processor and time waiting for one in
// nanoseconds, and how often the thread was put on one.
func (s *subject) schedstat(b *bytes.Buffer) error {
	u := s.thread().Usage()
	fmt.Fprintf(b, "%d 0 %d\n", int64(u.UserTime+u.SystemTime), u.VoluntarySwitches+u.InvoluntarySwitches)
	return nil
}

// cpuset is /proc/PID/cpuset.
func (s *subject) cpuset(b *bytes.Buffer) error {
	b.WriteString("/\n")
	return nil
}

// cgroup is /proc/PID/cgroup: all are in the root of the one hierarchy (cgroups(7),
// version 2).
func (s *subject) cgroup(b *bytes.Buffer) error {
	b.WriteString("0::/\n")
	return nil
}

// children is /proc/PID/task/TID/children.
func (s *subject) children(b *bytes.Buffer) error {
	for _, p := range s.thread().Children() {
		fmt.Fprintf(b, "%d ", s.fs.idOf(p))
	}
	return nil
}

// loginUID is /proc/PID/loginuid and sessionid: nobody has logged in.
func (s *subject) loginUID(b *bytes.Buffer) error {
	b.WriteString("4294967295")
	return nil
}

// io is /proc/PID/io (do_io_accounting). Nothing goes to a block device.
func (s *subject) io(b *bytes.Buffer) error {
	n := s.thread().IO()
	if s.whole {
		n = s.p.IO()
	}
	fmt.Fprintf(b, "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\nread_bytes: %d\nwrite_bytes: %d\ncancelled_write_bytes: 0\n",
		n.ReadBytes, n.WrittenBytes, n.Reads, n.Writes, 0, 0)
	return nil
}
