package procmgr

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEncodeSigInfo(t *testing.T) {
	type word struct {
		off  int
		size int
		want uint64
	}
	for _, tt := range []struct {
		name  string
		info  SigInfo
		words []word
	}{
		{"kill", SigInfo{Signo: 10, Code: SIUser, PID: 5, UID: 6}, []word{{0, 4, 10}, {16, 4, 5}, {20, 4, 6}}},
		{"tkill", SigInfo{Signo: 10, Code: SITkill, PID: 5, UID: 6}, []word{{8, 4, 0xfffffffa}, {16, 4, 5}, {20, 4, 6}}},
		{"queue", SigInfo{Signo: 34, Code: SIQueue, PID: 5, Value: 1 << 40}, []word{{16, 4, 5}, {24, 8, 1 << 40}}},
		{"timer", SigInfo{Signo: 14, Code: SITimer, Timer: 3, Overrun: 9, Value: 7}, []word{{16, 4, 3}, {20, 4, 9}, {24, 8, 7}}},
		{"child", SigInfo{Signo: 17, Code: CLDKilled, PID: 5, UID: 6, Status: 9, UTime: 11, STime: 12},
			[]word{{8, 4, 2}, {16, 4, 5}, {20, 4, 6}, {24, 4, 9}, {32, 8, 11}, {40, 8, 12}}},
		{"child, by another signal", SigInfo{Signo: 10, Code: CLDExited, PID: 5, Status: 9}, []word{{16, 4, 5}, {24, 4, 9}}},
		{"fault", SigInfo{Signo: 11, Code: 1, Addr: 1 << 46}, []word{{16, 8, 1 << 46}}},
		{"poll", SigInfo{Signo: 29, Code: 1, Band: 0x41, FD: 7}, []word{{16, 8, 0x41}, {24, 4, 7}}},
		{"seccomp", SigInfo{Signo: 31, Code: 1, Addr: 99, Syscall: 39, Arch: 0xc000003e},
			[]word{{16, 8, 99}, {24, 4, 39}, {28, 4, 0xc000003e}}},
	} {
		b := bytes.Repeat([]byte{0xff}, siginfoSize)
		tt.info.Encode(b)
		seen := map[int]bool{}
		for _, w := range append(tt.words, word{0, 4, uint64(tt.info.Signo)}, word{8, 4, uint64(uint32(tt.info.Code))}) {
			var v [8]byte
			copy(v[:], b[w.off:w.off+w.size])
			if got := binary.LittleEndian.Uint64(v[:]); got != w.want {
				t.Errorf("%s: at %d: %#x, want %#x", tt.name, w.off, got, w.want)
			}
			for i := range w.size {
				seen[w.off+i] = true
			}
		}
		for i, c := range b {
			if c != 0 && !seen[i] {
				t.Errorf("%s: byte %d is %#x", tt.name, i, c)
			}
		}
	}
}

func FuzzSigInfo(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, siginfoSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		in = append(in, make([]byte, siginfoSize)...)[:siginfoSize]
		info := DecodeSigInfo(in)
		var out, fd [siginfoSize]byte
		info.Encode(out[:])
		if !bytes.Equal(in, out[:]) {
			t.Errorf("%x came back as %x", in, out)
		}
		info.EncodeSignalFD(fd[:])
		if binary.LittleEndian.Uint32(fd[:]) != uint32(info.Signo) {
			t.Errorf("signalfd: %x", fd)
		}
		info.hidePID()
		info.Encode(out[:])
		if v := binary.LittleEndian.Uint32(out[16:]); v != 0 || info.PID != 0 {
			t.Errorf("the sender is still %d, %d", v, info.PID)
		}
	})
}

func TestWaitStatus(t *testing.T) {
	for _, tt := range []struct {
		status      uint32
		code, value int32
	}{
		{ExitStatus(0), CLDExited, 0},
		{ExitStatus(255), CLDExited, 255},
		{ExitStatus(0x1234), CLDExited, 0x34},
		{SignalStatus(unix.SIGKILL), CLDKilled, 9},
		{SignalStatus(unix.SIGSEGV) | 0x80, CLDDumped, 11},
	} {
		if code, value := exitCode(tt.status); code != tt.code || value != tt.value {
			t.Errorf("%#x: %d, %d, want %d, %d", tt.status, code, value, tt.code, tt.value)
		}
		ws := unix.WaitStatus(tt.status)
		if tt.code == CLDExited && (!ws.Exited() || ws.ExitStatus() != int(tt.value)) {
			t.Errorf("%#x is not what wait(2) has", tt.status)
		}
	}
	if ws := unix.WaitStatus(stopStatus(unix.SIGTSTP)); !ws.Stopped() || ws.StopSignal() != unix.SIGTSTP {
		t.Error("stop status")
	}
	if ws := unix.WaitStatus(contStatus); !ws.Continued() {
		t.Error("continue status")
	}
}
