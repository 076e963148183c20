// What the tests of ptrace(2) share.
#ifndef PTRACEE_H
#define PTRACEE_H

#include "check.h"

#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "procfile.h"

// request is the system call itself: glibc's function has its own results for PEEK.
UNUSED static long request(long req, pid_t pid, unsigned long addr, unsigned long data) {
  return syscall(SYS_ptrace, req, (long)pid, addr, data);
}

#define P(req, pid, addr, data) SYS(request(req, pid, (unsigned long)(addr), (unsigned long)(data)))
#define PERR(err, req, pid, addr, data) ERR(err, request(req, pid, (unsigned long)(addr), (unsigned long)(data)))

// stops waits for pid to stop with this status (signal, and event above it).
#define STOPS(code, pid)                                                                   \
  do {                                                                                     \
    int status_;                                                                           \
    EQ(pid, SYS(waitpid(pid, &status_, __WALL)));                                          \
    if (!WIFSTOPPED(status_) || status_ >> 8 != (code))                                    \
      FAIL("tracee: want stop %#x, got status %#x", (unsigned)(code), (unsigned)status_); \
  } while (0)

#define EVENT(n) (SIGTRAP | (n) << 8)
#define CALL (SIGTRAP | 0x80)

UNUSED static void traced(void) { P(PTRACE_TRACEME, 0, 0, 0); }

// tracee starts fn in a child that waits, stopped, to be traced on.
UNUSED static void (*tracee_fn)(void);
UNUSED static void tracee_start(void) {
  traced();
  raise(SIGSTOP);
  tracee_fn();
}

UNUSED static pid_t tracee(void (*fn)(void)) {
  tracee_fn = fn;
  pid_t pid = start(tracee_start);
  STOPS(SIGSTOP, pid);
  return pid;
}

UNUSED static void nothing(void) {}

UNUSED static void sleeps(void) {
  for (;;) pause();
}

UNUSED static struct user_regs_struct regs_of(pid_t pid) {
  struct user_regs_struct r;
  P(PTRACE_GETREGS, pid, 0, &r);
  return r;
}

UNUSED static siginfo_t siginfo_of(pid_t pid) {
  siginfo_t s;
  P(PTRACE_GETSIGINFO, pid, 0, &s);
  return s;
}

UNUSED static unsigned long message_of(pid_t pid) {
  unsigned long m;
  P(PTRACE_GETEVENTMSG, pid, 0, &m);
  return m;
}

#endif
