package procmgr

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// race is a table with run slots, and players that want to run all the time. Time is
// the test's: it advances by a millisecond in each round, in which whoever is Running
// has run for a millisecond.
type race struct {
	*testing.T
	tb      *Table
	clock   atomic.Int64
	init    *Thread
	players []*player
}

type player struct {
	*Thread
	interrupts chan struct{}
	sleep      chan chan struct{} // block on it
	ran        time.Duration
	asleep     atomic.Bool
	// every is how often the host lets it run: in each so many milliseconds one.
	every int
	had   atomic.Int64 // what it says of that, ns
}

// meteredPlayer is one that says how much processor time it had.
type meteredPlayer struct{ *player }

func (p meteredPlayer) CPUTimes() (user, system time.Duration) {
	return time.Duration(p.had.Load()), 0
}

func (p *player) Interrupt() { notify(p.interrupts) }

func newRace(t *testing.T, slots int) *race {
	r := &race{T: t}
	r.clock.Store(1)
	r.tb = NewTable(Config{Slots: slots, Now: func() time.Duration { return time.Duration(r.clock.Load()) }})
	r.tb.sched.tests = true
	p, err := r.tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.init = p.Leader()
	t.Cleanup(func() {
		r.tb.KillAll()
		for _, p := range r.players {
			if err := eventually(func() bool { return p.State() >= Zombie }); err != nil {
				t.Errorf("player %d is %v at the end", p.ID(), p.State())
			}
		}
	})
	return r
}

// join adds a player.
func (r *race) join(policy, priority, nice int) *player {
	r.Helper()
	return r.add(policy, priority, nice, 0)
}

// add adds a player that the host lets run only so often; 0: always, and it cannot
// tell.
func (r *race) add(policy, priority, nice, every int) *player {
	r.Helper()
	th, err := r.tb.Fork(r.init, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		r.Fatal(err)
	}
	p := &player{Thread: th, interrupts: make(chan struct{}, 1), sleep: make(chan chan struct{}, 1), every: max(every, 1)}
	runner := Runner(p)
	if every > 0 {
		runner = meteredPlayer{p}
	}
	th.setNice(nice)
	if err := r.tb.SetScheduler(r.init, th, policy, priority, false); err != nil {
		r.Fatal(err)
	}
	r.players = append(r.players, p)
	th.Start()
	go func() {
		th.SetRunner(runner)
		for {
			if th.NextWork().Kind == WorkExit {
				th.FinishExit()
				return
			}
			select {
			case <-p.interrupts:
			case ch := <-p.sleep:
				th.Block(ch, noDeadline)
				p.asleep.Store(false)
			}
		}
	}()
	r.settle()
	return p
}

// rest puts a player to sleep until the channel is told.
func (r *race) rest(p *player) chan struct{} {
	r.Helper()
	ch := make(chan struct{}, 1)
	p.asleep.Store(true)
	p.sleep <- ch
	for p.State() != Blocked {
		r.run(time.Millisecond) // it may be preempted before it can sleep
	}
	r.settle()
	return ch
}

func (r *race) wake(p *player, ch chan struct{}) {
	r.Helper()
	p.tellOn(ch)
	if err := eventually(func() bool { return !p.asleep.Load() || p.State() == Ready }); err != nil {
		r.Fatalf("player %d is %v, want ready", p.ID(), p.State())
	}
	r.settle()
}

func (r *race) running() (out []*player) {
	for _, p := range r.players {
		if p.State() == Running {
			out = append(out, p)
		}
	}
	return out
}

// settle waits until all slots are taken, or all players who want one have it, who is
// Ready is in the queue, and nobody has to give a slot up.
func (r *race) settle() {
	r.Helper()
	ok := func() bool {
		running, ready := 0, 0
		for _, p := range r.players {
			switch p.State() {
			case Running:
				if p.pending.Load()&pendYield != 0 {
					return false
				}
				running++
			case Ready:
				ready++
			}
		}
		s := r.tb.sched
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.queue.items) != ready || running != min(running+ready, len(s.slots)) {
			return false
		}
		// Who has got into the queue may be about to push somebody off.
		first := s.queue.first()
		return first == nil || s.wakeUp(first) == nil
	}
	if err := eventually(ok); err != nil {
		for _, p := range r.players {
			r.Logf("player %d is %v, pending %#x", p.ID(), p.State(), p.pending.Load())
		}
		r.Fatal("slots are free while threads wait, or the other way round")
	}
}

func (r *race) run(d time.Duration) {
	r.Helper()
	for range d / time.Millisecond {
		for _, p := range r.running() {
			if r.clock.Load()/int64(time.Millisecond)%int64(p.every) == 0 {
				p.ran += time.Millisecond
				p.had.Add(int64(time.Millisecond))
			}
		}
		r.clock.Add(int64(time.Millisecond))
		r.tb.sched.tick()
		r.settle()
	}
}

func (r *race) wantShares(want map[*player]float64) {
	r.Helper()
	var sum time.Duration
	for _, p := range r.players {
		sum += p.ran
	}
	for p, share := range want {
		if got := float64(p.ran) / float64(sum); got < share-0.02 || got > share+0.02 {
			r.Errorf("player %d (nice %d) had %.3f of the time, want %.3f", p.ID(), p.Nice(), got, share)
		}
	}
}

func TestFairness(t *testing.T) {
	for _, slots := range []int{1, 2, 4} {
		r := newRace(t, slots)
		want := map[*player]float64{}
		for range 5 {
			want[r.join(SchedOther, 0, 0)] = 0.2
		}
		r.run(time.Second)
		r.wantShares(want)
	}
}

func TestNice(t *testing.T) {
	r := newRace(t, 1)
	const sum = 1024 + 335 + 110 + 3
	want := map[*player]float64{
		r.join(SchedOther, 0, 0):  1024. / sum,
		r.join(SchedBatch, 0, 5):  335. / sum,
		r.join(SchedOther, 0, 10): 110. / sum,
		r.join(SchedIdle, 0, -20): 3. / sum,
	}
	r.run(4 * time.Second)
	r.wantShares(want)
	for _, p := range r.players {
		if p.ran == 0 {
			t.Errorf("player %d never ran", p.ID())
		}
	}
	// A changed nice value acts from then on, once what they have had is evened out.
	for p := range want {
		p.setNice(0)
		if err := r.tb.SetScheduler(r.init, p.Thread, SchedOther, 0, false); err != nil {
			t.Fatal(err)
		}
		want[p] = 0.25
	}
	r.run(time.Second)
	for p := range want {
		p.ran = 0
	}
	r.run(time.Second)
	r.wantShares(want)
}

// A host that is loaded lets some threads wait more than others. Who can tell how much
// processor time it had gets its share of that.
func TestFairOnLoadedHost(t *testing.T) {
	for _, slots := range []int{1, 2} {
		r := newRace(t, slots)
		r.run(10 * time.Millisecond)
		want := map[*player]float64{
			r.add(SchedOther, 0, 0, 1): 1024. / (4*1024 + 335),
			r.add(SchedOther, 0, 0, 2): 1024. / (4*1024 + 335),
			r.add(SchedOther, 0, 0, 5): 1024. / (4*1024 + 335),
			r.add(SchedOther, 0, 0, 7): 1024. / (4*1024 + 335),
			r.add(SchedOther, 0, 5, 4): 335. / (4*1024 + 335),
		}
		r.run(3 * time.Second)
		r.wantShares(want)
	}
}

func TestRealTime(t *testing.T) {
	r := newRace(t, 1)
	normal := r.join(SchedOther, 0, -20)
	low := r.join(SchedFIFO, 1, 19)
	if normal.State() != Ready || low.State() != Running {
		t.Errorf("a real-time thread waits: %v, %v", normal.State(), low.State())
	}
	peer := r.join(SchedFIFO, 1, 0)
	r.run(time.Second)
	if normal.ran != 0 || peer.ran != 0 {
		t.Errorf("others run beside SCHED_FIFO: %v, %v", normal.ran, peer.ran)
	}
	high := r.join(SchedFIFO, 99, 0)
	if high.State() != Running {
		t.Error("a higher priority waits")
	}
	ch := r.rest(high)
	if low.State() == Running && peer.State() == Running || low.State() != Running && peer.State() != Running {
		t.Errorf("one of the low ones should run: %v, %v", low.State(), peer.State())
	}
	r.wake(high, ch)
	if high.State() != Running {
		t.Error("it does not come back at once")
	}
	r.rest(high)
	r.rest(r.running()[0])
	r.rest(r.running()[0])
	if normal.State() != Running {
		t.Errorf("all others sleep, and the normal one is %v", normal.State())
	}
	if n := normal.usage.involuntary.Load(); n == 0 {
		t.Error("it was not preempted")
	}
}

func TestRoundRobin(t *testing.T) {
	r := newRace(t, 1)
	a, b := r.join(SchedRR, 5, 0), r.join(SchedRR, 5, 0)
	var turns []*player
	for range 600 {
		r.run(time.Millisecond)
		if p := r.running()[0]; len(turns) == 0 || turns[len(turns)-1] != p {
			turns = append(turns, p)
		}
	}
	if n := len(turns); n < 5 || n > 7 {
		t.Errorf("%d turns in 600 ms, want one for each 100", n)
	}
	r.wantShares(map[*player]float64{a: 0.5, b: 0.5})
}

// Who sleeps most of the time gets a slot soon after it wakes up, and who sleeps hands
// its slot on.
func TestSleeper(t *testing.T) {
	r := newRace(t, 1)
	hog := r.join(SchedOther, 0, 0)
	light := r.join(SchedOther, 0, 0)
	worst := 0
	for range 100 {
		ch := r.rest(light)
		if hog.State() != Running {
			t.Fatalf("the slot of a sleeper is not used: %v", hog.State())
		}
		r.run(20 * time.Millisecond)
		r.wake(light, ch)
		delay := 0
		for ; light.State() != Running; delay++ {
			r.run(time.Millisecond)
		}
		worst = max(worst, delay)
		r.run(time.Millisecond)
	}
	if worst > 3 {
		t.Errorf("it waited for up to %d ms", worst)
	}
}

// A batch thread does not push others off when it wakes up.
func TestBatchWaits(t *testing.T) {
	r := newRace(t, 1)
	hog := r.join(SchedOther, 0, 0)
	batch := r.join(SchedBatch, 0, 0)
	for batch.State() != Running {
		r.run(time.Millisecond)
	}
	ch := r.rest(batch)
	r.run(50 * time.Millisecond)
	r.wake(batch, ch)
	if hog.State() != Running {
		t.Error("it got the slot at once")
	}
	r.run(5 * time.Millisecond)
	if batch.ran == 0 {
		t.Error("it does not get the slot at all")
	}
}

func TestYield(t *testing.T) {
	tb := NewTable(Config{Slots: 1})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	init := p.Leader()
	init.SetRunner(nobody{})
	if init.Yield() {
		t.Error("nobody waits")
	}
	var order []int
	done := make(chan struct{}, 1)
	const rounds = 5
	waits := func() bool { return tb.sched.waiting.Load() > 0 }
	for range 2 {
		th, err := tb.Fork(init, CloneOptions{})
		if err != nil {
			t.Fatal(err)
		}
		th.Start()
		go func() {
			th.SetRunner(nobody{})
			for range rounds {
				order = append(order, th.ID()) // the slot keeps them apart
				// The other one has to have got into the queue.
				if len(order) < 2*rounds && (eventually(waits) != nil || !th.Yield()) {
					t.Error("nobody waits, but should")
				}
			}
			if len(order) == 2*rounds {
				init.tellOn(done)
			}
			th.ExitGroup(0)
			th.FinishExit()
		}()
		if err := eventually(func() bool { return int(tb.sched.waiting.Load()) == th.ID()-1 }); err != nil {
			t.Fatal(err)
		}
	}
	if err := init.Block(done, noDeadline); err != nil {
		t.Fatal(err)
	}
	for i, id := range order {
		if id != order[i%2] || order[0] == order[1] {
			t.Fatalf("order %v", order)
		}
	}
}

func TestSetScheduler(t *testing.T) {
	tb := NewTable(Config{Slots: 2})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	init := p.Leader()
	init.SetRunner(nobody{})
	user, err := tb.Fork(init, CloneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user.Start()
	user.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5})
	for _, tt := range []struct {
		name             string
		caller, target   *Thread
		policy, priority int
		want             error
	}{
		{"no such policy", init, user, 4, 0, unix.EINVAL},
		{"SCHED_DEADLINE", init, user, 6, 0, unix.EINVAL},
		{"a priority for SCHED_OTHER", init, user, SchedOther, 1, unix.EINVAL},
		{"none for SCHED_FIFO", init, user, SchedFIFO, 0, unix.EINVAL},
		{"one too high", init, user, SchedRR, 100, unix.EINVAL},
		{"somebody else's", user, init, SchedBatch, 0, unix.EPERM},
		{"real time without privilege", user, user, SchedFIFO, 1, unix.EPERM},
		{"batch", user, user, SchedBatch, 0, nil},
		{"idle", user, user, SchedIdle, 0, nil},
		{"back from idle", user, user, SchedOther, 0, unix.EPERM},
		{"back from idle, as root", init, user, SchedOther, 0, nil},
		{"real time, as root", init, user, SchedRR, 7, nil},
		{"a higher one of its own", user, user, SchedRR, 8, unix.EPERM},
		{"a lower one", user, user, SchedRR, 6, nil},
		{"another policy", user, user, SchedFIFO, 6, unix.EPERM},
	} {
		if err := tb.SetScheduler(tt.caller, tt.target, tt.policy, tt.priority, false); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if policy, priority, _ := user.Scheduler(); policy != SchedRR || priority != 6 {
		t.Errorf("it is %d, %d", policy, priority)
	}
	if _, err := tb.Prlimit(init, user.ID(), rlimitRTPrio, &Limit{10, 10}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "within RLIMIT_RTPRIO", tb.SetScheduler(user, user, SchedFIFO, 10, true), nil)
	wantErr(t, "above it", tb.SetScheduler(user, user, SchedFIFO, 11, true), unix.EPERM)
	wantErr(t, "SCHED_RESET_ON_FORK taken back", tb.SetScheduler(user, user, SchedFIFO, 10, false), unix.EPERM)
	user.setNice(-5)
	child, err := tb.Fork(user, CloneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if policy, priority, reset := child.Scheduler(); policy != SchedOther || priority != 0 || reset || child.Nice() != 0 {
		t.Errorf("the child's: %d, %d, %v, nice %d", policy, priority, reset, child.Nice())
	}
}

func BenchmarkBlockUnblock(b *testing.B) {
	for _, slots := range []int{0, 4} {
		b.Run(map[int]string{0: "free", 4: "slots"}[slots], func(b *testing.B) {
			tb := NewTable(Config{Slots: slots})
			p, _ := tb.CreateProcess(nil, "init", 0)
			t := p.Leader()
			t.SetRunner(nobody{})
			b.ReportAllocs()
			for b.Loop() {
				t.setState(Blocked)
				t.releaseSlot()
				t.resume()
			}
		})
	}
}
