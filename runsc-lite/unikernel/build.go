package unikernel

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
	"runsc-lite/hostcall"
)

// Spec says what an image is to hold.
type Spec struct {
	// Config is how the program is started. Of Entry, Args, Env, Cwd and User an
	// OCI image says what the caller does not.
	Config
	// Arguments are what the program gets before what its caller gives. Those of
	// an OCI image's Cmd are in their place, if there are any.
	Arguments []string
	// Root is the file system: a directory, a tar archive or an OCI layout. If it
	// is empty, the image has nothing but Program.
	Root string
	// Tag chooses one of several images of an OCI layout.
	Tag string
	// Program is a file of the host's that is put into the image as Entry[0].
	Program string
	// User is NAME or UID, and :GROUP or :GID after it if it is not the user's
	// own; empty: 0:0, or what an OCI image says.
	User string
	// Epoch is the latest time that a file of the image has (SOURCE_DATE_EPOCH);
	// nil for none.
	Epoch *time.Time
}

// defaultPath is PATH in an image that is not given one.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build writes an image to out, whole or not at all. runner is the executable of
// the runner; if it is an image itself, its archive is left out.
func Build(out, runner string, spec Spec) (err error) {
	s, err := newSpool(filepath.Dir(out))
	if err != nil {
		return err
	}
	defer s.Close()
	root, err := spec.tree(s)
	if err != nil {
		return err
	}
	if err := spec.complete(root); err != nil {
		return err
	}
	config, err := json.Marshal(spec.Config)
	if err != nil {
		return err
	}
	return replace(out, func(w io.Writer) error {
		if err := copyRunner(w, runner); err != nil {
			return err
		}
		_, err := archive.Write(w, root, config)
		return err
	})
}

// tree reads the image's files, and what an OCI image says of how to start it.
func (spec *Spec) tree(s *spool) (root *archive.Node, err error) {
	root = newDir()
	if spec.Root != "" {
		var st os.FileInfo
		if st, err = os.Stat(spec.Root); err != nil {
			return nil, err
		}
		switch {
		case !st.IsDir():
			root, err = fromTar(spec.Root, s)
		case isLayout(spec.Root):
			var c *ociConfig
			if root, c, err = fromLayout(spec.Root, spec.Tag, s); err == nil {
				spec.inherit(c)
			}
		default:
			root, err = fromDir(spec.Root)
		}
		if err != nil {
			return nil, err
		}
	}
	if spec.Program != "" {
		if err := spec.addProgram(root); err != nil {
			return nil, err
		}
	}
	if spec.Epoch != nil {
		each(root, func(n *archive.Node) {
			if at := spec.Epoch.Unix(); n.Sec >= at {
				n.Sec, n.Nsec = at, 0
			}
		})
	}
	return root, nil
}

// inherit takes from an OCI image what the caller does not say.
func (spec *Spec) inherit(c *ociConfig) {
	if len(spec.Entry) == 0 {
		spec.Entry, spec.Args = c.Config.Entrypoint, c.Config.Cmd
		if len(spec.Entry) == 0 && len(spec.Args) > 0 {
			// The program itself is what Cmd says, and what a caller gives
			// instead: here the program stays.
			spec.Entry, spec.Args = spec.Args[:1], spec.Args[1:]
		}
	}
	spec.Env = append(c.Config.Env, spec.Env...)
	if spec.Cwd == "" {
		spec.Cwd = c.Config.WorkingDir
	}
	if spec.User == "" {
		spec.User = c.Config.User
	}
}

// addProgram puts a program of the host's into the tree.
func (spec *Spec) addProgram(root *archive.Node) error {
	n, err := hostFile(spec.Program)
	if err != nil {
		return err
	}
	if spec.Root == "" {
		if err := checkStatic(spec.Program); err != nil {
			return err
		}
	}
	if len(spec.Entry) == 0 {
		spec.Entry = []string{"/" + filepath.Base(spec.Program)}
	}
	// When it was built, and by whom, is nothing that the image should tell of.
	n.Mode, n.UID, n.GID, n.Sec, n.Nsec = unix.S_IFREG|0o755, 0, 0, 0, 0
	dir, base, err := split(spec.Entry[0])
	if err != nil || base == "" {
		return fmt.Errorf("%q is no path for a program", spec.Entry[0])
	}
	at, err := find(root, dir, newDir)
	if err == nil && !at.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return err
	}
	at.Children[base] = n
	spec.Entry[0] = path.Join("/", dir, base)
	return nil
}

// checkStatic says why a program needs more than itself.
func checkStatic(program string) error {
	f, err := elf.Open(program)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is no ELF file: give the files that it needs with --root", program)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("%s is no program for x86-64", program)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: give a root file system with its libraries (--root)", program)
		}
	}
	return nil
}

// complete checks the configuration against the tree and fills in what is open.
func (spec *Spec) complete(root *archive.Node) error {
	if len(spec.Entry) == 0 {
		return errors.New("nothing says which program is to be run")
	}
	if len(spec.Arguments) > 0 {
		spec.Entry, spec.Args = append(spec.Entry, spec.Arguments...), nil
	}
	if len(spec.Entry)+len(spec.Args) > math.MaxUint16 {
		return errors.New("too many arguments")
	}
	dirs := defaultPath
	hasPath := false
	for _, kv := range spec.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs, hasPath = v, true
		}
	}
	if !hasPath {
		spec.Env = append([]string{"PATH=" + defaultPath}, spec.Env...)
	}
	spec.Env = lastOfEach(append([]string{"TERM"}, spec.Env...))
	if spec.Cwd == "" {
		spec.Cwd = "/"
	}
	if at, err := find(root, spec.Cwd, nil); err != nil || !at.IsDir() {
		return fmt.Errorf("the working directory %s is not in the image", spec.Cwd)
	}
	if err := lookPath(root, spec.Entry[0], spec.Cwd, dirs); err != nil {
		return err
	}
	return spec.resolveUser(root)
}

// lastOfEach keeps the last setting of each variable, in the order of the first.
func lastOfEach(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

// copyRunner copies the runner without an archive that it may have.
func copyRunner(w io.Writer, runner string) error {
	f, err := os.Open(runner)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	switch r, err := archive.Open(f, size); {
	case err == nil:
		size = r.Start()
	case !errors.Is(err, archive.ErrNone):
		return fmt.Errorf("%s: %w", runner, err)
	}
	_, err = io.Copy(w, io.NewSectionReader(f, 0, size))
	return err
}

// replace makes the executable file out anew, in one step at the end.
func replace(out string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), ".runsc-lite-pack-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(os.FileMode(0o777 &^ hostcall.Umask())); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}
