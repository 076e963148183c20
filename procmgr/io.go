package procmgr

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// IO counts the calls that read and write files, and the bytes that they moved
// (/proc/PID/io).
type IO struct {
	ReadBytes, WrittenBytes uint64
	Reads, Writes           uint64
}

func (a *IO) add(b *IO) {
	a.ReadBytes += b.ReadBytes
	a.WrittenBytes += b.WrittenBytes
	a.Reads += b.Reads
	a.Writes += b.Writes
}

// ioCounters are a thread's.
type ioCounters struct {
	readBytes, writtenBytes, reads, writes atomic.Uint64
}

// AccountRead counts a call that read, and how many bytes.
func (t *Thread) AccountRead(bytes uint64) {
	t.files.reads.Add(1)
	t.files.readBytes.Add(bytes)
}

// AccountWrite counts a call that wrote, and how many bytes.
func (t *Thread) AccountWrite(bytes uint64) {
	t.files.writes.Add(1)
	t.files.writtenBytes.Add(bytes)
}

// IO returns what the thread read and wrote.
func (t *Thread) IO() IO {
	f := &t.files
	return IO{f.readBytes.Load(), f.writtenBytes.Load(), f.reads.Load(), f.writes.Load()}
}

// IO returns what the process read and wrote, ended threads included.
func (p *Process) IO() IO {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.goneIO
	for _, t := range p.threads {
		n := t.IO()
		sum.add(&n)
	}
	return sum
}

// The range of OOMScoreAdj.
const (
	OOMScoreAdjMin = -1000
	OOMScoreAdjMax = 1000
)

// OOMScoreAdj returns how much the process is preferred when memory runs out, and
// something has to end (/proc/PID/oom_score_adj).
func (p *Process) OOMScoreAdj() int { return int(p.oomScoreAdj.Load()) }

// SetOOMScoreAdj sets it. EACCES: who is not privileged cannot go below what
// somebody privileged set.
func (p *Process) SetOOMScoreAdj(n int, privileged bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !privileged && int32(n) < p.oomScoreAdjMin.Load() {
		return unix.EACCES
	}
	if privileged {
		p.oomScoreAdjMin.Store(int32(n))
	}
	p.oomScoreAdj.Store(int32(n))
	return nil
}
