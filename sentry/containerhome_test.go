package sentry

import "testing"

func TestHomeOf(t *testing.T) {
	const passwd = "# comment\nroot:x:0:0:root:/root:/bin/sh\nshort:x:5\nempty:x:6:6:::/bin/sh\nbad:x:-7:7::/bad:\n" +
		"user:x:1000:1000:A User,,,:/home/user:/bin/sh\ntwice:x:1000:1:::/other:\nlast:x:4294967294:1::/last"
	for uid, want := range map[uint32]string{0: "/root", 5: "/", 6: "/", 7: "/", 1000: "/home/user", 4294967294: "/last", 9: "/"} {
		if got := homeOf([]byte(passwd), uid); got != want {
			t.Errorf("user %d: want %s, got %s", uid, want, got)
		}
	}
	if got := homeOf(nil, 0); got != "/" {
		t.Errorf("without a file: %s", got)
	}
}

func FuzzHomeOf(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\n"), uint32(0))
	f.Fuzz(func(t *testing.T, passwd []byte, uid uint32) {
		if homeOf(passwd, uid) == "" {
			t.Error("no directory")
		}
	})
}
