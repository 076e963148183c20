package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/subcommands"

	"runsc-lite/runsc-lite/unikernel"
)

// packCommand makes a one-file image.
type packCommand struct {
	out      string
	root     string
	tag      string
	entry    string
	cwd      string
	user     string
	platform string
	env      passFlag
	memory   sizeFlag
}

// passFlag collects --env NAME=VALUE and --env NAME.
type passFlag struct{ envFlag }

// Set implements flag.Value.
func (p *passFlag) Set(s string) error {
	if s == "" || s[0] == '=' {
		return fmt.Errorf("%q is not of the form NAME=VALUE or NAME", s)
	}
	p.envFlag = append(p.envFlag, s)
	return nil
}

func (*packCommand) Name() string { return "pack" }
func (*packCommand) Synopsis() string {
	return "make one executable of a program, its files and the kernel"
}
func (*packCommand) Usage() string {
	return `pack -o FILE [flags] PROGRAM [ARGS…]
pack -o FILE --root ROOT [flags] [PROGRAM [ARGS…]]

Writes an executable that boots PROGRAM on a kernel of its own and needs nothing
else. Without --root, PROGRAM is a static program of the host's. With it, PROGRAM
is in ROOT: a directory, a tar archive (compressed with gzip or zstd, or not), or
the directory of an OCI layout, which says itself what is to be run. What the
caller of the executable gives it comes after ARGS; of an OCI image, in place of
its Cmd.

Called with --runsc-lite-info, the executable tells what is in it. Its caller's
RUNSC_LITE_PLATFORM and RUNSC_LITE_MEMORY go before what is packed, and
RUNSC_LITE_STRACE=1 (or =FILE) shows its system calls.

The same files and flags give the same executable. SOURCE_DATE_EPOCH, in seconds,
is the latest time that a file in it has.

`
}

func (p *packCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&p.out, "o", "", "the `FILE` to write")
	f.StringVar(&p.root, "root", "", "the program's root file system: a directory, a tar archive or an OCI layout")
	f.StringVar(&p.tag, "tag", "", "which of the images of an OCI layout")
	f.StringVar(&p.entry, "entry", "", "`PATH` of the program in the image; what follows the flags are its arguments,\nbut without --root the program of the host's that is put there")
	f.StringVar(&p.cwd, "cwd", "", "working directory (default: what an OCI image says, or /)")
	f.StringVar(&p.user, "user", "", "`USER[:GROUP]`, numbers or names of the image, that the program runs as\n(default: what an OCI image says, or 0:0)")
	f.StringVar(&p.platform, "platform", "", "how guest code is run (default: auto): "+platformNames)
	f.Var(&p.env, "env", "set NAME=VALUE in the program's environment, or with NAME alone hand on what the\ncaller has; may be repeated")
	f.Var(&p.memory, "memory", "how much memory the sandbox may hold, such as 512M (default: what the host has)")
}

func (p *packCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if p.out == "" || p.root == "" && f.NArg() == 0 {
		fmt.Fprint(os.Stderr, p.Usage())
		return subcommands.ExitUsageError
	}
	if err := p.pack(f.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: packing %s: %v\n", p.out, err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

func (p *packCommand) pack(args []string) error {
	spec := unikernel.Spec{Root: p.root, Tag: p.tag, User: p.user}
	spec.Version, spec.Cwd, spec.Env, spec.Memory, spec.Platform = version, p.cwd, p.env.envFlag, uint64(p.memory), p.platform
	if p.platform != "" {
		if _, err := newPlatform(p.platform, nil); err != nil {
			return err
		}
	}
	if p.entry != "" {
		spec.Entry = []string{p.entry}
	}
	switch {
	case p.root == "":
		spec.Program, args = args[0], args[1:]
	case p.entry == "" && len(args) > 0:
		spec.Entry, args = args[:1:1], args[1:]
	}
	spec.Arguments = args
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return errors.New("SOURCE_DATE_EPOCH is no number of seconds")
		}
		epoch := time.Unix(seconds, 0)
		spec.Epoch = &epoch
	}
	return unikernel.Build(p.out, "/proc/self/exe", spec)
}

// unpackCommand takes an image apart.
type unpackCommand struct {
	out string
	tar bool
}

func (*unpackCommand) Name() string     { return "unpack" }
func (*unpackCommand) Synopsis() string { return "get the files back that are in an image" }
func (*unpackCommand) Usage() string {
	return `unpack -o DIR IMAGE
unpack --tar IMAGE

Writes the files of an image that pack made into a directory, which must not be
there yet or be empty, or as a tar archive to standard output.

`
}

func (u *unpackCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&u.out, "o", "", "the `DIR` to write to")
	f.BoolVar(&u.tar, "tar", false, "write a tar archive to standard output")
}

func (u *unpackCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if f.NArg() != 1 || (u.out == "") != u.tar {
		fmt.Fprint(os.Stderr, u.Usage())
		return subcommands.ExitUsageError
	}
	if err := u.unpack(f.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: unpacking %s: %v\n", f.Arg(0), err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

func (u *unpackCommand) unpack(name string) error {
	image, err := unikernel.Open(name)
	if err != nil {
		return err
	}
	defer image.Close()
	if u.tar {
		return unikernel.WriteTar(os.Stdout, image.Archive)
	}
	return unikernel.Unpack(image.Archive, u.out)
}
