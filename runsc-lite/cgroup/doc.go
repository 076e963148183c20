// Package cgroup puts a sandbox into control groups of its own: it makes them, sets
// their limits, reads their counters, freezes, kills and removes them. It works on hosts
// with cgroups v1, v2, and both (hybrid), directly or by way of systemd, and leans on
// github.com/opencontainers/cgroups, which runc uses as well.
//
//	New      groups that are to be made
//	Open     groups that were made, by what State said of them
//	Join     makes them and puts a process in, with everything that it starts later
//
// The groups hold the host's side of a sandbox: the sentry's process with its threads
// and the processes that guest code runs in. Two limits need a word about that.
//
// Memory: what the guest has, and what the sentry needs to give it, is charged to the
// container alike, a few MiB more than the same program would take by itself.
//
// Processes: linux.resources.pids.limit counts the guest's tasks, and the sentry holds
// to it exactly ([Tasks]). In the host's groups it is a second line, for a sentry that
// somebody took over, and lies higher by what the sentry itself needs.
package cgroup
