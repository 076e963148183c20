package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHome: a program that has no HOME gets its user's, as the container's own
// /etc/passwd says.
func TestHome(t *testing.T) {
	for _, c := range []struct {
		passwd string
		env    []string
		uid    uint32
		want   string
	}{
		{"root:x:0:0::/root:/bin/sh\nuser:x:1000:1::/home/user:\n", nil, 1000, "/home/user"},
		{"root:x:0:0::/root:/bin/sh\n", []string{"HOME="}, 0, "/root"},
		{"root:x:0:0::/root:/bin/sh\n", []string{"HOME=/mine"}, 0, "/mine"},
		{"root:x:0:0::/root:/bin/sh\n", nil, 7, "/"},
		{"", nil, 0, "/"},
	} {
		b := newBundle(t, "sh", "-c", "echo $HOME")
		b.spec.Process.Env = append(b.spec.Process.Env, c.env...)
		b.spec.Process.User.UID = c.uid
		if c.passwd != "" {
			if err := os.WriteFile(filepath.Join(b.dir, "rootfs/etc/passwd"), []byte(c.passwd), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if out, status := b.run(); status != 0 || strings.TrimSpace(out) != c.want {
			t.Errorf("user %d, %q: status %d, %q; want %q", c.uid, c.env, status, out, c.want)
		}
	}
}
