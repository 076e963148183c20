package task

import "gvisor.dev/gvisor/pkg/hostarch"

// Args are the six arguments of a system call, as the guest's registers hold
// them: rdi, rsi, rdx, r10, r8, r9.
type Args [6]uint64

// Int returns argument i as a C int.
func (a *Args) Int(i int) int32 { return int32(a[i]) }

// Uint returns argument i as a C unsigned int.
func (a *Args) Uint(i int) uint32 { return uint32(a[i]) }

// Int64 returns argument i as a C long.
func (a *Args) Int64(i int) int64 { return int64(a[i]) }

// Addr returns argument i as a guest address, unchecked.
func (a *Args) Addr(i int) hostarch.Addr { return hostarch.Addr(a[i]) }

// Handler services one system call. The value goes into RAX; an error is a
// unix.Errno or one of the restart errors of this package.
type Handler func(t *Task, a *Args) (uint64, error)

// Support says how much of a system call is there.
type Support uint8

const (
	// Absent calls answer ENOSYS, or the error in their row.
	Absent Support = iota
	// Partial calls miss what their note says, and refuse it.
	Partial
	// Full calls do what Linux's does.
	Full
)

func (s Support) String() string {
	return [...]string{"absent", "partial", "full"}[s]
}

// Syscall is one row of the table.
type Syscall struct {
	Name    string
	Fn      Handler
	Support Support
	Note    string
}

// Table holds the system calls, indexed by number.
type Table []Syscall
