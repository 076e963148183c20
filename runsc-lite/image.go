package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"runsc-lite/runsc-lite/unikernel"
	"runsc-lite/sentry"
	"runsc-lite/sentry/syscalls"
)

// infoFlag is the one argument that an image takes for itself.
const infoFlag = "--runsc-lite-info"

// Environment variables by which the caller of an image overrides what it was
// packed with. They are not handed on.
const (
	platformVariable = "RUNSC_LITE_PLATFORM"
	memoryVariable   = "RUNSC_LITE_MEMORY"
	straceVariable   = "RUNSC_LITE_STRACE"
)

// runImage is the runner's main function if it is an image: it boots what is
// inside, as do would.
func runImage(image *unikernel.Image, err error) int {
	b := boot{}
	status := exitFailure
	if err == nil {
		defer image.Close()
		if len(os.Args) == 2 && os.Args[1] == infoFlag {
			status, err = 0, printInfo(image)
		} else {
			status, err = bootImage(image, &b, os.Args[1:])
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		if status == 0 {
			return exitFailure
		}
	}
	b.endAsInterrupted(status)
	return status
}

func bootImage(image *unikernel.Image, b *boot, args []string) (int, error) {
	c := &image.Config
	memory := sizeFlag(c.Memory)
	if v := os.Getenv(memoryVariable); v != "" {
		if err := memory.Set(v); err != nil {
			return exitFailure, fmt.Errorf("%s: %w", memoryVariable, err)
		}
	}
	b.platform = cmp.Or(os.Getenv(platformVariable), c.Platform, "auto")
	switch v := os.Getenv(straceVariable); v {
	case "", "0":
	case "1":
		b.trace.strace.on = true
	default:
		b.trace.strace = outputFlag{true, v}
	}
	if len(args) == 0 {
		args = c.Args
	}
	return b.run(sentry.Spec{
		Image:  image.Archive,
		Cwd:    c.Cwd,
		Argv:   append(c.Entry[:len(c.Entry):len(c.Entry)], args...),
		Env:    imageEnv(c.Env),
		UID:    c.UID,
		GID:    c.GID,
		Groups: c.Groups,
		Memory: uint64(memory),
	})
}

// imageEnv is the program's environment: what the image sets, and of the caller's
// what it names.
func imageEnv(list []string) (env []string) {
	for _, kv := range list {
		if strings.Contains(kv, "=") {
			env = append(env, kv)
		} else if v, ok := os.LookupEnv(kv); ok {
			env = append(env, kv+"="+v)
		}
	}
	return env
}

// printInfo says what is inside. It reads all of it, and so finds damage, too.
func printInfo(image *unikernel.Image) error {
	c := &image.Config
	memory := sizeFlag(c.Memory)
	packed, files, inodes := image.Archive.Sizes()
	owner := strconv.Itoa(int(c.UID)) + ":" + strconv.Itoa(int(c.GID))
	for _, row := range [][2]string{
		{"runsc-lite", version},
		{"packed by", c.Version},
		{"kernel", syscalls.Sysname + " " + syscalls.Release},
		{"digest", image.Archive.Digest()},
		{"entry", quote(c.Entry)},
		{"args", quote(c.Args)},
		{"env", quote(c.Env)},
		{"cwd", c.Cwd},
		{"user", owner},
		{"platform", cmp.Or(c.Platform, "auto")},
		{"memory", memory.String()},
		{"files", fmt.Sprintf("%d, %d bytes", inodes, files)},
		{"size", fmt.Sprintf("%d bytes, %d of them the files", uint64(image.Archive.Start())+packed, packed)},
	} {
		if row[1] != "" {
			fmt.Printf("%-12s%s\n", row[0]+":", row[1])
		}
	}
	return image.Archive.Verify()
}

// quote spells words so that it is seen where each ends, and nothing in them acts
// on the terminal.
func quote(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if q := strconv.Quote(w); w == "" || strings.ContainsAny(w, " \t'\"") || q[1:len(q)-1] != w {
			w = q
		}
		b.WriteString(w)
	}
	return b.String()
}
