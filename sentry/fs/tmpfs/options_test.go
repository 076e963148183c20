package tmpfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		text string
		want Options
		said string
	}{
		{"", Options{}, ""},
		{"size=64k,mode=700,uid=1,gid=2", Options{Size: 64 << 10, Mode: 0o700, UID: 1, GID: 2}, "size=64k,mode=700,uid=1,gid=2"},
		{"size=50%", Options{Size: 500 << 12}, "size=2000k"},
		{"size=1,,nr_inodes=1k", Options{Size: 4096, Inodes: 1024}, "size=4k,nr_inodes=1024"},
		{"nr_blocks=0x10,mode=1777", Options{Size: 16 * 4096, Mode: 0o1777}, "size=64k"},
	} {
		var o Options
		if err := ParseOptions(&o, c.text, 1000<<12); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if d := cmp.Diff(c.want, o); d != "" {
			t.Errorf("%s: %s", c.text, d)
		}
		if got := o.String(); got != c.said {
			t.Errorf("%s: spelt %s, want %s", c.text, got, c.said)
		}
	}
	for _, text := range []string{"size", "size=x", "size=99999999999g", "size=9e9e", "mode=9", "uid=-1", "what", "what=1", "nr_blocks=8e"} {
		var o Options
		if err := ParseOptions(&o, text, 1<<30); err != unix.EINVAL {
			t.Errorf("%s: %v, %+v", text, err, o)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("size=64k,mode=700,uid=1,gid=2")
	f.Add("size=50%,nr_inodes=1m,nr_blocks=7")
	f.Fuzz(func(t *testing.T, text string) {
		var o, again Options
		if ParseOptions(&o, text, 1<<30) != nil {
			return
		}
		if o.Size%pageSize != 0 || o.Mode&^0o7777 != 0 {
			t.Errorf("%+v", o)
		}
		if err := ParseOptions(&again, o.String(), 1<<30); err != nil || again.String() != o.String() {
			t.Errorf("%s and %s, %v", o.String(), again.String(), err)
		}
	})
}
