// Call sites that become hot while several threads use them. A kernel that changes
// their code must not disturb calls that are in progress there, whether they wait,
// are interrupted or restarted.
#include "check.h"

#include <pthread.h>

enum { WAITERS = 4, CALLERS = 4, CALLS = 3000 };

// site is a system call whose number comes from elsewhere, with a look at its result
// right behind it: all calls of this program's threads return to one place.
__attribute__((noinline)) static long site(long nr, long a, long b, long c) {
  register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0, r9 __asm__("r9") = 0;
  long ret;
  __asm__ volatile(
      "syscall\n\t"
      "cmp $-4095, %%rax\n\t"
      "jae 1f\n\t"
      "jmp 2f\n"
      "1:\tmov $-1, %%rax\n"
      "2:"
      : "=a"(ret)
      : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
      : "rcx", "r11", "memory");
  return ret;
}

// crossing is one whose MOV lies across a boundary of eight bytes.
__attribute__((noinline, aligned(64))) static long crossing(void) {
  long ret;
  __asm__ volatile(
      ".balign 8\n\t"
      "nop; nop; nop; nop; nop; nop\n\t"
      "mov $186, %%eax\n\t" /* gettid */
      "syscall"
      : "=a"(ret)
      :
      : "rcx", "r11", "memory");
  return ret;
}

// The handler uses the site at which the call that it interrupts waits.
static void on_signal(int sig UNUSED) {
  for (int i = 0; i < 20; i++)
    CHECK(site(SYS_gettid, 0, 0, 0) > 0);
}

struct waiter {
  pthread_t thread;
  int pipe[2];
  volatile int interrupted;
};

static void *wait_here(void *arg) {
  struct waiter *w = arg;
  for (;;) {
    char c = 0;
    long n = site(SYS_read, w->pipe[0], (long)&c, 1);
    if (n == 1) return c == 'x' ? w : NULL;
    if (n != -1) return NULL;
    w->interrupted++;
  }
}

static void *call(void *arg UNUSED) {
  long self = syscall(SYS_gettid);
  for (int i = 0; i < CALLS; i++) {
    if (site(SYS_gettid, 0, 0, 0) != self) return "site: a wrong result";
    if (site(SYS_close, -1, 0, 0) != -1) return "site: no error";
    if (crossing() != self) return "crossing: a wrong result";
  }
  return NULL;
}

static void run(bool restart) {
  struct sigaction act = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};
  ZERO(sigaction(SIGUSR1, &act, NULL));
  struct waiter waiters[WAITERS] = {0};
  for (int i = 0; i < WAITERS; i++) {
    ZERO(pipe(waiters[i].pipe));
    ZERO(pthread_create(&waiters[i].thread, NULL, wait_here, &waiters[i]));
  }
  pthread_t callers[CALLERS];
  for (int i = 0; i < CALLERS; i++)
    ZERO(pthread_create(&callers[i], NULL, call, NULL));
  // Signals all the while: what waits is interrupted, before the change and after.
  int sent = 0;
  for (int i = 0; i < CALLERS; i++) {
    void *wrong = NULL;
    for (;;) {
      struct timespec t;
      clock_gettime(CLOCK_REALTIME, &t);
      t.tv_nsec += 2 * MS;
      if (t.tv_nsec >= 1000 * MS) t.tv_sec++, t.tv_nsec -= 1000 * MS;
      if (!pthread_timedjoin_np(callers[i], &wrong, &t)) break;
      pthread_kill(waiters[sent++ % WAITERS].thread, SIGUSR1);
    }
    if (wrong) say("%s\n", (char *)wrong);
  }
  for (int i = 0; i < WAITERS; i++) {
    EQ(1, write(waiters[i].pipe[1], "x", 1));
    void *ret;
    ZERO(pthread_join(waiters[i].thread, &ret));
    if (ret != &waiters[i]) say("a waiter read something else\n");
    if (restart && waiters[i].interrupted) say("a call that restarts was interrupted\n");
    close(waiters[i].pipe[0]);
    close(waiters[i].pipe[1]);
  }
  say("done\n");
}

static void interrupted(void) { run(false); }
static void restarted(void) { run(true); }

// In one thread alone: a hot site's calls are restarted over and over.
static void restarted_alone(void) {
  struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  ZERO(sigaction(SIGUSR1, &act, NULL));
  int p[2];
  ZERO(pipe(p));
  for (int i = 0; i < 100; i++) CHECK(site(SYS_gettid, 0, 0, 0) > 0);
  pid_t parent = getpid(), pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 60; i++) {
      kill(parent, SIGUSR1);
      sleep_ms(1);
    }
    _exit(write(p[1], "x", 1) != 1);
  }
  char c = 0;
  EQ(1, site(SYS_read, p[0], (long)&c, 1));
  for (int i = 0; i < 100; i++) EQ(getpid(), site(SYS_gettid, 0, 0, 0));
  EXITS(0, pid);
  say("%c\n", c);
}

// A fork in the midst of it: the child's one thread goes on with what it inherits.
static void *fork_here(void *arg UNUSED) {
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
      for (int k = 0; k < 100; k++)
        if (site(SYS_gettid, 0, 0, 0) != getpid() || crossing() != getpid()) _exit(1);
      _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status) return "a child saw a wrong result";
  }
  return NULL;
}

static void fork_meanwhile(void) {
  pthread_t forker, callers[CALLERS];
  ZERO(pthread_create(&forker, NULL, fork_here, NULL));
  for (int i = 0; i < CALLERS; i++)
    ZERO(pthread_create(&callers[i], NULL, call, NULL));
  void *wrong;
  pthread_join(forker, &wrong);
  if (wrong) say("%s\n", (char *)wrong);
  for (int i = 0; i < CALLERS; i++) {
    pthread_join(callers[i], &wrong);
    if (wrong) say("%s\n", (char *)wrong);
  }
  say("done\n");
}

TESTS(T(interrupted), T(restarted), T(restarted_alone), T(fork_meanwhile))
