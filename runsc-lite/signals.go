package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry"
)

// forwarded are the signals that go to the program in the runner's place.
var forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM,
}

// catchSignals begins to collect the signals that are to be forwarded. Those that the
// caller ignores (nohup(1), jobs of a script in the background) stay ignored, by the
// program as well.
func catchSignals() (signals chan os.Signal, ignored []unix.Signal) {
	signals = make(chan os.Signal, 16)
	for _, sig := range forwarded {
		if signal.Ignored(sig) {
			ignored = append(ignored, sig.(syscall.Signal))
		} else {
			signal.Notify(signals, sig)
		}
	}
	return signals, ignored
}

// passSignals forwards signals, and stops the runner when the program has stopped, so
// that the shell that the user called the runner from goes on. That shell continues
// the runner, and thereby the program.
func (b *boot) passSignals(s *sentry.Sandbox, signals chan os.Signal) {
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGINT {
				b.interrupted.Store(true)
			}
			s.Signal(sig.(syscall.Signal))
		case sig := <-s.Stopped():
			if s.IsStopped() {
				hostcall.StopSelf(sig)
			}
		}
	}
}

// endAsInterrupted ends the runner by SIGINT if that ended the program after it came to
// the runner: a shell that runs a script or a loop gives up only if it sees that.
func (b *boot) endAsInterrupted(status int) {
	if b.interrupted.Load() && status == 128+int(unix.SIGINT) {
		hostcall.EndBy(unix.SIGINT)
	}
}
