package signalfd

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
)

// newProcess makes a process that blocks all signals.
func newProcess(t testing.TB) (*procmgr.Table, *procmgr.Process) {
	t.Helper()
	tb := procmgr.NewTable(procmgr.Config{})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	p.Leader().SetSignalMask(^procmgr.SigSet(0))
	return tb, p
}

func send(t testing.TB, p *procmgr.Process, sig unix.Signal, value uint64) {
	t.Helper()
	err := p.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIQueue, PID: 7, UID: 8, Value: value})
	if err != nil {
		t.Fatal(err)
	}
}

// signals reads up to n records and returns their numbers.
func signals(t testing.TB, v View, n int) (sigs []unix.Signal) {
	t.Helper()
	b := make([]byte, n*recordSize)
	got, err := v.Read([][]byte{b})
	if err != nil || got%recordSize != 0 {
		t.Fatalf("read = %d, %v", got, err)
	}
	for b = b[:got]; len(b) > 0; b = b[recordSize:] {
		sigs = append(sigs, unix.Signal(binary.LittleEndian.Uint32(b)))
	}
	return sigs
}

func TestNewFile(t *testing.T) {
	if _, err := NewFile(0, 1); err != unix.EINVAL {
		t.Errorf("flags: %v, want EINVAL", err)
	}
	f, err := NewFile(^procmgr.SigSet(0), unix.SFD_NONBLOCK|unix.SFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	if f.Flags() != unix.O_RDWR|unix.O_NONBLOCK {
		t.Errorf("flags = %#x", f.Flags())
	}
	m := f.Ops().(*FD).Mask()
	if m.Has(unix.SIGKILL) || m.Has(unix.SIGSTOP) || !m.Has(unix.SIGTERM) || !m.Has(64) {
		t.Errorf("mask = %#x", uint64(m))
	}
}

func TestRead(t *testing.T) {
	_, p := newProcess(t)
	v := New(procmgr.SetOf(unix.SIGUSR1, 40)).For(p.Leader())
	if _, err := v.Read([][]byte{make([]byte, recordSize)}); err != unix.EAGAIN {
		t.Errorf("nothing: %v, want EAGAIN", err)
	}
	send(t, p, 40, 1)
	send(t, p, 40, 2)
	send(t, p, unix.SIGUSR2, 0)
	if _, err := v.Read([][]byte{make([]byte, 100), make([]byte, 27)}); err != unix.EINVAL {
		t.Errorf("no room: %v, want EINVAL", err)
	}
	if v.Readiness(waiter.AllEvents) != waiter.EventIn {
		t.Error("not ready")
	}
	send(t, p, unix.SIGUSR1, 3)
	// Records lie across the pieces of the buffer; a part of one is not used.
	pieces := [][]byte{make([]byte, 100), nil, make([]byte, 57), make([]byte, 200)}
	kept := make([][]byte, len(pieces))
	copy(kept, pieces)
	n, err := v.Read(pieces)
	if n != 2*recordSize || err != nil {
		t.Fatalf("read = %d, %v, want two records", n, err)
	}
	var all []byte
	for i, b := range pieces {
		if len(b) != len(kept[i]) {
			t.Error("the caller's slices were changed")
		}
		all = append(all, b...)
	}
	le := binary.LittleEndian
	for i, want := range []struct{ sig, value uint32 }{{uint32(unix.SIGUSR1), 3}, {40, 1}} {
		r := all[i*recordSize:]
		if sig, pid, uid, value := le.Uint32(r), le.Uint32(r[12:]), le.Uint32(r[16:]), le.Uint32(r[44:]); sig != want.sig || pid != 7 || uid != 8 || value != want.value {
			t.Errorf("record %d: signal %d from %d, %d with %d, want %+v", i, sig, pid, uid, value, want)
		}
	}
	if got := signals(t, v, 5); len(got) != 1 || got[0] != 40 {
		t.Errorf("read %v", got)
	}
	if v.Readiness(waiter.AllEvents) != 0 {
		t.Error("ready for a signal that is not in the mask")
	}
	if got := p.Leader().PendingSet(); got != procmgr.SetOf(unix.SIGUSR2) {
		t.Errorf("pending: %#x", uint64(got))
	}
}

// TestWhoseSignals: what a file shows depends on who looks.
func TestWhoseSignals(t *testing.T) {
	tb, p := newProcess(t)
	child, err := tb.CreateProcess(p, "child", 0)
	if err != nil {
		t.Fatal(err)
	}
	child.Leader().SetSignalMask(^procmgr.SigSet(0))
	f := New(procmgr.SetOf(unix.SIGUSR1))
	mine, childs := f.For(p.Leader()), f.For(child.Leader())
	send(t, p, unix.SIGUSR1, 0)
	if mine.Readiness(waiter.EventIn) == 0 || childs.Readiness(waiter.EventIn) != 0 {
		t.Error("the wrong process is told")
	}
	if _, err := childs.Read([][]byte{make([]byte, recordSize)}); err != unix.EAGAIN {
		t.Errorf("the child reads the parent's signal: %v", err)
	}
	if got := signals(t, mine, 1); len(got) != 1 {
		t.Errorf("read %v", got)
	}
}

func TestNotifies(t *testing.T) {
	_, p := newProcess(t)
	f := New(0)
	v := f.For(p.Leader())
	entry, ch := waiter.NewChannelEntry(waiter.EventIn)
	v.EventRegister(&entry)
	send(t, p, unix.SIGUSR1, 0)
	if len(ch) != 1 {
		t.Error("not told of a signal")
	}
	if v.Readiness(waiter.EventIn) != 0 {
		t.Error("ready with an empty mask")
	}
	f.SetMask(procmgr.SetOf(unix.SIGUSR1))
	if v.Readiness(waiter.EventIn) == 0 {
		t.Error("not ready with the new mask")
	}
	// Another View of the same file and thread is the same.
	f.For(p.Leader()).EventUnregister(&entry)
	<-ch
	send(t, p, unix.SIGUSR2, 0)
	if len(ch) != 0 {
		t.Error("told after the end")
	}
}

// TestRace: several readers, each signal is read once.
func TestRace(t *testing.T) {
	const readers, count = 3, 300
	_, p := newProcess(t)
	f := New(procmgr.SetOf(40))
	var mu sync.Mutex
	seen := map[uint32]int{}
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			v := f.For(p.Leader())
			entry, ch := waiter.NewChannelEntry(waiter.EventIn)
			v.EventRegister(&entry)
			defer v.EventUnregister(&entry)
			b := make([]byte, 2*recordSize)
			for {
				n, err := v.Read([][]byte{b})
				if err == unix.EAGAIN {
					select {
					case <-ch:
						continue
					case <-time.After(10 * time.Second):
						t.Error("not told")
						return
					}
				}
				mu.Lock()
				for r := b[:n]; len(r) > 0; r = r[recordSize:] {
					seen[binary.LittleEndian.Uint32(r[44:])]++
				}
				done := seen[count] > 0
				mu.Unlock()
				if done {
					send(t, p, 40, count) // for the next one
					return
				}
			}
		})
	}
	for i := range uint64(count) {
		send(t, p, 40, i)
	}
	send(t, p, 40, count)
	all.Wait()
	for i := range uint32(count) {
		if seen[i] != 1 {
			t.Errorf("signal %d was read %d times", i, seen[i])
		}
	}
}

func TestFDInfo(t *testing.T) {
	var b bytes.Buffer
	New(procmgr.SetOf(unix.SIGUSR1, 40)).FDInfo(&b)
	if got, want := b.String(), "sigmask:\t0000008000000200\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
