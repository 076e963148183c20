package clock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// TimexSize is sizeof(struct timex).
const TimexSize = 208

// Adjustment fills in a struct timex as adjtimex(2) does, and returns the state of the
// clock (TIME_*): how the host corrects it. b says what to read: its modes are 0, or
// ADJ_OFFSET_SS_READ; nothing is ever changed.
func Adjustment(b *[TimexSize]byte) (state int, err error) {
	le := binary.LittleEndian
	var x unix.Timex
	const offsetSSRead = 0xa001
	if le.Uint32(b[:]) == offsetSSRead {
		x.Modes = offsetSSRead
	}
	if state, err = hostcall.Adjtimex(&x); err != nil {
		return 0, err
	}
	clear(b[4:])
	for _, f := range [...]struct {
		at int
		v  int64
	}{
		{8, x.Offset}, {16, x.Freq}, {24, x.Maxerror}, {32, x.Esterror}, {48, x.Constant}, {56, x.Precision},
		{64, x.Tolerance}, {72, x.Time.Sec}, {80, x.Time.Usec}, {88, x.Tick}, {96, x.Ppsfreq}, {104, x.Jitter},
		{120, x.Stabil}, {128, x.Jitcnt}, {136, x.Calcnt}, {144, x.Errcnt}, {152, x.Stbcnt},
	} {
		le.PutUint64(b[f.at:], uint64(f.v))
	}
	le.PutUint32(b[40:], uint32(x.Status))
	le.PutUint32(b[112:], uint32(x.Shift))
	le.PutUint32(b[160:], uint32(x.Tai))
	return state, nil
}
