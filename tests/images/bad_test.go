package images

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

// changed makes an image with other bytes.
func changed(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return alone(t, path)
}

// TestBadImages: an image that is not whole says so, in one line, and runs nothing.
func TestBadImages(t *testing.T) {
	app, err := os.ReadFile(pack(t, hello(t)))
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(runner(t))
	if err != nil {
		t.Fatal(err)
	}
	begin := int(st.Size())
	flip := func(at int) []byte {
		b := bytes.Clone(app)
		b[at] ^= 0x10
		return b
	}
	for name, b := range map[string][]byte{
		"the last byte is missing":     app[:len(app)-1],
		"half of the files is missing": app[:(begin+len(app))/2],
		"only a byte of it is there":   app[:begin+1],
		"something follows":            append(bytes.Clone(app), "more"...),
		"another magic number":         flip(len(app) - 64),
		"another format":               flip(len(app) - 48),
		"another length of the header": flip(len(app) - 44),
		"another length":               flip(len(app) - 40),
		"another digest":               flip(len(app) - 1),
		"another header":               flip(len(app) - 80),
		"another index":                flip(len(app) - 700),
		"another first block":          flip(begin + 100),
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, changed(t, b), nil)
			if got.stdout != "" || got.status != 125 && got.status != 126 && got.status != 127 {
				t.Errorf("%+v", got)
			}
			for _, line := range strings.Split(strings.TrimSpace(got.stderr), "\n") {
				t.Log(line)
			}
			if got.stderr == "" || strings.Contains(got.stderr, "panic") || strings.Count(got.stderr, "\n") > 2 {
				t.Errorf("it says: %s", got.stderr)
			}
		})
	}
}

// TestDamagedFile: damage in a file that the program does not begin with is found
// when it reads it, and by --runsc-lite-info.
func TestDamagedFile(t *testing.T) {
	dir := box(t)
	noise := make([]byte, 3<<20)
	random(noise)
	if err := os.WriteFile(filepath.Join(dir, "data"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pack(t, "--root", dir, "sh", "-c", "echo before; cat /data >/dev/null; echo $?"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, noise[1<<20:1<<20+64])
	if at < 0 {
		t.Fatal("what cannot be compressed is not stored as it is")
	}
	b[at] ^= 1
	app := changed(t, b)
	got := run(t, app, nil)
	if got.stdout != "before\n1\n" || got.status != 0 || !strings.Contains(got.stderr, "checksum") || !strings.Contains(got.stderr, "cat:") {
		t.Errorf("%+v", got)
	}
	if got := run(t, app, nil, "--runsc-lite-info"); got.status != 125 || !strings.Contains(got.stderr, "checksum") {
		t.Errorf("info: %+v", got)
	}
}

// random is the same noise at each call.
func random(b []byte) {
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
}

// first is the time until the first output of a program.
func first(t *testing.T, cmd func(context.Context) *exec.Cmd) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := cmd(ctx)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(out, make([]byte, 1))
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = c.Wait()
	return took
}

// within compares two ways to start, run in turns: the fastest of each, for what
// takes longer was disturbed. On a loaded machine it may take a few rounds until
// both were not.
func within(t *testing.T, most time.Duration, a, b func(context.Context) *exec.Cmd) {
	t.Helper()
	var as, bs []time.Duration
	var more time.Duration
	for range 8 {
		for range 8 {
			as, bs = append(as, first(t, a)), append(bs, first(t, b))
		}
		if more = slices.Min(bs) - slices.Min(as); more <= most {
			t.Logf("%v more than %v", more, slices.Min(as))
			return
		}
	}
	t.Errorf("%v more than %v, at most %v is right", more, slices.Min(as), most)
}

// TestStart: an image starts as fast as do, whatever its size.
func TestStart(t *testing.T) {
	program := hello(t)
	small := pack(t, program)
	start := func(path string, args ...string) func(context.Context) *exec.Cmd {
		return func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, path, args...)
			cmd.Env = harness.BaseEnv()
			return cmd
		}
	}
	t.Run("do", func(t *testing.T) {
		within(t, 3*time.Millisecond, start(runner(t), "do", "--platform=auto", program), start(small))
	})
	t.Run("large", func(t *testing.T) {
		megabytes := 50
		if harness.Slow() {
			megabytes = 500
		}
		dir := t.TempDir()
		copyFile(t, program, filepath.Join(dir, "hello"))
		noise := make([]byte, 1<<20)
		random(noise)
		for i := range megabytes {
			noise[0], noise[1], noise[1<<19] = byte(i), byte(i>>8), byte(i)
			for block := 0; block < len(noise); block += 128 << 10 {
				noise[block+2], noise[block+3] = byte(i), byte(i>>8)
			}
			name := filepath.Join(dir, "data", string(rune('a'+i%26)), "file"+string(rune('0'+i/26)))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, noise, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		large := pack(t, "--root", dir, "/hello")
		if st, err := os.Stat(large); err != nil || st.Size() < int64(megabytes)<<20 {
			t.Fatalf("it is not that large: %v", err)
		}
		within(t, 10*time.Millisecond, start(small), start(large))
	})
}
