package hostcall

import (
	"runtime"
	"testing"
	"time"
)

func TestParker(t *testing.T) {
	var p Parker
	if p.Park(0) || p.Park(time.Millisecond) {
		t.Error("a token out of nothing")
	}
	p.Unpark()
	p.Unpark()
	if !p.Park(0) {
		t.Error("the token was lost")
	}
	if p.Park(0) {
		t.Error("a second token")
	}
	time.AfterFunc(time.Millisecond, p.Unpark)
	if !p.Park(-1) {
		t.Error("no token")
	}
	start := time.Now()
	if p.Park(5*time.Millisecond) || time.Since(start) < 5*time.Millisecond {
		t.Errorf("back after %v", time.Since(start))
	}
}

// TestParkerRace: no token is lost while two hand one to and fro, with and
// without timeouts.
func TestParkerRace(t *testing.T) {
	const rounds = 20000
	var a, b Parker
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for i := range rounds {
			for !a.Park(time.Duration(i%3) * time.Microsecond) {
			}
			b.Unpark()
		}
	}()
	for range rounds {
		a.Unpark()
		b.Park(-1)
	}
	<-done
	if a.Park(0) || b.Park(0) {
		t.Error("a token is left")
	}
}

func BenchmarkParker(b *testing.B) {
	var x, y Parker
	stop := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for x.Park(-1); !stop; x.Park(-1) {
			y.Unpark()
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range b.N {
		x.Unpark()
		y.Park(-1)
	}
	stop = true
	x.Unpark()
	<-done
}
