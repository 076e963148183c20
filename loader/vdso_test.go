package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/clock"
)

func newTestVDSO(tb testing.TB, c clock.Clock) (*VDSO, vdsoCalls) {
	tb.Helper()
	w := newWorld(tb)
	v, err := NewVDSO(w.mem, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	f := parseVDSO(tb, v)
	syms, err := f.DynamicSymbols()
	if err != nil {
		tb.Fatal(err)
	}
	at := map[string]uint64{}
	for _, s := range syms {
		at[s.Name] = s.Value
	}
	return v, enter(tb, v, at)
}

func parseVDSO(tb testing.TB, v *VDSO) *elf.File {
	tb.Helper()
	f, err := elf.NewFile(bytes.NewReader(v.file.Bytes(v.r)[pageSize:]))
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// TestVDSOObject reads the shared object as a linker would.
func TestVDSOObject(t *testing.T) {
	v, _ := newTestVDSO(t, clock.NewHost())
	f := parseVDSO(t, v)
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 {
		t.Errorf("type %v, machine %v", f.Type, f.Machine)
	}
	if name, err := f.DynString(elf.DT_SONAME); err != nil || len(name) != 1 || name[0] != vdsoName {
		t.Errorf("SONAME %q, %v", name, err)
	}
	syms, err := f.DynamicSymbols()
	if err != nil || len(syms) != 2*len(vdsoFunctions) {
		t.Fatalf("%d symbols, %v", len(syms), err)
	}
	text := f.Section(".text")
	for i, s := range syms {
		want, bind := "__vdso_"+vdsoFunctions[i/2], elf.STB_GLOBAL
		if i%2 == 1 {
			want, bind = vdsoFunctions[i/2], elf.STB_WEAK
		}
		if s.Name != want || elf.ST_BIND(s.Info) != bind || elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			t.Errorf("symbol %d is %+v, want %s", i, s, want)
		}
		if s.Version != vdsoVersion {
			t.Errorf("%s has version %q", s.Name, s.Version)
		}
		if s.Value < text.Addr || s.Size == 0 || s.Value+s.Size > text.Addr+text.Size {
			t.Errorf("%s at %#x+%#x is not in the text", s.Name, s.Value, s.Size)
		}
		if lookup(t, f, s.Name) != i+1 {
			t.Errorf("the hash table does not lead to %s", s.Name)
		}
	}
	if b, _ := text.Data(); bytes.Contains(b, le(uint32(placeholder))) {
		t.Error("a displacement was left out")
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && (p.Off != 0 || p.Vaddr != 0 || p.Flags != elf.PF_R|elf.PF_X || p.Filesz > v.length()-pageSize) {
			t.Errorf("segment %+v", p.ProgHeader)
		}
	}
}

// lookup finds a symbol's index through DT_HASH.
func lookup(t *testing.T, f *elf.File, name string) int {
	b, err := f.Section(".hash").Data()
	if err != nil {
		t.Fatal(err)
	}
	syms, _ := f.DynamicSymbols()
	word := func(i uint32) uint32 { return f.ByteOrder.Uint32(b[4*i:]) }
	n := word(0)
	for i := word(2 + elfHash(name)%n); i != 0; i = word(2 + n + i) {
		if syms[i-1].Name == name {
			return int(i)
		}
	}
	return 0
}

func ns(ts [2]int64) int64 { return ts[0]*second + ts[1] }

// TestVDSOTime compares the vDSO's clocks with the host's, while it is being
// calibrated.
func TestVDSOTime(t *testing.T) {
	_, c := newTestVDSO(t, clock.NewHost())
	h := clock.NewHost()
	for _, id := range []int32{
		unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI,
		unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
	} {
		coarse := id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE
		var last, worstAhead, worstBehind int64
		for range 20_000 {
			before, _ := h.Read(id)
			var ts [2]int64
			if r := c.gettime(id, &ts); r != 0 {
				t.Fatalf("clock %d: %d", id, r)
			}
			after, _ := h.Read(id)
			got := ns(ts)
			if got < last {
				t.Fatalf("clock %d went back by %d ns", id, last-got)
			}
			if ts[1] < 0 || ts[1] >= second || coarse && ts[1]%clock.CoarseTick != 0 {
				t.Fatalf("clock %d: %v", id, ts)
			}
			last = got
			worstBehind = max(worstBehind, before-got)
			worstAhead = max(worstAhead, got-after)
		}
		t.Logf("clock %d: at most %d ns ahead, %d behind", id, worstAhead, worstBehind)
		limit := int64(50_000)
		if coarse {
			limit += clock.CoarseTick
		}
		if worstAhead > limit || worstBehind > limit {
			t.Errorf("clock %d: up to %d ns ahead of the host, %d behind", id, worstAhead, worstBehind)
		}
	}
}

// TestVDSOSettles checks that the clocks agree well after some refreshes, with
// long gaps between the readings.
func TestVDSOSettles(t *testing.T) {
	_, c := newTestVDSO(t, clock.NewHost())
	h := clock.NewHost()
	time.Sleep(300 * time.Millisecond)
	var ts [2]int64
	ok := 0
	var last int64
	for range 60 {
		time.Sleep(10 * time.Millisecond)
		before, _ := h.Read(unix.CLOCK_MONOTONIC)
		c.gettime(unix.CLOCK_MONOTONIC, &ts)
		after, _ := h.Read(unix.CLOCK_MONOTONIC)
		if got := ns(ts); got >= before-5_000 && got <= after+5_000 {
			ok++
		} else {
			t.Logf("%d: %d before, %d after", got, got-before, after-got)
		}
		if ns(ts) < last {
			t.Errorf("went back by %d ns", last-ns(ts))
		}
		last = ns(ts)
	}
	// The thread may lose its processor between two readings.
	if ok < 50 {
		t.Errorf("only %d of 60 readings are within 5 µs", ok)
	}
}

// TestVDSOCalls calls the other functions, with and without results.
func TestVDSOCalls(t *testing.T) {
	v, c := newTestVDSO(t, clock.NewHost())
	now := time.Now().Unix()
	var tv, tz [2]int64
	tz = [2]int64{-1, -1}
	if r := c.gettimeofday(&tv, &tz); r != 0 || tv[0] < now || tv[0] > now+5 || tv[1] < 0 || tv[1] >= 1e6 || tz != [2]int64{0, -1} {
		t.Errorf("gettimeofday: %d, %v, zone %v", r, tv, tz)
	}
	tz[0] = -1
	if r := c.gettimeofday(nil, &tz); r != 0 || tz[0] != 0 {
		t.Errorf("gettimeofday without tv: %d, zone %v", r, tz)
	}
	if r := c.gettimeofday(&tv, nil); r != 0 {
		t.Errorf("gettimeofday without tz: %d", r)
	}
	var sec int64
	if r := c.time(&sec); r != sec || sec < now || sec > now+5 {
		t.Errorf("time: %d and %d, want %d", r, sec, now)
	}
	if r := c.time(nil); r < now || r > now+5 {
		t.Errorf("time without t: %d, want %d", r, now)
	}
	cpu, node := ^uint32(0), ^uint32(0)
	if r := c.getcpu(&cpu, &node); r != 0 || cpu > 4095 || node != 0 {
		t.Errorf("getcpu: %d, processor %d, node %d", r, cpu, node)
	}
	if r := c.getcpu(nil, nil); r != 0 {
		t.Errorf("getcpu without results: %d", r)
	}
	v.AskForCPU()
	cpu, node = ^uint32(0), ^uint32(0)
	if r := c.getcpu(&cpu, &node); v.vvar[vvarGetCPU] != 0 || r != 0 || cpu > 4095 || node > 4095 {
		t.Errorf("getcpu as a call: %d, processor %d, node %d", r, cpu, node)
	}
	for id, want := range map[int32]int64{
		unix.CLOCK_MONOTONIC: 1, unix.CLOCK_REALTIME: 1, unix.CLOCK_REALTIME_COARSE: clock.CoarseTick,
		unix.CLOCK_PROCESS_CPUTIME_ID: 1, // the host's answer
	} {
		var ts [2]int64
		if r := c.getres(id, &ts); r != 0 || ns(ts) != want {
			t.Errorf("clock_getres(%d): %d, %v", id, r, ts)
		}
		if r := c.getres(id, nil); r != 0 {
			t.Errorf("clock_getres(%d, NULL): %d", id, r)
		}
	}
	// What the page does not have comes from the kernel.
	var ts [2]int64
	for id, want := range map[int32]int64{
		unix.CLOCK_THREAD_CPUTIME_ID: 0, 12: -int64(unix.EINVAL), 99: -int64(unix.EINVAL), -1000000: -int64(unix.EINVAL),
	} {
		if r := c.gettime(id, &ts); r != want {
			t.Errorf("clock_gettime(%d): %d, want %d", id, r, want)
		}
	}
}

// TestVDSOLate checks the arithmetic when nobody refreshed the page for long.
func TestVDSOLate(t *testing.T) {
	v, c := newTestVDSO(t, clock.NewHost())
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cal == nil {
		t.Skip("the counter cannot be used here")
	}
	for _, back := range []time.Duration{time.Second, 3 * time.Second, 8 * time.Second, 10 * time.Second, time.Hour} {
		// As if the page had been written earlier.
		l := v.params.Lines[unix.CLOCK_MONOTONIC]
		ticks := uint64(float64(back) * float64(uint64(1)<<clock.MultShift) / float64(l.Mult))
		old := get8(v.vvar[vvarTSC:])
		if old < ticks {
			continue // the counter has not run for as long
		}
		put8(v.vvar[vvarTSC:], old-ticks)
		var ts [2]int64
		c.gettime(unix.CLOCK_MONOTONIC, &ts)
		now, _ := hostcall.ClockGettime(unix.CLOCK_MONOTONIC)
		put8(v.vvar[vvarTSC:], old)
		if d := time.Duration(ns(ts)-now) - back; d < -time.Millisecond || d > time.Millisecond || ts[1] >= second {
			t.Errorf("%v later: %v, %v off", back, ts, d)
		}
	}
	// A counter that shows less than when the page was written.
	old := get8(v.vvar[vvarTSC:])
	put8(v.vvar[vvarTSC:], ^uint64(0)>>1)
	var ts [2]int64
	c.gettime(unix.CLOCK_MONOTONIC, &ts)
	put8(v.vvar[vvarTSC:], old)
	if got := ns(ts); got != v.params.Lines[unix.CLOCK_MONOTONIC].NS {
		t.Errorf("before the beginning: %d", got)
	}
	// A writer that is never done: the kernel answers.
	v.vvar[vvarSequence]++
	for _, id := range []int32{unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME} {
		before, _ := hostcall.ClockGettime(id)
		r := c.gettime(id, &ts)
		after, _ := hostcall.ClockGettime(id)
		if r != 0 || ns(ts) < before || ns(ts) > after {
			t.Errorf("clock %d while the page is written: %d, %v", id, r, ts)
		}
	}
	now := time.Now().Unix()
	var tv [2]int64
	if c.gettimeofday(&tv, nil) != 0 || tv[0] < now || c.time(nil) < now {
		t.Errorf("gettimeofday or time while the page is written: %v", tv)
	}
	v.vvar[vvarSequence]++
}

// TestVDSOFake checks that a clock that is not the host's is asked each time.
func TestVDSOFake(t *testing.T) {
	v, c := newTestVDSO(t, clock.NewFake(time.Hour))
	for _, b := range v.vvar[vvarTSC:] {
		if b != 0 {
			t.Fatal("the page has times in it")
		}
	}
	before, _ := hostcall.ClockGettime(unix.CLOCK_MONOTONIC)
	var ts [2]int64
	if r := c.gettime(unix.CLOCK_MONOTONIC, &ts); r != 0 || ns(ts) < before {
		t.Errorf("%d, %v", r, ts)
	}
}

// TestVDSOTrapsNot shows the functions a page that is an hour ahead: they say what
// the page says, so that they do not ask the kernel.
func TestVDSOTrapsNot(t *testing.T) {
	v, c := newTestVDSO(t, clock.NewHost())
	if !v.params.Lines[unix.CLOCK_REALTIME].Valid {
		t.Skip("this machine's counter cannot be relied upon")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range clock.Clocks {
		sec := v.vvar[vvarLines+id*lineSize+16:]
		put8(sec, get8(sec)+3600)
		if id == unix.CLOCK_REALTIME_COARSE {
			put8(v.vvar[vvarLines+id*lineSize+24:], 1|7777<<32) // a tick of its own
		}
	}
	hour := func(what string, got, want int64) {
		t.Helper()
		if d := got - want; d < 3599 || d > 3602 {
			t.Errorf("%s shows %d seconds more than it is", what, d)
		}
	}
	var ts, tv [2]int64
	for _, id := range []int32{
		unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI,
		unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
	} {
		now, _ := clock.NewHost().Read(id)
		if c.gettime(id, &ts) != 0 {
			t.Fatal("clock_gettime")
		}
		hour("clock_gettime", ts[0], now/second)
	}
	now := time.Now().Unix()
	c.gettimeofday(&tv, nil)
	hour("gettimeofday", tv[0], now)
	hour("time", c.time(nil), now)
	if c.getres(unix.CLOCK_REALTIME_COARSE, &ts) != 0 || ts != [2]int64{0, 7777} {
		t.Errorf("clock_getres: %v", ts)
	}
}

// TestVDSORead reads the clocks by the vDSO and as system calls do, in turns: time
// never goes back.
func TestVDSORead(t *testing.T) {
	v, c := newTestVDSO(t, clock.NewHost())
	var last [clock.Clocks]int64
	for round := range 20_000 {
		for _, id := range []int32{
			unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI,
			unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
		} {
			var ts [2]int64
			c.gettime(id, &ts)
			got, err := v.Read(id)
			if err != nil || ns(ts) < last[id] || got < ns(ts) {
				t.Fatalf("round %d, clock %d: %d, by the vDSO %d, by the call %d, %v", round, id, last[id], ns(ts), got, err)
			}
			last[id] = got
		}
	}
	for id, want := range map[int32]error{-1: unix.EINVAL, clock.Clocks: unix.EINVAL, unix.CLOCK_PROCESS_CPUTIME_ID: unix.EINVAL} {
		if _, err := v.Read(id); err != want {
			t.Errorf("clock %d: %v", id, err)
		}
	}
	// Without the counter it is the clock that was given.
	w := newWorld(t)
	f := clock.NewFake(time.Hour)
	fake, err := NewVDSO(w.mem, f)
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	fired := false
	fake.AfterFunc(time.Second, func() { fired = true })
	f.Advance(time.Second)
	if got, err := fake.Read(unix.CLOCK_MONOTONIC); got != int64(time.Hour+time.Second) || err != nil || !fired {
		t.Errorf("a fake clock: %d, %v, fired %v", got, err, fired)
	}
}

func get8(b []byte) uint64    { return binary.LittleEndian.Uint64(b) }
func put8(b []byte, v uint64) { copy(b, le(v)) }

func BenchmarkVDSOGettime(b *testing.B) {
	_, c := newTestVDSO(b, clock.NewHost())
	var ts [2]int64
	for b.Loop() {
		c.gettime(unix.CLOCK_MONOTONIC, &ts)
	}
}

func BenchmarkNewVDSO(b *testing.B) {
	w := newWorld(b)
	h := clock.NewHost()
	for b.Loop() {
		v, err := NewVDSO(w.mem, h)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}
