package hostcall

import "golang.org/x/sys/unix"

// ClockGettime reads a clock of the host, in nanoseconds (clock_gettime(2)).
func ClockGettime(id int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, err
	}
	return ts.Nano(), nil
}
