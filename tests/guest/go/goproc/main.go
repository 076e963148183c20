// Goproc is a guest program in Go that makes processes and gets signals.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

var tests = []struct {
	name string
	fn   func() error
}{
	{"run", run},
	{"output", output},
	{"parallel", parallel},
	{"killed", killed},
	{"signals", signals},
	{"not_found", notFound},
	{"stdin", stdin},
	{"extra_files", extraFiles},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Println("usage: goproc --list | TEST")
		os.Exit(2)
	}
	for _, t := range tests {
		if os.Args[1] == "--list" {
			fmt.Println(t.name)
			continue
		}
		if t.name != os.Args[1] {
			continue
		}
		if err := t.fn(); err != nil {
			fmt.Println(t.name+":", err)
			os.Exit(1)
		}
		fmt.Println(t.name + ": ok")
		return
	}
	if os.Args[1] != "--list" {
		os.Exit(2)
	}
}

func sh(script string) *exec.Cmd { return exec.Command("/bin/busybox", "sh", "-c", script) }

func run() error {
	for want := range 10 {
		err := sh(fmt.Sprintf("exit %d", want)).Run()
		var exit *exec.ExitError
		if want == 0 && err != nil || want != 0 && (!errors.As(err, &exit) || exit.ExitCode() != want) {
			return fmt.Errorf("want status %d, got %w", want, err)
		}
	}
	return nil
}

func output() error {
	cmd := sh("echo out; echo err >&2; echo $VAR; basename $PWD")
	cmd.Env = []string{"VAR=value"}
	cmd.Dir = "/proc"
	b, err := cmd.CombinedOutput()
	if err != nil || string(b) != "out\nerr\nvalue\nproc\n" {
		return fmt.Errorf("%q, %w", b, err)
	}
	return nil
}

func parallel() error {
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			b, err := sh(fmt.Sprintf("echo %d", i)).Output()
			if err != nil || strings.TrimSpace(string(b)) != fmt.Sprint(i) {
				errs[i] = fmt.Errorf("%q, %w", b, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func killed() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/busybox", "sleep", "1000")
	if err := cmd.Run(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("it ended with %w", err)
	}
	return nil
}

func signals() error {
	c := make(chan os.Signal, 10)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGTERM)
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGUSR1} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			return err
		}
		if got := <-c; got != sig {
			return fmt.Errorf("want %v, got %v", sig, got)
		}
	}
	return nil
}

func notFound() error {
	err := exec.Command("/no/such/program").Run()
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("got %w", err)
	}
	// Past os/exec, which looks at the file itself first.
	if _, err := os.StartProcess("/", []string{"/"}, &os.ProcAttr{}); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("got %w", err)
	}
	return nil
}

func stdin() error {
	cmd := exec.Command("/bin/busybox", "sort")
	cmd.Stdin = strings.NewReader("c\na\nb\n")
	b, err := cmd.Output()
	if err != nil || string(b) != "a\nb\nc\n" {
		return fmt.Errorf("%q, %w", b, err)
	}
	return nil
}

func extraFiles() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := sh("echo through three >&3")
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Run(); err != nil {
		return err
	}
	w.Close()
	b := make([]byte, 100)
	n, err := r.Read(b)
	if err != nil || string(b[:n]) != "through three\n" {
		return fmt.Errorf("%q, %w", b[:n], err)
	}
	return nil
}
