package hostcall

import (
	"strings"

	"golang.org/x/sys/unix"
)

// ClockGettime reads a clock of the host, in nanoseconds (clock_gettime(2)).
func ClockGettime(id int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, err
	}
	return ts.Nano(), nil
}

// Adjtimex reads how the host's clock is corrected, and returns its state
// (adjtimex(2)). x.Modes must not ask for a change.
func Adjtimex(x *unix.Timex) (state int, err error) {
	const offsetSSRead = 0xa001
	if x.Modes != 0 && x.Modes != offsetSSRead {
		return 0, unix.EPERM
	}
	return unix.Adjtimex(x)
}

// ClockSource names what the host's kernel tells time by, "" if it does not say.
func ClockSource() string {
	fd, err := unix.Open("/sys/devices/system/clocksource/clocksource0/current_clocksource", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [64]byte
	n, _ := unix.Read(fd, b[:])
	return strings.TrimSpace(string(b[:max(n, 0)]))
}
