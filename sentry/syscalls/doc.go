// Package syscalls holds the table of system calls and their handlers, a file a
// subject.
//
// A handler takes a Task and the six argument registers as they are, and
// returns what goes into RAX, or a unix.Errno, or one of task.Restart*. It
//
//   - copies each struct of the guest's in once, and checks the copy: another
//     thread may change the original at any moment;
//   - bounds each count and size before it takes memory for it;
//   - checks arguments in Linux's order where programs can tell, since one call
//     may be wrong in several ways;
//   - refuses the flags that it does not know.
//
// Files never block. A handler whose file answers EAGAIN waits in Task.Block,
// unless O_NONBLOCK says otherwise, and tries again.
//
// What is missing has a row too: the name for --strace, and ENOSYS, or what a
// Linux built without the feature answers. The notes in the rows are what
// `runsc-lite syscalls` prints.
package syscalls
