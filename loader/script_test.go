package loader

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// linuxScript is Linux's load_script, line by line: the interpreter's name and
// argument, as strings in C end.
func linuxScript(buf [headSize]byte) (words []string, err error) {
	spacetab := func(c byte) bool { return c == ' ' || c == '\t' }
	// Both look at last too, and return -1 if they find nothing.
	skipSpacetab := func(first, last int) int {
		for ; first <= last; first++ {
			if !spacetab(buf[first]) {
				return first
			}
		}
		return -1
	}
	nextTerminator := func(first, last int) int {
		for ; first <= last; first++ {
			if spacetab(buf[first]) || buf[first] == 0 {
				return first
			}
		}
		return -1
	}
	str := func(at int) string {
		s, _, _ := bytes.Cut(buf[at:], []byte{0})
		return string(s)
	}

	if buf[0] != '#' || buf[1] != '!' {
		return nil, unix.ENOEXEC
	}
	bufEnd := len(buf) - 1
	end := -1
	for i, c := range buf { // strnchr
		if c == '\n' {
			end = i
		}
		if c == '\n' || c == 0 {
			break
		}
	}
	if end < 0 {
		if end = skipSpacetab(2, bufEnd); end < 0 {
			return nil, unix.ENOEXEC
		}
		if nextTerminator(end, bufEnd) < 0 {
			return nil, unix.ENOEXEC
		}
		end = bufEnd
	}
	for spacetab(buf[end-1]) {
		end--
	}
	name := skipSpacetab(2, end)
	if name < 0 || name == end {
		return nil, unix.ENOEXEC
	}
	arg := -1
	sep := nextTerminator(name, end)
	if sep >= 0 && buf[sep] != 0 {
		arg = skipSpacetab(sep, end)
	}
	buf[end] = 0
	if arg >= 0 {
		buf[sep] = 0
		return []string{str(name), str(arg)}, nil
	}
	return []string{str(name)}, nil
}

// scriptLines are beginnings of scripts. INTERP stands for a program's path, and
// FILL(n) for so many x.
func scriptLines(interp string) []string {
	fill := func(n int) string { return strings.Repeat("x", n) }
	pad := func(n int) string { return strings.Repeat(" ", n) }
	n := len(interp)
	return []string{
		"#!" + interp, "#!" + interp + "\n", "#! " + interp + "\nmore\n", "#!\t " + interp + " \t\n",
		"#!" + interp + " argument\n", "#!" + interp + "   two words  \n", "#!" + interp + "\targument\t", "#!" + interp + " a\x00b\n",
		"#!" + interp + "\x00 argument\n", "#!" + interp + " \x00\n", "#!" + interp + "\r\n", "#!\n", "#!", "#! \t \n", "#!\x00", "#!\x00\n",
		"#!" + interp + " " + fill(252-n), "#!" + interp + " " + fill(253-n), "#!" + interp + " " + fill(254-n), "#!" + interp + " " + fill(400) + "\n",
		"#!" + interp + fill(300) + "\n", "#!" + interp + pad(300) + "argument\n", "#!" + pad(250-n) + interp + "\n", "#!" + pad(254-n) + interp + "\n",
		"#!" + pad(253-n) + interp, "#!" + pad(254-n) + interp, "#!" + pad(300) + interp + "\n", "#!" + pad(253-n) + interp + " ",
		"#!/no/such/interpreter\n", "#!/\n", "#!" + interp + "/\n", "# !" + interp + "\n", "#!\n" + interp + "\n", "#!" + interp + " - \n",
	}
}

// TestScriptLikeHost executes scripts on the host and loads them: the error or the
// arguments must be the same.
func TestScriptLikeHost(t *testing.T) {
	dir := t.TempDir()
	interp := filepath.Join(dir, "interp")
	// It prints its arguments, each on a line.
	if err := os.Symlink("/usr/bin/printf", interp); err != nil {
		t.Fatal(err)
	}
	elf, err := os.ReadFile("/usr/bin/printf")
	if err != nil {
		t.Skip(err)
	}
	for i, text := range scriptLines(interp) {
		path := filepath.Join(dir, fmt.Sprint("script", i))
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		// With printf as the interpreter, the optional argument or the script's
		// name is the format, and the rest is printed by it: enough to know the
		// error, while the arguments are compared with Linux's rules below.
		hostErr := exec.Command(path, "one").Run()
		var exit *exec.ExitError
		if errors.As(hostErr, &exit) {
			hostErr = nil
		}
		w := newWorld(t)
		w.add(path, []byte(text))
		w.add(interp, elf)
		const ld = "/lib64/ld-linux-x86-64.so.2"
		w.add(ld, host(t, ld))
		r := w.request(path, path, "one")
		open := r.Open
		r.Open = func(name string) (File, error) {
			if w.files[name] == nil {
				var st unix.Stat_t
				if err := unix.Stat(name, &st); err != nil {
					return nil, err
				}
				return nil, unix.EACCES // a directory
			}
			return open(name)
		}
		img, err := w.load(r)
		if hostErr != nil || err != nil {
			var e syscall.Errno
			if !errors.As(hostErr, &e) || e != err {
				t.Errorf("%q: the host says %v, Load %v", text, hostErr, err)
			}
			continue
		}
		var head [headSize]byte
		copy(head[:], text)
		words, err := linuxScript(head)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if want := append(words, path, "one"); !slices.Equal(img.Argv, want) {
			t.Errorf("%q: arguments %q, want %q", text, img.Argv, want)
		}
	}
}

// TestScriptChain runs scripts by scripts.
func TestScriptChain(t *testing.T) {
	w := newWorld(t)
	w.add("/s0", newProgram().bytes())
	for i := 1; i <= 7; i++ {
		w.add(fmt.Sprint("/s", i), []byte(fmt.Sprintf("#!/s%d arg%d\n", i-1, i)))
	}
	for n, want := range []error{nil, nil, nil, nil, nil, nil, unix.ELOOP, unix.ELOOP} {
		path := fmt.Sprint("/s", n)
		r := w.request(path, "zero", "one")
		img, err := w.load(r)
		if err != want {
			t.Errorf("%d scripts: %v, want %v", n, err, want)
		}
		if err != nil {
			continue
		}
		argv := []string{"zero", "one"}
		for i := n; i > 0; i-- {
			argv = append([]string{fmt.Sprint("/s", i-1), fmt.Sprint("arg", i), fmt.Sprint("/s", i)}, argv[1:]...)
		}
		got := readStack(t, r.Space, img)
		if !slices.Equal(got.argv, argv) {
			t.Errorf("%d scripts: %q, want %q", n, got.argv, argv)
		}
		if img.Exe != File(w.files["/s0"]) {
			t.Errorf("%d scripts: the program is %s", n, img.Exe.MappedName())
		}
		if name, _ := r.Space.CopyInString(hostAddr(got.aux[atExecFn]), 100); name != path {
			t.Errorf("%d scripts: AT_EXECFN %q", n, name)
		}
	}
	// A script that names itself.
	w.add("/loop", []byte("#!/loop\n"))
	if _, err := w.load(w.request("/loop", "loop")); err != unix.ELOOP {
		t.Errorf("a script that names itself: %v", err)
	}
	// Without arguments, and with too many.
	r := w.request("/s1")
	if img, err := w.load(r); err != nil || !slices.Equal(img.Argv, []string{"/s0", "arg1", "/s1"}) {
		t.Errorf("without arguments: %v", err)
	}
	r = w.request("/s1", "zero", strings.Repeat("x", maxString-1))
	r.StackLimit = 4 * (maxString + 20)
	if _, err := w.load(r); err != unix.E2BIG {
		t.Errorf("no room for what the script adds: %v", err)
	}
	if _, err := w.load(w.request("/s1", "zero", strings.Repeat("x", maxString))); err != unix.E2BIG {
		t.Errorf("a long argument: %v", err)
	}
}
