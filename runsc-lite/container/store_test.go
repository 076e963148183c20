package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCreateLoadRemove(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "root"))
	c, err := s.Create(State{ID: "a", Bundle: "/b", Annotations: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Status != Creating {
		t.Errorf("a new container is %s", c.Status)
	}
	if _, err := s.Create(State{ID: "a"}); !errors.Is(err, ErrExist) {
		t.Errorf("creating it twice: %v", err)
	}
	c.Status = Created
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if got.Bundle != "/b" || got.Annotations["k"] != "v" || got.Status != Created {
		t.Errorf("read back: %+v", got.State)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("a"); !errors.Is(err, ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
	if _, err := s.Lock("a"); !errors.Is(err, ErrNotExist) {
		t.Errorf("locking after Remove: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(s.root))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestIDs(t *testing.T) {
	s := Open(t.TempDir())
	for _, id := range []string{"", ".", "..", "a/b", "../a", "a b", "a\x00", strings.Repeat("x", 256), newPrefix + "1"} {
		if _, err := s.Create(State{ID: id}); err == nil {
			t.Errorf("%q is an id", id)
		}
		if _, err := s.Get(id); err == nil {
			t.Errorf("%q was found", id)
		}
	}
	for _, id := range []string{"a", "A-b_c.d+e", strings.Repeat("x", 255)} {
		c, err := s.Create(State{ID: id})
		if err != nil {
			t.Errorf("%q: %v", id, err)
			continue
		}
		c.Unlock()
	}
}

func TestBrokenState(t *testing.T) {
	s := Open(t.TempDir())
	for name, text := range map[string]string{"empty": "", "cut": `{"id":`, "type": `{"pid":"x"}`, "huge": strings.Repeat(" ", maxState+1)} {
		if err := os.Mkdir(filepath.Join(s.root, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.root, name, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(name); err == nil {
			t.Errorf("%s: a broken state file was read", name)
		}
	}
	all, err := s.List()
	if err != nil || len(all) != 0 {
		t.Errorf("listing broken containers: %d, %v", len(all), err)
	}
}

// TestGone: a sandbox that has died, and one whose number another process got.
func TestGone(t *testing.T) {
	c := &Container{State: State{Status: Running}}
	if err := c.SetProcess(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if got := c.Now(); got != Running {
		t.Errorf("with its process it is %s", got)
	}
	c.PidStart++
	if got := c.Now(); got != Stopped {
		t.Errorf("with somebody else's process it is %s", got)
	}
	c.Pid = 0
	if got := c.Now(); got != Stopped {
		t.Errorf("without a process it is %s", got)
	}
}

// TestConcurrent has many goroutines create, change and remove containers of few ids:
// each id has one owner at a time, nobody sees a state that was not written, and
// nothing is left.
func TestConcurrent(t *testing.T) {
	s := Open(t.TempDir())
	ids := []string{"a", "b", "c"}
	var owners [3]atomic.Int32
	var made, found atomic.Int32
	var wg sync.WaitGroup
	own := func(i int) func() {
		if n := owners[i].Add(1); n != 1 {
			t.Errorf("%s has %d owners", ids[i], n)
		}
		return func() { owners[i].Add(-1) }
	}
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 200 {
				i := (g + n) % len(ids)
				switch c, err := s.Create(State{ID: ids[i], Bundle: "b"}); {
				case err == nil:
					made.Add(1)
					done := own(i)
					c.Status = Created
					if err := c.Save(); err != nil {
						t.Error(err)
					}
					done()
					c.Unlock()
				case !errors.Is(err, ErrExist):
					t.Errorf("create: %v", err)
				}
				if c, err := s.Get(ids[i]); err == nil {
					if c.ID != ids[i] || c.Bundle != "b" {
						t.Errorf("a state that nobody wrote: %+v", c.State)
					}
				} else if !errors.Is(err, ErrNotExist) {
					t.Errorf("get: %v", err)
				}
				switch c, err := s.Lock(ids[(i+1)%len(ids)]); {
				case err == nil:
					found.Add(1)
					done := own((i + 1) % len(ids))
					if c.Status != Created {
						t.Errorf("a locked container is %s", c.Status)
					}
					done()
					if err := c.Remove(); err != nil {
						t.Error(err)
					}
				case !errors.Is(err, ErrNotExist):
					t.Errorf("lock: %v", err)
				}
			}
		}()
	}
	wg.Wait()
	for _, id := range ids {
		if c, err := s.Lock(id); err == nil {
			found.Add(1)
			if err := c.Remove(); err != nil {
				t.Error(err)
			}
		}
	}
	if made.Load() != found.Load() || made.Load() == 0 {
		t.Errorf("%d were made and %d removed", made.Load(), found.Load())
	}
	if left, err := os.ReadDir(s.root); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
