package trace

import (
	"golang.org/x/sys/unix"
)

// Kinds of the memory, futex and System V calls.

func prot(l *line, v uint64)    { l.bits(v, &protBits) }
func madvice(l *line, v uint64) { l.one(uint64(uint32(v)), &madvices) }

func msyncFlags(l *line, v uint64)    { l.bits(uint64(uint32(v)), &msyncBits) }
func mlockallFlags(l *line, v uint64) { l.bits(uint64(uint32(v)), &mlockallBits) }
func mlock2Flags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &mlock2Bits) }

func membarrierCommand(l *line, v uint64) { l.one(uint64(uint32(v)), &membarriers) }

// membarrierFlags are flags and, if there are any, a processor.
func membarrierFlags(l *line, v uint64) {
	v = uint64(uint32(v))
	l.bits(v, &membarrierBits)
	if v != 0 {
		l.s(", ")
		l.i++
		num(l, l.arg(l.i))
	}
}

// mapFlags are mmap(2)'s: a type in the lowest bits, and flags.
func mapFlags(l *line, v uint64) {
	const typeMask = 0xf
	if name := mapKinds.find(v & typeMask); name != "" {
		l.s(name)
	} else {
		l.hex(v & typeMask)
		l.s(" /* MAP_??? */")
	}
	if v &^= typeMask; v != 0 {
		l.c('|')
		l.someBits(v, &mapBits)
	}
}

// mremapFlags are the flags and, if they ask for it, the new address.
func mremapFlags(l *line, v uint64) {
	l.bits(v, &mremapBits)
	const moved = unix.MREMAP_FIXED | unix.MREMAP_MAYMOVE
	if v&moved == moved {
		l.s(", ")
		l.i++
		l.addr(l.arg(l.i))
	}
}

// mincoreVec is a byte a page, of which the lowest bit counts.
func mincoreVec(l *line, v uint64) {
	pages := (l.arg(1) + 4095) / 4096
	l.elements(v, pages, 1, func(b []byte) { l.uint(uint64(b[0] & 1)) })
}

// Parts of futex(2)'s operation.
const (
	futexPrivate       = 128
	futexClockRealtime = 256
)

// futexArgs are the operation and what it takes.
func futexArgs(l *line, v uint64) {
	op := uint32(v)
	cmd := op &^ (futexPrivate | futexClockRealtime)
	if name := futexOps.find(uint64(cmd)); name != "" {
		l.s(name)
		if op&futexPrivate != 0 {
			l.s("_PRIVATE")
		}
		if op&futexClockRealtime != 0 {
			l.s("|FUTEX_CLOCK_REALTIME")
		}
	} else {
		l.hex(uint64(op))
		l.s(" /* FUTEX_??? */")
	}
	val, val2, uaddr2, val3 := l.arg(2), l.arg(3), l.arg(4), l.arg(5)
	next := func(k kind, v uint64) {
		l.s(", ")
		k(l, v)
	}
	switch cmd {
	case 0: // WAIT
		next(unum, val)
		next(timespec, val2)
	case 9: // WAIT_BITSET
		next(unum, val)
		next(timespec, val2)
		next(futexMask, val3)
	case 1, 2: // WAKE, FD
		next(num, val)
	case 10: // WAKE_BITSET
		next(num, val)
		next(futexMask, val3)
	case 3: // REQUEUE
		next(num, val)
		next(num, val2)
		next(ptr, uaddr2)
	case 4, 12: // CMP_REQUEUE, CMP_REQUEUE_PI
		next(num, val)
		next(num, val2)
		next(ptr, uaddr2)
		next(unum, val3)
	case 5: // WAKE_OP
		next(num, val)
		next(num, val2)
		next(ptr, uaddr2)
		next(futexWakeOp, val3)
	case 6, 13: // LOCK_PI, LOCK_PI2
		next(timespec, val2)
	case 7, 8: // UNLOCK_PI, TRYLOCK_PI
	case 11: // WAIT_REQUEUE_PI
		next(unum, val)
		next(timespec, val2)
		next(ptr, uaddr2)
	default:
		next(num, val)
		next(hex, val2)
		next(hex, uaddr2)
		next(hex, val3)
	}
}

func futexMask(l *line, v uint64) {
	if uint32(v) == ^uint32(0) {
		l.s("FUTEX_BITSET_MATCH_ANY")
		return
	}
	l.hex(uint64(uint32(v)))
}

// futexWakeOp is FUTEX_WAKE_OP's operation and comparison, in one word.
func futexWakeOp(l *line, v uint64) {
	op, cmp, oparg, cmparg := v>>28&0xf, v>>24&0xf, v>>12&0xfff, v&0xfff
	const shift = 8 // FUTEX_OP_OPARG_SHIFT
	if op&shift != 0 {
		l.s("FUTEX_OP_OPARG_SHIFT<<28|")
	}
	if name := futexWakeOps.find(op &^ shift); name != "" {
		l.s(name)
	} else {
		l.hex(op &^ shift)
	}
	l.s("<<28|")
	l.hex(oparg)
	l.s("<<12|")
	if name := futexCompares.find(cmp); name != "" {
		l.s(name)
	} else {
		l.hex(cmp)
	}
	l.s("<<24|")
	l.hex(cmparg)
}

// retMembarrier is, for a query, a set of commands.
func retMembarrier(l *line) {
	l.hex(l.ret)
	if l.ret != 0 && uint32(l.arg(0)) == 0 {
		l.s(" (")
		l.bits(l.ret, &membarriers)
		l.c(')')
	}
}

func ipcKey(l *line, v uint64) {
	if uint32(v) == 0 {
		l.s("IPC_PRIVATE")
		return
	}
	l.hex(uint64(uint32(v)))
}

// ipcFlags are flags and permission bits.
func ipcFlags(l *line, v uint64) {
	v = uint64(uint32(v))
	if high := v &^ 0o777; high != 0 {
		l.someBits(high, &ipcBits)
		l.c('|')
	}
	l.oct3(v & 0o777)
}

func shmFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &shmBits) }
func ipcCommand(l *line, v uint64) { l.one(uint64(uint32(v)), &ipcCommands) }

// sembufs is struct sembuf[], the number of which is the next argument.
func sembufs(l *line, v uint64) {
	l.elements(v, min(uint64(uint32(l.arg(l.i+1))), maxIov), 6, func(b []byte) {
		l.s("{sem_num=")
		l.uint(uint64(le.Uint16(b)))
		l.s(", sem_op=")
		l.int(int64(int16(le.Uint16(b[2:]))))
		l.s(", sem_flg=")
		l.bits(uint64(le.Uint16(b[4:])), &semBits)
		l.c('}')
	})
}
