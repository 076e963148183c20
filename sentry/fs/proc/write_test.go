package proc_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

func TestComm(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", []string{"a"}, nil), w.start("b", []string{"b"}, nil)
	thread, err := w.procs.Fork(a.th, procmgr.CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM})
	w.must(err)
	thread.Start()
	for text, want := range map[string]string{
		"new": "new", "a longer name than fits": "a longer name t", "x\x00y": "x", "": "?", "nl\n": "nl\n",
	} {
		a.th.SetName("?")
		if err := a.write("/proc/self/comm", text); err != nil {
			t.Errorf("write %q: %v", text, err)
		}
		if got := a.th.Name(); got != want {
			t.Errorf("after %q the name is %q, want %q", text, got, want)
		}
		if got := a.text("/proc/self/comm"); got != want+"\n" {
			t.Errorf("it reads %q", got)
		}
	}
	tid := fmt.Sprintf("/proc/self/task/%d/comm", thread.ID())
	if err := a.write(tid, "worker"); err != nil || thread.Name() != "worker" {
		t.Errorf("the thread's name: %q, %v", thread.Name(), err)
	}
	if err := b.write(a.path("comm"), "x"); err != unix.EINVAL {
		t.Errorf("another process: %v, want EINVAL", err)
	}
	b.become(1000)
	if err := b.write(a.path("comm"), "x"); err != unix.EACCES {
		t.Errorf("another user: %v, want EACCES", err)
	}
	// Not even a process without privileges needs the file's permission for its
	// threads.
	a.become(1000)
	a.th.Process().SetDumpable(0)
	if err := a.write(tid, "again"); err != nil || thread.Name() != "again" {
		t.Errorf("the own thread of a process that is not dumpable: %q, %v", thread.Name(), err)
	}
	if err := a.write("/proc/self/comm", "x"); err != unix.EACCES {
		t.Errorf("by way of the process: %v, want EACCES", err)
	}
}

func TestOOMScoreAdj(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", []string{"a"}, nil), w.start("b", []string{"b"}, nil)
	for _, tt := range []struct {
		text string
		want string
		err  error
	}{
		{"500", "500\n", nil}, {"-17\n", "-17\n", nil}, {" 1000 ", "1000\n", nil}, {"1001", "1000\n", unix.EINVAL},
		{"-1001", "1000\n", unix.EINVAL}, {"", "1000\n", nil}, {"x", "1000\n", unix.EINVAL}, {"0x10", "16\n", nil},
		{"99999999999999", "16\n", unix.ERANGE}, {"1 2", "16\n", unix.EINVAL}, {"+7", "7\n", nil}, {"1_0", "7\n", unix.EINVAL},
		{"-1000", "-1000\n", nil},
	} {
		if err := a.write("/proc/self/oom_score_adj", tt.text); err != tt.err {
			t.Errorf("write %q: %v, want %v", tt.text, err, tt.err)
		}
		if got := a.text("/proc/self/oom_score_adj"); got != tt.want {
			t.Errorf("after %q it is %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := b.text(a.path("oom_score")); got != "0\n" {
		t.Errorf("who is never killed has a score of %q", got)
	}
	b.become(1000)
	for _, tt := range []struct {
		n   int
		err error
	}{{100, nil}, {-1, unix.EACCES}, {0, nil}} {
		if err := b.write("/proc/self/oom_score_adj", fmt.Sprint(tt.n)); err != tt.err {
			t.Errorf("without privileges %d: %v, want %v", tt.n, err, tt.err)
		}
	}
	w.must(b.write("/proc/self/oom_score_adj", "300"))
	if got := b.text("/proc/self/oom_score"); got != "866\n" {
		t.Errorf("the score is %q", got)
	}
}

func TestTimerSlack(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", []string{"a"}, nil), w.start("b", []string{"b"}, nil)
	if got := a.text("/proc/self/timerslack_ns"); got != "50000\n" {
		t.Errorf("at first it is %q", got)
	}
	w.must(a.write("/proc/self/timerslack_ns", "1234\n"))
	if got := b.text(a.path("timerslack_ns")); got != "1234\n" {
		t.Errorf("then it is %q", got)
	}
	for _, text := range []string{"", "-1", "x", "1 1"} {
		if err := a.write("/proc/self/timerslack_ns", text); text != "" && err != unix.EINVAL {
			t.Errorf("write %q: %v, want EINVAL", text, err)
		}
	}
	b.become(1000)
	if err := b.write(a.path("timerslack_ns"), "1"); err != unix.EPERM {
		t.Errorf("of another process without privileges: %v, want EPERM", err)
	}
	if _, err := b.read(a.path("timerslack_ns")); err != unix.EPERM {
		t.Errorf("reading that: %v, want EPERM", err)
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	for text, want := range map[string]string{
		"new\n": "new", "a.b\nc": "a.b", strings.Repeat("x", 80): strings.Repeat("x", 64), "z\x00y": "z",
	} {
		w.must(a.write("/proc/sys/kernel/hostname", text), a.write("/proc/sys/kernel/domainname", text))
		host, domain := w.first.UTS.Names()
		if host != want || domain != want || a.text("/proc/sys/kernel/hostname") != want+"\n" {
			t.Errorf("after %q the names are %q and %q, want %q", text, host, domain, want)
		}
	}
	if err := a.write("/proc/sys/kernel/osrelease", "1"); err != unix.EINVAL {
		t.Errorf("a name that cannot be changed: %v, want EINVAL", err)
	}
	a.become(1000)
	if err := a.write("/proc/sys/kernel/hostname", "x"); err != unix.EACCES {
		t.Errorf("not root: %v, want EACCES", err)
	}
}

// FuzzWrite writes anything to whatever can be written to.
func FuzzWrite(f *testing.F) {
	files := []string{"comm", "oom_score_adj", "timerslack_ns", "mem", "../sys/kernel/hostname", "../sys/kernel/domainname", "task/2/comm", "task/2/oom_score_adj"}
	for i := range files {
		for _, s := range []string{"", "12\n", "-1000", "0x7fffffffffffffff", "\x00", "name", strings.Repeat("9", 5000), "+-1", "٣"} {
			f.Add(uint8(i), s, uint64(0x400000))
		}
	}
	w := newWorld(f)
	a := w.start("a", []string{"a"}, nil)
	f.Fuzz(func(t *testing.T, which uint8, text string, off uint64) {
		path := "/proc/self/" + files[int(which)%len(files)]
		file, err := a.caller().Open(nil, path, vfs.OpenHow{Flags: unix.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		defer file.DecRef()
		n, err := file.PWrite(a.caller().Creds, [][]byte{[]byte(text)}, int64(off), -1)
		switch err {
		case nil:
			if n < 0 || n > int64(len(text)) {
				t.Fatalf("%d bytes of %d were written", n, len(text))
			}
		case unix.EINVAL, unix.ERANGE, unix.EIO:
		default:
			t.Fatalf("%s: %v", path, err)
		}
		if adj := a.th.Process().OOMScoreAdj(); adj < -1000 || adj > 1000 {
			t.Fatalf("oom_score_adj is %d", adj)
		}
		if name := a.th.Name(); len(name) > 15 || strings.Contains(name, "\x00") {
			t.Fatalf("the name is %q", name)
		}
		if host, domain := w.first.UTS.Names(); len(host) > 64 || len(domain) > 64 || strings.ContainsAny(host+domain, "\n\x00") {
			t.Fatalf("the names are %q and %q", host, domain)
		}
		for _, p := range []string{path, "/proc/self/status", "/proc/self/stat"} {
			if strings.HasSuffix(p, "/mem") {
				continue
			}
			if _, err := a.read(p); err != nil {
				t.Fatalf("then %s: %v", p, err)
			}
		}
	})
}
