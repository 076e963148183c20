package task

import (
	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// answered are the calls whose results only the kernel changes, and tells the
// platform of: all are the calling thread's own, so that they change between two
// of its instructions. (getppid(2) and getpgrp(2) are not: another process
// changes what they answer.)
var answered = [...]int{
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETGID, unix.SYS_GETEUID, unix.SYS_GETEGID,
}

// publish tells the platform the results of calls that it may answer itself. It may
// not when somebody is to see every call: a tracer, a filter.
func (t *Task) publish() {
	to, ok := t.ctx.(platform.CallAnswerer)
	if !ok {
		return
	}
	seen := t.tracer != nil || t.seccomp.Load() != nil || t.watched
	// What a user is called in a user namespace changes when others set its maps.
	seen = seen || t.th.Credentials().UserNS != nil
	for _, nr := range answered {
		v, err := t.k.Syscalls[nr].Fn(t, &Args{})
		to.SetAnswer(nr, v, err == nil && !seen)
	}
}
