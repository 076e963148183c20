// Package procmgr is the process manager: processes and threads, fork, exec,
// wait and exit, process groups and sessions, signals, credentials, resource
// limits and statistics. It follows Linux (kernel/fork.c, exit.c, signal.c,
// sys.c), and is plain Go: it knows of no guest, memory or files. Whoever runs
// the threads (package sentry/task) calls it at the points below.
//
// # From fork to exit
//
// A Table holds the processes of a sandbox. Table.CreateProcess makes the first
// one, init. From then on:
//
//	fork   Table.Fork checks flags and limits, takes ids and makes a Thread in
//	       state New, alone or as a new Process. The caller copies what else
//	       belongs to it; Thread.Start lets it live, Thread.Abort undoes it.
//	run    The thread's goroutine calls SetRunner, and before each stretch of
//	       guest code, if Pending says so, NextWork until there is none: it
//	       stops for job control, hands out signals to be delivered, and says
//	       when the thread has to exit. Everything that waits does so in Block.
//	exec   BeginExec ends the other threads; CompleteExec resets what execve(2)
//	       resets, and lets a vfork(2) parent go on.
//	exit   Exit and ExitGroup only mark threads: each finds WorkExit in
//	       NextWork, gives up its resources, and ends with FinishExit. The last
//	       thread of a process leaves a zombie and tells the parent; orphans
//	       go to the nearest subreaper, or to init.
//	wait   Wait takes what happened to children from a queue of the parent.
//
// # Signals
//
// A signal goes from SendSignal through the queue of a process or a thread to
// NextWork, which applies the disposition. A thread that is Blocked, or in guest
// code (Runner), is woken if it has something to do.
//
// # Locks
//
//	Table.mu           hierarchy: parents and children, groups, sessions, ids,
//	                   what Wait collects
//	  Process.mu       threads of the process, signals, stops, limits
//	    sigHand.mu     dispositions
//	    Table.userMu   counts of each user
//
// Look-ups by id, credentials, states and Pending take no lock.
package procmgr
