package unikernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
	"runsc-lite/archive"
)

// entry is an entry of a tar archive: a directory if the name ends in a slash, a
// link if to is set, a file otherwise.
type entry struct {
	name, text, to string
	kind           byte
	mode           int64
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644, Size: int64(len(e.text)), Linkname: e.to, ModTime: time.Unix(1e9, 0)}
		if e.mode != 0 {
			h.Mode = e.mode
		}
		if e.kind == 0 {
			switch {
			case strings.HasSuffix(e.name, "/"):
				h.Typeflag, h.Mode = tar.TypeDir, 0o755
			case e.to != "":
				h.Typeflag = tar.TypeSymlink
			default:
				h.Typeflag = tar.TypeReg
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listing spells a tree, one line a name.
func listing(t testing.TB, root *archive.Node) string {
	t.Helper()
	var b strings.Builder
	var walk func(path string, n *archive.Node)
	walk = func(path string, n *archive.Node) {
		for _, name := range slices.Sorted(maps.Keys(n.Children)) {
			c := n.Children[name]
			at := path + name
			switch c.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				fmt.Fprintln(&b, at+"/")
				walk(at+"/", c)
			case unix.S_IFLNK:
				fmt.Fprintln(&b, at+" -> "+c.Target)
			case unix.S_IFREG:
				f, err := c.Open()
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(f)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				fmt.Fprintf(&b, "%s = %s\n", at, text)
			default:
				fmt.Fprintf(&b, "%s %#o %d\n", at, c.Mode, c.Rdev)
			}
		}
	}
	walk("", root)
	return b.String()
}

func tempSpool(t testing.TB) *spool {
	t.Helper()
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// gzipped and zstded compress.
func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func TestTar(t *testing.T) {
	b := tarOf(t,
		entry{name: "./"}, entry{name: "usr/"}, entry{name: "usr/bin/"}, entry{name: "bin", to: "usr/bin"},
		entry{name: "bin/tool", text: "through the link"}, entry{name: "/absolute", text: "a"},
		entry{name: "missing/parents/f", text: "p"}, entry{name: "hard", to: "absolute", kind: tar.TypeLink},
		entry{name: "null", kind: tar.TypeChar}, entry{name: "pipe", kind: tar.TypeFifo},
		entry{name: "twice", text: "first"}, entry{name: "twice", text: "second"},
		entry{name: ".wh.kept", text: "no whiteout here"},
	)
	want := `.wh.kept = no whiteout here
absolute = a
bin -> usr/bin
hard = a
missing/
missing/parents/
missing/parents/f = p
null 020644 0
pipe 010644 0
twice = second
usr/
usr/bin/
usr/bin/tool = through the link
`
	for name, b := range map[string][]byte{"plain": b, "gzip": gzipped(b), "zstd": zstded(b)} {
		path := filepath.Join(t.TempDir(), "root.tar")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := fromTar(path, tempSpool(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := listing(t, root); got != want {
			t.Errorf("%s:\n%s", name, got)
		}
		if root.Children["hard"] != root.Children["absolute"] {
			t.Error("a hard link is another file")
		}
	}
}

// TestTarRefuses: what climbs out, and what cannot be.
func TestTarRefuses(t *testing.T) {
	for name, entries := range map[string][]entry{
		"a path that climbs out":      {{name: "../f", text: "x"}},
		"one that does in the middle": {{name: "a/../../f", text: "x"}},
		"a hard link that does":       {{name: "f", to: "../../etc/passwd", kind: tar.TypeLink}},
		"a hard link to nothing":      {{name: "f", to: "g", kind: tar.TypeLink}},
		"a hard link to a directory":  {{name: "d/"}, {name: "f", to: "d", kind: tar.TypeLink}},
		"a file as a directory":       {{name: "f", text: "x"}, {name: "f/g", text: "x"}},
		"links in a circle":           {{name: "a", to: "b"}, {name: "b", to: "a"}, {name: "a/f", text: "x"}},
		"a root that is a file":       {{name: ".", text: "x"}},
		"a name that is too long":     {{name: strings.Repeat("n", 300), text: "x"}},
	} {
		l := newLayers(tempSpool(t), true)
		if err := l.add(bytes.NewReader(tarOf(t, entries...))); err == nil {
			t.Errorf("%s is taken:\n%s", name, listing(t, l.root))
		}
	}
	// A symbolic link that climbs out is a file like others, but nothing is put
	// through it anywhere else than into the tree.
	l := newLayers(tempSpool(t), true)
	if err := l.add(bytes.NewReader(tarOf(t, entry{name: "up", to: "../../.."}, entry{name: "up/f", text: "x"}))); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, l.root); got != "f = x\nup -> ../../..\n" {
		t.Error(got)
	}
}

// writeLayout makes an OCI layout with one image.
func writeLayout(t testing.TB, config string, layers ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	blob := func(b []byte) ociDescriptor {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", sum), b, 0o644); err != nil {
			t.Fatal(err)
		}
		return ociDescriptor{Digest: "sha256:" + sum, Size: int64(len(b))}
	}
	m := ociManifest{Config: blob([]byte(config))}
	for _, l := range layers {
		m.Layers = append(m.Layers, blob(l))
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d := blob(text)
	d.Annotations = map[string]string{refAnnotation: "latest"}
	index, err := json.Marshal(ociIndex{Manifests: []ociDescriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const sampleConfig = `{"os":"linux","architecture":"amd64","config":{"User":"web:staff","Env":["A=1","PATH=/bin"],
"Entrypoint":["tool"],"Cmd":["default"],"WorkingDir":"/srv"}}`

func sampleLayers(t testing.TB) [][]byte {
	return [][]byte{
		tarOf(t, entry{name: "etc/passwd", text: "root:x:0:0::/:\nweb:x:33:33::/:\n"}, entry{name: "etc/group", text: "staff:x:50:\n"},
			entry{name: "srv/old", text: "o"}, entry{name: "srv/sub/lower", text: "l"}, entry{name: "gone/f", text: "g"}, entry{name: "bin/tool", text: "t", mode: 0o755}),
		gzipped(tarOf(t, entry{name: "srv/new", text: "n"}, entry{name: "srv/.wh..wh..opq"}, entry{name: "srv/sub/upper", text: "u"}, entry{name: ".wh.gone"})),
		zstded(tarOf(t, entry{name: "srv/.wh.never"}, entry{name: "srv/sub/.wh.upper"})),
	}
}

func TestLayout(t *testing.T) {
	dir := writeLayout(t, sampleConfig, sampleLayers(t)...)
	spec := Spec{Root: dir}
	root, err := spec.tree(tempSpool(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `bin/
bin/tool = t
etc/
etc/group = staff:x:50:

etc/passwd = root:x:0:0::/:
web:x:33:33::/:

srv/
srv/new = n
srv/sub/
`
	if got := listing(t, root); got != want {
		t.Errorf("got\n%s", got)
	}
	if err := spec.complete(root); err != nil {
		t.Fatal(err)
	}
	if spec.UID != 33 || spec.GID != 50 || spec.Cwd != "/srv" || !slices.Equal(spec.Entry, []string{"tool"}) ||
		!slices.Equal(spec.Args, []string{"default"}) || !slices.Equal(spec.Env, []string{"TERM", "A=1", "PATH=/bin"}) {
		t.Errorf("%+v", spec)
	}
	if _, _, err := fromLayout(dir, "other", tempSpool(t)); err == nil || !strings.Contains(err.Error(), "latest") {
		t.Errorf("a tag that is not there: %v", err)
	}
}

func TestLayoutRefuses(t *testing.T) {
	good := writeLayout(t, sampleConfig, sampleLayers(t)...)
	// Each file of it damaged, one at a time.
	err := filepath.WalkDir(good, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "oci-layout" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, bad := range [][]byte{append(bytes.Clone(b), 'x'), b[:len(b)-1], append([]byte("y"), b[1:]...)} {
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				return err
			}
			// What is appended to a blob is never read.
			longer := len(bad) > len(b) && d.Name() != "index.json"
			if _, _, err := fromLayout(good, "", tempSpool(t)); err == nil && !longer {
				t.Errorf("%s with %d instead of %d bytes is taken", d.Name(), len(bad), len(b))
			}
		}
		return os.WriteFile(path, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{
		"another machine": writeLayout(t, `{"os":"linux","architecture":"arm64"}`),
		"no JSON":         writeLayout(t, `{`),
	} {
		if _, _, err := fromLayout(dir, "", tempSpool(t)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, digest := range []string{"sha256:../../../etc/passwd", "sha256:00", "md5:00", "", "sha256:" + strings.Repeat("z", 64)} {
		if _, err := layout(good).open(ociDescriptor{Digest: digest, Size: 1}); err == nil {
			t.Errorf("digest %q is taken", digest)
		}
	}
}

// static is a program that is none, but looks as one to pack.
func runnerFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runner")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho the runner\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "bin"), 0o755),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o700),
		os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky),
		os.WriteFile(filepath.Join(dir, "bin", "tool"), []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "data"), bytes.Repeat([]byte("0123456789"), 50000), 0o600),
		os.Link(filepath.Join(dir, "data"), filepath.Join(dir, "hard")),
		os.Symlink("bin/tool", filepath.Join(dir, "link")),
		os.Chtimes(filepath.Join(dir, "data"), time.Unix(1e9, 5), time.Unix(1e9, 5)),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBuild makes an image of a directory and takes it apart again, as a directory
// and as a tar archive, of which the same image can be made.
func TestBuild(t *testing.T) {
	dir, runner := sampleDir(t), runnerFile(t)
	out := filepath.Join(t.TempDir(), "app")
	build := func(out, runner, root string) []byte {
		t.Helper()
		spec := Spec{Root: root, Config: Config{Entry: []string{"/link"}}, Arguments: []string{"a"}}
		if err := Build(out, runner, spec); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := build(out, runner, dir)
	if again := build(out+"2", out, dir); !bytes.Equal(first, again) {
		t.Error("made by an image, it is another")
	}
	image, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if !slices.Equal(image.Config.Entry, []string{"/link", "a"}) || image.Config.Cwd != "/" {
		t.Errorf("%+v", image.Config)
	}
	back := filepath.Join(t.TempDir(), "back")
	if err := Unpack(image.Archive, back); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "tmp", "bin/tool", "data", "hard", "pipe"} {
		var a, b unix.Stat_t
		if err := errors.Join(unix.Lstat(filepath.Join(dir, name), &a), unix.Lstat(filepath.Join(back, name), &b)); err != nil {
			t.Fatal(err)
		}
		if a.Mode != b.Mode || a.Mtim != b.Mtim || a.Uid != b.Uid || a.Nlink != b.Nlink || a.Size != b.Size {
			t.Errorf("%s is\n%+v, was\n%+v", name, b, a)
		}
	}
	for _, name := range []string{"data", "link"} {
		a, err1 := os.ReadFile(filepath.Join(dir, name))
		b, err2 := os.ReadFile(filepath.Join(back, name))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s has other content, %v", name, err)
		}
	}
	if err := Unpack(image.Archive, back); err == nil {
		t.Error("it unpacks over what is there")
	}
	var asTar bytes.Buffer
	if err := WriteTar(&asTar, image.Archive); err != nil {
		t.Fatal(err)
	}
	tarFile := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(tarFile, asTar.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, build(out+"3", runner, tarFile)) {
		t.Error("the image of its tar archive is another")
	}
}

// TestBuildRefuses: an image that could not start is not made, and nothing is left.
func TestBuildRefuses(t *testing.T) {
	dir, runner := sampleDir(t), runnerFile(t)
	for name, x := range map[string]struct {
		spec Spec
		want string
	}{
		"no program":          {Spec{Root: dir}, "which program"},
		"not in the image":    {Spec{Root: dir, Config: Config{Entry: []string{"/bin/other"}}}, "/bin/other is not in the image"},
		"not in PATH":         {Spec{Root: dir, Config: Config{Entry: []string{"other"}}}, "/usr/bin/other"},
		"not executable":      {Spec{Root: dir, Config: Config{Entry: []string{"/data"}}}, "no executable"},
		"no such directory":   {Spec{Root: dir, Config: Config{Entry: []string{"/link"}, Cwd: "/srv"}}, "/srv"},
		"no such user":        {Spec{Root: dir, Config: Config{Entry: []string{"/link"}}, User: "web"}, `user "web"`},
		"no such group":       {Spec{Root: dir, Config: Config{Entry: []string{"/link"}}, User: "1:web"}, `group "web"`},
		"no such root":        {Spec{Root: dir + "/none", Config: Config{Entry: []string{"/link"}}}, "none"},
		"no tar archive":      {Spec{Root: filepath.Join(dir, "data"), Config: Config{Entry: []string{"/link"}}}, "tar archive"},
		"a script alone":      {Spec{Program: filepath.Join(dir, "bin", "tool")}, "--root"},
		"a directory":         {Spec{Program: dir}, "no regular file"},
		"a dynamic program":   {Spec{Program: "/bin/sh"}, "not static"},
		"a program too high":  {Spec{Program: "/proc/self/exe", Config: Config{Entry: []string{"/../x/.."}}}, "no path"},
		"a program that is /": {Spec{Program: "/proc/self/exe", Config: Config{Entry: []string{"/"}}}, "no path"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "app")
			if err := Build(out, runner, x.spec); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v", err)
			}
			if left, _ := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

func TestEpoch(t *testing.T) {
	dir := sampleDir(t)
	epoch := time.Unix(1e9+1, 0)
	spec := Spec{Root: dir, Epoch: &epoch}
	root, err := spec.tree(tempSpool(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := root.Children["bin"]; n.Sec != 1e9+1 || n.Nsec != 0 {
		t.Errorf("a new directory is of %d.%d", n.Sec, n.Nsec)
	}
	if n := root.Children["data"]; n.Sec != 1e9 || n.Nsec != 5 {
		t.Errorf("an old file is of %d.%d", n.Sec, n.Nsec)
	}
}

// TestUser: users and groups by names and numbers.
func TestUser(t *testing.T) {
	l := newLayers(tempSpool(t), false)
	if err := l.add(bytes.NewReader(tarOf(t,
		entry{name: "etc/passwd", text: "root:x:0:0::/:\nweb:x:33:34::/:\nbad line\n"},
		entry{name: "etc/group", text: "web:x:34:\nextra:x:60:web,other\nbad\n"}))); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"": "0:0 []", "web": "33:34 [60]", "33": "33:34 [60]", "web:extra": "33:60 []", "7": "7:0 []", "7:8": "7:8 []", "root": "0:0 []",
	} {
		s := Spec{User: user}
		if err := s.resolveUser(l.root); err != nil {
			t.Errorf("%q: %v", user, err)
		}
		if got := fmt.Sprintf("%d:%d %v", s.UID, s.GID, s.Groups); got != want {
			t.Errorf("%q is %s, want %s", user, got, want)
		}
	}
}

// FuzzTar: whatever a tar archive says, it makes a tree that can be packed, or an
// error.
func FuzzTar(f *testing.F) {
	for _, l := range sampleLayers(f) {
		f.Add(l)
	}
	f.Add(tarOf(f, entry{name: "../f", text: "x"}, entry{name: "a", to: "b"}, entry{name: "hard", to: "a", kind: tar.TypeLink}))
	s := tempSpool(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A few bytes can say that they are a sparse file of any size.
		for r := tar.NewReader(bytes.NewReader(b)); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			if h.Size > 1<<20 {
				return
			}
		}
		s.end = 0
		l := newLayers(s, true)
		for range 2 {
			if l.add(bytes.NewReader(b)) != nil {
				return
			}
		}
		if _, err := archive.Write(io.Discard, l.root, nil); err != nil {
			t.Error(err)
		}
	})
}
