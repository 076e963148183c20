package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"runsc-lite/runsc-lite/engineconf"
)

// installCommand puts the runtime into the configuration of engines, or takes it out.
type installCommand struct {
	uninstall bool
	name      string
	path      string
	engines   string
	files     map[string]*string // by engine
}

func (i *installCommand) Name() string {
	if i.uninstall {
		return "uninstall"
	}
	return "install"
}

func (i *installCommand) Synopsis() string {
	if i.uninstall {
		return "take the runtime out of the configuration of Docker, containerd and Podman"
	}
	return "put the runtime into the configuration of Docker, containerd and Podman"
}

func (i *installCommand) Usage() string {
	if i.uninstall {
		return `uninstall [flags]

Takes the runtime out of the configuration files that install put it into. All
else stays. The file as it was is kept beside it.

`
	}
	return `install [flags] [-- RUNTIME-FLAGS…]

Puts the runtime into the configuration files of the engines that are there.
All else in them stays. The file as it was is kept beside it. RUNTIME-FLAGS go
before the verb each time that Docker runs it: --platform=ptrace, say.

`
}

func (i *installCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&i.name, "runtime", "runsc-lite", "name by which engines call the runtime")
	f.StringVar(&i.engines, "engines", "", "which, separated by commas: "+strings.Join(engineNames(), ", ")+" (default: those that are there)")
	i.files = make(map[string]*string)
	for _, e := range engineconf.Engines() {
		i.files[e.Name] = f.String(e.Name+"-config", e.File, "configuration file of "+e.Name)
	}
	if !i.uninstall {
		f.StringVar(&i.path, "path", "", "the runtime's program (default: this one)")
	}
}

func engineNames() (names []string) {
	for _, e := range engineconf.Engines() {
		names = append(names, e.Name)
	}
	return names
}

func (i *installCommand) do(_ *globals, _ *slog.Logger, args []string) (int, error) {
	engines, err := i.chosen()
	if err != nil {
		return 0, err
	}
	r := engineconf.Runtime{Name: i.name, Path: i.path, Args: args}
	if i.uninstall && len(args) > 0 {
		return 0, fmt.Errorf("%w: uninstall takes none", errUsage)
	}
	if !i.uninstall {
		if r.Path == "" {
			if r.Path, err = os.Executable(); err != nil {
				return 0, fmt.Errorf("finding this program: %w; --path names it", err)
			}
		}
		if info, err := os.Stat(r.Path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return 0, fmt.Errorf("%s is no program (%v): --path names the runtime's", r.Path, err)
		}
	}
	// One that fails keeps the others from nothing.
	var errs []error
	for _, e := range engines {
		errs = append(errs, i.edit(e, r))
	}
	return 0, errors.Join(errs...)
}

// chosen returns the engines to configure.
func (i *installCommand) chosen() (list []engineconf.Engine, err error) {
	names := strings.FieldsFunc(i.engines, func(r rune) bool { return r == ',' || r == ' ' })
	for _, n := range names {
		if !slices.Contains(engineNames(), n) {
			return nil, fmt.Errorf("there is no engine %q; there are: %s", n, strings.Join(engineNames(), ", "))
		}
	}
	for _, e := range engineconf.Engines() {
		take := slices.Contains(names, e.Name)
		if len(names) == 0 {
			_, there := os.Stat(*i.files[e.Name])
			take = there == nil || installed(e.Program) && !i.uninstall
		}
		if take {
			list = append(list, e)
		}
	}
	if len(list) == 0 && !i.uninstall {
		return nil, fmt.Errorf("none of %s is installed here; --engines chooses one all the same", strings.Join(engineNames(), ", "))
	}
	return list, nil
}

// installed looks for a program in PATH, and where those of administrators are.
func installed(program string) bool {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	return slices.ContainsFunc(append(dirs, "/usr/local/sbin", "/usr/sbin", "/sbin"), func(dir string) bool {
		info, err := os.Stat(filepath.Join(dir, program))
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
}

// edit changes the configuration of one engine.
func (i *installCommand) edit(e engineconf.Engine, r engineconf.Runtime) error {
	file := *i.files[e.Name]
	// The file itself, if its name is a link.
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	old, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		old = nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	var text string
	if i.uninstall {
		text, err = e.Remove(string(old), r.Name)
	} else {
		text, err = e.Add(string(old), r)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", e.Name, file, err)
	}
	if text == string(old) {
		fmt.Printf("%s: %s is as it should be\n", e.Name, file)
		return nil
	}
	backup, err := replaceConfig(file, old, []byte(text))
	if err != nil {
		return fmt.Errorf("%s: writing %s: %w", e.Name, file, err)
	}
	what := "wrote"
	if strings.TrimSpace(text) == "" {
		what = "removed" // nothing else was in it
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	fmt.Printf("%s: %s %s", e.Name, what, file)
	if backup != "" {
		fmt.Printf(" (before: %s)", backup)
	}
	fmt.Printf("; to make it known: %s\n", e.Reload)
	return nil
}

// replaceConfig writes a file anew, in one step, and keeps what it was beside it. old is nil
// if there was none.
func replaceConfig(file string, old, text []byte) (backup string, err error) {
	mode := os.FileMode(0o644)
	if old != nil {
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		mode = info.Mode().Perm()
		backup = file + time.Now().Format(".20060102-150405.bak")
		if err := os.WriteFile(backup, old, mode); err != nil {
			return "", err
		}
	} else if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return backup, err
}
