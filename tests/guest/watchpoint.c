// Hardware watchpoints, by the debug registers of struct user.
#include "check.h"

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define DR(n) offsetof(struct user, u_debugreg[n])

static volatile long words[4];
static volatile int done;

static long poke(pid_t pid, int n, unsigned long v) { return ptrace(PTRACE_POKEUSER, pid, DR(n), v); }
static unsigned long peek(pid_t pid, int n) {
  errno = 0;
  unsigned long v = ptrace(PTRACE_PEEKUSER, pid, DR(n), 0);
  if (errno) FAIL("DR%d: %s", n, strerrorname_np(errno));
  return v;
}

// control enables register n for an access (0: execution, 1: writes, 3: both) of len bytes.
static unsigned long control(int n, int access, int len) {
  return 1UL << (2 * n) | ((unsigned long)access | (unsigned long)(len == 8 ? 2 : len - 1) << 2) << (16 + 4 * n);
}

static pid_t traced(void (*fn)(void)) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(ptrace(PTRACE_TRACEME));
    raise(SIGSTOP);
    fn();
    _exit(0);
  }
  int st;
  EQ(pid, SYS(waitpid(pid, &st, 0)));
  CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
  return pid;
}

// hit lets the child go on to the next trap, and says what DR6 has.
static unsigned hit(pid_t pid) {
  SYS(ptrace(PTRACE_CONT, pid, 0, 0));
  int st;
  EQ(pid, SYS(waitpid(pid, &st, 0)));
  if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGTRAP) FAIL("status %#x", st);
  siginfo_t si;
  SYS(ptrace(PTRACE_GETSIGINFO, pid, 0, &si));
  EQ(4, si.si_code);  // TRAP_HWBKPT
  unsigned v = peek(pid, 6) & 0xf;
  SYS(poke(pid, 6, 0));
  return v;
}

// ends lets the child go on to its end, which no trap comes before.
static void ends(pid_t pid) {
  int st, sig = 0;
  do {
    SYS(ptrace(PTRACE_CONT, pid, 0, sig));
    EQ(pid, SYS(waitpid(pid, &st, 0)));
    sig = WIFSTOPPED(st) ? WSTOPSIG(st) : 0;
  } while (sig == SIGCHLD);
  if (!WIFEXITED(st) || WEXITSTATUS(st) != 0) FAIL("status %#x", st);
}

__attribute__((noinline)) static void touch(void) {
  words[0] = 1;
  words[1] = 2;
  long v = words[2];
  words[0] = v + 3;
  done = words[3] + 1;
}

static void writes(void) {
  pid_t pid = traced(touch);
  EQ(0, peek(pid, 7));
  SYS(poke(pid, 0, (unsigned long)&words[0]));
  SYS(poke(pid, 7, control(0, 1, 8)));
  EQ((unsigned long)&words[0], peek(pid, 0));
  EQ(control(0, 1, 8), peek(pid, 7) & 0xffff00ff);
  EQ(1, hit(pid));
  EQ(1, ptrace(PTRACE_PEEKDATA, pid, &words[0], 0));  // after the write
  EQ(0, ptrace(PTRACE_PEEKDATA, pid, &words[1], 0));
  EQ(1, hit(pid));
  EQ(3, ptrace(PTRACE_PEEKDATA, pid, &words[0], 0));
  ends(pid);
}

static void several(void) {
  pid_t pid = traced(touch);
  SYS(poke(pid, 1, (unsigned long)&words[1]));
  SYS(poke(pid, 2, (unsigned long)&words[2]));
  SYS(poke(pid, 3, (unsigned long)&words[3]));
  SYS(poke(pid, 7, control(1, 1, 4) | control(2, 3, 8) | control(3, 1, 8)));
  EQ(2, hit(pid));
  EQ(4, hit(pid));  // a read
  ends(pid);        // but not of the one that watches writes
}

static void execution(void) {
  pid_t pid = traced(touch);
  SYS(poke(pid, 0, (unsigned long)touch));
  SYS(poke(pid, 7, control(0, 0, 1)));
  EQ(1, hit(pid));
  struct user_regs_struct r;
  SYS(ptrace(PTRACE_GETREGS, pid, 0, &r));
  EQ((unsigned long)touch, r.rip);
  EQ(0, ptrace(PTRACE_PEEKDATA, pid, &words[0], 0));
  ends(pid);  // not again at the same place
}

static void taken_away(void) {
  pid_t pid = traced(touch);
  SYS(poke(pid, 0, (unsigned long)&words[0]));
  SYS(poke(pid, 7, control(0, 1, 8)));
  EQ(1, hit(pid));
  SYS(poke(pid, 7, 0));
  EQ(0, peek(pid, 7));
  ends(pid);
}

static void with_calls(void) {
  for (int i = 0; i < 1000; i++) getppid();
  touch();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    words[0] = 7;  // a child has none of it
    _exit(0);
  }
  EXITS(0, pid);
}

static void across_calls(void) {
  pid_t pid = traced(with_calls);
  SYS(poke(pid, 0, (unsigned long)&words[0]));
  SYS(poke(pid, 7, control(0, 1, 8)));
  EQ(1, hit(pid));
  EQ(1, hit(pid));
  ends(pid);
}

static void bad(void) {
  pid_t pid = traced(touch);
  ERR(EIO, poke(pid, 4, 0));
  ERR(EIO, poke(pid, 5, 0));
  ERR(EINVAL, poke(pid, 0, 0xffff800000000000UL));
  SYS(poke(pid, 0, (unsigned long)&words[0] + 1));
  ERR(EINVAL, poke(pid, 7, control(0, 1, 8)));  // not aligned
  EQ(0, peek(pid, 7));
  SYS(poke(pid, 0, (unsigned long)&words[0]));
  ERR(EINVAL, poke(pid, 7, control(0, 2, 8)));  // I/O
  ERR(EINVAL, poke(pid, 7, control(0, 0, 8)));  // execution of 8 bytes
  SYS(poke(pid, 6, 0x5));
  ends(pid);
}

TESTS(T(writes), T(several), T(execution), T(taken_away), T(across_calls), T(bad))
