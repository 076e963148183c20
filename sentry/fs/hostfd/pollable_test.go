package hostfd

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// TestPollable: what the host's epoll refuses is refused here.
func TestPollable(t *testing.T) {
	n := hostcall.NewNotifier()
	defer n.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	random, err := os.Open("/dev/random")
	if err != nil {
		t.Fatal(err)
	}
	host, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(host)
	for _, o := range []*os.File{r, regular, null, random} {
		err := unix.EpollCtl(host, unix.EPOLL_CTL_ADD, int(o.Fd()), &unix.EpollEvent{Events: unix.EPOLLIN})
		if err != nil && err != unix.EPERM {
			t.Fatal(err)
		}
		f, err2 := New(int(o.Fd()), Options{Notifier: n, Keep: true})
		if err2 != nil {
			t.Fatal(err2)
		}
		for range 2 {
			if got, want := f.Pollable(), err == nil; got != want {
				t.Errorf("%s: pollable %v, the host says %v", o.Name(), got, err)
			}
		}
		f.DecRef()
		o.Close()
	}
}
