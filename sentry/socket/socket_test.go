package socket_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

func TestParseUnix(t *testing.T) {
	addr := func(path string) []byte { return append([]byte{unix.AF_UNIX, 0}, path...) }
	for _, c := range []struct {
		name string
		in   []byte
		want socket.UnixName
		err  error
	}{
		{"nothing", nil, "", unix.EINVAL},
		{"half a family", []byte{1}, "", unix.EINVAL},
		{"another family", append([]byte{2, 0}, "x"...), "", unix.EINVAL},
		{"family alone", addr(""), "", nil},
		{"path", addr("/a/b"), "/a/b", nil},
		{"path and more", addr("/a\x00rest"), "/a", nil},
		{"abstract", addr("\x00name"), "\x00name", nil},
		{"abstract, NULs count", addr("\x00a\x00\x00"), "\x00a\x00\x00", nil},
		{"longest", addr(string(bytes.Repeat([]byte("p"), 108))), socket.UnixName(bytes.Repeat([]byte("p"), 108)), nil},
		{"too long", addr(string(bytes.Repeat([]byte("p"), 109))), "", unix.EINVAL},
	} {
		got, err := socket.ParseUnix(c.in)
		if got != c.want || err != c.err {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestUnixNameAppend(t *testing.T) {
	for name, want := range map[socket.UnixName]string{"": "\x01\x00", "/x": "\x01\x00/x\x00", "\x00y": "\x01\x00\x00y"} {
		if got := string(name.Append(nil)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestParseInet(t *testing.T) {
	four := []byte{2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	a, err := socket.ParseInet(four)
	if err != nil || a.Family != unix.AF_INET || a.Port != 8080 || !bytes.Equal(a.IP(), []byte{127, 0, 0, 1}) {
		t.Errorf("%+v, %v", a, err)
	}
	if got := a.Append(nil); !bytes.Equal(got, four) {
		t.Errorf("there and back: %v", got)
	}
	six := append([]byte{10, 0, 0, 80, 0, 0, 0, 7}, bytes.Repeat([]byte{9}, 16)...)
	six = append(six, 3, 0, 0, 0)
	a, err = socket.ParseInet(six)
	if err != nil || a.Port != 80 || a.Flow != 7 || a.Scope != 3 || len(a.IP()) != 16 {
		t.Errorf("%+v, %v", a, err)
	}
	if got := a.Append(nil); !bytes.Equal(got, six) {
		t.Errorf("there and back: %v", got)
	}
	if a, err := socket.ParseInet(six[:24]); err != nil || !a.ShortSin || a.Scope != 0 {
		t.Errorf("the old length: %+v, %v", a, err)
	}
	for _, c := range []struct {
		in   []byte
		want error
	}{{nil, unix.EINVAL}, {four[:15], unix.EINVAL}, {six[:23], unix.EINVAL}, {[]byte{1, 0, 0, 0}, unix.EAFNOSUPPORT}} {
		if _, err := socket.ParseInet(c.in); err != c.want {
			t.Errorf("%v: %v, want %v", c.in, err, c.want)
		}
	}
}

func FuzzParseInet(f *testing.F) {
	f.Add([]byte{2, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(make([]byte, 28))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := socket.ParseInet(b)
		if err != nil {
			return
		}
		again, err := socket.ParseInet(a.Append(nil))
		a.ShortSin = false
		if err != nil || again != a {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

func FuzzParseUnix(f *testing.F) {
	f.Add([]byte("\x01\x00/path"))
	f.Add([]byte("\x01\x00\x00name"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := socket.ParseUnix(b)
		if err != nil {
			return
		}
		if len(n) > 108 {
			t.Errorf("a name of %d bytes", len(n))
		}
		back := n.Append(nil)
		if len(back) > 2+108 {
			return // the NUL that the longest path has no room for
		}
		if again, err := socket.ParseUnix(back); err != nil || again != n {
			t.Errorf("%q became %q, %v", n, again, err)
		}
	})
}

func cmsg(level, typ int32, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(16+len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(level))
	b = binary.LittleEndian.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// nothing is a file of nothing.
type nothing struct{ released int }

func (n *nothing) Release() { n.released++ }

// table has one file, of descriptor 5.
func table(ops *nothing) (*vfs.File, socket.Descriptors) {
	f := vfs.NewFile(ops, &vfs.AnonInode{}, 0, "test")
	return f, func(fd int32) (*vfs.File, error) {
		if fd != 5 {
			return nil, unix.EBADF
		}
		f.IncRef()
		return f, nil
	}
}

func TestParseControl(t *testing.T) {
	five := []byte{5, 0, 0, 0}
	many := bytes.Repeat(five, socket.MaxRights+1)
	cred := socket.AppendCred(nil, socket.Cred{PID: 3, UID: 4, GID: 5})
	long := cmsg(unix.SOL_SOCKET, unix.SCM_RIGHTS, five...)
	binary.LittleEndian.PutUint64(long, 1<<40)
	for _, c := range []struct {
		name   string
		in     []byte
		local  bool
		rights int
		items  int
		err    error
	}{
		{"nothing", nil, true, 0, 0, nil},
		{"a rest", make([]byte, 15), true, 0, 0, nil},
		{"zero length", make([]byte, 16), true, 0, 0, unix.EINVAL},
		{"too long", long, true, 0, 0, unix.EINVAL},
		{"rights", cmsg(unix.SOL_SOCKET, unix.SCM_RIGHTS, five...), true, 1, 0, nil},
		{"two messages of rights", append(cmsg(1, 1, five...), cmsg(1, 1, append(five, five...)...)...), true, 3, 0, nil},
		{"most rights", cmsg(1, 1, many[4:]...), true, socket.MaxRights, 0, nil},
		{"too many rights", cmsg(1, 1, many...), true, 0, 0, unix.EINVAL},
		{"a bad descriptor", cmsg(1, 1, append(five, 6, 0, 0, 0)...), true, 1, 0, unix.EBADF},
		{"rights over IP", cmsg(1, 1, five...), false, 0, 0, unix.EINVAL},
		{"credentials", cmsg(1, 2, cred...), true, 0, 0, nil},
		{"short credentials", cmsg(1, 2, cred[:8]...), true, 0, 0, unix.EINVAL},
		{"unknown", cmsg(1, 99), true, 0, 0, unix.EINVAL},
		{"another level", cmsg(0, 2, 64, 0, 0, 0), false, 0, 1, nil},
	} {
		ops := &nothing{}
		f, files := table(ops)
		got, err := socket.ParseControl(c.in, c.local, files)
		if err != c.err || len(got.Rights) != c.rights || len(got.Items) != c.items {
			t.Errorf("%s: %d rights, %d items, %v", c.name, len(got.Rights), len(got.Items), err)
		}
		if c.name == "credentials" && (!got.HasCred || got.Cred != socket.Cred{PID: 3, UID: 4, GID: 5}) {
			t.Errorf("%s: %+v", c.name, got)
		}
		got.Release()
		if f.Refs() != 1 {
			t.Errorf("%s: %d references are left", c.name, f.Refs())
		}
		if f.DecRef(); ops.released != 1 {
			t.Errorf("%s: released %d times", c.name, ops.released)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(cmsg(1, 1, 5, 0, 0, 0), true)
	f.Add(append(cmsg(0, 2, 64, 0, 0, 0), cmsg(1, 2, make([]byte, 12)...)...), false)
	f.Fuzz(func(t *testing.T, b []byte, local bool) {
		file, files := table(&nothing{})
		c, _ := socket.ParseControl(b, local, files)
		if len(c.Rights) > socket.MaxRights || len(c.Items) > 64 {
			t.Errorf("%d rights, %d items", len(c.Rights), len(c.Items))
		}
		if int64(len(c.Rights)) != file.Refs()-1 {
			t.Errorf("%d rights, %d references", len(c.Rights), file.Refs())
		}
		c.Release()
		if file.Refs() != 1 {
			t.Errorf("%d references are left", file.Refs())
		}
	})
}

// TestControlWriter: what fits is there whole, what does not is cut, as put_cmsg
// has it; and the guest's buffer is never overrun.
func TestControlWriter(t *testing.T) {
	for room := range 80 {
		w := socket.ControlWriter{Max: room}
		w.Put(1, 2, []byte("12345"))
		w.Put(3, 4, []byte("abcdefgh"))
		if len(w.Buf) > room {
			t.Fatalf("%d bytes in a buffer of %d", len(w.Buf), room)
		}
		if whole := room >= 24+24; w.Truncated == whole {
			t.Errorf("room for %d: truncated %v", room, w.Truncated)
		}
		if room >= 24 && !bytes.Equal(w.Buf[:21], cmsg(1, 2, []byte("12345")...)[:21]) {
			t.Errorf("room for %d: %v", room, w.Buf)
		}
	}
}

func TestTimeval(t *testing.T) {
	tv := func(sec, usec int64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(sec)), uint64(usec))
	}
	for _, c := range []struct {
		in   []byte
		want time.Duration
		err  error
	}{
		{tv(0, 0), 0, nil},
		{tv(2, 5), 2*time.Second + 5*time.Microsecond, nil},
		{tv(1<<62, 0), 0, nil},
		{tv(-1, 0), time.Nanosecond, nil},
		{tv(0, 1000000), 0, unix.EDOM},
		{tv(0, -1), 0, unix.EDOM},
		{tv(0, 0)[:15], 0, unix.EINVAL},
	} {
		if got, err := socket.ParseTimeval(c.in); got != c.want || err != c.err {
			t.Errorf("%v: %v, %v", c.in, got, err)
		}
	}
	if diff := cmp.Diff(tv(3, 7), socket.TimevalValue(3*time.Second+7*time.Microsecond)); diff != "" {
		t.Error(diff)
	}
}

func TestBufferSizes(t *testing.T) {
	for _, c := range []struct{ in, snd, rcv int32 }{
		{0, 4608, 2304}, {1, 4608, 2304}, {5000, 10000, 10000}, {1 << 30, 2 * socket.MaxBuffer, 2 * socket.MaxBuffer}, {-1, 2 * socket.MaxBuffer, 2 * socket.MaxBuffer},
	} {
		if s, r := socket.SendBuffer(c.in), socket.RecvBuffer(c.in); s != c.snd || r != c.rcv {
			t.Errorf("%d: %d and %d, want %d and %d", c.in, s, r, c.snd, c.rcv)
		}
	}
}
