// Package procmgr is a process manager: processes and threads, fork, exec, wait and
// exit, process groups, sessions and their terminals, signals, credentials, resource
// limits, scheduling, pid namespaces and statistics. It follows Linux (kernel/fork.c,
// exit.c, signal.c, sys.c, pid_namespace.c, sched/) to the letter, and is plain Go: it
// knows of no guest, memory or files. Whoever runs the threads calls it at the points
// below; in the sentry that is package sentry/task.
//
// A Table holds the processes of a sandbox. Process is what threads have in common
// (the process control block, with Linux's thread group id as its ID), Thread is what
// runs. Errors are unix.Errno values, or ErrInterrupted where a signal has to be dealt
// with first.
//
// # From fork to exit
//
// Table.CreateProcess makes the first process, init. From then on:
//
//	fork   Table.Fork checks flags and limits, takes ids, and makes a Thread in
//	       state New: a Process of its own, or one more in its parent's. It cannot be
//	       found yet, but group signals are kept for it already. The caller copies
//	       what else belongs to it; Thread.Start lets it live, Thread.Abort undoes
//	       it all. A vfork(2) parent waits in WaitVfork.
//	run    The thread's goroutine calls SetRunner, and before each stretch of
//	       guest code, if Pending says so, NextWork until there is none: it stops
//	       for job control, applies what signals do by default, hands out those
//	       that are to be delivered, gives up the run slot when it is the turn of
//	       others, and says when the thread has to exit. Whatever waits, does so in
//	       Block, which ends early for all these.
//	exec   BeginExec ends the other threads, and makes the caller the leader.
//	       CompleteExec resets what execve(2) resets, takes over the credentials
//	       that Credentials.ForExec worked out, and lets a vfork(2) parent go on.
//	exit   Exit and ExitGroup only mark threads: each finds WorkExit in NextWork,
//	       gives back what it holds, and ends with FinishExit. The last thread
//	       of a process leaves a zombie, and tells the parent by SIGCHLD and
//	       through Wait. Children go to another thread of the process, to the
//	       nearest subreaper above, or to init; stopped jobs that nobody can continue
//	       any more are told.
//	wait   Wait takes what happened to children from queues of the parent: the
//	       number of children does not matter. With a zombie go its ids, unless
//	       they are still in use for a group, a session or a terminal's foreground.
//
// State has the diagram of a thread's life. A transition that is not in it panics.
//
// # Signals
//
// A signal goes from Kill and its kind (with permission checks), or SendSignal (from
// the kernel), into the queue of a process or a thread, unless it is ignored. Who is to
// take it is woken: a thread that is Blocked, or in guest code (Runner.Interrupt).
// It finds the signal in NextWork. One that is fatal marks all threads at once. SIGSTOP
// and SIGCONT act when they are sent, as far as they throw each other away, and a stop
// is complete when the last thread is in NextWork.
//
// # Statistics
//
// Nothing is measured on the way of a call. Processor time is asked of the Runner, if it
// is a CPUMeter, when somebody wants to know and when the thread ends; a process's is
// the sum over its threads, and passes to the parent that waits for it.
//
// # Locks
//
//	Table.mu           hierarchy: parents and children, groups, sessions and
//	                   terminals, pid namespaces and ids, what Wait collects; held
//	                   while signals are sent
//	  Process.mu       threads of the process, signals, stops; of two processes the
//	                   child's first, and only under Table.mu
//	    sigHand.mu     dispositions
//	    Table.userMu   counts of each user
//	    scheduler.mu   who waits for a run slot
//	    a waiter.Queue and what its listeners take
//	LimitSet.mu        changes of resource limits; nothing is taken under it
//
// Look-ups by id, credentials, limits, states and Pending take no lock. Nothing that
// is called under these locks (Runner, listeners) calls this package.
//
// # Users
//
// The examples show each operation. A Table needs nothing but memory: see Config.
package procmgr
