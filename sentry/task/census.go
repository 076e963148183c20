package task

import (
	"bytes"
	"time"

	"runsc-lite/procmgr"
)

// ProcessInfo is what somebody outside of a sandbox sees of one of its processes.
type ProcessInfo struct {
	PID      int           `json:"pid"`
	Parent   int           `json:"ppid"`
	Group    int           `json:"pgid"`
	Session  int           `json:"sid"`
	UID      uint32        `json:"uid"`
	State    string        `json:"state"` // procmgr.State's words
	Nice     int           `json:"nice"`
	Threads  int           `json:"threads"`
	Start    time.Duration `json:"start_ns"` // on the process table's clock
	User     time.Duration `json:"user_ns"`
	System   time.Duration `json:"system_ns"`
	Resident uint64        `json:"resident_bytes"`
	Virtual  uint64        `json:"virtual_bytes"`
	Faults   uint64        `json:"faults"`
	Calls    uint64        `json:"syscalls"` // that came to the sentry
	Name     string        `json:"name"`
	Command  []string      `json:"command"` // empty: the program gave its arguments back
}

// maxCommand bounds what is read of a process's arguments, in bytes.
const maxCommand = 4096

// Census returns all processes of the sandbox by id, zombies included.
func (k *Kernel) Census() []ProcessInfo { return k.CensusIn(k.Procs.Root()) }

// CensusIn returns the processes of a pid namespace, with their ids in it.
func (k *Kernel) CensusIn(ns *procmgr.PIDNamespace) []ProcessInfo {
	var all []ProcessInfo
	ns.ForEach(func(p *procmgr.Process) {
		all = append(all, inspect(p, ns))
	})
	return all
}

func inspect(p *procmgr.Process, ns *procmgr.PIDNamespace) ProcessInfo {
	leader := p.Leader()
	u := p.Usage()
	info := ProcessInfo{
		PID: p.IDIn(ns), Parent: p.ParentIDIn(ns), Group: p.GroupIDIn(ns), Session: p.SessionIDIn(ns),
		UID: leader.Credentials().RUID, State: p.State().String(), Nice: leader.Nice(),
		Threads: p.ThreadCount(), Start: p.StartTime(), User: u.UserTime, System: u.SystemTime,
		Faults: u.MinorFaults + u.MajorFaults, Name: leader.Name(), Command: []string{},
	}
	for _, th := range p.Threads() {
		t := Of(th)
		if t == nil {
			continue
		}
		info.Calls = t.group.calls.Load()
		if s := t.Space(); s != nil {
			info.Resident, info.Virtual = s.Resident(), s.Sizes().Virtual
			info.Command = t.command()
			break
		}
	}
	return info
}

// command returns the program's arguments, as they are in its memory now.
func (t *Task) command() []string {
	space, args := t.Space(), t.Layout().Args
	if space == nil || args.Length() == 0 {
		return []string{}
	}
	b := make([]byte, min(uint64(args.Length()), maxCommand))
	n, _ := space.CopyIn(args.Start, b)
	words := []string{}
	for _, w := range bytes.Split(bytes.TrimRight(b[:n], "\x00"), []byte{0}) {
		words = append(words, string(w))
	}
	return words
}
